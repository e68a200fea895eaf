#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0-or-later
"""Network cards that are no virtio against QEMU's: nics.py OSPITE

Configuration space; registers after reset, what stays of random writes; EEPROM and PROM; for the RTL8139 frames of random sizes and
addresses in loopback, through the four descriptors into the ring buffer and through the C+ rings, with checksums and VLAN tags: what lies in
memory and registers afterwards; for the NE2000 its memory through the data port and transmission."""
import random
import struct
import sys
import zlib
from pair import Pair

SEED, SLOT, IO, MMIO = 20261128, 3, 0xc100, 0xfe000000
RING, DATA, TX, RX = 0x100000, 0x140000, 0x180000, 0x184000
MAC = bytes.fromhex('525400123456')


class Card:
    def __init__(self, program, name, *rest):
        self.name, self.r = name, random.Random(f'{SEED}{name}')
        args = ['-device', f'{name},addr={SLOT},mac=52:54:00:12:34:56,romfile=']
        self.p = Pair(program, ['-m', '64', *args], ['-m', '64', *args])

    def cfg(self, offset, value=None, size=4, mask=0xffffffff):
        self.p.out(0xcf8, 0x80000000 | SLOT << 11 | (offset & 0xfc), 4)
        if value is None:
            return self.p.inp(0xcfc + (offset & 3), size, mask, f'{self.name} config {offset:#x}')
        return self.p.out(0xcfc + (offset & 3), value, size)

    def place(self, io_bar, memory_bar):
        for offset in (*range(0, 0x30, 4), 0x3c):
            self.cfg(offset)
        for offset in (0x10, 0x14):
            for value in (0xffffffff, 0):
                self.cfg(offset, value)
                self.cfg(offset)
        self.cfg(io_bar, IO)
        if memory_bar:
            self.cfg(memory_bar, MMIO)
        self.cfg(4, 7, 2)

    def out(self, offset, value, size):
        self.p.out(IO + offset, value, size)

    def inp(self, offset, size, mask=0xffffffff, what=''):
        return self.p.inp(IO + offset, size, mask, f'{self.name} {what} register {offset:#x}')

    def end(self):
        return self.p.end('pair-nics ' + self.name)


# ---- RTL8139 ----

def eeprom_word(c, word):
    """By the wires of 9346CR: chip select 8, clock 4, data in 2, data out 1."""
    c.out(0x50, 0x80, 1)
    c.out(0x50, 0x88, 1)
    for bit in f'110{word:06b}':
        for clock in (0, 4):
            c.out(0x50, 0x88 | clock | (2 if bit == '1' else 0), 1)
            c.inp(0x50, 1, 0xff, 'EEPROM')
    value = 0
    for _ in range(16):
        for clock in (4, 0):
            c.out(0x50, 0x88 | clock, 1)
            value = value << clock // 4 | (c.inp(0x50, 1, 0xff, f'EEPROM word {word}') & 1 if clock else 0)
    c.out(0x50, 0x80, 1)
    return value


RTL_STATE = [(o, 4) for o in (0, 4, 8, 12, *range(0x10, 0x34, 4), 0x40, 0x44, 0x4c, 0x54, 0xe4, 0xe8)] + \
            [(0x37, 1), (0x3a, 2), (0x38, 2), (0x3c, 2), (0x3e, 2), (0x52, 1), (0x58, 1), (0x59, 1), (0x5a, 1), (0x5c, 2), (0x60, 2), (0x62, 2), (0x64, 2), (0x66, 2), (0x68, 2),
             (0x6a, 2), (0x74, 2), (0xd8, 1), (0xe0, 2)]


def rtl_state(c, what, skip=()):
    for offset, size in RTL_STATE:
        if offset not in skip:
            # Bit 4 of CR stays 1 after a reset in QEMU; the data sheet has it clear.
            c.inp(offset, size, 0xef if offset == 0x37 else 0xffffffff, what)


def rtl_reset(c):
    c.out(0x37, 0x10, 1)
    c.out(0x50, 0xc0, 1)
    for offset, size in ((0x52, 1), (0x59, 1), (0x5a, 1), (0x5c, 2), (0xd8, 1)):       # QEMU keeps some of them
        c.out(offset, 0, size)
    c.out(0, int.from_bytes(MAC[:4], 'little'), 4)
    c.out(4, int.from_bytes(MAC[4:], 'little'), 4)
    c.out(0x4c, 0, 4)
    for n in range(2):
        c.out(8 + n * 4, c.r.getrandbits(32), 4)
    for n in range(4):
        c.out(0x20 + 4 * n, DATA + 0x2000 * n, 4)


def frame(r, largest=1500):
    to = r.choice([MAC, MAC, b'\xff' * 6, r.randbytes(6), bytes([r.randrange(256) | 1]) + r.randbytes(5)])
    kind = r.choice([b'\x08\x00', b'\x86\xdd', b'\x81\x00', r.randbytes(2)])
    return to + r.randbytes(6) + kind + r.randbytes(r.choice([1, 20, 46, 60, r.randrange(largest - 14), largest - 14]))


def rtl_loop(c, receive):
    """Frames through the registers' descriptors into the ring buffer, which the driver empties now and then."""
    rtl_reset(c)
    c.p.memory_write(RING, bytes(0x14000))
    c.out(0x30, RING, 4)
    c.out(0x37, 0x0c, 1)
    c.out(0x44, receive, 4)
    c.out(0x40, 0x60000, 4)
    c.out(0x3c, 0xe1ff, 2)
    ring = 8192 << (receive >> 11 & 3)
    for n in range(24):
        data = frame(c.r)
        c.p.memory_write(DATA + 0x2000 * (n % 4), data)
        c.out(0x10 + 4 * (n % 4), len(data), 4)
        if n % 3 == 0:
            rtl_state(c, f'loopback, frame {n}')
        if c.r.random() < .4:
            c.out(0x3e, c.r.choice([0xffff, 1, 0x11]), 2)
            c.out(0x38, (c.p.ours.read(IO + 0x3a, 2) - 16) & 0xffff, 2)
    rtl_state(c, 'after loopback')
    c.p.memory(RING, ring + 2048, f'ring buffer, RCR {receive:#x}')


def ip_packet(r, size):
    payload = r.randbytes(size)
    protocol = r.choice([6, 17])
    head = struct.pack('>HHIIBBHHH', 1, 2, 3, 4, 0x50, 0x10, 100, 0, 0) if protocol == 6 else struct.pack('>HHHH', 1, 2, 8 + size, 0)
    total = 20 + len(head) + size
    return MAC + MAC + b'\x08\0' + struct.pack('>BBHHHBBHII', 0x45, 0, total, 7, 0, 64, protocol, 0, 0x0a00020f, 0x0a000202) + head + payload, protocol


def rtl_rings(c, command):
    rtl_reset(c)
    c.out(0x37, 0x0c, 1)
    c.out(0x40, 0x60000, 4)
    c.out(0x44, 0x0f, 4)
    c.out(0xe0, command, 2)
    c.out(0x3c, 0xe1ff, 2)
    for at, value in ((0x20, TX), (0x24, 0), (0xe4, RX), (0xe8, 0)):
        c.out(at, value, 4)
    c.p.memory_write(RING, bytes(0x14000))
    entries = 8
    for round in range(6):
        rx = b''.join(struct.pack('<IIII', (1 << 31 if c.r.random() < .9 else 0) | (n == entries - 1) << 30 | c.r.choice([1600, 1600, 1600, 100]), c.r.getrandbits(32) & 0xffff,
                                  RING + 0x800 * n, 0) for n in range(entries))
        c.p.memory_write(RX, rx)
        c.p.memory_write(RING, bytes(0x800 * entries))
        tx = b''
        for n in range(entries):
            command = 1 << 31 | (n == entries - 1) << 30 | 3 << 28
            if c.r.random() < .6:
                data, protocol = ip_packet(c.r, c.r.choice([0, 1, 2, 100, 1000, 1400]))
                command |= 1 << 18 | (1 << 16 if protocol == 6 else 1 << 17)
            else:
                data = frame(c.r)
            c.p.memory_write(DATA + 0x800 * n, data)
            # No tags: in loopback QEMU cuts off as many bytes as it inserts.
            tx += struct.pack('<IIII', command | len(data), 0, DATA + 0x800 * n, 0)
        c.p.memory_write(TX, tx)
        c.out(0xd9, 0x40, 1)
        c.p.memory(TX, len(tx), f'transmit ring, round {round}')
        received = c.p.memory(RX, len(rx), f'receive ring, round {round}')
        for n in range(entries):
            status, tag = struct.unpack_from('<II', received, 16 * n)
            size = status & 0x1fff
            a, b = (m.memory_read(RING + 0x800 * n, 0x800) for m in (c.p.ours, c.p.theirs))
            if size == 64 or tag >> 16 & 1:            # QEMU takes the CRC of what was there before padding, and with the tag
                b = b[:size - 4] + struct.pack('<I', zlib.crc32(b[:size - 4])) + b[size:]
            c.p.check(a == b, f'received, round {round}, descriptor {n}: {a[:80].hex()}, qemu {b[:80].hex()}')
        rtl_state(c, f'rings, round {round}')
        c.out(0x3e, 0xffff, 2)
        c.out(0x37, 0x0c, 1)                           # both rings from their beginning
    c.out(0x14, 0, 4)
    c.out(0x10, RING | 8, 4)
    for at, size in ((0, 24), (28, 36)):                # but for errors: QEMU counts what is not for the card
        c.p.memory(RING + at, size, 'counters')
    c.inp(0x10, 4, what='counters written')


def rtl8139(program):
    c = Card(program, 'rtl8139')
    c.place(0x10, 0x14)
    rtl_state(c, 'after reset')
    for word in range(64):
        eeprom_word(c, word)
    for _ in range(400):                               # what stays of what is written, unlocked and locked
        offset, size = c.r.choice([x for x in RTL_STATE if x[0] not in (0x37, 0x3a, 0x60, 0x38, 0x64, 0x6a, 0x54, *range(0x10, 0x20))])
        if c.r.random() < .2:
            c.out(0x50, c.r.choice([0, 0xc0]), 1)
        c.out(offset, c.r.getrandbits(8 * size), size)
        c.inp(offset, size, what='written')
    for receive in (0x0f | 0x700, 0x8f, 0x0f | 1 << 11, 0x0e | 0x80 | 2 << 11, 0x0f | 3 << 11):
        rtl_loop(c, receive)
    for command in (3, 0x43, 0x63):
        rtl_rings(c, command)
    return c.end()


# ---- NE2000 ----

def ne_memory(c, at, size, data=None, word=True):
    c.out(0, 0x22, 1)
    c.out(0x0e, 0x49 if word else 0x48, 1)
    for offset, value in ((8, at & 255), (9, at >> 8), (10, size & 255), (11, size >> 8)):
        c.out(offset, value, 1)
    c.out(0, 0x12 if data is not None else 0x0a, 1)
    width = 2 if word else 1
    for n in range(0, size, width):
        if data is None:
            c.inp(0x10, width, (1 << 8 * width) - 1, f'memory {at + n:#x}')
        else:
            c.out(0x10, int.from_bytes(data[n:n + width], 'little'), width)
    c.inp(7, 1, 0xff, 'after remote DMA')
    c.inp(8, 1, 0xff, 'after remote DMA')
    c.inp(9, 1, 0xff, 'after remote DMA')
    c.out(7, 0x40, 1)


def ne2k(program):
    c = Card(program, 'ne2k_pci')
    c.place(0x10, 0)
    c.inp(0x1f, 1, 0xff, 'reset')
    for page in range(4):
        c.out(0, 0x21 | page << 6, 1)
        for offset in range(16):
            c.inp(offset, 1, 0xff, f'page {page}')
    c.out(0, 0x21, 1)
    for offset, value in ((1, 0x4c), (2, 0x80), (3, 0x4c), (0x0c, 0x1c), (0x0f, 0x3f)):
        c.out(offset, value, 1)
    c.out(0, 0x22, 1)
    ne_memory(c, 0, 12)                                # behind it QEMU has rests of the address
    ne_memory(c, 0, 12, word=False)
    ne_memory(c, 28, 4)
    for _ in range(12):
        at = c.r.choice([0, 0x1000, 0x4000, 0x7f00, 0x7ffc, 0xbff8, 0x4100]) + c.r.randrange(8)
        size = c.r.choice([1, 2, 16, 60])
        word = c.r.random() < .7
        ne_memory(c, at & ~1 if word else at, size, c.r.randbytes(size + 1), word)
        ne_memory(c, at & ~1 if word else at, size, None, word)
    for _ in range(20):
        c.out(4, c.r.choice([0x40, 0x46, 0x00, 0xbf, 0xff]), 1)
        size = c.r.choice([0, 60, 1514, 0xffff])
        c.out(5, size & 255, 1)
        c.out(6, size >> 8, 1)
        c.out(0, 0x26, 1)
        for offset in (0, 4, 7):
            c.inp(offset, 1, 0xff, 'transmitted')
        c.out(7, c.r.getrandbits(8), 1)
        c.inp(7, 1, 0xff, 'acknowledged')
    for _ in range(200):
        page, offset = c.r.choice([(0, 3), (0, 7), (1, *range(1, 2)), (1, c.r.randrange(1, 16)), (2, 1), (2, 2)])
        c.out(0, 0x21 | page << 6, 1)
        if page < 2:
            c.out(offset, c.r.getrandbits(8), 1)
        else:
            c.out(0, 0x21, 1)
            c.out(offset, c.r.getrandbits(8), 1)
            c.out(0, 0x21 | page << 6, 1)
        c.inp(offset, 1, 0xff, f'written, page {page}')
    return c.end()


# ---- e1000 ----

def e1000(program):
    """Ours through IOADDR and IODATA, since the monitor writes no device memory; QEMU has none there."""
    c = Card(program, 'e1000')
    c.place(0x14, 0x10)
    kept = [0x100, 0x400, 0x2800, 0x2804, 0x2808, 0x2810, 0x2818, 0x3800, 0x3804, 0x3808, 0x3810, 0x3818, *range(0x5200, 0x5400, 0x40), *range(0x5400, 0x5440, 4), *range(0x5600, 0x5800, 0x40)]
    others = [0, 8, 0xc0, 0xc8, 0xd0, 0xe00, 0x1000]   # not those that QEMU forgets: flow control, checksums of receive

    def read(offset, what):
        c.p.ours.write(IO, offset, 4)
        a, b = c.p.ours.read(IO + 4, 4), int(c.p.theirs.ask(f'readl {MMIO + offset:#x}'), 16)
        c.p.check(a == b, f'e1000 {what} {offset:#x}: {a:#x}, qemu {b:#x}')

    def write(offset, value):
        c.p.ours.write(IO, offset, 4)
        c.p.ours.write(IO + 4, value, 4)
        c.p.theirs.ask(f'writel {MMIO + offset:#x} {value:#x}')

    for offset in kept + others:
        read(offset, 'after reset')
    for word in range(64):
        if 3 <= word < 13 or word >= 15:
            continue                                   # board, version and checksum are our own
        write(0x14, word << 8 | 1)
        read(0x14, f'EEPROM word {word}')
    for register in (0, 2, 3, 4, 5):                   # 1: negotiation is done at once here
        write(0x20, 1 << 21 | register << 16 | 2 << 26)
        read(0x20, f'PHY register {register}')
    write(0xc0, 0xffffffff)
    for _ in range(300):
        offset = c.r.choice(kept)
        write(offset, c.r.getrandbits(32) & {0x100: ~2, 0x400: ~2, 0x2800: ~15, 0x3800: ~15}.get(offset, ~0))       # off; QEMU keeps the low bits of addresses
        read(offset, 'written')
    return c.end()


if __name__ == '__main__':
    print('seed', SEED)
    names = sys.argv[2:] or ['rtl8139', 'ne2k', 'e1000']
    sys.exit(max([globals()[name](sys.argv[1]) for name in names]))
