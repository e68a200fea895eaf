# SPDX-License-Identifier: GPL-2.0-or-later
"""Reads the PNGs that others made, so that their pixels can be compared. Source: the PNG specification (third edition), 9."""
import zlib


def png_read(data):
    """(width, height, RGB) of a PNG with 8 bits, RGB or RGBA."""
    at, packed, width = 8, b'', 0
    assert data[:8] == b'\x89PNG\r\n\x1a\n'
    while at < len(data):
        n, kind = int.from_bytes(data[at:at + 4], 'big'), data[at + 4:at + 8]
        body = data[at + 8:at + 8 + n]
        if kind == b'IHDR':
            width, height, bits, color = int.from_bytes(body[:4], 'big'), int.from_bytes(body[4:8], 'big'), body[8], body[9]
            assert bits == 8 and color in (2, 6)
        packed += body if kind == b'IDAT' else b''
        at += 12 + n
    step = 3 if color == 2 else 4
    plain, row_bytes = zlib.decompress(packed), width * step
    before, out = bytearray(row_bytes), bytearray()
    for y in range(height):
        kind, row = plain[y * (row_bytes + 1)], bytearray(plain[y * (row_bytes + 1) + 1:(y + 1) * (row_bytes + 1)])
        for i in range(row_bytes if kind else 0):
            a, b, c = row[i - step] if i >= step else 0, before[i], before[i - step] if i >= step else 0
            p = a + b - c
            paeth = min((abs(p - a), 0, a), (abs(p - b), 1, b), (abs(p - c), 2, c))[2]
            row[i] = (row[i] + (0, a, b, (a + b) // 2, paeth)[kind]) & 255
        before = row
        for k in range(0, row_bytes, step):
            out += row[k:k + 3]
    return width, height, bytes(out)
