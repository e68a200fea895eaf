#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0-or-later
"""Guests that take long to make: made once, by whoever needs them first, and kept in one folder.

As a library: each function gives the path of one, and makes it if it is not there. Tests run beside each other, so everything is made under a
lock of its own, and looked for again behind it. What this machine lacks for it is a Skip.

As a program: made.py DIR [fast]   makes what the suites fast and slow (or fast alone) need. tests/run does that while the compilers work; what fails
here is tried again, and reported, by the test that needs it."""
import contextlib
import fcntl
import glob
import os
import shutil
import subprocess
import sys

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
from boot import Failure                       # noqa: E402
from cpio import Skip                          # noqa: E402

HERE = os.path.dirname(os.path.abspath(__file__))
SOURCE = os.path.dirname(os.path.dirname(HERE))
# Debian with the programs of desktop.py, clipboard's agent, wayland.py, and those of peers.py: one disk, for making it takes minutes.
PROGRAMS = ('xserver-xorg-core,xserver-xorg-input-evdev,xserver-xorg-input-libinput,xinit,icewm,xterm,x11-apps,x11-xserver-utils,xdotool,'
            'xfonts-base,fonts-dejavu-core,spice-vdagent,xclip,weston,iproute2,iperf3,fio,debootstrap,fdisk')


@contextlib.contextmanager
def alone(path):
    """Nobody else makes path meanwhile."""
    os.makedirs(os.path.dirname(path), exist_ok=True)
    with open(os.path.join(os.path.dirname(path), f'.{os.path.basename(path)}.lock'), 'w') as f:
        fcntl.flock(f, fcntl.LOCK_EX)
        yield


def tool(name, *args, needs=()):
    """Runs one of tools/."""
    for program in needs:
        if not shutil.which(program, path=os.environ['PATH'] + ':/usr/sbin:/sbin'):
            raise Skip(f'{program} is missing; tools/setup guest test installs it')
    made = subprocess.run([os.path.join(SOURCE, 'tools', name), *args], capture_output=True, text=True)
    if made.returncode:
        raise Failure(f'tools/{name} {" ".join(args)} failed: {(made.stdout + made.stderr).strip()[-600:]}')


def made(path, name, *args, needs=()):
    with alone(path):
        if not os.path.exists(path):
            tool(name, *args, needs=needs)
    return path


def disk_made(path, *args):
    return made(path, 'mk-debian-disk', path, *args, needs=('mmdebstrap', 'grub-mkimage', 'qemu-img'))


def debian_disk(guests, arch='amd64'):
    """Debian as tools/quickstart has it."""
    return disk_made(os.path.join(os.path.abspath(guests), 'debian.qcow2' if arch == 'amd64' else f'debian-{arch}.qcow2'), arch)


def programs_disk(guests):
    return disk_made(os.path.join(os.path.abspath(guests), 'programs.qcow2'), 'amd64', PROGRAMS)


def debian_kernel(guests):
    """Where Debian's kernel for all machines is unpacked, with all its drivers."""
    path = os.path.join(os.path.abspath(guests), 'kernel')
    return made(path, 'mk-debian-kernel', path)


def kernel_image(guests):
    return sorted(glob.glob(debian_kernel(guests) + '/boot/vmlinuz-*'))[-1]


def fetched(guests, arch, package, pattern):
    """A file of a package that need not be installed, nor be of this machine's architecture."""
    folder = os.path.join(os.path.abspath(guests), f'packages-{arch}')
    with alone(folder):
        if not glob.glob(os.path.join(folder, pattern)):
            tool('fetch-packages', arch, folder, package)
    found = sorted(glob.glob(os.path.join(folder, pattern)))
    if not found:
        raise Skip(f'{package} has no {pattern}')
    return found[-1]


def live_iso(guests, name):
    folder = os.path.abspath(guests)
    return made(os.path.join(folder, f'debian-{name}.iso'), 'mk-live-iso', folder, needs=('mmdebstrap', 'mksquashfs', 'xorriso'))


def installer_cd(guests, kind, preseed=None):
    """Debian's installer, with preseed = (file, more for the kernel's command line) unattended. That takes a part of a Debian mirror as well."""
    folder = os.path.join(os.path.abspath(guests), 'installer')
    iso = os.path.join(folder, f'{"auto" if preseed else "hand"}-{kind}.iso')
    recipe = [os.path.join(SOURCE, 'tools/mk-installer'), os.path.join(HERE, 'installer.cfg')]
    more = ['--preseed', preseed[0], '--append', preseed[1]] if preseed else ['--no-mirror']
    with alone(folder):
        if not os.path.exists(iso) or os.path.getmtime(iso) <= max(os.path.getmtime(r) for r in recipe):
            tool('mk-installer', folder, kind, '--name', os.path.basename(iso).split('-')[0], *more, needs=('xorriso', 'cpio', 'depmod'))
    return iso


def mirror_folder(guests):
    """The part of a Debian mirror that an installation takes."""
    folder = os.path.join(os.path.abspath(guests), 'installer')
    with alone(folder):
        if not os.path.exists(os.path.join(folder, 'mirror/dists/trixie/Release')):
            tool('mk-installer', folder, 'text', '--name', 'hand', needs=('xorriso', 'cpio', 'depmod'))
    return os.path.join(folder, 'mirror')


# Packages of fetched(): architecture, name, a file of it.
OTHER_KERNELS = {
    'kernel-rt': ('amd64', 'linux-image-rt-amd64*', 'boot/vmlinuz-*-rt-amd64'),
    'kernel-686': ('i386', 'linux-image-686*', 'boot/vmlinuz-*-686'),
    'kernel-686-pae': ('i386', 'linux-image-686-pae*', 'boot/vmlinuz-*-686-pae'),
}
XEN = ('amd64', 'xen-hypervisor-4.17-amd64', 'boot/xen-4.17-amd64.gz')
BUSYBOX_I386 = ('i386', 'busybox-static', 'bin/busybox')


def main():
    guests, slow = sys.argv[1], sys.argv[2:] != ['fast']
    wanted = [lambda: debian_kernel(guests), lambda: debian_disk(guests)]
    if slow:
        wanted += [lambda: programs_disk(guests), lambda: installer_cd(guests, 'gtk')]
        wanted += [lambda p=p: fetched(guests, *p) for p in (*OTHER_KERNELS.values(), XEN, BUSYBOX_I386)]
    for make in wanted:
        try:
            print(f'made: {make()}', flush=True)
        except (Skip, Failure) as why:
            print(f'made: {why}', flush=True)


if __name__ == '__main__':
    main()
