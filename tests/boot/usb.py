#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0-or-later
"""usb.py --vmm CMD --guests DIR --evdev PROGRAM TEST...   USB by Linux' own drivers and by SeaBIOS.

pointer   a VNC client points at nine pixels of a guest on bochs-drm: the tablet says the same pixel; buttons, wheel; the PS/2 mouse when chosen
boot      SeaBIOS starts GRUB from a USB stick, and takes keys from a USB keyboard behind a hub
disk      a stick and a CD-ROM drive behind a hub: read, written, flushed; the image afterwards

What this machine lacks is skipped out loud (exit status 77)."""
import hashlib
import os
import random
import re
import shutil
import sys
import time

here = os.path.dirname(os.path.abspath(__file__))
sys.path[:0] = [here, os.path.join(os.path.dirname(here), 'display')]
import frame                                                  # noqa: E402
from boot import Failure, Machine                             # noqa: E402
from cpio import need                                               # noqa: E402
from rfb import EXT_SIZE, POINTER, RAW, Client                # noqa: E402
from virtio import BAD, MIB, Guest                                 # noqa: E402

HID = ['evdev', 'usbhid', 'hid_generic']


def report(m, name, want):
    """The next report of a device must be this one."""
    got = m.serial(rf'<{name}:([^>]*)>', BAD).group(1)
    if not re.fullmatch(want, got):
        m.fail(f'{name} said{got}, wanted{want}')


def pointer_mode(c, want):
    """The server says whether it wants positions (1) or movement (0)."""
    end = time.time() + 60
    while getattr(c, 'absolute', None) != want:
        if c.waits(0.5):
            c.message()
            c.request()
        if time.time() > end:
            raise Failure(f'the server wants {getattr(c, "absolute", None)}, not {want}')


def pointer_points(m, c, width, height):
    points = [(x, y) for y in (0, height // 2 + 1, height - 1) for x in (0, width // 3, width - 1)]
    random.Random(3).shuffle(points)
    before = (None, None)
    for x, y in points:
        c.pointer(0, x, y)
        # An axis that stays is not told again.
        want = (f' 3/0={x}' if x != before[0] else '') + (f' 3/1={y}' if y != before[1] else '')
        report(m, TABLET, want if before[0] is not None else f'(?: 3/0={x})?(?: 3/1={y})?')
        before = (x, y)
    return before


TABLET, MOUSE = 'QEMU QEMU USB Tablet', 'ImExPS/2 Generic Explorer Mouse'


def pointer(a):
    vnc = a.dir + '/vnc'
    script = 'i=0; while [ $i -lt 600 ] && ! { grep -q Explorer /proc/bus/input/devices && grep -q "USB Tablet" /proc/bus/input/devices; }; do sleep 0.1; i=$((i+1)); done; sleep 1; /evdev'
    args = ['-device', 'VGA', '-vnc', f'unix:{vnc}', '-usbdevice', 'tablet', '-net', 'none']
    with Guest(a, ['all', 'bochs', 'uhci_hcd', 'psmouse', *HID], script, args, {'evdev': a.evdev}, seconds=240) as m:
        m.serial('EVDEV-READY', BAD)
        c = Client(vnc)
        c.set_encodings(RAW, EXT_SIZE, POINTER)
        c.request()
        width, height = map(int, re.search(r'screen (\d+) (\d+)', m.text).groups())
        pointer_mode(c, 1)
        c.pointer(0, 5, 5)
        report(m, TABLET, '.*')
        x, y = pointer_points(m, c, width, height)
        for bit, code in ((1, 272), (2, 274), (4, 273), (128, 275)):
            c.pointer(bit, x, y)
            report(m, TABLET, f' 1/{code}=1')
            c.pointer(0, x, y)
            report(m, TABLET, f' 1/{code}=0')
        for bit, step in ((8, 1), (16, -1)):
            c.pointer(bit, x, y)
            c.pointer(0, x, y)
            report(m, TABLET, f' 2/8={step}.*')
        c.pointer(1, 10, 10)                               # a drag that ends before anybody looked
        c.pointer(1, 20, 20)
        c.pointer(0, 20, 20)
        report(m, TABLET, ' 1/272=1 3/0=10 3/1=10')
        report(m, TABLET, ' 3/0=20 3/1=20')
        report(m, TABLET, ' 1/272=0')
        mice = m.command('info mice')
        number = re.search(r'Mouse #(\d+): QEMU PS/2', mice)
        if '* Mouse' not in mice or not re.search(r'\* Mouse #\d+: QEMU HID Tablet \(absolute\)', mice) or not number:
            m.fail(f'info mice says {mice}')
        m.command(f'mouse_set {number.group(1)}')
        pointer_mode(c, 0)
        c.pointer(0, 0x7fff + 7, 0x7fff - 4)
        report(m, MOUSE, ' 2/0=7 2/1=-4')
        c.pointer(8, 0x7fff, 0x7fff)
        c.pointer(0, 0x7fff, 0x7fff)
        report(m, MOUSE, ' 2/8=1')
        m.command('sendkey q')
        m.serial('OSPITE-DONE', BAD)
        if m.end():
            m.fail('the status is not 0')
        c.close()
    return f'nine pixels of {width}x{height}, four buttons, wheel, a drag; then the PS/2 mouse'


CONTROLLERS = {'uhci': (['-usb'], 'uhci_hcd'), 'xhci': (['-device', 'qemu-xhci'], 'xhci_pci')}


def boot(a):
    for name, (args, _) in CONTROLLERS.items():
        iso = os.path.join(a.dir, name)
        shutil.copy(need('/usr/lib/grub-rescue/grub-rescue-cdrom.iso', 'grub-rescue-pc'), iso)       # an image for sticks, too
        args = args + ['-net', 'none', '-drive', f'file={iso},if=none,id=d,format=raw', '-device', 'usb-hub', '-device', 'usb-storage,drive=d', '-device', 'usb-kbd']
        with Machine(a.vmm, args, 120 * a.scale, serial=False, log=a.log) as m:
            if m.screen(r'grub>|Use the').group(0) != 'grub>':
                m.command('sendkey c')
                m.screen('grub>')
            for key in ('l', 's', 'ret'):
                m.command(f'sendkey {key}')
                time.sleep(0.3)
            m.screen(re.escape('(hd0'))
            if 'QEMU USB Keyboard' not in m.command('info usb'):
                m.fail('info usb does not list the keyboard')
    return f'GRUB from a stick, keys from a keyboard, on {", ".join(CONTROLLERS)}'


def disk_one(a, name, controller, module):
    data, second = random.Random(5).randbytes(8 * MIB), bytearray(random.Random(6).randbytes(8 * MIB))
    paths = [os.path.join(a.dir, name + n) for n in ('-first', '-second', '-cd')]
    for path, content in zip(paths, (data, second, data[:MIB * 2])):
        with open(path, 'wb') as f:
            f.write(content)
    script = f'''
i=0; while ! {{ (: < /dev/sda && : < /dev/sdb && : < /dev/sr0) 2>/dev/null; }} && [ $i -lt 600 ]; do sleep 0.1; i=$((i+1)); done
f=sda; s=sdb; [ "$(cat /sys/block/sda/ro)" = 1 ] || {{ f=sdb; s=sda; }}
echo ro $(cat /sys/block/$f/ro) $(cat /sys/block/$s/ro)
echo sum $(dd if=/dev/$f bs=1M iflag=direct 2>/dev/null | md5sum)
echo cd $(dd if=/dev/sr0 bs=64k 2>/dev/null | md5sum) $(cat /sys/block/sr0/size)
dd if=/dev/$f of=/dev/$s bs=32k count=100 oflag=direct 2>/dev/null &
dd if=/dev/$f of=/dev/$s bs=64k skip=60 seek=60 2>/dev/null &
wait
sync
dd if=/dev/zero of=/dev/$s bs=512 seek=3 count=1 conv=notrunc oflag=direct 2>/dev/null
if dd if=/dev/zero of=/dev/$f bs=4k count=1 oflag=direct 2>/dev/null; then echo WRONG written; fi
dmesg | grep -i 'reset.*usb' && echo WRONG reset
dmesg -c > /dev/null'''
    args = controller + ['-net', 'none', '-drive', f'file={paths[0]},if=none,format=raw,id=f,readonly=on', '-drive', f'file={paths[1]},if=none,format=raw,id=s',
                         '-drive', f'file={paths[2]},if=none,format=raw,id=c,media=cdrom', '-device', 'usb-storage,drive=f', '-device', 'usb-storage,drive=s',
                         '-device', 'usb-storage,drive=c']
    with Guest(a, ['all', module, 'usb_storage', 'sd_mod', 'sr_mod'], script, args, seconds=300, cpus=2) as m:
        m.serial('ro 1 0', BAD)
        m.serial('sum ' + hashlib.md5(data).hexdigest(), BAD)
        m.serial(f'cd {hashlib.md5(data[:MIB * 2]).hexdigest()} - {2 * MIB // 512}', BAD)
        m.serial('OSPITE-DONE', BAD.replace('|I/O error', ''))
        if m.end():
            m.fail('the status is not 0')
    second[:100 * 32768] = data[:100 * 32768]
    second[60 * 65536:] = data[60 * 65536:]
    second[3 * 512:4 * 512] = bytes(512)
    if open(paths[1], 'rb').read() != second:
        raise Failure('what the guest wrote is not in the image')
    if open(paths[0], 'rb').read() != data:
        raise Failure('a read-only stick was written')


def disk(a):
    for name, (args, module) in CONTROLLERS.items():
        disk_one(a, name, args, module)
    return f'two sticks and a CD-ROM, 8 MiB read and written, on {", ".join(CONTROLLERS)}'


TESTS = {'pointer': pointer, 'boot': boot, 'disk': disk}


if __name__ == '__main__':
    frame.main(__doc__, TESTS, evdev=None)
