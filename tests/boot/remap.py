#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0-or-later
"""remap.py --vmm CMD   a guest that changes the memory map for ever makes the process no larger.

A boot sector makes a piece of the BIOS area RAM and ROM by turns (i440FX data sheet, PAM2 at 5Ah), and says on COM1 when it begins
and when it has done so ROUNDS times."""
import argparse
import os
import re
import struct
import sys
import tempfile

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
from boot import Failure, Machine              # noqa: E402

ROUNDS = 8000
GROWTH_MAX_KIB = 2048                          # each of 2 * ROUNDS maps takes some 700 bytes


def say(letter):
    return b'\xba\xf8\x03\xb0' + letter + b'\xee'          # mov dx, 3f8h; mov al, letter; out dx, al


def sector():
    begin = b'\xfa' + say(b'B')                            # cli
    begin += b'\x66\xb8' + struct.pack('<I', 0x80000058) + b'\xba\xf8\x0c\x66\xef'       # mov eax, ...; mov dx, 0cf8h; out dx, eax
    begin += b'\xba\xfe\x0c\xb9' + struct.pack('<H', ROUNDS)                             # mov dx, 0cfeh; mov cx, ROUNDS
    loop = b'\xb0\x33\xee\xb0\x00\xee'                     # mov al, 33h; out dx, al; mov al, 0; out dx, al
    loop += b'\xe2' + struct.pack('b', -len(loop) - 2)     # loop
    code = begin + loop + say(b'E') + b'\xf4\xeb\xfd'      # hlt; jmp $-1
    return code.ljust(510, b'\0') + b'\x55\xaa'


def resident_kib(m):
    return int(re.search(r'VmRSS:\s+(\d+)', open(f'/proc/{m.process.pid}/status').read()).group(1))


def main():
    p = argparse.ArgumentParser(usage=__doc__)
    p.add_argument('--vmm', required=True)
    a = p.parse_args()
    os.environ['ASAN_OPTIONS'] = os.environ.get('ASAN_OPTIONS', '') + ':quarantine_size_mb=1'         # what is freed is to be gone
    with tempfile.TemporaryDirectory() as directory:
        disk = os.path.join(directory, 'disk')
        open(disk, 'wb').write(sector().ljust(1 << 20, b'\0'))
        try:
            with Machine(a.vmm, ['-m', '16', '-smp', '2', '-drive', f'file={disk},format=raw', '-nic', 'none'], 300) as m:
                m.serial('B')
                before = resident_kib(m)
                m.serial('E')
                grown = resident_kib(m) - before
        except Failure as f:
            print(f'FAIL remap: {f}')
            return 1
    print(f'{"FAIL" if grown > GROWTH_MAX_KIB else "PASS"} remap: {2 * ROUNDS} changes of the memory map, {grown} KiB more')
    return grown > GROWTH_MAX_KIB


sys.exit(main())
