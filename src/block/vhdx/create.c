/* SPDX-License-Identifier: GPL-2.0-or-later */
/* New VHDX images: identifier, two headers and region tables, an empty log, metadata, the block table. */
#include "block/vhdx/vhdx_private.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

enum { LOG_AT = VHDX_MIB, CHUNK = 1 << 20 };

struct plan {
    uint64_t size, blocks, entries, metadata_at, bat_at, bat_length, end;
    uint64_t block, log;
    bool fixed, zero;
};

const struct block_option vhdx_create_options[] = {
    { "block_size", BLOCK_OPTION_SIZE, "Block Size; min 1MB, max 256MB. 0 means auto-calculate based on image size.", "0", false },
    { "block_state_zero", BLOCK_OPTION_BOOL, "Force use of payload blocks of type 'ZERO'. Non-standard, but default.", "on", false },
    { "log_size", BLOCK_OPTION_SIZE, "Log size; min 1MB.", "1048576", false },
    { "size", BLOCK_OPTION_SIZE, "Virtual disk size; max of 64TB.", NULL, false },
    { "subformat", BLOCK_OPTION_TEXT, "VHDX format type (allowed values: dynamic, fixed)", "dynamic", false },
    { .name = NULL },
};

static int plan_make(const struct block_create_options *o, struct plan *p, struct error *err)
{
    static const char *const kinds[] = { "dynamic", "fixed", NULL };
    unsigned kind = 0;
    *p = (struct plan){ .size = ALIGN_UP(o->size_bytes, 512ull), .log = VHDX_MIB, .zero = true };
    if (block_option_choice(o->options, "subformat", kinds, &kind, err) ||
        block_option_size(o->options, "block_size", &p->block, err) || block_option_size(o->options, "log_size", &p->log, err) ||
        block_option_bool(o->options, "block_state_zero", &p->zero, err))
        return -1;
    p->fixed = kind == 1;
    if (!p->size || p->size > VHDX_SIZE_MAX)
        return error_set(err, "a VHDX image holds 1 byte to 64 TiB, not %llu bytes", (unsigned long long)o->size_bytes);
    if (!p->block)
        p->block = p->size > 32ull << 40 ? 64 << 20 : p->size > 100ull << 30 ? 32 << 20 : p->size > 1ull << 30 ? 16 << 20 : 8 << 20;
    if (p->block < VHDX_MIB || p->block > 256u << 20 || p->block & (p->block - 1))
        return error_set(err, "block_size is a power of two from 1M to 256M");
    if (p->log < VHDX_MIB || p->log > VHDX_LOG_MAX || p->log % VHDX_MIB)
        return error_set(err, "log_size is a multiple of 1M, at most 64M");
    uint64_t ratio = (512ull << 23) / p->block;
    p->blocks = (p->size + p->block - 1) / p->block;
    p->entries = p->blocks + (p->blocks - 1) / ratio;
    p->metadata_at = LOG_AT + p->log;
    p->bat_at = p->metadata_at + VHDX_MIB;
    p->bat_length = ALIGN_UP(p->entries * sizeof(le64), (uint64_t)VHDX_MIB);
    p->end = p->bat_at + p->bat_length;
    return 0;
}

int vhdx_create_check(const struct block_create_options *o, struct error *err)
{
    struct plan p;
    return plan_make(o, &p, err);
}

static int identifier_write(struct block_protocol *file)
{
    uint8_t data[520] = "vhdxfile";
    static const char creator[] = "ospite";
    for (size_t i = 0; i < sizeof(creator); i++)
        data[8 + 2 * i] = (uint8_t)creator[i];          /* UTF-16 */
    return block_protocol_pwrite(file, 0, data, sizeof(data));
}

static int headers_write(struct block_protocol *file, const struct plan *p)
{
    struct vhdx v = { .header = { .signature = { 'h', 'e', 'a', 'd' }, .version = le16_make(1),
                                  .log_length = le32_make((uint32_t)p->log), .log_offset = le64_make(LOG_AT) } };
    int r = vhdx_guid_make(&v.header.file_write);
    if (!r)
        r = vhdx_guid_make(&v.header.data_write);
    return r ? r : vhdx_header_update(&v, file);
}

static int regions_write(struct block_protocol *file, const struct plan *p)
{
    const struct vhdx_region region[2] = {
        { vhdx_region_bat, le64_make(p->bat_at), le32_make((uint32_t)p->bat_length), le32_make(1) },
        { vhdx_region_metadata, le64_make(p->metadata_at), le32_make(VHDX_MIB), le32_make(1) },
    };
    struct vhdx_region_header h = { .signature = { 'r', 'e', 'g', 'i' }, .count = le32_make(2) };
    uint8_t *data = calloc(1, VHDX_TABLE_BYTES);
    if (!data)
        return -ENOMEM;
    memcpy(data, &h, sizeof(h));
    memcpy(data + sizeof(h), region, sizeof(region));
    h.checksum = le32_make(vhdx_crc32c(data, VHDX_TABLE_BYTES, 4));
    memcpy(data, &h, sizeof(h));
    int r = block_protocol_pwrite(file, VHDX_REGION1_AT, data, VHDX_TABLE_BYTES);
    if (!r)
        r = block_protocol_pwrite(file, VHDX_REGION2_AT, data, VHDX_TABLE_BYTES);
    free(data);
    return r;
}

static int metadata_write(struct block_protocol *file, const struct plan *p)
{
    struct { le32 block, flags; le64 size; struct vhdx_guid id; le32 logical, physical; } __attribute__((packed)) x = {
        le32_make((uint32_t)p->block), le32_make(p->fixed ? VHDX_FIXED : 0), le64_make(p->size), { { 0 } }, le32_make(512),
        le32_make(512),
    };
    const struct { const struct vhdx_guid *id; uint32_t at, length, flags; } items[] = {
        { &vhdx_item_parameters, 0, 8, VHDX_IS_REQUIRED }, { &vhdx_item_size, 8, 8, VHDX_IS_REQUIRED | VHDX_IS_DISK },
        { &vhdx_item_id, 16, 16, VHDX_IS_REQUIRED | VHDX_IS_DISK }, { &vhdx_item_logical, 32, 4, VHDX_IS_REQUIRED | VHDX_IS_DISK },
        { &vhdx_item_physical, 36, 4, VHDX_IS_REQUIRED | VHDX_IS_DISK },
    };
    struct vhdx_metadata_header h = { .signature = { 'm', 'e', 't', 'a', 'd', 'a', 't', 'a' }, .count = le16_make(ARRAY_SIZE(items)) };
    uint8_t data[sizeof(h) + sizeof(struct vhdx_metadata) * ARRAY_SIZE(items)];
    int r = vhdx_guid_make(&x.id);
    memcpy(data, &h, sizeof(h));
    for (size_t i = 0; i < ARRAY_SIZE(items); i++) {
        const struct vhdx_metadata m = { *items[i].id, le32_make(VHDX_TABLE_BYTES + items[i].at), le32_make(items[i].length),
                                         le32_make(items[i].flags), le32_make(0) };
        memcpy(data + sizeof(h) + i * sizeof(m), &m, sizeof(m));
    }
    if (!r)
        r = block_protocol_pwrite(file, p->metadata_at, data, sizeof(data));
    return r ? r : block_protocol_pwrite(file, p->metadata_at + VHDX_TABLE_BYTES, &x, sizeof(x));
}

static int table_write(struct block_protocol *file, const struct plan *p)
{
    uint64_t ratio = (512ull << 23) / p->block;
    le64 *entry = malloc(CHUNK);
    int r = entry ? 0 : -ENOMEM;
    for (uint64_t at = 0; !r && at < p->bat_length / sizeof(le64);) {
        uint64_t count = MIN(p->bat_length / sizeof(le64) - at, (uint64_t)CHUNK / sizeof(le64));
        for (uint64_t i = 0; i < count; i++) {
            uint64_t k = at + i, block = k - k / (ratio + 1);
            bool bitmap = k % (ratio + 1) == ratio || k >= p->entries;
            entry[i] = le64_make(bitmap ? 0 : p->fixed ? (p->end + block * p->block) | VHDX_PRESENT : p->zero ? VHDX_ZERO : 0);
        }
        r = block_protocol_pwrite(file, p->bat_at + at * sizeof(le64), entry, count * sizeof(le64));
        at += count;
    }
    free(entry);
    return r;
}

int vhdx_create(struct block_protocol *file, const struct block_create_options *o, struct error *err)
{
    struct plan p;
    if (plan_make(o, &p, err))
        return -1;
    uint64_t whole = p.end + (p.fixed ? p.blocks * p.block : 0);
    int r = file->ops->truncate ? file->ops->truncate(file, whole, BLOCK_PREALLOCATION_OFF) : 0;
    if (r == -ENOTSUP)
        r = 0;                      /* a device */
    if (!r)
        r = identifier_write(file);
    if (!r)
        r = regions_write(file, &p);
    if (!r)
        r = metadata_write(file, &p);
    if (!r)
        r = table_write(file, &p);
    if (!r)
        r = headers_write(file, &p);
    return r ? error_set(err, "cannot write '%s': %s", o->filename, strerror(-r)) : 0;
}
