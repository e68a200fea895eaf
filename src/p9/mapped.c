/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Owner and mode by security model. passthrough: the host's own, what cannot be set is an error. none: likewise, but failing is fine (for
 * servers that are not root). mapped-xattr: the host's files belong to whoever runs this, and what the guest sets stands in extended
 * attributes, in QEMU's names and layout (user.virtfs.uid, gid, mode, rdev, little endian); links and nodes of the guest are plain files there.
 */
#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/xattr.h>
#include <unistd.h>

#include "p9/server_private.h"

static bool attribute_get(int path_fd, const char *name, void *value, size_t size)
{
    return getxattr(p9_path_of(path_fd).text, name, value, size) == (ssize_t)size;
}

static int attribute_set(int path_fd, const char *name, const void *value, size_t size)
{
    return setxattr(p9_path_of(path_fd).text, name, value, size, 0) < 0 ? errno : 0;
}

static int attribute32_set(int path_fd, const char *name, uint32_t v)
{
    le32 value = le32_make(v);

    return attribute_set(path_fd, name, &value, sizeof(value));
}

int p9_stat(struct p9_server *s, int path_fd, struct stat *st)
{
    le32 v;
    le64 w;

    if (fstat(path_fd, st) < 0) return errno;
    if (!p9_is_mapped(s) || (!S_ISREG(st->st_mode) && !S_ISDIR(st->st_mode))) return 0;
    if (attribute_get(path_fd, "user.virtfs.uid", &v, sizeof(v))) st->st_uid = le32_get(v);
    if (attribute_get(path_fd, "user.virtfs.gid", &v, sizeof(v))) st->st_gid = le32_get(v);
    /* A directory of the host stays one, and nothing else becomes one. */
    if (attribute_get(path_fd, "user.virtfs.mode", &v, sizeof(v)) && (bool)S_ISDIR(le32_get(v)) == (bool)S_ISDIR(st->st_mode)) st->st_mode = le32_get(v);
    if (attribute_get(path_fd, "user.virtfs.rdev", &w, sizeof(w))) st->st_rdev = le64_get(w);
    return 0;
}

int p9_owner_change(struct p9_server *s, int path_fd, uint32_t uid, uint32_t gid)
{
    int why = 0;

    if (!p9_is_mapped(s)) return fchownat(path_fd, "", uid, gid, AT_EMPTY_PATH | AT_SYMLINK_NOFOLLOW) < 0 && s->config.security != P9_NONE ? errno : 0;
    if (uid != UINT32_MAX) why = attribute32_set(path_fd, "user.virtfs.uid", uid);
    if (!why && gid != UINT32_MAX) why = attribute32_set(path_fd, "user.virtfs.gid", gid);
    return why;
}

int p9_mode_change(struct p9_server *s, int path_fd, uint32_t mode)
{
    struct stat st;
    int why = p9_stat(s, path_fd, &st);

    if (why) return why;
    if (p9_is_mapped(s)) return attribute32_set(path_fd, "user.virtfs.mode", (st.st_mode & S_IFMT) | (mode & 07777));
    if (S_ISLNK(st.st_mode)) return EOPNOTSUPP;
    return chmod(p9_path_of(path_fd).text, mode & 07777) < 0 && s->config.security != P9_NONE ? errno : 0;
}

int p9_owner_set(struct p9_server *s, int path_fd, uint32_t mode, const struct p9_owner *o, uint64_t rdev)
{
    le64 device = le64_make(rdev);
    int why;

    if (!p9_is_mapped(s)) {
        if ((why = p9_owner_change(s, path_fd, o->uid, o->gid))) return why;
        return S_ISLNK(mode) ? 0 : p9_mode_change(s, path_fd, mode);
    }
    if ((why = attribute32_set(path_fd, "user.virtfs.mode", mode))) return why;
    if ((S_ISBLK(mode) || S_ISCHR(mode)) && (why = attribute_set(path_fd, "user.virtfs.rdev", &device, sizeof(device)))) return why;
    return p9_owner_change(s, path_fd, o->uid == UINT32_MAX ? 0 : o->uid, o->gid);
}
