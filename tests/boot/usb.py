#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0-or-later
"""usb.py --vmm CMD --guests DIR --evdev PROGRAM TEST...   USB by Linux' own drivers and by SeaBIOS.

pointer   a VNC client points at nine pixels of a guest on bochs-drm: the tablet says the same pixel; buttons, wheel; the PS/2 mouse when chosen

What this machine lacks is skipped out loud (exit status 77)."""
import argparse
import os
import random
import re
import subprocess
import sys
import tempfile
import time

here = os.path.dirname(os.path.abspath(__file__))
sys.path[:0] = [here, os.path.join(os.path.dirname(here), 'display')]
from boot import Failure                             # noqa: E402
from cpio import Skip                                         # noqa: E402
from rfb import EXT_SIZE, POINTER, RAW, Client                # noqa: E402
from virtio import BAD, Guest                                 # noqa: E402

HID = ['evdev', 'usbhid', 'hid_generic']


def report(m, name, want):
    """The next report of a device must be this one."""
    got = m.serial(rf'<{name}:([^>]*)>', BAD).group(1)
    if not re.fullmatch(want, got):
        m.fail(f'{name} said{got}, wanted{want}')


def pointer_mode(c, want):
    """The server says whether it wants positions (1) or movement (0)."""
    end = time.time() + 30
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
    script = 'i=0; while [ $i -lt 50 ] && ! grep -q Explorer /proc/bus/input/devices; do sleep 0.1; i=$((i+1)); done; sleep 1; /evdev'
    args = ['-device', 'VGA', '-vnc', f'unix:{vnc}', '-usbdevice', 'tablet', '-net', 'none']
    with Guest(a, ['all', 'bochs', 'uhci_hcd', 'psmouse', *HID], script, args, {'evdev': a.evdev}, seconds=120) as m:
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


TESTS = {'pointer': pointer}


def main():
    p = argparse.ArgumentParser(usage=__doc__)
    p.add_argument('names', nargs='+', choices=sorted(TESTS))
    p.add_argument('--vmm', required=True)
    p.add_argument('--guests', required=True)
    p.add_argument('--evdev', required=True)
    p.add_argument('--log')
    p.add_argument('--scale', type=float, default=float(os.environ.get('OSPITE_TEST_SCALE', '1')))
    a = p.parse_args()
    for name in a.names:
        start = time.time()
        with tempfile.TemporaryDirectory(prefix='ospite-usb-') as a.dir:
            try:
                print(f'PASS {name}: {TESTS[name](a)} [{time.time() - start:.1f} s]', flush=True)
            except Skip as why:
                print(f'SKIP {name}: {why}')
                sys.exit(77)
            except (Failure, subprocess.SubprocessError) as why:
                print(f'FAIL {name} [{time.time() - start:.1f} s]: {why}')
                sys.exit(1)


if __name__ == '__main__':
    main()
