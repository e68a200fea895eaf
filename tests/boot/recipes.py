#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0-or-later
"""recipes.py --vmm CMD --guests DIR TEST...   What people do with a machine, step by step.

move      a Debian that never saw virtio, moved from IDE to virtio: started once on IDE with a second, empty virtio disk, so that it finds
          the hardware and gets the driver into its initramfs, then with the same disk on virtio
lines     lines as people type them, under the name qemu-kvm: a Debian that sees an IDE disk with boot=on, an empty virtio disk, a CD and
          the standard VGA; then the same disk as -drive if=virtio -boot order=c with -net nic,model=virtio
tunnel    ssh from the guest to an sshd on the host's loopback, through 10.0.2.2: a port of the host that leads into the guest and
          a login through it, a port of the guest that leads to a service of the host

What this machine lacks is skipped out loud (exit status 77)."""
import getpass
import hashlib
import os
import random
import re
import shutil
import socket
import subprocess
import sys
import time
sys.path.append(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
import leash            # noqa: E402, F401

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
import frame                                                        # noqa: E402
from boot import Failure, Machine                                   # noqa: E402
from cpio import Skip                                               # noqa: E402
from net import DATA, DHCP, servers                                 # noqa: E402
from guests import login, power_off, shell                          # noqa: E402
from made import debian_disk                                        # noqa: E402
from ports import free_port                                         # noqa: E402
from virtio import BAD, Guest, finish, libraries                    # noqa: E402


# ---- from IDE to virtio ----

def disk_copied(a):
    disk = os.path.join(a.dir, 'windows.img')
    shutil.copyfile(debian_disk(a.guests), disk)
    return disk


MODULES = "lsinitramfs /boot/initrd.img-* | grep -Ec 'virtio_blk|piix'"


def move(a):
    disk, fake = disk_copied(a), os.path.join(a.dir, 'fake.img')
    subprocess.run(['qemu-img', 'create', '-q', '-f', 'qcow2', fake, '1G'], check=True)

    def machine(*args):
        return Machine(a.vmm, ['-m', '512', '-smp', '2', '-no-reboot', '-net', 'none', *args], 400 * a.scale, log=a.log)

    ide = ['-drive', f'file={disk},if=ide,boot=on']
    with machine(*ide) as m:                               # a guest without the driver
        login(m, BAD)
        shell(m, 'sed -i /virtio/d /etc/initramfs-tools/modules; update-initramfs -u')
        if shell(m, MODULES).split()[-1] != '1':
            m.fail('the initramfs still has virtio_blk')
        power_off(m)
    with machine(*ide, '-drive', f'file={fake},if=virtio') as m:
        if 'boot=on is the old way' not in m.stderr():
            m.fail('no hint about boot=on')
        login(m, BAD)
        if not re.search(r'/dev/sda\d? on / ', shell(m, 'mount')) or '2097152' not in shell(m, 'udevadm settle; cat /sys/block/vda/size'):
            m.fail('the root is not on IDE, or the virtio disk is not found')
        shell(m, 'printf "virtio_pci\\nvirtio_blk\\n" >> /etc/initramfs-tools/modules; update-initramfs -u')
        if shell(m, MODULES).split()[-1] != '2':
            m.fail('the initramfs lacks virtio_blk')
        power_off(m)
    with machine('-drive', f'file={disk},if=virtio', '-boot', 'order=c') as m:
        login(m, BAD)
        if not re.search(r'/dev/vda\d? on / ', shell(m, 'mount')):
            m.fail('the root is not on the virtio disk')
        power_off(m)
    if subprocess.run(['qemu-img', 'check', '-q', disk]).returncode:
        raise Failure('qemu-img check')
    return 'no driver, IDE with an empty virtio disk, root on /dev/vda'


# ---- as typed ----

def typed(a, line):
    """The machine of a line, in the folder where its files are."""
    name = os.path.join(a.dir, 'qemu-kvm')
    if not os.path.exists(name):
        os.symlink(os.path.abspath(a.vmm.split()[0]), name)
    words = [re.sub(r'\b(?=(windows|fake|drive)\.img|x\.iso)', a.dir + '/', word) for word in line.split()]
    return Machine(' '.join([name] + a.vmm.split()[1:]), [*words, '-no-reboot'], 400 * a.scale, log=a.log)


SEEN = '''for d in sda vda; do cat /sys/block/$d/size; done; cat /sys/block/sda/device/model; mount -r /dev/sr0 /mnt && cat /mnt/hello; findmnt -no SOURCE /;
cat /sys/bus/pci/devices/*/class /sys/bus/pci/devices/*/vendor | tr '\\n' ' '; cat /sys/bus/virtio/devices/*/device'''.replace('\n', ' ')


def disk_short(disk):
    """Its GRUB starts a shell in place of systemd: two full starts check no more here, and take twice the time."""
    long, short = b' ro console=tty0 console=ttyS0,115200\n', b' rw init=/bin/sh console=ttyS0\n'
    with open(disk, 'r+b') as f:
        at = f.read().find(long)                           # images are not compressed
        if at < 0:
            raise Failure(f'{disk}: what GRUB starts is not where tools/mk-debian-disk puts it')
        f.seek(at)
        f.write(short.rjust(len(long)))


def halt(m):
    m.send('sync; echo o > /proc/sysrq-trigger\n')
    if m.end():
        m.fail('it did not end with 0')


def lines(a):
    disk = disk_copied(a)
    disk_short(disk)
    if not shutil.which('xorriso'):
        raise Skip('xorriso is missing; tools/setup test installs it')
    os.mkdir(os.path.join(a.dir, 'cd'))
    with open(os.path.join(a.dir, 'cd/hello'), 'w') as f:
        f.write('the CD says hello\n')
    subprocess.run(['xorriso', '-as', 'mkisofs', '-quiet', '-R', '-o', os.path.join(a.dir, 'x.iso'), os.path.join(a.dir, 'cd')], check=True, capture_output=True)
    subprocess.run(['qemu-img', 'create', '-q', '-f', 'qcow2', os.path.join(a.dir, 'fake.img'), '1G'], check=True)
    with typed(a, '-drive file=windows.img,if=ide,boot=on -m 512 -drive file=fake.img,if=virtio -cdrom x.iso -vga std') as m:
        if 'boot=on is the old way' not in m.stderr():
            m.fail('no hint about boot=on')
        m.bad = BAD
        m.serial('\n# ')
        text = shell(m, SEEN)
        for what, pattern in (('the IDE disk', r'HARDDISK'), ('the virtio disk', r'\n2097152\r'), ('the CD', r'the CD says hello'), ('the root on IDE', r'/dev/sda\d?\r'),
                              ('the standard VGA', r'0x030000 .*0x1234 '), ('a virtio disk, no virtio card', r'0x0002\r\n$')):
            if not re.search(pattern, text):
                m.fail(f'not seen: {what}: {text}')
        halt(m)
    os.rename(disk, os.path.join(a.dir, 'drive.img'))
    with typed(a, '-m 512 -drive file=drive.img,if=virtio -boot order=c -net nic,model=virtio -net user') as m:
        m.bad = BAD
        m.serial('\n# ')
        text = shell(m, "findmnt -no SOURCE /; cat /sys/bus/virtio/devices/*/device | tr '\\n' ' '")
        if not re.search(r'/dev/vda\d?\r.*0x0001', text, re.S) or '0x0002' not in text:
            m.fail(f'the root is not on the virtio disk, or there is no virtio card: {text}')
        halt(m)
    with typed(a, '-m 512 -drive file=drive.img,if=virtio -boot order=c -net nic,model=virtio') as m:      # a card without a network
        m.screen('Booting from Hard Disk|GRUB')
        m.command('quit')
    return 'IDE disk, virtio disk, CD and VGA seen; the disk on virtio with a virtio card'


# ---- a tunnel ----

def key_make(path):
    subprocess.run(['ssh-keygen', '-q', '-t', 'ed25519', '-N', '', '-f', path], check=True)
    return path


def config_write(path, key, authorized, address, port):
    with open(path, 'w') as f:
        f.write(f'Port {port}\nListenAddress {address}\nHostKey {key}\nAuthorizedKeysFile {authorized}\nStrictModes no\nUsePAM no\n'
                'PermitRootLogin yes\nPasswordAuthentication no\nPidFile none\n')
    return path


def answers(port):
    try:
        with socket.create_connection(('127.0.0.1', port), 1):
            return True
    except OSError:
        return False


def tunnel(a):
    for program in ('/usr/sbin/sshd', '/usr/bin/ssh', '/usr/bin/ssh-keygen'):
        if not os.path.exists(program):
            raise Skip(f'{program} is missing; install openssh-server')
    d = a.dir
    user, host, guest_host = (key_make(os.path.join(d, name)) for name in ('user', 'host', 'guest'))
    os.chmod(d, 0o755)
    port, back = free_port(), free_port()
    if os.getuid() == 0:
        os.makedirs('/run/sshd', mode=0o755, exist_ok=True)
    config = config_write(os.path.join(d, 'config'), host, user + '.pub', '127.0.0.1', port)
    files = {'etc/ssh-config': config_write(os.path.join(d, 'guest-config'), '/etc/host', '/etc/authorized', '127.0.0.1', 22), 'etc/host': guest_host,
             'etc/authorized': user + '.pub', 'root/key': user, **libraries('/usr/sbin/sshd', '/usr/bin/ssh')}
    script = DHCP + f'''
printf 'root:x:0:0:root:/root:/bin/sh\\nsshd:x:100:65534::/run/sshd:/bin/false\\n' > /etc/passwd
printf 'root:x:0:\\nnogroup:x:65534:\\n' > /etc/group; printf 'root:*:19000::::::\\n' > /etc/shadow
mkdir -p /run/sshd /dev/pts /var/empty; mount -t devpts p /dev/pts; chmod 755 / /root /run /run/sshd; chmod 600 /root/key /etc/host; hostname in-the-guest
/usr/sbin/sshd -f /etc/ssh-config || echo WRONG sshd
/usr/bin/ssh -v -i /root/key -o StrictHostKeyChecking=no -o UserKnownHostsFile=/dev/null -o ExitOnForwardFailure=yes -N -p {port} \\
    -R {back}:127.0.0.1:22 -L 2345:127.0.0.1:WEB {getpass.getuser()}@10.0.2.2 > /tmp/ssh.log 2>&1 &
i=0; until wget -q -O /tmp/got http://127.0.0.1:2345/{4 << 20} || [ $i = 300 ]; do sleep 0.5; i=$((i+1)); done
[ -s /tmp/got ] || tail -20 /tmp/ssh.log
echo sum $(md5sum < /tmp/got); until [ -f /tmp/seen ]; do sleep 0.2; done'''
    sshd = subprocess.Popen(['/usr/sbin/sshd', '-D', '-e', '-f', config], stderr=open(os.path.join(d, 'sshd.log'), 'w'))
    try:
        with servers() as (web, sink), Guest(a, ['virtio_net', 'virtio_rng'], script.replace('WEB', str(web)), ['-nic', 'user,model=virtio', '-device', 'virtio-rng-pci'],
                                             files, seconds=300) as m:
            m.serial('bound', BAD)
            m.serial('sum ' + hashlib.md5(DATA[:4 << 20]).hexdigest(), BAD)
            while not answers(back):
                time.sleep(0.1)
                if time.time() > m.deadline:
                    m.fail('the port that leads into the guest does not answer')
            data = random.Random(3).randbytes(1 << 20)
            got = subprocess.run(['/usr/bin/ssh', '-i', user, '-o', 'StrictHostKeyChecking=no', '-o', 'UserKnownHostsFile=/dev/null', '-o', 'LogLevel=ERROR', '-p', str(back),
                                  'root@127.0.0.1', 'hostname; cat > /tmp/data; md5sum < /tmp/data; touch /tmp/seen'], input=data, capture_output=True, timeout=200)
            if got.stdout.decode().split() != ['in-the-guest', hashlib.md5(data).hexdigest(), '-']:
                m.fail(f'a login through the tunnel: {got.stdout!r} {got.stderr.decode()}\n{open(os.path.join(d, "sshd.log")).read()[-800:]}')
            finish(m)
    finally:
        sshd.terminate()
        sshd.wait()
    return 'a service of the host in the guest (4 MB), a login into the guest and 1 MB through a port of the host'


TESTS = {'move': move, 'lines': lines, 'tunnel': tunnel}


if __name__ == '__main__':
    frame.main(__doc__, TESTS)
