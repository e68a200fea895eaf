#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0-or-later
"""net.py --vmm CMD TEST...   Network cards by Linux' own drivers, in Debian's cloud kernel with an initramfs.

virtio      the virtio card in several kinds of ring: DHCP, ping, 20 MB from the host's loopback, to it, and through hostfwd, a cable that
            is pulled out; checksums of everything
e1000, rtl8139, ne2k   the same for cards of old, in Debian's kernel for all machines
hub         two cards of -net on one user network
cable       two machines on a socket, stream and datagrams
tap         a bridge with a DHCP server in a network namespace (needs root)
bridge      the same by the bridge helper, and whom it refuses
boot        a program from a TFTP server by iPXE
filters     what a driver has its card receive, as query-rx-filter tells it, and the events about it, against QEMU
user        what the user network's options promise: addresses, closed loopback, restrict, guestfwd, forwards of the monitor, dumps

What this machine lacks is skipped out loud (exit status 77)."""
import argparse
import contextlib
import hashlib
import http.server
import os
import random
import shutil
import socket
import struct
import subprocess
import sys
import threading
import time
sys.path.append(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
import leash            # noqa: E402, F401

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
import frame                                   # noqa: E402
from boot import Failure, Machine              # noqa: E402
from qmp import Client                          # noqa: E402
from cpio import Skip                          # noqa: E402
from ports import free_port                    # noqa: E402
from virtio import BAD, Guest, finish          # noqa: E402

DATA = random.Random(11).randbytes(20 << 20)
SUM = hashlib.md5(DATA).hexdigest()
# busybox' udhcpc calls a script with what it got.
DHCP = r'''mkdir -p /etc; ip link set lo up; ip link set eth0 up
cat > /tmp/dhcp <<'END'
#!/bin/sh
[ "$1" = bound ] || exit 0
ip addr add $ip/$mask dev $interface; ip route add default via $router; echo nameserver $dns > /etc/resolv.conf
echo bound $ip $router $dns $domain $hostname
END
chmod +x /tmp/dhcp
udhcpc -q -n -t 10 -i eth0 -s /tmp/dhcp 2>/dev/null || echo WRONG no lease
'''


class Web(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        data = DATA[:int(self.path[1:] or len(DATA))]
        self.send_response(200)
        self.send_header('Content-Length', str(len(data)))
        self.end_headers()
        self.wfile.write(data)

    def log_message(self, *what):
        pass


class Sink(threading.Thread):
    """Takes connections on the host's loopback and notes the checksum of what each sent, or how it broke and after how many bytes."""
    def __init__(self):
        super().__init__(daemon=True)
        self.listener = socket.create_server(('127.0.0.1', 0))
        self.port, self.sums = self.listener.getsockname()[1], []
        self.open = 0                                      # connections that send
        self.start()

    def run(self):
        with contextlib.suppress(OSError):
            while True:                                    # until end()
                s, peer = self.listener.accept()
                threading.Thread(target=self.take, args=(s, peer), daemon=True).start()

    def end(self):
        """The thread goes first: one that is left in accept() may come to wait at the descriptor's next owner, and take its connections."""
        self.listener.shutdown(socket.SHUT_RDWR)
        self.join()
        self.listener.close()

    def take(self, s, peer):
        h, bytes_in, data = hashlib.md5(), 0, b'x'
        self.open += 1
        with s:
            try:
                while data:
                    data = s.recv(1 << 16)
                    h.update(data)
                    bytes_in += len(data)
                self.sums.append(h.hexdigest())
            except OSError as e:
                self.sums.append(f'{bytes_in} bytes from {peer}, then {e}')
            self.open -= 1

    def wait(self, count, seconds=30):
        """The sums, of so many connections: the guest has sent before the last byte was read here."""
        end = time.time() + seconds
        while len(self.sums) < count and time.time() < end:
            time.sleep(0.02)
        return self.sums


@contextlib.contextmanager
def servers():
    web, sink = http.server.ThreadingHTTPServer(('127.0.0.1', 0), Web), Sink()
    threading.Thread(target=web.serve_forever, daemon=True).start()
    try:
        yield web.server_port, sink
    finally:
        web.shutdown()
        web.server_close()
        sink.end()


def fetch(m, port):
    """All that the guest sends on a forwarded port."""
    deadline = time.time() + 30
    while True:
        got = b''
        with contextlib.suppress(OSError), socket.create_connection(('127.0.0.1', port), 20) as s:
            s.settimeout(20)
            while data := s.recv(1 << 16):
                got += data
        if got:
            return got
        if time.time() > deadline:
            m.fail(f'nothing comes through port {port}')
        time.sleep(0.2)


def card(a, modules, device, size=len(DATA), sees_cable=True):
    forward, data = free_port(), DATA[:size]
    digest = hashlib.md5(data).hexdigest()
    with servers() as (web, sink):
        script = DHCP + f'''
ping -c 20 -i 0.02 -q -W 5 10.0.2.2 | grep -E "loss|round" || echo WRONG ping
ping -c 3 -i 0.05 -q -s 1472 -W 5 10.0.2.2 | grep loss
wget -q -O /tmp/got http://10.0.2.2:{web}/{size} || echo WRONG wget
echo sum $(md5sum < /tmp/got)
nc 10.0.2.2 {sink.port} < /tmp/got
echo sent; nc -l -p 22 < /tmp/got; nc -l -p 22 < /tmp/got; echo served
cable() {{ ping -c 1 -W 3 10.0.2.2 > /dev/null; }}
wait_for() {{ i=0; while [ $(cat /sys/class/net/eth0/carrier) != $1 ] && [ $i -lt 600 ]; do sleep 0.1; i=$((i+1)); done; echo carrier $(cat /sys/class/net/eth0/carrier); }}
{'wait_for 1; wait_for 0; wait_for 1' if sees_cable else 'echo carrier 1; while cable; do :; done; echo carrier 0; until cable; do :; done; echo carrier 1'}
ping -c 2 -q -W 5 10.0.2.2 | grep loss
echo errors $(cat /sys/class/net/eth0/statistics/rx_errors) $(cat /sys/class/net/eth0/statistics/tx_errors)'''
        args = ['-netdev', f'user,id=n,hostfwd=tcp:127.0.0.1:{forward}-:22', '-device', device + ',netdev=n,id=card']
        with Guest(a, modules, script, args, seconds=250) as m:
            m.serial('bound 10.0.2.15 10.0.2.2 10.0.2.3', BAD)
            m.serial('20 packets received, 0% packet loss', BAD)
            ping = m.serial(r'round-trip min/avg/max = [\d.]+/([\d.]+)/', BAD).group(1)
            m.serial(', 0% packet loss', BAD)
            m.serial('sum ' + digest, BAD)
            m.serial('sent', BAD)
            if sink.wait(1) != [digest]:
                m.fail(f'what the guest sent came as {sink.sums}, not {digest}; {sink.open} connections still send')
            if fetch(m, forward) != data or fetch(m, forward) != data:
                m.fail('what came through hostfwd is something else')
            m.serial('served.*?carrier 1', BAD)
            if 'macaddr=52:54:00:12:34:56' not in m.command('info network'):
                m.fail('info network: ' + m.command('info network'))
            m.command('set_link card off')
            m.serial('carrier 0', BAD)
            m.command('set_link n on')
            m.serial('carrier 1', BAD)
            m.serial('2 packets received', BAD)
            m.serial('errors 0 0', BAD)
            finish(m)
    return ping


RINGS = ('', ',packed=on,disable-legacy=on', ',disable-modern=on', ',mrg_rxbuf=off,event_idx=off', ',mrg_rxbuf=off,csum=off,guest_csum=off,vectors=0,indirect_desc=off')


def virtio(a):
    pings = [card(a, ['virtio_net'], 'virtio-net-pci' + options) for options in RINGS]
    return f'{len(RINGS)} kinds of ring, 80 MB each; ping {", ".join(pings)} ms'


def old(model, module, size=len(DATA), sees_cable=True):
    def test(a):
        return f'{size >> 20} MB three times, ping {card(a, ["all", module], model, size, sees_cable)} ms'
    return test


# What a guest does to its card, between looks at the filters.
FILTER_STEPS = ('ip link set eth0 up', 'ip link set eth0 promisc on', 'ip link set eth0 promisc off', 'ip link set eth0 allmulticast on', 'ip link set eth0 allmulticast off',
                'ip link add link eth0 name v7 type vlan id 7', 'ip link set eth0 down; ip link set eth0 address 52:54:00:00:00:77; ip link set eth0 up',
                'ip link add link eth0 name m1 address 02:00:00:00:00:01 type macvlan mode private; ip link set m1 up', 'ip link del m1; ip link del v7')


def filters_seen(a, vmm):
    there, path, seen = argparse.Namespace(**{**vars(a), 'vmm': vmm}), os.path.join(a.dir, 'qmp'), []
    args = ['-qmp', f'unix:{path},server=on,wait=off', '-netdev', 'user,id=n', '-device', 'virtio-net-pci,netdev=n,id=card', '-device', 'e1000,netdev=o,id=old,romfile=',
            '-netdev', 'user,id=o']
    script = 'echo READY; stty -echo; while read line && [ "$line" != end ]; do eval "$line"; echo STEP; done'
    with Guest(there, ['virtio_net', '8021q', 'macvlan'], script, args, seconds=250) as m:
        m.serial('READY', BAD)
        c = Client(path)
        for step in FILTER_STEPS:
            m.send(step + '\n')
            m.serial('STEP', BAD)
            got = c.run('query-rx-filter', name='card')
            got[0]['vlan-table'].sort()
            got[0]['multicast-table'] = sorted(x for x in got[0]['multicast-table'] if not x.startswith('33:33:ff'))     # come when IPv6 is so far
            del got[0]['broadcast-allowed']                # QEMU 7.2 says the contrary
            seen.append((step, got, [e['data'] for e in c.events]))
            c.events.clear()
        seen.append([c.raw({'execute': 'query-rx-filter', 'arguments': {'name': name}}) for name in ('old', 'nobody')])
        seen.append([f['name'] for f in c.run('query-rx-filter')])
        m.send('end\n')
        finish(m)
    return seen


def filters(a):
    mine, theirs = filters_seen(a, a.vmm), filters_seen(a, 'qemu-system-x86_64 -accel tcg')
    for ours, its in zip(mine, theirs):
        if ours != its:
            raise Failure(f'{ours} is not {its}')
    return f'{len(FILTER_STEPS)} steps of a driver as QEMU sees them'


def hub(a):
    """Two cards and a user network of -net on one wire: each card by itself, and what one sends seen by the other."""
    with servers() as (web, sink):
        def use(this, other):
            return f"""
ip link set {other} down; ip link set {this} up
udhcpc -q -n -t 10 -i {this} -s /tmp/dhcp 2>/dev/null || echo WRONG no lease
wget -q -O /tmp/got http://10.0.2.2:{web}/ || echo WRONG wget
echo sum $(md5sum < /tmp/got)
nc 10.0.2.2 {sink.port} < /tmp/got
ip addr flush dev {this}"""
        script = DHCP.replace('udhcpc', '#') + use('eth0', 'eth1') + use('eth1', 'eth0') + """
ip link set eth0 up; ip link set eth1 up
before=$(cat /sys/class/net/eth0/statistics/rx_packets)
ip addr add 10.0.2.77/24 dev eth1; for i in 1 2 3; do ping -c 1 -W 1 10.0.2.99 > /dev/null; done
[ $(cat /sys/class/net/eth0/statistics/rx_packets) -ge $((before + 3)) ] && echo both on one wire
echo errors $(cat /sys/class/net/eth?/statistics/rx_errors)"""
        with Guest(a, ['virtio_net'], script, ['-net', 'nic,model=virtio', '-net', 'nic,model=virtio', '-net', 'user'], seconds=250) as m:
            for _ in range(2):
                m.serial('bound 10.0.2.1', BAD)
                m.serial('sum ' + SUM, BAD)
            m.serial('both on one wire', BAD)
            m.serial('errors 0 0', BAD)
            finish(m)
        if sink.wait(2) != [SUM, SUM]:
            raise Failure(f'what the guest sent came as {sink.sums}; {sink.open} connections still send')
    return 'DHCP and 20 MB each way by either of two cards of -net'


def dump_check(path):
    """(frames, those longer than an Ethernet packet) of a pcap file."""
    data = open(path, 'rb').read()
    if struct.unpack_from('<IHH', data) != (0xa1b2c3d4, 2, 4):
        raise Failure('the dump is no pcap file')
    at, frames, large = 24, 0, 0
    while at < len(data):
        stored, size = struct.unpack_from('<II', data, at + 8)
        if stored != min(size, 100):
            raise Failure(f'frame {frames} of {size} bytes is stored with {stored}')
        at += 16 + stored
        frames += 1
        large += size > 1514
    if at != len(data):
        raise Failure('the dump ends in the middle of a frame')
    return frames, large


def dump_sources(path):
    """The addresses that frames of a pcap file come from."""
    data, at, found = open(path, 'rb').read(), 24, set()
    while at + 28 <= len(data):
        found.add(data[at + 22:at + 28].hex(':'))
        at += 16 + struct.unpack_from('<I', data, at + 8)[0]
    return found


def echo_server():
    """A service on the host's loopback that greets and gives back what it gets; its port, and how many came."""
    listener = socket.create_server(('127.0.0.1', 0))
    came = []

    def one(s):
        with contextlib.suppress(OSError):
            s.sendall(b'welcome: ')
            while data := s.recv(65536):
                s.sendall(data)

    def serve():
        while True:
            came.append(listener.accept()[0])
            threading.Thread(target=one, args=(came[-1],), daemon=True).start()
    threading.Thread(target=serve, daemon=True).start()
    return listener.getsockname()[1], came


def user(a):
    dump = os.path.join(a.dir, 'dump.pcap')
    path = os.path.join(a.dir, 'service')
    service = socket.socket(socket.AF_UNIX)
    service.bind(path)
    service.listen(4)

    def serve():
        with contextlib.suppress(OSError):
            while True:
                s, _ = service.accept()
                s.sendall(b'hello from the socket\n')
                s.close()
    threading.Thread(target=serve, daemon=True).start()
    with servers() as (web, sink):
        open_args = ['-object', f'filter-dump,id=f,netdev=n,file={dump},maxlen=100', '-object', f'filter-dump,id=r,netdev=n,file={dump}.rx,queue=rx', '-netdev',
                     'user,id=n,net=192.168.7.0/24,host=192.168.7.1,dhcpstart=192.168.7.40,dns=192.168.7.9,domainname=example.org,hostname=anna', '-device', 'virtio-net-pci,netdev=n']
        script = DHCP + f'''
wget -q -O /tmp/got http://192.168.7.1:{web}/; echo sum $(md5sum < /tmp/got)
ping -c 3 -i 0.05 -q -W 5 -s 5000 192.168.7.1 | grep loss; ping -c 3 -i 0.05 -q -W 5 -s 60000 192.168.7.1 | grep loss
(nc -l -p 80 < /tmp/dhcp) & echo listening; wait; echo fetched
i=0; while [ $i -lt 600 ] && ! ip -6 addr show dev eth0 | grep -q fec0; do sleep 0.1; i=$((i+1)); done; ip -6 addr show dev eth0 | grep fec0 | grep -q 5054 && echo ipv6'''
        with Guest(a, ['virtio_net'], script, open_args) as m:
            m.serial('bound 192.168.7.40 192.168.7.1 192.168.7.9 example.org anna', BAD)
            m.serial('sum ' + SUM, BAD)
            m.serial(', 0% packet loss.*?, 0% packet loss', BAD)
            m.serial('listening', BAD)
            if m.command(f'object_add filter-dump,id=t,netdev=n,file={dump}.tx,queue=tx').strip():
                m.fail('object_add fails')
            forward = free_port()
            if m.command(f'hostfwd_add tcp:127.0.0.1:{forward}-:80').strip():
                m.fail('hostfwd_add fails')
            if b'udhcpc' in (got := fetch(m, forward)) or b'bound' not in got:
                m.fail(f'the forward gives {got[:60]}')
            if f'127.0.0.1 {forward}' not in m.command('info usernet'):
                m.fail('info usernet: ' + m.command('info usernet'))
            m.command('announce_self')
            if 'not found' in m.command('object_del t') or 'not found' not in m.command('object_del t'):
                m.fail('object_del does not end a dump, or twice')
            m.command(f'hostfwd_remove tcp:127.0.0.1:{forward}')
            with contextlib.suppress(OSError), socket.create_connection(('127.0.0.1', forward), 2):
                m.fail('a removed forward still listens')
            m.serial('fetched', BAD)
            m.serial('ipv6', BAD)
            finish(m)
        if dump_sources(dump + '.rx') != {'52:54:00:12:34:56'} or not (others := dump_sources(dump + '.tx')) or '52:54:00:12:34:56' in others:
            raise Failure(f'queue=rx has frames of {dump_sources(dump + ".rx")}, queue=tx of {others}')
        frames, large = dump_check(dump)
        if frames < 50 or not large:
            raise Failure(f'the dump has {frames} frames, {large} large')
        echo, asked = echo_server()
        forward = free_port()
        for options, refused in (('host-loopback=off,dns=192.0.2.53', True), (f'restrict=on,hostfwd=tcp:127.0.0.1:{forward}-:22,guestfwd=tcp:10.0.2.100:80-unix:{path},'
                                  f'guestfwd=tcp:10.0.2.101:80-cmd:echo from $((40+2)),'
                                  f'guestfwd=tcp:10.0.2.102:80-chardev:gf,guestfwd=tcp:10.0.2.103:80-tcp:127.0.0.1:{echo}', True), ('ipv6=off', False)):
            script = DHCP + f'''
echo x | nc -w {3 if refused else 60} 10.0.2.2 {sink.port} && echo reached || echo refused
for n in 0 1; do
    nc 10.0.2.10$n 80 < /dev/null > /tmp/said$n & nc=$!
    i=0; while [ ! -s /tmp/said$n ] && [ $i -lt {600 if 'restrict' in options else 30} ]; do sleep 0.1; i=$((i+1)); done
    kill $nc 2> /dev/null; cat /tmp/said$n
done
forward() {{
    head -c 300000 /tmp/zeroes | tr '\\0' $1 > /tmp/$1
    : > /tmp/got$1; nc $2 80 < /tmp/$1 > /tmp/got$1 & nc=$!
    i=0; while [ $(wc -c < /tmp/got$1) -lt 300009 ] && [ $i -lt 600 ]; do sleep 0.1; i=$((i+1)); done
    kill $nc 2> /dev/null; head -c 9 /tmp/got$1; tail -c 300000 /tmp/got$1 | cmp - /tmp/$1 && echo all of $1
}}
head -c 300000 /dev/zero > /tmp/zeroes
[ %d = 1 ] && {{ forward a 10.0.2.102; forward b 10.0.2.103; }}
ping -c 1 -W 3 10.0.2.2 >/dev/null && echo echo
[ %d = 1 ] && {{ echo serving; nc -l -p 22 < /tmp/dhcp; echo served; }}'''
            before = len(sink.sums)
            args = ['-chardev', f'socket,id=gf,host=127.0.0.1,port={echo}', '-nic', f'user,model=virtio,{options}']
            with Guest(a, ['virtio_net'], script % (('restrict' in options,) * 2), args) as m:
                m.serial('bound 10.0.2.15 10.0.2.2 192.0.2.53' if 'dns' in options else 'bound', BAD)
                m.serial('refused' if refused else 'reached', BAD)
                if 'restrict' in options:
                    m.serial('hello from the socket', BAD)
                    for name in 'ab':
                        m.serial(f'welcome: .*all of {name}', BAD)
                    m.serial('serving', BAD)
                    if b'bound' not in fetch(m, forward):
                        m.fail('with restrict=on the host does not reach the guest by hostfwd')
                    m.serial('served', BAD)
                finish(m)
            if len(sink.wait(before + (not refused))) - before != (not refused):
                raise Failure(f'{options}: {len(sink.sums) - before} connections reached the host')
    service.close()
    return f'addresses, forwards, loopback open and closed, restrict; a dump of {frames} frames'


def cable(a):
    """Two machines on cables of several kinds, both ends of each written in one of the ways there are: 20 MB each way on every one."""
    path = os.path.join(a.dir, 's')
    tcp, port, other = free_port(), free_port(), free_port()
    wires = [(f'stream,server=on,addr.type=unix,addr.path={path}', f'stream,addr.type=unix,addr.path={path}'),
             (f'stream,server=on,addr.type=inet,addr.host=127.0.0.1,addr.port={tcp}', f'socket,connect=127.0.0.1:{tcp}'),
             (f'dgram,local.type=inet,local.host=127.0.0.1,local.port={port},remote.type=inet,remote.host=127.0.0.1,remote.port={other}',
              f'socket,udp=127.0.0.1:{port},localaddr=127.0.0.1:{other}'),
             (f'dgram,local.type=unix,local.path={path}1,remote.type=unix,remote.path={path}2', f'dgram,local.type=unix,local.path={path}2,remote.type=unix,remote.path={path}1')]
    script = '''me=%d you=%d
for n in 0 1 2 3; do ip link set eth$n up; ip addr add 10.9.$n.$me/24 dev eth$n; done
for n in 0 1 2 3; do i=0; until ping -c 1 -W 1 10.9.$n.$you >/dev/null; do i=$((i+1)); [ $i = 100 ] && echo WRONG ping; done; done
head -c 20971520 /dev/urandom > /tmp/data; echo sum $(md5sum < /tmp/data); echo ready; read x
for n in 0 1 2 3; do %s; echo got$n $(md5sum < /tmp/got); done'''
    again = 'until nc 10.9.$n.1 %d %s; do sleep 0.1; done'             # until somebody listens
    work = ('nc -l -p 9 > /tmp/got; nc -l -p 10 < /tmp/data', again % (9, '< /tmp/data') + '; ' + again % (10, '> /tmp/got'))
    machines = []
    for n in (0, 1):
        b = argparse.Namespace(**{**vars(a), 'dir': os.path.join(a.dir, str(n))})
        os.mkdir(b.dir)
        args = [x for i, w in enumerate(wires) for x in ('-netdev', f'{w[n]},id=n{i}', '-device', f'virtio-net-pci,netdev=n{i},mac=52:54:00:00:0{i}:0{n + 1}')]
        machines.append(Guest(b, ['virtio_net'], script % (n + 1, 2 - n, work[n]), args, seconds=300))
    with machines[0] as one, machines[1] as two:
        sums = [m.serial(r'sum (\w{32}).*?ready', BAD).group(1) for m in (one, two)]
        for m in (one, two):
            m.send('\n')
        for n in range(len(wires)):
            got = [m.serial(rf'got{n} (\w{{32}})', BAD).group(1) for m in (one, two)]
            if got != sums[::-1]:
                one.fail(f'wire {n}: what arrives is something else: {got}, not {sums[::-1]}')
        finish(one)
        finish(two)
    return '20 MB each way between two machines, by unix and TCP streams, UDP and unix datagrams'


def reads(pid):
    """Calls to read of a process and its children (the machine may be started by another program)."""
    total = 0
    with contextlib.suppress(OSError):
        for child in open(f'/proc/{pid}/task/{pid}/children').read().split():
            total += reads(int(child))
        total += int(open(f'/proc/{pid}/io').read().split('syscr: ')[1].split()[0])
    return total


def connected(m, command, source):
    """What a program says that connects to the guest; again while it is refused, for a guest says that it will listen before it does."""
    while True:
        p = subprocess.run(command, stdin=source, capture_output=True, timeout=120)
        if p.returncode == 0:
            return p.stdout
        if b'refused' not in p.stderr or time.time() > m.deadline:
            m.fail(f'{command}: status {p.returncode}, {p.stderr.decode()}')
        time.sleep(0.1)


def tap(a):
    """In a network namespace of its own: a bridge with a DHCP server, one virtio card with two queues and an e1000."""
    for program in ('ip', 'dnsmasq'):
        if not shutil.which(program, path=os.environ['PATH'] + ':/usr/sbin:/sbin'):
            raise Skip(f'{program} is missing')
    space = f'ospite-test-{os.getpid()}'
    if os.geteuid() or subprocess.run(['ip', 'netns', 'add', space], capture_output=True).returncode:
        raise Skip('no right to make a network namespace')
    run = ['ip', 'netns', 'exec', space]
    server = None
    try:
        for line in ('link set lo up', 'link add br0 type bridge', 'addr add 10.8.8.1/24 dev br0', 'link set br0 up', 'tuntap add dev t0 mode tap multi_queue',
                     'tuntap add dev t1 mode tap', 'link set t0 master br0 up', 'link set t1 master br0 up'):
            if subprocess.run([*run, 'ip', *line.split()], capture_output=True).returncode:
                raise Skip(f'this kernel does not do: ip {line}')
        server = subprocess.Popen([*run, 'dnsmasq', '-d', '-C', '/dev/null', '-i', 'br0', '--bind-interfaces', '--dhcp-range=10.8.8.50,10.8.8.60', '-p', '0',
                                   f'--dhcp-leasefile={a.dir}/leases', '-u', 'root'], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        with open(os.path.join(a.dir, 'data'), 'wb') as f:
            f.write(DATA)
        inside = argparse.Namespace(**{**vars(a), 'vmm': ' '.join(run) + ' ' + a.vmm})
        for modules, device, options in ((['virtio_net'], 'virtio-net-pci,mq=on', 'ifname=t0,queues=2,sndbuf=1M'), (['all', 'e1000'], 'e1000', 'ifname=t1,vhost=on')):
            script = DHCP + '''
echo $(ls /sys/class/net/eth0/queues)
ping -c 5 -i 0.05 -q 10.8.8.1 | grep loss
echo ready; nc -l -p 9 > /tmp/got; echo sum $(md5sum < /tmp/got); nc -l -p 10 < /tmp/got'''
            with Guest(inside, modules, script, ['-netdev', f'tap,id=n,{options},script=no,downscript=no', '-device', device + ',netdev=n'], cpus=2, seconds=250) as m:
                ip = m.serial(r'bound (10\.8\.8\.\d+) ', BAD).group(1)
                if ('works without it' in m.stderr()) != ('vhost=on' in options):
                    m.fail('what it says of vhost=on: ' + m.stderr())
                if 'mq' in device:
                    m.serial('rx-0 rx-1 tx-0 tx-1', BAD)
                m.serial('5 packets received', BAD)
                m.serial('ready', BAD)
                with open(os.path.join(a.dir, 'data'), 'rb') as f:
                    connected(m, [*run, 'busybox', 'nc', ip, '9'], f)
                m.serial('sum ' + SUM, BAD)
                silent, end = os.pipe()                    # input that does not end: at its end the guest's nc would stop
                back = connected(m, [*run, 'busybox', 'nc', ip, '10'], silent)
                os.close(silent)
                os.close(end)
                if back != DATA:
                    m.fail(f'{len(back)} bytes come back, or others')
                finish(m)
        subprocess.run([*run, 'ip', 'link', 'del', 't1'], check=True)
        with Machine(inside.vmm, ['-nodefaults', '-S', '-netdev', 'tap,id=n,ifname=t7,script=no,downscript=no', '-device', 'e1000,netdev=n,romfile='], 120 * a.scale, serial=False) as m:
            m.command('info network')
            subprocess.run([*run, 'ip', 'link', 'del', 't7'], check=True)
            while "'t7' is gone" not in m.stderr():
                time.sleep(0.1)
                if time.time() > m.deadline:
                    m.fail('its interface was removed, and it does not say so')
            before = reads(m.process.pid)
            time.sleep(1)
            if (calls := reads(m.process.pid) - before) > 1000:
                m.fail(f'its interface was removed, and it asks {calls} times a second')
    finally:
        if server:
            server.kill()
            server.wait()
        subprocess.run(['ip', 'netns', 'del', space], capture_output=True)
    return 'DHCP, ping and 20 MB each way over a bridge, by two cards'


# The list of bridges, as the helper finds it in a mount namespace with an /etc of its own.
LISTS = (
    ('ospite', '# a comment\n\nallow br0\n', None), ('qemu', 'allow all\n', None), ('ospite', 'include /etc/more\n', None),
    ('ospite', 'allow br1\n', "'br0' is not allowed"), ('ospite', 'allow all\ndeny br0\n', "'br0' is denied"), ('ospite', '', "'br0' is not allowed"),
    ('ospite', 'permit br0\n', 'neither allow, deny nor include'), ('ospite', 'allow br0 br1\n', 'neither allow, deny nor include'), ('ospite', 'allow ' + 'x' * 2000, 'neither'),
    ('ospite', 'include /etc/ospite/bridge.conf\n', 'neither'), ('ospite', 'include more\n', 'neither'), ('ospite', 'allow br0\ninclude /etc\n', 'neither'), ('closed', 'deny br0\n', 'ermission denied'), ('other', '', 'there is no list'),
)


def bridge(a):
    """A machine in a network namespace gets an interface in a bridge from the helper, and only where a list allows it."""
    if not shutil.which('ip') or not shutil.which('dnsmasq', path=os.environ['PATH'] + ':/usr/sbin:/sbin'):
        raise Skip('ip or dnsmasq is missing')
    space = f'ospite-test-{os.getpid()}'
    if os.geteuid() or subprocess.run(['ip', 'netns', 'add', space], capture_output=True).returncode:
        raise Skip('no right to make a network namespace')
    run, server = ['ip', 'netns', 'exec', space], None
    try:
        for line in ('link set lo up', 'link add br0 type bridge', 'link set br0 mtu 1400', 'addr add 10.8.8.1/24 dev br0', 'link set br0 up', 'tuntap add dev t9 mode tap'):
            if subprocess.run([*run, 'ip', *line.split()], capture_output=True).returncode:
                raise Skip(f'this kernel does not do: ip {line}')
        server = subprocess.Popen([*run, 'dnsmasq', '-d', '-C', '/dev/null', '-i', 'br0', '--bind-interfaces', '--dhcp-range=10.8.8.50,10.8.8.60', '-p', '0',
                                   f'--dhcp-leasefile={a.dir}/leases', '-u', 'root'], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        # The rest of what runs there runs with a small /etc, and, but for the helper's own privilege, as nobody.
        helper, command = os.path.join(a.dir, 'helper'), os.path.join(a.dir, 'inside')
        shutil.copy(a.helper, helper)
        os.chmod(a.dir, 0o755)
        os.chmod(helper, 0o4755)

        def list_write(folder, text):
            with open(command, 'w') as f:
                f.write(f"""#!/bin/sh
mount -t tmpfs none /etc && mkdir -p /etc/ospite /etc/qemu /etc/other /etc/closed && cp {a.dir}/list /etc/{folder}/bridge.conf && echo "allow br0" > /etc/more || exit 9
[ {folder} = closed ] && cp /etc/more /etc/qemu/bridge.conf && mv /etc/closed/bridge.conf /etc/ospite/ && chmod 700 /etc/ospite
cd /etc; exec "$@"
""")
            os.chmod(command, 0o755)
            with open(os.path.join(a.dir, 'list'), 'w') as f:
                f.write(text)
        inside = [*run, 'unshare', '-m', '--propagation', 'slave', command]
        nobody = [*inside, 'setpriv', '--reuid=65534', '--regid=65534', '--clear-groups']
        for folder, text, why in LISTS:
            list_write(folder, text)
            got = subprocess.run([*nobody, *a.vmm.split(), '-display', 'none', '-S', '-monitor', 'stdio', '-nic', f'bridge,helper={helper},model=virtio'],
                                 input='info network\nquit\n', capture_output=True, text=True, timeout=60)
            if (got.returncode != 0) != bool(why) or (why or 'ifname=tap0,br=br0') not in got.stdout + got.stderr:
                raise Failure(f'{folder}: {text[:60]!r}: {got.returncode} {got.stdout} {got.stderr}')
        list_write('ospite', 'allow all\n')
        for name, why in (('br9', 'no such interface'), ('t9', 'is no bridge'), ('br0/x', "no interface's name"), ('', "no interface's name")):
            got = subprocess.run([*nobody, helper, f'--br={name}', '--fd=1'], capture_output=True, text=True, timeout=60)
            if got.returncode != 1 or why not in got.stderr:
                raise Failure(f'--br={name}: {got}')
        for words in ([], ['--br=br0'], ['--br=br0', '--fd=x'], ['--br=br0', '--fd=1', '--more'], ['--br=br0', '--fd=99']):
            if subprocess.run([*nobody, helper, *words], capture_output=True, timeout=60).returncode != 1:
                raise Failure(f'{words} were taken')
        there = argparse.Namespace(**{**vars(a), 'vmm': ' '.join(inside) + ' ' + a.vmm})
        script = DHCP + 'ping -c 5 -i 0.05 -q 10.8.8.1 | grep loss; ping -c 3 -i 0.05 -q -s 1372 10.8.8.1 | grep loss'
        with Guest(there, ['virtio_net'], script, ['-netdev', f'bridge,id=n,br=br0,helper={helper}', '-device', 'virtio-net-pci,netdev=n'], seconds=250) as m:
            m.serial(r'bound 10\.8\.8\.', BAD)
            m.serial('5 packets received.*?3 packets received', BAD)
            finish(m)
        if ' tap' in subprocess.run([*run, 'ip', 'link'], capture_output=True, text=True).stdout:
            raise Failure('an interface was left')
    finally:
        if server:
            server.kill()
            server.wait()
        subprocess.run(['ip', 'netns', 'del', space], capture_output=True)
    return f'{len(LISTS)} lists, names and arguments that are refused to nobody; DHCP and ping over a bridge'


# Prints "NBP" on the serial port, and ends the machine by the debug exit port.
PROGRAM = bytes.fromhex('31c0 8ed8 baf803 be197c ac 84c0 7403 ee ebf8 ba0105 b010 ee f4') + b'NBP runs\r\n\0'


def boot(a):
    """All at once, since most of it is waiting: firmware and iPXE count seconds."""
    with open(os.path.join(a.dir, 'program'), 'wb') as f:
        f.write(PROGRAM)
    network = f'user,tftp={a.dir},bootfile=program'
    with contextlib.ExitStack() as all_of_them:
        def start(*args):
            return all_of_them.enter_context(Machine(a.vmm, ['-boot', 'n', *args], 250 * a.scale, log=a.log))

        machines = [start('-device', 'isa-debug-exit', '-nic', f'{network},model={model}') for model in ('virtio', 'e1000', 'rtl8139', 'ne2k_pci')]
        without = start('-netdev', f'{network},id=n', '-device', 'virtio-net-pci,netdev=n,romfile=')
        for m in machines:
            m.serial('NBP runs')
            status = m.end()
            if status != 33:
                m.fail(f'status {status}')
        without.screen('No bootable device')
    return 'SeaBIOS, iPXE, DHCP and TFTP with four cards; not without ROM'


TESTS = {'filters': filters, 'hub': hub, 'cable': cable, 'tap': tap, 'bridge': bridge, 'boot': boot, 'virtio': virtio, 'user': user, 'e1000': old('e1000', 'e1000'), 'rtl8139': old('rtl8139', '8139cp'), 'ne2k': old('ne2k_pci', 'ne2k-pci', 2 << 20, False)}


if __name__ == '__main__':
    frame.main(__doc__, TESTS, helper='build/ospite-bridge-helper')
