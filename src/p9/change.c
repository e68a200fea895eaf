/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Changing the tree: attributes, new directories, nodes and links, renames, removal. */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/sysmacros.h>
#include <unistd.h>

#include "p9/server_private.h"

enum { SET_MODE = 1, SET_UID = 2, SET_GID = 4, SET_SIZE = 8, SET_ATIME = 0x10, SET_MTIME = 0x20, SET_ATIME_GIVEN = 0x80, SET_MTIME_GIVEN = 0x100 };

static struct timespec time_get(struct p9_in *in, uint32_t valid, uint32_t change, uint32_t given)
{
    struct timespec t = { .tv_sec = (time_t)p9_get(in, 8) };

    t.tv_nsec = (long)p9_get(in, 8);
    if (!(valid & change)) t.tv_nsec = UTIME_OMIT;
    else if (!(valid & given)) t.tv_nsec = UTIME_NOW;
    return t;
}

static int size_set(struct p9_fid *f, uint64_t size)
{
    int fd = f->fd >= 0 && f->writable ? f->fd : p9_reopen(f->path_fd, O_WRONLY), why;

    if (fd < 0) return errno;
    why = ftruncate(fd, (off_t)size) < 0 ? errno : 0;
    if (fd != f->fd) close(fd);
    return why;
}

int p9_setattr(struct p9_server *s, struct p9_in *in, struct p9_out *out)
{
    struct p9_fid *f = p9_fid_find(s, (uint32_t)p9_get(in, 4));
    uint32_t valid = (uint32_t)p9_get(in, 4), mode = (uint32_t)p9_get(in, 4), uid = (uint32_t)p9_get(in, 4), gid = (uint32_t)p9_get(in, 4);
    uint64_t size = p9_get(in, 8);
    struct timespec times[2];
    int why = 0;

    times[0] = time_get(in, valid, SET_ATIME, SET_ATIME_GIVEN);
    times[1] = time_get(in, valid, SET_MTIME, SET_MTIME_GIVEN);
    if (!f || in->bad) return f ? EINVAL : EBADF;
    if (valid & (SET_UID | SET_GID)) why = p9_owner_change(s, f->path_fd, valid & SET_UID ? uid : UINT32_MAX, valid & SET_GID ? gid : UINT32_MAX);
    if (!why && valid & SET_MODE) why = p9_mode_change(s, f->path_fd, mode);      /* after the owner, which clears bits */
    if (!why && valid & SET_SIZE) why = size_set(f, size);
    if (!why && valid & (SET_ATIME | SET_MTIME) && utimensat(f->path_fd, "", times, AT_EMPTY_PATH) < 0) why = errno;
    return why;
}

/* What was just made gets its owner; if that fails it goes again. */
static int made(struct p9_server *s, int dir_fd, const char *name, uint32_t mode, const struct p9_owner *owner, uint64_t rdev, struct p9_out *out)
{
    int path = p9_child_open(dir_fd, name), why = path < 0 ? errno : p9_owner_set(s, path, mode, owner, rdev);
    struct p9_qid qid;

    if (!why) why = p9_qid_of(s, path, &qid);
    if (path >= 0) close(path);
    if (why) unlinkat(dir_fd, name, S_ISDIR(mode) ? AT_REMOVEDIR : 0);
    else p9_put_qid(out, &qid);
    return why;
}

int p9_mkdir(struct p9_server *s, struct p9_in *in, struct p9_out *out)
{
    struct p9_fid *f = p9_fid_find(s, (uint32_t)p9_get(in, 4));
    char name[P9_NAME_ROOM];
    bool fits = p9_get_name(in, name);
    uint32_t mode = (uint32_t)p9_get(in, 4) & 07777;
    struct p9_owner owner = { UINT32_MAX, (uint32_t)p9_get(in, 4) };

    if (in->bad || !fits) return EINVAL;
    if (!f) return EBADF;
    if (mkdirat(f->path_fd, name, p9_is_mapped(s) ? s->config.directory_mode : mode) < 0) return errno;
    return made(s, f->path_fd, name, S_IFDIR | mode, &owner, 0, out);
}

static int file_make(struct p9_server *s, int dir_fd, const char *name, const char *contents)
{
    int fd = openat(dir_fd, name, O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, s->config.file_mode), why = 0;

    if (fd < 0) return errno;
    if (write(fd, contents, strlen(contents)) != (ssize_t)strlen(contents)) why = errno ? errno : ENOSPC;
    close(fd);
    if (why) unlinkat(dir_fd, name, 0);
    return why;
}

int p9_mknod(struct p9_server *s, struct p9_in *in, struct p9_out *out)
{
    struct p9_fid *f = p9_fid_find(s, (uint32_t)p9_get(in, 4));
    char name[P9_NAME_ROOM];
    bool fits = p9_get_name(in, name);
    uint32_t mode = (uint32_t)p9_get(in, 4), major = (uint32_t)p9_get(in, 4), minor = (uint32_t)p9_get(in, 4);
    struct p9_owner owner = { UINT32_MAX, (uint32_t)p9_get(in, 4) };
    int why;

    if (in->bad || !fits || S_ISDIR(mode) || S_ISLNK(mode)) return EINVAL;
    if (!f) return EBADF;
    if (!(mode & S_IFMT)) mode |= S_IFREG;
    if (p9_is_mapped(s)) {
        if ((why = file_make(s, f->path_fd, name, ""))) return why;
    } else if (S_ISBLK(mode) || S_ISCHR(mode)) return EPERM;       /* of the host: never made for a guest */
    else if (mknodat(f->path_fd, name, mode, 0) < 0) return errno;
    return made(s, f->path_fd, name, mode, &owner, makedev(major, minor), out);
}

int p9_symlink(struct p9_server *s, struct p9_in *in, struct p9_out *out)
{
    struct p9_fid *f = p9_fid_find(s, (uint32_t)p9_get(in, 4));
    char name[P9_NAME_ROOM], target[PATH_MAX];
    bool fits = p9_get_name(in, name) && p9_get_string(in, target, sizeof(target)) && *target;
    struct p9_owner owner = { UINT32_MAX, (uint32_t)p9_get(in, 4) };
    int why;

    if (in->bad || !fits) return EINVAL;
    if (!f) return EBADF;
    why = p9_is_mapped(s) ? file_make(s, f->path_fd, name, target) : symlinkat(target, f->path_fd, name) < 0 ? errno : 0;
    return why ? why : made(s, f->path_fd, name, S_IFLNK | 0777, &owner, 0, out);
}

int p9_link(struct p9_server *s, struct p9_in *in, struct p9_out *out)
{
    struct p9_fid *d = p9_fid_find(s, (uint32_t)p9_get(in, 4)), *f = p9_fid_find(s, (uint32_t)p9_get(in, 4));
    char name[P9_NAME_ROOM];

    if (!p9_get_name(in, name)) return EINVAL;
    if (!d || !f) return EBADF;
    return linkat(AT_FDCWD, p9_path_of(f->path_fd).text, d->path_fd, name, AT_SYMLINK_FOLLOW) < 0 ? errno : 0;
}

int p9_rename(struct p9_server *s, struct p9_in *in, struct p9_out *out) { return EOPNOTSUPP; }

int p9_renameat(struct p9_server *s, struct p9_in *in, struct p9_out *out)
{
    struct p9_fid *from = p9_fid_find(s, (uint32_t)p9_get(in, 4)), *to;
    char old[P9_NAME_ROOM], new[P9_NAME_ROOM];
    bool fits = p9_get_name(in, old);

    to = p9_fid_find(s, (uint32_t)p9_get(in, 4));
    if (!p9_get_name(in, new) || !fits) return EINVAL;
    if (!from || !to) return EBADF;
    return renameat(from->path_fd, old, to->path_fd, new) < 0 ? errno : 0;
}

int p9_unlinkat(struct p9_server *s, struct p9_in *in, struct p9_out *out)
{
    struct p9_fid *f = p9_fid_find(s, (uint32_t)p9_get(in, 4));
    char name[P9_NAME_ROOM];
    bool fits = p9_get_name(in, name);
    int flags = (int)p9_get(in, 4) & AT_REMOVEDIR;

    if (in->bad || !fits) return EINVAL;
    if (!f) return EBADF;
    return unlinkat(f->path_fd, name, flags) < 0 ? errno : 0;
}
