#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0-or-later
"""'ospite ksm' on a made-up host: ksm.py OSPITE

Counters and machines are shown as they lie in the files, settings are written where the kernel wants them, nothing is written when a
word is wrong. What the real kernel makes of it is tested by tests/boot/ksm.py."""
import json, os, re, shutil, subprocess, sys, tempfile
sys.path.append(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
import checks                                   # noqa: E402
from checks import check                        # noqa: E402

OSPITE = os.path.abspath(sys.argv[1])
PAGE = os.path.join(os.path.dirname(os.path.abspath(__file__)), '../../docs/man/ospite-ksm.1')
COUNTERS = {'run': 1, 'pages_shared': 1000, 'pages_sharing': 25600, 'pages_unshared': 300, 'pages_volatile': 20, 'full_scans': 7, 'pages_to_scan': 1000, 'sleep_millisecs': 20,
            'max_page_sharing': 256, 'use_zero_pages': 0, 'merge_across_nodes': 1, 'advisor_mode': '[none] scan-time'}


def ksm(*args):
    p = subprocess.run([OSPITE, 'ksm', *args], stdin=subprocess.DEVNULL, capture_output=True, timeout=30)
    return p.returncode, p.stdout.decode(), p.stderr.decode()


def write(path, text):
    os.makedirs(os.path.dirname(path), exist_ok=True)
    with open(path, 'w') as f:
        f.write(text)


def machine(root, pid, arguments, files):
    base = f'{root}/proc/{pid}'
    write(f'{base}/task/{pid}/comm', 'CPU 0\n')
    os.symlink('/usr/bin/ospite', f'{base}/exe')
    write(f'{base}/cmdline', '\0'.join(['ospite', *arguments]) + '\0')
    for name, text in files.items():
        write(f'{base}/{name}', text)


def counter(root, name):
    return open(f'{root}/sys/kernel/mm/ksm/{name}').read()


def showing(root):
    for name, value in COUNTERS.items():
        write(f'{root}/sys/kernel/mm/ksm/{name}', f'{value}\n')
    machine(root, 300, ['-name', 'guest=db,process=x'], {'ksm_stat': 'ksm_rmap_items 5\nksm_merging_pages 12800\nksm_process_profit -8192\n'})
    machine(root, 20, ['-m', '1G'], {'ksm_merging_pages': '256\n'})
    code, out, err = ksm('--root', root)
    check(code == 0 and not err, f'show: {code} {err!r}')
    for want in (r'^KSM +on; 7 full scans, at most 195 MiB a second$', r'^shared +1000 pages +3.91 MiB ', r'^sharing +25600 pages +100 MiB +saved', r'^unshared +300 ', r'^volatile +20 ',
                 r'^ratio +25.6: each page that is kept stands for 26.6; sharing pays$', r'^machine +process 300 \(db\): 12800 pages merged, 50 MiB; costs 8 KiB',
                 r'^machine +process 20: 256 pages merged, 1 MiB$'):
        check(re.search(want, out, re.M), f'show: {want} is not in {out}')
    check(out.index('process 20') < out.index('process 300'), 'machines in order')
    state = json.loads(ksm('show', '--json', '--root', root)[1])
    check(all(state[k] == COUNTERS[k] for k in ('run', 'pages_shared', 'pages_sharing', 'pages_unshared', 'pages_volatile', 'full_scans', 'pages_to_scan', 'sleep_millisecs')), f'json {state}')
    check(state['saved_bytes'] == 25600 * 4096 and state['machines'] == [{'pid': 20, 'name': None, 'merging_pages': 256, 'profit_bytes': None},
                                                                        {'pid': 300, 'name': 'db', 'merging_pages': 12800, 'profit_bytes': -8192}], f'json {state}')
    write(f'{root}/sys/kernel/mm/ksm/pages_unshared', '900000\n')
    check('hardly pays' in ksm('--root', root)[1], 'a ratio that does not pay')
    write(f'{root}/sys/kernel/mm/ksm/pages_shared', '0\n')
    check('nothing is shared yet' in ksm('--root', root)[1], 'nothing shared')
    code, out, _ = ksm('--watch', '0.1', '--count', '3', '--root', root)
    check(code == 0 and out.count('KSM ') == 3 and out.count('+saved') == 3 and out.rstrip().splitlines()[-2].endswith('|███'), f'watch: {out[-400:]}')
    code, out, _ = ksm('--watch', '0.1', '--count', '2', '--json', '--root', root)
    check(code == 0 and len([json.loads(line) for line in out.splitlines()]) == 2, 'watch with JSON')


def changing(root):
    for args, name, want in ((['off'], 'run', '0'), (['on'], 'run', '1'), (['off', '--unmerge'], 'run', '2'), (['tune', 'pages=500'], 'pages_to_scan', '500'),
                             (['tune', 'zero=on', 'sleep=5'], 'sleep_millisecs', '5'), (['tune', 'advisor=scan-time'], 'advisor_mode', 'scan-time')):
        code, out, err = ksm(*args, '--root', root)
        check(code == 0 and not out + err and counter(root, name).startswith(want), f'{args}: {code} {err!r} {counter(root, name)}')
    check(counter(root, 'use_zero_pages').startswith('1'), 'two settings at once')
    check(re.search(r'^sleep +5 ', ksm('tune', '--root', root)[1], re.M) and json.loads(ksm('tune', '--json', '--root', root)[1])['zero'] == 'on', 'tune shows')
    check('smart' not in ksm('tune', '--root', root)[1], 'tune shows what this kernel has not')


def refusing(root):
    before = counter(root, 'pages_to_scan')
    for args, want in ((['onn'], "did you mean 'on'"), (['tune', 'page=1'], "did you mean 'pages'"), (['tune', 'pages=77', 'sleep=x'], 'sleep wants a number'), (['tune', 'pages'], 'write pages=VALUE'),
                       (['tune', 'zero=maybe'], 'on or off'), (['tune', 'smart=on'], 'this kernel has no'), (['--watch', '0'], '0.1 to 3600'), (['--unmerge'], "belongs to 'off'"), (['on', '--json'], '--json belongs'),
                       (['--count', '3'], 'belongs to --watch'), (['on', '--watch'], "belongs to 'show'"), (['--root'], 'wants a value'), (['--root', '/nonexistent'], 'no KSM')):
        code, out, err = ksm(*args, *([] if '--root' in args else ['--root', root]))
        check(code == 1 and not out and want in err and err.count('\n') == 1, f'{args}: {code} {out!r} {err!r}')
    check(counter(root, 'pages_to_scan') == before, 'a wrong line changes nothing')


def usage():
    page = open(PAGE).read().replace('\\-', '-')
    code, out, _ = ksm('--help')
    options = set(re.findall(r'^(--\w+)', out, re.M))
    check(code == 0 and len(options) == 6 and options == set(re.findall(r'(?:\\fB|\.B )(--\w+)', page.split('.SH OPTIONS')[1])), f'-h and the manual page: {options}')
    check(set(re.findall(r'^([\w-]+) ', out.split('Settings of tune:\n')[1], re.M)) <= set(re.findall(r'[\w-]+', page)), 'settings in the manual page')


directory = tempfile.mkdtemp()
try:
    showing(directory)
    changing(directory)
    refusing(directory)
    usage()
finally:
    shutil.rmtree(directory)
print(f'ksm: {checks.counts()}')
sys.exit(bool(checks.failed))
