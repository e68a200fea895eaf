#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0-or-later
"""compiled.py BUILD   names the tests of suite fast that are programs of the build, one a line, and a few that run the whole of it.

A second compiler is to show what the first one hides; guests and other people's tools would see little of that for their time."""
import json
import subprocess
import sys

WHOLE = ['command-line', 'guest-world', 'boot-initramfs', 'parallel-stress', 'boot-grub-rescue', 'img-fields', 'qmp-protocol', 'window']


def main():
    tests = json.loads(subprocess.run(['meson', 'introspect', '--tests', sys.argv[1]], capture_output=True, check=True).stdout)
    fast = {t['name']: t for t in tests if any(s.split(':')[-1] == 'fast' for s in t['suite'])}
    missing = [n for n in WHOLE if n not in fast]
    if missing: sys.exit('compiled: not in suite fast: ' + ', '.join(missing))
    print('\n'.join(n for n, t in fast.items() if 'python3' not in t['cmd'][0] or n in WHOLE))


main()
