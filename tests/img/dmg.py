#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0-or-later
"""DMG images (UDIF), made here: chunks of all kinds and sizes in one or several tables, as qemu-img and ospite read them; ADC, which
qemu-img does not know, against the disk it was made from; damaged ones. 'dmg.py OSPITE [SEED]', or 'dmg.py --seeds DIRECTORY' for
inputs of the fuzz target."""
import base64, json, os, random, struct, subprocess, sys, tempfile, zlib

OSPITE, QEMU = [], ['qemu-img']
checks = failures = 0
ZERO, RAW, IGNORE, ADC, ZLIB, BZIP2, LZFSE, LZMA = 0, 1, 2, 0x80000004, 0x80000005, 0x80000006, 0x80000007, 0x80000008
COMMENT, END = 0x7ffffffe, 0xffffffff


def case(ok, what):
    global checks, failures
    checks += 1
    if not ok:
        failures += 1
        print('FAILED:', what)


def run(tool, *args):
    p = subprocess.run([*tool, *args], capture_output=True, text=True, timeout=120)
    return p.returncode, p.stdout, p.stderr


def adc(data):
    """Plain runs, and matches of both lengths."""
    out, i, plain = bytearray(), 0, bytearray()

    def flush():
        for k in range(0, len(plain), 128):
            out.append(0x7f + len(plain[k:k + 128]))
            out.extend(plain[k:k + 128])
        plain.clear()
    seen = {}
    while i < len(data):
        key, at = data[i:i + 4], None
        if len(key) == 4:
            at, seen[key] = seen.get(key), i
        back = i - at - 1 if at is not None else 65536
        if back > 65535:
            plain.append(data[i])
            i += 1
            continue
        n = 4
        while n < 67 and i + n < len(data) and data[at + n] == data[i + n]:
            n += 1
        flush()
        if back < 1024 and n <= 18:
            out += bytes([(n - 3) << 2 | back >> 8, back & 255])
        else:
            out += bytes([0x40 | n - 4]) + struct.pack('>H', back)
        i += n
    flush()
    return bytes(out)


def chunk_pack(kind, data):
    return {ZLIB: zlib.compress, ADC: adc, RAW: bytes}.get(kind, lambda d: b'')(data)


def mish(first, chunks, sectors):
    head = struct.pack('>4sIQQQII', b'mish', 1, first, sectors, 0, 520, 0) + bytes(24) + bytes(136) + struct.pack('>I', len(chunks))
    return head + b''.join(struct.pack('>IIQQQQ', *c) for c in chunks)


def dmg_make(name, disk, kinds, rng, tables=1, sizes=(512,), data_at=0, ordered=True):
    """disk: whole sectors. Chunks of zeroes where the disk has them, else of kinds. data_at: where the data fork begins. qemu-img needs
    chunks in their order."""
    body, lists, sectors = bytearray(rng.randbytes(data_at)), [], len(disk) // 512
    for t in range(tables):
        first, last = sectors * t // tables, sectors * (t + 1) // tables
        at, chunks = first, [(COMMENT, 0x2b626567, 0, 0, 0, 0)]
        while at < last:
            n = min(rng.choice(sizes), last - at)
            data = disk[at * 512:(at + n) * 512]
            kind = rng.choice((ZERO, IGNORE)) if not any(data) else rng.choice(kinds)
            packed = chunk_pack(kind, data)
            chunks.append((kind, 0, at - first, n, len(body) - data_at, len(packed)))
            body += packed
            at += n
        if not ordered:
            rng.shuffle(chunks)
        lists.append(mish(first, chunks + [(END, 0, last - first, 0, len(body) - data_at, 0)], last - first))
    if not ordered:
        rng.shuffle(lists)
    data = ''.join(f'<dict><key>Data</key><data>\n{base64.encodebytes(x).decode()}\t\t</data></dict>\n' for x in lists)
    xml = ('<?xml version="1.0" encoding="UTF-8"?>\n<plist version="1.0"><dict><key>resource-fork</key><dict><key>blkx</key><array>\n' + data +
           '</array><key>plst</key><array><dict><key>Data</key><data>AAAAAAAAAAAA</data></dict></array></dict></dict></plist>').encode()
    koly = struct.pack('>4sIIIQQQQQII', b'koly', 4, 512, 1, 0, data_at, len(body) - data_at, 0, 0, 1, 1) + bytes(16 + 136)
    koly += struct.pack('>QQ', len(body), len(xml)) + bytes(120 + 136) + struct.pack('>IQ', 1, sectors) + bytes(12)
    open(name, 'wb').write(bytes(body) + xml + koly)


def disk_make(rng, size):
    """Runs of text, noise and zeroes."""
    out = bytearray()
    while len(out) < size:
        n = 512 * rng.randrange(1, 900)
        out += rng.choice((lambda: bytes(n), lambda: rng.randbytes(n), lambda: b'guests and hosts %d ' % rng.randrange(9) * (n // 19 + 1)))()[:n]
    return bytes(out[:size])


def reads(rng):
    kinds = [[ZLIB], [RAW], [ZLIB, RAW], [ADC], [ADC, ZLIB, RAW]]
    for i in range(20):
        disk, k = disk_make(rng, 512 * rng.randrange(1, 8000)), kinds[i % 5]
        open('want', 'wb').write(disk)
        dmg_make('x.dmg', disk, k, rng, rng.randrange(1, 5), rng.choice(((512,), (1, 7, 300), (2048, 16))), rng.choice((0, 0, 4096)), ADC not in k)
        status, _, err = run(OSPITE, 'convert', '--force', '-O', 'raw', 'x.dmg', 'o')
        case(status == 0 and open('o', 'rb').read() == disk, f'{i}: {k}: read otherwise: {err}')
        status, out, err = run(OSPITE, 'compare', '-f', 'raw', '-F', 'dmg', 'want', 'x.dmg')
        case(status == 0, f'{i}: compare: {out}{err}')
        if ADC not in k:
            status, out, err = run(QEMU, 'compare', '-f', 'raw', '-F', 'dmg', 'want', 'x.dmg')
            case(status == 0, f'{i}: qemu-img: {out}{err}')
            a, b = (json.loads(run(t, 'info', '--output=json', 'x.dmg')[1]) for t in (OSPITE, QEMU))
            case(all(a.get(f) == b.get(f) for f in ('format', 'virtual-size', 'filename')), f'{i}: info: {a} {b}')
        extents = json.loads(run(OSPITE, 'map', '--output=json', '-f', 'dmg', 'x.dmg')[1])
        zero = [disk[e['start']:e['start'] + e['length']] for e in extents if e['zero']]
        case(sum(e['length'] for e in extents) == len(disk) and not any(any(z) for z in zero), f'{i}: map')
        case(run(OSPITE, 'bench', '-q', '-c', '200', '-s', '4096', '-S', '86016', '-d', '8', 'x.dmg')[0] == 0 or len(disk) < 4096, f'{i}: bench')
    status, _, err = run(OSPITE, 'resize', 'x.dmg', '+1M')
    case(status == 1 and 'only be read' in err, f'resize: {err}')
    os.rename('x.dmg', 'x.img')
    case(json.loads(run(OSPITE, 'info', '--output=json', 'x.img')[1])['format'] == 'raw', 'found by its name only')


def refusals(rng):
    disk = disk_make(rng, 1 << 20)
    dmg_make('good.dmg', disk, [ZLIB], rng)
    good = open('good.dmg', 'rb').read()
    koly, size = len(good) - 512, len(good)
    one = (ZLIB, 0, 0, 2048, 0, 100)
    rows = [(koly, b'kol?', 'koly'), (koly + 60, b'\0\0\0\2', 'segments'), (koly + 492, bytes(8), 'has 0 sectors'), (koly + 492, b'\xff' * 8, 'sectors'),
            (koly + 492, struct.pack('>Q', 9), 'outside the disk'), (koly + 492, struct.pack('>Q', 2049), 'no chunk has sector 2048'),
            (koly + 216, b'\1', 'list lies outside'), (koly + 224, struct.pack('>Q', 1 << 40), 'larger than 16 MiB'),
            (koly + 224, bytes(8), 'no property list'), (koly + 24, b'\x7f', 'outside the file')]
    for chunks, words in (([one, one], 'two chunks'), ([(ZLIB, 0, 0, 1024, 0, 100)], 'no chunk has sector 1024'), ([(BZIP2, *one[1:])], 'bzip2'),
                          ([(LZFSE, *one[1:])], 'LZFSE'), ([(LZMA, *one[1:])], 'LZMA'), ([(77, *one[1:])], 'unknown kind'),
                          ([(ZLIB, 0, 0, 2048, 0, 0)], 'empty'), ([(ZLIB, 0, 0, 2048, 0, 1 << 60)], 'outside the file'),
                          ([(RAW, 0, 0, 2048, 0, 100)], 'as many bytes'), ([(ZLIB, 0, 1 << 63, 1 << 63, 0, 9)], 'outside the disk'), ([], 'no chunk')):
        xml = b'<data>' + base64.b64encode(mish(0, chunks, 2048)) + b'</data>'
        head = bytearray(good[koly:])
        head[216:232] = struct.pack('>QQ', koly, len(xml))
        rows.append((None, good[:koly] + xml + bytes(head), words))
    short = mish(0, [one], 2048)[:-8]
    for xml, words in ((b'<data>' + base64.b64encode(short) + b'</data>', 'too short'), (b'<data>bWlz', 'ends within'), (b'<data>b!</data>', 'no base64'),
                       (b'<data>' + base64.b64encode(short[:100]) + b'</data>', 'too short')):
        head = bytearray(good[koly:])
        head[216:232] = struct.pack('>QQ', koly, len(xml))
        rows.append((None, good[:koly] + xml + bytes(head), words))
    for at, value, words in rows:
        open('bad.dmg', 'wb').write(value if at is None else good[:at] + value + good[at + len(value):])
        status, _, err = run(OSPITE, 'convert', '--force', '-f', 'dmg', '-O', 'raw', 'bad.dmg', 'o')
        case(status == 1 and words in err and len(err.splitlines()) == 1, f'{words}: {status} {err}')
    for kind in (ZLIB, ADC):
        dmg_make('bad.dmg', disk, [kind], rng)
        data = bytearray(open('bad.dmg', 'rb').read())
        for k in range(200, data.index(b'<?xml'), 97):
            data[k] ^= 0xff
        open('bad.dmg', 'wb').write(data)
        status, _, err = run(OSPITE, 'convert', '--force', '-O', 'raw', 'bad.dmg', 'o')
        case(status == 1 and 'cannot read' in err or kind == ADC and status == 0, f'{kind:#x} with damaged data: {status} {err}')
    open('tiny.dmg', 'wb').write(b'koly')
    case(run(OSPITE, 'info', '-f', 'dmg', 'tiny.dmg')[0] == 1, 'four bytes')


def seeds(directory):
    rng = random.Random(7)
    disk = b'abcabcabcdefabcdef' * 114 + bytes(2048) + rng.randbytes(492 + 512)
    for i, kinds in enumerate(([ZLIB], [RAW], [ADC], [ADC, ZLIB])):
        dmg_make('/tmp/dmg-seed', disk[:len(disk) // 512 * 512], kinds, rng, 1 + i % 2, (3,))
        name = os.path.join(directory, f'dmg-seed{i}')
        open(name, 'wb').write(bytes([1, 0] + [0, 0, 0, 1, 5, 0, 8, 0x81] * 3 + [0] * 6) + open('/tmp/dmg-seed', 'rb').read())
    os.unlink('/tmp/dmg-seed')


def main():
    if sys.argv[1] == '--seeds':
        return seeds(sys.argv[2])
    seed = int(sys.argv[2]) if len(sys.argv) > 2 else 20264
    OSPITE[:] = [os.path.abspath(sys.argv[1]), 'img']
    rng = random.Random(seed)
    with tempfile.TemporaryDirectory() as d:
        os.chdir(d)
        reads(rng)
        refusals(rng)
        os.chdir('/')
    print(f'img/dmg: {checks} checks, {failures} failed, seed {seed}')
    return failures != 0


sys.exit(main())
