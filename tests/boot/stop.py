#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0-or-later
"""stop.py --vmm CMD --guests DIR --flusher PROGRAM   A guest writes to six disks all the time (flusher.c), without flushes; the machine is stopped
again and again, over QMP, by the human monitor, by gdb's port. Once that is answered, each image must stay as it is, be without errors (qemu-img
check of a copy), and hold every write that the guest was told is done; 'cont' goes on."""
import hashlib
import os
import re
import shutil
import socket
import subprocess
import sys
import time

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
import frame                                   # noqa: E402
from qmp import Client                         # noqa: E402
from virtio import BAD, MIB, Guest             # noqa: E402

WORKERS = 4
# number (which is the seed, and the sectors that the disk has more than 32 MiB, by which the guest knows it), format, options of the drive, devices
DISKS = [
    ('1', 'qcow2', '', ['virtio-blk-pci,drive=d1']),
    ('2', 'qcow2', ',throttling.iops-write=60', ['virtio-blk-pci,drive=d2,num-queues=1']),
    ('3', 'qcow2', '', ['ide-hd,drive=d3']),
    ('4', 'raw', ',throttling.bps-total=2000000', ['ide-hd,drive=d4,bus=a.0']),
    ('5', 'qcow2', ',cache=none', ['scsi-hd,drive=d5,bus=s.0']),
    ('6', 'qcow2', '', ['usb-storage,drive=d6,bus=x.0']),
]
SCRIPT = '''
i=0
while [ $(ls -d /sys/block/sd* /sys/block/vd* 2>/dev/null | wc -l) -lt 6 ] && [ $i -lt 600 ]; do sleep 0.1; i=$((i+1)); done
for d in /sys/block/sd* /sys/block/vd*; do
    n=${d##*/}
    sectors=$(cat $d/size)
    seed=$((sectors - 65536))
    /flusher tell /dev/$n $seed &
done
wait
'''


def image_path(a, number):
    return os.path.join(a.dir, 'disk' + number)


def state(path):
    with open(path, 'rb') as f:
        digest = hashlib.md5(f.read()).hexdigest()
    return digest, os.stat(path).st_mtime_ns               # not the blocks: file systems choose them later


def told(m, number):
    """The newest write of each worker that the guest knows to be done."""
    newest = [0] * WORKERS
    for worker, generation in re.findall(rf'\[{number} (\d) (\d+)\]', m.text):
        newest[int(worker)] = max(newest[int(worker)], int(generation))
    return newest


def image_judge(a, m, number, form):
    copy, raw = os.path.join(a.dir, 'copy'), os.path.join(a.dir, 'raw')
    newest = told(m, number)
    shutil.copyfile(image_path(a, number), copy)
    if form != 'raw':
        check = subprocess.run(['qemu-img', 'check', '-q', copy], capture_output=True, text=True)
        if check.returncode:
            m.fail(f'disk {number}: qemu-img check: status {check.returncode}: {check.stdout}{check.stderr}')
    subprocess.run(['qemu-img', 'convert', '-f', form, '-O', 'raw', copy, raw], check=True)
    what = subprocess.run([a.flusher, 'verify', raw, number, *map(str, newest)], capture_output=True, text=True)
    if what.returncode:
        m.fail(f'disk {number}: the image lacks what was done before the stop:\n{what.stdout}{what.stderr}')
    return sum(newest)


class Gdb:
    """Stops by Ctrl-C, goes on by c."""
    def __init__(self, path):
        self.s = socket.socket(socket.AF_UNIX)
        self.s.connect(path)
        self.s.settimeout(60)

    def packet(self, text):
        self.s.sendall(f'${text}#{sum(text.encode()) & 255:02x}'.encode())

    def stopped(self):
        got = b''
        while not re.search(rb'\$T[^#]*#..', got):
            got += self.s.recv(4096)
        self.s.sendall(b'+')


def stop_by(m, q, gdb, way):
    if way == 'qmp':
        if q.raw({'execute': 'stop'}) != {'return': {}} or q.events[-1]['event'] != 'STOP':
            m.fail(f'stop: {q.events}')
    elif way == 'monitor':
        m.command('stop')
    else:
        gdb.s.sendall(b'\x03')
        gdb.stopped()


def go_on(m, q, gdb, way):
    if way == 'gdb':
        gdb.packet('c')
    elif way == 'monitor':
        m.command('cont')
    else:
        q.raw({'execute': 'cont'})


def writes_wait(m, numbers, more):
    """Until every disk has been written so often again."""
    before = {n: sum(told(m, n)) for n in numbers}
    while any(sum(told(m, n)) < before[n] + more for n in numbers):
        if not m.pump() or re.search(BAD, m.text):
            m.fail('the guest stopped writing')
        if m.deadline < time.time():
            m.fail(f'time is over: {[(n, sum(told(m, n)), before[n]) for n in numbers]}')


def rounds(a):
    args, count = ['-device', 'ahci,id=a', '-device', 'virtio-scsi-pci,id=s', '-device', 'qemu-xhci,id=x'], 0
    for number, form, options, devices in DISKS:
        subprocess.run(['qemu-img', 'create', '-q', '-f', form, image_path(a, number), str(32 * MIB + 512 * int(number))], check=True)
        args += ['-drive', f'file={image_path(a, number)},format={form},if=none,id=d{number}{options}', *(x for d in devices for x in ('-device', d))]
    args += ['-qmp', f'unix:{a.dir}/qmp,server=on,wait=off', '-gdb', f'unix:{a.dir}/gdb']
    modules = ['all', 'virtio_pci', 'virtio_blk', 'ata_piix', 'ahci', 'virtio_scsi', 'sd_mod', 'xhci_pci', 'usb_storage']
    with Guest(a, modules, SCRIPT, args, {'flusher': a.flusher}, seconds=300, cpus=2) as m:
        q, gdb = Client(f'{a.dir}/qmp'), None
        for n in range(a.rounds):
            way = ('qmp', 'monitor', 'gdb')[n % 3]
            writes_wait(m, [d[0] for d in DISKS], 4)
            if way == 'gdb':
                gdb = Gdb(f'{a.dir}/gdb')
                gdb.packet('?')
                gdb.stopped()                                 # to connect is to stop
            else:
                stop_by(m, q, gdb, way)
            before = [state(image_path(a, d[0])) for d in DISKS]
            time.sleep(0.2)
            quiet = False
            while not quiet:
                seen = len(m.text)
                quiet = m.pump() and len(m.text) == seen
            for d, was in zip(DISKS, before):
                count += image_judge(a, m, d[0], d[1])
                if state(image_path(a, d[0])) != was:
                    m.fail(f'disk {d[0]}: the image changed while the machine was stopped by {way}')
            go_on(m, q, gdb, way)
            if gdb:
                gdb.s.close()
                gdb = None
        writes_wait(m, [d[0] for d in DISKS], 4)
        m.command('quit')
    return f'{a.rounds} stops, {len(DISKS)} disks, {count} writes were done and are there'


if __name__ == '__main__':
    frame.main(__doc__, rounds, flusher=None, rounds=3)
