/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The schema as its clients see it: query-qmp-schema in the form of QEMU's introspection. Types have numbers for names there, and all kinds of
 * integers are one.
 */
#include "monitor/qmp_private.h"

#include <stdio.h>

#include "monitor/qmp_schema.h"

static const char *const meta_name[] = {
    [QMP_INT] = "int", [QMP_NUMBER] = "number", [QMP_STRING] = "str", [QMP_BOOL] = "bool", [QMP_NULL] = "null", [QMP_ANY] = "any",
};
static const char *const json_name[] = {
    [QMP_INT] = "int", [QMP_NUMBER] = "number", [QMP_STRING] = "string", [QMP_BOOL] = "boolean", [QMP_NULL] = "null", [QMP_ANY] = "value",
};

static json_t *type_name(unsigned type)
{
    const struct qmp_type *t = &qmp_types[type];

    if (t->meta <= QMP_ANY) return json_string(meta_name[t->meta]);
    if (t->meta == QMP_ARRAY) {
        json_t *element = type_name(t->element), *name = json_sprintf("[%s]", json_string_value(element));

        json_decref(element);
        return name;
    }
    return json_sprintf("%u", type);
}

static json_t *enum_info(const struct qmp_type *t)
{
    json_t *members = json_array(), *values = json_array();

    for (unsigned i = 0; t->values[i]; i++) {
        json_array_append_new(members, json_pack("{s:s}", "name", t->values[i]));
        json_array_append_new(values, json_string(t->values[i]));
    }
    return json_pack("{s:s, s:o, s:o}", "meta-type", "enum", "members", members, "values", values);
}

static json_t *object_info(const struct qmp_type *t)
{
    json_t *members = json_array(), *info;

    for (unsigned i = 0; i < t->member_count; i++) {
        json_t *m = json_pack("{s:s, s:o}", "name", t->members[i].name, "type", type_name(t->members[i].type));

        if (t->members[i].optional) json_object_set_new(m, "default", json_null());
        json_array_append_new(members, m);
    }
    info = json_pack("{s:s, s:o}", "meta-type", "object", "members", members);
    if (t->tag) {
        json_t *variants = json_array();

        for (unsigned i = 0; i < t->variant_count; i++)
            json_array_append_new(variants, json_pack("{s:s, s:o}", "case", t->variants[i].when, "type", type_name(t->variants[i].type)));
        json_object_set_new(info, "tag", json_string(t->tag));
        json_object_set_new(info, "variants", variants);
    }
    return info;
}

static json_t *alternate_info(const struct qmp_type *t)
{
    json_t *members = json_array();

    for (unsigned i = 0; i < t->member_count; i++)
        json_array_append_new(members, json_pack("{s:o}", "type", type_name(t->members[i].type)));
    return json_pack("{s:s, s:o}", "meta-type", "alternate", "members", members);
}

static json_t *type_info(unsigned type)
{
    const struct qmp_type *t = &qmp_types[type];
    json_t *info;

    if (t->meta == QMP_ENUM) info = enum_info(t);
    else if (t->meta == QMP_OBJECT) info = object_info(t);
    else if (t->meta == QMP_ALTERNATE) info = alternate_info(t);
    else if (t->meta == QMP_ARRAY) info = json_pack("{s:s, s:o}", "meta-type", "array", "element-type", type_name(t->element));
    else info = json_pack("{s:s, s:s}", "meta-type", "builtin", "json-type", json_name[t->meta]);
    json_object_set_new(info, "name", type_name(type));
    return info;
}

/* Integers of all sizes are one type. */
static bool is_told(unsigned type)
{
    for (unsigned i = 0; i < type; i++)
        if (qmp_types[type].meta == QMP_INT && qmp_types[i].meta == QMP_INT) return false;
    return true;
}

static bool is_array_told(unsigned type)
{
    const struct qmp_type *t = &qmp_types[type];

    for (unsigned i = 0; t->meta == QMP_ARRAY && qmp_types[t->element].meta == QMP_INT && i < type; i++)
        if (qmp_types[i].meta == QMP_ARRAY && qmp_types[qmp_types[i].element].meta == QMP_INT) return false;
    return true;
}

static json_t *command_info(const struct qmp_command *c)
{
    json_t *info = json_pack("{s:s, s:s, s:o, s:o, s:b}", "name", c->name, "meta-type", "command", "arg-type", type_name(c->args),
                             "ret-type", type_name(c->ret), "allow-oob", false);

    if (c->features) {
        json_t *features = json_array();

        for (unsigned i = 0; c->features[i]; i++) json_array_append_new(features, json_string(c->features[i]));
        json_object_set_new(info, "features", features);
    }
    return info;
}

json_t *qmp_query_qmp_schema(struct qmp *q, json_t *args, struct qmp_error *err)
{
    json_t *all = json_array();

    for (unsigned i = 0; i < qmp_command_count; i++) json_array_append_new(all, command_info(&qmp_commands[i]));
    for (unsigned i = 0; i < qmp_event_count; i++)
        json_array_append_new(all, json_pack("{s:s, s:s, s:o}", "name", qmp_events[i].name, "meta-type", "event", "arg-type",
                                             type_name(qmp_events[i].data)));
    for (unsigned i = 0; i < qmp_type_count; i++)
        if (is_told(i) && is_array_told(i)) json_array_append_new(all, type_info(i));
    return all;
}

json_t *qmp_query_commands(struct qmp *q, json_t *args, struct qmp_error *err)
{
    json_t *all = json_array();

    for (unsigned i = 0; i < qmp_command_count; i++) json_array_append_new(all, json_pack("{s:s}", "name", qmp_commands[i].name));
    return all;
}
