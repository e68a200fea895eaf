/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * RTL8139C+: registers, EEPROM, PHY, timer, life. What moves frames is rtl8139_ring.c. Registers are bytes that may be reached one, two
 * or four at a time; a table says what they are after reset and which bits can be written, those that do something have a case below.
 *
 * Limits: no wake-up, no CardBus functions, one transmit priority, no high-priority ring; the EEPROM cannot be written.
 * Sources: Realtek RTL8139C+ data sheet (rev. 1.6), RTL8139D(L) data sheet; 93C46 (Microwire).
 */
#include "device/net/rtl8139.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "base/error.h"
#include "base/log.h"
#include "base/loop.h"
#include "device/net/rtl8139_private.h"

enum { REALTEK = 0x10ec, RTL8139 = 0x8139, REVISION = 0x20, BAR_BYTES = 256, INTERRUPT_PIN = 0x3d, TICK_NS = 30 /* 33 MHz */ };
enum { MODE_EEPROM = 0x80, MODE_RESET = 0x40, MODE_UNLOCKED = 0xc0, MODE_MASK = 0xc0, EECS = 8, EESK = 4, EEDI = 2, COMMAND_BITS = 9, COMMAND_READ = 6 };
enum { BMSR_LINK = 4, MSR_LINKB = 4, MSR_IDLE = 0xd0, BMCR_RESET = 0x8000 };

static struct rtl8139 *of(struct device *d) { return container_of(d, struct rtl8139, pci.device); }

static const struct row {
    uint8_t first, bytes;
    uint32_t reset, writable;
    bool is_locked;                      /* writable only while 9346CR says so */
} rows[] = {
    { IDR0, 4, 0, ~0u, false }, { IDR0 + 4, 2, 0, 0xffff, false }, { MAR0, 4, 0, ~0u, false }, { MAR0 + 4, 4, 0, ~0u, false },
    { TSAD0, 4, 0, ~0u, false }, { TSAD0 + 4, 4, 0, ~0u, false }, { TSAD0 + 8, 4, 0, ~0u, false }, { TSAD0 + 12, 4, 0, ~0u, false },
    { RBSTART, 4, 0, ~0u, false }, { IMR, 2, 0, 0xe1ff, false }, { TCR, 4, 0x74800000, 0x030f07f0, false }, { RCR, 4, 0, 0x0f03ffbf, false },
    { CR9346, 1, 0, 0xce, false }, { CONFIG0, 1, 0, 0x07, true }, { CONFIG1, 1, 0x0c, 0xf3, true }, { TIMERINT, 4, 0, ~0u, false },
    { CONFIG3, 1, 1, 0x70, true }, { CONFIG4, 1, 0, 0xf5, true }, { HLTCLK, 1, 1, 0, false }, { MULINT, 2, 0, 0xfff, false }, { RERID, 1, REVISION, 0, false },
    { BMCR, 2, 0x1000, 0x200, false }, { BMSR, 2, 0x7829, 0, false }, { ANAR, 2, 0x5e1, 0xffff, false }, { ANLPAR, 2, 0x5e1, 0, false }, { ANER, 2, 1, 0, false },
    { CSCR, 2, 0x340, 0, false }, { CONFIG5, 1, 0, 0x7f, false }, { CPCR, 2, 0, 0x7b, false }, { RDSAR, 4, 0, ~0u, false }, { RDSAR + 4, 4, 0, ~0u, false },
    { ETTHR, 1, 0, 0xff, false },
};

/* ---- interrupts and the timer ---- */

static void line_update(struct rtl8139 *s) { pci_intx_set(&s->pci, (s->isr & rtl8139_get16(s, IMR)) != 0); }

void rtl8139_cause(struct rtl8139 *s, uint16_t bits)
{
    s->isr |= bits;
    line_update(s);
}

static uint32_t timer_count(const struct rtl8139 *s) { return (uint32_t)((clock_virtual_ns() - s->count_base_ns) / TICK_NS); }

/* TIMERINT says at which count the timer interrupts; 0: never. */
static void timeout_set(struct rtl8139 *s)
{
    uint32_t at = rtl8139_get32(s, TIMERINT);

    if (at) timer_arm_ns(s->timeout, clock_virtual_ns() + (int64_t)(uint32_t)(at - timer_count(s)) * TICK_NS);
    else timer_disarm(s->timeout);
}

static void timeout_over(void *opaque)
{
    struct rtl8139 *s = opaque;

    rtl8139_cause(s, ISR_TIMEOUT);
}

static void again_over(void *opaque) { rtl8139_receive_again(opaque); }

/* ---- EEPROM ---- */

static uint16_t eeprom_word(const struct rtl8139 *s, unsigned word)
{
    static const uint16_t head[] = { 0x8129, REALTEK, RTL8139 };

    if (word < ARRAY_SIZE(head)) return head[word];
    return word >= 7 && word < 10 ? (uint16_t)(s->config.mac[2 * (word - 7)] | s->config.mac[2 * (word - 7) + 1] << 8) : 0;
}

/* Commands come bit by bit with the clock; of a word a zero bit is first, then the highest. */
static void eeprom_clock(struct rtl8139 *s, uint8_t before, uint8_t value)
{
    if (!(value & EECS) || !(before & EECS)) memset(&s->eeprom_line, 0, sizeof(s->eeprom_line));
    if (!(value & EECS) || !(value & EESK) || before & EESK) return;
    if (s->eeprom_line.reading) {
        unsigned bit = s->eeprom_line.out++;

        s->eeprom_out = eeprom_word(s, bit / 16 % 64) >> (15 - bit % 16) & 1;
        return;
    }
    if (!s->eeprom_line.bits && !(value & EEDI)) return; /* waits for the start bit */
    s->eeprom_line.in = s->eeprom_line.in << 1 | !!(value & EEDI);
    if (++s->eeprom_line.bits < COMMAND_BITS) return;
    s->eeprom_line.reading = s->eeprom_line.in >> 6 == COMMAND_READ;
    s->eeprom_line.out = (s->eeprom_line.in & 63) * 16;
    s->eeprom_line.bits = 0;
    s->eeprom_line.in = 0;
    s->eeprom_out = 0;
}

/* ---- resets ---- */

/* A reset by CR or 9346CR leaves the addresses alone. */
static void chip_reset(struct rtl8139 *s)
{
    uint8_t addresses[TSD0];

    memcpy(addresses, s->reg, sizeof(addresses));
    memset(s->reg, 0, sizeof(s->reg));
    for (unsigned i = 0; i < ARRAY_SIZE(rows); i++)
        for (unsigned n = 0; n < rows[i].bytes; n++) s->reg[rows[i].first + n] = (uint8_t)(rows[i].reset >> 8 * n);
    memcpy(s->reg, addresses, sizeof(addresses));
    s->cr = s->eeprom_out = 0;
    s->isr = 0;
    s->is_cplus = s->too_long = s->frame_waits = false;
    s->frame_bytes = 0;
    for (unsigned i = 0; i < 4; i++) s->tsd[i] = TSD_OWN;
    s->tx_next = s->rx_next = s->tx_ring_next = 0;
    s->rx_read = s->rx_write = s->missed = s->rx_multicast = 0;
    s->tx_ok = s->rx_ok = s->rx_own = s->rx_broadcast = 0;
    s->count_base_ns = clock_virtual_ns();
    memset(&s->eeprom_line, 0, sizeof(s->eeprom_line));
    timer_disarm(s->timeout);
    line_update(s);
    rtl8139_receive_again(s);
}

/* ---- reading ---- */

static uint16_t all_status(const struct rtl8139 *s)
{
    uint16_t value = 0;

    for (unsigned i = 0; i < 4; i++) value |= (s->tsd[i] & TSD_OWN ? 1u << i : 0) | (s->tsd[i] & TSD_TOK ? 0x1000u << i : 0);
    return value;
}

static uint8_t byte_of(uint32_t value, unsigned at) { return (uint8_t)(value >> 8 * at); }

static uint8_t byte_read(const struct rtl8139 *s, unsigned at)
{
    bool link = net_link_is_up(s->config.backend);

    switch (at) {
    case TSD0 ... TSD0 + 15: return byte_of(s->tsd[(at - TSD0) / 4], at % 4);
    case CR: return s->cr | (s->rx_read == s->rx_write ? CR_BUFE : 0);
    case CAPR: case CAPR + 1: return byte_of(s->rx_read - 16, at - CAPR);
    case CBR: case CBR + 1: return byte_of(s->rx_write, at - CBR);
    case ISR: case ISR + 1: return byte_of(s->isr, at - ISR);
    case TCTR ... TCTR + 3: return byte_of(timer_count(s), at - TCTR);
    case MPC ... MPC + 3: return byte_of(s->missed, at - MPC);
    case CR9346: return s->reg[at] | ((s->reg[at] & MODE_MASK) == MODE_EEPROM ? s->eeprom_out : 0);
    case MSR: return MSR_IDLE | (link ? 0 : MSR_LINKB);
    case TSADS: case TSADS + 1: return byte_of(all_status(s), at - TSADS);
    case BMSR: return s->reg[at] | (link ? BMSR_LINK : 0);
    default: return s->reg[at];
    }
}

static uint64_t io_read(void *opaque, uint64_t offset, unsigned size)
{
    uint64_t value = 0;

    for (unsigned n = 0; n < size && offset + n < BAR_BYTES; n++) value |= (uint64_t)byte_read(opaque, (unsigned)offset + n) << 8 * n;
    return value;
}

/* ---- writing ---- */

static void command_write(struct rtl8139 *s, uint8_t value)
{
    if (value & CR_RST) chip_reset(s);
    if (value & CR_RE) s->rx_next = 0;
    if (value & CR_TE) s->tx_ring_next = 0;
    s->cr = value & (CR_RE | CR_TE);
    rtl8139_receive_again(s);
}

static void mode_write(struct rtl8139 *s, uint8_t before)
{
    uint8_t value = s->reg[CR9346];

    if ((value & MODE_MASK) == MODE_EEPROM) eeprom_clock(s, before, value);
    if ((value & MODE_MASK) == MODE_RESET) chip_reset(s);
}

static void status_write(struct rtl8139 *s, unsigned n, uint32_t value)
{
    if (s->is_cplus) {                                   /* the address for counters, in two halves */
        s->tsd[n] = value;
        if (n == 0 && value & 8) rtl8139_tally_dump(s);
        return;
    }
    s->tsd[n] = value & 0x3fff & ~(uint32_t)0x8000;
    rtl8139_transmit(s);
}

static const struct row *row_find(unsigned at)
{
    for (unsigned i = 0; i < ARRAY_SIZE(rows); i++)
        if (at >= rows[i].first && at < rows[i].first + rows[i].bytes) return &rows[i];
    return NULL;
}

static void byte_keep(struct rtl8139 *s, unsigned at, uint8_t value)
{
    const struct row *row = row_find(at);
    uint8_t mask = row ? (uint8_t)(row->writable >> 8 * (at - row->first)) : 0;

    if (at >= TCR && at < TCR + 4 && !(s->cr & CR_TE)) return;
    if (row && row->is_locked && (s->reg[CR9346] & MODE_MASK) != MODE_UNLOCKED) return;
    s->reg[at] = (uint8_t)((s->reg[at] & ~mask) | (value & mask));
}

/* What follows from a write of bytes from first to last, once they are kept. */
static void written(struct rtl8139 *s, unsigned first, unsigned last, uint64_t value, uint8_t mode_before)
{
#define HAS(reg) (first <= (reg) && (reg) <= last)
    if (first % 4 == 0 && last == first + 3 && first >= TSD0 && first < TSAD0) status_write(s, (first - TSD0) / 4, (uint32_t)value);
    if (HAS(CR)) command_write(s, (uint8_t)(value >> 8 * (CR - first)));
    if (HAS(CAPR) && HAS(CAPR + 1)) {
        s->rx_read = ((uint32_t)(value >> 8 * (CAPR - first) & 0xffff) + 16) & (rtl8139_ring_bytes(s) - 1);
        rtl8139_receive_again(s);
    }
    if (HAS(ISR) || HAS(ISR + 1)) {
        s->isr &= (uint16_t)~(first <= ISR ? value >> 8 * (ISR - first) : value << 8);
        line_update(s);
        rtl8139_receive_again(s);
    }
    if (HAS(IMR) || HAS(IMR + 1)) {
        line_update(s);
        rtl8139_receive_again(s);
    }
    if (first < RCR + 4 && last >= RCR) {
        s->rx_read = s->rx_write = 0;
        rtl8139_receive_again(s);
    }
    if (first < TCTR + 4 && last >= TCTR) {
        s->count_base_ns = clock_virtual_ns();
        timeout_set(s);
    }
    if (first < TIMERINT + 4 && last >= TIMERINT) timeout_set(s);
    if (first < MPC + 4 && last >= MPC) s->missed = 0;
    if (HAS(CPCR)) s->is_cplus = true;
    if (HAS(TPPOLL) && value >> 8 * (TPPOLL - first) & TPPOLL_NPQ) rtl8139_transmit(s);
    if (HAS(CR9346)) mode_write(s, mode_before);
#undef HAS
}

static void io_write(void *opaque, uint64_t offset, uint64_t value, unsigned size)
{
    struct rtl8139 *s = opaque;
    uint8_t mode_before = s->reg[CR9346];

    for (unsigned n = 0; n < size && offset + n < BAR_BYTES; n++) byte_keep(s, (unsigned)offset + n, (uint8_t)(value >> 8 * n));
    written(s, (unsigned)offset, (unsigned)offset + size - 1, value, mode_before);
}

static const struct io_ops io = { io_read, io_write, 1, 4 };

/* ---- life ---- */

static void link_changed(void *opaque, bool up) { rtl8139_cause(opaque, ISR_LINK); }
static void send_ready(void *opaque, unsigned queue) { rtl8139_transmit(opaque); }

static void reset(struct device *d)
{
    struct rtl8139 *s = of(d);

    chip_reset(s);
    memset(s->reg, 0, TSD0);
    memcpy(s->reg + IDR0, s->config.mac, 6);
}

static void destroy(struct device *d)
{
    struct rtl8139 *s = of(d);

    net_attach(s->config.backend, NULL);
    if (s->pci.bus) pci_device_remove(&s->pci);
    timer_free(s->timeout);
    timer_free(s->again);
    free(s);
}

static void info(struct device *d, void (*print)(void *opaque, const char *line), void *opaque)
{
    const struct rtl8139 *s = of(d);
    char line[200];

    snprintf(line, sizeof(line), "mac %02x:%02x:%02x:%02x:%02x:%02x, link %s, ISR %04x, IMR %04x, CR %02x%s, %llu sent, %llu received, %u missed", s->reg[0],
             s->reg[1], s->reg[2], s->reg[3], s->reg[4], s->reg[5], net_link_is_up(s->config.backend) ? "up" : "down", s->isr, rtl8139_get16(s, IMR), s->cr,
             s->is_cplus ? ", C+" : "", (unsigned long long)s->tx_ok, (unsigned long long)s->rx_ok, s->missed);
    print(opaque, line);
}

static const struct state_field state[] = {
    STATE_ARRAY(struct rtl8139, pci.config), STATE_ARRAY(struct rtl8139, reg), STATE_FIELD(struct rtl8139, cr), STATE_FIELD(struct rtl8139, isr),
    STATE_ARRAY(struct rtl8139, tsd), STATE_FIELD(struct rtl8139, tx_next), STATE_FIELD(struct rtl8139, rx_next), STATE_FIELD(struct rtl8139, tx_ring_next),
    STATE_FIELD(struct rtl8139, rx_read), STATE_FIELD(struct rtl8139, rx_write), STATE_FIELD(struct rtl8139, missed), STATE_END,
};

static const struct pci_device_ops ops = {
    .device = { .name = "rtl8139", .description = "Realtek RTL8139C+ Fast Ethernet", .reset = reset, .destroy = destroy, .state = state, .info = info },
};

struct device *rtl8139_new(const struct nic_device_config *config, struct error *err)
{
    struct rtl8139 *s = calloc(1, sizeof(*s));
    struct net_frontend f = { .name = "rtl8139", .receive = rtl8139_receive, .send_ready = send_ready, .link_changed = link_changed, .opaque = s };

    if (!s) {
        error_set(err, "no memory for a network card");
        return NULL;
    }
    s->config = *config;
    if (pci_device_init(&s->pci, &ops, config->bus, config->devfn, REALTEK, RTL8139, 0x02000000 | REVISION, err) < 0) {
        free(s);
        return NULL;
    }
    s->pci.device.id = config->id;
    s->pci.config[INTERRUPT_PIN] = 1;
    s->timeout = timer_new(TIMER_VIRTUAL, timeout_over, s);
    s->again = timer_new(TIMER_VIRTUAL, again_over, s);
    pci_bar_add_io(&s->pci, 0, BAR_BYTES, PCI_BAR_IO, &io, s, "rtl8139-io");
    pci_bar_add_io(&s->pci, 1, BAR_BYTES, 0, &io, s, "rtl8139");
    if (config->rom) pci_rom_add(&s->pci, config->rom, config->rom_bytes);
    net_attach(config->backend, &f);
    reset(&s->pci.device);
    return &s->pci.device;
}
