/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Fuzzing of the NBD server: an input is what a client sends. Its first byte chooses whether the client has an export
 * already (then the rest are requests) or negotiates. One server runs for all inputs, in a thread of its own; its images lie in
 * memory, one of them is a qcow2 image with a dirty bitmap.
 *
 * The plain program changes sessions that make sense at random.
 */
#include "base/bits.h"
#include "base/error.h"
#include "block/fault.h"
#include "block/image.h"
#include "block/nbd_wire.h"
#include "nbd/server.h"
#include "fuzz.h"

#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

enum { IMAGE = 128 << 10, INPUT_MAX = 1 << 16, SEEDS = 50 };

struct service {
    struct nbd_server *server;
    struct block_node *raw, *qcow2;
    struct sockaddr_un address;
    socklen_t address_length;
    int never;                      /* cannot be read: the server runs on */
};

static struct block_node *raw_make(void)
{
    static const uint8_t zeroes[IMAGE];
    const struct block_open_options o = { .filename = "memory", .format = "raw", .discard = true };
    struct error err;
    return block_node_open_over(block_fault_open(zeroes, IMAGE, IMAGE), &o, NULL, &err);
}

static struct block_node *qcow2_make(void)
{
    const struct block_option_value small = { "cluster_size", "4096" };
    const struct block_option_set options = { &small, 1 };
    const struct block_create_options c = { .filename = "memory", .format = "qcow2", .size_bytes = IMAGE, .options = &options };
    const struct block_open_options o = { .filename = "memory", .format = "qcow2", .discard = true };
    const struct block_bitmap_change add = { .action = BLOCK_BITMAP_ADD, .name = "b", .granularity_bytes = 4096 };
    struct block_protocol *p = block_fault_open(NULL, 0, 8 << 20);
    struct error err;
    if (!p || block_format_find("qcow2")->create(p, &c, &err))
        return NULL;
    struct block_node *n = block_node_open_over(p, &o, NULL, &err);
    return n && !block_bitmap_change(n, &add, &err) ? n : NULL;
}

static void *service_thread(void *opaque)
{
    struct service *s = opaque;
    nbd_server_run(s->server, s->never);
    return NULL;
}

/* A listening socket in the abstract name space, so that nothing is left behind. */
static void service_listen(struct service *s)
{
    struct error err;
    int fd = socket(AF_UNIX, SOCK_STREAM, 0);
    s->address.sun_family = AF_UNIX;
    s->address_length = sizeof(s->address);
    if (bind(fd, (struct sockaddr *)&s->address, sizeof(sa_family_t)) ||
        getsockname(fd, (struct sockaddr *)&s->address, &s->address_length) || listen(fd, 8) || nbd_server_listen(s->server, fd, &err))
        abort();
}

static void service_start(struct service *s)
{
    const struct nbd_server_options options = { .clients_max = 8, .persistent = true, .handshake_ms = 60000 };
    struct error err;
    pthread_t thread;
    s->raw = raw_make();
    s->qcow2 = qcow2_make();
    s->never = eventfd(0, 0);
    s->server = nbd_server_new(&options, &err);
    const struct nbd_export_options exports[] = {
        { .name = "", .description = "words", .node = s->raw, .length_bytes = UINT64_MAX },
        { .name = "part", .node = s->raw, .offset_bytes = 1000, .length_bytes = 77777, .detect_zeroes = NBD_DETECT_UNMAP },
        { .name = "ro", .node = s->raw, .length_bytes = UINT64_MAX, .readonly = true },
        { .name = "q", .node = s->qcow2, .length_bytes = UINT64_MAX, .bitmap = "b" },
    };
    for (size_t i = 0; i < ARRAY_SIZE(exports); i++)
        if (!s->raw || !s->qcow2 || !s->server || nbd_server_export_add(s->server, &exports[i], &err))
            abort();
    service_listen(s);
    if (pthread_create(&thread, NULL, service_thread, s))
        abort();
}

static int client_make(struct service *s, uint8_t choice)
{
    static const char *const names[] = { "", "part", "ro", "q" };
    struct error err;
    int pair[2];
    if (choice & 1) {
        if (socketpair(AF_UNIX, SOCK_STREAM, 0, pair) || nbd_server_attach(s->server, pair[0], names[choice >> 1 & 3], &err))
            abort();
        return pair[1];
    }
    int fd = socket(AF_UNIX, SOCK_STREAM, 0);
    if (connect(fd, (struct sockaddr *)&s->address, s->address_length))
        abort();
    return fd;
}

/* Sends all, reads whatever comes, until the server hangs up. */
static void session_run(int fd, const uint8_t *data, size_t size)
{
    static uint8_t scrap[65536];
    for (size_t sent = 0;;) {
        struct pollfd f = { fd, (short)(POLLIN | (sent < size ? POLLOUT : 0)), 0 };
        poll(&f, 1, -1);
        if (f.revents & POLLOUT && sent < size) {
            ssize_t n = send(fd, data + sent, size - sent, MSG_NOSIGNAL | MSG_DONTWAIT);
            sent += n > 0 ? (size_t)n : 0;
            if (sent == size)
                shutdown(fd, SHUT_WR);
        }
        if (f.revents & ~POLLOUT && recv(fd, scrap, sizeof(scrap), MSG_DONTWAIT) <= 0)
            break;
    }
    close(fd);
}

int LLVMFuzzerTestOneInput(const uint8_t *input, size_t size)
{
    static struct service service;
    if (size < 2 || size > INPUT_MAX)
        return 0;
    if (!service.server)
        service_start(&service);
    session_run(client_make(&service, input[0]), input + 1, size - 1);
    /* The next input finds the disk as this one did. */
    block_write_zeroes_sync(service.raw, 0, IMAGE, true);
    block_flush_sync(service.raw);
    block_flush_sync(service.qcow2);
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
    static const char *const names[] = { "", "part", "none", "ro", "q", "q" };
    static const char *const contexts[] = { "base:allocation", "qemu:dirty-bitmap:b", "base:", "qemu:dirty-bitmap:", "qemu:" };
    const char *name = names[fuzz_dice(rng) % ARRAY_SIZE(names)];
    uint8_t body[128];
    uint32_t number = numbers[fuzz_dice(rng) % sizeof(numbers)];
    be32 length = be32_make((uint32_t)strlen(name));
    size_t n = 0;
    if (number == 1 || number == 6 || number == 7 || number == 9 || number == 10) {
        n = number == 1 ? 0 : put(body, &length, 4);
        n += put(body + n, name, strlen(name));
        if (number > 7) {
            const be32 count = be32_make((uint32_t)(fuzz_dice(rng) % 3));
            n += put(body + n, &count, 4);
            for (uint32_t i = 0; i < be32_get(count); i++) {
                const char *text = contexts[fuzz_dice(rng) % ARRAY_SIZE(contexts)];
                const be32 query = be32_make((uint32_t)strlen(text));
                n += put(body + n, &query, 4);
                n += put(body + n, text, strlen(text));
            }
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

/* For libFuzzer to begin with; here every input is made anew. */
static uint8_t *seed_make(unsigned i, size_t *length)
{
    uint64_t rng = i;
    uint8_t *session = calloc(1, INPUT_MAX);
    *length = session_make(&rng, session);
    return session;
}

static size_t input_make(uint64_t *rng, uint8_t *input, size_t length)
{
    return session_make(rng, input);
}

int main(int argc, char **argv)
{
    static const struct fuzz_target target = { .name = "nbd", .count = 4000, .input_max = INPUT_MAX, .seeds = SEEDS,
                                               .seed_make = seed_make, .change = input_make, .alarm_s = 500 };
    return fuzz_main(&target, argc, argv);
}
#endif
