#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0-or-later
"""Huge disks cost neither time nor memory: huge.py OSPITE

A sparse disk of 64 TiB, a chain of five with data here and there, a VMDK image with many grain tables, and a disk with 64 MiB of L2
tables go through the verbs; none may take more than 64 MiB (sanitizers apart) or 20 seconds of the processor, where looking at each
cluster of 64 TiB would take minutes."""
import json, os, shutil, subprocess, sys, tempfile, time

OSPITE = os.path.abspath(sys.argv[1])
LIMIT_KIB, LIMIT_S = 64 << 10, 20
SANITIZED = b'libasan' in subprocess.run(['ldd', OSPITE], capture_output=True).stdout
checks, failures, most = 0, [], (0, '')


def check(ok, what):
    global checks
    checks += 1
    if not ok:
        failures.append(what)
        print('FAIL', what)


def img(*args):
    """Its output. Memory and time are those of the process itself."""
    global most
    words, begun = ' '.join(map(str, args)), time.monotonic()
    with open('out', 'wb') as out:
        p = subprocess.Popen([OSPITE, 'img', *map(str, args)], stdin=subprocess.DEVNULL, stdout=out, stderr=out)
        _, status, u = os.wait4(p.pid, 0)
        p.returncode = os.waitstatus_to_exitcode(status)
    with open('out', encoding='latin-1') as out:
        text = out.read()
    check(p.returncode == 0, f'{words}: status {p.returncode}: {text[-300:]}')
    check(SANITIZED or u.ru_maxrss <= LIMIT_KIB, f'{words}: {u.ru_maxrss} KiB of memory')
    check(u.ru_utime + u.ru_stime < LIMIT_S, f'{words}: {u.ru_utime + u.ru_stime:.1f} seconds')
    if 'OSPITE_TEST_TIMES' in os.environ:
        print(f'{u.ru_maxrss:8} KiB {u.ru_utime + u.ru_stime:6.2f} s {time.monotonic() - begun:6.2f} s  {words}', flush=True)
    most = max(most, (u.ru_maxrss, words))
    return text


def sparse():
    img('create', '-f', 'qcow2', 'big', '64T')
    img('resize', 'big', '+1T')
    check(len(json.loads(img('map', '--output=json', 'big'))) == 1, 'the map of an empty disk has one entry')
    for verb in (['check', 'big'], ['info', 'big'], ['measure', '-O', 'qcow2', 'big'], ['bitmap', '--add', 'big', 'b'],
                 ['bitmap', '--add', '-g', '2M', 'big', 'c'], ['bitmap', '--merge', 'b', 'big', 'c'], ['snapshot', '-c', 's', 'big'],
                 ['convert', '-O', 'qcow2', 'big', 'copy'], ['compare', 'big', 'copy'], ['convert', '--bitmaps', '-O', 'qcow2', 'big', 'copy2'],
                 ['resize', '--shrink', 'big', '1T'], ['snapshot', '-a', 's', 'big'], ['check', 'big'],
                 ['amend', '-o', 'refcount_bits=64', 'big'], ['check', '-r', 'all', 'big']):
        img(*verb)


def zeroed():
    """Zeroes over all of it, with data in two places."""
    for name in ('empty', 'wide'):
        img('create', '-f', 'qcow2', name, '64T')
    commands = ['-c', f'write -P 5 {1 << 40} 64k', '-c', f'write -P 5 {60 << 40} 64k']
    check(subprocess.run(['qemu-io', '-t', 'unsafe', '-f', 'qcow2', *commands, 'wide'], capture_output=True).returncode == 0, 'qemu-io')
    img('convert', '-n', '-O', 'qcow2', 'empty', 'wide')
    img('compare', 'empty', 'wide')


def scattered():
    """2048 spots, each with an L2 table of its own (128 MiB in all), in a chain of five."""
    for i in range(5):
        img('create', '-f', 'qcow2', *(['-b', f'l{i - 1}', '-F', 'qcow2'] if i else []), f'l{i}', '64T')
        commands = []
        for k in range(410):
            commands += ['-c', f'write -P {i + 1} {((k * 5 + i) << 35) % (64 << 40)} 4k']
        check(subprocess.run(['qemu-io', '-t', 'unsafe', '-f', 'qcow2', *commands, f'l{i}'], capture_output=True).returncode == 0, 'qemu-io')
    entries = json.loads(img('map', '--output=json', 'l4'))
    check(sum(e['data'] for e in entries) == 2048, f'{sum(e["data"] for e in entries)} spots')
    img('check', 'l4')
    img('convert', '-O', 'qcow2', 'l4', 'flat')
    img('compare', 'l4', 'flat')
    img('check', 'flat')
    img('snapshot', '-c', 's', 'flat')
    img('snapshot', '-d', 's', 'flat')
    img('rebase', '-b', 'l2', '-F', 'qcow2', 'l4')
    img('commit', 'l4')
    img('check', 'l2')


def grains():
    """2500 spots in 2500 grain tables of VMDK, more than are kept in memory; the whole is only flushed at the end."""
    with open('spots', 'wb') as f:
        f.truncate(80 << 30)
        for i in range(2500):
            f.seek(i << 25 | i << 12 & 0xffffff)
            f.write(bytes([1 + i % 255]) * 512)
    img('convert', '-f', 'raw', '-O', 'vmdk', 'spots', 'grains')
    img('check', 'grains')
    img('compare', '-f', 'raw', '-F', 'vmdk', 'spots', 'grains')
    check(subprocess.run(['qemu-img', 'compare', '-q', '-f', 'raw', '-F', 'vmdk', 'spots', 'grains']).returncode == 0, 'qemu-img compare')


def dense():
    """8 million clusters of 4 KiB: 64 MiB of L2 tables."""
    img('create', '-f', 'qcow2', '-o', 'cluster_size=4k,preallocation=metadata', 'dense', '32G')
    for verb in (['check', 'dense'], ['map', 'dense'], ['measure', '-O', 'raw', 'dense'], ['snapshot', '-c', 's', 'dense'],
                 ['check', 'dense'], ['snapshot', '-d', 's', 'dense'], ['check', '-r', 'all', 'dense'],
                 ['amend', '-o', 'refcount_bits=32', 'dense'], ['resize', '--shrink', 'dense', '30G'], ['check', 'dense']):
        img(*verb)


def main():
    directory = tempfile.mkdtemp(prefix='ospite-huge-')
    here = os.getcwd()
    if not shutil.which('qemu-io'):
        print('SKIPPED: qemu-io is not installed (Debian package qemu-utils)')
        return 77
    os.chdir(directory)
    try:
        sparse()
        zeroed()
        scattered()
        grains()
        dense()
    finally:
        os.chdir(here)
        shutil.rmtree(directory)
    print(f'img/huge: {checks} checks, {len(failures)} failed; most memory: {most[0]} KiB, {most[1]}')
    return bool(failures)


sys.exit(main())
