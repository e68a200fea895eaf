#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0-or-later
"""share.py --vmm CMD --guests DIR --fsops PROGRAM   a folder of the host in a guest, by Linux' 9p driver.

Debian's big kernel (the cloud flavour has no 9p) mounts the folder and reads a big file, writes it back, maps it, makes links, nodes and
directories; then thousands of random operations (fsops.c), whose log must be the one that the same operations leave in a plain
directory of the host. The host looks at what is in the folder afterwards. In several security models, caches and message sizes."""
import glob, hashlib, os, random, stat, subprocess, sys

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
import frame                                       # noqa: E402
from boot import Failure, Machine                  # noqa: E402
from cpio import Skip, initramfs                   # noqa: E402
from made import debian_kernel, kernel_image       # noqa: E402

BAD = r'Kernel panic|Oops:|BUG:|end trace|general protection|Unable to handle|WRONG'
MODULES = ('virtio_ring', 'virtio', 'virtio_pci_modern_dev', 'virtio_pci_legacy_dev', 'virtio_pci', '9pnet', '9pnet_virtio', 'netfs', 'fscache', '9p')
# security model, options of the mount, of the device; operations
WAYS = [('mapped-xattr', 'msize=131072', '', 2500), ('passthrough', 'cache=mmap,msize=1048576', ',packed=on', 2500), ('none', 'msize=8192', ',disable-modern=on', 700)]


def modules(root):
    found = {os.path.basename(p)[:-3]: p for p in glob.glob(root + '/lib/modules/*/kernel/**/*.ko', recursive=True)}
    return [found[m] for m in MODULES if m in found]


def way(a, kernel, drivers, model, mount, device, count):
    folder, plain, inner = (os.path.join(a.dir, f'{model}-{n}') for n in ('share', 'plain', 'secret'))
    for d in (folder, plain, inner, folder + '/ops'):
        os.mkdir(d)
    big = random.Random(9).randbytes(16 << 20)
    open(folder + '/big', 'wb').write(big)
    open(inner + '/kept', 'w').write('outside')
    os.symlink(inner + '/kept', folder + '/outside')
    for n in range(300):
        open(f'{folder}/many-{n:03}', 'w').close()
    script = ''.join(f'insmod /m/{os.path.basename(m)} || echo WRONG {m}\n' for m in drivers) + f'''
mkdir /mnt; mount -t 9p -o trans=virtio,version=9p2000.L,{mount} share /mnt || echo WRONG mount
echo sum $(md5sum < /mnt/big)
cp /mnt/big /mnt/copy && sync
echo many $(ls /mnt | grep -c many-)
mkdir -p /mnt/deep/er/still; echo text > /mnt/deep/er/still/file; mv /mnt/deep/er /mnt/moved; cat /mnt/moved/still/file
ln -s moved/still /mnt/pointer; cat /mnt/pointer/file; cat /mnt/outside && echo WRONG outside
mkfifo /mnt/pipe; (echo through > /mnt/pipe) & cat /mnt/pipe
mknod /mnt/zero c 1 5 && head -c 4 /mnt/zero | od -An -tx1; stat -c 'mode %F %a' /mnt/zero
touch /mnt/owned; chown 1234:567 /mnt/owned; chmod 640 /mnt/owned; stat -c 'owner %u:%g %a' /mnt/owned
rm /mnt/many-0*; rmdir /mnt/deep
exec 5> /mnt/gone; rm /mnt/gone; echo kept >&5 || echo WRONG unlinked; exec 5>&-
echo free $(stat -f -c %T /mnt)
/fsops /mnt/ops /mnt/log {a.seed} {count} || echo WRONG fsops
umount /mnt && mount -t 9p -o trans=virtio,version=9p2000.L,{mount} share /mnt; cmp /mnt/big /mnt/copy || echo WRONG copy
mount -t 9p -o trans=virtio,version=9p2000.L fixed /tmp; cat /tmp/kept; echo x 2>/dev/null > /tmp/new && echo WRONG written
dmesg | grep -vi 'command line' | grep -Ei 'panic|oops|bug:|end trace|9p.*error' && echo WRONG dmesg
echo OSPITE-DONE'''
    initrd = initramfs(os.path.join(a.dir, 'initrd'), script, {'fsops': a.fsops, **{'m/' + os.path.basename(m): m for m in drivers}})
    args = ['-fsdev', f'local,id=f,path={folder},security_model={model}', '-device', f'virtio-9p-pci,fsdev=f,mount_tag=share{device}',
            '-virtfs', f'local,path={inner},mount_tag=fixed,security_model=none,readonly=on']
    with Machine(a.vmm, ['-m', '256', '-kernel', kernel, '-initrd', initrd, '-append', 'console=ttyS0 quiet panic=-1', '-no-reboot', '-vga', 'none', *args], 400, log=a.log) as m:
        m.serial('sum ' + hashlib.md5(big).hexdigest(), BAD)
        m.serial('many 300.*text.*text.*through', BAD)
        if model == 'mapped-xattr':
            m.serial('00 00 00 00.*mode character special file', BAD)
        m.serial('owner ' + ('0:0' if model == 'none' and os.getuid() else '1234:567') + ' 640', BAD)
        m.serial('outside', BAD)
        m.serial('OSPITE-DONE', BAD)
        if m.end():
            m.fail('the status is not 0')
    subprocess.run([a.fsops, plain, os.path.join(a.dir, 'plain.log'), str(a.seed), str(count)], check=True)
    want, got = (open(p, errors='replace').read().splitlines() for p in (os.path.join(a.dir, 'plain.log'), folder + '/log'))
    for n, (w, g) in enumerate(zip(want, got)):
        if w != g:
            raise Failure(f'{model}: operation {n}: {g!r} in the guest, {w!r} in a plain directory; before it:\n' + '\n'.join(want[max(0, n - 5):n]))
    if len(want) != len(got):
        raise Failure(f'{model}: {len(got)} operations are logged, not {len(want)}')
    if open(folder + '/copy', 'rb').read() != big or open(folder + '/moved/still/file').read() != 'text\n' or len(glob.glob(folder + '/many-*')) != 200:
        raise Failure(f'{model}: the folder does not hold what the guest wrote')
    st = os.lstat(folder + '/pointer')
    if stat.S_ISLNK(st.st_mode) != (model != 'mapped-xattr') or os.listdir(inner) != ['kept'] or open(inner + '/kept').read() != 'outside':
        raise Failure(f'{model}: links or what lies outside')
    if model == 'mapped-xattr' and (os.getxattr(folder + '/owned', 'user.virtfs.uid') != (1234).to_bytes(4, 'little') or os.lstat(folder + '/owned').st_uid != os.getuid()):
        raise Failure('mapped-xattr: the owner on the host')
    return len(want)


def run(a):
    kernel, drivers = kernel_image(a.guests), modules(debian_kernel(a.guests))
    if not any(d.endswith('/9p.ko') for d in drivers):
        raise Skip('the kernel has no 9p module')
    total = sum(way(a, kernel, drivers, *w) for w in WAYS if w[0] != 'passthrough' or os.getuid() == 0)
    return f'{len(WAYS)} ways to share, {total} random operations (seed {a.seed}), 16 MiB both ways'


if __name__ == '__main__':
    frame.main(__doc__, run, fsops=None, seed=7)
