/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Limits on the I/O of drives. They are the drive's, and go over to each image that comes into it; drives of one group share them. */
#include <stdlib.h>
#include <string.h>

#include "base/error.h"
#include "machine/pc_private.h"

static const char *group_of(const struct drive_config *d)
{
    if (d->throttle_group) return d->throttle_group;
    if (!d->is_node && d->id && *d->id) return d->id;
    return d->device_id ? d->device_id : d->id;
}

int pc_throttle_apply(struct machine *m, unsigned n, struct error *err)
{
    const struct drive_config *d = &m->config.drive[n];
    bool any = block_limits_any(&d->limits);

    if (!m->drive[n]) return 0;
    if (any && !m->throttles && !(m->throttles = block_throttles_new())) return error_set(err, "no memory for limits");
    return block_throttle_set(m->drive[n], BLOCK_THROTTLE_DEVICE, m->throttles, any ? group_of(d) : NULL, &d->limits, err);
}

void pc_throttle_lift(struct machine *m, unsigned n)
{
    if (m->drive[n]) block_throttle_set(m->drive[n], BLOCK_THROTTLE_DEVICE, NULL, NULL, NULL, NULL);
}

void pc_throttle_forget(struct machine *m, unsigned n)
{
    pc_throttle_lift(m, n);
    memset(&m->config.drive[n].limits, 0, sizeof(m->config.drive[n].limits));
    m->config.drive[n].throttle_group = NULL;
}

/* A group has one set of limits, whoever of it was told. */
static void group_limits_note(struct machine *m, const char *group, const struct block_limits *l)
{
    for (unsigned n = 0; n < m->config.drive_count; n++) {
        struct drive_config *d = &m->config.drive[n];

        if (d->interface != DRIVE_IF_GONE && block_limits_any(&d->limits) && !strcmp(group_of(d), group)) d->limits = *l;
        if (d->filter_group && !strcmp(d->filter_group, group)) d->filter_limits = *l;
    }
}

int machine_throttle_set(struct machine *m, unsigned i, const char *group, const struct block_limits *l, struct error *err)
{
    int n = machine_drive_place(m, i);
    struct drive_config *d;
    char *name = NULL;

    if (n < 0) return error_set(err, "there is no such drive");
    d = &m->config.drive[n];
    if (!m->drive[n] || block_is_abandoned(m->drive[n])) return error_set(err, "Device '%s' has no medium", d->device_id ? d->device_id : d->id);
    if (block_limits_any(l) && block_limits_check(l, err) < 0) return -1;
    if (group && !(name = strdup(group))) return error_set(err, "no memory for limits");
    if (name) {
        free(m->throttle_name[n]);
        d->throttle_group = m->throttle_name[n] = name;
    }
    d->limits = *l;
    if (block_limits_any(l)) group_limits_note(m, group_of(d), l);
    return pc_throttle_apply(m, (unsigned)n, err);
}

const struct block_limits *machine_throttle_get(struct machine *m, unsigned i, const char **group)
{
    int n = machine_drive_place(m, i);

    return n < 0 || !m->drive[n] ? NULL : block_throttle_get(m->drive[n], BLOCK_THROTTLE_DEVICE, group);
}

const struct block_limits *machine_throttle_group(struct machine *m, const char *id)
{
    const struct block_limits *own = m->parser.group ? m->parser.group(m->parser.opaque, id) : NULL;
    const struct block_limits *now = own && m->throttles ? block_throttle_group(m->throttles, id) : NULL;

    return now ? now : own;
}

int machine_throttle_group_set(struct machine *m, const char *id, const struct block_limits *l, struct error *err)
{
    struct block_limits *own = m->parser.group ? m->parser.group(m->parser.opaque, id) : NULL;

    if (!own) return error_set(err, "there is no throttle-group '%s'", id);
    if (block_limits_check(l, err) < 0) return -1;
    *own = *l;
    group_limits_note(m, id, l);
    if (m->throttles) block_throttle_group_set(m->throttles, id, l);
    return 0;
}

void pc_throttle_destroy(struct machine *m)
{
    block_throttles_free(m->throttles);
    for (unsigned n = 0; n < CONFIG_DRIVES; n++) free(m->throttle_name[n]);
}
