/* SPDX-License-Identifier: GPL-2.0-or-later */
/* QMP: devices, nodes and networks that come and go. What is to come is the command line's JSON, which machine/hotplug.h takes. */
#include <stdlib.h>
#include <string.h>

#include "bus/device.h"
#include "machine/hotplug.h"
#include "monitor/qmp_private.h"

#define PERIPHERAL "/machine/peripheral/"

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

json_t *qmp_netdev_add(struct qmp *q, json_t *args, struct qmp_error *err)
{
    return add(q, args, machine_netdev_add, err);
}

json_t *qmp_object_add(struct qmp *q, json_t *args, struct qmp_error *err)
{
    return add(q, args, machine_object_add, err);
}

json_t *qmp_object_del(struct qmp *q, json_t *args, struct qmp_error *err)
{
    return qmp_result(machine_object_del(qmp_machine(q), qmp_string(args, "id"), &err->error));
}

static bool is_device(struct machine *m, const char *id)
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

    if (!is_device(qmp_machine(q), name)) return qmp_no_device(err, id);
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

json_t *qmp_blockdev_del(struct qmp *q, json_t *args, struct qmp_error *err)
{
    return qmp_result(machine_blockdev_del(qmp_machine(q), qmp_string(args, "node-name"), &err->error));
}
