/* SPDX-License-Identifier: GPL-2.0-or-later */
/* What an NBD server says about its exports. */
#ifndef BLOCK_NBD_LIST_H
#define BLOCK_NBD_LIST_H

#include <stdbool.h>
#include <stdint.h>

struct error;
struct nbd_tls;

enum { NBD_LIST_WITHIN_MS = 30000, NBD_LIST_MAX = 1024, NBD_LIST_CONTEXTS_MAX = 256, NBD_LIST_BYTES_MAX = 4 << 20 };

/* Texts of the server are fit for a terminal. */
struct nbd_listed {
    char *name, *description;       /* description: "" without one */
    bool described;                 /* size and flags are known */
    uint64_t size;
    uint16_t flags;
    uint32_t min_block, preferred_block, max_block;     /* 0: not said */
    char **context;
    unsigned contexts;
};
struct nbd_list {
    struct nbd_listed *export;
    unsigned count;
    uint32_t bytes;                 /* of all texts */
};

/* path: a unix socket, or NULL: host and port. tls NULL: plain; tls_hostname may be NULL. The server has within_ms for all of it, once
 * connected. 0, or -1 with *err; free it in any case. */
int nbd_list_get(struct nbd_list *l, const char *path, const char *host, const char *port, struct nbd_tls *tls,
                 const char *tls_hostname, unsigned within_ms, struct error *err);
void nbd_list_free(struct nbd_list *l);
/* The bits of flags that have names, in order; NULL ends. */
extern const struct nbd_flag_name {
    uint16_t bit;
    const char *name;
} nbd_flag_names[];

#endif
