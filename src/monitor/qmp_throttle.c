/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Limits on the I/O of drives, in both monitors. */
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/bits.h"
#include "base/error.h"
#include "machine/hotplug.h"
#include "monitor/monitor_private.h"
#include "monitor/qmp_private.h"

static const char *const names[LIMITS] = { "bps", "bps_rd", "bps_wr", "iops", "iops_rd", "iops_wr" };

/* NAME, NAME_max, NAME_max_length of args. */
static bool limit_read(json_t *args, const char *name, struct block_limit *l, struct qmp_error *err)
{
    char key[32];
    int64_t average = qmp_int(args, name, 0), maximum, length;

    snprintf(key, sizeof(key), "%s_max", name);
    maximum = qmp_int(args, key, 0);
    snprintf(key, sizeof(key), "%s_max_length", name);
    length = qmp_int(args, key, 1);
    if (average < 0 || maximum < 0 || length < 0) {
        qmp_fail(err, QMP_GENERIC, "bps/iops/max values must be within [0, %llu]", 1000000000000000ull);
        return false;
    }
    *l = (struct block_limit){ (uint64_t)average, (uint64_t)maximum, (uint64_t)length };
    return true;
}

json_t *qmp_block_set_io_throttle(struct qmp *q, json_t *args, struct qmp_error *err)
{
    struct machine *m = qmp_machine(q);
    struct block_limits l = { .op_bytes = (uint64_t)MAX(qmp_int(args, "iops_size", 0), (int64_t)0) };
    int i = qmp_drive_find(m, args, err);

    if (i < 0) return NULL;
    for (unsigned n = 0; n < LIMITS; n++)
        if (!limit_read(args, names[n], &l.limit[n], err)) return NULL;
    if (block_limits_check(&l, &err->error) < 0) return NULL;
    return qmp_result(machine_throttle_set(m, (unsigned)i, qmp_string(args, "group"), &l, &err->error));
}

void qmp_throttle_fill(json_t *info, struct machine *m, unsigned drive)
{
    const char *group = NULL;
    const struct block_limits *l = machine_throttle_get(m, drive, &group);
    char key[32];

    for (unsigned n = 0; n < LIMITS && l; n++) {
        json_object_set_new(info, names[n], json_integer((json_int_t)l->limit[n].average));
        if (!l->limit[n].maximum) continue;
        snprintf(key, sizeof(key), "%s_max", names[n]);
        json_object_set_new(info, key, json_integer((json_int_t)l->limit[n].maximum));
        snprintf(key, sizeof(key), "%s_max_length", names[n]);
        json_object_set_new(info, key, json_integer((json_int_t)l->limit[n].burst_s));
    }
    if (l && l->op_bytes) json_object_set_new(info, "iops_size", json_integer((json_int_t)l->op_bytes));
    if (l) json_object_set_new(info, "group", qmp_text(group, strlen(group)));
}

/* ---- groups as objects ---- */

static const char *const group_names[LIMITS] = { "bps-total", "bps-read", "bps-write", "iops-total", "iops-read", "iops-write" };

/* The number that a member of 'limits' is; NULL: there is no such. */
static uint64_t *group_number(struct block_limits *l, const char *key)
{
    for (unsigned n = 0; n < LIMITS; n++) {
        size_t length = strlen(group_names[n]);

        if (strncmp(key, group_names[n], length)) continue;
        if (!key[length]) return &l->limit[n].average;
        if (!strcmp(key + length, "-max")) return &l->limit[n].maximum;
        if (!strcmp(key + length, "-max-length")) return &l->limit[n].burst_s;
    }
    return strcmp(key, "iops-size") ? NULL : &l->op_bytes;
}

static json_t *group_limits(const struct block_limits *l)
{
    json_t *all = json_pack("{s:I}", "iops-size", (json_int_t)l->op_bytes);

    for (unsigned n = 0; n < LIMITS; n++) {
        const struct { const char *end; uint64_t value; } rows[] = { { "", l->limit[n].average }, { "-max", l->limit[n].maximum }, { "-max-length", l->limit[n].burst_s } };

        for (unsigned i = 0; i < ARRAY_SIZE(rows); i++) {
            char key[40];

            snprintf(key, sizeof(key), "%s%s", group_names[n], rows[i].end);
            json_object_set_new(all, key, json_integer((json_int_t)rows[i].value));
        }
    }
    return all;
}

const char *qmp_throttle_group_of(struct machine *m, const char *path)
{
    static const char folder[] = "/objects/";
    const char *id = strncmp(path, folder, sizeof(folder) - 1) ? path : path + sizeof(folder) - 1;

    return machine_throttle_group(m, id) ? id : NULL;
}

json_t *qmp_throttle_group_get(struct machine *m, const char *id, const char *name, struct qmp_error *err)
{
    struct block_limits l = *machine_throttle_group(m, id);
    const uint64_t *number = strncmp(name, "x-", 2) ? NULL : group_number(&l, name + 2);

    if (!strcmp(name, "type")) return json_string("throttle-group");
    if (!strcmp(name, "limits")) return group_limits(&l);
    if (number) return json_integer((json_int_t)*number);
    return qmp_fail(err, QMP_GENERIC, "Property 'throttle-group.%.200s' not found", name);
}

json_t *qmp_throttle_group_set(struct machine *m, const char *id, const char *name, json_t *value, struct qmp_error *err)
{
    struct block_limits l = *machine_throttle_group(m, id);
    const char *key;
    json_t *v;

    if (!strncmp(name, "x-", 2) && group_number(&l, name + 2)) return qmp_fail(err, QMP_GENERIC, "Property cannot be set after initialization");
    if (strcmp(name, "limits")) return qmp_fail(err, QMP_GENERIC, "Property 'throttle-group.%.200s' not found", name);
    if (!json_is_object(value)) return qmp_fail(err, QMP_GENERIC, "Invalid parameter type for 'limits', expected: object");
    json_object_foreach(value, key, v) {
        uint64_t *number = group_number(&l, key);

        if (!number) return qmp_fail(err, QMP_GENERIC, "Parameter 'limits.%.200s' is unexpected", key);
        if (!json_is_integer(v)) return qmp_fail(err, QMP_GENERIC, "Invalid parameter type for '%.200s', expected: integer", key);
        if (json_integer_value(v) < 0) return qmp_fail(err, QMP_GENERIC, "bps/iops/max values must be within [0, %llu]", 1000000000000000ull);
        *number = (uint64_t)json_integer_value(v);
    }
    return qmp_result(machine_throttle_group_set(m, id, &l, &err->error));
}

/* ---- for people ---- */

int cmd_block_set_io_throttle(struct monitor *mon, const struct command_line *c, struct error *err)
{
    struct block_limits l = { .op_bytes = 0 };
    unsigned i;

    if (c->argc != 2 + LIMITS) return error_set(err, "DRIVE BPS BPS_RD BPS_WR IOPS IOPS_RD IOPS_WR are wanted, 0 for no limit: block_set_io_throttle disk0 0 0 0 100 0 0");
    if (monitor_drive_find(mon, c->argv[1], &i, err) < 0) return -1;
    for (unsigned n = 0; n < LIMITS; n++) {
        char *end;

        l.limit[n] = (struct block_limit){ strtoull(c->argv[2 + n], &end, 0), 0, 1 };
        if (*end || end == c->argv[2 + n] || *c->argv[2 + n] == '-') return error_set(err, "'%s' is no number of bytes or requests a second", c->argv[2 + n]);
    }
    return block_limits_check(&l, err) < 0 ? -1 : machine_throttle_set(mon->m, i, NULL, &l, err);
}

void throttle_print(struct monitor *mon, unsigned drive)
{
    const char *group;
    const struct block_limits *l = machine_throttle_get(mon->m, drive, &group);

    if (!l) return;
    monitor_print(mon, "    I/O throttling:  ");
    for (unsigned n = 0; n < LIMITS; n++) monitor_print(mon, " %s=%" PRIu64, names[n], l->limit[n].average);
    for (unsigned n = 0; n < LIMITS; n++) monitor_print(mon, " %s_max=%" PRIu64, names[n], l->limit[n].maximum);
    monitor_print(mon, " iops_size=%" PRIu64 " group=%s\n", l->op_bytes, group);
}
