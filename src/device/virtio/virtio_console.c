/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Serial bus: up to 31 ports, each two queues of bytes, and two control queues on which both sides tell what ports there are and who
 * has opened them. Bytes for the guest are read from the backend only when it has the port open and has given buffers; bytes of
 * the guest whose backend takes no more wait in their chain, and with them the queue.
 *
 * A driver that does not take MULTIPORT has port 0 alone.
 * Ports come and go. When one goes, what its driver has to send comes back unsent: it may wait for that with interrupts off. Buffers to receive into stay.
 * Limits: no resizing of consoles (nothing here knows a terminal's size).
 * Source: VIRTIO 1.2, section 5.3.
 */
#include "device/virtio/virtio_console.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/bits.h"
#include "base/clock.h"
#include "base/error.h"
#include "base/loop.h"

enum { F_MULTIPORT = 1, F_EMERG_WRITE = 2, QUEUE_SIZE = 128, CONTROL_QUEUE_SIZE = 32, RETRY_NS = 5000000, PIECE_BYTES = 4096, SHARE_BYTES = 1 << 20, MESSAGES_MAX = 256 };
enum { DEVICE_READY = 0, PORT_ADD = 1, PORT_REMOVE = 2, PORT_READY = 3, CONSOLE_PORT = 4, PORT_OPEN = 6, PORT_NAME = 7 };
enum { QUEUE_CONTROL_IN = 2, QUEUE_CONTROL_OUT = 3 };

struct layout { le16 cols, rows; le32 max_nr_ports, emerg_wr; } __attribute__((packed));
struct control { le32 id; le16 event, value; } __attribute__((packed));
struct message { struct message *next; size_t size; uint8_t data[]; };

struct port {
    struct console *c;
    unsigned id;
    bool added, host_open, guest_open;   /* added: the driver was told of it */
    struct virtqueue_chain *stuck;       /* its backend took only part of it */
    uint64_t stuck_at;
    struct timer *retry;
    uint8_t received[PIECE_BYTES];       /* read from the backend, no room yet in the guest's buffers */
    size_t received_bytes;
};

struct console {
    struct virtio v;
    struct virtio_console_config config;
    struct port *port[VIRTIO_CONSOLE_PORTS_MAX];
    struct message *first, **last;       /* for the guest, until it has buffers */
    unsigned messages;
    bool driver_ready;                   /* it has asked which ports there are */
};

static struct console *of(struct virtio *v) { return container_of(v, struct console, v); }

static unsigned queue_in(unsigned port) { return port ? 2 * port + 2 : 0; }
static unsigned queue_out(unsigned port) { return queue_in(port) + 1; }
static unsigned port_of(unsigned queue) { return queue < 2 ? 0 : queue / 2 - 1; }

/* ---- control messages to the guest ---- */

static bool message_deliver(struct virtio *v, struct virtqueue *q, struct virtqueue_chain *chain)
{
    struct console *c = of(v);
    struct message *m = c->first;

    if (!m) {
        virtqueue_unpop(q, chain);
        return false;
    }
    if (!(c->first = m->next)) c->last = &c->first;
    c->messages--;
    virtqueue_push(q, chain, virtqueue_write(q, chain, 0, m->data, m->size));
    free(m);
    return true;
}

static void messages_flush(struct console *c)
{
    if (c->first) virtio_serve(&c->v, QUEUE_CONTROL_IN, message_deliver);
    virtio_interrupt(&c->v, &c->v.queue[QUEUE_CONTROL_IN]);
}

/* A guest that asks and asks, but gives no buffers for answers, does not get more than a few. */
static bool message_send(struct console *c, unsigned port, unsigned event, unsigned value, const char *text)
{
    size_t length = text ? strlen(text) : 0;
    struct control head = { le32_make(port), le16_make((uint16_t)event), le16_make((uint16_t)value) };
    struct message *m;

    if (!virtio_has(&c->v, F_MULTIPORT) || c->messages == MESSAGES_MAX) return false;
    m = malloc(sizeof(*m) + sizeof(head) + length);
    if (!m) return false;
    m->next = NULL;
    m->size = sizeof(head) + length;
    memcpy(m->data, &head, sizeof(head));
    if (length) memcpy(m->data + sizeof(head), text, length);
    *c->last = m;
    c->last = &m->next;
    c->messages++;
    return true;
}

/* ---- control messages of the guest ---- */

static void port_introduce(struct console *c, unsigned id)
{
    const struct virtio_console_port_config *p = &c->config.port[id];

    if (p->is_console) message_send(c, id, CONSOLE_PORT, 1, NULL);
    if (p->name) message_send(c, id, PORT_NAME, 1, p->name);
    if (c->port[id]->host_open) message_send(c, id, PORT_OPEN, 1, NULL);
}

static void guest_open_set(struct console *c, unsigned id, bool open)
{
    const struct virtio_console_config *config = &c->config;
    bool changes = c->port[id]->guest_open != open;

    c->port[id]->guest_open = open;
    if (changes) chardev_guest_opened(config->port[id].chardev, open);
    if (changes && config->guest_opened && config->port[id].id) config->guest_opened(config->opaque, config->port[id].id, open);
}

static void control_handle(struct console *c, const struct control *m)
{
    unsigned event = le16_get(m->event), value = le16_get(m->value), id = le32_get(m->id);

    if (event == DEVICE_READY && value) {
        c->driver_ready = true;
        for (unsigned i = 0; i < c->config.ports_max; i++)
            if (c->port[i] && !c->port[i]->added) c->port[i]->added = message_send(c, i, PORT_ADD, 1, NULL);   /* 5.3.6.2.1: once */
        return;
    }
    if (id >= c->config.ports_max || !c->port[id]) return;
    if (event == PORT_READY && value) port_introduce(c, id);
    if (event == PORT_OPEN) {
        guest_open_set(c, id, value != 0);
        chardev_accept_input(c->config.port[id].chardev);
    }
}

static bool control_serve(struct virtio *v, struct virtqueue *q, struct virtqueue_chain *chain)
{
    struct control m;

    if (virtqueue_read(chain, 0, &m, sizeof(m)) == sizeof(m)) control_handle(of(v), &m);
    virtqueue_push(q, chain, 0);
    return true;
}

/* ---- bytes of the guest ---- */

/* Hands the chain to the backend; false: it waits at stuck. */
static bool chain_send(struct port *p, struct virtqueue *q, struct virtqueue_chain *chain, uint64_t at)
{
    struct chardev *to = p->c->config.port[p->id].chardev;
    uint64_t share = at + SHARE_BYTES;                 /* a chain may name far more than the guest has RAM */
    uint8_t piece[PIECE_BYTES];

    while (at < chain->out_bytes && p->host_open) {
        size_t size = virtqueue_read(chain, at, piece, sizeof(piece)), taken = chardev_write(to, piece, size);

        at += taken;
        if (taken == size && at < share) continue;
        p->stuck = chain;
        p->stuck_at = at;
        timer_arm_ns(p->retry, clock_host_ns() + RETRY_NS);
        return false;
    }
    virtqueue_push(q, chain, 0);
    return true;
}

static bool out_serve(struct virtio *v, struct virtqueue *q, struct virtqueue_chain *chain)
{
    struct console *c = of(v);
    struct port *p = c->port[port_of((unsigned)(q - v->queue))];

    if (p) return chain_send(p, q, chain, 0);
    virtqueue_push(q, chain, 0);
    return true;
}

static void out_notify(struct console *c, unsigned n)
{
    struct port *p = c->port[port_of(n)];

    if (p && p->stuck) return;
    virtio_serve(&c->v, n, out_serve);
    virtio_interrupt(&c->v, &c->v.queue[n]);
}

static void retry(void *opaque)
{
    struct port *p = opaque;
    unsigned n = queue_out(p->id);
    struct virtqueue_chain *chain = p->stuck;

    if (!chain) return;
    p->stuck = NULL;
    if (chain_send(p, &p->c->v.queue[n], chain, p->stuck_at)) out_notify(p->c, n);
}

/* ---- bytes for the guest ---- */

static bool guest_listens(struct port *p)
{
    struct virtio *v = &p->c->v;

    if (!(v->status & VIRTIO_STATUS_DRIVER_OK)) return false;
    return p->guest_open || !virtio_has(v, F_MULTIPORT);
}

static bool received_deliver(struct virtio *v, struct virtqueue *q, struct virtqueue_chain *chain)
{
    struct port *p = of(v)->port[port_of((unsigned)(q - v->queue))];
    size_t n;

    if (!p->received_bytes) {
        virtqueue_unpop(q, chain);
        return false;
    }
    n = virtqueue_write(q, chain, 0, p->received, p->received_bytes);
    virtqueue_push(q, chain, n);
    memmove(p->received, p->received + n, p->received_bytes - n);
    p->received_bytes -= n;
    return true;
}

static void in_notify(struct port *p)
{
    struct virtio *v = &p->c->v;
    unsigned n = queue_in(p->id);

    if (p->received_bytes) virtio_serve(v, n, received_deliver);
    virtio_interrupt(v, &v->queue[n]);
    if (!p->received_bytes) chardev_accept_input(p->c->config.port[p->id].chardev);
}

static size_t can_receive(void *opaque)
{
    struct port *p = opaque;
    struct virtqueue *q = &p->c->v.queue[queue_in(p->id)];

    if (p->received_bytes || !guest_listens(p) || !virtio_is_live(&p->c->v, q)) return 0;
    return virtqueue_is_empty(q) ? 0 : sizeof(p->received);
}

static void receive(void *opaque, const uint8_t *data, size_t size)
{
    struct port *p = opaque;

    size = MIN(size, sizeof(p->received) - p->received_bytes);
    memcpy(p->received + p->received_bytes, data, size);
    p->received_bytes += size;
    in_notify(p);
}

static void peer_changed(void *opaque, bool opened)
{
    struct port *p = opaque;

    if (p->host_open == opened) return;
    p->host_open = opened;
    message_send(p->c, p->id, PORT_OPEN, opened, NULL);
    if (p->c->v.queue_count > QUEUE_CONTROL_IN) messages_flush(p->c);
    if (!opened && p->stuck) retry(p);                 /* what nobody hears need not wait */
}

/* ---- life ---- */

static void notify(struct virtio *v, unsigned n)
{
    struct console *c = of(v);

    if (n == QUEUE_CONTROL_IN) messages_flush(c);
    else if (n == QUEUE_CONTROL_OUT) {
        virtio_serve(v, n, control_serve);
        virtio_interrupt(v, &v->queue[n]);
        messages_flush(c);
    } else if (n & 1) out_notify(c, n);
    else if (c->port[port_of(n)]) in_notify(c->port[port_of(n)]);
}

/* The one register that can be written says a byte in an emergency, with no queues. */
static void config_written(struct virtio *v, unsigned offset, unsigned size)
{
    struct layout *l = (struct layout *)v->config;
    struct console *c = of(v);
    uint8_t byte = (uint8_t)le32_get(l->emerg_wr);

    if (offset == offsetof(struct layout, emerg_wr) && c->port[0]) chardev_write(c->config.port[0].chardev, &byte, 1);
    *l = (struct layout){ .max_nr_ports = le32_make(c->config.ports_max) };
}

static void queue_stop(struct virtio *v, unsigned n)
{
    struct port *p = n == QUEUE_CONTROL_IN || n == QUEUE_CONTROL_OUT ? NULL : of(v)->port[port_of(n)];

    if (!p) return;
    if (n & 1 && p->stuck) {
        virtqueue_drop(&v->queue[n], p->stuck);
        p->stuck = NULL;
        timer_disarm(p->retry);
    }
}

static void reset(struct virtio *v)
{
    struct console *c = of(v);

    while (c->first) {
        struct message *m = c->first;

        c->first = m->next;
        free(m);
    }
    c->last = &c->first;
    c->messages = 0;
    c->driver_ready = false;
    for (unsigned i = 0; i < VIRTIO_CONSOLE_PORTS_MAX; i++) {
        if (!c->port[i]) continue;
        guest_open_set(c, i, false);
        c->port[i]->received_bytes = 0;
        c->port[i]->added = false;
    }
}

static void destroy(struct virtio *v)
{
    struct console *c = of(v);

    reset(v);
    for (unsigned i = 0; i < VIRTIO_CONSOLE_PORTS_MAX; i++) {
        if (!c->port[i]) continue;
        chardev_attach(c->config.port[i].chardev, NULL);
        timer_free(c->port[i]->retry);
        free(c->port[i]);
    }
    virtio_fini(v);
    free(c);
}

static void info(struct virtio *v, void (*print)(void *opaque, const char *line), void *opaque)
{
    const struct console *c = of(v);
    char line[160];

    for (unsigned i = 0; i < c->config.ports_max; i++) {
        const struct virtio_console_port_config *p = &c->config.port[i];

        if (!c->port[i]) continue;
        snprintf(line, sizeof(line), "port %u%s%s%s, %s, guest %s, host %s", i, p->name ? " " : "", p->name ? p->name : "",
                 p->is_console ? " (console)" : "", chardev_description(p->chardev), c->port[i]->guest_open ? "open" : "closed",
                 c->port[i]->host_open ? "open" : "closed");
        print(opaque, line);
    }
}

static const struct virtio_ops ops = {
    .name = "virtio-serial-pci", .description = "virtio serial bus", .type = VIRTIO_CONSOLE, .pci_class = 0x078000, .notify = notify,
    .config_written = config_written, .queue_stop = queue_stop, .reset = reset, .destroy = destroy, .info = info,
};

static int port_create(struct console *c, unsigned id, struct error *err)
{
    struct port *p = calloc(1, sizeof(*p));
    struct chardev_frontend f = { .can_receive = can_receive, .receive = receive, .event = peer_changed, .opaque = p };

    if (!p) return error_set(err, "no memory for a serial port");
    *p = (struct port){ .c = c, .id = id, .host_open = chardev_is_connected(c->config.port[id].chardev) };
    p->retry = timer_new(TIMER_HOST, retry, p);
    c->port[id] = p;
    chardev_attach(c->config.port[id].chardev, &f);
    return 0;
}

int virtio_console_port_add(struct virtio *v, unsigned number, const struct virtio_console_port_config *config, struct error *err)
{
    struct console *c = of(v);

    c->config.port[number] = *config;
    if (port_create(c, number, err) < 0) {
        c->config.port[number] = (struct virtio_console_port_config){ .present = false };
        return -1;
    }
    if (!c->driver_ready) return 0;
    c->port[number]->added = message_send(c, number, PORT_ADD, 1, NULL);
    messages_flush(c);
    return 0;
}

void virtio_console_port_remove(struct virtio *v, unsigned number)
{
    struct console *c = of(v);
    struct port *p = c->port[number];
    bool added = p->added;

    guest_open_set(c, number, false);
    if (p->stuck) virtqueue_push(&v->queue[queue_out(number)], p->stuck, 0);
    chardev_attach(c->config.port[number].chardev, NULL);
    timer_free(p->retry);
    free(p);
    c->port[number] = NULL;
    c->config.port[number] = (struct virtio_console_port_config){ .present = false };
    out_notify(c, queue_out(number));                  /* what lies behind */
    if (!added) return;
    message_send(c, number, PORT_REMOVE, 1, NULL);
    messages_flush(c);
}

struct virtio *virtio_console_new(const struct virtio_console_config *config, struct error *err)
{
    struct console *c = calloc(1, sizeof(*c));
    uint16_t sizes[2 * VIRTIO_CONSOLE_PORTS_MAX + 2];

    if (!c) {
        error_set(err, "no memory for virtio-serial");
        return NULL;
    }
    c->config = *config;
    c->last = &c->first;
    c->v.id = config->id;
    c->v.config_bytes = sizeof(struct layout);
    *(struct layout *)c->v.config = (struct layout){ .max_nr_ports = le32_make(config->ports_max) };
    for (unsigned n = 0; n < ARRAY_SIZE(sizes); n++) sizes[n] = n == QUEUE_CONTROL_IN || n == QUEUE_CONTROL_OUT ? CONTROL_QUEUE_SIZE : QUEUE_SIZE;
    if (virtio_init(&c->v, &ops, config->memory, BIT(F_MULTIPORT) | BIT(F_EMERG_WRITE), &config->options, 2 * config->ports_max + 2, sizes, err) < 0) {
        destroy(&c->v);
        return NULL;
    }
    for (unsigned i = 0; i < config->ports_max; i++)
        if (config->port[i].present && port_create(c, i, err) < 0) {
            destroy(&c->v);
            return NULL;
        }
    return &c->v;
}
