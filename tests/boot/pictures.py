#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0-or-later
"""Programs of old on the screen, ours and QEMU's: pictures.py --vmm CMD --bin DIR grub|grub-virtio|dos

The same VNC client presses the same keys and moves the same mouse in both machines; what it sees must be the same in every
pixel. grub: GRUB's graphical menu with a picture behind it, from a CD; grub-virtio: the same on virtio-vga, by SeaBIOS and by OVMF; dos: programs for DOS (dos/) in text, mode 12h, mode 13h with the
BIOS' mouse, and the banks of VBE mode 101h. Pictures are left in --bin. Skipped, out loud, without QEMU."""
import os
import shutil
import subprocess
import sys
import tempfile
import time

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path.insert(0, HERE)
import frame                                   # noqa: E402
from boot import Machine                       # noqa: E402
from cpio import Skip                          # noqa: E402
from viewer import Screen, png                 # noqa: E402

DOWN, ENTER, OVMF = 0xff54, 0xff0d, '/usr/share/ovmf/OVMF.fd'
PROGRAMS, PROGRAM_BYTES = ['hello', 'planes', 'paint', 'svga'], 8192
GRUB_CFG = '''set timeout=-1
insmod all_video
insmod png
set gfxmode=1024x768x32
insmod gfxterm
terminal_output gfxterm
loadfont unicode
background_image /back.png
set color_normal=white/black
set menu_color_normal=light-cyan/black
set menu_color_highlight=black/light-gray
menuentry 'First' { true }
menuentry 'Second' { true }
menuentry 'Power off' { halt }
'''


class Both:
    """Ours and QEMU's machine, each with a viewer."""
    def __init__(self, a, name, where, arguments, card='std', memory=64):
        if not shutil.which(a.second.split()[0]):
            raise Skip(f'{a.second.split()[0]} is not installed, there is nothing to compare with')
        self.screens, self.machines = [], []
        for kind, vmm in (('ours', a.vmm), ('qemu', a.second)):
            vnc = os.path.join(where, f'{name}-{kind}.vnc')
            m = Machine(vmm, [*arguments, '-m', str(memory), '-vga', card, '-nic', 'none', '-no-reboot', '-vnc', f'unix:{vnc}'], 800 * a.scale, serial=False, log=a.log)
            self.machines.append(m)
            self.screens.append(Screen(a, m, vnc, f'{name}-{kind}'))

    def __enter__(self):
        return self

    def __exit__(self, *why):
        for m in self.machines:
            m.__exit__(*why)

    def key(self, keysym):
        for s in self.screens:
            s.key(keysym)

    def pointer(self, buttons, x, y):
        for s in self.screens:
            s.c.pointer(buttons, x, y)

    def same(self, what, size, least, seconds=150):
        """Waits until both show this size and more than so many colours, and the same; the picture."""
        ours, qemu = self.screens
        end = time.time() + seconds
        while True:
            for s in self.screens:
                s.look(0.3)
            shown = bytes(ours.c.pixels)
            good = (ours.c.width, ours.c.height) == size and len({shown[i:i + 3] for i in range(0, len(shown), 3)}) >= least
            if good and shown == bytes(qemu.c.pixels):
                ours.keep(what)
                return shown
            if time.time() > min(end, ours.m.deadline):
                ours.keep(what)
                qemu.keep(what)
                differ = sum(x != y for x, y in zip(shown, qemu.c.pixels))
                ours.m.fail(f'{what}: {ours.c.width}x{ours.c.height}, QEMU {qemu.c.width}x{qemu.c.height}; {differ} bytes of the picture differ')


def grub_disc(where, platforms):
    for tool in ('grub-mkrescue', 'xorriso', 'mformat'):
        if not shutil.which(tool):
            raise Skip(f'{tool} is missing; tools/setup test installs it')
    tree, iso = os.path.join(where, 'tree'), os.path.join(where, 'grub.iso')
    os.makedirs(f'{tree}/boot/grub')
    with open(f'{tree}/boot/grub/grub.cfg', 'w') as f:
        f.write(GRUB_CFG)
    png(f'{tree}/back.png', 1024, 768, b''.join(bytes((x >> 2, y >> 2, (x ^ y) & 0xff)) for y in range(768) for x in range(1024)))
    subprocess.run(['grub-mkrescue', *platforms, '-o', iso, tree], check=True, capture_output=True)
    return iso


def menu_walk(both, name):
    """The bar moves down by a key each, and the last entry powers off."""
    last = None
    for what in ('first', 'second', 'third'):
        shown = both.same(f'{name}-{what}', (1024, 768), 1000, 450)
        while shown == last:
            shown = both.same(f'{name}-{what}', (1024, 768), 1000)
        last = shown
        if what != 'third':
            both.key(DOWN)
    both.key(ENTER)
    if [m.end() for m in both.machines] != [0, 0]:
        both.machines[0].fail('it does not power off')


def grub_test(a):
    with tempfile.TemporaryDirectory() as where:
        with Both(a, 'grub', where, ['-cdrom', grub_disc(where, ['-d', '/usr/lib/grub/i386-pc']), '-boot', 'd']) as both:
            menu_walk(both, 'menu')
    return 'three pictures of the menu as QEMU has them; the entry powers off'


def grub_virtio_test(a):
    """What VGA shows of the card, and what OVMF's own driver of virtio-gpu does; its menu comes before GRUB's."""
    if not os.path.exists(OVMF):
        raise Skip('ovmf is missing; tools/setup test installs it')
    with tempfile.TemporaryDirectory() as where:
        iso = grub_disc(where, [])
        for name, more in (('bios', []), ('uefi', ['-bios', OVMF])):
            with Both(a, f'grub-virtio-{name}', where, ['-cdrom', iso, '-boot', 'd', *more], card='virtio', memory=256) as both:
                menu_walk(both, 'menu')
    return 'three pictures of the menu by SeaBIOS and three by OVMF, as QEMU has them'


def dos_disk(a, path):
    data = open(os.path.join(a.programs, 'dos.com'), 'rb').read()
    for name in PROGRAMS:
        data += open(os.path.join(a.programs, f'{name}.com'), 'rb').read().ljust(PROGRAM_BYTES, b'\0')
    with open(path, 'wb') as f:
        f.write(data.ljust(1 << 20, b'\0'))


def dos_test(a):
    with tempfile.TemporaryDirectory() as where:
        disk = os.path.join(where, 'dos.raw')
        dos_disk(a, disk)
        with Both(a, 'dos', where, ['-drive', f'file={disk},format=raw,snapshot=on']) as both:
            both.same('text', (720, 400), 16)
            both.key(ord('a'))
            both.same('planes', (640, 480), 16)
            both.key(ord('b'))
            last = both.same('paint', (640, 400), 200)
            x, y = 100, 100
            both.pointer(0, x, y)
            for buttons, dx, dy in ((1, 20, 10), (4, 60, -40), (2, -90, 30), (1, 5, 60), (5, 50, -100)):
                x, y = x + dx, y + dy
                both.pointer(0, x, y)
                both.pointer(buttons, x, y)
                both.pointer(0, x, y)
                shown = both.same('painted', (640, 400), 200)
                while shown == last:
                    shown = both.same('painted', (640, 400), 200)
                last = shown
            both.key(ord('c'))
            both.same('svga', (640, 480), 200)
            both.key(ord('d'))
            both.same('end', (720, 400), 1)
    return f'{len(PROGRAMS)} programs, {sum(len(s.c.pixels) > 0 for s in both.screens)} machines, every pixel as QEMU has it'


TESTS = {'grub': grub_test, 'grub-virtio': grub_virtio_test, 'dos': dos_test}


if __name__ == '__main__':
    frame.main(__doc__, TESTS, bin=None, programs='', second='qemu-system-x86_64 -machine pc -accel tcg')
