/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Reading a LUKS header. Every field is checked before anything relies on it or work is done for it: names, key length,
 * iteration counts, and where the key material of each slot lies, in use or not: behind the header, before the disk, and
 * not over another slot's.
 *
 * Source: LUKS On-Disk Format Specification 1.2.3.
 */
#include "block/crypt/luks.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/error.h"
#include "block/block_private.h"
#include "block/crypt/memory.h"

bool luks_slot_is_active(const struct luks *l, unsigned slot)
{
    return be32_get(l->raw.slot[slot].active) == LUKS_ACTIVE;
}

uint64_t luks_slot_offset(const struct luks *l, unsigned slot)
{
    return (uint64_t)be32_get(l->raw.slot[slot].offset_sectors) * CRYPT_SECTOR_BYTES;
}

uint64_t luks_slot_bytes(const struct luks *l)
{
    return ALIGN_UP((uint64_t)l->key_bytes * LUKS_STRIPES, (uint64_t)CRYPT_SECTOR_BYTES);
}

uint64_t luks_work(const struct luks *l)
{
    uint64_t work = 0;
    for (unsigned i = 0; i < LUKS_SLOTS; i++)
        if (luks_slot_is_active(l, i))
            work += (uint64_t)be32_get(l->raw.slot[i].iterations) + be32_get(l->raw.digest_iterations);
    return work;
}

static bool is_text(const char *field, size_t room)
{
    return *field && memchr(field, 0, room);
}

/* "xts-plain64", "cbc-essiv:sha256" */
static int mode_read(struct luks *l, struct error *err)
{
    char mode[sizeof(l->raw.mode)];
    memcpy(mode, l->raw.mode, sizeof(mode));
    char *ivgen = strchr(mode, '-'), *hash = strchr(mode, ':');
    if (ivgen)
        *ivgen++ = 0;
    if (hash)
        *hash++ = 0;
    const struct block_option_value item[2] = { { "mode", mode }, { "IV generator", ivgen } };
    const struct block_option_set set = { item, ivgen ? 2 : 1 };
    unsigned m = 0, g = 0;
    if (block_option_choice(&set, "mode", crypt_mode_names, &m, NULL) || !ivgen ||
        block_option_choice(&set, "IV generator", crypt_ivgen_names, &g, NULL))
        return error_set(err, "its cipher mode '%s' is not supported; xts and cbc with plain, plain64 and essiv are",
                         l->raw.mode);
    l->kind.mode = m;
    l->kind.ivgen = g;
    int h = hash ? crypt_hash_find(hash) : -1;
    if ((g == CRYPT_ESSIV) != !!hash || (hash && h < 0))
        return error_set(err, "its cipher mode '%s' names no known hash for the IV generator", l->raw.mode);
    l->kind.ivgen_hash = h < 0 ? 0 : (unsigned)h;
    return 0;
}

static int kind_read(struct luks *l, struct error *err)
{
    char names[96];
    if (!is_text(l->raw.cipher, sizeof(l->raw.cipher)) || !is_text(l->raw.mode, sizeof(l->raw.mode)) ||
        !is_text(l->raw.hash, sizeof(l->raw.hash)))
        return error_set(err, "the name of its cipher, mode or hash is empty or has no end");
    for (const char *c = (const char *)&l->raw.cipher; c < (const char *)&l->raw.payload_sectors; c++)
        if ((unsigned char)*c >= 127 || (*c && *c < ' '))
            return error_set(err, "the name of its cipher, mode or hash holds characters that no name has");
    if (mode_read(l, err))
        return -1;
    size_t key = be32_get(l->raw.key_bytes), share = l->kind.mode == CRYPT_XTS ? key / 2 : key;
    int cipher = crypt_cipher_find_family(l->raw.cipher, share);
    if (cipher < 0 || (l->kind.mode == CRYPT_XTS && key % 2))
        return error_set(err, "its cipher '%s' with keys of %zu bytes (key-bytes) is not supported; aes, serpent, twofish "
                         "and cast5 are", l->raw.cipher, key);
    l->kind.cipher = (unsigned)cipher;
    l->key_bytes = key;
    int hash = crypt_hash_find(l->raw.hash);
    crypt_hash_names(names, sizeof(names));
    if (hash < 0)
        return error_set(err, "its hash '%s' is not supported; %s are", l->raw.hash, names);
    l->hash = (unsigned)hash;
    return crypt_kind_check(&l->kind, err);
}

/* Slots that are not in use are checked too: they are where new keys go. */
static int slot_check(const struct luks *l, unsigned i, struct error *err)
{
    const struct luks_raw_slot *s = &l->raw.slot[i];
    uint64_t start = luks_slot_offset(l, i), length = luks_slot_bytes(l);
    uint32_t active = be32_get(s->active), iterations = be32_get(s->iterations);
    if (active != LUKS_ACTIVE && active != LUKS_INACTIVE)
        return error_set(err, "key slot %u is neither in use nor free (active is %#x)", i, active);
    if (be32_get(s->stripes) != LUKS_STRIPES)
        return error_set(err, "key slot %u has %u stripes, not %d", i, be32_get(s->stripes), LUKS_STRIPES);
    if (active == LUKS_ACTIVE && (!iterations || iterations > LUKS_ITERATIONS_MAX))
        return error_set(err, "key slot %u has %u iterations, 1 to %u are supported", i, iterations, LUKS_ITERATIONS_MAX);
    if (start < sizeof(l->raw))
        return error_set(err, "the key material of slot %u overlaps the header", i);
    if (start + length > l->payload_bytes)
        return error_set(err, "the key material of slot %u overlaps the disk (payload-offset)", i);
    for (unsigned k = 0; k < i; k++)
        if (start < luks_slot_offset(l, k) + length && luks_slot_offset(l, k) < start + length)
            return error_set(err, "the key material of slots %u and %u overlaps", k, i);
    return 0;
}

static int header_check(struct luks *l, uint64_t room, struct error *err)
{
    uint32_t digest_iterations = be32_get(l->raw.digest_iterations);
    if (memcmp(l->raw.magic, LUKS_MAGIC, sizeof(l->raw.magic)))
        return error_set(err, "it has no LUKS header");
    if (be16_get(l->raw.version) != 1)
        return error_set(err, "its LUKS header is of version %u; version 1 is supported: 'cryptsetup convert --type luks1' "
                         "can make one of it, if its keys use pbkdf2", be16_get(l->raw.version));
    if (kind_read(l, err))
        return -1;
    l->payload_bytes = (uint64_t)be32_get(l->raw.payload_sectors) * CRYPT_SECTOR_BYTES;
    if (!l->payload_bytes)
        return error_set(err, "its header is detached from the disk (payload-offset is 0), which is not supported");
    if (l->payload_bytes > room)
        return error_set(err, "its disk begins past the end of the file (payload-offset)");
    if (!digest_iterations || digest_iterations > LUKS_ITERATIONS_MAX)
        return error_set(err, "its key has %u iterations (mk-digest-iter), 1 to %u are supported", digest_iterations,
                         LUKS_ITERATIONS_MAX);
    if (!is_text(l->raw.uuid, sizeof(l->raw.uuid)))
        return error_set(err, "its uuid is empty or has no end");
    for (unsigned i = 0; i < LUKS_SLOTS; i++)
        if (slot_check(l, i, err))
            return -1;
    return luks_work(l) > LUKS_WORK_MAX ? error_set(err, "its key slots have %llu iterations together, at most %u are "
           "supported", (unsigned long long)luks_work(l), LUKS_WORK_MAX) : 0;
}

struct luks *luks_open(struct block_protocol *file, uint64_t at, uint64_t room, struct error *err)
{
    struct luks *l = calloc(1, sizeof(*l));
    int r = l ? block_protocol_pread(file, at, &l->raw, sizeof(l->raw)) : -ENOMEM;
    if (l) {
        l->file = file;
        l->at = at;
    }
    if (r)
        error_set(err, "its LUKS header cannot be read: %s", strerror(-r));
    else if (!header_check(l, room, err))
        return l;
    free(l);
    return NULL;
}

void luks_close(struct luks *l)
{
    if (!l)
        return;
    crypt_cipher_free(l->cipher);
    crypt_memory_free(l->key, l->key_bytes);
    free(l);
}

/* The uuid is the image's, and JSON is UTF-8. */
static json_t *uuid_json(const struct luks *l)
{
    json_t *text = json_string(l->raw.uuid);
    return text ? text : json_string("");
}

json_t *luks_info(const struct luks *l)
{
    json_t *o = json_object(), *slots = json_array();
    json_object_set_new(o, "ivgen-alg", json_string(crypt_ivgen_names[l->kind.ivgen]));
    json_object_set_new(o, "hash-alg", json_string(crypt_hash_name(l->hash)));
    json_object_set_new(o, "cipher-alg", json_string(crypt_cipher_name(l->kind.cipher)));
    json_object_set_new(o, "uuid", uuid_json(l));
    if (l->kind.ivgen == CRYPT_ESSIV)
        json_object_set_new(o, "ivgen-hash-alg", json_string(crypt_hash_name(l->kind.ivgen_hash)));
    json_object_set_new(o, "cipher-mode", json_string(crypt_mode_names[l->kind.mode]));
    for (unsigned i = 0; i < LUKS_SLOTS; i++) {
        json_t *s = json_object();
        bool active = luks_slot_is_active(l, i);
        json_object_set_new(s, "active", json_boolean(active));
        if (active)
            json_object_set_new(s, "iters", json_integer(be32_get(l->raw.slot[i].iterations)));
        json_object_set_new(s, "key-offset", json_integer((json_int_t)luks_slot_offset(l, i)));
        if (active)
            json_object_set_new(s, "stripes", json_integer(be32_get(l->raw.slot[i].stripes)));
        json_array_append_new(slots, s);
    }
    json_object_set_new(o, "slots", slots);
    json_object_set_new(o, "payload-offset", json_integer((json_int_t)l->payload_bytes));
    json_object_set_new(o, "master-key-iters", json_integer(be32_get(l->raw.digest_iterations)));
    return o;
}
