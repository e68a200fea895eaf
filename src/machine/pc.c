/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The board: an i440FX/PIIX3 PC as QEMU's -M pc has it. This is all of it:
 *
 *   RAM            0..3 GiB, rest from 4 GiB        firmware  below 4 GiB (ROM, or one or two flash chips), last 128 KiB below 1 MiB
 *   8259 pair      20h A0h 4D0h                     I/O APIC  FEC00000h        local APICs FEE00000h
 *   8237 pair      0h C0h 80h                       HPET      FED00000h
 *   8254 + port 61 40h IRQ 0                        MC146818  70h IRQ 8        FERR# F0h IRQ 13
 *   i8042          60h 64h IRQ 1, 12                port 92   A20, reset
 *   82078          3F0h IRQ 6 DMA 2, if there is a floppy drive
 *   16550          3F8h 2F8h 3E8h 2E8h IRQ 4 3 4 3  fw_cfg    510h             debug console 402h, exit port 501h
 *   PCI 00:00.0 8086:1237 i440FX host bridge, CF8h CFCh
 *       00:01.0 8086:7000 PIIX3 ISA bridge, PIRQ A-D, reset CF9h
 *       00:01.1 8086:7010 PIIX3 IDE, 1F0h IRQ 14, 170h IRQ 15
 *       00:01.3 8086:7113 PIIX4 power management, 600h, SCI IRQ 9
 *       00:02.0 1234:1111 VGA (or bochs-display), A0000h, 3B0h-3DFh, 1CEh
 */
#include <stdlib.h>
#include <stdio.h>
#include <string.h>

#include "base/bits.h"
#include "base/error.h"
#include "base/log.h"
#include "bus/pci.h"
#include "chardev/chardev.h"
#include "device/chipset/acpi_pcihp.h"
#include "device/dma/i8237.h"
#include "device/firmware/debugcon.h"
#include "device/input/i8042.h"
#include "device/input/port92.h"
#include "device/irqchip/apic_bus.h"
#include "device/serial/ns16550.h"
#include "device/timer/hpet.h"
#include "device/timer/i8254.h"
#include "device/timer/mc146818.h"
#include "device/timer/port61.h"
#include "display/display.h"
#include "display/sdl.h"
#include "display/vnc.h"
#include "machine/pc_private.h"

void pc_device_add(struct machine *m, struct device *d)
{
    d->next = m->devices;
    m->devices = d;
}

/* Notes where the device is (if anybody asks) and puts it on the list. */
static int add(struct machine *m, struct device **where, struct device *d)
{
    if (where) *where = d;
    if (!d) return -1;
    pc_device_add(m, d);
    return 0;
}

static void a20_set(void *opaque, bool enabled)
{
    struct machine *m = opaque;

    m->a20_masked = !enabled;
    memory_range_enable(m->a20_alias, !enabled);
}

static void reset_request(void *opaque)
{
    machine_request_reset(opaque, CAUSE_GUEST_RESET);
}

static void quit_request(void *opaque, int status)
{
    machine_request_quit(opaque, status, CAUSE_GUEST_SHUTDOWN);
}

static void rtc_changed(void *opaque, int64_t offset_s)
{
    struct machine *m = opaque;
    unsigned number = m->vcpu_count;             /* its place among those without an id, after the processors */

    for (const struct device *d = m->rtc->next; d; d = d->next) number += !d->id;
    machine_event(m, "RTC_CHANGE", json_pack("{s:I, s:o}", "offset", (json_int_t)offset_s, "qom-path", json_sprintf("/machine/unattached/device[%u]", number)));
}

static int timers_create(struct machine *m, struct error *err)
{
    struct hpet_config hpet = { m->memory,        HPET_DEFAULT_BASE, pc_gsi(m),
                                pc_isa_irq(m, 0), pc_isa_irq(m, 8),  pc_msi(m) };
    struct i8254_config pit = { m->ports, 0x40, hpet.irq0 };
    struct mc146818_config rtc = {
        .ports = m->ports, .port = 0x70, .irq = hpet.irq8, .date_s = m->config.rtc_date_s
    };
    struct port61_config port61 = { m->ports, NULL };

    if (m->config.has_hpet && add(m, &m->hpet, hpet_new(&hpet, err)) < 0) return -1;
    if (m->hpet) {
        pit.out0 = (struct irq_line){ hpet_legacy_irq_set, m->hpet, 0 };
        rtc.irq = (struct irq_line){ hpet_legacy_irq_set, m->hpet, 8 };
    }
    /* An engine with its own interrupt controllers has its own PIT too. */
    if (!m->has_irqchip && add(m, &m->pit, i8254_new(&pit, err)) < 0) return -1;
    port61.pit = m->pit;
    rtc.base = m->config.rtc_base == RTC_UTC         ? MC146818_UTC
               : m->config.rtc_base == RTC_LOCALTIME ? MC146818_LOCALTIME
                                                     : MC146818_DATE;
    rtc.clock = m->config.rtc_clock == RTC_CLOCK_HOST ? MC146818_CLOCK_HOST
                : m->config.rtc_clock == RTC_CLOCK_RT ? MC146818_CLOCK_RT
                                                      : MC146818_CLOCK_VM;
    rtc.slew = m->config.rtc_slew;
    rtc.changed = rtc_changed;
    rtc.opaque = m;
    if (add(m, NULL, port61_new(&port61, err)) < 0) return -1;
    return add(m, &m->rtc, mc146818_new(&rtc, err));
}

static int input_create(struct machine *m, struct error *err)
{
    struct port92_config port92 = { m->ports, m, a20_set, reset_request };
    struct i8042_config i8042 = { m->ports, pc_isa_irq(m, 1), pc_isa_irq(m, 12), NULL };

    if (add(m, &m->port92, port92_new(&port92, err)) < 0) return -1;
    i8042.port92 = m->port92;
    if (add(m, &m->keyboard, i8042_new(&i8042, err)) < 0) return -1;
    return pc_input_create(m, err);
}

static int chardev_make(struct machine *m, struct chardev **c, const char *option, const char *spec, const char *label, struct error *err)
{
    struct error why = { "" };

    *c = chardev_open(m->chardevs, spec, &why);
    chardev_label_set(*c, label);
    if (*c || !why.text[0]) return 0;
    return error_set(err, "%s %s: %s", option, spec, why.text);
}

static int serials_create(struct machine *m, struct error *err)
{
    static const struct { uint16_t port; uint8_t irq; } com[CONFIG_SERIALS] = {
        { 0x3f8, 4 }, { 0x2f8, 3 }, { 0x3e8, 4 }, { 0x2e8, 3 },
    };

    for (unsigned i = 0; i < m->config.serial_count; i++) {
        struct ns16550_config c = { .ports = m->ports, .port = com[i].port };
        char label[24];

        if (!m->config.serial[i] || !strcmp(m->config.serial[i], "none")) continue;
        snprintf(label, sizeof(label), "serial%u", i);
        if (chardev_make(m, &m->serial[i], m->config.serial_id[i] ? "-device isa-serial" : "-serial", m->config.serial[i], label, err) < 0) return -1;
        c.irq = pc_isa_irq(m, com[i].irq);
        c.backend = m->serial[i];
        if (add(m, NULL, ns16550_new(&c, err)) < 0) return -1;
        m->devices->id = m->config.serial_id[i];
    }
    return 0;
}

static int debug_ports_create(struct machine *m, struct error *err)
{
    struct debugcon_config con = { .ports = m->ports, .port = 0x402 };
    struct isa_debug_exit_config ex = { m->ports, m->config.isa_debug_exit_port, m, NULL };

    if (m->config.debugcon) {
        if (chardev_make(m, &m->debugcon, "-debugcon", m->config.debugcon, "debugcon", err) < 0) return -1;
        con.backend = m->debugcon;
        if (add(m, NULL, debugcon_new(&con, err)) < 0) return -1;
    }
    if (!m->config.isa_debug_exit) return 0;
    ex.exit = quit_request;
    return add(m, NULL, isa_debug_exit_new(&ex, err));
}

static int isa_create(struct machine *m, struct error *err)
{
    struct i8237_config dma = { m->ports, m->memory };

    if (timers_create(m, err) < 0 || input_create(m, err) < 0 || serials_create(m, err) < 0) return -1;
    if (add(m, &m->dma, i8237_new(&dma, err)) < 0) return -1;
    return debug_ports_create(m, err);
}

/* Images are opened last of all: nothing can refuse the command line after one was locked or made. */
static int drives_open(struct machine *m, struct error *err)
{
    for (unsigned i = 0; i < m->config.drive_count; i++) {
        const struct drive_config *d = &m->config.drive[i];

        if (d->is_node && pc_node_open(m, i, err) < 0) return -1;
        if (d->is_node || !d->open.filename) continue;
        m->drive[i] = block_open(&d->open, err);
        if (!m->drive[i] || pc_throttle_apply(m, i, err) < 0) return error_prefix(err, "%s", d->id ? d->id : "drive");
    }
    return 0;
}

int pc_create(struct machine *m, struct error *err)
{
    m->is_direct = m->config.kernel && !boot_bios_is_wanted(m->config.kernel, m->config.bios || m->config.option_rom_count || pc_flash_is_there(m));
    if (pc_ram_create(m, err) < 0) return -1;
    if (m->is_direct ? pc_direct_boot_load(m, err) < 0 : !pc_flash_is_there(m) && pc_bios_load(m, err) < 0) return -1;
    if (pc_irqchip_create(m, err) < 0 || pc_ferr_create(m, err) < 0) return -1;
    if (isa_create(m, err) < 0 || pc_fw_cfg_create(m, err) < 0) return -1;
    if (pc_networks_create(m, err) < 0 || drives_open(m, err) < 0) return -1;
    if (pc_flash_create(m, err) < 0 || pc_floppy_create(m, err) < 0) return -1;
    pc_disks_inspect(m);
    if (pc_pci_create(m, err) < 0 || pc_display_create(m, err) < 0) return -1;
    pc_networks_check(m);
    if (m->pcihp) acpi_pcihp_removable_set(m->pcihp, pc_slots_removable(m));
    return pc_boot_order_set(m, err) < 0 ? -1 : pc_acpi_create(m, err);
}

void pc_reset(struct machine *m)
{
    struct error err = { "" };

    if (m->config.is_empty) return;
    pc_hotplug_reset(m);
    memory_map_begin(m->memory);
    memory_map_begin(m->ports);
    for (struct device *d = m->devices; d; d = d->next) device_reset(d);
    pc_pci_reset(m);
    m->boot_once_used = m->resets++ > 0;
    pc_cmos_fill(m);
    if (pc_boot_order_set(m, &err) < 0) log_message("%s", err.text);
    memory_map_end(m->ports);
    memory_map_end(m->memory);
    if (m->boot) pc_direct_boot_place(m);
    vcpus_reset(m);
}

void pc_destroy(struct machine *m)
{
    for (unsigned i = 0; i < m->config.drive_count; i++)
        if (m->drive[i]) block_drain(m->drive[i]);
    sdl_window_free(m->window);
    pc_web_destroy(m);
    pc_curses_destroy(m);
    vnc_server_free(m->vnc);
    for (struct device *d = m->devices, *next; d; d = next) {
        next = d->next;
        device_destroy(d);
    }
    m->devices = NULL;
    pc_hotplug_destroy(m);
    pc_networks_destroy(m);
    display_free(m->display);
    pc_input_destroy(m);
    if (m->pci) pci_bus_free(m->pci);
    if (m->apic_bus) apic_bus_free(m->apic_bus);
    pc_drives_close(m);
    pc_throttle_destroy(m);
    for (unsigned i = 0; i < CONFIG_SERIALS; i++)
        if (m->serial[i]) chardev_close(m->serial[i]);
    if (m->debugcon) chardev_close(m->debugcon);
    pc_chardevs_close(m);
    pc_clipboard_destroy(m);
    pc_hotplug_memory_free(m);
    boot_free(m->boot);
    acpi_free(&m->acpi);
    smbios_free(&m->smbios);
    pc_memory_destroy(m);
}
