/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Headers, region tables and metadata of VHDX: two copies of headers and region tables with checksums (CRC-32C). */
#include "block/vhdx/vhdx_private.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>

enum { ENTRIES_MAX = 2047 };

#define GUID(a, b, c, ...) { { (a) & 0xff, (a) >> 8 & 0xff, (a) >> 16 & 0xff, (a) >> 24, (b) & 0xff, (b) >> 8, (c) & 0xff, \
                               (c) >> 8, __VA_ARGS__ } }
const struct vhdx_guid vhdx_region_bat = GUID(0x2dc27766u, 0xf623, 0x4200, 0x9d, 0x64, 0x11, 0x5e, 0x9b, 0xfd, 0x4a, 0x08);
const struct vhdx_guid vhdx_region_metadata = GUID(0x8b7ca206u, 0x4790, 0x4b9a, 0xb8, 0xfe, 0x57, 0x5f, 0x05, 0x0f, 0x88, 0x6e);
const struct vhdx_guid vhdx_item_parameters = GUID(0xcaa16737u, 0xfa36, 0x4d43, 0xb3, 0xb6, 0x33, 0xf0, 0xaa, 0x44, 0xe7, 0x6b);
const struct vhdx_guid vhdx_item_size = GUID(0x2fa54224u, 0xcd1b, 0x4876, 0xb2, 0x11, 0x5d, 0xbe, 0xd8, 0x3b, 0xf4, 0xb8);
const struct vhdx_guid vhdx_item_id = GUID(0xbeca12abu, 0xb2e6, 0x4523, 0x93, 0xef, 0xc3, 0x09, 0xe0, 0x00, 0xc7, 0x46);
const struct vhdx_guid vhdx_item_logical = GUID(0x8141bf1du, 0xa96f, 0x4709, 0xba, 0x47, 0xf2, 0x33, 0xa8, 0xfa, 0xab, 0x5f);
const struct vhdx_guid vhdx_item_physical = GUID(0xcda348c7u, 0x445d, 0x4471, 0x9c, 0xc9, 0xe9, 0x88, 0x52, 0x51, 0xc5, 0x56);

/* Castagnoli's polynomial, four bits at a time; the four bytes of the checksum count as zeroes. */
uint32_t vhdx_crc32c(const void *data, size_t length, size_t checksum_at)
{
    static const uint32_t table[16] = {
        0x00000000, 0x105ec76f, 0x20bd8ede, 0x30e349b1, 0x417b1dbc, 0x5125dad3, 0x61c69362, 0x7198540d,
        0x82f63b78, 0x92a8fc17, 0xa24bb5a6, 0xb21572c9, 0xc38d26c4, 0xd3d3e1ab, 0xe330a81a, 0xf36e6f75,
    };
    const uint8_t *p = data;
    uint32_t crc = ~0u;
    for (size_t i = 0; i < length; i++) {
        crc ^= i >= checksum_at && i < checksum_at + 4 ? 0 : p[i];
        crc = crc >> 4 ^ table[crc & 15];
        crc = crc >> 4 ^ table[crc & 15];
    }
    return ~crc;
}

int vhdx_guid_make(struct vhdx_guid *g)
{
    if (getrandom(g->b, sizeof(g->b), 0) != sizeof(g->b))
        return -EIO;
    g->b[7] = (uint8_t)((g->b[7] & 0x0f) | 0x40);
    g->b[8] = (uint8_t)((g->b[8] & 0x3f) | 0x80);
    return 0;
}

static int refuse(const struct block_node *n, const char *why, struct error *err)
{
    return error_set(err, "cannot open '%s': %s", n->filename, why);
}

static int cannot_read(const struct block_node *n, int r, struct error *err)
{
    return error_set(err, "cannot read '%s': %s", n->filename, strerror(-r));
}

int vhdx_headers_read(struct block_node *n, struct vhdx *v, struct error *err)
{
    uint8_t data[VHDX_HEADER_BYTES];
    bool found = false;
    for (unsigned i = 0; i < 2; i++) {
        struct vhdx_header h;
        int r = block_protocol_pread(n->file, i ? VHDX_HEADER2_AT : VHDX_HEADER1_AT, data, sizeof(data));
        if (r)
            return cannot_read(n, r, err);
        memcpy(&h, data, sizeof(h));
        if (memcmp(h.signature, "head", 4) || vhdx_crc32c(data, sizeof(data), 4) != le32_get(h.checksum))
            continue;
        if (found && le64_get(h.sequence) <= le64_get(v->header.sequence))
            continue;
        found = true;
        v->header = h;
        v->current = i;
    }
    if (!found)
        return refuse(n, "neither of its two headers is whole", err);
    if (le16_get(v->header.version) != 1 || le16_get(v->header.log_version) != 0)
        return refuse(n, "its version is not 1", err);
    v->log_offset = le64_get(v->header.log_offset);
    v->log_length = le32_get(v->header.log_length);
    if (v->log_offset < VHDX_MIB || v->log_offset % VHDX_MIB || v->log_offset > VHDX_SIZE_MAX || !v->log_length ||
        v->log_length % VHDX_MIB || v->log_length > VHDX_LOG_MAX)
        return refuse(n, "its log does not begin at a MiB, or is larger than 64 MiB", err);
    return 0;
}

static int header_write(struct vhdx *v, struct block_protocol *file)
{
    uint8_t data[VHDX_HEADER_BYTES] = { 0 };
    v->header.sequence = le64_make(le64_get(v->header.sequence) + 1);
    memcpy(data, &v->header, sizeof(v->header));
    v->header.checksum = le32_make(vhdx_crc32c(data, sizeof(data), 4));
    memcpy(data, &v->header, sizeof(v->header));
    int r = block_protocol_pwrite(file, v->current ? VHDX_HEADER1_AT : VHDX_HEADER2_AT, data, sizeof(data));
    if (!r)
        r = block_protocol_flush(file);
    if (!r)
        v->current = !v->current;
    return r;
}

int vhdx_header_update(struct vhdx *v, struct block_protocol *file)
{
    int r = header_write(v, file);
    return r ? r : header_write(v, file);
}

static bool overlaps(uint64_t a, uint64_t a_length, uint64_t b, uint64_t b_length)
{
    return a < b + b_length && b < a + a_length;
}

static int region_take(struct block_node *n, struct vhdx *v, const struct vhdx_region *r, uint64_t file_size, struct error *err)
{
    uint64_t offset = le64_get(r->offset);
    uint32_t length = le32_get(r->length);
    bool bat = !memcmp(&r->id, &vhdx_region_bat, sizeof(r->id)), metadata = !memcmp(&r->id, &vhdx_region_metadata, sizeof(r->id));
    if (!bat && !metadata)
        return le32_get(r->required) & 1 ? refuse(n, "it needs a region that is not known here", err) : 0;
    if (offset < VHDX_MIB || offset % VHDX_MIB || !length || length % VHDX_MIB || offset >= file_size ||
        length > ALIGN_UP(file_size, (uint64_t)VHDX_MIB) - offset)
        return refuse(n, bat ? "its block table lies outside the file" : "its metadata lie outside the file", err);
    if (overlaps(offset, length, v->log_offset, v->log_length))
        return refuse(n, "its log overlaps block table or metadata", err);
    *(bat ? &v->bat_offset : &v->metadata_offset) = offset;
    *(bat ? &v->bat_length : &v->metadata_length) = length;
    return 0;
}

int vhdx_regions_read(struct block_node *n, struct vhdx *v, struct error *err)
{
    struct vhdx_region_header h = { .count = le32_make(0) };
    uint8_t *data = malloc(VHDX_TABLE_BYTES);
    int64_t size = n->file->ops->size(n->file);
    bool good = false;
    int r = !data ? -ENOMEM : size < 0 ? (int)size : 0;
    for (unsigned i = 0; !r && !good && i < 2; i++) {
        r = block_protocol_pread(n->file, i ? VHDX_REGION2_AT : VHDX_REGION1_AT, data, VHDX_TABLE_BYTES);
        memcpy(&h, data, sizeof(h));
        good = !r && !memcmp(h.signature, "regi", 4) && vhdx_crc32c(data, VHDX_TABLE_BYTES, 4) == le32_get(h.checksum) &&
               le32_get(h.count) <= ENTRIES_MAX;
    }
    int result = r ? cannot_read(n, r, err) : good ? 0 : refuse(n, "neither of its two region tables is whole", err);
    for (uint32_t i = 0; !result && i < le32_get(h.count); i++) {
        struct vhdx_region x;
        memcpy(&x, data + sizeof(h) + i * sizeof(x), sizeof(x));
        result = region_take(n, v, &x, (uint64_t)size, err);
    }
    free(data);
    if (!result && (!v->bat_offset || !v->metadata_offset))
        return refuse(n, "it has no block table or no metadata", err);
    if (!result && overlaps(v->bat_offset, v->bat_length, v->metadata_offset, v->metadata_length))
        return refuse(n, "its block table overlaps its metadata", err);
    return result;
}

struct items {
    le32 parameters[2], logical, physical;
    le64 size;
    unsigned seen;
};

static int item_take(struct block_node *n, struct vhdx *v, const struct vhdx_metadata *m, struct items *x, struct error *err)
{
    const struct { const struct vhdx_guid *id; void *to; uint32_t length; } known[] = {
        { &vhdx_item_parameters, x->parameters, sizeof(x->parameters) }, { &vhdx_item_size, &x->size, sizeof(x->size) },
        { &vhdx_item_logical, &x->logical, sizeof(x->logical) }, { &vhdx_item_physical, &x->physical, sizeof(x->physical) },
        { &vhdx_item_id, NULL, 16 },
    };
    uint32_t offset = le32_get(m->offset), length = le32_get(m->length);
    size_t i = 0;
    while (i < ARRAY_SIZE(known) && memcmp(known[i].id, &m->id, sizeof(m->id)))
        i++;
    if (i == ARRAY_SIZE(known))
        return le32_get(m->flags) & VHDX_IS_REQUIRED ? refuse(n, "it needs an item of metadata that is not known here", err) : 0;
    if (length != known[i].length || offset < VHDX_TABLE_BYTES || offset > v->metadata_length ||
        length > v->metadata_length - offset)
        return refuse(n, "an item of its metadata has a wrong place or length", err);
    x->seen |= 1u << i;
    int r = known[i].to ? block_protocol_pread(n->file, v->metadata_offset + offset, known[i].to, length) : 0;
    return r ? cannot_read(n, r, err) : 0;
}

static int items_read(struct block_node *n, struct vhdx *v, struct items *x, struct error *err)
{
    struct vhdx_metadata_header h;
    uint8_t *data = malloc(VHDX_TABLE_BYTES);
    int r = data ? block_protocol_pread(n->file, v->metadata_offset, data, VHDX_TABLE_BYTES) : -ENOMEM;
    int result = r ? cannot_read(n, r, err) : 0;
    if (!result) {
        memcpy(&h, data, sizeof(h));
        if (memcmp(h.signature, "metadata", 8) || le16_get(h.count) > ENTRIES_MAX)
            result = refuse(n, "its metadata table is damaged", err);
    }
    for (uint32_t i = 0; !result && i < le16_get(h.count); i++) {
        struct vhdx_metadata m;
        memcpy(&m, data + sizeof(h) + i * sizeof(m), sizeof(m));
        result = item_take(n, v, &m, x, err);
    }
    free(data);
    return result ? result : (x->seen & 7) != 7 ? refuse(n, "its metadata lack the block size, disk size or sector size", err) : 0;
}

int vhdx_metadata_read(struct block_node *n, struct vhdx *v, uint32_t *block, struct error *err)
{
    struct items x = { .seen = 0 };
    if (items_read(n, v, &x, err))
        return -1;
    uint32_t sector = le32_get(x.logical), flags = le32_get(x.parameters[1]);
    *block = le32_get(x.parameters[0]);
    n->size = le64_get(x.size);
    if (flags & VHDX_HAS_PARENT)
        return refuse(n, "it is a differencing image, whose other half is elsewhere; merge it with Hyper-V first", err);
    if (*block < VHDX_MIB || *block > 256u << 20 || *block & (*block - 1))
        return refuse(n, "its block size is no power of two from 1 to 256 MiB", err);
    if (sector != 512 && sector != 4096)
        return refuse(n, "its sector size is neither 512 nor 4096", err);
    if (!n->size || n->size > VHDX_SIZE_MAX || n->size % sector)
        return refuse(n, "its disk size is 0, no multiple of its sector size, or above 64 TiB", err);
    v->chunk_ratio = (uint32_t)(((uint64_t)sector << 23) / *block);
    uint64_t blocks = (n->size + *block - 1) / *block, entries = blocks + (blocks - 1) / v->chunk_ratio;
    if (entries * sizeof(le64) > v->bat_length)
        return refuse(n, "its block table is too small for its disk size", err);
    return 0;
}
