/* SPDX-License-Identifier: GPL-2.0-or-later */
/* What a backend is made of. */
#ifndef NET_BACKEND_PRIVATE_H
#define NET_BACKEND_PRIVATE_H

#include "net/backend.h"

struct net_dump;
struct net_vhost;

struct net_backend_ops {
    const char *type;                                    /* "user" */
    /* f needs no more than offloads says. false: no room, tell net_send_ready later. */
    bool (*send)(struct net_backend *b, unsigned queue, const struct net_frame *f);
    /* Would send say false? Frames that are cut into several are offered only if not. May be NULL: never. */
    bool (*is_busy)(struct net_backend *b, unsigned queue);
    void (*sent)(struct net_backend *b, unsigned queue); /* the end of a batch. May be NULL */
    /* The frontend has room again, or the guest runs again. */
    void (*ready)(struct net_backend *b, unsigned queue);
    /* The frontend's offloads or queues changed. May be NULL. */
    void (*changed)(struct net_backend *b);
    /* The kernel serves the queue from now on, with headers of so many bytes (0: not any more). The queue's tap descriptor. NULL without vhost. */
    int (*carried)(struct net_backend *b, unsigned queue, unsigned header_bytes);
    void (*describe)(const struct net_backend *b, char *text, size_t size);
    void (*destroy)(struct net_backend *b);              /* what it owns, and b */
};

struct net_backend {
    const struct net_backend_ops *ops;
    char *id;
    unsigned offloads;                                   /* that send takes */
    unsigned queues, queues_used;
    struct net_frontend frontend;
    bool has_frontend, network_down, card_down;          /* down: the cable is out, for any card or for the one that is there */
    unsigned frontend_offloads;
    struct net_dump *dump;
    struct net_vhost *vhost;                             /* NULL: none; net/vhost.h */
    struct { unsigned queue, pieces; size_t bytes; } given;   /* of a frame that was cut and for which there was no room at some point */
    uint8_t *scratch;                                    /* for cutting; NET_FRAME_MAX bytes, made when needed */
    uint64_t sent, received, dropped, sent_bytes, received_bytes;
};

/* Zeroed b; keeps a copy of id. 0, or -1 with *err. */
int net_backend_init(struct net_backend *b, const struct net_backend_ops *ops, const char *id, struct error *err);
/* Frees what init and the common code made; from destroy. */
void net_backend_fini(struct net_backend *b);
/* A frame for the guest. true: it was taken, or dropped for good. false: the same again after ready. */
bool net_deliver(struct net_backend *b, unsigned queue, const struct net_frame *f);
/* The end of a batch of net_deliver. */
void net_delivered(struct net_backend *b, unsigned queue);
/* send has room again. */
void net_send_ready(struct net_backend *b, unsigned queue);

/* dump.c: all of a network, the first of which d is. */
void net_dump_frame(struct net_dump *d, const struct net_frame *f, bool to_guest);
void net_dump_free(struct net_dump *d);

#endif
