#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0-or-later
"""Virtio functions against QEMU's: virtio.py OSPITE

For each device: configuration space with capabilities and what can be written there; BARs, placed as SeaBIOS would; the legacy
registers and the modern regions as they read after reset, features, device configuration, every queue's registers and what stays of
random writes to them; negotiation by status; the registers once more through the PCI configuration access capability; MSI-X table."""
import os, random, re, sys, tempfile
from pair import Pair

SEED = 20261124
IO, MSIX, MODERN = 0xc100, 0xfe000000, 0xfe100000
SLOT = 3


def config_at(offset):
    return 0x80000000 | SLOT << 11 | (offset & 0xfc)


class Function:
    def __init__(self, p, name, config_bytes):
        self.p, self.name, self.config_bytes = p, name, config_bytes

    def cfg_read(self, offset, size, mask=0xffffffff, what='config'):
        self.p.out(0xcf8, config_at(offset), 4)
        return self.p.inp(0xcfc + (offset & 3), size, mask, f'{self.name} {what} {offset:#x}')

    def cfg_write(self, offset, value, size):
        self.p.out(0xcf8, config_at(offset), 4)
        self.p.out(0xcfc + (offset & 3), value, size)

    # Device memory: our monitor has no command that writes it, so both sides are reached through the access capability; on QEMU's
    # side the same registers were also read directly once to see that the capability is no different thing.
    def window(self, offset, size):
        self.cfg_write(0x84 + 4, 4, 1)
        self.cfg_write(0x84 + 8, offset, 4)
        self.cfg_write(0x84 + 12, size, 4)

    def read(self, offset, size, what, mask=0xffffffff):
        self.window(offset, size)
        return self.cfg_read(0x84 + 16, size, mask, f'{what} at {offset:#x}')

    def write(self, offset, value, size):
        self.window(offset, size)
        self.cfg_write(0x84 + 16, value, size)


def capabilities(f, r):
    for offset in [*range(0, 64, 4), *range(0x40, 0xa4, 4)]:
        f.cfg_read(offset, 4, {4: 0xffffffbf}.get(offset, 0xffffffff), 'reset')
    for offset in [*range(0x10, 0x28, 4), *range(0x40, 0x98 if "balloon" in f.name else 0xa4, 4)]:
        if 0x94 <= offset < 0x98:                      # reads registers; behind the last capability QEMU keeps what is written
            continue
        before = f.cfg_read(offset, 4, what='before')
        for value in (0xffffffff, 0, r.getrandbits(32), before):
            f.cfg_write(offset, value, 4)
            f.cfg_read(offset, 4, what=f'after {value:#x}')


def place(f):
    for offset, where in ((0x10, IO), (0x14, MSIX), (0x20, MODERN), (0x24, 0)):
        f.cfg_write(offset, where, 4)
    f.cfg_write(4, 7, 2)
    f.cfg_read(4, 2, 0xffbf, 'command')


def legacy(f, r, queues):
    p = f.p
    for offset, size in ((0, 4), (4, 4), (8, 4), (12, 2), (14, 2), (16, 2), (18, 1), (19, 1)):
        # QEMU offers bit 30, which only broken drivers take.
        p.inp(IO + offset, size, 0xbfffffff, f'{f.name} legacy {offset}')
    for n in range(20, 20 + f.config_bytes):
        p.inp(IO + n, 1, what=f'{f.name} legacy configuration {n - 20}')
    for size in (2, 4):
        for n in range(0, f.config_bytes - size + 1, size):
            p.inp(IO + 20 + n, size, what=f'{f.name} legacy configuration {n}/{size}')
    for queue in [*range(queues + 2), 1000]:
        p.out(IO + 14, queue, 2)
        for offset, size in ((14, 2), (12, 2), (8, 4)):
            p.inp(IO + offset, size, what=f'{f.name} legacy queue {queue} register {offset}')
    p.out(IO + 18, 1, 1)
    p.out(IO + 18, 3, 1)
    p.inp(IO + 18, 1, what='legacy status')
    for _ in range(20):
        p.out(IO + 4, r.getrandbits(32) & ~(1 << 30), 4)
        p.inp(IO + 4, 4, what=f'{f.name} legacy features taken')
    p.out(IO + 4, 0, 4)
    for queue in range(min(queues, 3)):
        p.out(IO + 14, queue, 2)
        p.out(IO + 8, 0x100 + 16 * queue, 4)
        p.inp(IO + 8, 4, what=f'{f.name} legacy queue {queue} is where')
    p.out(IO + 18, 7, 1)
    p.inp(IO + 18, 1, what='legacy status')
    p.out(IO + 18, 0, 1)
    for offset, size in ((4, 4), (8, 4), (18, 1), (19, 1)):
        p.inp(IO + offset, size, what=f'{f.name} legacy after reset {offset}')


COMMON = ((0, 4), (4, 4), (8, 4), (12, 4), (16, 2), (18, 2), (20, 1), (21, 1), (22, 2), (24, 2), (26, 2), (28, 2), (30, 2), (32, 4), (36, 4),
          (40, 4), (44, 4), (48, 4), (52, 4))


def common(f, what, but=()):
    for offset, size in COMMON:
        if offset not in but:
            f.read(offset, size, what)


def modern(f, r, queues):
    common(f, 'common')
    for select in (0, 1, 2, 0xffffffff):
        f.write(0, select, 4)
        f.read(4, 4, f'features {select}')
        f.write(8, select, 4)
        f.read(12, 4, f'driver features {select}')
    for n in range(0, f.config_bytes, 4):
        f.read(0x2000 + n, 4, 'device configuration')
        f.read(0x2000 + n + r.randrange(4), 1, 'device configuration')
    f.read(0x1000, 1, 'ISR')
    for queue in [*range(queues + 1), 1000]:
        f.write(22, queue, 2)
        common(f, f'queue {queue}')


def negotiate(f, r, queues):
    f.write(0, 0, 4)
    f.write(20, 0, 1)
    f.write(20, 1, 1)
    f.write(20, 3, 1)
    f.read(20, 1, 'status')
    f.write(8, 1, 4)
    f.write(12, 0, 4)
    f.write(20, 11, 1)
    f.read(20, 1, 'FEATURES_OK without VERSION_1', 0)  # QEMU lets it pass (the specification leaves it open)
    f.write(20, 0, 1)
    f.write(20, 3, 1)
    f.write(8, 1, 4)
    f.write(12, 1, 4)
    f.write(20, 11, 1)
    f.read(20, 1, 'FEATURES_OK')
    f.read(12, 4, 'driver features')
    for queue in range(queues):
        f.write(22, queue, 2)
        f.write(24, 8, 2)
        f.write(26, queue % 2, 2)
        for n, where in ((32, 0x10000), (40, 0x10400), (48, 0x10800)):
            f.write(n, where + 0x1000 * queue, 4)
            f.write(n + 4, 0, 4)
        f.write(28, 1, 2)
        common(f, f'enabled queue {queue}')
    f.write(20, 15, 1)
    f.read(20, 1, 'DRIVER_OK')
    f.write(22, 0, 2)
    f.write(26, 77, 2)
    f.read(26, 2, 'a vector that is not there')
    f.write(16, 77, 2)
    f.read(16, 2, 'a vector that is not there')
    f.write(20, 0, 1)
    common(f, 'after reset', (12,))                   # QEMU still shows the features of before
    f.read(0x1000, 1, 'ISR after reset')


def pieces(f):
    """Input devices: each piece that select and subsel name, with the bytes behind it, up to the end of the space."""
    for select, subsels in ((0, 2), (1, 3), (2, 2), (3, 2), (4, 1), (0x10, 2), (0x11, 0x20), (0x12, 4), (0x13, 1), (0xff, 2)):
        for subsel in [*range(subsels), 0xff]:
            f.write(0x2000, select, 1)
            f.write(0x2001, subsel, 1)
            for n in range(0, f.config_bytes, 4):      # keys F13 to F24 are not in QEMU's
                ours = {0x1c: 0x7fffff, 0x20: 0xfffffff8}.get(n, 0xffffffff) if select == 0x11 and 'keyboard' in f.name else 0xffffffff
                f.read(0x2000 + n, 4, f'piece {select:#x}/{subsel:#x}', ours)
    for n in (2, 3, 8, 9):                             # cannot be written
        f.write(0x2000 + n, 0x55, 1)
        f.read(0x2000 + (n & ~3), 4, 'piece after a write')
    f.write(0x2000, 0, 2)


def main():
    r = random.Random(SEED)
    disks = [tempfile.NamedTemporaryFile() for _ in range(2)]
    for disk in disks:
        disk.truncate(40 << 20)
    drive = [['-drive', f'if=none,id=d,format=raw,file={disk.name}'] for disk in disks]
    devices = (
        ('virtio-blk-pci', drive, 'virtio-blk-pci,drive=d,serial=QM0815', 60, 1),
        ('virtio-blk-pci with 4 queues', drive, 'virtio-blk-pci,drive=d,num-queues=4,queue-size=128,discard=off,config-wce=off', 60, 4),
        ('virtio-blk-pci with 4096-byte blocks', drive, 'virtio-blk-pci,drive=d,logical_block_size=4096,physical_block_size=8192,'
         'min_io_size=8192,opt_io_size=65536,event_idx=off,indirect_desc=off,write-zeroes=off', 60, 1),
        ('virtio-rng-pci', [[], []], 'virtio-rng-pci', 0, 1),
        ('virtio-serial-pci', [[], []], 'virtio-serial-pci', 12, 64),
        ('virtio-serial-pci with 3 ports', [[], []], 'virtio-serial-pci,max_ports=3,vectors=5', 12, 8),
        ('virtio-9p-pci', [['-fsdev', 'local,id=f,path=/tmp,security_model=none']] * 2, 'virtio-9p-pci,fsdev=f,mount_tag=shared', 8, 1),
        ('virtio-scsi-pci', [[], []], 'virtio-scsi-pci,num_queues=2,hotplug=off', 36, 4),
        ('virtio-balloon-pci', [[], []], 'virtio-balloon-pci', 16, 3),
        ('virtio-balloon-pci with reporting', [[], []], 'virtio-balloon-pci,free-page-reporting=on,deflate-on-oom=on', 16, 4),
        # Without a network QEMU offers no offloads; gso is its bit 6, which 1.0 took away.
        ('virtio-net-pci', [[], []], 'virtio-net-pci,csum=off,guest_csum=off,ctrl_guest_offloads=off,gso=off', 8, 3),
        ('virtio-keyboard-pci', [[], []], 'virtio-keyboard-pci', 37, 2),
        ('virtio-keyboard-pci with a serial number', [[], []], f'virtio-keyboard-pci,serial={"0815" * 25}', 108, 2),
        ('virtio-mouse-pci', [[], []], 'virtio-mouse-pci', 51, 2),
        ('virtio-tablet-pci', [[], []], 'virtio-tablet-pci', 51, 2),
        ('packed virtio-blk-pci', drive, 'virtio-blk-pci,drive=d,packed=on,queue_reset=off', 60, 1),
    )
    failed = 0
    for name, more, device, config_bytes, queues in devices:
        p = Pair(sys.argv[1], ['-nodefaults', '-vga', 'std', *more[0], '-device', device], [*more[1], '-device', device])
        f = Function(p, name, config_bytes)
        capabilities(f, r)
        place(f)
        if not re.match('virtio-(keyboard|mouse|tablet)', name):       # which have no legacy interface
            legacy(f, r, queues)
        modern(f, r, queues)
        if re.match('virtio-(keyboard|mouse|tablet)', name):
            pieces(f)
        negotiate(f, r, queues)
        failed |= p.end(name)
    return failed


sys.exit(main())
