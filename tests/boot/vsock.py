#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0-or-later
"""vsock.py --vmm CMD --guests DIR --program PROGRAM   Sockets between programs of the host and of a Linux guest, by Linux' driver.

Megabytes from either side to the other, in connections that either begins, each half closed before the answer; a hundred at once; ports where nobody
listens; a guest that does not read; a device that is taken out, and another one. Every byte is checked on its way. In two kinds of ring.

What this machine lacks is skipped out loud (exit status 77)."""
import os
import re
import socket
import struct
import sys
import threading
import time

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
import frame                                                   # noqa: E402
from boot import Failure                                       # noqa: E402
from virtio import BAD, MIB, Guest, finish                     # noqa: E402

# Repeats every MiB.
PATTERN = bytes((i * 167 + (i >> 12) * 13 + 7) & 255 for i in range(MIB)) * 2
SCRIPT = '''
/vsock serve 5000 &
/vsock serve 5001 2 &
read line
/vsock connect 6000 3 3000000 2500000
/vsock connect 6000 100 20000 30000
/vsock refused 2 7777
/vsock refused 9 6000
echo GUEST-DONE; read line
d=/sys/bus/virtio/drivers/vmw_vsock_virtio_transport
i=0; while ls $d/virtio* >/dev/null 2>&1 && [ $i -lt 600 ]; do sleep 0.1; i=$((i+1)); done
echo GONE; read line
i=0; while ! ls $d/virtio* >/dev/null 2>&1 && [ $i -lt 600 ]; do sleep 0.1; i=$((i+1)); done
/vsock serve 5002 &
read line
'''


def connect(path, port):
    s = socket.socket(socket.AF_UNIX)
    s.settimeout(120)
    s.connect(path)
    s.sendall(b'CONNECT %d\n' % port)
    line = b''
    while not line.endswith(b'\n'):
        byte = s.recv(1)
        if not byte:
            s.close()
            return None
        line += byte
    if not re.fullmatch(rb'OK \d+\n', line):
        raise Failure(f'the device says {line!r}')
    return s


def pieces(size):
    for at in range(0, size, 65536):
        start = at % MIB
        yield PATTERN[start:start + min(65536, size - at)]


def send_all(s, size):
    for piece in pieces(size):
        s.sendall(piece)


def take_all(s, size, what):
    at = 0
    while True:
        data = s.recv(65536)
        if not data:
            break
        start = at % MIB
        if data != PATTERN[start:start + len(data)]:
            raise Failure(f'{what}: a wrong byte behind {at}')
        at += len(data)
    if at != size:
        raise Failure(f'{what}: {at} bytes, not {size}')


def ask(path, port, up, down):
    """The host begins."""
    s = connect(path, port)
    if not s:
        raise Failure(f'nobody listens on port {port} of the guest')
    s.sendall(struct.pack('<QQ', up, down))
    send_all(s, up)
    s.shutdown(socket.SHUT_WR)
    take_all(s, down, 'the guest answers')
    s.close()


def answer(s, failures):
    """The guest began."""
    try:
        s.settimeout(120)
        head = b''
        while len(head) < 16:
            data = s.recv(16 - len(head))
            if not data:
                raise Failure('the guest ends before it has said how much')
            head += data
        up, down = struct.unpack('<QQ', head)
        take_all(s, up, 'the guest sends')
        send_all(s, down)
    except (Failure, OSError) as why:
        failures.append(str(why))
    finally:
        s.close()


def serve(path, failures):
    listener = socket.socket(socket.AF_UNIX)
    listener.bind(path)
    listener.listen(128)

    def run():
        while True:
            try:
                s, _ = listener.accept()
            except OSError:
                return
            threading.Thread(target=answer, args=(s, failures), daemon=True).start()
    threading.Thread(target=run, daemon=True).start()
    return listener


def together(count, call, *args):
    failures = []

    def run():
        try:
            call(*args)
        except (Failure, OSError) as why:
            failures.append(str(why))
    threads = [threading.Thread(target=run) for _ in range(count)]
    for t in threads:
        t.start()
    for t in threads:
        t.join()
    if failures:
        raise Failure(f'{len(failures)} of {count}: {failures[0]}')


def slow_reader(m, path):
    """What a guest does not read stays here: the host's program is held up, not the machine's memory filled."""
    s = connect(path, 5001)
    s.setblocking(False)
    sent = 0
    s.send(struct.pack('<QQ', 32 * MIB, 1))
    try:
        while sent < 32 * MIB:
            sent += s.send(PATTERN[sent % MIB:sent % MIB + 65536])
            if sent > 8 * MIB:
                m.fail(f'{sent} bytes go to a guest that reads none')
    except BlockingIOError:
        pass
    s.settimeout(120)
    while sent < 32 * MIB:
        sent += s.send(PATTERN[sent % MIB:sent % MIB + min(65536, 32 * MIB - sent)])
    s.shutdown(socket.SHUT_WR)
    take_all(s, 1, 'the slow guest answers')


def early_connects(m, path):
    """True while there is no socket, or nobody listens on it yet; then a connection must end: there is no driver."""
    try:
        if connect(path, 5000):
            m.fail('a connection before there is a driver')
    except OSError:
        if time.time() > m.deadline:
            raise
        return True
    return False


def session(a, options):
    path, failures = os.path.join(a.dir, 'v'), []
    listener = serve(path + '_6000', failures)
    with Guest(a, ['vmw_vsock_virtio_transport'], SCRIPT, ['-device', f'virtio-vsock-pci,guest-cid=42,id=v,path={path}' + options], {'vsock': a.program}, seconds=300, cpus=2) as m:
        while early_connects(m, path):
            time.sleep(0.02)
        for _ in range(2):
            m.serial('VSOCK-READY 500[01]', BAD)
        start = time.time()
        ask(path, 5000, 24 * MIB, 1)
        to_guest = time.time() - start
        ask(path, 5000, 1, 24 * MIB)
        to_host = time.time() - start - to_guest
        together(100, ask, path, 5000, 30000, 20000)
        if connect(path, 9999):
            m.fail('somebody listens on port 9999 of the guest')
        slow_reader(m, path)
        held = connect(path, 5000)
        m.send('\n')
        m.serial('VSOCK-DONE 3 of 6000, 0 bad', BAD)
        m.serial('VSOCK-DONE 100 of 6000, 0 bad', BAD)
        m.serial('VSOCK-REFUSED Connection reset', BAD)
        m.serial('VSOCK-REFUSED Connection reset', BAD)
        m.serial('GUEST-DONE', BAD)
        if failures:
            m.fail(f'{len(failures)} connections of the guest failed: {failures[0]}')
        while (left := re.search(r'CID 42, socket \S+, (\d+) connections', m.command('info qtree -v'))).group(1) != '1':
            if time.time() > m.deadline:                       # the host's ends are closed a moment after the guest's
                m.fail(f'connections are left: {left.group(0)}')
            time.sleep(0.1)
        m.send('\n')
        m.command('device_del v')
        m.serial('GONE', BAD)
        if held.recv(1):
            m.fail('a connection says something when its guest has let go')
        while os.path.exists(path):
            if time.time() > m.deadline:
                m.fail('the device is gone, its socket is not')
            time.sleep(0.02)
        m.command(f'device_add virtio-vsock-pci,guest-cid=43,path={path}2,id=w{options}')
        if 'one is enough' not in m.command(f'device_add virtio-vsock-pci,guest-cid=44,path={path}3,id=x'):
            m.fail('two at once')
        m.send('\n')
        m.serial('VSOCK-READY 5002', BAD)
        ask(path + '2', 5002, MIB, MIB)
        m.send('\n')
        finish(m)
        if m.text.count('VSOCK-LOST') != 1:
            m.fail('the guest should have lost one connection')
    listener.close()
    os.unlink(path + '_6000')
    if os.path.exists(path + '2'):
        raise Failure('the socket is still there')
    return f'{24 / to_guest:.0f} MiB/s to the guest, {24 / to_host:.0f} MiB/s to the host'


def run(a):
    return f'split rings, MSI-X: {session(a, "")}; packed, INTx: {session(a, ",packed=on,vectors=0,event_idx=off")}'


if __name__ == '__main__':
    frame.main(__doc__, run, program=None)
