/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Software in place of a card's offload engines. A frame comes from a guest: offsets in its header are checked against its
 * length, and for cutting the protocol headers are read anew, whatever the header says about them.
 * Sources: RFC 1071 (checksum), 791, 8200, 9293; VIRTIO 1.2 section 5.1.6.2.
 */
#include "net/offload.h"

#include <string.h>

#include "base/bits.h"

enum { ETHER = 14, TYPE_IPV4 = 0x0800, TYPE_IPV6 = 0x86dd, TYPE_VLAN = 0x8100, TYPE_QINQ = 0x88a8, PROTOCOL_TCP = 6, PROTOCOL_UDP = 17 };
enum { IPV4_MIN = 20, IPV6_BYTES = 40, TCP_MIN = 20, TCP_CSUM = 16, HEADERS_MAX = 256 };
enum { FLAG_FIN = 1, FLAG_PSH = 8, FLAG_CWR = 0x80 };

static uint16_t get16(const uint8_t *p) { return (uint16_t)(p[0] << 8 | p[1]); }
static uint32_t get32(const uint8_t *p) { return (uint32_t)get16(p) << 16 | get16(p + 2); }

static void put16(uint8_t *p, unsigned v)
{
    p[0] = (uint8_t)(v >> 8);
    p[1] = (uint8_t)v;
}

static void put32(uint8_t *p, uint32_t v)
{
    put16(p, v >> 16);
    put16(p + 2, v & 0xffff);
}

/* ---- sums ---- */

/* In the host's byte order, eight bytes at a time; the order of bytes in a word only matters at the end (RFC 1071, 2.B). */
uint64_t net_sum(uint64_t sum, const void *data, size_t size)
{
    const uint8_t *p = data;
    uint64_t low = 0, high = 0, word;

    for (; size >= 8; p += 8, size -= 8) {
        memcpy(&word, p, 8);
        low += word & 0xffffffff;
        high += word >> 32;
    }
    word = 0;
    memcpy(&word, p, size);
    low += word & 0xffffffff;
    high += word >> 32;
    while (low >> 32) low = (low & 0xffffffff) + (low >> 32);
    while (high >> 32) high = (high & 0xffffffff) + (high >> 32);
    return sum + low + high;
}

uint16_t net_sum_fold(uint64_t sum)
{
    while (sum >> 16) sum = (sum & 0xffff) + (sum >> 16);
    return (uint16_t)sum;
}

static void put_sum(uint8_t *p, uint16_t v) { memcpy(p, &v, 2); }

uint64_t net_pseudo_sum(const uint8_t *frame, const struct net_packet *p, size_t size)
{
    uint8_t tail[8] = { 0, 0, 0, 0, 0, 0, 0, 0 };

    put32(tail, (uint32_t)size);
    tail[7] = p->is_tcp ? PROTOCOL_TCP : PROTOCOL_UDP;
    if (p->is_ipv6) return net_sum(net_sum(0, frame + p->l3 + 8, 32), tail, 8);
    return net_sum(net_sum(0, frame + p->l3 + 12, 8), tail, 8);
}

bool net_csum_finish(uint8_t *frame, size_t size, const struct net_header *h)
{
    size_t at = (size_t)h->csum_start + h->csum_offset;
    uint16_t sum;

    if (h->csum_start >= size || at + 2 > size) return false;
    sum = (uint16_t)~net_sum_fold(net_sum(0, frame + h->csum_start, size - h->csum_start));
    put_sum(frame + at, sum ? sum : 0xffff);             /* 0 would mean "no checksum" for UDP, and is the same for TCP */
    return true;
}

/* ---- headers ---- */

/* Extension headers that may stand in front of TCP (RFC 8200, 4). */
static bool ipv6_find(const uint8_t *frame, size_t size, struct net_packet *p, uint8_t *protocol)
{
    uint8_t next;

    if (p->l3 + IPV6_BYTES > size) return false;
    next = frame[p->l3 + 6];
    p->l4 = p->l3 + IPV6_BYTES;
    while (next == 0 || next == 43 || next == 44 || next == 60) {
        if (p->l4 + 8 > size) return false;
        if (next == 44) p->is_fragment = true;
        next = frame[p->l4];
        p->l4 += p->is_fragment ? 8 : (frame[p->l4 + 1] + 1u) * 8;
        if (p->is_fragment) break;
    }
    *protocol = next;
    return p->l4 <= size;
}

static bool ipv4_find(const uint8_t *frame, size_t size, struct net_packet *p, uint8_t *protocol)
{
    size_t header;

    if (p->l3 + IPV4_MIN > size || frame[p->l3] >> 4 != 4) return false;
    header = (frame[p->l3] & 15) * 4u;
    if (header < IPV4_MIN || p->l3 + header > size) return false;
    p->is_fragment = get16(frame + p->l3 + 6) & 0x3fff;
    *protocol = frame[p->l3 + 9];
    p->l4 = p->l3 + header;
    return true;
}

bool net_packet_find(const uint8_t *frame, size_t size, struct net_packet *p)
{
    size_t type_at = ETHER - 2;
    uint8_t protocol;
    uint16_t type;

    *p = (struct net_packet){ .is_ipv6 = false };
    if (size < ETHER) return false;
    for (unsigned tags = 0; (type = get16(frame + type_at)) == TYPE_VLAN || type == TYPE_QINQ; tags++) {
        type_at += 4;
        if (tags == 2 || type_at + 2 > size) return false;
    }
    p->l3 = type_at + 2;
    p->is_ipv6 = type == TYPE_IPV6;
    if (type != TYPE_IPV4 && type != TYPE_IPV6) return false;
    if (!(p->is_ipv6 ? ipv6_find : ipv4_find)(frame, size, p, &protocol)) return false;
    p->payload = p->l4;
    p->end = p->l3 + (p->is_ipv6 ? IPV6_BYTES + get16(frame + p->l3 + 4) : get16(frame + p->l3 + 2));
    if (p->end <= p->l4 || p->end > size) p->end = size;     /* cards that segment are given a length of 0 */
    p->is_tcp = protocol == PROTOCOL_TCP && !p->is_fragment;
    if (!p->is_tcp) return protocol == PROTOCOL_UDP;
    if (p->l4 + TCP_MIN > size) return false;
    p->payload = p->l4 + (frame[p->l4 + 12] >> 4) * 4u;
    return p->payload >= p->l4 + TCP_MIN && p->payload <= p->end;
}

/* ---- cutting ---- */

void net_gso_prepare(uint8_t *frame, size_t size, const struct net_packet *p, unsigned gso_bytes, struct net_header *h)
{
    *h = (struct net_header){ .flags = NET_NEEDS_CSUM, .gso_type = p->is_ipv6 ? NET_GSO_TCPV6 : NET_GSO_TCPV4,
                              .header_bytes = (uint16_t)p->payload, .gso_bytes = (uint16_t)gso_bytes, .csum_start = (uint16_t)p->l4,
                              .csum_offset = TCP_CSUM };
    put_sum(frame + p->l4 + TCP_CSUM, net_sum_fold(net_pseudo_sum(frame, p, size - p->l4)));
}

/* Lengths, identification, sequence number, flags and checksums of piece n: bytes of payload from offset at. */
static void piece_finish(uint8_t *head, const struct net_packet *p, const uint8_t *data, size_t bytes, unsigned n, size_t at, bool last)
{
    uint8_t *ip = head + p->l3, *tcp = head + p->l4;
    uint64_t sum;

    if (p->is_ipv6) put16(ip + 4, (unsigned)(p->payload - p->l3 - IPV6_BYTES + bytes));
    else {
        put16(ip + 2, (unsigned)(p->payload - p->l3 + bytes));
        put16(ip + 4, get16(ip + 4) + n);
        put_sum(ip + 10, 0);
        put_sum(ip + 10, (uint16_t)~net_sum_fold(net_sum(0, ip, p->l4 - p->l3)));
    }
    put32(tcp + 4, get32(tcp + 4) + (uint32_t)at);
    if (!last) tcp[13] &= (uint8_t)~(FLAG_FIN | FLAG_PSH);
    if (n) tcp[13] &= (uint8_t)~FLAG_CWR;
    put_sum(tcp + TCP_CSUM, 0);
    sum = net_pseudo_sum(head, p, p->payload - p->l4 + bytes);
    sum = net_sum(sum, tcp, p->payload - p->l4);         /* a multiple of 4 bytes: the data begin at an even place */
    put_sum(tcp + TCP_CSUM, (uint16_t)~net_sum_fold(net_sum(sum, data, bytes)));
}

bool net_gso_cut(uint8_t *frame, size_t size, const struct net_header *h, bool (*emit)(void *opaque, const struct net_frame *f), void *opaque)
{
    unsigned type = h->gso_type & ~NET_GSO_ECN, n = 0;
    struct net_packet p;

    if (h->gso_bytes < NET_GSO_LEAST || !net_packet_find(frame, size, &p) || !p.is_tcp || p.payload > HEADERS_MAX) return false;
    if (type != (p.is_ipv6 ? NET_GSO_TCPV6 : NET_GSO_TCPV4)) return false;
    for (size_t at = 0; at < size - p.payload || !n; n++) {
        size_t bytes = MIN((size_t)h->gso_bytes, size - p.payload - at);
        uint8_t head[HEADERS_MAX];
        struct iovec iov[2] = { { head, p.payload }, { frame + p.payload + at, bytes } };
        struct net_frame f = { .header = { .flags = NET_DATA_VALID }, .iov = iov, .count = 2, .bytes = p.payload + bytes };

        memcpy(head, frame, p.payload);
        piece_finish(head, &p, frame + p.payload + at, bytes, n, at, at + bytes == size - p.payload);
        if (!emit(opaque, &f)) break;
        at += bytes;
    }
    return true;
}
