/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * guestfwd= to character devices: an address of a user network whose connections end in one, which is open all the time (what it sends waits until the
 * guest connects). A device of -chardev or chardev-add is used as it is; one that is written in the rule goes with the network.
 */
#include <stdlib.h>
#include <string.h>

#include "base/error.h"
#include "chardev/chardev.h"
#include "machine/pc_private.h"
#include "net/user.h"

struct pc_guestfwd {
    struct pc_guestfwd *next;
    const struct net_backend *network;
    struct net_user_pipe *pipe;
    struct chardev *c;
    bool is_own;
};

static size_t output(void *opaque, const void *data, size_t size) { return chardev_write(((struct pc_guestfwd *)opaque)->c, data, size); }
static void writable(void *opaque) { net_user_pipe_resume(((struct pc_guestfwd *)opaque)->pipe); }
static void room(void *opaque) { chardev_accept_input(((struct pc_guestfwd *)opaque)->c); }
static size_t can_receive(void *opaque) { return net_user_pipe_room(((struct pc_guestfwd *)opaque)->pipe); }
static void receive(void *opaque, const uint8_t *data, size_t size) { net_user_pipe_give(((struct pc_guestfwd *)opaque)->pipe, data, size); }

static struct chardev *device_find(struct machine *m, const char *where, const char *spec, bool *is_own, struct error *err)
{
    struct chardev *c;

    *is_own = strncmp(where, "chardev:", 8);
    c = *is_own ? NULL : pc_chardev_find(m, where + 8);
    if (c && chardev_has_frontend(c)) {
        error_set(err, "Chardev '%s' is busy", where + 8);
        return NULL;
    }
    if (c) return c;
    if (spec) return pc_chardev_open(m, "guestfwd", spec, err);
    error_set(err, "Chardev '%s' not found", where + 8);
    return NULL;
}

static int forward_create(struct machine *m, struct net_backend *b, const char *rule, const char *spec, struct error *err)
{
    struct pc_guestfwd *f = calloc(1, sizeof(*f));
    const struct net_user_pipe_end end = { output, room, f };

    if (!f) return error_set(err, "no memory for guestfwd=%s", rule);
    *f = (struct pc_guestfwd){ .next = m->guestfwd, .network = b };
    f->c = device_find(m, net_user_guestfwd_device(rule), spec, &f->is_own, err);
    if (f->c) f->pipe = net_user_pipe_new(b, rule, &end, err);
    if (!f->pipe) {
        if (f->c && f->is_own) pc_chardev_drop(m, f->c);
        free(f);
        return -1;
    }
    m->guestfwd = f;
    chardev_attach(f->c, &(struct chardev_frontend){ .can_receive = can_receive, .receive = receive, .opaque = f, .writable = writable });
    return 0;
}

int pc_guestfwds_create(struct machine *m, struct net_backend *b, const struct net_user_config *c, struct error *err)
{
    for (unsigned i = 0; i < c->guestfwd_count; i++)
        if (net_user_guestfwd_device(c->guestfwd[i]) && forward_create(m, b, c->guestfwd[i], c->guestfwd_spec[i], err) < 0) {
            pc_guestfwds_close(m, b);
            return -1;
        }
    return 0;
}

void pc_guestfwds_close(struct machine *m, const struct net_backend *b)
{
    for (struct pc_guestfwd **link = &m->guestfwd, *f; (f = *link);) {
        if (f->network != b) {
            link = &f->next;
            continue;
        }
        *link = f->next;
        chardev_attach(f->c, NULL);
        if (f->is_own) pc_chardev_drop(m, f->c);
        free(f);
    }
}
