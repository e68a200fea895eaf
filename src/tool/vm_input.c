/* SPDX-License-Identifier: GPL-2.0-or-later */
/* -device virtio-keyboard-pci, virtio-mouse-pci, virtio-tablet-pci. They came with virtio 1.0: there is no legacy interface. */
#include <string.h>

#include "base/error.h"
#include "tool/vm_virtio_private.h"

#define NOT_HERE "there is one screen, and all keyboards and pointers belong to it; leave it out"
#define INPUT_KEYS { "serial", set_serial, NULL }, { "display", NULL, NOT_HERE }, { "head", NULL, NOT_HERE }

static int set_serial(void *t, const char *v, struct error *err)
{
    if (strlen(v) > VIRTIO_INPUT_SERIAL_MAX) return error_set(err, "serial: at most %d characters", VIRTIO_INPUT_SERIAL_MAX);
    virtio_request_of(t)->d.input.serial = v;
    return 0;
}

static int set_wheel(void *t, const char *v, struct error *err) { return virtio_set_negated("wheel-axis", v, &virtio_request_of(t)->d.input.no_wheel, err); }

const struct option_key virtio_keyboard_keys[] = { INPUT_KEYS, VIRTIO_COMMON_KEYS };
const struct option_key virtio_pointer_keys[] = { INPUT_KEYS, { "wheel-axis", set_wheel, NULL }, VIRTIO_COMMON_KEYS };

void virtio_input_begin(const char *name, struct virtio_device_config *d)
{
    d->input.kind = !strcmp(name, "virtio-keyboard-pci") ? VIRTIO_INPUT_KEYBOARD : !strcmp(name, "virtio-mouse-pci") ? VIRTIO_INPUT_MOUSE : VIRTIO_INPUT_TABLET;
}
