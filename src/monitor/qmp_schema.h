/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The tables that qmp_schema.py makes of qmp.schema: types, commands, events. Types refer to each other by number. */
#ifndef MONITOR_QMP_SCHEMA_H
#define MONITOR_QMP_SCHEMA_H

#include <stdbool.h>
#include <stdint.h>

#include "monitor/qmp_private.h"

enum qmp_meta { QMP_INT, QMP_NUMBER, QMP_STRING, QMP_BOOL, QMP_NULL, QMP_ANY, QMP_ENUM, QMP_ARRAY, QMP_OBJECT, QMP_ALTERNATE };

struct qmp_member {
    const char *name;
    uint16_t type;
    bool optional;
};
struct qmp_variant {
    const char *when;                  /* the tag's value */
    uint16_t type;                     /* an object with further members */
};
struct qmp_type {
    enum qmp_meta meta;
    const char *name;
    int64_t min;                       /* QMP_INT; unsigned 64-bit ones also take what is negative as int64_t */
    int64_t max;
    const char *const *values;         /* QMP_ENUM, to a NULL */
    uint16_t element;                  /* QMP_ARRAY */
    const struct qmp_member *members;  /* QMP_OBJECT, QMP_ALTERNATE (without names), to a NULL or number 0 */
    unsigned member_count;
    bool is_open;                      /* QMP_OBJECT: with any further members */
    const char *tag;                   /* QMP_OBJECT with variants */
    const struct qmp_variant *variants;
    unsigned variant_count;
};
struct qmp_command {
    const char *name;
    qmp_fn *fn;
    uint16_t args, ret;                /* objects; ret may be anything */
    const char *const *features;       /* to a NULL; or NULL */
};
struct qmp_event {
    const char *name;
    uint16_t data;
    bool is_throttled;                 /* at most one a second of those that are about the same */
};

extern const struct qmp_type qmp_types[];
extern const unsigned qmp_type_count;
extern const struct qmp_command qmp_commands[];        /* by name, ascending */
extern const unsigned qmp_command_count;
extern const struct qmp_event qmp_events[];
extern const unsigned qmp_event_count;

#endif
