#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0-or-later
"""QMP and what is outside of it: qmp_files.py --vmm CMD [--qemu CMD] [TEST]...

descriptors  those that come over the monitor's socket: names, sets, who takes them; QEMU's answers to the same
passwords    when VNC's password ends"""
import argparse
import array
import json
import os
import socket
import subprocess
import sys
import tempfile
import time

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
    mine.settimeout(20)
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
    args = ['-vga', 'std', '-vnc', 'unix:vnc,password=on', '-chardev', 'socket,id=ser,path=ser,server=on,wait=off', '-serial', 'chardev:ser', '-nodefaults']
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
        p = subprocess.run([*o.vmm.split(), '-display', 'none', '-add-fd', bad], capture_output=True, text=True, timeout=20, pass_fds=[disk])
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
        c.run('expire_password', protocol='vnc', time='+2')
        equal(comes_in('word'), True, 'before two seconds are over')
        time.sleep(3.1)
        equal(comes_in('word'), False, 'after them')
        for bad in ('later', '+', '-5', '', '5x', '+9223372036854775807', '99999999999999999999'):
            check('error' in c.raw({'execute': 'expire_password', 'arguments': {'protocol': 'vnc', 'time': bad}}), f'time {bad!r}')
        equal(c.raw({'execute': 'expire_password', 'arguments': {'protocol': 'spice', 'time': 'now'}})['error']['class'], 'DeviceNotActive', 'spice')
        equal(c.run('human-monitor-command', command_line='expire_password vnc never'), '', 'the human monitor')
        equal(comes_in('word'), True, 'never again')
        c.run('quit')
        vm.ended(0)


def main():
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument('--vmm', required=True)
    p.add_argument('--qemu', default='qemu-system-x86_64 -accel tcg')
    p.add_argument('tests', nargs='*', default=['descriptors', 'passwords'])
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
