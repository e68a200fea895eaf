/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * A FUSE file system with one directory: the file "disk", which is a node's whole disk, and a file "pN" for each of its
 * partitions. libfuse's own messages are dropped; what failed is told here.
 */
#ifndef TOOL_MOUNT_FS_H
#define TOOL_MOUNT_FS_H

#include <stdbool.h>

struct block_node;
struct error;
struct mount_fs;

/* Extended attribute of the directory: "PID FD" of who serves it, FD being the report's descriptor in that process. */
#define MOUNT_FS_SERVER_ATTRIBUTE "user.ospite.server"
#define MOUNT_FS_REPORT_NAME "ospite-mount"     /* of the memory file that the report is */
#define MOUNT_FS_REPORT_OK "closed\n"           /* anything else: what could not be stored */

struct mount_fs_options {
    struct block_node *node;        /* stays the caller's, to be closed after mount_fs_free */
    const char *source;             /* what stands as device in /proc/mounts */
    const char *directory;          /* an absolute path */
    bool readonly, allow_other, allow_root;
    int report_fd;
};
/* Mounts it: from now on who looks into the directory waits for mount_fs_run. NULL with *err. */
struct mount_fs *mount_fs_new(const struct mount_fs_options *o, struct error *err);
/* Serves until it is unmounted, or SIGTERM, SIGINT or SIGHUP comes. 0, or -1 with *err. */
int mount_fs_run(struct mount_fs *m, struct error *err);
void mount_fs_free(struct mount_fs *m);

#endif
