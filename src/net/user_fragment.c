/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Datagrams of IPv4 that the guest sends in fragments, put together before libslirp sees them: that would keep any number of unfinished ones for half a
 * minute, and look through all of them for each fragment. Here the oldest gives way when there are too many.
 *
 * Source: RFC 791 (3.2). Bytes that come twice count as they came last.
 */
#include <stdlib.h>
#include <string.h>

#include "base/bits.h"
#include "base/clock.h"
#include "net/offload.h"
#include "net/user_private.h"

enum { DATAGRAMS = 16, BLOCK = 8, BLOCKS = 8192, ETHER = 14, TYPE_IPV4 = 0x0800, HEADER_MIN = 20, HEADER_MAX = 60, MORE = 0x2000, OFFSET = 0x1fff, KEY_BYTES = 11,
       LENGTH_MAX = 65535 };
#define LIFE_NS (30 * NS_PER_SECOND)

struct datagram {
    bool used;
    uint8_t key[KEY_BYTES];                              /* addresses, identification, protocol */
    int64_t began_ns;
    size_t head_bytes, end;                              /* Ethernet's and IP's header, of the first fragment; where the data end. 0: not known */
    size_t reach;                                        /* where the farthest fragment so far ends */
    unsigned blocks;                                     /* that are there */
    uint8_t head[ETHER + HEADER_MAX];
    uint64_t has[BLOCKS / 64];
    uint8_t data[BLOCKS * BLOCK];
};

struct user_fragments { struct datagram datagram[DATAGRAMS]; };

struct fragment { const uint8_t *ip, *data; size_t header, at, bytes; bool more; };

static unsigned get16(const uint8_t *p) { return (unsigned)p[0] << 8 | p[1]; }

static void put16(uint8_t *p, unsigned v)
{
    p[0] = (uint8_t)(v >> 8);
    p[1] = (uint8_t)v;
}

bool user_is_fragment(const uint8_t *frame, size_t size)
{
    return size >= ETHER + HEADER_MIN && get16(frame + 12) == TYPE_IPV4 && frame[ETHER] >> 4 == 4 && get16(frame + ETHER + 6) & (MORE | OFFSET);
}

/* false: no fragment that anybody may send. */
static bool fragment_read(const uint8_t *frame, size_t size, struct fragment *f)
{
    const uint8_t *ip = frame + ETHER;
    size_t length = get16(ip + 2), header = (ip[0] & 15) * 4u;

    *f = (struct fragment){ ip, ip + header, header, (get16(ip + 6) & OFFSET) * (size_t)BLOCK, 0, get16(ip + 6) & MORE };
    if (header < HEADER_MIN || length <= header || ETHER + length > size || net_sum_fold(net_sum(0, ip, header)) != 0xffff) return false;
    f->bytes = length - header;
    return f->at + f->bytes <= LENGTH_MAX - HEADER_MAX && (!f->more || f->bytes % BLOCK == 0);
}

static void key_make(const uint8_t *ip, uint8_t *key)
{
    memcpy(key, ip + 12, 8);
    memcpy(key + 8, ip + 4, 2);
    key[10] = ip[9];
}

static bool is_over(const struct datagram *d) { return !d->used || clock_virtual_ns() - d->began_ns > LIFE_NS; }

static struct datagram *datagram_find(struct user_fragments *all, const uint8_t *ip)
{
    struct datagram *oldest = &all->datagram[0];
    uint8_t key[KEY_BYTES];

    key_make(ip, key);
    for (unsigned i = 0; i < DATAGRAMS; i++) {
        struct datagram *d = &all->datagram[i];

        if (!is_over(d) && !memcmp(d->key, key, sizeof(key))) return d;
        if (oldest->used && (!d->used || d->began_ns < oldest->began_ns)) oldest = d;
    }
    oldest->used = true;
    oldest->began_ns = clock_virtual_ns();
    oldest->head_bytes = oldest->end = oldest->reach = 0;
    oldest->blocks = 0;
    memcpy(oldest->key, key, sizeof(key));
    memset(oldest->has, 0, sizeof(oldest->has));
    return oldest;
}

/* false: it does not fit to the others. */
static bool fragment_add(struct datagram *d, const uint8_t *frame, const struct fragment *f)
{
    size_t end = f->at + f->bytes;

    if (d->end && (end > d->end || (!f->more && end != d->end))) return false;
    if (!f->more && d->reach > end) return false;
    if (!f->more) d->end = end;
    d->reach = MAX(d->reach, end);
    if (!f->at) {
        d->head_bytes = ETHER + f->header;
        memcpy(d->head, frame, d->head_bytes);
    }
    memcpy(d->data + f->at, f->data, f->bytes);
    for (size_t n = f->at / BLOCK; n < (end + BLOCK - 1) / BLOCK; n++) {
        d->blocks += !(d->has[n / 64] >> n % 64 & 1);
        d->has[n / 64] |= BIT(n % 64);
    }
    return true;
}

static size_t datagram_write(const struct datagram *d, uint8_t *frame)
{
    uint8_t *ip = frame + ETHER;
    uint16_t sum;

    memcpy(frame, d->head, d->head_bytes);
    memcpy(frame + d->head_bytes, d->data, d->end);
    put16(ip + 2, (unsigned)(d->head_bytes - ETHER + d->end));
    put16(ip + 6, 0);
    put16(ip + 10, 0);
    sum = (uint16_t)~net_sum_fold(net_sum(0, ip, d->head_bytes - ETHER));
    memcpy(ip + 10, &sum, 2);
    return d->head_bytes + d->end;
}

size_t user_fragment_take(struct user *u, size_t size)
{
    struct datagram *d;
    struct fragment f;
    size_t whole = 0;

    if (!u->fragments) u->fragments = calloc(1, sizeof(*u->fragments));
    if (!u->fragments || !fragment_read(u->frame, size, &f)) {
        u->base.dropped++;
        return 0;
    }
    d = datagram_find(u->fragments, f.ip);
    d->used = fragment_add(d, u->frame, &f);
    if (!d->used) u->base.dropped++;
    if (!d->used || !d->end || !d->head_bytes || d->blocks != (d->end + BLOCK - 1) / BLOCK) return 0;
    whole = datagram_write(d, u->frame);
    d->used = false;
    return whole;
}
