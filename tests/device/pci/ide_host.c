/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * IDE disks on a host that fails: no space (held until the machine goes on), write errors, no power, read-only images;
 * what reaches stable storage with the write cache on and off; TRIM; the end of a machine with requests in flight; random
 * commands. The disk that fails is block/fault.h's, below the production path. Source: ATA/ATAPI-6.
 */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "base/error.h"
#include "base/loop.h"
#include "block/block.h"
#include "block/fault.h"
#include "ide_bench.h"

enum { SEED = 20261127, SECTOR = 512, ROUNDS = 6000 };

static uint8_t buffer[1 << 20];

static void identify(uint16_t *w)
{
    check(command(&(struct command){ .op = 0xec }) & DRQ, "IDENTIFY");
    data_read(w, SECTOR);
}

/* ---- random ---- */

/* Random commands with random everything. */
static void test_random(void)
{
    static const uint8_t ops[] = { 0x20, 0x24, 0x30, 0x34, 0xc4, 0xc5, 0xc8, 0xca, 0x25, 0x35, 0x06,
                                   0xec, 0xef, 0xc6, 0xe7, 0x91, 0xb0, 0x40, 0xf8, 0x39, 0xce, 0x3d };
    struct ide_drive_config drive[4] = { 0 };
    struct block_node *node;
    uint16_t w[256];

    file_make("random.img", "", 0, 4096 * SECTOR);
    node = image_open("random.img", "raw", false);
    drive[0] = drive[1] = (struct ide_drive_config){ IDE_DISK, node, NULL, true };
    bench_new(drive);
    for (unsigned n = 0; n < ROUNDS; n++) {
        struct prd prd[8];
        random_fill(prd, sizeof prd);
        for (unsigned i = 0; i < 8; i++) prd[i].address &= random_next() % 4 ? RAM_BYTES - 1 : UINT32_MAX;
        memcpy(ram + TABLE, prd, sizeof prd);
        bm_out(4, random_next() % 8 ? TABLE : random_next(), 4);
        command_start(
            &(struct command){ .op = random_next() % 8 ? ops[random_next() % sizeof ops] : random_next(),
                               .feature = random_next() % 4,
                               .sector = random_next() % 4 ? random_next() % 4200 : random_next(),
                               .count = random_next() % (n % 4 ? 20 : 70000),
                               .slave = random_next() % 2,
                               .ext = random_next() % 2,
                               .chs = random_next() % 4 == 0 });
        for (unsigned i = random_next() % 12; i; i--) {
            switch (random_next() % 16) {
            case 0: out(COMMAND, random_next()); break;
            case 1: control(random_next() & 0x86); break;
            case 2: out(1 + random_next() % 7, random_next()); break;
            case 3 ... 5: bm_out(0, random_next() % 4 ? 9 : random_next(), 1); break;
            case 6: bm_out(random_next() % 8, random_next(), 1 << random_next() % 3); break;
            case 7 ... 8:
                for (unsigned d = random_next() % 800; d; d--) in_data(1u << random_next() % 3);
                break;
            case 9 ... 10:
                for (unsigned d = random_next() % 800; d; d--) out_data(random_next(), 1u << random_next() % 3);
                break;
            default: loop_step(0); break;
            }
        }
        if (n % 500 == 0) device_reset(ide);
    }
    bm_out(0, 0, 1);
    soft_reset();
    identify(w);
    check(w[100] == 4096 && !w[101], "sectors after random commands");
    bench_free();
    block_close(node);
    printf("  random commands: %u\n", ROUNDS);
}

/* ---- the host's side ---- */

static unsigned stops;

/* Requests end on threads of their own, on a busy host some time later. */
static void stops_wait(unsigned count)
{
    int64_t end = clock_host_ns() + 60 * NS_PER_SECOND;

    while (stops < count && clock_host_ns() < end) loop_step(10);
    loop_settle();
}
static void on_stop(void *opaque, bool is_read, int error) { stops++; }

static const struct block_error_policy reports = { BLOCK_ERROR_REPORT, BLOCK_ERROR_REPORT, NULL, on_stop };
static const struct block_error_policy enospc = { BLOCK_ERROR_REPORT, BLOCK_ERROR_ENOSPC, NULL, on_stop };
static const struct block_error_policy stopping = { BLOCK_ERROR_STOP, BLOCK_ERROR_STOP, NULL, on_stop };
static const struct block_error_policy ignoring = { BLOCK_ERROR_IGNORE, BLOCK_ERROR_IGNORE, NULL, on_stop };

static struct block_protocol *faulty_disk(struct block_node **node, bool write_cache, const struct block_error_policy *policy)
{
    static uint8_t empty[64 * SECTOR];
    struct ide_drive_config drive[4] = { 0 };
    struct block_protocol *p = block_fault_open(empty, sizeof empty, sizeof empty);
    struct error err;

    *node = block_node_open_over(p, &(struct block_open_options){ .filename = "faulty", .format = "raw" }, NULL,
                                 &err);
    if (!*node) {
        printf("FAILED: %s\n", err.text);
        exit(1);
    }
    drive[0] = (struct ide_drive_config){ IDE_DISK, *node, NULL, write_cache, *policy };
    bench_new(drive);
    return p;
}

static void write_sectors(uint8_t op, unsigned sector, unsigned count)
{
    random_fill(buffer, count * SECTOR);
    if (op == 0xca) {
        memcpy(ram + BUFFER, buffer, count * SECTOR);
        prd_table(&(struct prd){ BUFFER, count * SECTOR, 0 }, 1, true);
        bm_out(0, 0, 1);
        command_start(&(struct command){ .op = op, .sector = sector, .count = count });
        bm_out(0, 1, 1);
        return;
    }
    command(&(struct command){ .op = op, .sector = sector, .count = count });
    for (unsigned n = 0; n < count; n++) {
        data_write(buffer + n * SECTOR, SECTOR);
        if (n + 1 < count && !(settle() & DRQ)) break;
    }
}

static void test_no_space(uint8_t op)
{
    struct block_node *node;
    struct block_protocol *p = faulty_disk(&node, true, &enospc);
    uint8_t back[3 * SECTOR];

    stops = 0;
    block_fault_fail_at(p, block_fault_writes(p), ENOSPC);
    write_sectors(op, 5, 1);
    stops_wait(1);
    check(stops == 1 && alternate() & BSY && !irq_level[0], "%02xh without space: %u stops, status %02x", op,
          stops, alternate());
    ide_retry(ide);
    check(!(settle() & (ERR | BSY | DRQ)) && irq_level[0], "%02xh: tried again: status %02x", op, alternate());
    check(!block_pread(node, 5 * SECTOR, back, SECTOR) && !memcmp(back, buffer, SECTOR),
          "%02xh: tried again: data", op);
    ide_retry(ide);
    check(stops == 1 && !(alternate() & BSY), "nothing to try again");
    /* Held, then reset: the write is forgotten, a retry finds nothing. */
    in(STATUS);
    block_fault_fail_at(p, block_fault_writes(p), ENOSPC);
    write_sectors(op, 6, 1);
    stops_wait(2);
    check(stops == 2 && alternate() & BSY, "%02xh: held again", op);
    control(SRST);
    ide_retry(ide);
    control(0);
    ide_retry(ide);
    loop_settle();
    check(!block_pread(node, 6 * SECTOR, back, SECTOR) && !back[0] && !memcmp(back, back + 1, SECTOR - 1),
          "%02xh: reset forgets a held write", op);
    bench_free();
    block_close(node);
}

static void read_start(uint8_t op, unsigned sector)
{
    prd_table(&(struct prd){ BUFFER, SECTOR, 0 }, 1, true);
    bm_out(0, 0, 1);
    command_start(&(struct command){ .op = op, .sector = sector, .count = 1 });
    if (op == 0xc8) bm_out(0, 9, 1);
}

/* Any error of reads, writes and flushes stops, and the same request ends well afterwards. */
static void test_stop(bool dma)
{
    uint8_t pattern[SECTOR], back[SECTOR];
    struct block_node *node;
    struct block_protocol *p = faulty_disk(&node, true, &stopping);

    stops = 0;
    block_fault_fail_at(p, block_fault_writes(p), EIO);
    write_sectors(dma ? 0xca : 0x30, 7, 1);
    memcpy(pattern, buffer, SECTOR);
    stops_wait(1);
    check(stops == 1 && alternate() & BSY, "a write that fails stops: %u stops, status %02x", stops, alternate());
    ide_retry(ide);
    check(!(settle() & (ERR | BSY | DRQ)), "and ends well when it is tried again");
    block_fault_fail_read(p, EIO);
    memset(ram + BUFFER, 0, SECTOR);
    read_start(dma ? 0xc8 : 0x20, 7);
    stops_wait(2);
    check(stops == 2 && alternate() & BSY && !(alternate() & DRQ), "a read that fails stops");
    ide_retry(ide);
    settle();
    if (!dma) data_read(back, SECTOR);
    else memcpy(back, ram + BUFFER, SECTOR);
    check(!memcmp(back, pattern, SECTOR), "and reads what was written");
    if (dma) bm_out(0, 0, 1);
    settle();
    /* Nobody knows what a failed flush lost: the node fails all later ones, so the machine stops again. It ends with one that waits. */
    block_fault_fail_flush(p, EIO);
    command_start(&(struct command){ .op = 0xe7 });
    for (unsigned n = 3; n < 5; n++) {
        stops_wait(n);
        check(stops == n && alternate() & BSY, "a flush that fails stops: %u", stops);
        ide_retry(ide);
    }
    loop_settle();
    bench_free();
    block_close(node);
}

/* The guest is told that all went well; of what could not be read it gets zeros. */
static void test_ignore(void)
{
    struct block_node *node;
    struct block_protocol *p = faulty_disk(&node, true, &ignoring);
    uint8_t back[SECTOR];

    stops = 0;
    block_fault_fail_at(p, block_fault_writes(p), EIO);
    write_sectors(0x30, 7, 1);
    check(!(settle() & (ERR | BSY | DRQ)), "a write that fails is passed over");
    check(!block_pread(node, 7 * SECTOR, back, SECTOR) && !back[0] && !memcmp(back, back + 1, SECTOR - 1), "and not done");
    block_fault_fail_read(p, EIO);
    read_start(0x20, 7);
    check(settle() & DRQ, "a read that fails is passed over");
    data_read(back, SECTOR);
    check(!back[0] && !memcmp(back, back + 1, SECTOR - 1), "and gives zeros");
    block_fault_fail_flush(p, EIO);
    check(!(command(&(struct command){ .op = 0xe7 }) & ERR) && !stops, "a flush that fails is passed over");
    bench_free();
    block_close(node);
}

static void test_failing_writes(void)
{
    static const int error[] = { EIO, ENOSPC };
    struct block_node *node;

    for (unsigned n = 0; n < 4; n++) {
        struct block_protocol *p = faulty_disk(&node, true, &reports);
        uint8_t status;
        block_fault_fail_at(p, block_fault_writes(p) + 1, error[n / 2]);
        write_sectors(0x30, 5, 3);
        status = settle();
        check((status & (ERR | DRQ | BSY)) == ERR && in(ERROR)&ABRT && in(LOW) == 6,
              "write error %d: status %02x, error %02x, sector %u", error[n / 2], status, in(ERROR), in(LOW));
        in(STATUS);
        write_sectors(n & 1 ? 0xca : 0x30, 9, 1);
        check(!(settle() & ERR), "the next write");
        block_fault_cut_at(p, block_fault_writes(p));
        write_sectors(n & 1 ? 0xca : 0x30, 9, 1);
        check(settle() & ERR, "no power");
        check(command(&(struct command){ .op = 0xe7 }) & ERR, "FLUSH CACHE without power");
        check(command(&(struct command){ .op = 0x20, .sector = 9, .count = 1 }) & ERR && in(ERROR)&UNC,
              "read without power: error %02x", in(ERROR));
        bench_free();
        block_close(node);
    }
}

/* What reaches stable storage when: write cache on, off, FUA. */
static void test_flushes(void)
{
    for (unsigned cache = 0; cache < 2; cache++) {
        struct block_node *node;
        struct block_protocol *p = faulty_disk(&node, cache, &enospc);
        uint64_t was = block_fault_flushes(p);
        uint16_t w[256];
        identify(w);
        check((w[85] >> 5 & 1) == cache, "write cache as configured: %u", cache);
        write_sectors(0x30, 5, 1);
        settle();
        check((block_fault_flushes(p) > was) == !cache, "a write with the cache %s: %llu flushes",
              cache ? "on" : "off", (unsigned long long)(block_fault_flushes(p) - was));
        was = block_fault_flushes(p);
        write_sectors(0xca, 5, 1);
        settle();
        check((block_fault_flushes(p) > was) == !cache, "a DMA write with the cache %s", cache ? "on" : "off");
        was = block_fault_flushes(p);
        command(&(struct command){ .op = 0xef, .feature = 2 });
        command(&(struct command){ .op = 0xce, .sector = 5, .count = 1, .ext = true });
        data_write(buffer, SECTOR);
        check(!(settle() & ERR) && block_fault_flushes(p) > was, "WRITE MULTIPLE FUA EXT");
        was = block_fault_flushes(p);
        command(&(struct command){ .op = 0xe7 });
        check(block_fault_flushes(p) > was, "FLUSH CACHE");
        bench_free();
        block_close(node);
    }
}

static void test_readonly(void)
{
    static const uint8_t writes[] = { 0x30, 0x34, 0xc5, 0x39, 0xca, 0x35, 0x3d, 0xce, 0x06 };
    struct ide_drive_config drive[4] = { 0 };
    struct block_node *node = image_open("random.img", "raw", true);

    drive[0] = (struct ide_drive_config){ IDE_DISK, node, NULL, true };
    bench_new(drive);
    for (unsigned n = 0; n < sizeof writes; n++)
        check((command(&(struct command){ .op = writes[n], .feature = 1, .count = 1 }) & (ERR | DRQ)) == ERR,
              "%02xh on a read-only disk", writes[n]);
    check(command(&(struct command){ .op = 0x20, .count = 1 }) & DRQ, "read from a read-only disk");
    /* The machine ends with requests in flight. */
    command_start(&(struct command){ .op = 0xc8, .count = 200 });
    bm_out(0, 9, 1);
    bench_free();
    block_close(node);
}

/* TRIM: with a node that passes discards down, trimmed sectors read as zeroes and their neighbours stay. */
static void test_trim(void)
{
    struct ide_drive_config drive[4] = { 0 };
    struct error err;
    struct block_node *node;
    uint64_t *entry;

    random_fill(buffer, sizeof buffer);
    file_make("trim.img", buffer, sizeof buffer, sizeof buffer);
    node = block_open(&(struct block_open_options){ .filename = "trim.img", .format = "raw", .discard = true },
                      &err);
    drive[0] = (struct ide_drive_config){ IDE_DISK, node, NULL, true };
    bench_new(drive);
    entry = (uint64_t *)(ram + BUFFER);
    entry[0] = 256 | 64ull << 48;
    entry[1] = 5000 | 9ull << 48;   /* beyond the end */
    entry[2] = 2040 | 900ull << 48; /* over it */
    entry[3] = 0xffffffffffff | 0xffffull << 48;
    entry[4] = 1024 | 8ull << 48;
    prd_table(&(struct prd){ BUFFER, SECTOR, 0 }, 1, true);
    check(!(dma(&(struct command){ .op = 0x06, .feature = 1, .count = 1, .ext = true }, false) & BM_ERROR) &&
              !(in(STATUS) & (ERR | DRQ)),
          "TRIM");
    for (unsigned n = 0; n < 2048; n++) {
        uint8_t back[SECTOR], zero[SECTOR] = { 0 };
        bool trimmed = (n >= 256 && n < 320) || (n >= 1024 && n < 1032);
        check(!block_pread(node, n * SECTOR, back, SECTOR) &&
                  !memcmp(back, trimmed ? zero : buffer + n * SECTOR, SECTOR),
              "sector %u after TRIM", n);
    }
    check(dma(&(struct command){ .op = 0x06, .feature = 1, .count = 2, .ext = true }, false) & BM_ERROR &&
              in(STATUS)&ERR,
          "TRIM with a short table");
    soft_reset();
    check(command(&(struct command){ .op = 0x06, .feature = 0, .count = 1, .ext = true }) & ERR,
          "DATA SET MANAGEMENT of nothing known");
    check(command(&(struct command){ .op = 0x06, .feature = 1, .count = 65535, .ext = true }) & ERR,
          "TRIM lists of 32 MiB");
    bench_free();
    block_close(node);
}

int main(void)
{
    printf("seed %d\n", SEED);
    random_seed(SEED);
    directory_enter();
    loop_init();
    machine_lock();
    test_random();
    test_no_space(0x30);
    test_no_space(0xca);
    test_stop(false);
    test_stop(true);
    test_ignore();
    test_failing_writes();
    test_flushes();
    test_readonly();
    test_trim();
    return report("ide-host");
}
