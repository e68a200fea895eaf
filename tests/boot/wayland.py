#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0-or-later
"""A Wayland compositor on Debian: wayland.py --vmm CMD --guests DIR --bin DIR [--vga std|virtio]

Weston on the kernel's own driver (bochs-drm or virtio-gpu), seen through VNC: the picture is what weston's own
screenshot tells, the pointer of a USB tablet is where the viewer is, by the events of a client, and keys and clicks arrive. Pictures are left in --bin."""
import base64
import os
import re
import sys
import time

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path.insert(0, HERE)
import frame                                               # noqa: E402
from desktop import session, type_until, until                         # noqa: E402
from guests import shell                                   # noqa: E402
from png import png_read                                   # noqa: E402

ENVIRONMENT = 'mkdir -pm 700 /run/xdg; mkdir -p /root/.config; export XDG_RUNTIME_DIR=/run/xdg HOME=/root WAYLAND_DISPLAY=wayland-1'
CONFIG = '''[core]
idle-time=0
[shell]
background-color=0xff336699
clock-format=none
animation=none
startup-animation=none
locking=false
'''
RED = b'\xff\0\0'                              # the box in the middle of weston-eventdemo
PAPER_BYTES = 4 << 20


def weston_start(m):
    shell(m, ENVIRONMENT)
    shell(m, f'echo {base64.b64encode(CONFIG.encode()).decode()} | base64 -d > /root/.config/weston.ini')
    shell(m, '(setsid weston --tty=7 --backend=drm-backend.so --use-pixman --debug --log=/var/log/weston.log > /var/log/weston.out 2>&1 &)')
    until(m, 'the compositor', lambda: 'launching' in shell(m, 'grep weston-desktop-shell /var/log/weston.log; ls /run/xdg'))
    found = re.search("make '(.*)', model '(.*)', serial", shell(m, 'grep -m 1 EDID /var/log/weston.log'))
    if not found or found[1] != 'OSP':
        m.fail(f'weston finds another monitor than ours: {found}')


def box(s, color):
    """(left, top, right, bottom) of the pixels of a colour, or None."""
    w, pixels = s.c.width, bytes(s.c.pixels)
    rows = [(y, pixels[y * w * 3:(y + 1) * w * 3]) for y in range(s.c.height)]
    found = [(y, [x for x in range(w) if row[x * 3:x * 3 + 3] == color]) for y, row in rows if color in row]
    found = [(y, xs) for y, xs in found if xs]
    return (min(xs[0] for _, xs in found), found[0][0], max(xs[-1] for _, xs in found), found[-1][0]) if found else None


def looked(s, what, done, seconds=300):
    """done() of what is on the screen, as soon as it is something."""
    got = []

    def once():
        s.look(0.3)
        got[:] = [done()]
        return got[0]
    until(s.m, what, once, seconds)
    return got[0]


def motions(m):
    return [(float(x), float(y)) for x, y in re.findall(r'motion time: \d+, x: ([\d.-]+), y: ([\d.-]+)', shell(m, 'tail -n 3 /tmp/events'))]


def pointer_check(s, m):
    """A client tells positions in its window; the first place gives the window's own. The furthest that any other is off."""
    shell(m, '(setsid stdbuf -oL weston-eventdemo --width=600 --height=400 --log-motion --log-button --log-key > /tmp/events 2>&1 &)')
    left, top, right, bottom = looked(s, 'the red box', lambda: box(s, RED))
    s.keep('box')
    worst, origin = 0, None
    for x in (left + 3, (left + right) // 2, right - 1):
        for y in (top + 5, (top + bottom) // 2, bottom - 1):
            s.c.pointer(0, x - 1, y - 1)
            s.look(0.3)
            s.c.pointer(0, x, y)
            got, off, end = [], 0.0, time.time() + 30
            while not got or off > 1:
                if time.time() > end:
                    m.fail(f'the viewer points at {(x, y)}; the client hears {got}, from {origin}')
                s.look(0.5)
                got = motions(m)
                off = max(abs(got[-1][0] + origin[0] - x), abs(got[-1][1] + origin[1] - y)) if got and origin else 0.0
            if not origin:
                s.look(2)                                  # the place that all others are measured by
                got = motions(m)
                origin = (x - got[-1][0], y - got[-1][1])
            worst = max(worst, off)
    s.click((left + right) // 2, (top + bottom) // 2)
    s.key(ord('k'))
    wanted = r'(?s)button: 272, state: pressed.*unicode: 107, state: pressed'
    until(m, 'a click and a key', lambda: re.search(wanted, shell(m, 'cat /tmp/events')))
    return worst


def typing_check(s, m):
    empty = s.settled(2)
    shell(m, '(setsid weston-terminal --shell=/bin/sh > /tmp/terminal.out 2>&1 &)')
    s.settled(2, empty)
    type_until(s, m, 'Wayland')


def picture_check(s, m, paper):
    """What the viewer has, against weston's screenshot, which comes over a disk; the pointer is in both."""
    s.c.pointer(0, s.c.width - 40, s.c.height - 50)
    s.settled(2)
    s.keep('weston')
    said = shell(m, 'cd /tmp; rm -f wayland-screenshot*; weston-screenshooter; dd of=/dev/sdb conv=fsync < $(ls wayland-screenshot*.png); cd')
    if '(' not in said:
        m.fail(f'weston makes no screenshot: {said}')
    with open(paper, 'rb') as f:
        w, h, pixels = png_read(f.read())
    if (w, h) != (s.c.width, s.c.height):
        m.fail(f'a screenshot of {w}x{h}, a picture of {s.c.width}x{s.c.height}')
    mine = bytes(s.c.pixels)
    differ = 0 if mine == pixels else sum(mine[i:i + 3] != pixels[i:i + 3] for i in range(0, len(pixels), 3))
    if differ:
        with open(os.path.join(s.folder, f'{s.name}-screenshot.png'), 'wb') as f, open(paper, 'rb') as given:
            f.write(given.read())
        m.fail(f'{differ} pixels are not as in weston\'s screenshot')
    return w * h


def weston_test(a):
    paper = os.path.join(a.dir, 'paper')
    with open(paper, 'wb') as f:
        f.truncate(PAPER_BYTES)
    with session(a, f'wayland-{a.vga}', '768', weston_start, '-drive', f'file={paper},format=raw,index=1') as (m, s):
        typing_check(s, m)
        pixels = picture_check(s, m, paper)
        worst = pointer_check(s, m)
        pixels += picture_check(s, m, paper)
        seconds = m.seconds()
    return f'keys, a click, nine places within {worst:.1f} pixels, {pixels} pixels as in weston\'s screenshots; {seconds:.0f} s'


if __name__ == '__main__':
    frame.main(__doc__, weston_test, bin=None, vga='virtio')
