/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * How the doctor reads its host: files of /proc, /sys, /dev and /etc, below --root in tests. Permissions are asked from the
 * kernel; below --root they follow from mode bits and the facts uid and gids, so that a test needs no users.
 */
#include <ctype.h>
#include <errno.h>
#include <fcntl.h>
#include <grp.h>
#include <pwd.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/bits.h"
#include "tool/doctor_private.h"

enum { READ_MAX = 1 << 20 };

const char *host_path(struct doctor *d, const char *path)
{
    return arena_format(d->arena, "%s%s", d->root, path);
}

static const char *path_format(struct doctor *d, const char *fmt, va_list ap)
{
    char *text;
    const char *path;

    if (vasprintf(&text, fmt, ap) < 0) abort();
    path = host_path(d, text);
    free(text);
    return path;
}

static const char *file_read(struct doctor *d, const char *path)
{
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    char *text = fd < 0 ? NULL : malloc(READ_MAX);
    const char *kept = NULL;
    size_t size = 0;
    ssize_t n = -1;

    while (text && size < READ_MAX && (n = read(fd, text + size, READ_MAX - size)) > 0) size += (size_t)n;
    if (text && (n >= 0 || size)) {
        while (size && isspace((unsigned char)text[size - 1])) size--;
        kept = arena_copy(d->arena, text, size);
    }
    free(text);
    if (fd >= 0) close(fd);
    return kept;
}

const char *host_read(struct doctor *d, const char *fmt, ...)
{
    const char *path;
    va_list ap;

    va_start(ap, fmt);
    path = path_format(d, fmt, ap);
    va_end(ap);
    return file_read(d, path);
}

bool host_exists(struct doctor *d, const char *fmt, ...)
{
    const char *path;
    va_list ap;

    va_start(ap, fmt);
    path = path_format(d, fmt, ap);
    va_end(ap);
    return access(path, F_OK) == 0;
}

bool host_number(struct doctor *d, uint64_t *value, const char *fmt, ...)
{
    const char *text;
    va_list ap;
    char *end;

    va_start(ap, fmt);
    text = file_read(d, path_format(d, fmt, ap));
    va_end(ap);
    if (!text || !isdigit((unsigned char)*text)) return false;
    *value = strtoull(text, &end, 10);
    return end != text;
}

const char *host_field(struct doctor *d, const char *text, const char *key)
{
    size_t length = strlen(key);

    for (const char *line = text; line && *line; line = strchr(line, '\n'), line += line ? 1 : 0) {
        const char *p = line + length;

        if (strncmp(line, key, length) || (*p != ':' && *p != ' ' && *p != '\t')) continue;
        while (*p == ' ' || *p == '\t' || *p == ':') p++;
        return arena_copy(d->arena, p, strcspn(p, "\n"));
    }
    return NULL;
}

bool host_has_word(const char *text, const char *word)
{
    size_t length = strlen(word);

    for (const char *p = text; p && (p = strstr(p, word)); p += length)
        if ((p == text || isspace((unsigned char)p[-1])) && (!p[length] || isspace((unsigned char)p[length]))) return true;
    return false;
}

const char *host_fact(struct doctor *d, const char *key)
{
    return *d->root ? host_field(d, host_read(d, "/facts"), key) : NULL;
}

/* ---- users and permissions ---- */

static bool fact_has_gid(struct doctor *d, gid_t gid)
{
    const char *gids = host_fact(d, "gids");

    return gids && host_has_word(gids, arena_format(d->arena, "%u", gid));
}

bool host_may_use(struct doctor *d, const char *path)
{
    const char *uid = host_fact(d, "uid");
    struct stat st;
    unsigned want;

    if (!uid) return access(host_path(d, path), R_OK | W_OK) == 0;
    if (stat(host_path(d, path), &st) < 0) return false;
    if (!atoi(uid)) return true;
    want = (unsigned)atoi(uid) == st.st_uid ? 0600 : fact_has_gid(d, st.st_gid) ? 0060 : 0006;
    return (st.st_mode & want) == want;
}

/* The line of /etc/group whose field number which (0: name, 2: number) is value. */
static const char *group_line(struct doctor *d, unsigned which, const char *value)
{
    for (const char *line = host_read(d, "/etc/group"); line && *line; line = strchr(line, '\n'), line += line ? 1 : 0) {
        const char *p = line;

        for (unsigned i = 0; i < which && p; i++) p = memchr(p, ':', strcspn(p, "\n")), p += p ? 1 : 0;
        if (p && strcspn(p, ":\n") == strlen(value) && !strncmp(p, value, strlen(value))) return arena_copy(d->arena, line, strcspn(line, "\n"));
    }
    return NULL;
}

const char *host_group_of(struct doctor *d, const char *path)
{
    const char *gid, *line;
    struct stat st;

    if (stat(host_path(d, path), &st) < 0) return NULL;
    gid = arena_format(d->arena, "%u", st.st_gid);
    line = group_line(d, 2, gid);
    return line ? arena_copy(d->arena, line, strcspn(line, ":")) : gid;
}

const char *host_user(struct doctor *d)
{
    const char *user = host_fact(d, "user");
    const struct passwd *pw = user ? NULL : getpwuid(geteuid());

    return user ? user : pw ? arena_copy(d->arena, pw->pw_name, strlen(pw->pw_name)) : arena_format(d->arena, "%u", geteuid());
}

bool host_user_is_in(struct doctor *d, const char *group)
{
    const char *line = group_line(d, 0, group), *user = host_user(d), *members = line ? strrchr(line, ':') : NULL;

    for (const char *p = members ? members + 1 : NULL; p && *p; p += strcspn(p, ","), p += *p == ',')
        if (strcspn(p, ",") == strlen(user) && !strncmp(p, user, strlen(user))) return true;
    return false;
}

bool host_is_container(struct doctor *d)
{
    return host_exists(d, "/run/systemd/container") || host_exists(d, "/.dockerenv") || host_exists(d, "/run/.containerenv");
}

/* ---- modules ---- */

bool host_module_is_loaded(struct doctor *d, const char *name)
{
    return host_exists(d, "/sys/module/%s", name);
}

/* modules.dep writes "kernel/drivers/net/vhost-net.ko.xz: ..." where the module may call itself vhost_net. */
static bool list_has_module(const char *list, const char *name)
{
    size_t length = strlen(name);

    for (const char *p = list; p && *p; p = strchr(p, '\n'), p += p ? 1 : 0) {
        size_t path = strcspn(p, ":\n");
        const char *base = memrchr(p, '/', path);
        bool same = base && !strncmp(base + 1 + length, ".ko", 3);

        for (size_t i = 0; same && i < length; i++)
            same = base[1 + i] == name[i] || (name[i] == '_' && base[1 + i] == '-');
        if (same) return true;
    }
    return false;
}

bool host_module_is_known(struct doctor *d, const char *name)
{
    const char *release = host_read(d, "/proc/sys/kernel/osrelease");

    if (!release) return false;
    return list_has_module(host_read(d, "/lib/modules/%s/modules.dep", release), name) ||
           list_has_module(host_read(d, "/lib/modules/%s/modules.builtin", release), name);
}

/* ---- figures ---- */

uint64_t host_limit(struct doctor *d, const char *name)
{
    const char *value = host_field(d, host_read(d, "/proc/self/limits"), name);

    return value && isdigit((unsigned char)*value) ? strtoull(value, NULL, 10) : UINT64_MAX;
}

const char *host_size(struct doctor *d, uint64_t bytes)
{
    static const char *const units[] = { "bytes", "KiB", "MiB", "GiB", "TiB", "PiB", "EiB" };
    double v = (double)bytes;
    unsigned u = 0;

    while (v >= 1024 && u + 1 < ARRAY_SIZE(units)) v /= 1024, u++;
    return arena_format(d->arena, v >= 100 || u == 0 ? "%.0f %s" : "%.3g %s", v, units[u]);
}
