/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The heads of HTTP/1.1 requests, taken apart strictly: what is not exactly a request is refused, so that nobody behind us
 * or before us can read it in another way. Bodies are not taken; see http_request.
 */
#ifndef DISPLAY_HTTP_H
#define DISPLAY_HTTP_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum { HTTP_HEAD_MAX = 16 << 10, HTTP_HEADERS_MAX = 64 };

struct http_request {
    const char *method, *path, *query;         /* query "" if there is none; nothing is decoded */
    struct { const char *name, *value; } header[HTTP_HEADERS_MAX];
    unsigned headers;
    bool keeps_alive;
};

/* How many bytes the head in front of data has, with the empty line that ends it; 0: it is not there in full. from: where to go on
 * looking, so that bytes that come one by one cost no more. */
size_t http_head_size(const uint8_t *data, size_t size, size_t *from);
/* head[0..size) is a whole head, which is cut into strings in place; r points into it. 0, or the status to answer with. A request with a
 * body is refused: none of ours has one. */
int http_request_parse(struct http_request *r, char *head, size_t size);
/* The value of a header, or NULL. */
const char *http_header(const struct http_request *r, const char *name);
/* Is word one of the header's comma-separated ones? Case does not matter. */
bool http_header_has(const struct http_request *r, const char *name, const char *word);
/* A cookie's value, or a field's of a query: *length bytes; NULL: it is not there. */
const char *http_cookie(const struct http_request *r, const char *name, size_t *length);
const char *http_query(const struct http_request *r, const char *name, size_t *length);
const char *http_status_text(int status);

#endif
