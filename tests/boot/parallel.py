#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0-or-later
"""parallel.py --vmm CMD --guests DIR TEST[=N]...   guests with several vCPUs: Debian's cloud kernel and an initramfs.

boots=N       N boots with 4 vCPUs, to power-off
patching=N    N times the kernel patches its own text (ftrace, tracepoints' static keys) while other vCPUs run it
stress=N      stress-ng with --verify, classes cpu, vm, fork, switch, signal, N seconds in all, 4 vCPUs
jit=N         eight luajits at once on 4 vCPUs make traces anew N times, with other flags each time; the results are the host's
build=N       gcc compiles N sources with make -j4 on 2 vCPUs; the objects are those that the host makes

What this machine lacks is skipped out loud (exit status 77)."""
import argparse
import hashlib
import os
import re
import shutil
import subprocess
import sys
import tempfile
import time

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
from boot import Failure, Machine              # noqa: E402
from cpio import Skip, initramfs, need         # noqa: E402

BAD = r'Kernel panic|Oops:|BUG:|end trace|general protection|Unable to handle|soft lockup|rcu: INFO|hung task|unsuccessful'
QUIET = 'dmesg | grep -Ei "panic|oops|bug:|lockup|stall|end trace" | grep -vi "command line" || echo CLEAN'


def libraries(program):
    """Files of the host that a program needs, by the names they have there."""
    text = subprocess.run(['ldd', program], capture_output=True, text=True).stdout
    return [p for p in re.findall(r'(/\S+) \(0x', text)]


def with_libraries(*programs):
    names = list(programs) + [lib for p in programs for lib in libraries(p)]
    return {name.lstrip('/'): name for name in names}


def tool(name, package):
    path = shutil.which(name)
    if not path:
        raise Skip(f'{name} is missing; install {package}')
    return os.path.realpath(path) if name not in ('stress-ng',) else path


def boot(a, cpus, initrd, seconds, memory=512):
    kernel = need('/boot/vmlinuz-*cloud*', 'linux-image-cloud-amd64')
    return Machine(a.vmm, ['-m', str(memory), '-smp', str(cpus), '-kernel', kernel, '-initrd', initrd, '-append',
                           'console=ttyS0 quiet panic=-1 nosoftlockup', '-no-reboot'], seconds * a.scale, log=a.log)


def end(m):
    m.serial('CLEAN', BAD)
    m.serial('OSPITE-DONE', BAD)
    status = m.end()
    if status != 0:
        m.fail(f'the guest powered off, but the status is {status}')


def boots(a, count):
    initrd = initramfs(os.path.join(a.dir, 'i'), f'echo cpus $(nproc)\n{QUIET}\necho OSPITE-DONE')
    for _ in range(count):
        with boot(a, 4, initrd, 150, 256) as m:
            m.serial('cpus 4', BAD)
            end(m)
    return f'{count} boots with 4 vCPUs'


def patching(a, count):
    script = f'''
mount -t tracefs t /sys/kernel/tracing || exit
cd /sys/kernel/tracing
want=$(seq 1 20000 | md5sum)
load() {{ while [ ! -e /tmp/stop ]; do got=$(seq 1 20000 | md5sum); [ "$got" = "$want" ] || echo WRONG $got; done; echo done > /tmp/done$1; }}
for n in 1 2 3; do load $n & done
i=0
while [ $i -lt {count} ]; do
  i=$((i+1))
  echo function > current_tracer
  echo 1 > events/sched/enable; echo 1 > events/syscalls/enable; echo 1 > events/kmem/enable
  echo 0 > events/enable
  echo nop > current_tracer
  echo > trace
done
touch /tmp/stop; wait
cat /tmp/done*
echo patched $i
{QUIET}
echo OSPITE-DONE'''
    initrd = initramfs(os.path.join(a.dir, 'i'), script)
    with boot(a, 4, initrd, 200 + 60 * count) as m:
        m.serial(f'done\\s+done\\s+done\\s+patched {count}', BAD + '|WRONG|invalid|mount:')
        end(m)
    return f'{count} times function tracer and three groups of events on and off under load of 3 shells'


def stress(a, seconds):
    program = tool('stress-ng', 'stress-ng')
    kinds = ['--cpu 4', '--vm 2 --vm-bytes 64M', '--fork 4', '--switch 4', '--sigfd 2 --sigq 2 --sigsuspend 2',
             '--futex 2 --mutex 2 --atomic 4', '--mmap 2 --mmap-bytes 32M --shm 2', '--pipe 2 --poll 2 --timer 2']
    each = max(1, seconds // len(kinds))
    def run(kind, time):
        return f'stress-ng {kind} --verify --timeout {time}s --temp-path /tmp --seed 1 > /tmp/log 2>&1'
    # Status 3: no resources, which the mutexes also say when their time is over before they have made a thread, on a busy host.
    runs = ''.join(f'{run(k, each)}; s=$?\n[ $s != 3 ] || {{ {run(k, 10 * each)}; s=$?; }}\n'
                   f'[ $s = 0 ] && echo PASSED || {{ cat /tmp/log; echo STRESS-FAILED; }}\n' for k in kinds)
    initrd = initramfs(os.path.join(a.dir, 'i'), f'mkdir -p /dev/shm; mount -t tmpfs s /dev/shm\n'
                       f'export PATH=/bin:/usr/bin\n{runs}{QUIET}\necho OSPITE-DONE', with_libraries(program))
    with boot(a, 4, initrd, 250 + 6 * seconds, 1024) as m:
        for _ in kinds:
            m.serial('PASSED', BAD + '|STRESS-FAILED')
        end(m)
    return f'{len(kinds)} groups of stress-ng --verify, {each} s each, on 4 vCPUs'


def sources(directory, count):
    """Programs that are the same each time: a fixed generator writes them."""
    state = 12345
    for n in range(count):
        lines = ['#include <stdio.h>', '#include <stdlib.h>', '#include <string.h>']
        for k in range(60):
            state = (state * 6364136223846793005 + 1442695040888963407) & (1 << 64) - 1
            lines.append(f'static unsigned long f{k}(unsigned long x, const char *s)\n{{\n    unsigned long y = x ^ {state}ul;\n'
                         f'    for (unsigned i = 0; i < strlen(s); i++) y = (y << {state % 13 + 1} | y >> {63 - state % 13}) + s[i] * {state >> 40}ul;\n'
                         + (f'    return y % 7 ? f{k - 1}(y, s + 1) : y;\n}}' if k else '    return y;\n}'))
        lines.append(f'unsigned long g{n}(unsigned long x) {{ return f59(x, "{state}"); }}')
        with open(os.path.join(directory, f's{n}.c'), 'w') as f:
            f.write('\n'.join(lines) + '\n')
    return [f's{n}.c' for n in range(count)]


def build(a, count):
    cc1 = subprocess.run(['gcc', '-print-prog-name=cc1'], capture_output=True, text=True).stdout.strip()
    programs = [cc1, tool('as', 'binutils'), tool('make', 'make')]
    names = sources(a.dir, count)
    flags = '-quiet -w -O2 -nostdinc -isystem /inc'
    with open(os.path.join(a.dir, 'Makefile'), 'w') as f:
        f.write(f'all: {" ".join(n[:-2] + ".o" for n in names)}\n%.o: %.c\n\t/cc1 {flags} $< -o $*.s\n\t/as -o $@ $*.s\n')
    # Declarations enough for the sources: the host's headers would be many files.
    files = with_libraries(*programs)
    for name, text in (('stdio.h', ''), ('stdlib.h', ''), ('string.h', 'unsigned long strlen(const char *);\n')):
        with open(os.path.join(a.dir, name), 'w') as f:
            f.write(text)
        files[f'inc/{name}'] = os.path.join(a.dir, name)
    files.update({'cc1': cc1, 'as': programs[1], 'make': programs[2]})
    files.update({f'src/{n}': os.path.join(a.dir, n) for n in names + ['Makefile']})
    initrd = initramfs(os.path.join(a.dir, 'i'), f'cd /src\n/make -j4 all > /tmp/log 2>&1 || cat /tmp/log\nsha256sum *.o\n'
                       f'echo built\n{QUIET}\necho OSPITE-DONE', files)
    with boot(a, 2, initrd, 250 + 10 * count, 1024) as m:
        text = m.serial('(.*)built', BAD).group(1)
        end(m)
    for n in names:
        assembly = os.path.join(a.dir, 'x.s')
        subprocess.run([cc1] + flags.replace('/inc', a.dir).split() + [n, '-o', assembly], check=True, cwd=a.dir)
        subprocess.run([programs[1], '-o', 'x.o', 'x.s'], check=True, cwd=a.dir)
        digest = hashlib.sha256(open(os.path.join(a.dir, 'x.o'), 'rb').read()).hexdigest()
        if f'{digest}  {n[:-2]}.o' not in text:
            raise Failure(f'the object of {n} is not {digest}:\n{text[-2000:]}')
    return f'{count} objects by make -j4 on 2 vCPUs, byte for byte those of the host'


def jit(a, count):
    luajit = tool('luajit', 'luajit')
    script = os.path.join(os.path.dirname(os.path.abspath(__file__)), 'load.lua')
    seeds = range(1, 9)
    runs = ''.join(f'/luajit /load.lua {seed} {count} > /tmp/{seed} 2>&1 &\n' for seed in seeds)
    initrd = initramfs(os.path.join(a.dir, 'i'), f'{runs}wait\nfor n in {" ".join(map(str, seeds))}; do echo seed $n $(cat /tmp/$n); done\n'
                       f'echo ended\n{QUIET}\necho OSPITE-DONE', with_libraries(luajit) | {'luajit': luajit, 'load.lua': script})
    want = {seed: subprocess.run([luajit, script, str(seed), str(count)], capture_output=True, text=True, check=True).stdout.strip() for seed in seeds}
    with boot(a, 4, initrd, 250 + count // 20, 1024) as m:
        text = m.serial('(.*)ended', BAD).group(1)
        end(m)
    for seed in seeds:
        if not re.search(rf'seed {seed} {want[seed]}\s', text):
            raise Failure(f'luajit with seed {seed} does not say {want[seed]}:\n{text}')
    return f'8 luajits, {count} rounds each, on 4 vCPUs: what they compute is what the host does'


TESTS = {'jit': jit, 'boots': boots, 'patching': patching, 'stress': stress, 'build': build}


def main():
    p = argparse.ArgumentParser(usage=__doc__)
    p.add_argument('tests', nargs='+', metavar='TEST=N')
    p.add_argument('--vmm', required=True)
    p.add_argument('--scale', type=float, default=float(os.environ.get('OSPITE_TEST_SCALE', '1')))
    a = p.parse_args()
    failed = skipped = 0
    for test in a.tests:
        name, _, number = test.partition('=')
        start = time.time()
        with tempfile.TemporaryDirectory(prefix='ospite-parallel-') as a.dir:
            a.log = f'parallel-{name}.log'
            try:
                print(f'PASS {name}: {TESTS[name](a, int(number))} [{time.time() - start:.1f} s]', flush=True)
            except Skip as why:
                skipped += 1
                print(f'SKIP {name}: {why}', flush=True)
            except (Failure, subprocess.CalledProcessError) as why:
                failed += 1
                print(f'FAIL {name} [{time.time() - start:.1f} s]: {why}', flush=True)
    print(f'parallel: {len(a.tests)} tests, {failed} failed, {skipped} skipped')
    sys.exit(1 if failed else 77 if skipped == len(a.tests) else 0)


main()
