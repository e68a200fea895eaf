#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0-or-later
"""Linux' drivers bochs-drm and virtio-gpu: guests.py --vmm CMD --guests DIR [TEST]...

What a guest writes to /dev/fb0 must be in the screen dump and on a VNC client's screen, in several sizes, with and without VGA, up to
4K; then the text console on it scrolls, and client and screen dump agree again. resize: a client wishes for other sizes, which the guest
finds among its monitor's modes, takes, and the client is told. Skipped, out loud, without Debian's kernel."""
import argparse
import os
import struct
import sys
import tempfile
import time

here = os.path.dirname(os.path.abspath(__file__))
sys.path[:0] = [here, os.path.join(os.path.dirname(here), 'boot')]
from boot import Failure                       # noqa: E402
from cpio import Skip                          # noqa: E402
from rfb import EXT_SIZE, TIGHT, ZRLE, Client  # noqa: E402
from script import ppm_read                    # noqa: E402
from virtio import BAD, Guest                  # noqa: E402

TESTS = {'vga': ('VGA', 'bochs', 1280, 800), 'bochs-display': ('bochs-display,xres=1024,yres=768', 'bochs', 1024, 768),
         '4k': ('VGA,vgamem_mb=64,xres=3840,yres=2160', 'bochs', 3840, 2160),
         'virtio-vga': ('virtio-vga', 'virtio_pci virtio-gpu', 1280, 800)}


def numbers(size, first=1):
    """What 'seq' prints. (The guest writes pairs of rows: Linux 6.1 forgets the ends of rows in which a write ends, and rows that one write fills.)"""
    out, n = [], first
    length = 0
    while length < size:
        line = b'%d\n' % n
        out.append(line)
        length += len(line)
        n += 1
    return b''.join(out)[:size]


def rgb(data):
    out = bytearray(len(data) // 4 * 3)
    out[0::3], out[1::3], out[2::3] = data[2::4], data[1::4], data[0::4]
    return bytes(out)


def picture(m, where):
    m.command(f'screendump {where}/dump.ppm')
    return ppm_read(where + '/dump.ppm')


def settle(m, where, want, what):
    """The driver copies to the screen when it has time."""
    for _ in range(300):
        got = picture(m, where)
        if got == want:
            return
        time.sleep(0.2)
    differs = 'its size' if got[:2] != want[:2] else f'{sum(got[2][i:i + 3] != want[2][i:i + 3] for i in range(0, len(want[2]), 3))} pixels'
    raise Failure(f'{what}: the screen dump ({got[0]}x{got[1]}) differs in {differs}')


def one(a, name):
    device, drivers, width, height = TESTS[name]
    size, part = width * height * 4, width * 4 * 100
    script = f'''echo "$(cat /sys/class/graphics/fb0/virtual_size) $(cat /sys/class/graphics/fb0/bits_per_pixel) $(cat /sys/class/graphics/fb0/stride)"
printf "\\033[?25l" > /dev/tty1
echo 0 > /sys/class/graphics/fbcon/cursor_blink
seq 1 9999999 | head -c {size} > /tmp/all
dd if=/tmp/all of=/dev/fb0 bs={width * 8} conv=notrunc 2>/dev/null
echo FILLED; read x < /dev/ttyS0
seq 500 9999999 | head -c {part} > /tmp/part
dd if=/tmp/part of=/dev/fb0 bs={width * 8} seek=25 conv=notrunc 2>/dev/null
echo PART; read x < /dev/ttyS0
printf "\\033[2J\\033[H" > /dev/tty1
i=0; while [ $i -lt 300 ]; do echo "line $i of the text console"; i=$((i+1)); done > /dev/tty1
echo TEXT; read x < /dev/ttyS0'''
    vnc = a.dir + '/vnc'
    args = ['-device', device, '-vnc', f'unix:{vnc}', '-append', 'console=tty0 console=ttyS0 quiet panic=-1']
    with Guest(a, ['all', *drivers.split()], script, args, seconds=600, memory=512) as m:
        m.serial(f'{width},{height} 32 {width * 4}', BAD)
        clients = [Client(vnc), Client(vnc)]
        clients[0].set_encodings(TIGHT, EXT_SIZE)
        clients[1].set_encodings(ZRLE, EXT_SIZE)
        if width > 2000:                       # the test's client is slow
            clients.pop().close()
        data = bytearray(numbers(size))
        m.serial('FILLED', BAD)
        for step in ('filled', 'a part'):
            settle(m, a.dir, (width, height, rgb(data)), step)
            for c in clients:
                if not c.settle(lambda: picture(m, a.dir)):
                    raise Failure(f'{step}: the VNC client sees something else')
            m.send('\n')
            if step == 'filled':
                m.serial('PART', BAD)
                data[50 * width * 4:150 * width * 4] = numbers(part, 500)
        m.serial('TEXT', BAD)
        for c in clients:
            if not c.settle(lambda: picture(m, a.dir)):
                raise Failure('text: the VNC client sees something else')
            c.close()
        if a.keep:
            m.command(f'screendump {a.keep}/{name}.ppm')
    return f'{width}x{height}: /dev/fb0, a part of it, the text console; screen dump and {len(clients)} VNC clients'


def resize(a, name):
    """Another size for the guest's text console: its frame buffer stays, so Linux only takes what fits."""
    vnc, wishes = a.dir + '/vnc', ((1024, 600), (800, 720), (1280, 800))
    script = ''.join(f'''echo READY; read x < /dev/ttyS0
i=0; while [ "$(head -n 1 $d/modes)" != {w}x{h} -a $i -lt 600 ]; do sleep 0.1; i=$((i+1)); done
echo MODE $(head -n 1 $d/modes) $(dd if=$d/edid bs=1 skip=56 count=6 2>/dev/null | od -An -tu1); read x < /dev/ttyS0
''' for w, h in wishes)
    with Guest(a, ['all', *TESTS['virtio-vga'][1].split()], 'd=/sys/class/drm/card0-Virtual-1\n' + script,
               ['-device', 'virtio-gpu-pci,packed=on', '-vnc', f'unix:{vnc}', '-append', 'console=tty0 console=ttyS0 quiet panic=-1'], seconds=600, memory=512) as m:
        c = None
        for w, h in wishes:
            m.serial('READY', BAD)
            if not c:
                c = Client(vnc)
                c.set_encodings(ZRLE, EXT_SIZE)
            c.update(0)
            c.send(struct.pack('>BxHHBxIHHHHI', 251, w, h, 1, 0, 0, 0, w, h, 0))
            m.send('\n')
            got = m.serial(r'MODE (\S+) ([ \d]+)\r', BAD)
            edid = [int(n) for n in got.group(2).split()]
            preferred = (edid[0] | (edid[2] & 0xf0) << 4, edid[3] | (edid[5] & 0xf0) << 4)
            if got.group(1) != f'{w}x{h}' or preferred != (w, h):
                raise Failure(f'the client wishes for {w}x{h}, the guest has the mode {got.group(1)} and an EDID of {preferred}')
            for _ in range(600):
                if picture(m, a.dir)[:2] == (w, h):
                    break
                time.sleep(0.1)
            else:
                raise Failure(f'the guest does not take {w}x{h}')
            if not c.settle(lambda: picture(m, a.dir)):
                raise Failure(f'{w}x{h}: the VNC client sees something else')
            m.send('\n')
        if c.sizes < len(wishes):
            raise Failure('the client was not told')
        c.close()
    return f'{len(wishes)} sizes of virtio-gpu-pci wished for by VNC: modes, EDID, screen dump, the client'


def main():
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument('--vmm', required=True)
    p.add_argument('--guests', required=True)
    p.add_argument('--scale', type=float, default=float(os.environ.get('OSPITE_TEST_SCALE', 1)))
    p.add_argument('--log')
    p.add_argument('--keep')
    p.add_argument('names', nargs='*', default=[*TESTS, 'resize'])
    a = p.parse_args()
    status = 0
    for name in a.names:
        test = resize if name == 'resize' else one
        with tempfile.TemporaryDirectory() as a.dir:
            try:
                print(f'PASS {name}: {test(a, name)}')
            except Skip as why:
                print(f'SKIP {name}: {why}')
                status = status or 77
            except Failure as why:
                print(f'FAIL {name}: {why}')
                status = 1
    return status


if __name__ == '__main__':
    sys.exit(main())
