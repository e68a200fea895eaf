/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Encrypted images in memory: single changed fields of LUKS headers, each with words that the refusal must hold; random
 * damage; power cuts while a key is added or erased, after which each passphrase that was acknowledged opens the disk;
 * random requests, many at a time and in pieces of any length, judged by a copy; power cuts in an encrypted qcow2 image.
 */
#include "common.h"

#include "base/bits.h"
#include "base/error.h"
#include "base/loop.h"
#include "block/crypt/luks.h"
#include "block/fault.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { LIMIT = 64 << 20, DISK = 1 << 20, IN_FLIGHT = 16, PIECES = 6 };
static const char *const passphrases[] = { "first", "second" };

static const uint8_t *secret_get(const struct block_objects *o, const char *id, size_t *length, struct error *err)
{
    *length = strlen(passphrases[*id - '0']);
    return (const uint8_t *)passphrases[*id - '0'];
}

static const struct block_objects objects = { .secret = secret_get };

static struct block_option_set options_of(const char *format, const char *key, struct block_option_value item[4])
{
    bool is_qcow2 = !strcmp(format, "qcow2");
    item[0] = (struct block_option_value){ is_qcow2 ? "encrypt.key-secret" : "key-secret", key };
    item[1] = (struct block_option_value){ is_qcow2 ? "encrypt.iter-time" : "iter-time", "1" };
    item[2] = (struct block_option_value){ "encrypt.format", "luks" };
    return (struct block_option_set){ item, is_qcow2 ? 3 : 2 };
}

static void *image_make(const char *format, size_t *length)
{
    struct block_option_value item[4];
    const struct block_option_set set = options_of(format, "0", item);
    const struct block_create_options c = { .filename = "memory", .format = format, .size_bytes = DISK, .options = &set,
                                            .objects = &objects };
    struct block_protocol *p = block_fault_open(NULL, 0, LIMIT);
    struct error err = { "out of memory" };
    void *image = NULL;
    if (!p || block_format_find(format)->create(p, &c, &err) || block_protocol_flush(p) ||
        block_fault_image(p, 0, &image, length)) {
        printf("FAILED: %s: %s\n", format, err.text);
        exit(1);
    }
    p->ops->close(p);
    return image;
}

/* key NULL: without a passphrase. */
static struct block_node *node_open(struct block_protocol *p, const char *format, const char *key, struct error *err)
{
    struct block_option_value item[4];
    struct block_option_set set = options_of(format, key, item);
    set.count = key ? 1 : 0;
    const struct block_open_options o = { .filename = "memory", .format = format, .discard = true, .options = &set,
                                          .objects = &objects, .no_key = !key };
    return block_node_open_over(p, &o, NULL, err);
}

/* ---- single fields ---- */

#define SLOT(n, field) (offsetof(struct luks_raw, slot) + (n) * sizeof(struct luks_raw_slot) + offsetof(struct luks_raw_slot, field))
#define AT(field) offsetof(struct luks_raw, field)
static const struct field {
    const char *what;
    size_t offset;
    unsigned width;
    uint64_t value;
    const char *message;
} fields[] = {
    { "version 2", AT(version), 2, 2, "version 2" },
    { "version 0", AT(version), 2, 0, "version 0" },
    { "no cipher", AT(cipher), 1, 0, "name of its cipher" },
    { "unknown cipher", AT(cipher), 4, 0x66666600, "'fff' with keys of 64 bytes" },
    { "cursor in the name", AT(cipher) + 1, 1, 0x1b, "characters" },
    { "mode without IVs", AT(mode) + 3, 1, 0, "cipher mode 'xts'" },
    { "unknown mode", AT(mode), 1, 'a', "cipher mode 'ats-plain64'" },
    { "essiv without a hash", AT(mode) + 4, 8, 0x6573736976000000, "no known hash" },
    { "unknown hash", AT(hash) + 5, 1, '9', "hash 'sha259'" },
    { "key of 0 bytes", AT(key_bytes), 4, 0, "keys of 0 bytes" },
    { "key of 63 bytes", AT(key_bytes), 4, 63, "keys of 63 bytes" },
    { "key of 4 GiB", AT(key_bytes), 4, 0xffffffff, "key-bytes" },
    { "detached", AT(payload_sectors), 4, 0, "payload-offset is 0" },
    { "disk past the end", AT(payload_sectors), 4, 0xffffffff, "payload-offset" },
    { "disk over the slots", AT(payload_sectors), 4, 100, "overlaps the disk" },
    { "digest without iterations", AT(digest_iterations), 4, 0, "mk-digest-iter" },
    { "digest for hours", AT(digest_iterations), 4, 0xffffffff, "mk-digest-iter" },
    { "uuid without an end", AT(uuid), 1, 0, "uuid" },
    { "slot neither nor", SLOT(1, active), 4, 7, "key slot 1 is neither" },
    { "slot of no iterations", SLOT(0, iterations), 4, 0, "key slot 0 has 0 iterations" },
    { "slot for hours", SLOT(0, iterations), 4, 0xffffffff, "key slot 0 has 4294967295 iterations" },
    { "slot of no stripes", SLOT(0, stripes), 4, 0, "0 stripes" },
    { "slot of 2^32 - 1 stripes", SLOT(3, stripes), 4, 0xffffffff, "key slot 3 has 4294967295 stripes" },
    { "slot over the header", SLOT(0, offset_sectors), 4, 1, "slot 0 overlaps the header" },
    { "slot over the disk", SLOT(7, offset_sectors), 4, 4000, "slot 7 overlaps the disk" },
    { "slot past all ends", SLOT(2, offset_sectors), 4, 0xffffffff, "slot 2 overlaps the disk" },
    { "slots over each other", SLOT(5, offset_sectors), 4, 8, "slots 0 and 5 overlaps" },
};
/* Of a qcow2 image with clusters of 64 KiB and a header of 112 bytes. */
static const struct field extension_fields[] = {
    { "extension too short", 116, 4, 8, "8 bytes long, not 16" },
    { "header at no cluster", 120, 8, 512, "not that of a cluster" },
    { "header at 0", 120, 8, 0, "is missing" },
    { "header past the end", 120, 8, 1ull << 40, "past the end" },
    { "header past 2^56", 120, 8, UINT64_MAX & ~65535ull, "not that of a cluster" },
    { "header over the L1 table", 120, 8, 196608, "no LUKS header" },
    { "header of no length", 128, 8, 0, "is missing" },
    { "header of 100 bytes", 128, 8, 100, "100 bytes long" },
    { "header of 2^63 bytes", 128, 8, 1ull << 63, "bytes long" },
    { "slots longer than it", 128, 8, 65536, "past the end of the file (payload-offset)" },
    { "unknown method", 32, 4, 3, "method 3" },
};

static void field_test(const char *format, const uint8_t *image, size_t length, size_t at, const struct field *f)
{
    uint8_t *bad = malloc(length);
    memcpy(bad, image, length);
    for (unsigned i = 0; i < f->width; i++)
        bad[at + f->offset + i] = (uint8_t)(f->value >> 8 * (f->width - 1 - i));
    for (unsigned key = 0; key < 2; key++) {
        struct error err = { 0 };
        struct block_node *n = node_open(block_fault_open(bad, length, LIMIT), format, key ? "0" : NULL, &err);
        check(!n && strstr(err.text, f->message), "%s, %s: '%s'", format, f->what, n ? "was opened" : err.text);
        check(n || !strchr(err.text, '\n'), "%s, %s: more than one line", format, f->what);
        block_close(n);
    }
    free(bad);
}

static size_t luks_place(const char *format, const uint8_t *image, size_t length)
{
    if (!strcmp(format, "luks"))
        return 0;
    be64 at;
    memcpy(&at, image + 120, sizeof(at));
    return be64_get(at) < length ? be64_get(at) : 0;
}

static void close_not(struct block_protocol *p)
{
}

/* Without the passphrase: no work, whatever the header says. (Nothing is stored in the qcow2 image: zeroes.) */
static void damage_test(const char *format, const uint8_t *image, size_t length, uint64_t *rng)
{
    uint8_t bad[sizeof(struct luks_raw)], sector[512];
    size_t at = luks_place(format, image, length);
    unsigned opened = 0;
    struct block_protocol *p = block_fault_open(image, length, LIMIT);
    const struct block_protocol_ops *ops = p->ops;
    struct block_protocol_ops kept = *ops;
    kept.close = close_not;         /* one image for all, of which only the header changes */
    p->ops = &kept;
    for (unsigned i = 0; i < 4000; i++) {
        struct error err;
        memcpy(bad, image + at, sizeof(bad));
        for (uint64_t k = rng_below(rng, 4); k != UINT64_MAX; k--)
            bad[rng_below(rng, sizeof(bad))] = (uint8_t)rng_below(rng, 256);
        check(!block_protocol_pwrite(p, at, bad, sizeof(bad)) && !block_protocol_flush(p), "a damaged header");
        struct block_node *n = node_open(p, format, NULL, &err);
        struct block_info info = { 0 };
        opened += n != NULL;
        check(!n || !block_info_get(n, &info, &err), "%s: a header that opens is described", format);
        json_decref(info.data);
        check(!n || block_pread(n, 0, sector, 512) == (at ? 0 : -EACCES), "%s: read without a passphrase", format);
        block_close(n);
    }
    printf("%s: %u of 4000 damaged headers opened\n", format, opened);
    ops->close(p);
}

/* ---- key slots and power cuts ---- */

static int change(struct block_node *n, bool adds)
{
    const struct block_option_value add[] = { { "state", "active" }, { "new-secret", "1" }, { "iter-time", "1" } };
    const struct block_option_value erase[] = { { "state", "inactive" }, { "keyslot", "0" } };
    const struct block_option_set set = { adds ? add : erase, adds ? 3 : 2 };
    struct error err;
    return block_amend(n, &set, false, NULL, &err);
}

static bool opens(const void *image, size_t length, const char *key)
{
    struct error err;
    struct block_node *n = node_open(block_fault_open(image, length, LIMIT), "luks", key, &err);
    block_close(n);
    return n;
}

/* The passphrase that stays opens the disk after every cut; at the end the change has been made. */
static void slot_test(const void *image, size_t length, bool adds)
{
    const char *stays = adds ? "0" : "1";
    for (uint64_t cut = 0, done = 0; !done; cut++) {
        struct error err;
        struct block_protocol *p = block_fault_open(image, length, LIMIT);
        struct block_node *n = node_open(p, "luks", stays, &err);
        block_fault_cut_at(p, block_fault_writes(p) + cut);
        int r = change(n, adds);
        done = !block_fault_is_cut(p);
        check(done == !r, "%s a slot, cut at write %d: acknowledged or not", adds ? "adding" : "erasing", (int)cut);
        for (unsigned seed = 0; seed < 4; seed++) {
            void *after;
            size_t size;
            block_fault_image(p, seed, &after, &size);
            check(opens(after, size, stays), "%s a slot, cut at write %d: the other one", adds ? "adding" : "erasing", (int)cut);
            check(!done || opens(after, size, adds ? "1" : "0") == adds, "a slot after %s", adds ? "adding" : "erasing");
            free(after);
        }
        block_close(n);
    }
}

static void slots_test(const void *image, size_t length)
{
    struct error err;
    struct block_protocol *p = block_fault_open(image, length, LIMIT);
    struct block_node *n = node_open(p, "luks", "0", &err);
    void *both = NULL;
    size_t size = 0;
    slot_test(image, length, true);
    check(!change(n, true) && !block_fault_image(p, 0, &both, &size), "a second key");
    slot_test(both, size, false);
    free(both);
    block_close(n);
}

/* ---- requests ---- */

struct job {
    uint8_t data[32768];
    uint64_t offset;
    size_t length;
    struct iovec iov[PIECES];
    int pieces, result;
    bool writes;
};

static void job_done(void *opaque, int result)
{
    ((struct job *)opaque)->result = result;
}

/* Pieces of any length: sectors lie across their borders. */
static void job_cut(struct job *j, uint64_t *rng)
{
    size_t at = 0;
    j->pieces = 0;
    while (at < j->length) {
        size_t take = j->pieces == PIECES - 1 ? j->length - at : MIN(1 + rng_below(rng, 8000), j->length - at);
        if (rng_below(rng, 3) == 0)
            take = MIN(ALIGN_UP(take, (size_t)512), j->length - at);
        j->iov[j->pieces++] = (struct iovec){ j->data + at, take };
        at += take;
    }
}

/* Each has a part of the disk of its own, so that there is an order. */
static void requests_test(const char *format, const void *image, size_t length, uint64_t *rng)
{
    struct error err;
    static struct job job[IN_FLIGHT];
    uint8_t *copy = calloc(1, DISK), *all = malloc(DISK);
    struct block_node *n = node_open(block_fault_open(image, length, LIMIT), format, "0", &err);
    check(n && !block_write_zeroes_sync(n, 0, DISK, false), "%s: zeroes", format);
    for (unsigned round = 0; round < 150; round++) {
        for (unsigned i = 0; i < IN_FLIGHT; i++) {
            struct job *j = &job[i];
            j->length = 512 * (1 + rng_below(rng, sizeof(j->data) / 512));
            j->offset = i * (DISK / IN_FLIGHT) + 512 * rng_below(rng, (DISK / IN_FLIGHT - j->length) / 512);
            j->writes = rng_below(rng, 2);
            j->result = 1;
            job_cut(j, rng);
            rng_fill(rng, j->data, j->length);
            if (j->writes)
                memcpy(copy + j->offset, j->data, j->length);
            if (j->writes)
                block_write(n, j->offset, j->iov, j->pieces, job_done, j);
            else
                block_read(n, j->offset, j->iov, j->pieces, job_done, j);
        }
        block_drain(n);
        for (unsigned i = 0; i < IN_FLIGHT; i++)
            check(!job[i].result && !memcmp(job[i].data, copy + job[i].offset, job[i].length), "%s: request at %llu", format,
                  (unsigned long long)job[i].offset);
    }
    check(!block_pread(n, 0, all, DISK) && !memcmp(all, copy, DISK), "%s: the whole disk", format);
    block_close(n);
    free(all);
    free(copy);
}

/* A sector holds what it held at the last flush or what was written since. */
static void cut_test(const void *image, size_t length, uint64_t *rng)
{
    static uint8_t flushed[DISK], data[65536], found[DISK];
    static uint32_t written[DISK / 512];        /* which write since the flush; 0: none */
    struct error err;
    struct block_protocol *p = block_fault_open(image, length, LIMIT);
    struct block_node *n = node_open(p, "qcow2", "0", &err);
    uint8_t mark = 0;
    memset(flushed, 0, sizeof(flushed));
    memset(written, 0, sizeof(written));
    block_fault_cut_at(p, block_fault_writes(p) + rng_below(rng, 120));
    while (!block_fault_is_cut(p)) {
        uint64_t at = 512 * rng_below(rng, DISK / 512), count = MIN(1 + rng_below(rng, 127), (DISK - at) / 512);
        if (rng_below(rng, 8) == 0) {
            if (block_flush_sync(n))
                break;
            for (unsigned i = 0; i < DISK / 512; i++)
                if (written[i])
                    memset(flushed + i * 512, (int)(written[i] & 0xff), 512);
            memset(written, 0, sizeof(written));
            continue;
        }
        mark = (uint8_t)(mark + 1) ? (uint8_t)(mark + 1) : 1;
        memset(data, mark, count * 512);
        int r = block_pwrite(n, at, data, count * 512);
        for (uint64_t i = at / 512; i < at / 512 + count; i++)
            written[i] = written[i] << 8 | mark;        /* the last four */
        if (r)
            break;
    }
    void *after;
    size_t size;
    block_fault_image(p, rng_next(rng), &after, &size);
    block_close(n);
    n = node_open(block_fault_open(after, size, LIMIT), "qcow2", "0", &err);
    struct block_check c = { 0 };
    check(n && !block_pread(n, 0, found, DISK), "cut: the disk can be read: %s", n ? "" : err.text);
    check(n && !block_check(n, &c, &err) && !c.corruptions && !c.check_errors, "cut: the image is not sound");
    for (unsigned i = 0; n && i < DISK / 512; i++) {
        bool ok = !memcmp(found + i * 512, flushed + i * 512, 512);
        for (uint32_t w = written[i]; w && !ok; w >>= 8) {
            memset(data, (int)(w & 0xff), 512);
            ok = !memcmp(found + i * 512, data, 512);
        }
        if (!ok && written[i] >> 24)
            continue;               /* more writes than were noted */
        check(ok, "cut: sector %u", i);
    }
    block_close(n);
    free(after);
}

/* Whether these 512 bytes lie at a sector of the file. */
static bool file_holds(struct block_protocol *p, const uint8_t *wanted)
{
    uint8_t sector[512];
    int64_t size = p->ops->size(p);
    for (int64_t at = 0; at < size; at += 512)
        if (block_protocol_pread(p, (uint64_t)at, sector, sizeof(sector)) || !memcmp(sector, wanted, sizeof(sector)))
            return true;
    return false;
}

/* A running machine's commit opens the image below once more: with the same secrets. */
static void commit_test(const char *format, uint64_t *rng)
{
    static uint8_t data[DISK], found[DISK];
    struct block_option_value item[4];
    struct block_option_set set = options_of(format, "0", item);
    const struct block_create_options c = { .filename = "base.x", .format = format, .size_bytes = DISK, .options = &set,
                                            .objects = &objects, .force = true };
    struct error err = { 0 };
    check(!block_create(&c, &err), "%s: create: %s", format, err.text);
    set.count = 1;
    const struct block_open_options o = { .filename = "base.x", .format = format, .options = &set, .objects = &objects };
    struct block_open_options over = o;
    over.snapshot = true;
    struct block_node *n = open_image(&over);
    rng_fill(rng, data, sizeof(data));
    check(!block_pwrite(n, 0, data, DISK) && !block_flush_sync(n), "%s: write", format);
    check(!file_holds(n->file, data + 4096), "%s: the temporary image shows what was written", format);
    check(!block_commit(n, &err), "%s: commit: %s", format, err.text);
    check(!block_pread(n, 0, found, DISK) && !memcmp(found, data, DISK), "%s: the disk after commit", format);
    block_close(n);
    n = open_image(&o);
    check(!block_pread(n, 0, found, DISK) && !memcmp(found, data, DISK), "%s: the image after commit", format);
    block_close(n);
}

int main(int argc, char **argv)
{
    uint64_t seed = argc > 1 ? strtoull(argv[1], NULL, 0) : 4711, rng = seed;
    unsigned cuts = argc > 2 ? (unsigned)atoi(argv[2]) : 60;
    static const char *const formats[] = { "luks", "qcow2" };
    loop_init();
    test_directory_enter();
    for (size_t k = 0; k < ARRAY_SIZE(formats); k++) {
        size_t length;
        uint8_t *image = image_make(formats[k], &length);
        size_t at = luks_place(formats[k], image, length);
        for (size_t i = 0; i < ARRAY_SIZE(fields); i++)
            field_test(formats[k], image, length, at, &fields[i]);
        for (size_t i = 0; k && i < ARRAY_SIZE(extension_fields); i++)
            field_test(formats[k], image, length, 0, &extension_fields[i]);
        damage_test(formats[k], image, length, &rng);
        requests_test(formats[k], image, length, &rng);
        if (!k)
            slots_test(image, length);
        for (unsigned i = 0; k && i < cuts; i++)
            cut_test(image, length, &rng);
        commit_test(formats[k], &rng);
        free(image);
    }
    return report("block/crypt", seed);
}
