/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Character backends: where a serial port, the debug console or a monitor is connected on the host's side. */
#ifndef CHARDEV_CHARDEV_H
#define CHARDEV_CHARDEV_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct error;
struct chardev;
struct chardevs;

struct chardev_frontend {
    size_t (*can_receive)(void *opaque);                        /* bytes it takes now; 0: hold back */
    void (*receive)(void *opaque, const uint8_t *data, size_t size);
    void (*event)(void *opaque, bool opened);                   /* peer came or went; may be NULL */
    void *opaque;
    void (*focus)(void *opaque, bool has_focus);                /* muxed: the keyboard is (not) yours; may be NULL */
    void (*send_break)(void *opaque);                           /* a BREAK condition came in; may be NULL */
    void (*writable)(void *opaque);                             /* all that was queued is out; may be NULL */
};

/* All of one machine. They are closed before it is freed. */
struct chardevs *chardevs_new(void);
void chardevs_free(struct chardevs *all);
/* spec as in -serial: stdio, mon:stdio, file:PATH, pty, unix:PATH[,server=on][,wait=off], tcp:HOST:PORT[,server=on][,wait=off],
 * fd:NUMBER[,server=on] (an inherited socket), null, none (returns NULL without error), vc[:80Cx24C], ringbuf[,size=N]. ',id=NAME' behind any names it. */
struct chardev *chardev_open(struct chardevs *all, const char *spec, struct error *err);
void chardev_close(struct chardev *c);
void chardev_attach(struct chardev *c, const struct chardev_frontend *f);
/* Queues size bytes; never blocks; drops what a full queue (1 MiB) cannot take. Returns bytes queued. */
size_t chardev_write(struct chardev *c, const void *data, size_t size);
/* Listens in on what the frontend writes, and is told when it can take more. f NULL: no more. One for each. */
struct chardev_tap {
    void (*output)(void *opaque, const uint8_t *data, size_t size);
    void (*room)(void *opaque);
    void *opaque;
};
void chardev_tap(struct chardev *c, const struct chardev_tap *tap);
/* Bytes for the frontend, as if they came from the backend; how many it took. */
size_t chardev_inject(struct chardev *c, const uint8_t *data, size_t size);
/* A program in the guest opened the frontend's device, or has closed it. */
void chardev_guest_opened(struct chardev *c, bool open);
/* The frontend can take more now. */
void chardev_accept_input(struct chardev *c);
/* From now on descriptors that come over a Unix socket are kept until others come; otherwise they are closed. */
void chardev_descriptors_accept(struct chardev *c);
/* The first that came with what was read last, the caller's from now on; -1: none. */
int chardev_descriptor_take(struct chardev *c);
/* A connection that was made elsewhere, for a socket that waits for one. Takes fd. -1 with *err, and fd stays the caller's. */
int chardev_client_add(struct chardev *c, int fd, struct error *err);
/* Several frontends on one stdio (mon:stdio): Ctrl-A c switches, Ctrl-A x quits, Ctrl-A h helps, Ctrl-A b break, Ctrl-A s,
 * Ctrl-A t timestamps, Ctrl-A Ctrl-A sends Ctrl-A. */
struct chardev *chardev_mux_second(struct chardev *c);
/* What Ctrl-A x does (the default: nothing). Main thread, machine lock held. */
void chardev_on_quit(struct chardevs *all, void (*fn)(void *opaque), void *opaque);
/* Ctrl-A s: fn saves and says in one line what came of it. */
void chardev_on_save(struct chardevs *all, void (*fn)(void *opaque, char *says, size_t size), void *opaque);
/* Opening "mon:SPEC" again gives the next frontend of the same mux. */
/* Puts the terminal back as it was before stdio was opened; safe in a signal handler. Also done at exit. */
void chardev_terminal_restore(void);
/* The size that a text console shall have, vc:80Cx24C; 0: nobody said. */
void chardev_text_size(const struct chardev *c, unsigned *columns, unsigned *rows);
/* A BREAK condition for the frontend, as if it came in. */
void chardev_send_break(struct chardev *c);
/* The ring 'ringbuf': what was written and not read yet. The others are for one only. */
bool chardev_is_ring(const struct chardev *c);
size_t chardev_ring_used(const struct chardev *c);
size_t chardev_ring_read(struct chardev *c, uint8_t *data, size_t size);
/* All open ones, for 'info chardev'; a frontend of a mux is not listed by itself. */
void chardev_list(const struct chardevs *all, void (*print)(void *opaque, const char *line), void *opaque);
struct chardev *chardev_next(const struct chardevs *all, const struct chardev *c);          /* of all open ones; NULL: the first; NULL behind the last */
/* What it is called in lists; a name that it has stays. */
void chardev_label_set(struct chardev *c, const char *label);
const char *chardev_label(const struct chardev *c);             /* "" without one */
bool chardev_has_frontend(const struct chardev *c);
/* Is anybody at the other end? Sockets have a peer or none; everything else is always there. NULL: nobody. */
bool chardev_is_connected(const struct chardev *c);
const char *chardev_description(const struct chardev *c);       /* "pty:/dev/pts/3" */

#endif
