/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The log of VHDX: a ring of entries, each a header, descriptors and sectors of 4 KiB, that say what metadata are to be. Changes
 * of the block table go to the log, a barrier, into their place, another barrier. Here each entry stands for itself (its tail
 * is itself), since what came before is in place by then. When an image is opened for writing, the newest chain of whole
 * entries is carried out; without a whole entry nothing was under way.
 *
 * The log is a stranger's: checksums are computed over at most four times its length, and an entry must fit into it.
 */
#include "block/vhdx/vhdx_private.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

enum { DESCRIPTOR_BYTES = 32, FIRST_DESCRIPTORS = (VHDX_LOG_SECTOR - 64) / DESCRIPTOR_BYTES };

struct entry_header {
    char signature[4];
    le32 checksum, length, tail;
    le64 sequence;
    le32 count, reserved;
    struct vhdx_guid log;
    le64 flushed_offset, last_offset;
} __attribute__((packed));
_Static_assert(sizeof(struct entry_header) == 64, "VHDX log entry");

struct descriptor {
    char signature[4];              /* "zero" or "desc" */
    le32 trailing;                  /* desc: the sector's last four bytes */
    le64 leading;                   /* desc: its first eight; zero: a length */
    le64 offset, sequence;
} __attribute__((packed));

struct data_sector {
    char signature[4];
    le32 sequence_high;
    uint8_t data[4084];
    le32 sequence_low;
} __attribute__((packed));
_Static_assert(sizeof(struct data_sector) == VHDX_LOG_SECTOR, "VHDX log sector");

/* The whole log in memory, and what is known of the entry at each sector. */
struct log {
    uint8_t *data;
    uint32_t length;
    uint64_t budget;                /* bytes that may still be summed */
    int8_t *known;                  /* 0: not looked at, 1: whole, -1: not */
};

static struct entry_header header_at(const struct log *l, uint32_t at)
{
    struct entry_header h;
    memcpy(&h, l->data + at, sizeof(h));
    return h;
}

static void ring_copy(const struct log *l, uint32_t at, void *to, uint32_t length)
{
    uint32_t first = MIN(length, l->length - at);
    memcpy(to, l->data + at, first);
    memcpy((uint8_t *)to + first, l->data, length - first);
}

static bool entry_is_whole(struct log *l, uint32_t at, const struct vhdx_guid *id)
{
    struct entry_header h = header_at(l, at);
    uint32_t length = le32_get(h.length), sector = at / VHDX_LOG_SECTOR;
    if (l->known[sector])
        return l->known[sector] > 0;
    l->known[sector] = -1;
    if (memcmp(h.signature, "loge", 4) || memcmp(&h.log, id, sizeof(*id)) || length < VHDX_LOG_SECTOR ||
        length % VHDX_LOG_SECTOR || length > l->length || le32_get(h.tail) % VHDX_LOG_SECTOR || le32_get(h.tail) >= l->length ||
        !le64_get(h.sequence) || le32_get(h.count) > (length - sizeof(h)) / DESCRIPTOR_BYTES || length > l->budget)
        return false;
    l->budget -= length;
    uint8_t *copy = malloc(length);
    if (!copy)
        return false;
    ring_copy(l, at, copy, length);
    bool good = vhdx_crc32c(copy, length, 4) == le32_get(h.checksum);
    free(copy);
    l->known[sector] = good ? 1 : -1;
    return good;
}

/* The newest entry that is whole, with all that its tail says comes before it. False: none. */
static bool head_find(struct log *l, const struct vhdx_guid *id, uint32_t *head)
{
    uint64_t best = 0;
    for (uint32_t at = 0; at < l->length; at += VHDX_LOG_SECTOR) {
        struct entry_header h = header_at(l, at);
        if (!entry_is_whole(l, at, id) || le64_get(h.sequence) <= best)
            continue;
        uint32_t from = le32_get(h.tail);
        uint64_t sequence = 0, steps = l->length / VHDX_LOG_SECTOR;
        bool chain = entry_is_whole(l, from, id);
        for (sequence = chain ? le64_get(header_at(l, from).sequence) : 0; chain && from != at && steps; steps--) {
            from = (uint32_t)(((uint64_t)from + le32_get(header_at(l, from).length)) % l->length);
            chain = entry_is_whole(l, from, id) && le64_get(header_at(l, from).sequence) == ++sequence;
        }
        if (!chain || from != at)
            continue;
        best = le64_get(h.sequence);
        *head = at;
    }
    return best;
}

static int descriptor_apply(struct block_protocol *file, const struct descriptor *d, const struct data_sector *s,
                            uint64_t sequence, uint64_t limit)
{
    uint64_t offset = le64_get(d->offset), length = le64_get(d->leading);
    if (le64_get(d->sequence) != sequence || offset % VHDX_LOG_SECTOR || offset > limit)
        return -EIO;
    if (!memcmp(d->signature, "zero", 4)) {
        if (length % VHDX_LOG_SECTOR || length > limit - offset)
            return -EIO;
        return length ? block_protocol_write_zeroes(file, offset, length, true) : 0;
    }
    uint8_t whole[VHDX_LOG_SECTOR];
    if (memcmp(s->signature, "data", 4) || ((uint64_t)le32_get(s->sequence_high) << 32 | le32_get(s->sequence_low)) != sequence)
        return -EIO;
    memcpy(whole, &d->leading, 8);
    memcpy(whole + 8, s->data, sizeof(s->data));
    memcpy(whole + 8 + sizeof(s->data), &d->trailing, 4);
    return block_protocol_pwrite(file, offset, whole, sizeof(whole));
}

static int entry_apply(struct block_protocol *file, const struct log *l, uint32_t at)
{
    struct entry_header h = header_at(l, at);
    uint32_t length = le32_get(h.length), count = le32_get(h.count);
    uint32_t sectors = ALIGN_UP((uint32_t)sizeof(h) + count * DESCRIPTOR_BYTES, (uint32_t)VHDX_LOG_SECTOR);
    uint64_t last = le64_get(h.last_offset);
    int64_t size = file->ops->size(file);
    uint8_t *copy = malloc(length);
    if (!copy)
        return -ENOMEM;
    ring_copy(l, at, copy, length);
    int r = size < 0 ? (int)size : le64_get(h.flushed_offset) > (uint64_t)size || last > 2 * VHDX_SIZE_MAX ? -EIO : 0;
    /* Before the rest: what is zeroed behind the old end is then a hole, however much it is. */
    if (!r && last > (uint64_t)size && file->ops->truncate)
        r = file->ops->truncate(file, last, BLOCK_PREALLOCATION_OFF);
    for (uint32_t i = 0; !r && i < count; i++) {
        struct descriptor d;
        struct data_sector s;
        memcpy(&d, copy + sizeof(h) + i * DESCRIPTOR_BYTES, sizeof(d));
        if (!memcmp(d.signature, "desc", 4)) {
            if (sectors > length - VHDX_LOG_SECTOR) {
                r = -EIO;
                break;
            }
            memcpy(&s, copy + sectors, sizeof(s));
            sectors += VHDX_LOG_SECTOR;
        } else if (memcmp(d.signature, "zero", 4)) {
            r = -EIO;
            break;
        }
        r = descriptor_apply(file, &d, &s, le64_get(h.sequence), MAX(last, (uint64_t)size));
    }
    free(copy);
    return r;
}

static int log_load(struct block_node *n, const struct vhdx *v, struct log *l)
{
    *l = (struct log){ .length = v->log_length, .budget = 4ull * v->log_length };
    l->data = malloc(l->length);
    l->known = calloc(l->length / VHDX_LOG_SECTOR, 1);
    return l->data && l->known ? block_protocol_pread(n->file, v->log_offset, l->data, l->length) : -ENOMEM;
}

int vhdx_log_replay(struct block_node *n, struct vhdx *v, struct error *err)
{
    static const struct vhdx_guid none;
    struct log l;
    uint32_t head, at;
    if (!memcmp(&v->header.log, &none, sizeof(none)))
        return 0;
    int r = log_load(n, v, &l);
    bool found = !r && head_find(&l, &v->header.log, &head);
    if (found && n->readonly) {
        free(l.data);
        free(l.known);
        return error_set(err, "cannot open '%s' read-only: it was not closed, and its log has to be carried out first. Open it for "
                         "writing once", n->filename);
    }
    if (found) {
        at = le32_get(header_at(&l, head).tail);
        for (bool last = false; !r && !last;) {
            last = at == head;
            r = entry_apply(n->file, &l, at);
            at = (uint32_t)(((uint64_t)at + le32_get(header_at(&l, at).length)) % l.length);
        }
        if (!r)
            r = block_protocol_flush(n->file);
    }
    free(l.data);
    free(l.known);
    if (!r && !n->readonly) {
        v->header.log = none;
        r = vhdx_header_update(v, n->file);
    }
    return r ? error_set(err, "cannot open '%s': its log cannot be carried out: %s", n->filename, strerror(-r)) : 0;
}

static void descriptor_make(const uint8_t *page, uint64_t offset, uint64_t sequence, struct descriptor *d, struct data_sector *s)
{
    *d = (struct descriptor){ .signature = { 'd', 'e', 's', 'c' }, .offset = le64_make(offset), .sequence = le64_make(sequence) };
    memcpy(&d->leading, page, 8);
    memcpy(&d->trailing, page + VHDX_LOG_SECTOR - 4, 4);
    *s = (struct data_sector){ .signature = { 'd', 'a', 't', 'a' }, .sequence_high = le32_make((uint32_t)(sequence >> 32)),
                               .sequence_low = le32_make((uint32_t)sequence) };
    memcpy(s->data, page + 8, sizeof(s->data));
}

/* An entry behind the last one, in one piece: at the ring's end the rest is left free. */
static int entry_write(struct vhdx *v, struct block_protocol *file, const uint64_t *page, unsigned count)
{
    uint32_t length = (1 + count) * VHDX_LOG_SECTOR;
    int64_t size = file->ops->size(file);
    uint8_t *data = calloc(1, length);
    if (!data || size < 0) {
        free(data);
        return size < 0 ? (int)size : -ENOMEM;
    }
    if (v->log_at + length > v->log_length)
        v->log_at = 0;
    struct entry_header h = {
        .signature = { 'l', 'o', 'g', 'e' }, .length = le32_make(length), .tail = le32_make(v->log_at),
        .sequence = le64_make(++v->log_sequence), .count = le32_make(count), .log = v->header.log,
        .flushed_offset = le64_make((uint64_t)size), .last_offset = le64_make((uint64_t)size),
    };
    for (unsigned i = 0; i < count; i++) {
        struct descriptor d;
        struct data_sector s;
        descriptor_make(v->table.page[page[i]], v->bat_offset + page[i] * VHDX_LOG_SECTOR, v->log_sequence, &d, &s);
        memcpy(data + sizeof(h) + i * DESCRIPTOR_BYTES, &d, sizeof(d));
        memcpy(data + (1 + i) * VHDX_LOG_SECTOR, &s, sizeof(s));
    }
    memcpy(data, &h, sizeof(h));
    h.checksum = le32_make(vhdx_crc32c(data, length, 4));
    memcpy(data, &h, sizeof(h));
    int r = block_protocol_pwrite(file, v->log_offset + v->log_at, data, length);
    free(data);
    v->log_at += length;
    return r ? r : block_protocol_flush(file);
}

static int pages_write(struct vhdx *v, struct block_protocol *file, const uint64_t *page, unsigned count)
{
    int r = entry_write(v, file, page, count);
    for (unsigned i = 0; !r && i < count; i++)
        r = block_protocol_pwrite(file, v->bat_offset + page[i] * VHDX_LOG_SECTOR, v->table.page[page[i]], VHDX_LOG_SECTOR);
    if (!r)
        r = block_protocol_flush(file);
    for (unsigned i = 0; !r && i < count; i++)
        v->table.changed[page[i]] = false;
    return r;
}

int vhdx_log_table(struct vhdx *v)
{
    struct block_protocol *file = v->s.file;
    uint64_t page[FIRST_DESCRIPTORS];
    unsigned count = 0;
    int r = 0;
    if (!v->logging) {
        r = vhdx_guid_make(&v->header.log);
        if (!r)
            r = vhdx_header_update(v, file);
        v->logging = !r;
    }
    for (uint64_t i = 0; !r && i < v->table.pages; i++) {
        if (!v->table.changed[i])
            continue;
        page[count++] = i;
        if (count == FIRST_DESCRIPTORS) {
            r = pages_write(v, file, page, count);
            count = 0;
        }
    }
    return r || !count ? r : pages_write(v, file, page, count);
}
