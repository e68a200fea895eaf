/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The handshake: versions, security types, VeNCrypt, VNC's password, ClientInit and ServerInit. The password encrypts a random
 * challenge with DES, its bits in the other order; it protects against guests, not against listeners.
 * Source: RFC 6143, 7.1 to 7.3, appendix A (older versions); github.com/rfbproto for VeNCrypt 0.2.
 */
#include <nettle/des.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>

#include "base/bits.h"
#include "base/clock.h"
#include "display/vnc_private.h"

enum { SECURITY_NONE = 1, SECURITY_VNC = 2, SECURITY_VENCRYPT = 19, CLIENT_INIT_SHARED = 1 };
enum { TLS_NONE = 257, TLS_VNC = 258, X509_NONE = 260, X509_VNC = 261 };

void vnc_key_make(uint8_t key[8], const char *password)
{
    size_t n = strnlen(password, 8);

    memset(key, 0, 8);
    for (size_t i = 0; i < n; i++)
        for (unsigned bit = 0; bit < 8; bit++)
            if ((uint8_t)password[i] >> bit & 1) key[i] |= (uint8_t)(0x80 >> bit);
}

static void text_put(struct vnc_client *c, const char *text)
{
    bytes_add_u32(&c->out, (uint32_t)strlen(text));
    bytes_add(&c->out, text, strlen(text));
}

static size_t refuse(struct vnc_client *c, const char *why, size_t used)
{
    if (c->minor >= 8) text_put(c, why);
    c->closing = true;
    return used;
}

static bool is_shared_out(struct vnc_client *c, bool shared)
{
    switch (c->server->config.share) {
    case VNC_ALLOW_EXCLUSIVE:
        if (!shared) vnc_others_drop(c);
        return true;
    case VNC_FORCE_SHARED: return shared;
    default: return true;
    }
}

static size_t step_init(struct vnc_client *c, const uint8_t *data, size_t size)
{
    const struct surface *s;

    if (!is_shared_out(c, data[0] & CLIENT_INIT_SHARED)) {
        c->gone = true;
        return 1;
    }
    display_refresh(c->server->display);                           /* nobody may have looked for long: its size is old */
    s = display_surface(c->server->display);
    bytes_add_u16(&c->out, s->width);
    bytes_add_u16(&c->out, s->height);
    vnc_format_put(&c->out);
    text_put(c, c->server->name);
    vnc_client_begin(c);
    return 1;
}

static void init_expect(struct vnc_client *c)
{
    c->step = step_init;
    c->need = 1;
}

static bool response_is_right(const struct vnc_client *c, const uint8_t response[16])
{
    struct des_ctx des;
    uint8_t want[16], differs = 0;

    if (!c->server->has_password || clock_wall_ns() / NS_PER_SECOND >= c->server->expires_s) return false;
    des_set_key(&des, c->server->key);                             /* weak keys are keys, too */
    des_encrypt(&des, sizeof(want), want, c->challenge);
    for (unsigned i = 0; i < sizeof(want); i++) differs |= want[i] ^ response[i];
    explicit_bzero(&des, sizeof(des));
    return !differs;
}

static size_t step_response(struct vnc_client *c, const uint8_t *data, size_t size)
{
    bool right = response_is_right(c, data);

    bytes_add_u32(&c->out, !right);
    if (!right) return refuse(c, "Authentication failed", 16);
    init_expect(c);
    return 16;
}

static void security_begin(struct vnc_client *c, unsigned type)
{
    if (type == SECURITY_NONE) {
        if (c->minor >= 8) bytes_add_u32(&c->out, 0);
        init_expect(c);
        return;
    }
    if (getrandom(c->challenge, sizeof(c->challenge), 0) != sizeof(c->challenge)) {
        c->gone = true;
        return;
    }
    bytes_add(&c->out, c->challenge, sizeof(c->challenge));
    c->step = step_response;
    c->need = 16;
}

/* ---- VeNCrypt: a version, a kind, TLS, then what would be there without it ---- */

static unsigned inner_type(const struct vnc_client *c) { return c->server->config.password && !c->skip_auth ? SECURITY_VNC : SECURITY_NONE; }

/* A websocket's TLS began before its HTTP did. */
static unsigned outer_type(const struct vnc_client *c) { return c->server->config.tls && !c->web && !c->skip_auth ? SECURITY_VENCRYPT : inner_type(c); }

static uint32_t vencrypt_kind(const struct vnc_client *c)
{
    bool password = c->server->config.password;

    return c->server->config.tls->is_x509 ? password ? X509_VNC : X509_NONE : password ? TLS_VNC : TLS_NONE;
}

static size_t step_vencrypt_kind(struct vnc_client *c, const uint8_t *data, size_t size)
{
    uint32_t kind = (uint32_t)data[0] << 24 | (uint32_t)data[1] << 16 | (uint32_t)data[2] << 8 | data[3];

    bytes_add_u8(&c->out, kind == vencrypt_kind(c));
    if (kind == vencrypt_kind(c)) c->tls_due = true;
    else c->closing = true;
    return 4;
}

static size_t step_vencrypt_version(struct vnc_client *c, const uint8_t *data, size_t size)
{
    bool known = data[0] == 0 && data[1] == 2;

    bytes_add_u8(&c->out, !known);
    if (!known) {
        c->closing = true;
        return 2;
    }
    bytes_add_u8(&c->out, 1);
    bytes_add_u32(&c->out, vencrypt_kind(c));
    c->step = step_vencrypt_kind;
    c->need = 4;
    return 2;
}

static void vencrypt_begin(struct vnc_client *c)
{
    bytes_add_u8(&c->out, 0);
    bytes_add_u8(&c->out, 2);
    c->step = step_vencrypt_version;
    c->need = 2;
}

void vnc_tls_opened(struct vnc_client *c)
{
    if (!c->web) security_begin(c, inner_type(c));
}

static size_t step_security(struct vnc_client *c, const uint8_t *data, size_t size)
{
    unsigned type = outer_type(c);

    if (data[0] == type && type == SECURITY_VENCRYPT) vencrypt_begin(c);
    else if (data[0] == type) security_begin(c, type);
    else {
        bytes_add_u32(&c->out, 1);
        refuse(c, "This security type was not offered", 1);
    }
    return 1;
}

/* "RFB 003.008\n" */
static size_t step_version(struct vnc_client *c, const uint8_t *data, size_t size)
{
    unsigned type = outer_type(c), minor;

    if (memcmp(data, "RFB 003.", 8) || data[11] != '\n') {
        c->gone = true;
        return 12;
    }
    minor = (data[8] - '0') * 100u + (data[9] - '0') * 10u + (data[10] - '0');
    c->minor = minor >= 8 ? 8 : minor == 7 ? 7 : 3;
    if (c->minor == 3 && type == SECURITY_VENCRYPT) {              /* before 3.7 only the first two types can be said */
        bytes_add_u32(&c->out, 0);
        text_put(c, "This server wants TLS");
        c->closing = true;
        return 12;
    }
    if (c->minor == 3) {
        bytes_add_u32(&c->out, type);
        security_begin(c, type);
        return 12;
    }
    bytes_add_u8(&c->out, 1);
    bytes_add_u8(&c->out, type);
    c->step = step_security;
    c->need = 1;
    return 12;
}

void vnc_handshake_begin(struct vnc_client *c)
{
    bytes_add(&c->out, "RFB 003.008\n", 12);
    c->step = step_version;
    c->need = 12;
}
