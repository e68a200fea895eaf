/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Fuzzing of the NBD server: an input is what a client sends. Its first byte chooses whether the client has an export
 * already (then the rest are requests) or negotiates. The image lies in memory.
 *
 * The plain program changes sessions that make sense at random.
 */
#include "base/bits.h"
#include "base/error.h"
#include "block/fault.h"
#include "block/nbd_wire.h"
#include "nbd/server.h"
#include "fuzz.h"

#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

enum { IMAGE = 1 << 20, INPUT_MAX = 1 << 16 };

/* A listening socket in the abstract name space, so that nothing is left behind, and a client on it. */
static int client_make(struct nbd_server *s)
{
    struct sockaddr_un a = { .sun_family = AF_UNIX };
    socklen_t length = sizeof(sa_family_t);
    struct error err;
    int fd = socket(AF_UNIX, SOCK_STREAM, 0), client = socket(AF_UNIX, SOCK_STREAM, 0);
    if (bind(fd, (struct sockaddr *)&a, length))
        abort();
    length = sizeof(a);
    if (getsockname(fd, (struct sockaddr *)&a, &length) || listen(fd, 1) ||
        connect(client, (struct sockaddr *)&a, length) || nbd_server_listen(s, fd, &err))
        abort();
    return client;
}

static int attached_make(struct nbd_server *s)
{
    struct error err;
    int pair[2];
    if (socketpair(AF_UNIX, SOCK_STREAM, 0, pair) || nbd_server_attach(s, pair[0], "", &err))
        abort();
    return pair[1];
}

struct peer { int fd, stop; const uint8_t *data; size_t size; };

/* Sends all, reads whatever comes, until the server hangs up. */
static void *peer_thread(void *opaque)
{
    struct peer *p = opaque;
    uint8_t scrap[65536];
    for (size_t sent = 0;;) {
        struct pollfd f = { p->fd, (short)(POLLIN | (sent < p->size ? POLLOUT : 0)), 0 };
        poll(&f, 1, -1);
        ssize_t n = f.revents & POLLIN ? recv(p->fd, scrap, sizeof(scrap), MSG_DONTWAIT) : 1;
        if (n <= 0)
            break;
        if (f.revents & POLLOUT && sent < p->size) {
            n = send(p->fd, p->data + sent, p->size - sent, MSG_NOSIGNAL | MSG_DONTWAIT);
            sent += n > 0 ? (size_t)n : 0;
            if (sent == p->size)
                shutdown(p->fd, SHUT_WR);
        } else if (!(f.revents & POLLIN)) {
            break;
        }
    }
    close(p->fd);
    const uint64_t one = 1;
    if (write(p->stop, &one, sizeof(one)) < 0)
        abort();
    return NULL;
}

int LLVMFuzzerTestOneInput(const uint8_t *input, size_t size)
{
    struct error err;
    const struct block_open_options open = { .filename = "memory", .format = "raw", .discard = true };
    const struct nbd_server_options options = { .clients_max = 2, .persistent = true, .handshake_ms = 60000 };
    if (size < 2 || size > INPUT_MAX)
        return 0;
    static uint8_t zeroes[IMAGE];
    struct block_node *n = block_node_open_over(block_fault_open(zeroes, IMAGE, IMAGE), &open, NULL, &err);
    struct nbd_server *s = nbd_server_new(&options, &err);
    const struct nbd_export_options whole = { .name = "", .description = "words", .node = n, .length_bytes = UINT64_MAX };
    const struct nbd_export_options part = { .name = "part", .node = n, .offset_bytes = 1000, .length_bytes = 77777,
                                             .readonly = input[0] & 2 };
    if (!n || !s || nbd_server_export_add(s, &whole, &err) || nbd_server_export_add(s, &part, &err))
        abort();
    struct peer p = { .stop = eventfd(0, 0), .data = input + 1, .size = size - 1 };
    pthread_t thread;
    p.fd = input[0] & 1 ? attached_make(s) : client_make(s);
    if (pthread_create(&thread, NULL, peer_thread, &p))
        abort();
    nbd_server_run(s, p.stop);
    pthread_join(thread, NULL);
    close(p.stop);
    nbd_server_free(s);
    block_close(n);
    return 0;
}

#ifndef FUZZER
static size_t put(uint8_t *to, const void *data, size_t length)
{
    memcpy(to, data, length);
    return length;
}

static size_t option_make(uint64_t *rng, uint8_t *to)
{
    static const uint8_t numbers[] = { 1, 2, 3, 5, 6, 7, 8, 8, 8, 9, 10, 10, 7, 77 };
    static const char *const names[] = { "", "part", "none" };
    const char *name = names[fuzz_dice(rng) % 3];
    uint8_t body[64];
    uint32_t number = numbers[fuzz_dice(rng) % sizeof(numbers)];
    be32 length = be32_make((uint32_t)strlen(name));
    size_t n = 0;
    if (number == 1 || number == 6 || number == 7 || number == 9 || number == 10) {
        n = number == 1 ? 0 : put(body, &length, 4);
        n += put(body + n, name, strlen(name));
        if (number > 7) {
            const be32 count = be32_make(1), query = be32_make(15);
            n += put(body + n, &count, 4) + put(body + n + 4, &query, 4);
            n += put(body + n, "base:allocation", 15);
        } else if (number != 1) {
            n += put(body + n, "\0\1\0\3", 4);
        }
    }
    const struct nbd_wire_option head = { be64_make(NBD_MAGIC_OPTION), be32_make(number), be32_make((uint32_t)n) };
    size_t at = put(to, &head, sizeof(head));
    return at + put(to + at, body, n);
}

static size_t request_make(uint64_t *rng, uint8_t *to)
{
    static const uint32_t lengths[] = { 0, 1, 511, 512, 4096, 40000 };
    unsigned command = (unsigned)(fuzz_dice(rng) % 9);
    uint32_t length = lengths[fuzz_dice(rng) % 6];
    if (command == 1)
        length = MIN(length, 4096u);
    else if (fuzz_dice(rng) % 16 == 0)
        length = (uint32_t)fuzz_dice(rng);
    const struct nbd_wire_request q = {
        be32_make(NBD_MAGIC_REQUEST), be16_make(fuzz_dice(rng) % 4 ? 0 : (uint16_t)(1u << fuzz_dice(rng) % 5)),
        be16_make((uint16_t)(command == 2 && fuzz_dice(rng) % 8 ? 0 : command)), be64_make(fuzz_dice(rng)),
        be64_make(fuzz_dice(rng) % 8 ? fuzz_dice(rng) % IMAGE : fuzz_dice(rng)), be32_make(length),
    };
    size_t at = put(to, &q, sizeof(q));
    for (uint32_t i = 0; command == 1 && i < length; i++)
        to[at++] = (uint8_t)i;
    return at;
}

static size_t session_make(uint64_t *rng, uint8_t *to)
{
    size_t at = 1;
    to[0] = (uint8_t)fuzz_dice(rng);
    if (!(to[0] & 1)) {
        at += put(to + at, "\0\0\0\3", 4);
        for (unsigned k = (unsigned)(fuzz_dice(rng) % 6); k; k--)
            at += option_make(rng, to + at);
    }
    for (unsigned k = (unsigned)(fuzz_dice(rng) % 12); k; k--)
        at += request_make(rng, to + at);
    for (unsigned k = (unsigned)(fuzz_dice(rng) % 4); k; k--)
        to[1 + fuzz_dice(rng) % MAX(at - 1, (size_t)1)] ^= (uint8_t)(1u << fuzz_dice(rng) % 8);
    return at;
}

/* Every input is made anew. */
static uint8_t *nothing_make(unsigned i, size_t *length)
{
    *length = 1;
    return calloc(1, 1);
}

static size_t input_make(uint64_t *rng, uint8_t *input, size_t length)
{
    return session_make(rng, input);
}

int main(int argc, char **argv)
{
    static const struct fuzz_target target = { .name = "nbd", .count = 4000, .input_max = INPUT_MAX, .seeds = 1,
                                               .seed_make = nothing_make, .change = input_make, .alarm_s = 150 };
    return fuzz_main(&target, argc, argv);
}
#endif
