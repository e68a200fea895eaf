#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0-or-later
"""mkdisk.py DISK FILESYSTEM [BOOT_IMG CORE_IMG]   puts a PC disk together without loop devices or root.

An MBR with one Linux partition at 1 MiB holds FILESYSTEM. With GRUB's boot.img and a core.img of grub-mkimage the disk
boots: boot.img loads sector 1, where core.img begins with a block list that is filled in here as grub-bios-setup does.
Source: GRUB manual, "BIOS installation"; grub/i386/pc/boot.h for the offsets."""
import struct
import sys

SECTOR = 512
FIRST = 2048
BLOCKLIST = 500            # in core.img's first sector: start (8 bytes), length, segment (2 each)
DRIVE_CHECK = 0x66         # two bytes of boot.img: NOPs make it trust the BIOS's drive number
LOAD_SEGMENT = 0x820


def copy_sparse(out, start, path):
    zero = bytes(1 << 16)
    with open(path, 'rb') as source:
        offset = start
        while chunk := source.read(1 << 16):
            if chunk != zero[:len(chunk)]:
                out.seek(offset)
                out.write(chunk)
            offset += len(chunk)
    out.truncate(offset)
    return offset - start


def main():
    disk, filesystem = sys.argv[1:3]
    with open(disk, 'wb') as out:
        size = copy_sparse(out, FIRST * SECTOR, filesystem)
        mbr = bytearray(SECTOR)
        if len(sys.argv) > 3:
            mbr[:440] = open(sys.argv[3], 'rb').read(440)
            mbr[DRIVE_CHECK:DRIVE_CHECK + 2] = b'\x90\x90'
            core = bytearray(open(sys.argv[4], 'rb').read())
            core += bytes(-len(core) % SECTOR)
            sectors = len(core) // SECTOR
            if sectors >= FIRST:
                sys.exit('mkdisk: core.img does not fit in front of the partition')
            core[BLOCKLIST:SECTOR] = struct.pack('<QHH', 2, sectors - 1, LOAD_SEGMENT)
            out.seek(SECTOR)
            out.write(core)
        mbr[440:446] = struct.pack('<IH', 0x6f737069, 0)
        mbr[446:462] = struct.pack('<B3sB3sII', 0x80, b'\xfe\xff\xff', 0x83, b'\xfe\xff\xff', FIRST, size // SECTOR)
        mbr[510:512] = b'\x55\xaa'
        out.seek(0)
        out.write(mbr)


main()
