/* SPDX-License-Identifier: GPL-2.0-or-later */
/* QMP: what there is to choose from: machines, CPU models, devices, options. Names of the command line are handed in (monitor_catalog). */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/bits.h"
#include "monitor/monitor.h"
#include "monitor/qmp_private.h"
#include "x86/cpuid.h"

enum { CPUS_MAX = 255 };

json_t *qmp_cpu_missing(struct machine *m)
{
    json_t *all = json_array();

    for (const char *at = machine_cpu_missing(m), *end; *at; at = end + strspn(end, ", ")) {
        end = at + strcspn(at, ", ");
        json_array_append_new(all, json_stringn(at, (size_t)(end - at)));
    }
    return all;
}

/* ---- machines and processors ---- */

json_t *qmp_query_machines(struct qmp *q, json_t *args, struct qmp_error *err)
{
    return json_pack("[{s:s, s:i, s:b, s:b, s:b, s:s, s:b}]", "name", machine_configuration(qmp_machine(q))->machine, "cpu-max", CPUS_MAX,
                     "hotpluggable-cpus", false, "numa-mem-supported", false, "deprecated", false, "default-cpu-type", "max-x86_64-cpu", "is-default", true);
}

json_t *qmp_query_current_machine(struct qmp *q, json_t *args, struct qmp_error *err)
{
    return json_pack("{s:b}", "wakeup-suspend-support", false);
}

json_t *qmp_query_cpu_definitions(struct qmp *q, json_t *args, struct qmp_error *err)
{
    const char *mine = machine_cpu_model(qmp_machine(q)), *name;
    json_t *all = json_array();

    for (unsigned i = 0; (name = cpuid_model_name(i)); i++) {
        json_t *c = json_pack("{s:s, s:o, s:b, s:b, s:b}", "name", name, "typename", json_sprintf("%s-x86_64-cpu", name), "static", false, "deprecated",
                              false, "migration-safe", strcmp(name, "host") && strcmp(name, "max"));

        if (!strcasecmp(name, mine)) json_object_set_new(c, "unavailable-features", qmp_cpu_missing(qmp_machine(q)));
        json_array_append_new(all, c);
    }
    return all;
}

/* ---- the command line ---- */

json_t *qmp_query_command_line_options(struct qmp *q, json_t *args, struct qmp_error *err)
{
    const struct monitor_catalog *c = qmp_catalog(q);
    const char *wanted = qmp_string(args, "option"), *name;
    json_t *all = json_array();

    for (unsigned i = 0; c && (name = c->option(i)); i++)
        if (!wanted || !strcmp(wanted, name)) json_array_append_new(all, json_pack("{s:s, s:[]}", "option", name, "parameters"));
    if (!wanted || json_array_size(all)) return all;
    json_decref(all);
    return qmp_fail(err, QMP_GENERIC, "invalid option name: %.200s", wanted);
}

/* ---- types ---- */

static void type_add(json_t *all, const char *wanted, json_t *name, const char *parent)
{
    if (!wanted || !strcmp(wanted, "object") || !strcmp(wanted, parent) || !strcmp(wanted, json_string_value(name)))
        json_array_append_new(all, json_pack("{s:O, s:s}", "name", name, "parent", parent));
    json_decref(name);
}

json_t *qmp_qom_list_types(struct qmp *q, json_t *args, struct qmp_error *err)
{
    const struct monitor_catalog *c = qmp_catalog(q);
    const char *wanted = qmp_string(args, "implements"), *name;
    json_t *all = json_array();

    for (unsigned i = 0; c && (name = c->device(i)); i++) type_add(all, wanted, json_string(name), "device");
    for (unsigned i = 0; (name = cpuid_model_name(i)); i++) type_add(all, wanted, json_sprintf("%s-x86_64-cpu", name), "x86_64-cpu");
    type_add(all, wanted, json_sprintf("%s-machine", machine_configuration(qmp_machine(q))->machine), "generic-pc-machine");
    type_add(all, wanted, json_string("kvm-accel"), "accel");
    type_add(all, wanted, json_string("tcg-accel"), "accel");
    return all;
}

/* ---- what libvirt says at the start of every machine ---- */

json_t *qmp_query_migrate(struct qmp *q, json_t *args, struct qmp_error *err)
{
    return json_object();
}

json_t *qmp_query_migrate_capabilities(struct qmp *q, json_t *args, struct qmp_error *err)
{
    return json_pack("[{s:s, s:b}]", "capability", "events", "state", *qmp_migration_events(q));
}

json_t *qmp_migrate_set_capabilities(struct qmp *q, json_t *args, struct qmp_error *err)
{
    size_t i;
    json_t *v;

    json_array_foreach(json_object_get(args, "capabilities"), i, v) *qmp_migration_events(q) = qmp_bool(v, "state", false);
    return json_object();
}

json_t *qmp_query_stats_schemas(struct qmp *q, json_t *args, struct qmp_error *err) { return json_array(); }
