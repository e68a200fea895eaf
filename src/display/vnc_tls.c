/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * TLS of one client, by GnuTLS, without waiting. What the client sent right behind the last plain message belongs to TLS: nothing
 * that came in the clear is ever taken for a message.
 */
#include <errno.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/bits.h"
#include "display/vnc_private.h"

struct vnc_tls {
    gnutls_session_t session;
    const struct vnc_tls_source *source;
    struct bytes early;                /* came before the session was made */
    int fd;
    bool send_waits;                   /* GnuTLS has a record that the socket did not take */
};

static ssize_t pull(gnutls_transport_ptr_t opaque, void *data, size_t size)
{
    struct vnc_tls *t = opaque;
    size_t n = MIN(size, bytes_size(&t->early));
    ssize_t got;

    if (!n) {
        got = recv(t->fd, data, size, MSG_DONTWAIT);
        if (got < 0) gnutls_transport_set_errno(t->session, errno);
        return got;
    }
    for (size_t i = 0; i < n; i++) ((uint8_t *)data)[i] = t->early.data[t->early.at + i];
    bytes_drop(&t->early, n);
    return (ssize_t)n;
}

static ssize_t push(gnutls_transport_ptr_t opaque, const void *data, size_t size)
{
    struct vnc_tls *t = opaque;
    ssize_t n = send(t->fd, data, size, MSG_DONTWAIT | MSG_NOSIGNAL);

    if (n < 0) gnutls_transport_set_errno(t->session, errno);
    return n;
}

struct vnc_tls *vnc_tls_new(const struct vnc_tls_source *source, int fd, const uint8_t *early, size_t early_bytes)
{
    struct vnc_tls *t = calloc(1, sizeof(*t));

    if (!t) return NULL;
    t->fd = fd;
    t->source = source;
    bytes_add(&t->early, early, early_bytes);
    if (t->early.broken || source->session_new(source->opaque, &t->session) < 0) {
        bytes_free(&t->early);
        free(t);
        return NULL;
    }
    gnutls_transport_set_ptr(t->session, t);
    gnutls_transport_set_pull_function(t->session, pull);
    gnutls_transport_set_push_function(t->session, push);
    gnutls_handshake_set_timeout(t->session, 0);       /* the server watches the clock */
    return t;
}

void vnc_tls_free(struct vnc_tls *t)
{
    if (!t) return;
    gnutls_bye(t->session, GNUTLS_SHUT_WR);
    t->source->session_free(t->source->opaque, t->session);
    bytes_free(&t->early);
    free(t);
}

int vnc_tls_handshake(struct vnc_tls *t)
{
    int r;

    do r = gnutls_handshake(t->session); while (r == GNUTLS_E_INTERRUPTED || (r < 0 && r != GNUTLS_E_AGAIN && !gnutls_error_is_fatal(r)));
    return r == GNUTLS_E_AGAIN ? 0 : r < 0 ? -1 : 1;
}

bool vnc_tls_wants_write(const struct vnc_tls *t) { return gnutls_record_get_direction(t->session) == 1; }
bool vnc_tls_has_more(const struct vnc_tls *t) { return bytes_size(&t->early) || gnutls_record_check_pending(t->session); }

/* As recv and send say it. */
static ssize_t result(ssize_t r)
{
    if (r >= 0) return r;
    errno = r == GNUTLS_E_AGAIN ? EAGAIN : r == GNUTLS_E_INTERRUPTED ? EINTR : EIO;
    return -1;
}

ssize_t vnc_tls_receive(struct vnc_tls *t, uint8_t *data, size_t size) { return result(gnutls_record_recv(t->session, data, size)); }

ssize_t vnc_tls_send(struct vnc_tls *t, const uint8_t *data, size_t size)
{
    ssize_t r = t->send_waits ? gnutls_record_send(t->session, NULL, 0) : gnutls_record_send(t->session, data, size);

    t->send_waits = r == GNUTLS_E_AGAIN || r == GNUTLS_E_INTERRUPTED;
    return result(r);
}
