/* SPDX-License-Identifier: GPL-2.0-or-later */
/* --image-opts: an image as key=value items instead of a name. */
#ifndef TOOL_IMAGE_OPTIONS_H
#define TOOL_IMAGE_OPTIONS_H

#include "block/option.h"
#include "tool/option_list.h"

struct error;

/* For block_open_options.options; the texts live in the arena. 0, or -1 with *err. */
int image_options_parse(struct arena *arena, const char *text, struct block_option_set *set, struct error *err);
/* The file that they name, for messages; text itself when they name none. */
const char *image_options_name(const struct block_option_set *set, const char *text);

/* An internal snapshot as qemu's tools name it: "snapshot.id=1,snapshot.name=x", or just the one. NULL with *err. */
const char *image_snapshot_name(struct arena *arena, const char *text, struct error *err);

#endif
