#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0-or-later
"""Huge disks cost neither time nor memory: huge.py OSPITE

A sparse disk of 64 TiB, raw and VHDX images as large as they can be, a chain of five with data here and there, a VMDK image with many grain tables, a disk with 64 MiB of L2
tables, and 4000 snapshots with L1 tables of 32 MiB go through the verbs; none may take more than 64 MiB (sanitizers apart) or 20 seconds of the processor, where looking at each
cluster of 64 TiB would take minutes."""
import json, os, shutil, struct, subprocess, sys, tempfile, time
sys.path.append(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
import checks                                   # noqa: E402
from checks import check                        # noqa: E402
import leash            # noqa: E402, F401

OSPITE = os.path.abspath(sys.argv[1])
LIMIT_KIB, LIMIT_S = 64 << 10, 20
SANITIZED = b'libasan' in subprocess.run(['ldd', OSPITE], capture_output=True).stdout
most = (0, '')


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


def snapshots():
    """125 GiB of L1 tables, all of them holes."""
    cluster, l1, count = 65536, 32 << 20, 4000
    names = b''
    for i in range(1, count + 1):
        ident, name = b'%d' % i, b'snapshot'
        one = struct.pack('>QIHHIIQII', 2 * cluster + (i - 1) * l1, l1 // 8, len(ident), len(name), 0, 0, 0, 0, 24)
        names += (one + struct.pack('>QQQ', 0, 1 << 30, 0) + ident + name).ljust((len(one + ident + name) + 24 + 7) // 8 * 8, b'\0')
    table = 2 * cluster + count * l1
    refcounts = table + (len(names) + cluster - 1) // cluster * cluster
    blocks = refcounts // cluster // 32768 + 1
    used = refcounts // cluster + 1 + blocks
    with open('many', 'wb') as f:
        f.write(struct.pack('>4sIQIIQIIQQIIQQQQII', b'QFI\xfb', 3, 0, 0, 16, 1 << 30, 0, 2, cluster, refcounts, 1, count, table, 0, 0, 0, 4, 104))
        f.seek(table)
        f.write(names)
        f.seek(refcounts)
        f.write(b''.join(struct.pack('>Q', refcounts + (1 + i) * cluster) for i in range(blocks)).ljust(cluster, b'\0'))
        f.write((b'\0\1' * used).ljust(blocks * cluster, b'\0'))
    for verb in ['check'], ['snapshot', '-d', '7'], ['snapshot', '-c', 'new'], ['resize', '--shrink'], ['check', '-r', 'all']:
        img(*verb, 'many', *(['512M'] if verb[0] == 'resize' else []))


def refused(words, *args):
    p = subprocess.run([OSPITE, 'img', *map(str, args)], stdin=subprocess.DEVNULL, capture_output=True, text=True)
    check(p.returncode == 1 and words in p.stderr and p.stderr.count('\n') == 1, f'{" ".join(map(str, args))}: status {p.returncode}: {p.stderr}')


def file_limit():
    """The largest sparse file that this file system has, up to 64 TiB."""
    for shift in range(46, 30, -1):
        try:
            with open('largest', 'wb') as f:
                f.truncate((1 << shift) - (65536 if shift < 46 else 0))
            return os.path.getsize('largest')
        except OSError:
            pass
        finally:
            os.unlink('largest')


def limits():
    """Raw and VHDX: the largest, something at their ends, and more than that."""
    most = file_limit()
    if most < 64 << 40:
        print(f'raw files of 64 TiB: SKIPPED, this file system has none above {most >> 30} GiB; with these')
    img('create', '-q', '-f', 'raw', 'raw', most // 2)
    img('resize', '-q', '-f', 'raw', 'raw', most)
    img('create', '-q', '-f', 'vhdx', 'vhdx', '64T')
    for kind, end in ('raw', most), ('vhdx', 64 << 40):
        at = end - 65536
        check(subprocess.run(['qemu-io', '-t', 'unsafe', '-f', kind, '-c', f'write -P 7 {at} 64k', kind], capture_output=True).returncode == 0,
              f'qemu-io {kind}')
        entries = json.loads(img('map', '--output=json', '-f', kind, kind))
        check([e['start'] + e['length'] for e in entries][-1] == end and entries[-1]['data'] and len(entries) <= 3, f'{kind}: map {entries[-3:]}')
        for verb in ['info', '-f', kind, kind], ['measure', '-f', kind, '-O', 'qcow2', kind], ['convert', '-f', kind, '-O', 'qcow2', kind, kind + '2'], \
                ['compare', '-f', kind, '-F', 'qcow2', kind, kind + '2'], ['check', kind + '2']:
            img(*verb)
        found = subprocess.run(['qemu-io', '-r', '-f', 'qcow2', '-c', f'read -P 7 {at} 64k', '-c', f'read -P 0 {at - 65536} 64k', kind + '2'], capture_output=True, text=True)
        check(found.returncode == 0 and 'failed' not in found.stdout, f'{kind}: qemu-io finds {found.stdout}')
    refused('64 TiB', 'create', '-f', 'vhdx', 'more', (64 << 40) + 512)
    refused('cannot change their size', 'resize', '-f', 'vhdx', 'vhdx', '65T')
    refused('File too large' if most < 64 << 40 else 'cannot make', 'create', '-f', 'raw', 'more', (1 << 63) - 512)
    refused('use larger clusters', 'create', '-f', 'qcow2', '-o', 'cluster_size=512', 'more', '64T')
    refused('clusters', 'resize', 'big', '4E')
    check(not os.path.exists('more'), 'what is refused leaves no file')


def main():
    directory = tempfile.mkdtemp(prefix='ospite-huge-')
    here = os.getcwd()
    if not shutil.which('qemu-io'):
        print('SKIPPED: qemu-io is not installed (Debian package qemu-utils)')
        return 77
    os.chdir(directory)
    try:
        sparse()
        limits()
        zeroed()
        scattered()
        grains()
        dense()
        snapshots()
    finally:
        os.chdir(here)
        shutil.rmtree(directory)
    print(f'img/huge: {checks.counts()}; most memory: {most[0]} KiB, {most[1]}')
    return bool(checks.failed)


sys.exit(main())
