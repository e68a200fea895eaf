/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Firmware: -bios, -L, -option-rom, -pflash, -machine pflash0=. What a UEFI image needs is told by the descriptors that come with
 * it (/usr/share/qemu/firmware, one JSON file an image; QEMU's docs/interop/firmware.json): an image that relies on system
 * management mode would hang early and in silence, so it is refused, with the image to take instead.
 */
#include <dirent.h>
#include <jansson.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/bits.h"
#include "base/error.h"
#include "base/log.h"
#include "tool/vm_options_private.h"

#define DESCRIPTORS "/usr/share/qemu/firmware"

int option_bios(struct vm_options *o, const char *arg, struct error *err)
{
    o->config.bios = arg;
    return 0;
}

/* ---- -fw_cfg ---- */

struct file_request { const char *name, *file, *text; };

static int file_name(void *t, const char *v, struct error *err) { ((struct file_request *)t)->name = v; return 0; }
static int file_file(void *t, const char *v, struct error *err) { ((struct file_request *)t)->file = v; return 0; }
static int file_text(void *t, const char *v, struct error *err) { ((struct file_request *)t)->text = v; return 0; }

const struct option_key fw_cfg_keys[] = {
    { "name", file_name, NULL }, { "file", file_file, NULL }, { "string", file_text, NULL }, { "gen_id", NULL, "not supported in this version" }, { NULL, NULL, NULL },
};

int option_fw_cfg(struct vm_options *o, const char *arg, struct error *err)
{
    struct machine_config *c = &o->config;
    struct file_request r = { NULL, NULL, NULL };
    struct option_list l;

    if (option_list_parse(&l, o->arena, arg, "name", err) < 0 || option_list_apply(&l, "-fw_cfg", fw_cfg_keys, &r, err) < 0) return -1;
    if (!r.name || !*r.name) return error_set(err, "-fw_cfg: name= is missing");
    if (!r.file == !r.text) return error_set(err, "-fw_cfg %s: file= or string= is wanted", r.name);
    if (strncmp(r.name, "opt/", 4)) log_message("-fw_cfg %s: names of users begin with opt/", r.name);
    if (c->fw_cfg_count == CONFIG_FW_CFG) return error_set(err, "-fw_cfg: more than %d files", CONFIG_FW_CFG);
    c->fw_cfg[c->fw_cfg_count].name = r.name;
    c->fw_cfg[c->fw_cfg_count].file = r.file;
    c->fw_cfg[c->fw_cfg_count++].text = r.text;
    return 0;
}

/* ---- -option-rom ---- */

struct rom_request { struct vm_options *o; const char *file; unsigned boot_rank; };

static int rom_file(void *t, const char *v, struct error *err) { ((struct rom_request *)t)->file = v; return 0; }
static int rom_boot_index(void *t, const char *v, struct error *err)
{
    struct rom_request *r = t;

    return boot_index_set(r->o, v, &r->boot_rank, err);
}

const struct option_key option_rom_keys[] = { { "romfile", rom_file, NULL }, { "bootindex", rom_boot_index, NULL }, { NULL, NULL, NULL } };

int option_option_rom(struct vm_options *o, const char *arg, struct error *err)
{
    struct machine_config *c = &o->config;
    struct rom_request r = { .o = o };
    struct option_list l;

    if (option_list_parse(&l, o->arena, arg, "romfile", err) < 0 || option_list_apply(&l, "-option-rom", option_rom_keys, &r, err) < 0) return -1;
    if (!r.file || !*r.file) return error_set(err, "-option-rom: the file is missing");
    if (c->option_rom_count == CONFIG_OPTION_ROMS) return error_set(err, "-option-rom: more than %d", CONFIG_OPTION_ROMS);
    c->option_rom[c->option_rom_count].file = r.file;
    c->option_rom[c->option_rom_count++].boot_rank = r.boot_rank;
    return 0;
}

int option_pflash(struct vm_options *o, const char *arg, struct error *err)
{
    return pflash_add(o, arg, err) < 0 ? error_prefix(err, "-pflash") : 0;
}

int option_firmware_dir(struct vm_options *o, const char *arg, struct error *err)
{
    if (!strcmp(arg, "help")) {
        printf("/usr/share/seabios\n");
        return VM_OPTIONS_HELP_SHOWN;
    }
    if (o->firmware_dir_count == ARRAY_SIZE(o->firmware_dir)) return error_set(err, "-L: too many directories");
    o->firmware_dir[o->firmware_dir_count++] = arg;
    return 0;
}

/* ---- flash ---- */

int machine_flash_set(struct vm_options *o, int chip, const char *id, struct error *err)
{
    o->flash_id[chip] = id;
    return 0;
}

static struct drive_config *flash_drive(struct vm_options *o, int chip)
{
    for (unsigned i = 0; i < o->config.drive_count; i++)
        if (o->config.drive[i].interface == DRIVE_IF_PFLASH && o->config.drive[i].index == chip) return &o->config.drive[i];
    return NULL;
}

int flash_finish(struct vm_options *o, struct error *err)
{
    for (int chip = 0; chip < 2; chip++) {
        struct drive_config *d = o->flash_id[chip] ? drive_by_id(o, o->flash_id[chip]) : NULL;

        if (!o->flash_id[chip]) continue;
        if (!d) return error_set(err, "-machine pflash%d=%s: no drive has this id", chip, o->flash_id[chip]);
        if (flash_drive(o, chip)) return error_set(err, "-machine pflash%d=%s: -drive if=pflash,unit=%d is that chip already", chip, d->id, chip);
        if (d->interface != DRIVE_IF_NONE) return error_set(err, "-machine pflash%d=%s: the drive is in use already; give it if=none", chip, d->id);
        d->interface = DRIVE_IF_PFLASH;
        d->index = chip;
    }
    if (flash_drive(o, 1) && !flash_drive(o, 0))
        return error_set(err, "flash chip 1 holds variables of the firmware in chip 0; add -drive if=pflash,unit=0,readonly=on,file=/usr/share/OVMF/OVMF_CODE_4M.fd");
    if (flash_drive(o, 0) && o->config.bios) return error_set(err, "-bios and flash chip 0 are both the firmware; give one");
    return 0;
}

/* ---- where it is ---- */

/* In the directories of -L first, then where Debian keeps firmware; NULL: nowhere there. */
static const char *folders_search(struct vm_options *o, const char *name, bool is_default)
{
    static const char *const known[] = { "/usr/share/qemu", "/usr/share/seabios", "/usr/share/ovmf", "/usr/lib/ipxe/qemu" };

    for (unsigned i = 0; i < o->firmware_dir_count + (is_default ? 0 : ARRAY_SIZE(known)); i++) {
        const char *folder = i < o->firmware_dir_count ? o->firmware_dir[i] : known[i - o->firmware_dir_count];
        const char *path = arena_format(o->arena, "%s/%s", folder, name);

        if (access(path, R_OK) == 0) return path;
    }
    return NULL;
}

/* A file of this name, or one of the folders'. */
static const char *named_file_find(struct vm_options *o, const char *name)
{
    const char *path = strchr(name, '/') || access(name, R_OK) == 0 ? NULL : folders_search(o, name, false);

    return path ? path : name;
}

static void firmware_find(struct vm_options *o)
{
    for (unsigned i = 0; i < o->config.option_rom_count; i++) o->config.option_rom[i].file = named_file_find(o, o->config.option_rom[i].file);
    if ((o->config.kernel && !o->config.bios && !o->config.option_rom_count) || flash_drive(o, 0)) return;
    o->config.bios = o->config.bios ? named_file_find(o, o->config.bios) : folders_search(o, "bios-256k.bin", true);
}

/* ---- what it needs ---- */

static bool has_feature(json_t *descriptor, const char *name)
{
    json_t *features = json_object_get(descriptor, "features");

    for (size_t i = 0; i < json_array_size(features); i++) {
        const char *feature = json_string_value(json_array_get(features, i));

        if (feature && !strcmp(feature, name)) return true;
    }
    return false;
}

/* Whether one descriptor says that this file needs SMM. One that cannot be read says nothing. */
static bool descriptor_objects(const char *path, const struct stat *firmware)
{
    json_t *d = json_load_file(path, 0, NULL), *mapping = json_object_get(d, "mapping");
    const char *file = json_string_value(json_object_get(json_object_get(mapping, "executable"), "filename"));
    struct stat st;
    bool needs;

    if (!file) file = json_string_value(json_object_get(mapping, "filename"));
    needs = file && stat(file, &st) == 0 && st.st_dev == firmware->st_dev && st.st_ino == firmware->st_ino && has_feature(d, "requires-smm");
    json_decref(d);
    return needs;
}

static bool needs_smm(struct vm_options *o, const char *file)
{
    DIR *folder = opendir(DESCRIPTORS);
    struct stat st;
    bool needs = false;

    if (folder && stat(file, &st) == 0)
        for (struct dirent *e; !needs && (e = readdir(folder));) {
            size_t length = strlen(e->d_name);

            if (length > 5 && !strcmp(e->d_name + length - 5, ".json"))
                needs = descriptor_objects(arena_format(o->arena, DESCRIPTORS "/%s", e->d_name), &st);
        }
    if (folder) closedir(folder);
    return needs;
}

int firmware_finish(struct vm_options *o, struct error *err)
{
    const struct drive_config *flash = flash_drive(o, 0);
    const char *file;

    firmware_find(o);
    file = flash ? flash->open.filename : o->config.bios;
    if (!file || !needs_smm(o, file)) return 0;
    return error_set(err, "'%s' needs system management mode, which this version does not have (so no Secure Boot); use /usr/share/OVMF/OVMF_CODE_4M.fd",
                     file);
}
