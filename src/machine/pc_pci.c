/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The PCI side of the board: host bridge, PIIX3 and its IDE function, PIIX4 power management, VGA. INTx line n
 * of the bus (slot + pin) ends at PIRQ n - 1, as on QEMU's board and as SeaBIOS and the DSDT assume.
 */
#include <stdlib.h>
#include <string.h>

#include "base/bits.h"
#include "base/error.h"
#include "base/log.h"
#include "bus/pci.h"
#include "device/chipset/acpi_pcihp.h"
#include "device/chipset/i440fx.h"
#include "device/chipset/piix3.h"
#include "device/chipset/piix4_pm.h"
#include "device/storage/ahci.h"
#include "device/storage/fdc.h"
#include "device/storage/ide.h"
#include "machine/pc_private.h"

enum { DEVFN_PIIX3 = 1 << 3, DEVFN_IDE = 1 << 3 | 1, DEVFN_PM = 1 << 3 | 3 };
enum { SHADOW_START = 0xc0000 };

static int add(struct machine *m, struct device **where, struct device *d)
{
    if (where) *where = d;
    if (!d) return -1;
    pc_device_add(m, d);
    return 0;
}

/* ---- what the chips call ---- */

static void intx_set(void *opaque, int n, int level)
{
    piix3_pirq_set(((struct machine *)opaque)->piix3, (n + 3) & 3, level);
}

static uint8_t reset_control_read(void *opaque)
{
    return piix3_reset_control_read(((struct machine *)opaque)->piix3);
}

static void reset_control_write(void *opaque, uint8_t value)
{
    piix3_reset_control_write(((struct machine *)opaque)->piix3, value);
}

static void reset_request(void *opaque)
{
    machine_request_reset(opaque, CAUSE_GUEST_RESET);
}

static void power_off(void *opaque)
{
    machine_request_shutdown(opaque, "the guest entered S5");
}

void pc_power_button(struct machine *m)
{
    if (m->pm) acpi_power_button(m->pm);
}

void pc_started(struct machine *m)
{
    pc_io_errors_forget(m);
    if (m->ide) ide_retry(m->ide);
    if (m->fdc) fdc_retry(m->fdc);
    for (unsigned i = 0; i < m->config.ahci_count; i++)
        if (m->ahci[i]) ahci_retry(m->ahci[i]);
    pc_virtio_started(m);
    pc_usb_started(m);
    pc_networks_started(m);
}

void pc_stopped(struct machine *m)
{
    pc_networks_stopped(m);
}

static void hotplug_notify(void *opaque)
{
    acpi_gpe_raise(((struct machine *)opaque)->pm, ACPI_PCIHP_GPE);
}

/* ---- creation ---- */

static int chipset_create(struct machine *m, struct error *err)
{
    struct i440fx_config host = {
        .bus = m->pci,
        .memory = m->memory,
        .ports = m->ports,
        .shadow = (uint8_t *)m->ram.hva + SHADOW_START,
        .rom = m->isa_bios,
        .rom_bytes = m->isa_bios_bytes,
        .opaque = m,
        .reset_control_read = reset_control_read,
        .reset_control_write = reset_control_write,
    };
    struct piix3_config piix3 = { .bus = m->pci, .devfn = DEVFN_PIIX3, .opaque = m, .reset = reset_request };
    struct piix4_pm_config pm = { .bus = m->pci,
                                  .devfn = DEVFN_PM,
                                  .ports = m->ports,
                                  .gpe_base = 0xafe0,
                                  .sci = pc_isa_irq(m, 9),
                                  .opaque = m,
                                  .power_off = power_off };
    struct acpi_pcihp_config hotplug = { .ports = m->ports, .opaque = m, .notify = hotplug_notify, .eject = pc_slot_eject };

    for (unsigned irq = 3; irq < 16; irq++) piix3.irq[irq] = pc_isa_irq(m, irq);
    if (add(m, NULL, i440fx_new(&host, err)) < 0 || add(m, &m->piix3, piix3_new(&piix3, err)) < 0) return -1;
    if (!m->config.has_acpi) return 0;
    return add(m, &m->pm, piix4_pm_new(&pm, err)) < 0 ? -1 : add(m, &m->pcihp, acpi_pcihp_new(&hotplug, err));
}

static struct ide_drive_config drive_config(struct machine *m, unsigned i)
{
    const struct drive_config *d = &m->config.drive[i];

    return (struct ide_drive_config){
        .kind = d->media == MEDIA_CDROM ? IDE_CDROM : IDE_DISK, .node = m->drive[i], .serial = d->serial, .identity = d->identity,
        .write_cache = pc_write_cache(m, i), .on_error = pc_error_policy(m, i), .tray = pc_tray_watch(m, i),
    };
}

int pc_ahci_create(struct machine *m, struct error *err)
{
    for (unsigned n = 0; n < m->config.ahci_count; n++) {
        struct ahci_config c = { .bus = m->pci, .devfn = m->config.ahci[n].devfn, .memory = m->memory, .id = m->config.ahci[n].id };

        for (unsigned i = 0; i < m->config.drive_count; i++)
            if (m->config.drive[i].interface == DRIVE_IF_AHCI && m->config.drive[i].ahci == n) c.drive[m->config.drive[i].index] = drive_config(m, i);
        if (add(m, &m->ahci[n], ahci_new(&c, err)) < 0) return -1;
    }
    return 0;
}

static int ide_create(struct machine *m, struct error *err)
{
    struct ide_config c = { .bus = m->pci, .devfn = DEVFN_IDE, .memory = m->memory, .ports = m->ports,
                            .irq = { pc_isa_irq(m, 14), pc_isa_irq(m, 15) } };

    for (unsigned i = 0; i < m->config.drive_count; i++) {
        const struct drive_config *d = &m->config.drive[i];

        if (d->interface != DRIVE_IF_IDE || d->index < 0 || d->index > 3) continue;
        if (c.drive[d->index].kind != IDE_NONE)
            return error_set(
                err, "%s: IDE drive %d was given twice; use another index=", d->id ? d->id : "drive", d->index);
        c.drive[d->index] = drive_config(m, i);
    }
    return add(m, &m->ide, ide_new(&c, err));
}

int pc_pci_create(struct machine *m, struct error *err)
{
    struct pci_bus_config bus = { .memory = m->memory, .ports = m->ports, .msi = pc_msi(m) };

    for (int n = 0; n < 4; n++) bus.intx[n] = (struct irq_line){ intx_set, m, n };
    m->pci = pci_bus_new(&bus);
    if (!m->pci) return error_set(err, "no memory for the PCI bus");
    if (chipset_create(m, err) < 0 || ide_create(m, err) < 0) return -1;
    return pc_vga_create(m, err) < 0 || pc_usb_create(m, err) < 0 ? -1 : pc_virtio_create(m, err);
}

/* There is no SMM: firmware finds APMC_EN set, as if its SMI handler were in place already (as QEMU without SMM
 * does). */
void pc_pci_reset(struct machine *m)
{
    enum { DEVACTB_HIGH = 0x5b, APMC_EN = 2 };

    pci_bus_reset(m->pci);
    if (m->pm) pci_bus_device(m->pci, DEVFN_PM)->config[DEVACTB_HIGH] |= APMC_EN;
}
