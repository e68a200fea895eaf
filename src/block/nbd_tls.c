/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * TLS through GnuTLS, for NBD's client and server.
 *
 * The files are those of QEMU (docs/system/tls.rst): x509 has ca-cert.pem, ca-crl.pem (optional), server-cert.pem and
 * server-key.pem, or client-cert.pem and client-key.pem (optional for a client); psk has keys.psk with lines
 * "NAME:HEXKEY". One thread may send on a session while another receives (GnuTLS manual, "Thread safety"); what a
 * peer could do to break that, renegotiation in TLS 1.2, ends the connection in nbd_stream.c.
 */
#include "block/nbd_tls.h"

#include <errno.h>
#include <gnutls/x509.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/error.h"

struct nbd_tls {
    enum nbd_tls_kind kind;
    bool server, verify_peer;
    char *priority, *identity;
    gnutls_certificate_credentials_t x509;
    gnutls_psk_server_credentials_t psk_server;
    gnutls_psk_client_credentials_t psk_client;
    gnutls_anon_server_credentials_t anonymous_server;
    gnutls_anon_client_credentials_t anonymous_client;
};

/* path gets "directory/name". 1 it can be read, 0 it is not there, -1 with *err. */
static int file_find(char *path, size_t room, const char *directory, const char *name, bool needed, struct error *err)
{
    if (snprintf(path, room, "%s/%s", directory, name) >= (int)room)
        return error_set(err, "tls: the path '%.60s...' is too long", directory);
    if (access(path, R_OK) == 0)
        return 1;
    if (errno == ENOENT && !needed)
        return 0;
    return error_set(err, "tls: cannot read '%s': %s", path, strerror(errno));
}

static int x509_load(struct nbd_tls *t, const struct nbd_tls_options *o, struct error *err)
{
    char authority[4096], revoked[4096], cert[4096], key[4096];
    if (gnutls_certificate_allocate_credentials(&t->x509) < 0)
        return error_set(err, "tls: out of memory");
    int r = file_find(authority, sizeof(authority), o->directory, "ca-cert.pem", true, err);
    if (r < 0)
        return -1;
    r = gnutls_certificate_set_x509_trust_file(t->x509, authority, GNUTLS_X509_FMT_PEM);
    if (r <= 0)
        return error_set(err, "tls: '%s' holds no certificate: %s", authority, gnutls_strerror(r));
    r = file_find(revoked, sizeof(revoked), o->directory, "ca-crl.pem", false, err);
    if (r < 0)
        return -1;
    if (r && (r = gnutls_certificate_set_x509_crl_file(t->x509, revoked, GNUTLS_X509_FMT_PEM)) < 0)
        return error_set(err, "tls: '%s': %s", revoked, gnutls_strerror(r));
    r = file_find(cert, sizeof(cert), o->directory, o->server ? "server-cert.pem" : "client-cert.pem", o->server, err);
    if (r <= 0)
        return r;
    if (file_find(key, sizeof(key), o->directory, o->server ? "server-key.pem" : "client-key.pem", true, err) < 0)
        return -1;
    r = gnutls_certificate_set_x509_key_file2(t->x509, cert, key, GNUTLS_X509_FMT_PEM, o->password, 0);
    if (r < 0)
        return error_set(err, "tls: cannot use '%s' with '%s': %s", cert, key, gnutls_strerror(r));
    return 0;
}

/* The key of one user out of keys.psk. */
static int psk_key_find(const char *path, const char *user, char *hex, size_t room, struct error *err)
{
    FILE *f = fopen(path, "re");
    if (!f)
        return error_set(err, "tls: cannot read '%s': %s", path, strerror(errno));
    char line[1024];
    size_t length = strlen(user);
    bool found = false;
    while (!found && fgets(line, sizeof(line), f)) {
        line[strcspn(line, "\r\n")] = 0;
        found = !strncmp(line, user, length) && line[length] == ':' && strlen(line + length + 1) < room;
    }
    fclose(f);
    if (!found)
        return error_set(err, "tls: '%s' has no key for the user '%s'", path, user);
    strcpy(hex, line + length + 1);
    return 0;
}

static int psk_load(struct nbd_tls *t, const struct nbd_tls_options *o, struct error *err)
{
    char path[4096], hex[1024];
    if (file_find(path, sizeof(path), o->directory, "keys.psk", true, err) < 0)
        return -1;
    if (o->server) {
        if (gnutls_psk_allocate_server_credentials(&t->psk_server) < 0)
            return error_set(err, "tls: out of memory");
        gnutls_psk_set_server_credentials_file(t->psk_server, path);
        return 0;
    }
    const char *user = o->username ? o->username : "qemu";
    if (psk_key_find(path, user, hex, sizeof(hex), err))
        return -1;
    const gnutls_datum_t key = { (unsigned char *)hex, (unsigned)strlen(hex) };
    if (gnutls_psk_allocate_client_credentials(&t->psk_client) < 0)
        return error_set(err, "tls: out of memory");
    int r = gnutls_psk_set_client_credentials(t->psk_client, user, &key, GNUTLS_PSK_KEY_HEX);
    return r < 0 ? error_set(err, "tls: the key of '%s' in '%s': %s", user, path, gnutls_strerror(r)) : 0;
}

static int credentials_load(struct nbd_tls *t, const struct nbd_tls_options *o, struct error *err)
{
    if (o->kind != NBD_TLS_ANONYMOUS && !o->directory)
        return error_set(err, "tls: dir= is needed: the directory with the %s", o->kind == NBD_TLS_PSK ? "key file" :
                         "certificates");
    if (o->kind == NBD_TLS_X509)
        return x509_load(t, o, err);
    if (o->kind == NBD_TLS_PSK)
        return psk_load(t, o, err);
    int r = o->server ? gnutls_anon_allocate_server_credentials(&t->anonymous_server) :
            gnutls_anon_allocate_client_credentials(&t->anonymous_client);
    if (r >= 0 && o->server)
        r = gnutls_anon_set_server_known_dh_params(t->anonymous_server, GNUTLS_SEC_PARAM_MEDIUM);
    return r < 0 ? error_set(err, "tls: %s", gnutls_strerror(r)) : 0;
}

struct nbd_tls *nbd_tls_new(const struct nbd_tls_options *o, struct error *err)
{
    static const char *const extra[] = { "", ":+ECDHE-PSK:+DHE-PSK:+PSK", ":+ANON-ECDH:+ANON-DH" };
    struct nbd_tls *t = calloc(1, sizeof(*t));
    gnutls_priority_t probe;
    const char *wrong;
    if (!t || asprintf(&t->priority, "%s%s", o->priority ? o->priority : "NORMAL", extra[o->kind]) < 0) {
        free(t);
        error_set(err, "tls: out of memory");
        return NULL;
    }
    t->kind = o->kind;
    t->server = o->server;
    t->verify_peer = o->verify_peer;
    t->identity = o->identity ? strdup(o->identity) : NULL;
    if (gnutls_priority_init(&probe, t->priority, &wrong) < 0) {
        error_set(err, "tls: the priority '%s' is wrong at '%s'; see gnutls-cli --priority-list", t->priority, wrong);
        nbd_tls_free(t);
        return NULL;
    }
    gnutls_priority_deinit(probe);
    if (credentials_load(t, o, err) == 0)
        return t;
    nbd_tls_free(t);
    return NULL;
}

void nbd_tls_free(struct nbd_tls *t)
{
    if (!t)
        return;
    if (t->x509)
        gnutls_certificate_free_credentials(t->x509);
    if (t->psk_server)
        gnutls_psk_free_server_credentials(t->psk_server);
    if (t->psk_client)
        gnutls_psk_free_client_credentials(t->psk_client);
    if (t->anonymous_server)
        gnutls_anon_free_server_credentials(t->anonymous_server);
    if (t->anonymous_client)
        gnutls_anon_free_client_credentials(t->anonymous_client);
    free(t->priority);
    free(t->identity);
    free(t);
}

static int session_prepare(struct nbd_tls *t, gnutls_session_t s, const char *hostname)
{
    int r = gnutls_priority_set_direct(s, t->priority, NULL);
    if (r < 0)
        return r;
    if (t->kind == NBD_TLS_PSK)
        return gnutls_credentials_set(s, GNUTLS_CRD_PSK, t->server ? (void *)t->psk_server : (void *)t->psk_client);
    if (t->kind == NBD_TLS_ANONYMOUS)
        return gnutls_credentials_set(s, GNUTLS_CRD_ANON, t->server ? (void *)t->anonymous_server :
                                      (void *)t->anonymous_client);
    r = gnutls_credentials_set(s, GNUTLS_CRD_CERTIFICATE, t->x509);
    if (r < 0 || !t->verify_peer)
        return r;
    if (t->server)
        gnutls_certificate_server_set_request(s, GNUTLS_CERT_REQUIRE);
    gnutls_session_set_verify_cert(s, t->server ? NULL : hostname, 0);
    return 0;
}

/* The certificate was verified in the handshake; what is left is whose it is. */
static int identity_check(const struct nbd_tls *t, gnutls_session_t s, struct error *err)
{
    unsigned count = 0;
    gnutls_x509_crt_t cert;
    gnutls_datum_t name = { 0 };
    const gnutls_datum_t *chain = gnutls_certificate_get_peers(s, &count);
    if (!chain || !count || gnutls_x509_crt_init(&cert) < 0)
        return error_set(err, "tls: the client shows no certificate; it was refused");
    int r = gnutls_x509_crt_import(cert, &chain[0], GNUTLS_X509_FMT_DER);
    if (r >= 0)
        r = gnutls_x509_crt_get_dn3(cert, &name, GNUTLS_X509_DN_FLAG_COMPAT);
    bool same = r >= 0 && !strcmp((char *)name.data, t->identity);
    if (!same)
        error_set(err, "tls: the client '%s' is not '%s'; it was refused", r >= 0 ? (char *)name.data : "?", t->identity);
    gnutls_free(name.data);
    gnutls_x509_crt_deinit(cert);
    return same ? 0 : -1;
}

static int handshake_fail(gnutls_session_t s, int code, struct error *err)
{
    if (code != GNUTLS_E_CERTIFICATE_VERIFICATION_ERROR)
        return error_set(err, "tls: the handshake failed: %s", gnutls_strerror(code));
    gnutls_datum_t why = { 0 };
    gnutls_certificate_verification_status_print(gnutls_session_get_verify_cert_status(s),
                                                 gnutls_certificate_type_get(s), &why, 0);
    error_set(err, "tls: the peer's certificate is not accepted: %s", why.data ? (char *)why.data : "unknown reason");
    gnutls_free(why.data);
    return -1;
}

gnutls_session_t nbd_tls_handshake(struct nbd_tls *t, int fd, const char *hostname, struct error *err)
{
    gnutls_session_t s;
    int r = gnutls_init(&s, (t->server ? GNUTLS_SERVER : GNUTLS_CLIENT) | GNUTLS_NO_SIGNAL);
    if (r < 0) {
        error_set(err, "tls: %s", gnutls_strerror(r));
        return NULL;
    }
    r = session_prepare(t, s, hostname);
    if (r >= 0) {
        gnutls_transport_set_int(s, fd);
        gnutls_handshake_set_timeout(s, 0);     /* the caller watches the clock: per message is no limit at all */
        do
            r = gnutls_handshake(s);
        while (r == GNUTLS_E_INTERRUPTED || (r < 0 && r != GNUTLS_E_AGAIN && !gnutls_error_is_fatal(r)));
    }
    if (r >= 0 && (!t->identity || identity_check(t, s, err) == 0))
        return s;
    if (r < 0)
        handshake_fail(s, r, err);
    gnutls_deinit(s);
    return NULL;
}

int nbd_tls_session_new(struct nbd_tls *t, gnutls_session_t *session)
{
    if (gnutls_init(session, GNUTLS_SERVER | GNUTLS_NONBLOCK | GNUTLS_NO_SIGNAL) < 0)
        return -1;
    if (session_prepare(t, *session, NULL) >= 0)
        return 0;
    gnutls_deinit(*session);
    return -1;
}
