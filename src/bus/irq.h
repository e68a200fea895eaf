/* SPDX-License-Identifier: GPL-2.0-or-later */
/* A wire between chips. The far end may be a chip model, a router, or KVM's own irqchip: the driver does not know. */
#ifndef BUS_IRQ_H
#define BUS_IRQ_H

struct irq_line {
    void (*set)(void *opaque, int n, int level);   /* level 0 or 1; idempotent; machine lock held */
    void *opaque;
    int n;
};

static inline void irq_set(const struct irq_line *l, int level)
{
    if (l->set) l->set(l->opaque, l->n, level);
}
static inline void irq_pulse(const struct irq_line *l) { irq_set(l, 1); irq_set(l, 0); }

/* Message-signalled interrupts: where a write of data to address ends. */
struct msi_target {
    void (*send)(void *opaque, unsigned long address, unsigned data);
    /* Whenever fd, an eventfd, counts, this message is sent by itself, until it is told off or another one. false: it is not. NULL: nobody does. */
    bool (*event)(void *opaque, int fd, bool on, unsigned long address, unsigned data);
    void *opaque;
};

#endif
