#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0-or-later
"""Clients of the monitor and of the gdb stub, good and bad: clients.py --vmm CMD [--seed N] [TEST]...

forms    gdb's protocol over tcp, unix, pty, stdio, and a -chardev of each kind that can carry it
gdb      random packets with right and wrong checksums, lengths and arguments, garbage, half-closed connections
monitor  garbage, NULs, endless lines, random commands with random arguments; connections by the thousand

After each storm the machine must answer as before, its memory must not have grown much, and quit must end it with status 0."""
import argparse
import os
import random
import re
import shutil
import socket
import subprocess
import sys
import tempfile
import time
sys.path.append(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
import leash            # noqa: E402, F401

from boot import Failure
from ports import free_port

checks = 0


def check(ok, what):
    global checks
    checks += 1
    if not ok:
        raise Failure(what)


def connect(path, seconds=60):
    deadline = time.time() + seconds
    while True:
        s = socket.socket(socket.AF_UNIX) if isinstance(path, str) else socket.socket()
        try:
            s.connect(path)
            s.settimeout(seconds)
            return s
        except OSError:
            s.close()
            if time.time() > deadline:
                raise Failure(f'cannot connect to {path}')
            time.sleep(0.02)


def packet(text):
    data = text if isinstance(text, bytes) else text.encode()
    return b'$' + data + b'#%02x' % (sum(data) & 0xff)


class Vm:
    def __init__(self, vmm, args, **kw):
        self.process = subprocess.Popen([*vmm.split(), '-display', 'none', '-m', '16', '-net', 'none', '-vga', 'none', '-S',
                                         '-monitor', 'unix:mon,server=on,wait=off', *args], stderr=open('stderr', 'w'), **{'stdin': subprocess.DEVNULL, **kw})

    def __enter__(self):
        return self

    def __exit__(self, *trace):
        if self.process.poll() is None:
            self.process.kill()
        self.process.wait()

    def alive(self):
        check(self.process.poll() is None, f'it ended with {self.process.returncode}: {open("stderr").read()[-2000:]}')

    def memory_kib(self):
        return int(re.search(r'RssAnon:\s+(\d+)', open(f'/proc/{self.process.pid}/status').read()).group(1))

    def descriptors(self):
        return len(os.listdir(f'/proc/{self.process.pid}/fd'))

    def ask(self, command, want, seconds=60):
        """A fresh connection to the monitor; the one before, and gdb's, may take a moment to be noticed as gone."""
        deadline = time.time() + seconds
        while True:
            self.alive()
            try:
                with connect('mon') as s:
                    s.settimeout(max(1, deadline - time.time()))
                    text = b''
                    while not text.endswith(b'(ospite) '):
                        data = s.recv(65536)
                        if not data:
                            raise OSError
                        text += data
                    s.sendall(command.encode() + b'\n')
                    text = b''
                    while not text.endswith(b'(ospite) '):
                        data = s.recv(65536)
                        if not data:
                            raise OSError
                        text += data
                    if command == 'info status' and want not in text.decode('latin-1') and time.time() < deadline:
                        continue
                    check(want in text.decode('latin-1'), f'{command}: {text!r}')
                    return
            except OSError:
                if time.time() > deadline:
                    self.alive()
                    raise Failure(f'the monitor does not answer {command!r}')

    def quit(self):
        with connect('mon') as s:
            s.sendall(b'quit\n')
            try:
                check(self.process.wait(60) == 0, f'quit: status {self.process.returncode}: {open("stderr").read()[-2000:]}')
            except subprocess.TimeoutExpired:
                raise Failure('quit does not end it')


# ---- forms ----

def talk(read, write):
    """The beginning of a conversation: why it stopped, a register, memory."""
    seen = b''
    for ask, want in (('?', rb'\$T05'), ('p10', rb'\$[0-9a-f]{8,16}#'), ('mffff0,10', rb'\$[0-9a-f]{32}#'), ('qSupported', rb'PacketSize='),
                      ('nosuch', rb'\$#00')):
        write(packet(ask))
        deadline = time.time() + 60
        while not re.search(want, seen):
            seen += read()
            if time.time() > deadline:
                raise Failure(f'no answer to {ask}: {seen!r}')
        check(True, ask)
        seen = b''
        write(b'+')


def over_socket(a, args, path):
    with Vm(a.vmm, args) as vm:
        with connect(path) as s:
            talk(lambda: s.recv(4096), s.sendall)
        with connect(path) as s:                        # the next one
            talk(lambda: s.recv(4096), s.sendall)
        vm.ask('info status', 'paused')                 # gone without a word: as it was before
        with connect(path) as s:
            s.sendall(packet('D'))
            vm.ask('info status', 'running')
        with connect(path) as s:
            talk(lambda: s.recv(4096), s.sendall)
            vm.ask('info status', 'paused')
        vm.ask('info status', 'running')
        vm.quit()


def over_pty(a, args):
    with Vm(a.vmm, args) as vm:
        deadline = time.time() + 60
        while not re.search(r'/dev/pts/\d+', open('stderr').read()):
            check(time.time() < deadline, 'no pty is told')
            time.sleep(0.02)
        fd = os.open(re.search(r'/dev/pts/\d+', open('stderr').read()).group(0), os.O_RDWR | os.O_NOCTTY)

        def read():
            os.set_blocking(fd, False)
            try:
                return os.read(fd, 4096)
            except BlockingIOError:
                time.sleep(0.01)
                return b''
        talk(read, lambda data: os.write(fd, data))
        os.close(fd)
        vm.ask('info status', 'paused')
        vm.quit()


def forms(a):
    port = free_port()
    over_socket(a, ['-gdb', f'tcp::{port}'], ('127.0.0.1', port))
    over_socket(a, ['-gdb', f'tcp:127.0.0.1:{port},server=on,wait=off'], ('127.0.0.1', port))
    over_socket(a, ['-gdb', 'unix:gdb'], 'gdb')
    over_socket(a, ['-gdb', 'unix:gdb,server=on'], 'gdb')
    over_socket(a, ['-chardev', 'socket,id=c,path=gdb,server=on,wait=off', '-gdb', 'chardev:c'], 'gdb')
    over_socket(a, ['-chardev', f'socket,id=c,host=127.0.0.1,port={port},server=on,wait=off', '-gdb', 'chardev:c'], ('127.0.0.1', port))
    over_pty(a, ['-gdb', 'pty'])
    over_pty(a, ['-chardev', 'pty,id=c', '-gdb', 'chardev:c'])
    for args in (['-gdb', 'stdio'], ['-chardev', 'stdio,id=c', '-gdb', 'chardev:c']):
        with Vm(a.vmm, args, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as vm:
            talk(lambda: os.read(vm.process.stdout.fileno(), 4096), lambda data: os.write(vm.process.stdin.fileno(), data))
            vm.quit()
    with Vm(a.vmm, []) as vm:                           # and from the monitor
        vm.ask('gdbserver unix:gdb', "device 'unix:gdb'")
        with connect('gdb') as s:
            talk(lambda: s.recv(4096), s.sendall)
        vm.ask('gdbserver unix:gdb', 'served already')
        vm.ask('gdbserver none', 'Disabled')
        vm.quit()


# ---- storms ----

COMMANDS = ['?', 'g', 'G', 'p', 'P', 'm', 'M', 'X', 'c', 's', 'C05', 'S05', 'H', 'Hg', 'Hc', 'T', 'D', 'q', 'qSupported', 'qXfer:features:read:target.xml:',
            'qXfer:features:read:', 'qC', 'qfThreadInfo', 'qsThreadInfo', 'qThreadExtraInfo,', 'qAttached', 'qRcmd,', 'vCont', 'vCont?', 'vCont;c', 'vCont;s:1',
            'vMustReplyEmpty', 'Z0,', 'Z1,', 'Z2,', 'Z3,', 'Z4,', 'z0,', 'z1,', 'z4,', 'QStartNoAckMode', 'qemu.sstep', 'Qqemu.sstep=', 'qOffsets', '!', 'R', 'b', 'i', 't']
NUMBERS = ['0', '1', '-1', '-2', '7', '10', 'fff0', 'ffffffff', 'ffffffffffffffff', '10000000000000000', '7fffffff', 'zz', '', '100000', '000000000000000000000000000000000000001']


def random_packet(rng):
    text = rng.choice(COMMANDS)
    for _ in range(rng.randrange(4)):
        text += rng.choice([',', ';', ':', '', '.', '=']) + rng.choice(NUMBERS)
    if rng.random() < .1:
        text += rng.randbytes(rng.randrange(40)).hex()
    data = text.encode()
    if rng.random() < .1:
        data += rng.randbytes(rng.randrange(60)).replace(b'#', b'').replace(b'$', b'')
    if rng.random() < .02:
        data *= rng.randrange(3000) + 1
    whole = packet(data)
    kind = rng.random()
    if kind < .04:
        return whole[:-1] + b'x'                        # a wrong checksum
    if kind < .08:
        return whole[:rng.randrange(len(whole))]        # cut off
    if kind < .11:
        return rng.randbytes(rng.randrange(200))
    if kind < .13:
        return rng.choice([b'\x03', b'+' * 50, b'-' * 5, b'$$$$', b'#', b'}' * 9])
    return whole


def gdb_storm(a):
    rng = random.Random(a.seed)
    sent = 0
    with Vm(a.vmm, ['-gdb', 'unix:gdb', '-smp', '2']) as vm:
        vm.ask('info status', 'paused')
        before, fds = vm.memory_kib(), vm.descriptors()
        for _ in range(60):
            s = connect('gdb')
            s.settimeout(0)
            for _ in range(rng.randrange(60)):
                try:
                    data = random_packet(rng)
                    s.sendall(data)
                    sent += 1
                    s.recv(1 << 20)
                except BlockingIOError:
                    pass
                except OSError:
                    break
            if rng.random() < .3:
                try:
                    s.shutdown(rng.choice([socket.SHUT_WR, socket.SHUT_RD]))
                except OSError:
                    pass
            s.close()
            vm.alive()
        vm.ask('stop', '')
        vm.ask('info status', 'paused')
        with connect('gdb') as s:
            talk(lambda: s.recv(4096), s.sendall)
        vm.ask('info status', 'paused')
        check(vm.memory_kib() - before < 60000, f'memory grew from {before} to {vm.memory_kib()} KiB')
        check(vm.descriptors() <= fds + 2, f'{vm.descriptors()} descriptors, {fds} before')
        with connect('gdb') as s:                       # a bad k is none, a good one ends the machine
            s.sendall(packet('k')[:-1] + b'0')
            talk(lambda: s.recv(4096), s.sendall)
            s.sendall(packet('k'))
            check(vm.process.wait(60) == 0, f'k: status {vm.process.returncode}')
    print(f'gdb: seed {a.seed}, {sent} packets in 60 connections')


WORDS = ['help', 'info', 'info registers', 'info mem', 'info tlb', 'info mtree', 'info pci', 'info block', 'info jit', 'info chardev', 'x', 'xp', 'x/', 'p', 'print', 'print/', 'i', 'o',
         'gva2gpa', 'sendkey', 'eject', 'change', 'commit', 'balloon', 'set_link', 'hostfwd_add', 'hostfwd_remove', 'screen', 'cpu', 'log none', 'nmi', 'stop', 'cont',
         'system_reset', 'system_powerdown', 'announce_self', 'gdbserver none', 'nosuch', 'info nosuch', '"', '""', '$', 'x/100000i', 'xp/999999999gx']
ARGUMENTS = ['0', '-1', '1', '0xffffffffffffffff', '0xfffffffffffffff8', '$rip', '$nosuch', '(((', '))', '1/0', '1%0', '-9223372036854775808/-1', '9' * 40, '"a b"', 'ide1-cd0', 'all',
             'a' * 300, '\x7f', '\xff\xfe', 'ctrl-alt-delete', 'a-' * 40, '/dev/null', '~' * 90, '(' * 200, '2**3', '0x', '/x', '/c', '/i', '%s%n%d', '-f', 'ret 999999']


def monitor_storm(a):
    rng = random.Random(a.seed)
    lines = 0
    with Vm(a.vmm, ['-smp', '2']) as vm:
        vm.ask('info status', 'paused')
        before, fds = vm.memory_kib(), vm.descriptors()
        for kind in range(30):
            s = connect('mon')
            s.settimeout(0)
            for _ in range(rng.randrange(1, 50)):
                line = ' '.join([rng.choice(WORDS)] + [rng.choice(ARGUMENTS) for _ in range(rng.randrange(4))]).encode('latin-1')
                chance = rng.random()
                if chance < .1:
                    line = rng.randbytes(rng.randrange(300)).replace(b'q', b'')
                elif chance < .15:
                    line = b'\0' * rng.randrange(3000)
                elif chance < .17:
                    line = bytes([rng.randrange(256)]) * 100000
                elif chance < .2:
                    line = b'p ' + b'(' * 3000 + b'1'
                try:
                    s.setblocking(True)
                    s.settimeout(20)
                    s.sendall(line + rng.choice([b'\n', b'\r', b'\r\n', b'\n\n']))
                    lines += 1
                    s.settimeout(0)
                    s.recv(1 << 22)
                except BlockingIOError:
                    pass
                except OSError:
                    break
            if kind % 3 == 0:
                s.shutdown(socket.SHUT_WR)
            s.close()
            vm.alive()
        vm.ask('stop', '')
        vm.ask('info status', 'paused')
        # One that asks for much and never reads: what does not fit is dropped, the others are served.
        with connect('mon') as s:
            s.setblocking(False)
            try:
                for _ in range(2000):
                    s.send(b'info mtree\nhelp\n')
            except BlockingIOError:
                pass
            time.sleep(0.3)
            vm.alive()
        vm.ask('info status', 'paused')
        # Connections by the thousand: one is served, the others wait in the kernel or are turned away.
        crowd = []
        for _ in range(3000):
            s = socket.socket(socket.AF_UNIX)
            s.setblocking(False)
            try:
                s.connect('mon')
                s.send(b'info status\n')
            except OSError:
                pass
            crowd.append(s)
            if len(crowd) > 400:
                crowd.pop(0).close()
        vm.alive()
        for s in crowd:
            s.close()
        vm.ask('info status', 'paused')
        check(vm.memory_kib() - before < 60000, f'memory grew from {before} to {vm.memory_kib()} KiB')
        check(vm.descriptors() <= fds + 2, f'{vm.descriptors()} descriptors, {fds} before')
        vm.quit()
    print(f'monitor: seed {a.seed}, {lines} lines in 30 connections, 3000 connections')


TESTS = {'forms': forms, 'gdb': gdb_storm, 'monitor': monitor_storm}


def main():
    p = argparse.ArgumentParser(usage=__doc__)
    p.add_argument('--vmm', default='build/ospite -accel bt')
    p.add_argument('--seed', type=int, default=11)
    p.add_argument('test', nargs='*')
    a = p.parse_args()
    a.vmm = ' '.join([os.path.abspath(a.vmm.split()[0]), *a.vmm.split()[1:]])
    failed = 0
    for name in a.test or TESTS:
        folder = tempfile.mkdtemp(prefix='ospite-clients-')
        os.chdir(folder)
        try:
            TESTS[name](a)
            print(f'PASS {name}')
        except Failure as why:
            print(f'FAIL {name}: {why}')
            failed += 1
        os.chdir('/')
        shutil.rmtree(folder)
    print(f'clients: {checks} checks, {failed} failed')
    return failed != 0


if __name__ == '__main__':
    sys.exit(main())
