/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Secrets are read when somebody asks for one, into memory that no core dump shows. A file counts with all its bytes, a line
 * end at its end too, as in QEMU.
 */
#include "tool/secrets.h"

#include <errno.h>
#include <fcntl.h>
#include <gnutls/gnutls.h>
#include <string.h>
#include <unistd.h>

#include "base/bits.h"
#include "base/error.h"
#include "block/crypt/memory.h"

enum { SECRET_BYTES = 64 << 10 };

const struct option_key secret_keys[] = {
    { .name = "qom-type" }, { .name = "id" }, { .name = "data" }, { .name = "file" }, { .name = "format" },
    { "keyid", NULL, "encrypted secrets are not supported; use file= with a file that only you can read" },
    { "iv", NULL, "encrypted secrets are not supported; use file= with a file that only you can read" },
    { .name = NULL },
};

static int find(const struct secrets *s, const char *id)
{
    for (unsigned i = 0; i < s->count; i++)
        if (!strcmp(s->item[i].id, id))
            return (int)i;
    return -1;
}

static const uint8_t *interface_get(const struct block_objects *o, const char *id, size_t *length, struct error *err)
{
    return secrets_get(container_of((struct block_objects *)(uintptr_t)o, struct secrets, interface), id, length, err);
}

int secrets_add(struct secrets *s, const struct option_list *l, struct error *err)
{
    const char *id = option_list_get(l, "id"), *format = option_list_get(l, "format");
    const char *data = option_list_get(l, "data"), *file = option_list_get(l, "file");
    if (!id)
        return error_set(err, "--object secret: id=NAME is missing");
    if (find(s, id) >= 0)
        return error_set(err, "--object: two have the id '%s'", id);
    if (s->count == SECRETS_MAX)
        return error_set(err, "--object: more than %d secrets", SECRETS_MAX);
    if (!data == !file)
        return error_set(err, "--object secret: write data= or file=, one of them");
    if (format && strcmp(format, "raw") && strcmp(format, "base64"))
        return error_set(err, "--object secret: format is raw or base64, not '%s'", format);
    s->interface.secret = interface_get;
    s->item[s->count].id = id;
    s->item[s->count].data = data;
    s->item[s->count].file = file;
    s->item[s->count++].format = format;
    return 0;
}

static int file_read(const char *file, uint8_t *out, size_t *length, struct error *err)
{
    int fd = open(file, O_RDONLY | O_CLOEXEC);
    ssize_t n = fd < 0 ? -1 : 0;
    for (*length = 0; fd >= 0 && *length < SECRET_BYTES && (n = read(fd, out + *length, SECRET_BYTES - *length)) > 0;)
        *length += (size_t)n;
    int why = errno;
    if (fd >= 0)
        close(fd);
    if (n < 0)
        return error_set(err, "--object secret: cannot read '%s': %s", file, strerror(why));
    return *length < SECRET_BYTES ? 0 : error_set(err, "--object secret: '%s' is longer than %d bytes", file, SECRET_BYTES - 1);
}

static int base64_decode(uint8_t *bytes, size_t *length, struct error *err)
{
    const gnutls_datum_t in = { bytes, (unsigned)*length };
    gnutls_datum_t decoded;
    if (gnutls_base64_decode2(&in, &decoded) < 0)
        return error_set(err, "--object secret: the data are not base64");
    explicit_bzero(bytes, *length);
    memcpy(bytes, decoded.data, decoded.size);      /* never longer */
    *length = decoded.size;
    explicit_bzero(decoded.data, decoded.size);
    gnutls_free(decoded.data);
    return 0;
}

static int load(struct secrets *s, unsigned i, uint8_t *bytes, size_t *length, struct error *err)
{
    const char *data = s->item[i].data, *format = s->item[i].format;
    if (s->item[i].file && file_read(s->item[i].file, bytes, length, err))
        return -1;
    if (data) {
        *length = strlen(data);
        if (*length >= SECRET_BYTES)
            return error_set(err, "--object secret: it is longer than %d bytes", SECRET_BYTES - 1);
        memcpy(bytes, data, *length);
    }
    if (format && !strcmp(format, "base64") && base64_decode(bytes, length, err))
        return -1;
    bytes[*length] = 0;
    return 0;
}

const uint8_t *secrets_get(struct secrets *s, const char *id, size_t *length, struct error *err)
{
    int i = find(s, id);
    if (i < 0) {
        error_set(err, "no secret has the id '%s'; add --object secret,id=%s,file=PATH", id, id);
        return NULL;
    }
    if (!s->item[i].bytes) {
        uint8_t *bytes = crypt_memory_new(SECRET_BYTES);
        if (!bytes || load(s, (unsigned)i, bytes, &s->item[i].length, err)) {
            if (!bytes)
                error_set(err, "out of memory");
            crypt_memory_free(bytes, SECRET_BYTES);
            return NULL;
        }
        s->item[i].bytes = bytes;
    }
    *length = s->item[i].length;
    return s->item[i].bytes;
}

const struct block_objects *secrets_objects(struct secrets *s)
{
    return s->count ? &s->interface : NULL;
}

bool secrets_has(const struct secrets *s, const char *id)
{
    return find(s, id) >= 0;
}

void secrets_remove(struct secrets *s, const char *id)
{
    int i = find(s, id);
    crypt_memory_free(s->item[i].bytes, SECRET_BYTES);
    s->item[i] = s->item[--s->count];
}

void secrets_free(struct secrets *s)
{
    for (unsigned i = 0; i < s->count; i++)
        crypt_memory_free(s->item[i].bytes, SECRET_BYTES);
    s->count = 0;
}
