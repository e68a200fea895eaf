/* SPDX-License-Identifier: GPL-2.0-or-later */
/* TLS credentials for NBD as QEMU's tls-creds objects describe them: directories with files of fixed names. */
#ifndef BLOCK_NBD_TLS_H
#define BLOCK_NBD_TLS_H

#include <gnutls/gnutls.h>
#include <stdbool.h>

struct error;
struct nbd_tls;

enum nbd_tls_kind { NBD_TLS_X509, NBD_TLS_PSK, NBD_TLS_ANONYMOUS };

struct nbd_tls_options {
    enum nbd_tls_kind kind;
    bool server;
    bool verify_peer;           /* x509: the other side must show a certificate of our authority */
    const char *directory;
    const char *username;       /* psk, client: which key; NULL: "qemu" */
    const char *priority;       /* GnuTLS priority string, NULL: NORMAL */
    const char *password;       /* of the private key, or NULL */
    const char *identity;       /* server, x509: the only distinguished name let in (RFC 4514), or NULL */
};
/* Reads and checks the files. NULL with *err. */
struct nbd_tls *nbd_tls_new(const struct nbd_tls_options *o, struct error *err);
void nbd_tls_free(struct nbd_tls *t);

/* The handshake over a connected, blocking socket. hostname: what the server's certificate must be for (client).
 * The session is the caller's, also after t has gone out of use, but t must outlive it. NULL with *err. */
gnutls_session_t nbd_tls_handshake(struct nbd_tls *t, int fd, const char *hostname, struct error *err);

/* For servers that do not wait: transport and handshake are the caller's, who frees the session before t. -1: no memory. */
int nbd_tls_session_new(struct nbd_tls *t, gnutls_session_t *session);

#endif
