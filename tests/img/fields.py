#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0-or-later
"""What 'ospite img' and qemu-img tell in JSON of the same images, field by field: fields.py OSPITE [SEED]

IMAGES is the stated list (docs/image-formats.md): each is made by qemu-img from one random disk, then info, map, check and measure of
both tools have to be equal. Fields that one of them does not tell of are in DIFFER, each with its reason."""
import json, os, random, shutil, subprocess, sys, tempfile

OSPITE = [os.path.abspath(sys.argv[1]), 'img']
QEMU = ['qemu-img']
SEED = int(sys.argv[2]) if len(sys.argv) > 2 else 20268
SIZE = 6 << 20
cases, failures = 0, []

# Name, how it is made of disk.raw (shell), its format.
# qemu-img measures how fast PBKDF2 is by CPU time, and gives up where that goes by in steps.
MANY = 'for i in 1 2 3 4 5 6 7 8; do '
CONVERT = 'qemu-img convert -f raw -O {} -o {} disk.raw '
IMAGES = [('raw', 'cp --sparse=always disk.raw', 'raw'), ('raw, falloc', 'qemu-img create -f raw -o preallocation=falloc I 3M', 'raw'),
          ('raw, 5000123 bytes', 'head -c 5000123 disk.raw >', 'raw')]
IMAGES += [(f'qcow2 {o}', CONVERT.format('qcow2', o), 'qcow2') for o in (
    'compat=1.1', 'compat=0.10', 'cluster_size=512', 'cluster_size=4k', 'cluster_size=2M', 'refcount_bits=1', 'refcount_bits=8',
    'refcount_bits=64', 'lazy_refcounts=on', 'preallocation=metadata', 'preallocation=falloc', 'preallocation=full',
    'data_file=D', 'data_file=D,data_file_raw=on')]
IMAGES += [
    ('qcow2 zlib', 'qemu-img convert -c -O qcow2 disk.raw', 'qcow2'),
    ('qcow2 zstd', 'qemu-img convert -c -O qcow2 -o compression_type=zstd disk.raw', 'qcow2'),
    ('qcow2 empty, preallocation=metadata', 'qemu-img create -f qcow2 -o preallocation=metadata I 20M', 'qcow2'),
    ('qcow2 overlay over raw', 'qemu-img create -f qcow2 -b disk.raw -F raw I && qemu-io -c "write 1M 99k" -c "write -z 3M 1M" I', 'qcow2'),
    ('qcow2 overlay, longer', 'qemu-img create -f qcow2 -b disk.raw -F raw I 9M && qemu-io -c "write 7M 99k" I', 'qcow2'),
    ('qcow2 chain of three', 'qemu-img create -f qcow2 -b disk.raw -F raw B && qemu-io -c "write 1M 99k" B && qemu-img create -f qcow2 -b B '
     '-F qcow2 I && qemu-io -c "write 1100k 1M" -c "discard 4M 64k" I', 'qcow2'),
    ('qcow2 with snapshots', CONVERT.format('qcow2', 'compat=1.1') + 'I && qemu-img snapshot -c a I && qemu-io -c "write 0 2M" I && '
     'qemu-img snapshot -c b I', 'qcow2'),
    ('qcow2 with bitmaps', CONVERT.format('qcow2', 'compat=1.1') + 'I && qemu-img bitmap --add I a && qemu-img bitmap --add -g 4k --disable I b '
     '&& qemu-io -c "write 0 2M" I', 'qcow2'),
    ('qcow2 with leaks', 'qemu-img create -f qcow2 I 6M && printf "\\0\\1\\0\\1" | dd of=I bs=1 seek=131090 conv=notrunc', 'qcow2'),
    ('qcow2 of 64T', 'qemu-img create -f qcow2 -o cluster_size=2M I 64T', 'qcow2'),
    ('luks', MANY + 'qemu-img convert -O luks --object secret,id=s,data=x -o key-secret=s,iter-time=50 disk.raw I && break; done', 'luks'),
    ('qcow2 with luks', MANY + 'qemu-img convert -O qcow2 --object secret,id=s,data=x -o encrypt.format=luks,encrypt.key-secret=s,encrypt.iter-time=50 '
     'disk.raw I && break; done', 'qcow2'),
    ('vdi', CONVERT.format('vdi', 'static=off'), 'vdi'), ('vdi static', CONVERT.format('vdi', 'static=on'), 'vdi'),
    ('vpc', CONVERT.format('vpc', 'subformat=dynamic'), 'vpc'), ('vpc fixed', CONVERT.format('vpc', 'subformat=fixed,force_size=on'), 'vpc'),
    ('vhdx', CONVERT.format('vhdx', 'subformat=dynamic'), 'vhdx'), ('vhdx fixed', CONVERT.format('vhdx', 'subformat=fixed'), 'vhdx'),
    ('vmdk', CONVERT.format('vmdk', 'subformat=monolithicSparse'), 'vmdk'),
    ('vmdk streamOptimized', CONVERT.format('vmdk', 'subformat=streamOptimized'), 'vmdk'),
    ('vmdk flat', CONVERT.format('vmdk', 'subformat=monolithicFlat'), 'vmdk'),
    ('vmdk extents', CONVERT.format('vmdk', 'subformat=twoGbMaxExtentSparse'), 'vmdk'),
    ('vmdk overlay', CONVERT.format('vmdk', 'subformat=monolithicSparse') + 'B && qemu-img create -f vmdk -b B -F vmdk I && '
     'qemu-io -f vmdk -c "write 1M 300k" I', 'vmdk'),
    ('qed overlay', CONVERT.format('qed', 'cluster_size=64k') + 'B && qemu-img create -f qed -b B -F qed I && qemu-io -f qed -c "write 1M 99k" I', 'qed'),
    ('qed', CONVERT.format('qed', 'cluster_size=64k'), 'qed'), ('parallels', CONVERT.format('parallels', 'cluster_size=1M'), 'parallels'),
]
# (image or format, verb): why it is left out. A third part names a field.
DIFFER = {
    ('raw, 5000123 bytes', 'map'): 'qemu-img tells of the part of a sector behind the end',
    ('qcow2 of 64T', 'measure', 'cluster_size=4k,refcount_bits=1'): 'qemu-img gives a size for a disk that cannot be made',
    ('luks', 'info', 'filename'): 'qemu-img makes a json: name of --image-opts',
    ('qcow2 with luks', 'info', 'filename'): 'qemu-img makes a json: name of --image-opts',
    ('qed', 'check'): 'read only here, not checked', ('qed overlay', 'check'): 'read only here, not checked', ('parallels', 'check'): 'read only here, not checked',
    ('parallels', 'info', 'cluster-size'): 'qemu-img does not tell', ('parallels', 'info', 'dirty-flag'): 'qemu-img does not tell',
}


def case(ok, what, more=''):
    global cases
    cases += 1
    if not ok:
        failures.append(what)
        print('FAIL', what, more)


def disk_make(name, rng):
    """Data, zeroes and holes in turn, of many lengths."""
    with open(name, 'wb') as f:
        f.truncate(SIZE)
        at = 0
        while at < SIZE:
            n = min(SIZE - at, 512 * rng.choice([1, 3, 8, 100, 128, 257, 1024]))
            f.seek(at)
            what = rng.choice('dzhh')
            if what != 'h':
                f.write(rng.randbytes(n) if what == 'd' else bytes(n))
            at += n


def told(tool, args):
    """What it says, as JSON or in words, and the status."""
    p = subprocess.run([*tool, *args], capture_output=True, stdin=subprocess.DEVNULL, timeout=60)
    try:
        return p.returncode, json.loads(p.stdout)
    except ValueError:
        return p.returncode, 'no JSON'


def differences(a, b, path=''):
    if isinstance(a, dict) and isinstance(b, dict):
        return [d for k in sorted({*a, *b}) for d in differences(a.get(k, '(none)'), b.get(k, '(none)'), f'{path}.{k}')]
    if isinstance(a, list) and isinstance(b, list) and len(a) == len(b):
        return [d for i, (x, y) in enumerate(zip(a, b)) for d in differences(x, y, f'{path}[{i}]')]
    return [] if a == b else [f'{path}: {a!r}, qemu-img {b!r}']


def compare(what, args):
    (s1, a), (s2, b) = told(OSPITE, args), told(QEMU, args)
    found = [d for d in differences(a, b) if (what, args[0], d.split(':')[0].split('.')[-1]) not in DIFFER] + ([f'status {s1}, qemu-img {s2}'] if s1 != s2 else [])
    case(not found, f'{what}: {args[0]}', '; '.join(found)[:600])


def image_test(name, make, fmt):
    os.mkdir('d')
    os.chdir('d')
    os.symlink('../disk.raw', 'disk.raw')
    command = make if ' I' in make else make + ' I'
    p = subprocess.run(command, shell=True, capture_output=True)
    case(p.returncode == 0, f'{name}: made', p.stderr.decode())
    secret = ['--object', 'secret,id=s,data=x'] if 'luks' in name else []
    key = {'luks': 'key-secret=s', 'qcow2': 'encrypt.key-secret=s'}[fmt] if secret else None
    image = ['--image-opts', f'driver={fmt},file.filename=I,{key}'] if key else ['-f', fmt, 'I']
    verbs = [('info', []), ('info', ['--backing-chain']), ('map', []), ('check', []), ('measure', ['-O', 'raw']), ('measure', ['-O', 'qcow2']),
             ('measure', ['-O', 'qcow2', '-o', 'cluster_size=4k,refcount_bits=1'])]
    for verb, more in verbs:
        if (name, verb) not in DIFFER and (name, verb, more[-1] if more else '') not in DIFFER:
            compare(name, [verb, '--output=json', *secret, *more, *image])
    os.chdir('..')
    shutil.rmtree('d')


def main():
    if not shutil.which('qemu-img') or not shutil.which('qemu-io'):
        print('skipped: no qemu-img')
        return 77
    with tempfile.TemporaryDirectory(prefix='ospite-fields-') as directory:
        os.chdir(directory)
        disk_make('disk.raw', random.Random(SEED))
        for image in IMAGES:
            image_test(*image)
        os.chdir('/')
    print(f'img-fields: {cases} comparisons of {len(IMAGES)} images, {len(failures)} failed, seed {SEED}')
    return 1 if failures else 0


sys.exit(main())
