/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * blockdev-reopen: nodes that are there get other options. All texts are read and checked before anything is opened; then every open image
 * that stands on one of these nodes, as its file or somewhere in its chain of backing files, is opened anew below its device. If one cannot
 * be, those before it get back what they had. Errors that have words in QEMU have those.
 */
#include <stdlib.h>
#include <string.h>

#include "base/error.h"
#include "base/log.h"
#include "block/image.h"
#include "block/option.h"
#include "machine/hotplug.h"
#include "machine/pc_node.h"

struct change {
    unsigned place;
    struct drive_config config, before;            /* of the node, new and old */
    struct machine_memory memory;
};

/* One image that is open. */
struct target { unsigned place; struct pc_node_layer *before, *after; };

struct reopen {
    struct machine *m;
    struct change *change;
    unsigned count;
    struct target target[CONFIG_DRIVES];
    unsigned target_count;
};

/* ---- what is asked for ---- */

static bool is_same(const struct drive_config *a, const struct drive_config *b, const char *key)
{
    const char *x = block_option_get(a->node_options, key), *y = block_option_get(b->node_options, key);

    return x && y ? !strcmp(x, y) : x == y;
}

/* A throttle above a format's node stays above it. */
static int filter_check(const struct machine *m, const struct change *c, struct error *err)
{
    const struct drive_config *d = &c->config;
    struct block_open_options o = { .readonly = false };

    if (!d->is_filter || (d->is_protocol && c->before.is_protocol)) return 0;
    if (d->is_protocol || c->before.is_protocol || strcmp(d->file_node, c->before.file_node))
        return error_set(err, "Cannot change the option 'file' of the throttle node '%s' above a format's; remove it and add another", d->id);
    if (block_filter_options(d->node_options, &o, err) < 0) return -1;
    if (o.readonly && m->config.drive[c->place].interface != DRIVE_IF_NONE && !block_is_readonly(m->drive[c->place]))
        return error_set(err, "Read-only block node '%s' cannot support read-write users", d->id);
    return 0;
}

static int change_check(const struct machine *m, const struct change *c, unsigned number, struct error *err)
{
    const struct block_node *node = m->drive[c->place];
    const struct drive_config *d = &c->config;

    if (!is_same(d, &c->before, "driver")) return error_set(err, "Cannot change the option 'driver'");
    if (!is_same(d, &c->before, "filename")) return error_set(err, "Cannot change the option 'filename'");
    if (!d->is_protocol && !d->file_node) return error_set(err, "Parameter 'options[%u].file' is missing", number);
    if (d->file_node && pc_drive_find(m, d->file_node) < 0) return error_set(err, "Cannot find device='' nor node-name='%s'", d->file_node);
    if (d->backing_node && *d->backing_node && pc_drive_find(m, d->backing_node) < 0)
        return error_set(err, "Cannot find device='' nor node-name='%s'", d->backing_node);
    if (node && block_backing(node) && !d->backing_node) return error_set(err, "backing is missing for '%s'", d->id);
    return filter_check(m, c, err);
}

static int change_read(struct reopen *r, struct change *c, const char *text, struct error *err)
{
    struct machine *m = r->m;
    int n;

    if (m->parser.blockdev(m->parser.opaque, text, &c->config, &c->memory, err) < 0) return -1;
    n = pc_drive_find(m, c->config.id);
    if (n < 0 || !m->config.drive[n].is_node) return error_set(err, "Failed to find node with node-name='%s'", c->config.id);
    for (const struct change *other = r->change; other < c; other++)
        if (other->place == (unsigned)n) return error_set(err, "node '%s' is named twice", c->config.id);
    c->place = (unsigned)n;
    pc_node_copy(&c->before, &m->config.drive[n]);
    c->config.open.share_writes = c->before.open.share_writes;
    if (c->before.is_filter && pc_node_filter_place(m, &c->config, err) < 0) return -1;
    return change_check(m, c, (unsigned)(c - r->change), err);
}

/* Two images in one file. */
static int files_check(const struct machine *m, struct error *err)
{
    for (unsigned a = 0; a < m->config.drive_count; a++)
        for (unsigned b = 0; b < a; b++) {
            const struct drive_config *x = &m->config.drive[a], *y = &m->config.drive[b];

            if (x->file_node && y->file_node && !strcmp(x->file_node, y->file_node))
                return error_set(err, "node '%s' cannot be the file of both '%s' and '%s'", x->file_node, y->id, x->id);
        }
    return 0;
}

/* ---- the images that it concerns ---- */

static bool is_option_on(const struct pc_node_layer *l, const char *key)
{
    const char *value = block_option_get(&l->set, key);

    return value && !strcmp(value, "on");
}

/* Who writes wants what can be written: a device its image, an image its file. */
static int writer_check(const struct machine *m, const struct target *t, struct error *err)
{
    const struct drive_config *d = &m->config.drive[t->place];
    bool is_used = d->interface != DRIVE_IF_NONE && d->media != MEDIA_CDROM, own = is_option_on(t->after, "read-only");
    const char *name = own ? is_used ? d->id : NULL : is_option_on(t->after, "file.read-only") ? d->file_node : NULL;

    if (!name || block_is_readonly(m->drive[t->place])) return 0;
    return error_set(err, "Read-only block node '%s' cannot support read-write users", name);
}

static bool stands_on(const struct reopen *r, unsigned n, unsigned depth)
{
    const struct drive_config *d = &r->m->config.drive[n];
    const char *below[] = { d->file_node, d->backing_node };

    for (unsigned i = 0; i < r->count; i++)
        if (r->change[i].place == n) return true;
    for (unsigned i = 0; i < 2 && depth < CONFIG_DRIVES; i++) {
        int k = below[i] && *below[i] ? pc_drive_find(r->m, below[i]) : -1;

        if (k >= 0 && stands_on(r, (unsigned)k, depth + 1)) return true;
    }
    return false;
}

static int targets_find(struct reopen *r, struct error *err)
{
    struct machine *m = r->m;

    for (unsigned n = 0; n < m->config.drive_count; n++) {
        struct target *t = &r->target[r->target_count];

        if (!m->drive[n] || !m->config.drive[n].is_node || block_is_abandoned(m->drive[n]) || block_filter_below(m->drive[n]) || !stands_on(r, n, 0)) continue;
        *t = (struct target){ .place = n, .before = pc_node_layer_new(m, &m->config.drive[n], err) };
        if (!t->before) return -1;
        r->target_count++;
    }
    return 0;
}

static int targets_prepare(struct reopen *r, struct error *err)
{
    for (unsigned i = 0; i < r->target_count; i++) {
        struct target *t = &r->target[i];

        t->after = pc_node_layer_new(r->m, &r->m->config.drive[t->place], err);
        if (!t->after || writer_check(r->m, t, err) < 0) return -1;
    }
    return 0;
}

/* Protocols' nodes below others are tried with what uses them; those that nobody uses, by themselves. */
static int unused_try(const struct reopen *r, struct error *err)
{
    for (unsigned i = 0; i < r->count; i++)
        if (!r->m->drive[r->change[i].place] && r->change[i].config.is_protocol && pc_node_open(r->m, r->change[i].place, err) < 0) return -1;
    return 0;
}

static void target_put_back(const struct reopen *r, const struct target *t)
{
    struct error why = { "" };

    if (block_reopen(r->m->drive[t->place], &t->before->open, &t->after->open, &why) == 0 || block_is_abandoned(r->m->drive[t->place])) return;
    log_message("node '%s' keeps the options that it was just given, for those before cannot be brought back: %s", r->m->config.drive[t->place].id, why.text);
}

static int targets_reopen(const struct reopen *r, struct error *err)
{
    for (unsigned i = 0; i < r->target_count; i++) {
        const struct target *t = &r->target[i];

        if (block_reopen(r->m->drive[t->place], &t->after->open, &t->before->open, err) == 0) continue;
        error_prefix(err, "node '%s'", r->m->config.drive[t->place].id);
        while (i--) target_put_back(r, &r->target[i]);
        return -1;
    }
    return 0;
}

/* ---- all of it ---- */

static int all_read(struct reopen *r, const char *const *text, struct error *err)
{
    for (unsigned count = r->count, i = r->count = 0; i < count; i++, r->count++)
        if (change_read(r, &r->change[i], text[i], err) < 0) {
            r->count++;                              /* so that its memory is freed */
            return -1;
        }
    return targets_find(r, err);
}

/* Throttles may have other groups, and what is below another size of its own. */
static void throttles_change(struct machine *m)
{
    struct error why = { "" };

    for (unsigned n = 0; n < m->config.drive_count; n++) {
        const struct drive_config *d = &m->config.drive[n];
        struct block_open_options o = { .readonly = false };

        if (!m->drive[n] || !d->is_node || block_is_abandoned(m->drive[n])) continue;
        if (block_filter_below(m->drive[n]) && block_filter_options(d->node_options, &o, &why) == 0) block_filter_update(m->drive[n], d->filter_group, &o);
        if (pc_node_throttle(m, n, &why) < 0) log_message("node '%s': %s", d->id, why.text);
    }
    for (unsigned n = 0; n < m->config.drive_count; n++)
        if (m->drive[n] && block_filter_below(m->drive[n])) block_filter_update(m->drive[n], NULL, NULL);
}

static int all_change(struct reopen *r, struct error *err)
{
    struct machine *m = r->m;
    int result;

    for (unsigned i = 0; i < r->count; i++) pc_node_copy(&m->config.drive[r->change[i].place], &r->change[i].config);
    result = files_check(m, err) < 0 || targets_prepare(r, err) < 0 || unused_try(r, err) < 0 || targets_reopen(r, err) < 0 ? -1 : 0;
    for (unsigned i = 0; i < r->count && result < 0; i++) pc_node_copy(&m->config.drive[r->change[i].place], &r->change[i].before);
    if (result == 0) throttles_change(m);
    return result;
}

/* The strings of a node go with it. While a device uses it, drive_memory holds what that device was made with, which may be this node's old
 * name; what comes later stands beside that. */
static void memory_keep(struct machine *m, struct change *c)
{
    bool is_used = m->config.drive[c->place].interface != DRIVE_IF_NONE;
    struct machine_memory *to = is_used ? &m->node_memory[c->place] : &m->drive_memory[c->place];

    machine_memory_free(to);
    *to = c->memory;
    c->memory = (struct machine_memory){ NULL, NULL };
}

int machine_blockdev_reopen(struct machine *m, const char *const *text, unsigned count, struct error *err)
{
    struct reopen r = { .m = m, .change = calloc(count ? count : 1, sizeof(*r.change)), .count = count };
    int result;

    if (!r.change) return error_set(err, "no memory for the options of %u nodes", count);
    result = all_read(&r, text, err) < 0 || all_change(&r, err) < 0 ? -1 : 0;
    for (unsigned i = 0; i < r.count; i++) {
        if (result == 0) memory_keep(m, &r.change[i]);
        machine_memory_free(&r.change[i].memory);
    }
    for (unsigned i = 0; i < r.target_count; i++) {
        pc_node_layer_free(r.target[i].before);
        pc_node_layer_free(r.target[i].after);
    }
    free(r.change);
    return result;
}
