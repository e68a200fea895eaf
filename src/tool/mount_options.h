/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The command lines of 'ospite mount' and 'ospite umount'. */
#ifndef TOOL_MOUNT_OPTIONS_H
#define TOOL_MOUNT_OPTIONS_H

#include <stdbool.h>

#include "block/block.h"
#include "block/option.h"
#include "tool/secrets.h"

struct error;

struct mount_options {
    bool help, version, unmounts;
    bool readonly, snapshot, foreground, allow_other, allow_root, keep_discards;
    const char *image, *directory, *format, *pid_file;
    enum block_cache cache;
    bool image_options;
    struct block_option_set options;    /* then, instead of image and format */
    struct secrets secrets;
    struct arena *arena;
};
/* 0, or -1 with *err. argv[0] is "mount" or "umount". */
int mount_options_parse(struct mount_options *o, int argc, char **argv, struct error *err);
void mount_options_free(struct mount_options *o);
void mount_options_help(const struct mount_options *o);

#endif
