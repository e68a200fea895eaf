#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0-or-later
"""libvirt.py --vmm PROGRAM   libvirt takes ospite for an emulator: a session's libvirtd of an ordinary user, all by virsh.

What it learns of the emulator; a Linux that is defined, started, spoken to at its console, looked at, stopped, given and taken memory and a disk,
reset, shut down; a daemon that comes back while it runs, and one that starts it by itself; one with UEFI; one with disks and CD-ROM drives at IDE, Serial ATA,
SCSI and USB: figures, limits, sizes, discs changed, disks that come and go; what is refused leaves it running.

What this machine lacks is skipped out loud (exit status 77)."""
import argparse
import os
import pty
import re
import select
import shutil
import signal
import subprocess
import sys
import tempfile
import time
sys.path.append(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
import leash            # noqa: E402, F401

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
from boot import Failure                       # noqa: E402
from cpio import Skip, initramfs, need         # noqa: E402
from virtio import drivers                     # noqa: E402

SECONDS = 400                                  # for each wait; only a hang takes that long
NOBODY = 65534
MIB = 1 << 20
# Lines that come over the serial port are run; each answer ends in a mark.
SCRIPT = r'''mkdir -p /etc/acpi/PWRF /var/log /var/run
printf '#!/bin/sh\necho POWER-BUTTON > /dev/console\npoweroff -f\n' > /etc/acpi/PWRF/00000080; chmod +x /etc/acpi/PWRF/00000080
(acpid -d > /dev/null 2>&1 &)
stty -F /dev/console -echo; dmesg -n 1; up=HERE
while read -r line; do [ "$line" = end ] && break; eval "$line"; echo "DONE-$line"; done'''
# What virt-install writes, and a little more.
DOMAIN = '''<domain type='qemu'>
  <name>guest</name><memory unit='MiB'>256</memory><vcpu>2</vcpu>
  <os><type arch='x86_64' machine='pc'>hvm</type><kernel>{dir}/vmlinuz</kernel><initrd>{dir}/initrd</initrd><cmdline>console=tty0 console=ttyS0 quiet</cmdline></os>
  <features><acpi/><apic/></features>
  <clock offset='utc'><timer name='rtc' tickpolicy='catchup'/><timer name='pit' tickpolicy='delay'/><timer name='hpet' present='no'/></clock>
  <pm><suspend-to-mem enabled='no'/><suspend-to-disk enabled='no'/></pm>
  <on_reboot>restart</on_reboot>
  <devices>
    <emulator>{dir}/bin/qemu-system-x86_64</emulator>
    <disk type='file' device='disk'><driver name='qemu' type='qcow2'/><source file='{dir}/disk.qcow2'/><target dev='vda' bus='virtio'/></disk>
    <interface type='user'><model type='virtio'/></interface>
    <serial type='pty'/><console type='pty'/>
    <graphics type='vnc' socket='{dir}/vnc'/><video><model type='vga'/></video>
    <controller type='usb' model='qemu-xhci' ports='15'/><input type='tablet' bus='usb'/>
    <memballoon model='virtio'><stats period='1'/></memballoon>
    <rng model='virtio'><backend model='random'>/dev/urandom</backend></rng>
    <channel type='unix'><target type='virtio' name='org.qemu.guest_agent.0'/></channel>
  </devices>
</domain>'''
# Each disk's image has its name.
DISKS = '\n'.join(["<controller type='scsi' model='virtio-scsi'/><controller type='sata' index='0'/>"] + [
    f"<disk type='file' device='disk'><driver name='qemu' type='{form}' {more}/><source file='{{dir}}/{name}'/><target dev='{name}' bus='{bus}'/></disk>"
    for name, form, bus, more in (('hda', 'qcow2', 'ide', ''), ('sda', 'raw', 'sata', "cache='none'"), ('sdc', 'qcow2', 'scsi', ''), ('sde', 'raw', 'usb', "cache='writeback'"))] + [
    f"<disk type='file' device='cdrom'><driver name='qemu' type='raw'/><source file='{{dir}}/disc1'/><target dev='{name}' bus='{bus}'/><readonly/></disk>"
    for name, bus in (('hdc', 'ide'), ('sdb', 'sata'), ('sdd', 'scsi'))])
checks = 0


def check(ok, what):
    global checks
    checks += 1
    if not ok:
        raise Failure(what)


class Session:
    """libvirtd and virsh of an ordinary user, with folders of their own."""
    def __init__(self, folder):
        self.dir, self.daemon, self.user = folder, None, {}
        self.env = {'PATH': f'{folder}/bin:/usr/sbin:/usr/bin:/sbin:/bin', 'HOME': f'{folder}/home', 'TERM': 'dumb', 'LC_ALL': 'C',
                    'LIBVIRT_AUTOSTART': '0',              # virsh would start a daemon of its own beside ours
                    'LIBVIRT_LOG_OUTPUTS': f'3:file:{folder}/log'}
        for name, sub in ('XDG_RUNTIME_DIR', 'run'), ('XDG_CONFIG_HOME', 'config'), ('XDG_CACHE_HOME', 'cache'), ('XDG_DATA_HOME', 'data'), ('HOME', 'home'):
            self.env[name] = f'{folder}/{sub}'
            os.makedirs(f'{folder}/{sub}/libvirt')
        with open(f'{folder}/config/libvirt/qemu.conf', 'w') as f:
            f.write('stdio_handler = "file"\n')
        for variable in 'ASAN_OPTIONS', 'UBSAN_OPTIONS':
            if variable in os.environ:
                self.env[variable] = os.environ[variable]

    def own(self):
        if os.getuid() == 0:
            subprocess.run(['chown', '-R', f'{NOBODY}:{NOBODY}', self.dir], check=True)
            self.user = {'user': NOBODY, 'group': NOBODY, 'extra_groups': []}

    def start(self):
        self.daemon = subprocess.Popen(['libvirtd'], env=self.env, cwd=self.dir, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
                                       **self.user)
        until('libvirtd listens', lambda: self.run('uri')[0] == 0)

    def stop(self):
        if self.daemon:
            self.daemon.terminate()
            self.daemon.wait(60)
            self.daemon = None

    def run(self, *words):
        p = subprocess.run(['virsh', '-q', '-c', 'qemu:///session', *words], env=self.env, cwd=self.dir, stdin=subprocess.DEVNULL, capture_output=True, text=True,
                           timeout=SECONDS, **self.user)
        return p.returncode, p.stdout + p.stderr

    def ok(self, *words, answer=''):
        status, text = self.run(*words)
        check(status == 0 and re.search(answer, text), f'virsh {" ".join(words)}: {status} {text.strip()}')
        return text

    def refused(self, *words, answer):
        status, text = self.run(*words)
        check(status != 0 and re.search(answer, text), f'virsh {" ".join(words)} should be refused: {status} {text.strip()}')


def until(what, done):
    deadline = time.time() + SECONDS
    while not (result := done()):
        if time.time() > deadline:
            raise Failure(f'{what}: not within {SECONDS} s')
        time.sleep(0.2)
    return result


class Console:
    """virsh console on a terminal."""
    def __init__(self, s):
        self.fd, end = pty.openpty()
        self.p = subprocess.Popen(['virsh', '-c', 'qemu:///session', 'console', 'guest', '--force'], env=s.env, cwd=s.dir, stdin=end, stdout=end, stderr=end,
                                  start_new_session=True, **s.user)
        os.close(end)
        self.text, self.count = '', 0
        self.wait('Connected to domain')

    def wait(self, pattern):
        deadline = time.time() + SECONDS
        while not (found := re.search(pattern, self.text)):
            if time.time() > deadline or self.p.poll() is not None:
                raise Failure(f'{pattern!r} does not come at the console: {self.text[-2000:]}')
            if select.select([self.fd], [], [], 1)[0]:
                try:
                    self.text += os.read(self.fd, 65536).decode('latin-1')
                except OSError:
                    pass
        before, self.text = self.text[:found.start()], self.text[found.end():]
        return before

    def send(self, line):
        os.write(self.fd, line.encode() + b'\n')

    def run(self, line):
        """What the guest says to a line."""
        self.count += 1
        self.send(f'{line} # {self.count}')
        return self.wait(rf'DONE-[^\n]*# {self.count}\r?\n')

    def boot(self):
        """A line is answered once it is up, and virsh has made its terminal raw, which drops what was typed. Lines are cut anywhere before that: they must have no
        quotes to lose."""
        deadline = time.time() + SECONDS
        while 'HERE' not in self.text:
            if time.time() > deadline:
                raise Failure(f'the guest does not come up: {self.text[-2000:]}')
            self.send('echo $up')
            if select.select([self.fd], [], [], 1)[0]:
                self.text += os.read(self.fd, 65536).decode('latin-1')
        self.run('true')

    def close(self):
        os.write(self.fd, b'\x1d')
        self.p.wait(60)
        os.close(self.fd)


# ---- the steps ----

def learns(s):
    s.ok('version', answer='Running hypervisor: QEMU 7.2')
    text = s.ok('capabilities')
    check("<domain type='qemu'/>" in text and "canonical='pc-i440fx-7.2'" in text, 'machines in the capabilities')
    text = s.ok('domcapabilities', '--virttype', 'qemu', '--emulatorbin', f'{s.dir}/bin/qemu-system-x86_64')
    for wanted in "usable='yes' vendor='unknown'>qemu64<", '<value>vnc</value>', '<value>virtio-non-transitional</value>', "<mode name='host-model' supported='yes'>":
        check(wanted in text, f'{wanted} in domcapabilities: {text}')


def disk_figures(s, c):
    c.run('dd if=/dev/zero of=/dev/vda bs=1M count=8 oflag=direct; dd if=/dev/vda of=/dev/null bs=1M count=4; sync')
    figures = dict(re.findall(r'vda (\w+) (\d+)', s.ok('domblkstat', 'guest', 'vda')))
    for name, least in ('wr_bytes', 8 * MIB), ('rd_bytes', 4 * MIB), ('wr_req', 8), ('wr_total_times', 1000), ('rd_total_times', 1000):
        check(int(figures[name]) >= least, f'domblkstat: {figures}')
    s.ok('domblkinfo', 'guest', 'vda', answer=rf'Capacity: +{64 * MIB}\b')
    s.ok('domstats', 'guest', answer='block.0.wr.times=[1-9]')


def memory(s):
    def figure(name):
        found = re.search(rf'^{name} (\d+)', s.ok('dommemstat', 'guest'), re.M)
        return int(found[1]) if found else 0

    until('the balloon tells what is unused', lambda: figure('unused'))
    check(figure('actual') == 256 << 10, 'all memory')
    s.ok('setmem', 'guest', '200M', '--live')
    until('the balloon takes memory', lambda: figure('actual') == 200 << 10)
    s.ok('setmem', 'guest', '256M', '--live')
    until('the balloon gives memory', lambda: figure('actual') == 256 << 10)


def screen_and_keys(s, c):
    s.ok('screenshot', 'guest', f'{s.dir}/shot.png')
    check(open(f'{s.dir}/shot.png', 'rb').read(8) == b'\x89PNG\r\n\x1a\n', 'a screenshot')
    s.ok('domdisplay', 'guest', answer='vnc.*/vnc')
    c.send('exec 3< /dev/tty1; echo READS; read -r typed <&3; echo TYPED "$typed"')     # keys are lost while nobody has it open
    c.wait('READS')
    s.ok('send-key', 'guest', 'KEY_L')
    s.ok('send-key', 'guest', 'KEY_S')
    s.ok('send-key', 'guest', 'KEY_ENTER')
    c.wait('TYPED ls\r?\n')
    c.wait('DONE-')
    s.ok('inject-nmi', 'guest')
    until('the NMI', lambda: 'NMI received' in c.run('dmesg | grep -a NMI'))


def stop_and_go(s, c):
    s.ok('suspend', 'guest')
    s.ok('domstate', 'guest', answer='^paused')
    c.send('echo WO""KE')
    time.sleep(0.5)
    check('WOKE' not in c.text, 'a paused guest is silent')
    s.ok('resume', 'guest')
    c.wait('WOKE')
    c.wait('DONE-')
    s.ok('domstate', 'guest', answer='^running')
    s.ok('vcpuinfo', 'guest', answer=r'CPU time: +\d')
    s.ok('qemu-monitor-command', 'guest', '--hmp', 'info status', answer='running')


def disk_comes_and_goes(s, c):
    s.ok('attach-disk', 'guest', f'{s.dir}/more.qcow2', 'vdb', '--driver', 'qemu', '--subdriver', 'qcow2', '--serial', 'more')
    until('the disk comes', lambda: 'more' in c.run('cat /sys/block/vdb/serial'))
    s.ok('domblklist', 'guest', answer='vdb.*more.qcow2')
    s.ok('detach-disk', 'guest', 'vdb')
    until('the disk goes', lambda: 'vdb' not in s.ok('domblklist', 'guest'))
    check('vdb' not in c.run('ls /sys/block'), 'the guest has let go of it')


def card_comes_and_goes(s):
    """Networks of a user's own session are user networks, which virsh has no short command for."""
    mac = '52:54:00:11:22:44'
    with open(f'{s.dir}/card.xml', 'w') as f:
        f.write(f"<interface type='user'><mac address='{mac}'/><model type='virtio'/></interface>")
    s.ok('attach-device', 'guest', f'{s.dir}/card.xml', '--live')
    s.ok('domiflist', 'guest', answer=mac)
    s.ok('detach-interface', 'guest', 'user', '--mac', mac, '--live')
    until('the card goes', lambda: mac not in s.ok('domiflist', 'guest'))


def core(s):
    """The file is one that libvirt opens and hands over."""
    s.ok('dump', 'guest', f'{s.dir}/core', '--memory-only')
    with open(f'{s.dir}/core', 'rb') as f:
        check(f.read(4) == b'\x7fELF' and os.path.getsize(f'{s.dir}/core') >= 256 * MIB, 'a core of the guest')
    os.unlink(f'{s.dir}/core')
    s.ok('domstate', 'guest', answer='^running')


def refusals(s):
    s.refused('save', 'guest', f'{s.dir}/saved', answer='error')
    s.refused('managedsave', 'guest', answer='error')
    s.refused('snapshot-create-as', 'guest', 'one', answer='error')
    s.ok('domstate', 'guest', answer='^running')


def daemon_comes_back(s):
    pid = s.ok('qemu-monitor-command', 'guest', '{"execute":"query-cpus-fast"}')
    s.stop()
    s.start()
    s.ok('list', '--name', answer='^guest$')
    check(re.findall('thread-id":(\\d+)', s.ok('qemu-monitor-command', 'guest', '{"execute":"query-cpus-fast"}')) == re.findall('thread-id":(\\d+)', pid), 'the same machine')


def state(s, wanted):
    until(wanted, lambda: wanted in s.run('domstate', '--reason', 'guest')[1])


def life(s):
    s.ok('define', f'{s.dir}/guest.xml')
    s.ok('start', 'guest')
    s.ok('ttyconsole', 'guest', answer='/dev/pts/')
    c = Console(s)
    c.boot()
    s.ok('dominfo', 'guest', answer=r'State: +running')
    check(c.run('nproc').split()[:1] == ['2'], 'two processors')
    disk_figures(s, c)
    memory(s)
    screen_and_keys(s, c)
    stop_and_go(s, c)
    disk_comes_and_goes(s, c)
    card_comes_and_goes(s)
    core(s)
    refusals(s)
    c.close()
    daemon_comes_back(s)
    c = Console(s)
    c.boot()
    c.run('gone=0')
    s.ok('reset', 'guest')
    c.boot()
    check('0' not in c.run('echo x$gone'), 'it started anew')
    s.ok('shutdown', 'guest', '--mode', 'acpi')
    state(s, 'shut off (shutdown)')
    c.close()


def starts_by_itself(s):
    s.ok('autostart', 'guest')
    s.stop()
    for root, _, files in os.walk(f'{s.dir}/run'):
        if 'autostarted' in files:
            os.unlink(f'{root}/autostarted')
    s.start()
    state(s, 'running')
    s.ok('destroy', 'guest')
    state(s, 'shut off (destroyed)')
    s.ok('autostart', '--disable', 'guest')
    s.ok('undefine', 'guest')


def with_uefi(s):
    """libvirt finds the firmware by its descriptor and makes the file of variables."""
    if not os.path.isdir('/usr/share/qemu/firmware') or not os.path.exists('/usr/share/OVMF/OVMF_CODE_4M.fd'):
        print('libvirt: SKIP UEFI: ovmf is missing; tools/setup test installs it')
        return
    with open(f'{s.dir}/guest.xml') as f, open(f'{s.dir}/uefi.xml', 'w') as to:
        to.write(re.sub('<os>.*</os>', "<os firmware='efi'><type arch='x86_64' machine='pc'>hvm</type></os>", f.read()))
    s.ok('define', f'{s.dir}/uefi.xml')
    s.ok('start', 'guest')
    answer = s.ok('qemu-monitor-command', 'guest', '{"execute":"query-block"}')
    check('/machine/system.flash0' in answer and '/machine/system.flash1' in answer, f'both flash chips among the drives: {answer}')
    s.ok('domblkstat', 'guest', 'vda', answer='rd_req')
    variables = re.search("<nvram.*>(.*)</nvram>", s.ok('dumpxml', 'guest'))
    check(variables and os.path.getsize(variables[1]) == os.path.getsize('/usr/share/OVMF/OVMF_VARS_4M.fd'), 'a file of variables')
    s.ok('destroy', 'guest')
    s.ok('undefine', '--nvram', 'guest')
    check(not os.path.exists(variables[1]), 'it went with the domain')


def disk_at_bus(s, name):
    s.ok('domblkstat', 'guest', name, answer=f'{name} rd_req [0-9]')
    s.ok('domblkinfo', 'guest', name, answer=rf'Capacity: +{64 * MIB}\b')
    s.ok('blkdeviotune', 'guest', name, '--total-iops-sec', '100', '--live')
    s.ok('blkdeviotune', 'guest', name, answer=r'total_iops_sec *: 100\b')
    s.ok('blockresize', 'guest', name, '80M')
    s.ok('domblkinfo', 'guest', name, answer=rf'Capacity: +{80 * MIB}\b')


def disc_at_bus(s, name):
    s.ok('domblkstat', 'guest', name, answer=f'{name} rd_req [0-9]')
    s.ok('change-media', 'guest', name, '--eject')
    s.ok('domblklist', 'guest', answer=rf'{name} +-\n')
    s.ok('change-media', 'guest', name, f'{s.dir}/disc2', '--insert')
    s.ok('domblkinfo', 'guest', name, answer=rf'Capacity: +{4 * MIB}\b')
    s.ok('change-media', 'guest', name, f'{s.dir}/disc1', '--update')
    s.ok('domblkinfo', 'guest', name, answer=rf'Capacity: +{2 * MIB}\b')
    s.ok('blkdeviotune', 'guest', name, '--total-iops-sec', '100', '--live')


def disk_goes_from_bus(s, bus, name):
    s.ok('attach-disk', 'guest', f'{s.dir}/more.qcow2', name, '--targetbus', bus, '--driver', 'qemu', '--subdriver', 'qcow2', '--live')
    s.ok('domblkstat', 'guest', name, answer=f'{name} rd_req [0-9]')
    s.ok('domblkinfo', 'guest', name, answer=rf'Capacity: +{64 * MIB}\b')
    s.ok('detach-disk', 'guest', name)
    until(f'{name} goes', lambda: name not in s.ok('domblklist', 'guest'))


def disks_at_all_buses(s):
    """No guest has to do anything for it: nothing is started."""
    with open(f'{s.dir}/guest.xml') as f, open(f'{s.dir}/buses.xml', 'w') as to:
        text = re.sub('<os>.*</os>', "<os><type arch='x86_64' machine='pc'>hvm</type></os>", f.read())
        to.write(text.replace('<interface', DISKS.format(dir=s.dir) + '<interface', 1))
    s.ok('define', f'{s.dir}/buses.xml')
    s.ok('start', 'guest')
    for name in 'hda', 'sda', 'sdc', 'sde':
        disk_at_bus(s, name)
    for name in 'hdc', 'sdb', 'sdd':
        disc_at_bus(s, name)
    for bus, name in ('scsi', 'sdx'), ('usb', 'sdy'):
        disk_goes_from_bus(s, bus, name)
    s.ok('detach-disk', 'guest', 'sde')
    check(s.ok('domstats', 'guest', '--block').count('.capacity=') == 7, 'figures of all disks and discs')
    s.ok('domblkerror', 'guest', answer='No errors')
    s.ok('destroy', 'guest')
    s.ok('undefine', 'guest')


def files_make(s, vmm):
    kernel = need('/boot/vmlinuz-*cloud*', 'linux-image-cloud-amd64')
    load, modules = drivers(kernel, 'virtio_pci', 'virtio_blk', 'virtio_balloon', 'virtio_console', 'button', 'evdev')
    shutil.copy(kernel, f'{s.dir}/vmlinuz')
    initramfs(f'{s.dir}/initrd', f'export PATH=/bin:/sbin:/usr/bin:/usr/sbin\n{load}\n{SCRIPT}', modules)
    os.mkdir(f'{s.dir}/bin')
    shutil.copy(vmm, f'{s.dir}/bin/qemu-system-x86_64')
    for name in 'disk.qcow2', 'more.qcow2', 'hda', 'sdc':
        subprocess.run(['qemu-img', 'create', '-q', '-f', 'qcow2', f'{s.dir}/{name}', '64M'], check=True)
    for name, size in ('sda', 64 * MIB), ('sde', 64 * MIB), ('disc1', 2 * MIB), ('disc2', 4 * MIB):
        with open(f'{s.dir}/{name}', 'wb') as f:
            f.truncate(size)
    with open(f'{s.dir}/guest.xml', 'w') as f:
        f.write(DOMAIN.format(dir=s.dir))
    os.chmod(s.dir, 0o755)
    s.own()


def tail(path):
    if os.path.exists(path):
        print(f'---- {path}\n' + open(path, errors='replace').read()[-3000:])


def run(a, folder):
    s = Session(folder)
    files_make(s, a.vmm.split()[0])
    try:
        s.start()
        learns(s)
        life(s)
        starts_by_itself(s)
        with_uefi(s)
        disks_at_all_buses(s)
    except Failure:
        tail(f'{folder}/cache/libvirt/qemu/log/guest.log')
        tail(f'{folder}/log')
        raise
    finally:
        if s.daemon:
            s.run('destroy', 'guest')
        s.stop()


def main():
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument('--vmm', required=True)
    a = p.parse_args()
    signal.signal(signal.SIGTERM, lambda *x: sys.exit(1))
    try:
        for program, package in ('libvirtd', 'libvirt-daemon'), ('virsh', 'libvirt-clients'):
            if not shutil.which(program, path=os.environ['PATH'] + ':/usr/sbin'):
                raise Skip(f'{program} is missing; install {package}')
        with tempfile.TemporaryDirectory(prefix='lv') as folder:
            run(a, folder)
    except Skip as e:
        print(f'libvirt: SKIP {e}')
        return 77
    except Failure as e:
        print(f'libvirt: FAIL {e}')
        return 1
    print(f'libvirt: {checks} checks, 0 failed')
    return 0


if __name__ == '__main__':
    sys.exit(main())
