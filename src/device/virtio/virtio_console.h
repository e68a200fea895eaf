/* SPDX-License-Identifier: GPL-2.0-or-later */
/* virtio serial bus: consoles and ports for guest agents. */
#ifndef DEVICE_VIRTIO_VIRTIO_CONSOLE_H
#define DEVICE_VIRTIO_VIRTIO_CONSOLE_H

#include "chardev/chardev.h"
#include "device/virtio/virtio.h"

enum { VIRTIO_CONSOLE_PORTS_MAX = 31 };

struct virtio_console_port_config {
    bool present, is_console;
    const char *id;                      /* the user's, or NULL */
    const char *name;                    /* what the guest finds under /dev/virtio-ports; NULL: none */
    struct chardev *chardev;             /* stays the caller's; NULL: bytes go nowhere */
};
struct virtio_console_config {
    struct memory_map *memory;
    const char *id;
    unsigned ports_max;                  /* 1..31 */
    void (*guest_opened)(void *opaque, const char *id, bool is_open);    /* a program there did so with a port that has an id; may be NULL */
    void *opaque;
    struct virtio_console_port_config port[VIRTIO_CONSOLE_PORTS_MAX];   /* by port number; 0 is for a console */
    struct virtio_options options;
};
/* A port that comes; its number must be free and below ports_max. 0, or -1 with *err. And one that goes: the driver is told, nothing is waited for. */
int virtio_console_port_add(struct virtio *v, unsigned number, const struct virtio_console_port_config *config, struct error *err);
void virtio_console_port_remove(struct virtio *v, unsigned number);
/* NULL with *err. */
struct virtio *virtio_console_new(const struct virtio_console_config *config, struct error *err);

#endif
