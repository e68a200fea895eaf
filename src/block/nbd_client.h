/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The NBD client between its parts: where the server is (nbd_uri.c), the handshake (nbd_handshake.c), the connection's life
 * (nbd_link.c), replies (nbd_reply.c), requests (nbd_client.c).
 */
#ifndef BLOCK_NBD_CLIENT_H
#define BLOCK_NBD_CLIENT_H

#include <pthread.h>

#include "block/block_private.h"
#include "block/nbd_stream.h"
#include "block/nbd_wire.h"

struct nbd_address {
    char *path;                     /* of a unix socket, or NULL */
    char *host, *port;
    char *export;                   /* "" is the default one */
    char *tls_creds, *tls_hostname, *tls_directory;
    char *context;                  /* asked for instead of base:allocation: a dirty bitmap; NULL: none */
    bool tls;
    uint64_t reconnect_s;           /* so long requests wait for a connection that was lost; 0: none is made anew */
    uint64_t open_s;                /* so long the first one is tried for */
};
/* nbd://host:port/export, nbd+unix:///export?socket=PATH, nbds..., nbd:host:port:exportname=E, nbd:unix:PATH, or options. */
int nbd_address_parse(struct nbd_address *a, const char *name, const struct block_option_set *options, struct error *err);
void nbd_address_free(struct nbd_address *a);
/* A connected socket after at most so long for each of the host's addresses, or -1 with *err. */
int nbd_address_connect(const struct nbd_address *a, int within_ms, struct error *err);

/* What the server has promised. */
struct nbd_export_facts {
    uint64_t size;
    uint16_t flags;
    bool structured;
    bool allocation;
    uint32_t allocation_id;
    uint32_t min_block, max_block;
};
/* Chooses the export. tls NULL: plain. 0, or -1 with *err. */
int nbd_handshake(struct nbd_stream *s, const struct nbd_address *a, struct nbd_tls *tls, struct nbd_export_facts *f,
                  struct error *err);

enum { NBD_SLOTS = 64 };
#define NBD_LOST (-ERESTART)        /* inside: the connection went before the answer came, ask again */

/* A request in flight. */
struct nbd_slot {
    bool used, finished;
    uint32_t generation;
    enum nbd_command command;
    uint64_t offset;
    uint32_t length;
    const struct iovec *iov;        /* of a read */
    int iovcnt;
    uint64_t received;              /* bytes of it */
    uint32_t extent_length, extent_flags;
    bool extent_seen;
    int error;
    int64_t since_ns;
    pthread_cond_t done;
};

/* Order of the locks: send, lock. */
struct nbd_client {
    struct block_protocol p;
    struct nbd_address address;
    struct nbd_export_facts x;      /* stays what it was at the first connection, but for allocation_id */
    struct nbd_stream stream;       /* replaced by the reader, under both locks */
    struct nbd_tls *tls, *own_tls;  /* NULL: plain; what is freed with us */
    pthread_mutex_t send, lock, partial;
    pthread_cond_t free_slot, wake;
    struct nbd_slot slot[NBD_SLOTS];
    uint32_t epoch;                 /* connections so far; changes under both locks */
    int64_t deadline_ns;            /* until then requests wait while away */
    bool dead, away, closing, unflushed;
    pthread_t reader;
};

/* nbd_link.c: connects, shakes hands and starts the reader. 0, or -1 with *err. */
int nbd_link_open(struct nbd_client *c, const struct block_objects *objects, struct error *err);
/* Ends the connection and the reader. */
void nbd_link_close(struct nbd_client *c);

/* nbd_reply.c, on the reader's thread: takes replies until something is wrong, and says what: one of these two, or a lie. */
extern const char nbd_broken[], nbd_silent[];
const char *nbd_replies_take(struct nbd_client *c);
void nbd_slot_finish_locked(struct nbd_slot *s, int error);

#endif
