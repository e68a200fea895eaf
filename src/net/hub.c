/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * A hub gives each frame to all that are on it but the one it came from. A place for a card is a backend of its own; a network has the hub
 * as its frontend. Offloads stay behind: frames are finished and cut before they come here, since not all may take others.
 *
 * Who has no room loses the frame, as on a wire, if another one took it; if none did, the sender keeps it until there is room.
 */
#include "net/hub.h"

#include <stdio.h>
#include <stdlib.h>

#include "base/bits.h"
#include "base/error.h"
#include "net/backend_private.h"

enum { MEMBERS = 48 };

/* Each is a port (of a card) or a network. */
struct member { struct net_hub *hub; struct net_backend *port, *network; };

struct net_hub {
    unsigned number;
    struct member *member[MEMBERS];
};

struct port { struct net_backend base; struct member *member; };     /* member NULL: the hub is gone */

static struct port *port_of(const struct net_backend *b) { return container_of(b, struct port, base); }

/* ---- frames ---- */

static bool give(struct member *to, const struct net_frame *f)
{
    return to->port ? net_deliver(to->port, 0, f) : net_send(to->network, 0, f);
}

static bool spread(const struct member *from, const struct net_frame *f)
{
    unsigned taken = 0, refused = 0;

    for (unsigned i = 0; i < MEMBERS; i++) {
        struct member *to = from->hub->member[i];

        if (!to || to == from) continue;
        if (give(to, f)) taken++;
        else refused++;
    }
    return taken || !refused;
}

static void spread_end(const struct member *from)
{
    for (unsigned i = 0; i < MEMBERS; i++) {
        struct member *to = from->hub->member[i];

        if (!to || to == from) continue;
        if (to->port) net_delivered(to->port, 0);
        else net_send_end(to->network, 0);
    }
}

/* Somebody has room: the others may have waited for it. */
static void room_tell(const struct member *from)
{
    for (unsigned i = 0; i < MEMBERS; i++) {
        struct member *to = from->hub->member[i];

        if (!to || to == from) continue;
        if (to->port) net_send_ready(to->port, 0);
        else net_receive_ready(to->network, 0);
    }
}

/* ---- places for cards ---- */

static bool port_send(struct net_backend *b, unsigned queue, const struct net_frame *f)
{
    return !port_of(b)->member || spread(port_of(b)->member, f);
}

static void port_sent(struct net_backend *b, unsigned queue)
{
    if (port_of(b)->member) spread_end(port_of(b)->member);
}

static void port_ready(struct net_backend *b, unsigned queue)
{
    if (port_of(b)->member) room_tell(port_of(b)->member);
}

static void port_describe(const struct net_backend *b, char *text, size_t size)
{
    if (port_of(b)->member) snprintf(text, size, ",hub=%u", port_of(b)->member->hub->number);
}

static void member_remove(struct member *m)
{
    for (unsigned i = 0; i < MEMBERS; i++)
        if (m->hub->member[i] == m) m->hub->member[i] = NULL;
    if (m->port) port_of(m->port)->member = NULL;
    else net_attach(m->network, NULL);
    free(m);
}

static void port_destroy(struct net_backend *b)
{
    if (port_of(b)->member) member_remove(port_of(b)->member);
    net_backend_fini(b);
    free(port_of(b));
}

static const struct net_backend_ops port_ops = {
    .type = "hubport", .send = port_send, .sent = port_sent, .ready = port_ready, .describe = port_describe, .destroy = port_destroy,
};

/* ---- networks ---- */

static bool network_receive(void *opaque, unsigned queue, const struct net_frame *f) { return spread(opaque, f); }
static void network_received(void *opaque, unsigned queue) { spread_end(opaque); }
static void network_send_ready(void *opaque, unsigned queue) { room_tell(opaque); }

/* ---- who is on it ---- */

static struct member *member_add(struct net_hub *h, struct error *err)
{
    for (unsigned i = 0; i < MEMBERS; i++) {
        if (h->member[i]) continue;
        h->member[i] = calloc(1, sizeof(*h->member[i]));
        if (!h->member[i]) break;
        h->member[i]->hub = h;
        return h->member[i];
    }
    error_set(err, "hub %u has no room for more than %d cards and networks", h->number, MEMBERS);
    return NULL;
}

struct net_hub *net_hub_new(unsigned number, struct error *err)
{
    struct net_hub *h = calloc(1, sizeof(*h));

    if (h) h->number = number;
    else error_set(err, "no memory for hub %u", number);
    return h;
}

void net_hub_free(struct net_hub *h)
{
    for (unsigned i = 0; h && i < MEMBERS; i++)
        if (h->member[i]) member_remove(h->member[i]);
    free(h);
}

unsigned net_hub_number(const struct net_hub *h) { return h->number; }

struct net_backend *net_hub_port_new(struct net_hub *h, const char *id, struct error *err)
{
    struct port *p = calloc(1, sizeof(*p));

    if (!p) error_set(err, "no memory for %s", id);
    else if (net_backend_init(&p->base, &port_ops, id, err) == 0) {
        p->member = member_add(h, err);
        if (p->member) {
            p->member->port = &p->base;
            return &p->base;
        }
        net_backend_fini(&p->base);
    }
    free(p);
    return NULL;
}

int net_hub_join(struct net_hub *h, struct net_backend *network, struct error *err)
{
    struct net_frontend f = { .name = "hub", .receive = network_receive, .received = network_received, .send_ready = network_send_ready };
    struct member *m;

    if (net_is_attached(network)) return error_set(err, "network '%s' is in use already", net_id(network));
    m = member_add(h, err);
    if (!m) return -1;
    m->network = network;
    f.opaque = m;
    net_attach(network, &f);
    return 0;
}

bool net_hub_has(const struct net_hub *h, const struct net_backend *b)
{
    for (unsigned i = 0; i < MEMBERS; i++)
        if (h->member[i] && (h->member[i]->port == b || h->member[i]->network == b)) return true;
    return false;
}
