#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0-or-later
"""What the monitor shows of a guest, against QEMU's: monitor.py --vmm CMD [SEED]

The guest is a multiboot kernel made here. It switches paging on, with random tables in each of the three ways (32-bit, PAE, 4-level),
and halts; memory holds a random pattern. Both machines get the same commands about memory, page tables, numbers and registers.
Another guest turns in a loop that nothing interrupts: 'log' begins and ends all the same. A third one halts, and its
i8042 is read: what comes of sendkey, mouse_move and mouse_button."""
import argparse
import os
import random
import re
import shutil
import struct
import sys
import tempfile
import time

from boot import Failure, Machine

LOAD, DATA, TABLES = 0x100000, 0x101000, 0x110000
P, W, U, A, D, PSE, NX = 1, 2, 4, 0x20, 0x40, 0x80, 1 << 63
QEMU = 'qemu-system-x86_64 -accel tcg -cpu max'


class Tables:
    """Page tables from TABLES on; every present entry leads to a table or page of its own."""

    def __init__(self, rng, entry_bytes):
        self.rng, self.bytes, self.count = rng, entry_bytes, 4096 // entry_bytes
        self.pages = []

    def table(self):
        self.pages.append([0] * self.count)
        return TABLES + 4096 * (len(self.pages) - 1)

    def entries(self, at):
        return self.pages[(at - TABLES) // 4096]

    def flags(self):
        return P | A | self.rng.choice([0, W, W, U, W | U]) | self.rng.choice([0, 8, 0x10, 0x100, D])

    def fill(self, at, shift, nx, large):
        """Random entries below a table whose entries each span 1 << shift."""
        n = 0
        while n < self.count:
            n += self.rng.choice([1, 1, 1, 2, 40, 300])
            if n >= self.count or self.entries(at)[n]:
                continue
            top = NX if nx and self.rng.random() < .3 else 0
            if shift == 12 or (shift in large and self.rng.random() < .5):
                frame = self.rng.getrandbits(32 if self.bytes == 4 else 36) >> shift << shift
                self.entries(at)[n] = frame | self.flags() | top | (PSE if shift > 12 else 0)
            elif len(self.pages) < 60:
                below = self.table()
                self.entries(at)[n] = below | self.flags() | top
                self.fill(below, shift - (9 if self.bytes == 8 else 10), nx, large)

    def identity(self, at, shift):
        """The first two megabytes lie where they are, by 4 KiB pages."""
        step = 9 if self.bytes == 8 else 10
        while shift > 12:
            if not self.entries(at)[0]:
                self.entries(at)[0] = self.table() | P | W | A
            at, shift = self.entries(at)[0] & ~0xfff & ~NX, shift - step
        for n in range(512):
            self.entries(at)[n] = n << 12 | P | W | A | D

    def image(self):
        return b''.join(struct.pack('<%d%s' % (self.count, 'Q' if self.bytes == 8 else 'I'), *p) for p in self.pages)


def tables_32(rng):
    t = Tables(rng, 4)
    top = t.table()
    t.identity(top, 22)
    t.fill(top, 22, False, [22])
    return t.image(), 0x10, 0                                   # CR4.PSE


def tables_pae(rng):
    t = Tables(rng, 8)
    top = t.table()
    for n in range(4):
        t.entries(top)[n] = t.table() | P
    t.entries(top)[2] = 0
    t.identity(t.entries(top)[0] & ~0xfff, 21)
    for n in (0, 1, 3):
        t.fill(t.entries(top)[n] & ~0xfff, 21, True, [21])
    return t.image(), 0x20, 0x800                               # CR4.PAE, EFER.NXE


def tables_long(rng):
    t = Tables(rng, 8)
    top = t.table()
    t.identity(top, 39)
    t.fill(top, 39, True, [30, 21])
    return t.image(), 0x20, 0x900                               # and EFER.LME


GDT = LOAD + 0x800


def gdt():
    """Null, 32-bit code, data, a task state segment of two entries, 64-bit code, 16-bit data that expands down; then the words for
    LGDT and LIDT."""
    table = struct.pack('<7Q', 0, 0x00cf9b000000ffff, 0x00cf92000000ffff, 0x0000890020000067 | 0x1234 << 16, 0, 0x00af9b000000ffff,
                        0x000096120000fff0)
    return table, table + struct.pack('<HIHI', len(table) - 1, GDT, 0x7ff, 0x123000)


def kernel(rng, tables):
    image, cr4, efer = tables(rng)
    table, gdt_image = gdt()
    words = GDT + len(table)
    code = b'\x0f\x01\x15' + struct.pack('<I', words) + b'\x0f\x01\x1d' + struct.pack('<I', words + 6)      # lgdt, lidt
    code += b'\x66\xb8\x10\0\x8e\xd8\x8e\xc0\x8e\xd0\x66\xb8\x30\0\x8e\xe0\x66\x31\xc0\x8e\xe8'             # ds es ss, fs, gs
    code += b'\x66\xb8\x18\0\x0f\x00\xd8'                                                                   # ltr 18h
    code += struct.pack('<BI', 0xbc, LOAD + 0xff0)                                                          # mov esp, imm
    code += b'\xea' + struct.pack('<IH', LOAD + 32 + len(code) + 7, 8)                                      # jmp 8:next
    code += struct.pack('<BI', 0xb8, TABLES) + b'\x0f\x22\xd8'  # mov eax, imm; mov cr3, eax
    code += struct.pack('<BI', 0xb8, cr4 | 0x40600) + b'\x0f\x22\xe0'           # mov cr4, eax: OSXSAVE, OSXMMEXCPT, OSFXSR too
    code += b'\xdb\xe3\xd9\xe8\xd9\xeb\x31\xc9\x31\xd2'         # fninit; fld1; fldpi
    code += b'\xb8' + struct.pack('<I', 7 if efer else 1) + b'\x0f\x01\xd1'     # xsetbv
    if efer:
        code += struct.pack('<BIBIBI', 0xb9, 0xc0000080, 0xb8, efer, 0xba, 0) + b'\x0f\x30'     # wrmsr
    code += b'\x0f\x20\xc0\x0d' + struct.pack('<I', 0x80000000) + b'\x0f\x22\xc0'               # cr0.PG
    if efer & 0x100:
        code += b'\xea' + struct.pack('<IH', LOAD + 32 + len(code) + 7, 0x28)                   # 64-bit code
        code += b''.join(bytes([0x49, 0xb8 + n]) + struct.pack('<Q', rng.getrandbits(64)) for n in range(8))
    for register in range(8):
        if register != 4:
            code += struct.pack('<BI', 0xb8 + register, rng.getrandbits(32))
    code += b'\x66\x0f\x6e\xc8\x66\x0f\x70\xd1\x1b\x66\x0f\x76\xff'             # movd xmm1, eax; pshufd xmm2, xmm1; pcmpeqd xmm7, xmm7
    if efer:
        code += b'\xc4\xe3\x7d\x18\xda\x01'                     # vinsertf128 ymm3, ymm0, xmm2, 1
    code += b'\xba\xf8\x03\0\0\xb0!\xee'                        # the serial port: ready
    code += b'\xfa\xf4\xeb\xfc'
    end = TABLES + len(image)
    head = struct.pack('<8I', 0x1badb002, 0x10000, 0x100000000 - 0x1badb002 - 0x10000, LOAD, LOAD, end, end, LOAD + 32)
    data = rng.randbytes(4096)
    whole = (head + code).ljust(GDT - LOAD, b'\0') + gdt_image
    whole = whole.ljust(DATA - LOAD, b'\0') + data
    return whole.ljust(TABLES - LOAD, b'\0') + image


def memory_commands(rng, mode):
    for text in ['p $eax', 'x 0x101000', 'x /4 0x101000', 'x/2xw 0x101004', 'x /b 0x101001', 'x 0x101003', 'p $ecx+4*3', 'p -1', 'p $eip', 'xp /2xb 0x101000+8',
                 'p/d -1', 'p 1', 'x/o 0x101006', 'x /h 0x101006']:
        yield text
    if mode == '4-level':
        yield 'x /2xg 0x700000000000'
    for letter in 'xduoci':
        for size in 'bhwg':
            count = rng.choice([1, 3, 16, 33])
            at = LOAD + 32 if letter == 'i' else DATA + rng.randrange(2000)
            if letter != 'i' or size == 'b':                    # of instructions the size means nothing
                yield f'x /{count if letter != "i" else 8}{letter}{size if letter != "i" else ""} {at:#x}'
                yield f'xp /{count if letter != "i" else 8}{letter}{size if letter != "i" else ""} {at:#x}'
        if letter != 'i':
            yield f'print /{letter} {rng.getrandbits(7 if letter == "c" else rng.choice([7, 31, 63]))}'
            yield f'p/{letter} 65'
    yield 'x /i 0x100020'
    yield 'p $eax'
    for _ in range(40):
        yield f'gva2gpa {rng.getrandbits(32):#x}'


def normal(text, command):
    """Differences that are meant: the disassembler's bytes and blanks, addresses without their zeros."""
    lines = [re.sub(r'\s+$', '', l) for l in text.split('\n')]
    if re.match(r'xp? ?/\d*i', command):
        lines = [re.sub(r'\s+', ' ', re.sub(r'^(0x[0-9a-f]+:\s+(?:[0-9a-f]{2} )+).*$', r'\1', l)).strip() for l in lines]
    if re.match(r'xp? ?/\d*d', command):       # QEMU's d has no sign but in 8 bytes
        bits = {'b': 8, 'h': 16, 'w': 32, 'g': 64}[command.split()[1][-1]]
        lines = [re.sub(r' +(-?\d+)\b', lambda m: f' {int(m[1]) % (1 << bits)}', l) for l in lines]
    lines = [re.sub(r'8900( DPL=0 TSS\d\d)-avl', r'8b00\1-busy', l) for l in lines]       # LTR makes it busy; QEMU shows what it read
    if command == 'info tlb':                  # QEMU leaves the NX bit in addresses of PAE tables
        lines = [re.sub(r': 8', ': 0', l) for l in lines]
    return [l for l in lines if l]


def ask(m, command):
    text = m.command(command)
    return text.split('\n', 1)[1] if m.is_qemu and '\n' in text else text


def compare(vmm, mode, tables, seed, folder):
    rng = random.Random(f'{mode}{seed}')
    path = f'{folder}/{mode}'
    open(path, 'wb').write(kernel(rng, tables))
    args = ['-m', '64', '-kernel', path, '-vga', 'none', '-net', 'none']
    checked = lines = 0
    wrong = []
    with Machine(vmm, args, 60) as ours, Machine(QEMU, args, 60) as theirs:
        for m in (ours, theirs):
            m.serial('!')
            while 'HLT=1' not in m.command('info registers'):                # its last instruction comes behind the mark
                if time.time() > m.deadline:
                    raise Failure(f'{mode}: the guest does not halt')
                time.sleep(0.05)
            m.command('stop')
        for command in ['info registers', 'info registers -a', 'info tlb', 'info mem', *memory_commands(rng, mode)]:
            a, b = normal(ask(ours, command), command), normal(ask(theirs, command), command)
            checked += 1
            lines += len(b)
            if a != b:
                at = next((i for i, (x, y) in enumerate(zip(a, b)) if x != y), min(len(a), len(b)))
                wrong.append(f'{mode}: {command}: line {at}\n  ours   {a[at:at + 3]}\n  theirs {b[at:at + 3]}')
    for text in wrong[:20]:
        print('FAIL', text)
    return checked, lines, len(wrong)


def log_begins(vmm, folder):
    """Blocks are traced from 'log exec' on, and no more after 'log none', where no interrupt ever comes."""
    code = b'\xfa\xb0\xff\xe6\x21\xe6\xa1\xba\xf8\x03\0\0\xb0!\xee\xeb\xfe'       # cli, the 8259s masked, the serial port: ready, jmp .
    end = LOAD + 32 + len(code)
    head = struct.pack('<8I', 0x1badb002, 0x10000, 0x100000000 - 0x1badb002 - 0x10000, LOAD, LOAD, end, end, LOAD + 32)
    path, log = os.path.join(folder, 'loop'), os.path.join(folder, 'log')
    with open(path, 'wb') as f:
        f.write(head + code)
    with Machine(vmm, ['-m', '64', '-kernel', path, '-D', log], 120) as m:
        m.serial('!')
        time.sleep(0.5)
        m.command('log exec')
        while not os.path.getsize(log):
            if time.time() > m.deadline:
                raise Failure("nothing is traced after 'log exec'")
            time.sleep(0.1)
        m.command('log none')
        size = os.path.getsize(log)
        time.sleep(0.3)
        if size != os.path.getsize(log):
            raise Failure("traced after 'log none'")


def received(m):
    """What the i8042 has to say, in bytes."""
    got = []
    while len(got) < 64 and int(ask(m, 'i /b 0x64').split('=')[1].split()[0], 0) & 1:
        got.append(int(ask(m, 'i /b 0x60').split('=')[1].split()[0], 0))
    return got


def typed(vmm, folder):
    """Keys, movements and buttons as a guest's i8042 gets them, the boot order in CMOS, and refusals."""
    code = b'\xfa\xba\xf8\x03\0\0\xb0!\xee\xf4\xeb\xfd'                          # cli; the serial port: ready; hlt
    end = LOAD + 32 + len(code)
    head = struct.pack('<8I', 0x1badb002, 0x10000, 0x100000000 - 0x1badb002 - 0x10000, LOAD, LOAD, end, end, LOAD + 32)
    path = os.path.join(folder, 'halt')
    with open(path, 'wb') as f:
        f.write(head + code)
    args, results = ['-m', '64', '-kernel', path, '-net', 'none', '-boot', 'once=n'], []
    mouse = ('mouse_move 5 3', 'mouse_move -7 2', 'mouse_button 1', 'mouse_button 2', 'mouse_move 1 1', 'mouse_button 4', 'mouse_button 0')
    keys = ('sendkey 0x1e 50', 'sendkey shift-0x10 50', 'sendkey 0xd3 50')
    order = ('boot_set dca', 'o /b 0x70 0x3d', 'i /b 0x71', 'o /b 0x70 0x38', 'i /b 0x71', 'system_wakeup')
    for which in (vmm, QEMU):
        with Machine(which, args, 120) as m:
            m.serial('!')
            for port, value in ((0x64, 0xad), (0x64, 0xa8)):
                m.command(f'o /b {port:#x} {value:#x}')
            received(m)
            for port, value in ((0x64, 0xd4), (0x60, 0xf4)):                        # the mouse: begin
                m.command(f'o /b {port:#x} {value:#x}')
            got = [received(m)]
            for line in mouse:
                got.append((line, ask(m, line), received(m)))
            m.command('o /b 0x64 0xae')
            for port in (0x64, 0x60):                                               # scan codes as they are, the mouse is silent
                m.command(f'o /b {port:#x} ' + ('0x60' if port == 0x64 else '0x20'))
            received(m)
            for line in keys:
                text, bytes_got = ask(m, line), []
                while bytes_got.count(0xf0) <= line.count('-') and time.time() < m.deadline:         # until every key is let go
                    time.sleep(0.1)
                    bytes_got += received(m)
                got.append((line, text, bytes_got))
            got += [(line, ask(m, line).strip()) for line in order]
            results.append(got)
            if which == vmm:
                for line, word in (('sendkey 0x', 'unknown key'), ('sendkey 0x100', 'no scan code'), ('sendkey 0xfffff', 'no scan code'), ('stop now', "nothing more: 'now'"),
                                   ('mouse_button 8', 'from 0 to 7'), ('mouse_button -1', 'from 0 to 7'), ('mouse_move 1', 'DX DY'), ('mouse_move 40000 1', 'from -32767'),
                                   ('boot_set z', "unknown boot device 'z'"), ('boot_set cc', 'twice'), ('boot_set', 'letters')):
                    if word not in ask(m, line):
                        raise Failure(f'{line}: {ask(m, line)!r}')
                if 'running' not in ask(m, 'info status'):
                    raise Failure("'stop now' stopped it")
    for a, b in zip(*results):
        if a != b:
            raise Failure(f'typed: ours {a}, theirs {b}')


def main():
    p = argparse.ArgumentParser(usage=__doc__)
    p.add_argument('--vmm', default='build/ospite -accel bt')
    p.add_argument('seed', nargs='?', type=int, default=1)
    a = p.parse_args()
    if not shutil.which('qemu-system-x86_64'):
        print('SKIP: qemu-system-x86_64 is missing, nothing to compare with')
        return 77
    print('seed', a.seed)
    total = [0, 0, 0]
    with tempfile.TemporaryDirectory() as folder:
        for mode, tables in (('32-bit', tables_32), ('PAE', tables_pae), ('4-level', tables_long)):
            try:
                total = [x + y for x, y in zip(total, compare(a.vmm, mode, tables, a.seed, folder))]
            except Failure as why:
                print('FAIL', mode, why)
                total[2] += 1
        for test in (log_begins, typed):
            try:
                test(a.vmm, folder)
            except Failure as why:
                print('FAIL', why)
                total[2] += 1
    print(f'monitor: {total[0]} commands, {total[1]} lines compared with QEMU, {total[2]} differ')
    return total[2] != 0


if __name__ == '__main__':
    sys.exit(main())
