/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Key slots. A passphrase becomes a key by PBKDF2; that key decrypts the slot's key material with the cipher of the disk,
 * sectors counted from 0; the material's stripes merge into the key of the disk, which is right when its digest is. All
 * that could give a key away lies in crypt_memory.
 *
 * A new key is on the disk before the header says that its slot is in use. An erased slot is first marked as free and its
 * material then overwritten with random bytes, several times.
 */
#include "block/crypt/luks.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/error.h"
#include "block/block_private.h"
#include "block/crypt/memory.h"

enum { ERASE_ROUNDS = 8, SLOT_ITERATIONS_MIN = 1000 };

/* Scratch of a slot: a key, and key material in whole sectors. */
struct slot_work {
    uint8_t *key, *material;
    size_t material_bytes, bytes;
};

static int work_new(const struct luks *l, struct slot_work *w)
{
    w->material_bytes = luks_slot_bytes(l);
    w->bytes = w->material_bytes + CRYPT_KEY_MAX_BYTES;
    w->material = crypt_memory_new(w->bytes);
    w->key = w->material ? w->material + w->material_bytes : NULL;
    return w->material ? 0 : -ENOMEM;
}

static void work_free(struct slot_work *w)
{
    crypt_memory_free(w->material, w->bytes);
}

static int material_crypt(const struct luks *l, struct slot_work *w, bool encrypt)
{
    struct crypt_cipher *c = crypt_cipher_new(&l->kind, w->key);
    if (!c)
        return -ENOMEM;
    crypt_sectors(c, encrypt, 0, w->material, w->material_bytes);
    crypt_cipher_free(c);
    return 0;
}

static int digest_make(const struct luks *l, const uint8_t *key, uint8_t digest[LUKS_DIGEST_BYTES])
{
    return crypt_pbkdf2(l->hash, key, l->key_bytes, l->raw.digest_salt, LUKS_SALT_BYTES,
                        be32_get(l->raw.digest_iterations), digest, LUKS_DIGEST_BYTES);
}

static int slot_try(struct luks *l, unsigned slot, const uint8_t *passphrase, size_t length, struct slot_work *w,
                    uint8_t *key)
{
    const struct luks_raw_slot *s = &l->raw.slot[slot];
    uint8_t digest[LUKS_DIGEST_BYTES];
    int r = crypt_pbkdf2(l->hash, passphrase, length, s->salt, LUKS_SALT_BYTES, be32_get(s->iterations), w->key, l->key_bytes);
    if (!r)
        r = block_protocol_pread(l->file, l->at + luks_slot_offset(l, slot), w->material, w->material_bytes);
    if (!r)
        r = material_crypt(l, w, false);
    if (!r)
        r = luks_af_merge(l->hash, w->material, l->key_bytes, key);
    if (!r)
        r = digest_make(l, key, digest);
    if (r)
        return r;
    return memcmp(digest, l->raw.digest, sizeof(digest)) ? 0 : 1;
}

int luks_slot_try(struct luks *l, unsigned slot, const uint8_t *passphrase, size_t length, uint8_t *key, struct error *err)
{
    struct slot_work w = { 0 };
    int r = work_new(l, &w);
    if (!r)
        r = slot_try(l, slot, passphrase, length, &w, key);
    work_free(&w);
    return r < 0 ? error_set(err, "key slot %u cannot be tried: %s", slot, strerror(-r)) : r;
}

int luks_unlock(struct luks *l, const uint8_t *passphrase, size_t length, unsigned *slot, struct error *err)
{
    uint8_t *key = crypt_memory_new(l->key_bytes);
    unsigned active = 0;
    int r = key ? 0 : error_set(err, "out of memory");
    for (unsigned i = 0; !r && i < LUKS_SLOTS; i++) {
        if (!luks_slot_is_active(l, i))
            continue;
        active++;
        r = luks_slot_try(l, i, passphrase, length, key, err);
        if (r > 0 && slot)
            *slot = i;
    }
    if (!r)
        r = active ? error_set(err, "its passphrase is another one: it opens none of the %u key slots in use", active) :
            error_set(err, "it has no key slot in use: nobody can decrypt it any more");
    if (r > 0 && !l->key) {
        l->cipher = crypt_cipher_new(&l->kind, key);
        l->key = l->cipher ? key : NULL;
        if (!l->cipher)
            r = error_set(err, "out of memory");
    }
    if (l->key != key)
        crypt_memory_free(key, l->key_bytes);
    return r < 0 ? -1 : 0;
}

/* What the time asked for makes of iterations has to be what a header may have. */
static int iterations_find(const struct luks *l, uint64_t ms, uint32_t *iterations, struct error *err)
{
    int r = crypt_pbkdf2_tune(l->hash, l->key_bytes, ms, SLOT_ITERATIONS_MIN, iterations);
    if (r)
        return error_set(err, "PBKDF2 with %s does not work here: %s", crypt_hash_name(l->hash), strerror(-r));
    if (*iterations > LUKS_ITERATIONS_MAX || luks_work(l) + *iterations + be32_get(l->raw.digest_iterations) > LUKS_WORK_MAX)
        return error_set(err, "iter-time=%llu makes %u iterations on this machine, so that opening the image would take too "
                         "long elsewhere; give less", (unsigned long long)ms, *iterations);
    return 0;
}

static int material_write(struct luks *l, unsigned slot, const uint8_t *passphrase, size_t length,
                          const struct luks_raw_slot *raw, struct slot_work *w)
{
    int r = luks_af_split(l->hash, l->key, l->key_bytes, w->material);
    if (!r)
        r = crypt_pbkdf2(l->hash, passphrase, length, raw->salt, sizeof(raw->salt), be32_get(raw->iterations), w->key,
                         l->key_bytes);
    if (!r)
        r = material_crypt(l, w, true);
    if (!r)
        r = block_protocol_pwrite(l->file, l->at + luks_slot_offset(l, slot), w->material, w->material_bytes);
    return r ? r : block_protocol_flush(l->file);
}

int luks_slot_fill(struct luks *l, unsigned slot, const uint8_t *passphrase, size_t length, uint64_t iter_ms,
                   struct luks_raw_slot *raw, struct error *err)
{
    struct slot_work w = { 0 };
    uint32_t iterations = 0;
    *raw = l->raw.slot[slot];
    if (iterations_find(l, iter_ms, &iterations, err))
        return -1;
    raw->active = be32_make(LUKS_ACTIVE);
    raw->iterations = be32_make(iterations);
    int r = crypt_random(raw->salt, sizeof(raw->salt));
    if (!r)
        r = work_new(l, &w);
    if (!r)
        r = material_write(l, slot, passphrase, length, raw, &w);
    work_free(&w);
    return r ? error_set(err, "key slot %u cannot be written: %s", slot, strerror(-r)) : 0;
}

int luks_slot_write(struct luks *l, unsigned slot, const struct luks_raw_slot *raw, struct error *err)
{
    uint64_t at = l->at + offsetof(struct luks_raw, slot) + slot * sizeof(*raw);
    int r = block_protocol_pwrite(l->file, at, raw, sizeof(*raw));
    if (!r)
        r = block_protocol_flush(l->file);
    if (r)
        return error_set(err, "key slot %u cannot be written: %s", slot, strerror(-r));
    l->raw.slot[slot] = *raw;
    return 0;
}

int luks_slot_erase(struct luks *l, unsigned slot, struct error *err)
{
    struct luks_raw_slot raw = l->raw.slot[slot];
    struct slot_work w = { 0 };
    raw.active = be32_make(LUKS_INACTIVE);
    raw.iterations = be32_make(0);
    memset(raw.salt, 0, sizeof(raw.salt));
    if (luks_slot_write(l, slot, &raw, err))
        return -1;
    int r = work_new(l, &w);
    for (unsigned i = 0; !r && i < ERASE_ROUNDS; i++) {
        r = crypt_random(w.material, w.material_bytes);
        if (!r)
            r = block_protocol_pwrite(l->file, l->at + luks_slot_offset(l, slot), w.material, w.material_bytes);
        if (!r)
            r = block_protocol_flush(l->file);
    }
    work_free(&w);
    return r ? error_set(err, "the key material of slot %u cannot be overwritten: %s", slot, strerror(-r)) : 0;
}
