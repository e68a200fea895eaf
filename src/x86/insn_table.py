#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0-or-later
"""insn_table.py table|mnemonics INSNS.TXT OUT   makes C of the instruction table (its syntax: head of insns.txt).

table: the rows sorted by map and opcode, the distinct operand descriptions, and an index. mnemonics: mnemonic.h."""
import re
import sys

FLAG = {'c': 1, 'p': 4, 'a': 0x10, 'z': 0x40, 's': 0x80, 'd': 0x400, 'o': 0x800}
GPR = {'ax': 0, 'al': 0, 'ah': 0, 'cx': 1, 'cl': 1, 'dx': 2, 'dl': 2, 'bx': 3, 'sp': 4, 'bp': 5, 'si': 6, 'di': 7}
PREFIX = {'.': 'PP_ANY', 'n': 'PP_NONE', '66': 'PP_66', 'f3': 'PP_F3', 'f2': 'PP_F2', 'nd': 'PP_NO_REP'}
ATTR = {'lock': 'IA_LOCKABLE', 'branch': 'IA_BRANCH', 'stack': 'IA_STACK', 'string': 'IA_STRING', 'nop': 'IA_NOP',
        'system': 'IA_SYSTEM', 'x87': 'IA_X87 | IA_FWAIT_CHECK', 'x87nw': 'IA_X87', 'x87wait': 'IA_FWAIT_CHECK',
        'mmx': 'IA_MMX', 'sse': 'IA_SSE', 'avx': 'IA_AVX', 'vsib': 'IA_VSIB', 'al': 'IA_ALIGNED', 'wss': 'IA_WRITES_SS'}
WHEN = {'not64': 'WHEN_NOT64', 'only64': 'WHEN_ONLY64', 'os16': 'WHEN_OS16', 'os32': 'WHEN_OS32', 'os64': 'WHEN_OS64',
        'w0': 'WHEN_W0', 'w1': 'WHEN_W1', 'l0': 'WHEN_L0', 'l1': 'WHEN_L1', 'reg': 'WHEN_REG', 'mem': 'WHEN_MEM',
        'rex.b0': 'WHEN_NO_REXB', 'd64': 'ROW_D64', 'f64': 'ROW_F64', 'cc': 'ROW_CC', 'regf': 'ROW_REG_FORCED'}
SPECIAL = {   # kind, class, place, size, register
    'AL': ('REG', 'GPR', 'IMPLICIT', 'b', 0), 'AX': ('REG', 'GPR', 'IMPLICIT', 'w', 0), 'rAX': ('REG', 'GPR', 'IMPLICIT', 'v', 0),
    'eAX': ('REG', 'GPR', 'IMPLICIT', 'z', 0), 'CL': ('REG', 'GPR', 'IMPLICIT', 'b', 1), 'DX': ('REG', 'GPR', 'IMPLICIT', 'w', 2),
    'eCX': ('REG', 'GPR', 'IMPLICIT', 'd', 1), 'rCX': ('REG', 'GPR', 'IMPLICIT', 'q', 1),
    'ONE': ('IMM', 'GPR', 'IMPLICIT', 'b', 1), 'ST0': ('REG', 'X87', 'IMPLICIT', 't', 0), 'STi': ('REG', 'X87', 'MODRM_RM', 't', 0),
    'XMM0': ('REG', 'VEC', 'IMPLICIT', 'dq', 0), 'Lb': ('STRING', 'GPR', 'IMPLICIT', 'b', 3), 'Ap': ('FAR', 'GPR', 'IMMEDIATE', 'p', 0),
    'Iub': ('IMM', 'GPR', 'IMMEDIATE', 'ub', 0), 'I2b': ('IMM', 'GPR', 'IMMEDIATE', '2b', 0),
    **{'s' + n: ('REG', 'SEG', 'IMPLICIT', 'w', i) for i, n in enumerate(('ES', 'CS', 'SS', 'DS', 'FS', 'GS'))},
}
LETTER = {
    'E': ('RM', 'GPR', 'MODRM_RM'), 'R': ('REG', 'GPR', 'MODRM_RM'), 'M': ('MEM', 'GPR', 'MODRM_RM'), 'G': ('REG', 'GPR', 'MODRM_REG'),
    'B': ('REG', 'GPR', 'VVVV'), 'Z': ('REG', 'GPR', 'OPCODE'), 'W': ('RM', 'VEC', 'MODRM_RM'), 'U': ('REG', 'VEC', 'MODRM_RM'),
    'V': ('REG', 'VEC', 'MODRM_REG'), 'H': ('REG', 'VEC', 'VVVV'), 'L': ('REG', 'VEC', 'IS4'), 'Q': ('RM', 'MMX', 'MODRM_RM'),
    'N': ('REG', 'MMX', 'MODRM_RM'), 'P': ('REG', 'MMX', 'MODRM_REG'), 'S': ('REG', 'SEG', 'MODRM_REG'), 'C': ('REG', 'CR', 'MODRM_REG'),
    'D': ('REG', 'DR', 'MODRM_REG'), 'I': ('IMM', 'GPR', 'IMMEDIATE'), 'J': ('REL', 'GPR', 'IMMEDIATE'), 'O': ('MOFFS', 'GPR', 'IMMEDIATE'),
    'X': ('STRING', 'GPR', 'IMPLICIT'), 'Y': ('STRING', 'GPR', 'IMPLICIT'),
}
ACCESS = {'': 'ACCESS_READ', '=': 'ACCESS_WRITE', '+': 'ACCESS_READ | ACCESS_WRITE', '~': 'ACCESS_WRITE | ACCESS_COND'}


def operand(text, attributes):
    m = re.fullmatch(r'(\w+?)([=+]?~?)', text)
    name, access = m.group(1), ACCESS[m.group(2).replace('=~', '~')]
    kind, cls, place, size, reg = SPECIAL.get(name) or (*LETTER[name[0]], name[1:], 0)
    if name[0] in 'XY' and name not in SPECIAL:
        reg = 6 if name[0] == 'X' else 7
    if kind in ('IMM', 'REL', 'FAR'):
        access = 'ACCESS_READ'
    if 'noaccess' in attributes or (kind in ('MEM',) and size == '0'):
        access = '0'
    return f'{{ SPEC_{kind}, RC_{cls}, ENC_{place}, SIZE_{size}, {access}, {reg} }}'


def forms(operands, attributes):
    """Rd/Mb makes two rows of one."""
    if not any('/' in o for o in operands):
        return [(operands, attributes)]
    out = []
    for which, condition in enumerate(('reg', 'mem')):
        row = []
        for o in operands:
            tail = re.search(r'[=+]?~?$', o).group(0)
            row.append(o[:len(o) - len(tail)].split('/')[which] + tail if '/' in o else o)
        out.append((row, attributes + [condition]))
    return out


def flags(text):
    return sum(FLAG[c] for c in text)


def attributes_of(words, row):
    read = written = undefined = 0
    attr, when, gr, gw, feature = [], [], 0, 0, 'BASE'
    copy = True
    for w in words:
        if w == 'arith':
            written |= flags('cpazso')
        elif w == 'logic':
            written |= flags('cpzso')
            undefined |= flags('a')
        elif w == 'inc':
            written |= flags('pazso')
        elif w[:3] == 'w0=' or w[:2] == 'w=':
            written |= flags(w.split('=')[1])
        elif w[:2] == 'r=':
            read |= flags(w[2:])
        elif w[:2] == 'u=':
            undefined |= flags(w[2:])
        elif w[:2] == 'i=':
            for item in w[2:].split(','):
                name = item.rstrip('=+')
                number = int(name[1:]) if name[1:].isdigit() else next(v for k, v in GPR.items() if k in name)
                if not item.endswith('='):
                    gr |= 1 << number
                if item[-1] in '=+':
                    gw |= 1 << number
        elif w[:5] == 'feat=':
            feature = w[5:]
        elif w in ATTR:
            attr.append(ATTR[w])
            copy &= w not in ('branch', 'stack', 'string', 'nop')
            if w in ('x87', 'x87nw') and feature == 'BASE':
                feature = 'X87'
        elif w == 'nocopy':
            copy = False
        elif w in WHEN:
            when.append(WHEN[w])
        elif w not in ('noaccess', 'probe', 'fpu', 'sregload', 'memw'):
            sys.exit(f'{row}: what is {w}?')
    if 'not64' in words:
        attr.append('IA_INVALID64')
    if copy:
        attr.append('IA_COPY')
    return read, written, undefined, attr, when, gr, gw, feature


def rows(path):
    for line in open(path):
        line = line.split('#')[0].strip()
        if not line:
            continue
        left, right = (line + ' ').split('| ') if '| ' in line + ' ' else (line, '')
        space, prefix, opcode, mnemonic, operands = left.split()
        yield line, space, prefix, opcode.split('/'), mnemonic, [] if operands == '-' else operands.split(','), right.split()


def table(path, out):
    specs, found = {}, []
    for line, space, prefix, opcode, mnemonic, operands, words in rows(path):
        number = (4 if space[0] == 'v' else 0) + int(space[-1])
        for ops, attributes in forms(operands, words):
            read, written, undefined, attr, when, gr, gw, feature = attributes_of(attributes, line)
            numbers = [specs.setdefault(operand(o, attributes), len(specs) + 1) for o in ops]
            letters = [o[0] for o in ops if re.match(r'^(\w+?)[=+~]*$', o).group(1) not in SPECIAL] + ['E' for o in ops if o.startswith('STi')]
            modrm = len(opcode) > 1 or any(c in 'ERMGWUVQNPSCD' for c in letters) or bool({'reg', 'mem'} & set(attributes))
            if any(c == 'M' for c in letters):
                when.append('WHEN_MEM')
            if any(c in 'UN' or (c == 'R' and 'regf' not in attributes) for c in letters) or len(opcode) > 2:
                when.append('WHEN_REG')
            found.append((number, int(opcode[0], 16), modrm, f'''    {{ X86_{mnemonic}, {{ {", ".join(map(str, numbers)) or "0"} }}, {PREFIX[prefix]}, {opcode[1] if len(opcode) > 1 else -1}, '''
                          f'''{opcode[2] if len(opcode) > 2 else -1}, FEAT_{feature}, {" | ".join(sorted(set(when))) or 0}, {" | ".join(attr) or 0}, '''
                          f'''{read:#x}, {written:#x}, {undefined:#x}, {gr:#x}, {gw:#x} }},\n'''))
    found.sort(key=lambda f: f[:2])
    out.write('/* Made by insn_table.py from insns.txt. */\nstatic const struct spec specs[] = {\n    { 0 },\n')
    out.writelines(f'    {s},\n' for s in specs)
    out.write('};\nstatic const struct row rows[] = {\n')
    out.writelines(f[3] for f in found)
    out.write('};\n/* Where the rows of an opcode begin; bit 15: it has a ModRM byte. */\nstatic const uint16_t first_row[8 * 256 + 1] = {\n')
    index = 0
    for n in range(8 * 256):
        start = index
        while index < len(found) and found[index][0] * 256 + found[index][1] == n:
            index += 1
        kinds = {f[2] for f in found[start:index]}
        if len(kinds) > 1 and n >> 8 < 4 and n != 0x90:
            sys.exit(f'opcode {n:#x}: rows with and without ModRM')
        out.write(f'{start | (0x8000 if True in kinds else 0):#x},' + ('\n' if n % 16 == 15 else ' '))
    out.write(f'{index:#x} }};\n')


def mnemonics(path, out):
    names = sorted({r[4] for r in rows(path)})
    out.write('/* SPDX-License-Identifier: GPL-2.0-or-later */\n/* Made from insns.txt: insn_table.py mnemonics insns.txt mnemonic.h */\n'
              '#ifndef X86_MNEMONIC_H\n#define X86_MNEMONIC_H\n\n/* X86_ENTRY(name) for each mnemonic. */\n#define X86_MNEMONICS(X86_ENTRY) \\\n')
    line = '   '
    for n in names:
        if len(line) + len(n) > 95:
            out.write(line + ' \\\n')
            line = '   '
        line += f' X86_ENTRY({n})'
    out.write(line + '\n\nenum x86_mnemonic {\n    X86_INVALID,\n#define X86_ENTRY(name) X86_##name,\n    X86_MNEMONICS(X86_ENTRY)\n#undef X86_ENTRY\n'
              '    X86_MNEMONIC_COUNT\n};\n\n#endif\n')


with open(sys.argv[3], 'w') as f:
    (table if sys.argv[1] == 'table' else mnemonics)(sys.argv[2], f)
