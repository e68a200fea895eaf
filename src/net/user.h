/* SPDX-License-Identifier: GPL-2.0-or-later */
/* User networking: a small network of its own behind which the host's sockets are, no privileges needed. */
#ifndef NET_USER_H
#define NET_USER_H

#include "net/backend.h"

enum { NET_USER_FORWARDS = 64, NET_USER_SEARCH = 16 };

/* As the user typed them; NULL: the default. */
struct net_user_config {
    const char *net, *host, *dhcp_start, *dns;           /* 10.0.2.0/24, .2, .15, .3 */
    const char *ipv6_prefix, *ipv6_prefix_bits, *ipv6_host, *ipv6_dns;   /* fec0::, 64, fec0::2, fec0::3 */
    const char *hostname, *domain, *tftp, *bootfile, *tftp_server;
    const char *search[NET_USER_SEARCH + 1];             /* DNS suffixes; NULL ends */
    const char *hostfwd[NET_USER_FORWARDS], *guestfwd[NET_USER_FORWARDS];
    const char *guestfwd_spec[NET_USER_FORWARDS];         /* how the character device of such a rule is opened; NULL: it is there, or there is none */
    unsigned search_count, hostfwd_count, guestfwd_count;
    bool restricted, no_ipv4, no_ipv6;
    bool no_host_loopback;                               /* the guest's 10.0.2.2 is not the host's 127.0.0.1 */
};

/* NULL with *err. */
struct net_backend *net_user_new(const char *id, const struct net_user_config *c, struct error *err);
bool net_is_user(const struct net_backend *b);
/* "tcp:[ADDR]:PORT-[ADDR]:PORT", and for removing the part in front of the '-'. 0, or -1 with *err. */
int net_user_forward_add(struct net_backend *b, const char *text, struct error *err);
int net_user_forward_remove(struct net_backend *b, const char *text, struct error *err);

/* Of a guestfwd rule: what character device it leads to (chardev:ID, or a spec); NULL: it is no such rule. */
const char *net_user_guestfwd_device(const char *rule);
/* An address of the network behind which there is what the caller has: one stream, for whoever connects there last. It lives as long as the network. */
struct net_user_pipe_end {
    size_t (*output)(void *opaque, const void *data, size_t size);        /* from the guest; what it does not take comes again */
    void (*room)(void *opaque);                                           /* the guest may take some now, after it could not */
    void *opaque;
};
struct net_user_pipe;
struct net_user_pipe *net_user_pipe_new(struct net_backend *b, const char *rule, const struct net_user_pipe_end *end, struct error *err);
size_t net_user_pipe_room(struct net_user_pipe *p);
void net_user_pipe_give(struct net_user_pipe *p, const void *data, size_t size);
/* output takes more again. */
void net_user_pipe_resume(struct net_user_pipe *p);

/* Connections and forwards, a line each. */
void net_user_info(struct net_backend *b, void (*print)(void *opaque, const char *line), void *opaque);

#endif
