/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * How many descriptors a share may have. Each fid costs one, each open file another, and guests keep thousands. The rest of the process must not miss
 * them: its limit grows by what shares get, and so all others keep what they had before. Where the hard limit forbids that, a share gets what can be
 * raised, but at least half of what is left for others, and where that is next to nothing, no share can be made.
 */
#include <sys/resource.h>

#include "p9/server_private.h"

enum { LEFT_LEAST = 64 };

/* Shares are made and freed with the machine lock held. */
static rlim_t others;                  /* the limit before the first share */
static unsigned given;

static void limit_raise(struct rlimit *limit, rlim_t wanted)
{
    struct rlimit more = { MIN(wanted, limit->rlim_max), limit->rlim_max };

    if (more.rlim_cur > limit->rlim_cur && setrlimit(RLIMIT_NOFILE, &more) == 0) *limit = more;
}

unsigned p9_descriptors_take(void)
{
    struct rlimit limit;
    rlim_t left;
    unsigned n;

    if (getrlimit(RLIMIT_NOFILE, &limit) < 0) return 0;
    if (!others) others = limit.rlim_cur;
    limit_raise(&limit, others + given + P9_DESCRIPTORS_MAX);
    left = limit.rlim_cur > given ? limit.rlim_cur - given : 0;
    if (left < LEFT_LEAST) return 0;
    n = (unsigned)MIN(MAX(left > others ? left - others : 0, left / 2), (rlim_t)P9_DESCRIPTORS_MAX);
    given += n;
    return n;
}

void p9_descriptors_give_back(unsigned n) { given -= n; }
