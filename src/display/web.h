/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * A web page with the guest's screen, its serial consoles, power buttons and figures. Who has the token of the printed URL may do all that
 * the page can; nobody else gets a byte of it. All calls with the machine lock held.
 */
#ifndef DISPLAY_WEB_H
#define DISPLAY_WEB_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct display;
struct error;
struct layout;
struct web_server;

enum { WEB_PORT_DEFAULT = 5800, WEB_CONSOLES_MAX = 8 };
struct web_config {
    const char *host;                  /* NULL: 127.0.0.1 */
    unsigned port, port_to;            /* the first free one of them; 0: any */
    const char *name;                  /* of the guest, or NULL */
    const struct layout *layout;       /* of the guest's keyboard, as in struct vnc_config */
};

/* Counters since the start; the page makes rates of them. */
struct web_figures {
    const char *state, *engine;
    bool runs;
    unsigned cpus;
    uint64_t exits;                    /* out of guest code into the machine */
    uint64_t cpu_ns, guest_cpu_ns;     /* of the process, and of the threads that run the guest's processors */
    uint64_t ram_bytes, resident_bytes;
    bool has_disk, has_net;
    uint64_t disk_read_bytes, disk_written_bytes, net_received_bytes, net_sent_bytes;
};

/* What the page is about. */
struct web_host {
    unsigned consoles;
    const char *(*console_name)(void *opaque, unsigned console);
    /* In characters; 0: the page's own. */
    void (*console_size)(void *opaque, unsigned console, unsigned *columns, unsigned *rows);
    /* Keys for a console; how many bytes it took. web_console_ready tells when to come with the rest. */
    size_t (*console_input)(void *opaque, unsigned console, const uint8_t *data, size_t size);
    /* "pause", "resume", "reset", "powerdown", "quit". -1 with *err. */
    int (*command)(void *opaque, const char *name, struct error *err);
    void (*figures)(void *opaque, struct web_figures *f);
    void *opaque;
};

/* Listens from now on and says on stderr where. d NULL: no screen. NULL with *err. */
struct web_server *web_server_new(struct display *d, const struct web_config *config, const struct web_host *host, struct error *err);
void web_server_free(struct web_server *s);
void web_console_output(struct web_server *s, unsigned console, const uint8_t *data, size_t size);
void web_console_ready(struct web_server *s, unsigned console);
/* Where it listens, the URL for the next browser, and who is there. */
void web_info(const struct web_server *s, void (*print)(void *opaque, const char *line), void *opaque);

#endif
