/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Inside of the VNC server. A client's bytes go this way:
 *   socket -> (vnc_web.c: frames) -> in -> vnc_client.c: messages -> vnc_input.c, vnc_update.c
 *   vnc_update.c, vnc_encode.c ... -> out -> (frames) -> socket
 */
#ifndef DISPLAY_VNC_PRIVATE_H
#define DISPLAY_VNC_PRIVATE_H

#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>
#include <zlib.h>

#include "display/bytes.h"
#include "display/clipboard.h"
#include "display/display.h"
#include "display/scancode.h"
#include "display/vnc.h"

struct pixel_format {
    uint8_t bits, depth;
    bool big_endian, true_color;
    uint16_t max[3];                   /* red, green, blue */
    uint8_t shift[3];
    bool is_ours;                      /* pixels go as they are */
    uint8_t short_bytes, short_at;     /* of ZRLE's compressed pixels: how many bytes, from which on */
    bool is_tight;                     /* three bytes in Tight */
};

enum { ENC_RAW = 0, ENC_TIGHT = 7, ENC_ZRLE = 16 };
enum { VNC_STREAMS = 4 };              /* Tight's zlib streams; ZRLE's is one more */

enum { VNC_KEYS_QUEUED = 512 };

/* Dirty tiles of TILE_WIDTH x TILE_HEIGHT pixels. */
enum { TILE_WIDTH = 64, TILE_HEIGHT = 16 };

struct vnc_tls;
struct vnc_web;
struct vnc_client {
    struct vnc_server *server;
    struct vnc_client *next;
    int fd;
    bool gone;                         /* to be freed at the next occasion */
    bool closing;                      /* after what is in out, as far as it goes */
    bool skip_auth;                    /* whoever handed it over vouches for it */
    bool ready;                        /* past the handshake */
    char peer[72];
    struct vnc_peer near, far;         /* its socket's ends, as they were when it came */
    int64_t since_ns;
    struct vnc_web *web;               /* NULL: plain RFB */
    struct vnc_tls *tls;               /* NULL: in the clear so far */
    bool tls_due, tls_open;            /* it begins when out is empty; its handshake is over */
    struct bytes in, out;
    size_t framed;                     /* websocket: bytes at the head of out that are frames already */
    size_t skip;                       /* bytes of in that nobody wants */

    /* Returns how many bytes it used; 0: it needs more, c->need says how many in all. */
    size_t (*step)(struct vnc_client *c, const uint8_t *data, size_t size);
    size_t need;
    unsigned minor;                    /* RFB 3.minor */
    uint8_t challenge[16];

    struct pixel_format format;
    int encoding, compress;
    bool can_resize, can_resize_ext, can_cursor, can_pointer_type, can_ext_key;
    bool told_ext_key, told_cursor, resize_due, map_due, cursor_due;
    enum { POINTER_UNTOLD, POINTER_MOVES, POINTER_POSITIONS } told_pointer;   /* which of them it sends now */
    uint16_t size_status;              /* reason << 8 | status, of the next ExtendedDesktopSize */
    bool has_clipboard, text_is_extended;      /* it knows the extension; the text that comes is of it */
    bool wants, wants_whole;           /* asked for an update, of all that there is */
    unsigned told_width, told_height;  /* the size that the client was told */
    unsigned width, height;            /* of what it is shown: one that cannot be told another size sees a part */
    unsigned columns, rows;            /* of tiles */
    uint8_t *dirty;
    bool any_dirty;
    z_stream stream[VNC_STREAMS + 1];
    bool stream_is_open[VNC_STREAMS + 1];
    struct bytes scratch;

    /* Input. */
    uint8_t key_down[(256 + 7) / 8];   /* keys that this client holds */
    bool caps, has_pointer;
    unsigned buttons;
    int last_x, last_y;
};

struct vnc_listener {
    int fd;
    enum listen_family family;         /* that was asked for */
    char where[128];
    char *unix_path;                   /* NULL: TCP */
};

struct vnc_server {
    struct display *display;
    struct display_viewer viewer;
    struct clipboard_user clipboard;
    struct vnc_config config;
    char *name, web_where[128];
    struct vnc_listener listener[VNC_LISTENERS];
    unsigned listeners;
    int web_fd;                        /* -1: none */
    struct timer *timer;               /* handshakes that take too long */
    struct vnc_client *clients;
    unsigned count;
    bool has_password;
    int64_t expires_s;                 /* since 1970 */
    struct { uint8_t key; bool down; } key_queue[VNC_KEYS_QUEUED];     /* a ring */
    unsigned key_first, keys;
    struct timer *key_timer;           /* armed: a key was sent a moment ago */
    unsigned leds, locks;              /* as they were last looked at; INPUT_LED_* of what the guest's keyboard has locked */
    uint8_t key[8];                    /* DES */
};

/* vnc.c */
void vnc_accept(struct vnc_server *s, int listener, bool over_web);
void vnc_clients_sweep(struct vnc_server *s);
/* c takes the screen for itself. */
void vnc_others_drop(struct vnc_client *c);
/* Somebody wants an update, or nobody any more. */
void vnc_interest_update(struct vnc_server *s);

/* vnc_listen.c */
int vnc_listen_begin(struct vnc_server *s, struct error *err);
void vnc_listen_end(struct vnc_server *s);

/* vnc_peer.c */
void vnc_socket_name(int fd, struct vnc_peer *p);              /* our end of it */
void vnc_event_tell(struct vnc_client *c, enum vnc_event event);

/* vnc_client.c */
/* web NULL: plain RFB */
struct vnc_client *vnc_client_new(struct vnc_server *s, int fd, const char *peer, struct vnc_web *web, bool skip_auth);
/* Its websocket is open since just now, by somebody else's handshake. */
void vnc_client_opened(struct vnc_client *c, const uint8_t *reply, size_t reply_bytes, const uint8_t *data, size_t size);
void vnc_client_free(struct vnc_client *c);
void vnc_client_flush(struct vnc_client *c);
/* The handshake is over. */
void vnc_client_begin(struct vnc_client *c);

/* vnc_auth.c: from the version to ClientInit. */
void vnc_handshake_begin(struct vnc_client *c);
void vnc_key_make(uint8_t key[8], const char *password);

/* The session is open: what VeNCrypt goes on with. */
void vnc_tls_opened(struct vnc_client *c);

/* vnc_tls.c. early came after the last plain message. */
struct vnc_tls *vnc_tls_new(const struct vnc_tls_source *source, int fd, const uint8_t *early, size_t early_bytes);
void vnc_tls_free(struct vnc_tls *t);
int vnc_tls_handshake(struct vnc_tls *t);                      /* 1: done, 0: again when the socket is ready, -1: over */
bool vnc_tls_wants_write(const struct vnc_tls *t);
/* There are bytes of which the socket's readiness says nothing. */
bool vnc_tls_has_more(const struct vnc_tls *t);
ssize_t vnc_tls_receive(struct vnc_tls *t, uint8_t *data, size_t size);
ssize_t vnc_tls_send(struct vnc_tls *t, const uint8_t *data, size_t size);

/* vnc_update.c */
int vnc_dirty_reset(struct vnc_client *c);                     /* everything; -1: no memory */
void vnc_dirty_mark(struct vnc_client *c, unsigned x, unsigned y, unsigned width, unsigned height);
void vnc_update_send(struct vnc_client *c);
void vnc_size_tell(struct vnc_client *c, unsigned reason, unsigned status);

/* vnc_encode.c, vnc_zrle.c, vnc_tight.c: a rectangle of the surface into out, at most so many pixels; the number of rectangles it became. */
enum { RECT_HEIGHT = 64 };
struct rect { unsigned x, y, width, height; };
unsigned vnc_rect_encode(struct vnc_client *c, const struct rect *r);
void vnc_rect_header(struct vnc_client *c, const struct rect *r, int32_t encoding);
void vnc_zrle_encode(struct vnc_client *c, const struct rect *r);
unsigned vnc_tight_encode(struct vnc_client *c, const struct rect *r);
/* scratch through one of the client's streams to the end of out. */
void vnc_deflate(struct vnc_client *c, unsigned stream);
void vnc_streams_free(struct vnc_client *c);
/* What the client sent, or our own. -1: it makes no sense. */
int vnc_format_set(struct pixel_format *f, const uint8_t data[16]);
void vnc_format_default(struct pixel_format *f);
void vnc_format_put(struct bytes *b);
void vnc_color_map_put(struct bytes *b);
uint32_t vnc_pixel(const struct pixel_format *f, uint32_t rgb);
void vnc_pixels_put(const struct pixel_format *f, uint8_t *to, const uint32_t *from, unsigned count);
/* Up to max colours of some pixels in the order of their appearance, and each pixel's number; 0: there are more. */
enum { PALETTE_MAX = 256 };
unsigned vnc_palette_make(const uint32_t *pixel, unsigned count, unsigned max, uint32_t *color, uint8_t *number);

/* vnc_clipboard.c. The client knows the extension; opaque is the server. */
void vnc_clipboard_known(struct vnc_client *c);
void vnc_clipboard_changed(void *opaque, const void *by);
/* Of a ClientCutText of this length: 1, its *size bytes are wanted; 0, they are not; -1, it makes no sense. */
int vnc_clipboard_wants(const struct vnc_client *c, uint32_t length, size_t *size);
void vnc_clipboard_take(struct vnc_client *c, bool is_extended, const uint8_t *data, size_t size);

/* vnc_input.c */
void vnc_key(struct vnc_client *c, bool down, uint32_t keysym);
void vnc_key_extended(struct vnc_client *c, bool down, uint32_t keysym, uint32_t scancode);
void vnc_pointer(struct vnc_client *c, unsigned mask, unsigned x, unsigned y);
/* Lets go of all that the client held. */
void vnc_input_release(struct vnc_client *c);
/* vnc_keys.c: on to the guest, not faster than key-delay-ms; at the end all that still waits is sent. */
void vnc_key_send(struct vnc_server *s, unsigned key, bool down);
int vnc_keys_begin(struct vnc_server *s);                      /* -1: no memory */
void vnc_keys_end(struct vnc_server *s);
/* A key goes down of which the viewer says what it means: locks that differ from the viewer's are switched first. */
void vnc_locks_match(struct vnc_client *c, uint32_t keysym, unsigned key);
/* keysym.c: a key of an American keyboard, 0: none; *shift: it takes Shift (1), does not (0), does not matter (-1). */
unsigned keysym_key(uint32_t keysym, int *shift);

/* vnc_web.c: the handshake over HTTP, then frames. -1: the connection is to be closed. unread bytes wait to be sent already. */
struct vnc_web *vnc_web_new(bool is_open);                     /* is_open: the handshake was somebody else's */
void vnc_web_free(struct vnc_web *w);
int vnc_web_receive(struct vnc_web *w, const uint8_t *data, size_t size, struct bytes *to, struct bytes *reply, size_t unread);
bool vnc_web_is_open(const struct vnc_web *w);

#endif
