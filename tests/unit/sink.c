/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The frontend of the tests of room chardev: it keeps bytes and counts events. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "base/error.h"
#include "base/loop.h"
#include "chardev/chardev.h"
#include "sink.h"
#include "unit.h"

static size_t can_receive(void *opaque)
{
    struct sink *s = opaque;

    return s->room < SINK - s->size ? s->room : SINK - s->size;
}

static void receive(void *opaque, const uint8_t *data, size_t size)
{
    struct sink *s = opaque;

    if (size > can_receive(s)) abort();
    memcpy(s->text + s->size, data, size);
    s->size += size;
    s->text[s->size] = 0;
}

static void event(void *opaque, bool opened)
{
    struct sink *s = opaque;

    if (opened) s->opened++;
    else s->closed++;
}

static void focus(void *opaque, bool has)
{
    struct sink *s = opaque;

    if (has) s->focused++;
    else s->unfocused++;
}

static void send_break(void *opaque) { ((struct sink *)opaque)->breaks++; }

void sink_attach(struct sink *s)
{
    chardev_attach(s->c, &(struct chardev_frontend){
        .can_receive = can_receive, .receive = receive, .event = event, .opaque = s, .focus = focus, .send_break = send_break });
}

bool sink_open(struct sink *s, struct chardevs *all, const char *spec)
{
    struct error err;

    memset(s, 0, sizeof(*s));
    s->room = SINK;
    s->c = chardev_open(all, spec, &err);
    if (!s->c) printf("%s: %s\n", spec, err.text);
    else sink_attach(s);
    return s->c;
}

void sink_refused(struct chardevs *all, const char *spec, const char *part)
{
    struct error err = { "" };

    check(!chardev_open(all, spec, &err) && strstr(err.text, part), "'%s' is refused, naming '%s'; got: %.80s", spec, part, err.text);
}

void wait_size(const size_t *value, size_t least)
{
    for (int64_t end = clock_host_ns() + 60 * NS_PER_SECOND; *value < least && clock_host_ns() < end;) loop_step(20);
}

void wait_count(const unsigned *value, unsigned least)
{
    for (int64_t end = clock_host_ns() + 60 * NS_PER_SECOND; *value < least && clock_host_ns() < end;) loop_step(20);
}

void some_steps(void)
{
    for (int i = 0; i < 20; i++) loop_step(2);
}
