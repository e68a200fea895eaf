#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0-or-later
"""nested.py --ospite BINARY --guests DIR --bin DIR   the engine kvm on a real KVM, wherever this runs.

QEMU's TCG emulates an AMD processor with SVM and nested paging; Debian's kernel in it loads kvm-amd; there ospite boots
with -accel kvm: a boot sector through SeaBIOS, then Debian's cloud kernel with a busybox initramfs, to its power-off. It reads disks whose
notifications the kernel counts (KVM_IOEVENTFD), or the vCPU's thread where that is off, by ospite's own counters; then one more is plugged in.
What the machine lacks is skipped out loud (exit status 77)."""
import argparse
import glob
import hashlib
import os
import random
import re
import subprocess
import sys
import time

SOURCE = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
sys.path.insert(0, os.path.join(SOURCE, 'tests', 'boot'))
from boot import Failure, Machine                                  # noqa: E402
from cpio import Skip, initramfs, need                             # noqa: E402
from virtio import drivers                                         # noqa: E402

# Disks of the guest in the guest: their properties, and whether the vCPU comes out for a notification.
DISKS = [('', False), (',disable-modern=on,queue-size=16', False), (',packed=on,page-per-vq=on', False), (',ioeventfd=off', True)]
READS = 150
INNER = r'''
until umount /proc 2> /dev/null; do :; done         # below KVM in QEMU, /proc/self/exe reads wrong at times, and the C library asserts
mount -t sysfs sys /sys 2> /dev/null; mount -t devtmpfs dev /dev 2> /dev/null
LOAD
uname -a; seq 1 20000 | md5sum; ls /sys/hypervisor; dmesg | grep -i kvm
for d in a b c d; do dd if=/dev/vd$d bs=4k count=READS iflag=direct 2> /dev/null | md5sum | sed "s/^/disk $d /"; done
echo INNER-COUNT; until [ -e /sys/block/vde ]; do sleep 0.1; done
echo INNER-DONE'''

MODULES = ('irqbypass', 'rng-core', 'ccp', 'kvm', 'kvm-amd')


def kernel_with_kvm(guests):
    """Debian's big kernel, unpacked once: the cloud flavour has no kvm modules."""
    root = os.path.join(guests, 'kernel-amd64')
    if not glob.glob(root + '/boot/vmlinuz-*'):
        names = subprocess.run(['apt-cache', 'depends', 'linux-image-amd64'], capture_output=True, text=True).stdout
        package = re.search(r'Depends: (linux-image-\S+)', names)
        if not package:
            raise Skip('apt does not know linux-image-amd64')
        os.makedirs(root, exist_ok=True)
        got = subprocess.run(['apt-get', '-q', '-o', 'Acquire::Retries=5', 'download', package.group(1)], cwd=root, capture_output=True, text=True)
        debs = glob.glob(root + '/*.deb')
        if got.returncode or not debs:
            raise Skip(f'apt-get download {package.group(1)} failed: {got.stderr[-300:]}')
        subprocess.run(['dpkg-deb', '-x', debs[0], root], check=True)
        os.unlink(debs[0])
    modules = {}
    for path in glob.glob(root + '/lib/modules/*/kernel/**/*.ko', recursive=True):
        modules[os.path.basename(path)[:-3]] = path
    return glob.glob(root + '/boot/vmlinuz-*')[0], [modules[m] for m in MODULES if m in modules]


def libraries(binary):
    out = subprocess.run(['ldd', binary], capture_output=True, text=True, check=True).stdout
    return re.findall(r'(/\S+) \(0x', out)


def outer_initramfs(a, path, modules, inner, data):
    files = {f'modules/{n}-{os.path.basename(m)}': m for n, m in enumerate(modules)}
    files.update({lib.lstrip('/'): os.path.realpath(lib) for lib in libraries(a.ospite)})
    files.update({'ospite': a.ospite, 'inner.cpio': inner, 'inner.kernel': need('/boot/vmlinuz-*cloud*', 'linux-image-cloud-amd64')})
    for name in ('bios-256k.bin', 'vgabios-stdvga.bin'):
        files[f'usr/share/seabios/{name}'] = need(f'/usr/share/seabios/{name}', 'seabios')
    files['real16.bin'] = os.path.join(a.bin, 'real16.bin')
    disks = ' '.join(f'-drive if=none,id=d{n},file=/data,format=raw,read-only=on -device virtio-blk-pci,drive=d{n}{d}' for n, (d, _) in enumerate(DISKS))
    files['data'] = data
    script = ('ip link set lo up\n' 'for m in /modules/*; do insmod $m; done\nls -l /dev/kvm\n'
              'echo SECTOR-BEGIN\n'
              '/ospite -accel kvm -m 64 -display none -serial stdio -monitor none -device isa-debug-exit -no-reboot '
              '-drive file=/real16.bin,format=raw < /dev/null; echo SECTOR-STATUS $?\n'
              'say() { echo "$1" | nc 127.0.0.1 44 | grep -E "virtio-blk|notifications|doorbells|Error"; }\n'
              f'started() {{ /ospite -accel kvm -m 256 -display none -serial stdio -monitor tcp:127.0.0.1:44,server=on,wait=off -no-reboot -kernel /inner.kernel {disks} '
              '-initrd /inner.cpio -append "console=ttyS0 panic=-1" < /dev/null; echo KERNEL-STATUS $?; }\n'
              'started | while read l; do echo "$l"; case "$l" in *INNER-COUNT*) say "info jit"; say "info qtree -v"; say "drive_add 0 if=none,id=e,file=/data,format=raw,read-only=on";'
              ' say "device_add virtio-blk-pci,drive=e";; esac; done\n'
              'echo OUTER-DONE')
    initramfs(path, script, files)


def check_disks(m, digest):
    """Each read what is there; the kernel counted the notifications, but where it was not to."""
    text, counted = m.text.replace('\r', ''), []
    for n, (properties, comes_out) in enumerate(DISKS):
        if f'disk {"abcd"[n]} {digest}' not in text:
            m.fail(f'disk {n} ({properties}) read something else')
        found = re.search(rf'id d{n} .*\nnotifications: (\d+) by descriptors, (\d+) by writes', text)
        if not found:
            m.fail(f'no counts of disk {n}')
        by_descriptor, by_write = int(found.group(1)), int(found.group(2))
        counted.append(f'{by_descriptor}/{by_write}')
        if (by_write if comes_out else by_descriptor) < READS or (by_descriptor if comes_out else by_write):
            m.fail(f'disk {n} ({properties}): {by_descriptor} notifications by descriptors, {by_write} by writes, for {READS} reads')
    return counted


def main():
    p = argparse.ArgumentParser(usage=__doc__)
    p.add_argument('--ospite', required=True)
    p.add_argument('--guests', required=True)
    p.add_argument('--bin', required=True, help='where the boot sectors are')
    a = p.parse_args()
    os.makedirs(a.guests, exist_ok=True)
    start = time.time()
    scale = float(os.environ.get('OSPITE_TEST_SCALE', '1'))
    try:
        kernel, modules = kernel_with_kvm(a.guests)
        inner, outer = (os.path.join(a.guests, name) for name in ('nested-inner.cpio', 'nested-outer.cpio'))
        load, files = drivers(need('/boot/vmlinuz-*cloud*', 'linux-image-cloud-amd64'), 'virtio_pci', 'virtio_blk')
        initramfs(inner, INNER.replace('LOAD', load).replace('READS', str(READS)), files)
        content = random.Random(5).randbytes(READS * 4096)
        data = os.path.join(a.guests, 'nested-data')
        with open(data, 'wb') as f:
            f.write(content)
        outer_initramfs(a, outer, modules, inner, data)
        if not os.path.exists('/usr/bin/qemu-system-x86_64'):
            raise Skip('qemu-system-x86_64 is missing; install qemu-system-x86')
        with Machine('qemu-system-x86_64 -accel tcg -cpu max', ['-m', '2048', '-kernel', kernel, '-initrd', outer, '-append',
                                                                'console=ttyS0 panic=-1 quiet', '-no-reboot'], 400 * scale) as m:
            m.serial('SECTOR-BEGIN')
            m.serial('REAL16-OK')
            m.serial('SECTOR-STATUS 33')
            at_sector = m.seconds()
            m.serial('e071f707df7bbeee2a6a1eb48011ddd0')
            if not re.search('Hypervisor detected: KVM', m.text):
                m.fail('the inner kernel does not see KVM')
            m.serial('INNER-DONE')
            m.serial('KERNEL-STATUS 0')
            at_kernel = m.seconds()
            m.serial('OUTER-DONE')
            counted = check_disks(m, hashlib.md5(content).hexdigest())
            m.end()
        print(f'PASS kvm: boot sector through SeaBIOS ({at_sector:.0f} s) and a kernel to its power-off ({at_kernel:.0f} s) on kvm-amd in QEMU; '
              f'notifications of {len(DISKS)} disks by descriptors and by writes: {", ".join(counted)} '
              f'[{time.time() - start:.1f} s]')
    except Skip as why:
        print(f'SKIP kvm: {why}')
        sys.exit(77)
    except Failure as why:
        print(f'FAIL kvm [{time.time() - start:.1f} s]: {why}')
        sys.exit(1)


if __name__ == '__main__':
    main()
