/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Partition tables. What they say is a stranger's word: each partition must lie within the disk, chains of extended
 * partitions end after PARTITIONS_MAX links, and a GPT's entries are limited before they are read. The backup GPT at
 * the disk's end is used when the first one's checksums are wrong.
 * Sources: UEFI specification 2.10, 5.2 and 5.3; the MBR as Linux reads it (block/partitions/msdos.c, behaviour only).
 */
#include "tool/partition.h"

#include <stdbool.h>
#include <stdlib.h>
#include <string.h>
#include <zlib.h>

#include "base/bits.h"
#include "base/error.h"
#include "block/block.h"

enum { ENTRIES_MAX = 1024, ENTRY_MIN = 128, ENTRY_MAX = 4096, HEADER_MIN = 92 };

struct mbr_entry {
    uint8_t status, first[3], type, last[3];
    le32 lba, sectors;
} __attribute__((packed));

struct gpt_header {
    uint8_t signature[8];
    le32 revision, size, crc, reserved;
    le64 this_lba, other_lba, first_usable, last_usable;
    uint8_t guid[16];
    le64 entries_lba;
    le32 entries, entry_size, entries_crc;
} __attribute__((packed));

struct gpt_entry {
    uint8_t type[16], guid[16];
    le64 first, last, attributes;
} __attribute__((packed));

static void add(struct partition_table *t, struct block_node *n, unsigned number, uint64_t first, uint64_t count,
                uint32_t sector)
{
    uint64_t sectors = block_size_bytes(n) / sector;
    if (!count || !first || first >= sectors || count > sectors - first || t->count == PARTITIONS_MAX)
        return;
    t->partition[t->count++] = (struct partition){ number, first * sector, count * sector };
}

static bool is_extended(uint8_t type)
{
    return type == 0x05 || type == 0x0f || type == 0x85;
}

static int sector_read(struct block_node *n, uint64_t lba, uint8_t sector[512], struct mbr_entry entry[4])
{
    int r = lba >= block_size_bytes(n) / 512 ? -1 : block_pread(n, lba * 512, sector, 512);
    if (r || sector[510] != 0x55 || sector[511] != 0xaa)
        return -1;
    memcpy(entry, sector + 446, 4 * sizeof(*entry));
    return 0;
}

/* Each link has a partition, relative to itself, and the next link, relative to the whole. */
static void logical_read(struct block_node *n, struct partition_table *t, uint64_t base)
{
    uint8_t sector[512];
    struct mbr_entry e[4];
    uint64_t link = base;
    unsigned number = 5;
    for (unsigned links = 0; links < PARTITIONS_MAX && !sector_read(n, link, sector, e); links++) {
        uint64_t next = 0;
        for (unsigned i = 0; i < 4; i++) {
            if (is_extended(e[i].type)) {
                next = next ? next : le32_get(e[i].lba);
            } else if (e[i].type && le32_get(e[i].sectors)) {
                add(t, n, number++, link + le32_get(e[i].lba), le32_get(e[i].sectors), 512);
            }
        }
        if (!next || base + next == link)
            break;
        link = base + next;
    }
}

static bool gpt_entries_read(struct block_node *n, const struct gpt_header *h, uint32_t sector, struct partition_table *t)
{
    uint32_t count = le32_get(h->entries), size = le32_get(h->entry_size);
    uint64_t disk = block_size_bytes(n), at = le64_get(h->entries_lba);
    static const uint8_t unused[16];
    if (!count || count > ENTRIES_MAX || size < ENTRY_MIN || size > ENTRY_MAX || size % 8 || at >= disk / sector)
        return false;
    uint64_t bytes = (uint64_t)count * size, whole = ALIGN_UP(bytes, 512ull);
    uint8_t *table = whole <= disk - at * sector ? malloc(whole) : NULL;
    bool good = table && !block_pread(n, at * sector, table, whole) &&
                crc32(0, table, (uInt)bytes) == le32_get(h->entries_crc);
    for (uint32_t i = 0; good && i < count; i++) {
        struct gpt_entry e;
        memcpy(&e, table + (size_t)i * size, sizeof(e));
        uint64_t first = le64_get(e.first), last = le64_get(e.last);
        if (memcmp(e.type, unused, sizeof(unused)) && last >= first && last < UINT64_MAX)
            add(t, n, i + 1, first, last - first + 1, sector);
    }
    free(table);
    return good;
}

static bool gpt_read(struct block_node *n, uint64_t lba, uint32_t sector, struct partition_table *t)
{
    uint8_t data[4096];
    struct gpt_header h;
    if (lba >= block_size_bytes(n) / sector || block_pread(n, lba * sector, data, sector))
        return false;
    memcpy(&h, data, sizeof(h));
    uint32_t size = le32_get(h.size), crc = le32_get(h.crc);
    if (memcmp(h.signature, "EFI PART", 8) || size < HEADER_MIN || size > sector)
        return false;
    memset(data + offsetof(struct gpt_header, crc), 0, 4);
    return crc32(0, data, size) == crc && le64_get(h.this_lba) == lba && gpt_entries_read(n, &h, sector, t);
}

int partition_table_read(struct block_node *n, struct partition_table *t, struct error *err)
{
    uint8_t sector[512];
    struct mbr_entry e[4];
    *t = (struct partition_table){ .kind = "none" };
    if (block_size_bytes(n) < 512)
        return 0;
    int r = block_pread(n, 0, sector, 512);
    if (r)
        return error_set(err, "cannot read the partition table of '%s': %s", block_filename(n), strerror(-r));
    if (sector_read(n, 0, sector, e))
        return 0;
    bool protective = false;
    for (unsigned i = 0; i < 4; i++)
        protective |= e[i].type == 0xee;
    t->kind = "gpt";
    for (uint32_t size = 512; protective && size <= 4096; size *= 8)
        if (gpt_read(n, 1, size, t) || gpt_read(n, block_size_bytes(n) / size - 1, size, t))
            return 0;
    t->kind = "mbr";
    for (unsigned i = 0; i < 4; i++)
        if (e[i].type && !is_extended(e[i].type))
            add(t, n, i + 1, le32_get(e[i].lba), le32_get(e[i].sectors), 512);
    for (unsigned i = 0; i < 4; i++)
        if (is_extended(e[i].type)) {
            logical_read(n, t, le32_get(e[i].lba));
            break;
        }
    return 0;
}

const struct partition *partition_find(const struct partition_table *t, unsigned number)
{
    for (unsigned i = 0; i < t->count; i++)
        if (t->partition[i].number == number)
            return &t->partition[i];
    return NULL;
}
