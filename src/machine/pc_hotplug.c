/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * PCI functions that come and go while the guest runs, and the drives of SCSI adapters.
 *
 * A function that comes is put on the bus, and its slot reported (acpi_pcihp.c). One that shall go is reported too; when the guest
 * writes the slot into the eject register (or without having been asked), it is reset, which waits for what is in flight, and
 * leaves the bus on the spot. Its memory and what it used are freed by the main loop, with the vCPUs outside of the
 * engine: translations may hold pointers to its ROM, and closing an image takes its time.
 */
#include "machine/hotplug.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/bits.h"
#include "base/error.h"
#include "bus/pci.h"
#include "device/chipset/acpi_pcihp.h"
#include "machine/event.h"
#include "machine/pc_private.h"

enum { FUNCTIONS = 256, MAC_BYTES = 6 };

void machine_memory_free(struct machine_memory *memory)
{
    if (memory->free) memory->free(memory->memory);
    *memory = (struct machine_memory){ NULL, NULL };
}

void machine_parser_set(struct machine *m, const struct machine_parser *p) { m->parser = *p; }

int machine_object_add(struct machine *m, const char *text, struct error *err) { return m->parser.object_add(m->parser.opaque, m, text, err); }
int machine_object_del(struct machine *m, const char *id, struct error *err) { return m->parser.object_del(m->parser.opaque, m, id, err); }

/* ---- which ---- */

static int virtio_place(const struct machine *m, const struct device *d)
{
    for (unsigned i = 0; i < m->config.virtio_count; i++)
        if (m->virtio[i] == d) return (int)i;
    return -1;
}

static struct machine_nic *nic_of(struct machine *m, const struct device *d)
{
    for (unsigned i = 0; i < m->nic_count; i++)
        if (m->nic[i].backend && m->nic[i].device == d) return &m->nic[i];
    return NULL;
}

/* What firmware and chip set rest on stays. */
static bool is_removable(const struct machine *m, const struct device *d)
{
    return virtio_place(m, d) >= 0 || nic_of((struct machine *)(uintptr_t)m, d) || pc_usb_controller_place(m, d) >= 0;
}

uint32_t pc_slots_removable(const struct machine *m)
{
    uint32_t slots = UINT32_MAX;

    for (unsigned devfn = 0; devfn < FUNCTIONS; devfn++) {
        const struct pci_device *p = pci_bus_device(m->pci, devfn);

        if (p && !is_removable(m, &p->device)) slots &= ~(1u << (devfn >> 3));
    }
    return slots;
}

static struct device *device_find(const struct machine *m, const char *id)
{
    for (struct device *d = m->devices; d; d = d->next)
        if (d->id && !strcmp(d->id, id)) return d;
    return NULL;
}

static struct pci_device *function_of(const struct machine *m, const struct device *d)
{
    for (unsigned devfn = 0; devfn < FUNCTIONS; devfn++) {
        struct pci_device *p = pci_bus_device(m->pci, devfn);

        if (p && &p->device == d) return p;
    }
    return NULL;
}

/* A SCSI drive's adapter and place there. */
static bool unit_find(const struct machine *m, const char *id, unsigned *adapter, unsigned *unit)
{
    for (*adapter = 0; *adapter < m->config.virtio_count; ++*adapter) {
        const struct virtio_device_config *c = &m->config.virtio[*adapter];

        if (!m->virtio[*adapter] || c->kind != VIRTIO_KIND_SCSI) continue;
        for (*unit = 0; *unit < c->scsi.unit_count; ++*unit) {
            const char *name = m->config.drive[c->scsi_drive[*unit]].device_id;

            if (name && !strcmp(name, id)) return true;
        }
    }
    return false;
}

/* ---- what goes ---- */

void pc_device_deleted(struct machine *m, const char *id, bool is_virtio)
{
    char path[256];

    if (!id) return;
    snprintf(path, sizeof(path), "/machine/peripheral/%s/virtio-backend", id);
    if (is_virtio) machine_event(m, "DEVICE_DELETED", json_pack("{s:s}", "path", path));
    snprintf(path, sizeof(path), "/machine/peripheral/%s", id);
    machine_event(m, "DEVICE_DELETED", json_pack("{s:s, s:s}", "path", path, "device", id));
}

static void no_networks_tidy(struct machine *m);

static void unit_release(struct machine *m, unsigned drive)
{
    char *id = m->config.drive[drive].device_id ? strdup(m->config.drive[drive].device_id) : NULL;

    pc_drive_release(m, drive);
    pc_device_deleted(m, id, false);
    free(id);
}

static void backends_release(struct machine *m, int virtio, struct machine_nic *nic)
{
    if (nic) pc_nic_forget(m, nic);
    if (nic) no_networks_tidy(m);
    if (virtio < 0) return;
    if (m->config.virtio[virtio].kind == VIRTIO_KIND_BLK) pc_drive_release(m, m->config.virtio[virtio].drive);
    for (unsigned i = 0; m->config.virtio[virtio].kind == VIRTIO_KIND_SCSI && i < m->config.virtio[virtio].scsi.unit_count; i++)
        unit_release(m, m->config.virtio[virtio].scsi_drive[i]);
    if (m->config.virtio[virtio].kind == VIRTIO_KIND_SERIAL) pc_ports_forget(m, (unsigned)virtio);
    m->virtio[virtio] = NULL;
    m->config.virtio[virtio].rng.filename = NULL;      /* its object is free */
    machine_memory_free(&m->virtio_memory[virtio]);
}

static void device_free(struct machine *m, struct device *d)
{
    char *id = d->id ? strdup(d->id) : NULL;
    int virtio = virtio_place(m, d), usb = pc_usb_controller_place(m, d);
    struct machine_nic *nic = nic_of(m, d);

    if (usb >= 0) pc_usb_controller_empty(m, d);
    device_destroy(d);
    backends_release(m, virtio, nic);
    if (usb >= 0) pc_usb_controller_forget(m, usb);
    pc_device_deleted(m, id, virtio >= 0);
    free(id);
}

static void ejected_free(void *opaque)
{
    struct machine *m = opaque;

    if (!m->ejected) return;
    vcpus_hold(m);
    vcpus_wait(m);
    while (m->ejected) {
        struct device *d = m->ejected;

        m->ejected = d->next;
        device_free(m, d);
    }
    if (m->state == RUN_RUNNING && m->runs && !atomic_load(&m->requests)) vcpus_release(m);
}

static void device_eject(struct machine *m, struct pci_device *p)
{
    struct device **link = &m->devices;

    device_reset(&p->device);
    pci_device_remove(p);
    while (*link && *link != &p->device) link = &(*link)->next;
    if (*link) *link = p->device.next;
    p->device.next = m->ejected;
    m->ejected = &p->device;
    loop_post(ejected_free, m);
}

void pc_slot_eject(void *machine, unsigned slot)
{
    struct machine *m = machine;

    for (unsigned devfn = slot << 3; devfn < (slot + 1) << 3; devfn++) {
        struct pci_device *p = pci_bus_device(m->pci, devfn);

        if (p && is_removable(m, &p->device)) device_eject(m, p);
    }
}

void pc_hotplug_reset(struct machine *m)
{
    uint32_t slots = m->pcihp ? acpi_pcihp_pending(m->pcihp) : 0;

    for (unsigned slot = 0; slot < 32; slot++)
        if (slots >> slot & 1) pc_slot_eject(m, slot);
}

void pc_hotplug_destroy(struct machine *m)
{
    for (struct device *d = m->ejected, *next; d; d = next) {
        next = d->next;
        device_destroy(d);
    }
    m->ejected = NULL;
}

void pc_hotplug_memory_free(struct machine *m)
{
    for (unsigned i = 0; i < ARRAY_SIZE(m->virtio_memory); i++) {
        machine_memory_free(&m->virtio_memory[i]);
        for (unsigned nr = 0; nr < VIRTIO_CONSOLE_PORTS_MAX; nr++) machine_memory_free(&m->port_memory[i][nr]);
    }
    for (unsigned i = 0; i < ARRAY_SIZE(m->nic); i++) machine_memory_free(&m->nic[i].memory);
    for (unsigned i = 0; i < ARRAY_SIZE(m->netdev_memory); i++) machine_memory_free(&m->netdev_memory[i]);
    for (unsigned i = 0; i < ARRAY_SIZE(m->usb_memory); i++) machine_memory_free(&m->usb_memory[i]);
    for (unsigned i = 0; i < ARRAY_SIZE(m->usb_controller_memory); i++) machine_memory_free(&m->usb_controller_memory[i]);
    for (unsigned i = 0; i < ARRAY_SIZE(m->drive_memory); i++) {
        machine_memory_free(&m->node_memory[i]);
        machine_memory_free(&m->unit_memory[i]);
        machine_memory_free(&m->drive_memory[i]);
    }
}

static int unit_remove(struct machine *m, unsigned adapter, unsigned unit)
{
    struct virtio_device_config *c = &m->config.virtio[adapter];
    unsigned drive = c->scsi_drive[unit];

    virtio_scsi_unit_remove(virtio_pci_device(m->virtio[adapter]), unit);
    c->scsi.unit_count--;
    for (unsigned i = unit; i < c->scsi.unit_count; i++) {
        c->scsi.unit[i] = c->scsi.unit[i + 1];
        c->scsi_drive[i] = c->scsi_drive[i + 1];
    }
    unit_release(m, drive);
    return 0;
}

int machine_device_del(struct machine *m, const char *id, struct error *err)
{
    struct device *d = device_find(m, id);
    unsigned adapter, unit;

    if (unit_find(m, id, &adapter, &unit)) return unit_remove(m, adapter, unit);
    if (pc_port_find(m, id, &adapter, &unit)) {
        pc_port_remove(m, adapter, unit);
        return 0;
    }
    if (pc_usb_find(m, id)) {
        pc_usb_remove(m, pc_usb_find(m, id));
        return 0;
    }
    for (unsigned i = 0; !d && i < m->config.drive_count; i++)
        if (m->config.drive[i].device_id && !strcmp(m->config.drive[i].device_id, id))
            return error_set(err, "device '%s' is at a controller whose drives cannot be removed while the machine is there", id);
    if (!d) return error_set(err, "Device '%s' not found; 'info qtree' lists devices", id);
    if (!is_removable(m, d)) return error_set(err, "device '%s' (%s) cannot be removed while the machine is there", id, d->ops->name);
    if (!m->pcihp) return error_set(err, "device '%s' cannot be removed: that needs ACPI, and this machine has -no-acpi", id);
    acpi_pcihp_unplug_request(m->pcihp, function_of(m, d)->devfn >> 3);
    return 0;
}

bool machine_device_is_leaving(struct machine *m, const char *id)
{
    struct device *d = device_find(m, id);
    struct pci_device *p = d ? function_of(m, d) : NULL;

    return p && m->pcihp && acpi_pcihp_pending(m->pcihp) >> (p->devfn >> 3) & 1;
}

/* ---- what comes ---- */

static bool id_is_taken(const struct machine *m, const char *id)
{
    if (device_find(m, id) || machine_port_exists(m, id)) return true;
    for (unsigned i = 0; i < m->config.drive_count; i++)
        if (m->config.drive[i].interface != DRIVE_IF_GONE && m->config.drive[i].device_id && !strcmp(m->config.drive[i].device_id, id)) return true;
    for (const struct device *d = m->ejected; d; d = d->next)
        if (d->id && !strcmp(d->id, id)) return true;
    return false;
}

static void mac_make(const struct machine *m, uint8_t mac[MAC_BYTES])
{
    static const uint8_t first[MAC_BYTES] = { 0x52, 0x54, 0, 0x12, 0x34, 0x56 };
    bool is_used = true;

    memcpy(mac, first, MAC_BYTES);
    for (; is_used; mac[5] += is_used) {
        is_used = false;
        for (unsigned i = 0; i < m->nic_count; i++) is_used |= m->nic[i].backend && !memcmp(m->nic[i].mac, mac, MAC_BYTES);
    }
}

/* No cable, for a card that names no network. */
static int no_network_make(struct machine *m, struct error *err)
{
    unsigned n = 0;
    char id[24];

    while (n < m->config.netdev_count && m->netdev[n]) n++;
    if (n == CONFIG_NETDEVS) return error_set(err, "more than %d networks", CONFIG_NETDEVS);
    snprintf(id, sizeof(id), "#none%u", n);
    m->netdev[n] = net_none_new(id, err);
    if (!m->netdev[n]) return -1;
    m->config.netdev[n] = (struct netdev_config){ .id = net_id(m->netdev[n]), .kind = NETDEV_NONE, .goes_with_card = true };
    m->config.netdev_count = MAX(m->config.netdev_count, n + 1);
    return (int)n;
}

static void no_networks_tidy(struct machine *m)
{
    for (unsigned n = 0; n < m->config.netdev_count; n++) {
        if (!m->netdev[n] || !m->config.netdev[n].goes_with_card || net_is_attached(m->netdev[n])) continue;
        net_free(m->netdev[n]);
        m->netdev[n] = NULL;
        m->config.netdev[n] = (struct netdev_config){ .id = NULL };
    }
}

static int network_take(struct machine *m, const struct machine_device_request *r, struct nic_common *c, struct error *err)
{
    int n = r->netdev ? pc_netdev_find(m, r->netdev) : no_network_make(m, err);

    if (n < 0 && !r->netdev) return -1;
    if (n < 0) return error_set(err, "there is no network '%s'; 'info network' lists them", r->netdev);
    if (net_is_attached(m->netdev[n])) return error_set(err, "network '%s' is in use already", r->netdev);
    c->netdev = (unsigned)n;
    if (!r->has_mac) mac_make(m, c->mac);
    return 0;
}

/* Function 0 is the one whose coming the guest is told of; the others of its slot must be there by then. */
static int place_check(const struct machine *m, int devfn, struct error *err)
{
    if (!m->pcihp) return error_set(err, "devices cannot be added: that needs ACPI, and this machine has -no-acpi");
    if (devfn >= 0 && pci_bus_device(m->pci, (unsigned)devfn & ~7u))
        return error_set(err, "PCI slot %02x is taken; choose another addr=", devfn >> 3);
    return 0;
}

static void plugged(struct machine *m, const struct device *d)
{
    unsigned devfn = function_of(m, d)->devfn;

    acpi_pcihp_removable_set(m->pcihp, pc_slots_removable(m));
    if (!(devfn & 7)) acpi_pcihp_plugged(m->pcihp, devfn >> 3);
}

/* Cards that were noted and could not be made. */
static void nics_tidy(struct machine *m)
{
    for (unsigned i = 0; i < m->nic_count; i++)
        if (m->nic[i].backend && !m->nic[i].device) pc_nic_forget(m, &m->nic[i]);
    no_networks_tidy(m);
}

static int virtio_free_place(struct machine *m, struct error *err)
{
    unsigned i = 0;

    while (i < m->config.virtio_count && m->virtio[i]) i++;
    if (i == CONFIG_VIRTIO) return error_set(err, "more than %d virtio devices", CONFIG_VIRTIO);
    return (int)i;
}

/* The monitor's balloon is the only one; a mount_tag names one folder. */
static int kind_check(const struct machine *m, const struct virtio_device_config *c, struct error *err)
{
    for (unsigned i = 0; i < m->config.virtio_count; i++) {
        const struct virtio_device_config *other = &m->config.virtio[i];

        if (!m->virtio[i] || other->kind != c->kind) continue;
        if (c->kind == VIRTIO_KIND_BALLOON) return error_set(err, "Only one balloon device is supported");
        if (c->kind == VIRTIO_KIND_VSOCK) return error_set(err, "virtio-vsock-pci: one is enough: guests know only one");
        if (c->kind == VIRTIO_KIND_9P && !strcmp(other->share.tag, c->share.tag)) return error_set(err, "two shared folders have the mount_tag '%s'", c->share.tag);
    }
    return 0;
}

static int virtio_add(struct machine *m, struct machine_device_request *r, struct machine_memory *memory, struct error *err)
{
    struct virtio_device_config *c = &r->virtio;
    int i = virtio_free_place(m, err), drive = -1;
    struct device *d;

    if (i < 0 || place_check(m, c->pci.devfn, err) < 0) return -1;
    if (kind_check(m, c, err) < 0) return -1;
    if (c->kind == VIRTIO_KIND_NET && network_take(m, r, &c->nic, err) < 0) return -1;
    if (c->kind == VIRTIO_KIND_BLK) {
        drive = pc_drive_take(m, r, DRIVE_IF_VIRTIO, c->id, err);
        if (drive < 0) return -1;
        m->config.drive[drive].media = MEDIA_DISK;
        c->drive = (unsigned)drive;
    }
    d = pc_virtio_add(m, c, err);
    if (!d) {
        nics_tidy(m);
        if (drive >= 0) pc_drive_untake(m, (unsigned)drive);
        return -1;
    }
    m->config.virtio[i] = *c;
    m->virtio[i] = d;
    m->config.virtio_count = MAX(m->config.virtio_count, (unsigned)i + 1);
    m->virtio_memory[i] = *memory;
    plugged(m, d);
    return 0;
}

static int nic_add(struct machine *m, struct machine_device_request *r, struct machine_memory *memory, struct error *err)
{
    struct device *d;

    if (place_check(m, r->nic.devfn, err) < 0 || network_take(m, r, &r->nic.common, err) < 0) return -1;
    d = pc_nic_create(m, &r->nic, err);
    if (!d) {
        nics_tidy(m);
        return -1;
    }
    nic_of(m, d)->memory = *memory;
    plugged(m, d);
    return 0;
}

/* bus=ID.0 names a virtio-scsi device, scsi0.0 and so on those without id; without it the first one takes the drive. */
static int adapter_find(const struct machine *m, const char *bus, struct error *err)
{
    struct config_bus_search s = { .bus = bus };

    for (unsigned i = 0; i < m->config.virtio_count; i++) {
        const struct virtio_device_config *c = &m->config.virtio[i];

        if (!m->virtio[i] || !function_of(m, m->virtio[i]) || c->kind != VIRTIO_KIND_SCSI) continue;
        if (config_bus_is(&s, c->id, "scsi", "scsi")) return (int)i;
    }
    return error_set(err, bus ? "there is no SCSI bus '%s'" : "there is no SCSI bus; add virtio-scsi-pci first", bus);
}

static int unit_place(const struct virtio_device_config *c, struct machine_device_request *r, struct error *err)
{
    unsigned i = 0;

    if (c->scsi.unit_count == VIRTIO_SCSI_UNITS) return error_set(err, "more than %d drives at one adapter", VIRTIO_SCSI_UNITS);
    while (i < c->scsi.unit_count) {
        if (c->scsi.unit[i].target != r->scsi.target || c->scsi.unit[i].lun != r->scsi.lun) {
            i++;
            continue;
        }
        if (r->scsi.has_place) return error_set(err, "scsi-id=%u,lun=%u is taken", r->scsi.target, r->scsi.lun);
        r->scsi.target++;
        i = 0;
    }
    return 0;
}

static int unit_add(struct machine *m, struct machine_device_request *r, struct machine_memory *memory, struct error *err)
{
    int i = adapter_find(m, r->scsi.bus, err), n;
    struct virtio_device_config *c = i < 0 ? NULL : &m->config.virtio[i];
    struct virtio_scsi_unit_config u;

    if (i < 0 || unit_place(c, r, err) < 0) return -1;
    n = (r->drive ? pc_drive_take : pc_drive_empty)(m, r, DRIVE_IF_SCSI, r->scsi.id, err);
    if (n < 0) return -1;
    m->config.drive[n].media = r->scsi.is_cdrom ? MEDIA_CDROM : MEDIA_DISK;
    m->config.drive[n].identity = r->scsi.identity;
    u = (struct virtio_scsi_unit_config){ (uint8_t)r->scsi.target, (uint16_t)r->scsi.lun, { .serial = r->scsi.serial } };
    pc_scsi_unit_fill(m, (unsigned)n, &u.unit);
    if (virtio_scsi_unit_add(virtio_pci_device(m->virtio[i]), &u, err) < 0) {
        if (r->drive) pc_drive_untake(m, (unsigned)n);
        else pc_drive_remove(m, (unsigned)n);
        return -1;
    }
    c->scsi_drive[c->scsi.unit_count] = (unsigned)n;
    c->scsi.unit[c->scsi.unit_count++] = u;
    m->unit_memory[n] = *memory;
    return 0;
}

static int usb_add(struct machine *m, struct machine_device_request *r, struct machine_memory *memory, struct error *err)
{
    int n = r->drive ? pc_drive_take(m, r, DRIVE_IF_USB, r->usb.id, err) : 0;

    if (n < 0) return -1;
    r->usb.drive = (unsigned)n;
    if (pc_usb_add(m, &r->usb, memory, err) == 0) return 0;
    if (r->drive) pc_drive_untake(m, (unsigned)n);
    return -1;
}

static int controller_add(struct machine *m, struct machine_device_request *r, struct machine_memory *memory, struct error *err)
{
    struct device *d = place_check(m, r->controller.devfn, err) < 0 ? NULL : pc_usb_controller_add(m, &r->controller, memory, err);

    if (d) plugged(m, d);
    return d ? 0 : -1;
}

static const char *request_id(const struct machine_device_request *r)
{
    switch (r->kind) {
    case DEVICE_REQUEST_VIRTIO: return r->virtio.id;
    case DEVICE_REQUEST_NIC: return r->nic.common.id;
    case DEVICE_REQUEST_USB: return r->usb.id;
    case DEVICE_REQUEST_PORT: return r->port.port.id;
    case DEVICE_REQUEST_CONTROLLER: return r->controller.id;
    default: return r->scsi.id;
    }
}

static unsigned request_boot_rank(const struct machine_device_request *r)
{
    if (r->kind == DEVICE_REQUEST_NIC) return r->nic.common.boot_rank;
    return r->kind == DEVICE_REQUEST_VIRTIO && r->virtio.kind == VIRTIO_KIND_NET ? r->virtio.nic.boot_rank : r->boot_rank;
}

/* Each bootindex= is one device's; the order is made anew at the next reset. */
static int boot_rank_check(const struct machine *m, unsigned rank, struct error *err)
{
    bool is_used = false;

    for (unsigned i = 0; i < m->config.drive_count; i++) is_used |= m->config.drive[i].interface != DRIVE_IF_GONE && m->config.drive[i].boot_rank == rank;
    for (unsigned i = 0; i < m->nic_count; i++) is_used |= m->nic[i].backend && m->nic[i].boot_rank == rank;
    for (unsigned i = 0; i < m->config.option_rom_count; i++) is_used |= m->config.option_rom[i].boot_rank == rank;
    return rank && is_used ? error_set(err, "The bootindex %u has already been used", rank - 1) : 0;
}

static int request_carry_out(struct machine *m, struct machine_device_request *r, struct machine_memory *memory, struct error *err)
{
    static int (*const add[])(struct machine *m, struct machine_device_request *r, struct machine_memory *memory, struct error *err) = {
        [DEVICE_REQUEST_VIRTIO] = virtio_add, [DEVICE_REQUEST_NIC] = nic_add, [DEVICE_REQUEST_SCSI] = unit_add, [DEVICE_REQUEST_USB] = usb_add,
        [DEVICE_REQUEST_PORT] = pc_port_add, [DEVICE_REQUEST_CONTROLLER] = controller_add,
    };
    const char *id = request_id(r);

    if (id && id_is_taken(m, id)) return error_set(err, "Duplicate device ID '%s'", id);
    return boot_rank_check(m, request_boot_rank(r), err) < 0 ? -1 : add[r->kind](m, r, memory, err);
}

int machine_device_add(struct machine *m, const char *text, struct error *err)
{
    struct machine_device_request *r = calloc(1, sizeof(*r));
    struct machine_memory memory = { NULL, NULL };
    int result = -1;

    if (!r) return error_set(err, "no memory for a device");
    if (m->parser.device(m->parser.opaque, text, r, &memory, err) == 0) result = request_carry_out(m, r, &memory, err);
    if (result < 0) machine_memory_free(&memory);
    free(r);
    return result;
}
