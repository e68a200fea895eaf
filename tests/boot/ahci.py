#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0-or-later
"""ahci.py --vmm CMD --guests DIR TEST...   Serial ATA by Linux' ahci driver and by SeaBIOS.

disk      two disks (one read-only) and a CD-ROM: read, written by two streams with commands queued, discarded, flushed, written through;
          what the host's files hold afterwards is compared
debian    SeaBIOS, GRUB and Debian from a disk at ahci

What this machine lacks is skipped out loud (exit status 77)."""
import hashlib
import os
import random
import re
import sys

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
import frame                                                  # noqa: E402
from boot import Failure, Machine                             # noqa: E402
from cpio import Skip                                         # noqa: E402
from guests import files_check, login, numbers, power_off, shell     # noqa: E402
from recipes import disk_copied                               # noqa: E402
from virtio import BAD, MIB, Guest, libraries         # noqa: E402


def disk(a):
    data = random.Random(5).randbytes(24 * MIB)
    paths = {name: os.path.join(a.dir, name) for name in ('first', 'second', 'cd')}
    for name, path in paths.items():
        with open(path, 'wb') as f:
            f.write(b'\xa5' * len(data) if name == 'second' else data)
    tool = next((p for p in ('/usr/sbin/blkdiscard', '/sbin/blkdiscard') if os.path.exists(p)), None)
    if not tool:
        raise Skip('blkdiscard is missing; install util-linux')
    half = len(data) // 2 // 65536
    script = f'''
i=0; while ! {{ (: < /dev/sda && : < /dev/sdb && : < /dev/sr0) 2>/dev/null; }} && [ $i -lt 600 ]; do sleep 0.1; i=$((i+1)); done
# Linux names disks as they come; ports are certain.
f=$(basename /sys/devices/pci*/*/ata1/host*/target*/*/block/sd*); s=$(basename /sys/devices/pci*/*/ata2/host*/target*/*/block/sd*)
echo ro $(cat /sys/block/$f/ro) $(cat /sys/block/$s/ro) depth $(cat /sys/block/$s/device/queue_depth) cache $(cat /sys/block/$s/queue/write_cache)
echo sum $(dd if=/dev/$f bs=1M iflag=direct 2>/dev/null | md5sum)
echo cd $(dd if=/dev/sr0 bs=64k 2>/dev/null | md5sum) $(cat /sys/block/sr0/size)
dd if=/dev/$f of=/dev/$s bs=64k count={half} oflag=direct 2>/dev/null &
dd if=/dev/$f of=/dev/$s bs=64k skip={half} seek={half} 2>/dev/null &
wait
sync
/{tool} -o 1048576 -l 1048576 /dev/$s || echo WRONG discard
type=$(echo /sys/block/$s/device/scsi_disk/*/cache_type); echo "write through" > $type; echo cache $(cat $type)
dd if=/dev/zero of=/dev/$s bs=4k seek=2000 count=8 oflag=direct 2>/dev/null
echo 1 > /sys/block/$s/device/queue_depth
dd if=/dev/zero of=/dev/$s bs=4k seek=3000 count=8 oflag=direct 2>/dev/null
echo queue $(cat /sys/block/$s/device/queue_depth)
if dd if=/dev/zero of=/dev/$f bs=4k count=1 oflag=direct 2>/dev/null; then echo WRONG written; fi
dmesg -c > /dev/null'''
    args = ['-device', 'ahci,id=a', '-net', 'none', '-drive', f'file={paths["first"]},if=none,format=raw,id=f,readonly=on', '-device', 'ide-hd,drive=f,bus=a.0',
            '-drive', f'file={paths["second"]},if=none,format=raw,id=s,discard=unmap', '-device', 'ide-hd,drive=s,bus=a.1',
            '-drive', f'file={paths["cd"]},if=none,format=raw,id=c,media=cdrom', '-device', 'ide-cd,drive=c,bus=a.5']
    with Guest(a, ['all', 'ahci', 'sd_mod', 'sr_mod'], script, args, libraries(tool), cpus=2, seconds=200) as m:
        m.serial('ro . 0 depth 32 cache write back', BAD)
        m.serial('sum ' + hashlib.md5(data).hexdigest(), BAD)
        m.serial(f'cd {hashlib.md5(data).hexdigest()} - {len(data) // 512}', BAD)
        m.serial('cache write through', BAD)
        m.serial('queue 1', BAD)
        m.serial('OSPITE-DONE', BAD.replace('|I/O error', ''))
        if m.end():
            m.fail('the status is not 0')
    want = bytearray(data)
    for start, size in ((MIB, MIB), (2000 * 4096, 8 * 4096), (3000 * 4096, 8 * 4096)):
        want[start:start + size] = bytes(size)
    if open(paths['second'], 'rb').read() != want:
        raise Failure('what the guest wrote is not in the image')
    if open(paths['first'], 'rb').read() != data:
        raise Failure('a read-only disk was written')
    return 'two disks and a CD-ROM, 24 MiB read, written, discarded, written through'


def debian(a):
    path = disk_copied(a)
    args = ['-m', '512', '-smp', '2', '-no-reboot', '-net', 'none', '-device', 'ahci,id=a', '-drive', f'file={path},if=none,id=d', '-device', 'ide-hd,drive=d,bus=a.0']
    with Machine(a.vmm, args, 400 * a.scale, log=a.log) as m:
        login(m, BAD)
        seconds = m.seconds()
        if not re.search(r'/dev/sda\d? on / ', shell(m, 'mount')) or 'ahci' not in shell(m, 'readlink /sys/block/sda/device/../../../../driver'):
            m.fail('the root is not on a disk at ahci')
        shell(m, 'for i in 1 2 3 4; do seq $i 100000 > /root/numbers$i & done; wait; sync')
        power_off(m)
    files_check(a, path, {f'/root/numbers{i}': numbers(i, 100000) for i in range(1, 5)})
    return f'login after {seconds:.0f} s; image, file system and files are right'


TESTS = {'disk': disk, 'debian': debian}


if __name__ == '__main__':
    frame.main(__doc__, TESTS)
