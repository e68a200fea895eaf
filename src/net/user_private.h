/* SPDX-License-Identifier: GPL-2.0-or-later */
/* What the files of user networking share. */
#ifndef NET_USER_PRIVATE_H
#define NET_USER_PRIVATE_H

#include <slirp/libslirp.h>

#include "net/backend_private.h"
#include "net/user.h"

struct waiting;
struct user_timer;
struct user_fragments;

struct user_poll { int fd, events, ready; };
struct user_watch { uint32_t events; unsigned round; };  /* what epoll knows of a descriptor */

struct user {
    struct net_backend base;
    Slirp *slirp;
    struct in_addr network;
    bool restricted, no_ipv4;
    int epoll;
    struct user_poll *poll;                              /* as slirp_pollfds_fill gave them */
    unsigned poll_count, poll_room;
    struct user_watch *watch;                            /* by descriptor */
    unsigned watch_count, round;
    struct timer *timer;                                 /* when slirp wants to be called without any reason */
    int64_t timer_at_ms;
    struct user_timer *timers;
    struct waiting *first, **last;                       /* frames the guest had no room for */
    unsigned waiting_count;
    bool holds_back;                                     /* sockets are not read meanwhile */
    bool is_flushing;                                    /* what waits goes to the card */
    bool has_delivered;                                  /* and not yet said so */
    bool in_slirp;                                       /* which must not be entered again */
    bool hides_loopback;
    struct in_addr dns;
    struct in6_addr dns6;
    struct net_user_pipe *pipes;
    unsigned full_pipes;                                 /* the guest sends nothing meanwhile */
    struct timer *pipes_timer;
    bool in_output, tells_room;                          /* libslirp is in the middle of something; pipes are being asked */
    struct user_fragments *fragments;                    /* datagrams that are not whole yet; made when there are */
    uint16_t mss[4096];                                  /* by connection: what the guest's SYN said */
    uint8_t frame[NET_FRAME_MAX];                        /* from the guest, in one piece */
};

/* user_config.c: texts into slirp's configuration; strings stay those of c. 0, or -1 with *err. */
int user_config_read(SlirpConfig *s, const struct net_user_config *c, struct error *err);

/* user_forward.c */
int user_guestfwd_add(struct user *u, const char *text, struct error *err);
/* Those pipes that wanted room may have it now. */
void user_pipes_resume(struct user *u);
void user_pipes_flush(void *user);
void user_pipes_free(struct user *u);

/* user_frame.c: frames on their way. From the guest: checksum finished, room for large segments asked for. */
bool user_frame_from_guest(struct user *u, size_t size, const struct net_header *h);
/* Is u->frame for an address that would lead to the host's loopback, other than 10.0.2.2, which libslirp knows of itself? */
bool user_frame_is_to_loopback(const struct user *u, size_t size);
/* To the guest: large TCP segments get a header that says how to cut them, large datagrams become fragments. */
void user_frame_to_guest(struct user *u, const uint8_t *frame, size_t size);

/* user_fragment.c: does u->frame hold a fragment? Then it is kept until the datagram is whole, which is in u->frame then: its size; 0: not yet. */
bool user_is_fragment(const uint8_t *frame, size_t size);
size_t user_fragment_take(struct user *u, size_t size);

/* user.c */
/* After each call into libslirp. */
void user_sync(struct user *u);
void user_deliver(struct user *u, const struct net_frame *f);
/* The end of a batch of them. */
void user_delivered_tell(struct user *u);

#endif
