/* SPDX-License-Identifier: GPL-2.0-or-later */
/* A VNC server: shows a display to any number of clients of RFB 3.3 to 3.8, and takes their keys and pointers. */
#ifndef DISPLAY_VNC_H
#define DISPLAY_VNC_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct display;
struct error;
struct vnc_server;

enum vnc_share { VNC_ALLOW_EXCLUSIVE, VNC_FORCE_SHARED, VNC_SHARE_IGNORE };
struct vnc_config {
    const char *unix_path;             /* or */
    const char *host;                  /* "" or NULL: all addresses of the host */
    unsigned port, port_to;            /* the first free one of them */
    const char *web_host;              /* websocket; as host */
    unsigned web_port;                 /* 0: none */
    bool password;                     /* clients must know it; until one is set none can */
    enum vnc_share share;
    bool is_internal;                  /* listens nowhere: clients come by vnc_server_adopt */
    const char *name;                  /* of the guest, or NULL */
};

/* Listens from now on. NULL with *err. */
struct vnc_server *vnc_server_new(struct display *d, const struct vnc_config *config, struct error *err);
/* A client whose websocket is open but for the reply, which goes out first; data came after its request. Takes fd. */
void vnc_server_adopt(struct vnc_server *s, int fd, const uint8_t *reply, size_t reply_bytes, const uint8_t *data, size_t size);
void vnc_server_free(struct vnc_server *s);
/* The first eight characters count. NULL: no client may come in with a password any more. -1 with *err: the server asks for none. */
int vnc_password_set(struct vnc_server *s, const char *password, struct error *err);
void vnc_info(const struct vnc_server *s, void (*print)(void *opaque, const char *line), void *opaque);

#endif
