/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Pieces of scatter-gather lists. Ranges outside a list are cut off at its end. */
#include "block/block_private.h"

#include <string.h>

size_t block_iov_length(const struct iovec *iov, int iovcnt)
{
    size_t total = 0;
    for (int i = 0; i < iovcnt; i++)
        total += iov[i].iov_len;
    return total;
}

int block_iov_slice(struct iovec *dst, const struct iovec *src, int iovcnt, size_t skip, size_t length)
{
    int used = 0;
    for (int i = 0; i < iovcnt && length; i++) {
        if (skip >= src[i].iov_len) {
            skip -= src[i].iov_len;
            continue;
        }
        size_t take = src[i].iov_len - skip;
        if (take > length)
            take = length;
        dst[used++] = (struct iovec){ (char *)src[i].iov_base + skip, take };
        skip = 0;
        length -= take;
    }
    return used;
}

enum direction { FROM, TO, ZERO };

static void copy(const struct iovec *iov, int iovcnt, size_t skip, uint8_t *data, size_t length, enum direction d)
{
    for (int i = 0; i < iovcnt && length; i++) {
        if (skip >= iov[i].iov_len) {
            skip -= iov[i].iov_len;
            continue;
        }
        size_t take = iov[i].iov_len - skip;
        if (take > length)
            take = length;
        uint8_t *at = (uint8_t *)iov[i].iov_base + skip;
        if (d == FROM)
            memcpy(at, data, take);
        else if (d == TO)
            memcpy(data, at, take);
        else
            memset(at, 0, take);
        if (data)
            data += take;
        skip = 0;
        length -= take;
    }
}

void block_iov_from(const struct iovec *iov, int iovcnt, size_t skip, const void *data, size_t length)
{
    copy(iov, iovcnt, skip, (uint8_t *)(uintptr_t)data, length, FROM);
}

void block_iov_to(const struct iovec *iov, int iovcnt, size_t skip, void *data, size_t length)
{
    copy(iov, iovcnt, skip, data, length, TO);
}

void block_iov_zero(const struct iovec *iov, int iovcnt, size_t skip, size_t length)
{
    copy(iov, iovcnt, skip, NULL, length, ZERO);
}

static bool is_zero(const uint8_t *p, size_t length)
{
    return !length || (!p[0] && !memcmp(p, p + 1, length - 1));
}

bool block_iov_is_zero(const struct iovec *iov, int iovcnt)
{
    for (int i = 0; i < iovcnt; i++)
        if (!is_zero(iov[i].iov_base, iov[i].iov_len))
            return false;
    return true;
}
