#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0-or-later
"""peers.py --vmm CMD --guests DIR TEST...   A guest's traffic against programs that others wrote.

wires      iperf3 both ways: between two machines on a socket network, and over a tap interface in a bridge in a network namespace
passt      a machine on passt: DHCP, iperf3 both ways with a service of the host, a port of the host that leads into the guest
fio        fio writes at random and verifies, on raw and qcow2, in split and packed rings
debian     Debian on virtio: apt from a mirror on the host's loopback, iperf3 both ways, fio with verify on a second disk
bootstrap  the same guest installs Debian onto the second disk by debootstrap; that disk boots

What this machine lacks is skipped out loud (exit status 77)."""
import argparse
import contextlib
import hashlib
import os
import re
import shutil
import subprocess
import sys
import time
sys.path.append(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
import leash            # noqa: E402, F401

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
import frame                                                                  # noqa: E402
from boot import Failure, Machine                                             # noqa: E402
from cpio import Skip                                                         # noqa: E402
from guests import image_check, kernel_errors, login, power_off, shell        # noqa: E402
from installer import Mirror                                                  # noqa: E402
from net import DHCP                                                          # noqa: E402
from made import mirror_folder, programs_disk                                 # noqa: E402
from ports import free_port, listens_wait                                     # noqa: E402
from virtio import BAD, Guest, finish, libraries                              # noqa: E402

SECONDS = 2                                     # of each iperf3
SBIN = ':/usr/sbin:/sbin'


def program(name, package):
    path = shutil.which(name, path=os.environ['PATH'] + SBIN)
    if not path:
        raise Skip(f'{name} is missing; install {package}')
    return path


@contextlib.contextmanager
def running(*command):
    """A program of the host's, until the end."""
    p = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        yield p
    finally:
        p.kill()
        p.wait()


@contextlib.contextmanager
def namespace(*lines):
    """A network namespace with what `ip` makes there; the prefix of commands that run in it."""
    name = f'ospite-peers-{os.getpid()}'
    program('ip', 'iproute2')
    if os.geteuid() or subprocess.run(['ip', 'netns', 'add', name], capture_output=True).returncode:
        raise Skip('no right to make a network namespace')
    run = ['ip', 'netns', 'exec', name]
    try:
        for line in ('link set lo up', *lines):
            if subprocess.run([*run, 'ip', *line.split()], capture_output=True).returncode:
                raise Skip(f'this kernel does not do: ip {line}')
        yield run
    finally:
        subprocess.run(['ip', 'netns', 'del', name], capture_output=True)


def iperf(host, port, more=''):
    """Script: iperf3 both ways against a server, which may come later."""
    one = f'iperf3 -c {host} -p {port} -t {SECONDS} -f k {more}'
    return (f'i=0; until {one} > /tmp/sent 2>&1 || [ $i = 100 ]; do sleep 0.5; i=$((i+1)); done; echo sent $(grep receiver /tmp/sent || cat /tmp/sent)\n'
            f'{one} -R > /tmp/got 2>&1; echo got $(grep receiver /tmp/got || cat /tmp/got)\n')


def rates(m):
    """Megabits a second, sent and got."""
    found = [m.serial(way + r' \[ *\d+\] [^\n]*? (\d+) Kbits/sec receiver', BAD + r'|iperf3: error') for way in ('sent', 'got')]
    rate = [int(f.group(1)) // 1000 for f in found]
    if not min(rate):
        m.fail(f'nothing moves: {rate}')
    return rate


def apart(a, name):
    """The same, with a folder of its own."""
    folder = os.path.join(a.dir, name)
    os.mkdir(folder)
    return argparse.Namespace(**{**vars(a), 'dir': folder})


# ---- wires ----

def two_machines(a, files):
    path = os.path.join(a.dir, 's')
    setup = 'ip link set lo up; ip link set eth0 up; ip addr add 10.9.9.%d/24 dev eth0\n'
    card = 'virtio-net-pci,netdev=n,mac=52:54:00:00:00:0'
    with Guest(apart(a, 'one'), ['virtio_net'], setup % 1 + 'iperf3 -s -D; echo listening; read x', ['-netdev', f'stream,id=n,server=on,addr.type=unix,addr.path={path}', '-device', card + '1'],
               files, seconds=120) as one:
        one.serial('listening', BAD)
        with Guest(apart(a, 'two'), ['virtio_net'], setup % 2 + iperf('10.9.9.1', 5201), ['-netdev', f'stream,id=n,addr.type=unix,addr.path={path}', '-device', card + '2'],
                   files, seconds=120) as two:
            rate = rates(two)
            finish(two)
        one.send('\n')
        finish(one)
    return f'between machines {rate[0]} and {rate[1]} Mbit/s'


def bridged(a, files):
    with namespace('link add br0 type bridge', 'addr add 10.8.8.1/24 dev br0', 'link set br0 up', 'tuntap add dev t0 mode tap', 'link set t0 master br0 up') as run, \
            running(*run, 'iperf3', '-s'):
        inside = argparse.Namespace(**{**vars(a), 'vmm': ' '.join(run) + ' ' + a.vmm})
        script = 'ip link set lo up; ip link set eth0 up; ip addr add 10.8.8.2/24 dev eth0\nping -c 5 -i 0.1 -q 10.8.8.1 | grep loss\n' + iperf('10.8.8.1', 5201)
        with Guest(inside, ['virtio_net'], script, ['-netdev', 'tap,id=n,ifname=t0,script=no,downscript=no', '-device', 'virtio-net-pci,netdev=n'], files, seconds=120) as m:
            m.serial('5 packets received', BAD)
            rate = rates(m)
            finish(m)
    return f'over a bridge {rate[0]} and {rate[1]} Mbit/s'


def wires(a):
    files = libraries(program('iperf3', 'iperf3'))
    return two_machines(a, files) + ', ' + bridged(a, files)


def passt(a):
    """passt gives the guest the namespace's own address, and the host's loopback at that of the router."""
    files, peer, forward = libraries(program('iperf3', 'iperf3')), program('passt', 'passt'), free_port()
    path = '/tmp/ospite-passt-' + str(os.getpid())
    with namespace('link add d0 type bridge', 'addr add 10.7.7.7/24 dev d0', 'link set d0 up', 'route add default via 10.7.7.1') as run, \
            running(*run, peer, '-f', '-1', '-s', path, '-t', f'{forward}:22', '-u', 'none', '--runas', '0') as server, running(*run, 'iperf3', '-s', '-B', '127.0.0.1'):
        if not listens_wait(path, server, *run):
            raise Failure('passt makes no socket')
        script = DHCP + iperf('10.7.7.1', 5201) + 'echo waiting; echo $(nc -l -p 22)'
        with Guest(a, ['virtio_net'], script, ['-netdev', f'stream,id=n,server=off,addr.type=unix,addr.path={path}', '-device', 'virtio-net-pci,netdev=n'], files, seconds=120) as m:
            m.serial(r'bound 10\.7\.7\.7 10\.7\.7\.1', BAD)
            rate = rates(m)
            m.serial('waiting', BAD)
            while 'hello guest' not in m.text[m.seen:]:                # its nc listens a moment after the word
                if time.time() > m.deadline:
                    m.fail('nothing comes through the port')
                subprocess.run([*run, 'busybox', 'nc', '-w', '2', '10.7.7.7', str(forward)], input=b'hello guest\n', capture_output=True, timeout=60)
                m.pump()
            m.serial('hello guest', BAD)
            finish(m)
    return f'DHCP, {rate[0]} and {rate[1]} Mbit/s, a forwarded port'


# ---- disks ----

JOB = ('fio --name=proof --filename={} --ioengine=libaio --direct=1 --iodepth=32 --rw=randwrite --bsrange=4k-64k --bs_unaligned=0 --size={}M --randseed=7 '
       '--verify=crc32c --verify_fatal=1 --do_verify=1 --thread {} --output-format=terse --terse-version=3')


def fio_verdict(m, text):
    """(KiB written, KiB read again) of fio's line; it has no error and has verified all that was written."""
    found = re.search(r'3;fio-[^\r\n]*', text)
    if not found:
        m.fail('fio says: ' + text[-600:])
    field = found.group(0).split(';')
    read, written = int(field[5]), int(field[46])
    if field[4] != '0' or not written or read != written:
        m.fail(f'fio: error {field[4]}, {written} KiB written, {read} KiB verified')
    return written


def fio(a):
    files, total = libraries(program('fio', 'fio')), 0
    for form, device in (('raw', 'virtio-blk-pci,drive=d'), ('qcow2', 'virtio-blk-pci,drive=d,packed=on,num-queues=2')):
        image = os.path.join(a.dir, form)
        subprocess.run(['qemu-img', 'create', '-q', '-f', form, image, '128M'], check=True)
        script = f'export LC_ALL=C\n{JOB.format("/dev/vda", 96, "")} > /tmp/fio 2>&1; echo FIO; cat /tmp/fio; echo END-FIO; sleep 1'
        with Guest(a, ['virtio_blk'], script, ['-drive', f'file={image},format={form},if=none,id=d', '-device', device, '-nic', 'none'], files, seconds=150, cpus=2, memory=768) as m:
            total += fio_verdict(m, m.serial('FIO\r?\n(.*?)END-FIO', BAD).group(1))
            finish(m)
        if form == 'qcow2':
            image_check(image)
    return f'{total >> 10} MiB written in pieces of 4 to 64 KiB and verified'


# ---- Debian ----

NETWORK = (r"printf '[Match]\nName=e*\n[Network]\nDHCP=ipv4\n' > /etc/systemd/network/card.network; systemctl restart systemd-networkd; "
           'i=0; until ip -4 addr | grep -q 10.0.2.15 || [ $i = 600 ]; do sleep 0.2; i=$((i+1)); done; ip -4 addr | grep -c 10.0.2.15')


def small_mirror(a):
    """A Debian mirror of two packages."""
    folder = os.path.join(a.dir, 'mirror')
    os.makedirs(os.path.join(folder, 'pool'))
    subprocess.run(['apt-get', '-q', '-o', 'Acquire::Retries=5', 'download', 'linux-image-amd64', 'tzdata'], cwd=folder + '/pool', check=True, capture_output=True)
    index = ''
    for name in sorted(os.listdir(folder + '/pool')):
        path = f'{folder}/pool/{name}'
        with open(path, 'rb') as f:
            digest = hashlib.sha256(f.read()).hexdigest()
        fields = subprocess.run(['dpkg-deb', '-f', path], check=True, capture_output=True, text=True).stdout
        index += f'{fields.strip()}\nFilename: pool/{name}\nSize: {os.path.getsize(path)}\nSHA256: {digest}\n\n'
    lists = os.path.join(folder, 'dists/here')
    os.makedirs(lists + '/main/binary-amd64')
    with open(lists + '/main/binary-amd64/Packages', 'w') as f:
        f.write(index)
    with open(lists + '/Release', 'w') as f:
        f.write('Suite: here\nCodename: here\nDate: Sat, 01 Nov 2025 00:00:00 UTC\nArchitectures: amd64\nComponents: main\nSHA256:\n'
                f' {hashlib.sha256(index.encode()).hexdigest()} {len(index.encode())} main/binary-amd64/Packages\n')
    return folder


@contextlib.contextmanager
def debian_guest(a, size, seconds):
    """Debian on virtio with a second, empty disk, logged in, with an address."""
    disk, second = os.path.join(a.dir, 'disk.qcow2'), os.path.join(a.dir, 'second.qcow2')
    shutil.copyfile(programs_disk(a.guests), disk)
    subprocess.run(['qemu-img', 'create', '-q', '-f', 'qcow2', second, size], check=True)
    args = ['-m', '768', '-smp', '2', '-drive', f'file={disk},if=virtio', '-drive', f'file={second},if=virtio', '-boot', 'order=c', '-net', 'nic,model=virtio', '-net', 'user', '-no-reboot']
    with Machine(a.vmm, args, seconds * a.scale, log=a.log) as m:
        login(m)
        if not re.search(r'/dev/vda\d? on / ', shell(m, 'mount')):
            m.fail('the root is not on the virtio disk')
        if shell(m, NETWORK).split()[-1] != '1':
            m.fail('no address by DHCP')
        yield m, second
    for image in (disk, second):
        image_check(image)


def apt(m, address):
    shell(m, f"echo 'deb [trusted=yes] http://{address}/debian here main' > /etc/apt/sources.list; rm -f /etc/apt/sources.list.d/*")
    if 'status=0' not in shell(m, "apt-get -q update > /tmp/log 2>&1; echo status'='$?"):
        m.fail('apt-get update: ' + shell(m, 'tail -20 /tmp/log'))
    text = shell(m, "cd /tmp; apt-get -q download linux-image-amd64 tzdata > /tmp/log 2>&1; echo status'='$?; dpkg-deb -I tzdata_*.deb | grep Package")
    if 'status=0' not in text or 'Package: tzdata' not in text:
        m.fail('apt-get download: ' + shell(m, 'tail -20 /tmp/log'))


def debian(a):
    port = free_port()
    program('iperf3', 'iperf3')
    with Mirror(small_mirror(a)) as mirror, running('iperf3', '-s', '-B', '127.0.0.1', '-p', str(port)), debian_guest(a, '256M', 300) as (m, _):
        at_login = m.seconds()
        apt(m, mirror.address)
        m.send(iperf('10.0.2.2', port))
        rate = rates(m)
        written = fio_verdict(m, shell(m, 'LC_ALL=C ' + JOB.format('/dev/vdb', 128, '') + ' 2>&1'))
        kernel_errors(m)
        power_off(m)
    return f'login after {at_login:.0f} s, apt by 10.0.2.2, iperf3 {rate[0]} and {rate[1]} Mbit/s, fio verified {written >> 10} MiB'


# What makes of the second disk one that boots: a partition, a file system, Debian, its kernel and GRUB.
INSTALL = '''set -e
echo 'start=2048, type=83, bootable' | sfdisk -q /dev/vdb
udevadm settle
mkfs.ext4 -q -L second /dev/vdb1
mount /dev/vdb1 /mnt
debootstrap --no-check-gpg --variant=minbase --include=systemd-sysv,udev,kmod,initramfs-tools,zstd,linux-image-amd64,grub-pc,login,passwd,iproute2 trixie /mnt http://@MIRROR/debian
echo 'LABEL=second / ext4 defaults 0 1' > /mnt/etc/fstab
echo second > /mnt/etc/hostname
echo root:ospite | chroot /mnt chpasswd
mkdir -p /mnt/etc/systemd/system/getty.target.wants
ln -sf /lib/systemd/system/serial-getty@.service /mnt/etc/systemd/system/getty.target.wants/serial-getty@ttyS0.service
for d in dev proc sys; do mount --rbind /$d /mnt/$d; done
echo 'GRUB_TERMINAL=serial' >> /mnt/etc/default/grub
echo 'GRUB_CMDLINE_LINUX="console=ttyS0,115200"' >> /mnt/etc/default/grub
echo 'GRUB_TIMEOUT=1' >> /mnt/etc/default/grub
chroot /mnt grub-install /dev/vdb
chroot /mnt update-grub
sync
'''


def bootstrap(a):
    with Mirror(mirror_folder(a.guests)) as mirror:
        with debian_guest(a, '3G', 2400) as (m, second):
            with open(os.path.join(mirror.where.name, 'install'), 'w') as f:
                f.write(INSTALL.replace('@MIRROR', mirror.address))
            if 'status=0' not in shell(m, f"/usr/lib/apt/apt-helper download-file http://{mirror.address}/install /root/install > /root/log 2>&1 && "
                                          "sh /root/install >> /root/log 2>&1; echo status'='$?"):
                m.fail('the installation: ' + shell(m, 'tail -30 /root/log'))
            installed = m.seconds()
            kernel_errors(m)
            power_off(m)
        with Machine(a.vmm, ['-m', '512', '-drive', f'file={second},if=virtio', '-boot', 'order=c', '-net', 'nic,model=virtio', '-net', 'user', '-no-reboot'], 400 * a.scale, log=a.log) as m:
            m.serial('second login: ', BAD)
            m.send('root\n')
            m.serial('Password: ')
            m.send('ospite\n')
            m.serial('root@second:~# ')
            if '/dev/vda1' not in shell(m, 'findmnt -no SOURCE /') or '13' not in shell(m, 'cat /etc/debian_version'):
                m.fail('another system has started')
            m.send('poweroff\n')
            if m.end():
                m.fail('poweroff did not end with status 0')
        image_check(second)
    return f'installed after {installed:.0f} s, the disk boots by its own GRUB'


TESTS = {'wires': wires, 'passt': passt, 'fio': fio, 'debian': debian, 'bootstrap': bootstrap}


if __name__ == '__main__':
    frame.main(__doc__, TESTS)
