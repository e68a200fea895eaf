/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Frames between the guest and libslirp. Both ways TCP travels in pieces of up to 64 KiB, where the card has segmentation
 * offload: libslirp takes what comes, and sends segments as large as the guest says it takes. A card that can cut them says
 * so in the guest's stead: in its SYN the maximal segment size is raised. Only where it was that of an ordinary Ethernet, so that
 * a path that is narrower somewhere behind the guest stays narrow.
 *
 * libslirp is told of an MTU of 65520 for this; datagrams that exceed the real one become fragments here.
 * Sources: RFC 9293 (3.1: options), 791 (fragments).
 */
#include <string.h>

#include "base/bits.h"
#include "net/offload.h"
#include "net/user_private.h"

enum { ETHER = 14, MTU = 1500, IPV4_BYTES = 20, TCP_CSUM = 16, TCP_FLAGS = 13, FLAG_SYN = 2, OPTION_END = 0, OPTION_NOP = 1, OPTION_MSS = 2,
       LARGE_MSS = 65000, HEAD_MAX = 160, FRAGMENT_BYTES = 1480, MORE_FRAGMENTS = 0x2000 };

static void put16(uint8_t *p, unsigned v)
{
    p[0] = (uint8_t)(v >> 8);
    p[1] = (uint8_t)v;
}

static unsigned get16(const uint8_t *p) { return (unsigned)p[0] << 8 | p[1]; }

static uint8_t *mss_find(uint8_t *option, const uint8_t *end)
{
    while (option < end && *option != OPTION_END) {
        if (*option == OPTION_NOP) {
            option++;
            continue;
        }
        if (end - option < 2 || option[1] < 2 || option[1] > end - option) return NULL;
        if (option[0] == OPTION_MSS && option[1] == 4) return option + 2;
        option += option[1];
    }
    return NULL;
}

static bool mss_raise(struct user *u, const struct net_packet *p)
{
    unsigned usual = MTU - (p->is_ipv6 ? 60 : 40);
    uint8_t *mss;

    if (!(u->base.frontend_offloads & (p->is_ipv6 ? NET_TSO6 : NET_TSO4)) || !(u->frame[p->l4 + TCP_FLAGS] & FLAG_SYN)) return false;
    mss = mss_find(u->frame + p->l4 + 20, u->frame + p->payload);
    if (!mss || get16(mss) < usual || get16(mss) >= LARGE_MSS) return false;
    put16(mss, LARGE_MSS);
    return true;
}

bool user_frame_from_guest(struct user *u, size_t size, const struct net_header *h)
{
    struct net_packet p;
    uint16_t sum;

    if (!net_packet_find(u->frame, size, &p) || !p.is_tcp) return !(h->flags & NET_NEEDS_CSUM) || net_csum_finish(u->frame, size, h);
    if (!mss_raise(u, &p) && !(h->flags & NET_NEEDS_CSUM)) return true;
    memset(u->frame + p.l4 + TCP_CSUM, 0, 2);
    sum = (uint16_t)~net_sum_fold(net_sum(net_pseudo_sum(u->frame, &p, size - p.l4), u->frame + p.l4, size - p.l4));
    memcpy(u->frame + p.l4 + TCP_CSUM, &sum, 2);
    return true;
}

/* ---- to the guest ---- */

static void deliver(struct user *u, const struct net_header *h, const void *head, size_t head_bytes, const uint8_t *rest, size_t rest_bytes)
{
    struct iovec iov[2] = { { (void *)(uintptr_t)head, head_bytes }, { (void *)(uintptr_t)rest, rest_bytes } };

    user_deliver(u, &(struct net_frame){ .header = *h, .iov = iov, .count = 2, .bytes = head_bytes + rest_bytes });
}

static void segment_deliver(struct user *u, const uint8_t *frame, size_t size, const struct net_packet *p)
{
    struct net_header h;
    uint8_t head[HEAD_MAX];

    memcpy(head, frame, p->payload);
    net_gso_prepare(head, size, p, (unsigned)(MTU - (p->payload - p->l3)), &h);
    deliver(u, &h, head, p->payload, frame + p->payload, size - p->payload);
}

static void fragments_deliver(struct user *u, const uint8_t *frame, size_t size, const struct net_packet *p)
{
    struct net_header h = { .flags = 0 };
    size_t bytes;

    for (size_t at = p->l4; at < size; at += bytes) {
        uint8_t head[ETHER + IPV4_BYTES], *ip = head + ETHER;
        uint16_t sum;

        bytes = MIN(size - at, (size_t)FRAGMENT_BYTES);
        memcpy(head, frame, sizeof(head));
        put16(ip + 2, (unsigned)(IPV4_BYTES + bytes));
        put16(ip + 6, (at + bytes < size ? MORE_FRAGMENTS : 0) | (unsigned)(at - p->l4) / 8);
        memset(ip + 10, 0, 2);
        sum = (uint16_t)~net_sum_fold(net_sum(0, ip, IPV4_BYTES));
        memcpy(ip + 10, &sum, 2);
        deliver(u, &h, head, sizeof(head), frame + at, bytes);
    }
}

void user_frame_to_guest(struct user *u, const uint8_t *frame, size_t size)
{
    struct net_header h = { .flags = NET_DATA_VALID };   /* libslirp made it here and now */
    struct net_packet p;

    if (size <= ETHER + MTU) deliver(u, &h, frame, MIN(size, (size_t)ETHER), frame + MIN(size, (size_t)ETHER), size - MIN(size, (size_t)ETHER));
    else if (size > NET_FRAME_MAX || !net_packet_find(frame, size, &p) || p.payload > HEAD_MAX) u->base.dropped++;
    else if (p.is_tcp) segment_deliver(u, frame, size, &p);
    else if (!p.is_ipv6 && p.l3 == ETHER && p.l4 == ETHER + IPV4_BYTES && !p.is_fragment) fragments_deliver(u, frame, size, &p);
    else u->base.dropped++;
}
