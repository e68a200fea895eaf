/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Layouts are those of xkb-data, read by libxkbcommon: every key of the main block with what it makes alone, with Shift, with AltGr and with
 * both. Of several ways to a character the one with the fewest modifiers counts, then the first key.
 * Sources: libxkbcommon's xkbcommon.h; linux/input-event-codes.h (keycodes of xkb-data's rules "evdev" are those plus 8).
 */
#include "display/layout.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <xkbcommon/xkbcommon.h>

#include "base/bits.h"
#include "base/error.h"
#include "base/nearest.h"
#include "base/qkeycode.h"
#include "display/vnc_private.h"

enum { EVDEV = 8, LAST_SET1 = 88, MASKS = 8 };

struct layout {
    unsigned count, room;
    struct layout_key *key;
};

static const struct { const char *name, *layout, *variant; } names[] = {
    { "ar", "ara", NULL }, { "bepo", "fr", "bepo" }, { "cz", "cz", NULL }, { "da", "dk", NULL }, { "de", "de", "nodeadkeys" }, { "de-ch", "ch", NULL }, { "en-gb", "gb", NULL },
    { "en-us", "us", NULL }, { "es", "es", NULL }, { "et", "ee", NULL }, { "fi", "fi", NULL }, { "fo", "fo", NULL }, { "fr", "fr", "nodeadkeys" }, { "fr-be", "be", NULL },
    { "fr-ca", "ca", NULL }, { "fr-ch", "ch", "fr" }, { "hr", "hr", NULL }, { "hu", "hu", NULL }, { "is", "is", NULL }, { "it", "it", NULL }, { "ja", "jp", NULL },
    { "lt", "lt", NULL }, { "lv", "lv", NULL }, { "mk", "mk", NULL }, { "nl", "nl", NULL }, { "no", "no", NULL }, { "pl", "pl", NULL }, { "pt", "pt", NULL },
    { "pt-br", "br", NULL }, { "ru", "ru", NULL }, { "sl", "si", NULL }, { "sv", "se", NULL }, { "th", "th", NULL }, { "tr", "tr", NULL },
};

static int name_find(const char *name, struct error *err)
{
    struct nearest near;

    nearest_begin(&near, name);
    for (unsigned i = 0; i < ARRAY_SIZE(names); i++) {
        if (!strcmp(names[i].name, name)) return (int)i;
        nearest_offer(&near, names[i].name);
    }
    if (nearest_result(&near)) return error_set(err, "there is no layout '%s'; did you mean '%s'?", name, near.best);
    return error_set(err, "there is no layout '%s'; '-k help' lists them", name);
}

int layout_check(const char *name, struct error *err) { return name_find(name, err) < 0 ? -1 : 0; }

void layout_names(void (*print)(void *opaque, const char *line), void *opaque)
{
    for (unsigned i = 0; i < ARRAY_SIZE(names); i++) print(opaque, names[i].name);
}

/* ---- reading ---- */

/* Keys that a PC's keyboard of scan set 1 has without a prefix, and those of Asian ones. */
static unsigned key_of(xkb_keycode_t code)
{
    switch (code - EVDEV) {
    case 89: return QKEY_RO;
    case 92: return QKEY_HENKAN;
    case 93: return QKEY_KATAKANAHIRAGANA;
    case 94: return QKEY_MUHENKAN;
    case 124: return QKEY_YEN;
    default: return code > EVDEV && code - EVDEV <= LAST_SET1 ? scancode_key(code - EVDEV) : QKEY_UNMAPPED;
    }
}

static unsigned modifiers(const struct layout_key *k) { return k->shift + 2u * k->altgr; }

static void add(struct layout *l, const struct layout_key *k)
{
    for (unsigned i = 0; i < l->count; i++) {
        if (l->key[i].keysym != k->keysym) continue;
        if (modifiers(k) < modifiers(&l->key[i])) l->key[i] = *k;
        return;
    }
    if (l->count == l->room) {
        struct layout_key *more = realloc(l->key, (l->room + 256) * sizeof(*more));

        if (!more) return;
        l->key = more;
        l->room += 256;
    }
    l->key[l->count++] = *k;
}

static void level_add(struct layout *l, struct xkb_keymap *map, xkb_keycode_t code, unsigned key, xkb_level_index_t level)
{
    xkb_mod_mask_t shift = 1u << xkb_keymap_mod_get_index(map, XKB_MOD_NAME_SHIFT), altgr = 1u << xkb_keymap_mod_get_index(map, "Mod5"), mask[MASKS];
    size_t masks = xkb_keymap_key_get_mods_for_level(map, code, 0, level, mask, MASKS);
    const xkb_keysym_t *sym;
    int syms = xkb_keymap_key_get_syms_by_level(map, code, 0, level, &sym);

    for (size_t i = 0; i < masks && syms == 1; i++) {
        if (mask[i] & ~(shift | altgr)) continue;
        add(l, &(struct layout_key){ sym[0], xkb_keysym_to_utf32(sym[0]), (uint8_t)key, mask[i] & shift, mask[i] & altgr });
    }
}

static void map_read(struct layout *l, struct xkb_keymap *map)
{
    for (xkb_keycode_t code = xkb_keymap_min_keycode(map); code <= xkb_keymap_max_keycode(map); code++) {
        unsigned key = key_of(code), levels = xkb_keymap_num_levels_for_key(map, code, 0);

        for (xkb_level_index_t level = 0; key && level < levels; level++) level_add(l, map, code, key, level);
    }
}

struct layout *layout_new(const char *name, struct error *err)
{
    int n = name_find(name, err);
    struct xkb_rule_names rules = { "evdev", "pc105", n < 0 ? "" : names[n].layout, n < 0 ? NULL : names[n].variant, "" };
    struct xkb_context *context = n < 0 ? NULL : xkb_context_new(XKB_CONTEXT_NO_ENVIRONMENT_NAMES);
    struct xkb_keymap *map = context ? xkb_keymap_new_from_names(context, &rules, XKB_KEYMAP_COMPILE_NO_FLAGS) : NULL;
    struct layout *l = map ? calloc(1, sizeof(*l)) : NULL;

    if (l) map_read(l, map);
    else if (n >= 0) error_set(err, "the layout '%s' could not be read; run 'apt install xkb-data'", name);
    xkb_keymap_unref(map);
    xkb_context_unref(context);
    return l;
}

void layout_free(struct layout *l)
{
    if (!l) return;
    free(l->key);
    free(l);
}

const struct layout_key *layout_find(const struct layout *l, uint32_t keysym)
{
    uint32_t character = xkb_keysym_to_utf32(keysym);

    for (unsigned i = 0; i < l->count; i++)
        if (l->key[i].keysym == keysym || (character && l->key[i].character == character)) return &l->key[i];
    return NULL;
}
