#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0-or-later
"""Odd command lines, each under the name qemu-img here and with qemu-img itself in equal directories: peer.py OSPITE

Both must accept the line or both refuse it, and leave the same disks behind: format, size, backing file, snapshots, bitmaps and
contents of every image, and the length of raw files. DIFFERENT has the lines where the two differ on purpose."""
import hashlib, json, os, random, shlex, shutil, subprocess, sys, tempfile

OSPITE, PEER = os.path.abspath(sys.argv[1]), shutil.which('qemu-img')
if not PEER:
    print('qemu-img is not there')
    sys.exit(77)
failures = []
# What is put together to lines: verb and options, operands.
LINES = [f'{verb} {line}' for verb, lines in {
    'create': ['-f raw n 1000', '-f raw n 1', '-f qcow2 n 0', '-f qcow2 n 1', '-f qcow2 n -1', '-f qcow2 n 1.5', '-f qcow2 n 10x',
               '-f qcow2 n 1M extra', '-f qcow2 n 7E', '-f qcow2 -o cluster_size=512 n 3T', '-f qcow2 -o cluster_size=3000 n 1M',
               '-f qcow2 -o refcount_bits=3 n 1M', '-f qcow2 -o extended_l2=on,cluster_size=8k n 1M', '-f qcow2 -o data_file_raw=on n 1M',
               '-f qcow2 -o data_file=e.raw,data_file_raw=on -b q.qcow2 -F qcow2 n', '-f qcow2 -o data_file=t.raw n 8M',
               '-f qcow2 -b q.qcow2 n', '-f qcow2 -b q.qcow2 -F raw n', '-f qcow2 -b q.qcow2 -F qcow2 n 20M',
               '-f qcow2 -u -b missing -F qcow2 n 1M', '-f qcow2 -u -b missing -F qcow2 n', '-f qcow2 -F qcow2 n 1M',
               '-f qcow2 -o size=1M n 2M', '-f qcow2 -o size=1M n', '-f vmdk -o hwversion=7,compat6=on n 1M', '-f vhdx -o log_size=0 n 1M',
               '-f vpc n 3T', '-f raw -o preallocation=metadata n 1M', '-f raw -o nocow=on n 1M', '-f qcow2 -o nocow=on n 1M', 'n'],
    'convert': [f'-m {m} -O qcow2 r.raw n' for m in (1, 16, 17, 0, -1, '4k')] + [f'-S {s} -O qcow2 r.raw n' for s in (0, 511, '3k', '10G')] + [
        '-c -O vmdk -o subformat=streamOptimized r.raw n', '-c -O vdi r.raw n', '-c -O qcow2 -o data_file=e.raw r.raw n',
        '-c -O qcow2 -o preallocation=full r.raw n', '-C -O qcow2 r.raw n', '-C -c -O qcow2 r.raw n', '-C -S 4k -O raw r.raw n',
        '-C -O raw r.raw odd.raw n', '--salvage -C -O raw r.raw n', '-n -f raw -O raw odd.raw t.raw', '-n -O raw r.raw missing',
        '--target-is-zero -O raw r.raw n', '-n --target-image-opts -O raw r.raw driver=raw,file.filename=t.raw',
        '-B q.qcow2 -F qcow2 -O qcow2 ov2.qcow2 n', '-B q.qcow2 -O qcow2 ov2.qcow2 n', '-B q.qcow2 -F qcow2 -O raw ov2.qcow2 n',
        '-l snapshot.id=1,snapshot.name=one -O qcow2 s.qcow2 n', '-l one -O qcow2 r.raw n', '--bitmaps -O qcow2 b.qcow2 n',
        '--bitmaps -O qcow2 r.raw n', '--skip-broken-bitmaps -O qcow2 b.qcow2 n', '-O raw odd.raw n', '-O vmdk odd.raw n', '-O qcow2 empty n',
        '--image-opts -f qcow2 driver=qcow2,file.filename=q.qcow2 n', '-O raw r.raw r.raw'],
    'resize': [f'{q} {s}' for q in ('q.qcow2', '--shrink q.qcow2') for s in ('+0', '+1', '8388607', '4M', '0', '-- -8M', '+4E', '1.5G', '+1MB')] + [
        '-f raw --shrink r.raw 1001', '-f raw r.raw 8388609', '-f raw odd.raw +1', '-f raw --shrink odd.raw -- -1', 'v2.qcow2 +1M',
        '--shrink s.qcow2 4M', '--shrink b.qcow2 4M', '--shrink x.qcow2 4M', '--preallocation=full ov.qcow2 +1M',
        '--preallocation=full short.qcow2 +1M', '--preallocation=metadata -f raw r.raw +1M', 'm.vmdk +1M', 'h.vhdx +1M', '--shrink ov.qcow2 4M'],
    'rebase': ["-u -b '' ov.qcow2", "-b '' ov.qcow2", '-b q.qcow2 -F qcow2 s.qcow2', '-b q.qcow2 -F qcow2 short.qcow2',
               '-b q.qcow2 -F qcow2 v2.qcow2', '-b q.qcow2 -F qcow2 fill.qcow2', '-b r.raw -F raw ov.qcow2', '-b ov2.qcow2 -F qcow2 ov.qcow2',
               '-b missing -F raw ov.qcow2', '-b q.qcow2 -F qcow2 r.raw', "-U -b '' ov2.qcow2"],
    'commit': ['ov.qcow2', '-d ov.qcow2', '-b q.qcow2 ov2.qcow2', '-b s.qcow2 ov2.qcow2', 'q.qcow2', '-f raw ov.qcow2'],
    'snapshot': ['-a 1 s.qcow2', '-d 1 names.qcow2', '-a 2 names.qcow2', '-d nosuch s.qcow2', '-c one s.qcow2', '-c a -c b s.qcow2', '-c a -a one s.qcow2',
                 '-c a r.raw', '-c a x.qcow2', '-U -c a s.qcow2'],
    'bitmap': ['--add -g 512 b.qcow2 b1', '--add --disable b.qcow2 b1', '--clear --disable b.qcow2 b0', '--remove b.qcow2 nosuch',
               '--add --merge b0 -b b.qcow2 -F qcow2 s.qcow2 c', '--add v2.qcow2 c', '--add -g 3000 b.qcow2 b1', '-g 64k b.qcow2 b0'],
    'amend': ['-o compat=0.10 q.qcow2', '-o compat=1.1 v2.qcow2', '-o size=16M q.qcow2', '-o cluster_size=4k q.qcow2', '-o refcount_bits=8 v2.qcow2',
              '-o backing_file=q.qcow2,backing_fmt=qcow2 s.qcow2', '-o backing_file= ov.qcow2', '-o nosuch=1 q.qcow2'],
    'dd': ['if=r.raw of=n bs=1M count=1', 'if=r.raw of=n bs=1M skip=7', 'if=r.raw of=n bs=1M count=0', 'if=r.raw of=n bs=3G',
           '-f raw -O raw if=odd.raw of=n bs=1000 count=10', '-f raw -O qcow2 if=odd.raw of=n', 'if=r.raw of=n seek=1', 'foo=bar'],
    'check': ['-r leaks q.qcow2', '-r all m.vmdk', '-r all d.vdi', 'r.raw', 'h.vhdx', '-f raw q.qcow2'],
    'bench': ['-c 10 -w --flush-interval 2 q.qcow2', '-c 10 -i native q.qcow2', '-c 10 -n -t none q.qcow2'],
    'measure': ['--size 1G q.qcow2', '--size 9E -O qcow2', '-O vmdk --size 1G', '-l nosuch -O qcow2 s.qcow2'],
    'map': ['-s 100M --output=json q.qcow2', '-l 0 --output=json q.qcow2', '--output=xml q.qcow2'],
    'compare': ['-s r.raw ov.qcow2', 'r.raw t.raw', '-s empty t.raw', 'empty t.raw', 'r.raw missing'],
    'info': ['--image-opts -f qcow2 driver=qcow2,file.filename=q.qcow2', "''", '.', 'q.qcow2 r.raw', '-f nosuch q.qcow2'],
}.items() for line in lines]
# Refused here, with these words, or done otherwise: what there would cost data or was meant for nobody.
DIFFERENT = {
    'create -f qcow2 -o data_file=t.raw n 8M': None,
    'convert -O raw r.raw r.raw': 'another process',
    'bench -c 10 -w --flush-interval 2 q.qcow2': None,  # flushes more often than requests end
    'rebase -b q.qcow2 -F qcow2 v2.qcow2': None,        # a disk of zeroes, which is another one after qemu-img
}


def call(tool, line, directory):
    p = subprocess.run([tool, *shlex.split(line)], cwd=directory, capture_output=True, stdin=subprocess.DEVNULL, timeout=100)
    return p.returncode, (p.stdout + p.stderr).decode('latin-1').strip()


def peer(directory, *lines):
    for line in lines:
        status, text = call(PEER, line, directory)
        if status:
            print(f'qemu-img {line}: {text}')
            sys.exit(1)


def base_make(directory):
    os.mkdir(directory)
    dice = random.Random(4)
    with open(directory + '/r.raw', 'wb') as f:
        f.write(dice.randbytes(300000) + bytes(4 << 20) + dice.randbytes(1000))
        f.truncate(8 << 20)
    with open(directory + '/odd.raw', 'wb') as f:
        f.write(dice.randbytes(1000001))
    open(directory + '/empty', 'wb').close()
    peer(directory, 'convert -O qcow2 r.raw q.qcow2', 'create -f qcow2 -b q.qcow2 -F qcow2 ov.qcow2',
         'create -f qcow2 -b ov.qcow2 -F qcow2 ov2.qcow2', 'create -f qcow2 -o compat=0.10 v2.qcow2 8M', 'create -f qcow2 s.qcow2 8M',
         'snapshot -c one s.qcow2', 'create -f qcow2 b.qcow2 8M', 'bitmap --add b.qcow2 b0', 'create -f vmdk m.vmdk 8M', 'create -f vdi d.vdi 8M',
         'create -f vhdx h.vhdx 8M', 'create -f raw t.raw 8M', 'create -f qcow2 -o data_file=ext.raw x.qcow2 8M',
         'create -f qcow2 -b odd.raw -F raw fill.qcow2 8M', 'dd -O qcow2 if=r.raw of=names.qcow2', 'snapshot -c 2 names.qcow2',
         'snapshot -c 1 names.qcow2', 'create -f qcow2 -b odd.raw -F raw short.qcow2 1000448')


def contents(directory, name):
    out = directory + '.raw'
    r = subprocess.run([PEER, 'convert', '-t', 'unsafe', '-U', '-O', 'raw', name, out], cwd=directory, capture_output=True)
    with open(out, 'rb') as f:
        return hashlib.sha256(f.read()).hexdigest() if not r.returncode else 'unreadable'


def state(directory, first, deep):
    """Of all files that changed; deep: of what they show too."""
    all = {}
    for name in sorted(os.listdir(directory)):
        path = f'{directory}/{name}'
        size = os.path.getsize(path)
        raw = size if size > 64 << 20 else hashlib.sha256(open(path, 'rb').read()).hexdigest()
        if not deep:
            all[name] = raw
        if not deep or raw == first.get(name):
            continue
        status, text = call(PEER, f'info -U --output=json {name}', directory)
        if status:
            all[name] = 'no image'
            continue
        i = json.loads(text)
        inside = i.get('format-specific', {}).get('data', {})
        all[name] = (i['format'], i['virtual-size'], i.get('cluster-size'), i.get('backing-filename'), [s['name'] for s in i.get('snapshots', [])],
                     sorted((b['name'], b['flags']) for b in inside.get('bitmaps', [])), size if i['format'] == 'raw' else 0,
                     contents(directory, name) if i['virtual-size'] < 64 << 20 else 'large')
    return all


def line_check(line, top, first):
    here, there = top + '/here', top + '/there'
    for directory in (here, there):
        subprocess.run(['cp', '-r', '--sparse=always', top + '/base', directory], check=True)
    ours, theirs = call(top + '/qemu-img', line, here), call(PEER, line, there)
    # A file that nothing was put into is what is left when the peer refuses too late.
    a, b = state(here, first, True), state(there, first, True)
    if ours[0] and theirs[0]:
        b = {}
    # What did not change on one side may have been written anew on the other.
    for one, other, directory in ((a, b, there), (b, a, here)):
        for name in set(one) - set(other):
            if name in first and not (ours[0] and theirs[0]):
                other.update({k: v for k, v in state(directory, {**first, name: None}, True).items() if k == name})
    same = (ours[0] == 0) == (theirs[0] == 0) and a == b
    if line in DIFFERENT:
        if DIFFERENT[line] and DIFFERENT[line] not in ours[1]:
            failures.append(line)
    elif not same:
        failures.append(line)
        print(f'FAIL {line}\n  here  {ours}\n  there {theirs}')
        for name in sorted(set(a) | set(b)):
            if a.get(name) != b.get(name):
                print(f'  {name}: {a.get(name)} {b.get(name)}')
    for directory in (here, there):
        shutil.rmtree(directory)


def main():
    with tempfile.TemporaryDirectory(prefix='ospite-img-') as top:
        os.symlink(OSPITE, top + '/qemu-img')
        base_make(top + '/base')
        first = state(top + '/base', {}, False)
        for line in LINES:
            line_check(line, top, first)
    print(f'img-peer: {len(LINES)} command lines, {len(DIFFERENT)} of them differ on purpose, {len(failures)} failed')
    return 1 if failures else 0


sys.exit(main())
