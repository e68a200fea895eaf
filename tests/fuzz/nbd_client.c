/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Fuzzing of the NBD client: an input is what a server sends. If its first byte is odd, all of it comes at once and is a
 * handshake, or, with the next bit, what it has to offer (nbd_list.c). Else the handshake is a good one, and the rest are replies, each a struct reply and up to 255 bytes: they get the
 * handle of the request that they follow, so that changes get past it. A server that has not sent all that the client waits for goes
 * on after a moment; at the end it hangs up.
 */
#include "base/bits.h"
#include "base/error.h"
#include "block/block_private.h"
#include "block/nbd_list.h"
#include "block/nbd_wire.h"
#include "fuzz.h"

#include <linux/sockios.h>
#include <poll.h>
#include <pthread.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

enum { SIZE = 1 << 20, INPUT_MAX = 8192, MOMENT_US = 300, PAD_MAX = 1 << 16 };
enum { AT_ONCE = 1, LIST = 2, LIST_MS = 5000 };
enum { SIMPLE = 1, OTHER_HANDLE = 2, MORE = 4, PADDED = 8, WITH_OFFSET = 16 };

struct reply { uint8_t kind, flags; be16 type; be32 length; uint8_t bytes; } __attribute__((packed));

struct server { int listener, fd; const uint8_t *data; size_t size; };

static bool put(int fd, const void *data, size_t length)
{
    return send(fd, data, length, MSG_NOSIGNAL) == (ssize_t)length;
}

static bool get(int fd, void *data, size_t length)
{
    return !length || recv(fd, data, length, MSG_WAITALL) == (ssize_t)length;
}

static void option_reply(int fd, be32 option, uint32_t type, const void *data, uint32_t length)
{
    const struct nbd_wire_option_reply h = { be64_make(NBD_MAGIC_OPTION_REPLY), option, be32_make(type), be32_make(length) };
    put(fd, &h, sizeof(h));
    put(fd, data, length);
}

static bool handshake(int fd)
{
    const struct nbd_wire_greeting g = { be64_make(NBD_MAGIC_INIT), be64_make(NBD_MAGIC_OPTION), be16_make(3) };
    const struct { be16 type; be64 size; be16 flags; } __attribute__((packed)) x = { be16_make(NBD_INFO_EXPORT), be64_make(SIZE),
                                                                                    be16_make(0x6d) };
    const struct { be32 id; char name[15]; } __attribute__((packed)) c = { be32_make(7), "base:allocatio" "n" };
    uint8_t scrap[4096];
    put(fd, &g, sizeof(g));
    for (bool more = get(fd, scrap, 4); more;) {
        struct nbd_wire_option o;
        if (!get(fd, &o, sizeof(o)) || be32_get(o.length) > sizeof(scrap) || !get(fd, scrap, be32_get(o.length)))
            return false;
        if (be32_get(o.option) == NBD_OPT_SET_META_CONTEXT)
            option_reply(fd, o.option, NBD_REP_META_CONTEXT, &c, sizeof(c));
        if (be32_get(o.option) == NBD_OPT_GO)
            option_reply(fd, o.option, NBD_REP_INFO, &x, sizeof(x));
        option_reply(fd, o.option, NBD_REP_ACK, NULL, 0);
        more = be32_get(o.option) != NBD_OPT_GO;
    }
    return true;
}

/* The next replies of the input, for one request. */
static void answer(struct server *s, const struct nbd_wire_request *q)
{
    static const uint8_t zeroes[PAD_MAX];
    struct reply r = { .kind = MORE };
    while (r.kind & MORE && s->size >= sizeof(r)) {
        memcpy(&r, s->data, sizeof(r));
        size_t bytes = MIN((size_t)r.bytes, s->size - sizeof(r)), sent = bytes + (r.kind & WITH_OFFSET ? sizeof(q->offset) : 0);
        be64 handle = be64_make(be64_get(q->handle) ^ (r.kind & OTHER_HANDLE ? r.kind : 0));
        const struct nbd_wire_simple simple = { be32_make(NBD_MAGIC_SIMPLE_REPLY), r.length, handle };
        const struct nbd_wire_chunk chunk = { be32_make(NBD_MAGIC_CHUNK), be16_make(r.flags), r.type, handle, r.length };
        put(s->fd, r.kind & SIMPLE ? (const void *)&simple : &chunk, r.kind & SIMPLE ? sizeof(simple) : sizeof(chunk));
        if (r.kind & WITH_OFFSET)
            put(s->fd, &q->offset, sizeof(q->offset));
        put(s->fd, s->data + sizeof(r), bytes);
        if (r.kind & PADDED && be32_get(r.length) > sent)
            put(s->fd, zeroes, MIN(be32_get(r.length) - sent, sizeof(zeroes)));
        s->data += sizeof(r) + bytes;
        s->size -= sizeof(r) + bytes;
    }
}

/* Whether the client asks. When it has taken all that was sent and is silent for a moment, it waits for more. */
static bool request_is_there(int fd)
{
    struct pollfd p = { fd, POLLIN, 0 };
    const struct timespec moment = { 0, MOMENT_US * 1000 };
    int unread = 0;
    while (!poll(&p, 1, 0) && !ioctl(fd, SIOCOUTQ, &unread) && unread)
        sched_yield();
    return ppoll(&p, 1, &moment, NULL) > 0;
}

static void *server_thread(void *opaque)
{
    struct server *s = opaque;
    uint8_t scrap[4096];
    s->fd = accept(s->listener, NULL, NULL);
    if (*s->data++ & AT_ONCE) {
        put(s->fd, s->data, --s->size);
        shutdown(s->fd, SHUT_WR);
        while (recv(s->fd, scrap, sizeof(scrap), 0) > 0)
            continue;
    } else if (s->size--, handshake(s->fd)) {
        struct nbd_wire_request q = { .handle = { 0 } };
        while (s->size >= sizeof(struct reply)) {
            if (request_is_there(s->fd) &&
                (!get(s->fd, &q, sizeof(q)) || (be16_get(q.command) == NBD_CMD_WRITE && !get(s->fd, scrap, 512))))
                break;
            answer(s, &q);
        }
    }
    close(s->fd);
    return NULL;
}

static void use(struct block_node *n)
{
    static uint8_t data[65536];
    struct block_extent e;
    block_pread(n, 0, data, 4096);
    block_extent_get(n, 4096, 65536, &e);
    block_pread(n, 8192, data, sizeof(data));
    block_pwrite(n, 512, data, 512);
    block_node_write_zeroes(n, 0, 4096, true);
    block_extent_get(n, 0, SIZE, &e);
    block_node_discard(n, 0, 4096);
    block_flush_sync(n);
}

static void list_use(const char *path)
{
    struct nbd_list l;
    struct error err;
    size_t bytes = 0;
    if (!nbd_list_get(&l, path, NULL, NULL, NULL, NULL, LIST_MS, &err) && l.bytes > NBD_LIST_BYTES_MAX)
        abort();
    for (unsigned i = 0; i < l.count; i++) {
        bytes += strlen(l.export[i].name) + strlen(l.export[i].description);
        for (unsigned k = 0; k < l.export[i].contexts; k++)
            bytes += strlen(l.export[i].context[k]);
    }
    if (bytes > NBD_LIST_BYTES_MAX || l.count > NBD_LIST_MAX)
        abort();
    nbd_list_free(&l);
}

static struct sockaddr_un address = { .sun_family = AF_UNIX };

static void name_remove(void)
{
    unlink(address.sun_path);
}

static int listener_make(void)
{
    int fd = socket(AF_UNIX, SOCK_STREAM, 0);
    snprintf(address.sun_path, sizeof(address.sun_path), "/tmp/ospite-fuzz-%d", getpid());
    name_remove();
    if (bind(fd, (struct sockaddr *)&address, sizeof(address)) || listen(fd, 4) || atexit(name_remove))
        abort();
    return fd;
}

int LLVMFuzzerTestOneInput(const uint8_t *input, size_t size)
{
    static char uri[160];
    static int listener;
    struct error err;
    if (!listener) {
        listener = listener_make();
        snprintf(uri, sizeof(uri), "nbd+unix:///?socket=%s", address.sun_path);
    }
    if (size < 2 || size > INPUT_MAX)
        return 0;
    struct server s = { .listener = listener, .data = input, .size = size };
    const struct block_open_options o = { .filename = uri, .format = "raw", .discard = true };
    pthread_t thread;
    if (pthread_create(&thread, NULL, server_thread, &s))
        abort();
    if ((input[0] & (AT_ONCE | LIST)) == (AT_ONCE | LIST)) {
        list_use(address.sun_path);
    } else {
        struct block_node *n = block_open(&o, &err);
        if (n)
            use(n);
        block_close(n);
    }
    pthread_join(thread, NULL);
    return 0;
}

#ifndef FUZZER
static size_t reply_put(uint8_t *to, uint8_t kind, uint16_t type, uint32_t length, const void *data, uint8_t bytes)
{
    const struct reply r = { kind, NBD_CHUNK_FLAG_DONE, be16_make(type), be32_make(length), bytes };
    memcpy(to, &r, sizeof(r));
    memcpy(to + sizeof(r), data, bytes);
    return sizeof(r) + bytes;
}

static size_t list_seed(uint8_t *to)
{
#define ANSWER(option, type, length) "\0\3\350\211\4\125\145\251\0\0\0" option "\0\0\0" type "\0\0\0" length
    static const uint8_t seed[] = "\3NBDMAGICIHAVEOPT\0\3" ANSWER("\10", "\1", "\0")
        ANSWER("\3", "\2", "\16") "\0\0\0\2e1" "in words" ANSWER("\3", "\2", "\4") "\0\0\0\0" ANSWER("\3", "\1", "\0")
        ANSWER("\6", "\3", "\14") "\0\0" "\0\0\0\0\0\20\0\0" "\0\155"
        ANSWER("\6", "\3", "\16") "\0\3" "\0\0\0\1" "\0\0\20\0" "\2\0\0\0" ANSWER("\6", "\1", "\0")
        ANSWER("\11", "\4", "\23") "\0\0\0\0" "base:allocation" ANSWER("\11", "\1", "\0")
        ANSWER("\6", "\1", "\0") ANSWER("\11", "\1", "\0");
#undef ANSWER
    memcpy(to, seed, sizeof(seed) - 1);
    return sizeof(seed) - 1;
}

/* What a good server would send to 'use'; or a handshake; or a list. */
static uint8_t *seed_make(unsigned i, size_t *length)
{
    static const uint8_t extents[20] = { 0, 0, 0, 7, 0, 0, 16, 0, 0, 0, 0, 3, 0, 0, 32, 0, 0, 0, 0, 0 };
    static const uint8_t hole[4] = { 0, 1, 0, 0 };
    static const uint8_t greeting[] = "\1NBDMAGICIHAVEOPT\0\3" "\0\3\350\211\4\125\145\251\0\0\0\10\0\0\0\1\0\0\0\0"
                                      "\0\3\350\211\4\125\145\251\0\0\0\12\0\0\0\4\0\0\0\23\0\0\0\7base:allocation";
    uint8_t *out = calloc(1, INPUT_MAX);
    *length = 1;
    if (i == 2) {
        *length = list_seed(out);
        return out;
    }
    if (i) {
        memcpy(out, greeting, sizeof(greeting) - 1);
        *length = sizeof(greeting) - 1;
        return out;
    }
    for (unsigned k = 0; k < 2; k++)        /* opening reads the first bytes */
        *length += reply_put(out + *length, WITH_OFFSET | PADDED, NBD_CHUNK_OFFSET_DATA, 4096 + 8, "abc", 3);
    *length += reply_put(out + *length, 0, NBD_CHUNK_BLOCK_STATUS, 20, extents, 20);
    *length += reply_put(out + *length, WITH_OFFSET, NBD_CHUNK_OFFSET_HOLE, 12, hole, 4);
    *length += reply_put(out + *length, SIMPLE, 0, 0, "", 0);
    *length += reply_put(out + *length, 0, NBD_CHUNK_NONE, 0, "", 0);
    *length += reply_put(out + *length, 0, NBD_CHUNK_BLOCK_STATUS, 20, extents, 20);
    *length += reply_put(out + *length, PADDED, NBD_CHUNK_ERROR, 6 + 3, "\0\0\0\5\0\3abc", 9);
    *length += reply_put(out + *length, SIMPLE, 0, 5, "", 0);
    return out;
}

static size_t change(uint64_t *rng, uint8_t *input, size_t length)
{
    for (unsigned k = (unsigned)(fuzz_dice(rng) % 4); k; k--) {
        size_t at = 1 + fuzz_dice(rng) % (length - 1);
        if (fuzz_dice(rng) & 1)
            input[at] ^= (uint8_t)(1u << fuzz_dice(rng) % 8);
        else
            input[at] = (uint8_t)fuzz_dice(rng);
    }
    return fuzz_dice(rng) % 8 ? length : 2 + fuzz_dice(rng) % (length - 2);
}

int main(int argc, char **argv)
{
    static const struct fuzz_target target = { .name = "nbd-client", .count = 4000, .input_max = INPUT_MAX, .seeds = 3,
                                               .seed_make = seed_make, .change = change, .alarm_s = 500 };
    return fuzz_main(&target, argc, argv);
}
#endif
