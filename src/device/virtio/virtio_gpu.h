/* SPDX-License-Identifier: GPL-2.0-or-later */
/* A graphic card of frame buffers that the guest draws and the device shows: virtio-gpu without 3D. */
#ifndef DEVICE_VIRTIO_VIRTIO_GPU_H
#define DEVICE_VIRTIO_VIRTIO_GPU_H

#include "device/virtio/virtio.h"

struct display;

enum { VIRTIO_GPU_SIDE_MIN = 64, VIRTIO_GPU_SIDE_MAX = 4095 };       /* of the size that is wanted; what EDID can say */
#define VIRTIO_GPU_HOSTMEM_DEFAULT (256ull << 20)

struct virtio_gpu_config {
    struct memory_map *memory;
    const char *id;
    struct virtio_options options;
    struct display *display;           /* outlives the device */
    bool is_vga;                       /* the function has a VGA, too: class and name */
    bool no_edid;
    unsigned width, height;            /* that is wanted at first; 0: 1280x800 */
    uint64_t max_hostmem;              /* for what the guest makes; 0: the default */
};
struct virtio *virtio_gpu_new(const struct virtio_gpu_config *config, struct error *err);

/* Who draws until the driver takes over, and after a reset: update is a display's source; redraw has it draw everything next time. */
void virtio_gpu_behind_set(struct virtio *v, void (*update)(void *opaque), void (*redraw)(void *opaque), void *opaque);
/* The screen should have this size: the driver is told, and does what it likes. Any numbers. */
void virtio_gpu_size_wish(struct virtio *v, unsigned width, unsigned height);
/* The size of what a driver shows, 0 if that is nothing. False: no driver has taken over, what lies behind is seen. */
bool virtio_gpu_size(struct virtio *v, unsigned *width, unsigned *height);

#endif
