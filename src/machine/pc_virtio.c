/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Virtio devices of the board: each gets the next free PCI slot, or the one it asked for, in the order they were given. */
#include <stdio.h>
#include <string.h>

#include "base/bits.h"
#include "base/error.h"
#include "base/log.h"
#include "chardev/chardev.h"
#include "machine/pc_private.h"

static struct virtio *blk_create(struct machine *m, struct virtio_device_config *d, struct error *err)
{
    const struct drive_config *drive = &m->config.drive[d->drive];
    struct virtio_blk_config c = d->blk;

    c.memory = m->memory;
    c.id = d->id ? d->id : drive->id;
    c.node = m->drive[d->drive];
    c.options = d->options;
    c.on_error = pc_error_policy(m, d->drive);
    c.write_cache = pc_write_cache(m, d->drive);
    if (!c.serial) c.serial = drive->serial;
    if (!c.queues) c.queues = MIN(m->config.cpus, 1023u);
    if (!d->has_vectors) d->pci.vectors = c.queues + 1;
    return virtio_blk_new(&c, err);
}

static struct virtio *rng_create(struct machine *m, struct virtio_device_config *d, struct error *err)
{
    struct virtio_rng_config c = d->rng;

    c.memory = m->memory;
    c.id = d->id;
    c.options = d->options;
    if (!d->has_vectors) d->pci.vectors = 2;
    return virtio_rng_new(&c, err);
}

static void balloon_changed(void *opaque, uint64_t actual_bytes)
{
    machine_event(opaque, "BALLOON_CHANGE", json_pack("{s:I}", "actual", (json_int_t)actual_bytes));
}

static struct virtio *balloon_create(struct machine *m, struct virtio_device_config *d, struct error *err)
{
    struct virtio_balloon_config c = d->balloon;

    c.memory = m->memory;
    c.id = d->id;
    c.options = d->options;
    c.changed = balloon_changed;
    c.opaque = m;
    c.ram_hva = m->ram.hva;
    c.ram_bytes = m->ram.size_bytes;
    c.ram_shared = m->ram.shared;
    return virtio_balloon_new(&c, err);
}

static void port_opened(void *opaque, const char *id, bool is_open)
{
    machine_event(opaque, "VSERPORT_CHANGE", json_pack("{s:s, s:b}", "id", id, "open", is_open));
}

static struct virtio *serial_create(struct machine *m, struct virtio_device_config *d, struct error *err)
{
    struct virtio_console_config c = d->console;

    c.guest_opened = port_opened;
    c.opaque = m;
    c.memory = m->memory;
    c.id = d->id;
    c.options = d->options;
    for (unsigned i = 0; i < c.ports_max; i++)
        if (d->chardev[i] && !(c.port[i].chardev = pc_chardev_open(m, "virtio serial port", d->chardev[i], err))) return NULL;
    if (!d->has_vectors) d->pci.vectors = 2;
    return virtio_console_new(&c, err);
}

void pc_scsi_unit_fill(struct machine *m, unsigned drive, struct scsi_unit_config *u)
{
    const struct drive_config *d = &m->config.drive[drive];

    u->node = m->drive[drive];
    u->is_cdrom = d->media == MEDIA_CDROM;
    u->write_cache = pc_write_cache(m, drive);
    if (!u->serial) u->serial = d->serial;
    u->identity = d->identity;
    u->name = d->is_node ? d->drive_id : d->id;
    u->on_error = pc_error_policy(m, drive);
    u->tray = pc_tray_watch(m, drive);
}

static struct virtio *scsi_create(struct machine *m, struct virtio_device_config *d, struct error *err)
{
    struct virtio_scsi_config c = d->scsi;

    c.memory = m->memory;
    c.id = d->id;
    c.options = d->options;
    if (!c.queues) c.queues = MIN(m->config.cpus, 1022u);
    if (!c.queue_size) c.queue_size = 256;
    for (unsigned i = 0; i < c.unit_count; i++) pc_scsi_unit_fill(m, d->scsi_drive[i], &c.unit[i].unit);
    if (!d->has_vectors) d->pci.vectors = c.queues + 3;
    return virtio_scsi_new(&c, err);
}

static struct virtio *net_create(struct machine *m, struct virtio_device_config *d, struct error *err)
{
    struct virtio_net_config c = d->net;
    struct machine_nic *nic;
    struct virtio *v;

    if (pc_nic_note(m, "virtio-net-pci", &d->nic, "efi-virtio.rom", &nic, &d->pci.rom_bytes, err) < 0) return NULL;
    c.memory = m->memory;
    c.id = d->id;
    c.options = d->options;
    c.backend = nic->backend;
    c.filter_changed = pc_nic_filter_changed;
    c.opaque = m;
    memcpy(c.mac, d->nic.mac, sizeof(c.mac));
    d->pci.rom = nic->rom;
    if (nic->rom && !d->nic.rom && !d->pci.disable_legacy) pc_rom_device_set(nic->rom, d->pci.rom_bytes, 0x1af4, 0x1000);
    if (!d->has_vectors) d->pci.vectors = 2 * (c.multiqueue ? net_queues(c.backend) : 1) + 2;
    v = virtio_net_new(&c, err);
    nic->v = v;
    return v;
}

static struct virtio *share_create(struct machine *m, struct virtio_device_config *d, struct error *err)
{
    struct virtio_9p_config c = d->share;

    c.memory = m->memory;
    c.id = d->id;
    c.options = d->options;
    if (!d->has_vectors) d->pci.vectors = 2;
    return virtio_9p_new(&c, err);
}

static struct virtio *input_create(struct machine *m, struct virtio_device_config *d, struct error *err)
{
    struct virtio_input_config c = d->input;

    c.memory = m->memory;
    c.id = d->id;
    c.options = d->options;
    c.input = m->input;
    if (!d->has_vectors) d->pci.vectors = 2;
    return virtio_input_new(&c, err);
}

static struct virtio *vsock_create(struct machine *m, struct virtio_device_config *d, struct error *err)
{
    struct virtio_vsock_config c = d->vsock;

    c.memory = m->memory;
    c.id = d->id;
    c.options = d->options;
    if (!d->has_vectors) d->pci.vectors = 4;
    return virtio_vsock_new(&c, err);
}

static struct virtio *virtio_create(struct machine *m, struct virtio_device_config *d, struct error *err)
{
    switch (d->kind) {
    case VIRTIO_KIND_BLK: return blk_create(m, d, err);
    case VIRTIO_KIND_RNG: return rng_create(m, d, err);
    case VIRTIO_KIND_SERIAL: return serial_create(m, d, err);
    case VIRTIO_KIND_SCSI: return scsi_create(m, d, err);
    case VIRTIO_KIND_NET: return net_create(m, d, err);
    case VIRTIO_KIND_9P: return share_create(m, d, err);
    case VIRTIO_KIND_INPUT: return input_create(m, d, err);
    case VIRTIO_KIND_VSOCK: return vsock_create(m, d, err);
    case VIRTIO_KIND_BALLOON: return balloon_create(m, d, err);
    }
    return NULL;
}

struct device *pc_virtio_add(struct machine *m, const struct virtio_device_config *config, struct error *err)
{
    struct virtio_device_config d = *config;
    struct virtio *v = virtio_create(m, &d, err);
    struct device *device;

    if (!v) return NULL;
    d.pci.bus = m->pci;
    device = virtio_pci_new(&d.pci, v, err);
    if (!device) return NULL;
    for (unsigned i = 0; i < m->nic_count; i++)
        if (m->nic[i].v == v) m->nic[i].device = device;
    pc_device_add(m, device);
    return device;
}

int pc_virtio_create(struct machine *m, struct error *err)
{
    if (pc_nics_create(m, NIC_LEGACY, err) < 0 || pc_ahci_create(m, err) < 0) return -1;
    for (unsigned i = 0; i < m->config.virtio_count; i++) {
        if (pc_nics_create(m, (int)i, err) < 0) return -1;
        m->virtio[i] = pc_virtio_add(m, &m->config.virtio[i], err);
        if (!m->virtio[i]) return -1;
    }
    return pc_nics_create(m, (int)m->config.virtio_count, err);
}

void pc_virtio_started(struct machine *m)
{
    for (unsigned i = 0; i < m->config.virtio_count; i++) {
        if (!m->virtio[i]) continue;
        if (m->config.virtio[i].kind == VIRTIO_KIND_BLK) virtio_blk_retry(virtio_pci_device(m->virtio[i]));
        if (m->config.virtio[i].kind == VIRTIO_KIND_SCSI) virtio_scsi_retry(virtio_pci_device(m->virtio[i]));
    }
}

static struct virtio *balloon_of(struct machine *m)
{
    for (unsigned i = 0; i < m->config.virtio_count; i++)
        if (m->config.virtio[i].kind == VIRTIO_KIND_BALLOON && m->virtio[i]) return virtio_pci_device(m->virtio[i]);
    return NULL;
}

int machine_balloon_set(struct machine *m, uint64_t bytes, struct error *err)
{
    struct virtio *v = balloon_of(m);

    if (!v) return error_set(err, "there is no balloon; start with -device virtio-balloon-pci");
    virtio_balloon_target_set(v, bytes);
    return 0;
}

bool machine_balloon_get(struct machine *m, uint64_t *bytes)
{
    struct virtio *v = balloon_of(m);

    if (v) *bytes = virtio_balloon_actual_bytes(v);
    return v != NULL;
}

bool machine_balloon_stat(struct machine *m, unsigned tag, uint64_t *value, int64_t *updated_s)
{
    struct virtio *v = balloon_of(m);

    return v && virtio_balloon_stat(v, tag, value, updated_s);
}

uint32_t machine_balloon_poll(struct machine *m)
{
    struct virtio *v = balloon_of(m);

    return v ? virtio_balloon_poll(v) : 0;
}

void machine_balloon_poll_set(struct machine *m, uint32_t seconds)
{
    struct virtio *v = balloon_of(m);

    if (v) virtio_balloon_poll_set(v, seconds);
}

int machine_balloon_info(struct machine *m, void (*print)(void *opaque, const char *line), void *opaque, struct error *err)
{
    struct virtio *v = balloon_of(m);

    if (!v) return error_set(err, "there is no balloon; start with -device virtio-balloon-pci");
    v->ops->info(v, print, opaque);
    return 0;
}
