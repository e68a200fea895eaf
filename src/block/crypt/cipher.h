/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Encryption of sectors as dm-crypt does it: ciphers, modes, IV generators and hashes by their names in LUKS headers. */
#ifndef BLOCK_CRYPT_CIPHER_H
#define BLOCK_CRYPT_CIPHER_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/uio.h>

struct block_protocol;
struct error;

enum { CRYPT_SECTOR_BYTES = 512, CRYPT_KEY_MAX_BYTES = 64, CRYPT_DIGEST_MAX_BYTES = 64 };
enum crypt_mode { CRYPT_XTS, CRYPT_CBC };
enum crypt_ivgen { CRYPT_PLAIN, CRYPT_PLAIN64, CRYPT_ESSIV };

/* cipher and hashes: numbers in the tables of cipher.c and hash.c. */
struct crypt_kind {
    unsigned cipher;
    enum crypt_mode mode;
    enum crypt_ivgen ivgen;
    unsigned ivgen_hash;            /* of CRYPT_ESSIV */
};

/* "aes-256"; family "aes" and the bytes of a key without the mode's share, as LUKS headers have it. -1: unknown. */
int crypt_cipher_find(const char *name);
int crypt_cipher_find_family(const char *family, size_t key_bytes);
const char *crypt_cipher_name(unsigned cipher);
const char *crypt_cipher_family(unsigned cipher);
extern const char *const crypt_mode_names[], *const crypt_ivgen_names[];   /* NULL ends */
/* Bytes of key that such an encryption takes. */
size_t crypt_key_bytes(const struct crypt_kind *k);
/* Refuses what does not go together. */
int crypt_kind_check(const struct crypt_kind *k, struct error *err);

struct crypt_cipher;
/* NULL: out of memory. Any number of threads may use it at once. */
struct crypt_cipher *crypt_cipher_new(const struct crypt_kind *k, const uint8_t *key);
void crypt_cipher_free(struct crypt_cipher *c);
/* In place; length is a multiple of a sector. */
void crypt_sectors(const struct crypt_cipher *c, bool encrypt, uint64_t sector, uint8_t *data, size_t length);

/* Transfers that are encrypted in the file: bytes at offset there, which belong to sector and the following. Lengths are
 * multiples of a sector, offset need not be. 0 or -errno. */
int crypt_preadv(const struct crypt_cipher *c, struct block_protocol *p, uint64_t offset, uint64_t sector,
                 const struct iovec *iov, int iovcnt);
int crypt_pwritev(const struct crypt_cipher *c, struct block_protocol *p, uint64_t offset, uint64_t sector,
                  const struct iovec *iov, int iovcnt);

/* hash.c: "sha256". -1: unknown. */
int crypt_hash_find(const char *name);
const char *crypt_hash_name(unsigned hash);
size_t crypt_hash_bytes(unsigned hash);
/* Names of all, for messages. */
void crypt_hash_names(char *out, size_t room);
/* 0 or -errno. */
int crypt_hash(unsigned hash, const void *data, size_t length, uint8_t *digest);
int crypt_pbkdf2(unsigned hash, const void *password, size_t length, const uint8_t *salt, size_t salt_bytes,
                 uint32_t iterations, uint8_t *out, size_t out_bytes);
/* So many iterations that a key of this length takes that long here, at least `least`. 0 or -errno. */
int crypt_pbkdf2_tune(unsigned hash, size_t out_bytes, uint64_t ms, uint32_t least, uint32_t *iterations);
int crypt_random(void *out, size_t bytes);

#endif
