/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * -object tls-creds-x509 and tls-creds-anon, and who uses them: -vnc ...,tls-creds=ID. Files are read when all options are known, and again when
 * display-reload of QMP says so: sessions that began before keep what they began with.
 */
#include <stdlib.h>
#include <string.h>

#include "base/bits.h"
#include "base/error.h"
#include "block/nbd_tls.h"
#include "tool/vm_options_private.h"

/* What was read at one time. */
struct vnc_credentials {
    struct nbd_tls *tls;
    unsigned users;                    /* sessions, and the options while these are the latest */
};

static const struct option_key x509_keys[] = {
    { .name = "qom-type" }, { .name = "id" }, { .name = "dir" }, { .name = "endpoint" }, { .name = "verify-peer" }, { .name = "priority" },
    { .name = "passwordid" }, { .name = "sanity-check" }, { .name = NULL },
};
static const struct option_key anonymous_keys[] = {
    { .name = "qom-type" }, { .name = "id" }, { .name = "endpoint" }, { .name = "verify-peer" }, { .name = "priority" }, { .name = NULL },
};

int object_tls(struct vm_options *o, const struct option_list *l, struct error *err)
{
    const char *type = l->pair[0].value, *id = option_list_get(l, "id");
    bool anonymous = !strcmp(type, "tls-creds-anon");

    if (option_list_wants_help(l)) return keys_show(o, type, anonymous ? anonymous_keys : x509_keys);
    if (option_list_apply(l, arena_format(o->arena, "-object %s", type), anonymous ? anonymous_keys : x509_keys, o, err) < 0) return -1;
    if (!id) return error_set(err, "-object %s needs id=", type);
    if (o->tls_object_count == ARRAY_SIZE(o->tls_object)) return error_set(err, "-object %s: too many", type);
    o->tls_object[o->tls_object_count++] = *l;
    return 0;
}

static const struct option_list *object_find(const struct vm_options *o, const char *id)
{
    for (unsigned i = 0; i < o->tls_object_count; i++)
        if (!strcmp(option_list_get(&o->tls_object[i], "id"), id)) return &o->tls_object[i];
    return NULL;
}

/* The background is in another directory, where they shall be found again. */
static const char *directory_absolute(struct vm_options *o, const char *path)
{
    char *whole = path ? realpath(path, NULL) : NULL;

    if (whole) path = arena_copy(o->arena, whole, strlen(whole));
    free(whole);
    return path;
}

static int settings_read(struct vm_options *o, const struct option_list *l, struct nbd_tls_options *t, struct error *err)
{
    static const char *const endpoints[] = { "client", "server", NULL };
    const char *verify = option_list_get(l, "verify-peer"), *end = option_list_get(l, "endpoint"), *password = option_list_get(l, "passwordid");
    unsigned endpoint = 0;
    size_t length;

    *t = (struct nbd_tls_options){ .kind = !strcmp(l->pair[0].value, "tls-creds-anon") ? NBD_TLS_ANONYMOUS : NBD_TLS_X509, .server = true,
                                   .verify_peer = true, .directory = option_list_get(l, "dir"), .priority = option_list_get(l, "priority") };
    if (verify && value_bool("verify-peer", verify, &t->verify_peer, err) < 0) return -1;
    if (end && value_choice("endpoint", end, endpoints, &endpoint, err) < 0) return -1;
    if (endpoint != 1) return error_set(err, "a server needs endpoint=server");
    return !password || (t->password = (const char *)secrets_get(&o->secrets, password, &length, err)) ? 0 : -1;
}

static struct vnc_credentials *credentials_read(struct vm_options *o, struct error *err)
{
    struct vnc_credentials *c = calloc(1, sizeof(*c));
    struct nbd_tls_options t;

    if (!c) error_set(err, "no memory for certificates");
    else if (settings_read(o, object_find(o, o->vnc_tls_creds), &t, err) == 0) {
        if (!o->vnc_tls_directory) o->vnc_tls_directory = directory_absolute(o, t.directory);
        t.directory = o->vnc_tls_directory;
        o->vnc_tls_source.is_x509 = t.kind == NBD_TLS_X509;
        c->tls = nbd_tls_new(&t, err);
    }
    if (c && c->tls) {
        c->users = 1;
        return c;
    }
    free(c);
    return NULL;
}

static void credentials_release(struct vnc_credentials *c)
{
    if (!c || --c->users) return;
    nbd_tls_free(c->tls);
    free(c);
}

static int session_new(void *opaque, gnutls_session_t *session)
{
    struct vm_options *o = opaque;

    if (nbd_tls_session_new(o->vnc_tls->tls, session) < 0) return -1;
    gnutls_session_set_ptr(*session, o->vnc_tls);
    o->vnc_tls->users++;
    return 0;
}

static void session_free(void *opaque, gnutls_session_t session)
{
    struct vnc_credentials *c = gnutls_session_get_ptr(session);

    gnutls_deinit(session);
    credentials_release(c);
}

static int reload(void *opaque, struct error *err)
{
    struct vm_options *o = opaque;
    struct vnc_credentials *c = credentials_read(o, err);

    if (!c) return -1;
    credentials_release(o->vnc_tls);
    o->vnc_tls = c;
    return 0;
}

int vnc_finish(struct vm_options *o, struct error *err)
{
    const struct option_list *l = o->vnc_tls_creds ? object_find(o, o->vnc_tls_creds) : NULL;
    struct vnc_config *c = &o->config.vnc;
    size_t length;

    if (!o->config.has_vnc) return 0;
    if (o->vnc_display && (!o->config.vga.id || strcmp(o->config.vga.id, o->vnc_display)))
        return error_set(err, "-vnc: display=%s: no graphic card has this id; -device VGA,id=%s would be one", o->vnc_display, o->vnc_display);
    if (o->vnc_password_secret && !(c->first_password = (const char *)secrets_get(&o->secrets, o->vnc_password_secret, &length, err)))
        return error_prefix(err, "-vnc password-secret=%s", o->vnc_password_secret);
    if (!o->vnc_tls_creds) return 0;
    if (!l) return error_set(err, "-vnc: no -object tls-creds-x509 or tls-creds-anon has the id '%s'", o->vnc_tls_creds);
    o->vnc_tls_source = (struct vnc_tls_source){ .session_new = session_new, .session_free = session_free, .reload = reload, .opaque = o };
    if (!(o->vnc_tls = credentials_read(o, err))) return error_prefix(err, "-vnc tls-creds=%s", o->vnc_tls_creds);
    if (c->web_port && !o->vnc_tls_source.is_x509) return error_set(err, "-vnc: browsers want a certificate: with websocket= use tls-creds-x509");
    c->tls = &o->vnc_tls_source;
    return 0;
}

void vm_tls_free(struct vm_options *o)
{
    credentials_release(o->vnc_tls);
    o->vnc_tls = NULL;
}
