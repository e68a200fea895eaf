#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0-or-later
"""leashed.py OSPITE   a test script that dies leaves no machine behind, and those that start machines are on the leash."""
import os, re, signal, subprocess, sys, tempfile, time
HERE = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
sys.path.append(HERE)
import leash            # noqa: E402, F401

SCRIPT = '''
import os, subprocess, sys, time
sys.path.append(sys.argv[1])
import leash
MACHINE = [sys.argv[2], '-accel', 'bt', '-m', '16', '-S', '-display', 'none', '-serial', 'null', '-monitor', 'none']
p = subprocess.Popen(MACHINE, stdin=subprocess.DEVNULL)
subprocess.run([*MACHINE, '-daemonize', '-pidfile', 'pid'], check=True, stdin=subprocess.DEVNULL)
print(p.pid, open('pid').read().strip(), flush=True)
if sys.argv[3] == 'SIGTERM':
    time.sleep(100)
exec(sys.argv[3])
'''


def is_there(pid):
    try:
        return open(f'/proc/{pid}/stat').read().rsplit(')', 1)[1].split()[0] not in 'ZX'
    except OSError:
        return False


def dies(ospite, how):
    p = subprocess.Popen([sys.executable, '-c', SCRIPT, HERE, ospite, how], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True)
    pids = [int(n) for n in p.stdout.readline().split()]
    if how == 'SIGTERM':
        p.send_signal(signal.SIGTERM)
    status = p.wait(60)
    deadline = time.time() + 60                # killed, but perhaps not yet gone
    while any(map(is_there, pids)) and time.time() < deadline:
        time.sleep(0.05)
    ok = status != 0 and len(pids) == 2 and not any(map(is_there, pids))
    if not ok:
        print(f'FAIL: a script that ends by {how}: status {status}, processes {[n for n in pids if is_there(n)]} of {pids} are left')
    return ok


def scripts():
    """Who calls Popen without importing leash."""
    found = []
    for folder, _, names in os.walk(HERE):
        for name in names:
            text = open(os.path.join(folder, name)).read() if name.endswith('.py') else ''
            if 'subprocess.Popen(' in text and not re.search(r'^import leash\b', text, re.M):
                found.append(name)
    for name in found:
        print(f'FAIL: {name} starts processes, but does not import leash')
    return not found


def main():
    ospite = os.path.abspath(sys.argv[1])
    with tempfile.TemporaryDirectory() as where:
        os.chdir(where)
        results = [dies(ospite, how) for how in ('raise KeyError("x")', 'sys.exit(3)', 'raise KeyboardInterrupt', 'SIGTERM')]
        os.chdir('/')
    results.append(scripts())
    print(f'leash: {len(results)} checks, {results.count(False)} failed')
    return not all(results)


if __name__ == '__main__':
    sys.exit(main())
