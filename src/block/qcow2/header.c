/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The qcow2 header and its extensions. Every field is checked before anything else uses it; afterwards the header is
 * patched in place (feature bits, refcount table, size), or made anew by header_write.c.
 */
#include "block/qcow2/qcow2_private.h"

#include "base/log.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define KNOWN_INCOMPATIBLE (QCOW2_INCOMPAT_DIRTY | QCOW2_INCOMPAT_CORRUPT | QCOW2_INCOMPAT_DATA_FILE | \
                            QCOW2_INCOMPAT_COMPRESSION | QCOW2_INCOMPAT_EXTENDED_L2)
#define CHECK_HINT "run 'ospite img check -r all' on a copy, or restore a backup"

static int text_copy(char *to, size_t room, const uint8_t *from, uint32_t length, const char *what, struct error *err)
{
    if (length >= room)
        return error_set(err, "its %s is longer than %zu bytes; " CHECK_HINT, what, room - 1);
    memcpy(to, from, length);
    to[length] = 0;
    if (strlen(to) != length)
        return error_set(err, "its %s holds a zero byte; " CHECK_HINT, what);
    return 0;
}

/* Names of incompatible features from the image's own table, for the message. */
static int features_refuse(uint64_t unknown, const uint8_t *table, uint32_t length, struct error *err)
{
    char names[512] = "";
    for (unsigned bit = 0; bit < 64; bit++) {
        char name[48] = "";
        if (!(unknown >> bit & 1))
            continue;
        for (uint32_t i = 0; i + 48 <= length; i += 48)
            if (table[i] == 0 && table[i + 1] == bit)
                snprintf(name, sizeof(name), "%.46s", (const char *)table + i + 2);
        for (char *c = name; *c; c++)
            if ((unsigned char)*c < ' ' || *c == 127)
                *c = '?';
        size_t used = strlen(names);
        if (*name)
            snprintf(names + used, sizeof(names) - used, "%s'%s'", used ? ", " : "", name);
        else
            snprintf(names + used, sizeof(names) - used, "%sbit %u", used ? ", " : "", bit);
    }
    return error_set(err, "it uses features that are not supported: %s; convert it with a qemu-img that knows them",
                     names);
}

static int extensions_read(struct qcow2 *q, const uint8_t *head, uint64_t end, struct error *err)
{
    const uint8_t *names = NULL;
    uint32_t names_length = 0;
    for (uint64_t at = q->header_length; at + 8 <= end;) {
        be32 raw[2];
        memcpy(raw, head + at, 8);
        uint32_t type = be32_get(raw[0]), length = be32_get(raw[1]);
        at += 8;
        if (type == QCOW2_EXT_END)
            break;
        if (length > end - at)
            return error_set(err, "a header extension (0x%08x) is longer than the header; " CHECK_HINT, type);
        if (type == QCOW2_EXT_BACKING_FORMAT &&
            text_copy(q->backing_format, sizeof(q->backing_format), head + at, length, "backing format name", err))
            return -1;
        if (type == QCOW2_EXT_DATA_FILE &&
            text_copy(q->data_filename, sizeof(q->data_filename), head + at, length, "data file name", err))
            return -1;
        if (type == QCOW2_EXT_BITMAPS && length == sizeof(q->bitmaps_raw))
            memcpy(&q->bitmaps_raw, head + at, length);
        if (type == QCOW2_EXT_CRYPT) {
            struct qcow2_crypt_extension x;
            if (length != sizeof(x))
                return error_set(err, "its encryption header extension is %u bytes long, not %zu; " CHECK_HINT, length, sizeof(x));
            memcpy(&x, head + at, sizeof(x));
            q->crypt_offset = be64_get(x.offset);
            q->crypt_bytes = be64_get(x.bytes);
        }
        if (type == QCOW2_EXT_FEATURE_NAMES) {
            names = head + at;
            names_length = length;
        }
        at += ALIGN_UP((uint64_t)length, 8ull);
    }
    uint64_t unknown = q->incompatible & ~KNOWN_INCOMPATIBLE;
    return unknown ? features_refuse(unknown, names, names_length, err) : 0;
}

static int version3_read(struct qcow2 *q, const struct qcow2_header *h, struct error *err)
{
    q->incompatible = be64_get(h->incompatible);
    q->compatible = be64_get(h->compatible);
    q->autoclear = be64_get(h->autoclear);
    q->refcount_order = be32_get(h->refcount_order);
    q->header_length = be32_get(h->header_length);
    if (q->header_length < 104 || q->header_length > q->cluster_size || q->header_length % 8)
        return error_set(err, "its header length %u is not valid; " CHECK_HINT, q->header_length);
    if (q->refcount_order > 6)
        return error_set(err, "its refcounts are 2^%u bits wide, at most 64 are valid; " CHECK_HINT, q->refcount_order);
    unsigned compression = q->header_length > 104 ? h->compression : 0;
    if (compression > QCOW2_ZSTD && !(q->incompatible & ~KNOWN_INCOMPATIBLE))
        return error_set(err, "its compression type %u is not supported; convert it with qemu-img", compression);
    if ((compression != QCOW2_ZLIB) != !!(q->incompatible & QCOW2_INCOMPAT_COMPRESSION) && compression <= QCOW2_ZSTD)
        return error_set(err, "its compression type and its feature bit disagree; " CHECK_HINT);
    q->compression = compression;
    return 0;
}

static int geometry_check(struct qcow2 *q, const struct qcow2_header *h, struct error *err)
{
    uint64_t size = be64_get(h->size);
    q->extended = q->incompatible & QCOW2_INCOMPAT_EXTENDED_L2;
    if (q->extended && q->cluster_bits < 14)
        return error_set(err, "extended L2 entries need clusters of 16 KiB or more; " CHECK_HINT);
    q->entry_bytes = q->extended ? 16 : 8;
    q->l2_bits = q->cluster_bits - (q->extended ? 4 : 3);
    q->sub_bits = q->extended ? q->cluster_bits - 5 : q->cluster_bits;
    if (size > BIT(62))
        return error_set(err, "its disk size is beyond 4 EiB; " CHECK_HINT);
    q->node->size = ALIGN_UP(size, 512ull);
    q->l1_entries = be32_get(h->l1_entries);
    uint64_t per_l1 = BIT(q->l2_bits + q->cluster_bits);
    if (q->l1_entries > QCOW2_MAX_L1_BYTES / 8)
        return error_set(err, "its L1 table is larger than 32 MiB; " CHECK_HINT);
    if (q->l1_entries < (q->node->size + per_l1 - 1) / per_l1)
        return error_set(err, "its L1 table is too small for the disk; " CHECK_HINT);
    return 0;
}

static int table_check(const struct qcow2 *q, uint64_t offset, uint64_t bytes, const char *what, struct error *err)
{
    if (offset & (q->cluster_size - 1))
        return error_set(err, "its %s does not begin at a cluster; " CHECK_HINT, what);
    if (!bytes)
        return 0;
    int64_t end = q->file->ops->size(q->file);
    if (end < 0)
        return error_set(err, "its size cannot be read: %s", strerror((int)-end));
    if (!offset || offset >= QCOW2_HOST_MAX || offset >= (uint64_t)end ||
        bytes > ALIGN_UP((uint64_t)end, q->cluster_size) - offset)
        return error_set(err, "its %s lies past the end of the file; it may be cut short: copy it again, or %s", what,
                         CHECK_HINT);
    return 0;
}

static int tables_check(struct qcow2 *q, const struct qcow2_header *h, struct error *err)
{
    q->l1_offset = be64_get(h->l1_offset);
    q->reftable_offset = be64_get(h->reftable_offset);
    q->reftable_clusters = be32_get(h->reftable_clusters);
    q->snapshots = be32_get(h->snapshots);
    q->snapshots_offset = be64_get(h->snapshots_offset);
    if (!q->reftable_clusters || (uint64_t)q->reftable_clusters << q->cluster_bits > QCOW2_MAX_REFTABLE_BYTES)
        return error_set(err, "its refcount table has no valid size; " CHECK_HINT);
    if (q->snapshots > QCOW2_MAX_SNAPSHOTS)
        return error_set(err, "it has more than %d snapshots; " CHECK_HINT, QCOW2_MAX_SNAPSHOTS);
    if (table_check(q, q->l1_offset, q->l1_entries * 8ull, "L1 table", err) ||
        table_check(q, q->reftable_offset, (uint64_t)q->reftable_clusters << q->cluster_bits, "refcount table", err) ||
        table_check(q, q->snapshots_offset, q->snapshots, "snapshot table", err))
        return -1;
    q->reftable_entries = (uint32_t)(((uint64_t)q->reftable_clusters << q->cluster_bits) / 8);
    return 0;
}

static int backing_name_read(struct qcow2 *q, const struct qcow2_header *h, const uint8_t *head, struct error *err)
{
    q->backing_offset = be64_get(h->backing_offset);
    q->backing_length = be32_get(h->backing_length);
    if (!q->backing_offset || !q->backing_length)
        return 0;
    if (q->backing_offset > q->cluster_size || q->backing_length > q->cluster_size - q->backing_offset)
        return error_set(err, "its backing file name lies outside the header; " CHECK_HINT);
    return text_copy(q->backing, sizeof(q->backing), head + q->backing_offset, q->backing_length, "backing file name",
                     err);
}

static int header_parse(struct qcow2 *q, const uint8_t *head, struct error *err)
{
    struct qcow2_header h;
    memcpy(&h, head, sizeof(h));
    if (q->version == 3 && version3_read(q, &h, err))
        return -1;
    uint64_t end = q->cluster_size;
    uint64_t backing = be64_get(h.backing_offset);
    if (backing && backing < end)
        end = backing;
    if (extensions_read(q, head, end, err))
        return -1;
    q->crypt_method = be32_get(h.crypt_method);
    if (geometry_check(q, &h, err) || tables_check(q, &h, err) || backing_name_read(q, &h, head, err))
        return -1;
    return 0;
}

int qcow2_header_read(struct qcow2 *q, struct error *err)
{
    struct qcow2_header h;
    int r = block_protocol_pread(q->file, 0, &h, sizeof(h));
    if (r)
        return error_set(err, "its header cannot be read: %s", strerror(-r));
    q->version = be32_get(h.version);
    q->cluster_bits = be32_get(h.cluster_bits);
    if (be32_get(h.magic) != QCOW2_MAGIC)
        return error_set(err, "it is not a qcow2 image");
    if (q->version != 2 && q->version != 3)
        return error_set(err, "it is a qcow2 image of version %u, 2 and 3 are supported; convert it with qemu-img",
                         q->version);
    if (q->cluster_bits < 9 || q->cluster_bits > 21)
        return error_set(err, "its cluster size 2^%u is not between 512 and 2 MiB; " CHECK_HINT, q->cluster_bits);
    q->cluster_size = BIT(q->cluster_bits);
    q->refcount_order = 4;
    q->header_length = 72;
    uint8_t *head = calloc(1, MAX(q->cluster_size, sizeof(h)));
    if (!head)
        return error_set(err, "out of memory");
    r = block_protocol_pread(q->file, 0, head, q->cluster_size);
    r = r ? error_set(err, "its header cannot be read: %s", strerror(-r)) : header_parse(q, head, err);
    free(head);
    return r;
}

int qcow2_header_features_write(struct qcow2 *q)
{
    be64 words[3] = { be64_make(q->incompatible), be64_make(q->compatible), be64_make(q->autoclear) };
    if (q->version < 3)
        return 0;
    return block_protocol_pwrite(q->file, offsetof(struct qcow2_header, incompatible), words, sizeof(words));
}

/* The width of the counts goes with their table: amend changes both at once. */
int qcow2_header_reftable_write(struct qcow2 *q, uint64_t offset, uint32_t clusters)
{
    struct qcow2_header h;
    uint64_t from = offsetof(struct qcow2_header, reftable_offset);
    size_t length = (q->version == 2 ? 72 : offsetof(struct qcow2_header, header_length)) - from;
    int r = block_protocol_pread(q->file, from, (uint8_t *)&h + from, length);
    h.reftable_offset = be64_make(offset);
    h.reftable_clusters = be32_make(clusters);
    h.refcount_order = be32_make(q->refcount_order);
    return r ? r : block_protocol_pwrite(q->file, from, (uint8_t *)&h + from, length);
}

int qcow2_switch_end_locked(struct qcow2 *q, int r)
{
    if (!r || q->corrupt)
        return r;
    q->corrupt = true;
    log_message("'%s': its header could not be stored: %s. Nothing more is written, so that the image is whole with the old header and "
                "with the new one; open it again", q->node->filename, strerror(-r));
    return r;
}

int qcow2_header_disk_write(struct qcow2 *q, uint64_t size, uint64_t l1_offset, uint32_t l1_entries)
{
    struct {
        be64 size;
        be32 crypt_method, l1_entries;
        be64 l1_offset;
    } __attribute__((packed)) field;
    int r = block_protocol_pread(q->file, offsetof(struct qcow2_header, size), &field, sizeof(field));
    field.size = be64_make(size);
    field.l1_entries = be32_make(l1_entries);
    field.l1_offset = be64_make(l1_offset);
    qcow2_barrier_want(q);
    if (!r)
        r = qcow2_barrier_locked(q);
    if (r)
        return r;
    r = block_protocol_pwrite(q->file, offsetof(struct qcow2_header, size), &field, sizeof(field));
    qcow2_barrier_want(q);
    return qcow2_switch_end_locked(q, r ? r : qcow2_barrier_locked(q));
}

int qcow2_corrupt(struct qcow2 *q, const char *fmt, ...)
{
    char text[256];
    va_list ap;
    if (__atomic_exchange_n(&q->corrupt, true, __ATOMIC_RELAXED))
        return -EIO;
    va_start(ap, fmt);
    vsnprintf(text, sizeof(text), fmt, ap);
    va_end(ap);
    log_message("'%s': the image is corrupt: %s. %s", q->node->filename, text,
                q->node->readonly ? "Run 'ospite img check' on it." :
                "Nothing more is written to it; stop the machine and run 'ospite img check -r all' on it.");
    if (!q->node->readonly && q->version >= 3) {
        q->incompatible |= QCOW2_INCOMPAT_CORRUPT;
        qcow2_header_features_write(q);
        block_protocol_flush(q->file);
    }
    return -EIO;
}
