/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Fuzzing of LUKS headers: a script of two bytes, then an image in memory: a LUKS image, or a qcow2 image with LUKS in it. It is
 * opened without a passphrase, described, checked and read; a header that asks for little work is tried with a passphrase, and a
 * key is added to it and erased.
 *
 * 'fuzz-luks COUNT SEED' changes images of its own, '--seeds DIR' writes those, '--replay DIR' runs what is in a directory. Under
 * clang 'ninja fuzzer-luks' makes a libFuzzer program: 'fuzzer-luks -max_len=70000 CORPUS'.
 */
#include "base/bits.h"
#include "base/error.h"
#include "block/crypt/luks.h"
#include "block/fault.h"

#include <dirent.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { SCRIPT = 2, IMAGE_MAX = 1 << 20, LIMIT = 8 << 20, WORK_MAX = 1000, CORPUS_MAX = 4096 + 64000 + 512, QCOW2_LUKS_AT = 120 };

static const uint8_t *secret_get(const struct block_objects *o, const char *id, size_t *length, struct error *err)
{
    *length = 4;
    return (const uint8_t *)"pass";
}

static const struct block_objects objects = { .secret = secret_get };

/* Whoever opens an image says so with the secret's id; the work is the header's to ask for. */
static void unlock(struct block_protocol *p, bool changes, bool adds)
{
    const struct block_option_value add[] = { { "state", "active" }, { "new-secret", "0" }, { "iter-time", "1" } };
    const struct block_option_value erase[] = { { "state", "inactive" }, { "old-secret", "0" } };
    const struct block_option_set set = { adds ? add : erase, adds ? 3 : 2 };
    struct error err;
    struct luks *l = luks_open(p, 0, LIMIT, &err);
    uint8_t sector[CRYPT_SECTOR_BYTES] = { 0 };
    if (l && luks_work(l) <= WORK_MAX && !luks_unlock(l, (const uint8_t *)"pass", 4, NULL, &err)) {
        crypt_sectors(l->cipher, true, 3, sector, sizeof(sector));
        if (changes)                /* slow: how fast PBKDF2 is has to be measured */
            luks_amend(l, &set, "", &objects, true, &err);
    }
    luks_close(l);
}

static void look(struct block_node *n)
{
    static uint8_t data[65536];
    struct block_info info;
    struct block_check check = { 0 };
    struct error err;
    if (!block_info_get(n, &info, &err)) {
        char *text = json_dumps(info.data, 0);
        free(text);
        json_decref(info.data);
    }
    if (block_size_bytes(n) >= sizeof(data))
        block_pread(n, 0, data, sizeof(data));
    block_check(n, &check, &err);
}

int LLVMFuzzerTestOneInput(const uint8_t *input, size_t length);
int LLVMFuzzerTestOneInput(const uint8_t *input, size_t length)
{
    struct error err;
    if (length < SCRIPT + 8 || length > IMAGE_MAX)
        return 0;
    const struct block_format *f = block_format_probe(input + SCRIPT, length - SCRIPT);
    if (!f || (strcmp(f->name, "luks") && strcmp(f->name, "qcow2")))
        return 0;
    struct block_protocol *p = block_fault_open(input + SCRIPT, length - SCRIPT, LIMIT);
    if (p && !strcmp(f->name, "luks"))
        unlock(p, input[1] == 1, input[0] & 1);
    const struct block_open_options o = { .filename = "memory", .format = f->name, .readonly = input[0] & 2, .no_key = true,
                                          .no_backing = true, .for_check = input[0] & 4 };
    struct block_node *n = p ? block_node_open_over(p, &o, NULL, &err) : NULL;
    if (n)
        look(n);
    block_close(n);
    return 0;
}

#ifndef FUZZER
static uint64_t dice(uint64_t *state)
{
    uint64_t z = *state += 0x9e3779b97f4a7c15ull;
    z = (z ^ z >> 30) * 0xbf58476d1ce4e5b9ull;
    z = (z ^ z >> 27) * 0x94d049bb133111ebull;
    return z ^ z >> 31;
}

static const struct seed { const char *format, *cipher, *mode, *ivgen; } seeds[] = {
    { "luks", "aes-128", "cbc", "plain" }, { "luks", "aes-256", "xts", "plain64" }, { "luks", "serpent-256", "cbc", "essiv" },
    { "luks", "cast5-128", "cbc", "plain64" }, { "luks", "twofish-128", "xts", "plain64" }, { "qcow2", "aes-128", "cbc", "plain" },
};

/* The same key and passphrase with one iteration each: an input is to cost microseconds. */
static bool cheapen(uint8_t *image, size_t length, uint64_t at)
{
    struct error err;
    struct block_protocol *p = block_fault_open(image, length, LIMIT);
    struct luks *l = p ? luks_open(p, at, LIMIT, &err) : NULL;
    if (!l || luks_unlock(l, (const uint8_t *)"pass", 4, NULL, &err))
        return false;
    struct luks_raw h = l->raw;
    uint8_t key[CRYPT_KEY_MAX_BYTES], *material = calloc(1, luks_slot_bytes(l));
    h.digest_iterations = h.slot[0].iterations = be32_make(1);
    bool ok = !crypt_pbkdf2(l->hash, l->key, l->key_bytes, h.digest_salt, LUKS_SALT_BYTES, 1, h.digest, LUKS_DIGEST_BYTES) &&
              !crypt_pbkdf2(l->hash, "pass", 4, h.slot[0].salt, LUKS_SALT_BYTES, 1, key, l->key_bytes) &&
              !luks_af_split(l->hash, l->key, l->key_bytes, material);
    struct crypt_cipher *c = crypt_cipher_new(&l->kind, key);
    crypt_sectors(c, true, 0, material, luks_slot_bytes(l));
    memcpy(image + at, &h, sizeof(h));
    memcpy(image + at + luks_slot_offset(l, 0), material, luks_slot_bytes(l));
    crypt_cipher_free(c);
    free(material);
    luks_close(l);
    p->ops->close(p);
    return ok;
}

static uint8_t *seed_make(const struct seed *s, size_t *length)
{
    bool is_qcow2 = !strcmp(s->format, "qcow2");
    const struct block_option_value item[] = {
        { is_qcow2 ? "encrypt.cipher-alg" : "cipher-alg", s->cipher }, { is_qcow2 ? "encrypt.cipher-mode" : "cipher-mode", s->mode },
        { is_qcow2 ? "encrypt.ivgen-alg" : "ivgen-alg", s->ivgen }, { is_qcow2 ? "encrypt.iter-time" : "iter-time", "1" },
        { is_qcow2 ? "encrypt.key-secret" : "key-secret", "0" }, { "encrypt.format", "luks" }, { "cluster_size", "4k" },
    };
    const struct block_option_set set = { item, is_qcow2 ? 7 : 5 };
    const struct block_create_options c = { .filename = "memory", .format = s->format, .size_bytes = 65536, .options = &set,
                                            .objects = &objects };
    struct error err;
    void *image;
    struct block_protocol *p = block_fault_open(NULL, 0, LIMIT);
    if (!p || block_format_find(s->format)->create(p, &c, &err) || block_protocol_flush(p) ||
        block_fault_image(p, 0, &image, length))
        return NULL;
    p->ops->close(p);
    be64 at = { 0 };
    if (is_qcow2)
        memcpy(&at, (uint8_t *)image + QCOW2_LUKS_AT, sizeof(at));
    if (!cheapen(image, *length, be64_get(at)))
        return NULL;
    /* What follows the first slot's key material is left out: it reads as zeroes. */
    *length = MIN(*length, (size_t)(is_qcow2 ? 24576 : 140000));
    uint8_t *out = calloc(1, *length + SCRIPT);
    memcpy(out + SCRIPT, image, *length);
    free(image);
    *length += SCRIPT;
    return out;
}

static void change(uint64_t *rng, uint8_t *input, size_t length, bool is_qcow2)
{
    be64 luks = { 0 };
    if (is_qcow2)
        memcpy(&luks, input + SCRIPT + QCOW2_LUKS_AT, sizeof(luks));
    input[0] = (uint8_t)dice(rng);
    input[1] = (uint8_t)dice(rng);
    for (unsigned k = (unsigned)(dice(rng) % 5); k; k--) {
        size_t at = SCRIPT + (is_qcow2 && dice(rng) % 4 == 0 ? dice(rng) % 136 : be64_get(luks) + dice(rng) % sizeof(struct luks_raw));
        if (at + 4 > length)
            continue;
        uint32_t v = (uint32_t)dice(rng) >> dice(rng) % 32;
        if (dice(rng) & 1)
            input[at] ^= (uint8_t)(1u << dice(rng) % 8);
        else
            memcpy(input + at, &(be32){ be32_make(v).raw }, sizeof(v));
    }
}

static int replay(const char *name)
{
    static uint8_t input[IMAGE_MAX];
    FILE *f = fopen(name, "r");
    if (!f) {
        perror(name);
        return 1;
    }
    size_t n = fread(input, 1, sizeof(input), f);
    fclose(f);
    LLVMFuzzerTestOneInput(input, n);
    return 0;
}

static int directory_replay(const char *directory)
{
    DIR *d = opendir(directory);
    unsigned count = 0;
    if (!d) {
        perror(directory);
        return 1;
    }
    for (struct dirent *e; (e = readdir(d));) {
        char name[PATH_MAX];
        snprintf(name, sizeof(name), "%s/%s", directory, e->d_name);
        if (*e->d_name != '.' && replay(name))
            return 1;
        count += *e->d_name != '.';
    }
    closedir(d);
    printf("fuzz/luks: %u inputs of the corpus replayed\n", count);
    return !count;
}

static int seeds_write(const char *directory)
{
    for (size_t i = 0; i < ARRAY_SIZE(seeds); i++) {
        char name[512];
        size_t length = 0;
        uint8_t *s = seed_make(&seeds[i], &length);
        snprintf(name, sizeof(name), "%s/%s-%zu", directory, seeds[i].format, i);
        FILE *f = s ? fopen(name, "w") : NULL;
        if (!f || fwrite(s, MIN(length, (size_t)CORPUS_MAX), 1, f) != 1 || fclose(f))
            return 1;
        free(s);
    }
    return 0;
}

int main(int argc, char **argv)
{
    unsigned count = argc > 1 ? (unsigned)atoi(argv[1]) : 6000;
    uint64_t seed = argc > 2 ? strtoull(argv[2], NULL, 0) : 7, rng = seed;
    if (argc > 2 && !strcmp(argv[1], "--seeds"))
        return seeds_write(argv[2]);
    if (argc > 2 && !strcmp(argv[1], "--replay"))
        return directory_replay(argv[2]);
    stderr = fopen("/dev/null", "w");   /* the sanitizers' words still come through */
    for (size_t i = 0; i < ARRAY_SIZE(seeds); i++) {
        size_t length;
        uint8_t *s = seed_make(&seeds[i], &length), *input = s ? malloc(length) : NULL;
        if (!input) {
            printf("FAILED: seed image %zu\n", i);
            return 1;
        }
        for (unsigned k = 0; k < count / ARRAY_SIZE(seeds); k++) {
            memcpy(input, s, length);
            change(&rng, input, length, !strcmp(seeds[i].format, "qcow2"));
            LLVMFuzzerTestOneInput(input, length);
        }
        free(input);
        free(s);
    }
    printf("fuzz/luks: %u inputs, seed %llu\n", count, (unsigned long long)seed);
    return 0;
}
#endif
