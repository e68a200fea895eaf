/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * -device virtio-*: properties as qemu names them. A row a device; properties of their own are here, those that all virtio functions
 * share in vm_virtio_common.c. Drives are looked up when all options are known (virtio_finish), since -device may come before -drive.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/bits.h"
#include "base/error.h"
#include "tool/vm_throttle.h"
#include "tool/vm_virtio_private.h"

static struct virtio_request *of(void *t) { return t; }

/* ---- virtio-blk ---- */

static int set_drive(void *t, const char *v, struct error *err) { of(t)->drive = v; return 0; }

static int set_werror(void *t, const char *v, struct error *err) { of(t)->errors.write = v; return 0; }
static int set_rerror(void *t, const char *v, struct error *err) { of(t)->errors.read = v; return 0; }

static int set_share_rw(void *t, const char *v, struct error *err) { of(t)->errors.share_rw = v; return 0; }
static int set_write_cache(void *t, const char *v, struct error *err) { of(t)->errors.write_cache = v; return 0; }

static int set_serial(void *t, const char *v, struct error *err)
{
    if (strlen(v) > 20) return error_set(err, "serial: at most 20 characters");
    of(t)->d.blk.serial = v;
    return 0;
}

static int set_num_queues(void *t, const char *v, struct error *err)
{
    uint64_t n;

    if (value_unsigned("num-queues", v, VIRTIO_QUEUES_MAX - 1, &n, err) < 0) return -1;
    if (!n) return error_set(err, "num-queues=0: a disk needs a queue");
    of(t)->d.blk.queues = (unsigned)n;
    return 0;
}

static int set_queue_size(void *t, const char *v, struct error *err)
{
    uint64_t n;

    if (value_unsigned("queue-size", v, VIRTQUEUE_SIZE_MAX, &n, err) < 0) return -1;
    if (n < 4 || n & (n - 1)) return error_set(err, "queue-size=%s: it is a power of two from 4 to %d", v, VIRTQUEUE_SIZE_MAX);
    of(t)->d.blk.queue_size = (uint16_t)n;
    return 0;
}

static int set_block_size(const char *name, const char *v, uint32_t *to, struct error *err)
{
    uint64_t n;

    if (value_size(name, v, 1, &n, err) < 0) return -1;
    if (n < 512 || n > 2 << 20 || n & (n - 1)) return error_set(err, "%s=%s: it is a power of two from 512 to 2M", name, v);
    *to = (uint32_t)n;
    return 0;
}

static int set_bytes(const char *name, const char *v, uint64_t most, uint32_t *to, struct error *err)
{
    uint64_t n;

    if (value_size(name, v, 1, &n, err) < 0) return -1;
    if (n > most || n % 512) return error_set(err, "%s=%s: it is a multiple of 512, at most %llu", name, v, (unsigned long long)most);
    *to = (uint32_t)n;
    return 0;
}

static int set_logical(void *t, const char *v, struct error *err) { return set_block_size("logical_block_size", v, &of(t)->d.blk.logical_block_bytes, err); }
static int set_physical(void *t, const char *v, struct error *err) { return set_block_size("physical_block_size", v, &of(t)->d.blk.physical_block_bytes, err); }
static int set_min_io(void *t, const char *v, struct error *err) { return set_bytes("min_io_size", v, 65535 * 512, &of(t)->d.blk.min_io_bytes, err); }
static int set_opt_io(void *t, const char *v, struct error *err) { return set_bytes("opt_io_size", v, 1u << 31, &of(t)->d.blk.opt_io_bytes, err); }

int drive_medium_set(struct drive_identity *i, const char *key, const char *v, struct error *err)
{
    uint64_t n;

    if (!strcmp(key, "logical_block_size")) return set_block_size(key, v, &i->logical_block_bytes, err);
    if (!strcmp(key, "physical_block_size")) return set_block_size(key, v, &i->physical_block_bytes, err);
    if (!strcmp(key, "min_io_size")) return set_bytes(key, v, 65535 * 4096, &i->min_io_bytes, err);
    if (!strcmp(key, "opt_io_size")) return set_bytes(key, v, 1u << 31, &i->opt_io_bytes, err);
    if (!strcmp(key, "discard_granularity")) return set_bytes(key, v, 1u << 31, &i->discard_granularity_bytes, err);
    if (value_unsigned(key, v, UINT16_MAX, &n, err) < 0) return -1;
    i->rotation_rate = (uint16_t)n;
    i->has_rotation_rate = true;
    return 0;
}

static int set_granularity(void *t, const char *v, struct error *err)
{
    return set_bytes("discard_granularity", v, 1u << 31, &of(t)->d.blk.discard_granularity_bytes, err);
}

static int set_sectors(const char *name, const char *v, uint32_t *to, struct error *err)
{
    uint64_t n;

    if (value_unsigned(name, v, 0x3fffff, &n, err) < 0) return -1;
    if (!n) return error_set(err, "%s=0 makes no sense; switch the feature off instead", name);
    *to = (uint32_t)n;
    return 0;
}

static int set_max_discard(void *t, const char *v, struct error *err) { return set_sectors("max-discard-sectors", v, &of(t)->d.blk.max_discard_sectors, err); }
static int set_max_zeroes(void *t, const char *v, struct error *err) { return set_sectors("max-write-zeroes-sectors", v, &of(t)->d.blk.max_write_zeroes_sectors, err); }
static int set_config_wce(void *t, const char *v, struct error *err) { return virtio_set_negated("config-wce", v, &of(t)->d.blk.no_config_wce, err); }
static int set_discard(void *t, const char *v, struct error *err) { return virtio_set_negated("discard", v, &of(t)->d.blk.no_discard, err); }
static int set_write_zeroes(void *t, const char *v, struct error *err) { return virtio_set_negated("write-zeroes", v, &of(t)->d.blk.no_write_zeroes, err); }

static int set_boot_index(void *t, const char *v, struct error *err) { of(t)->errors.boot_index = v; return 0; }

static const struct option_key blk_keys[] = {
    { "drive", set_drive, NULL }, { "serial", set_serial, NULL }, { "num-queues", set_num_queues, NULL },
    { "queue-size", set_queue_size, NULL }, { "logical_block_size", set_logical, NULL },
    { "physical_block_size", set_physical, NULL }, { "min_io_size", set_min_io, NULL }, { "opt_io_size", set_opt_io, NULL },
    { "discard_granularity", set_granularity, NULL }, { "max-discard-sectors", set_max_discard, NULL },
    { "max-write-zeroes-sectors", set_max_zeroes, NULL }, { "config-wce", set_config_wce, NULL },
    { "werror", set_werror, NULL }, { "rerror", set_rerror, NULL },
    { "discard", set_discard, NULL }, { "write-zeroes", set_write_zeroes, NULL }, { "scsi", option_off_only, NULL },
    { "bootindex", set_boot_index, NULL }, { "iothread", virtio_set_iothread, NULL },
    { "write-cache", set_write_cache, NULL }, { "share-rw", set_share_rw, NULL },
    VIRTIO_COMMON_KEYS,
};

/* ---- virtio-rng and its source ---- */

static int set_rng(void *t, const char *v, struct error *err) { of(t)->rng = v; return 0; }

static int set_max_bytes(void *t, const char *v, struct error *err)
{
    if (value_unsigned("max-bytes", v, INT64_MAX, &of(t)->d.rng.max_bytes, err) < 0) return -1;
    if (!of(t)->d.rng.max_bytes) return error_set(err, "max-bytes=0: the guest would get nothing; leave it out for no limit");
    if (of(t)->d.rng.max_bytes == INT64_MAX) of(t)->d.rng.max_bytes = 0;
    return 0;
}

static int set_period(void *t, const char *v, struct error *err)
{
    uint64_t ms;

    if (value_unsigned("period", v, INT32_MAX, &ms, err) < 0) return -1;
    if (!ms) return error_set(err, "period=0: it is at least 1 (millisecond)");
    of(t)->d.rng.period_ms = (uint32_t)ms;
    return 0;
}

static const struct option_key rng_keys[] = {
    { "rng", set_rng, NULL }, { "max-bytes", set_max_bytes, NULL }, { "period", set_period, NULL }, VIRTIO_COMMON_KEYS,
};

static int object_filename(void *t, const char *v, struct error *err)
{
    struct vm_options *o = t;

    o->rng[o->rng_count].filename = v;
    return 0;
}

static int object_id(void *t, const char *v, struct error *err)
{
    struct vm_options *o = t;

    o->rng[o->rng_count].id = v;
    return 0;
}

static const struct option_key random_keys[] = {
    { "qom-type", virtio_set_accept, NULL }, { "id", object_id, NULL }, { "filename", object_filename, NULL }, { NULL, NULL, NULL },
};
static const struct option_key builtin_keys[] = { { "qom-type", virtio_set_accept, NULL }, { "id", object_id, NULL }, { NULL, NULL, NULL } };

/* -object has these types. */
const char *const vm_object_names[] = {
    "rng-random", "rng-builtin", "filter-dump", "memory-backend-ram", "memory-backend-memfd", "memory-backend-file", "secret", "tls-creds-x509", "tls-creds-anon", "iothread", "throttle-group", NULL,
};

int option_object(struct vm_options *o, const char *arg, struct error *err)
{
    const char *const *names = vm_object_names;
    struct option_list l;
    unsigned which;

    if (!strcmp(arg, "help")) {
        printf("List of user creatable objects:\n  filter-dump\n  iothread\n  memory-backend-file\n  memory-backend-memfd\n  memory-backend-ram\n  rng-builtin\n  rng-random\n  secret\n"
               "  throttle-group\n  tls-creds-anon\n  tls-creds-x509\n");
        return VM_OPTIONS_HELP_SHOWN;
    }
    if (option_list_parse(&l, o->arena, arg, "qom-type", err) < 0) return -1;
    if (!l.count || strcmp(l.pair[0].key, "qom-type")) return error_set(err, "-object begins with a type; '-object help' lists them");
    if (id_take(o, &o->object_id, "object", &l, err) < 0) return -1;
    if (!strcmp(l.pair[0].value, "filter-dump")) return option_filter_dump(o, arg, err);
    if (!strcmp(l.pair[0].value, "iothread")) return object_iothread(o, &l, err);
    if (!strcmp(l.pair[0].value, "throttle-group")) return throttle_group_add(o, &l, err);
    if (value_choice("-object", l.pair[0].value, names, &which, err) < 0) return -1;
    if (option_list_wants_help(&l) && which < 2) return keys_show(o, names[which], which == 0 ? random_keys : builtin_keys);
    if (option_list_wants_help(&l) && which == 6) return keys_show(o, names[which], secret_keys);
    if (which > 6) return object_tls(o, &l, err);
    if (which == 6) return option_list_apply(&l, "-object secret", secret_keys, NULL, err) < 0 ? -1 : secrets_add(&o->secrets, &l, err);
    if (which >= 3) return object_memory(o, &l, err);
    if (o->rng_count == ARRAY_SIZE(o->rng)) return error_set(err, "-object: more than %zu random number sources", ARRAY_SIZE(o->rng));
    o->rng[o->rng_count].filename = which == 0 ? "/dev/urandom" : NULL;
    if (option_list_apply(&l, "-object", which == 0 ? random_keys : builtin_keys, o, err) < 0) return -1;
    if (!o->rng[o->rng_count].id) return error_set(err, "-object %s needs id=", names[which]);
    o->rng_count++;
    return 0;
}

/* ---- virtio-balloon ---- */

static int set_deflate(void *t, const char *v, struct error *err) { return value_bool("deflate-on-oom", v, &of(t)->d.balloon.deflate_on_oom, err); }
static int set_reporting(void *t, const char *v, struct error *err) { return value_bool("free-page-reporting", v, &of(t)->d.balloon.free_page_reporting, err); }

static int set_polling(void *t, const char *v, struct error *err)
{
    uint64_t s;

    if (value_unsigned("guest-stats-polling-interval", v, UINT32_MAX, &s, err) < 0) return -1;
    of(t)->d.balloon.poll_s = (uint32_t)s;
    return 0;
}

static const struct option_key balloon_keys[] = {
    { "deflate-on-oom", set_deflate, NULL }, { "free-page-reporting", set_reporting, NULL },
    { "guest-stats-polling-interval", set_polling, NULL }, { "free-page-hint", option_off_only, NULL }, VIRTIO_COMMON_KEYS,
};

/* ---- virtio-serial and its ports ---- */

static int set_max_ports(void *t, const char *v, struct error *err)
{
    uint64_t n;

    if (value_unsigned("max_ports", v, VIRTIO_CONSOLE_PORTS_MAX, &n, err) < 0) return -1;
    if (!n) return error_set(err, "max_ports=0: a bus has 1 to %d ports", VIRTIO_CONSOLE_PORTS_MAX);
    of(t)->d.console.ports_max = (unsigned)n;
    return 0;
}

static const struct option_key serial_keys[] = { { "max_ports", set_max_ports, NULL }, VIRTIO_COMMON_KEYS };

static int port_id(void *t, const char *v, struct error *err) { ((struct port_request *)t)->id = v; return 0; }
static int port_chardev(void *t, const char *v, struct error *err) { ((struct port_request *)t)->chardev = v; return 0; }
static int port_name(void *t, const char *v, struct error *err)
{
    if (strlen(v) > 200) return error_set(err, "name: at most 200 characters");
    ((struct port_request *)t)->name = v;
    return 0;
}
static int port_bus(void *t, const char *v, struct error *err) { ((struct port_request *)t)->bus = v; return 0; }
static int port_nr(void *t, const char *v, struct error *err)
{
    ((struct port_request *)t)->has_nr = true;
    return value_unsigned("nr", v, VIRTIO_CONSOLE_PORTS_MAX - 1, &((struct port_request *)t)->nr, err);
}

static const struct option_key port_keys[] = {
    { "driver", virtio_set_accept, NULL }, { "id", port_id, NULL }, { "chardev", port_chardev, NULL }, { "name", port_name, NULL },
    { "bus", port_bus, NULL }, { "nr", port_nr, NULL }, { NULL, NULL, NULL },
};

int device_virtio_port(struct vm_options *o, const char *arg, const struct option_list *l, struct error *err)
{
    if (option_list_wants_help(l)) return keys_show(o, l->pair[0].value, port_keys);
    if (o->virtio_port_count == ARRAY_SIZE(o->virtio_port)) return error_set(err, "-device: more than %d virtio serial ports", CONFIG_VIRTIO_PORTS);
    o->virtio_port[o->virtio_port_count++] = arg;
    return 0;
}

/* bus=ID.0 names a virtio-serial device; without it the first one takes the port. */
static struct virtio_device_config *bus_find(struct vm_options *o, const char *bus)
{
    struct config_bus_search s = { .bus = bus };

    for (unsigned n = 0; n < o->config.virtio_count; n++) {
        struct virtio_device_config *d = &o->config.virtio[n];

        if (d->kind == VIRTIO_KIND_SERIAL && config_bus_is(&s, d->id, "virtio-serial", "virtio-serial-bus")) return d;
    }
    return NULL;
}

int virtio_port_parse(struct vm_options *o, const char *text, struct port_request *p, struct error *err)
{
    struct option_list l;

    *p = (struct port_request){ .id = NULL };
    if (option_list_parse(&l, o->arena, text, "driver", err) < 0) return -1;
    p->what = arena_format(o->arena, "-device %s", l.pair[0].value);
    p->is_console = !strcmp(l.pair[0].value, "virtconsole");
    return option_list_apply(&l, p->what, port_keys, p, err);
}

static int port_place(struct vm_options *o, const char *text, struct error *err)
{
    struct port_request p;
    struct virtio_device_config *d;

    if (virtio_port_parse(o, text, &p, err) < 0) return -1;
    d = bus_find(o, p.bus);
    if (!d) return error_set(err, p.bus ? "%s: there is no bus '%s'" : "%s needs a bus; add -device virtio-serial-pci in front%.0s", p.what, p.bus ? p.bus : "");
    if (!p.has_nr)                       /* port 0 is for a console */
        for (p.nr = p.is_console ? 0 : 1; p.nr < d->console.ports_max && d->console.port[p.nr].present;) p.nr++;
    if (p.nr >= d->console.ports_max || d->console.port[p.nr].present || (p.nr == 0 && !p.is_console))
        return error_set(err, "%s: %s; choose another nr=", p.what, p.nr >= d->console.ports_max ? "all ports of the bus are taken"
                         : p.nr == 0 ? "port 0 is for a virtconsole" : "that port is taken");
    d->console.port[p.nr] = (struct virtio_console_port_config){ .present = true, .is_console = p.is_console, .name = p.name, .id = p.id };
    if (!p.chardev) return 0;
    d->chardev[p.nr] = chardev_take(o, arena_format(o->arena, "chardev:%s", p.chardev), err);
    return d->chardev[p.nr] ? 0 : error_prefix(err, "%s", p.what);
}

/* ---- virtio-scsi and its units ---- */

static int set_num_queues_scsi(void *t, const char *v, struct error *err)
{
    uint64_t n;

    if (value_unsigned("num_queues", v, VIRTIO_QUEUES_MAX - 2, &n, err) < 0) return -1;
    if (!n) return error_set(err, "num_queues=0: an adapter needs a queue");
    of(t)->d.scsi.queues = (unsigned)n;
    return 0;
}

static int set_queue_size_scsi(void *t, const char *v, struct error *err)
{
    uint64_t n;

    if (value_unsigned("virtqueue_size", v, VIRTQUEUE_SIZE_MAX, &n, err) < 0) return -1;
    if (n < 4 || n & (n - 1)) return error_set(err, "virtqueue_size=%s: it is a power of two from 4 to %d", v, VIRTQUEUE_SIZE_MAX);
    of(t)->d.scsi.queue_size = (uint16_t)n;
    return 0;
}

static int set_hotplug(void *t, const char *v, struct error *err) { return virtio_set_negated("hotplug", v, &of(t)->d.scsi.no_hotplug, err); }

static int set_param_change(void *t, const char *v, struct error *err) { return virtio_set_negated("param_change", v, &of(t)->d.scsi.no_param_change, err); }

static const struct option_key scsi_keys[] = {
    { "num_queues", set_num_queues_scsi, NULL }, { "virtqueue_size", set_queue_size_scsi, NULL }, { "hotplug", set_hotplug, NULL },
    { "param_change", set_param_change, NULL }, { "iothread", virtio_set_iothread, NULL }, VIRTIO_COMMON_KEYS,
};

static struct unit_request *unit_of(void *t) { return t; }
static int unit_id(void *t, const char *v, struct error *err) { unit_of(t)->id = v; return 0; }
static int unit_drive(void *t, const char *v, struct error *err) { unit_of(t)->drive = v; return 0; }
static int unit_bus(void *t, const char *v, struct error *err) { unit_of(t)->bus = v; return 0; }

static int unit_werror(void *t, const char *v, struct error *err) { unit_of(t)->errors.write = v; return 0; }
static int unit_boot_index(void *t, const char *v, struct error *err) { unit_of(t)->errors.boot_index = v; return 0; }
static int unit_rerror(void *t, const char *v, struct error *err) { unit_of(t)->errors.read = v; return 0; }

static int unit_share_rw(void *t, const char *v, struct error *err) { unit_of(t)->errors.share_rw = v; return 0; }
static int unit_write_cache(void *t, const char *v, struct error *err) { unit_of(t)->errors.write_cache = v; return 0; }

static int unit_serial(void *t, const char *v, struct error *err)
{
    if (strlen(v) > 36) return error_set(err, "serial: at most 36 characters");
    unit_of(t)->serial = v;
    return 0;
}

static int unit_target(void *t, const char *v, struct error *err)
{
    unit_of(t)->has_target = true;
    return value_unsigned("scsi-id", v, VIRTIO_SCSI_TARGETS - 1, &unit_of(t)->target, err);
}

static int unit_lun(void *t, const char *v, struct error *err)
{
    unit_of(t)->has_lun = true;
    return value_unsigned("lun", v, VIRTIO_SCSI_LUNS - 1, &unit_of(t)->lun, err);
}

static int unit_channel(void *t, const char *v, struct error *err)
{
    return strcmp(v, "0") ? error_set(err, "channel=%s: the adapter has channel 0 only", v) : 0;
}

static int unit_text(const char *what, const char *v, size_t most, const char **to, struct error *err)
{
    if (strlen(v) > most) return error_set(err, "%s: at most %zu characters", what, most);
    *to = v;
    return 0;
}

static int unit_vendor(void *t, const char *v, struct error *err) { return unit_text("vendor", v, 8, &unit_of(t)->identity.vendor, err); }
static int unit_product(void *t, const char *v, struct error *err) { return unit_text("product", v, 16, &unit_of(t)->identity.product, err); }
static int unit_version(void *t, const char *v, struct error *err) { return unit_text("ver", v, 4, &unit_of(t)->identity.version, err); }
static int unit_device_id(void *t, const char *v, struct error *err) { return unit_text("device_id", v, 160, &unit_of(t)->identity.device_id, err); }
static int unit_wwn(void *t, const char *v, struct error *err) { return value_unsigned("wwn", v, UINT64_MAX, &unit_of(t)->identity.wwn, err); }
static int unit_port_wwn(void *t, const char *v, struct error *err) { return value_unsigned("port_wwn", v, UINT64_MAX, &unit_of(t)->identity.port_wwn, err); }

static int unit_port_index(void *t, const char *v, struct error *err)
{
    uint64_t n;

    if (value_unsigned("port_index", v, UINT16_MAX, &n, err) < 0) return -1;
    unit_of(t)->identity.port_index = (uint16_t)n;
    return 0;
}

#define UNIT_MEDIUM(function, name) \
    static int function(void *t, const char *v, struct error *err) { return drive_medium_set(&unit_of(t)->identity, name, v, err); }
UNIT_MEDIUM(unit_rotation, "rotation_rate")
UNIT_MEDIUM(unit_physical, "physical_block_size")
UNIT_MEDIUM(unit_logical, "logical_block_size")
UNIT_MEDIUM(unit_min_io, "min_io_size")
UNIT_MEDIUM(unit_opt_io, "opt_io_size")
UNIT_MEDIUM(unit_granularity, "discard_granularity")

#define UNIT_KEYS \
    { "driver", virtio_set_accept, NULL }, { "id", unit_id, NULL }, { "drive", unit_drive, NULL }, { "bus", unit_bus, NULL }, \
    { "serial", unit_serial, NULL }, { "scsi-id", unit_target, NULL }, { "lun", unit_lun, NULL }, { "channel", unit_channel, NULL }, \
    { "werror", unit_werror, NULL }, { "rerror", unit_rerror, NULL }, { "write-cache", unit_write_cache, NULL }, { "share-rw", unit_share_rw, NULL }, \
    { "bootindex", unit_boot_index, NULL }, { "vendor", unit_vendor, NULL }, { "product", unit_product, NULL }, { "ver", unit_version, NULL }, \
    { "device_id", unit_device_id, NULL }, { "wwn", unit_wwn, NULL }, { "port_wwn", unit_port_wwn, NULL }, { "port_index", unit_port_index, NULL }, \
    { NULL, NULL, NULL }

static const struct option_key reader_keys[] = { UNIT_KEYS };
static const struct option_key disk_keys[] = {
    { "rotation_rate", unit_rotation, NULL }, { "physical_block_size", unit_physical, NULL }, { "logical_block_size", unit_logical, NULL },
    { "min_io_size", unit_min_io, NULL }, { "opt_io_size", unit_opt_io, NULL }, { "discard_granularity", unit_granularity, NULL }, UNIT_KEYS,
};

static const struct option_key *unit_keys(const char *name) { return strcmp(name, "scsi-cd") ? disk_keys : reader_keys; }

int device_scsi(struct vm_options *o, const char *arg, const struct option_list *l, struct error *err)
{
    if (option_list_wants_help(l)) return keys_show(o, l->pair[0].value, unit_keys(l->pair[0].value));
    if (o->scsi_device_count == ARRAY_SIZE(o->scsi_device)) return error_set(err, "-device: more than %d SCSI drives", CONFIG_DRIVES);
    o->scsi_device[o->scsi_device_count++] = arg;
    return 0;
}

/* bus=ID.0 names a virtio-scsi device; without it the first one takes the drive. */
static struct virtio_device_config *adapter_find(struct vm_options *o, const char *bus)
{
    struct config_bus_search s = { .bus = bus };

    for (unsigned n = 0; n < o->config.virtio_count; n++) {
        struct virtio_device_config *d = &o->config.virtio[n];

        if (d->kind == VIRTIO_KIND_SCSI && config_bus_is(&s, d->id, "scsi", "scsi")) return d;
    }
    return NULL;
}

static bool unit_is_taken(const struct virtio_device_config *d, uint64_t target, uint64_t lun)
{
    for (unsigned i = 0; i < d->scsi.unit_count; i++)
        if (d->scsi.unit[i].target == target && d->scsi.unit[i].lun == lun) return true;
    return false;
}

/* Block sizes are in the order the user wrote them, so they are compared when all are there. */
static int unit_blocks_check(const struct unit_request *u, struct error *err)
{
    const struct drive_identity *i = &u->identity;
    uint32_t logical = drive_block_bytes(i);

    if (logical > 4096) return error_set(err, "%s: logical_block_size=%u: a SCSI disk has at most 4096", u->what, logical);
    if (i->physical_block_bytes && logical > i->physical_block_bytes)
        return error_set(err, "%s: logical_block_size=%u is more than physical_block_size=%u", u->what, logical, i->physical_block_bytes);
    if (i->min_io_bytes / logical > UINT16_MAX) return error_set(err, "%s: min_io_size=%u is more than 65535 blocks", u->what, i->min_io_bytes);
    if (i->min_io_bytes % logical || i->opt_io_bytes % logical || i->discard_granularity_bytes % logical)
        return error_set(err, "%s: min_io_size, opt_io_size and discard_granularity are multiples of logical_block_size=%u", u->what, logical);
    return 0;
}

int scsi_unit_parse(struct vm_options *o, const char *text, struct unit_request *u, struct error *err)
{
    struct option_list l;

    *u = (struct unit_request){ .drive = NULL };
    if (option_list_parse(&l, o->arena, text, "driver", err) < 0) return -1;
    u->what = arena_format(o->arena, "-device %s", l.pair[0].value);
    u->is_cdrom = !strcmp(l.pair[0].value, "scsi-cd");
    return option_list_apply(&l, u->what, unit_keys(l.pair[0].value), u, err) < 0 ? -1 : unit_blocks_check(u, err);
}

/* What drive= names; for a CD-ROM drive without, a new drive without a medium. NULL with *err. */
static struct drive_config *unit_drive_get(struct vm_options *o, const struct unit_request *u, struct error *err)
{
    struct drive_config *d, empty = { .interface = DRIVE_IF_NONE, .media = MEDIA_CDROM, .device_id = u->id, .on_write_error = BLOCK_ERROR_ENOSPC };

    if (!u->drive) {
        for (unsigned n = o->config.drive_count; !u->id && (!empty.id || drive_by_id(o, empty.id)); n++) empty.id = arena_format(o->arena, "scsi-cd%u", n);
        if (u->is_cdrom) return drive_add(o, &empty, err) < 0 ? NULL : &o->config.drive[o->config.drive_count - 1];
        error_set(err, "a disk needs drive=ID of a -drive if=none");
        return NULL;
    }
    d = drive_by_id(o, u->drive);
    if (!d) error_set(err, "no -drive has the id '%s'", u->drive);
    else if (d->interface != DRIVE_IF_NONE) error_set(err, "drive '%s' is in use already; give it if=none", u->drive);
    else if (!u->is_cdrom && !drive_has_image(d)) error_set(err, "drive '%s' has no file=", u->drive);
    else return d;
    return NULL;
}

static int scsi_place(struct vm_options *o, const char *text, struct error *err)
{
    struct virtio_device_config *d;
    struct drive_config *drive;
    struct unit_request u;
    const char *what;

    if (scsi_unit_parse(o, text, &u, err) < 0) return -1;
    what = u.what;
    d = adapter_find(o, u.bus);
    if (!d) return error_set(err, "%s: there is no SCSI bus%s%s; add -device virtio-scsi-pci", what, u.bus ? " " : "", u.bus ? u.bus : "");
    if (!u.drive && !u.serial && !u.identity.device_id) u.identity.device_id = "";   /* a made-up name identifies nothing */
    if (!(drive = unit_drive_get(o, &u, err))) return error_prefix(err, "%s", what);
    drive->media = u.is_cdrom ? MEDIA_CDROM : MEDIA_DISK;
    if (u.is_cdrom) drive->open.readonly = true;
    if (!u.has_target && !u.has_lun)
        while (u.target < VIRTIO_SCSI_TARGETS && unit_is_taken(d, u.target, u.lun)) u.target++;
    if (unit_is_taken(d, u.target, u.lun)) return error_set(err, "%s: scsi-id=%u,lun=%u is taken", what, (unsigned)u.target, (unsigned)u.lun);
    if (d->scsi.unit_count == VIRTIO_SCSI_UNITS) return error_set(err, "%s: more than %d drives at one adapter", what, VIRTIO_SCSI_UNITS);
    if (drive_errors_set(o, drive, &u.errors, err) < 0) return error_prefix(err, "%s", what);
    drive->interface = DRIVE_IF_SCSI;
    drive->device_id = u.id;
    drive->identity = u.identity;
    d->scsi_drive[d->scsi.unit_count] = (unsigned)(drive - o->config.drive);
    d->scsi.unit[d->scsi.unit_count++] = (struct virtio_scsi_unit_config){ (uint8_t)u.target, (uint16_t)u.lun, { .serial = u.serial } };
    return 0;
}

/* ---- devices ---- */

static const struct {
    const char *name, *aliases;          /* aliases: in blanks, "|alias|alias|" */
    enum virtio_kind kind;
    const struct option_key *keys;
} kinds[] = {
    { "virtio-blk-pci", "|virtio-blk|virtio-blk-pci-transitional|virtio-blk-pci-non-transitional|", VIRTIO_KIND_BLK, blk_keys },
    { "virtio-rng-pci", "|virtio-rng|virtio-rng-pci-transitional|virtio-rng-pci-non-transitional|", VIRTIO_KIND_RNG, rng_keys },
    { "virtio-serial-pci", "|virtio-serial|virtio-serial-pci-transitional|virtio-serial-pci-non-transitional|", VIRTIO_KIND_SERIAL, serial_keys },
    { "virtio-balloon-pci", "|virtio-balloon|virtio-balloon-pci-transitional|virtio-balloon-pci-non-transitional|", VIRTIO_KIND_BALLOON, balloon_keys },
    { "virtio-scsi-pci", "|virtio-scsi|virtio-scsi-pci-transitional|virtio-scsi-pci-non-transitional|", VIRTIO_KIND_SCSI, scsi_keys },
    { "virtio-net-pci", "|virtio-net|virtio-net-pci-transitional|virtio-net-pci-non-transitional|", VIRTIO_KIND_NET, virtio_net_keys },
    { "virtio-9p-pci", "|virtio-9p|virtio-9p-pci-transitional|virtio-9p-pci-non-transitional|", VIRTIO_KIND_9P, virtio_9p_keys },
    { "virtio-vsock-pci", "|virtio-vsock|", VIRTIO_KIND_VSOCK, virtio_vsock_keys },
    { "virtio-keyboard-pci", "|virtio-keyboard|", VIRTIO_KIND_INPUT, virtio_keyboard_keys },
    { "virtio-mouse-pci", "|virtio-mouse|", VIRTIO_KIND_INPUT, virtio_pointer_keys },
    { "virtio-tablet-pci", "|virtio-tablet|", VIRTIO_KIND_INPUT, virtio_pointer_keys },
};

static bool is_called(unsigned k, const char *name)
{
    const char *at;

    if (!strcmp(kinds[k].name, name)) return true;
    at = strstr(kinds[k].aliases, name);
    return at && at[-1] == '|' && at[strlen(name)] == '|';
}

int virtio_request_add(struct vm_options *o, const struct virtio_request *r, struct error *err)
{
    struct machine_config *c = &o->config;

    if (c->virtio_count == CONFIG_VIRTIO) return error_set(err, "-device: more than %d virtio devices", CONFIG_VIRTIO);
    o->virtio_drive[c->virtio_count] = r->drive;
    o->virtio_rng[c->virtio_count] = r->rng;
    o->virtio_iothread[c->virtio_count] = r->iothread;
    o->virtio_errors[c->virtio_count] = r->errors;
    o->virtio_fsdev[c->virtio_count] = r->fsdev;
    o->virtio_netdev[c->virtio_count] = r->netdev;
    o->virtio_has_mac[c->virtio_count] = r->has_mac;
    c->virtio[c->virtio_count++] = r->d;
    return 0;
}

/* Without physical_block_size a physical block is a logical one. */
static int block_sizes_check(const struct virtio_blk_config *c, struct error *err)
{
    if (!c->physical_block_bytes || c->physical_block_bytes >= MAX(512u, c->logical_block_bytes)) return 0;
    return error_set(err, "logical_block_size=%u is more than physical_block_size=%u", c->logical_block_bytes, c->physical_block_bytes);
}

/* The monitor's balloon is the only one. */
static int balloon_check(const struct machine_config *c, struct error *err)
{
    for (unsigned i = 0; i < c->virtio_count; i++)
        if (c->virtio[i].kind == VIRTIO_KIND_BALLOON) return error_set(err, "Only one balloon device is supported");
    return 0;
}

int device_virtio(struct vm_options *o, const char *arg, const struct option_list *l, struct error *err)
{
    struct virtio_request r = { .o = o, .d = { .pci.devfn = -1, .rng.period_ms = 65536, .console.ports_max = VIRTIO_CONSOLE_PORTS_MAX } };
    const char *name = l->pair[0].value, *what = arena_format(o->arena, "-device %s", name);
    unsigned k = 0;

    while (!is_called(k, name)) k++;
    if (option_list_wants_help(l)) return keys_show(o, kinds[k].name, kinds[k].keys);
    r.d.kind = kinds[k].kind;
    if (r.d.kind == VIRTIO_KIND_INPUT) virtio_input_begin(kinds[k].name, &r.d);
    if (strstr(name, "-non-transitional")) r.d.pci.disable_legacy = true;
    if (option_list_apply(l, what, kinds[k].keys, &r, err) < 0) return -1;
    if (r.d.kind == VIRTIO_KIND_VSOCK && virtio_vsock_check(o, &r.d, err) < 0) return error_prefix(err, "%s", what);
    if (r.d.kind == VIRTIO_KIND_BALLOON && balloon_check(&o->config, err) < 0) return error_prefix(err, "%s", what);
    if (r.d.kind == VIRTIO_KIND_BLK && block_sizes_check(&r.d.blk, err) < 0) return error_prefix(err, "%s", what);
    if (r.d.kind == VIRTIO_KIND_BLK && !r.drive) return error_set(err, "%s needs drive=ID of a -drive if=none", what);
    return virtio_request_add(o, &r, err);
}

static int drive_resolve(struct vm_options *o, unsigned n, struct error *err)
{
    struct unit_request u = { .drive = o->virtio_drive[n] };
    struct drive_config *d = unit_drive_get(o, &u, err);

    if (!d || drive_errors_set(o, d, &o->virtio_errors[n], err) < 0) return error_prefix(err, "-device virtio-blk-pci");
    d->interface = DRIVE_IF_VIRTIO;
    d->index = -1;
    d->device_id = o->config.virtio[n].id;
    o->config.virtio[n].drive = (unsigned)(d - o->config.drive);
    return 0;
}

int rng_find(const struct vm_options *o, const char *id, struct virtio_rng_config *c, struct error *err)
{
    unsigned i = 0;

    if (!id) return 0;
    while (i < o->rng_count && strcmp(o->rng[i].id, id)) i++;
    if (i == o->rng_count) return error_set(err, "-device virtio-rng-pci: no -object has the id '%s'", id);
    c->filename = o->rng[i].filename;
    return 0;
}

/* Drives of -drive if=virtio come after the devices that were asked for. */
int virtio_finish(struct vm_options *o, struct error *err)
{
    struct machine_config *c = &o->config;

    if (shares_finish(o, err) < 0) return -1;
    for (unsigned n = 0; n < c->virtio_count; n++) {
        if (c->virtio[n].kind == VIRTIO_KIND_BLK && drive_resolve(o, n, err) < 0) return -1;
        if (c->virtio[n].kind == VIRTIO_KIND_RNG && rng_find(o, o->virtio_rng[n], &c->virtio[n].rng, err) < 0) return -1;
        if (iothread_check(o, o->virtio_iothread[n], err) < 0) return -1;
    }
    for (unsigned i = 0; i < o->virtio_port_count; i++)
        if (port_place(o, o->virtio_port[i], err) < 0) return -1;
    for (unsigned i = 0; i < o->scsi_device_count; i++)
        if (scsi_place(o, o->scsi_device[i], err) < 0) return -1;
    for (unsigned i = 0; i < c->drive_count; i++) {
        struct virtio_request r = { .o = o, .d = { .kind = VIRTIO_KIND_BLK, .drive = i, .pci.devfn = -1 } };

        if (c->drive[i].interface != DRIVE_IF_VIRTIO || c->drive[i].index < 0) continue;
        if (globals_apply(o, "virtio-blk-pci", blk_keys, NULL, &r, err) < 0) return -1;
        if (r.drive || memcmp(&r.errors, &(struct drive_errors){ NULL }, sizeof(r.errors)))
            return error_set(err, "-global virtio-blk-pci: disks of -drive if=virtio have error actions, caches and boot order of -drive, or use -device virtio-blk-pci");
        if (c->drive[i].addr && virtio_set_addr(&r, c->drive[i].addr, err) < 0) return error_prefix(err, "-drive");
        if (virtio_request_add(o, &r, err) < 0) return -1;
    }
    return 0;
}
