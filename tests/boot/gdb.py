#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0-or-later
"""gdb.py --vmm CMD   gdb debugs a Linux kernel through the stub: registers, memory, single step, hardware and software
breakpoints, watchpoints for writing, reading and both, with their addresses as gdb wants them, Ctrl-C and detaching.

The guest prints the addresses of a few of its functions (no KASLR), waits for a line, and then sets and reads its host
name; gdb watches that. What gdb must print is known from what the guest does."""
import argparse
import os
import re
import shutil
import subprocess
import sys
import tempfile

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
from boot import Failure, Machine              # noqa: E402
from cpio import Skip, initramfs, need         # noqa: E402

SYMBOLS = ('__x64_sys_sethostname', '__x64_sys_newuname', '__x64_sys_getppid', 'init_uts_ns')
NAME_AT = 65                                   # of init_uts_ns: struct new_utsname, after sysname


def guest(folder):
    pattern = '|'.join(SYMBOLS)
    return initramfs(os.path.join(folder, 'gdb.cpio'), f'grep -E " ({pattern})$" /proc/kallsyms\necho READY\nread x\n'
                     'hostname gdbseesit\nhostname\nuname -n\necho OSPITE-DONE')


def session(symbols, socket, name):
    """gdb's commands, and what its answer to each must match."""
    def at(s):
        return f'*0x{symbols[s]:x}'
    rip = {s: f'0x{symbols[s]:x}' for s in SYMBOLS}
    return [
        ('set pagination off', ''), ('set confirm off', ''), ('set architecture i386:x86-64', 'i386:x86-64'),
        (f'target remote {socket}', ''), ('info threads', r'Thread 1\S* .*CPU#0'),
        (f'x/s {name}', r'"\(none\)"'), (f'hbreak {at("__x64_sys_sethostname")}', 'Hardware assisted breakpoint 1'),
        ('continue', f'Breakpoint 1, {rip["__x64_sys_sethostname"].replace("0x", "0x0*")}'),
        ('p/x $rip', rip['__x64_sys_sethostname']), ('p/x $cs', '0x10'), ('p $cr0 & 0x80000001', r'= (0x80000001|2147483649|\[.*PG.*PE.*\])'),
        ('p *(char*)(*(long*)($rdi + 112))', "103 'g'"),                # the name, where the caller's registers point
        ('set $before = $rip', ''), ('stepi', ''), ('p $rip > $before && $rip < $before + 16', '= 1'),
        ('delete', ''), (f'watch *(char*){name}', 'Hardware watchpoint 2'),
        ('continue', r"Hardware watchpoint 2: .*Old value = 40 '\('.*New value = 103 'g'"), (f'x/s {name}', '"g'),
        ('delete', ''), (f'break {at("__x64_sys_newuname")}', 'Breakpoint 3'), ('continue', 'Breakpoint 3, '),
        ('p/x $rip', rip['__x64_sys_newuname']), ('delete', ''),
        (f'rwatch *(char*){name}', 'Hardware read watchpoint 4'), ('continue', r"Hardware read watchpoint 4: .*Value = 103 'g'"),
        ('delete', ''), (f'awatch *(char*){name}', r'Hardware access \(read/write\) watchpoint 5'),
        ('continue', r"Hardware access \(read/write\) watchpoint 5: .*Value = 103 'g'"), ('delete', ''),
        (f'set *(char*){name} = 71', ''), (f'x/s {name}', '"Gdbseesit"'), ('info registers eflags', r'eflags +0x'),
        ('detach', 'detached'),
    ]


def debug(a, folder):
    kernel = need('/boot/vmlinuz-*cloud*', 'linux-image-cloud-amd64')
    socket = os.path.join(folder, 'gdb')
    with Machine(a.vmm, ['-m', '256', '-kernel', kernel, '-initrd', guest(folder), '-append', 'console=ttyS0 nokaslr quiet',
                         '-no-reboot', '-gdb', f'unix:{socket},server=on,wait=off'], 300 * a.scale) as m:
        m.serial('READY')
        symbols = {n: int(at, 16) for at, n in re.findall(r'([0-9a-f]{16}) \w (\w+)', m.text)}
        # struct uts_namespace begins with struct new_utsname: sysname[65], nodename[65], ...
        steps = session(symbols, socket, f'(0x{symbols["init_uts_ns"]:x} + {NAME_AT})')
        script = os.path.join(folder, 'script')
        with open(script, 'w') as f:
            for n, (command, _) in enumerate(steps):
                f.write(f'echo \\n@@{n}@@\\n\n{command}\n')
        m.command('stop')                      # gdb finds it stopped, and the line waits
        m.send('\n')
        p = subprocess.run(['gdb', '-nx', '-q', '-batch', '-x', script], stdin=subprocess.DEVNULL, capture_output=True, text=True,
                           timeout=200 * a.scale)
        answers = re.split(r'\n@@(\d+)@@\n', '\n' + p.stdout)
        got = dict(zip(map(int, answers[1::2]), answers[2::2]))
        for n, (command, want) in enumerate(steps):
            if n not in got or not re.search(want, got[n], re.S):
                m.fail(f'gdb: {command}: {got.get(n)!r} does not match {want!r}\n{p.stdout}\n{p.stderr}')
        m.serial('Gdbseesit|gdbseesit')
        m.serial('OSPITE-DONE')
        if m.end() != 0:
            m.fail('the guest did not power off after gdb had left')
    return len(steps)


def main():
    p = argparse.ArgumentParser(usage=__doc__)
    p.add_argument('--vmm', required=True)
    p.add_argument('--scale', type=float, default=float(os.environ.get('OSPITE_TEST_SCALE', '1')))
    a = p.parse_args()
    if not shutil.which('gdb'):
        print('SKIP gdb: it is not installed')
        sys.exit(77)
    try:
        with tempfile.TemporaryDirectory(prefix='ospite-gdb-') as folder:
            print(f'gdb: {debug(a, folder)} commands of gdb answered as they must be')
    except Skip as why:
        print(f'SKIP gdb: {why}')
        sys.exit(77)
    except (Failure, subprocess.TimeoutExpired) as why:
        print(f'FAIL gdb: {why}')
        sys.exit(1)


main()
