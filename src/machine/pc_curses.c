/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * What the terminal of -display curses shows: the graphic card's text, the serial ports, and monitors that are connected to nothing else (vc), which
 * come first. Monitors are made after the machine and end before it.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/error.h"
#include "chardev/chardev.h"
#include "device/display/vga.h"
#include "device/virtio/virtio_gpu.h"
#include "display/curses.h"
#include "machine/pc_console.h"
#include "machine/pc_private.h"

struct pc_curses {
    struct machine *m;
    struct curses *screen;
    struct pc_console console[CURSES_CONSOLES_MAX];
    unsigned consoles, monitors;
};

static void text(void *opaque, struct curses_text *to)
{
    struct machine *m = ((struct pc_curses *)opaque)->m;

    if (m->gpu && virtio_gpu_size(m->gpu, &to->width, &to->height)) to->kind = to->width ? CURSES_GRAPHICS : CURSES_BLANK;
    else if (m->vga) vga_text_cells(m->vga, to);
    else to->kind = CURSES_BLANK;
}

static void console_output(void *opaque, unsigned number, const uint8_t *data, size_t size) { curses_console_output(((struct pc_curses *)opaque)->screen, number, data, size); }
static void console_ready(void *opaque, unsigned number) { curses_console_ready(((struct pc_curses *)opaque)->screen, number); }

static size_t console_input(void *opaque, unsigned console, const uint8_t *data, size_t size)
{
    return pc_console_input(&((struct pc_curses *)opaque)->console[console], data, size);
}

static void console_add(struct pc_curses *p, struct chardev *port, const char *name)
{
    int number = curses_console_add(p->screen, name);

    if (number < 0) return;
    p->console[number] = (struct pc_console){ .port = port, .output = console_output, .ready = console_ready, .opaque = p, .number = (unsigned)number };
    pc_console_open(&p->console[number]);
    p->consoles++;
}

static void serials_add(struct pc_curses *p)
{
    char name[16];

    for (unsigned i = 0; i < CONFIG_SERIALS; i++) {
        if (!p->m->serial[i]) continue;
        snprintf(name, sizeof(name), "serial %u", i);
        console_add(p, p->m->serial[i], name);
    }
}

void machine_monitor_show(struct machine *m, struct chardev *c)
{
    struct pc_curses *p = m->curses;

    if (!p || strcmp(chardev_description(c), "vc")) return;
    console_add(p, c, p->monitors ? "monitor 2" : "monitor");
    p->monitors++;
}

void machine_monitors_shown(struct machine *m)
{
    if (m->curses) serials_add(m->curses);
}

int pc_curses_create(struct machine *m, struct error *err)
{
    struct curses_config c = { .layout = m->layout, .text = text, .console_input = console_input };
    struct pc_curses *p;

    if (!m->display) return error_set(err, "-display curses: this machine has no graphic card; start it with -vga std, or use -nographic");
    p = c.opaque = calloc(1, sizeof(*p));
    if (!p) return error_set(err, "no memory");
    p->m = m;
    m->curses = p;
    p->screen = curses_new(m->display, &c, err);
    return p->screen ? 0 : error_prefix(err, "-display curses");
}

void pc_curses_destroy(struct machine *m)
{
    struct pc_curses *p = m->curses;

    if (!p) return;
    for (unsigned i = 0; i < p->consoles; i++) pc_console_close(&p->console[i], i >= p->monitors);
    curses_free(p->screen);
    free(p);
    m->curses = NULL;
}
