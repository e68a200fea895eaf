#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0-or-later
"""The keyboard controller, keyboard, mouse, VGA, fw_cfg and power management registers against QEMU's: input.py OSPITE

Scripted sequences as drivers use them, then random ones."""
import random, sys, time
from pair import Pair

SEED = 20261123
OUTPUT, AUX = 1, 0x20


class Bench:
    def __init__(self, program):
        self.r = random.Random(SEED)
        self.p = Pair(program)

    def status(self, what):
        # Bit 3 (last write was a command) stays set in QEMU, bit 2 is not the command byte's.
        return self.p.inp(0x64, 1, 0xf3, what + ' status')

    def drain(self, what, mask=0xff, limit=24):
        """All that waits. Both hand the next byte over at once."""
        for _ in range(limit):
            if not self.status(what) & OUTPUT:
                return
            self.p.inp(0x60, 1, mask, what)
        self.p.check(False, f'{what}: no end of output')

    def command(self, value, *data):
        self.p.out(0x64, value)
        for d in data:
            self.p.out(0x60, d)
        self.drain(f'command {value:#x} {data}', 0xf3 if value == 0xd0 else 0xff)      # QEMU's output port has bits 2 and 3 set

    def keyboard(self, *data):
        for d in data:
            self.p.out(0x60, d)
            self.drain('keyboard ' + ' '.join(f'{d:#x}' for d in data))

    def mouse(self, *data):
        for d in data:
            self.p.out(0x64, 0xd4)
            self.p.out(0x60, d)
            self.drain('mouse ' + ' '.join(f'{d:#x}' for d in data))

    def controller(self):
        self.drain('power-on')
        for c in ((0xaa,), (0x60, 0x47), (0xab,), (0xa9,), (0x20,), (0x60, 0x47), (0x20,), (0xa7,), (0x20,), (0xa8,), (0x20,), (0xad,), (0x20,), (0xae,), (0x20,),
                  (0xc0,), (0xd0,), (0xd2, 0x5a), (0xd3, 0xa5), (0x60, 0x77), (0x20,), (0x60, 0x43)):
            self.command(*c)

    def keys(self):
        for c in ((0xff,), (0xee,), (0xf2,), (0xed, 2), (0xf0, 0), (0xf0, 2), (0xf3, 0x20), (0xf5,), (0xf4,), (0xf6,), (0xfa,), (0x77,), (0xff,)):
            self.keyboard(*c)

    def pointer(self):
        for c in ((0xff,), (0xf2,), (0xe9,), (0xe8, 2), (0xe9,), (0xf3, 40), (0xe6,), (0xe7,), (0xea,), (0xeb,), (0xf0,), (0xee,), (0x55,), (0xec,),
                  (0xf3, 200, 0xf3, 100, 0xf3, 80), (0xf2,), (0xf3, 200, 0xf3, 200, 0xf3, 80), (0xf2,), (0xf4,), (0xe9,), (0xf5,), (0xe9,), (0xf6,), (0xe9,),
                  (0xff,)):
            self.mouse(*c)

    def random_walk(self):
        r = self.r
        # Both ports stay on: QEMU hands over the bytes of a port that is off.
        controller = [(0x20,), (0xa8,), (0xa9,), (0xab,), (0xae,), (0xc0,), (0xd2, 0x12), (0xd3, 0x34), (0x60, 0x03), (0x60, 0x47)]
        for _ in range(400):
            n = r.randrange(3)
            if n == 0:
                self.command(*r.choice(controller))
            elif n == 1:
                self.keyboard(*r.choice([(0xee,), (0xf2,), (0xed, r.randrange(8)), (0xf4,), (0xf5,), (0xf6,)]))
            else:
                self.mouse(*r.choice([(0xf2,), (0xe9,), (0xe8, r.randrange(4)), (0xe6,), (0xe7,), (0xf4,), (0xf5,), (0xf0,), (0xea,), (0xeb,)]))

    def vga(self):
        p, r = self.p, self.r
        p.out(0x3c2, 0x67)
        for index, data, count in ((0x3c4, 0x3c5, 5), (0x3ce, 0x3cf, 9), (0x3d4, 0x3d5, 0x19)):
            for n in range(count):
                for value in (0xff, 0, r.randrange(256)):
                    if index == 0x3d4 and n == 0x11:
                        value &= 0x7f                  # keep 0-7 writable
                    p.out(index, n)
                    p.out(data, value)
                    p.inp(index, what=f'vga index {n:#x}')
                    p.inp(data, what=f'vga {index:#x} register {n:#x} after {value:#x}')
        p.inp(0x3da, mask=0)
        for n in range(0x15):
            p.inp(0x3da, mask=0)
            p.out(0x3c0, n)
            p.out(0x3c0, r.randrange(256))
            p.inp(0x3da, mask=0)
            p.out(0x3c0, n)
            p.inp(0x3c1, what=f'attribute {n:#x}')
        p.out(0x3c8, 0)
        for _ in range(768):
            p.out(0x3c9, r.randrange(256))
        p.out(0x3c7, 0)
        for n in range(768):
            p.inp(0x3c9, 1, 0x3f, f'palette {n}')              # the DAC has six bits

        for index in range(11):
            for value in (0xffff, 0, r.randrange(65536)):
                if index == 4:
                    continue                           # switching modes is tests/device/firmware/vga.c's matter
                p.out(0x1ce, index, 2)
                p.inp(0x1ce, 2, what='vbe index')
                p.inp(0x1d0, 2, what=f'vbe register {index}')

    def fw_cfg(self):
        p = self.p
        p.out(0x510, 0, 2)
        for _ in range(6):
            p.inp(0x511, what='fw_cfg signature')
        p.out(0x510, 1, 2)
        for _ in range(4):
            p.inp(0x511, what='fw_cfg version')
        p.inp(0x514, 4, what='fw_cfg DMA signature')
        p.inp(0x518, 4, what='fw_cfg DMA signature')
        for item in (3, 5, 0x0f, 0x8000 + 0x3fff, 0x7fff):
            p.out(0x510, item, 2)
            for n in range(8):
                p.inp(0x511, what=f'fw_cfg item {item:#x} byte {n}')


    def power(self):
        p, r = self.p, self.r
        for offset, value in ((0x40, 0x601), (0x80, 1)):
            p.out(0xcf8, 0x80000b00 | offset, 4)
            p.out(0xcfc, value, 4)
        for _ in range(60):
            value = r.getrandbits(16) & ~0x2000        # but for SLP_EN
            p.out(0x604, value & 0x1c01, 2)
            p.inp(0x604, 2, 0x1c01, 'PM1 control')
            p.out(0x602, value & 0x0721, 2)
            p.inp(0x602, 2, 0x0721, 'PM1 enable')
            p.out(0x600, value, 2)
            p.inp(0x600, 2, 0x0720, 'PM1 status')
        a, b = p.ours.read(0x608, 4), p.ours.read(0x608, 4)
        p.check(a == b and a < 1 << 24, 'the PM timer while time stands still')


def main():
    b = Bench(sys.argv[1])
    for test in ('controller', 'keys', 'pointer', 'random_walk', 'vga', 'fw_cfg', 'power'):
        before = b.p.failures
        getattr(b, test)()
        if b.p.failures != before:
            print(f'{test}: {b.p.failures - before} differ')
    return b.p.end('input')


sys.exit(main())
