/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * New LUKS headers, laid out as QEMU does it: eight areas for key material from byte 4096 on, each a multiple of 4096
 * long, then the disk. The passphrase's slot is written first, the header last: what was cut off meanwhile is no image.
 */
#include "block/crypt/luks.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/error.h"
#include "block/block_private.h"
#include "block/crypt/memory.h"

enum { LAYOUT_ALIGN = 4096, DIGEST_ITERATIONS_MIN = 1000, DIGEST_SHARE = 8, ITER_TIME_MAX_MS = 600000 };

static const char *get(const struct block_option_set *set, const char *prefix, const char *key)
{
    char name[64];
    snprintf(name, sizeof(name), "%s%s", prefix, key);
    return block_option_get(set, name);
}

int luks_secret_find(const struct block_option_set *set, const char *prefix, const char *key,
                     const struct block_objects *objects, const uint8_t **passphrase, size_t *length, struct error *err)
{
    const char *id = get(set, prefix, key);
    if (!id)
        return 0;
    if (!objects || !objects->secret)
        return error_set(err, "%s%s=%s: there is no secret with this id; add --object secret,id=%s,file=PATH", prefix, key,
                         id, id);
    *passphrase = objects->secret(objects, id, length, err);
    return *passphrase ? 1 : error_prefix(err, "%s%s", prefix, key);
}

static int cipher_read(const struct block_option_set *set, const char *prefix, struct crypt_kind *k, struct error *err)
{
    const char *name = get(set, prefix, "cipher-alg");
    int cipher = crypt_cipher_find(name ? name : "aes-256");
    if (cipher < 0)
        return error_set(err, "%scipher-alg: '%s' is not supported; aes-128, aes-192, aes-256, cast5-128, serpent-128 to "
                         "-256 and twofish-128 to -256 are", prefix, name);
    k->cipher = (unsigned)cipher;
    return 0;
}

static int hash_read(const struct block_option_set *set, const char *prefix, const char *key, unsigned *hash,
                     struct error *err)
{
    const char *name = get(set, prefix, key);
    char names[96];
    int found = crypt_hash_find(name ? name : "sha256");
    crypt_hash_names(names, sizeof(names));
    if (found < 0)
        return error_set(err, "%s%s: '%s' is not supported; %s are", prefix, key, name, names);
    *hash = (unsigned)found;
    return 0;
}

static int choice_read(const struct block_option_set *set, const char *prefix, const char *key,
                       const char *const *names, unsigned *index, struct error *err)
{
    char name[64];
    snprintf(name, sizeof(name), "%s%s", prefix, key);
    return block_option_choice(set, name, names, index, err);
}

static int time_read(const struct block_option_set *set, const char *prefix, uint64_t *ms, struct error *err)
{
    char name[64];
    snprintf(name, sizeof(name), "%siter-time", prefix);
    if (block_option_number(set, name, ITER_TIME_MAX_MS, ms, err))
        return -1;
    return *ms ? 0 : error_set(err, "%s: at least 1 millisecond", name);
}

int luks_options_read(const struct block_option_set *set, const char *prefix, const struct block_objects *objects,
                      struct luks_options *o, struct error *err)
{
    unsigned mode = CRYPT_XTS, ivgen = CRYPT_PLAIN64;
    *o = (struct luks_options){ .iter_ms = 2000 };
    if (cipher_read(set, prefix, &o->kind, err) || hash_read(set, prefix, "hash-alg", &o->hash, err) ||
        hash_read(set, prefix, "ivgen-hash-alg", &o->kind.ivgen_hash, err) ||
        choice_read(set, prefix, "cipher-mode", crypt_mode_names, &mode, err) ||
        choice_read(set, prefix, "ivgen-alg", crypt_ivgen_names, &ivgen, err) || time_read(set, prefix, &o->iter_ms, err))
        return -1;
    o->kind.mode = mode;
    o->kind.ivgen = ivgen;
    if (get(set, prefix, "ivgen-hash-alg") && ivgen != CRYPT_ESSIV)
        return error_set(err, "%sivgen-hash-alg is for %sivgen-alg=essiv", prefix, prefix);
    if (crypt_kind_check(&o->kind, err))
        return -1;
    int r = luks_secret_find(set, prefix, "key-secret", objects, &o->passphrase, &o->passphrase_bytes, err);
    return r ? MIN(r, 0) : error_set(err, "%skey-secret=ID is missing: the --object secret with the passphrase", prefix);
}

static uint64_t slot_stride(const struct luks_options *o)
{
    return ALIGN_UP((uint64_t)crypt_key_bytes(&o->kind) * LUKS_STRIPES, (uint64_t)LAYOUT_ALIGN);
}

uint64_t luks_header_bytes(const struct luks_options *o)
{
    return LAYOUT_ALIGN + LUKS_SLOTS * slot_stride(o);
}

static void names_fill(struct luks_raw *h, const struct luks_options *o)
{
    const char *ivgen = crypt_ivgen_names[o->kind.ivgen];
    bool essiv = o->kind.ivgen == CRYPT_ESSIV;
    snprintf(h->cipher, sizeof(h->cipher), "%s", crypt_cipher_family(o->kind.cipher));
    snprintf(h->mode, sizeof(h->mode), "%s-%s%s%s", crypt_mode_names[o->kind.mode], ivgen, essiv ? ":" : "",
             essiv ? crypt_hash_name(o->kind.ivgen_hash) : "");
    snprintf(h->hash, sizeof(h->hash), "%s", crypt_hash_name(o->hash));
}

static int uuid_fill(char out[40])
{
    uint8_t u[16];
    if (crypt_random(u, sizeof(u)))
        return -EIO;
    u[6] = (uint8_t)((u[6] & 0x0f) | 0x40);
    u[8] = (uint8_t)((u[8] & 0x3f) | 0x80);
    snprintf(out, 40, "%02x%02x%02x%02x-%02x%02x-%02x%02x-%02x%02x-%02x%02x%02x%02x%02x%02x", u[0], u[1], u[2], u[3], u[4],
             u[5], u[6], u[7], u[8], u[9], u[10], u[11], u[12], u[13], u[14], u[15]);
    return 0;
}

static int raw_fill(struct luks_raw *h, const struct luks_options *o)
{
    uint64_t stride = slot_stride(o);
    memcpy(h->magic, LUKS_MAGIC, sizeof(h->magic));
    h->version = be16_make(1);
    names_fill(h, o);
    h->payload_sectors = be32_make((uint32_t)(luks_header_bytes(o) / CRYPT_SECTOR_BYTES));
    h->key_bytes = be32_make((uint32_t)crypt_key_bytes(&o->kind));
    for (unsigned i = 0; i < LUKS_SLOTS; i++) {
        h->slot[i].active = be32_make(LUKS_INACTIVE);
        h->slot[i].offset_sectors = be32_make((uint32_t)((LAYOUT_ALIGN + i * stride) / CRYPT_SECTOR_BYTES));
        h->slot[i].stripes = be32_make(LUKS_STRIPES);
    }
    int r = crypt_random(h->digest_salt, sizeof(h->digest_salt));
    return r ? r : uuid_fill(h->uuid);
}

/* A new random key, and its digest, which takes an eighth of the time of a slot. */
static int key_make(struct luks *l, const struct luks_options *o)
{
    uint32_t iterations = 0;
    l->key = crypt_memory_new(l->key_bytes);
    int r = l->key ? crypt_random(l->key, l->key_bytes) : -ENOMEM;
    if (!r)
        r = crypt_pbkdf2_tune(l->hash, LUKS_DIGEST_BYTES, MAX(o->iter_ms / DIGEST_SHARE, 1ull), DIGEST_ITERATIONS_MIN,
                              &iterations);
    iterations = MIN(iterations, LUKS_ITERATIONS_MAX / DIGEST_SHARE);
    l->raw.digest_iterations = be32_make(iterations);
    return r ? r : crypt_pbkdf2(l->hash, l->key, l->key_bytes, l->raw.digest_salt, LUKS_SALT_BYTES, iterations,
                                l->raw.digest, LUKS_DIGEST_BYTES);
}

static int header_write(struct luks *l, const struct luks_raw_slot *first)
{
    l->raw.slot[0] = *first;
    int r = block_protocol_pwrite(l->file, l->at, &l->raw, sizeof(l->raw));
    return r ? r : block_protocol_flush(l->file);
}

int luks_create(struct block_protocol *file, uint64_t at, const struct luks_options *o, struct error *err)
{
    struct luks *l = calloc(1, sizeof(*l));
    struct luks_raw_slot first;
    int r = l ? raw_fill(&l->raw, o) : -ENOMEM;
    if (!r) {
        l->file = file;
        l->at = at;
        l->kind = o->kind;
        l->hash = o->hash;
        l->key_bytes = crypt_key_bytes(&o->kind);
        r = key_make(l, o);
    }
    if (r)
        r = error_set(err, "a new key cannot be made: %s", strerror(-r));
    else if (!(r = luks_slot_fill(l, 0, o->passphrase, o->passphrase_bytes, o->iter_ms, &first, err)) &&
             (r = header_write(l, &first)))
        r = error_set(err, "the LUKS header cannot be written: %s", strerror(-r));
    luks_close(l);
    return r;
}
