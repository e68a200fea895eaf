/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * A text is complete when the bracket that began it is closed, as in QEMU: line ends mean nothing. They do inside of a string, where JSON
 * has none: it ends there as an error, so that a quotation mark too many does not swallow the lines that follow. What is longer or
 * deeper than allowed is read to its end without being kept. QEMU's 'single quotes' become "double" ones here.
 */
#include "monitor/qmp_frame.h"

#include <stdlib.h>
#include <string.h>

#include "base/bits.h"

enum { FIRST_ROOM = 256 };

void qmp_frame_reset(struct qmp_frame *f)
{
    char *text = f->room <= FIRST_ROOM ? f->text : NULL;
    size_t room = text ? f->room : 0;

    if (!text) free(f->text);
    *f = (struct qmp_frame){ .text = text, .room = room };
}

void qmp_frame_free(struct qmp_frame *f)
{
    free(f->text);
    *f = (struct qmp_frame){ 0 };
}

static void skip(struct qmp_frame *f, const char *problem)
{
    f->skipping = true;
    f->problem = problem;
}

static void keep(struct qmp_frame *f, char byte)
{
    if (f->skipping) return;
    if (f->used + 1 >= f->room) {
        size_t room = f->room ? 2 * f->room : FIRST_ROOM;
        char *text = room <= QMP_TEXT_MAX ? realloc(f->text, room) : NULL;

        if (!text) {
            skip(f, room <= QMP_TEXT_MAX ? "out of memory" : "the text is longer than 256 KiB");
            return;
        }
        f->text = text;
        f->room = room;
    }
    f->text[f->used++] = byte;
}

static enum qmp_frame_result ended(struct qmp_frame *f, const char **why)
{
    keep(f, 0);
    if (!f->skipping) return QMP_FRAME_TEXT;
    *why = f->problem;
    return QMP_FRAME_BAD;
}

static enum qmp_frame_result bad(struct qmp_frame *f, const char *problem, const char **why)
{
    *why = f->skipping ? f->problem : problem;
    return QMP_FRAME_BAD;
}

static enum qmp_frame_result in_string(struct qmp_frame *f, char byte, const char **why)
{
    if ((uint8_t)byte < ' ') return bad(f, "a control character or line end in a string", why);
    if (f->escaped) {
        f->escaped = false;
        if (byte != '\'') keep(f, '\\');
        keep(f, byte);
        return QMP_FRAME_MORE;
    }
    if (byte == '\\') f->escaped = true;
    else if (byte == f->quote) {
        f->quote = 0;
        keep(f, '"');
        if (!f->depth) return ended(f, why);
    } else {
        if (byte == '"') keep(f, '\\');
        keep(f, byte);
    }
    return QMP_FRAME_MORE;
}

static void opened(struct qmp_frame *f, char byte)
{
    if (f->depth < QMP_DEPTH_MAX) {
        f->is_array[f->depth / 8] &= ~(1u << f->depth % 8);
        f->is_array[f->depth / 8] |= (byte == '[') << f->depth % 8;
    } else skip(f, "more than 512 levels");
    f->depth++;
    keep(f, byte);
}

static enum qmp_frame_result closed(struct qmp_frame *f, char byte, const char **why)
{
    if (!f->depth) return bad(f, "a bracket too many", why);
    f->depth--;
    if (f->depth < QMP_DEPTH_MAX && (f->is_array[f->depth / 8] >> f->depth % 8 & 1) != (byte == ']'))
        return bad(f, "brackets that do not match", why);
    keep(f, byte);
    return f->depth ? QMP_FRAME_MORE : ended(f, why);
}

static enum qmp_frame_result push(struct qmp_frame *f, char byte, const char **why)
{
    if (f->quote) return in_string(f, byte, why);
    switch (byte) {
    case '{': case '[': opened(f, byte); return QMP_FRAME_MORE;
    case '}': case ']': return closed(f, byte, why);
    case '"': case '\'':
        f->quote = byte;
        keep(f, '"');
        return QMP_FRAME_MORE;
    case ' ': case '\t': case '\r': case '\n':
        if (!f->depth) return f->used || f->skipping ? ended(f, why) : QMP_FRAME_MORE;
        break;
    default:
        if ((uint8_t)byte < ' ') return bad(f, "a control character", why);
    }
    keep(f, byte);
    return QMP_FRAME_MORE;
}

enum qmp_frame_result qmp_frame_push(struct qmp_frame *f, char byte, const char **why)
{
    enum qmp_frame_result r;

    if (f->used && !f->text[f->used - 1]) qmp_frame_reset(f);    /* what was handed out is done with */
    r = push(f, byte, why);
    if (r == QMP_FRAME_BAD) qmp_frame_reset(f);
    return r;
}
