/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Notifications by eventfd. With an engine that looks at doorbells (KVM) each queue has one while it is enabled, at its notify register in both
 * interfaces: the vCPU that rings goes on at once, and the main loop serves the queue. Who serves a queue elsewhere (vhost) takes the descriptor over,
 * then no thread of ours hears of it. Without such an engine, with ioeventfd=off, and for queues beyond what the process or the kernel has room for,
 * the write to the register is the notification.
 */
#include <stdlib.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include "base/bits.h"
#include "base/log.h"
#include "base/loop.h"
#include "device/virtio/virtio_pci_private.h"

struct virtio_pci_bell { struct virtio_pci *p; unsigned queue; int fd; bool is_taken; };

static void rung(void *opaque, int fd, unsigned events)
{
    struct virtio_pci_bell *b = opaque;
    uint64_t count;

    if (read(fd, &count, sizeof(count)) != sizeof(count)) return;
    b->p->rung_by_event++;
    virtio_queue_notify(b->p->v, b->queue);
}

/* The ranges with notify registers; NULL: the function has no such interface. */
static struct memory_range *modern(const struct virtio_pci *p) { return p->config.disable_modern ? NULL : p->pci.bar[p->modern_bar].range; }
static struct memory_range *legacy(const struct virtio_pci *p) { return p->has_legacy ? p->pci.bar[0].range : NULL; }

static void hang(struct virtio_pci_bell *b)
{
    struct virtio_pci *p = b->p;

    b->is_taken = false;
    b->fd = eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC);
    if (b->fd < 0) return;
    loop_fd_watch(b->fd, LOOP_READ, rung, b);
    if (modern(p)) memory_doorbell_add(modern(p), virtio_pci_modern_notify(p, b->queue), 0, -1, b->fd);
    if (legacy(p)) memory_doorbell_add(legacy(p), VIRTIO_PCI_LEGACY_NOTIFY, 2, b->queue, b->fd);
}

static void take_down(struct virtio_pci_bell *b)
{
    struct virtio_pci *p = b->p;

    if (modern(p)) memory_doorbell_remove(modern(p), b->fd);
    if (legacy(p)) memory_doorbell_remove(legacy(p), b->fd);
    loop_fd_unwatch(b->fd);
    close(b->fd);
    b->fd = -1;
}

void virtio_pci_queue_changed(void *opaque, unsigned queue)
{
    struct virtio_pci *p = opaque;
    struct virtio_pci_bell *b = p->bell ? &p->bell[queue] : NULL;

    if (!b || (b->fd >= 0) == p->v->queue[queue].enabled) return;
    if (b->fd >= 0) take_down(b);
    else hang(b);
}

int virtio_pci_bell_take(void *opaque, unsigned queue)
{
    struct virtio_pci *p = opaque;
    int fd = p->bell ? p->bell[queue].fd : -1;

    if (fd < 0) return -1;
    loop_fd_unwatch(fd);
    p->bell[queue].is_taken = true;
    return fd;
}

void virtio_pci_bell_give(void *opaque, unsigned queue)
{
    struct virtio_pci *p = opaque;
    struct virtio_pci_bell *b = p->bell ? &p->bell[queue] : NULL;

    if (b) b->is_taken = false;
    if (b && b->fd >= 0) loop_fd_watch(b->fd, LOOP_READ, rung, b);   /* what was rung last is heard now */
}

void virtio_pci_settle(struct device *d)
{
    struct virtio_pci *p = container_of(d, struct virtio_pci, pci.device);

    for (unsigned n = 0; p->bell && n < p->v->queue_count; n++)
        if (p->bell[n].fd >= 0 && !p->bell[n].is_taken) rung(&p->bell[n], p->bell[n].fd, LOOP_READ);
    virtio_settle(p->v);
}

int virtio_pci_call(void *opaque, unsigned queue)
{
    struct virtio_pci *p = opaque;

    return p->bell ? pci_msix_event(&p->msix, p->v->queue[queue].vector) : -1;
}

void virtio_pci_bells_make(struct virtio_pci *p)
{
    struct memory_range *r = modern(p) ? modern(p) : legacy(p);

    if (p->config.no_events || !r || !memory_range_may_ring(r)) return;
    p->bell = calloc(p->v->queue_count, sizeof(*p->bell));
    for (unsigned n = 0; p->bell && n < p->v->queue_count; n++) p->bell[n] = (struct virtio_pci_bell){ p, n, -1 };
}

void virtio_pci_bells_free(struct virtio_pci *p)
{
    for (unsigned n = 0; p->bell && n < p->v->queue_count; n++)
        if (p->bell[n].fd >= 0) take_down(&p->bell[n]);
    free(p->bell);
    p->bell = NULL;
}
