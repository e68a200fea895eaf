/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Who looks at the graphic card's picture, and where their keys and pointers go. */
#include "base/error.h"
#include "device/input/i8042.h"
#include "display/display.h"
#include "display/vnc.h"
#include "machine/pc_private.h"

static void key(void *opaque, unsigned qkeycode, bool down)
{
    struct machine *m = opaque;

    if (m->keyboard) keyboard_send_key(m->keyboard, qkeycode, down);
}

_Static_assert((int)POINTER_LEFT == (int)MOUSE_LEFT && (int)POINTER_RIGHT == (int)MOUSE_RIGHT && (int)POINTER_MIDDLE == (int)MOUSE_MIDDLE, "buttons");

static void pointer_relative(void *opaque, int dx, int dy, int wheel, unsigned buttons)
{
    struct machine *m = opaque;

    if (!m->keyboard) return;
    if (dx || dy || wheel) mouse_move(m->keyboard, dx, dy, wheel);
    mouse_buttons(m->keyboard, buttons);
}

int pc_display_create(struct machine *m, struct error *err)
{
    struct display_input input = { .key = key, .pointer_relative = pointer_relative, .opaque = m };

    if (m->display) display_input_set(m->display, &input);
    if (!m->config.has_vnc) return 0;
    if (!m->display) return error_set(err, "-vnc: this machine has no graphic card; start it with -vga std");
    m->config.vnc.name = m->config.name;
    m->vnc = vnc_server_new(m->display, &m->config.vnc, err);
    return m->vnc ? 0 : error_prefix(err, "-vnc");
}

struct display *machine_display(struct machine *m) { return m->display; }
struct vnc_server *machine_vnc(struct machine *m) { return m->vnc; }
