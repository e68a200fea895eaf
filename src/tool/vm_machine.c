/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The machine and its engine: -machine, -accel, -enable-kvm. Properties of qemu's machines that are fixed here take the value they
 * have, and are refused by name with any other.
 */
#include <stdio.h>
#include <string.h>

#include "base/bits.h"
#include "base/error.h"
#include "base/nearest.h"
#include "tool/vm_options_private.h"

#define MIB (1024ull * 1024)

static struct machine_config *config_of(void *target)
{
    return &((struct vm_options *)target)->config;
}

/* A switch that has one position in this version. */
#define FIXED(function, key, accepted, why) \
    static int function(void *t, const char *value, struct error *err) \
    { \
        bool on; \
        \
        if (!strcmp(value, "auto")) return 0; \
        if (value_bool(key, value, &on, err) < 0) return -1; \
        return on == (accepted) ? 0 : error_set(err, key "=%s is not supported in this version: " why, value); \
    }

FIXED(machine_vmport, "vmport", false, "VMware's port is not there")
FIXED(machine_smm, "smm", false, "there is no system management mode")
FIXED(machine_dump_guest_core, "dump-guest-core", false, "core dumps leave guest memory out")
FIXED(machine_i8042, "i8042", true, "the keyboard controller is always there")
FIXED(machine_smbus, "smbus", false, "there is no SMBus")
FIXED(machine_sata, "sata", false, "there is no SATA; use IDE or virtio")
FIXED(machine_pit, "pit", true, "the timer is always there")
FIXED(machine_pic, "pic", true, "the interrupt controllers are always there")
FIXED(machine_nvdimm, "nvdimm", false, "memory cannot be added")
FIXED(machine_hmat, "hmat", false, "there is no NUMA")
FIXED(machine_suppress_vmdesc, "suppress-vmdesc", false, "it belongs to migration")
FIXED(accel_split_wx, "split-wx", true, "translated code is never writable where it runs")

/* ---- engine ---- */

static const char *const accel_names[] = { "kvm", "bt", "tcg", NULL };

int accel_parse(struct vm_options *o, const char *names, struct error *err)
{
    bool kvm = o->config.accel == ACCEL_KVM, bt = o->config.accel == ACCEL_BT;
    char word[32];

    if (o->config.accel == ACCEL_KVM_BT) kvm = bt = true;
    for (const char *n = names; *n; n += strcspn(n, ":"), n += *n == ':') {
        unsigned which;

        snprintf(word, sizeof(word), "%.*s", (int)strcspn(n, ":"), n);
        if (value_choice("engine", word, accel_names, &which, err) < 0) return -1;
        /* "bt:kvm" means bt: the first that works, and bt always does. */
        if (which == 0 && bt && !kvm) continue;
        if (which == 0) kvm = true;
        else bt = true;
    }
    if (!kvm && !bt) return error_set(err, "no accelerator named; known are kvm, bt and tcg (the same as bt)");
    o->config.accel = kvm && bt ? ACCEL_KVM_BT : kvm ? ACCEL_KVM : ACCEL_BT;
    return 0;
}

static int accel_set(void *t, const char *value, struct error *err)
{
    return accel_parse(t, value, err);
}

static int accel_tb_size(void *t, const char *value, struct error *err)
{
    uint64_t mib;

    if (value_unsigned("tb-size", value, 16384, &mib, err) < 0) return -1;
    config_of(t)->tb_cache_bytes = mib * MIB;
    return 0;
}

static int machine_usb(void *t, const char *value, struct error *err)
{
    bool on;

    return value_bool("usb", value, &on, err) < 0 ? -1 : usb_enable(t, on, err);
}

static int accel_windows(void *t, const char *value, struct error *err)
{
    bool on;

    if (value_bool("windows", value, &on, err) < 0) return -1;
    config_of(t)->no_windows = !on;
    return 0;
}

static int accel_perf(void *t, const char *value, struct error *err)
{
    return value_bool("perf", value, &config_of(t)->perf_map, err);
}

static int accel_thread(void *t, const char *value, struct error *err)
{
    unsigned which;

    return value_choice("thread", value, (const char *const[]){ "single", "multi", NULL }, &which, err);
}

static int accel_irqchip(void *t, const char *value, struct error *err)
{
    if (!strcmp(value, "on")) return 0;
    return error_set(err, "kernel-irqchip=%s is not supported in this version; with kvm the interrupt controllers are the kernel's (on)", value);
}

const struct option_key accel_keys[] = {
    { "accel", accel_set, NULL },
    { "tb-size", accel_tb_size, NULL },
    { "windows", accel_windows, NULL },
    { "perf", accel_perf, NULL },
    { "thread", accel_thread, NULL },
    { "split-wx", accel_split_wx, NULL },
    { "kernel-irqchip", accel_irqchip, NULL },
    { NULL, NULL, NULL },
};

int option_accel(struct vm_options *o, const char *arg, struct error *err)
{
    struct option_list l;

    if (!strcmp(arg, "help") || !strcmp(arg, "?")) {
        printf("Accelerators supported:\n"
               "kvm   the kernel's virtualization (/dev/kvm)\n"
               "bt    binary translation, no privileges needed\n"
               "tcg   another name for bt\n"
               "Without -accel: kvm if it is usable here, else bt.\n");
        return VM_OPTIONS_HELP_SHOWN;
    }
    if (option_list_parse(&l, o->arena, arg, "accel", err) < 0) return -1;
    if (l.count && strcmp(l.pair[0].key, "accel")) return error_set(err, "-accel begins with the engine's name");
    return option_list_apply(&l, "-accel", accel_keys, o, err);
}

int option_enable_kvm(struct vm_options *o, const char *arg, struct error *err)
{
    o->config.accel = ACCEL_KVM;
    return 0;
}

/* ---- machine ---- */

static int machine_type(void *t, const char *value, struct error *err)
{
    static const char *const later[] = { "q35", "microvm", "isapc", NULL };
    const struct machine_type *type = machine_type_find(value);
    struct nearest near;

    config_of(t)->is_empty = !strcmp(value, "none");
    if (type || config_of(t)->is_empty) {
        config_of(t)->machine = type ? type->name : "none";
        return 0;
    }
    for (unsigned i = 0; later[i]; i++)
        if (!strcmp(value, later[i]))
            return error_set(err, "machine '%s' is not supported in this version; use 'pc'", value);
    if (!strncmp(value, "pc-q35-", 7)) return error_set(err, "machine '%s' is not supported in this version; use 'pc'", value);
    nearest_begin(&near, value);
    nearest_offer(&near, "pc");
    for (type = machine_types; type->name; type++) nearest_offer(&near, type->name);
    if (nearest_result(&near)) return error_set(err, "unknown machine '%s'; did you mean '%s'? '-M help' lists them", value, near.best);
    return error_set(err, "unknown machine '%s'; did you mean 'pc'? '-M help' lists them", value);
}

static int machine_mem_merge(void *t, const char *value, struct error *err)
{
    config_of(t)->mem_merge_asked = true;
    return value_bool("mem-merge", value, &config_of(t)->mem_merge, err);
}

static int machine_acpi(void *t, const char *value, struct error *err)
{
    return value_bool("acpi", value, &config_of(t)->has_acpi, err);
}

static int machine_hpet(void *t, const char *value, struct error *err)
{
    return value_bool("hpet", value, &config_of(t)->has_hpet, err);
}

static int machine_graphics(void *t, const char *value, struct error *err)
{
    bool on = true;

    if (value_bool("graphics", value, &on, err) < 0) return -1;
    if (!on) ((struct vm_options *)t)->nographic = true;
    return 0;
}

static int machine_kernel(void *t, const char *value, struct error *err) { config_of(t)->kernel = value; return 0; }
static int machine_initrd(void *t, const char *value, struct error *err) { config_of(t)->initrd = value; return 0; }
static int machine_append(void *t, const char *value, struct error *err) { config_of(t)->append = value; return 0; }
static int machine_firmware(void *t, const char *value, struct error *err) { config_of(t)->bios = value; return 0; }

static int machine_memory_backend(void *t, const char *value, struct error *err)
{
    ((struct vm_options *)t)->memory_backend_id = value;
    return 0;
}

static int machine_pflash0(void *t, const char *value, struct error *err) { return machine_flash_set(t, 0, value, err); }
static int machine_pflash1(void *t, const char *value, struct error *err) { return machine_flash_set(t, 1, value, err); }

const struct option_key machine_keys[] = {
    { "type", machine_type, NULL },
    { "accel", accel_set, NULL },
    { "mem-merge", machine_mem_merge, NULL },
    { "acpi", machine_acpi, NULL },
    { "hpet", machine_hpet, NULL },
    { "graphics", machine_graphics, NULL },
    { "kernel", machine_kernel, NULL },
    { "initrd", machine_initrd, NULL },
    { "append", machine_append, NULL },
    { "firmware", machine_firmware, NULL },
    { "usb", machine_usb, NULL },
    { "vmport", machine_vmport, NULL },
    { "smm", machine_smm, NULL },
    { "dump-guest-core", machine_dump_guest_core, NULL },
    { "smbus", machine_smbus, NULL },
    { "sata", machine_sata, NULL },
    { "pit", machine_pit, NULL },
    { "pic", machine_pic, NULL },
    { "nvdimm", machine_nvdimm, NULL },
    { "hmat", machine_hmat, NULL },
    { "suppress-vmdesc", machine_suppress_vmdesc, NULL },
    { "kernel-irqchip", accel_irqchip, NULL },
    { "i8042", machine_i8042, NULL },
    { "memory-backend", machine_memory_backend, NULL },
    { "pflash0", machine_pflash0, NULL },
    { "pflash1", machine_pflash1, NULL },
    { "max-ram-below-4g", NULL, "not supported in this version; 3 GiB lie below 4G" },
    { "pcspk-audiodev", NULL, "there is no sound in this version" },
    { "confidential-guest-support", NULL, "not supported in this version" },
    { "smbios-entry-point-type", NULL, "not supported in this version" },
    { "x-oem-id", NULL, "not supported in this version" },
    { "x-oem-table-id", NULL, "not supported in this version" },
    { "dtb", NULL, "a PC has none" },
    { NULL, NULL, NULL },
};

int option_machine(struct vm_options *o, const char *arg, struct error *err)
{
    struct option_list l;

    if (!strcmp(arg, "help") || !strcmp(arg, "?")) {
        printf("Supported machines are:\n");
        for (const struct machine_type *type = machine_types; type->name; type++) {
            if (type->alias) printf("%-20s %s (alias of %s)\n", type->alias, MACHINE_TYPE_DESCRIPTION, type->name);
            printf("%-20s %s%s\n", type->name, MACHINE_TYPE_DESCRIPTION, type == machine_types ? " (default)" : "");
        }
        printf("%-20s %s\n", "none", "empty machine, for programs that ask its monitor");
        return VM_OPTIONS_HELP_SHOWN;
    }
    if (option_list_parse(&l, o->arena, arg, "type", err) < 0) return -1;
    if (option_list_get(&l, "help")) return keys_show(o, "-machine", machine_keys);
    if (option_list_get(&l, "accel")) o->config.accel = ACCEL_DEFAULT;
    return option_list_apply(&l, "-machine", machine_keys, o, err);
}
