/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The table of internal snapshots. In memory is only what is needed to protect and find their tables; names and dates
 * are read from the file when somebody asks. A changed table is written to new clusters, entries of others byte for
 * byte as they were (they may hold fields that are not known here), and the header is switched over to it.
 */
#include "block/qcow2/snapshot.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define CHECK_HINT "run 'ospite img check -r all' on a copy, or restore a backup"
#define COPY_BYTES (256u << 10)

struct entry {
    be64 l1_offset;
    be32 l1_entries;
    be16 id_length, name_length;
    be32 seconds, nanoseconds;
    be64 clock;
    be32 vm_state_bytes, extra_length;
} __attribute__((packed));

/* As far as it is there. */
struct extra {
    be64 vm_state_bytes, disk_bytes, icount;
} __attribute__((packed));

static uint64_t entry_length(const struct entry *e)
{
    return ALIGN_UP(sizeof(*e) + (uint64_t)be32_get(e->extra_length) + be16_get(e->id_length) + be16_get(e->name_length),
                    8ull);
}

static int entry_read(struct qcow2 *q, uint64_t at, struct entry *e, struct extra *x)
{
    int r = block_protocol_pread(q->file, at, e, sizeof(*e));
    *x = (struct extra){ 0 };
    uint32_t there = MIN(be32_get(e->extra_length), (uint32_t)sizeof(*x));
    return r || !there ? r : block_protocol_pread(q->file, at + sizeof(*e), x, there);
}

int qcow2_snapshots_read(struct qcow2 *q, struct error *err)
{
    uint64_t at = q->snapshots_offset;
    q->snapshot = calloc(q->snapshots ? q->snapshots : 1, sizeof(*q->snapshot));
    if (!q->snapshot)
        return error_set(err, "out of memory");
    for (uint32_t i = 0; i < q->snapshots; i++) {
        struct entry e;
        struct extra x;
        int r = entry_read(q, at, &e, &x);
        if (r)
            return error_set(err, "its snapshot table cannot be read: %s", strerror(-r));
        struct qcow2_snapshot *s = &q->snapshot[i];
        *s = (struct qcow2_snapshot){ .l1_offset = be64_get(e.l1_offset), .l1_entries = be32_get(e.l1_entries), .at = at,
                                      .length = (uint32_t)entry_length(&e) };
        at += s->length;
        if (be32_get(e.extra_length) >= 16)
            s->disk_bytes = be64_get(x.disk_bytes);
        if (be32_get(e.extra_length) > 4096 || at - q->snapshots_offset > QCOW2_MAX_SNAPSHOT_BYTES ||
            s->l1_entries > QCOW2_MAX_L1_BYTES / 8 || s->l1_offset >= QCOW2_HOST_MAX ||
            s->l1_offset & (q->cluster_size - 1))
            return error_set(err, "entry %u of its snapshot table is not valid; " CHECK_HINT, i);
    }
    q->snapshots_bytes = at - q->snapshots_offset;
    return 0;
}

static int text_read(struct qcow2 *q, uint64_t at, uint32_t length, char *to, size_t room)
{
    size_t take = MIN((size_t)length, room - 1);
    int r = take ? block_protocol_pread(q->file, at, to, take) : 0;
    to[take] = 0;
    return r;
}

int qcow2_snapshot_describe(struct qcow2 *q, uint32_t index, struct block_snapshot *s)
{
    struct entry e;
    struct extra x;
    uint64_t at = q->snapshot[index].at;
    int r = entry_read(q, at, &e, &x);
    *s = (struct block_snapshot){ 0 };
    if (r)
        return r;
    uint32_t extra = be32_get(e.extra_length);
    s->date_s = be32_get(e.seconds);
    s->date_ns = be32_get(e.nanoseconds);
    s->vm_clock_ns = be64_get(e.clock);
    s->vm_state_bytes = extra >= 8 ? be64_get(x.vm_state_bytes) : be32_get(e.vm_state_bytes);
    s->disk_bytes = extra >= 16 ? be64_get(x.disk_bytes) : q->node->size;
    s->has_icount = extra >= 24 && be64_get(x.icount) != UINT64_MAX;
    s->icount = s->has_icount ? be64_get(x.icount) : 0;
    at += sizeof(e) + extra;
    r = text_read(q, at, be16_get(e.id_length), s->id, sizeof(s->id));
    return r ? r : text_read(q, at + be16_get(e.id_length), be16_get(e.name_length), s->name, sizeof(s->name));
}

int qcow2_snapshot_list(struct block_node *n, struct block_snapshot **list, unsigned *count, struct error *err)
{
    struct qcow2 *q = n->state;
    *count = 0;
    *list = NULL;
    if (q->snapshots_bad)
        return error_set(err, "'%s': its snapshot table is not valid; " CHECK_HINT, n->filename);
    if (!q->snapshots)
        return 0;
    struct block_snapshot *out = calloc(q->snapshots, sizeof(*out));
    if (!out)
        return error_set(err, "'%s': out of memory", n->filename);
    for (uint32_t i = 0; i < q->snapshots; i++) {
        int r = qcow2_snapshot_describe(q, i, &out[i]);
        if (r) {
            free(out);
            return error_set(err, "'%s': its snapshot table cannot be read: %s", n->filename, strerror(-r));
        }
    }
    *list = out;
    *count = q->snapshots;
    return 0;
}

/* All ids are looked at first, then all names, or the other way round. */
int qcow2_snapshot_find(struct qcow2 *q, const char *id_or_name, bool name_first, uint32_t *index, struct error *err)
{
    struct block_snapshot s;
    if (q->snapshots_bad)
        return error_set(err, "its snapshot table is not valid; " CHECK_HINT);
    for (unsigned round = 0; round < 2; round++)
        for (uint32_t i = 0; i < q->snapshots; i++) {
            int r = qcow2_snapshot_describe(q, i, &s);
            if (r)
                return error_set(err, "its snapshot table cannot be read: %s", strerror(-r));
            if (!strcmp(round != name_first ? s.name : s.id, id_or_name)) {
                *index = i;
                return 0;
            }
        }
    return error_set(err, "it has no snapshot '%s'; 'ospite img snapshot -l' lists them", id_or_name);
}

void qcow2_snapshot_id_next(struct qcow2 *q, char *id, size_t room)
{
    unsigned long highest = 0;
    struct block_snapshot s;
    for (uint32_t i = 0; i < q->snapshots; i++)
        if (!qcow2_snapshot_describe(q, i, &s) && strtoul(s.id, NULL, 10) < UINT32_MAX)
            highest = MAX(highest, strtoul(s.id, NULL, 10));
    snprintf(id, room, "%lu", highest + 1);
}

/* *length is a multiple of 8. malloc'ed; NULL: out of memory. */
uint8_t *qcow2_snapshot_entry_make(const struct block_snapshot *s, uint64_t l1_offset, uint32_t l1_entries,
                                   uint32_t *length)
{
    size_t id = strlen(s->id), name = strlen(s->name);
    struct entry e = {
        .l1_offset = be64_make(l1_offset), .l1_entries = be32_make(l1_entries), .id_length = be16_make((uint16_t)id),
        .name_length = be16_make((uint16_t)name), .seconds = be32_make((uint32_t)s->date_s),
        .nanoseconds = be32_make(s->date_ns), .clock = be64_make(s->vm_clock_ns),
        .vm_state_bytes = be32_make(s->vm_state_bytes > UINT32_MAX ? 0 : (uint32_t)s->vm_state_bytes),
        .extra_length = be32_make(sizeof(struct extra)),
    };
    const struct extra x = { be64_make(s->vm_state_bytes), be64_make(s->disk_bytes),
                             be64_make(s->has_icount ? s->icount : UINT64_MAX) };
    *length = (uint32_t)entry_length(&e);
    uint8_t *out = calloc(1, *length);
    if (!out)
        return NULL;
    memcpy(out, &e, sizeof(e));
    memcpy(out + sizeof(e), &x, sizeof(x));
    memcpy(out + sizeof(e) + sizeof(x), s->id, id);
    memcpy(out + sizeof(e) + sizeof(x) + id, s->name, name);
    return out;
}

static int bytes_copy(struct qcow2 *q, uint64_t to, uint64_t from, uint64_t length)
{
    uint8_t *buffer = malloc(COPY_BYTES);
    int r = buffer ? 0 : -ENOMEM;
    while (!r && length) {
        size_t take = MIN(length, (uint64_t)COPY_BYTES);
        r = block_protocol_pread(q->file, from, buffer, take);
        if (!r)
            r = block_protocol_pwrite(q->file, to, buffer, take);
        from += take;
        to += take;
        length -= take;
    }
    free(buffer);
    return r;
}

/* The table without entry `without` (UINT32_MAX: all of them) and with a new one; places says where each one lies. */
static int table_write(struct qcow2 *q, uint64_t offset, uint32_t without, const uint8_t *added, uint32_t added_bytes,
                       struct qcow2_snapshot *places)
{
    uint64_t at = offset;
    int r = 0;
    uint32_t kept = 0;
    for (uint32_t i = 0; !r && i < q->snapshots; i++) {
        if (i == without)
            continue;
        r = bytes_copy(q, at, q->snapshot[i].at, q->snapshot[i].length);
        places[kept] = q->snapshot[i];
        places[kept++].at = at;
        at += q->snapshot[i].length;
    }
    return r || !added_bytes ? r : block_protocol_pwrite(q->file, at, added, added_bytes);
}

static int header_switch(struct qcow2 *q, uint64_t offset, uint32_t count)
{
    struct {
        be32 count;
        be64 offset;
    } __attribute__((packed)) field = { be32_make(count), be64_make(offset) };
    qcow2_barrier_want(q);
    int r = qcow2_refcounts_write_locked(q);
    if (!r)
        r = qcow2_barrier_locked(q);
    if (r)
        return r;
    r = block_protocol_pwrite(q->file, offsetof(struct qcow2_header, snapshots), &field, sizeof(field));
    qcow2_barrier_want(q);
    return qcow2_switch_end_locked(q, r ? r : qcow2_barrier_locked(q));
}

int qcow2_snapshot_table_change_locked(struct qcow2 *q, uint32_t without, const struct qcow2_snapshot *added,
                                       const uint8_t *entry, uint32_t entry_bytes)
{
    uint64_t bytes = q->snapshots_bytes - (without < q->snapshots ? q->snapshot[without].length : 0) + entry_bytes;
    uint64_t clusters = (bytes + q->cluster_size - 1) >> q->cluster_bits, offset = 0;
    uint32_t count = q->snapshots - (without < q->snapshots) + (added != NULL);
    struct qcow2_snapshot *places = calloc(count + 1u, sizeof(*places));
    if (!places || bytes > QCOW2_MAX_SNAPSHOT_BYTES) {
        free(places);
        return places ? -EFBIG : -ENOMEM;
    }
    int r = clusters ? qcow2_allocate_run_locked(q, clusters, &offset) : 0;
    if (!r) {
        r = table_write(q, offset, without, entry, entry_bytes, places);
        if (!r)
            r = header_switch(q, offset, count);
        if (r && clusters && !q->corrupt)
            qcow2_allocation_undo_locked(q, offset, clusters);
    }
    if (r) {
        free(places);
        return r;
    }
    if (added) {
        places[count - 1] = *added;
        places[count - 1].at = offset + bytes - entry_bytes;
        places[count - 1].length = entry_bytes;
    }
    uint64_t old = q->snapshots_offset, old_bytes = q->snapshots_bytes;
    free(q->snapshot);
    q->snapshot = places;
    q->snapshots = count;
    q->snapshots_offset = offset;
    q->snapshots_bytes = bytes;
    qcow2_meta_range_remove(q, old);
    if (clusters && qcow2_extents_add(&q->meta.ranges, offset, clusters << q->cluster_bits))
        return -ENOMEM;
    for (uint64_t c = 0; c < (old_bytes + q->cluster_size - 1) >> q->cluster_bits; c++)
        qcow2_cluster_release_locked(q, (old >> q->cluster_bits) + c);
    return 0;
}
