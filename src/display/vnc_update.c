/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * What a client has not seen yet is a bit map of tiles. An update is made only when the client asked for one and has
 * taken all bytes of the one before, from the surface as it is then: who reads slowly sees fewer pictures, not older ones, and
 * costs no memory. An update ends after a megabyte; the rest stays dirty for the next. Only who asked for the whole picture gets all of it in one, since
 * there are clients that look at nothing else (vncdotool) or ask once and wait for the last pixel (gvnccapture); if too much waits to be read by
 * all clients together, it comes in several updates without being asked for again.
 */
#include <stdlib.h>
#include <string.h>

#include "base/bits.h"
#include "display/vnc_private.h"

enum { UPDATE_BYTES = 1 << 20, UNREAD_MAX = 64 << 20, RECTS_MAX = 4096, RECT_COUNT_AT = 2 };
enum { PSEUDO_DESKTOP_SIZE = -223, PSEUDO_CURSOR = -239, PSEUDO_POINTER_TYPE = -257, PSEUDO_EXT_KEY = -258, PSEUDO_EXT_SIZE = -308 };

int vnc_dirty_reset(struct vnc_client *c)
{
    const struct surface *s = display_surface(c->server->display);
    bool can = c->can_resize || c->can_resize_ext || !c->told_width;
    uint8_t *dirty;

    c->width = can ? s->width : MIN(s->width, c->told_width);
    c->height = can ? s->height : MIN(s->height, c->told_height);
    c->columns = (c->width + TILE_WIDTH - 1) / TILE_WIDTH;
    c->rows = (c->height + TILE_HEIGHT - 1) / TILE_HEIGHT;
    dirty = malloc((size_t)c->columns * c->rows);
    if (!dirty) return -1;
    free(c->dirty);
    c->dirty = dirty;
    memset(dirty, 1, (size_t)c->columns * c->rows);
    c->any_dirty = true;
    return 0;
}

/* Anything that a client may ask for: cut to what there is. */
void vnc_dirty_mark(struct vnc_client *c, unsigned x, unsigned y, unsigned width, unsigned height)
{
    unsigned right = MIN(x + width, c->width), bottom = MIN(y + height, c->height);

    if (x >= right || y >= bottom) return;
    for (unsigned row = y / TILE_HEIGHT; row <= (bottom - 1) / TILE_HEIGHT; row++)
        memset(c->dirty + (size_t)row * c->columns + x / TILE_WIDTH, 1, (right - 1) / TILE_WIDTH - x / TILE_WIDTH + 1);
    c->any_dirty = true;
}

/* The surface has another size (reason 0), or the client's wish (1) came to this end. */
void vnc_size_tell(struct vnc_client *c, unsigned reason, unsigned status)
{
    c->size_status = (uint16_t)(reason << 8 | status);
    c->resize_due = true;
    if (vnc_dirty_reset(c) < 0) c->gone = true;
}

/* ---- rectangles ---- */

static bool is_dirty(const struct vnc_client *c, unsigned column, unsigned row) { return c->dirty[(size_t)row * c->columns + column]; }

static bool row_has(const struct vnc_client *c, unsigned column, unsigned count, unsigned row)
{
    for (unsigned i = 0; i < count; i++)
        if (!is_dirty(c, column + i, row)) return false;
    return true;
}

/* A run of dirty tiles, and the rows below it as far as they are dirty too. */
static struct rect run_take(struct vnc_client *c, unsigned column, unsigned row)
{
    unsigned columns = 1, rows = 1;
    struct rect r;

    while (column + columns < c->columns && is_dirty(c, column + columns, row)) columns++;
    while (rows < RECT_HEIGHT / TILE_HEIGHT && row + rows < c->rows && row_has(c, column, columns, row + rows)) rows++;
    for (unsigned i = 0; i < rows; i++) memset(c->dirty + (size_t)(row + i) * c->columns + column, 0, columns);
    r = (struct rect){ column * TILE_WIDTH, row * TILE_HEIGHT, columns * TILE_WIDTH, rows * TILE_HEIGHT };
    r.width = MIN(r.width, c->width - r.x);
    r.height = MIN(r.height, c->height - r.y);
    return r;
}

static size_t update_bytes(const struct vnc_client *c)
{
    size_t unread = 0;

    for (const struct vnc_client *o = c->server->clients; o; o = o->next) unread += bytes_size(&o->out);
    return c->wants_whole && unread < UNREAD_MAX ? SIZE_MAX : UPDATE_BYTES;
}

static unsigned picture_put(struct vnc_client *c)
{
    size_t limit = update_bytes(c);
    unsigned count = 0;

    for (unsigned row = 0; row < c->rows; row++)
        for (unsigned column = 0; column < c->columns; column++) {
            struct rect r;

            if (!is_dirty(c, column, row)) continue;
            if (bytes_size(&c->out) > limit || count > RECTS_MAX) return count;
            r = run_take(c, column, row);
            count += vnc_rect_encode(c, &r);
        }
    c->any_dirty = false;
    return count;
}

/* ---- what is no picture ---- */

static unsigned size_put(struct vnc_client *c)
{
    struct rect r = { c->size_status >> 8, c->size_status & 0xff, c->width, c->height };

    c->resize_due = false;
    c->told_width = c->width;
    c->told_height = c->height;
    if (c->can_resize_ext) {
        vnc_rect_header(c, &r, PSEUDO_EXT_SIZE);
        bytes_add_u32(&c->out, 1u << 24);                          /* one screen, and padding */
        bytes_add_u32(&c->out, 0);                                 /* its number */
        bytes_add_u32(&c->out, 0);                                 /* where it begins */
        bytes_add_u16(&c->out, c->width);
        bytes_add_u16(&c->out, c->height);
        bytes_add_u32(&c->out, 0);
        return 1;
    }
    r.x = r.y = 0;
    vnc_rect_header(c, &r, PSEUDO_DESKTOP_SIZE);
    return 1;
}

/* The picture in the client's pixels, then a bit for each that is opaque. */
static unsigned cursor_put(struct vnc_client *c)
{
    const struct cursor_image *i = display_cursor(c->server->display);
    struct rect r = { 0 };

    c->cursor_due = false;
    if (!i && !c->told_cursor) return 0;
    c->told_cursor = i != NULL;
    if (!i) {                                                      /* as before the first one */
        vnc_rect_header(c, &r, PSEUDO_CURSOR);
        return 1;
    }
    r = (struct rect){ i->hot_x, i->hot_y, i->width, i->height };
    vnc_rect_header(c, &r, PSEUDO_CURSOR);
    vnc_pixels_put(&c->format, bytes_grow(&c->out, (size_t)i->width * i->height * c->format.bits / 8), i->pixel, i->width * i->height);
    for (unsigned y = 0; y < i->height; y++)
        for (unsigned x = 0; x < i->width; x += 8) {
            unsigned bits = 0;

            for (unsigned n = 0; n < 8 && x + n < i->width; n++) bits |= (i->pixel[y * i->width + x + n] >> 31) << (7 - n);
            bytes_add_u8(&c->out, bits);
        }
    return 1;
}

/* Answers to what the client said it can do. */
static unsigned features_put(struct vnc_client *c)
{
    bool absolute = display_input(c->server->display)->pointer_absolute != NULL;
    struct rect none = { 0 };
    unsigned count = 0;

    if (c->can_ext_key && !c->told_ext_key) {
        vnc_rect_header(c, &none, PSEUDO_EXT_KEY);
        c->told_ext_key = true;
        count++;
    }
    if (c->can_pointer_type && c->told_pointer != (absolute ? POINTER_POSITIONS : POINTER_MOVES)) {
        struct rect r = { absolute, 0, c->width, c->height };

        vnc_rect_header(c, &r, PSEUDO_POINTER_TYPE);
        c->told_pointer = absolute ? POINTER_POSITIONS : POINTER_MOVES;
        count++;
    }
    if (c->can_cursor && c->cursor_due) count += cursor_put(c);
    return count;
}

/* False: there is nothing to tell. */
static bool update_make(struct vnc_client *c)
{
    unsigned count;
    size_t at;

    if (c->map_due) vnc_color_map_put(&c->out);
    c->map_due = false;
    at = bytes_size(&c->out);
    bytes_add_u32(&c->out, 0);                                     /* FramebufferUpdate; the count comes last */
    if (c->resize_due && (c->can_resize || c->can_resize_ext)) count = size_put(c);
    else {
        count = features_put(c);
        if (c->any_dirty) count += picture_put(c);
    }
    if (c->out.broken) c->gone = true;
    else if (!count) {
        c->out.end -= 4;
        if (c->out.end == c->out.at) bytes_clear(&c->out);
    } else {
        c->out.data[c->out.at + at + RECT_COUNT_AT] = (uint8_t)(count >> 8);
        c->out.data[c->out.at + at + RECT_COUNT_AT + 1] = (uint8_t)count;
        c->wants = c->wants_whole = c->wants_whole && c->any_dirty;
    }
    if (!c->gone) vnc_client_flush(c);
    return count;
}

void vnc_update_send(struct vnc_client *c)
{
    do
        if (!c->wants || bytes_size(&c->out) || c->gone) return;
    while (update_make(c) && c->wants_whole);
}
