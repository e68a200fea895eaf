#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0-or-later
"""hotplug.py --vmm CMD --guests DIR TEST...   Devices that come and go while Linux runs.

rounds      a virtio disk, written and read back, a card with an address by DHCP, an adapter with a disk and a CD-ROM, five times; afterwards the
            machine is as before (rounds-long: twenty times, and with e1000 in Debian's kernel for all machines)
busy        removed in the middle of writes, by the monitor and by the guest alone, ejects of slots where nothing is, a reset while a
            device is leaving, a guest that never lets go
nodes       -blockdev and -device in JSON, as libvirt writes them
qmp         nodes that come and go by QMP, below disks that do; what is in use stays
live        disks whose size changes, and that lose their image, under writers
trays       CD-ROM drives of four kinds: trays, nodes for discs, ejected by either side
usb         sticks, keyboards, mice, tablets and hubs on UHCI and xHCI, a stick removed under a writer
order       bootindex= of what came: the next reset starts it
kinds       serial ports and character devices, entropy source, balloon, shared folder
refused     what cannot be added or removed, in one line, and nothing has changed

What this machine lacks is skipped out loud (exit status 77)."""
import hashlib
import json
import os
import random
import re
import socket
import subprocess
import sys
import time

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
import frame                                            # noqa: E402
from boot import Failure, Machine                       # noqa: E402
from cpio import Skip                          # noqa: E402
from net import DHCP                           # noqa: E402
from qmp import Client                         # noqa: E402
from virtio import BAD, Guest                  # noqa: E402

MIB = 1 << 20
# Lines that come over the serial port are run; each answer ends in a mark. A disk's node is there a moment before it can be opened. The kernel is
# silent, for its messages would cut answers; the last are shown when something is wrong.
SHELL = '''stty -F /dev/console -echo 2>/dev/null
wrong() { dmesg | tail -n 15; echo WRONG "$@"; }
opens() { [ -e $1 ] && { [ ! -b $1 ] || (: < $1) 2>/dev/null; }; }
until_there() { i=0; while ! opens $1 && [ $i -lt 1200 ]; do sleep 0.05; i=$((i+1)); done; opens $1 || wrong $1 did not come; }
until_gone() { i=0; while [ -e $1 ] && [ $i -lt 1200 ]; do sleep 0.05; i=$((i+1)); done; [ -e $1 ] && wrong $1 did not go; }
echo READY
while read -r line; do [ "$line" = end ] && break; eval "$line"; echo "DONE-$((lines+=1))"; done'''
MODULES = ['virtio_blk', 'virtio_net', 'virtio_scsi', 'sd_mod', 'sr_mod']


class Shell:
    def __init__(self, m):
        self.m, self.count, self.bad = m, 0, BAD
        m.serial('READY', HARD)

    def run(self, line):
        """What the guest says to one line."""
        self.m.send(line + '\n')
        self.count += 1
        start = self.m.seen
        self.m.serial(rf'DONE-{self.count}\b', self.bad)
        return self.m.text[start:self.m.seen]


def ok(m, line, answer=''):
    """A monitor command that succeeds."""
    got = m.command(line)
    if 'Error' in got or answer not in got:
        m.fail(f'{line}: {got.strip()}')


def wait_for(m, what, command, gone):
    """Until the monitor's answer has (or has no longer) this text."""
    while (gone in m.command(command)) == (what == 'gone'):
        if time.time() > m.deadline:
            m.fail(f'{gone!r} is not {what} in {command}:\n{m.command(command)}')
        time.sleep(0.02)


def state(m):
    return m.command('info pci') + m.command('info qtree') + m.command('info block') + m.command('info network') + m.command('info mtree')


def image(a, name, size=16 * MIB):
    path = os.path.join(a.dir, name)
    with open(path, 'wb') as f:
        f.truncate(size)
    return path


def guest(a, args=(), cpus=2, memory=256, seconds=300, modules=(), files=None):
    return Guest(a, [*modules, *MODULES], DHCP.split('udhcpc')[0].replace('ip link set eth0 up', '') + SHELL, ['-nodefaults', '-action', 'reboot=reset', *args], files,
                 seconds, cpus, memory)


def disk_round(a, m, shell, n):
    data, path = random.Random(n).randbytes(4 * MIB), image(a, 'disk')
    with open(path, 'r+b') as f:
        f.write(data)
    ok(m, f'drive_add 0 if=none,id=d,file={path},format=raw', 'OK')
    ok(m, 'device_add virtio-blk-pci,drive=d,id=disk,serial=round%d%s' % (n, ',packed=on' if n % 3 == 1 else ',vectors=0' if n % 3 == 2 else ''))
    got = shell.run('until_there /dev/vda; cat /sys/block/vda/serial; echo; dd if=/dev/vda bs=1M count=4 2>/dev/null | md5sum; '
                    'dd if=/dev/vda of=/dev/vda bs=1M count=4 seek=8 oflag=direct 2>/dev/null; sync; grep -c virtio.*req /proc/interrupts')
    if f'round{n}' not in got or hashlib.md5(data).hexdigest() not in got:
        m.fail(f'round {n}: the disk says {got}')
    ok(m, 'device_del disk')
    wait_for(m, 'gone', 'info qtree', 'disk')
    shell.run('until_gone /sys/block/vda')
    wait_for(m, 'gone', 'info block', 'd: ')
    if open(path, 'rb').read()[8 * MIB:12 * MIB] != data:
        m.fail(f'round {n}: what the guest wrote is not in the image')


def card_round(m, shell, card):
    ok(m, 'netdev_add user,id=n')
    ok(m, f'device_add {card},netdev=n,id=card')
    got = shell.run('until_there /sys/class/net/eth0; ip link set eth0 up; udhcpc -q -n -t 8 -i eth0 -s /tmp/dhcp 2>/dev/null || echo WRONG no lease; '
                    'ping -c 3 -i 0.05 -q 10.0.2.2 | grep loss')
    if 'bound 10.0.2.15 10.0.2.2' not in got or ' 0% packet loss' not in got:
        m.fail(f'{card} says {got}')
    ok(m, 'device_del card')
    shell.run('until_gone /sys/class/net/eth0')
    wait_for(m, 'gone', 'info qtree', 'card')
    ok(m, 'netdev_del n')


def scsi_begin(a, m, shell):
    disk, cd = image(a, 'scsi-disk'), image(a, 'cd', 2 * MIB)
    ok(m, 'device_add virtio-scsi-pci,id=s')
    shell.run('until_there /sys/class/scsi_host/host*')
    ok(m, f'drive_add 0 if=none,id=h,file={disk},format=raw', 'OK')
    ok(m, 'device_add scsi-hd,drive=h,id=hard,scsi-id=2,lun=1')
    ok(m, f'drive_add 0 if=none,id=c,file={cd},format=raw,media=cdrom', 'OK')
    ok(m, 'device_add scsi-cd,drive=c,id=disc')
    got = shell.run('until_there /dev/sda; until_there /dev/sr0; cat /sys/block/sda/size /sys/block/sr0/size; '
                    'echo hello | dd of=/dev/sda bs=512 seek=7 conv=sync 2>/dev/null; sync')
    if [int(x) for x in re.findall(r'^(\d+)\r?$', got, re.M)] != [16 * MIB // 512, 2 * MIB // 512]:
        m.fail(f'SCSI drives say {got}')
    ok(m, 'device_del hard')
    shell.run('until_gone /sys/block/sda')
    if open(disk, 'rb').read()[7 * 512:7 * 512 + 6] != b'hello\n':
        m.fail('what the guest wrote to the SCSI disk is not in the image')


def scsi_end(m, shell):
    """Not right after scsi_begin: Linux' driver warns if it is removed while it still handles the event of a drive that went."""
    ok(m, 'device_del s')                              # and its CD-ROM with it
    shell.run('until_gone /sys/block/sr0')
    wait_for(m, 'gone', 'info qtree', 'virtio-scsi')
    wait_for(m, 'gone', 'info block', 'c: ')


def end(m, shell):
    shell.m.send('end\n')
    m.serial('OSPITE-DONE', BAD)
    if m.end():
        m.fail('it did not end with 0')


def some_rounds(a, count, cards):
    with guest(a, modules=['all', 'virtio_pci', 'e1000'] if 'e1000' in cards else []) as m:
        shell, before = Shell(m), None
        for n in range(count):
            if n % 4 == 0:
                scsi_begin(a, m, shell)
            disk_round(a, m, shell, n)
            card_round(m, shell, cards[n % len(cards)])
            if n % 4 == 0:
                scsi_end(m, shell)
            if n == 0:
                before = state(m)
        after = state(m)
        if before != after:
            m.fail(f'the machine is not as before:\n{before}\n--- now ---\n{after}')
        end(m, shell)
    return f'{count} disks and cards, {(count + 3) // 4} SCSI adapters with a disk and a CD-ROM'


def rounds(a):
    return some_rounds(a, 5, ['virtio-net-pci'])


def rounds_long(a):
    return some_rounds(a, 20, ['virtio-net-pci', 'e1000'])


# ---- in the middle of it ----

HARD = r'Kernel panic|Oops:|general protection|WRONG'                   # I/O errors are what a disk that is gone gives
WRITERS = 'for i in 0 1 2 3; do (while dd if=/dev/zero of=/dev/vda bs=256k count=16 seek=$((i*16)) oflag=direct 2>/dev/null; do :; done) & done'


def disk_add(a, m, shell, slot=None):
    ok(m, f'drive_add 0 if=none,id=d,file={image(a, "disk", 64 * MIB)},format=raw', 'OK')
    ok(m, 'device_add virtio-blk-pci,drive=d,id=disk,num-queues=2' + (f',addr={slot:x}' if slot else ''))
    shell.run('until_there /dev/vda')
    shell.run(WRITERS + '; sleep 0.3')


def busy(a):
    with guest(a, files={'port': a.port}) as m:
        shell = Shell(m)
        shell.bad = HARD
        for slot in (5, 6):
            disk_add(a, m, shell, slot)
            if slot == 5:
                ok(m, 'device_del disk')
            else:
                shell.run('echo 0 > /sys/bus/pci/slots/6/power')       # without having been asked
            wait_for(m, 'gone', 'info qtree', 'disk')
            wait_for(m, 'gone', 'info block', 'd: ')
            shell.run('until_gone /sys/block/vda; wait')
        # The guest's driver is not told: registers that are not there read as all ones, and nothing is written any more.
        disk_add(a, m, shell, 7)
        before = m.command('info pci')
        got = shell.run(f'/port 0xae08 {" ".join(hex(1 << n) for n in range(32))} 0 0xffffffff; /port 0xae10 1; /port 0xae08 0x80 0x20; /port 0xae10 0')
        if 'port ae08 0' not in got or 'port ae10 1' not in got:
            m.fail(f'the eject register: {got}')
        wait_for(m, 'gone', 'info qtree', 'disk')
        wait_for(m, 'gone', 'info block', 'd: ')
        after = m.command('info pci')
        if 'device   7' not in before or 'device   7' in after or 'device   1, function 3' not in after:
            m.fail(f'ejected slots: {after}')
        ok(m, 'system_reset')
        shell = Shell(m)
        shell.bad = HARD
        # A reset ejects what is leaving; what was added while the guest stood still is there after it.
        disk_add(a, m, shell, 5)
        ok(m, 'stop')
        ok(m, 'device_del disk')
        ok(m, 'device_del disk')
        ok(m, 'system_reset')
        wait_for(m, 'gone', 'info block', 'd: ')
        ok(m, f'drive_add 0 if=none,id=d,file={image(a, "disk")},format=raw', 'OK')
        ok(m, 'device_add virtio-blk-pci,drive=d,id=disk')
        ok(m, 'cont')
        shell = Shell(m)
        shell.bad = HARD
        shell.run('until_there /dev/vda')
        ok(m, 'stop')
        ok(m, 'device_del disk')                       # and the guest never hears of it
        m.monitor.sendall(b'quit\n')
        if m.end():
            m.fail('it did not end with 0')
    return 'a disk under four writers removed by the monitor, by the guest and against its driver; 32 slots ejected; two resets'


# ---- refused ----

REFUSED = (
    ('device_add', 'is wanted'), ('device_add virtio-blk-pci', 'needs drive='), ('device_add virtio-blk-pci,drive=nothing', "no drive 'nothing'"),
    ('device_add virtio-blk-pci,drive=used', 'in use already'), ('device_add virtio-net-pci,netdev=x', "no network 'x'"),
    ('device_add virtio-net-pci,netdev=n', 'in use already'), ('device_add virtio-blk-pci,drive=free,id=card', 'Duplicate device ID'),
    ('device_add virtio-blk-pci,drive=free,addr=1', 'taken'), ('device_add virtio-blk-pci,drive=free,addr=1.6', 'taken'), ('device_add virtio-blk-pci,drive=free,bus=pci.9', 'not there'),
    ('device_add VGA', "'VGA' cannot be added"), ('device_add ide-hd,drive=free', "'ide-hd' cannot be added"), ('device_add isa-debug-exit', "'isa-debug-exit' cannot be added"),
    ('device_add virtio-gpu-pci', "'virtio-gpu-pci' cannot be added"), ('device_add floppy', "'floppy' cannot be added"), ('device_add ahci', "'ahci' cannot be added"), ('device_add isa-serial', 'isa-serial'), ('device_add usb-kbd', 'no USB'), ('device_add virtio-9p-pci,mount_tag=x', 'fsdev='), ('device_add virtio-rng-pci,rng=x', "'x'"),
    ('device_add usb-storage,drive=free', 'no USB'), ('device_add qemu-xhci,addr=1.5', 'is taken'), ('device_add qemu-xhci,p2=16', '15'), ('device_add virtio-blk-pci,drive=free,bootindex=x', 'bootindex'),
    ('device_add nothing', 'nothing'), ('device_add virtio-blk-pci,help', 'command line'), ('device_add scsi-hd,drive=free', 'no SCSI bus'), ('device_add scsi-hd', 'needs drive='),
    ('device_add {"driver":"virtio-blk-pci","drive":', 'JSON'), ('device_add {"driver":"virtio-blk-pci","drive":"nothing"}', "no drive 'nothing'"),
    ('device_add virtio-blk-pci,drive=free,disable-legacy=on,disable-modern=on', 'legacy'),
    ('device_del nothing', 'not found'), ('device_del', 'wanted'), ('device_del hard', 'cannot be removed'),
    ('drive_add 0 if=none,id=used,file=%s', "id 'used'"), ('drive_add 0 if=virtio,id=y,file=%s', 'if=none'),
    ('drive_add 0 if=none,id=y,file=/nonexistent', 'nonexistent'), ('drive_add 0 if=none,id=y', 'file='), ('drive_add', 'wanted'), ('drive_add 0 id=y,nothing=1', 'nothing'),
    ('drive_del nothing', 'no drive'), ('block_resize used', 'SIZE'), ('block_resize nothing 1G', 'no drive'), ('block_resize used x', 'no size'), ('block_resize used -1', 'no size'), ('netdev_add user,id=n', "id 'n'"), ('netdev_add user', 'id='), ('netdev_add nothing,id=q', 'nothing'),
    ('netdev_add tap,id=q,ifname=this-name-is-too-long', ''), ('netdev_del n', 'in use'), ('netdev_del q', 'no network'),
)


def refused(a):
    used, free = image(a, 'used'), image(a, 'free')
    args = ['-nodefaults', '-S', '-vga', 'std', '-drive', f'file={free},if=none,id=free,format=raw', '-drive', f'file={used},if=none,id=used,format=raw', '-device', 'virtio-blk-pci,drive=used,id=first',
            '-netdev', 'user,id=n', '-device', 'virtio-net-pci,netdev=n,id=card', '-drive', f'file={image(a, "hd")},if=none,id=h,format=raw', '-device', 'ide-hd,drive=h,id=hard']
    with Machine(a.vmm, args, 250 * a.scale, serial=False, log=a.log) as m:
        before = state(m)
        for line, why in REFUSED:
            got = m.command(line.replace('%s', os.path.join(a.dir, 'other')) if '%s' in line else line).strip().splitlines()
            got = [x for x in got if not x.startswith('(')]
            if len(got) != 1 or not got[0].startswith('Error: ') or why not in got[0]:
                m.fail(f'{line}: {got}')
            if state(m) != before:
                m.fail(f'{line}: changed the machine:\n{before}\n--- now ---\n{state(m)}')
        ok(m, 'device_add virtio-blk-pci,drive=free,id=disk')         # what -drive has brought, and nothing used
        ok(m, 'device_del disk')
        ok(m, 'system_reset')
        wait_for(m, 'gone', 'info block', 'free: ')
        places = 0
        while 'OK' in m.command(f'drive_add 0 if=none,id=d{places},file={image(a, "many" + str(places), MIB)},format=raw'):
            got = m.command(f'device_add virtio-blk-pci,drive=d{places},id=disk{places}')
            if 'Error' in got and ('slots are taken' not in got or places < 27):
                m.fail(f'disk {places}: {got}')
            places += 1
        if places < 40 or 'more than' not in m.command(f'drive_add 0 if=none,id=z,file={free},format=raw'):
            m.fail(f'{places} drives could be added')
        ok(m, 'drive_del d40')
        ok(m, f'drive_add 0 if=none,id=z,file={free},format=raw', 'OK')
        m.monitor.sendall(b'quit\n')
        if m.end():
            m.fail('it did not end with 0')
    return f'{len(REFUSED)} commands, {places} drives at once, in every slot a disk'


# ---- nodes, as libvirt writes them ----

def nodes(a):
    base, top, raw = (os.path.join(a.dir, x) for x in ('base.qcow2', 'top.qcow2', 'raw'))
    for command in (['-f', 'qcow2', base, '16M'], ['-f', 'qcow2', '-b', base, '-F', 'qcow2', top], ['-f', 'raw', raw, '8M']):
        if subprocess.run(['qemu-img', 'create', '-q', *command]).returncode:
            raise Skip('qemu-img is missing; install qemu-utils')
    if subprocess.run(['qemu-io', '-c', 'write -q -P 0x41 0 512', base], stdout=subprocess.DEVNULL).returncode:
        raise Failure('qemu-io')
    args = []
    for node in ({'driver': 'file', 'filename': base, 'node-name': 's2', 'auto-read-only': True, 'discard': 'unmap'},
                 {'node-name': 'f2', 'read-only': True, 'driver': 'qcow2', 'file': 's2', 'backing': None},
                 {'driver': 'file', 'filename': top, 'node-name': 's1', 'auto-read-only': True, 'discard': 'unmap', 'cache': {'direct': False, 'no-flush': False}},
                 {'node-name': 'f1', 'read-only': False, 'driver': 'qcow2', 'file': 's1', 'backing': 'f2'},
                 {'driver': 'file', 'filename': raw, 'node-name': 'p', 'locking': 'off'}):
        args += ['-blockdev', json.dumps(node)]
    for device in ({'driver': 'virtio-blk-pci', 'bus': 'pci.0', 'addr': '0x5', 'drive': 'f1', 'id': 'disk1', 'write-cache': 'on'},
                   {'driver': 'virtio-blk-pci', 'bus': 'pci.0', 'addr': '0x6', 'drive': 'p', 'id': 'disk2', 'write-cache': 'off', 'serial': 'second', 'num-queues': 2}):
        args += ['-device', json.dumps(device)]
    with guest(a, args) as m:
        shell = Shell(m)
        got = shell.run('until_there /dev/vdb; cat /sys/block/vd?/queue/write_cache /sys/block/vd?/size /sys/block/vdb/serial; echo; head -c 4 /dev/vda; echo; '
                        'echo hello | dd of=/dev/vda bs=512 seek=3 conv=sync,notrunc 2>/dev/null; dd if=/dev/vda of=/dev/vdb bs=512 count=4 2>/dev/null; sync')
        if [x for x in got.split('\r\n') if x][:6] != ['write back', 'write through', '32768', '16384', 'second', 'AAAA']:
            m.fail(f'the disks say {got!r}')
        before = m.command('info block')
        ok(m, 'device_del disk1')
        ok(m, 'device_del disk2')
        wait_for(m, 'gone', 'info qtree', 'virtio-blk')
        if 'f1: ' not in before or 'f1: ' not in m.command('info block') or 'in use' in m.command('device_add virtio-blk-pci,drive=f1,id=again'):
            m.fail('a node went with its device')
        shell.run('until_there /dev/vda; dd if=/dev/vda bs=512 skip=3 count=1 2>/dev/null | grep -q hello || echo WRONG data')
        end(m, shell)
    if open(raw, 'rb').read(2048) != b'A' * 512 + bytes(1024) + b'hello\n' + bytes(506):
        raise Failure('the raw image does not hold what the guest copied')
    if subprocess.run(['qemu-io', '-c', 'read -q -P 0 1536 512', base], stdout=subprocess.DEVNULL).returncode:
        raise Failure('the backing file was written')
    return 'a qcow2 image with a backing file and a raw one, put together of five nodes; devices go, nodes stay'


# ---- nodes by QMP ----

def refuse(c, command, words, **arguments):
    m = c.raw({'execute': command, 'arguments': {k.replace('_', '-'): v for k, v in arguments.items()}})
    if words not in m.get('error', {}).get('desc', ''):
        raise Failure(f'{command} {arguments}: {m}, not {words!r}')


def deleted(c, name):
    """Until the device is gone."""
    while (c.wait('DEVICE_DELETED') or {}).get('device') != name:
        pass


def node_names(c):
    return sorted(x['node-name'] for x in c.run('query-named-block-nodes', flat=True))


def one_node(a, c, shell, n, driver):
    """What libvirt says to attach a disk and to take it off again."""
    path = os.path.join(a.dir, f'node{n}')
    if subprocess.run(['qemu-img', 'create', '-q', '-f', driver, path, '16M']).returncode:
        raise Skip('qemu-img is missing; install qemu-utils')
    c.run('blockdev-add', driver='file', filename=path, node_name='s', auto_read_only=True, discard='unmap')
    refuse(c, 'device_add', 'f', driver='virtio-blk-pci', drive='f', id='disk')
    c.run('blockdev-add', node_name='f', read_only=False, driver=driver, file='s')
    refuse(c, 'blockdev-add', 'in use', node_name='g', driver='raw', file='s')
    refuse(c, 'blockdev-add', "id 'f'", node_name='f', driver='file', filename=path)
    refuse(c, 'blockdev-del', 'is in use', node_name='s')
    c.run('device_add', driver='virtio-blk-pci', drive='f', id='disk', serial=f'node{n}')
    mine = [x for x in c.run('query-block') if x.get('qdev') == '/machine/peripheral/disk/virtio-backend']
    if len(mine) != 1 or mine[0]['device'] or mine[0]['inserted']['node-name'] != 'f' or mine[0]['inserted']['drv'] != driver or node_names(c) != ['f', 's']:
        raise Failure(f'query-block says {mine}, nodes are {node_names(c)}')
    got = shell.run('until_there /dev/vda; cat /sys/block/vda/serial /sys/block/vda/size; echo hello | dd of=/dev/vda bs=512 seek=9 conv=sync,notrunc 2>/dev/null; sync')
    if f'node{n}' not in got or '32768' not in got:
        raise Failure(f'the disk says {got}')
    refuse(c, 'blockdev-del', 'is in use', node_name='f')
    refuse(c, 'device_add', 'in use', driver='virtio-blk-pci', drive='f', id='other')
    c.run('device_del', id='disk')
    deleted(c, 'disk')
    shell.run('until_gone /sys/block/vda')
    refuse(c, 'blockdev-del', 'is in use', node_name='s')
    c.run('blockdev-del', node_name='f')
    c.run('blockdev-del', node_name='s')
    refuse(c, 'blockdev-del', "Failed to find node with node-name='s'", node_name='s')
    if node_names(c) or c.run('query-block'):
        raise Failure(f'left are {node_names(c)}')
    subprocess.run(['qemu-img', 'convert', '-f', driver, '-O', 'raw', path, path + '.raw'], check=True)
    if open(path + '.raw', 'rb').read()[9 * 512:][:6] != b'hello\n':
        raise Failure('what the guest wrote is not in the image')


def qmp(a):
    with guest(a, ['-qmp', f'unix:{a.dir}/qmp,server=on,wait=off']) as m:
        shell, c = Shell(m), Client(f'{a.dir}/qmp', seconds=120 * a.scale)
        one_node(a, c, shell, 0, 'qcow2')
        one_node(a, c, shell, 1, 'raw')
        c.close()
        end(m, shell)
    return 'a qcow2 and a raw disk put together of nodes, used, taken off, nodes deleted'


# ---- another size, and no image any more ----

def live(a):
    """Disks on virtio and SCSI that grow and shrink while they are used, and lose their image."""
    blk, scsi = image(a, 'blk'), os.path.join(a.dir, 'scsi')
    if subprocess.run(['qemu-img', 'create', '-q', '-f', 'qcow2', scsi, '16M']).returncode:
        raise Skip('qemu-img is missing; install qemu-utils')
    args = ['-drive', f'file={blk},if=none,id=b,format=raw,werror=stop,rerror=stop', '-device', 'virtio-blk-pci,drive=b,id=blk', '-device', 'virtio-scsi-pci,id=s', '-drive', f'file={scsi},if=none,id=h,format=qcow2',
            '-device', 'scsi-hd,drive=h,id=hard', '-qmp', f'unix:{a.dir}/qmp,server=on,wait=off']
    with guest(a, args) as m:
        shell, c = Shell(m), Client(f'{a.dir}/qmp', seconds=120 * a.scale)
        shell.bad = HARD
        shell.run('until_there /dev/vda; until_there /dev/sda; until_size() { i=0; while [ $(cat /sys/block/$1/size) != $2 ] && [ $i -lt 1200 ]; do sleep 0.05; i=$((i+1)); done; '
                  '[ $(cat /sys/block/$1/size) = $2 ] || echo WRONG size of $1: $(cat /sys/block/$1/size); }')
        shell.run('for d in vda sda; do (i=0; while [ -e /tmp-stop ] || [ $i -lt 20 ]; do dd if=/dev/zero of=/dev/$d bs=64k count=64 oflag=direct 2>/dev/null; i=$((i+1)); done) & done')
        for size in (48 * MIB, 20 * MIB + 4096, 64 * MIB):
            ok(m, f'block_resize b {size}b')
            c.run('block_resize', device='h', size=size)
            shell.run(f'until_size vda {size // 512}; until_size sda {size // 512}')
        shell.run('wait; for d in vda sda; do echo end of $d | dd of=/dev/$d bs=512 seek=131071 conv=sync,notrunc oflag=direct 2>/dev/null || echo WRONG $d cannot be written; done; sync')
        if os.path.getsize(blk) != 64 * MIB or c.run('query-block')[0]['inserted']['image']['virtual-size'] != 64 * MIB:
            m.fail(f'the image has {os.path.getsize(blk)} bytes')
        if 'Error' not in m.command('drive_del nothing'):
            m.fail('nothing was removed')
        shell.run('for d in vda sda; do (while dd if=/dev/zero of=/dev/$d bs=64k count=64 oflag=direct 2>/dev/null; do :; done) & done; sleep 0.2')
        for name in ('b', 'h'):
            ok(m, f'drive_del {name}')
        shell.run('wait')                              # their writes fail
        shell.run('for d in vda sda; do dd if=/dev/$d of=/dev/null bs=512 count=1 iflag=direct 2>/dev/null && echo WRONG read; done')
        if [x.get('inserted') for x in c.run('query-block')] != [None, None] or 'running' not in m.command('info status'):
            m.fail(f'drives say {c.run("query-block")}, {m.command("info status")}')
        for path, driver in ((blk, 'raw'), (scsi, 'qcow2')):        # they are nobody's now
            if subprocess.run(['qemu-io', '-f', driver, '-c', 'write -q 0 512', path], stdout=subprocess.DEVNULL).returncode:
                m.fail(f'{path} is still in use')
        ok(m, f'drive_add 0 if=none,id=b,file={blk},format=raw', 'OK')
        ok(m, 'device_del blk')
        ok(m, 'device_del hard')
        wait_for(m, 'gone', 'info qtree', 'virtio-blk')
        got = shell.run('until_gone /sys/block/vda; until_gone /sys/block/sda')
        ok(m, 'device_add virtio-blk-pci,drive=b,id=blk')
        shell.run('until_there /dev/vda; dd if=/dev/vda bs=512 skip=131071 count=1 2>/dev/null | grep -q "end of vda" || echo WRONG data')
        c.close()
        m.send('end\n')
        m.serial('OSPITE-DONE', HARD.replace('|WRONG', ''))           # the writers' errors are in dmesg
        if m.end():
            m.fail('it did not end with 0')
    if subprocess.run(['qemu-img', 'check', '-q', scsi]).returncode:
        raise Failure('qemu-img check')
    return 'a virtio and a SCSI disk under writers: 48, 20, 64 MiB; then without their images, which others use'


# ---- USB ----

def usb_input(m, c, shell, bus):
    for device, name in (('usb-tablet', 'QEMU USB Tablet'), ('usb-kbd', 'QEMU USB Keyboard'), ('usb-mouse', 'QEMU USB Mouse')):
        mice = m.command('info mice')
        ok(m, f'device_add {device},bus={bus},id=in')
        shell.run(f'i=0; while ! grep -q "{name}" /proc/bus/input/devices && [ $i -lt 1200 ]; do sleep 0.05; i=$((i+1)); done; grep -q "{name}" /proc/bus/input/devices || echo WRONG {name} did not come')
        if 'ID: in' not in m.command('info usb') or (device != 'usb-kbd') == (m.command('info mice') == mice):
            m.fail(f'{device}: {m.command("info usb")}{m.command("info mice")}')
        ok(m, 'device_del in')
        if c.wait('DEVICE_DELETED') != {'device': 'in', 'path': '/machine/peripheral/in'}:
            m.fail(f'{device} went, but nobody was told')
        shell.run(f'i=0; while grep -q "{name}" /proc/bus/input/devices && [ $i -lt 1200 ]; do sleep 0.05; i=$((i+1)); done; grep -q "{name}" /proc/bus/input/devices && echo WRONG {name} did not go')
        if 'ID: in' in m.command('info usb') or m.command('info mice') != mice:
            m.fail(f'{device} is not gone: {m.command("info usb")}')


def usb_stick(a, m, c, shell, bus):
    path, data = image(a, 'stick'), random.Random(len(bus)).randbytes(2 * MIB)
    with open(path, 'r+b') as f:
        f.write(data)
    ok(m, f'drive_add 0 if=none,id=d,file={path},format=raw', 'OK')
    ok(m, f'device_add usb-storage,bus={bus},drive=d,id=stick')
    got = shell.run('until_there /dev/sda; dd if=/dev/sda bs=64k count=32 2>/dev/null | md5sum; dd if=/dev/sda of=/dev/sda bs=64k count=32 seek=64 2>/dev/null; sync')
    if hashlib.md5(data).hexdigest() not in got:
        m.fail(f'the stick says {got}')
    ok(m, 'device_del stick')
    c.wait('DEVICE_DELETED')
    shell.run('until_gone /sys/block/sda')
    if 'd: ' in m.command('info block') or open(path, 'rb').read()[4 * MIB:6 * MIB] != data:
        m.fail('the stick is not gone, or what was written to it is')
    # Under a writer; and a hub goes with what is behind it.
    ok(m, f'drive_add 0 if=none,id=d,file={path},format=raw', 'OK')
    ok(m, f'device_add usb-storage,bus={bus},drive=d,id=stick')
    shell.run('until_there /dev/sda; (while dd if=/dev/zero of=/dev/sda bs=64k count=16 oflag=direct 2>/dev/null; do :; done) & sleep 0.2')
    ok(m, 'device_del stick')
    c.wait('DEVICE_DELETED')
    shell.run('until_gone /sys/block/sda; wait')
    ok(m, f'device_add usb-hub,bus={bus},id=hub')
    at = re.search(r'Port (\S+), .*ID: hub', m.command('info usb')).group(1)
    ok(m, f'device_add usb-kbd,bus={bus},port={at}.3,id=behind')
    refused = m.command(f'device_add usb-mouse,bus={bus},port={at}.3,id=more')
    if 'is taken' not in refused:
        m.fail(f'two devices at one port: {refused}')
    ok(m, 'device_del hub')
    if [c.wait('DEVICE_DELETED')['device'] for _ in range(2)] != ['behind', 'hub']:
        m.fail('a hub went, but not what is behind it')


def usb_controller(a, m, c, shell, kind):
    """A controller comes, with a tablet and a stick behind it, and goes with both under a writer."""
    path = image(a, 'stick')
    ok(m, f'device_add {kind},id=more')
    ok(m, 'device_add usb-tablet,bus=more.0,id=in')
    ok(m, f'drive_add 0 if=none,id=d,file={path},format=raw', 'OK')
    ok(m, 'device_add usb-storage,bus=more.0,drive=d,id=stick')
    shell.run('i=0; while ! grep -q "QEMU USB Tablet" /proc/bus/input/devices && [ $i -lt 1200 ]; do sleep 0.05; i=$((i+1)); done; until_there /dev/sda; '
              'echo there | dd of=/dev/sda bs=512 conv=sync,notrunc oflag=direct 2>/dev/null || echo WRONG the stick cannot be written; '
              '(while dd if=/dev/zero of=/dev/sda bs=64k count=16 seek=1 oflag=direct 2>/dev/null; do :; done) & sleep 0.2')
    ok(m, 'device_del more')
    if [c.wait('DEVICE_DELETED')['device'] for _ in range(3)] != ['in', 'stick', 'more']:
        m.fail(f'{kind} went, but not what is behind it')
    shell.run('until_gone /sys/block/sda; wait; grep -q "QEMU USB Tablet" /proc/bus/input/devices && echo WRONG tablet')
    if open(path, 'rb').read(5) != b'there' or 'more.0' in m.command('info qtree'):
        m.fail(f'{kind} is not gone, or what was written behind it is')


def usb(a):
    modules = ['all', 'uhci_hcd', 'xhci_pci', 'usb_storage', 'usbhid', 'hid_generic']
    with guest(a, ['-usb', '-device', 'qemu-xhci,id=x', '-qmp', f'unix:{a.dir}/qmp,server=on,wait=off'], modules=modules, seconds=400) as m:
        shell, c = Shell(m), Client(f'{a.dir}/qmp', seconds=120 * a.scale)
        shell.bad = HARD
        before = state(m) + m.command('info usb')
        for bus in ('usb-bus.0', 'x.0'):
            usb_input(m, c, shell, bus)
            usb_stick(a, m, c, shell, bus)
        for kind in ('qemu-xhci', 'piix3-usb-uhci'):
            usb_controller(a, m, c, shell, kind)
        after = state(m) + m.command('info usb')
        if before != after:
            m.fail(f'the machine is not as before:\n{before}\n--- now ---\n{after}')
        c.close()
        m.send('end\n')
        m.serial('OSPITE-DONE', HARD.replace('|WRONG', ''))           # the writer's errors are in dmesg
        if m.end():
            m.fail('it did not end with 0')
    return 'tablet, keyboard, mouse, sticks and hubs came and went on UHCI and xHCI, and both of these'


# ---- trays ----

def media(c):
    return {re.sub(r'^/machine/peripheral/(\w+)/.*', r'\1', x['qdev']): x for x in c.run('query-block')}


def moved(c, name, opens):
    got = c.wait('DEVICE_TRAY_MOVED')
    if got != {'device': '', 'id': name, 'tray-open': opens}:
        raise Failure(f'DEVICE_TRAY_MOVED {got}, not {name} {opens}')


def sum_of(shell, sr):
    got = shell.run(f'i=0; until dd if=/dev/{sr} bs=64k of=/dev/null count=1 2>/dev/null || [ $i -ge 600 ]; do sleep 0.1; i=$((i+1)); done; echo size $(cat /sys/block/{sr}/size) $(md5sum < /dev/{sr})')
    return re.search(r'size (\d+) (\w+)', got).groups()


def tray_one(a, c, shell, name, sr, discs):
    want = [(str(len(d) // 512), hashlib.md5(d).hexdigest()) for d in discs]
    shell.run(f'exec 9< /dev/{sr}')
    refuse(c, 'blockdev-open-tray', 'locked', id=name)
    if not media(c)[name]['locked'] or media(c)[name]['tray_open']:
        raise Failure(f'{name}: {media(c)[name]}')
    refuse(c, 'blockdev-remove-medium', 'is not open', id=name)
    shell.run('exec 9<&-')
    c.run('blockdev-open-tray', id=name)
    moved(c, name, True)
    c.run('blockdev-open-tray', id=name)                       # it is
    refuse(c, 'blockdev-insert-medium', 'already is a medium', id=name, node_name='n-' + name)
    c.run('blockdev-remove-medium', id=name)
    c.run('blockdev-del', node_name='n-' + name)
    with open(f'{a.dir}/{name}-1', 'wb') as f:
        f.write(discs[1])
    c.run('blockdev-add', driver='raw', node_name='m-' + name, read_only=True, file={'driver': 'file', 'filename': f'{a.dir}/{name}-1'})
    refuse(c, 'blockdev-insert-medium', 'not found', id=name, node_name='nothing')
    c.run('blockdev-insert-medium', id=name, node_name='m-' + name)
    refuse(c, 'blockdev-del', 'is in use', node_name='m-' + name)
    shell.run(f'dd if=/dev/{sr} of=/dev/null bs=2k count=1 2>/dev/null && echo WRONG read from an open tray')
    c.run('blockdev-close-tray', id=name)
    moved(c, name, False)
    if sum_of(shell, sr) != want[1]:
        raise Failure(f'{name}: the second disc says {sum_of(shell, sr)}')
    shell.run(f'echo 1 > /proc/sys/dev/cdrom/autoeject; exec 9< /dev/{sr}; exec 9<&-; echo 0 > /proc/sys/dev/cdrom/autoeject')
    moved(c, name, True)
    if not media(c)[name]['tray_open'] or 'inserted' not in media(c)[name]:
        raise Failure(f'{name}: {media(c)[name]}')
    c.run('blockdev-close-tray', id=name)
    moved(c, name, False)
    with open(f'{a.dir}/{name}-2', 'wb') as f:
        f.write(discs[2])
    refuse(c, 'blockdev-change-medium', 'nonexistent', id=name, filename='/nonexistent', format='raw')
    c.run('blockdev-change-medium', id=name, filename=f'{a.dir}/{name}-2', format='raw')
    moved(c, name, True)
    moved(c, name, False)
    c.run('blockdev-del', node_name='m-' + name)
    if sum_of(shell, sr) != want[2]:
        raise Failure(f'{name}: the third disc says {sum_of(shell, sr)}')
    shell.run(f'exec 9< /dev/{sr}')
    refuse(c, 'eject', 'locked', id=name)
    c.run('eject', id=name, force=True)
    moved(c, name, True)
    if 'inserted' in media(c)[name]:
        raise Failure(f'{name}: {media(c)[name]}')
    shell.run(f'exec 9<&-; dd if=/dev/{sr} of=/dev/null bs=2k count=1 2>/dev/null && echo WRONG read from nothing')


def trays(a):
    rng, places = random.Random(9), {'ide': 'ide-cd,bus=ide.1', 'sata': 'ide-cd,bus=a.2', 'scsi': 'scsi-cd,bus=s.0', 'usb': 'usb-storage,bus=x.0'}
    discs = {n: [rng.randbytes((3 + k) * 65536) for k in range(3)] for n in places}
    args = ['-device', 'ahci,id=a', '-device', 'virtio-scsi-pci,id=s', '-device', 'qemu-xhci,id=x', '-qmp', f'unix:{a.dir}/qmp,server=on,wait=off']
    for name, device in places.items():
        with open(f'{a.dir}/{name}-0', 'wb') as f:
            f.write(discs[name][0])
        if name == 'usb':                                      # what it is, the drive says
            args += ['-drive', f'if=none,id=usbdrive,media=cdrom,file={a.dir}/usb-0,format=raw', '-device', f'{device},drive=usbdrive,id=usb']
        else:
            args += ['-blockdev', f'driver=raw,node-name=n-{name},file.driver=file,file.filename={a.dir}/{name}-0,read-only=on', '-device', f'{device},drive=n-{name},id={name}']
    modules = ['all', 'virtio_pci', 'ata_piix', 'ahci', 'xhci_pci', 'usb_storage']
    with guest(a, args, modules=modules, seconds=400) as m:
        shell, c = Shell(m), Client(f'{a.dir}/qmp', seconds=120 * a.scale)
        shell.bad = HARD
        shell.run('echo 0 > /proc/sys/dev/cdrom/autoclose; for n in 0 1 2 3; do until_there /dev/sr$n; done')
        found = {sum_of(shell, f'sr{k}')[1]: f'sr{k}' for k in range(4)}
        for name in places:
            sr = found.get(hashlib.md5(discs[name][0]).hexdigest())
            if not sr:
                m.fail(f'the disc of {name} is nowhere')
            if name != 'usb':
                tray_one(a, c, shell, name, sr, discs[name])
                continue
            with open(f'{a.dir}/usb-1', 'wb') as f:
                f.write(discs['usb'][1])
            c.run('blockdev-change-medium', device='usbdrive', filename=f'{a.dir}/usb-1', format='raw')
            if sum_of(shell, sr)[1] != hashlib.md5(discs['usb'][1]).hexdigest():
                m.fail('the second disc of usb')
            c.run('blockdev-open-tray', device='usbdrive')
            c.run('blockdev-remove-medium', id='usb')
            c.run('blockdev-add', driver='raw', node_name='u', read_only=True, file={'driver': 'file', 'filename': f'{a.dir}/usb-0'})
            c.run('blockdev-insert-medium', id='usb', node_name='u')
            c.run('blockdev-close-tray', device='usbdrive')
            if sum_of(shell, sr)[1] != hashlib.md5(discs['usb'][0]).hexdigest() or media(c)['usb']['device'] != 'usbdrive' or media(c)['usb']['inserted']['node-name'] != 'u':
                m.fail(f'the first disc of usb again: {media(c)["usb"]}')
            c.run('device_del', id='usb')
            deleted(c, 'usb')
            c.run('blockdev-del', node_name='u')
        c.close()
        m.send('end\n')
        m.serial('OSPITE-DONE', HARD.replace('|WRONG', ''))
        if m.end():
            m.fail('it did not end with 0')
    return f'trays of {", ".join(places)}: locked, opened, nodes put in and taken out, ejected by the guest, changed'


# ---- the boot order ----

def letter(a, name):
    """A disk whose boot sector says its letter on the serial port."""
    path = image(a, name, MIB)
    with open(path, 'r+b') as f:
        code = b'\xba\xf8\x03' + b''.join(bytes([0xb0, x, 0xee]) for x in b'<%s>' % name.encode()) + b'\xeb\xfe'     # mov al, x; out dx, al
        f.write(code.ljust(510, b'\0') + b'\x55\xaa')
    return path


def order(a):
    args = ['-nodefaults', '-drive', f'file={letter(a, "A")},if=none,id=a,format=raw', '-device', 'virtio-blk-pci,drive=a,id=first', '-device', 'qemu-xhci,id=x', '-device', 'virtio-scsi-pci,id=s',
            '-action', 'reboot=reset']
    steps = (('B', 'virtio-blk-pci,id=second,bootindex=3'), ('C', 'usb-storage,bus=x.0,id=third,bootindex=2'), ('D', 'scsi-hd,bus=s.0,id=fourth,bootindex=1'))
    with Machine(a.vmm, args, 250 * a.scale, log=a.log) as m:
        m.serial('<A>')
        for name, device in steps:
            ok(m, f'drive_add 0 if=none,id={name},file={letter(a, name)},format=raw', 'OK')
            ok(m, f'device_add {device},drive={name}')
            ok(m, 'system_reset')
            m.serial(f'<{name}>', '<[ABCD]>')
        ok(m, f'drive_add 0 if=none,id=E,file={letter(a, "E")},format=raw', 'OK')
        if 'bootindex 1 has already' not in m.command('device_add virtio-blk-pci,drive=E,bootindex=1'):
            m.fail('two devices have one bootindex')
        for device, name in (('fourth', 'C'), ('third', 'B'), ('second', 'A')):
            ok(m, f'device_del {device}')
            ok(m, 'system_reset')
            m.serial(f'<{name}>', '<[ABCD]>')
        m.monitor.sendall(b'quit\n')
        if m.end():
            m.fail('it did not end with 0')
    return 'a virtio disk, a USB stick, a SCSI disk, each first by bootindex= when it had come; and the one behind it when it had gone'


# ---- other virtio devices ----

def port_round(a, m, c, shell, n):
    """A port on a bus; what goes through it both ways; it goes, and with the second round the bus with it."""
    ok(m, f'device_add virtserialport,bus=ser.0,chardev=ch,name=org.test.{n},id=port' + (',nr=7' if n else ''))
    for line, why in (('device_add virtserialport,chardev=ch', 'in use already'), ('device_add virtserialport,chardev=nothing', "no character device 'nothing'"),
                      ('device_add virtserialport,nr=31', '31'), ('device_add virtserialport,nr=0', 'port 0'), ('device_add virtconsole,bus=x.0', "no bus 'x.0'"),
                      ('device_add virtserialport,id=port', 'Duplicate'), ('chardev-remove ch', 'is busy')):
        if why not in m.command(line):
            m.fail(f'{line}: {m.command(line)}')
    shell.run('i=0; while [ ! -e /sys/class/virtio-ports/vport*/name ] && [ $i -lt 1200 ]; do sleep 0.05; i=$((i+1)); done; p=$(basename /sys/class/virtio-ports/*); until_there /dev/$p')
    s = socket.socket(socket.AF_UNIX)
    s.settimeout(60 * a.scale)
    s.connect(f'{a.dir}/port')
    got = shell.run('cat /sys/class/virtio-ports/$p/name; echo $p; (exec 8<> /dev/$p; echo from the guest >&8; head -n 1 <&8) &')
    if f'org.test.{n}' not in got or (n and 'p7' not in got):
        m.fail(f'the port is {got}')
    text = b''
    while b'\n' not in text:
        text += s.recv(100)
    s.sendall(b'from the host\n')
    got = shell.run('wait')
    if text != b'from the guest\n' or 'from the host' not in got:
        m.fail(f'the host read {text}, the guest {got}')
    c.run('device_del', id='port' if n == 0 else 'ser')
    deleted(c, 'port')
    shell.run('i=0; while [ -e /sys/class/virtio-ports/$p ] && [ $i -lt 1200 ]; do sleep 0.05; i=$((i+1)); done; [ -e /dev/$p ] && echo WRONG port')
    s.close()


def ports(a, m, c, shell):
    c.run('chardev-add', id='ch', backend={'type': 'socket', 'data': {'addr': {'type': 'unix', 'data': {'path': f'{a.dir}/port'}}}})
    refuse(c, 'chardev-add', 'already exists', id='ch', backend={'type': 'null', 'data': {}})
    refuse(c, 'chardev-add', 'nonexistent', id='f', backend={'type': 'file', 'data': {'out': '/nonexistent/x'}})
    pty = c.run('chardev-add', id='pty', backend={'type': 'pty', 'data': {}})['pty']
    if not os.path.exists(pty) or {x['label']: x['filename'] for x in c.run('query-chardev')}.get('pty') != 'pty:' + pty:
        m.fail(f'the terminal is {pty}')
    ok(m, 'device_add virtio-serial-pci,id=ser')
    port_round(a, m, c, shell, 0)
    port_round(a, m, c, shell, 1)
    deleted(c, 'ser')
    for name in ('ch', 'pty'):
        c.run('chardev-remove', id=name)
    refuse(c, 'chardev-remove', 'not found', id='ch')


def objects(a, m, c, shell):
    """Secrets, which open images, and sources of random numbers, which devices hold on to."""
    path = os.path.join(a.dir, 'luks')
    subprocess.run([a.vmm.split()[0], 'img', 'create', '-q', '-f', 'luks', '--object', 'secret,id=s,data=open sesame', '-o', 'key-secret=s,iter-time=10', path, '1M'], check=True)
    refuse(c, 'blockdev-add', 'sec', driver='luks', node_name='l', key_secret='sec', file={'driver': 'file', 'filename': path})
    c.run('object-add', qom_type='secret', id='sec', data='open sesame')
    refuse(c, 'object-add', "id 'sec'", qom_type='rng-builtin', id='sec')
    c.run('blockdev-add', driver='luks', node_name='l', key_secret='sec', file={'driver': 'file', 'filename': path})
    c.run('object-del', id='sec')
    c.run('blockdev-del', node_name='l')
    refuse(c, 'object-del', 'not found', id='sec')
    if 'threads of their own' not in m.command('object_add iothread,id=i') or 'needs id=' not in m.command('object_add rng-random'):
        m.fail('an object that there is not')
    c.run('object-add', qom_type='rng-random', id='hot', filename='/dev/urandom')
    ok(m, 'device_add virtio-rng-pci,rng=hot,id=rng')
    shell.run('i=0; while [ ! -e /sys/bus/virtio/drivers/virtio_rng/virtio* ] && [ $i -lt 1200 ]; do sleep 0.05; i=$((i+1)); done')       # else it hears of neither
    refuse(c, 'object-del', 'is in use', id='hot')
    ok(m, 'device_del rng')
    deleted(c, 'rng')
    shell.run('i=0; while [ -e /sys/bus/virtio/drivers/virtio_rng/virtio* ] && [ $i -lt 1200 ]; do sleep 0.05; i=$((i+1)); done')
    ok(m, 'object_del hot')


def kinds(a):
    share = os.path.join(a.dir, 'share')
    os.mkdir(share)
    with open(share + '/file', 'w') as f:
        f.write('from the host\n')
    args = ['-object', 'rng-random,id=r,filename=/dev/urandom', '-fsdev', f'local,id=fs,path={share},security_model=none', '-qmp', f'unix:{a.dir}/qmp,server=on,wait=off']
    with guest(a, args, modules=['all', 'virtio_pci', 'virtio_rng', 'virtio_balloon', 'virtio_console', '9pnet_virtio', '9p']) as m:
        shell, c = Shell(m), Client(f'{a.dir}/qmp', seconds=120 * a.scale)
        ports(a, m, c, shell)
        objects(a, m, c, shell)
        c.close()
        for n in range(2):
            ok(m, 'device_add virtio-rng-pci,rng=r,id=rng')
            got = shell.run('until_there /dev/hwrng; i=0; while ! grep -q virtio /sys/class/misc/hw_random/rng_current && [ $i -lt 1200 ]; do sleep 0.05; i=$((i+1)); done; '
                            'dd if=/dev/hwrng bs=16 count=4 2>/dev/null | wc -c')
            if '64' not in got:
                m.fail(f'the entropy source says {got}')
            ok(m, 'device_add virtio-balloon-pci,id=balloon')
            if 'Only one' not in m.command('device_add virtio-balloon-pci'):
                m.fail('two balloons')
            shell.run('i=0; while [ ! -e /sys/bus/virtio/drivers/virtio_balloon/virtio* ] && [ $i -lt 1200 ]; do sleep 0.05; i=$((i+1)); done')
            ok(m, 'balloon 192')
            wait_for(m, 'there', 'info balloon', 'actual=192')
            ok(m, 'device_add virtio-9p-pci,fsdev=fs,mount_tag=tag,id=share')
            if "mount_tag 'tag'" not in m.command('device_add virtio-9p-pci,fsdev=fs,mount_tag=tag'):
                m.fail('two folders of one name')
            got = shell.run('i=0; while [ ! -e /sys/bus/virtio/drivers/9pnet_virtio/virtio* ] && [ $i -lt 1200 ]; do sleep 0.05; i=$((i+1)); done; '
                            f'mkdir -p /mnt; mount -t 9p -o trans=virtio,version=9p2000.L tag /mnt; cat /mnt/file; echo {n} > /mnt/from-guest; umount /mnt')
            if 'from the host' not in got or open(share + '/from-guest').read() != f'{n}\n':
                m.fail(f'the folder says {got}')
            for name in ('rng', 'balloon', 'share'):
                ok(m, f'device_del {name}')
                wait_for(m, 'gone', 'info qtree', f'id {name} ')
        end(m, shell)
    return 'ports and their bus; entropy source, balloon and shared folder came and went twice'


TESTS = {'trays': trays, 'live': live, 'kinds': kinds, 'order': order, 'usb': usb, 'qmp': qmp, 'nodes': nodes, 'rounds': rounds, 'rounds-long': rounds_long, 'busy': busy, 'refused': refused}


if __name__ == '__main__':
    frame.main(__doc__, TESTS, port='build/tests/boot/port')
