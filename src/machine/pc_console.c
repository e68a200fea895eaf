/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Keys that a device does not take wait with the viewer; when the guest has read some, the main loop comes back to it. */
#include "machine/pc_console.h"

#include "base/loop.h"
#include "chardev/chardev.h"

static void port_output(void *opaque, const uint8_t *data, size_t size)
{
    struct pc_console *k = opaque;

    k->output(k->opaque, k->number, data, size);
}

static void keys_again(void *opaque)
{
    struct pc_console *k = opaque;

    k->is_posted = k->is_full = false;
    k->ready(k->opaque, k->number);
}

/* It may be a vCPU's thread. */
static void port_room(void *opaque)
{
    struct pc_console *k = opaque;

    if (!k->is_full || k->is_posted) return;
    k->is_posted = true;
    loop_post(keys_again, k);
}

void pc_console_open(struct pc_console *k) { chardev_tap(k->port, &(struct chardev_tap){ port_output, port_room, k }); }

void pc_console_close(struct pc_console *k, bool is_there)
{
    if (is_there) chardev_tap(k->port, NULL);
    loop_post_cancel(k);
}

size_t pc_console_input(struct pc_console *k, const uint8_t *data, size_t size)
{
    size_t done = 0, n;

    while (done < size && (n = chardev_inject(k->port, data + done, size - done)) > 0) done += n;
    k->is_full = done < size;
    return done;
}
