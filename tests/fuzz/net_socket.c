/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * A peer at the other end of a network that is a socket (streams with a length in front of each frame, and datagrams): frames in pieces of any
 * size, several at once, lengths that lie, rubbish, a peer that does not read or goes away, and a card that has no room at times. What was sent
 * whole must arrive, in order and unchanged, both ways, until the peer talks rubbish; then the connection ends.
 *
 *   fuzz-net-socket [STEPS [SEED]]          or, built with clang, fuzzer-net-socket
 */
#include <errno.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/bits.h"
#include "base/clock.h"
#include "base/error.h"
#include "base/loop.h"
#include "fuzz.h"
#include "replay.h"
#include "net/backend.h"
#include "net/socket.h"

enum { QUEUE = 256, OUT_BYTES = 1 << 20, LENGTH_BYTES = 4 };

/* Frames under way: length and the first byte, from which the others follow. */
struct fifo { unsigned first, count; struct { uint32_t bytes; uint8_t seed; } frame[QUEUE]; };

static struct fuzz_source source;
static struct net_backend *net;
static struct fifo to_guest, to_peer;
static bool datagrams, spoiled;                          /* spoiled: the peer has sent something that is no frame */
static int peer = -1;
static uint8_t out[OUT_BYTES], in[OUT_BYTES], frame[NET_FRAME_MAX];
static size_t out_bytes, in_bytes;
static uint64_t checks, failures, delivered, refused, sent, ends, peers;

static uint32_t below(uint32_t n) { return fuzz_below(&source, n); }

static void check(bool ok, const char *what)
{
    checks++;
    if (ok) return;
    if (failures++ < 20) printf("failed: %s\n", what);
#ifdef FUZZER
    abort();
#endif
}

static void frame_fill(uint8_t *to, uint32_t bytes, uint8_t seed)
{
    for (uint32_t i = 0; i < bytes; i++) to[i] = (uint8_t)(seed + i * 7 + (i >> 8));
}

static bool fifo_add(struct fifo *f, uint32_t bytes, uint8_t seed)
{
    unsigned at = (f->first + f->count) % QUEUE;

    if (f->count == QUEUE) return false;
    f->frame[at].bytes = bytes;
    f->frame[at].seed = seed;
    f->count++;
    return true;
}

/* Is data the first of those under way? Datagrams to the guest may be lost in front of it. */
static void fifo_take(struct fifo *f, const uint8_t *data, size_t bytes)
{
    static uint8_t expected[NET_FRAME_MAX];
    bool same = false;

    while (f->count && !same) {
        uint32_t length = f->frame[f->first].bytes;

        frame_fill(expected, length, f->frame[f->first].seed);
        same = length == bytes && !memcmp(expected, data, bytes);
        f->first = (f->first + 1) % QUEUE;
        f->count--;
        if (!datagrams || f == &to_peer) break;
    }
    check(same, "a frame arrives as it was sent, and in order");
}

/* ---- the card ---- */

static bool receive(void *opaque, unsigned queue, const struct net_frame *f)
{
    if (below(6) == 0) {
        refused++;
        return false;
    }
    check(f->bytes && f->bytes <= NET_FRAME_MAX && net_frame_copy(f, frame) == f->bytes, "a frame has a possible length");
    if (!spoiled) fifo_take(&to_guest, frame, f->bytes);
    delivered++;
    return true;
}

static void guest_sends(void)
{
    uint32_t bytes = below(8) ? 1 + below(1600) : 1 + below(NET_FRAME_MAX), first = below(2) ? 0 : below(bytes);
    uint8_t seed = (uint8_t)below(256);
    struct iovec iov[2] = { { frame, first }, { frame + first, bytes - first } };

    if (to_peer.count == QUEUE) return;
    frame_fill(frame, bytes, seed);
    if (!net_send(net, 0, &(struct net_frame){ .iov = iov, .count = 2, .bytes = bytes })) return;
    sent++;
    fifo_add(&to_peer, bytes, seed);
}

/* ---- the peer ---- */

static void peer_sends(const void *data, size_t bytes)
{
    if (datagrams) {
        ssize_t n = send(peer, data, bytes, MSG_DONTWAIT | MSG_NOSIGNAL);

        if (n < 0 && to_guest.count) to_guest.count--;   /* the last one is not under way */
        return;
    }
    memcpy(out + out_bytes, data, bytes);
    out_bytes += bytes;
}

static void peer_flush(size_t most)
{
    ssize_t n = out_bytes ? send(peer, out, MIN(out_bytes, most), MSG_DONTWAIT | MSG_NOSIGNAL) : 0;

    if (n <= 0) return;
    memmove(out, out + n, out_bytes - (size_t)n);
    out_bytes -= (size_t)n;
}

static void peer_frame(void)
{
    static uint8_t data[NET_FRAME_MAX + LENGTH_BYTES];
    uint32_t bytes = below(8) ? 1 + below(1600) : 1 + below(NET_FRAME_MAX);
    uint8_t seed = (uint8_t)below(256);
    be32 length = be32_make(bytes);

    if (out_bytes + sizeof(data) > sizeof(out) || !fifo_add(&to_guest, bytes, seed)) return;
    memcpy(data, &length, LENGTH_BYTES);
    frame_fill(data + LENGTH_BYTES, bytes, seed);
    if (datagrams) peer_sends(data + LENGTH_BYTES, bytes);
    else peer_sends(data, bytes + LENGTH_BYTES);
}

static void peer_rubbish(void)
{
    static const uint32_t lengths[] = { 0, NET_FRAME_MAX + 1, 0xffffffff, 0x80000000, 0x7fffffff, 1, NET_FRAME_MAX };
    uint8_t data[64];
    be32 length = be32_make(lengths[below(ARRAY_SIZE(lengths))]);
    size_t bytes = 1 + below(sizeof(data));

    if (out_bytes + sizeof(data) > sizeof(out)) return;
    for (size_t i = 0; i < bytes; i++) data[i] = (uint8_t)below(256);
    if (below(2) && bytes >= LENGTH_BYTES) memcpy(data, &length, LENGTH_BYTES);
    spoiled = true;
    peer_sends(data, bytes);
}

/* false: the connection has ended. */
static bool peer_reads(size_t most)
{
    ssize_t n = recv(peer, in + in_bytes, datagrams ? NET_FRAME_MAX : MIN(most, sizeof(in) - in_bytes), MSG_DONTWAIT);
    size_t at = 0;

    if (n == 0 || (n < 0 && errno != EAGAIN)) return false;
    if (n < 0) return true;
    if (datagrams) {
        fifo_take(&to_peer, in, (size_t)n);
        return true;
    }
    in_bytes += (size_t)n;
    while (in_bytes - at >= LENGTH_BYTES) {
        uint32_t length = be32_get(*(const be32 *)(in + at));

        check(length && length <= NET_FRAME_MAX, "what the guest sends has a possible length");
        if (!length || length > NET_FRAME_MAX) return false;
        if (in_bytes - at < length + LENGTH_BYTES) break;
        fifo_take(&to_peer, in + at + LENGTH_BYTES, length);
        at += length + LENGTH_BYTES;
    }
    memmove(in, in + at, in_bytes - at);
    in_bytes -= at;
    return true;
}

/* ---- the pair ---- */

static void pair_end(void)
{
    net_free(net);
    if (peer >= 0) close(peer);
    net = NULL;
    peer = -1;
}

static void pair_begin(void)
{
    struct net_frontend f = { .name = "card", .receive = receive };
    struct error err = { "" };
    int fd[2];

    datagrams = below(4) == 0;
    spoiled = false;
    out_bytes = in_bytes = 0;
    to_guest = to_peer = (struct fifo){ .count = 0 };
    if (socketpair(AF_UNIX, datagrams ? SOCK_DGRAM : SOCK_STREAM, 0, fd) < 0) abort();
    net = net_socket_new("n", &(struct net_socket_config){ .datagrams = datagrams, .fd = fd[0] }, &err);
    if (!net) abort();
    net_attach(net, &f);
    peer = fd[1];
    peers++;
}

static void loop_turn(void)
{
    machine_unlock();
    loop_step(0);
    machine_lock();
}

static void step(void)
{
    switch (below(10)) {
    case 0: case 1: case 2: peer_frame(); break;
    case 3: if (below(20) == 0) peer_rubbish(); break;
    case 4: guest_sends(); break;
    case 5: net_receive_ready(net, 0); break;
    case 6:
        if (peer_reads(below(2) ? 1 + below(64) : sizeof(in))) break;
        check(spoiled, "the connection ends only with a peer that talks rubbish");
        ends++;
        pair_end();
        pair_begin();
        break;
    case 7:
        if (below(500)) break;
        pair_end();
        pair_begin();
        break;
    default: peer_flush(below(2) ? 1 + below(300) : sizeof(out));
    }
    loop_turn();
}

static void world_make(void)
{
    loop_init();
    clock_virtual_start();
    stderr = fopen("/dev/null", "w");                  /* each peer that ends is told there */
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static bool made;

    if (!made) world_make();
    made = true;
    source = (struct fuzz_source){ 0, data, size };
    machine_lock();
    pair_begin();
    while (source.left) step();
    pair_end();
    machine_unlock();
    return 0;
}

#ifndef FUZZER
int main(int argc, char **argv)
{
    uint64_t steps = argc > 1 ? strtoull(argv[1], NULL, 0) : 300000, seed = argc > 2 ? strtoull(argv[2], NULL, 0) : 0x50c7;

    if (argc > 2 && !strcmp(argv[1], "--replay")) return fuzz_replay("fuzz-net-socket", argv[2]);
    source.state = seed;
    world_make();
    machine_lock();
    pair_begin();
    for (uint64_t i = 0; i < steps; i++) step();
    pair_end();
    machine_unlock();
    printf("fuzz-net-socket: %llu steps, %llu peers, %llu frames to the guest, %llu from it, %llu without room, %llu connections ended, %llu checks, %llu failed, seed %#llx\n",
           (unsigned long long)steps, (unsigned long long)peers, (unsigned long long)delivered, (unsigned long long)sent, (unsigned long long)refused,
           (unsigned long long)ends, (unsigned long long)checks, (unsigned long long)failures, (unsigned long long)seed);
    return failures || delivered < steps / 100 || sent < steps / 100 || refused < steps / 1000 || !ends;
}
#endif
