/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Random operations on a directory, for a shared folder and for a plain one: with the same seed both must log the same.
 *
 *   fsops DIRECTORY LOG SEED COUNT
 *
 * Each line of the log is an operation and what came of it: an error, or what was read. Built statically, so that it runs in any guest.
 */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/xattr.h>
#include <unistd.h>

enum { NAMES = 9, BUFFER = 70000, FILE_MAX = 200000 };

static uint64_t state;
static FILE *out;
static uint8_t buffer[BUFFER];

static uint32_t next(void)
{
    state ^= state << 13;
    state ^= state >> 7;
    state ^= state << 17;
    return (uint32_t)(state * 0x2545f4914f6cdd1d >> 32);
}

static uint32_t below(uint32_t n) { return next() % n; }

static uint64_t hash(const void *data, size_t size)
{
    const uint8_t *p = data;
    uint64_t h = 0xcbf29ce484222325;

    for (size_t i = 0; i < size; i++) h = (h ^ p[i]) * 0x100000001b3;
    return h;
}

static const char *path(char *to)
{
    static const char *const folders[] = { "", "", "d0/", "d1/", "d1/d2/" };
    static const char *const names[NAMES] = { "a", "b", "c", "d0", "d1", "d2", "l", "with blank and \xc3\xa4", "x" };

    sprintf(to, "%s%s", folders[below(5)], names[below(NAMES)]);
    return to;
}

static void result(long long r)
{
    if (r < 0) fprintf(out, " error %d\n", errno);
    else fprintf(out, " %lld\n", r);
}

static void file_write(const char *p)
{
    static const int modes[] = { O_CREAT | O_WRONLY, O_WRONLY, O_CREAT | O_EXCL | O_RDWR, O_RDWR | O_TRUNC, O_WRONLY | O_APPEND };
    int flags = modes[below(5)], fd = open(p, flags, 0644);
    off_t at = below(FILE_MAX);
    size_t size = below(BUFFER), seed = next();

    for (size_t i = 0; i < size; i++) buffer[i] = (uint8_t)(seed + i * 7 + i / 251);
    fprintf(out, "write %s %x %ld %zu", p, flags, (long)at, size);
    if (fd < 0) {
        result(-1);
        return;
    }
    result(flags & O_APPEND ? write(fd, buffer, size) : pwrite(fd, buffer, size, at));
    if (below(4) == 0) fsync(fd);
    close(fd);
}

static void file_read(const char *p)
{
    int fd = open(p, O_RDONLY);
    off_t at = below(4) ? 0 : below(FILE_MAX);
    ssize_t n;

    fprintf(out, "read %s %ld", p, (long)at);
    if (fd < 0) {
        result(-1);
        return;
    }
    n = pread(fd, buffer, BUFFER, at);
    if (n < 0) result(-1);
    else fprintf(out, " %zd %llx\n", n, (unsigned long long)hash(buffer, (size_t)n));
    close(fd);
}

static void file_map(const char *p)
{
    int fd = open(p, O_RDONLY);
    struct stat st;
    void *m = MAP_FAILED;

    fprintf(out, "map %s", p);
    if (fd >= 0 && fstat(fd, &st) == 0 && st.st_size && S_ISREG(st.st_mode)) m = mmap(NULL, (size_t)st.st_size, PROT_READ, MAP_PRIVATE, fd, 0);
    if (m != MAP_FAILED) {
        fprintf(out, " %llx\n", (unsigned long long)hash(m, (size_t)st.st_size));
        munmap(m, (size_t)st.st_size);
    } else fprintf(out, " nothing\n");
    if (fd >= 0) close(fd);
}

static int by_name(const void *a, const void *b) { return strcmp(*(char *const *)a, *(char *const *)b); }

static void folder_list(const char *p)
{
    DIR *d = opendir(p);
    char *name[64];
    unsigned n = 0;

    fprintf(out, "list %s", p);
    if (!d) {
        result(-1);
        return;
    }
    for (struct dirent *e; n < 64 && (e = readdir(d));) name[n++] = strdup(e->d_name);
    closedir(d);
    qsort(name, n, sizeof(name[0]), by_name);
    for (unsigned i = 0; i < n; i++) {
        fprintf(out, " %s", name[i]);
        free(name[i]);
    }
    fprintf(out, "\n");
}

static void file_stat(const char *p)
{
    struct stat st;

    fprintf(out, "stat %s", p);
    if (lstat(p, &st) < 0) result(-1);
    else if (S_ISDIR(st.st_mode)) fprintf(out, " folder %o\n", st.st_mode & 07777);
    else fprintf(out, " %o size %lld links %u time %d\n", st.st_mode, (long long)st.st_size, (unsigned)st.st_nlink, st.st_mtime < 1000 ? (int)st.st_mtime : -1);
}

static void attribute(const char *p)
{
    ssize_t n;

    fprintf(out, "attribute %s", p);
    if (below(2)) {
        size_t size = 1 + below(300);

        memset(buffer, (int)below(256), size);
        result(setxattr(p, "user.test", buffer, size, 0));
        return;
    }
    n = getxattr(p, "user.test", buffer, BUFFER);
    if (n < 0) result(-1);
    else fprintf(out, " %zd %llx\n", n, (unsigned long long)hash(buffer, (size_t)n));
}

static void one(void)
{
    char a[64], b[64], text[PATH_MAX];
    struct timespec times[2] = { { (time_t)below(1000), 0 }, { (time_t)below(1000), 0 } };
    unsigned mode = below(2) ? 0700 | below(64) : 0755;
    ssize_t n;

    path(a);
    path(b);
    switch (below(20)) {
    case 0: case 1: case 2: case 3: file_write(a); break;
    case 4: case 5: file_read(a); break;
    case 6: file_map(a); break;
    case 7: fprintf(out, "mkdir %s", a), result(mkdir(a, mode)); break;
    case 8: fprintf(out, "rmdir %s", a), result(rmdir(a)); break;
    case 9: case 10: fprintf(out, "rename %s %s", a, b), result(rename(a, b)); break;
    case 11: fprintf(out, "link %s %s", a, b), result(link(a, b)); break;
    case 12: fprintf(out, "symlink %s %s", a, b), result(symlink(a, b)); break;
    case 13:
        n = readlink(a, text, sizeof(text) - 1);
        fprintf(out, "readlink %s", a);
        if (n < 0) result(-1);
        else fprintf(out, " %.*s\n", (int)n, text);
        break;
    case 14: fprintf(out, "unlink %s", a), result(unlink(a)); break;
    case 15: fprintf(out, "truncate %s", a), result(truncate(a, below(FILE_MAX))); break;
    case 16: fprintf(out, "chmod %s %o", a, mode), result(chmod(a, mode)); break;
    case 17: fprintf(out, "utimes %s", a), result(utimensat(AT_FDCWD, a, times, AT_SYMLINK_NOFOLLOW)); break;
    case 18: below(2) ? folder_list("d1") : folder_list("."); break;
    default: below(3) ? file_stat(a) : attribute(a); break;
    }
}

int main(int argc, char **argv)
{
    if (argc != 5 || !(out = fopen(argv[2], "w")) || chdir(argv[1]) < 0) {
        perror("fsops DIRECTORY LOG SEED COUNT");
        return 1;
    }
    umask(022);
    state = strtoull(argv[3], NULL, 0) * 2 + 1;
    for (long i = atol(argv[4]); i > 0; i--) one();
    return fclose(out) ? 1 : 0;
}
