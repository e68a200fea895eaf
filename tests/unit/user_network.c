/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * A user network and a guest made of frames: datagrams in fragments of any order, with the mistakes that are possible, answered in fragments; any number
 * of unfinished ones, whose memory is counted; a guestfwd address whose device has no room, through which every byte must come, once; all ways to the
 * host's loopback while it is closed; a port that is forwarded while the guest says nothing; two networks on one hub.
 */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <malloc.h>
#include <arpa/inet.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/bits.h"
#include "base/clock.h"
#include "base/error.h"
#include "base/loop.h"
#include "net/backend_private.h"
#include "net/hub.h"
#include "net/offload.h"
#include "net/user.h"
#include "unit.h"

enum { ETHER = 14, IP = 20, ICMP = 8, TCP = 20, MORE = 0x2000, ECHO_REQUEST = 8, MTU = 1500, FORWARD_PORT = 80, GUEST_PORT = 4000 };
enum { FIN = 1, SYN = 2, PSH = 8, ACK = 16 };

static const uint8_t mac[6] = { 0x52, 0x54, 0, 1, 2, 3 };
static struct net_backend *net;

static void put16(uint8_t *p, unsigned v) { p[0] = (uint8_t)(v >> 8), p[1] = (uint8_t)v; }
static void put32(uint8_t *p, uint32_t v) { put16(p, v >> 16), put16(p + 2, v & 0xffff); }
static unsigned get16(const uint8_t *p) { return (unsigned)p[0] << 8 | p[1]; }
static uint32_t get32(const uint8_t *p) { return get16(p) << 16 | get16(p + 2); }

static void sum_put(uint8_t *at, uint64_t sum)
{
    uint16_t v = (uint16_t)~net_sum_fold(sum);

    memcpy(at, &v, 2);
}

/* ---- the guest's card ---- */

static struct { uint8_t data[65536]; size_t bytes; unsigned fragments; bool is_whole; } echo;
static struct { uint32_t next, acked; bool is_open; unsigned calls; } tcp;

static void echo_take(const uint8_t *ip)
{
    size_t length = get16(ip + 2) - IP, at = (get16(ip + 6) & 0x1fff) * 8u;

    memcpy(echo.data + at, ip + IP, length);
    echo.bytes += length;
    echo.fragments++;
    if (!(get16(ip + 6) & MORE)) echo.is_whole = true;
}

static void tcp_take(const uint8_t *t)
{
    tcp.acked = get32(t + 8);
    if (!(t[13] & SYN)) return;
    tcp.next = get32(t + 4) + 1;
    tcp.is_open = true;
    tcp.calls += !(t[13] & ACK);
}

static bool receive(void *opaque, unsigned queue, const struct net_frame *f)
{
    static uint8_t frame[NET_FRAME_MAX];
    size_t bytes = net_frame_copy(f, frame);

    if (bytes < ETHER + IP || get16(frame + 12) != 0x0800) return true;
    check(bytes <= ETHER + MTU, "no frame is longer than a packet: %zu", bytes);
    if (frame[ETHER + 9] == 1) echo_take(frame + ETHER);
    if (frame[ETHER + 9] == 6) tcp_take(frame + ETHER + IP);
    return true;
}

static bool frame_send(uint8_t *frame, size_t bytes)
{
    struct iovec iov = { frame, bytes };
    bool taken = net_send(net, 0, &(struct net_frame){ .iov = &iov, .count = 1, .bytes = bytes });

    net_send_end(net, 0);
    return taken;
}

static void ether_make(uint8_t *frame, unsigned type)
{
    memset(frame, 0xff, 6);
    memcpy(frame + 6, mac, 6);
    put16(frame + 12, type);
}

/* The host asks for nobody it knows. */
static void arp_send(void)
{
    uint8_t frame[60] = { 0 };

    ether_make(frame, 0x0806);
    memcpy(frame + ETHER, "\0\1\x08\0\6\4\0\1", 8);
    memcpy(frame + ETHER + 8, mac, 6);
    put32(frame + ETHER + 14, 0x0a00020f);
    put32(frame + ETHER + 24, 0x0a00020f);
    frame_send(frame, sizeof(frame));
}

static size_t ip_make(uint8_t *frame, unsigned protocol, unsigned id, unsigned offset, uint32_t to, size_t bytes)
{
    uint8_t *ip = frame + ETHER;

    ether_make(frame, 0x0800);
    memset(ip, 0, IP);
    ip[0] = 0x45;
    put16(ip + 2, (unsigned)(IP + bytes));
    put16(ip + 4, id);
    put16(ip + 6, offset);
    ip[8] = 64;
    ip[9] = (uint8_t)protocol;
    put32(ip + 12, 0x0a00020f);
    put32(ip + 16, to);
    sum_put(ip + 10, net_sum(0, ip, IP));
    return ETHER + IP + bytes;
}

static void begin(const struct net_user_config *c)
{
    struct error err = { "" };

    net = net_user_new("n", c, &err);
    check(net != NULL, "a network: %s", err.text);
    net_attach(net, &(struct net_frontend){ .name = "card", .receive = receive });
    arp_send();
}

static void turns(unsigned count)
{
    for (unsigned i = 0; i < count; i++) {
        machine_unlock();
        loop_step(1);
        machine_lock();
    }
}

/* ---- fragments ---- */

static uint8_t datagram[65536 + 1024];                 /* a fragment may claim to lie behind the longest */

static void datagram_make(size_t bytes)
{
    memset(datagram, 0, ICMP);
    datagram[0] = ECHO_REQUEST;
    for (size_t i = ICMP; i < bytes; i++) datagram[i] = (uint8_t)(i * 7 + (i >> 8));
    sum_put(datagram + 2, net_sum(0, datagram, bytes));
    memset(&echo, 0, sizeof(echo));
}

static void fragment_send(unsigned id, size_t at, size_t bytes, bool more)
{
    uint8_t frame[ETHER + IP + 2048];
    size_t size = ip_make(frame, 1, id, (more ? MORE : 0) | (unsigned)at / 8, 0x0a000202, bytes);

    memcpy(frame + ETHER + IP, datagram + at, bytes);
    frame_send(frame, size);
}

static bool is_answered(size_t bytes)
{
    return echo.is_whole && echo.bytes == bytes && !memcmp(echo.data + ICMP, datagram + ICMP, bytes - ICMP) && echo.data[0] == 0;
}

static void test_orders(void)
{
    static const size_t sizes[] = { 100, 1480, 1481, 1488, 3000, 8008, 40000, 65400 };
    unsigned id = 100;

    begin(&(struct net_user_config){ .no_ipv6 = true });
    for (unsigned i = 0; i < ARRAY_SIZE(sizes); i++)
        for (unsigned order = 0; order < 4; order++) {
            size_t bytes = sizes[i], part = 1480, count = (bytes + part - 1) / part;

            datagram_make(bytes);
            id++;
            for (size_t n = 0; n < count; n++) {
                size_t k = order == 0 ? n : order == 1 ? count - 1 - n : (n * 7 + 3) % count, at;

                if (order > 1 && count % 7 == 0) k = n;
                at = k * part;
                fragment_send(id, at, MIN(part, bytes - at), at + part < bytes);
                if (order == 3 && n + 1 < count) fragment_send(id, at, MIN(part, bytes - at), at + part < bytes);   /* twice */
            }
            check(is_answered(bytes), "%zu bytes in order %u: %zu come back", bytes, order, echo.bytes);
        }
    net_free(net);
}

static void test_mistakes(void)
{
    begin(&(struct net_user_config){ .no_ipv6 = true });
    datagram_make(4000);
    fragment_send(1, 0, 1480, true);
    fragment_send(1, 1480, 1480, true);
    check(!echo.fragments, "what is not whole is not answered");
    fragment_send(1, 2960, 1000, true);
    fragment_send(2, 2960, 1040, false);
    check(!echo.fragments, "another one's end is not its end");
    fragment_send(1, 2960, 1040, false);
    check(is_answered(4000), "overlapping fragments");
    datagram_make(4000);
    fragment_send(3, 0, 1480, true);
    fragment_send(3, 2960, 1040, false);
    fragment_send(3, 4000, 80, false);
    fragment_send(3, 1480, 1480, true);
    check(!echo.fragments, "two ends");
    fragment_send(4, 0, 1001, true);
    fragment_send(4, 1000, 3000 - 1000, true);
    fragment_send(4, 65528, 1000, false);
    fragment_send(4, 8, 0, false);
    check(!echo.fragments, "none that is possible");
    fragment_send(5, 2960, 1040, false);
    fragment_send(5, 1480, 1480, true);
    fragment_send(5, 0, 1480, true);
    check(is_answered(4000), "and then a right one");
    datagram_make(4000);
    fragment_send(6, 0, 1480, true);
    fragment_send(6, 4000, 1480, true);
    fragment_send(6, 2960, 1040, false);
    check(!echo.fragments, "as many bytes as it has, but some of them behind its end");
    net_free(net);
}

/* A hundred thousand that are never finished, and then one that is. */
static void test_flood(void)
{
    struct mallinfo2 before, after;

    begin(&(struct net_user_config){ .no_ipv6 = true });
    datagram_make(3000);
    fragment_send(1, 0, 1480, true);
    fragment_send(1, 1480, 1520 - 1480, true);
    before = mallinfo2();
    for (unsigned i = 0; i < 100000; i++) fragment_send(i & 0xffff, 8 + 8 * (i >> 16), 8, true);
    after = mallinfo2();
    check(after.uordblks + after.hblkhd < before.uordblks + before.hblkhd + (4 << 20), "memory of fragments: %zu more", after.uordblks + after.hblkhd - before.uordblks - before.hblkhd);
    fragment_send(65535, 1480, 1520, false);
    fragment_send(65535, 0, 1480, true);
    check(is_answered(3000), "one that is whole");
    net_free(net);
}

/* ---- a device without room ---- */

static struct { uint8_t data[1 << 20]; size_t bytes, room; } device;

static size_t device_output(void *opaque, const void *data, size_t size)
{
    size_t n = MIN(MIN(size, device.room), sizeof(device.data) - device.bytes);

    memcpy(device.data + device.bytes, data, n);
    device.bytes += n;
    device.room -= n;
    return n;
}

static void device_room(void *opaque) { }

static bool segment_send(uint32_t seq, unsigned flags, const uint8_t *data, size_t bytes)
{
    uint8_t frame[ETHER + IP + TCP + MTU], *t = frame + ETHER + IP;
    size_t size = ip_make(frame, 6, 7, 0, 0x0a000264, TCP + bytes);
    struct net_packet p;

    memset(t, 0, TCP);
    put16(t, GUEST_PORT);
    put16(t + 2, FORWARD_PORT);
    put32(t + 4, seq);
    put32(t + 8, tcp.next);
    t[12] = 0x50;
    t[13] = (uint8_t)flags;
    put16(t + 14, 65535);
    if (bytes) memcpy(t + TCP, data, bytes);
    net_packet_find(frame, size, &p);
    sum_put(t + 16, net_sum(net_pseudo_sum(frame, &p, TCP + bytes), t, TCP + bytes));
    return frame_send(frame, size);
}

static unsigned ready;
static void send_ready(void *opaque, unsigned queue) { ready++; }

static void test_full_device(void)
{
    enum { PART = 1000, PARTS = 600 };
    static uint8_t data[PART * PARTS];
    struct net_user_pipe_end end = { device_output, device_room, NULL };
    const char *rule = "tcp:10.0.2.100:80-chardev:x";
    struct net_user_config c = { .no_ipv6 = true, .guestfwd = { rule }, .guestfwd_count = 1 };
    struct net_user_pipe *pipe;
    struct error err = { "" };
    unsigned refused = 0;

    for (size_t i = 0; i < sizeof(data); i++) data[i] = (uint8_t)(i * 13 + (i >> 8));
    begin(&c);
    net_attach(net, &(struct net_frontend){ .name = "card", .receive = receive, .send_ready = send_ready });
    pipe = net_user_pipe_new(net, rule, &end, &err);
    check(pipe != NULL, "a pipe: %s", err.text);
    segment_send(1000, SYN, NULL, 0);
    turns(5);
    check(tcp.is_open, "a connection to the device");
    segment_send(1001, ACK, NULL, 0);
    for (unsigned i = 0; i < PARTS;) {
        if (segment_send(1001 + i * PART, ACK | PSH, data + i * PART, PART)) {
            i++;
            continue;
        }
        refused++;
        device.room = refused % 3 ? 700 : 5000;
        if (refused % 2) net_user_pipe_resume(pipe);     /* or nobody says so, and it is looked at by and by */
        for (ready = 0; !ready && refused % 2 == 0 && refused < 8;) turns(1);
        if (refused >= 8) net_user_pipe_resume(pipe);
    }
    device.room = sizeof(device.data);
    net_user_pipe_resume(pipe);
    check(refused > 10, "the guest had to wait: %u times", refused);
    check(device.bytes == sizeof(data) && !memcmp(device.data, data, sizeof(data)), "%zu of %zu bytes arrive, or others", device.bytes, sizeof(data));
    net_free(net);
}

/* ---- the host's loopback ---- */

static int listener(int family, int type, unsigned *port)
{
    struct sockaddr_in a = { .sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK) };
    struct sockaddr_in6 a6 = { .sin6_family = AF_INET6, .sin6_addr = IN6ADDR_LOOPBACK_INIT };
    int fd = socket(family, type | SOCK_NONBLOCK, 0);
    socklen_t size = family == AF_INET ? sizeof(a) : sizeof(a6);
    struct sockaddr *address = family == AF_INET ? (struct sockaddr *)&a : (struct sockaddr *)&a6;

    if (fd < 0 || bind(fd, address, size) < 0 || (type == SOCK_STREAM && listen(fd, 8) < 0) || getsockname(fd, address, &size) < 0) {
        if (fd >= 0) close(fd);
        return -1;                                       /* a host without IPv6 */
    }
    *port = ntohs(family == AF_INET ? a.sin_port : a6.sin6_port);
    return fd;
}

/* A SYN or a datagram of four bytes. */
static void call(const char *to, bool is_ipv6, bool is_tcp, unsigned port)
{
    static unsigned own_port = 5000;
    unsigned l4 = ETHER + (is_ipv6 ? 40 : IP), bytes = is_tcp ? TCP : 12;
    struct net_packet p = { .l3 = ETHER, .l4 = l4, .is_tcp = is_tcp, .is_ipv6 = is_ipv6 };
    uint8_t frame[100] = { 0 }, *t = frame + l4;
    struct in_addr a;

    if (is_ipv6) {
        ether_make(frame, 0x86dd);
        frame[ETHER] = 0x60;
        put16(frame + ETHER + 4, bytes);
        frame[ETHER + 6] = is_tcp ? 6 : 17;
        frame[ETHER + 7] = 64;
        inet_pton(AF_INET6, "fec0::15", frame + ETHER + 8);
        inet_pton(AF_INET6, to, frame + ETHER + 24);
    } else {
        inet_pton(AF_INET, to, &a);
        ip_make(frame, is_tcp ? 6 : 17, 1, 0, ntohl(a.s_addr), bytes);
    }
    put16(t, own_port++);
    put16(t + 2, port);
    if (is_tcp) put32(t + 4, 1000), t[12] = 0x50, t[13] = SYN, put16(t + 14, 60000);
    else put16(t + 4, 12), memcpy(t + 8, "hey!", 4);
    sum_put(t + (is_tcp ? 16 : 6), net_sum(net_pseudo_sum(frame, &p, bytes), t, bytes));
    frame_send(frame, l4 + bytes);
}

static bool is_called(int fd, bool is_tcp)
{
    char data[8];
    int got = is_tcp ? accept(fd, NULL, NULL) : (int)recv(fd, data, sizeof(data), 0);

    if (is_tcp && got >= 0) close(got);
    return got >= 0;
}

static const struct way { const char *to; bool is_ipv6; } ways[] = {
    { "10.0.2.2", false }, { "127.0.0.1", false }, { "0.0.0.0", false }, { "255.255.255.255", false }, { "10.0.2.3", false },
    { "fec0::2", true }, { "::1", true }, { "::", true }, { "::ffff:127.0.0.1", true }, { "::127.0.0.1", true }, { "fec0::3", true },
};

static unsigned calls_count(bool closed)
{
    unsigned calls = 0, port;

    begin(&(struct net_user_config){ .no_host_loopback = closed });
    for (unsigned i = 0; i < 2 * ARRAY_SIZE(ways); i++) {
        const struct way *w = &ways[i / 2];
        /* ::ffff: is IPv4 by another name */
        int fd = listener(w->is_ipv6 && !strchr(w->to, '.') ? AF_INET6 : AF_INET, i & 1 ? SOCK_STREAM : SOCK_DGRAM, &port);

        if (fd < 0) continue;
        call(w->to, w->is_ipv6, i & 1, port);
        turns(20);
        if (is_called(fd, i & 1)) {
            calls++;
            if (closed) check(false, "%s leads to the closed loopback by %s", w->to, i & 1 ? "TCP" : "UDP");
        }
        close(fd);
    }
    net_free(net);
    return calls;
}

static void test_loopback(void)
{
    check(calls_count(false) >= 6, "the loopback is open by default");
    check(calls_count(true) == 0, "and closed by host-loopback=off");
}

/* What goes to the server of names, other than questions about names, is not let through: that server may be at 127.0.0.53. */
static void test_dns_port(void)
{
    uint64_t sent, received, before, after;

    begin(&(struct net_user_config){ .no_host_loopback = true });
    net_counts(net, &sent, &received, &before);
    call("10.0.2.3", false, true, 22);
    call("fec0::3", true, false, 22);
    net_counts(net, &sent, &received, &after);
    check(after == before + 2, "other ports of the server of names are closed");
    call("10.0.2.3", false, false, 53);
    net_counts(net, &sent, &received, &before);
    check(before == after, "its own is open");
    net_free(net);
}

/* ---- forwards ---- */

static void test_silent_guest(void)
{
    struct sockaddr_in a = { .sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK) };
    int probe, fd = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK, 0);
    struct error err = { "" };
    char rule[64];
    unsigned port = 0;

    begin(&(struct net_user_config){ .no_ipv6 = true });
    turns(5);
    probe = listener(AF_INET, SOCK_STREAM, &port);
    close(probe);
    tcp.calls = 0;
    snprintf(rule, sizeof(rule), "tcp:127.0.0.1:%u-10.0.2.15:22", port);
    check(net_user_forward_add(net, rule, &err) == 0, "a forward: %s", err.text);
    a.sin_port = htons((uint16_t)port);
    check(connect(fd, (struct sockaddr *)&a, sizeof(a)) == 0 || errno == EINPROGRESS, "a connection to it");
    turns(50);
    check(tcp.calls == 1, "the guest, which said nothing since, is called: %u times", tcp.calls);
    close(fd);
    net_free(net);
}

/* ---- a hub ---- */

static void test_hub(void)
{
    struct error err = { "" };
    struct net_hub *h = net_hub_new(0, &err);
    struct net_backend *user[2];

    for (unsigned i = 0; i < 2; i++) {
        user[i] = net_user_new(i ? "b" : "a", &(struct net_user_config){ .no_ipv6 = true }, &err);
        check(user[i] && net_hub_join(h, user[i], &err) == 0, "a network on the hub: %s", err.text);
    }
    net = net_hub_port_new(h, "card", &err);
    net_attach(net, &(struct net_frontend){ .name = "card", .receive = receive });
    arp_send();
    tcp.is_open = false;
    segment_send(1000, SYN, NULL, 0);
    turns(20);
    net_free(net);
    net_hub_free(h);
    for (unsigned i = 0; i < 2; i++) net_free(user[i]);
}

/* ---- options ---- */

/* wrong NULL: a network comes about. */
static void config_try(const struct net_user_config *c, const char *wrong)
{
    struct error err = { "" };
    struct net_backend *b = net_user_new("n", c, &err);

    check((b != NULL) == (wrong == NULL) && (!wrong || strstr(err.text, wrong)), "'%s' is said where '%s' is wanted", err.text, wrong ? wrong : "nothing");
    net_free(b);
}

#define TRY(wrong, ...) config_try(&(struct net_user_config){ __VA_ARGS__ }, wrong)
#define SEARCH(name) .search = { name }, .search_count = 1
#define HOSTFWD(rule) .hostfwd = { rule }, .hostfwd_count = 1
#define GUESTFWD(rule) .guestfwd = { rule }, .guestfwd_count = 1
#define LABEL_63 "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa"

static void test_options(void)
{
    TRY(NULL, .dns = "8.8.8.8");
    TRY("outside", .dns = "8.8.8.8", .restricted = true);
    TRY("outside", .ipv6_dns = "fd00::3", .restricted = true);
    TRY("the same address", .dns = "10.0.2.2");
    TRY("ipv4=off: leave out", .no_ipv4 = true, .net = "10.0.2.0/24");
    TRY("ipv4=off: leave out", .no_ipv4 = true, .dns = "10.0.2.3");
    TRY("ipv6=off: leave out", .no_ipv6 = true, .ipv6_prefix = "fd00::/64");
    TRY("domainname=", .domain = "");
    TRY("no domain name", SEARCH(""));
    TRY("no domain name", SEARCH("."));
    TRY("no domain name", SEARCH("a..b"));
    TRY("no domain name", SEARCH("b.a" LABEL_63));
    TRY("at most 253", SEARCH(LABEL_63 "." LABEL_63 "." LABEL_63 "." LABEL_63));
    TRY(NULL, SEARCH("a.b."));
    TRY(NULL, SEARCH(LABEL_63 ".b"));
    TRY(NULL, HOSTFWD("tcp::-:22"));
    TRY("wrong is the protocol", HOSTFWD("sctp::0-:22"));
    TRY("wrong is the address of the host", HOSTFWD("tcp:localhost:0-:22"));
    TRY("wrong is the port of the host", HOSTFWD("tcp::ssh-:22"));
    TRY("wrong is the port of the host", HOSTFWD("tcp::22"));
    TRY("wrong is the address of the guest", HOSTFWD("tcp::0-22"));
    TRY("wrong is the port of the guest", HOSTFWD("tcp::0-:0"));
    TRY(NULL, GUESTFWD("tcp::80-cmd:cat"));
    TRY("write it as", GUESTFWD("tcp:10.0.2.100:0-cmd:cat"));
}

int main(void)
{
    loop_init();
    clock_virtual_start();
    machine_lock();
    test_orders();
    test_mistakes();
    test_flood();
    test_full_device();
    test_loopback();
    test_dns_port();
    test_silent_guest();
    test_hub();
    test_options();
    machine_unlock();
    return report("user-network");
}
