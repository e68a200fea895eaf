/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * 'ospite umount': unmounts and returns when the image is closed. The kernel lets go of a FUSE file system without waiting
 * for who serves it, so the server is looked up first, by an attribute of the directory, and its report (mount.c) opened;
 * its end is what is waited for. A directory that is in use is left alone, and who uses it is named, as far as /proc and
 * /sys show it. Sources: umount(2), pidfd_open(2), proc(5), the loop driver's files in /sys/block.
 */
#include "tool/mount.h"

#include <ctype.h>
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <poll.h>
#include <spawn.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/pidfd.h>
#include <sys/wait.h>
#include <sys/xattr.h>
#include <unistd.h>

#include "base/error.h"
#include "base/log.h"
#include "tool/mount_fs.h"
#include "tool/mount_options.h"
#include "tool/version.h"

extern char **environ;

struct server {
    long pid;
    int pid_fd, report_fd;
};

static bool is_inside(const char *path, const char *directory)
{
    size_t n = strlen(directory);
    return !strncmp(path, directory, n) && (path[n] == '/' || !path[n]);
}

/* Where a device is mounted, for people: "; run 'umount /mnt' first". */
static void mount_point_find(const char *device, char *out, size_t room)
{
    FILE *f = fopen("/proc/self/mounts", "re");
    char line[2 * PATH_MAX], source[PATH_MAX], where[PATH_MAX];
    snprintf(out, room, "run 'losetup -d %s' first", device);
    while (f && fgets(line, sizeof(line), f))
        if (sscanf(line, "%4095s %4095s", source, where) == 2 && !strcmp(source, device))
            snprintf(out, room, "run 'umount %.200s' first", where);
    if (f)
        fclose(f);
}

static bool loop_find(const char *directory, char *out, size_t room)
{
    DIR *d = opendir("/sys/block");
    bool found = false;
    for (struct dirent *e; d && !found && (e = readdir(d));) {
        char path[PATH_MAX], file[PATH_MAX] = "", advice[400], device[280];
        snprintf(path, sizeof(path), "/sys/block/%s/loop/backing_file", e->d_name);
        FILE *f = strncmp(e->d_name, "loop", 4) ? NULL : fopen(path, "re");
        if (f && fgets(file, sizeof(file), f))
            file[strcspn(file, "\n")] = 0;
        if (f)
            fclose(f);
        if (!*file || !is_inside(file, directory))
            continue;
        snprintf(device, sizeof(device), "/dev/%s", e->d_name);
        mount_point_find(device, advice, sizeof(advice));
        snprintf(out, room, "%s has '%.200s'; %s", device, file, advice);
        found = true;
    }
    if (d)
        closedir(d);
    return found;
}

static bool link_is_inside(const char *path, const char *directory)
{
    char target[PATH_MAX];
    ssize_t n = readlink(path, target, sizeof(target) - 1);
    if (n < 0)
        return false;
    target[n] = 0;
    return is_inside(target, directory);
}

static bool process_uses(const char *pid, const char *directory)
{
    char path[64 + NAME_MAX];
    snprintf(path, sizeof(path), "/proc/%s/cwd", pid);
    bool found = link_is_inside(path, directory);
    snprintf(path, sizeof(path), "/proc/%s/fd", pid);
    DIR *d = opendir(path);
    for (struct dirent *e; d && !found && (e = readdir(d));) {
        snprintf(path, sizeof(path), "/proc/%.20s/fd/%s", pid, e->d_name);
        found = link_is_inside(path, directory);
    }
    if (d)
        closedir(d);
    return found;
}

static void user_describe(const char *directory, char *out, size_t room)
{
    snprintf(out, room, "somebody uses it; 'fuser -vm' names who");
    if (loop_find(directory, out, room))
        return;
    DIR *d = opendir("/proc");
    for (struct dirent *e; d && (e = readdir(d));) {
        char path[64], name[64] = "";
        if (!isdigit((unsigned char)e->d_name[0]) || atol(e->d_name) == getpid() || !process_uses(e->d_name, directory))
            continue;
        snprintf(path, sizeof(path), "/proc/%.20s/comm", e->d_name);
        FILE *f = fopen(path, "re");
        if (f && fgets(name, sizeof(name), f))
            name[strcspn(name, "\n")] = 0;
        if (f)
            fclose(f);
        snprintf(out, room, "process %.20s (%s) uses it; end it first", e->d_name, name);
        break;
    }
    if (d)
        closedir(d);
}

/* 1: found; 0: what is mounted there has no server any more; -1 with *err. */
static int server_find(const char *directory, struct server *s, struct error *err)
{
    char value[64], path[64], target[64];
    int fd;
    ssize_t n = getxattr(directory, MOUNT_FS_SERVER_ATTRIBUTE, value, sizeof(value) - 1);
    if (n < 0 && (errno == ENOTCONN || errno == ECONNABORTED))
        return 0;
    if (n < 0)
        return error_set(err, errno == EACCES ? "'%s' is mounted by another user" : "'%s' is no directory that 'ospite "
                         "mount' serves", directory);
    value[n] = 0;
    if (sscanf(value, "%ld %d", &s->pid, &fd) != 2)
        return error_set(err, "'%s': its server cannot be found", directory);
    s->pid_fd = pidfd_open((pid_t)s->pid, 0);
    snprintf(path, sizeof(path), "/proc/%ld/fd/%d", s->pid, fd);
    n = readlink(path, target, sizeof(target) - 1);
    target[n < 0 ? 0 : n] = 0;
    if (s->pid_fd < 0 || !strstr(target, "memfd:" MOUNT_FS_REPORT_NAME) || (s->report_fd = open(path, O_RDONLY | O_CLOEXEC)) < 0)
        return error_set(err, "'%s': cannot reach its server, process %ld; it runs as another user or in another "
                         "container: run 'ospite umount' there", directory, s->pid);
    return 1;
}

/* So that errors are known while the files are still there. */
static int flush(const char *directory, struct error *err)
{
    char path[PATH_MAX + 8];
    snprintf(path, sizeof(path), "%s/disk", directory);
    int fd = open(path, O_RDONLY | O_CLOEXEC), r = fd >= 0 && fsync(fd) ? -errno : 0;
    if (fd >= 0)
        close(fd);
    return r ? error_set(err, "'%s': what was written could not be stored: %s", directory, strerror(-r)) : 0;
}

static int unmount(const char *directory, struct error *err)
{
    if (!umount2(directory, UMOUNT_NOFOLLOW))
        return 0;
    if (errno == EPERM) {
        char *const argv[] = { "fusermount3", "-u", "-q", "--", (char *)(uintptr_t)directory, NULL };
        pid_t child;
        int status;
        int r = posix_spawnp(&child, argv[0], NULL, NULL, argv, environ);
        if (r)
            return error_set(err, "cannot run 'fusermount3': %s; install the package fuse3", strerror(r));
        if (waitpid(child, &status, 0) == child && WIFEXITED(status) && !WEXITSTATUS(status))
            return 0;
        errno = EBUSY;
    }
    if (errno == EBUSY) {
        char user[900];
        user_describe(directory, user, sizeof(user));
        return error_set(err, "cannot unmount '%s': %s", directory, user);
    }
    return error_set(err, "cannot unmount '%s': %s", directory, strerror(errno));
}

static int server_wait(const char *directory, struct server *s, struct error *err)
{
    struct pollfd p = { .fd = s->pid_fd, .events = POLLIN };
    char text[sizeof(err->text)];
    while (poll(&p, 1, -1) < 0 && errno == EINTR)
        ;
    ssize_t n = pread(s->report_fd, text, sizeof(text) - 1, 0);
    text[n < 0 ? 0 : n] = 0;
    if (!strcmp(text, MOUNT_FS_REPORT_OK))
        return 0;
    if (*text)
        return error_set(err, "%s", text);
    return error_set(err, "'%s': its server, process %ld, ended without closing the image; check the image", directory,
                     s->pid);
}

static int run(const char *name, struct error *err)
{
    struct server s = { .pid_fd = -1, .report_fd = -1 };
    struct error lost = { "" };
    char directory[PATH_MAX];
    /* A dead mount has no real path; its name as given must do. */
    if (!realpath(name, directory)) {
        if (errno != ENOTCONN && errno != ECONNABORTED)
            return error_set(err, "cannot unmount '%s': %s", name, strerror(errno));
        snprintf(directory, sizeof(directory), "%s", name);
    }
    int found = server_find(directory, &s, err);
    if (found < 0)
        return -1;
    int stored = found ? flush(directory, &lost) : 0;
    int r = unmount(directory, err);
    if (!r && found)
        r = server_wait(directory, &s, err);
    else if (!r)
        log_message("umount: the server of '%s' had died; its image was not closed: check it", name);
    if (!r && stored) {
        *err = lost;
        r = -1;
    }
    return r;
}

int umount_tool_run(int argc, char **argv)
{
    struct mount_options o;
    struct error err = { "unknown error" };
    int r = mount_options_parse(&o, argc, argv, &err);
    if (!r && o.help)
        mount_options_help(&o);
    else if (!r && o.version)
        version_print("ospite-mount");
    else if (!r)
        r = run(o.directory, &err);
    if (r)
        log_message("umount: %s", err.text);
    mount_options_free(&o);
    return r ? 1 : 0;
}
