/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * One list ordered by set, those that came last first within one. It stands at file scope: a name of a set is used wherever a file's name is, by rooms that
 * know of no machine, and the numbers of descriptors belong to the process, too.
 * Source: QEMU's documentation of add-fd, which clients are written for.
 */
#include "base/fdset.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/error.h"

enum { MEMBERS_MAX = 1024 };

struct member {
    struct member *next;
    int64_t set;
    int fd;
    char *text;                        /* what for, or NULL */
};
static struct member *members;

/* The number behind "/dev/fdset/", or -1: another name. */
static int64_t set_of(const char *path)
{
    static const char head[] = "/dev/fdset/";
    const char *digits = path + sizeof(head) - 1;
    char *end;
    long long n;

    if (strncmp(path, head, sizeof(head) - 1) || *digits < '0' || *digits > '9') return -1;
    errno = 0;
    n = strtoll(digits, &end, 10);
    return *end || errno ? -1 : n;
}

int fdset_open(const char *path, int flags, mode_t mode)
{
    int64_t set = set_of(path);
    const struct member *fits = NULL;

    if (set < 0) return open(path, flags, mode);
    errno = ENOENT;
    for (const struct member *m = members; m; m = m->next) {
        int has;

        if (m->set != set) continue;
        has = fcntl(m->fd, F_GETFL);
        if (has >= 0 && (has & O_ACCMODE) == (flags & O_ACCMODE)) return fcntl(m->fd, F_DUPFD_CLOEXEC, 0);
        if (has >= 0 && (has & O_ACCMODE) == O_RDWR && !fits) fits = m;
        errno = EACCES;
    }
    return fits ? fcntl(fits->fd, F_DUPFD_CLOEXEC, 0) : -1;
}

static int64_t free_set(void)
{
    int64_t n = 0;

    for (const struct member *m = members; m; m = m->next)
        if (m->set == n) n++;
        else if (m->set > n) break;
    return n;
}

int64_t fdset_add(int64_t set, int fd, const char *text, struct error *err)
{
    struct member *new = calloc(1, sizeof(*new)), **at = &members;
    unsigned count = 0;

    for (const struct member *m = members; m; m = m->next) count++;
    if (new && text) new->text = strdup(text);
    if (!new || (text && !new->text) || count == MEMBERS_MAX) {
        if (new) free(new->text);
        free(new);
        close(fd);
        return error_set(err, count == MEMBERS_MAX ? "there are %d descriptors in sets already; remove-fd takes some away" : "out of memory", MEMBERS_MAX);
    }
    new->set = set < 0 ? free_set() : set;
    new->fd = fd;
    while (*at && (*at)->set < new->set) at = &(*at)->next;
    new->next = *at;
    *at = new;
    return new->set;
}

int fdset_remove(int64_t set, int64_t fd, struct error *err)
{
    bool found = false;

    for (struct member **at = &members, *m; (m = *at);) {
        if (m->set != set || (fd >= 0 && m->fd != fd)) {
            at = &m->next;
            continue;
        }
        found = true;
        *at = m->next;
        close(m->fd);
        free(m->text);
        free(m);
    }
    if (found) return 0;
    if (fd < 0) return error_set(err, "File descriptor named 'fdset-id:%lld' not found", (long long)set);
    return error_set(err, "File descriptor named 'fdset-id:%lld, fd:%lld' not found", (long long)set, (long long)fd);
}

void fdset_list(void (*fn)(void *opaque, int64_t set, int fd, const char *text), void *opaque)
{
    for (const struct member *m = members; m; m = m->next) fn(opaque, m->set, m->fd, m->text);
}
