/* SPDX-License-Identifier: GPL-2.0-or-later */
/* One connection of the server, between server.c (its life), negotiate.c and serve.c. */
#ifndef NBD_CLIENT_PRIVATE_H
#define NBD_CLIENT_PRIVATE_H

#include <pthread.h>
#include <stdbool.h>
#include <stdint.h>

#include "block/nbd_stream.h"
#include "nbd/export.h"
#include "nbd/server.h"

struct nbd_server {
    struct nbd_server_options options;
    struct nbd_export *exports;
    unsigned export_count;
    struct nbd_client *clients;
    unsigned client_count;
    bool stopping, left;            /* left: a client that had an export has gone, and no other is there */
    pthread_mutex_t lock;           /* clients, client_count, left, and the phase of each client */
    pthread_cond_t gone;
    int wake_fd;                    /* eventfd: a client has gone */
    int *listen_fd;
    unsigned listen_count;
};

struct nbd_client {
    struct nbd_server *server;
    struct nbd_client *next;
    struct nbd_stream stream;
    struct nbd_export *export;      /* chosen; fixed once requests are served */
    int64_t deadline_ns;            /* of the negotiation, CLOCK_MONOTONIC; 0: it is over */
    bool no_zeroes, structured;
    unsigned contexts;              /* bits 1 << enum nbd_context: which were chosen ... */
    const struct nbd_export *context_export;    /* ... for this export */
    /* Requests (serve.c). */
    pthread_mutex_t receive, send;
    unsigned threads, waiting;      /* atomics: alive; in want of the receive lock */
    bool ended;                     /* atomic: no more requests */
    uint64_t service_ns;            /* atomic: what small requests take of late */
};

/* Their numbers on the wire. */
enum nbd_context { NBD_CONTEXT_ALLOCATION = 1, NBD_CONTEXT_BITMAP = 2, NBD_CONTEXT_DEPTH = 3 };
bool nbd_context_is_shown(const struct nbd_export *x, enum nbd_context which);
#define NBD_CONTEXT_BITMAP_PREFIX "qemu:dirty-bitmap:"

/* negotiate.c: the greeting, the first that goes over a connection; it never waits. 0 or -errno. */
int nbd_client_greet(struct nbd_client *c);
/* 0 with c->export set, or -1 when the connection is to end; *err says why, empty: the client went. */
int nbd_client_negotiate(struct nbd_client *c, struct error *err);
uint16_t nbd_client_flags(const struct nbd_client *c, const struct nbd_export *x);

/* serve.c: runs one of the connection's threads until the connection ends. */
void nbd_client_serve(struct nbd_client *c);

/* server.c */
struct nbd_export *nbd_server_export_find(struct nbd_server *s, const char *name, size_t length);
void nbd_server_note(struct nbd_server *s, const char *fmt, ...) __attribute__((format(printf, 2, 3)));
/* Starts another thread of the connection, counted in c->threads; false when that cannot be. */
bool nbd_client_thread_start(struct nbd_client *c);

#endif
