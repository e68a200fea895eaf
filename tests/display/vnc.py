#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0-or-later
"""The VNC server: pictures, keys, pointers, passwords, hostile clients: vnc.py OSPITE BOOT-SECTOR

The guest is script.S: it goes from mode to mode; clients of all encodings and pixel formats must end up with the pixels
that the monitor's screendump writes."""
import os, random, re, shutil, socket, struct, sys, tempfile, threading, time
sys.path.append(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
import checks
from checks import check
import golden
import rfb
from rfb import Client, Closed
from ports import free_port
from script import Script, ours, theirs

SEED = 20261128


def script():
    s, r = Script(), random.Random(SEED)
    s.sync()
    steps = [golden.text(80, 3), golden.more(golden.more_text), golden.vbe(1024, 768, 32), golden.more(golden.more_vbe), golden.mode13, golden.planar(0x12),
             golden.more(golden.more_planar), golden.vbe(800, 600, 16), golden.text_bright]
    for step in steps:
        step(s, r)
        s.sync()
    return s, len(steps)


def pictures(m, socket_path, web_port, steps):
    """Every step of the guest, on all clients."""
    clients = {}
    for name, encoding, form, more in (
            ('raw', rfb.RAW, None, (rfb.SIZE,)), ('zrle', rfb.ZRLE, None, (rfb.EXT_SIZE, rfb.EXT_KEY)), ('tight', rfb.TIGHT, None, (rfb.SIZE, -256)),
            ('zrle 565', rfb.ZRLE, rfb.RGB565, (rfb.SIZE,)), ('tight 565', rfb.TIGHT, rfb.RGB565, (rfb.SIZE,)), ('raw 332', rfb.RAW, rfb.RGB332, (rfb.SIZE,)),
            ('tight 332', rfb.TIGHT, rfb.RGB332, (rfb.SIZE,)), ('zrle big-endian', rfb.ZRLE, rfb.BGR888_BIG, (rfb.SIZE, -247)),
            ('tight big-endian', rfb.TIGHT, rfb.BGR888_BIG, (rfb.EXT_SIZE,))):
        c = clients[name] = Client(socket_path)
        if form:
            c.set_format(form)
        c.set_encodings(encoding, *more)
    c = clients['websocket'] = Client(('127.0.0.1', web_port), web=True)
    c.set_encodings(rfb.TIGHT, rfb.SIZE)
    check(c.name == 'ospite', f'name {c.name}')
    compared = 0
    for step in range(steps + 1):
        m.sync()
        for name, c in clients.items():
            ok = check(c.settle(m.picture), f'{name} client after step {step}: {c.width}x{c.height} is not what the screen shows')
            compared += len(c.pixels) // 3
        m.go_on()
        time.sleep(0.05)
    for c in clients.values():
        c.close()
    return compared


def cpu_s(m):
    return m.cpu_s()


def idle(m, path):
    """Nothing changes: nothing is sent, and little is done; at the third try at the latest."""
    c = Client(path)
    c.set_encodings(rfb.ZRLE, rfb.SIZE)
    c.settle(m.picture)
    m.command('stop')
    for _ in range(3):
        c.request()
        while c.waits(1.2):                            # what came before
            c.message()
            c.request()
        before, seconds = cpu_s(m), 4
        still = not c.waits(seconds)
        cpu = (cpu_s(m) - before) / seconds * 100
        if still and cpu < 8:
            break
    check(still, 'an update without a change')
    check(cpu < 8, f'an idle screen takes {cpu:.1f} % of a core')
    m.command('cont')
    c.close()
    return cpu


def rate(m, path):
    """A client that asks without end, on a screen that changes all the time: some thirty pictures a second, no more."""
    c = Client(path)
    c.set_encodings(rfb.TIGHT, rfb.SIZE)             # a picture is one update: it is shorter than a megabyte
    c.settle(m.picture)
    end, n, start = time.time() + 3, c.updates, time.time()
    while time.time() < end:
        m.command('o /b 0x3d4 0x0c')
        m.command(f'o /b 0x3d5 {c.updates & 3:#x}')    # another start address
        c.update()
    per_second = (c.updates - n) / (time.time() - start)
    check(per_second < 40, f'{per_second:.0f} pictures a second')
    m.command('o /b 0x3d5 0')
    c.close()


def asks_once(m, path):
    """More than a megabyte for one request: some clients look at nothing else."""
    c = Client(path)
    c.set_encodings(rfb.RAW)
    c.request(0)
    c.message()
    want = m.picture()[2]
    check(bytes(c.pixels) == want and len(want) * 4 // 3 > 1 << 20, 'all of the picture in one update')
    c.request(0, (0, 0, 0, 0))                         # and nothing of it
    c.request(0, (c.width, c.height, 5, 5))
    check(not c.waits(0.5) and 'running' in m.command('info status'), 'a request for nothing')
    c.close()


def starved(m, path):
    """No descriptor is left: who connects then is not asked for in a circle, and taken when there is one again."""
    m.command('stop')
    with m.without_descriptors():
        s = socket.socket(socket.AF_UNIX)
        s.settimeout(60)
        s.connect(path)
        before = m.cpu_s()
        time.sleep(2)
        used = m.cpu_s() - before
    check(used < 0.2, f'{used:.2f} s of the processor for a client that cannot be taken')
    check(s.recv(12) == b'RFB 003.008\n', 'it is taken later')
    s.close()
    m.command('cont')


def versions(path):
    for version in (b'RFB 003.003\n', b'RFB 003.007\n', b'RFB 003.889\n', b'RFB 003.005\n'):
        c = Client(path, version=version)
        c.set_encodings(rfb.RAW)
        c.update(0)
        check(c.updates == 1, f'an update for {version}')
        c.close()


def color_map(path):
    c = Client(path)
    c.set_format((8, 8, 0, 0, 0, 0, 0, 0, 0, 0))
    c.set_encodings(rfb.RAW)
    c.format = rfb.RGB332
    c.update(0)
    check(len(c.map) == 256 and c.map[7] == (65535, 0, 0) and c.map[255] == (65535,) * 3, 'a colour map')
    c.close()


def fixed_size(ospite, image, where, path):
    """The first client, before anybody looked, is told the size of now; one that cannot be told another gets what fits."""
    m = ours(ospite, image, where, ['-vnc', f'unix:{path}'])
    m.sync()
    m.go_on()
    m.sync()                                           # text, 720x400; the display began with 640x480
    c = Client(path)
    c.set_encodings(rfb.RAW)
    check((c.width, c.height) == (720, 400) and c.settle(m.picture), f'the first client is told {c.width}x{c.height}')
    for _ in range(2):
        m.go_on()
        m.sync()

    def part():
        w, h, pixels = m.picture()
        return 720, 400, b''.join(pixels[y * w * 3:(y * w + 720) * 3] for y in range(400)) if w >= 720 else b''
    check(m.picture()[0] == 1024 and c.settle(part) and not c.sizes, 'a part of a larger screen')
    c.close()
    m.end()


def size_wish(path):
    c = Client(path)
    c.set_encodings(rfb.RAW, rfb.EXT_SIZE)
    c.update(1)
    c.send(struct.pack('>BxHHBxIHHHHI', 251, 1000, 700, 1, 0, 0, 0, 1000, 700, 0))
    c.update(1)
    check((c.size_reason, c.size_status) == (1, 1), 'a wish for another size is refused')
    c.close()


def sharing(ospite, image, where, path):
    """share=: an exclusive client drops the others, or is not let in."""
    for policy, exclusive_in, first_stays in (('allow-exclusive', True, False), ('force-shared', False, True), ('ignore', True, True)):
        m = ours(ospite, image, where, ['-vga', 'std', '-vnc', f'unix:{path},share={policy}', '-S'])
        first = Client(path)
        first.set_encodings(rfb.RAW)
        first.update(0)
        try:
            second = Client(path, shared=0)
            second.set_encodings(rfb.RAW)
            second.update(0)
            got_in = True
        except (Closed, ConnectionError):
            got_in = False
        try:
            first.update(0)
            stays = True
        except (Closed, ConnectionError):
            stays = False
        check((got_in, stays) == (exclusive_in, first_stays), f'share={policy}: exclusive client in {got_in}, first stays {stays}')
        m.end()


def passwords(ospite, image, where, path):
    m = ours(ospite, image, where, ['-vnc', f'unix:{path},password=on', '-name', 'guest', '-S'])

    def enters(word, version=b'RFB 003.008\n'):
        try:
            c = Client(path, password=word, version=version)
            c.set_encodings(rfb.RAW)
            c.update(0)
            return c.name == 'ospite (guest)'
        except PermissionError as e:
            return False if 'Authentication failed' in str(e) or str(e) == 'refused' else None
    check(enters('') is False, 'no password is set: nobody comes in')
    check('Error' not in m.command('change vnc password secret12X'), 'change vnc password')
    check(enters('secret12') is True, 'eight characters count')
    check(enters('secret12', b'RFB 003.003\n') is True and enters('secret12', b'RFB 003.007\n') is True, 'old versions')
    for wrong in ('', 'secret1', 'Secret12', 'secret21'):
        check(enters(wrong) is False, f'password {wrong!r}')
    check(enters('no', b'RFB 003.003\n') is False and enters('no', b'RFB 003.007\n') is False, 'old versions, wrong password')
    m.command('set_password vnc other')
    check(enters('secret12') is False and enters('other') is True, 'set_password')
    c = Client(path, begin=False)
    c.read(12)
    c.send(b'RFB 003.008\n')
    check(c.read(2) == b'\x01\x02', 'offers VNC authentication alone')
    c.send(b'\x01')                                    # "None", which was not offered
    try:
        c.read(4)
        c.read(struct.unpack('>I', c.read(4))[0])
        c.read(1)
        check(False, 'security type None gets in')
    except Closed:
        check(True, '')
    check('auth: vnc' in m.command('info vnc'), 'info vnc')
    m.end()


# ---- input: the guest does not run, its keyboard controller is read by the monitor ----

SET1 = '??1234567890-=??qwertyuiop[]??asdfghjkl;\'`?\\zxcvbnm,./??? '
SHIFTED = dict(zip('`1234567890-=[]\\;\',./', '~!@#$%^&*()_+{}|:"<>?'))


def port(m, number, value=None):
    if value is not None:
        m.command(f'o /b {number:#x} {value:#x}')
        return None
    return int(m.command(f'i /b {number:#x}').split('=')[1].split()[0], 16)


def drain(m):
    """(byte, from the mouse) of all that waits."""
    time.sleep(0.1)
    got = []
    while (status := port(m, 0x64)) & 1:
        got.append((port(m, 0x60), bool(status & 0x20)))
    return got


def codes(m, least, seconds=60):
    """Scan codes, as soon as there are so many, and what comes just behind them: between viewer and guest there are programs that take their time."""
    got, end = [], time.time() + seconds
    while len(got) < least and time.time() < end:
        got += [code for code, mouse in drain(m) if not mouse]
    return got + [code for code, mouse in drain(m) if not mouse]


def packets(m, done, seconds=60):
    """(buttons, to the right, upwards) by a mouse without a wheel, as soon as they are what is waited for."""
    data, end, got = [], time.time() + seconds, []
    while not done(got) and time.time() < end:
        data += [code for code, mouse in drain(m) if mouse]
        got = [(q[0] & 7, q[1] - (q[0] << 4 & 0x100), q[2] - (q[0] << 3 & 0x100)) for q in zip(*[iter(data)] * 3)]
    return got


def moved(got):
    return sum(x for _, x, _ in got), sum(y for _, _, y in got)


def buttons(got):
    """Those that were down, each time that they changed."""
    return [b for i, (b, _, _) in enumerate(got) if b != (got[i - 1][0] if i else 0)]


def typed(codes):
    """What a guest with an American layout makes of scan codes."""
    text, shift = '', set()
    for code in codes:
        key = code & 0x7f
        if key in (0x2a, 0x36):
            (shift.discard if code & 0x80 else shift.add)(key)
        elif not code & 0x80:
            c = SET1[key] if key < len(SET1) else '?'
            text += (SHIFTED.get(c) or c.upper()) if shift else c
    return text, not shift


def pace(ospite, image, where, path):
    """key-delay-ms: none is lost, none comes early; and what waits when the client goes still comes."""
    m = ours(ospite, image, where, ['-vnc', f'unix:{path},key-delay-ms=60', '-S'])
    c = Client(path)
    drain(m)
    begin, seen = time.time(), []
    for ch in 'abcd':
        c.key(ord(ch), 1)
        c.key(ord(ch), 0)
    c.key(0xffe3, 1)
    c.update(0)                                        # what was sent has been read
    c.close()
    while len(seen) < 10 and time.time() < begin + 60:
        if port(m, 0x64) & 1:
            seen.append((port(m, 0x60), time.time() - begin))
    check([b for b, _ in seen] == [0x1e, 0x9e, 0x30, 0xb0, 0x2e, 0xae, 0x20, 0xa0, 0x1d, 0x9d], f'keys at their pace: {seen}')
    check(all(t >= 0.059 * i for i, (_, t) in enumerate(seen)), f'no key is early: {seen}')
    m.end()


def halted(path):
    """A multiboot kernel that reads no keyboard."""
    load, code = 0x100000, b'\xfa\xb0\xff\xe6\x21\xe6\xa1\xba\xf8\x03\0\0\xb0S\xee\xf4\xeb\xfd'          # cli; 8259s masked; the serial port: ready; hlt
    end = load + 32 + len(code)
    with open(path, 'wb') as f:
        f.write(struct.pack('<8I', 0x1badb002, 0x10000, 0x100000000 - 0x1badb002 - 0x10000, load, load, end, end, load + 32) + code)
    return path


def lights(m, c, sync):
    """The guest says by its LEDs what is on; QEMU counts presses only."""
    for leds in (6, 4, 2, 0, 6, 0):
        for value in (0xed, leds):
            port(m, 0x60, value)
            drain(m)
        for code, keysym, on, key in ((0x1e, ord('a'), 4, 0x3a), (0x47, 0xff95, 2, 0x45)):
            c.strike(code, keysym)
            c.update(0)
            press = [key, key | 0x80] if sync and leds & on else []
            check([b for b, _ in drain(m)] == press + [code, code | 0x80], f'LEDs {leds}, key {code:#x}')


# Scan codes, and what they mean to a viewer whose locks are other than the guest's.
MEANT = [(0x1e, ord('a')), (0x1e, ord('A')), (0x1e, ord('A')), (0x10, ord('q')), (0x02, ord('1')), (0x47, 0xffb7), (0x47, 0xff95), (0x53, 0xffae), (0x3a, 0xffe5), (0x1e, ord('A')),
         (0x3a, 0xffe5), (0x1e, ord('a')), (0x39, ord(' '))]


def locks(ospite, image, where, path):
    """lock-key-sync: a viewer whose Caps Lock or Num Lock is not as the guest's, here and in QEMU."""
    kernel, got = halted(where + '/kernel'), []
    for start in (lambda args: ours(ospite, image, where, args), lambda args: theirs(image, where, args)):
        for sync in ('on', 'off'):
            m, seen = start(['-vnc', f'unix:{path},key-delay-ms=0,lock-key-sync={sync}', '-kernel', kernel]), []
            m.sync()
            port(m, 0x64, 0x60)
            port(m, 0x60, 0x40)                        # scan codes of set 1
            c = Client(path)
            c.set_encodings(rfb.RAW, rfb.EXT_KEY)
            c.update(0)
            drain(m)
            for turn in (1, 2):
                for code, keysym in MEANT:
                    c.strike(code, keysym)
                    c.update(0)
                    seen.append((turn, hex(keysym), [f'{b:x}' for b, _ in drain(m)]))
                c.scancode(0x2a, 1, 0xffe1)
                for keysym in (ord('B'), ord('b'), ord('B')):
                    c.strike(0x30, keysym)
                    c.update(0)
                    seen.append((turn, 'Shift ' + chr(keysym), [f'{b:x}' for b, _ in drain(m)]))
                c.scancode(0x2a, 0, 0xffe1)
                c.update(0)
            if m.name == 'ospite':
                lights(m, c, sync == 'on')
            c.close()
            m.end()
            got.append(seen)
    for i in (0, 1):
        for a, b in zip(got[i], got[2 + i]):
            check(a == b, f'lock-key-sync={("on", "off")[i]}: ours {a}, theirs {b}')
    check(any('3a' in b for _, _, b in got[0][:5]) and [b for _, _, b in got[1][:3]] == [['1e', '9e']] * 3, f'{got[0][:5]} {got[1][:5]}')


def limited(ospite, image, where, path):
    """connections=2, and addresses of one kind only."""
    m = ours(ospite, image, where, ['-vnc', f'unix:{path},connections=2'])
    a, b = Client(path), Client(path)
    check(refused(path), 'a third one of two')
    a.close()
    for _ in range(600):
        if m.command('info vnc').count('Client:') == 1:
            break
        time.sleep(0.05)
    check(not refused(path), 'one goes, one comes')
    b.close()
    m.end()
    for word, family in (('ipv4=on', socket.AF_INET), ('ipv6=off', socket.AF_INET), ('ipv6=on', socket.AF_INET6), ('ipv4=off', socket.AF_INET6)):
        m = ours(ospite, image, where, ['-vnc', f':50,to=99,{word}'])
        at = int(re.search(r':(59\d\d) ', m.command('info vnc'))[1])
        for kind, address in ((socket.AF_INET, '127.0.0.1'), (socket.AF_INET6, '::1')):
            with socket.socket(kind) as s:
                try:
                    s.connect((address, at))
                    there = True
                except ConnectionRefusedError:
                    there = False
            check(there == (kind == family), f'{word}: {address} is {"open" if there else "closed"}')
        m.end()


def keys(ospite, image, where, path):
    m = ours(ospite, image, where, ['-vnc', f'unix:{path},key-delay-ms=0', '-S'])
    c = Client(path)
    c.set_encodings(rfb.RAW, rfb.EXT_KEY)
    c.update(0)
    check(c.keys_ok, 'scan codes are taken')
    drain(m)
    text = 'Hello, World! ' + ''.join(map(chr, range(33, 127)))
    for at in range(0, len(text), 3):                  # the keyboard's queue is short
        for ch in text[at:at + 3]:
            c.key(ord(ch), 1)
            c.key(ord(ch), 0)
        got, up = typed(code for code, _ in drain(m))
        check(got == text[at:at + 3] and up, f'{text[at:at + 3]!r} typed, {got!r} came')
    for shift, text in ((0xffe1, 'AB!'), (0xffe2, '?~C')):       # a client that sends Shift itself
        c.key(shift, 1)
        for ch in text:
            c.key(ord(ch), 1)
            c.key(ord(ch), 0)
        c.key(shift, 0)
        got, up = typed(code for code, _ in drain(m))
        check(got == text and up, f'{text!r} with Shift, {got!r} came')
    c.key(0xffe1, 1)
    c.key(ord('a'), 1)                                 # a capital is not meant: Shift is let go of for the key
    c.key(ord('a'), 0)
    c.key(0xffe1, 0)
    check([b for b, _ in drain(m)] == [0x2a, 0xaa, 0x1e, 0x2a, 0x9e, 0xaa], 'Shift in the way')
    for code, want in ((0x1c, [0x1c]), (0x9c, [0xe0, 0x1c]), (0xc8, [0xe0, 0x48]), (0x58, [0x58]), (0xdb, [0xe0, 0x5b]), (0x56, [0x56]), (0x73, [0x73])):
        c.scancode(code, 1)
        c.scancode(code, 0)
        check([b for b, _ in drain(m)] == want + want[:-1] + [want[-1] | 0x80], f'scan code {code:#x}')
    c.scancode(0, 1, ord('x'))                         # none: the keysym counts
    check([b for b, _ in drain(m)] == [0x2d], 'scan code 0')
    c.key(0xffe3, 1)
    drain(m)
    c.close()
    check(sorted(b for b, _ in drain(m)) == [0x9d, 0xad], 'keys are let go of when their client leaves')
    pointer(m, path)
    m.end()


def pointer(m, path):
    port(m, 0x64, 0xd4)
    port(m, 0x60, 0xf4)
    drain(m)
    for rate in (200, 100, 80):                        # a wheel
        for byte in (0xf3, rate):
            port(m, 0x64, 0xd4)
            port(m, 0x60, byte)
            drain(m)
    c = Client(path)
    c.set_encodings(rfb.RAW)
    c.pointer(0, 100, 100)
    drain(m)

    def packets():
        data = [b for b, mouse in drain(m) if mouse]
        check(len(data) % 4 == 0, 'whole packets')
        return [(p[0] & 7, p[1] - (p[0] << 4 & 0x100), p[2] - (p[0] << 3 & 0x100), p[3] - (p[3] << 1 & 0x100)) for p in zip(*[iter(data)] * 4)]
    for x, y, want in ((110, 95, (10, 5)), (0, 95, (-110, 0)), (600, 400, (600, -305)), (599, 401, (-1, -1))):
        c.pointer(0, x, y)
        got = packets()
        check((sum(p[1] for p in got), sum(p[2] for p in got)) == want, f'moved to {x},{y}: {got}')
    for mask, want in ((1, 1), (5, 3), (7, 7), (2, 4), (0, 0)):
        c.pointer(mask, 599, 401)
        got = packets()
        check(got and got[-1][0] == want, f'buttons {mask}: {got}')
    for mask, want in ((8, -1), (16, 1)):
        c.pointer(mask, 599, 401)
        c.pointer(0, 599, 401)
        check(sum(p[3] for p in packets()) == want, f'wheel {mask}')
    c.pointer(1, 599, 401)
    drain(m)
    c.close()
    got = packets()
    check(got and got[-1][0] == 0, f'the button is let go of when its client leaves: {got}')


# ---- hostile clients ----

def descriptors(m):
    return len(os.listdir(f'/proc/{m.process.pid}/fd'))


def memory(m):
    return next(int(line.split()[1]) for line in open(f'/proc/{m.process.pid}/status') if line.startswith('VmRSS'))


def kept_waiting(m):
    """Seconds that the machine's first thread, and this one here, have waited for a processor; 0 where the kernel does not count them."""
    try:
        return sum(int(open(f'/proc/{name}/schedstat').read().split()[1]) for name in (m.process.pid, 'thread-self')) / 1e9
    except FileNotFoundError:
        return 0


def guest_beats(m):
    """The longest time that the monitor, which lives on the same thread, did not answer for, while something runs. Not counted is how long
    it would have run while others had the processors."""
    beats = {'worst': 0.0, 'run': True}

    def beat():
        while beats['run']:
            t, kept = time.time(), kept_waiting(m)
            try:
                m.command('info status')
            except BaseException:
                beats['worst'] = float('inf')          # nobody looks at how a thread ends
                raise
            beats['worst'] = max(beats['worst'], time.time() - t - (kept_waiting(m) - kept))
            time.sleep(0.01)
    thread = threading.Thread(target=beat)
    thread.start()

    def stop():
        beats['run'] = False
        thread.join()
        return beats['worst']
    return stop


def malformed(path, r):
    """Garbage at every stage; the server closes, or waits."""
    n = 0
    bad = [b'\x63', struct.pack('>BxH', 2, 65535), struct.pack('>BxxxI', 6, 0x7fffffff), struct.pack('>BxxxI', 6, 0x80000000),
           struct.pack('>B3xBBBBHHHBBB3x', 0, 32, 24, 0, 1, 255, 255, 255, 31, 30, 29), struct.pack('>B3xBBBBHHHBBB3x', 0, 24, 24, 0, 1, 255, 255, 255, 16, 8, 0),
           struct.pack('>B3xBBBBHHHBBB3x', 0, 8, 8, 0, 1, 0, 3, 3, 0, 3, 6), struct.pack('>B3xBBBBHHHBBB3x', 0, 16, 8, 0, 1, 6, 3, 3, 0, 3, 6), b'\xff\x01' + bytes(10)]
    for data in bad:
        c = Client(path)
        c.send(data)
        try:
            while c.read(1):
                pass
            closed = False
        except (Closed, ConnectionError):
            closed = True
        except TimeoutError:
            closed = False
        check(closed, f'{data[:8].hex()} closes the connection')
        n += 1
    for _ in range(60):                                # all that may be asked for
        c = Client(path)
        c.set_encodings(*(r.choice([0, 7, 16, -223, -308, -258, -239, r.getrandbits(31)]) for _ in range(r.randrange(40))))
        for _ in range(20):
            c.request(r.randrange(2), tuple(r.choice([0, 1, 65535, r.randrange(65536)]) for _ in range(4)))
            c.pointer(r.randrange(256), r.randrange(65536), r.randrange(65536))
            c.key(r.getrandbits(32), r.randrange(2))
            c.scancode(r.getrandbits(r.choice([8, 32])), r.randrange(2))
            c.send(struct.pack('>BxHHB', 251, r.randrange(65536), r.randrange(65536), 3) + bytes(1 + 48))
            c.send(struct.pack('>BxxxI', 6, 50) + bytes(50))
        c.close()
        n += 1
    for _ in range(150):                               # noise
        c = Client(path, begin=False)
        data = bytes(r.getrandbits(8) for _ in range(r.randrange(1, 400)))
        if r.randrange(2):
            data = b'RFB 003.008\n\x01\x01' + data
        try:
            c.send(data)
            if r.randrange(2):
                c.s.settimeout(0.02)
                c.s.recv(4096)
        except (OSError, Closed):
            pass
        c.close()
        n += 1
    return n


def web_malformed(port, r):
    for data in (b'GET / HTTP/1.1\r\n\r\n', b'POST / HTTP/1.1\r\nUpgrade: websocket\r\n\r\n', b'x' * 16384, b'GET / HTTP/1.1\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 12\r\n\r\n',
                 b'GET /\0 HTTP/1.1\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\n\r\n'):
        s = socket.create_connection(('127.0.0.1', port))
        s.settimeout(60)
        s.sendall(data)
        answer = b''
        try:
            while piece := s.recv(4096):
                answer += piece
        except ConnectionError:
            pass
        check(answer.startswith(b'HTTP/1.1 4'), f'{data[:20]}: {answer[:30]}')
        s.close()
    for frame in (b'\x82\x05hello', b'\xf2\x80\0\0\0\0', b'\x89\xfe\x01\x00\0\0\0\0', b'\x83\x80\0\0\0\0', b'\x82\xff' + b'\xff' * 12, b'\x09\x80\0\0\0\0'):
        c = Client(('127.0.0.1', port), web=True, begin=False)
        c.read(12)
        c.s.sendall(frame)
        try:
            c.read(100000)
            check(False, f'frame {frame.hex()}')
        except (Closed, ConnectionError):
            check(True, '')
    c = Client(('127.0.0.1', port), web=True, begin=False)   # a message in pieces of one byte, a ping in between
    c.read(12)
    for i, byte in enumerate(b'RFB 003.008\n\x01\x01'):
        c.frame(2 if i == 0 else 0, bytes([byte]), 0x80 if i == 13 else 0)
        if i == 5:
            c.frame(9, b'are you there')
    check(c.read(2) == b'\x01\x01' and c.read(4) == bytes(4) and c.pong == b'are you there', 'fragments and pings')
    c.close()


def storm(m, path):
    """Fifty connections a second for six seconds, and slow readers who ask for everything."""
    slow = []
    for _ in range(8):
        c = Client(path)
        c.s.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        c.set_encodings(rfb.RAW)
        for _ in range(500):
            c.request(0)
        slow.append(c)
    fds, before, stop = descriptors(m), memory(m), guest_beats(m)
    end, count, at = time.time() + 6, 0, time.time()
    while time.time() < end:
        s = socket.socket(socket.AF_UNIX)
        s.connect(path)
        if count % 3:
            s.sendall(b'RFB 003.008\n\x01\x01'[:count % 15])
        s.close()
        count += 1
        at += 0.02
        time.sleep(max(0, at - time.time()))
    c = Client(path)
    c.set_encodings(rfb.RAW)
    c.update(0)
    worst = stop()
    for _ in range(600):
        if descriptors(m) <= fds + 1:
            break
        time.sleep(0.05)
    check(descriptors(m) <= fds + 1, f'descriptors: {fds} before, {descriptors(m)} after')
    check(memory(m) - before < 32 << 10, f'memory: {before} KiB before, {memory(m)} after')
    for x in slow + [c]:
        x.close()
    return count, worst


def greedy(ospite, image, where, path):
    """Asks for a large empty screen thousands of times at once and takes all that comes: others wait for one picture of it, not for all."""
    m = ours(ospite, image, where, ['-vnc', f'unix:{path}'])
    m.sync()                                           # the firmware is done with the card
    for register, value in ((1, 2048), (2, 2000), (3, 32), (4, 0x41)):
        m.command(f'o /h 0x1ce {register}')
        m.command(f'o /h 0x1d0 {value:#x}')
    m.command('stop')                                  # the guest waits for us without pause: its time does not count
    c = Client(path)
    check((c.width, c.height) == (2048, 2000), f'the screen is {c.width}x{c.height}')
    c.set_encodings(rfb.ZRLE)
    ask = struct.pack('>BBHHHH', 3, 0, 0, 0, c.width, c.height)
    stop, began = guest_beats(m), cpu_s(m)
    c.send(ask * 6000)
    while c.waits(1):
        c.buffer = b''
    worst, used = stop(), cpu_s(m) - began
    check(used < 4, f'{used:.1f} s of the processor for 6000 requests at once, the main loop stood still for {worst:.1f} s')
    m.end()


def crowd(m, path):
    """More than there is room for: who says nothing makes room for who does, and is closed after ten seconds; who is in stays in."""
    def seen():
        return m.command('info vnc').count('Client:')
    first, many = Client(path), []
    for _ in range(100):
        s = socket.socket(socket.AF_UNIX)
        s.connect(path)
        many.append(s)
    c = Client(path)
    for x in (first, c):
        x.set_encodings(rfb.RAW)
        x.update(0)
    check(c.updates == 1 and first.updates == 1, 'two viewers among 100 that say nothing')
    check(seen() == 64, f'{seen()} clients')
    for _ in range(120):
        time.sleep(0.5)
        if seen() == 2:
            break
    check(seen() == 2, 'there is room after ten seconds of silence')
    for s in many:
        s.close()
    full = [Client(path) for _ in range(62)]
    check(refused(path) and seen() == 64, 'more viewers than there is room for')
    for x in full + [first, c]:
        x.close()


def refused(path):
    try:
        Client(path)
        return False
    except (Closed, ConnectionError):
        return True


def pings(m, web_port):
    """Pings in a websocket, whose pongs nobody reads: they are not kept."""
    before = memory(m)
    for _ in range(2):
        c = Client(('127.0.0.1', web_port), web=True, begin=False)
        c.s.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        ping = (b'\x89\xfd' + bytes(4) + bytes(125)) * 500
        for _ in range(400):                           # 26 MB
            c.s.sendall(ping)
        check(memory(m) - before < 16 << 10, f'memory: {before} KiB before, {memory(m)} after pings')
        c.close()
    c = Client(('127.0.0.1', web_port), web=True)      # who reads gets them all
    for i in range(50):
        c.frame(9, b'%d' % i)
    c.set_encodings(rfb.RAW)
    c.update(0)
    check(c.pong == b'49', 'pongs for one that reads')
    c.close()


def main():
    os.environ['ASAN_OPTIONS'] = os.environ.get('ASAN_OPTIONS', '') + ':quarantine_size_mb=1'         # memory in use is looked at
    ospite, boot = sys.argv[1:3]
    where = tempfile.mkdtemp()
    path, image = where + '/vnc', where + '/disk'
    s, steps = script()
    with open(image, 'wb') as f:
        f.write(s.image(boot))
    try:
        sharing(ospite, image, where, path)
        fixed_size(ospite, image, where, path)
        passwords(ospite, image, where, path)
        keys(ospite, image, where, path)
        pace(ospite, image, where, path)
        locks(ospite, image, where, path)
        limited(ospite, image, where, path)
        greedy(ospite, image, where, path)
        web_port = free_port()
        m = ours(ospite, image, where, ['-vnc', f'unix:{path},websocket=127.0.0.1:{web_port}'])
        pixels = pictures(m, path, web_port, steps)
        rate(m, path)
        asks_once(m, path)
        starved(m, path)
        versions(path)
        color_map(path)
        size_wish(path)
        cpu = idle(m, path)
        r = random.Random(SEED)
        n = malformed(path, r)
        web_malformed(web_port, r)
        count, worst = storm(m, path)
        check(worst < 2, f'the main loop stood still for {worst:.2f} s')
        pings(m, web_port)
        crowd(m, path)
        m.command('info status')
        check('Error' not in m.command('info vnc'), 'alive')
        m.end()
        check(m.process.returncode == -9, 'it lived to the end')
    finally:
        shutil.rmtree(where, ignore_errors=True)
    print(f'vnc: seed {SEED}, {pixels} pixels of 10 clients compared, {n} malformed clients, {count} connects while 8 do not read: longest pause '
          f'{worst * 1000:.0f} ms; idle {cpu:.1f} % of a core; {checks.counts()}')
    return checks.failed != 0


if __name__ == '__main__':
    sys.exit(main())
