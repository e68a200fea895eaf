# SPDX-License-Identifier: GPL-2.0-or-later
"""What the programs of this folder share: the command line, a temporary folder for each test, PASS, SKIP or FAIL with the time it took, and the
exit status that Meson wants (77: all was skipped, and the lines say why)."""
import argparse
import os
import subprocess
import sys
import tempfile
import time

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
from boot import Failure                       # noqa: E402
from cpio import Skip                          # noqa: E402


def arguments(doc, tests, options):
    p = argparse.ArgumentParser(usage=doc)
    if callable(tests):
        p.set_defaults(names=[os.path.basename(sys.argv[0]).removesuffix('.py')])
    else:
        p.add_argument('names', nargs='+', choices=sorted(tests))
    p.add_argument('--vmm', default='build/ospite -accel bt')
    p.add_argument('--guests', default='guests', help='where guests that were made are kept')
    p.add_argument('--log', help='of the serial port, when a test fails')
    p.add_argument('--scale', type=float, default=float(os.environ.get('OSPITE_TEST_SCALE', '1')), help='more time for slow builds')
    for name, default in options.items():
        p.add_argument('--' + name, default=default, required=default is None, type=str if default is None else type(default))
    return p.parse_args()


def main(doc, tests, **options):
    """tests: by name what is called with the arguments and tells what it saw; or one for all. options: more of the command line with their defaults;
    None must be given."""
    a = arguments(doc, tests, options)
    os.makedirs(a.guests, exist_ok=True)
    program = os.path.basename(sys.argv[0]).removesuffix('.py')
    log, failed, skipped = a.log, 0, 0
    for name in a.names:
        start = time.time()
        a.log = log or os.path.join(getattr(a, 'bin', '.'), f'{program}-{name}.log' if name != program else f'{name}.log')
        with tempfile.TemporaryDirectory(prefix=f'ospite-{program}-') as a.dir:
            try:
                print(f'PASS {name}: {(tests if callable(tests) else tests[name])(a)} [{time.time() - start:.1f} s]', flush=True)
            except Skip as why:
                skipped += 1
                print(f'SKIP {name}: {why}', flush=True)
            except (Failure, OSError, subprocess.SubprocessError) as why:
                failed += 1
                print(f'FAIL {name} [{time.time() - start:.1f} s]: {why}', flush=True)
    print(f'{program}: {len(a.names)} tests, {failed} failed, {skipped} skipped')
    sys.exit(1 if failed else 77 if skipped == len(a.names) else 0)
