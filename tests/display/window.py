#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0-or-later
"""The window of -display sdl, on an X server without a screen (Xvfb): window.py OSPITE BOOT-SECTOR

What the X server shows of the window must be the screen dump, pixel by pixel, through several modes; keys and the mouse that xdotool sends must
arrive at the guest's keyboard controller. Skipped, out loud, where Xvfb, xdotool, ImageMagick or SDL is missing."""
import ctypes.util, json, os, random, shutil, socket, subprocess, sys, tempfile, time
sys.path.append(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
import leash            # noqa: E402, F401
import checks
from checks import check
import golden
from ports import free_port
from script import Machine, Script, ppm_read
from vnc import buttons, codes, drain, moved, packets, port


class WindowMachine(Machine):
    def __init__(self, ospite, where, display, args=('-display', 'sdl'), env={}):
        self.name, self.where, self.prompt = 'window', where, b'(ospite) '
        self.process = subprocess.Popen([ospite, '-accel', 'bt', '-m', '32', '-net', 'none', '-drive', f'file={where}/disk,format=raw,snapshot=on', '-name', 'test',
                                         *args, '-monitor', f'unix:{where}/window.mon,server=on,wait=off', '-serial', f'unix:{where}/window.com,server=on'],
                                        stdin=subprocess.DEVNULL, env={**os.environ, 'DISPLAY': display, 'SDL_VIDEODRIVER': 'x11', **env})
        self.serial = self.connect(f'{where}/window.com')
        self.monitor = self.connect(f'{where}/window.mon')
        self.answer()


def x_server():
    """Xvfb on a number that no other test has. One that it chose itself might be that of a server which is about to end, and takes the socket with it.
    When its last client has gone it would begin anew, and turn away who comes at that moment: -noreset."""
    r, w = os.pipe()
    p = subprocess.Popen(['Xvfb', f':{free_port()}', '-displayfd', str(w), '-screen', '0', '1200x900x24', '-nolisten', 'tcp', '-noreset'], pass_fds=[w],
                         stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    os.close(w)
    number = ''
    while not number.endswith('\n') and (data := os.read(r, 20)):
        number += data.decode()
    os.close(r)
    if not number.endswith('\n'):
        raise SystemExit(f'Xvfb ended with status {p.wait()}')
    return p, ':' + number.strip()


def x(display, *args):
    return subprocess.run(args, env={**os.environ, 'DISPLAY': display}, capture_output=True, timeout=120).stdout


def until(condition, seconds=60):
    """Waits until it is true; says whether it is."""
    end = time.time() + seconds
    while not (true := condition()) and time.time() < end:
        time.sleep(0.1)
    return true


def picture(display, window, where):
    x(display, 'import', '-silent', '-window', window, '-depth', '8', f'{where}/window.ppm')
    return ppm_read(f'{where}/window.ppm')


def same(m, display, window, where, what):
    got = want = None
    for _ in range(200):
        got, want = picture(display, window, where), m.picture()
        if got == want:
            break
        time.sleep(0.2)
    check(got == want, '' if got == want else f'{what}: {got[:2]} {golden.difference(got, want) if got[:2] == want[:2] else want[:2]}')


def keys(m, display, window):
    port(m, 0x64, 0xa8)
    port(m, 0x64, 0xd4)
    port(m, 0x60, 0xf4)
    time.sleep(0.5)
    drain(m)
    x(display, 'xdotool', 'windowfocus', '--sync', window)
    time.sleep(0.3)
    drain(m)
    for name in ('h', 'Return', 'Up'):
        x(display, 'xdotool', 'key', name)
    got = codes(m, 8)
    check(got == [0x23, 0xa3, 0x1c, 0x9c, 0xe0, 0x48, 0xe0, 0xc8], f'keys: {[hex(k) for k in got]}')


def mouse(m, display, window):
    x(display, 'xdotool', 'mousemove', '--window', window, '100', '100', 'click', '1')      # takes the mouse

    def title():
        return x(display, 'xdotool', 'getwindowname', window).decode()
    check(until(lambda: 'Ctrl-Alt-G' in title()), f'the title {title()!r}')
    time.sleep(0.7)
    drain(m)
    x(display, 'xdotool', 'mousemove_relative', '--', '7', '-5')
    got = packets(m, lambda q: moved(q) == (7, 5))
    x(display, 'xdotool', 'click', '3')
    got += packets(m, lambda q: buttons(q) == [2, 0])
    check(moved(got) == (7, 5) and buttons(got)[-2:] == [2, 0], f'mouse: {got}')
    x(display, 'xdotool', 'key', 'ctrl+alt+g')
    check(until(lambda: 'Ctrl-Alt-G' not in title()), 'Ctrl-Alt-G lets go of the mouse')
    seen = []

    def all_are_up():
        seen.extend(codes(m, 0))
        return seen.count(0x1d) == seen.count(0x9d) and seen.count(0x38) == seen.count(0xb8)
    check(until(all_are_up) and 0x22 not in seen, f'keys of the chord: {seen}')


def wish(m, display, window):
    """Somebody makes the window another size: virtio-gpu is told."""
    for _ in range(100):                                # the guest may be changing its mode just then, and the window with it
        x(display, 'xdotool', 'windowsize', window, '900', '650')
        time.sleep(0.3)
        got = m.command('info qtree -v')
        if 'wanted size 900x650' in got:
            break
    check('wanted size 900x650' in got, 'the size of the window: ' + ' '.join(l for l in got.split('\n') if 'wanted' in l))


def quit_ask(display, window):
    """What a window manager sends when somebody clicks at the window's button."""
    class Message(ctypes.Structure):
        _fields_ = [('type', ctypes.c_int), ('serial', ctypes.c_ulong), ('send_event', ctypes.c_int), ('display', ctypes.c_void_p), ('window', ctypes.c_ulong),
                    ('message_type', ctypes.c_ulong), ('format', ctypes.c_int), ('data', ctypes.c_long * 5), ('room', ctypes.c_long * 24)]
    x11 = ctypes.CDLL(ctypes.util.find_library('X11'))
    x11.XOpenDisplay.restype = ctypes.c_void_p
    x11.XInternAtom.restype = ctypes.c_ulong
    x11.XInternAtom.argtypes = ctypes.c_void_p, ctypes.c_char_p, ctypes.c_int
    x11.XSendEvent.argtypes = ctypes.c_void_p, ctypes.c_ulong, ctypes.c_int, ctypes.c_long, ctypes.c_void_p
    x11.XSync.argtypes = ctypes.c_void_p, ctypes.c_int
    x11.XCloseDisplay.argtypes = (ctypes.c_void_p,)
    d = x11.XOpenDisplay(display.encode())
    m = Message(33, 0, 1, d, int(window), x11.XInternAtom(d, b'WM_PROTOCOLS', 0), 32)
    m.data[0] = x11.XInternAtom(d, b'WM_DELETE_WINDOW', 0)
    x11.XSendEvent(d, int(window), 0, 0, ctypes.byref(m))
    x11.XSync(d, 0)
    x11.XCloseDisplay(d)


def closed(ospite, where, display):
    """The window's button: it ends the machine, unless window-close=off. What SDL's libraries leave behind when they are unloaded has no name that
    the address sanitizer could leave out, so it looks for no leaks here."""
    env = {'ASAN_OPTIONS': os.environ.get('ASAN_OPTIONS', '') + ':detect_leaks=0'}
    for args, ends in (('sdl,window-close=off,show-cursor=off', False), ('sdl,window-close=on', True)):
        m = WindowMachine(ospite, where, display, ('-display', args, '-qmp', f'unix:{where}/qmp,server=on,wait=off'), env)
        try:
            window = x(display, 'xdotool', 'search', '--sync', '--name', 'ospite .test').decode().split()[0]
            q = m.connect(f'{where}/qmp')
            q.sendall(b'{"execute": "qmp_capabilities"}{"execute": "query-display-options"}')
            lines = q.makefile()
            answers = (a for a in map(json.loads, lines) if 'event' not in a)
            told = [next(answers) for _ in range(3)][2]['return']
            check(told == {'type': 'sdl', 'window-close': ends} | ({} if ends else {'show-cursor': False}), f'query-display-options: {told}')
            quit_ask(display, window)
            until(lambda: m.process.poll() is not None, 60 if ends else 2)
            check(m.process.poll() == (0 if ends else None), f'{args}: {m.process.poll()} after the window was closed')
        finally:
            m.end()


def refusals(ospite, where):
    for env, args, word in (({}, ['-display', 'sdl'], '-display web'), ({'DISPLAY': ':1', 'SDL_VIDEODRIVER': 'nosuch'}, ['-display', 'sdl'], 'no window'),
                            ({}, ['-display', 'sdl', '-vga', 'none'], 'graphic card'), ({}, ['-display', 'sdl,gl=on'], 'gl')):
        clean = {k: v for k, v in os.environ.items() if k not in ('DISPLAY', 'WAYLAND_DISPLAY')}
        p = subprocess.run([ospite, '-accel', 'bt', *args], capture_output=True, text=True, stdin=subprocess.DEVNULL, timeout=120, env={**clean, **env})
        check(p.returncode == 1 and word in p.stderr and p.stderr.count('\n') == 1, f'{env} {args}: {p.returncode} {p.stderr}')


def main():
    ospite, boot = sys.argv[1:3]
    missing = [t for t in ('Xvfb', 'xdotool', 'import') if not shutil.which(t)] + ([] if ctypes.util.find_library('SDL2-2.0') else ['SDL'])
    if missing:
        print('skipped: missing', *missing)
        return 77
    where = tempfile.mkdtemp()
    with open(where + '/leaks', 'w') as f:                             # of those that do not free all: for the address sanitizer
        f.write(''.join(f'leak:{library}\n' for library in ('libSDL2', 'libdbus-1', 'libX11', 'libxcb')))
    os.environ['LSAN_OPTIONS'] = f'suppressions={where}/leaks:print_suppressions=0'
    s, r = Script(), random.Random(20261128)
    steps = [('text', golden.text(80, 3)), ('VBE', golden.vbe(800, 600, 32)), ('planes', golden.planar(0x12))]
    for _, step in steps:
        step(s, r)
        s.sync()
    with open(where + '/disk', 'wb') as f:
        f.write(s.image(boot))
    server, display = x_server()
    m = None
    try:
        m = WindowMachine(ospite, where, display)
        m.sync()
        window = x(display, 'xdotool', 'search', '--sync', '--name', 'ospite .test').decode().split()[0]
        for name, _ in steps:
            same(m, display, window, where, name)
            if name != steps[-1][0]:
                m.go_on()
                m.sync()
        m.command('stop')
        keys(m, display, window)
        mouse(m, display, window)
        x(display, 'xdotool', 'windowclose', window)
        m.end()
        m = WindowMachine(ospite, where, display, ('-vga', 'virtio'))   # a desktop is there: a window is the default
        window = x(display, 'xdotool', 'search', '--sync', '--name', 'ospite .test').decode().split()[0]
        m.sync()
        wish(m, display, window)
        m.end()
        closed(ospite, where, display)
        refusals(ospite, where)
    finally:
        if m:
            m.end()
        server.terminate()
        server.wait()
        shutil.rmtree(where, ignore_errors=True)
    print(f'window: {checks.counts()}')
    return checks.failed != 0


if __name__ == '__main__':
    sys.exit(main())
