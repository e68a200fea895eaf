/* SPDX-License-Identifier: GPL-2.0-or-later */
/* What the files of virtio-gpu share: the commands as the specification names them (VIRTIO 1.2, 5.7.6), resources, and the one screen. */
#ifndef DEVICE_VIRTIO_VIRTIO_GPU_PRIVATE_H
#define DEVICE_VIRTIO_VIRTIO_GPU_PRIVATE_H

#include "base/bits.h"
#include "device/virtio/virtio_gpu.h"

enum gpu_command {
    GPU_GET_DISPLAY_INFO = 0x0100, GPU_RESOURCE_CREATE_2D, GPU_RESOURCE_UNREF, GPU_SET_SCANOUT, GPU_RESOURCE_FLUSH, GPU_TRANSFER_TO_HOST_2D,
    GPU_RESOURCE_ATTACH_BACKING, GPU_RESOURCE_DETACH_BACKING, GPU_GET_EDID = 0x010a, GPU_UPDATE_CURSOR = 0x0300, GPU_MOVE_CURSOR,
    GPU_OK_NODATA = 0x1100, GPU_OK_DISPLAY_INFO, GPU_OK_EDID = 0x1104,
    GPU_ERR_UNSPEC = 0x1200, GPU_ERR_OUT_OF_MEMORY, GPU_ERR_INVALID_SCANOUT_ID, GPU_ERR_INVALID_RESOURCE_ID, GPU_ERR_INVALID_CONTEXT_ID,
    GPU_ERR_INVALID_PARAMETER,
};
enum { GPU_FLAG_FENCE = 1, GPU_SCANOUTS_MAX = 16, GPU_EDID_BYTES = 1024 };

struct gpu_header { le32 type, flags; le64 fence_id; le32 ctx_id; uint8_t ring_idx, padding[3]; };
struct gpu_rect { le32 x, y, width, height; };
struct gpu_resource_create { struct gpu_header h; le32 resource_id, format, width, height; };
struct gpu_resource_id { struct gpu_header h; le32 resource_id, padding; };
struct gpu_set_scanout { struct gpu_header h; struct gpu_rect r; le32 scanout_id, resource_id; };
struct gpu_flush { struct gpu_header h; struct gpu_rect r; le32 resource_id, padding; };
struct gpu_transfer { struct gpu_header h; struct gpu_rect r; le64 offset; le32 resource_id, padding; };
struct gpu_attach { struct gpu_header h; le32 resource_id, nr_entries; };
struct gpu_mem_entry { le64 addr; le32 length, padding; };
struct gpu_get_edid { struct gpu_header h; le32 scanout, padding; };
struct gpu_cursor { struct gpu_header h; le32 scanout_id, x, y, padding, resource_id, hot_x, hot_y, padding2; };
union gpu_request {
    struct gpu_header h;
    struct gpu_resource_create create;
    struct gpu_resource_id resource;
    struct gpu_set_scanout scanout;
    struct gpu_flush flush;
    struct gpu_transfer transfer;
    struct gpu_attach attach;
    struct gpu_get_edid edid;
    struct gpu_cursor cursor;
};

struct gpu_display_info { struct gpu_header h; struct { struct gpu_rect r; le32 enabled, flags; } mode[GPU_SCANOUTS_MAX]; };
struct gpu_edid { struct gpu_header h; le32 size, padding; uint8_t edid[GPU_EDID_BYTES]; };
union gpu_response {
    struct gpu_header h;
    struct gpu_display_info display;
    struct gpu_edid edid;
};

/* A rectangle out of numbers that were checked. */
struct gpu_area { uint32_t x, y, width, height; };

struct gpu_piece { gpa_t gpa; uint32_t length; };

struct gpu_resource {
    struct gpu_resource *next;         /* of the same bucket */
    uint32_t id, width, height;
    const struct gpu_format *format;
    uint8_t *pixel;                    /* rows of width * 4 bytes */
    struct gpu_piece *backing;
    unsigned pieces;
    uint64_t bytes;                    /* that count against max_hostmem */
};

/* Where the colours lie in a pixel's four bytes. Alpha counts in cursors only, but there in all formats: Linux' driver makes its cursors of
 * pictures that say they have none, as QEMU's card takes them. */
struct gpu_format { uint32_t number; uint8_t red, green, blue, alpha; };

enum { GPU_BUCKETS = 256, GPU_RESOURCES_MAX = 4096, GPU_ENTRIES_MAX = 65536, GPU_ROWS_MAX = 16384, GPU_PIXEL_BYTES = 4 };

struct gpu {
    struct virtio v;
    struct virtio_gpu_config config;
    unsigned width, height;            /* that the driver shall choose */
    uint32_t events;                   /* that it did not clear yet */

    struct gpu_resource *bucket[GPU_BUCKETS];
    unsigned resource_count;
    uint64_t hostmem, copied;          /* in use; bytes that commands moved in this round */

    struct gpu_resource *shown;        /* NULL: nothing */
    struct gpu_area part;              /* of it */
    bool has_taken_over;               /* the picture is the driver's since the last reset */
    bool all_due, cursor_due;
    uint64_t dirty[GPU_ROWS_MAX / 64]; /* rows of the screen that were flushed and not yet shown */
    bool any_dirty;
    uint32_t *row;                     /* of the screen, being made */
    unsigned row_pixels;

    bool has_cursor;
    unsigned cursor_width, cursor_height, cursor_hot_x, cursor_hot_y;
    uint32_t *cursor;                  /* 0xAARRGGBB */

    struct {
        void (*update)(void *opaque);
        void (*redraw)(void *opaque);
        void *opaque;
    } behind;
};

static inline struct gpu *gpu_of(struct virtio *v) { return container_of(v, struct gpu, v); }

/* A command: r is as long as it must be, c the whole chain, to all zeroes. Returns the response's type. */
typedef enum gpu_command gpu_command_fn(struct gpu *g, const union gpu_request *r, const struct virtqueue_chain *c, union gpu_response *to);

/* virtio_gpu_resource.c */
gpu_command_fn gpu_resource_create, gpu_resource_unref, gpu_backing_attach, gpu_backing_detach, gpu_transfer;
struct gpu_resource *gpu_resource_find(const struct gpu *g, uint32_t id);
void gpu_resources_free(struct gpu *g);
/* False: not within the resource, or empty. */
bool gpu_area_check(const struct gpu_rect *r, const struct gpu_resource *within, struct gpu_area *to);

/* virtio_gpu_screen.c */
gpu_command_fn gpu_scanout_set, gpu_flush, gpu_cursor_change;
/* The resource is no longer shown, if it is. */
void gpu_screen_forget(struct gpu *g, const struct gpu_resource *r);
void gpu_screen_reset(struct gpu *g);
void gpu_screen_free(struct gpu *g);
/* The display's source. */
void gpu_screen_update(void *opaque);

#endif
