/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The list of keyboards and pointers, the active ones in front. A key goes up where it went down, even if another keyboard was activated in
 * between, so that none stays stuck; buttons that are held are let go of on the pointer that is left.
 */
#include "display/input.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/error.h"
#include "base/qkeycode.h"

struct input {
    struct input_device *first;
    unsigned numbers, buttons, x, y;     /* buttons that are down, and the last position */
    struct input_device *holder[QKEY_COUNT];     /* who was told that this key is down */
    void (*changed)(void *opaque);
    void *opaque;
    bool told_absolute;
};

const struct input_device *input_next(const struct input *i, const struct input_device *d)
{
    return d ? d->next : i->first;
}

static bool is_pointer(const struct input_device *d) { return d->kind != INPUT_KEYBOARD; }

static struct input_device *active(const struct input *i, bool pointer)
{
    struct input_device *d = i->first;

    while (d && is_pointer(d) != pointer) d = d->next;
    return d;
}

static void unlink_device(struct input *i, struct input_device *d)
{
    struct input_device **at = &i->first;

    while (*at && *at != d) at = &(*at)->next;
    if (*at) *at = d->next;
}

static void watcher_tell(struct input *i)
{
    bool now = input_is_absolute(i);

    if (now == i->told_absolute) return;
    i->told_absolute = now;
    if (i->changed) i->changed(i->opaque);
}

static void buttons_release(struct input *i, struct input_device *d)
{
    if (!i->buttons || !d) return;
    i->buttons = 0;
    if (d->kind == INPUT_ABSOLUTE) d->absolute(d->opaque, i->x, i->y, 0, 0);
    else d->relative(d->opaque, 0, 0, 0, 0);
}

struct input *input_new(void) { return calloc(1, sizeof(struct input)); }
void input_free(struct input *i) { free(i); }

void input_add(struct input *i, struct input_device *d)
{
    struct input_device **at = &i->first;

    while (*at) at = &(*at)->next;
    d->next = NULL;
    d->number = ++i->numbers;
    *at = d;
    watcher_tell(i);
}

void input_remove(struct input *i, struct input_device *d)
{
    if (active(i, true) == d) i->buttons = 0;
    for (unsigned key = 0; key < QKEY_COUNT; key++)
        if (i->holder[key] == d) i->holder[key] = NULL;
    unlink_device(i, d);
    watcher_tell(i);
}

void input_activate(struct input *i, struct input_device *d)
{
    if (active(i, is_pointer(d)) == d) return;
    if (is_pointer(d)) buttons_release(i, active(i, true));
    unlink_device(i, d);
    d->next = i->first;
    i->first = d;
    watcher_tell(i);
}

void input_deactivate(struct input *i, struct input_device *d)
{
    struct input_device **at = &i->first;

    if (active(i, is_pointer(d)) == d && is_pointer(d)) i->buttons = 0;
    while (*at && *at != d) at = &(*at)->next;
    if (!*at) return;
    *at = d->next;
    while (*at) at = &(*at)->next;
    *at = d;
    d->next = NULL;
    watcher_tell(i);
}

bool input_is_active(const struct input *i, const struct input_device *d) { return active(i, is_pointer(d)) == d; }

void input_key(struct input *i, unsigned key, bool down)
{
    struct input_device *d;

    if (key >= QKEY_COUNT) return;
    d = i->holder[key] ? i->holder[key] : active(i, false);
    if (!d) return;
    i->holder[key] = down ? d : NULL;
    d->key(d->opaque, key, down);
}

void input_relative(struct input *i, int dx, int dy, int wheel, unsigned buttons)
{
    struct input_device *d = active(i, true);

    if (!d) return;
    i->buttons = buttons;
    if (d->kind == INPUT_RELATIVE) d->relative(d->opaque, dx, dy, wheel, buttons);
    else d->absolute(d->opaque, i->x, i->y, wheel, buttons);
}

void input_absolute(struct input *i, unsigned x, unsigned y, int wheel, unsigned buttons)
{
    struct input_device *d = active(i, true);

    if (!d || d->kind != INPUT_ABSOLUTE) return;
    i->buttons = buttons;
    i->x = x;
    i->y = y;
    d->absolute(d->opaque, x, y, wheel, buttons);
}

unsigned input_leds(const struct input *i)
{
    const struct input_device *d = active(i, false);

    return d && d->leds ? d->leds(d->opaque) : 0;
}

bool input_has_keyboard(const struct input *i) { return active(i, false) != NULL; }

bool input_is_absolute(const struct input *i)
{
    const struct input_device *d = active(i, true);

    return d && d->kind == INPUT_ABSOLUTE;
}

void input_watch(struct input *i, void (*changed)(void *opaque), void *opaque)
{
    i->changed = changed;
    i->opaque = opaque;
}

void input_mice_info(const struct input *i, void (*print)(void *opaque, const char *line), void *opaque)
{
    char line[96];

    if (!active(i, true)) print(opaque, "No mouse devices connected");
    for (const struct input_device *d = i->first; d; d = d->next) {
        if (!is_pointer(d)) continue;
        snprintf(line, sizeof(line), "%c Mouse #%u: %s%s", input_is_active(i, d) ? '*' : ' ', d->number, d->name,
                 d->kind == INPUT_ABSOLUTE ? " (absolute)" : "");
        print(opaque, line);
    }
}

int input_mouse_choose(struct input *i, unsigned number, struct error *err)
{
    for (struct input_device *d = i->first; d; d = d->next) {
        if (!is_pointer(d) || d->number != number) continue;
        input_activate(i, d);
        return 0;
    }
    return error_set(err, "there is no mouse %u; 'info mice' shows them", number);
}
