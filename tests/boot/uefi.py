#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0-or-later
"""uefi.py --vmm CMD --guests DIR NAME...   UEFI firmware (Debian's ovmf) in a ROM and in flash chips."""
import os
import shutil
import subprocess
import sys
import time

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
import frame                                   # noqa: E402
from boot import Failure, Machine              # noqa: E402
from cpio import Skip, initramfs, need         # noqa: E402
from guests import login, power_off            # noqa: E402
from guests import shell as shell_of_guest     # noqa: E402
from made import SOURCE, debian_disk           # noqa: E402
from virtio import BAD                         # noqa: E402

CODE, VARS = '/usr/share/OVMF/OVMF_CODE_4M.fd', '/usr/share/OVMF/OVMF_VARS_4M.fd'
SECURE, ROM = '/usr/share/OVMF/OVMF_CODE_4M.secboot.fd', '/usr/share/ovmf/OVMF.fd'
GUID = '12345678-1234-1234-1234-123456789abc'
QEMU = 'qemu-system-x86_64'


def flash(variables):
    return ['-drive', f'if=pflash,format=raw,unit=0,readonly=on,file={CODE}', '-drive', f'if=pflash,format=raw,unit=1,file={variables}']


def fresh(a, name='vars.fd'):
    path = os.path.join(a.dir, name)
    shutil.copyfile(need(VARS, 'ovmf'), path)
    return path


def shell(m, command, answer):
    m.send(command + '\r')
    return m.serial(answer)


def variables_test(a):
    """A variable set in the UEFI shell outlives a machine that is killed at the next prompt, and is read by QEMU, and the other way round."""
    need(CODE, 'ovmf')
    store = fresh(a)
    small = ['-m', '256', '-nic', 'none', '-vga', 'none']
    with Machine(a.vmm, small + flash(store), 120 * a.scale, log=a.log) as m:
        m.serial(r'Shell> ')
        shell(m, f'setvar Ours -guid {GUID} -nv -bs =0x11223344', r'\n.*Shell> ')
        m.process.kill()
    with Machine(QEMU, small + flash(store), 180 * a.scale, log=a.log) as m:
        m.serial(r'Shell> ')
        shell(m, f'dmpstore -guid {GUID} Ours', r'44 33 22 11')
        m.serial(r'Shell> ')
        shell(m, f'setvar Theirs -guid {GUID} -nv -bs =0xa1b2c3d4', r'\n.*Shell> ')
    before = open(store, 'rb').read()
    with Machine(a.vmm, ['-snapshot', '-machine', 'pc,pflash0=code,pflash1=store', '-drive', f'if=none,id=code,format=raw,readonly=on,file={CODE}',
                         '-drive', f'if=none,id=store,format=raw,file={store}'] + small, 120 * a.scale, log=a.log) as m:
        m.serial(r'Shell> ')
        shell(m, f'dmpstore -guid {GUID}', r'44 33 22 11.*D4 C3 B2 A1|D4 C3 B2 A1.*44 33 22 11')
        m.serial(r'Shell> ')
        shell(m, f'setvar Ours -guid {GUID} -nv -bs =0x55', r'\n.*Shell> ')
        m.command('system_reset')
        m.serial(r'Shell> ')
        shell(m, f'dmpstore -guid {GUID} Ours', r'00000000: 55')
        shell(m, 'reset -s', r'.')
        if m.end() != 0:
            m.fail(f'it ended with status {m.process.returncode}')
    if open(store, 'rb').read() != before:
        raise Failure('-snapshot let the variables be written')
    return 'set and killed, read in QEMU, set there, read here; a reset and a snapshot'


def settled(m, picture):
    """Size and bright pixels of the screen, when they stay the same: it gets the text at another time than the serial line."""
    last, now = None, (b'', 0)
    while now != last or not now[1]:
        if time.time() > m.deadline:
            m.fail(f'the screen does not come to rest: {last}, {now}')
        time.sleep(1)
        m.command(f'screendump {picture}')
        _, size, _, pixels = open(picture, 'rb').read().split(b'\n', 3)
        last, now = now, (size, sum(pixels[i] > 128 for i in range(0, len(pixels), 3)))
    return now


def rom_test(a):
    """-bios OVMF.fd: the shell, on the screen too, in the mode that the firmware chose, as QEMU shows it."""
    need(ROM, 'ovmf')
    sizes = []
    for vmm in (a.vmm, QEMU):
        picture = os.path.join(a.dir, 'screen.ppm')
        with Machine(vmm, ['-bios', 'OVMF.fd', '-m', '256', '-nic', 'none', '-vga', 'std'], 180 * a.scale, log=a.log) as m:
            m.serial(r'Shell> ')
            sizes.append(settled(m, picture))
    if sizes[0][0] != sizes[1][0] or not 0.9 < sizes[0][1] / sizes[1][1] < 1.1:
        raise Failure(f'the screen: size and bright pixels {sizes[0]}, in QEMU {sizes[1]}')
    return f'shell, a screen of {sizes[0][0].decode()} with {sizes[0][1]} bright pixels (QEMU: {sizes[1][1]})'


def kernel_test(a):
    """-kernel, -initrd and -append with UEFI from a ROM and from flash: the kernel is started as a program of UEFI."""
    said = []
    kernel, initrd = need('/boot/vmlinuz-*cloud*', 'linux-image-cloud-amd64'), os.path.join(a.dir, 'initrd')
    initramfs(initrd, 'ls -d /sys/firmware/efi; cat /proc/cmdline; echo THERE')
    for firmware in (['-bios', 'OVMF.fd'], flash(fresh(a))):
        with Machine(a.vmm, [*firmware, '-m', '256', '-nic', 'none', '-vga', 'none', '-no-reboot', '-kernel', kernel, '-initrd', initrd, '-append',
                             'console=ttyS0 quiet panic=-1 word=here'], 240 * a.scale, log=a.log) as m:
            m.serial(r'/sys/firmware/efi\r?\n.*word=here.*THERE')
            said.append(m.seconds())
            if m.end() != 0:
                m.fail(f'it ended with status {m.process.returncode}')
    return 'a kernel, its initramfs and command line after ' + ' and '.join(f'{s:.0f} s' for s in said)


def refused_test(a):
    """What cannot work is refused in one line."""
    store = fresh(a)
    odd = os.path.join(a.dir, 'odd')
    open(odd, 'wb').write(bytes(5000))
    large = os.path.join(a.dir, 'large')
    with open(large, 'wb') as f:
        f.truncate(9 << 20)
    cases = [(['-pflash', need(SECURE, 'ovmf')], 'needs system management mode'), (['-bios', SECURE], 'needs system management mode'),
             (['-drive', f'if=pflash,unit=1,file={store}'], 'chip 0'), (flash(store) + ['-bios', ROM], 'give one'),
             (['-pflash', odd], 'no whole blocks'), (['-pflash', large], '8 MiB'), (['-pflash', CODE, '-pflash', store, '-pflash', store], 'unit=1 exists'),
             (['-fw_cfg', 'opt/a,string=x', '-fw_cfg', 'opt/a,string=y'], 'there already'), (['-fw_cfg', 'opt/a'], 'string='),
             (['-fw_cfg', 'opt/a,file=/nowhere'], '/nowhere'), (['-machine', 'pc,pflash0=nix'], 'no drive has this id'), (['-pflash', os.path.join(a.dir, 'not-there')], 'not-there')]
    for options, want in cases:
        r = subprocess.run(a.vmm.split() + ['-display', 'none'] + options, capture_output=True, text=True, timeout=100 * a.scale)
        if r.returncode != 1 or want not in r.stderr or r.stderr.count('\n') != 1:
            raise Failure(f'{options}: status {r.returncode}, {r.stderr!r}')
    return f'{len(cases)} refused'


def programs(*names):
    for name in names:
        if not shutil.which(name, path=os.environ.get('PATH', '') + ':/usr/sbin:/sbin'):
            raise Skip(f'{name} is missing; tools/setup test installs it')


def efi_partition(a, name, word):
    """A FAT file system whose GRUB says a word and powers off."""
    config, program, path = (os.path.join(a.dir, name + x) for x in ('.cfg', '.efi', '.fat'))
    with open(config, 'w') as f:
        f.write(f'echo {word}\nhalt\n')
    run = lambda *c: subprocess.run(c, check=True, capture_output=True, env={**os.environ, 'PATH': os.environ['PATH'] + ':/usr/sbin:/sbin'})
    run('grub-mkimage', '-O', 'x86_64-efi', '-c', config, '-p', '/', '-o', program, 'normal', 'echo', 'halt')
    run('mkfs.fat', '-C', path, '1440')
    run('mmd', '-i', path, '::/EFI', '::/EFI/BOOT')
    run('mcopy', '-i', path, program, '::/EFI/BOOT/BOOTX64.EFI')
    return path


def efi_disk(a, name, word):
    """The same as the EFI system partition of a GPT disk."""
    path, start = os.path.join(a.dir, name), 2048
    data = open(efi_partition(a, name, word), 'rb').read()
    with open(path, 'wb') as f:
        f.truncate(4 << 20)
    subprocess.run(['sfdisk', '-q', path], input=f'label: gpt\nstart={start}, size={len(data) // 512}, type=uefi\n', text=True, check=True, capture_output=True,
                   env={**os.environ, 'PATH': os.environ['PATH'] + ':/usr/sbin:/sbin'})
    with open(path, 'r+b') as f:
        f.seek(start * 512)
        f.write(data)
    return path


def efi_cd(a, name, word):
    folder = os.path.join(a.dir, name + '.d')
    os.mkdir(folder)
    shutil.move(efi_partition(a, name, word), os.path.join(folder, 'efi'))
    path = os.path.join(a.dir, name)
    subprocess.run(['xorriso', '-as', 'mkisofs', '-quiet', '-o', path, '-e', 'efi', '-no-emul-boot', folder], check=True, capture_output=True)
    return path


def order_test(a):
    """Disks with a GPT at virtio, SCSI, Serial ATA, IDE, and a CD: each in turn is what bootindex= names; then by -boot d, and -cdrom alone."""
    programs('grub-mkimage', 'mkfs.fat', 'mcopy', 'sfdisk', 'xorriso')
    need('/usr/lib/grub/x86_64-efi/moddep.lst', 'grub-efi-amd64-bin')
    need(CODE, 'ovmf')
    devices = {'virtio': 'virtio-blk-pci', 'scsi': 'scsi-hd', 'sata': 'ide-hd,bus=s.2', 'ide': 'ide-hd,bus=ide.0', 'cd': 'ide-cd,bus=ide.1'}
    images = {name: (efi_cd if name == 'cd' else efi_disk)(a, name, f'STARTED-FROM-{name}.') for name in devices}
    base = ['-m', '256', '-nic', 'none', '-vga', 'none', '-device', 'ahci,id=s', '-device', 'virtio-scsi-pci']
    for name, path in images.items():
        base += ['-drive', f'file={path},if=none,format=raw,readonly=on,id={name}']
    for first in [*devices, '-boot d']:
        options = []
        for name, device in devices.items():
            index = '' if first == '-boot d' else ',bootindex=' + ('0' if name == first else str(list(devices).index(name) + 1))
            options += ['-device', f'{device},drive={name}{index}']
        with Machine(a.vmm, base + options + (['-boot', 'd'] if first == '-boot d' else []) + flash(fresh(a)), 120 * a.scale, log=a.log) as m:
            got = m.serial(r'STARTED-FROM-(\w+)\.').group(1)
            if got != ('cd' if first == '-boot d' else first):
                m.fail(f'{first} should be first, {got} was')
            if m.end():
                m.fail('the status is not 0')
    with Machine(a.vmm, ['-m', '256', '-vga', 'none', '-cdrom', images['cd']] + flash(fresh(a)), 120 * a.scale, log=a.log) as m:
        m.serial('STARTED-FROM-cd')
    return f'{", ".join(devices)} first in turn, -boot d, -cdrom'


def debian_test(a):
    """Debian on a GPT disk, by \\EFI\\BOOT\\BOOTX64.EFI: login, efivarfs, windows above 4 GiB, power-off."""
    programs('grub-mkimage', 'mkfs.fat', 'mcopy', 'sfdisk')
    need('/usr/lib/grub/x86_64-efi/moddep.lst', 'grub-efi-amd64-bin')
    disk = os.path.join(a.dir, 'disk.qcow2')
    subprocess.run([os.path.join(SOURCE, 'tools/mk-uefi-disk'), debian_disk(a.guests), disk], check=True, capture_output=True)
    store = fresh(a)
    with Machine(a.vmm, ['-m', '512', '-nic', 'none', '-drive', f'file={disk},if=virtio', '-fw_cfg', 'opt/org.test/word,string=to be read'] + flash(store), 400 * a.scale, log=a.log) as m:
        login(m, BAD)
        seconds = m.seconds()
        if 'to be read' not in shell_of_guest(m, 'modprobe qemu_fw_cfg; cat /sys/firmware/qemu_fw_cfg/by_name/opt/org.test/word/raw'):
            m.fail('-fw_cfg')
        if 'Boot0000' not in shell_of_guest(m, 'ls /sys/firmware/efi/efivars'):
            m.fail('there are no EFI variables')
        bars = shell_of_guest(m, 'dmesg | grep -c "can.t claim\\|no compatible bridge"; grep -c "PCI Bus" /proc/iomem')
        if bars.split()[-2:] != ['0', '3']:
            m.fail(f'PCI: {bars}')
        power_off(m)
    subprocess.run(['qemu-img', 'check', '-q', disk], check=True)
    return f'login after {seconds:.0f} s, power-off, image clean'


def network_test(a):
    """The option ROMs' UEFI half: a program by TFTP, with two cards; -boot n alone chooses it."""
    programs('grub-mkimage')
    need('/usr/lib/grub/x86_64-efi/moddep.lst', 'grub-efi-amd64-bin')
    need('/usr/lib/ipxe/qemu/efi-e1000.rom', 'ipxe-qemu')
    config = os.path.join(a.dir, 'grub.cfg')
    with open(config, 'w') as f:
        f.write('echo STARTED-BY-NETWORK.\nhalt\n')
    subprocess.run(['grub-mkimage', '-O', 'x86_64-efi', '-c', config, '-p', '/', '-o', os.path.join(a.dir, 'boot.efi'), 'normal', 'echo', 'halt'], check=True)
    for card in ('e1000', 'virtio-net-pci'):
        with Machine(a.vmm, ['-m', '256', '-vga', 'none', '-nic', f'user,model={card},tftp={a.dir},bootfile=boot.efi', '-boot', 'n'] + flash(fresh(a)), 120 * a.scale,
                     log=a.log) as m:
            m.serial(r'STARTED-BY-NETWORK\.')
            if m.end():
                m.fail('the status is not 0')
    return 'e1000, virtio-net-pci'


TESTS = {'network': network_test, 'order': order_test, 'debian': debian_test, 'variables': variables_test, 'rom': rom_test, 'kernel': kernel_test, 'refused': refused_test}


if __name__ == '__main__':
    frame.main(__doc__, TESTS)
