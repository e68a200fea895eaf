# SPDX-License-Identifier: GPL-2.0-or-later
"""Initramfs archives with busybox (cpio, newc format: Linux Documentation/driver-api/early-userspace/buffer-format.rst)."""
import glob
import os


class Skip(Exception):
    """Something this machine lacks."""


def need(pattern, package):
    found = sorted(glob.glob(pattern))
    if not found:
        raise Skip(f'{pattern} is missing; install {package}')
    return found[-1]


def entry(inode, name, mode, data=b'', rdev=(0, 0)):
    head = [inode, mode, 0, 0, 1, 0, len(data), 0, 0, rdev[0], rdev[1], len(name) + 1, 0]
    out = b'070701' + ''.join(f'{v:08x}' for v in head).encode() + name.encode() + b'\0'
    out += bytes(-len(out) % 4)
    return out + data + bytes(-len(data) % 4)


def archive(entries):
    """entries: (name, mode, data, device) in order; directories first."""
    out = b''.join(entry(n + 1, *e) for n, e in enumerate(entries))
    return out + entry(0, 'TRAILER!!!', 0)


def initramfs(path, script, files=None, busybox=None):
    """Writes an initramfs to path whose init runs script and powers off. files: name in it -> path here; busybox: path of
    a static one for another architecture. Of the kernel only alerts and worse reach the console then: a message of it between
    two bytes of a program's line makes that line another one."""
    busybox = open(busybox or need('/bin/busybox', 'busybox-static'), 'rb').read()
    init = ('#!/bin/busybox sh\n/bin/busybox --install -s /bin\nexport PATH=/bin\n'
            'mount -t proc proc /proc; mount -t sysfs sys /sys; mount -t devtmpfs dev /dev; dmesg -n 2\n'
            'exec < /dev/console > /dev/console 2>&1\n' + script + '\npoweroff -f\n')
    folders = {'bin', 'proc', 'sys', 'dev', 'tmp'}
    for name in files or {}:
        parts = name.split('/')[:-1]
        folders |= {'/'.join(parts[:n + 1]) for n in range(len(parts))}
    entries = [(d, 0o40755) for d in sorted(folders)]
    entries += [('dev/console', 0o20600, b'', (5, 1)), ('bin/busybox', 0o100755, busybox), ('init', 0o100755, init.encode())]
    entries += [(name, 0o100755, open(source, 'rb').read()) for name, source in (files or {}).items()]
    new = f'{path}.{os.getpid()}'                          # tests beside each other share some
    with open(new, 'wb') as f:
        f.write(archive(entries))
    os.replace(new, path)
    return path
