# SPDX-License-Identifier: GPL-2.0-or-later
"""A machine with KVM, wherever this runs: QEMU's TCG emulates an AMD processor with SVM and nested paging, and Debian's kernel in it loads kvm-amd.
There ospite, with its libraries and firmware, runs Debian's cloud kernel with an initramfs."""
import os
import shutil

from boot import Machine
from cpio import Skip, initramfs, need
from made import debian_kernel, kernel_image
from virtio import drivers, libraries

# Before the script of the guest in the guest.
INNER = r'''
until umount /proc 2> /dev/null; do :; done         # below KVM in QEMU, /proc/self/exe reads wrong at times, and the C library asserts
mount -t sysfs sys /sys 2> /dev/null; mount -t devtmpfs dev /dev 2> /dev/null
'''


def inner_guest(a, modules, script):
    """Files for the outer guest: the inner one, with drivers beside virtio_pci."""
    kernel = need('/boot/vmlinuz-*cloud*', 'linux-image-cloud-amd64')
    load, files = drivers(kernel, 'virtio_pci', *modules)
    initrd = initramfs(os.path.join(a.dir, 'inner.cpio'), f'export PATH=/bin:/sbin\n{INNER}{load}{script}', files)
    return {'inner.cpio': initrd, 'inner.kernel': kernel}


def ospite_files(a):
    files = {'ospite': a.ospite, **libraries(a.ospite)}
    files = {name: os.path.realpath(source) for name, source in files.items() if name != a.ospite.lstrip('/')}
    for name in ('bios-256k.bin', 'vgabios-stdvga.bin'):
        files[f'usr/share/seabios/{name}'] = need(f'/usr/share/seabios/{name}', 'seabios')
    return files


def outer_machine(a, modules, script, files, cpus, memory):
    """script runs there, with drivers beside kvm-amd."""
    if not shutil.which('qemu-system-x86_64'):
        raise Skip('qemu-system-x86_64 is missing; install qemu-system-x86')
    kernel = kernel_image(a.guests)
    load, module_files = drivers(kernel, 'kvm-amd', *modules, root=debian_kernel(a.guests))
    initrd = initramfs(os.path.join(a.dir, 'outer.cpio'), f'export PATH=/bin:/sbin\nip link set lo up\n{load}{script}\necho OUTER-DONE',
                       {**module_files, **ospite_files(a), **files})
    return Machine('qemu-system-x86_64 -accel tcg -cpu max', ['-m', str(memory), '-smp', str(cpus), '-kernel', kernel, '-initrd', initrd, '-append',
                                                              'console=ttyS0 panic=-1 quiet', '-no-reboot'], 600 * a.scale, log=a.log)
