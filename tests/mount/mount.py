#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0-or-later
"""'ospite mount' and 'ospite umount' with real file systems on loop devices: mount.py OSPITE

File systems are made and filled through the mounted files, checked by fsck, and read again out of what qemu-img convert
makes of the image. Fixed seeds."""
import ctypes, errno, hashlib, os, random, re, shutil, signal, subprocess, sys, tempfile, time
sys.path.append(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
import checks                                   # noqa: E402
from checks import check                        # noqa: E402
import leash            # noqa: E402, F401

OSPITE = os.path.abspath(sys.argv[1])
SEED = 30
rng = random.Random(SEED)
os.environ['PATH'] += ':/usr/sbin:/sbin'
MISSING = [t for t in ('qemu-img', 'sfdisk', 'mkfs.ext4', 'mkfs.vfat', 'fsck.ext4', 'fsck.vfat', 'mcopy', 'losetup') if not shutil.which(t)]
MIB = 1 << 20


def run(*args, timeout=100, **kw):
    kw.setdefault('input', b'')
    p = subprocess.run(args, capture_output=True, timeout=timeout, **kw)
    return p.returncode, p.stdout.decode('latin-1'), p.stderr.decode('latin-1')


def good(*args, **kw):
    status, out, err = run(*args, **kw)
    check(status == 0, f'{" ".join(args)}: status {status}: {out}{err}')
    return out


def refused(want, *args):
    """One line that holds want, and status 1."""
    status, out, err = run(*args)
    check(status == 1 and want in err and len(err.splitlines()) == 1 and not out, f'{args}: {status} {out!r} {err!r}')


def image_make(form, size, name='image'):
    if os.path.exists(name):
        os.unlink(name)
    good('qemu-img', 'create', '-q', '-f', form, name, str(size))
    return name


class Mounted:
    """Mounted until the block ends; then 'ospite umount' must succeed."""
    def __init__(self, image, *options, where='d'):
        self.where = where
        os.makedirs(where, exist_ok=True)
        good(OSPITE, 'mount', *options, image, where)

    def __enter__(self):
        return self.where

    def __exit__(self, *_):
        status, out, err = run(OSPITE, 'umount', self.where)
        check(status == 0 and not out + err, f'umount: {status} {out}{err}')
        check(not os.path.ismount(self.where), 'still mounted')
        check(os.listdir(self.where) == [], 'files after umount')


def loop_make(name):
    return good('losetup', '-f', '--show', name).strip()


def tree_fill(where, count, big):
    """Random files; their hashes."""
    made = {}
    for i in range(count):
        data = rng.randbytes(rng.choice([0, 1, 511, 5000, 70000, big if i == 3 else 9000]))
        name = f'dir{i % 5}/file{i}'
        os.makedirs(os.path.join(where, f'dir{i % 5}'), exist_ok=True)
        with open(os.path.join(where, name), 'wb') as f:
            f.write(data)
        made[name] = hashlib.sha256(data).hexdigest()
    for name in sorted(made)[::7]:
        os.unlink(os.path.join(where, name))
        del made[name]
    return made


def tree_read(where):
    found = {}
    for directory, _, names in os.walk(where):
        for n in names:
            path = os.path.join(directory, n)
            found[os.path.relpath(path, where)] = hashlib.sha256(open(path, 'rb').read()).hexdigest()
    return found


# How each is made and checked. FAT is filled and read by mtools: not every kernel has it.
MAKE = {'ext4': ['mkfs.ext4', '-q', '-F'], 'vfat': ['mkfs.vfat']}
FSCK = {'ext4': ['fsck.ext4', '-f', '-n'], 'vfat': ['fsck.vfat', '-n']}
# a table; which file gets which file system; all files
TABLES = [
    ('label: gpt\nsize=60M\nsize=70M\n', {'p1': 'ext4', 'p2': 'vfat'}, ['p1', 'p2']),
    ('label: dos\nx1: size=20M\nx2: size=120M,type=5\nx5: size=30M\nx6: size=60M\n', {'p1': 'vfat', 'p6': 'ext4'},
     ['p1', 'p5', 'p6']),
]


def tree_write(kind, name, where):
    """Files go into the file system of this file by way of a loop device."""
    if kind == 'vfat':
        shutil.rmtree('tree', ignore_errors=True)
        made = tree_fill('tree', 60, 3 * MIB)
        loop = loop_make(name)
        refused(loop, OSPITE, 'umount', where)
        good('mcopy', '-s', '-i', loop, *(f'tree/{n}' for n in sorted(os.listdir('tree'))), '::/')
        good('losetup', '-d', loop)
        return made
    good('mount', '-t', kind, '-o', 'loop', name, 'mnt')
    try:
        made = tree_fill('mnt', 60, 3 * MIB)
        refused("run 'umount", OSPITE, 'umount', where)
    finally:
        good('umount', 'mnt')
    return made


def tree_again(kind, offset):
    """What is in the file system at this offset of raw.img."""
    if kind == 'vfat':
        shutil.rmtree('tree', ignore_errors=True)
        os.makedirs('tree')
        good('mcopy', '-s', '-i', f'raw.img@@{offset}', '::/*', 'tree/')
        return tree_read('tree')
    good('mount', '-t', kind, '-o', f'loop,ro,offset={offset}', 'raw.img', 'mnt')
    try:
        return {n: h for n, h in tree_read('mnt').items() if not n.startswith('lost+found')}
    finally:
        good('umount', 'mnt')


def file_systems(form, table, kinds, names):
    image = image_make(form, 160 * MIB)
    trees = {}
    os.makedirs('mnt', exist_ok=True)
    with Mounted(image, '-f', form) as d:
        check(os.listdir(d) == ['disk'], f'an empty disk shows {os.listdir(d)}')
        status, out, err = run('sfdisk', '-q', f'{d}/disk', input=table.encode())
        check(status == 0, f'sfdisk: {out}{err}')
        check(sorted(os.listdir(d)) == ['disk', *names], f'{table!r}: {os.listdir(d)}')
        for name, kind in kinds.items():
            good(*MAKE[kind], f'{d}/{name}')
            trees[name] = tree_write(kind, f'{d}/{name}', d)
            good(*FSCK[kind], f'{d}/{name}')
    if form == 'qcow2':
        good('qemu-img', 'check', image)
    good('qemu-img', 'convert', '-f', form, '-O', 'raw', image, 'raw.img')
    with Mounted('raw.img', '-f', 'raw', '-r') as d:
        check(sorted(os.listdir(d)) == ['disk', *names], f'partitions of the raw disk: {os.listdir(d)}')
    offsets = {int(m[1]): int(m[2]) * 512 for m in re.finditer(r'raw\.img(\d+) : start= *(\d+)', good('sfdisk', '-d', 'raw.img'))}
    for name, kind in kinds.items():
        found = tree_again(kind, offsets[int(name[1:])])
        check(found == trees[name], f'{form} {name} {kind}: {len(found)} files, {len(trees[name])} were written')
    os.unlink('raw.img')
    return sum(len(t) for t in trees.values())


def bytes_random(form, size=24 * MIB):
    """Reads and writes at any byte, through all files at once, against a copy in memory."""
    image = image_make(form, size)
    model = bytearray(size)
    with Mounted(image, '-f', form) as d:
        run('sfdisk', '-q', f'{d}/disk', input=b'label: gpt\nsize=4M\nsize=9M\n')
        with open(f'{d}/disk', 'rb') as f:
            model[:] = f.read()
        parts = {'disk': (0, size)}
        for line in good('sfdisk', '-d', f'{d}/disk').splitlines():
            m = re.search(r'disk(\d+) : start= *(\d+), size= *(\d+)', line)
            if m:
                parts['p' + m[1]] = (int(m[2]) * 512, int(m[3]) * 512)
        check(len(parts) == 3, f'partitions: {parts}')
        for name, (_, length) in parts.items():
            check(os.stat(f'{d}/{name}').st_size == length, f'size of {name}')
        fds = {n: os.open(f'{d}/{n}', os.O_RDWR) for n in parts}
        low = parts['p1'][0]        # not into the partition table
        for i in range(700):
            name = rng.choice(sorted(parts))
            start, length = parts[name]
            at = rng.randrange(low if name == 'disk' else 0, length - 40 * 512 if name == 'disk' else length)
            n = min(rng.choice([1, 7, 512, 1000, 4096, 65536, 300000]), (length - 40 * 512 if name == 'disk' else length) - at)
            kind = rng.randrange(10)
            if kind < 4:
                data = rng.randbytes(n) if kind else bytes(n)
                done = os.pwrite(fds[name], data, at)
                check(done == n, f'{name}: {done} of {n} bytes written')
                model[start + at:start + at + n] = data
            elif kind == 4:
                libc.fallocate(fds[name], 3, ctypes.c_int64(at), ctypes.c_int64(n))
                model[start + at:start + at + n] = bytes(n)
            elif kind == 5:
                os.fsync(fds[name])
            else:
                check(os.pread(fds[name], n, at) == model[start + at:start + at + n], f'{name}: read {n} at {at}')
        for name, fd in fds.items():
            start, length = parts[name]
            check(os.pread(fd, 10, length - 4) == bytes(model[start + length - 4:start + length]), 'read over the end')
            try:
                done = os.pwrite(fd, b'12345678', length)
                check(False, f'{name}: {done} bytes written past the end')
            except OSError as e:
                check(e.errno == errno.ENOSPC, f'write past the end: {e}')
            os.close(fd)
    good('qemu-img', 'convert', '-f', form, '-O', 'raw', image, 'raw.img')
    check(open('raw.img', 'rb').read() == model, f'{form}: what qemu-img reads')
    os.unlink('raw.img')


def durable():
    """What was synced is there when the server is killed, although the tables of qcow2 are written late."""
    image, data = image_make('qcow2', 64 * MIB), rng.randbytes(3 * MIB)
    os.makedirs('d', exist_ok=True)
    good(OSPITE, 'mount', '--pid-file=pid', image, 'd')
    pid = int(open('pid').read())
    fd = os.open('d/disk', os.O_RDWR)
    os.pwrite(fd, data, 5 * MIB + 77)
    os.fsync(fd)
    os.kill(pid, signal.SIGKILL)
    try:
        os.fsync(fd)
        os.pread(fd, 1, 0)
        check(False, 'a dead server reads')
    except OSError as e:
        check(e.errno in (errno.ENOTCONN, errno.ECONNABORTED), f'dead server: {e}')
    try:
        os.close(fd)
    except OSError:
        pass
    refused('died is still mounted', OSPITE, 'mount', image, 'd')
    status, _, err = run(OSPITE, 'umount', 'd')
    check(status == 0 and 'had died' in err and not os.path.ismount('d'), f'umount after a kill: {status} {err}')
    good('qemu-img', 'check', image)
    good('qemu-img', 'convert', '-O', 'raw', image, 'raw.img')
    found = open('raw.img', 'rb').read()
    check(found[5 * MIB + 77:8 * MIB + 77] == data, 'synced data after a kill')


def full_host():
    """The host's disk is full: who writes or syncs is told, umount tells it too, and the image stays sound."""
    os.makedirs('small', exist_ok=True)
    good('mount', '-t', 'tmpfs', '-o', 'size=4M', 'tmpfs', 'small')
    try:
        image = image_make('qcow2', 64 * MIB, 'small/image')
        with Mounted(image) as d:
            fd = os.open(f'{d}/disk', os.O_RDWR)
            try:
                for i in range(64):
                    os.pwrite(fd, rng.randbytes(MIB), i * MIB)
                os.fsync(fd)
                check(False, '64 MiB fit into 4')
            except OSError as e:
                check(e.errno == errno.ENOSPC, f'full disk: {e}')
            os.close(fd)
        status, out, err = run('qemu-img', 'check', image)
        check(status in (0, 3), f'image on a full disk: {out}{err}')
    finally:
        good('umount', 'small')


def holes():
    """Sparse copies, and holes that free space in the image."""
    image = image_make('qcow2', 64 * MIB)
    with Mounted(image) as d:
        fd = os.open(f'{d}/disk', os.O_RDWR)
        os.pwrite(fd, rng.randbytes(8 * MIB), 16 * MIB)
        os.fsync(fd)
        check(os.lseek(fd, 0, os.SEEK_DATA) == 16 * MIB, 'SEEK_DATA')
        check(os.lseek(fd, 17 * MIB, os.SEEK_HOLE) == 24 * MIB, 'SEEK_HOLE')
        try:
            os.lseek(fd, 24 * MIB, os.SEEK_DATA)
            check(False, 'data behind the last')
        except OSError as e:
            check(e.errno == errno.ENXIO, f'SEEK_DATA: {e}')
        good('cp', '--sparse=auto', f'{d}/disk', 'copy')
        check(os.stat('copy').st_blocks * 512 < 9 * MIB, 'cp does not see the holes')
        before = os.stat(image).st_blocks
        check(libc.fallocate(fd, 3, ctypes.c_int64(16 * MIB), ctypes.c_int64(8 * MIB)) == 0, 'punch')
        os.fsync(fd)
        check(os.stat(image).st_blocks * 512 < before * 512 - 7 * MIB, 'a punched hole takes space')
        check(os.pread(fd, 8 * MIB, 16 * MIB) == bytes(8 * MIB), 'a punched hole has data')
        check(libc.fallocate(fd, 0, ctypes.c_int64(0), ctypes.c_int64(128 * MIB)) == -1, 'grown')
        os.close(fd)
        with open(f'{d}/disk', 'wb') as f:          # O_TRUNC
            f.write(b'x')
        check(os.stat(f'{d}/disk').st_size == 64 * MIB, 'O_TRUNC changed the size')
        for change in (lambda: os.truncate(f'{d}/disk', 5), lambda: os.chmod(f'{d}/disk', 0o666)):
            try:
                change()
                check(False, 'truncate or chmod went through')
            except OSError as e:
                check(e.errno == errno.EPERM, f'truncate, chmod: {e}')
    os.unlink('copy')


def digest(name):
    return hashlib.sha256(open(name, 'rb').read()).hexdigest()


def modes():
    """-r, -s, formats, locks, the foreground, and names that need care."""
    image = image_make('qcow2', 8 * MIB, 'a, b\\c')
    with Mounted(image, '-r') as d:
        check(os.stat(f'{d}/disk').st_mode & 0o777 == 0o400, 'mode of a read-only file')
        try:
            os.open(f'{d}/disk', os.O_RDWR)
            check(False, 'opened for writing')
        except OSError as e:
            check(e.errno == errno.EROFS, f'-r: {e}')
        with Mounted(image, '-r', where='d2') as other:
            check(os.listdir(other) == ['disk'], 'two readers')
        refused('is using it', OSPITE, 'mount', image, 'd3')
        check(any(r'a,\040b\134c' in l for l in open('/proc/self/mounts')), 'the name in /proc/mounts')
    before = digest(image)
    with Mounted(image, '-s') as d:
        with open(f'{d}/disk', 'r+b', buffering=0) as f:
            f.write(b'gone afterwards')
            f.seek(0)
            check(f.read(15) == b'gone afterwards', '-s does not keep writes')
    check(digest(image) == before, '-s changed the image')
    with Mounted(image, '-f', 'raw') as d:
        check(os.stat(f'{d}/disk').st_size == (os.stat(image).st_size + 511) // 512 * 512, '-f raw')
    p = subprocess.Popen([OSPITE, 'mount', '--foreground', image, 'd'], stderr=subprocess.PIPE)
    for _ in range(6000):
        if os.path.ismount('d'):
            break
        time.sleep(.01)
    refused(f'process {p.pid}', OSPITE, 'mount', image, 'd3')
    p.send_signal(signal.SIGTERM)
    err = p.communicate(timeout=60)[1]
    check(p.returncode == 0 and not err and not os.path.ismount('d'), f'SIGTERM: {p.returncode} {err}')


BAD = [
    (['mount'], 'an image and a directory are needed'),
    (['mount', 'image'], 'an image and a directory are needed'),
    (['mount', 'image', 'd', 'e'], 'too many names'),
    (['mount', 'image', 'nosuch'], 'make the directory first'),
    (['mount', 'image', 'image'], 'it is no directory'),
    (['mount', 'missing', 'd'], "cannot open 'missing'"),
    (['mount', '-f', 'nosuch', 'image', 'd'], "unknown format 'nosuch'"),
    (['mount', '--formt=raw', 'image', 'd'], "did you mean '--format'"),
    (['mount', '-x', 'image', 'd'], "'-x': unknown option"),
    (['mount', '--cache=maybe', 'image', 'd'], "unknown value 'maybe'"),
    (['mount', '-f'], 'wants a value'),
    (['mount', '--allow-other', '--allow-root', 'image', 'd'], 'leave out --allow-root'),
    (['umount'], 'which directory'),
    (['umount', 'd'], "no directory that 'ospite mount' serves"),
    (['umount', 'nosuch'], 'No such file'),
    (['umount', '-r', 'd'], "'-r': unknown option"),
]


def command_lines():
    image_make('raw', MIB)
    for args, want in BAD:
        refused(want, OSPITE, *args)
    check(not os.path.ismount('d'), 'mounted by a bad command line')
    page = os.path.join(os.path.dirname(os.path.abspath(__file__)), '../../docs/man/ospite-mount.1')
    text = open(page).read().replace('\\-', '-').replace('\\fR', '')
    shown = good(OSPITE, 'mount', '-h') + good(OSPITE, 'umount', '-h')
    in_help = set(re.findall(r'^ +(?:-\w, )?(--[a-z-]+)', shown, re.M))
    in_page = set(re.findall(r'(--[a-z][a-z-]+)', text[text.index('.SH OPTIONS'):text.index('.SH EXAMPLES')]))
    check(len(in_help) > 8 and in_help == in_page, f'options of -h and of the manual page differ: {in_help ^ in_page}')


def ordinary_user():
    """Through fusermount3, as far as this host lets users mount."""
    if not shutil.which('fusermount3') or not os.stat(shutil.which('fusermount3')).st_mode & 0o4000:
        print('mount: SKIP ordinary users: fusermount3 is not there (Debian package fuse3)')
        return
    if not os.path.exists('/etc/mtab'):
        print('mount: SKIP ordinary users: fusermount3 unmounts only where there is /etc/mtab; bare chroots lack it')
        return
    os.makedirs('user/d')
    for name in ('user', 'user/d', image_make('qcow2', 8 * MIB, 'user/image')):
        os.chown(name, 65534, 65534)
    shutil.copy(OSPITE, 'user/ospite')
    os.chmod('.', 0o755)
    who = dict(user=65534, group=65534, extra_groups=[], cwd='user')
    status, out, err = run('./ospite', 'mount', 'image', 'd', **who)
    if not check(status == 0 and not out + err, f'mount as a user: {status} {out}{err}'):
        return
    good('sh', '-c', 'echo hello | dd of=d/disk conv=notrunc status=none && head -c 5 d/disk', **who)
    refused('', OSPITE, 'umount', 'user/d')         # root may not look in
    good('./ospite', 'umount', 'd', **who)
    check(not os.path.ismount('user/d'), 'umount as a user')
    good('qemu-img', 'convert', '-O', 'raw', 'user/image', 'raw.img')
    check(open('raw.img', 'rb').read(5) == b'hello', 'what the user wrote')


def main():
    if not os.access('/dev/fuse', os.R_OK | os.W_OK) or MISSING:
        print(f'mount: SKIP {"needs " + " ".join(MISSING) if MISSING else "this host lets nobody use /dev/fuse"}')
        return 77
    directory = tempfile.mkdtemp()
    os.chdir(directory)
    os.makedirs('d')
    os.makedirs('d2')
    os.makedirs('d3')
    files = 0
    try:
        command_lines()
        bytes_random('qcow2')
        bytes_random('raw')
        holes()
        modes()
        durable()
        if os.getuid() or run('losetup', '-f')[0]:
            print('mount: SKIP real file systems: root and loop devices are needed')
        else:
            for form in ('qcow2', 'raw'):
                for row in TABLES:
                    files += file_systems(form, *row)
            full_host()
            ordinary_user()
    finally:
        for where in ('mnt', 'd', 'd2', 'd3', 'user/d', 'small'):
            run('umount', '-l', where)
        os.chdir('/')
        shutil.rmtree(directory)
    print(f'mount: {files} files in real file systems, {checks.counts()}, seed {SEED}')
    return bool(checks.failed)


libc = ctypes.CDLL(None, use_errno=True)
sys.exit(main())
