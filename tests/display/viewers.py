#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0-or-later
"""Viewers that people use, on an X server without a screen: viewers.py OSPITE BOOT-SECTOR [--keep DIR]

TigerVNC's, by a password and by VeNCrypt, and gvncviewer of gtk-vnc. What X shows of their windows must be the screen dump through several modes; what
xdotool types and points at must arrive at the guest's keyboard controller; a window that is made larger tells virtio-gpu; what is copied on one X server can be
pasted in another. Skipped, out loud, where a program is missing."""
import os, random, shutil, subprocess, sys, tempfile, time
sys.path.append(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
import leash            # noqa: E402, F401
import checks
from checks import check
import golden, rfb
from ports import free_port
from script import Script, ours, ppm_read
from vnc import buttons, codes, drain, moved, packets, port
from vnc_tls import certificates
from window import same, x, x_server

NEEDED = ('Xvfb', 'xdotool', 'import', 'xclip', 'xtigervncviewer', 'gvncviewer', 'gvnccapture', 'certtool', 'openssl')
PASSWORD = 'open me'
FILE_KEY = bytes([23, 82, 107, 6, 35, 78, 88, 7]).decode()             # of TigerVNC's password files: hidden from glances only
STEPS = [('text', golden.text(80, 3)), ('VBE', golden.vbe(800, 600, 32)), ('planes', golden.planar(0x12)), ('16 bits', golden.vbe(640, 400, 16))]


class Viewer:
    def __init__(self, display, command, title, where):
        self.display = display
        self.log = open(f'{where}/viewer.log', 'w')
        self.process = subprocess.Popen(command, env={**os.environ, 'DISPLAY': display, 'HOME': where, 'NO_AT_BRIDGE': '1', 'GSETTINGS_BACKEND': 'memory'},
                                        stdin=subprocess.DEVNULL, stdout=self.log, stderr=self.log)
        self.window = None
        for _ in range(600):
            found = x(display, 'xdotool', 'search', '--onlyvisible', '--name', title).decode().split()
            if found:
                self.window = found[-1]
                break
            if self.process.poll() is not None:
                break
            time.sleep(0.1)
        check(self.window is not None, f'{command[0]} shows a window: {open(self.log.name).read()[-500:]}')

    def end(self):
        self.process.kill()
        self.process.wait()
        self.log.close()


def tiger(where, display, address, *more):
    command = ['xtigervncviewer', '-AlertOnFatalError=0', '-ReconnectOnError=0', '-Shared', '-PreferredEncoding', 'ZRLE', '-AutoSelect=0', *more, address]
    return Viewer(display, command, 'TigerVNC', where)


def steps_follow(m, v, where):
    """Every step of the guest in the viewer's window."""
    for name, _ in STEPS:
        m.sync()
        same(m, v.display, v.window, where, f'{name} in the viewer')
        if name != STEPS[-1][0]:
            m.go_on()


def mouse_on(m):
    port(m, 0x64, 0xa8)
    port(m, 0x64, 0xd4)
    port(m, 0x60, 0xf4)
    time.sleep(0.3)
    drain(m)


def keys(m, v):
    x(v.display, 'xdotool', 'windowfocus', '--sync', v.window, 'mousemove', '--window', v.window, '100', '100')
    time.sleep(1)
    drain(m)
    for names in (('h', 'Return', 'Up'), ('shift+a', 'ctrl+c')):
        for name in names:
            x(v.display, 'xdotool', 'key', name)
        want = {'h': [0x23, 0xa3, 0x1c, 0x9c, 0xe0, 0x48, 0xe0, 0xc8], 'shift+a': [0x2a, 0x1e, 0x9e, 0xaa, 0x1d, 0x2e, 0xae, 0x9d]}[names[0]]
        got = codes(m, len(want))
        check(sorted(got) == sorted(want) and got[0] == want[0], f'{names}: {[hex(k) for k in got]}')


def mouse(m, v):
    """From a place to another, then the right button."""
    x(v.display, 'xdotool', 'mousemove', '--window', v.window, '100', '100', 'click', '1')       # without a window manager a click wakes it
    time.sleep(1)
    drain(m)
    x(v.display, 'xdotool', 'mousemove_relative', '--', '37', '-25')
    got = packets(m, lambda q: moved(q) == (37, 25))
    check(moved(got) == (37, 25), f'movement: {got}')
    x(v.display, 'xdotool', 'click', '3')
    got = packets(m, lambda q: buttons(q) == [2, 0])
    check(buttons(got) == [2, 0] and moved(got) == (0, 0), f'a click: {got}')


def wish(m, v):
    """Somebody makes the window another size."""
    got = ''
    for _ in range(100):
        x(v.display, 'xdotool', 'windowsize', v.window, '900', '650')
        time.sleep(0.5)
        got = m.command('info qtree -v')
        if 'wanted size 900x650' in got:
            break
    check('wanted size 900x650' in got, 'the size of the window: ' + ' '.join(l for l in got.split('\n') if 'wanted' in l))


def clip(display, text=None):
    """Copies on an X server, or tells what is to be pasted there."""
    env = {**os.environ, 'DISPLAY': display}
    if text is not None:
        subprocess.run(['xclip', '-i', '-selection', 'clipboard'], input=text.encode(), env=env, stdout=subprocess.DEVNULL, check=True)
        return None
    try:
        return subprocess.run(['xclip', '-o', '-selection', 'clipboard'], env=env, capture_output=True, timeout=20).stdout.decode()
    except subprocess.TimeoutExpired:
        return None


def clipboard(one, other):
    """What is copied beside one viewer is pasted beside the other."""
    for a, b, text in ((one, other, 'Grüße von der einen Seite €'), (other, one, 'and back\nin two lines')):
        for n in range(40):
            x(b.display, 'xdotool', 'windowfocus', '--sync', b.window)
            clip(a.display, text)
            x(a.display, 'xdotool', 'windowfocus', '--sync', a.window)   # viewers tell of it when they have the focus
            time.sleep(0.5 + n / 10)
            if clip(b.display) == text:
                break
        check(clip(b.display) == text, f'{text!r} copied, {clip(b.display)!r} is pasted')


def refused(where, display, why, *args):
    p = subprocess.run(['xtigervncviewer', '-AlertOnFatalError=0', '-ReconnectOnError=0', *args], capture_output=True, text=True, timeout=120,
                       env={**os.environ, 'DISPLAY': display, 'HOME': where})
    check(why in p.stderr, f'{args}: {why!r} is not what the viewer says: {p.stderr[-300:]}')


def machine(ospite, where, vnc, *more):
    return ours(ospite, where + '/disk', where, [*more, '-vnc', vnc])


def free_display():
    return free_port() - 5900


def address_of(m):
    """Where it listens, as viewers want it."""
    return m.command('info vnc').split('Server: ')[1].split(' ')[0].replace(':', '::')


def password_file(where, word=PASSWORD):
    with open(f'{where}/passwd', 'wb') as f:
        f.write(rfb.des(FILE_KEY, word.encode().ljust(8, b'\0')))
    return f.name


def tiger_by_password(ospite, where, displays, keep):
    agent = ['-vga', 'virtio', '-chardev', 'qemu-vdagent,id=a,name=vdagent,clipboard=on', '-device', 'virtio-serial-pci',
             '-device', 'virtserialport,chardev=a,name=com.redhat.spice.0']
    m = machine(ospite, where, f'127.0.0.1:{free_display()},to=40000,password=on', *agent)
    viewers = []
    try:
        m.command(f'set_password vnc "{PASSWORD}"')
        address = address_of(m)
        refused(where, displays[0], 'Authentication failed', '-passwd', password_file(where, 'let me'), address)
        for d in displays:
            viewers.append(tiger(where, d, address, '-passwd', password_file(where)))
        steps_follow(m, viewers[0], where)
        if keep:
            x(displays[0], 'import', '-window', 'root', f'{keep}/viewers-tiger.png')
        clipboard(*viewers)
        m.command('stop')
        mouse_on(m)
        keys(m, viewers[0])
        mouse(m, viewers[0])
        wish(m, viewers[0])
    finally:
        for v in viewers:
            v.end()
        m.end()


def tiger_by_tls(ospite, where, display):
    certificates(where)
    m = machine(ospite, where, f'localhost:{free_display()},to=40000,password=on,tls-creds=t', '-object', f'tls-creds-x509,id=t,dir={where},endpoint=server,verify-peer=off')
    v = None
    try:
        m.command(f'set_password vnc "{PASSWORD}"')
        address = 'localhost::' + address_of(m).split('::')[-1]
        strict = ['-SecurityTypes', 'X509Vnc', '-passwd', password_file(where)]
        refused(where, display, 'No matching security types', '-SecurityTypes', 'None,VncAuth', '-passwd', password_file(where), address)
        v = tiger(where, display, address, *strict, '-X509CA', f'{where}/ca-cert.pem')
        steps_follow(m, v, where)
    finally:
        if v:
            v.end()
        m.end()


def gtk(ospite, where, display, keep):
    """gvncviewer takes the host, and a display number behind it."""
    m = machine(ospite, where, f'127.0.0.1:{free_display()},to=40000,share=ignore')       # both want the screen for themselves
    v = None
    try:
        address = '127.0.0.1:' + str(int(address_of(m).split('::')[-1]) - 5900)
        v = Viewer(display, ['gvncviewer', address], 'ospite', where)
        for name, _ in STEPS:
            m.sync()
            captured(m, display, address, where, name)
            if name != STEPS[-1][0]:
                m.go_on()
        m.command('stop')
        mouse_on(m)
        if keep:
            x(display, 'import', '-window', 'root', f'{keep}/viewers-gtk.png')
        keys(m, v)
    finally:
        if v:
            v.end()
        m.end()


def captured(m, display, address, where, name):
    """gvnccapture is the same library without a window: its picture has no menus around it."""
    for _ in range(10):                                # it takes the first picture, which may be that of a moment before
        for file in ('c.png', 'c.ppm'):
            if os.path.exists(f'{where}/{file}'):
                os.unlink(f'{where}/{file}')
        subprocess.run(['gvnccapture', address, f'{where}/c.png'], env={**os.environ, 'DISPLAY': display}, stdout=subprocess.DEVNULL, timeout=120)
        subprocess.run(['convert', f'{where}/c.png', '-depth', '8', f'{where}/c.ppm'], timeout=120)
        if alike := os.path.exists(f'{where}/c.ppm') and ppm_read(f'{where}/c.ppm') == m.picture():
            break
        time.sleep(0.5)
    check(alike, f'{name} by gvnccapture')


def main():
    ospite, boot = sys.argv[1:3]
    keep = sys.argv[4] if len(sys.argv) > 4 else None
    missing = [t for t in NEEDED if not shutil.which(t)]
    if missing:
        print('skipped: missing', *missing)
        return 77
    where = tempfile.mkdtemp()
    s, r = Script(), random.Random(20261128)
    for _, step in STEPS:
        step(s, r)
        s.sync()
    with open(where + '/disk', 'wb') as f:
        f.write(s.image(boot))
    servers = [x_server(), x_server()]
    displays = [d for _, d in servers]
    try:
        tiger_by_password(ospite, where, displays, keep)
        tiger_by_tls(ospite, where, displays[0])
        gtk(ospite, where, displays[1], keep)
    finally:
        for p, _ in servers:
            p.terminate()
            p.wait()
        shutil.rmtree(where, ignore_errors=True)
    print(f'viewers: {checks.counts()}')
    return checks.failed != 0


if __name__ == '__main__':
    sys.exit(main())
