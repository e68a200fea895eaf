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

static json_t *words(const char *missing)
{
    json_t *all = json_array();

    for (const char *at = missing, *end; *at; at = end + strspn(end, ", ")) {
        end = at + strcspn(at, ", ");
        json_array_append_new(all, json_stringn(at, (size_t)(end - at)));
    }
    return all;
}

json_t *qmp_cpu_missing(struct machine *m)
{
    return words(machine_cpu_missing(m));
}

/* ---- machines and processors ---- */

static json_t *machine_pack(const char *name, int cpus)
{
    return json_pack("{s:s, s:i, s:b, s:b, s:b}", "name", name, "cpu-max", cpus, "hotpluggable-cpus", false, "numa-mem-supported", false, "deprecated", false);
}

/* No default-cpu-type: it is that of the engine, and libvirt has no name for "max" among its models. */
json_t *qmp_query_machines(struct qmp *q, json_t *args, struct qmp_error *err)
{
    json_t *all = json_array();

    for (const struct machine_type *t = machine_types; t->name; t++) {
        json_t *one = machine_pack(t->name, CPUS_MAX);

        json_object_set_new(one, "default-ram-id", json_string("pc.ram"));
        if (t->alias) json_object_set_new(one, "alias", json_string(t->alias));
        if (t == machine_types) json_object_set_new(one, "is-default", json_true());
        json_array_append_new(all, one);
    }
    json_array_append_new(all, machine_pack("none", 1));
    return all;
}

json_t *qmp_query_current_machine(struct qmp *q, json_t *args, struct qmp_error *err)
{
    return json_pack("{s:b}", "wakeup-suspend-support", false);
}

json_t *qmp_query_cpu_definitions(struct qmp *q, json_t *args, struct qmp_error *err)
{
    json_t *all = json_array();
    const char *name;

    for (unsigned i = 0; (name = cpuid_model_name(i)); i++) {
        struct cpuid_model m;
        json_t *c = json_pack("{s:s, s:o, s:b, s:b, s:b}", "name", name, "typename", json_sprintf("%s-x86_64-cpu", name), "static", false, "deprecated",
                              false, "migration-safe", strcmp(name, "host") && strcmp(name, "max"));

        if (cpuid_model_build(&m, name, qmp_cpuid_engine(q), NULL, NULL) == 0) json_object_set_new(c, "unavailable-features", words(m.missing));
        json_array_append_new(all, c);
    }
    return all;
}

/* ---- the command line ---- */

static void parameter_add(void *all, const char *name)
{
    json_array_append_new(all, json_pack("{s:s, s:s}", "name", name, "type", "string"));
}

json_t *qmp_query_command_line_options(struct qmp *q, json_t *args, struct qmp_error *err)
{
    const struct monitor_catalog *c = qmp_catalog(q);
    const char *wanted = qmp_string(args, "option"), *name;
    json_t *all = json_array();

    for (unsigned i = 0; c && (name = c->option(i)); i++) {
        json_t *parameters;

        if (wanted && strcmp(wanted, name)) continue;
        parameters = json_array();
        c->parameters(name, parameter_add, parameters);
        json_array_append_new(all, json_pack("{s:s, s:o}", "option", name, "parameters", parameters));
    }
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
    for (unsigned i = 0; c && (name = c->object(i)); i++) type_add(all, wanted, json_string(name), "object");
    for (const struct machine_type *t = machine_types; t->name; t++) type_add(all, wanted, json_sprintf("%s-machine", t->name), "generic-pc-machine");
    type_add(all, wanted, json_string("none-machine"), "machine");
    type_add(all, wanted, json_string("kvm-accel"), "accel");
    type_add(all, wanted, json_string("tcg-accel"), "accel");
    return all;
}

static void property_add(void *all, const char *name)
{
    json_array_append_new(all, json_pack("{s:s, s:s}", "name", name, "type", "str"));
}

static bool type_is_there(struct qmp *q, const char *type)
{
    json_t *all = qmp_qom_list_types(q, NULL, NULL), *t;
    bool found = false;
    size_t i;

    json_array_foreach(all, i, t) found |= !strcmp(json_string_value(json_object_get(t, "name")), type);
    json_decref(all);
    return found;
}

json_t *qmp_device_list_properties(struct qmp *q, json_t *args, struct qmp_error *err)
{
    const struct monitor_catalog *c = qmp_catalog(q);
    const char *type = qmp_string(args, "typename"), *name;
    json_t *all;

    for (unsigned i = 0; c && (name = c->device(i)); i++) {
        if (strcmp(name, type)) continue;
        all = json_array();
        c->properties(type, property_add, all);
        return all;
    }
    return type_is_there(q, type) ? qmp_fail(err, QMP_GENERIC, "Parameter 'typename' expects a non-abstract device type") : qmp_no_device(err, type);
}

/* Not every type has some. */
json_t *qmp_qom_list_properties(struct qmp *q, json_t *args, struct qmp_error *err)
{
    const struct monitor_catalog *c = qmp_catalog(q);
    const char *type = qmp_string(args, "typename");
    json_t *all;

    if (!type_is_there(q, type)) return qmp_fail(err, QMP_NO_DEVICE, "Class '%.200s' not found", type);
    all = json_array();
    property_add(all, "type");
    if (c) c->properties(type, property_add, all);
    if (strstr(type, "-x86_64-cpu")) qmp_cpu_properties(property_add, all);
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
json_t *qmp_query_stats(struct qmp *q, json_t *args, struct qmp_error *err) { return json_array(); }
