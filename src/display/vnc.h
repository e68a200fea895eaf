/* SPDX-License-Identifier: GPL-2.0-or-later */
/* A VNC server: shows a display to any number of clients of RFB 3.3 to 3.8, and takes their keys and pointers. */
#ifndef DISPLAY_VNC_H
#define DISPLAY_VNC_H

#include <gnutls/gnutls.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "display/listen.h"

struct clipboard;
struct display;
struct error;
struct layout;
struct vnc_server;

/* Where TLS sessions come from: credentials are not this room's business. */
struct vnc_tls_source {
    int (*session_new)(void *opaque, gnutls_session_t *session);   /* a server's, not blocking; -1: no memory */
    void (*session_free)(void *opaque, gnutls_session_t session);
    int (*reload)(void *opaque, struct error *err);                /* of sessions from now on; -1 with *err: it stays as it was */
    bool is_x509;                      /* else anonymous */
    void *opaque;
};
enum vnc_share { VNC_ALLOW_EXCLUSIVE, VNC_FORCE_SHARED, VNC_SHARE_IGNORE };
/* An end of a connection; of a Unix socket the service is the path. */
struct vnc_peer {
    const char *family;                /* ipv4, ipv6, unix */
    char host[64], service[112];
    bool is_web;
};
/* A client came; it has passed the handshake; it went. */
enum vnc_event { VNC_CONNECTED, VNC_INITIALIZED, VNC_DISCONNECTED };
struct vnc_config {
    void (*event)(void *opaque, enum vnc_event event, const struct vnc_peer *near, const struct vnc_peer *far);   /* or NULL */
    void *event_opaque;
    const char *unix_path;             /* or */
    const char *host;                  /* "" or NULL: all addresses of the host */
    unsigned port, port_to;            /* the first free one of them */
    enum listen_family family;
    const char *web_host;              /* websocket; as host */
    unsigned web_port;                 /* 0: none */
    bool password;                     /* clients must know it; until one is set none can */
    const char *first_password;        /* set from the start, or NULL */
    const struct vnc_tls_source *tls;  /* NULL: in the clear */
    enum vnc_share share;
    unsigned clients;                  /* at most so many at a time; 0: 64 */
    unsigned key_delay_ms;             /* between keys */
    bool lock_key_sync;                /* the guest's Caps Lock and Num Lock follow those of viewers that say enough */
    bool is_internal;                  /* listens nowhere: clients come by vnc_server_adopt */
    const char *name;                  /* of the guest, or NULL */
    struct clipboard *clipboard;       /* shared with the guest, or NULL. Stays the caller's */
    const struct layout *layout;       /* of viewers that send characters, and of the guest; NULL: American. Stays the caller's */
};

/* Listens from now on. NULL with *err. */
struct vnc_server *vnc_server_new(struct display *d, const struct vnc_config *config, struct error *err);
/* A client whose websocket is open but for the reply, which goes out first; data came after its request. Takes fd. */
void vnc_server_adopt(struct vnc_server *s, int fd, const uint8_t *reply, size_t reply_bytes, const uint8_t *data, size_t size);
/* A connection that was made elsewhere, from its first byte on; skip_auth: it may look and type without a password. Takes fd. */
void vnc_server_add(struct vnc_server *s, int fd, bool skip_auth);
void vnc_server_free(struct vnc_server *s);
/* Where to listen from now on; 0 addresses: nowhere. All of them, or -1 with *err and nothing has changed. */
enum { VNC_LISTENERS = 8 };
struct vnc_address {
    const char *unix_path;             /* or */
    bool has_fd;                       /* a socket that listens already, the server's on success; or */
    int fd;
    const char *host;                  /* as in struct listen_where, as the rest */
    unsigned port, port_to;
    enum listen_family family;
};
int vnc_server_listen(struct vnc_server *s, const struct vnc_address *a, unsigned count, struct error *err);
/* Reads the files of its TLS credentials anew. -1 with *err: there are none. */
int vnc_tls_reload(struct vnc_server *s, struct error *err);
/* The first eight characters count. NULL: no client may come in with a password any more. -1 with *err: the server asks for none. */
int vnc_password_set(struct vnc_server *s, const char *password, struct error *err);
/* In seconds since 1970: from then on nobody comes in with the password; INT64_MAX: never. */
int vnc_password_expire(struct vnc_server *s, int64_t at_s, struct error *err);
/* vnc_peer.c: where it listens (false: there are not so many), websockets last; who is there; "none" or "vnc". */
bool vnc_listener(const struct vnc_server *s, unsigned i, struct vnc_peer *p);
void vnc_clients_list(const struct vnc_server *s, void (*fn)(void *opaque, const struct vnc_peer *client), void *opaque);
const char *vnc_auth_name(const struct vnc_server *s);
void vnc_info(const struct vnc_server *s, void (*print)(void *opaque, const char *line), void *opaque);

#endif
