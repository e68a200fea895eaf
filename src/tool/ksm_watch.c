/* SPDX-License-Identifier: GPL-2.0-or-later */
/* 'ospite ksm --watch': the state, and a chart of what was saved in the last minute, drawn anew each time. */
#include <stdio.h>
#include <stdlib.h>
#include <time.h>
#include <unistd.h>

#include "base/bits.h"
#include "tool/ksm_private.h"

enum { COLUMNS = 60, ROWS = 6, EIGHTHS = 8 };

struct history { uint64_t saved_bytes[COLUMNS]; unsigned count; };

static void history_add(struct history *h, uint64_t bytes)
{
    if (h->count == COLUMNS) memmove(h->saved_bytes, h->saved_bytes + 1, (COLUMNS - 1) * sizeof(h->saved_bytes[0]));
    else h->count++;
    h->saved_bytes[h->count - 1] = bytes;
}

static void chart_print(struct doctor *d, const struct history *h)
{
    static const char *const blocks[EIGHTHS + 1] = { " ", "▁", "▂", "▃", "▄", "▅", "▆", "▇", "█" };
    uint64_t most = KSM_PAGE_BYTES;

    for (unsigned i = 0; i < h->count; i++) most = MAX(most, h->saved_bytes[i]);
    for (int row = ROWS - 1; row >= 0; row--) {
        printf("%9s |", row == ROWS - 1 ? host_size(d, most) : row == 0 ? "0" : "");
        for (unsigned i = 0; i < h->count; i++) {
            int height = (int)((double)h->saved_bytes[i] / (double)most * ROWS * EIGHTHS + 0.5) - row * EIGHTHS;

            fputs(blocks[height < 0 ? 0 : height > EIGHTHS ? EIGHTHS : height], stdout);
        }
        putchar('\n');
    }
    printf("%9s +saved, the latest on the right\n", "");
}

int ksm_watch(const char *root, bool json, double interval_s, unsigned count)
{
    struct timespec pause = { (time_t)interval_s, (long)((interval_s - (double)(time_t)interval_s) * 1e9) };
    struct history h = { .count = 0 };
    bool is_terminal = isatty(STDOUT_FILENO);

    for (unsigned n = 0; !count || n < count; n++) {
        struct doctor d = { .root = root, .arena = arena_new() };
        struct ksm_state s;

        ksm_state_read(&d, &s);
        history_add(&h, (s.sharing + s.zero_pages) * KSM_PAGE_BYTES);
        if (json) ksm_state_json(&s);
        else {
            if (is_terminal) fputs("\033[H\033[J", stdout);
            ksm_state_print(&d, &s);
            chart_print(&d, &h);
        }
        arena_free(d.arena);
        if (fflush(stdout)) return 1;
        if (n + 1 != count) nanosleep(&pause, NULL);
    }
    return 0;
}
