#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0-or-later
"""The geometry that the BIOS gives a disk, by its size and partition table, in ospite and in QEMU.

geometry.py OSPITE BOOT-SECTOR
"""
import os
import shutil
import subprocess
import sys
import tempfile

# Size in MiB, last head in the partition table (0: no partition).
DISKS = [(1, 0), (400, 0), (600, 0), (3072, 0), (20480, 0), (3072, 254), (6144, 254), (20480, 254), (600, 15), (3072, 15), (3072, 63)]


def image_make(path, boot, mib, head):
    sector = bytearray(boot)
    if head:
        entry = bytes([0x80, 1, 1, 0, 0x83, head, 0xff, 0xff]) + (63).to_bytes(4, "little") + (100000).to_bytes(4, "little")
        sector[0x1be:0x1ce] = entry
    with open(path, "wb") as f:
        f.write(sector)
        f.truncate(mib << 20)


def answer(command, out):
    subprocess.run(command, stdin=subprocess.DEVNULL, timeout=180, check=False)
    with open(out, "rb") as f:
        return f.read().hex()


def main():
    ospite, boot = sys.argv[1], open(sys.argv[2], "rb").read()
    qemu = shutil.which("qemu-system-x86_64")
    failed = 0
    if not qemu:
        print("geometry: qemu-system-x86_64 is not there: SKIPPED")
        return 77
    with tempfile.TemporaryDirectory() as folder:
        image, out = os.path.join(folder, "disk"), os.path.join(folder, "out")
        for mib, head in DISKS:
            image_make(image, boot, mib, head)
            rest = ["-display", "none", "-serial", "file:" + out, "-device", "isa-debug-exit", "-drive", f"file={image},format=raw"]
            ours = answer([ospite, "-accel", "bt"] + rest, out)
            theirs = answer([qemu, "-accel", "tcg", "-net", "none"] + rest, out)
            if ours != theirs or len(ours) != 8:
                failed += 1
                print(f"{mib} MiB, last head {head}: {ours}, qemu has {theirs}")
    print(f"geometry: {len(DISKS)} disks, {failed} failed")
    return failed != 0


sys.exit(main())
