/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Rings: those the driver fills, through which links lead, and event rings, which the controller fills. Events for which there is no room wait, a few
 * hundred of them; a driver that lets even those be too many has a controller with an error (HCE).
 * Source: xHCI 1.1, 4.9 (rings), 4.17 (interrupters), 5.5.2 (registers), 6.5 (segment table).
 */
#include <string.h>

#include "base/bits.h"
#include "base/log.h"
#include "device/usb/xhci_private.h"

enum { LINKS_MAX = 32, IMAN_IP = 1, IMAN_IE = 2, ERDP_EHB = 8, SEGMENT_MIN = 16, SEGMENT_MAX = 4096 };

struct raw_trb { le64 parameter; le32 status, control; };

static void error(struct xhci *s, const char *what)
{
    trace(TRACE_GUEST_ERRORS, "xhci: %s\n", what);
    s->sts |= STS_HSE;
}

bool xhci_ring_next(struct xhci *s, struct xhci_ring *r, struct xhci_trb *t)
{
    for (unsigned links = 0; links < LINKS_MAX; links++) {
        struct raw_trb raw;

        if (!pci_dma_read(&s->pci, r->dequeue, &raw, sizeof(raw))) {
            error(s, "a ring is outside of memory");
            return false;
        }
        *t = (struct xhci_trb){ le64_get(raw.parameter), le32_get(raw.status), le32_get(raw.control), r->dequeue };
        if (!(t->control & TRB_CYCLE) != !r->cycle) return false;
        if (xhci_trb_type(t) != TRB_LINK) {
            r->dequeue += TRB_BYTES;
            return true;
        }
        r->dequeue = t->parameter & ~15ull;
        if (t->control & TRB_TOGGLE) r->cycle = !r->cycle;
    }
    error(s, "a ring of links");
    return false;
}

/* ---- interrupts ---- */

void xhci_interrupt_update(struct xhci *s)
{
    bool up = s->cmd & CMD_INTE && (s->intr[0].iman & (IMAN_IP | IMAN_IE)) == (IMAN_IP | IMAN_IE);

    pci_intx_set(&s->pci, up && !pci_msix_is_enabled(&s->msix));
}

static void interrupt(struct xhci *s, unsigned n)
{
    struct xhci_interrupter *i = &s->intr[n];
    bool busy = i->erdp & ERDP_EHB;

    i->erdp |= ERDP_EHB;
    i->iman |= IMAN_IP;
    s->sts |= STS_EINT;
    if (!busy && i->iman & IMAN_IE && s->cmd & CMD_INTE && pci_msix_is_enabled(&s->msix)) {
        i->iman &= ~(uint32_t)IMAN_IP;
        pci_msix_send(&s->msix, n);
    }
    xhci_interrupt_update(s);
}

/* ---- event rings ---- */

static uint32_t dequeue_index(const struct xhci_interrupter *i) { return (uint32_t)(((i->erdp & ~15ull) - i->start) / TRB_BYTES); }

static bool has_room(const struct xhci_interrupter *i)
{
    uint32_t dequeue = dequeue_index(i);

    return i->size && (dequeue >= i->size || (i->enqueue + 1) % i->size != dequeue);
}

static void put(struct xhci *s, struct xhci_interrupter *i, const struct xhci_trb *t)
{
    struct raw_trb raw = { le64_make(t->parameter), le32_make(t->status), le32_make((t->control & ~(uint32_t)TRB_CYCLE) | i->cycle) };

    if (!pci_dma_write(&s->pci, i->start + (gpa_t)i->enqueue * TRB_BYTES, &raw, sizeof(raw))) error(s, "an event ring is outside of memory");
    if (++i->enqueue < i->size) return;
    i->enqueue = 0;
    i->cycle = !i->cycle;
}

void xhci_event(struct xhci *s, unsigned n, const struct xhci_trb *event)
{
    struct xhci_interrupter *i = &s->intr[n < XHCI_INTERRUPTERS ? n : 0];

    if (!i->size) return;                               /* nobody wants them */
    if (!i->waiting_count && has_room(i)) put(s, i, event);
    else if (i->waiting_count < XHCI_EVENTS_WAITING) i->waiting[i->waiting_count++] = *event;
    else {
        error(s, "nobody takes the events");
        s->sts |= STS_HCE;
    }
    interrupt(s, (unsigned)(i - s->intr));
}

void xhci_event_ring_set(struct xhci *s, unsigned n)
{
    struct xhci_interrupter *i = &s->intr[n];
    struct { le64 base; le32 size, reserved; } segment;

    i->size = i->enqueue = 0;
    i->waiting_count = 0;
    i->cycle = true;
    if (!i->erstsz || !i->erstba) return;
    if (!pci_dma_read(&s->pci, i->erstba, &segment, sizeof(segment)) || le32_get(segment.size) < SEGMENT_MIN || le32_get(segment.size) > SEGMENT_MAX) {
        error(s, "an event ring's segment makes no sense");
        return;
    }
    i->start = le64_get(segment.base) & ~63ull;
    i->size = le32_get(segment.size);
}

/* The driver has taken events: those that wait get their places. */
void xhci_dequeue_set(struct xhci *s, unsigned n, uint64_t value)
{
    struct xhci_interrupter *i = &s->intr[n];
    uint64_t busy = i->erdp & ERDP_EHB & ~value;
    unsigned done = 0;

    i->erdp = (value & ~(uint64_t)ERDP_EHB) | busy;
    while (done < i->waiting_count && has_room(i)) put(s, i, &i->waiting[done++]);
    i->waiting_count -= done;
    memmove(i->waiting, i->waiting + done, i->waiting_count * sizeof(i->waiting[0]));
    if (i->size && !busy && dequeue_index(i) < i->size && dequeue_index(i) != i->enqueue) interrupt(s, n);
}
