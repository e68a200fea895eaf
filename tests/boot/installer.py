#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0-or-later
"""Debian's installer, as a person starts it: installer.py --vmm CMD --guests DIR --bin DIR text|gtk|hand

    qemu-kvm -hda disk.qcow2 -m 512 -cdrom install.iso -boot d -vga std

text and gtk answer by preseed (installer.cfg), from a mirror on this host's loopback, which the guest sees at 10.0.2.2; the disk
must then boot to its login prompt and be in order. hand goes through the first screens of the graphical installer by keys and
mouse over VNC. Pictures of each stage are left in --bin. What this machine lacks is skipped out loud (exit status 77)."""
import functools
import http.server
import os
import subprocess
import sys
import tempfile
import threading
import time

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path.insert(0, HERE)
import frame                                                                   # noqa: E402
from boot import Failure, Machine                                              # noqa: E402
from guests import PANIC, image_check, kernel_errors, login, power_off, shell  # noqa: E402
from made import installer_cd                                                   # noqa: E402
from viewer import Screen                                                       # noqa: E402

PLACE = b'10.0.2.2:@PORT'                       # in the boot menu of the CD, for an address of the same length
BLUE, GREY = (0, 0, 170), (170, 170, 170)       # of dialogues in text
MEMORY = {'text': '512', 'gtk': '1G'}           # the graphical one wants 800 MiB, says Debian


def media(a, kind, preseed):
    return installer_cd(a.guests, kind, (os.path.join(HERE, 'installer.cfg'), f'mirror/http/hostname={PLACE.decode()}') if preseed else None)


class Mirror:
    """A web server on the loopback; what was asked for."""
    def __init__(self, folder):
        self.asked = asked = []

        class Handler(http.server.SimpleHTTPRequestHandler):
            def log_message(self, form, *values):
                asked.append(form % values)

        self.where = tempfile.TemporaryDirectory()
        os.symlink(os.path.abspath(folder), f'{self.where.name}/debian')
        self.server = http.server.ThreadingHTTPServer(('127.0.0.1', 0), functools.partial(Handler, directory=self.where.name))
        self.address = f'10.0.2.2:{self.server.server_port:05}'
        threading.Thread(target=self.server.serve_forever, daemon=True).start()

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.server.shutdown()
        self.where.cleanup()

    def packages(self, end='.deb"'):
        return [line for line in list(self.asked) if end[:-1] + ' ' in line and ' 200' in line]


def started(a, disk, iso, memory, log, more=()):
    """The machine by its other name, as typed."""
    name = os.path.join(os.path.dirname(disk), 'qemu-kvm')
    os.symlink(os.path.abspath(a.vmm.split()[0]), name)
    vnc = os.path.join(os.path.dirname(disk), 'vnc')
    line = ['-hda', disk, '-m', memory, '-cdrom', iso, '-boot', 'd', '-vga', 'std']
    return Machine(' '.join([name] + a.vmm.split()[1:]), line + ['-vnc', f'unix:{vnc}', *more], a.timeout, log=log), vnc


# ---- unattended ----

def wait_for(s, what, done, bad=PANIC):
    """Looks at the screen until done(); keeps a picture then."""
    while not done():
        s.look(0.5)
        if s.m.process.poll() is not None:
            s.m.fail(f'the machine ended before: {what}')
        if time.time() > s.m.deadline:
            s.keep('late')
            s.m.fail(f'time is over while waiting for: {what}')
    s.look(1)
    s.keep(what)


def installs(s, mirror, kind):
    """The stages of an installation; seconds of each."""
    m, times = s.m, {}
    stages = [('start', lambda: 'OSPITE-STAGE start' in m.text), ('components', lambda: len(mirror.packages('.udeb"')) > 5),
              ('partitions', lambda: 'OSPITE-STAGE partitions' in m.text), ('base', lambda: len(mirror.packages()) > 30),
              ('kernel', lambda: any('/linux-image-6' in p for p in mirror.packages())),
              ('loader', lambda: any('/grub-pc_' in p for p in mirror.packages())), ('installed', lambda: 'OSPITE-STAGE installed' in m.text)]
    for what, done in stages:
        wait_for(s, what, done)
        times[what] = m.seconds()
        if what == 'start' and kind == 'text':       # with 512 MiB it says that it will do with less, and waits for Enter
            shown = s.settled()
            s.keep('low-memory')
            if s.share(BLUE) < 0.5 or s.share(GREY) < 0.02:
                m.fail('no dialogue in blue and grey is on the screen')
            s.key(0xff0d)
            s.settled(0.5, shown)
    return times


def unattended(kind):
    def test(a):
        iso = media(a, kind, True)
        with tempfile.TemporaryDirectory(prefix='ospite-installer-') as where, Mirror(os.path.join(a.guests, 'installer/mirror')) as mirror:
            image, disk = os.path.join(where, 'install.iso'), os.path.join(where, 'disk.qcow2')
            data = open(iso, 'rb').read()
            if data.count(PLACE) != 1:
                raise Failure(f'{iso} has no place for the address of the mirror')
            with open(image, 'wb') as f:
                f.write(data.replace(PLACE, mirror.address.encode()))
            subprocess.run([a.vmm.split()[0], 'img', 'create', '-q', '-f', 'qcow2', disk, '4G'], check=True)
            a.timeout = 5400 * a.scale                # 8 minutes of the processor, which may have other things to do
            m, vnc = started(a, disk, image, MEMORY[kind], a.log, ['-no-reboot'])
            with m:
                times = installs(Screen(a, m, vnc, f'installer-{kind}'), mirror, kind)
                if m.end() != 0:
                    m.fail(f'the installation ended with status {m.process.returncode}')
                total = m.seconds()
            image_check(disk)
            return f'{times}, installed after {total:.0f} s, ' + boots(a, disk, kind)
    test.__doc__ = f'The {kind} installer, unattended.'
    return test


def boots(a, disk, kind):
    """What was installed starts from its disk alone."""
    os.unlink(os.path.join(os.path.dirname(disk), 'qemu-kvm'))
    vnc = os.path.join(os.path.dirname(disk), 'vnc2')
    with Machine(a.vmm, ['-hda', disk, '-m', '512', '-vga', 'std', '-no-reboot', '-vnc', f'unix:{vnc}'], 400 * a.scale, log=a.log) as m:
        s = Screen(a, m, vnc, f'installer-{kind}-disk')
        wait_for(s, 'login', lambda: 'ospite login: ' in m.text)
        at_login = m.seconds()
        login(m)
        if '/dev/sda1' not in shell(m, 'findmnt -no SOURCE,FSTYPE /'):
            m.fail('the root is not the partition that was made')
        kernel_errors(m)
        if 'status=0' not in shell(m, "dpkg --audit; echo status'='$?"):
            m.fail('dpkg --audit complains')
        power_off(m)
    image_check(disk)
    return f'login after {at_login:.0f} s, no errors in dmesg, poweroff, image clean'


# ---- by hand ----

UP, DOWN, ENTER, CONTROL, ALT, F2 = 0xff52, 0xff54, 0xff0d, 0xffe3, 0xffe9, 0xffbf
CONTINUE = -60, -26                              # from the lower right corner
IRELAND, GERMAN, ENGLISH = (100, 350), (240, 615), (240, 454)


def has_continue(s):
    """Is the button with that word on the screen? Dialogues that only tell of progress have none, or a shorter word."""
    w, h, p = s.c.width, s.c.height, s.c.pixels
    if w < 1024 or sum(p[((h - 26) * w + w - 104) * 3:][:3]) < 600:             # no light button
        return False
    dark = [x for x in range(w - 108, w - 8) if any(sum(p[(y * w + x) * 3:(y * w + x) * 3 + 3]) < 120 for y in range(h - 34, h - 16))]
    return len(dark) > 40 and dark[-1] - dark[0] > 55


def heading(s):
    """The part of a dialogue that tells what it is about; no list and no button is in it."""
    return bytes(s.c.pixels[80 * s.c.width * 3:165 * s.c.width * 3])


def dialogue(s, before, name):
    """Waits for another question than before; its heading."""
    last, since = before, time.time()
    while last == before or time.time() - since < 2:               # a cursor may blink below the heading
        s.look(0.3)
        now = heading(s) if has_continue(s) else before
        if now != last:
            last, since = now, time.time()
        if time.time() > s.m.deadline:
            s.m.fail(f'the question about {name} does not come')
    s.keep(name)
    return last


def go_on(s):
    s.click(s.c.width + CONTINUE[0], s.c.height + CONTINUE[1])


def boot_menu(s):
    """Down and up again, and Enter, before the menu's half minute is over."""
    while (s.c.width, s.c.height) != (640, 480) or s.share((0, 0, 0)) > 0.5:
        s.look(0.3)
        if time.time() > s.m.deadline:
            s.m.fail('no boot menu')
    s.key(DOWN)
    s.look(1)
    s.keep('menu')
    down = bytes(s.c.pixels)
    s.key(UP)
    end = time.time() + 20
    while bytes(s.c.pixels) == down:
        s.look(1)
        if time.time() > end:
            s.m.fail('the bar of the boot menu does not move')
    s.keep('menu')
    s.key(ENTER)


def answers(s):
    """Asks the installer what it was told, in the shell of its second console."""
    for down in (1, 0):
        for key in (CONTROL, ALT, F2):
            s.c.key(key, down)
    s.look(4)                                    # its cursor blinks, so it never settles
    s.key(ENTER)
    while 'ready' not in s.m.text:               # what comes before its prompt, the shell reads wrong
        s.type('echo ready > /dev/ttyS0\n', 0.03)
        s.look(2)
        if time.time() > s.m.deadline:
            s.m.fail('no shell on the second console')
    line = 'for q in debian-installer/language debian-installer/country keyboard-configuration/xkb-keymap; do debconf-get $q; done > /dev/ttyS0; hostname > /dev/ttyS0'
    s.type(line + '\n', 0.03)

    def said():
        return [word for word in s.m.text.split() if word != 'ready']
    wait_for(s, 'answers', lambda: len(said()) >= 4 and s.m.text.endswith('\n'))
    return said()


def hand_test(a):
    """Boot menu, language, location, keyboard, name of the machine: by keys and a tablet's clicks, through VNC."""
    with tempfile.TemporaryDirectory(prefix='ospite-installer-') as where:
        disk = os.path.join(where, 'disk.qcow2')
        subprocess.run([a.vmm.split()[0], 'img', 'create', '-q', '-f', 'qcow2', disk, '4G'], check=True)
        a.timeout = 1500 * a.scale
        m, vnc = started(a, disk, media(a, 'gtk', False), MEMORY['gtk'], a.log, ['-usbdevice', 'tablet'])
        with m:
            s = Screen(a, m, vnc, 'installer-hand')
            boot_menu(s)
            asked = dialogue(s, heading(s), 'language')
            shown = s.settled(1)
            s.click(*GERMAN)
            s.settled(1, shown)
            s.keep('german')
            s.click(*ENGLISH)
            s.settled(1, shown)
            go_on(s)
            asked = dialogue(s, asked, 'location')
            s.click(*IRELAND)
            s.settled(1)
            s.keep('location')
            go_on(s)
            asked = dialogue(s, asked, 'keyboard')
            s.key(DOWN)                                  # and back: the shell is to understand an American's keys
            s.key(UP)
            s.settled(1)
            go_on(s)
            asked = dialogue(s, asked, 'hostname')
            s.type('ospite', 0.1)
            s.look(2)
            s.keep('hostname')
            go_on(s)
            asked = dialogue(s, asked, 'domain')
            go_on(s)
            dialogue(s, asked, 'next')                   # the name is taken with the domain
            got = answers(s)
            if got != ['en_IE:en', 'IE', 'ie', 'ospite']:
                m.fail(f'the installer understood {got}')
            return f'five screens by keys and mouse, the installer has understood {" ".join(got)}; {m.seconds():.0f} s'


TESTS = {'text': unattended('text'), 'gtk': unattended('gtk'), 'hand': hand_test}


if __name__ == '__main__':
    frame.main(__doc__, TESTS, bin=None)
