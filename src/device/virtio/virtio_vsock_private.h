/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The two halves of the socket device: virtio_vsock.c speaks with the guest, virtio_vsock_host.c with Unix sockets. */
#ifndef DEVICE_VIRTIO_VIRTIO_VSOCK_PRIVATE_H
#define DEVICE_VIRTIO_VIRTIO_VSOCK_PRIVATE_H

#include "base/bits.h"
#include "device/virtio/virtio_vsock.h"

enum { VSOCK_BUFFER_BYTES = 256 << 10, VSOCK_CONNECTIONS_MAX = 512, VSOCK_RESETS_MAX = 256, VSOCK_PIECES_MAX = 64, VSOCK_LINE_MAX = 24 };
/* Flags of a shutdown: the sender of it takes, or sends, no more. */
enum { VSOCK_NO_RECEIVE = 1, VSOCK_NO_SEND = 2, VSOCK_NEITHER = 3 };
/* Packets that a connection owes the guest. */
enum { DUE_REQUEST = 1, DUE_RESPONSE = 2, DUE_CREDIT = 4, DUE_CREDIT_REQUEST = 8, DUE_SHUTDOWN = 16, DUE_RST = 32 };

enum vsock_state {
    VSOCK_GREETING,                      /* the host's program has not said yet which port it wants */
    VSOCK_REQUESTED,                     /* the guest has not answered yet */
    VSOCK_OPEN,
    VSOCK_CLOSING,                       /* the host's side is gone; the guest is told, or has to agree */
    VSOCK_DRAINING,                      /* the guest's side is gone; the host's program has not read all yet */
};

struct vsock_connection {
    struct vsock_connection *next, *next_ready;
    struct vsock *s;
    enum vsock_state state;
    int fd;                              /* -1: closed */
    bool is_ready;                       /* in the list of those with something for the guest */
    bool readable;                       /* fd may have bytes, nobody watches for that */
    bool credit_asked;
    unsigned due;
    unsigned host_shut, guest_shut;      /* VSOCK_NO_* that each has said */
    uint32_t guest_port, host_port;
    /* Bytes modulo 2^32: taken by the host's socket, and as the guest knows it; sent to the guest; what the guest has room for and has taken. */
    uint32_t forwarded, forwarded_told, sent, peer_room, peer_forwarded;
    uint8_t *buffer;                     /* of the guest, for the host's socket; NULL while there are none */
    size_t first, count;
    char line[VSOCK_LINE_MAX + 1];       /* the greeting so far */
    size_t line_bytes;
};

struct vsock {
    struct virtio v;
    struct virtio_vsock_config config;
    char *path;
    int listener;
    struct vsock_connection *first, *ready, **ready_last;
    unsigned connections;
    struct { uint64_t cid; uint32_t from, to, type; } reset[VSOCK_RESETS_MAX];      /* owed to the guest for what belongs to no connection */
    unsigned reset_first, resets;
    bool tx_waits;                       /* until the guest takes resets */
    uint32_t last_port;
};

/* ---- virtio_vsock.c ---- */

/* NULL: there are too many. Takes fd over if it is not NULL. */
struct vsock_connection *vsock_connection_new(struct vsock *s, enum vsock_state state, int fd);
/* fd is closed. */
void vsock_connection_free(struct vsock_connection *c);
/* It has something for the guest. */
void vsock_due(struct vsock_connection *c, unsigned due);
/* Sends what is due and what can be read. */
void vsock_pump(struct vsock *s);
/* The guest asked for both directions to end, and there is nothing left for the host: it gets its reset. */
void vsock_finish(struct vsock_connection *c);

/* ---- virtio_vsock_host.c ---- */

int vsock_listen(struct vsock *s, struct error *err);
void vsock_unlisten(struct vsock *s);
/* To the socket for this port. -1: nobody is there. */
int vsock_host_connect(struct vsock *s, uint32_t port);
/* The guest agreed to a connection that the host began: its program is told. false: it is gone. */
bool vsock_host_welcome(struct vsock_connection *c);
/* Has the loop watch for what the connection waits for. */
void vsock_host_watch(struct vsock_connection *c);
/* Hands bytes of the guest on, keeps what the socket does not take. iov is changed. */
void vsock_host_write(struct vsock_connection *c, struct iovec *iov, unsigned pieces);
/* Bytes read, 0: none now (or the end: host_shut tells). */
size_t vsock_host_read(struct vsock_connection *c, struct iovec *iov, unsigned pieces);
/* As the guest's shutdown flags say, once nothing is left to write. */
void vsock_host_shut(struct vsock_connection *c);
void vsock_host_close(struct vsock_connection *c);

#endif
