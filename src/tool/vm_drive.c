/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Disks and CD-ROMs: -hda..-hdd, -cdrom, -drive, -device ide-hd/ide-cd. Nothing is opened here. */
#include <stdio.h>
#include <string.h>

#include "base/bits.h"
#include "base/error.h"
#include "base/log.h"
#include "block/image.h"
#include "device/storage/ahci.h"
#include "tool/vm_throttle.h"
#include "tool/vm_virtio_private.h"

enum { IDE_UNITS = 4, DRIVE_KEYS = 12 };

struct drive_request {
    struct vm_options *o;
    struct drive_config d;
    int bus, unit;
    bool has_index, boot_given;
    int direct, writeback, no_flush;             /* parts of cache= */
    const char *node_name;
    struct block_option_value key[DRIVE_KEYS];   /* for the image */
    unsigned keys;
};

struct drive_config *drive_of(struct vm_options *o, enum drive_interface interface, int index)
{
    for (unsigned i = 0; i < o->config.drive_count; i++)
        if (o->config.drive[i].interface == interface && o->config.drive[i].index == index) return &o->config.drive[i];
    return NULL;
}

static struct drive_config *drive_at(struct vm_options *o, int index) { return drive_of(o, DRIVE_IF_IDE, index); }

static const char *default_id(struct vm_options *o, const struct drive_config *d)
{
    if (d->interface == DRIVE_IF_VIRTIO) return arena_format(o->arena, "virtio%d", d->index);
    if (d->interface == DRIVE_IF_FLOPPY) return arena_format(o->arena, "floppy%d", d->index);
    if (d->interface == DRIVE_IF_PFLASH) return arena_format(o->arena, "pflash%d", d->index);
    if (d->interface == DRIVE_IF_NONE) return arena_format(o->arena, "none%d", o->config.drive_count - 1);
    return arena_format(o->arena, "ide%d-%s%d", d->index / 2, d->media == MEDIA_CDROM ? "cd" : "hd", d->index % 2);
}

int drive_add(struct vm_options *o, const struct drive_config *d, struct error *err)
{
    struct drive_config *slot;

    if (o->config.drive_count == CONFIG_DRIVES) return error_set(err, "more than %d drives", CONFIG_DRIVES);
    if (d->interface == DRIVE_IF_IDE && drive_at(o, d->index))
        return error_set(err, "drive with bus=%d, unit=%d (index=%d) exists; give another index= (-cdrom and -hdc are index 2)",
                         d->index / 2, d->index % 2, d->index);
    if (d->id && drive_by_id(o, d->id)) return error_set(err, "two drives have the id '%s'", d->id);
    slot = &o->config.drive[o->config.drive_count++];
    *slot = *d;
    if (slot->media == MEDIA_CDROM) slot->open.readonly = true;
    if (!slot->id) slot->id = slot->device_id ? "" : default_id(o, slot);
    return 0;
}

static int disk_at(struct vm_options *o, const char *file, int index, enum drive_media media, struct error *err)
{
    struct drive_config d = { .interface = DRIVE_IF_IDE, .index = index, .media = media, .open.filename = file, .on_write_error = BLOCK_ERROR_ENOSPC };

    if (!*file) return error_set(err, "the name of an image is missing");
    return drive_add(o, &d, err);
}

int option_hda(struct vm_options *o, const char *arg, struct error *err) { return disk_at(o, arg, 0, MEDIA_DISK, err); }
int option_hdb(struct vm_options *o, const char *arg, struct error *err) { return disk_at(o, arg, 1, MEDIA_DISK, err); }
int option_hdc(struct vm_options *o, const char *arg, struct error *err) { return disk_at(o, arg, 2, MEDIA_DISK, err); }
int option_hdd(struct vm_options *o, const char *arg, struct error *err) { return disk_at(o, arg, 3, MEDIA_DISK, err); }
int option_cdrom(struct vm_options *o, const char *arg, struct error *err)
{
    return disk_at(o, arg, 2, MEDIA_CDROM, err);
}

/* ---- -drive ---- */

static struct drive_request *request_of(void *t) { return t; }

static int drive_file(void *t, const char *v, struct error *err) { request_of(t)->d.open.filename = v; return 0; }
static int drive_id(void *t, const char *v, struct error *err) { request_of(t)->d.id = v; return 0; }

static int drive_node_name(void *t, const char *v, struct error *err) { request_of(t)->node_name = v; return 0; }

static int drive_serial(void *t, const char *v, struct error *err)
{
    if (strlen(v) > 20) return error_set(err, "serial: at most 20 characters");
    request_of(t)->d.serial = v;
    return 0;
}

static int drive_if(void *t, const char *v, struct error *err)
{
    static const char *const names[] = { "ide", "none", "virtio", "scsi", "floppy", "pflash", "sd", "mtd", NULL };
    static const int kinds[] = { DRIVE_IF_IDE, DRIVE_IF_NONE, DRIVE_IF_VIRTIO, -1, DRIVE_IF_FLOPPY, DRIVE_IF_PFLASH, -1, -1 };
    unsigned which;

    if (value_choice("if", v, names, &which, err) < 0) return -1;
    if (kinds[which] < 0) return error_set(err, "if=%s is not supported in this version; use if=ide or if=virtio", v);
    request_of(t)->d.interface = (enum drive_interface)kinds[which];
    return 0;
}

static int drive_media(void *t, const char *v, struct error *err)
{
    unsigned which;

    if (value_choice("media", v, (const char *const[]){ "disk", "cdrom", NULL }, &which, err) < 0) return -1;
    request_of(t)->d.media = which ? MEDIA_CDROM : MEDIA_DISK;
    return 0;
}

static int drive_index(void *t, const char *v, struct error *err)
{
    uint64_t n;

    if (value_unsigned("index", v, CONFIG_DRIVES - 1, &n, err) < 0) return -1;
    request_of(t)->d.index = n;
    request_of(t)->has_index = true;
    return 0;
}

static int drive_bus(void *t, const char *v, struct error *err)
{
    uint64_t n;

    if (value_unsigned("bus", v, 1, &n, err) < 0) return -1;
    request_of(t)->bus = n;
    return 0;
}

static int drive_unit(void *t, const char *v, struct error *err)
{
    uint64_t n;

    if (value_unsigned("unit", v, 1, &n, err) < 0) return -1;
    request_of(t)->unit = n;
    return 0;
}

static int drive_format(void *t, const char *v, struct error *err)
{
    char names[160] = "";

    for (unsigned i = 0; block_format_nth(i); i++)
        snprintf(names + strlen(names), sizeof(names) - strlen(names), "%s%s", i ? ", " : "", block_format_nth(i));
    if (!block_format_exists(v)) return error_set(err, "format: unknown value '%s'; known are %s", v, names);
    request_of(t)->d.open.format = v;
    return 0;
}

/* Keys that are the image's own. */
static int drive_image_key(void *t, const char *key, const char *v, struct error *err)
{
    struct drive_request *r = request_of(t);

    if (r->keys == DRIVE_KEYS) return error_set(err, "more than %d keys of the image", DRIVE_KEYS);
    r->key[r->keys++] = (struct block_option_value){ key, v };
    return 0;
}

#define IMAGE_KEY(function, name) \
    static int function(void *t, const char *v, struct error *err) { return drive_image_key(t, name, v, err); }
IMAGE_KEY(drive_key_secret, "key-secret")
IMAGE_KEY(drive_encrypt_secret, "encrypt.key-secret")
IMAGE_KEY(drive_encrypt_format, "encrypt.format")
IMAGE_KEY(drive_backing_secret, "backing.key-secret")
IMAGE_KEY(drive_backing_encrypt, "backing.encrypt.key-secret")
IMAGE_KEY(drive_cache_bytes, "cache-size")
IMAGE_KEY(drive_l2_bytes, "l2-cache-size")
IMAGE_KEY(drive_refcount_bytes, "refcount-cache-size")
IMAGE_KEY(drive_clean_interval, "cache-clean-interval")

static int drive_file_driver(void *t, const char *v, struct error *err)
{
    return blockdev_driver_check(v, true, err) < 0 ? error_prefix(err, "file") : drive_image_key(t, "file.driver", v, err);
}

static int drive_readonly(void *t, const char *v, struct error *err)
{
    return value_bool("readonly", v, &request_of(t)->d.open.readonly, err);
}

static int drive_snapshot(void *t, const char *v, struct error *err)
{
    return value_bool("snapshot", v, &request_of(t)->d.open.snapshot, err);
}

static int drive_share(void *t, const char *v, struct error *err)
{
    return value_bool("force-share", v, &request_of(t)->d.open.force_share, err);
}

static int drive_locking(void *t, const char *v, struct error *err)
{
    bool lock = true;

    if (strcmp(v, "auto") && value_bool("locking", v, &lock, err) < 0) return -1;
    request_of(t)->d.open.no_lock = !lock;
    return 0;
}

static int drive_cache(void *t, const char *v, struct error *err)
{
    static const char *const names[] = { "writeback", "writethrough", "none", "directsync", "unsafe", NULL };
    static const enum block_cache modes[] = { BLOCK_CACHE_WRITEBACK, BLOCK_CACHE_WRITETHROUGH, BLOCK_CACHE_NONE,
                                              BLOCK_CACHE_DIRECTSYNC, BLOCK_CACHE_UNSAFE };
    unsigned which;

    if (value_choice("cache", v, names, &which, err) < 0) return -1;
    request_of(t)->d.open.cache = modes[which];
    return 0;
}

enum { UNSAID, ON, OFF };

static int drive_cache_part(const char *key, const char *v, int *part, struct error *err)
{
    bool on = false;

    if (value_bool(key, v, &on, err) < 0) return -1;
    *part = on ? ON : OFF;
    return 0;
}

static int drive_cache_direct(void *t, const char *v, struct error *err) { return drive_cache_part("cache.direct", v, &request_of(t)->direct, err); }
static int drive_cache_writeback(void *t, const char *v, struct error *err) { return drive_cache_part("cache.writeback", v, &request_of(t)->writeback, err); }
static int drive_cache_no_flush(void *t, const char *v, struct error *err) { return drive_cache_part("cache.no-flush", v, &request_of(t)->no_flush, err); }

/* What cache= is short for, with the parts that are said by themselves. */
static void cache_join(struct drive_request *r)
{
    enum block_cache c = r->d.open.cache;
    bool direct = r->direct ? r->direct == ON : c == BLOCK_CACHE_NONE || c == BLOCK_CACHE_DIRECTSYNC;
    bool through = r->writeback ? r->writeback == OFF : c == BLOCK_CACHE_WRITETHROUGH || c == BLOCK_CACHE_DIRECTSYNC;
    bool no_flush = r->no_flush ? r->no_flush == ON : c == BLOCK_CACHE_UNSAFE;

    if (direct) r->d.open.cache = through ? BLOCK_CACHE_DIRECTSYNC : BLOCK_CACHE_NONE;
    else if (through) r->d.open.cache = BLOCK_CACHE_WRITETHROUGH;
    else r->d.open.cache = no_flush ? BLOCK_CACHE_UNSAFE : BLOCK_CACHE_WRITEBACK;
}

static int drive_discard(void *t, const char *v, struct error *err)
{
    static const char *const names[] = { "ignore", "off", "unmap", "on", NULL };
    unsigned which;

    if (value_choice("discard", v, names, &which, err) < 0) return -1;
    request_of(t)->d.open.discard = which >= 2;
    return 0;
}

/* How the host does its I/O is the block layer's choice; the guest cannot tell. */
static int drive_aio(void *t, const char *v, struct error *err)
{
    unsigned which;

    return value_choice("aio", v, (const char *const[]){ "threads", "native", "io_uring", NULL }, &which, err);
}

static const char *const error_actions[] = { "report", "ignore", "stop", "enospc", NULL };   /* as in enum block_error_action */

static int drive_werror(void *t, const char *v, struct error *err)
{
    unsigned which;

    if (value_choice("werror", v, error_actions, &which, err) < 0) return -1;
    request_of(t)->d.on_write_error = (enum block_error_action)which;
    return 0;
}

static int drive_rerror(void *t, const char *v, struct error *err)
{
    unsigned which;

    if (!strcmp(v, "enospc")) return error_set(err, "rerror=enospc: a read needs no room; use report, ignore or stop");
    if (value_choice("rerror", v, error_actions, &which, err) < 0) return -1;
    request_of(t)->d.on_read_error = (enum block_error_action)which;
    return 0;
}

int boot_index_set(struct vm_options *o, const char *value, unsigned *rank, struct error *err)
{
    uint64_t n;

    if (value_unsigned("bootindex", value, INT32_MAX - 1, &n, err) < 0) return -1;
    for (unsigned i = 0; i < o->config.drive_count; i++) {
        const struct drive_config *d = &o->config.drive[i];

        if (d->boot_rank == n + 1) return error_set(err, "bootindex=%s is drive '%s' already", value, *d->id ? d->id : d->device_id);
    }
    *rank = (unsigned)n + 1;
    return 0;
}

int drive_errors_set(struct vm_options *o, struct drive_config *d, const struct drive_errors *e, struct error *err)
{
    struct drive_request r = { .d = *d };
    bool on = true;

    if (e->boot_index && boot_index_set(o, e->boot_index, &r.d.boot_rank, err) < 0) return -1;
    if (e->write && strcmp(e->write, "auto") && drive_werror(&r, e->write, err) < 0) return -1;
    if (e->read && strcmp(e->read, "auto") && drive_rerror(&r, e->read, err) < 0) return -1;
    if (e->write_cache && strcmp(e->write_cache, "auto")) {
        if (value_bool("write-cache", e->write_cache, &on, err) < 0) return -1;
        r.d.write_cache = on ? WRITE_CACHE_ON : WRITE_CACHE_OFF;
    }
    if (e->share_rw && value_bool("share-rw", e->share_rw, &r.d.open.share_writes, err) < 0) return -1;
    *d = r.d;
    return 0;
}

static int drive_detect(void *t, const char *v, struct error *err)
{
    static const char *const names[] = { "off", "on", "unmap", NULL };
    unsigned which;

    if (value_choice("detect-zeroes", v, names, &which, err) < 0) return -1;
    request_of(t)->d.open.detect_zeroes = (enum block_detect_zeroes)which;
    return 0;
}

static int drive_boot(void *t, const char *v, struct error *err)
{
    bool on;

    if (value_bool("boot", v, &on, err) < 0) return -1;
    request_of(t)->boot_given = true;
    return 0;
}

static int drive_addr(void *t, const char *v, struct error *err) { request_of(t)->d.addr = v; return 0; }

const struct option_key drive_keys[] = {
    { "file", drive_file, NULL },         { "if", drive_if, NULL },
    { "format", drive_format, NULL },     { "driver", drive_format, NULL },
    { "file.filename", drive_file, NULL }, { "key-secret", drive_key_secret, NULL },
    { "encrypt.key-secret", drive_encrypt_secret, NULL }, { "encrypt.format", drive_encrypt_format, NULL },
    { "backing.key-secret", drive_backing_secret, NULL },
    { "backing.encrypt.key-secret", drive_backing_encrypt, NULL }, { "index", drive_index, NULL },
    { "media", drive_media, NULL },       { "readonly", drive_readonly, NULL },
    { "read-only", drive_readonly, NULL }, { "snapshot", drive_snapshot, NULL },
    { "cache", drive_cache, NULL },       { "id", drive_id, NULL },
    { "bus", drive_bus, NULL },           { "unit", drive_unit, NULL },
    { "serial", drive_serial, NULL },     { "discard", drive_discard, NULL },
    { "aio", drive_aio, NULL },           { "boot", drive_boot, NULL },
    { "force-share", drive_share, NULL }, { "file.locking", drive_locking, NULL },
    { "detect-zeroes", drive_detect, NULL }, { "copy-on-read", option_off_only, NULL },
    { "auto-read-only", option_off_only, NULL },
    { "werror", drive_werror, NULL },     { "rerror", drive_rerror, NULL },
    { "addr", drive_addr, NULL },         { "node-name", drive_node_name, NULL },
    { "cache.direct", drive_cache_direct, NULL }, { "cache.writeback", drive_cache_writeback, NULL },
    { "cache.no-flush", drive_cache_no_flush, NULL }, { "file.driver", drive_file_driver, NULL },
    { "cache-size", drive_cache_bytes, NULL }, { "l2-cache-size", drive_l2_bytes, NULL },
    { "refcount-cache-size", drive_refcount_bytes, NULL }, { "cache-clean-interval", drive_clean_interval, NULL },
    THROTTLE_KEYS
    { NULL, NULL, NULL },
};

/* A virtio disk is a PCI function of its own; the index only tells them apart. */
static int virtio_place(struct drive_request *r, struct error *err)
{
    const struct vm_options *o = r->o;
    int next = 0;

    if (r->bus > 0 || r->unit >= 0) return error_set(err, "bus= and unit= are for IDE; a virtio disk has index=");
    if (r->d.media == MEDIA_CDROM) return error_set(err, "if=virtio,media=cdrom: virtio has disks only; use if=ide");
    for (unsigned i = 0; i < o->config.drive_count; i++) {
        const struct drive_config *d = &o->config.drive[i];

        if (d->interface != DRIVE_IF_VIRTIO) continue;
        if (r->has_index && d->index == r->d.index) return error_set(err, "virtio drive index=%d exists; give another", d->index);
        next = MAX(next, d->index + 1);
    }
    if (!r->has_index) r->d.index = next;
    return 0;
}

/* Two flash chips: unit 0 holds the firmware, unit 1 its variables. */
static int flash_place(struct drive_request *r, struct error *err)
{
    int place = r->has_index ? r->d.index : r->unit;

    if (r->has_index && r->unit >= 0) return error_set(err, "index= and unit= say the same; give one");
    if (r->bus > 0) return error_set(err, "bus=%d: flash chips have unit=0 and unit=1 only", r->bus);
    if (r->d.media == MEDIA_CDROM) return error_set(err, "if=pflash,media=cdrom makes no sense");
    if (place < 0) place = drive_of(r->o, DRIVE_IF_PFLASH, 0) ? 1 : 0;
    if (place > 1) return error_set(err, "unit=%d: there are two flash chips, unit=0 (firmware) and unit=1 (variables)", place);
    if (drive_of(r->o, DRIVE_IF_PFLASH, place)) return error_set(err, "flash chip unit=%d exists", place);
    r->d.index = place;
    return 0;
}

int pflash_add(struct vm_options *o, const char *file, struct error *err)
{
    struct drive_request r = { .o = o, .d = { .interface = DRIVE_IF_PFLASH, .open.filename = file }, .bus = -1, .unit = -1 };

    if (!*file) return error_set(err, "the name of an image is missing");
    return flash_place(&r, err) < 0 ? -1 : drive_add(o, &r.d, err);
}

/* Drives A and B. */
static int floppy_place(struct drive_request *r, struct error *err)
{
    int place = r->has_index ? r->d.index : r->unit;

    if (r->has_index && r->unit >= 0) return error_set(err, "index= and unit= say the same; give one");
    if (r->bus > 0) return error_set(err, "bus=%d: there is one floppy controller", r->bus);
    if (r->d.media == MEDIA_CDROM) return error_set(err, "if=floppy,media=cdrom makes no sense");
    if (place < 0) place = drive_of(r->o, DRIVE_IF_FLOPPY, 0) ? 1 : 0;
    if (place > 1) return error_set(err, "index=%d: there are two floppy drives, 0 (A) and 1 (B)", place);
    if (drive_of(r->o, DRIVE_IF_FLOPPY, place)) return error_set(err, "floppy drive index=%d exists", place);
    r->d.index = place;
    return 0;
}

static int request_place(struct drive_request *r, struct error *err)
{
    if (r->d.addr && r->d.interface != DRIVE_IF_VIRTIO) return error_set(err, "addr= is for if=virtio");
    if (r->d.interface == DRIVE_IF_VIRTIO) return virtio_place(r, err);
    if (r->d.interface == DRIVE_IF_PFLASH) return flash_place(r, err);
    if (r->d.interface == DRIVE_IF_FLOPPY) return floppy_place(r, err);
    if (r->d.interface != DRIVE_IF_IDE) return 0;
    if (r->has_index && r->d.index >= IDE_UNITS) return error_set(err, "index: %d is too much; IDE has 0 to %d", r->d.index, IDE_UNITS - 1);
    if (r->bus >= 0 || r->unit >= 0) {
        if (r->has_index) return error_set(err, "index= and bus=/unit= say the same; give one");
        r->d.index = MAX(r->bus, 0) * 2 + MAX(r->unit, 0);
        return 0;
    }
    if (r->has_index) return 0;
    for (r->d.index = 0; r->d.index < IDE_UNITS; r->d.index++)
        if (!drive_at(r->o, r->d.index)) return 0;
    return error_set(err, "all four IDE places are taken");
}

/* A drive and its node have one name here. */
static int node_name_take(struct drive_request *r, struct error *err)
{
    if (id_check("-drive", "id", r->d.id, err) < 0 || id_check("-drive", "node-name", r->node_name, err) < 0) return -1;
    if (r->node_name && r->d.id) return error_set(err, "-drive: id= and node-name= are one name in this version; give one");
    if (r->node_name) r->d.id = r->node_name;
    return 0;
}

int option_drive(struct vm_options *o, const char *arg, struct error *err)
{
    struct drive_request r = { .o = o, .d.interface = DRIVE_IF_IDE, .d.on_write_error = BLOCK_ERROR_ENOSPC, .bus = -1, .unit = -1 };
    struct option_list l;

    if (option_list_parse(&l, o->arena, arg, NULL, err) < 0) return -1;
    if (option_list_apply(&l, "-drive", drive_keys, &r, err) < 0 || node_name_take(&r, err) < 0) return -1;
    cache_join(&r);
    if (throttle_parse(&l, &r.d.limits, &r.d.throttle_group, err) < 0) return error_prefix(err, "-drive");
    if (r.d.open.filename && !*r.d.open.filename) r.d.open.filename = NULL;
    if (!r.d.open.filename && r.d.media == MEDIA_DISK && r.d.interface != DRIVE_IF_FLOPPY)
        return error_set(err, "-drive: a disk needs file=; without one only media=cdrom makes sense");
    if (r.boot_given)
        log_message("-drive boot=on is the old way and has no effect; to choose what boots first use -boot order=c");
    if (r.keys) {
        struct block_option_set *set = arena_room(o->arena, sizeof(*set));
        set->item = memcpy(arena_room(o->arena, sizeof(r.key)), r.key, sizeof(r.key));
        set->count = r.keys;
        r.d.open.options = set;
    }
    if (request_place(&r, err) < 0 || drive_add(o, &r.d, err) < 0) return error_prefix(err, "-drive");
    return 0;
}

/* ---- -device ide-hd,drive=ID ---- */

struct ide_request {
    struct drive_request r;
    const char *drive, *bus;
    struct drive_errors errors;
};

static int ide_drive(void *t, const char *v, struct error *err) { ((struct ide_request *)t)->drive = v; return 0; }
static int ide_werror(void *t, const char *v, struct error *err) { ((struct ide_request *)t)->errors.write = v; return 0; }
static int ide_rerror(void *t, const char *v, struct error *err) { ((struct ide_request *)t)->errors.read = v; return 0; }
static int ide_boot_index(void *t, const char *v, struct error *err) { ((struct ide_request *)t)->errors.boot_index = v; return 0; }
static int ide_write_cache(void *t, const char *v, struct error *err) { ((struct ide_request *)t)->errors.write_cache = v; return 0; }
static int ide_share(void *t, const char *v, struct error *err) { ((struct ide_request *)t)->errors.share_rw = v; return 0; }
static int ide_id(void *t, const char *v, struct error *err) { ((struct ide_request *)t)->r.d.device_id = v; return 0; }

static int ide_bus(void *t, const char *v, struct error *err)
{
    ((struct ide_request *)t)->bus = v;
    return 0;
}

static int ide_unit(void *t, const char *v, struct error *err) { return drive_unit(&((struct ide_request *)t)->r, v, err); }

static int ide_serial(void *t, const char *v, struct error *err)
{
    return drive_serial(&((struct ide_request *)t)->r, v, err);
}

static struct drive_identity *ide_identity(void *t) { return &((struct ide_request *)t)->r.d.identity; }

static int ide_text(const char *what, const char *v, size_t most, const char **to, struct error *err)
{
    if (strlen(v) > most) return error_set(err, "%s: at most %zu characters", what, most);
    *to = v;
    return 0;
}

static int ide_model(void *t, const char *v, struct error *err) { return ide_text("model", v, 40, &ide_identity(t)->product, err); }
static int ide_version(void *t, const char *v, struct error *err) { return ide_text("ver", v, 8, &ide_identity(t)->version, err); }
static int ide_wwn(void *t, const char *v, struct error *err) { return value_unsigned("wwn", v, UINT64_MAX, &ide_identity(t)->wwn, err); }

static int ide_rotation(void *t, const char *v, struct error *err) { return drive_medium_set(ide_identity(t), "rotation_rate", v, err); }
static int ide_physical(void *t, const char *v, struct error *err) { return drive_medium_set(ide_identity(t), "physical_block_size", v, err); }

static int ide_logical(void *t, const char *v, struct error *err)
{
    struct drive_identity i = { .vendor = NULL };

    if (drive_medium_set(&i, "logical_block_size", v, err) < 0) return -1;
    return i.logical_block_bytes == 512 ? 0 : error_set(err, "logical_block_size=%s: it is 512 here; scsi-hd and virtio-blk-pci have others", v);
}


#define IDE_KEYS \
    { "driver", virtio_set_accept, NULL }, { "id", ide_id, NULL }, { "drive", ide_drive, NULL }, { "bus", ide_bus, NULL }, \
    { "unit", ide_unit, NULL }, { "serial", ide_serial, NULL }, \
    { "werror", ide_werror, NULL }, { "rerror", ide_rerror, NULL }, { "write-cache", ide_write_cache, NULL }, \
    { "share-rw", ide_share, NULL }, { "bootindex", ide_boot_index, NULL }, { "model", ide_model, NULL }, { "ver", ide_version, NULL }, { "wwn", ide_wwn, NULL }, { NULL, NULL, NULL }

static const struct option_key ide_reader_keys[] = { IDE_KEYS };
static const struct option_key ide_disk_keys[] = {
    { "rotation_rate", ide_rotation, NULL }, { "physical_block_size", ide_physical, NULL }, { "logical_block_size", ide_logical, NULL }, IDE_KEYS,
};

static const struct option_key *ide_keys(bool cdrom) { return cdrom ? ide_reader_keys : ide_disk_keys; }

int device_ide(struct vm_options *o, const char *arg, const struct option_list *l, struct error *err)
{
    if (option_list_wants_help(l)) return keys_show(o, l->pair[0].value, ide_keys(!strcmp(l->pair[0].value, "ide-cd")));
    if (o->ide_device_count == ARRAY_SIZE(o->ide_device)) return error_set(err, "-device: too many IDE drives");
    o->ide_device[o->ide_device_count].cdrom = !strcmp(l->pair[0].value, "ide-cd");
    o->ide_device[o->ide_device_count++].text = arg;
    return 0;
}

struct drive_config *drive_by_id(struct vm_options *o, const char *id)
{
    for (unsigned i = 0; *id && i < o->config.drive_count; i++)
        if (o->config.drive[i].id && !strcmp(o->config.drive[i].id, id)) return &o->config.drive[i];
    return NULL;
}

/* As QEMU counts them, a controller without id has the next six of ide.2 and up. */
static const char *ahci_bus(struct vm_options *o, const char *bus)
{
    unsigned n = 0, which;
    int length;

    if (sscanf(bus, "ide.%u%n", &which, &length) != 1 || bus[length] || which < 2) return bus;
    for (unsigned i = 0; i < o->config.ahci_count; i++)
        if (o->config.ahci[i].is_unnamed && n++ == (which - 2) / AHCI_PORTS) return arena_format(o->arena, "%s.%u", o->config.ahci[i].id, (which - 2) % AHCI_PORTS);
    return bus;
}

/* bus=ID.N: port N of an AHCI controller; ide.0 and ide.1 are the board's channels. */
static int bus_place(struct ide_request *q, struct error *err)
{
    struct vm_options *o = q->r.o;
    const char *dot;

    if (q->bus) q->bus = ahci_bus(o, q->bus);
    dot = q->bus ? strrchr(q->bus, '.') : NULL;
    if (q->bus && (!strcmp(q->bus, "ide.0") || !strcmp(q->bus, "ide.1"))) q->r.bus = q->bus[4] - '0';
    else if (q->bus) {
        for (unsigned n = 0; n < o->config.ahci_count; n++) {
            const char *id = o->config.ahci[n].id;

            if (!dot || strlen(id) != (size_t)(dot - q->bus) || strncmp(id, q->bus, (size_t)(dot - q->bus))) continue;
            if (dot[1] < '0' || dot[1] >= '0' + AHCI_PORTS || dot[2]) return error_set(err, "bus '%s' is not there; '%s' has %s.0 to %s.%d", q->bus, id, id, id, AHCI_PORTS - 1);
            if (q->r.unit > 0) return error_set(err, "unit=%d: a Serial ATA port has one drive", q->r.unit);
            q->r.d.interface = DRIVE_IF_AHCI;
            q->r.d.ahci = n;
            q->r.d.index = dot[1] - '0';
            return 0;
        }
        return error_set(err, "bus '%s' is not there; known are ide.0, ide.1, and ID.0 to ID.%d of a -device ahci,id=ID", q->bus, AHCI_PORTS - 1);
    }
    return request_place(&q->r, err);
}

static bool place_is_taken(const struct vm_options *o, const struct drive_config *d)
{
    for (unsigned i = 0; i < o->config.drive_count; i++) {
        const struct drive_config *c = &o->config.drive[i];

        if (c->interface == d->interface && c->index == d->index && (d->interface == DRIVE_IF_IDE || c->ahci == d->ahci)) return true;
    }
    return false;
}

static int ide_device_place(struct vm_options *o, const char *text, bool cdrom, struct error *err)
{
    struct ide_request q = { .r = { .o = o, .bus = -1, .unit = -1, .d.interface = DRIVE_IF_IDE } };
    struct drive_config *d;
    struct option_list l;

    if (option_list_parse(&l, o->arena, text, "driver", err) < 0) return -1;
    if (option_list_apply(&l, cdrom ? "-device ide-cd" : "-device ide-hd", ide_keys(cdrom), &q, err) < 0) return -1;
    if (bus_place(&q, err) < 0) return error_prefix(err, "-device ide-%s", cdrom ? "cd" : "hd");
    if (place_is_taken(o, &q.r.d) && q.bus && q.r.d.interface == DRIVE_IF_AHCI) return error_set(err, "-device: bus %s is taken", q.bus);
    if (place_is_taken(o, &q.r.d)) return error_set(err, "-device: IDE bus %d unit %d is taken", q.r.d.index / 2, q.r.d.index % 2);
    if (!q.drive) {
        if (!cdrom) return error_set(err, "-device ide-hd needs drive=ID of a -drive if=none");
        q.r.d.media = MEDIA_CDROM;
        return drive_errors_set(o, &q.r.d, &q.errors, err) < 0 ? -1 : drive_add(o, &q.r.d, err);
    }
    d = drive_by_id(o, q.drive);
    if (!d) return error_set(err, "-device: no -drive has the id '%s'", q.drive);
    if (d->interface != DRIVE_IF_NONE) return error_set(err, "-device: drive '%s' is in use already; give it if=none", q.drive);
    d->interface = q.r.d.interface;
    d->index = q.r.d.index;
    d->ahci = q.r.d.ahci;
    d->media = cdrom ? MEDIA_CDROM : MEDIA_DISK;
    if (cdrom) d->open.readonly = true;
    d->device_id = q.r.d.device_id;
    d->identity = q.r.d.identity;
    if (q.r.d.serial) d->serial = q.r.d.serial;
    return drive_errors_set(o, d, &q.errors, err) < 0 ? error_prefix(err, "-device ide-%s", cdrom ? "cd" : "hd") : 0;
}

/* ---- -device ahci ---- */

static int ahci_accept(void *t, const char *v, struct error *err) { return 0; }
static int ahci_id(void *t, const char *v, struct error *err) { ((struct virtio_request *)t)->d.id = v; return 0; }

static const struct option_key ahci_keys[] = {
    { "driver", ahci_accept, NULL }, { "id", ahci_id, NULL }, { "bus", virtio_set_bus, NULL }, { "addr", virtio_set_addr, NULL },
    { "multifunction", virtio_set_multifunction, NULL }, { NULL, NULL, NULL },
};

int device_ahci(struct vm_options *o, const char *arg, const struct option_list *l, struct error *err)
{
    struct virtio_request r = { .o = o, .d.pci.devfn = -1 };
    struct machine_config *c = &o->config;
    const char *unnamed;

    if (option_list_wants_help(l)) return keys_show(o, "ich9-ahci", ahci_keys);
    if (c->ahci_count == CONFIG_AHCI) return error_set(err, "-device %s: more than %d controllers", l->pair[0].value, CONFIG_AHCI);
    r.d.id = unnamed = arena_format(o->arena, "ahci%u", c->ahci_count);
    if (option_list_apply(l, arena_format(o->arena, "-device %s", l->pair[0].value), ahci_keys, &r, err) < 0) return -1;
    c->ahci[c->ahci_count].is_unnamed = r.d.id == unnamed;
    c->ahci[c->ahci_count].id = r.d.id;
    c->ahci[c->ahci_count++].devfn = r.d.pci.devfn;
    return 0;
}

int drives_finish(struct vm_options *o, struct error *err)
{
    struct drive_config empty = { .interface = DRIVE_IF_IDE, .index = 2, .media = MEDIA_CDROM };

    for (unsigned i = 0; i < o->ide_device_count; i++)
        if (ide_device_place(o, o->ide_device[i].text, o->ide_device[i].cdrom, err) < 0) return -1;
    if (floppies_finish(o, err) < 0 || virtio_finish(o, err) < 0 || usb_drives_finish(o, err) < 0) return -1;
    for (unsigned i = 0; i < o->config.drive_count; i++) {
        if (throttle_group_join(o, &o->config.drive[i], err) < 0) return error_prefix(err, "-drive");
        if (blockdev_filter_join(o, &o->config.drive[i], err) < 0) return error_prefix(err, "-blockdev");
        o->config.drive[i].open.objects = secrets_objects(&o->secrets);
        if (o->config.drive[i].is_node) continue;
        if (o->snapshot && o->config.drive[i].media == MEDIA_DISK) o->config.drive[i].open.snapshot = true;
        if (o->config.drive[i].interface == DRIVE_IF_NONE)
            log_message("drive '%s' is connected to nothing; add -device virtio-blk-pci,drive=%s or -device ide-hd,drive=%s, or device_add later", o->config.drive[i].id,
                        o->config.drive[i].id, o->config.drive[i].id);
    }
    if (!o->nodefaults && !drive_at(o, 2) && !o->ide_device_count) return drive_add(o, &empty, err);
    return 0;
}
