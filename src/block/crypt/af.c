/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The anti-forensic splitter of LUKS: a key becomes 4000 stripes as long as itself, all but the last random; without any one
 * of them the key is lost, so that overwriting the area makes it so even where a disk keeps old copies of some sectors.
 * Source: LUKS On-Disk Format Specification 1.2.3, section 2.4.
 */
#include "block/crypt/luks.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

/* Each piece as long as a hash is replaced by the hash of its number and itself. */
static int diffuse(unsigned hash, uint8_t *block, size_t bytes)
{
    uint8_t text[sizeof(be32) + CRYPT_DIGEST_MAX_BYTES], digest[CRYPT_DIGEST_MAX_BYTES];
    size_t unit = crypt_hash_bytes(hash);
    int r = 0;
    for (size_t at = 0; !r && at < bytes; at += unit) {
        const be32 number = be32_make((uint32_t)(at / unit));
        size_t take = MIN(unit, bytes - at);
        memcpy(text, &number, sizeof(number));
        memcpy(text + sizeof(number), block + at, take);
        r = crypt_hash(hash, text, sizeof(number) + take, digest);
        memcpy(block + at, digest, take);
    }
    explicit_bzero(text, sizeof(text));
    explicit_bzero(digest, sizeof(digest));
    return r;
}

static void add(uint8_t *to, const uint8_t *other, size_t bytes)
{
    for (size_t i = 0; i < bytes; i++)
        to[i] ^= other[i];
}

/* All stripes but the last, folded into block. */
static int fold(unsigned hash, const uint8_t *material, size_t bytes, uint8_t *block)
{
    int r = 0;
    memset(block, 0, bytes);
    for (unsigned i = 0; !r && i + 1 < LUKS_STRIPES; i++) {
        add(block, material + i * bytes, bytes);
        r = diffuse(hash, block, bytes);
    }
    return r;
}

int luks_af_merge(unsigned hash, const uint8_t *material, size_t bytes, uint8_t *key)
{
    int r = fold(hash, material, bytes, key);
    add(key, material + (LUKS_STRIPES - 1) * bytes, bytes);
    return r;
}

int luks_af_split(unsigned hash, const uint8_t *key, size_t bytes, uint8_t *material)
{
    uint8_t *last = material + (LUKS_STRIPES - 1) * bytes;
    int r = crypt_random(material, (LUKS_STRIPES - 1) * bytes);
    if (!r)
        r = fold(hash, material, bytes, last);
    add(last, key, bytes);
    return r;
}
