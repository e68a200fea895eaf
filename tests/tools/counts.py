#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0-or-later
"""What a run of the tests checked: counts.py BUILD

Meson keeps what passing tests print to itself. This reads it from its log and prints for each test the lines with its counts, and
everything that was skipped."""
import json
import os
import re
import sys


def summary(lines):
    """The last lines, which have the counts; of the tests that boot guests what each guest said."""
    lines = [l.strip() for l in lines if l.strip() and not re.fullmatch(r'\w+: \d+ tests, \d+ failed, \d+ skipped', l.strip())][-3:]
    return '; '.join(l for l in lines if any(c.isdigit() for c in l))[:240] or 'no count'


def main():
    path = os.path.join(sys.argv[1], 'meson-logs', 'testlog.json')
    tests = [json.loads(line) for line in open(path) if line.strip()]
    skipped = []
    print(f'What was checked ({len(tests)} tests):')
    for t in sorted(tests, key=lambda t: t['name']):
        name, lines = t['name'].split(' / ')[-1], t.get('stdout', '').splitlines()
        skipped += [f'{name}: {l.strip()}' for l in lines if 'SKIP' in l]
        print(f'  {name:22} {t["result"]:7} {summary(lines)}')
    print('\n'.join(['Skipped:'] + ['  ' + s for s in skipped]) if skipped else 'Nothing was skipped.')


main()
