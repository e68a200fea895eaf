/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * QMP: the tree of objects, as far as its clients walk it. Devices that have an id are in /machine/peripheral, processors and all other devices in
 * /machine/unattached: device[0] is the first processor, drive[0] the first drive. Each object is a row of properties made when it is asked for.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/bits.h"
#include "device/virtio/virtio_balloon.h"
#include "monitor/qmp_private.h"

#define PERIPHERAL "/machine/peripheral"
#define UNATTACHED "/machine/unattached"

enum object_kind { OBJECT_NONE, OBJECT_MACHINE, OBJECT_PERIPHERAL, OBJECT_UNATTACHED, OBJECT_CPU, OBJECT_DEVICE, OBJECT_DRIVE, OBJECT_BACKEND };
struct object {
    enum object_kind kind;
    unsigned number;                   /* CPU, drive */
    const struct device *device;
};

/* ---- paths ---- */

static bool is_virtio(const struct device *d)
{
    return !strncmp(d->ops->name, "virtio-", 7);
}

static const char *drive_type(const struct drive_config *d)
{
    bool cdrom = d->media == MEDIA_CDROM;

    if (d->interface == DRIVE_IF_FLOPPY) return "floppy";
    if (d->interface == DRIVE_IF_PFLASH) return "cfi.pflash01";
    if (d->interface == DRIVE_IF_VIRTIO) return "virtio-blk-device";
    if (d->interface == DRIVE_IF_SCSI || d->interface == DRIVE_IF_USB) return cdrom ? "scsi-cd" : "scsi-hd";
    return cdrom ? "ide-cd" : "ide-hd";
}

/* Drives of IDE, SATA and SCSI are objects of their own; virtio disks and sticks are their devices. */
static bool drive_is_object(const struct drive_config *d)
{
    return d->device_id && d->interface != DRIVE_IF_VIRTIO && d->interface != DRIVE_IF_USB;
}

/* Devices without an id in the order they were made; NULL: there is no such. */
static const struct device *unattached(struct machine *m, unsigned number)
{
    unsigned count = 0;

    for (const struct device *d = machine_devices(m); d; d = d->next) count += !d->id;
    for (const struct device *d = machine_devices(m); d; d = d->next)
        if (!d->id && --count == number) return d;
    return NULL;
}

static struct object with_id(struct machine *m, const char *id, size_t length)
{
    const char *rest = id + length;
    bool backend = !strcmp(rest, "/virtio-backend");

    if (*rest && !backend) return (struct object){ OBJECT_NONE };
    for (const struct device *d = machine_devices(m); d; d = d->next)
        if (d->id && strlen(d->id) == length && !strncmp(d->id, id, length) && (!backend || is_virtio(d)))
            return (struct object){ backend ? OBJECT_BACKEND : OBJECT_DEVICE, 0, d };
    for (unsigned i = 0; i < machine_drive_count(m) && !backend; i++) {
        const struct drive_config *d = machine_drive_config(m, i);

        if (drive_is_object(d) && strlen(d->device_id) == length && !strncmp(d->device_id, id, length)) return (struct object){ OBJECT_DRIVE, i };
    }
    return (struct object){ OBJECT_NONE };
}

/* Also the part of a stick that has the drive, which no list has. */
static bool drive_at(struct machine *m, unsigned i, const char *path)
{
    char name[MACHINE_PATH_BYTES];

    return machine_drive_path(m, i, name, sizeof(name)) && !strcmp(name, path);
}

/* A drive whose device has no id. */
static bool unattached_drive(struct machine *m, unsigned i, char *path, size_t size)
{
    return machine_drive_path(m, i, path, size) && !strncmp(path, UNATTACHED "/", sizeof(UNATTACHED));
}

static struct object find(struct machine *m, const char *path)
{
    unsigned number;
    int used = 0;

    if (!strcmp(path, "/machine")) return (struct object){ OBJECT_MACHINE };
    if (!strcmp(path, PERIPHERAL)) return (struct object){ OBJECT_PERIPHERAL };
    if (!strcmp(path, UNATTACHED)) return (struct object){ OBJECT_UNATTACHED };
    if (!strncmp(path, PERIPHERAL "/", sizeof(PERIPHERAL))) {
        const char *id = path + sizeof(PERIPHERAL);
        struct object o = with_id(m, id, strcspn(id, "/"));

        if (o.kind != OBJECT_NONE) return o;
    }
    if (sscanf(path, UNATTACHED "/device[%u]%n", &number, &used) == 1 && used && !path[used]) {
        const struct device *d;

        if (number < machine_vcpu_count(m)) return (struct object){ OBJECT_CPU, number };
        d = unattached(m, number - machine_vcpu_count(m));
        if (d) return (struct object){ OBJECT_DEVICE, 0, d };
    }
    for (unsigned i = 0; i < machine_drive_count(m); i++)
        if (drive_at(m, i, path)) return (struct object){ OBJECT_DRIVE, i };
    return (struct object){ OBJECT_NONE };
}


/* ---- properties ---- */

static json_t *property(const char *name, const char *type)
{
    return json_pack("{s:o, s:s}", "name", qmp_text(name, strlen(name)), "type", type);
}

static json_t *child(const char *name, const char *type)
{
    return json_pack("{s:o, s:o}", "name", qmp_text(name, strlen(name)), "type", json_sprintf("child<%s>", type));
}

static void list_peripheral(struct machine *m, json_t *all)
{
    for (const struct device *d = machine_devices(m); d; d = d->next)
        if (d->id) json_array_append_new(all, child(d->id, d->ops->name));
    for (unsigned i = 0; i < machine_drive_count(m); i++) {
        const struct drive_config *d = machine_drive_config(m, i);

        if (drive_is_object(d)) json_array_append_new(all, child(d->device_id, drive_type(d)));
    }
}

static void list_unattached(struct machine *m, json_t *all)
{
    char name[MACHINE_PATH_BYTES], type[64];

    snprintf(type, sizeof(type), "%s-x86_64-cpu", machine_cpu_model(m));
    for (unsigned i = 0;; i++) {
        const struct device *d = i < machine_vcpu_count(m) ? NULL : unattached(m, i - machine_vcpu_count(m));

        if (i >= machine_vcpu_count(m) && !d) break;
        snprintf(name, sizeof(name), "device[%u]", i);
        json_array_append_new(all, child(name, d ? d->ops->name : type));
    }
    for (unsigned i = 0; i < machine_drive_count(m); i++)
        if (unattached_drive(m, i, name, sizeof(name))) json_array_append_new(all, child(name + sizeof(UNATTACHED), drive_type(machine_drive_config(m, i))));
}

static bool is_balloon(const struct object *o)
{
    return o->kind == OBJECT_DEVICE && !strcmp(o->device->ops->name, "virtio-balloon-pci");
}

static bool is_vga(const struct object *o)
{
    return o->kind == OBJECT_DEVICE && (!strcmp(o->device->ops->name, "VGA") || !strcmp(o->device->ops->name, "bochs-display"));
}

json_t *qmp_qom_list(struct qmp *q, json_t *args, struct qmp_error *err)
{
    struct object o = find(qmp_machine(q), qmp_string(args, "path"));
    json_t *all;

    if (o.kind == OBJECT_NONE) return qmp_no_device(err, qmp_string(args, "path"));
    all = json_array();
    json_array_append_new(all, property("type", "string"));
    if (o.kind == OBJECT_MACHINE) {
        json_array_append_new(all, child("peripheral", "container"));
        json_array_append_new(all, child("unattached", "container"));
    } else if (o.kind == OBJECT_PERIPHERAL) list_peripheral(qmp_machine(q), all);
    else if (o.kind == OBJECT_UNATTACHED) list_unattached(qmp_machine(q), all);
    else if (o.kind == OBJECT_CPU) json_array_append_new(all, property("unavailable-features", "strList"));
    else if (o.kind == OBJECT_DEVICE && is_virtio(o.device)) json_array_append_new(all, child("virtio-backend", "virtio-device"));
    if (is_balloon(&o)) {
        json_array_append_new(all, property("guest-stats", "guest statistics"));
        json_array_append_new(all, property("guest-stats-polling-interval", "int"));
    }
    if (is_vga(&o)) json_array_append_new(all, property("vgamem_mb", "uint32"));
    return all;
}

static json_t *type_get(struct machine *m, const struct object *o)
{
    switch (o->kind) {
    case OBJECT_MACHINE: return json_sprintf("%s-machine", machine_configuration(m)->machine);
    case OBJECT_PERIPHERAL: case OBJECT_UNATTACHED: return json_string("container");
    case OBJECT_CPU: return json_sprintf("%s-x86_64-cpu", machine_cpu_model(m));
    case OBJECT_DRIVE: return json_string(drive_type(machine_drive_config(m, o->number)));
    case OBJECT_BACKEND: return json_string("virtio-device");
    default: return json_string(o->device->ops->name);
    }
}

static json_t *guest_stats(struct machine *m)
{
    static const char *const names[] = {
        "stat-swap-in", "stat-swap-out", "stat-major-faults", "stat-minor-faults", "stat-free-memory", "stat-total-memory", "stat-available-memory",
        "stat-disk-caches", "stat-htlb-pgalloc", "stat-htlb-pgfail",
    };
    int64_t updated_s = 0;
    json_t *stats = json_object();

    for (unsigned i = 0; i < ARRAY_SIZE(names); i++) {
        uint64_t value;

        if (machine_balloon_stat(m, i, &value, &updated_s)) json_object_set_new(stats, names[i], json_integer((json_int_t)value));
    }
    return json_pack("{s:o, s:I}", "stats", stats, "last-update", (json_int_t)updated_s);
}

json_t *qmp_qom_get(struct qmp *q, json_t *args, struct qmp_error *err)
{
    const char *path = qmp_string(args, "path"), *name = qmp_string(args, "property");
    struct machine *m = qmp_machine(q);
    const char *group = qmp_throttle_group_of(m, path);
    struct object o = find(m, path);
    json_t *type;

    if (group) return qmp_throttle_group_get(m, group, name, err);
    if (o.kind == OBJECT_NONE) return qmp_no_device(err, path);
    type = type_get(m, &o);
    if (!strcmp(name, "type")) return type;
    if (is_balloon(&o) && !strcmp(name, "guest-stats")) json_decref(type), type = guest_stats(m);
    else if (is_balloon(&o) && !strcmp(name, "guest-stats-polling-interval")) json_decref(type), type = json_integer(machine_balloon_poll(m));
    else if (is_vga(&o) && !strcmp(name, "vgamem_mb"))
        json_decref(type), type = json_integer((json_int_t)(machine_configuration(m)->vga.vram_bytes >> 20));
    else if (o.kind == OBJECT_CPU && !strcmp(name, "unavailable-features")) json_decref(type), type = qmp_cpu_missing(m);
    else {
        qmp_fail(err, QMP_GENERIC, "Property '%.100s.%.200s' not found", json_string_value(type), name);
        json_decref(type);
        return NULL;
    }
    return type;
}

json_t *qmp_qom_set(struct qmp *q, json_t *args, struct qmp_error *err)
{
    const char *path = qmp_string(args, "path"), *name = qmp_string(args, "property");
    struct object o = find(qmp_machine(q), path);
    json_t *value = json_object_get(args, "value"), *type;
    const char *group = qmp_throttle_group_of(qmp_machine(q), path);

    if (group) return qmp_throttle_group_set(qmp_machine(q), group, name, value, err);
    if (o.kind == OBJECT_NONE) return qmp_no_device(err, path);
    if (is_balloon(&o) && !strcmp(name, "guest-stats-polling-interval")) {
        if (!json_is_integer(value)) return qmp_fail(err, QMP_GENERIC, "Invalid parameter type for 'guest-stats-polling-interval', expected: integer");
        if (json_integer_value(value) < 0 || json_integer_value(value) > UINT32_MAX) return qmp_fail(err, QMP_GENERIC, "timer value must be positive and fit");
        machine_balloon_poll_set(qmp_machine(q), (uint32_t)json_integer_value(value));
        return json_object();
    }
    type = type_get(qmp_machine(q), &o);
    qmp_fail(err, QMP_GENERIC, "Property '%.100s.%.200s' not found, or it cannot be changed", json_string_value(type), name);
    json_decref(type);
    return NULL;
}
