/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Adding and erasing passphrases, with the options of 'qemu-img amend' (state, keyslot, old-secret, new-secret, iter-time)
 * and its rules: nothing that is in use is overwritten and the last key is not erased unless force says so.
 */
#include "block/crypt/luks.h"

#include <stdio.h>
#include <string.h>

#include "base/error.h"
#include "block/crypt/memory.h"

struct change {
    struct luks *l;
    const char *prefix;
    bool force, has_slot, has_old, has_new;
    unsigned state;
    uint64_t slot, iter_ms;
    const uint8_t *old, *new;
    size_t old_bytes, new_bytes;
};
enum { INACTIVE, ACTIVE };

static unsigned active_count(const struct luks *l)
{
    unsigned count = 0;
    for (unsigned i = 0; i < LUKS_SLOTS; i++)
        count += luks_slot_is_active(l, i);
    return count;
}

static int slot_choose(const struct change *c, unsigned *slot, struct error *err)
{
    if (c->has_slot) {
        *slot = (unsigned)c->slot;
        if (luks_slot_is_active(c->l, *slot) && !c->force)
            return error_set(err, "key slot %u is in use; erase it first (%sstate=inactive,%skeyslot=%u), or choose another",
                             *slot, c->prefix, c->prefix, *slot);
        return 0;
    }
    for (*slot = 0; *slot < LUKS_SLOTS; ++*slot)
        if (!luks_slot_is_active(c->l, *slot))
            return 0;
    return error_set(err, "all %d key slots are in use; erase one with %sstate=inactive", LUKS_SLOTS, c->prefix);
}

static int slot_add(const struct change *c, struct error *err)
{
    struct luks_raw_slot raw;
    unsigned slot;
    if (!c->has_new)
        return error_set(err, "%sstate=active needs %snew-secret=ID: the secret with the new passphrase", c->prefix, c->prefix);
    if (c->has_old && luks_unlock(c->l, c->old, c->old_bytes, NULL, err))
        return error_prefix(err, "%sold-secret", c->prefix);
    if (slot_choose(c, &slot, err))
        return -1;
    /* With force a slot may be overwritten: while its material is half written it must not be in use. */
    if (luks_slot_is_active(c->l, slot) && luks_slot_erase(c->l, slot, err))
        return -1;
    if (luks_slot_fill(c->l, slot, c->new, c->new_bytes, c->iter_ms, &raw, err))
        return -1;
    return luks_slot_write(c->l, slot, &raw, err);
}

/* Bits of the slots that the old passphrase opens; -1 with *err. */
static int slots_match(const struct change *c, unsigned *mask, struct error *err)
{
    uint8_t *key = crypt_memory_new(c->l->key_bytes);
    int r = key ? 0 : error_set(err, "out of memory");
    *mask = 0;
    for (unsigned i = 0; r >= 0 && i < LUKS_SLOTS; i++) {
        r = luks_slot_is_active(c->l, i) ? luks_slot_try(c->l, i, c->old, c->old_bytes, key, err) : 0;
        if (r > 0)
            *mask |= 1u << i;
    }
    crypt_memory_free(key, c->l->key_bytes);
    if (r >= 0 && !*mask)
        return error_set(err, "%sold-secret: it opens no key slot", c->prefix);
    return r < 0 ? -1 : 0;
}

static int slots_choose(const struct change *c, unsigned *mask, struct error *err)
{
    *mask = c->has_slot ? 1u << c->slot : 0;
    if (!c->has_slot && !c->has_old)
        return error_set(err, "%sstate=inactive needs %skeyslot=NUMBER or %sold-secret=ID: which keys are to go?", c->prefix,
                         c->prefix, c->prefix);
    if (c->has_old && !c->has_slot && slots_match(c, mask, err))
        return -1;
    if (c->has_slot && !luks_slot_is_active(c->l, (unsigned)c->slot))
        return error_set(err, "key slot %llu is not in use", (unsigned long long)c->slot);
    return 0;
}

static int slots_erase(const struct change *c, struct error *err)
{
    unsigned mask, erased;
    if (c->has_new)
        return error_set(err, "%snew-secret is for %sstate=active", c->prefix, c->prefix);
    if (slots_choose(c, &mask, err))
        return -1;
    if (c->has_old && c->has_slot) {
        if (slots_match(c, &erased, err))
            return -1;
        if (!(erased & mask))
            return error_set(err, "%sold-secret does not open key slot %llu", c->prefix, (unsigned long long)c->slot);
    }
    if ((unsigned)__builtin_popcount(mask) == active_count(c->l) && !c->force)
        return error_set(err, "these are the last key slots in use: without them nobody can ever read the image again; give "
                         "--force if that is what you want");
    for (unsigned i = 0; i < LUKS_SLOTS; i++)
        if (mask >> i & 1 && luks_slot_erase(c->l, i, err))
            return -1;
    return 0;
}

static int numbers_read(struct change *c, const struct block_option_set *changes, struct error *err)
{
    static const char *const states[] = { "inactive", "active", NULL };
    char key[4][64];
    static const char *const names[4] = { "state", "keyslot", "iter-time", "new-secret" };
    for (unsigned i = 0; i < 4; i++)
        snprintf(key[i], sizeof(key[i]), "%s%s", c->prefix, names[i]);
    c->has_slot = block_option_get(changes, key[1]);
    if (!block_option_get(changes, key[0]))
        return error_set(err, "%s=active or %s=inactive is missing: what is to become of the key slots?", key[0], key[0]);
    if (block_option_choice(changes, key[0], states, &c->state, err) ||
        block_option_number(changes, key[1], LUKS_SLOTS - 1, &c->slot, err) ||
        block_option_number(changes, key[2], 600000, &c->iter_ms, err))
        return -1;
    if (block_option_get(changes, key[2]) && (c->state == INACTIVE || !c->iter_ms))
        return error_set(err, c->iter_ms ? "%s is for %s=active" : "%s: at least 1 millisecond, with %s=active", key[2], key[0]);
    return 0;
}

static bool has_keys(const struct block_option_set *changes, const char *prefix)
{
    static const struct block_option rows[] = { LUKS_CREATE_ROWS(""), LUKS_AMEND_ROWS("") };
    char name[64];
    for (size_t i = 0; i < ARRAY_SIZE(rows); i++) {
        snprintf(name, sizeof(name), "%s%s", prefix, rows[i].name);
        if (rows[i].amends && block_option_get(changes, name))
            return true;
    }
    return false;
}

int luks_amend(struct luks *l, const struct block_option_set *changes, const char *prefix,
               const struct block_objects *objects, bool force, struct error *err)
{
    struct change c = { .l = l, .prefix = prefix, .force = force, .iter_ms = 2000 };
    if (!has_keys(changes, prefix))
        return 0;
    if (!l)
        return error_set(err, "it is not encrypted with LUKS: it has no key slots");
    if (!l->key)
        return error_set(err, "its passphrase is needed: %skey-secret=ID in --image-opts", prefix);
    if (numbers_read(&c, changes, err))
        return -1;
    int old = luks_secret_find(changes, prefix, "old-secret", objects, &c.old, &c.old_bytes, err);
    int new = old < 0 ? -1 : luks_secret_find(changes, prefix, "new-secret", objects, &c.new, &c.new_bytes, err);
    if (new < 0)
        return -1;
    c.has_old = old;
    c.has_new = new;
    return c.state == ACTIVE ? slot_add(&c, err) : slots_erase(&c, err);
}
