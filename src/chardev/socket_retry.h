/* SPDX-License-Identifier: GPL-2.0-or-later */
/* A client's way to a peer that may not be there yet, or not any more. */
#ifndef CHARDEV_SOCKET_RETRY_H
#define CHARDEV_SOCKET_RETRY_H

#include <sys/socket.h>

struct socket_retry;
enum { SOCKET_RETRY_ADDRESSES = 8 };

/* Tries all addresses, one after the other, at once and then every so many seconds, until found gets a connection. NULL: no memory. */
struct socket_retry *socket_retry_new(const struct sockaddr_storage *to, const socklen_t *length, unsigned count, unsigned seconds,
                                      void (*found)(void *opaque, int fd), void *opaque);
/* The connection is gone. */
void socket_retry_later(struct socket_retry *r);
void socket_retry_free(struct socket_retry *r);        /* NULL is fine */

#endif
