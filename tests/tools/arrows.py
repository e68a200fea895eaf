#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0-or-later
"""Do includes only point down? arrows.py SOURCE_ROOT

Each room of src/ may include its own headers and those of the rooms named in its row, which all stand on lower
steps (docs/architecture.md); NAME_private.h stays in its room. A few wrong includes are tried first: the check must
see them."""
import os
import re
import sys

BELOW = {
    'base': '',
    'x86': 'base', 'memory': 'base', 'block': 'base', 'chardev': 'base', 'net': 'base', 'p9': 'base',
    'bus': 'base memory',
    'display': 'base',
    'nbd': 'base block',
    'engine': 'base x86 memory',
    'device': 'base memory bus block chardev net p9 display',
    'machine': 'base x86 memory block chardev net p9 display bus engine device',
    'monitor': 'base x86 memory block chardev net p9 display bus engine device machine',
    'tool': 'base x86 memory block chardev net p9 display bus engine device machine monitor nbd',
    'main.c': 'base tool', 'bridge_helper.c': '',
}
INCLUDE = re.compile(r'\s*#\s*include\s+"([^"]+)"')
GENERATED = {'insn_table.h', 'dsdt.hex'}         # by the build


def fault(src, path, header):
    """What is wrong with this include, or None."""
    here = path.split('/')[0]
    if '/' not in header:
        near = os.path.join(src, os.path.dirname(path), header)
        known = os.path.exists(near) or header in GENERATED
        return None if known else 'is not in the same folder: write the room in front'
    there = header.split('/')[0]
    if there not in BELOW:
        return 'is in no room'
    if here == there:
        return None
    if there not in BELOW[here].split():
        return f'points from {here} to {there}'
    if header.endswith('_private.h'):
        return f'is private to {there}'
    return None


WRONG = [('block/raw.c', 'memory/map.h'), ('device/serial/ns16550.c', 'engine/engine.h'),
         ('base/loop.c', 'machine/machine.h'), ('machine/pc.c', 'monitor/monitor.h'),
         ('machine/pc.c', 'device/storage/ide_private.h'), ('tool/vm.c', '../main.h'),
         ('engine/vcpu.c', 'device/irqchip/lapic.h'), ('block/raw.c', 'nosuch.h')]
RIGHT = [('block/raw.c', 'base/error.h'), ('block/raw.c', 'block/block_private.h'),
         ('machine/pc.c', 'engine/engine.h')]


def main():
    src = os.path.join(sys.argv[1], 'src')
    wrong = [f'self-check: "{header}" in {path} went unseen' for path, header in WRONG if not fault(src, path, header)]
    wrong += [f'self-check: "{header}" in {path} is right' for path, header in RIGHT if fault(src, path, header)]
    seen = 0
    for directory, _, names in os.walk(src):
        for name in sorted(n for n in names if n.endswith(('.c', '.h', '.S'))):
            path = os.path.relpath(os.path.join(directory, name), src)
            if path.split('/')[0] not in BELOW:
                wrong.append(f'src/{path}: is in no room')
                continue
            with open(os.path.join(src, path), encoding='utf-8') as lines:
                for number, line in enumerate(lines, 1):
                    if m := INCLUDE.match(line):
                        seen += 1
                        if why := fault(src, path, m[1]):
                            wrong.append(f'src/{path}:{number}: "{m[1]}" {why}')
    print(*wrong, sep='\n', end='\n' if wrong else '')
    tried = len(WRONG) + len(RIGHT)
    print(f'arrows: {seen} includes in {len(BELOW)} rooms, {tried} tried on purpose, {len(wrong)} wrong')
    return bool(wrong) or seen < 300


sys.exit(main())
