/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Floppy drives: -fda, -fdb, and -device floppy, which connects a -drive if=none. */
#include <string.h>

#include "base/bits.h"
#include "base/error.h"
#include "device/storage/fdc.h"
#include "tool/vm_virtio_private.h"

static int floppy_at(struct vm_options *o, const char *file, int index, struct error *err)
{
    struct drive_config d = { .interface = DRIVE_IF_FLOPPY, .index = index, .on_write_error = BLOCK_ERROR_ENOSPC };

    if (drive_of(o, DRIVE_IF_FLOPPY, index)) return error_set(err, "-fd%c: floppy drive index=%d exists", 'a' + index, index);
    if (*file) d.open.filename = file;
    return drive_add(o, &d, err);
}

int option_fda(struct vm_options *o, const char *arg, struct error *err) { return floppy_at(o, arg, 0, err); }
int option_fdb(struct vm_options *o, const char *arg, struct error *err) { return floppy_at(o, arg, 1, err); }

/* ---- -device floppy ---- */

struct floppy_request { const char *drive, *id; int unit; unsigned type; struct drive_errors errors; };

static struct floppy_request *of(void *t) { return t; }
static int floppy_accept(void *t, const char *v, struct error *err) { return 0; }
static int floppy_id(void *t, const char *v, struct error *err) { of(t)->id = v; return 0; }
static int floppy_drive(void *t, const char *v, struct error *err) { of(t)->drive = v; return 0; }
static int floppy_werror(void *t, const char *v, struct error *err) { of(t)->errors.write = v; return 0; }
static int floppy_rerror(void *t, const char *v, struct error *err) { of(t)->errors.read = v; return 0; }

static int floppy_unit(void *t, const char *v, struct error *err)
{
    uint64_t n;

    if (value_unsigned("unit", v, FDC_DRIVES - 1, &n, err) < 0) return -1;
    of(t)->unit = (int)n;
    return 0;
}

static int floppy_bus(void *t, const char *v, struct error *err)
{
    return strcmp(v, "floppy-bus.0") ? error_set(err, "bus=%s: floppy drives are at floppy-bus.0", v) : 0;
}

static int floppy_type(void *t, const char *v, struct error *err)
{
    static const enum fdc_drive_type types[] = { FDC_NONE, FDC_1200K, FDC_1440K, FDC_2880K };
    unsigned which;

    if (value_choice("drive-type", v, (const char *const[]){ "auto", "120", "144", "288", NULL }, &which, err) < 0) return -1;
    of(t)->type = types[which];
    return 0;
}

static const struct option_key floppy_keys[] = {
    { "driver", floppy_accept, NULL }, { "id", floppy_id, NULL }, { "drive", floppy_drive, NULL }, { "unit", floppy_unit, NULL },
    { "bus", floppy_bus, NULL }, { "drive-type", floppy_type, NULL }, { "werror", floppy_werror, NULL }, { "rerror", floppy_rerror, NULL },
    { NULL, NULL, NULL },
};

int device_floppy(struct vm_options *o, const char *arg, const struct option_list *l, struct error *err)
{
    if (l->count == 2 && !strcmp(l->pair[1].key, "help")) return keys_show(o, "floppy", floppy_keys);
    if (o->floppy_device_count == ARRAY_SIZE(o->floppy_device)) return error_set(err, "-device: more than %d floppy drives", FDC_DRIVES);
    o->floppy_device[o->floppy_device_count++] = arg;
    return 0;
}

static int floppy_connect(struct vm_options *o, const struct floppy_request *r, int unit, struct error *err)
{
    struct drive_config *d, empty = { .interface = DRIVE_IF_FLOPPY, .index = unit, .floppy_type = (uint8_t)r->type, .device_id = r->id };

    if (!r->drive) return drive_errors_set(o, &empty, &r->errors, err) < 0 ? -1 : drive_add(o, &empty, err);
    d = drive_by_id(o, r->drive);
    if (!d) return error_set(err, "no -drive has the id '%s'", r->drive);
    if (d->interface != DRIVE_IF_NONE) return error_set(err, "drive '%s' is in use already; give it if=none", r->drive);
    d->interface = DRIVE_IF_FLOPPY;
    d->index = unit;
    d->floppy_type = (uint8_t)r->type;
    d->device_id = r->id;
    return drive_errors_set(o, d, &r->errors, err);
}

int floppies_finish(struct vm_options *o, struct error *err)
{
    for (unsigned i = 0; i < o->floppy_device_count; i++) {
        struct floppy_request r = { .unit = -1 };
        struct option_list l;

        if (option_list_parse(&l, o->arena, o->floppy_device[i], "driver", err) < 0) return -1;
        if (option_list_apply(&l, "-device floppy", floppy_keys, &r, err) < 0) return -1;
        if (r.unit < 0) r.unit = drive_of(o, DRIVE_IF_FLOPPY, 0) ? 1 : 0;
        if (drive_of(o, DRIVE_IF_FLOPPY, r.unit)) return error_set(err, "-device floppy: unit=%d is taken", r.unit);
        if (floppy_connect(o, &r, r.unit, err) < 0) return error_prefix(err, "-device floppy");
    }
    return 0;
}
