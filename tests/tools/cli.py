#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0-or-later
"""The command line as a user meets it: cli.py OSPITE

Bad input gets one line that says what, why and what to do, and status 1, and no image changes; help and lists print and
end with 0. Each row below is run; images and kernels are made here."""
import fcntl, hashlib, os, re, shutil, signal, socket, struct, subprocess, sys, tempfile, time
sys.path.append(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
import checks                                   # noqa: E402
from checks import check                        # noqa: E402
import leash            # noqa: E402, F401

OSPITE = os.path.abspath(sys.argv[1])
BT = ['-accel', 'bt']


def run(args, **kw):
    try:
        p = subprocess.run([OSPITE, *args], stdin=subprocess.DEVNULL, capture_output=True, timeout=60, **kw)
    except subprocess.TimeoutExpired:
        return None, '', '(still running after 60 s)'
    return p.returncode, p.stdout.decode('latin-1'), p.stderr.decode('latin-1')


# Arguments (without the engine), what the line must hold.
BAD = [
    # unknown names, with the nearest known one
    ('-cdromm x', "unknown option; did you mean '-cdrom'"),
    ('--hdaa x', "did you mean '-hda'"),
    ('-cpu nosuch', "unknown CPU model 'nosuch'"),
    ('-cpu qemu64,+ssse', "unknown CPU flag 'ssse'; did you mean 'sse'"),
    ('-M q36', "did you mean 'pc'"),
    ('-device e1001', "did you mean 'e1000'"),
    ('-device usb-host', 'usb-host is not in this version; devices of the host'),
    ('-device virtio-mem-pci', 'give all memory with -m'),
    ('-device usb-uas', 'use usb-storage'),
    ('-device e1000e', 'e1000e is not in this version; use e1000, rtl8139 or virtio-net-pci'),
    ('-device usb-hots', "'usb-hots' is not a device of this version"),
    ('-set drive.d.file=x', '-set is not supported: give the value where'),
    ('-singlestep', '-singlestep is not supported'),
    ('-snglestep', "unknown option; 'ospite -h' lists them"),
    ('-action panic=never', '-action: panic: unknown value'), ('-action nonsense=x', 'known are reboot, shutdown'),
    ('-watchdog-action bark', 'known are reset'),
    ('-d innt', "did you mean 'int'"),
    ('-machine pc,accell=bt', "did you mean 'accel'"),
    ('-drive file=x,formt=raw', "did you mean 'format'"),
    ('-M pc-i440fx-7.3', "did you mean 'pc-i440fx-7.2'"),
    ('-M pc-q35-7.2', 'not supported in this version'),
    # nodes, and JSON
    ('-device {"driver":"virtio-blk-pci"', 'the JSON is wrong at character'),
    ('-device {"driver":"virtio-blk-pci","drive":null}', "null is no value"),
    ('-device {"driver":"virtio-blk-pci","drivee":"x"}', "did you mean 'drive'"),
    ('-device {"id":"x"}', "begins with a device's name"),
    ('-blockdev {"driver":"file","filename":"/nonexistent/x","node-name":"n"}', "node 'n': cannot open '/nonexistent/x'"),
    ('-blockdev driver=raw,file=p,node-name=n', "there is no node 'p'"),
    ('-blockdev driver=raw,file=p', 'needs node-name='),
    ('-blockdev driver=file,file=p,node-name=n', 'stands on no other node'),
    ('-blockdev driver=ssh,node-name=n', '-blockdev: driver=ssh is not in this version; known are file, host_device'),
    ('-blockdev driver=copy-on-read,file=p,node-name=n', 'driver=copy-on-read is not in this version'),
    ('-blockdev driver=foo,filename=raw.img,node-name=n', 'driver=foo is not in this version'),
    ('-blockdev driver=file,filename=raw.img,node-name=n,aio=foo', "aio"),
    ('-drive file=raw.img,file.driver=qcow2', 'file: driver=qcow2 is not in this version; known are file, host_device, nbd, http, https'),
    ('-drive file=raw.img,id=a,node-name=b', 'id= and node-name= are one name'),
    ('-drive file=raw.img,format=raw,l2-cache-size=1M', "l2-cache-size"),
    ('-drive file=disk.qcow2,l2-cache-size=much', 'l2-cache-size'),
    ('-drive file=raw.img,cache.direct=maybe', 'cache.direct wants on or off'),
    ('-drive file=x,iops=5,iops_rd=5', 'cannot be used at the same time'),
    ('-drive file=x,bps=5,bps_max=4', 'bps_max/iops_max cannot be lower'),
    ('-drive file=x,bps_max=4', 'require corresponding bps/iops'),
    ('-drive file=x,iops=fast', "iops"),
    ('-drive file=x,throttling.iops-total=5,throttling.iops-total-max-length=2', 'burst length set without burst rate'),
    ('-drive file=x,iops_size=512', 'requires an iops value'),
    ('-drive file=x,group=g', 'there is none here'),
    ('-object throttle-group,id=g,x-iops-totl=5', "did you mean 'x-iops-total'"),
    ('-object throttle-group,id=g,x-iops-total-max=5', 'require corresponding bps/iops'),
    ('-object throttle-group,x-iops-total=5', 'needs id='),
    ('-object throttle-group,id=g -object throttle-group,id=g', "two objects have the id 'g'"),
    ('-blockdev driver=throttle,node-name=t,throttle-group=g,file=x', "Throttle group 'g' does not exist"),
    ('-blockdev driver=throttle,node-name=t,file=x', "Parameter 'throttle-group' is missing"),
    ('-object throttle-group,id=g -blockdev driver=throttle,node-name=t,throttle-group=g', "Parameter 'file' is missing"),
    ('-object throttle-group,id=g -blockdev driver=throttle,node-name=t,throttle-group=g,file=x', "nor node-name='x'"),
    ('-object throttle-group,id=g -blockdev driver=throttle,node-name=t,throttle-group=g,file.driver=file', 'by its name'),
    ('-drive if=none,id=a,file=raw.img,format=raw -device ide-hd,drive=a,share-rw=maybe', 'share-rw wants on or off'),
    ('-drive file=x,iops_rdd=5', "did you mean 'iops_rd'"),
    ('-drive file=x,detect-zeroes=maybe', 'detect-zeroes'),
    ('-blockdev driver=raw,file=p,node-name=n -blockdev driver=raw,file=p,node-name=m', "node 'p' is in use already"),
    ('-blockdev driver=file,filename=/dev/null,node-name=n -blockdev driver=raw,file=n,node-name=n', "have the name 'n'"),
    ('-nic bridge,helper=/nonexistent', "'/nonexistent' cannot be run"),
    ('-nic bridge,helper=/bin/true', "gave no interface in 'br0'"),
    ('-netdev tap,id=n,br=br0,helper=/bin/true,ifname=t0', 'the interface is the helper'),
    ('-netdev bridge,id=n,br=a-name-that-is-too-long,helper=/bin/true', 'at most 15 characters'),
    # missing or wrong values
    ('-m', '-m: requires an argument'),
    ('-m abc', "wants a size such as 512M or 2G, not 'abc'"),
    ('-m 900000G', 'more than a PC can address'),
    ('-m 20T', 'cannot give the guest 20971520 MiB of memory: this machine has'),
    ('-m 99999999999999999999G', 'beyond every machine'),
    ('-m -5', "not '-5'"),
    ('-m 1G,maxmem=2G,slots=2', 'cannot be added to a running guest'),
    ('-m 1G,maxmem=512M', 'maxmem is less than'),
    ('-virtfs local,path=/tmp,mount_tag=x', 'needs security_model='),
    ('-virtfs local,path=/tmp,security_model=none', 'needs mount_tag='),
    ('-virtfs local,mount_tag=x,security_model=none', 'needs path='),
    ('-virtfs proxy,mount_tag=x,security_model=none', "fsdriver 'proxy' is not supported"),
    ('-virtfs local,path=/tmp,mount_tag=x,security_model=mapped-file', 'use mapped-xattr'),
    ('-virtfs local,path=/nonexistent/x,mount_tag=x,security_model=none', "shared folder '/nonexistent/x': No such file"),
    ('-virtfs local,path=/tmp,mount_tag=x,security_model=none,fmode=0640', 'belong to security_model=mapped-xattr'),
    ('-virtfs local,path=/tmp,mount_tag=x,security_model=mapped-xattr,fmode=9', 'octal mode'),
    ('-virtfs local,path=/tmp,mount_tag=x,security_model=none -virtfs local,path=/tmp,mount_tag=x,security_model=none', "the mount_tag 'x'"),
    ('-device virtio-9p-pci,mount_tag=x', 'needs fsdev='),
    ('-device virtio-9p-pci,fsdev=f,mount_tag=x', "no -fsdev has the id 'f'"),
    ('-device vhost-vsock-pci,guest-cid=3', 'use virtio-vsock-pci,guest-cid=N,path=SOCKET'),
    ('-device virtio-vsock-pci,path=/tmp/x', 'needs guest-cid=N'),
    ('-device virtio-vsock-pci,guest-cid=3', 'needs path=SOCKET'),
    ('-device virtio-vsock-pci,guest-cid=2,path=/tmp/x', 'it is at least 3'),
    ('-device virtio-vsock-pci,guest-cid=4294967295,path=/tmp/x', 'is too much'),
    ('-device virtio-vsock-pci,guest-cid=3,path=/nonexistent/x', "cannot make the socket '/nonexistent/x': No such file"),
    ('-device virtio-vsock-pci,guest-cid=3,path=/tmp', "cannot make the socket '/tmp': Address already in use"),
    ('-device virtio-vsock-pci,guest-cid=3,path=/tmp/x -device virtio-vsock-pci,guest-cid=4,path=/tmp/y', 'one is enough'),
    ('-device virtio-vsock-pci,guest-cid=3,path=/tmp/x,vhostfd=3', 'use path=SOCKET'),
    ('-device virtio-tablet-pci,display=d', 'there is one screen'),
    ('-device virtio-keyboard-pci,wheel-axis=on', "wheel-axis"),
    ('-device virtio-mouse-pci,disable-modern=on', 'has no legacy interface'),
    ('-device virtio-input-host-pci,evdev=/dev/input/event0', 'use virtio-keyboard-pci'),
    ('-vnc :90,sasl=on', 'sasl is not supported in this version: use password=on'),
    ('-vnc :90,power-control=on', 'power-control is not supported'),
    ('-vnc :90,reverse=on', 'reverse is not supported'),
    ('-vnc :90,lossy=maybe', 'lossy'),
    ('-vnc localhost:90,ipv4=off,ipv6=off', 'leave no address'),
    ('-vnc 127.0.0.1:90,ipv6=on', 'no IPv6 address for'),
    ('-vnc [::1]:90,ipv4=on', 'no IPv4 address for'),
    ('-vnc :90,ipv4=maybe', 'ipv4 wants on or off'),
    ('-vnc :90,display=v', 'no graphic card has this id'),
    ('-device VGA,id=w -vnc :90,display=v', 'no graphic card has this id'),
    ('-vnc :90,head=1', 'one screen, number 0'),
    ('-vnc :90,key-delay-ms=-1', 'key-delay-ms'),
    ('-vnc :90,key-delay-ms=5000', 'key-delay-ms'),
    ('-vnc :90,lock-key-sync=maybe', 'lock-key-sync wants on or off'),
    ('-vnc :90,connections=0', 'nobody could look'),
    ('-display none,show-cursor=maybe', 'show-cursor wants on or off'),
    ('-display none,show-curser=on', "did you mean 'show-cursor'"),
    ('-display none,gl=on', 'gl=on is not supported'),
    ('-display {"type":"gtk"}', '-display gtk: it is not supported'),
    ('-display {"show-cursor":true}', "begins with"),
    ('-rotate 90', 'no PC turns its screen'),
    ('-portrait', 'no PC turns its screen'),
    ('-boot splash=/nonexistent/x,menu=on', "/nonexistent/x"),
    ('-boot menu=on,splash=raw.img', 'is no picture that the firmware knows'),
    ('-boot splash=,menu=on', 'splash= wants a file'),
    ('-boot splash-time=65536', 'splash-time'),
    ('-serial vc:80', "is no size: 80Cx24C"),
    ('-serial vc:80Cx24Cx', "is no size: 80Cx24C"),
    ('-serial vc:x24', "is no size: 80Cx24C"),
    ('-serial vc:-1Cx24C', "is no size: 80Cx24C"),
    ('-serial vc:9999Cx24C', 'at most 1000'),
    ('-serial vc:80Cx24C,foo=1', "'vc' has no option 'foo'"),
    ('-chardev vc,id=v,cols=x -serial chardev:v', 'a number up to 1000'),
    ('-chardev ringbuf,id=r,size=5 -serial chardev:r', 'must be power of two'),
    ('-chardev ringbuf,id=r,size=0 -serial chardev:r', 'must be power of two'),
    ('-chardev ringbuf,id=r,size=1G -serial chardev:r', 'a number up to'),
    ('-chardev ringbuf,id=r,size=many -serial chardev:r', 'size'),
    ('-chardev ringbuf,id=r,path=x -serial chardev:r', "-chardev ringbuf has no 'path'"),
    ('-k dee', "there is no layout 'dee'; did you mean 'de'?"),
    ('-usbdevice tablte', "did you mean 'tablet'?"),
    ('-usbdevice disk:x.img', '-device usb-storage,drive='),
    ('-device usb-tablet', 'needs a USB controller; add -usb'),
    ('-usb -device usb-tablet,bus=nosuch.0', "no USB bus 'nosuch.0'"),
    ('-usb -device usb-kbd,port=7', 'has no port 7'),
    ('-usb -device usb-kbd,port=1 -device usb-mouse,port=1', 'port 1 of bus usb-bus.0 is taken by a usb-kbd'),
    ('-usb -device usb-tablet,display=d', "display"),
    ('-usb -device usb-storage', 'usb-storage needs drive=ID'),
    ('-usb -device floppy,id=f -device usb-storage,drive=', "no -drive has the id ''"),
    ('-device virtio-scsi-pci -device scsi-cd,id=a,bootindex=1 -device ide-cd,id=b,bootindex=1', "bootindex=1 is drive '"),
    ('-usb -drive if=none,id=d,file=raw.img,format=raw -device usb-storage,drive=d,removable=on', 'removable=on'),
    ('-usb -device usb-storage,drive=nosuch', "no -drive has the id 'nosuch'"),
    ('-overcommit cpu-pm=on', "only 'off' is"),
    ('-boot z', "unknown boot device 'z'"),
    ('-uuid 12', '8-4-4-4-12'),
    ('-rtc base=foo', "not 'foo'"),
    ('-d op', 'no code between guest and host code'),
    ('-d int,nochain', 'always show every block'),
    ('-d trace:foo', "the categories of '-d help' only"),
    ('-machine pc,smm=on', 'smm=on'),
    ('-machine pc,i8042=off', 'i8042=off'),
    ('-machine pc,dump-guest-core=on', 'dump-guest-core=on'),
    ('-machine pc,kernel-irqchip=split', 'kernel-irqchip=split'),
    ('-machine pc,max-ram-below-4g=1G', '3 GiB lie below 4G'),
    ('-machine pc,hpet=maybe', "on or off, not 'maybe'"),
    ('-cpu host,pmu=on', 'no performance counters'),
    ('-cpu host,phys-bits=20', 'at least 32'),
    ('-cpu host,phys-bits=x', 'not a number'),
    ('-cpu host,+hv-time', "Hyper-V's interfaces"),
    ('-cpu host,l3-cache=off', "described as the host's"),
    ('-cpu host,migrateable=on', "did you mean 'migratable'"),
    ('-cpu host,avx2=5', 'neither on nor off'),
    ('-cpu qemu64,enforce,+3dnow', '3dnow'),
    ('-rtc clock=hst', "did you mean 'host'"),
    ('-rtc driftfix=foo', 'none, slew'),
    ('-smp 256', 'a PC has at most 255 CPUs'),
    ('-smp 0', 'cpus=0 is no topology'),
    ('-smp 4,sockets=3', 'are not 4 CPUs'),
    ('-smp 4,maxcpus=2', 'more CPUs than maxcpus'),
    ('-smp 2,clusters=2', 'have no clusters'),
    ('-smp sockets=3,cores=5,threads=9', 'APIC IDs above 254'),
    ('-boot order=', 'order wants letters of a, c, d, n'),
    ('-drive file=raw.img,index=9', 'IDE has 0 to 3'),
    ('-drive file=raw.img,readonly=maybe', "on or off, not 'maybe'"),
    ('-drive file=raw.img,cache=foo', "unknown value 'foo'; known are writeback"),
    ('-drive file=raw.img,werror=enospace', "did you mean 'enospc'"),
    ('-drive file=raw.img,rerror=enospc', 'a read needs no room'),
    ('-drive file=raw.img,if=none,id=d -device ide-hd,drive=d,werror=x', "-device ide-hd: werror"),
    ('-drive file=raw.img,if=none,id=d -device virtio-blk-pci,drive=d,rerror=x', "-device virtio-blk-pci: rerror"),
    ('-device ide-cd,rotation_rate=1', "unknown item 'rotation_rate'"),
    ('-device virtio-scsi-pci -drive file=raw.img,if=none,id=d -device scsi-hd,drive=d,rotation_rate=70000', 'rotation_rate'),
    ('-drive file=raw.img,if=none,id=d -device ide-hd,drive=d,physical_block_size=1000', 'power of two'),
    ('-drive file=raw.img,if=none,id=d -device ide-hd,drive=d,logical_block_size=4096', 'it is 512 here'),
    ('-drive file=raw.img,if=none,id=d -device virtio-blk-pci,drive=d,logical_block_size=4096,physical_block_size=512', 'is more than physical_block_size=512'),
    ('-device virtio-scsi-pci -drive file=raw.img,if=none,id=d -device scsi-hd,drive=d,logical_block_size=4096,physical_block_size=512', 'is more than physical_block_size=512'),
    ('-device virtio-scsi-pci -drive file=raw.img,if=none,id=d -device scsi-hd,drive=d,logical_block_size=8192', 'at most 4096'),
    ('-device virtio-scsi-pci -drive file=raw.img,if=none,id=d -device scsi-hd,drive=d,min_io_size=512,logical_block_size=1024', 'multiples of logical_block_size=1024'),
    ('-device virtio-scsi-pci -device scsi-cd,bus=scsi.1', 'there is no SCSI bus scsi.1'),
    ('-device ahci -device ide-cd,bus=ide.8', "bus 'ide.8' is not there"),
    ('-device ahci,id=a -device ide-cd,bus=ide.2', "bus 'ide.2' is not there"),
    ('-device ide-cd,bus=sata.0', "bus 'sata.0' is not there"),
    ('-device ahci,id=a -device ide-cd,bus=a.6', "'a' has a.0 to a.5"),
    ('-device ahci,id=a -device ide-cd,bus=a.1 -device ide-cd,bus=a.1', 'bus a.1 is taken'),
    ('-device ahci,ports=3', "unknown item 'ports'"),
    ('-drive if=ide', 'needs file='),
    ('-device isa-debug-exit,foo=1', "unknown item 'foo'"),
    ('-device isa-debug-exit,iobase=zz', 'iobase wants a number'),
    ('-cpu qemu64,foo', "-cpu: unknown CPU flag 'foo'"),
    ('-cpu qemu64,', 'an item between commas is empty'),
    ('-mon foo', "-mon: no -chardev has the id 'foo'"),
    ('-monitor tcp:foo', 'write tcp:HOST:PORT'),
    ('-vga foo', 'known are std, none, virtio'),
    ('-vga cirrus', 'use std'),
    ('-device VGA -device bochs-display', 'one is all'),
    ('-vga virtio -device virtio-gpu-pci', 'one is all'),
    ('-device virtio-vga,max_outputs=2', 'one screen'),
    ('-device virtio-gpu-pci,xres=20', '64 to 4095 pixels'),
    ('-device virtio-vga,blob=on', "-device virtio-vga: blob: 'on' is not supported in this version; only 'off' is"),
    ('-drive file=raw.img,copy-on-read=on', "-drive: copy-on-read: 'on'"),
    ('-device virtio-vga-gl', 'use virtio-vga'),
    ('-device VGA,vgamem_mb=24', 'a power of two'),
    ('-device VGA,vgamen_mb=16', "did you mean 'vgamem_mb'"),
    ('-device bochs-display,vgamem=1G', 'a power of two'),
    ('-device VGA,xres=10', '64 to 4095'),
    ('-global VGA.foo=1', "unknown item 'foo'"),
    ('-rtc base=2020-13-45', "not '2020-13-45'"),
    ('-pidfile /nonexistent/p -hda raw.img -display none', "cannot write '/nonexistent/p'"),
    ('raw.img raw.img', 'use -hdb or -drive'),
    ('-append x', 'only makes sense with -kernel'),
    ('-initrd kernel', 'only makes sense with -kernel'),
    ('-serial nosuch', "unknown character device 'nosuch'"),
    ('-chardev null,id=c -serial chardev:c -serial chardev:c', "-serial: Device 'c' is in use; mux=on"),
    ('-chardev null,id=c -mon c -mon c,mode=control', "-mon: Device 'c' is in use"),
    ('-chardev null,id=c -mon c -serial chardev:c', "-mon: Device 'c' is in use"),
    ('-chardev null,id=c -device isa-serial,chardev=c,id=s -device isa-serial,chardev=c,id=t', "-device isa-serial: Device 'c' is in use"),
    ('-chardev null,id=c -serial chardev:c -device virtio-serial-pci -device virtconsole,chardev=c', "-device virtconsole: Device 'c' is in use"),
    ('-chardev null,id=c -serial chardev:c -gdb chardev:c', "-gdb: Device 'c' is in use"),
    ('-device isa-serial', 'needs chardev=ID'),
    ('-device isa-serial,chardev=x', "no -chardev has the id 'x'"),
    ('-chardev null,id=x -device isa-serial,chardev=x,index=4', 'index'),
    ('-chardev null,id=x -device isa-serial,chardev=x,iobase=0x300', '0x3f8'),
    ('-chardev null,id=x -device isa-serial,chardev=x,index=1,irq=4', 'serial port 1 has the IRQ 3'),
    ('-serial null -chardev null,id=x -device isa-serial,chardev=x,index=0', 'serial port 0 is taken'),
    ('-M none -hda raw.img', "'none' takes no drives"),
    ('-M none -device usb-tablet', "'none' takes no devices"),
    ('-M none -kernel kernel', "'none' takes no -kernel"),
    ('-M none -vnc 127.0.0.1:99', "'none' takes no screens"),
    ('-audiodev alsa,id=a', 'use driver=none'),
    ('-audiodev none', 'none,id=ID'),
    ('-device qemu-xhci,p2=16', 'p2'),
    ('-device qemu-xhci,p2=4,p3=5', 'the same number'),
    ('-nic user,ipv6-net=fd00::/127', 'up to 126'),
    ('-nic user,ipv6-net=fd00::/', 'up to 126'),
    ('-nic user,ipv6-net=fd00/64', 'ipv6-net'),
    ('-global kvm-pit.lost_tick_policy=discard', 'not supported'),
    ('-global PIIX4_PM.disable_s3=0', 'no S3 and S4'),
    ('-global driver=cfi.pflash01,property=secure,value=on', 'no system management mode'),
    ('-global mc146818rtc.lost_tick_policy=delay', 'discard, slew'),
    ('-global foo', 'it is DRIVER.PROP=VALUE'),
    ('-global driver=e1000,property=mac', "'driver', 'property', and 'value' are required"),
    ('-global e1000.nonsense=1', "unknown item 'nonsense'"),
    ('-device virtio-net-pci -global virtio-net-pci.nonsense=1', 'with -global: -device virtio-net-pci: unknown item'),
    ('-nic user,model=virtio -global virtio-net-pci.mrg_rxbuf=off', 'use -netdev and -device virtio-net-pci'),
    ('-drive if=virtio,file=disk.qcow2 -global virtio-blk-pci.werror=stop', 'or use -device virtio-blk-pci'),
    ('-vnc 127.0.0.1:99,audiodev=a', 'no -audiodev has this id'),
    ('-msg guest-name=on', 'guest-name'),
    ('-nographic -daemonize', 'unless -serial and -monitor'),
    ('-serial file:/nonexistent/x', '/nonexistent/x'),
    ('-D /nonexistent/x -d int', '/nonexistent/x'),
    # what this version has not, by name
    ('-vnc :1,tls-creds=t', "has the id 't'"),
    ('-vnc foo', 'HOST:N or unix:PATH'),
    ('-vnc 127.0.0.1:x', "not 'x'"),
    ('-vnc 127.0.0.1:70000', '-vnc'),
    ('-vnc unix:/nonexistent/x', "cannot listen on '/nonexistent/x'"),
    ('-vnc unix:', 'wants a path'),
    ('-vnc 192.0.2.1:3', 'use another display number'),
    ('-vnc :1,pasword=on', "did you mean 'password'"),
    ('-vnc :1,share=never', 'known are allow-exclusive'),
    ('-vnc unix:x,websocket=on', 'needs a port'),
    ('-vnc none,password=on', 'takes nothing else'),
    ('-vnc :1 -vga none', 'no graphic card'),
    ('-display gtk', 'use -display sdl'),
    ('-drive file=raw.img,if=scsi', 'use if=ide or if=virtio'),
    # virtio
    ('-drive file=raw.img,if=virtio,addr=20', 'at most 1f.7'),
    ('-drive file=raw.img,if=virtio,addr=2', 'PCI slot 02.0 is taken'),
    ('-drive file=raw.img,if=virtio,media=cdrom', 'use if=ide'),
    ('-drive file=raw.img,if=virtio,index=1 -drive file=locked.img,if=virtio,index=1', 'exists'),
    ('-device virtio-blk-pci', 'needs drive=ID'),
    ('-device virtio-blk-pci,drive=x', "has the id 'x'"),
    ('-hda raw.img -device virtio-blk-pci,drive=ide0-hd0', 'give it if=none'),
    ('-drive file=raw.img,if=none,id=x -device virtio-blk-pci,drive=x,queue-size=100', 'power of two'),
    ('-drive file=raw.img,if=none,id=x -device virtio-blk-pci,drive=x,nosuch=1', "unknown item 'nosuch'"),
    ('-drive file=raw.img,if=none,id=x -device virtio-blk-pci,drive=x,vectors=3000', 'at most 2048'),
    ('-drive file=raw.img,if=none,id=x -device virtio-blk-pci,drive=x,disable-legacy=on,disable-modern=on', 'leave out disable-modern'),
    ('-device virtio-rng-pci,rng=r', "no -object has the id 'r'"),
    ('-object rng-random,id=r,filename=/nonexistent/r -device virtio-rng-pci,rng=r', '/nonexistent/r'),
    ('-object rng-random', 'needs id='),
    ('-device virtio-scsi-pci,iothread=io', "no -object iothread has the id 'io'"),
    ('-object iothread', 'needs id='),
    ('-object iothread,id=io,poll-max-ns=32768', 'nothing is polled'),
    ('-object iothread,id=io -object iothread,id=io', 'two objects'),
    ('-object nothing,id=m', 'known are rng-random, rng-builtin'),
    ('-device virtserialport', 'add -device virtio-serial-pci'),
    ('-device virtio-serial -device virtserialport,nr=0', 'port 0 is for a virtconsole'),
    ('-device virtio-serial -device virtserialport,chardev=c', "no -chardev has the id 'c'"),
    ('-device virtio-serial,max_ports=2 -device virtserialport -device virtserialport', 'all ports of the bus are taken'),
    ('-device scsi-hd,drive=x', 'add -device virtio-scsi-pci'),
    ('-device virtio-scsi -device scsi-hd', 'needs drive=ID'),
    ('-device virtio-scsi -device scsi-hd,drive=x', "has the id 'x'"),
    ('-device virtio-scsi -drive file=raw.img,if=none,id=x -drive file=locked.img,if=none,id=y -device scsi-hd,drive=x,lun=1 '
     '-device scsi-hd,drive=y,lun=1', 'is taken'),
    ('-device virtio-scsi,num_queues=0', 'needs a queue'),
    ('-device virtio-balloon,deflate-on-oom=perhaps', 'on or off'),
    # networks
    ('-netdev usr,id=n', "did you mean 'user'"),
    ('-netdev vhost-user,id=n', 'or tap with vhost=on'),
    ('-netdev user', 'needs id='),
    ('-netdev tap,id=n,vhost=perhaps', 'on or off'),
    ('-netdev tap,id=n,vhost=off,vhostfd=3', 'says vhost=on'),
    ('-netdev tap,id=n,vhostfds=3:x', 'a descriptor'),
    ('-netdev tap,id=n,ifname=much-too-long-a-name', 'at most 15 characters'),
    ('-netdev tap,id=n,fd=77', 'is no tap interface'),
    ('-netdev tap,id=n,fd=77,script=no', 'leave out ifname, script, downscript and queues'),
    ('-netdev tap,id=n,ifname=x,vnet_hdr=off,vhost=on', 'vhost=on wants vnet_hdr=on'),
    ('-netdev tap,id=n,fd=77,vnet_hdr=off', 'for an interface that is opened here'),
    ('-netdev tap,id=n,poll-us=often', 'poll-us wants a number'),
    ('-netdev tap,id=n,fd=', "a descriptor's number"),
    ('-netdev tap,id=n,fds=', "a descriptor's number"),
    ('-netdev tap,id=n,fds=77:', "a descriptor's number"),
    ('-netdev tap,id=n,fd=77:78', "a descriptor's number"),
    ('-netdev tap,id=n,fd=77,fds=78', 'named already'),
    ('-netdev stream,id=n,server=on,addr.type=unix,addr.host=127.0.0.1,addr.port=0', 'unix wants path=PATH'),
    ('-netdev stream,id=n,server=on,addr.type=inet,addr.path=x', 'inet host=HOST'),
    ('-netdev socket,id=n,listen=:70000', 'up to 65535'),
    ('-netdev af-xdp,id=n', 'is not supported'),
    ('-netdev passt,id=n', 'use stream'),
    ('-device virtio-rng-pci,id=x -drive if=none,id=d,file=raw.img,format=raw -device virtio-blk-pci,drive=d,id=x', "two devices have the id 'x'"),
    ('-device VGA,id=x -device {"driver":"virtio-rng-pci","id":"x"}', "two devices have the id 'x'"),
    ('-object rng-random,id=o -object secret,id=o,data=x', "two objects have the id 'o'"),
    ('-device virtio-balloon-pci -device virtio-balloon', 'Only one balloon device'),
    ('-device virtio-rng-pci,id=1a', '-device: id=1a: it begins with a letter'),
    ('-device virtio-rng-pci,id=', 'begins with a letter'),
    ('-device {"driver":"usb-tablet","id":"a\\u0020b"}', 'id=a b: it begins with a letter'),
    ('-drive file=raw.img,id=a/b', '-drive: id=a/b: it begins with a letter'),
    ('-blockdev driver=file,filename=raw.img,node-name=1a', '-blockdev: node-name=1a: it begins with a letter'),
    ('-chardev null,id=1a', '-chardev: id=1a: it begins with a letter'),
    ('-chardev null,id=c -mon c,id=1a', '-mon: id=1a: it begins with a letter'),
    ('-object rng-random,id=1a', '-object: id=1a: it begins with a letter'),
    ('-fsdev local,id=1a,path=/tmp,security_model=none', '-fsdev: id=1a: it begins with a letter'),
    ('-netdev user,id=1n', 'begins with a letter'),
    ('-netdev user,id=', 'begins with a letter'),
    ('-netdev user,id=n,ipv4=off,net=10.0.2.0/24', 'leave out net, host and dns'),
    ('-netdev user,id=n,ipv6=off,ipv6-host=fec0::5', 'leave out ipv6-net'),
    ('-netdev user,id=n,hostfwd=tcp:localhost:2222-:22', 'wrong is the address of the host'),
    ('-nic user,model=virtio,vectors=x', 'vectors wants a number'),
    ('-netdev socket,id=n,fd=77', 'is no socket that was handed over'),
    ('-netdev socket,id=n,fd=77,listen=:1', 'needs one of'),
    ('-netdev stream,id=n', 'needs addr.type=unix'),
    ('-netdev stream,id=n,addr.type=unix,addr.path=/nonexistent/s', "cannot connect to '/nonexistent/s'"),
    ('-netdev dgram,id=n,remote.type=unix,remote.path=x', 'needs a local.path'),
    ('-netdev socket,id=n', 'needs one of listen='),
    ('-netdev socket,id=n,connect=127.0.0.1', 'no HOST:PORT'),
    ('-netdev socket,id=n,listen=:1,connect=127.0.0.1:1', 'needs one of listen='),
    ('-netdev socket,id=n,udp=127.0.0.1:1', 'belong together'),
    ('-netdev socket,id=n,mcast=127.0.0.1:1', 'no multicast address'),
    ('-netdev socket,id=n,mcast=230.0.0.1', 'no HOST:PORT'),
    ('-netdev socket,id=n,mcast=230.0.0.1:1,localaddr=here', 'an IPv4 address of this host'),
    ('-netdev stream,id=n,server=on,addr.type=unix,addr.path=x,reconnect=1', 'is for a client'),
    ('-netdev stream,id=n,addr.type=unix,addr.path=x,addr.numeric=on', 'for those of inet'),
    ('-netdev stream,id=n,addr.type=inet,addr.port=1,addr.to=2', 'is for a server'),
    ('-netdev stream,id=n,addr.type=inet,addr.port=1,addr.ipv4=off,addr.ipv6=off', 'nothing is left'),
    ('-netdev user,id=n -object filter-dump,id=f,netdev=n,file=/dev/null -object filter-dump,id=f,netdev=n,file=/dev/null', "two objects have the id 'f'"),
    ('-netdev socket,id=n,connect=127.0.0.1:1', "cannot connect"),
    ('-netdev user,id=n -netdev user,id=n', "two networks have the id 'n'"),
    ('-netdev user,id=n,hostfw=x', "did you mean 'hostfwd'"),
    ('-netdev user,id=n,hostfwd=tcp:22', 'write it as tcp:127.0.0.1:2222-:22'),
    ('-netdev user,id=n,hostfwd=tcp:192.0.2.1:2222-:22', 'cannot listen there'),
    ('-netdev user,id=n,guestfwd=tcp:10.0.2.100:80-nothing:x', "guestfwd: nothing:x"),
    ('-netdev user,id=n,guestfwd=tcp:10.0.2.100:80-chardev:x', "no -chardev has the id 'x'"),
    ('-netdev user,id=n,guestfwd=tcp:10.0.2.100:80', 'chardev:ID'),
    ('-chardev null,id=x -netdev user,id=n,guestfwd=tcp:10.0.2.100:80-chardev:x,guestfwd=tcp:10.0.2.101:80-chardev:x', "Device 'x' is in use"),
    ('-netdev user,id=n,guestfwd=tcp:10.0.2.100:80-null,guestfwd=tcp:10.0.2.100:80-null', 'or taken'),
    ('-netdev user,id=n,guestfwd=tcp:10.0.2.2:80-cmd:x', 'outside of the network'),
    ('-netdev user,id=n,net=10.0.2.0/40', 'write it as 10.0.2.0/24'),
    ('-netdev user,id=n,host=10.0.3.2', 'outside of the network'),
    ('-netdev user,id=n,dns=10.0.2.2', 'the same address'),
    ('-netdev user,id=n,smb=/', 'SMB server is not in this version'),
    ('-netdev user,id=n,tftp=/nonexistent', 'no folder'),
    ('-netdev user,id=n,ipv4=off,ipv6=off', 'nothing is left'),
    ('-device virtio-net-pci,netdev=n', "no -netdev has the id 'n'"),
    ('-netdev user,id=n -device virtio-net-pci,netdev=n -device virtio-net-pci,netdev=n', "network 'n' is in use already"),
    ('-nic user,model=virtoi', "did you mean 'virtio'"),
    ('-nic user,mac=1:2', 'no MAC address'),
    ('-nic user,mac=01:00:00:00:00:01', 'multicast'),
    ('-device virtio-net-pci,rx_queue_size=100', 'power of two from 256'),
    ('-device virtio-net-pci,rss=on', "only 'off' is"),
    ('-device virtio-net-pci,romfile=/nonexistent/rom', '/nonexistent/rom'),
    ('-netdev hubport,id=h', 'needs hubid=NUMBER'),
    ('-netdev hubport,id=h,hubid=1,netdev=x', "no -netdev has the id 'x'"),
    ('-netdev hubport,id=a,hubid=0 -netdev hubport,id=b,hubid=1,netdev=a', 'a port of a hub itself'),
    ('-chardev socket,id=x,path=y,wait=off -serial chardev:x', 'who waits'),
    ('-chardev socket,id=x,host=localhost,port=1,ipv4=off,ipv6=off -serial chardev:x', 'leave no address'),
    ('-chardev null,id=x,path=y', "-chardev null has no 'path'"),
    ('-chardev socket,id=x,path=y,host=h,port=1 -serial chardev:x', 'leave out the others'),
    ('-chardev udp,id=x,host=127.0.0.1 -serial chardev:x', 'needs host= and port='),
    ('-chardev socket,id=x,host=127.0.0.1,port=1,server=on,reconnect=1 -serial chardev:x', "incompatible with 'server=on'"),
    ('-chardev socket,id=x,path=y,websocket=on,server=on -serial chardev:x', 'use telnet=on'),
    ('-serial null,logfile=/nonexistent/x', "cannot write the log '/nonexistent/x'"),
    ('-object filter-dump,id=f,netdev=n', 'needs id=, netdev= and file='),
    ('-object filter-dump,id=f,netdev=n,file=x', "no -netdev has the id 'n'"),
    ('-mon chardev=x,mode=foo', 'use mode=control (QMP) or mode=readline'),
    ('-chardev null,id=x -mon x,pretty=on', 'pretty= is for mode=control'),
    ('-mon mode=control', '-mon wants chardev=ID'),
    ('-qmp foo', '-qmp: unknown character device'),
    ('-qmp fd:99', 'is no socket that was handed over'),
    # images
    ('-hda missing.img', "cannot open 'missing.img': there is no such file"),
    ('-cdrom /', 'it is a directory'),
    ('-drive file=raw.img,format=qcow2', 'raw.img'),
    ('-drive file=raw.img,format=nosuch', "'nosuch'"),
    ('-hda truncated.qcow2', 'truncated.qcow2'),
    ('-hda header.qcow2', 'header.qcow2'),
    ('-hda loop.qcow2', 'loop.qcow2'),
    ('-hda nobacking.qcow2', 'gone.img'),
    ('-hda raw.img -hdb raw.img', 'raw.img'),
    ('-hda raw.img -hdb disk.qcow2 -hda disk.qcow2', 'exists'),
    ('-hda locked.img', 'is using it'),
    ('-hda /dev/null', 'neither a file nor a block device'),
    # kernels and firmware
    ('-kernel missing', "'missing'"),
    ('-kernel raw.img', "'raw.img' is no kernel"),
    ('-kernel empty', "'empty'"),
    ('-kernel /bin/ls', 'without a PVH note or multiboot header'),
    ('-bios text', "'text' is not a multiple"),
    ('-bios missing.bin', "'missing.bin'"),
    # images after mistakes elsewhere: nothing may be touched
    ('-hda disk.qcow2 -snapshot -cpu nosuch', 'nosuch'),
    ('-hda raw.img -kernel text', 'text'),
    ('-hda disk.qcow2 -serial nosuch', 'nosuch'),
    # a socket does not take an image's place
    ('-netdev stream,id=n,server=on,addr.type=unix,addr.path=disk.qcow2', "'disk.qcow2': Address already in use"),
    ('-netdev dgram,id=n,local.type=unix,local.path=disk.qcow2,remote.type=unix,remote.path=x', "'disk.qcow2': Address already in use"),
    ('-serial unix:disk.qcow2,server=on,wait=off', "'disk.qcow2': Address already in use"),
    ('-vnc unix:disk.qcow2', "'disk.qcow2': Address already in use"),
]
# Arguments, what stdout must hold.
GOOD = [
    ('-h', 'usage: ospite'),
    ('-help', '-cdrom FILE'),
    ('-version', 'ospite '),
    ('--version', 'ospite '),
    ('-M help', 'pc '),
    ('-machine help', 'pc-i440fx-7.2        Standard PC (i440FX + PIIX, 1996) (default)'),
    ('-device ide-hd,help', 'write-cache'),
    ('-device scsi-cd,help', 'scsi-id'),
    ('-cpu help', 'qemu64'),
    ('-machine pc,help', 'mem-merge'),
    ('-device help', 'ide-hd'),
    ('-device virtio-blk-pci,help', 'logical_block_size'),
    ('-object help', 'rng-random'),
    ('-object help', 'filter-dump'),
    ('-netdev help', 'user'),
    ('-nic user,model=help', 'virtio-net-pci'),
    ('-device virtio-net-pci,help', 'mrg_rxbuf'),
    ('-d help', 'int'),
    ('-M help', 'none '),
    ('-device isa-serial,help', 'index'),
    ('-device isa-debugcon,help', 'iobase'),
    ('-device VGA,help', 'vgamem_mb'),
    ('-object secret,help', 'data'),
    ('-object iothread,help', 'iothread options'),
    ('-device virtio-scsi-pci,help', 'iothread'),
    ('-object memory-backend-file,help', 'mem-path'),
    ('-object filter-dump,help', 'netdev'),
]


def qemu_img(*args):
    subprocess.run(['qemu-img', *args], check=True)


def make_files():
    open('raw.img', 'wb').write(bytes(1 << 20))
    open('locked.img', 'wb').write(bytes(1 << 20))
    open('text', 'w').write('no kernel\n' * 100)
    open('empty', 'wb')
    open('kernel', 'wb').write(b'x' * 5000)
    qemu_img('create', '-q', '-f', 'qcow2', 'disk.qcow2', '8M')
    whole = open('disk.qcow2', 'rb').read()
    open('truncated.qcow2', 'wb').write(whole[:70])
    bad = bytearray(whole)
    struct.pack_into('>I', bad, 20, 40)                # cluster_bits
    open('header.qcow2', 'wb').write(bad)
    qemu_img('create', '-q', '-f', 'raw', 'gone.img', '8M')
    qemu_img('create', '-q', '-f', 'qcow2', '-b', 'gone.img', '-F', 'raw', 'nobacking.qcow2')
    os.unlink('gone.img')
    qemu_img('create', '-q', '-f', 'qcow2', 'loop.qcow2', '8M')
    qemu_img('rebase', '-u', '-f', 'qcow2', '-b', 'loop.qcow2', '-F', 'qcow2', 'loop.qcow2')


def images():
    return {n: (hashlib.sha256(open(n, 'rb').read()).hexdigest(), os.stat(n).st_mtime_ns)
            for n in os.listdir('.')}


def lock(name):
    """Holds an image as QEMU does when it writes to it."""
    fd = os.open(name, os.O_RDWR)
    for byte in (100, 101, 102, 103, 201, 202, 203):
        fcntl.fcntl(fd, 37, struct.pack('hhqqi4x', fcntl.F_RDLCK, os.SEEK_SET, byte, 1, 0))     # F_OFD_SETLK
    return fd


def bad_rows():
    before = images()
    for args, want in BAD:
        code, out, err = run(BT + args.split())
        lines = [l for l in err.splitlines() if l.strip()]
        check(code == 1, f'{args}: status {code}, not 1')
        check(len(lines) == 1 and not out, f'{args}: not one line on stderr: {out!r} {err!r}')
        check(want in err, f'{args}: no {want!r} in {err!r}')
        check(err.startswith('ospite: ') and len(err) < 300, f'{args}: {err!r}')
    after = images()
    for name in before:
        check(after.get(name) == before[name], f'{name} was changed')
    check(set(after) == set(before), f'files came or went: {set(after) ^ set(before)}')


def engines():
    """The default says in one line which engine and why, when it is not KVM; -accel kvm does not fall back."""
    code, out, err = run(['-hda', 'missing.img'])
    kvm = [l for l in err.splitlines() if 'engine' in l]
    said = not kvm or (len(kvm) == 1 and re.match(r'ospite: engine bt: .+', kvm[0]))
    check(code == 1 and said, f'default engine: {err!r}')
    if kvm:
        code, _, err = run(['-accel', 'kvm', '-hda', 'raw.img'])
        check(code == 1 and len(err.splitlines()) == 1, f'-accel kvm without a usable KVM: {code} {err!r}')
        code, _, err = run(['-enable-kvm', '-hda', 'raw.img'])
        check(code == 1 and len(err.splitlines()) == 1, f'-enable-kvm without a usable KVM: {code} {err!r}')


def versions():
    """Under the peer's names scripts find a version where they look for it."""
    for name, want in (('qemu-kvm', r'QEMU emulator version 7\.2\.0 \(ospite [0-9.]+\)$'), ('qemu-system-x86_64', r'QEMU emulator version 7\.2\.0 '),
                       ('qemu-img', r'qemu-img version 7\.2\.0 \(ospite-img [0-9.]+\)$'), ('qemu-nbd', r'qemu-nbd 7\.2\.0 '), ('other', r'ospite [0-9.]+$')):
        os.symlink(OSPITE, name)
        p = subprocess.run([os.path.abspath(name), '--version'], stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=60)
        check(p.returncode == 0 and re.match(want, p.stdout.splitlines()[0]), f'{name} --version: {p.stdout!r}')
        os.unlink(name)


def kvm_group():
    """Without the right to open /dev/kvm, the line tells about the group."""
    if os.getuid() or not os.path.exists('/dev/kvm') or os.stat('/dev/kvm').st_mode & 6:
        print('cli: SKIP the right to open /dev/kvm: needs root here and a /dev/kvm that is not for everybody')
        return
    shutil.copy(OSPITE, 'ospite')                      # where an ordinary user can reach it
    os.chmod('.', 0o755)
    p = subprocess.run([os.path.abspath('ospite'), '-accel', 'kvm', '-display', 'none'], stdin=subprocess.DEVNULL,
                       capture_output=True, text=True, timeout=60, user=65534, group=65534, extra_groups=[])
    one = len(p.stderr.splitlines()) == 1
    check(p.returncode == 1 and one and 'usermod -aG kvm' in p.stderr, f'no right to /dev/kvm: {p.stderr!r}')


def forbidden():
    """A shared folder that the user may not enter: the reason is that, not what the host has."""
    if os.getuid():
        print('cli: SKIP a shared folder of somebody else: needs root')
        return
    shutil.copy(OSPITE, 'ospite')
    os.chmod('.', 0o755)
    os.mkdir('secret', 0o700)
    try:
        p = subprocess.run([os.path.abspath('ospite'), *BT, '-display', 'none', '-virtfs', 'local,path=secret,mount_tag=x,security_model=none'], stdin=subprocess.DEVNULL,
                           capture_output=True, text=True, timeout=60, user=65534, group=65534, extra_groups=[])
    except (OSError, subprocess.SubprocessError) as e:
        print(f'cli: SKIP a shared folder of somebody else: {e}')
        return
    check(p.returncode == 1 and "shared folder 'secret': Permission denied" in p.stderr, f'a forbidden folder: {p.returncode} {p.stderr!r}')


def no_kvm():
    """Without /dev/kvm at all, in a mount namespace of its own."""
    hide = ['unshare', '-m', '--propagation', 'slave', 'sh', '-c', 'mount -t tmpfs none /dev && mknod /dev/null c 1 3 && exec "$0" "$@"']
    if os.getuid() or subprocess.run(hide + ['true'], capture_output=True).returncode:
        print('cli: SKIP a machine without /dev/kvm: needs root and mount namespaces')
        return
    for args, status, want in (('-accel kvm', 1, 'there is no /dev/kvm'), ('-enable-kvm', 1, 'there is no /dev/kvm'), ('-M accel=kvm', 1, '-accel bt runs the guest'),
                               ('-accel kvm:bt', 0, 'engine bt: KVM: there is no /dev/kvm'), ('', 0, 'engine bt: KVM: there is no /dev/kvm'),
                               ('-M accel=kvm:tcg', 0, 'engine bt: KVM: there is no /dev/kvm'), ('-accel tcg', 0, '')):
        p = subprocess.run(hide + [OSPITE, *args.split(), '-display', 'none', '-S', '-monitor', 'stdio'], input='quit\n', capture_output=True, text=True,
                           timeout=60)
        check(p.returncode == status and want in p.stderr and len(p.stderr.splitlines()) == (want != ''), f'{args}, no /dev/kvm: {p.returncode} {p.stderr!r}')


def hints():
    """Old forms are accepted, with their modern form as a hint."""
    p = subprocess.Popen([OSPITE, *BT, '-nographic', '-S', '-drive', 'file=raw.img,format=raw,boot=on'],
                         stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    time.sleep(0.5)
    out, err = p.communicate(b'\x01x', timeout=60)
    check(p.returncode == 0 and b'-boot order=c' in err, f'boot=on: {p.returncode} {err!r}')


def accepted():
    """Lines that people and tools write: the machine is made, and ended from the monitor; nothing is said."""
    for args in ('-machine pc,accel=bt,usb=off,vmport=off,dump-guest-core=off,smm=auto,hpet=off,acpi=off,kernel-irqchip=on,i8042=on,sata=off',
                 '-cpu host,migratable=on,pmu=off,kvm=off,-hypervisor,host-phys-bits=on,l3-cache=on,check=off',
                 '-cpu qemu64,+avx2,-sse4.1,phys-bits=40,model_id=Something,vendor=AuthenticAMD,level=7,lahf_lm=on',
                 '-cpu EPYC,enforce=off', '-rtc base=localtime,clock=vm,driftfix=slew', '-rtc base=2006-06-17T16:01:21,clock=rt', '-rtc clock=host',
                 '-m 0.25G', '-m size=256M', '-m 262144k', '-m 256,maxmem=256M', '-name guest=x,process=y,debug-threads=on', '-action reboot=shutdown,shutdown=pause,panic=none,watchdog=reset -watchdog-action none',
                 '-no-fd-bootchk -full-screen -display default -display none', '-vnc unix:vnc.sock,lossy=on,non-adaptive=on,sasl=off,power-control=off', '-display {"type":"none"} -device VGA,id=v -vnc unix:vnc.sock,display=v,head=0,key-delay-ms=0,lock-key-sync=off,connections=5,ipv4=on',
                 '-serial vc:80Cx24C -serial vc:800x600 -chardev vc,id=v,width=640,rows=30 -serial chardev:v -chardev ringbuf,id=r,size=4K -serial chardev:r',
                 '-boot order=dc,once=c,menu=on,splash-time=10,strict=on,reboot-timeout=-1', '-smp 2,sockets=1,cores=2,threads=1 -uuid 12345678-1234-1234-1234-123456789abc',
                 '-serial null -serial none -serial vc -debugcon null -parallel none', '-no-reboot -no-shutdown -no-hpet -no-acpi -nodefaults', '-global PIIX4_PM.disable_s3=1', '-audiodev none,id=a -msg timestamp=on', '-M none', '-global kvm-pit.lost_tick_policy=delay', '-device qemu-xhci,p2=15,p3=15 -device usb-tablet,port=15',
                 '-usb -blockdev driver=file,filename=raw.img,node-name=f -device usb-storage,drive=f,removable=off,write-cache=on',
                 '-chardev null,id=c -device isa-serial,chardev=c,id=s,index=2,iobase=0x3e8,irq=4 -serial null',
                 '-drive file=disk.qcow2,cache-size=2M,l2-cache-size=1M,refcount-cache-size=1M,cache-clean-interval=600',
                 '-blockdev driver=file,filename=disk.qcow2,node-name=p,aio=native -blockdev driver=qcow2,file=p,node-name=n,l2-cache-size=1048576 -device virtio-blk-pci,drive=n',
                 '-chardev null,id=c,mux=on -serial chardev:c -serial chardev:c -device virtio-serial-pci -device virtconsole,chardev=c -mon c'):
        code, out, err = run_monitor(BT + ['-display', 'none', '-S', '-monitor', 'stdio', *args.split()], 'info status\nquit\n')
        check(code == 0 and not err and 'VM status: paused (prelaunch)' in out, f'{args}: {code} {out!r} {err!r}')


def globals_seen():
    """-global, before or behind a device, in text and JSON, for cards of all options and for what comes later; what is said of one card is stronger."""
    mac = '52:54:00:00:00:99'
    for args, macs in ((f'-global e1000.mac={mac}', [mac]), (f'-nic user,mac=52:54:00:00:00:01,ipv6-net=fd00::/64 -global e1000.mac={mac}', ['52:54:00:00:00:01']),
                       (f'-netdev user,id=n -device virtio-net-pci,netdev=n -global virtio-net-pci.mac={mac}', [mac]),
                       (f'-global virtio-net-pci.mac={mac} -netdev user,id=n -device virtio-net,netdev=n', [mac]),
                       (f'-global virtio-net.mac={mac} -netdev user,id=n -device {{"driver":"virtio-net-pci","netdev":"n"}}', [mac]),
                       (f'-netdev user,id=n -device virtio-net-pci,netdev=n,mac=52:54:00:00:00:02 -global driver=virtio-net-pci,property=mac,value={mac}', ['52:54:00:00:00:02'])):
        code, out, err = run_monitor(BT + ['-display', 'none', '-S', '-monitor', 'stdio', *args.split()], 'info network\nquit\n')
        check(code == 0 and not err and re.findall('macaddr=(.{17})', out) == macs, f'{args}: {code} {out!r} {err!r}')
    code, out, err = run_monitor(BT + ['-display', 'none', '-S', '-monitor', 'stdio', '-nodefaults', '-global', f'rtl8139.mac={mac}'],
                                 'netdev_add user,id=n\ndevice_add rtl8139,netdev=n\ninfo network\nquit\n')
    check(code == 0 and f'macaddr={mac}' in out, f'a card that comes later: {code} {out!r} {err!r}')
    for args, warned in (('-global ICH9-LPC.disable_s3=1', 'ICH9-LPC'), ('-global ide-hd.rotation_rate=1', 'ide-hd'), ('-global virtio-rng-pci.period=5', None)):
        code, out, err = run_monitor(BT + ['-display', 'none', '-S', '-monitor', 'stdio', *args.split()], 'quit\n')
        check(code == 0 and (f"no device '{warned}'" in err if warned else not err), f'{args}: {code} {err!r}')


def groups_seen():
    """Limits that drives share by -object throttle-group; paths with commas; drives and networks as the monitor shows them."""
    rom = 'pxe-e1000.rom' if os.path.exists('/usr/lib/ipxe/qemu/pxe-e1000.rom') else ''
    for args, text, wanted, unwanted in (
            ('-object throttle-group,id=g,x-iops-total=50,x-iops-total-max=60 -drive if=none,id=a,file=raw.img,format=raw,throttling.group=g -device virtio-blk-pci,drive=a',
             'info block\nobject_del g\n', ['iops=50 ', 'iops_max=60 ', 'group=g', "object 'g' is in use"], []),
            ('-object {"qom-type":"throttle-group","id":"g","limits":{"bps-read":7000}} -drive if=none,id=a,file=raw.img,format=raw,group=g -device ide-hd,drive=a',
             'info block\n', ['bps_rd=7000', 'group=g'], []),
            ('-nodefaults', 'object_add throttle-group,id=h,limits.iops-write=9\ndrive_add 0 if=none,file=raw.img,format=raw,id=b,group=h\ninfo block\n'
             'drive_del b\nobject_del h\nobject_del h\n', ['iops_wr=9 ', 'group=h', "object 'h' not found"], ['in use']),
            ('-nodefaults -device virtio-scsi-pci', 'device_add scsi-cd,id=c1\ndevice_add scsi-cd\nchange c1 raw.img\ninfo block\ndevice_add scsi-hd\n',
             ['c1: raw.img (raw, read-only)', ': [not inserted]', 'needs drive=ID'], []),
            ('-nodefaults -device floppy,id=f', 'change f raw.img raw\nblock_resize "" 4M\nblock_set_io_throttle "" 0 0 0 5 0 0\nblock_set_io_throttle f 0 0 0 7 0 0\ncommit f\nblock_resize g 1M\ninfo block\n',
             ["no drive ''", 'iops=7 ', 'Error: f: ', "no drive 'g'", 'Size: 1048576 bytes'], ['iops=5 ', 'Size: 4194304 bytes']),
            ('-nodefaults -device virtio-scsi-pci -drive if=none,id=scsi-cd1,file=raw.img,format=raw -device scsi-hd,drive=scsi-cd1 -device scsi-cd', 'info block\n', ['scsi-cd1: raw.img', '[not inserted]'], []),
            ('-nodefaults -drive if=none,id=a,file=raw.img,format=raw -device virtio-blk-pci,drive=a,id=v -drive if=none,id=b,file=disk.qcow2 -device ide-hd,drive=b,id=i',
             'drive_del a\ndrive_del b\ninfo block\ninfo blockstats\neject x\n', ['/machine/peripheral/v/virtio-backend: [not inserted]', 'i: [not inserted]', 'i: rd_bytes', "no drive 'x'"], ['did you mean']),
            ('-nodefaults -device virtio-rng-pci,addr=6.0,multifunction=on -device virtio-rng-pci,addr=6.1 -device qemu-xhci,addr=7,multifunction=on -netdev user,id=n -device e1000,netdev=n,addr=7.1,multifunction=off '
             '-device ahci,addr=7.2,multifunction=on', 'info pci\n', [f'device {d:3}, function {f}:' for d, f in ((6, 0), (6, 1), (7, 0), (7, 1), (7, 2))], []),
            ('-nodefaults', 'device_add virtio-rng-pci,id=1a\ndrive_add 0 if=none,file=raw.img,format=raw,id=a/b\nobject_add throttle-group,id=\n',
             ['-device: id=1a: it begins with a letter', '-drive: id=a/b: it begins', 'object: id=: it begins'], []),
            ('-nodefaults -drive if=none,file.filename=raw.img,file.driver=file,format=raw,node-name=q,cache.direct=on,cache.writeback=off -device virtio-blk-pci,drive=q', 'info block\n', ['q: raw.img (raw)'], []),
            ('-nodefaults -device virtio-scsi-pci,id=s -device virtio-scsi-pci -drive if=none,id=d,file=raw.img,format=raw -device scsi-hd,drive=d,bus=scsi.0 -device virtio-serial-pci '
             '-device virtserialport,bus=virtio-serial-bus.0 -device ahci,id=a -device ahci -device ide-cd,bus=ide.2 -device ide-cd,bus=ide.7',
             'device_add scsi-cd,bus=scsi.0,id=e\ndevice_add virtserialport,bus=virtio-serial-bus.0,id=p\ninfo block\n', ['ide0-cd0: [not', 'ide2-cd1: [not', 'e: [not'], ['there is no', 'taken']),
            ('-nodefaults -chardev file,id=f,path=x,,y,,id=z,logfile=l,,g -device isa-serial,chardev=f', '', [], []),
            ('-nodefaults -nic user,ipv4=off', 'info network\n', ['type=user,ipv4=off'], ['net=']),
            ('-nodefaults -nic model=rtl8139', 'info network\n', ['model=rtl8139', 'type=user,'], []),
            ('-nodefaults -nic model=rtl8139,type=user,id=u', 'info network\n', ['model=rtl8139', 'u: index=0,type=user,'], []),
            ('-nodefaults -nic none,model=e1000', 'info network\n', [], ['index=']),
            ('-nodefaults -net nic,id=x -net user', 'info network\n', ['e1000.0: index=0'], []),
            (f'-nodefaults -netdev id=n,type=user -device e1000,netdev=n,mac=00:00:00:00:00:00,romfile={rom}', 'info network\n',
             ['52:54:00:12:34:56', 'n: index=0,type=user'], []),
            ('-nodefaults -nic user,model=virtio,vectors=0', 'info pci\n', ['BAR4'], ['BAR1']),
            ('-nodefaults -netdev user,id=a -netdev user,id=b -device e1000,netdev=a -device e1000,netdev=b',
             'hostfwd_add tcp:127.0.0.1:0-:22\nhostfwd_add b tcp:127.0.0.1:0-:23\ninfo usernet\n', ['Hub -1 (a):', 'Hub -1 (b):', '10.0.2.15    22', '10.0.2.15    23'], ['Error']),
            ('-nodefaults -net nic -net user,id=u -net nic', 'info usernet\n', ['Hub 0 (u):'], []),
            ('-nodefaults', 'device_add e1000\nnetdev_add hubport,id=h,hubid=3\ninfo network\n', ['hub 3', ' \\ h'], ['type=none', 'type=hubport']),
            ('-nodefaults -netdev dgram,id=n,remote.type=inet,remote.host=127.0.0.1,remote.port=9,local.type=inet,local.host=127.0.0.1,local.port=0 -device e1000,netdev=n',
             'info network\n', ['type=dgram,udp=127.0.0.1:0/127.0.0.1:9'], []),
            ('-nodefaults', 'device_add e1000,id=c\ndevice_add virtio-net-pci,id=d\ninfo network\nnetdev_add user,id=u\nnetdev_del u\nnetdev_del u\n',
             ['c: index=0,type=nic,model=e1000,macaddr=52:54:00:12:34:56', 'd: index=0,type=nic,model=virtio-net-pci,macaddr=52:54:00:12:34:57', "there is no network 'u'"], ['netdev=ID'])):
        code, out, err = run_monitor(BT + ['-display', 'none', '-S', '-monitor', 'stdio', *args.split()], text + 'quit\n')
        check(code == 0 and not err and all(w in out for w in wanted) and not any(u in out for u in unwanted), f'{args}: {code} {out!r} {err!r}')
    check(os.path.exists('x,y,id=z') and os.path.exists('l,g'), 'paths with commas')


def sockets_seen():
    """Networks on sockets that whoever starts the machine has connected, as passt's old wrapper does it."""
    stream, datagram = socket.SOCK_STREAM, socket.SOCK_DGRAM
    for spec, kind, wanted in (('socket,id=n,fd=', stream, 'type=stream,fd='), ('socket,id=n,fd=', datagram, 'type=dgram,fd='),
                               ('stream,id=n,addr.type=fd,addr.str=', stream, 'type=stream,fd='), ('stream,id=n,addr.type=fd,addr.str=', datagram, 'use -netdev dgram'),
                               ('dgram,id=n,local.type=fd,local.str=', datagram, 'type=dgram,fd='), ('dgram,id=n,local.type=fd,local.str=', stream, 'use -netdev stream'),
                               ('stream,id=n,server=on,addr.type=fd,addr.str=', stream, 'leave out addresses'), ('socket,id=n,fd=', None, 'it has to be connected')):
        a, b = socket.socketpair(socket.AF_UNIX, kind) if kind else (socket.create_server(('127.0.0.1', 0)), None)
        p = subprocess.run([OSPITE, *BT, '-S', '-display', 'none', '-monitor', 'stdio', '-nodefaults', '-netdev', spec + str(a.fileno()), '-device', 'virtio-net-pci,netdev=n'],
                           input='info network\nquit\n', capture_output=True, text=True, timeout=60, pass_fds=[a.fileno()])
        a.close()
        if b:
            b.close()
        good = 'type=' in wanted
        check(p.returncode == (not good) and wanted in (p.stdout if good else p.stderr), f'{spec} {kind}: {p.returncode} {p.stdout!r} {p.stderr!r}')


def made(path, process):
    """Until a machine answers at its QMP, which it does when it has all its devices; what is opened for them, and locked, comes after the socket."""
    end = time.time() + 60
    with socket.socket(socket.AF_UNIX) as s:
        s.settimeout(60)
        while s.connect_ex(path) and process.poll() is None and time.time() < end:
            time.sleep(0.02)
        s.sendall(b'{"execute":"qmp_capabilities"}')
        text = b''
        while b'"return"' not in text:
            data = s.recv(4096)
            if not data:
                break
            text += data


def sharers(device, format, share):
    """Whether a second writer is let in beside a first one, in both orders of ospite and QEMU."""
    second = ['-drive', f'if=none,id=a,file=shared.{format},format={format}', '-device', f'{device},drive=a{share}', '-nodefaults', '-display', 'none']
    qemu = shutil.which('qemu-system-x86_64')
    result = []
    for holder, comer in ((OSPITE, OSPITE), (OSPITE, qemu), (qemu, OSPITE)):
        if not (holder and comer):
            continue
        first = subprocess.Popen([holder, *(['-accel', 'bt'] if holder == OSPITE else []), '-S', *second, '-qmp', 'unix:share,server=on,wait=off'], stdin=subprocess.DEVNULL)
        made('share', first)
        code = subprocess.run([comer, *(['-accel', 'bt'] if comer == OSPITE else []), '-S', *second, '-monitor', 'stdio'], input='quit\n', capture_output=True, text=True, timeout=60).returncode
        result.append(code == 0)
        first.kill()
        first.wait()
        os.unlink('share')
    return result


def shares_seen():
    subprocess.run(['qemu-img', 'create', '-q', '-f', 'qcow2', 'shared.qcow2', '1M'], check=True)
    subprocess.run(['truncate', '-s', '1M', 'shared.raw'], check=True)
    for device, format, share, allowed in (('virtio-blk-pci', 'raw', ',share-rw=on', True), ('ide-hd', 'raw', ',share-rw=on', True), ('virtio-blk-pci', 'raw', '', False),
                                           ('virtio-blk-pci', 'qcow2', ',share-rw=on', False)):
        got = sharers(device, format, share)
        check(got and all(g == allowed for g in got), f'{device}, {format}{share}: a second writer: {got}')


def shared_later():
    """The same for disks that come by the monitor, which are shared or not from when they have a device."""
    base = ['-nodefaults', '-display', 'none', '-S']
    disk = ['-drive', 'if=none,id=a,file=shared.raw,format=raw', '-device', 'virtio-blk-pci,drive=a']
    for share, other, allowed in ((',share-rw=on', ',share-rw=on', True), ('', ',share-rw=on', False), (',share-rw=on', '', False)):
        for vmm in filter(None, (OSPITE, shutil.which('qemu-system-x86_64'))):
            first = subprocess.Popen([OSPITE, *BT, *base, '-monitor', 'stdio'], stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
            first.stdin.write(f'drive_add 0 if=none,id=a,file=shared.raw,format=raw\ndevice_add virtio-blk-pci,id=d,drive=a{share}\ninfo block\n')
            first.stdin.flush()
            while 'shared.raw (raw' not in (line := first.stdout.readline()) and line:
                pass
            code = subprocess.run([vmm, *(BT if vmm == OSPITE else []), *base, *disk[:3], disk[3] + other, '-monitor', 'stdio'], input='quit\n', capture_output=True, text=True, timeout=60).returncode
            first.communicate('quit\n', timeout=60)
            check((code == 0) == allowed, f'added with {share!r}, then {vmm} with {other!r}: {code}')
            first = subprocess.Popen([vmm, *(BT if vmm == OSPITE else []), *base, *disk[:3], disk[3] + other, '-qmp', 'unix:share,server=on,wait=off'], stdin=subprocess.DEVNULL)
            made('share', first)
            code, out, err = run_monitor([*BT, *base, '-monitor', 'stdio'], f'drive_add 0 if=none,id=a,file=shared.raw,format=raw\ndevice_add virtio-blk-pci,id=d,drive=a{share}\nquit\n')
            first.kill()
            first.wait()
            os.unlink('share')
            check(('is using it' not in out + err) == allowed, f'{vmm} with {other!r}, then added with {share!r}: {out}')


def run_monitor(args, text):
    p = subprocess.run([OSPITE, *args], input=text, capture_output=True, text=True, timeout=60)
    return p.returncode, p.stdout, p.stderr


def signals():
    """SIGTERM ends the machine in order: status 0, image closed and unlocked."""
    p = subprocess.Popen([OSPITE, *BT, '-display', 'none', '-S', '-hda', 'disk.qcow2', '-serial', 'null',
                          '-monitor', 'none', '-qmp', 'unix:up,server=on,wait=off'], stdin=subprocess.DEVNULL, stderr=subprocess.PIPE)
    made('up', p)
    code, _, err = run(BT + ['-hda', 'disk.qcow2'])
    check(code == 1 and f'process {p.pid}' in err, f'second user of an image: {err!r}')
    p.send_signal(signal.SIGTERM)
    _, err = p.communicate(timeout=60)
    check(p.returncode == 0, f'SIGTERM: status {p.returncode}, {err!r}')
    check(subprocess.run(['qemu-img', 'check', '-q', 'disk.qcow2']).returncode == 0, 'image after SIGTERM')


def manual():
    """Every option of -h is in the manual page, and the other way round."""
    page = os.path.join(os.path.dirname(os.path.abspath(__file__)), '../../docs/man/ospite.1')
    text = open(page).read().replace('\\-', '-')
    in_help = set(re.findall(r'(?:^| or )(-[a-zA-Z][a-zA-Z-]*)', run(['-h'])[1].split('\n\n', 1)[1], re.M))
    options = text[text.index('.SH OPTIONS'):text.index('.SH KEYS')]
    in_page = set(re.findall(r'(?:\\fB|\.B )(-[a-zA-Z][a-zA-Z-]*)', options))
    check(len(in_help) > 40 and in_help <= in_page, f'not in the manual page: {sorted(in_help - in_page)}')
    check(in_page <= in_help, f'in the manual page only: {sorted(in_page - in_help)}')


def refused_by_name():
    """What QEMU has and this version has not is told by its name."""
    qemu = shutil.which('qemu-system-x86_64')
    if not qemu or 'version 7.2' not in subprocess.run([qemu, '--version'], capture_output=True, text=True).stdout:
        print('cli: SKIP what QEMU has: there is no QEMU 7.2')
        return
    listed, options = (subprocess.run([qemu, *args], capture_output=True, text=True).stdout for args in (['-device', 'help'], ['-h']))
    names = re.findall(r'^name "([^"]*)"', listed, re.M)
    here = re.findall(r'^name "([^"]*)"', run(['-device', 'help'])[1], re.M)
    names = [n for n in names if n not in here and not n.endswith('-cpu') and not n.startswith('cfi.')]
    source = open(os.path.join(os.path.dirname(os.path.abspath(__file__)), '../../src/tool/vm_later.c')).read()
    missing = [n for n in names if not re.search(f'[ "]{re.escape(n)} ', source)]
    check(len(names) > 100 and not missing, f'not refused by name: {missing}')
    for name in sorted(set(re.findall(r'^-+[a-zA-Z][a-zA-Z0-9-]*', options, re.M)) - set(re.findall(r'(?:^| or )(-[a-zA-Z][a-zA-Z-]*)', run(['-h'])[1], re.M))):
        code, out, err = run([name, 'x'])
        check('unknown option' not in err, f'{name}: {err!r}')


def devices():
    """Every device and property that help lists is in ospite-devices(7) and in the documents, and the page has no others."""
    docs = os.path.join(os.path.dirname(os.path.abspath(__file__)), '../../docs')
    page = open(f'{docs}/man/ospite-devices.7').read().replace('\\-', '-')
    marked = ' '.join(re.findall(r'```.*?```|`[^`\n]+`|^#.*$', open(f'{docs}/devices.md').read() + open(f'{docs}/display.md').read(), re.M | re.S))
    names = [n for n, d in re.findall(r'^name "([^"]*)".*desc "([^"]*)"', run(['-device', 'help'])[1], re.M) if 'transitional' not in n]
    known = set(names)
    for name in names:
        keys = re.findall(r'^  (\S+)', run(['-device', name + ',help'])[1], re.M)
        known |= {*keys, 'id'}
        part = re.search(r'^(?=[^\n]*\\fB%s\\fR)(?!\.).*?(?=\n\.SH|\n\.RE|\Z)' % re.escape(name), page, re.M | re.S)
        check(part and len(keys) > 0, f'{name} is not in ospite-devices(7)')
        common = page[:page.index('.SH DISKS')] if name.startswith('virtio') else ''
        missing = [k for k in keys if part and f'\\fB{k}\\fR' not in part.group() + common]
        check(not missing, f'{name}: {missing} are not in ospite-devices(7)')
        missing = [k for k in [name, *keys] if not re.search(r'(?<![\w-])%s(?![\w-])' % re.escape(k), marked)]
        check(not missing, f'{name}: {missing} are not in docs/devices.md or docs/display.md')
    others = set(re.findall(r'\\fB(\S+?)\\fR', page[page.index('.SS'):])) - known
    check(not others, f'in ospite-devices(7) only: {sorted(others)}')


def main():
    manual()
    devices()
    refused_by_name()
    for args, want in GOOD:
        code, out, err = run(args.split())
        good = code == 0 and want in out and not err
        check(good, f'{args}: status {code}, no {want!r} in {out[:200]!r} {err!r}')
    directory = tempfile.mkdtemp()
    os.chdir(directory)
    make_files()
    fd = lock('locked.img')
    try:
        bad_rows()
        engines()
        versions()
        kvm_group()
        forbidden()
        no_kvm()
        hints()
        accepted()
        globals_seen()
        groups_seen()
        sockets_seen()
        shares_seen()
        shared_later()
        signals()
    finally:
        os.close(fd)
        shutil.rmtree(directory)
    print(f'cli: {len(BAD)} bad and {len(GOOD)} good command lines, {checks.counts()}')
    return bool(checks.failed)


sys.exit(main())
