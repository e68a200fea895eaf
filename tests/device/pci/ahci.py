#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0-or-later
"""Serial ATA controllers against QEMU's: ahci.py OSPITE

Registers after reset, what stays of what is written; a port brought up; commands of an empty and a full port as a driver gives them: data
in, data out, queued, with wrong addresses, sizes and tags. Compared are the data, the FISes that the drive sent and the port's registers.
Ours is reached through index and data ports, since the monitor writes no device memory."""
import os
import random
import struct
import sys
import tempfile
import time
from pair import Pair

SEED, SLOT, IO, MMIO = 20261128, 4, 0xc200, 0xfe000000
LIST, FIS, TABLE, DATA = 0x100000, 0x101000, 0x102000, 0x200000
SECTORS = 4096
CLB, FB, IS, IE, CMD, TFD, SIG, SSTS, SCTL, SERR, SACT, CI = 0, 8, 0x10, 0x14, 0x18, 0x20, 0x24, 0x28, 0x2c, 0x30, 0x34, 0x38


class Controller:
    def __init__(self, program, folder):
        self.r = random.Random(SEED)
        data = self.r.randbytes(SECTORS * 512)
        for name in ('ours', 'theirs'):
            with open(os.path.join(folder, name), 'wb') as f:
                f.write(data)
        args = ['-m', '64', '-device', f'ich9-ahci,id=a,addr={SLOT}']
        drive = ['-device', 'ide-hd,drive=d,bus=a.0']
        self.p = Pair(program, [*args, '-drive', f'file={folder}/ours,if=none,id=d,format=raw', *drive],
                      [*args, '-drive', f'file={folder}/theirs,if=none,id=d,format=raw', *drive])

    def cfg(self, offset, value=None, mask=0xffffffff):
        self.p.out(0xcf8, 0x80000000 | SLOT << 11 | offset, 4)
        if value is None:
            return self.p.inp(0xcfc, 4, mask, f'config {offset:#x}')
        return self.p.out(0xcfc, value, 4)

    def read_one(self, ours, offset):
        if not ours:
            return int(self.p.theirs.ask(f'readl {MMIO + offset:#x}'), 16)
        self.p.ours.write(IO + 16, offset, 4)
        return self.p.ours.read(IO + 20, 4)

    def read(self, offset, what, mask=0xffffffff):
        a, b = self.read_one(True, offset), self.read_one(False, offset)
        self.p.check((a ^ b) & mask == 0, f'{what} {offset:#x}: {a:#x}, qemu {b:#x}')
        return b

    def write(self, offset, value):
        self.p.ours.write(IO + 16, offset, 4)
        self.p.ours.write(IO + 20, value, 4)
        self.p.theirs.ask(f'writel {MMIO + offset:#x} {value:#x}')

    def port(self, what):
        for offset in (CLB, FB, IE, SIG, SSTS, SCTL, SACT, CI):
            self.read(0x100 + offset, f'{what}: port register')
        self.read(0x100 + CMD, f'{what}: port register', 0xffff00ff)

    def settle(self, what):
        """Both sides do their I/O on other threads."""
        for ours in (True, False):
            until = time.time() + 60
            while time.time() < until:
                if not (self.read_one(ours, 0x100 + CI) | self.read_one(ours, 0x100 + SACT)) or self.read_one(ours, 0x100 + IS) >> 30 & 1:
                    break
            else:
                self.p.check(False, f'{what}: {"ours" if ours else "qemu"} does not end')

    def start(self):
        self.write(0x100 + CMD, 0x16)
        self.write(0x100 + SERR, 0xffffffff)
        self.write(0x100 + IS, 0xffffffff)
        self.write(0x100 + CMD, 0x17)

    def table(self, slot, fis, pieces):
        at = TABLE + 0x1000 * slot
        prds = b''.join(struct.pack('<QII', address, 0, size - 1) for address, size in pieces)
        self.p.memory_write(at, bytes(fis).ljust(0x80, b'\0') + prds)
        self.p.memory_write(LIST + 32 * slot, struct.pack('<IIQ', 5 | (fis[2] in (0x30, 0x35, 0xca, 0x34, 0x61)) << 6 | len(pieces) << 16, 0, at).ljust(32, b'\0'))

    def command(self, fis, pieces, what, slot=0, queued=False, fis_at=0x40, error=False):
        self.p.memory_write(FIS, bytes(256))
        self.table(slot, fis, pieces)
        if queued:
            self.write(0x100 + SACT, 1 << slot)
        self.write(0x100 + CI, 1 << slot)
        self.settle(what)
        size = 8 if queued else 20
        a, b = (m.memory_read(FIS + fis_at, size) for m in (self.p.ours, self.p.theirs))
        # The count left in the registers and the seek bit are each side's own; type, status, error are not.
        self.p.check(a[0] == b[0] and (a[2] ^ b[2]) & 0x61 == 0, f'{what}: FIS {a.hex()}, qemu {b.hex()}')
        if not error:
            self.p.check(a[3] == b[3], f'{what}: error {a[3]:#x}, qemu {b[3]:#x}')
            self.read(0x100 + TFD, what + ': TFD', 0xff61)
        else:                                          # QEMU has ABRT for all of them
            self.read(0x100 + TFD, what + ': TFD', 0x61)
        self.read(0x100 + IS, what + ': IS', 0x40000000)
        if error:
            self.start()
        self.write(0x100 + IS, 0xffffffff)
        self.read(0x100 + CI, what + ': CI')
        self.read(0x100 + SACT, what + ': SACT')


def fis(op, lba=0, count=1, features=0, device=0x40):
    f = bytearray(20)
    f[0], f[1], f[2], f[3], f[7] = 0x27, 0x80, op, features & 255, device
    f[4:7] = (lba & 0xffffff).to_bytes(3, 'little')
    f[8:11] = (lba >> 24 & 0xffffff).to_bytes(3, 'little')
    f[11], f[12], f[13] = features >> 8 & 255, count & 255, count >> 8 & 255
    return f


def pieces_of(r, size):
    out, at = [], DATA
    while size:
        here = min(size, r.choice([512, 4096, 65536, 2 * r.randrange(1, 4000)]))
        out.append((at, here))
        at += here + r.choice([0, 0, 64, 4096])
        size -= here
    return out


def main():
    print('seed', SEED)
    with tempfile.TemporaryDirectory() as folder:
        c = Controller(sys.argv[1], folder)
        for offset in (0, 4, 8, 12, 0x2c, 0xa8, 0xac):
            c.cfg(offset, mask=0xffff00ff if offset == 0xa8 else 0xffffffff)
        for offset in (0x20, 0x24):
            c.cfg(offset, 0xffffffff)
            c.cfg(offset)
        c.cfg(0x20, IO)
        c.cfg(0x24, MMIO)
        c.cfg(4, 7)
        for offset in (0, 4, 8, 0xc, 0x10):
            c.read(offset, 'after reset')
        for n in range(6):
            for offset in (CLB, 4, FB, 12, IS, IE, CMD, TFD, SIG, SSTS, SCTL, SERR, SACT, CI):
                c.read(0x100 + 0x80 * n + offset, f'port {n} after reset')
        for offset in (4, IE + 0x100):
            for value in (0xffffffff & ~1, 0, c.r.getrandbits(32) & ~1):
                c.write(offset, value)
                c.read(offset, f'written {value:#x}')
        c.write(0x100 + IE, 0)
        c.write(0x100 + CLB, LIST)
        c.write(0x100 + FB, FIS)
        c.start()
        c.port('started')
        ends = [(0, 1), (0, 8), (7, 255), (SECTORS - 8, 8), (100, 256)]
        for lba, count in ends + [(c.r.randrange(SECTORS - 64), c.r.randrange(1, 64)) for _ in range(12)]:
            pieces = pieces_of(c.r, count * 512)
            span = pieces[-1][0] + pieces[-1][1] - DATA
            for op in (0xc8, 0x25, 0xca, 0x35):
                if op in (0xca, 0x35):
                    c.p.memory_write(DATA, c.r.randbytes(span))
                else:
                    c.p.memory_write(DATA, bytes(span))
                c.command(fis(op, lba, count if op in (0x25, 0x35) else count & 255), pieces, f'command {op:02x} {lba}+{count}')
                c.p.memory(DATA, span, f'command {op:02x} {lba}+{count}')
            for op in (0x61, 0x60):
                slot = c.r.randrange(32)
                if op == 0x61:
                    c.p.memory_write(DATA, c.r.randbytes(span))
                else:
                    c.p.memory_write(DATA, bytes(span))
                c.command(fis(op, lba, slot << 3, count), pieces, f'queued {op:02x} {lba}+{count}', slot, True, 0x58)
                c.p.memory(DATA, span, f'queued {op:02x} {lba}+{count}')
        for op in (0xe7, 0xea, 0xef, 0xe5, 0xe0):
            c.command(fis(op, features=2), [], f'command {op:02x}')
        for op, lba, count in ((0x25, SECTORS, 1), (0x25, SECTORS - 1, 2), (0x35, 1 << 40, 1), (0xfe, 0, 1), (0xc8, SECTORS - 1, 9)):
            c.command(fis(op, lba, count), pieces_of(c.r, count * 512), f'wrong {op:02x} {lba}+{count}', error=True)
        c.command(fis(0x60, SECTORS, 0, 1), pieces_of(c.r, 512), 'queued beyond the end', 0, True, 0x58, True)
        c.p.memory_write(DATA, bytes(512))
        c.command(fis(0xec), [(DATA, 512)], 'IDENTIFY', fis_at=0x20)
        a, b = (struct.unpack('<256H', m.memory_read(DATA, 512)) for m in (c.p.ours, c.p.theirs))
        for word in (0, 1, 3, 6, 49, 60, 61, 75, *range(100, 104)):
            c.p.check(a[word] == b[word], f'IDENTIFY word {word}: {a[word]:#x}, qemu {b[word]:#x}')
        c.port('at the end')
        sys.exit(c.p.end('pair-ahci'))


main()
