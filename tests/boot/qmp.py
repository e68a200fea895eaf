#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0-or-later
"""QMP: qmp.py --vmm CMD [--qemu CMD] [TEST]...

protocol  greeting, negotiation, ids, errors word by word as QEMU's, events and their order, unix and tcp, several clients, pretty
schema    query-qmp-schema against QEMU's: names, arguments and answers of every command, data of every event
manual    every command stands in docs/monitor.md or ospite-qmp(7)
empty     -machine none, as libvirt starts and ends it: every command, and lines of the human monitor
filters   nodes of driver=throttle: told of, used, refused, changed and removed, as in QEMU
small     rings, BREAK, -display, where VNC listens, announcements, when and how trays and devices that go are told of, as in QEMU
errors    a host without room: which drive stopped the machine, what is told of it, and that it goes on, as in QEMU
lines     the human monitor: every word of QEMU's is known or refused with a reason, words too many are refused, lists read as QEMU's
shapes    the answers of two machines made alike, here and in QEMU: members and types; each answer against both schemas
hostile   deep, long, broken and endless texts, clients that never read: errors, bounded memory, a machine that goes on"""
import argparse
import json
import os
import random
import re
import signal
import socket
import subprocess
import sys
import tempfile
import time
sys.path.append(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
import leash            # noqa: E402, F401

from boot import Failure
from cpio import Skip
from ports import free_port

checks = 0


def check(ok, what):
    global checks
    checks += 1
    if not ok:
        raise Failure(what)


def equal(a, b, what):
    check(a == b, f'{what}: {a!r}, not {b!r}')


class Client:
    def __init__(self, address, negotiate=True, seconds=60):
        deadline = time.time() + seconds
        while True:
            self.s = socket.socket(socket.AF_UNIX) if isinstance(address, str) else socket.socket()
            try:
                self.s.connect(address)
                break
            except OSError:
                self.s.close()
                if time.time() > deadline:
                    raise Failure(f'cannot connect to {address}')
                time.sleep(0.02)
        self.s.settimeout(seconds)
        self.file = self.s.makefile('rb')
        self.events = []
        self.greeting = self.read()
        if negotiate:
            equal(self.raw({'execute': 'qmp_capabilities'}), {'return': {}}, 'qmp_capabilities')

    def read(self):
        """One message, over as many lines as it takes."""
        text = b''
        while True:
            line = self.file.readline()
            if not line:
                raise Failure(f'the connection ended: {text!r}')
            text += line
            try:
                return json.loads(text)
            except ValueError:
                pass

    def answer(self):
        while True:
            m = self.read()
            if 'event' not in m:
                return m
            self.events.append(m)

    def send(self, request):
        self.s.sendall(request if isinstance(request, bytes) else json.dumps(request).encode() + b'\n')

    def raw(self, request):
        self.send(request)
        return self.answer()

    def run(self, command, **arguments):
        m = self.raw({'execute': command, 'arguments': {k.replace('_', '-'): v for k, v in arguments.items()}})
        if 'return' not in m:
            raise Failure(f'{command} {arguments}: {m}')
        return m['return']

    def wait(self, name, seconds=60):
        """The data of the next event of this name; those before are dropped."""
        deadline = time.time() + seconds
        while time.time() < deadline:
            while self.events:
                e = self.events.pop(0)
                check(abs(e['timestamp']['seconds'] - time.time()) < 600 and 0 <= e['timestamp']['microseconds'] < 10 ** 6, f'time of {e}')
                if e['event'] == name:
                    return e.get('data')
            m = self.read()
            check('event' in m, f'an event is expected: {m}')
            self.events.append(m)
        raise Failure(f'no event {name}')

    def close(self):
        self.file.close()
        self.s.close()


class Vm:
    def __init__(self, vmm, args, qmp=('-qmp', 'unix:qmp,server=on,wait=off'), plain=('-display', 'none', '-m', '16', '-S'), pass_fds=()):
        self.log = open('stderr', 'w')
        self.process = subprocess.Popen([*vmm.split(), *plain, *qmp, *args], stderr=self.log, stdin=subprocess.DEVNULL, pass_fds=pass_fds)

    def __enter__(self):
        return self

    def __exit__(self, kind, value, trace):
        if self.process.poll() is None:
            self.process.kill()
            self.process.wait()
        self.log.close()
        text = open('stderr').read()
        if kind or 'Sanitizer' in text or 'runtime error' in text:
            print(text[-3000:])
            if not kind:
                raise Failure('a sanitizer complains')

    def memory_kib(self):
        return int(open(f'/proc/{self.process.pid}/statm').read().split()[1]) * 4

    def ended(self, status):
        equal(self.process.wait(60), status, 'exit status')


# ---- protocol ----

# Both programs get these in turn; answers must be the same, but for names in braces.
SAME = [
    {'execute': 'nonsense'}, {'execute': 'stop', 'arguments': {'x': 1}}, {'execute': 'stop', 'id': 7}, {'id': 5}, {'execute': 5},
    {'execute': 'query-status', 'foo': 1}, {'execute': 'query-status', 'arguments': []}, {'execute': 'query-status', 'arguments': None},
    {'exec-oob': 'query-status'}, {'execute': 'qmp_capabilities'}, {'execute': 'human-monitor-command'},
    {'execute': 'human-monitor-command', 'arguments': {'command-line': 5}},
    {'execute': 'human-monitor-command', 'arguments': {'command-line': 'info status', 'cpu-index': 9}},
    {'execute': 'human-monitor-command', 'arguments': {'command-line': 'info status'}},
    {'execute': 'set-action', 'arguments': {'reboot': 'x'}}, {'execute': 'set-action', 'arguments': {'reboot': True}},
    {'execute': 'set-action', 'arguments': {'shutdown': 'pause', 'panic': 'none'}, 'id': {'a': [1, None, 'é']}},
    {'execute': 'query-status', 'id': [1, {'a': 2}]}, {'execute': 'query-target', 'id': ''}, {'execute': 'query-name'}, {'execute': 'query-uuid'},
    {'execute': 'system_wakeup'}, [1], 5, 'text', None, {'execute': 'cont', 'id': 1.5}, {'execute': 'stop'}, {'execute': 'query-kvm'}, {},
]
BROKEN = [b'{"execute": "query-status"]\n', b'{"execute": query-status}\n', b'{"execute": "query-status",}\n', b'}\n', b'{"a":1 "b":2}\n',
          b'{"execute": "query-status", "execute": "stop"}\n', b'{"execute": "\xff\xfe"}\n', b'nonsense\n', b'{"execute": "a\nb"}\n']


def protocol_answers(c):
    return [c.raw(r) for r in SAME]


def test_protocol(o):
    args = ['-name', 'guest=n1', '-uuid', '11111111-2222-3333-4444-555555555555']
    with Vm(o.vmm, args) as ours:
        c = Client('qmp', negotiate=False)
        v = c.greeting['QMP']
        equal((v['capabilities'], v['version']['qemu']['major'], v['version']['qemu']['minor']), ([], 7, 2), 'greeting')
        first = c.raw({'execute': 'query-status', 'id': 1})
        c.send({'execute': 'qmp_capabilities', 'arguments': {'enable': ['oob']}})
        check('error' in c.answer(), 'oob is refused')
        c.run('qmp_capabilities')
        equal(c.run('query-version'), v['version'], 'version')
        mine = protocol_answers(c)
        broken = [c.raw(b)['error']['class'] for b in BROKEN[:1]]
        c.close()
        for b in BROKEN:
            c = Client('qmp')
            equal(c.raw(b)['error']['class'], 'GenericError', f'{b}')
            c.send(b'\n')
            c.send({'execute': 'query-target', 'id': 'after'})
            m = c.answer()
            while 'id' not in m:
                check('error' in m, f'after {b}: {m}')
                m = c.answer()
            equal(m['id'], 'after', f'after {b}')
            c.close()
        equal(broken, ['GenericError'], 'broken')
        c = Client('qmp')
        # Texts end where their brackets do; two in one line, one in many.
        c.send(b'{"execute":"query-target","id":1}{"execute":\n"query-target",\r\n\t"id":2}')
        equal([c.answer()['id'], c.answer()['id']], [1, 2], 'ids in order')
        equal(c.raw(b"{'execute':'query-target','id':'a\"b\\'c\\\\'}")['id'], 'a"b\'c\\', 'single quotes')
        for byte in b'{"execute":"query-target","id":3}':
            c.send(bytes([byte]))
        equal(c.answer()['id'], 3, 'byte by byte')
    with Vm(o.qemu, args) as theirs:
        c = Client('qmp', negotiate=False)
        equal(first, c.raw({'execute': 'query-status', 'id': 1}), 'before the negotiation')
        c.run('qmp_capabilities')
        for request, a, b in zip(SAME, mine, protocol_answers(c)):
            if request == {'execute': 'query-kvm'}:
                b['return']['enabled'] = a['return']['enabled']
            equal(a, b, f'{request}')
    events(o)
    ways(o)


def events(o):
    for vmm in (o.vmm, o.qemu):
        with Vm(vmm, ['-no-shutdown']) as vm:
            c = Client('qmp')
            c.run('cont')
            equal(c.wait('RESUME'), None, 'RESUME')
            c.run('system_reset')
            equal(c.wait('RESET'), {'guest': False, 'reason': 'host-qmp-system-reset'}, 'RESET')
            c.run('stop')
            equal(c.wait('STOP'), None, 'STOP')
            c.run('human-monitor-command', command_line='info registers')
            c.run('system_powerdown')
            equal(c.wait('POWERDOWN'), None, 'POWERDOWN')
            equal(c.events, [], 'a look at registers is no event')
            c.run('set-action', reboot='shutdown', shutdown='poweroff')
            c.run('cont')
            c.run('system_reset')
            equal(c.wait('SHUTDOWN'), {'guest': False, 'reason': 'host-qmp-system-reset'}, 'SHUTDOWN')
            vm.ended(0)
        with Vm(vmm, []) as vm:
            c = Client('qmp')
            c.run('quit')
            equal(c.wait('SHUTDOWN'), {'guest': False, 'reason': 'host-qmp-quit'}, 'quit')
            vm.ended(0)
        with Vm(vmm, []) as vm:
            c = Client('qmp')
            vm.process.terminate()
            equal(c.wait('SHUTDOWN'), {'guest': False, 'reason': 'host-signal'}, 'SIGTERM')
            vm.ended(0)


def ways(o):
    """Several monitors of all kinds in one machine."""
    port = free_port()
    listener = socket.socket(socket.AF_UNIX)
    listener.bind('inherited')
    listener.listen(1)
    os.set_inheritable(listener.fileno(), True)
    args = ['-qmp', f'tcp:127.0.0.1:{port},server=on,wait=off', '-qmp-pretty', 'unix:pretty,server=on,wait=off',
            '-chardev', 'socket,id=c1,path=mon1,server=on,wait=off', '-mon', 'chardev=c1,mode=control,pretty=off',
            '-chardev', f'socket,id=c2,fd={listener.fileno()},server=on,wait=off', '-mon', 'c2,mode=control',
            '-chardev', 'socket,id=c3,path=human,server=on,wait=off', '-mon', 'chardev=c3,mode=readline']
    vm = Vm.__new__(Vm)
    vm.log = open('stderr', 'w')
    vm.process = subprocess.Popen([*o.vmm.split(), '-display', 'none', '-m', '16', '-S', *args], stderr=vm.log, stdin=subprocess.DEVNULL,
                                  pass_fds=[listener.fileno()])
    listener.close()
    with vm:
        clients = [Client(a) for a in (('127.0.0.1', port), 'pretty', 'mon1', 'inherited')]
        clients[0].run('cont')
        for c in clients:
            c.wait('RESUME')
        clients[1].send({'execute': 'query-status'})
        lines = [clients[1].file.readline() for _ in range(7)]
        equal(lines[0], b'{\r\n'.replace(b'\r', b''), 'pretty')
        check(lines[1].startswith(b'    "return": {'), 'pretty')
        human = socket.socket(socket.AF_UNIX)
        human.connect('human')
        human.sendall(b'stop\n')
        for c in clients:
            c.wait('STOP')
        human.close()
        for _ in range(50):                       # the machine outlives its clients
            clients[2].close()
            clients[2] = Client('mon1')
            equal(clients[2].run('query-status')['status'], 'paused', 'again')
        clients[2].run('quit')
        vm.ended(0)
    p = subprocess.run([*o.vmm.split(), '-display', 'none', '-m', '16', '-S', '-qmp', 'stdio'], capture_output=True, timeout=60,
                       input=b'{"execute":"qmp_capabilities"}\n{"execute":"query-target"}{"execute":"quit"}')
    got = [json.loads(line) for line in p.stdout.decode().splitlines()]
    equal(p.returncode, 0, 'stdio')
    equal(got[1:4], [{'return': {}}, {'return': {'arch': 'x86_64'}}, {'return': {}}], 'stdio')


# ---- schema ----

class Schema:
    def __init__(self, client):
        self.entries = {e['name']: e for e in client.run('query-qmp-schema')}

    def kind(self, kind):
        return sorted(n for n, e in self.entries.items() if e['meta-type'] == kind)

    def members(self, entry, value=None):
        """Of an object, with those of the variant that value is."""
        out = {m['name']: m for m in entry['members']}
        if value is not None and 'tag' in entry:
            for v in entry['variants']:
                if v['case'] == value.get(entry['tag']):
                    out.update(self.members(self.entries[v['type']], value))
        return out

    def problem(self, name, value, at):
        """Why value is not of the type; None: it is."""
        e = self.entries[name]
        meta = e['meta-type']
        if meta == 'builtin':
            fits = {'string': str, 'int': int, 'number': (int, float), 'boolean': bool, 'null': type(None), 'value': object}[e['json-type']]
            return None if isinstance(value, fits) and not (isinstance(value, bool) and e['json-type'] in ('int', 'number')) else f'{at}: {value!r}'
        if meta == 'enum':
            return None if value in e['values'] else f'{at}: {value!r} is none of {e["values"]}'
        if meta == 'array':
            if not isinstance(value, list):
                return f'{at}: no list'
            return next((p for p in (self.problem(e['element-type'], v, f'{at}[{i}]') for i, v in enumerate(value)) if p), None)
        if meta == 'alternate':
            problems = [self.problem(m['type'], value, at) for m in e['members']]
            return None if None in problems else problems[0]
        if not isinstance(value, dict):
            return f'{at}: no object'
        members = self.members(e, value)
        for n, m in members.items():
            if n not in value:
                if 'default' not in m:
                    return f'{at}.{n} is missing'
                continue
            p = self.problem(m['type'], value[n], f'{at}.{n}')
            if p:
                return p
        extra = set(value) - set(members)
        return f'{at}: unexpected {sorted(extra)}' if extra else None


class Compare:
    """Ours may know less than QEMU's, nothing that it does not know."""

    def __init__(self, ours, theirs):
        self.ours, self.theirs, self.seen = ours, theirs, set()

    def type(self, a, b, at, given):
        """given: a client sends it, so what QEMU insists on, we must know; otherwise what QEMU always tells, so must we."""
        if (a, b, given) in self.seen:
            return
        self.seen.add((a, b, given))
        x, y = self.ours.entries[a], self.theirs.entries[b]
        if y['meta-type'] == 'builtin' and y['json-type'] == 'value':
            return
        equal(x['meta-type'], y['meta-type'], at)
        {'builtin': self.builtin, 'enum': self.enum, 'array': self.array, 'object': self.object, 'alternate': self.alternate}[x['meta-type']](x, y, at, given)

    def builtin(self, x, y, at, given):
        equal(x['json-type'], y['json-type'], at)

    def enum(self, x, y, at, given):
        check(set(x['values']) <= set(y['values']), f'{at}: {set(x["values"]) - set(y["values"])} is not QEMU\'s')

    def array(self, x, y, at, given):
        self.type(x['element-type'], y['element-type'], at + '[]', given)

    def alternate(self, x, y, at, given):
        def kind(schema, m):
            return schema.entries[m['type']]['meta-type'], schema.entries[m['type']].get('json-type')

        kinds = {kind(self.theirs, m): m['type'] for m in y['members']}
        for m in x['members']:
            self.type(m['type'], kinds[kind(self.ours, m)], at, given)

    def object(self, x, y, at, given):
        mine, other = self.ours.members(x), self.theirs.members(y)
        for n, m in mine.items():
            check(n in other, f'{at}.{n} is not QEMU\'s')
            if given:
                check('default' in m or 'default' not in other[n], f'{at}.{n} is optional in QEMU')
            else:
                check('default' not in m or 'default' in other[n], f'{at}.{n} is always there in QEMU')
            self.type(m['type'], other[n]['type'], f'{at}.{n}', given)
        for n, m in other.items():
            check(n in mine or 'default' in m, f'{at}.{n} is missing')
        cases = {v['case']: v['type'] for v in y.get('variants', [])}
        for v in x.get('variants', []):
            check(v['case'] in cases, f'{at} = {v["case"]} is not QEMU\'s')
            self.type(v['type'], cases[v['case']], f'{at}({v["case"]})', given)


def both_schemas(o):
    with Vm(o.vmm, []):
        c = Client('qmp')
        ours = Schema(c)
        equal(sorted(x['name'] for x in c.run('query-commands')), ours.kind('command'), 'query-commands')
    with Vm(o.qemu, []):
        theirs = Schema(Client('qmp'))
    return ours, theirs


def test_schema(o):
    ours, theirs = both_schemas(o)
    for e in ours.entries.values():
        check(e['meta-type'] in ('command', 'event') or e['name'][0] in '0123456789[' or e['meta-type'] == 'builtin', f'name {e["name"]}')
    for kind in ('command', 'event'):
        for name in ours.kind(kind):
            check(name in theirs.entries, f'{name} is no {kind} of QEMU\'s')
            mine, other = ours.entries[name], theirs.entries[name]
            Compare(ours, theirs).type(mine['arg-type'], other['arg-type'], name, kind == 'command')
            if kind == 'command':
                Compare(ours, theirs).type(mine['ret-type'], other['ret-type'], name + ' ->', False)
            check(set(mine.get('features', [])) <= set(other.get('features', [])), f'features of {name}')
    print(f'{len(ours.kind("command"))} of QEMU\'s {len(theirs.kind("command"))} commands, {len(ours.kind("event"))} of {len(theirs.kind("event"))} events')


# ---- shapes ----

# Commands that both get, and what of QEMU's answers is not told here: members by their path, [] for any place of a list.
SHAPES = [
    ('block_set_io_throttle', {'device': 'v0', 'bps': 0, 'bps_rd': 1000, 'bps_wr': 2000, 'iops': 50, 'iops_rd': 0, 'iops_wr': 0, 'iops_max': 100, 'iops_max_length': 3, 'iops_size': 4096}),
    ('query-status', {}), ('query-version', {}), ('query-name', {}), ('query-uuid', {}), ('query-kvm', {}), ('query-target', {}), ('query-block', {}),
    ('query-named-block-nodes', {}), ('query-named-block-nodes', {'flat': True}), ('query-blockstats', {}), ('query-blockstats', {'query-nodes': True}),
    ('query-cpus-fast', {}), ('query-hotpluggable-cpus', {}), ('query-memory-size-summary', {}), ('query-memdev', {}), ('query-memory-devices', {}), ('query-iothreads', {}),
    ('query-balloon', {}), ('query-chardev', {}), ('query-chardev-backends', {}), ('query-pci', {}), ('query-tpm', {}), ('query-mice', {}),
    ('query-vnc', {}), ('query-vnc-servers', {}), ('query-display-options', {}), ('query-acpi-ospm-status', {}), ('query-jobs', {}), ('query-block-jobs', {}), ('query-commands', {}), ('query-machines', {}), ('query-current-machine', {}), ('query-cpu-definitions', {}),
    ('query-command-line-options', {}), ('query-migrate', {}), ('query-migrate-capabilities', {}), ('query-stats-schemas', {}), ('qom-list-types', {}),
    ('qom-list', {'path': '/machine'}), ('qom-list', {'path': '/machine/peripheral'}), ('qom-list', {'path': '/machine/peripheral/bal'}),
    ('qom-list', {'path': '/machine/unattached'}), ('qom-list', {'path': '/machine/unattached/device[0]'}),
    ('qom-get', {'path': '/machine/unattached/device[0]', 'property': 'unavailable-features'}),
    ('qom-get', {'path': '/machine/unattached/device[0]', 'property': 'type'}),
    ('query-cpu-model-expansion', {'type': 'static', 'model': {'name': 'max'}}), ('query-cpu-model-expansion', {'type': 'static', 'model': {'name': 'qemu64', 'props': {'avx2': True, 'nx': False}}}),
    ('query-cpu-model-expansion', {'type': 'full', 'model': {'name': 'Nehalem'}}), ('device-list-properties', {'typename': 'virtio-blk-pci'}), ('device-list-properties', {'typename': 'VGA'}),
    ('qom-list-properties', {'typename': 'none-machine'}), ('qom-list-properties', {'typename': 'max-x86_64-cpu'}), ('qom-list-properties', {'typename': 'memory-backend-file'}),
    ('qom-get', {'path': '/machine/peripheral/nic', 'property': 'type'}), ('qom-get', {'path': '/machine/peripheral/bal', 'property': 'guest-stats'}),
    ('qom-get', {'path': '/machine/peripheral/bal', 'property': 'guest-stats-polling-interval'}),
    ('qom-set', {'path': '/machine/peripheral/bal', 'property': 'guest-stats-polling-interval', 'value': 5}),
    ('qom-get', {'path': '/machine/peripheral/bal', 'property': 'guest-stats-polling-interval'}),
]
LEFT_OUT = {'[].parent', '[].backing', '[].driver-specific', '[].inserted.image.backing-image.full-backing-filename', '[].default-cpu-type', '[].alias-of', '[].description',
            '[].default-value', '[].abstract', '[].parameters[].help', '[].parameters[].default', 'stats', 'model.props'}
NO_LIMITS = {'bps': 0, 'bps_rd': 0, 'bps_wr': 0, 'iops': 0, 'iops_rd': 0, 'iops_wr': 0}
# Errors: the class must be the same, and the words where they are QEMU's alone.
ERRORS = [
    ('eject', {}), ('eject', {'device': 'nope'}), ('eject', {'device': 'a', 'id': 'b'}), ('blockdev-change-medium', {'device': 'nope', 'filename': 'x'}),
    ('blockdev-change-medium', {'device': 'cd', 'filename': '/nonexistent', 'format': 'raw'}), ('balloon', {'value': 'x'}), ('balloon', {}), ('balloon', {'value': -1}),
    ('screendump', {'filename': 'x', 'format': 'gif'}), ('screendump', {'filename': '/nonexistent/x'}), ('screendump', {}), ('set_link', {'name': 'nope', 'up': True}),
    ('send-key', {'keys': [{'type': 'qcode', 'data': 'foo'}]}), ('send-key', {'keys': [{'type': 'foo', 'data': 'a'}]}), ('send-key', {'keys': 'a'}),
    ('send-key', {'keys': [{'type': 'qcode'}]}), ('send-key', {'keys': [5]}), ('send-key', {'keys': [{'type': 'qcode', 'data': 'a', 'more': 1}]}),
    ('pmemsave', {'val': 0, 'size': 1, 'filename': '/nonexistent/x'}), ('memsave', {'val': 0, 'size': 1, 'filename': 'x', 'cpu-index': 7}),
    ('set_password', {'protocol': 'spice', 'password': 'x'}), ('set_password', {'protocol': 'vnc', 'password': 'x', 'connected': 'fail'}),
    ('set_password', {'protocol': 'nope', 'password': 'x'}), ('input-send-event', {'events': [{'type': 'key', 'data': {'down': True, 'key': {'type': 'qcode', 'data': 'a'}}}]}),
    ('input-send-event', {'events': [{'type': 'rel', 'data': {'axis': 'z', 'value': 1}}]}), ('memsave', {'val': 1.5, 'size': 1, 'filename': 'x'}),
]
ERRORS += [
    ('block_set_io_throttle', {'device': 'nope', **NO_LIMITS}), ('block_set_io_throttle', {**NO_LIMITS}), ('block_set_io_throttle', {'device': 'v0'}),
    ('block_set_io_throttle', {'device': 'v0', **NO_LIMITS, 'bps': 1, 'bps_rd': 1}), ('block_set_io_throttle', {'device': 'v0', **NO_LIMITS, 'bps': 10, 'bps_max': 1}),
    ('block_set_io_throttle', {'device': 'v0', **NO_LIMITS, 'bps_max': 10}), ('block_set_io_throttle', {'device': 'v0', **NO_LIMITS, 'iops': 1 << 60}),
    ('block_set_io_throttle', {'device': 'v0', **NO_LIMITS, 'iops': -1}), ('block_set_io_throttle', {'device': 'v0', **NO_LIMITS, 'iops_size': 1}),
    ('block_set_io_throttle', {'device': 'v0', **NO_LIMITS, 'iops': 5, 'iops_max': 6, 'iops_max_length': 0}), ('block_set_io_throttle', {'device': 'v0', **NO_LIMITS, 'iops': 5, 'iops_max_length': 2}),
    ('object-add', {}), ('object-add', {'qom-type': 'nope', 'id': 'x'}), ('object-del', {'id': 'nope'}), ('chardev-remove', {'id': 'nope'}), ('block_resize', {'size': 1}), ('block_resize', {'device': 'nope', 'size': 1}), ('block_resize', {'node-name': 'nope', 'size': 1 << 20}), ('block_resize', {'device': 'v0'}),
    ('block_resize', {'device': 'v0', 'size': -1}), ('blockdev-del', {'node-name': 'nope'}), ('blockdev-add', {}), ('blockdev-add', {'driver': 'nope'}),
    ('qom-list', {'path': '/machine/nope'}), ('qom-get', {'path': '/machine/peripheral/nope', 'property': 'type'}),
    ('qom-get', {'path': '/machine/peripheral/bal', 'property': 'nope'}), ('qom-list', {}), ('device_del', {'id': 'nope'}), ('device_add', {}),
    ('device-list-properties', {'typename': 'nope'}), ('device-list-properties', {'typename': 'secret'}), ('qom-list-properties', {'typename': 'nope'}),
    ('query-cpu-model-expansion', {'type': 'static', 'model': {'name': 'nope'}}), ('query-cpu-model-expansion', {'type': 'x', 'model': {'name': 'max'}}),
    ('query-cpu-model-expansion', {'type': 'full', 'model': {'name': 'max', 'props': {'nope': True}}}),
    ('netdev_add', {'type': 'nope', 'id': 'x'}), ('netdev_add', {'type': 'user'}), ('netdev_del', {'id': 'nope'}),
    ('query-command-line-options', {'option': 'nope'}), ('migrate-set-capabilities', {'capabilities': [{'capability': 'nope', 'state': True}]}),
]
WORDS_DIFFER = {'/nonexistent', '/nonexistent/x', 'static', 'full'}


def paths(value, at=''):
    """Members and the kinds of their values."""
    if isinstance(value, dict):
        for k, v in value.items():
            yield (f'{at}.{k}'.lstrip('.'), type(v).__name__)
            yield from paths(v, f'{at}.{k}'.lstrip('.'))
    elif isinstance(value, list):
        for v in value:
            yield from paths(v, f'{at}[]')


def machine_args():
    subprocess.run('qemu-img create -q -f qcow2 base.qcow2 64M; qemu-img create -q -f qcow2 -b base.qcow2 -F qcow2 a.qcow2; truncate -s 1M cd.iso b.raw', shell=True, check=True)
    return ['-drive', 'if=none,id=v0,file=a.qcow2,format=qcow2,bps=77,discard=unmap,detect-zeroes=unmap', '-object', 'iothread,id=io', '-device', 'virtio-blk-pci,drive=v0,id=vb,iothread=io', '-drive', 'if=ide,index=2,media=cdrom,id=cd,file=cd.iso,format=raw',
            '-drive', 'if=ide,index=0,id=hd,file=b.raw,format=raw,cache=unsafe,throttling.iops-total=7,throttling.iops-total-max=9,throttling.group=g', '-device', 'virtio-balloon-pci,id=bal', '-netdev', 'user,id=n', '-device', 'virtio-net-pci,netdev=n,id=nic',
            '-smp', '2,maxcpus=4', '-vga', 'std', '-vnc', 'unix:vnc', '-name', 'guest=n1', '-nodefaults', '-serial', 'null']


def test_shapes(o):
    ours, theirs = both_schemas(o)
    args = machine_args()
    answers, errors = [], []
    for vmm in (o.vmm, o.qemu):
        with Vm(vmm, args, plain=('-display', 'none', '-m', '64', '-S')):
            c = Client('qmp')
            answers.append([c.raw({'execute': name, 'arguments': a})['return'] for name, a in SHAPES])
            errors.append([c.raw({'execute': name, 'arguments': a}) for name, a in ERRORS])
            actions(c, ours)
            c.run('quit')
            c.wait('SHUTDOWN')
    for (name, a), mine, other in zip(SHAPES, *answers):
        for schema in (ours, theirs):
            problem = schema.problem(schema.entries[name]['ret-type'], mine, name)
            check(problem is None, problem)
        told, known = set(paths(mine)), set(paths(other))
        missing = {p for p, _ in known} - {p for p, _ in told}
        missing = {p for p in missing if not any(p == x or p.startswith(x + '.') for x in LEFT_OUT)}
        if mine and other:
            check(not missing, f'{name} {a}: {sorted(missing)} are missing')
            kinds = dict(known)
            for p, kind in told:
                check(p not in kinds or kinds[p] == kind or (p, kind) in known, f'{name}: {p} is {kind}, not {kinds.get(p)}')
        equal(bool(mine), bool(other), f'{name} has something to tell')
    limits = [{b['device']: {k: v for k, v in b.get('inserted', {}).items() if re.match('bps|iops|group|detect', k)} for b in run[SHAPES.index(('query-block', {}))]} for run in answers]
    equal(limits[0], limits[1], 'limits of the drives')
    check(limits[0]['v0']['iops'] == 50 and limits[0]['hd']['iops_max'] == 9, f'{limits[0]}')
    for (name, a), mine, other in zip(ERRORS, *errors):
        check('error' in mine and 'error' in other, f'{name} {a}: {mine}, {other}')
        equal(mine['error']['class'], other['error']['class'], f'{name} {a}: {mine}: class')
        if not WORDS_DIFFER & set(str(v) for v in a.values()):
            equal(mine['error']['desc'], other['error']['desc'], f'{name} {a}')


GROUP = {'path': '/objects/tg', 'property': 'limits'}
FILTERS = [
    ('object-add', {'qom-type': 'throttle-group', 'id': 'tg', 'limits': {'iops-total': 50}}), ('object-add', {'qom-type': 'throttle-group', 'id': 'tg2'}),
    ('blockdev-add', {'driver': 'file', 'node-name': 'f0', 'filename': 'f.qcow2'}), ('blockdev-add', {'driver': 'qcow2', 'node-name': 'q0', 'file': 'f0'}),
    ('blockdev-add', {'driver': 'throttle', 'node-name': 't0', 'throttle-group': 'tg', 'file': 'q0'}), ('blockdev-add', {'driver': 'throttle', 'node-name': 't1', 'throttle-group': 'tg2', 'file': 't0'}),
    ('blockdev-add', {'driver': 'file', 'node-name': 'f1', 'filename': 'f.raw'}), ('blockdev-add', {'driver': 'throttle', 'node-name': 't2', 'throttle-group': 'tg', 'file': 'f1'}),
    ('blockdev-add', {'driver': 'throttle', 'node-name': 't3', 'throttle-group': 'nope', 'file': 'f1'}), ('blockdev-add', {'driver': 'throttle', 'node-name': 't3', 'throttle-group': 'tg', 'file': 'nope'}),
    ('blockdev-add', {'driver': 'throttle', 'node-name': 't3', 'throttle-group': 'tg'}), ('blockdev-add', {'driver': 'throttle', 'node-name': 't3', 'file': 'q0'}),
    ('query-named-block-nodes', {'flat': True}), ('device_add', {'driver': 'virtio-blk-pci', 'drive': 't1', 'id': 'd1'}), ('device_add', {'driver': 'virtio-blk-pci', 'drive': 't2', 'id': 'd2'}),
    ('query-named-block-nodes', {}), ('query-block', {}), ('object-del', {'id': 'tg'}),
    ('blockdev-del', {'node-name': 't0'}), ('blockdev-del', {'node-name': 'q0'}), ('blockdev-del', {'node-name': 't2'}),
    ('block_resize', {'node-name': 't1', 'size': 48 << 20}), ('query-block', {}),
    ('qom-get', GROUP), ('qom-set', {**GROUP, 'value': {'iops-total': 9, 'iops-total-max': 20}}), ('qom-get', GROUP), ('qom-get', {'path': 'tg', 'property': 'x-iops-total-max'}),
    ('qom-set', {**GROUP, 'value': {'nope': 5}}), ('qom-set', {**GROUP, 'value': {'iops-read': 5}}), ('qom-set', {**GROUP, 'value': 5}), ('qom-set', {**GROUP, 'value': {'iops-total': -5}}),
    ('qom-set', {'path': 'tg', 'property': 'x-iops-total', 'value': 5}), ('qom-get', {'path': 'tg', 'property': 'nope'}),
    ('blockdev-reopen', {'options': [{'driver': 'throttle', 'node-name': 't0', 'throttle-group': 'tg2', 'file': 'q0'}]}),
    ('blockdev-reopen', {'options': [{'driver': 'throttle', 'node-name': 't2', 'throttle-group': 'tg2', 'file': 'f1'}]}),
    ('blockdev-reopen', {'options': [{'driver': 'throttle', 'node-name': 't2', 'throttle-group': 'nope', 'file': 'f1'}]}),
    ('blockdev-reopen', {'options': [{'driver': 'throttle', 'node-name': 't1', 'throttle-group': 'tg2', 'file': 't0', 'read-only': True}]}),
    ('blockdev-reopen', {'options': [{'driver': 'throttle', 'node-name': 't2', 'throttle-group': 'tg2', 'file': 'f1', 'read-only': True}]}),
    ('object-del', {'id': 'tg'}), ('object-del', {'id': 'tg2'}), ('query-block', {}),
]


def nodes_of(answer):
    """What is compared of nodes: size on the host differs by metadata, and a node behind a throttle is not shown in its name."""
    if not isinstance(answer, list):
        return answer
    return {x['node-name']: (x['drv'], x['ro'], x['file'], x['backing_file_depth'], x['image']['format'], x['image']['filename'], x['image'].get('backing-image', {}).get('format'),
                             x['drv'] == 'file' or x['image']['virtual-size']) for x in (y.get('inserted', y) for y in answer) if x.get('node-name', '#')[0] != '#'}


def test_filters(o):
    """Nodes of driver=throttle are told of, used, refused, changed and removed as QEMU does it."""
    answers = []
    for vmm in (o.vmm, o.qemu):
        subprocess.run('rm -f f.*; qemu-img create -q -f qcow2 f.qcow2 16M; truncate -s 4M f.raw', shell=True, check=True)
        with Vm(vmm, ['-nodefaults'], plain=('-display', 'none', '-m', '64', '-S')):
            c = Client('qmp')
            answers.append([c.raw({'execute': name, 'arguments': a}) for name, a in FILTERS])
            c.run('device_del', id='d1')
            c.run('device_del', id='d2')
            c.run('system_reset')
            while c.wait('DEVICE_DELETED').get('device') != 'd2':
                pass
            for node in ('t1', 't0', 'q0', 'f0', 't2', 'f1'):
                c.run('blockdev-del', node_name=node)
            c.run('object-del', id='tg2')
            equal(c.run('query-named-block-nodes'), [], 'all are gone')
            c.run('quit')
            c.wait('SHUTDOWN')
    for (name, a), mine, other in zip(FILTERS, *answers):
        equal('error' in mine, 'error' in other, f'{name} {a}: {mine}')
        if 'return' in mine and not mine['return'] == other['return']:
            equal(nodes_of(mine['return']), nodes_of(other['return']), f'{name} {a}')
        if name != 'blockdev-del' and 'error' in mine and 'Parameter' not in other['error']['desc']:
            equal(mine['error']['desc'], other['error']['desc'], f'{name} {a}')


# ---- small commands ----

SMALL = [
    ('query-display-options', {}), ('query-acpi-ospm-status', {}), ('watchdog-set-action', {'action': 'pause'}), ('watchdog-set-action', {'action': 'nope'}), ('watchdog-set-action', {}),
    ('chardev-send-break', {'id': 'nope'}), ('chardev-send-break', {'id': 'ser'}), ('chardev-send-break', {'id': 'r0'}), ('chardev-send-break', {}),
    ('ringbuf-read', {'device': 'nope', 'size': 1}), ('ringbuf-read', {'device': 'ser', 'size': 1}), ('ringbuf-write', {'device': 'ser', 'data': 'x'}),
    ('ringbuf-write', {'device': 'r0', 'data': 'hello'}), ('ringbuf-read', {'device': 'r0', 'size': 3}), ('ringbuf-read', {'device': 'r0', 'size': 0}), ('ringbuf-read', {'device': 'r0', 'size': -5}),
    ('ringbuf-write', {'device': 'r0', 'data': 'aGVsbG8=', 'format': 'base64'}), ('ringbuf-read', {'device': 'r0', 'size': 1 << 40, 'format': 'base64'}), ('ringbuf-read', {'device': 'r0', 'size': 5}),
    ('ringbuf-write', {'device': 'r0', 'data': 'a*b', 'format': 'base64'}), ('ringbuf-write', {'device': 'r0', 'data': 'x', 'format': 'nope'}), ('ringbuf-read', {'device': 'r0', 'size': '5'}),
    ('ringbuf-write', {'device': 'r0', 'data': 'abcdefghijklmnopqrstuvwxyz'}), ('ringbuf-read', {'device': 'r0', 'size': 100}),
    ('ringbuf-write', {'device': 'r0', 'data': 'aP9i', 'format': 'base64'}), ('ringbuf-read', {'device': 'r0', 'size': 100}), ('ringbuf-write', {'device': 'r0', 'data': '\u20ac\u00e9'}),
    ('ringbuf-read', {'device': 'r0', 'size': 100}), ('ringbuf-write', {'device': 'r0', 'data': 'YQliCmMBf1xk', 'format': 'base64'}),
    ('human-monitor-command', {'command-line': 'ringbuf_read r0 100'}), ('human-monitor-command', {'command-line': 'ringbuf_write r0 "a b"'}),
    ('human-monitor-command', {'command-line': 'ringbuf_read r0 2+3'}),
    ('chardev-add', {'id': 'r1', 'backend': {'type': 'ringbuf', 'data': {'size': 4}}}), ('ringbuf-write', {'device': 'r1', 'data': 'abcdef'}), ('ringbuf-read', {'device': 'r1', 'size': 9}),
    ('chardev-add', {'id': 'r2', 'backend': {'type': 'memory', 'data': {}}}), ('chardev-remove', {'id': 'r1'}), ('chardev-remove', {'id': 'r2'}),
    ('display-reload', {}), ('display-reload', {'type': 'vnc'}), ('display-reload', {'type': 'vnc', 'tls-certs': True}), ('display-reload', {'type': 'spice'}), ('display-update', {}), ('display-update', {'type': 'vnc'}),
    ('display-update', {'type': 'vnc', 'addresses': [{'type': 'fd', 'str': 'nope'}]}), ('display-update', {'type': 'vnc', 'addresses': [{'type': 'inet', 'host': '127.0.0.1'}]}),
    ('display-update', {'type': 'vnc', 'addresses': [{'type': 'unix', 'path': 'vnc2'}]}), ('query-vnc', {}), ('query-vnc-servers', {}),
    ('display-update', {'type': 'vnc', 'addresses': [{'type': 'unix', 'path': 'vnc2'}, {'type': 'unix', 'path': 'vnc3'}]}), ('query-vnc', {}),
    ('display-update', {'type': 'vnc', 'addresses': []}), ('query-vnc', {}), ('query-vnc-servers', {}), ('display-update', {'type': 'vnc', 'addresses': [{'type': 'unix', 'path': 'vnc4'}]}), ('query-vnc', {}),
    ('announce-self', {}), ('announce-self', {'initial': 1, 'max': 1, 'rounds': 'x', 'step': 1}), ('announce-self', {'initial': 1, 'max': 1, 'rounds': 0, 'step': 1}),
]


def test_small(o):
    answers = []
    args = ['-chardev', 'ringbuf,id=r0,size=16', '-serial', 'chardev:r0', '-chardev', 'null,id=ser', '-serial', 'chardev:ser', '-vnc', 'unix:vnc']
    for vmm in (o.vmm, o.qemu):
        with Vm(vmm, args, plain=('-display', 'none,show-cursor=on', '-m', '16', '-S')):
            c = Client('qmp')
            answers.append([c.raw({'execute': name, 'arguments': a}) for name, a in SMALL])
            c.run('quit')
            c.wait('SHUTDOWN')
    for (name, a), mine, other in zip(SMALL, *answers):
        if name == 'query-vnc-servers' and mine['return']:
            other['return'][0]['server'].reverse()
        equal(mine, other, f'{name} {a}')
    listens(o)
    announces(o)
    names(o)
    for vmm in (o.vmm, o.qemu):
        order(vmm)
        trays(vmm)
    ring_of_a_guest(o)
    peers_of_a_stream(o)


def peers_of_a_stream(o):
    """Who comes and goes on a network is told of by the address that it came to, whatever it is called, and where that is no text, too."""
    for path, told in (('net', 'net'), (os.fsdecode(b'net\xff'), '')):
        with Vm(o.vmm, ['-netdev', f'stream,id=n,server=on,addr.type=unix,addr.path={path}', '-device', 'virtio-net-pci,netdev=n']):
            c = Client('qmp')
            for name in (b'peer', b'\xff\xfe', None):
                s = socket.socket(socket.AF_UNIX)
                if name:
                    s.bind(name)
                s.connect(path)
                equal(c.wait('NETDEV_STREAM_CONNECTED'), {'netdev-id': 'n', 'addr': {'type': 'unix', 'path': told}}, f'a peer {name}')
                s.close()
                equal(c.wait('NETDEV_STREAM_DISCONNECTED'), {'netdev-id': 'n'}, f'a peer {name} goes')
                if name:
                    os.unlink(name)
            c.run('quit')
            c.wait('SHUTDOWN')


def hello(address):
    s = socket.socket(socket.AF_UNIX) if isinstance(address, str) else socket.socket()
    s.settimeout(60)
    try:
        s.connect(address)
        return s.recv(12) == b'RFB 003.008\n' and s
    except ConnectionRefusedError:
        return None
    except FileNotFoundError:
        return None


def listens(o):
    """Other addresses: clients stay, what cannot be opened changes nothing, what is wanted again stays."""
    ports = [free_port() for _ in range(3)]
    inet = [{'type': 'inet', 'host': '127.0.0.1', 'port': str(p)} for p in ports]
    listener = socket.socket(socket.AF_UNIX)
    listener.bind('handed')
    listener.listen(5)
    taken = socket.socket()
    taken.bind(('127.0.0.1', 0))
    taken.listen(1)
    with Vm(o.vmm, ['-vnc', 'unix:vnc'], plain=('-display', 'none', '-m', '16', '-S')) as vm:
        c = Client('qmp')
        descriptors = len(os.listdir(f'/proc/{vm.process.pid}/fd'))

        def update(*addresses):
            return c.raw({'execute': 'display-update', 'arguments': {'type': 'vnc', 'addresses': list(addresses)}})

        def open_at():
            return [bool(hello(('127.0.0.1', p))) for p in ports] + [bool(hello('vnc'))]
        old = hello('vnc')
        equal(update(*inet[:2]), {'return': {}}, 'two ports')
        equal(open_at(), [True, True, False, False], 'listens at two ports')
        check(not os.path.exists('vnc'), 'the path is gone')
        waits = socket.create_connection(('127.0.0.1', ports[1]))
        equal(update(inet[1], inet[2]), {'return': {}}, 'one of them, and another')
        equal((open_at(), waits.recv(12)), ([False, True, True, False], b'RFB 003.008\n'), 'listens at one of them, and another')
        busy = {'type': 'inet', 'host': '127.0.0.1', 'port': str(taken.getsockname()[1])}
        for wrong in (busy, {'type': 'unix', 'path': '/nonexistent/x'}, {'type': 'inet', 'host': '127.0.0.1', 'port': '70000'}, {'type': 'inet', 'host': '127.0.0.1', 'port': 'x'}, inet[1],
                      {'type': 'inet', 'host': '127.0.0.1', 'port': str(ports[0]), 'ipv4': False}, {'type': 'inet', 'host': '127.0.0.1', 'port': str(ports[0]), 'ipv4': False, 'ipv6': False},
                      {'type': 'unix', 'path': 'x' * 200}, {'type': 'vsock', 'cid': '2', 'port': '1'}):
            check('error' in update(inet[0], inet[1], wrong), f'{wrong} is refused')
            equal(open_at(), [False, True, True, False], f'{wrong} changes nothing')
        check('error' in update(*({'type': 'unix', 'path': f'u{i}'} for i in range(9))), 'nine are too many')
        equal(update(*({'type': 'unix', 'path': f'u{i}'} for i in range(8))), {'return': {}}, 'eight')
        equal(sum(bool(hello(f'u{i}')) for i in range(8)), 8, 'eight')
        socket.send_fds(c.s, [b'{"execute": "getfd", "arguments": {"fdname": "l"}}'], [listener.fileno()])
        equal(c.answer(), {'return': {}}, 'getfd')
        listener.close()
        check('error' in update({'type': 'fd', 'str': 'l'}, busy), 'one of two is wrong')
        check('error' in update({'type': 'fd', 'str': 'l'}), 'the descriptor was used up by that')
        equal(update(), {'return': {}}, 'nowhere')
        equal(open_at(), [False] * 4, 'nowhere')
        equal(update(inet[0]), {'return': {}}, 'again')
        equal(open_at(), [True, False, False, False], 'again')
        old.sendall(b'RFB 003.008\n')
        equal(old.recv(2), b'\x01\x01', 'who came by the first socket is still there')
        waits.close()
        old.close()
        c.run('query-vnc')
        for _ in range(1200):
            left = len(os.listdir(f'/proc/{vm.process.pid}/fd'))
            if left <= descriptors:
                break
            time.sleep(0.05)
        equal(left, descriptors, 'no socket is left over')
        other = socket.socket(socket.AF_UNIX)
        other.bind('handed2')
        other.listen(5)
        socket.send_fds(c.s, [b'{"execute": "getfd", "arguments": {"fdname": "l"}}'], [other.fileno()])
        c.answer()
        other.close()
        equal(update({'type': 'fd', 'str': 'l'}), {'return': {}}, 'a socket that was handed over')
        check(hello('handed2'), 'it listens there')
        socket.send_fds(c.s, [b'{"execute": "getfd", "arguments": {"fdname": "n"}}'], [taken.fileno()])
        c.answer()
        with open('stderr') as no_socket:
            socket.send_fds(c.s, [b'{"execute": "getfd", "arguments": {"fdname": "f"}}'], [no_socket.fileno()])
            c.answer()
        check('error' in update({'type': 'fd', 'str': 'f'}), 'a file is no socket')
        check(hello('handed2'), 'it still listens there')
        c.run('quit')
        vm.ended(0)


def announces(o):
    """The frames that cards send, by UDP."""
    got = []

    def frames(count):
        taken = [here.recv(4096) for _ in range(count)]
        here.settimeout(0.3)
        try:
            taken.append(here.recv(4096))
        except TimeoutError:
            pass
        here.settimeout(60)
        return taken
    for vmm in (o.vmm, o.qemu):
        here, args = socket.socket(socket.AF_INET, socket.SOCK_DGRAM), []
        here.bind(('127.0.0.1', 0))
        here.settimeout(60)
        for n, card in (('a', 'e1000'), ('b', 'virtio-net-pci'), ('c', 'rtl8139')):
            args += ['-netdev', f'dgram,id=n{n},remote.type=inet,remote.host=127.0.0.1,remote.port={here.getsockname()[1]},local.type=inet,local.host=127.0.0.1,local.port={free_port()}',
                     '-device', f'{card},netdev=n{n},id={n},mac=52:54:00:11:22:3{ord(n) - 96},romfile=']
        with Vm(vmm, ['-nodefaults', *args], plain=('-display', 'none', '-m', '16', '-S')):
            c, seen = Client('qmp'), []
            c.run('cont')                            # a stopped guest's are kept back by QEMU
            for rounds, names in ((2, None), (3, ['b']), (1, ['a', 'c'])):
                begin = time.time()
                c.run('announce-self', initial=100, max=150, rounds=rounds, step=100, **({'interfaces': names} if names else {}))
                seen.append(sorted(frames(rounds * len(names or 'abc'))))
                check(rounds != 3 or time.time() - begin > 0.25, 'they wait between')
            c.run('announce-self', initial=9000, max=9000, rounds=9, step=0, interfaces=['a'], id='x')      # the second is never due
            c.run('announce-self', initial=300, max=300, rounds=2, step=0, interfaces=['b'], id='x')
            c.run('announce-self', initial=9000, max=9000, rounds=9, step=0, interfaces=['c'], id='y')
            c.run('announce-self', initial=300, max=300, rounds=0, step=0, interfaces=['c'], id='y')
            seen.append(sorted(frames(4)))
            check(c.run('human-monitor-command', command_line='announce_self b,a second') == '', 'announce_self')
            seen.append(sorted(here.recv(4096) for _ in range(10)))
            got.append(seen)
            if vmm == o.vmm:
                for wrong in ({'rounds': 1001}, {'initial': -1}, {'max': 1 << 62}, {'step': 10001}, {'interfaces': ['nope']}, {'interfaces': ['a'] * 100}):
                    check('error' in c.raw({'execute': 'announce-self', 'arguments': {'initial': 1, 'max': 1, 'rounds': 1, 'step': 1, **wrong}}), f'{wrong}')
                for i in range(20):
                    last = c.raw({'execute': 'announce-self', 'arguments': {'initial': 9000, 'max': 9000, 'rounds': 5, 'step': 0, 'id': str(i)}})
                check('under way' in last['error']['desc'], f'the twentieth at a time: {last}')
            c.run('quit')                            # while some are under way
    equal(got[0], got[1], 'announcements')
    equal(len(got[0][0]), 6, 'two rounds of three cards')


def order(vmm):
    """A device that goes at once has gone when the command was answered, not before."""
    open('d.img', 'wb').truncate(1 << 20)
    with Vm(vmm, ['-usb', '-device', 'usb-tablet,id=t', '-drive', 'if=none,id=d,file=d.img,format=raw', '-device', 'virtio-scsi-pci,id=s', '-device', 'scsi-hd,drive=d,id=h']):
        c = Client('qmp')
        for name in ('t', 'h'):
            c.send({'execute': 'device_del', 'arguments': {'id': name}, 'id': name})
            equal(c.read(), {'return': {}, 'id': name}, f'the answer comes first ({name})')
            equal(c.wait('DEVICE_DELETED'), {'device': name, 'path': f'/machine/peripheral/{name}'}, f'then {name} is gone')


def trays(vmm):
    """Whose tray it is: drives by their ids, none of nodes; devices by their ids, or their paths."""
    for name in ('a', 'b', 'n', 'x'):
        open(f'{name}.iso', 'wb').truncate(1 << 20)
    args = ['-nodefaults', '-drive', 'if=none,id=one,file=a.iso,format=raw,media=cdrom,readonly=on', '-device', 'ide-cd,drive=one,id=first,bus=ide.0,unit=0',
            '-drive', 'if=none,id=two,file=b.iso,format=raw,media=cdrom,readonly=on', '-device', 'ide-cd,drive=two,bus=ide.0,unit=1',
            '-blockdev', 'driver=file,filename=n.iso,node-name=f', '-blockdev', 'driver=raw,file=f,node-name=n,read-only=on', '-device', 'ide-cd,drive=n,id=third,bus=ide.1,unit=1', '-cdrom', 'x.iso']
    with Vm(vmm, args):
        c, paths = Client('qmp'), []
        for drive, device, by in (('one', 'first', {'id': 'first'}), ('two', None, {'device': 'two'}), ('', 'third', {'id': 'third'}), ('ide1-cd0', None, {'device': 'ide1-cd0'})):
            for is_open, command in ((True, 'blockdev-open-tray'), (False, 'blockdev-close-tray')):
                c.run(command, **by)
                e = c.wait('DEVICE_TRAY_MOVED')
                equal((e['device'], e['tray-open']), (drive, is_open), f'{drive}: {command}')
                if device:
                    equal(e['id'], device, f'{drive}')
                else:
                    check(e['id'].startswith('/machine/') and e['id'] not in paths[:-1], f'a path: {e}')
                    paths.append(e['id'])
        for path in set(paths):
            equal(c.run('qom-get', path=path, property='type'), 'ide-cd', path)
            check(path in [b.get('qdev') for b in c.run('query-block')], path)
            c.run('eject', id=path)
            equal(c.wait('DEVICE_TRAY_MOVED')['id'], path, 'eject by path')


NAMED = '-usb -device virtio-scsi-pci,id=s -device ahci,id=a -device floppy,drive=fl,id=f -device virtio-blk-pci,drive=n0,id=v -device scsi-hd,drive=n1,id=h -device scsi-cd,drive=n2,id=c ' \
    '-device ide-hd,drive=n3,id=i -device ide-cd,drive=n4,id=ic,bus=ide.1 -device ide-hd,drive=n5,id=sa,bus=a.0 -device usb-storage,drive=n6,id=u -device usb-storage,drive=b7,id=ub -device virtio-blk-pci,drive=b8,id=vb ' \
    '-device scsi-cd,id=es -device ide-cd,id=ei,bus=ide.1,unit=1 -device floppy,id=ef,unit=1'
NAMELESS = {('', name) for name in ('es', 'ei', 'ef', 'later')}          # without drive=


def names(o):
    """What is told of a drive names its device, and that name is taken; both as in QEMU."""
    args, told = ['-nodefaults', '-drive', 'if=none,id=fl,file=fl.img,format=raw'], []
    open('fl.img', 'wb').truncate(1440 << 10)
    for n in range(9):
        open(f'n{n}', 'wb').truncate(1 << 20)
        args += ['-blockdev', f'driver=file,filename=n{n},node-name=n{n}'] if n < 7 else ['-drive', f'if=none,id=b{n},file=n{n},format=raw']
    for vmm in (o.vmm, o.qemu):
        with Vm(vmm, [*args, *NAMED.split()]):
            c = Client('qmp')
            c.run('device_add', driver='scsi-cd', bus='s.0', id='later')
            told.append([{(x['device'], x['qdev']) for x in c.run(command)} for command in ('query-block', 'query-blockstats')])
            equal(NAMELESS - told[-1][0], set(), 'drives without a name')
            for _, device in told[-1][0] - NAMELESS:
                equal(c.raw({'execute': 'block_set_io_throttle', 'arguments': {'id': device, 'bps': 0, 'bps_rd': 0, 'bps_wr': 0, 'iops': 50, 'iops_rd': 0, 'iops_wr': 0}}), {'return': {}}, device)
            told[-1].append([c.run('qom-get', path=path, property='type') for path in ('/machine/peripheral/u/u.0/legacy[0]', '/machine/peripheral/h')])
            c.run('blockdev-open-tray', id='c')
            told[-1].append(c.wait('DEVICE_TRAY_MOVED'))
            c.run('quit')
    equal(told[0], told[1], 'names of drives and their devices')


# Writes itself onto the second disk: mov ax, 301h; mov cx, 2; mov dx, 81h; xor bx, bx; mov es, bx; mov bx, 7c00h; int 13h; jmp $
WRITER = bytes.fromhex('b80103 b90200 ba8100 31db 8ec3 bb007c cd13 ebfe').ljust(510, b'\0') + b'\x55\xaa'


def full_disk(vmm, disks):
    """What is said of a disk for which the host has no room, before and after there is some."""
    for name in ('boot', 'full/disk'):
        with open(name, 'wb') as f:
            f.write(WRITER if name == 'boot' else b'')
            f.truncate(1 << 20)
    with open('full/rest', 'wb', buffering=0) as f:
        try:
            while f.write(bytes(4096)):
                pass
        except OSError:
            pass
    with Vm(vmm, ['-nodefaults', *disks, '-device', 'ide-hd,drive=a,bus=ide.0,unit=0,id=ia', '-device', 'ide-hd,drive=b,bus=ide.0,unit=1,id=ib'], plain=('-display', 'none', '-m', '16')):
        c, told = Client('qmp'), []
        told.append(c.wait('BLOCK_IO_ERROR'))
        c.wait('STOP')
        told += [c.run('query-status')['status'], {x['qdev']: x['io-status'] for x in c.run('query-block')}]
        told.append(re.findall('I/O status: .*', c.run('human-monitor-command', command_line='info block')))
        os.unlink('full/rest')
        c.run('cont')
        deadline = time.time() + 60
        while open('full/disk', 'rb').read(1024)[512:] != WRITER and time.time() < deadline:
            time.sleep(0.05)
        equal(open('full/disk', 'rb').read(1024)[512:], WRITER, 'what was written when there was room')
        told += [c.run('query-status')['status'], {x['qdev']: x['io-status'] for x in c.run('query-block')}]
        told.append('I/O status' in c.run('human-monitor-command', command_line='info block'))
        c.run('quit')
    return told


def test_errors(o):
    os.mkdir('full')
    if os.getuid() or subprocess.run(['mount', '-t', 'tmpfs', '-o', 'size=64k', 'none', 'full'], capture_output=True).returncode:
        os.rmdir('full')
        raise Skip('no right to mount a small tmpfs')
    try:
        for form in ('-blockdev driver=file,filename={},node-name={}', '-drive if=none,format=raw,file={},id={}', '-drive if=none,format=raw,file={},id={},werror=stop'):
            told = [full_disk(vmm, f'{form.format("boot", "a")} {form.format("full/disk", "b")}'.split()) for vmm in (o.vmm, o.qemu)]
            for run in told:
                run[0]['node-name'] = re.sub(r'^#block\d+$', '#block', run[0]['node-name'])
            if 'blockdev' in form:           # QEMU's 'cont' passes these over
                told[1][-2:] = {'ia': 'ok', 'ib': 'ok'}, False
            equal(told[0], told[1], form)
            equal(told[0][2], {'ia': 'ok', 'ib': 'nospace'}, f'{form}: whose error it is')
    finally:
        subprocess.run(['umount', '-l', 'full'], check=True)
        os.rmdir('full')


def ring_of_a_guest(o):
    """What a guest's serial port writes."""
    with Vm(o.vmm, ['-chardev', 'ringbuf,id=r,size=64,logfile=log', '-serial', 'chardev:r']):
        c = Client('qmp')
        for byte in b'from the guest':
            c.run('human-monitor-command', command_line=f'o /b 0x3f8 {byte:#x}')
        equal(c.run('ringbuf-read', device='r', size=100), 'from the guest', 'the ring of a serial port')
        check({'label': 'r', 'filename': 'ringbuf', 'frontend-open': True} in c.run('query-chardev'), f'{c.run("query-chardev")}')
        equal(open('log', 'rb').read(), b'from the guest', 'its log')
        c.run('human-monitor-command', command_line='o /b 0x3f9 4')              # line status interrupts
        c.run('chardev-send-break', id='r')
        status = c.run('human-monitor-command', command_line='i /b 0x3fd')
        check(int(status.split('=')[1], 0) & 0x10, f'BREAK at the serial port: {status}')
        c.run('human-monitor-command', command_line='i /b 0x3f8')
        check('' == c.run('human-monitor-command', command_line='chardev-send-break r'), 'by the human monitor')
        status = c.run('human-monitor-command', command_line='i /b 0x3fd')
        check(int(status.split('=')[1], 0) & 0x10, f'BREAK again: {status}')


# ---- lines ----

# What reads as in QEMU, word by word.
LINES = ['info hotpluggable-cpus', 'info memory_size_summary', 'info numa', 'info block-jobs', 'info dump', 'info history', 'info status', 'info name', 'info uuid',
         'sum 0xf0000 65536', 'sum 0x400 300', 'sum 0 0', 'watchdog_action pause']


def test_lines(o):
    subprocess.run('qemu-img create -q -f qcow2 s.qcow2 4M; qemu-img snapshot -c first s.qcow2; qemu-img snapshot -c second s.qcow2', shell=True, check=True)
    args = ['-name', 'guest=n1', '-uuid', '11111111-2222-3333-4444-555555555555', '-cpu', 'qemu64', '-smp', '2,maxcpus=4,sockets=2,cores=2', '-object', 'iothread,id=io1', '-hda', 's.qcow2']
    texts, known = [], []
    for vmm in (o.vmm, o.qemu):
        with Vm(vmm, args, plain=('-display', 'none', '-m', '64', '-S')):
            c = Client('qmp')
            texts.append([c.run('human-monitor-command', command_line=line) for line in LINES])
            known.append([c.run('human-monitor-command', command_line=line) for line in ('help', 'help info', 'info')])
            if vmm == o.vmm:
                all_refused(c)
                lists(c)
            else:
                theirs = [line.split(' ')[0].split('|')[0] for line in known[1][0].splitlines() if line[:1].isalpha()]
                their_lists = [line.split(' ')[1] for line in known[1][1].splitlines() if line.startswith('info ')]
    for line, mine, other in zip(LINES, *texts):
        mine, other = (re.sub(r'device\[\d+\]', 'device', text) for text in (mine, other))          # between processors QEMU has their APICs
        equal(mine, other, line)
    equal(known[0][1], known[0][2], "'help info' is 'info'")
    check(len(theirs) > 90 and len(their_lists) > 60, f'{len(theirs)} commands, {len(their_lists)} lists of QEMU')
    document = open(os.path.join(o.source, 'docs/monitor.md')).read()
    with Vm(o.vmm, []):
        c = Client('qmp')
        for line in theirs + ['info ' + name for name in their_lists]:
            answer = c.run('human-monitor-command', command_line='help ' + line)
            check(answer.startswith(line.split(' ')[0]) or 'is not in this version: ' in answer, f'{line}: {answer}')
            check('not in this version' not in answer or f'`{line}`' in document, f'{line} is not in docs/monitor.md')


def all_refused(c):
    """A word too many is refused, and nothing happens."""
    say = lambda line: c.run('human-monitor-command', command_line=line)
    commands = [(line.split(' -- ')[0].split(' ')[0].split('|')[0], line.split(' -- ')[0].split(' ')[1:]) for line in say('help').splitlines()]
    lists = [('info ' + line.split(' ')[1], line.split(' -- ')[0].split(' ')[2:]) for line in say('info').splitlines()]
    check(len(commands) > 55 and len(lists) > 35, f'{len(commands)} commands, {len(lists)} lists')
    for name, words in commands + lists:
        if not words:
            check('nothing more' in say(name + ' surplus') or name == 'info', f'{name} surplus: {say(name + " surplus")}')
        check(say(name + ' 1 2 3 4 5 6 7 8 9 surplus').startswith('Error: ') or name in ('x', 'xp', 'print'), f'{name} with ten words')
    for line in ('log none now', 'logfile /dev/null now', 'gdbserver none now', 'sendkey a 1 now', 'help stop now', 'help info status now', 'info registers -a now', 'info qtree -v now', 'info status foo', 'info registers 9',
                 'cpu 0 now', 'quit 1 now', 'x 0 now', 'info registers foo', 'info qtree -x', 'chardev-send-break', 'ringbuf_read r', 'watchdog_action foo', 'sum 0', 'sum 0 1 2', 'announce_self a b c'):
        check(say(line).startswith('Error: '), f'{line}: {say(line)!r}')
    for line in ('savevm x', 'loadvm x', 'delvm x', 'migrate tcp:localhost:1', 'migrate -d x', 'info migrate', 'block_stream x', 'info spice', 'info tpm', 'wavcapture x'):
        check('is not in this version: ' in say(line), f'{line}: {say(line)!r}')
    check('did you mean' in say('inof') and 'did you mean' in say('info statsu') and 'did you mean' in say('help info statsu'), 'nearly right')
    check('paused' in say('info status') or 'prelaunch' in say('info status'), 'nothing has happened')
    equal(say('help info status'), 'info status -- whether the machine runs\r\n', 'help info status')
    check(re.fullmatch(r'addr=00000000fffc0000 size=0x040000 mem=rom name="bios-256k.bin"', say('info roms').splitlines()[0]), say('info roms'))
    check(re.search(r'^ +pc.ram +4 KiB  0x0{16} 0x0000000004000000 0x0000000004000000\r$', say('info ramblock'), re.M), say('info ramblock'))
    check('0000:00:02.0/vga.vram' in say('info ramblock') and 'pc.bios' in say('info ramblock'), say('info ramblock'))
    equal(say('info mtree').count('address-space:'), 2, 'two address spaces')


def lists(c):
    say = lambda line: c.run('human-monitor-command', command_line=line)
    check(re.fullmatch(r'memory backend: pc.ram\r\n  size:  67108864\r\n(  [a-z]+: (true|false)\r\n){5}  policy: default\r\n  host nodes: \r\n\r\n', say('info memdev')), say('info memdev'))
    check(re.fullmatch(r'io1:\r\n  thread_id=\d+\r\n(  [a-z-]+=0\r\n){4}', say('info iothreads')), say('info iothreads'))
    text = say('info snapshots')
    check(re.search(r'^1 +first +0 B +20\d\d-\d\d-\d\d \d\d:\d\d:\d\d +00:00:00.000\r\n2 +second ', text, re.M), text)
    check(c.run('human-monitor-command', command_line='info registers 1').startswith('\r\nCPU#1\r\n'), 'registers of the second processor')


def actions(c, schema):
    """What works must work alike: files and states."""
    c.run('screendump', filename='s.ppm')
    check(open('s.ppm', 'rb').read(2) == b'P6', 'a PPM')
    c.run('screendump', filename='s.png', format='png')
    check(open('s.png', 'rb').read(4) == b'\x89PNG', 'a PNG')
    c.run('pmemsave', val=0xffff0, size=16, filename='reset')
    check(open('reset', 'rb').read()[:1] == b'\xea', 'the reset vector is a far jump')
    c.run('memsave', val=0x400, size=4096, filename='m')
    equal(os.path.getsize('m'), 4096, 'memsave')
    c.run('send-key', keys=[{'type': 'qcode', 'data': 'ctrl'}, {'type': 'number', 'data': 0xd3}], hold_time=10)
    c.run('set_link', name='nic', up=False)
    c.run('inject-nmi')
    c.run('cont')
    c.run('input-send-event', events=[{'type': 'rel', 'data': {'axis': 'x', 'value': 5}}, {'type': 'btn', 'data': {'button': 'left', 'down': True}},
                                      {'type': 'key', 'data': {'down': True, 'key': {'type': 'number', 'data': 30}}}])
    c.run('stop')
    year = 0x42 if time.localtime().tm_year % 100 != 42 else 0x43
    for line in ('o /b 0x70 9', f'o /b 0x71 {year:#x}'):
        c.run('human-monitor-command', command_line=line)
    e = c.wait('RTC_CHANGE')
    check(schema.problem(schema.entries['RTC_CHANGE']['arg-type'], e, 'RTC_CHANGE') is None and abs(e['offset']) > 86400 * 300, f'RTC_CHANGE {e}')
    equal(c.run('qom-get', path=e['qom-path'], property='type'), 'mc146818rtc', 'the clock')
    viewer = socket.socket(socket.AF_UNIX)
    viewer.connect('vnc')
    viewer.recv(12)
    check(schema.problem(schema.entries['VNC_CONNECTED']['arg-type'], c.wait('VNC_CONNECTED'), 'VNC_CONNECTED') is None, 'VNC_CONNECTED')
    viewer.sendall(b'RFB 003.008\n')
    viewer.recv(2)
    viewer.sendall(b'\x01')
    viewer.recv(4)
    viewer.sendall(b'\x01')
    check(schema.problem(schema.entries['VNC_INITIALIZED']['arg-type'], c.wait('VNC_INITIALIZED'), 'VNC_INITIALIZED') is None, 'VNC_INITIALIZED')
    equal([(x['family'], x['websocket']) for x in c.run('query-vnc')['clients']], [('unix', False)], 'a client of VNC')
    viewer.close()
    check(schema.problem(schema.entries['VNC_DISCONNECTED']['arg-type'], c.wait('VNC_DISCONNECTED'), 'VNC_DISCONNECTED') is None, 'VNC_DISCONNECTED')
    equal(c.run('query-vnc')['clients'], [], 'no client of VNC')
    props = c.run('query-cpu-model-expansion', type='static', model={'name': 'qemu64', 'props': {'nx': False, 'family': 6}})['model']['props']
    equal([props[x] for x in ('nx', 'cx16', 'family', 'model', 'stepping')], [False, True, 6, 107, 1], 'qemu64,nx=off,family=6')
    c.run('netdev_add', type='user', id='n2', net='10.1.1.0/24')
    for visit in ('first', 'second'):
        c.run('device_add', driver='virtio-net-pci', id='hot', netdev='n2')
        kinds = {p['name']: p['type'] for p in c.run('qom-list', path='/machine/peripheral')}
        equal((kinds.get('hot'), kinds.get('bal')), ('child<virtio-net-pci>', 'child<virtio-balloon-pci>'), 'a card came')
        hot = re.search('hot: .*', c.run('human-monitor-command', command_line='info network')).group()
        check('link=off' not in hot, f'the {visit} card has its cable: {hot}')
        c.run('set_link', name='hot', up=False)
        c.run('device_del', id='hot')
        c.run('system_reset')                     # no guest is there to let go of it
        equal(c.wait('DEVICE_DELETED'), {'path': '/machine/peripheral/hot/virtio-backend'}, 'a part of it went')
        equal(c.wait('DEVICE_DELETED'), {'device': 'hot', 'path': '/machine/peripheral/hot'}, 'it went')
    c.run('netdev_del', id='n2')
    open('other.iso', 'wb').write(bytes(4096))
    c.run('blockdev-change-medium', device='cd', filename='other.iso', format='raw')
    cd = {b['device']: b for b in c.run('query-block')}['cd']
    equal((cd['removable'], cd['inserted']['file'], cd['inserted']['image']['virtual-size'], cd['inserted']['ro']), (True, 'other.iso', 4096, True), 'another medium')
    c.run('eject', device='cd', force=True)
    check('inserted' not in {b['device']: b for b in c.run('query-block')}['cd'], 'no medium')


# ---- the empty machine ----

def test_empty(o):
    """As libvirt starts it; the parent is done when the socket listens and the number is written."""
    for extra in ('accel=kvm:tcg', 'accel=tcg'):
        subprocess.run([o.vmm.split()[0], '-S', '-no-user-config', '-nodefaults', '-nographic', '-machine', 'none,' + extra, '-qmp', 'unix:s,server=on,wait=off',
                        '-pidfile', 'pid', '-daemonize'], check=True, stdin=subprocess.DEVNULL, capture_output=True, timeout=60)
        pid = int(open('pid').read())
        try:
            every_command(Client('s'))
            Client('s').run('query-status')
        finally:
            os.kill(pid, signal.SIGTERM)
        for _ in range(1200):
            if not os.path.exists('pid'):
                break
            time.sleep(0.05)
        check(not os.path.exists('pid'), 'it ended, and its number is gone')


def every_command(c):
    names = [x['name'] for x in c.run('query-commands')]
    answers = {n: c.raw({'execute': n}) for n in names if n not in ('quit', 'qmp_capabilities')}
    for n, a in answers.items():
        check('return' in a or a['error']['class'] in ('GenericError', 'DeviceNotActive', 'DeviceNotFound'), f'{n}: {a}')
    for n in ('query-block', 'query-cpus-fast', 'query-pci', 'query-mice', 'query-machines', 'query-kvm', 'query-cpu-definitions'):
        check('return' in answers[n], f'{n}: {answers[n]}')
    for line in c.run('human-monitor-command', command_line='info').splitlines():
        c.run('human-monitor-command', command_line=line.split()[0] + ' ' + line.split()[1])
    for line in ('info registers', 'info mem', 'x /4 0', 'xp /4 0', 'memsave 0 16 m', 'device_add usb-tablet', 'device_add virtio-blk-pci,drive=x', 'netdev_add user,id=n',
                 'drive_add 0 if=none,id=d,file=s', 'screendump x', 'sendkey a', 'mouse_set 0', 'system_powerdown', 'gdbserver none', 'o 0x70 1', 'i 0x70', 'commit all'):
        c.run('human-monitor-command', command_line=line)


# ---- manual ----

def test_manual(o):
    text = open(os.path.join(o.source, 'docs/monitor.md')).read()
    page = open(os.path.join(o.build, 'docs/man/ospite-qmp.7')).read().replace('\\-', '-')
    with Vm(o.vmm, []):
        c = Client('qmp')
        for name in c.run('query-commands'):
            check(f'\\fB{name["name"]}\\fR\n' in page, f'{name["name"]} in ospite-qmp(7)')
        for line in c.run('human-monitor-command', command_line='help').splitlines():
            check(f'`{line.split(" ")[0].split("|")[0]}' in text, f'{line!r} in docs/monitor.md')
        for line in c.run('human-monitor-command', command_line='info').splitlines():
            check(f'`{line.split(" ")[1]}' in text, f'{line!r} in docs/monitor.md')


# ---- help ----

def test_help(o):
    """Who asks for help where it cannot be given is refused, and nothing else comes over a QMP that is the program's standard output."""
    asked = [('device_add', {'driver': 'help'}), ('device_add', {'driver': '?'}), ('device_add', {'driver': 'usb-tablet', 'help': 'on'}), ('netdev_add', {'type': 'help', 'id': 'n'}),
             ('device_add', {'driver': 'virtio-blk-pci', 'help': 'on'}), ('device_add', {'driver': 'e1000', 'help': 'on'}), ('object-add', {'qom-type': 'help', 'id': 'r'})]
    lines = ['device_add help', 'device_add ?', 'device_add usb-tablet,help', 'device_add virtio-net-pci,help', 'netdev_add help', 'chardev-add help', 'object_add help',
             'object_add rng-builtin,help', 'drive_add 0 help', 'drive_add 0 if=none,help']
    requests = [{'execute': name, 'arguments': args, 'id': i} for i, (name, args) in enumerate(asked)]
    requests += [{'execute': 'human-monitor-command', 'arguments': {'command-line': line}, 'id': line} for line in lines]
    text = '\n'.join(json.dumps(r) for r in [{'execute': 'qmp_capabilities'}, *requests, {'execute': 'quit'}])
    p = subprocess.run([*o.vmm.split(), '-display', 'none', '-m', '16', '-S', '-usb', '-qmp', 'stdio'], input=text, capture_output=True, text=True, timeout=60)
    answers = {}
    for line in p.stdout.splitlines():
        try:
            m = json.loads(line)
            if 'id' in m:
                answers[m['id']] = m
        except ValueError:
            check(False, f'not QMP: {line!r}')
    for r in requests:
        m = answers.get(r['id'], {})
        check('error' in m if r['execute'] != 'human-monitor-command' else m.get('return', '').startswith('Error: '), f'{r}: {m}')
    equal(p.returncode, 0, p.stderr)


# ---- hostile ----

def test_hostile(o):
    rng = random.Random(o.seed)
    with Vm(o.vmm, []) as vm:
        c = Client('qmp')
        c.run('query-qmp-schema')
        before = vm.memory_kib()
        deep = Client.__new__(Client)
        for text in (b'[' * 100000, b'{"a":' * 100000, b'{"a":[' * 3000 + b']}' * 3000, b'"' + b'a' * (64 << 20) + b'"', b'{"execute":"' + b'x' * (64 << 20) + b'"}',
                     b'9' * (1 << 20) + b'\n', b'[' + b'1,' * 100000 + b'1]', b'{"execute":' + b'9' * 1000 + b'}', b'{"id":1e999999}', b'[' + b'{},' * 60000 + b'{}]'):
            c.close()
            c = Client('qmp', seconds=120)
            c.s.settimeout(120)
            c.send(text)
            c.s.shutdown(socket.SHUT_WR) if text[:3] == b'[[[' else c.send(b'\n')
            if text[:3] == b'[[[' or text.startswith(b'{"a":' * 100):
                continue                          # not complete: no answer is due
            check('error' in c.answer(), f'{text[:40]}')
        del deep
        c.close()
        c = Client('qmp')
        for _ in range(3000):                     # bytes of all kinds
            c.send(bytes(rng.choice(b'{}[]",:\'\\ \n\r\t0123456789.eE+-abcxyz\x00\x01\x7f\xff\xc3') for _ in range(rng.randrange(1, 60))) + b'\n')
            if rng.random() < 0.1:
                c.close()
                c = Client('qmp')
        c.close()
        every_line(rng)
        never_reads(rng, vm)
        c = Client('qmp')
        equal(c.run('query-status')['status'] in ('prelaunch', 'paused', 'running'), True, 'status')
        grown = vm.memory_kib() - before
        print(f'memory grew by {grown} KiB')
        check(grown < 48 * 1024 or b'asan' in open(f'/proc/{vm.process.pid}/maps', 'rb').read(), f'memory grew by {grown} KiB')
        c.run('quit')
        vm.ended(0)


def every_line(rng):
    """Each command of the human monitor, each 'info', with arguments that nobody means: answered, by a machine that lives."""
    words = ['', '-1', '0', '18446744073709551616', '18446744073709551615', '0x8000000000000000', '1/0', '-9223372036854775808%-1', '((((', '$rip', '$', '"', '""', '"a b" c', '%s%n%s%n', '-f',
             '/x', '/99999999xb 0', '/i', '/-1i 0', '\u00e9\u20ac', "'", ',', '=', 'a=b,c=d,,e', 'id=x', '{', '{}', '{"driver":5}', 'file=', 'x' * 3000, 'y ' * 30, '-' * 200, '1 2 3', '1 2 3 4 5 6 7',
             '0 1', '/dev/null', '/dev/full', '/nonexistent/x', 'none', 'all', 'on', 'help', '?', 'floppy0 /nonexistent', 'ide1-cd0 "" raw', 'vnc', 'vnc x', 'a-b-c-d-e-f-g-h-i-j-k-l-m-n-o-p-q-r-s-t']
    c = Client('qmp', seconds=120)
    c.s.settimeout(120)
    say = lambda line: c.run('human-monitor-command', command_line=line)
    names = [line.split(' ')[0].split('|')[0] for line in say('help').splitlines()]
    names += ['info ' + line.split(' ')[1] for line in say('info').splitlines()]
    check(len(names) > 60, f'{len(names)} commands')
    with tempfile.TemporaryDirectory(dir='.') as d:
        for name in names:
            for word in words:
                if name == 'quit' and not word.startswith(('$', '1/0', '(', '"')) or name in ('log', 'logfile') or (name == 'gdbserver' and word == ''):
                    continue
                if name in ('memsave', 'pmemsave', 'dump-guest-memory', 'screendump') and '/' not in word:
                    word = f'{word} {d}/file'
                if name == 'quit' and word in ('$rip', '""'):
                    continue
                check(isinstance(say(f'{name} {word}'), str), f'{name} {word[:40]}')
            say('cont')
    for _ in range(500):
        say(' '.join([rng.choice(names).replace('quit', 'stop'), *(rng.choice(words) for _ in range(rng.randrange(4)))])[:3500])
    say('gdbserver none')
    c.close()


def never_reads(rng, vm):
    """Commands and events without end for a client that does not read: it is held back, others are not."""
    s = socket.socket(socket.AF_UNIX)
    s.connect('qmp')
    s.sendall(b'{"execute":"qmp_capabilities"}\n')
    s.setblocking(False)
    sent, stalled = 0, 0
    while stalled < 40 and sent < (256 << 20):
        try:
            sent += s.send(b'{"execute":"query-qmp-schema"}\n' * 500)
            stalled = 0
        except BlockingIOError:
            stalled += 1
            time.sleep(0.05)
    check(stalled == 40, 'a client that does not read is read from without end')
    s.close()


def main():
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument('--vmm', required=True)
    p.add_argument('--qemu', default='qemu-system-x86_64 -accel tcg')
    p.add_argument('--source', default=os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__)))))
    p.add_argument('--build', default='build')
    p.add_argument('--seed', type=int, default=1)
    p.add_argument('tests', nargs='*', default=['protocol', 'schema', 'empty', 'filters', 'shapes', 'small', 'errors', 'lines', 'help', 'hostile'])
    o = p.parse_args()
    o.build = os.path.abspath(o.build)
    print(f'seed {o.seed}')
    with tempfile.TemporaryDirectory() as d:
        os.chdir(d)
        skipped = 0
        try:
            for t in o.tests:
                for name in os.listdir('.'):
                    os.unlink(name)
                try:
                    globals()[f'test_{t}'](o)
                except Skip as e:
                    print(f'SKIP: {t}: {e}')
                    skipped = 77
        except Failure as e:
            print(f'FAIL: {e}')
            return 1
        finally:
            os.chdir('/')
    print(f'{checks} checks')
    return skipped


if __name__ == '__main__':
    sys.exit(main())
