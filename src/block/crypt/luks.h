/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The header of LUKS 1: how a disk is encrypted, and eight slots that each hold its key, encrypted with a passphrase. The
 * same in a LUKS image and inside of a qcow2 image.
 */
#ifndef BLOCK_CRYPT_LUKS_H
#define BLOCK_CRYPT_LUKS_H

#include <jansson.h>

#include "base/bits.h"
#include "block/crypt/cipher.h"
#include "block/image.h"

enum { LUKS_SLOTS = 8, LUKS_DIGEST_BYTES = 20, LUKS_SALT_BYTES = 32, LUKS_STRIPES = 4000 };
#define LUKS_MAGIC "LUKS\xba\xbe"
#define LUKS_ACTIVE 0x00ac71f3u
#define LUKS_INACTIVE 0x0000deadu
/* Of one slot, and of all that a wrong passphrase is tried with: more than headers have, little enough to be waited for. */
#define LUKS_ITERATIONS_MAX (1u << 26)
#define LUKS_WORK_MAX (1u << 28)

struct luks_raw_slot {
    be32 active, iterations;
    uint8_t salt[LUKS_SALT_BYTES];
    be32 offset_sectors, stripes;
} __attribute__((packed));

struct luks_raw {
    char magic[6];
    be16 version;
    char cipher[32], mode[32], hash[32];
    be32 payload_sectors, key_bytes;
    uint8_t digest[LUKS_DIGEST_BYTES], digest_salt[LUKS_SALT_BYTES];
    be32 digest_iterations;
    char uuid[40];
    struct luks_raw_slot slot[LUKS_SLOTS];
} __attribute__((packed));
_Static_assert(sizeof(struct luks_raw) == 592, "LUKS header");

struct luks {
    struct block_protocol *file;
    uint64_t at;                    /* where in the file the header lies; its offsets count from there */
    struct luks_raw raw;
    struct crypt_kind kind;
    unsigned hash;
    size_t key_bytes;
    uint64_t payload_bytes;         /* where the disk begins */
    uint8_t *key;                   /* crypt_memory; NULL: locked */
    struct crypt_cipher *cipher;    /* of the disk; NULL: locked */
};

/* luks_header.c. Reads and checks; room: bytes that it may take, with all slots. NULL with *err. */
struct luks *luks_open(struct block_protocol *file, uint64_t at, uint64_t room, struct error *err);
void luks_close(struct luks *l);
bool luks_slot_is_active(const struct luks *l, unsigned slot);
uint64_t luks_slot_offset(const struct luks *l, unsigned slot);
uint64_t luks_slot_bytes(const struct luks *l);
/* Iterations until a wrong passphrase is known to be wrong. */
uint64_t luks_work(const struct luks *l);
/* The keys that 'info --output=json' of qemu-img has. */
json_t *luks_info(const struct luks *l);

/* luks_key.c. Finds the slot that the passphrase opens (*slot may be NULL). */
int luks_unlock(struct luks *l, const uint8_t *passphrase, size_t length, unsigned *slot, struct error *err);
/* Whether it opens this slot: 1, 0, -1 with *err. */
int luks_slot_try(struct luks *l, unsigned slot, const uint8_t *passphrase, size_t length, uint8_t *key, struct error *err);
/* Encrypts the key with a passphrase and writes it to where the slot's key material lies; *raw: what the header is to say. */
int luks_slot_fill(struct luks *l, unsigned slot, const uint8_t *passphrase, size_t length, uint64_t iter_ms,
                   struct luks_raw_slot *raw, struct error *err);
/* The slot is empty on the disk, its key material overwritten. */
int luks_slot_erase(struct luks *l, unsigned slot, struct error *err);
int luks_slot_write(struct luks *l, unsigned slot, const struct luks_raw_slot *raw, struct error *err);

/* af.c: the anti-forensic splitter. key has bytes, material LUKS_STRIPES times as many. 0 or -errno. */
int luks_af_split(unsigned hash, const uint8_t *key, size_t bytes, uint8_t *material);
int luks_af_merge(unsigned hash, const uint8_t *material, size_t bytes, uint8_t *key);

/* luks_create.c */
struct luks_options {
    struct crypt_kind kind;
    unsigned hash;
    uint64_t iter_ms;
    const uint8_t *passphrase;
    size_t passphrase_bytes;
};
/* Rows of a format's table of options; prefix "" or "encrypt.", as a literal. */
#define LUKS_CREATE_ROWS(prefix) \
    { prefix "cipher-alg", BLOCK_OPTION_TEXT, "Name of encryption cipher algorithm", "aes-256", false }, \
    { prefix "cipher-mode", BLOCK_OPTION_TEXT, "Name of encryption cipher mode", "xts", false }, \
    { prefix "hash-alg", BLOCK_OPTION_TEXT, "Name of encryption hash algorithm", "sha256", false }, \
    { prefix "iter-time", BLOCK_OPTION_NUMBER, "Time to spend in PBKDF in milliseconds", "2000", true }, \
    { prefix "ivgen-alg", BLOCK_OPTION_TEXT, "Name of IV generator algorithm", "plain64", false }, \
    { prefix "ivgen-hash-alg", BLOCK_OPTION_TEXT, "Name of IV generator hash algorithm", NULL, false }
#define LUKS_AMEND_ROWS(prefix) \
    { prefix "keyslot", BLOCK_OPTION_NUMBER, "Select a single keyslot to modify explicitly", NULL, true }, \
    { prefix "new-secret", BLOCK_OPTION_TEXT, "New secret to set in the matching keyslots", NULL, true }, \
    { prefix "old-secret", BLOCK_OPTION_TEXT, "Select all keyslots that match this password", NULL, true }, \
    { prefix "state", BLOCK_OPTION_TEXT, "Select new state of affected keyslots (active, inactive)", NULL, true }
/* Checks all, the secret too. objects: where secrets are. */
int luks_options_read(const struct block_option_set *set, const char *prefix, const struct block_objects *objects,
                      struct luks_options *o, struct error *err);
/* Bytes of header and slots, a multiple of 4096. */
uint64_t luks_header_bytes(const struct luks_options *o);
/* Writes it all to a place that holds nothing; the header comes last. */
int luks_create(struct block_protocol *file, uint64_t at, const struct luks_options *o, struct error *err);

/* luks_amend.c: adds or erases slots. l is unlocked. prefix as above; changes without such keys are fine. */
int luks_amend(struct luks *l, const struct block_option_set *changes, const char *prefix,
               const struct block_objects *objects, bool force, struct error *err);
/* The passphrase that options name: 1 found, 0 none named, -1 with *err. */
int luks_secret_find(const struct block_option_set *set, const char *prefix, const char *key,
                     const struct block_objects *objects, const uint8_t **passphrase, size_t *length, struct error *err);

#endif
