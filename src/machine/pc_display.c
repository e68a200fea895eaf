/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Who looks at the graphic card's picture, and where their keys and pointers go: to the one of the guest's devices that is in use (display/input.h). */
#include "base/bits.h"
#include "base/error.h"
#include "base/log.h"
#include "base/loop.h"
#include "device/input/i8042.h"
#include "display/display.h"
#include "display/layout.h"
#include "display/sdl.h"
#include "display/vnc.h"
#include "machine/pc_private.h"

/* ---- the PS/2 keyboard and mouse ---- */

_Static_assert((int)POINTER_LEFT == (int)MOUSE_LEFT && (int)POINTER_RIGHT == (int)MOUSE_RIGHT && (int)POINTER_MIDDLE == (int)MOUSE_MIDDLE &&
               (int)POINTER_SIDE == (int)MOUSE_SIDE && (int)POINTER_EXTRA == (int)MOUSE_EXTRA, "buttons");

static void ps2_key(void *opaque, unsigned qkeycode, bool down) { keyboard_send_key(((struct machine *)opaque)->keyboard, qkeycode, down); }

static unsigned ps2_leds(void *opaque)
{
    enum { PS2_SCROLL = 1, PS2_NUM = 2, PS2_CAPS = 4 };
    unsigned leds = keyboard_leds(((struct machine *)opaque)->keyboard);

    return (leds & PS2_NUM ? INPUT_LED_NUM : 0) | (leds & PS2_CAPS ? INPUT_LED_CAPS : 0) | (leds & PS2_SCROLL ? INPUT_LED_SCROLL : 0);
}

static void ps2_pointer(void *opaque, int dx, int dy, int wheel, unsigned buttons)
{
    struct machine *m = opaque;

    if (dx || dy || wheel) mouse_move(m->keyboard, dx, dy, wheel);
    mouse_buttons(m->keyboard, buttons);
}

int pc_input_create(struct machine *m, struct error *err)
{
    m->input = input_new();
    if (!m->input) return error_set(err, "no memory for the keyboard");
    m->ps2_keyboard = (struct input_device){ .name = "QEMU PS/2 Keyboard", .kind = INPUT_KEYBOARD, .key = ps2_key, .leds = ps2_leds, .opaque = m };
    m->ps2_mouse = (struct input_device){ .name = "QEMU PS/2 Mouse", .kind = INPUT_RELATIVE, .relative = ps2_pointer, .opaque = m };
    input_add(m->input, &m->ps2_keyboard);
    input_add(m->input, &m->ps2_mouse);
    return 0;
}

/* ---- those who look ---- */

static void key(void *opaque, unsigned qkeycode, bool down) { input_key(((struct machine *)opaque)->input, qkeycode, down); }

static unsigned leds(void *opaque) { return input_leds(((struct machine *)opaque)->input); }

static void pointer_relative(void *opaque, int dx, int dy, int wheel, unsigned buttons)
{
    input_relative(((struct machine *)opaque)->input, dx, dy, wheel, buttons);
}

static void pointer_absolute(void *opaque, unsigned x, unsigned y, int wheel, unsigned buttons)
{
    input_absolute(((struct machine *)opaque)->input, x, y, wheel, buttons);
}

static void size_wish(void *opaque, unsigned width, unsigned height) { virtio_gpu_size_wish(((struct machine *)opaque)->gpu, width, height); }

/* Viewers ask display_input whether they are to send positions. */
static void input_offer(void *opaque)
{
    struct machine *m = container_of(opaque, struct machine, ps2_mouse);
    struct display_input input = *display_input(m->display);

    input.key = key;
    input.leds = leds;
    input.pointer_relative = pointer_relative;
    input.pointer_absolute = input_is_absolute(m->input) ? pointer_absolute : NULL;
    input.size_wish = m->gpu ? size_wish : NULL;
    input.opaque = m;
    display_input_set(m->display, &input);
}

/* It may be a vCPU's thread; sockets are the main thread's. */
static void pointer_changed(void *opaque) { loop_post(input_offer, &((struct machine *)opaque)->ps2_mouse); }

void pc_input_destroy(struct machine *m)
{
    loop_post_cancel(&m->ps2_mouse);
    input_free(m->input);
    layout_free(m->layout);
}

static json_t *peer_pack(const struct vnc_peer *p)
{
    return json_pack("{s:s, s:s, s:s, s:b}", "host", p->host, "service", p->service, "family", p->family, "websocket", p->is_web);
}

static void vnc_event(void *opaque, enum vnc_event event, const struct vnc_peer *near, const struct vnc_peer *far)
{
    static const char *const names[] = {
        [VNC_CONNECTED] = "VNC_CONNECTED", [VNC_INITIALIZED] = "VNC_INITIALIZED", [VNC_DISCONNECTED] = "VNC_DISCONNECTED",
    };
    struct machine *m = opaque;
    json_t *server = peer_pack(near);

    if (m->vnc) json_object_set_new(server, "auth", json_string(vnc_auth_name(m->vnc)));
    machine_event(m, names[event], json_pack("{s:o, s:o}", "server", server, "client", peer_pack(far)));
}

static void window_closed(void *opaque)
{
    const struct display_wish *close = &((struct machine *)opaque)->config.window_close;

    if (!close->given || close->on) machine_request_quit(opaque, 0, CAUSE_UI);
}

static int window_create(struct machine *m, struct error *err)
{
    struct sdl_config c = { .name = m->config.name, .full_screen = m->config.full_screen.on,
                            .hides_cursor = m->config.show_cursor.given && !m->config.show_cursor.on, .closed = window_closed, .opaque = m };
    struct error why;

    if (!m->display && m->config.window == WINDOW_WANTED) return error_set(err, "-display sdl: this machine has no graphic card; start it with -vga std");
    if (!m->display) return 0;
    m->window = sdl_window_new(m->display, &c, &why);
    if (m->window) return 0;
    if (m->config.window == WINDOW_WANTED) return error_set(err, "-display sdl: %s", why.text);
    log_message("%s", why.text);
    return 0;
}

static int layout_make(struct machine *m, struct error *err)
{
    if (!m->config.has_vnc && !m->config.has_web && !m->config.has_curses) {
        log_message("-k %s: nobody sends characters here; it counts with -vnc, -display web and -display curses", m->config.layout);
        return 0;
    }
    if (!(m->layout = layout_new(m->config.layout, err))) return error_prefix(err, "-k");
    m->config.vnc.layout = m->config.web.layout = m->layout;
    return 0;
}

int pc_display_create(struct machine *m, struct error *err)
{
    if (m->display) {
        input_watch(m->input, pointer_changed, m);
        input_offer(&m->ps2_mouse);
    }
    if (m->config.window != WINDOW_NONE && window_create(m, err) < 0) return -1;
    if (m->config.layout && layout_make(m, err) < 0) return -1;
    if (m->config.has_curses && pc_curses_create(m, err) < 0) return -1;
    if (m->config.has_web && pc_web_create(m, err) < 0) return -1;
    if (!m->config.has_vnc) return 0;
    if (!m->display) return error_set(err, "-vnc: this machine has no graphic card; start it with -vga std");
    m->config.vnc.name = m->config.name;
    m->config.vnc.event = vnc_event;
    m->config.vnc.event_opaque = m;
    m->config.vnc.clipboard = pc_clipboard(m);
    m->vnc = vnc_server_new(m->display, &m->config.vnc, err);
    return m->vnc ? 0 : error_prefix(err, "-vnc");
}

bool machine_has_window(const struct machine *m) { return m->window; }
struct display *machine_display(struct machine *m) { return m->display; }
struct vnc_server *machine_vnc(struct machine *m) { return m->vnc; }
struct input *machine_input(struct machine *m) { return m->input; }
