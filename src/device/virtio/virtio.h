/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * A virtio device without its transport: features, status, configuration space, queues. A device (blk, rng, ...) embeds
 * struct virtio and fills struct virtio_ops; a transport (virtio_pci.c) carries it. The device never sees registers,
 * the transport never sees requests. All calls with the machine lock held.
 * Source: Virtual I/O Device (VIRTIO) 1.2, chapter 2.
 */
#ifndef DEVICE_VIRTIO_VIRTIO_H
#define DEVICE_VIRTIO_VIRTIO_H

#include "device/virtio/virtqueue.h"

enum { VIRTIO_STATUS_ACKNOWLEDGE = 1, VIRTIO_STATUS_DRIVER = 2, VIRTIO_STATUS_DRIVER_OK = 4, VIRTIO_STATUS_FEATURES_OK = 8,
       VIRTIO_STATUS_NEEDS_RESET = 0x40, VIRTIO_STATUS_FAILED = 0x80 };
enum { VIRTIO_NO_VECTOR = 0xffff, VIRTIO_QUEUES_MAX = 1024, VIRTIO_CONFIG_MAX = 256 };
/* Device types (section 5). */
enum virtio_type { VIRTIO_NET = 1, VIRTIO_BLK = 2, VIRTIO_CONSOLE = 3, VIRTIO_RNG = 4, VIRTIO_BALLOON = 5, VIRTIO_SCSI = 8,
                   VIRTIO_9P = 9, VIRTIO_GPU = 16, VIRTIO_INPUT = 18, VIRTIO_VSOCK = 19 };

struct error;
struct virtio;

struct virtio_ops {
    const char *name, *description;      /* "virtio-blk-pci" */
    enum virtio_type type;
    uint32_t pci_class;                  /* class code as in configuration space: 010000h for disks */
    /* The driver rang for this queue, or it may have before the device was ready. Also called spuriously. */
    void (*notify)(struct virtio *v, unsigned queue);
    /* The driver wrote into the configuration space; the bytes are in v->config already, those that are not writable
     * must be put right. NULL: nothing there is writable. */
    void (*config_written)(struct virtio *v, unsigned offset, unsigned size);
    /* The driver is about to read the configuration space: refresh what changes by itself. May be NULL. */
    void (*config_reading)(struct virtio *v);
    /* The features were agreed on; the driver reads the configuration next. May be NULL. */
    void (*features_ok)(struct virtio *v);
    /* DRIVER_OK was set: v->features are what was agreed on. May be NULL. */
    void (*driver_ok)(struct virtio *v);
    /* Something that virtio_is_live looks at may have changed. May be NULL. */
    void (*live_changed)(struct virtio *v);
    /* Finish or give up everything in flight in this queue; it is reset afterwards. */
    void (*queue_stop)(struct virtio *v, unsigned queue);
    /* All queues were stopped; registers of the device's own to power-on values. May be NULL. */
    void (*reset)(struct virtio *v);
    void (*destroy)(struct virtio *v);   /* frees v and what it owns; no request is in flight any more */
    void (*info)(struct virtio *v, void (*print)(void *opaque, const char *line), void *opaque);
};

/* How the device reaches its driver; set by the transport. */
struct virtio_transport {
    void (*interrupt)(void *opaque, uint16_t vector);    /* a queue's */
    void (*config_changed)(void *opaque);
    bool (*may_dma)(void *opaque);
    void (*queue_changed)(void *opaque, unsigned queue);   /* it was enabled or stopped; the rest may be NULL */
    /* For somebody else who serves the queue: the eventfd by which the driver notifies, which we then do not hear, until given back; and the one that
     * interrupts it. -1: there is none now; a change is a call of live_changed. */
    int (*bell_take)(void *opaque, unsigned queue);
    void (*bell_give)(void *opaque, unsigned queue);
    int (*call)(void *opaque, unsigned queue);
    void *opaque;
};

struct virtio {
    const struct virtio_ops *ops;
    const char *id;                      /* the user's or NULL */
    struct virtio_transport transport;
    uint64_t offered, features;          /* bits of the device and of the rings; what the driver took */
    uint8_t status, config_generation;
    bool config_was_read;
    uint8_t config[VIRTIO_CONFIG_MAX], config_seen[VIRTIO_CONFIG_MAX];   /* seen: when the driver last read any of it */
    unsigned config_bytes, queue_count;
    struct virtqueue *queue;
    struct memory_map *memory;
    bool interrupt_posted;
    bool is_serving;                     /* interrupts that are to come soon come at its end */
    uint64_t interrupt_due[VIRTIO_QUEUES_MAX / 64], notify_due[VIRTIO_QUEUES_MAX / 64];
};

struct virtio_options {                  /* what the user may set of every virtio device */
    bool packed, no_event_index, no_indirect, no_queue_reset;
};
/* queue_sizes has queue_count entries. 0, or -1 with *err. v is zeroed memory. */
int virtio_init(struct virtio *v, const struct virtio_ops *ops, struct memory_map *memory, uint64_t features,
                const struct virtio_options *options, unsigned queue_count, const uint16_t *queue_sizes, struct error *err);
/* Frees what virtio_init made; from ops->destroy. */
void virtio_fini(struct virtio *v);

static inline bool virtio_has(const struct virtio *v, unsigned bit) { return v->features >> bit & 1; }
static inline bool virtio_is_modern(const struct virtio *v) { return v->features & VIRTIO_F_VERSION_1; }

/* ---- for devices ---- */

/* After pushes: interrupts now if the driver wants that. */
void virtio_interrupt(struct virtio *v, struct virtqueue *q);
/* The same once the requests that are being taken have been, else once the main loop has run what is ready now: completions that come together
 * make one interrupt. */
void virtio_interrupt_soon(struct virtio *v, struct virtqueue *q);
/* Configuration space changed by the device: the driver is told. */
void virtio_config_changed(struct virtio *v);
/* The driver did what it must not: DEVICE_NEEDS_RESET; nothing is served until it resets the device. */
void virtio_broken(struct virtio *v, const char *why);
/* May chains be taken from q now? If q is found broken, the device asks for a reset. */
bool virtio_is_live(struct virtio *v, struct virtqueue *q);
/* The next chain of queue n; NULL if there is none, or the device is not live. */
struct virtqueue_chain *virtio_pop(struct virtio *v, unsigned n);
/* From ops->notify: hands the queue's chains to one until there are none, it returns false (it put the chain back, or the device
 * wants no more), or a queue's worth was served; what is left then comes later. Notifications are off meanwhile. */
void virtio_serve(struct virtio *v, unsigned n, bool (*one)(struct virtio *v, struct virtqueue *q, struct virtqueue_chain *c));
/* Has ops->notify called again from the main loop: a device that has served its share leaves the rest for later. */
void virtio_notify_later(struct virtio *v, unsigned n);
/* What was put off so is served now, once: who has arranged his rings to never run empty is put off again. */
void virtio_settle(struct virtio *v);

/* ---- for transports ---- */

void virtio_queue_notify(struct virtio *v, unsigned n);
/* Status register; bit rules of section 3.1. 0 resets the device. */
void virtio_status_write(struct virtio *v, uint8_t status, bool legacy);
void virtio_reset(struct virtio *v);
void virtio_queue_enable(struct virtio *v, unsigned n);
void virtio_queue_stop(struct virtio *v, unsigned n);
/* Bus mastering may have changed. */
void virtio_live_changed(struct virtio *v);
uint64_t virtio_features_modern(const struct virtio *v);
uint32_t virtio_features_legacy(const struct virtio *v);
void virtio_config_read(struct virtio *v, unsigned offset, void *data, unsigned size);
void virtio_config_write(struct virtio *v, unsigned offset, const void *data, unsigned size);

#endif
