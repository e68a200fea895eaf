/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * -global: properties that devices get when they are made, also those that come while the machine runs. All are read before any other option, since
 * QEMU does not mind their order. For a device of -device they are written into its text, where what the user says there comes first; network
 * cards of -nic and disks of -drive if=virtio have them applied. The board's own devices have rows here. What is about no device, or was not
 * used, is warned of, as QEMU does.
 */
#include <stdio.h>
#include <string.h>

#include "base/bits.h"
#include "base/error.h"
#include "base/log.h"
#include "tool/vm_options_private.h"

static int set_tick_policy(struct vm_options *o, const char *value, struct error *err)
{
    static const char *const names[] = { "discard", "slew", NULL };
    unsigned which;

    if (value_choice("lost_tick_policy", value, names, &which, err) < 0) return -1;
    o->config.rtc_slew = which == 1;
    return 0;
}

#define NO_SLEEP "the machine has no S3 and S4 in this version"
/* The board's: one value is what the machine does, or there is a function. */
static const struct board {
    struct vm_fixed_property p;
    const char *why;
    int (*set)(struct vm_options *o, const char *value, struct error *err);
} board[] = {
    { { "PIIX4_PM", "disable_s3", "on" }, NO_SLEEP, NULL }, { { "PIIX4_PM", "disable_s4", "on" }, NO_SLEEP, NULL },
    { { "kvm-pit", "lost_tick_policy", "delay" }, "lost ticks come late", NULL }, { { "isa-debugcon", "iobase", "0x402" }, "the port is fixed", NULL },
    { { "cfi.pflash01", "secure", "off" }, "there is no system management mode, without which a guest's kernel can write the variables; use a firmware without secure boot", NULL },
    { { "mc146818rtc", "lost_tick_policy", NULL }, NULL, set_tick_policy },
};

const struct vm_fixed_property *vm_fixed_property(unsigned i)
{
    return i < ARRAY_SIZE(board) ? &board[i].p : NULL;
}

/* "1" and "yes" are "on", 1026 is 0x402. */
static bool is_value(const char *want, const char *given)
{
    uint64_t a, b;
    bool x, y;

    if (!strcmp(want, given)) return true;
    if (!strcmp(given, "1")) given = "on";
    if (!strcmp(given, "0")) given = "off";
    if (value_bool("", want, &x, NULL) == 0) return value_bool("", given, &y, NULL) == 0 && x == y;
    return value_unsigned("", want, UINT32_MAX, &a, NULL) == 0 && value_unsigned("", given, UINT32_MAX, &b, NULL) == 0 && a == b;
}

static int board_set(struct vm_options *o, struct vm_global *g, struct error *err)
{
    const char *property = arena_format(o->arena, "%s=%s", g->property, g->value);

    for (unsigned i = 0; i < ARRAY_SIZE(board); i++) {
        const struct board *b = &board[i];

        if (strcmp(b->p.device, g->driver) || strcmp(b->p.name, g->property)) continue;
        g->used = true;
        if (b->set) return b->set(o, g->value, err) < 0 ? error_prefix(err, "-global %s", g->driver) : 0;
        if (is_value(b->p.value, g->value)) return 0;
        return error_set(err, "-global %s.%s is not supported: %s; only %s=%s is", g->driver, property, b->why, g->property, b->p.value);
    }
    g->used = !strcmp(g->driver, "VGA") || !strcmp(g->driver, "virtio-vga");
    if (!strcmp(g->driver, "VGA")) return global_vga(o, property, err);
    return g->used ? global_gpu(o, property, err) : 0;
}

/* DRIVER.PROP=VALUE; a driver's name may have dots, with the other form. */
static int short_read(struct vm_options *o, const char *arg, struct vm_global *g)
{
    const char *dot = strchr(arg, '.'), *equals = dot ? strchr(dot, '=') : NULL;

    if (!equals || dot == arg || equals == dot + 1 || strchr(arg, '=') < dot) return -1;
    g->driver = arena_format(o->arena, "%.*s", (int)(dot - arg), arg);
    g->property = arena_format(o->arena, "%.*s", (int)(equals - dot - 1), dot + 1);
    g->value = equals + 1;
    return 0;
}

int global_read(struct vm_options *o, const char *arg, struct error *err)
{
    struct vm_global *g = &o->global[o->global_count];
    struct option_list l;

    if (o->global_count == ARRAY_SIZE(o->global)) return error_set(err, "-global: more than %zu", ARRAY_SIZE(o->global));
    *g = (struct vm_global){ .text = arg };
    if (short_read(o, arg, g) < 0) {
        if (option_list_parse(&l, o->arena, arg, NULL, err) < 0) return error_prefix(err, "-global");
        for (unsigned i = 0; i < l.count; i++) {
            const char **to = !strcmp(l.pair[i].key, "driver") ? &g->driver : !strcmp(l.pair[i].key, "property") ? &g->property : &g->value;

            if (to == &g->value && strcmp(l.pair[i].key, "value")) return error_set(err, "-global %s: it is DRIVER.PROP=VALUE, or driver=DRIVER,property=PROP,value=VALUE", arg);
            *to = l.pair[i].value;
        }
        if (!g->driver || !g->property || !g->value) return error_set(err, "-global %s: options 'driver', 'property', and 'value' are required", arg);
    }
    o->global_count++;
    return board_set(o, g, err);
}

int option_global(struct vm_options *o, const char *arg, struct error *err) { return 0; }       /* was read before all */

/* ---- devices ---- */

/* "virtio-blk" is another name for "virtio-blk-pci". */
static bool is_driver(const char *global, const char *device)
{
    size_t length = strlen(device), other = strlen(global);
    const char *longer = length > other ? device : global;

    if (!strcmp(global, device)) return true;
    return !strncmp(device, "virtio-", 7) && !strncmp(global, device, MIN(length, other)) && !strcmp(longer + MIN(length, other), "-pci");
}

bool global_next(struct vm_options *o, const char *device, unsigned *at, struct vm_global **g)
{
    while (*at < o->global_count) {
        *g = &o->global[(*at)++];
        if (!is_driver((*g)->driver, device) || !strcmp((*g)->driver, "VGA") || !strcmp((*g)->driver, "virtio-vga")) continue;
        (*g)->used = true;
        return true;
    }
    return false;
}

int globals_apply(struct vm_options *o, const char *device, const struct option_key *keys, const char *but, void *target, struct error *err)
{
    struct vm_global *g;

    for (unsigned at = 0; global_next(o, device, &at, &g);) {
        struct option_list l = { .count = 1 };

        if (but && !strcmp(but, g->property)) continue;
        l.pair[0].key = g->property;
        l.pair[0].value = g->value;
        if (option_list_apply(&l, arena_format(o->arena, "-global %s", g->text), keys, target, err) < 0) return -1;
    }
    return 0;
}

/* A text as a JSON string, or with commas doubled. */
static const char *quoted(struct vm_options *o, const char *text, bool is_json)
{
    char *out = arena_room(o->arena, 2 * strlen(text) + 3), *p = out;

    if (is_json) *p++ = '"';
    for (; *text; *p++ = *text++)
        if (is_json ? *text == '"' || *text == '\\' : *text == ',') *p++ = is_json ? '\\' : ',';
    if (is_json) *p++ = '"';
    return out;
}

const char *globals_write(struct vm_options *o, const char *text, const struct option_list *l)
{
    bool is_json = *text == '{';
    struct vm_global *g;

    for (unsigned at = 0; global_next(o, l->pair[0].value, &at, &g);) {
        if (option_list_get(l, g->property)) continue;
        if (is_json) text = arena_format(o->arena, "{%s:%s,%s", quoted(o, g->property, true), quoted(o, g->value, true), text + 1);
        else text = arena_format(o->arena, "%s,%s=%s", text, g->property, quoted(o, g->value, false));
    }
    return text;
}

/* ---- the end ---- */

/* Such a device may come later. */
static bool may_come(const char *driver)
{
    static const char *const beginnings[] = { "virtio-", "scsi-", "usb-", "e1000", "rtl8139", "ne2k_pci" };
    const char *name;

    for (unsigned i = 0; (name = vm_device_name(i)); i++)
        for (unsigned k = 0; is_driver(driver, name) && k < ARRAY_SIZE(beginnings); k++)
            if (!strncmp(driver, beginnings[k], strlen(beginnings[k]))) return true;
    return false;
}

void globals_finish(const struct vm_options *o)
{
    for (unsigned i = 0; i < o->global_count; i++) {
        const struct vm_global *g = &o->global[i];

        if (!g->used && !may_come(g->driver)) log_message("warning: -global %s: not used, there is no device '%s' in this machine", g->text, g->driver);
    }
}
