#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0-or-later
"""The web server without a browser: who gets in, and hostile peers: web_http.py OSPITE BOOT-SECTOR"""
import base64, hashlib, http.client, json, os, random, re, shutil, socket, subprocess, sys, tempfile, threading, time, zlib
sys.path.append(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
import leash            # noqa: E402, F401
import checks
from checks import check
from script import Machine, Script

SEED = 20261128


class WebMachine(Machine):
    """A guest with a page; .url is the last one that was printed."""
    def __init__(self, ospite, where, args=(), monitor=True):
        self.name, self.where, self.prompt, self.said = 'web', where, b'(ospite) ', []
        more = ['-monitor', f'unix:{where}/web.mon,server=on,wait=off'] if monitor else []
        self.process = subprocess.Popen([ospite, '-accel', 'bt', '-m', '256', '-display', 'web=0', *more, *args], stdin=subprocess.DEVNULL,
                                        stderr=subprocess.PIPE, text=True)
        threading.Thread(target=self.listen, daemon=True).start()
        for _ in range(1200):
            if self.urls() or self.process.poll() is not None:
                break
            time.sleep(0.05)
        if not self.urls():
            raise SystemExit(f'no URL: {self.said}')
        self.port = int(re.search(r':(\d+)/', self.url()).group(1))
        if monitor:
            self.monitor = self.connect(f'{where}/web.mon')
            self.answer()

    def listen(self):
        for line in self.process.stderr:
            self.said.append(line.strip())

    def urls(self):
        return [m.group(0) for line in self.said for m in re.finditer(r'http://\S+/\?token=[0-9a-f]{32}', line)]

    def url(self):
        return self.urls()[-1]

    def resident(self):
        return int(open(f'/proc/{self.process.pid}/statm').read().split()[1]) * os.sysconf('SC_PAGE_SIZE')


def ask(port, path, method='GET', headers=None, host=None, cookie=None):
    """(status, headers, body); a Host of 127.0.0.1 unless another is given."""
    c = http.client.HTTPConnection('127.0.0.1', port, timeout=60)
    c.putrequest(method, path, skip_host=True, skip_accept_encoding=True)
    c.putheader('Host', host or f'127.0.0.1:{port}')
    for k, v in (headers or {}).items():
        c.putheader(k, v)
    if cookie:
        c.putheader('Cookie', cookie)
    c.endheaders()
    r = c.getresponse()
    body = r.read()
    c.close()
    return r.status, dict(r.getheaders()), body


def raw(port, data, seconds=60):
    """What comes back for these bytes, until the server closes."""
    s = socket.create_connection(('127.0.0.1', port), timeout=seconds)
    got = b''
    try:
        s.sendall(data)
        while piece := s.recv(65536):
            got += piece
    except OSError:
        pass
    s.close()
    return got


UPGRADE = {'Upgrade': 'websocket', 'Connection': 'Upgrade', 'Sec-WebSocket-Version': '13', 'Sec-WebSocket-Key': base64.b64encode(b'0123456789abcdef').decode()}
PATHS = ['/', '/index.html', '/page.js', '/novnc.js', '/figures', '/screen', '/console/0', '/do/quit', '/nothing', '/?token=' + '0' * 32, '/?token=']


def sessions(m):
    """The token is good once, the session stays, everything else is 403."""
    port = m.port
    for path in PATHS:
        for method in ('GET', 'POST'):
            status, _, body = ask(port, path, method, {'Origin': f'http://127.0.0.1:{port}', **UPGRADE})
            check(status == 403 and b'<html' not in body, f'{method} {path} without a session: {status}')
    token = m.url().split('=')[1]
    for path in (f'/page.js?token={token}', f'/figures?token={token}'):
        check(ask(port, path)[0] == 403, 'the token opens the page, nothing else')
    check(ask(port, f'/?token={token}', 'POST')[0] == 403, 'the token with POST')
    status, headers, body = ask(port, f'/?token={token}')
    cookie = headers.get('Set-Cookie', '')
    for _ in range(600):
        if len(m.urls()) == 2:
            break
        time.sleep(0.1)
    check(status == 200 and b'<!DOCTYPE html>' in body, f'the page: {status}')
    check(re.fullmatch(rf'ospite-{port}=[0-9a-f]{{32}}; Path=/; HttpOnly; SameSite=Strict', cookie), f'cookie: {cookie}')
    check("default-src 'self'" in headers['Content-Security-Policy'] and headers['X-Content-Type-Options'] == 'nosniff', 'headers')
    check(token not in cookie and len(m.urls()) == 2 and m.url().split('=')[1] != token, 'the next URL is printed')
    check(ask(port, f'/?token={token}')[0] == 403, 'the token a second time')
    cookie = cookie.split(';')[0]
    check(ask(port, '/', cookie=cookie)[0] == 200 and ask(port, '/figures', cookie=f'a=b; {cookie}; c=d')[0] == 200, 'the session')
    for wrong in (cookie[:-1], cookie + '0', cookie[:-1] + ('0' if cookie[-1] != '0' else '1'), cookie.replace(str(port), str(port + 1)), f'ospite-{port}='):
        check(ask(port, '/', cookie=wrong)[0] == 403, f'the cookie {wrong}')
    check(m.command('info web').count(m.url()) == 1, 'info web shows the URL')
    return cookie


def origins(m, cookie):
    """Other names of this host, and other pages."""
    port = m.port
    for host, ok in ((f'127.0.0.1:{port}', 1), (f'localhost:{port}', 1), ('localhost:8080', 1), (f'[::1]:{port}', 1), ('10.1.2.3', 1), (f'evil.example:{port}', 0),
                     (f'localhost.evil.example:{port}', 0), ('127.0.0.1.evil.example', 0), ('[::1].evil', 0), ('0x7f000001', 0), ('2130706433', 0)):
        status = ask(port, '/figures', host=host, cookie=cookie)[0]
        check(status == (200 if ok else 421), f'Host {host}: {status}')
    ours = f'http://127.0.0.1:{port}'
    for origin, ok in ((ours, 1), (None, 0), ('null', 0), (f'http://127.0.0.1:{port + 1}', 0), (f'http://localhost:{port}', 0), ('http://evil.example', 0),
                       (f'http://evil.example/{ours}', 0), (ours + '.evil.example', 0)):
        headers = {'Origin': origin} if origin else {}
        status = ask(port, '/do/resume', 'POST', headers, cookie=cookie)[0]
        check(status == (204 if ok else 403), f'POST with Origin {origin}: {status}')
        if not ok:
            for path in ('/screen', '/console/0'):
                check(ask(port, path, 'GET', {**headers, **UPGRADE}, cookie=cookie)[0] == 403, f'{path} with Origin {origin}')
    check(ask(port, '/do/quit', 'GET', {'Origin': ours}, cookie=cookie)[0] == 405, 'GET /do/quit')
    check(ask(port, '/do/dance', 'POST', {'Origin': ours}, cookie=cookie)[0] == 409, 'an unknown command')
    for path in ('/nothing', '/console/9', '/console/', '/console/00', '/../etc/passwd', '/page.js/'):
        status = ask(port, path, 'GET', {'Origin': ours, **UPGRADE}, cookie=cookie)[0]
        check(status == 404, f'{path}: {status}')


def files(m, cookie):
    """All files that the page names are there, packed and plain."""
    port = m.port
    wanted, seen = ['/'], set()
    while wanted:
        path = wanted.pop()
        if path in seen:
            continue
        seen.add(path)
        status, headers, plain = ask(port, path, cookie=cookie)
        _, packed_headers, packed = ask(port, path, headers={'Accept-Encoding': 'gzip, br'}, cookie=cookie)
        check(status == 200 and packed_headers.get('Content-Encoding') == 'gzip' and zlib.decompress(packed, 31) == plain, f'{path}: {status}')
        if path not in ('/novnc.js', '/xterm.js'):
            wanted += re.findall(r'''(?:src=|href=|from )["'](/[a-z.]+)["']''', plain.decode())
    check(len(seen) >= 10, f'files: {seen}')
    figures = json.loads(ask(port, '/figures', cookie=cookie)[2])
    check(figures['state'] == 'running' and figures['ram_bytes'] == 256 << 20 and figures['consoles'] == ['COM1'] and figures['screen'], f'figures: {figures}')
    check(abs(figures['resident_bytes'] - m.resident()) < 64 << 20, 'resident memory')


def malformed(m, cookie):
    port, host = m.port, f'Host: 127.0.0.1:{m.port}\r\n'
    session = host + f'Cookie: {cookie}\r\n'
    for data, status in (
            ('GET / HTTP/1.1\r\n\r\n', 400), (f'GET / HTTP/1.1\r\n{host}{host}\r\n', 400), (f'GET  / HTTP/1.1\r\n{host}\r\n', 400), (f'GET /\r\n{host}\r\n', 400),
            (f'GET / HTTP/2.0\r\n{host}\r\n', 505), (f'G\x01T / HTTP/1.1\r\n{host}\r\n', 400), (f'GET http://x/ HTTP/1.1\r\n{host}\r\n', 400),
            (f'GET / HTTP/1.1\r\n{host}A b: c\r\n\r\n', 400), (f'GET / HTTP/1.1\r\n{host}A: b\r\n folded\r\n\r\n', 400), (f'GET / HTTP/1.1\n{host}\r\n\r\n', 400),
            (f'GET / HTTP/1.1\r\n{host}A: b\rc\r\n\r\n', 400), (f'GET / HTTP/1.1\r\n{host}A: \0\r\n\r\n', 400), (f'GET / HTTP/1.1\r\n{host}Transfer-Encoding: chunked\r\n\r\n', 501),
            (f'POST / HTTP/1.1\r\n{host}Content-Length: 5\r\n\r\nhello', 413), (f'GET / HTTP/1.1\r\n{host}' + 'a: b\r\n' * 100 + '\r\n', 431),
            (f'GET / HTTP/1.1\r\n{host}A: ' + 'x' * 20000, 431), ('x' * 20000, 431), (f'PUT / HTTP/1.1\r\n{session}Origin: http://127.0.0.1:{port}\r\n\r\n', 405),
            (f'GET /screen HTTP/1.1\r\n{session}Origin: http://127.0.0.1:{port}\r\n\r\n', 426)):
        got = raw(port, data.encode('latin-1'))
        check(got.startswith(f'HTTP/1.1 {status} '.encode()), f'{data[:60]!r}: {got[:40]}')
    # HTTP/1.0 without a Host is nobody's page.
    check(raw(port, b'GET / HTTP/1.0\r\n\r\n').startswith(b'HTTP/1.1 421 '), 'HTTP/1.0')


def pipelined(m, cookie):
    """Answers come in order, one at a time; who asks and does not read costs next to nothing."""
    port = m.port
    request = f'GET /novnc.js HTTP/1.1\r\nHost: 127.0.0.1:{port}\r\nCookie: {cookie}\r\n\r\n'.encode()
    last = request.replace(b'\r\n\r\n', b'\r\nConnection: close\r\n\r\n').replace(b'/novnc.js', b'/figures')
    got = raw(port, request * 3 + last)
    check(got.count(b'HTTP/1.1 200 OK') == 4 and got.endswith(b'}'), 'pipelined requests')
    before, greedy = m.resident(), []
    for _ in range(20):
        s = socket.create_connection(('127.0.0.1', port))
        s.setblocking(False)
        try:
            for _ in range(200):
                s.send(request * 20)
        except BlockingIOError:
            pass
        greedy.append(s)
    time.sleep(1)
    check(ask(port, '/figures', cookie=cookie)[0] == 200, 'others are served meanwhile')
    check(m.resident() - before < 32 << 20, f'20 that do not read cost {(m.resident() - before) >> 20} MiB')
    for s in greedy:
        s.close()


def crowd(m, cookie):
    """More connections than there are places, and slow ones: a browser still comes in; who does not finish is closed."""
    port, begun = m.port, time.time()
    silent = [socket.create_connection(('127.0.0.1', port)) for _ in range(150)]
    for s in silent[::2]:
        try:
            s.send(b'GET / HTTP/1.1\r\nHost: ')
        except OSError:
            pass                                           # had to make room already
    check(ask(port, '/figures', cookie=cookie)[0] == 200, 'a browser among 150 silent connections')
    check(m.command('info web').count('Connection:') <= 64, 'at most 64 connections')
    ended = 0
    while time.time() < begun + 60 and ended < len(silent):
        ended = 0
        for s in silent:
            s.setblocking(False)
            try:
                s.send(b'x')                               # a byte now and then: slow loris
                ended += s.recv(1) == b''
            except BlockingIOError:
                pass
            except OSError:
                ended += 1
        time.sleep(0.3)
    check(ended == len(silent), f'{len(silent) - ended} slow connections are still open after a minute')
    for s in silent:
        s.close()


def churn(m, cookie):
    """Fifty connections a second, most of them rude."""
    port, r, descriptors = m.port, random.Random(SEED), len(os.listdir(f'/proc/{m.process.pid}/fd'))
    good = f'GET /figures HTTP/1.1\r\nHost: 127.0.0.1:{port}\r\nCookie: {cookie}\r\n\r\n'.encode()
    for i in range(400):
        data = bytearray(good * r.randint(1, 3))
        for _ in range(r.randint(0, 6)):
            data[r.randrange(len(data))] = r.randrange(256)
        s = socket.create_connection(('127.0.0.1', port))
        s.sendall(data[:r.randint(1, len(data))])
        if i % 3 == 0:
            s.settimeout(0.02)
            try:
                s.recv(100)
            except OSError:
                pass
        s.close()
    check(ask(port, '/figures', cookie=cookie)[0] == 200, 'after 400 rude connections')
    for _ in range(600):
        left = len(os.listdir(f'/proc/{m.process.pid}/fd'))
        if left <= descriptors + 3:
            break
        time.sleep(0.05)
    check(left <= descriptors + 3, f'descriptors: {descriptors} before, {left} after')


class Console:
    """The websocket of a console."""
    def __init__(self, port, cookie, number=0, path=None):
        self.s = socket.create_connection(('127.0.0.1', port), timeout=60)
        head = f'GET {path or f"/console/{number}"} HTTP/1.1\r\nHost: 127.0.0.1:{port}\r\nOrigin: http://127.0.0.1:{port}\r\nCookie: {cookie}\r\n'
        self.s.sendall((head + ''.join(f'{k}: {v}\r\n' for k, v in UPGRADE.items()) + '\r\n').encode())
        self.buffer, self.text = b'', b''
        while b'\r\n\r\n' not in self.buffer:
            self.buffer += self.s.recv(4096)
        head, self.buffer = self.buffer.split(b'\r\n\r\n', 1)
        want = base64.b64encode(hashlib.sha1(UPGRADE['Sec-WebSocket-Key'].encode() + b'258EAFA5-E914-47DA-95CA-C5AB0DC85B11').digest())
        assert b' 101 ' in head and want in head, head

    def send(self, data):
        for at in range(0, len(data), 120):
            piece = data[at:at + 120]
            self.s.sendall(bytes([0x82, 0x80 | len(piece), 1, 2, 3, 4]) + bytes(b ^ (i % 4 + 1) for i, b in enumerate(piece)))

    def take(self, size):
        while len(self.buffer) < size:
            data = self.s.recv(65536)
            if not data:
                raise EOFError
            self.buffer += data
        data, self.buffer = self.buffer[:size], self.buffer[size:]
        return data

    def wait(self, word):
        while word not in self.text:
            length = self.take(2)[1]
            if length == 126:
                length = int.from_bytes(self.take(2), 'big')
            self.text += self.take(length)
        return True


def consoles(m, cookie):
    """What the guest says goes to all, and to who comes later; what they say goes to the guest, in order, however fast it comes."""
    a, b = Console(m.port, cookie), Console(m.port, cookie)
    m.com.sendall(b'both')                                 # the port's own peer hears and speaks as ever
    m.command('o /b 0x3f8 0x48')
    m.command('o /b 0x3f8 0x69')
    check(a.wait(b'Hi') and b.wait(b'Hi') and m.com.recv(2, socket.MSG_WAITALL) == b'Hi', 'output')
    check(Console(m.port, cookie).wait(b'Hi'), 'what was said before')

    def read(count):
        got = bytearray()
        while len(got) < count:
            if not int(m.command('i /b 0x3fd').split('=')[1].split()[0], 16) & 1:
                time.sleep(0.02)
                continue
            got.append(int(m.command('i /b 0x3f8').split('=')[1].split()[0], 16))
        return bytes(got)
    check(read(4) == b'both', 'the peer of the port')
    sent = bytes(random.Random(SEED).randrange(32, 127) for _ in range(300))
    a.send(sent)                                           # into a FIFO that nobody reads yet
    time.sleep(0.3)
    check(read(300) == sent, '300 keys, in order')
    before = m.resident()
    for _ in range(300):                                   # 20 MB of pings, whose pongs nobody reads
        a.s.sendall((b'\x89\xfd' + bytes(4) + bytes(125)) * 500)
    check(m.resident() - before < 8 << 20, f'pings cost {(m.resident() - before) >> 20} MiB')


def sizes(ospite, where):
    """What the page is told of terminals: -serial vc:COLSCxROWSC, in pixels, by -chardev, and nothing."""
    m = WebMachine(ospite, where, ['-S', '-net', 'none', '-serial', 'vc:132Cx43C', '-serial', 'vc:800x170', '-chardev', 'vc,id=v,cols=100,height=320', '-serial', 'chardev:v', '-serial', 'null'])
    try:
        cookie = ask(m.port, m.url().split(str(m.port))[1])[1]['Set-Cookie'].split(';')[0]
        f = json.loads(ask(m.port, '/figures', cookie=cookie)[2])
        check(f['console_sizes'] == [[132, 43], [100, 10], [100, 20], [0, 0]] and len(f['consoles']) == 4, f'sizes: {f}')
    finally:
        m.end()


def starved(m, cookie):
    """No descriptor is left: who connects then is not asked for in a circle, and taken when there is one again."""
    m.command('stop')
    with m.without_descriptors():
        s = socket.create_connection(('127.0.0.1', m.port), timeout=60)
        s.sendall(f'GET /figures HTTP/1.1\r\nHost: 127.0.0.1:{m.port}\r\nCookie: {cookie}\r\nConnection: close\r\n\r\n'.encode())
        before = m.cpu_s()
        time.sleep(2)
        used = m.cpu_s() - before
    check(used < 0.2, f'{used:.2f} s of the processor for a connection that cannot be taken')
    check(s.recv(12) == b'HTTP/1.1 200', 'it is taken later')
    s.close()
    m.command('cont')


def main():
    os.environ['ASAN_OPTIONS'] = os.environ.get('ASAN_OPTIONS', '') + ':quarantine_size_mb=1'         # memory in use is looked at
    ospite, boot = sys.argv[1:3]
    where = tempfile.mkdtemp()
    with open(where + '/disk', 'wb') as f:
        f.write(Script().image(boot))
    com = ['-serial', f'unix:{where}/com,server=on,wait=off', '-net', 'none', '-drive', f'file={where}/disk,format=raw,snapshot=on']
    sizes(ospite, where)
    m = WebMachine(ospite, where, com)
    try:
        m.com = m.connect(where + '/com')
        cookie = sessions(m)
        origins(m, cookie)
        files(m, cookie)
        malformed(m, cookie)
        pipelined(m, cookie)
        m.command('stop')
        consoles(m, cookie)
        m.command('cont')
        churn(m, cookie)
        crowd(m, cookie)
        starved(m, cookie)
        check(m.process.poll() is None and 'running' in m.command('info status'), 'the machine runs on')
        status = ask(m.port, '/do/quit', 'POST', {'Origin': f'http://127.0.0.1:{m.port}'}, cookie=cookie)[0]
        check(status == 204 and m.process.wait(120) == 0, 'quit')
    finally:
        m.end()
        shutil.rmtree(where, ignore_errors=True)
    print(f'web-http: {checks.counts()}, seed {SEED}')
    return checks.failed != 0


if __name__ == '__main__':
    sys.exit(main())
