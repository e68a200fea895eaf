#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0-or-later
"""profile.py --vmm CMD --hot PROGRAM   what the monitor tells of the engine bt.

A guest runs a program that executes CPUID a known number of times and then turns in a loop at a known address (hot.S).
'info jit' must have counted the CPUIDs, and its numbers must fit each other; a profile must find the loop, at its
address, in its ring, disassembled as objdump has it, with the host's instructions."""
import argparse
import os
import re
import subprocess
import sys
import tempfile
import time

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
from boot import Failure, Machine              # noqa: E402
from cpio import Skip, initramfs, need         # noqa: E402

CPUIDS = 100000
SAMPLES = 100                                  # enough of a loop that nothing disturbs
checks = 0


def check(ok, what):
    global checks
    checks += 1
    if not ok:
        raise Failure(what)


def number(text, pattern):
    m = re.search(pattern, text)
    check(m, f'{pattern!r} is not in:\n{text}')
    return int(m.group(1))


def counts(text):
    """The numbers of 'info jit' by name."""
    names = ['translated', 'in use', 'invalidated', 'of accesses', 'page walks', 'first direct jumps', 'jump cache misses', 'CPUID',
             'delivered', 'calls', 'halted', '#PF']
    n = {name: number(text, rf'(\d+) {name}') for name in names}
    n['instructions'], n['guest'], n['host'] = map(int, re.search(r'code: (\d+) instructions .*?, (\d+) bytes, became (\d+) bytes', text).groups())
    return n


def check_counts(before, after):
    for name in before:
        check(name == 'in use' or after[name] >= before[name], f'{name} was {before[name]} and is {after[name]}')
    check(after['in use'] <= after['translated'] - after['invalidated'], 'more blocks are in use than can be')
    check(after['translated'] > 5000 and after['instructions'] > 2 * after['translated'], 'too few blocks for a kernel')
    check(after['instructions'] <= after['guest'] <= 15 * after['instructions'], 'instructions of no length, or too long')
    check(after['host'] > after['guest'], 'code shrank')
    check(after['first direct jumps'] > 1000 and after['delivered'] and after['#PF'], 'a kernel without jumps, interrupts or page faults')
    done = after['CPUID'] - before['CPUID']
    check(CPUIDS <= done < CPUIDS + 5000, f'{CPUIDS} CPUIDs were executed, {done} were counted')


def symbols(program):
    text = subprocess.run(['nm', program], capture_output=True, text=True, check=True).stdout
    return {name: int(at, 16) for at, _, name in (line.split() for line in text.splitlines())}


def disassembly(program, first, end):
    """Mnemonics by address."""
    text = subprocess.run(['objdump', '-d', '-M', 'intel', f'--start-address={first}', f'--stop-address={end}', program],
                          capture_output=True, text=True, check=True).stdout
    return [(int(at, 16), word) for at, word in re.findall(r'^\s+([0-9a-f]+):\t[^\t]+\t(\S+)', text, re.M)]


def check_profile(m, program):
    where = symbols(program)
    text = m.command('info profile -d 1')
    while number(text, r'samples: (\d+)') < SAMPLES:
        check(time.time() < m.deadline, f'too few samples:\n{text}')
        time.sleep(0.2)
        text = m.command('info profile -d 1')
    top = re.search(r'hottest:\s+([\d.]+)%  0x([0-9a-f]+) at .*ring 3, 64-bit: (\d+) instructions, (\d+) bytes, became (\d+)', text)
    check(top, f'no hottest block of the loop\'s kind:\n{text}')
    check(int(top[2], 16) == where['hot'], f'the hottest block is not at {where["hot"]:#x}:\n{text}')
    check(float(top[1]) > 50, f'the loop has only {top[1]}%:\n{text}')
    check(int(top[4]) == where['hot_end'] - where['hot'], f'the block has {top[4]} bytes')
    guest = [(int(at, 16), word) for at, word in re.findall(r'^ +[\d.]+%  0x([0-9a-f]+)  (\w+)', text, re.M) if int(at, 16) >= where['hot']]
    check(guest == disassembly(program, where['hot'], where['hot_end']), f'objdump sees other instructions:\n{text}')
    host = re.findall(r'^ +\| 0x[0-9a-f]+  (\S+)', text, re.M)
    check(len(host) > len(guest) and 'imul' in host and '(bad)' not in text, f'no host code:\n{text}')


def run(a):
    with tempfile.TemporaryDirectory(prefix='ospite-profile-') as folder:
        initrd = initramfs(os.path.join(folder, 'i'), 'echo READY\nread x\n/hot &\nsleep 100000', {'hot': a.hot})
        kernel = need('/boot/vmlinuz-*cloud*', 'linux-image-cloud-amd64')
        with Machine(a.vmm, ['-m', '256', '-smp', '2', '-kernel', kernel, '-initrd', initrd, '-append', 'console=ttyS0 quiet panic=-1',
                             '-no-reboot'], 300, log='profile.log') as m:
            m.serial('READY')
            before = counts(m.command('info jit'))
            check('off' in m.command('info profile'), 'a profile runs that nobody began')
            check('Error' in m.command('profile maybe'), "'profile maybe' is taken")
            check('Error' not in m.command('profile on'), "'profile on' fails")
            m.send('go\n')
            m.serial('COUNTED')
            check_counts(before, counts(m.command('info jit')))
            check_profile(m, a.hot)
            m.command('profile off')
            kept = number(m.command('info profile'), r'samples: (\d+)')
            time.sleep(0.5)
            check(kept == number(m.command('info profile'), r'samples: (\d+)'), 'samples come in while the profile is off')
            m.command('profile on')                      # and the machine may end while it runs
            m.monitor.sendall(b'quit\n')
            check(m.end() == 0, 'status')


def main():
    p = argparse.ArgumentParser(usage=__doc__)
    p.add_argument('--vmm', required=True)
    p.add_argument('--hot', required=True)
    a = p.parse_args()
    try:
        run(a)
    except Skip as why:
        print(f'SKIP: {why}')
        sys.exit(77)
    except Failure as why:
        print(f'FAIL: {why}')
        sys.exit(1)
    print(f'PASS profile: {checks} checks')


main()
