/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Where the bytes of a request lie in the file, for requests that are no more than one transfer: io_uring does them then, and no
 * worker has to wake up. Who asks must not wait: the request's clusters are held as every request holds its own, but what is
 * in the way, or an L2 table that is not in the cache, is left to the ordinary way, and so is all that allocates, decrypts or marks.
 */
#include "block/qcow2/qcow2_private.h"

_Static_assert(sizeof(struct qcow2_range) <= sizeof(((struct block_place *)0)->state), "a range fits into a place");

/* The file's byte at disk offset, and how many that follow belong to it; 0: the ordinary way. */
static uint64_t piece_find_locked(struct qcow2 *q, uint64_t offset, bool write, uint64_t *host)
{
    uint64_t in = offset & (q->cluster_size - 1);
    unsigned first = (unsigned)(in >> q->sub_bits), subs = 1u << (q->cluster_bits - q->sub_bits), sub = first;
    struct qcow2_entry e;
    if (!qcow2_entry_cached_locked(q, offset, &e) || (write && !qcow2_entry_is_owned(q, e)))
        return 0;
    while (sub < subs && qcow2_entry_kind(q, e, sub) == QCOW2_DATA)
        sub++;
    *host = qcow2_entry_host(q, e) + in;
    if (sub == first || (write && qcow2_meta_overlaps(q, *host - in, q->cluster_size)))
        return 0;
    return ((uint64_t)sub << q->sub_bits) - in;
}

static bool find_locked(struct qcow2 *q, uint64_t offset, uint64_t length, bool write, uint64_t *host)
{
    uint64_t done = 0, at;
    if (write && q->corrupt)
        return false;
    while (done < length) {
        uint64_t here = piece_find_locked(q, offset + done, write, &at);
        if (!here || (done && at != *host + done))
            return false;
        if (!done)
            *host = at;
        done += here;
    }
    return true;
}

static bool is_plain(struct qcow2 *q, bool write)
{
    if (q->data != q->file || q->crypt_method || q->cipher)
        return false;
    return !write || (__atomic_load_n(&q->begun, __ATOMIC_ACQUIRE) && !__atomic_load_n(&q->bitmaps_recording, __ATOMIC_ACQUIRE));
}

bool qcow2_place(struct block_node *n, uint64_t offset, uint64_t length, bool write, struct block_place *p)
{
    struct qcow2 *q = n->state;
    struct qcow2_range *range = (struct qcow2_range *)p->state;
    bool found = false;
    if (!qcow2_range_try(q, range, offset, length))
        return false;
    if (is_plain(q, write) && !pthread_mutex_trylock(&q->lock)) {
        found = find_locked(q, offset, length, write, &p->offset);
        pthread_mutex_unlock(&q->lock);
    }
    if (!found)
        qcow2_range_unlock(q, range);
    return found;
}

void qcow2_place_end(struct block_node *n, struct block_place *p)
{
    qcow2_range_unlock(n->state, (struct qcow2_range *)p->state);
}
