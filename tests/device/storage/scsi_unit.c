/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * A SCSI disk without an adapter, over a disk in memory, with each size of block: READ CAPACITY, then random READ, WRITE, WRITE SAME and UNMAP
 * of all lengths, at the ends of the disk and beyond; data against a copy. SBC-3: 5.8 to 5.46.
 *
 *   test-scsi-unit [COMMANDS [SEED]]
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/bits.h"
#include "base/error.h"
#include "base/loop.h"
#include "block/fault.h"
#include "device/storage/scsi_unit.h"
#include "unit.h"

enum { DISK_BYTES = (1 << 20) + 1536, BUFFER_BYTES = 64 << 10 };     /* the end is half a block of 4096 */
enum { READ10 = 0x28, WRITE10 = 0x2a, SAME10 = 0x41, UNMAP = 0x42, READ16 = 0x88, WRITE16 = 0x8a, SAME16 = 0x93, CAPACITY10 = 0x25, CAPACITY16 = 0x9e, INQUIRY = 0x12 };

static uint8_t copy[DISK_BYTES], buffer[BUFFER_BYTES];
static struct scsi_unit *unit;
static struct scsi_request request;
static uint64_t state;
static uint32_t block;
static _Atomic bool is_done;

static uint32_t below(uint32_t n)
{
    state ^= state << 13;
    state ^= state >> 7;
    state ^= state << 17;
    return (uint32_t)(state * 0x2545f4914f6cdd1d >> 32) % n;
}

static void be_put(uint8_t *p, uint64_t value, unsigned bytes)
{
    while (bytes--) {
        p[bytes] = (uint8_t)value;
        value >>= 8;
    }
}

static uint64_t be_get(const uint8_t *p, unsigned bytes)
{
    uint64_t value = 0;

    while (bytes--) value = value << 8 | *p++;
    return value;
}

static void nothing(void *opaque) {}

/* May come on a thread of the disk's. */
static void done(struct scsi_request *r)
{
    is_done = true;
    loop_post(nothing, NULL);
}

/* In two pieces, cut anywhere. */
static unsigned run(const uint8_t *cdb, size_t out, size_t in)
{
    size_t bytes = out ? out : in, cut = bytes ? below((uint32_t)bytes) : 0;
    struct iovec iov[2] = { { buffer, cut }, { buffer + cut, bytes - cut } };

    request = (struct scsi_request){ .out = out ? iov : NULL, .in = out ? NULL : iov, .out_count = out ? 2 : 0, .in_count = in ? 2 : 0, .out_bytes = out, .in_bytes = in, .done = done };
    memcpy(request.cdb, cdb, SCSI_CDB_BYTES);
    is_done = false;
    machine_lock();
    scsi_unit_start(unit, &request);
    machine_unlock();
    while (!is_done) loop_step(-1);
    return request.status;
}

static void capacity(void)
{
    static const uint8_t ten[SCSI_CDB_BYTES] = { CAPACITY10 }, sixteen[SCSI_CDB_BYTES] = { CAPACITY16, 0x10, [13] = 32 }, limits[SCSI_CDB_BYTES] = { INQUIRY, 1, 0xb0, 0, 64 };
    uint64_t last = DISK_BYTES / block - 1;

    check(run(ten, 0, 8) == SCSI_GOOD && be_get(buffer, 4) == last && be_get(buffer + 4, 4) == block, "blocks of %u: READ CAPACITY(10)", block);
    check(run(sixteen, 0, 32) == SCSI_GOOD && be_get(buffer, 8) == last && be_get(buffer + 8, 4) == block && block << (buffer[13] & 15) == 8192, "blocks of %u: READ CAPACITY(16)", block);
    check(run(limits, 0, 64) == SCSI_GOOD && be_get(buffer + 6, 2) * block == 16384 && be_get(buffer + 28, 4) * block == 8192, "blocks of %u: block limits", block);
}

/* An image may be smaller than a block; then there is none, and no number of the last one. */
static void none(void)
{
    static const uint8_t ten[SCSI_CDB_BYTES] = { CAPACITY10 }, sixteen[SCSI_CDB_BYTES] = { CAPACITY16, 0x10, [13] = 32 }, first[SCSI_CDB_BYTES] = { READ10, [8] = 1 };

    check(run(ten, 0, 8) == SCSI_CHECK_CONDITION && request.sense[2] == 2, "no block of %u: READ CAPACITY(10)", block);
    check(run(sixteen, 0, 32) == SCSI_CHECK_CONDITION && request.sense[2] == 2, "no block of %u: READ CAPACITY(16)", block);
    check(run(first, 0, block) == SCSI_CHECK_CONDITION && request.sense[2] == 5, "no block of %u: READ", block);
}

/* What a good command does to the copy. */
static void same(uint64_t at, uint64_t bytes, bool no_data)
{
    for (uint64_t n = 0; n < bytes; n += block) {
        if (no_data) memset(copy + at + n, 0, block);
        else memcpy(copy + at + n, buffer, block);
    }
}

static void command(void)
{
    static const uint8_t opcodes[] = { READ10, WRITE10, SAME10, UNMAP, READ16, WRITE16, SAME16 };
    uint8_t opcode = opcodes[below(ARRAY_SIZE(opcodes))], cdb[SCSI_CDB_BYTES] = { opcode };
    bool is_same = opcode == SAME10 || opcode == SAME16, is_read = opcode == READ10 || opcode == READ16, no_data = opcode == SAME16 && below(3) == 0;
    uint64_t blocks = DISK_BYTES / block, lba = below(2) ? below((uint32_t)blocks) : blocks - below(4), count = 1 + below(below(4) ? 4 : BUFFER_BYTES / block), at = lba * block, bytes = count * block;
    bool fits = lba + count <= blocks;
    size_t out = is_same ? no_data ? 0 : block : bytes;
    unsigned status;

    for (size_t i = 0; i < BUFFER_BYTES; i++) buffer[i] = (uint8_t)below(256);
    if (is_same && below(3) == 0) memset(buffer, 0, block);
    if (opcode == UNMAP) {
        memset(buffer, 0, 24);
        be_put(buffer, 22, 2);
        be_put(buffer + 2, 16, 2);
        be_put(buffer + 8, lba, 8);
        be_put(buffer + 16, count, 4);
        be_put(cdb + 7, out = 24, 2);
    } else if (opcode >= 0x80) {
        be_put(cdb + 2, lba, 8);
        be_put(cdb + 10, count, 4);
        cdb[1] = no_data;
    } else {
        be_put(cdb + 2, lba, 4);
        be_put(cdb + 7, count, 2);
    }
    status = run(cdb, is_read ? 0 : out, is_read ? bytes : 0);
    if (!check(status == (fits ? SCSI_GOOD : SCSI_CHECK_CONDITION), "blocks of %u: command %#x at %llu, %llu of %llu: status %u", block, opcode, (unsigned long long)lba, (unsigned long long)count,
               (unsigned long long)blocks, status) || !fits) return;
    if (is_read) check(!memcmp(buffer, copy + at, bytes), "blocks of %u: what is read at %llu", block, (unsigned long long)lba);
    else if (is_same) same(at, bytes, no_data);
    else if (opcode == UNMAP) memset(copy + at, 0, bytes);
    else memcpy(copy + at, buffer, bytes);
}

static void whole_disk(struct block_node *node)
{
    static uint8_t all[DISK_BYTES];

    check(block_pread(node, 0, all, DISK_BYTES) == 0 && !memcmp(all, copy, DISK_BYTES), "blocks of %u: the disk at the end", block);
}

static void disk(unsigned commands, size_t bytes)
{
    struct block_open_options o = { .format = "raw", .discard = true, .filename = "memory" };
    struct scsi_unit_config c = { .write_cache = true, .identity = { .logical_block_bytes = block, .physical_block_bytes = 8192, .min_io_bytes = 16384 } };
    struct error err = { "" };

    for (size_t i = 0; i < DISK_BYTES; i++) copy[i] = (uint8_t)below(256);
    c.node = block_node_open_over(block_fault_open(copy, bytes, bytes), &o, NULL, &err);
    unit = c.node ? scsi_unit_new(&c) : NULL;
    if (!check(unit, "no disk: %s", err.text)) return;
    run((const uint8_t[SCSI_CDB_BYTES]){ 0 }, 0, 0);       /* takes the attention of power-on */
    if (bytes < block) none();
    else capacity();
    for (unsigned n = 0; n < commands; n++) command();
    if (commands) whole_disk(c.node);
    scsi_unit_free(unit);
    block_close(c.node);
}

int main(int argc, char **argv)
{
    unsigned commands = argc > 1 ? (unsigned)atoi(argv[1]) : 3000;
    uint64_t seed = argc > 2 ? strtoull(argv[2], NULL, 0) : 1;

    printf("seed %llu\n", (unsigned long long)seed);
    loop_init();
    for (block = 512; block <= 4096; block *= 2) {
        state = seed * 0x9e3779b97f4a7c15 + block;
        disk(commands, DISK_BYTES);
        disk(0, block - 512);
    }
    return report("scsi-unit");
}
