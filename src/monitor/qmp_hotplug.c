/* SPDX-License-Identifier: GPL-2.0-or-later */
/* QMP: devices, nodes and networks that come and go. What is to come is the command line's JSON, which machine/hotplug.h takes. */
#include <ctype.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/bits.h"
#include "bus/device.h"
#include "machine/hotplug.h"
#include "monitor/qmp_private.h"

#define PERIPHERAL "/machine/peripheral/"
enum { NET_DESCRIPTORS = 16 };

static json_t *add(struct qmp *q, json_t *args, int (*fn)(struct machine *m, const char *text, struct error *err), struct qmp_error *err)
{
    char *text = json_dumps(args, JSON_COMPACT);
    int result = text ? fn(qmp_machine(q), text, &err->error) : error_set(&err->error, "out of memory");

    free(text);
    return qmp_result(result);
}

json_t *qmp_device_add(struct qmp *q, json_t *args, struct qmp_error *err)
{
    return add(q, args, machine_device_add, err);
}

/* Names that getfd gave become numbers, "7:8"; a number is one that was inherited. The descriptors are the network's then, or closed. */
static int descriptors_name(struct qmp *q, json_t *args, const char *key, int *fds, unsigned *count, struct qmp_error *err)
{
    const char *names = json_string_value(json_object_get(args, key));
    char text[NET_DESCRIPTORS * 12] = "", name[200];

    for (const char *p = names; p && *p; p += strcspn(p, ":"), p += *p == ':') {
        size_t used = strlen(text), n = strcspn(p, ":");

        if (n >= sizeof(name) || *count == NET_DESCRIPTORS) return error_set(&err->error, "%s=%.100s: too long, or too many", key, names);
        snprintf(name, sizeof(name), "%.*s", (int)n, p);
        if (isdigit((unsigned char)*name)) {
            snprintf(text + used, sizeof(text) - used, "%s%.10s", used ? ":" : "", name);
            continue;
        }
        fds[*count] = qmp_descriptor_take(q, name, err);
        if (fds[*count] < 0) return -1;
        snprintf(text + used, sizeof(text) - used, "%s%d", used ? ":" : "", fds[(*count)++]);
    }
    if (names) json_object_set_new(args, key, json_string(text));
    return 0;
}

json_t *qmp_netdev_add(struct qmp *q, json_t *args, struct qmp_error *err)
{
    static const char *const keys[] = { "fd", "fds", "vhostfd", "vhostfds" };
    int fds[NET_DESCRIPTORS];
    json_t *result = NULL;
    unsigned count = 0;
    int failed = 0;

    for (unsigned i = 0; i < ARRAY_SIZE(keys) && !failed; i++) failed = descriptors_name(q, args, keys[i], fds, &count, err);
    if (!failed) result = add(q, args, machine_netdev_add, err);
    while (!result && count) close(fds[--count]);
    return result;
}

json_t *qmp_object_add(struct qmp *q, json_t *args, struct qmp_error *err)
{
    return add(q, args, machine_object_add, err);
}

json_t *qmp_object_del(struct qmp *q, json_t *args, struct qmp_error *err)
{
    return qmp_result(machine_object_del(qmp_machine(q), qmp_string(args, "id"), &err->error));
}

bool qmp_is_device(struct machine *m, const char *id)
{
    for (const struct device *d = machine_devices(m); d; d = d->next)
        if (d->id && !strcmp(d->id, id)) return true;
    if (machine_port_exists(m, id)) return true;
    for (unsigned i = 0; i < machine_drive_count(m); i++) {
        const struct drive_config *d = machine_drive_config(m, i);

        if (d->device_id && !strcmp(d->device_id, id)) return true;
    }
    return false;
}

json_t *qmp_device_del(struct qmp *q, json_t *args, struct qmp_error *err)
{
    const char *id = qmp_string(args, "id"), *name = strncmp(id, PERIPHERAL, strlen(PERIPHERAL)) ? id : id + strlen(PERIPHERAL);

    if (!qmp_is_device(qmp_machine(q), name)) return qmp_no_device(err, id);
    return qmp_result(machine_device_del(qmp_machine(q), name, &err->error));
}

json_t *qmp_netdev_del(struct qmp *q, json_t *args, struct qmp_error *err)
{
    const struct machine_config *c = machine_configuration(qmp_machine(q));
    const char *id = qmp_string(args, "id");

    for (unsigned i = 0; i < c->netdev_count; i++)
        if (c->netdev[i].id && !strcmp(c->netdev[i].id, id)) return qmp_result(machine_netdev_del(qmp_machine(q), id, &err->error));
    return qmp_no_device(err, id);
}

json_t *qmp_blockdev_add(struct qmp *q, json_t *args, struct qmp_error *err)
{
    return add(q, args, machine_blockdev_add, err);
}

json_t *qmp_blockdev_reopen(struct qmp *q, json_t *args, struct qmp_error *err)
{
    const json_t *options = json_object_get(args, "options");
    char *text[CONFIG_DRIVES] = { NULL };
    size_t count = json_array_size(options);
    int result = 0;

    if (count > CONFIG_DRIVES) return qmp_fail(err, QMP_GENERIC, "more than %d nodes", CONFIG_DRIVES);
    for (size_t i = 0; i < count && result == 0; i++) {
        const json_t *name = json_object_get(json_array_get(options, i), "node-name");

        if (!name) result = error_set(&err->error, "node-name not specified");
        else if (!(text[i] = json_dumps(json_array_get(options, i), JSON_COMPACT))) result = error_set(&err->error, "no memory for the options of a node");
    }
    if (result == 0) result = machine_blockdev_reopen(qmp_machine(q), (const char *const *)text, (unsigned)count, &err->error);
    for (size_t i = 0; i < count; i++) free(text[i]);
    return qmp_result(result);
}

json_t *qmp_blockdev_del(struct qmp *q, json_t *args, struct qmp_error *err)
{
    return qmp_result(machine_blockdev_del(qmp_machine(q), qmp_string(args, "node-name"), &err->error));
}
