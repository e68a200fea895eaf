/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Encrypted images. The disk's data are encrypted by sectors, metadata are not, compressed clusters neither. With LUKS a
 * header extension says in which clusters the LUKS header lies; the number of a sector is that of its place in the file.
 * QEMU's old way ("aes": AES-128-CBC with the passphrase itself as the key, sectors numbered as on the disk) is only read.
 */
#include "block/qcow2/crypt.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

enum { AES_KEY_BYTES = 16 };
#define HEADER_MAX_BYTES (64u << 20)

const struct block_option qcow2_open_options[] = {
    { "encrypt.format", BLOCK_OPTION_TEXT, "How it is encrypted: luks or aes", NULL, false },
    { "encrypt.key-secret", BLOCK_OPTION_TEXT, "ID of the secret that provides the passphrase", NULL, false },
    /* For QEMU's caches of tables, which are as large as they have to be here. */
    { "cache-size", BLOCK_OPTION_SIZE, "Taken, and changes nothing", NULL, false },
    { "l2-cache-size", BLOCK_OPTION_SIZE, "Likewise", NULL, false },
    { "refcount-cache-size", BLOCK_OPTION_SIZE, "Likewise", NULL, false },
    { "cache-clean-interval", BLOCK_OPTION_NUMBER, "Likewise", NULL, false },
    { .name = NULL },
};

static int place_check(const struct qcow2 *q, struct error *err)
{
    int64_t end = q->file->ops->size(q->file);
    if (!q->crypt_offset || !q->crypt_bytes)
        return error_set(err, "it is encrypted with LUKS, but its header extension that says where the keys are is missing");
    if (q->crypt_offset & (q->cluster_size - 1) || q->crypt_offset >= QCOW2_HOST_MAX)
        return error_set(err, "the offset of its LUKS header is not that of a cluster");
    if (q->crypt_bytes < sizeof(struct luks_raw) || q->crypt_bytes > HEADER_MAX_BYTES)
        return error_set(err, "its LUKS header is %llu bytes long, %zu to %u are supported", (unsigned long long)q->crypt_bytes,
                         sizeof(struct luks_raw), HEADER_MAX_BYTES);
    if (end < 0 || q->crypt_offset >= (uint64_t)end ||
        q->crypt_bytes > ALIGN_UP((uint64_t)end, q->cluster_size) - q->crypt_offset)
        return error_set(err, "its LUKS header lies past the end of the file");
    return 0;
}

static int aes_unlock(struct qcow2 *q, const uint8_t *passphrase, size_t length)
{
    const struct crypt_kind k = { .cipher = (unsigned)crypt_cipher_find("aes-128"), .mode = CRYPT_CBC, .ivgen = CRYPT_PLAIN64 };
    uint8_t key[AES_KEY_BYTES] = { 0 };
    memcpy(key, passphrase, MIN(length, sizeof(key)));
    q->aes = crypt_cipher_new(&k, key);
    explicit_bzero(key, sizeof(key));
    q->cipher = q->aes;
    return q->aes ? 0 : -ENOMEM;
}

static int unlock(struct qcow2 *q, struct error *err)
{
    const struct block_open_options *o = q->node->opening;
    const uint8_t *passphrase;
    size_t length;
    int r = luks_secret_find(o->options, "encrypt.", "key-secret", o->objects, &passphrase, &length, err);
    if (!r && !o->no_key)
        return error_set(err, "it is encrypted: make an object secret,id=ID,file=PATH and name it with encrypt.key-secret=ID");
    if (r <= 0)
        return r;
    if (!q->luks)
        return aes_unlock(q, passphrase, length) ? error_set(err, "out of memory") : 0;
    if (luks_unlock(q->luks, passphrase, length, NULL, err))
        return -1;
    q->cipher = q->luks->cipher;
    return 0;
}

static int options_check(const struct qcow2 *q, struct error *err)
{
    static const char *const methods[] = { "aes", "luks", NULL };
    const struct block_option_set *set = q->node->opening->options;
    unsigned wanted = q->crypt_method == QCOW2_CRYPT_AES ? 0 : 1, is = wanted;
    if (!q->crypt_method && (block_option_get(set, "encrypt.format") || block_option_get(set, "encrypt.key-secret")))
        return error_set(err, "it is not encrypted; leave out encrypt.*");
    if (block_option_choice(set, "encrypt.format", methods, &wanted, err))
        return -1;
    return wanted == is ? 0 : error_set(err, "it is encrypted with format %s, not %s", methods[is], methods[wanted]);
}

int qcow2_crypt_open(struct qcow2 *q, struct error *err)
{
    if (q->crypt_method > QCOW2_CRYPT_LUKS)
        return error_set(err, "its encryption method %u is not known", q->crypt_method);
    if (options_check(q, err))
        return -1;
    if (!q->crypt_method)
        return 0;
    if (q->crypt_method == QCOW2_CRYPT_LUKS) {
        if (place_check(q, err))
            return -1;
        q->luks = luks_open(q->file, q->crypt_offset, q->crypt_bytes, err);
        if (!q->luks)
            return -1;
    } else if (!q->node->readonly && !q->node->opening->no_key) {
        return error_set(err, "it is encrypted in QEMU's old way (encrypt.format=aes), which is not safe and only read here: "
                         "use readonly=on, or convert it with -o encrypt.format=luks");
    }
    if (unlock(q, err))
        return -1;
    if (q->cipher)
        block_node_key_note(q->node, block_option_get(q->node->opening->options, "encrypt.key-secret"));
    return 0;
}

int qcow2_crypt_temporary(struct qcow2 *q)
{
    const struct crypt_kind k = { .cipher = (unsigned)crypt_cipher_find("aes-256"), .mode = CRYPT_XTS, .ivgen = CRYPT_PLAIN64 };
    uint8_t key[CRYPT_KEY_MAX_BYTES];
    int r = crypt_random(key, sizeof(key));
    if (r)
        return r;
    q->cipher = q->temporary = crypt_cipher_new(&k, key);
    q->crypt_method = QCOW2_CRYPT_LUKS;
    explicit_bzero(key, sizeof(key));
    return q->cipher ? 0 : -ENOMEM;
}

void qcow2_crypt_close(struct qcow2 *q)
{
    crypt_cipher_free(q->temporary);
    crypt_cipher_free(q->aes);
    luks_close(q->luks);
}

static uint64_t sector_of(const struct qcow2 *q, uint64_t host, uint64_t guest)
{
    return (q->aes ? guest : host) / CRYPT_SECTOR_BYTES;
}

int qcow2_data_preadv(struct qcow2 *q, uint64_t host, uint64_t guest, const struct iovec *iov, int iovcnt)
{
    if (!q->crypt_method)
        return q->data->ops->preadv(q->data, host, iov, iovcnt);
    return q->cipher ? crypt_preadv(q->cipher, q->data, host, sector_of(q, host, guest), iov, iovcnt) : -EACCES;
}

int qcow2_data_pwritev(struct qcow2 *q, uint64_t host, uint64_t guest, const struct iovec *iov, int iovcnt)
{
    if (!q->crypt_method)
        return q->data->ops->pwritev(q->data, host, iov, iovcnt);
    return q->cipher ? crypt_pwritev(q->cipher, q->data, host, sector_of(q, host, guest), iov, iovcnt) : -EACCES;
}

json_t *qcow2_crypt_info(const struct qcow2 *q)
{
    json_t *o = q->luks ? luks_info(q->luks) : json_object();
    json_object_set_new(o, "format", json_string(q->luks ? "luks" : "aes"));
    return o;
}

int qcow2_crypt_create_read(const struct block_create_options *o, struct qcow2_create_options *q, struct error *err)
{
    static const char *const methods[] = { "aes", "luks", NULL };
    unsigned method = 1;
    bool old = false;
    if (block_option_choice(o->options, "encrypt.format", methods, &method, err) ||
        block_option_bool(o->options, "encryption", &old, err))
        return -1;
    if (old || !method)
        return error_set(err, "encryption with AES-128-CBC and the passphrase as key (%s) is not safe and only read here; use "
                         "encrypt.format=luks", old ? "encryption=on" : "encrypt.format=aes");
    for (unsigned i = 0; !block_option_get(o->options, "encrypt.format") && o->options && i < o->options->count; i++)
        if (!strncmp(o->options->item[i].key, "encrypt.", 8))
            return error_set(err, "%s needs encrypt.format=luks", o->options->item[i].key);
    q->encrypted = block_option_get(o->options, "encrypt.format");
    return q->encrypted ? luks_options_read(o->options, "encrypt.", o->objects, &q->luks, err) : 0;
}
