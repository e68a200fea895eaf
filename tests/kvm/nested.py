#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0-or-later
"""nested.py --ospite BINARY --guests DIR --bin DIR   the engine kvm on a real KVM, wherever this runs.

QEMU's TCG emulates an AMD processor with SVM and nested paging; Debian's kernel in it loads kvm-amd; there ospite boots
with -accel kvm: a boot sector through SeaBIOS, then Debian's cloud kernel with a busybox initramfs, to its power-off. It reads disks whose
notifications the kernel counts (KVM_IOEVENTFD), or the vCPU's thread where that is off, by ospite's own counters; then one more is plugged in.
What the machine lacks is skipped out loud (exit status 77)."""
import hashlib
import os
import random
import re
import sys

sys.path.insert(0, os.path.join(os.path.dirname(os.path.dirname(os.path.abspath(__file__))), 'boot'))
import frame                                                       # noqa: E402
from outer import inner_guest, outer_machine                       # noqa: E402

# Disks of the guest in the guest: their properties, and whether the vCPU comes out for a notification.
DISKS = [('', False), (',disable-modern=on,queue-size=16', False), (',packed=on,page-per-vq=on', False), (',ioeventfd=off', True)]
READS = 150
INNER = f'''
uname -a; seq 1 20000 | md5sum; ls /sys/hypervisor; dmesg | grep -i kvm
for d in a b c d; do dd if=/dev/vd$d bs=4k count={READS} iflag=direct 2> /dev/null | md5sum | sed "s/^/disk $d /"; done
echo INNER-COUNT; until [ -e /sys/block/vde ]; do sleep 0.1; done
echo INNER-DONE'''
# What ospite is asked when the disks were read.
ASKED = ('info jit', 'info qtree -v', 'drive_add 0 if=none,id=e,file=/data,format=raw,read-only=on', 'device_add virtio-blk-pci,drive=e')


def outer_script():
    disks = ' '.join(f'-drive if=none,id=d{n},file=/data,format=raw,read-only=on -device virtio-blk-pci,drive=d{n}{d}' for n, (d, _) in enumerate(DISKS))
    asked = '; '.join(f'say "{line}"' for line in ASKED)
    return ('ls -l /dev/kvm\necho SECTOR-BEGIN\n'
            '/ospite -accel kvm -m 64 -display none -serial stdio -monitor none -device isa-debug-exit -no-reboot '
            '-drive file=/real16.bin,format=raw < /dev/null; echo SECTOR-STATUS $?\n'
            'say() { echo "$1" | nc 127.0.0.1 44 | grep -E "virtio-blk|notifications|doorbells|Error"; }\n'
            f'started() {{ /ospite -accel kvm -m 256 -display none -serial stdio -monitor tcp:127.0.0.1:44,server=on,wait=off -no-reboot -kernel /inner.kernel {disks} '
            '-initrd /inner.cpio -append "console=ttyS0 panic=-1" < /dev/null; echo KERNEL-STATUS $?; }\n'
            f'started | while read l; do echo "$l"; case "$l" in *INNER-COUNT*) {asked};; esac; done')


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


def run(a):
    content = random.Random(5).randbytes(READS * 4096)
    data = os.path.join(a.dir, 'data')
    with open(data, 'wb') as f:
        f.write(content)
    files = {**inner_guest(a, ['virtio_blk'], INNER), 'data': data, 'real16.bin': os.path.join(a.bin, 'real16.bin')}
    with outer_machine(a, [], outer_script(), files, cpus=1, memory=2048) as m:
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
    return (f'boot sector through SeaBIOS ({at_sector:.0f} s) and a kernel to its power-off ({at_kernel:.0f} s) on kvm-amd in QEMU; '
            f'notifications of {len(DISKS)} disks by descriptors and by writes: {", ".join(counted)}')


if __name__ == '__main__':
    frame.main(__doc__, run, ospite=None, bin=None)
