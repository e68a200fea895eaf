/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Tables of images, read by pages when an entry is asked for. At most so many pages stay in memory; those that were changed
 * stay until the next sync in any case.
 */
#include "block/sparse.h"

#include "base/bits.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

/* VHDX with 64 TiB and the smallest blocks has 512 MiB. */
enum { PAGES_KEPT = 4096, TABLE_BYTES_MAX = 1 << 30 };

int sparse_table_init(struct sparse_table *t, struct block_protocol *file, uint64_t offset, uint64_t bytes)
{
    *t = (struct sparse_table){ .file = file, .offset = offset, .bytes = bytes,
                                .pages = (bytes + SPARSE_PAGE_BYTES - 1) / SPARSE_PAGE_BYTES };
    if (bytes > TABLE_BYTES_MAX)
        return -EFBIG;
    t->page = calloc(t->pages + 1, sizeof(*t->page));
    t->changed = calloc(t->pages + 1, sizeof(*t->changed));
    return t->page && t->changed ? 0 : -ENOMEM;
}

static void pages_drop(struct sparse_table *t)
{
    for (uint64_t i = 0; i < t->pages; i++)
        if (t->page[i] && !t->changed[i]) {
            free(t->page[i]);
            t->page[i] = NULL;
            t->loaded--;
        }
}

static size_t page_length(const struct sparse_table *t, uint64_t page)
{
    return MIN(t->bytes - page * SPARSE_PAGE_BYTES, (uint64_t)SPARSE_PAGE_BYTES);
}

void *sparse_table_at(struct sparse_table *t, uint64_t at, int *r)
{
    uint64_t i = at / SPARSE_PAGE_BYTES;
    *r = at >= t->bytes ? -EINVAL : 0;
    if (*r)
        return NULL;
    if (!t->page[i]) {
        if (t->loaded >= PAGES_KEPT)
            pages_drop(t);
        uint8_t *page = calloc(1, SPARSE_PAGE_BYTES);
        *r = page ? block_protocol_pread(t->file, t->offset + i * SPARSE_PAGE_BYTES, page, page_length(t, i)) : -ENOMEM;
        if (*r) {
            free(page);
            return NULL;
        }
        t->page[i] = page;
        t->loaded++;
    }
    return t->page[i] + at % SPARSE_PAGE_BYTES;
}

void sparse_table_changed(struct sparse_table *t, uint64_t at)
{
    t->changed[at / SPARSE_PAGE_BYTES] = true;
}

int sparse_table_sync(struct sparse_table *t)
{
    for (uint64_t i = 0; i < t->pages; i++) {
        if (!t->changed[i])
            continue;
        int r = block_protocol_pwrite(t->file, t->offset + i * SPARSE_PAGE_BYTES, t->page[i], page_length(t, i));
        if (r)
            return r;
        t->changed[i] = false;
    }
    return 0;
}

void sparse_table_free(struct sparse_table *t)
{
    for (uint64_t i = 0; t->page && i < t->pages; i++)
        free(t->page[i]);
    free(t->page);
    free(t->changed);
    *t = (struct sparse_table){ 0 };
}
