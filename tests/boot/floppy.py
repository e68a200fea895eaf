#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0-or-later
"""floppy.py --vmm CMD --guests DIR --fdfmt PROGRAM TEST...   floppy drives by Linux' driver and by SeaBIOS.

boot      SeaBIOS starts GRUB's rescue floppy, and a sector of our own from drive A of each size
linux     two drives: read, written, formatted, changed while the machine runs, protected; what the host's files hold afterwards

What this machine lacks is skipped out loud (exit status 77)."""
import hashlib
import os
import random
import sys
import time

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
import frame                                                  # noqa: E402
from boot import Failure, Machine                             # noqa: E402
from cpio import need                                         # noqa: E402
from virtio import BAD, Guest                                 # noqa: E402

SIZES = (360, 720, 1200, 1440, 2880)             # SeaBIOS knows no others


def disk(a, name, kib, seed=None):
    path = os.path.join(a.dir, name)
    data = bytes(kib << 10) if seed is None else random.Random(seed).randbytes(kib << 10)
    with open(path, 'wb') as f:
        f.write(data)
    return path, data


def boot(a):
    floppy = need('/usr/lib/grub-rescue/grub-rescue-floppy.img', 'grub-rescue-pc')
    with Machine(a.vmm, ['-m', '64', '-nic', 'none', '-fda', floppy, '-snapshot'], 120 * a.scale, serial=False, log=a.log) as m:
        if m.screen(r'grub>|Use the').group(0) != 'grub>':
            m.command('sendkey c')
            m.screen('grub>')
        for key in ('l', 's', 'ret'):
            m.command(f'sendkey {key}')
            time.sleep(0.2)
        m.screen(r'\(fd0\)')
    # Reads the disk's last sector by INT 13h (sectors and heads from the BIOS) and prints its text.
    for kib in SIZES:
        heads, tracks = 2, 40 if kib == 360 else 80
        sectors = kib * 2 // heads // tracks
        path, data = disk(a, 'sector', kib, kib)
        code = (b'\x31\xc0\x8e\xd8\x8e\xc0\x8e\xd0\xbc\x00\x7c'                         # segments, stack
                + b'\xb8\x01\x02\xbb\x00\x7e'                                           # mov ax, 201h; mov bx, 7E00h
                + b'\xb5' + bytes([tracks - 1]) + b'\xb1' + bytes([sectors])            # mov ch, cylinder; mov cl, sector
                + b'\xb6\x01\xcd\x13\x72\x0f'                                           # mov dh, 1; int 13h; jc halt
                + b'\xbe\x00\x7e\xb9\x10\x00'                                           # mov si, 7E00h; mov cx, 16
                + b'\xac\xb4\x0e\x31\xdb\xcd\x10\xe2\xf7'                               # print: lodsb; mov ah, 0Eh; xor bx, bx; int 10h; loop
                + b'\xf4\xeb\xfd')
        word = f'LAST-OF-{kib:05}-KB'.encode()
        image = bytearray(data)
        image[:512] = code + bytes(510 - len(code)) + b'\x55\xaa'
        image[-512:-512 + 16] = word
        open(path, 'wb').write(image)
        with Machine(a.vmm, ['-m', '16', '-nic', 'none', '-fda', path, '-boot', 'a'], 200 * a.scale, serial=False, log=a.log) as m:
            m.screen(word.decode())
    # No signature: started by the firmware only if the check is left out, as in QEMU. It sends a letter to COM1.
    path, data = disk(a, 'unsigned', 1440)
    with open(path, 'r+b') as f:
        f.write(b'\xba\xf8\x03\xb0X\xee\xf4\xeb\xfd')
    with Machine(a.vmm, ['-m', '16', '-nic', 'none', '-fda', path, '-boot', 'a', '-no-fd-bootchk'], 200 * a.scale, log=a.log) as m:
        m.serial('X')
    with Machine(a.vmm, ['-m', '16', '-nic', 'none', '-fda', path, '-boot', 'a'], 200 * a.scale, log=a.log) as m:
        m.screen('not a bootable disk')
        if 'X' in m.text:
            m.fail('a floppy without signature was started')
    return f'GRUB at its prompt; a boot sector reads the last sector of disks of {", ".join(map(str, SIZES))} KiB'


def linux(a):
    first, data = disk(a, 'first', 1440, 1)
    second, _ = disk(a, 'second', 2880)
    third, third_data = disk(a, 'third', 720, 3)
    script = '''
for i in $(seq 600); do [ -b /dev/fd1 ] && break; sleep 0.1; done
echo types $(cat /sys/block/fd0/device/cmos) $(cat /sys/block/fd1/device/cmos)
echo sum $(dd if=/dev/fd0 bs=18k 2>/dev/null | md5sum)
dd if=/dev/fd0 of=/dev/fd1 bs=36k seek=10 conv=fsync 2>/dev/null || echo WRONG write
echo back $(dd if=/dev/fd1 bs=36k skip=10 count=40 2>/dev/null | md5sum)
echo CHANGE; read x
echo changed $(dd if=/dev/fd0 bs=9k 2>/dev/null | md5sum)
dd if=/dev/zero of=/dev/fd0 bs=512 count=1 conv=fsync 2>/dev/null && echo WRONG written
echo EJECT; read x
dd if=/dev/fd0 of=/dev/null bs=512 count=1 2>/dev/null && echo WRONG empty
echo FORMAT; read x
/fdfmt /dev/fd0 || echo WRONG format
echo formatted $(dd if=/dev/fd0 bs=18k 2>/dev/null | md5sum)
echo back again $(dd if=/dev/fd1 bs=36k skip=10 count=40 2>/dev/null | md5sum)
dmesg -c > /dev/null'''
    md5 = lambda b: hashlib.md5(b).hexdigest()
    bad = BAD.replace('|I/O error', '').replace('I/O error|', '')
    with Guest(a, ['all', 'floppy'], script, ['-net', 'none', '-fda', first, '-fdb', second], {'fdfmt': a.fdfmt}, seconds=200) as m:
        m.serial(r'types 4 [56]', bad)
        m.serial('sum ' + md5(data), bad)
        m.serial('back ' + md5(data), bad)
        m.serial('CHANGE', bad)
        if 'error' in m.command(f'change floppy0 {third} raw read-only').lower():
            m.fail('change')
        m.send('\n')
        m.serial('changed ' + md5(third_data), bad)
        m.serial('EJECT', bad)
        m.command('eject floppy0')
        if 'not inserted' not in m.command('info block'):
            m.fail('a disk is still in')
        m.send('\n')
        m.serial('FORMAT', bad)
        m.command(f'change floppy0 {first} raw')
        m.send('\n')
        m.serial(r'geometry 80 2 18', bad)
        m.serial('formatted ' + md5(b'\xf6' * len(data)), bad)
        m.serial('back again ' + md5(data), bad)
        m.serial('OSPITE-DONE', bad)
        if m.end():
            m.fail('the status is not 0')
    if open(first, 'rb').read() != b'\xf6' * len(data):
        raise Failure('the formatted disk holds something else')
    if open(second, 'rb').read()[360 << 10:(360 << 10) + len(data)] != data:
        raise Failure('what the guest wrote is not in the image')
    if open(third, 'rb').read() != third_data:
        raise Failure('a protected disk was written')
    return 'two drives: 1440 KiB read, copied, changed to 720 KiB, ejected, formatted'


TESTS = {'boot': boot, 'linux': linux}


if __name__ == '__main__':
    frame.main(__doc__, TESTS, fdfmt=None)
