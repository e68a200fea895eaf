#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0-or-later
"""Drives as users give them: drives.py --vmm CMD

The disk's boot sector, made here, adds one to a byte of the next sector through the firmware and sends it to the serial port as a
letter: 'A' is the first boot, 'B' the one after a reset. So it is seen what a machine reads, and by qemu-img afterwards what it wrote."""
import argparse
import os
import shutil
import subprocess
import sys
import tempfile
import time
sys.path.append(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
import leash            # noqa: E402, F401

from boot import Failure, Machine

SIZE = 4 << 20
checks = 0


def boot_sector():
    code = b'\x31\xc0\x8e\xd8\x8e\xc0\x8e\xd0\xbc\x00\x7c'                     # segments 0, sp
    transfer = lambda ah: b'\xbe\x00\x7d\xb8\x00' + bytes([ah]) + b'\xcd\x13'
    code += transfer(0x42) + b'\xfe\x06\x00\x80'                                # read; inc byte [8000h]
    code += transfer(0x43) + b'\x0f\x92\xc3'                                    # write; setc bl
    code += b'\xa0\x00\x80\x04\x40'       # al = count + '@'
    code += b'\x08\xdb\x74\x02\xb0!'                                            # the write failed: '!'
    code += b'\xba\xf8\x03\xee\xb0\x0a\xee\xfa\xf4\xeb\xfd'                     # to the serial port, a newline; cli, hlt
    packet = b'\x10\0\x01\0\x00\x80\0\0\x01' + bytes(7)
    return (code.ljust(0x100, b'\0') + packet).ljust(510, b'\0') + b'\x55\xaa'


def check(ok, what):
    global checks
    checks += 1
    if not ok:
        raise Failure(what)


def img(*args):
    p = subprocess.run(['qemu-img', *args], capture_output=True, text=True)
    check(p.returncode == 0, f'qemu-img {args}: {p.stderr}')


def disk(name='disk.raw'):
    with open(name, 'wb') as f:
        f.write(boot_sector())
        f.truncate(SIZE)
    return name


def count(name):
    """The byte that the guest adds to, as qemu-img sees it."""
    img('convert', '-O', 'raw', name, 'seen.raw')
    return open('seen.raw', 'rb').read()[512]


class Boot(Machine):
    def __init__(self, vmm, args):
        super().__init__(vmm, args, 200)

    def letter(self, want):
        got = self.serial(r'([A-Z!])\n').group(1)
        check(got == want, f'the guest sends {got}, not {want}')

    def again(self, want):
        self.command('system_reset')
        self.letter(want)

    def say(self, command, want):
        answer = self.command(command)
        check(want in answer if want else not answer.strip(), f'{command}: {answer!r}, not {want!r}')

    def quit(self):
        self.process.terminate()
        check(self.end() == 0, f'status {self.process.returncode}')


def images(a):
    """Boot disks of all kinds, written to through the guest."""
    disk()
    img('convert', '-f', 'raw', '-O', 'qcow2', 'disk.raw', 'v3.qcow2')
    img('convert', '-f', 'raw', '-O', 'qcow2', '-o', 'compat=0.10', 'disk.raw', 'v2.qcow2')
    img('convert', '-f', 'raw', '-O', 'qcow2', '-o', 'lazy_refcounts=on', 'disk.raw', 'lazy.qcow2')
    img('convert', '-f', 'raw', '-O', 'qcow2', '-c', '-o', 'compression_type=zstd', 'disk.raw', 'zstd.qcow2')
    img('convert', '-f', 'raw', '-O', 'qcow2', '-c', 'disk.raw', 'zlib.qcow2')
    img('convert', '-f', 'raw', '-O', 'qcow2', '-o', 'cluster_size=512,refcount_bits=64', 'disk.raw', 'small.qcow2')
    img('convert', '-f', 'raw', '-O', 'qcow2', '-o', 'extended_l2=on,cluster_size=128k', 'disk.raw', 'extended.qcow2')
    img('create', '-q', '-f', 'qcow2', '-b', 'zstd.qcow2', '-F', 'qcow2', 'overlay.qcow2')
    img('create', '-q', '-f', 'qcow2', '-b', 'overlay.qcow2', '-F', 'qcow2', 'second.qcow2')
    for name in ('disk.raw', 'v3.qcow2', 'v2.qcow2', 'lazy.qcow2', 'zlib.qcow2', 'small.qcow2', 'extended.qcow2', 'second.qcow2', 'overlay.qcow2', 'zstd.qcow2'):
        with Boot(a.vmm, [name]) as m:
            m.letter('A')
            m.again('B')
            m.quit()
        check(count(name) == 2, f'{name}: {count(name)} boots written')
        if name.endswith('qcow2'):
            img('check', '-q', name)


def options(a):
    """-drive's items."""
    for mode in ('writeback', 'writethrough', 'none', 'directsync', 'unsafe'):
        disk()
        img('convert', '-f', 'raw', '-O', 'qcow2', 'disk.raw', 'disk.qcow2')
        for name in ('disk.raw', 'disk.qcow2'):
            with Boot(a.vmm, ['-drive', f'file={name},if=ide,format={name[5:]},index=0,media=disk,cache={mode}']) as m:
                m.letter('A')
                m.again('B')
                m.quit()
            check(count(name) == 2, f'cache={mode}, {name}: {count(name)} boots written')
    for item in ('snapshot=on', 'readonly=on'):
        disk()
        with Boot(a.vmm, ['-drive', f'file=disk.raw,format=raw,{item}']) as m:
            m.letter('A' if 'snapshot' in item else '!')
            m.again('B' if 'snapshot' in item else '!')
            m.say('info block', 'snapshot' if 'snapshot' in item else 'read-only')
            m.quit()
        check(count('disk.raw') == 0, f'{item}: the image was written')
    disk()
    shutil.copy('disk.raw', 'copy.raw')
    shutil.copy('disk.raw', 'd,isk.raw')
    for args in (['-hdb', 'copy.raw', '-hda', 'disk.raw'], ['-drive', 'file=copy.raw,format=raw,index=3', '-drive', 'file=disk.raw,format=raw,index=1'],
                 ['-drive', 'file=disk.raw,format=raw,bus=1,unit=1'], ['-drive', 'file=d,,isk.raw,format=raw'],
                 ['-drive', 'file=disk.raw,format=raw,if=virtio'], ['-drive', 'file=disk.raw,format=raw,if=none,id=x', '-device', 'ide-hd,drive=x,bus=ide.1'],
                 ['-hda', 'disk.raw', '-boot', 'order=c,menu=on,splash-time=1,strict=on,reboot-timeout=5000'],
                 ['-hda', 'disk.raw', '-boot', 'once=d,order=c'], ['-hda', 'disk.raw', '-boot', 'dcn'], ['-hda', 'disk.raw', '-boot', 'menu=off,strict=off']):
        with Boot(a.vmm, ['-snapshot', *args]) as m:
            m.letter('A')
            m.again('B')
            m.quit()
    check(count('disk.raw') == count('copy.raw') == 0, '-snapshot wrote')


def commit(a):
    """Changes kept apart go into the image below, by the monitor and by Ctrl-A s."""
    for name, make in (('disk.raw', None), ('base.qcow2', ['-O', 'qcow2']), ('old.qcow2', ['-O', 'qcow2', '-c', '-o', 'compat=0.10'])):
        disk()
        if make:
            img('convert', '-f', 'raw', *make, 'disk.raw', name)
        with Boot(a.vmm, ['-snapshot', '-drive', f'file={name},format={"qcow2" if make else "raw"}']) as m:
            m.letter('A')
            m.again('B')
            check(count(name) == 0, f'{name}: written before the commit')
            m.say('commit ide0-hd0', '')
            m.again('C')
            m.say('commit all', '')
            m.again('D')
            m.say('commit ide0-hd', "did you mean 'ide0-hd0'")
            m.say('commit ide1-cd0', 'no medium')
            m.say('commit', 'DRIVE or all')
            m.quit()
        check(count(name) == 3, f'{name}: {count(name)} boots committed, not 3')
        if make:
            img('check', '-q', name)
    # An image with a backing file that is smaller.
    disk()
    img('convert', '-f', 'raw', '-O', 'qcow2', 'disk.raw', 'base.qcow2')
    img('create', '-q', '-f', 'qcow2', '-b', 'base.qcow2', '-F', 'qcow2', 'top.qcow2', '8M')
    with Boot(a.vmm, ['top.qcow2']) as m:
        m.letter('A')
        m.again('B')
        m.say('commit ide0-hd0', '')
        m.again('C')
        m.quit()
    check(count('base.qcow2') == 2 and count('top.qcow2') == 3, f'{count("base.qcow2")} and {count("top.qcow2")} boots, not 2 and 3')
    check(os.path.getsize('seen.raw') == 8 << 20, 'the size of the disk')
    img('check', '-q', 'base.qcow2')
    img('check', '-q', 'top.qcow2')
    # Others that stand on the image.
    disk()
    with Boot(a.vmm, ['-snapshot', 'disk.raw']) as m, Boot(a.vmm, ['-snapshot', 'disk.raw']) as other:
        m.letter('A')
        other.letter('A')
        m.say('commit all', f'process {other.process.pid}')
        check(count('disk.raw') == 0, 'a commit into an image in use')
        other.quit()
        m.again('B')
        m.say('commit all', '')
        m.quit()
    check(count('disk.raw') == 2, 'committed when the other was gone')
    with Boot(a.vmm, ['disk.raw']) as m:
        m.letter('C')
        m.say('commit ide0-hd0', 'has no backing file')
        m.say('commit all', '')
        m.quit()


def keys(a):
    """Ctrl-A s, h, c, b, t, Ctrl-A, x on -nographic."""
    disk()
    p = subprocess.Popen([*a.vmm.split(), '-nographic', '-snapshot', 'disk.raw'], stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
    os.set_blocking(p.stdout.fileno(), False)
    text = ''
    deadline = time.time() + 150

    def wait(what):
        nonlocal text
        while what not in text:
            data = p.stdout.read()
            text += (data or b'').decode('latin-1')
            if time.time() > deadline or (p.poll() is not None and what not in text):
                raise Failure(f'no {what!r} in {text[-500:]!r}')
            time.sleep(0.01)
        text = text[text.index(what) + len(what):]
        check(True, what)

    def key(keys):
        p.stdin.write(keys)
        p.stdin.flush()

    try:
        wait('A\n')
        for keys_sent, want in ((b'\x01h', 'C-a s '), (b'\x01?', 'C-a c '), (b'\x01s', 'changes of 1 drive saved'), (b'\x01c', '(ospite) '),
                                (b'info status\n', 'running'), (b'system_reset\n', 'B\n'), (b'\x01s', 'changes of 1 drive saved'),
                                (b'\x01tsystem_reset\n', 'C\n'), (b'system_reset\n', '] '), (b'\x01t\x01c\x01b\x01\x01', ''),
                                (b'\x01x', 'Terminated')):
            key(keys_sent)
            wait(want)
        check(p.wait(60) == 0, f'Ctrl-A x: status {p.returncode}')
    finally:
        if p.poll() is None:
            p.kill()
            p.wait()
    check(count('disk.raw') == 2, f'{count("disk.raw")} boots saved, not 2')


def encrypted(a):
    """Boot disks that are encrypted, with passphrases from objects; wrong and missing ones."""
    secrets = ['-object', 'secret,id=s,file=key', '-object', 'secret,id=t,data=dHdv,format=base64', '-object', 'secret,id=bad,data=x']
    disk()
    with open('key', 'w') as f:
        f.write('one')
    own = [a.vmm.split()[0], 'img']

    def make(*args):
        p = subprocess.run([*own, *args], capture_output=True, text=True)
        check(p.returncode == 0, f'{args}: {p.stderr}')

    def boots(drive, want):
        with Boot(a.vmm, [*secrets, *drive]) as m:
            m.letter(want)
            m.quit()

    def seen(options):
        img('convert', *[o.replace('-object', '--object') for o in secrets], '--image-opts', options, '-O', 'raw', 'seen.raw')
        return open('seen.raw', 'rb').read()[512]

    two = [o.replace('-object', '--object') for o in secrets]
    make('convert', *two, '-f', 'raw', '-O', 'luks', '-o', 'key-secret=s,iter-time=10', 'disk.raw', 'disk.luks')
    make('convert', *two, '-f', 'raw', '-O', 'qcow2', '-o', 'encrypt.format=luks,encrypt.key-secret=s,encrypt.iter-time=10', 'disk.raw',
         'disk.qcow2')
    make('create', *two, '-f', 'qcow2', '-b', 'disk.qcow2', '-F', 'qcow2', '-o',
         'encrypt.format=luks,encrypt.key-secret=t,encrypt.iter-time=10', 'over.qcow2')
    luks, qcow2 = 'file=disk.luks,format=luks,key-secret=s', 'file=disk.qcow2,encrypt.key-secret=s'
    over = 'file=over.qcow2,encrypt.key-secret=t,backing.encrypt.key-secret=s'
    for drive in (over, luks, qcow2):
        for more in ('', ',if=virtio', ',cache=none'):
            boots(['-drive', drive + more], chr(ord('A') + ['', ',if=virtio', ',cache=none'].index(more)))
        options = drive.replace('file=', 'file.filename=').replace('format=luks', 'driver=luks').replace('file.filename=over', 'driver=qcow2,file.filename=over')
        options = options if 'driver' in options else 'driver=qcow2,' + options
        check(seen(options) == 3, f'{drive}: {seen(options)} boots written')
        if 'over' in drive:
            continue
        with Boot(a.vmm, [*secrets, '-snapshot', '-drive', drive]) as m:
            m.letter('D')
            m.say('commit all', '')
            m.quit()
        check(seen(options) == 4, f'{drive}: {seen(options)} boots after commit')
    for drive, words in ((luks.replace('=s', '=bad'), 'opens none of the 1 key slots'), (qcow2.replace('=s', '=bad'), 'opens none'),
                         ('file=disk.luks', 'it is encrypted'), ('file=disk.qcow2', 'it is encrypted'), (luks.replace('=s', '=u'), "the id 'u'"),
                         (over.replace(',backing.encrypt.key-secret=s', ''), 'it is encrypted'), ('file=disk.raw,format=raw,key-secret=s', 'no option')):
        p = subprocess.run([*a.vmm.split(), '-display', 'none', *secrets, '-drive', drive], capture_output=True, text=True, timeout=60)
        lines = [l for l in p.stderr.splitlines() if 'engine' not in l]
        check(p.returncode == 1 and words in p.stderr and len(lines) == 1, f'{drive}: {p.returncode}, {p.stderr}')


TESTS = {'images': images, 'encrypted': encrypted, 'options': options, 'commit': commit, 'keys': keys}


def main():
    p = argparse.ArgumentParser(usage=__doc__)
    p.add_argument('--vmm', default='build/ospite -accel bt')
    p.add_argument('test', nargs='*', choices=[*TESTS, []])
    a = p.parse_args()
    a.vmm = ' '.join([os.path.abspath(a.vmm.split()[0]), *a.vmm.split()[1:]])
    failed = 0
    for name in a.test or TESTS:
        folder = tempfile.mkdtemp(prefix='ospite-drives-')
        os.chdir(folder)
        try:
            TESTS[name](a)
            print(f'PASS {name}')
        except Failure as why:
            print(f'FAIL {name}: {why}')
            failed += 1
        os.chdir('/')
        shutil.rmtree(folder)
    print(f'drives: {checks} checks, {failed} failed')
    return failed != 0


if __name__ == '__main__':
    sys.exit(main())
