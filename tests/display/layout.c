/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Keyboard layouts (-k) against those that QEMU's package has: every character of a main block's key must be found at one of the places that QEMU
 * knows for it, with the same of Shift and AltGr.
 *
 *   test-layout DIRECTORY
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include <xkbcommon/xkbcommon.h>

#include "base/error.h"
#include "display/layout.h"
#include "display/vnc_private.h"

enum { LINES = 4096, LAST_SET1 = 0x7f };

struct place { uint32_t keysym; unsigned key, shift, altgr; };

static unsigned checks, failures, moved;

static unsigned read_map(const char *path, struct place *place)
{
    FILE *f = fopen(path, "r");
    char line[256], name[64], rest[128];
    unsigned count = 0, code;

    while (f && fgets(line, sizeof(line), f) && count < LINES) {
        rest[0] = 0;
        if (line[0] == '#' || sscanf(line, "%63s 0x%x %127[^\n]", name, &code, rest) < 2 || code > LAST_SET1 || strstr(rest, "numlock") || strstr(rest, "control")) continue;
        place[count++] = (struct place){ xkb_keysym_from_name(name, XKB_KEYSYM_NO_FLAGS), scancode_key(code), strstr(rest, "shift") != NULL, strstr(rest, "altgr") != NULL };
    }
    if (f) fclose(f);
    return count;
}

static void compare(const char *directory, const char *name)
{
    static struct place place[LINES];
    struct error err = { "" };
    struct layout *l = layout_new(name, &err);
    char path[512];
    unsigned count;

    snprintf(path, sizeof(path), "%s/%s", directory, name);
    count = read_map(path, place);
    if (!l || !count) {
        printf("FAIL: %s: %s, %u lines\n", name, l ? "read" : err.text, count);
        failures++;
    }
    for (unsigned i = 0; l && i < count; i++) {
        const struct layout_key *k = layout_find(l, place[i].keysym);
        unsigned n = 0;

        if (xkb_keysym_to_utf32(place[i].keysym) <= 32) continue;       /* no character */
        while (k && n < count && !(place[n].keysym == place[i].keysym && place[n].key == k->key && place[n].shift == k->shift && place[n].altgr == k->altgr)) n++;
        checks++;
        if (k && n < count) continue;
        if (place[i].keysym > 0x7e) {
            moved++;                     /* xkb-data has changed since QEMU's were made */
            continue;
        }
        failures++;
        printf("FAIL: %s: keysym %#x is key %u, %u, %u here\n", name, place[i].keysym, k ? k->key : 0, k ? k->shift : 0, k ? k->altgr : 0);
    }
    layout_free(l);
}

static void unknown(void)
{
    struct error err = { "" };

    checks++;
    if (!layout_new("ed", &err) && strstr(err.text, "there is no layout 'ed'")) return;
    failures++;
    printf("FAIL: the layout 'ed': %s\n", err.text);
}

int main(int argc, char **argv)
{
    /* The others are made from other variants, or by hand. */
    static const char *const names[] = { "cz", "da", "de", "de-ch", "en-gb", "en-us", "es", "fi", "fo", "fr", "fr-be", "fr-ch", "hr", "hu", "it", "ja", "lt", "lv", "nl", "no",
                                         "pl", "pt", "pt-br", "ru", "tr", NULL };

    if (argc < 2 || access(argv[1], R_OK) < 0) {
        printf("skipped: QEMU's keymaps are not installed (qemu-system-data)\n");
        return 77;
    }
    for (unsigned i = 0; names[i]; i++) compare(argv[1], names[i]);
    unknown();
    printf("layout: %u characters of 25 layouts, %u beyond ASCII are elsewhere, %u failed\n", checks, moved, failures);
    return failures || moved > checks / 15;
}
