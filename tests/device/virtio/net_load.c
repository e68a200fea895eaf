/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * A network card and a driver that wants too much of it: frames that are to be cut into thousands, of which others must get their turn in between, and
 * notifications of a queue that is none; a frame that waits for a queue that is made anew.
 */
#include <stdio.h>
#include <string.h>

#include "base/clock.h"
#include "clauses.h"
#include "net/backend_private.h"

enum { HEADER = 12, HEADERS = 54, PAYLOAD = 60000, PIECE = 64, FRAMES = 64, A_TURN = 20000 };

static unsigned checks, failures;

void clause_check(bool ok, const char *file, int line, const char *what)
{
    checks++;
    if (ok) return;
    failures++;
    printf("%s:%d: %s\n", file, line, what);
}

/* A TCP segment that is to be cut. */
static void frame_make(unsigned piece)
{
    struct net_header h = { .flags = NET_NEEDS_CSUM, .gso_type = NET_GSO_TCPV4, .header_bytes = HEADERS, .gso_bytes = (uint16_t)piece, .csum_start = 34, .csum_offset = 16 };
    uint8_t *f = guest.ram + DATA + HEADER;

    memset(guest.ram + DATA, 0, HEADER + HEADERS + PAYLOAD);
    memcpy(guest.ram + DATA, &h, sizeof(h));
    memcpy(f + 12, "\x08\0\x45", 3);
    f[16] = (HEADERS - 14 + PAYLOAD) >> 8;
    f[17] = (HEADERS - 14 + PAYLOAD) & 0xff;
    f[23] = 6;
    f[46] = 0x50;
}

static void frames_add(unsigned count)
{
    struct driver_piece p = { DATA, HEADER + HEADERS + PAYLOAD, false };

    for (unsigned i = 0; i < count; i++) check(driver_add(&guest.queue[1], &p, 1, false) >= 0);
}

static void start(uint64_t features)
{
    guest_plug(NET, 0);
    wire_backend()->offloads = 0;
    check(guest_negotiate(features));
    for (unsigned q = 0; q < guest.queues; q++) guest_queue_setup(q, 256);
    reg_set(STATUS, S_ACK | S_DRIVER | S_FEATURES_OK | S_DRIVER_OK, 1);
}

static void test_cutting(void)
{
    unsigned pieces = (PAYLOAD + PIECE - 1) / PIECE * FRAMES, before = 0, most = 0;

    start(BIT(VIRTIO_NET_CSUM) | BIT(VIRTIO_NET_HOST_TSO4));
    frame_make(PIECE);
    frames_add(FRAMES);
    guest_kick(1);
    check(wire_sent()->count && wire_sent()->count < A_TURN);
    for (unsigned i = 0; i < 100 && wire_sent()->count < pieces; i++) {
        before = wire_sent()->count;
        guest_turn();
        most = MAX(most, wire_sent()->count - before);
    }
    check(wire_sent()->count == pieces && most < A_TURN);
    for (unsigned i = 0; i < FRAMES; i++) check(guest_wait(1) == 0);
}

static void test_tiny_pieces(void)
{
    start(BIT(VIRTIO_NET_CSUM) | BIT(VIRTIO_NET_HOST_TSO4));
    for (unsigned piece = 1; piece < NET_GSO_LEAST; piece++) {
        frame_make(piece);
        frames_add(1);
        guest_kick(1);
        check(guest_wait(1) == 0 && wire_sent()->count == 0);
    }
    frame_make(NET_GSO_LEAST);
    frames_add(1);
    guest_kick(1);
    check(guest_wait(1) == 0 && wire_sent()->count == PAYLOAD / NET_GSO_LEAST);
}

/* Without MQ the control queue is number 2; number 4 is nothing. */
static void test_no_queue(void)
{
    struct driver_piece p = { DATA, 2048, true };
    uint8_t frame[60] = { 0xff, 0xff, 0xff, 0xff, 0xff, 0xff };
    struct iovec iov = { frame, sizeof(frame) };

    start(0);
    check(driver_add(&guest.queue[0], &p, 1, false) >= 0);
    guest_kick(0);
    reg(ISR_AT, 1);
    guest.raised = 0;
    check(net_deliver(wire_backend(), 0, &(struct net_frame){ .iov = &iov, .count = 1, .bytes = sizeof(frame) }));
    guest_kick(4);
    net_delivered(wire_backend(), 0);
    check(guest.raised == 1);
}

static unsigned told;
static void on_ready(struct net_backend *b, unsigned queue) { told++; }

/* A frame waits for buffers while the driver makes the queue anew, as for another size of it. */
static void test_queue_reset(void)
{
    struct net_backend_ops ops;
    struct driver_piece p = { DATA, 2048, true };
    uint8_t frame[60] = { 0xff, 0xff, 0xff, 0xff, 0xff, 0xff };
    struct iovec iov = { frame, sizeof(frame) };
    const struct net_frame f = { .iov = &iov, .count = 1, .bytes = sizeof(frame) };

    start(VIRTIO_F_RING_RESET);
    ops = *wire_backend()->ops;
    ops.ready = on_ready;
    wire_backend()->ops = &ops;
    check(!net_deliver(wire_backend(), 0, &f));
    reg_set(QUEUE_SELECT, 0, 2);
    reg_set(QUEUE_RESET, 1, 2);
    guest_queue_setup(0, 128);
    told = 0;
    check(driver_add(&guest.queue[0], &p, 1, false) >= 0);
    guest_kick(0);
    check(told == 1);
    check(net_deliver(wire_backend(), 0, &f));
    guest_unplug();
}

int main(void)
{
    guest_begin();
    test_cutting();
    test_tiny_pieces();
    test_no_queue();
    test_queue_reset();
    guest_end();
    printf("virtio-net-load: %u checks, %u failed\n", checks, failures);
    return failures || !checks;
}
