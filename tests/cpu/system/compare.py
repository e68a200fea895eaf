#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0-or-later
"""Runs a guest on the engine bt (test-board) and on qemu-system-x86_64 and compares what it prints: compare.py BOARD GUEST

Returns 0 when the transcripts are the same, 1 when not, 77 (skipped) without qemu-system-x86_64."""
import difflib, os, shutil, subprocess, sys, tempfile

LIMIT_S = 150


def board(program, guest):
    p = subprocess.run([program, guest], stdout=subprocess.PIPE, timeout=LIMIT_S)
    return p.returncode, p.stdout.decode('latin-1')


def qemu(guest):
    with tempfile.TemporaryDirectory() as directory:
        out = os.path.join(directory, 'serial')
        p = subprocess.run(['qemu-system-x86_64', '-M', 'pc', '-accel', 'tcg', '-cpu', 'max', '-m', '32', '-display', 'none', '-net', 'none',
                            '-serial', 'file:' + out, '-no-reboot', '-device', 'isa-debug-exit,iobase=0xf4,iosize=1',
                            '-kernel', guest], stderr=subprocess.PIPE, timeout=LIMIT_S)
        return p.returncode >> 1, open(out, encoding='latin-1').read()


def main():
    if not shutil.which('qemu-system-x86_64'):
        print('skipped: qemu-system-x86_64 is not installed, there is nothing to compare with')
        return 77
    here, there = board(sys.argv[1], sys.argv[2]), qemu(sys.argv[2])
    lines = [x[1].splitlines() for x in (here, there)]
    print(f'{os.path.basename(sys.argv[2])}: {len(lines[0])} rows, {len(lines[0]) and sum(len(x.split()) for x in lines[0])} values; '
          f'qemu: {len(lines[1])} rows; exit codes {here[0]}, {there[0]}')
    different = list(difflib.unified_diff(lines[1], lines[0], 'qemu', 'bt', lineterm='', n=1))
    for line in different[:60]:
        print(line[:200])
    ended = bool(lines[0]) and lines[0][-1] == 'end'
    if not ended:
        print('the guest did not come to its end on the engine bt')
    return 0 if not different and here[0] == there[0] == 0 and ended else 1


if __name__ == '__main__':
    sys.exit(main())
