/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * What the kernel does for devices by itself: a doorbell of the memory map that the guest writes to is counted in an eventfd, and the vCPU goes on
 * (KVM_IOEVENTFD); an eventfd that counts becomes an interrupt message (KVM_IRQFD by a GSI of its own in the routing table, from 24 on). A doorbell
 * that the kernel refuses, for it has no room for more, is written to as any register is.
 *
 * A message that was told off keeps its place in the table until another needs it, since every change of the table waits for all processors.
 * Sources: Linux Documentation/virt/kvm/api.rst.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>

#include "base/log.h"
#include "engine/kvm/kvm_private.h"

enum { GSI_FIRST = 24, WIRES = 38 };

/* ---- doorbells ---- */

static bool bell_set(const struct kvm_bells *b, const struct memory_bell *bell, bool on)
{
    struct kvm_ioeventfd e = { .addr = bell->address, .len = bell->size, .fd = bell->fd };

    if (!bell->size && !b->engine->any_length) e.len = 2;
    if (b->is_ports) e.flags |= KVM_IOEVENTFD_FLAG_PIO;
    if (bell->value >= 0) e.flags |= KVM_IOEVENTFD_FLAG_DATAMATCH;
    if (bell->value >= 0) e.datamatch = (uint64_t)bell->value;
    if (!on) e.flags |= KVM_IOEVENTFD_FLAG_DEASSIGN;
    trace(TRACE_KVM, "kvm: doorbell %s%#llx by %d %s\n", b->is_ports ? "port " : "", (unsigned long long)bell->address, bell->fd, on ? "on" : "off");
    return ioctl(b->engine->vm_fd, KVM_IOEVENTFD, &e) == 0;
}

static bool bells_have(const struct memory_bell *bell, size_t count, const struct memory_bell *b)
{
    for (size_t i = 0; i < count; i++)
        if (bell[i].address == b->address && bell[i].fd == b->fd && bell[i].value == b->value && bell[i].size == b->size) return true;
    return false;
}

void kvm_bells_changed(void *opaque, const struct memory_bell *bell, size_t count)
{
    struct kvm_bells *b = opaque;
    size_t kept = 0;

    for (size_t i = 0; i < b->count; i++) {
        if (bells_have(bell, count, &b->bell[i])) b->bell[kept++] = b->bell[i];
        else bell_set(b, &b->bell[i], false);
    }
    b->count = kept;
    if (count > b->room) {
        struct memory_bell *more = realloc(b->bell, count * sizeof(*more));

        if (!more) return;                             /* the new ones are written to as any register */
        b->bell = more;
        b->room = count;
    }
    for (size_t i = 0; i < count; i++)
        if (!bells_have(b->bell, kept, &bell[i]) && bell_set(b, &bell[i], true)) b->bell[b->count++] = bell[i];
}

/* ---- messages ---- */

/* As the board is wired: ISA IRQ n to the 8259s and to I/O APIC pin n, but IRQ 0 to pin 2. */
static unsigned wires_put(struct kvm_irq_routing_entry *entry)
{
    unsigned n = 0;

    for (unsigned irq = 0; irq < 16; irq++)
        if (irq != 2)
            entry[n++] = (struct kvm_irq_routing_entry){ .gsi = irq, .type = KVM_IRQ_ROUTING_IRQCHIP,
                .u.irqchip = { irq < 8 ? KVM_IRQCHIP_PIC_MASTER : KVM_IRQCHIP_PIC_SLAVE, irq & 7 } };
    for (unsigned gsi = 0; gsi < 24; gsi++)
        if (gsi != 2)
            entry[n++] = (struct kvm_irq_routing_entry){ .gsi = gsi, .type = KVM_IRQ_ROUTING_IRQCHIP,
                .u.irqchip = { KVM_IRQCHIP_IOAPIC, gsi ? gsi : 2 } };
    return n;
}

int kvm_routing_set(struct kvm_engine *e)
{
    struct { struct kvm_irq_routing head; struct kvm_irq_routing_entry entry[WIRES + KVM_MESSAGES]; } r = { { 0 } };
    unsigned n = wires_put(r.entry);

    for (unsigned i = 0; i < e->messages; i++) {
        const struct kvm_message *m = &e->message[i];

        r.entry[n++] = (struct kvm_irq_routing_entry){ .gsi = GSI_FIRST + i, .type = KVM_IRQ_ROUTING_MSI,
            .u.msi = { .address_lo = (uint32_t)m->address, .address_hi = (uint32_t)(m->address >> 32), .data = m->data } };
    }
    r.head.nr = n;
    return ioctl(e->vm_fd, KVM_SET_GSI_ROUTING, &r);
}

static bool event_set(struct kvm_engine *e, unsigned n, int fd, bool on)
{
    struct kvm_irqfd i = { .fd = (uint32_t)fd, .gsi = GSI_FIRST + n, .flags = on ? 0 : KVM_IRQFD_FLAG_DEASSIGN };

    trace(TRACE_KVM, "kvm: message %u by %d %s\n", n, fd, on ? "on" : "off");
    return ioctl(e->vm_fd, KVM_IRQFD, &i) == 0;
}

/* A place where this message stands already, else one that nobody uses. */
static unsigned place_find(const struct kvm_engine *e, uint64_t address, uint32_t data)
{
    unsigned place = KVM_MESSAGES;

    for (unsigned n = 0; n < e->messages; n++) {
        const struct kvm_message *m = &e->message[n];

        if (m->fd >= 0) continue;
        if (m->address == address && m->data == data) return n;
        place = n;
    }
    return place == KVM_MESSAGES && e->messages < KVM_MESSAGES ? e->messages : place;
}

static bool message_on(struct kvm_engine *e, int fd, uint64_t address, uint32_t data)
{
    unsigned n = place_find(e, address, data), before = e->messages;
    struct kvm_message *m = &e->message[n], old;

    if (n == KVM_MESSAGES) return false;
    old = *m;
    if (n == e->messages || m->address != address || m->data != data) {
        *m = (struct kvm_message){ -1, data, address };
        if (n == e->messages) e->messages++;
        if (kvm_routing_set(e) < 0) {
            *m = old;                                  /* which the kernel has still */
            e->messages = before;
            return false;
        }
    }
    if (!event_set(e, n, fd, true)) return false;
    m->fd = fd;
    return true;
}

bool kvm_msi_event(struct engine *base, int fd, bool on, uint64_t address, uint32_t data)
{
    struct kvm_engine *e = kvm_of(base);

    for (unsigned n = 0; n < e->messages; n++) {
        struct kvm_message *m = &e->message[n];

        if (m->fd != fd) continue;
        if (on && m->address == address && m->data == data) return true;
        event_set(e, n, fd, false);
        m->fd = -1;
    }
    return !on || message_on(e, fd, address, data);
}
