/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The window. SDL has no descriptor to wait for, so its events are fetched by a timer, 60 times a second while the window is there. The
 * picture is a texture; changed rows are copied into it and shown at the end of each of the display's rounds.
 *
 * The library is loaded when a window is wanted: with all that it needs it is fifty libraries, which machines without one
 * need not wait for, nor have mapped.
 *
 * Where the guest takes positions the pointer just moves over the window, with the guest's picture if its card has one. Else a click
 * takes the mouse, Ctrl-Alt-G lets go of it; Ctrl-Alt-F is full screen. Somebody who gives the window another size tells the guest,
 * if its card can do that; the window then stays as it was made.
 */
#include "display/sdl.h"

#include <SDL2/SDL.h>
#include <dlfcn.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/bits.h"
#include "base/clock.h"
#include "base/error.h"
#include "base/loop.h"
#include "base/qkeycode.h"
#include "display/display.h"
#include "display/sdl_private.h"

enum { POLL_NS = 16 * 1000 * 1000, ABSOLUTE_MAX = 32767 };
#define LIBRARY "libSDL2-2.0.so.0"

#define FUNCTIONS(X) X(Init) X(Quit) X(GetError) X(SetHint) X(CreateWindow) X(DestroyWindow) X(CreateRenderer) X(DestroyRenderer) X(CreateTexture) \
    X(DestroyTexture) X(UpdateTexture) X(RenderClear) X(RenderCopy) X(RenderPresent) X(RenderSetLogicalSize) X(PollEvent) X(SetWindowSize) \
    X(SetWindowTitle) X(SetWindowFullscreen) X(GetWindowFlags) X(SetRelativeMouseMode) X(GetRelativeMouseMode) X(ShowCursor) X(SetWindowKeyboardGrab) \
    X(CreateRGBSurfaceFrom) X(FreeSurface) X(CreateColorCursor) X(GetDefaultCursor) X(SetCursor) X(FreeCursor)
struct sdl_functions {
#define MEMBER(name) __typeof__(SDL_##name) *name;
    FUNCTIONS(MEMBER)
#undef MEMBER
};

struct sdl_window {
    struct sdl_config config;
    struct display *display;
    struct display_viewer viewer;
    struct sdl_functions sdl;
    void *library;
    bool began;                        /* Init was */
    SDL_Window *window;
    SDL_Renderer *renderer;
    SDL_Texture *texture;
    SDL_Cursor *cursor;                /* the guest's or NULL */
    bool has_wish;                     /* its size is somebody's, not the guest's */
    struct timer *timer;
    unsigned first, end;               /* rows that changed */
    bool exposed;
    uint8_t key_down[(QKEY_COUNT + 7) / 8];
    unsigned buttons;
};

/* ---- picture ---- */

static void title_set(struct sdl_window *w)
{
    char title[256];

    snprintf(title, sizeof(title), "ospite%s%s%s%s", w->config.name ? " (" : "", w->config.name ? w->config.name : "", w->config.name ? ")" : "",
             w->sdl.GetRelativeMouseMode() ? " - Ctrl-Alt-G lets go of the mouse" : "");
    w->sdl.SetWindowTitle(w->window, title);
}

static void texture_make(struct sdl_window *w)
{
    const struct surface *s = display_surface(w->display);

    if (w->texture) w->sdl.DestroyTexture(w->texture);
    w->texture = w->sdl.CreateTexture(w->renderer, SDL_PIXELFORMAT_RGB888, SDL_TEXTUREACCESS_STREAMING, (int)s->width, (int)s->height);
    w->sdl.RenderSetLogicalSize(w->renderer, (int)s->width, (int)s->height);
    w->first = 0;
    w->end = s->height;
}

static void on_resized(void *opaque)
{
    struct sdl_window *w = opaque;
    const struct surface *s = display_surface(w->display);

    texture_make(w);
    if (w->has_wish && display_input(w->display)->size_wish) return;
    if (!(w->sdl.GetWindowFlags(w->window) & (SDL_WINDOW_FULLSCREEN | SDL_WINDOW_MAXIMIZED))) w->sdl.SetWindowSize(w->window, (int)s->width, (int)s->height);
}

static void on_changed(void *opaque, unsigned x, unsigned y, unsigned width)
{
    struct sdl_window *w = opaque;

    w->first = w->first < w->end ? MIN(w->first, y) : y;
    w->end = MAX(w->end, y + 1);
}

static void on_updated(void *opaque, bool any)
{
    struct sdl_window *w = opaque;
    const struct surface *s = display_surface(w->display);
    SDL_Rect rows = { 0, (int)w->first, (int)s->width, (int)(w->end - w->first) };

    if (!w->texture || (w->first >= w->end && !w->exposed)) return;
    if (w->first < w->end) w->sdl.UpdateTexture(w->texture, &rows, s->pixel + (size_t)w->first * s->width, (int)(s->width * sizeof(*s->pixel)));
    w->first = w->end = 0;
    w->exposed = false;
    w->sdl.RenderClear(w->renderer);
    w->sdl.RenderCopy(w->renderer, w->texture, NULL, NULL);
    w->sdl.RenderPresent(w->renderer);
}

static void on_cursor(void *opaque)
{
    struct sdl_window *w = opaque;
    const struct cursor_image *i = display_cursor(w->display);
    SDL_Surface *s = i ? w->sdl.CreateRGBSurfaceFrom((void *)(uintptr_t)i->pixel, (int)i->width, (int)i->height, 32, (int)(i->width * sizeof(*i->pixel)),
                                                     0xff0000, 0xff00, 0xff, 0xff000000) : NULL;
    SDL_Cursor *cursor = s ? w->sdl.CreateColorCursor(s, (int)i->hot_x, (int)i->hot_y) : NULL;

    if (s) w->sdl.FreeSurface(s);
    w->sdl.SetCursor(cursor ? cursor : w->sdl.GetDefaultCursor());
    w->sdl.ShowCursor(cursor || !w->config.hides_cursor ? SDL_ENABLE : SDL_DISABLE);
    if (w->cursor) w->sdl.FreeCursor(w->cursor);
    w->cursor = cursor;
}

/* ---- keys ---- */

static bool is_down(const struct sdl_window *w, unsigned key) { return w->key_down[key / 8] >> (key % 8) & 1; }

static void key_send(struct sdl_window *w, unsigned key, bool down)
{
    const struct display_input *input = display_input(w->display);

    if (!down && !is_down(w, key)) return;
    if (down) w->key_down[key / 8] |= (uint8_t)(1 << key % 8);
    else w->key_down[key / 8] &= (uint8_t)~(1 << key % 8);
    if (input->key) input->key(input->opaque, key, down);
}

static void keys_release(struct sdl_window *w)
{
    for (unsigned key = 0; key < QKEY_COUNT; key++) key_send(w, key, false);
}

static void mouse_take(struct sdl_window *w, bool take)
{
    w->sdl.SetRelativeMouseMode(take ? SDL_TRUE : SDL_FALSE);
    w->sdl.SetWindowKeyboardGrab(w->window, take ? SDL_TRUE : SDL_FALSE);
    title_set(w);
}

static void full_screen_set(struct sdl_window *w, bool on)
{
    w->sdl.SetWindowFullscreen(w->window, on ? SDL_WINDOW_FULLSCREEN_DESKTOP : 0);
    w->exposed = true;
}

static void key_event(struct sdl_window *w, const SDL_KeyboardEvent *e)
{
    unsigned key = sdl_key(e->keysym.scancode);
    bool down = e->type == SDL_KEYDOWN, chord = is_down(w, QKEY_CTRL) && is_down(w, QKEY_ALT);

    if (down && chord && (key == QKEY_G || key == QKEY_F)) {
        keys_release(w);
        if (key == QKEY_G) mouse_take(w, !w->sdl.GetRelativeMouseMode());
        else full_screen_set(w, !(w->sdl.GetWindowFlags(w->window) & SDL_WINDOW_FULLSCREEN));
    } else if (key != QKEY_UNMAPPED && !e->repeat) key_send(w, key, down);         /* the guest's keyboard repeats by itself */
}

/* ---- mouse ---- */

static void pointer_send(struct sdl_window *w, int x, int y, int dx, int dy, int wheel)
{
    const struct display_input *input = display_input(w->display);
    const struct surface *s = display_surface(w->display);
    unsigned right = MAX(s->width, 2u) - 1, bottom = MAX(s->height, 2u) - 1;

    if (input->pointer_absolute)
        input->pointer_absolute(input->opaque, (unsigned)MIN(MAX(x, 0), (int)right) * ABSOLUTE_MAX / right,
                                (unsigned)MIN(MAX(y, 0), (int)bottom) * ABSOLUTE_MAX / bottom, wheel, w->buttons);
    else if (input->pointer_relative && w->sdl.GetRelativeMouseMode()) input->pointer_relative(input->opaque, dx, dy, wheel, w->buttons);
}

static void button_event(struct sdl_window *w, const SDL_MouseButtonEvent *e)
{
    static const uint8_t bits[] = { [SDL_BUTTON_LEFT] = POINTER_LEFT, [SDL_BUTTON_MIDDLE] = POINTER_MIDDLE, [SDL_BUTTON_RIGHT] = POINTER_RIGHT,
                                    [SDL_BUTTON_X1] = POINTER_SIDE, [SDL_BUTTON_X2] = POINTER_EXTRA };
    unsigned bit = e->button < ARRAY_SIZE(bits) ? bits[e->button] : 0;

    if (!display_input(w->display)->pointer_absolute && !w->sdl.GetRelativeMouseMode()) {
        if (e->type == SDL_MOUSEBUTTONDOWN) mouse_take(w, true);       /* that click is for us */
        return;
    }
    w->buttons = e->type == SDL_MOUSEBUTTONDOWN ? w->buttons | bit : w->buttons & ~bit;
    pointer_send(w, e->x, e->y, 0, 0, 0);
}

/* Only what comes from outside, not what on_resized does. */
static void size_wish(struct sdl_window *w, int width, int height)
{
    const struct display_input *input = display_input(w->display);

    if (!input->size_wish || width <= 0 || height <= 0) return;
    w->has_wish = true;
    input->size_wish(input->opaque, (unsigned)width, (unsigned)height);
}

static void window_event(struct sdl_window *w, const SDL_WindowEvent *e)
{
    switch (e->event) {
    case SDL_WINDOWEVENT_RESIZED:
        size_wish(w, e->data1, e->data2);
        break;
    case SDL_WINDOWEVENT_EXPOSED: case SDL_WINDOWEVENT_SIZE_CHANGED:
        w->exposed = true;
        on_updated(w, true);
        break;
    case SDL_WINDOWEVENT_FOCUS_LOST:
        keys_release(w);
        if (w->sdl.GetRelativeMouseMode()) mouse_take(w, false);
        break;
    }
}

static void event(struct sdl_window *w, const SDL_Event *e)
{
    switch (e->type) {
    case SDL_KEYDOWN: case SDL_KEYUP: key_event(w, &e->key); break;
    case SDL_MOUSEMOTION: pointer_send(w, e->motion.x, e->motion.y, e->motion.xrel, e->motion.yrel, 0); break;
    case SDL_MOUSEBUTTONDOWN: case SDL_MOUSEBUTTONUP: button_event(w, &e->button); break;
    case SDL_MOUSEWHEEL: pointer_send(w, e->wheel.mouseX, e->wheel.mouseY, 0, 0, -e->wheel.y); break;
    case SDL_WINDOWEVENT: window_event(w, &e->window); break;
    case SDL_RENDER_TARGETS_RESET: case SDL_RENDER_DEVICE_RESET: texture_make(w); break;
    case SDL_QUIT: w->config.closed(w->config.opaque); break;
    }
}

static void poll_due(void *opaque)
{
    struct sdl_window *w = opaque;
    SDL_Event e;

    for (unsigned n = 0; n < 200 && w->sdl.PollEvent(&e); n++) event(w, &e);
    timer_arm_ns(w->timer, clock_host_ns() + POLL_NS);
}

/* ---- life ---- */

static int library_load(struct sdl_window *w, struct error *err)
{
    w->library = dlopen(LIBRARY, RTLD_NOW | RTLD_LOCAL | RTLD_NODELETE);
    if (!w->library) return error_set(err, "no window without SDL: %s; install the package libsdl2-2.0-0", dlerror());
#define LOAD(name) if (!(*(void **)&w->sdl.name = dlsym(w->library, "SDL_" #name))) return error_set(err, LIBRARY " has no SDL_" #name "; 2.0.16 or later is wanted");
    FUNCTIONS(LOAD)
#undef LOAD
    return 0;
}

static int window_make(struct sdl_window *w, struct error *err)
{
    const struct surface *s = display_surface(w->display);

    w->sdl.SetHint(SDL_HINT_NO_SIGNAL_HANDLERS, "1");
    w->sdl.SetHint(SDL_HINT_VIDEO_ALLOW_SCREENSAVER, "1");
    w->sdl.SetHint(SDL_HINT_RENDER_SCALE_QUALITY, "linear");
    if (!getenv("DISPLAY") && !getenv("WAYLAND_DISPLAY"))              /* SDL would take a screen that nobody sees */
        return error_set(err, "no window: neither DISPLAY nor WAYLAND_DISPLAY is set; without a desktop use -display web or -vnc 127.0.0.1:0");
    if (w->sdl.Init(SDL_INIT_VIDEO) < 0) return error_set(err, "no window: %s; without a desktop use -display web or -vnc 127.0.0.1:0", w->sdl.GetError());
    w->began = true;
    w->window = w->sdl.CreateWindow("ospite", SDL_WINDOWPOS_UNDEFINED, SDL_WINDOWPOS_UNDEFINED, (int)s->width, (int)s->height, SDL_WINDOW_RESIZABLE);
    w->renderer = w->window ? w->sdl.CreateRenderer(w->window, -1, 0) : NULL;
    if (!w->renderer) return error_set(err, "no window: %s", w->sdl.GetError());
    title_set(w);
    if (w->config.full_screen) full_screen_set(w, true);
    if (w->config.hides_cursor) w->sdl.ShowCursor(SDL_DISABLE);
    texture_make(w);
    return 0;
}

struct sdl_window *sdl_window_new(struct display *d, const struct sdl_config *config, struct error *err)
{
    struct sdl_window *w = calloc(1, sizeof(*w));

    if (!w) {
        error_set(err, "no memory");
        return NULL;
    }
    w->display = d;
    w->config = *config;
    w->viewer = (struct display_viewer){ .resized = on_resized, .changed = on_changed, .updated = on_updated, .cursor = on_cursor, .opaque = w };
    if (library_load(w, err) < 0 || window_make(w, err) < 0) {
        sdl_window_free(w);
        return NULL;
    }
    w->timer = timer_new(TIMER_HOST, poll_due, w);
    display_viewer_add(d, &w->viewer);
    timer_arm_ns(w->timer, clock_host_ns());
    return w;
}

void sdl_window_free(struct sdl_window *w)
{
    if (!w) return;
    if (w->timer) {
        display_viewer_remove(w->display, &w->viewer);
        timer_free(w->timer);
    }
    if (w->cursor) w->sdl.FreeCursor(w->cursor);
    if (w->texture) w->sdl.DestroyTexture(w->texture);
    if (w->renderer) w->sdl.DestroyRenderer(w->renderer);
    if (w->window) w->sdl.DestroyWindow(w->window);
    if (w->began) w->sdl.Quit();
    if (w->library) dlclose(w->library);
    free(w);
}
