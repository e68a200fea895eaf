/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The screen between source and viewers. A timer asks the source while at least one viewer looks: every 33 ms, and
 * after a second without a change every 100 ms, until something changes again.
 *
 * A source hands over whole rows; what reaches the viewers are the pieces of 64 pixels in which they differ from the
 * surface. A guest that redraws what is there already costs a comparison, not a transmission.
 */
#include "display/display.h"

#include <stdlib.h>
#include <string.h>

#include "base/bits.h"
#include "base/clock.h"
#include "base/loop.h"

enum { PIECE = 64, BUSY_MS = 33, IDLE_MS = 100, IDLE_ROUNDS = 30, FIRST_WIDTH = 640, FIRST_HEIGHT = 480 };

struct display {
    struct surface surface;
    void (*update)(void *opaque);
    void *source;
    struct display_viewer *viewers;
    struct display_input input;
    struct timer *timer;
    int64_t round_ns;                  /* host time of the last one */
    unsigned quiet_rounds;
    bool any;                          /* something changed in this round */
    bool has_cursor;
    struct cursor_image cursor;
    uint32_t *cursor_pixel;
};

static bool is_watched(const struct display *d)
{
    for (const struct display_viewer *v = d->viewers; v; v = v->next)
        if (!v->paused) return true;
    return false;
}

/* The next round, so long after the last: a viewer that asks faster gets no more of them. */
static void timer_set(struct display *d, int ms)
{
    if (is_watched(d)) timer_arm_ns(d->timer, MAX(clock_host_ns(), d->round_ns + ms * 1000000LL));
    else timer_disarm(d->timer);
}

void display_refresh(struct display *d)
{
    d->any = false;
    d->round_ns = clock_host_ns();
    if (d->update) d->update(d->source);
    d->quiet_rounds = d->any ? 0 : d->quiet_rounds + 1;
    for (struct display_viewer *v = d->viewers, *next; v; v = next) {
        next = v->next;
        if (v->updated) v->updated(v->opaque, d->any);
    }
}

static void round_due(void *opaque)
{
    struct display *d = opaque;

    display_refresh(d);
    timer_set(d, d->quiet_rounds > IDLE_ROUNDS ? IDLE_MS : BUSY_MS);
}

struct display *display_new(void)
{
    struct display *d = calloc(1, sizeof(*d));

    if (!d) return NULL;
    d->timer = timer_new(TIMER_HOST, round_due, d);
    if (!d->timer || display_resize(d, FIRST_WIDTH, FIRST_HEIGHT) < 0) {
        display_free(d);
        return NULL;
    }
    return d;
}

void display_free(struct display *d)
{
    if (!d) return;
    if (d->timer) timer_free(d->timer);
    free(d->cursor_pixel);
    free(d->surface.pixel);
    free(d);
}

const struct surface *display_surface(const struct display *d) { return &d->surface; }

/* ---- sources ---- */

void display_source_set(struct display *d, void (*update)(void *opaque), void *opaque)
{
    d->update = update;
    d->source = opaque;
}

int display_resize(struct display *d, unsigned width, unsigned height)
{
    uint32_t *pixel;

    if (d->surface.pixel && width == d->surface.width && height == d->surface.height) return 0;
    if (!width || !height || width > DISPLAY_MAX_SIDE || height > DISPLAY_MAX_SIDE ||
        (uint64_t)width * height > DISPLAY_MAX_PIXELS)
        return -1;
    pixel = calloc((size_t)width * height, sizeof(*pixel));
    if (!pixel) return -1;
    free(d->surface.pixel);
    d->surface = (struct surface){ width, height, pixel };
    d->any = true;
    for (struct display_viewer *v = d->viewers; v; v = v->next)
        if (v->resized) v->resized(v->opaque);
    return 0;
}

static void changed_tell(struct display *d, unsigned x, unsigned y, unsigned width)
{
    d->any = true;
    for (struct display_viewer *v = d->viewers; v; v = v->next)
        if (v->changed) v->changed(v->opaque, x, y, width);
}

/* Four pixels at once: a film is as many bytes as anything that a machine does. */
void pixels_plain(uint32_t *to, const uint8_t *from, unsigned count)
{
    typedef uint32_t four __attribute__((vector_size(16)));
    unsigned x = 0;
    uint32_t one;
    four some;

    for (; x + 4 <= count; x += 4) {
        memcpy(&some, from + 4 * (size_t)x, sizeof(some));
        some &= 0xffffff;
        memcpy(to + x, &some, sizeof(some));
    }
    for (; x < count; x++) {
        memcpy(&one, from + 4 * (size_t)x, sizeof(one));
        to[x] = one & 0xffffff;
    }
}

/* Pixels of pieces in a row that differ; the last piece may be shorter. */
static unsigned run_length(const uint32_t *to, const uint32_t *pixel, unsigned left)
{
    unsigned n = 0;

    while (n < left && memcmp(to + n, pixel + n, MIN((unsigned)PIECE, left - n) * sizeof(*to))) n += MIN((unsigned)PIECE, left - n);
    return n;
}

void display_row_put(struct display *d, unsigned y, const uint32_t *pixel)
{
    uint32_t *to;

    if (y >= d->surface.height) return;
    to = d->surface.pixel + (size_t)y * d->surface.width;
    for (unsigned x = 0, n; x < d->surface.width; x += MAX(n, (unsigned)PIECE)) {
        n = run_length(to + x, pixel + x, d->surface.width - x);
        if (!n) continue;
        memcpy(to + x, pixel + x, n * sizeof(*to));
        changed_tell(d, x, y, n);
    }
}

void display_clear(struct display *d)
{
    uint32_t *black = calloc(d->surface.width, sizeof(*black));

    for (unsigned y = 0; black && y < d->surface.height; y++) display_row_put(d, y, black);
    free(black);
}

void display_source_changed(struct display *d)
{
    if (d->quiet_rounds <= IDLE_ROUNDS) return;
    d->quiet_rounds = 0;
    timer_set(d, BUSY_MS);
}

void display_cursor_set(struct display *d, const struct cursor_image *image)
{
    uint32_t *copy = NULL;

    if (image) {
        size_t bytes = (size_t)image->width * image->height * sizeof(*copy);

        if (!bytes || image->width > CURSOR_MAX_SIDE || image->height > CURSOR_MAX_SIDE || !(copy = malloc(bytes))) return;
        memcpy(copy, image->pixel, bytes);
        d->cursor = *image;
        d->cursor.pixel = copy;
    }
    free(d->cursor_pixel);
    d->cursor_pixel = copy;
    d->has_cursor = image != NULL;
    for (struct display_viewer *v = d->viewers; v; v = v->next)
        if (v->cursor) v->cursor(v->opaque);
}

const struct cursor_image *display_cursor(const struct display *d) { return d->has_cursor ? &d->cursor : NULL; }

/* ---- viewers and input ---- */

void display_viewer_add(struct display *d, struct display_viewer *v)
{
    v->next = d->viewers;
    d->viewers = v;
    display_viewer_wake(d);
}

void display_viewer_remove(struct display *d, struct display_viewer *v)
{
    for (struct display_viewer **at = &d->viewers; *at; at = &(*at)->next) {
        if (*at != v) continue;
        *at = v->next;
        break;
    }
    display_viewer_wake(d);
}

void display_viewer_wake(struct display *d)
{
    if (!is_watched(d)) timer_disarm(d->timer);
    else if (!timer_is_armed(d->timer) || d->quiet_rounds > IDLE_ROUNDS) timer_set(d, BUSY_MS);
    d->quiet_rounds = 0;
}

void display_input_set(struct display *d, const struct display_input *input)
{
    d->input = *input;
    for (struct display_viewer *v = d->viewers; v; v = v->next)
        if (v->input_changed) v->input_changed(v->opaque);
}

const struct display_input *display_input(const struct display *d) { return &d->input; }
