# SPDX-License-Identifier: GPL-2.0-or-later
"""A VNC client that keeps the picture: Raw, ZRLE and Tight (without JPEG), any pixel format, plain or through a websocket.
Written from RFC 6143 and rfbproto, so that it judges our server rather than repeats it. DES is OpenSSL's, by the program."""
import base64, hashlib, os, socket, struct, subprocess, time, zlib

RAW, TIGHT, ZRLE, SIZE, EXT_SIZE, EXT_KEY, POINTER = 0, 7, 16, -223, -308, -258, -257
RGB888 = (32, 24, 0, 1, 255, 255, 255, 16, 8, 0)
RGB565 = (16, 16, 0, 1, 31, 63, 31, 11, 5, 0)
RGB332 = (8, 8, 0, 1, 7, 7, 3, 0, 3, 6)
BGR888_BIG = (32, 24, 1, 1, 255, 255, 255, 8, 16, 24)


class Closed(Exception):
    pass


def des(password, challenge):
    key = bytes(int(f'{b:08b}'[::-1], 2) for b in password.encode()[:8].ljust(8, b'\0'))
    # One DES is three with the same key; OpenSSL 3 has no single one without its legacy provider.
    r = subprocess.run(['openssl', 'enc', '-des-ede3', '-K', (key * 3).hex(), '-nopad'], input=challenge, capture_output=True, check=True)
    return r.stdout


class Client:
    def __init__(self, address, password=None, shared=1, version=b'RFB 003.008\n', web=False, timeout=60, begin=True):
        if isinstance(address, str):
            self.s = socket.socket(socket.AF_UNIX)
        else:
            self.s = socket.socket()
        self.timeout = timeout
        self.s.settimeout(timeout)
        self.connect(address, time.time() + timeout)
        self.web, self.buffer, self.frame_left = False, b'', 0
        if web:
            self.upgrade()
        self.z = [zlib.decompressobj() for _ in range(4)]
        self.zrle_z = zlib.decompressobj()
        self.format, self.keys_ok, self.sizes, self.updates, self.rects = RGB888, False, 0, 0, 0
        self.bytes = 0
        if not begin:
            return
        assert self.read(12) == b'RFB 003.008\n'
        self.send(version)
        minor = int(version[8:11])
        if minor < 7:
            kind = struct.unpack('>I', self.read(4))[0]
        else:
            kinds = self.read(self.u8())
            kind = 2 if password is not None and 2 in kinds else kinds[0]
            self.send(bytes([kind]))
        if kind == 2:
            self.send(des(password or '', self.read(16)))
        if kind == 2 or minor >= 8:
            if struct.unpack('>I', self.read(4))[0]:
                raise PermissionError(self.read(struct.unpack('>I', self.read(4))[0]).decode() if minor >= 8 else 'refused')
        self.send(bytes([shared]))
        self.width, self.height = struct.unpack('>HH', self.read(4))
        self.server_format = struct.unpack('>BBBBHHHBBB3x', self.read(16))
        self.name = self.read(struct.unpack('>I', self.read(4))[0]).decode()
        self.pixels = bytearray(self.width * self.height * 3)

    def connect(self, address, end):
        while True:
            try:
                return self.s.connect(address)
            except BlockingIOError:                            # a Unix socket's queue of those who come is full
                if time.time() > end:
                    raise
                time.sleep(0.05)

    # ---- bytes ----

    def raw(self, n):
        while len(self.buffer) < n:
            data = self.s.recv(1 << 16)
            if not data:
                raise Closed
            self.buffer += data
        data, self.buffer = self.buffer[:n], self.buffer[n:]
        return data

    def read(self, n):
        self.bytes += n
        if not self.web:
            return self.raw(n)
        got = b''
        while len(got) < n:
            if not self.frame_left:
                op, length = self.raw(2)
                if length == 126:
                    length = struct.unpack('>H', self.raw(2))[0]
                elif length == 127:
                    length = struct.unpack('>Q', self.raw(8))[0]
                if op & 15 in (9, 10):
                    self.pong = self.raw(length)
                    continue
                if op & 15 == 8:
                    raise Closed
                assert op == 0x82, hex(op)
                self.frame_left = length
            piece = self.raw(min(n - len(got), self.frame_left))
            self.frame_left -= len(piece)
            got += piece
        return got

    def u8(self):
        return self.read(1)[0]

    def frame(self, op, data, fin=0x80):
        mask = os.urandom(4)
        n = len(data)
        head = bytes([fin | op]) + (bytes([0x80 | n]) if n < 126 else struct.pack('>BH', 0xfe, n) if n < 65536 else struct.pack('>BQ', 0xff, n))
        self.s.sendall(head + mask + bytes(b ^ mask[i & 3] for i, b in enumerate(data)))

    def send(self, data):
        if self.web:
            self.frame(2, data)
        else:
            self.s.sendall(data)

    path, host, more = b'/websockify', b'x', b''                       # of the web socket; header lines

    def upgrade(self):
        key = base64.b64encode(os.urandom(16))
        self.s.sendall(b'GET ' + self.path + b' HTTP/1.1\r\nHost: ' + self.host + b'\r\n' + self.more + b'upgrade: WebSocket\r\nConnection: Upgrade\r\nSec-WebSocket-Version: 13\r\n'
                       b'Sec-WebSocket-Protocol: binary\r\nSec-WebSocket-Key: ' + key + b'\r\n\r\n')
        head = b''
        while not head.endswith(b'\r\n\r\n'):
            head += self.raw(1)
        want = base64.b64encode(hashlib.sha1(key + b'258EAFA5-E914-47DA-95CA-C5AB0DC85B11').digest())
        assert head.startswith(b'HTTP/1.1 101 ') and want in head and b'Sec-WebSocket-Protocol: binary' in head, head
        self.web = True

    # ---- messages ----

    def set_format(self, f):
        self.format = f
        self.send(struct.pack('>B3xBBBBHHHBBB3x', 0, *f))

    def set_encodings(self, *e):
        self.send(struct.pack(f'>BxH{len(e)}i', 2, len(e), *e))

    def request(self, incremental=1, rect=None):
        self.send(struct.pack('>BBHHHH', 3, incremental, *(rect or (0, 0, self.width, self.height))))

    def key(self, keysym, down):
        self.send(struct.pack('>BBxxI', 4, down, keysym))

    def scancode(self, code, down, keysym=0):
        self.send(struct.pack('>BBHII', 255, 0, down, keysym, code))

    def strike(self, code, keysym=0):
        """Down and up at once: a key that stays down repeats."""
        self.send(struct.pack('>BBHII', 255, 0, 1, keysym, code) + struct.pack('>BBHII', 255, 0, 0, keysym, code))

    def pointer(self, buttons, x, y):
        self.send(struct.pack('>BBHH', 5, buttons, x, y))

    # ---- pictures ----

    def rgb(self, value):
        f = self.format
        return bytes((value >> f[7 + i] & f[4 + i]) * 255 // f[4 + i] for i in range(3))

    def pixel(self, data):
        return self.rgb(int.from_bytes(data, 'big' if self.format[2] else 'little'))

    def run(self, data):
        """Whole pixels to RGB."""
        n = self.format[0] // 8
        if self.format == RGB888:
            out = bytearray(len(data) // 4 * 3)
            out[0::3], out[1::3], out[2::3] = data[2::4], data[1::4], data[0::4]
            return bytes(out)
        known = {}
        return b''.join(known.get(data[i:i + n]) or known.setdefault(data[i:i + n], self.pixel(data[i:i + n])) for i in range(0, len(data), n))

    def put(self, x, y, w, h, rgb):
        assert len(rgb) == w * h * 3, (len(rgb), w, h)
        for row in range(h):
            at = ((y + row) * self.width + x) * 3
            self.pixels[at:at + w * 3] = rgb[row * w * 3:(row + 1) * w * 3]

    def cpixel(self, data, at):
        """ZRLE's pixel: (RGB, next)."""
        f, n = self.format, self.format[0] // 8
        if n < 4:
            return self.pixel(data[at:at + n]), at + n
        low = sum(f[4 + i] << f[7 + i] for i in range(3)) < 1 << 24
        three = data[at:at + 3]
        return self.pixel((b'\0' + three if low == bool(f[2]) else three + b'\0')), at + 3

    def zrle(self, x, y, w, h):
        data = self.zrle_z.decompress(self.read(struct.unpack('>I', self.read(4))[0]))
        at = 0
        for ty in range(y, y + h, 64):
            for tx in range(x, x + w, 64):
                tw, th = min(64, x + w - tx), min(64, y + h - ty)
                kind, at, out, palette = data[at], at + 1, [], []
                colors = kind & 127
                if kind == 128:
                    while len(out) < tw * th:
                        p, at = self.cpixel(data, at)
                        n = 1
                        while data[at] == 255:
                            n, at = n + 255, at + 1
                        out += [p] * (n + data[at])
                        at += 1
                elif kind == 0:
                    for _ in range(tw * th):
                        p, at = self.cpixel(data, at)
                        out.append(p)
                else:
                    for _ in range(colors):
                        p, at = self.cpixel(data, at)
                        palette.append(p)
                    if kind == 1:
                        out = palette * (tw * th)
                    elif kind < 17:
                        bits = 1 if kind == 2 else 2 if kind <= 4 else 4
                        for _ in range(th):
                            row = []
                            while len(row) < tw:
                                row += [palette[data[at] >> s & ((1 << bits) - 1)] for s in range(8 - bits, -1, -bits)][:tw - len(row)]
                                at += 1
                            out += row
                    else:
                        assert kind > 129, kind
                        while len(out) < tw * th:
                            i, at, n = data[at], at + 1, 1
                            if i & 128:
                                while data[at] == 255:
                                    n, at = n + 255, at + 1
                                n, at = n + data[at], at + 1
                            out += [palette[i & 127]] * n
                self.put(tx, ty, tw, th, b''.join(out))
        assert at == len(data), 'bytes behind the last tile'

    def tpixels(self, data):
        return data if self.format[0] == 32 and self.format[1] == 24 and self.format[4:7] == (255, 255, 255) else self.run(data)

    def tight_data(self, stream, size):
        if size < 12:
            return self.read(size)
        n = shift = 0
        while True:
            b = self.u8()
            n |= (b & 127) << shift
            shift += 7
            if b < 128 or shift == 21:
                break
        data = self.z[stream].decompress(self.read(n))
        assert len(data) == size, (len(data), size)
        return data

    def tight(self, x, y, w, h):
        size = 3 if self.tpixels(b'') == b'' and self.format[0] == 32 and self.format[1] == 24 else self.format[0] // 8
        control = self.u8()
        assert not control & 15, 'nobody resets streams'
        if control >> 4 == 8:
            self.put(x, y, w, h, self.tpixels(self.read(size)) * (w * h))
            return
        assert control < 0x80, hex(control)
        stream = control >> 4 & 3
        kind = self.u8() if control & 0x40 else 0
        if kind == 0:
            self.put(x, y, w, h, self.tpixels(self.tight_data(stream, w * h * size)))
            return
        assert kind == 1, kind
        colors = self.u8() + 1
        flat = self.tpixels(self.read(colors * size))
        palette = [flat[i:i + 3] for i in range(0, len(flat), 3)]
        if colors == 2:
            pitch = (w + 7) // 8
            data = self.tight_data(stream, pitch * h)
            out = [palette[data[row * pitch + i // 8] >> (7 - i % 8) & 1] for row in range(h) for i in range(w)]
        else:
            out = [palette[i] for i in self.tight_data(stream, w * h)]
        self.put(x, y, w, h, b''.join(out))

    def resize(self, w, h):
        self.width, self.height = w, h
        self.pixels = bytearray(w * h * 3)
        self.sizes += 1

    def rect(self):
        x, y, w, h, kind = struct.unpack('>HHHHi', self.read(12))
        self.rects += 1
        if kind in (RAW, TIGHT, ZRLE):
            assert x + w <= self.width and y + h <= self.height, (x, y, w, h)
        if kind == RAW:
            self.put(x, y, w, h, self.run(self.read(w * h * self.format[0] // 8)))
        elif kind == ZRLE:
            self.zrle(x, y, w, h)
        elif kind == TIGHT:
            self.tight(x, y, w, h)
        elif kind == SIZE:
            self.resize(w, h)
        elif kind == EXT_SIZE:
            self.size_reason, self.size_status = x, y
            self.read(16 * self.read(4)[0])
            if (w, h) != (self.width, self.height):
                self.resize(w, h)
        elif kind == EXT_KEY:
            self.keys_ok = True
        elif kind == POINTER:
            self.absolute = x
        else:
            raise AssertionError(f'encoding {kind} was not asked for')

    def message(self):
        kind = self.u8()
        if kind == 0:
            self.read(1)
            for _ in range(struct.unpack('>H', self.read(2))[0]):
                self.rect()
            self.updates += 1
        elif kind == 1:
            first, count = struct.unpack('>xHH', self.read(5))
            self.map = [struct.unpack('>HHH', self.read(6)) for _ in range(count)]
        else:
            raise AssertionError(f'message {kind}')

    def update(self, incremental=1):
        self.request(incremental)
        n = self.updates
        while self.updates == n:
            self.message()

    def settle(self, want, seconds=120):
        """Takes updates until the picture is what want() says, or time is over."""
        end, n = time.time() + seconds, -1
        while time.time() < end:
            w, h, pixels = want()
            if (self.width, self.height) == (w, h) and bytes(self.pixels) == self.as_seen(pixels):
                return True
            if n != self.updates:
                self.request()
                n = self.updates
            if self.waits(0.5):
                self.message()
        return False

    def waits(self, seconds):
        """Is there something to read?"""
        if self.buffer or self.frame_left:
            return True
        self.s.settimeout(seconds)
        try:
            self.buffer += self.s.recv(1 << 16)
        except (TimeoutError, BlockingIOError):              # the latter for 0 seconds
            return False
        finally:
            self.s.settimeout(self.timeout)
        return bool(self.buffer)

    def as_seen(self, pixels):
        """RGB after the format's loss."""
        if self.format[4:7] == (255, 255, 255):
            return pixels
        m = self.format[4:7]
        tables = [bytes(v * k // 255 * 255 // k for v in range(256)) for k in m]
        out = bytearray(len(pixels))
        for i in range(3):
            out[i::3] = pixels[i::3].translate(tables[i])
        return bytes(out)

    def close(self):
        self.s.close()
