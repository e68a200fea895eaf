/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Several frontends on one backend. Output of all goes out; input goes to the one in focus. Ctrl-A begins a command.
 * Each frontend has a small buffer, so that Ctrl-A works while a guest does not read its serial port.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/bits.h"
#include "base/clock.h"
#include "chardev/chardev_private.h"

enum { MUX_FRONTS = 4, BUFFER_BYTES = 4096, ESCAPE = 1 };

struct front {
    struct chardev base;
    struct mux *mux;
    bool used;
    uint8_t buffer[BUFFER_BYTES];
    size_t at, count;
};

struct mux {
    struct chardev *backend;
    struct front front[MUX_FRONTS];
    unsigned focus, open_count;
    bool escaped, timestamps, line_start, delivering;
    int64_t start_ns;
};

static const struct chardev_ops front_ops;

static void mux_say(struct mux *m, const char *text)
{
    chardev_write(m->backend, text, strlen(text));
}

static void front_deliver(struct front *f)
{
    const struct chardev_frontend *fe = &f->base.frontend;

    if (!f->used || f->mux->delivering || !fe->receive) return;
    f->mux->delivering = true;
    while (f->count) {
        size_t room = fe->can_receive(fe->opaque);
        size_t n = MIN(MIN(room, f->count), BUFFER_BYTES - f->at);

        if (!n) break;
        fe->receive(fe->opaque, f->buffer + f->at, n);
        f->at = (f->at + n) % BUFFER_BYTES;
        f->count -= n;
    }
    f->mux->delivering = false;
}

static void front_push(struct front *f, uint8_t byte)
{
    if (f->count == BUFFER_BYTES) return;
    f->buffer[(f->at + f->count++) % BUFFER_BYTES] = byte;
}

static void focus_tell(struct front *f, bool has)
{
    if (f->used && f->base.frontend.focus) f->base.frontend.focus(f->base.frontend.opaque, has);
}

static void focus_next(struct mux *m)
{
    unsigned next = m->focus;

    do next = (next + 1) % MUX_FRONTS; while (!m->front[next].used);
    if (next == m->focus) return;
    focus_tell(&m->front[m->focus], false);
    m->focus = next;
    focus_tell(&m->front[next], true);
}

static void help(struct mux *m)
{
    mux_say(m, "\r\nC-a h    print this help\r\n"
               "C-a x    exit ospite\r\n"
               "C-a s    save disk data back to file (with -snapshot)\r\n"
               "C-a t    toggle console timestamps\r\n"
               "C-a b    send break (magic sysrq)\r\n"
               "C-a c    switch between console and monitor\r\n"
               "C-a C-a  send C-a\r\n");
}

static void command(struct mux *m, uint8_t key)
{
    struct front *f = &m->front[m->focus];
    char text[1024] = "";

    switch (key) {
    case 'h': case '?': help(m); break;
    case 'x':
        mux_say(m, "\r\nospite: Terminated\r\n");
        chardev_quit(m->backend->all);
        break;
    case 's':
        chardev_save(m->backend->all, text, sizeof(text));
        mux_say(m, "\r\nospite: ");
        mux_say(m, text);
        mux_say(m, "\r\n");
        break;
    case 'b': if (f->base.frontend.send_break) f->base.frontend.send_break(f->base.frontend.opaque); break;
    case 'c': focus_next(m); break;
    case 't':
        m->timestamps = !m->timestamps;
        m->start_ns = clock_host_ns();
        m->line_start = false;
        break;
    case ESCAPE: front_push(f, ESCAPE); break;
    }
}

static size_t mux_can_receive(void *opaque)
{
    struct mux *m = opaque;

    return BUFFER_BYTES - m->front[m->focus].count;
}

static void mux_receive(void *opaque, const uint8_t *data, size_t size)
{
    struct mux *m = opaque;

    for (size_t i = 0; i < size; i++) {
        if (m->escaped) {
            m->escaped = false;
            command(m, data[i]);
        } else if (data[i] == ESCAPE) m->escaped = true;
        else front_push(&m->front[m->focus], data[i]);
    }
    for (unsigned i = 0; i < MUX_FRONTS; i++) front_deliver(&m->front[i]);
}

static void mux_event(void *opaque, bool opened)
{
    struct mux *m = opaque;

    for (unsigned i = 0; i < MUX_FRONTS; i++)
        if (m->front[i].used && m->front[i].base.frontend.event)
            m->front[i].base.frontend.event(m->front[i].base.frontend.opaque, opened);
}

static void mux_writable(void *opaque)
{
    struct mux *m = opaque;

    for (unsigned i = 0; i < MUX_FRONTS; i++)
        if (m->front[i].used && m->front[i].base.frontend.writable)
            m->front[i].base.frontend.writable(m->front[i].base.frontend.opaque);
}

/* With timestamps on, "[seconds.milliseconds] " begins each line. */
static size_t write_stamped(struct mux *m, const uint8_t *data, size_t size)
{
    for (size_t i = 0; i < size; i++) {
        if (m->line_start) {
            int64_t ms = (clock_host_ns() - m->start_ns) / 1000000;
            char stamp[40];

            snprintf(stamp, sizeof(stamp), "[%02lld:%02lld.%03lld] ", (long long)ms / 60000, (long long)ms / 1000 % 60,
                     (long long)ms % 1000);
            mux_say(m, stamp);
            m->line_start = false;
        }
        chardev_write(m->backend, data + i, 1);
        if (data[i] == '\n') m->line_start = true;
    }
    return size;
}

static size_t front_write(struct chardev *c, const uint8_t *data, size_t size)
{
    struct mux *m = container_of(c, struct front, base)->mux;

    return m->timestamps ? write_stamped(m, data, size) : chardev_write(m->backend, data, size);
}

static void front_accept_input(struct chardev *c)
{
    struct front *f = container_of(c, struct front, base);

    front_deliver(f);
    chardev_accept_input(f->mux->backend);
}

static void front_close(struct chardev *c)
{
    struct front *f = container_of(c, struct front, base);
    struct mux *m = f->mux;

    f->base.frontend = (struct chardev_frontend){ 0 };
    if (--m->open_count) {
        if (&m->front[m->focus] == f) focus_next(m);
        f->used = false;
        return;
    }
    chardev_attach(m->backend, NULL);
    chardev_close(m->backend);
    free(m);
}

static const struct chardev_ops front_ops = { front_write, front_accept_input, front_close };

static struct chardev *front_new(struct mux *m)
{
    for (unsigned i = 0; i < MUX_FRONTS; i++) {
        struct front *f = &m->front[i];

        if (f->used) continue;
        *f = (struct front){ .base.ops = &front_ops, .base.all = m->backend->all, .base.columns = m->backend->columns, .base.rows = m->backend->rows,
                              .mux = m, .used = true };
        snprintf(f->base.description, sizeof(f->base.description), "mon:%.150s", m->backend->description);
        m->open_count++;
        return &f->base;
    }
    return NULL;
}

/* For the one that has the keyboard, as Ctrl-A b. */
static void mux_send_break(void *opaque)
{
    struct mux *m = opaque;

    command(m, 'b');
}

struct chardev *mux_open(struct chardev *backend)
{
    struct mux *m = calloc(1, sizeof(*m));
    struct chardev_frontend f = { .can_receive = mux_can_receive, .receive = mux_receive, .event = mux_event, .send_break = mux_send_break, .opaque = m,
                                  .writable = mux_writable };

    if (!m) return NULL;
    m->backend = backend;
    front_new(m);
    chardev_attach(backend, &f);
    return &m->front[0].base;
}

struct chardev *chardev_mux_second(struct chardev *c)
{
    if (!c || c->ops != &front_ops) return NULL;
    return front_new(container_of(c, struct front, base)->mux);
}
