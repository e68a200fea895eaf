/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * One frame of a UHCI schedule: from the frame list's entry through transfer descriptors and queue heads, first in, first done, until the list
 * ends, the frame's bytes are used up, or nothing more can happen.
 *
 * Lists of a real driver are loops (bandwidth reclamation), those of a hostile one anything. So the walk counts its steps, and ends when it comes
 * back to where it was without having moved anything (Brent's way to find a loop: remember a place, at each power of two of steps another).
 * A frame carries more bytes than a wire could: disks are quicker then, and drivers do not mind.
 * Source: Universal Host Controller Interface 1.1, chapters 3.1 to 3.4.
 */
#include <string.h>

#include "base/bits.h"
#include "base/log.h"
#include "device/usb/uhci_private.h"

enum { LINK_END = 1, LINK_QUEUE = 2, LINK_DEPTH = 4 };
enum { TD_LENGTH = 0x7ff, TD_TIMEOUT = 1 << 18, TD_NAK = 1 << 19, TD_BABBLE = 1 << 20, TD_STALLED = 1 << 22, TD_ACTIVE = 1 << 23, TD_IOC = 1 << 24,
       TD_ERRORS_AT = 27, TD_SHORT = 1 << 29, TD_STATUS = 0x7e0000 };
enum { TOKEN_MAX = 0x4ff, TOKEN_NONE = 0x7ff, PACKET_BYTES = 1280, FRAME_BYTES = 8192, FRAME_STEPS = 1024, FRAME_LIST_ENTRIES = 1024 };

struct td { uint32_t link, status, token, buffer; };
enum outcome { NEXT, STAYS, STOP };      /* on to the next descriptor; this one stays first of its queue; the controller halts */

struct walk {
    struct uhci *s;
    struct uhci_result result;
    uint32_t link, queue, after;         /* where it is; the queue head it is in, and that one's successor */
    unsigned steps, bytes, mark_at;
    uint32_t mark;
    bool moved_since_mark;
};

static bool words_read(struct walk *w, uint32_t at, uint32_t *to, unsigned count)
{
    le32 raw[4];

    if (!pci_dma_read(&w->s->pci, at & ~15u, raw, 4 * count)) {
        w->result.errors |= STS_HSE;
        return false;
    }
    for (unsigned i = 0; i < count; i++) to[i] = le32_get(raw[i]);
    return true;
}

static void word_write(struct walk *w, uint32_t at, uint32_t value)
{
    le32 raw = le32_make(value);

    if (!pci_dma_write(&w->s->pci, at, &raw, sizeof(raw))) w->result.errors |= STS_HSE;
}

static struct usb_device *target(struct uhci *s, unsigned address)
{
    struct usb_device *d = NULL;

    for (unsigned i = 0; i < UHCI_PORTS && !d; i++)
        if (s->portsc[i] & 4 && !(s->portsc[i] & 0x1000)) d = usb_find(&s->port[i], address);
    return d;
}

/* ---- one transfer ---- */

static enum outcome failed(struct walk *w, struct td *td, uint32_t why)
{
    td->status = (td->status & ~(uint32_t)TD_ACTIVE) | TD_STALLED | why;
    w->result.errors |= STS_ERROR;
    if (td->status & TD_IOC) w->result.causes |= INTR_IOC;
    return STAYS;
}

/* Nobody answered: so often as the descriptor allows; 0 is for ever. */
static enum outcome unanswered(struct walk *w, struct td *td)
{
    unsigned left = td->status >> TD_ERRORS_AT & 3;

    td->status |= TD_TIMEOUT;
    if (left) td->status -= 1u << TD_ERRORS_AT;
    return left == 1 ? failed(w, td, TD_TIMEOUT) : STAYS;
}

static enum outcome finished(struct walk *w, struct td *td, unsigned moved, unsigned asked)
{
    td->status = (td->status & ~(uint32_t)(TD_ACTIVE | TD_LENGTH | TD_NAK)) | ((moved - 1) & TD_LENGTH);
    w->bytes += moved + 16;
    if (td->status & TD_IOC) w->result.causes |= INTR_IOC;
    if ((td->token & 0xff) != USB_IN || moved == asked || !(td->status & TD_SHORT)) return NEXT;
    w->result.causes |= INTR_SHORT;
    return STAYS;
}

static enum outcome transfer(struct walk *w, struct td *td)
{
    unsigned pid = td->token & 0xff, maximum = td->token >> 21, asked = (maximum + 1) & 0x7ff;
    struct usb_device *d = target(w->s, td->token >> 8 & 127);
    uint8_t data[PACKET_BYTES];
    int n;

    if ((pid != USB_IN && pid != USB_OUT && pid != USB_SETUP) || (maximum > TOKEN_MAX && maximum != TOKEN_NONE)) {
        trace(TRACE_GUEST_ERRORS, "uhci: descriptor with token %08x\n", td->token);
        w->result.errors |= STS_HCPE;
        return STOP;
    }
    if (pid != USB_IN && asked && !pci_dma_read(&w->s->pci, td->buffer, data, asked)) {
        w->result.errors |= STS_HSE;
        return STOP;
    }
    n = d ? usb_packet(d, (enum usb_pid)pid, td->token >> 15 & 15, data, asked) : USB_GONE;
    if (n == USB_NAK) {
        td->status |= TD_NAK;
        return STAYS;
    }
    w->moved_since_mark = w->result.moved = true;
    td->status &= ~(uint32_t)TD_STATUS;
    if (n == USB_GONE) return unanswered(w, td);
    if (n == USB_BABBLE) return failed(w, td, TD_BABBLE);
    if (n < 0) return failed(w, td, 0);
    if (pid == USB_IN && n && !pci_dma_write(&w->s->pci, td->buffer, data, (size_t)n)) {
        w->result.errors |= STS_HSE;
        return STOP;
    }
    return finished(w, td, (unsigned)n, asked);
}

/* ---- the walk ---- */

static void queue_step(struct walk *w)
{
    uint32_t head[2];

    if (!words_read(w, w->link, head, 2)) return;
    if (head[1] & LINK_END) w->link = head[0];
    else if (head[1] & LINK_QUEUE) w->link = head[1];
    else {
        w->queue = w->link & ~15u;
        w->after = head[0];
        w->link = head[1];
    }
}

static void descriptor_step(struct walk *w)
{
    uint32_t at = w->link & ~15u, word[4], before;
    enum outcome o = STAYS;
    struct td td;

    if (!words_read(w, at, word, 4)) return;
    td = (struct td){ word[0], word[1], word[2], word[3] };
    before = td.status;
    if (td.status & TD_ACTIVE) o = transfer(w, &td);
    /* Status last: once a driver finds a descriptor done it may put another into the queue. */
    if (w->queue && o == NEXT) word_write(w, w->queue + 4, td.link);
    if (td.status != before) word_write(w, at + 4, td.status);
    if (!w->queue) {
        w->link = td.link;
        return;
    }
    if (o == NEXT && td.link & LINK_DEPTH && !(td.link & (LINK_END | LINK_QUEUE))) {
        w->link = td.link;
        return;
    }
    w->link = w->after;
    w->queue = 0;
}

/* Is it back at a place from which nothing has moved since? */
static bool goes_round(struct walk *w)
{
    if (w->link == w->mark && !w->moved_since_mark) return true;
    if (w->steps != w->mark_at && !(w->link == w->mark && w->moved_since_mark)) return false;
    if (w->steps == w->mark_at) w->mark_at *= 2;
    w->mark = w->link;
    w->moved_since_mark = false;
    return false;
}

struct uhci_result uhci_frame_run(struct uhci *s)
{
    struct walk w = { .s = s, .mark_at = 1, .mark = LINK_END };
    le32 entry;

    if (!pci_dma_read(&s->pci, s->flbase + s->frnum % FRAME_LIST_ENTRIES * 4, &entry, sizeof(entry))) {
        w.result.errors = STS_HSE;
        return w.result;
    }
    w.link = le32_get(entry);
    while (!(w.link & LINK_END) && !(w.result.errors & (STS_HSE | STS_HCPE))) {
        if (w.bytes > FRAME_BYTES || ++w.steps > FRAME_STEPS || goes_round(&w)) break;
        if (w.link & LINK_QUEUE) queue_step(&w);
        else descriptor_step(&w);
    }
    return w.result;
}
