/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Keys by their numbers in Linux' events. */
#ifndef DEVICE_VIRTIO_VIRTIO_INPUT_KEYS_H
#define DEVICE_VIRTIO_VIRTIO_INPUT_KEYS_H

#include <stdint.h>

#include "base/qkeycode.h"

/* By QKeyCode; 0: this keyboard has no such key. */
extern const uint8_t virtio_input_keys[QKEY_COUNT];

#endif
