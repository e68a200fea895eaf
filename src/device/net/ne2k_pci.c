/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * NE2000: a DP8390 with 32 KiB of packet memory behind a data port. Registers lie in pages; the one that both know is CR. Frames go
 * out when CR's TXP is set; those that come in are put into the ring of 256-byte pages between PSTART and PSTOP, each behind four bytes
 * of status, next page and length. While the ring is full frames wait on the host; they come a little after the guest made room, as on
 * a wire: drivers clear PRX when they are through with what was there, and take a few frames an interrupt only.
 *
 * All of a transfer's indices are the guest's; an access outside of the memory reads ones and writes nothing.
 * Limits: no loopback, no statistics; memory is reached by bytes, words or double words through the port as the guest does it, never
 * by the chip's own DMA (the PCI chip has none). A full-duplex 10BASE-T link always.
 * Sources: National DP8390D/NS32490D data sheet; Realtek RTL8029AS data sheet (ID registers, page 3).
 */
#include "device/net/ne2k_pci.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/bits.h"
#include "base/clock.h"
#include "base/error.h"
#include "base/loop.h"

enum { CR = 0x00, DATA_PORT = 0x10, RESET_PORT = 0x18, IO_BYTES = 0x100, REALTEK = 0x10ec, RTL8029 = 0x8029, INTERRUPT_PIN = 0x3d };
enum { CR_STP = 1, CR_TXP = 4, CR_READ = 8, CR_WRITE = 0x10 };
enum { ISR_PRX = 1, ISR_PTX = 2, ISR_RDC = 0x40, ISR_RST = 0x80, RSR_PRX = 1, RSR_PHY = 0x20, TSR_PTX = 1, DCR_WTS = 1 };
enum { RCR_AB = 4, RCR_AM = 8, RCR_PRO = 0x10 };
/* page << 4 | register, of pages 0 and 1 */
enum { PSTART = 1, PSTOP, BNRY, TPSR, TBCR0, TBCR1, ISR, RSAR0, RSAR1, RBCR0, RBCR1, RCR, TCR, DCR, IMR, PAR0 = 0x11, PAR5 = 0x16, CURR = 0x17, MAR0 = 0x18, MAR7 = 0x1f };
enum { PROM_BYTES = 32, RING_START = 0x4000, MEMORY_BYTES = 0xc000, PAGE = 256, HEADER = 4, CRC = 4, MIN_FRAME = 60, MAX_FRAME = 1514, AGAIN_NS = 50000 };

struct ne2k {
    struct pci_device pci;
    struct nic_device_config config;
    uint8_t mem[MEMORY_BYTES];           /* PROM, hole, packets: as the data port sees it */
    uint8_t cr, isr, imr, rcr, dcr, tsr, rsr, tpsr, bnry, curr, par[6], mar[8];
    uint16_t start, stop;                /* bytes */
    uint16_t tbcr, rsar, rbcr;
    bool starved, waits;                 /* frames for the guest; the guest's frame, for the host */
    struct timer *again;
};

static struct ne2k *of(struct device *d) { return container_of(d, struct ne2k, pci.device); }

static void line_update(struct ne2k *s) { pci_intx_set(&s->pci, (s->isr & s->imr & ~ISR_RST) != 0); }

static void cause(struct ne2k *s, uint8_t bits)
{
    s->isr |= bits;
    line_update(s);
}

/* ---- the memory ---- */

static bool is_memory(unsigned at) { return at < PROM_BYTES || (at >= RING_START && at < MEMORY_BYTES); }

static void remote_step(struct ne2k *s, unsigned bytes)
{
    s->rsar = (uint16_t)(s->rsar + bytes);
    if (s->rsar == s->stop) s->rsar = s->start;
    if (s->rbcr > bytes) {
        s->rbcr = (uint16_t)(s->rbcr - bytes);
        return;
    }
    s->rbcr = 0;
    cause(s, ISR_RDC);
}

/* A byte wide port gives a byte a time; a word wide one as much as was asked for. */
static unsigned port_width(const struct ne2k *s, unsigned size) { return size == 4 ? 4 : s->dcr & DCR_WTS ? 2 : 1; }

static uint32_t data_read(struct ne2k *s, unsigned size)
{
    unsigned width = port_width(s, size), at = s->rsar & ~(width == 1 ? 0u : 1u);
    uint32_t value = 0;

    for (unsigned i = 0; i < width; i++) value |= (uint32_t)(is_memory(at + i) ? s->mem[at + i] : 0xff) << 8 * i;
    remote_step(s, width);
    return value;
}

static void data_write(struct ne2k *s, uint32_t value, unsigned size)
{
    unsigned width = port_width(s, size), at = s->rsar & ~(width == 1 ? 0u : 1u);

    if (!s->rbcr) return;
    for (unsigned i = 0; i < width; i++)
        if (is_memory(at + i)) s->mem[at + i] = (uint8_t)(value >> 8 * i);
    remote_step(s, width);
}

/* ---- frames ---- */

static void transmit(struct ne2k *s)
{
    unsigned at = s->tpsr * PAGE;
    bool inside = at >= RING_START && at + s->tbcr <= MEMORY_BYTES;
    struct iovec iov = { s->mem + (inside ? at : 0), s->tbcr };

    if (!inside) s->waits = false;
    else s->waits = s->tbcr && !net_send(s->config.backend, 0, &(struct net_frame){ .iov = &iov, .count = 1, .bytes = s->tbcr });
    if (s->waits) return;
    net_send_end(s->config.backend, 0);
    s->tsr = TSR_PTX;
    s->cr &= ~CR_TXP;
    cause(s, ISR_PTX);
}

static void send_ready(void *opaque, unsigned queue)
{
    struct ne2k *s = opaque;

    if (s->waits) transmit(s);
}

static bool has_ring(const struct ne2k *s)
{
    unsigned curr = s->curr * PAGE, bnry = s->bnry * PAGE;

    return s->start >= RING_START && s->start < s->stop && s->stop <= MEMORY_BYTES && curr >= s->start && curr < s->stop && bnry < s->stop;
}

static unsigned pages_bytes(size_t bytes) { return (unsigned)((bytes + CRC + HEADER + PAGE - 1) / PAGE * PAGE); }

/* CURR does not come as far as BNRY, so that a full ring is no empty one; after initialization they are equal. */
static bool has_room(const struct ne2k *s, size_t bytes)
{
    unsigned curr = s->curr * PAGE, bnry = s->bnry * PAGE, size = s->stop - s->start;
    unsigned room = curr < bnry ? bnry - curr : size - MIN(curr - bnry, size);

    return pages_bytes(bytes) < room;
}

static bool address_passes(const struct ne2k *s, const uint8_t *to)
{
    static const uint8_t everyone[6] = { 0xff, 0xff, 0xff, 0xff, 0xff, 0xff };
    unsigned hash;

    if (s->rcr & RCR_PRO) return true;
    if (!memcmp(to, everyone, 6)) return s->rcr & RCR_AB;
    if (!(to[0] & 1)) return !memcmp(to, s->par, 6);
    hash = nic_hash64(to);
    return s->rcr & RCR_AM && s->mar[hash >> 3] >> (hash & 7) & 1;
}

static unsigned ring_put(struct ne2k *s, unsigned at, const uint8_t *data, size_t bytes)
{
    while (bytes) {
        size_t here = MIN(bytes, (size_t)(s->stop - at));

        memcpy(s->mem + at, data, here);
        data += here;
        bytes -= here;
        at += (unsigned)here;
        if (at == s->stop) at = s->start;
    }
    return at;
}

static bool receive(void *opaque, unsigned queue, const struct net_frame *f)
{
    struct ne2k *s = opaque;
    uint8_t frame[2048] = { 0 }, header[HEADER];
    size_t bytes = MAX(f->bytes, (size_t)MIN_FRAME);
    unsigned next;

    if (s->cr & CR_STP || !has_ring(s) || bytes > MAX_FRAME + 4) return true;
    net_frame_copy(f, frame);
    if (!address_passes(s, frame)) return true;
    if (!has_room(s, bytes)) {
        s->starved = true;
        return false;
    }
    next = s->curr * PAGE + pages_bytes(bytes);
    if (next >= s->stop) next -= s->stop - s->start;
    s->rsr = RSR_PRX | (frame[0] & 1 ? RSR_PHY : 0);
    memcpy(header, (uint8_t[]){ s->rsr, (uint8_t)(next / PAGE), (uint8_t)(bytes + CRC), (uint8_t)((bytes + CRC) >> 8) }, HEADER);
    ring_put(s, ring_put(s, s->curr * PAGE, header, HEADER), frame, bytes);
    s->curr = (uint8_t)(next / PAGE);
    cause(s, ISR_PRX);
    return true;
}

static void receive_again(struct ne2k *s)
{
    if (s->starved && !timer_is_armed(s->again)) timer_arm_ns(s->again, clock_virtual_ns() + AGAIN_NS);
}

static void again_over(void *opaque)
{
    struct ne2k *s = opaque;

    if (!s->starved) return;
    s->starved = false;
    net_receive_ready(s->config.backend, 0);
    if (s->starved) cause(s, ISR_PRX);                   /* what is in the ring was forgotten */
}

/* ---- registers ---- */

static void chip_reset(struct ne2k *s)
{
    s->isr = ISR_RST;
    s->waits = false;
    memset(s->mem, 0, PROM_BYTES);
    for (unsigned i = 0; i < 6; i++) s->mem[2 * i] = s->mem[2 * i + 1] = s->config.mac[i];
    memset(s->mem + 28, 0x57, 4);                        /* a card of 16 bits */
    line_update(s);
    receive_again(s);
}

static void command_write(struct ne2k *s, uint8_t value)
{
    s->cr = value;
    if (value & CR_STP) {
        receive_again(s);
        return;
    }
    s->isr &= ~ISR_RST;
    if (value & (CR_READ | CR_WRITE) && !s->rbcr) s->isr |= ISR_RDC;
    line_update(s);
    if (value & CR_TXP) transmit(s);
    receive_again(s);
}

static void register_write(struct ne2k *s, unsigned at, uint8_t value)
{
    unsigned bytes = value * PAGE;

    switch (at) {
    case PSTART: if (bytes <= MEMORY_BYTES) s->start = (uint16_t)bytes; break;
    case PSTOP: if (bytes <= MEMORY_BYTES) s->stop = (uint16_t)bytes; break;
    case BNRY: if (bytes < MEMORY_BYTES) s->bnry = value; receive_again(s); break;
    case TPSR: s->tpsr = value; break;
    case TBCR0: s->tbcr = (s->tbcr & 0xff00) | value; break;
    case TBCR1: s->tbcr = (uint16_t)((s->tbcr & 0xff) | value << 8); break;
    case ISR: s->isr &= ~(value & ~ISR_RST); line_update(s); break;
    case RSAR0: s->rsar = (s->rsar & 0xff00) | value; break;
    case RSAR1: s->rsar = (uint16_t)((s->rsar & 0xff) | value << 8); break;
    case RBCR0: s->rbcr = (s->rbcr & 0xff00) | value; break;
    case RBCR1: s->rbcr = (uint16_t)((s->rbcr & 0xff) | value << 8); break;
    case RCR: s->rcr = value; break;
    case DCR: s->dcr = value; break;
    case IMR: s->imr = value; line_update(s); break;
    case PAR0 ... PAR5: s->par[at - PAR0] = value; break;
    case CURR: if (bytes < MEMORY_BYTES) s->curr = value; receive_again(s); break;
    case MAR0 ... MAR7: s->mar[at - MAR0] = value; break;
    default: break;
    }
}

static uint8_t register_read(const struct ne2k *s, unsigned at)
{
    switch (at) {
    case 0x03: return s->bnry;
    case 0x04: return s->tsr;
    case 0x07: return s->isr;
    case 0x08: return (uint8_t)s->rsar;
    case 0x09: return (uint8_t)(s->rsar >> 8);
    case 0x0a: return 'P';                               /* RTL8029 */
    case 0x0b: return 'C';
    case 0x0c: return s->rsr;
    case PAR0 ... PAR5: return s->par[at - PAR0];
    case CURR: return s->curr;
    case MAR0 ... MAR7: return s->mar[at - MAR0];
    case 0x21: return (uint8_t)(s->start / PAGE);
    case 0x22: return (uint8_t)(s->stop / PAGE);
    case 0x35: return 0x40;                              /* CONFIG2: 10BASE-T */
    case 0x36: return 0x40;                              /* CONFIG3: full duplex */
    default: return 0;
    }
}

static uint64_t io_read(void *opaque, uint64_t offset, unsigned size)
{
    struct ne2k *s = opaque;

    if (offset >= DATA_PORT && offset < RESET_PORT) return data_read(s, size);
    if (offset >= RESET_PORT && offset < 0x20 && size == 1) {
        chip_reset(s);
        return 0;
    }
    if (offset < DATA_PORT && size == 1) return offset == CR ? s->cr : register_read(s, (s->cr >> 6) << 4 | (unsigned)offset);
    return UINT64_MAX;
}

static void io_write(void *opaque, uint64_t offset, uint64_t value, unsigned size)
{
    struct ne2k *s = opaque;

    if (offset >= DATA_PORT && offset < RESET_PORT) data_write(s, (uint32_t)value, size);
    else if (offset == CR && size == 1) command_write(s, (uint8_t)value);
    else if (offset < DATA_PORT && size == 1) register_write(s, (s->cr >> 6) << 4 | (unsigned)offset, (uint8_t)value);
}

static const struct io_ops io = { io_read, io_write, 1, 4 };

/* ---- life ---- */

static void reset(struct device *d)
{
    struct ne2k *s = of(d);

    memset(s->mem, 0, sizeof(s->mem));
    s->cr = s->imr = s->rcr = s->dcr = s->tsr = s->rsr = s->tpsr = s->bnry = s->curr = 0;
    s->start = s->stop = s->tbcr = s->rsar = s->rbcr = 0;
    memset(s->par, 0, sizeof(s->par));
    memset(s->mar, 0, sizeof(s->mar));
    chip_reset(s);
}

static void destroy(struct device *d)
{
    struct ne2k *s = of(d);

    net_attach(s->config.backend, NULL);
    if (s->pci.bus) pci_device_remove(&s->pci);
    timer_free(s->again);
    free(s);
}

static void info(struct device *d, void (*print)(void *opaque, const char *line), void *opaque)
{
    const struct ne2k *s = of(d);
    char line[160];

    snprintf(line, sizeof(line), "mac %02x:%02x:%02x:%02x:%02x:%02x, CR %02x, ISR %02x, IMR %02x, ring %04x to %04x, CURR %02x, BNRY %02x", s->config.mac[0],
             s->config.mac[1], s->config.mac[2], s->config.mac[3], s->config.mac[4], s->config.mac[5], s->cr, s->isr, s->imr, s->start, s->stop, s->curr, s->bnry);
    print(opaque, line);
}

static const struct state_field state[] = {
    STATE_ARRAY(struct ne2k, pci.config), STATE_ARRAY(struct ne2k, mem), STATE_FIELD(struct ne2k, cr), STATE_FIELD(struct ne2k, isr), STATE_FIELD(struct ne2k, imr),
    STATE_FIELD(struct ne2k, rcr), STATE_FIELD(struct ne2k, dcr), STATE_FIELD(struct ne2k, tsr), STATE_FIELD(struct ne2k, rsr), STATE_FIELD(struct ne2k, tpsr),
    STATE_FIELD(struct ne2k, bnry), STATE_FIELD(struct ne2k, curr), STATE_ARRAY(struct ne2k, par), STATE_ARRAY(struct ne2k, mar), STATE_FIELD(struct ne2k, start),
    STATE_FIELD(struct ne2k, stop), STATE_FIELD(struct ne2k, tbcr), STATE_FIELD(struct ne2k, rsar), STATE_FIELD(struct ne2k, rbcr), STATE_END,
};

static const struct pci_device_ops ops = {
    .device = { .name = "ne2k_pci", .description = "NE2000 (Realtek RTL8029AS)", .reset = reset, .destroy = destroy, .state = state, .info = info },
};

struct device *ne2k_pci_new(const struct nic_device_config *config, struct error *err)
{
    struct ne2k *s = calloc(1, sizeof(*s));
    struct net_frontend f = { .name = "ne2k_pci", .receive = receive, .send_ready = send_ready, .opaque = s };

    if (!s) {
        error_set(err, "no memory for a network card");
        return NULL;
    }
    s->config = *config;
    if (pci_device_init(&s->pci, &ops, config->bus, config->devfn, REALTEK, RTL8029, 0x02000000, err) < 0) {
        free(s);
        return NULL;
    }
    s->pci.device.id = config->id;
    s->pci.config[INTERRUPT_PIN] = 1;
    s->again = timer_new(TIMER_VIRTUAL, again_over, s);
    pci_bar_add_io(&s->pci, 0, IO_BYTES, PCI_BAR_IO, &io, s, "ne2k_pci");
    if (config->rom) pci_rom_add(&s->pci, config->rom, config->rom_bytes);
    net_attach(config->backend, &f);
    reset(&s->pci.device);
    return &s->pci.device;
}
