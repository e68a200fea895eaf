#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0-or-later
"""Do includes only point down? Each room of src/ stands on a step; a file may include its own room and lower ones, and
rooms on one step do not know each other (docs/architecture.md). arrows.py SOURCE_ROOT"""
import os, re, sys

STEP = {'main': 5, 'tool': 5, 'monitor': 5, 'machine': 4, 'device': 3, 'engine': 2, 'bus': 2,
        'x86': 1, 'memory': 1, 'block': 1, 'chardev': 1, 'base': 0}
# What may be although the steps forbid it, and why.
EXCEPTIONS = {
    ('tool', 'monitor'),          # the command line sets a monitor up
    ('main', 'tool'),             # main.c is a list of tools
    ('main', 'monitor'),
}


def room(path):
    first = path.split('/')[0]
    return 'main' if first == 'main.c' else first


def main():
    root = os.path.join(sys.argv[1], 'src')
    wrong, seen = [], 0
    for directory, _, names in os.walk(root):
        for name in sorted(names):
            path = os.path.relpath(os.path.join(directory, name), root)
            if not name.endswith(('.c', '.h')):
                continue
            here = room(path)
            for number, line in enumerate(open(os.path.join(root, path), encoding='utf-8'), 1):
                m = re.match(r'\s*#\s*include\s+"([^"]+)"', line)
                if not m or '/' not in m[1]:
                    continue
                there = room(m[1])
                seen += 1
                if there not in STEP:
                    wrong.append(f'src/{path}:{number}: "{m[1]}" is in no room')
                elif here != there and (here, there) not in EXCEPTIONS and STEP[there] >= STEP[here]:
                    wrong.append(f'src/{path}:{number}: {here} (step {STEP[here]}) includes {there} (step {STEP[there]})')
    print('\n'.join(wrong))
    print(f'arrows: {seen} includes, {len(wrong)} point up or aside')
    return bool(wrong) or not seen


sys.exit(main())
