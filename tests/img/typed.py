#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0-or-later
"""Lines as people have typed them for years, under the names qemu-img and qemu-nbd: typed.py OSPITE [SEED]

What each leaves behind is judged by the qemu-img of the system. Then preallocation (create, resize and convert, in all modes), sizes by amend,
and bitmaps where there can be none: the same files, by length, space and contents, as the tool of that name makes."""
import json, os, random, shlex, shutil, subprocess, sys, tempfile
sys.path.append(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
import checks                                   # noqa: E402
from checks import check                        # noqa: E402

OSPITE = os.path.abspath(sys.argv[1])
SEED = int(sys.argv[2]) if len(sys.argv) > 2 else 20269


def typed(line, status=0, words=''):
    """A line in a shell, where both names mean ospite."""
    p = subprocess.run(line, shell=True, stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=120,
                       env={**os.environ, 'PATH': os.path.abspath('bin') + ':' + os.environ['PATH']})
    check(p.returncode == status and words in p.stderr, line, f'status {p.returncode}: {p.stderr}')
    return p.stdout


def judge(*args):
    return subprocess.run([QEMU_IMG, *args], capture_output=True, text=True, timeout=120)


def facts(name):
    return json.loads(judge('info', '--output=json', name).stdout or '{}')


def same(a, a_format, b, b_format):
    check(judge('compare', '-q', '-f', a_format, '-F', b_format, a, b).returncode == 0, f'{a} and {b} are the same disk')


def people(rng):
    typed('qemu-img create -f qcow2 win.img 10G')
    check(facts('win.img').get('virtual-size') == 10 << 30, 'win.img has 10 GiB')
    judge('create', '-f', 'qcow2', 'my_image.qcow2', '5G')
    typed('qemu-img resize my_image.qcow2 +10G')
    check(facts('my_image.qcow2').get('virtual-size') == 15 << 30, 'my_image.qcow2 has 15 GiB')
    with open('model', 'wb') as f:
        f.truncate(64 << 20)
        for _ in range(20):
            f.seek(rng.randrange(63 << 20))
            f.write(rng.randbytes(70000))
    judge('convert', '-f', 'raw', '-O', 'qcow2', 'model', 'image.qcow2')
    typed('qemu-img convert -O raw image.qcow2 image.img')
    same('model', 'raw', 'image.img', 'raw')
    typed('qemu-img convert -O qcow2 -o cluster_size=64K image.img imageplus.qcow2')
    same('model', 'raw', 'imageplus.qcow2', 'qcow2')
    check(facts('imageplus.qcow2').get('cluster-size') == 65536, 'clusters of 64K')
    check(judge('check', 'imageplus.qcow2').returncode == 0, 'qemu-img check imageplus.qcow2')
    if os.path.exists('/sys/module/nbd') or os.path.exists('/dev/nbd0'):
        print('SKIPPED: qemu-nbd -c: this kernel has the nbd driver, whose devices a test leaves alone')
    else:
        typed('qemu-nbd -c /dev/nbd0 image.img', 1, "has no nbd driver loaded. Run 'modprobe nbd' as root; where there is no such module, 'ospite mount")


def shape(name):
    """Length and space, rounded to what metadata may add, and the disk's size."""
    st = os.stat(name)
    return (st.st_size + (512 << 10)) >> 20, (st.st_blocks * 512 + (512 << 10)) >> 20, facts(name).get('virtual-size')


def both_do(commands, fmt, what, status=0):
    """The same lines by both tools, each in a new file x."""
    made = []
    for tool in (QEMU_IMG, 'qemu-img'):
        if os.path.exists('x'):
            os.unlink('x')
        for c in commands:
            line = f'{shlex.quote(tool)} {c}'
            if tool == QEMU_IMG:
                r = subprocess.run(line, shell=True, capture_output=True).returncode
                check((r == 0) == (status == 0 or c != commands[-1]), f'the judge: {line}')
            else:
                typed(line, status if c == commands[-1] else 0)
        made.append(shape('x') if not status else None)
    check(made[0] == made[1], f'{what}: length, space, size', f'{made}')
    if fmt == 'qcow2' and not status:
        check(judge('check', 'x').returncode == 0, f'{what}: qemu-img check')


def preallocation():
    for fmt, modes in (('raw', ('off', 'falloc', 'full')), ('qcow2', ('metadata', 'falloc', 'full'))):
        for mode in modes:
            both_do([f'create -q -f {fmt} -o preallocation={mode} x 9M'], fmt, f'create {fmt} {mode}')
            both_do([f'create -q -f {fmt} x 3M', f'resize -q -f {fmt} --preallocation={mode} x +7M'], fmt, f'resize {fmt} {mode}')
            both_do([f'convert -f raw -O {fmt} -o preallocation={mode} part x'], fmt, f'convert {fmt} {mode}')
            same('part', 'raw', 'x', fmt)
    for options in ('cluster_size=4k,preallocation=metadata', 'extended_l2=on,preallocation=falloc', 'compat=0.10,preallocation=full',
                    'data_file=D,preallocation=falloc'):
        both_do([f'create -q -f qcow2 -o {options} x 9M'], 'qcow2', f'create {options}')
        if 'data_file' in options:
            os.unlink('D')
    both_do(['create -q -f raw -o preallocation=metadata x 9M'], 'raw', 'raw has no metadata', 1)
    both_do(['create -q -f raw x 3M', 'resize -f raw --preallocation=metadata x +9M'], 'raw', 'raw has no metadata', 1)


def sizes_and_bitmaps():
    for size in ('7M', '2M', '100G'):
        both_do(['create -q -f qcow2 x 3M', f'amend -f qcow2 -o size={size} x'], 'qcow2', f'amend size={size}')
    typed('qemu-img create -q -f qcow2 with 3M && qemu-img bitmap --add with b')
    for make, line in (('echo keep > to', 'qemu-img convert --bitmaps -O qcow2 -o compat=0.10 with to'),
                       ('qemu-img create -q -f qcow2 -o compat=0.10 to 3M', 'qemu-img convert -n --bitmaps -O qcow2 with to'),
                       ('truncate -s 3M to', 'qemu-img convert -n --bitmaps -O raw with to')):
        typed('rm -f to; ' + make)
        before = open('to', 'rb').read()
        typed(line, 1, 'bitmaps')
        check(open('to', 'rb').read() == before, f'{line}: the target is as it was')


def main():
    global QEMU_IMG
    QEMU_IMG = shutil.which('qemu-img')
    if not QEMU_IMG:
        print('skipped: no qemu-img')
        return 77
    rng = random.Random(SEED)
    with tempfile.TemporaryDirectory(prefix='ospite-typed-') as directory:
        os.chdir(directory)
        os.mkdir('bin')
        os.symlink(OSPITE, 'bin/qemu-img')
        os.symlink(OSPITE, 'bin/qemu-nbd')
        people(rng)
        subprocess.run('head -c 9M model > part', shell=True, check=True)
        preallocation()
        sizes_and_bitmaps()
        os.chdir('/')
    print(f'img-typed: {checks.counts()}, seed {SEED}')
    return 1 if checks.failed else 0


sys.exit(main())
