#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0-or-later
"""How fast a guest writes through the VGA window: speed.py OSPITE BOOT-SECTOR [PICTURES [ROUNDS]]

Fills the screen again and again, a word at a time, in text, mode 13h, mode 13h without chain 4 (through the planes), and the
banks of VBE 640x480 in 256 colours; prints microseconds of processor time (which other programs disturb less than they do the clock's)
for each 64 KiB, ours and QEMU's by turns, the medians of all rounds. Judges nothing: by hand."""
import os, statistics, sys, tempfile
from script import Script, ours, theirs


def fill(s, segment, words, picture):
    s.counted(segment, 0, words, picture, 0x0101)


def text(s, picture):
    for _ in range(4):
        fill(s, 0xb800, 0x2000, picture)


def chain4(s, picture):
    fill(s, 0xa000, 0x8000, picture)


def banks(s, picture):
    s.vbe(5, picture % 5)
    fill(s, 0xa000, 0x8000, picture)


def start_planes(s):
    s.bios(0x13)
    s.seq(4, 6)


def start_vbe(s):
    for index, value in ((4, 0), (1, 640), (2, 480), (3, 8), (4, 1)):
        s.vbe(index, value)


MODES = {'text': (lambda s: s.bios(3), text), 'mode 13h': (lambda s: s.bios(0x13), chain4), 'planes': (start_planes, chain4),
         'VBE banks': (start_vbe, banks)}


def cpu_us(m):
    """Of all threads: the scheduler's figures, in nanoseconds."""
    tasks = f'/proc/{m.process.pid}/task'
    return sum(int(open(f'{tasks}/{t}/schedstat').read().split()[0]) for t in os.listdir(tasks)) / 1000


def measure(m, count, figures):
    for name in MODES:
        m.sync()
        begin = cpu_us(m)
        m.go_on()
        m.sync()
        figures.setdefault(name, []).append((cpu_us(m) - begin) / count)
        m.go_on()
    m.end()


def main():
    ospite, boot = sys.argv[1:3]
    count, rounds = (int(sys.argv[i]) if len(sys.argv) > i else default for i, default in ((3, 200), (4, 3)))
    s = Script()
    for start, picture in MODES.values():
        start(s)
        s.sync()
        for n in range(count):
            picture(s, n)
        s.sync()
        s.vbe(4, 0)
    with tempfile.TemporaryDirectory() as where:
        image = os.path.join(where, 'disk')
        with open(image, 'wb') as f:
            f.write(s.image(boot))
        mine, other = {}, {}
        for _ in range(rounds):
            measure(ours(ospite, image, where), count, mine)
            measure(theirs(image, where), count, other)
    for name in MODES:
        print(f'{name:10} {statistics.median(mine[name]):9.0f} us, QEMU {statistics.median(other[name]):9.0f} us')


if __name__ == '__main__':
    main()
