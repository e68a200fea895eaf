#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0-or-later
"""Images behind HTTP servers: web.py OSPITE [SEED]

A server that answers ranges rightly, and in the ways that its path names wrongly: an answer that is not what was asked for must
end in one line and status 1, whatever it is, and soon."""
import http.server, os, random, socketserver, ssl, subprocess, sys, tempfile, threading, time

OSPITE = [os.path.abspath(sys.argv[1]), 'img']
SEED = int(sys.argv[2]) if len(sys.argv) > 2 else 20263
SIZE = 5 << 20
cases, failures = 0, []


def run(*args, tool=OSPITE):
    p = subprocess.run([*tool, *map(str, args)], stdin=subprocess.DEVNULL, capture_output=True, timeout=120)
    return p.returncode, p.stdout.decode('latin-1'), p.stderr.decode('latin-1')


def case(ok, what, more=''):
    global cases
    cases += 1
    if not ok:
        failures.append(what)
        print('FAIL', what, more)


class Server(http.server.BaseHTTPRequestHandler):
    """/HOW/FILE: HOW is what is wrong; 'good' nothing."""
    protocol_version = 'HTTP/1.1'
    asked = {}

    def log_message(self, *args):
        pass

    def reply(self, status, headers, body=b''):
        self.send_response(status)
        for key, value in headers:
            self.send_header(key, value)
        if not any(k == 'Content-Length' for k, _ in headers):
            self.send_header('Content-Length', str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def do_GET(self):
        try:
            self.answer()
        except (BrokenPipeError, ConnectionResetError):
            self.close_connection = True

    def answer(self):
        how, name = self.path.strip('/').split('/', 1)
        n = Server.asked[how] = Server.asked.get(how, 0) + 1
        if how == 'missing':
            return self.reply(404, [], b'no')
        if how == 'broken':
            return self.reply(500, [], b'no')
        if how == 'redirect':
            return self.reply(302, [('Location', f'/good/{name}')])
        if how == 'loop':
            return self.reply(302, [('Location', self.path)])
        if how == 'local':
            return self.reply(302, [('Location', f'file://{os.getcwd()}/{name}')])
        if how == 'password' and self.headers.get('Authorization') != 'Basic bWU6b3Blbg==':
            return self.reply(401, [('WWW-Authenticate', 'Basic realm="x"')])
        with open(name, 'rb') as f:
            data = f.read()
        if how == 'empty':
            return self.reply(416, [('Content-Range', 'bytes */0')])
        if how == 'plain':
            return self.reply(200, [], data)
        first, last = (int(x) for x in self.headers['Range'].split('=')[1].split('-'))
        last = min(last, len(data) - 1)
        total, tag, opening = len(data), '"one"', n == 1
        if not opening:                     # all of these answer the first request well
            if how == 'late-plain':
                return self.reply(200, [], data)
            if how == 'stall':
                time.sleep(4)
                self.close_connection = True
                return
            if how == 'other':
                total += 512
            if how == 'tag':
                tag = '"two"'
            if how == 'shifted':
                first, last = first + 1, last + 1
            if how == 'short-range':
                last = first + (last - first) // 2
        body = data[first:last + 1]
        headers = [('ETag', tag), ('Content-Range', f'bytes {first}-{last}/{total}')]
        if not opening and how == 'longer':
            body += bytes(100000)
        if not opening and how == 'shorter':
            body = body[:-1]
        if not opening and how == 'no-range':
            headers = headers[:1]
        if not opening and how == 'garbage':
            self.wfile.write(os.urandom(10000))
            self.close_connection = True
            return
        if not opening and how == 'breaks-off':
            self.reply(206, [*headers, ('Content-Length', str(len(body)))], body[:len(body) // 2])
            self.close_connection = True
            return
        if how == 'huge':
            headers[1] = ('Content-Range', f'bytes {first}-{last}/99999999999999999999')
        if how == 'nonsense':
            headers[1] = ('Content-Range', 'bytes none')
        if how == 'two-bytes':
            return self.reply(206, [('Content-Range', f'bytes 0-1/{total}')], data[:2])
        self.reply(206, headers, body)


class Threads(socketserver.ThreadingMixIn, http.server.HTTPServer):
    daemon_threads = True
    request_queue_size = 64

    def handle_error(self, *args):
        pass                                # clients that had enough


def serve(context=None):
    s = Threads(('127.0.0.1', 0), Server)
    if context:
        s.socket = context.wrap_socket(s.socket, server_side=True)
    threading.Thread(target=s.serve_forever, daemon=True).start()
    return s.server_address[1]


def reads(url, source, *args):
    if os.path.exists('back'):
        os.unlink('back')
    r, _, err = run('convert', *args, '-O', 'raw', url, 'back')
    same = not r and open('back', 'rb').read() == open(source, 'rb').read()
    case(same, f'{url}: status {r}', err)


def refused(words, url, *args):
    if os.path.exists('back'):
        os.unlink('back')
    started = time.time()
    r, _, err = run('convert', *args, '-O', 'raw', url, 'back')
    lines = [l for l in err.splitlines() if 'reading ' not in l]
    case(r == 1 and words in err and len(lines) == 1, f'{url}: status {r} without {words!r}', err)
    case(time.time() - started < 100, f'{url}: took {time.time() - started:.0f} s')


def good(port, rng):
    with open('disk.raw', 'wb') as f:
        f.truncate(SIZE)
        for at in range(0, SIZE, 1 << 18):
            f.seek(at)
            f.write(rng.randbytes(rng.randrange(1, 1 << 17)))
        f.truncate(SIZE)
    for fmt, options in (('qcow2', []), ('qcow2', ['-c']), ('vmdk', []), ('vdi', []), ('vpc', ['-o', 'force_size=on'])):
        run('convert', '--force', '-f', 'raw', '-O', fmt, *options, 'disk.raw', 'image')
        reads(f'http://127.0.0.1:{port}/good/image', 'disk.raw', '-f', fmt, '-m', '8')
    reads(f'http://127.0.0.1:{port}/good/disk.raw', 'disk.raw')
    reads(f'http://127.0.0.1:{port}/redirect/disk.raw', 'disk.raw')
    run('create', '-f', 'qcow2', '-u', '-b', f'http://127.0.0.1:{port}/good/disk.raw', '-F', 'raw', 'over', SIZE)
    reads('over', 'disk.raw', '-f', 'qcow2')
    secret = ['--object', 'secret,id=p,data=open', '--image-opts']
    reads(f'driver=http,url=http://127.0.0.1:{port}/password/disk.raw,username=me,password-secret=p', 'disk.raw', *secret)
    refused('status 401', f'http://127.0.0.1:{port}/password/disk.raw')
    r, out, err = run('info', f'http://127.0.0.1:{port}/good/disk.raw')
    case(r == 0 and f'({SIZE} bytes)' in out and 'unavailable' in out, 'info', out + err)
    r, _, err = run('resize', '-f', 'raw', f'http://127.0.0.1:{port}/good/disk.raw', '+1M')
    case(r == 1 and 'only read' in err, 'resize', err)


def ahead(port):
    """Small reads one behind the other become few requests; reads here and there bring nothing else."""
    before = Server.asked['good']
    r, _, err = run('bench', '-f', 'raw', '-c', SIZE // 32768, '-s', 32768, '-d', 1, f'http://127.0.0.1:{port}/good/disk.raw')
    count = Server.asked['good'] - before
    case(r == 0 and count < 20, f'{SIZE // 32768} reads of 32 KiB: {count} requests', err)
    before = Server.asked['good']
    r, _, err = run('bench', '-f', 'raw', '-c', 30, '-s', 4096, '-S', 135168, '-d', 1, f'http://127.0.0.1:{port}/good/disk.raw')
    case(r == 0 and Server.asked['good'] - before < 40, 'reads here and there', err)


def bad(port):
    for how, words in (('missing', 'not found'), ('broken', 'status 500'), ('loop', 'redirects'), ('local', 'rotocol'), ('plain', 'ranges'),
                       ('huge', 'that byte'), ('nonsense', 'that byte'), ('two-bytes', 'byte'), ('late-plain', 'disk.raw'), ('other', 'another one now'),
                       ('tag', 'another one now'), ('shifted', 'another range'), ('short-range', 'another range'), ('longer', 'disk.raw'),
                       ('shorter', 'disk.raw'), ('no-range', 'with the range'), ('garbage', 'disk.raw'), ('breaks-off', 'disk.raw')):
        refused(words, f'http://127.0.0.1:{port}/{how}/disk.raw', '-f', 'raw')
    refused('disk.raw', f'driver=http,url=http://127.0.0.1:{port}/stall/disk.raw,timeout=1', '--image-opts')
    r, out, err = run('info', '-f', 'raw', f'http://127.0.0.1:{port}/empty/disk.raw')
    case(r == 0 and '(0 bytes)' in out, 'an empty file', out + err)
    for words, url in (('host', 'http://nosuch.invalid/x'), ('no http', 'http:/x'), ("no option 'urll'", 'driver=http,urll=x'),
                       ('no secret with this id', 'driver=http,url=http://127.0.0.1:1/,username=a,password-secret=q'), ('at most 600', 'driver=http,url=http://x/,timeout=601')):
        refused(words, url, *(['--image-opts'] if 'driver' in url else []))


def secure():
    if run('--generate-privkey', '--key-type=ecdsa', '--outfile', 'key.pem', tool=['certtool'])[0]:
        print('SKIPPED: certtool is not here: no https')
        return
    with open('template', 'w') as f:
        f.write('cn=127.0.0.1\nip_address=127.0.0.1\ntls_www_server\n')
    run('--generate-self-signed', '--load-privkey', 'key.pem', '--template', 'template', '--outfile', 'cert.pem', tool=['certtool'])
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain('cert.pem', 'key.pem')
    port = serve(context)
    reads(f'driver=https,url=https://127.0.0.1:{port}/good/disk.raw,sslverify=off', 'disk.raw', '--image-opts')
    refused('ertificate', f'https://127.0.0.1:{port}/good/disk.raw')


def main():
    rng = random.Random(SEED)
    os.environ['no_proxy'] = '127.0.0.1,nosuch.invalid,x'
    with tempfile.TemporaryDirectory(prefix='ospite-http-') as directory:
        os.chdir(directory)
        port = serve()
        good(port, rng)
        ahead(port)
        bad(port)
        secure()
        os.chdir('/')
    print(f'img/http: {cases} cases, seed {SEED}, {len(failures)} failed')
    return 1 if failures else 0


sys.exit(main())
