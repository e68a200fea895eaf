#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0-or-later
"""PCI configuration space of the board against QEMU's: config.py OSPITE

Every byte of every function as it is after reset, what stays of writes of ones, zeros and random values (registers in which
QEMU's board differs on purpose are listed with the reason), and the ways to access it: sizes, alignment, absent functions."""
import random, sys
from pair import Pair

SEED = 20261123
HOST, ISA, IDE, PM, VGA = (0, 0), (1, 0), (1, 1), (1, 3), (2, 0)


def at(function, offset):
    return 0x80000000 | function[0] << 11 | function[1] << 8 | (offset & 0xfc)


def read(p, function, offset, size, what, mask=0xffffffff):
    p.out(0xcf8, at(function, offset), 4)
    return p.inp(0xcfc + (offset & 3), size, mask, f'{what} {function} {offset:#x}')


def write(p, function, offset, value, size):
    p.out(0xcf8, at(function, offset), 4)
    p.out(0xcfc + (offset & 3), value, size)


# Beyond the header only registers that do something are compared: QEMU keeps whatever is written anywhere else, and has
# values of its own there that no guest was seen to use.
# With the bits that the data sheets give them.
SPECIFIC = {
    HOST: {0x59: 0x30, **{n: 0x33 for n in range(0x5a, 0x60)}},    # PAM
    ISA: {n: 0x8f for n in range(0x60, 0x64)},         # PIRQRC
    IDE: {n: 0xff for n in range(0x40, 0x44)},         # IDETIM
    PM: {0x40: 0xc0, 0x41: 0xff, 0x80: 1},  # PMBA, PMREGMISC
    VGA: {},
}
# Parity enable, latency timer and cache line size can be written on the real chips, in QEMU not everywhere; they do nothing here.
HEADER_MASK = {4: 0xffffffbf, 0xc: 0xffff0000}


def compare_all(p, function, what):
    for offset in [*range(64), *SPECIFIC[function]]:
        read(p, function, offset, 1, what)


def writable(p, function, r):
    for offset in [*range(0, 64, 4), *{o & 0xfc for o in SPECIFIC[function]}]:
        mask = HEADER_MASK.get(offset, 0xffffffff)
        if offset >= 64:
            mask = sum(SPECIFIC[function].get(offset + i, 0) << 8 * i for i in range(4))
        before = read(p, function, offset, 4, 'before', mask)
        for value in (0xffffffff, 0, r.getrandbits(32), before):
            if offset == 4:
                value &= 0xfffffffc                    # decoding stays off: what is where is not this test's matter
            write(p, function, offset, value, 4)
            read(p, function, offset, 4, f'after {value:#x}', mask)


def main():
    r = random.Random(SEED)
    p = Pair(sys.argv[1])
    for function in (HOST, ISA, IDE, PM, VGA):
        compare_all(p, function, 'reset')
    for function in (HOST, ISA, IDE, PM, VGA):
        writable(p, function, r)
    for function in ((1, 2), (1, 4), (2, 1), (3, 0), (31, 7)):
        for offset in (0, 2, 8, 0x3c):
            read(p, function, offset, 1 << r.randrange(3), 'absent')
    for _ in range(600):                               # the address register and odd accesses to the data port
        value = r.choice([0, 0x80000000, at(HOST, r.randrange(64)), at(IDE, r.randrange(64)), r.getrandbits(32) & 0x7fffffff])
        p.out(0xcf8, value, 4)
        p.inp(0xcf8, 4, what='address')
        size = 1 << r.randrange(3)
        p.inp(0xcfc + r.randrange(5 - size), size, what=f'data at {value:#x}')
    return p.end('pci-config')


sys.exit(main())
