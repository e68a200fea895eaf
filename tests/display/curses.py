#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0-or-later
"""The text screen in a terminal, -display curses: curses.py OSPITE BOOT-SECTOR

The terminal is pyte at the other end of a pty, of several types and sizes. What it shows must be what the guest's text memory holds, cell by
cell, with colours, blinking and cursor; keys it sends must arrive at the keyboard controller; monitor and serial port answer; the
terminal's modes are as before after each kind of end; one that is not read holds nobody up. SeaBIOS' boot menu is answered. Skipped, out loud, without pyte."""
import fcntl, os, random, re, select, signal, struct, subprocess, sys, tempfile, termios, time, shutil
sys.path.append(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
import leash            # noqa: E402, F401
import checks
from checks import check
import golden
from script import Machine, Script
from vnc import drain, port
sys.path.append('/usr/lib/python3/dist-packages')
try:
    import pyte
except ImportError:
    print('skipped: pyte (python3-pyte) is not installed')
    sys.exit(77)

ALT, COLORS = b'\x1b', ['black', 'blue', 'green', 'cyan', 'red', 'magenta', 'brown', 'white']


def bright(sequence):
    """pyte 0.8 takes bright colours for bold letters, unless they are among 256."""
    codes = [int(n or 0) for n in sequence.group(1).split(b';')]
    return b'\x1b[' + b';'.join(b'%d;5;%d' % (48 if n > 99 else 38, n % 10 + 8) if 90 <= n <= 107 else b'%d' % n for n in codes) + b'm'


class Terminal:
    def __init__(self, command, kind='xterm-256color', rows=30, columns=100, lang='C.UTF-8'):
        self.master, self.slave = os.openpty()
        self.size(rows, columns)
        self.before = termios.tcgetattr(self.slave)
        env = {**os.environ, 'TERM': kind, 'LC_ALL': lang}
        self.process = subprocess.Popen(command, stdin=self.slave, stdout=self.slave, stderr=self.slave, env=env)
        self.raw = self.rest = b''

    def size(self, rows, columns):
        self.rows, self.columns = rows, columns
        fcntl.ioctl(self.master, termios.TIOCSWINSZ, struct.pack('HHHH', rows, columns, 0, 0))
        self.screen = pyte.Screen(columns, rows)
        self.stream = pyte.ByteStream(self.screen)

    def send(self, data):
        os.write(self.master, data)

    def pump(self, seconds=0.05):
        """What the program wrote; False when there was nothing for so long."""
        if not select.select([self.master], [], [], seconds)[0]:
            return False
        data = os.read(self.master, 65536)
        self.raw += data
        self.rest += data
        cut = re.search(rb'(\x1b(\[[0-9;?]*)?)?$', self.rest).start()
        data, self.rest = self.rest[:cut], self.rest[cut:]
        self.stream.feed(re.sub(rb'\x1b\[([0-9;]*)m', bright, data))
        return True

    def wait(self, condition, what, seconds=120):
        end = time.time() + seconds
        while time.time() < end:
            self.pump()
            if condition():
                return check(True, what)
        return check(False, f'{what}; the terminal shows\n' + '\n'.join([line for line in self.screen.display if line.strip()][:8]))

    def has(self, text):
        return any(text in line for line in self.screen.display)

    def end(self, what, status=0):
        while self.process.poll() is None:
            self.pump()
        while self.pump(0.2):
            pass
        check(self.process.returncode == status, f'{what}: exit status {self.process.returncode}')
        check(termios.tcgetattr(self.slave) == self.before, f'{what}: the modes of the terminal are not what they were')

    def close(self):
        if self.process.poll() is None:
            self.process.kill()
            self.process.wait()
        os.close(self.master)
        os.close(self.slave)


class TerminalMachine(Machine):
    """A machine of the script's whose screen is a terminal."""
    def __init__(self, ospite, where, *args, **terminal):
        self.name, self.where, self.prompt = 'curses', where, b'(ospite) '
        self.terminal = Terminal([ospite, '-accel', 'bt', '-m', '32', '-net', 'none', '-drive', f'file={where}/disk,format=raw,snapshot=on', '-display', 'curses', '-monitor', 'vc',
                                  '-monitor', f'unix:{where}/curses.mon,server=on,wait=off', '-serial', f'unix:{where}/curses.com,server=on', *args], **terminal)
        self.process = self.terminal.process
        self.serial = self.connect(f'{where}/curses.com')
        self.monitor = self.connect(f'{where}/curses.mon')
        self.answer()


def memory(m, columns, rows, at=0xb8000):
    m.command(f'pmemsave {at} {columns * rows * 2} {m.where}/memory')
    data = open(m.where + '/memory', 'rb').read()
    return [[(data[2 * (y * columns + x)], data[2 * (y * columns + x) + 1]) for x in range(columns)] for y in range(rows)]


SMALL = '☺☻♥♦♣♠•◘○◙♂♀♪♫☼►◄↕‼¶§▬↨↑↓→←∟↔▲▼'


def glyph(c):
    return ' ' if c in (0, 255) else SMALL[c - 1] if c < 32 else '⌂' if c == 127 else bytes([c]).decode('cp437')


BRIGHT = ['7f7f7f', '5c5cff', '00ff00', '00ffff', 'ff0000', 'ff00ff', 'ffff00', 'ffffff']      # pyte's 8 to 15, in VGA's order


def look(attribute, colors, blinks):
    """Ink, paper, bold as pyte tells them; it knows no blinking."""
    ink, paper = attribute & 15, attribute >> 4 & (7 if blinks else 15)
    names = COLORS + (BRIGHT if colors == 16 else COLORS)
    return [names[ink], names[paper]], colors != 16 and ink > 7


def difference(t, cells, colors=16, blinks=False, left=0, top=0):
    """left, top: the guest's character at the terminal's corner; below 0: blanks around it."""
    for y in range(t.rows):
        for x in range(t.columns):
            at = t.screen.buffer[y][x]
            if not (0 <= y + top < len(cells) and 0 <= x + left < len(cells[0])):
                if at.data != ' ':
                    return f'{at.data!r} beside the screen at {x},{y}'
                continue
            c, attribute = cells[y + top][x + left]
            (ink, paper), bold = look(attribute, colors, blinks)
            got = [at.fg.replace('default', 'white'), at.bg.replace('default', 'black')]
            if at.reverse:
                got.reverse()
            want = glyph(c)
            if at.data != want or got[1] != paper or (want != ' ' and (got[0] != ink or at.bold != bold)):
                return f'{x},{y}: {at} instead of {want!r} {ink} on {paper} {bold}'
    return None


def same(t, cells, what, **how):
    why = [None]

    def is_same():
        why[0] = difference(t, cells, **how)
        return not why[0]
    if not t.wait(is_same, what):
        print(why[0])


def cursor_at(t, x, y):
    return (min(t.screen.cursor.x, t.columns - 1), t.screen.cursor.y, t.screen.cursor.hidden) == (x, y, False)


def blink_all(s, r):
    """Every attribute with blinking on, the cursor in the last row but one."""
    s.bios(3)
    s.bios(0x0200, dx=0x1711)
    golden.text_fill(s)


def fonts_alike(s, r):
    """A second font, which is the first once more; bit 3 is no colour."""
    s.bios(3)
    s.bios(0x1104, bx=1)
    s.bios(0x1103, bx=4)
    s.attr(0x12, 7)
    golden.text_fill(s)


def fonts_other(s, r):
    """A second font with other glyphs; those of the first are no guess at what they are."""
    s.bios(3)
    s.bios(0x1102, bx=2)
    s.bios(0x1103, bx=8)
    s.attr(0x12, 7)
    golden.text_fill(s)


IN_8X16 = {0: 0, 32: 32, 94: 94, 95: 196, 96: 96, 255: 255}    # of SeaVGABIOS' 8x8 glyphs those that its other font has, too


def with_second_font(cells, other):
    """What is seen of cells whose bit 3 picks a font."""
    return [[(IN_8X16.get(c, ord('?')) if other and a & 8 else c, a & 0xf7) for c, a in row] for row in cells]


def script():
    s, r = Script(), random.Random(20261128)
    for step in (blink_all, golden.text_bright, golden.text_split, golden.text_50, golden.text(40, 1), fonts_alike, fonts_other, golden.vbe(800, 600, 32),
                 golden.text(80, 3)):
        step(s, r)
        s.sync()
    for i in range(40):                                # a screen that goes on changing
        golden.text_fill(s, first=i)
    s.sync()
    return s


def pictures(m, t):
    m.sync()
    same(t, memory(m, 80, 25), 'every attribute, blinking', blinks=True, left=-10, top=-2)
    check(re.search(rb'\x1b\[[0-9;]*\b5[;m]', t.raw), 'characters blink')
    check(cursor_at(t, 0x11 + 10, 0x17 + 2), f'cursor {t.screen.cursor.x},{t.screen.cursor.y}')
    m.go_on(), m.sync()
    same(t, memory(m, 80, 25), 'bright backgrounds', left=-10, top=-2)
    check(t.screen.cursor.hidden, 'no cursor')
    check(re.search(rb'\x1b\[[0-9;]*\b9[0-7][;m]', t.raw) and re.search(rb'\x1b\[[0-9;]*\b10[0-7][;m]', t.raw), 'bright colours are such')
    m.go_on(), m.sync()
    cells = memory(m, 80, 100)
    line = int(m.command('xp /1xb 0x449').split()[1], 16)
    check(line == 3, f'mode {line}')
    rows = [''.join(glyph(c) for c, _ in row) for row in cells]

    def is_split():
        shown = [t.screen.display[y + 2][10:90] for y in range(25)]
        return all(row in rows for row in shown) and rows[0] in shown[1:] and difference(t, cells[:25], left=-10, top=-2)
    t.wait(is_split, 'rows of a split screen')
    m.go_on(), m.sync()
    t.size(50, 80)
    same(t, memory(m, 80, 50), '50 rows in a terminal that was made larger')
    m.go_on(), m.sync()
    same(t, memory(m, 40, 25), '40 columns', left=-20, top=-12)
    for other in False, True:
        m.go_on(), m.sync()
        same(t, with_second_font(memory(m, 80, 25), other), 'two fonts', blinks=True, top=-12)
        check((m.command('screen').count('?') > 500) == other, 'and on the monitor')
    m.go_on(), m.sync()
    t.wait(lambda: t.has('800 x 600 Graphic mode') and t.has('Alt-2: monitor, Alt-3: serial 0'), 'a graphics mode tells its size')
    m.go_on(), m.sync()
    same(t, memory(m, 80, 25), 'text again', top=-12)


def keys(m, t):
    m.command('stop')
    drain(m)
    for sent, want, what in ((b'aA', '1e 9e 2a 1e 9e aa', 'a A'), (b'\x1b[A\x1bOB', 'e048 e0c8 e050 e0d0', 'up and down'), (b'\x03', '1d 2e ae 9d', 'Ctrl-C'),
                             (b'\r\t\x7f', '1c 9c 0f 8f 0e 8e', 'Enter, Tab, Backspace'), (b'\x1b', '01 81', 'Esc'), (b'\x1bx', '38 2d ad b8', 'Alt-X'),
                             (b'\x1bOP\x1b[24~', '3b bb 58 d8', 'F1, F12'), (b'\x1b[1;3Q', '38 3c bc b8', 'Alt-F2'), (b'\x1b[1;5R', '1d 3d bd 9d', 'Ctrl-F3'),
                             (b'\x1b[1;5D', '1d e04b e0cb 9d', 'Ctrl-Left'), (b'\x1b[3;7~', '1d 38 e053 e0d3 b8 9d', 'Ctrl-Alt-Delete'), (b'~', '2a 29 a9 aa', '~'),
                             (b'\x00', '1d 39 b9 9d', 'Ctrl-Space'), (b'\x1b[Z', '2a 0f 8f aa', 'Shift-Tab')):
        t.send(sent)
        got, end = '', time.time() + 60
        while got != bytes.fromhex(want.replace(' ', '')).hex() and time.time() < end:
            got += ''.join(f'{code:02x}' for code, mouse in drain(m) if not mouse)
            t.pump(0.02)
        check(got == bytes.fromhex(want.replace(' ', '')).hex(), f'{what}: {got} instead of {want}')
    m.command('cont')


def consoles(m, t):
    t.send(ALT + b'3')
    t.wait(lambda: t.has('[serial 0; Alt-1') and t.has('SSSSSSS'), 'what the serial port said before')
    t.send(b'x')                                       # the guest goes on: 40 full screens
    m.sync()
    t.wait(lambda: t.has('SSSSSSSS'), 'and says now')
    t.send(ALT + b'2')
    t.wait(lambda: t.has('[monitor; Alt-1') and t.has('(ospite)'), 'the monitor')
    t.send(b'info statux\x7fs\r')
    t.wait(lambda: t.has('VM status: running'), 'answers, and its lines can be edited')
    t.send(ALT + b'1')
    same(t, memory(m, 80, 25), 'back at the screen', blinks=True, top=-12)
    t.size(20, 60)
    m.command('o /1 0x3d4 0x0e'), m.command('o /1 0x3d5 0x07'), m.command('o /1 0x3d4 0x0f'), m.command('o /1 0x3d5 0xcf')      # cursor to 79,24
    m.command('o /1 0x3d4 0x0a'), m.command('o /1 0x3d5 0x00')
    same(t, memory(m, 80, 25), 'a small terminal shows where the cursor is', blinks=True, left=20, top=5)
    check(cursor_at(t, 59, 19), f'cursor {t.screen.cursor.x},{t.screen.cursor.y}')


def stalled(ospite, where):
    """A terminal that takes nothing, while the guest writes: neither it nor the monitor waits."""
    m = TerminalMachine(ospite, where)
    for _ in range(9):
        m.sync()
        m.go_on()
        time.sleep(0.3)
    m.sync()
    began = time.time()
    check('running' in m.command('info status'), 'the monitor while nobody reads the terminal')
    check(time.time() - began < 30, 'late')
    same(m.terminal, memory(m, 80, 25), 'a terminal that comes back', blinks=True, left=-10, top=-2)
    m.process.send_signal(signal.SIGTERM)
    m.terminal.end('SIGTERM')
    check(b'\x1b[?1049l' in m.terminal.raw[-300:], 'SIGTERM: the other screen is left')
    m.terminal.close()


def plain(ospite, where):
    """Terminals with eight colours, with none; without Unicode."""
    for kind, colors in (('linux', 8), ('vt100', 1)):
        m = TerminalMachine(ospite, where, kind=kind, lang='C' if colors == 1 else 'C.UTF-8')
        t = m.terminal
        m.sync()
        if colors == 8:
            same(t, memory(m, 80, 25), '8 colours', colors=8, blinks=True, left=-10, top=-2)
        else:
            t.wait(lambda: t.has('!"#$%&\'()*+,-./0123456789:;<=>?@ABCDEFGHIJKLMNOPQRSTUVWXYZ') and t.has('CueaaaaceeeiiiAAEaAooouuyOUcLYP'), 'ASCII')
            check(all(ord(c) < 128 for line in t.screen.display for c in line), 'only ASCII')
        for _ in range(1 if colors == 8 else 20):      # the engine lets the first go by: an instruction that faults does so again
            if m.process.poll() is not None:
                break
            m.process.send_signal(signal.SIGABRT if colors == 8 else signal.SIGSEGV)
            time.sleep(0.5)
        m.terminal.end('a fatal signal', -(signal.SIGABRT if colors == 8 else signal.SIGSEGV))
        if colors == 8:
            check(b'\x1b[?25h' in m.terminal.raw[-100:], 'a fatal signal: the cursor is shown again')
        m.terminal.close()


def boot_menu(ospite, where):
    """SeaBIOS asks, somebody answers; messages of the program wait until the end."""
    t = Terminal([ospite, '-accel', 'bt', '-m', '32', '-net', 'none', '-drive', f'file={where}/disk,format=raw,snapshot=on', '-display', 'curses', '-boot', 'menu=on,splash-time=60000', '-d', 'ide'],
                 kind='xterm', rows=25, columns=80)
    t.wait(lambda: t.has('Press ESC for boot menu'), "SeaBIOS' hint")
    t.send(b'\x1b')
    t.wait(lambda: t.has('Select boot device:') and t.has('1. '), "SeaBIOS' menu")
    check('QEMU HARDDISK' in ''.join(t.screen.display) or 'ATA' in ''.join(t.screen.display).upper(), 'the disk is in the menu')
    t.send(b'1')
    t.wait(lambda: not t.has('Select boot device:'), 'the answer')
    check(b'ide' not in t.raw.lower().replace(b'video', b''), 'no messages in the picture')
    t.send(ALT + b'2')
    t.wait(lambda: t.has('(ospite)'), 'a monitor is the default')
    t.send(b'quit\r')
    t.end('quit')
    check(t.raw.lower().count(b'ide') > 3, 'messages are shown at the end')
    t.close()


def refusals(ospite, where):
    for args, word, tty, env in ((['-display', 'curses'], 'terminal', False, {}), (['-display', 'curses', '-daemonize'], '-daemonize', True, {}),
                                 (['-display', 'curses', '-serial', 'stdio'], 'Alt-2', True, {}), (['-display', 'curses,charset=UTF-8'], 'CP437', True, {}),
                                 (['-display', 'curses', '-vga', 'none'], 'graphic card', True, {}), (['-display', 'curses'], 'nosuchterm', True, {'TERM': 'nosuchterm'})):
        master, slave = os.openpty()
        before = termios.tcgetattr(slave)
        p = subprocess.run([ospite, '-accel', 'bt', '-m', '16', *args], stdin=slave if tty else subprocess.DEVNULL, stdout=slave, stderr=subprocess.PIPE, text=True, timeout=120,
                           env={**os.environ, 'TERM': 'xterm', **env})
        check(p.returncode == 1 and word in p.stderr and p.stderr.count('\n') == 1, f'{args}: {p.returncode} {p.stderr!r}')
        check(termios.tcgetattr(slave) == before, f'{args}: the modes of the terminal')
        os.close(master)
        os.close(slave)


def main():
    ospite, boot = sys.argv[1:3]
    where = tempfile.mkdtemp()
    with open(where + '/leaks', 'w') as f:             # ncurses frees little of a terminal that it does not know
        f.write('leak:libncursesw\nleak:libtinfo\n')
    os.environ['LSAN_OPTIONS'] = f'suppressions={where}/leaks:print_suppressions=0'
    with open(where + '/disk', 'wb') as f:
        f.write(script().image(boot))
    m = TerminalMachine(ospite, where)
    try:
        pictures(m, m.terminal)
        keys(m, m.terminal)
        consoles(m, m.terminal)
        m.terminal.send(ALT + b'2')
        m.terminal.wait(lambda: m.terminal.has('(ospite)'), 'the monitor again')
        m.terminal.send(b'quit\r')
        m.terminal.end('quit')
    finally:
        m.terminal.close()
    stalled(ospite, where)
    plain(ospite, where)
    boot_menu(ospite, where)
    refusals(ospite, where)
    shutil.rmtree(where, ignore_errors=True)
    print(f'curses: {checks.counts()}')
    return checks.failed != 0


if __name__ == '__main__':
    sys.exit(main())
