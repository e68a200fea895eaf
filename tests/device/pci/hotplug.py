#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0-or-later
"""Registers of ACPI PCI hot-plug against QEMU's: hotplug.py OSPITE

Cards and disks come and are asked to go at random, in random slots; beside that the registers are read and written like a guest does, and
unlike it. After each step all of them, the GPE block and some functions' IDs are compared. The seed is printed."""
import os, random, socket, sys, tempfile, time
from pair import Pair

SEED, STEPS = 20261128, 60
UP, DOWN, EJECT, REMOVABLE, BUS, INDEX, GPE = 0xae00, 0xae04, 0xae08, 0xae0c, 0xae10, 0xae14, 0xafe0


class Monitor:
    """QEMU's, whose echo is left out."""
    def __init__(self, path):
        while True:
            try:
                self.s = socket.socket(socket.AF_UNIX)
                self.s.connect(path)
                break
            except OSError:
                time.sleep(0.02)
        self.s.settimeout(120)
        self.answer()

    def answer(self):
        got = b''
        while not got.endswith(b'(qemu) '):
            got += self.s.recv(65536)
        return got.decode()

    def command(self, line):
        self.s.sendall(line.encode() + b'\n')
        text = self.answer()
        if 'Error' in text and 'already in the process' not in text:
            raise SystemExit(f'qemu: {line}: {text}')


def compare(p, what):
    for port in (DOWN, EJECT, REMOVABLE, BUS, INDEX):
        p.inp(port, 4, what=what)
    p.inp(GPE, 2, what=what)
    p.inp(GPE + 2, 2, what=what)
    for slot in (3, 7, 20):
        p.out(0xcf8, 0x80000000 | slot << 11, 4)
        p.inp(0xcfc, 4, what=f'{what} slot {slot}')


def main():
    r, where = random.Random(SEED), tempfile.mkdtemp()
    p = Pair(sys.argv[1], ['-nodefaults', '-vga', 'std'], ['-monitor', f'unix:{where}/mon,server=on,wait=off'])
    theirs, slots, names = Monitor(f'{where}/mon'), {}, 0

    def both(line):
        got = p.ours.command(line)
        if 'Error' in got:
            raise SystemExit(f'ospite: {line}: {got}')
        theirs.command(line)

    compare(p, 'start')
    for step in range(STEPS):
        kind = r.choice(['add', 'add', 'del', 'eject', 'eject one', 'up', 'bus', 'gpe', 'other'])
        what = f'step {step} ({kind})'
        if kind == 'add' and len(slots) < 12:
            slot = r.choice([s for s in range(3, 32) if s not in slots])
            names += 1
            slots[slot] = f'c{names}'
            both(f'netdev_add user,id=n{names}')
            both(f'device_add {r.choice(["e1000", "rtl8139", "ne2k_pci", "virtio-net-pci"])},netdev=n{names},id=c{names},addr={slot:x}')
        elif kind == 'del' and slots:
            both(f'device_del {slots[r.choice(sorted(slots))]}')
        elif kind.startswith('eject'):
            mask = r.getrandbits(32) if kind == 'eject' else 1 << r.choice(sorted(slots) or [9])
            p.out(EJECT, mask, 4)
            if mask and p.ours.read(BUS, 4) == 0:
                slots.pop((mask & -mask).bit_length() - 1, None)
        elif kind == 'up':
            p.inp(UP, 4, what=what)
        elif kind == 'bus':
            p.out(BUS, r.choice([0, 0, 0, 1]), 4)
        elif kind == 'gpe':
            p.out(GPE, r.choice([0, 2, 0xffff]), 2)
            p.out(GPE + 2, r.choice([0, 2, 0xff]), 2)
        elif kind == 'other':
            p.out(r.choice([UP, DOWN, REMOVABLE]), r.getrandbits(32), 4)
        compare(p, what)
    print(f'seed {SEED}, {STEPS} steps')
    os.unlink(f'{where}/mon')
    os.rmdir(where)
    return p.end('pair-hotplug')


sys.exit(main())
