/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Frames that wait for a card's room: a card that asks for more while it gets one, and cards that go while the network keeps one for them, with
 * and without a hub in between; datagrams that are no frames.
 */
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/error.h"
#include "base/loop.h"
#include "net/backend.h"
#include "net/hub.h"
#include "net/socket.h"

enum { FRAME = 60, FRAMES = 5 };

static unsigned checks, failures;

static void check(bool ok, const char *what)
{
    checks++;
    if (ok) return;
    failures++;
    printf("FAIL: %s\n", what);
}

struct card { struct net_backend *b; bool is_full, asks; unsigned count; uint8_t seen[64]; };

static bool receive(void *opaque, unsigned queue, const struct net_frame *f)
{
    struct card *c = opaque;
    uint8_t frame[NET_FRAME_MAX];

    if (c->asks) {
        c->asks = false;
        net_receive_ready(c->b, 0);
    }
    if (c->is_full) return false;
    if (net_frame_copy(f, frame) != FRAME) c->count += 100;
    if (c->count < sizeof(c->seen)) c->seen[c->count] = frame[0];
    c->count++;
    return true;
}

static void attach(struct card *c, struct net_backend *b)
{
    *c = (struct card){ .b = b, .is_full = true };
    net_attach(b, &(struct net_frontend){ .name = "card", .receive = receive, .opaque = c });
}

static void steps(void)
{
    for (unsigned i = 0; i < 10; i++) {
        machine_unlock();
        loop_step(1);
        machine_lock();
    }
}

static struct net_backend *network(bool datagrams, int *peer)
{
    struct net_backend *b;
    struct error err;
    int fd[2];

    if (socketpair(AF_UNIX, datagrams ? SOCK_DGRAM : SOCK_STREAM, 0, fd) < 0) return NULL;
    *peer = fd[1];
    b = net_socket_new("n", &(struct net_socket_config){ .datagrams = datagrams, .fd = fd[0] }, &err);
    if (!b) printf("%s\n", err.text);
    return b;
}

static void frame_send(int peer, bool datagrams, uint8_t number)
{
    uint8_t data[4 + FRAME] = { 0, 0, 0, FRAME, number };

    if (send(peer, data + 4 * datagrams, sizeof(data) - 4 * datagrams, 0) < 0) perror("send");
}

static bool saw_all(const struct card *c, uint8_t first)
{
    for (unsigned i = 0; i < FRAMES; i++)
        if (c->seen[i] != first + i) return false;
    return c->count == FRAMES;
}

static void test_asks_while_given(bool datagrams)
{
    struct card c;
    int peer;
    struct net_backend *b = network(datagrams, &peer);

    attach(&c, b);
    for (uint8_t i = 0; i < FRAMES; i++) frame_send(peer, datagrams, i);
    steps();
    check(c.count == 0, "a card without room gets nothing");
    c.is_full = false;
    c.asks = true;
    net_receive_ready(b, 0);
    steps();
    check(saw_all(&c, 0), datagrams ? "datagrams: each frame once, though the card asks meanwhile" : "stream: each frame once, though the card asks meanwhile");
    net_free(b);
    close(peer);
}

/* The next card has never been without room: it has nothing to tell. */
static void test_card_goes(bool datagrams, bool with_hub)
{
    struct net_hub *h = NULL;
    struct card old, new;
    struct error err;
    int peer;
    struct net_backend *b = network(datagrams, &peer), *port = b;

    if (with_hub) {
        h = net_hub_new(0, &err);
        port = net_hub_port_new(h, "port", &err);
        check(net_hub_join(h, b, &err) == 0, "a network on a hub");
    }
    attach(&old, port);
    frame_send(peer, datagrams, 1);
    steps();
    net_attach(port, NULL);
    steps();
    attach(&new, port);
    new.is_full = false;
    for (uint8_t i = 0; i < FRAMES; i++) frame_send(peer, datagrams, (uint8_t)(10 + i));
    steps();
    check(old.count == 0 && saw_all(&new, 10), with_hub ? "hub: the next card gets frames" : "the next card gets frames");
    net_attach(port, NULL);
    net_hub_free(h);
    if (h) net_free(port);
    net_free(b);
    close(peer);
}

static void test_long_datagram(void)
{
    static uint8_t data[NET_FRAME_MAX + 1];
    struct card c;
    int peer;
    struct net_backend *b = network(true, &peer);

    attach(&c, b);
    c.is_full = false;
    check(send(peer, data, sizeof(data), 0) == sizeof(data) && send(peer, "", 0, 0) == 0, "datagrams: too long a one, and an empty one");
    for (uint8_t i = 0; i < FRAMES; i++) frame_send(peer, true, i);
    steps();
    check(saw_all(&c, 0), "datagrams: those are lost whole, others arrive");
    net_free(b);
    close(peer);
}

int main(void)
{
    loop_init();
    clock_virtual_start();
    machine_lock();
    for (unsigned datagrams = 0; datagrams < 2; datagrams++) {
        test_asks_while_given(datagrams);
        test_card_goes(datagrams, false);
        test_card_goes(datagrams, true);
    }
    test_long_datagram();
    machine_unlock();
    printf("net: %u checks, %u failures\n", checks, failures);
    return failures != 0;
}
