#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0-or-later
"""litmus.py --vmm CMD --cpus N GUEST   runs the guest of litmus.c and passes on what it says and its result."""
import argparse
import subprocess
import sys

p = argparse.ArgumentParser(usage=__doc__)
p.add_argument('--vmm', required=True)
p.add_argument('--cpus', required=True)
p.add_argument('guest')
a = p.parse_args()
command = a.vmm.split() + ['-m', '64', '-smp', a.cpus, '-kernel', a.guest, '-display', 'none', '-serial', 'stdio', '-no-reboot',
                           '-device', 'isa-debug-exit,iobase=0xf4,iosize=1']
try:
    out = subprocess.run(command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, timeout=350).stdout.decode('latin-1')
except subprocess.TimeoutExpired as e:
    out = (e.stdout or b'').decode('latin-1') + '\n(time is over)'
print(out)
sys.exit(0 if 'LITMUS-OK' in out and f'processors: {a.cpus}\n' in out and 'FAIL' not in out else 1)
