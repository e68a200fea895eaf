#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0-or-later
"""Dirty bitmaps of 'ospite img', 'ospite nbd' and of QEMU in one image: bitmap.py OSPITE [SEED]

Both make, change and remove bitmaps and write in turn at random; a model says which bits are set. They are read through both
NBD servers, described and checked by both tools. Then crashes, lies and what must be refused."""
import json, os, random, shutil, signal, socket, struct, subprocess, sys, tempfile, time
sys.path.append(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
import checks                                   # noqa: E402
from checks import check                        # noqa: E402
import leash            # noqa: E402, F401

OSPITE = os.path.abspath(sys.argv[1])
SEED = int(sys.argv[2]) if len(sys.argv) > 2 else 8128
KINDS = ['', 'cluster_size=4k', 'cluster_size=512,refcount_bits=8', 'cluster_size=2M', 'cluster_size=16k,extended_l2=on',
         'lazy_refcounts=on,cluster_size=8k', 'data_file=data.x,cluster_size=32k']


def run(*args):
    p = subprocess.run([str(a) for a in args], stdin=subprocess.DEVNULL, capture_output=True, timeout=120)
    return p.returncode, p.stdout.decode('latin-1'), p.stderr.decode('latin-1')


def good(*args, status=0):
    r, out, err = run(*args)
    check(r == status, f'{" ".join(map(str, args))}: status {r}: {out[-300:]}{err}')
    return out


def img(tool, *args, status=0):
    return good(*([OSPITE, 'img'] if tool == 'ospite' else ['qemu-img']), *args, status=status)


class Server:
    """One connection after the other, on the socket s."""
    def __init__(self, tool, *args, image='image'):
        if os.path.exists('s'):
            os.unlink('s')
        # qemu-nbd, which only reads here, now and then does not hear SIGTERM.
        self.end = signal.SIGTERM if tool == 'ospite' else signal.SIGKILL
        program = [OSPITE, 'nbd'] if tool == 'ospite' else ['qemu-nbd', *([] if '--image-opts' in args else ['-f', 'qcow2'])]
        self.process = subprocess.Popen([*program, '-t', '-k', os.path.abspath('s'), *args, image])
        while self.process.poll() is None and not self.listens():
            time.sleep(.005)
        check(self.process.poll() is None, f'{tool} does not serve {args}')

    def listens(self):
        with socket.socket(socket.AF_UNIX) as s:
            return s.connect_ex('s') == 0

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.process.send_signal(self.end)
        check(self.process.wait(timeout=60) in (0, -signal.SIGKILL), 'the server ended badly')


URI = 'nbd+unix:///?socket=s'


def dirty_read(tool, name, size, image='image', more=()):
    """Ranges of dirty bytes as a server tells them."""
    with Server(tool, '-r', '-B', name, *more, image=image):
        out = good('nbdinfo', '--json', f'--map=qemu:dirty-bitmap:{name}', URI)
    ranges, at = [], 0
    for e in json.loads(out):
        check(e['offset'] == at, f'{name}: the map has a hole at {at}')
        at += e['length']
        if e['type'] == 1 and ranges and ranges[-1][1] == e['offset']:
            ranges[-1][1] = at
        elif e['type'] == 1:
            ranges.append([e['offset'], at])
    check(at == size, f'{name}: the map ends at {at} of {size}')
    return ranges


class Bitmap:
    def __init__(self, granularity, records):
        self.granularity, self.records, self.bits = granularity, records, set()

    def mark(self, at, length):
        self.bits.update(range(at // self.granularity, (at + length - 1) // self.granularity + 1))

    def ranges(self, size):
        out = []
        for b in sorted(self.bits):
            start, end = b * self.granularity, min((b + 1) * self.granularity, size)
            if out and out[-1][1] == start:
                out[-1][1] = end
            else:
                out.append([start, end])
        return out


class Model:
    def __init__(self, rng, kind):
        self.rng, self.kind, self.size, self.bitmaps, self.made = rng, kind, 6 * 1024 * 1024 + 512, {}, 0
        for f in ('image', 'data.x'):
            if os.path.exists(f):
                os.unlink(f)
        img(rng.choice(['ospite', 'qemu']), 'create', '-f', 'qcow2', *(['-o', kind] if kind else []), 'image', self.size)

    def any(self):
        return self.rng.choice(sorted(self.bitmaps))

    def add(self, tool):
        name, granularity = f'b{self.made}', self.rng.choice([512, 4096, 65536, 1 << 20])
        off = self.rng.random() < .3
        self.made += 1
        img(tool, 'bitmap', '--add', '-g', granularity, *(['--disable'] if off else []), 'image', name)
        self.bitmaps[name] = Bitmap(granularity, not off)

    def remove(self, tool):
        name = self.any()
        img(tool, 'bitmap', '--remove', 'image', name)
        del self.bitmaps[name]

    def clear(self, tool):
        name = self.any()
        img(tool, 'bitmap', '--clear', 'image', name)
        self.bitmaps[name].bits = set()

    def switch(self, tool):
        name, on = self.any(), self.rng.random() < .6
        img(tool, 'bitmap', '--enable' if on else '--disable', 'image', name)
        self.bitmaps[name].records = on

    def merge(self, tool):
        to, source = self.any(), self.any()
        if to == source:                # which qemu-img makes an endless matter of
            return
        img(tool, 'bitmap', '--merge', source, 'image', to)
        for start, end in self.bitmaps[source].ranges(self.size):
            self.bitmaps[to].mark(start, end - start)

    def write(self, tool):
        commands = []
        for _ in range(self.rng.randint(1, 5)):
            length = 512 * self.rng.choice([1, 8, 100, 1000, 3000])
            at = 512 * self.rng.randrange(self.size // 512)
            length = min(length, self.size - at)
            commands += ['-c', self.rng.choice(['write -P 7 {} {}', 'write -P 9 {} {}', 'write -z {} {}', 'discard {} {}',
                                                'read {} {}']).format(at, length)]
            if 'read' not in commands[-1]:
                for b in self.bitmaps.values():
                    if b.records:
                        b.mark(at, length)
        if tool == 'qemu':
            good('qemu-io', '-d', 'unmap', '-f', 'qcow2', *commands, 'image')
        else:
            with Server('ospite', '--discard=unmap'):
                good('qemu-io', '-d', 'unmap', '-f', 'raw', *commands, URI)

    def resize(self, tool):
        self.size = self.rng.choice([6 << 20, 512 * self.rng.randint(1, 20000), 10 << 20])
        img(tool, 'resize', '-f', 'qcow2', '--shrink', 'image', self.size)
        for b in self.bitmaps.values():
            b.bits = {x for x in b.bits if x * b.granularity < self.size}

    def look(self, what):
        for name, b in self.bitmaps.items():
            wanted = b.ranges(self.size)
            for tool in ('ospite', 'qemu'):
                got = dirty_read(tool, name, self.size)
                check(got == wanted, f'{self.kind}: {what}: {name} by {tool}: {got} instead of {wanted}')
        infos = [json.loads(img(t, 'info', '--output=json', 'image')) for t in ('ospite', 'qemu')]
        check(infos[0] == infos[1], f'{self.kind}: {what}: info: {infos}')
        told = {b['name']: ('auto' in b['flags'], b['granularity']) for b in infos[0]['format-specific']['data'].get('bitmaps', [])}
        check(told == {n: (b.records, b.granularity) for n, b in self.bitmaps.items()}, f'{self.kind}: {what}: {told}')
        # 'required' of an image with holes in its clusters is a matter of taste.
        sizes = [{k: v for k, v in json.loads(img(t, 'measure', '--output=json', '-O', 'qcow2', 'image')).items() if k != 'required'}
                 for t in ('ospite', 'qemu')]
        check(sizes[0] == sizes[1], f'{self.kind}: {what}: measure: {sizes}')


def walk(rng, kind, steps):
    m = Model(rng, kind)
    for step in range(steps):
        what = rng.choice(['add', 'add', 'write', 'write', 'write', 'merge', 'clear', 'switch', 'remove', 'resize'])
        if not m.bitmaps:
            what = 'add'
        if what == 'add' and len(m.bitmaps) == 3:
            what = 'write'
        tool = rng.choice(['ospite', 'ospite', 'qemu'])
        getattr(m, what)(tool)
        for t in ('qemu', 'ospite'):
            img(t, 'check', '-f', 'qcow2', 'image')
        if step % 6 == 5:
            m.look(f'step {step}, {what} by {tool}')
    convert(m)


def convert(m):
    img('ospite', 'convert', '--force', '--bitmaps', '-O', 'qcow2', 'image', 'copy')
    img('qemu', 'check', 'copy')
    for name, b in m.bitmaps.items():
        got = dirty_read('qemu', name, m.size, 'copy')
        check(got == b.ranges(m.size), f'{m.kind}: convert --bitmaps: {name}: {got}')
    listed = [json.loads(img('qemu', 'info', '--output=json', f))['format-specific']['data'].get('bitmaps', [])
              for f in ('image', 'copy')]
    check(listed[0] == listed[1], f'{m.kind}: convert --bitmaps: {listed}')


def crash():
    """A server that is killed leaves a bitmap that is known to be inconsistent, and an image that is sound."""
    img('ospite', 'create', '-f', 'qcow2', '--force', 'image', '8M')
    img('ospite', 'bitmap', '--add', 'image', 'kept')
    img('ospite', 'bitmap', '--add', '--disable', 'image', 'off')
    server = Server('ospite')
    good('qemu-io', '-f', 'raw', '-c', 'write 1M 1M', '-c', 'flush', URI)
    server.process.kill()
    server.process.wait()
    for t in ('ospite', 'qemu'):
        flags = {b['name']: b['flags'] for b in
                 json.loads(img(t, 'info', '--output=json', 'image'))['format-specific']['data']['bitmaps']}
        check(flags == {'kept': ['in-use', 'auto'], 'off': []}, f'after a crash {t} tells {flags}')
    status, out, err = run(OSPITE, 'img', 'check', 'image')
    check(status in (0, 3) and "bitmap 'kept' is in use, or inconsistent" in out, f'check after a crash: {status} {out}{err}')
    img('ospite', 'check', '-r', 'leaks', 'image')
    for args in (['bitmap', '--clear', 'image', 'kept'], ['bitmap', '--merge', 'kept', 'image', 'off'],
                 ['bitmap', '--enable', 'image', 'kept'], ['convert', '--bitmaps', '-O', 'qcow2', 'image', 'c2']):
        status, out, err = run(OSPITE, 'img', *args)
        check(status == 1 and 'inconsistent' in err, f'{args}: {status} {out}{err}')
    check(not os.path.exists('c2'), 'convert made an image although a bitmap is inconsistent')
    img('ospite', 'convert', '--bitmaps', '--skip-broken-bitmaps', '-O', 'qcow2', 'image', 'c2')
    check([b['name'] for b in json.loads(img('qemu', 'info', '--output=json', 'c2'))['format-specific']['data']['bitmaps']]
          == ['off'], 'convert --skip-broken-bitmaps')
    good('qemu-io', '-c', 'write 3M 1M', 'c2')
    img('ospite', 'resize', 'image', '+1M')
    img('ospite', 'bitmap', '--remove', 'image', 'kept')
    img('qemu', 'check', 'image')


def snapshots():
    """Going back changes the whole disk, for those that record."""
    img('ospite', 'create', '-f', 'qcow2', '--force', 'image', '4M')
    good('qemu-io', '-c', 'write 0 1M', 'image')
    img('ospite', 'snapshot', '-c', 's', 'image')
    img('ospite', 'resize', 'image', '6M')
    img('ospite', 'bitmap', '--add', 'image', 'on')
    img('ospite', 'bitmap', '--add', '--disable', 'image', 'off')
    img('ospite', 'snapshot', '-a', 's', 'image')
    check(dirty_read('qemu', 'on', 4 << 20) == [[0, 4 << 20]], 'a snapshot was applied: all is dirty')
    check(dirty_read('qemu', 'off', 4 << 20) == [], 'a snapshot was applied: a bitmap that does not record')
    img('qemu', 'check', 'image')


def encrypted():
    """An encrypted disk: bitmaps lie in the open, and both go on with them."""
    secret, name = ['--object', 'secret,id=s,data=open'], 'driver=qcow2,file.filename=image,encrypt.key-secret=s'
    img('ospite', 'create', '--force', '-f', 'qcow2', *secret, '-o', 'encrypt.format=luks,encrypt.key-secret=s,encrypt.iter-time=10,cluster_size=4k',
        'image', '4M')
    img('ospite', 'bitmap', '--add', '-g', '4k', *secret, '--image-opts', name, 'b')
    img('qemu', 'bitmap', '--add', '-g', '64k', *secret, '--image-opts', name, 'c')
    with Server('ospite', *secret, '--image-opts', image=name):
        good('qemu-io', '-f', 'raw', '-c', 'write -P 3 1M 8k', URI)
    good('qemu-io', *secret, '--image-opts', '-c', 'write -P 4 2M 4k', name)
    model = {'b': [[1 << 20, (1 << 20) + 8192], [2 << 20, (2 << 20) + 4096]],
             'c': [[1 << 20, (1 << 20) + 65536], [2 << 20, (2 << 20) + 65536]]}
    for bitmap, ranges in model.items():
        check(dirty_read('ospite', bitmap, 4 << 20, image=name, more=[*secret, '--image-opts']) == ranges, f'encrypted: {bitmap} by ospite')
        check(dirty_read('qemu', bitmap, 4 << 20, image=name, more=[*secret, '--image-opts']) == ranges, f'encrypted: {bitmap} by qemu-nbd')
    img('ospite', 'bitmap', '--merge', 'c', *secret, '--image-opts', name, 'b')
    check(dirty_read('qemu', 'b', 4 << 20, image=name, more=[*secret, '--image-opts']) == model['c'], 'encrypted: merged')
    img('ospite', 'convert', '--bitmaps', '-O', 'qcow2', *secret, '--image-opts', name, 'plain')
    check(dirty_read('qemu', 'c', 4 << 20, image='plain') == model['c'], 'encrypted: copied into a plain image')
    img('ospite', 'check', *secret, '--image-opts', name)
    img('qemu', 'check', *secret, '--image-opts', name)


def merge_other():
    for name in ('image', 'other'):
        img('ospite', 'create', '-f', 'qcow2', '--force', '-o', 'cluster_size=4k', name, '4M')
        img('ospite', 'bitmap', '--add', '-g', '4k' if name == 'image' else '64k', name, 'b')
    good('qemu-io', '-c', 'write 1M 4k', 'other')
    img('ospite', 'bitmap', '--merge', 'b', '-b', 'other', '-F', 'qcow2', 'image', 'b')
    check(dirty_read('qemu', 'b', 4 << 20) == [[1 << 20, (1 << 20) + 65536]], 'merge from another image')
    img('ospite', 'create', '-f', 'qcow2', '--force', 'other', '5M')
    img('ospite', 'bitmap', '--add', 'other', 'b')
    refused(['bitmap', '--merge', 'b', '-b', 'other', 'image', 'b'], 'another size')


def refused(args, word):
    before = open('image', 'rb').read()
    status, out, err = run(OSPITE, 'img', *args)
    check(status == 1 and word in err and err.count('\n') == 1, f'{args}: {status} {out}{err}')
    check(open('image', 'rb').read() == before, f'{args}: the image has changed')


def refusals():
    img('ospite', 'create', '-f', 'qcow2', '--force', 'image', '4M')
    img('ospite', 'bitmap', '--add', 'image', 'b')
    refused(['bitmap', '--add', 'image', 'b'], 'already')
    refused(['bitmap', '--add', '-g', '256', 'image', 'c'], 'power of two')
    refused(['bitmap', '--add', 'image', 'x' * 1024], '1023')
    refused(['bitmap', '--add', 'image', ''], '1 to 1023')
    refused(['bitmap', '--clear', 'image', 'c'], "no dirty bitmap 'c'")
    refused(['bitmap', '--merge', 'c', 'image', 'b'], "no dirty bitmap 'c'")
    refused(['resize', '--shrink', 'image', '0'], '0 bytes')
    refused(['amend', '-o', 'compat=0.10', 'image'], 'dirty bitmaps')
    refused(['convert', '--bitmaps', '-O', 'raw', 'image', 'copy2'], 'no dirty bitmaps')
    img('ospite', 'create', '-f', 'qcow2', '--force', '-o', 'compat=0.10', 'image', '4M')
    refused(['bitmap', '--add', 'image', 'b'], 'compat=1.1')
    img('ospite', 'create', '-f', 'raw', '--force', 'image', '4M')
    refused(['bitmap', '--add', '-f', 'raw', 'image', 'b'], 'raw')
    status, out, err = run(OSPITE, 'nbd', '-k', os.path.abspath('s3'), '-B', 'nope', 'image')
    check(status == 1, f'nbd -B of a bitmap that is not there: {status} {out}{err}')


def lies():
    """A directory, or a table, that cannot be right: a word of it, and the image goes on without bitmaps."""
    img('ospite', 'create', '-f', 'qcow2', '--force', 'image', '4M')
    img('ospite', 'bitmap', '--add', '-g', '512', 'image', 'b')
    good('qemu-io', '-c', 'write 1M 4k', 'image')
    whole = open('image', 'rb').read()
    ext = whole.index(struct.pack('>II', 0x23852875, 24)) + 8
    directory = struct.unpack('>Q', whole[ext + 16:ext + 24])[0]
    table = struct.unpack('>Q', whole[directory:directory + 8])[0]
    for at, value, what in [(ext, struct.pack('>I', 70000), 'count'), (ext, struct.pack('>I', 2), 'one more'),
                            (ext + 8, struct.pack('>Q', 1 << 60), 'directory bytes'), (ext + 16, struct.pack('>Q', 1 << 63), 'offset'),
                            (ext + 16, struct.pack('>Q', 4096), 'unaligned'), (directory, struct.pack('>Q', 17), 'table offset'),
                            (directory + 8, struct.pack('>I', 1 << 31), 'table size'), (directory + 17, b'\x40', 'granularity'),
                            (directory + 18, struct.pack('>H', 60000), 'name length'), (directory + 20, struct.pack('>I', 1 << 31), 'extra'),
                            (table, struct.pack('>Q', 0x30000), 'overlap'), (table, struct.pack('>Q', 0xfff), 'reserved'),
                            (directory, struct.pack('>Q', 0x10000), 'table over the refcounts'), (directory + 16, b'\x09', 'kind')]:
        open('image', 'wb').write(whole[:at] + value + whole[at + len(value):])
        status, out, err = run(OSPITE, 'img', 'info', 'image')
        check(status == 0, f'lie {what}: info: {status} {out}{err}')
        status, out, err = run(OSPITE, 'img', 'check', 'image')
        check(status in (0, 2, 3), f'lie {what}: check: {status} {out}{err}')
        with Server('ospite'):
            good('qemu-io', '-f', 'raw', '-c', 'write -P 3 2M 64k', '-c', 'read -P 3 2M 64k', URI)
        status, out, err = run('qemu-io', '-r', '-f', 'qcow2', '-c', 'read -P 3 2M 64k', 'image')
        if what != 'kind':              # which qemu refuses, used or not
            check(status == 0 and 'failed' not in out, f'lie {what}: qemu-io after a write: {status} {out}{err}')
        run(OSPITE, 'img', 'bitmap', '--remove', 'image', 'b')
        status, out, err = run(OSPITE, 'img', 'check', '-r', 'all', 'image')
        check(status == 0, f'lie {what}: repair: {status} {out}{err}')
        good('qemu-img', 'check', 'image')


def main():
    here = os.getcwd()
    missing = [t for t in ('qemu-img', 'qemu-nbd', 'qemu-io', 'nbdinfo') if not shutil.which(t)]
    if missing:
        print('SKIPPED: not installed:', *missing)
        return 77
    directory = tempfile.mkdtemp(prefix='ospite-bitmap-')
    os.chdir(directory)
    rng = random.Random(SEED)
    try:
        for kind in KINDS:
            walk(rng, kind, 18)
        for part in (crash, snapshots, encrypted, merge_other, refusals, lies):
            part()
    finally:
        os.chdir(here)
        shutil.rmtree(directory)
    print(f'img/bitmap: {checks.counts()}, seed {SEED}')
    return bool(checks.failed)


sys.exit(main())
