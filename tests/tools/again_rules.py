#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0-or-later
"""Who has a second try: made-up runs for again.py."""
import json
import os
import subprocess
import sys
import tempfile

AGAIN = os.path.join(os.path.dirname(os.path.abspath(__file__)), 'again.py')
NET, VNC, RUG, ORACLE = ('net-virtio', 'tests/boot/net.py'), ('vnc', 'tests/display/vnc.py'), ('rug-kill', 'tests/boot/rug.py'), ('oracle', 'build/tests/cpu/oracle/test-oracle')
RUNS = [                                       # what failed and how; what may be tried again
    ([(NET, 'FAIL')], 'net-virtio'), ([(NET, 'TIMEOUT'), (VNC, 'ERROR')], 'net-virtio vnc'), ([(NET, 'OK')], None), ([(ORACLE, 'FAIL')], None),
    ([(RUG, 'FAIL')], None), ([(NET, 'FAIL'), (ORACLE, 'FAIL')], None), ([(NET, 'FAIL')] * 4, None), ([(NET, 'FAIL'), (ORACLE, 'OK'), (RUG, 'SKIP')], 'net-virtio'),
]


def main():
    bad = 0
    for run, want in RUNS:
        with tempfile.TemporaryDirectory() as d:
            os.mkdir(os.path.join(d, 'meson-logs'))
            with open(os.path.join(d, 'meson-logs', 'testlog.json'), 'w') as f:
                for (name, script), result in run:
                    print(json.dumps({'name': 'ospite:fast / ' + name, 'command': ['python3', '/build/../' + script], 'result': result}), file=f)
            p = subprocess.run([sys.executable, AGAIN, d], capture_output=True, text=True)
        if (p.stdout.strip() or None, p.returncode == 0) != (want, want is not None):
            bad += 1
            print(f'FAIL {run}: {p.stdout!r}, status {p.returncode}, not {want}')
    print(f'again: {len(RUNS)} runs, {bad} wrong')
    sys.exit(bad != 0)


main()
