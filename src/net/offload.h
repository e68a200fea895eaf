/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Checksums and segmentation that a frame's header leaves to whoever comes next, and where its protocol headers are. */
#ifndef NET_OFFLOAD_H
#define NET_OFFLOAD_H

#include "net/backend.h"

struct net_packet {
    size_t l3, l4, payload, end;     /* offsets; end: where IP says, behind it is padding */
    bool is_ipv6, is_tcp, is_fragment;
};

/* Internet checksum (RFC 1071): net_sum adds bytes that begin at an even place, net_sum_fold gives the sum as big endian memory
 * has it; the checksum is its complement. */
uint64_t net_sum(uint64_t sum, const void *data, size_t size);
uint16_t net_sum_fold(uint64_t sum);
/* Sum of a TCP or UDP pseudo header for size bytes behind p->l4. */
uint64_t net_pseudo_sum(const uint8_t *frame, const struct net_packet *p, size_t size);

/* Finds IP and TCP in frame; false: neither, or cut short. p->payload is behind TCP's header, or l4. */
bool net_packet_find(const uint8_t *frame, size_t size, struct net_packet *p);
/* Puts in the checksum that h asks for. false: h points outside of the frame. */
bool net_csum_finish(uint8_t *frame, size_t size, const struct net_header *h);
/* For a TCP frame that is to be cut later: the sum of its pseudo header alone in place of the checksum, and a header that says so. */
void net_gso_prepare(uint8_t *frame, size_t size, const struct net_packet *p, unsigned gso_bytes, struct net_header *h);
/* Cuts a frame with h.gso_type TCPv4 or TCPv6 and hands each piece, finished, to emit, until that says false. false: this
 * is not the frame that h says. */
bool net_gso_cut(uint8_t *frame, size_t size, const struct net_header *h, bool (*emit)(void *opaque, const struct net_frame *f), void *opaque);

#endif
