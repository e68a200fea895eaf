/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The command lines of 'ospite mount' and 'ospite umount'. */
#ifndef TOOL_MOUNT_OPTIONS_H
#define TOOL_MOUNT_OPTIONS_H

#include <stdbool.h>

#include "block/block.h"

struct error;

struct mount_options {
    bool help, version, unmounts;
    bool readonly, snapshot, foreground, allow_other, allow_root, keep_discards;
    const char *image, *directory, *format, *pid_file;
    enum block_cache cache;
};
/* 0, or -1 with *err. argv[0] is "mount" or "umount". */
int mount_options_parse(struct mount_options *o, int argc, char **argv, struct error *err);
void mount_options_help(const struct mount_options *o);

#endif
