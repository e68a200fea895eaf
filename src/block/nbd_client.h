/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The NBD client between its parts: where the server is (nbd_uri.c), the handshake (nbd_handshake.c), requests (nbd_client.c). */
#ifndef BLOCK_NBD_CLIENT_H
#define BLOCK_NBD_CLIENT_H

#include "block/block_private.h"
#include "block/nbd_stream.h"

struct nbd_address {
    char *path;                     /* of a unix socket, or NULL */
    char *host, *port;
    char *export;                   /* "" is the default one */
    char *tls_creds, *tls_hostname, *tls_directory;
    char *context;                  /* asked for instead of base:allocation: a dirty bitmap; NULL: none */
    bool tls;
};
/* nbd://host:port/export, nbd+unix:///export?socket=PATH, nbds..., nbd:host:port:exportname=E, nbd:unix:PATH, or options. */
int nbd_address_parse(struct nbd_address *a, const char *name, const struct block_option_set *options, struct error *err);
void nbd_address_free(struct nbd_address *a);
/* A connected socket, or -1 with *err. */
int nbd_address_connect(const struct nbd_address *a, struct error *err);

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

#endif
