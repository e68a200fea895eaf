/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The 16550A: two 16-byte FIFOs, four interrupt sources by priority, modem lines, loopback.
 *
 * Bytes leave at once, whatever the divisor says; the transmitter is therefore always empty. Input is taken from the
 * backend as long as there is room, so none is lost. The receive time-out (four characters without a read) is real
 * time by the divisor. Not made: parity and framing errors; an overrun happens in loopback only.
 * Source: National Semiconductor PC16550D data sheet.
 */
#include "device/serial/ns16550.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/bits.h"
#include "base/clock.h"
#include "base/error.h"
#include "base/loop.h"
#include "chardev/chardev.h"

enum { FIFO_BYTES = 16 };
enum { IER_RX = 1, IER_TX = 2, IER_LINE = 4, IER_MODEM = 8 };
enum { IIR_NONE = 1, IIR_MODEM = 0, IIR_TX = 2, IIR_RX = 4, IIR_LINE = 6, IIR_TIMEOUT = 12 };
enum { FCR_ENABLE = 1, FCR_CLEAR_RX = 2, FCR_CLEAR_TX = 4 };
enum { LCR_BREAK = 0x40, LCR_DLAB = 0x80 };
enum { MCR_DTR = 1, MCR_RTS = 2, MCR_OUT1 = 4, MCR_OUT2 = 8, MCR_LOOP = 0x10 };
enum { LSR_DATA = 1, LSR_OVERRUN = 2, LSR_BREAK = 0x10, LSR_TX_EMPTY = 0x20, LSR_IDLE = 0x40 };
enum { MSR_CTS = 0x10, MSR_DSR = 0x20, MSR_RI = 0x40, MSR_DCD = 0x80 };

struct ns16550 {
    struct device device;
    struct ns16550_config config;
    struct memory_range *range;
    struct timer *timer;
    uint8_t rx[FIFO_BYTES], rx_first, rx_count;
    uint8_t ier, fcr, lcr, mcr, lsr, msr, scratch;
    uint8_t tx_pending;              /* "transmitter empty" interrupt not read yet */
    uint8_t timed_out;
    uint16_t divisor;
    uint8_t connected;
};

/* ---- interrupts ---- */

static unsigned trigger_level(const struct ns16550 *s)
{
    static const uint8_t levels[4] = { 1, 4, 8, 14 };

    return s->fcr & FCR_ENABLE ? levels[s->fcr >> 6] : 1;
}

static uint8_t interrupt_id(const struct ns16550 *s)
{
    if (s->ier & IER_LINE && s->lsr & (LSR_OVERRUN | LSR_BREAK)) return IIR_LINE;
    if (s->ier & IER_RX && s->rx_count >= trigger_level(s)) return IIR_RX;
    if (s->ier & IER_RX && s->timed_out && s->rx_count) return IIR_TIMEOUT;
    if (s->ier & IER_TX && s->tx_pending) return IIR_TX;
    if (s->ier & IER_MODEM && s->msr & 15) return IIR_MODEM;
    return IIR_NONE;
}

static void update(struct ns16550 *s)
{
    bool gate = (s->mcr & (MCR_OUT2 | MCR_LOOP)) == MCR_OUT2;  /* OUT2 is inactive in loopback */

    irq_set(&s->config.irq, gate && interrupt_id(s) != IIR_NONE);
}

static int64_t character_ns(const struct ns16550 *s)
{
    return 10 * NS_PER_SECOND * (s->divisor ? s->divisor : 1) / 115200;
}

static void timeout_restart(struct ns16550 *s)
{
    s->timed_out = 0;
    if (s->fcr & FCR_ENABLE && s->rx_count) timer_arm_ns(s->timer, clock_virtual_ns() + 4 * character_ns(s));
    else timer_disarm(s->timer);
}

static void timeout(void *opaque)
{
    struct ns16550 *s = opaque;

    s->timed_out = 1;
    update(s);
}

/* ---- bytes ---- */

static unsigned rx_room(const struct ns16550 *s) { return (s->fcr & FCR_ENABLE ? FIFO_BYTES : 1) - s->rx_count; }

static void rx_put(struct ns16550 *s, uint8_t byte)
{
    if (!rx_room(s)) {
        s->lsr |= LSR_OVERRUN;
        if (!(s->fcr & FCR_ENABLE)) s->rx[s->rx_first] = byte;         /* without a FIFO the newer one stays */
        return;
    }
    s->rx[(s->rx_first + s->rx_count++) % FIFO_BYTES] = byte;
    timeout_restart(s);
}

static uint8_t rx_take(struct ns16550 *s)
{
    uint8_t byte;

    if (!s->rx_count) return 0;
    byte = s->rx[s->rx_first];
    s->rx_first = (s->rx_first + 1) % FIFO_BYTES;
    s->rx_count--;
    timeout_restart(s);
    if (s->config.backend && !(s->mcr & MCR_LOOP)) chardev_accept_input(s->config.backend);
    return byte;
}

static void tx_put(struct ns16550 *s, uint8_t byte)
{
    if (s->mcr & MCR_LOOP) rx_put(s, byte);
    else if (s->config.backend) chardev_write(s->config.backend, &byte, 1);
    s->tx_pending = 1;
}

static size_t can_receive(void *opaque)
{
    struct ns16550 *s = opaque;

    return s->mcr & MCR_LOOP ? 0 : rx_room(s);
}

static void receive(void *opaque, const uint8_t *data, size_t size)
{
    struct ns16550 *s = opaque;

    for (size_t n = 0; n < size; n++) rx_put(s, data[n]);
    update(s);
}

static void send_break(void *opaque)
{
    struct ns16550 *s = opaque;

    rx_put(s, 0);
    s->lsr |= LSR_BREAK;
    update(s);
}

/* ---- modem lines ---- */

/* Levels of CTS, DSR, RI, DCD; sets the delta bits. */
static void modem_set(struct ns16550 *s, uint8_t lines)
{
    uint8_t old = s->msr & 0xf0, delta = (old ^ lines) >> 4;

    if (!(old & MSR_RI) || lines & MSR_RI) delta &= ~4;        /* RI counts when it goes away */
    s->msr = lines | (s->msr & 15) | delta;
}

static void modem_update(struct ns16550 *s)
{
    uint8_t lines = s->connected ? MSR_CTS | MSR_DSR | MSR_DCD : 0;

    if (s->mcr & MCR_LOOP)
        lines = (s->mcr & MCR_RTS ? MSR_CTS : 0) | (s->mcr & MCR_DTR ? MSR_DSR : 0) | (s->mcr & MCR_OUT1 ? MSR_RI : 0) |
                (s->mcr & MCR_OUT2 ? MSR_DCD : 0);
    modem_set(s, lines);
}

static void peer_event(void *opaque, bool opened)
{
    struct ns16550 *s = opaque;

    s->connected = opened;
    modem_update(s);
    update(s);
}

/* ---- registers ---- */

static void fcr_write(struct ns16550 *s, uint8_t value)
{
    if ((value ^ s->fcr) & FCR_ENABLE) value |= FCR_CLEAR_RX | FCR_CLEAR_TX;
    if (value & FCR_CLEAR_RX) {
        s->rx_count = s->rx_first = 0;
        s->lsr &= ~LSR_BREAK;
        timeout_restart(s);
    }
    if (value & FCR_CLEAR_TX) s->tx_pending = 1;
    s->fcr = value & FCR_ENABLE ? value & 0xc9 : 0;
    if (s->config.backend) chardev_accept_input(s->config.backend);
}

static uint64_t iir_read(struct ns16550 *s)
{
    uint8_t id = interrupt_id(s);

    if (id == IIR_TX) {
        s->tx_pending = 0;
        update(s);
    }
    return id | (s->fcr & FCR_ENABLE ? 0xc0 : 0);
}

static uint64_t lsr_read(struct ns16550 *s)
{
    uint8_t value = s->lsr | LSR_TX_EMPTY | LSR_IDLE | (s->rx_count ? LSR_DATA : 0);

    s->lsr = 0;
    update(s);
    return value;
}

static uint64_t uart_read(void *opaque, uint64_t offset, unsigned size)
{
    struct ns16550 *s = opaque;
    uint8_t value;

    switch (offset) {
    case 0:
        if (s->lcr & LCR_DLAB) return s->divisor & 0xff;
        value = rx_take(s);
        update(s);
        return value;
    case 1: return s->lcr & LCR_DLAB ? s->divisor >> 8 : s->ier;
    case 2: return iir_read(s);
    case 3: return s->lcr;
    case 4: return s->mcr;
    case 5: return lsr_read(s);
    case 6:
        value = s->msr;
        s->msr &= 0xf0;
        update(s);
        return value;
    default: return s->scratch;
    }
}

static void uart_write(void *opaque, uint64_t offset, uint64_t value, unsigned size)
{
    struct ns16550 *s = opaque;

    value &= 0xff;
    switch (offset) {
    case 0:
        if (s->lcr & LCR_DLAB) s->divisor = (s->divisor & 0xff00) | value;
        else tx_put(s, value);
        break;
    case 1:
        if (s->lcr & LCR_DLAB) {
            s->divisor = (s->divisor & 0xff) | value << 8;
            break;
        }
        if (value & IER_TX && !(s->ier & IER_TX)) s->tx_pending = 1;   /* it is empty: that interrupts at once */
        s->ier = value & 15;
        break;
    case 2: fcr_write(s, value); break;
    case 3: s->lcr = value; break;
    case 4:
        s->mcr = value & 0x1f;
        modem_update(s);
        if (s->config.backend && !(s->mcr & MCR_LOOP)) chardev_accept_input(s->config.backend);
        break;
    case 7: s->scratch = value; break;
    default: break;                                    /* LSR and MSR are for factory tests */
    }
    update(s);
}

static const struct io_ops uart_io = { uart_read, uart_write, 1, 1 };

/* ---- device ---- */

static void ns16550_reset(struct device *d)
{
    struct ns16550 *s = (struct ns16550 *)d;

    s->rx_count = s->rx_first = 0;
    s->ier = s->fcr = s->lcr = s->mcr = s->lsr = s->scratch = s->tx_pending = s->timed_out = 0;
    s->divisor = 12;
    s->msr = 0;
    modem_update(s);
    s->msr &= 0xf0;
    timer_disarm(s->timer);
    update(s);
    if (s->config.backend) chardev_accept_input(s->config.backend);
}

static void ns16550_info(struct device *d, void (*print)(void *opaque, const char *line), void *opaque)
{
    struct ns16550 *s = (struct ns16550 *)d;
    char line[128];

    snprintf(line, sizeof line, "serial at %#x: ier=%02x iir=%02x lcr=%02x mcr=%02x msr=%02x divisor=%u received=%u", s->config.port,
             s->ier, interrupt_id(s), s->lcr, s->mcr, s->msr, s->divisor, s->rx_count);
    print(opaque, line);
}

static void ns16550_destroy(struct device *d)
{
    struct ns16550 *s = (struct ns16550 *)d;

    memory_range_remove(s->range);
    timer_free(s->timer);
    free(s);
}

static const struct state_field ns16550_state[] = {
    STATE_ARRAY(struct ns16550, rx), STATE_FIELD(struct ns16550, rx_first), STATE_FIELD(struct ns16550, rx_count),
    STATE_FIELD(struct ns16550, ier), STATE_FIELD(struct ns16550, fcr), STATE_FIELD(struct ns16550, lcr), STATE_FIELD(struct ns16550, mcr),
    STATE_FIELD(struct ns16550, lsr), STATE_FIELD(struct ns16550, msr), STATE_FIELD(struct ns16550, scratch),
    STATE_FIELD(struct ns16550, tx_pending), STATE_FIELD(struct ns16550, timed_out), STATE_FIELD(struct ns16550, divisor), STATE_END,
};

static void ns16550_after_load(struct device *d)
{
    struct ns16550 *s = (struct ns16550 *)d;

    s->rx_first %= FIFO_BYTES;
    if (s->rx_count > FIFO_BYTES) s->rx_count = FIFO_BYTES;
    timeout_restart(s);
    update(s);
}

static const struct device_ops ns16550_ops = { "isa-serial", "16550A UART", ns16550_reset, ns16550_destroy, ns16550_state,
                                               ns16550_after_load, ns16550_info };

struct device *ns16550_new(const struct ns16550_config *config, struct error *err)
{
    struct ns16550 *s = calloc(1, sizeof *s);

    if (!s) {
        error_set(err, "serial port: out of memory");
        return NULL;
    }
    s->device.ops = &ns16550_ops;
    s->config = *config;
    s->connected = config->backend != NULL;
    s->timer = timer_new(TIMER_VIRTUAL, timeout, s);
    s->range = memory_map_add_io(config->ports, "serial", config->port, 8, &uart_io, s, 2);
    ns16550_reset(&s->device);
    if (config->backend)
        chardev_attach(config->backend, &(struct chardev_frontend){ .can_receive = can_receive, .receive = receive, .event = peer_event,
                                                                    .send_break = send_break, .opaque = s });
    return &s->device;
}
