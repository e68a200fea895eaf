/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Between a network card (frontend) and what carries its frames on the host (backend: user, tap, socket, ...). One of each makes a
 * pair. Frames are I/O vectors and are never kept by who gets them. Each comes with the header that virtio and Linux' tap
 * share: a frame may be longer than a packet (to be cut by whoever must) or lack its checksum. Who cannot take such frames
 * gets finished ones; backend.c does the work in between.
 *
 * Back-pressure: net_send and receive return false while there is no room; the frame was not taken, and send_ready or
 * net_receive_ready tell when to come again. All calls with the machine lock held.
 */
#ifndef NET_BACKEND_H
#define NET_BACKEND_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/uio.h>

struct error;

/* VIRTIO 1.2 section 5.1.6 and <linux/virtio_net.h>, little endian. */
struct net_header {
    uint8_t flags, gso_type;
    uint16_t header_bytes, gso_bytes, csum_start, csum_offset;
};
enum { NET_NEEDS_CSUM = 1, NET_DATA_VALID = 2 };
enum { NET_GSO_NONE = 0, NET_GSO_TCPV4 = 1, NET_GSO_UDP = 3, NET_GSO_TCPV6 = 4, NET_GSO_ECN = 0x80 };
/* What a side can take: frames without checksum, TCP frames that want cutting, the same with ECN. */
enum { NET_CSUM = 1, NET_TSO4 = 2, NET_TSO6 = 4, NET_ECN = 8, NET_ALL_OFFLOADS = 15 };
enum { NET_GSO_LEAST = 32 /* bytes of a piece; no connection has less */, NET_FRAME_MAX = 65550 + 20, NET_PIECES_MAX = 1026, NET_MTU_FRAME = 1518 };

struct net_frame {
    struct net_header header;
    const struct iovec *iov;
    unsigned count;
    size_t bytes;
};

/* All bytes of f in one piece at to, at most NET_FRAME_MAX; the number of bytes. */
size_t net_frame_copy(const struct net_frame *f, uint8_t *to);

struct net_frontend {
    const char *name;                                    /* the card, for 'info network' */
    bool (*receive)(void *opaque, unsigned queue, const struct net_frame *f);
    void (*received)(void *opaque, unsigned queue);      /* the end of a batch: time for an interrupt. May be NULL */
    void (*send_ready)(void *opaque, unsigned queue);    /* after net_send returned false. May be NULL */
    void (*link_changed)(void *opaque, bool up);         /* may be NULL */
    void (*runs_changed)(void *opaque);                  /* the guest stands still, or runs again. May be NULL */
    void *opaque;
};

struct net_backend;

/* ---- for frontends ---- */

/* NULL detaches. A backend has one frontend at a time. */
void net_attach(struct net_backend *b, const struct net_frontend *f);
bool net_send(struct net_backend *b, unsigned queue, const struct net_frame *f);
/* Into how many frames net_send cuts f: what it costs. */
unsigned net_send_pieces(const struct net_backend *b, const struct net_frame *f);
/* The end of a batch of net_send. */
void net_send_end(struct net_backend *b, unsigned queue);
/* There is room again after receive returned false. */
void net_receive_ready(struct net_backend *b, unsigned queue);
/* What receive can take from now on, NET_*; at first nothing. */
void net_offloads_set(struct net_backend *b, unsigned offloads);
/* How many of its queues the guest uses; at first 1. */
void net_queues_set(struct net_backend *b, unsigned queues);
unsigned net_queues(const struct net_backend *b);        /* that the backend has */
bool net_link_is_up(const struct net_backend *b);

/* ---- for who made it ---- */

bool net_is_attached(const struct net_backend *b);
/* Tells the network where this address is, in the name of its card. */
void net_announce(struct net_backend *b, const uint8_t mac[6]);
/* The cable, also for cards to come; and that of the card alone, with which it goes. */
void net_link_set(struct net_backend *b, bool up);
void net_card_link_set(struct net_backend *b, bool up);
const char *net_id(const struct net_backend *b);
/* One line: "n0: index=0,type=user,...". */
void net_describe(const struct net_backend *b, char *text, size_t size);
void net_free(struct net_backend *b);
/* The guest runs again: frames may be delivered. */
void net_resume(struct net_backend *b);
/* The guest has stopped, or runs again (then after net_resume). */
void net_runs_changed(struct net_backend *b);

/* Frames sent and received so far, and those that were wrong or came too early. */
void net_counts(const struct net_backend *b, uint64_t *sent, uint64_t *received, uint64_t *dropped);
void net_bytes(const struct net_backend *b, uint64_t *sent, uint64_t *received);

/* No cable: what is sent is gone. */
struct net_backend *net_none_new(const char *id, struct error *err);

enum net_dump_way { NET_DUMP_ALL, NET_DUMP_TO_GUEST, NET_DUMP_FROM_GUEST };
/* Writes all frames into a pcap file, at most most_bytes of each, until the dump of that id is stopped or the network goes. 0, or -1 with *err. */
int net_dump_start(struct net_backend *b, const char *id, const char *file, unsigned most_bytes, enum net_dump_way way, struct error *err);
bool net_dump_exists(struct net_backend *b, const char *id);
bool net_dump_stop(struct net_backend *b, const char *id);                             /* false: there is none */

#endif
