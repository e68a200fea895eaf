/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * "Why is my VM slow": which engine each running ospite uses. A machine is a process of this program (its executable's name) with a
 * thread "CPU 0"; KVM shows as a descriptor of a VM among its open ones. Those of other users can be seen, but their descriptors
 * only by root.
 */
#include <dirent.h>
#include <errno.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/bits.h"
#include "tool/doctor_private.h"

enum engine_seen { ENGINE_BT, ENGINE_KVM, ENGINE_HIDDEN };
enum { MACHINES_MAX = 100 };

static const char *link_read(struct doctor *d, const char *path)
{
    char to[PATH_MAX];
    ssize_t n = readlink(host_path(d, path), to, sizeof(to) - 1);

    return n < 0 ? NULL : arena_copy(d->arena, to, (size_t)n);
}

static bool is_ours(struct doctor *d, const char *pid)
{
    const char *exe = link_read(d, arena_format(d->arena, "/proc/%s/exe", pid)), *comm, *slash = exe ? strrchr(exe, '/') : NULL;
    size_t length = strlen("ospite");

    /* A program that was replaced while it runs is called "... (deleted)". */
    if (slash) return !strncmp(slash + 1, "ospite", length) && (!slash[1 + length] || slash[1 + length] == ' ');
    comm = host_read(d, "/proc/%s/comm", pid);
    return comm && !strcmp(comm, "ospite");
}

static bool has_vcpu(struct doctor *d, const char *pid)
{
    const char *path = host_path(d, arena_format(d->arena, "/proc/%s/task", pid));
    DIR *dir = opendir(path);
    bool found = false;

    for (struct dirent *e; dir && !found && (e = readdir(dir));) {
        const char *comm = e->d_name[0] == '.' ? NULL : host_read(d, "/proc/%s/task/%s/comm", pid, e->d_name);

        found = comm && !strcmp(comm, "CPU 0");
    }
    if (dir) closedir(dir);
    return found;
}

static enum engine_seen engine_of(struct doctor *d, const char *pid)
{
    const char *path = arena_format(d->arena, "/proc/%s/fd", pid);
    DIR *dir = opendir(host_path(d, path));
    enum engine_seen seen = dir ? ENGINE_BT : ENGINE_HIDDEN;

    for (struct dirent *e; dir && (e = readdir(dir));) {
        const char *to = link_read(d, arena_format(d->arena, "%s/%s", path, e->d_name));

        if (to && !strncmp(to, "anon_inode:kvm-vm", 17)) seen = ENGINE_KVM;
    }
    if (dir) closedir(dir);
    return seen;
}

struct arguments { char text[65536]; size_t size; };

static void arguments_read(struct doctor *d, const char *pid, struct arguments *a)
{
    FILE *f = fopen(host_path(d, arena_format(d->arena, "/proc/%s/cmdline", pid)), "r");

    a->size = f ? fread(a->text, 1, sizeof(a->text) - 1, f) : 0;
    a->text[a->size] = 0;
    if (f) fclose(f);
}

/* The argument behind -option, or NULL. */
static const char *argument_of(const struct arguments *a, const char *option)
{
    for (const char *p = a->text; p < a->text + a->size; p += strlen(p) + 1) {
        const char *name = p[0] == '-' && p[1] == '-' ? p + 1 : p, *next = p + strlen(p) + 1;

        if (!strcmp(name, option) && next < a->text + a->size) return next;
    }
    return NULL;
}

static bool asked_for_bt(const struct arguments *a)
{
    const char *accel = argument_of(a, "-accel"), *machine = argument_of(a, "-machine");

    if (!machine) machine = argument_of(a, "-M");
    if (accel && (!strncmp(accel, "bt", 2) || !strncmp(accel, "tcg", 3))) return true;
    return machine && (strstr(machine, "accel=bt") || strstr(machine, "accel=tcg"));
}

bool host_is_machine(struct doctor *d, const char *pid)
{
    return pid[0] >= '1' && pid[0] <= '9' && is_ours(d, pid) && has_vcpu(d, pid);
}

const char *host_machine_name(struct doctor *d, const char *pid)
{
    struct arguments a;
    const char *name;

    arguments_read(d, pid, &a);
    name = argument_of(&a, "-name");
    if (name && !strncmp(name, "guest=", 6)) name += 6;
    return name ? arena_copy(d->arena, name, strcspn(name, ",")) : NULL;
}

static void machine_report(struct doctor *d, const char *pid)
{
    struct arguments a;
    const char *name = host_machine_name(d, pid), *what;
    enum engine_seen engine = engine_of(d, pid);

    arguments_read(d, pid, &a);
    what = name ? arena_format(d->arena, "%s (%.60s)", pid, name) : pid;
    if (engine == ENGINE_HIDDEN)
        doctor_found(d, FINDING_WARNING, "machine", "run 'ospite doctor' as root", "process %s belongs to somebody else: its engine cannot be seen", what);
    else if (engine == ENGINE_KVM) doctor_found(d, FINDING_OK, "machine", NULL, "process %s runs with kvm", what);
    else if (asked_for_bt(&a) && d->kvm_works)
        doctor_found(d, FINDING_WARNING, "machine", "start it without -accel bt", "process %s runs with bt, which is slower, as its command line asks", what);
    else if (d->kvm_works)
        doctor_found(d, FINDING_WARNING, "machine", "start it again", "process %s runs with bt, which is slower: KVM was not usable when it started, but is now", what);
    else doctor_found(d, FINDING_WARNING, "machine", NULL, "process %s runs with bt, which is slower: see kvm and kvm-speed", what);
}

void doctor_machines(struct doctor *d)
{
    DIR *dir = opendir(host_path(d, "/proc"));
    unsigned seen = 0;

    for (struct dirent *e; dir && seen < MACHINES_MAX && (e = readdir(dir));) {
        if (!host_is_machine(d, e->d_name)) continue;
        machine_report(d, e->d_name);
        seen++;
    }
    if (dir) closedir(dir);
}
