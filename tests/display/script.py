# SPDX-License-Identifier: GPL-2.0-or-later
"""Scripts for the boot sector script.S, and machines that carry them out: ours and QEMU."""
import contextlib, os, resource, shutil, socket, struct, subprocess, sys, time
sys.path.append(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
import leash            # noqa: E402, F401

SECTORS = 120


class Script:
    def __init__(self):
        self.data = b''

    def out(self, port, value):
        self.data += struct.pack('<BHB', 1, port, value)

    def outw(self, port, value):
        self.data += struct.pack('<BHH', 2, port, value)

    def inp(self, port):
        self.data += struct.pack('<BH', 3, port)

    def bios(self, ax, bx=0, cx=0, dx=0):
        self.data += struct.pack('<BHHHH', 4, ax, bx, cx, dx)

    def random(self, segment, offset, words, seed):
        self.data += struct.pack('<BHHHH', 5, segment, offset, words & 0xffff, seed)

    def counted(self, segment, offset, words, first, step):
        self.data += struct.pack('<BHHHHH', 6, segment, offset, words & 0xffff, first, step & 0xffff)

    def copy(self, segment, to, count, source):
        self.data += struct.pack('<BHHHH', 7, segment, to, count, source)

    def sync(self):
        self.data += b'\x08'

    # ---- registers ----

    def seq(self, index, value):
        self.outw(0x3c4, value << 8 | index)

    def gfx(self, index, value):
        self.outw(0x3ce, value << 8 | index)

    def crtc(self, index, value):
        self.outw(0x3d4, value << 8 | index)

    def attr(self, index, value):
        self.inp(0x3da)
        self.out(0x3c0, index)
        self.out(0x3c0, value)
        self.out(0x3c0, 0x20)

    def vbe(self, index, value):
        self.outw(0x1ce, index)
        self.outw(0x1d0, value)

    def palette(self, values):
        self.out(0x3c8, 0)
        for v in values:
            self.out(0x3c9, v)

    def image(self, boot):
        body = self.data + b'\0'
        assert len(body) <= SECTORS * 512, f'a script of {len(body)} bytes'
        return open(boot, 'rb').read() + body.ljust((SECTORS + 2048) * 512, b'\0')


class Machine:
    """name: for messages. args end up with -hda, a monitor and COM1 on Unix sockets."""
    def __init__(self, name, command, image, where, prompt):
        self.name, self.where, self.prompt = name, where, prompt
        self.process = subprocess.Popen([*command, '-display', 'none', '-net', 'none', '-drive', f'file={image},format=raw,if=ide,snapshot=on',
                                         '-monitor', f'unix:{where}/{name}.mon,server=on,wait=off',
                                         '-serial', f'unix:{where}/{name}.com,server=on'], stdin=subprocess.DEVNULL)
        self.serial = self.connect(f'{where}/{name}.com')
        self.monitor = self.connect(f'{where}/{name}.mon')
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
                    raise SystemExit(f'{self.name} ended with status {self.process.returncode}')
                time.sleep(0.02)
        raise SystemExit(f'{self.name}: no {path}')

    def answer(self):
        got = b''
        while not got.endswith(self.prompt):
            data = self.monitor.recv(65536)
            if not data:
                raise SystemExit(f'{self.name} is gone')
            got += data
        return got.decode(errors='replace')

    def command(self, line):
        self.monitor.sendall(line.encode() + b'\n')
        return self.answer()

    def sync(self):
        while True:
            got = self.serial.recv(1)
            if not got:
                raise SystemExit(f'{self.name} is gone')
            if got == b'S':
                return

    def go_on(self):
        self.serial.sendall(b'x')

    @contextlib.contextmanager
    def without_descriptors(self):
        """It can open no more files meanwhile."""
        limit = resource.prlimit(self.process.pid, resource.RLIMIT_NOFILE)
        resource.prlimit(self.process.pid, resource.RLIMIT_NOFILE, (3, limit[1]))
        try:
            yield
        finally:
            resource.prlimit(self.process.pid, resource.RLIMIT_NOFILE, limit)

    def cpu_s(self):
        f = open(f'/proc/{self.process.pid}/stat').read().rsplit(')', 1)[1].split()
        return (int(f[11]) + int(f[12])) / os.sysconf('SC_CLK_TCK')

    def picture(self):
        """(width, height, pixels) of a screen dump."""
        path = f'{self.where}/{self.name}.ppm'
        answer = self.command(f'screendump {path}')
        if 'Error' in answer:
            raise SystemExit(f'{self.name}: {answer}')
        return ppm_read(path)

    def end(self):
        self.process.kill()
        self.process.wait()


def ppm_read(path):
    data = open(path, 'rb').read()
    kind, size, most, pixels = data.split(b'\n', 3)
    width, height = map(int, size.split())
    assert kind == b'P6' and most == b'255' and len(pixels) == width * height * 3, path
    return width, height, pixels


def ours(ospite, image, where, args=()):
    return Machine('ospite', [ospite, '-accel', 'bt', '-m', '32', *args], image, where, b'(ospite) ')


def theirs(image, where, args=()):
    if not shutil.which('qemu-system-x86_64'):
        print('skipped: qemu-system-x86_64 is not installed, there is nothing to compare with')
        sys.exit(77)
    return Machine('qemu', ['qemu-system-x86_64', '-machine', 'pc', '-accel', 'tcg', '-m', '32', *args], image, where, b'(qemu) ')
