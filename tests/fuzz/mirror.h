/* SPDX-License-Identifier: GPL-2.0-or-later */
/* A network for fuzzing: it is busy at times, and gives back what was sent, or frames with headers that lie, when it is asked to. */
#ifndef TESTS_FUZZ_MIRROR_H
#define TESTS_FUZZ_MIRROR_H

#include <stdlib.h>
#include <string.h>

#include "net/backend_private.h"

struct mirror {
    struct net_backend base;
    uint32_t (*below)(uint32_t n);
    uint8_t frame[NET_FRAME_MAX];
    size_t bytes;
    struct net_header header;
    uint64_t sent, taken, refused;
};

static bool mirror_send(struct net_backend *b, unsigned queue, const struct net_frame *f)
{
    struct mirror *m = (struct mirror *)b;

    if (m->below(8) == 0) return false;
    m->sent++;
    m->bytes = net_frame_copy(f, m->frame);
    m->header = f->header;
    return true;
}

static void mirror_destroy(struct net_backend *b)
{
    net_backend_fini(b);
    free(b);
}

static const struct net_backend_ops mirror_ops = { .type = "mirror", .send = mirror_send, .destroy = mirror_destroy };

static struct mirror *mirror_new(uint32_t (*below)(uint32_t n), unsigned offloads)
{
    struct mirror *m = calloc(1, sizeof(*m));

    if (!m || net_backend_init(&m->base, &mirror_ops, "mirror", NULL) < 0) abort();
    m->base.offloads = offloads;
    m->below = below;
    return m;
}

/* One frame to the guest: the last one, or a made-up one, in pieces, with a header that fits or not. */
static void mirror_give(struct mirror *m)
{
    static const uint8_t gso[] = { NET_GSO_NONE, NET_GSO_NONE, NET_GSO_TCPV4, NET_GSO_TCPV6, NET_GSO_UDP, 0x84, 77 };
    size_t bytes = m->bytes && m->below(2) ? m->bytes : m->below(4) ? 1 + m->below(1600) : 1 + m->below(NET_FRAME_MAX);
    size_t first = m->below(2) ? 0 : m->below((uint32_t)bytes);
    struct iovec iov[2] = { { m->frame, first }, { m->frame + first, bytes - first } };
    struct net_frame f = { .iov = iov, .count = 2, .bytes = bytes };

    if (m->below(2)) {                                   /* IPv4 and TCP, roughly */
        memcpy(m->frame + 12, "\x08\x00\x45", 3);
        m->frame[23] = m->below(4) ? 6 : 17;
        m->frame[46] = (uint8_t)(m->below(16) << 4);
    }
    if (m->below(3) == 0) memset(m->frame, 0xff, 6);
    f.header = m->below(2) ? m->header : (struct net_header){ (uint8_t)m->below(4), gso[m->below(sizeof(gso))], (uint16_t)m->below(200),
                                                              (uint16_t)(m->below(8) ? 100 + m->below(2000) : m->below(3)), (uint16_t)m->below(80),
                                                              (uint16_t)m->below(40) };
    if (net_deliver(&m->base, 0, &f)) m->taken++;
    else m->refused++;
    net_delivered(&m->base, 0);
    if (m->below(4) == 0) net_send_ready(&m->base, 0);
    if (m->below(500) == 0) net_link_set(&m->base, m->below(2));
}

#endif
