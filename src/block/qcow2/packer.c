/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Packing one cluster: raw deflate with a window of 4 KiB, the largest that readers have to know, or a zstd frame. The contexts are
 * kept for the next cluster, since making one costs a tenth of the work. Deflate runs at level 4, half as long as at the usual
 * 6 for some 2 % more bytes.
 *
 * What is packed or encrypted already does not shrink; deflate needs as long to find that out as for text, zstd does not. So the
 * cluster is looked at first: bytes that are all equally frequent, and no string of four that comes again, are not worth the attempt.
 */
#include "block/qcow2/packer.h"

#include "base/bits.h"

#include <stdlib.h>
#include <string.h>
#include <zlib.h>
#include <zstd.h>

enum { WINDOW_BITS = -12, LEVEL = 4, MEMORY = 9, SAMPLE_SHIFT = 4, SEEN_BITS = 12, REPEATS_FEW = 2, SMALL_BYTES = 4096, GATHER = 2048 };
#define HASH 2654435761u

struct qcow2_packer {
    struct qcow2_packer *next;
    z_stream z;
    bool has_z;
    ZSTD_CCtx *zstd;
    uint8_t data[];
};

/* Huffman's gain would be below 1 %: chi squared of the counts, which is 255 on average for random bytes. */
static bool is_flat(const uint8_t *data, size_t bytes)
{
    uint32_t count[4][256] = { { 0 } };
    uint64_t squares = 0;
    for (size_t i = 0; i + 4 <= bytes; i += 4)
        for (unsigned k = 0; k < 4; k++)
            count[k][data[i + k]]++;
    for (unsigned b = 0; b < 256; b++) {
        uint64_t c = (uint64_t)count[0][b] + count[1][b] + count[2][b] + count[3][b];
        squares += c * c;
    }
    return squares * 256 / bytes - bytes < bytes / 10;
}

/*
 * Of the strings of four bytes one in sixteen is looked at, chosen by what it is, so that its equals are too. They are gathered
 * first, without a branch that nobody could predict.
 */
static bool has_repeats(const uint8_t *data, size_t bytes)
{
    uint32_t seen[1u << SEEN_BITS] = { 0 }, chosen[GATHER];
    unsigned repeats = 0;
    for (size_t from = 0; from + 4 <= bytes && repeats < REPEATS_FEW; from += GATHER) {
        size_t n = MIN((size_t)GATHER, bytes - 3 - from), count = 0;
        for (size_t i = from; i < from + n; i++) {
            uint32_t word;
            memcpy(&word, data + i, sizeof(word));
            chosen[count] = word;
            count += word * HASH >> (32 - SAMPLE_SHIFT) == 0;
        }
        for (size_t i = 0; i < count; i++) {
            uint32_t *slot = &seen[chosen[i] * HASH >> (32 - SAMPLE_SHIFT - SEEN_BITS)];
            repeats += *slot == chosen[i] && chosen[i];
            *slot = chosen[i];
        }
    }
    return repeats >= REPEATS_FEW;
}

static struct qcow2_packer *packer_take(struct qcow2_packers *p, size_t cluster_bytes)
{
    pthread_mutex_lock(&p->lock);
    struct qcow2_packer *k = p->free;
    if (k)
        p->free = k->next;
    pthread_mutex_unlock(&p->lock);
    return k ? k : calloc(1, sizeof(*k) + 2 * cluster_bytes);
}

static void packer_give(struct qcow2_packers *p, struct qcow2_packer *k)
{
    pthread_mutex_lock(&p->lock);
    k->next = p->free;
    p->free = k;
    pthread_mutex_unlock(&p->lock);
}

static size_t deflate_all(struct qcow2_packer *k, size_t cluster_bytes)
{
    if (k->has_z)
        deflateReset(&k->z);
    else if (deflateInit2(&k->z, LEVEL, Z_DEFLATED, WINDOW_BITS, MEMORY, Z_DEFAULT_STRATEGY) != Z_OK)
        return 0;
    k->has_z = true;
    k->z.next_in = k->data;
    k->z.avail_in = (uInt)cluster_bytes;
    k->z.next_out = k->data + cluster_bytes;
    k->z.avail_out = (uInt)cluster_bytes - 1;
    return deflate(&k->z, Z_FINISH) == Z_STREAM_END ? cluster_bytes - 1 - k->z.avail_out : 0;
}

static size_t zstd_all(struct qcow2_packer *k, size_t cluster_bytes)
{
    if (!k->zstd)
        k->zstd = ZSTD_createCCtx();
    if (!k->zstd)
        return 0;
    size_t n = ZSTD_compressCCtx(k->zstd, k->data + cluster_bytes, cluster_bytes - 1, k->data, cluster_bytes, ZSTD_CLEVEL_DEFAULT);
    return ZSTD_isError(n) ? 0 : n;
}

const uint8_t *qcow2_packer_pack(struct qcow2_packers *p, const struct qcow2 *q, const void *data, size_t length,
                                 struct qcow2_packer **packer, size_t *bytes)
{
    size_t cluster = q->cluster_size;
    struct qcow2_packer *k = *packer = packer_take(p, cluster);
    *bytes = 0;
    if (!k)
        return NULL;
    memcpy(k->data, data, length);
    memset(k->data + length, 0, cluster - length);
    if (q->compression != QCOW2_ZLIB)
        *bytes = zstd_all(k, cluster);
    else if (cluster < SMALL_BYTES || !is_flat(k->data, cluster) || has_repeats(k->data, cluster))
        *bytes = deflate_all(k, cluster);
    return k->data + cluster;
}

void qcow2_packer_done(struct qcow2_packers *p, struct qcow2_packer *k)
{
    packer_give(p, k);
}

void qcow2_packers_init(struct qcow2_packers *p)
{
    *p = (struct qcow2_packers){ .free = NULL };
    pthread_mutex_init(&p->lock, NULL);
}

void qcow2_packers_free(struct qcow2_packers *p)
{
    while (p->free) {
        struct qcow2_packer *k = p->free;
        p->free = k->next;
        if (k->has_z)
            deflateEnd(&k->z);
        ZSTD_freeCCtx(k->zstd);
        free(k);
    }
    pthread_mutex_destroy(&p->lock);
}
