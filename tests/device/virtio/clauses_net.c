/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Network card. VIRTIO 1.2: 5.1. Queues: receive 0 and 2, transmit 1 and 3, control 4 (2 without multiqueue). */
#include "clauses.h"

#include <string.h>

#include "net/backend_private.h"

enum { HEADER = 12, ETHER = 14, CSUM = 0, GUEST_CSUM = 1, CTRL_RX = 0, CTRL_MAC = 1, CTRL_ANNOUNCE = 3, CTRL_MQ = 4, CTRL_OFFLOADS = 5, BUFFERS = DATA + 0x10000 };
static const uint8_t own[6] = { 0x52, 0x54, 0, 1, 2, 3 }, other[6] = { 0x52, 0x54, 0, 9, 9, 9 }, group[6] = { 0x33, 0x33, 0, 0, 0, 1 },
    all[6] = { 0xff, 0xff, 0xff, 0xff, 0xff, 0xff };

static void start(uint64_t features)
{
    guest_plug(NET, 0);
    guest_start(features);
}

/* Buffers of this size in receive queue q. */
static void buffers_add(unsigned q, unsigned count, uint32_t bytes)
{
    for (unsigned i = 0; i < count; i++) {
        struct driver_piece p = { BUFFERS + 0x10000 * q + i * bytes, bytes, true };

        check(driver_add(&guest.queue[q], &p, 1, false) >= 0);
    }
    memset(guest.ram + BUFFERS + 0x10000 * q, 0xee, count * bytes);
    guest_kick(q);
}

static int64_t taken(unsigned q)
{
    uint32_t written;

    return driver_take(&guest.queue[q], &written) < 0 ? -1 : (int64_t)written;
}

/* A frame to this address comes in; into which receive queue did it go? -1: none. */
static int arrives_at(const uint8_t *to, unsigned backend_queue, unsigned bytes)
{
    static uint8_t frame[4096];

    memset(frame, 0x11, sizeof(frame));
    memcpy(frame, to, 6);
    wire_give(backend_queue, &(struct net_header){ 0 }, frame, bytes);
    for (int q = 0; q < 4; q += 2)
        if (taken((unsigned)q) >= 0) return q;
    return -1;
}

static bool arrives(const uint8_t *to) { return arrives_at(to, 0, 60) >= 0; }

static unsigned control_queue(void) { return guest.v->features >> VIRTIO_NET_MQ & 1 ? 4 : 2; }

/* The answer: 0 is OK. */
static int control(unsigned class, unsigned command, const void *data, unsigned bytes)
{
    struct driver_piece p[] = { { DATA, 2 + bytes, false }, { DATA + 0x1000, 1, true } };

    guest.ram[DATA] = (uint8_t)class;
    guest.ram[DATA + 1] = (uint8_t)command;
    memcpy(guest.ram + DATA + 2, data, bytes);
    guest.ram[DATA + 0x1000] = 0xee;
    if (guest_ask(control_queue(), p, 2) != 1) return -1;
    return guest.ram[DATA + 0x1000];
}

static int rx_mode(unsigned command, uint8_t on) { return control(CTRL_RX, command, &on, 1); }

/* ---- configuration ---- */

static void pairs(void)
{
    guest_plug(NET, 0);
    check(guest_offered() & BIT(VIRTIO_NET_MQ) && config(8, 2) >= 1 && config(8, 2) <= 0x8000);
    guest_unplug();
}

static void mtu_range(void)
{
    start(ALL);
    check(config(10, 2) == 1500);
    reg_set(CONFIG_AT + 10, 77, 2);
    check(config(10, 2) == 1500);
    device_reset(guest.device);
    guest_unplug();
}

static void mtu_received(void)
{
    for (unsigned with = 0; with < 2; with++) {
        start(with ? ALL : ~BIT(VIRTIO_NET_MTU));
        buffers_add(0, 4, 4000);
        check(arrives_at(own, 0, ETHER + 1500) == 0);
        check(arrives_at(own, 0, ETHER + 1501) == (with ? -1 : 0));
        guest_unplug();
    }
}

static void mtu_sent(void)
{
    struct driver_piece p = { DATA, HEADER + ETHER + 1500, false };

    start(ALL);
    memset(guest.ram + DATA, 0, 4096);
    check(guest_ask(1, &p, 1) == 0 && wire_sent()->count == 1 && wire_sent()->bytes == ETHER + 1500);
    guest_unplug();
}

static void speed(void)
{
    start(ALL);
    check(config(12, 4) == 1000 && config(16, 1) <= 1);
    net_link_set(wire_backend(), false);
    net_link_set(wire_backend(), true);
    check(config(12, 4) == 1000);
    guest_unplug();
}

/* ---- transmission ---- */

static void send(uint8_t flags, uint8_t gso, uint16_t header_bytes, uint16_t size, uint16_t at, uint16_t offset)
{
    struct driver_piece p = { DATA, HEADER + 60, false };

    memset(guest.ram + DATA, 0x22, HEADER + 60);
    put(DATA, flags | gso << 8 | (uint64_t)header_bytes << 16 | (uint64_t)size << 32 | (uint64_t)at << 48, 8);
    put(DATA + 8, offset, 4);
    check(guest_ask(1, &p, 1) == 0);
}

static void flags_ignored(void)
{
    start(ALL);
    send(0xfe, 0, 0, 0, 0, 0);
    check(wire_sent()->count == 1 && !(wire_sent()->header.flags & ~NET_NEEDS_CSUM));
    guest_unplug();
    start(~BIT(CSUM));
    send(1, 0, 0, 0, 20, 4);                             /* not agreed on */
    check(wire_sent()->count == 1 && !wire_sent()->header.flags);
    guest_unplug();
}

static void csum_unused(void)
{
    start(ALL);
    wire_backend()->offloads = 0;                        /* all is finished here */
    send(0, 0, 0, 0, 0xffff, 0xffff);
    check(wire_sent()->count == 1 && wire_sent()->bytes == 60);
    for (unsigned i = 0; i < 60; i++) check(wire_sent()->data[i] == 0x22);
    send(1, 0, 0, 0, 0xffff, 0xffff);                    /* outside of the frame */
    check(wire_sent()->count == 1);
    guest_unplug();
}

static void header_length(void)
{
    static const uint16_t lies[] = { 0, 1, 54, 60, 61, 0x7fff, 0xffff };

    start(ALL);
    wire_backend()->offloads = 0;
    for (unsigned i = 0; i < ARRAY_SIZE(lies); i++) {
        unsigned before = wire_sent()->count;

        send(0, 0, lies[i], 0, 0, 0);
        check(wire_sent()->count == before + 1 && wire_sent()->bytes == 60);
        send(1, NET_GSO_TCPV4, lies[i], 10, 34, 16);     /* rubbish that wants cutting */
        check(!guest_needs_reset());
    }
    guest_unplug();
}

static void gso_not_agreed(void)
{
    start(~(BIT(VIRTIO_NET_HOST_TSO4) | BIT(VIRTIO_NET_HOST_TSO6) | BIT(VIRTIO_NET_HOST_ECN)));
    send(1, NET_GSO_TCPV4, 54, 500, 34, 16);
    send(1, NET_GSO_TCPV6, 54, 500, 34, 16);
    send(1, NET_GSO_UDP, 54, 500, 34, 6);
    check(wire_sent()->count == 0 && !guest_needs_reset());
    send(0, 0, 0, 0, 0, 0);
    check(wire_sent()->count == 1);
    guest_unplug();
}

static void gso_without_csum(void)
{
    start(ALL);
    send(0, NET_GSO_TCPV4, 54, 500, 34, 16);
    send(1, NET_GSO_TCPV4, 54, 0, 34, 16);
    check(wire_sent()->count == 0 && !guest_needs_reset());
    guest_unplug();
}

/* ---- reception ---- */

static unsigned used_index(unsigned q) { return (unsigned)get(guest.queue[q].used + 2, 2); }

static void one_buffer(void)
{
    start(~BIT(VIRTIO_NET_MRG_RXBUF));
    buffers_add(0, 3, 1000);
    check(arrives_at(own, 0, 900) == 0 && get(BUFFERS + 10, 2) == 1);
    check(arrives_at(own, 0, 1400) == -1 && used_index(0) == 1);    /* no room in one: not in two */
    guest_unplug();
}

static void merged(void)
{
    static uint8_t frame[1400];

    for (unsigned i = 0; i < sizeof(frame); i++) frame[i] = (uint8_t)(i * 3);
    start(ALL);
    buffers_add(0, 4, 500);
    check(wire_give(0, &(struct net_header){ 0 }, frame, sizeof(frame)));
    check(get(BUFFERS + 10, 2) == 3);
    check(taken(0) == 500 && taken(0) == 500 && taken(0) == HEADER + 1400 - 1000 && taken(0) == -1);
    check(!memcmp(guest.ram + BUFFERS + HEADER, frame, sizeof(frame)));
    guest_unplug();
}

static unsigned half_seen;
static void written(void *opaque, gpa_t address, size_t size)
{
    unsigned index = guest.device && guest.queue[0].used ? used_index(0) : 0;

    half_seen += index && index % 3;
}

/* Whoever looks at any time finds all buffers of a frame used, or none: this listener looks whenever memory was written. */
static void together(void)
{
    static uint8_t frame[1400];
    static bool listens;

    if (!listens) memory_map_listen_written(guest.memory, written, NULL);
    listens = true;
    start(ALL);
    buffers_add(0, 9, 500);
    half_seen = 0;
    for (unsigned n = 0; n < 3; n++) check(wire_give(0, &(struct net_header){ 0 }, frame, sizeof(frame)));
    check(used_index(0) == 9 && !half_seen);
    guest.queue[0].used = 0;
    guest_plug(NET, PACKED);
    guest_start(ALL);
    buffers_add(0, 9, 500);
    for (unsigned n = 0; n < 3; n++) check(wire_give(0, &(struct net_header){ 0 }, frame, sizeof(frame)));
    for (unsigned n = 0; n < 9; n++) check(taken(0) >= 0);
    guest.queue[0].used = 0;
    guest_unplug();
}

/* What is in the header of a frame that the network gives with these. */
static struct net_header given(uint64_t features, struct net_header h, unsigned *count)
{
    static uint8_t frame[2000];
    struct net_header got;

    memcpy(frame, own, 6);
    memcpy(frame + 12, "\x08\x00\x45\0\x07\xc2\0\0\0\0\x40\x06\0\0\x0a\0\0\1\x0a\0\0\2", 22);
    frame[46] = 0x50;
    start(features);
    buffers_add(0, 8, 2048);
    check(wire_give(0, &h, frame, sizeof(frame)));
    memcpy(&got, guest.ram + BUFFERS, sizeof(got));
    for (*count = 0; taken(0) >= 0;) ++*count;
    guest_unplug();
    return got;
}

static const struct net_header tcp4 = { 1, NET_GSO_TCPV4, 54, 700, 34, 16 }, csum = { 1, 0, 0, 0, 34, 16 };
static const uint64_t guest_tso = BIT(VIRTIO_NET_GUEST_TSO4) | BIT(VIRTIO_NET_GUEST_TSO6) | BIT(VIRTIO_NET_GUEST_ECN);

static void no_guest_csum(void)
{
    unsigned n;
    struct net_header h = given(~(BIT(GUEST_CSUM) | guest_tso | BIT(VIRTIO_NET_MTU)), csum, &n);

    check(n == 1 && h.flags == 0 && h.gso_type == 0);
}

static void guest_csum(void)
{
    unsigned n;
    struct net_header h = given(~BIT(VIRTIO_NET_MTU), csum, &n);

    check(n == 1 && h.flags & 1 && h.csum_start == 34 && h.csum_offset == 16 && h.gso_type == 0);
}

static void no_guest_tso(void)
{
    unsigned n;
    struct net_header h = given(~guest_tso, tcp4, &n);

    check(n == 3 && h.gso_type == 0);                    /* cut */
}

static void guest_tso_header(void)
{
    unsigned n;
    struct net_header h = given(ALL, tcp4, &n);

    check(n == 1 && h.gso_type == NET_GSO_TCPV4 && h.flags & 1 && h.gso_bytes == 700 && h.header_bytes >= 54);
}

static void no_udp(void)
{
    unsigned n;

    given(ALL, (struct net_header){ 1, NET_GSO_UDP, 54, 700, 34, 6 }, &n);
    check(n == 0);
}

static void no_rsc(void)
{
    unsigned n;

    check(!(given(~BIT(VIRTIO_NET_MTU), (struct net_header){ .flags = 0xfe }, &n).flags & ~2));
    check(n == 1);
}

/* ---- filters ---- */

static void filter_start(uint64_t features)
{
    start(features);
    buffers_add(0, SIZE, 200);
    check(rx_mode(0, 0) == 0);
}

static void promiscuous(void)
{
    filter_start(ALL);
    check(!arrives(other));
    check(rx_mode(0, 1) == 0 && rx_mode(3, 1) == 0 && rx_mode(4, 1) == 0 && rx_mode(5, 1) == 0);
    check(arrives(other) && arrives(group) && arrives(all));
    guest_unplug();
}

static void all_multicast(void)
{
    filter_start(ALL);
    check(!arrives(group) && rx_mode(1, 1) == 0 && arrives(group) && !arrives(other) && rx_mode(1, 0) == 0 && !arrives(group));
    guest_unplug();
}

static void all_unicast(void)
{
    filter_start(ALL);
    check(!arrives(other) && rx_mode(2, 1) == 0 && arrives(other) && !arrives(group) && rx_mode(2, 0) == 0 && !arrives(other));
    guest_unplug();
}

static void no_multicast(void)
{
    filter_start(ALL);
    check(rx_mode(1, 1) == 0 && rx_mode(3, 1) == 0 && !arrives(group) && arrives(all) && arrives(own));
    guest_unplug();
}

static void no_unicast(void)
{
    filter_start(ALL);
    check(rx_mode(2, 1) == 0 && rx_mode(4, 1) == 0 && !arrives(own) && !arrives(other) && arrives(all));
    guest_unplug();
}

static void no_broadcast(void)
{
    filter_start(ALL);
    check(rx_mode(1, 1) == 0 && rx_mode(5, 1) == 0 && !arrives(all) && arrives(own) && arrives(group));
    guest_unplug();
}

static void rx_not_agreed(void)
{
    uint8_t on = 1;

    start(~(BIT(VIRTIO_NET_CTRL_RX) | BIT(VIRTIO_NET_CTRL_RX_EXTRA)));
    for (unsigned command = 0; command < 8; command++) check(control(CTRL_RX, command, &on, 1) == 1);
    check(control(CTRL_MAC, 0, "\0\0\0\0\0\0\0", 8) == 1);
    guest_unplug();
}

static const uint8_t table[] = { 1, 0, 0, 0, 0x52, 0x54, 0, 9, 9, 9, 1, 0, 0, 0, 0x33, 0x33, 0, 0, 0, 1 };

static void table_empty(void)
{
    filter_start(ALL);
    check(control(CTRL_MAC, 0, table, sizeof(table)) == 0 && arrives(other) && arrives(group));
    guest_start(ALL);
    buffers_add(0, SIZE, 200);
    check(rx_mode(0, 0) == 0 && !arrives(other) && !arrives(group) && arrives(own));
    guest_unplug();
}

static void table_set(void)
{
    filter_start(ALL);
    check(!arrives(other) && !arrives(group));
    check(control(CTRL_MAC, 0, table, sizeof(table)) == 0 && arrives(other) && arrives(group));
    check(control(CTRL_MAC, 0, table, sizeof(table) - 1) == 1 && control(CTRL_MAC, 0, "\xff\xff\xff\xff\0\0\0", 8) == 1 && arrives(other));
    guest_unplug();
}

static void address_set(void)
{
    filter_start(ALL);
    check(control(CTRL_MAC, 1, other, 6) == 0);
    check(config(0, 4) == 0x09005452 && config(4, 2) == 0x0909);
    check(arrives(other) && !arrives(own));
    guest_unplug();
}

static void others_dropped(void)
{
    filter_start(ALL);
    check(arrives(own) && arrives(all) && !arrives(other) && !arrives(group));
    guest_unplug();
}

static void announce(void)
{
    start(ALL);
    virtio_net_announce(guest.v);
    check(config(6, 2) & 2 && reg(ISR_AT, 1) & 2);
    check(control(CTRL_ANNOUNCE, 0, "", 0) == 0 && !(config(6, 2) & 2));
    guest_unplug();
}

/* ---- queue pairs ---- */

static void first_pair(void)
{
    start(ALL);
    buffers_add(0, 4, 200);
    buffers_add(2, 4, 200);
    for (unsigned n = 0; n < 4; n++) check(arrives_at(own, n & 1, 60) == 0);
    guest_unplug();
}

static void pairs_set(void)
{
    start(ALL);
    buffers_add(0, 8, 200);
    buffers_add(2, 8, 200);
    check(control(CTRL_MQ, 0, "\2", 2) == 0 && arrives_at(own, 1, 60) == 2);
    check(control(CTRL_MQ, 0, "\1", 2) == 0 && arrives_at(own, 1, 60) == 0 && arrives_at(own, 0, 60) == 0);
    guest_unplug();
}

static void pairs_wrong(void)
{
    start(ALL);
    check(control(CTRL_MQ, 0, "\0", 2) == 1 && control(CTRL_MQ, 0, "\3", 2) == 1 && control(CTRL_MQ, 0, "\1", 1) == 1 && control(CTRL_MQ, 9, "\1", 2) == 1);
    check(!guest_needs_reset());
    guest_unplug();
}

static void offloads_wrong(void)
{
    start(~guest_tso);
    check(control(CTRL_OFFLOADS, 0, "\x80\0\0\0\0\0\0", 8) == 1 && control(CTRL_OFFLOADS, 0, "\2\0\0\0\0\0\0", 8) == 0);
    guest_unplug();
}

const struct clause clauses_net[] = {
    { "5.1.4.1-1", "max_virtqueue_pairs is 1 to 8000h", pairs, NULL },
    { "5.1.4.1-2", "mtu is what was set and does not change", mtu_range, NULL },
    { "5.1.4.1-3", "mtu is 68 to 65535, 1280 or more by good custom", NULL, "the user chooses it (`host_mtu=`), which refuses less than 68" },
    { "5.1.4.1-4", "once MTU is agreed on, larger frames without segmentation are not passed on", mtu_received, NULL },
    { "5.1.4.1-5", "frames of that size are sent as they are", mtu_sent, NULL },
    { "5.1.4.1-6", "speed and duplex hold values of their ranges, and stay while the link is up", speed, NULL },
    { "5.1.4.1-7", "0 is full duplex, 1 half", NULL, "section 5.1.4 of the same text says the contrary, which Linux and QEMU follow, and so do we" },
    { "5.1.6.2.1-1", "segmentation that was not agreed on: the frame is dropped, the device lives", gso_not_agreed, NULL },
    { "5.1.6.2.1-2", "segmentation without a checksum to finish or a size: the frame is dropped", gso_without_csum, NULL },
    { "5.1.6.2.2-1", "flags that are not known are ignored", flags_ignored, NULL },
    { "5.1.6.2.2-2", "without NEEDS_CSUM csum_start and csum_offset are not used", csum_unused, NULL },
    { "5.1.6.2.2-3", "hdr_len is not relied on", header_length, NULL },
    { "5.1.6.3.2-1", "num_buffers counts the buffers of the frame; without MRG_RXBUF there is one only", one_buffer, NULL },
    { "5.1.6.4.1-1", "num_buffers is 1 without MRG_RXBUF", one_buffer, NULL },
    { "5.1.6.4.1-2", "with it, num_buffers is how many buffers the frame lies in; all but the last are full", merged, NULL },
    { "5.1.6.4.1-3", "the buffers of a frame become used together", together, NULL },
    { "5.1.6.4.1-4", "without GUEST_CSUM flags are 0 and the checksum is finished", no_guest_csum, NULL },
    { "5.1.6.4.1-5", "without GUEST_TSO4 and GUEST_TSO6 gso_type is NONE: such frames are cut", no_guest_tso, NULL },
    { "5.1.6.4.1-6", "gso_type UDP never comes", no_udp, NULL },
    { "5.1.6.4.1-7", "with GUEST_CSUM a frame may lack its checksum; start and offset tell where it goes", guest_csum, NULL },
    { "5.1.6.4.1-8", "with segmentation NEEDS_CSUM and gso_size are set, hdr_len covers the headers", guest_tso_header, NULL },
    { "5.1.6.4.1-9", "flags that were not agreed on (RSC_INFO and others) are not set", no_rsc, NULL },
    { "5.1.6.5.1.1-1", "PROMISC: all frames, whatever the other modes say", promiscuous, NULL },
    { "5.1.6.5.1.1-2", "ALLMULTI: all multicast frames", all_multicast, NULL },
    { "5.1.6.5.1.1-3", "ALLUNI: all unicast frames", all_unicast, NULL },
    { "5.1.6.5.1.1-4", "NOMULTI: none, though ALLMULTI is on; broadcasts pass", no_multicast, NULL },
    { "5.1.6.5.1.1-5", "NOUNI: none, though ALLUNI is on", no_unicast, NULL },
    { "5.1.6.5.1.1-6", "NOBCAST: none, though ALLMULTI is on", no_broadcast, NULL },
    { "5.1.6.5.1.2-1", "commands whose feature was not agreed on are answered with an error", rx_not_agreed, NULL },
    { "5.1.6.5.2.1-1", "the table of addresses is empty after a reset", table_empty, NULL },
    { "5.1.6.5.2.1-2", "the table is in force when its command is answered; malformed ones change nothing", table_set, NULL },
    { "5.1.6.5.2.1-3", "mac in the configuration is new when the command is answered", address_set, NULL },
    { "5.1.6.5.2.1-4", "frames to other addresses are dropped (until PROMISC is first switched off all pass, as in QEMU)", others_dropped, NULL },
    { "5.1.6.5.4.2-1", "the announce bit goes before its acknowledgement is answered", announce, NULL },
    { "5.1.6.5.6.1-1", "0 pairs, or more than there are: an error", pairs_wrong, NULL },
    { "5.1.6.5.6.2-1", "after a reset frames go to the first receive queue only", first_pair, NULL },
    { "5.1.6.5.6.2-2", "and to none beyond the number of pairs once that is answered", pairs_set, NULL },
    { "5.1.6.5.8.2-1", "an offload that was not agreed on cannot be switched on", offloads_wrong, NULL },
    { NULL, NULL, NULL, NULL },
};
