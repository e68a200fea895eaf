/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Open files and directories: open, create, read, write, readdir, fsync, locks. */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <unistd.h>

#include "p9/server_private.h"

enum { FLAGS_KEPT = O_ACCMODE | O_TRUNC | O_APPEND | O_DSYNC | O_SYNC | O_DIRECTORY, IO_HEADER = 24, ENTRIES_LEAST = 512, ENTRIES_MOST = 32768 };

static uint32_t io_unit(const struct p9_server *s) { return s->msize - IO_HEADER; }

static void opened(struct p9_server *s, struct p9_fid *f, int fd, int flags)
{
    struct stat st;

    f->fd = fd;
    f->writable = (flags & O_ACCMODE) != O_RDONLY;
    f->is_dir = fstat(fd, &st) == 0 && S_ISDIR(st.st_mode);
    s->descriptors++;
}

int p9_lopen(struct p9_server *s, struct p9_in *in, struct p9_out *out)
{
    struct p9_fid *f = p9_fid_find(s, (uint32_t)p9_get(in, 4));
    int flags = (int)p9_get(in, 4) & FLAGS_KEPT, fd, why;
    struct p9_qid qid;

    if (!f || f->fd >= 0 || f->xattr || f->xattr_writes || in->bad) return EBADF;
    if (s->config.readonly && ((flags & O_ACCMODE) != O_RDONLY || flags & O_TRUNC)) return EROFS;
    if (!p9_has_descriptor(s)) return ENFILE;
    if ((why = p9_qid_of(s, f->path_fd, &qid))) return why;
    if (qid.type & 2) return ELOOP;
    if ((fd = p9_reopen(f->path_fd, flags)) < 0) return errno;
    opened(s, f, fd, flags);
    p9_put_qid(out, &qid);
    p9_put(out, io_unit(s), 4);
    return 0;
}

/* What is there already is opened like any other file, unless the guest insists on a new one. */
static int create_open(struct p9_server *s, int dir_fd, const char *name, int flags, uint32_t mode, bool *is_new)
{
    int fd = openat(dir_fd, name, (flags & ~O_TRUNC & FLAGS_KEPT) | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, p9_is_mapped(s) ? s->config.file_mode : mode), path;

    *is_new = fd >= 0;
    if (fd >= 0 || errno != EEXIST || flags & O_EXCL) return fd;
    if ((path = p9_child_open(dir_fd, name)) < 0) return -1;
    fd = p9_reopen(path, flags & FLAGS_KEPT);
    close(path);
    return fd;
}

int p9_lcreate(struct p9_server *s, struct p9_in *in, struct p9_out *out)
{
    struct p9_fid *f = p9_fid_find(s, (uint32_t)p9_get(in, 4));
    char name[P9_NAME_ROOM];
    bool fits = p9_get_name(in, name), is_new;
    int flags = (int)p9_get(in, 4), fd, path, why;
    uint32_t mode = (uint32_t)p9_get(in, 4) & 07777;
    struct p9_owner owner = { .uid = UINT32_MAX, .gid = (uint32_t)p9_get(in, 4) };
    struct p9_qid qid;

    if (in->bad || !fits) return EINVAL;
    if (!f || f->fd >= 0 || f->xattr || f->xattr_writes) return EBADF;
    if (!p9_has_descriptor(s)) return ENFILE;
    if ((fd = create_open(s, f->path_fd, name, flags, mode, &is_new)) < 0) return errno;
    path = open(p9_path_of(fd).text, O_PATH | O_CLOEXEC);
    why = path < 0 ? errno : is_new ? p9_owner_set(s, path, S_IFREG | mode, &owner, 0) : 0;
    if (why || (why = p9_qid_of(s, path, &qid))) {
        if (is_new) unlinkat(f->path_fd, name, 0);
        if (path >= 0) close(path);
        close(fd);
        return why;
    }
    opened(s, f, fd, flags);
    close(f->path_fd);
    f->path_fd = path;
    f->is_root = false;
    p9_put_qid(out, &qid);
    p9_put(out, io_unit(s), 4);
    return 0;
}

static int xattr_read(struct p9_fid *f, uint64_t offset, size_t count, struct p9_out *out)
{
    size_t n = offset < f->xattr_size ? MIN(count, f->xattr_size - (size_t)offset) : 0;

    p9_put(out, n, 4);
    if (!out->bad && n) memcpy(out->data + out->at, f->xattr + offset, n);
    out->at += n;
    return 0;
}

int p9_read(struct p9_server *s, struct p9_in *in, struct p9_out *out)
{
    struct p9_fid *f = p9_fid_find(s, (uint32_t)p9_get(in, 4));
    uint64_t offset = p9_get(in, 8);
    size_t count = p9_get(in, 4), room = out->size > out->at + 4 ? out->size - out->at - 4 : 0, start = out->at;
    ssize_t n;

    if (!f || in->bad || f->xattr_writes) return EBADF;
    count = MIN(count, room);
    if (f->xattr) return xattr_read(f, offset, count, out);
    if (f->fd < 0 || f->is_dir) return f->is_dir ? EISDIR : EBADF;
    do n = pread(f->fd, out->data + start + 4, count, (off_t)offset);
    while (n < 0 && errno == EINTR);
    if (n < 0) return errno;
    p9_put(out, (uint64_t)n, 4);
    out->at += (size_t)n;
    return 0;
}

int p9_write(struct p9_server *s, struct p9_in *in, struct p9_out *out)
{
    struct p9_fid *f = p9_fid_find(s, (uint32_t)p9_get(in, 4));
    uint64_t offset = p9_get(in, 8);
    size_t count = p9_get(in, 4);
    const uint8_t *data = p9_get_bytes(in, count);
    ssize_t n;

    if (!f || !data) return data ? EBADF : EINVAL;
    if (f->xattr_writes) {
        if (offset != f->xattr_got || count > f->xattr_size - f->xattr_got) return ENOSPC;
        memcpy(f->xattr + offset, data, count);
        f->xattr_got += count;
        p9_put(out, count, 4);
        return 0;
    }
    if (f->fd < 0 || f->is_dir || !f->writable) return EBADF;
    do n = pwrite(f->fd, data, count, (off_t)offset);
    while (n < 0 && errno == EINTR);
    if (n < 0) return errno;
    p9_put(out, (uint64_t)n, 4);
    return 0;
}

/* One entry, unless it does not fit. */
static bool entry_put(struct p9_server *s, struct p9_fid *f, const struct dirent64 *e, struct p9_out *out)
{
    struct p9_qid qid = { .type = e->d_type == DT_DIR ? 0x80 : e->d_type == DT_LNK ? 2 : 0, .path = e->d_ino };
    struct p9_out before = *out;
    struct stat st;

    if (fstat(f->fd, &st) == 0) qid.path = e->d_ino ^ (p9_qid_from(s, &st).path ^ st.st_ino);    /* same device */
    p9_put_qid(out, &qid);
    p9_put(out, (uint64_t)e->d_off, 8);
    p9_put(out, e->d_type, 1);
    p9_put_string(out, e->d_name);
    if (!out->bad) return true;
    *out = before;
    return false;
}

/* The next entries of the directory, as many as fit; false: that were all of them, or *why. What did not fit is read anew by the next message. */
static bool entries_put(struct p9_server *s, struct p9_fid *f, struct p9_out *out, int *why)
{
    _Alignas(struct dirent64) char entries[ENTRIES_MOST];
    ssize_t n = getdents64(f->fd, entries, MIN(MAX(out->size - out->at, (size_t)ENTRIES_LEAST), sizeof(entries)));

    *why = n < 0 && errno != ENOENT ? errno : 0;         /* ENOENT: it was removed */
    for (ssize_t at = 0; at < n;) {
        const struct dirent64 *e = (const struct dirent64 *)(entries + at);

        if (!entry_put(s, f, e, out)) {
            *why = EINVAL;
            return false;
        }
        at += e->d_reclen;
    }
    return n > 0;
}

/* Without opendir(), which keeps 32 KiB and more for each directory. */
int p9_readdir(struct p9_server *s, struct p9_in *in, struct p9_out *out)
{
    struct p9_fid *f = p9_fid_find(s, (uint32_t)p9_get(in, 4));
    uint64_t offset = p9_get(in, 8);
    size_t count = p9_get(in, 4), start = out->at, end;
    struct p9_out part = *out;
    int why;

    if (!f || in->bad) return EBADF;
    if (!f->is_dir) return ENOTDIR;
    if (out->size < start + 4) return EMSGSIZE;
    if (lseek(f->fd, (off_t)offset, SEEK_SET) < 0) return errno;
    part.at += 4;
    part.size = MIN(out->size, part.at + count);
    while (entries_put(s, f, &part, &why));
    end = part.at;
    if (why && end == start + 4) return why;             /* no room for one, too */
    p9_put(out, end - start - 4, 4);
    out->at = end;
    return 0;
}

int p9_fsync(struct p9_server *s, struct p9_in *in, struct p9_out *out)
{
    struct p9_fid *f = p9_fid_find(s, (uint32_t)p9_get(in, 4));
    bool data_only = p9_get(in, 4);

    if (!f || f->fd < 0) return EBADF;
    return (data_only ? fdatasync(f->fd) : fsync(f->fd)) < 0 ? errno : 0;
}

/* The one client keeps its own locks; there is nobody else to ask. */
int p9_lock(struct p9_server *s, struct p9_in *in, struct p9_out *out)
{
    struct p9_fid *f = p9_fid_find(s, (uint32_t)p9_get(in, 4));

    if (!f) return EBADF;
    p9_put(out, 0, 1);
    return 0;
}

int p9_getlock(struct p9_server *s, struct p9_in *in, struct p9_out *out)
{
    enum { UNLOCKED = 2 };
    struct p9_fid *f = p9_fid_find(s, (uint32_t)p9_get(in, 4));
    uint64_t start, length, process;
    char client[256];

    p9_get(in, 1);
    start = p9_get(in, 8);
    length = p9_get(in, 8);
    process = p9_get(in, 4);
    if (!p9_get_string(in, client, sizeof(client))) return EINVAL;
    if (!f) return EBADF;
    p9_put(out, UNLOCKED, 1);
    p9_put(out, start, 8);
    p9_put(out, length, 8);
    p9_put(out, process, 4);
    p9_put_string(out, client);
    return 0;
}
