/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The monitors that a machine was started with, of both kinds. */
#include <stdio.h>
#include <stdlib.h>

#include "base/error.h"
#include "chardev/chardev.h"
#include "monitor/guest_dump.h"
#include "monitor/monitor_private.h"
#include "monitor/qmp.h"

struct monitors {
    struct monitor *human[CONFIG_MONITORS];
    struct qmp *qmp[CONFIG_MONITORS];
};

static int one_new(struct monitors *all, unsigned i, struct machine *m, const struct monitor_catalog *catalog, struct error *err)
{
    const struct monitor_config *config = &machine_configuration(m)->monitor[i];
    struct chardev *c = chardev_open(machine_chardevs(m), config->spec, err);
    char label[32];

    if (!c) return error_prefix(err, "%s", config->option);
    snprintf(label, sizeof(label), "compat_monitor%u", i);
    chardev_label_set(c, label);
    machine_monitor_show(m, c);
    if (config->is_control) all->qmp[i] = qmp_new(m, c, config->is_pretty, catalog, err);
    else all->human[i] = monitor_new(m, c, err);
    return all->qmp[i] || all->human[i] ? 0 : error_prefix(err, "%s", config->option);
}

struct monitors *monitors_new(struct machine *m, const struct monitor_catalog *catalog, struct error *err)
{
    struct monitors *all = calloc(1, sizeof(*all));

    if (!all) {
        error_set(err, "out of memory");
        return NULL;
    }
    for (unsigned i = 0; i < machine_configuration(m)->monitor_count; i++) {
        if (one_new(all, i, m, catalog, err) == 0) continue;
        monitors_free(all);
        return NULL;
    }
    machine_monitors_shown(m);
    return all;
}

void monitors_free(struct monitors *all)
{
    if (!all) return;
    guest_dump_end();
    for (unsigned i = 0; i < CONFIG_MONITORS; i++) {
        monitor_free(all->human[i]);
        qmp_free(all->qmp[i]);
    }
    free(all);
}
