/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Who may ask. The URL on stderr has a token of 128 random bits, good for one browser: it is exchanged for a session's cookie and the
 * next URL is printed. Cookies are HttpOnly and SameSite=Strict; since browsers share them between ports, their name has ours. What
 * changes something, and websockets, must come with the Origin of our page as well. A Host that is neither an address nor a name
 * of ours is somebody else's name that leads here (DNS rebinding).
 */
#include <arpa/inet.h>
#include <stdio.h>
#include <string.h>
#include <strings.h>
#include <sys/random.h>

#include "base/log.h"
#include "display/web_private.h"

int web_secret_make(struct web_secret *s)
{
    uint8_t random[WEB_SECRET_CHARACTERS / 2];

    if (getrandom(random, sizeof(random), 0) != sizeof(random)) return -1;
    for (unsigned i = 0; i < sizeof(random); i++) snprintf(s->text + 2 * i, 3, "%02x", random[i]);
    return 0;
}

void web_cookie_name(const struct web_server *s, char *name, size_t size) { snprintf(name, size, "ospite-%u", s->port); }

void web_url(const struct web_server *s, char *text, size_t size)
{
    char host[128];

    snprintf(host, sizeof(host), "%s", s->where);
    if (host[0] == '*') snprintf(host, sizeof(host), "localhost:%u", s->port);
    snprintf(text, size, "http://%s/?token=%s", host, s->token.text);
}

/* Takes the same time wherever the difference is. */
static bool is_secret(const struct web_secret *s, const char *text, size_t length)
{
    unsigned differs = 0;

    if (!text || length != WEB_SECRET_CHARACTERS || !s->text[0]) return false;
    for (unsigned i = 0; i < WEB_SECRET_CHARACTERS; i++) differs |= (unsigned)(s->text[i] ^ text[i]);
    return !differs;
}

static const struct web_secret *token_use(struct web_connection *c)
{
    struct web_server *s = c->server;
    struct web_secret next, *session = &s->session[s->sessions % WEB_SESSIONS];
    char url[256];

    if (web_secret_make(&next) < 0 || web_secret_make(session) < 0) return NULL;
    s->token = next;
    s->sessions++;
    web_url(s, url, sizeof(url));
    log_message("the browser at %s is in; for another one: %s", c->peer, url);
    return session;
}

bool web_session_check(struct web_connection *c, const struct http_request *r, const struct web_secret **new_session)
{
    struct web_server *s = c->server;
    char name[32];
    const char *cookie, *token;
    size_t cookie_length = 0, token_length = 0;

    *new_session = NULL;
    web_cookie_name(s, name, sizeof(name));
    cookie = http_cookie(r, name, &cookie_length);
    for (unsigned i = 0; i < WEB_SESSIONS; i++)
        if (is_secret(&s->session[i], cookie, cookie_length)) return true;
    token = strcmp(r->path, "/") || strcmp(r->method, "GET") ? NULL : http_query(r, "token", &token_length);
    if (!is_secret(&s->token, token, token_length)) return false;
    *new_session = token_use(c);
    return *new_session != NULL;
}

/* "name", "name:port", "[v6]", "[v6]:port": the name. */
static bool host_cut(const char *text, char *name, size_t size)
{
    size_t n;

    if (*text == '[') {
        n = strcspn(++text, "]");
        if (!text[n] || (text[n + 1] && text[n + 1] != ':')) return false;
    } else n = strcspn(text, ":");
    if (n >= size) return false;
    memcpy(name, text, n);
    name[n] = 0;
    return n > 0;
}

bool web_host_is_ours(const struct web_server *s, const struct http_request *r)
{
    const char *host = http_header(r, "Host");
    struct in6_addr address;
    char name[128];

    if (!host || !host_cut(host, name, sizeof(name))) return false;
    if (inet_pton(AF_INET, name, &address) == 1 || inet_pton(AF_INET6, name, &address) == 1) return true;
    return !strcasecmp(name, "localhost") || (s->config.host && !strcasecmp(name, s->config.host));
}

bool web_origin_is_ours(const struct http_request *r)
{
    const char *host = http_header(r, "Host"), *origin = http_header(r, "Origin");

    if (!host || !origin) return false;
    if (!strncasecmp(origin, "http://", 7)) origin += 7;
    else if (!strncasecmp(origin, "https://", 8)) origin += 8;     /* somebody before us speaks TLS */
    else return false;
    return !strcasecmp(origin, host);
}
