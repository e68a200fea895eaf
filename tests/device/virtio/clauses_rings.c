/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Rings in both layouts, by the disk and the others. Malformed rings in all their kinds are in virtqueue.c; here each rule once. VIRTIO 1.2: 2.7, 2.8. */
#include "clauses.h"

#include <string.h>

enum { NEXT = 1, WRITE = 2, INDIRECT = 4, AVAIL = 0x80, USED = 0x8000, TABLE = 0x380000, HEAD = DATA, INTO = DATA + 4096 };

/* ---- what a driver must not do ---- */

static void disk_start(unsigned flags, uint64_t features)
{
    guest_plug(BLK, flags);
    guest_start(features);
    memset(guest.ram + DATA, 0, 65536);
}

static void needs_reset_after(void)
{
    guest_kick(0);
    guest_turn();
    check(guest_needs_reset());
    guest_unplug();
}

/* A descriptor of ring 0 or a table, in the layout of the device. */
static void descriptor(uint64_t table, unsigned n, uint64_t gpa, uint32_t length, unsigned flags, unsigned next)
{
    bool packed = guest.flags & PACKED;

    put(table + 16 * n, gpa, 8);
    put(table + 16 * n + 8, length, 4);
    put(table + 16 * n + 12, packed ? 0 : flags, 2);
    put(table + 16 * n + 14, packed ? flags | (table == TABLE ? 0 : AVAIL) : next, 2);
}

static uint64_t ring(void) { return guest.queue[0].descriptors; }

/* Split: entry 0 is the head of what becomes available. */
static void available(void)
{
    if (guest.flags & PACKED) return;
    put(guest.queue[0].avail + 4, 0, 2);
    put(guest.queue[0].avail + 2, 1, 2);
}

static void unaligned(unsigned flags, unsigned which, unsigned by)
{
    guest_plug(BLK, flags);
    check(guest_negotiate(ALL));
    reg_set(QUEUE_SELECT, 0, 2);
    for (unsigned n = 0; n < 3; n++) {
        reg_set(QUEUE_DESC + 8 * n, RING_AT + 0x8000 * n + (n == which ? by : 0), 4);
        reg_set(QUEUE_DESC + 8 * n + 4, 0, 4);
    }
    reg_set(QUEUE_ENABLE, 1, 2);
    check(!reg(QUEUE_ENABLE, 2) && guest_needs_reset());
    guest_unplug();
}

static void split_alignment(void) { unaligned(0, 0, 8), unaligned(0, 1, 1), unaligned(0, 2, 2); }
static void packed_alignment(void) { unaligned(PACKED, 0, 8), unaligned(PACKED, 1, 2), unaligned(PACKED, 2, 2); }

static void order_wrong(unsigned flags)
{
    struct driver_piece p[] = { { INTO, 513, true }, { HEAD, 16, false } };

    disk_start(flags, ALL);
    driver_add(&guest.queue[0], p, 2, false);
    needs_reset_after();
}
static void split_order_wrong(void) { order_wrong(0); }
static void packed_order_wrong(void) { order_wrong(PACKED); }

static void split_loop(void)
{
    disk_start(0, ALL);
    descriptor(ring(), 0, HEAD, 16, NEXT, 1);
    descriptor(ring(), 1, HEAD, 16, NEXT, 0);
    available();
    needs_reset_after();
}

static void packed_loop(void)
{
    disk_start(PACKED, ALL);
    for (unsigned n = 0; n < SIZE; n++) descriptor(ring(), n, HEAD, 16, NEXT, 0);
    needs_reset_after();
}

static void indirect_not_agreed(unsigned flags)
{
    disk_start(flags, ~VIRTIO_F_INDIRECT_DESC);
    descriptor(TABLE, 0, HEAD, 16, 0, 0);
    descriptor(ring(), 0, TABLE, 16, INDIRECT, 0);
    available();
    needs_reset_after();
}
static void split_not_agreed(void) { indirect_not_agreed(0); }
static void packed_not_agreed(void) { indirect_not_agreed(PACKED); }

static void indirect_nested(unsigned flags)
{
    disk_start(flags, ALL);
    descriptor(TABLE, 0, TABLE, 16, INDIRECT, 0);
    descriptor(ring(), 0, TABLE, 16, INDIRECT, 0);
    available();
    needs_reset_after();
}
static void split_nested(void) { indirect_nested(0); }
static void packed_nested(void) { indirect_nested(PACKED); }

static void indirect_and_next(unsigned flags)
{
    disk_start(flags, ALL);
    descriptor(TABLE, 0, HEAD, 16, 0, 0);
    descriptor(ring(), 0, TABLE, 16, INDIRECT | NEXT, 1);
    descriptor(ring(), 1, INTO, 513, WRITE, 0);
    available();
    needs_reset_after();
}
static void split_indirect_next(void) { indirect_and_next(0); }
static void packed_indirect_next(void) { indirect_and_next(PACKED); }

static void index_goes_back(void)
{
    disk_start(0, ALL);
    guest_kick(guest_typical(0));
    check(guest_wait(0) == 513);
    put(guest.queue[0].avail + 2, 0, 2);
    needs_reset_after();
}

static void too_long(void)
{
    disk_start(0, ALL);
    for (unsigned n = 0; n < 4; n++) descriptor(TABLE, n, INTO, 0xffffffff, WRITE | (n < 3 ? NEXT : 0), n + 1);
    descriptor(ring(), 0, TABLE, 64, INDIRECT, 0);
    available();
    needs_reset_after();
}

/* ---- what a device must do ---- */

static void pieces_of(unsigned flags)
{
    for (enum kind k = 0; k < KINDS; k++)
        for (unsigned most = 1; most <= 9; most += 2) {
            guest_plug(k, flags);
            guest_start(ALL);
            guest_kick(guest_typical(most));
            check(guest_wait(k == SCSI ? 2 : k == NET || k == CONSOLE ? 1 : 0) >= 0 && !guest_needs_reset());
            if (k == NET) check(wire_sent()->bytes == 60);
            guest_unplug();
        }
}
static void split_pieces(void) { pieces_of(0); }
static void packed_pieces(void) { pieces_of(PACKED); }

/* Nothing that the device may only read changes, nor does the descriptor table. */
static void untouched(void)
{
    static uint8_t out[4096], table[16 * SIZE];

    for (enum kind k = 0; k < KINDS; k++) {
        unsigned q;

        guest_plug(k, 0);
        guest_start(ALL);
        q = guest_typical(0);
        memcpy(out, guest.ram + DATA, sizeof(out));
        memcpy(table, guest.ram + guest.queue[q].descriptors, sizeof(table));
        guest_kick(q);
        check(guest_wait(q) >= 0);
        check(!memcmp(out, guest.ram + DATA, sizeof(out)) && !memcmp(table, guest.ram + guest.queue[q].descriptors, sizeof(table)));
        guest_unplug();
    }
}

static void packed_readable_untouched(void)
{
    static uint8_t out[4096];

    for (enum kind k = 0; k < KINDS; k++) {
        unsigned q;

        guest_plug(k, PACKED);
        guest_start(ALL);
        q = guest_typical(0);
        memcpy(out, guest.ram + DATA, sizeof(out));
        guest_kick(q);
        check(guest_wait(q) >= 0 && !memcmp(out, guest.ram + DATA, sizeof(out)));
        guest_unplug();
    }
}

static void write_flag_ignored(void)
{
    disk_start(0, ALL);
    descriptor(TABLE, 0, HEAD, 16, NEXT, 1);
    descriptor(TABLE, 1, INTO, 513, WRITE, 0);
    descriptor(ring(), 0, TABLE, 32, INDIRECT | WRITE, 0);
    available();
    guest_kick(0);
    guest.queue[0].slots_of[0] = 0;
    check(guest_wait(0) == 513 && guest.ram[INTO + 1] == 1);
    guest_unplug();
}

static void packed_flags_in_table(void)
{
    disk_start(PACKED, ALL);
    descriptor(TABLE, 0, HEAD, 16, NEXT | AVAIL, 0);    /* only WRITE means anything there */
    descriptor(TABLE, 1, INTO, 513, WRITE, 0);
    descriptor(ring(), 0, TABLE, 32, INDIRECT, 0);
    guest.queue[0].slots_of[0] = 1;
    guest_kick(0);
    check(guest_wait(0) == 513 && guest.ram[INTO + 1] == 1);
    guest_unplug();
}

static void indirect_behind_chain(void)
{
    disk_start(0, ALL);
    descriptor(TABLE, 0, HEAD + 8, 8, NEXT, 1);
    descriptor(TABLE, 1, INTO, 513, WRITE, 0);
    descriptor(ring(), 0, HEAD, 3, NEXT, 1);
    descriptor(ring(), 1, HEAD + 3, 5, NEXT, 2);
    descriptor(ring(), 2, TABLE, 32, INDIRECT, 0);
    available();
    guest_kick(0);
    guest.queue[0].slots_of[0] = 0;
    check(guest_wait(0) == 513 && guest.ram[INTO + 1] == 1);
    guest_unplug();
}

/* ---- notifications ---- */

static unsigned told(void)
{
    reg(ISR_AT, 1);
    return guest.raised;
}

static void flags_obeyed(void)
{
    unsigned before;

    guest_plug(BLK, NO_EVENT_INDEX);
    guest_start(ALL);
    put(guest.queue[0].avail + 4 + 2 * SIZE, 0x1234, 2); /* where used_event would be */
    for (unsigned off = 0; off < 2; off++) {
        driver_interrupts_set(&guest.queue[0], !off);
        before = told();
        guest_kick(guest_typical(0));
        check(guest_wait(0) == 513);
        guest_turn();
        check(told() == before + !off);
    }
    guest_unplug();
}

static void event_obeyed(void)
{
    guest_plug(RNG, 0);
    guest_start(ALL);
    put(guest.queue[0].avail, 1, 2);                     /* the flag means nothing now */
    driver_event_set(&guest.queue[0], 2);
    for (unsigned n = 0; n < 5; n++) {
        unsigned before = told();

        guest_kick(guest_typical(0));
        check(guest_wait(0) == 64);
        guest_turn();
        check(told() == before + (n == 2));
    }
    guest_unplug();
}

static void packed_event_obeyed(void)
{
    unsigned size;

    guest_plug(RNG, PACKED);
    guest_start(ALL);
    size = guest.queue[0].size;
    driver_event_set(&guest.queue[0], size + 2);         /* in the second round */
    for (unsigned n = 0; n < size + 5; n++) {
        unsigned before = told();

        guest_kick(guest_typical(0));
        check(guest_wait(0) == 64);
        guest_turn();
        check(told() == before + (n == size + 2));
    }
    guest_unplug();
}

static void used_flags(void)
{
    for (unsigned events = 0; events < 2; events++) {
        guest_plug(RNG, 0);
        guest_start(events ? ALL : ~VIRTIO_F_EVENT_IDX);
        for (unsigned n = 0; n < 20; n++) {
            check(get(guest.queue[0].used, 2) <= !events);
            guest_kick(guest_typical(0));
            check(guest_wait(0) == 64);
        }
        guest_unplug();
    }
}

static void spurious(void)
{
    for (enum kind k = 0; k < KINDS; k++) {
        guest_plug(k, k & 1 ? PACKED : 0);
        guest_start(ALL);
        for (unsigned q = 0; q < 12; q++) guest_kick(q); /* of queues that are not there, too */
        guest_turn();
        check(!guest_needs_reset());
        guest_kick(guest_typical(0));
        check(guest_wait(k == SCSI ? 2 : k == NET || k == CONSOLE ? 1 : 0) >= 0);
        guest_unplug();
    }
}

/* ---- used entries ---- */

static void length_is_written(void)
{
    disk_start(0, ALL);
    memset(guest.ram + INTO, 0xee, 1024);
    guest_kick(guest_typical(0));
    check(guest_wait(0) == 513);
    for (unsigned i = 0; i < 512; i++) check(guest.ram[INTO + i] == (uint8_t)i);
    check(guest.ram[INTO + 512] == 0 && guest.ram[INTO + 513] == 0xee);
    guest_unplug();
}

static void in_ring_order(void)
{
    disk_start(PACKED, ALL);
    for (unsigned n = 0; n < 4; n++) {                   /* writes to one sector, then a read: the last one is there */
        struct driver_piece w[] = { { HEAD + 64 * n, 16, false }, { INTO + 512 * n, 512, false }, { HEAD + 1024 + n, 1, true } };

        put(HEAD + 64 * n, 1, 8);
        put(HEAD + 64 * n + 8, n, 8);
        memset(guest.ram + INTO + 512 * n, (int)(0x40 + n), 512);
        driver_add(&guest.queue[0], w, 3, false);
    }
    guest_kick(0);
    for (unsigned n = 0; n < 4; n++) check(guest_wait(0) == 1);
    for (unsigned n = 0; n < 4; n++) {
        struct driver_piece r[] = { { HEAD, 16, false }, { INTO, 513, true } };

        put(HEAD, 0, 8);
        put(HEAD + 8, n, 8);
        check(guest_ask(0, r, 2) == 513 && guest.ram[INTO] == 0x40 + n && guest.ram[INTO + 511] == 0x40 + n);
    }
    guest_unplug();
}

static void not_available(void)
{
    disk_start(PACKED, ALL);
    descriptor(ring(), 0, HEAD, 16, NEXT, 0);
    descriptor(ring(), 1, INTO, 513, WRITE, 0);
    put(ring() + 14, NEXT, 2);                           /* as after initialization: bit AVAIL did not change */
    guest.queue[0].slots_of[0] = 2;
    guest_kick(0);
    check(guest_is_quiet(0) && !guest_needs_reset());
    put(ring() + 14, NEXT | AVAIL, 2);
    guest_kick(0);
    check(guest_wait(0) == 513);
    put(ring() + 32 + 14, USED, 2);                      /* as in the round before: not available */
    guest_kick(0);
    check(guest_is_quiet(0) && !guest_needs_reset());
    guest_unplug();
}

static void used_stays(void)
{
    uint8_t after[16];

    disk_start(PACKED, ALL);
    guest_kick(guest_typical(0));
    check(guest_wait(0) == 513);
    memcpy(after, guest.ram + ring(), 16);
    guest_kick(guest_typical(0));
    check(guest_wait(0) == 513);
    check(!memcmp(after, guest.ram + ring(), 16));
    guest_unplug();
}

static void used_write_flag(void)
{
    struct driver_piece w[] = { { HEAD, 16, false }, { INTO, 512, false }, { HEAD + 1024, 1, true } };

    disk_start(PACKED, ALL);
    guest_kick(guest_typical(0));                        /* a read, then a write: of that the status alone */
    check(guest_wait(0) == 513 && get(ring() + 14, 2) & WRITE);
    put(HEAD, 1, 8);
    check(guest_ask(0, w, 3) == 1 && get(ring() + 2 * 16 + 14, 2) & WRITE);
    guest_plug(BALLOON, PACKED);
    guest_start(ALL);
    guest_kick(guest_typical(0));
    check(guest_wait(0) == 0 && !(get(ring() + 14, 2) & WRITE));
    guest_unplug();
}

const struct clause clauses_rings[] = {
    { "2.7.1-1", "parts of a split queue that are not aligned: the queue is not enabled, the device needs a reset", split_alignment, NULL },
    { "2.7.4.1-1", "nothing is assumed about how a buffer is cut into descriptors: headers in single bytes, for every device", split_pieces, NULL },
    { "2.7.4.2-1", "a readable element behind a writable one: needs reset", split_order_wrong, NULL },
    { "2.7.5.1-1", "what is readable is not written, nor is the descriptor table", untouched, NULL },
    { "2.7.5.2-1", "a chain that loops, or is longer than 2^32 bytes: needs reset", split_loop, NULL },
    { "2.7.5.2-2", "a buffer beyond memory: needs reset", too_long, NULL },
    { "2.7.5.3.1-1", "an indirect descriptor without the feature: needs reset", split_not_agreed, NULL },
    { "2.7.5.3.1-2", "an indirect descriptor in an indirect table: needs reset", split_nested, NULL },
    { "2.7.5.3.1-3", "INDIRECT together with NEXT: needs reset", split_indirect_next, NULL },
    { "2.7.5.3.2-1", "the write flag of a descriptor that refers to a table is ignored", write_flag_ignored, NULL },
    { "2.7.5.3.2-2", "a chain of direct descriptors may end with an indirect one", indirect_behind_chain, NULL },
    { "2.7.6.1-1", "an available index that goes back: needs reset", index_goes_back, NULL },
    { "2.7.7.2-1", "without EVENT_IDX used_event means nothing; flags 0 brings a notification, 1 none", flags_obeyed, NULL },
    { "2.7.7.2-2", "with EVENT_IDX flags mean nothing; a notification comes with the entry of used_event, and with no other", event_obeyed, NULL },
    { "2.7.8.2-1", "the length is set before the index moves", NULL, "the order of two stores is not seen by one thread; `virtqueue_split.c` stores the index with release" },
    { "2.7.8.2-2", "as many bytes as the length says are written, from the first writable one on", length_is_written, NULL },
    { "2.7.10.2-1", "flags in the used ring are 0 or 1 without EVENT_IDX, 0 with it", used_flags, NULL },
    { "2.7.10.2-2", "spurious notifications do no harm", spurious, NULL },
    { "2.8.3-1", "used descriptors have the write flag if the device could write, be it a status alone; those of buffers to read only have not", used_write_flag, NULL },
    { "2.8.11-1", "parts of a packed queue that are not aligned: not enabled, needs reset", packed_alignment, NULL },
    { "2.8.12-1", "descriptors are started in the order of the ring", in_ring_order, NULL },
    { "2.8.12-2", "used descriptors are written in the order of completion", NULL, "`virtqueue` completes chains in random order and compares what the driver sees" },
    { "2.8.15-1", "what is readable is not written", packed_readable_untouched, NULL },
    { "2.8.15-2", "a descriptor is used only once its AVAIL bit has changed", not_available, NULL },
    { "2.8.15-3", "a descriptor is not changed once its USED bit has", used_stays, NULL },
    { "2.8.17-1", "a list that is longer than the queue, or loops: needs reset", packed_loop, NULL },
    { "2.8.17-2", "a readable element behind a writable one: needs reset", packed_order_wrong, NULL },
    { "2.8.18-1", "the descriptors of a list are used in their order, however it is cut", packed_pieces, NULL },
    { "2.8.19-1", "an indirect descriptor without the feature: needs reset", packed_not_agreed, NULL },
    { "2.8.19-2", "flags other than WRITE in an indirect table: ignored, and INDIRECT breaks the queue", packed_flags_in_table, NULL },
    { "2.8.19-3", "a table in a table: needs reset", packed_nested, NULL },
    { "2.8.19-4", "INDIRECT in a list of several: needs reset", packed_indirect_next, NULL },
    { "2.8.20-1", "with EVENT_IDX a notification comes with the entry the driver named, in its round, and with no other (2.8.14)", packed_event_obeyed, NULL },
    { NULL, NULL, NULL, NULL },
};
