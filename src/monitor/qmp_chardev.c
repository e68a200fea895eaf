/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Character devices in both monitors: those that come and go, BREAK, rings. QEMU's nested form of a backend becomes the flat one of -chardev. */
#include <stdlib.h>
#include <string.h>

#include <nettle/base64.h>

#include "base/bits.h"
#include "chardev/chardev.h"
#include "machine/hotplug.h"
#include "monitor/monitor_private.h"
#include "monitor/qmp_private.h"

/* Members of data under other names; NULL: the same. */
static void members_copy(json_t *to, json_t *from, const char *const (*names)[2], unsigned count)
{
    for (unsigned i = 0; i < count; i++) {
        json_t *v = json_object_get(from, names[i][0]);

        if (v) json_object_set(to, names[i][1], v);
    }
}

static void socket_copy(json_t *to, json_t *data)
{
    static const char *const names[][2] = {
        { "path", "path" }, { "host", "host" }, { "port", "port" }, { "str", "fd" }, { "to", "to" }, { "ipv4", "ipv4" }, { "ipv6", "ipv6" },
    };
    static const char *const more[][2] = { { "nodelay", "nodelay" }, { "telnet", "telnet" }, { "reconnect", "reconnect" } };
    json_t *addr = json_object_get(json_object_get(data, "addr"), "data");

    members_copy(to, addr, names, ARRAY_SIZE(names));
    members_copy(to, data, more, ARRAY_SIZE(more));
    json_object_set_new(to, "server", json_boolean(qmp_bool(data, "server", true)));
    if (qmp_bool(data, "server", true)) json_object_set_new(to, "wait", json_boolean(qmp_bool(data, "wait", false)));
}

static void udp_copy(json_t *to, json_t *data)
{
    static const char *const remote[][2] = { { "host", "host" }, { "port", "port" }, { "ipv4", "ipv4" }, { "ipv6", "ipv6" }, { "path", "path" }, { "str", "fd" } };
    static const char *const local[][2] = { { "host", "localaddr" }, { "port", "localport" } };

    members_copy(to, json_object_get(json_object_get(data, "remote"), "data"), remote, ARRAY_SIZE(remote));
    members_copy(to, json_object_get(json_object_get(data, "local"), "data"), local, ARRAY_SIZE(local));
}

json_t *qmp_chardev_add(struct qmp *q, json_t *args, struct qmp_error *err)
{
    static const char *const log_names[][2] = { { "logfile", "logfile" }, { "logappend", "logappend" } };
    static const char *const file_names[][2] = { { "out", "path" }, { "append", "append" } };
    static const char *const ring_names[][2] = { { "size", "size" } };
    json_t *backend = json_object_get(args, "backend"), *data = json_object_get(backend, "data"), *result = NULL;
    const char *type = qmp_string(backend, "type"), *description = NULL;
    json_t *flat = json_pack("{s:s, s:s}", "backend", type, "id", qmp_string(args, "id"));
    char *text;

    members_copy(flat, data, log_names, ARRAY_SIZE(log_names));
    if (!strcmp(type, "udp")) udp_copy(flat, data);
    if (!strcmp(type, "file")) members_copy(flat, data, file_names, ARRAY_SIZE(file_names));
    if (!strcmp(type, "socket")) socket_copy(flat, data);
    if (!strcmp(type, "ringbuf") || !strcmp(type, "memory")) members_copy(flat, data, ring_names, ARRAY_SIZE(ring_names));
    text = json_dumps(flat, JSON_COMPACT);
    json_decref(flat);
    if (!text) return qmp_fail(err, QMP_GENERIC, "out of memory");
    if (machine_chardev_add(qmp_machine(q), text, &description, &err->error) == 0) {
        result = json_object();
        if (!strncmp(description, "pty:", 4)) json_object_set_new(result, "pty", json_string(description + 4));
    }
    free(text);
    return result;
}

json_t *qmp_chardev_remove(struct qmp *q, json_t *args, struct qmp_error *err)
{
    return qmp_result(machine_chardev_remove(qmp_machine(q), qmp_string(args, "id"), &err->error));
}

/* ---- BREAK and rings ---- */

static struct chardev *chardev_find(struct machine *m, const char *id, const char *missing, struct error *err)
{
    struct chardev *c = NULL;

    while ((c = chardev_next(machine_chardevs(m), c)) && strcmp(chardev_label(c), id)) {}
    if (!c) error_set(err, missing, id);
    return c;
}

static int break_send(struct machine *m, const char *id, struct error *err)
{
    struct chardev *c = chardev_find(m, id, "Chardev '%.200s' not found", err);

    if (c) chardev_send_break(c);
    return c ? 0 : -1;
}

static struct chardev *ring_find(struct machine *m, const char *id, struct error *err)
{
    struct chardev *c = chardev_find(m, id, "Device '%.200s' not found", err);

    if (!c || chardev_is_ring(c)) return c;
    error_set(err, "%.200s is not a ringbuf device", id);
    return NULL;
}

/* At most size of the bytes that were not read yet, malloc'ed; NULL with *err. */
static uint8_t *ring_take(struct machine *m, const char *id, int64_t size, size_t *got, struct error *err)
{
    struct chardev *c = ring_find(m, id, err);
    uint8_t *data;

    if (!c) return NULL;
    if (size <= 0) {
        error_set(err, "size must be greater than zero");
        return NULL;
    }
    *got = (size_t)MIN((uint64_t)size, (uint64_t)chardev_ring_used(c));
    data = malloc(*got + 1);
    if (!data) error_set(err, "no memory for %zu bytes", *got);
    else chardev_ring_read(c, data, *got);
    return data;
}

static int ring_put(struct machine *m, const char *id, const void *data, size_t size, struct error *err)
{
    struct chardev *c = ring_find(m, id, err);

    if (c) chardev_write(c, data, size);
    return c ? 0 : -1;
}

json_t *qmp_chardev_send_break(struct qmp *q, json_t *args, struct qmp_error *err)
{
    return qmp_result(break_send(qmp_machine(q), qmp_string(args, "id"), &err->error));
}

static bool is_base64(json_t *args)
{
    const char *format = qmp_string(args, "format");

    return format && !strcmp(format, "base64");
}

static json_t *base64_text(const uint8_t *data, size_t size)
{
    size_t length = BASE64_ENCODE_RAW_LENGTH(size);
    char *text = malloc(length + 1);
    json_t *v = NULL;

    if (text) {
        base64_encode_raw(text, size, data);
        v = json_stringn(text, length);
    }
    free(text);
    return v;
}

json_t *qmp_ringbuf_read(struct qmp *q, json_t *args, struct qmp_error *err)
{
    size_t size;
    uint8_t *data = ring_take(qmp_machine(q), qmp_string(args, "device"), qmp_int(args, "size", 0), &size, &err->error);
    json_t *result;

    if (!data) return NULL;
    result = is_base64(args) ? base64_text(data, size) : qmp_bytes(data, size);
    free(data);
    return result ? result : qmp_fail(err, QMP_GENERIC, "no memory for %zu bytes", size);
}

/* malloc'ed; NULL with *err. */
static uint8_t *base64_bytes(const char *text, size_t *size, struct error *err)
{
    size_t length = strlen(text);
    uint8_t *data = malloc(BASE64_DECODE_LENGTH(length) + 1);
    struct base64_decode_ctx c;

    if (!data) {
        error_set(err, "no memory for %zu bytes", length);
        return NULL;
    }
    base64_decode_init(&c);
    if (base64_decode_update(&c, size, data, length, text) && base64_decode_final(&c)) return data;
    free(data);
    error_set(err, "Base64 data contains invalid characters");
    return NULL;
}

json_t *qmp_ringbuf_write(struct qmp *q, json_t *args, struct qmp_error *err)
{
    const char *device = qmp_string(args, "device"), *text = qmp_string(args, "data");
    uint8_t *data;
    size_t size;
    int result;

    if (!is_base64(args)) return qmp_result(ring_put(qmp_machine(q), device, text, json_string_length(json_object_get(args, "data")), &err->error));
    if (!ring_find(qmp_machine(q), device, &err->error) || !(data = base64_bytes(text, &size, &err->error))) return NULL;
    result = ring_put(qmp_machine(q), device, data, size, &err->error);
    free(data);
    return qmp_result(result);
}

static int cmd_send_break(struct monitor *mon, const struct command_line *c, struct error *err)
{
    if (c->argc != 2) return error_set(err, "a character device's id is wanted; 'info chardev' shows them");
    return break_send(mon->m, c->argv[1], err);
}

/* As in QEMU: what cannot be shown is escaped. */
static int cmd_ringbuf_read(struct monitor *mon, const struct command_line *c, struct error *err)
{
    uint64_t wanted;
    size_t size = 0;
    uint8_t *data;

    if (c->argc != 3) return error_set(err, "DEVICE SIZE is wanted");
    if (expression_value(mon, c->argv[2], NULL, &wanted, err) < 0) return -1;
    data = ring_take(mon->m, c->argv[1], (int64_t)MIN(wanted, (uint64_t)INT64_MAX), &size, err);
    if (!data) return -1;
    for (size_t i = 0; i < size; i++) {
        if (data[i] == '\\') monitor_print(mon, "\\\\");
        else if ((data[i] < ' ' && data[i] != '\n' && data[i] != '\t') || data[i] == 0x7f) monitor_print(mon, "\\u%04X", data[i]);
        else monitor_print(mon, "%c", data[i]);
    }
    monitor_print(mon, "\n");
    free(data);
    return 0;
}

static int cmd_ringbuf_write(struct monitor *mon, const struct command_line *c, struct error *err)
{
    if (c->argc != 3) return error_set(err, "DEVICE DATA is wanted; put blanks into quotation marks");
    return ring_put(mon->m, c->argv[1], c->argv[2], strlen(c->argv[2]), err);
}

const struct command chardev_commands[] = {
    { "chardev-send-break", "ID", "a BREAK condition for the serial port at a character device (Linux: the magic SysRq key)", cmd_send_break, NULL },
    { "ringbuf_read", "DEVICE SIZE", "read what came to a character device 'ringbuf'", cmd_ringbuf_read, NULL },
    { "ringbuf_write", "DEVICE DATA", "put something into it", cmd_ringbuf_write, NULL },
    { NULL, NULL, NULL, NULL, NULL },
};
