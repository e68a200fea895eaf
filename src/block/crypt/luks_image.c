/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The format luks: a LUKS header, then the disk, encrypted. A sector's number counts from where the disk begins. Nothing
 * tells what was never written: new images read as noise until they are filled.
 */
#include "block/crypt/luks.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/error.h"
#include "block/block_private.h"

enum { ZERO_CHUNK_BYTES = 256 << 10 };

static bool luks_probe(const uint8_t *head, size_t length)
{
    return length >= 6 && !memcmp(head, LUKS_MAGIC, 6);
}

static int image_unlock(struct block_node *n, struct luks *l, struct error *err)
{
    const uint8_t *passphrase;
    size_t length;
    int r = luks_secret_find(n->opening->options, "", "key-secret", n->opening->objects, &passphrase, &length, err);
    if (r > 0)
        return luks_unlock(l, passphrase, length, NULL, err);
    if (r < 0 || n->opening->no_key)
        return r;
    return error_set(err, "it is encrypted: make an object secret,id=ID,file=PATH and name it with key-secret=ID (or give "
                     "format=raw, if the guest is to decrypt it)");
}

static int luks_image_open(struct block_node *n, struct error *err)
{
    int64_t size = n->file->ops->size(n->file);
    if (size < 0)
        return error_set(err, "cannot open '%s': its size cannot be read: %s", n->filename, strerror((int)-size));
    struct luks *l = luks_open(n->file, 0, (uint64_t)size, err);
    if (!l || image_unlock(n, l, err)) {
        luks_close(l);
        return error_prefix(err, "cannot open '%s'", n->filename);
    }
    n->state = l;
    block_node_key_note(n, block_option_get(n->opening->options, "key-secret"));
    n->size = ALIGN_DOWN((uint64_t)size - l->payload_bytes, 512ull);
    return 0;
}

static void luks_image_close(struct block_node *n)
{
    luks_close(n->state);
}

static int luks_preadv(struct block_node *n, uint64_t offset, const struct iovec *iov, int iovcnt)
{
    const struct luks *l = n->state;
    return l->cipher ? crypt_preadv(l->cipher, n->file, l->payload_bytes + offset, offset / CRYPT_SECTOR_BYTES, iov, iovcnt)
                     : -EACCES;
}

static int luks_pwritev(struct block_node *n, uint64_t offset, const struct iovec *iov, int iovcnt)
{
    const struct luks *l = n->state;
    return l->cipher ? crypt_pwritev(l->cipher, n->file, l->payload_bytes + offset, offset / CRYPT_SECTOR_BYTES, iov, iovcnt)
                     : -EACCES;
}

static int luks_flush(struct block_node *n)
{
    return block_protocol_flush(n->file);
}

/* Discarded sectors may hold anything; giving them back would show where nothing is. */
static int luks_discard(struct block_node *n, uint64_t offset, uint64_t length)
{
    return 0;
}

static int luks_write_zeroes(struct block_node *n, uint64_t offset, uint64_t length, bool may_unmap)
{
    size_t chunk = MIN(length, (uint64_t)ZERO_CHUNK_BYTES);
    uint8_t *zeroes = calloc(1, chunk);
    int r = zeroes ? 0 : -ENOMEM;
    for (uint64_t done = 0; !r && done < length; done += chunk) {
        struct iovec iov = { zeroes, MIN((uint64_t)chunk, length - done) };
        r = luks_pwritev(n, offset + done, &iov, 1);
    }
    free(zeroes);
    return r;
}

static const struct block_option open_options[] = {
    { "key-secret", BLOCK_OPTION_TEXT, "ID of the secret that provides the passphrase", NULL, false },
    { .name = NULL },
};
static const struct block_option create_options[] = {
    LUKS_CREATE_ROWS(""),
    { "key-secret", BLOCK_OPTION_TEXT, "ID of the secret that provides the keyslot passphrase", NULL, false },
    { "size", BLOCK_OPTION_SIZE, "Virtual disk size", NULL, false },
    { .name = NULL },
};
static const struct block_option amend_options[] = { LUKS_AMEND_ROWS(""), { .name = NULL } };

static int luks_create_check(const struct block_create_options *o, struct error *err)
{
    struct luks_options l;
    if (o->size_bytes > BIT(62))
        return error_set(err, "a LUKS image holds at most 4 EiB");
    return luks_options_read(o->options, "", o->objects, &l, err);
}

static int luks_image_create(struct block_protocol *file, const struct block_create_options *o, struct error *err)
{
    struct luks_options l;
    if (luks_options_read(o->options, "", o->objects, &l, err))
        return -1;
    uint64_t end = luks_header_bytes(&l) + ALIGN_UP(o->size_bytes, 512ull);
    int r = file->ops->truncate ? file->ops->truncate(file, end, BLOCK_PREALLOCATION_OFF)
                                : block_protocol_write_zeroes(file, end - CRYPT_SECTOR_BYTES, CRYPT_SECTOR_BYTES, false);
    if (r)
        return error_set(err, "cannot make '%s' %llu bytes long: %s", file->filename, (unsigned long long)end, strerror(-r));
    return luks_create(file, 0, &l, err) ? error_prefix(err, "cannot make '%s'", file->filename) : 0;
}

static int luks_resize(struct block_node *n, uint64_t size, enum block_preallocation mode, struct error *err)
{
    const struct luks *l = n->state;
    if (mode == BLOCK_PREALLOCATION_METADATA)
        return error_set(err, "'%s': luks images have no metadata; use preallocation=falloc or full", n->filename);
    int r = n->file->ops->truncate ? n->file->ops->truncate(n->file, l->payload_bytes + size, mode) : -EOPNOTSUPP;
    if (r)
        return error_set(err, "cannot make the disk of '%s' %llu bytes long: %s", n->filename, (unsigned long long)size,
                         strerror(-r));
    n->size = size;
    return 0;
}

static int luks_measure(const struct block_create_options *o, struct block_node *source, struct block_measure *m,
                        struct error *err)
{
    struct luks_options l;
    if (luks_options_read(o->options, "", o->objects, &l, err))
        return -1;
    uint64_t size = luks_header_bytes(&l) + (source ? source->size : ALIGN_UP(o->size_bytes, 512ull));
    *m = (struct block_measure){ .required_bytes = size, .fully_allocated_bytes = size };
    return 0;
}

static int luks_image_info(struct block_node *n, struct block_info *info, struct error *err)
{
    info->encrypted = true;
    info->data = luks_info(n->state);
    return info->data ? 0 : error_set(err, "out of memory");
}

static int luks_image_amend(struct block_node *n, const struct block_option_set *changes, bool force,
                            struct block_progress *p, struct error *err)
{
    return luks_amend(n->state, changes, "", n->objects, force, err) ? error_prefix(err, "'%s'", n->filename) : 0;
}

const struct block_format block_format_luks = {
    .name = "luks", .probe = luks_probe, .open = luks_image_open, .close = luks_image_close, .preadv = luks_preadv,
    .pwritev = luks_pwritev, .flush = luks_flush, .discard = luks_discard, .write_zeroes = luks_write_zeroes,
    .create_options = create_options, .amend_options = amend_options, .open_options = open_options,
    .new_is_garbage = true, .create_check = luks_create_check, .create = luks_image_create, .measure = luks_measure,
    .resize = luks_resize, .info = luks_image_info, .amend = luks_image_amend,
};
