#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0-or-later
"""Which tests may be tried once more: again.py BUILD

Prints the names of those that failed in the last run, if they are few and all of them talk with guests or clients, which a busy host can keep from
answering in time. Status 1 if any other failed: what computes with fixed seeds, and what must never lose data, has no second try."""
import json
import os
import sys

FEW = 3
TALKING = ('tests/boot/', 'tests/display/', 'tests/kvm/')
NEVER = ('tests/boot/rug.py',)


def main():
    path = os.path.join(sys.argv[1], 'meson-logs', 'testlog.json')
    tests = [json.loads(line) for line in open(path) if line.strip()]
    failed = [(t['name'].split(' / ')[-1], ' '.join(t['command'])) for t in tests if t['result'] not in ('OK', 'SKIP', 'EXPECTEDFAIL')]
    steady = [name for name, command in failed if not any(p in command for p in TALKING) or any(p in command for p in NEVER)]
    if steady or not 0 < len(failed) <= FEW:
        sys.exit(f'again: no second try: {len(failed)} tests failed' + (', among them ' + ', '.join(steady) if steady else ''))
    print(*(name for name, _ in failed))


main()
