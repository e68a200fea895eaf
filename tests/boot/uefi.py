#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0-or-later
"""uefi.py --vmm CMD --guests DIR NAME...   UEFI firmware (Debian's ovmf) in a ROM and in flash chips."""
import argparse
import os
import shutil
import subprocess
import sys
import tempfile
import time

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
from boot import Failure, Machine              # noqa: E402
from cpio import Skip, need                    # noqa: E402

SOURCE = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
CODE, VARS = '/usr/share/OVMF/OVMF_CODE_4M.fd', '/usr/share/OVMF/OVMF_VARS_4M.fd'
SECURE, ROM = '/usr/share/OVMF/OVMF_CODE_4M.secboot.fd', '/usr/share/ovmf/OVMF.fd'
GUID = '12345678-1234-1234-1234-123456789abc'
QEMU = 'qemu-system-x86_64'


def flash(variables):
    return ['-drive', f'if=pflash,format=raw,unit=0,readonly=on,file={CODE}', '-drive', f'if=pflash,format=raw,unit=1,file={variables}']


def fresh(a, name='vars.fd'):
    path = os.path.join(a.dir, name)
    shutil.copyfile(need(VARS, 'ovmf'), path)
    return path


def shell(m, command, answer):
    m.send(command + '\r')
    return m.serial(answer)


def variables_test(a):
    """A variable set in the UEFI shell outlives a machine that is killed at the next prompt, and is read by QEMU, and the other way round."""
    need(CODE, 'ovmf')
    store = fresh(a)
    small = ['-m', '256', '-nic', 'none', '-vga', 'none']
    with Machine(a.vmm, small + flash(store), 120 * a.scale, log=a.log) as m:
        m.serial(r'Shell> ')
        shell(m, f'setvar Ours -guid {GUID} -nv -bs =0x11223344', r'\n.*Shell> ')
        m.process.kill()
    with Machine(QEMU, small + flash(store), 180 * a.scale, log=a.log) as m:
        m.serial(r'Shell> ')
        shell(m, f'dmpstore -guid {GUID} Ours', r'44 33 22 11')
        m.serial(r'Shell> ')
        shell(m, f'setvar Theirs -guid {GUID} -nv -bs =0xa1b2c3d4', r'\n.*Shell> ')
    before = open(store, 'rb').read()
    with Machine(a.vmm, ['-snapshot', '-machine', 'pc,pflash0=code,pflash1=store', '-drive', f'if=none,id=code,format=raw,readonly=on,file={CODE}',
                         '-drive', f'if=none,id=store,format=raw,file={store}'] + small, 120 * a.scale, log=a.log) as m:
        m.serial(r'Shell> ')
        shell(m, f'dmpstore -guid {GUID}', r'44 33 22 11.*D4 C3 B2 A1|D4 C3 B2 A1.*44 33 22 11')
        m.serial(r'Shell> ')
        shell(m, f'setvar Ours -guid {GUID} -nv -bs =0x55', r'\n.*Shell> ')
        m.command('system_reset')
        m.serial(r'Shell> ')
        shell(m, f'dmpstore -guid {GUID} Ours', r'00000000: 55')
        shell(m, 'reset -s', r'.')
        if m.end() != 0:
            m.fail(f'it ended with status {m.process.returncode}')
    if open(store, 'rb').read() != before:
        raise Failure('-snapshot let the variables be written')
    return 'set and killed, read in QEMU, set there, read here; a reset and a snapshot'


def rom_test(a):
    """-bios OVMF.fd: the shell, on the screen too, in the mode that the firmware chose, as QEMU shows it."""
    need(ROM, 'ovmf')
    sizes = []
    for vmm in (a.vmm, QEMU):
        picture = os.path.join(a.dir, 'screen.ppm')
        with Machine(vmm, ['-bios', 'OVMF.fd', '-m', '256', '-nic', 'none', '-vga', 'std'], 180 * a.scale, log=a.log) as m:
            m.serial(r'Shell> ')
            time.sleep(1)
            m.command(f'screendump {picture}')
            data = open(picture, 'rb').read()
        head, size, _, pixels = data.split(b'\n', 3)
        bright = sum(pixels[i] > 128 for i in range(0, len(pixels), 3))
        sizes.append((size, bright))
    if sizes[0][0] != sizes[1][0] or not 0.9 < sizes[0][1] / sizes[1][1] < 1.1:
        raise Failure(f'the screen: size and bright pixels {sizes[0]}, in QEMU {sizes[1]}')
    return f'shell, a screen of {sizes[0][0].decode()} with {sizes[0][1]} bright pixels (QEMU: {sizes[1][1]})'


def refused_test(a):
    """What cannot work is refused in one line."""
    store = fresh(a)
    odd = os.path.join(a.dir, 'odd')
    open(odd, 'wb').write(bytes(5000))
    large = os.path.join(a.dir, 'large')
    with open(large, 'wb') as f:
        f.truncate(9 << 20)
    cases = [(['-pflash', need(SECURE, 'ovmf')], 'needs system management mode'), (['-bios', SECURE], 'needs system management mode'),
             (['-drive', f'if=pflash,unit=1,file={store}'], 'chip 0'), (flash(store) + ['-bios', ROM], 'give one'),
             (['-pflash', odd], 'no whole blocks'), (['-pflash', large], '8 MiB'), (['-pflash', CODE, '-pflash', store, '-pflash', store], 'unit=1 exists'),
             (['-machine', 'pc,pflash0=nix'], 'no drive has this id'), (['-pflash', os.path.join(a.dir, 'not-there')], 'not-there')]
    for options, want in cases:
        r = subprocess.run(a.vmm.split() + ['-display', 'none'] + options, capture_output=True, text=True, timeout=30 * a.scale)
        if r.returncode != 1 or want not in r.stderr or r.stderr.count('\n') != 1:
            raise Failure(f'{options}: status {r.returncode}, {r.stderr!r}')
    return f'{len(cases)} refused'


TESTS = {'variables': variables_test, 'rom': rom_test, 'refused': refused_test}


def main():
    p = argparse.ArgumentParser(usage=__doc__)
    p.add_argument('names', nargs='+', choices=sorted(TESTS))
    p.add_argument('--vmm', required=True)
    p.add_argument('--guests', required=True)
    p.add_argument('--scale', type=float, default=float(os.environ.get('OSPITE_TEST_SCALE', '1')))
    a = p.parse_args()
    os.makedirs(a.guests, exist_ok=True)
    failed = skipped = 0
    for name in a.names:
        start = time.time()
        a.dir = tempfile.mkdtemp(prefix='ospite-uefi-')
        a.log = f'uefi-{name}.log'
        try:
            print(f'PASS {name} {TESTS[name](a)} [{time.time() - start:.1f} s]', flush=True)
        except Skip as why:
            skipped += 1
            print(f'SKIP {name}: {why}', flush=True)
        except (Failure, subprocess.CalledProcessError) as why:
            failed += 1
            print(f'FAIL {name} [{time.time() - start:.1f} s]: {why}', flush=True)
        shutil.rmtree(a.dir)
    print(f'uefi: {len(a.names)} tests, {failed} failed, {skipped} skipped')
    sys.exit(1 if failed else 77 if skipped == len(a.names) else 0)


if __name__ == '__main__':
    main()
