/* SPDX-License-Identifier: GPL-2.0-or-later */
/* -p: a bar on a terminal; elsewhere a line every two seconds, so that logs of short work stay empty. */
#include "tool/img/img_private.h"

#include <string.h>
#include <unistd.h>

#include "base/clock.h"

#define LINE_EVERY_NS (2 * NS_PER_SECOND)
#define DRAW_EVERY_NS (NS_PER_SECOND / 10)
enum { BAR = 40 };

static void report(struct block_progress *p, uint64_t done, uint64_t total)
{
    img_progress_report(container_of(p, struct img_progress, p), done, total);
}

void img_progress_begin(struct img_progress *p, const struct img_common *c)
{
    *p = (struct img_progress){ .p = { report }, .on = c->progress && !c->quiet, .terminal = isatty(STDOUT_FILENO) };
    p->started_ns = p->said_ns = clock_host_ns();
}

static void show(struct img_progress *p)
{
    char bar[BAR + 1];
    memset(bar, ' ', BAR);
    memset(bar, '=', p->permille * BAR / 1000);
    bar[BAR] = 0;
    p->shown = true;
    if (p->terminal)
        printf("\r[%s] %5.1f%%", bar, p->permille / 10.0);
    else
        printf("%5.1f%% after %lld s\n", p->permille / 10.0,
               (long long)((clock_host_ns() - p->started_ns) / NS_PER_SECOND));
    fflush(stdout);
}

void img_progress_report(struct img_progress *p, uint64_t done, uint64_t total)
{
    int64_t now;
    if (!p->on || !total)
        return;
    p->permille = done >= total ? 1000 : (unsigned)((double)done / (double)total * 1000);
    now = clock_host_ns();
    if (now - p->said_ns < (p->terminal ? DRAW_EVERY_NS : LINE_EVERY_NS))
        return;
    p->said_ns = now;
    show(p);
}

void img_progress_end(struct img_progress *p, bool complete)
{
    if (!p->on)
        return;
    if (complete && (p->terminal || p->shown)) {
        p->permille = 1000;
        show(p);
    }
    if (p->terminal && p->shown)
        printf("\n");
}
