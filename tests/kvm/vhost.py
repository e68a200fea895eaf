#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0-or-later
"""vhost.py --ospite BINARY --guests DIR ENGINE   vhost-net, wherever this runs: in Debian's kernel with vhost_net and kvm-amd inside QEMU's TCG.

There ospite runs Debian's cloud kernel with three virtio cards (two pairs of queues; the old interface and headers; packed rings wished for) on tap
interfaces with vhost=on: ping, a file both ways; then, on the first, the machine stopped and continued under load, the cable pulled, the driver
restarted, the card unplugged and another plugged; at the end the kernel is asked what poll-us= it has. That the kernel carries the frames is told by
ospite's counters, which stay at 0; with KVM it also hears of notifications and interrupts by itself: ospite hears of none but those while the kernel
does not serve the card.
What the machine lacks is skipped out loud (exit status 77)."""
import hashlib
import os
import random
import re
import sys

sys.path.insert(0, os.path.join(os.path.dirname(os.path.dirname(os.path.abspath(__file__))), 'boot'))
import frame                                                       # noqa: E402
from cpio import need                                              # noqa: E402
from outer import inner_guest, outer_machine                       # noqa: E402
from virtio import BAD                                             # noqa: E402

MAX_RUNG = 60                # notifications that come to ospite while a card is set up, stopped and without cable
DATA = random.Random(12).randbytes(1 << 20)
SUM, SUM3 = hashlib.md5(DATA).hexdigest(), hashlib.md5(3 * DATA).hexdigest()

# Cards of the guest in the guest: properties, those of their networks, and which of indirect descriptors, event index, version 1, packed it then finds.
CARDS = [(',mq=on', ',queues=2,poll-us=50', '1110'), (',disable-modern=on,mrg_rxbuf=off,event_idx=off,indirect_desc=off', '', '0000'), (',packed=on', '', '1110')]

# In the guest in the guest; what happens meanwhile is told by echo on the serial line.
INNER = r'''
up() { ip link set eth$1 up; ip addr add 10.9.$1.2/24 dev eth$1; }
pings() { ping -c $2 -i 0.1 -q -W 10 10.9.$1.1 | grep loss || echo WRONG ping; }
until_is() { i=0; while [ "$($2)" != "$1" ] && [ $i -lt 600 ]; do sleep 0.1; i=$((i+1)); done; echo "$3 $($2)"; }
carrier() { cat /sys/class/net/eth0/carrier; }
there() { ls /sys/class/net | grep -c eth0 || :; }
for n in 0 1 2; do
    up $n
    pings $n 8
    echo features $n $(cut -c 29-30,33,35 /sys/bus/virtio/devices/virtio$n/features)
    wget -q -O /tmp/got http://10.9.$n.1/data || echo WRONG wget
    echo down $n $(md5sum < /tmp/got)
    nc 10.9.$n.1 1$n < /tmp/got
done
echo queues $(ls /sys/class/net/eth0/queues | grep -c rx)
(for i in 1 2 3; do wget -q -O - http://10.9.0.1/data; done | md5sum > /tmp/sum; echo ended > /tmp/ended) &
echo NOW-STOP
for i in 1 2 3; do cat /tmp/got; done | nc 10.9.0.1 20
ended() { cat /tmp/ended 2> /dev/null; }
until_is ended ended ended
echo stopped $(cat /tmp/sum)
echo NOW-OFF; until_is 0 carrier carrier; until_is 1 carrier carrier; pings 0 5
ip link set eth0 down; ip link set eth0 up; pings 0 5
echo virtio0 > /sys/bus/virtio/drivers/virtio_net/unbind; echo virtio0 > /sys/bus/virtio/drivers/virtio_net/bind; up 0; pings 0 5
echo NOW-UNPLUG; until_is 0 there there; until_is 1 there there; up 0; pings 0 5
echo NOW-END; last() { cat /sys/class/net/eth1/carrier; }; until_is 0 last last
'''

# Around it.
OUTER = r'''
echo '#!/bin/sh' > /up; echo 'ip addr add 10.9.${1#t}.1/24 dev $1; ip link set $1 up' >> /up; chmod +x /up
httpd -p 80 -h /
say() { echo "$1" | nc 127.0.0.1 44 | grep -E 'virtio-net|mac |Error'; }
polls() { echo 'info network' | nc 127.0.0.1 44 | grep poll-us; }
told() { echo "$1" | nc 127.0.0.1 44 | grep -E 'doorbells|notifications'; }
sink() { nc -l -p $1 < /dev/console | md5sum | sed "s/^/up $1 /" & }
# The speed test before KVM is used fails on a busy machine.
started() {
    for try in $(seq 40); do
        /ospite -accel $1 -m 256 -smp CPUS -display none -vga none -serial stdio -monitor tcp:127.0.0.1:44,server=on,wait=off -no-reboot -kernel /inner.kernel \
            -initrd /inner.cpio -append "console=ttyS0 quiet panic=-1" $2 < /dev/null
        status=$?
        [ $status = 1 ] || break
        sleep 2
    done
    echo STATUS $status
}
for port in 10 11 12 20; do sink $port; done
started ENGINE "CARDS" | while read l; do
    echo "$(cut -d. -f1 /proc/uptime) $l"
    case "$l" in
    *NOW-STOP*) for i in 1 2 3 4 5 6; do say stop; [ $i = 3 ] && say 'info qtree -v'; say cont; sleep 0.3; done; say 'info qtree -v'; ps | grep '[v]host-';;
    *NOW-OFF*) say 'set_link n0 off';;
    *"carrier 0"*) say 'info qtree -v'; say 'set_link n0 on';;
    *NOW-UNPLUG*) say 'device_del c0';;
    *"there 0"*) while say 'device_add virtio-net-pci,netdev=n0,id=c3,mq=on' | grep Error; do sleep 0.2; done;;
    *NOW-END*) say 'info qtree -v'; told 'info jit'; told 'info qtree -v'; polls; say 'set_link n1 off';;
    esac
done
'''


def outer_script(engine, cpus):
    cards = ' '.join(f'-netdev tap,id=n{n},ifname=t{n},script=/up,downscript=no,vhost=on{net} -device virtio-net-pci,id=c{n},netdev=n{n}{card}'
                     for n, (card, net, _) in enumerate(CARDS))
    return 'ls -l /dev/vhost-net /dev/net/tun /dev/kvm\n' + OUTER.replace('ENGINE', engine).replace('CARDS', cards).replace('CPUS', str(cpus))


# Pattern, and how often.
def expected(engine):
    pairs = '2 of 2 queue pairs, 2' if engine == 'bt' else '1 of 2 queue pairs, 1'
    for n, (_, _, features) in enumerate(CARDS):
        yield from ((f'features {n} {features}', 1), (f'down {n} {SUM}', 1), (f'up 1{n} {SUM}', 1))
    stopped = ', link up, . of . queue pairs, 0 served by the kernel, 0 frames sent.*'
    yield from (('8 packets received, 0% packet loss', 3), (f'queues {pairs[0]}', 1), ('id c2.*' + stopped + 'id c1.*' + stopped + 'id c0.*' + stopped, 1),
                (f'up 20 {SUM3}', 1), (f'stopped {SUM3}', 1), (r'\[vhost-', 3 if engine == 'kvm' else 4), ('link down, . of . queue pairs, 0 served', 1),
                ('carrier 1', 1), ('5 packets received, 0% packet loss', 4), ('there 1', 1), (f'id c0 [^\n]*\nmac [^,]*, link up, {pairs} served', 1),
                (f'id c3 [^\n]*\nmac [^,]*, link up, {pairs} served', 1), ('id c1 [^\n]*\nmac [^,]*, link up, 1 of 1 queue pairs, 1 served', 3), (r'n0\b[^\n]*queues=2,vhost=on,poll-us=50\n', 1), ('STATUS 0', 1))


def check(m, engine):
    text = m.text.replace('\r', '')
    for pattern, count in expected(engine):
        found = len(re.findall(pattern, text, re.S if '.*' in pattern else 0))
        if found < count:
            m.fail(f'{found} times {pattern!r} and not {count}')
    if re.search('[1-9][0-9]* frames sent', text):
        m.fail('frames went through ospite')
    rung = [int(a) + int(b) for a, b in re.findall(r'notifications: (\d+) by descriptors, (\d+) by writes', text)]
    direct = re.search(r'interrupts by descriptors: (\d+)', text)
    if engine == 'kvm' and (not direct or int(direct.group(1)) < 6 or len(rung) != 3 or max(rung) > MAX_RUNG):
        m.fail(f'notifications {rung}, interrupts by descriptors {direct and direct.group(1)}: the data path is not the kernel\'s alone')
    return f'{rung} notifications heard, {direct.group(1) if direct else 0} interrupts by descriptors'


def on(engine):
    def test(a):
        data = os.path.join(a.dir, 'data')
        with open(data, 'wb') as f:
            f.write(DATA)
        files = {**inner_guest(a, ['virtio_net'], INNER), 'data': data, 'usr/lib/ipxe/qemu/efi-virtio.rom': need('/usr/lib/ipxe/qemu/efi-virtio.rom', 'ipxe-qemu')}
        cpus = 2 if engine == 'bt' else 1                              # QEMU's SVM and a second processor do not get on
        with outer_machine(a, ['vhost_net'], outer_script(engine, cpus), files, cpus, memory=1536) as m:
            m.serial('OUTER-DONE', BAD)
            heard = check(m, engine)
            m.end()
        return f'three cards, a file each way through each, two at once with 6 stops, cable, driver and card out and in; {heard}'
    return test


if __name__ == '__main__':
    frame.main(__doc__, {engine: on(engine) for engine in ('kvm', 'bt')}, ospite=None)
