#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0-or-later
"""The clipboard between a guest's agent and VNC clients: clipboard.py --vmm CMD --guests DIR

Linux' driver of virtio ports hands com.redhat.spice.0 on to its second serial port, where this program is the agent, written from
spice-protocol's vd_agent.h; VNC clients of both kinds (Latin-1, and the extension) are written from rfbproto. Text goes all ways, in one
chunk and in many; then both sides talk nonsense, and it goes on. Fixed seed."""
import argparse
import os
import random
import socket
import struct
import sys
import tempfile
import time
import zlib

here = os.path.dirname(os.path.abspath(__file__))
sys.path[:0] = [here, os.path.join(os.path.dirname(here), 'display')]
from boot import Failure                       # noqa: E402
from cpio import Skip                          # noqa: E402
from rfb import Client, Closed                 # noqa: E402
from virtio import BAD, Guest, finish          # noqa: E402

CLIPBOARD, CAPS, GRAB, REQUEST = 4, 6, 7, 8
LAST = b'LAST WORDS\n'                         # of the guest, when it has closed the agent's port
EXTENSION = 0xc0a1e5ce - (1 << 32)
ASK, PEEK, NOTIFY, PROVIDE, TEXT = 1 << 25, 1 << 26, 1 << 27, 1 << 28, 1
SECONDS = 60


def expect(got, want, what):
    if got != want:
        raise Failure(f'{what}: {str(got)[:200]} instead of {str(want)[:200]}')


class Agent:
    """The guest's end."""
    def __init__(self, path):
        end = time.time() + SECONDS
        while True:
            self.s = socket.socket(socket.AF_UNIX)
            try:
                self.s.connect(path)
                break
            except OSError:
                if time.time() > end:
                    raise
                time.sleep(0.05)
        self.s.settimeout(SECONDS)
        self.stream, self.sent = b'', 0

    def exactly(self, n):
        data = b''
        while len(data) < n:
            more = self.s.recv(n - len(data))
            if not more:
                raise Failure('the agent lost its port')
            data += more
        return data

    def stream_read(self, n):
        while len(self.stream) < n:
            port, size = struct.unpack('<II', self.exactly(8))
            expect(port, 1, 'port of a chunk')
            if size > 2048:
                raise Failure(f'a chunk of {size} bytes')
            self.stream += self.exactly(size)
        data, self.stream = self.stream[:n], self.stream[n:]
        return data

    def message(self):
        protocol, kind, _, size = struct.unpack('<IIQI', self.stream_read(20))
        expect(protocol, 1, 'protocol')
        return kind, self.stream_read(size)

    def send(self, kind, data, piece=2048):
        whole = struct.pack('<IIQI', 1, kind, 0, len(data)) + data
        for at in range(0, len(whole), piece):
            part = whole[at:at + piece]
            self.raw(struct.pack('<II', 1, len(part)) + part)

    def raw(self, data):
        self.s.sendall(data)
        self.sent += len(data)

    def until_closed(self):
        """Takes what is on its way until the guest's last words."""
        while not self.stream.endswith(LAST):
            self.stream += self.exactly(1)
        self.stream = b''

    def hello(self):
        kind, data = self.message()
        expect((kind, data), (CAPS, struct.pack('<II', 1, 1 << 5 | 1 << 6)), 'capabilities, when the port is opened')
        self.send(CAPS, struct.pack('<II', 1, 1 << 3 | 1 << 5 | 1 << 6))
        expect(self.message(), (CAPS, struct.pack('<II', 0, 1 << 5 | 1 << 6)), 'capabilities, when they are asked for')

    def copy(self, text, piece=2048):
        """Somebody copies in the guest."""
        self.send(GRAB, struct.pack('<III', 0, 2, 1))
        expect(self.message(), (REQUEST, struct.pack('<II', 0, 1)), 'a request for what was copied')
        self.send(CLIPBOARD, struct.pack('<II', 0, 1) + text, piece)

    def paste(self):
        """The host has copied, somebody pastes."""
        expect(self.message(), (GRAB, struct.pack('<II', 0, 1)), 'the host has text')
        self.send(REQUEST, struct.pack('<II', 0, 1))
        kind, data = self.message()
        expect((kind, data[:8]), (CLIPBOARD, struct.pack('<II', 0, 1)), 'text')
        return data[8:]


class Viewer(Client):
    def __init__(self, path, extended):
        super().__init__(path, timeout=SECONDS)
        self.set_encodings(0, *([EXTENSION] if extended else []))
        if extended:
            flags, rest = self.extended()
            expect((flags, rest), (1 << 24 | ASK | PEEK | NOTIFY | PROVIDE | TEXT, bytes(4)), 'what the server can')
            self.put(1 << 24 | ASK | NOTIFY | PROVIDE | TEXT, struct.pack('>I', 1 << 20))

    def cut_text(self):
        kind, length = struct.unpack('>B3xi', self.read(8))
        expect(kind, 3, 'a message')
        return length, self.read(abs(length))

    def extended(self):
        length, data = self.cut_text()
        if length >= 0:
            raise Failure('a client that knows the extension gets Latin-1')
        return struct.unpack('>I', data[:4])[0], data[4:]

    def put(self, flags, data=b''):
        self.send(struct.pack('>B3xiI', 6, -4 - len(data), flags) + data)

    def put_latin(self, data):
        self.send(struct.pack('>B3xi', 6, len(data)) + data)

    def provide(self, text, size=None):
        plain = text.replace(b'\n', b'\r\n') + b'\0'
        self.put(PROVIDE | TEXT, zlib.compress(struct.pack('>I', len(plain) if size is None else size) + plain))

    def paste(self):
        expect(self.extended(), (NOTIFY | TEXT, b''), 'somebody has text')
        self.put(ASK | TEXT)
        flags, data = self.extended()
        expect(flags, PROVIDE | TEXT, 'text')
        plain = zlib.decompress(data)
        expect((struct.unpack('>I', plain[:4])[0], plain[-1]), (len(plain) - 4, 0), 'its size and end')
        return plain[4:-1].replace(b'\r\n', b'\n')


def round_trips(agent, new, old, r):
    text = 'Grüße\nÄ €\n'.encode()
    agent.copy(text)
    expect(new.paste(), text, 'from the guest')
    expect(old.cut_text(), (10, 'Grüße\nÄ ?\n'.encode('latin-1')), 'from the guest, in Latin-1')
    old.put_latin('é1\n'.encode('latin-1'))
    expect(agent.paste(), 'é1\n'.encode(), 'from a client of old')
    expect(new.paste(), 'é1\n'.encode(), 'from one client to the other')
    large = ''.join(r.choice('aä€\n𝄞') for _ in range(20000)).encode()
    new.put(NOTIFY | TEXT)
    expect(new.extended(), (ASK | TEXT, b''), 'the server asks for what a client has')
    new.provide(large)
    expect(agent.paste(), large, 'a large text from a client')
    old.cut_text()
    agent.copy(large[::-1][:1] + large, 777)
    got = new.paste()
    expect(got[-len(large) + 4:], large[4:], 'a large text from the guest')
    old.cut_text()
    agent.copy(b'bad\xff\xc0\x80\xed\xa0\x80 good')
    expect(new.paste(), b'bad?????? good', 'no UTF-8')
    old.cut_text()


def hostile(agent, path, new, old, r):
    for kind, data in ((CLIPBOARD, struct.pack('<II', 0, 1) + b'nobody asked'), (GRAB, b''), (GRAB, b'\0'), (REQUEST, b''), (99, b'x' * 5000), (GRAB, struct.pack('<III', 1, 1, 1)),
                       (CAPS, b''), (10, b''), (CLIPBOARD, bytes(100000))):
        agent.send(kind, data)
    agent.raw(struct.pack('<II', 2, 5) + b'hello' + struct.pack('<II', 1, 0))
    new.put(PROVIDE | TEXT, b'no zlib')
    new.put(PROVIDE | TEXT, zlib.compress(struct.pack('>I', 1 << 31) + b'x'))
    new.put(PROVIDE | TEXT, zlib.compress(struct.pack('>I', 30 << 20) + b'a' * (30 << 20)))
    new.put(0xffffff ^ TEXT)
    for bad in (struct.pack('>B3xi', 6, (1 << 20) + 1), struct.pack('>B3xi', 6, -(1 << 31)), struct.pack('>B3xi', 6, -3) + b'abc'):
        c = Viewer(path, True)
        c.send(bad)
        try:
            c.read(1)
            raise Failure(f'{bad} is let pass')
        except (Closed, ConnectionResetError):
            pass
        c.close()
    greedy = Viewer(path, True)                        # asks and never reads
    for _ in range(20000):
        greedy.put(ASK | TEXT)
    greedy.close()
    agent.copy(b'still here')
    expect(new.paste(), b'still here', 'after nonsense')
    expect(old.cut_text(), (10, b'still here'), 'after nonsense, of old')
    agent.raw(struct.pack('<II', 1, 0xffffffff) + struct.pack('<IIQI', 1, CLIPBOARD, 0, 0xffffffff) + r.randbytes(20000))


def run(a):
    vnc, port = a.dir + '/vnc', a.dir + '/agent'
    script = '''stty raw -echo < /dev/ttyS1
for i in 1 2; do
exec 3<>$(ls /dev/vport*)
cat <&3 > /dev/ttyS1 & one=$!
tee -a /tmp/sent < /dev/ttyS1 >&3 & two=$!
echo READY $i; read sent < /dev/ttyS0
until [ $(wc -c < /tmp/sent) -ge $sent ]; do sleep 0.1; done
kill $one $two; wait $one $two 2>/dev/null; exec 3<&-
echo LAST WORDS > /dev/ttyS1; echo CLOSED $i; read x < /dev/ttyS0
done'''
    args = ['-vga', 'std', '-vnc', f'unix:{vnc}', '-serial', f'unix:{port},server=on,wait=off', '-device', 'virtio-serial-pci',
            '-chardev', 'qemu-vdagent,id=vdagent,name=vdagent,clipboard=on', '-device', 'virtserialport,chardev=vdagent,name=com.redhat.spice.0']
    r = random.Random(20261128)
    with Guest(a, ['virtio_console'], script, args, seconds=250) as m:
        agent = Agent(port)
        m.serial('READY 1', BAD)
        agent.hello()
        new, old = Viewer(vnc, True), Viewer(vnc, False)
        round_trips(agent, new, old, r)
        hostile(agent, vnc, new, old, r)
        m.send(f'{agent.sent}\n')
        m.serial('CLOSED 1', BAD)
        agent.until_closed()
        old.put_latin(b'while it was away')
        expect(new.paste(), b'while it was away', 'without an agent')
        m.send('\n')
        m.serial('READY 2', BAD)
        agent.hello()
        expect(agent.paste(), b'while it was away', 'an agent that starts anew')
        m.send(f'{agent.sent}\n')
        m.serial('CLOSED 2', BAD)
        m.send('\n')
        finish(m)
    print('clipboard: guest and two kinds of VNC clients, all ways; hostile messages; an agent that starts anew')


def main():
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument('--vmm', required=True)
    p.add_argument('--guests', required=True)
    p.add_argument('--scale', type=float, default=float(os.environ.get('OSPITE_TEST_SCALE', 1)))
    p.add_argument('--log')
    a = p.parse_args()
    with tempfile.TemporaryDirectory(prefix='ospite-clipboard-') as a.dir:
        try:
            run(a)
        except Skip as why:
            print('skipped:', why)
            return 77
        except (Failure, OSError) as why:
            print('FAIL', why)
            return 1
    return 0


if __name__ == '__main__':
    sys.exit(main())
