/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Disk. VIRTIO 1.2: 5.2. blk.c tries data and errors at random; here each rule once. */
#include "clauses.h"

#include <string.h>

#include "block/fault.h"

enum { IN = 0, OUT = 1, FLUSH = 4, GET_ID = 8, DISCARD = 11, ZEROES = 13, ERASE = 14, OK = 0, IOERR = 1, UNSUPP = 2, F_FLUSH = 9, F_WCE = 11, WRITEBACK = 32, AT = DATA + 4096 };

static void start(unsigned flags, uint64_t features)
{
    guest_plug(BLK, flags);
    guest_start(features);
}

/* The status of a request whose data lie at AT. */
static int ask(uint32_t type, uint64_t sector, uint32_t bytes)
{
    bool reads = type == IN || type == GET_ID;
    struct driver_piece p[3] = { { DATA, 16, false } };
    unsigned n = 1;

    put(DATA, type, 8);
    put(DATA + 8, sector, 8);
    guest.ram[DATA + 64] = 0xee;
    if (bytes) p[n++] = (struct driver_piece){ AT, bytes, reads };
    p[n++] = (struct driver_piece){ DATA + 64, 1, true };
    guest_ask(0, p, n);
    return guest.ram[DATA + 64];
}

static int range(uint32_t type, uint64_t sector, uint32_t sectors, uint32_t flags)
{
    put(AT, sector, 8);
    put(AT + 8, sectors, 4);
    put(AT + 12, flags, 4);
    return ask(type, 0, 16);
}

static void flush_offered(void)
{
    guest_plug(BLK, 0);
    check(guest_offered() & BIT(F_WCE) && guest_offered() & BIT(F_FLUSH));
    guest_unplug();
}

static void writeback_starts_off(void)
{
    guest_plug(BLK, 0);
    check(guest_negotiate(~BIT(F_FLUSH)));
    check(config(WRITEBACK, 1) == 0);                    /* drivers read it now */
    check(guest_negotiate(ALL) && config(WRITEBACK, 1) == 1);
    guest_unplug();
}

static void padding(void)
{
    start(0, ALL);
    check(config(33, 1) == 0 && config(57, 1) == (guest.v->config_bytes > 57 ? 0 : 0xff));
    guest_unplug();
}

static void beyond(void)
{
    start(0, ALL);
    check(ask(IN, DISK_SECTORS, 512) == IOERR && ask(OUT, DISK_SECTORS - 1, 1024) == IOERR && ask(IN, ~0ull, 512) == IOERR && ask(OUT, 1ull << 55, 512) == IOERR);
    check(block_fault_writes(guest.disk) == 0 && ask(IN, DISK_SECTORS - 1, 512) == OK);
    guest_unplug();
}

static void flush_with_data(void)
{
    start(0, ALL);
    check(ask(FLUSH, 77, 512) == OK && block_fault_flushes(guest.disk) == 1);
    guest_unplug();
}

static void odd_lengths(void)
{
    start(0, ALL);
    check(ask(IN, 0, 511) == IOERR && ask(OUT, 0, 513) == IOERR && ask(DISCARD, 0, 15) == UNSUPP && ask(ZEROES, 0, 17) == UNSUPP && ask(GET_ID, 0, 7) == OK);
    check(block_fault_writes(guest.disk) == 0);
    guest_unplug();
}

static void many_segments(void)
{
    start(0, ALL);
    check(config(40, 4) == 1 && config(52, 4) == 1);     /* max_discard_seg, max_write_zeroes_seg */
    check(ask(DISCARD, 0, 32) == UNSUPP && ask(ZEROES, 0, 32) == UNSUPP && block_fault_writes(guest.disk) == 0);
    guest_unplug();
}

static void readonly(void)
{
    start(READONLY, ALL);
    check(guest_offered() & BIT(5));
    memset(guest.ram + AT, 0x99, 512);
    check(ask(OUT, 0, 512) == IOERR && range(ZEROES, 0, 1, 0) == IOERR && range(DISCARD, 0, 1, 0) == IOERR);
    check(block_fault_writes(guest.disk) == 0 && ask(IN, 0, 512) == OK && guest.ram[AT + 1] == 1);
    guest_unplug();
    start(READONLY, ~BIT(5));                            /* a driver that does not know it */
    check(ask(OUT, 0, 512) == IOERR && block_fault_writes(guest.disk) == 0);
    guest_unplug();
}

static void unknown_flags(void)
{
    start(0, ALL);
    for (unsigned bit = 1; bit < 32; bit++) check(range(DISCARD, 0, 1, 1u << bit) == UNSUPP && range(ZEROES, 0, 1, 1u << bit) == UNSUPP);
    check(range(ERASE, 0, 1, 2) == UNSUPP && block_fault_writes(guest.disk) == 0);
    guest_unplug();
}

static void discard_unmap(void)
{
    start(0, ALL);
    check(range(DISCARD, 0, 1, 1) == UNSUPP && range(DISCARD, 0, 1, 0) == OK);
    guest_unplug();
}

static void zeroes(void)
{
    start(0, ALL);
    for (unsigned unmap = 0; unmap < 2; unmap++) {
        check(range(ZEROES, 8 + 8 * unmap, 4, unmap) == OK);
        memset(guest.ram + AT, 0xee, 2048);
        check(ask(IN, 8 + 8 * unmap, 2048) == OK);
        for (unsigned i = 0; i < 2048; i++) check(guest.ram[AT + i] == 0);
        check(ask(IN, 12 + 8 * unmap, 512) == OK && guest.ram[AT + 1] != 0);
    }
    guest_unplug();
}

static void unmap_told(void)
{
    start(0, ALL);
    check(config(56, 1) == 1);                           /* this disk can */
    guest_unplug();
}

static uint64_t flushes_of(uint32_t type)
{
    uint64_t before = block_fault_flushes(guest.disk);

    check(ask(type, 0, type == FLUSH ? 0 : 512) == OK);
    return block_fault_flushes(guest.disk) - before;
}

static void stable_without_flush(void)
{
    start(0, ~(BIT(F_FLUSH) | BIT(F_WCE)));
    check(flushes_of(OUT) == 1);
    guest_unplug();
    start(0, ~BIT(F_FLUSH));
    check(flushes_of(OUT) == 1);
    guest_unplug();
}

static void stable_writethrough(void)
{
    start(0, ALL);
    check(flushes_of(OUT) == 0);
    reg_set(CONFIG_AT + WRITEBACK, 0, 1);
    check(flushes_of(OUT) == 1);
    reg_set(CONFIG_AT + WRITEBACK, 1, 1);
    check(flushes_of(OUT) == 0);
    guest_unplug();
}

static void stable_flushed(void)
{
    start(0, ALL);
    check(flushes_of(OUT) == 0 && flushes_of(FLUSH) == 1);
    block_fault_fail_flush(guest.disk, 5);
    check(ask(FLUSH, 0, 0) == IOERR);
    guest_unplug();
}

static void no_lifetime(void)
{
    guest_plug(BLK, 0);
    check(!(guest_offered() & (BIT(15) | BIT(16))));
    guest_start(ALL);
    check(ask(10, 0, 24) == UNSUPP);
    guest_unplug();
}

const struct clause clauses_blk[] = {
    { "5.2.5.2-1", "FLUSH is offered, always with CONFIG_WCE", flush_offered, NULL },
    { "5.2.5.2-2", "with CONFIG_WCE but not FLUSH writeback is 0 from the agreement on", writeback_starts_off, NULL },
    { "5.2.5.2-3", "padding is 0", padding, NULL },
    { "5.2.6.1-1", "requests beyond the capacity: IOERR, nothing is written", beyond, NULL },
    { "5.2.6.1-2", "a flush with a sector or data is a flush", flush_with_data, NULL },
    { "5.2.6.1-3", "lengths that are no multiple of what they must be: an error, nothing is written", odd_lengths, NULL },
    { "5.2.6.1-4", "more segments than the configuration allows: UNSUPP", many_segments, NULL },
    { "5.2.6.2-1", "on a read-only disk a write ends with IOERR and writes nothing, whether RO was accepted or not", readonly, NULL },
    { "5.2.6.2-2", "UNSUPP for unknown flags of discard, write zeroes, secure erase", unknown_flags, NULL },
    { "5.2.6.2-3", "UNSUPP for a discard with the unmap flag", discard_unmap, NULL },
    { "5.2.6.2-4", "after write zeroes the range reads as zeroes, with and without unmap, and nothing else does", zeroes, NULL },
    { "5.2.6.2-5", "write_zeroes_may_unmap is set if it may", unmap_told, NULL },
    { "5.2.6.2-6", "without FLUSH a write is stable when it is done", stable_without_flush, NULL },
    { "5.2.6.2-7", "with writeback 0 too", stable_writethrough, NULL },
    { "5.2.6.2-8", "otherwise when a flush is done; one that failed says so", stable_flushed, NULL },
    { "5.2.6.2-9", "LIFETIME and secure erase, which these disks cannot tell or do, are not offered", no_lifetime, NULL },
    { NULL, NULL, NULL, NULL },
};
