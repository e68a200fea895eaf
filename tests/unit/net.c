/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Frames that wait for a card's room: a card that asks for more while it gets one, and cards that go while the network keeps one for them, with
 * and without a hub in between; datagrams that are no frames, or find no room; frames that are cut for a card that goes. Peers that stop to read, come
 * back, or are many. Cables that are pulled out at a card and at a network.
 */
#include <netinet/in.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include "base/bits.h"
#include "base/clock.h"
#include "base/error.h"
#include "base/loop.h"
#include "net/backend_private.h"
#include "net/hub.h"
#include "net/socket.h"
#include "unit.h"

enum { FRAME = 60, FRAMES = 5 };

struct card { struct net_backend *b; bool is_full, asks; unsigned count, ready; uint8_t seen[64]; };

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

static void send_ready(void *opaque, unsigned queue) { ((struct card *)opaque)->ready++; }

static void attach(struct card *c, struct net_backend *b)
{
    *c = (struct card){ .b = b, .is_full = true };
    net_attach(b, &(struct net_frontend){ .name = "card", .receive = receive, .send_ready = send_ready, .opaque = c });
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
    if (datagrams) setsockopt(fd[0], SOL_SOCKET, SO_SNDBUF, &(int){ 64 << 10 }, sizeof(int));      /* whatever the host's default is */
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
    int peer = -1;
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
    int peer = -1;
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
    int peer = -1;
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

/* ---- peers ---- */

static bool guest_sends(struct net_backend *b, uint8_t number, size_t bytes)
{
    static uint8_t frame[60000];
    struct iovec iov = { frame, bytes };

    frame[0] = number;
    return net_send(b, 0, &(struct net_frame){ .iov = &iov, .count = 1, .bytes = bytes });
}

/* Turns of the loop in half a second: with nothing to do each takes a millisecond. */
static unsigned turns_count(void)
{
    unsigned count = 0;

    for (int64_t end = clock_host_ns() + NS_PER_SECOND / 2; clock_host_ns() < end; count++) {
        machine_unlock();
        loop_step(1);
        machine_lock();
    }
    return count;
}

/* It goes on writing, so that the connection is there: nobody may wait for it to take what it never will. */
static void test_stops_reading(void)
{
    static uint8_t data[1 << 16];
    unsigned turns;
    struct card c;
    int peer = -1;
    struct net_backend *b = network(false, &peer);

    attach(&c, b);
    while (guest_sends(b, 0, sizeof(data) / 2)) {}
    check(shutdown(peer, SHUT_RD) == 0, "a peer that has stopped to read");
    while (recv(peer, data, sizeof(data), MSG_DONTWAIT) > 0) {}
    turns = turns_count();
    check(turns < 2000, "is not waited for in a circle: %u turns", turns);
    check(send(peer, data, 1, MSG_NOSIGNAL) < 0, "its connection has ended");
    net_free(b);
    close(peer);
}

/* Between the refusal and the room that the card waits for somebody else sends, for whom there is some already. */
static void test_another_sends(void)
{
    static const uint8_t mac[6] = { 0x52 };
    uint8_t data[4096];
    int fd[2] = { -1, -1 }, small = 8192;
    struct net_backend *b;
    struct error err;
    struct card c;

    check(socketpair(AF_UNIX, SOCK_STREAM, 0, fd) == 0 && setsockopt(fd[0], SOL_SOCKET, SO_SNDBUF, &small, sizeof(small)) == 0, "a small stream");
    b = net_socket_new("n", &(struct net_socket_config){ .fd = fd[0] }, &err);
    attach(&c, b);
    while (guest_sends(b, 0, 1500)) {}
    for (size_t got = 0; got < 64 << 10; got += (size_t)MAX(recv(fd[1], data, sizeof(data), MSG_DONTWAIT), (ssize_t)0)) steps();
    check(!c.ready, "a little room is none for a card that was refused");
    net_announce(b, mac);
    while (recv(fd[1], data, sizeof(data), MSG_DONTWAIT) > 0) steps();
    check(c.ready == 1, "the card is told of room, though others sent meanwhile: %u times", c.ready);
    net_free(b);
    close(fd[1]);
}

static unsigned came, went;

static void peer_event(void *opaque, const char *id, const struct sockaddr_storage *peer)
{
    if (peer) came++;
    else went++;
}

static int listener_make(const char *path)
{
    struct sockaddr_un a = { .sun_family = AF_UNIX };
    int fd = socket(AF_UNIX, SOCK_STREAM, 0);

    strcpy(a.sun_path, path);
    unlink(path);
    if (bind(fd, (struct sockaddr *)&a, sizeof(a)) < 0 || listen(fd, 1) < 0) perror("listen");
    return fd;
}

static void wait_for(const unsigned *count, unsigned value)
{
    for (int64_t end = clock_host_ns() + 60 * NS_PER_SECOND; *count < value && clock_host_ns() < end;) steps();
}

static void test_reconnects(void)
{
    char folder[] = "/tmp/test-net-XXXXXX", path[64];
    struct net_socket_config config = { .path = path, .fd = -1, .reconnect_ms = 20, .event = peer_event };
    struct error err = { "" };
    struct net_backend *b;
    struct card c;
    int listener, peer;

    check(mkdtemp(folder) != NULL, "a folder");
    snprintf(path, sizeof(path), "%s/s", folder);
    config.reconnect_ms = 0;
    check(!net_socket_new("n", &config, &err) && strstr(err.text, "cannot connect to"), "nobody there: an error (%s)", err.text);
    config.reconnect_ms = 20;
    b = net_socket_new("n", &config, &err);
    check(b != NULL, "nobody there yet: it is tried again");
    attach(&c, b);
    c.is_full = false;
    for (unsigned round = 1; round <= 3; round++) {
        listener = listener_make(path);
        wait_for(&came, round);
        peer = accept(listener, NULL, NULL);
        for (uint8_t i = 0; i < FRAMES; i++) frame_send(peer, false, (uint8_t)(round * 10 + i));
        steps();
        check(came == round && saw_all(&c, (uint8_t)(round * 10)), "frames of connection %u", round);
        c.count = 0;
        close(peer);
        close(listener);
        wait_for(&went, round);
        check(went == round, "it is told that connection %u has ended", round);
    }
    net_free(b);
    unlink(path);
    rmdir(folder);
}

/* No descriptor is left: whoever connects then is taken when there is one again, and not asked for in a circle. */
static void test_no_descriptors(void)
{
    char folder[] = "/tmp/test-net-XXXXXX", path[64];
    struct net_socket_config config = { .path = path, .fd = -1, .server = true };
    struct sockaddr_un a = { .sun_family = AF_UNIX };
    struct rlimit all, few;
    struct error err = { "" };
    struct net_backend *b;
    unsigned turns;
    struct card c;
    int peer;

    check(mkdtemp(folder) != NULL, "a folder");
    snprintf(path, sizeof(path), "%s/s", folder);
    strcpy(a.sun_path, path);
    b = net_socket_new("n", &config, &err);
    attach(&c, b);
    c.is_full = false;
    peer = socket(AF_UNIX, SOCK_STREAM, 0);
    getrlimit(RLIMIT_NOFILE, &all);
    few = (struct rlimit){ (rlim_t)peer + 1, all.rlim_max };
    setrlimit(RLIMIT_NOFILE, &few);
    check(connect(peer, (struct sockaddr *)&a, sizeof(a)) == 0, "somebody connects");
    turns = turns_count();
    check(turns < 2000, "a listener without descriptors sleeps: %u turns", turns);
    setrlimit(RLIMIT_NOFILE, &all);
    for (uint8_t i = 0; i < FRAMES; i++) frame_send(peer, false, (uint8_t)(50 + i));
    wait_for(&c.count, FRAMES);
    check(saw_all(&c, 50), "then it takes whoever waits");
    net_free(b);
    close(peer);
    rmdir(folder);
}

/* All at one port of one host: what one sends the others get, once, and it does not come back. */
static void test_group(void)
{
    enum { MEMBERS = 3 };
    char port[8];
    struct net_socket_config config = { .datagrams = true, .host = "239.77.1.2", .port = port, .local_host = "127.0.0.1", .fd = -1 };
    struct net_backend *b[MEMBERS];
    struct card c[MEMBERS];
    struct error err = { "" };

    snprintf(port, sizeof(port), "%u", 10000 + (unsigned)getpid() % 20000);   /* another of these tests has another group */
    check(net_socket_is_group("239.77.1.2") && !net_socket_is_group("240.0.0.1") && !net_socket_is_group("10.0.0.1") && !net_socket_is_group("x"), "what is a group");
    for (unsigned i = 0; i < MEMBERS; i++) {
        b[i] = net_socket_new("n", &config, &err);
        if (!check(b[i] != NULL, "member %u: %s", i, err.text)) return;
        attach(&c[i], b[i]);
        c[i].is_full = false;
    }
    for (uint8_t i = 0; i < FRAMES; i++) check(guest_sends(b[0], (uint8_t)(20 + i), FRAME), "a frame to the group");
    for (unsigned i = 1; i < MEMBERS; i++) wait_for(&c[i].count, FRAMES);
    steps();
    check(!c[0].count && saw_all(&c[1], 20) && saw_all(&c[2], 20), "the group: %u, %u and %u frames", c[0].count, c[1].count, c[2].count);
    for (unsigned i = 0; i < MEMBERS; i++) net_free(b[i]);
}

static void test_announces(void)
{
    static const uint8_t mac[6] = { 0x52, 0x54, 0, 1, 2, 3 }, expected[42] = { 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x52, 0x54, 0, 1, 2, 3, 0x80, 0x35, 0, 1, 8, 0, 6, 4, 0, 3,
        0x52, 0x54, 0, 1, 2, 3, 0, 0, 0, 0, 0x52, 0x54, 0, 1, 2, 3 };
    uint8_t data[100];
    struct card c;
    int peer = -1;
    struct net_backend *b = network(true, &peer);

    attach(&c, b);
    net_announce(b, mac);
    check(recv(peer, data, sizeof(data), MSG_DONTWAIT) == 60 && !memcmp(data, expected, sizeof(expected)), "a reverse ARP request");
    net_free(b);
    close(peer);
}

/* ---- datagrams for which there is no room ---- */

enum way { PAIR, NAMED, WAYS };
static const char *const way_name[] = { "a pair", "a name" };

struct dgram { struct net_backend *b; struct card card; int peer; char folder[32], path[64], own[64]; };

static void dgram_name(struct dgram *d)
{
    struct sockaddr_un a = { .sun_family = AF_UNIX };
    struct net_socket_config config = { .datagrams = true, .path = d->path, .local_path = d->own, .fd = -1 };
    struct error err;

    strcpy(d->folder, "/tmp/test-net-XXXXXX");
    check(mkdtemp(d->folder) != NULL, "a folder");
    snprintf(d->path, sizeof(d->path), "%s/peer", d->folder);
    snprintf(d->own, sizeof(d->own), "%s/own", d->folder);
    strcpy(a.sun_path, d->path);
    d->peer = socket(AF_UNIX, SOCK_DGRAM, 0);
    if (bind(d->peer, (struct sockaddr *)&a, sizeof(a)) < 0) perror("bind");
    d->b = net_socket_new("n", &config, &err);
}

static void dgram_begin(struct dgram *d, enum way way)
{
    *d = (struct dgram){ .peer = -1 };
    if (way == NAMED) dgram_name(d);
    else d->b = network(true, &d->peer);
    attach(&d->card, d->b);
}

static void dgram_end(struct dgram *d)
{
    net_free(d->b);
    if (d->peer >= 0) close(d->peer);
    if (!*d->folder) return;
    unlink(d->path);
    rmdir(d->folder);
}

/* The peer reads only when the card has been refused, some at a time: all arrive, in order. */
static void test_burst(enum way way)
{
    enum { BURST = 1000, BYTES = 1514 };
    static uint8_t data[BYTES];
    unsigned sent = 0, got = 0, wrong = 0, refused = 0, ready = 0;
    uint64_t s, r, dropped;
    struct dgram d;

    dgram_begin(&d, way);
    for (int64_t end = clock_host_ns() + 30 * NS_PER_SECOND; got < BURST && !wrong && clock_host_ns() < end;) {
        while (sent < BURST && d.card.ready == ready && guest_sends(d.b, (uint8_t)sent, BYTES)) sent++;
        if (sent < BURST) refused++;
        for (; recv(d.peer, data, BYTES, MSG_DONTWAIT) == BYTES; got++) wrong += data[0] != (uint8_t)got;
        for (unsigned i = 0; sent < BURST && i < 1000 && d.card.ready == ready; i++) steps();
        ready = d.card.ready;
        if (sent == BURST) steps();
    }
    net_counts(d.b, &s, &r, &dropped);
    check(got == BURST && !wrong && !dropped && refused > 5 && ready >= refused - 1, "datagrams to %s: %u came of %u, %u wrong, %u dropped, %u times refused, %u times told",
          way_name[way], got, BURST, wrong, (unsigned)dropped, refused, ready);
    dgram_end(&d);
}

/* It is waited for, as long as it is there, and not in a circle. */
static void test_never_reads(enum way way)
{
    unsigned turns;
    struct dgram d;

    dgram_begin(&d, way);
    for (unsigned i = 0; i < 5000 && guest_sends(d.b, 0, 1500); i++) {}
    turns = turns_count();
    check(turns < 2000 && !d.card.ready && !guest_sends(d.b, 0, 1500), "%s that does not read is waited for: %u turns", way_name[way], turns);
    close(d.peer);
    d.peer = -1;
    wait_for(&d.card.ready, 1);
    for (unsigned i = 0; i < 1000; i++)
        if (!guest_sends(d.b, 0, 1500)) d.card.ready = 100;
    check(d.card.ready == 1, "%s that is gone is not", way_name[way]);
    dgram_end(&d);
}

/* What it does not read of UDP the kernel loses. */
static void test_udp_never_reads(void)
{
    struct sockaddr_in a = { .sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK) };
    socklen_t bytes = sizeof(a);
    char port[8];
    struct net_socket_config config = { .datagrams = true, .host = "127.0.0.1", .port = port, .local_host = "127.0.0.1", .local_port = "0", .fd = -1 };
    int peer = socket(AF_INET, SOCK_DGRAM, 0);
    struct net_backend *b;
    struct error err = { "" };
    unsigned taken = 0;
    struct card c;

    check(bind(peer, (struct sockaddr *)&a, sizeof(a)) == 0 && getsockname(peer, (struct sockaddr *)&a, &bytes) == 0, "a port");
    snprintf(port, sizeof(port), "%u", ntohs(a.sin_port));
    b = net_socket_new("n", &config, &err);
    if (!check(b != NULL, "UDP: %s", err.text)) return;
    attach(&c, b);
    for (unsigned i = 0; i < 5000; i++) taken += guest_sends(b, 0, 1500);
    check(taken == 5000, "UDP that nobody reads stops nobody: %u taken", taken);
    net_free(b);
    close(peer);
}

/* ---- frames that are cut ---- */

enum { HEADERS = 54, PIECE = 100, PIECES = 4, MANY = 600 };

struct small { unsigned room, count; uint8_t first[16]; };

static bool small_receive(void *opaque, unsigned queue, const struct net_frame *f)
{
    struct small *s = opaque;
    uint8_t frame[NET_FRAME_MAX];

    if (!s->room) return false;
    s->room--;
    net_frame_copy(f, frame);
    if (s->count < sizeof(s->first)) s->first[s->count] = frame[HEADERS];
    s->count++;
    return true;
}

static void small_attach(struct small *s, struct net_backend *b, unsigned room)
{
    *s = (struct small){ .room = room };
    net_attach(b, &(struct net_frontend){ .name = "card", .receive = small_receive, .opaque = s });
}

typedef bool large_fn(struct net_backend *b, unsigned queue, const struct net_frame *f);

static bool large_give(struct net_backend *b, large_fn *fn, unsigned pieces)
{
    static uint8_t frame[HEADERS + PIECE * MANY];
    size_t bytes = HEADERS + PIECE * pieces;
    struct iovec iov = { frame, bytes };
    struct net_frame f = { .header = { NET_NEEDS_CSUM, NET_GSO_TCPV4, HEADERS, PIECE, 34, 16 }, .iov = &iov, .count = 1, .bytes = bytes };

    memcpy(frame + 12, "\x08\0\x45", 3);
    frame[16] = (uint8_t)((bytes - 14) >> 8);
    frame[17] = (uint8_t)(bytes - 14);
    frame[23] = 6;
    frame[46] = 0x50;
    for (unsigned i = 0; i < pieces; i++) frame[HEADERS + PIECE * i] = (uint8_t)(1 + i);
    return fn(b, 0, &f);
}

static bool large_deliver(struct net_backend *b) { return large_give(b, net_deliver, PIECES); }

/* More pieces than a socket holds: those that are left wait here, and no other frame comes between. */
static void test_cut_into_datagrams(enum way way)
{
    uint8_t data[HEADERS + PIECE + 1];
    unsigned got = 0, wrong = 0;
    struct dgram d;

    dgram_begin(&d, way);
    check(large_give(d.b, net_send, MANY) && !large_give(d.b, net_send, MANY) && !guest_sends(d.b, 0, FRAME), "a large frame, and no more");
    for (int64_t end = clock_host_ns() + 30 * NS_PER_SECOND; got < MANY && clock_host_ns() < end; steps())
        for (; recv(d.peer, data, sizeof(data), MSG_DONTWAIT) == HEADERS + PIECE; got++) wrong += data[HEADERS] != (uint8_t)(1 + got);
    check(got == MANY && !wrong && d.card.ready == 1, "a large frame to %s: %u pieces came, %u wrong, told %u times", way_name[way], got, wrong, d.card.ready);
    dgram_end(&d);
}

/* What the old card had of a frame is not what the next one has of another. */
static void test_cut_for_one_that_goes(bool by_link)
{
    struct error err;
    struct net_backend *b = net_none_new("n", &err);
    struct small old, new, *now = by_link ? &old : &new;

    small_attach(&old, b, 2);
    check(!large_deliver(b) && old.count == 2, "a card has room for two pieces");
    if (by_link) {
        net_link_set(b, false);
        check(large_deliver(b), "the cable is out: the frame is gone");
        net_link_set(b, true);
        old.count = 0;
    } else {
        net_attach(b, NULL);
        small_attach(&new, b, 0);
    }
    now->room = 3;
    check(!large_deliver(b) && now->count == 3, "another frame for three pieces");
    now->room = PIECES;
    check(large_deliver(b) && now->count == PIECES && !memcmp(now->first, "\1\2\3\4", PIECES), "the rest of it, and all of it");
    net_free(b);
}

/* ---- the cable ---- */

static unsigned link_changes;

static void link_changed(void *opaque, bool up) { link_changes++; }

static bool link_is(struct net_backend *b, struct small *s, bool up)
{
    unsigned before = s->count;

    s->room = PIECES;
    return large_deliver(b) && net_link_is_up(b) == up && s->count == before + (up ? PIECES : 0);
}

static void cabled_attach(struct small *s, struct net_backend *b)
{
    *s = (struct small){ .room = 0 };
    net_attach(b, &(struct net_frontend){ .name = "card", .receive = small_receive, .link_changed = link_changed, .opaque = s });
}

/* A card's cable goes with the card, a network's stays out. */
static void test_cables(void)
{
    struct error err;
    struct net_backend *b = net_none_new("n", &err);
    struct small card;

    cabled_attach(&card, b);
    net_card_link_set(b, false);
    check(link_is(b, &card, false) && link_changes == 1, "a card's cable is out");
    net_attach(b, NULL);
    cabled_attach(&card, b);
    check(link_is(b, &card, true) && link_changes == 1, "not that of the next card");
    net_link_set(b, false);
    net_card_link_set(b, true);
    check(link_is(b, &card, false) && link_changes == 2, "a network's cable is out, whatever the card's is");
    net_attach(b, NULL);
    cabled_attach(&card, b);
    check(link_is(b, &card, false), "also that of the next card");
    net_card_link_set(b, false);
    net_link_set(b, true);
    check(link_is(b, &card, true) && link_changes == 3, "the network's cable is in, and the card's");
    net_free(b);
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
    test_stops_reading();
    test_another_sends();
    test_reconnects();
    test_no_descriptors();
    test_group();
    test_announces();
    for (enum way way = 0; way < WAYS; way++) {
        test_burst(way);
        test_never_reads(way);
        test_cut_into_datagrams(way);
    }
    test_udp_never_reads();
    test_cut_for_one_that_goes(false);
    test_cut_for_one_that_goes(true);
    test_cables();
    machine_unlock();
    return report("net");
}
