/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Transfers: the TRBs of a TD are gathered, its bytes go through a buffer to or from the device at once, and events are told. When the device has
 * nothing yet (NAK) the ring stays where it is and the endpoint waits; xhci.c runs it again when the device says that it is ready.
 * The driver may change TRBs at any time: each is read once a try.
 * Limits: TDs of at most 1024 TRBs and 16 MiB; no isochronous transfers, no streams.
 * Sources: xHCI 1.1, 3.2.9-3.2.11, 4.10 (TDs and events), 6.4.1 (TRBs).
 */
#include <stdlib.h>
#include <string.h>

#include "base/bits.h"
#include "base/log.h"
#include "device/usb/xhci_private.h"

enum { TRBS_MAX = 1024, BYTES_MAX = 16 << 20, AT_ONCE = 64, LENGTH_MASK = 0x1ffff, DIRECTION_IN = 1 << 16, EVENT_ED = 4, SMALL_BYTES = 4096, IMMEDIATE_BYTES = 8 };

struct td {
    struct xhci *s;
    unsigned slot, endpoint;
    struct xhci_trb *trb;
    unsigned count;
    uint32_t bytes;
    uint8_t *data, small[SMALL_BYTES];
};

static bool carries_data(const struct xhci_trb *t) { return xhci_trb_type(t) != TRB_EVENT_DATA && xhci_trb_type(t) != TRB_STATUS && xhci_trb_type(t) != TRB_NOOP; }
static uint32_t length_of(const struct xhci_trb *t) { return carries_data(t) ? t->status & LENGTH_MASK : 0; }

/* ---- events ---- */

static void event(const struct td *td, uint64_t parameter, uint32_t length, unsigned code, uint32_t flags)
{
    const struct xhci_slot *slot = &td->s->slot[td->slot];
    struct xhci_trb e = { parameter, (length & 0xffffff) | code << 24, EVENT_TRANSFER << 10 | td->endpoint << 16 | td->slot << 24 | flags, 0 };

    xhci_event(td->s, slot->interrupter, &e);
}

/* moved bytes went over the wire. Each TRB that asks for an event has one, until the TD ended: then only the first that asks, or, if it failed, the one
 * where it did; and event data. */
static void events_tell(const struct td *td, uint32_t moved, unsigned code)
{
    bool failed = code != CODE_SUCCESS && code != CODE_SHORT, ended = false, told = false;
    uint32_t left = moved, total = 0;

    for (unsigned i = 0; i < td->count && !(failed && told); i++) {
        const struct xhci_trb *t = &td->trb[i];
        uint32_t length = length_of(t), here = MIN(length, left);
        bool wants = t->control & TRB_IOC;

        left -= here;
        total += here;
        ended |= here < length || (failed && !left);
        if (xhci_trb_type(t) == TRB_EVENT_DATA) {
            if (wants) event(td, t->parameter, total, ended ? code : CODE_SUCCESS, EVENT_ED);
            total = 0;
        } else if (!ended) {
            if (wants) event(td, t->at, 0, CODE_SUCCESS, 0);
        } else if (!told && (failed || wants || t->control & TRB_ISP)) {
            event(td, t->at, length - here, code, 0);
            told = true;
        }
    }
}

/* ---- memory ---- */

static bool copy(const struct td *td, uint32_t bytes, bool to_guest)
{
    uint32_t at = 0;

    for (unsigned i = 0; i < td->count && at < bytes; i++) {
        const struct xhci_trb *t = &td->trb[i];
        uint32_t here = MIN(length_of(t), bytes - at);
        uint8_t immediate[8];
        bool good = true;

        if (t->control & TRB_IMMEDIATE) {
            le64 raw = le64_make(t->parameter);

            here = MIN(here, (uint32_t)IMMEDIATE_BYTES);
            memcpy(immediate, &raw, sizeof(immediate));
            if (!to_guest) memcpy(td->data + at, immediate, here);
        } else if (here) good = to_guest ? pci_dma_write(&td->s->pci, t->parameter, td->data + at, here) : pci_dma_read(&td->s->pci, t->parameter, td->data + at, here);
        if (!good) return false;
        at += here;
    }
    return true;
}

/* The TRBs up to the one that is not chained; *ring is behind them. false: it is not all there. */
static bool gather(struct td *td, struct xhci_ring *ring)
{
    uint64_t bytes = 0;

    td->count = 0;
    for (;;) {
        struct xhci_trb t;

        if (td->count == TRBS_MAX || !xhci_ring_next(td->s, ring, &t)) return false;
        td->trb[td->count++] = t;
        bytes += length_of(&t);
        if (!(t.control & TRB_CHAIN)) break;
    }
    td->bytes = (uint32_t)MIN(bytes, (uint64_t)BYTES_MAX + 1);
    return true;
}

/* ---- one TD ---- */

static unsigned code_of(int n) { return n == USB_STALL ? CODE_STALL : n == USB_BABBLE ? CODE_BABBLE : CODE_TRANSACTION; }

static int control_packet(struct td *td, struct usb_device *d)
{
    const struct xhci_trb *t = &td->trb[0];
    enum usb_pid pid = t->control & DIRECTION_IN ? USB_IN : USB_OUT;

    if (xhci_trb_type(t) == TRB_SETUP) return usb_packet(d, USB_SETUP, 0, td->data, td->bytes);
    return usb_packet(d, pid, 0, td->data, td->bytes);
}

static bool is_sensible(const struct td *td)
{
    unsigned type = xhci_trb_type(&td->trb[0]);

    if (td->bytes > BYTES_MAX) return false;
    if (td->endpoint == 1) return type == TRB_SETUP ? td->bytes == 8 && td->trb[0].control & TRB_IMMEDIATE : type == TRB_DATA || type == TRB_STATUS || type == TRB_NOOP;
    return type == TRB_NORMAL || type == TRB_NOOP || type == TRB_EVENT_DATA;
}

/* true: it is over, for good or bad; false: it waits. */
static bool td_run(struct td *td, struct xhci_endpoint *e)
{
    struct usb_device *d = xhci_slot_device(td->s, &td->s->slot[td->slot]);
    bool is_control = td->endpoint == 1, in = is_control ? td->trb[0].control & DIRECTION_IN : td->endpoint & 1;
    unsigned code = CODE_SUCCESS;
    int n = 0;

    if (is_control && xhci_trb_type(&td->trb[0]) == TRB_SETUP) in = false;
    if (!is_sensible(td)) code = CODE_TRB;
    else if (!in && !copy(td, td->bytes, false)) code = CODE_DATA_BUFFER;
    else if (!d) code = CODE_TRANSACTION;
    else if (xhci_trb_type(&td->trb[0]) != TRB_NOOP) {
        n = is_control ? control_packet(td, d) : usb_packet(d, in ? USB_IN : USB_OUT, td->endpoint / 2, td->data, td->bytes);
        if (n == USB_NAK) return false;
        if (n < 0) code = code_of(n);
        else if (in && !copy(td, (uint32_t)n, true)) code = CODE_DATA_BUFFER;
        else if ((uint32_t)n < td->bytes) code = CODE_SHORT;
    }
    if (code != CODE_SUCCESS && code != CODE_SHORT) {
        trace(TRACE_GUEST_ERRORS, "xhci: slot %u endpoint %u: code %u\n", td->slot, td->endpoint, code);
        xhci_endpoint_state_set(td->s, e, code == CODE_TRB ? EP_ERROR : EP_HALTED);
    }
    events_tell(td, n > 0 ? (uint32_t)n : 0, code);
    return true;
}

void xhci_endpoint_run(struct xhci *s, unsigned slot, unsigned endpoint)
{
    struct xhci_endpoint *e = &s->slot[slot].ep[endpoint];
    struct td td = { .s = s, .slot = slot, .endpoint = endpoint, .trb = malloc(TRBS_MAX * sizeof(struct xhci_trb)) };
    unsigned n = 0;

    e->ready = false;
    for (; td.trb && n < AT_ONCE && e->state == EP_RUNNING && !(s->sts & (STS_HSE | STS_HCE)); n++) {
        struct xhci_ring ring = e->ring;
        bool over;

        e->waits = false;
        if (!gather(&td, &ring)) break;
        td.data = td.bytes <= SMALL_BYTES ? td.small : td.bytes <= BYTES_MAX ? malloc(td.bytes) : td.small;
        if (!td.data) break;
        over = td_run(&td, e);
        if (td.data != td.small) free(td.data);
        e->waits = !over;
        if (!over) break;
        if (e->state == EP_RUNNING) e->ring = ring;
    }
    free(td.trb);
    if (n < AT_ONCE) return;
    e->ready = true;
    xhci_work_post(s);
}

void xhci_endpoint_stop(struct xhci *s, unsigned slot, unsigned endpoint)
{
    struct xhci_endpoint *e = &s->slot[slot].ep[endpoint];
    struct xhci_ring ring = e->ring;
    struct xhci_trb t;
    struct td td = { .s = s, .slot = slot, .endpoint = endpoint };

    e->ready = false;
    if (!e->waits) return;
    e->waits = false;
    if (xhci_ring_next(s, &ring, &t)) event(&td, t.at, length_of(&t), CODE_STOPPED, 0);
}
