/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * A file server of 9P2000.L for one client that is not trusted: it serves the tree below one folder of the host and nothing else. One
 * message in, one message out; the caller carries them. Not for several threads at a time.
 */
#ifndef P9_SERVER_H
#define P9_SERVER_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct error;
struct p9_server;

enum p9_security { P9_PASSTHROUGH, P9_NONE, P9_MAPPED_XATTR };
enum { P9_MSIZE_MAX = 1 << 20, P9_MSIZE_LEAST = 4096 };

struct p9_config {
    const char *path;                  /* the folder */
    enum p9_security security;
    bool readonly;
    uint32_t file_mode, directory_mode; /* mapped: of new files on the host; 0: 0600 and 0700 */
};
/* NULL with *err. */
struct p9_server *p9_server_new(const struct p9_config *config, struct error *err);
void p9_server_free(struct p9_server *s);
/* Forgets the client: all of its fids. */
void p9_server_reset(struct p9_server *s);
/* Answers the message of size bytes in reply, which has room for room bytes; returns the answer's length, 0 if there can be none. */
size_t p9_server_handle(struct p9_server *s, const uint8_t *message, size_t size, uint8_t *reply, size_t room);
unsigned p9_server_fids(const struct p9_server *s);

#endif
