/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * 'ospite mount': opens the image, mounts it (mount_fs.c) and serves it in the background until it is unmounted. The
 * starter returns when the files are there, or with the reason why not.
 *
 * When the last write has been stored, or could not be, that is written to a memory file which 'ospite umount' has open
 * by then (umount.c).
 */
#include "tool/mount.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/error.h"
#include "base/log.h"
#include "tool/daemon.h"
#include "tool/mount_fs.h"
#include "tool/mount_options.h"
#include "tool/version.h"

struct running {
    struct mount_options o;
    char directory[PATH_MAX], pid_path[PATH_MAX];
    struct block_node *node;
    struct mount_fs *fs;
    int report_fd, background_fd;
};

static int directory_check(struct running *u, struct error *err)
{
    static const char dead[] = "a server that died is still mounted there; run 'ospite umount' on it";
    struct stat st;
    if (!realpath(u->o.directory, u->directory))
        return error_set(err, "cannot mount on '%s': %s%s", u->o.directory, errno == ENOTCONN ? dead : strerror(errno),
                         errno == ENOENT ? "; make the directory first" : "");
    if (stat(u->directory, &st))
        return error_set(err, "cannot mount on '%s': %s", u->o.directory, errno == ENOTCONN ? dead : strerror(errno));
    return S_ISDIR(st.st_mode) ? 0 : error_set(err, "cannot mount on '%s': it is no directory", u->o.directory);
}

/* What libfuse would only tell on stderr, in its own words. */
static int fuse_check(struct error *err)
{
    int fd = open("/dev/fuse", O_RDWR | O_CLOEXEC);
    if (fd < 0)
        return error_set(err, "cannot open '/dev/fuse': %s; %s", strerror(errno), errno == EACCES || errno == EPERM ?
                         "this user or container may not use FUSE" :
                         "run 'modprobe fuse' as root, or give the container that device");
    close(fd);
    if (geteuid() && access("/usr/bin/fusermount3", X_OK) && access("/bin/fusermount3", X_OK))
        return error_set(err, "an ordinary user needs 'fusermount3' to mount: install the package fuse3");
    return 0;
}

static int image_open(struct running *u, struct error *err)
{
    const struct mount_options *o = &u->o;
    const struct block_open_options b = {
        .filename = o->image_options ? NULL : o->image, .options = o->image_options ? &o->options : NULL,
        .objects = secrets_objects(&u->o.secrets), .format = o->format, .readonly = o->readonly && !o->snapshot, .snapshot = o->snapshot,
        .cache = o->cache, .discard = !o->keep_discards,
    };
    u->node = block_open(&b, err);
    if (!u->node)
        return -1;
    if (!o->format && !o->image_options && !strcmp(block_format_name(u->node), "raw") && !o->readonly)
        log_message("'%s' looks like a raw image; writes that would make it look like another format are refused. Give "
                    "-f raw to allow them", o->image);
    return 0;
}

static int report_open(struct running *u, struct error *err)
{
    u->report_fd = memfd_create(MOUNT_FS_REPORT_NAME, MFD_CLOEXEC);
    return u->report_fd < 0 ? error_set(err, "memfd_create: %s", strerror(errno)) : 0;
}

static int serve(struct running *u, struct error *err)
{
    if (directory_check(u, err) || fuse_check(err))
        return -1;
    if (!u->o.foreground && (u->background_fd = daemon_begin(err)) < 0)
        return -1;
    if (report_open(u, err) || image_open(u, err))
        return -1;
    const struct mount_fs_options f = {
        .node = u->node, .source = u->o.image, .directory = u->directory, .report_fd = u->report_fd,
        .readonly = block_is_readonly(u->node) || (u->o.readonly && u->o.snapshot), .allow_other = u->o.allow_other,
        .allow_root = u->o.allow_root,
    };
    if (!(u->fs = mount_fs_new(&f, err)))
        return -1;
    if (u->o.pid_file) {
        if (pidfile_write(u->o.pid_file, err))
            return -1;
        if (!realpath(u->o.pid_file, u->pid_path))
            *u->pid_path = 0;
    }
    if (u->background_fd >= 0 && daemon_ready(u->background_fd, err))
        return -1;
    /* Memory that is short must not make the kernel wait for us while we wait for it; only root may say so. */
    prctl(PR_SET_IO_FLUSHER, 1, 0, 0, 0);
    return mount_fs_run(u->fs, err);
}

/* Unmounts (if nobody has), closes the image, and tells whether everything has been stored. */
static int finish(struct running *u, struct error *err)
{
    mount_fs_free(u->fs);
    int r = u->node && !block_is_readonly(u->node) ? block_flush_sync(u->node) : 0;
    block_close(u->node);
    if (*u->pid_path)
        unlink(u->pid_path);
    if (r)
        error_set(err, "'%s': the last writes could not be stored: %s", u->o.image, strerror(-r));
    if (u->report_fd >= 0 && dprintf(u->report_fd, "%s", r ? err->text : MOUNT_FS_REPORT_OK) < 0)
        log_message("mount: the report: %s", strerror(errno));
    return r ? -1 : 0;
}

int mount_tool_run(int argc, char **argv)
{
    struct running u = { .report_fd = -1, .background_fd = -1 };
    struct error err = { "unknown error" }, last;
    process_prepare(NULL);
    int r = mount_options_parse(&u.o, argc, argv, &err);
    if (!r && u.o.help)
        mount_options_help(&u.o);
    else if (!r && u.o.version)
        version_print("ospite-mount");
    else if (!r)
        r = serve(&u, &err);
    if (r)
        log_message("mount: %s", err.text);
    if (finish(&u, &last)) {
        log_message("mount: %s", last.text);
        r = -1;
    }
    mount_options_free(&u.o);
    return r ? 1 : 0;
}
