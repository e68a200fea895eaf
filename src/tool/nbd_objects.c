/* SPDX-License-Identifier: GPL-2.0-or-later */
/* --object of 'ospite nbd': TLS credentials, the secret that opens a private key, and who is let in. */
#include <errno.h>
#include <fcntl.h>
#include <gnutls/gnutls.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/bits.h"
#include "base/error.h"
#include "block/nbd_tls.h"
#include "tool/nbd_options.h"

enum { SECRET_MAX = 4096 };

static const struct kind {
    const char *type;
    bool is_tls;
    enum nbd_tls_kind tls;
    struct option_key keys[9];
} kinds[] = {
    { "tls-creds-x509", true, NBD_TLS_X509, { { .name = "qom-type" }, { .name = "id" }, { .name = "dir" },
      { .name = "endpoint" }, { .name = "verify-peer" }, { .name = "priority" }, { .name = "passwordid" },
      { .name = "sanity-check" }, { .name = NULL } } },
    { "tls-creds-psk", true, NBD_TLS_PSK, { { .name = "qom-type" }, { .name = "id" }, { .name = "dir" },
      { .name = "endpoint" }, { .name = "verify-peer" }, { .name = "priority" }, { .name = "username" },
      { .name = NULL } } },
    { "tls-creds-anon", true, NBD_TLS_ANONYMOUS, { { .name = "qom-type" }, { .name = "id" }, { .name = "endpoint" },
      { .name = "verify-peer" }, { .name = "priority" }, { .name = NULL } } },
    { "secret", false, 0, { { .name = "qom-type" }, { .name = "id" }, { .name = "data" }, { .name = "file" },
      { .name = "format" }, { "keyid", NULL, "encrypted secrets are not supported; use file= with a file that only you "
      "can read" }, { .name = NULL } } },
    { "authz-simple", false, 0, { { .name = "qom-type" }, { .name = "id" }, { .name = "identity" }, { .name = NULL } } },
};

static const struct kind *kind_find(const char *type)
{
    for (size_t i = 0; i < ARRAY_SIZE(kinds); i++)
        if (!strcmp(kinds[i].type, type))
            return &kinds[i];
    return NULL;
}

static const struct nbd_object *object_find(const struct nbd_tool *t, const char *id)
{
    for (unsigned i = 0; i < t->objects; i++)
        if (!strcmp(t->object[i].id, id))
            return &t->object[i];
    return NULL;
}

int nbd_objects_check(const struct nbd_tool *t, struct error *err)
{
    for (unsigned i = 0; i < t->objects; i++) {
        const struct nbd_object *o = &t->object[i];
        const struct kind *k = kind_find(o->type);
        char what[64];
        if (!k)
            return error_set(err, "--object: unknown type '%s'; known are tls-creds-x509, tls-creds-psk, tls-creds-anon, "
                             "secret, authz-simple", o->type);
        snprintf(what, sizeof(what), "--object %s", o->type);
        if (option_list_apply(&o->list, what, k->keys, NULL, err))
            return -1;
        if (object_find(t, o->id) != o)
            return error_set(err, "--object: two have the id '%s'", o->id);
    }
    return 0;
}

static int base64_decode(const char *text, size_t length, char *out, size_t room, struct error *err)
{
    const gnutls_datum_t in = { (unsigned char *)(uintptr_t)text, (unsigned)length };
    gnutls_datum_t decoded;
    if (gnutls_base64_decode2(&in, &decoded) < 0)
        return error_set(err, "--object secret: the data are not base64");
    bool fits = decoded.size < room;
    if (fits) {
        memcpy(out, decoded.data, decoded.size);
        out[decoded.size] = 0;
    }
    gnutls_free(decoded.data);
    return fits ? 0 : error_set(err, "--object secret: it is longer than %d bytes", SECRET_MAX - 1);
}

static int secret_read(const struct nbd_object *o, char *out, size_t room, struct error *err)
{
    const char *data = option_list_get(&o->list, "data"), *file = option_list_get(&o->list, "file");
    const char *format = option_list_get(&o->list, "format");
    char text[SECRET_MAX];
    if (!data == !file)
        return error_set(err, "--object secret: write data= or file=, one of them");
    if (format && strcmp(format, "raw") && strcmp(format, "base64"))
        return error_set(err, "--object secret: format is raw or base64, not '%s'", format);
    if (file) {
        int fd = open(file, O_RDONLY | O_CLOEXEC);
        ssize_t n = fd < 0 ? -1 : read(fd, text, sizeof(text) - 1);
        int why = errno;
        if (fd >= 0)
            close(fd);
        if (n < 0)
            return error_set(err, "--object secret: cannot read '%s': %s", file, strerror(why));
        text[n] = 0;
        data = text;
    }
    if (format && !strcmp(format, "base64"))
        return base64_decode(data, strlen(data), out, room, err);
    if (strlen(data) >= room)
        return error_set(err, "--object secret: it is longer than %d bytes", SECRET_MAX - 1);
    strcpy(out, data);
    return 0;
}

int nbd_objects_secret(const struct nbd_tool *t, const char *id, char **data, size_t *length, struct error *err)
{
    const struct nbd_object *o = object_find(t, id);
    if (!o || strcmp(o->type, "secret"))
        return error_set(err, "no --object secret has the id '%s'", id);
    *data = calloc(1, SECRET_MAX);
    if (!*data)
        return error_set(err, "out of memory");
    if (secret_read(o, *data, SECRET_MAX, err)) {
        free(*data);
        return -1;
    }
    *length = strlen(*data);
    return 0;
}

static int identity_find(const struct nbd_tool *t, const char **identity, struct error *err)
{
    const struct nbd_object *o = object_find(t, t->tls_authz);
    if (!o || strcmp(o->type, "authz-simple"))
        return error_set(err, "--tls-authz: no --object authz-simple has the id '%s'", t->tls_authz);
    *identity = option_list_get(&o->list, "identity");
    return *identity ? 0 : error_set(err, "--object authz-simple: identity= is missing");
}

static int password_find(const struct nbd_tool *t, const struct nbd_object *o, char *out, const char **password,
                         struct error *err)
{
    const char *id = option_list_get(&o->list, "passwordid");
    if (!id)
        return 0;
    const struct nbd_object *secret = object_find(t, id);
    if (!secret || strcmp(secret->type, "secret"))
        return error_set(err, "--object %s: no --object secret has the id '%s'", o->type, id);
    *password = out;
    return secret_read(secret, out, SECRET_MAX, err);
}

int nbd_objects_tls(const struct nbd_tool *t, bool server, struct nbd_tls **tls, struct error *err)
{
    static const char *const endpoints[] = { "client", "server", NULL };
    char password[SECRET_MAX];
    *tls = NULL;
    if (!t->tls_creds)
        return 0;
    const struct nbd_object *o = object_find(t, t->tls_creds);
    const struct kind *k = o ? kind_find(o->type) : NULL;
    if (!k || !k->is_tls)
        return error_set(err, "--tls-creds: no --object tls-creds-... has the id '%s'", t->tls_creds);
    struct nbd_tls_options n = { .kind = k->tls, .server = server, .verify_peer = true,
        .directory = option_list_get(&o->list, "dir"), .username = option_list_get(&o->list, "username"),
        .priority = option_list_get(&o->list, "priority") };
    const char *verify = option_list_get(&o->list, "verify-peer"), *end = option_list_get(&o->list, "endpoint");
    unsigned endpoint = 0;
    if (verify && value_bool("verify-peer", verify, &n.verify_peer, err))
        return -1;
    if (end && value_choice("endpoint", end, endpoints, &endpoint, err))
        return -1;
    if ((endpoint == 1) != server)
        return error_set(err, "--tls-creds: '%s' has endpoint=%s; a %s needs endpoint=%s", t->tls_creds,
                         endpoints[endpoint], endpoints[server], endpoints[server]);
    if (t->tls_authz && identity_find(t, &n.identity, err))
        return -1;
    if (n.identity && (n.kind != NBD_TLS_X509 || !n.verify_peer))
        return error_set(err, "--tls-authz needs tls-creds-x509 with verify-peer=on");
    if (password_find(t, o, password, &n.password, err))
        return -1;
    *tls = nbd_tls_new(&n, err);
    return *tls ? 0 : -1;
}
