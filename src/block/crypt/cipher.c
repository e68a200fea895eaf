/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Sectors of 512 bytes, each with an IV made from its number. The block ciphers are nettle's, the library under GnuTLS,
 * whose own interface has neither a key that several threads may use at once nor ciphers but AES. XTS is done here, a
 * sector at a time, so that nettle gets 32 blocks in one call: five times as fast as its own XTS, which calls for each.
 *
 * Sources: IEEE 1619 (XTS); the kernel's dm-crypt documentation for names and IVs; LUKS On-Disk Format 1.2.3, appendix.
 */
#include "block/crypt/cipher.h"

#include <errno.h>
#include <nettle/cbc.h>
#include <nettle/nettle-meta.h>
#include <stdlib.h>
#include <string.h>

#include "base/bits.h"
#include "base/error.h"
#include "block/block_private.h"
#include "block/crypt/memory.h"

enum { BLOCK_MAX_BYTES = 16, BOUNCE_BYTES = 256 << 10, SECTOR_WORDS = CRYPT_SECTOR_BYTES / 8 };

static const struct {
    const char *name, *family;
    const struct nettle_cipher *algorithm;
} ciphers[] = {
    { "aes-128", "aes", &nettle_aes128 }, { "aes-192", "aes", &nettle_aes192 }, { "aes-256", "aes", &nettle_aes256 },
    { "cast5-128", "cast5", &nettle_cast128 },
    { "serpent-128", "serpent", &nettle_serpent128 }, { "serpent-192", "serpent", &nettle_serpent192 },
    { "serpent-256", "serpent", &nettle_serpent256 }, { "twofish-128", "twofish", &nettle_twofish128 },
    { "twofish-192", "twofish", &nettle_twofish192 }, { "twofish-256", "twofish", &nettle_twofish256 },
};
const char *const crypt_mode_names[] = { "xts", "cbc", NULL };
const char *const crypt_ivgen_names[] = { "plain", "plain64", "essiv", NULL };

struct crypt_cipher {
    size_t bytes;                   /* of all this */
    const struct nettle_cipher *algorithm, *iv_algorithm;
    enum crypt_mode mode;
    enum crypt_ivgen ivgen;
    void *encrypt, *decrypt, *tweak, *essiv;    /* contexts */
};

int crypt_cipher_find(const char *name)
{
    for (size_t i = 0; i < ARRAY_SIZE(ciphers); i++)
        if (!strcmp(ciphers[i].name, name))
            return (int)i;
    return -1;
}

int crypt_cipher_find_family(const char *family, size_t key_bytes)
{
    for (size_t i = 0; i < ARRAY_SIZE(ciphers); i++)
        if (!strcmp(ciphers[i].family, family) && ciphers[i].algorithm->key_size == key_bytes)
            return (int)i;
    return -1;
}

const char *crypt_cipher_name(unsigned cipher)
{
    return ciphers[cipher].name;
}

const char *crypt_cipher_family(unsigned cipher)
{
    return ciphers[cipher].family;
}

size_t crypt_key_bytes(const struct crypt_kind *k)
{
    return ciphers[k->cipher].algorithm->key_size * (k->mode == CRYPT_XTS ? 2u : 1u);
}

/* The cipher that encrypts sector numbers: of the same family, with a hash as its key. */
static int essiv_find(const struct crypt_kind *k)
{
    return crypt_cipher_find_family(ciphers[k->cipher].family, crypt_hash_bytes(k->ivgen_hash));
}

int crypt_kind_check(const struct crypt_kind *k, struct error *err)
{
    const char *name = ciphers[k->cipher].name;
    if (k->mode == CRYPT_XTS && ciphers[k->cipher].algorithm->block_size != BLOCK_MAX_BYTES)
        return error_set(err, "%s has blocks too small for the mode xts; use cbc", name);
    if (k->ivgen == CRYPT_ESSIV && essiv_find(k) < 0)
        return error_set(err, "essiv with %s needs a hash as long as a key of that cipher, not %s", name,
                         crypt_hash_name(k->ivgen_hash));
    return 0;
}

/* Contexts lie one behind the other; they are used as what they are, so 16 suits all of them. */
static void *context_take(uint8_t **at, const struct nettle_cipher *a)
{
    void *context = *at;
    *at += ALIGN_UP((size_t)a->context_size, (size_t)16);
    return context;
}

static void keys_set(struct crypt_cipher *c, const struct crypt_kind *k, const uint8_t *key)
{
    uint8_t digest[CRYPT_DIGEST_MAX_BYTES];
    c->algorithm->set_encrypt_key(c->encrypt, key);
    c->algorithm->set_decrypt_key(c->decrypt, key);
    if (c->mode == CRYPT_XTS)
        c->algorithm->set_encrypt_key(c->tweak, key + c->algorithm->key_size);
    if (c->ivgen != CRYPT_ESSIV)
        return;
    if (!crypt_hash(k->ivgen_hash, key, crypt_key_bytes(k), digest))
        c->iv_algorithm->set_encrypt_key(c->essiv, digest);
    explicit_bzero(digest, sizeof(digest));
}

struct crypt_cipher *crypt_cipher_new(const struct crypt_kind *k, const uint8_t *key)
{
    const struct nettle_cipher *a = ciphers[k->cipher].algorithm;
    const struct nettle_cipher *iv = k->ivgen == CRYPT_ESSIV ? ciphers[essiv_find(k)].algorithm : a;
    size_t head = ALIGN_UP(sizeof(struct crypt_cipher), (size_t)16);
    size_t bytes = head + 3 * ALIGN_UP((size_t)a->context_size, (size_t)16) + ALIGN_UP((size_t)iv->context_size, (size_t)16);
    struct crypt_cipher *c = crypt_memory_new(bytes);
    if (!c)
        return NULL;
    uint8_t *at = (uint8_t *)c + head;
    *c = (struct crypt_cipher){ .bytes = bytes, .algorithm = a, .iv_algorithm = iv, .mode = k->mode, .ivgen = k->ivgen };
    c->encrypt = context_take(&at, a);
    c->decrypt = context_take(&at, a);
    c->tweak = context_take(&at, a);
    c->essiv = context_take(&at, iv);
    keys_set(c, k, key);
    return c;
}

void crypt_cipher_free(struct crypt_cipher *c)
{
    if (c)
        crypt_memory_free(c, c->bytes);
}

static void iv_make(const struct crypt_cipher *c, uint64_t sector, uint8_t iv[BLOCK_MAX_BYTES])
{
    const le64 number = le64_make(c->ivgen == CRYPT_PLAIN ? (uint32_t)sector : sector);
    memset(iv, 0, BLOCK_MAX_BYTES);
    memcpy(iv, &number, sizeof(number));
    if (c->ivgen == CRYPT_ESSIV)
        c->iv_algorithm->encrypt(c->essiv, c->iv_algorithm->block_size, iv, iv);
}

/* The tweaks of a sector's blocks: the encrypted IV, multiplied by x in GF(2^128) from block to block. */
static void tweaks_make(const struct crypt_cipher *c, const uint8_t iv[BLOCK_MAX_BYTES], uint64_t tweak[SECTOR_WORDS])
{
    c->algorithm->encrypt(c->tweak, BLOCK_MAX_BYTES, (uint8_t *)tweak, iv);
    for (unsigned i = 2; i < SECTOR_WORDS; i += 2) {
        uint64_t low = le64toh(tweak[i - 2]), high = le64toh(tweak[i - 1]);
        tweak[i] = htole64(low << 1 ^ (-(high >> 63) & 0x87));
        tweak[i + 1] = htole64(high << 1 | low >> 63);
    }
}

static void xts_sector(const struct crypt_cipher *c, bool encrypt, const uint8_t *iv, uint8_t *data)
{
    uint64_t tweak[SECTOR_WORDS], text[SECTOR_WORDS];
    tweaks_make(c, iv, tweak);
    memcpy(text, data, sizeof(text));
    for (unsigned i = 0; i < SECTOR_WORDS; i++)
        text[i] ^= tweak[i];
    if (encrypt)
        c->algorithm->encrypt(c->encrypt, sizeof(text), (uint8_t *)text, (uint8_t *)text);
    else
        c->algorithm->decrypt(c->decrypt, sizeof(text), (uint8_t *)text, (uint8_t *)text);
    for (unsigned i = 0; i < SECTOR_WORDS; i++)
        text[i] ^= tweak[i];
    memcpy(data, text, sizeof(text));
}

static void cbc_sector(const struct crypt_cipher *c, bool encrypt, uint8_t *iv, uint8_t *data)
{
    if (encrypt)
        cbc_encrypt(c->encrypt, c->algorithm->encrypt, c->algorithm->block_size, iv, CRYPT_SECTOR_BYTES, data, data);
    else
        cbc_decrypt(c->decrypt, c->algorithm->decrypt, c->algorithm->block_size, iv, CRYPT_SECTOR_BYTES, data, data);
}

void crypt_sectors(const struct crypt_cipher *c, bool encrypt, uint64_t sector, uint8_t *data, size_t length)
{
    for (size_t at = 0; at + CRYPT_SECTOR_BYTES <= length; at += CRYPT_SECTOR_BYTES, sector++) {
        uint8_t iv[BLOCK_MAX_BYTES];
        iv_make(c, sector, iv);
        if (c->mode == CRYPT_XTS)
            xts_sector(c, encrypt, iv, data + at);
        else
            cbc_sector(c, encrypt, iv, data + at);
    }
}

/* Whether no sector lies in two pieces of the list: then it can be decrypted where it is. */
static bool is_whole_sectors(const struct iovec *iov, int iovcnt)
{
    for (int i = 0; i < iovcnt; i++)
        if (iov[i].iov_len % CRYPT_SECTOR_BYTES)
            return false;
    return true;
}

static int read_in_place(const struct crypt_cipher *c, struct block_protocol *p, uint64_t offset, uint64_t sector,
                         const struct iovec *iov, int iovcnt)
{
    int r = p->ops->preadv(p, offset, iov, iovcnt);
    for (int i = 0; !r && i < iovcnt; i++) {
        crypt_sectors(c, false, sector, iov[i].iov_base, iov[i].iov_len);
        sector += iov[i].iov_len / CRYPT_SECTOR_BYTES;
    }
    return r;
}

int crypt_preadv(const struct crypt_cipher *c, struct block_protocol *p, uint64_t offset, uint64_t sector,
                 const struct iovec *iov, int iovcnt)
{
    size_t length = block_iov_length(iov, iovcnt), chunk = MIN(length, (size_t)BOUNCE_BYTES);
    if (is_whole_sectors(iov, iovcnt))
        return read_in_place(c, p, offset, sector, iov, iovcnt);
    uint8_t *bounce = aligned_alloc(4096, ALIGN_UP(chunk, (size_t)4096));
    int r = bounce ? 0 : -ENOMEM;
    for (size_t done = 0; !r && done < length; done += chunk) {
        size_t take = MIN(chunk, length - done);
        r = block_protocol_pread(p, offset + done, bounce, take);
        if (!r) {
            crypt_sectors(c, false, sector + done / CRYPT_SECTOR_BYTES, bounce, take);
            block_iov_from(iov, iovcnt, done, bounce, take);
        }
    }
    free(bounce);
    return r;
}

int crypt_pwritev(const struct crypt_cipher *c, struct block_protocol *p, uint64_t offset, uint64_t sector,
                  const struct iovec *iov, int iovcnt)
{
    size_t length = block_iov_length(iov, iovcnt), chunk = MIN(length, (size_t)BOUNCE_BYTES);
    uint8_t *bounce = aligned_alloc(4096, ALIGN_UP(MAX(chunk, (size_t)1), (size_t)4096));
    int r = bounce ? 0 : -ENOMEM;
    for (size_t done = 0; !r && done < length; done += chunk) {
        size_t take = MIN(chunk, length - done);
        block_iov_to(iov, iovcnt, done, bounce, take);
        crypt_sectors(c, true, sector + done / CRYPT_SECTOR_BYTES, bounce, take);
        r = block_protocol_pwrite(p, offset + done, bounce, take);
    }
    free(bounce);
    return r;
}
