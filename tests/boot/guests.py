#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0-or-later
"""guests.py --vmm CMD --guests DIR --bin DIR NAME...   boots the named guests (see TESTS) and judges them.

Guests that take long to make stay in --guests. What this machine lacks is skipped out loud (exit status 77, as Meson
wants it)."""
import gzip
import hashlib
import os
import re
import shutil
import subprocess
import sys
import tempfile
import time

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
import frame                                   # noqa: E402
from boot import Failure, Machine              # noqa: E402
from cpio import Skip, initramfs, need         # noqa: E402
from made import BUSYBOX_I386, OTHER_KERNELS, XEN, debian_disk, fetched, kernel_image, live_iso     # noqa: E402

PANIC = r'Kernel panic|Oops:|BUG:|end trace|general protection|Unable to handle'


def scaled(a, seconds):
    return seconds * a.scale


# ---- an initramfs with busybox ----

def vmlinux(image, path):
    """The ELF file that a bzImage holds packed (Linux Documentation/arch/x86/boot: payload_offset), unpacked to path."""
    data = open(image, 'rb').read()
    start = (data[0x1f1] + 1) * 512 + int.from_bytes(data[0x248:0x24c], 'little')
    packed = data[start:start + int.from_bytes(data[0x24c:0x250], 'little') - 4]         # the last word is the unpacked size
    for magic, tool in ((b'\x02\x21\x4c\x18', 'lz4'), (b'\xfd7zXZ', 'xz'), (b'\x28\xb5\x2f\xfd', 'zstd'), (b'\x1f\x8b', 'gzip')):
        if packed.startswith(magic):
            need(f'/usr/bin/{tool}', tool)
            with open(path, 'wb') as f:
                subprocess.run([tool, '-dc'], input=packed, stdout=f, stderr=subprocess.DEVNULL)      # gzip and xz miss their ends
            return path
    raise Failure(f'{image}: unknown packing {packed[:6].hex()}')


def pvh_test(a):
    """The ELF file in Debian's kernel by its PVH note, with an initramfs; and the same cut short."""
    elf = vmlinux(need('/boot/vmlinuz-*cloud*', 'linux-image-cloud-amd64'), os.path.join(a.bin, 'vmlinux'))
    initrd = initramfs(os.path.join(a.guests, 'pvh.cpio'), 'cat /proc/cmdline\necho hash $(seq 1 20000 | md5sum)\necho OSPITE-DONE')
    with Machine(a.vmm, ['-m', '256', '-kernel', elf, '-initrd', initrd, '-append', 'console=ttyS0 panic=-1 word=3', '-no-reboot'], scaled(a, 120),
                 log=a.log) as m:
        m.serial('word=3', PANIC)
        m.serial('hash e071f707df7bbeee2a6a1eb48011ddd0', PANIC)
        m.serial('OSPITE-DONE')
        if m.end() != 0:
            m.fail(f'the guest powered off, but the status is {m.process.returncode}')
    os.truncate(elf, 1 << 20)
    r = subprocess.run(a.vmm.split() + ['-display', 'none', '-kernel', elf], capture_output=True, text=True, timeout=scaled(a, 100))
    os.unlink(elf)
    if r.returncode != 1 or len(r.stderr.splitlines()) != 1:
        raise Failure(f'a truncated ELF file: status {r.returncode}, {r.stderr!r}')
    return 'command line, checksum, power-off; a truncated one is refused'


def initramfs_test(a):
    """Direct boot of Debian's cloud kernel with a busybox initramfs that computes, forks and powers off."""
    kernel = need('/boot/vmlinuz-*cloud*', 'linux-image-cloud-amd64')
    script = ('uname -a\ncat /proc/meminfo | head -1\n'
              'echo hash $(seq 1 20000 | md5sum)\n'
              'i=0; while [ $i -lt 100 ]; do i=$((i+1)); true | cat; done; echo loops $i\n'
              'seq 1 100000 | gzip | gunzip | sha256sum\n'
              'dmesg | grep -vi "command line" | grep -Ei "panic|oops|bug:|lockup|stall|unknown nmi" || echo CLEAN\necho OSPITE-DONE')
    initrd = initramfs(os.path.join(a.guests, 'initramfs.cpio'), script)
    with Machine(a.vmm, ['-m', '256', '-kernel', kernel, '-initrd', initrd, '-append', 'console=ttyS0 panic=-1',
                         '-no-reboot'], scaled(a, 120), log=a.log) as m:
        m.serial('hash [0-9a-f]{32}', PANIC)
        want = subprocess.run('seq 1 20000 | md5sum', shell=True, capture_output=True, text=True).stdout.split()[0]
        if want not in m.text:
            m.fail(f'md5sum in the guest is not {want}')
        m.serial('loops 100', PANIC)
        want = subprocess.run('seq 1 100000 | sha256sum', shell=True, capture_output=True, text=True).stdout.split()[0]
        m.serial(want, PANIC)
        m.serial('CLEAN', PANIC)
        m.serial('OSPITE-DONE')
        status = m.end()
        if status != 0:
            m.fail(f'the guest powered off, but the status is {status}')
        return 'two checksums, 100 pipes, clean dmesg, power-off with status 0'


def implies_avx512(vendor, family, model):
    """As GCC's __builtin_cpu_is goes by families and models: its types from skylake-avx512 and znver4 on."""
    if vendor == 'AuthenticAMD':
        return family > 25 or family == 25 and (16 <= model < 32 or model >= 96)
    return family == 6 and model in (0x55, 0x66, 0x6a, 0x6c, 0x7d, 0x7e, 0x8c, 0x8d, 0x8f, 0x9d, 0xa7, 0xad, 0xae, 0xcf)


def cpu_test(models):
    def test(a):
        kernel = need('/boot/vmlinuz-*cloud*', 'linux-image-cloud-amd64')
        # Defences that do nothing here and cost much are to stay off. EPYC and EPYC-Rome cannot say that return thunks are none of their business.
        script = ('grep -m 1 "model name" /proc/cpuinfo\necho signature $(grep -m 1 "^vendor_id" /proc/cpuinfo | cut -d: -f2) $(grep -m 1 "^cpu family" /proc/cpuinfo | cut -d: -f2) '
                  '$(grep -m 1 "^model[^ ]" /proc/cpuinfo | cut -d: -f2) $(grep -cw avx512f /proc/cpuinfo)\necho hash $(seq 1 20000 | md5sum)\ndmesg -r | grep "^<[0-3]>" || echo CLEAN\n'
                  'cd /sys/devices/system/cpu/vulnerabilities; grep -iE "PTI|retpoline|buffers|loop|safe ret" * || echo CALM')
        initrd = initramfs(os.path.join(a.guests, 'cpu.cpio'), script)
        chosen = models
        if not chosen:
            text = subprocess.run(a.vmm.split() + ['-cpu', 'help'], capture_output=True, text=True).stdout
            chosen = [m for m in re.findall(r'^x86 (\S+)', text, re.M) if not re.fullmatch('base|486|pentium.*|.*32|athlon|coreduo|n270', m)]
        for model in chosen:
            with Machine(a.vmm, ['-m', '256', '-cpu', model, '-kernel', kernel, '-initrd', initrd, '-append', 'console=ttyS0 panic=-1',
                                 '-no-reboot'], scaled(a, 120), log=a.log) as m:
                try:
                    vendor, *numbers, avx512 = m.serial(r'signature (\w+) (\d+) (\d+) (\d+)\r', PANIC).groups()
                    if model.startswith(('max', 'host')) and avx512 == '0' and implies_avx512(vendor, *map(int, numbers)):
                        raise Failure(f'{vendor} {numbers} has AVX-512, as programs know')
                    m.serial('hash e071f707df7bbeee2a6a1eb48011ddd0', PANIC)
                    m.serial('CLEAN', PANIC)
                    m.serial('meltdown:Mitigation: PTI' if model.endswith('arch-capabilities=off') else 'CALM', PANIC)
                except Failure as why:
                    raise Failure(f'-cpu {model}: {why}') from None
        return f'{len(chosen)} CPU models: checksum, no errors in dmesg, no defences against side channels'
    test.__doc__ = 'Linux with fewer instructions than the host has: ' + (', '.join(models) or 'every 64-bit model of -cpu help')
    return test


# ---- other kernels of Debian ----

def kernel(name):
    """A kernel of OTHER_KERNELS, or the one for all machines."""
    arch, package = OTHER_KERNELS.get(name, ('amd64', 'linux-image-amd64'))[:2]

    def test(a):
        image = fetched(a.guests, *OTHER_KERNELS[name]) if name in OTHER_KERNELS else kernel_image(a.guests)
        busybox = fetched(a.guests, *BUSYBOX_I386) if arch == 'i386' else None
        script = 'uname -rm\necho hash $(seq 1 20000 | md5sum)\ndmesg -r | grep "^<[0-3]>" || echo CLEAN\necho OSPITE-DONE'
        initrd = initramfs(os.path.join(a.guests, f'{package}.cpio'.replace('*', '')), script, busybox=busybox)
        with Machine(a.vmm, ['-m', '256', '-kernel', image, '-initrd', initrd, '-append', 'console=ttyS0 panic=-1',
                             '-no-reboot'], scaled(a, 120), log=a.log) as m:
            release = m.serial(r'\n(\d+\.\S+ (?:x86_64|i686))\r', PANIC).group(1)
            m.serial('hash e071f707df7bbeee2a6a1eb48011ddd0', PANIC)
            m.serial('CLEAN', PANIC)
            m.serial('OSPITE-DONE')
            if m.end() != 0:
                m.fail(f'the guest powered off, but the status is {m.process.returncode}')
        return f'{release}: checksum, no errors in dmesg, power-off'
    test.__doc__ = f'Direct boot of the kernel in {package} ({arch}) with busybox.'
    return test


def xen_test(a):
    """Xen as a multiboot kernel, with a Debian kernel and an initramfs as modules: dom0 computes and powers off."""
    packed, image = fetched(a.guests, *XEN), kernel_image(a.guests)
    xen = os.path.join(a.guests, 'xen')
    with gzip.open(packed) as source, open(xen, 'wb') as to:
        shutil.copyfileobj(source, to)
    initrd = initramfs(os.path.join(a.guests, 'xen.cpio'), 'echo hash $(seq 1 20000 | md5sum)\nuname -a\necho OSPITE-DONE')
    with Machine(a.vmm, ['-m', '1G', '-kernel', xen, '-append', 'console=com1 com1=115200 dom0_mem=512M noreboot',
                         '-initrd', f'{image} console=hvc0 earlyprintk=xen,{initrd}', '-no-reboot'], scaled(a, 120),
                 log=a.log) as m:
        m.serial(r'\(XEN\) Xen version 4\.17', PANIC)
        m.serial('hash e071f707df7bbeee2a6a1eb48011ddd0', PANIC)
        m.serial('OSPITE-DONE', PANIC)
        m.serial(r'\(XEN\) Entering ACPI S5 state')
        if m.end() != 0:
            m.fail(f'Xen powered off, but the status is {m.process.returncode}')
    return 'banner, dom0 with two modules, checksum, power-off through ACPI'


# ---- the Debian disk ----

def image_check(disk):
    r = subprocess.run(['qemu-img', 'check', disk], capture_output=True, text=True)
    if r.returncode != 0:
        raise Failure(f'qemu-img check {disk}: status {r.returncode}\n{r.stdout}{r.stderr}')


def files_check(a, disk, wanted):
    """The disk's file system and what files (path: bytes) hold, by e2fsprogs: what the guest has written is there for others."""
    raw, sbin = os.path.join(a.dir, 'raw'), os.environ['PATH'] + ':/usr/sbin:/sbin'
    image_check(disk)
    subprocess.run(['qemu-img', 'convert', '-O', 'raw', disk, raw], check=True)
    fs = f'{raw}?offset={1 << 20}'                         # where tools/mkdisk.py puts it
    for tool in ('e2fsck', 'debugfs'):
        if not shutil.which(tool, path=sbin):
            raise Skip(f'{tool} is missing; install e2fsprogs')
    r = subprocess.run([shutil.which('e2fsck', path=sbin), '-fn', fs], capture_output=True, text=True)
    if r.returncode:
        raise Failure(f'e2fsck: status {r.returncode}\n{r.stdout}{r.stderr}')
    for path, content in wanted.items():
        got = subprocess.run([shutil.which('debugfs', path=sbin), '-R', f'cat {path}', fs], capture_output=True).stdout
        if got != content:
            raise Failure(f'{path} on the disk is not what was written: {len(got)} bytes of {len(content)}')
    os.unlink(raw)


def numbers(first, last):
    """What seq prints."""
    return ''.join(f'{n}\n' for n in range(first, last + 1)).encode()


def login(m, bad=PANIC):
    """As root; from then on bad must not be seen."""
    m.bad = bad
    m.serial('ospite login: ', again='\n')
    m.send('root\n')
    m.serial('Password: ')
    m.send('ospite\n')
    m.serial('root@ospite:~# ', again='\n')
    m.send('dmesg -n 4; stty columns 300\n')    # the shell's wrapping would cut what is looked for, and so would all that the kernel says but errors
    m.serial('root@ospite:~# ', again='\n')


def shell(m, command):
    """Runs a command in the guest; its output. Echo splits the mark, so that the command's own echo does not match."""
    m.send(command + '; echo END""MARK\n')
    m.serial('MARK')
    return m.serial(r'(.*?)END' + 'MARK').group(1)


def debian_test(a):
    """SeaBIOS, GRUB, Debian on a qcow2 disk: login, apt, dmesg, a file written, poweroff; then image and file are checked, and another monitor boots it."""
    base = debian_disk(a.guests)
    disk = os.path.join(a.guests, f'debian-test-{os.getpid()}.qcow2')
    shutil.copyfile(base, disk)
    try:
        with Machine(a.vmm, ['-m', '512', '-hda', disk, '-no-reboot'], scaled(a, 400), log=a.log) as m:
            login(m)
            at_login = m.seconds()
            if 'apt 2.' not in shell(m, 'apt --version'):
                m.fail('apt --version does not tell a version')
            kernel_errors(m)
            shell(m, 'seq 1 300000 > /root/numbers; sync; sha256sum /root/numbers > /root/sum; sync')
            power_off(m)
        files_check(a, disk, {'/root/numbers': numbers(1, 300000)})
        if a.second == 'none':
            return f'login after {at_login:.0f} s, apt, no errors in dmesg, poweroff; image, file system and file are right'
        with Machine(a.second, ['-m', '512', '-drive', f'file={disk},format=qcow2', '-no-reboot'], scaled(a, 400), log=a.log) as m:
            login(m)
            if '/root/numbers: OK' not in shell(m, 'sha256sum -c /root/sum'):
                m.fail('what was written before is not there')
            m.send('poweroff\n')
            m.end()
        image_check(disk)
        return f'login after {at_login:.0f} s, apt, no errors in dmesg, poweroff, image clean, {os.path.basename(a.second)} boots it'
    finally:
        os.unlink(disk)


def debian_i386_test(a):
    """The same in 32 bits (kernel 686, no PAE), without writing to the disk: -snapshot."""
    with Machine(a.vmm, ['-m', '512', '-snapshot', '-hda', debian_disk(a.guests, 'i386'), '-no-reboot'], scaled(a, 400), log=a.log) as m:
        login(m)
        at_login = m.seconds()
        if 'i686' not in shell(m, 'uname -m'):
            m.fail('this is no 32-bit kernel')
        if 'apt 2.' not in shell(m, 'apt --version'):
            m.fail('apt --version does not tell a version')
        power_off(m)
    return f'login after {at_login:.0f} s, apt, poweroff'


def powerdown_test(a):
    """The monitor's power button ends Debian, as the guest's logind or a listener of its own wishes."""
    with Machine(a.vmm, ['-m', '512', '-snapshot', '-hda', debian_disk(a.guests), '-no-reboot'], scaled(a, 400), log=a.log) as m:
        login(m)
        return f'off {power_button(m):.0f} s after system_powerdown'


# ---- Debian from CDs ----

def kernel_errors(m):
    text = shell(m, "dmesg -l emerg,alert,crit,err | grep -Eiv 'firmware|microcode|RDSEED32'")
    errors = re.findall(r'\[\s*\d+\.\d+\].*', text)
    if errors:
        m.fail('the kernel reports errors: ' + '; '.join(errors))


def power_button(m):
    """The monitor's; how many seconds it takes."""
    shell(m, 'modprobe button; modprobe evdev; sleep 1')
    event = re.search(r'event\d+', shell(m, 'grep -A4 "Power Button" /proc/bus/input/devices'))
    if not event:
        m.fail('the guest has no power button')
    # Disks made before dbus was on them have no logind that listens.
    shell(m, f'(head -c 24 /dev/input/{event.group()} > /dev/null; poweroff) > /dev/null 2>&1 & sleep 1')
    pressed = m.seconds()
    m.command('system_powerdown')
    status = m.end()
    if status != 0:
        m.fail(f'the power button ended it with status {status}')
    return m.seconds() - pressed


def power_off(m):
    m.send('poweroff\n')
    status = m.end()
    if status != 0:
        m.fail(f'poweroff ended with status {status}')


def live_cd_test(a):
    """El Torito, ISOLINUX, live-boot with a squashfs root from an ATAPI drive; the guest reads its whole CD."""
    iso = live_iso(a.guests, 'live')
    with open(iso, 'rb') as f:
        want = hashlib.file_digest(f, 'sha256').hexdigest()
    with Machine(a.vmm, ['-m', '512', '-cdrom', iso, '-boot', 'd', '-no-reboot'], scaled(a, 300), log=a.log) as m:
        login(m)
        at_login = m.seconds()
        if not re.search(r'overlay\s+overlay', shell(m, 'findmnt -no SOURCE,FSTYPE /')):
            m.fail('the root is no overlay')
        kernel_errors(m)
        if want not in shell(m, 'sha256sum /dev/sr0'):
            m.fail(f'the CD as the guest reads it has not the checksum {want}')
        power_off(m)
    return f'login after {at_login:.0f} s, {os.path.getsize(iso) >> 20} MiB read right, no errors in dmesg, poweroff'


def install_cd_test(a):
    """The same CD installs itself onto an empty disk: sfdisk, mkfs.ext4, cp, dpkg, grub-install. Then the disk boots alone."""
    iso = live_iso(a.guests, 'install')
    disk = os.path.join(a.guests, f'installed-test-{os.getpid()}.qcow2')
    subprocess.run(['qemu-img', 'create', '-q', '-f', 'qcow2', disk, '3G'], check=True)
    try:
        with Machine(a.vmm, ['-m', '512', '-hda', disk, '-cdrom', iso, '-boot', 'd', '-no-reboot'], scaled(a, 900), log=a.log) as m:
            m.serial('OSPITE-INSTALL-OK', PANIC + '|OSPITE-INSTALL-FAILED')
            if m.end() != 0:
                m.fail(f'the installation ended with status {m.process.returncode}')
            installed = m.seconds()
        image_check(disk)
        with Machine(a.vmm, ['-m', '512', '-hda', disk, '-no-reboot'], scaled(a, 400), log=a.log) as m:
            login(m)
            at_login = m.seconds()
            if not re.search(r'/dev/sda1\s+ext4', shell(m, 'findmnt -no SOURCE,FSTYPE /')):
                m.fail('the root is not the partition that was made')
            kernel_errors(m)
            if 'status=0' not in shell(m, "dpkg --audit; echo status'='$?"):
                m.fail('dpkg --audit complains')
            shell(m, "find /usr -xdev -type f -print0 | xargs -0 sha256sum > /root/sums; sync")
            power_off(m)
        image_check(disk)
        with Machine(a.second, ['-m', '512', '-drive', f'file={disk},format=qcow2', '-no-reboot'], scaled(a, 400), log=a.log) as m:
            login(m)
            if 'status=0' not in shell(m, "sha256sum --quiet -c /root/sums; echo status'='$?"):
                m.fail('files differ from what was read before')
            power_off(m)
        image_check(disk)
        return (f'installed after {installed:.0f} s, login after {at_login:.0f} s, no errors in dmesg, poweroff, image clean, '
                f'{os.path.basename(a.second)} boots it and finds the same files')
    finally:
        os.unlink(disk)


# ---- boot sectors ----

def sector(name, status, mark):
    def test(a):
        image = os.path.join(a.bin, name + '.bin')
        with Machine(a.vmm, ['-device', 'isa-debug-exit', '-drive', f'file={image},format=raw,readonly=off', '-no-reboot'],
                     scaled(a, 100), log=a.log) as m:
            m.serial(mark)
            got = m.end()
            if got != status:
                m.fail(f'status {got}, not {status}' + (f': check {(got >> 1) - 0x20} failed' if got & 1 and got >> 6 else ''))
        return f'status {status}'
    test.__doc__ = f'The boot sector sector/{name}.S.'
    return test


def triple_test(a):
    """A triple fault resets the machine; with -no-reboot it ends it with status 0."""
    image = os.path.join(a.bin, 'triple.bin')
    drive = ['-drive', f'file={image},format=raw']
    with Machine(a.vmm, drive, scaled(a, 120), log=a.log) as m:
        for _ in range(3):
            m.serial('TRIPLE')
        m.command('quit')
        if m.end() != 0:
            m.fail('quit did not end with status 0')
    with Machine(a.vmm, drive + ['-no-reboot'], scaled(a, 100), log=a.log) as m:
        m.serial('TRIPLE')
        if m.end() != 0:
            m.fail('-no-reboot did not end with status 0')
        if m.text.count('TRIPLE') != 1:
            m.fail('-no-reboot started it again')
    return 'three resets, quit; one with -no-reboot'


def screen_test(a):
    """Firmware and boot sector on the text screen; the monitor's everyday commands on a running machine."""
    image = os.path.join(a.bin, 'real16.bin')
    with Machine(a.vmm, ['-drive', f'file={image},format=raw', '-name', 'screentest'], scaled(a, 120), log=a.log) as m:
        m.screen('SeaBIOS.*REAL16-OK')
        expect = {'info status': 'running', 'info name': 'screentest', 'info registers': r'CR0=\w+', 'info block': 'real16',
                  'info pci': '8086:7000', 'info mtree': '0000000000000000-', 'xp /2xw 0x7c00': '0000000000007c00: 0x',
                  'print 2+3*4': '(14|0xe)', 'info pic': 'pic0|irr', 'stop': '', 'x /1i $eip': ' hlt|jmp'}
        for command, pattern in expect.items():
            answer = m.command(command)
            if not re.search(pattern, answer):
                m.fail(f'{command}: {answer!r} does not match {pattern!r}')
        if not re.search('paused', m.command('info status')):
            m.fail('stop does not stop')
        m.command('cont')
        m.command('system_reset')
        m.seen = len(m.text)
        m.serial('REAL16-OK')
        m.command('quit')
        if m.end() != 0:
            m.fail('quit did not end with status 0')
    return f'screen, {len(expect)} commands, reset, quit'


# ---- CDs and others ----

def grub_at(a, arguments, device):
    """GRUB at its prompt; keys are typed."""
    with Machine(a.vmm, arguments, scaled(a, 180), serial=False, log=a.log) as m:
        if m.screen(r'grub>|Use the').group(0) != 'grub>':       # Debian 12's images show a menu first
            m.command('sendkey c')
            m.screen('grub>')
        for key in ('l', 's', 'ret'):
            m.command(f'sendkey {key}')
            time.sleep(0.2)
        m.screen(re.escape(device))
    return f'prompt, ls typed by sendkey lists {device}'


def grub_rescue_test(a):
    """GRUB's rescue CD through El Torito."""
    iso = need('/usr/lib/grub-rescue/grub-rescue-cdrom.iso', 'grub-rescue-pc')
    return grub_at(a, ['-cdrom', iso, '-boot', 'd'], '(cd')


def memdisk_test(a):
    """MEMDISK, started through its setup code, hooks INT 13h and boots GRUB's rescue floppy from memory."""
    kernel = need('/usr/lib/syslinux/memdisk', 'syslinux-common')
    floppy = need('/usr/lib/grub-rescue/grub-rescue-floppy.img', 'grub-rescue-pc')
    return grub_at(a, ['-m', '64', '-kernel', kernel, '-initrd', floppy, '-append', 'floppy'], '(fd0)')


def setup_code_test(a):
    """With a firmware of the user's choice a kernel is started by it, through its setup code."""
    kernel = need('/boot/vmlinuz-*cloud*', 'linux-image-cloud-amd64')
    bios = need('/usr/share/seabios/bios-256k.bin', 'seabios')
    trace = os.path.join(a.bin, 'setup-code.debug')
    initrd = initramfs(os.path.join(a.guests, 'setup-code.cpio'), 'cat /proc/cmdline\necho hash $(seq 1 20000 | md5sum)\n'
                       'dmesg -r | grep "^<[0-3]>" || echo CLEAN\necho OSPITE-DONE')
    with Machine(a.vmm, ['-m', '256', '-bios', bios, '-kernel', kernel, '-initrd', initrd, '-append', 'console=ttyS0 panic=-1 mark=1234',
                         '-no-reboot', '-debugcon', f'file:{trace}'], scaled(a, 120), log=a.log) as m:
        m.serial('\nconsole=ttyS0 panic=-1 mark=1234\r', PANIC)
        m.serial('hash e071f707df7bbeee2a6a1eb48011ddd0', PANIC)
        m.serial('CLEAN', PANIC)
        m.serial('OSPITE-DONE')
        if m.end() != 0:
            m.fail(f'the guest powered off, but the status is {m.process.returncode}')
        if attempts(open(trace).read()) != ['ROM']:
            m.fail(f'the firmware tried {attempts(open(trace).read())}')
    return 'command line, initrd, checksum, no errors in dmesg, power-off'


def memtest(package_file, arguments):
    def test(a):
        image = need(package_file, 'memtest86+')
        with Machine(a.vmm, ['-m', '32'] + [x.replace('FILE', image) for x in arguments], scaled(a, 120), serial=False,
                     log=a.log) as m:
            m.screen(r'Memtest86\+')
            m.screen(r'Pass\s+\d*[1-9]\d*%|Test\s+\d*[1-9]\d*%')
            text = m.screen_text()
            if not re.search(r'Errors:\s+0\b', text):
                m.fail('errors on the screen:\n' + text)
        return 'banner, progress, Errors: 0'
    test.__doc__ = f'{os.path.basename(package_file)}: a test run on the screen, no errors.'
    return test


def ipxe_test(a):
    """iPXE's CD: ISOLINUX, its banner, and that it finds no network card and lets the firmware go on."""
    iso = need('/usr/lib/ipxe/ipxe.iso', 'ipxe')
    with Machine(a.vmm, ['-cdrom', iso, '-boot', 'd', '-nic', 'none'], scaled(a, 180), serial=False, log=a.log) as m:
        m.screen(r'iPXE initialising devices\.\.\.ok')
        m.screen('Open Source Network Boot Firmware')
        m.screen('No more network devices')
        m.screen('No bootable device')
    return 'banner, back in the firmware'


def ipxe_lkrn_test(a):
    """iPXE in the form of a Linux kernel, in real mode: its banner, its command line, and that it goes back to the firmware."""
    image = need('/boot/ipxe.lkrn', 'ipxe')
    with Machine(a.vmm, ['-kernel', image, '-nic', 'none', '-append', 'echo command line read'], scaled(a, 180),
                 serial=False, log=a.log) as m:
        m.screen(r'iPXE initialising devices\.\.\.ok')
        m.screen(r'Open Source Network Boot Firmware.*\n\s*command line read\n')
        m.screen('No bootable device')
    with open(image, 'rb') as f:
        whole = f.read()
    cut = os.path.join(a.bin, 'cut.lkrn')
    with open(cut, 'wb') as f:
        f.write(whole[:9000])
    r = subprocess.run(a.vmm.split() + ['-display', 'none', '-kernel', cut], capture_output=True, text=True, timeout=scaled(a, 100))
    if r.returncode != 1 or 'truncated bzImage' not in r.stderr:
        raise Failure(f'a truncated image: status {r.returncode}, {r.stderr!r}')
    return 'banner, command line, back in the firmware; a truncated image is refused'


# ---- the firmware's choice ----

def attempts(text):
    return re.findall(r'Booting from ([\w/ ]+?)\.\.\.', text)


def firmware_test(a):
    """SeaBIOS with nothing to start: the order of its attempts follows -boot, once holds until the first reset."""
    empty = os.path.join(a.bin, 'empty.raw')
    with open(empty, 'wb') as f:
        f.truncate(1 << 20)
    trace = os.path.join(a.bin, 'firmware.debug')
    # There is no floppy drive, so its turn is always the last.
    cases = {'': ['Hard Disk', 'DVD/CD', 'Floppy'], 'd': ['DVD/CD', 'Hard Disk', 'Floppy'], 'n': ['Hard Disk', 'DVD/CD', 'Floppy'],
             'order=dc': ['DVD/CD', 'Hard Disk', 'Floppy'], 'once=d,order=c': ['DVD/CD', 'Hard Disk', 'Floppy']}
    for boot, want in cases.items():
        options = ['-nic', 'none'] + (['-boot', boot] if boot else [])
        with Machine(a.vmm, options + ['-drive', f'file={empty},format=raw', '-debugcon', f'file:{trace}'], scaled(a, 120),
                     serial=False, log=a.log) as m:
            m.screen(r'No bootable device\.\s*$')
            got = attempts(open(trace).read())
            if got != want:
                m.fail(f'-boot {boot}: the firmware tried {got}, not {want}')
            if 'once' not in boot:
                continue
            m.command('system_reset')
            while len(got) < 6 and time.time() < m.deadline:
                time.sleep(0.1)
                got = attempts(open(trace).read())
            if got[3:] != ['Hard Disk', 'DVD/CD', 'Floppy']:
                m.fail(f'-boot {boot}: after the reset the firmware tried {got[3:]}')
    with Machine(a.vmm, ['-boot', 'menu=on,splash-time=30000', '-drive', f'file={empty},format=raw'], scaled(a, 120), serial=False, log=a.log) as m:
        m.screen('Press ESC for boot menu')
        m.command('sendkey esc')
        m.screen(r'Select boot device:.*1\..*2\.')
    with Machine(a.vmm, ['-nic', 'none', '-boot', 'reboot-timeout=1000'], scaled(a, 120), serial=False, log=a.log) as m:
        m.screen(r'Retrying in 1 seconds')
    return f'{len(cases)} orders, a reset after once, menu, reboot-timeout'


def option_rom_test(a):
    """The option ROM sector/rom.S is run, and started in its turn; the same in QEMU."""
    with tempfile.TemporaryDirectory(prefix='ospite-rom-') as where:
        rom, disk = os.path.join(where, 'rom.bin'), shutil.copy(os.path.join(a.bin, 'real16.bin'), where)
        kernel = need('/boot/vmlinuz-*cloud*', 'linux-image-cloud-amd64')
        data = bytearray(open(os.path.join(a.bin, 'rom.bin'), 'rb').read())
        data[-1] = -sum(data) & 0xff
        with open(rom, 'wb') as f:
            f.write(data)
        drive = ['-drive', f'file={disk},format=raw,if=none,id=d', '-device', 'isa-debug-exit', '-no-reboot', '-nic', 'none']
        cases = {'before the disk': (['-option-rom', f'{rom},bootindex=1', '-device', 'ide-hd,drive=d,bootindex=2'], 'ROM-START', 0x13),
                 'behind the disk': (['-option-rom', f'romfile={rom},bootindex=2', '-device', 'ide-hd,drive=d,bootindex=1'], 'REAL16-OK', 0x10),
                 'by name': (['-L', where, '-option-rom', 'rom.bin,bootindex=0', '-device', 'ide-hd,drive=d'], 'ROM-START', 0x13)}
        for vmm in (a.vmm, a.second):
            for name, (options, mark, status) in cases.items():
                if vmm == 'none' or (vmm == a.second and name == 'by name'):     # there -L is where its BIOS is, too
                    continue
                with Machine(vmm, drive + options, scaled(a, 120), log=a.log) as m:
                    m.serial(r'ROM-INIT\s+' + mark)
                    if m.end() != status << 1 | 1:
                        m.fail(f'{name}: status {m.process.returncode}')
        with Machine(a.vmm, drive + ['-option-rom', rom, '-kernel', kernel, '-append', 'console=ttyS0 panic=-1'], scaled(a, 120), log=a.log) as m:
            m.serial(r'ROM-INIT[^$]*Linux version')
            if 'fw=genroms/rom.bin size=0x000200' not in m.command('info roms'):
                m.fail('info roms does not know it')
        bad = {disk: 'is no option ROM', where: 'must be a file', '/nowhere': 'cannot open', f'{rom},bootindex=x': 'bootindex', 'bootindex=1': 'the file is missing'}
        twice = [['-option-rom', rom] * 2, ['-option-rom', f'{rom},bootindex=3', '-device', 'ide-hd,drive=d,bootindex=3'],
                 ['-netdev', 'user,id=a', '-netdev', 'user,id=b', '-device', 'e1000,netdev=a,bootindex=3', '-device', 'virtio-net-pci,netdev=b,bootindex=3']]
        for options, why in [(['-option-rom', v], w) for v, w in bad.items()] + list(zip(twice, ('of this name already', 'bootindex=3 is given twice', 'bootindex=3 is given twice'))):
            p = subprocess.run(a.vmm.split() + drive + options + ['-display', 'none'], stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, timeout=scaled(a, 60))
            if p.returncode != 1 or why not in p.stdout.decode():
                raise Failure(f'{options}: status {p.returncode}, {p.stdout.decode()!r}, not {why!r}')
    return f'{len(cases)} orders, a kernel, {len(bad) + len(twice)} errors'


TESTS = {
    'option-rom': option_rom_test,
    'initramfs': initramfs_test, 'pvh': pvh_test, 'debian': debian_test, 'debian-i386': debian_i386_test, 'powerdown': powerdown_test,
    'live-cd': live_cd_test, 'install-cd': install_cd_test,
    'real16': sector('real16', 0x10 << 1 | 1, 'REAL16-OK'), 'prot32': sector('prot32', 0x11 << 1 | 1, 'PROT32-OK'),
    'long64': sector('long64', 0x12 << 1 | 1, 'LONG64-OK'), 'triple': triple_test, 'screen': screen_test,
    'cpu': cpu_test(['qemu64', 'Nehalem', 'host,-bmi1,-lzcnt', 'Haswell,arch-capabilities=off']), 'cpu-all': cpu_test([]),
    'grub-rescue': grub_rescue_test, 'ipxe': ipxe_test, 'ipxe-lkrn': ipxe_lkrn_test,
    'memdisk': memdisk_test, 'setup-code': setup_code_test, 'firmware': firmware_test,
    'memtest': memtest('/boot/memtest86+x64.bin', ['-kernel', 'FILE', '-append', 'nosmp']),
    'memtest-kernel-ia32': memtest('/boot/memtest86+ia32.bin', ['-kernel', 'FILE', '-append', 'nosmp']),
    'memtest-cd': memtest('/usr/lib/memtest86+/memtest86+x64.iso', ['-cdrom', 'FILE', '-boot', 'd']),
    'memtest-ia32': memtest('/usr/lib/memtest86+/memtest86+ia32.iso', ['-cdrom', 'FILE', '-boot', 'd']),
    **{name: kernel(name) for name in ('kernel-amd64', *OTHER_KERNELS)}, 'xen': xen_test,
}


if __name__ == '__main__':
    frame.main(__doc__, TESTS, bin=None, second='qemu-system-x86_64')
