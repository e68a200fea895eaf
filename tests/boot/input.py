#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0-or-later
"""input.py --vmm CMD --guests DIR --evdev PROGRAM [--qemu CMD]   Virtio keyboard, mouse and tablet by Linux' driver.

Every key, the buttons, wheels, movements and positions by QMP: what Linux' input layer says is compared with what it says in QEMU. Then (here only) a VNC
client types and points, and the guest switches LEDs.

What this machine lacks is skipped out loud (exit status 77)."""
import argparse
import os
import re
import shutil
import sys
import time

here = os.path.dirname(os.path.abspath(__file__))
sys.path[:0] = [here, os.path.join(os.path.dirname(here), 'display')]
import qmp                                                     # noqa: E402
import frame                                                   # noqa: E402
from boot import Failure                                       # noqa: E402
from cpio import Skip                                          # noqa: E402
from rfb import RAW, Client                                    # noqa: E402
from virtio import BAD, Guest                                  # noqa: E402

KEYBOARD, MOUSE, TABLET = 'QEMU Virtio Keyboard', 'QEMU Virtio Mouse', 'QEMU Virtio Tablet'
# Writes an event that switches a LED to the keyboard: time, type 17, code, value.
SCRIPT = r'''
i=0; while [ $i -lt 600 ] && [ $(grep -c "QEMU Virtio" /proc/bus/input/devices) -lt 3 ]; do sleep 0.1; i=$((i+1)); done
grep -A 20 "QEMU Virtio" /proc/bus/input/devices | grep -E "^[NBIU]:" | sed "s/^/<info /; s/\$/>/"
cat /sys/class/input/input*/uniq | sed "s/^/<uniq /; s/\$/>/"
/evdev
for e in /sys/class/input/event*; do grep -q "Virtio Keyboard" $e/device/name && k=/dev/input/$(basename $e); done
echo LEDS-KEYS; read line
printf '\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\021\0\001\0\000\0\0\0' > $k
echo LEDS-OFF; read line
printf '\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\021\0\001\0\001\0\0\0' > $k
echo LEDS-ON; read line
'''
# Names of keys that the program which listens takes for its end, and those that QEMU has not.
LAST, OURS = 'q', {f'f{n}' for n in range(13, 25)}


def key_names(c):
    types = {t['name']: t for t in c.run('query-qmp-schema')}
    data = next(t for t in types.values() if t['meta-type'] == 'enum' and 'kp_comma' in [m['name'] for m in t.get('members', [])])
    return [m['name'] for m in data['members'] if m['name'] not in OURS | {LAST, 'unmapped'}]


def key(name, down):
    return {'type': 'key', 'data': {'down': down, 'key': {'type': 'qcode', 'data': name}}}


def button(name, down):
    return {'type': 'btn', 'data': {'down': down, 'button': name}}


def axis(kind, name, value):
    return {'type': kind, 'data': {'axis': name, 'value': value}}


def tell(m, c, name, *updates):
    """Updates, each of some events, and the reports that must come of them: a guest that is slow to read loses some. A key that is held for long on a busy
    host repeats, which is Linux' own doing."""
    for events in updates:
        c.run('input-send-event', events=events)
    for _ in updates:
        m.serial(rf'<{name}:[^>]* (?:[23]/\d+=|1/\d+=[01]\b)[^>]*>', BAD)


def told(text):
    """What the devices said, the items of a report in order; LEDs and repeated keys are the guest's own doing."""
    for name, items in re.findall(r'<(QEMU Virtio \w+):([^>]*)>', text):
        items = sorted(i for i in items.split() if not i.startswith('17/') and not re.fullmatch(r'1/\d+=2', i))
        if items:
            yield f'{name}: {" ".join(items)}'


def mouse_choose(m, name):
    number = re.search(rf'Mouse #(\d+): {name}', m.command('info mice'))
    if not number:
        m.fail(f'info mice does not list {name}: {m.command("info mice")}')
    m.command(f'mouse_set {number.group(1)}')


def session(a, vmm, extra):
    a = argparse.Namespace(**{**vars(a), 'vmm': vmm})
    args = ['-device', 'virtio-keyboard-pci,serial=ospite-5', '-device', 'virtio-mouse-pci', '-device', 'virtio-tablet-pci', '-net', 'none',
            '-qmp', f'unix:{a.dir}/qmp,server=on,wait=off', *extra]
    return Guest(a, ['virtio_input', 'evdev'], SCRIPT, args, {'evdev': a.evdev}, seconds=300)


def drive(m, a, names):
    m.serial('EVDEV-READY', BAD)
    # Which keys there are compares pair-virtio: QEMU has no F13 to F24.
    lines = sorted(l for l in re.findall(r'<(?:info|uniq) [^>]*>', m.text) if 'KEY=' not in l)
    c = qmp.Client(os.path.join(a.dir, 'qmp'), seconds=120)
    names = names or key_names(c)
    for n in range(0, len(names), 8):
        tell(m, c, KEYBOARD, *([key(name, down)] for name in names[n:n + 8] for down in (True, False)))
    tell(m, c, KEYBOARD, *([key(*k)] for k in (('shift', True), ('a', True), ('a', False), ('shift', False))))
    tell(m, c, TABLET, *([axis('abs', 'x', x), axis('abs', 'y', y)] for x, y in ((1, 2), (32767, 32767), (12345, 678))))
    for name in ('left', 'right', 'middle', 'side', 'extra'):
        tell(m, c, TABLET, [axis('abs', 'x', 7), button(name, True)], [button(name, False)])
    for name in ('wheel-up', 'wheel-down'):
        tell(m, c, TABLET, [button(name, True)])
        c.run('input-send-event', events=[button(name, False)])
    mouse_choose(m, MOUSE)
    tell(m, c, MOUSE, *([axis('rel', 'x', dx), axis('rel', 'y', dy)] for dx, dy in ((1, 1), (-5, 300), (0, -1))))
    tell(m, c, MOUSE, [axis('rel', 'x', 3), button('left', True)], [axis('rel', 'y', -3), button('left', False)], [button('wheel-down', True)])
    return names, lines + list(told(m.text)), c


def leave(m, c):
    c.run('input-send-event', events=[key(LAST, True), key(LAST, False)])


def compare(ours, theirs):
    for n, (x, y) in enumerate(zip(ours, theirs)):
        if x != y:
            raise Failure(f'line {n}: {x}, in QEMU {y}')
    if len(ours) != len(theirs):
        raise Failure(f'{len(ours)} lines, in QEMU {len(theirs)}: {ours[len(theirs):] or theirs[len(ours):]}')


def run(a):
    if not shutil.which(a.qemu.split()[0]):
        raise Skip(f'{a.qemu} is not installed')
    vnc = a.dir + '/vnc'
    with session(a, a.vmm, ['-device', 'VGA', '-vnc', f'unix:{vnc}']) as m:
        names, ours, c = drive(m, a, None)
        mouse_choose(m, TABLET)
        viewer = Client(vnc)
        viewer.set_encodings(RAW)
        viewer.request()
        for x, y in ((0, 0), (viewer.width - 1, viewer.height - 1), (77, 33)):
            viewer.pointer(1, x, y)
            got = m.serial(rf'{TABLET}:[^>]* 3/0=(\d+) 3/1=(\d+)[^>]*>', BAD)
            at = int(got.group(1)) * viewer.width >> 15, int(got.group(2)) * viewer.height >> 15
            if at != (x, y):
                m.fail(f'the viewer points at {x},{y}, the tablet at {at}')
        viewer.pointer(0, 77, 33)
        m.serial(rf'{TABLET}: 1/272=0', BAD)
        viewer.key(ord('z'), True)
        viewer.key(ord('z'), False)
        m.serial(rf'{KEYBOARD}: 1/44=1', BAD)
        viewer.close()
        leave(m, c)
        # Linux itself has switched on two when it saw their keys.
        for mark, want in (('KEYS', 'num lock caps lock'), ('OFF', 'num lock'), ('ON', 'num lock caps lock')):
            m.serial('LEDS-' + mark, BAD)
            end = time.time() + 60 * a.scale
            while not re.search(f'LEDs: {want}$', m.command('info qtree -v'), re.M):
                if time.time() > end:
                    m.fail(f'not {want}: {re.findall("LEDs.*", m.command("info qtree -v"))}')
            m.send('\n')
        m.serial('OSPITE-DONE', BAD)
        if m.end():
            m.fail('the status is not 0')
    with session(a, a.qemu, ['-accel', 'tcg']) as m:
        _, theirs, c = drive(m, a, names)
    compare(ours, theirs)
    return f'{len(names)} keys, five buttons, wheels, positions, movements: {len(ours)} lines as in QEMU; VNC, LEDs'


if __name__ == '__main__':
    frame.main(__doc__, run, evdev=None, qemu='qemu-system-x86_64')
