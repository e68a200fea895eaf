#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0-or-later
"""virtio.py --vmm CMD --guests DIR TEST...   Linux' own virtio drivers: Debian's cloud kernel with an initramfs, and Debian's disk.

disk      two disks in every kind of ring and transport: read, written by two streams at once, flushed, discarded, zeroed; what
          the host's files hold afterwards is compared
identity  what SCSI and IDE drives say of themselves by their properties, beside QEMU
scsi      disks on several targets and LUNs and a CD-ROM at a SCSI adapter, the same way
small     entropy source, serial ports and console against programs on the host, balloon inflated, deflated, reporting free pages
debian    SeaBIOS, GRUB and Debian with -drive if=virtio to the power button, then its files by e2fsprogs

What this machine lacks is skipped out loud (exit status 77)."""
import argparse
import hashlib
import os
import random
import re
import shutil
import socket
import subprocess
import sys
import time

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
import qmp                                       # noqa: E402
import frame                                   # noqa: E402
from boot import Failure, Machine              # noqa: E402
from cpio import Skip, initramfs, need         # noqa: E402
from guests import files_check, kernel_errors, login, numbers, power_button, shell     # noqa: E402
from made import debian_disk, debian_kernel    # noqa: E402

BAD = r'Kernel panic|Oops:|BUG:|end trace|general protection|Unable to handle|I/O error|WRONG'
MIB = 1 << 20


def libraries(*programs):
    names = list(programs)
    for program in programs:
        names += re.findall(r'(/\S+) \(0x', subprocess.run(['ldd', program], capture_output=True, text=True).stdout)
    return {name.lstrip('/'): name for name in names}


def drivers(kernel, *names, root='/'):
    """Module files a driver needs, in the order to load them: (script, files for the initramfs)."""
    version = os.path.basename(kernel).removeprefix('vmlinuz-')
    paths = []
    for name in names:
        out = subprocess.run(['modprobe', '-d', root, '-S', version, '--show-depends', name], capture_output=True, text=True)
        if out.returncode:
            raise Skip(f'{kernel} has no module {name}')
        paths += [line.split()[1] for line in out.stdout.splitlines() if line.startswith('insmod')]
    paths = list(dict.fromkeys(paths))
    return ''.join(f'insmod /m/{os.path.basename(p)} || echo WRONG {p}\n' for p in paths), {'m/' + os.path.basename(p): p for p in paths}


class Guest:
    """The cloud kernel with a script; the script ends in power-off."""
    def __init__(self, a, modules, script, args, files=None, seconds=150, cpus=1, memory=256):
        if modules[0] == 'all':                            # the kernel for all machines
            root = debian_kernel(a.guests)
            kernel = need(root + '/boot/vmlinuz-*', 'linux-image-amd64')
            load, module_files = drivers(kernel, *modules[1:], root=root)
        else:
            kernel = need('/boot/vmlinuz-*cloud*', 'linux-image-cloud-amd64')
            load, module_files = drivers(kernel, 'virtio_pci', *modules)
        initrd = initramfs(os.path.join(a.dir, 'initrd'), f'export PATH=/bin:/sbin:/usr/bin:/usr/sbin\n{load}\n{script}\n'
                           'dmesg | grep -vi "command line" | grep -Ei "panic|oops|bug:|end trace|virtio.*(fail|error)|i/o error" && echo WRONG dmesg\necho OSPITE-DONE',
                           {**module_files, **(files or {})})
        timer = ' no_timer_check' if 'qemu-system' in a.vmm else ''         # which on a busy host finds QEMU's late
        self.machine = Machine(a.vmm, ['-m', str(memory), '-smp', str(cpus), '-kernel', kernel, '-initrd', initrd, '-append',
                                       'console=ttyS0 quiet panic=-1' + timer, '-no-reboot', '-vga', 'none', *args], seconds * a.scale, log=a.log)

    def __enter__(self):
        return self.machine.__enter__()

    def __exit__(self, *what):
        return self.machine.__exit__(*what)


def finish(m):
    m.serial('OSPITE-DONE', BAD)
    status = m.end()
    if status:
        m.fail(f'the guest powered off, but the status is {status}')


# ---- disks ----

RINGS = (
    ('modern, split', ''), ('modern, packed', ',packed=on,disable-legacy=on'), ('legacy', ',disable-modern=on'),
    ('packed without event index', ',packed=on,event_idx=off,indirect_desc=off'),
    ('two queues of 16, INTx', ',num-queues=2,queue-size=16,vectors=0'), ('legacy, INTx, plain rings', ',disable-modern=on,vectors=0,event_idx=off,indirect_desc=off'),
    ('4096-byte blocks, page per queue', ',logical_block_size=4096,page-per-vq=on,num-queues=4'),
)


def disk_one(a, data, name, options):
    first, second = os.path.join(a.dir, 'first'), os.path.join(a.dir, 'second')
    with open(first, 'wb') as f:
        f.write(data)
    with open(second, 'wb') as f:
        f.write(b'\xa5' * len(data))
    half = len(data) // 2 // 65536
    tool = next((p for p in ('/usr/sbin/blkdiscard', '/sbin/blkdiscard') if os.path.exists(p)), None)
    if not tool:
        raise Skip('blkdiscard is missing; install util-linux')
    script = f'''
echo ro $(cat /sys/block/vda/ro) $(cat /sys/block/vdb/ro) size $(cat /sys/block/vdb/size) serial $(cat /sys/block/vdb/serial) cache $(cat /sys/block/vdb/queue/write_cache)
echo sum $(dd if=/dev/vda bs=1M iflag=direct 2>/dev/null | md5sum)
dd if=/dev/vda of=/dev/vdb bs=64k count={half} oflag=direct 2>/dev/null &
dd if=/dev/vda of=/dev/vdb bs=64k skip={half} seek={half} 2>/dev/null &
wait
sync
dd if=/dev/vdb of=/dev/null bs=4k count=500 skip=100 iflag=direct 2>/dev/null
/{tool} -o 1048576 -l 1048576 /dev/vdb || echo WRONG discard
/{tool} -z -o 4194304 -l 2097152 /dev/vdb || echo WRONG zeroes
echo interrupts $(grep -c virtio /proc/interrupts)
echo write through > /sys/block/vdb/queue/write_cache
dd if=/dev/zero of=/dev/vdb bs=4k seek=2000 count=8 oflag=direct 2>/dev/null
echo cache $(cat /sys/block/vdb/queue/write_cache)
if dd if=/dev/zero of=/dev/vda bs=4k count=1 oflag=direct 2>/dev/null; then echo WRONG written; fi'''
    args = ['-drive', f'file={first},if=none,format=raw,id=a,readonly=on', '-device', 'virtio-blk-pci,drive=a' + options,
            '-drive', f'file={second},if=none,format=raw,id=b,discard=unmap', '-device', 'virtio-blk-pci,drive=b,serial=ospite-5' + options]
    with Guest(a, ['virtio_blk'], script, args, libraries(tool), cpus=2) as m:
        m.serial(f'ro 1 0 size {len(data) // 512} serial ospite-5 cache write back', BAD)
        m.serial('sum ' + hashlib.md5(data).hexdigest(), BAD)
        m.serial('interrupts [1-9]', BAD)
        m.serial('cache write through', BAD)
        finish(m)
    want = bytearray(data)
    for start, size in ((MIB, MIB), (4 * MIB, 2 * MIB), (2000 * 4096, 8 * 4096)):
        want[start:start + size] = bytes(size)
    got = open(second, 'rb').read()
    if got != want:
        at = next(i for i in range(0, len(want), 512) if got[i:i + 512] != want[i:i + 512])
        raise Failure(f'{name}: what the guest wrote is not in the image, first at {at:#x}')
    taken = os.stat(second).st_blocks * 512            # with a little for the file system's own use
    if taken > len(data) - MIB // 2:
        raise Failure(f'{name}: the discarded piece still takes space on the host: {taken} of {len(data)} bytes')
    if open(first, 'rb').read() != data:
        raise Failure(f'{name}: a read-only disk was written')


def disk(a):
    data = random.Random(5).randbytes(24 * MIB)
    for name, options in RINGS:
        disk_one(a, data, name, options)
    return f'{len(RINGS)} kinds of ring, 24 MiB read, written, flushed, discarded, zeroed'


# ---- SCSI ----

def scsi_one(a, data, options, block):
    paths = {name: os.path.join(a.dir, name) for name in ('first', 'second', 'cd')}
    for name, path in paths.items():
        with open(path, 'wb') as f:
            f.write(b'\xa5' * len(data) if name == 'second' else data)
    tool = next((p for p in ('/usr/sbin/blkdiscard', '/sbin/blkdiscard') if os.path.exists(p)), None)
    if not tool:
        raise Skip('blkdiscard is missing; install util-linux')
    script = f'''
i=0; while ! (: < /dev/sda && : < /dev/sdb && : < /dev/sr0) 2>/dev/null && [ $i -lt 600 ]; do sleep 0.1; i=$((i+1)); done
for d in /sys/class/scsi_device/*; do echo unit $(basename $d) $(cat $d/device/model $d/device/type); done
one=$(basename /sys/class/scsi_device/*:0:0:0/device/block/*); two=$(basename /sys/class/scsi_device/*:0:3:5/device/block/*)
echo blocks $(cat /sys/block/$one/queue/logical_block_size) $(cat /sys/block/$two/queue/logical_block_size)
echo ro $(cat /sys/block/$one/ro) cache $(cat /sys/block/$two/queue/write_cache) serial $(tail -c +5 /sys/block/$two/device/vpd_pg80)
echo disk $(dd if=/dev/$one bs=1M iflag=direct 2>/dev/null | md5sum)
echo cd $(dd if=/dev/sr0 bs=64k 2>/dev/null | md5sum) $(cat /sys/block/sr0/size)
dd if=/dev/$one of=/dev/$two bs=64k oflag=direct 2>/dev/null
sync
/{tool} -o 1048576 -l 1048576 /dev/$two || echo WRONG discard
/{tool} -z -o 4194304 -l 2097152 /dev/$two || echo WRONG zeroes
type=$(echo /sys/class/scsi_disk/*:0:3:5/cache_type); echo "write through" > $type
echo cache $(cat /sys/class/scsi_disk/*:0:3:5/cache_type) $(cat /sys/block/$two/queue/write_cache)
dd if=/dev/zero of=/dev/$two bs=4k seek=2000 count=8 oflag=direct 2>/dev/null
if dd if=/dev/zero of=/dev/$one bs=4k count=1 oflag=direct 2>/dev/null; then echo WRONG written; fi'''
    args = ['-device', 'virtio-scsi-pci,id=s' + options]
    for name, more in (('first', ',format=raw,readonly=on'), ('second', ',format=raw,discard=unmap'), ('cd', ',format=raw,media=cdrom')):
        args += ['-drive', f'file={paths[name]},if=none,id={name}{more}']
    args += ['-device', 'scsi-hd,drive=first,bus=s.0', '-device', f'scsi-hd,drive=second,scsi-id=3,lun=5,serial=ospite-5,logical_block_size={block},physical_block_size={block}', '-device', 'scsi-cd,drive=cd,scsi-id=7']
    with Guest(a, ['virtio_scsi', 'sd_mod', 'sr_mod'], script, args, libraries(tool), cpus=2) as m:
        m.serial(r'unit \d+:0:0:0 QEMU HARDDISK 0', BAD)
        m.serial(r'unit \d+:0:3:5 QEMU HARDDISK 0', BAD)
        m.serial(r'unit \d+:0:7:0 QEMU CD-ROM 5', BAD)
        m.serial(f'blocks 512 {block}', BAD)
        m.serial('ro 1 cache write back serial ospite-5', BAD)
        m.serial('disk ' + hashlib.md5(data).hexdigest(), BAD)
        m.serial(f'cd {hashlib.md5(data).hexdigest()} - {len(data) // 512}', BAD)
        m.serial('cache write through write through', BAD)
        finish(m)
    want = bytearray(data)
    for start, size in ((MIB, MIB), (4 * MIB, 2 * MIB), (2000 * 4096, 8 * 4096)):
        want[start:start + size] = bytes(size)
    if open(paths['second'], 'rb').read() != want:
        raise Failure('what the guest wrote is not in the image')
    taken = os.stat(paths['second']).st_blocks * 512
    if taken > len(data) - MIB // 2:
        raise Failure(f'the discarded piece still takes space on the host: {taken} of {len(data)} bytes')
    if open(paths['first'], 'rb').read() != data:
        raise Failure('a read-only disk was written')


def scsi(a):
    data = random.Random(6).randbytes(16 * MIB)
    for options, block in (('', 512), (',packed=on,num_queues=3', 4096), (',disable-modern=on,vectors=0', 1024)):
        scsi_one(a, data, options, block)
    return 'two disks and a CD-ROM in three kinds of ring and sizes of block, 16 MiB read, written, unmapped, zeroed'


# What drives say of themselves: properties of the drive, of its device. The same line goes to QEMU, and Linux tells what it found.
IDENTITIES = [('if=none,id=plain', 'scsi-hd,bus=s.0,scsi-id=0'), ('if=none,id=named', 'scsi-hd,bus=s.0,scsi-id=1,serial=a-serial-number-of-thirty-one-xx'),
              ('if=none,id=full', 'scsi-hd,bus=s.0,scsi-id=2,lun=1,vendor=ACME,product=Disk of ours,ver=1.2b,serial=77,device_id=drive-scsi0-0-0-0,wwn=0x5000c50015ea71ac,port_wwn=0x5000c50015ea71ad,port_index=3,rotation_rate=7200,logical_block_size=512,physical_block_size=4096,min_io_size=8192,opt_io_size=65536,discard_granularity=16384'),
              ('if=none,id=large', 'scsi-hd,bus=s.0,scsi-id=5,logical_block_size=4096,physical_block_size=16384,rotation_rate=0,min_io_size=32768,opt_io_size=65536'),
              ('if=none,id=onwwn', 'scsi-hd,bus=s.0,scsi-id=3,wwn=0x5000c50015ea71ae'), (None, 'scsi-cd,bus=s.0,scsi-id=4,vendor=ACME,product=Reader'),
              ('if=none,id=ata', 'ide-hd,bus=ide.0,model=Our own model,ver=9.8,wwn=0x5000c50015ea71af,serial=s1,rotation_rate=5400,physical_block_size=4096'), ('if=none,id=cd,media=cdrom', 'ide-cd,bus=ide.1,model=Our reader,ver=7,serial=s2')]


def identity(a):
    script = """i=0; while [ $(ls /sys/class/scsi_device | wc -l) -lt 8 ] && [ $i -lt 600 ]; do sleep 0.1; i=$((i+1)); done
for d in /sys/class/scsi_device/*/device; do
    at=$(basename $(readlink -f $d))
    case $(cat $d/vendor) in ATA*) at=ata;; *) at=${at#*:};; esac
    medium=
    case $at in ata|0:2:1|0:5:0) for q in rotational logical_block_size physical_block_size minimum_io_size optimal_io_size discard_granularity; do medium="$medium $(cat $d/block/*/queue/$q)"; done;; esac
    case $at in 0:2:1) medium="$medium $(od -An -v -tx1 -N6 $d/vpd_pgb1)";; ata) medium=${medium% *};; esac
    echo "who $at$medium [$(cat $d/vendor)] [$(cat $d/model)] [$(cat $d/rev)] 80 $(od -An -v -tx1 $d/vpd_pg80 2> /dev/null | tr -d '\\n') 83 $(od -An -v -tx1 $d/vpd_pg83 2> /dev/null | tr -d '\\n')"
done"""
    image = os.path.join(a.dir, 'disk')
    with open(image, 'wb') as f:
        f.truncate(MIB)
    args = ['-device', 'virtio-scsi-pci,id=s']
    for drive, device in IDENTITIES:
        name = re.search('id=([a-z]+)', drive).group(1) if drive else None
        args += ['-drive', f'{drive},file={image},format=raw,readonly={"on" if "cd" in drive or "scsi" in device else "off"}'] if drive and name != 'ata' else []
        if name == 'ata':
            with open(image + '2', 'wb') as f:
                f.truncate(MIB)
            args += ['-drive', f'{drive},file={image}2,format=raw']
        args += ['-device', device + (f',drive={name}' if name else '')]
    told = []
    for vmm in (a.vmm, 'qemu-system-x86_64 -accel tcg -cpu max'):
        b = argparse.Namespace(**{**vars(a), 'vmm': vmm})
        with Guest(b, ['all', 'virtio_pci', 'virtio_scsi', 'sd_mod', 'sr_mod', 'ata_piix'], script, args, seconds=120) as m:
            m.serial('OSPITE-DONE', BAD)
            # Who makes an IDE CD-ROM drive is none of these properties.
            told.append(sorted(line.replace('[ospite  ] [DVD-ROM         ]', '[QEMU    ] [QEMU DVD-ROM    ]') for line in re.findall(r'who [^\r\n]*', m.text)))
    if len(told[0]) != len(IDENTITIES) or told[0] != told[1]:
        raise Failure('what drives say of themselves:\n' + '\n'.join(told[0]) + '\nand QEMU\'s:\n' + '\n'.join(told[1]))
    return f'{len(told[0])} drives with {sum("=" in x for _, d in IDENTITIES for x in d.split(","))} properties say of themselves what they say in QEMU'


# ---- entropy, serial ports, balloon ----

def resident_mib(m):
    return int(re.search(r'VmRSS:\s+(\d+)', open(f'/proc/{m.process.pid}/status').read()).group(1)) // 1024


def port_connect(m, path):
    s = socket.socket(socket.AF_UNIX)
    s.connect(path)
    s.settimeout(120)
    return s


def read_until(m, s, size):
    got = b''
    while len(got) < size:
        data = s.recv(65536)
        if not data:
            m.fail(f'the port closed after {len(got)} of {size} bytes')
        got += data
    return got


def ports(a, options):
    """A megabyte both ways through a port whose peer comes late, a console, the entropy source."""
    data = random.Random(7).randbytes(MIB)
    script = f'''
until grep -q agent.0 /sys/class/virtio-ports/*/name 2>/dev/null; do sleep 0.1; done
port=/dev/$(basename $(grep -l agent.0 /sys/class/virtio-ports/*/name | xargs dirname))
echo rng $(cat /sys/class/misc/hw_random/rng_available) $(dd if=/dev/hwrng bs=1000 count=40 2>/dev/null | wc -c) $(dd if=/dev/hwrng bs=64 count=1 2>/dev/null | md5sum | cut -c1-8) $(dd if=/dev/hwrng bs=64 count=1 2>/dev/null | md5sum | cut -c1-8)
echo port $(cat /sys/class/virtio-ports/*/name) ready
until [ -s /tmp/got ]; do dd if=$port bs=4096 of=/tmp/got iflag=fullblock count={MIB // 4096} 2>/dev/null; done # no peer: end of file
echo sum $(md5sum < /tmp/got)
cat /tmp/got > $port
echo console; exec 5<>/dev/hvc0; echo hello from hvc0 >&5; read line <&5; echo got $line'''
    agent, console = os.path.join(a.dir, 'agent'), os.path.join(a.dir, 'console')
    args = ['-object', 'rng-random,id=r,filename=/dev/urandom', '-device', 'virtio-rng-pci,rng=r' + options, '-device', 'virtio-serial-pci' + options,
            '-chardev', f'socket,id=agent,path={agent},server=on,wait=off', '-device', 'virtserialport,chardev=agent,name=agent.0,id=p0',
            '-qmp', f'unix:{a.dir}/qmp,server=on,wait=off',
            '-chardev', f'socket,id=con,path={console},server=on,wait=off', '-device', 'virtconsole,chardev=con']
    with Guest(a, ['virtio_rng', 'virtio_console'], script, args) as m:
        events = qmp.Client(os.path.join(a.dir, 'qmp'), seconds=120)
        line = m.serial(r'rng virtio_rng\.0 40000 (\w{8}) (\w{8})', BAD)
        if line.group(1) == line.group(2):
            m.fail('the entropy source says the same twice')
        m.serial('port agent.0 ready', BAD)
        hvc = port_connect(m, console)
        time.sleep(0.5)                                    # the guest meets a port without a peer first
        peer = port_connect(m, agent)
        if 'agent.0' not in m.command('info qtree -v'):
            m.fail('info qtree does not show the port')
        peer.sendall(data)
        m.serial('sum ' + hashlib.md5(data).hexdigest(), BAD)
        qmp.equal(events.wait('VSERPORT_CHANGE'), {'id': 'p0', 'open': True}, 'the port is open')
        if read_until(m, peer, MIB) != data:
            m.fail('what the port sent back is something else')
        m.serial('console', BAD)
        if b'hello from hvc0' not in read_until(m, hvc, 17):
            m.fail('the console did not say hello')
        hvc.sendall(b'hello guest\n')
        m.serial('got hello guest', BAD)
        finish(m)


def balloon(a, options):
    """What the guest gives up is gone from this machine's memory; what it takes back works again."""
    script = '''
mount -t tmpfs -o size=300m t /tmp
dd if=/dev/urandom of=/tmp/a bs=1M count=220 2>/dev/null; md5sum /tmp/a > /sum
echo full; read x
rm /tmp/a; echo freed; read x
echo total $(grep MemTotal /proc/meminfo); read x
dd if=/dev/urandom of=/tmp/b bs=1M count=200 2>/dev/null; md5sum /tmp/b > /sum; md5sum -c /sum || echo WRONG sum
rm /tmp/b; echo given back; read x'''
    args = ['-device', 'virtio-balloon-pci,free-page-reporting=on,deflate-on-oom=on,guest-stats-polling-interval=1,id=b' + options, '-qmp', f'unix:{a.dir}/qmp,server=on,wait=off']
    with Guest(a, ['virtio_balloon'], script, args, memory=512) as m:
        m.serial('full', BAD)
        events = qmp.Client(os.path.join(a.dir, 'qmp'), seconds=120)
        full = resident_mib(m)                              # before the guest may report any of it as free
        m.send('\n')
        m.serial('freed', BAD)
        m.command('balloon 200')
        deadline = time.time() + 60 * a.scale
        while 'actual=200 MiB' not in m.command('info balloon'):
            if time.time() > deadline:
                m.fail('the balloon does not inflate: ' + m.command('info balloon'))
            time.sleep(0.2)
        qmp.check(events.wait('BALLOON_CHANGE')['actual'] < 512 << 20 and events.run('query-balloon')['actual'] == 200 << 20, 'the balloon as QMP tells it')
        small = resident_mib(m)
        if full - small < 150:
            m.fail(f'{full} MiB in use before, {small} with 312 MiB in the balloon')
        m.command('balloon 512')
        while 'actual=512 MiB' not in m.command('info balloon'):
            if time.time() > deadline + 60:
                m.fail('the balloon does not deflate: ' + m.command('info balloon'))
            time.sleep(0.2)
        m.send('\n\n')
        m.serial('total', BAD)
        m.serial('given back', BAD)
        deadline = time.time() + 60 * a.scale               # Linux reports some of its free pages every two seconds
        while (reported := resident_mib(m)) > small + 120:
            if time.time() > deadline:
                m.fail(f'{reported} MiB in use after free pages were reported')
            time.sleep(0.2)
        stats = events.run('qom-get', path='/machine/peripheral/b', property='guest-stats')
        qmp.check(stats['last-update'] > time.time() - 60 and stats['stats']['stat-total-memory'] > 400 << 20, f'guest-stats: {stats}')
        for word in ('total memory', 'free memory', 'minor faults'):
            if word not in m.command('info balloon'):
                m.fail('no statistics: ' + m.command('info balloon'))
        m.send('\n')
        finish(m)
        return f'{full} MiB in use, {small} with the balloon, {reported} after the report'


def small(a):
    for options in ('', ',packed=on', ',disable-modern=on'):
        ports(a, options)
    return f'entropy, 2 MiB through a port, console, in three kinds of ring; balloon: {balloon(a, ",packed=on")}'


# ---- Debian ----

def debian(a):
    disk = os.path.join(a.dir, 'disk.qcow2')
    shutil.copyfile(debian_disk(a.guests), disk)

    with Machine(a.vmm, ['-m', '512', '-smp', '2', '-drive', f'file={disk},if=virtio', '-boot', 'order=c', '-no-reboot'], 400 * a.scale, log=a.log) as m:
        login(m, BAD)
        seconds = m.seconds()
        if not re.search(r'/dev/vda\d? on / ', shell(m, 'mount')):
            m.fail('the root is not on the virtio disk')
        kernel_errors(m)
        shell(m, 'for i in 1 2 3 4; do seq $i 200000 > /root/numbers$i & done; wait; sync')
        off = power_button(m)
    files_check(a, disk, {f'/root/numbers{i}': numbers(i, 200000) for i in range(1, 5)})
    return f'login after {seconds:.0f} s, root on /dev/vda, no errors in dmesg, off {off:.0f} s after system_powerdown; image, file system and files are right'


TESTS = {'disk': disk, 'scsi': scsi, 'identity': identity, 'small': small, 'debian': debian}


if __name__ == '__main__':
    frame.main(__doc__, TESTS)
