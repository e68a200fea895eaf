/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Inside the room: what a backend is made of. */
#ifndef CHARDEV_PRIVATE_H
#define CHARDEV_PRIVATE_H

#include "chardev/chardev.h"

struct kind;

struct chardev_ops {
    size_t (*write)(struct chardev *c, const uint8_t *data, size_t size);
    void (*accept_input)(struct chardev *c);   /* also called when a frontend is attached */
    void (*close)(struct chardev *c);          /* frees */
    void (*guest_opened)(struct chardev *c, bool open);    /* NULL: it is all the same to it */
};

struct chardev {
    const struct chardev_ops *ops;
    struct chardev_frontend frontend;
    struct chardev_tap tap;
    struct chardevs *all;                      /* whom it belongs to */
    const struct kind *kind;                   /* NULL: a frontend of a mux */
    struct chardev *next_open;                 /* list of backends */
    char description[160];
    char label[64];
    int log_fd;                                /* what goes out goes there too; -1: nowhere */
    bool log_lacks;                            /* something of it */
    unsigned columns, rows;                    /* of a text console; 0: nobody said */
};

enum { STREAM_DESCRIPTORS = 16 };

/* Bytes over descriptors, with a queue for what the peer does not take at once. */
struct stream {
    struct chardev base;
    int in_fd, out_fd;                         /* -1: none, or nobody connected */
    bool own_in, own_out;                      /* to be closed with the backend */
    bool in_watched, out_watched, peer_watched, out_is_socket, reading, ended, closed_noticed;
    uint8_t *queue;                            /* ring of QUEUE_BYTES, allocated when first needed */
    size_t queue_at, queue_used;
    bool takes_descriptors;                    /* of a Unix socket's peer; so many are kept */
    unsigned descriptors;
    int descriptor[STREAM_DESCRIPTORS];
    void (*hung_up)(struct stream *s);         /* the peer went; NULL: input just ends */
    void (*closing)(struct stream *s);         /* what a kind has to give back; NULL: nothing */
    /* Bytes are not sent as they are: encode makes at most twice as many, decode at most as many, in place. NULL: as they are. */
    size_t (*encode)(struct stream *s, const uint8_t *data, size_t size, uint8_t *out);
    size_t (*decode)(struct stream *s, uint8_t *data, size_t size);
};
extern const struct chardev_ops stream_ops;
void stream_init(struct stream *s, int in_fd, int out_fd);
void stream_connect(struct stream *s, int fd, bool is_socket);
void stream_disconnect(struct stream *s);
void stream_descriptors_accept(struct stream *s);
int stream_descriptor_take(struct stream *s);
/* Bytes as they are, for the other end of a protocol: all, or none where there is no room. */
void stream_put(struct stream *s, const uint8_t *data, size_t size);

/* options: the text behind the first comma, or NULL. */
struct chardev *stdio_open(const char *path, const char *options, struct error *err);
struct chardev *pty_open(const char *path, const char *options, struct error *err);
struct chardev *unix_open(const char *path, const char *options, struct error *err);
struct chardev *tcp_open(const char *address, const char *options, struct error *err);
struct chardev *telnet_open(const char *address, const char *options, struct error *err);
struct chardev *udp_open(const char *address, const char *options, struct error *err);
/* "host:port", "[v6]:port", ":port" */
int chardev_address_split(const char *kind, const char *text, char *host, size_t host_size, char *port, size_t port_size, struct error *err);
struct chardev *fd_open(const char *number, const char *options, struct error *err);
/* false: c is no listening socket, or somebody is there. */
bool socket_client_add(struct chardev *c, int fd);
struct chardev *ringbuf_open(const char *path, const char *options, struct error *err);
struct chardev *vdagent_open(const char *path, const char *options, struct error *err);
struct chardev *mux_open(struct chardev *backend);

void chardev_quit(struct chardevs *all);
void chardev_save(struct chardevs *all, char *says, size_t size);
/* The value of name=value; false: there is none. */
bool chardev_option_text(const char *options, const char *name, char *value, size_t size);
/* 0, or -1 with *err; without the option *value stays. */
int chardev_option_number(const char *options, const char *name, unsigned most, unsigned *value, struct error *err);
int chardev_option_bool(const char *options, const char *name, bool *value, struct error *err);
/* Refuses options that are none of names (NULL ends the list). */
int chardev_options_check(const char *kind, const char *options, const char *const *names, struct error *err);

#endif
