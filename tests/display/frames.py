#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0-or-later
"""What a viewer gets, and what it costs: frames.py --vmm CMD --guests DIR [--device NAME] [--seconds N] [--rounds N] [--only WORD...]

Debian's kernel on a screen of 1024x768, ours and in QEMU's TCG, one after the other: a text console that scrolls without end (SCROLLS), /dev/fb0
written 30 times a second by one program (FILM) and by a shell that starts dd and usleep for each picture (SHELL), the console at rest (REST). Prints
for each the pictures a second that a VNC client (raw pixels) got, as updates and as whole screens' worth of pixels, the machine's processor
time for each, its share of a core, and how much of it is the vCPU's thread. With --rounds everything is done so many times by turns, and the medians come last. Judges nothing: by hand."""
import argparse
import os
import statistics
import struct
import subprocess
import sys
import tempfile
import time

here = os.path.dirname(os.path.abspath(__file__))
sys.path[:0] = [here, os.path.join(os.path.dirname(here), 'boot')]
from rfb import RAW, SIZE, Client, Closed      # noqa: E402
from virtio import BAD, Guest                  # noqa: E402

WIDTH, HEIGHT = 1024, 768
DRIVERS = {'VGA': ('bochs',), 'virtio-vga': ('virtio_pci', 'virtio-gpu')}
SCRIPT = f'''echo 0 > /sys/class/graphics/fbcon/cursor_blink
for n in 0 1 2 3; do seq $((n * 1000000)) 9999999 | head -c {WIDTH * HEIGHT * 4} > /tmp/$n; done
(while :; do seq 100000 999999; done > /dev/tty1) & p=$!
echo SCROLLS; read x < /dev/ttyS0; kill $p; killall seq; sleep 1
/film {WIDTH} {HEIGHT} & p=$!
echo FILM; read x < /dev/ttyS0; kill $p; sleep 1
(while :; do for n in 0 1 2 3; do dd if=/tmp/$n of=/dev/fb0 bs={WIDTH * 8} conv=notrunc 2>/dev/null; usleep 33000; done; done) & p=$!
echo SHELL; read x < /dev/ttyS0; kill $p; sleep 1
echo 1 > /sys/class/graphics/fbcon/cursor_blink
echo REST; read x < /dev/ttyS0'''
WORDS = ('SCROLLS', 'FILM', 'SHELL', 'REST')


class Counter(Client):
    """Takes pixels and forgets them, as cheaply as it goes: it shares the processors with what is measured."""
    taken, sink = 0, bytearray(1 << 20)

    def rect(self):
        x, y, w, h, kind = struct.unpack('>HHHHi', self.read(12))
        assert kind in (RAW, SIZE), kind
        if kind == SIZE:
            self.width, self.height = w, h
            return
        self.skip(w * h * 4)
        self.taken += w * h

    def skip(self, n):
        n -= len(self.raw(min(n, len(self.buffer))))
        while n:
            got = self.s.recv_into(self.sink, min(n, len(self.sink)))
            if not got:
                raise Closed
            n -= got


def cpu_seconds(stat):
    fields = open(stat).read().rpartition(')')[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf('SC_CLK_TCK')


def vcpu_stat(pid):
    """The thread that runs the guest, by its name."""
    for t in os.listdir(f'/proc/{pid}/task'):
        if open(f'/proc/{pid}/task/{t}/comm').read().startswith('CPU 0'):
            return f'/proc/{pid}/task/{t}/stat'
    raise SystemExit('frames.py: no thread is named CPU 0')


def measure(m, c, seconds):
    """Updates and screenfuls a second, shares of a core: all of the process, the vCPU's thread."""
    stats = f'/proc/{m.process.pid}/stat', vcpu_stat(m.process.pid)
    c.update(0)
    updates, taken, cpu, begin = c.updates, c.taken, [cpu_seconds(s) for s in stats], time.time()
    c.request()
    while time.time() < begin + seconds:
        n = c.updates
        if c.waits(0.2):
            c.message()
        if c.updates != n:
            c.request()
    wall, cpu = time.time() - begin, [cpu_seconds(s) - was for s, was in zip(stats, cpu)]
    return (c.updates - updates) / wall, (c.taken - taken) / (WIDTH * HEIGHT) / wall, cpu[0] / wall, cpu[1] / wall


def player(a):
    """The program that the guest runs; it finds the frame buffer at /dev/fb0."""
    program = os.path.join(a.dir, 'film')
    subprocess.run(['gcc', '-O2', '-static', '-o', program, os.path.join(here, 'film.c')], check=True)
    return {'film': program}


def one(a, vmm):
    figures = {}
    with tempfile.TemporaryDirectory() as a.dir:
        a.vmm, vnc = vmm, a.dir + '/vnc'
        args = ['-device', f'{a.device},xres={WIDTH},yres={HEIGHT}', '-vnc', f'unix:{vnc}', '-append', 'console=tty0 console=ttyS0 quiet panic=-1']
        with Guest(a, ['all', *DRIVERS[a.device]], SCRIPT, args, player(a), seconds=400, memory=512) as m:
            for word in WORDS:
                m.serial(word, BAD)
                if word in a.only:
                    c = Counter(vnc)
                    c.set_encodings(RAW, SIZE)
                    time.sleep(2)
                    figures[word] = measure(m, c, a.seconds)
                    c.close()
                m.send('\n')
    return figures


def show(name, word, figures):
    updates, screens, cpu, vcpu = figures
    each = f', for each screen {cpu / screens * 1000:6.1f} ms of the processor, {vcpu / screens * 1000:6.1f} of them the vCPU\'s' if word != 'REST' and screens else ''
    print(f'{name:12} {word:8} {updates:5.1f} updates, {screens:5.1f} screens a second, {cpu * 100:5.1f} % of a core{each}', flush=True)


def main():
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument('--vmm', required=True)
    p.add_argument('--guests', required=True)
    p.add_argument('--device', choices=DRIVERS, default='VGA')
    p.add_argument('--seconds', type=float, default=10)
    p.add_argument('--rounds', type=int, default=1)
    p.add_argument('--only', choices=WORDS, nargs='+', default=WORDS)
    a = p.parse_args()
    a.scale, a.log = 1, None
    mine, all_figures = a.vmm, {}                       # a guest's start puts another one into a.vmm
    for _ in range(a.rounds):
        for name, vmm in (('ours', mine), ('QEMU', 'qemu-system-x86_64 -accel tcg -name guest,debug-threads=on')):
            for word, figures in one(a, vmm).items():
                show(f'{name} {a.device}', word, figures)
                all_figures.setdefault((name, word), []).append(figures)
    for (name, word), rounds in all_figures.items() if a.rounds > 1 else ():
        show(f'median {name}', word, [statistics.median(column) for column in zip(*rounds)])


if __name__ == '__main__':
    main()
