#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0-or-later
"""-k: what a VNC client, or the browser's page, types as characters reaches the guest as the keys of its layout: layout.py OSPITE BOOT-SECTOR"""
import os, shutil, subprocess, sys, tempfile
import rfb
from rfb import Client
from script import ours
from vnc import codes, drain
from web_http import WebMachine, ask

SHIFT, ALTGR = 0xffe1, 0xfe03
# Layout, keysyms that go down and up in turn (one that is held stands in brackets), what the keyboard controller says.
CASES = (
    ('de', ['z'], [0x15, 0x95]), ('de', ['y'], [0x2c, 0xac]), ('de', ['@'], [0xe0, 0x38, 0x10, 0xe0, 0xb8, 0x90]), ('de', ['?'], [0x2a, 0x0c, 0xaa, 0x8c]),
    ('de', [0xf6], [0x27, 0xa7]), ('de', [0xd6], [0x2a, 0x27, 0xaa, 0xa7]), ('de', [[ALTGR, '{']], [0xe0, 0x38, 0x08, 0x88, 0xe0, 0xb8]), ('de', ['ret'], [0x1c, 0x9c]),
    ('fr', ['a'], [0x10, 0x90]), ('fr', ['1'], [0x2a, 0x02, 0xaa, 0x82]), ('fr', [[SHIFT, '&']], [0x2a, 0xaa, 0x02, 0x2a, 0x82, 0xaa]), ('fr', ['m'], [0x27, 0xa7]),
    ('es', [0xf1], [0x27, 0xa7]), ('it', [0xe8], [0x1a, 0x9a]), ('en-us', ['@'], [0x2a, 0x03, 0xaa, 0x83]), ('en-us', [0xf6], []),
)


def keysym(k):
    return 0xff0d if k == 'ret' else ord(k) if isinstance(k, str) else k


def page_client(m):
    """What the browser's page has: a web socket with the session's cookie."""
    host = f'127.0.0.1:{m.port}'
    cookie = ask(m.port, '/?token=' + m.url().split('=')[1])[1]['Set-Cookie'].split(';')[0]

    class PageClient(Client):
        path, more = b'/screen', f'Origin: http://{host}\r\nCookie: {cookie}\r\n'.encode()
    PageClient.host = host.encode()
    return PageClient(('127.0.0.1', m.port), web=True)


def strokes(m, c, layout, name):
    """Types the layout's cases; how many came out wrong."""
    failures = 0
    c.set_encodings(rfb.RAW)
    c.update(0)
    drain(m)
    for _, keys, want in (x for x in CASES if x[0] == layout):
        for k in keys:
            held, k = k if isinstance(k, list) else (None, k)
            for code, down in ((held, 1), (k, 1), (k, 0), (held, 0)):
                if code is not None:
                    c.key(keysym(code), down)
        got = codes(m, len(want))
        if got != want:
            failures += 1
            print(f'FAIL: {name} {layout} {keys}: {[hex(b) for b in got]} came')
    c.close()
    m.end()
    return failures


def main():
    ospite, image = sys.argv[1:3]
    where, failures = tempfile.mkdtemp(prefix='ospite-layout-'), 0
    try:
        for layout in dict.fromkeys(c[0] for c in CASES):
            path = os.path.join(where, layout)
            m = ours(ospite, image, where, ['-vnc', f'unix:{path},key-delay-ms=0', '-S', '-k', layout])
            failures += strokes(m, Client(path), layout, 'VNC')
        m = WebMachine(ospite, where, ['-net', 'none', '-S', '-k', 'de'])
        failures += strokes(m, page_client(m), 'de', 'the page')
        m = subprocess.run([ospite, '-accel', 'bt', '-net', 'none', '-display', 'none', '-monitor', 'stdio', '-k', 'de', '-S'], input=b'quit\n', capture_output=True, timeout=120)
        if m.returncode or b'-k de: nobody sends characters here' not in m.stderr:
            failures += 1
            print('FAIL: -k without a viewer:', m.returncode, m.stderr.decode())
    finally:
        shutil.rmtree(where, ignore_errors=True)
    print(f'layout-keys: {len(CASES)} strokes, again for "de" by the page, {failures} failed')
    return failures != 0


if __name__ == '__main__':
    sys.exit(main())
