/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Drives and networks that come and go; devices use them by id (pc_hotplug.c). Places in the tables that became free are used again. */
#include <string.h>

#include "base/bits.h"
#include "base/error.h"
#include "block/image.h"
#include "machine/hotplug.h"
#include "machine/pc_private.h"
#include "net/backend.h"

/* ---- drives ---- */

int pc_drive_find(const struct machine *m, const char *id)
{
    for (unsigned n = 0; n < m->config.drive_count; n++)
        if (m->config.drive[n].interface != DRIVE_IF_GONE && m->config.drive[n].id && *id && !strcmp(m->config.drive[n].id, id)) return (int)n;
    return -1;
}

void pc_drive_remove(struct machine *m, unsigned n)
{
    if (m->drive[n]) block_close(m->drive[n]);
    m->drive[n] = NULL;
    m->config.drive[n] = (struct drive_config){ .interface = DRIVE_IF_GONE };
    machine_memory_free(&m->drive_memory[n]);
}

int pc_drive_take(struct machine *m, const struct machine_device_request *r, enum drive_interface interface, const char *device_id, struct error *err)
{
    int n = pc_drive_find(m, r->drive);
    struct drive_config *d = n < 0 ? NULL : &m->config.drive[n];

    if (!d) return error_set(err, "there is no drive '%s'; 'info block' lists them", r->drive);
    if (d->interface != DRIVE_IF_NONE) return error_set(err, "drive '%s' is in use already", r->drive);
    if (d->is_node && pc_node_is_used(m, r->drive)) return error_set(err, "node '%s' is in use by another", r->drive);
    if (!d->is_protocol && !m->drive[n]) return error_set(err, "drive '%s' has no medium", r->drive);
    d->interface = interface;
    d->open.share_writes = r->share_writes;
    if (d->is_protocol ? pc_node_open(m, (unsigned)n, err) < 0 : block_share_set(m->drive[n], r->share_writes, err) < 0) {
        d->open.share_writes = true;
        d->interface = DRIVE_IF_NONE;
        return -1;
    }
    d->index = -1;
    d->device_id = device_id;
    if (r->on_error.has_read) d->on_read_error = r->on_error.read;
    if (r->on_error.has_write) d->on_write_error = r->on_error.write;
    d->write_cache = r->write_cache;
    d->boot_rank = r->boot_rank;
    return n;
}

int pc_drive_empty(struct machine *m, const struct machine_device_request *r, enum drive_interface interface, const char *device_id, struct error *err)
{
    int n = pc_drive_place(m, "", err);

    if (n < 0) return -1;
    m->config.drive[n] = (struct drive_config){
        .id = "", .interface = interface, .media = MEDIA_CDROM, .index = -1, .device_id = device_id, .open.readonly = true, .boot_rank = r->boot_rank,
        .write_cache = r->write_cache, .on_read_error = r->on_error.has_read ? r->on_error.read : BLOCK_ERROR_REPORT,
        .on_write_error = r->on_error.has_write ? r->on_error.write : BLOCK_ERROR_ENOSPC,
    };
    m->config.drive_count = MAX(m->config.drive_count, (unsigned)n + 1);
    return n;
}

void pc_drive_untake(struct machine *m, unsigned n)
{
    struct drive_config *d = &m->config.drive[n];

    d->interface = DRIVE_IF_NONE;
    d->device_id = NULL;
    d->boot_rank = 0;
    d->open.share_writes = true;
    if (!d->is_protocol) {
        block_share_set(m->drive[n], true, NULL);
        return;
    }
    block_close(m->drive[n]);
    m->drive[n] = NULL;
}

static void node_release(struct machine *m, unsigned n)
{
    struct drive_config *d = &m->config.drive[n];

    pc_throttle_forget(m, n);
    d->interface = DRIVE_IF_NONE;
    d->media = MEDIA_DISK;
    d->device_id = NULL;
    d->on_read_error = BLOCK_ERROR_REPORT;
    d->on_write_error = BLOCK_ERROR_ENOSPC;
    d->write_cache = WRITE_CACHE_AUTO;
    d->boot_rank = 0;
    if (m->node_memory[n].free) {                       /* the drive is gone, the node has what was its */
        machine_memory_free(&m->drive_memory[n]);
        m->drive_memory[n] = m->node_memory[n];
        m->node_memory[n] = (struct machine_memory){ NULL, NULL };
    }
    d->drive_id = NULL;
    d->open.share_writes = true;
    if (!d->is_protocol) {
        block_share_set(m->drive[n], true, NULL);
        return;
    }
    block_close(m->drive[n]);
    m->drive[n] = NULL;
}

void pc_drive_release(struct machine *m, unsigned n)
{
    if (m->config.drive[n].is_node) node_release(m, n);
    else pc_drive_remove(m, n);
    machine_memory_free(&m->unit_memory[n]);
}

int pc_drive_place(const struct machine *m, const char *id, struct error *err)
{
    unsigned n = 0;

    if (pc_drive_find(m, id) >= 0) return error_set(err, "two drives have the id '%s'", id);
    while (n < m->config.drive_count && m->config.drive[n].interface != DRIVE_IF_GONE) n++;
    return n == CONFIG_DRIVES ? error_set(err, "more than %d drives", CONFIG_DRIVES) : (int)n;
}

static int drive_open(struct machine *m, struct drive_config *d, struct machine_memory *memory, struct error *err)
{
    int n;

    if (!d->id) return error_set(err, "a drive that is added needs id=");
    if (d->interface != DRIVE_IF_NONE) return error_set(err, "a drive that is added has if=none; device_add connects it");
    if (!d->open.filename && !d->open.options) return error_set(err, "drive '%s' has no file=", d->id);
    n = pc_drive_place(m, d->id, err);
    if (n < 0) return -1;
    d->open.share_writes = true;                         /* until a device has it, which says whether that stays so */
    m->drive[n] = block_open(&d->open, err);
    if (!m->drive[n]) return error_prefix(err, "%s", d->id);
    m->config.drive[n] = *d;
    m->config.drive_count = MAX(m->config.drive_count, (unsigned)n + 1);
    m->drive_memory[n] = *memory;
    if (pc_throttle_apply(m, (unsigned)n, err) == 0) return 0;
    m->drive_memory[n] = (struct machine_memory){ NULL, NULL };
    pc_drive_remove(m, (unsigned)n);
    return -1;
}

int machine_drive_add(struct machine *m, const char *text, struct error *err)
{
    struct machine_memory memory = { NULL, NULL };
    struct drive_config d;

    if (m->parser.drive(m->parser.opaque, text, &d, &memory, err) == 0 && drive_open(m, &d, &memory, err) == 0) return 0;
    machine_memory_free(&memory);
    return -1;
}

int machine_drive_del(struct machine *m, const char *id, struct error *err)
{
    int n = pc_drive_find(m, id);

    if (n < 0) return error_set(err, "there is no drive '%s'; 'info block' lists them", id);
    if (m->config.drive[n].is_node) return error_set(err, "'%s' is a node; blockdev-del removes those", id);
    if (m->config.drive[n].interface == DRIVE_IF_NONE) pc_drive_remove(m, (unsigned)n);
    else if (m->config.drive[n].interface == DRIVE_IF_PFLASH) return error_set(err, "'%s' is a flash chip; the machine cannot do without", id);
    else {
        if (m->drive[n]) block_abandon(m->drive[n]);
        m->config.drive[n].id = "";
    }
    return 0;
}

/* The guest learns of it where its device has a way to tell; at IDE and USB when it asks again. */
static void size_tell(struct machine *m, unsigned n)
{
    for (unsigned i = 0; i < m->config.virtio_count; i++) {
        const struct virtio_device_config *c = &m->config.virtio[i];

        if (!m->virtio[i]) continue;
        if (c->kind == VIRTIO_KIND_BLK && c->drive == n) virtio_blk_resized(virtio_pci_device(m->virtio[i]));
        for (unsigned unit = 0; c->kind == VIRTIO_KIND_SCSI && unit < c->scsi.unit_count; unit++)
            if (c->scsi_drive[unit] == n) virtio_scsi_resized(virtio_pci_device(m->virtio[i]), unit);
    }
}

/* A throttle has the size of what is below. */
static void filters_resize(struct machine *m, const struct block_node *below)
{
    for (unsigned n = 0; n < m->config.drive_count; n++) {
        if (!m->drive[n] || block_filter_below(m->drive[n]) != below) continue;
        block_drain(m->drive[n]);
        block_filter_update(m->drive[n], NULL, NULL);
        size_tell(m, n);
        filters_resize(m, m->drive[n]);
    }
}

int machine_drive_resize(struct machine *m, unsigned i, uint64_t size_bytes, struct error *err)
{
    struct block_node *node = machine_drive(m, i);
    char name[MACHINE_PATH_BYTES];

    if (!node) {
        machine_drive_label(m, i, name, sizeof(name));
        return error_set(err, "there is no medium in '%s'", name);
    }
    block_drain(node);
    if (block_resize(node, size_bytes, BLOCK_PREALLOCATION_OFF, err) < 0) return -1;
    size_tell(m, (unsigned)machine_drive_place(m, i));
    filters_resize(m, node);
    return 0;
}

/* ---- networks ---- */

int pc_netdev_find(const struct machine *m, const char *id)
{
    for (unsigned n = 0; n < m->config.netdev_count; n++)
        if (m->netdev[n] && !strcmp(net_id(m->netdev[n]), id)) return (int)n;
    return -1;
}

static int network_make(struct machine *m, const struct netdev_config *d, struct machine_memory *memory, struct error *err)
{
    unsigned n = 0;

    if (pc_netdev_find(m, d->id) >= 0) return error_set(err, "two networks have the id '%s'", d->id);
    while (n < m->config.netdev_count && m->netdev[n]) n++;
    if (n == CONFIG_NETDEVS) return error_set(err, "more than %d networks", CONFIG_NETDEVS);
    m->netdev[n] = pc_network_create(m, d, err);
    if (!m->netdev[n]) return error_prefix(err, "network %s", d->id);
    m->config.netdev[n] = *d;
    m->config.netdev_count = MAX(m->config.netdev_count, n + 1);
    m->netdev_memory[n] = *memory;
    return 0;
}

int machine_netdev_add(struct machine *m, const char *text, struct error *err)
{
    struct machine_memory memory = { NULL, NULL };
    struct netdev_config d;

    if (m->parser.netdev(m->parser.opaque, text, &d, &memory, err) == 0 && network_make(m, &d, &memory, err) == 0) return 0;
    machine_memory_free(&memory);
    return -1;
}

int machine_netdev_del(struct machine *m, const char *id, struct error *err)
{
    int n = pc_netdev_find(m, id);

    if (n < 0) return error_set(err, "there is no network '%s'; 'info network' lists them", id);
    if (m->config.netdev[n].has_hub && m->config.netdev[n].kind != NETDEV_HUBPORT) return error_set(err, "network '%s' is on hub %u and stays there", id, m->config.netdev[n].hub);
    if (net_is_attached(m->netdev[n])) return error_set(err, "network '%s' is in use; device_del removes its card", id);
    pc_network_free(m, m->netdev[n]);
    m->netdev[n] = NULL;
    m->config.netdev[n] = (struct netdev_config){ .id = NULL };      /* its strings go */
    machine_memory_free(&m->netdev_memory[n]);
    return 0;
}
