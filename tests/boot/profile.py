#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0-or-later
"""profile.py --vmm CMD --hot PROGRAM monitor|perf   what is told of the engine bt.

A guest runs a program that executes CPUID a known number of times and then turns in a loop at a known address (hot.S).
monitor: 'info jit' must have counted the CPUIDs, and its numbers must fit each other; a profile must find the loop, at its
address, in its ring, disassembled as objdump has it, with the host's instructions.
perf: with -accel bt,perf=on the file of names must be well-formed and hold the loop, and perf, where it can be used, must
report it first."""
import argparse
import os
import re
import shutil
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


def machine(a, vmm):
    initrd = initramfs(os.path.join(a.dir, 'i'), 'echo READY\nread x\n/hot &\nsleep 100000', {'hot': a.hot})
    kernel = need('/boot/vmlinuz-*cloud*', 'linux-image-cloud-amd64')
    return Machine(vmm, ['-m', '256', '-smp', '2', '-kernel', kernel, '-initrd', initrd, '-append', 'console=ttyS0 quiet panic=-1',
                         '-no-reboot'], 300, log=f'profile-{a.test}.log')


def end(m):
    m.command('info status')
    m.monitor.sendall(b'quit\n')
    check(m.end() == 0, 'status')


def monitor(a):
    with machine(a, a.vmm) as m:
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
        m.command('profile on')                          # and the machine may end while it runs
        end(m)


def check_names(path, pid, where):
    """The file that perf reads: blocks lie in the mapping for code, side by side; the loop is there, in its ring."""
    code = [m for m in re.findall(r'^([0-9a-f]+)-([0-9a-f]+) r-xs .*/dev/zero', open(f'/proc/{pid}/maps').read(), re.M)]
    check(len(code) == 1, 'no executable mapping that perf takes for generated code')
    first, last = (int(x, 16) for x in code[0])
    rows = [re.fullmatch(r'([0-9a-f]+) ([0-9a-f]+) (bt\.\w+|r[03]\.[0-9a-f]+(\.cold)?)', line) for line in open(path).read().splitlines()]
    check(all(rows), 'the file of names has other lines too')
    places = sorted((int(r[1], 16), int(r[2], 16), r[3]) for r in rows)
    check(first <= places[0][0] and places[-1][0] + places[-1][1] <= last, 'names outside of the code cache')
    for one, two in zip(places, places[1:]):
        check(one[0] + one[1] <= two[0], f'{one} and {two} overlap')
    names = {name for _, _, name in places}
    check({f'r3.{where["hot"]:x}', 'bt.miss'} <= names and len(names) > 5000, 'blocks without names')


def perf_can_run():
    if not shutil.which('perf'):
        return False
    return subprocess.run(['perf', 'record', '-q', '-e', 'cpu-clock', '-o', '/dev/null', 'true'], capture_output=True).returncode == 0


def check_perf(a, m, where):
    data, seconds = os.path.join(a.dir, 'data'), 1
    while True:
        subprocess.run(['perf', 'record', '-q', '-e', 'cpu-clock', '-o', data, '-p', str(m.process.pid), 'sleep', str(seconds)],
                       capture_output=True, check=True)
        text = subprocess.run(['perf', 'report', '--stdio', '--sort', 'symbol', '-i', data], capture_output=True, text=True, check=True).stdout
        ns = re.search(r'# Event count \(approx\.\): (\d+)', text)
        if ns and int(ns[1]) >= 2e8 or seconds > 30:
            break
        seconds *= 2
    top = re.search(r'^ +([\d.]+)% +\[\.\] (\S+)', text, re.M)
    check(top and top[2] == f'r3.{where["hot"]:x}' and float(top[1]) > 50, f'perf does not see the loop:\n{text[:2000]}')


def perf(a):
    where = symbols(a.hot)
    with machine(a, a.vmm + ',perf=on') as m:
        path = f'/tmp/perf-{m.process.pid}.map'
        try:
            m.serial('READY')
            m.send('go\n')
            m.serial('COUNTED')
            while f' r3.{where["hot"]:x}\n' not in open(path).read():
                check(time.time() < m.deadline, 'the loop has no name')
                time.sleep(0.1)
            check_names(path, m.process.pid, where)
            if perf_can_run():
                check_perf(a, m, where)
            else:
                print('perf cannot be used here: only its file of names is looked at')
            end(m)
        finally:
            os.unlink(path)


def main():
    p = argparse.ArgumentParser(usage=__doc__)
    p.add_argument('--vmm', required=True)
    p.add_argument('--hot', required=True)
    p.add_argument('test', choices=['monitor', 'perf'])
    a = p.parse_args()
    try:
        with tempfile.TemporaryDirectory(prefix='ospite-profile-') as a.dir:
            {'monitor': monitor, 'perf': perf}[a.test](a)
    except Skip as why:
        print(f'SKIP: {why}')
        sys.exit(77)
    except Failure as why:
        print(f'FAIL: {why}')
        sys.exit(1)
    print(f'PASS {a.test}: {checks} checks')


main()
