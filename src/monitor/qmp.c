/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * QMP as QEMU 7.2 speaks it (docs/interop/qmp-spec.txt there): a greeting, qmp_capabilities, then commands one after the other, and events.
 * One client a monitor at a time; more monitors serve more clients.
 *
 * A client gets one command carried out in a round of the loop, and the next only when its answer is on the way; until then nothing is
 * read from it. So neither a client that sends without end nor one that never reads makes us hold more than one
 * answer and 1 MiB of events (those beyond are lost to it), and the guest is served in between.
 */
#include "monitor/qmp.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/time.h>

#include "base/bits.h"
#include "base/log.h"
#include "base/loop.h"
#include "chardev/chardev.h"
#include "machine/event.h"
#include "monitor/monitor_private.h"
#include "monitor/qmp_event.h"
#include "monitor/qmp_frame.h"
#include "monitor/qmp_schema.h"

enum { IN_BYTES = 4096, OUT_EVENTS_MAX = 1 << 20 };

struct qmp {
    struct machine *m;
    struct chardev *chardev;
    struct monitor *human;
    struct qmp_throttle *throttle;
    const struct monitor_catalog *catalog;
    struct qmp_frame frame;
    struct qmp_pointer pointer;
    struct qmp_descriptor *descriptors;
    json_t *late;                      /* events that wait for the answer; NULL: no command is being carried out */
    bool pretty, negotiated, posted, events_lost, migration_events;
    uint8_t in[IN_BYTES];
    size_t in_at, in_end;
    char *out;                         /* what the chardev did not take yet */
    size_t out_at, out_end, out_room;
};

static void carry_on(void *opaque);

/* ---- out ---- */

static void out_flush(struct qmp *q)
{
    size_t done = q->out ? chardev_write(q->chardev, q->out + q->out_at, q->out_end - q->out_at) : 0;

    if (!q->out) return;               /* nothing to send, or the client went meanwhile */
    q->out_at += done;
    if (q->out_at < q->out_end) return;
    free(q->out);
    q->out = NULL;
    q->out_at = q->out_end = q->out_room = 0;
}

static void out_add(struct qmp *q, const char *text, size_t size)
{
    if (!q->out) {
        size_t done = chardev_write(q->chardev, text, size);

        text += done;
        size -= done;
        if (!size) return;
    }
    if (q->out_end + size > q->out_room) {
        size_t room = MAX(2 * q->out_room, q->out_end + size);
        char *out = realloc(q->out, room);

        if (!out) return;
        q->out = out;
        q->out_room = room;
    }
    memcpy(q->out + q->out_end, text, size);
    q->out_end += size;
}

/* Takes message. */
static void send(struct qmp *q, json_t *message)
{
    char *text = json_dumps(message, JSON_ENSURE_ASCII | (q->pretty ? JSON_INDENT(4) : 0));

    json_decref(message);
    if (!text) return;
    out_add(q, text, strlen(text));
    out_add(q, "\r\n", 2);
    free(text);
}

static void event_send(void *opaque, const char *name, json_t *data)
{
    struct qmp *q = opaque;
    struct timeval now;
    json_t *e;

    if (!q->negotiated || !chardev_is_connected(q->chardev)) return;
    if (q->out_end - q->out_at > OUT_EVENTS_MAX) {
        if (!q->events_lost) log_message("a QMP client does not read; events are lost to it");
        q->events_lost = true;
        return;
    }
    gettimeofday(&now, NULL);
    e = json_pack("{s:{s:I, s:I}, s:s}", "timestamp", "seconds", (json_int_t)now.tv_sec, "microseconds", (json_int_t)now.tv_usec, "event", name);
    if (data) json_object_set(e, "data", data);
    send(q, e);
}

/* A device that goes at once is gone before device_del is answered; clients expect the news after the answer, as from QEMU. */
static void on_event(void *opaque, const char *name, json_t *data)
{
    struct qmp *q = opaque;

    if (!q->negotiated) return;
    if (q->late && !strcmp(name, "DEVICE_DELETED")) json_array_append(q->late, data);
    else qmp_throttle_event(q->throttle, name, data);
}

static void late_send(struct qmp *q)
{
    json_t *late = q->late, *data;
    size_t i;

    q->late = NULL;
    json_array_foreach(late, i, data) on_event(q, "DEVICE_DELETED", data);
    json_decref(late);
}

/* ---- commands ---- */

static int command_compare(const void *name, const void *command)
{
    return strcmp(name, ((const struct qmp_command *)command)->name);
}

static json_t *refuse(struct qmp_error *err, json_t *id)
{
    json_t *reply = json_pack("{s:{s:s, s:o}}", "error", "class", err->class, "desc", qmp_text(err->error.text, strlen(err->error.text)));

    if (id) json_object_set(reply, "id", id);
    return reply;
}

/* The members of a command beside its arguments. */
static const char *request_check(json_t *request, struct qmp_error *err)
{
    static const char *const known[] = { "execute", "arguments", "id" };
    json_t *execute = json_object_get(request, "execute"), *args = json_object_get(request, "arguments"), *v;
    const char *key;

    json_object_foreach(request, key, v) {
        bool found = false;

        for (unsigned i = 0; i < ARRAY_SIZE(known); i++) found |= !strcmp(known[i], key);
        if (!found) return qmp_fail(err, QMP_GENERIC, "QMP input member '%.200s' is unexpected", key), NULL;
    }
    if (!execute) return qmp_fail(err, QMP_GENERIC, "QMP input lacks member 'execute'"), NULL;
    if (!json_is_string(execute)) return qmp_fail(err, QMP_GENERIC, "QMP input member 'execute' must be a string"), NULL;
    if (args && !json_is_object(args)) return qmp_fail(err, QMP_GENERIC, "QMP input member 'arguments' must be an object"), NULL;
    return json_string_value(execute);
}

static json_t *command_run(struct qmp *q, json_t *request, struct qmp_error *err)
{
    json_t *args = json_object_get(request, "arguments"), *none = NULL, *result = NULL;
    const char *name = request_check(request, err);
    const struct qmp_command *c;

    if (!name) return NULL;
    c = bsearch(name, qmp_commands, qmp_command_count, sizeof(*c), command_compare);
    if (!q->negotiated && strcmp(name, "qmp_capabilities"))
        return qmp_fail(err, QMP_NO_COMMAND, "Expecting capabilities negotiation with 'qmp_capabilities'");
    if (!c) return qmp_fail(err, QMP_NO_COMMAND, "The command %.200s has not been found", name);
    if (!args) args = none = json_object();
    if (qmp_check(c->args, args, NULL, err) == 0) result = c->fn(q, args, err);
    json_decref(none);
    return result;
}

static json_t *answer(struct qmp *q, const char *text)
{
    struct qmp_error err = { QMP_GENERIC, { "" } };
    json_error_t why;
    json_t *request = json_loads(text, JSON_REJECT_DUPLICATES | JSON_DECODE_ANY, &why), *result, *reply;

    if (!request || !json_is_object(request)) {
        if (request) qmp_fail(&err, QMP_GENERIC, "QMP input must be a JSON object");
        else qmp_fail(&err, QMP_GENERIC, "JSON parse error, %s", why.text);
        json_decref(request);
        return refuse(&err, NULL);
    }
    result = command_run(q, request, &err);
    if (result) {
        reply = json_pack("{s:o}", "return", result);
        if (json_object_get(request, "id")) json_object_set(reply, "id", json_object_get(request, "id"));
    } else reply = refuse(&err, json_object_get(request, "id"));
    json_decref(request);
    return reply;
}

json_t *qmp_qmp_capabilities(struct qmp *q, json_t *args, struct qmp_error *err)
{
    if (q->negotiated) return qmp_fail(err, QMP_NO_COMMAND, "Capabilities negotiation is already complete, command ignored");
    if (json_array_size(json_object_get(args, "enable")))
        return qmp_fail(err, QMP_GENERIC, "Capability 'oob' is not available");
    q->negotiated = true;
    return json_object();
}

/* ---- in ---- */

static size_t can_receive(void *opaque)
{
    struct qmp *q = opaque;

    return q->in_at < q->in_end || q->out ? 0 : IN_BYTES;
}

static void post(struct qmp *q)
{
    if (q->posted) return;
    q->posted = true;
    loop_post(carry_on, q);
}

/* What was read, up to the end of one command. */
static void carry_on(void *opaque)
{
    struct qmp *q = opaque;

    q->posted = false;
    while (q->in_at < q->in_end && !q->out) {
        const char *why;
        enum qmp_frame_result r = qmp_frame_push(&q->frame, (char)q->in[q->in_at++], &why);

        if (r == QMP_FRAME_MORE) continue;
        if (r == QMP_FRAME_TEXT) {
            q->late = json_array();
            send(q, answer(q, q->frame.text));
            late_send(q);
        } else {
            struct qmp_error err = { QMP_GENERIC, { "" } };

            qmp_fail(&err, QMP_GENERIC, "JSON parse error, %s", why);
            send(q, refuse(&err, NULL));
        }
        break;
    }
    if (q->in_at < q->in_end) {
        if (!q->out) post(q);
    } else if (!q->out) chardev_accept_input(q->chardev);
}

static void receive(void *opaque, const uint8_t *data, size_t size)
{
    struct qmp *q = opaque;

    memcpy(q->in, data, MIN(size, sizeof(q->in)));
    q->in_at = 0;
    q->in_end = MIN(size, sizeof(q->in));
    post(q);
}

static void writable(void *opaque)
{
    struct qmp *q = opaque;

    out_flush(q);
    if (q->out) return;
    if (q->in_at < q->in_end) post(q);
    else chardev_accept_input(q->chardev);
}

/* ---- a client comes and goes ---- */

static json_t *version(void)
{
    return json_pack("{s:{s:i, s:i, s:i}, s:s}", "qemu", "major", 7, "minor", 2, "micro", 0, "package", "ospite " OSPITE_VERSION);
}

json_t *qmp_query_version(struct qmp *q, json_t *args, struct qmp_error *err)
{
    return version();
}

static void forget(struct qmp *q)
{
    qmp_frame_reset(&q->frame);
    qmp_throttle_clear(q->throttle);
    q->negotiated = q->events_lost = false;
    q->in_at = q->in_end = 0;
    free(q->out);
    q->out = NULL;
    q->out_at = q->out_end = q->out_room = 0;
}

static void event(void *opaque, bool opened)
{
    struct qmp *q = opaque;

    forget(q);
    if (opened) send(q, json_pack("{s:{s:o, s:[]}}", "QMP", "version", version(), "capabilities"));
}

struct qmp *qmp_new(struct machine *m, struct chardev *c, bool pretty, const struct monitor_catalog *catalog, struct error *err)
{
    struct qmp *q = calloc(1, sizeof(*q));
    struct chardev_frontend f = { .can_receive = can_receive, .receive = receive, .event = event, .opaque = q, .writable = writable };

    if (q) {
        q->m = m;
        q->chardev = c;
        q->pretty = pretty;
        q->catalog = catalog;
        q->human = monitor_silent_new(m);
        q->throttle = qmp_throttle_new(event_send, q);
    }
    if (!q || !q->human || !q->throttle) {
        if (q) qmp_free(q);
        else chardev_close(c);
        error_set(err, "out of memory");
        return NULL;
    }
    machine_event_listen(m, on_event, q);
    chardev_descriptors_accept(c);
    chardev_attach(c, &f);
    if (chardev_is_connected(c)) event(q, true);
    return q;
}

void qmp_free(struct qmp *q)
{
    if (!q) return;
    machine_event_forget(q->m, on_event, q);
    loop_post_cancel(q);
    chardev_attach(q->chardev, NULL);
    chardev_close(q->chardev);
    qmp_descriptors_free(q);
    qmp_throttle_free(q->throttle);
    monitor_free(q->human);
    qmp_frame_free(&q->frame);
    free(q->out);
    free(q);
}

struct machine *qmp_machine(struct qmp *q)
{
    return q->m;
}

const struct monitor_catalog *qmp_catalog(struct qmp *q)
{
    return q->catalog;
}

bool *qmp_migration_events(struct qmp *q)
{
    return &q->migration_events;
}

struct qmp_pointer *qmp_pointer(struct qmp *q)
{
    return &q->pointer;
}

struct qmp_descriptor **qmp_descriptors(struct qmp *q)
{
    return &q->descriptors;
}

struct chardev *qmp_chardev(struct qmp *q)
{
    return q->chardev;
}

struct monitor *qmp_human(struct qmp *q)
{
    return q->human;
}
