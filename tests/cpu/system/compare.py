#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0-or-later
"""Runs a guest on the engine bt (test-board) and on qemu-system-x86_64 and compares what it prints: compare.py BOARD GUEST

What qemu gets wrong or lacks stands in sections that are compared with golden/NAME.txt instead.
Returns 0 when the transcripts are the same, 1 when not, 77 (skipped) without qemu-system-x86_64."""
import difflib, os, shutil, subprocess, sys, tempfile

LIMIT_S = 350


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


def split(lines):
    """Rows to compare with qemu, and the sections 'golden NAME' ... 'golden end', which qemu has no right answer for."""
    common, sections, name = [], {}, None
    for line in lines:
        if line.startswith('golden '):
            name = None if line == 'golden end' else line.split()[1]
            if name:
                sections[name] = []
        elif name:
            sections[name].append(line)
        else:
            common.append(line)
    return common, sections


def compare(name, expected, found):
    different = list(difflib.unified_diff(expected, found, name, 'bt', lineterm='', n=1))
    for line in different[:60]:
        print(line[:200])
    return not different


def main():
    if not shutil.which('qemu-system-x86_64'):
        print('skipped: qemu-system-x86_64 is not installed, there is nothing to compare with')
        return 77
    here, there = board(sys.argv[1], sys.argv[2]), qemu(sys.argv[2])
    (ours, sections), (theirs, _) = split(here[1].splitlines()), split(there[1].splitlines())
    print(f'{os.path.basename(sys.argv[2])}: {len(ours)} rows of {sum(len(x.split()) for x in ours)} values, qemu {len(theirs)} rows; '
          f'{len(sections)} golden sections; exit codes {here[0]}, {there[0]}')
    same = compare('qemu', theirs, ours)
    for name, rows in sections.items():
        path = os.path.join(os.path.dirname(os.path.abspath(__file__)), 'golden', name + '.txt')
        if os.environ.get('GOLDEN_WRITE'):
            open(path, 'w').write('\n'.join(rows) + '\n')
        same &= compare(path, open(path).read().splitlines(), rows)
        print(f'golden {name}: {len(rows)} rows')
    ended = bool(ours) and ours[-1] == 'end'
    if not ended:
        print('the guest did not come to its end on the engine bt')
    return 0 if same and here[0] == there[0] == 0 and ended else 1


if __name__ == '__main__':
    sys.exit(main())
