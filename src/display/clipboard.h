/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Text that the guest and its viewers share: whoever copied last has it. Main thread or machine lock. */
#ifndef DISPLAY_CLIPBOARD_H
#define DISPLAY_CLIPBOARD_H

#include <stdbool.h>
#include <stddef.h>

struct clipboard;

enum { CLIPBOARD_MAX = 1 << 20 };

struct clipboard_user {
    void (*changed)(void *opaque, const void *by);     /* by is not to be told what it said itself */
    void *opaque;
    struct clipboard_user *next;
};
struct clipboard *clipboard_new(void);
void clipboard_free(struct clipboard *c);
/* u stays the caller's. */
void clipboard_user_add(struct clipboard *c, struct clipboard_user *u);
void clipboard_user_remove(struct clipboard *c, struct clipboard_user *u);
/* UTF-8; CR-LF becomes LF, what is no UTF-8 question marks, and it ends at a NUL. More than CLIPBOARD_MAX bytes change nothing. */
void clipboard_set(struct clipboard *c, const void *by, const char *text, size_t size);
/* "" before the first. */
const char *clipboard_text(const struct clipboard *c, size_t *size);

#endif
