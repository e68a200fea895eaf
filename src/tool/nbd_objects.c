/* SPDX-License-Identifier: GPL-2.0-or-later */
/* --object of 'ospite nbd': TLS credentials, the secret that opens a private key, and who is let in. */
#include <stdio.h>
#include <string.h>

#include "base/bits.h"
#include "base/error.h"
#include "block/nbd_tls.h"
#include "tool/nbd_options.h"

static const struct option_key x509_keys[] = {
    { .name = "qom-type" }, { .name = "id" }, { .name = "dir" }, { .name = "endpoint" }, { .name = "verify-peer" },
    { .name = "priority" }, { .name = "passwordid" }, { .name = "sanity-check" }, { .name = NULL },
};
static const struct option_key psk_keys[] = {
    { .name = "qom-type" }, { .name = "id" }, { .name = "dir" }, { .name = "endpoint" }, { .name = "verify-peer" },
    { .name = "priority" }, { .name = "username" }, { .name = NULL },
};
static const struct option_key anonymous_keys[] = {
    { .name = "qom-type" }, { .name = "id" }, { .name = "endpoint" }, { .name = "verify-peer" }, { .name = "priority" },
    { .name = NULL },
};
static const struct option_key authz_keys[] = {
    { .name = "qom-type" }, { .name = "id" }, { .name = "identity" }, { .name = NULL },
};

static const struct kind {
    const char *type;
    bool is_tls;
    enum nbd_tls_kind tls;
    const struct option_key *keys;
} kinds[] = {
    { "tls-creds-x509", true, NBD_TLS_X509, x509_keys }, { "tls-creds-psk", true, NBD_TLS_PSK, psk_keys },
    { "tls-creds-anon", true, NBD_TLS_ANONYMOUS, anonymous_keys }, { "secret", false, 0, secret_keys },
    { "authz-simple", false, 0, authz_keys },
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

int nbd_objects_check(struct nbd_tool *t, struct error *err)
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
        if (!strcmp(o->type, "secret") && secrets_add(&t->secrets, &o->list, err))
            return -1;
    }
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

static int password_find(struct nbd_tool *t, const struct nbd_object *o, const char **password, struct error *err)
{
    const char *id = option_list_get(&o->list, "passwordid");
    size_t length;
    if (!id)
        return 0;
    *password = (const char *)secrets_get(&t->secrets, id, &length, err);
    return *password ? 0 : error_prefix(err, "--object %s", o->type);
}

int nbd_objects_tls(struct nbd_tool *t, bool server, struct nbd_tls **tls, struct error *err)
{
    static const char *const endpoints[] = { "client", "server", NULL };
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
    if (password_find(t, o, &n.password, err))
        return -1;
    *tls = nbd_tls_new(&n, err);
    return *tls ? 0 : -1;
}
