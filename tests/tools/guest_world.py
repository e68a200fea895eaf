#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0-or-later
"""Does code that runs with the guest's vector registers live call the C library for bytes and strings? guest_world.py BUILD

memset and its like use vector registers, which ones depends on the processor; a compiler calls memset where an aggregate
is initialized. So no object of the guest world (engine/bt/bt.h) may ask for one. The files of HOST are entered by bt_host_call,
before and after a vCPU runs, or by a signal, whose frame keeps the registers; they show that the check can see. Files of both
worlds may make the calls of BOTH, which are in what starts the engine, or in what bt_host_call runs."""
import os
import re
import subprocess
import sys

HOST = {'bt.c', 'info.c', 'profile.c', 'profile_report.c', 'profile_symbols.c', 'signal.c'}
BOTH = {('translate.c', 'snprintf'), ('perf.c', 'snprintf'), ('perf.c', 'dprintf'), ('perf.c', 'strerror'), ('window.c', 'strcmp')}
BYTES = r'(__)?(mem|wmem)(cpy|set|move|cmp|chr|rchr|pcpy|mem|ccpy)|bcmp|bcopy|bzero|explicit_bzero|rawmemchr'
STRINGS = r'(__)?(str|wcs)(n?len|n?cmp|n?casecmp|n?cpy|n?cat|r?chr|chrnul|n?dup|str|pbrk|c?spn|tok|tok_r|sep|error|tou?ll?)'
OUTPUT = r'(__)?v?(f|d|s|sn|as)?printf|puts|fputs|fputc|fwrite|qsort|bsearch'
LIBRARY = re.compile(rf'\s+U ({BYTES}|{STRINGS}|{OUTPUT})(_chk)?(@.*)?$')


def main():
    objects = [os.path.join(sys.argv[1], f'lib{room}.a.p', name) for room in ('bt', 'decode')
               for name in sorted(os.listdir(os.path.join(sys.argv[1], f'lib{room}.a.p'))) if name.endswith('.o')]
    wrong, host = [], 0
    for path in objects:
        listed = subprocess.run(['nm', '-u', path], capture_output=True, check=True, text=True).stdout
        calls = [line.split()[1] for line in listed.splitlines() if LIBRARY.match(line)]
        name = re.fullmatch(r'src_(engine_bt|x86)_(?P<name>.*)\.o', os.path.basename(path))
        name = name['name'] if name else path
        if name in HOST: host += len(calls)
        else: wrong += [f'{name} calls {c}' for c in calls if (name, c) not in BOTH]
    print(*wrong, sep='\n', end='\n' if wrong else '')
    print(f'guest-world: {len(objects)} objects, {len(wrong)} wrong calls; {host} in the files of the host world')
    return bool(wrong) or not host or len(objects) < 50


sys.exit(main())
