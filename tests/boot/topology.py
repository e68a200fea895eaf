#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0-or-later
"""topology.py --vmm CMD --ids PROGRAM   -smp with sockets, dies, cores and threads.

For each form Linux boots with all processors and must find them where the form says; and with one processor it is asked for the
topology leaves of CPUID and the ACPI table of processors (ids.c), which must be QEMU's. QEMU is asked so because its TCG does not
come up with some of these forms. Where QEMU forgets the dies (leaves 1 and B), the rule of the SDM is taken instead."""
import argparse
import os
import re
import shutil
import sys
import tempfile

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
from boot import Failure, Machine              # noqa: E402
from cpio import Skip, initramfs, need         # noqa: E402

# CPU model, -smp, and what it means: sockets, dies, cores, threads, processors that run.
FORMS = [
    ('qemu64', '5', 1, 1, 5, 1, 5),
    ('EPYC', 'cpus=3,maxcpus=12,sockets=2,cores=3,threads=2', 2, 1, 3, 2, 3),
    ('qemu64', '4,sockets=2,cores=2', 2, 1, 2, 1, 4),
    ('Skylake-Client', '8,sockets=2,cores=2,threads=2', 2, 1, 2, 2, 8),
    ('Skylake-Client', 'sockets=1,dies=2,cores=2,threads=2', 1, 2, 2, 2, 8),
]
SYSFS = '''cd /sys/devices/system/cpu
echo present $(cat present) possible $(cat possible) online $(cat online)
for n in $(seq 0 255); do [ -e cpu$n/topology ] && echo cpu $n $(cat cpu$n/topology/physical_package_id cpu$n/topology/die_id cpu$n/topology/core_id) $(cat cpu$n/topology/core_cpus_list)
done'''
checks = 0


def check(ok, what):
    global checks
    checks += 1
    if not ok:
        raise Failure(what)


def guest(a, vmm, model, smp, script, more=''):
    """What the script says. The kernel's console is the screen, so that no message of its cuts a line."""
    initrd = initramfs(os.path.join(a.dir, 'i'), f'exec > /dev/ttyS0 2>&1\necho BEGIN\n{script}\necho END', {'ids': a.ids})
    kernel = need('/boot/vmlinuz-*cloud*', 'linux-image-cloud-amd64')
    with Machine(vmm, ['-m', '512', '-cpu', model, '-smp', smp, '-kernel', kernel, '-initrd', initrd, '-append',
                       f'quiet panic=-1 {more}', '-no-reboot'], 300, log='topology.log') as m:
        m.serial('BEGIN')
        return m.serial('(.*?)END').group(1).replace('\r', '').strip().split('\n')


def lists(text):
    """A list as the kernel writes it: 0-2,4"""
    out = set()
    for part in text.split(','):
        first, _, last = part.partition('-')
        out |= set(range(int(first), int(last or first) + 1))
    return out


def check_linux(lines, form):
    _, smp, sockets, dies, cores, threads, cpus = form
    whole = f'-smp {smp}:\n' + '\n'.join(lines)
    m = re.search(r'present (\S+) possible (\S+) online (\S+)', '\n'.join(lines))
    check(m and lists(m[3]) == set(range(cpus)), f'not {cpus} processors run: {whole}')
    check(len(lists(m[2])) == sockets * dies * cores * threads, f'the number of possible processors is wrong: {whole}')
    rows = [list(map(str, r)) for r in re.findall(r'^cpu (\d+) (\d+) (\d+) (\d+) (\S+)$', '\n'.join(lines), re.M)]
    check(len(rows) == cpus, f'processors without topology: {whole}')
    for n, package, die, _, siblings in rows:
        n = int(n)
        check(int(package) == n // (dies * cores * threads), f'processor {n} is in another socket: {whole}')
        first = n - n % threads
        check(lists(siblings) == {k for k in range(first, first + threads) if k < cpus}, f'processor {n} shares its core with others: {whole}')
    kinds = {(package, die if dies > 1 else 0, core) for _, package, die, core, _ in rows}
    check(len(kinds) == -(-cpus // threads), f'the cores are not {-(-cpus // threads)}: {whole}')


def topology_of(lines, form):
    """The part of the leaves that tells of the topology, as QEMU's and ours are to agree."""
    _, _, _, dies, cores, threads, _ = form
    out = []
    for words in (line.split() for line in lines):
        if not words or words[0] != 'leaf':
            out.append(tuple(words))
            continue
        name, (a, b, c, d) = words[1], (int(w, 16) for w in words[2:])
        many = dies * cores * threads
        if name == '1.0':
            out.append((name, many if dies > 1 else b >> 16 & 255, b >> 24, d >> 28 & 1))
        elif name.startswith('b.'):
            out.append((name, a, many if name == 'b.1' and dies > 1 else b, c, d))
        elif name.startswith('1f.'):
            out.append((name, a, b, c, d))
    return out


def run(a):
    qemu = shutil.which('qemu-system-x86_64')
    for form in FORMS:
        model, smp = form[:2]
        check_linux(guest(a, a.vmm, model, smp, SYSFS), form)
        if not qemu:
            print('qemu-system-x86_64 is missing: leaves and tables are not compared')
            continue
        ours = topology_of(guest(a, a.vmm, model, smp, '/ids', 'maxcpus=1'), form)
        theirs = topology_of(guest(a, qemu + ' -accel tcg', model, smp, '/ids', 'maxcpus=1'), form)
        for one, two in zip(ours, theirs):
            check(one == two, f'-cpu {model} -smp {smp}: {one}, QEMU has {two}')
        check(len(ours) == len(theirs), f'-cpu {model} -smp {smp}: QEMU has {len(theirs)} rows, we {len(ours)}')


def main():
    p = argparse.ArgumentParser(usage=__doc__)
    p.add_argument('--vmm', required=True)
    p.add_argument('--ids', required=True)
    a = p.parse_args()
    try:
        with tempfile.TemporaryDirectory(prefix='ospite-topology-') as a.dir:
            run(a)
    except Skip as why:
        print(f'SKIP: {why}')
        sys.exit(77)
    except Failure as why:
        print(f'FAIL: {why}')
        sys.exit(1)
    print(f'PASS topology: {len(FORMS)} forms, {checks} checks')


main()
