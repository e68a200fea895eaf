/* SPDX-License-Identifier: GPL-2.0-or-later */
/* QMP: character devices that come and go. QEMU's nested form of a backend becomes the flat one of -chardev. */
#include <stdlib.h>
#include <string.h>

#include "base/bits.h"
#include "machine/hotplug.h"
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
    json_t *backend = json_object_get(args, "backend"), *data = json_object_get(backend, "data"), *result = NULL;
    const char *type = qmp_string(backend, "type"), *description = NULL;
    json_t *flat = json_pack("{s:s, s:s}", "backend", type, "id", qmp_string(args, "id"));
    char *text;

    members_copy(flat, data, log_names, ARRAY_SIZE(log_names));
    if (!strcmp(type, "udp")) udp_copy(flat, data);
    if (!strcmp(type, "file")) members_copy(flat, data, file_names, ARRAY_SIZE(file_names));
    if (!strcmp(type, "socket")) socket_copy(flat, data);
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
