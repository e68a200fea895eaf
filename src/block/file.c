/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The file protocol: regular files and block devices. Blocking preadv/pwritev for worker threads; the same
 * descriptor is given to io_uring by uring.c. With O_DIRECT (cache=none, directsync) requests that are not
 * aligned as the file system asks go through a bounce buffer, unaligned ends of writes by read-modify-write
 * under a lock, which everything takes that makes the file longer or zeroes part of a block meanwhile. Sources: open(2), statx(2), fallocate(2), <linux/fs.h>.
 */
#include "block/block_private.h"

#include "base/bits.h"
#include "base/fdset.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <linux/falloc.h>
#include <linux/fs.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/stat.h>
#include <unistd.h>

#define BOUNCE_BYTES (1u << 20)

struct file {
    struct block_protocol p;
    bool is_device;
    uint32_t align;                 /* of offsets and lengths; 1: anything goes */
    uint32_t memory_align;
    pthread_mutex_t rmw;            /* with O_DIRECT */
    bool no_punch, no_zero_range;   /* learned; a race only learns twice */
};

static struct file *file_of(struct block_protocol *p)
{
    return container_of(p, struct file, p);
}

static int64_t file_size(struct block_protocol *p)
{
    struct stat st;
    uint64_t bytes;
    if (fstat(p->fd, &st))
        return -errno;
    if (!S_ISBLK(st.st_mode))
        return st.st_size;
    return ioctl(p->fd, BLKGETSIZE64, &bytes) ? -errno : (int64_t)bytes;
}

/* Moves all bytes; what lies past the end reads as zeroes, and a direct read that ends inside a block has come there. iov is changed. */
static int transfer(const struct file *f, uint64_t offset, struct iovec *iov, int iovcnt, bool write)
{
    int fd = f->p.fd;
    bool ended = false;
    while (iovcnt > 0) {
        if (!iov->iov_len) {
            iov++, iovcnt--;
            continue;
        }
        int count = MIN(iovcnt, IOV_MAX);
        ssize_t r = write ? pwritev(fd, iov, count, (off_t)offset) : preadv(fd, iov, count, (off_t)offset);
        if (r < 0 && errno == EINTR)
            continue;
        if (r < 0)
            return -errno;
        if (r == 0 && write)
            return -ENOSPC;
        ended = !write && (r == 0 || (uint64_t)r & (f->align - 1));
        offset += (uint64_t)r;
        while (iovcnt > 0 && (size_t)r >= iov->iov_len) {
            r -= (ssize_t)iov->iov_len;
            iov++, iovcnt--;
        }
        if (r) {
            iov->iov_base = (char *)iov->iov_base + r;
            iov->iov_len -= (size_t)r;
        }
        if (ended) {
            block_iov_zero(iov, iovcnt, 0, block_iov_length(iov, iovcnt));
            return 0;
        }
    }
    return 0;
}

static bool is_aligned(const struct file *f, uint64_t offset, const struct iovec *iov, int iovcnt)
{
    if (f->align == 1)
        return true;
    if (offset & (f->align - 1))
        return false;
    for (int i = 0; i < iovcnt; i++)
        if (((uintptr_t)iov[i].iov_base & (f->memory_align - 1)) || (iov[i].iov_len & (f->align - 1)))
            return false;
    return true;
}

static int plain(struct file *f, uint64_t offset, const struct iovec *iov, int iovcnt, bool write)
{
    struct iovec few[8], *copy = iovcnt <= 8 ? few : malloc(sizeof(*iov) * (size_t)iovcnt);
    if (!copy)
        return -ENOMEM;
    memcpy(copy, iov, sizeof(*iov) * (size_t)iovcnt);
    int r = transfer(f, offset, copy, iovcnt, write);
    if (copy != few)
        free(copy);
    return r;
}

/* One piece of an unaligned write: fills the ends of the aligned window from the file. */
static int bounce_write(struct file *f, uint8_t *buffer, uint64_t start, uint64_t end, uint64_t from, uint64_t to)
{
    int64_t size = file_size(&f->p);
    if (size < 0)
        return (int)size;
    if (from != start || to != end) {
        uint8_t *edge = aligned_alloc(4096, ALIGN_UP(2 * f->align, 4096u));
        if (!edge)
            return -ENOMEM;
        struct iovec first = { edge, f->align }, last = { edge + f->align, f->align };
        int r = transfer(f, start, &first, 1, false);
        if (!r)
            r = transfer(f, end - f->align, &last, 1, false);
        if (!r) {
            memcpy(buffer, edge, from - start);
            memcpy(buffer + (to - start), edge + f->align + (to - (end - f->align)), end - to);
        }
        free(edge);
        if (r)
            return r;
    }
    struct iovec whole = { buffer, end - start };
    int r = transfer(f, start, &whole, 1, true);
    if (!r && end > to && end > (uint64_t)size && !f->is_device && ftruncate(f->p.fd, (off_t)MAX(to, (uint64_t)size)))
        r = -errno;
    return r;
}

static int bounced(struct file *f, uint64_t offset, const struct iovec *iov, int iovcnt, bool write)
{
    size_t total = block_iov_length(iov, iovcnt), done = 0;
    uint8_t *buffer = aligned_alloc(4096, BOUNCE_BYTES + 2 * 65536);
    int r = buffer ? 0 : -ENOMEM;
    while (!r && done < total) {
        uint64_t from = offset + done, to = from + MIN(total - done, (size_t)BOUNCE_BYTES);
        uint64_t start = ALIGN_DOWN(from, (uint64_t)f->align), end = ALIGN_UP(to, (uint64_t)f->align);
        if (write) {
            pthread_mutex_lock(&f->rmw);
            block_iov_to(iov, iovcnt, done, buffer + (from - start), to - from);
            r = bounce_write(f, buffer, start, end, from, to);
            pthread_mutex_unlock(&f->rmw);
        } else {
            struct iovec whole = { buffer, end - start };
            r = transfer(f, start, &whole, 1, false);
            if (!r)
                block_iov_from(iov, iovcnt, done, buffer + (from - start), to - from);
        }
        done += to - from;
    }
    free(buffer);
    return r;
}

static int file_preadv(struct block_protocol *p, uint64_t offset, const struct iovec *iov, int iovcnt)
{
    struct file *f = file_of(p);
    return is_aligned(f, offset, iov, iovcnt) ? plain(f, offset, iov, iovcnt, false)
                                              : bounced(f, offset, iov, iovcnt, false);
}

/* The lock is taken, for what may change a block or the file's end while bounce_write relies on them. Whether it was. */
static bool rmw_enter(struct file *f, uint64_t offset, uint64_t length)
{
    if (f->align == 1)
        return false;
    int64_t size = f->is_device ? INT64_MAX : file_size(&f->p);
    bool alone = (offset | length) & (f->align - 1) || size < 0 || offset + length > (uint64_t)size;
    if (alone)
        pthread_mutex_lock(&f->rmw);
    return alone;
}

static void rmw_leave(struct file *f, bool entered)
{
    if (entered)
        pthread_mutex_unlock(&f->rmw);
}

static int file_pwritev(struct block_protocol *p, uint64_t offset, const struct iovec *iov, int iovcnt)
{
    struct file *f = file_of(p);
    if (!is_aligned(f, offset, iov, iovcnt))
        return bounced(f, offset, iov, iovcnt, true);
    bool alone = rmw_enter(f, offset, block_iov_length(iov, iovcnt));
    int r = plain(f, offset, iov, iovcnt, true);
    rmw_leave(f, alone);
    return r;
}

static int file_flush(struct block_protocol *p)
{
    return fdatasync(p->fd) ? -errno : 0;
}

static bool is_unsupported(int e)
{
    return e == EOPNOTSUPP || e == ENOSYS || e == EINVAL || e == ENOTTY || e == EPERM;
}

static int discard(struct file *f, uint64_t offset, uint64_t length)
{
    struct block_protocol *p = &f->p;
    uint64_t range[2] = { offset, length };
    int r;
    if (f->no_punch)
        return 0;
    if (f->is_device)
        r = ioctl(p->fd, BLKDISCARD, range);
    else
        r = fallocate(p->fd, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, (off_t)offset, (off_t)length);
    if (r && is_unsupported(errno)) {
        f->no_punch = true;
        return 0;
    }
    return r ? -errno : 0;
}

static int file_discard(struct block_protocol *p, uint64_t offset, uint64_t length)
{
    struct file *f = file_of(p);
    bool alone = rmw_enter(f, offset, length);
    int r = discard(f, offset, length);
    rmw_leave(f, alone);
    return r;
}

static int write_zeroes(struct file *f, uint64_t offset, uint64_t length, bool may_unmap)
{
    struct block_protocol *p = &f->p;
    uint64_t range[2] = { offset, length };
    int64_t size = file_size(p);
    if (size < 0)
        return (int)size;
    if (f->is_device) {
        if (f->no_zero_range || ioctl(p->fd, BLKZEROOUT, range)) {
            f->no_zero_range = true;
            return -ENOTSUP;
        }
        return 0;
    }
    /* A hole reads as zeroes, but it does not grow the file. */
    if (may_unmap && !f->no_punch && offset + length <= (uint64_t)size) {
        if (!fallocate(p->fd, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, (off_t)offset, (off_t)length))
            return 0;
        if (!is_unsupported(errno))
            return -errno;
        f->no_punch = true;
    }
    if (!f->no_zero_range) {
        if (!fallocate(p->fd, FALLOC_FL_ZERO_RANGE, (off_t)offset, (off_t)length))
            return 0;
        if (!is_unsupported(errno))
            return -errno;
        f->no_zero_range = true;
    }
    return -ENOTSUP;
}

static int file_write_zeroes(struct block_protocol *p, uint64_t offset, uint64_t length, bool may_unmap)
{
    struct file *f = file_of(p);
    bool alone = rmw_enter(f, offset, length);
    int r = write_zeroes(f, offset, length, may_unmap);
    rmw_leave(f, alone);
    return r;
}

/* lseek(2): SEEK_DATA. File systems without holes, and devices, say that all is data. Extents that begin inside a
 * sector are moved so that a sector with any data is data. */
static int file_extent(struct block_protocol *p, uint64_t offset, uint64_t length, struct block_extent *extent)
{
    *extent = (struct block_extent){ .length_bytes = length };
    if (file_of(p)->is_device)
        return 0;
    off_t data = lseek(p->fd, (off_t)offset, SEEK_DATA);
    if (data < 0 && errno != ENXIO)
        return 0;
    if (data < 0 || ALIGN_DOWN((uint64_t)data, 512ull) > offset) {
        extent->zero = extent->hole = true;
        if (data >= 0)
            extent->length_bytes = MIN(length, ALIGN_DOWN((uint64_t)data, 512ull) - offset);
        return 0;
    }
    off_t hole = lseek(p->fd, data, SEEK_HOLE);
    if (hole > data)
        extent->length_bytes = MIN(length, ALIGN_UP((uint64_t)hole, 512ull) - offset);
    return 0;
}

/* posix_fallocate would write where the file system cannot allocate; that is what FULL does anyway. */
static int space_allocate(struct block_protocol *p, uint64_t from, uint64_t to, enum block_preallocation mode)
{
    const size_t chunk = 1u << 20;
    if (mode == BLOCK_PREALLOCATION_FALLOC)
        return fallocate(p->fd, 0, (off_t)from, (off_t)(to - from)) ? -errno : 0;
    void *zeroes = aligned_alloc(4096, chunk);
    int r = zeroes ? 0 : -ENOMEM;
    if (zeroes)
        memset(zeroes, 0, chunk);
    for (; !r && from < to; from += MIN(to - from, (uint64_t)chunk))
        r = block_protocol_pwrite(p, from, zeroes, MIN(to - from, (uint64_t)chunk));
    free(zeroes);
    return r;
}

static int length_set(struct file *f, uint64_t size)
{
    bool alone = rmw_enter(f, size, UINT64_MAX - size);
    int r = ftruncate(f->p.fd, (off_t)size) ? -errno : 0;
    rmw_leave(f, alone);
    return r;
}

static int file_truncate(struct block_protocol *p, uint64_t size, enum block_preallocation mode)
{
    int64_t old = file_size(p);
    if (old < 0)
        return (int)old;
    if (file_of(p)->is_device)
        return size <= (uint64_t)old ? 0 : -ENOTSUP;
    if (size > INT64_MAX)
        return -EFBIG;
    int r = length_set(file_of(p), size);
    if (r)
        return r;
    if (size <= (uint64_t)old || mode == BLOCK_PREALLOCATION_OFF || mode == BLOCK_PREALLOCATION_METADATA)
        return 0;
    r = space_allocate(p, (uint64_t)old, size, mode);
    if (r)
        length_set(file_of(p), (uint64_t)old);
    return r;
}

static int64_t file_allocated(struct block_protocol *p)
{
    struct stat st;
    return fstat(p->fd, &st) ? -errno : (int64_t)st.st_blocks * 512;
}

static int64_t file_copy_range(struct block_protocol *p, uint64_t offset, struct block_protocol *from,
                               uint64_t from_offset, uint64_t length)
{
    loff_t in = (loff_t)from_offset, out = (loff_t)offset;
    ssize_t r = copy_file_range(from->fd, &in, p->fd, &out, MIN(length, 1ull << 30), 0);
    if (r > 0)
        return r;
    return r == 0 || errno == EXDEV || errno == EINVAL || errno == ENOSYS || errno == EOPNOTSUPP || errno == EBADF ?
           -ENOTSUP : -errno;
}

static void file_close(struct block_protocol *p)
{
    struct file *f = file_of(p);
    close(p->fd);
    pthread_mutex_destroy(&f->rmw);
    free(p->filename);
    free(f);
}

static const struct block_protocol_ops file_ops = {
    .name = "file", .preadv = file_preadv, .pwritev = file_pwritev, .flush = file_flush, .discard = file_discard,
    .write_zeroes = file_write_zeroes, .size = file_size, .extent = file_extent, .truncate = file_truncate,
    .allocated = file_allocated, .copy_range = file_copy_range, .close = file_close,
};

/* The smallest power of two at which a direct read at an odd multiple of it works. */
static uint32_t direct_align_find(int fd, bool is_device)
{
    int sector;
    if (is_device && !ioctl(fd, BLKSSZGET, &sector) && sector >= 512 && sector <= 65536)
        return (uint32_t)sector;
    uint8_t *buffer = aligned_alloc(65536, 65536);
    uint32_t align = 512;
    while (buffer && align < 65536 && pread(fd, buffer, align, align) < 0 && errno == EINVAL)
        align *= 2;
    free(buffer);
    return align;
}

static struct block_protocol *file_new(int fd, const char *filename, const struct block_file_options *o)
{
    struct file *f = calloc(1, sizeof(*f));
    struct stat st;
    if (!f || fstat(fd, &st) || !(f->p.filename = strdup(filename))) {
        free(f);
        return NULL;
    }
    f->p.ops = &file_ops;
    f->p.readonly = o->readonly;
    f->p.flush_ignored = o->unsafe;
    f->p.dev = st.st_dev;
    f->p.ino = st.st_ino;
    f->p.fd = fd;
    f->is_device = S_ISBLK(st.st_mode);
    f->align = o->direct ? direct_align_find(fd, f->is_device) : 1;
    f->memory_align = o->direct ? MAX(f->align, 512u) : 1;
    pthread_mutex_init(&f->rmw, NULL);
    return &f->p;
}

static int open_error(const char *filename, const struct block_file_options *o, struct error *err)
{
    switch (errno) {
    case ENOENT:
        return error_set(err, "cannot open '%s': there is no such file; check the name", filename);
    case EACCES:
    case EPERM:
        return error_set(err, "cannot open '%s'%s: permission denied; change its owner or mode%s", filename,
                         o->readonly ? "" : " for writing", o->readonly ? "" : ", or use readonly=on or snapshot=on");
    case EROFS:
        return error_set(err, "cannot open '%s' for writing: read-only file system; use readonly=on or snapshot=on",
                         filename);
    case EINVAL:
        if (o->direct)
            return error_set(err, "cannot open '%s': its file system has no O_DIRECT; use cache=writeback", filename);
        break;
    default:
        break;
    }
    return error_set(err, "cannot open '%s': %s", filename, strerror(errno));
}

struct block_protocol *block_file_open(const char *filename, const struct block_file_options *o, struct error *err)
{
    /* Not blocking: a FIFO must not hang us; it is refused below. */
    int flags = (o->readonly ? O_RDONLY : O_RDWR) | O_CLOEXEC | O_NONBLOCK | (o->direct ? O_DIRECT : 0);
    int fd = fdset_open(filename, flags, 0);
    struct stat st;
    if (fd < 0) {
        open_error(filename, o, err);
        return NULL;
    }
    if (fstat(fd, &st) || !(S_ISREG(st.st_mode) || S_ISBLK(st.st_mode))) {
        error_set(err, "cannot open '%s': %s; give a file or a block device", filename,
                  S_ISDIR(st.st_mode) ? "it is a directory" : "it is neither a file nor a block device");
        close(fd);
        return NULL;
    }
    if (!o->no_lock && block_lock_take(fd, filename, o, err)) {
        close(fd);
        return NULL;
    }
    struct block_protocol *p = file_new(fd, filename, o);
    if (!p) {
        error_set(err, "cannot open '%s': out of memory", filename);
        close(fd);
    }
    return p;
}

struct block_protocol *block_file_temporary(struct error *err)
{
    const char *dir = getenv("TMPDIR");
    char path[PATH_MAX];
    const struct block_file_options o = { .unsafe = true };
    if (!dir || !*dir)
        dir = "/var/tmp";
    int fd = open(dir, O_TMPFILE | O_RDWR | O_EXCL | O_CLOEXEC, 0600);
    if (fd < 0) {
        if (snprintf(path, sizeof(path), "%s/ospite-XXXXXX", dir) >= (int)sizeof(path))
            errno = ENAMETOOLONG;
        else if ((fd = mkostemp(path, O_CLOEXEC)) >= 0)
            unlink(path);
    }
    if (fd < 0) {
        error_set(err, "cannot create a temporary file in '%s': %s; set TMPDIR to a writable directory", dir,
                  strerror(errno));
        return NULL;
    }
    struct block_protocol *p = file_new(fd, "(temporary overlay)", &o);
    if (!p) {
        error_set(err, "cannot create a temporary file: out of memory");
        close(fd);
    }
    return p;
}
