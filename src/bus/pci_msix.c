/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * MSI-X: a table of messages in device memory, one a vector, each with a mask bit; a vector that is raised while masked
 * waits in the pending bits. Table and pending bits share one BAR: of 4 KiB with the bits in its upper half, as QEMU lays
 * it out, or larger if there are more vectors than fit.
 * Source: PCI Local Bus Specification 3.0, section 6.8.2.
 */
#include "bus/pci_msix.h"

#include <stdlib.h>
#include <string.h>

#include "base/bits.h"
#include "base/error.h"

enum { CONTROL = 2, TABLE = 4, PENDING = 8, BYTES = 12, CONTROL_MASK_ALL = 0x40, CONTROL_ENABLE = 0x80 };   /* high byte */
enum { ENTRY = 16, ENTRY_DATA = 8, ENTRY_CONTROL = 12, ENTRY_MASKED = 1 };

static uint32_t get32(const uint8_t *p)
{
    uint32_t v;

    memcpy(&v, p, 4);
    return v;
}

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
    pci_message_send(x->function, get32(e) | (uint64_t)get32(e + 4) << 32, get32(e + ENTRY_DATA));
}

static void flush(struct pci_msix *x, unsigned vector)
{
    if (!(x->pending[vector / 64] & BIT(vector % 64)) || !pci_msix_is_enabled(x) || is_masked(x, vector)) return;
    x->pending[vector / 64] &= ~BIT(vector % 64);
    pci_msix_send(x, vector);
}

void pci_msix_config_written(struct pci_msix *x, unsigned offset, unsigned size)
{
    if (!x->capability || offset > x->capability + CONTROL + 1u || offset + size <= x->capability + CONTROL + 1u) return;
    for (unsigned v = 0; v < x->vectors; v++) flush(x, v);
}

/* ---- the BAR ---- */

static uint64_t bar_read(void *opaque, uint64_t offset, unsigned size)
{
    struct pci_msix *x = opaque;
    uint64_t value = 0;

    if (offset + size <= x->vectors * ENTRY) memcpy(&value, x->table + offset, size);
    else if (offset >= x->pending_offset && offset - x->pending_offset + size <= ALIGN_UP(x->vectors, 64u) / 8)
        memcpy(&value, (uint8_t *)x->pending + (offset - x->pending_offset), size);
    return value;
}

static void bar_write(void *opaque, uint64_t offset, uint64_t value, unsigned size)
{
    struct pci_msix *x = opaque;

    if (offset + size > x->vectors * ENTRY) return;    /* pending bits are read-only */
    memcpy(x->table + offset, &value, size);
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
    memset(x->table, 0, x->vectors * ENTRY);
    for (unsigned v = 0; v < x->vectors; v++) x->table[v * ENTRY + ENTRY_CONTROL] = ENTRY_MASKED;
    memset(x->pending, 0, sizeof(x->pending));
    x->function->config[x->capability + CONTROL + 1] &= (uint8_t)~(CONTROL_ENABLE | CONTROL_MASK_ALL);
}

void pci_msix_destroy(struct pci_msix *x)
{
    free(x->table);
    x->table = NULL;
}
