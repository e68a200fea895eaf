#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0-or-later
"""rug.py --vmm CMD --guests DIR TEST...   Pulling the rug from under a guest that writes.

full      the host's file system is full: the guest is stopped and goes on after 'cont' (werror=enospc, the default), or gets an
          I/O error (werror=report); IDE, virtio, SCSI and Serial ATA disks, raw and qcow2. On a small tmpfs in a mount namespace of its own
kill      the monitor is killed at random moments while the guest writes and flushes (flusher.c): every flushed sector must be in the
          image, which is clean or has leaks

What this machine lacks is skipped out loud (exit status 77)."""
import os
import random
import re
import signal
import subprocess
import sys
import time

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
import frame                                   # noqa: E402
from boot import Failure                       # noqa: E402
from cpio import Skip                          # noqa: E402
from virtio import BAD, MIB, Guest, finish     # noqa: E402

DISKS = {                                      # name of the disk in the guest, its drivers, options
    'ide': ('sda', ['ata_piix', 'sd_mod'], ['-drive', 'file={0},if=none,id=d,format={1}', '-device', 'ide-hd,drive=d{2}']),
    'virtio': ('vda', ['virtio_blk'], ['-drive', 'file={0},if=none,id=d,format={1}', '-device', 'virtio-blk-pci,drive=d{2}']),
    'ahci': ('sda', ['all', 'ahci', 'sd_mod'], ['-device', 'ahci,id=a', '-drive', 'file={0},if=none,id=d,format={1}', '-device', 'ide-hd,drive=d,bus=a.0{2}']),
    'scsi': ('sda', ['virtio_scsi', 'sd_mod'], ['-drive', 'file={0},if=none,id=d,format={1}', '-device', 'virtio-scsi-pci', '-device', 'scsi-hd,drive=d{2}']),
}
WAIT = 'i=0; while ! (: < /dev/{0}) 2>/dev/null && [ $i -lt 600 ]; do sleep 0.1; i=$((i+1)); done\n'


def image_make(path, form, size, options=''):
    if os.path.exists(path):
        os.unlink(path)
    subprocess.run(['qemu-img', 'create', '-q', '-f', form, *(['-o', options] if options else []), path, str(size)], check=True)


def guest(a, kind, path, form, script, more='', files=None):
    disk, modules, args = DISKS[kind]
    return Guest(a, modules, WAIT.format(disk) + script.replace('DISK', '/dev/' + disk), [t.format(path, form, more) for t in args], files,
                 seconds=200, cpus=2)


def as_raw(a, path, form):
    """The image's content in a raw file; of qcow2 by QEMU's tool, and checked by it."""
    if form == 'raw':
        return path
    raw = os.path.join(a.dir, 'raw')
    check = subprocess.run(['qemu-img', 'check', '-q', path], capture_output=True, text=True)
    if check.returncode not in (0, 3):
        raise Failure(f'qemu-img check: status {check.returncode}: {check.stdout}{check.stderr}')
    subprocess.run(['qemu-img', 'convert', '-O', 'raw', path, raw], check=True)
    return raw


# ---- a full host ----

def namespace_enter():
    """This program once more, in a mount namespace where it may mount."""
    if os.environ.get('OSPITE_RUG_NAMESPACE'):
        return
    options = ['-m'] if os.getuid() == 0 else ['-U', '-r', '-m']
    options += ['--propagation', 'slave']                  # what others unmount meanwhile is unmounted here as well
    if subprocess.run(['unshare', *options, 'true'], capture_output=True).returncode:
        print('SKIP full: no mount namespace can be made here')
        sys.exit(77)
    os.environ['OSPITE_RUG_NAMESPACE'] = '1'
    os.execvp('unshare', ['unshare', *options, sys.executable, *sys.argv])


def status_is(m, text):
    deadline = time.time() + 90
    while text not in m.command('info status'):
        if time.time() > deadline:
            m.fail(f'the machine is not {text!r} but {m.command("info status")!r}')
        time.sleep(0.05)


FILL = '''md5sum < /data
echo full $(dd if=/data of=DISK bs=256k conv=fsync 2>&1 | tail -1)
dd if=DISK bs=1M count=12 iflag=direct 2>/dev/null | md5sum
'''


def full_one(a, kind, form, more):
    small, data = os.path.join(a.dir, 'small'), os.path.join(a.dir, 'data')
    os.makedirs(small, exist_ok=True)
    with open(data, 'wb') as f:
        f.write(random.Random(11).randbytes(12 * MIB))
    subprocess.run(['mount', '-t', 'tmpfs', '-o', 'size=6m', 'small', small], check=True)
    try:
        path = os.path.join(small, 'image')
        image_make(path, form, 16 * MIB)
        with guest(a, kind, path, form, FILL, more, {'data': data}) as m:
            digest = m.serial(r'(\w{32})  -').group(1)
            if more:
                m.serial(r'full .*[Ee]rror', 'Kernel panic|WRONG')
                m.serial('OSPITE-DONE')                       # it was not stopped
                m.end()
                if 'the guest is stopped' in m.stderr():
                    m.fail('the machine was stopped')
                return
            status_is(m, 'paused (io-error)')
            if 'No space left on device; the guest is stopped' not in m.stderr():
                m.fail('no message says why it is stopped')
            m.command('cont')                                 # nothing has changed: it stops again
            status_is(m, 'paused (io-error)')
            subprocess.run(['mount', '-o', 'remount,size=32m', small], check=True)
            m.command('cont')
            m.serial(f'full .*{digest}  -', BAD)
            finish(m)
        with open(as_raw(a, path, form), 'rb') as f, open(data, 'rb') as g:
            if f.read(12 * MIB) != g.read():
                raise Failure(f'{kind}, {form}: what was written after the pause is not in the image')
    finally:
        subprocess.run(['umount', '-l', small], check=True)


def full(a):
    ways = [('ide', 'raw', ''), ('virtio', 'qcow2', ''), ('scsi', 'raw', ''), ('ahci', 'raw', ''), ('virtio', 'raw', ',werror=report'), ('ide', 'qcow2', ',werror=report')]
    for way in ways:
        try:
            full_one(a, *way)
        except Failure as why:
            raise Failure(f'{way}: {why}') from None
    return f'{len(ways)} disks: stopped, stopped again, went on; or an error for the guest'


# ---- killed ----

def kill_one(a, kind, form, options, seed, rng):
    path = os.path.join(a.dir, 'image')
    image_make(path, form, 32 * MIB, options)
    with guest(a, kind, path, form, f'/flusher write DISK {seed}', files={'flusher': a.flusher}) as m:
        m.serial(r'<\d \d+>', BAD)
        until = time.time() + rng.random() * 1.5
        while time.time() < until:
            m.pump()
        os.kill(m.process.pid, signal.SIGKILL)
        m.process.wait()
        while m.pump():
            pass
        if 'WRONG' in m.text:
            m.fail('the guest could not write')
        flushed = [0] * 4
        for worker, generation in re.findall(r'<(\d) (\d+)>', m.text):
            flushed[int(worker)] = max(flushed[int(worker)], int(generation))
        what = subprocess.run([a.flusher, 'verify', as_raw(a, path, form), str(seed), *map(str, flushed)], capture_output=True, text=True)
        if what.returncode:
            m.fail(f'{kind}, {form}, seed {seed}: flushed sectors are gone:\n{what.stdout}{what.stderr}')
    return sum(flushed)


def kill(a):
    if not a.flusher:
        raise Skip('--flusher is not given')
    rng = random.Random(a.seed)
    writes = kills = 0
    for n in range(a.rounds):
        for kind in ('ide', 'virtio', 'ahci'):
            for form, options in (('raw', ''), ('qcow2', ('', 'cluster_size=4k', 'extended_l2=on')[n % 3])):
                kills += 1
                writes += kill_one(a, kind, form, options, a.seed + kills, rng)
    return f'{kills} kills, {writes} writes were flushed and are there (seed {a.seed})'


TESTS = {'full': full, 'kill': kill}


if __name__ == '__main__':
    if 'full' in sys.argv:
        namespace_enter()
    frame.main(__doc__, TESTS, flusher=None, seed=5, rounds=2)
