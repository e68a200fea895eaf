# SPDX-License-Identifier: GPL-2.0-or-later
"""Two machines that are poked alike: ospite through its monitor (held before its first instruction by -S) and gdb stub,
QEMU through qtest. Pair.inb/out... do both and count differences; .ours and .theirs are the machines alone."""
import os, shutil, socket, subprocess, sys, tempfile, time
sys.path.append(os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__)))))
import leash            # noqa: E402, F401

SKIP = 77


class Ospite:
    def __init__(self, program, args, where):
        self.process = subprocess.Popen([program, '-accel', 'bt', '-S', '-display', 'none', '-serial', 'null', '-net', 'none', '-monitor',
                                         f'unix:{where}/mon,server=on,wait=off', '-gdb', f'unix:{where}/gdb,server=on,wait=off', *args],
                                        stdin=subprocess.DEVNULL)
        self.monitor = self.connect(where + '/mon')
        self.gdb = self.connect(where + '/gdb')
        self.answer()

    def connect(self, path):
        end = time.time() + 60
        while time.time() < end:
            s = socket.socket(socket.AF_UNIX)
            try:
                s.connect(path)
                s.settimeout(120)
                return s
            except OSError:
                if self.process.poll() is not None:
                    raise SystemExit(f'ospite ended with status {self.process.returncode}')
                time.sleep(0.02)
        raise SystemExit('ospite has no monitor')

    def answer(self):
        got = b''
        while not got.endswith(b'(ospite) '):
            data = self.monitor.recv(65536)
            if not data:
                raise SystemExit('ospite is gone')
            got += data
        return got.decode()[:-9]

    def command(self, line):
        self.monitor.sendall(line.encode() + b'\n')
        return self.answer()

    def read(self, port, size):
        return int(self.command(f'i /{"_bh_w"[size]} {port:#x}').split('=')[1], 16)

    def write(self, port, value, size):
        text = self.command(f'o /{"_bh_w"[size]} {port:#x} {value:#x}')
        if text:
            raise SystemExit(f'o {port:#x} {value:#x}: {text}')

    def packet(self, text):
        body = text.encode()
        self.gdb.sendall(b'$' + body + b'#%02x' % (sum(body) & 255))
        got = b''
        while True:
            got += self.gdb.recv(65536)
            start = got.find(b'$')
            end = got.find(b'#', start)
            if start >= 0 and end > 0 and len(got) >= end + 3:
                self.gdb.sendall(b'+')
                return got[start + 1:end].decode()

    def memory_write(self, address, data):
        for at in range(0, len(data), 1024):
            piece = data[at:at + 1024]
            if self.packet(f'M{address + at:x},{len(piece):x}:{piece.hex()}') != 'OK':
                raise SystemExit(f'gdb stub: no write at {address + at:#x}')

    def memory_read(self, address, size):
        return b''.join(bytes.fromhex(self.packet(f'm{address + at:x},{min(1024, size - at):x}')) for at in range(0, size, 1024))

    def end(self):
        self.process.kill()
        self.process.wait()


class Qemu:
    def __init__(self, args):
        self.process = subprocess.Popen(['qemu-system-x86_64', '-machine', 'pc,accel=tcg', '-S', '-qtest', 'stdio', '-qtest-log', '/dev/null', '-display', 'none', '-nodefaults',
                                         '-vga', 'std', '-net', 'none', *args], stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL)

    def ask(self, line):
        self.process.stdin.write(line.encode() + b'\n')
        self.process.stdin.flush()
        while True:
            answer = self.process.stdout.readline().decode()
            if answer.startswith('OK'):
                return answer[3:].strip()
            if not answer or answer.startswith('FAIL'):
                raise SystemExit(f'qemu: {line}: {answer!r}')

    def read(self, port, size):
        return int(self.ask(f'in{"_bw_l"[size]} {port:#x}'), 16)

    def write(self, port, value, size):
        self.ask(f'out{"_bw_l"[size]} {port:#x} {value:#x}')

    def memory_write(self, address, data):
        self.ask(f'write {address:#x} {len(data):#x} 0x{data.hex()}')

    def memory_read(self, address, size):
        return bytes.fromhex(self.ask(f'read {address:#x} {size:#x}')[2:])

    def end(self):
        self.process.kill()
        self.process.wait()


class Pair:
    def __init__(self, program, ours=(), theirs=()):
        if not shutil.which('qemu-system-x86_64'):
            print('skipped: qemu-system-x86_64 is not installed, there is nothing to compare with')
            sys.exit(SKIP)
        self.where = tempfile.mkdtemp()
        self.ours, self.theirs = Ospite(program, ours, self.where), Qemu(theirs)
        self.checks = self.failures = 0

    def check(self, ok, what):
        self.checks += 1
        if not ok:
            self.failures += 1
            if self.failures < 40:
                print('differs:', what)
        return ok

    def out(self, port, value, size=1):
        self.ours.write(port, value, size)
        self.theirs.write(port, value, size)

    def inp(self, port, size=1, mask=0xffffffff, what=''):
        a, b = self.ours.read(port, size), self.theirs.read(port, size)
        self.check((a ^ b) & mask == 0, f'{what} port {port:#x}/{size}: {a:#x}, qemu {b:#x}')
        return a

    def memory_write(self, address, data):
        self.ours.memory_write(address, data)
        self.theirs.memory_write(address, data)

    def memory(self, address, size, what=''):
        a, b = self.ours.memory_read(address, size), self.theirs.memory_read(address, size)
        self.check(a == b, f'{what} memory at {address:#x}: ' + next((f'+{i:#x} {x:#x}, qemu {y:#x}' for i, (x, y) in enumerate(zip(a, b)) if x != y), ''))
        return a

    def end(self, name):
        self.ours.end()
        self.theirs.end()
        shutil.rmtree(self.where)
        print(f'{name}: {self.checks} values compared with qemu, {self.failures} differ')
        return self.failures != 0
