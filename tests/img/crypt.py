#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0-or-later
"""Encrypted images between 'ospite img', qemu-img and cryptsetup: crypt.py OSPITE [SEED [all|few]]

Every cipher, mode, IV generator and hash in LUKS and qcow2 images, written and read by both in turn; images that qemu-img
made; key slots added and erased by either; chains, snapshots, other sizes; wrong passphrases. cryptsetup, which needs no
device mapper for that, judges headers and passphrases. Without 'all' every third kind is tried (few: every ninth): qemu-img takes seconds to
make an encrypted image, however little iter-time asks for."""
import json, os, random, shutil, subprocess, sys, tempfile
sys.path.append(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
import leash            # noqa: E402, F401
from ports import listens_wait                   # noqa: E402

OSPITE = [os.path.abspath(sys.argv[1]), 'img']
NBD = [os.path.abspath(sys.argv[1]), 'nbd']
QEMU = ['qemu-img']
SEED = int(sys.argv[2]) if len(sys.argv) > 2 else 20261
EVERY = {'all': 1, 'few': 9}[sys.argv[3]] if len(sys.argv) > 3 else 3
SIZE = 768 << 10
SECRETS = ['--object', 'secret,id=s0,data=first', '--object', 'secret,id=s1,file=second.key',
           '--object', 'secret,id=s2,data=dGhpcmQ=,format=base64', '--object', 'secret,id=bad,data=wrong']
cases, failures = 0, []

CIPHERS = ['aes-128', 'aes-192', 'aes-256', 'serpent-128', 'serpent-192', 'serpent-256', 'twofish-128', 'twofish-192',
           'twofish-256']
KINDS = [f'cipher-alg={c}' for c in CIPHERS] + ['ivgen-alg=plain']
# With 24 bytes of key key material is no whole number of sectors, which qemu-img 7.2 dies of.
KINDS += [f'cipher-alg={c},cipher-mode=cbc' for c in CIPHERS if '192' not in c] + ['cipher-alg=cast5-128,cipher-mode=cbc']
KINDS += [f'cipher-alg={c},cipher-mode=cbc,ivgen-alg=essiv,ivgen-hash-alg={h}'
          for c, h in [('aes-256', 'sha256'), ('aes-128', 'md5'), ('serpent-256', 'sha256'), ('twofish-256', 'sha256')]]
KINDS += [f'hash-alg={h}' for h in ('md5', 'sha1', 'sha224', 'sha384', 'sha512', 'ripemd160')]


def run(tool, *args, stdin=None):
    p = subprocess.run([*tool, *map(str, args)], input=stdin, capture_output=True, timeout=120)
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
    case(r == status, f'{os.path.basename(tool[0])} {" ".join(map(str, args))}: status {r}', err.strip() + out.strip()[-200:])
    return out


def refused(words, *args, untouched=None, want=1):
    before = open(untouched, 'rb').read() if untouched else None
    r, out, err = run(OSPITE, *args)
    ok = r == want and words in err and err.count('\n') == 1
    case(ok, f'ospite {" ".join(args)}: status {r} without {words!r}', err)
    if untouched:
        case(open(untouched, 'rb').read() == before, f'{untouched} was changed by {args}')


def prefixed(fmt, options):
    return options if fmt == 'luks' else 'encrypt.format=luks,' + ','.join('encrypt.' + o for o in options.split(','))


def image(fmt, name, key='s0', more=''):
    return f'driver={fmt},file.filename={name},' + ('' if fmt == 'luks' else 'encrypt.') + f'key-secret={key}{more}'


def create(tool, fmt, name, size, options, more=''):
    """qemu-img measures its speed anew for each image, and fails when the clock has not moved on meanwhile."""
    for _ in range(60):
        if os.path.exists(name):
            os.unlink(name)
        status, _, err = run(tool, 'create', '-f', fmt, *SECRETS, '-o', prefixed(fmt, options) + more, name, size)
        if not status or 'accurate CPU' not in err:
            break
    return case(not status, f'{tool[0]} creates {fmt} {options}{more}', err)


def fill(tool, source, target):
    works(tool, 'convert', '-n', *SECRETS, '--image-opts', '--target-image-opts', f'driver=raw,file.filename={source}', target)


def same(tool, source, target):
    works(tool, 'compare', *SECRETS, '--image-opts', f'driver=raw,file.filename={source}', target)


def disk(name, rng, size=SIZE):
    with open(name, 'wb') as f:
        f.truncate(size)
        for at in range(0, size, 65536):
            if rng.random() < 0.7:
                f.seek(at + 512 * rng.randrange(64))
                f.write(rng.randbytes(512 * rng.randrange(1, 65)))
        f.truncate(size)


def json_same(*args):
    texts = [run(OSPITE, *args)[1], '']
    for _ in range(60):
        _, texts[1], err = run(QEMU, *args)
        if 'accurate CPU' not in err:
            break
    a, b = (json.loads(t) if t.strip() else t for t in texts)
    case(a == b, f'json of {args}', f'\n  ospite {a}\n  qemu   {b}')


def checked(fmt, name):
    if fmt == 'qcow2':
        works(OSPITE, 'check', name)
        works(QEMU, 'check', *SECRETS, '--image-opts', image(fmt, name))


def kind_try(fmt, kind, rng):
    """We make, both write and read in turn."""
    if not create(OSPITE, fmt, 'i', SIZE, f'{kind},key-secret=s0,iter-time=1'):
        return
    for writer, reader in ((OSPITE, QEMU), (QEMU, OSPITE)):
        disk('src', rng)
        fill(writer, 'src', image(fmt, 'i'))
        same(reader, 'src', image(fmt, 'i'))
    same(OSPITE, 'src', image(fmt, 'i'))
    json_same('info', '--output=json', 'i')
    checked(fmt, 'i')
    if fmt == 'luks' and 'md5' not in kind:     # a hash that cryptsetup does not take
        status, out, _ = run(['cryptsetup'], 'luksDump', 'i')
        case(not status and 'ENABLED' in out, f'cryptsetup luksDump {kind}', out)


def made_by_qemu(rng):
    made = [('luks', 'cipher-mode=cbc,ivgen-alg=essiv', ''), ('qcow2', 'cipher-alg=aes-128', ',compat=0.10'),
            ('luks', 'cipher-alg=aes-256', ''), ('qcow2', 'hash-alg=sha1', ',cluster_size=512'),
            ('qcow2', 'hash-alg=sha512', ',extended_l2=on')]
    for fmt, kind, more in made if EVERY == 1 else made[:2]:
        if not create(QEMU, fmt, 'i', SIZE, f'{kind},key-secret=s0,iter-time=10', more):
            continue
        for writer, reader in ((QEMU, OSPITE), (OSPITE, QEMU)):
            disk('src', rng)
            fill(writer, 'src', image(fmt, 'i'))
            same(reader, 'src', image(fmt, 'i'))
        json_same('info', '--output=json', 'i')
        json_same('map', '--output=json', *SECRETS, '--image-opts', image(fmt, 'i'))
        checked(fmt, 'i')


def shapes(rng):
    """Other kinds of qcow2 under encryption, made by us."""
    for more in (',cluster_size=512', ',cluster_size=2M', ',compat=0.10', ',extended_l2=on,cluster_size=32k', ',data_file=ext',
                 ',preallocation=metadata', ',preallocation=full', ',preallocation=falloc,extended_l2=on', ',refcount_bits=1',
                 ',lazy_refcounts=on'):
        if os.path.exists('ext'):
            os.unlink('ext')
        if not create(OSPITE, 'qcow2', 'i', SIZE, 'key-secret=s0,iter-time=1', more):
            continue
        with open('zero', 'wb') as f:
            f.truncate(SIZE)
        same(OSPITE, 'zero', image('qcow2', 'i'))
        same(QEMU, 'zero', image('qcow2', 'i'))
        disk('src', rng)
        fill(OSPITE, 'src', image('qcow2', 'i'))
        same(QEMU, 'src', image('qcow2', 'i'))
        checked('qcow2', 'i')
        works(OSPITE, 'resize', *SECRETS, '--image-opts', image('qcow2', 'i'), '+1M')
        with open('src', 'r+b') as f:
            f.truncate(SIZE + (1 << 20))
        same(QEMU, 'src', image('qcow2', 'i'))
        checked('qcow2', 'i')


def opens(tool, fmt, key):
    return not run(tool, 'compare', *SECRETS, '--image-opts', 'driver=raw,file.filename=src', image(fmt, 'i', key))[0]


def slots(fmt):
    out = json.loads(run(OSPITE, 'info', '--output=json', 'i')[1])['format-specific']['data']
    return [s['active'] for s in (out if fmt == 'luks' else out['encrypt'])['slots']]


def amend(tool, fmt, options, key='s0', status=0, force=False):
    """Again as long as qemu-img cannot tell its speed."""
    for _ in range(60):
        r, _, err = run(tool, 'amend', *SECRETS, *(['--force'] if force else []), '--image-opts', '-o',
                        options if fmt == 'luks' else ','.join('encrypt.' + o for o in options.split(',')), image(fmt, 'i', key))
        if 'accurate CPU' not in err:
            break
    return case(r == status, f'{tool[0]} amend {fmt} {options}: status {r}', err)


def key_slots(fmt, rng):
    create(OSPITE, fmt, 'i', SIZE, 'key-secret=s0,iter-time=1')
    disk('src', rng)
    fill(OSPITE, 'src', image(fmt, 'i'))
    amend(OSPITE, fmt, 'state=active,new-secret=s1,iter-time=1')
    amend(QEMU, fmt, 'state=active,new-secret=s2,keyslot=5,iter-time=10')
    case(slots(fmt) == [True, True, False, False, False, True, False, False], f'{fmt}: slots', slots(fmt))
    for tool in (OSPITE, QEMU):
        for key in ('s0', 's1', 's2'):
            case(opens(tool, fmt, key), f'{tool[0]} opens {fmt} with {key}')
        case(not opens(tool, fmt, 'bad'), f'{tool[0]} opens {fmt} with a wrong passphrase')
    if fmt == 'luks':
        for passphrase, status in ((b'first', 0), (b'second', 0), (b'third', 0), (b'wrong', 2)):
            r, _, err = run(['cryptsetup'], 'open', '--test-passphrase', '--type', 'luks1', 'i', '-d', '-', stdin=passphrase)
            case(r == status, f'cryptsetup --test-passphrase {passphrase}: {r}', err)
    amend(OSPITE, fmt, 'state=active,new-secret=s1,keyslot=0', status=1)
    before = material(fmt, 0)
    amend(OSPITE, fmt, 'state=inactive,old-secret=s0', key='s1')
    case(material(fmt, 0) != before, f'{fmt}: the key material of an erased slot is still there')
    amend(QEMU, fmt, 'state=inactive,keyslot=5', key='s1')
    for tool in (OSPITE, QEMU):
        case([opens(tool, fmt, k) for k in ('s0', 's1', 's2')] == [False, True, False], f'{tool[0]}: {fmt} after erasing')
    amend(OSPITE, fmt, 'state=inactive,keyslot=1', key='s1', status=1)
    amend(OSPITE, fmt, 'state=inactive,old-secret=s1', key='s1', status=1)
    checked(fmt, 'i') if fmt == 'luks' else works(QEMU, 'check', *SECRETS, '--image-opts', image(fmt, 'i', 's1'))
    json_same('info', '--output=json', 'i')
    amend(OSPITE, fmt, 'state=inactive,keyslot=1', key='s1', force=True)
    refused('no key slot in use', 'compare', *SECRETS, '--image-opts', 'driver=raw,file.filename=src', image(fmt, 'i', 's1'), want=2)


def material(fmt, slot):
    out = json.loads(run(OSPITE, 'info', '--output=json', 'i')[1])['format-specific']['data']
    at = (out if fmt == 'luks' else out['encrypt'])['slots'][slot]['key-offset']
    with open('i', 'rb') as f:
        if fmt == 'qcow2':
            head = f.read(65536)
            place = head.index(bytes.fromhex('0537be7700000010'))
            at += int.from_bytes(head[place + 8:place + 16], 'big')
        f.seek(at)
        return f.read(4096)


def chains(rng):
    """An encrypted overlay on an encrypted base, with passphrases of their own; a plain overlay on LUKS."""
    disk('src', rng)
    key = 'encrypt.format=luks,encrypt.key-secret=s0,encrypt.iter-time=1'
    works(OSPITE, 'convert', '--force', *SECRETS, '-O', 'qcow2', '-o', key, '-f', 'raw', 'src', 'base')
    works(OSPITE, 'create', '--force', *SECRETS, '-f', 'qcow2', '-b', 'base', '-F', 'qcow2', '-o', key.replace('s0', 's1'), 'i')
    both = image('qcow2', 'i', 's1', ',backing.encrypt.key-secret=s0')
    same(OSPITE, 'src', both)
    same(QEMU, 'src', both)
    with open('src', 'r+b') as f:
        f.seek(100 << 10)
        f.write(rng.randbytes(3072))
    fill(OSPITE, 'src', both)
    same(QEMU, 'src', both)
    works(OSPITE, 'commit', *SECRETS, '--image-opts', both)
    same(QEMU, 'src', image('qcow2', 'base'))
    same(OSPITE, 'src', both)
    works(OSPITE, 'snapshot', *SECRETS, '-c', 'one', '--image-opts', image('qcow2', 'base'))
    fill(OSPITE, 'zero', image('qcow2', 'base'))
    works(QEMU, 'snapshot', *SECRETS, '-a', 'one', '--image-opts', image('qcow2', 'base'))
    same(OSPITE, 'src', image('qcow2', 'base'))
    checked('qcow2', 'base')
    refused('it is encrypted', 'convert', '-O', 'raw', 'base', 'x')
    refused("no backing file for 'backing.encrypt.key-secret'", 'map', *SECRETS, '--image-opts',
            image('qcow2', 'base', 's0', ',backing.encrypt.key-secret=s0'))
    # A base that grows under 'commit' has to read as zeroes where nothing was.
    create(OSPITE, 'luks', 'base', SIZE, 'key-secret=s0,iter-time=1')
    fill(OSPITE, 'src', image('luks', 'base'))
    works(OSPITE, 'create', '--force', '-f', 'qcow2', '-b', 'base', '-F', 'luks', 'i', SIZE + (2 << 20))
    plain = 'driver=qcow2,file.filename=i,backing.key-secret=s0'
    with open('src', 'r+b') as f:
        f.truncate(SIZE + (2 << 20))
    same(QEMU, 'src', plain)
    works(OSPITE, 'commit', *SECRETS, '--image-opts', plain)
    same(QEMU, 'src', image('luks', 'base'))


def measured():
    kinds = [("qcow2", ",cipher-alg=serpent-192"), ("luks", ",cipher-alg=aes-128"), ("luks", ""), ("qcow2", "")]
    for fmt, options in kinds if EVERY == 1 else kinds[:1]:
        want = prefixed(fmt, 'key-secret=s0,iter-time=10' + options)
        json_same('measure', '--output=json', *SECRETS, '-O', fmt, '-o', want, '--size', '1G')
        if EVERY > 1:
            continue
        json_same('measure', '--output=json', *SECRETS, '-O', fmt, '-o', want, '-f', 'raw', 'src')


def old_aes(rng):
    """QEMU's old encryption is read, and nothing else."""
    disk('src', rng)
    for more in ('', ',cluster_size=512', ',compat=0.10'):
        if os.path.exists('i'):
            os.unlink('i')
        works(QEMU, 'create', '-f', 'qcow2', *SECRETS, '-o', 'encrypt.format=aes,encrypt.key-secret=s0' + more, 'i', SIZE)
        fill(QEMU, 'src', image('qcow2', 'i'))
        same(OSPITE, 'src', image('qcow2', 'i'))
        json_same('info', '--output=json', 'i')
        works(OSPITE, 'check', 'i')
        refused('only read here', 'resize', *SECRETS, '--image-opts', image('qcow2', 'i'), '+1M', untouched='i')


def served():
    """Over NBD, by each side's server to the other."""
    create(OSPITE, 'luks', 'i', SIZE, 'key-secret=s0,iter-time=1')
    fill(OSPITE, 'src', image('luks', 'i'))
    for server, reader in ((NBD, QEMU), (['qemu-nbd'], OSPITE)):
        p = subprocess.Popen([*server, *SECRETS, '-k', os.path.abspath('sock'), '--image-opts', image('luks', 'i')])
        listens_wait(os.path.abspath('sock'), p)
        same(reader, 'src', f'driver=nbd,server.type=unix,server.path={os.path.abspath("sock")}')
        case(p.wait(60) == 0, f'{server} ends with {p.returncode}')
        if os.path.exists('sock'):
            os.unlink('sock')


def refusals():
    create(OSPITE, 'luks', 'i', SIZE, 'key-secret=s0,iter-time=1')
    key = image('luks', 'i')
    for words, *args in (
            ('key-secret=ID is missing', 'create', '-f', 'luks', 'n', '1M'),
            ("no secret has the id 'x'", 'create', '-f', 'luks', '-o', 'key-secret=x', 'n', '1M'),
            ("'aes-512' is not supported", 'create', '-f', 'luks', '-o', 'key-secret=s0,cipher-alg=aes-512', 'n', '1M'),
            ("'ctr'", 'create', '-f', 'luks', '-o', 'key-secret=s0,cipher-mode=ctr', 'n', '1M'),
            ("'whirlpool' is not supported", 'create', '-f', 'luks', '-o', 'key-secret=s0,hash-alg=whirlpool', 'n', '1M'),
            ('use cbc', 'create', '-f', 'luks', '-o', 'key-secret=s0,cipher-alg=cast5-128', 'n', '1M'),
            ('as long as a key', 'create', '-f', 'luks', '-o', 'key-secret=s0,ivgen-alg=essiv,ivgen-hash-alg=sha1', 'n', '1M'),
            ('is for ivgen-alg=essiv', 'create', '-f', 'luks', '-o', 'key-secret=s0,ivgen-hash-alg=sha256', 'n', '1M'),
            ('iter-time', 'create', '-f', 'luks', '-o', 'key-secret=s0,iter-time=0', 'n', '1M'),
            ('too long elsewhere', 'create', '-f', 'luks', '-o', 'key-secret=s0,iter-time=600000', 'n', '1M'),
            ('encrypt.key-secret=ID is missing', 'create', '-f', 'qcow2', '-o', 'encrypt.format=luks', 'n', '1M'),
            ('not safe', 'create', '-f', 'qcow2', '-o', 'encrypt.format=aes,encrypt.key-secret=s0', 'n', '1M'),
            ('not safe', 'create', '-f', 'qcow2', '-o', 'encryption=on', 'n', '1M'),
            ('needs encrypt.format=luks', 'create', '-f', 'qcow2', '-o', 'encrypt.key-secret=s0', 'n', '1M'),
            ('leave out data_file_raw', 'create', '-f', 'qcow2', '-o', 'encrypt.format=luks,encrypt.key-secret=s0,data_file=e,'
             'data_file_raw=on', 'n', '1M'),
            ('compression and encryption do not go together', 'convert', '-c', '-O', 'qcow2', '-o', 'encrypt.format=luks,encrypt.key-secret=s0', 'src', 'n'),
            ('it is encrypted', 'convert', '-O', 'raw', 'i', 'n'),
            ('it opens none of the 1 key slots', 'convert', '-O', 'raw', '--image-opts', image('luks', 'i', 'bad'), 'n'),
            ("no option 'encrypt.key-secret'", 'convert', '-O', 'raw', '--image-opts', key.replace(',key', ',encrypt.key'), 'n'),
            ('state=active or', 'amend', '-o', 'new-secret=s1', '--image-opts', key),
            ('new-secret=ID', 'amend', '-o', 'state=active', '--image-opts', key),
            ('which keys', 'amend', '-o', 'state=inactive', '--image-opts', key),
            ('is not in use', 'amend', '-o', 'state=inactive,keyslot=3', '--image-opts', key),
            ('at most 7', 'amend', '-o', 'state=inactive,keyslot=8', '--image-opts', key),
            ('last key slots', 'amend', '-o', 'state=inactive,old-secret=s0', '--image-opts', key),
            ('opens no key slot', 'amend', '-o', 'state=inactive,old-secret=bad', '--image-opts', key),
            ('is in use', 'amend', '-o', 'state=active,keyslot=0,new-secret=s1', '--image-opts', key),
            ("option 'cipher-alg' can only be given when", 'amend', '-o', 'cipher-alg=aes-128', '--image-opts', key),
            ('it is encrypted', 'amend', '-o', 'state=active,new-secret=s1', 'i'),
            ('two have the id', 'info', '--object', 'secret,id=s0,data=x', 'i'),
            ('one of them', 'info', '--object', 'secret,id=q', 'i'),
            ('raw or base64', 'info', '--object', 'secret,id=q,data=x,format=hex', 'i'),
            ('not base64', 'info', '--object', 'secret,id=q,data=*,format=base64', '--image-opts', image('luks', 'i', 'q')),
            ('cannot read', 'info', '--object', 'secret,id=q,file=missing', '--image-opts', image('luks', 'i', 'q')),
            ('not supported', 'info', '--object', 'secret,id=q,data=x,keyid=s0', 'i')):
        refused(words, args[0], *SECRETS, *args[1:], untouched='i')
        case(not os.path.exists('n'), f'{args} left a file behind')
    run(['cryptsetup'], 'luksFormat', '-q', '--type', 'luks2', '--pbkdf', 'pbkdf2', '--pbkdf-force-iterations', '1000',
        new_file('two', 20 << 20), '-d', '-', stdin=b'first')
    refused('version 2', 'info', 'two')


def new_file(name, size):
    with open(name, 'wb') as f:
        f.truncate(size)
    return name


def made_by_cryptsetup(rng):
    """Headers of cryptsetup; without a device mapper nothing fills the disk but we and qemu-img."""
    for options in (['-c', 'aes-xts-plain64', '-s', '512'], ['-c', 'aes-cbc-essiv:sha256', '-s', '256', '-h', 'sha1'],
                    ['-c', 'serpent-xts-plain64', '-s', '256', '-h', 'sha512'], ['-c', 'aes-cbc-plain64', '-s', '192']):
        status, _, err = run(['cryptsetup'], 'luksFormat', '-q', '--type', 'luks1', '--pbkdf-force-iterations', '1000', *options,
                             new_file('i', (4 << 20) + SIZE), '-d', '-', stdin=b'first')
        if status:
            print(f'SKIPPED: cryptsetup luksFormat {options}: {err.strip()}')
            continue
        size = json.loads(works(OSPITE, 'info', '--output=json', 'i'))['virtual-size']
        disk('src', rng, size)
        fill(OSPITE, 'src', image('luks', 'i'))
        same(OSPITE, 'src', image('luks', 'i'))
        if '192' not in options:
            same(QEMU, 'src', image('luks', 'i'))
            json_same('info', '--output=json', 'i')
        amend(OSPITE, 'luks', 'state=active,new-secret=s1,iter-time=1')
        r, _, err = run(['cryptsetup'], 'open', '--test-passphrase', '--type', 'luks1', 'i', '-d', '-', stdin=b'second')
        case(r == 0, f'cryptsetup and our slot: {options}', err)


def main():
    for tool in ('qemu-img', 'cryptsetup'):
        if not shutil.which(tool, path=os.environ['PATH'] + ':/sbin:/usr/sbin'):
            print(f'SKIPPED: {tool} is not here')
            return 77
    os.environ['PATH'] += ':/sbin:/usr/sbin'
    rng = random.Random(SEED)
    with tempfile.TemporaryDirectory(prefix='ospite-crypt-') as directory:
        os.chdir(directory)
        with open('second.key', 'w') as f:
            f.write('second')
        for i, (kind, fmt) in enumerate((k, f) for k in KINDS for f in ('luks', 'qcow2')):
            if i % EVERY == 0 or 'ripemd160' in kind:
                kind_try(fmt, kind, rng)
        made_by_qemu(rng)
        shapes(rng)
        for fmt in ('luks', 'qcow2'):
            key_slots(fmt, rng)
        chains(rng)
        disk('src', rng)
        measured()
        old_aes(rng)
        served()
        made_by_cryptsetup(rng)
        disk('src', rng)
        refusals()
        os.chdir('/')
    print(f'img/crypt: {cases} cases, seed {SEED}, {len(failures)} failed')
    return 1 if failures else 0


sys.exit(main())
