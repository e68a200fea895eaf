# SPDX-License-Identifier: GPL-2.0-or-later
"""A person at a VNC viewer: looks at a machine's screen, waits until it stays as it is, presses keys, clicks, and keeps pictures as PNG."""
import os
import sys
import time
import zlib

sys.path.append(os.path.join(os.path.dirname(os.path.dirname(os.path.abspath(__file__))), 'display'))
from rfb import EXT_SIZE, ZRLE, Client         # noqa: E402


def png(path, width, height, rgb):
    def chunk(kind, data):
        return len(data).to_bytes(4, 'big') + kind + data + zlib.crc32(kind + data).to_bytes(4, 'big')
    rows = b''.join(b'\0' + rgb[y * width * 3:(y + 1) * width * 3] for y in range(height))
    with open(path, 'wb') as f:
        f.write(b'\x89PNG\r\n\x1a\n' + chunk(b'IHDR', width.to_bytes(4, 'big') + height.to_bytes(4, 'big') + b'\x08\x02\0\0\0')
                + chunk(b'IDAT', zlib.compress(rows, 1)) + chunk(b'IEND', b''))


class Screen:
    """A VNC viewer that looks at the machine and leaves pictures."""
    def __init__(self, a, m, address, name):
        self.m, self.folder, self.name, self.count = m, a.bin, name, 0
        self.c = None
        while not self.c:
            try:
                self.c = Client(address)
            except (FileNotFoundError, ConnectionRefusedError):            # its path is there a moment before it listens
                if m.process.poll() is not None or time.time() > m.deadline:
                    m.fail('it does not open its VNC server')
                time.sleep(0.05)
        self.c.set_encodings(ZRLE, EXT_SIZE)
        self.c.request(0)

    def look(self, seconds):
        """Takes updates for so long."""
        end = time.time() + seconds
        while time.time() < end:
            if self.c.waits(min(0.2, max(0.0, end - time.time()))):
                n = self.c.updates
                self.c.message()
                if self.c.updates != n:
                    self.c.request()
            self.drain()

    def drain(self):
        if self.m.line:
            self.m.line.settimeout(0.001)
            self.m.pump()
            self.m.line.settimeout(0.1)

    def keep(self, stage):
        self.count += 1
        png(os.path.join(self.folder, f'{self.name}-{self.count:02}-{stage}.png'), self.c.width, self.c.height, bytes(self.c.pixels))

    def share(self, color):
        """How much of the picture has this colour."""
        p = bytes(self.c.pixels)
        same = sum(1 for r, g, b in zip(p[0::3], p[1::3], p[2::3]) if (r, g, b) == color)
        return same / max(1, len(p) // 3)

    def settled(self, seconds=3.0, other_than=None):
        """Waits until the picture stays as it is for so long, and is another one; returns it."""
        last, since = None, time.time()
        while True:
            self.look(0.3)
            now = bytes(self.c.pixels)
            if now != last:
                last, since = now, time.time()
            if time.time() - since >= seconds and now != other_than:
                return now
            if time.time() > self.m.deadline:
                self.m.fail(f'{self.name}: the picture does not change any more, or does not stay')

    def key(self, keysym):
        self.c.key(keysym, 1)
        self.c.key(keysym, 0)

    def type(self, text, pause=0.02):
        for c in text:
            self.key(0xff0d if c == '\n' else ord(c))
            self.look(pause)

    def click(self, x, y):
        for buttons in (0, 1, 0):
            self.c.pointer(buttons, x, y)
            self.look(0.3)
