#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0-or-later
"""IDE disks and CD-ROM against QEMU's: ide.py OSPITE

The same commands to both, by programmed I/O and by bus master: identification, reads and writes of every kind with random
places and counts, errors, resets, malformed PRD tables, the packet commands that operating systems use. Compared are
status, error, registers, data and, in the end, the images. What differs on purpose is masked where it is used."""
import os, random, struct, subprocess, sys, tempfile, time
from pair import Pair

SEED = 20261123
SECTORS = 40000                        # of the disks; the CD has 2000 of 2 KiB
BSY, DRDY, DF, DSC, DRQ, ERR = 0x80, 0x40, 0x20, 0x10, 8, 1
BASE = (0x1f0, 0x170)
CONTROL = (0x3f6, 0x376)
BUS_MASTER = 0xc000
BUFFER, TABLE = 0x100000, 0x80000


class Bench:
    def __init__(self, program):
        self.r = random.Random(SEED)
        self.dir = tempfile.mkdtemp()
        content = self.r.randbytes(SECTORS * 512)
        for name in ('ours', 'theirs'):
            open(f'{self.dir}/{name}.img', 'wb').write(content)
        open(self.dir + '/cd.iso', 'wb').write(self.r.randbytes(2000 * 2048))
        disk = f'file={self.dir}/%s.img,format=raw,if=%s,id=disk'
        cd = ['-drive', f'file={self.dir}/cd.iso,format=raw,if=ide,index=2,media=cdrom,readonly=on', '-m', '64']
        device = ['-device', 'ide-hd,drive=disk,bus=ide.0,unit=0,serial=OSPITE-0001']
        self.p = Pair(program, ['-drive', disk % ('ours', 'none'), *device, *cd], ['-drive', disk % ('theirs', 'none'), *device, *cd])
        for port, value in ((0x20, BUS_MASTER | 1), (0x40, 0x80008000), (4, 5)):
            self.p.out(0xcf8, 0x80000900 | port, 4)
            self.p.out(0xcfc, value, 4)

    # ---- registers ----

    def select(self, channel, slave=0, lba=0):
        self.channel, self.base = channel, BASE[channel]
        self.p.out(self.base + 6, 0xe0 | slave << 4 | (lba >> 24 & 15))

    def settle(self, what, machine=None):
        """Until neither is busy. Requests complete while we ask."""
        for one in (self.p.ours, self.p.theirs):
            end = time.time() + 60
            while one.read(CONTROL[self.channel], 1) & BSY and time.time() < end:
                time.sleep(0.0005)
        return self.p.inp(self.base + 7, 1, DF | DRDY | DRQ | ERR | BSY, what + ' status')

    def registers(self, what, address=True):
        """address: the sector address too. After transfers ATA-6 says it means nothing; older drives told the last sector (as
        ours do), QEMU the next."""
        for n in (1, 2, *((3, 4, 5) if address else ()), 6):
            self.p.inp(self.base + n, 1, what=f'{what} register {n}')

    def command(self, value, what, lba=0, count=0, feature=0, slave=0, ext=False):
        self.select(self.channel, slave, 0 if ext else lba)
        if ext:
            for port, v in ((1, 0), (2, count >> 8), (3, lba >> 24), (4, lba >> 32), (5, lba >> 40)):
                self.p.out(self.base + port, v & 255)
        for port, v in ((1, feature), (2, count), (3, lba), (4, lba >> 8), (5, lba >> 16), (7, value)):
            self.p.out(self.base + port, v & 255)
        return self.settle(what)

    def data_in(self, words, what, mask=None):
        size = self.r.choice((2, 4)) if mask is None else 2
        for n in range(words * 2 // size):
            self.p.inp(self.base, size, mask.get(n, 0xffff) if mask else 0xffffffff, f'{what} word {n}')

    def data_out(self, words):
        for n in range(words):
            self.p.out(self.base, self.r.getrandbits(16), 2)

    # ---- tests ----

    def signature(self):
        for channel in (0, 1):
            self.channel = channel
            self.select(channel)
            self.p.inp(self.base + 7, 1, DF | DRQ | ERR | BSY, 'power-on status')  # a CD-ROM drive has no DRDY (ATA-6, 9.1)
            for n in (2, 3, 4, 5, 6):
                self.p.inp(self.base + n, 1, what='power-on register')
        self.select(0)

    def identify(self):
        self.select(0)
        self.command(0xec, 'identify')
        # 10-19 serial (given), 23-26 firmware, 27-46 model: names; 47 multiple; 76-79, 84, 87, 106...: capabilities are told below
        names = {n: 0 for n in (*range(23, 47),)}
        self.data_in(256, 'identify', {**names, **IDENTIFY_MASK})
        self.settle('after identify')
        self.command(0xa1, 'packet identify of a disk')
        self.registers('aborted')

    def pio(self):
        r = self.r
        for n in range(40):
            count = r.choice((1, 1, 2, 3, 8))
            lba = r.randrange(SECTORS - 8)
            ext = r.random() < .4
            if r.random() < .5:
                self.command(0x24 if ext else 0x20, 'read', lba, count, ext=ext)
                for i in range(count):
                    self.data_in(256, f'read {lba}')
                    self.settle('sector read')
            else:
                self.command(0x34 if ext else 0x30, 'write', lba, count, ext=ext)
                for i in range(count):
                    self.data_out(256)
                    self.settle('sector written')
            self.registers('after', False)

    def multiple(self):
        for size in (0, 1, 2, 16, 3, 32, 16):
            self.command(0xc6, f'set multiple {size}', count=size)
            self.registers('set multiple')
        for n in range(6):
            lba, count = self.r.randrange(SECTORS - 64), self.r.choice((1, 16, 17, 33))
            write = self.r.random() < .5
            self.command(0xc5 if write else 0xc4, 'multiple', lba, count)
            while count:
                now = min(16, count)
                self.data_out(256 * now) if write else self.data_in(256 * now, f'multiple {lba}')
                self.settle('block')
                count -= now
            self.registers('multiple', False)

    def prd(self, sizes, end=True, buffer=BUFFER):
        table, at = b'', buffer
        for i, size in enumerate(sizes):
            table += struct.pack('<IHH', at, size & 0xffff, 0x8000 if end and i == len(sizes) - 1 else 0)
            at += size or 65536
        self.p.memory_write(TABLE, table)

    def dma(self, command, what, lba, count, ext, write, feature=0):
        bm = BUS_MASTER + 8 * self.channel
        self.p.out(bm, 0)
        self.p.out(bm + 2, 6)
        self.p.out(bm + 4, TABLE, 4)
        self.p.out(bm, 0 if write else 8)
        self.command_dma(command, lba, count, ext, feature)
        self.p.out(bm, 1 if write else 9)
        for one in (self.p.ours, self.p.theirs):
            stop = time.time() + 60
            while time.time() < stop:
                if one.read(bm + 2, 1) & 1 == 0 or one.read(CONTROL[self.channel], 1) & (BSY | DRQ) == 0:
                    break
                time.sleep(0.0005)
        self.p.inp(bm + 2, 1, what=what + ' bus master status')
        self.p.out(bm, 0)
        self.p.inp(bm + 2, 1, what=what + ' bus master stopped')
        self.settle(what)
        self.registers(what, False)

    def command_dma(self, value, lba, count, ext, feature):
        self.select(self.channel, 0, 0 if ext else lba)
        if ext:
            for port, v in ((1, 0), (2, count >> 8), (3, lba >> 24), (4, lba >> 32), (5, lba >> 40)):
                self.p.out(self.base + port, v & 255)
        for port, v in ((1, feature), (2, count), (3, lba), (4, lba >> 8), (5, lba >> 16), (7, value)):
            self.p.out(self.base + port, v & 255)

    def bus_master(self):
        r = self.r
        for n in range(24):
            count = r.choice((1, 2, 7, 64, 128))
            lba, ext, write = r.randrange(SECTORS - 128), r.random() < .5, r.random() < .5
            self.p.memory_write(BUFFER, r.randbytes(count * 512))
            sizes, left = [], count * 512
            while left:
                size = min(left, r.choice((2, 512, 1000, 4096, 65536)) if len(sizes) < 40 else left)
                sizes.append(size & 0xffff)
                left -= size
            self.prd(sizes)
            command = (0x35 if write else 0x25) if ext else (0xca if write else 0xc8)
            self.dma(command, f'dma {n}', lba, count, ext, write)
            if not write:
                self.p.memory(BUFFER, count * 512, f'dma {n}')

    def bad_prd(self):
        """Too long, too short, and outside of memory: data moves as far as it can, nobody crashes. What the status is afterwards
        is the chip's business and differs; both must accept a reset and go on."""
        self.prd([512, 512, 512])
        self.dma(0xc8, 'prd too long', 5, 2, False, False)
        # Too short: an interrupt and the error bit here; QEMU keeps silent, and drivers wait until they have enough.
        self.prd([256])
        bm = BUS_MASTER
        self.p.ours.write(bm + 4, TABLE, 4)
        self.p.ours.write(bm, 8, 1)
        for port, v in ((6, 0xe0), (2, 2), (3, 5), (4, 0), (5, 0), (7, 0xc8)):
            self.p.ours.write(self.base + port, v, 1)
        self.p.ours.write(bm, 9, 1)
        end = time.time() + 60
        while self.p.ours.read(bm + 2, 1) & 1 and time.time() < end:
            time.sleep(0.001)
        self.p.check(self.p.ours.read(bm + 2, 1) & 7 == 6, 'prd too short: no error and interrupt')
        self.p.ours.write(bm, 0, 1)
        self.reset()
        for at in (0x3fffffc, 0xfffffff0, 0x7fffff00):
            bm = BUS_MASTER
            self.p.out(bm + 4, at, 4)
            self.p.out(bm, 8)
            self.command_dma(0xc8, 5, 2, False, 0)
            self.p.out(bm, 9)
            time.sleep(0.02)
            self.p.out(bm, 0)
            self.reset()

    def reset(self):
        self.p.out(CONTROL[self.channel], 4)
        self.p.out(CONTROL[self.channel], 0)
        time.sleep(0.01)
        self.select(self.channel)
        self.settle('soft reset')

    def errors(self):
        self.select(0)
        for command, lba, count, ext, what in ((0x20, SECTORS + 5, 1, False, 'outside'),
                                               (0x24, SECTORS, 1, True, 'outside, 48 bits'), (0x24, 1 << 40, 1, True, 'far outside')):
            self.command(command, what, lba, count, ext=ext)
            # IDNF is told besides ABRT here
            self.p.inp(self.base + 1, 1, 0xef, what + ' error')
        for command in (0x00, 0x01, 0x80, 0x9a, 0xff, 0xa0, 0x08):
            self.command(command, f'command {command:#x}')
            self.p.inp(self.base + 1, 1, what=f'command {command:#x} error')
        for command in (0xe7, 0xea, 0xe5, 0x91, 0xe0, 0x40, 0x70, 0x10):
            self.command(command, f'command {command:#x}', lba=3, count=1)
            self.p.inp(self.base + 1, 1, what=f'command {command:#x} error')
        for feature, count in ((2, 0), (0x82, 0), (3, 0x22), (3, 0x45), (3, 0x0c), (3, 0x7f), (0xaa, 0), (0x55, 0), (0x99, 0)):
            self.command(0xef, f'set features {feature:#x} {count:#x}', count=count, feature=feature)
            self.p.inp(self.base + 1, 1, what='set features error')
        self.select(0, 1)
        self.p.inp(self.base + 7, 1, what='no slave')
        self.select(0)

    def reset_in_the_middle(self):
        self.command(0x20, 'read to be reset', 7, 4)
        self.data_in(100, 'part')
        self.reset()
        self.registers('after reset')
        self.command(0x30, 'write to be reset', 7, 4)
        self.data_out(100)
        self.reset()
        self.registers('after reset')
        self.command(0x20, 'read after reset', 7, 1)
        self.data_in(256, 'sector 7 is as it was')
        self.settle('read after reset')

    # ---- CD-ROM ----

    def packet(self, bytes_, limit=0xfffe, mask=None, what=''):
        what = what or f'packet {bytes_[0]:#x}'
        self.channel = 1
        self.select(1)
        for port, v in ((1, 0), (4, limit & 255), (5, limit >> 8), (7, 0xa0)):
            self.p.out(self.base + port, v)
        self.settle(what)
        self.p.inp(self.base + 2, 1, 7, what + ' reason')
        bytes_ = bytes_.ljust(12, b'\0')
        for i in range(0, 12, 2):
            self.p.out(self.base, bytes_[i] | bytes_[i + 1] << 8, 2)
        at = 0
        for _ in range(200):
            status = self.settle(what)
            self.p.inp(self.base + 2, 1, 7, what + ' reason')
            if not status & DRQ:
                break
            low, high = (self.p.inp(self.base + n, 1, what=what + ' byte count') for n in (4, 5))
            for i in range((low | high << 8) // 2):
                self.p.inp(self.base, 2, mask.get(at, 0xffff) if mask else 0xffff, f'{what} word {at}')
                at += 1
        self.p.inp(self.base + 1, 1, 0xf0, what + ' error')            # the sense key; ABRT is set here too

    def cd(self):
        self.channel = 1
        self.select(1)
        self.command(0xec, 'identify of a CD-ROM')
        for n in (1, 2, 3, 4, 5):
            self.p.inp(self.base + n, 1, what='signature')
        self.command(0xa1, 'packet identify')
        self.data_in(256, 'packet identify', {n: 0 for n in (*range(10, 20), *range(23, 47), *PACKET_IDENTIFY_MASK)})
        self.settle('packet identify')
        b = lambda *x: bytes(x)
        self.packet(b(0))
        self.packet(b(3, 0, 0, 0, 18))
        self.packet(b(0))
        self.packet(b(0x12, 0, 0, 0, 36), mask={n: 0 for n in range(4, 18)})
        self.packet(b(0x25))
        for msf in (0, 2):
            for form in (0, 1):
                # of a session QEMU does not tell where it starts
                self.packet(b(0x43, msf, form, 0, 0, 0, 0, 0, 20, form << 6), what=f'toc {msf} {form}', mask=dict.fromkeys(range(2, 6), 0) if form else None)
        for _ in range(8):
            lba, count = self.r.randrange(1990), self.r.choice((1, 2, 5))
            self.packet(struct.pack('>BxIxHx', 0x28, lba, count), limit=self.r.choice((0xfffe, 2048, 4096, 512, 1000)), what=f'read(10) {lba} {count}')
        self.packet(struct.pack('>BxIIxx', 0xa8, 100, 3), what='read(12)')
        self.packet(struct.pack('>BxIxHx', 0x28, 2000, 1), what='read outside')
        self.packet(b(3, 0, 0, 0, 18), what='sense of read outside')
        self.packet(struct.pack('>BxIxHx', 0x28, 5, 0), what='read nothing')
        self.packet(b(0x5a, 0, 0x2a, 0, 0, 0, 0, 0, 40), mask=dict.fromkeys((1, *range(4, 20)), 0), what='mode sense 2a')
        self.packet(b(0x5a, 0, 0x01, 0, 0, 0, 0, 0, 40), mask={1: 0}, what='mode sense 1')
        self.packet(b(0x5a, 0, 0x33, 0, 0, 0, 0, 0, 40), what='mode sense unknown')
        self.packet(b(3, 0, 0, 0, 18), what='sense of mode sense')
        self.packet(b(0x4a, 1, 0, 0, 0x10, 0, 0, 0, 8), mask={0: 0}, what='event status')     # QEMU's length lacks 2
        self.packet(b(0x4a, 0, 0, 0, 0x10, 0, 0, 0, 8), what='event status, not polled')
        self.packet(b(0x51, 0, 0, 0, 0, 0, 0, 0, 16), what='disc information')
        self.packet(b(0xbd, 0, 0, 0, 0, 0, 0, 0, 0, 8), what='mechanism status')
        for prevent in (1, 0):
            self.packet(b(0x1e, 0, 0, 0, prevent), what=f'prevent {prevent}')
        self.packet(b(0x1b, 0, 0, 0, 1), what='start')
        self.packet(b(0x2b), what='seek')
        for unknown in (0xff, 0x02, 0x99):
            self.packet(b(unknown))
            self.packet(b(3, 0, 0, 0, 18), what=f'sense of {unknown:#x}')

    def images(self):
        self.p.ours.command('quit')
        self.p.ours.process.wait(20)
        self.p.theirs.end()
        a, b = (open(f'{self.dir}/{n}.img', 'rb').read() for n in ('ours', 'theirs'))
        first = next((i for i in range(0, len(a), 512) if a[i:i + 512] != b[i:i + 512]), None)
        self.p.check(a == b, f'images, from sector {first and first // 512}')


# Words of IDENTIFY that are obsolete, or tell what only one of the two can do.
IDENTIFY_MASK = {n: 0 for n in (4, 5, 20, 21, 22, 50, 62, 69, 84, 87, 106, 119, 120, 217, 255)}
PACKET_IDENTIFY_MASK = (20, 21, 22, 49, 62, 68, 82, 83, 84, 85, 87, 88)


def main():
    b = Bench(sys.argv[1])
    for test in ('signature', 'identify', 'pio', 'multiple', 'bus_master', 'errors', 'reset_in_the_middle', 'bad_prd', 'cd', 'images'):
        before = b.p.failures
        getattr(b, test)()
        if b.p.failures != before:
            print(f'{test}: {b.p.failures - before} differ')
    return b.p.end('ide')


sys.exit(main())
