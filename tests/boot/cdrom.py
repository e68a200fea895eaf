#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0-or-later
"""cdrom.py --vmm CMD --guests DIR TEST...   discs that boot and discs that change.

torito    SeaBIOS starts CDs of each kind that El Torito has: without emulation, emulated floppy disks and hard disk, and one with an entry
          for UEFI beside its own
change    Linux and three CD-ROM drives (IDE, Serial ATA, SCSI): locked trays, ejected discs, other discs while the machine runs

What this machine lacks is skipped out loud (exit status 77)."""
import hashlib
import os
import random
import shutil
import subprocess
import sys

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
import frame                                                  # noqa: E402
from boot import Machine                                      # noqa: E402
from cpio import Skip                                         # noqa: E402
from virtio import BAD, Guest                                 # noqa: E402


def printing(word):
    """Code of a boot sector at 7C00h: prints a word and the number of the drive it was started from."""
    code = (b'\xea\x05\x7c\x00\x00\x31\xc0\x8e\xd8\x8e\xd0\xbc\x00\x7c\xfc'             # jmp 0:7C05h; segments, stack
            + b'\xbe\x40\x7c\xac\x84\xc0\x74\x08\xb4\x0e\x31\xdb\xcd\x10\xeb\xf3'        # print the text at 7C40h
            + b'\xf4\xeb\xfd')
    return (code.ljust(0x40, b'\0') + word.encode() + b'\0').ljust(510, b'\0') + b'\x55\xaa'


def iso(a, name, boot, options):
    if not shutil.which('xorriso'):
        raise Skip('xorriso is missing; tools/setup test installs it')
    folder = os.path.join(a.dir, name)
    os.makedirs(folder)
    for file, data in boot.items():
        with open(os.path.join(folder, file), 'wb') as f:
            f.write(data)
    path = folder + '.iso'
    subprocess.run(['xorriso', '-as', 'mkisofs', '-quiet', '-o', path, *options, folder], check=True, capture_output=True)
    return path


def torito(a):
    table = b'\x80\x01\x01\x00\x06\x0f\x20\x3f' + (63).to_bytes(4, 'little') + (1000).to_bytes(4, 'little')
    hard = bytearray(printing('HARD-DISK-OK')[:446] + table + bytes(48) + b'\x55\xaa') + bytes((1 << 20) - 512)
    kinds = [('none', {'boot': printing('NO-EMULATION-OK') + bytes(1536)}, ['-b', 'boot', '-no-emul-boot', '-boot-load-size', '4'], 'NO-EMULATION-OK'),
             ('floppy144', {'boot': printing('FLOPPY-1440-OK') + bytes((1440 << 10) - 512)}, ['-b', 'boot'], 'FLOPPY-1440-OK'),
             ('floppy288', {'boot': printing('FLOPPY-2880-OK') + bytes((2880 << 10) - 512)}, ['-b', 'boot'], 'FLOPPY-2880-OK'),
             ('hard', {'boot': hard}, ['-b', 'boot', '-hard-disk-boot'], 'HARD-DISK-OK'),
             ('two', {'boot': printing('FIRST-OF-TWO-OK') + bytes(1536), 'efi': bytes(1440 << 10)},
              ['-b', 'boot', '-no-emul-boot', '-boot-load-size', '4', '-eltorito-alt-boot', '-e', 'efi', '-no-emul-boot'], 'FIRST-OF-TWO-OK')]
    for name, boot, options, word in kinds:
        disc = iso(a, name, boot, options)
        for where in (['-cdrom', disc], ['-device', 'ahci,id=s', '-drive', f'file={disc},if=none,media=cdrom,format=raw,id=c', '-device', 'ide-cd,drive=c,bus=s.0']):
            with Machine(a.vmm, ['-m', '32', '-nic', 'none', '-boot', 'd', *where], 200 * a.scale, serial=False, log=a.log) as m:
                m.screen(word)
    return f'{len(kinds)} kinds, at IDE and Serial ATA'


def change(a):
    discs, sums = {}, {}
    for n, name in enumerate(('ide', 'ide2', 'sata', 'sata2', 'scsi', 'scsi2')):
        data = random.Random(n).randbytes((2 + n) << 20)
        discs[name] = os.path.join(a.dir, name)
        sums[name] = hashlib.md5(data).hexdigest()
        with open(discs[name], 'wb') as f:
            f.write(data)
    script = '''
for i in $(seq 600); do (: < /dev/sr0 && : < /dev/sr1 && : < /dev/sr2) 2>/dev/null && break; sleep 0.1; done
for d in sr0 sr1 sr2; do
  case $(readlink -f /sys/block/$d/device) in *virtio*) n=scsi;; *:00:01.1/*) n=ide;; *) n=sata;; esac
  echo sum $n $(dd if=/dev/$d bs=64k 2>/dev/null | md5sum)
  eval $n=$d
done
for n in ide sata scsi; do
  eval d=\\$$n
  exec 3< /dev/$d
  echo LOCKED $n; read x
  exec 3<&-
  echo FREE $n; read x
  s=$(dd if=/dev/$d bs=64k 2>/dev/null | md5sum); echo other $n $(cat /sys/block/$d/size) $s
  exec 3< /dev/$d
  echo AGAIN $n; read x
  dd if=/dev/$d of=/dev/null bs=2k count=1 skip=1 2>/dev/null && echo WRONG empty
  exec 3<&-
  echo BACK $n; read x
  echo back $n $(dd if=/dev/$d bs=64k 2>/dev/null | md5sum)
done
dmesg -c > /dev/null'''
    bad = BAD.replace('|I/O error', '').replace('I/O error|', '')
    args = ['-net', 'none', '-device', 'ahci,id=s', '-device', 'virtio-scsi-pci,id=v',
            '-drive', f'file={discs["ide"]},media=cdrom,format=raw,index=2,id=ide', '-drive', f'file={discs["sata"]},if=none,media=cdrom,format=raw,id=sata',
            '-device', 'ide-cd,drive=sata,bus=s.0', '-drive', f'file={discs["scsi"]},if=none,media=cdrom,format=raw,id=scsi', '-device', 'scsi-cd,drive=scsi']
    with Guest(a, ['all', 'ata_piix', 'ahci', 'virtio_pci', 'virtio_scsi', 'sr_mod'], script, args, seconds=200) as m:
        for n in range(3):
            m.serial(r'sum (ide|sata|scsi) \w+ -', bad)
        for name in ('ide', 'sata', 'scsi'):
            if f'sum {name} {sums[name]}' not in m.text:
                m.fail(f'{name} reads as something else')
        for name in ('ide', 'sata', 'scsi'):
            m.serial(f'LOCKED {name}', bad)
            if f'{name}: ' not in m.command('info block') or 'Removable device: locked, tray closed' not in m.command('info block'):
                m.fail('info block does not show the lock')
            for command in (f'eject {name}', f'change {name} {discs[name + "2"]} raw'):
                if 'locked the tray' not in m.command(command):
                    m.fail(f'{command}: the disc of a locked tray went')
            m.send('\n')
            m.serial(f'FREE {name}', bad)
            if 'rror' in m.command(f'change {name} {discs[name + "2"]} raw'):
                m.fail('change')
            m.send('\n')
            m.serial(f'other {name} {os.path.getsize(discs[name + "2"]) // 512} {sums[name + "2"]}', bad)
            m.serial(f'AGAIN {name}', bad)
            m.command(f'eject -f {name}')
            if f'{name}: [not inserted]' not in m.command('info block'):
                m.fail('a disc is still in')
            m.send('\n')
            m.serial(f'BACK {name}', bad)
            m.command(f'change {name} {discs[name]} raw read-only')
            m.send('\n')
            m.serial(f'back {name} {sums[name]}', bad)
        m.serial('OSPITE-DONE', bad)
        if m.end():
            m.fail('the status is not 0')
    return 'three drives: locked, refused, changed, taken out by force, back'


TESTS = {'torito': torito, 'change': change}


if __name__ == '__main__':
    frame.main(__doc__, TESTS)
