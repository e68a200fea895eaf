/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * 82540EM: registers, interrupts, life. The rings are e1000_ring.c, EEPROM and PHY e1000_eeprom.c. Registers lie in an array; a table
 * says which can be written and which bits stay, a few have functions. What is not in the table reads 0.
 *
 * ITR is honoured: after an interrupt the next waits so many times 256 ns. The other delays (RDTR, RADV, TIDV, TADV) are taken as 0; a
 * batch of frames makes one interrupt in any case.
 * Limits: no wake-up, no manageability, no half duplex, statistics of good packets only.
 * Source: PCI/PCI-X Family of Gigabit Ethernet Controllers Software Developer's Manual, 317453.
 */
#include "device/net/e1000.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "base/error.h"
#include "base/log.h"
#include "base/loop.h"
#include "device/net/e1000_private.h"

enum { VENDOR_INTEL = 0x8086, DEVICE_82540EM = 0x100e, CLASS_REVISION = 0x02000003, INTERRUPT_PIN = 0x3d, MMIO_BYTES = 0x20000, IO_BYTES = 64,
       ITR_UNIT_NS = 256, ICR_ASSERTED = (int)0x80000000 };

static struct e1000 *of(struct device *d) { return container_of(d, struct e1000, pci.device); }

/* ---- interrupts ---- */

static void line_update(struct e1000 *s)
{
    uint32_t *icr = e1000_reg(s, ICR), itr = *e1000_reg(s, ITR) & 0xffff;
    bool up = *icr & *e1000_reg(s, IMS);

    if (up && !s->pci.intx_level) {
        if (timer_is_armed(s->itr_timer)) return;
        if (itr) timer_arm_ns(s->itr_timer, clock_virtual_ns() + (int64_t)itr * ITR_UNIT_NS);
    }
    pci_intx_set(&s->pci, up);
}

static void itr_over(void *opaque) { line_update(opaque); }

void e1000_cause(struct e1000 *s, uint32_t causes)
{
    *e1000_reg(s, ICR) |= causes;
    line_update(s);
}

static uint32_t icr_take(struct e1000 *s)
{
    uint32_t icr = *e1000_reg(s, ICR);

    if (icr & *e1000_reg(s, IMS)) icr |= (uint32_t)ICR_ASSERTED;
    *e1000_reg(s, ICR) = 0;
    line_update(s);
    return icr;
}

/* ---- registers ---- */

static void registers_reset(struct e1000 *s)
{
    uint8_t mac[8] = { 0 };

    memset(s->reg, 0, sizeof(s->reg));
    *e1000_reg(s, CTRL) = 0x00140240;
    *e1000_reg(s, STATUS) = 0x80080000 | 0x700 | STATUS_1000 | STATUS_FD;
    *e1000_reg(s, CTRL_EXT) = 0;
    *e1000_reg(s, PBA) = 0x00100030;
    *e1000_reg(s, LEDCTL) = 0x602;
    *e1000_reg(s, VET) = 0x8100;
    *e1000_reg(s, MANC) = 0x2300;
    memcpy(mac, s->config.mac, 6);
    mac[7] = 0x80;                                       /* address valid */
    memcpy(e1000_reg(s, RAL), mac, 8);
    memset(&s->eeprom_line, 0, sizeof(s->eeprom_line));
    e1000_transmit_reset(s);
    memset(&s->context, 0, sizeof(s->context));
    s->starved = s->filled = false;
    timer_disarm(s->itr_timer);
    e1000_phy_link(s, net_link_is_up(s->config.backend));
    line_update(s);
    net_resume(s->config.backend);
}

static const struct row {
    uint16_t first, last;                /* offsets */
    uint32_t writable;
    bool clears;                         /* a read clears it */
} rows[] = {
    { CTRL, CTRL, ~0u, false }, { CTRL_DUP, CTRL_DUP, ~0u, false }, { STATUS, STATUS, 0, false }, { EERD, EERD, ~0u, false }, { CTRL_EXT, CTRL_EXT, ~0u, false },
    { MDIC, MDIC, ~0u, false }, { FCAL, FCT, ~0u, false }, { VET, VET, 0xffff, false }, { ITR, ITR, 0xffff, false }, { IMS, IMS, ~0u, false },
    { RCTL, RCTL, ~0u, false }, { FCTTV, FCTTV, 0xffff, false }, { TCTL, TCTL, ~0u, false }, { TIPG, TIPG, ~0u, false }, { AIFS, AIFS, 0xffff, false },
    { LEDCTL, LEDCTL, ~0u, false }, { PBA, PBA, ~0u, false }, { FCRTL, FCRTH, ~0u, false }, { RDBAL, RDBAL, ~15u, false }, { RDBAH, RDBAH, ~0u, false },
    { RDLEN, RDLEN, 0xfff80, false }, { RDH, RDH, 0xffff, false }, { RDT, RDT, 0xffff, false }, { RDTR, RDTR, 0xffff, false }, { RXDCTL, RXDCTL, ~0u, false },
    { RADV, RADV, 0xffff, false }, { RSRPD, RSRPD, 0xfff, false }, { TDBAL, TDBAL, ~15u, false }, { TDBAH, TDBAH, ~0u, false }, { TDLEN, TDLEN, 0xfff80, false },
    { TDH, TDH, 0xffff, false }, { TDT, TDT, 0xffff, false }, { TIDV, TIDV, 0xffff, false }, { TXDCTL, TXDCTL, ~0u, false }, { TADV, TADV, 0xffff, false },
    { TSPMT, TSPMT, ~0u, false }, { CRCERRS, STATS_END - 4, 0, true }, { RXCSUM, RXCSUM, 0x7ff, false }, { MTA, MTA + 508, ~0u, false },
    { RAL, RAL + 124, ~0u, false }, { VFTA, VFTA + 508, ~0u, false }, { WUC, WUC, ~0u, false }, { WUFC, WUFC, ~0u, false }, { MANC, MANC, ~0u, false },
    { SWSM, SWSM, 3, false },
};

static const struct row *row_find(unsigned offset)
{
    for (unsigned i = 0; i < ARRAY_SIZE(rows); i++)
        if (offset >= rows[i].first && offset <= rows[i].last) return &rows[i];
    return NULL;
}

static uint64_t mmio_read(void *opaque, uint64_t offset, unsigned size)
{
    struct e1000 *s = opaque;
    const struct row *row;
    uint32_t value;

    switch (offset) {
    case ICR: return icr_take(s);
    case ICS: return *e1000_reg(s, ICR);
    case EECD: return e1000_eecd_read(s);
    default: break;
    }
    row = offset < REGISTERS ? row_find((unsigned)offset) : NULL;
    if (!row) {
        trace(TRACE_UNIMP, "e1000: read of %#llx\n", (unsigned long long)offset);
        return 0;
    }
    value = *e1000_reg(s, (unsigned)offset);
    if (row->clears) *e1000_reg(s, (unsigned)offset) = 0;
    return value;
}

static void ctrl_write(struct e1000 *s, uint32_t value)
{
    if (value & CTRL_RST) registers_reset(s);
    else *e1000_reg(s, CTRL) = *e1000_reg(s, CTRL_DUP) = value & 0x7fffffff;
}

static void receive_again(struct e1000 *s)
{
    if (!s->starved) return;
    s->starved = false;
    net_receive_ready(s->config.backend, 0);
}

static void mmio_write(void *opaque, uint64_t offset, uint64_t wide, unsigned size)
{
    struct e1000 *s = opaque;
    uint32_t value = (uint32_t)wide, *reg;
    const struct row *row;

    switch (offset) {
    case CTRL: case CTRL_DUP: ctrl_write(s, value); return;
    case EECD: e1000_eecd_write(s, value); return;
    case EERD: e1000_eerd_write(s, value); return;
    case MDIC: e1000_mdic_write(s, value); return;
    case ICR: *e1000_reg(s, ICR) &= ~value; line_update(s); return;
    case ICS: e1000_cause(s, value); return;
    case IMS: *e1000_reg(s, IMS) |= value; line_update(s); return;
    case IMC: *e1000_reg(s, IMS) &= ~value; line_update(s); return;
    default: break;
    }
    row = offset < REGISTERS ? row_find((unsigned)offset) : NULL;
    if (!row) {
        trace(TRACE_UNIMP, "e1000: write of %#x to %#llx\n", value, (unsigned long long)offset);
        return;
    }
    reg = e1000_reg(s, (unsigned)offset);
    *reg = (*reg & ~row->writable) | (value & row->writable);
    if (offset == TDT || offset == TCTL) e1000_transmit(s);
    if (offset == RDT || offset == RCTL) receive_again(s);
}

static const struct io_ops mmio_io = { mmio_read, mmio_write, 4, 4 };

/* IOADDR and IODATA: the same registers for those who cannot reach memory (13.3). */
static uint64_t io_read(void *opaque, uint64_t offset, unsigned size)
{
    struct e1000 *s = opaque;

    if (offset == 0) return s->io_address;
    return offset == 4 && s->io_address < MMIO_BYTES ? mmio_read(s, s->io_address & ~3u, 4) : 0;
}

static void io_write(void *opaque, uint64_t offset, uint64_t value, unsigned size)
{
    struct e1000 *s = opaque;

    if (offset == 0) s->io_address = (uint32_t)value;
    else if (offset == 4 && s->io_address < MMIO_BYTES) mmio_write(s, s->io_address & ~3u, value, 4);
}

static const struct io_ops io_io = { io_read, io_write, 4, 4 };

/* ---- life ---- */

static void link_changed(void *opaque, bool up)
{
    struct e1000 *s = opaque;

    e1000_phy_link(s, up);
    e1000_cause(s, ICR_LSC);
}

static void send_ready(void *opaque, unsigned queue) { e1000_transmit(opaque); }

static void reset(struct device *d)
{
    struct e1000 *s = of(d);

    s->io_address = 0;
    e1000_phy_reset(s);
    registers_reset(s);
}

static void destroy(struct device *d)
{
    struct e1000 *s = of(d);

    net_attach(s->config.backend, NULL);
    if (s->pci.bus) pci_device_remove(&s->pci);
    timer_free(s->itr_timer);
    loop_post_cancel(s);
    free(s);
}

static void info(struct device *d, void (*print)(void *opaque, const char *line), void *opaque)
{
    const struct e1000 *s = of(d);
    char line[160];

    snprintf(line, sizeof(line), "mac %02x:%02x:%02x:%02x:%02x:%02x, link %s, ICR %08x, IMS %08x, receive %u..%u, transmit %u..%u", s->config.mac[0],
             s->config.mac[1], s->config.mac[2], s->config.mac[3], s->config.mac[4], s->config.mac[5], net_link_is_up(s->config.backend) ? "up" : "down",
             s->reg[ICR / 4], s->reg[IMS / 4], s->reg[RDH / 4], s->reg[RDT / 4], s->reg[TDH / 4], s->reg[TDT / 4]);
    print(opaque, line);
}

static const struct state_field state[] = {
    STATE_ARRAY(struct e1000, pci.config), STATE_ARRAY(struct e1000, reg), STATE_FIELD(struct e1000, io_address), STATE_ARRAY(struct e1000, phy), STATE_END,
};

static const struct pci_device_ops ops = {
    .device = { .name = "e1000", .description = "Intel Gigabit Ethernet (82540EM)", .reset = reset, .destroy = destroy, .state = state, .info = info },
};

struct device *e1000_new(const struct nic_device_config *config, struct error *err)
{
    struct e1000 *s = calloc(1, sizeof(*s));
    struct net_frontend f = { "e1000", e1000_receive, e1000_received, send_ready, link_changed, NULL, s };

    if (!s) {
        error_set(err, "no memory for a network card");
        return NULL;
    }
    s->config = *config;
    if (pci_device_init(&s->pci, &ops, config->bus, config->devfn, VENDOR_INTEL, DEVICE_82540EM, CLASS_REVISION, err) < 0) {
        free(s);
        return NULL;
    }
    s->pci.device.id = config->id;
    s->pci.config[INTERRUPT_PIN] = 1;
    s->itr_timer = timer_new(TIMER_VIRTUAL, itr_over, s);
    pci_bar_add_io(&s->pci, 0, MMIO_BYTES, 0, &mmio_io, s, "e1000");
    pci_bar_add_io(&s->pci, 1, IO_BYTES, PCI_BAR_IO, &io_io, s, "e1000-io");
    if (config->rom) pci_rom_add(&s->pci, config->rom, config->rom_bytes);
    e1000_eeprom_fill(s);
    net_attach(config->backend, &f);
    reset(&s->pci.device);
    return &s->pci.device;
}
