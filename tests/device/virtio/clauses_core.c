/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Status, features, reset, configuration space, queue reset: what holds for all devices is tried on each. VIRTIO 1.2: 2.1 to 2.6, 3, 6. */
#include "clauses.h"

#include <string.h>

static void each(unsigned flags, void (*fn)(void))
{
    for (enum kind k = 0; k < KINDS; k++) {
        guest_plug(k, flags);
        fn();
        guest_unplug();
    }
}

static void both_rings(void (*fn)(void))
{
    each(0, fn);
    each(PACKED | MSIX, fn);
}

static unsigned interrupts(void)
{
    unsigned n = guest.raised;

    for (unsigned i = 0; i < VECTORS; i++) n += guest.messages[i];
    return n;
}

/* ---- 2.1 ---- */

static void bits_cleared(void)
{
    unsigned q;

    guest_start(ALL);
    reg_set(STATUS, S_ACK, 1);
    reg_set(STATUS, S_DRIVER_OK, 1);
    guest_start(ALL);
    q = guest_typical(0);
    guest_kick(q);
    check(guest_wait(q) >= 0);
}
static void driver_clears_bits(void) { each(0, bits_cleared); }

static void failed_bit(void)
{
    unsigned q;

    guest_start(ALL);
    reg_set(STATUS, 15 | S_FAILED, 1);
    q = guest_typical(0);
    guest_kick(q);
    check(guest_is_quiet(q));
    guest_start(ALL);
    q = guest_typical(0);
    guest_kick(q);
    check(guest_wait(q) >= 0);
}
static void driver_fails(void) { each(0, failed_bit); }

static void before_driver_ok(void)
{
    unsigned q;

    check(guest_negotiate(ALL));
    guest_queues_setup();
    q = guest_typical(0);
    guest_kick(q);
    check(guest_is_quiet(q) && !interrupts());
    reg_set(STATUS, 15, 1);
    check(guest_wait(q) >= 0);                           /* what came early is served now */
}
static void not_before_driver_ok(void) { both_rings(before_driver_ok); }

/* A ring that nobody may make: a head outside of the table, or a buffer outside of memory. */
static void ring_spoil(unsigned q)
{
    struct driver_piece p = { 0x40000000, 16, false };

    driver_add(&guest.queue[q], &p, 1, false);
    guest_kick(q);
    guest_turn();
}

static void needs_reset_told(void)
{
    unsigned q, before;

    guest_start(ALL);
    q = guest_typical(0);
    guest_start(ALL);
    before = guest.flags & MSIX ? guest.messages[0] : guest.raised;
    ring_spoil(q);
    check(guest_needs_reset());
    check((guest.flags & MSIX ? guest.messages[0] : guest.raised) == before + 1);
    check(reg(ISR_AT, 1) & 2);
    q = guest_typical(0);
    guest_kick(q);
    check(guest_is_quiet(q));
    guest_start(ALL);
    check(!guest_needs_reset());
    q = guest_typical(0);
    guest_kick(q);
    check(guest_wait(q) >= 0);
}
static void needs_reset(void) { both_rings(needs_reset_told); }

/* ---- 2.2 ---- */

static void not_offered(void)
{
    uint64_t offered = guest_offered();

    for (unsigned bit = 0; bit < 64; bit++)
        if (!(offered >> bit & 1)) check(!guest_negotiate_exactly(VIRTIO_F_VERSION_1 | BIT(bit)));
}
static void features_not_offered(void) { each(0, not_offered); }

static void dependence_ignored(void)
{
    static const uint64_t sets[] = { BIT(VIRTIO_NET_GUEST_TSO4), BIT(VIRTIO_NET_HOST_TSO6) | BIT(VIRTIO_NET_GUEST_ECN), BIT(VIRTIO_NET_MQ), BIT(VIRTIO_NET_CTRL_RX) };

    guest_plug(NET, 0);
    for (unsigned i = 0; i < ARRAY_SIZE(sets); i++) {
        if (!guest_negotiate(sets[i])) continue;         /* the device may refuse */
        guest_queues_setup();
        reg_set(STATUS, 15, 1);
        guest_kick(guest_typical(0));
        check(guest_wait(1) >= 0 && wire_sent()->bytes == 60);
    }
    guest_unplug();
}

static void net_dependences(void)
{
    static const struct { uint8_t feature, needs; } rules[] = {
        { 7, 1 }, { 8, 1 }, { 11, 0 }, { 12, 0 }, { 18, 17 }, { 19, 17 }, { 20, 17 }, { 21, 17 }, { 22, 17 }, { 23, 17 }, { 2, 17 },
    };

    for (unsigned i = 0; i < ARRAY_SIZE(rules); i++) {
        guest.left_out = BIT(rules[i].needs);
        guest_plug(NET, 0);
        check(!(guest_offered() >> rules[i].needs & 1) && !(guest_offered() >> rules[i].feature & 1));
        guest_unplug();
    }
    guest.left_out = BIT(7) | BIT(8) | BIT(11) | BIT(12);
    guest_plug(NET, 0);
    check(!(guest_offered() & (BIT(9) | BIT(13))));      /* ECN needs one of the segmentations */
    guest_unplug();
    guest.left_out = 0;
}

static void subset(void)
{
    uint64_t offered = guest_offered();

    for (unsigned bit = 0; bit < 64; bit++) {
        unsigned q;

        if (!(offered >> bit & 1) || BIT(bit) == VIRTIO_F_VERSION_1) continue;
        check(guest_negotiate_exactly(VIRTIO_F_VERSION_1 | BIT(bit)));
        if (guest.kind == NET) continue;                 /* some of its need others */
        guest_start(~BIT(bit));
        q = guest_typical(0);
        guest_kick(q);
        check(guest_wait(q) >= 0);
    }
}
static void subsets(void) { each(PACKED, subset); }

static void no_version_1(void)
{
    check(guest_offered() & VIRTIO_F_VERSION_1);
    check(!guest_negotiate_exactly(0));
    check(!guest_negotiate_exactly(guest_offered() & ~VIRTIO_F_VERSION_1));
}
static void version_1(void) { each(0, no_version_1); }

static void twice(void)
{
    guest_start(ALL);
    guest_start(ALL);
    device_reset(guest.device);
    pci_set(0x10, PORTS_AT, 4), pci_set(0x14, MSIX_AT, 4), pci_set(0x20, MODERN_AT, 4), pci_set(0x24, 0, 4), pci_set(4, 7, 2);
    guest_start(ALL);
}
static void negotiated_again(void) { each(PACKED, twice); }

/* ---- 2.4 ---- */

static void reset_status(void)
{
    guest_start(ALL);
    reg_set(STATUS, 0, 1);
    check(reg(STATUS, 1) == 0);
    for (unsigned half = 0; half < 2; half++) {
        reg_set(DRIVER_SELECT, half, 4);
        check(reg(DRIVER_FEATURE, 4) == 0);
    }
}
static void reset_clears_status(void) { both_rings(reset_status); }

static void reset_silent(void)
{
    static uint8_t before[RING_STRIDE];
    unsigned q, seen;

    guest_start(ALL);
    q = guest_typical(0);
    guest_kick(q);
    reg_set(STATUS, 0, 1);
    reg(ISR_AT, 1);
    memset(guest.ram + RING_AT + q * RING_STRIDE, 0x5a, RING_STRIDE);
    memcpy(before, guest.ram + RING_AT + q * RING_STRIDE, RING_STRIDE);
    seen = interrupts();
    for (unsigned i = 0; i < 5; i++) guest_turn();
    guest_kick(q);
    check(!memcmp(before, guest.ram + RING_AT + q * RING_STRIDE, RING_STRIDE));
    check(interrupts() == seen);
}
static void reset_is_silent(void) { both_rings(reset_silent); }

/* ---- 2.5 ---- */

static void config_early(void)
{
    guest_plug(BLK, 0);
    reg_set(STATUS, 0, 1);
    check(config(0, 4) == DISK_SECTORS && config(20, 4) == 512 && config(34, 2) == 2 && config(36, 4) && config(48, 4));
    guest_unplug();
    guest_plug(NET, 0);
    check(config(0, 4) == 0x01005452 && config(8, 2) == 2 && config(10, 2) == 1500 && config(12, 4) == 1000);
    guest_unplug();
    guest_plug(SCSI, 0);
    check(config(0, 4) == 1 && config(20, 4) == 96 && config(24, 4) == 32);
    guest_unplug();
    guest_plug(CONSOLE, 0);
    check(config(4, 4) == 3);
    guest_unplug();
}

/* ---- 2.6.1 ---- */

static void queue_reset(unsigned q)
{
    reg_set(QUEUE_SELECT, q, 2);
    reg_set(QUEUE_RESET, 1, 2);
    check(reg(QUEUE_RESET, 2) == 0 && reg(QUEUE_ENABLE, 2) == 0);
}

static void queue_silent(void)
{
    unsigned q, seen;

    guest_start(ALL);
    q = guest_typical(0);
    guest_kick(q);
    queue_reset(q);
    reg(ISR_AT, 1);
    seen = interrupts();
    guest_is_quiet(q);                                   /* what was done before */
    guest_typical(0);
    guest_kick(q);
    check(guest_is_quiet(q) && interrupts() == seen);
}
static void queue_reset_silent(void) { both_rings(queue_silent); }

static void queue_default(void)
{
    unsigned q;

    guest_start(ALL);
    for (unsigned i = 0; i < 3; i++) {
        q = guest_typical(0);
        guest_kick(q);
        check(guest_wait(q) >= 0);
    }
    queue_reset(q);
    check(reg(QUEUE_SIZE, 2) == guest.v->queue[q].size_max && reg(QUEUE_VECTOR, 2) == VIRTIO_NO_VECTOR && reg(QUEUE_DESC, 4) == 0);
    guest_queue_setup(q, SIZE);
    check(reg(QUEUE_ENABLE, 2) == 1);
    q = guest_typical(0);                                /* indices begin at 0 again */
    guest_kick(q);
    check(guest_wait(q) >= 0);
}
static void queue_reset_default(void) { both_rings(queue_default); }

static void queue_other_size(void)
{
    unsigned q;

    guest_start(ALL);
    q = guest_typical(0);
    guest_kick(q);
    check(guest_wait(q) >= 0);
    queue_reset(q);
    guest_queue_setup(q, SIZE / 2);
    for (unsigned i = 0; i < SIZE; i++) {
        guest_typical(0);
        guest_kick(q);
        check(guest_wait(q) >= 0);
    }
}
static void queue_other_sizes(void) { both_rings(queue_other_size); }

/* ---- 3 ---- */

static void no_features_ok(void)
{
    unsigned q;

    check(!guest_negotiate_exactly(VIRTIO_F_VERSION_1 | BIT(50)));
    guest_queues_setup();
    reg_set(STATUS, 15 & ~S_FEATURES_OK, 1);
    check(!(reg(STATUS, 1) & S_DRIVER_OK));
    for (q = 0; q < guest.queues; q++) {
        reg_set(QUEUE_SELECT, q, 2);
        check(reg(QUEUE_ENABLE, 2) == 0);
    }
}
static void order_broken(void) { each(0, no_features_ok); }

static void features_later(void)
{
    guest_start(ALL);
    reg_set(DRIVER_SELECT, 0, 4);
    reg_set(DRIVER_FEATURE, 0, 4);
    check((uint32_t)guest.v->features == (uint32_t)guest_offered());
}
static void features_after_ok(void) { each(0, features_later); }

static void entries_altered(void)
{
    unsigned q;

    guest_plug(BLK, 0);
    guest_start(ALL);
    memset(guest.ram + DATA + 4096, 0xee, 1024);
    q = guest_typical(0);
    guest_kick(q);                                       /* taken now, done later */
    memset(guest.ram + RING_AT + q * RING_STRIDE, 0xff, 16 * SIZE);
    check(guest_wait(q) == 513 && guest.ram[DATA + 4096 + 512] == 0 && guest.ram[DATA + 4096] == 0 && guest.ram[DATA + 4097] == 1);
    guest_unplug();
}

static void not_offered_kinds(void)
{
    uint64_t f = guest_offered();

    check(!(f & (BIT(33) | BIT(35) | BIT(36) | BIT(37))));
}
static void reserved_not_offered(void) { each(PACKED, not_offered_kinds); }

const struct clause clauses_core[] = {
    { "2.1.1-1", "the driver sets the status bits step by step: DRIVER_OK without FEATURES_OK is not taken", order_broken, NULL },
    { "2.1.1-2", "a driver that clears status bits: the device survives, and a reset puts it right", driver_clears_bits, NULL },
    { "2.1.1-3", "after FAILED nothing is served until a reset", driver_fails, NULL },
    { "2.1.2-1", "no buffer is consumed and no notification sent before DRIVER_OK", not_before_driver_ok, NULL },
    { "2.1.2-2", "in an error state NEEDS_RESET is set, and with DRIVER_OK a configuration change is told", needs_reset, NULL },
    { "2.2.1-1", "a driver that accepts what was not offered gets no FEATURES_OK", features_not_offered, NULL },
    { "2.2.1-2", "a driver that accepts a feature without the one it needs is served without both, or refused", dependence_ignored, NULL },
    { "2.2.2-1", "no feature is offered without the one it needs, whatever the user left out", net_dependences, NULL },
    { "2.2.2-2", "each valid subset is accepted", subsets, NULL },
    { "2.2.2-3", "other sets fail at FEATURES_OK", features_not_offered, NULL },
    { "2.2.2-4", "what was accepted once is accepted after a reset of device and system", negotiated_again, NULL },
    { "2.4.1-1", "a reset sets the status to 0", reset_clears_status, NULL },
    { "2.4.1-2", "after it no notification comes and no ring is touched", reset_is_silent, NULL },
    { "2.5.2-1", "the configuration can be read before FEATURES_OK, fields of offered features included", config_early, NULL },
    { "2.6.1.1.1-1", "after a queue's reset its requests are not executed and nothing is told", queue_reset_silent, NULL },
    { "2.6.1.1.1-2", "the queue's state is the default one, positions in the rings included", queue_reset_default, NULL },
    { "2.6.1.2.1-1", "a queue that is enabled again has the size the driver chose then", queue_other_sizes, NULL },
    { "3.1.1-1", "features written after FEATURES_OK change nothing", features_after_ok, NULL },
    { "3.1.1-2", "notifications before DRIVER_OK do no harm", not_before_driver_ok, NULL },
    { "3.3.1-1", "entries that a driver alters while the device has them: it works with what it read", entries_altered, NULL },
    { "6.1-1", "a driver that does not accept VERSION_1 gets no FEATURES_OK", version_1, NULL },
    { "6.2-1", "VERSION_1 is offered", version_1, NULL },
    { "6.2-2", "ACCESS_PLATFORM, IN_ORDER, ORDER_PLATFORM, SR_IOV are not offered: addresses are guest-physical, no order is kept, there are no virtual functions",
      reserved_not_offered, NULL },
    { NULL, NULL, NULL, NULL },
};
