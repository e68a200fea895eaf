/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Requests of HTTP/1.1 and 1.0. No folded lines, no bare CR or LF, no control characters, no body, one Host.
 * Source: RFC 9110, RFC 9112; RFC 6265 for cookies.
 */
#include "display/http.h"

#include <string.h>
#include <strings.h>

#include "base/bits.h"

size_t http_head_size(const uint8_t *data, size_t size, size_t *from)
{
    for (size_t i = *from > 3 ? *from - 3 : 0; i + 4 <= size; i++) {
        if (memcmp(data + i, "\r\n\r\n", 4)) continue;
        *from = 0;
        return i + 4;
    }
    *from = size;
    return 0;
}

static bool is_token(const char *text)
{
    static const char allowed[] = "!#$%&'*+-.^_`|~0123456789abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ";

    return *text && strspn(text, allowed) == strlen(text);
}

/* Visible ASCII; in values also spaces, tabs and bytes above it. */
static bool is_plain(const char *text, bool value)
{
    for (; *text; text++) {
        uint8_t c = (uint8_t)*text;

        if (c == 127 || (c < ' ' && !(value && c == '\t'))) return false;
        if (!value && (c == ' ' || c > 127)) return false;
    }
    return true;
}

/* The line that begins at *at, without its end; NULL: there is a CR or LF by itself. */
static char *line_cut(char **at)
{
    char *line = *at, *end = line + strcspn(line, "\r\n");

    if (end[0] != '\r' || end[1] != '\n') return NULL;
    *end = 0;
    *at = end + 2;
    return line;
}

static int request_line(struct http_request *r, char *line)
{
    char *path = strchr(line, ' '), *version = path ? strchr(path + 1, ' ') : NULL, *query;

    if (!version) return 400;
    *path++ = 0;
    *version++ = 0;
    if (!is_token(line) || *path != '/' || !is_plain(path, false)) return 400;
    if (strncmp(version, "HTTP/1.", 7) || (strcmp(version + 7, "0") && strcmp(version + 7, "1"))) return 505;
    query = strchr(path, '?');
    if (query) *query++ = 0;
    r->method = line;
    r->path = path;
    r->query = query ? query : "";
    r->keeps_alive = version[7] == '1';
    return 0;
}

static int header_line(struct http_request *r, char *line)
{
    char *colon = strchr(line, ':'), *value, *end;

    if (!colon) return 400;
    *colon = 0;
    value = colon + 1 + strspn(colon + 1, " \t");
    end = value + strlen(value);
    while (end > value && (end[-1] == ' ' || end[-1] == '\t')) *--end = 0;
    if (!is_token(line) || !is_plain(value, true)) return 400;
    if (r->headers == HTTP_HEADERS_MAX) return 431;
    r->header[r->headers].name = line;
    r->header[r->headers++].value = value;
    return 0;
}

static unsigned header_count(const struct http_request *r, const char *name)
{
    unsigned count = 0;

    for (unsigned i = 0; i < r->headers; i++) count += !strcasecmp(r->header[i].name, name);
    return count;
}

/* What stands in more than one header decides how a request is read: at most one of each. */
static int headers_check(struct http_request *r)
{
    static const char *const single[] = { "Host", "Origin", "Content-Length", "Upgrade", "Sec-WebSocket-Key", "Sec-WebSocket-Version" };
    const char *length = http_header(r, "Content-Length");

    for (unsigned i = 0; i < ARRAY_SIZE(single); i++)
        if (header_count(r, single[i]) > 1) return 400;
    if (!http_header(r, "Host") && r->keeps_alive) return 400;     /* HTTP/1.1 has one */
    if (http_header(r, "Transfer-Encoding")) return 501;
    if (length && strcmp(length, "0")) return 413;
    if (http_header_has(r, "Connection", "close")) r->keeps_alive = false;
    return 0;
}

int http_request_parse(struct http_request *r, char *head, size_t size)
{
    char *at = head, *line;
    int status;

    memset(r, 0, sizeof(*r));
    if (size < 4 || memchr(head, 0, size) || memcmp(head + size - 4, "\r\n\r\n", 4)) return 400;
    head[size - 2] = 0;                                            /* what ends all strings; the empty line is not looked at */
    if (!(line = line_cut(&at))) return 400;
    if ((status = request_line(r, line))) return status;
    while (*at) {
        if (!(line = line_cut(&at))) return 400;
        if ((status = header_line(r, line))) return status;
    }
    return headers_check(r);
}

const char *http_header(const struct http_request *r, const char *name)
{
    for (unsigned i = 0; i < r->headers; i++)
        if (!strcasecmp(r->header[i].name, name)) return r->header[i].value;
    return NULL;
}

bool http_header_has(const struct http_request *r, const char *name, const char *word)
{
    size_t n = strlen(word);

    for (unsigned i = 0; i < r->headers; i++) {
        const char *at = r->header[i].value;

        if (strcasecmp(r->header[i].name, name)) continue;
        for (; *at; at += strcspn(at, ","), at += *at == ',') {
            at += strspn(at, " \t");
            if (!strncasecmp(at, word, n) && (!at[n] || strchr(" \t,;", at[n]))) return true;
        }
    }
    return false;
}

static const char *field(const char *text, const char *separators, const char *name, size_t *length)
{
    size_t n = strlen(name);

    while (*text) {
        text += strspn(text, separators);
        *length = strcspn(text, separators);
        if (!strncmp(text, name, n) && text[n] == '=') {
            *length -= n + 1;
            return text + n + 1;
        }
        text += *length;
    }
    return NULL;
}

const char *http_cookie(const struct http_request *r, const char *name, size_t *length)
{
    for (unsigned i = 0; i < r->headers; i++) {
        const char *found = strcasecmp(r->header[i].name, "Cookie") ? NULL : field(r->header[i].value, "; ", name, length);

        if (found) return found;
    }
    return NULL;
}

const char *http_query(const struct http_request *r, const char *name, size_t *length) { return field(r->query, "&", name, length); }

const char *http_status_text(int status)
{
    static const struct { int status; const char *text; } known[] = {
        { 101, "Switching Protocols" }, { 200, "OK" }, { 204, "No Content" }, { 400, "Bad Request" }, { 403, "Forbidden" }, { 404, "Not Found" },
        { 405, "Method Not Allowed" }, { 408, "Request Timeout" }, { 409, "Conflict" }, { 413, "Content Too Large" }, { 421, "Misdirected Request" },
        { 426, "Upgrade Required" }, { 431, "Request Header Fields Too Large" }, { 501, "Not Implemented" }, { 503, "Service Unavailable" },
        { 505, "HTTP Version Not Supported" },
    };

    for (unsigned i = 0; i < ARRAY_SIZE(known); i++)
        if (known[i].status == status) return known[i].text;
    return "Error";
}
