/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * IDE disks with no guest, over a raw image and a qcow2 one of 200 GB: identification, all kinds of reads and writes by
 * PIO and bus master, on both sides of what 28 bits can address; features, errors, violations of the data phase,
 * resets in the middle, malformed PRD tables. What was written is told a model, which Debian's qemu-img compares with the
 * images in the end. Sources: ATA/ATAPI-6, Programming Interface for Bus Master
 * IDE 1.0, 82371SB data sheet.
 */
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/bits.h"
#include "base/loop.h"
#include "block/block.h"
#include "ide_bench.h"

enum { SEED = 20261126, SECTOR = 512, WINDOW = 8192, RAW_SECTORS = 40000, TRANSFERS = 500 };
#define BIG_SECTORS (200ull << 30 >> 9)

/* A disk and what should be on it, in two windows: the second lies across the end of 28 bits, on the big one. */
struct disk {
    const char *name, *format;
    struct block_node *node;
    uint64_t sectors, window[2];
    bool slave;
    uint8_t *content[2];
};
static struct disk disks[2] = {
    { "raw.img", "raw", NULL, RAW_SECTORS, { 0, RAW_SECTORS - WINDOW }, false, { NULL } },
    { "big.qcow2", "qcow2", NULL, BIG_SECTORS, { 0, (1 << 28) - WINDOW / 2 }, true, { NULL } },
};
static uint8_t buffer[1 << 20];
static const uint8_t zeroes[4096];

/* ---- identification ---- */

static void identify(const struct disk *k, uint16_t *w)
{
    uint8_t sum = 0;

    check(command(&(struct command){ .op = 0xec, .slave = k->slave }) & DRQ, "%s: IDENTIFY", k->name);
    data_read(w, SECTOR);
    check((alternate() & (DRQ | ERR | DRDY)) == DRDY, "%s: IDENTIFY ends", k->name);
    for (unsigned n = 0; n < SECTOR; n++) sum += ((uint8_t *)w)[n];
    check((w[255] & 255) == 0xa5 && !sum, "%s: IDENTIFY: checksum", k->name);
}

static uint64_t words(const uint16_t *w, unsigned n) { return n ? words(w + 1, n - 1) << 16 | *w : 0; }

static void test_identify(struct disk *k)
{
    uint16_t w[256];
    uint64_t chs;

    identify(k, w);
    check(!(w[0] & 0x8000) && w[3] == 16 && w[6] == 63 && w[1] == MIN(k->sectors / (16 * 63), (uint64_t)16383),
          "geometry");
    check(words(w + 60, 2) == MIN(k->sectors, (uint64_t)0xfffffff) && words(w + 100, 4) == k->sectors,
          "%s: sectors", k->name);
    check(w[53] & 1 && words(w + 57, 2) == (uint64_t)w[54] * w[55] * w[56], "%s: current capacity", k->name);
    check((w[49] & 0x300) == 0x300 && w[83] >> 14 == 1 && w[83] & 0x400 && w[86] & 0x400, "LBA, DMA, 48 bits");
    check((w[47] & 255) >= 16 && w[63] & 7 && w[88] & 0x3f, "MULTIPLE and modes");
    for (unsigned mode = 0; mode < 6; mode++) {
        check(
            !(command(&(struct command){ .op = 0xef, .feature = 3, .count = 0x40 | mode, .slave = k->slave }) &
              ERR),
            "UDMA %u", mode);
        identify(k, w);
        check(w[88] >> 8 == 1 << mode && !(w[63] >> 8), "UDMA %u: words %04x %04x", mode, w[88], w[63]);
    }
    for (unsigned size = 1; size <= 16; size *= 2) {
        command(&(struct command){ .op = 0xc6, .count = size, .slave = k->slave });
        identify(k, w);
        check(w[59] == (0x100 | size), "SET MULTIPLE %u: word 59 is %04x", size, w[59]);
    }
    for (unsigned on = 0; on < 2; on++) {
        command(&(struct command){ .op = 0xef, .feature = on ? 2 : 0x82, .slave = k->slave });
        identify(k, w);
        check((w[85] >> 5 & 1) == on, "write cache %u: word 85 is %04x", on, w[85]);
    }
    /* 5 heads of 17 sectors. */
    command(&(struct command){ .op = 0x91, .count = 17, .sector = 4u << 24, .slave = k->slave });
    identify(k, w);
    chs = (uint64_t)w[54] * w[55] * w[56];
    check(w[55] == 5 && w[56] == 17 && words(w + 57, 2) == chs && chs <= k->sectors,
          "INITIALIZE DEVICE PARAMETERS: %u x %u x %u", w[54], w[55], w[56]);
    soft_reset();
}

/* ---- transfers ---- */

enum how { PIO, MULTIPLE, DMA };

/* A place: in a window, so that the model knows it. */
static uint64_t place(const struct disk *k, bool ext, unsigned count, uint8_t **content)
{
    unsigned n = random_next() % 2, at = random_next() % (WINDOW - count + 1);

    if (!ext && k->window[n] + at + count > 1 << 28) n = 0;
    *content = k->content[n] + at * SECTOR;
    return k->window[n] + at;
}

static void pio(const struct disk *k, struct command *c, unsigned block, bool is_write, const char *what)
{
    unsigned channel_interrupts = interrupts[0], blocks = 0;
    uint8_t status = command(c);

    for (unsigned left = c->count, n; left; left -= n, blocks++) {
        n = MIN(left, block);
        if (!check((status & (DRQ | ERR | DF)) == DRQ, "%s %s: status %02x with %u left", k->name, what, status,
                   left))
            return;
        in(STATUS);
        if (is_write) data_write(buffer + (c->count - left) * SECTOR, n * SECTOR);
        else data_read(buffer + (c->count - left) * SECTOR, n * SECTOR);
        status = settle();
    }
    check(!(status & (DRQ | ERR | DF)) && status & DRDY, "%s %s: status %02x in the end", k->name, what,
          status);
    check(interrupts[0] - channel_interrupts == blocks, "%s %s: %u interrupts for %u blocks", k->name, what,
          interrupts[0] - channel_interrupts, blocks);
    in(STATUS);
}

static unsigned random_prds(struct prd *prd, uint32_t bytes, uint32_t at)
{
    unsigned n = 0;

    for (; bytes; n++) {
        uint32_t size = n < 60 && random_next() % 3 ? 2 + random_next() % 4000 * 2 : 65536;
        size = MIN(size, bytes);
        size = MIN(size, 65536 - (at & 0xffff));
        prd[n] = (struct prd){ at, size, 0 };
        at += size;
        bytes -= size;
    }
    return n;
}

static void by_dma(const struct disk *k, struct command *c, bool is_write, const char *what)
{
    struct prd prd[128];
    uint32_t bytes = c->count * SECTOR, at = BUFFER + random_next() % 1000 * 2;
    uint8_t status;

    prd_table(prd, random_prds(prd, bytes, at), true);
    if (is_write) memcpy(ram + at, buffer, bytes);
    else memset(ram + at, 0xee, bytes + 1);
    status = dma(c, !is_write);
    check((status & 7) == BM_IRQ && !(in(STATUS) & (DRQ | ERR | DF)), "%s %s: bus master %02x, status %02x",
          k->name, what, status, in(STATUS));
    if (is_write) return;
    check(ram[at + bytes] == 0xee, "%s %s: too much", k->name, what);
    memcpy(buffer, ram + at, bytes);
}

static void transfer(struct disk *k)
{
    static const struct {
        uint8_t op;
        enum how how;
        bool ext, is_write;
    } rows[] = {
        { 0x20, PIO, 0, 0 },      { 0x21, PIO, 0, 0 },      { 0x24, PIO, 1, 0 },      { 0x30, PIO, 0, 1 },
        { 0x34, PIO, 1, 1 },      { 0xc4, MULTIPLE, 0, 0 }, { 0x29, MULTIPLE, 1, 0 }, { 0xc5, MULTIPLE, 0, 1 },
        { 0x39, MULTIPLE, 1, 1 }, { 0xce, MULTIPLE, 1, 1 }, { 0xc8, DMA, 0, 0 },      { 0x25, DMA, 1, 0 },
        { 0xca, DMA, 0, 1 },      { 0x35, DMA, 1, 1 },      { 0x3d, DMA, 1, 1 },
    };
    unsigned row = random_next() % ARRAY_SIZE(rows), block = 1u << random_next() % 5;
    unsigned count = random_next() % 8      ? 1 + random_next() % 20
                     : rows[row].how == PIO ? 30
                                            : 1 + random_next() % 1200;
    struct command c = { .op = rows[row].op, .slave = k->slave, .ext = rows[row].ext };
    uint8_t *content;
    char what[40];

    if (!c.ext) count = MIN(count, 256u);
    c.count = count;
    c.sector = place(k, c.ext, count, &content);
    snprintf(what, sizeof what, "%02xh of %u at %llu", c.op, count, (unsigned long long)c.sector);
    if (rows[row].is_write) {
        random_fill(buffer, count * SECTOR);
        memcpy(content, buffer, count * SECTOR);
    }
    if (rows[row].how == MULTIPLE) command(&(struct command){ .op = 0xc6, .count = block, .slave = k->slave });
    in(STATUS);
    if (rows[row].how == DMA) by_dma(k, &c, rows[row].is_write, what);
    else pio(k, &c, rows[row].how == PIO ? 1 : block, rows[row].is_write, what);
    if (!rows[row].is_write) check(!memcmp(buffer, content, count * SECTOR), "%s %s: data", k->name, what);
}

static void sector_is(struct disk *k, unsigned at, const char *what)
{
    pio(k, &(struct command){ .op = 0x20, .sector = at, .count = 1, .slave = k->slave }, 1, false, what);
    check(!memcmp(buffer, k->content[0] + at * SECTOR, SECTOR), "%s: %s: sector %u", k->name, what, at);
}

static void test_transfers(struct disk *k)
{
    for (unsigned n = 0; n < TRANSFERS; n++) transfer(k);
    /* Counts of 0 are 256 and 65536. */
    in(STATUS);
    check(command(&(struct command){ .op = 0x20, .slave = k->slave }) & DRQ, "a count of 0");
    for (unsigned n = 0; n < 256; n++) {
        data_read(buffer + n * SECTOR, SECTOR);
        settle();
    }
    check(!(alternate() & DRQ) && !memcmp(buffer, k->content[0], 256 * SECTOR), "a count of 0 is 256");
    check(!(command(&(struct command){ .op = 0x42, .slave = k->slave, .ext = true }) & ERR) ==
              (k->sectors >= 65536),
          "VERIFY EXT of 65536");
    for (unsigned n = 0; n < 30; n++) {
        unsigned lba = random_next() % WINDOW, cylinder = lba / (16 * 63), head = lba / 63 % 16,
                 sector = lba % 63 + 1;
        pio(k,
            &(struct command){ .op = 0x20,
                               .sector = head << 24 | cylinder << 8 | sector,
                               .count = 1,
                               .slave = k->slave,
                               .chs = true },
            1, false, "CHS");
        check(!memcmp(buffer, k->content[0] + lba * SECTOR, SECTOR), "%s: %u/%u/%u is sector %u", k->name,
              cylinder, head, sector, lba);
        check(in(LOW) == sector && in(MID) == (cylinder & 255) && in(HIGH) == cylinder >> 8 &&
                  (in(DEVICE)&15) == head,
              "CHS stays");
    }
    check(command(&(struct command){ .op = 0x20, .count = 1, .slave = k->slave, .chs = true }) & ERR,
          "sector 0 of a track");
}

/* ---- errors ---- */

static void test_errors(struct disk *k)
{
    static const uint8_t transfers[] = { 0x20, 0x24, 0x30, 0x34, 0xc4, 0x29, 0xc5, 0x39,
                                         0xc8, 0x25, 0xca, 0x35, 0x3d, 0xce, 0x40, 0x42 };
    static const uint8_t unknown[] = { 0x00, 0x01, 0x08, 0x50, 0x80, 0x9a, 0xa0,
                                       0xa1, 0xa2, 0xbf, 0xc0, 0xf1, 0xff };
    uint64_t bad[4] = { k->sectors, k->sectors - 1, 1ull << 47, 0xffffffffffff };

    for (unsigned n = 0; n < sizeof transfers; n++) {
        bool ext = transfers[n] == 0x24 || transfers[n] == 0x34 || transfers[n] == 0x29 ||
                   transfers[n] == 0x39 || transfers[n] == 0x25 || transfers[n] == 0x35 ||
                   transfers[n] == 0x3d || transfers[n] == 0xce || transfers[n] == 0x42;
        for (unsigned b = 0; b < 4; b++) {
            uint8_t status;
            unsigned was = (in(STATUS), interrupts[0]);
            if (!ext && bad[b] >= 1 << 28) continue;
            status = command(&(struct command){
                .op = transfers[n], .sector = bad[b], .count = 2, .ext = ext, .slave = k->slave });
            check((status & (ERR | DRQ)) == ERR && in(ERROR)&IDNF && interrupts[0] == was + 1,
                  "%s: %02xh beyond the end at %llx: status %02x, error %02x", k->name, transfers[n],
                  (unsigned long long)bad[b], status, in(ERROR));
        }
    }
    for (unsigned n = 0; n < sizeof unknown; n++)
        check((command(&(struct command){ .op = unknown[n], .count = 1, .slave = k->slave }) & (ERR | DRQ)) ==
                      ERR &&
                  in(ERROR) == ABRT,
              "command %02xh", unknown[n]);
    for (unsigned n = 0; n < 256; n++) {
        bool good = n == 0 || (n <= 16 && !(n & (n - 1)));
        check(!(command(&(struct command){ .op = 0xc6, .count = n, .slave = k->slave }) & ERR) == good,
              "SET MULTIPLE %u", n);
        good = n <= 0x0c || (n >= 0x20 && n <= 0x22) || (n >= 0x40 && n <= 0x45);
        good &= n < 5 || n > 7;
        check(!(command(&(struct command){ .op = 0xef, .feature = 3, .count = n, .slave = k->slave }) & ERR) ==
                  good,
              "transfer mode %02x", n);
    }
    command(&(struct command){ .op = 0xc6, .count = 0, .slave = k->slave });
    check(command(&(struct command){ .op = 0xc4, .count = 1, .slave = k->slave }) & ERR && in(ERROR) == ABRT,
          "READ MULTIPLE when it is off");
    check(command(&(struct command){ .op = 0x91, .slave = k->slave }) & ERR, "tracks of no sectors");
    for (unsigned n = 0; n < 4; n++) {
        static const uint8_t good[] = { 0xe7, 0xea, 0x70, 0x10 };
        in(STATUS);
        unsigned was = interrupts[0];
        check(!(command(&(struct command){ .op = good[n], .slave = k->slave }) & ERR) &&
                  interrupts[0] == was + 1,
              "command %02xh", good[n]);
    }
    check(!(command(&(struct command){ .op = 0xe5, .slave = k->slave }) & ERR) && in(COUNT) == 0xff,
          "CHECK POWER MODE");
    command(&(struct command){ .op = 0x27, .slave = k->slave, .ext = true });
    check((in(LOW) | in(MID) << 8 | in(HIGH) << 16) == ((k->sectors - 1) & 0xffffff),
          "READ NATIVE MAX EXT: low");
    control(HOB);
    check((in(LOW) | (uint64_t)in(MID) << 8) == (k->sectors - 1) >> 24, "READ NATIVE MAX EXT: high");
    control(0);
    soft_reset();
}

/* Data port at the wrong time, commands at the wrong time. */
static void test_violations(struct disk *k)
{
    struct command read = { .op = 0x20, .sector = 7, .count = 4, .slave = k->slave },
                   write = { .op = 0x30, .sector = 7, .count = 1, .slave = k->slave };

    check(in_data(4) == 0, "data port without data");
    out_data(0x12345678, 4);
    check(command(&read) & DRQ, "read");
    for (unsigned n = 0; n < 300; n++) out_data(0xffff, 2); /* the wrong way */
    data_read(buffer, SECTOR);
    check(!memcmp(buffer, k->content[0] + 7 * SECTOR, SECTOR),
          "writes to the data port of a read change nothing");
    check(settle() & DRQ, "the next sector");
    check(!(command(&(struct command){ .op = 0xe5, .slave = k->slave }) & (DRQ | ERR)),
          "a command in the data phase ends it");
    check(command(&write) & DRQ, "write");
    for (unsigned n = 0; n < 300; n++) in_data(2);
    for (unsigned n = 0; n < 255; n++) out_data(0, 2);
    check(alternate() & DRQ, "reads from the data port of a write count for nothing");
    command(&(struct command){ .op = 0xe5, .slave = k->slave });
    sector_is(k, 7, "a write that was given up");
    command_start(&read);
    check(alternate() & BSY, "busy");
    out(COMMAND, 0xec); /* not listened to */
    check(settle() & DRQ, "a command to a busy drive");
    data_read(buffer, SECTOR);
    check(!memcmp(buffer, k->content[0] + 7 * SECTOR, SECTOR), "a command to a busy drive changes nothing");
    soft_reset();
    /* nIEN, and which read acknowledges. */
    control(NIEN);
    command(&(struct command){ .op = 0xe5, .slave = k->slave });
    check(!irq_level[0], "no interrupt with nIEN");
    control(0);
    check(irq_level[0] && alternate() && irq_level[0], "the alternate status does not acknowledge");
    in(STATUS);
    check(!irq_level[0], "the status does");
}

static void test_resets(struct disk *k)
{
    const struct command read = { .op = 0x20, .sector = 9, .count = 8, .slave = k->slave },
                         write = { .op = 0x30, .sector = 9, .count = 2, .slave = k->slave };
    const struct command write_dma = { .op = 0xca, .sector = 9, .count = 2, .slave = k->slave };

    for (unsigned n = 0; n < 6; n++) {
        unsigned was;
        if (n < 2) command_start(&read);
        else if (n < 4) command(&write);
        else command(&write_dma);
        if (n == 2)
            for (unsigned i = 0; i < 100; i++) out_data(0xdead, 2);
        was = (in(STATUS), interrupts[0]);
        if (n & 1) out(COMMAND, 0x90);
        else control(SRST);
        if (!(n & 1)) {
            check(alternate() & BSY, "busy while SRST is set");
            memset(ram + BUFFER, 0xbb, 2 * SECTOR);
            prd_table(&(struct prd){ BUFFER, 2 * SECTOR, 0 }, 1, true);
            bm_out(0, 1, 1); /* a bus master that starts too late */
            out(COMMAND, 0xec);
            out(COMMAND, 0x90);
            loop_settle();
            check(alternate() & BSY && interrupts[0] == was, "nothing happens while SRST is set: status %02x",
                  alternate());
            bm_out(0, 0, 1);
            control(0);
        }
        check(!(settle() & (DRQ | ERR)) && in(ERROR) == 1 && in(COUNT) == 1 && in(LOW) == 1 && !in(MID) &&
                  !in(HIGH),
              "signature after reset %u", n);
        in(STATUS);
        was = interrupts[0];
        loop_settle();
        check(interrupts[0] == was, "nothing comes after reset %u", n);
        sector_is(k, 9, "after a reset");
        sector_is(k, 10, "after a reset");
    }
}

/* ---- PRD tables ---- */

static void prd_case(struct disk *k, const struct prd *prd, unsigned count, bool end, const char *what,
                     bool good)
{
    const struct command c = { .op = 0xc8, .sector = 20, .count = 4, .slave = k->slave };
    uint8_t status;

    memset(ram + BUFFER, 0xee, 8 * SECTOR);
    prd_table(prd, count, end);
    status = dma(&c, true);
    check(!(in(STATUS)&ERR) == good && !(status & BM_ERROR) == good && status & BM_IRQ,
          "%s: %s: bus master %02x, status %02x", k->name, what, status, in(STATUS));
    check(!good == !!(status & BM_ERROR) && (good || !(status & ACTIVE)),
          "%s: %s: still active after an error: %02x", k->name, what, status);
    soft_reset();
}

static void test_prd(struct disk *k)
{
    const uint8_t *content = k->content[0] + 20 * SECTOR;
    const struct command c = { .op = 0xc8, .sector = 20, .count = 4, .slave = k->slave },
                         write = { .op = 0xca, .sector = 20, .count = 4, .slave = k->slave };
    uint32_t tables[] = { RAM_BYTES - 4, RAM_BYTES, 0xfffffffc, 0x80000000 };
    struct prd many[8193];

    prd_case(k, (struct prd[]){ { BUFFER, 2048, 0 }, { BUFFER, 512, 0 } }, 2, true, "longer than the transfer",
             true);
    check(!memcmp(ram + BUFFER, content, 2048), "longer than the transfer: data");
    prd_case(k, (struct prd[]){ { BUFFER, 1024, 0 } }, 1, true, "shorter", false);
    check(!memcmp(ram + BUFFER, content, 1024) && ram[BUFFER + 1024] == 0xee, "shorter: data");
    prd_case(k, (struct prd[]){ { BUFFER, 0, 0 } }, 1, true, "zero is 64 KiB", true);
    check(!memcmp(ram + BUFFER, content, 2048) && ram[BUFFER + 2048] == 0xee, "zero is 64 KiB: data");
    prd_case(k, (struct prd[]){ { BUFFER + 1, 2049, 0 } }, 1, true, "odd address and count", true);
    check(!memcmp(ram + BUFFER, content, 2048), "odd: bit 0 does not count");
    prd_case(k, (struct prd[]){ { RAM_BYTES - 1024, 2048, 0 } }, 1, true, "over the end of RAM", true);
    check(!memcmp(ram + RAM_BYTES - 1024, content, 1024), "over the end of RAM: what fits");
    prd_case(k, (struct prd[]){ { 0xffffff00, 2048, 0 } }, 1, true, "over the end of 32 bits", true);
    check(!memcmp(ram, zeroes, 4096), "nothing wraps to 0");
    /* No end bit: zeroes follow, 64 KiB at address 0 each; the transfer is over long before. */
    memset(ram + TABLE + 8, 0, 64);
    prd_case(k, (struct prd[]){ { BUFFER, 1024, 0 } }, 1, false, "no end bit", true);
    check(!memcmp(ram, content + 1024, 1024), "no end bit: goes on with what follows");
    memset(ram, 0, 4096);
    /* An endless one: two bytes an entry up to the end of its 64 KiB, then it is over. */
    for (unsigned n = 0; n < ARRAY_SIZE(many); n++) many[n] = (struct prd){ BUFFER, 2, 0 };
    prd_table(many, ARRAY_SIZE(many), false);
    dma(&(struct command){ .op = 0xc8, .sector = 20, .count = 0, .slave = k->slave }, true);
    check(in(STATUS)&ERR, "an endless table ends with its 64 KiB");
    soft_reset();
    for (unsigned n = 0; n < ARRAY_SIZE(tables); n++) {
        bm_out(4, tables[n], 4);
        check((dma(&c, true) & (ACTIVE | BM_ERROR)) == BM_ERROR && in(STATUS)&ERR,
              "table at %x: bus master %02x", tables[n], bm_in(2, 1));
        soft_reset();
        bm_out(4, tables[n], 4);
        dma(&write, false);
        check(in(STATUS)&ERR, "write, table at %x", tables[n]);
        soft_reset();
    }
    bench_master(false);
    prd_case(k, (struct prd[]){ { BUFFER, 2048, 0 } }, 1, true, "mastering forbidden", false);
    check(ram[BUFFER] == 0xee, "mastering forbidden: memory stays");
    bench_master(true);
    sector_is(k, 20, "after bad tables");
    prd_case(k, (struct prd[]){ { BUFFER, 2048, 0 } }, 1, true, "a good one at last", true);
}

/* ---- what both disks share ---- */

static void test_selection(void)
{
    uint8_t signature;

    channel_select(1); /* nothing there at all */
    out(DEVICE, 0xa0);
    check(in(STATUS) == 0 && alternate() == 0, "status of an empty channel");
    out(COMMAND, 0xec);
    out(COMMAND, 0x90);
    out(DEVICE, 0xb0);
    check(!irq_level[1] && !interrupts[1], "an empty channel interrupts");
    bm_out(0, 9, 1);
    loop_settle();
    bm_out(0, 0, 1);
    soft_reset();
    check(!interrupts[1] && in(STATUS) == 0, "an empty channel after a reset");
    channel_select(0);
    /* An interrupt is the selected drive's. */
    command(&(struct command){ .op = 0xe5 });
    check(irq_level[0], "the master interrupts");
    out(DEVICE, 0xb0);
    check(!irq_level[0], "the slave is selected: no interrupt");
    out(DEVICE, 0xa0);
    check(irq_level[0], "the master again");
    in(STATUS);
    signature = in(COUNT);
    out(DEVICE, 0xb0);
    out(COUNT, 0x5a);
    out(DEVICE, 0xa0);
    check(in(COUNT) == 0x5a, "both drives hear register writes: %02x, %02x before", in(COUNT), signature);
    /* Previous contents, for 48 bits. */
    out(LOW, 0x11);
    out(LOW, 0x22);
    check(in(LOW) == 0x22, "the last value");
    control(HOB);
    check(in(LOW) == 0x11, "the one before");
    out(LOW, 0x33);
    check(in(LOW) == 0x33, "a write ends HOB");
    control(0);
}

/* ---- images ---- */

static void disk_make(struct disk *k)
{
    if (k->format[0] == 'r') file_make(k->name, "", 0, k->sectors * SECTOR);
    else if (shell("qemu-img create -f qcow2 %s %llu", k->name, (unsigned long long)k->sectors * SECTOR))
        exit(77);
    k->node = image_open(k->name, k->format, false);
    for (unsigned n = 0; n < 2; n++) k->content[n] = calloc(WINDOW, SECTOR);
}

static void disk_compare(struct disk *k)
{
    char name[] = "model.img";
    int fd;

    block_close(k->node);
    file_make(name, "", 0, k->sectors * SECTOR);
    fd = open(name, O_WRONLY);
    for (unsigned n = 0; n < 2; n++)
        check(pwrite(fd, k->content[n], WINDOW * SECTOR, k->window[n] * SECTOR) == WINDOW * SECTOR, "model");
    close(fd);
    check(!shell("qemu-img compare -f raw -F %s %s %s", k->format, name, k->name), "%s differs from the model",
          k->name);
    if (k->format[0] == 'q') check(!shell("qemu-img check %s", k->name), "qemu-img check %s", k->name);
    for (unsigned n = 0; n < 2; n++) free(k->content[n]);
}

int main(void)
{
    static const struct {
        const char *name;
        void (*run)(struct disk *k);
    } tests[] = {
        { "identification", test_identify }, { "transfers", test_transfers }, { "errors", test_errors },
        { "violations", test_violations },   { "resets", test_resets },       { "PRD tables", test_prd },
    };
    struct ide_drive_config drive[4] = { 0 };

    printf("seed %d\n", SEED);
    random_seed(SEED);
    directory_enter();
    if (shell("qemu-img --version")) {
        printf("SKIPPED: qemu-img is not installed (Debian package qemu-utils)\n");
        return 77;
    }
    loop_init();
    machine_lock();
    for (unsigned n = 0; n < 2; n++) {
        disk_make(&disks[n]);
        drive[n] = (struct ide_drive_config){ IDE_DISK, disks[n].node, NULL, true };
    }
    bench_new(drive);
    for (unsigned n = 0; n < ARRAY_SIZE(tests); n++) {
        unsigned before = checks;
        for (unsigned k = 0; k < 2; k++) tests[n].run(&disks[k]);
        printf("%s: %u checks\n", tests[n].name, checks - before);
        fflush(stdout);
    }
    test_selection();
    bench_free();
    for (unsigned k = 0; k < 2; k++) disk_compare(&disks[k]);
    return report("ide-disk");
}
