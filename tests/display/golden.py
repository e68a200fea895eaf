#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0-or-later
"""The pictures of VGA and VBE modes against QEMU's of the same guest at the same moment: golden.py OSPITE BOOT-SECTOR [--keep DIR]

One boot of each machine runs all cases (see script.S); at each both are asked for a screen dump, which must be equal in
every pixel. Where QEMU 7.2 lacks something (panning by pixels, blinking, planar VBE modes) the expected picture is derived from
another of QEMU's."""
import random, shutil, struct, sys, tempfile, time, zlib
from script import Script, ours, theirs

SEED = 20261128


def text_fill(s, cells=2000, first=0x0000, step=0x0101):
    """Every character, with attributes that go round."""
    s.counted(0xb800, 0, cells, first, step)


def planes_fill(s, seed, words=0x8000):
    for plane in range(4):
        s.seq(2, 1 << plane)
        s.random(0xa000, 0, words, seed + plane)
    s.seq(2, 15)


def unlock(s):
    s.crtc(0x11, 0x0c)


def text(columns, mode):
    def case(s, r):
        s.bios(mode)
        s.bios(0x0100, cx=0x2000)
        s.counted(0xb800, 0, columns * 25, 0x0700, 0x0101)
        s.counted(0xb800, columns * 2, columns * 4, 0x1e00, 1)
        s.counted(0xb800, columns * 20, columns * 4, 0x7400, 3)
        for row in range(25):                          # no blinking: QEMU does not
            s.counted(0xb800, row * columns * 2, columns, (row * 5 & 0x7f) << 8 | row, 1)
    return case


def text_bright(s, r):
    s.bios(3)
    s.bios(0x0100, cx=0x2000)
    s.bios(0x1003, 0)
    text_fill(s)


def text_50(s, r):
    s.bios(3)
    s.bios(0x1112)
    s.bios(0x0100, cx=0x2000)
    for row in range(50):
        s.counted(0xb800, row * 160, 80, (row * 3 & 0x7f) << 8 | row, 1)


def text_fonts(s, r):
    """Eight dots, and two fonts: the second is of 8 rows."""
    s.bios(3)
    s.bios(0x0100, cx=0x2000)
    s.bios(0x1102, 1)
    s.bios(0x1103, 0x04)
    s.seq(1, 1)
    for row in range(25):
        s.counted(0xb800, row * 160, 80, (row * 9 & 0x7f) << 8 | row * 7 & 0xff, 1)


def text_cursor(s, r):
    s.bios(3)
    s.bios(0x0200, dx=0x0a14)
    s.bios(0x0100, cx=0x0509)
    for row in range(25):
        s.counted(0xb800, row * 160, 80, 0x1700 | row, 1)


def text_split(s, r):
    s.bios(3)
    s.bios(0x0100, cx=0x2000)
    for row in range(50):
        s.counted(0xb800, row * 160, 80, (row * 5 & 0x7f) << 8 | row, 1)
    unlock(s)
    s.crtc(0x0c, 80 * 20 >> 8)
    s.crtc(0x0d, 80 * 20 & 255)
    line = 16 * 14 - 1
    s.crtc(0x18, line)
    s.crtc(7, 0x0f)
    s.crtc(9, 0x0f)


def mode13(s, r):
    s.bios(0x13)
    s.palette(r.randrange(64) for _ in range(768))
    s.random(0xa000, 0, 32000, r.randrange(65536))
    s.counted(0xa000, 320 * 20, 3200, 0, 0x0202)


def mode13_split(s, r):
    s.bios(0x13)
    s.random(0xa000, 0, 32768, r.randrange(65536))
    unlock(s)
    s.crtc(0x0d, 80)
    line = 2 * 120 - 1
    s.crtc(0x18, line & 255)
    s.crtc(7, 0x0f | (line >> 8 & 1) << 4)
    s.crtc(9, 0x01)


def planar_fill(s, r):
    planes_fill(s, r.randrange(60000))
    s.palette(r.randrange(64) for _ in range(192))


def planar(mode):
    def case(s, r):
        s.bios(mode)
        planar_fill(s, r)
    return case


def planar_palette(s, r):
    """Attribute palette, colour select, plane enable."""
    s.bios(0x12)
    planes_fill(s, r.randrange(60000))
    for n in range(16):
        s.attr(n, r.randrange(64))
    s.attr(0x10, 0x81)
    s.attr(0x14, 0x05)
    s.attr(0x12, 0x0b)


def planar_writes(s, r):
    """All write modes, set/reset, rotation, functions, bit mask, latches; each on some rows of its own."""
    s.bios(0x12)
    planes_fill(s, 4711)
    row = 0
    for _ in range(60):
        s.gfx(5, 0)
        s.copy(0xa000, 38300, 1, r.randrange(38000))                   # any latches
        s.seq(2, r.randrange(16))
        for index, most in ((0, 16), (1, 16), (3, 32), (8, 256)):
            s.gfx(index, r.randrange(most))
        mode = r.randrange(4)
        s.gfx(5, mode)
        if mode == 1:
            s.copy(0xa000, row * 80, 320, r.randrange(30000))
        else:
            s.random(0xa000, row * 80, 160, r.randrange(65536))
        row += 8
    for index, value in ((0, 0), (1, 0), (3, 0), (8, 255), (5, 0)):
        s.gfx(index, value)


def mode_x(s, r):
    """320x240, as everybody makes it from mode 13h."""
    s.bios(0x13)
    s.seq(4, 6)
    s.seq(0, 1)
    s.out(0x3c2, 0xe3)
    s.seq(0, 3)
    unlock(s)
    for index, value in ((6, 0x0d), (7, 0x3e), (9, 0x41), (0x10, 0xea), (0x11, 0x2c), (0x12, 0xdf), (0x14, 0), (0x15, 0xe7), (0x16, 6), (0x17, 0xe3)):
        s.crtc(index, value)
    planes_fill(s, r.randrange(60000))


def mode_x_panned(s, r):
    mode_x(s, r)
    s.crtc(0x0c, 0x12)
    s.crtc(0x0d, 0x35)
    s.crtc(0x13, 50)


def cga(mode):
    def case(s, r):
        s.bios(mode)
        s.random(0xb800, 0, 0x2000, r.randrange(65536))
    return case


def vbe_fill(s, bytes, seed):
    for bank in range((bytes + 0xffff) >> 16):
        s.vbe(5, bank)
        s.random(0xa000, 0, 0x8000, seed + 977 * bank & 0xffff)


def vbe(width, height, bpp, virtual=0, x=0, y=0, dac8=False):
    def case(s, r):
        s.bios(0x12 if bpp == 4 else 3)
        s.vbe(4, 0)
        for index, value in ((1, width), (2, height), (3, bpp)):
            s.vbe(index, value)
        s.vbe(4, 0x61 if dac8 else 0x41)
        if virtual:
            s.vbe(6, virtual)
            s.vbe(8, x)
            s.vbe(9, y)
        if bpp != 4:
            s.attr(0x10, 0x41)
        if bpp == 8:
            s.palette(r.randrange(256 if dac8 else 64) for _ in range(768))
        if bpp != 4:
            vbe_fill(s, (virtual or width) * (height + y) * bpp // 8, r.randrange(65536))
        if bpp == 4:
            planar_fill(s, r)
    return case


def more(case):
    """Only memory changes: what the dirty pages tell is all that is drawn."""
    def more_case(s, r):
        for _ in range(12):
            case(s, r)
    return more_case


def more_vbe(s, r):
    s.vbe(5, r.randrange(32))
    s.random(0xa000, r.randrange(0x7000) * 2, 1 + r.randrange(3000), r.randrange(65536))


def more_planar(s, r):
    s.random(0xa000, r.randrange(0x8000), 1 + r.randrange(500), r.randrange(65536))


def more_text(s, r):
    s.counted(0xb800, r.randrange(2000) * 2, 1 + r.randrange(30), r.randrange(0x80) << 8 | r.randrange(256), 1)


def vbe_off(s, r):
    s.vbe(4, 0)
    text(80, 3)(s, r)


def blank(s, r):
    text(80, 3)(s, r)
    s.inp(0x3da)
    s.out(0x3c0, 0)


def blinking(attribute):
    def case(s, r):
        s.bios(3)
        s.bios(0x0100, cx=0x2000)
        s.counted(0xb800, 0, 2000, attribute << 8 | 0x40, 0)
    return case


def panned(case, pixels, value):
    def panned_case(s, r):
        case(s, r)
        s.attr(0x13, value)
    panned_case.pixels = pixels
    return panned_case


CASES = [
    ('text 80x25', text(80, 3)), ('text 40x25', text(40, 1)), ('text, sixteen backgrounds', text_bright), ('text 80x50', text_50),
    ('text, more of it', more(more_text)),
    ('text, eight dots and two fonts', text_fonts), ('text cursor', text_cursor), ('text, start and split', text_split),
    ('mode 13h', mode13), ('mode 13h, start and split', mode13_split), ('mode 12h', planar(0x12)), ('mode 12h, more of it', more(more_planar)), ('mode 10h', planar(0x10)),
    ('mode 0Dh', planar(0x0d)), ('mode 0Eh', planar(0x0e)), ('mode 11h', planar(0x11)), ('mode 12h, palettes', planar_palette), ('mode 12h, writes', planar_writes),
    ('mode X', mode_x), ('mode X, start and pitch', mode_x_panned), ('mode 4', cga(4)), ('mode 6', cga(6)),
    ('VBE 640x480x8', vbe(640, 480, 8)), ('VBE 800x600x8, 8-bit DAC', vbe(800, 600, 8, dac8=True)), ('VBE 640x480x16', vbe(640, 480, 16)),
    ('VBE 800x600x24', vbe(800, 600, 24)), ('VBE 1024x768x32', vbe(1024, 768, 32)), ('VBE, more of it', more(more_vbe)), ('VBE 1280x720x16', vbe(1280, 720, 16)),
    ('VBE 640x400x32, wider and panned', vbe(640, 400, 32, 1000, 40, 30)), ('VBE 640x480x16, panned', vbe(640, 480, 16, 704, 16, 100)),
    ('VBE 800x600x24, 1024 wide and panned', vbe(800, 600, 24, 1024, 40, 9)), ('back to text', vbe_off), ('blank', blank),
    ('mode 12h, panned by pixels', panned(planar(0x12), 3, 3)), ('mode 13h, panned by pixels', panned(mode13, 4, 4)),
    ('text, panned by pixels', panned(text(80, 3), 6, 5)), ('CGA, panned by pixels', panned(cga(6), 5, 5)),
]
PLANAR = [planar(0x12), vbe(640, 480, 4)]              # the same picture; QEMU shows the second black


def difference(a, b):
    if a[:2] != b[:2]:
        return f'{a[0]}x{a[1]}, qemu {b[0]}x{b[1]}'
    n = sum(a[2][i:i + 3] != b[2][i:i + 3] for i in range(0, len(a[2]), 3))
    at = next(i for i in range(len(a[2])) if a[2][i] != b[2][i]) // 3
    return (f'{n} of {a[0] * a[1]} pixels differ, first at {at % a[0]},{at // a[0]}: {a[2][at * 3:at * 3 + 3].hex()}, '
            f'qemu {b[2][at * 3:at * 3 + 3].hex()}')


def same(a, b, tries):
    """The cursor blinks in both: some pair of moments is equal."""
    for n in range(tries):
        if n:
            time.sleep(0.11 + n * 0.013)
        x, y = a.picture(), b.picture()
        if x == y:
            return x, y
    return x, y


def shifted(a, b, pixels):
    """b moved to the left, as far as it goes."""
    width = a[0] * 3
    rows = ((a[2][y * width:(y + 1) * width], b[2][y * width:(y + 1) * width]) for y in range(a[1]))
    return a[:2] == b[:2] and a[2] != b[2] and all(x[:width - pixels * 3] == y[pixels * 3:] for x, y in rows)


def blinks(a, b):
    """Characters with a blinking attribute: now as QEMU shows the steady ones, now all background."""
    for m in (a, b):
        m.sync()
    steady = b.picture()
    a.go_on()
    a.sync()
    seen = set()
    for _ in range(120):
        seen.add(a.picture())
        if len(seen) == 2:
            break
        time.sleep(0.05)
    ground = steady[:2] + (steady[2][:3] * (steady[0] * steady[1]),)
    return seen == {steady, ground}


def png_read(path):
    """The pixels of an 8-bit RGB PNG, as ppm_read gives them."""
    data = open(path, 'rb').read()
    at, packed = 8, b''
    while at < len(data):
        size, kind = struct.unpack('>I4s', data[at:at + 8])
        body = data[at + 8:at + 8 + size]
        if zlib.crc32(kind + body) != struct.unpack('>I', data[at + 8 + size:at + 12 + size])[0]:
            raise SystemExit('the PNG has a wrong checksum')
        if kind == b'IHDR':
            width, height, bits, color = struct.unpack('>IIBB', body[:10])
        packed += body if kind == b'IDAT' else b''
        at += 12 + size
    raw, pitch, rows, above = zlib.decompress(packed), width * 3, [], bytes(width * 3)
    for y in range(height):
        how, line, row = raw[y * (pitch + 1)], raw[y * (pitch + 1) + 1:(y + 1) * (pitch + 1)], bytearray(pitch)
        for x in range(pitch):
            a, b, c = row[x - 3] if x > 2 else 0, above[x], above[x - 3] if x > 2 else 0
            nearest = min((abs(b - c), 0, a), (abs(a - c), 1, b), (abs(a + b - 2 * c), 2, c))[2]
            row[x] = line[x] + (0, a, b, (a + b) // 2, nearest)[how] & 255
        rows.append(bytes(row))
        above = rows[-1]
    return (width, height, b''.join(rows)) if (bits, color) == (8, 2) else None


def dumps(m, where):
    """The same picture as PNG and as PPM; files that cannot be written."""
    wrong = []
    want = m.picture()
    for line in (f'screendump {where}/x.png png', f'screendump {where}/x.png -f png'):
        if 'Error' in m.command(line) or png_read(where + '/x.png') != want:
            wrong.append(line)
    for line, word in ((f'screendump /nonexistent/x', "cannot write '/nonexistent/x'"), ('screendump /dev/full', 'No space left'),
                       ('screendump /dev/full png', 'No space left'), (f'screendump {where}/x.gif gif', "'gif' is no format"), ('screendump', 'FILE')):
        if word not in m.command(line):
            wrong.append(line)
    return wrong


def main():
    ospite, boot = sys.argv[1:3]
    keep = sys.argv[4] if len(sys.argv) > 4 else None
    r, s = random.Random(SEED), Script()
    for name, case in CASES:
        case(s, r)
        s.sync()
    for attribute in (0x1e, 0x9e):
        blinking(attribute)(s, r)
        s.sync()
    seed = r.randrange(1 << 30)
    for case in PLANAR:
        case(s, random.Random(seed))
        s.sync()
    where = tempfile.mkdtemp()
    with open(where + '/disk', 'wb') as f:
        f.write(s.image(boot))
    a, b = ours(ospite, where + '/disk', where), theirs(where + '/disk', where, ['-vga', 'std'])
    pixels = failures = 0
    try:
        for n, (name, case) in enumerate(CASES):
            for m in (a, b):
                m.sync()
            x, y = same(a, b, 40 if 'cursor' in name else 1)
            pixels += x[0] * x[1]
            moved = getattr(case, 'pixels', 0)
            if not shifted(x, y, moved) if moved else x != y:
                failures += 1
                print(f'{name}: {difference(x, y)}')
            if keep:
                for m in (a, b):
                    shutil.copy(f'{where}/{m.name}.ppm', f'{keep}/{n:02d}-{m.name}.ppm')
            for m in (a, b):
                m.go_on()
        if not blinks(a, b):
            failures += 1
            print('blinking characters: not two pictures, with and without them')
        a.go_on()
        a.sync()
        x = a.picture()
        for line in dumps(a, where):
            failures += 1
            print(f'{line}: not as it should be')
        a.go_on()
        a.sync()
        y = a.picture()
        if x != y:
            failures += 1
            print(f'VBE 640x480x4 against mode 12h: {difference(x, y)}')
    finally:
        a.end()
        b.end()
        shutil.rmtree(where)
    print(f'golden: seed {SEED}, {len(CASES) + 3} pictures, {pixels} pixels compared with qemu, {failures} pictures differ')
    return failures != 0


if __name__ == '__main__':
    sys.exit(main())
