#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0-or-later
"""What a viewer gets, and what it costs: frames.py --vmm CMD --guests DIR [--device NAME] [--seconds N]

Debian's kernel on a screen of 1024x768, ours and in QEMU's TCG, one after the other: a text console that scrolls without end, /dev/fb0 written
30 times a second, the console at rest. Prints for each the pictures a second that a VNC client (raw pixels) got, as updates and as
whole screens' worth of pixels, the machine's processor time for each, and its share of a core. Judges nothing: by hand."""
import argparse
import os
import sys
import tempfile
import time

here = os.path.dirname(os.path.abspath(__file__))
sys.path[:0] = [here, os.path.join(os.path.dirname(here), 'boot')]
from rfb import RAW, SIZE, Client              # noqa: E402
from virtio import BAD, Guest                  # noqa: E402

WIDTH, HEIGHT = 1024, 768
DRIVERS = {'VGA': ('bochs',), 'virtio-vga': ('virtio_pci', 'virtio-gpu')}
SCRIPT = f'''echo 0 > /sys/class/graphics/fbcon/cursor_blink
for n in 0 1 2 3; do seq $((n * 1000000)) 9999999 | head -c {WIDTH * HEIGHT * 4} > /tmp/$n; done
(while :; do seq 100000 999999; done > /dev/tty1) & p=$!
echo SCROLLS; read x < /dev/ttyS0; kill $p; killall seq; sleep 1
(while :; do for n in 0 1 2 3; do dd if=/tmp/$n of=/dev/fb0 bs={WIDTH * 8} conv=notrunc 2>/dev/null; usleep 33000; done; done) & p=$!
echo FILM; read x < /dev/ttyS0; kill $p; sleep 1
echo 1 > /sys/class/graphics/fbcon/cursor_blink
echo REST; read x < /dev/ttyS0'''


class Counter(Client):
    """Takes pixels and forgets them."""
    taken = 0

    def put(self, x, y, w, h, rgb):
        self.taken += w * h

    def run(self, data):
        return b''


def cpu_seconds(m):
    fields = open(f'/proc/{m.process.pid}/stat').read().rpartition(')')[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf('SC_CLK_TCK')


def measure(m, c, seconds):
    c.update(0)
    updates, taken, cpu, begin = c.updates, c.taken, cpu_seconds(m), time.time()
    c.request()
    while time.time() < begin + seconds:
        n = c.updates
        if c.waits(0.2):
            c.message()
        if c.updates != n:
            c.request()
    wall, cpu = time.time() - begin, cpu_seconds(m) - cpu
    return (c.updates - updates) / wall, (c.taken - taken) / (WIDTH * HEIGHT) / wall, cpu / wall


def one(a, vmm):
    figures = {}
    with tempfile.TemporaryDirectory() as a.dir:
        a.vmm, vnc = vmm, a.dir + '/vnc'
        args = ['-device', f'{a.device},xres={WIDTH},yres={HEIGHT}', '-vnc', f'unix:{vnc}', '-append', 'console=tty0 console=ttyS0 quiet panic=-1']
        with Guest(a, ['all', *DRIVERS[a.device]], SCRIPT, args, seconds=400, memory=512) as m:
            for word in ('SCROLLS', 'FILM', 'REST'):
                m.serial(word, BAD)
                c = Counter(vnc)
                c.set_encodings(RAW, SIZE)
                time.sleep(2)
                figures[word] = measure(m, c, a.seconds)
                c.close()
                m.send('\n')
    return figures


def main():
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument('--vmm', required=True)
    p.add_argument('--guests', required=True)
    p.add_argument('--device', choices=DRIVERS, default='VGA')
    p.add_argument('--seconds', type=float, default=10)
    a = p.parse_args()
    a.scale, a.log = 1, None
    for name, vmm in (('ours', a.vmm), ('QEMU', 'qemu-system-x86_64 -accel tcg')):
        for word, (updates, screens, cpu) in one(a, vmm).items():
            each = f'{cpu / screens * 1000:6.1f} ms of the processor for each screen' if word != 'REST' and screens else ''
            print(f'{name:5} {a.device:10} {word:8} {updates:5.1f} updates, {screens:5.1f} screens a second, {cpu * 100:5.1f} % of a core {each}', flush=True)


if __name__ == '__main__':
    main()
