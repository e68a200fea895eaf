/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Frames between the guest and libslirp. TCP travels in pieces of up to 64 KiB both ways: libslirp takes what comes, and its MTU
 * here is 65520, so that it makes large segments. How they are to be cut for the guest says the maximal segment size of the guest's
 * SYN, which is noted by connection, and raised to 65000 on its way to libslirp. Cards that can cut get the large segment.
 *
 * Datagrams that exceed the real MTU become fragments. (libslirp forgets the guest's SYN options where connecting takes time, so it could
 * not be left to it.) Two connections may share a note; then the later SYN counts.
 * Sources: RFC 9293 (3.1: options, 3.7.1), 791 (fragments).
 */
#include <string.h>

#include "base/bits.h"
#include "net/offload.h"
#include "net/user_private.h"

enum { ETHER = 14, TYPE_IPV4 = 0x0800, TYPE_IPV6 = 0x86dd, MTU = 1500, IPV4_BYTES = 20, IPV6_BYTES = 40,
       PROTOCOL_ICMP = 1, PROTOCOL_ICMPV6 = 58, PORT_DNS = 53, TCP_CSUM = 16, TCP_FLAGS = 13, FLAG_SYN = 2, OPTION_END = 0, OPTION_NOP = 1, OPTION_MSS = 2,
       LARGE_MSS = 65000, LEAST_MSS = 64, DEFAULT_MSS = 536, HEAD_MAX = 160, FRAGMENT_BYTES = 1480, MORE_FRAGMENTS = 0x2000 };

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

/* Where the guest's segment size for a connection is noted; local and remote ports as the guest sees them. */
static uint16_t *mss_note(struct user *u, const uint8_t *frame, const struct net_packet *p, bool from_guest)
{
    const uint8_t *far = frame + p->l3 + (p->is_ipv6 ? from_guest ? 36 : 20 : from_guest ? 16 : 12);
    unsigned near_port = get16(frame + p->l4 + (from_guest ? 0 : 2)), far_port = get16(frame + p->l4 + (from_guest ? 2 : 0));
    uint32_t hash = (get16(far) << 16 | get16(far + 2)) * 0x9e3779b1u ^ (near_port << 16 | far_port) * 0x85ebca6bu;

    return &u->mss[hash >> 20];
}

static void syn_take(struct user *u, const struct net_packet *p)
{
    uint8_t *mss = mss_find(u->frame + p->l4 + 20, u->frame + p->payload);
    uint16_t *note = mss_note(u, u->frame, p, true);

    *note = (uint16_t)(mss ? MAX(get16(mss), (unsigned)LEAST_MSS) : DEFAULT_MSS);
    if (mss) put16(mss, LARGE_MSS);
}

bool user_frame_from_guest(struct user *u, size_t size, const struct net_header *h)
{
    struct net_packet p;
    bool is_syn;
    uint16_t sum;

    if (!net_packet_find(u->frame, size, &p) || !p.is_tcp) return !(h->flags & NET_NEEDS_CSUM) || net_csum_finish(u->frame, size, h);
    is_syn = u->frame[p.l4 + TCP_FLAGS] & FLAG_SYN;
    if (is_syn) syn_take(u, &p);
    if (!is_syn && !(h->flags & NET_NEEDS_CSUM)) return true;
    memset(u->frame + p.l4 + TCP_CSUM, 0, 2);
    sum = (uint16_t)~net_sum_fold(net_sum(net_pseudo_sum(u->frame, &p, p.end - p.l4), u->frame + p.l4, p.end - p.l4));
    memcpy(u->frame + p.l4 + TCP_CSUM, &sum, 2);
    return true;
}

/* A DNS server of the host may be at 127.0.0.53, where all its other services are as well. */
static bool is_to_other_port(const uint8_t *frame, size_t size, size_t l4, unsigned protocol)
{
    return protocol != PROTOCOL_ICMP && protocol != PROTOCOL_ICMPV6 && (l4 + 4 > size || get16(frame + l4 + 2) != PORT_DNS);
}

static bool ipv4_is_to_loopback(const struct user *u, size_t size)
{
    const uint8_t *ip = u->frame + ETHER;

    if (size < ETHER + IPV4_BYTES) return false;
    if (ip[16] == 0 || ip[16] == 127) return true;
    return !memcmp(ip + 16, &u->dns, sizeof(u->dns)) && is_to_other_port(u->frame, size, ETHER + 4u * (ip[0] & 15), ip[9]);
}

/* ::, ::1 and what else begins like them: IPv4's addresses in two ways. */
static bool ipv6_is_to_loopback(const struct user *u, size_t size)
{
    static const uint8_t zeros[10];
    const uint8_t *ip = u->frame + ETHER, *to = ip + 24;

    if (size < ETHER + IPV6_BYTES) return false;
    if (!memcmp(to, zeros, sizeof(zeros)) && (get16(to + 10) == 0 || get16(to + 10) == 0xffff)) return true;
    return !memcmp(to, &u->dns6, sizeof(u->dns6)) && is_to_other_port(u->frame, size, ETHER + IPV6_BYTES, ip[6]);
}

bool user_frame_is_to_loopback(const struct user *u, size_t size)
{
    unsigned type = size < ETHER ? 0 : get16(u->frame + ETHER - 2);

    return type == TYPE_IPV4 ? ipv4_is_to_loopback(u, size) : type == TYPE_IPV6 && ipv6_is_to_loopback(u, size);
}

/* ---- to the guest ---- */

static void deliver(struct user *u, const struct net_header *h, const void *head, size_t head_bytes, const uint8_t *rest, size_t rest_bytes)
{
    struct iovec iov[2] = { { (void *)(uintptr_t)head, head_bytes }, { (void *)(uintptr_t)rest, rest_bytes } };

    user_deliver(u, &(struct net_frame){ .header = *h, .iov = iov, .count = 2, .bytes = head_bytes + rest_bytes });
}

/* Options take their place from what the segment size promises (RFC 9293, 3.7.1), and so does a narrow MTU. */
static void segment_deliver(struct user *u, const uint8_t *frame, size_t size, const struct net_packet *p)
{
    unsigned most = (unsigned)(MTU - (p->payload - p->l3)), note = *mss_note(u, frame, p, false);
    size_t options = p->payload - p->l4 - 20;
    struct net_header h = { .flags = NET_DATA_VALID };
    uint8_t head[HEAD_MAX];

    if (note > options + LEAST_MSS / 2) most = MIN(most, (unsigned)(note - options));
    memcpy(head, frame, p->payload);
    if (size - p->payload > most) net_gso_prepare(head, size, p, most, &h);
    deliver(u, &h, head, p->payload, frame + p->payload, size - p->payload);
}

static void fragments_deliver(struct user *u, const uint8_t *frame, size_t size)
{
    const size_t data = ETHER + IPV4_BYTES;
    struct net_header h = { .flags = 0 };
    size_t bytes;

    for (size_t at = data; at < size; at += bytes) {
        uint8_t head[ETHER + IPV4_BYTES], *ip = head + ETHER;
        uint16_t sum;

        bytes = MIN(size - at, (size_t)FRAGMENT_BYTES);
        memcpy(head, frame, sizeof(head));
        put16(ip + 2, (unsigned)(IPV4_BYTES + bytes));
        put16(ip + 6, (at + bytes < size ? MORE_FRAGMENTS : 0) | (unsigned)(at - data) / 8);
        memset(ip + 10, 0, 2);
        sum = (uint16_t)~net_sum_fold(net_sum(0, ip, IPV4_BYTES));
        memcpy(ip + 10, &sum, 2);
        deliver(u, &h, head, sizeof(head), frame + at, bytes);
    }
}

/* Without options, and no fragment. */
static bool is_plain_ipv4(const uint8_t *frame)
{
    return get16(frame + ETHER - 2) == TYPE_IPV4 && frame[ETHER] == 0x45 && !(get16(frame + ETHER + 6) & 0x3fff);
}

void user_frame_to_guest(struct user *u, const uint8_t *frame, size_t size)
{
    struct net_header h = { .flags = NET_DATA_VALID };   /* libslirp made it here and now */
    bool known;
    struct net_packet p;

    known = size <= NET_FRAME_MAX && net_packet_find(frame, size, &p) && p.payload <= HEAD_MAX;
    if (known && p.is_tcp) segment_deliver(u, frame, size, &p);
    else if (size <= ETHER + MTU) deliver(u, &h, frame, MIN(size, (size_t)ETHER), frame + MIN(size, (size_t)ETHER), size - MIN(size, (size_t)ETHER));
    else if (is_plain_ipv4(frame)) fragments_deliver(u, frame, size);
    else u->base.dropped++;
}
