#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0-or-later
"""-boot splash=: the picture that SeaBIOS shows before its boot menu, every pixel of it, here and in QEMU: splash.py OSPITE"""
import os, random, shutil, struct, subprocess, sys, tempfile, time
sys.path.append(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
import checks
from checks import check
from script import ours, theirs


def bmp(path, width, height, r):
    """24 bits, rows from below; returns what the screen shall show."""
    rows = []
    for y in range(height):
        band = bytes(r.randrange(256) for _ in range(3))
        rows.append(b''.join(bytes((band[0], x & 255, y & 255)) for x in range(width)))
    data = b''.join(rows[::-1])
    with open(path, 'wb') as f:
        f.write(struct.pack('<2sIHHI', b'BM', 54 + len(data), 0, 0, 54) + struct.pack('<IiiHHIIiiII', 40, width, height, 1, 24, 0, len(data), 2835, 2835, 0, 0) + data)
    rgb = bytearray(len(data))
    flat = b''.join(rows)
    rgb[0::3], rgb[1::3], rgb[2::3] = flat[2::3], flat[1::3], flat[0::3]
    return width, height, bytes(rgb)


def shown(m, want, seconds=90):
    end = time.time() + seconds
    while time.time() < end:
        got = m.picture()
        if got == want:
            return True
        time.sleep(0.1)
    return check(False, f'{m.name} shows {got[0]}x{got[1]}, not the picture')


def jpeg(where):
    """A JPEG of another program's, or None. SeaBIOS takes halved colours only, and sides of whole 16s."""
    tool = shutil.which('cjpeg') or shutil.which('convert')
    if not tool:
        return None
    with open(where + '/in.ppm', 'wb') as f:
        f.write(b'P6\n640 480\n255\n' + b''.join(bytes((x * 255 // 639, y * 255 // 479, 128)) for y in range(480) for x in range(640)))
    subprocess.run([tool, *(['-sample', '2x2', '-quality', '85', '-outfile', where + '/s.jpg', where + '/in.ppm'] if tool.endswith('cjpeg') else [where + '/in.ppm', '-sampling-factor', '2x2', '-quality', '85', where + '/s.jpg'])], check=True)
    return where + '/s.jpg'


def run(start, splash, time_ms=65000, menu='on'):
    return start(['-boot', f'menu={menu},splash={splash},splash-time={time_ms}'])


def main():
    ospite, where = sys.argv[1], tempfile.mkdtemp()
    r = random.Random(5)
    with open(where + '/disk', 'wb') as f:
        f.truncate(1 << 20)
    starts = (lambda args: ours(ospite, where + '/disk', where, args), lambda args: theirs(where + '/disk', where, args))
    try:
        for width, height in ((640, 480), (800, 600), (1024, 768)):
            want = bmp(where + '/s.bmp', width, height, r)
            for start in starts:
                m = run(start, where + '/s.bmp')
                shown(m, want)
                m.end()
        m = run(starts[0], where + '/s.bmp', menu='off')               # none without a menu
        for _ in range(10):
            check(m.picture() != want, 'no menu, no picture')
            time.sleep(0.2)
        m.end()
        begin = time.time()                                            # for six seconds; without the option it would be two and a half
        m = run(starts[0], where + '/s.bmp', 6000)
        shown(m, want)
        while m.picture() == want and time.time() < begin + 60:
            time.sleep(0.05)
        check(6 <= time.time() - begin < 60, f'splash-time=6000: gone after {time.time() - begin:.1f} s')
        m.end()
        if path := jpeg(where):
            both = [run(start, path) for start in starts]
            end, seen = time.time() + 60, [None, None]
            while time.time() < end:
                seen = [m.picture() for m in both]
                if seen[0] == seen[1] and seen[0][:2] == (640, 480) and any(seen[0][2]):
                    break
                time.sleep(0.3)
            for m in both:
                m.end()
            check(seen[0] == seen[1] and seen[0][:2] == (640, 480) and any(seen[0][2]), 'a JPEG as in QEMU')
        else:
            print('no cjpeg or convert: no JPEG')
    finally:
        shutil.rmtree(where, ignore_errors=True)
    print(f'splash: {checks.counts()}')
    return checks.failed != 0


if __name__ == '__main__':
    sys.exit(main())
