#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0-or-later
"""qmp_schema.py tables|manual QMP.SCHEMA OUT [VERSION]   makes C tables, or the manual page, of the schema (its syntax: head of qmp.schema)."""
import re
import sys

BUILTIN = {'int': ('INT', -2 ** 63, 2 ** 63 - 1), 'uint64': ('INT', 0, -1), 'number': ('NUMBER', 0, 0), 'str': ('STRING', 0, 0),
           'bool': ('BOOL', 0, 0), 'null': ('NULL', 0, 0), 'any': ('ANY', 0, 0)}
for bits in (8, 16, 32):
    BUILTIN[f'int{bits}'] = ('INT', -2 ** (bits - 1), 2 ** (bits - 1) - 1)
    BUILTIN[f'uint{bits}'] = ('INT', 0, 2 ** bits - 1)
TOP = re.compile(r'(enum|struct|union|alternate|command|event|section) (.+)')
MEMBER = re.compile(r'([\w-]+)(\?)?: *(\[?[\w-]+\]?)(?: +\| *(.*))?')


class Item:
    def __init__(self, kind, name, where):
        self.kind, self.name, self.where = kind, name, where
        self.members, self.values, self.variants, self.doc, self.features = [], [], [], [], []
        self.tag = self.ret = self.args = None
        self.throttled = self.open = False


def fail(where, what):
    sys.exit(f'{where}: {what}')


def head(kind, rest, where):
    words = rest.split()
    item = Item(kind, rest if kind == 'section' else words[0], where)
    if kind in ('enum', 'alternate'):
        item.values = words[1:]
    elif kind == 'union':
        item.tag = words[1]
    elif kind == 'command':
        named = re.fullmatch(r'\S+(?: = (\S+))?(?: -> (\S+))?', rest)
        if not named:
            fail(where, f'not understood: {rest!r}')
        item.args, item.ret = named.groups()
    elif kind == 'event' and words[1:] == ['throttled']:
        item.throttled = True
    elif kind != 'section' and len(words) > 1:
        fail(where, f'what is {" ".join(words[1:])!r}?')
    return item


def inside(item, line, where):
    if line.startswith('| '):
        item.doc.append(line[2:])
    elif line.startswith('+ '):
        item.features += line[2:].split()
    elif line.startswith('when '):
        value, name = line[5:].split(': ')
        item.variants.append((value, name.strip()))
    elif line == '...':
        item.open = True
    elif item.kind == 'enum':
        item.values += line.split()
    else:
        m = MEMBER.fullmatch(line)
        if not m:
            fail(where, f'not understood: {line!r}')
        item.members.append((m[1], bool(m[2]), m[3], m[4] or ''))


def parse(path):
    items = []
    for number, line in enumerate(open(path), 1):
        where, text = f'{path}:{number}', line.strip()
        if not text or text.startswith('#'):
            continue
        top = TOP.fullmatch(text) if line[0] != ' ' else None
        if top:
            items.append(head(top[1], top[2], where))
        elif line[0] == ' ' and items:
            inside(items[-1], text, where)
        else:
            fail(where, f'not understood: {text!r}')
    for i in items:
        if i.kind in ('command', 'event') and not i.doc:
            fail(i.where, f'{i.name}: no text')
    return items


# ---- C ----

def c_name(name):
    return re.sub(r'\W', '_', name)


class Types:
    """Numbers of types, in the order of their first use."""

    def __init__(self, items):
        self.named = {i.name: i for i in items if i.kind in ('enum', 'struct', 'union', 'alternate')}
        self.order, self.numbers = [], {}

    def number(self, name, where):
        if name not in self.numbers:
            if name.startswith('['):
                self.number(name[1:-1], where)
            elif name not in BUILTIN and name not in self.named:
                fail(where, f'no type {name!r}')
            self.numbers[name] = len(self.order)
            self.order.append(name)
        return self.numbers[name]

    def anonymous(self, item):
        """The data of a command or an event, an object without a name."""
        if not item.members:
            name = '(nothing)'
            self.named.setdefault(name, Item('struct', name, item.where))
        else:
            name = f'({item.kind} {item.name})'
            self.named[name] = item
        return self.number(name, item.where)


def members_c(types, name, item, out):
    if item.kind == 'alternate':
        rows = [(None, types.number(v, item.where), False) for v in item.values]
    else:
        rows = [(n, types.number(t, item.where), o) for n, o, t, _ in item.members]
    if rows:
        text = ', '.join('{ %s, %d, %s }' % (f'"{n}"' if n else 'NULL', t, 'true' if o else 'false') for n, t, o in rows)
        out.append(f'static const struct qmp_member {name}_members[] = {{ {text} }};')
    return len(rows)


def type_c(types, at, out):
    name = types.order[at]
    label = f't{at}'
    if name in BUILTIN:
        meta, low, high = BUILTIN[name]
        low = 'INT64_MIN' if low == -2 ** 63 else str(low)
        return f'{{ .meta = QMP_{meta}, .name = "{name}", .min = {low}, .max = {high} }}'
    if name.startswith('['):
        return f'{{ .meta = QMP_ARRAY, .name = "{name}", .element = {types.numbers[name[1:-1]]} }}'
    item = types.named[name]
    if item.kind == 'enum':
        out.append(f'static const char *const {label}_values[] = {{ ' + ', '.join(f'"{v}"' for v in item.values) + ', NULL };')
        return f'{{ .meta = QMP_ENUM, .name = "{name}", .values = {label}_values }}'
    count = members_c(types, label, item, out)
    text = f'.meta = QMP_{"ALTERNATE" if item.kind == "alternate" else "OBJECT"}, .name = "{name}"'
    if item.open:
        text += ', .is_open = true'
    if count:
        text += f', .members = {label}_members, .member_count = {count}'
    if item.tag:
        rows = ', '.join('{ "%s", %d }' % (v, types.number(t, item.where)) for v, t in item.variants)
        out.append(f'static const struct qmp_variant {label}_variants[] = {{ {rows} }};')
        text += f', .tag = "{item.tag}", .variants = {label}_variants, .variant_count = {len(item.variants)}'
    return f'{{ {text} }}'


def tables(items, f):
    types = Types(items)
    commands, events, out, rows = [], [], [], []
    for i in sorted((i for i in items if i.kind == 'command'), key=lambda i: i.name):
        ret = types.number(i.ret, i.where) if i.ret else types.anonymous(Item('command', i.name, i.where))
        features = 'NULL'
        if i.features:
            features = f'{c_name(i.name)}_features'
            out.append(f'static const char *const {features}[] = {{ ' + ', '.join(f'"{v}"' for v in i.features) + ', NULL };')
        commands.append((i, f'{{ "{i.name}", qmp_{c_name(i.name)}, {types.number(i.args, i.where) if i.args else types.anonymous(i)}, {ret}, {features} }},'))
    for i in items:
        if i.kind == 'event':
            events.append(f'{{ "{i.name}", {types.anonymous(i)}, {"true" if i.throttled else "false"} }},')
    at = 0
    while at < len(types.order):        # rows may add types
        rows.append(type_c(types, at, out) + ',')
        at += 1
    unused = [i.name for i in items if i.kind in ('enum', 'struct', 'union', 'alternate') and i.name not in types.numbers]
    if unused:
        fail(items[0].where, f'nobody uses {", ".join(unused)}')
    f.write('/* Made by qmp_schema.py of qmp.schema. */\n#include "monitor/qmp_schema.h"\n\n#include <stddef.h>\n\n')
    f.write('qmp_fn ' + ', '.join(f'qmp_{c_name(i.name)}' for i, _ in commands) + ';\n')
    f.write('\n'.join(out) + '\n')
    for what, name, lines in (('type', 'types', rows), ('command', 'commands', [c for _, c in commands]), ('event', 'events', events)):
        f.write(f'const struct qmp_{what} qmp_{name}[] = {{\n' + '\n'.join(lines) + f'\n}};\nconst unsigned qmp_{what}_count = {len(lines)};\n')


# ---- the manual ----

def roff(text):
    text = text.replace('\\', '\\e').replace('-', '\\-')
    return '\\&' + text if text.startswith(('.', "'")) else text


def described(named, item, f):
    for name, optional, kind, doc in item.members:
        inner = kind.strip('[]')
        values = ''
        if inner in named and named[inner].kind == 'enum':
            values = ' (' + ', '.join(named[inner].values[:24]) + (' ...' if len(named[inner].values) > 24 else '') + ')'
        f.write(f'.br\n\\fB{roff(name)}\\fR: {roff(kind)}{roff(values)}{", optional" if optional else ""}')
        f.write(f'. {roff(doc)}\n' if doc else '\n')


def manual(items, f, version):
    named = {i.name: i for i in items}
    f.write('.\\" SPDX-License-Identifier: GPL-2.0-or-later\n.\\" Made by qmp_schema.py of qmp.schema.\n')
    f.write(f'.TH OSPITE\\-QMP 7 "" "ospite {version}" "ospite"\n.SH NAME\nospite\\-qmp \\- commands and events of the monitor protocol QMP\n')
    f.write('.SH DESCRIPTION\n\\fBospite \\-qmp unix:\\fIPATH\\fB,server=on,wait=off\\fR serves QMP as QEMU 7.2 speaks it; docs/monitor.md tells how. '
            'Types in brackets are lists.\n')
    for i in items:
        if i.kind == 'section':
            f.write(f'.SH {roff(i.name).upper()}\n')
        elif i.kind in ('command', 'event'):
            f.write(f'.TP\n\\fB{roff(i.name)}\\fR{" (event)" if i.kind == "event" else ""}\n' + '\n'.join(roff(d) for d in i.doc) + '\n')
            if i.throttled:
                f.write('At most once a second.\n')
            described(named, i, f)
            if i.args:
                f.write(f'.br\nIts members are those of {roff(i.args)}.\n')
            if i.ret:
                f.write(f'.br\nReturns {roff(i.ret)}.\n')
    f.write('.SH TYPES\n')
    for i in items:
        if i.kind in ('struct', 'union'):
            f.write(f'.TP\n\\fB{roff(i.name)}\\fR\n')
            f.write('\n'.join(roff(d) for d in i.doc) + '\n' if i.doc else '\\&\n')
            described(named, i, f)
            for value, name in i.variants:
                f.write(f'.br\n{roff(i.tag)} = {roff(value)}: {roff(name)}\n')


def main():
    what, schema, out = sys.argv[1:4]
    items = parse(schema)
    with open(out, 'w') as f:
        tables(items, f) if what == 'tables' else manual(items, f, sys.argv[4])


main()
