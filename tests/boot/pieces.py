#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0-or-later
"""pieces.py --vmm CMD --program PROGRAM   a program whose data lie far apart, under Linux (pieces.c says what it does)."""
import argparse
import os
import sys
import tempfile

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
from boot import Failure, Machine              # noqa: E402
from cpio import Skip, initramfs, need         # noqa: E402


def main():
    p = argparse.ArgumentParser(usage=__doc__)
    p.add_argument('--vmm', required=True)
    p.add_argument('--program', required=True)
    a = p.parse_args()
    try:
        with tempfile.TemporaryDirectory() as directory:
            initrd = initramfs(os.path.join(directory, 'i'), '/pieces\necho OSPITE-DONE', {'pieces': a.program})
            kernel = need('/boot/vmlinuz-*cloud*', 'linux-image-cloud-amd64')
            with Machine('setarch -R ' + a.vmm, ['-m', '256', '-kernel', kernel, '-initrd', initrd, '-append', 'console=ttyS0 quiet panic=-1', '-no-reboot'], 300) as m:
                m.serial('RIGHT', 'WRONG|Kernel panic')
                m.serial('OSPITE-DONE', 'Kernel panic')
                m.end()
    except Failure as f:
        print(f'FAIL pieces: {f}')
        return 1
    except Skip as s:
        print(f'SKIP pieces: {s}')
        return 77
    print('PASS pieces: a list in two pieces of the address space; nothing behind the last')
    return 0


sys.exit(main())
