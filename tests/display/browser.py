#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0-or-later
"""noVNC in headless Chromium: browser.py OSPITE BOOT-SECTOR [--keep DIR]

The picture on the page's canvas must be the screen dump, pixel by pixel, through several modes; keys and the mouse must
arrive at the guest's keyboard controller. Skipped, out loud, where chromium or novnc is missing."""
import base64, http.server, json, os, random, shutil, subprocess, sys, tempfile, threading, time
sys.path.append(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
import leash            # noqa: E402, F401
import checks
from checks import check
import golden
from ports import free_port
from script import Script, ours
from vnc import buttons, codes, drain, moved, packets, port

NOVNC = '/usr/share/novnc'


class Browser:
    """Chromium, told what to do through its debugging pipe (file descriptors 3 and 4, messages that end in NUL)."""
    def __init__(self, program, where):
        theirs_in, self.out = os.pipe()
        self.inp, theirs_out = os.pipe()

        def pipes():
            a, b = os.dup(theirs_in), os.dup(theirs_out)
            os.dup2(a, 3)
            os.dup2(b, 4)
        self.process = subprocess.Popen([program, '--headless', '--no-sandbox', '--disable-gpu', '--disable-dev-shm-usage', '--remote-debugging-pipe',
                                         f'--user-data-dir={where}/profile', '--window-size=1300,1000', 'about:blank'],
                                        preexec_fn=pipes, close_fds=False, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        os.close(theirs_in)
        os.close(theirs_out)
        self.number, self.buffer, self.session = 0, b'', None
        self.session = self.ask('Target.attachToTarget', targetId=self.first_page(), flatten=True)['sessionId']

    def first_page(self):
        for _ in range(600):
            for t in self.ask('Target.getTargets')['targetInfos']:
                if t['type'] == 'page':
                    return t['targetId']
            time.sleep(0.1)
        raise SystemExit('chromium opens no page')

    def ask(self, method, **params):
        return self.ask_all((method, params))

    def ask_all(self, *questions):
        """Of questions at once the last one's answer."""
        text = b''
        for method, params in questions:
            self.number += 1
            message = {'id': self.number, 'method': method, 'params': params}
            if self.session:
                message['sessionId'] = self.session
            text += json.dumps(message).encode() + b'\0'
        os.write(self.out, text)
        while True:
            while b'\0' not in self.buffer:
                data = os.read(self.inp, 1 << 16)
                if not data:
                    raise SystemExit('chromium is gone')
                self.buffer += data
            text, self.buffer = self.buffer.split(b'\0', 1)
            got = json.loads(text)
            if got.get('id') == self.number:
                if 'context' in got.get('error', {}).get('message', '').lower():           # one page has gone, the next is not there yet
                    return {'result': {}}
                if 'error' in got:
                    raise SystemExit(f'{method}: {got["error"]}')
                return got['result']

    def value(self, expression):
        return self.ask('Runtime.evaluate', expression=expression, returnByValue=True)['result'].get('value')

    def wait(self, expression, what, seconds=120):
        end = time.time() + seconds
        while not self.value(expression):
            if time.time() > end:
                raise SystemExit(f'the page does not get to: {what}')
            time.sleep(0.1)

    def screenshot(self, path):
        with open(path, 'wb') as f:
            f.write(base64.b64decode(self.ask('Page.captureScreenshot')['data']))

    def end(self):
        self.process.kill()
        self.process.wait()


CANVAS = '''(() => { const c = document.querySelector("canvas"); const d = c.getContext("2d").getImageData(0, 0, c.width, c.height).data;
let s = ""; for (let i = 0; i < d.length; i += 4) s += String.fromCharCode(d[i], d[i + 1], d[i + 2]); return c.width + " " + c.height + " " + btoa(s); })()'''


def canvas(b):
    width, height, text = (b.value(CANVAS) or '0 0 ').split(' ')
    return int(width), int(height), base64.b64decode(text)


def same_picture(b, m, what, seconds=120):
    end = time.time() + seconds
    while time.time() < end:
        x, y = canvas(b), m.picture()
        if x == y:
            check(True, '')
            return
        time.sleep(0.2)
    check(False, f'{what}: the canvas is {x[0]}x{x[1]}, {golden.difference(x, y)}')


def serve():
    class Quiet(http.server.SimpleHTTPRequestHandler):
        def __init__(self, *a, **k):
            super().__init__(*a, directory=NOVNC, **k)

        def log_message(self, *what):
            pass
    server = http.server.ThreadingHTTPServer(('127.0.0.1', 0), Quiet)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    return server


def connect(b, server, web_port):
    b.ask('Page.navigate', url=f'http://127.0.0.1:{server.server_port}/vnc_lite.html?host=127.0.0.1&port={web_port}&path=')
    b.wait('document.getElementById("status") && document.getElementById("status").textContent.startsWith("Connected")', 'a connection')


def machine(ospite, where, *more):
    port = free_port()
    return ours(ospite, where + '/disk', where, ['-vnc', f'unix:{where}/vnc,websocket=127.0.0.1:{port}', *more]), port


def pictures(ospite, boot, b, server, where, keep):
    s, r = Script(), random.Random(5)
    steps = [('text', golden.text(80, 3)), ('more text', golden.more(golden.more_text)), ('VBE', golden.vbe(1024, 768, 32)), ('more VBE', golden.more(golden.more_vbe)),
             ('mode 13h', golden.mode13), ('planes', golden.planar(0x12))]
    for _, step in steps:
        step(s, r)
        s.sync()
    with open(where + '/disk', 'wb') as f:
        f.write(s.image(boot))
    m, web_port = machine(ospite, where)
    try:
        m.sync()
        connect(b, server, web_port)
        for name, _ in steps:
            same_picture(b, m, name)
            if keep:
                b.screenshot(f'{keep}/browser-{name.replace(" ", "-")}.png')
            m.go_on()
            if name != steps[-1][0]:
                m.sync()
    finally:
        m.end()


def input_events(ospite, b, server, where):
    m, web_port = machine(ospite, where, '-S')
    try:
        connect(b, server, web_port)
        b.value('document.querySelector("canvas").focus()')
        port(m, 0x64, 0xd4)
        port(m, 0x60, 0xf4)
        time.sleep(1)
        drain(m)
        for key, code, text in (('h', 'KeyH', 'h'), ('i', 'KeyI', 'i'), ('Enter', 'Enter', None), ('ArrowUp', 'ArrowUp', None)):
            for kind in ('keyDown', 'keyUp'):
                b.ask('Input.dispatchKeyEvent', type=kind, key=key, code=code, windowsVirtualKeyCode=ord(key[0].upper()))
        got = codes(m, 10)
        check(got == [0x23, 0xa3, 0x17, 0x97, 0x1c, 0x9c, 0xe0, 0x48, 0xe0, 0xc8], f'keys: {[hex(x) for x in got]}')
        left, top = b.value('(() => { const r = document.querySelector("canvas").getBoundingClientRect(); return [r.left, r.top]; })()')
        got = []
        for x, y, kind, button, done in ((100, 100, 'mouseMoved', 'none', lambda q: True), (140, 90, 'mouseMoved', 'none', lambda q: moved(q) == (40, 10)),
                                         (140, 90, 'mousePressed', 'left', lambda q: buttons(q) == [1]), (140, 90, 'mouseReleased', 'left', lambda q: q)):
            b.ask('Input.dispatchMouseEvent', type=kind, x=left + x, y=top + y, button=button, clickCount=int(button != 'none'))
            got += packets(m, done)
            time.sleep(0.3)
        check(moved(got) == (40, 10) and [p[0] for p in got if p[0]] == [1] and got[-1][0] == 0, f'mouse: {got}')
    finally:
        m.end()


def main():
    ospite, boot = sys.argv[1:3]
    keep = sys.argv[4] if len(sys.argv) > 4 else None
    program = shutil.which('chromium')
    if not program or not os.path.exists(NOVNC + '/vnc_lite.html'):
        print('skipped: chromium or novnc is not installed')
        return 77
    where = tempfile.mkdtemp()
    server, b = serve(), Browser(program, where)
    try:
        pictures(ospite, boot, b, server, where, keep)
        input_events(ospite, b, server, where)
    finally:
        b.end()
        server.shutdown()
        shutil.rmtree(where, ignore_errors=True)
    print(f'browser: noVNC in {os.path.basename(program)}, {checks.counts()}')
    return checks.failed != 0


if __name__ == '__main__':
    sys.exit(main())
