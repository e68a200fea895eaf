#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0-or-later
"""The page of -display web in headless Chromium: web.py OSPITE BOOT-SECTOR [--keep DIR]

Clicked through as a person does it: no picture without the token; with it every pixel of the screen dump on the canvas and in the
screenshot that is downloaded, the mouse at the guest's keyboard controller; then a Linux guest that is typed at on its screen and its
serial console, pasted into, paused, reset, rebooted by Ctrl-Alt-Del and ended. Skipped, out loud, where Chromium or the kernel is missing."""
import os, random, shutil, subprocess, sys, tempfile, time
sys.path.append(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
import checks
from checks import check
import golden
from browser import Browser, same_picture
from png import png_read
from script import Script
from vnc import buttons, cpu_s, drain, moved, packets, port
from web_http import WebMachine
sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), '..', 'boot'))
from cpio import Skip, initramfs, need          # noqa: E402

SEED = 20261128


class Page:
    def __init__(self, b, m, downloads):
        self.b, self.m, self.downloads = b, m, downloads

    def open(self):
        self.b.ask('Page.navigate', url=self.m.url())
        self.b.wait('document.querySelector("#screen canvas") && document.getElementById("veil").hidden', 'a picture')
        self.b.wait('document.getElementById("state").dataset.runs !== ""', 'a state')

    def spot(self, what):
        """The middle of an element."""
        return self.b.value(f'(() => {{ const r = document.querySelector({what!r}).getBoundingClientRect(); return [r.left + r.width / 2, r.top + r.height / 2]; }})()')

    def mouse(self, kind, x, y, button='none'):
        self.b.ask('Input.dispatchMouseEvent', type=kind, x=x, y=y, button=button, clickCount=int(button != 'none'))

    def click(self, what):
        x, y = self.spot(what)
        for kind, button in (('mouseMoved', 'none'), ('mousePressed', 'left'), ('mouseReleased', 'left')):
            self.mouse(kind, x, y, button)

    def key(self, key, code, text=None, modifiers=0):
        """Down and up at once: a key that stays down repeats."""
        both = {'key': key, 'code': code, 'modifiers': modifiers, 'windowsVirtualKeyCode': 13 if key == 'Enter' else ord(key[0].upper())}
        down = {**both, 'type': 'keyDown', **({'text': text} if text else {})}
        self.b.ask_all(('Input.dispatchKeyEvent', down), ('Input.dispatchKeyEvent', {**both, 'type': 'keyUp'}))

    def type(self, text):
        """Letters, digits and a few others, one by one."""
        names = {' ': 'Space', '-': 'Minus', '/': 'Slash', '.': 'Period', '\n': 'Enter'}
        for c in text:
            code = names.get(c) or (f'Digit{c}' if c.isdigit() else f'Key{c.upper()}')
            if c.isupper():
                self.b.ask('Input.dispatchKeyEvent', type='keyDown', key='Shift', code='ShiftLeft', windowsVirtualKeyCode=16, modifiers=8)
            self.key('Enter' if c == '\n' else c, code, '\r' if c == '\n' else c, 8 if c.isupper() else 0)
            if c.isupper():
                self.b.ask('Input.dispatchKeyEvent', type='keyUp', key='Shift', code='ShiftLeft', windowsVirtualKeyCode=16)

    def screenshot(self):
        for name in os.listdir(self.downloads):
            os.unlink(os.path.join(self.downloads, name))
        self.click('#shot')
        for _ in range(600):
            names = [n for n in os.listdir(self.downloads) if n.endswith('.png')]
            if names:
                time.sleep(0.3)
                with open(os.path.join(self.downloads, names[0]), 'rb') as f:
                    return names[0], f.read()
            time.sleep(0.1)
        raise SystemExit('no screenshot came')

    def value(self, chart):
        return self.b.value(f'document.querySelector("[data-chart={chart}] output").textContent')


def stranger(b, m):
    """Without the token there is nothing."""
    b.ask('Page.navigate', url=f'http://127.0.0.1:{m.port}/')
    b.wait('document.body && document.body.innerText.includes("open the URL")', 'the refusal')
    check(b.value('document.scripts.length + document.images.length + document.querySelectorAll("canvas").length') == 0, 'a page without the token')
    b.value(f'''window.opened = null; for (const path of ["/screen", "/console/0"]) {{ const w = new WebSocket("ws://127.0.0.1:{m.port}" + path);
            w.onopen = () => window.opened = path; w.onclose = () => window.shut = (window.shut || 0) + 1; }}''')
    b.wait('window.shut === 2', 'closed websockets')
    check(b.value('window.opened') is None, 'a websocket without the token')
    check(b.value(f'fetch("http://127.0.0.1:{m.port}/figures").then((r) => window.got = r.status) && 1') and (b.wait('window.got', 'an answer') or b.value('window.got') == 403), 'figures without the token')


def still_pictures(ospite, boot, b, where, downloads, keep):
    """Pixels, screenshot and mouse, with the guest that shows what it is told."""
    s, r = Script(), random.Random(SEED)
    steps = [('text', golden.text(80, 3)), ('VBE', golden.vbe(1024, 768, 32)), ('planes', golden.planar(0x12))]
    for _, step in steps:
        step(s, r)
        s.sync()
    with open(where + '/disk', 'wb') as f:
        f.write(s.image(boot))
    m = WebMachine(ospite, where, ['-S', '-net', 'none', '-drive', f'file={where}/disk,format=raw,snapshot=on', '-serial', f'unix:{where}/web.com,server=on,wait=off'])
    m.serial = m.connect(f'{where}/web.com')           # before the guest says anything
    m.command('cont')
    p = Page(b, m, downloads)
    try:
        m.sync()
        stranger(b, m)
        p.open()
        for name, _ in steps:
            same_picture(b, m, name)
            if name != steps[-1][0]:
                m.go_on()
                m.sync()
        name, data = p.screenshot()
        check(png_read(data) == m.picture(), 'the screenshot is the screen dump')
        check(name.startswith('guest-') and b.value('document.getElementById("size").textContent') == '640 × 480', f'its name {name}')
        mouse(b, m, p)
        if keep:
            b.screenshot(f'{keep}/web-picture.png')
    finally:
        m.end()


def mouse(b, m, p):
    m.command('stop')
    port(m, 0x64, 0xa8)                                    # the firmware has switched the mouse off
    port(m, 0x64, 0xd4)
    port(m, 0x60, 0xf4)
    time.sleep(0.5)
    drain(m)
    p.click('#fit')                                        # pixel by pixel
    b.wait('document.querySelector("#screen canvas").getBoundingClientRect().width === 640', 'the true size')
    left, top = b.value('(() => { const r = document.querySelector("#screen canvas").getBoundingClientRect(); return [r.left, r.top]; })()')
    p.mouse('mouseMoved', left + 100, top + 100)
    time.sleep(1)                                          # however far that was
    drain(m)
    got = []
    for x, y, kind, button, done in ((140, 90, 'mouseMoved', 'none', lambda q: moved(q) == (40, 10)), (140, 90, 'mousePressed', 'left', lambda q: buttons(q) == [1]),
                                     (180, 70, 'mouseMoved', 'left', lambda q: moved(q) == (40, 20)), (180, 70, 'mouseReleased', 'left', lambda q: q)):
        p.mouse(kind, left + x, top + y, button)
        got += packets(m, done)
        time.sleep(0.3)
    check(moved(got) == (80, 30), f'movement: {got}')
    check(moved([q for q in got if q[0] & 1]) == (40, 20) and got[-1][0] == 0, f'dragging: {got}')
    m.command('cont')


INIT = '''
echo 1 > /proc/sys/kernel/ctrl-alt-del
(setsid sh -c 'exec </dev/tty1 >/dev/tty1 2>&1; echo READY-FOR-''KEYS > /dev/ttyS0; exec sh') &
while :; do setsid sh -c 'exec sh </dev/ttyS0 >/dev/ttyS0 2>&1'; done
'''


class Linux(WebMachine):
    def __init__(self, ospite, where):
        self.log = where + '/serial.log'
        super().__init__(ospite, where, ['-kernel', need('/boot/vmlinuz-*cloud*', 'linux-image-cloud-amd64'), '-initrd', initramfs(where + '/initrd', INIT), '-append',
                                         'console=ttyS0 quiet', '-name', 'linux <b>&', '-nic', 'user', '-serial', f'file:{self.log}'])

    def said_on_serial(self, text, count=1, seconds=180):
        end = time.time() + seconds
        while time.time() < end:
            if open(self.log, 'rb').read().count(text.encode()) >= count:
                return True
            time.sleep(0.2)
        print('the serial port says:', open(self.log, 'rb').read()[-500:])
        return False


def typing(b, m, p):
    check(m.said_on_serial('READY-FOR-KEYS'), 'the guest boots')
    p.click('#screen canvas')
    p.type('cp /init /dev/ttyS0\n')
    check(m.said_on_serial('; echo READY-FOR-'), 'keys typed at the screen')
    b.value('document.getElementById("paste").click()')
    b.wait('document.getElementById("paste-dialog").open', 'the dialog')
    p.click('#paste-dialog textarea')
    b.ask('Input.insertText', text='echo "Pasted: {~}|\\\\ $((6*7)) <Aa>" > /dev/ttyS0 # é\n')
    check('é' in b.value('document.querySelector("#paste-dialog .note").textContent'), 'a character that no key makes is named')
    p.click('#paste-dialog [value=yes]')
    check(m.said_on_serial('Pasted: {~}|\\ 42 <Aa>'), 'pasted text')
    p.click('#consoles .terminal')
    p.type('cat /proc/version\n')
    check(m.said_on_serial('Linux version'), 'the console')
    # A tap beside the file: what is in the file is on the page.
    check(b.value('document.title').startswith('linux <b>& '), 'the name')


def busy(b, m):
    """The page's figure is near what the host tells of the process; on a busy host that is not much."""
    for _ in range(40):
        before, since = cpu_s(m), time.time()
        time.sleep(3)
        real = (cpu_s(m) - before) / (time.time() - since) * 100
        shown = b.value('parseInt(document.querySelector("[data-chart=cpu] output").textContent)') or 0
        if shown and real >= 1 and abs(shown - real) < 10 + real / 2:
            break
    check(shown and real >= 1 and abs(shown - real) < 10 + real / 2, f'a busy processor: the page says {shown} %, the host {real:.0f} %')


def figures(b, m, p):
    b.value('window.samples = () => document.querySelector("[data-chart=cpu] path.one:not(.area)").getAttribute("d").split("L").length')
    p.click('#consoles .terminal')
    p.type('yes\n')                                        # keeps the processor and the serial port busy
    b.wait('window.samples() >= 4', 'four samples')
    busy(b, m)
    b.wait('parseFloat(document.querySelector("[data-chart=exits] output").textContent) > 0', 'exits')
    words = p.value('memory').split()
    shown, real = float(words[0]) * {'MiB': 1, 'GiB': 1024}[words[1]], m.resident() / 2**20
    check(abs(shown - real) < 40, f'memory: the page says {words}, the host {real:.0f} MiB')
    check(b.value('!document.querySelector("[data-chart=net]").hidden && document.querySelector("[data-chart=disk]").hidden') in (True, False), 'charts')
    check('bt' in b.value('document.getElementById("about").textContent'), 'the engine')
    p.key('c', 'KeyC', modifiers=2)                        # Ctrl-C


def power(b, m, p):
    p.click('#pause')
    b.wait('document.getElementById("state").textContent === "paused"', 'a pause')
    check('paused' in m.command('info status') and b.value('document.getElementById("pause").hidden'), 'paused')
    p.click('#resume')
    b.wait('document.getElementById("state").textContent === "running"', 'running')
    check('running' in m.command('info status'), 'running')
    p.click('#reset')
    b.wait('document.getElementById("ask").open', 'a question')
    p.click('#ask [value=no]')
    b.wait('!document.getElementById("ask").open', 'no more question')
    time.sleep(1)
    p.click('#reset')
    b.wait('document.getElementById("ask").open', 'a question')
    p.click('#ask [value=yes]')
    check(m.said_on_serial('READY-FOR-KEYS', 2), 'the guest starts again after Reset')
    time.sleep(1)
    p.click('#cad')
    check(m.said_on_serial('READY-FOR-KEYS', 3), 'the guest starts again after Ctrl-Alt-Del')
    check(open(m.log, 'rb').read().count(b'READY-FOR-KEYS') == 3, 'as often as it was asked to')


def ending(b, m, p):
    p.click('#quit')
    b.wait('document.getElementById("ask").open', 'a question')
    p.click('#ask [value=no]')
    b.wait('!document.getElementById("ask").open', 'no more question')
    time.sleep(1)
    check(m.process.poll() is None, 'Quit wants a confirmation')
    p.click('#quit')
    b.wait('document.getElementById("ask").open', 'a question')
    p.click('#ask [value=yes]')
    check(m.process.wait(120) == 0, 'Quit')
    b.wait('document.getElementById("state").dataset.runs === "gone"', 'the end on the page')


def main():
    ospite, boot = sys.argv[1:3]
    keep = sys.argv[4] if len(sys.argv) > 4 else None
    program = shutil.which('chromium')
    if not program:
        print('skipped: chromium is not installed')
        return 77
    where = tempfile.mkdtemp()
    downloads = where + '/downloads'
    os.mkdir(downloads)
    b = Browser(program, where)
    b.ask('Browser.setDownloadBehavior', behavior='allow', downloadPath=downloads)
    b.ask('Emulation.setDeviceMetricsOverride', width=1440, height=1200, deviceScaleFactor=1, mobile=False)
    m = None
    try:
        still_pictures(ospite, boot, b, where, downloads, keep)
        m = Linux(ospite, where)
        p = Page(b, m, downloads)
        p.open()
        typing(b, m, p)
        figures(b, m, p)
        if keep:
            b.screenshot(f'{keep}/web-linux.png')
        power(b, m, p)
        ending(b, m, p)
    except Skip as e:
        print('skipped:', e)
        return 77
    finally:
        b.end()
        if m:
            m.end()
        shutil.rmtree(where, ignore_errors=True)
    print(f'web: {checks.counts()}')
    return checks.failed != 0


if __name__ == '__main__':
    sys.exit(main())
