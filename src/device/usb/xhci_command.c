/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The command ring: device slots and endpoints come and go. Contexts are the driver's memory; what the controller needs of them is copied, once, when
 * a command says that it is valid.
 * Sources: xHCI 1.1, 4.6 (commands), 6.2 (contexts).
 */
#include <stdio.h>
#include <string.h>

#include "base/bits.h"
#include "base/log.h"
#include "device/usb/xhci_private.h"

enum { CONTEXT_BYTES = 32, CONTEXT_WORDS = 8, COMMANDS_AT_ONCE = 64, ROUTE_TIERS = 5, BLOCK_SET_ADDRESS = 1 << 9, DECONFIGURE = 1 << 9, NEC_FIRMWARE = 0x3025 };

bool xhci_words_read(struct xhci *s, gpa_t at, uint32_t *words, unsigned count)
{
    le32 raw[CONTEXT_WORDS];

    if (!pci_dma_read(&s->pci, at, raw, 4 * count)) return false;
    for (unsigned i = 0; i < count; i++) words[i] = le32_get(raw[i]);
    return true;
}

void xhci_words_write(struct xhci *s, gpa_t at, const uint32_t *words, unsigned count)
{
    le32 raw[CONTEXT_WORDS];

    for (unsigned i = 0; i < count; i++) raw[i] = le32_make(words[i]);
    if (!pci_dma_write(&s->pci, at, raw, 4 * count)) s->sts |= STS_HSE;
}

/* ---- endpoints ---- */

/* The driver reads state and dequeue pointer from its context. */
void xhci_endpoint_state_set(struct xhci *s, struct xhci_endpoint *e, unsigned state)
{
    uint32_t words[4];

    e->state = (uint8_t)state;
    if (!e->context || !xhci_words_read(s, e->context, words, 4)) return;
    words[0] = (words[0] & ~7u) | state;
    words[2] = (uint32_t)e->ring.dequeue | e->ring.cycle;
    words[3] = (uint32_t)(e->ring.dequeue >> 32);
    xhci_words_write(s, e->context, words, 4);
}

static bool endpoint_enable(struct xhci *s, struct xhci_slot *slot, unsigned n, gpa_t input)
{
    struct xhci_endpoint *e = &slot->ep[n];
    uint32_t words[CONTEXT_WORDS];
    unsigned type;

    if (!xhci_words_read(s, input, words, CONTEXT_WORDS)) return false;
    type = words[1] >> 3 & 7;
    if (!type || (n == 1) != (type == 4) || (n > 1 && (n & 1) != type >> 2)) return false;
    if (words[0] >> 10 & 31) return false;               /* streams are not offered */
    *e = (struct xhci_endpoint){ .context = slot->context + (gpa_t)n * CONTEXT_BYTES,
                                 .ring = { (words[2] & ~15u) | (gpa_t)words[3] << 32, words[2] & 1 } };
    words[0] &= ~7u;
    xhci_words_write(s, e->context, words, CONTEXT_WORDS);
    xhci_endpoint_state_set(s, e, EP_RUNNING);
    return true;
}

static void endpoint_disable(struct xhci *s, unsigned slot, unsigned n)
{
    struct xhci_endpoint *e = &s->slot[slot].ep[n];

    if (e->state == EP_DISABLED) return;
    xhci_endpoint_stop(s, slot, n);
    xhci_endpoint_state_set(s, e, EP_DISABLED);
    *e = (struct xhci_endpoint){ 0 };
}

/* ---- slots ---- */

static unsigned slot_enable(struct xhci *s, unsigned *slot)
{
    for (unsigned n = 1; n <= MIN(s->config & 0xff, (uint32_t)XHCI_SLOTS); n++) {
        if (s->slot[n].enabled) continue;
        s->slot[n] = (struct xhci_slot){ .enabled = true };
        *slot = n;
        return CODE_SUCCESS;
    }
    return CODE_NO_SLOTS;
}

static unsigned slot_disable(struct xhci *s, unsigned slot)
{
    for (unsigned n = 1; n < XHCI_ENDPOINTS; n++) endpoint_disable(s, slot, n);
    s->slot[slot] = (struct xhci_slot){ 0 };
    return CODE_SUCCESS;
}

static void slot_state_set(struct xhci *s, struct xhci_slot *slot, unsigned state, unsigned address)
{
    uint32_t word = state << 27 | address;

    slot->state = (uint8_t)state;
    xhci_words_write(s, slot->context + 12, &word, 1);
}

struct usb_device *xhci_slot_device(struct xhci *s, const struct xhci_slot *slot)
{
    for (const struct usb_port *p = slot->path[0] ? s->bus.ports : NULL; p; p = p->next)
        if (p->device && !strcmp(p->path, slot->path)) return (p->device->speed == USB_SUPER) == slot->is_super ? p->device : NULL;
    return NULL;
}

/* Root port and route string become the path of a port. */
static bool path_make(const struct xhci *s, struct xhci_slot *slot, const uint32_t *words)
{
    unsigned root = words[1] >> 16 & 255, n;

    if (!root || root > 2 * s->ports_each) return false;
    slot->is_super = root > s->ports_each;
    n = (unsigned)snprintf(slot->path, sizeof(slot->path), "%u", (root - 1) % s->ports_each + 1);
    for (unsigned tier = 0; tier < ROUTE_TIERS && words[0] >> 4 * tier & 15; tier++)
        n += (unsigned)snprintf(slot->path + n, sizeof(slot->path) - n, ".%u", words[0] >> 4 * tier & 15);
    return true;
}

static bool context_find(struct xhci *s, unsigned slot)
{
    uint32_t words[2];

    if (!xhci_words_read(s, s->dcbaap + 8 * (gpa_t)slot, words, 2)) return false;
    s->slot[slot].context = (words[0] & ~63u) | (gpa_t)words[1] << 32;
    return true;
}

static unsigned address_device(struct xhci *s, unsigned slot, const struct xhci_trb *t)
{
    gpa_t input = t->parameter & ~15ull;
    struct xhci_slot *sl = &s->slot[slot];
    uint32_t flags[2], words[4];
    bool blocked = t->control & BLOCK_SET_ADDRESS;
    struct usb_device *d;

    if (sl->state > SLOT_DEFAULT || (sl->state == SLOT_DEFAULT && blocked)) return CODE_CONTEXT_STATE;
    if (!xhci_words_read(s, input, flags, 2) || flags[0] || flags[1] != 3 || !xhci_words_read(s, input + CONTEXT_BYTES, words, 4)) return CODE_TRB;
    if (!context_find(s, slot) || !path_make(s, sl, words)) return CODE_TRB;
    d = xhci_slot_device(s, sl);
    if (!d) return CODE_TRANSACTION;
    sl->interrupter = words[2] >> 22;
    if (!endpoint_enable(s, sl, 1, input + 2 * CONTEXT_BYTES)) return CODE_PARAMETER;
    xhci_words_write(s, sl->context, words, 4);
    if (!blocked) d->address = (uint8_t)slot;
    slot_state_set(s, sl, blocked ? SLOT_DEFAULT : SLOT_ADDRESSED, blocked ? 0 : slot);
    return CODE_SUCCESS;
}

static unsigned deconfigure(struct xhci *s, unsigned slot)
{
    for (unsigned n = 2; n < XHCI_ENDPOINTS; n++) endpoint_disable(s, slot, n);
    slot_state_set(s, &s->slot[slot], SLOT_ADDRESSED, slot);
    return CODE_SUCCESS;
}

static unsigned configure_endpoint(struct xhci *s, unsigned slot, const struct xhci_trb *t)
{
    gpa_t input = t->parameter & ~15ull;
    struct xhci_slot *sl = &s->slot[slot];
    uint32_t flags[2], words[4], mine[4];

    if (sl->state < SLOT_ADDRESSED) return CODE_CONTEXT_STATE;
    if (t->control & DECONFIGURE) return deconfigure(s, slot);
    if (!xhci_words_read(s, input, flags, 2) || flags[0] & 3 || (flags[1] & 3) != 1) return CODE_TRB;
    if (!xhci_words_read(s, input + CONTEXT_BYTES, words, 4) || !xhci_words_read(s, sl->context, mine, 4)) return CODE_TRB;
    for (unsigned n = 2; n < XHCI_ENDPOINTS; n++) {
        if ((flags[0] | flags[1]) >> n & 1) endpoint_disable(s, slot, n);
        if (flags[1] >> n & 1 && !endpoint_enable(s, sl, n, input + (n + 1) * (gpa_t)CONTEXT_BYTES)) return CODE_PARAMETER;
    }
    mine[0] = (mine[0] & 0x07ffffff) | (words[0] & 0xf8000000);
    xhci_words_write(s, sl->context, mine, 1);
    slot_state_set(s, sl, words[0] >> 27 > 1 ? SLOT_CONFIGURED : SLOT_ADDRESSED, slot);
    return CODE_SUCCESS;
}

static unsigned evaluate_context(struct xhci *s, unsigned slot, const struct xhci_trb *t)
{
    gpa_t input = t->parameter & ~15ull;
    struct xhci_slot *sl = &s->slot[slot];
    uint32_t flags[2], from[4], mine[4];

    if (sl->state < SLOT_DEFAULT) return CODE_CONTEXT_STATE;
    if (!xhci_words_read(s, input, flags, 2) || flags[0] || flags[1] & ~3u) return CODE_TRB;
    if (flags[1] & 1 && xhci_words_read(s, input + CONTEXT_BYTES, from, 4) && xhci_words_read(s, sl->context, mine, 4)) {
        mine[1] = (mine[1] & 0xffff0000) | (from[1] & 0xffff);         /* exit latency */
        mine[2] = (mine[2] & 0x003fffff) | (from[2] & 0xffc00000);     /* interrupter */
        sl->interrupter = from[2] >> 22;
        xhci_words_write(s, sl->context, mine, 4);
    }
    if (flags[1] & 2 && xhci_words_read(s, input + 2 * CONTEXT_BYTES, from, 2) && xhci_words_read(s, sl->ep[1].context, mine, 2)) {
        mine[1] = (mine[1] & 0xffff) | (from[1] & 0xffff0000);         /* largest packet */
        xhci_words_write(s, sl->ep[1].context, mine, 2);
    }
    return CODE_SUCCESS;
}

static unsigned reset_device(struct xhci *s, unsigned slot)
{
    struct xhci_slot *sl = &s->slot[slot];
    struct usb_device *d = xhci_slot_device(s, sl);
    uint32_t word;

    if (sl->state < SLOT_ADDRESSED) return CODE_CONTEXT_STATE;
    for (unsigned n = 2; n < XHCI_ENDPOINTS; n++) endpoint_disable(s, slot, n);
    if (d) d->address = 0;
    if (xhci_words_read(s, sl->context, &word, 1)) {
        word = (word & 0x07ffffff) | 1u << 27;
        xhci_words_write(s, sl->context, &word, 1);
    }
    slot_state_set(s, sl, SLOT_DEFAULT, 0);
    return CODE_SUCCESS;
}

/* ---- commands about one endpoint ---- */

static unsigned reset_endpoint(struct xhci *s, struct xhci_endpoint *e)
{
    if (e->state != EP_HALTED) return CODE_CONTEXT_STATE;
    xhci_endpoint_state_set(s, e, EP_STOPPED);
    return CODE_SUCCESS;
}

static unsigned stop_endpoint(struct xhci *s, unsigned slot, unsigned n)
{
    struct xhci_endpoint *e = &s->slot[slot].ep[n];

    if (e->state != EP_RUNNING) return CODE_CONTEXT_STATE;
    xhci_endpoint_stop(s, slot, n);
    xhci_endpoint_state_set(s, e, EP_STOPPED);
    return CODE_SUCCESS;
}

static unsigned set_dequeue(struct xhci *s, struct xhci_endpoint *e, const struct xhci_trb *t)
{
    if (e->state != EP_STOPPED && e->state != EP_ERROR) return CODE_CONTEXT_STATE;
    e->ring = (struct xhci_ring){ t->parameter & ~15ull, t->parameter & 1 };
    xhci_endpoint_state_set(s, e, EP_STOPPED);
    return CODE_SUCCESS;
}

static unsigned endpoint_command(struct xhci *s, unsigned slot, const struct xhci_trb *t)
{
    unsigned n = t->control >> 16 & 31;
    struct xhci_endpoint *e = &s->slot[slot].ep[n];

    if (!n) return CODE_TRB;
    if (e->state == EP_DISABLED) return CODE_ENDPOINT_DISABLED;
    switch (xhci_trb_type(t)) {
    case CMD_RESET_ENDPOINT: return reset_endpoint(s, e);
    case CMD_STOP_ENDPOINT: return stop_endpoint(s, slot, n);
    default: return set_dequeue(s, e, t);
    }
}

/* ---- the ring ---- */

static unsigned slot_command(struct xhci *s, unsigned slot, const struct xhci_trb *t)
{
    if (!slot || slot > XHCI_SLOTS || !s->slot[slot].enabled) return CODE_SLOT_DISABLED;
    switch (xhci_trb_type(t)) {
    case CMD_DISABLE_SLOT: return slot_disable(s, slot);
    case CMD_ADDRESS_DEVICE: return address_device(s, slot, t);
    case CMD_CONFIGURE_ENDPOINT: return configure_endpoint(s, slot, t);
    case CMD_EVALUATE_CONTEXT: return evaluate_context(s, slot, t);
    case CMD_RESET_DEVICE: return reset_device(s, slot);
    default: return endpoint_command(s, slot, t);
    }
}

static void command_run(struct xhci *s, const struct xhci_trb *t)
{
    unsigned slot = t->control >> 24, code = CODE_TRB, type = EVENT_COMMAND, extra = 0;

    switch (xhci_trb_type(t)) {
    case CMD_ENABLE_SLOT: code = slot_enable(s, &slot); break;
    case CMD_DISABLE_SLOT ... CMD_RESET_DEVICE: code = slot_command(s, slot, t); break;
    case CMD_NOOP: code = CODE_SUCCESS; break;
    case CMD_NEC_FIRMWARE:
        if (!s->is_nec) break;
        code = CODE_SUCCESS;
        type = EVENT_NEC_FIRMWARE;
        extra = NEC_FIRMWARE;
        break;
    default: trace(TRACE_UNIMP, "xhci: command %u\n", xhci_trb_type(t));
    }
    xhci_event(s, 0, &(struct xhci_trb){ t->at, code << 24 | extra, type << 10 | slot << 24, 0 });
}

void xhci_commands_run(struct xhci *s)
{
    struct xhci_trb t;

    for (unsigned n = 0; s->command_runs && n < COMMANDS_AT_ONCE; n++) {
        if (s->sts & (STS_HSE | STS_HCE) || !xhci_ring_next(s, &s->command, &t)) return;
        command_run(s, &t);
    }
    s->command_more = s->command_runs;
    if (s->command_more) xhci_work_post(s);
}
