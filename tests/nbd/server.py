#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0-or-later
"""'ospite nbd' against libnbd's and QEMU's clients, and against clients that mean harm: server.py OSPITE

Images are made by qemu-img, written through our server and read by qemu-img, and the other way round. Fixed seeds."""
import json, os, random, re, shutil, signal, socket, struct, subprocess, sys, tempfile, time
sys.path.append(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
import checks                                   # noqa: E402
from checks import check                        # noqa: E402
import leash            # noqa: E402, F401
from ports import listens_wait                   # noqa: E402

OSPITE = os.path.abspath(sys.argv[1])
PAGE = os.path.join(os.path.dirname(os.path.abspath(__file__)), '../../docs/man/ospite-nbd.1')
SEED = 20
rng = random.Random(SEED)
MISSING = [t for t in ('nbdinfo', 'nbdcopy', 'qemu-img', 'qemu-io', 'certtool', 'psktool', 'qemu-nbd', 'nbdkit') if not shutil.which(t)]


def run(*args, timeout=200):
    p = subprocess.run(args, stdin=subprocess.DEVNULL, capture_output=True, timeout=timeout)
    return p.returncode, p.stdout.decode('latin-1'), p.stderr.decode('latin-1')


def good(*args):
    status, out, err = run(*args)
    check(status == 0, f'{" ".join(args)}: status {status}: {out}{err}')
    return out


class Server:
    """One that runs until the block ends; it must then end by SIGTERM with status 0."""
    def __init__(self, *args, sock='s', status=0):
        self.sock, self.want = os.path.abspath(sock), status
        self.process = subprocess.Popen([OSPITE, 'nbd', '-k', self.sock, *args], stderr=subprocess.PIPE)
        listens_wait(self.sock, self.process)
        self.uri = f'nbd+unix:///?socket={self.sock}'

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.process.send_signal(signal.SIGTERM)
        try:
            err = self.process.communicate(timeout=60)[1].decode()
        except subprocess.TimeoutExpired:
            self.process.kill()
            err = 'still running 60 s after SIGTERM'
        check(self.process.returncode == self.want, f'server ended with {self.process.returncode}: {err}')
        check('Sanitizer' not in err, err)
        check(not os.path.exists(self.sock), 'the socket is left over')


class Raw:
    """The protocol by hand."""
    def __init__(self, path, negotiate='', structured=False, flags=3):
        self.s = socket.socket(socket.AF_UNIX)
        self.s.settimeout(60)
        for _ in range(6000):
            try:
                self.s.connect(path)
                break
            except (BlockingIOError, ConnectionRefusedError):     # the backlog is full, or not there yet
                time.sleep(.01)
        if negotiate is None:
            return
        assert self.take(18)[:16] == b'NBDMAGICIHAVEOPT'
        self.s.sendall(struct.pack('>I', flags))
        if structured:
            check(self.option(8)[0][0] == 1, 'structured replies')
            self.option(10, struct.pack('>I', 0) + struct.pack('>I', 1) + struct.pack('>I', 15) + b'base:allocation')
        if negotiate is not False:
            name = negotiate.encode()
            reply = self.option(7, struct.pack('>I', len(name)) + name + b'\0\0')
            check(reply[-1][0] == 1, f'GO {negotiate!r}: {reply}')
            for kind, data in reply:
                if kind == 3 and data[:2] == b'\0\0':
                    self.size, self.flags = struct.unpack('>QH', data[2:])

    def take(self, n):
        data = b''
        while len(data) < n:
            more = self.s.recv(n - len(data))
            if not more:
                raise EOFError
            data += more
        return data

    def option(self, number, data=b'', length=None):
        self.s.sendall(struct.pack('>8sII', b'IHAVEOPT', number, len(data) if length is None else length) + data)
        answers = []
        while True:
            magic, what, kind, size = struct.unpack('>QIII', self.take(20))
            check(magic == 0x3e889045565a9 and what == number, 'option reply')
            answers.append((kind, self.take(size)))
            if kind == 1 or kind & 1 << 31:
                return answers

    def send(self, command, offset=0, length=0, data=b'', flags=0, handle=1, magic=0x25609513):
        self.s.sendall(struct.pack('>IHHQQI', magic, flags, command, handle, offset, length) + data)

    def simple(self, size=0):
        magic, error, handle = struct.unpack('>IIQ', self.take(16))
        check(magic == 0x67446698, f'reply magic {magic:x}')
        return error, handle, self.take(size) if not error else b''

    def ask(self, *args, size=0, **kw):
        self.send(*args, **kw)
        return self.simple(size)

    def is_open(self):
        try:
            return self.ask(3)[0] == 0
        except (OSError, EOFError):
            return False


def tools():
    good('qemu-img', 'create', '-q', '-f', 'qcow2', 'a.qcow2', '64M')
    with open('want.raw', 'wb') as f:
        f.truncate(64 << 20)
        for _ in range(120):
            f.seek(rng.randrange(63 << 20))
            f.write(rng.randbytes(rng.randrange(1, 200000)))
    for extra in ([], ['--cache=none'], ['--cache=unsafe', '--aio=threads'], ['--detect-zeroes=unmap', '--discard=unmap']):
        good('qemu-img', 'create', '-q', '-f', 'qcow2', 'b.qcow2', '64M')
        with Server('-t', '-e', '8', '-f', 'qcow2', *extra, 'b.qcow2') as s:
            good('nbdcopy', '--flush', 'want.raw', s.uri)
            good('qemu-img', 'compare', '-f', 'raw', '-F', 'raw', 'want.raw', s.uri)
            good('nbdcopy', s.uri, 'got.raw')
        good('cmp', 'want.raw', 'got.raw')
        good('qemu-img', 'check', '-q', 'b.qcow2')
        good('qemu-img', 'compare', '-f', 'raw', '-F', 'qcow2', 'want.raw', 'b.qcow2')
        os.remove('got.raw')
    good('qemu-img', 'convert', '-c', '-O', 'qcow2', 'want.raw', 'base.qcow2')
    good('qemu-img', 'create', '-q', '-f', 'qcow2', '-b', 'base.qcow2', '-F', 'qcow2', 'top.qcow2')
    good('qemu-io', '-c', 'write -P 7 5M 300k', '-c', 'write -z 20M 1M', 'top.qcow2')
    with Server('-t', '-r', '-e', '0', 'top.qcow2') as s:
        good('qemu-img', 'compare', '-F', 'raw', 'top.qcow2', s.uri)
        ours = json.loads(good('nbdinfo', '--map', '--json', s.uri))
        info = json.loads(good('nbdinfo', '--json', s.uri))['exports'][0]
    p = subprocess.Popen(['qemu-nbd', '-k', os.path.abspath('q'), '-r', '-t', '-e', '8', 'top.qcow2'])
    listens_wait(os.path.abspath('q'), p)
    uri = f'nbd+unix:///?socket={os.path.abspath("q")}'
    theirs = json.loads(good('nbdinfo', '--map', '--json', uri))
    want = json.loads(good('nbdinfo', '--json', uri))['exports'][0]
    p.terminate()
    p.wait()
    zeroes = lambda m: [(e['offset'], e['length']) for e in m if e['type'] & 2]
    bytes_zero = lambda m: sum(n for _, n in zeroes(m))
    check(bytes_zero(ours) == bytes_zero(theirs), f'zeroes: {bytes_zero(ours)}, QEMU {bytes_zero(theirs)}')
    for key in ('export-size', 'is_read_only', 'can_flush', 'can_fua', 'can_multi_conn', 'can_trim', 'can_zero', 'can_df',
                'can_cache', 'contexts', 'block_size_minimum', 'block_size_maximum'):
        check(info.get(key) == want.get(key), f'{key}: {info.get(key)}, QEMU {want.get(key)}')


def layers():
    """-A and -l: which image of a chain holds what, and the disk as it was; by QEMU's server, or its convert."""
    good('qemu-img', 'create', '-q', '-f', 'qcow2', 'd0', '64M')
    for i in range(3):
        if i:
            good('qemu-img', 'create', '-q', '-f', 'qcow2', '-b', f'd{i - 1}', '-F', 'qcow2', f'd{i}')
        for _ in range(12):
            what = rng.choice(['write -P 5', 'write -z', 'discard'])
            good('qemu-io', '-c', f'{what} {rng.randrange(900) << 16} {rng.randrange(1, 9) << 16}', f'd{i}')
    good('qemu-img', 'resize', '-q', 'd2', '80M')
    question = 'qemu:allocation-depth'
    with Server('-t', '-r', '-A', '-f', 'qcow2', 'd2') as s:
        ours = json.loads(good('nbdinfo', f'--map={question}', '--json', s.uri))
        listed = json.loads(good('nbdinfo', '--json', s.uri))['exports'][0]['contexts']
    check(listed == ['base:allocation', question], f'contexts: {listed}')
    p = subprocess.Popen(['qemu-nbd', '-k', os.path.abspath('q2'), '-r', '-A', '-f', 'qcow2', 'd2'])
    listens_wait(os.path.abspath('q2'), p)
    theirs = json.loads(good('nbdinfo', f'--map={question}', '--json', f'nbd+unix:///?socket={os.path.abspath("q2")}'))
    p.wait()
    check(len(theirs) > 12 and ours == theirs, f'allocation depth: {ours}, QEMU {theirs}')
    with Server('-t', '-r', '-f', 'qcow2', 'd2') as s:
        check(question not in good('nbdinfo', '--json', s.uri), 'without -A there is no such context')
    good('qemu-img', 'snapshot', '-c', 'was', 'd1')
    good('qemu-io', '-c', 'write -P 9 1M 5M', 'd1')
    good('qemu-img', 'convert', '-l', 'was', '-O', 'raw', 'd1', 'was.raw')
    for name in ('was', '1', 'snapshot.name=was', 'snapshot.id=1,snapshot.name=was'):
        with Server('-t', '-f', 'qcow2', '-l', name, 'd1') as s:
            good('qemu-img', 'compare', '-f', 'raw', '-F', 'raw', 'was.raw', s.uri)
            check(json.loads(good('nbdinfo', '--json', s.uri))['exports'][0]['is_read_only'], f'-l {name} is read-only')
    for args, words in (('-l nosuch d1', 'nosuch'), ('-l was -s d1', 'no -s'), ('-f raw -l was d1', 'raw')):
        status, _, err = run(OSPITE, 'nbd', *args.split())
        check(status == 1 and words in err, f'{args}: {status} {err}')


def model():
    """Random requests of single bytes, several in flight, against a bytearray."""
    size = 4 << 20
    for fmt in 'raw', 'qcow2':
        good('qemu-img', 'create', '-q', '-f', fmt, 'm', str(size))
        have, count = bytearray(size), 0
        with Server('-t', '-f', fmt, '-e', '2', '--discard=unmap', 'm') as s:
            c = Raw(s.sock)
            check(c.size == size and c.flags & 0x100, f'size {c.size}, flags {c.flags:x}')
            for _ in range(1500):
                at, n = rng.randrange(size), rng.choice((1, 3, 511, 512, 700, 4096, 65536, 262144, 262145, 300000))
                n, kind = min(n, size - at), rng.randrange(10)
                if rng.random() < .5:
                    at, n = at & ~511, n + 511 & ~511
                    n = min(n, size - at)
                if kind < 4:
                    data = rng.randbytes(n)
                    check(c.ask(1, at, n, data, flags=rng.choice((0, 0, 0, 1)))[0] == 0, f'write {at} {n}')
                    have[at:at + n] = data
                elif kind < 5:
                    check(c.ask(6, at, n, flags=rng.choice((0, 1, 2)))[0] == 0, f'zero {at} {n}')
                    have[at:at + n] = bytes(n)
                elif kind < 6:
                    check(c.ask(5, at, n)[0] == 0, f'cache {at} {n}')
                else:
                    error, _, data = c.ask(0, at, n, size=n)
                    check(error == 0 and data == have[at:at + n], f'{fmt}: read {at} {n}')
                count += 1
            # A burst: many handles at once, each answered once.
            sizes = 512, 4096, 70000, 262144, 262145
            places = {h: (rng.randrange(size - sizes[-1]), rng.choice(sizes)) for h in range(100, 400)}
            burst = b''.join(struct.pack('>IHHQQI', 0x25609513, 0, 0, h, at, n) for h, (at, n) in places.items())
            c.s.sendall(burst)
            seen = set()
            for _ in places:
                magic, error, h = struct.unpack('>IIQ', c.take(16))
                at, n = places[h]
                check(not error and c.take(n) == have[at:at + n] and h not in seen, f'burst {h}')
                seen.add(h)
            c.send(2)
        good('qemu-img', 'convert', '-f', fmt, '-O', 'raw', 'm', 'm.raw')
        with open('m.raw', 'rb') as f:
            check(f.read() == have, f'{fmt}: what qemu-img reads')


def bad_requests():
    good('qemu-img', 'create', '-q', '-f', 'raw', 'h', '1M')
    with Server('-t', '-f', 'raw', '-e', '0', 'h') as s:
        c = Raw(s.sock)
        top = 1 << 64
        for what, want in (
                ((0, 1 << 20, 1), 22), ((0, top - 1, 2), 22), ((0, top - 512, 1024), 22), ((0, 0, (1 << 20) + 1), 22),
                ((0, 0, 0xffffffff), 22), ((1, 1 << 20, 1, b'x'), 28), ((1, top - 1, 1, b'x'), 28),
                ((4, 0, 0xffffffff), 28), ((6, 1, 1 << 20), 28), ((5, 0, 0xffffffff), 22), ((7, 0, 512), 22),
                ((3, 1, 1), 22), ((8, 0, 0), 22), ((9, 0, 0), 22), ((0xffff, 0, 0), 22), ((4, top - 1, 1), 28)):
            check(c.ask(*what)[0] == want, f'request {what[:3]}')
        check(c.ask(0, 0, 512, flags=0x8000)[0] == 22, 'unknown flag')
        check(c.ask(6, 0, 512, flags=16)[0] == 22, 'FAST_ZERO was not offered')
        check(c.ask(0, 0, 0)[0] == 0, 'a read of nothing')
        check(c.is_open(), 'the connection lives')
        c.send(1, 0, 0xfffffff0)
        check(not c.is_open(), 'a payload of 4 GiB ends the connection')
        c = Raw(s.sock)
        c.send(0, 0, 512, magic=0x12345678)
        check(not c.is_open(), 'a wrong magic ends the connection')
        c = Raw(s.sock, structured=True)
        c.send(7, 0, 1 << 20)
        head = struct.unpack('>IHHQI', c.take(20))
        status = c.take(head[4])
        lengths = [struct.unpack_from('>I', status, at)[0] for at in range(4, len(status), 8)]
        check(head[2] == 5 and sum(lengths) == 1 << 20, f'block status: {lengths}')
        c.send(7, 0, 0)
        check(struct.unpack('>IHHQI', c.take(20))[1:3] == (1, 0x8001), 'block status of nothing')
        c = Raw(s.sock)
        ask = [struct.pack('>IHHQQI', 0x25609513, 0, command, 7 + command, 0, 512) for command in (0, 1)]
        c.s.sendall(ask[0] + ask[1] + b'x' * 100)
        check(c.simple(512)[0] == 0, 'an answer does not wait for the rest of the next request')
        c.s.sendall(b'x' * 412)
        check(c.simple()[0] == 0 and c.ask(0, 0, 512, size=512)[2] == b'x' * 512, 'the rest came')
        # Gone in the middle of a payload, and with replies not read.
        for _ in range(20):
            c = Raw(s.sock)
            c.send(1, 0, 1 << 20, b'x' * 1000)
            c.s.close()
            c = Raw(s.sock)
            c.s.sendall(struct.pack('>IHHQQI', 0x25609513, 0, 0, 1, 0, 1 << 20) * 50)
            c.s.close()
        stuck = Raw(s.sock)
        stuck.s.sendall(struct.pack('>IHHQQI', 0x25609513, 0, 0, 1, 0, 1 << 20) * 200)
        check(Raw(s.sock).is_open(), 'others are served while one takes no replies')
    with Server('-t', '-r', '-f', 'raw', 'h') as s:
        c = Raw(s.sock)
        check(c.flags & 2 and not c.flags & 0x60, f'read-only flags {c.flags:x}')
        for what in ((1, 0, 1, b'x'), (4, 0, 512), (6, 0, 512)):
            check(c.ask(*what)[0] == 1, f'{what} on a read-only export')


def bad_options():
    name = lambda n: struct.pack('>I', len(n)) + n
    with Server('-t', '-f', 'raw', '-e', '0', '-x', 'one', 'h') as s:
        c = Raw(s.sock, False)
        invalid, unknown, unsupported, too_big = (1 << 31 | n for n in (3, 6, 1, 9))
        for number, data, want in (
                (7, b'', invalid), (7, b'\0\0\0\5one\0\0', invalid), (7, name(b'one') + b'\0\2\0\1', invalid),
                (7, b'\xff' * 8, invalid), (6, name(b'two') + b'\0\0', unknown), (7, name(b'') + b'\0\0', unknown),
                (3, b'x', invalid), (8, b'x', invalid), (5, b'', 1 << 31 | 2), (77, b'', unsupported),
                (0xffffffff, b'abc', unsupported), (10, b'', invalid), (6, name(b'x' * 4097) + b'\0\0', invalid),
                (77, b'z' * 100000, too_big)):
            check(c.option(number, data)[-1][0] == want, f'option {number} {data[:12]!r}')
        c.option(8)
        for data, want in ((name(b'one') + b'\xff\xff\xff\xff', invalid), (name(b'one') + b'\0\0\0\1\0\0\0\4abc', invalid),
                           (name(b'one') + b'\0\0\0\0more', invalid), (name(b'two') + b'\0\0\0\0', unknown),
                           (name(b'one') + b'\0\0\0\1' + name(b'no:such'), 1)):
            check(c.option(10, data)[-1][0] == want, f'contexts {data!r}')
        check(c.option(3) == [(2, name(b'one')), (1, b'')], 'the list')
        check(c.option(7, name(b'one') + b'\0\0')[-1][0] == 1 and c.is_open(), 'still good for a GO')
        for bytes_ in (b'GET / HTTP/1.0\r\n\r\n' * 3, b'\xff' * 40, struct.pack('>I8sII', 3, b'IHAVEOPT', 1, 1 << 30),
                       struct.pack('>I8sII', 3, b'IHAVEOPT', 1, 3) + b'two'):
            c = Raw(s.sock, None)
            c.take(18)
            try:
                c.s.sendall(bytes_)
                check(c.s.recv(1) == b'', f'closed after {bytes_[:20]!r}')
            except ConnectionResetError:
                check(True, '')
        c = Raw(s.sock, False, flags=1)
        c.s.sendall(struct.pack('>8sII', b'IHAVEOPT', 1, 3) + b'one')
        check(c.take(134)[10:] == bytes(124), 'EXPORT_NAME with its zeroes')
        crowd = [Raw(s.sock, None) for _ in range(300)]
        check(Raw(s.sock, 'one').is_open(), 'served beside 300 that say nothing')
    check(crowd[0].s.recv(100)[18:] == b'', 'the crowd was sent away')


def lives():
    """-t, -e, -o, -P, -s, several exports, --fork, socket activation, wrong command lines."""
    with Server('-f', 'raw', 'h', status=0) as s:
        c = Raw(s.sock)
        late = socket.socket(socket.AF_UNIX)
        late.connect(s.sock)
        late.settimeout(.3)
        try:
            check(late.recv(1) == 'nothing', '-e 1: a second client is greeted')
        except TimeoutError:
            check(True, '')
        late.close()
        c.send(2)
        try:
            check(s.process.wait(60) == 0, 'ends with its last client')
        except subprocess.TimeoutExpired:
            check(False, 'goes on without -t')
    with open('p', 'wb') as f:
        f.truncate(8 << 20)
    table = 'label: dos\nstart=2048,size=2048\nstart=4096,size=8192,type=5\nstart=6144,size=1024\nstart=9216,size=512\n'
    subprocess.run(['sfdisk', '-q', 'p'], input=table.encode(), check=True, stderr=subprocess.DEVNULL)
    for number, start, count in ((1, 2048, 2048), (5, 6144, 1024), (6, 9216, 512)):
        with Server('-t', '-f', 'raw', '-P', str(number), 'p') as s:
            c = Raw(s.sock)
            check(c.size == count * 512, f'partition {number}: {c.size} bytes')
            check(c.ask(1, 3, 4, b'\1\2\3' + bytes([number]))[0] == 0, 'written')
        with open('p', 'rb') as f:
            f.seek(start * 512 + 3)
            check(f.read(4) == b'\1\2\3' + bytes([number]), f'partition {number} begins at {start}')
    subprocess.run(['sfdisk', '-q', 'p'], input=b'label: gpt\nstart=2048,size=2048\nstart=8192,size=4096\n', check=True,
                   stderr=subprocess.DEVNULL)
    with Server('-t', '-f', 'raw', '-P', '2', 'p') as s:
        check(Raw(s.sock).size == 4096 * 512, 'second partition of a GPT')
    with Server('-t', '-f', 'raw', '-r', '-o', '1M', 'p') as s:
        check(Raw(s.sock).size == 7 << 20, '-o 1M')
    with Server('-t', '-f', 'raw', '-s', 'p') as s:
        c = Raw(s.sock)
        check(c.ask(1, 0, 4, b'gone')[0] == 0 and c.ask(0, 0, 4, size=4)[2] == b'gone', '-s can be written')
    with open('p', 'rb') as f:
        check(f.read(4) == bytes(4), '-s leaves the image alone')
    with Server('-t', '-e', '4', '--export', 'file=h,name=first,format=raw,description=words', '--export',
                'file=p,name=second,format=raw,read-only=on,partition=1') as s:
        got = json.loads(good('nbdinfo', '--json', '--list', s.uri))['exports']
        check([(e['export-name'], e['export-size'], e['is_read_only']) for e in got] ==
              [('first', 1 << 20, False), ('second', 1 << 20, True)], f'two exports: {got}')
        check(got[0]['description'] == 'words', 'the description')
    status, out, err = run(OSPITE, 'nbd', '--fork', '--pid-file=pid', '-t', '-k', 'f', '-f', 'raw', 'h')
    check(status == 0 and os.path.exists('f'), f'--fork: {err}')
    pid = int(open('pid').read())
    check(Raw('f').is_open(), '--fork serves')
    os.kill(pid, signal.SIGTERM)
    for _ in range(6000):
        if not os.path.exists('f') and not os.path.exists('pid'):
            break
        time.sleep(.01)
    check(not os.path.exists('f') and not os.path.exists('pid'), 'socket and pid file are left over')
    listener = socket.socket(socket.AF_UNIX)
    listener.bind('act')
    listener.listen()
    script = f'exec 3<&{listener.fileno()}; LISTEN_PID=$$ LISTEN_FDS=1 exec "$0" nbd -f raw h'
    p = subprocess.Popen(['bash', '-c', script, OSPITE], pass_fds=[listener.fileno()])
    c = Raw('act')
    check(c.is_open(), 'a socket from systemd')
    c.send(2)
    check(p.wait(60) == 0, 'and it ends')
    before = open('h', 'rb').read()
    if not os.path.exists('/sys/fs/selinux/enforce'):
        for tool in ([OSPITE, 'nbd'], [shutil.which('qemu-nbd')]):
            status, out, err = run(*tool, '--selinux-label=a:b:c', '-k', os.path.abspath('s3'), '-f', 'raw', 'h')
            check(status == 1 and 'a:b:c' in err and not os.path.exists('s3'), f'{tool}: a label without SELinux: {status} {err}')
    for args, words in (
            ('nosuch', 'no such file'), ('', 'which image'), ('-k s -p 1000 h', 'give one of them'),
            ('-p 0 h', '1 to 65535'), ('-p 70000 h', 'too much'), ('-x a h h', '--export'), ('-P 9 h', 'no partition 9'),
            ('-o 2M h', 'beyond'), ('--cache=foo h', 'unknown value'), ('-B map h', 'no dirty bitmap'),
            ('--snapshoot h', "did you mean '--snapshot'"), ('-y h', 'unknown option'), ('-k', 'wants a value'),
            ('--tls-creds=t h', 'no --object'), ('--object foo,id=a h', 'unknown type'), ('-n --cache=none h', 'once'),
            ('-c /dev/nbd0 h', 'nbd'), ('-d /dev/sda', 'no NBD device'), ('-b nosuch.invalid h', 'cannot find'),
            ('--detect-zeroes=unmap h', '--discard=unmap'), ('-k ' + 'x' * 200 + ' h', 'more than 107'), ('-k h h', 'no socket'),
            ('-L -x a', 'nothing else'), ('-L h', 'no FILE'), ('-L -k nosock', 'server running'),
            ('--selinux-label=a:b:c -p 10999 h', 'needs -k'), ('-k s3 --selinux-label= h', 'empty'),
            ('-f qcow2 -k s2 h', 'not a qcow2 image'), ('--image-opts h', "no '='"), ('--image-opts driver=raw,file.filename=h,foo=h', 'foo')):
        if args.startswith('-c') and os.path.exists('/sys/module/nbd'):
            continue
        status, out, err = run(OSPITE, 'nbd', *args.split())
        check(status == 1 and words in err and 'ospite: nbd: ' in err, f'{args}: {status} {err}')
    check(open('h', 'rb').read() == before, 'no image changed')
    os.symlink(OSPITE, 'qemu-nbd')
    status, out, err = run('./qemu-nbd', '--help')
    check(status == 0 and 'Exports disk images' in out, 'called as qemu-nbd')


def lists_of_liars():
    """Servers that answer LIST, INFO and LIST_META_CONTEXT with what cannot be, or without an end."""
    def answer(option, kind, data=b'', magic=0x3e889045565a9):
        return struct.pack('>QIII', magic, option, kind, len(data)) + data

    def text(name):
        return struct.pack('>I', len(name)) + name
    one, info = answer(3, 2, text(b'a')) + answer(3, 1), answer(6, 1)
    endless = 'more than 1024 exports', answer(3, 2, text(b'a')) * 1500
    wordy = 'more than 4 MiB', answer(3, 2, text(b'a') + b'w' * 8000) * 900
    liars = (
        wordy,
        ('names an export', answer(3, 2, b'ab')), ('names an export', answer(3, 2, struct.pack('>I', 0xfffffff0) + b'a')), endless,
        ('does not tell', answer(3, 0x80000002)), ('wants TLS', answer(3, 0x80000005)), ('something else', answer(7, 1)),
        ('something else', answer(3, 1, magic=1)), ('more than 8192', struct.pack('>QIII', 0x3e889045565a9, 3, 2, 1 << 31)),
        ('does not stop', one + answer(6, 3, struct.pack('>HI', 9, 9)) * 300), ('too long, or broken', one + info + answer(10 - 1, 4, b'x')),
        ('too long, or broken', one + info + answer(9, 4, bytes(4) + b'base:allocation') * 300), ('hung up', one), (None, one + info + answer(9, 1)),
        (None, answer(3, 2, text(b'\x1b[2J')) + answer(3, 1) + answer(6, 0x80000001) + answer(9, 0x80000001)))
    for words, data in liars:
        s = socket.socket(socket.AF_UNIX)
        s.bind('liar')
        s.listen()
        p = subprocess.Popen([OSPITE, 'nbd', '-L', '-k', 'liar'], stdout=subprocess.PIPE, stderr=subprocess.PIPE)
        c = s.accept()[0]
        try:
            c.sendall(b'NBDMAGICIHAVEOPT' + struct.pack('>H', 3) + answer(8, 1) + data)
            c.shutdown(socket.SHUT_WR)
        except OSError:                 # it has heard enough
            pass
        out, err = (x.decode() for x in p.communicate(timeout=200))
        check(p.returncode == (1 if words else 0) and (words or '') in err and len(err.splitlines()) <= 1 and '\x1b' not in out,
              f'-L, {words}: {p.returncode} {err} {out[:100]}')
        c.close()
        s.close()
        os.unlink('liar')


def listing():
    """-L, in the words of qemu-nbd -L."""
    def both(*where):
        ours, theirs = run(OSPITE, 'nbd', '-L', *where), run('qemu-nbd', '-L', *where)
        check(ours[0] == theirs[0] == 0 and ours[1] == theirs[1], f'-L: {ours} {theirs}')
        return ours[1]
    run('qemu-img', 'create', '-q', '-f', 'qcow2', 'l.qcow2', '1M')
    run('qemu-img', 'bitmap', '--add', 'l.qcow2', 'b0')
    with Server('-t', '-e', '4', '--export', 'file=h,name=first,format=raw,description=words', '--export',
                'file=l.qcow2,name=second,read-only=on,bitmap=b0') as s:
        text = both('-k', s.sock)
        check('exports available: 2' in text and 'words' in text and 'qemu:dirty-bitmap:b0' in text, f'-L of two: {text}')
    for command in (['qemu-nbd', '-k', os.path.abspath('q4'), '-t', '-e', '4', '-B', 'b0', '-f', 'qcow2', 'l.qcow2'],
                    ['nbdkit', '-f', '-U', os.path.abspath('q4'), 'memory', '1M']):
        p = subprocess.Popen(command, stderr=subprocess.DEVNULL)
        listens_wait(os.path.abspath('q4'), p)
        both('-k', os.path.abspath('q4'))
        p.terminate()
        p.wait()
        if os.path.exists('q4'):
            os.unlink('q4')
    lists_of_liars()


def tls():
    os.makedirs('pki')
    with open('ca.tmpl', 'w') as f:
        f.write('cn = test\nca\ncert_signing_key\n')
    with open('server.tmpl', 'w') as f:
        f.write('cn = localhost\ndns_name = localhost\ntls_www_server\nencryption_key\nsigning_key\n')
    with open('client.tmpl', 'w') as f:
        f.write('cn = somebody\ntls_www_client\nencryption_key\nsigning_key\n')
    tool = ['certtool', '--key-type', 'ecdsa', '--sec-param', 'high']
    for who in 'ca', 'server', 'client':
        good(*tool, '--generate-privkey', '--outfile', f'pki/{who}-key.pem')
    good('certtool', '--generate-self-signed', '--template', 'ca.tmpl', '--load-privkey', 'pki/ca-key.pem', '--outfile',
         'pki/ca-cert.pem')
    for who in 'server', 'client':
        good('certtool', '--generate-certificate', '--template', f'{who}.tmpl', '--load-privkey', f'pki/{who}-key.pem',
             '--load-ca-certificate', 'pki/ca-cert.pem', '--load-ca-privkey', 'pki/ca-key.pem', '--outfile',
             f'pki/{who}-cert.pem')
    os.makedirs('psk')
    good('psktool', '-u', 'qemu', '-p', 'psk/keys.psk')
    creds = ['--object', 'tls-creds-x509,id=t,endpoint=server,dir=pki', '--tls-creds', 't']
    image = f'driver=nbd,server.type=unix,server.path={os.path.abspath("s")},tls-creds=c,tls-hostname=localhost'
    client = lambda end: ['qemu-io', '--object', end, '-c', 'read 0 512', '--image-opts', image]
    with Server('-t', '-f', 'raw', '-e', '8', *creds, 'h') as s:
        x509 = 'tls-creds-x509,id=c,endpoint=client,dir=pki'
        ask = '-L', '-k', s.sock, '--object', x509, '--tls-creds', 'c', '--tls-hostname', 'localhost'
        ours, theirs = run(OSPITE, 'nbd', *ask), run('qemu-nbd', *ask)
        check(ours[0] == theirs[0] == 0 and ours[1] == theirs[1], f'-L by TLS: {ours} {theirs}')
        status, _, err = run(OSPITE, 'nbd', '-L', '-k', s.sock)
        check(status == 1 and 'TLS' in err, f'-L of a server that wants TLS: {err}')
        check('read 512/512' in good(*client(x509)), 'qemu-io by x509')
        check(run('nbdinfo', s.uri)[0] != 0, 'nothing without TLS')
        c = Raw(s.sock, False)
        for option in 3, 6, 7, 8, 9, 10:
            check(c.option(option)[-1][0] == 1 << 31 | 5, f'option {option} before TLS')
        c.option(5)
        c.s.sendall(b'not TLS at all, ' * 4)
        uri = f'nbds+unix://localhost/?socket={s.sock}&tls-certificates={os.path.abspath("pki")}'
        good('nbdcopy', 'want1.raw', uri)
        good('nbdcopy', uri, 'got1.raw')
        good('cmp', 'want1.raw', 'got1.raw')
    for identity, ok in (('CN=somebody', True), ('CN=else', False)):
        with Server('-t', '-f', 'raw', '--object', f'authz-simple,id=z,identity={identity}', '--tls-authz', 'z', *creds,
                    'h') as s:
            check((run(*client(x509))[0] == 0) == ok, f'authz-simple {identity}')
    creds = ['--object', 'tls-creds-psk,id=t,endpoint=server,dir=psk', '--tls-creds', 't']
    with Server('-t', '-f', 'raw', '-e', '8', *creds, 'h') as s:
        good(*client('tls-creds-psk,id=c,endpoint=client,dir=psk'))
        os.makedirs('psk2')
        good('psktool', '-u', 'qemu', '-p', 'psk2/keys.psk')
        check(run(*client('tls-creds-psk,id=c,endpoint=client,dir=psk2'))[0] != 0, 'a wrong key')


def options_in(text):
    return set(re.findall(r'(?<![\w-])--?[A-Za-z][\w-]*', text))


def manual_page():
    with open(PAGE) as f:
        page = f.read().replace('\\-', '-').replace('\\fR', '').replace('\\fB', '').replace('\\fI', '')
    in_page = set().union(*(options_in(line) for line in re.findall(r'^\.TP\n(.*)', page, re.M)))
    in_help = set().union(*(options_in(line[:35]) for line in good(OSPITE, 'nbd', '-h').splitlines() if line.startswith('  ')))
    check(in_page == in_help, f'-h and the manual page differ: {in_page ^ in_help}')


def main():
    if MISSING:
        print('SKIP nbd/server: not installed:', *MISSING)
        return 77
    with tempfile.TemporaryDirectory() as d:
        os.chdir(d)
        with open('want1.raw', 'wb') as f:
            f.write(rng.randbytes(1 << 20))
        for part in manual_page, tools, layers, model, bad_requests, bad_options, lives, listing, tls:
            began, before = time.time(), checks.total
            part()
            print(f'{part.__name__}: {checks.total - before} checks, {time.time() - began:.1f} s')
        os.chdir('/')
    print(f'nbd/server: {checks.counts()}, seed {SEED}')
    return bool(checks.failed)


sys.exit(main())
