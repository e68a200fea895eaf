/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Images behind http:// and https://, for reading, through libcurl. A read is a GET with a range; the answer has to be exactly that
 * range (206, Content-Range), of a file whose length and ETag are still those of the open, and exactly as long: anything else is an
 * I/O error, so a server cannot make us mix two files, wait for ever or store more than was asked for. Each thread that reads has a
 * connection, which is kept for the next. Redirections lead to http and https only, and never from https back to http.
 *
 * Sources: RFC 9110, sections 13 and 14; libcurl's manual pages; the options are those of QEMU's curl driver.
 */
#include "block/block_private.h"

#include "base/bits.h"
#include "block/http_ahead.h"
#include "block/http_curl.h"
#include "base/log.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { IDLE_MAX = 16, PIECE_BYTES = 1 << 20, REDIRECTIONS = 5, SPEED_MIN = 1024, REQUEST_S = 300, TAG_BYTES = 256 };

struct http {
    struct block_protocol p;
    struct http_curl curl;
    char *url, *cookie, *username, *password;
    long timeout_s;
    bool verify;
    uint64_t size;
    char tag[TAG_BYTES];            /* ETag as the server wrote it; empty: none */
    struct http_ahead ahead;
    pthread_mutex_t lock;
    CURL *idle[IDLE_MAX];
    unsigned idles;
};

/* One answer. */
struct answer {
    uint8_t *data;
    size_t room, length;
    bool has_range, is_too_long;
    uint64_t first, last, total;
    char tag[TAG_BYTES];
};

static struct http *http_of(struct block_protocol *p)
{
    return container_of(p, struct http, p);
}

static size_t body_take(char *data, size_t size, size_t count, void *opaque)
{
    struct answer *a = opaque;
    size_t length = size * count;
    if (length > a->room - a->length) {
        a->is_too_long = true;
        return 0;                   /* ends the transfer */
    }
    memcpy(a->data + a->length, data, length);
    a->length += length;
    return length;
}

static void range_parse(struct answer *a, const char *text)
{
    unsigned long long first, last, total;
    int end = 0;
    if (sscanf(text, " bytes %20llu-%20llu/%20llu%n", &first, &last, &total, &end) == 3 && end)
        a->has_range = true;
    else if (sscanf(text, " bytes */%20llu%n", &total, &end) == 1 && end)
        first = last = 0;
    else
        return;
    a->first = first;
    a->last = last;
    a->total = total;
}

/* Headers of a redirection come before those that count. */
static size_t header_take(char *data, size_t size, size_t count, void *opaque)
{
    struct answer *a = opaque;
    size_t length = size * count;
    char line[TAG_BYTES + 32];
    if (length >= sizeof(line))
        return length;
    memcpy(line, data, length);
    line[length] = 0;
    line[strcspn(line, "\r\n")] = 0;
    if (!strncmp(line, "HTTP/", 5)) {
        a->has_range = false;
        a->total = a->length = 0;
        *a->tag = 0;
    } else if (!strncasecmp(line, "Content-Range:", 14)) {
        range_parse(a, line + 14);
    } else if (!strncasecmp(line, "ETag:", 5)) {
        snprintf(a->tag, sizeof(a->tag), "%s", line + 5 + strspn(line + 5, " \t"));
    }
    return length;
}

static CURL *handle_new(const struct http *h)
{
    CURL *c = h->curl.easy_init();
    bool bad = !c;
    const char *from = strncasecmp(h->url, "https:", 6) ? "http,https" : "https";
    if (!c)
        return NULL;
    bad |= h->curl.easy_setopt(c, CURLOPT_URL, h->url) || h->curl.easy_setopt(c, CURLOPT_NOSIGNAL, 1L) ||
           h->curl.easy_setopt(c, CURLOPT_PROTOCOLS_STR, from) || h->curl.easy_setopt(c, CURLOPT_REDIR_PROTOCOLS_STR, from) ||
           h->curl.easy_setopt(c, CURLOPT_FOLLOWLOCATION, 1L) || h->curl.easy_setopt(c, CURLOPT_MAXREDIRS, (long)REDIRECTIONS) ||
           h->curl.easy_setopt(c, CURLOPT_CONNECTTIMEOUT, h->timeout_s) || h->curl.easy_setopt(c, CURLOPT_TIMEOUT, (long)REQUEST_S) ||
           h->curl.easy_setopt(c, CURLOPT_LOW_SPEED_LIMIT, (long)SPEED_MIN) ||
           h->curl.easy_setopt(c, CURLOPT_LOW_SPEED_TIME, h->timeout_s) || h->curl.easy_setopt(c, CURLOPT_NETRC, (long)CURL_NETRC_IGNORED) ||
           h->curl.easy_setopt(c, CURLOPT_SSL_VERIFYPEER, (long)h->verify) ||
           h->curl.easy_setopt(c, CURLOPT_SSL_VERIFYHOST, h->verify ? 2L : 0L) || h->curl.easy_setopt(c, CURLOPT_USERAGENT, "ospite") ||
           h->curl.easy_setopt(c, CURLOPT_WRITEFUNCTION, body_take) || h->curl.easy_setopt(c, CURLOPT_HEADERFUNCTION, header_take);
    if (h->cookie)
        bad |= h->curl.easy_setopt(c, CURLOPT_COOKIE, h->cookie);
    if (h->username)
        bad |= h->curl.easy_setopt(c, CURLOPT_USERNAME, h->username);
    if (h->password)
        bad |= h->curl.easy_setopt(c, CURLOPT_PASSWORD, h->password);
    if (bad) {
        h->curl.easy_cleanup(c);
        return NULL;
    }
    return c;
}

static CURL *handle_take(struct http *h)
{
    pthread_mutex_lock(&h->lock);
    CURL *c = h->idles ? h->idle[--h->idles] : NULL;
    pthread_mutex_unlock(&h->lock);
    return c ? c : handle_new(h);
}

static void handle_give(struct http *h, CURL *c)
{
    pthread_mutex_lock(&h->lock);
    if (h->idles < IDLE_MAX) {
        h->idle[h->idles++] = c;
        c = NULL;
    }
    pthread_mutex_unlock(&h->lock);
    h->curl.easy_cleanup(c);
}

/* The bytes [offset, offset + room) are asked for. *status: what the server says, 0: nothing. why: in words, when it fails. */
static int get(struct http *h, uint64_t offset, struct answer *a, long *status, char why[CURL_ERROR_SIZE])
{
    char range[64];
    CURL *c = handle_take(h);
    *status = 0;
    *why = 0;
    if (!c)
        return -ENOMEM;
    snprintf(range, sizeof(range), "%llu-%llu", (unsigned long long)offset, (unsigned long long)(offset + a->room - 1));
    h->curl.easy_setopt(c, CURLOPT_RANGE, range);
    h->curl.easy_setopt(c, CURLOPT_WRITEDATA, a);
    h->curl.easy_setopt(c, CURLOPT_HEADERDATA, a);
    h->curl.easy_setopt(c, CURLOPT_ERRORBUFFER, why);
    CURLcode r = h->curl.easy_perform(c);
    h->curl.easy_getinfo(c, CURLINFO_RESPONSE_CODE, status);
    h->curl.easy_setopt(c, CURLOPT_ERRORBUFFER, NULL);
    if (r && !*why)
        snprintf(why, CURL_ERROR_SIZE, "%s", h->curl.easy_strerror(r));
    if (r)
        h->curl.easy_cleanup(c);       /* what else comes on this connection is nobody's */
    else
        handle_give(h, c);
    return r ? -EIO : 0;
}

static const char *wrong_answer(const struct http *h, uint64_t offset, const struct answer *a, long status)
{
    if (a->is_too_long)
        return "it sent more than was asked for";
    if (status != 206 || !a->has_range)
        return "it did not answer with the range that was asked for";
    if (a->total != h->size || strcmp(a->tag, h->tag))
        return "the file there is another one now";
    if (a->first != offset || a->last != offset + a->room - 1 || a->length != a->room)
        return "it answered with another range than was asked for";
    return NULL;
}

static int piece_read(struct http *h, uint64_t offset, uint8_t *data, size_t length)
{
    struct answer a = { .data = data, .room = length };
    char why[CURL_ERROR_SIZE];
    long status;
    int r = get(h, offset, &a, &status, why);
    const char *wrong = r ? a.is_too_long ? wrong_answer(h, offset, &a, status) : why : wrong_answer(h, offset, &a, status);
    if (!wrong)
        return 0;
    log_message("'%s': reading %zu bytes at %llu failed: %s (status %ld)", h->p.filename, length, (unsigned long long)offset, wrong,
                status);
    return r == -ENOMEM ? r : -EIO;
}

/* [offset, offset + length) goes to byte skip of the list, at most a piece of it; *done: how much did. */
static int part_read(struct http *h, uint64_t offset, const struct iovec *iov, int iovcnt, size_t skip, size_t length, size_t *done)
{
    *done = http_ahead_find(&h->ahead, offset, length, iov, iovcnt, skip);
    size_t take = http_ahead_note(&h->ahead, offset, *done ? *done : length);
    if (*done)
        return 0;
    take = (size_t)MIN((uint64_t)take, h->size - offset);
    uint8_t *data = malloc(take);
    int r = data ? piece_read(h, offset, data, take) : -ENOMEM;
    if (!r) {
        *done = MIN(take, length);
        block_iov_from(iov, iovcnt, skip, data, *done);
    }
    if (!r && take > length)
        http_ahead_keep(&h->ahead, offset, data, take);
    else
        free(data);
    return r;
}

static int http_preadv(struct block_protocol *p, uint64_t offset, const struct iovec *iov, int iovcnt)
{
    struct http *h = http_of(p);
    size_t length = block_iov_length(iov, iovcnt), done = 0;
    size_t there = offset < h->size ? (size_t)MIN((uint64_t)length, h->size - offset) : 0;
    int r = 0;
    for (size_t at = 0; !r && at < there; at += done)
        r = part_read(h, offset + at, iov, iovcnt, at, MIN(there - at, (size_t)PIECE_BYTES), &done);
    if (!r)
        block_iov_zero(iov, iovcnt, there, length - there);
    return r;
}

static int http_pwritev(struct block_protocol *p, uint64_t offset, const struct iovec *iov, int iovcnt)
{
    return -EROFS;
}

static int http_flush(struct block_protocol *p)
{
    return 0;
}

static int http_discard(struct block_protocol *p, uint64_t offset, uint64_t length)
{
    return -EROFS;
}

static int http_write_zeroes(struct block_protocol *p, uint64_t offset, uint64_t length, bool may_unmap)
{
    return -EROFS;
}

static int64_t http_size(struct block_protocol *p)
{
    return (int64_t)http_of(p)->size;
}

static void http_close(struct block_protocol *p)
{
    struct http *h = http_of(p);
    for (unsigned i = 0; i < h->idles; i++)
        h->curl.easy_cleanup(h->idle[i]);
    if (h->password)
        explicit_bzero(h->password, strlen(h->password));
    pthread_mutex_destroy(&h->lock);
    http_ahead_free(&h->ahead);
    free(h->url);
    free(h->cookie);
    free(h->username);
    free(h->password);
    free(h->p.filename);
    h->curl.global_cleanup();
    free(h);
}

static const struct block_protocol_ops http_ops = {
    .name = "http", .preadv = http_preadv, .pwritev = http_pwritev, .flush = http_flush, .discard = http_discard,
    .write_zeroes = http_write_zeroes, .size = http_size, .close = http_close,
};

/* The first byte, for the length of the file; that of an empty one cannot be had. */
static int size_find(struct http *h, struct error *err)
{
    uint8_t byte;
    struct answer a = { .data = &byte, .room = 1 };
    char why[CURL_ERROR_SIZE];
    long status;
    int r = get(h, 0, &a, &status, why);
    if (status == 416)
        return a.total ? error_set(err, "the server has no first byte of it") : 0;
    if (status == 200)
        return error_set(err, "the server does not send parts of files (ranges); download it first");
    if (r && status >= 300 && status < 400)
        return error_set(err, "the server's redirection leads nowhere: %s", why);
    if (status && status != 206)
        return error_set(err, "the server answers with status %ld%s", status, status == 404 ? " (not found); check the name" :
                         status == 401 ? " (unauthorized); give username= and password-secret=" : "");
    if (r)
        return error_set(err, "%s", *why ? why : strerror(-r));
    if (!a.has_range || a.first || a.last || a.length != 1 || !a.total || a.total > INT64_MAX)
        return error_set(err, "the server's answer to a request for one byte is not that byte, or does not tell the length");
    h->size = a.total;
    strcpy(h->tag, a.tag);
    return 0;
}

static int text_option(const struct block_option_set *set, const char *key, char **to, struct error *err)
{
    const char *value = block_option_get(set, key);
    *to = value ? strdup(value) : NULL;
    return value && !*to ? error_set(err, "out of memory") : 0;
}

static int secret_option(const struct block_option_set *set, const char *key, const struct block_objects *objects, char **to,
                         struct error *err)
{
    const char *id = block_option_get(set, key);
    size_t length;
    if (!id)
        return 0;
    if (!objects || !objects->secret)
        return error_set(err, "%s=%s: there is no secret with this id; add --object secret,id=%s,file=PATH", key, id, id);
    const uint8_t *bytes = objects->secret(objects, id, &length, err);
    if (!bytes)
        return error_prefix(err, "%s", key);
    free(*to);
    *to = strndup((const char *)bytes, length);
    return *to ? 0 : error_set(err, "out of memory");
}

static int http_start(struct http *h, const char *filename, const struct block_option_set *options,
                      const struct block_objects *objects, const struct block_file_options *o, struct error *err)
{
    uint64_t timeout = 30;
    const char *url = filename ? filename : block_option_get(options, "url");
    if (!url || (strncasecmp(url, "http://", 7) && strncasecmp(url, "https://", 8)))
        return error_set(err, "url= is missing or no http:// or https:// name");
    h->url = strdup(url);
    h->p.filename = strdup(url);
    if (!h->url || !h->p.filename)
        return error_set(err, "out of memory");
    if (!o->readonly)
        return error_set(err, "images behind http are only read; use readonly=on or snapshot=on");
    if (block_option_number(options, "timeout", 600, &timeout, err) || block_option_bool(options, "sslverify", &h->verify, err) ||
        text_option(options, "cookie", &h->cookie, err) || text_option(options, "username", &h->username, err) ||
        secret_option(options, "cookie-secret", objects, &h->cookie, err) ||
        secret_option(options, "password-secret", objects, &h->password, err))
        return -1;
    h->timeout_s = (long)MAX(timeout, 1ull);
    return size_find(h, err);
}

static struct block_protocol *http_open(const char *filename, const struct block_option_set *options,
                                        const struct block_objects *objects, const struct block_file_options *o,
                                        struct error *err)
{
    struct http *h = calloc(1, sizeof(*h));
    int r = h ? http_curl_load(&h->curl, err) : 0;
    if (h && !r && h->curl.global_init(CURL_GLOBAL_ALL))
        r = error_set(err, "libcurl cannot be used");
    if (r) {
        error_prefix(err, "cannot open '%.300s'", filename ? filename : "http");
        free(h);
        return NULL;
    }
    if (!h) {
        error_set(err, "cannot open '%s': out of memory", filename ? filename : "http");
        return NULL;
    }
    h->p.ops = &http_ops;
    h->p.fd = -1;
    h->p.readonly = true;
    h->p.ino = (ino_t)(uintptr_t)h;         /* no other's */
    h->verify = true;
    pthread_mutex_init(&h->lock, NULL);
    http_ahead_init(&h->ahead);
    if (!http_start(h, filename, options, objects, o, err))
        return &h->p;
    error_prefix(err, "cannot open '%.300s'", h->p.filename ? h->p.filename : "http");
    http_close(&h->p);
    return NULL;
}

static const struct block_option open_options[] = {
    { "url", BLOCK_OPTION_TEXT, "http://... or https://...", NULL, false },
    { "sslverify", BLOCK_OPTION_BOOL, "whether the server's certificate has to be good", "on", false },
    { "timeout", BLOCK_OPTION_NUMBER, "seconds in which something has to come", "30", false },
    { "cookie", BLOCK_OPTION_TEXT, "cookies to send", NULL, false },
    { "cookie-secret", BLOCK_OPTION_TEXT, "id of a secret with the cookies", NULL, false },
    { "username", BLOCK_OPTION_TEXT, "who asks", NULL, false },
    { "password-secret", BLOCK_OPTION_TEXT, "id of a secret with the password", NULL, false },
    { .name = NULL },
};
static const char *const prefixes[] = { "http:", NULL }, *const tls_prefixes[] = { "https:", NULL };

const struct block_protocol_driver block_protocol_http = { "http", prefixes, open_options, http_open },
                                   block_protocol_https = { "https", tls_prefixes, open_options, http_open };
