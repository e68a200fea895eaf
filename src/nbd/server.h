/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The NBD server: images as exports, given to clients over sockets that are listening already. One thread runs it;
 * each connection has threads of its own (serve.c).
 */
#ifndef NBD_SERVER_H
#define NBD_SERVER_H

#include <stdbool.h>
#include <stdint.h>

struct block_node;
struct error;
struct nbd_server;
struct nbd_tls;

struct nbd_server_options {
    unsigned clients_max;           /* connections at a time; 0: no limit but the server's own (1024) */
    bool persistent;                /* goes on when the last client has left */
    bool verbose;                   /* says on stderr why a connection ended */
    unsigned handshake_ms;          /* how long a client may take to choose an export; 0: 10 seconds */
    struct nbd_tls *tls;            /* all exports need TLS; NULL: none has it. Stays the caller's. */
};
struct nbd_server *nbd_server_new(const struct nbd_server_options *o, struct error *err);

/* Writes of nothing but zeroes become zeroes written without data. */
enum nbd_detect_zeroes { NBD_DETECT_OFF, NBD_DETECT_ON, NBD_DETECT_UNMAP };

struct nbd_export_options {
    const char *name;               /* "" is the default export */
    const char *description;        /* or NULL */
    struct block_node *node;        /* stays the caller's, to be closed after the server was freed */
    uint64_t offset_bytes;          /* the part of the node that is shown */
    uint64_t length_bytes;          /* UINT64_MAX: to the end, also when the image grows (new clients see that) */
    bool readonly;
    enum nbd_detect_zeroes detect_zeroes;
    bool depth;                     /* shows qemu:allocation-depth: which image of the chain holds what */
    const char *bitmap;             /* the dirty bitmap shown as qemu:dirty-bitmap:NAME, of the node or the next below; NULL: none */
};
/* Before nbd_server_run. Strings are copied. 0, or -1 with *err: the name is taken or too long, the part is outside. */
int nbd_server_export_add(struct nbd_server *s, const struct nbd_export_options *o, struct error *err);
/* A listening socket (unix or TCP); the server closes it. 0, or -1 with *err. */
int nbd_server_listen(struct nbd_server *s, int fd, struct error *err);
/* Serves a connected socket as a client that has chosen the export already, as the kernel's nbd driver expects it
 * after NBD_CMD_CONNECT. The server closes it. 0, or -1 with *err. */
int nbd_server_attach(struct nbd_server *s, int fd, const char *export_name, struct error *err);
/* What a client of this export is told: its size and its flags. */
int nbd_server_export_look(struct nbd_server *s, const char *name, uint64_t *size_bytes, uint16_t *flags,
                           struct error *err);

/* Serves until stop_fd can be read, or (not persistent) the last client that had an export has left. */
void nbd_server_run(struct nbd_server *s, int stop_fd);
/* Lets requests in flight finish (two seconds for clients that take no replies) and ends all connections. */
void nbd_server_free(struct nbd_server *s);

#endif
