/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Cuts a stream of bytes into JSON texts, with bounds on their length and depth. */
#ifndef MONITOR_QMP_FRAME_H
#define MONITOR_QMP_FRAME_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum { QMP_TEXT_MAX = 256 * 1024, QMP_DEPTH_MAX = 512 };

struct qmp_frame {
    char *text;                        /* NUL-terminated once it is complete */
    size_t used, room;
    unsigned depth;
    uint8_t is_array[QMP_DEPTH_MAX / 8];       /* a bit a level: '[' or '{' opened it */
    char quote;                        /* the string that it is in began with it; 0: none */
    bool escaped, skipping;
    const char *problem;               /* skipping: why */
};

/* MORE: go on. TEXT: f->text has one, until the next byte is pushed. BAD: *why says what was wrong with the one that ended here. */
enum qmp_frame_result { QMP_FRAME_MORE, QMP_FRAME_TEXT, QMP_FRAME_BAD };
enum qmp_frame_result qmp_frame_push(struct qmp_frame *f, char byte, const char **why);
void qmp_frame_reset(struct qmp_frame *f);
void qmp_frame_free(struct qmp_frame *f);

#endif
