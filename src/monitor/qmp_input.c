/* SPDX-License-Identifier: GPL-2.0-or-later */
/* QMP: screen, keyboard, mouse. Key codes are places in the schema's QKeyCode, whose order is that of base/qkeycode.h. */
#include <stdio.h>
#include <string.h>

#include "base/bits.h"
#include "base/qkeycode.h"
#include "display/display.h"
#include "display/input.h"
#include "display/scancode.h"
#include "monitor/qmp_private.h"
#include "monitor/qmp_schema.h"

enum { KEYS_MAX = 16, HOLD_MAX_MS = 60000 };

/* There is one graphic card at most, and one screen at it. */
static bool is_screen(struct qmp *q, json_t *args, struct qmp_error *err)
{
    const char *wanted = qmp_string(args, "device"), *id = machine_configuration(qmp_machine(q))->vga.id;
    int64_t head = qmp_int(args, "head", 0);

    if (!wanted && json_object_get(args, "head")) return qmp_fail(err, QMP_GENERIC, "'head' must be specified together with 'device'"), false;
    if (!wanted) return true;
    if (!qmp_is_device(qmp_machine(q), wanted)) return qmp_no_device(err, wanted), false;
    if (id && !strcmp(id, wanted) && !head) return true;
    return qmp_fail(err, QMP_GENERIC, "There is no console with number %lld at the device '%.200s'", (long long)head, wanted), false;
}

json_t *qmp_screendump(struct qmp *q, json_t *args, struct qmp_error *err)
{
    struct display *d = machine_display(qmp_machine(q));
    const char *format = qmp_string(args, "format");

    if (!is_screen(q, args, err)) return NULL;
    if (!d) return qmp_fail(err, QMP_GENERIC, "this machine has no graphic card; start it with -vga std");
    return qmp_result(display_dump(d, qmp_string(args, "filename"), format && !strcmp(format, "png") ? DUMP_PNG : DUMP_PPM, &err->error));
}

/* ---- keys ---- */

static const char *const *key_names(void)
{
    for (unsigned i = 0; i < qmp_type_count; i++)
        if (!strcmp(qmp_types[i].name, "QKeyCode")) return qmp_types[i].values;
    return NULL;
}

/* 0: what the number says is no key. */
static unsigned key_of(json_t *value)
{
    const char *const *names = key_names();
    json_t *data = json_object_get(value, "data");

    if (json_is_integer(data)) return scancode_key((uint32_t)json_integer_value(data) & 0xffff);
    for (unsigned i = 0; names[i]; i++)
        if (!strcmp(names[i], json_string_value(data))) return i;
    return QKEY_UNMAPPED;
}

json_t *qmp_send_key(struct qmp *q, json_t *args, struct qmp_error *err)
{
    json_t *keys = json_object_get(args, "keys"), *v;
    int64_t hold_ms = qmp_int(args, "hold-time", 0);
    char text[KEYS_MAX * 24] = "";
    size_t i, at = 0;

    if (json_array_size(keys) > KEYS_MAX) return qmp_fail(err, QMP_GENERIC, "at most %d keys can be held at once", KEYS_MAX);
    json_array_foreach(keys, i, v) {
        unsigned key = key_of(v);

        if (key != QKEY_UNMAPPED) at += (size_t)snprintf(text + at, sizeof(text) - at, "%s%s", at ? "-" : "", key_names()[key]);
    }
    if (!at) return json_object();
    return qmp_result(machine_send_keys(qmp_machine(q), text, (int)MIN(MAX(hold_ms, 0), HOLD_MAX_MS), &err->error));
}

/* ---- events one by one ---- */

struct pointer {
    struct input *input;
    struct qmp_pointer *kept;
    int dx, dy, wheel;
    bool moved, placed, pressed;
};

static unsigned button_bit(const char *name)
{
    static const struct { const char *name; unsigned bit; } buttons[] = {
        { "left", POINTER_LEFT }, { "middle", POINTER_MIDDLE }, { "right", POINTER_RIGHT }, { "side", POINTER_SIDE }, { "extra", POINTER_EXTRA },
    };

    for (unsigned i = 0; i < ARRAY_SIZE(buttons); i++)
        if (!strcmp(buttons[i].name, name)) return buttons[i].bit;
    return 0;
}

static void button(struct pointer *p, const char *name, bool down)
{
    unsigned bit = button_bit(name);

    if (bit && down) p->kept->buttons |= bit;
    else if (bit) p->kept->buttons &= ~bit;
    else if (down) p->wheel += !strcmp(name, "wheel-down") ? 1 : -1;
    p->pressed = true;
}

static void move(struct pointer *p, const char *axis, int64_t value, bool absolute)
{
    bool is_x = !strcmp(axis, "x");
    int limited = (int)MIN(MAX(value, -32768), 32767);

    if (absolute) *(is_x ? &p->kept->x : &p->kept->y) = (unsigned)MAX(limited, 0);
    else *(is_x ? &p->dx : &p->dy) += limited;
    if (absolute) p->placed = true;
    else p->moved = true;
}

static void event_take(struct pointer *p, json_t *event)
{
    const char *type = qmp_string(event, "type");
    json_t *data = json_object_get(event, "data");

    if (!strcmp(type, "key")) {
        unsigned key = key_of(json_object_get(data, "key"));

        if (key != QKEY_UNMAPPED) input_key(p->input, key, qmp_bool(data, "down", false));
    } else if (!strcmp(type, "btn")) button(p, qmp_string(data, "button"), qmp_bool(data, "down", false));
    else move(p, qmp_string(data, "axis"), qmp_int(data, "value", 0), !strcmp(type, "abs"));
}

/* Movements and buttons of one command are one report. */
static void pointer_report(struct pointer *p)
{
    if (p->placed || (p->pressed && !p->moved && input_is_absolute(p->input)))
        input_absolute(p->input, p->kept->x, p->kept->y, p->wheel, p->kept->buttons);
    else if (p->moved || p->pressed) input_relative(p->input, p->dx, p->dy, p->wheel, p->kept->buttons);
}

json_t *qmp_input_send_event(struct qmp *q, json_t *args, struct qmp_error *err)
{
    struct pointer p = { .input = machine_input(qmp_machine(q)), .kept = qmp_pointer(q) };
    json_t *events = json_object_get(args, "events"), *v;
    size_t i;

    if (json_object_get(args, "device") && !is_screen(q, args, err)) return NULL;
    if (machine_state(qmp_machine(q)) != RUN_RUNNING) return qmp_fail(err, QMP_GENERIC, "VM not running");
    json_array_foreach(events, i, v) {
        if (strcmp(qmp_string(v, "type"), "abs") || input_is_absolute(p.input)) continue;
        return qmp_fail(err, QMP_GENERIC, "Input handler not found for event type abs");
    }
    json_array_foreach(events, i, v) event_take(&p, v);
    pointer_report(&p);
    return json_object();
}

json_t *qmp_query_mice(struct qmp *q, json_t *args, struct qmp_error *err)
{
    const struct input *in = machine_input(qmp_machine(q));
    json_t *all = json_array();

    for (const struct input_device *d = input_next(in, NULL); d; d = input_next(in, d)) {
        bool absolute = d->kind == INPUT_ABSOLUTE;

        if (d->kind == INPUT_KEYBOARD) continue;
        json_array_append_new(all, json_pack("{s:s, s:i, s:b, s:b}", "name", d->name, "index", (int)d->number, "current",
                                             input_is_active(in, d) && (absolute || !input_is_absolute(in)), "absolute", absolute));
    }
    return all;
}
