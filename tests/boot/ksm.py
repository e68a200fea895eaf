#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0-or-later
"""ksm.py --vmm CMD --guests DIR   two equal Debian guests share their memory.

KSM is switched on with 'ospite ksm', both guests boot the same disk (-snapshot), and 'ospite ksm --json' must tell savings above a
third of the memory that one guest has in use. A guest with mem-merge=off must not take part. The host's settings are put back.
Needs root, since KSM is the whole host's; skipped otherwise (exit status 77)."""
import argparse, json, os, subprocess, sys, time

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
from boot import Failure, Machine                        # noqa: E402
from cpio import Skip                                    # noqa: E402
from guests import login, shell                          # noqa: E402
from made import debian_disk                             # noqa: E402

KSM = '/sys/kernel/mm/ksm/'
SAVED = ('run', 'pages_to_scan', 'sleep_millisecs')


def ksm(a, *args):
    p = subprocess.run([a.vmm.split()[0], 'ksm', *args], capture_output=True, text=True)
    if p.returncode:
        raise Failure(f'ospite ksm {args}: {p.stderr}')
    return p.stdout


def state(a):
    return json.loads(ksm(a, '--json'))


def in_use_mib(m):
    total, free = (int(word) for word in shell(m, "awk '/^MemTotal|^MemFree/ { print $2 }' /proc/meminfo").split()[-2:])
    return (total - free) // 1024


def saved_mib(s):
    return s['pages_sharing'] * 4096 >> 20


def counted_anew(a):
    """The state after two scans: until then pages of processes that are gone may be counted."""
    first = state(a)
    for _ in range(600):
        s = state(a)
        if s['full_scans'] >= first['full_scans'] + 2:
            break
        time.sleep(0.1)
    return s


def run(a):
    disk = debian_disk(a.guests)
    machine = ['-m', '512', '-snapshot', '-hda', disk, '-no-reboot']
    ksm(a, 'tune', 'pages=20000', 'sleep=10')
    ksm(a, 'on')
    before = counted_anew(a)
    with Machine(a.vmm, machine + ['-name', 'one'], a.seconds) as one, Machine(a.vmm, machine + ['-name', 'two'], a.seconds) as two:
        login(one)
        login(two)
        use = in_use_mib(one)
        want = saved_mib(before) + use // 3
        start, s = time.time(), state(a)
        while saved_mib(s) <= want or min([m['merging_pages'] for m in s['machines'] if m['pid'] in (one.process.pid, two.process.pid)], default=0) * 4096 >> 20 < use // 4:
            if time.time() > start + 150:
                raise Failure(f'{saved_mib(s)} MiB are saved, {want} expected; one guest has {use} in use\n' + ksm(a))
            time.sleep(1)
            s = state(a)
        told = ksm(a)
        for m, name in ((one, 'one'), (two, 'two')):
            if f'process {m.process.pid} ({name}): ' not in told:
                raise Failure(f'{name} is not in\n{told}')
        if 'OK' not in shell(one, 'md5sum /bin/* > /tmp/sums && md5sum --quiet -c /tmp/sums && echo OK'):
            one.fail('merged memory is wrong')
        print(told, end='')
        with Machine(a.vmm, ['-m', '64', '-machine', 'mem-merge=off', '-S', '-nodefaults'], a.seconds, serial=False) as m:
            m.command('info status')
            other = [x for x in state(a)['machines'] if x['pid'] == m.process.pid]
            stat = open(f'/proc/{m.process.pid}/smaps').read()
            if not other or other[0]['merging_pages'] or ' mg' in stat:
                raise Failure(f'a machine with mem-merge=off takes part: {other}')
            if ' mg' not in open(f'/proc/{one.process.pid}/smaps').read():
                raise Failure('smaps does not tell which memory is mergeable')
        return f'one guest has {use} MiB in use, {saved_mib(s) - saved_mib(before)} MiB are saved after {time.time() - start:.0f} s'


def main():
    p = argparse.ArgumentParser(usage=__doc__)
    p.add_argument('--vmm', default='build/ospite -accel bt')
    p.add_argument('--guests', default='guests')
    p.add_argument('--seconds', type=float, default=300)
    a = p.parse_args()
    if not os.access(KSM + 'run', os.W_OK):
        print('SKIP ksm: /sys/kernel/mm/ksm cannot be written; run as root, with a kernel that has KSM')
        sys.exit(77)
    kept = {name: open(KSM + name).read() for name in SAVED}
    try:
        print('PASS ksm: ' + run(a))
    except Skip as why:
        print(f'SKIP ksm: {why}')
        sys.exit(77)
    except Failure as why:
        print(f'FAIL ksm: {why}')
        sys.exit(1)
    finally:
        for name, value in kept.items():
            with open(KSM + name, 'w') as f:
                f.write(value)


main()
