/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Finding files and looking at them: attach, walk, clunk, getattr, statfs, readlink. */
#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/vfs.h>
#include <unistd.h>

#include "p9/server_private.h"

enum { WALK_MAX = 16 };

static int duplicate(int fd) { return fcntl(fd, F_DUPFD_CLOEXEC, 0); }

int p9_attach(struct p9_server *s, struct p9_in *in, struct p9_out *out)
{
    uint32_t number = (uint32_t)p9_get(in, 4);
    struct p9_fid *f;
    struct p9_qid qid;
    char text[256];
    int why;

    p9_get(in, 4);
    p9_get_string(in, text, sizeof(text));
    p9_get_string(in, text, sizeof(text));
    if (in->bad) return EINVAL;
    if ((why = p9_qid_of(s, s->root_fd, &qid)) || (why = p9_fid_new(s, number, duplicate(s->root_fd), &f))) return why;
    f->is_root = true;
    p9_put_qid(out, &qid);
    return 0;
}

/* Walks as far as names go; *fd is where it ends, count how many names were there. */
static int names_walk(struct p9_server *s, struct p9_in *in, unsigned names, int *fd, struct p9_qid qid[WALK_MAX], unsigned *count)
{
    for (*count = 0; *count < names; ++*count) {
        char name[P9_NAME_ROOM];
        int next, why;

        if (!p9_get_name(in, name)) return in->bad ? EINVAL : ENOENT;
        next = p9_child_open(*fd, name);
        if (next < 0) return errno;
        close(*fd);
        *fd = next;
        if ((why = p9_qid_of(s, next, &qid[*count]))) return why;
    }
    return 0;
}

int p9_walk(struct p9_server *s, struct p9_in *in, struct p9_out *out)
{
    uint32_t from = (uint32_t)p9_get(in, 4), to = (uint32_t)p9_get(in, 4);
    unsigned names = (unsigned)p9_get(in, 2), count = 0;
    struct p9_fid *f = p9_fid_find(s, from), *made = f;
    struct p9_qid qid[WALK_MAX];
    int fd, why;

    if (in->bad || names > WALK_MAX) return EINVAL;
    if (!f || f->fd >= 0 || f->xattr || f->xattr_writes) return EBADF;
    if (to != from && p9_fid_find(s, to)) return EINVAL;
    if ((fd = duplicate(f->path_fd)) < 0) return errno;
    why = names_walk(s, in, names, &fd, qid, &count);
    if (why && !count) {
        close(fd);
        return why;
    }
    if (count < names) close(fd);                       /* no new fid then */
    else if (to == from) {
        close(f->path_fd);
        f->path_fd = fd;
        f->is_root &= !names;
    } else if ((why = p9_fid_new(s, to, fd, &made))) return why;
    else made->is_root = f->is_root && !names;
    p9_put(out, count, 2);
    for (unsigned i = 0; i < count; i++) p9_put_qid(out, &qid[i]);
    return 0;
}

int p9_clunk(struct p9_server *s, struct p9_in *in, struct p9_out *out)
{
    struct p9_fid *f = p9_fid_find(s, (uint32_t)p9_get(in, 4));
    int why;

    if (!f) return EBADF;
    why = f->xattr_writes ? p9_xattr_finish(s, f) : 0;
    p9_fid_free(s, f);
    return why;
}

/* The fid goes in any case. */
int p9_remove(struct p9_server *s, struct p9_in *in, struct p9_out *out)
{
    struct p9_fid *f = p9_fid_find(s, (uint32_t)p9_get(in, 4));

    if (!f) return EBADF;
    p9_fid_free(s, f);
    return EOPNOTSUPP;
}

static void time_put(struct p9_out *out, const struct timespec *t)
{
    p9_put(out, (uint64_t)t->tv_sec, 8);
    p9_put(out, (uint64_t)t->tv_nsec, 8);
}

int p9_getattr(struct p9_server *s, struct p9_in *in, struct p9_out *out)
{
    enum { BASIC = 0x7ff };
    struct p9_fid *f = p9_fid_find(s, (uint32_t)p9_get(in, 4));
    struct p9_qid qid;
    struct stat st;
    int why;

    p9_get(in, 8);
    if (!f) return EBADF;
    if ((why = p9_stat(s, f->path_fd, &st))) return why;
    qid = p9_qid_from(s, &st);
    p9_put(out, BASIC, 8);
    p9_put_qid(out, &qid);
    p9_put(out, st.st_mode, 4);
    p9_put(out, st.st_uid, 4);
    p9_put(out, st.st_gid, 4);
    p9_put(out, st.st_nlink, 8);
    p9_put(out, st.st_rdev, 8);
    p9_put(out, (uint64_t)st.st_size, 8);
    p9_put(out, (uint64_t)st.st_blksize, 8);
    p9_put(out, (uint64_t)st.st_blocks, 8);
    time_put(out, &st.st_atim);
    time_put(out, &st.st_mtim);
    time_put(out, &st.st_ctim);
    for (unsigned i = 0; i < 4; i++) p9_put(out, 0, 8);  /* birth, generation, version: not told */
    return 0;
}

int p9_statfs(struct p9_server *s, struct p9_in *in, struct p9_out *out)
{
    enum { V9FS_MAGIC = 0x01021997 };
    struct p9_fid *f = p9_fid_find(s, (uint32_t)p9_get(in, 4));
    struct statfs fs;

    if (!f) return EBADF;
    if (fstatfs(f->path_fd, &fs) < 0) return errno;
    p9_put(out, V9FS_MAGIC, 4);
    p9_put(out, (uint32_t)fs.f_bsize, 4);
    p9_put(out, fs.f_blocks, 8);
    p9_put(out, fs.f_bfree, 8);
    p9_put(out, fs.f_bavail, 8);
    p9_put(out, fs.f_files, 8);
    p9_put(out, fs.f_ffree, 8);
    p9_put(out, (uint32_t)fs.f_fsid.__val[0] | (uint64_t)(uint32_t)fs.f_fsid.__val[1] << 32, 8);
    p9_put(out, NAME_MAX, 4);
    return 0;
}

int p9_readlink(struct p9_server *s, struct p9_in *in, struct p9_out *out)
{
    struct p9_fid *f = p9_fid_find(s, (uint32_t)p9_get(in, 4));
    char target[PATH_MAX];
    struct stat st;
    ssize_t n = -1;
    int why, fd;

    if (!f) return EBADF;
    if ((why = p9_stat(s, f->path_fd, &st))) return why;
    if (!S_ISLNK(st.st_mode)) return EINVAL;
    if ((n = readlinkat(f->path_fd, "", target, sizeof(target) - 1)) < 0 && p9_is_mapped(s) && (fd = p9_reopen(f->path_fd, O_RDONLY)) >= 0) {
        n = pread(fd, target, sizeof(target) - 1, 0);    /* mapped: its target is the file's contents */
        close(fd);
    }
    if (n < 0) return errno;
    target[n] = 0;
    p9_put_string(out, target);
    return 0;
}
