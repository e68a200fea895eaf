/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * In place of libcurl (it defines http_curl_load), for libFuzzer: answers come from the input, with no socket and no other thread,
 * a thousand times as many a second. Each is a message behind two bytes with its length, as http.c's server sends it. Of libcurl's
 * doings there are those that our side sees: headers line by line, 1xx passed over, redirections followed up to the limit, bodies in
 * pieces up to their Content-Length, transfers that break off.
 */
#include "http_answers.h"

#include "base/bits.h"
#include "block/http_curl.h"

#include <stdarg.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

enum { PIECE = 1000 };

static const uint8_t *answers;      /* what is left of the input */
static size_t answers_left;

struct handle {
    curl_write_callback body, header;
    void *body_to, *header_to;
    long redirections, status;
};

void http_answers_set(const uint8_t *data, size_t size)
{
    answers = data;
    answers_left = size;
}

static CURLcode global_init(long flags)
{
    return CURLE_OK;
}

static void global_cleanup(void)
{
}

static CURL *easy_init(void)
{
    return calloc(1, sizeof(struct handle));
}

static void easy_cleanup(CURL *c)
{
    free(c);
}

static CURLcode easy_setopt(CURL *c, CURLoption option, ...)
{
    struct handle *h = c;
    va_list ap;
    va_start(ap, option);
    if (option == CURLOPT_WRITEFUNCTION)
        h->body = va_arg(ap, curl_write_callback);
    else if (option == CURLOPT_HEADERFUNCTION)
        h->header = va_arg(ap, curl_write_callback);
    else if (option == CURLOPT_WRITEDATA)
        h->body_to = va_arg(ap, void *);
    else if (option == CURLOPT_HEADERDATA)
        h->header_to = va_arg(ap, void *);
    else if (option == CURLOPT_MAXREDIRS)
        h->redirections = va_arg(ap, long);
    va_end(ap);
    return CURLE_OK;
}

static CURLcode easy_getinfo(CURL *c, CURLINFO info, ...)
{
    va_list ap;
    va_start(ap, info);
    *va_arg(ap, long *) = ((struct handle *)c)->status;
    va_end(ap);
    return CURLE_OK;
}

static const char *easy_strerror(CURLcode code)
{
    return "in words";
}

struct message { const uint8_t *at; size_t left, body_bytes; bool has_length, has_place; };

static bool message_next(struct message *m)
{
    if (answers_left <= 2)
        return false;
    size_t length = MIN((size_t)(answers[0] << 8 | answers[1]), answers_left - 2);
    *m = (struct message){ .at = answers + 2, .left = length };
    answers += 2 + length;
    answers_left -= 2 + length;
    return true;
}

static void line_note(struct handle *h, struct message *m, const char *line)
{
    unsigned long long length;
    if (!strncmp(line, "HTTP/", 5)) {
        const char *blank = strchr(line, ' ');
        h->status = blank ? strtol(blank, NULL, 10) : 0;
    } else if (sscanf(line, "Content-Length: %19llu", &length) == 1) {
        m->has_length = true;
        m->body_bytes = (size_t)length;
    } else if (!strncasecmp(line, "Location:", 9)) {
        m->has_place = true;
    }
}

/* Up to the empty line. libcurl's lines have no bytes 0 in them, and end with a line feed. */
static CURLcode headers_take(struct handle *h, struct message *m)
{
    for (bool first = true;; first = false) {
        const uint8_t *end = memchr(m->at, '\n', m->left);
        char line[512] = "";
        if (!end || memchr(m->at, 0, (size_t)(end - m->at)) || (first && strncmp((const char *)m->at, "HTTP/", MIN((size_t)5, m->left))))
            return first ? CURLE_GOT_NOTHING : CURLE_WEIRD_SERVER_REPLY;
        size_t length = (size_t)(end + 1 - m->at);
        memcpy(line, m->at, MIN(length, sizeof(line) - 1));
        line_note(h, m, line);
        char *exact = malloc(length);           /* what is read beyond it is seen */
        memcpy(exact, m->at, length);
        size_t taken = h->header(exact, 1, length, h->header_to);
        free(exact);
        m->at += length;
        m->left -= length;
        if (taken != length)
            return CURLE_WRITE_ERROR;
        if (*line == '\n' || !strncmp(line, "\r\n", 2))
            return CURLE_OK;
    }
}

static CURLcode body_take(struct handle *h, struct message *m)
{
    size_t wanted = m->has_length ? MIN(m->body_bytes, m->left) : m->left;
    bool breaks = m->has_length && wanted < m->body_bytes;
    while (wanted) {
        size_t piece = MIN(wanted, (size_t)PIECE);
        char *exact = malloc(piece);
        memcpy(exact, m->at, piece);
        size_t taken = h->body(exact, 1, piece, h->body_to);
        free(exact);
        m->at += piece;
        wanted -= piece;
        if (taken != piece)
            return CURLE_WRITE_ERROR;
    }
    return breaks ? CURLE_PARTIAL_FILE : CURLE_OK;
}

static CURLcode easy_perform(CURL *c)
{
    struct handle *h = c;
    struct message m;
    h->status = 0;
    for (long followed = 0; message_next(&m);) {
        CURLcode r = headers_take(h, &m);
        bool leads_on = h->status >= 300 && h->status < 400 && m.has_place;
        if (r)
            return r;
        if (leads_on && followed++ == h->redirections)
            return CURLE_TOO_MANY_REDIRECTS;
        if (!leads_on && h->status >= 200)
            return body_take(h, &m);
    }
    return CURLE_GOT_NOTHING;
}

int http_curl_load(struct http_curl *c, struct error *err)
{
    *c = (struct http_curl){ global_init, global_cleanup, easy_init, easy_cleanup, easy_setopt, easy_getinfo, easy_perform,
                             easy_strerror };
    return 0;
}
