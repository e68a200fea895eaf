/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Compressed clusters: raw deflate (zlib) or one zstd frame, somewhere in the file, followed by padding. A
 * cluster is unpacked whole; the last one is kept, since guests read in smaller pieces. Damaged data give an
 * I/O error.
 */
#include "block/qcow2/qcow2_private.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <zlib.h>
#include <zstd.h>

static int inflate_all(const uint8_t *in, size_t in_bytes, uint8_t *out, size_t out_bytes)
{
    z_stream z = { .next_in = (Bytef *)(uintptr_t)in, .avail_in = (uInt)in_bytes, .next_out = out,
                   .avail_out = (uInt)out_bytes };
    if (inflateInit2(&z, -15) != Z_OK)
        return -ENOMEM;
    int r = inflate(&z, Z_FINISH);
    bool whole = z.avail_out == 0 && (r == Z_STREAM_END || r == Z_BUF_ERROR || r == Z_OK);
    inflateEnd(&z);
    return whole ? 0 : -EIO;
}

static int zstd_all(const uint8_t *in, size_t in_bytes, uint8_t *out, size_t out_bytes)
{
    /* In one piece it needs no window of its own. */
    size_t frame = ZSTD_findFrameCompressedSize(in, in_bytes);
    if (!ZSTD_isError(frame) && ZSTD_decompress(out, out_bytes, in, frame) == out_bytes)
        return 0;
    ZSTD_inBuffer from = { in, in_bytes, 0 };
    ZSTD_outBuffer to = { out, out_bytes, 0 };
    ZSTD_DCtx *ctx = ZSTD_createDCtx();
    if (!ctx)
        return -ENOMEM;
    while (to.pos < to.size) {
        size_t before_in = from.pos, before_out = to.pos;
        size_t r = ZSTD_decompressStream(ctx, &to, &from);
        if (ZSTD_isError(r) || (from.pos == before_in && to.pos == before_out))
            break;
    }
    ZSTD_freeDCtx(ctx);
    return to.pos == to.size ? 0 : -EIO;
}

static int unpack(struct qcow2 *q, uint64_t word, uint8_t *out)
{
    struct qcow2_extent x = qcow2_packed_extent(q, word);
    uint8_t *in = malloc(x.length);
    if (!in)
        return -ENOMEM;
    int r = block_protocol_pread(q->file, x.offset, in, x.length);
    if (!r)
        r = q->compression == QCOW2_ZSTD ? zstd_all(in, x.length, out, q->cluster_size)
                                         : inflate_all(in, x.length, out, q->cluster_size);
    free(in);
    return r;
}

/* Bytes [from, from + length) of the cluster go to byte skip of the list. */
int qcow2_packed_read(struct qcow2 *q, uint64_t word, uint32_t from, const struct iovec *iov, int iovcnt, size_t skip,
                      size_t length)
{
    pthread_mutex_lock(&q->unpack_lock);
    bool hit = q->unpacked_entry == word;
    if (hit)
        block_iov_from(iov, iovcnt, skip, q->unpacked + from, length);
    pthread_mutex_unlock(&q->unpack_lock);
    if (hit)
        return 0;
    uint8_t *out = malloc(q->cluster_size);
    int r = out ? unpack(q, word, out) : -ENOMEM;
    if (!r) {
        block_iov_from(iov, iovcnt, skip, out + from, length);
        pthread_mutex_lock(&q->unpack_lock);
        uint8_t *old = q->unpacked;
        q->unpacked = out;
        q->unpacked_entry = word;
        pthread_mutex_unlock(&q->unpack_lock);
        out = old;
    }
    free(out);
    return r;
}
