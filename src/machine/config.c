/* SPDX-License-Identifier: GPL-2.0-or-later */
/* What a machine is like when nothing is asked for. */
#include "machine/config.h"

#include <stdio.h>
#include <string.h>

#include "base/error.h"

const struct machine_type machine_types[] = {
    { "pc-i440fx-7.2", "pc" }, { "pc-i440fx-7.1", NULL }, { "pc-i440fx-7.0", NULL }, { "pc-i440fx-6.2", NULL }, { "pc-i440fx-6.1", NULL },
    { "pc-i440fx-6.0", NULL }, { "pc-i440fx-5.2", NULL }, { "pc-i440fx-5.1", NULL }, { "pc-i440fx-5.0", NULL }, { "pc-i440fx-4.2", NULL },
    { "pc-i440fx-4.1", NULL }, { "pc-i440fx-4.0", NULL }, { "pc-i440fx-3.1", NULL }, { "pc-i440fx-3.0", NULL }, { "pc-i440fx-2.12", NULL },
    { "pc-i440fx-2.11", NULL }, { "pc-i440fx-2.10", NULL }, { "pc-i440fx-2.9", NULL }, { "pc-i440fx-2.8", NULL }, { "pc-i440fx-2.7", NULL },
    { "pc-i440fx-2.6", NULL }, { "pc-i440fx-2.5", NULL }, { "pc-i440fx-2.4", NULL }, { "pc-i440fx-2.3", NULL }, { "pc-i440fx-2.2", NULL },
    { "pc-i440fx-2.1", NULL }, { "pc-i440fx-2.0", NULL }, { NULL, NULL },
};

const struct machine_type *machine_type_find(const char *name)
{
    for (const struct machine_type *t = machine_types; t->name; t++)
        if (!strcmp(t->name, name) || (t->alias && !strcmp(t->alias, name))) return t;
    return NULL;
}

int config_boot_letters(const char *what, const char *v, char to[8], struct error *err)
{
    if (!*v || strlen(v) > 7) return error_set(err, "%s wants letters of a, c, d, n; such as 'dc'", what);
    for (const char *p = v; *p; p++) {
        if (!strchr("acdn", *p))
            return error_set(err, "%s: unknown boot device '%c'; known are a (floppy), c (disk), d (CD-ROM), n (network)", what, *p);
        if (strchr(p + 1, *p)) return error_set(err, "%s: boot device '%c' was given twice", what, *p);
    }
    strcpy(to, v);
    return 0;
}

const char *config_drive_name(const struct drive_config *d)
{
    const char *name = d->is_node ? d->drive_id : d->id;

    return name ? name : "";
}

bool config_bus_is(struct config_bus_search *s, const char *id, const char *name, const char *type)
{
    size_t length = s->bus ? strcspn(s->bus, ".") : 0;
    char own[32], alias[32];

    snprintf(own, sizeof(own), "%s%u", name, s->seen++);
    snprintf(alias, sizeof(alias), "%s.%u", type, s->unnamed);
    if (!id) s->unnamed++;
    if (!s->bus || (!id && !strcmp(s->bus, alias))) return true;
    return strlen(id ? id : own) == length && !strncmp(s->bus, id ? id : own, length);
}

const char *config_option_rom_name(const struct machine_config *c, unsigned n)
{
    const char *path = c->option_rom[n].file, *slash = strrchr(path, '/');

    return slash ? slash + 1 : path;
}

void machine_config_defaults(struct machine_config *c)
{
    memset(c, 0, sizeof(*c));
    c->machine = machine_types[0].name;
    c->accel = ACCEL_DEFAULT;
    c->ram_bytes = 128ull << 20;
    c->ram.mergeable = true;
    c->cpus = 1;
    c->topology = (struct cpuid_topology){ 1, 1, 1, 1 };
    c->boot_menu_timeout_ms = -1;
    c->boot_retry_ms = -1;
    c->isa_debug_exit_port = 0x501;
    c->has_vga = c->has_hpet = c->has_acpi = true;
    c->vga.vram_bytes = 16ull << 20;
    c->vga.devfn = -1;
    c->mem_merge = true;
    c->rtc_base = RTC_UTC;
}
