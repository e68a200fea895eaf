#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0-or-later
"""QMP and what is outside of it: qmp_files.py --vmm CMD [--qemu CMD] [TEST]...

descriptors  those that come over the monitor's socket: names, sets, who takes them; QEMU's answers to the same
passwords    when VNC's password ends
reopen       nodes that get other options below a device: QEMU's answers to the same, and what it makes of them
dump         cores of three kinds of paging against QEMU's: segments, bytes, registers; what gdb reads in them; pipes, errors"""
import argparse
import array
import json
import os
import random
import socket
import struct
import subprocess
import sys
import tempfile
import time
sys.path.append(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
import leash            # noqa: E402, F401

import monitor
import qmp
from boot import Failure
from qmp import Client, Vm, check, equal

SOURCE = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))


def send_with(c, fds, command, **arguments):
    """A command with descriptors beside it; its answer."""
    text = json.dumps({'execute': command, 'arguments': {k.replace('_', '-'): v for k, v in arguments.items()}}).encode()
    c.s.sendmsg([text], [(socket.SOL_SOCKET, socket.SCM_RIGHTS, array.array('i', fds))] if fds else [])
    return c.answer()


def value(answer, what):
    if 'return' not in answer:
        raise Failure(f'{what}: {answer}')
    return answer['return']


def same(answer):
    """What must be as in QEMU: numbers of descriptors are not."""
    if isinstance(answer, list):
        return [same(a) for a in answer]
    return {k: same(v) if k != 'fd' else isinstance(v, int) for k, v in answer.items()} if isinstance(answer, dict) else answer


def open_count(vm):
    return len(os.listdir(f'/proc/{vm.process.pid}/fd'))


# ---- descriptors ----

def steps(c):
    """Right and wrong uses of all the commands, by turns; the answers."""
    r = os.open('a', os.O_RDWR | os.O_CREAT, 0o600)
    out = [send_with(c, fds, command, **arguments) for fds, command, arguments in (
        ([], 'getfd', {'fdname': 'x'}), ([r], 'getfd', {'fdname': '1x'}), ([r], 'getfd', {'fdname': 'x'}), ([r], 'getfd', {'fdname': 'x'}),
        ([], 'closefd', {'fdname': 'y'}), ([], 'closefd', {'fdname': 'x'}), ([], 'closefd', {'fdname': 'x'}),
        ([], 'query-fdsets', {}), ([], 'add-fd', {}), ([r], 'add-fd', {'fdset-id': -1}), ([r], 'add-fd', {}),
        ([r], 'add-fd', {'fdset-id': 3, 'opaque': 'three'}), ([r], 'add-fd', {'fdset-id': 3}), ([r], 'add-fd', {}), ([r], 'add-fd', {}),
        ([], 'query-fdsets', {}), ([], 'remove-fd', {'fdset-id': 9}), ([], 'remove-fd', {'fdset-id': 3, 'fd': 99999}),
        ([], 'remove-fd', {'fdset-id': 1}), ([], 'query-fdsets', {}), ([], 'remove-fd', {'fdset-id': 3}), ([], 'query-fdsets', {}),
        ([], 'add_client', {'protocol': 'vnc', 'fdname': 'nobody'}), ([r], 'getfd', {'fdname': 'file'}), ([], 'add_client', {'protocol': 'vnc', 'fdname': 'file'}),
        ([r], 'netdev_add', {'type': 'tap', 'id': 'n', 'fd': 'nobody'}))]
    os.close(r)
    return [same(a) for a in out]


def files(c):
    """A set's name wherever a file is named."""
    disk, out = os.open('disk', os.O_RDWR | os.O_CREAT, 0o600), os.open('out', os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    os.ftruncate(disk, 1 << 20)
    for fd in (disk, out):
        value(send_with(c, [fd], 'add-fd', fdset_id=7), 'add-fd')
    c.run('blockdev-add', driver='file', node_name='f', filename='/dev/fdset/7')
    c.run('blockdev-add', driver='raw', node_name='r', file='f')
    equal([n['image']['virtual-size'] for n in c.run('query-named-block-nodes') if n.get('node-name') == 'r'], [1 << 20], 'size of an image in a set')
    c.run('screendump', filename='/dev/fdset/7', format='png')
    for more, error in (({}, None), ({'device': 'screen'}, None), ({'device': 'screen', 'head': 0}, None), ({'head': 0}, 'together'), ({'device': 'screen', 'head': 1}, 'number 1'),
                        ({'device': 'usb'}, 'number 0'), ({'device': 'none'}, "'none' not found")):
        answer = c.raw({'execute': 'screendump', 'arguments': {'filename': '/dev/null', **more}})
        check('return' in answer if not error else error in answer['error']['desc'], f'screendump {more}: {answer}')
    equal(open('out', 'rb').read(8), b'\x89PNG\r\n\x1a\n', 'a picture through a set')
    os.lseek(out, 0, os.SEEK_SET)
    os.ftruncate(out, 0)
    c.run('pmemsave', val=0xf0000, size=65536, filename='/dev/fdset/7')
    equal(os.path.getsize('out'), 65536, 'memory through a set')
    for name, why in (('/dev/fdset/8', 'No such file'), ('/dev/fdset/x', 'No such file'), ('/dev/fdset/7x', 'No such file')):
        answer = c.raw({'execute': 'pmemsave', 'arguments': {'val': 0, 'size': 4, 'filename': name}})
        check(why in answer['error']['desc'], f'{name}: {answer}')
    only = os.open('disk', os.O_RDONLY)
    value(send_with(c, [only], 'add-fd', fdset_id=9), 'add-fd')
    answer = c.raw({'execute': 'pmemsave', 'arguments': {'val': 0, 'size': 4, 'filename': '/dev/fdset/9'}})
    check('Permission denied' in answer['error']['desc'], f'a set without one to write: {answer}')
    c.run('blockdev-del', node_name='r')
    c.run('blockdev-del', node_name='f')
    for s in c.run('query-fdsets'):
        c.run('remove-fd', fdset_id=s['fdset-id'])
    for fd in (disk, out, only):
        os.close(fd)


def greeted(c, protocol, **more):
    """A client that is handed over; its end."""
    mine, theirs = socket.socketpair()
    value(send_with(c, [theirs.fileno()], 'getfd', fdname='s'), 'getfd')
    theirs.close()
    c.run('add_client', protocol=protocol, fdname='s', **more)
    mine.settimeout(60)
    return mine


def clients(c):
    """Viewers, with the password that they need and without; a serial port's socket."""
    for skip, types in ((False, b'\x01\x02'), (True, b'\x01\x01')):
        s = greeted(c, 'vnc', skipauth=skip)
        equal(s.recv(12, socket.MSG_WAITALL), b'RFB 003.008\n', 'greeting of VNC')
        s.sendall(b'RFB 003.008\n')
        equal(s.recv(2, socket.MSG_WAITALL), types, f'skipauth={skip}')
        c.wait('VNC_CONNECTED')
        if skip:
            s.sendall(b'\x01')
            equal(s.recv(4, socket.MSG_WAITALL), bytes(4), 'no password')
            s.sendall(b'\x01')
            equal(s.recv(4, socket.MSG_WAITALL), b'\x02\x80\x01\xe0', 'size of the screen')
            c.wait('VNC_INITIALIZED')
            equal(len(c.run('query-vnc')['clients']), 1, 'clients')
        s.close()
        c.wait('VNC_DISCONNECTED')
    s = greeted(c, 'ser')
    state = {x['label']: x['filename'] for x in c.run('query-chardev')}
    check(not state['ser'].startswith('disconnected'), f'{state}')
    mine, theirs = socket.socketpair()
    value(send_with(c, [theirs.fileno()], 'getfd', fdname='s'), 'getfd')
    for protocol, name in (('ser', 's'), ('nothing', 's')):          # somebody is there; there is none
        answer = c.raw({'execute': 'add_client', 'arguments': {'protocol': protocol, 'fdname': name}})
        check('error' in answer, f'add_client {protocol}: {answer}')
    s.close()
    mine.close()
    theirs.close()


def test_descriptors(o):
    args = ['-vga', 'none', '-device', 'VGA,id=screen', '-device', 'qemu-xhci,id=usb', '-vnc', 'unix:vnc,password=on', '-chardev', 'socket,id=ser,path=ser,server=on,wait=off', '-serial', 'chardev:ser', '-nodefaults']
    with Vm(o.qemu, args, plain=('-display', 'none', '-m', '16')):      # it clears sets up only while it runs
        c = Client('qmp')
        reference = steps(c)
        c.close()
    os.unlink('qmp')
    with Vm(o.vmm, args) as vm:
        c = Client('qmp')
        for number, (got, wanted) in enumerate(zip(steps(c), reference)):
            if number in (24, 25):                       # QEMU 7.2 takes a file for a client; other words
                check('error' in got, f'answer {number}: {got}, not {wanted}')
            else:
                equal(got, wanted, f'answer {number}')
        before = open_count(vm)
        for _ in range(3):
            files(c)
            clients(c)
        for _ in range(100):                                             # what nobody wants is closed
            r, w = os.pipe()
            value(send_with(c, [r] * 30, 'query-status'), 'query-status')
            os.close(r)
            os.close(w)
        value(send_with(c, [], 'query-status'), 'query-status')
        value(send_with(c, [0], 'getfd', fdname='left'), 'getfd')
        c.close()
        c = Client('qmp')
        c.run('closefd', fdname='left')
        check(open_count(vm) <= before + 1, f'{open_count(vm)} descriptors are open, {before} were')
        many = [send_with(c, [0], 'getfd', fdname=f'n{i}') for i in range(300)]
        check('return' in many[0] and 'error' in many[-1], 'names without end')
        c.run('quit')
        vm.ended(0)
    inherited(o)


def inherited(o):
    """-add-fd."""
    disk = os.open('disk', os.O_RDWR | os.O_CREAT, 0o600)
    os.ftruncate(disk, 1 << 20)
    os.set_inheritable(disk, True)
    for bad, why in (('fd=1,set=1', 'another descriptor'), ('fd=900,set=1', 'no descriptor 900'), ('set=1', 'needs fd='), (f'fd={disk},set=x', 'set')):
        p = subprocess.run([*o.vmm.split(), '-display', 'none', '-add-fd', bad], capture_output=True, text=True, timeout=60, pass_fds=[disk])
        check(p.returncode == 1 and why in p.stderr and p.stderr.count('\n') == 1, f'-add-fd {bad}: {p.stderr}')
    with Vm(o.vmm, ['-add-fd', f'fd={disk},set=2,opaque=a disk', '-drive', 'file=/dev/fdset/2,format=raw,if=ide'], pass_fds=[disk]) as vm:
        c = Client('qmp')
        equal([[f['opaque'] for f in s['fds']] for s in c.run('query-fdsets')], [['a disk']], '-add-fd')
        equal(c.run('query-block')[0]['inserted']['image']['virtual-size'], 1 << 20, 'a drive from a set')
        c.run('quit')
        vm.ended(0)
    os.close(disk)


# ---- passwords ----

def test_passwords(o):
    sys.path.insert(0, os.path.join(SOURCE, 'tests/display'))
    import rfb

    def comes_in(word):
        try:
            rfb.Client('vnc', password=word).s.close()
            return True
        except (rfb.Closed, AssertionError, Failure, OSError, ValueError):
            return False

    with Vm(o.vmm, ['-vga', 'std', '-vnc', 'unix:vnc,password=on']) as vm:
        c = Client('qmp')
        c.run('set_password', protocol='vnc', password='word')
        now = int(time.time())
        for when, ok in (('never', True), ('now', False), ('+1000', True), (str(now - 5), False), (str(now + 1000), True), ('+0', False), ('never', True)):
            c.run('expire_password', protocol='vnc', time=when)
            equal(comes_in('word'), ok, f'expire_password {when}')
        for seconds in (2, 10, 60):                        # a busy host may let them pass before anybody comes
            before = time.time()
            c.run('expire_password', protocol='vnc', time=f'+{seconds}')
            came = comes_in('word')
            if came or time.time() - before < seconds - 1:
                break
        equal(came, True, f'before {seconds} seconds are over')
        time.sleep(max(0.0, before + seconds + 1.1 - time.time()))
        equal(comes_in('word'), False, 'after them')
        for bad in ('later', '+', '-5', '', '5x', '+9223372036854775807', '99999999999999999999'):
            check('error' in c.raw({'execute': 'expire_password', 'arguments': {'protocol': 'vnc', 'time': bad}}), f'time {bad!r}')
        equal(c.raw({'execute': 'expire_password', 'arguments': {'protocol': 'spice', 'time': 'now'}})['error']['class'], 'DeviceNotActive', 'spice')
        equal(c.run('human-monitor-command', command_line='expire_password vnc never'), '', 'the human monitor')
        equal(comes_in('word'), True, 'never again')
        c.run('quit')
        vm.ended(0)


# ---- dump-guest-memory ----

class Core:
    def __init__(self, path):
        self.data = open(path, 'rb').read()
        self.machine, = struct.unpack_from('<H', self.data, 18)
        at, = struct.unpack_from('<Q', self.data, 32)
        count, = struct.unpack_from('<H', self.data, 56)
        if count == 0xffff:
            section, = struct.unpack_from('<Q', self.data, 40)
            count, = struct.unpack_from('<I', self.data, section + 44)
        self.loads, self.notes = [], []
        for i in range(count):
            kind, _, offset, vaddr, paddr, size, memory, _ = struct.unpack_from('<IIQQQQQQ', self.data, at + 56 * i)
            check(offset + size <= len(self.data) and memory == size, 'a segment that ends behind the file')
            if kind == 1:
                self.loads.append((paddr, vaddr, size, offset))
            while kind == 4 and size:
                name, desc, number = struct.unpack_from('<III', self.data, offset)
                self.notes.append((self.data[offset + 12:offset + 11 + name], number, self.data[offset + 20:offset + 20 + desc]))
                offset, size = offset + 20 + desc, size - 20 - desc

    def virtual(self):
        """Pages: which physical one each virtual one is. QEMU sets the upper 16 bits of all virtual addresses in long mode."""
        return {((v + n) % (1 << 48), p + n) for p, v, size, _ in self.loads for n in range(0, size, 4096)}

    def physical(self):
        """The bytes of all pages in RAM that both machines have."""
        return {p + n: self.data[o + n:o + n + 4096] for p, _, size, o in self.loads for n in range(0, size, 4096) if p + n < 0xa0000 or 0x100000 <= p + n < 0x1000000}


def notes_compare(ours, theirs, mode):
    """Word by word."""
    equal([(n, t, len(d)) for n, t, d in ours.notes], [(n, t, len(d)) for n, t, d in theirs.notes], f'{mode}: notes')
    for (name, _, a), (_, _, b) in zip(ours.notes[::2], theirs.notes[::2]):      # the second processor is where firmware, or none, left it
        for at in range(0, len(a), 4):
            x, y = struct.unpack_from('<I', a, at)[0], struct.unpack_from('<I', b, at)[0]
            if name == b'QEMU' and 136 + 16 <= at < 136 + 16 + 240 and (at - 152) % 24 == 8:
                x, y = x & 0xf0fe00 if (at - 152) // 24 < 8 else 0, y & 0xf0fe00 if (at - 152) // 24 < 8 else 0       # descriptors' flags: accessed, busy, parts of the base
                if (at - 152) // 24 in (6, 7):                   # what LLDT and LTR leave in hidden parts that mean nothing
                    continue
            equal(x, y, f'{mode}: note {name} at {at}')


def gdb(core, lines):
    args = ['gdb', '-q', '-nx', '-batch', '-ex', 'set confirm off', '-ex', f'core-file {core}']
    for line in lines:
        args += ['-ex', line]
    return subprocess.run(args, capture_output=True, text=True, timeout=200).stdout


def dumped(c, path, **more):
    answer = c.raw({'execute': 'dump-guest-memory', 'arguments': {'protocol': f'file:{os.getcwd()}/{path}', 'paging': False, **more}})
    equal(answer, {'return': {}}, f'dump {more}')
    done = c.wait('DUMP_COMPLETED')['result']
    check(done['status'] == 'completed' and done['total'] == done['completed'] > 0, f'{done}')
    return Core(path)


def pages_below(core, top):
    return {x for x in core.virtual() if x[1] < top and not 0xa0000 <= x[1] < 0x100000}


def modes_compare(o, mode, tables):
    rng = random.Random(f'dump {mode}')
    open('kernel', 'wb').write(monitor.kernel(rng, tables))
    args = ['-m', '16', '-smp', '2', '-kernel', 'kernel', '-vga', 'none', '-net', 'none', '-serial', 'file:serial', '-monitor', 'none']
    cores = {}
    for name, vmm in (('theirs', o.qemu + ' -cpu max'), ('ours', o.vmm)):
        for left in ('qmp', 'serial'):
            if os.path.exists(left):
                os.unlink(left)
        with Vm(vmm, args, plain=('-display', 'none')):
            deadline = time.time() + 150
            while not os.path.exists('serial') or b'!' not in open('serial', 'rb').read():
                check(time.time() < deadline, 'the guest does not come up')
                time.sleep(0.05)
            c = Client('qmp')
            c.run('stop')
            cores[name] = [dumped(c, f'{name}-{paging}', paging=paging) for paging in (False, True)]
            text = c.run('human-monitor-command', command_line='x /8xg 0x101000')
            part = dumped(c, f'{name}-part', begin=0x101000, length=0x3000)
            equal([(at, size) for at, _, size, _ in part.loads], [(0x101000, 0x3000)], f'{mode}: a part')
            check(part.physical() == {at: page for at, page in cores[name][0].physical().items() if 0x101000 <= at < 0x104000}, f'{mode}: its bytes')
            c.run('quit')
    for ours, theirs, what in zip(cores['ours'], cores['theirs'], ('plain', 'paging')):
        equal(ours.machine, theirs.machine, f'{mode}: machine')
        notes_compare(ours, theirs, f'{mode} {what}')
        a, b = ours.physical(), theirs.physical()
        missing = sorted(set(b) - set(a)) + (sorted(set(a) - set(b)) if what == 'plain' else [])      # with paging QEMU leaves some out
        check(not missing, f'{mode} {what}: {len(missing)} pages are here or there only, from {missing[:1]} on')
        end = monitor.TABLES                     # they have accessed bits of one's own; elsewhere firmware and boot loaders were
        differ = [f'{p:#x}' for p in a if p in b and a[p] != b[p] and 0x100000 <= p < end]
        equal(differ, [], f'{mode} {what}: pages that differ')
        ours_pages, theirs_pages = pages_below(ours, 0x1000000), pages_below(theirs, 0x1000000)
        check(theirs_pages <= ours_pages if what == 'paging' else all(v == p for p, v, _, _ in ours.loads + theirs.loads), f'{mode} {what}: {len(theirs_pages - ours_pages)} virtual pages are missing')
        check(what == 'plain' or len(ours_pages) > 400, f'{mode}: {len(ours_pages)} virtual pages')
    words = [f'0x{int(w, 16):016x}' for line in text.split('\n') if ':' in line for w in line.split(':')[1].split()]
    shown = gdb('ours-True', ['info threads', 'x/8xg 0x101000'])
    equal([w for line in shown.split('\n') if line.startswith('0x10') for w in line.split(':')[1].split()], words, f'{mode}: memory in gdb')
    equal(len([line for line in shown.split('\n') if 'LWP' in line and line.lstrip('* ')[:1].isdigit()]), 2, f'{mode}: threads in gdb: {shown}')
    return len(ours_pages)


def pipes(o):
    """A reader that sleeps, one that goes away; the machine stands until it is over, and does not end with it."""
    with Vm(o.vmm, ['-vga', 'none'], plain=('-display', 'none', '-m', '64')) as vm:
        c = Client('qmp')
        equal(c.run('query-dump'), {'status': 'none', 'completed': 0, 'total': 0}, 'none yet')
        equal(c.run('query-dump-guest-memory-capability'), {'formats': ['elf']}, 'formats')
        r, w = os.pipe()
        value(send_with(c, [w], 'getfd', fdname='dump'), 'getfd')
        os.close(w)
        c.run('dump-guest-memory', paging=False, protocol='fd:dump', detach=True)
        c.wait('STOP')
        equal(c.run('query-dump')['status'], 'active', 'a sleeping reader')
        for command, args in (('cont', {}), ('dump-guest-memory', {'paging': False, 'protocol': 'file:/dev/null'})):
            equal(c.raw({'execute': command, 'arguments': args})['error']['desc'], 'There is a dump in process, please wait.', command)
        got = b''
        while piece := os.read(r, 1 << 20):
            got += piece
        os.close(r)
        equal(c.wait('DUMP_COMPLETED')['result']['status'], 'completed', 'status')
        c.wait('RESUME')
        open('piped', 'wb').write(got)
        check(sum(size for _, _, size, _ in Core('piped').loads) >= 64 << 20, 'all of memory came through')
        r, w = os.pipe()
        value(send_with(c, [w], 'getfd', fdname='dump'), 'getfd')
        os.close(w)
        c.run('dump-guest-memory', paging=False, protocol='fd:dump', detach=True)
        os.close(r)
        failed = c.wait('DUMP_COMPLETED')
        check(failed['result']['status'] == 'failed' and 'Broken pipe' in failed['error'], f'{failed}')
        c.wait('RESUME')
        for wrong in ({'protocol': 'x'}, {'protocol': 'fd:none'}, {'protocol': 'file:/nowhere/x'}, {'protocol': 'file:x', 'begin': 0}, {'protocol': 'file:x', 'length': 5},
                      {'protocol': 'file:x', 'begin': 0, 'length': 0}, {'protocol': 'file:x', 'begin': 1 << 40, 'length': 4096}, {'protocol': 'file:x', 'format': 'kdump-zlib'},
                      {'protocol': 'file:/dev/full'}):
            check('error' in c.raw({'execute': 'dump-guest-memory', 'arguments': {'paging': False, **wrong}}), f'{wrong}')
        equal(c.run('query-status')['status'], 'running', 'after errors')
        equal(c.run('human-monitor-command', command_line='dump-guest-memory -p human'), '', 'the human monitor')
        Core('human')
        r, w = os.pipe()
        value(send_with(c, [w], 'getfd', fdname='dump'), 'getfd')
        os.close(w)
        c.run('dump-guest-memory', paging=False, protocol='fd:dump', detach=True)
        c.run('quit')
        vm.ended(0)
        os.close(r)


def test_dump(o):
    pages = [modes_compare(o, mode, tables) for mode, tables in (('32-bit', monitor.tables_32), ('PAE', monitor.tables_pae), ('4-level', monitor.tables_long))]
    pipes(o)
    print(f'{pages} virtual pages of RAM in three kinds of page tables')


# ---- nodes that are opened again ----

NODES = [{'driver': 'file', 'node-name': 'bf', 'filename': 'base', 'read-only': True}, {'driver': 'qcow2', 'node-name': 'b', 'file': 'bf', 'read-only': True},
         {'driver': 'file', 'node-name': 'b2f', 'filename': 'base2', 'auto-read-only': True}, {'driver': 'qcow2', 'node-name': 'b2', 'file': 'b2f', 'read-only': True},
         {'driver': 'file', 'node-name': 'tf', 'filename': 'top', 'auto-read-only': True}, {'driver': 'qcow2', 'node-name': 't', 'file': 'tf', 'backing': 'b'},
         {'driver': 'file', 'node-name': 'pf', 'filename': 'plain', 'auto-read-only': True}, {'driver': 'qcow2', 'node-name': 'p', 'file': 'pf'}]
T, P, B2, F = NODES[5], NODES[7], {'driver': 'qcow2', 'node-name': 'b2', 'file': 'b2f'}, NODES[6]
# Lists of nodes; QEMU refuses those of OTHER_WORDS with other words.
REOPEN = [[{**T, 'read-only': True}], [{**P, 'read-only': True}], [P], [{'driver': 'qcow2', 'node-name': 't', 'file': 'tf'}], [{**T, 'node-name': 'zz'}],
          [{'driver': 'qcow2', 'file': 'tf'}], [{'driver': 'raw', 'node-name': 'p', 'file': 'pf'}], [{'driver': 'qcow2', 'node-name': 'p', 'file': 'nix'}],
          [{'driver': 'qcow2', 'node-name': 'p'}], [{**T, 'backing': 'b2'}], [{**T, 'backing': None}], [T], [{**T, 'backing': 't'}], [{**T, 'backing': 'nix'}],
          [{**P, 'backing': 'b'}], [{**P, 'backing': None}], [B2], [{**B2, 'read-only': True}], [{**P, 'read-only': True}, {**P, 'node-name': 'zz'}],
          [{**P, 'read-only': True}, {**T, 'backing': 'b2'}], [P, T], [F], [{**F, 'filename': 'top'}], [{**F, 'read-only': True}], [{**P, 'discard': 'unmap'}],
          [P, {**T, 'read-only': True}]]
OTHER_WORDS = [[{**P, 'file': 'tf'}], [{**P, 'nonsense': True}], [{**P, 'backing': 'b2'}, {**B2, 'backing': 'p'}]]


def nodes_seen(c):
    return {n['node-name']: (n['ro'], n.get('backing_file')) for n in c.run('query-named-block-nodes', flat=True) if n['drv'] == 'qcow2'}


def reopened(vmm):
    args = [x for n in NODES for x in ('-blockdev', json.dumps(n))] + ['-device', 'virtio-blk-pci,drive=t']
    with Vm(vmm, args) as vm:
        c = Client('qmp')
        out = [(c.raw({'execute': 'blockdev-reopen', 'arguments': {'options': options}}), nodes_seen(c)) for options in REOPEN]
        for options in OTHER_WORDS:
            check('error' in c.raw({'execute': 'blockdev-reopen', 'arguments': {'options': options}}), f'{options} is refused')
        out.append((None, nodes_seen(c)))
        files_open = open_count(vm)
        for i in range(100):
            c.run('blockdev-reopen', options=[{**T, 'backing': ['b', 'b2', None][i % 3]}, {**P, 'read-only': bool(i % 2)}])
        equal(open_count(vm), files_open, 'open files after a hundred')
        c.run('quit')
        vm.ended(0)
    return out


def test_reopen(o):
    for command in ('base', 'base2', '-b base -F qcow2 top', 'plain'):
        subprocess.run(['qemu-img', 'create', '-q', '-f', 'qcow2', *command.split(), '16M'], check=True)
    mine, theirs = reopened(o.vmm), reopened(o.qemu)
    for options, a, b in zip([*REOPEN, OTHER_WORDS], mine, theirs):
        equal(a, b, f'{options}')
    for name in ('top', 'plain', 'base', 'base2'):
        equal(subprocess.run(['qemu-img', 'check', '-q', name]).returncode, 0, f'check of {name}')
    print(f'{len(REOPEN)} lists of nodes, {len(OTHER_WORDS)} more that are refused')


def main():
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument('--vmm', required=True)
    p.add_argument('--qemu', default='qemu-system-x86_64 -accel tcg')
    p.add_argument('tests', nargs='*', default=['descriptors', 'passwords', 'reopen', 'dump'])
    o = p.parse_args()
    with tempfile.TemporaryDirectory(prefix='ospite-qmp-') as d:
        os.chdir(d)
        try:
            for t in o.tests:
                for name in os.listdir('.'):
                    os.unlink(name)
                globals()[f'test_{t}'](o)
        except Failure as e:
            print(f'FAIL: {e}')
            return 1
        finally:
            os.chdir('/')
    print(f'{qmp.checks} checks')
    return 0


if __name__ == '__main__':
    sys.exit(main())
