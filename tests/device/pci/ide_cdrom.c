/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * A CD-ROM drive on IDE with no guest: the packet protocol with every kind of byte count, the commands that operating
 * systems use, sense data, tray and lock, another disc, resets in the middle, and random packets. Data read is compared
 * with the image file. The secondary master holds a disc, the slave none. Sources: SFF-8020i, MMC-5, ATA/ATAPI-6.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/bits.h"
#include "base/error.h"
#include "base/loop.h"
#include "block/block.h"
#include "ide_bench.h"

enum { SEED = 20261125, SECTORS = 700, OTHER_SECTORS = 300, CD_SECTOR = 2048, DRIVE = 2, ROUNDS = 4000 };
enum { REASON_CD = 1, REASON_IO = 2 };
enum {
    ILLEGAL = 5,
    NOT_READY = 2,
    ATTENTION = 6,
    OPCODE = 0x20,
    LBA = 0x21,
    FIELD = 0x24,
    CHANGED = 0x28,
    SAVING = 0x39,
    NO_MEDIUM = 0x3a,
    LOCKED = 0x53
};
#define SENSE(key, asc) ((key) << 8 | (asc))
#define P(...) ((const uint8_t[12]){ __VA_ARGS__ })

static uint8_t disc[SECTORS * CD_SECTOR], other[OTHER_SECTORS * CD_SECTOR], got[SECTORS * CD_SECTOR + 16];
static struct block_node *disc_node, *other_node;
static size_t got_bytes;
static bool slave;

static uint32_t be(const uint8_t *p, unsigned bytes)
{
    uint32_t v = 0;

    while (bytes--) v = v << 8 | *p++;
    return v;
}

/* ---- the packet protocol ---- */

static void packet_start(const uint8_t cdb[12], unsigned limit, uint8_t feature)
{
    uint8_t status = command(
        &(struct command){ .op = 0xa0, .feature = feature, .sector = (uint64_t)limit << 8, .slave = slave });

    check((status & (DRQ | ERR)) == DRQ && in(COUNT) == REASON_CD, "packet %02x: status %02x, reason %u",
          cdb[0], status, in(COUNT));
    in(STATUS);
    for (unsigned n = 0; n < 12; n += 2) out_data(cdb[n] | cdb[n + 1] << 8, 2);
}

/* The status in the end; the reply is in got. */
static uint8_t packet_limited(const uint8_t cdb[12], unsigned limit)
{
    unsigned effective = limit == 0xffff || limit < 2 ? 0xfffe : limit, before = interrupts[1];
    uint8_t status;

    got_bytes = 0;
    packet_start(cdb, limit, 0);
    while ((status = settle()) & DRQ) {
        unsigned bytes = in(MID) | in(HIGH) << 8;
        if (!check(in(COUNT) == REASON_IO && bytes && bytes <= effective &&
                       got_bytes + bytes <= sizeof got - 16,
                   "packet %02x, limit %u: %u bytes after %zu, reason %u", cdb[0], limit, bytes, got_bytes,
                   in(COUNT)))
            break;
        check(irq_level[1] && interrupts[1] == before + 1, "packet %02x: %u interrupts", cdb[0],
              interrupts[1] - before);
        in(STATUS);
        before = interrupts[1];
        data_read(got + got_bytes, bytes);
        got_bytes += bytes;
        /* Only the last piece may be odd. */
        if (bytes & 1) check(!(settle() & DRQ), "packet %02x: %u bytes and more", cdb[0], bytes);
    }
    check(in(COUNT) == (REASON_CD | REASON_IO) && irq_level[1], "packet %02x: ends with reason %u, IRQ %d",
          cdb[0], in(COUNT), irq_level[1]);
    check(in(STATUS) == status && !irq_level[1] && !(status & BSY), "packet %02x: status %02x acknowledges",
          cdb[0], status);
    return status;
}

static bool packet(const uint8_t cdb[12]) { return !(packet_limited(cdb, 0xfffe) & ERR); }

static uint8_t packet_dma(const uint8_t cdb[12], const struct prd *prd, unsigned count)
{
    uint8_t status;

    prd_table(prd, count, true);
    bm_out(0, 8, 1);
    bm_out(2, BM_ERROR | BM_IRQ, 1);
    packet_start(cdb, 0, 1);
    bm_out(0, 9, 1);
    settle();
    status = bm_in(2, 1);
    bm_out(0, 0, 1);
    return status;
}

static unsigned sense(void)
{
    check(packet(P(3, 0, 0, 0, 18)) && got_bytes == 18 && (got[0] & 0x7f) == 0x70 && got[7] == 10,
          "sense: %zu bytes, %02x", got_bytes, got[0]);
    return SENSE(got[2] & 15, got[12]);
}

/* The command fails like this, the error register tells the key, and so does REQUEST SENSE, once. */
static void refused(const uint8_t cdb[12], unsigned expected, const char *what)
{
    unsigned now, error;

    check(!packet(cdb), "%s: accepted", what);
    error = in(ERROR);
    now = sense();
    check(now == expected && error >> 4 == expected >> 8, "%s: sense %04x, error %02x, not %04x", what, now,
          error, expected);
    check(!sense(), "%s: sense stays", what);
}

static void reply_is(const uint8_t cdb[12], const void *expected, size_t bytes, const char *what)
{
    size_t n = 0;

    if (!check(packet(cdb) && got_bytes == bytes, "%s: %zu bytes, not %zu", what, got_bytes, bytes)) return;
    while (n < bytes && got[n] == ((const uint8_t *)expected)[n]) n++;
    check(n == bytes, "%s: byte %zu is %02x, not %02x", what, n, got[n],
          n < bytes ? ((const uint8_t *)expected)[n] : 0);
}

/* ---- what it is ---- */

static void test_identity(void)
{
    uint16_t w[256];

    check((command(&(struct command){ .op = 0xec }) & ERR) && in(ERROR) == ABRT, "IDENTIFY DEVICE of a CD-ROM");
    check(in(COUNT) == 1 && in(LOW) == 1 && in(MID) == 0x14 && in(HIGH) == 0xeb, "signature");
    check(command(&(struct command){ .op = 0xa1 }) & DRQ, "IDENTIFY PACKET DEVICE");
    data_read(w, sizeof w);
    check(!(alternate() & (DRQ | ERR)), "IDENTIFY PACKET DEVICE ends");
    check(w[0] >> 14 == 2 && (w[0] >> 8 & 31) == 5 && w[0] & 0x80 && !(w[0] & 3),
          "word 0 is %04x: no removable CD with 12-byte packets", w[0]);
    for (unsigned n = 10; n < 20; n++) w[n] = w[n] << 8 | w[n] >> 8;
    check(!memcmp(w + 10, "OSPITE-CD           ", 20), "serial number: %.20s", (char *)(w + 10));
    check(w[49] & 0x300, "word 49: LBA and DMA");
    check(w[53] & 6 && w[64] && w[88] & 0x3f, "modes");
    check(w[82] & 0x10 && w[85] & 0x10, "PACKET feature set");
}

static void test_inquiry(void)
{
    check(packet(P(0x12, 0, 0, 0, 96)) && got_bytes == 36 && got[0] == 5 && got[1] & 0x80 && got[4] == 31,
          "INQUIRY");
    for (unsigned n = 0; n < 40; n++) {
        check(packet(P(0x12, 0, 0, 0, n)) && got_bytes == MIN(n, 36u), "INQUIRY of %u bytes gives %zu", n,
              got_bytes);
        if (n > 4) check(got[4] == 31, "INQUIRY of %u: additional length %u", n, got[4]);
    }
    check(packet(P(0x12, 1, 0, 0, 255)) && got_bytes >= 5 && got[3] == got_bytes - 4,
          "vital product data: page 0");
    refused(P(0x12, 1, 0x83, 0, 255), SENSE(ILLEGAL, FIELD), "vital product data: page 83h");
}

/* ---- reading ---- */

static void read_one(unsigned op, uint32_t sector, uint32_t count, unsigned limit)
{
    uint8_t cdb[12] = { op, [2] = sector >> 24, [3] = sector >> 16, [4] = sector >> 8, [5] = sector };

    cdb[8] = count;
    cdb[7] = count >> 8;
    if (op == 0xa8) memcpy(cdb + 6, (uint8_t[]){ 0, 0, count >> 8, count }, 4);
    if (op == 0xbe) cdb[9] = 0x10;
    memset(got, 0xee, sizeof got);
    check(!(packet_limited(cdb, limit) & ERR) && got_bytes == (size_t)count * CD_SECTOR &&
              !memcmp(got, disc + (size_t)sector * CD_SECTOR, got_bytes),
          "read %02x of %u at %u, limit %u: %zu bytes", op, count, sector, limit, got_bytes);
}

static void test_read(void)
{
    static const unsigned limits[] = { 0xffff, 0xfffe, 0,    1,    2,    3,    512,   1000,
                                       2047,   2048,   2049, 4095, 4096, 6000, 32768, 65535 };
    static const uint8_t ops[] = { 0x28, 0xa8, 0xbe };

    for (unsigned n = 0; n < 3 * ARRAY_SIZE(limits); n++) {
        uint32_t count = 1 + random_next() % (limits[n / 3] < 512 && limits[n / 3] > 1 ? 2 : 90),
                 sector = random_next() % (SECTORS - count + 1);
        read_one(ops[n % 3], sector, count, limits[n / 3]);
    }
    read_one(0x28, 0, SECTORS, 0xfffe);
    read_one(0x28, SECTORS - 1, 1, 2048);
    check(packet(P(0x28)) && !got_bytes, "read of nothing");
    refused(P(0x28, 0, 0, 0, SECTORS >> 8, SECTORS & 255, 0, 0, 1), SENSE(ILLEGAL, LBA), "read at the end");
    refused(P(0x28, 0, 0, 0, (SECTORS - 1) >> 8, (SECTORS - 1) & 255, 0, 0, 2), SENSE(ILLEGAL, LBA),
            "read over the end");
    refused(P(0xa8, 0, 255, 255, 255, 255, 255, 255, 255, 255), SENSE(ILLEGAL, LBA),
            "read of everything at the end of numbers");
    refused(P(0xa8, 0, 0, 0, 0, 1, 255, 255, 255, 255), SENSE(ILLEGAL, LBA), "read that wraps");
    refused(P(0x2b, 0, 0, 0, SECTORS >> 8, SECTORS & 255), SENSE(ILLEGAL, LBA), "SEEK to the end");
    check(packet(P(0x2b, 0, 0, 0, 0, 9)), "SEEK");
}

static void test_read_dma(void)
{
    for (unsigned n = 0; n < 60; n++) {
        uint32_t count = 1 + random_next() % 150, sector = random_next() % (SECTORS - count + 1),
                 left = count * CD_SECTOR, entries = 0;
        uint8_t cdb[12] = { 0x28, [4] = sector >> 8, [5] = sector, [8] = count };
        struct prd prd[128];
        uint8_t status;
        for (uint32_t at = BUFFER; left; entries++) {
            uint32_t bytes = entries == 100 || random_next() % 4 == 0 ? 65536 : 2 + random_next() % 2000 * 2;
            bytes = MIN(bytes, left);
            prd[entries] = (struct prd){ at, bytes, 0 };
            at += bytes;
            left -= bytes;
        }
        memset(ram + BUFFER, 0xee, 400 * 1024);
        status = packet_dma(cdb, prd, entries);
        check((status & 7) == BM_IRQ && !(in(STATUS)&ERR) && in(COUNT) == 3,
              "DMA read %u at %u: bus master %02x", count, sector, status);
        check(!memcmp(ram + BUFFER, disc + sector * CD_SECTOR, count * CD_SECTOR), "DMA read %u at %u: data",
              count, sector);
        check(ram[BUFFER + count * CD_SECTOR] == 0xee, "DMA read %u at %u: too much", count, sector);
    }
    packet_dma(P(0x28, 0, 0, 0, 0, 5, 0, 0, 2), &(struct prd){ BUFFER, CD_SECTOR, 0 }, 1);
    check(in(STATUS)&ERR, "a PRD table that is too short");
    sense();
    packet_dma(P(0x28, 0, 0, 0, 0, 5, 0, 0, 1), &(struct prd){ RAM_BYTES - 1024, CD_SECTOR, 0 }, 1);
    check(!memcmp(ram + RAM_BYTES - 1024, disc + 5 * CD_SECTOR, 1024),
          "DMA over the end of RAM: the first half");
    packet_dma(P(0x12, 0, 0, 0, 36), &(struct prd){ BUFFER, 36, 0 }, 1);
    check(ram[BUFFER] == 5 && !(in(STATUS)&ERR), "INQUIRY by DMA");
}

/* ---- information ---- */

static void test_toc(void)
{
    /* 700 sectors and the pregap of 150 are 11 seconds and 25 frames. */
    static const uint8_t lba[20] = {
        0, 18, 1, 1, 0, 0x14, 1, 0, 0, 0, 0, 0, 0, 0x16, 0xaa, 0, 0, 0, SECTORS >> 8, SECTORS & 255
    };
    static const uint8_t msf[20] = { 0, 18, 1, 1, 0, 0x14, 1, 0, 0, 0, 2, 0, 0, 0x16, 0xaa, 0, 0, 0, 11, 25 };
    static const uint8_t leadout[12] = { 0, 10, 1, 1, 0, 0x16, 0xaa, 0, 0, 0, SECTORS >> 8, SECTORS & 255 };

    reply_is(P(0x43, 0, 0, 0, 0, 0, 0, 1, 0), lba, 20, "READ TOC");
    reply_is(P(0x43, 2, 0, 0, 0, 0, 0, 1, 0), msf, 20, "READ TOC in minutes");
    reply_is(P(0x43, 0, 0, 0, 0, 0, 1, 0, 7), lba, 7, "READ TOC, cut");
    reply_is(P(0x43, 0, 0, 0, 0, 0, 0xaa, 1, 0), leadout, 12, "READ TOC of the lead-out");
    refused(P(0x43, 0, 0, 0, 0, 0, 2, 1, 0), SENSE(ILLEGAL, FIELD), "READ TOC from track 2");
    refused(P(0x43, 0, 5, 0, 0, 0, 0, 1, 0), SENSE(ILLEGAL, FIELD), "READ TOC: CD-TEXT");
    check(packet(P(0x43, 0, 1, 0, 0, 0, 0, 1, 0)) && got_bytes == 12 && be(got, 2) == 10 && got[6] == 1,
          "READ TOC: sessions");
    check(packet(P(0x43, 2, 2, 0, 0, 0, 0, 1, 0)) && got_bytes == 48 && be(got, 2) == 46 && got[7] == 0xa0,
          "READ TOC: full");
    check(got[4 + 2 * 11 + 3] == 0xa2 && got[4 + 2 * 11 + 8] == 0 && got[4 + 2 * 11 + 9] == 11 &&
              got[4 + 2 * 11 + 10] == 25,
          "READ TOC: full: lead-out");
    reply_is(P(0x25), (uint8_t[]){ 0, 0, (SECTORS - 1) >> 8, (SECTORS - 1) & 255, 0, 0, 8, 0 }, 8,
             "READ CAPACITY");
}

static void test_modes(void)
{
    static const struct {
        uint8_t page;
        unsigned bytes;
    } pages[] = { { 0x01, 8 }, { 0x0e, 16 }, { 0x2a, 22 }, { 0x3f, 46 } };

    for (unsigned n = 0; n < ARRAY_SIZE(pages); n++) {
        unsigned page = pages[n].page, at = 8;
        check(packet(P(0x5a, 0, page, 0, 0, 0, 0, 1, 0)) && got_bytes == 8 + pages[n].bytes &&
                  be(got, 2) == got_bytes - 2,
              "MODE SENSE %02x: %zu bytes", page, got_bytes);
        while (at + 1 < got_bytes) at += 2 + got[at + 1];
        check(at == got_bytes && (page == 0x3f || got[8] == page), "MODE SENSE %02x: its pages end at %u", page,
              at);
        check(packet(P(0x5a, 0, page, 0, 0, 0, 0, 0, 10)) && got_bytes == 10 &&
                  be(got, 2) == 6 + pages[n].bytes,
              "MODE SENSE %02x, cut", page);
    }
    for (unsigned lock = 0; lock < 2; lock++) {
        check(packet(P(0x1e, 0, 0, 0, lock)) && packet(P(0x5a, 0, 0x2a, 0, 0, 0, 0, 1, 0)) &&
                  (got[8 + 6] >> 1 & 1) == lock,
              "MODE SENSE: lock %u", lock);
        check(packet(P(0x1e)), "allow removal");
    }
    refused(P(0x5a, 0, 0x33, 0, 0, 0, 0, 1, 0), SENSE(ILLEGAL, FIELD), "MODE SENSE of an unknown page");
    refused(P(0x5a, 0, 0xea, 0, 0, 0, 0, 1, 0), SENSE(ILLEGAL, SAVING), "MODE SENSE of saved values");
}

static void test_configuration(void)
{
    unsigned at = 8, last = 0, features = 0;

    check(packet(P(0x46, 0, 0, 0, 0, 0, 0, 1, 0)) && be(got, 4) == got_bytes - 4 && be(got + 6, 2) == 8,
          "GET CONFIGURATION: profile %x", be(got + 6, 2));
    for (; at + 4 <= got_bytes; at += 4 + got[at + 3], features++) {
        unsigned number = be(got + at, 2);
        check((!features || number > last) && !(got[at + 3] & 3), "GET CONFIGURATION: feature %x after %x",
              number, last);
        last = number;
    }
    check(at == got_bytes && features >= 5, "GET CONFIGURATION: %u features end at %u of %zu", features, at,
          got_bytes);
    check(packet(P(0x46, 2, 0, 3, 0, 0, 0, 1, 0)) && got_bytes == 16 && be(got + 8, 2) == 3,
          "GET CONFIGURATION of one feature");
    check(packet(P(0x46, 2, 0x77, 0x77, 0, 0, 0, 1, 0)) && got_bytes == 8 && be(got, 4) == 4,
          "GET CONFIGURATION of an unknown one");
    check(packet(P(0x46, 0, 0, 0x1f, 0, 0, 0, 1, 0)) && be(got + 8, 2) == 0x1f, "GET CONFIGURATION from 1Fh");
    check(packet(P(0x46, 0, 0, 0, 0, 0, 0, 0, 8)) && got_bytes == 8 && be(got, 4) > 8,
          "GET CONFIGURATION: its header");
}

/* ---- tray, disc ---- */

/* Media event and status; polled. */
static unsigned media(void)
{
    check(packet(P(0x4a, 1, 0, 0, 0x10, 0, 0, 0, 8)) && got_bytes == 8 && be(got, 2) == 6 && (got[2] & 7) == 4,
          "GET EVENT STATUS");
    return (got[4] & 15) << 8 | got[5];
}

static void test_tray(void)
{
    check(media() == 2, "a disc and no event: %x", media());
    refused(P(0x4a, 0, 0, 0, 0x10, 0, 0, 0, 8), SENSE(ILLEGAL, FIELD), "GET EVENT STATUS, not polled");
    check(packet(P(0x4a, 1, 0, 0, 2, 0, 0, 0, 8)) && got_bytes == 4 && got[2] & 0x80,
          "GET EVENT STATUS of no class we have");
    check(packet(P(0x1e, 0, 0, 0, 1)), "lock");
    refused(P(0x1b, 0, 0, 0, 2), SENSE(ILLEGAL, LOCKED), "eject of a locked tray");
    check(packet(P(0)) && media() == 2, "the locked tray stays");
    check(packet(P(0x1e)) && packet(P(0x1b, 0, 0, 0, 2)), "unlock and eject");
    check(media() == 0x301 && media() == 1, "removed, tray open: told once");
    check(packet(P(0xbd, 0, 0, 0, 0, 0, 0, 0, 0, 8)) && got_bytes == 8 && got[1] & 0x10,
          "MECHANISM STATUS: door open");
    refused(P(0), SENSE(NOT_READY, NO_MEDIUM), "TEST UNIT READY with the tray open");
    refused(P(0x28, 0, 0, 0, 0, 0, 0, 0, 1), SENSE(NOT_READY, NO_MEDIUM), "READ with the tray open");
    check(packet(P(0x46, 0, 0, 0, 0, 0, 0, 1, 0)) && be(got + 6, 2) == 0, "no profile with the tray open");
    check(packet(P(0x1b, 0, 0, 0, 3)) && media() == 0x202 && media() == 2, "load: a new disc, told once");
    packet(P(0));
    check(packet(P(0)), "ready again");
    read_one(0x28, 3, 2, 0xfffe);
    check(packet(P(0x1b, 0, 0, 0, 0)) && packet(P(0x1b, 0, 0, 0, 1)) && packet(P(0)),
          "stop and start without eject");
}

static int change(struct block_node *node, bool force, struct block_node **old)
{
    struct error err;

    return ide_cdrom_change(ide, DRIVE, node, force, old, &err);
}

static void test_change(void)
{
    struct block_node *old = NULL;
    struct error err;

    check(ide_cdrom_change(ide, 0, other_node, true, &old, &err) < 0 && strstr(err.text, "CD-ROM"),
          "another disc in no drive");
    check(ide_cdrom_change(ide, 77, other_node, true, &old, &err) < 0, "another disc in drive 77");
    check(packet(P(0x1e, 0, 0, 0, 1)) && change(other_node, false, &old) < 0 && packet(P(0)),
          "another disc in a locked drive");
    check(!change(other_node, true, &old) && old == disc_node, "by force");
    check(packet(P(0x12, 0, 0, 0, 36)), "INQUIRY does not tell");
    refused(P(0), SENSE(ATTENTION, CHANGED), "the first command after it tells");
    check(packet(P(0)), "the next one does not");
    check(media() == 0x202 && media() == 2, "a new disc, told once");
    check(packet(P(0x25)) && be(got, 4) == OTHER_SECTORS - 1, "its capacity");
    check(packet(P(0x28, 0, 0, 0, 0, 9, 0, 0, 5)) && !memcmp(got, other + 9 * CD_SECTOR, got_bytes),
          "its data");
    check(!change(NULL, true, &old) && old == other_node, "no disc");
    packet(P(0));
    refused(P(0), SENSE(NOT_READY, NO_MEDIUM), "TEST UNIT READY without a disc");
    check(!change(disc_node, false, &old) && !old, "the first one again, locked: nothing to guard");
    packet(P(0));
    check(packet(P(0x1e)) && packet(P(0)), "ready");
}

static void test_empty_drive(void)
{
    static const uint8_t ops[] = { 0x00, 0x25, 0x28, 0xa8, 0xbe, 0x43, 0x42, 0x51, 0x2b };

    slave = true;
    for (unsigned n = 0; n < sizeof ops; n++)
        refused(P(ops[n], 0, 0, 0, 0, 0, 0, 0, 1, 0x10), SENSE(NOT_READY, NO_MEDIUM), "empty drive");
    check(packet(P(0x12, 0, 0, 0, 36)) && got[0] == 5, "INQUIRY of an empty drive");
    check(media() == 0, "an empty drive, closed");
    check(packet(P(0x1b, 0, 0, 0, 2)) && packet(P(0x1b, 0, 0, 0, 3)), "eject and load of nothing");
    slave = false;
    out(DEVICE, 0xa0);
}

/* ---- in the middle ---- */

/* Whatever was under way: nothing of it comes later, and the next command works. */
static void still_works(const char *what)
{
    unsigned before = interrupts[1];
    uint8_t status = alternate();

    loop_settle();
    check(interrupts[1] == before && alternate() == status, "%s: something came later, status %02x, then %02x",
          what, status, alternate());
    if (!packet(P(0))) sense();
    read_one(0x28, 17, 40, 0xfffe);
}

static void test_resets(void)
{
    const uint8_t *read = P(0x28, 0, 0, 0, 0, 0, 0, 0, 200);
    struct block_node *old;

    for (unsigned dma = 0; dma < 2; dma++) {
        struct prd prd[8];
        for (unsigned n = 0; n < 8; n++) prd[n] = (struct prd){ BUFFER + n * 65536, 0, 0 };
        prd_table(prd, 8, true);
        for (unsigned how = 0; how < 5; how++) {
            static const char *const name[] = { "DEVICE RESET", "SRST", "diagnostic", "another disc",
                                                "no disc" };
            bm_out(0, 8, 1);
            packet_start(read, 0xfffe, dma);
            bm_out(0, dma ? 9 : 8, 1);
            check(alternate() & BSY, "a read under way");
            if (how == 0) out(COMMAND, 8);
            else if (how == 1) soft_reset();
            else if (how == 2) out(COMMAND, 0x90);
            else change(how == 3 ? other_node : NULL, true, &old);
            in(STATUS);
            bm_out(0, 0, 1);
            if (how < 3) {
                check(!(alternate() & (BSY | DRQ)) && in(ERROR) == 1, "%s: status %02x, error %02x", name[how],
                      alternate(), in(ERROR));
                check(in(MID) == 0x14 && in(HIGH) == 0xeb, "%s: signature", name[how]);
            } else {
                loop_settle();
                change(disc_node, true, &old);
            }
            still_works(name[how]);
        }
    }
    /* Two reads, the first orphaned: the second's data are the second's. */
    for (unsigned n = 0; n < 50; n++) {
        packet_start(P(0x28, 0, 0, 0, 0, 0, 0, 0, 32), 0xfffe, 0);
        out(COMMAND, 8);
        read_one(0x28, 100 + n, 32, 0xfffe);
    }
    command(&(struct command){ .op = 0xa0, .sector = 0xfffe00 });
    check(alternate() & DRQ, "packet awaited");
    out_data(0x12, 2);
    check(command(&(struct command){ .op = 0xa1 }) & DRQ, "another command instead of the packet");
    soft_reset();
    check(command(&(struct command){ .op = 0xa0, .feature = 2 }) & ERR && in(ERROR)&ABRT, "overlapped packet");
    still_works("overlapped packet");
}

/* ---- every opcode, random packets ---- */

static void test_opcodes(void)
{
    unsigned known = 0;

    for (unsigned op = 0; op < 256; op++) {
        unsigned s;
        if (packet(P(op))) {
            known++;
            continue;
        }
        s = sense();
        check(s == SENSE(ILLEGAL, OPCODE) || s == SENSE(ILLEGAL, FIELD), "opcode %02x: sense %04x", op, s);
    }
    check(known >= 10 && known < 40, "%u opcodes known", known);
    printf("  opcodes: 256, %u end well with nothing but zeroes\n", known);
}

static void random_round(void)
{
    static const uint8_t ops[] = { 0x00, 0x03, 0x12, 0x1b, 0x1e, 0x25, 0x28, 0x28, 0xa8, 0xa8, 0x2b,
                                   0x42, 0x43, 0x46, 0x4a, 0x51, 0x5a, 0xad, 0xbb, 0xbd, 0xbe };
    struct prd prd[4];
    uint8_t cdb[12];

    random_fill(cdb, sizeof cdb);
    random_fill(prd, sizeof prd);
    cdb[0] = random_next() % 8 ? ops[random_next() % sizeof ops] : cdb[0];
    if (random_next() % 2) cdb[2] = cdb[3] = cdb[6] = cdb[4] = 0;
    if (random_next() % 2) cdb[7] = 0;
    for (unsigned n = 0; n < 4; n++) prd[n].address &= random_next() % 4 ? RAM_BYTES - 1 : UINT32_MAX;
    memcpy(ram + TABLE, prd, sizeof prd);
    bm_out(4, random_next() % 8 ? TABLE : random_next(), 4);
    out(DEVICE, random_next() & 0x10);
    out(FEATURE, random_next() & 1);
    out(MID, random_next());
    out(HIGH, random_next());
    out(COMMAND, 0xa0);
    for (unsigned n = 0; n < 12; n += 2) out_data(cdb[n] | cdb[n + 1] << 8, 2);
    for (unsigned n = random_next() % 12; n; n--) {
        switch (random_next() % 16) {
        case 0: out(COMMAND, random_next() % 2 ? 8 : 0x90); break;
        case 1: control(random_next() & 0x86); break;
        case 2: out(1 + random_next() % 7, random_next()); break;
        case 3 ... 5: bm_out(0, random_next() % 2 ? 9 : 0, 1); break;
        case 6 ... 8:
            for (unsigned k = random_next() % 2000; k; k--) in_data(1u << random_next() % 3);
            break;
        case 9: out_data(random_next(), 4); break;
        default: loop_step(0); break;
        }
    }
}

static void test_random(void)
{
    struct block_node *old;

    for (unsigned n = 0; n < ROUNDS; n++) {
        random_round();
        if (n % 64 == 0) change(n % 128 ? disc_node : NULL, true, &old);
    }
    bm_out(0, 0, 1);
    out(DEVICE, 0xa0);
    soft_reset();
    change(disc_node, true, &old);
    packet(P(0x1b, 0, 0, 0, 3));
    still_works("random packets");
    printf("  random packets: %u\n", ROUNDS);
}

int main(void)
{
    struct ide_drive_config drive[4] = { 0 };
    struct {
        const char *name;
        void (*run)(void);
    } tests[] = {
        { "identity", test_identity },
        { "inquiry", test_inquiry },
        { "reading", test_read },
        { "reading by DMA", test_read_dma },
        { "table of contents", test_toc },
        { "mode pages", test_modes },
        { "configuration", test_configuration },
        { "tray", test_tray },
        { "another disc", test_change },
        { "empty drive", test_empty_drive },
        { "resets", test_resets },
        { "opcodes", test_opcodes },
        { "random", test_random },
    };

    random_seed(SEED);
    printf("seed %d\n", SEED);
    directory_enter();
    random_fill(disc, sizeof disc);
    random_fill(other, sizeof other);
    file_make("disc.iso", disc, sizeof disc, sizeof disc);
    file_make("other.iso", other, sizeof other, sizeof other);
    loop_init();
    machine_lock();
    drive[2] = (struct ide_drive_config){ IDE_CDROM, disc_node = image_open("disc.iso", "raw", true),
                                          "OSPITE-CD", true };
    drive[3] = (struct ide_drive_config){ IDE_CDROM, NULL, NULL, true };
    other_node = image_open("other.iso", "raw", true);
    bench_new(drive);
    channel_select(1);
    for (unsigned n = 0; n < ARRAY_SIZE(tests); n++) {
        unsigned before = checks;
        tests[n].run();
        printf("%s: %u checks\n", tests[n].name, checks - before);
        fflush(stdout);
    }
    bench_free();
    block_close(disc_node);
    block_close(other_node);
    return report("ide-cdrom");
}
