/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * virtio-gpu without 3D: the driver makes resources (pictures in the host's memory), copies into them what it drew in its own, and says which of them is
 * on the screen and which part of it is new. This file has negotiation, configuration space and the table of commands;
 * virtio_gpu_resource.c the pictures, virtio_gpu_screen.c what is seen.
 *
 * Each command is carried out before its answer goes back, so fences are reached at once. Commands that make no sense get
 * one of the specification's errors. Whatever a driver does costs at most max_hostmem bytes, for pictures and lists of
 * pages; a round of commands that moves much is cut, and the rest comes after the main loop had its turn.
 *
 * Limits: one scanout, no blob resources, no capability sets.
 * Source: VIRTIO 1.2, section 5.7.
 */
#include "device/virtio/virtio_gpu.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/error.h"
#include "base/log.h"
#include "device/display/edid.h"
#include "device/virtio/virtio_gpu_private.h"
#include "display/display.h"

enum { F_EDID = 1, EVENT_DISPLAY = 1, FIRST_WIDTH = 1280, FIRST_HEIGHT = 800, ROUND_BYTES = 32 << 20 };
enum { QUEUE_CONTROL, QUEUE_CURSOR, QUEUES };

struct layout { le32 events_read, events_clear, num_scanouts, num_capsets; };
static struct layout *layout_of(struct gpu *g) { return (struct layout *)g->v.config; }

static void config_fill(struct gpu *g)
{
    *layout_of(g) = (struct layout){ .events_read = le32_make(g->events), .num_scanouts = le32_make(1) };
}

/* ---- what the driver asks about the monitor ---- */

static enum gpu_command display_info(struct gpu *g, const union gpu_request *r, const struct virtqueue_chain *c, union gpu_response *to)
{
    to->display.mode[0].r.width = le32_make(g->width);
    to->display.mode[0].r.height = le32_make(g->height);
    to->display.mode[0].enabled = le32_make(1);
    return GPU_OK_DISPLAY_INFO;
}

static enum gpu_command edid(struct gpu *g, const union gpu_request *r, const struct virtqueue_chain *c, union gpu_response *to)
{
    if (!virtio_has(&g->v, F_EDID)) return GPU_ERR_UNSPEC;
    if (le32_get(r->edid.scanout)) return GPU_ERR_INVALID_SCANOUT_ID;
    edid_make(to->edid.edid, &(struct edid_config){ g->width, g->height });
    to->edid.size = le32_make(EDID_BYTES);
    return GPU_OK_EDID;
}

void virtio_gpu_size_wish(struct virtio *v, unsigned width, unsigned height)
{
    struct gpu *g = gpu_of(v);

    width = MIN(MAX(width, (unsigned)VIRTIO_GPU_SIDE_MIN), (unsigned)VIRTIO_GPU_SIDE_MAX);
    height = MIN(MAX(height, (unsigned)VIRTIO_GPU_SIDE_MIN), (unsigned)VIRTIO_GPU_SIDE_MAX);
    if (width == g->width && height == g->height) return;
    g->width = width;
    g->height = height;
    g->events |= EVENT_DISPLAY;
    config_fill(g);
    virtio_config_changed(v);
}

/* ---- commands ---- */

static const struct command {
    uint16_t type, bytes;
    bool is_cursor;                    /* belongs into the cursor queue */
    gpu_command_fn *run;
} commands[] = {
    { GPU_GET_DISPLAY_INFO, sizeof(struct gpu_header), false, display_info },
    { GPU_RESOURCE_CREATE_2D, sizeof(struct gpu_resource_create), false, gpu_resource_create },
    { GPU_RESOURCE_UNREF, sizeof(struct gpu_resource_id), false, gpu_resource_unref },
    { GPU_SET_SCANOUT, sizeof(struct gpu_set_scanout), false, gpu_scanout_set },
    { GPU_RESOURCE_FLUSH, sizeof(struct gpu_flush), false, gpu_flush },
    { GPU_TRANSFER_TO_HOST_2D, sizeof(struct gpu_transfer), false, gpu_transfer },
    { GPU_RESOURCE_ATTACH_BACKING, sizeof(struct gpu_attach), false, gpu_backing_attach },
    { GPU_RESOURCE_DETACH_BACKING, sizeof(struct gpu_resource_id), false, gpu_backing_detach },
    { GPU_GET_EDID, sizeof(struct gpu_get_edid), false, edid },
    { GPU_UPDATE_CURSOR, sizeof(struct gpu_cursor), true, gpu_cursor_change },
    { GPU_MOVE_CURSOR, sizeof(struct gpu_cursor), true, gpu_cursor_change },
};

/* NULL: not whole, or not one for this queue. */
static const struct command *command_find(const union gpu_request *r, size_t bytes, bool is_cursor)
{
    for (unsigned i = 0; i < ARRAY_SIZE(commands); i++)
        if (commands[i].type == le32_get(r->h.type)) return bytes >= commands[i].bytes && commands[i].is_cursor == is_cursor ? &commands[i] : NULL;
    return NULL;
}

static size_t response_bytes(enum gpu_command type)
{
    return type == GPU_OK_DISPLAY_INFO ? sizeof(struct gpu_display_info) : type == GPU_OK_EDID ? sizeof(struct gpu_edid) : sizeof(struct gpu_header);
}

static bool serve(struct virtio *v, struct virtqueue *q, struct virtqueue_chain *c)
{
    struct gpu *g = gpu_of(v);
    union gpu_request r = { .h = { .type = { 0 } } };
    union gpu_response to;
    size_t bytes = virtqueue_read(c, 0, &r, sizeof(r));
    const struct command *command = command_find(&r, bytes, q == &v->queue[QUEUE_CURSOR]);
    enum gpu_command type;

    memset(&to, 0, sizeof(to));
    type = command ? command->run(g, &r, c, &to) : GPU_ERR_UNSPEC;
    if (type >= GPU_ERR_UNSPEC)
        trace(TRACE_GUEST_ERRORS, "virtio-gpu: command %#x of %zu bytes is answered with %#x\n", le32_get(r.h.type), bytes, type);
    to.h.type = le32_make(type);
    if (le32_get(r.h.flags) & GPU_FLAG_FENCE) {
        to.h.flags = le32_make(GPU_FLAG_FENCE);
        to.h.fence_id = r.h.fence_id;
        to.h.ctx_id = r.h.ctx_id;
    }
    virtqueue_push(q, c, virtqueue_write(q, c, 0, &to, response_bytes(type)));
    return g->copied < ROUND_BYTES;
}

static void notify(struct virtio *v, unsigned n)
{
    struct gpu *g = gpu_of(v);

    g->copied = 0;
    virtio_serve(v, n, serve);
    if (g->copied >= ROUND_BYTES) virtio_notify_later(v, n);
    virtio_interrupt(v, &v->queue[n]);
}

/* ---- life ---- */

/* events_clear, which reads as zero: a one clears that event. */
static void config_written(struct virtio *v, unsigned offset, unsigned size)
{
    struct gpu *g = gpu_of(v);

    g->events &= ~le32_get(layout_of(g)->events_clear);
    config_fill(g);
}

static void queue_stop(struct virtio *v, unsigned n) {}

static void reset(struct virtio *v)
{
    struct gpu *g = gpu_of(v);

    gpu_screen_reset(g);
    gpu_resources_free(g);
    g->events = 0;
    config_fill(g);
}

static void destroy(struct virtio *v)
{
    struct gpu *g = gpu_of(v);

    display_source_set(g->config.display, NULL, NULL);
    gpu_screen_free(g);
    gpu_resources_free(g);
    virtio_fini(v);
    free(g);
}

static void info(struct virtio *v, void (*print)(void *opaque, const char *line), void *opaque)
{
    const struct gpu *g = gpu_of(v);
    char line[160];

    if (g->shown) snprintf(line, sizeof(line), "screen %ux%u of resource %u", g->part.width, g->part.height, g->shown->id);
    else snprintf(line, sizeof(line), "no screen%s", g->has_taken_over ? "" : " of the driver's yet");
    print(opaque, line);
    snprintf(line, sizeof(line), "%u resources, %" PRIu64 " KiB of %" PRIu64 "; wanted size %ux%u", g->resource_count, g->hostmem >> 10,
             g->config.max_hostmem >> 10, g->width, g->height);
    print(opaque, line);
}

static const struct virtio_ops gpu_ops = {
    .name = "virtio-gpu-pci", .description = "virtio graphic card without VGA", .type = VIRTIO_GPU, .pci_class = 0x038000, .notify = notify,
    .config_written = config_written, .queue_stop = queue_stop, .reset = reset, .destroy = destroy, .info = info,
};
static const struct virtio_ops vga_ops = {
    .name = "virtio-vga", .description = "virtio graphic card with VGA", .type = VIRTIO_GPU, .pci_class = 0x030000, .notify = notify,
    .config_written = config_written, .queue_stop = queue_stop, .reset = reset, .destroy = destroy, .info = info,
};

void virtio_gpu_behind_set(struct virtio *v, void (*update)(void *opaque), void (*redraw)(void *opaque), void *opaque)
{
    struct gpu *g = gpu_of(v);

    g->behind.update = update;
    g->behind.redraw = redraw;
    g->behind.opaque = opaque;
}

bool virtio_gpu_size(struct virtio *v, unsigned *width, unsigned *height)
{
    const struct gpu *g = gpu_of(v);

    *width = g->shown ? g->part.width : 0;
    *height = g->shown ? g->part.height : 0;
    return g->has_taken_over || !g->behind.update;
}

struct virtio *virtio_gpu_new(const struct virtio_gpu_config *config, struct error *err)
{
    static const uint16_t sizes[QUEUES] = { [QUEUE_CONTROL] = 64, [QUEUE_CURSOR] = 16 };
    struct gpu *g = calloc(1, sizeof(*g));

    if (!g) {
        error_set(err, "no memory for virtio-gpu");
        return NULL;
    }
    g->config = *config;
    if (!g->config.max_hostmem) g->config.max_hostmem = VIRTIO_GPU_HOSTMEM_DEFAULT;
    g->width = config->width ? config->width : FIRST_WIDTH;
    g->height = config->height ? config->height : FIRST_HEIGHT;
    g->v.id = config->id;
    g->v.config_bytes = sizeof(struct layout);
    config_fill(g);
    display_source_set(config->display, gpu_screen_update, g);
    if (virtio_init(&g->v, config->is_vga ? &vga_ops : &gpu_ops, config->memory, config->no_edid ? 0 : 1u << F_EDID, &config->options, QUEUES, sizes,
                    err) < 0) {
        destroy(&g->v);
        return NULL;
    }
    return &g->v;
}
