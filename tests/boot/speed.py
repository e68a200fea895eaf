#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0-or-later
"""Disk and network speed of machines beside each other: speed.py [-n ROUNDS] [--secs S] [--what raw,qcow2,user,tap] NAME=COMMAND...

    speed.py -n 3 tcg='qemu-system-x86_64 -accel tcg -cpu max' bt='build/ospite -accel bt'

The same kernel, initramfs and image files for each; the machines take turns. In the guest: fio (libaio, direct, depth 32 for 4k at random, 8 for
1 MiB in sequence) on virtio-blk, iperf3 both ways (to and from a server on the host) and ping on virtio-net. For each row the median of the rounds, and
the processor seconds of the whole process on the host for each gigabyte (disks: for each million operations with 4k). tap takes root: it is
in a network namespace of its own. No test: what it prints is for people."""
import argparse
import os
import re
import statistics
import subprocess
import sys
import tempfile
import time
sys.path.append(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
import leash            # noqa: E402, F401

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
from boot import Failure                          # noqa: E402
from net import DHCP                               # noqa: E402
from ports import free_port                        # noqa: E402
from virtio import BAD, Guest, libraries   # noqa: E402

JOBS = (('4k randread', 'randread', '4k', 32), ('4k randwrite', 'randwrite', '4k', 32), ('1M read', 'read', '1M', 8), ('1M write', 'write', '1M', 8))


def cpu_seconds(m):
    """Of the process and what it waited for."""
    field = open(f'/proc/{m.process.pid}/stat').read().rsplit(')', 1)[1].split()
    return (int(field[11]) + int(field[12])) / os.sysconf('SC_CLK_TCK')


def phase(m, name):
    """What the guest prints between the marks of a phase, and what that cost."""
    m.serial(f'BEGIN {name}\r?\n', BAD)
    before = cpu_seconds(m)
    text = m.serial(f'(.*?)END {name}\r?\n', BAD).group(1)
    return text, cpu_seconds(m) - before


def disk(a, args):
    got = {}
    for form in ('raw', 'qcow2'):
        if form not in a.what:
            continue
        script = 'export LC_ALL=C\n'
        for name, rw, size, depth in JOBS:
            script += (f'echo BEGIN {name}; fio --name=j --filename=/dev/vda --rw={rw} --bs={size} --iodepth={depth} --ioengine=libaio --direct=1 --thread '
                       f'--time_based --runtime={a.secs} --size=900M --randrepeat=1 --output-format=terse --terse-version=3 | grep "^3;"; echo END {name}\n')
        image = os.path.join(a.images, f'speed.{form}')
        with Guest(args, ['virtio_blk'], script, ['-drive', f'file={image},format={form},if=virtio', '-nic', 'none'], a.fio, seconds=100 + 8 * a.secs, memory=768) as m:
            for name, rw, size, _ in JOBS:
                text, cpu = phase(m, name)
                field = re.search(r'3;fio.*', text).group(0).split(';')
                at = 46 if 'write' in rw else 5
                kib, kib_a_second, iops = int(field[at]), int(field[at + 1]), float(field[at + 2])
                if size == '4k':
                    got[f'{form} {name}, IOPS'] = (iops, cpu / (iops * a.secs) * 1e6)
                else:
                    got[f'{form} {name}, MiB/s'] = (kib_a_second / 1024, cpu / (kib * 1024 / 1e9))
            m.serial('OSPITE-DONE')
    return got


def net(a, args, kind):
    port, got = free_port(), {}
    run = ['ip', 'netns', 'exec', a.space] if kind == 'tap' else []
    host = '10.8.8.1' if kind == 'tap' else '10.0.2.2'
    server = subprocess.Popen([*run, 'iperf3', '-s', '-p', str(port)], stdout=subprocess.DEVNULL)
    setup = 'ip link set lo up; ip link set eth0 up; ip addr add 10.8.8.2/24 dev eth0; sleep 1\n' if kind == 'tap' else DHCP
    client = f'iperf3 -c {host} -p {port} -t {a.secs} -f k | grep receiver'
    script = setup + (f'ping -c 3 -i 0.1 {host} > /dev/null; echo BEGIN ping; ping -c 300 -i 0.01 {host} > /tmp/ping; sed -n "s/.*time=\\(.*\\) ms/\\1/p" /tmp/ping | sort -n | sed -n 150p; echo END ping\n'
                      f'echo BEGIN send; {client}; echo END send\necho BEGIN receive; {client} -R; echo END receive; sleep 1\n')
    args = argparse.Namespace(**{**vars(args), 'vmm': ' '.join([*run, args.vmm])})
    card = ['-netdev', 'tap,id=n,ifname=t0,script=no,downscript=no' if kind == 'tap' else 'user,id=n', '-device', 'virtio-net-pci,netdev=n']
    try:
        with Guest(args, ['virtio_net'], script, card, a.iperf, seconds=100 + 6 * a.secs) as m:
            text, cpu = phase(m, 'ping')
            got[f'{kind} ping, us'] = (float(text) * 1000, cpu)
            for way in ('send', 'receive'):
                text, cpu = phase(m, way)
                kbit = float(re.search(r'(\d+) Kbits/sec', text).group(1))
                got[f'{kind} {way}, Mbit/s'] = (kbit / 1000, cpu / (kbit * a.secs / 8e6))
            m.serial('OSPITE-DONE')
    finally:
        server.kill()
        server.wait()
    return got


def namespace_make(space):
    run = ['ip', 'netns', 'exec', space, 'ip']
    subprocess.run(['ip', 'netns', 'add', space], check=True)
    for line in ('link set lo up', 'link add br0 type bridge', 'addr add 10.8.8.1/24 dev br0', 'link set br0 up', 'tuntap add dev t0 mode tap', 'link set t0 master br0 up'):
        subprocess.run([*run, *line.split()], check=True)


def images_make(folder):
    raw = os.path.join(folder, 'speed.raw')
    with open(raw, 'wb') as f:
        block = os.urandom(1 << 20)
        for _ in range(1024):
            f.write(block)
    subprocess.run(['qemu-img', 'convert', '-f', 'raw', '-O', 'qcow2', raw, os.path.join(folder, 'speed.qcow2')], check=True)


def rounds(a, commands):
    got = {}
    for n in range(a.n):
        for name, command in commands.items():
            with tempfile.TemporaryDirectory(prefix='ospite-speed-') as folder:
                args = argparse.Namespace(vmm=command, dir=folder, log=None, scale=1, guests='guests')
                rows = disk(a, args) if {'raw', 'qcow2'} & set(a.what) else {}
                for kind in ('user', 'tap'):
                    if kind in a.what:
                        rows.update(net(a, args, kind))
            for row, value in rows.items():
                got.setdefault(row, {}).setdefault(name, []).append(value)
    return got


def main():
    p = argparse.ArgumentParser(usage=__doc__)
    p.add_argument('-n', type=int, default=3)
    p.add_argument('--secs', type=int, default=4)
    p.add_argument('--what', default='raw,qcow2,user,tap')
    p.add_argument('--images', default='/var/tmp', help='where the image files are made')
    p.add_argument('commands', nargs='+')
    a = p.parse_args()
    a.what, a.space = a.what.split(','), f'ospite-speed-{os.getpid()}'
    a.fio, a.iperf = libraries('/usr/bin/fio'), libraries('/usr/bin/iperf3')
    commands = dict(c.split('=', 1) for c in a.commands)
    with tempfile.TemporaryDirectory(prefix='ospite-speed-', dir=a.images) as a.images:
        try:
            if {'raw', 'qcow2'} & set(a.what):
                images_make(a.images)
            if 'tap' in a.what:
                namespace_make(a.space)
            got = rounds(a, commands)
        except Failure as why:
            print(f'FAIL {why}')
            return 1
        finally:
            if 'tap' in a.what:
                subprocess.run(['ip', 'netns', 'del', a.space])
    first = next(iter(commands))
    print(f'median of {a.n}; in brackets processor seconds: of a GB, of a million operations, of the whole ping\n| | ' + ' | '.join(commands) + ' | ratio |')
    for row, by in got.items():
        cell = {n: (statistics.median(v[0] for v in x), statistics.median(v[1] for v in x)) for n, x in by.items()}
        ratios = ', '.join(f'{cell[n][0] / cell[first][0]:.2f} ({cell[first][1] / max(cell[n][1], .001):.2f})' for n in cell if n != first)
        print(f'| {row} | ' + ' | '.join(f'{x[0]:.0f} ({x[1]:.2f})' for x in cell.values()) + f' | {ratios} |')
    return 0


if __name__ == '__main__':
    start = time.time()
    status = main()
    print(f'{time.time() - start:.0f} s', file=sys.stderr)
    sys.exit(status)
