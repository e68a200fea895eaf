#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0-or-later
"""Where guest memory comes from: memory.py OSPITE

Machines are started, and /proc/PID/smaps must tell of the block that holds the guest's RAM what was asked for: private or shared, the file
behind it, mergeable, dumped, locked, there from the start. SeaBIOS then runs, and what it writes must be in a shared file and in no
private one. What the host cannot give, or does not fit together, is refused in one line."""
import ctypes, os, re, resource, shutil, subprocess, sys, tempfile, time
sys.path.append(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
import checks                                   # noqa: E402
from checks import check                        # noqa: E402
import leash            # noqa: E402, F401

OSPITE = os.path.abspath(sys.argv[1])
MIB = 1 << 20
PR_CAPBSET_DROP, CAP_IPC_LOCK = 24, 14
skipped = []


def start(args, **kw):
    return subprocess.Popen([OSPITE, '-accel', 'bt', '-display', 'none', '-serial', 'null', '-monitor', 'none', '-nodefaults', *args], stdin=subprocess.DEVNULL,
                            stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, **kw)


def block(pid, size):
    """The mapping of so many bytes: (text of smaps, flags)."""
    text = open(f'/proc/{pid}/smaps').read()
    for part in re.split(r'^(?=[0-9a-f]+-[0-9a-f]+ )', text, flags=re.M):
        m = re.match(r'([0-9a-f]+)-([0-9a-f]+) ', part)
        if m and int(m[2], 16) - int(m[1], 16) == size:
            return part, re.search(r'VmFlags: (.*)', part)[1].split()
    return '', []


def settled(p, size):
    for _ in range(3000):
        part, flags = block(p.pid, size)
        threads = [open(f'/proc/{p.pid}/task/{t}/comm').read().strip() for t in os.listdir(f'/proc/{p.pid}/task')]
        if (part and 'CPU 0' in threads) or p.poll() is not None:
            return part, flags
        time.sleep(0.02)
    return '', []


# Arguments; size in MiB; flags of smaps that must be there, that must not; what the line must hold; all of it resident?
# bt wants to map RAM twice, KSM wants it private: the latter wins while it is on.
ONE, OTHER = 'one', 'other'
BACKENDS = [
    ('-m 67', 67, f'{ONE} dd', f'{OTHER} lo', '', False),
    ('-m size=67M,maxmem=67M', 67, ONE, OTHER, '', False),
    ('-m 67 -machine mem-merge=on', 67, 'mg dd', 'sh lo', '', False),
    ('-m 67 -machine mem-merge=off', 67, 'sh', 'mg', '', False),
    ('-m 67 -accel bt,windows=off', 67, 'mg', 'sh', '', False),
    ('-m 67 -accel bt,windows=off -machine mem-merge=off', 67, '', 'mg sh', '', False),
    ('-m 67 -mem-prealloc', 67, ONE, OTHER, '', True),
    ('-m 67 -overcommit mem-lock=on', 67, 'lo', '', '', True),
    ('-object memory-backend-ram,id=m,size=67M -machine memory-backend=m', 67, 'mg dd', 'sh', '', False),
    ('-object memory-backend-ram,id=m,size=67M,merge=off,dump=on -machine pc,memory-backend=m', 67, '', 'mg dd sh', '', False),
    ('-object memory-backend-ram,id=m,size=67M,share=on -machine memory-backend=m -m 67', 67, 'sh', 'mg', '/dev/zero', False),
    ('-object memory-backend-ram,id=m,size=67M,reserve=off -machine memory-backend=m', 67, 'nr', 'sh', '', False),
    ('-object memory-backend-memfd,id=pc.ram,size=67M -machine memory-backend=pc.ram', 67, 'sh', 'mg', 'memfd:pc.ram', False),
    ('-object memory-backend-memfd,id=m,size=67M,share=off,seal=off -machine memory-backend=m', 67, 'mg', 'sh', 'memfd:m', False),
    ('-object memory-backend-memfd,id=m,size=67M,prealloc=on,prealloc-threads=2 -machine memory-backend=m', 67, 'sh', 'mg', 'memfd:m', True),
    ('-object memory-backend-file,id=m,size=67M,mem-path=ram.file,share=on -machine memory-backend=m', 67, 'sh', 'mg', 'ram.file', False),
    ('-object memory-backend-file,id=m,size=67M,mem-path=ram.file,prealloc=on,share=on -machine memory-backend=m', 67, 'sh', 'mg', 'ram.file', True),
    ('-object memory-backend-file,id=m,size=67M,mem-path=private.file -machine memory-backend=m', 67, 'mg', 'sh', 'private.file', False),
    ('-m 67 -mem-path .', 67, 'mg', 'sh', '(deleted)', False),
]
M = '-machine memory-backend=m'
REFUSED = [
    ('-object memory-backend-ram,id=m', 'needs id= and size='), ('-object memory-backend-ram,size=1G', 'needs id= and size='),
    ('-object memory-backend-file,id=m,size=1G', 'needs mem-path='), ('-object memory-backend-ram,id=m,size=64M', "'m' is not used; add -machine memory-backend=m"),
    ('-machine memory-backend=x', "no -object memory-backend-... has the id 'x'"), (f'-object memory-backend-ram,id=m,size=64M {M} -m 128', '-m says 128 MiB'),
    (f'-object memory-backend-ram,id=m,size=64M {M} -mem-path .', 'give one of them'), ('-object memory-backend-ram,id=m,size=64M -object memory-backend-ram,id=m,size=64M', 'two objects'),
    ('-object memory-backend-ram,id=m,size=64M,policy=bind', 'numactl'), ('-object memory-backend-ram,id=m,size=64M,host-nodes=0', 'numactl'),
    ('-object {"qom-type":"memory-backend-ram","id":"m","size":67108864,"host-nodes":[0]}', 'host-nodes: not supported in this version; start ospite with numactl'),
    ('-object memory-backend-ram,id=m,size=64M,prealloc-threads=0', 'at least 1'), ('-overcommit cpu-pm=on', "cpu-pm: 'on' is not supported"),
    ('-object memory-backend-ram,id=m,size=64M,shares=on', "did you mean 'share'"), ('-object memory-backend-memfd,id=m,size=64M,hugetlbsize=3M,hugetlb=on', 'power of two'),
    ('-object memory-backend-memfd,id=m,size=64M,hugetlbsize=2M', 'needs hugetlb=on'), ('-object memory-backend-file,id=m,size=64M,mem-path=x,readonly=on', "readonly: 'on' is not supported in this version; only 'off' is"),
    (f'-object memory-backend-file,id=m,size=64M,mem-path=small.file {M}', 'has 1 MiB and the guest'), (f'-object memory-backend-file,id=m,size=64M,mem-path=/dev/null {M}', 'neither a file nor'),
    (f'-object memory-backend-file,id=m,size=64M,mem-path=/nonexistent/x {M}', 'No such file'), ('-m 64 -mem-path /nonexistent/x', 'No such file'),
    (f'-object memory-backend-ram,id=m,size=9000G {M}', 'this machine has'),
]


def message(p):
    """What a machine that must not start says."""
    try:
        return p.communicate(timeout=60)[1].decode()
    except subprocess.TimeoutExpired:
        p.kill()
        p.wait()
        return '(it runs)'


def resident_mib(part):
    return int(re.search(r'Rss: +(\d+)', part)[1]) >> 10 if part else -1


def backend(args, size_mib, have, have_not, line, resident):
    merges = open('/sys/kernel/mm/ksm/run').read().strip() == '1'
    have, have_not = (' '.join({ONE: ('sh', 'mg')[merges], OTHER: ('mg', 'sh')[merges]}.get(w, w) for w in words.split()) for words in (have, have_not))
    p = start([*args.split(), '-S'])
    try:
        part, flags = settled(p, size_mib * MIB)
        got = resident_mib(part)
        for _ in range(600):                           # pages that the kernel is moving at this moment are not counted
            if not resident or got == size_mib:
                break
            time.sleep(0.1)
            got = resident_mib(block(p.pid, size_mib * MIB)[0])
        check(part and set(have.split()) <= set(flags) and not set(have_not.split()) & set(flags) and line in part.split('\n', 1)[0], f'{args}: {flags} in {part.splitlines()[:1]}')
        check(got == size_mib if resident else got < size_mib, f'{args}: {got} MiB are there')
    finally:
        p.kill()
        p.wait()
        p.stderr.close()


def written():
    """SeaBIOS copies itself below 1 MiB: the shared file has its first jump at FFFF0h, the private one has not."""
    for name, share in (('shared', 'on'), ('apart', 'off')):
        p = start(['-object', f'memory-backend-file,id=m,size=64M,mem-path={name},share={share}', '-machine', 'memory-backend=m'])
        try:
            end = time.time() + 60
            while not (os.path.exists(name) and os.path.getsize(name) == 64 * MIB) and time.time() < end:
                time.sleep(0.1)
            end = time.time() + (60 if share == 'on' else 2)
            while time.time() < end and not (open(name, 'rb').read(MIB)[0xffff0:0xffff5] == b'\xea\x5b\xe0\x00\xf0'):
                time.sleep(0.1)
        finally:
            p.kill()
            p.wait()
            p.stderr.close()
        check(os.path.getsize(name) == 64 * MIB and (open(name, 'rb').read(MIB)[0xffff0:0xffff5] == b'\xea\x5b\xe0\x00\xf0') == (share == 'on'), f'{name}: what the firmware wrote')


def discarded():
    """With discard-data=on the file keeps its size and loses what the guest wrote, when the machine ends."""
    for name, more, empty in (('kept', '', False), ('emptied', ',discard-data=on', True)):
        p = start(['-object', f'memory-backend-file,id=m,size=64M,mem-path={name},share=on{more}', '-machine', 'memory-backend=m'])
        end = time.time() + 60
        while not (os.path.exists(name) and os.stat(name).st_blocks) and time.time() < end:
            time.sleep(0.1)
        p.terminate()
        err = message(p)
        check(p.returncode == 0 and os.path.getsize(name) == 64 * MIB and (not os.stat(name).st_blocks) == empty, f'{name}: {p.returncode} {err!r}, {os.stat(name)}')


def refused():
    open('small.file', 'wb').write(bytes(MIB))
    for args, want in REFUSED:
        p = start(args.split())
        err = message(p)
        lines = [x for x in err.splitlines() if 'engine ' not in x]
        check(p.returncode == 1 and len(lines) == 1 and want in err, f'{args}: {p.returncode} {err!r}')


def limits():
    libc = ctypes.CDLL(None)

    def little():
        resource.setrlimit(resource.RLIMIT_MEMLOCK, (1 << 16, 1 << 16))
        libc.prctl(PR_CAPBSET_DROP, CAP_IPC_LOCK, 0, 0, 0)      # root, whom the limit would not bind, loses that right by exec
    p = start(['-m', '67', '-overcommit', 'mem-lock=on'], preexec_fn=little)
    err = message(p)
    check(p.returncode == 1 and 'ulimit -l' in err, f'locking beyond the limit: {p.returncode} {err!r}')
    free = int(re.search(r'HugePages_Free: +(\d+)', open('/proc/meminfo').read())[1])
    p = start(['-object', f'memory-backend-memfd,id=m,size={2 * free + 64}M,hugetlb=on,hugetlbsize=2M', '-machine', 'memory-backend=m'])
    err = message(p)
    check(p.returncode == 1 and 'sysctl vm.nr_hugepages=' in err, f'more huge pages than there are: {p.returncode} {err!r}')


def full():
    """A tmpfs that is too small for private memory, too; what is there already counts."""
    os.mkdir('little')
    if os.getuid() or subprocess.run(['mount', '-t', 'tmpfs', '-o', 'size=12M', 'none', 'little'], capture_output=True).returncode:
        skipped.append('a full tmpfs (needs root and mounts)')
        return
    try:
        for args in ('-mem-path little', '-mem-path little -mem-prealloc', '-object memory-backend-file,id=m,size=67M,mem-path=little/f -machine memory-backend=m'):
            p = start(['-m', '67', *args.split()])
            err = message(p)
            check(p.returncode == 1 and '12 MiB are free' in err and 'make room or use a smaller -m' in err, f'{args}: {p.returncode} {err!r}')
        subprocess.run(['mount', '-o', 'remount,size=67M', 'little'], check=True)
        backend('-m 67 -mem-path little', 67, 'mg', 'sh', '(deleted)', False)
        backend('-m 67 -mem-path little -mem-prealloc', 67, 'mg', 'sh', '(deleted)', True)
        with open('little/f', 'wb') as f:
            os.posix_fallocate(f.fileno(), 0, 67 * MIB)
        backend('-object memory-backend-file,id=m,size=67M,mem-path=little/f -machine memory-backend=m', 67, 'mg', 'sh', 'little/f', False)
    finally:
        subprocess.run(['umount', '-l', 'little'], check=True)


def huge():
    path = '/proc/sys/vm/nr_hugepages'
    if not os.access(path, os.W_OK):
        skipped.append('huge pages (needs root)')
        return
    before = open(path).read()
    try:
        open(path, 'w').write(str(int(before) + 33))
        if int(re.search(r'HugePages_Free: +(\d+)', open('/proc/meminfo').read())[1]) < 33:
            skipped.append('huge pages (none to be had)')
            return
        p = start(['-object', 'memory-backend-memfd,id=m,size=66M,hugetlb=on,hugetlbsize=2M', '-machine', 'memory-backend=m'])
        part, flags = settled(p, 66 * MIB)
        time.sleep(0.5)
        check(p.poll() is None and 'ht' in flags and 'KernelPageSize:     2048 kB' in part, f'huge pages: {flags} {part[:200]}')
        p.kill()
        p.wait()
    finally:
        open(path, 'w').write(before)


directory = tempfile.mkdtemp()
os.chmod(directory, 0o755)
os.chdir(directory)
try:
    for row in BACKENDS:
        backend(*row)
    written()
    discarded()
    refused()
    limits()
    full()
    huge()
finally:
    os.chdir('/')
    shutil.rmtree(directory)
print(f'memory: {len(BACKENDS)} kinds of memory, {len(REFUSED)} refused, {checks.counts()}' + ''.join(f'; skipped: {s}' for s in skipped))
sys.exit(bool(checks.failed))
