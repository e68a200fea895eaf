/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * MSI-X: a table of messages in device memory, one a vector, each with a mask bit; a vector that is raised while masked
 * waits in the pending bits. Table and pending bits share one BAR: of 4 KiB with the bits in its upper half, as QEMU lays
 * it out, or larger if there are more vectors than fit. A vector may also be sent by an eventfd, which the target (KVM) reads.
 * Source: PCI Local Bus Specification 3.0, section 6.8.2.
 */
#include "bus/pci_msix.h"

#include <poll.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include "base/bits.h"
#include "base/error.h"
#include "base/loop.h"

enum { CONTROL = 2, TABLE = 4, PENDING = 8, BYTES = 12, CONTROL_MASK_ALL = 0x40, CONTROL_ENABLE = 0x80 };   /* high byte */
enum { ENTRY = 16, ENTRY_DATA = 8, ENTRY_CONTROL = 12, ENTRY_MASKED = 1 };

static uint32_t get32(const uint8_t *p)
{
    uint32_t v;

    memcpy(&v, p, 4);
    return v;
}

static uint64_t address_of(const uint8_t *entry) { return get32(entry) | (uint64_t)get32(entry + 4) << 32; }

static uint8_t control(const struct pci_msix *x) { return x->function->config[x->capability + CONTROL + 1]; }

bool pci_msix_is_enabled(const struct pci_msix *x) { return x->capability && control(x) & CONTROL_ENABLE; }

static bool is_masked(const struct pci_msix *x, unsigned vector)
{
    return control(x) & CONTROL_MASK_ALL || x->table[vector * ENTRY + ENTRY_CONTROL] & ENTRY_MASKED;
}

void pci_msix_send(struct pci_msix *x, unsigned vector)
{
    const uint8_t *e = x->table + vector * ENTRY;

    if (vector >= x->vectors || !pci_msix_is_enabled(x)) return;
    if (is_masked(x, vector)) {
        x->pending[vector / 64] |= BIT(vector % 64);
        return;
    }
    pci_message_send(x->function, address_of(e), get32(e + ENTRY_DATA));
}

static void flush(struct pci_msix *x, unsigned vector)
{
    if (!(x->pending[vector / 64] & BIT(vector % 64)) || !pci_msix_is_enabled(x) || is_masked(x, vector)) return;
    x->pending[vector / 64] &= ~BIT(vector % 64);
    pci_msix_send(x, vector);
}

/* ---- messages by descriptors ---- */

/* The target refused: we send in its place. */
static void event_ready(void *opaque, int fd, unsigned events)
{
    struct pci_msix_event *e = opaque;
    uint64_t count;

    if (read(fd, &count, sizeof(count)) == sizeof(count)) pci_msix_send(e->msix, e->vector);
}

static bool event_is_pending(const struct pci_msix_event *e)
{
    struct pollfd p = { .fd = e->fd, .events = POLLIN };

    return !e->by_target && !e->watched && poll(&p, 1, 0) == 1;
}

/* While the vector is masked nobody reads its descriptor: the count is the pending bit, and is delivered when the target or we look at it again. */
static void event_settle(struct pci_msix *x, unsigned vector)
{
    struct pci_msix_event *e = x->event ? &x->event[vector] : NULL;
    const struct msi_target *target = pci_bus_msi(x->function->bus);
    const uint8_t *entry = x->table + vector * ENTRY;
    bool on;

    if (!e || e->fd < 0) return;
    on = pci_msix_is_enabled(x) && !is_masked(x, vector) && pci_is_master(x->function);
    if (e->watched) loop_fd_unwatch(e->fd);
    if (on || e->by_target) e->by_target = target->event(target->opaque, e->fd, on, address_of(entry), get32(entry + ENTRY_DATA)) && on;
    e->watched = on && !e->by_target;
    if (e->watched) loop_fd_watch(e->fd, LOOP_READ, event_ready, e);
}

static void events_close(struct pci_msix *x)
{
    const struct msi_target *target = x->event ? pci_bus_msi(x->function->bus) : NULL;

    for (unsigned v = 0; x->event && v < x->vectors; v++) {
        struct pci_msix_event *e = &x->event[v];

        if (e->fd < 0) continue;
        if (e->watched) loop_fd_unwatch(e->fd);
        if (e->by_target) target->event(target->opaque, e->fd, false, 0, 0);
        close(e->fd);
    }
    free(x->event);
    x->event = NULL;
}

static bool events_make(struct pci_msix *x)
{
    if (x->event) return true;
    x->event = calloc(x->vectors, sizeof(*x->event));
    for (unsigned v = 0; x->event && v < x->vectors; v++) x->event[v] = (struct pci_msix_event){ x, v, -1, false, false };
    return x->event;
}

int pci_msix_event(struct pci_msix *x, unsigned vector)
{
    if (vector >= x->vectors || !pci_msix_is_enabled(x) || !pci_bus_msi(x->function->bus)->event || !events_make(x)) return -1;
    if (x->event[vector].fd < 0) {
        x->event[vector].fd = eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC);
        event_settle(x, vector);
    }
    return x->event[vector].fd;
}

void pci_msix_settle(struct pci_msix *x)
{
    for (unsigned v = 0; x->event && v < x->vectors; v++) event_settle(x, v);
}

/* ---- capability ---- */

void pci_msix_config_written(struct pci_msix *x, unsigned offset, unsigned size)
{
    if (!x->capability || offset > x->capability + CONTROL + 1u || offset + size <= x->capability + CONTROL + 1u) return;
    pci_msix_settle(x);
    for (unsigned v = 0; v < x->vectors; v++) flush(x, v);
}

/* ---- the BAR ---- */

static void pending_gather(struct pci_msix *x, uint64_t bits[PCI_MSIX_VECTORS_MAX / 64])
{
    memcpy(bits, x->pending, sizeof(x->pending));
    for (unsigned v = 0; x->event && v < x->vectors; v++)
        if (x->event[v].fd >= 0 && event_is_pending(&x->event[v])) bits[v / 64] |= BIT(v % 64);
}

static uint64_t bar_read(void *opaque, uint64_t offset, unsigned size)
{
    uint64_t value = 0, bits[PCI_MSIX_VECTORS_MAX / 64];
    struct pci_msix *x = opaque;

    if (offset + size <= x->vectors * ENTRY) memcpy(&value, x->table + offset, size);
    else if (offset >= x->pending_offset && offset - x->pending_offset + size <= ALIGN_UP(x->vectors, 64u) / 8) {
        pending_gather(x, bits);
        memcpy(&value, (uint8_t *)bits + (offset - x->pending_offset), size);
    }
    return value;
}

static void bar_write(void *opaque, uint64_t offset, uint64_t value, unsigned size)
{
    struct pci_msix *x = opaque;

    if (offset + size > x->vectors * ENTRY) return;    /* pending bits are read-only */
    memcpy(x->table + offset, &value, size);
    event_settle(x, (unsigned)(offset / ENTRY));
    flush(x, (unsigned)(offset / ENTRY));
}

static const struct io_ops bar_io = { bar_read, bar_write, 4, 8 };

static void put32(uint8_t *p, uint32_t v) { memcpy(p, &v, 4); }

int pci_msix_add(struct pci_msix *x, struct pci_device *d, unsigned vectors, unsigned bar, uint8_t offset, struct error *err)
{
    uint8_t *c = d->config + offset;

    if (!vectors || vectors > PCI_MSIX_VECTORS_MAX)
        return error_set(err, "%s: %u interrupt vectors; MSI-X has 1 to %d", d->device.ops->name, vectors, PCI_MSIX_VECTORS_MAX);
    x->table = calloc(vectors, ENTRY);
    if (!x->table) return error_set(err, "no memory for %u interrupt vectors", vectors);
    x->function = d;
    x->vectors = vectors;
    x->pending_offset = 2048;
    x->bytes = 4096;
    while (x->pending_offset < vectors * ENTRY) x->pending_offset *= 2, x->bytes *= 2;
    pci_capability_add(d, 0x11, offset);
    c[CONTROL] = (uint8_t)(vectors - 1);
    c[CONTROL + 1] = (uint8_t)((vectors - 1) >> 8);
    d->writable[offset + CONTROL + 1] = CONTROL_ENABLE | CONTROL_MASK_ALL;
    put32(c + TABLE, bar);
    put32(c + PENDING, x->pending_offset | bar);
    x->capability = offset;
    pci_bar_add_io(d, bar, x->bytes, 0, &bar_io, x, "msix");
    pci_msix_reset(x);
    return 0;
}

void pci_msix_reset(struct pci_msix *x)
{
    if (!x->capability) return;
    events_close(x);
    memset(x->table, 0, x->vectors * ENTRY);
    for (unsigned v = 0; v < x->vectors; v++) x->table[v * ENTRY + ENTRY_CONTROL] = ENTRY_MASKED;
    memset(x->pending, 0, sizeof(x->pending));
    x->function->config[x->capability + CONTROL + 1] &= (uint8_t)~(CONTROL_ENABLE | CONTROL_MASK_ALL);
}

void pci_msix_destroy(struct pci_msix *x)
{
    events_close(x);
    free(x->table);
    x->table = NULL;
}
