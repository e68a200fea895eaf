/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Extended attributes: a walk to one makes a fid from which its value (or, with an empty name, the list of names) is read; one that is
 * created is written, not read, and takes effect when its fid is clunked, if all of it was written. With mapped-xattr the names that hold
 * owners and modes are not the guest's.
 */
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/xattr.h>
#include <unistd.h>

#include "p9/server_private.h"

#define OWN "user.virtfs."

static bool is_hidden(const struct p9_server *s, const char *name)
{
    return p9_is_mapped(s) && (!strncmp(name, OWN, strlen(OWN)) || strncmp(name, "user.", 5));
}

/* Takes hidden names out of a list; its new length. */
static size_t list_filter(const struct p9_server *s, char *list, size_t size)
{
    size_t kept = 0;

    for (size_t at = 0; at < size;) {
        size_t length = strnlen(list + at, size - at) + 1;

        if (at + length <= size && !is_hidden(s, list + at)) {
            memmove(list + kept, list + at, length);
            kept += length;
        }
        at += length;
    }
    return kept;
}

/* Symbolic links have no attributes a guest could set; /proc/self/fd would not lead to them either. */
static int value_read(struct p9_server *s, int path_fd, const char *name, uint8_t value[P9_XATTR_MAX], size_t *size)
{
    struct p9_path path = p9_path_of(path_fd);
    struct stat st;
    ssize_t n;

    if (*name && is_hidden(s, name)) return ENODATA;
    if (fstat(path_fd, &st) < 0) return errno;
    if (!S_ISREG(st.st_mode) && !S_ISDIR(st.st_mode)) return *name ? ENODATA : EOPNOTSUPP;
    n = *name ? getxattr(path.text, name, value, P9_XATTR_MAX) : listxattr(path.text, (char *)value, P9_XATTR_MAX);
    if (n < 0) return errno;
    *size = *name ? (size_t)n : list_filter(s, (char *)value, (size_t)n);
    return 0;
}

/* Zeros, of which a guest has so many and no more. */
static int value_make(struct p9_server *s, struct p9_fid *f, size_t size)
{
    if (size > P9_XATTRS_MAX - s->xattr_bytes || !(f->xattr = calloc(1, size + 1))) return ENOMEM;
    f->xattr_size = size;
    s->xattr_bytes += size;
    return 0;
}

int p9_xattrwalk(struct p9_server *s, struct p9_in *in, struct p9_out *out)
{
    struct p9_fid *f = p9_fid_find(s, (uint32_t)p9_get(in, 4)), *made;
    uint32_t number = (uint32_t)p9_get(in, 4);
    char name[P9_NAME_ROOM];
    uint8_t value[P9_XATTR_MAX];
    size_t size = 0;
    int why;

    if (!p9_get_string(in, name, sizeof(name))) return EINVAL;
    if (!f || f->xattr || f->xattr_writes) return EBADF;
    if ((why = value_read(s, f->path_fd, name, value, &size))) return why;
    if ((why = p9_fid_new(s, number, fcntl(f->path_fd, F_DUPFD_CLOEXEC, 0), &made))) return why;
    if ((why = value_make(s, made, size))) {
        p9_fid_free(s, made);
        return why;
    }
    memcpy(made->xattr, value, size);
    p9_put(out, size, 8);
    return 0;
}

int p9_xattrcreate(struct p9_server *s, struct p9_in *in, struct p9_out *out)
{
    struct p9_fid *f = p9_fid_find(s, (uint32_t)p9_get(in, 4));
    char name[P9_NAME_ROOM];
    bool fits = p9_get_string(in, name, sizeof(name));
    uint64_t size = p9_get(in, 8);
    int flags = (int)p9_get(in, 4) & (XATTR_CREATE | XATTR_REPLACE), why;

    if (in->bad || !fits || !*name) return EINVAL;
    if (!f || f->fd >= 0 || f->xattr || f->xattr_writes) return EBADF;
    if (size > P9_XATTR_MAX) return E2BIG;
    if (is_hidden(s, name)) return EOPNOTSUPP;
    if ((why = value_make(s, f, size))) return why;
    f->xattr_writes = true;
    f->xattr_got = 0;
    f->xattr_flags = flags;
    strcpy(f->xattr_name, name);
    return 0;
}

int p9_xattr_finish(struct p9_server *s, struct p9_fid *f)
{
    struct p9_path path = p9_path_of(f->path_fd);
    struct stat st;

    if (f->xattr_got != f->xattr_size) return EINVAL;
    if (fstat(f->path_fd, &st) < 0) return errno;
    if (!S_ISREG(st.st_mode) && !S_ISDIR(st.st_mode)) return EOPNOTSUPP;
    if (!f->xattr_size && !f->xattr_flags) return removexattr(path.text, f->xattr_name) < 0 ? errno : 0;   /* how Linux removes one */
    return setxattr(path.text, f->xattr_name, f->xattr, f->xattr_size, f->xattr_flags) < 0 ? errno : 0;
}
