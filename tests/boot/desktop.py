#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0-or-later
"""X.org on Debian with a window manager: desktop.py --vmm CMD --guests DIR --bin DIR

The X server, IceWM, xterm and xeyes on the driver bochs-drm (--vga virtio: on virtio-gpu). Seen through VNC: the picture is what X's own xwd tells, the pointer of a USB
tablet lands where the viewer clicked, keys arrive in xterm, a window follows when it is dragged; what is copied in the guest is pasted by viewers
and the other way round, by spice-vdagent. Pictures are left in --bin."""
import contextlib
import hashlib
import os
import re
import sys
import time

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path.insert(0, HERE)
import frame                                               # noqa: E402
from boot import Machine                                   # noqa: E402
from clipboard import NOTIFY, TEXT, ASK, Viewer            # noqa: E402
from guests import login, power_off, shell                 # noqa: E402
from made import programs_disk                             # noqa: E402
from viewer import Screen                                  # noqa: E402

ENVIRONMENT = 'export DISPLAY=:0 HOME=/root'
CONTROL = 0xffe3
BOTTOM = 64                                    # rows not compared: the pointer is parked there, and IceWM's clock ticks


def position(m):
    found = re.search(r'x:(\d+) y:(\d+)', shell(m, 'xdotool getmouselocation'))
    return int(found[1]), int(found[2])


def window(m, name):
    """(x, y, width, height) of a window's inside; the pointer goes to its corner."""
    text = shell(m, f'w=$(xdotool search --name "^{name}$" | tail -n 1); xdotool mousemove --window $w 0 0 getmouselocation; xdotool getwindowgeometry --shell $w')
    field = dict(re.findall(r'\b(x|y|WIDTH|HEIGHT)[:=](\d+)', text))
    if len(field) < 4:
        m.fail(f'no window {name}: {text}')
    return tuple(int(field[k]) for k in ('x', 'y', 'WIDTH', 'HEIGHT'))


def until(m, what, done, seconds=300):
    end = time.time() + seconds
    while not done():
        if time.time() > min(end, m.deadline):
            m.fail(f'time is over while waiting for: {what}')
        time.sleep(0.3)


def type_until(s, m, where):
    """A line into a terminal; again, and slower, if it does not arrive: a guest that is slow to read loses keys, and those that come before there is a shell."""
    for pause in (0.02, 0.1, 0.3):
        s.type(f'echo $((6*7)) "Seen_by: {where}" > /tmp/typed; seq 40\n', pause)
        end = time.time() + 40
        while time.time() < end:
            if f'42 Seen_by: {where}' in shell(m, 'cat /tmp/typed'):
                return
            s.look(0.5)
        s.c.key(CONTROL, 1)
        s.key(ord('c'))
        s.c.key(CONTROL, 0)
    m.fail('what was typed does not arrive')


def desktop_start(m):
    shell(m, ENVIRONMENT)
    shell(m, '(setsid Xorg :0 vt7 -nolisten tcp -s 0 -dpms > /var/log/x.log 2>&1 &)')
    until(m, 'the X server', lambda: 'Keyboard' in shell(m, 'xset q 2>&1'))
    shell(m, 'mkdir -p /root/.icewm; echo ShowTaskBar=0 > /root/.icewm/preferences')      # its clock never rests
    for program in ('icewm', 'xeyes -geometry 300x200+700+100', 'xterm -T terminal -geometry 80x24+60+80 -fa "DejaVu Sans Mono" -fs 10'):
        shell(m, f'(setsid {program} > /dev/null 2>&1 &)')
        time.sleep(1)
    until(m, 'xterm', lambda: re.search(r'\d{5,}', shell(m, 'xdotool search --onlyvisible --name "^terminal$" 2>/dev/null')))


def pointer_check(s, m):
    """Nine places, one of them each corner."""
    w, h = s.c.width, s.c.height
    worst = 0
    for x in (0, w // 2 + 1, w - 1):
        for y in (0, h // 3, h - 1):
            s.c.pointer(0, x, y)
            end = time.time() + 30
            while True:
                s.look(0.5)
                got = position(m)
                off = max(abs(got[0] - x), abs(got[1] - y))
                if off <= 1:
                    break
                if time.time() > end:
                    m.fail(f'the viewer points at {(x, y)}, the pointer is at {got}')
            worst = max(worst, off)
    return worst


def typing_check(s, m):
    x, y, w, h = window(m, 'terminal')
    s.click(x + w // 2, y + h // 2)
    type_until(s, m, 'X')


def drag_check(s, m):
    """By its title bar."""
    x, y, w, _ = window(m, 'terminal')
    for buttons, dx, dy in ((0, 0, 0), (1, 0, 0), (1, 20, 10), (1, 120, 90), (1, 150, 130), (0, 150, 130)):
        s.c.pointer(buttons, x + w // 2 + dx, y - 8 + dy)
        s.look(0.3)
    until(m, 'the window to follow', lambda: window(m, 'terminal')[:2] == (x + 150, y + 130))


def picture_check(s, m):
    """What the viewer has, against what the X server says that it shows."""
    s.c.pointer(0, s.c.width - 1, s.c.height - 1)
    s.settled(3)
    w, h = s.c.width, s.c.height - BOTTOM
    s.keep('desktop')
    shell(m, 'xwd -root -silent > /tmp/w')
    got = shell(m, f'tail -c {s.c.width * s.c.height * 4} /tmp/w | head -c {w * h * 4} | perl -0777 -pe "s/(...)./\\$1/gs" | sha256sum')
    bgr, rgb = bytearray(w * h * 3), s.c.pixels[:w * h * 3]
    bgr[0::3], bgr[1::3], bgr[2::3] = rgb[2::3], rgb[1::3], rgb[0::3]
    if hashlib.sha256(bgr).hexdigest() not in got:
        m.fail('the picture is not what xwd tells')
    return w * h


def agent_start(m):
    """SPICE's agent as Debian has it; without systemd-logind it must not ask whose session is in front (-X)."""
    shell(m, 'echo SPICE_VDAGENTD_EXTRA_ARGS=-X > /etc/default/spice-vdagentd; modprobe uinput; (setsid spice-vdagent -x -d > /var/log/agent 2>&1 &)')
    until(m, "the agent's daemon", lambda: 'received version' in shell(m, 'cat /var/log/agent'))


def clipboard_check(s, m, vnc):
    agent_start(m)
    new, old = Viewer(vnc, True), Viewer(vnc, False)
    text = 'Kopiert: \u00e4\u20ac\n' * 3000
    shell(m, "perl -e 'print \"Kopiert: \\xc3\\xa4\\xe2\\x82\\xac\\n\" x 3000' > /tmp/text; xclip -selection clipboard -i /tmp/text")
    if new.paste() != text.encode():
        m.fail('what was copied in the guest is not what the viewer pastes')
    if old.cut_text()[1] != text.encode('latin-1', 'replace'):
        m.fail('what was copied in the guest is not what a viewer of old pastes')
    other = 'Von au\u00dfen \u2192 \U0001d11e\n' * 2000
    new.put(NOTIFY | TEXT)
    if new.extended() != (ASK | TEXT, b''):
        m.fail('the server does not ask for what a viewer has copied')
    new.provide(other.encode())
    wanted = hashlib.md5(other.encode()).hexdigest()
    until(m, 'what a viewer has copied', lambda: wanted in shell(m, 'timeout 5 xclip -selection clipboard -o | md5sum'))
    old.put_latin('von fr\u00fcher'.encode('latin-1'))
    wanted = hashlib.md5('von fr\u00fcher'.encode()).hexdigest()
    until(m, 'what a viewer of old has copied', lambda: wanted in shell(m, 'timeout 5 xclip -selection clipboard -o | md5sum'))
    new.close()
    old.close()
    return len(text) + len(other)


@contextlib.contextmanager
def session(a, name, memory, start, *more):
    """Debian with what start() starts there, and a viewer; powered off at the end."""
    line = ['-m', memory, '-drive', f'file={programs_disk(a.guests)},snapshot=on', '-vga', a.vga, '-usb', '-usbdevice', 'tablet', '-no-reboot',
            '-vnc', f'unix:{a.dir}/vnc', *more]
    with Machine(a.vmm, line, 1000 * a.scale, log=a.log) as m:
        login(m)
        start(m)
        yield m, Screen(a, m, f'{a.dir}/vnc', name)
        power_off(m)


def x_test(a):
    agent = ['-device', 'virtio-serial-pci', '-chardev', 'qemu-vdagent,id=agent,clipboard=on', '-device', 'virtserialport,chardev=agent,name=com.redhat.spice.0']
    with session(a, 'desktop', '512', desktop_start, *agent) as (m, s):
        s.look(3)
        s.keep('start')
        worst = pointer_check(s, m)
        typing_check(s, m)
        pixels = picture_check(s, m)
        drag_check(s, m)
        picture_check(s, m)
        characters = clipboard_check(s, m, f'{a.dir}/vnc')
        seconds = m.seconds()
    return f'nine places within {worst} pixels, keys, a dragged window, {pixels} pixels as xwd has them, twice; {characters} characters through the clipboard; {seconds:.0f} s'


if __name__ == '__main__':
    frame.main(__doc__, x_test, bin=None, vga='std')
