#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0-or-later
"""The page's files as a C table of compressed bytes (struct web_asset): embed.py OUTPUT FILE...

Times are left out, so that equal files make equal programs."""
import gzip, os, sys

TYPES = {'.html': 'text/html; charset=utf-8', '.js': 'text/javascript; charset=utf-8', '.css': 'text/css; charset=utf-8', '.svg': 'image/svg+xml'}

rows = []
with open(sys.argv[1], 'w') as out:
    out.write('/* Made by web/embed.py. */\n#include "display/web_private.h"\n\n')
    for i, path in enumerate(sys.argv[2:]):
        with open(path, 'rb') as f:
            plain = f.read()
        packed = gzip.compress(plain, 9, mtime=0)
        out.write(f'static const uint8_t file_{i}[] = {{\n')
        for at in range(0, len(packed), 32):
            out.write(','.join(map(str, packed[at:at + 32])) + ',\n')
        out.write('};\n')
        name = os.path.basename(path)
        rows.append(f'    {{ "/{name}", "{TYPES[os.path.splitext(name)[1]]}", file_{i}, sizeof(file_{i}), {len(plain)} }},\n')
    out.write('const struct web_asset web_assets[] = {\n' + ''.join(rows) + '    { 0 },\n};\n')
