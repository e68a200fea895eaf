#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0-or-later
"""'ospite doctor' on made-up hosts, and on this one: doctor.py OSPITE

A made-up host is a directory with the files of /proc, /sys, /dev that the doctor reads (--root), and 'facts' for what no file
tells. HOST is a good one; each row changes some files and says what must be found then. Every finding that the source can make
must be met by some row."""
import json, os, re, shutil, subprocess, sys, tempfile
sys.path.append(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
import checks                                   # noqa: E402
from checks import check                        # noqa: E402
import leash            # noqa: E402, F401

OSPITE = os.path.abspath(sys.argv[1])
SOURCE = os.path.join(os.path.dirname(os.path.abspath(__file__)), '../..')
met = set()


class Link(str):
    """A symbolic link in a made-up host."""


LIMITS = 'Limit                     Soft Limit           Hard Limit           Units\n{}'
CPU = 'processor : 0\nvendor_id : {}\nmodel name : Test Processor 9\nflags : fpu vme {} sse2\n\nprocessor : 1\nflags : none\n'
V2 = {'/proc/self/cgroup': '0::/user.slice/vm.scope\n', '/proc/self/mountinfo': '30 23 0:26 / /sys/fs/cgroup rw - cgroup2 cgroup2 rw\n',
      '/sys/fs/cgroup/user.slice/vm.scope/cgroup.controllers': 'cpuset cpu io memory pids\n'}
V1 = {'/proc/self/cgroup': '5:cpu,cpuacct:/docker/abc/in\n4:memory:/docker/abc/in\n3:pids:/docker/abc/in\n0::/\n', '/proc/self/mountinfo':
      '33 29 0:30 /docker/abc /cg/cpu rw - cgroup cgroup rw,cpu,cpuacct\n34 29 0:31 /docker/abc /cg/memory rw,relatime - cgroup cgroup rw,memory\n35 29 0:32 /docker/abc /cg/pids rw - cgroup cgroup rw,pids\n',
      '/cg/memory/in/memory.limit_in_bytes': '9223372036854771712', '/cg/memory/memory.limit_in_bytes': str(1 << 30), '/cg/memory/memory.usage_in_bytes': str(900 << 20),
      '/cg/cpu/in/cpu.cfs_quota_us': '50000', '/cg/cpu/in/cpu.cfs_period_us': '100000', '/cg/cpu/cpu.cfs_quota_us': '-1',
      '/cg/pids/in/pids.max': '100', '/cg/pids/in/pids.current': '90'}
HOST = {
    '/facts': 'kvm_mips 2345.6\nuid 54321\ngids 54321\nuser anna\ncpuid svm\nmsr_c0010114 0\n',
    '/proc/cpuinfo': CPU.format('AuthenticAMD', 'svm'), '/proc/sys/kernel/osrelease': '6.1.0-test\n',
    '/lib/modules/6.1.0-test/modules.dep': 'kernel/arch/x86/kvm/kvm-amd.ko.xz: kernel/arch/x86/kvm/kvm.ko.xz\nkernel/drivers/net/tun.ko: \n'
    'kernel/arch/x86/kvm/kvm-intel.ko: \nkernel/drivers/block/nbd.ko: \nkernel/drivers/vhost/vhost_net.ko.zst: \n',
    '/lib/modules/6.1.0-test/modules.builtin': 'kernel/fs/fuse/fuse.ko\n',
    '/sys/module/kvm/x': '', '/sys/module/kvm_amd/parameters/nested': '1\n', '/sys/kernel/iommu_groups/0/type': 'DMA', '/sys/kernel/iommu_groups/1/type': 'DMA',
    '/dev/kvm': 0o666, '/dev/net/tun': 0o666, '/dev/vhost-net': 0o666, '/dev/nbd0': 0o666, '/dev/fuse': 0o666,
    '/usr/bin/fusermount3': '', '/etc/group': f'kvm:x:{os.getegid()}:\n',
    '/proc/meminfo': 'MemTotal: 16000000 kB\nMemAvailable: 12000000 kB\nCommitLimit: 8000000 kB\nCommitted_AS: 3000000 kB\nHugePages_Total: 64\nHugePages_Free: 60\n',
    '/proc/sys/vm/overcommit_memory': '0', '/proc/sys/vm/max_map_count': '65530', '/proc/sys/kernel/io_uring_disabled': '0',
    '/proc/self/limits': LIMITS.format('Max locked memory         unlimited            unlimited            bytes\n'
                                       'Max open files            1024                 4096                 files\nMax address space         unlimited            unlimited            bytes\n'),
    '/sys/kernel/mm/ksm/run': '1', '/sys/kernel/mm/ksm/pages_sharing': '262144', '/sys/kernel/mm/transparent_hugepage/enabled': 'always [madvise] never',
    '/usr/share/seabios/bios-256k.bin': '', '/usr/share/seabios/vgabios-stdvga.bin': '', '/usr/share/OVMF/OVMF_CODE_4M.fd': '', '/usr/lib/ipxe/qemu/pxe-virtio.rom': '', **V2,
}
NOT_AMD = {'/sys/module/kvm_amd/parameters/nested': None}


def facts(**change):
    """The good host's facts with some changed; None leaves one out."""
    table = dict(line.split(' ', 1) for line in HOST['/facts'].splitlines())
    table.update(change)
    return {'/facts': ''.join(f'{k} {v}\n' for k, v in table.items() if v is not None)}


def machine(pid, name, fds, exe='/usr/bin/ospite', arguments=(), threads=('ospite', 'CPU 0')):
    files = {f'/proc/{pid}/exe': Link(exe), f'/proc/{pid}/comm': name, f'/proc/{pid}/cmdline': '\0'.join(('ospite', *arguments)) + '\0'}
    files.update({f'/proc/{pid}/task/{pid + n}/comm': t for n, t in enumerate(threads)})
    files.update({f'/proc/{pid}/fd/{n}': Link(to) for n, to in enumerate(fds)})
    return files


NO_KVM = facts(kvm_mips=None, kvm_error='this machine\'s KVM emulates guest code: 0.6 million instructions a second, a real one does over 50')
# Name, files changed (None: gone), what must be found: (check, status, words of the text, words of the mend), exit status.
ROWS = [
    ('a good host', {}, [
        ('cpu', 'ok', 'Test Processor 9 with svm', None), ('kvm-module', 'ok', 'kvm_amd is loaded', None), ('kvm', 'ok', 'anna may use it', None),
        ('kvm-speed', 'ok', '2346 million', None), ('bt', 'ok', 'without KVM', None), ('nested', 'ok', '', None), ('iommu', 'ok', 'on, 2 groups', None),
        ('memory', 'ok', '11.4 GiB of 15.3 GiB', None), ('overcommit', 'ok', 'as usual', None), ('maps', 'ok', '65530', None), ('memlock', 'ok', 'no limit', None),
        ('cgroup-memory', 'ok', 'no limit (cgroup version 2)', None), ('cgroup-cpu', 'ok', 'no limit', None), ('ksm', 'ok', 'saves 1 GiB', None),
        ('huge-pages', 'ok', 'madvise', None), ('hugetlbfs', 'ok', '60 of 64', None), ('tun', 'ok', '/dev/net/tun', None), ('vhost-net', 'ok', '', None),
        ('nbd', 'ok', '', None), ('fuse', 'ok', '', None), ('seabios', 'ok', 'bios-256k', None), ('vgabios', 'ok', '', None),
        ('ovmf', 'ok', 'OVMF_CODE_4M', None), ('ipxe', 'ok', 'pxe-virtio', None)], 0),
    ('Intel', {'/proc/cpuinfo': CPU.format('GenuineIntel', 'vmx'), **NOT_AMD, '/sys/module/kvm_intel/parameters/nested': 'Y'},
     [('cpu', 'ok', 'with vmx', None), ('kvm-module', 'ok', 'kvm_intel is loaded', None), ('nested', 'ok', '', None)], 0),
    ('Intel, switched off by the firmware', {'/proc/cpuinfo': CPU.format('GenuineIntel', 'vmx'), **facts(msr_3a='1', kvm_mips=None)},
     [('cpu', 'missing', 'locked it off', 'firmware setup'), ('nested', 'missing', 'see cpu', None), ('kvm-speed', 'missing', 'does not answer', 'cpu says')], 2),
    ('Intel, switched on', {'/proc/cpuinfo': CPU.format('GenuineIntel', 'vmx'), **facts(msr_3a='5')}, [('cpu', 'ok', 'with vmx', None)], 0),
    ('Intel, hidden by the kernel', {'/proc/cpuinfo': CPU.format('GenuineIntel', ''), **facts(cpuid='vmx', kvm_mips=None), **NOT_AMD, '/sys/module/kvm/x': None},
     [('cpu', 'missing', 'firmware switched it off', 'VT-x'), ('kvm-module', 'missing', 'see cpu', None)], 2),
    ('AMD, switched off', facts(msr_c0010114='10'), [('cpu', 'missing', 'locked it off', 'firmware')], 0),
    ('AMD, hidden', {'/proc/cpuinfo': CPU.format('AuthenticAMD', '')}, [('cpu', 'missing', 'svm, but the firmware', 'SVM')], 0),
    ('a virtual machine', {'/proc/cpuinfo': CPU.format('x', 'hypervisor'), **facts(cpuid='none', kvm_mips=None), **NOT_AMD},
     [('cpu', 'missing', 'virtual itself', 'nested=1'), ('kvm-module', 'warning', 'kvm: without vmx', None)], 2),
    ('an old processor', {'/proc/cpuinfo': CPU.format('x', ''), **facts(cpuid='none')}, [('cpu', 'missing', 'too old', 'firmware setup')], 0),
    ('no /proc', {'/proc/cpuinfo': None}, [('cpu', 'warning', 'cannot be read', 'mount')], 0),
    ('module not loaded', {**NOT_AMD, '/sys/module/kvm/x': None, '/dev/kvm': None},
     [('kvm-module', 'missing', 'kvm_amd fits', 'modprobe kvm_amd'), ('kvm', 'missing', 'no /dev/kvm', 'kvm-module'), ('nested', 'missing', 'see kvm-module', None),
      ('kvm-speed', 'missing', 'not tried: there is no /dev/kvm', None)], 2),
    ('the other module', {**NOT_AMD, '/sys/module/kvm_intel/x': ''}, [('kvm-module', 'missing', 'there is kvm, kvm_intel', 'modprobe kvm_amd')], 0),
    ('a kernel without', {**NOT_AMD, '/lib/modules/6.1.0-test/modules.dep': ''}, [('kvm-module', 'missing', '', 'linux-image-amd64')], 0),
    ('a container without', {**NOT_AMD, '/lib/modules/6.1.0-test/modules.dep': None, '/.dockerenv': '', '/dev/kvm': None, '/dev/fuse': None},
     [('kvm-module', 'missing', '', "container's host: modprobe kvm_amd"), ('kvm', 'missing', '', '--device /dev/kvm'), ('fuse', 'missing', '', '--device /dev/fuse')], 2),
    ('node not made', {'/dev/kvm': None}, [('kvm', 'missing', 'no /dev/kvm', 'mknod')], 2),
    ('not in the group', {'/dev/kvm': 0o660}, [('kvm', 'missing', 'belongs to group kvm, and anna is not in it', 'adduser anna kvm'), ('kvm-speed', 'missing', 'no permission', None)], 2),
    ('group since after login', {'/dev/kvm': 0o660, '/etc/group': f'kvm:x:{os.getegid()}:bob,anna\n'}, [('kvm', 'missing', 'in it since after this login', 'newgrp kvm')], 2),
    ('in the group', {'/dev/kvm': 0o660, **facts(gids=f'54321 {os.getegid()}')}, [('kvm', 'ok', '', None)], 0),
    ('root', {'/dev/kvm': 0o600, **facts(uid='0', user='root')}, [('kvm', 'ok', 'root may', None)], 0),
    ('a slow KVM', NO_KVM, [('kvm-speed', 'missing', '0.6 million', 'dmesg')], 2),
    ('neither engine', {'/dev/kvm': None, **facts(exec_memory='Operation not permitted'), '/proc/sys/vm/memfd_noexec': '2'},
     [('bt', 'missing', 'Operation not permitted (vm.memfd_noexec)', 'sysctl vm.memfd_noexec=0')], 1),
    ('no code memory', facts(exec_memory='Permission denied'), [('bt', 'missing', 'Permission denied', 'ausearch')], 0),
    ('nested off', {'/sys/module/kvm_amd/parameters/nested': '0'}, [('nested', 'warning', 'switched off in kvm_amd', 'nested=1')], 0),
    ('IOMMU off', {'/sys/kernel/iommu_groups/0/type': None, '/sys/kernel/iommu_groups/1/type': None, '/sys/firmware/acpi/tables/DMAR': 'x'},
     [('iommu', 'missing', 'but it is off', 'intel_iommu=on')], 0),
    ('no IOMMU', {'/sys/kernel/iommu_groups/0/type': None, '/sys/kernel/iommu_groups/1/type': None}, [('iommu', 'missing', 'none', 'VT-d')], 0),
    ('little memory', {'/proc/meminfo': 'MemTotal: 200000 kB\nMemAvailable: 100000 kB\nHugePages_Total: 0\nHugePages_Free: 0\n'},
     [('memory', 'warning', '97.7 MiB of 195 MiB', '-m 64'), ('hugetlbfs', 'missing', 'no huge pages', 'nr_hugepages')], 0),
    ('strict overcommit', {'/proc/sys/vm/overcommit_memory': '2'}, [('overcommit', 'warning', '4.77 GiB are left', 'overcommit_memory=0')], 0),
    ('free overcommit', {'/proc/sys/vm/overcommit_memory': '1'}, [('overcommit', 'ok', 'without limit', None)], 0),
    ('few maps', {'/proc/sys/vm/max_map_count': '1000'}, [('maps', 'warning', '1000', 'max_map_count=65530')], 0),
    ('limits', {'/proc/self/limits': LIMITS.format('Max locked memory         8192                 8192                 bytes\nMax open files            256                  4096                 files\n'
                                                   'Max address space         2147483648           unlimited            bytes\n')},
     [('memlock', 'warning', '8 KiB', 'anna - memlock'), ('address-space', 'warning', '2 GiB', 'ulimit -v'), ('open-files', 'warning', '256', 'ulimit -n')], 0),
    ('some may be locked', {'/proc/self/limits': LIMITS.format('Max locked memory         8388608              8388608              bytes\n')}, [('memlock', 'ok', '8 MiB', None)], 0),
    ('no io_uring', {'/proc/sys/kernel/io_uring_disabled': '2'}, [('io_uring', 'warning', 'switched off:', 'io_uring_disabled=0')], 0),
    ('io_uring for a group', {'/proc/sys/kernel/io_uring_disabled': '1'}, [('io_uring', 'warning', 'for all but a group', '')], 0),
    ('cgroup 2, the outer is tighter', {'/sys/fs/cgroup/user.slice/vm.scope/memory.max': 'max', '/sys/fs/cgroup/user.slice/memory.max': str(300 << 20),
                                        '/sys/fs/cgroup/user.slice/memory.current': str(100 << 20), '/sys/fs/cgroup/user.slice/vm.scope/cpu.max': '150000 100000',
                                        '/sys/fs/cgroup/user.slice/pids.max': '70', '/sys/fs/cgroup/user.slice/pids.current': '20'},
     [('cgroup-memory', 'warning', 'limited to 300 MiB (cgroup version 2, /sys/fs/cgroup/user.slice), 200 MiB are left', '/sys/fs/cgroup/user.slice/memory.max'),
      ('cgroup-cpu', 'ok', '1.5 processors', None), ('cgroup-pids', 'warning', '70 threads', 'pids.max')], 0),
    ('cgroup 2, roomy', {'/sys/fs/cgroup/user.slice/vm.scope/memory.max': str(4 << 30), '/sys/fs/cgroup/user.slice/vm.scope/cpu.max': '20000 100000'},
     [('cgroup-memory', 'ok', 'limited to 4 GiB', None), ('cgroup-cpu', 'warning', '0.2 processors', 'cpu.max')], 0),
    ('cgroup 1 in a container', {**V1, '/.dockerenv': ''}, [('cgroup-memory', 'warning', 'limited to 1 GiB (cgroup version 1, /cg/memory), 124 MiB', '--memory 4g'),
                                            ('cgroup-cpu', 'warning', '0.5 processors', '--cpus'), ('cgroup-pids', 'warning', '100 threads are allowed and 90', '--pids-limit')], 0),
    ('cgroup 1, no limits', {**V1, '/cg/memory/memory.limit_in_bytes': '9223372036854771712', '/cg/cpu/in/cpu.cfs_quota_us': '-1'},
     [('cgroup-memory', 'ok', 'version 1', None), ('cgroup-cpu', 'ok', 'version 1', None)], 0),
    ('KSM off', {'/sys/kernel/mm/ksm/run': '0'}, [('ksm', 'warning', 'off', 'ospite ksm on')], 0),
    ('no KSM', {'/sys/kernel/mm/ksm/run': None}, [('ksm', 'missing', 'CONFIG_KSM', None)], 0),
    ('huge pages off', {'/sys/kernel/mm/transparent_hugepage/enabled': 'always madvise [never]'}, [('huge-pages', 'warning', 'off', 'echo madvise')], 0),
    ('no huge pages', {'/sys/kernel/mm/transparent_hugepage/enabled': None}, [('huge-pages', 'missing', '', None)], 0),
    ('drivers not loaded', {'/dev/net/tun': None, '/dev/vhost-net': None, '/dev/nbd0': None, '/dev/fuse': None, '/usr/bin/fusermount3': None},
     [('tun', 'missing', 'tap', 'modprobe tun'), ('vhost-net', 'missing', '', 'modprobe vhost_net'),
      ('nbd', 'missing', '', 'modprobe nbd'), ('fuse', 'missing', '', 'modprobe fuse'), ('fusermount', 'missing', '', 'apt install fuse3')], 0),
    ('drivers not there', {'/dev/nbd0': None, '/lib/modules/6.1.0-test/modules.dep': ''}, [('nbd', 'missing', 'no such module', None)], 0),
    ('drivers not permitted', {'/dev/net/tun': 0o600, '/dev/vhost-net': 0o600, '/dev/nbd0': 0o660},
     [('tun', 'warning', 'no permission', 'chmod 666'), ('vhost-net', 'warning', 'no permission', 'chgrp kvm'), ('nbd', 'warning', '', 'as root')], 0),
    ('no firmware', {p: None for p in HOST if p.startswith('/usr/')},
     [('seabios', 'missing', '', 'apt install seabios'), ('vgabios', 'missing', '', 'seabios'), ('ovmf', 'missing', 'UEFI', 'apt install ovmf'), ('ipxe', 'missing', 'network', 'apt install ipxe-qemu')], 0),
    ('machines', {**machine(50, 'ospite', ['socket:[1]', 'anon_inode:kvm-vm', 'anon_inode:kvm-vcpu:0'], arguments=['-name', 'web,process=x']),
                  **machine(60, 'vm', ['pipe:[2]'], arguments=['-accel', 'bt']), **machine(70, 'ospite', ['pipe:[3]'], '/usr/bin/ospite (deleted)'),
                  **machine(80, 'ospite', ['pipe:[3]'], threads=['ospite']), **machine(90, 'qemu', ['anon_inode:kvm-vm'], '/usr/bin/qemu'),
                  **machine(1000, 'ospite', [], arguments=['-M', 'pc,accel=tcg', '-name', 'a\x1b[31m"b']), '/proc/1000/fd/0': Link('pipe:[4]')},
     [('machine', 'ok', '50 (web) runs with kvm', None), ('machine', 'warning', '60 runs with bt, which is slower, as its command line asks', 'without -accel bt'),
      ('machine', 'warning', '70 runs with bt, which is slower: KVM was not usable when it started', 'start it again'), ('machine', 'warning', '1000 (a\x1b[31m"b)', '')], 0),
    ('a machine without KVM', {**NO_KVM, **machine(70, 'ospite', ['pipe:[3]'])}, [('machine', 'warning', '70 runs with bt, which is slower: see kvm', None)], 2),
    ('a machine that asks for bt, without KVM', {**NO_KVM, **machine(60, 'vm', ['pipe:[2]'], arguments=['-accel', 'bt'])}, [('machine', 'warning', '60 runs with bt, which is slower: see kvm', None)], 2),
    ('a hidden machine', {**machine(70, 'ospite', [], exe=''), '/proc/70/exe': None}, [('machine', 'warning', 'somebody else', 'as root')], 0),
]
UNSEEN = [('machines', ('80', '90'))]          # processes that are no machines of this program


def host_make(root, change):
    for path, content in {**HOST, **change}.items():
        if content is None:
            continue
        where = root + path
        os.makedirs(os.path.dirname(where), exist_ok=True)
        if isinstance(content, Link):
            os.symlink(content, where)
            continue
        with open(where, 'w') as f:
            f.write('' if isinstance(content, int) else content)
        if isinstance(content, int):
            os.chmod(where, content)


def doctor(*args):
    p = subprocess.run([OSPITE, 'doctor', *args], stdin=subprocess.DEVNULL, capture_output=True, timeout=60)
    return p.returncode, p.stdout.decode(), p.stderr.decode()


def finding_fits(f, want):
    name, status, text, mend = want
    return f['check'] == name and f['status'] == status and text in f['text'] and (f['mend'] is None if mend is None else mend in (f['mend'] or ''))


def row_run(name, change, wanted, status):
    root = tempfile.mkdtemp()
    try:
        host_make(root, change)
        code, out, err = doctor('--json', '--root', root)
        check(code == status and not err, f'{name}: status {code}, {err!r}')
        found = json.loads(out)
        check(found['kvm'] == (status == 0) and found['bt'] == ('exec_memory' not in change.get('/facts', '')), f'{name}: {found["kvm"]} {found["bt"]}')
        for want in wanted:
            check(any(finding_fits(f, want) for f in found['findings']), f'{name}: {want} is not among ' + str([f for f in found['findings'] if f['check'] == want[0]]))
        if name == 'a good host':
            check(len(found['findings']) == len(wanted) and all(f['status'] == 'ok' for f in found['findings']), f'{name}: more than that')
        for row, pids in UNSEEN:
            check(row != name or not any(f'process {p}' in f['text'] for p in pids for f in found['findings']), f'{name}: {pids} are seen')
        met.update((f['check'], f['status']) for f in found['findings'])
        code, out, _ = doctor('--root', root)
        lines = out.splitlines()
        check(code == status and len(lines) == len(found['findings']) + 1 and '\x1b' not in out, f'{name}: {len(lines)} lines, status {code}')
        check(all(re.match(rf'{f["status"]} +{f["check"]} ', line) for f, line in zip(found['findings'], lines)), f'{name}: lines are not the findings')
    finally:
        shutil.rmtree(root)


def coverage():
    """Each check of the source with each status it can have was met."""
    could = set()
    for name in sorted(os.listdir(os.path.join(SOURCE, 'src/tool'))):
        if not name.startswith('doctor_') or not name.endswith('.c'):
            continue
        for m in re.finditer(r'doctor_found\(d, ([^,]*?)FINDING_(\w+)( : FINDING_(\w+))?, "([\w-]+)"', open(os.path.join(SOURCE, 'src/tool', name)).read()):
            could |= {(m[5], m[2].lower())} | ({(m[5], m[4].lower())} if m[4] else set())
    check(len(could) > 40 and could <= met, f'no row finds {sorted(could - met)}')
    return len(could)


def real():
    code, out, err = doctor('--json')
    found = json.loads(out)
    check(code in (0, 1, 2) and not err and (code == 0) == found['kvm'], f'this host: status {code} {err!r}')
    check(os.path.exists('/dev/kvm') or not found['kvm'], 'this host: KVM without /dev/kvm')
    check({'cpu', 'kvm', 'kvm-speed', 'bt', 'memory', 'ksm', 'seabios'} <= {f['check'] for f in found['findings']}, 'this host: checks')
    vm = subprocess.Popen([OSPITE, '-accel', 'bt', '-display', 'none', '-S', '-serial', 'null', '-monitor', 'none', '-name', 'patient'], stdin=subprocess.DEVNULL, stderr=subprocess.PIPE)
    try:
        for _ in range(100):
            seen = [f for f in json.loads(doctor('--json')[1])['findings'] if f['text'].startswith(f'process {vm.pid} (patient) runs with bt')]
            if seen or vm.poll() is not None:
                break
        check(len(seen) == 1 and seen[0]['status'] == 'warning', f'this host: a running machine is not seen: {seen}')
    finally:
        vm.kill()
        vm.wait()


def usage():
    page = open(os.path.join(SOURCE, 'docs/man/ospite-doctor.1')).read().replace('\\-', '-')
    code, out, _ = doctor('-h')
    options = set(re.findall(r'^(--\w+)', out, re.M))
    check(code == 0 and len(options) == 3 and options == set(re.findall(r'(?:\\fB|\.B )(--\w+)', page)), f'-h and the manual page: {options}')
    for args, want in ((['--jsn'], "did you mean '--json'"), (['--root'], 'wants a directory'), (['x'], "unknown option 'x'")):
        code, out, err = doctor(*args)
        check(code == 1 and not out and want in err and err.count('\n') == 1, f'{args}: {code} {err!r}')


for row in ROWS:
    row_run(*row)
kinds = coverage()
real()
usage()
print(f'doctor: {len(ROWS)} made-up hosts, {kinds} kinds of findings, {checks.counts()}')
sys.exit(bool(checks.failed))
