#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0-or-later
"""Boots a guest in a virtual machine monitor and waits for what it says.

As a library: Machine(vmm, args) starts one; serial(re) and screen(re) wait, send(text) types into the serial port,
command(line) asks the monitor, end() waits for its exit status. Every wait has a limit; a machine that is left behind
is killed. vmm is build/ospite or a qemu-system-x86_64, which serves as a stand-in and as an oracle.

As a program: boot.py --vmm CMD [--serial RE]... [--screen RE]... [--send RE=>TEXT]... [--status N] [--timeout S] -- ARGS
prints PASS or FAIL with the time; exit status 0 or 1."""
import argparse
import os
import re
import shutil
import socket
import subprocess
import sys
import tempfile
import time
sys.path.append(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
import leash            # noqa: E402, F401


class Failure(Exception):
    pass


class Machine:
    def __init__(self, vmm, args, timeout=120, serial=True, log=None):
        self.dir = tempfile.mkdtemp(prefix='ospite-boot-')
        self.deadline = time.time() + timeout
        self.start = time.time()
        self.text = ''
        self.seen = 0
        self.log = log
        self.is_qemu = 'qemu-system' in os.path.basename(vmm.split()[0])
        self.prompt = '(qemu) ' if self.is_qemu else '(ospite) '
        command = vmm.split() + ['-display', 'none', '-monitor', f'unix:{self.dir}/mon,server=on,wait=off']
        command += ['-serial', f'unix:{self.dir}/ser,server=on' if serial else 'null']
        self.errors = open(f'{self.dir}/stderr', 'w+')
        self.process = subprocess.Popen(command + args, stdin=subprocess.DEVNULL, stderr=self.errors, stdout=self.errors)
        self.line = self.connect('ser') if serial else None
        self.monitor = None
        self.bad = None                        # what it must never say, for serial() that is not told

    def __enter__(self):
        return self

    def __exit__(self, kind, value, trace):
        if self.process.poll() is None:
            self.process.kill()
            self.process.wait()
        if kind and self.log:
            with open(self.log, 'w') as f:
                f.write(self.text + '\n--- stderr ---\n' + self.stderr())
        self.errors.close()
        shutil.rmtree(self.dir, ignore_errors=True)

    def stderr(self):
        self.errors.flush()
        return open(f'{self.dir}/stderr').read()

    def seconds(self):
        return time.time() - self.start

    def fail(self, why):
        tail = self.text[-1500:].strip()
        raise Failure(f'{why}\n--- serial, its end ---\n{tail}\n--- stderr ---\n{self.stderr()[-1500:]}')

    def ended(self, before):
        """The serial line is closed: how the process ended, as far as it has."""
        try:
            how = f'with status {self.process.wait(10)}'
        except subprocess.TimeoutExpired:
            how = 'its serial line, and runs on,'
        self.fail(f'the machine ended {how} before {before}')

    def connect(self, name):
        while True:
            try:
                s = socket.socket(socket.AF_UNIX)
                s.connect(f'{self.dir}/{name}')
                s.settimeout(0.1)
                return s
            except OSError:
                if self.process.poll() is not None:
                    self.fail(f'it ended at once with status {self.process.returncode}')
                if time.time() > self.deadline:
                    self.fail(f'no socket {name}')
                time.sleep(0.02)

    def pump(self):
        """Takes what the serial port has; False when the machine is gone and nothing is left."""
        try:
            data = self.line.recv(65536)
        except socket.timeout:
            return True
        except OSError:
            data = b''
        self.text += data.decode('utf-8', 'replace')
        return bool(data)

    def serial(self, pattern, bad=None, again=None):
        """Waits for pattern behind what was matched last; returns the match. Fails if what matches bad comes before it. again is sent whenever nothing has come
        for a minute: a message of the kernel may have cut a prompt, which is then given once more."""
        bad, size, since = bad or self.bad, 0, time.time()
        while True:
            if len(self.text) != size:
                size, since = len(self.text), time.time()
            elif again and time.time() > since + 60:
                self.send(again)
                since = time.time()
            m = re.search(pattern, self.text[self.seen:], re.S)
            wrong = bad and re.search(f'(?:{bad})[^\r\n]*', self.text[self.seen:self.seen + m.start()] if m else self.text[self.seen:])
            if wrong:
                self.fail(f'the serial port says {wrong.group(0)!r}')
            if m:
                self.seen += m.end()
                return m
            if not self.pump():
                self.ended(f'{pattern!r}')
            if time.time() > self.deadline:
                self.fail(f'time is over while waiting for {pattern!r} on the serial port')

    def send(self, text):
        self.line.sendall(text.encode())

    def command(self, text):
        """One line to the monitor; its answer."""
        if not self.monitor:
            self.monitor = self.connect('mon')
            self.answer()
        self.monitor.sendall(text.encode() + b'\n')
        return self.answer()

    def answer(self):
        got = ''
        while not got.endswith(self.prompt):
            try:
                data = self.monitor.recv(65536)
            except socket.timeout:
                data = None
            if data == b'':
                self.fail('the monitor is gone')
            if data:
                got += data.decode('utf-8', 'replace')
            if time.time() > self.deadline:
                self.fail(f'the monitor does not answer; it said {got[-300:]!r}')
            if self.line:
                try:
                    self.line.settimeout(0)
                    self.pump()
                except BlockingIOError:
                    pass
                finally:
                    self.line.settimeout(0.1)
        return got[:-len(self.prompt)].replace('\r', '')

    def screen_text(self):
        if not self.is_qemu:
            return self.command('screen')
        dump = self.command('xp /4000xb 0xb8000')
        dump = ''.join(re.findall(r'^[0-9a-f]{16}:(.*)', dump, re.M))    # without the echo of the command
        cells = [int(x, 16) for x in re.findall(r' 0x([0-9a-f]{2})\b', dump)][::2]
        text = ''.join(chr(c) if 32 <= c < 127 else ' ' for c in cells)
        return '\n'.join(text[i:i + 80].rstrip() for i in range(0, len(text), 80))

    def screen(self, pattern):
        while True:
            text = self.screen_text()
            m = re.search(pattern, text, re.S)
            if m:
                return m
            if self.process.poll() is not None:
                self.ended(f'{pattern!r} was on the screen')
            if time.time() > self.deadline:
                self.fail(f'time is over while waiting for {pattern!r} on the screen, which shows:\n{text}')
            time.sleep(0.3)

    def end(self):
        """Waits until the process ends; its exit status."""
        while self.process.poll() is None:
            if self.line and not self.pump():
                time.sleep(0.02)
            if not self.line:
                time.sleep(0.02)
            if time.time() > self.deadline:
                self.fail('time is over while waiting for its end')
        while self.line and self.pump() and time.time() < self.deadline:
            pass
        return self.process.returncode


def main():
    argv, args = sys.argv[1:], []
    if '--' in argv:
        at = argv.index('--')
        argv, args = argv[:at], argv[at + 1:]
    p = argparse.ArgumentParser(usage=__doc__)
    p.add_argument('--vmm', default='build/ospite')
    p.add_argument('--serial', action='append', default=[])
    p.add_argument('--screen', action='append', default=[])
    p.add_argument('--send', action='append', default=[])
    p.add_argument('--status', type=int)
    p.add_argument('--timeout', type=float, default=120)
    a = p.parse_args(argv)
    try:
        with Machine(a.vmm, args, a.timeout) as m:
            for item in a.send:
                pattern, text = item.split('=>', 1)
                m.serial(pattern)
                m.send(text.encode().decode('unicode_escape'))
            for pattern in a.serial:
                m.serial(pattern)
            for pattern in a.screen:
                m.screen(pattern)
            if a.status is not None and m.end() != a.status:
                m.fail(f'it ended with status {m.process.returncode}, not {a.status}')
            print(f'PASS {m.seconds():.1f} s')
    except Failure as why:
        print(f'FAIL {why}')
        sys.exit(1)


if __name__ == '__main__':
    main()
