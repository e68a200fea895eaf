/* SPDX-License-Identifier: GPL-2.0-or-later */
/* virtio keyboard, mouse and tablet. */
#ifndef DEVICE_VIRTIO_VIRTIO_INPUT_H
#define DEVICE_VIRTIO_VIRTIO_INPUT_H

#include "device/virtio/virtio.h"

struct input;

enum virtio_input_kind { VIRTIO_INPUT_KEYBOARD, VIRTIO_INPUT_MOUSE, VIRTIO_INPUT_TABLET };
enum { VIRTIO_INPUT_SERIAL_MAX = 128 };
struct virtio_input_config {
    struct memory_map *memory;
    const char *id;
    enum virtio_input_kind kind;
    const char *serial;                  /* at most VIRTIO_INPUT_SERIAL_MAX characters; NULL: it has none */
    bool no_wheel;                       /* mouse, tablet: the wheel is two buttons, as of old */
    struct input *input;                 /* who types and points */
    struct virtio_options options;
};
struct virtio *virtio_input_new(const struct virtio_input_config *config, struct error *err);

#endif
