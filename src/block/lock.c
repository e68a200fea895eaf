/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Image locks that QEMU and its tools understand. Each permission has a number; a user of an image holds a
 * shared OFD lock on byte 100+n for each permission it uses and on byte 200+n for each that it does not allow
 * others to use. All locks are read locks, so that they also work on read-only descriptors; a conflict is
 * found by asking whether a write lock on the opposite byte would be granted. Who takes first and asks
 * afterwards cannot be overtaken; two who come at the same moment may both be refused, which is safe.
 *
 * File systems without locks are used without them, as QEMU does. The kernel does not tell who holds an OFD
 * lock; the holder is looked for in /proc/PID/fdinfo as far as the permissions of this process go. Sources:
 * fcntl(2), proc(5), QEMU docs "Image locking".
 */
#include "block/block_private.h"

#include <ctype.h>
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <unistd.h>

enum { PERM_CONSISTENT_READ = 0, PERM_WRITE = 1, PERM_WRITE_UNCHANGED = 2, PERM_RESIZE = 3, PERMS = 4 };
enum { LOCK_USED_BASE = 100, LOCK_UNSHARED_BASE = 200 };

static int lock_byte(int fd, int type, off_t byte)
{
    struct flock l = { .l_type = (short)type, .l_whence = SEEK_SET, .l_start = byte, .l_len = 1 };
    return fcntl(fd, F_OFD_SETLK, &l) ? -errno : 0;
}

static bool byte_is_held_by_others(int fd, off_t byte)
{
    struct flock l = { .l_type = F_WRLCK, .l_whence = SEEK_SET, .l_start = byte, .l_len = 1 };
    return fcntl(fd, F_OFD_GETLK, &l) == 0 && l.l_type != F_UNLCK;
}

/* Whether the lock line of an fdinfo file names this inode and covers the byte. */
static bool line_matches(const char *line, const struct stat *st, off_t byte)
{
    const char *p = strstr(line, "OFDLCK");
    unsigned major_no, minor_no;
    unsigned long long ino, start;
    char end[32];
    if (strncmp(line, "lock:", 5) || !p)
        return false;
    if (sscanf(p, "OFDLCK %*s %*s %*s %x:%x:%llu %llu %31s", &major_no, &minor_no, &ino, &start, end) != 5)
        return false;
    unsigned long long last = strcmp(end, "EOF") ? strtoull(end, NULL, 10) : ULLONG_MAX;
    return ino == st->st_ino && start <= (unsigned long long)byte && (unsigned long long)byte <= last;
}

static bool process_holds(const char *pid, const struct stat *st, off_t byte)
{
    char path[PATH_MAX], line[256];
    bool found = false;
    snprintf(path, sizeof(path), "/proc/%s/fdinfo", pid);
    DIR *d = opendir(path);
    if (!d)
        return false;
    for (struct dirent *e; !found && (e = readdir(d));) {
        if (!isdigit((unsigned char)e->d_name[0]))
            continue;
        snprintf(path, sizeof(path), "/proc/%s/fdinfo/%s", pid, e->d_name);
        FILE *f = fopen(path, "re");
        if (!f)
            continue;
        while (!found && fgets(line, sizeof(line), f))
            found = line_matches(line, st, byte);
        fclose(f);
    }
    closedir(d);
    return found;
}

/* "process 123 (qemu-system-x86)", or "another process". */
static void holder_describe(int fd, off_t byte, char *out, size_t size)
{
    struct stat st;
    DIR *d = fstat(fd, &st) ? NULL : opendir("/proc");
    snprintf(out, size, "another process");
    for (struct dirent *e; d && (e = readdir(d));) {
        if (!isdigit((unsigned char)e->d_name[0]) || atoi(e->d_name) == getpid())
            continue;
        if (!process_holds(e->d_name, &st, byte))
            continue;
        char path[64], comm[64] = "";
        snprintf(path, sizeof(path), "/proc/%.20s/comm", e->d_name);
        FILE *f = fopen(path, "re");
        if (f && fgets(comm, sizeof(comm), f))
            comm[strcspn(comm, "\n")] = 0;
        if (f)
            fclose(f);
        snprintf(out, size, "process %.20s (%s)", e->d_name, comm);
        break;
    }
    if (d)
        closedir(d);
}

static int refuse(int fd, const char *filename, off_t byte, bool readonly, struct error *err)
{
    char holder[128];
    holder_describe(fd, byte, holder, sizeof(holder));
    for (int i = 0; i < PERMS; i++) {
        lock_byte(fd, F_UNLCK, LOCK_USED_BASE + i);
        lock_byte(fd, F_UNLCK, LOCK_UNSHARED_BASE + i);
    }
    if (readonly)
        return error_set(err, "cannot open '%s': %s has it open for writing; stop it first", filename, holder);
    return error_set(err, "cannot open '%s' for writing: %s is using it; stop it, or use snapshot=on or readonly=on "
                     "if the other one only reads", filename, holder);
}

int block_lock_take(int fd, const char *filename, const struct block_file_options *o, struct error *err)
{
    const unsigned writer = 1u << PERM_WRITE | 1u << PERM_RESIZE;
    bool readonly = o->readonly;
    unsigned used = 1u << PERM_CONSISTENT_READ | (readonly ? 0 : o->share_writes ? 1u << PERM_WRITE : writer);
    unsigned unshared = o->force_share ? 0 : o->share_writes ? 1u << PERM_RESIZE : writer;

    for (int i = 0; i < PERMS; i++) {
        int r = 0;
        if (used >> i & 1)
            r = lock_byte(fd, F_RDLCK, LOCK_USED_BASE + i);
        if (!r && unshared >> i & 1)
            r = lock_byte(fd, F_RDLCK, LOCK_UNSHARED_BASE + i);
        if (r == -EAGAIN || r == -EACCES)
            return refuse(fd, filename, LOCK_USED_BASE + i, readonly, err);
        if (r)
            return 0;               /* a file system without locks */
    }
    for (int i = 0; i < PERMS; i++) {
        if (used >> i & 1 && byte_is_held_by_others(fd, LOCK_UNSHARED_BASE + i))
            return refuse(fd, filename, LOCK_UNSHARED_BASE + i, readonly, err);
        if (unshared >> i & 1 && byte_is_held_by_others(fd, LOCK_USED_BASE + i))
            return refuse(fd, filename, LOCK_USED_BASE + i, readonly, err);
    }
    return 0;
}

void block_lock_share(int fd)
{
    lock_byte(fd, F_UNLCK, LOCK_UNSHARED_BASE + PERM_WRITE);
    lock_byte(fd, F_UNLCK, LOCK_USED_BASE + PERM_RESIZE);
}

int block_lock_upgrade(int fd, const char *filename, struct error *err)
{
    static const int perms[] = { PERM_WRITE, PERM_RESIZE };
    char holder[128];

    for (unsigned i = 0; i < 2; i++)
        if (lock_byte(fd, F_RDLCK, LOCK_USED_BASE + perms[i]))
            return 0;               /* a file system without locks */
    for (unsigned i = 0; i < 2; i++) {
        if (!byte_is_held_by_others(fd, LOCK_UNSHARED_BASE + perms[i]) && !byte_is_held_by_others(fd, LOCK_USED_BASE + perms[i]))
            continue;
        holder_describe(fd, LOCK_UNSHARED_BASE + perms[i], holder, sizeof(holder));
        block_lock_downgrade(fd);
        return error_set(err, "cannot write '%s': %s is using it, perhaps as a backing file; stop it first", filename, holder);
    }
    return 0;
}

void block_lock_downgrade(int fd)
{
    lock_byte(fd, F_UNLCK, LOCK_USED_BASE + PERM_WRITE);
    lock_byte(fd, F_UNLCK, LOCK_USED_BASE + PERM_RESIZE);
}
