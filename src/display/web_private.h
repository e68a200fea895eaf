/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Inside of the web server: web.c has the sockets, web_request.c the answers, web_session.c who may ask, web_console.c the consoles. */
#ifndef DISPLAY_WEB_PRIVATE_H
#define DISPLAY_WEB_PRIVATE_H

#include "display/bytes.h"
#include "display/http.h"
#include "display/web.h"
#include "display/websocket.h"

struct vnc_server;

enum { WEB_SESSIONS = 16, WEB_SECRET_CHARACTERS = 32 };
struct web_secret { char text[WEB_SECRET_CHARACTERS + 1]; };

struct web_connection {
    struct web_server *server;
    struct web_connection *next;
    int fd;
    bool gone;                         /* to be freed at the next occasion */
    bool closing;                      /* after what is in out */
    bool authenticated;
    char peer[72];
    int64_t since_ns;                  /* of the last thing that it got on with */
    unsigned watched;                  /* LOOP_* */
    struct bytes in, out;
    size_t searched;                   /* bytes of in that have no end of a head */

    bool is_console;                   /* its websocket is open; in is what the console did not take yet */
    unsigned console;
    uint64_t position;                 /* in the console's output */
    struct websocket socket;
};

/* The end of what a console put out. */
struct web_console {
    uint8_t *ring;                     /* WEB_HISTORY bytes; NULL: nothing came yet */
    uint64_t end;                      /* bytes so far */
};
enum { WEB_HISTORY = 256 << 10 };

struct web_server {
    struct web_config config;
    struct web_host host;
    char where[128], name[128];
    unsigned port;
    int fd;
    struct timer *timer;
    struct vnc_server *vnc;            /* NULL: no screen */
    struct web_connection *connections;
    unsigned count;
    struct web_secret token, session[WEB_SESSIONS];
    unsigned sessions;                 /* so far; the oldest ends where there are too many */
    struct web_console console[WEB_CONSOLES_MAX];
};

struct web_asset {
    const char *path, *type;
    const uint8_t *data;               /* gzip */
    size_t size;
    size_t plain_size;
};
/* Made by web/embed.py; ends with a NULL path. */
extern const struct web_asset web_assets[];

/* web.c */
void web_output_watch(struct web_connection *c);
/* c's socket belongs to somebody else from now on. */
int web_connection_release(struct web_connection *c);

/* web_request.c: a request, whose head is cut into strings; the answer goes to c->out. */
void web_request_answer(struct web_connection *c, const struct http_request *r, size_t head_bytes);
void web_refuse(struct web_connection *c, int status, const char *why);

/* web_session.c */
int web_secret_make(struct web_secret *s);
void web_url(const struct web_server *s, char *text, size_t size);
/* The cookie is a session's, or the query has the token, which is then used up: *new_session gets the cookie to set. */
bool web_session_check(struct web_connection *c, const struct http_request *r, const struct web_secret **new_session);
/* Does the request name us by an address or a name that is ours? Else somebody's DNS makes a browser take us for his server. */
bool web_host_is_ours(const struct web_server *s, const struct http_request *r);
/* Does it come from our own page? */
bool web_origin_is_ours(const struct http_request *r);
void web_cookie_name(const struct web_server *s, char *name, size_t size);

/* web_console.c */
void web_console_open(struct web_connection *c, unsigned console);
/* data came from the socket. */
void web_console_receive(struct web_connection *c, const uint8_t *data, size_t size);
/* More for out, if it has taken the rest. */
void web_console_send(struct web_connection *c);
void web_consoles_free(struct web_server *s);

#endif
