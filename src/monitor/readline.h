/* SPDX-License-Identifier: GPL-2.0-or-later */
/* A small line editor for terminals: cursor keys, history, completion of the first word. No I/O of its own. */
#ifndef MONITOR_READLINE_H
#define MONITOR_READLINE_H

#include <stdbool.h>
#include <stddef.h>

enum { READLINE_BYTES = 1024, READLINE_HISTORY = 64 };

struct readline {
    const char *prompt;
    void (*write)(void *opaque, const char *text, size_t size);
    void (*line)(void *opaque, const char *line);             /* Enter was pressed */
    /* Name number i that a line may begin with; NULL: no more. */
    const char *(*name)(void *opaque, unsigned i);
    void *opaque;
    bool edit;                         /* false: no echo, no keys; for pipes and sockets */
    char text[READLINE_BYTES];
    size_t length, cursor;
    char *history[READLINE_HISTORY];
    unsigned history_count, history_at;
    char saved[READLINE_BYTES];        /* the new line, while an old one is shown */
    int escape;                        /* inside an escape sequence */
};

void readline_prompt(struct readline *r);
void readline_byte(struct readline *r, unsigned char byte);
/* Shows the prompt and what is typed so far again, after other output. */
void readline_redraw(struct readline *r);
void readline_free(struct readline *r);

#endif
