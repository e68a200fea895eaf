/* SPDX-License-Identifier: GPL-2.0-or-later */
/* "qemu-vdagent": the host's end of SPICE's agent in a guest (spice-vdagent, the virtio port com.redhat.spice.0), for its clipboard. */
#ifndef CHARDEV_VDAGENT_H
#define CHARDEV_VDAGENT_H

#include "chardev/chardev.h"

enum { VDAGENT_TEXT_MAX = 1 << 20 };

struct vdagent_user {
    void (*copied)(void *opaque, const char *text, size_t size);       /* in the guest, UTF-8 as it says */
    const char *(*text)(void *opaque, size_t *size);                   /* of the host, when the guest pastes; at most VDAGENT_TEXT_MAX */
    void *opaque;
};
bool vdagent_is(const struct chardev *c);
/* It has clipboard=on. */
bool vdagent_has_clipboard(const struct chardev *c);
void vdagent_use(struct chardev *c, const struct vdagent_user *user);
/* The host has new text: the guest is told. */
void vdagent_offer(struct chardev *c);

#endif
