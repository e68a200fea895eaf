/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Arguments against the schema: every member known and of its type, none missing. What a command gets has passed here. Errors name the
 * member, for lists with its place, in QEMU's words, since there are clients that look at them.
 */
#include "monitor/qmp_private.h"

#include <stdio.h>
#include <string.h>

#include "monitor/qmp_schema.h"

enum { NAME_BYTES = 200 };

static int wrong(const struct qmp_type *t, const char *name, struct qmp_error *err)
{
    static const char *const words[] = {
        [QMP_INT] = "integer", [QMP_NUMBER] = "number", [QMP_STRING] = "string", [QMP_BOOL] = "boolean", [QMP_NULL] = "null", [QMP_ANY] = "value",
        [QMP_ENUM] = "string", [QMP_ARRAY] = "array", [QMP_OBJECT] = "object", [QMP_ALTERNATE] = "",
    };

    return error_set(&err->error, "Invalid parameter type for '%s', expected: %s", name, t->meta == QMP_ALTERNATE ? t->name : words[t->meta]);
}

static bool is_of(const struct qmp_type *t, const json_t *v)
{
    switch (t->meta) {
    case QMP_INT: return json_is_integer(v);
    case QMP_NUMBER: return json_is_number(v);
    case QMP_STRING: case QMP_ENUM: return json_is_string(v);
    case QMP_BOOL: return json_is_boolean(v);
    case QMP_NULL: return json_is_null(v);
    case QMP_ANY: return true;
    case QMP_ARRAY: return json_is_array(v);
    case QMP_OBJECT: return json_is_object(v);
    case QMP_ALTERNATE: break;
    }
    return false;
}

static int check_int(const struct qmp_type *t, json_int_t v, const char *name, struct qmp_error *err)
{
    bool is_uint64 = t->min == 0 && t->max == -1;

    if (is_uint64 || (v >= t->min && v <= t->max)) return 0;
    return error_set(&err->error, "Parameter '%s' expects %s", name, t->name);
}

static int check_enum(const struct qmp_type *t, const char *v, const char *name, struct qmp_error *err)
{
    for (unsigned i = 0; t->values[i]; i++)
        if (!strcmp(t->values[i], v)) return 0;
    if (strrchr(name, '.')) name = strrchr(name, '.') + 1;       /* QEMU names the last part only here */
    return error_set(&err->error, "Parameter '%s' does not accept value '%.200s'", strchr(name, '[') ? "null" : name, v);
}

static int check_array(const struct qmp_type *t, const json_t *array, const char *name, struct qmp_error *err)
{
    char place[NAME_BYTES];
    size_t i;
    json_t *v;

    json_array_foreach(array, i, v) {
        snprintf(place, sizeof(place), "%s[%zu]", name, i);
        if (qmp_check(t->element, v, place, err) < 0) return -1;
    }
    return 0;
}

static const struct qmp_type *variant(const struct qmp_type *t, json_t *object)
{
    const char *tag = t->tag ? json_string_value(json_object_get(object, t->tag)) : NULL;

    for (unsigned i = 0; tag && i < t->variant_count; i++)
        if (!strcmp(t->variants[i].when, tag)) return &qmp_types[t->variants[i].type];
    return NULL;
}

static bool has_member(const struct qmp_type *t, const char *name)
{
    for (unsigned i = 0; t && i < t->member_count; i++)
        if (!strcmp(t->members[i].name, name)) return true;
    return false;
}

static void member_name(char out[NAME_BYTES], const char *in, const char *name)
{
    snprintf(out, NAME_BYTES, "%s%s%s", in ? in : "", in ? "." : "", name);
}

static int check_members(const struct qmp_type *t, json_t *object, const char *name, struct qmp_error *err)
{
    for (unsigned i = 0; i < t->member_count; i++) {
        const struct qmp_member *m = &t->members[i];
        json_t *v = json_object_get(object, m->name);
        char full[NAME_BYTES];

        member_name(full, name, m->name);
        if (!v && !m->optional) return error_set(&err->error, "Parameter '%s' is missing", full);
        if (v && qmp_check(m->type, v, full, err) < 0) return -1;
    }
    return 0;
}

static int check_object(const struct qmp_type *t, json_t *object, const char *name, struct qmp_error *err)
{
    const struct qmp_type *more;
    char full[NAME_BYTES];
    const char *key;
    json_t *v;

    if (check_members(t, object, name, err) < 0) return -1;
    more = variant(t, object);
    if (more && check_members(more, object, name, err) < 0) return -1;
    if (t->is_open) return 0;
    json_object_foreach(object, key, v) {
        if (has_member(t, key) || has_member(more, key)) continue;
        member_name(full, name, key);
        return error_set(&err->error, "Parameter '%s' is unexpected", full);
    }
    return 0;
}

static int check_alternate(const struct qmp_type *t, json_t *v, const char *name, struct qmp_error *err)
{
    for (unsigned i = 0; i < t->member_count; i++)
        if (is_of(&qmp_types[t->members[i].type], v)) return qmp_check(t->members[i].type, v, name, err);
    return wrong(t, name, err);
}

int qmp_check(unsigned type, json_t *value, const char *name, struct qmp_error *err)
{
    const struct qmp_type *t = &qmp_types[type];

    if (t->meta == QMP_ALTERNATE) return check_alternate(t, value, name, err);
    if (!is_of(t, value)) return wrong(t, name ? name : "arguments", err);
    switch (t->meta) {
    case QMP_INT: return check_int(t, json_integer_value(value), name, err);
    case QMP_ENUM: return check_enum(t, json_string_value(value), name, err);
    case QMP_ARRAY: return check_array(t, value, name, err);
    case QMP_OBJECT: return check_object(t, value, name, err);
    default: return 0;
    }
}
