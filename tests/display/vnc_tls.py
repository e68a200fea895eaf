#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0-or-later
"""VNC over TLS (VeNCrypt) and by secrets: vnc_tls.py OSPITE BOOT-SECTOR

The client is this file's with OpenSSL's TLS; certificates are certtool's."""
import json, os, random, shutil, socket, ssl, struct, subprocess, sys, tempfile
sys.path.append(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
import checks
from checks import check
import golden, rfb
from rfb import Client, Closed
from ports import free_port
from script import Script, ours


def certificates(where):
    """An authority, a server, and a client of another authority."""
    def tool(*args):
        subprocess.run(['certtool', *args], check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    for name, template in (('ca', 'cn = authority\nca\ncert_signing_key\n'), ('server', 'cn = localhost\ndns_name = localhost\ntls_www_server\nsigning_key\n'),
                           ('client', 'cn = client\ntls_www_client\nsigning_key\n')):
        with open(f'{where}/{name}.info', 'w') as f:
            f.write(template + 'expiration_days = 100\n')
        tool('--generate-privkey', '--key-type=ecdsa', '--outfile', f'{where}/{name}-key.pem')
    tool('--generate-self-signed', '--load-privkey', f'{where}/ca-key.pem', '--template', f'{where}/ca.info', '--outfile', f'{where}/ca-cert.pem')
    for name in ('server', 'client'):
        tool('--generate-certificate', '--load-ca-certificate', f'{where}/ca-cert.pem', '--load-ca-privkey', f'{where}/ca-key.pem', '--load-privkey',
             f'{where}/{name}-key.pem', '--template', f'{where}/{name}.info', '--outfile', f'{where}/{name}-cert.pem')


def context(where, anonymous=False, client=False):
    c = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    c.check_hostname = not anonymous
    if anonymous:
        c.verify_mode, c.maximum_version = ssl.CERT_NONE, ssl.TLSVersion.TLSv1_2
        c.set_ciphers('AECDH:ADH:@SECLEVEL=0')
    else:
        c.load_verify_locations(f'{where}/ca-cert.pem')
    if client:
        c.load_cert_chain(f'{where}/client-cert.pem', f'{where}/client-key.pem')
    return c


def begin(path, kind, ctx, password=None, choice=None, split=False):
    """A client behind VeNCrypt and whatever comes in it."""
    c = Client(path, begin=False)
    assert c.read(12) == b'RFB 003.008\n'
    c.send(b'RFB 003.008\n')
    assert c.read(2) == b'\x01\x13'
    c.send(b'\x13')
    assert c.read(2) == b'\0\x02'
    c.send(b'\0\x02')
    assert c.read(1) == b'\0'
    got = struct.unpack('>I', c.read(c.u8() * 4))[0]
    check(got == kind, f'kind {got}, not {kind}')
    c.send(struct.pack('>I', choice or kind))
    if choice:
        return c.read(1) == b'\0'
    assert c.read(1) == b'\x01'
    c.s = ctx.wrap_socket(c.s, server_hostname='localhost')
    if password is not None:
        c.send(rfb.des(password, c.read(16)))
    if struct.unpack('>I', c.read(4))[0]:
        raise PermissionError
    c.send(b'\x01')
    c.width, c.height = struct.unpack('>HH', c.read(4))
    c.server_format = struct.unpack('>BBBBHHHBBB3x', c.read(16))
    c.name = c.read(struct.unpack('>I', c.read(4))[0]).decode()
    c.pixels = bytearray(c.width * c.height * 3)
    return c


def picture(m, path, kind, ctx, password=None, what=''):
    c = begin(path, kind, ctx, password)
    for encoding in (rfb.RAW, rfb.TIGHT):
        c.set_encodings(encoding, rfb.SIZE)
        c.request(0)
        check(c.settle(m.picture), f'{what}: a picture')
    c.close()


def refused(what, *args, **more):
    try:
        begin(*args, **more)
    except TimeoutError:
        return check(False, f'{what} is neither in nor out')
    except (ssl.SSLError, Closed, PermissionError, ConnectionError, OSError):
        return check(True, '')
    return check(False, f'{what} came in')


def hostile(m, path, kind, ctx):
    """In the clear, garbage instead of TLS, half a handshake, plain messages smuggled in before it."""
    r = random.Random(7)
    hello = b'RFB 003.008\n\x13\0\x02' + struct.pack('>I', kind)
    for data in (b'RFB 003.008\n\x01\x01', b'RFB 003.003\n', hello + b'\x01', hello + r.randbytes(5000), hello + b'\x16\x03\x01\x40\x00' + b'x' * 100,
                 hello[:-1] + b'\0' * 5, b'RFB 003.008\n\x13\x01\x00', hello + b'\x01' + b'\0' * 20):
        s = socket.socket(socket.AF_UNIX)
        s.settimeout(60)
        s.connect(path)
        s.sendall(data)
        s.shutdown(socket.SHUT_WR)
        got = b''
        try:
            while piece := s.recv(4096):
                got += piece
        except ConnectionError:
            pass
        check(b'ospite' not in got, f'after {data[:20]} a name came')
        s.close()
    for _ in range(200):
        c = Client(path, begin=False)
        c.read(12)
        c.send(hello[:r.randint(1, len(hello))])
        c.s.close()
    picture(m, path, kind, ctx, what='afterwards')


def websocket(where, port, ctx, m):
    s = ctx.wrap_socket(socket.create_connection(('127.0.0.1', port)), server_hostname='localhost')
    c = Client.__new__(Client)
    c.s, c.web, c.buffer, c.frame_left, c.bytes = s, False, b'', 0, 0
    c.upgrade()
    check(c.read(12) == b'RFB 003.008\n', 'RFB in a websocket in TLS')
    c.send(b'RFB 003.008\n')
    check(c.read(2) == b'\x01\x01', 'no second TLS in it')
    s.close()


def run(ospite, where, args, test, extra=()):
    with_machine(ours(ospite, where + '/disk', where, [*extra, '-vnc', f'unix:{where}/vnc,{args}']), where, test)


def with_machine(m, where, test):
    try:
        m.sync()
        test(m, f'{where}/vnc')
        check(m.process.poll() is None, 'the machine runs on')
    finally:
        m.end()


def main():
    ospite, boot = sys.argv[1:3]
    if not shutil.which('certtool'):
        print('skipped: certtool is not installed')
        return 77
    where = tempfile.mkdtemp()
    s = Script()
    golden.vbe(800, 600, 32)(s, random.Random(3))
    s.sync()
    with open(where + '/disk', 'wb') as f:
        f.write(s.image(boot))
    with open(where + '/secret', 'w') as f:
        f.write('open me')
    certificates(where)
    x509 = ['-object', f'tls-creds-x509,id=t,dir={where},endpoint=server,verify-peer=off']
    verify = ['-object', f'tls-creds-x509,id=t,dir={where},endpoint=server']
    anon = ['-object', 'tls-creds-anon,id=t,endpoint=server']
    secret = ['-object', f'secret,id=s,file={where}/secret']

    def plain(m, path, web_port):
        ctx = context(where)
        picture(m, path, 260, ctx, what='x509')
        check('vencrypt+x509+none' in m.command('info vnc'), 'info vnc')
        check(begin(path, 260, ctx, choice=257), 'a kind that was not offered')
        websocket(where, web_port, ctx, m)
        hostile(m, path, 260, ctx)

    def with_password(m, path):
        picture(m, path, 261, context(where), 'open me', 'x509 and password')
        refused('a wrong password', path, 261, context(where), 'open it')

    def anonymous(m, path):
        picture(m, path, 257, context(where, True), what='anonymous')

    def verified(m, path):
        picture(m, path, 260, context(where, client=True), what='a client with a certificate')
        refused('a client without a certificate', path, 260, context(where))

    def reloaded(m, path):
        """Other certificates: who is in stays in, who comes next sees them; wrong files change nothing."""
        def reload(error=None):
            q.sendall(b'{"execute": "display-reload", "arguments": {"type": "vnc", "tls-certs": true}}\n')
            answer = next(a for a in map(json.loads, lines) if 'event' not in a)
            check(error in answer['error']['desc'] if error else answer == {'return': {}}, f'display-reload: {answer}')

        def shown(client):
            return client.s.getpeercert(True)
        q = socket.socket(socket.AF_UNIX)
        q.connect(f'{where}/qmp')
        lines = q.makefile()
        q.sendall(b'{"execute": "qmp_capabilities"}\n')
        lines.readline(), lines.readline()
        old = context(where)
        first = begin(path, 260, old)
        first.set_encodings(rfb.RAW)
        for _ in range(3):                             # also with sessions of one time alone, and of none
            os.rename(f'{where}/server-key.pem', f'{where}/server-key.old')
            reload('server-key.pem')
            check(shown(begin(path, 260, old)) == shown(first), 'wrong files change nothing')
            certificates(where)
            reload()
            other = begin(path, 260, context(where))
            check(shown(other) != shown(first), 'another certificate')
            refused('who trusts the old authority', path, 260, old)
            first.request(0)
            check(first.settle(m.picture) and shown(first) != shown(other), 'who was in stays in')
            other.close()
            first.close()
            old = context(where)
            first = begin(path, 260, old)
            first.set_encodings(rfb.RAW)
        picture(m, path, 260, context(where), what='the last certificate')

    def secret_alone(m, path):
        c = Client(path, password='open me')
        check(c.name == 'ospite', 'password-secret')
        c.close()
    try:
        vnc = f'unix:{where}/vnc,tls-creds=t,websocket=127.0.0.1:'
        web_port = free_port()
        m = ours(ospite, where + '/disk', where, [*x509, '-vnc', f'{vnc}{web_port}'])
        with_machine(m, where, lambda m, path: plain(m, path, web_port))
        run(ospite, where, 'tls-creds=t,password-secret=s', with_password, x509 + secret)
        run(ospite, where, 'tls-creds=t', anonymous, anon)
        run(ospite, where, 'tls-creds=t', verified, verify)
        run(ospite, where, 'tls-creds=t', reloaded, [*x509, '-qmp', f'unix:{where}/qmp,server=on,wait=off'])
        run(ospite, where, 'password-secret=s', secret_alone, secret)
        for args, word in ((['-vnc', ':1,tls-creds=t'], "id 't'"), ([*anon, '-vnc', ':1,tls-creds=t,websocket=on'], 'tls-creds-x509'), (['-vnc', ':1,password-secret=s'], "'s'"),
                           (['-object', 'tls-creds-x509,id=t,dir=/nonexistent,endpoint=server', '-vnc', ':1,tls-creds=t'], '/nonexistent'),
                           (['-object', 'tls-creds-anon,id=t', '-vnc', ':1,tls-creds=t'], 'endpoint=server')):
            p = subprocess.run([ospite, *args], capture_output=True, text=True, stdin=subprocess.DEVNULL, timeout=120)
            check(p.returncode == 1 and word in p.stderr and p.stderr.count('\n') == 1, f'{args}: {p.returncode} {p.stderr}')
    finally:
        shutil.rmtree(where, ignore_errors=True)
    print(f'vnc-tls: {checks.counts()}')
    return checks.failed != 0


if __name__ == '__main__':
    sys.exit(main())
