#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0-or-later
"""'ospite img' and qemu-img do each other's work: matrix.py OSPITE [SEED]

For each kind of image: one of the two makes it from the same random disk, the other reads, checks, describes and changes
it, and the other way round. What --output=json says has to agree field by field."""
import json, os, random, shutil, struct, subprocess, sys, tempfile, zlib

OSPITE = [os.path.abspath(sys.argv[1]), 'img']
QEMU = ['qemu-img']
SEED = int(sys.argv[2]) if len(sys.argv) > 2 else 20260
SIZE = 6 << 20
cases, failures = 0, []

# Format and creation options.
KINDS = [('raw', ''), ('qcow2', ''), ('qcow2', 'compat=0.10'), ('qcow2', 'cluster_size=512'), ('qcow2', 'cluster_size=4k'),
         ('qcow2', 'cluster_size=2M'), ('qcow2', 'extended_l2=on,cluster_size=128k'), ('qcow2', 'refcount_bits=1'),
         ('qcow2', 'refcount_bits=64'), ('qcow2', 'lazy_refcounts=on')]


def run(tool, *args):
    p = subprocess.run([*tool, *map(str, args)], stdin=subprocess.DEVNULL, capture_output=True, timeout=120)
    return p.returncode, p.stdout.decode('latin-1'), p.stderr.decode('latin-1')


def case(ok, what, more=''):
    global cases
    cases += 1
    if not ok:
        failures.append(what)
        print('FAIL', what, more)
    return ok


def works(tool, *args, status=0):
    r, out, err = run(tool, *args)
    name = 'ospite' if tool is OSPITE else 'qemu'
    case(r == status, f'{name} {" ".join(map(str, args))}: status {r}', err.strip() + out.strip()[-200:])
    return out


def can_probe():
    """Parts of qcow2 that may not be there: what needs them is left out, out loud."""
    run(QEMU, 'create', '-f', 'qcow2', 'probe', '1M')
    run(QEMU, 'create', '-f', 'qcow2', '-b', 'probe', '-F', 'qcow2', 'probe2')
    probes = {'resize': ['resize', 'probe', '+1M'], 'measure': ['measure', '-O', 'qcow2', '--size', '1M'],
              'compress': ['convert', '-c', '-O', 'qcow2', 'probe', 'probe3'], 'empty': ['commit', 'probe2']}
    can = set()
    for name, args in probes.items():
        status, _, err = run(OSPITE, *args)
        if status and ('cannot' in err or 'could not be emptied' in err):
            print(f'SKIPPED: all that needs {name}: {err.strip()}')
        else:
            can.add(name)
    return can


def disk_make(name, rng, size=SIZE):
    """Data, zeroes and holes in turn, of many lengths."""
    with open(name, 'wb') as f:
        f.truncate(size)
        at = 0
        while at < size:
            n = min(size - at, 512 * rng.choice([1, 3, 8, 100, 128, 257, 1024]))
            what = rng.choice('dzhht')
            f.seek(at)
            if what == 'd':
                f.write(rng.randbytes(n))
            elif what == 't':
                f.write((b'the quick brown fox ' * (n // 20 + 1))[:n])
            elif what == 'z':
                f.write(bytes(n))
            at += n


def same(a, b):
    with open(a, 'rb') as x, open(b, 'rb') as y:
        return x.read() == y.read()


def json_of(tool, *args):
    out = run(tool, *args)[1]
    try:
        return json.loads(out)
    except ValueError:
        return out


def json_compare(*args, ignore=()):
    a, b = json_of(OSPITE, *args), json_of(QEMU, *args)
    for side in (a, b):
        for key in ignore:
            if isinstance(side, dict):
                side.pop(key, None)
    case(a == b, f'json of {" ".join(map(str, args))}', f'\n  ospite {a}\n  qemu   {b}')


def describe(fmt, image, subclusters):
    json_compare('info', '--output=json', '-f', fmt, image)
    if not subclusters:                 # where both tell the same, but in other pieces
        json_compare('map', '--output=json', '-f', fmt, image)
    json_compare('measure', '--output=json', '-f', fmt, '-O', 'raw', image)
    if fmt == 'qcow2':
        json_compare('check', '--output=json', image)
        if 'measure' in CAN:
            json_compare('measure', '--output=json', '-f', fmt, '-O', 'qcow2', image)
        works(QEMU, 'check', image)
        works(OSPITE, 'check', image)


def both_ways(kind, maker, reader, source):
    fmt, options = kind
    extra = ['-o', options] if options else []
    works(maker, 'convert', '-f', 'raw', '-O', fmt, *extra, source, 'image')
    works(reader, 'compare', '-f', 'raw', '-F', fmt, source, 'image')
    works(reader, 'convert', '-f', fmt, '-O', 'raw', 'image', 'back.raw')
    case(same(source, 'back.raw'), f'{kind}: what was read back differs')
    describe(fmt, 'image', 'extended' in options)
    if fmt == 'raw' or 'resize' in CAN:
        works(maker, 'resize', '-f', fmt, 'image', '+1M')
        works(reader, 'compare', '-q', '-f', 'raw', '-F', fmt, source, 'image')
        works(reader, 'resize', '-q', '-f', fmt, '--shrink', 'image', '--', '-1M')
    works(maker, 'compare', '-f', 'raw', '-F', fmt, source, 'image')
    if fmt == 'qcow2':
        works(QEMU, 'check', 'image')
        if options != 'refcount_bits=1':
            works(reader, 'snapshot', '-c', 's', 'image')
            works(maker, 'snapshot', '-c', 't', 'image')
            json_compare('info', '--output=json', 'image')
            works(reader, 'snapshot', '-a', 't', 'image')
            works(maker, 'convert', '-f', fmt, '-l', 's', '-O', 'raw', 'image', 'old.raw')
            case(same(source, 'old.raw'), f'{kind}: the snapshot differs')
            works(reader, 'snapshot', '-d', 's', 'image')
            works(QEMU, 'check', 'image')
    if fmt == 'qcow2' and 'extended' not in options and 'compress' in CAN:
        works(maker, 'convert', '-c', '-O', fmt, *extra, source, 'packed')
        works(reader, 'compare', '-f', 'raw', source, 'packed')
        json_compare('map', '--output=json', 'packed')
        works(QEMU, 'check', 'packed')
    for name in ('image', 'back.raw', 'old.raw', 'packed'):
        if os.path.exists(name):
            os.unlink(name)


def chain(rng, tool, other):
    """Overlays: convert with a base, commit, rebase, each against the other tool's view."""
    disk_make('base.raw', rng)
    disk_make('new.raw', rng)
    works(tool, 'create', '-f', 'qcow2', '-b', 'base.raw', '-F', 'raw', 'top.qcow2')
    for k in range(8):
        offset, length = 512 * rng.randrange(SIZE // 512 - 400), 512 * rng.randrange(1, 400)
        p = subprocess.run(['qemu-io', '-f', 'qcow2', '-c', f'write -P {k + 1} {offset} {length}', 'top.qcow2'],
                           capture_output=True)
        case(p.returncode == 0, 'qemu-io')
    works(other, 'convert', '-O', 'raw', 'top.qcow2', 'want.raw')
    json_compare('map', '--output=json', 'top.qcow2')
    json_compare('info', '--output=json', '--backing-chain', 'top.qcow2')
    works(tool, 'convert', '-O', 'qcow2', '-B', 'base.raw', '-F', 'raw', 'top.qcow2', 'thin.qcow2')
    works(other, 'compare', '-F', 'raw', 'thin.qcow2', 'want.raw')
    case(os.path.getsize('thin.qcow2') <= os.path.getsize('top.qcow2') + (1 << 20), 'convert -B copied too much')
    works(tool, 'rebase', '-b', 'new.raw', '-F', 'raw', 'thin.qcow2')
    works(other, 'compare', '-F', 'raw', 'thin.qcow2', 'want.raw')
    works(other, 'check', 'thin.qcow2')
    works(tool, 'rebase', '-u', '-b', './new.raw', '-F', 'raw', 'thin.qcow2')
    works(other, 'compare', '-F', 'raw', 'thin.qcow2', 'want.raw')
    works(tool, 'rebase', '-b', '', 'thin.qcow2')
    works(other, 'compare', '-F', 'raw', 'thin.qcow2', 'want.raw')
    if 'empty' in CAN:
        works(tool, 'commit', 'top.qcow2')
    else:
        works(tool, 'commit', '-d', 'top.qcow2')
    case(same('base.raw', 'want.raw'), 'commit: the base differs')
    works(other, 'compare', '-F', 'raw', 'top.qcow2', 'want.raw')
    works(QEMU, 'check', 'top.qcow2')
    for name in ('base.raw', 'new.raw', 'top.qcow2', 'want.raw', 'thin.qcow2'):
        os.unlink(name)


def parents(rng, tool, other):
    """Overlays of VMDK, three deep, written by both; QED ones, which are only read."""
    disk_make('want.raw', rng)
    for kinds in (('monolithicSparse', 'monolithicSparse', 'twoGbMaxExtentSparse'), ('twoGbMaxExtentSparse', 'monolithicSparse', 'streamOptimized')):
        works(tool, 'convert', '-f', 'raw', '-O', 'vmdk', '-o', 'subformat=' + kinds[0], 'want.raw', 'p0.vmdk')
        for i in (1, 2):
            works(tool, 'create', '-f', 'vmdk', '-b', f'p{i - 1}.vmdk', '-F', 'vmdk', '-o', 'subformat=' + kinds[i], f'p{i}.vmdk')
            offset, length = 512 * rng.randrange(SIZE // 512 - 900), 512 * rng.randrange(1, 900)
            # QEMU writes whole grains only to compressed images.
            for image in () if kinds[i] == 'streamOptimized' else (f'p{i}.vmdk', 'want.raw'):
                works(['qemu-io'], '-f', 'vmdk' if image != 'want.raw' else 'raw', '-c', f'write -P {i} {offset} {length}', image)
            works(other, 'compare', '-f', 'raw', 'want.raw', f'p{i}.vmdk')
        json_compare('map', '--output=json', 'p2.vmdk')
        json_compare('info', '--output=json', '--backing-chain', 'p2.vmdk')
        disk_make('new.raw', rng)           # zeroes and all have to hide what the parents have
        works(OSPITE, 'convert', '-n', '-f', 'raw', '-O', 'vmdk', 'new.raw', 'p2.vmdk')
        works(QEMU, 'compare', '-f', 'raw', 'new.raw', 'p2.vmdk')
        works(OSPITE, 'compare', '-f', 'raw', 'new.raw', 'p2.vmdk')
        works(OSPITE, 'convert', '-f', 'raw', '-O', 'vmdk', '-B', 'p1.vmdk', '-F', 'vmdk', 'new.raw', 'p3.vmdk')
        works(QEMU, 'compare', '-f', 'raw', 'new.raw', 'p3.vmdk')
        works(['qemu-io'], '-f', 'vmdk', '-c', 'write 0 512', 'p0.vmdk')
        status, _, err = run(OSPITE, 'map', 'p2.vmdk')
        case(status == 1 and 'p0.vmdk' in err and 'written to since' in err, f'a parent that has changed: {err}')
        for name in os.listdir('.'):
            if name.startswith('p'):
                os.unlink(name)
    works(QEMU, 'create', '-f', 'qed', '-b', 'want.raw', '-F', 'raw', 'p1.qed')
    works(['qemu-io'], '-f', 'qed', '-c', 'write -P 3 2M 100k', 'p1.qed')
    works(QEMU, 'create', '-f', 'qed', '-b', 'p1.qed', '-F', 'qed', 'p2.qed', '9M')
    works(QEMU, 'convert', '-O', 'raw', 'p2.qed', 'q.raw')
    works(OSPITE, 'convert', '-O', 'raw', 'p2.qed', 'o.raw')
    case(same('q.raw', 'o.raw'), 'a chain of QED')
    os.unlink('o.raw')
    json_compare('map', '--output=json', 'p2.qed')
    json_compare('info', '--output=json', '--backing-chain', 'p2.qed')


def cloop_make(name, disk, block):
    """As cloop-utils' create_compressed_fs does."""
    packed = [zlib.compress(disk[i:i + block]) for i in range(0, len(disk), block)]
    script = b'#!/bin/sh\n#V2.0 Format\nmodprobe cloop file=$0 && mount -r -t iso9660 /dev/cloop $1\n'
    at = [136 + 8 * (len(packed) + 1)]
    for p in packed:
        at.append(at[-1] + len(p))
    with open(name, 'wb') as f:
        f.write(script.ljust(128, b'\0') + struct.pack('>II', block, len(packed)) + struct.pack(f'>{len(at)}Q', *at) + b''.join(packed))


def old_formats(rng):
    """Formats that are only read: qcow version 1, plain, compressed and in a chain; cloop."""
    disk_make('want.raw', rng)
    works(QEMU, 'convert', '-f', 'raw', '-O', 'qcow', 'want.raw', 'o1.qcow')
    run(QEMU, 'convert', '-c', '-f', 'raw', '-O', 'qcow', 'want.raw', 'o2.qcow')       # status 1, but all is there
    works(QEMU, 'compare', '-f', 'raw', '-F', 'qcow', 'want.raw', 'o2.qcow')
    works(QEMU, 'create', '-f', 'qcow', '-b', 'o2.qcow', '-F', 'qcow', 'o3.qcow')
    works(['qemu-io'], '-f', 'qcow', '-c', 'write -P 3 2M 99k', 'o3.qcow')
    for block in (65536, 512):
        cloop_make(f'o{block}.cloop', open('want.raw', 'rb').read(), block)
    for image, fmt in (('o1.qcow', 'qcow'), ('o2.qcow', 'qcow'), ('o3.qcow', 'qcow'), ('o65536.cloop', 'cloop'), ('o512.cloop', 'cloop')):
        works(QEMU, 'convert', '-f', fmt, '-O', 'raw', image, 'q.raw')
        works(OSPITE, 'convert', '--force', '-O', 'raw', image, 'o.raw')    # the format is found out
        case(same('q.raw', 'o.raw'), f'{image}: read otherwise')
        works(OSPITE, 'bench', '-q', '-c', 300, '-s', 4096, '-S', 86016, '-d', 8, image)
        a, b = json_of(OSPITE, 'info', '--output=json', image), json_of(QEMU, 'info', '--output=json', image)
        case(all(a.get(k) == b.get(k) for k in ('format', 'virtual-size', 'backing-filename')), f'info of {image}', f'{a} {b}')
        status, _, err = run(OSPITE, 'resize', image, '+1M')
        case(status == 1 and 'only be read' in err, f'{image} is only read: {err}')
    for image, at, value, words in (('o1.qcow', 32, 20, 'cluster size'), ('o1.qcow', 33, 1, 'L2 tables'), ('o1.qcow', 39, 1, 'encrypted'),
                                    ('o1.qcow', 40, 9, 'L1 table'), ('o1.qcow', 24, 255, 'disk size'), ('o3.qcow', 8, 9, 'backing file name'),
                                    ('o512.cloop', 128, 9, 'block size'), ('o512.cloop', 132, 9, 'number of blocks'),
                                    ('o512.cloop', 133, 9, 'table of blocks')):
        shutil.copy(image, 'bad')
        with open('bad', 'r+b') as f:
            f.seek(at)
            f.write(bytes([value]))
        status, _, err = run(OSPITE, 'convert', '--force', '-O', 'raw', 'bad', 'o.raw')
        case(status == 1 and words in err and len(err.splitlines()) == 1, f'{image}, byte {at} is {value}: {err}')
    for image in ('o2.qcow', 'o512.cloop'):
        data = bytearray(open(image, 'rb').read())
        for k in range(len(data) // 2, len(data), 97):
            data[k] ^= 0xff
        open('bad', 'wb').write(data)
        status, _, err = run(OSPITE, 'convert', '--force', '-O', 'raw', 'bad', 'o.raw')
        case(status == 1 and 'cannot read' in err, f'{image} with damaged data: {err}')


def more(rng):
    """Several sources, dd, sparse, what differs."""
    disk_make('a.raw', rng)
    disk_make('b.raw', rng, 3 << 20)
    works(OSPITE, 'convert', '-f', 'raw', '-O', 'qcow2', 'a.raw', 'b.raw', 'ab.qcow2')
    works(QEMU, 'convert', '-f', 'raw', '-O', 'raw', 'a.raw', 'b.raw', 'ab.raw')
    works(QEMU, 'compare', 'ab.qcow2', 'ab.raw')
    for args in (['bs=64k', 'skip=3'], ['bs=1M'], ['bs=512', 'count=7']):
        works(OSPITE, 'dd', '-f', 'raw', '-O', 'raw', *args, 'if=a.raw', 'of=d1')
        works(QEMU, 'dd', '-f', 'raw', '-O', 'raw', *args, 'if=a.raw', 'of=d2')
        case(same('d1', 'd2'), f'dd {args}')
        os.unlink('d1')
    works(OSPITE, 'compare', '-f', 'raw', '-F', 'raw', 'a.raw', 'b.raw', status=1)
    for strict in ([], ['-s']):
        case(run(OSPITE, 'compare', *strict, 'a.raw', 'ab.raw')[:2] == run(QEMU, 'compare', *strict, 'a.raw', 'ab.raw')[:2],
             f'compare {strict}: words and status')
    works(OSPITE, 'convert', '-n', '--force-share', '-f', 'raw', '-O', 'raw', 'b.raw', 'ab.raw')
    with open('ab.raw', 'rb') as f, open('b.raw', 'rb') as g:
        case(f.read(3 << 20) == g.read(), 'convert -n')
    for options in ('', 'cluster_size=4k', 'extended_l2=on', 'preallocation=full', 'refcount_bits=64'):
        extra = ['-o', options] if options else []
        for size in ('1M', '10G', '7T') if 'measure' in CAN else ():
            json_compare('measure', '--output=json', '-O', 'qcow2', *extra, '--size', size)
    # Names that are more than paths.
    name = json.dumps({'driver': 'qcow2', 'file': {'driver': 'file', 'filename': 'ab.qcow2'}})
    json_compare('check', '--output=json', 'json:' + name, ignore=('filename',))
    works(OSPITE, 'compare', '--image-opts', 'driver=qcow2,file.filename=ab.qcow2', 'driver=qcow2,file.driver=file,file.filename=ab.qcow2')
    # A huge empty disk.
    works(OSPITE, 'create', '-f', 'qcow2', '-o', 'cluster_size=2M', 'huge.qcow2', '64T')
    if 'resize' in CAN:
        works(OSPITE, 'resize', 'huge.qcow2', '+1T')
    json_compare('map', '--output=json', 'huge.qcow2')
    works(OSPITE, 'check', 'huge.qcow2')
    for count in (1, 100):
        works(OSPITE, 'bench', '-q', '-c', count, '-d', 8, '-f', 'raw', 'a.raw')
        works(OSPITE, 'bench', '-q', '-w', '-c', count, '--flush-interval', 7, '--pattern', 9, 'ab.qcow2')
    works(QEMU, 'check', 'ab.qcow2')


def main():
    if not shutil.which('qemu-img') or not shutil.which('qemu-io'):
        print('skipped: no qemu-img')
        return 77
    global CAN
    rng = random.Random(SEED)
    here = os.getcwd()
    with tempfile.TemporaryDirectory(prefix='ospite-img-') as directory:
        os.chdir(directory)
        CAN = can_probe()
        disk_make('source.raw', rng)
        for kind in KINDS:
            both_ways(kind, QEMU, OSPITE, 'source.raw')
            both_ways(kind, OSPITE, QEMU, 'source.raw')
        chain(rng, OSPITE, QEMU)
        chain(rng, QEMU, OSPITE)
        parents(rng, OSPITE, QEMU)
        parents(rng, QEMU, OSPITE)
        old_formats(rng)
        more(rng)
        os.chdir(here)
    print(f'img-matrix: {cases} cases, {len(failures)} failed, {len(KINDS)} kinds of image, seed {SEED}')
    return 1 if failures else 0


sys.exit(main())
