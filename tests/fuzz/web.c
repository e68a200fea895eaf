/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Fuzzing of what the web server takes apart before anybody is known: heads of requests, and a websocket's frames. An input's first byte says
 * how it is cut into pieces. What the parser says must not depend on that, and its strings must lie in the head.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/bits.h"
#include "display/bytes.h"
#include "display/http.h"
#include "display/websocket.h"
#include "fuzz.h"

enum { INPUT_MAX = 1 << 15 };

static void require(bool ok, const char *what)
{
    if (ok) return;
    printf("fuzz-web: %s\n", what);
    abort();
}

static void inside_check(const char *text, const char *head, size_t size)
{
    require(text >= head && text < head + size && memchr(text, 0, (size_t)(head + size - text)), "a string that is not in the head");
}

static void request_check(const struct http_request *r, const char *head, size_t size)
{
    size_t length;

    inside_check(r->method, head, size);
    inside_check(r->path, head, size);
    if (*r->query) inside_check(r->query, head, size);
    require(r->path[0] == '/' && r->headers <= HTTP_HEADERS_MAX, "a path or headers");
    for (unsigned i = 0; i < r->headers; i++) {
        inside_check(r->header[i].name, head, size);
        inside_check(r->header[i].value, head, size);
        require(http_header(r, r->header[i].name) != NULL, "a header that is not found");
    }
    http_header_has(r, "Connection", "close");
    if (http_cookie(r, "ospite-1", &length)) require(length < size, "a cookie");
    if (http_query(r, "token", &length)) require(length < size, "a field");
}

/* The head's size, found in pieces, is that found at once. */
static size_t head_find(const uint8_t *data, size_t size, size_t piece)
{
    size_t from = 0, whole_from = 0, found = 0, whole = http_head_size(data, size, &whole_from);

    for (size_t n = MIN(piece, size); !found; n = MIN(n + piece, size)) {
        found = http_head_size(data, n, &from);
        if (n == size) break;
    }
    require(found == whole, "the end of a head depends on how it comes");
    return whole;
}

static void frames_take(const uint8_t *data, size_t size, size_t piece, struct bytes *to)
{
    struct websocket w = { 0 };
    struct bytes reply = { 0 };

    for (size_t at = 0; at < size; at += piece)
        if (websocket_receive(&w, data + at, MIN(piece, size - at), to, &reply, 0) < 0) break;
    require(bytes_size(to) <= size && bytes_size(&reply) <= size + 4, "more came out of frames than went in");
    bytes_free(&reply);
}

static void frames_check(const uint8_t *data, size_t size, size_t piece)
{
    struct bytes whole = { 0 }, pieces = { 0 };

    frames_take(data, size, size, &whole);
    frames_take(data, size, piece, &pieces);
    require(bytes_size(&whole) == bytes_size(&pieces) && (!bytes_size(&whole) || !memcmp(whole.data, pieces.data, bytes_size(&whole))),
            "payload depends on how it comes");
    bytes_free(&whole);
    bytes_free(&pieces);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct http_request r;
    size_t piece, n;
    char *head;

    if (size < 2 || size > INPUT_MAX) return 0;
    piece = data[0] % 61 + 1;
    data++;
    size--;
    n = head_find(data, size, piece);
    frames_check(data + n, size - n, piece);
    if (!n) return 0;
    head = malloc(n);
    memcpy(head, data, n);
    if (!http_request_parse(&r, head, n)) {
        struct bytes reply = { 0 };

        request_check(&r, head, n);
        websocket_accept(&r, &reply);
        bytes_free(&reply);
    }
    free(head);
    return 0;
}

#ifndef FUZZER
#define HEAD(text) { text, sizeof(text) - 1 }          /* with NULs in it */

static uint8_t *seed_make(unsigned i, size_t *length)
{
    static const struct { const char *text; size_t size; } heads[] = {
        HEAD("GET / HTTP/1.1\r\nHost: 127.0.0.1:5800\r\n\r\n"),
        HEAD("GET /?token=00112233445566778899aabbccddeeff&a=b HTTP/1.1\r\nHost: localhost\r\nAccept-Encoding: gzip, deflate\r\nConnection: close\r\n\r\n"),
        HEAD("POST /do/reset HTTP/1.1\r\nHost: [::1]:1\r\nOrigin: http://[::1]:1\r\nContent-Length: 0\r\nCookie: a=b; ospite-1=00112233; c\r\n\r\n"),
        HEAD("GET /screen HTTP/1.1\r\nHost: x\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Version: 13\r\n"
             "Sec-WebSocket-Key: MDEyMzQ1Njc4OWFiY2RlZg==\r\nSec-WebSocket-Protocol: binary\r\n\r\n\x82\x85\1\2\3\4abcde\x89\x81\1\1\1\1x\x88\x80\0\0\0\0"),
        HEAD("GET / HTTP/1.0\r\n\r\n\x02\xfe\0\x80\1\2\3\4"),
    };
    const char *text = heads[i % ARRAY_SIZE(heads)].text;
    uint8_t *input = malloc(INPUT_MAX);

    *length = 1 + heads[i % ARRAY_SIZE(heads)].size;
    input[0] = (uint8_t)(i * 7);
    memcpy(input + 1, text, *length - 1);
    return input;
}

static size_t change(uint64_t *rng, uint8_t *input, size_t length)
{
    static const char pieces[] = "\r\n :;,=%?\t\0[]\x80\xff\x82\xfe";

    for (unsigned n = 1 + fuzz_dice(rng) % 4; n--;) {
        size_t at = 1 + fuzz_dice(rng) % (length - 1), more = fuzz_dice(rng) % 64;

        switch (fuzz_dice(rng) % 5) {
        case 0: input[at] = (uint8_t)fuzz_dice(rng); break;
        case 1: input[at] = (uint8_t)pieces[fuzz_dice(rng) % (sizeof(pieces) - 1)]; break;
        case 2: length = MAX(at, (size_t)2); break;
        case 3:
            if (length + more > INPUT_MAX || at + more > length) break;
            memmove(input + at + more, input + at, length - at);   /* a piece twice */
            length += more;
            break;
        default:
            more = MIN(more, length - at);
            memmove(input + at, input + at + more, length - at - more);
            length = MAX(length - more, (size_t)2);
        }
    }
    input[0] = (uint8_t)fuzz_dice(rng);
    return length;
}

int main(int argc, char **argv)
{
    static const struct fuzz_target target = { "web", 3000000, INPUT_MAX, 5, seed_make, change, 100 };

    return fuzz_main(&target, argc, argv);
}
#endif
