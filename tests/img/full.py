#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0-or-later
"""No more room while an image is made or grows: full.py OSPITE

Files may not become longer than a limit. What cannot be made leaves nothing behind (a file that was there before is empty), what cannot grow
is as it was: its size, its disk, its snapshots and bitmaps, no leaks, by qemu-img's check too, and it grows when there is room again."""
import json, os, resource, shutil, signal, subprocess, sys, tempfile
sys.path.append(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
import checks                                   # noqa: E402
from checks import check                        # noqa: E402
import leash            # noqa: E402, F401

OSPITE = os.path.abspath(sys.argv[1])
MIB = 1 << 20
SECRET = ['--object', 'secret,id=s,data=open']


def img(*args, limit=None):
    def small():
        signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
        resource.setrlimit(resource.RLIMIT_FSIZE, (limit, limit))
    return subprocess.run([OSPITE, 'img', *map(str, args)], stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=120,
                          preexec_fn=small if limit else None)


def good(*args):
    p = img(*args)
    check(p.returncode == 0, f'{" ".join(map(str, args))}: {p.stderr}')
    return p.stdout


def refused(*args, limit, words):
    p = img(*args, limit=limit)
    check(p.returncode == 1 and words in p.stderr and p.stderr.count('\n') == 1, f'{" ".join(map(str, args))}: status {p.returncode}: {p.stderr}')


MADE = [
    ('raw', ['preallocation=falloc']), ('raw', ['preallocation=full']), ('luks', ['key-secret=s,iter-time=10']), ('vdi', ['static=on']),
    ('vpc', ['subformat=fixed']), ('vhdx', ['subformat=fixed']), ('vmdk', ['subformat=monolithicFlat']),
    ('vmdk', ['subformat=twoGbMaxExtentFlat']), ('qcow2', ['preallocation=full,data_file=data']),
    *[('qcow2', [f'preallocation={mode}{more}']) for mode in ('metadata', 'falloc', 'full') for more in
      ('', ',cluster_size=512', ',cluster_size=2M', ',extended_l2=on', ',lazy_refcounts=on', ',compat=0.10')],
    ('qcow2', ['preallocation=full,encrypt.format=luks,encrypt.iter-time=10,encrypt.key-secret=s']),
]


def making():
    os.mkdir('made')
    for kind, options in MADE:
        args = ['create', *SECRET, '-q', '-f', kind, '-o', *options]
        refused(*args, 'made/x', '16M', limit=5 * MIB, words='File too large')
        check(os.listdir('made') == [], f'{kind} {options}: {os.listdir("made")} is left')
        with open('made/x', 'wb') as f:
            f.write(b'somebody\'s')
        refused(*args, '--force', 'made/x', '16M', limit=5 * MIB, words='File too large')
        check(os.listdir('made') == ['x'] and not os.path.getsize('made/x'), f'{kind} {options}: over a file: {os.listdir("made")}')
        os.unlink('made/x')
    with open('made/x-f002.vmdk', 'wb') as f:
        f.write(b'somebody\'s')
    refused('create', '-q', '-f', 'vmdk', '-o', 'subformat=twoGbMaxExtentFlat', 'made/x.vmdk', '4G', limit=None, words='holds data')
    check(os.listdir('made') == ['x-f002.vmdk'] and os.path.getsize('made/x-f002.vmdk') == 10, f'an extent is in the way: {os.listdir("made")}')


GROWN = [
    ('raw', '', ('falloc', 'full')), ('luks', 'key-secret=s,iter-time=10', ('falloc', 'full')),
    ('qcow2', '', ('metadata', 'falloc', 'full')), ('qcow2', 'cluster_size=512', ('metadata', 'full')),
    ('qcow2', 'cluster_size=16k,extended_l2=on', ('metadata', 'falloc', 'full')), ('qcow2', 'compat=0.10', ('metadata', 'full')),
    ('qcow2', 'lazy_refcounts=on,cluster_size=4k', ('metadata', 'full')), ('qcow2', 'refcount_bits=1,cluster_size=4k', ('falloc', 'full')),
    ('qcow2', 'data_file=image.data', ('falloc', 'full')), ('qcow2', 'data_file=image.data,data_file_raw=on', ('falloc', 'full')),
    ('qcow2', 'encrypt.format=luks,encrypt.iter-time=10,encrypt.key-secret=s', ('metadata', 'full')),
    ('qcow2', 'backing_file=base,backing_fmt=raw', ('metadata', 'full')),
]


def image_opts(kind, options):
    key = ',encrypt.key-secret=s' if 'encrypt' in options else ',key-secret=s' if kind == 'luks' else ''
    return f'driver={kind},file.filename=image{key}'


def disk(opts):
    """All of it, as raw bytes."""
    good('convert', *SECRET, '--image-opts', '-O', 'raw', '--force', opts, 'disk')
    with open('disk', 'rb') as f:
        return f.read()


def grown(kind, options, mode, odd):
    size = 3 * MIB - odd
    what = f'{kind} {options} {mode}'
    opts = image_opts(kind, options)
    good('create', *SECRET, '-q', '-f', kind, *(['-o', options] if options else []), 'image', size)
    good('convert', *SECRET, '-n', '-f', 'raw', 'pattern', '--target-image-opts', opts)
    plain = kind == 'qcow2' and 'data_file' not in options and 'compat' not in options and 'encrypt' not in options
    snapshots = plain and 'refcount_bits' not in options and 'backing' not in options
    blocks_stay = 'cluster_size=512' in options     # of refcounts: each lies where it begins to count
    if snapshots:
        good('snapshot', '-c', 'before', 'image')
    if plain:
        good('bitmap', '--add', 'image', 'b')
    before, length = disk(opts), os.path.getsize('image')
    data_length = os.path.getsize('image.data') if 'data_file' in options else 0
    refused('resize', *SECRET, '--image-opts', f'--preallocation={mode}', opts, '12M', limit=max(length, data_length) + 2 * MIB, words='File too large')
    check(disk(opts) == before, f'{what}: the disk has changed')
    check(blocks_stay or os.path.getsize('image') <= length + (MIB if kind == 'qcow2' else 0), f'{what}: {length} bytes have become {os.path.getsize("image")}')
    check(not data_length or os.path.getsize('image.data') == data_length, f'{what}: the data file has another length')
    if kind == 'qcow2':
        check(img('check', 'image').returncode == 0, f'{what}: {img("check", "image").stdout}')
        judge = subprocess.run(['qemu-img', 'check', '-f', 'qcow2', 'image'], capture_output=True, text=True)
        check('encrypt' in options or judge.returncode == 0, f'{what}: qemu-img: {judge.stdout}')
    if plain:
        bitmap = json.loads(good('info', '--output=json', 'image'))['format-specific']['data'].get('bitmaps', [{}])[0]
        check(bitmap.get('flags') == ['auto'], f'{what}: the bitmap is {bitmap}')
    good('resize', *SECRET, '-q', '--image-opts', f'--preallocation={mode}', opts, '12M')
    check(disk(opts) == before.ljust(12 * MIB, b'\0') or kind == 'luks', f'{what}: with room, the disk differs')
    if snapshots:
        good('snapshot', '-a', 'before', 'image')
        check(disk(opts) == before, f'{what}: the snapshot differs')
    if kind == 'qcow2':
        check(img('check', 'image').returncode == 0, f'{what}: with room: {img("check", "image").stdout}')
    for name in ('image', 'image.data'):
        if os.path.exists(name):
            os.unlink(name)


def main():
    if not shutil.which('qemu-img'):
        print('SKIPPED: qemu-img is not installed (Debian package qemu-utils)')
        return 77
    directory, here = tempfile.mkdtemp(prefix='ospite-full-'), os.getcwd()
    os.chdir(directory)
    try:
        with open('pattern', 'wb') as f:
            f.write(bytes(range(256)) * 4096 + b'\0' * MIB + b'end' * 1000)
        with open('base', 'wb') as f:
            f.write(b'below' * (MIB // 2))
        making()
        for kind, options, modes in GROWN:
            for number, mode in enumerate(modes):
                grown(kind, options, mode, 1536 * (number % 2))
    finally:
        os.chdir(here)
        shutil.rmtree(directory)
    print(f'img/full: {checks.counts()}')
    return bool(checks.failed)


sys.exit(main())
