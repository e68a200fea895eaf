/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * A file or memfd behind guest RAM. A directory (hugetlbfs, tmpfs) gets a file without a name, which goes with the process. An
 * existing file keeps its contents; one that is empty is made as large as the guest's memory. Sources: memfd_create(2),
 * hugetlbfs: Documentation/admin-guide/mm/hugetlbpage.rst.
 */
#include <errno.h>
#include <fcntl.h>
#include <linux/magic.h>
#include <linux/memfd.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/vfs.h>
#include <unistd.h>

#include "base/error.h"
#include "memory/ram_private.h"

static unsigned long long mib(uint64_t bytes) { return bytes >> 20; }

static int memfd_open(const struct ram_config *c, struct error *err)
{
    unsigned flags = MFD_CLOEXEC | MFD_ALLOW_SEALING;
    int fd;

    if (c->hugetlb) flags |= MFD_HUGETLB;
    if (c->hugetlb && c->huge_page_bytes) flags |= (unsigned)__builtin_ctzll(c->huge_page_bytes) << MFD_HUGE_SHIFT;
    fd = memfd_create(c->id ? c->id : "ospite-ram", flags);
    if (fd < 0 && c->hugetlb)
        return error_set(err, "this kernel gives no memfd in huge pages of that size: %s; leave out hugetlb=on or hugetlbsize=", strerror(errno));
    if (fd < 0) return error_set(err, "cannot make a memfd for the guest's memory: %s", strerror(errno));
    return fd;
}

static int directory_file_open(const char *path, struct error *err)
{
    int fd = open(path, O_RDWR | O_TMPFILE | O_CLOEXEC, 0600);
    char *name;

    if (fd >= 0) return fd;
    if (asprintf(&name, "%s/ospite-ram-XXXXXX", path) < 0) return error_set(err, "no memory for a file name");
    fd = mkostemp(name, O_CLOEXEC);        /* hugetlbfs has no files without a name before 5.17 */
    if (fd >= 0) unlink(name);
    else error_set(err, "cannot make a file for the guest's memory in '%s': %s", path, strerror(errno));
    free(name);
    return fd;
}

static int path_open(const char *path, struct error *err)
{
    struct stat st;
    int fd;

    if (stat(path, &st) == 0 && S_ISDIR(st.st_mode)) return directory_file_open(path, err);
    fd = open(path, O_RDWR | O_CREAT | O_CLOEXEC | O_NONBLOCK, 0600);
    if (fd < 0) return error_set(err, "cannot open '%s' for the guest's memory: %s", path, strerror(errno));
    if (fstat(fd, &st) == 0 && S_ISREG(st.st_mode)) return fd;
    close(fd);
    return error_set(err, "'%s' is neither a file nor a directory; the guest's memory needs one", path);
}

static int size_set(int fd, const struct ram_config *c, const char *name, struct error *err)
{
    struct stat st;

    if (fstat(fd, &st) < 0) return error_set(err, "%s: %s", name, strerror(errno));
    if (st.st_size && (uint64_t)st.st_size < c->size_bytes)
        return error_set(err, "'%s' has %llu MiB and the guest's memory %llu; give it that size, or a new file", name, mib((uint64_t)st.st_size), mib(c->size_bytes));
    if (!st.st_size && ftruncate(fd, (off_t)c->size_bytes) < 0)
        return error_set(err, "cannot make '%s' %llu MiB large: %s", name, mib(c->size_bytes), strerror(errno));
    return 0;
}

/* Pages that nobody could store later would end the process by a signal. A tmpfs stores pages that were only read, too, so it needs room for private memory. */
static int room_check(int fd, const struct ram_config *c, const char *name, const struct statfs *fs, struct error *err)
{
    uint64_t room = (uint64_t)fs->f_bavail * (uint64_t)fs->f_bsize;
    struct stat st;
    int why;

    if (!c->share && fs->f_type != TMPFS_MAGIC) return 0;
    if (fstat(fd, &st) == 0) room += (uint64_t)st.st_blocks * 512;
    if (fs->f_blocks && room < c->size_bytes)                    /* a tmpfs without a limit has no blocks */
        return error_set(err, "'%s' lies where %llu MiB are free, too few for %llu MiB of memory; make room or use a smaller -m", name, mib(room), mib(c->size_bytes));
    if (!c->prealloc || !(why = posix_fallocate(fd, 0, (off_t)c->size_bytes))) return 0;
    return error_set(err, "cannot have all of '%s' at once: %s; leave out prealloc", name, strerror(why));
}

static int file_prepare(struct ram_file *f, const struct ram_config *c, const char *name, struct error *err)
{
    struct statfs fs;

    if (fstatfs(f->fd, &fs) < 0) return error_set(err, "%s: %s", name, strerror(errno));
    if (fs.f_type == HUGETLBFS_MAGIC) f->page_bytes = (uint64_t)fs.f_bsize;
    if (c->size_bytes % f->page_bytes)
        return error_set(err, "%llu MiB of memory are no whole number of huge pages of %llu MiB; use another -m", mib(c->size_bytes), mib(f->page_bytes));
    if (size_set(f->fd, c, name, err) < 0) return -1;
    if (c->kind == RAM_MEMFD && !c->unsealed) fcntl(f->fd, F_ADD_SEALS, F_SEAL_GROW | F_SEAL_SHRINK | F_SEAL_SEAL);
    return c->kind == RAM_MEMFD || f->page_bytes > 4096 ? 0 : room_check(f->fd, c, name, &fs, err);
}

int ram_file_open(struct ram_file *f, const struct ram_config *c, struct error *err)
{
    f->page_bytes = 4096;
    f->fd = c->kind == RAM_MEMFD ? memfd_open(c, err) : path_open(c->path, err);
    if (f->fd < 0) return -1;
    if (file_prepare(f, c, c->kind == RAM_MEMFD ? "memfd" : c->path, err) == 0) return 0;
    close(f->fd);
    f->fd = -1;
    return -1;
}
