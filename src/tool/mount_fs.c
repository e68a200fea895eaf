/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The file system behind 'ospite mount', over libfuse's low-level interface with several threads.
 *
 * Reads and writes go straight to the node (FOPEN_DIRECT_IO): the kernel keeps no copies, so "disk" and the partitions
 * always show the same bytes, a write has reached the node when write(2) returns, and its errors are write's. fsync is the
 * node's flush. The files have a fixed size as block devices have: O_TRUNC changes nothing, what lies past the end cannot
 * be written. Holes are what the image knows to be zero (lseek); punched holes become zeroes and, where the image can,
 * free space. The partition table is read anew after "disk" was written to; an open file keeps the place it had.
 *
 * Sources: fuse_lowlevel.h of libfuse 3.14, fallocate(2), lseek(2).
 */
#define FUSE_USE_VERSION FUSE_MAKE_VERSION(3, 12)
#include <fuse_lowlevel.h>

#include "tool/mount_fs.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/falloc.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/bits.h"
#include "base/error.h"
#include "block/block.h"
#include "block/nbd_wire.h"
#include "nbd/export.h"
#include "tool/partition.h"

enum { INO_DISK = 2, INO_PARTITION = 16, THREADS_MAX = 16, THREADS_IDLE = 4, IN_FLIGHT = 64 };
enum { READDIR_MAX = 1 << 20 };

struct mount_fs {
    struct nbd_export whole;        /* whose lock keeps writes of parts of a sector apart, in all files together */
    bool readonly;
    int report_fd;
    time_t started;
    struct fuse_session *session;
    bool signals, mounted;
    pthread_mutex_t lock;           /* the table */
    struct partition_table table;
    bool table_stale;
};

struct extent {
    uint64_t offset, length;
};

static struct mount_fs *fs_of(fuse_req_t req)
{
    return fuse_req_userdata(req);
}

static const struct extent *extent_of(const struct fuse_file_info *fi)
{
    return (const struct extent *)(uintptr_t)fi->fh;
}

/* A table that cannot be read leaves the old one. */
static void table_refresh_locked(struct mount_fs *m)
{
    struct partition_table table;
    if (!__atomic_exchange_n(&m->table_stale, false, __ATOMIC_ACQ_REL))
        return;
    if (!partition_table_read(m->whole.node, &table, NULL))
        m->table = table;
}

static bool extent_find(struct mount_fs *m, fuse_ino_t ino, struct extent *e)
{
    *e = (struct extent){ 0, nbd_export_size(&m->whole) };
    if (ino == INO_DISK)
        return true;
    pthread_mutex_lock(&m->lock);
    table_refresh_locked(m);
    const struct partition *p = ino > INO_PARTITION ? partition_find(&m->table, (unsigned)(ino - INO_PARTITION)) : NULL;
    if (p)
        *e = (struct extent){ p->offset_bytes, p->length_bytes };
    pthread_mutex_unlock(&m->lock);
    return p;
}

/* One block fewer than the size has: only then do cp and tar ask for holes. */
static bool attributes_get(struct mount_fs *m, fuse_ino_t ino, struct stat *st)
{
    struct extent e;
    *st = (struct stat){ .st_ino = ino, .st_uid = geteuid(), .st_gid = getegid(), .st_nlink = 1, .st_blksize = 65536 };
    st->st_atime = st->st_mtime = st->st_ctime = m->started;
    if (ino == FUSE_ROOT_ID) {
        st->st_mode = S_IFDIR | 0500;
        st->st_nlink = 2;
        return true;
    }
    if (!extent_find(m, ino, &e))
        return false;
    st->st_mode = S_IFREG | (m->readonly ? 0400 : 0600);
    st->st_size = (off_t)e.length;
    st->st_blocks = (blkcnt_t)MAX(e.length / 512, 1ull) - 1;
    return true;
}

static void fs_init(void *opaque, struct fuse_conn_info *c)
{
    c->want |= c->capable & FUSE_CAP_ATOMIC_O_TRUNC;
    c->want &= ~(unsigned)(FUSE_CAP_SPLICE_READ | FUSE_CAP_SPLICE_WRITE | FUSE_CAP_WRITEBACK_CACHE);
    c->max_background = IN_FLIGHT;
    c->congestion_threshold = IN_FLIGHT;
}

static fuse_ino_t name_parse(const char *name)
{
    char *end, again[32];
    if (!strcmp(name, "disk"))
        return INO_DISK;
    unsigned long n = *name == 'p' ? strtoul(name + 1, &end, 10) : 0;
    snprintf(again, sizeof(again), "p%lu", n);
    return n && n < UINT32_MAX && !strcmp(name, again) ? INO_PARTITION + n : 0;
}

static void fs_lookup(fuse_req_t req, fuse_ino_t parent, const char *name)
{
    struct fuse_entry_param e = { .ino = parent == FUSE_ROOT_ID ? name_parse(name) : 0 };
    if (!e.ino || !attributes_get(fs_of(req), e.ino, &e.attr))
        fuse_reply_err(req, ENOENT);
    else
        fuse_reply_entry(req, &e);
}

static void fs_getattr(fuse_req_t req, fuse_ino_t ino, struct fuse_file_info *fi)
{
    struct stat st;
    if (attributes_get(fs_of(req), ino, &st))
        fuse_reply_attr(req, &st, 0);
    else
        fuse_reply_err(req, ENOENT);
}

/* Times may be set and do not stay; nothing else may. */
static void fs_setattr(fuse_req_t req, fuse_ino_t ino, struct stat *new, int what, struct fuse_file_info *fi)
{
    struct stat st;
    if (!attributes_get(fs_of(req), ino, &st))
        fuse_reply_err(req, ENOENT);
    else if (what & (FUSE_SET_ATTR_MODE | FUSE_SET_ATTR_UID | FUSE_SET_ATTR_GID))
        fuse_reply_err(req, EPERM);
    else if (what & FUSE_SET_ATTR_SIZE && new->st_size != st.st_size)
        fuse_reply_err(req, EPERM);
    else
        fuse_reply_attr(req, &st, 0);
}

static void fs_readdir(fuse_req_t req, fuse_ino_t ino, size_t size, off_t from, struct fuse_file_info *fi)
{
    struct mount_fs *m = fs_of(req);
    size_t used = 0, room = MIN(size, (size_t)READDIR_MAX);
    char *out = ino == FUSE_ROOT_ID ? malloc(room) : NULL;
    if (!out) {
        fuse_reply_err(req, ino == FUSE_ROOT_ID ? ENOMEM : ENOTDIR);
        return;
    }
    pthread_mutex_lock(&m->lock);
    table_refresh_locked(m);
    for (unsigned i = (unsigned)MIN(from, (off_t)(PARTITIONS_MAX + 3)); i < m->table.count + 3; i++) {
        char name[16] = ".";
        struct stat st = { .st_ino = FUSE_ROOT_ID, .st_mode = i < 2 ? S_IFDIR : S_IFREG };
        if (i == 1) {
            strcpy(name, "..");
        } else if (i == 2) {
            strcpy(name, "disk");
            st.st_ino = INO_DISK;
        } else if (i > 2) {
            snprintf(name, sizeof(name), "p%u", m->table.partition[i - 3].number);
            st.st_ino = INO_PARTITION + m->table.partition[i - 3].number;
        }
        size_t need = fuse_add_direntry(req, out + used, room - used, name, &st, (off_t)i + 1);
        if (need > room - used)
            break;
        used += need;
    }
    pthread_mutex_unlock(&m->lock);
    fuse_reply_buf(req, out, used);
    free(out);
}

static void fs_open(fuse_req_t req, fuse_ino_t ino, struct fuse_file_info *fi)
{
    struct mount_fs *m = fs_of(req);
    struct extent *e = malloc(sizeof(*e));
    int r = 0;
    if (!e)
        r = ENOMEM;
    else if (ino == FUSE_ROOT_ID)
        r = EISDIR;
    else if (m->readonly && (fi->flags & O_ACCMODE) != O_RDONLY)
        r = EROFS;
    else if (!extent_find(m, ino, e))
        r = ENOENT;
    if (r) {
        free(e);
        fuse_reply_err(req, r);
        return;
    }
    fi->fh = (uintptr_t)e;
    fi->direct_io = 1;
    if (fuse_reply_open(req, fi) == -ENOENT)        /* the opener was interrupted: no release comes */
        free(e);
}

static void fs_release(fuse_req_t req, fuse_ino_t ino, struct fuse_file_info *fi)
{
    free((void *)(uintptr_t)fi->fh);
    fuse_reply_err(req, 0);
}

/* How much of a request lies inside the file. */
static uint64_t clip(const struct extent *e, off_t offset, uint64_t length)
{
    return offset < 0 || (uint64_t)offset >= e->length ? 0 : MIN(length, e->length - (uint64_t)offset);
}

static void fs_read(fuse_req_t req, fuse_ino_t ino, size_t size, off_t offset, struct fuse_file_info *fi)
{
    const struct extent *e = extent_of(fi);
    size_t take = clip(e, offset, size);
    void *data = NULL;
    int r = take && posix_memalign(&data, 4096, take) ? ENOMEM : 0;
    if (!r && take)
        r = -nbd_export_read(&fs_of(req)->whole, e->offset + (uint64_t)offset, data, take);
    if (r)
        fuse_reply_err(req, r);
    else
        fuse_reply_buf(req, data, take);
    free(data);
}

static void table_touched(struct mount_fs *m, fuse_ino_t ino)
{
    if (ino == INO_DISK)
        __atomic_store_n(&m->table_stale, true, __ATOMIC_RELEASE);
}

static void fs_write(fuse_req_t req, fuse_ino_t ino, const char *data, size_t size, off_t offset, struct fuse_file_info *fi)
{
    const struct extent *e = extent_of(fi);
    size_t take = clip(e, offset, size);
    int r = size && !take ? ENOSPC : 0;
    if (!r)
        r = -nbd_export_write(&fs_of(req)->whole, e->offset + (uint64_t)offset, data, take);
    table_touched(fs_of(req), ino);
    if (r)
        fuse_reply_err(req, r);
    else
        fuse_reply_write(req, take);
}

static void fs_fsync(fuse_req_t req, fuse_ino_t ino, int datasync, struct fuse_file_info *fi)
{
    struct mount_fs *m = fs_of(req);
    fuse_reply_err(req, m->readonly ? 0 : -nbd_export_flush(&m->whole));
}

static void fs_fallocate(fuse_req_t req, fuse_ino_t ino, int mode, off_t offset, off_t length, struct fuse_file_info *fi)
{
    const struct extent *e = extent_of(fi);
    uint64_t take = clip(e, offset, length < 0 ? 0 : (uint64_t)length);
    bool punch = mode == (FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE);
    bool zero = mode == FALLOC_FL_ZERO_RANGE || mode == (FALLOC_FL_ZERO_RANGE | FALLOC_FL_KEEP_SIZE);
    int r = punch || zero ? 0 : EOPNOTSUPP;
    if (!r && !(mode & FALLOC_FL_KEEP_SIZE) && take < (uint64_t)length)
        r = ENOSPC;
    if (!r && take)
        r = -nbd_export_zero(&fs_of(req)->whole, e->offset + (uint64_t)offset, take, punch);
    table_touched(fs_of(req), ino);
    fuse_reply_err(req, r);
}

/* The first byte from offset on that is data or hole, as whence asks; the file's end is a hole. */
static int seek(struct mount_fs *m, const struct extent *e, uint64_t offset, int whence, uint64_t *found)
{
    while (offset < e->length) {
        struct nbd_extent x = { 0 };
        unsigned count = 1;
        int r = nbd_export_status(&m->whole, e->offset + offset, e->length - offset, &x, &count);
        if (r)
            return r;
        if (!(x.state & NBD_STATE_ZERO) == (whence != SEEK_HOLE) || !count || !x.length)
            break;
        offset += x.length;
    }
    *found = MIN(offset, e->length);
    return whence == SEEK_DATA && offset >= e->length ? -ENXIO : 0;
}

static void fs_lseek(fuse_req_t req, fuse_ino_t ino, off_t offset, int whence, struct fuse_file_info *fi)
{
    const struct extent *e = extent_of(fi);
    uint64_t found = 0;
    int r = whence != SEEK_DATA && whence != SEEK_HOLE ? -EINVAL : offset < 0 || (uint64_t)offset >= e->length ? -ENXIO :
            seek(fs_of(req), e, (uint64_t)offset, whence, &found);
    if (r)
        fuse_reply_err(req, -r);
    else
        fuse_reply_lseek(req, (off_t)found);
}

static void fs_getxattr(fuse_req_t req, fuse_ino_t ino, const char *name, size_t size)
{
    char value[64];
    if (ino != FUSE_ROOT_ID || strcmp(name, MOUNT_FS_SERVER_ATTRIBUTE)) {
        fuse_reply_err(req, ENODATA);
        return;
    }
    int n = snprintf(value, sizeof(value), "%ld %d", (long)getpid(), fs_of(req)->report_fd);
    if (!size)
        fuse_reply_xattr(req, (size_t)n);
    else if (size < (size_t)n)
        fuse_reply_err(req, ERANGE);
    else
        fuse_reply_buf(req, value, (size_t)n);
}

static void message_drop(enum fuse_log_level level, const char *fmt, va_list ap)
{
}

/* "ospite mount -o fsname=...": a comma would end the value. */
static int arguments_make(struct fuse_args *args, const struct mount_fs_options *o)
{
    char options[8192];
    size_t n = (size_t)snprintf(options, sizeof(options), "default_permissions,subtype=ospite%s%s%s,fsname=",
                                o->readonly ? ",ro" : "", o->allow_other ? ",allow_other" : "",
                                o->allow_root ? ",allow_root" : "");
    for (const char *c = o->source; *c && n < sizeof(options) - 3; c++) {
        if (*c == ',' || *c == '\\')
            options[n++] = '\\';
        options[n++] = *c;
    }
    options[n] = 0;
    return fuse_opt_add_arg(args, "ospite") || fuse_opt_add_arg(args, "-o") || fuse_opt_add_arg(args, options) ? -1 : 0;
}

static int session_mount(struct mount_fs *m, const struct mount_fs_options *o, struct error *err)
{
    static const struct fuse_lowlevel_ops ops = {
        .init = fs_init, .lookup = fs_lookup, .getattr = fs_getattr, .setattr = fs_setattr, .readdir = fs_readdir,
        .open = fs_open, .release = fs_release, .read = fs_read, .write = fs_write, .fsync = fs_fsync,
        .fsyncdir = fs_fsync, .fallocate = fs_fallocate, .lseek = fs_lseek, .getxattr = fs_getxattr,
    };
    struct fuse_args args = FUSE_ARGS_INIT(0, NULL);
    int r = arguments_make(&args, o);
    fuse_set_log_func(message_drop);
    if (!r)
        m->session = fuse_session_new(&args, &ops, sizeof(ops), m);
    fuse_opt_free_args(&args);
    if (!m->session)
        return error_set(err, "out of memory");
    m->signals = fuse_set_signal_handlers(m->session) == 0;
    errno = 0;
    m->mounted = fuse_session_mount(m->session, o->directory) == 0;
    if (m->mounted)
        return 0;
    return error_set(err, "cannot mount on '%s'%s%s", o->directory, errno ? ": " : "", errno ? strerror(errno) : "");
}

struct mount_fs *mount_fs_new(const struct mount_fs_options *o, struct error *err)
{
    struct mount_fs *m = calloc(1, sizeof(*m));
    if (!m) {
        error_set(err, "out of memory");
        return NULL;
    }
    m->whole = (struct nbd_export){ .node = o->node, .length = UINT64_MAX, .readonly = o->readonly };
    pthread_rwlock_init(&m->whole.partial, NULL);
    pthread_mutex_init(&m->lock, NULL);
    m->readonly = o->readonly;
    m->report_fd = o->report_fd;
    m->started = time(NULL);
    if (!partition_table_read(o->node, &m->table, err) && !session_mount(m, o, err))
        return m;
    mount_fs_free(m);
    return NULL;
}

int mount_fs_run(struct mount_fs *m, struct error *err)
{
    struct fuse_loop_config *c = fuse_loop_cfg_create();
    if (!c)
        return error_set(err, "out of memory");
    fuse_loop_cfg_set_max_threads(c, THREADS_MAX);
    fuse_loop_cfg_set_idle_threads(c, THREADS_IDLE);
    int r = fuse_session_loop_mt(m->session, c);
    fuse_loop_cfg_destroy(c);
    /* Positive: a signal; that is how it is ended too. */
    return r < 0 ? error_set(err, "the file system stopped: %s", strerror(-r)) : 0;
}

void mount_fs_free(struct mount_fs *m)
{
    if (!m)
        return;
    if (m->mounted)
        fuse_session_unmount(m->session);
    if (m->signals)
        fuse_remove_signal_handlers(m->session);
    if (m->session)
        fuse_session_destroy(m->session);
    pthread_rwlock_destroy(&m->whole.partial);
    pthread_mutex_destroy(&m->lock);
    free(m);
}
