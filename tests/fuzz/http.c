/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Fuzzing of images behind http://: an input is what a server sends, a list of answers, each behind two bytes with its length. The
 * server, which is the proxy for all names too, so that no redirection leads out of the process, gives one to each request, and hangs
 * up when the client asks no more for a moment, or after the last.
 *
 * That is the plain program, with libcurl; under libFuzzer the same answers come without one (http_answers.c).
 */
#include "base/bits.h"
#include "base/error.h"
#include "block/block_private.h"
#include "fuzz.h"
#include "http_answers.h"

#include <arpa/inet.h>
#include <netinet/in.h>
#include <poll.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/socket.h>
#include <unistd.h>

enum { INPUT_MAX = 8192 };

static void image_use(const char *url)
{
    static uint8_t data[65536];
    struct error err;
    const struct block_open_options o = { .filename = url, .readonly = true, .no_backing = true };
    struct block_node *n = block_open(&o, &err);
    for (unsigned i = 0; n && i < 4; i++)
        block_pread(n, i * 1024ull, data, 512u << i);
    block_close(n);
}

#ifdef FUZZER
int LLVMFuzzerTestOneInput(const uint8_t *input, size_t size)
{
    if (size < 4 || size > INPUT_MAX)
        return 0;
    http_answers_set(input, size);
    image_use("http://image.invalid/x");
    return 0;
}
#else
enum { MOMENT_MS = 5, REQUESTS_MAX = 40 };

struct server { int listener, stop; const uint8_t *data; size_t size; };

/* A whole request, or false when there is none. */
static bool request_await(int fd, int ms)
{
    char text[8192];
    size_t length = 0;
    struct pollfd p = { fd, POLLIN, 0 };
    while (length < sizeof(text) - 1 && poll(&p, 1, ms) > 0) {
        ssize_t n = recv(fd, text + length, sizeof(text) - 1 - length, 0);
        if (n <= 0)
            return false;
        length += (size_t)n;
        text[length] = 0;
        if (strstr(text, "\r\n\r\n"))
            return true;
    }
    return false;
}

static void connection_serve(struct server *s, int fd)
{
    while (s->size > 2 && request_await(fd, MOMENT_MS)) {
        size_t length = MIN((size_t)(s->data[0] << 8 | s->data[1]), s->size - 2);
        send(fd, s->data + 2, length, MSG_NOSIGNAL);
        s->data += 2 + length;
        s->size -= 2 + length;
    }
    close(fd);
}

static void *server_thread(void *opaque)
{
    struct server *s = opaque;
    for (unsigned i = 0;;) {
        struct pollfd p[2] = { { s->listener, POLLIN, 0 }, { s->stop, POLLIN, 0 } };
        poll(p, 2, -1);
        if (p[1].revents)
            break;
        int fd = accept(s->listener, NULL, NULL);
        if (i++ < REQUESTS_MAX)
            connection_serve(s, fd);
        else
            close(fd);
    }
    return NULL;
}

static int listener_make(char *url, size_t room)
{
    struct sockaddr_in a = { .sin_family = AF_INET, .sin_addr = { htonl(INADDR_LOOPBACK) } };
    socklen_t length = sizeof(a);
    char proxy[64];
    int fd = socket(AF_INET, SOCK_STREAM, 0);
    if (bind(fd, (struct sockaddr *)&a, sizeof(a)) || getsockname(fd, (struct sockaddr *)&a, &length) || listen(fd, 16))
        abort();
    snprintf(proxy, sizeof(proxy), "http://127.0.0.1:%u", ntohs(a.sin_port));
    snprintf(url, room, "http://image.invalid/x");
    setenv("http_proxy", proxy, 1);
    setenv("https_proxy", proxy, 1);
    unsetenv("no_proxy");
    unsetenv("NO_PROXY");
    return fd;
}

int LLVMFuzzerTestOneInput(const uint8_t *input, size_t size)
{
    static char url[64];
    static int listener;
    const uint64_t one = 1;
    pthread_t thread;
    if (!listener)
        listener = listener_make(url, sizeof(url));
    if (size < 4 || size > INPUT_MAX)
        return 0;
    struct server s = { .listener = listener, .stop = eventfd(0, 0), .data = input, .size = size };
    if (pthread_create(&thread, NULL, server_thread, &s))
        abort();
    image_use(url);
    if (write(s.stop, &one, sizeof(one)) < 0)
        abort();
    pthread_join(thread, NULL);
    close(s.stop);
    return 0;
}

static const char *const answers[][4] = {
    { "HTTP/1.1 206 Partial\r\nContent-Length: 1\r\nContent-Range: bytes 0-0/4096\r\nETag: \"a\"\r\n\r\nx",
      "HTTP/1.1 206 Partial\r\nContent-Length: 4096\r\nContent-Range: bytes 0-4095/4096\r\nETag: \"a\"\r\n\r\n" },
    { "HTTP/1.1 302 Found\r\nLocation: http://other.invalid/y\r\nContent-Length: 0\r\n\r\n",
      "HTTP/1.1 206 Partial\r\nTransfer-Encoding: chunked\r\nContent-Range: bytes 0-0/512\r\n\r\n1\r\nx\r\n0\r\n\r\n" },
    { "HTTP/1.1 416 Bad\r\nContent-Range: bytes */0\r\nContent-Length: 0\r\n\r\n" },
    { "HTTP/1.1 401 No\r\nWWW-Authenticate: Basic realm=\"x\"\r\nContent-Length: 0\r\nSet-Cookie: a=b\r\n\r\n" },
};

static uint8_t *seed_make(unsigned i, size_t *length)
{
    uint8_t *out = calloc(1, INPUT_MAX);
    *length = 0;
    for (unsigned k = 0; k < 4 && answers[i][k]; k++) {
        size_t head = strlen(answers[i][k]), whole = head + (strstr(answers[i][k], "4096\r\nC") ? 4096 : 0);
        out[*length] = (uint8_t)(whole >> 8);
        out[*length + 1] = (uint8_t)whole;
        memcpy(out + *length + 2, answers[i][k], head);
        *length += 2 + whole;
    }
    return out;
}

static size_t change(uint64_t *rng, uint8_t *input, size_t length)
{
    for (unsigned k = (unsigned)(fuzz_dice(rng) % 4); k; k--) {
        size_t at = fuzz_dice(rng) % MIN(length, (size_t)400);
        input[at] = fuzz_dice(rng) & 1 ? (uint8_t)('0' + fuzz_dice(rng) % 10) : (uint8_t)fuzz_dice(rng);
    }
    return length;
}

int main(int argc, char **argv)
{
    static const struct fuzz_target target = { .name = "http", .count = 400, .input_max = INPUT_MAX, .seeds = ARRAY_SIZE(answers),
                                               .seed_make = seed_make, .change = change, .alarm_s = 500 };
    return fuzz_main(&target, argc, argv);
}
#endif
