/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Limits of the control groups this process is in, as containers and systemd set them: the tightest of the group and those around
 * it. Version 2 has one tree; in version 1 each controller may have its own. Where a tree is mounted tells /proc/self/mountinfo;
 * inside a container the mount may show a part of it only (its root field), which the group's path begins with then.
 * Sources: cgroups(7), Documentation/admin-guide/cgroup-v2.rst, cgroup-v1/.
 */
#include <ctype.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/bits.h"
#include "tool/doctor_private.h"

#define MIB (1ull << 20)
#define UNLIMITED (1ull << 60)          /* version 1 writes "none" as a huge number */

struct mount { const char *root, *point; };
struct group { const char *point, *path; bool is_v2; };     /* path: below point */

static bool list_has(const char *list, const char *name)
{
    size_t length = strlen(name);

    for (const char *p = list; p; p = strchr(p, ','), p += p ? 1 : 0)
        if (!strncmp(p, name, length) && (!p[length] || p[length] == ',')) return true;
    return false;
}

/* The mount of version 2's tree (controller NULL), or of a controller's of version 1. */
static bool mount_find(struct doctor *d, const char *controller, struct mount *m)
{
    const char *text = host_read(d, "/proc/self/mountinfo");

    for (const char *line = text; line && *line; line = strchr(line, '\n'), line += line ? 1 : 0) {
        char root[512], point[512], type[32], options[256];
        const char *tail, *copy = arena_copy(d->arena, line, strcspn(line, "\n"));

        if (sscanf(copy, "%*s %*s %*s %511s %511s", root, point) != 2 || !(tail = strstr(copy, " - "))) continue;
        if (sscanf(tail, " - %31s %*s %255s", type, options) != 2) continue;
        if (controller ? strcmp(type, "cgroup") || !list_has(options, controller) : strcmp(type, "cgroup2")) continue;
        *m = (struct mount){ arena_copy(d->arena, root, strlen(root)), arena_copy(d->arena, point, strlen(point)) };
        return true;
    }
    return false;
}

/* Path of this process in the tree of controller (NULL: version 2's), from /proc/self/cgroup. */
static const char *path_find(struct doctor *d, const char *controller)
{
    const char *text = host_read(d, "/proc/self/cgroup");

    for (const char *line = text; line && *line; line = strchr(line, '\n'), line += line ? 1 : 0) {
        const char *list = strchr(line, ':'), *path = list ? strchr(list + 1, ':') : NULL, *names;

        if (!path) continue;
        names = arena_copy(d->arena, list + 1, (size_t)(path - list - 1));
        if (controller ? list_has(names, controller) : !*names) return arena_copy(d->arena, path + 1, strcspn(path + 1, "\n"));
    }
    return NULL;
}

static bool group_in_tree(struct doctor *d, const char *controller, struct group *g)
{
    const char *path = path_find(d, controller);
    struct mount m;
    size_t length;

    if (!path || !mount_find(d, controller, &m)) return false;
    length = strcmp(m.root, "/") ? strlen(m.root) : 0;
    if (!strncmp(path, m.root, length) && (!path[length] || path[length] == '/')) path += length;
    else if (length) path = "";
    *g = (struct group){ m.point, !strcmp(path, "/") ? "" : path, !controller };
    return true;
}

/* Version 2 if the controller is there, else version 1. */
static bool group_find(struct doctor *d, const char *controller, struct group *g)
{
    const char *controllers;

    if (group_in_tree(d, controller, g)) return true;
    if (!group_in_tree(d, NULL, g)) return false;
    controllers = host_read(d, "%s%s/cgroup.controllers", g->point, g->path);
    return controllers && host_has_word(controllers, controller);
}

/* Calls fn for the group and all around it, outermost last; stops at the mount. */
static void group_walk(struct doctor *d, const struct group *g, void (*fn)(struct doctor *d, const char *dir, bool is_v2, void *arg), void *arg)
{
    char path[1024];

    snprintf(path, sizeof(path), "%s", g->path);
    for (;;) {
        char *slash = strrchr(path, '/');

        fn(d, arena_format(d->arena, "%s%s", g->point, path), g->is_v2, arg);
        if (!*path || !slash) return;
        *slash = 0;
    }
}

/* ---- memory ---- */

struct memory_limit { uint64_t bytes, used; const char *dir; };

static void memory_look(struct doctor *d, const char *dir, bool is_v2, void *arg)
{
    struct memory_limit *l = arg;
    uint64_t bytes, used = 0;

    if (!host_number(d, &bytes, "%s/%s", dir, is_v2 ? "memory.max" : "memory.limit_in_bytes") || bytes >= UNLIMITED || bytes >= l->bytes) return;
    host_number(d, &used, "%s/%s", dir, is_v2 ? "memory.current" : "memory.usage_in_bytes");
    *l = (struct memory_limit){ bytes, used, dir };
}

static void memory_report(struct doctor *d, const struct group *g)
{
    struct memory_limit l = { .bytes = UNLIMITED };
    uint64_t left;

    group_walk(d, g, memory_look, &l);
    if (!l.dir) {
        doctor_found(d, FINDING_OK, "cgroup-memory", NULL, "no limit (cgroup version %d)", g->is_v2 ? 2 : 1);
        return;
    }
    left = l.bytes > l.used ? l.bytes - l.used : 0;
    doctor_found(d, left < 512 * MIB ? FINDING_WARNING : FINDING_OK, "cgroup-memory",
                 left < 512 * MIB ? host_is_container(d) ? "start the container with more: --memory 4g" : arena_format(d->arena, "echo 4G > %s/%s", l.dir, g->is_v2 ? "memory.max" : "memory.limit_in_bytes") : NULL,
                 "limited to %s (cgroup version %d, %s), %s are left; a guest that takes more is killed", host_size(d, l.bytes), g->is_v2 ? 2 : 1, l.dir, host_size(d, left));
}

/* ---- processors ---- */

struct cpu_limit { double cpus; const char *dir; };

static void cpu_look(struct doctor *d, const char *dir, bool is_v2, void *arg)
{
    const char *text = is_v2 ? host_read(d, "%s/cpu.max", dir) : host_read(d, "%s/cpu.cfs_quota_us", dir);
    struct cpu_limit *l = arg;
    uint64_t quota, period = 0;
    char *end;

    if (!text || !isdigit((unsigned char)*text)) return;          /* "max", or -1 */
    quota = strtoull(text, &end, 10);
    if (is_v2) period = strtoull(end, NULL, 10);
    else host_number(d, &period, "%s/cpu.cfs_period_us", dir);
    if (period && (double)quota / (double)period < l->cpus) *l = (struct cpu_limit){ (double)quota / (double)period, dir };
}

static void cpu_report(struct doctor *d, const struct group *g)
{
    struct cpu_limit l = { .cpus = 1e9 };

    group_walk(d, g, cpu_look, &l);
    if (!l.dir) {
        doctor_found(d, FINDING_OK, "cgroup-cpu", NULL, "no limit (cgroup version %d)", g->is_v2 ? 2 : 1);
        return;
    }
    doctor_found(d, l.cpus < 1 ? FINDING_WARNING : FINDING_OK, "cgroup-cpu", l.cpus < 1 ? host_is_container(d) ? "start the container with more: --cpus 2" : arena_format(d->arena, "echo %s > %s/%s", g->is_v2 ? "max" : "-1", l.dir, g->is_v2 ? "cpu.max" : "cpu.cfs_quota_us") : NULL,
                 "limited to %.3g processors (cgroup version %d, %s); guests with more run no faster", l.cpus, g->is_v2 ? 2 : 1, l.dir);
}

/* ---- processes ---- */

struct pid_limit { uint64_t pids, used; const char *dir; };

static void pids_look(struct doctor *d, const char *dir, bool is_v2, void *arg)
{
    struct pid_limit *l = arg;
    uint64_t pids, used = 0;

    if (!host_number(d, &pids, "%s/pids.max", dir) || pids >= l->pids) return;
    host_number(d, &used, "%s/pids.current", dir);
    *l = (struct pid_limit){ pids, used, dir };
}

static void pids_report(struct doctor *d, const struct group *g)
{
    struct pid_limit l = { .pids = UINT64_MAX };

    group_walk(d, g, pids_look, &l);
    if (l.dir && l.pids < l.used + 64)
        doctor_found(d, FINDING_WARNING, "cgroup-pids", host_is_container(d) ? "start the container with more: --pids-limit 1000" : arena_format(d->arena, "echo max > %s/pids.max", l.dir),
                     "%llu threads are allowed and %llu there; a guest needs one a processor and some for disks", (unsigned long long)l.pids, (unsigned long long)l.used);
}

void doctor_cgroup(struct doctor *d)
{
    static const struct { const char *controller; void (*report)(struct doctor *d, const struct group *g); } rows[] = {
        { "memory", memory_report }, { "cpu", cpu_report }, { "pids", pids_report },
    };

    for (unsigned i = 0; i < ARRAY_SIZE(rows); i++) {
        struct group g;

        if (group_find(d, rows[i].controller, &g)) rows[i].report(d, &g);
    }
}
