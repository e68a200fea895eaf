/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * What there is to choose from, out of the tables that read the command line: for "help" on the terminal, and for QMP. The properties of a
 * device or object are what its option says when it is asked for help, noted in place of being printed.
 */
#include "tool/vm_catalog.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/bits.h"
#include "base/error.h"
#include "tool/vm_options_private.h"

/* Those that may be given; what only names the thing itself is no property. */
static bool is_property(const struct option_key *k)
{
    return !k->refuse && strcmp(k->name, "driver") && strcmp(k->name, "qom-type") && strcmp(k->name, "id");
}

int keys_show(struct vm_options *o, const char *name, const struct option_key *keys)
{
    o->keys_told = keys;
    if (o->is_quiet_help) return VM_OPTIONS_HELP_SHOWN;
    printf("%s options:\n", name);
    for (; keys->name; keys++)
        if (is_property(keys)) printf("  %s\n", keys->name);
    return VM_OPTIONS_HELP_SHOWN;
}

static void keys_tell(const struct option_key *keys, void (*tell)(void *opaque, const char *name), void *opaque)
{
    for (; keys->name; keys++)
        if (is_property(keys)) tell(opaque, keys->name);
}

/* ---- types ---- */

static const char *object_name(unsigned i)
{
    return vm_object_names[i];
}

static bool is_option_device(const char *type)
{
    const char *name;

    for (unsigned i = 0; (name = vm_device_name(i)); i++)
        if (!strcmp(name, type)) return true;
    return false;
}

/* Those of -device, then those of the board that -global knows; the latter have a row for each property. */
static const char *device_name(unsigned i)
{
    const struct vm_fixed_property *p;
    const char *name, *last = "";

    for (unsigned n = 0; (name = vm_device_name(n)); n++)
        if (!i--) return name;
    for (unsigned n = 0; (p = vm_fixed_property(n)); last = p->device, n++)
        if (strcmp(p->device, last) && !is_option_device(p->device) && !i--) return p->device;
    return NULL;
}

/* Whether there are any. */
static bool fixed_tell(const char *type, void (*tell)(void *opaque, const char *name), void *opaque)
{
    const struct vm_fixed_property *p;
    bool any = false;

    for (unsigned n = 0; !is_option_device(type) && (p = vm_fixed_property(n)); n++) {
        if (strcmp(p->device, type)) continue;
        tell(opaque, p->name);
        any = true;
    }
    return any;
}

static bool is_object(const char *type)
{
    for (unsigned i = 0; vm_object_names[i]; i++)
        if (!strcmp(vm_object_names[i], type)) return true;
    return false;
}

/* "pc-i440fx-7.2-machine" */
static bool is_machine(const char *type)
{
    static const char suffix[] = "-machine";
    size_t length = strlen(type), name = length > sizeof(suffix) - 1 ? length - (sizeof(suffix) - 1) : 0;

    if (!name || strcmp(type + name, suffix)) return false;
    for (const struct machine_type *m = machine_types; m->name; m++)
        if (strlen(m->name) == name && !strncmp(m->name, type, name)) return true;
    return false;
}

static bool properties(const char *type, void (*tell)(void *opaque, const char *name), void *opaque)
{
    bool device = is_option_device(type), object = is_object(type);
    struct vm_options *o = calloc(1, sizeof(*o));
    struct error err;

    if (is_machine(type)) keys_tell(machine_keys, tell, opaque);
    if (o && (device || object)) {
        const char *help;

        o->arena = arena_new();
        o->is_quiet_help = true;
        help = arena_format(o->arena, "%s,help", type);
        if (device) option_device(o, help, &err);
        else option_object(o, help, &err);
        if (o->keys_told) keys_tell(o->keys_told, tell, opaque);
        arena_free(o->arena);
    }
    free(o);
    return fixed_tell(type, tell, opaque) || device || object || is_machine(type);
}

/* ---- options ---- */

/* Rows have the name that QEMU gives the group of parameters. */
static const struct { const char *option, *group; const struct option_key *keys; } groups[] = {
    { "machine", "machine", machine_keys }, { "accel", "accel", accel_keys }, { "smp", "smp-opts", smp_keys }, { "rtc", "rtc", rtc_keys },
    { "boot", "boot-opts", boot_keys }, { "name", "name", name_keys }, { "chardev", "chardev", chardev_keys }, { "mon", "mon", mon_keys },
    { "drive", "drive", drive_keys }, { "vnc", "vnc", vnc_keys }, { "m", "memory", memory_keys }, { "overcommit", "overcommit", overcommit_keys },
    { "fsdev", "fsdev", fsdev_keys }, { "virtfs", "virtfs", virtfs_keys }, { "fw_cfg", "fw_cfg", fw_cfg_keys }, { "option-rom", "option-rom", option_rom_keys },
    { "msg", "msg", msg_keys },
};

/* An option that can only be switched off is none that a program should use. */
static const char *listed_option(unsigned i)
{
    static const char *const hidden[] = { "sandbox", "parallel" };
    const char *name;

    for (unsigned n = 0; (name = vm_option_name(n)); n++) {
        bool hide = false;

        for (unsigned h = 0; h < ARRAY_SIZE(hidden); h++) hide |= !strcmp(name, hidden[h]);
        if (hide || i--) continue;
        for (unsigned g = 0; g < ARRAY_SIZE(groups); g++)
            if (!strcmp(groups[g].option, name)) return groups[g].group;
        return name;
    }
    return NULL;
}

static bool parameters(const char *option, void (*tell)(void *opaque, const char *name), void *opaque)
{
    for (unsigned g = 0; g < ARRAY_SIZE(groups); g++) {
        if (strcmp(groups[g].group, option)) continue;
        keys_tell(groups[g].keys, tell, opaque);
        return true;
    }
    return false;
}

const struct monitor_catalog vm_catalog = { device_name, object_name, listed_option, properties, parameters };
