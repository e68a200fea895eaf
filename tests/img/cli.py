#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0-or-later
"""'ospite img' as a user meets it: cli.py OSPITE

Bad command lines get one line that says what and what to do, status 1, and every file stays byte for byte what it was;
under the name qemu-img scripts of that tool go on working; each verb's -h has its options and an example."""
import fcntl, hashlib, os, re, subprocess, sys, tempfile
sys.path.append(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
import checks                                   # noqa: E402
from checks import check                        # noqa: E402

OSPITE = os.path.abspath(sys.argv[1])
PAGE = os.path.join(os.path.dirname(os.path.abspath(__file__)), '../../docs/man/ospite-img.1')


def run(args, tool=None):
    p = subprocess.run([*(tool or [OSPITE, 'img']), *args], stdin=subprocess.DEVNULL, capture_output=True, timeout=60)
    return p.returncode, p.stdout.decode('latin-1'), p.stderr.decode('latin-1')


VERBS = ['amend', 'bench', 'bitmap', 'check', 'commit', 'compare', 'convert', 'create', 'dd', 'info', 'map', 'measure',
         'rebase', 'resize', 'snapshot']
# What is typed, what the line must hold.
BAD = [
    ('', 'what is to be done'),
    ('creat x', "did you mean 'create'"),
    ('frobnicate', 'lists them'),
    ('create -f qcow2 disk.qcow2 1G', 'holds a qcow2 image'),
    ('create disk.raw 1G', 'holds data'),
    ('create -f qcow2 -o nosuch=1 disk.qcow2 1G', "no option 'nosuch'"),
    ('create -f qcow2 -o nosuch=1 --force disk.qcow2 1G', "no option 'nosuch'"),
    ('create -f qcow2 -o cluster_sise=4k --force disk.qcow2 1G', "did you mean 'cluster_size'"),
    ('create -f qcow2 -o cluster_size=3k --force disk.qcow2 1G', 'power of two'),
    ('create -f qcow2 -o compat=0.10,lazy_refcounts=on --force disk.qcow2 1G', 'compat=1.1'),
    ('create -f nosuch --force disk.qcow2 1G', "unknown format 'nosuch'"),
    ('create -f qcow2 --force disk.qcow2 1X', 'no size'),
    ('create -f qcow2 --force disk.qcow2 9E', 'too large'),
    ('create -f qcow2 --force disk.qcow2', 'how large'),
    ('create -f qcow2 -b missing -F raw --force disk.qcow2', 'backing file is not to be had'),
    ('create -f qcow2 -b disk.raw --force disk.qcow2', 'needs -F'),
    ('create -f raw -b disk.raw -F raw --force disk.qcow2', 'no backing file'),
    ('create -f qcow2 -F raw --force disk.qcow2 1G', 'without a backing file'),
    ('create -f qcow2 --force locked.raw 1G', 'process'),
    ('create -f qcow2 /nonexistent/x 1G', 'directory'),
    ('create -f qcow2 http://x/y 1G', 'only files'),
    ('create --objekt x y', "did you mean '--object'"),
    ('create -Z', 'unknown option'),
    ('create -f', 'wants a value'),
    ('resize disk.qcow2 -1M', '-- -1M'),
    ('resize disk.qcow2 -- -1M', '--shrink'),
    ('resize disk.qcow2 1M', '--shrink'),
    ('resize disk.qcow2 --shrink -- -100T', 'leave nothing'),
    ('resize disk.qcow2 +1Q', 'no size'),
    ('resize disk.qcow2 +1', 'whole sectors'),
    ('resize --shrink disk.qcow2 0', 'at least one sector'),
    ('resize disk.qcow2', 'something is missing'),
    ('resize locked.raw +1M', 'process'),
    ('resize --preallocation=some disk.qcow2 +1M', 'unknown value'),
    ('info missing', 'no such file'),
    ('info', 'something is missing'),
    ('info --output=xml disk.qcow2', 'unknown value'),
    ('info -f qcow2 disk.raw', 'not a qcow2 image'),
    ('check -r some disk.qcow2', 'unknown value'),
    ('check -r all -U disk.qcow2', 'do not go together'),
    ('convert disk.raw', 'something is missing'),
    ('convert -O qcow2 disk.raw disk.qcow2', 'holds a qcow2 image'),
    ('convert -O qcow2 -o nosuch=1 --force disk.raw disk.qcow2', "no option 'nosuch'"),
    ('convert -O qcow2 --force missing disk.qcow2', 'no such file'),
    ('convert -c -O raw --force disk.raw disk.qcow2', 'cannot be compressed'),
    ('convert -O qcow2 --force -S 100 disk.raw disk.qcow2', 'multiple of 512'),
    ('convert -O qcow2 --force -m 0 disk.raw disk.qcow2', '1 to 16'),
    ('convert -O qcow2 --force -m 17 disk.raw disk.qcow2', 'at most 16'),
    ('convert -O qcow2 --force -S 17M disk.raw disk.qcow2', 'up to 16M'),
    ('convert -C --salvage -O raw --force disk.raw big.raw', 'as they are'),
    ('convert -c -O qcow2 -o preallocation=full --force disk.raw disk.qcow2', 'do not go together'),
    ('convert -c -O vmdk --force disk.raw disk.qcow2', 'streamOptimized'),
    ('convert --bitmaps -O qcow2 --force disk.raw disk.qcow2', 'holds no dirty bitmaps'),
    ('convert --image-opts -f raw --force driver=raw,file.filename=disk.raw disk.qcow2', 'both give the format'),
    ('create -f qcow2 -o size=1M new.qcow2 2M', 'twice'),
    ('convert -n -f raw -O raw big.raw disk.raw', 'smaller than the source'),
    ('convert -n -O qcow2 -o cluster_size=4k disk.raw disk.qcow2', '-n writes into'),
    ('convert --bitmaps -O qcow2 -o compat=0.10 --force disk.qcow2 big.raw', 'no dirty bitmaps'),
    ('convert --target-is-zero -O qcow2 --force disk.raw disk.qcow2', 'need -n'),
    ('convert -l nosuch -O raw --force disk.qcow2 disk.raw', "nosuch"),
    ('convert -O qcow2 --force disk.qcow2 disk.qcow2', 'disk.qcow2'),
    ('snapshot -c x -d y disk.qcow2', 'one of them'),
    ('snapshot -c x -c y disk.qcow2', 'once'),
    ('snapshot -c x disk.raw', 'raw'),
    ('snapshot -d nosuch disk.qcow2', 'nosuch'),
    ('commit disk.qcow2', 'no backing file'),
    ('rebase disk.qcow2', 'which backing file'),
    ('rebase -u -b disk.raw disk.qcow2', '-b needs -F'),
    ('convert -O qcow2 -o backing_file=disk.raw --force big.raw new.qcow2', 'backing_fmt='),
    ('rebase -b missing -F raw disk.qcow2', 'not to be had'),
    ('rebase -b disk.raw -F nosuch disk.qcow2', 'unknown format'),
    ('measure -O qcow2', 'either --size or FILE'),
    ('dd if=disk.raw', 'both needed'),
    ('dd if=disk.raw of=disk.qcow2', 'holds a qcow2 image'),
    ('dd if=disk.raw of=x bs=0', 'bs is'),
    ('dd if=disk.raw of=x cnt=1', "operand"),
    ('bench -w -c 1 -s 100 disk.raw', 'multiples of 512'),
    ('bench -c 0 disk.raw', 'at least 1'),
    ('bench -n disk.raw', '-t none'),
    ('amend disk.qcow2', 'what is to change'),
    ('amend -o backing_file=disk.raw disk.qcow2', 'rebase'),
    ('bitmap disk.qcow2 b', 'what is to be done'),
    ('bitmap --add --remove disk.qcow2 b', 'stands alone'),
    ('map --image-opts disk.qcow2', "has no '='"),
    ('info --image-opts driver=qcow2,file.filename=disk.qcow2,nosuch=1', "no option 'nosuch'"),
    ('info json:{', 'json'),
    ('info --object secret disk.qcow2', 'TYPE,id=NAME'),
]


def digest():
    return {n: hashlib.sha256(open(n, 'rb').read()).hexdigest() for n in sorted(os.listdir('.')) if os.path.isfile(n)}


def prepare():
    check(run(['create', '-q', '-f', 'qcow2', 'disk.qcow2', '16M'])[0] == 0, 'create disk.qcow2')
    for name, size in (('disk.raw', 4 << 20), ('big.raw', 8 << 20), ('locked.raw', 1 << 20)):
        with open(name, 'wb') as f:
            f.write(os.urandom(4096))
            f.truncate(size)


def old_name():
    os.symlink(OSPITE, 'qemu-img')
    tool = [os.path.abspath('qemu-img')]
    for args, line in ((['create', '-f', 'qcow2', 'disk.qcow2', '2M'], 'replaced'),
                       (['convert', '-O', 'qcow2', 'disk.raw', 'disk.qcow2'], 'replaced'),
                       (['create', '-f', 'qcow2', 'win.img', '10G'], '')):
        status, _, err = run(args, tool)
        check(status == 0 and line in err and len(err.splitlines()) == (1 if line else 0), f'qemu-img {args}: {err}')
    before = digest()
    status, _, err = run(['create', '-f', 'qcow2', '-o', 'nosuch=1', 'disk.qcow2', '2M'], tool)
    check(status == 1 and digest() == before, f'qemu-img create with a bad option: {err}')
    os.unlink('qemu-img')


def options_in(text):
    return set(re.findall(r'(?<![\w-])--?[A-Za-z][\w-]*', text))


def manual_page():
    with open(PAGE) as f:
        sections = re.split(r'^\.S[SH] ', f.read().replace('\\-', '-'), flags=re.M)
    for verb in VERBS:
        section = [s for s in sections if s.startswith(verb + ' ')]
        in_page = set().union(*(options_in(m) for m in re.findall(r'^\.TP\n\\fB(.*?)\\fR', section[0] if section else '', re.M)))
        in_help = set().union(*(options_in(l[:33]) for l in run([verb, '-h'])[1].splitlines() if l.startswith('  ')))
        check(in_page and in_page == in_help, f'{verb}: -h and the manual page differ: {in_page ^ in_help}')


# What the examples of -h find there.
PLACES = """create -q -f qcow2 base.qcow2 8M; create -q -f qcow2 new-base.qcow2 8M; create -q -f qcow2 disk.qcow2 32M; create -q -f vmdk disk.vmdk 8M
create -q -f raw disk.img 32M; create -q -f qcow2 -b base.qcow2 -F qcow2 work.qcow2"""


def examples():
    """The example of each verb's -h is the manual page's, and does what it says."""
    with open(PAGE) as f:
        page = f.read().replace('\\-', '-')
    os.mkdir('examples')
    os.chdir('examples')
    for verb in VERBS:
        line = re.search(r'^example: ospite img (.*)', run([verb, '-h'])[1], re.M)[1]
        check(f'ospite img {line}\n' in page, f'the example of {verb} is not that of the manual page: {line}')
        for place in re.split('[;\n] *', PLACES):
            check(run(place.split())[0] == 0, place)
        if verb in ('create', 'convert'):
            os.unlink(line.split()[-1])
        status, out, err = run(line.split())
        check(status == 0 and ('-p' in line or not err), f'{line}: status {status}, {err}')
        check(run(['check', '-q', 'disk.qcow2'])[0] == 0, f'disk.qcow2 after {line}')
        for name in os.listdir('.'):
            os.unlink(name)
    os.chdir('..')
    os.rmdir('examples')


def main():
    with tempfile.TemporaryDirectory(prefix='ospite-img-') as directory:
        os.chdir(directory)
        prepare()
        with open('locked.raw', 'r+b') as f:
            for byte in (101, 201):         # as a writer that shares nothing
                fcntl.fcntl(f, 37, __import__('struct').pack('hhqqi4x', 0, 0, byte, 1, 0))   # F_OFD_SETLK, F_RDLCK
            before = digest()
            for line, words in BAD:
                status, out, err = run(line.split())
                check(status in (1, 2) and words in err and len(err.splitlines()) == 1 and err.startswith('ospite: img'),
                      f'img {line}: status {status}, {err!r}')
                check(digest() == before, f'img {line}: a file changed')
                before = digest()
            check(run(['info', 'locked.raw'])[0] == 0, 'info needs no lock')
        for verb in VERBS:
            status, out, err = run([verb, '-h'])
            check(status == 0 and f'usage: ospite img {verb}' in out and 'example: ospite img' in out, f'{verb} -h')
        check(all(v in run(['-h'])[1] for v in VERBS), 'img -h')
        check(run(['-V'])[1].startswith('ospite-img '), 'img -V')
        check('cluster_size' in run(['create', '-f', 'qcow2', '-o', 'help'])[1], '-o help')
        check('block' in run(['-T', 'help'])[1], 'img -T help')
        status, out, _ = run(['-T', 'help'], [OSPITE, 'nbd'])
        check(status == 0 and 'block' in out, 'nbd -T help')
        manual_page()
        examples()
        old_name()
        os.chdir('/')
    print(f'img-cli: {checks.counts()}, {len(BAD)} bad command lines')
    return 1 if checks.failed else 0


sys.exit(main())
