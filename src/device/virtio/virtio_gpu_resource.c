/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Resources: pictures in the host's memory, and the guest's pages behind them, from which transfers copy. Pages are kept as guest
 * addresses and looked up at each transfer, so that nothing depends on what the guest makes of its address space meanwhile;
 * neighbours are joined. Only RAM is read.
 * Source: VIRTIO 1.2, 5.7.6.8.
 */
#include <stdlib.h>
#include <string.h>

#include "device/virtio/virtio_gpu_private.h"
#include "display/display.h"

/* Finding a page counts like copying so many bytes. */
enum { ENTRIES_AT_ONCE = 64, LOOKUP_COST = 256 };

/* 5.7.6.8: names are those of the bytes as they lie in memory. */
static const struct gpu_format formats[] = {
    { 1, 2, 1, 0, 3 }, { 2, 2, 1, 0, 3 },     /* B8G8R8A8, B8G8R8X8 */
    { 3, 1, 2, 3, 0 }, { 4, 1, 2, 3, 0 },     /* A8R8G8B8, X8R8G8B8 */
    { 67, 0, 1, 2, 3 }, { 68, 3, 2, 1, 0 },   /* R8G8B8A8, X8B8G8R8 */
    { 121, 3, 2, 1, 0 }, { 134, 0, 1, 2, 3 }, /* A8B8G8R8, R8G8B8X8 */
};

static const struct gpu_format *format_find(uint32_t number)
{
    for (unsigned i = 0; i < ARRAY_SIZE(formats); i++)
        if (formats[i].number == number) return &formats[i];
    return NULL;
}

static struct gpu_resource **place(struct gpu *g, uint32_t id)
{
    struct gpu_resource **at = &g->bucket[id % GPU_BUCKETS];

    while (*at && (*at)->id != id) at = &(*at)->next;
    return at;
}

struct gpu_resource *gpu_resource_find(const struct gpu *g, uint32_t id)
{
    struct gpu_resource *r = g->bucket[id % GPU_BUCKETS];

    while (r && r->id != id) r = r->next;
    return r;
}

bool gpu_area_check(const struct gpu_rect *r, const struct gpu_resource *within, struct gpu_area *to)
{
    *to = (struct gpu_area){ le32_get(r->x), le32_get(r->y), le32_get(r->width), le32_get(r->height) };
    return to->width && to->height && to->x < within->width && to->y < within->height && to->width <= within->width - to->x &&
           to->height <= within->height - to->y;
}

/* ---- making and freeing ---- */

enum gpu_command gpu_resource_create(struct gpu *g, const union gpu_request *request, const struct virtqueue_chain *c, union gpu_response *to)
{
    uint32_t id = le32_get(request->create.resource_id), width = le32_get(request->create.width), height = le32_get(request->create.height);
    const struct gpu_format *format = format_find(le32_get(request->create.format));
    uint64_t bytes = sizeof(struct gpu_resource) + (uint64_t)width * height * GPU_PIXEL_BYTES;
    struct gpu_resource *r;

    if (!id || gpu_resource_find(g, id)) return GPU_ERR_INVALID_RESOURCE_ID;
    if (!format || !width || !height || width > DISPLAY_MAX_SIDE || height > DISPLAY_MAX_SIDE) return GPU_ERR_INVALID_PARAMETER;
    if (g->resource_count == GPU_RESOURCES_MAX || bytes > g->config.max_hostmem - g->hostmem) return GPU_ERR_OUT_OF_MEMORY;
    r = calloc(1, sizeof(*r));
    if (!r) return GPU_ERR_OUT_OF_MEMORY;
    *r = (struct gpu_resource){ .id = id, .width = width, .height = height, .format = format, .bytes = bytes, .pixel = calloc(height, (size_t)width * GPU_PIXEL_BYTES) };
    if (!r->pixel) {
        free(r);
        return GPU_ERR_OUT_OF_MEMORY;
    }
    *place(g, id) = r;
    g->resource_count++;
    g->hostmem += bytes;
    return GPU_OK_NODATA;
}

static void backing_free(struct gpu *g, struct gpu_resource *r)
{
    uint64_t bytes = r->pieces * sizeof(*r->backing);

    free(r->backing);
    r->backing = NULL;
    r->pieces = 0;
    r->bytes -= bytes;
    g->hostmem -= bytes;
}

static void resource_free(struct gpu *g, struct gpu_resource **at)
{
    struct gpu_resource *r = *at;

    *at = r->next;
    backing_free(g, r);
    g->hostmem -= r->bytes;
    g->resource_count--;
    free(r->pixel);
    free(r);
}

enum gpu_command gpu_resource_unref(struct gpu *g, const union gpu_request *request, const struct virtqueue_chain *c, union gpu_response *to)
{
    struct gpu_resource **at = place(g, le32_get(request->resource.resource_id));

    if (!*at) return GPU_ERR_INVALID_RESOURCE_ID;
    gpu_screen_forget(g, *at);
    resource_free(g, at);
    return GPU_OK_NODATA;
}

void gpu_resources_free(struct gpu *g)
{
    for (unsigned i = 0; i < GPU_BUCKETS; i++)
        while (g->bucket[i]) resource_free(g, &g->bucket[i]);
}

/* ---- pages ---- */

static bool is_ram(struct memory_map *m, gpa_t gpa, uint64_t size)
{
    while (size) {
        struct flat_range r = memory_map_find(m, gpa);
        uint64_t here = r.start + r.size - gpa;

        if (r.kind != RANGE_RAM) return false;
        if (here >= size) return true;
        gpa += here;
        size -= here;
    }
    return true;
}

/* Neighbours become one piece. */
static void piece_add(struct gpu_piece *pieces, unsigned *count, gpa_t gpa, uint32_t length)
{
    struct gpu_piece *last = *count ? &pieces[*count - 1] : NULL;

    if (!length) return;
    if (last && last->gpa + last->length == gpa && length <= UINT32_MAX - last->length) last->length += length;
    else pieces[(*count)++] = (struct gpu_piece){ gpa, length };
}

static enum gpu_command pieces_read(struct gpu *g, const struct virtqueue_chain *c, unsigned entries, struct gpu_piece *pieces, unsigned *count)
{
    struct gpu_mem_entry e[ENTRIES_AT_ONCE];

    for (unsigned i = 0; i < entries; i++) {
        const struct gpu_mem_entry *now = &e[i % ENTRIES_AT_ONCE];
        uint32_t length;
        gpa_t gpa;

        if (now == e && virtqueue_read(c, sizeof(struct gpu_attach) + i * sizeof(*e), e, sizeof(e)) < MIN(sizeof(e), (entries - i) * sizeof(*e)))
            return GPU_ERR_UNSPEC;
        gpa = le64_get(now->addr);
        length = le32_get(now->length);
        if (gpa + length < gpa || !is_ram(g->v.memory, gpa, length)) return GPU_ERR_UNSPEC;
        piece_add(pieces, count, gpa, length);
    }
    return GPU_OK_NODATA;
}

static enum gpu_command backing_make(struct gpu *g, struct gpu_resource *r, unsigned entries, const struct virtqueue_chain *c)
{
    struct gpu_piece *pieces = malloc(MAX(entries, 1u) * sizeof(*pieces)), *kept;
    enum gpu_command result;
    unsigned count = 0;

    if (!pieces) return GPU_ERR_OUT_OF_MEMORY;
    result = pieces_read(g, c, entries, pieces, &count);
    if (result == GPU_OK_NODATA && count * sizeof(*pieces) > g->config.max_hostmem - g->hostmem) result = GPU_ERR_OUT_OF_MEMORY;
    if (result != GPU_OK_NODATA) {
        free(pieces);
        return result;
    }
    kept = realloc(pieces, MAX(count, 1u) * sizeof(*pieces));
    r->backing = kept ? kept : pieces;
    r->pieces = count;
    r->bytes += count * sizeof(*pieces);
    g->hostmem += count * sizeof(*pieces);
    return GPU_OK_NODATA;
}

enum gpu_command gpu_backing_attach(struct gpu *g, const union gpu_request *request, const struct virtqueue_chain *c, union gpu_response *to)
{
    struct gpu_resource *r = gpu_resource_find(g, le32_get(request->attach.resource_id));
    uint32_t entries = le32_get(request->attach.nr_entries);

    if (!r) return GPU_ERR_INVALID_RESOURCE_ID;
    if (r->backing) return GPU_ERR_UNSPEC;
    if (entries > GPU_ENTRIES_MAX) return GPU_ERR_UNSPEC;
    g->copied += (uint64_t)entries * LOOKUP_COST;
    return backing_make(g, r, entries, c);
}

enum gpu_command gpu_backing_detach(struct gpu *g, const union gpu_request *request, const struct virtqueue_chain *c, union gpu_response *to)
{
    struct gpu_resource *r = gpu_resource_find(g, le32_get(request->resource.resource_id));

    if (!r) return GPU_ERR_INVALID_RESOURCE_ID;
    if (!r->backing) return GPU_ERR_UNSPEC;
    backing_free(g, r);
    return GPU_OK_NODATA;
}

/* ---- transfers ---- */

/* Where in the backing a transfer is: it only ever goes forward. */
struct walk {
    struct memory_map *memory;
    const struct gpu_piece *piece, *end;
    uint64_t steps;
    uint64_t start;                    /* the piece's offset */
};

static bool ram_read(struct memory_map *m, gpa_t gpa, uint8_t *to, uint64_t size)
{
    while (size) {
        struct flat_range r = memory_map_find(m, gpa);
        uint64_t here = MIN(r.start + r.size - gpa, size);

        if (r.kind != RANGE_RAM) return false;
        memcpy(to, r.hva + (gpa - r.start), here);
        gpa += here;
        to += here;
        size -= here;
    }
    return true;
}

/* Bytes behind the end of the backing stay as they are. */
static bool walk_copy(struct walk *w, uint64_t offset, uint8_t *to, uint64_t size)
{
    while (size) {
        uint64_t skip, here;

        for (; w->piece < w->end && offset - w->start >= w->piece->length; w->steps++) w->start += (w->piece++)->length;
        if (w->piece == w->end) return true;
        skip = offset - w->start;
        here = MIN(w->piece->length - skip, size);
        if (!ram_read(w->memory, w->piece->gpa + skip, to, here)) return false;
        offset += here;
        to += here;
        size -= here;
    }
    return true;
}

enum gpu_command gpu_transfer(struct gpu *g, const union gpu_request *request, const struct virtqueue_chain *c, union gpu_response *to)
{
    struct gpu_resource *r = gpu_resource_find(g, le32_get(request->transfer.resource_id));
    uint64_t offset = le64_get(request->transfer.offset), stride, bytes, rows;
    bool is_right = true;
    struct gpu_area a;
    struct walk w;

    if (!r) return GPU_ERR_INVALID_RESOURCE_ID;
    if (!gpu_area_check(&request->transfer.r, r, &a)) return GPU_ERR_INVALID_PARAMETER;
    if (!r->backing) return GPU_ERR_UNSPEC;
    if (offset > UINT64_MAX / 2) return GPU_ERR_INVALID_PARAMETER;
    w = (struct walk){ g->v.memory, r->backing, r->backing + r->pieces, 0, 0 };
    stride = (uint64_t)r->width * GPU_PIXEL_BYTES;
    bytes = (uint64_t)a.width * GPU_PIXEL_BYTES;
    rows = a.height;
    if (bytes == stride) {             /* whole rows lie one behind the other */
        bytes *= rows;
        rows = 1;
    }
    for (uint64_t y = 0; y < rows && is_right; y++)
        is_right = walk_copy(&w, offset + y * stride, r->pixel + (a.y + y) * stride + (uint64_t)a.x * GPU_PIXEL_BYTES, bytes);
    g->copied += bytes * rows + w.steps * LOOKUP_COST;
    return is_right ? GPU_OK_NODATA : GPU_ERR_UNSPEC;
}
