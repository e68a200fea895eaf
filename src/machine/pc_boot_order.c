/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * fw_cfg's file bootorder: devices by their OpenFirmware paths, one a line, the first is started first. What has bootindex= comes by that;
 * a kernel for the firmware comes before all. UEFI does not read CMOS, so for it -boot order= is spelled out as well. With strict the list ends
 * in HALT: nothing else is tried.
 * Sources: SeaBIOS, docs/Runtime_config.md and src/boot.c; OVMF, QemuBootOrderLib (the paths it knows).
 */
#include <stdio.h>
#include <string.h>

#include "base/bits.h"
#include "base/error.h"
#include "bus/pci.h"
#include "bus/usb.h"
#include "device/firmware/fw_cfg.h"
#include "machine/pc_private.h"

enum { PATH_BYTES = 96, PLACES = CONFIG_DRIVES + CONFIG_NICS + CONFIG_VIRTIO + CONFIG_OPTION_ROMS };

struct place { char path[PATH_BYTES]; unsigned rank; char letter; };
struct order { struct place place[PLACES]; unsigned count; };

static void slot_text(const struct device *d, const char *what, char *to, size_t size)
{
    int devfn = ((const struct pci_device *)d)->devfn;

    if (devfn & 7) snprintf(to, size, "/pci@i0cf8/%s@%x,%x", what, devfn >> 3, devfn & 7);
    else snprintf(to, size, "/pci@i0cf8/%s@%x", what, devfn >> 3);
}

static struct place *place_add(struct order *o, unsigned rank, char letter)
{
    struct place *p;

    if (o->count == PLACES) return NULL;
    p = &o->place[o->count++];
    p->rank = rank;
    p->letter = letter;
    return p;
}

/* ---- drives ---- */

/* The virtio device that drive n belongs to, and its number there for SCSI. */
static const struct virtio_device_config *virtio_of(const struct machine *m, unsigned n, struct device **device, unsigned *unit)
{
    for (unsigned i = 0; i < m->config.virtio_count; i++) {
        const struct virtio_device_config *c = &m->config.virtio[i];

        *device = m->virtio[i];
        if (!*device) continue;
        if (c->kind == VIRTIO_KIND_BLK && c->drive == n) return c;
        for (*unit = 0; c->kind == VIRTIO_KIND_SCSI && *unit < c->scsi.unit_count; ++*unit)
            if (c->scsi_drive[*unit] == n) return c;
    }
    return NULL;
}

/* "1.2" is port 2 of the hub at port 1. */
static void usb_path(const struct usb_device *d, char *to)
{
    const char *port = d->port->path;
    size_t at;

    slot_text(d->port->bus->controller, "usb", to, PATH_BYTES);
    for (const char *dot; (dot = strchr(port, '.')); port = dot + 1) {
        at = strlen(to);
        snprintf(to + at, PATH_BYTES - at, "/hub@%.*s", (int)(dot - port), port);
    }
    at = strlen(to);
    snprintf(to + at, PATH_BYTES - at, "/storage@%s/channel@0/disk@0,0", port);
}

/* false: the firmware has no path for it. */
static bool drive_path(const struct machine *m, unsigned n, char *to)
{
    const struct drive_config *d = &m->config.drive[n];
    const struct virtio_device_config *v;
    struct device *device;
    char slot[40];
    unsigned unit = 0;

    switch (d->interface) {
    case DRIVE_IF_IDE: snprintf(to, PATH_BYTES, "/pci@i0cf8/ide@1,1/drive@%x/disk@%x", d->index >> 1 & 1, d->index & 1); return true;
    case DRIVE_IF_FLOPPY: snprintf(to, PATH_BYTES, "/pci@i0cf8/isa@1/fdc@03f0/floppy@%x", d->index); return true;
    case DRIVE_IF_AHCI:
        slot_text(m->ahci[d->ahci], "pci8086,2922", slot, sizeof(slot));
        snprintf(to, PATH_BYTES, "%s/drive@%x/disk@0", slot, d->index);
        return true;
    case DRIVE_IF_VIRTIO: case DRIVE_IF_SCSI:
        if (!(v = virtio_of(m, n, &device, &unit))) return false;
        slot_text(device, "scsi", slot, sizeof(slot));
        if (v->kind == VIRTIO_KIND_BLK) snprintf(to, PATH_BYTES, "%s/disk@0,0", slot);
        else snprintf(to, PATH_BYTES, "%s/channel@0/disk@%x,%x", slot, v->scsi.unit[unit].target, v->scsi.unit[unit].lun);
        return true;
    case DRIVE_IF_USB:
        if (!pc_usb_of_drive(m, n)) return false;
        usb_path(pc_usb_of_drive(m, n), to);
        return true;
    default: return false;
    }
}

static void places_find(const struct machine *m, struct order *o)
{
    char path[PATH_BYTES], slot[40];
    struct place *p;

    for (unsigned n = 0; n < m->config.drive_count; n++) {
        const struct drive_config *d = &m->config.drive[n];

        if (!drive_path(m, n, path)) continue;
        p = place_add(o, d->boot_rank, d->interface == DRIVE_IF_FLOPPY ? 'a' : d->media == MEDIA_CDROM ? 'd' : 'c');
        if (p) memcpy(p->path, path, sizeof(path));
    }
    for (unsigned n = 0; n < m->nic_count; n++) {
        if (!m->nic[n].backend || !m->nic[n].device || !(p = place_add(o, m->nic[n].boot_rank, 'n'))) continue;
        slot_text(m->nic[n].device, "ethernet", slot, sizeof(slot));
        snprintf(p->path, sizeof(p->path), "%s/ethernet-phy@0", slot);
    }
    for (unsigned n = 0; n < m->config.option_rom_count; n++)
        if ((p = place_add(o, m->config.option_rom[n].boot_rank, 0)))
            snprintf(p->path, sizeof(p->path), "/rom@" CONFIG_OPTION_ROM_FOLDER "%s", config_option_rom_name(&m->config, n));
}

static int places_check(const struct order *o, struct error *err)
{
    for (unsigned i = 0; i < o->count; i++)
        for (unsigned k = 0; k < i; k++)
            if (o->place[i].rank && o->place[i].rank == o->place[k].rank)
                return error_set(err, "bootindex=%u is given twice; each number is one device's", o->place[i].rank - 1);
    return 0;
}

/* ---- the list ---- */

static size_t line_put(char *list, size_t at, size_t size, const char *line)
{
    return at + strlen(line) + 2 > size ? at : at + (size_t)snprintf(list + at, size - at, "%s\n", line);
}

static const struct place *next_rank(const struct order *o, unsigned above)
{
    const struct place *best = NULL;

    for (unsigned i = 0; i < o->count; i++)
        if (o->place[i].rank > above && (!best || o->place[i].rank < best->rank)) best = &o->place[i];
    return best;
}

int pc_boot_order_set(struct machine *m, struct error *err)
{
    bool has_kernel = m->config.kernel && !m->is_direct, is_uefi = m->config.bios || pc_flash_is_there(m);
    char list[PLACES * PATH_BYTES] = "";
    struct order o = { .count = 0 };
    size_t at = 0;

    places_find(m, &o);
    if (places_check(&o, err) < 0) return -1;
    if (has_kernel) at = line_put(list, at, sizeof(list), "/rom@" BOOT_BIOS_ROM);
    for (const struct place *p = next_rank(&o, 0); p; p = next_rank(&o, p->rank)) at = line_put(list, at, sizeof(list), p->path);
    for (const char *letter = m->config.boot_order; *letter && (m->config.boot_strict || is_uefi); letter++)
        for (unsigned i = 0; i < o.count; i++)
            if (o.place[i].letter == *letter && !o.place[i].rank) at = line_put(list, at, sizeof(list), o.place[i].path);
    if (m->config.boot_strict) at += (size_t)snprintf(list + at, sizeof(list) - at, "HALT");
    else if (!at && !fw_cfg_has_file(m->fw_cfg, "bootorder")) return 0;
    else if (!at) return fw_cfg_set_file(m->fw_cfg, "bootorder", list, 1, err);      /* those that were in it are gone */
    else list[--at] = 0;                               /* the last line has no end */
    return fw_cfg_set_file(m->fw_cfg, "bootorder", list, at + 1, err);
}
