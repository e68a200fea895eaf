/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * What is seen: a part of one resource, and a cursor that viewers draw. A flush only notes rows; the display asks when
 * somebody looks, and rows that were flushed are made then. Nothing flushed costs nothing.
 *
 * Until the driver shows something for the first time after a reset the picture is that of the VGA in the same function, if there
 * is one. The cursor's picture is copied when the driver changes it. Its place is the guest's pointer, which viewers show where their
 * own is; so MOVE_CURSOR only hides it or shows it again.
 * Source: VIRTIO 1.2, 5.7.6.8 and 5.7.6.10.
 */
#include <stdlib.h>
#include <string.h>

#include "device/virtio/virtio_gpu_private.h"
#include "display/display.h"

enum { SIDE_MIN = 16, CURSOR_COST = 32 };          /* of a screen: as QEMU has it; a pixel counts like so many bytes copied */

_Static_assert((int)GPU_ROWS_MAX >= (int)DISPLAY_MAX_SIDE, "a bit for each row");

/* ---- pixels ---- */

static uint32_t pixel_get(const struct gpu_format *f, const uint8_t *p) { return (uint32_t)p[f->red] << 16 | (uint32_t)p[f->green] << 8 | p[f->blue]; }

static void row_make(const struct gpu_format *f, const uint8_t *from, uint32_t *to, unsigned count)
{
    if (f->blue == 0 && f->green == 1) {               /* what Linux takes: as it lies, but for the fourth byte */
        pixels_plain(to, from, count);
        return;
    }
    for (unsigned x = 0; x < count; x++) to[x] = pixel_get(f, from + (size_t)x * GPU_PIXEL_BYTES);
}

/* ---- the screen ---- */

static void everything_due(struct gpu *g)
{
    g->all_due = true;
    display_source_changed(g->config.display);
}

static void screen_stop(struct gpu *g)
{
    g->shown = NULL;
    everything_due(g);
}

void gpu_screen_forget(struct gpu *g, const struct gpu_resource *r)
{
    if (g->shown == r) screen_stop(g);
}

enum gpu_command gpu_scanout_set(struct gpu *g, const union gpu_request *request, const struct virtqueue_chain *c, union gpu_response *to)
{
    const struct gpu_set_scanout *s = &request->scanout;
    struct gpu_resource *r = gpu_resource_find(g, le32_get(s->resource_id));
    struct gpu_area part;

    if (le32_get(s->scanout_id)) return GPU_ERR_INVALID_SCANOUT_ID;
    if (!le32_get(s->resource_id)) {
        screen_stop(g);
        return GPU_OK_NODATA;
    }
    if (!r) return GPU_ERR_INVALID_RESOURCE_ID;
    if (!gpu_area_check(&s->r, r, &part) || part.width < SIDE_MIN || part.height < SIDE_MIN) return GPU_ERR_INVALID_PARAMETER;
    if ((uint64_t)part.width * part.height > DISPLAY_MAX_PIXELS) return GPU_ERR_OUT_OF_MEMORY;
    g->shown = r;
    g->part = part;
    g->has_taken_over = true;
    everything_due(g);
    return GPU_OK_NODATA;
}

static void rows_dirty(struct gpu *g, unsigned first, unsigned end)
{
    for (unsigned y = first; y < end; y++) g->dirty[y / 64] |= BIT(y % 64);
    g->any_dirty = true;
    display_source_changed(g->config.display);
}

enum gpu_command gpu_flush(struct gpu *g, const union gpu_request *request, const struct virtqueue_chain *c, union gpu_response *to)
{
    struct gpu_resource *r = gpu_resource_find(g, le32_get(request->flush.resource_id));
    unsigned first, end;
    struct gpu_area a;

    if (!r) return GPU_ERR_INVALID_RESOURCE_ID;
    if (!gpu_area_check(&request->flush.r, r, &a)) return GPU_ERR_INVALID_PARAMETER;
    if (r != g->shown || a.x >= g->part.x + g->part.width || a.x + a.width <= g->part.x) return GPU_OK_NODATA;
    first = MAX(a.y, g->part.y);
    end = MIN(a.y + a.height, g->part.y + g->part.height);
    if (first < end) rows_dirty(g, first - g->part.y, end - g->part.y);
    return GPU_OK_NODATA;
}

/* ---- the cursor ---- */

/* Drivers multiply colours by alpha; viewers want them as they are. */
static uint32_t straight(uint32_t rgb, uint8_t alpha)
{
    uint32_t out = (uint32_t)alpha << 24;

    if (alpha == 255) return out | rgb;
    for (unsigned shift = 0; alpha && shift < 24; shift += 8) out |= MIN((rgb >> shift & 0xff) * 255 / alpha, 255u) << shift;
    return out;
}

static enum gpu_command cursor_copy(struct gpu *g, const struct gpu_resource *r, uint32_t hot_x, uint32_t hot_y)
{
    size_t count = (size_t)r->width * r->height;
    uint32_t *pixel;

    if (r->width > CURSOR_MAX_SIDE || r->height > CURSOR_MAX_SIDE) return GPU_ERR_INVALID_PARAMETER;
    pixel = malloc(count * sizeof(*pixel));
    if (!pixel) return GPU_ERR_OUT_OF_MEMORY;
    for (size_t i = 0; i < count; i++) {
        const uint8_t *p = r->pixel + i * GPU_PIXEL_BYTES;

        pixel[i] = straight(pixel_get(r->format, p), p[r->format->alpha]);
    }
    g->copied += count * CURSOR_COST;
    free(g->cursor);
    g->cursor = pixel;
    g->cursor_width = r->width;
    g->cursor_height = r->height;
    g->cursor_hot_x = MIN(hot_x, r->width - 1);
    g->cursor_hot_y = MIN(hot_y, r->height - 1);
    return GPU_OK_NODATA;
}

enum gpu_command gpu_cursor_change(struct gpu *g, const union gpu_request *request, const struct virtqueue_chain *c, union gpu_response *to)
{
    const struct gpu_cursor *r = &request->cursor;
    bool is_update = le32_get(r->h.type) == GPU_UPDATE_CURSOR, has = le32_get(r->resource_id) != 0;
    enum gpu_command result = GPU_OK_NODATA;

    if (le32_get(r->scanout_id)) return GPU_ERR_INVALID_SCANOUT_ID;
    if (is_update && has) {
        struct gpu_resource *picture = gpu_resource_find(g, le32_get(r->resource_id));

        if (!picture) return GPU_ERR_INVALID_RESOURCE_ID;
        result = cursor_copy(g, picture, le32_get(r->hot_x), le32_get(r->hot_y));
        if (result != GPU_OK_NODATA) return result;
    }
    if (!is_update && has == g->has_cursor) return result;
    g->has_cursor = has;
    g->cursor_due = true;
    display_source_changed(g->config.display);
    return result;
}

/* A driver that shows no cursor wants none to be seen; without a driver it is not our business. */
static void cursor_show(struct gpu *g)
{
    static const uint32_t transparent;
    struct cursor_image none = { 1, 1, 0, 0, &transparent };
    struct cursor_image image = { g->cursor_width, g->cursor_height, g->cursor_hot_x, g->cursor_hot_y, g->cursor };

    g->cursor_due = false;
    display_cursor_set(g->config.display, !g->has_taken_over ? NULL : g->has_cursor && g->cursor ? &image : &none);
}

/* ---- the display's source ---- */

static void rows_put(struct gpu *g, bool all)
{
    const struct gpu_resource *r = g->shown;

    for (unsigned y = 0; y < g->part.height; y++) {
        if (!all && !(g->dirty[y / 64] >> (y % 64) & 1)) {
            if (!g->dirty[y / 64]) y |= 63;            /* none of these */
            continue;
        }
        row_make(r->format, r->pixel + ((size_t)(g->part.y + y) * r->width + g->part.x) * GPU_PIXEL_BYTES, g->row, g->part.width);
        display_row_put(g->config.display, y, g->row);
    }
    memset(g->dirty, 0, sizeof(g->dirty));
    g->any_dirty = g->all_due = false;
}

static bool row_reserve(struct gpu *g)
{
    uint32_t *row;

    if (g->row_pixels >= g->part.width) return true;
    row = realloc(g->row, g->part.width * sizeof(*row));
    if (!row) return false;
    g->row = row;
    g->row_pixels = g->part.width;
    return true;
}

void gpu_screen_update(void *opaque)
{
    struct gpu *g = opaque;
    bool all = g->all_due;

    if (g->cursor_due) cursor_show(g);
    if (!g->has_taken_over && g->behind.update) {
        if (all) g->behind.redraw(g->behind.opaque);
        g->all_due = false;
        g->behind.update(g->behind.opaque);
    } else if (!g->shown) {
        if (all) display_clear(g->config.display);
        g->all_due = false;
    } else if (all || g->any_dirty) {
        if (row_reserve(g) && display_resize(g->config.display, g->part.width, g->part.height) == 0) rows_put(g, all);
    }
}

void gpu_screen_reset(struct gpu *g)
{
    bool had = g->has_taken_over || g->has_cursor;

    g->has_taken_over = g->has_cursor = false;
    g->shown = NULL;
    memset(g->dirty, 0, sizeof(g->dirty));
    g->any_dirty = false;
    if (!had) return;
    g->cursor_due = true;
    everything_due(g);
}

void gpu_screen_free(struct gpu *g)
{
    free(g->cursor);
    free(g->row);
}
