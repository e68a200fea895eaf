/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * 82371AB, function 3, and the GPE0 block that the board adds.
 *
 * PM1: timer carry, power button, sleep button and RTC status; the SCI is up while an enabled one is set and SCI_EN is on,
 * or a GPE is. The PM timer counts 3.579545 MHz of virtual time in 24 bits; its carry is the top bit changing. Writing
 * SLP_EN with type 0 is S5 (what the DSDT says), 1 is S3. B2h is the SMI command port: without SMM, the commands by which
 * ACPI is enabled and disabled are done here. SMBus base is kept; there is nothing on it.
 * Sources: Intel 82371AB data sheet 290562; ACPI 6.4 section 4.8.
 */
#include "device/chipset/piix4_pm.h"

#include <stdlib.h>
#include <string.h>

#include "base/bits.h"
#include "base/clock.h"
#include "base/error.h"
#include "base/loop.h"

enum { PMBASE = 0x40, PMREGMISC = 0x80, SMBBASE = 0x90, PM_BYTES = 64 };
enum { PM1_TIMER = 1 << 0, PM1_GLOBAL = 1 << 5, PM1_POWER = 1 << 8, PM1_SLEEP = 1 << 9, PM1_RTC = 1 << 10, PM1_WAKE = 1 << 15 };
enum { CNT_SCI_EN = 1, CNT_SLP_EN = 1 << 13 };
#define PM_TIMER_HZ 3579545ull

struct piix4_pm {
    struct pci_device pci;
    struct piix4_pm_config config;
    struct memory_range *pm, *gpe, *smi;
    struct timer *timer;
    uint64_t carry_seen;             /* half periods of the timer that raised TMR_STS */
    uint16_t status, enable, control;
    uint16_t gpe_status, gpe_enable;
    uint8_t apmc, apms, sci_level;
    uint8_t other[PM_BYTES];         /* registers without effect */
};

static uint64_t ticks_now(void) { return muldiv64((uint64_t)clock_virtual_ns(), PM_TIMER_HZ, NS_PER_SECOND); }

static void update(struct piix4_pm *s)
{
    uint64_t half = ticks_now() >> 23;
    bool sci;

    if (half != s->carry_seen) {
        s->carry_seen = half;
        s->status |= PM1_TIMER;
    }
    sci = (s->control & CNT_SCI_EN && s->status & s->enable & (PM1_TIMER | PM1_GLOBAL | PM1_POWER | PM1_SLEEP | PM1_RTC)) ||
          (s->gpe_status & s->gpe_enable);
    if (sci != s->sci_level) {
        s->sci_level = sci;
        irq_set(&s->config.sci, sci);
    }
    if (s->enable & PM1_TIMER && !(s->status & PM1_TIMER)) timer_arm_ns(s->timer, (int64_t)muldiv64((half + 1) << 23, NS_PER_SECOND, PM_TIMER_HZ) + 1);
    else timer_disarm(s->timer);
}

static void carry(void *opaque) { update(opaque); }

void acpi_power_button(struct device *d)
{
    struct piix4_pm *s = (struct piix4_pm *)d;

    s->status |= PM1_POWER;
    update(s);
}

void acpi_gpe_raise(struct device *d, unsigned bit)
{
    struct piix4_pm *s = (struct piix4_pm *)d;

    s->gpe_status |= (uint16_t)(1u << bit);
    update(s);
}

static void control_write(struct piix4_pm *s, uint16_t value)
{
    s->control = value & ~CNT_SLP_EN;
    if (!(value & CNT_SLP_EN)) return;
    if ((value >> 10 & 7) == 0 && s->config.power_off) s->config.power_off(s->config.opaque);
    if ((value >> 10 & 7) == 1 && s->config.suspend) {
        s->status |= PM1_WAKE;
        s->config.suspend(s->config.opaque);
    }
}

/* ---- registers, seen as bytes ---- */

static uint8_t byte_read(struct piix4_pm *s, unsigned at)
{
    switch (at) {
    case 0: case 1: return s->status >> 8 * at;
    case 2: case 3: return s->enable >> 8 * (at - 2);
    case 4: case 5: return s->control >> 8 * (at - 4);
    default: return s->other[at];
    }
}

static uint64_t pm_read(void *opaque, uint64_t offset, unsigned size)
{
    struct piix4_pm *s = opaque;
    uint64_t value = 0;

    update(s);
    if (offset >= 8 && offset + size <= 12) return (ticks_now() & 0xffffff) >> 8 * (offset - 8);
    for (unsigned n = 0; n < size; n++) value |= (uint64_t)byte_read(s, offset + n) << 8 * n;
    return value;
}

static void pm_write(void *opaque, uint64_t offset, uint64_t value, unsigned size)
{
    struct piix4_pm *s = opaque;
    uint8_t bytes[6];
    bool control = offset < 6 && offset + size > 4;

    update(s);
    for (unsigned n = 0; n < 6; n++) bytes[n] = n < 2 ? 0 : byte_read(s, n);
    for (unsigned n = 0; n < size; n++) {
        if (offset + n < 6) bytes[offset + n] = value >> 8 * n;
        else if (offset + n < PM_BYTES && (offset + n < 8 || offset + n >= 12)) s->other[offset + n] = value >> 8 * n;
    }
    s->status &= ~(bytes[0] | bytes[1] << 8);
    s->enable = bytes[2] | bytes[3] << 8;
    if (control) control_write(s, bytes[4] | bytes[5] << 8);
    update(s);
}

static const struct io_ops pm_io = { pm_read, pm_write, 1, 4 };

static uint64_t gpe_read(void *opaque, uint64_t offset, unsigned size)
{
    struct piix4_pm *s = opaque;

    return (s->gpe_status | (uint32_t)s->gpe_enable << 16) >> 8 * offset;
}

static void gpe_write(void *opaque, uint64_t offset, uint64_t value, unsigned size)
{
    struct piix4_pm *s = opaque;

    for (unsigned n = 0; n < size; n++) {
        unsigned at = offset + n, byte = value >> 8 * n & 0xff, shift = 8 * (at & 1);
        if (at < 2) s->gpe_status &= ~(byte << shift);
        else s->gpe_enable = (s->gpe_enable & ~(0xff << shift)) | byte << shift;
    }
    update(s);
}

static const struct io_ops gpe_io = { gpe_read, gpe_write, 1, 4 };

static uint64_t smi_read(void *opaque, uint64_t offset, unsigned size)
{
    struct piix4_pm *s = opaque;

    return offset ? s->apms : s->apmc;
}

static void smi_write(void *opaque, uint64_t offset, uint64_t value, unsigned size)
{
    struct piix4_pm *s = opaque;

    if (offset) {
        s->apms = value;
        return;
    }
    s->apmc = value;
    if (s->apmc == 0xf1) s->control |= CNT_SCI_EN;
    if (s->apmc == 0xf0) s->control &= ~CNT_SCI_EN;
    update(s);
}

static const struct io_ops smi_io = { smi_read, smi_write, 1, 1 };

/* ---- configuration space ---- */

static void place(struct piix4_pm *s)
{
    uint16_t base = (s->pci.config[PMBASE] | s->pci.config[PMBASE + 1] << 8) & 0xffc0;
    bool on = s->pci.config[PMREGMISC] & 1 && base;

    memory_map_begin(s->config.ports);
    if (on) memory_range_move(s->pm, base);
    memory_range_enable(s->pm, on);
    memory_map_end(s->config.ports);
}

static void config_write(struct pci_device *d, unsigned offset, uint32_t value, unsigned size)
{
    if (offset <= PMREGMISC && offset + size > PMBASE) place((struct piix4_pm *)d);
}

static void piix4_pm_reset(struct device *d)
{
    struct piix4_pm *s = (struct piix4_pm *)d;

    memset(s->pci.config + 0x40, 0, 0xc0);
    s->pci.config[PMBASE] = s->pci.config[SMBBASE] = 1;
    s->pci.config[0x5b] = 0;
    s->status = s->enable = s->control = s->gpe_status = s->gpe_enable = 0;
    s->apmc = s->apms = 0;
    memset(s->other, 0, sizeof s->other);
    s->carry_seen = ticks_now() >> 23;
    place(s);
    update(s);
}

static void piix4_pm_destroy(struct device *d)
{
    struct piix4_pm *s = (struct piix4_pm *)d;

    memory_range_remove(s->pm);
    memory_range_remove(s->gpe);
    memory_range_remove(s->smi);
    timer_free(s->timer);
    free(s);
}

static const struct state_field piix4_pm_state[] = {
    STATE_ARRAY(struct piix4_pm, pci.config), STATE_FIELD(struct piix4_pm, carry_seen), STATE_FIELD(struct piix4_pm, status),
    STATE_FIELD(struct piix4_pm, enable), STATE_FIELD(struct piix4_pm, control), STATE_FIELD(struct piix4_pm, gpe_status),
    STATE_FIELD(struct piix4_pm, gpe_enable), STATE_FIELD(struct piix4_pm, apmc), STATE_FIELD(struct piix4_pm, apms),
    STATE_ARRAY(struct piix4_pm, other), STATE_END,
};

static void piix4_pm_after_load(struct device *d)
{
    place((struct piix4_pm *)d);
    update((struct piix4_pm *)d);
}

static const struct pci_device_ops piix4_pm_ops = {
    .device = { "PIIX4_PM", "82371AB power management", piix4_pm_reset, piix4_pm_destroy, piix4_pm_state, piix4_pm_after_load, NULL },
    .config_write = config_write,
};

struct device *piix4_pm_new(const struct piix4_pm_config *config, struct error *err)
{
    struct piix4_pm *s = calloc(1, sizeof *s);

    if (!s) {
        error_set(err, "PIIX4 power management: out of memory");
        return NULL;
    }
    s->config = *config;
    if (pci_device_init(&s->pci, &piix4_pm_ops, config->bus, config->devfn, 0x8086, 0x7113, 0x06800003, err) < 0) {
        free(s);
        return NULL;
    }
    s->pci.config[6] = 0x80;                           /* PCISTS: fast back-to-back, medium DEVSEL# timing */
    s->pci.config[7] = 2;
    s->pci.config[0x3d] = 1;                           /* INTA#, which carries nothing: the SCI is IRQ 9 */
    s->pci.writable[PMBASE] = 0xc0;
    s->pci.writable[PMBASE + 1] = 0xff;
    memset(s->pci.writable + 0x44, 0xff, 0x40);
    s->pci.writable[PMREGMISC] = 1;
    s->pci.writable[SMBBASE] = 0xf0;
    s->pci.writable[SMBBASE + 1] = s->pci.writable[0xd2] = 0xff;
    s->timer = timer_new(TIMER_VIRTUAL, carry, s);
    memory_map_begin(config->ports);
    s->pm = memory_map_add_io(config->ports, "acpi-pm", 0, PM_BYTES, &pm_io, s, 3);
    memory_range_enable(s->pm, false);
    s->gpe = memory_map_add_io(config->ports, "acpi-gpe0", config->gpe_base, 4, &gpe_io, s, 2);
    s->smi = memory_map_add_io(config->ports, "apm", 0xb2, 2, &smi_io, s, 2);
    memory_map_end(config->ports);
    piix4_pm_reset(&s->pci.device);
    return &s->pci.device;
}
