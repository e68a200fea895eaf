/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Hashes, PBKDF2 and random numbers by the names that LUKS headers have: from GnuTLS, but RIPEMD-160, which it lacks,
 * from nettle. */
#include "block/crypt/cipher.h"

#include <errno.h>
#include <gnutls/crypto.h>
#include <gnutls/gnutls.h>
#include <nettle/hmac.h>
#include <nettle/pbkdf2.h>
#include <nettle/ripemd160.h>
#include <stdio.h>
#include <string.h>
#include <time.h>

#include "base/bits.h"

static const struct {
    const char *name;
    gnutls_digest_algorithm_t digest;
    gnutls_mac_algorithm_t mac;
    size_t bytes;
} hashes[] = {
    { "md5", GNUTLS_DIG_MD5, GNUTLS_MAC_MD5, 16 }, { "sha1", GNUTLS_DIG_SHA1, GNUTLS_MAC_SHA1, 20 },
    { "sha224", GNUTLS_DIG_SHA224, GNUTLS_MAC_SHA224, 28 }, { "sha256", GNUTLS_DIG_SHA256, GNUTLS_MAC_SHA256, 32 },
    { "sha384", GNUTLS_DIG_SHA384, GNUTLS_MAC_SHA384, 48 }, { "sha512", GNUTLS_DIG_SHA512, GNUTLS_MAC_SHA512, 64 },
    { "ripemd160", GNUTLS_DIG_RMD160, GNUTLS_MAC_RMD160, 20 },
};

int crypt_hash_find(const char *name)
{
    for (size_t i = 0; i < ARRAY_SIZE(hashes); i++)
        if (!strcmp(hashes[i].name, name))
            return (int)i;
    return -1;
}

const char *crypt_hash_name(unsigned hash)
{
    return hashes[hash].name;
}

size_t crypt_hash_bytes(unsigned hash)
{
    return hashes[hash].bytes;
}

void crypt_hash_names(char *out, size_t room)
{
    *out = 0;
    for (size_t i = 0; i < ARRAY_SIZE(hashes); i++)
        snprintf(out + strlen(out), room - strlen(out), "%s%s", i ? ", " : "", hashes[i].name);
}

int crypt_hash(unsigned hash, const void *data, size_t length, uint8_t *digest)
{
    if (hashes[hash].mac == GNUTLS_MAC_RMD160) {
        struct ripemd160_ctx c;
        ripemd160_init(&c);
        ripemd160_update(&c, length, data);
        ripemd160_digest(&c, RIPEMD160_DIGEST_SIZE, digest);
        explicit_bzero(&c, sizeof(c));
        return 0;
    }
    return gnutls_hash_fast(hashes[hash].digest, data, length, digest) < 0 ? -EIO : 0;
}

static int pbkdf2_ripemd160(const void *password, size_t length, const uint8_t *salt, size_t salt_bytes, uint32_t iterations,
                            uint8_t *out, size_t out_bytes)
{
    struct hmac_ripemd160_ctx mac;
    hmac_ripemd160_set_key(&mac, length, password);
    PBKDF2(&mac, hmac_ripemd160_update, hmac_ripemd160_digest, RIPEMD160_DIGEST_SIZE, iterations, salt_bytes, salt, out_bytes,
           out);
    explicit_bzero(&mac, sizeof(mac));
    return 0;
}

int crypt_pbkdf2(unsigned hash, const void *password, size_t length, const uint8_t *salt, size_t salt_bytes,
                 uint32_t iterations, uint8_t *out, size_t out_bytes)
{
    if (hashes[hash].mac == GNUTLS_MAC_RMD160)
        return pbkdf2_ripemd160(password, length, salt, salt_bytes, iterations, out, out_bytes);
    const gnutls_datum_t p = { (unsigned char *)(uintptr_t)password, (unsigned)length };
    const gnutls_datum_t s = { (unsigned char *)(uintptr_t)salt, (unsigned)salt_bytes };
    return gnutls_pbkdf2(hashes[hash].mac, &p, &s, iterations, out, out_bytes) < 0 ? -EIO : 0;
}

static int64_t thread_time_ns(void)
{
    struct timespec t;
    clock_gettime(CLOCK_THREAD_CPUTIME_ID, &t);
    return (int64_t)t.tv_sec * 1000000000 + t.tv_nsec;
}

/* Twice as many until it takes long enough to be measured. */
int crypt_pbkdf2_tune(unsigned hash, size_t out_bytes, uint64_t ms, uint32_t least, uint32_t *iterations)
{
    static const uint8_t salt[32] = { 1 };
    uint8_t out[CRYPT_KEY_MAX_BYTES];
    int64_t took = 0;
    uint32_t count = 1024;
    for (;; count *= 2) {
        int64_t start = thread_time_ns();
        int r = crypt_pbkdf2(hash, "password", 8, salt, sizeof(salt), count, out, MIN(out_bytes, sizeof(out)));
        took = thread_time_ns() - start;
        if (r)
            return r;
        if (took > 20000000 || count >= 1u << 26)
            break;
    }
    double wanted = (double)count * 1e6 * (double)ms / (double)MAX(took, (int64_t)1);
    *iterations = wanted > UINT32_MAX ? UINT32_MAX : MAX((uint32_t)wanted, least);
    return 0;
}

int crypt_random(void *out, size_t bytes)
{
    return gnutls_rnd(GNUTLS_RND_KEY, out, bytes) < 0 ? -EIO : 0;
}
