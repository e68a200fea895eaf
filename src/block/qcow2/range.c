/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Requests that touch the same clusters wait for each other: reads and writes in place share a cluster,
 * whatever changes where a cluster lies has it alone. All who wait and hold are in one list in order of
 * arrival, and nobody overtakes one with whom he conflicts: no deadlock (a request holds one range), no
 * starvation.
 */
#include "block/qcow2/qcow2_private.h"

static bool must_wait(const struct qcow2 *q, const struct qcow2_range *r)
{
    for (const struct qcow2_range *o = q->ranges; o != r; o = o->next)
        if ((o->exclusive || r->exclusive) && o->start < r->end && r->start < o->end)
            return true;
    return false;
}

static void range_queue(struct qcow2 *q, struct qcow2_range *r, uint64_t offset, uint64_t length, bool exclusive)
{
    struct qcow2_range **last = &q->ranges;
    *r = (struct qcow2_range){ .start = offset >> q->cluster_bits, .end = (offset + length + q->cluster_size - 1) >> q->cluster_bits,
                               .exclusive = exclusive };
    while (*last)
        last = &(*last)->next;
    *last = r;
}

static void range_remove(struct qcow2 *q, struct qcow2_range *r)
{
    struct qcow2_range **p = &q->ranges;
    while (*p != r)
        p = &(*p)->next;
    *p = r->next;
}

bool qcow2_range_try(struct qcow2 *q, struct qcow2_range *r, uint64_t offset, uint64_t length)
{
    pthread_mutex_lock(&q->range_lock);
    range_queue(q, r, offset, length, false);
    bool good = !must_wait(q, r);
    if (!good)
        range_remove(q, r);
    pthread_mutex_unlock(&q->range_lock);
    return good;
}

void qcow2_range_lock(struct qcow2 *q, struct qcow2_range *r, uint64_t offset, uint64_t length, bool exclusive)
{
    pthread_mutex_lock(&q->range_lock);
    range_queue(q, r, offset, length, exclusive);
    while (must_wait(q, r))
        pthread_cond_wait(&q->range_changed, &q->range_lock);
    pthread_mutex_unlock(&q->range_lock);
}

void qcow2_range_unlock(struct qcow2 *q, struct qcow2_range *r)
{
    pthread_mutex_lock(&q->range_lock);
    range_remove(q, r);
    pthread_cond_broadcast(&q->range_changed);
    pthread_mutex_unlock(&q->range_lock);
}
