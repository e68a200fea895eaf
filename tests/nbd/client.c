/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The NBD client against qemu-nbd, nbdkit (simple replies, large blocks, no flush) and 'ospite nbd': random requests,
 * sixteen in flight, a copy in memory, and 'qemu-img compare' of what the server has; formats over it; TLS; names that
 * are wrong; and servers that lie, hang up or send anything. 'client OSPITE SEED'.
 */
#include "../block/common.h"

#include "base/bits.h"
#include "base/error.h"
#include "base/loop.h"
#include "block/block.h"
#include "block/nbd_list.h"
#include "block/nbd_wire.h"

#include <errno.h>
#include <limits.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

enum { SIZE = 24 << 20, IN_FLIGHT = 16, HOSTILE = 240 };

static const struct server {
    const char *command, *uri;
    bool can_compare;
} servers[] = {
    { "qemu-nbd -f raw -t -e 4 -k $PWD/s -x a/b --discard=unmap --fork --pid-file=pid x", "nbd+unix:///a%2fb?socket=s", true },
    { "qemu-nbd -f raw -t -k $PWD/s --fork --pid-file=pid x", "nbd:unix:s", true },
    { "$OSPITE nbd -f raw -t -k $PWD/s -x 'e x' --discard=unmap --fork --pid-file=pid x", "nbd:unix:s:exportname=e x", true },
    { "nbdkit -U $PWD/s -P pid file x", "nbd+unix:///?socket=s", true },
    { "nbdkit -U $PWD/s -P pid --no-sr file x", "nbd+unix:///?socket=s", true },
    { "nbdkit -U $PWD/s -P pid --filter=blocksize-policy file x blocksize-minimum=4096 blocksize-error-policy=error",
      "nbd+unix:///?socket=s", true },
    { "nbdkit -U $PWD/s -P pid --filter=nozero --filter=noextents --filter=noparallel file x", "nbd+unix:///?socket=s",
      true },
    { "nbdkit -U $PWD/s -P pid --mask-handshake=0 file x", "nbd+unix:///?socket=s", true },
};

static bool server_start(const char *command)
{
    run("rm -f s pid");
    if (run("%s", command)) {
        check(false, "cannot start: %s", command);
        return false;
    }
    for (unsigned i = 0; i < 1000 && access("s", F_OK); i++)
        usleep(10000);
    return true;
}

static void server_stop(void)
{
    run("p=$(cat pid); kill $p; for i in $(seq 1 6000); do kill -0 $p || break; sleep 0.01; done");
}

static void done(void *opaque, int result)
{
    check(!result, "%s: request: %s", (const char *)opaque, strerror(-result));
}

static void requests(struct block_node *n, uint8_t *model, uint64_t *rng, const char *what)
{
    uint64_t share = SIZE / IN_FLIGHT;
    for (unsigned i = 0; i < 24; i++) {
        struct iovec iov[IN_FLIGHT][2];
        uint8_t *got[IN_FLIGHT] = { NULL };
        uint64_t where[IN_FLIGHT];
        for (unsigned k = 0; k < IN_FLIGHT; k++) {
            uint64_t take = 512 * (1 + rng_below(rng, rng_below(rng, 4) ? 32 : 700));
            uint64_t at = where[k] = k * share + 512 * rng_below(rng, (share - take) / 512), half = take / 2 & ~7ull;
            uint8_t *data = model + at;
            switch (rng_below(rng, 8)) {
            case 0:
                memset(data, 0, take);
                block_write_zeroes(n, at, take, rng_below(rng, 2), done, (void *)(uintptr_t)what);
                continue;
            case 1:
                block_flush(n, done, (void *)(uintptr_t)what);
                continue;
            case 2: case 3: case 4:
                got[k] = data = malloc(take);
                break;
            default:
                rng_fill(rng, data, take);
                break;
            }
            iov[k][0] = (struct iovec){ data, half };
            iov[k][1] = (struct iovec){ data + half, take - half };
            (got[k] ? block_read : block_write)(n, at, iov[k], 2, done, (void *)(uintptr_t)what);
        }
        block_drain(n);
        for (unsigned k = 0; k < IN_FLIGHT; k++)
            if (got[k]) {
                size_t length = iov[k][0].iov_len + iov[k][1].iov_len;
                check(!memcmp(got[k], model + where[k], length), "%s: read something else", what);
                free(got[k]);
            }
    }
}

static void extents(struct block_node *n, const uint8_t *model, const char *what)
{
    uint64_t zero = 0;
    for (uint64_t at = 0; at < SIZE;) {
        struct block_extent e = { 0 };
        if (!check(!block_extent_get(n, at, SIZE - at, &e) && e.length_bytes, "%s: extent", what))
            return;
        for (uint64_t i = at; e.zero && i < at + e.length_bytes; i++)
            if (model[i]) {
                check(false, "%s: data in a zero extent at %llu", what, (unsigned long long)i);
                return;
            }
        zero += e.zero ? e.length_bytes : 0;
        at += e.length_bytes;
    }
    printf("%s: %llu KiB in zero extents\n", what, (unsigned long long)zero >> 10);
}

static void server_test(const struct server *s, uint64_t *rng)
{
    const struct block_open_options o = { .filename = s->uri, .format = "raw", .discard = true };
    uint8_t *model = calloc(1, SIZE), *got = malloc(SIZE);
    run("rm -f x; truncate -s %d x", SIZE);
    if (!server_start(s->command))
        return;
    for (unsigned round = 0; round < 2; round++) {
        struct block_node *n = open_image(&o);
        check(block_size_bytes(n) == SIZE, "%s: size", s->command);
        requests(n, model, rng, s->command);
        extents(n, model, s->command);
        check(!block_discard_sync(n, SIZE / 2, 512), "%s: discard", s->command);
        check(!block_pwrite(n, SIZE / 2, model + SIZE / 2, 512), "%s: write after it", s->command);
        check(!block_pread(n, 0, got, SIZE) && !memcmp(got, model, SIZE), "%s: the whole disk", s->command);
        check(!block_flush_sync(n), "%s: flush", s->command);
        block_close(n);
    }
    server_stop();
    file_write("model", model, SIZE);
    if (s->can_compare)
        check(!run("cmp model x"), "%s: the server's file", s->command);
    free(model);
    free(got);
}

/* qcow2 over a connection. */
static void format_test(uint64_t *rng)
{
    const struct block_open_options o = { .filename = "nbd+unix:///?socket=s" };
    uint8_t *data = malloc(1 << 20);
    run("rm -f x; qemu-img create -q -f qcow2 y 64M && truncate -s 80M y");
    if (!server_start("qemu-nbd -f raw -t -k $PWD/s --fork --pid-file=pid y"))
        return;
    struct block_node *n = open_image(&o);
    check(!strcmp(block_format_name(n), "qcow2"), "format over NBD: %s", block_format_name(n));
    rng_fill(rng, data, 1 << 20);
    check(!block_pwrite(n, 5 << 20, data, 1 << 20) && !block_flush_sync(n), "write of qcow2 over NBD");
    file_write("model", data, 1 << 20);
    block_close(n);
    server_stop();
    check(!run("qemu-img check -f qcow2 y") && !run("qemu-io -r -f qcow2 -c 'read 5M 1M' y"), "qemu-img check");
    check(!run("qemu-img dd -f qcow2 -O raw bs=1M skip=5 count=6 if=y of=part && cmp -n 1048576 model part"), "qcow2 over NBD");
    free(data);
}

static void tls_test(const char *ospite)
{
    const struct block_open_options o = { .filename = "nbds+unix:///?socket=s&tls-certificates=tls&tls-hostname=me" },
        wrong = { .filename = "nbds+unix:///?socket=s&tls-certificates=tls&tls-hostname=you" }, plain = { .filename = "nbd:unix:s" },
        none = { .filename = "nbds+unix:///?socket=s" };
    struct error err;
    uint8_t sector[512];
    if (!has_tool("certtool")) {
        printf("SKIPPED: TLS needs certtool (Debian package gnutls-bin)\n");
        return;
    }
    check(!run("mkdir -p tls && cd tls && printf 'cn=ca\\nca\\ncert_signing_key\\n' > ca.t && printf 'cn=me\\ndns_name=me\\n"
               "tls_www_server\\nsigning_key\\n' > s.t && certtool -p --sec-param low --outfile ca-key.pem && certtool -s "
               "--load-privkey ca-key.pem --template ca.t --outfile ca-cert.pem && certtool -p --sec-param low --outfile "
               "server-key.pem && certtool -c --load-ca-certificate ca-cert.pem --load-ca-privkey ca-key.pem --load-privkey "
               "server-key.pem --template s.t --outfile server-cert.pem"), "certificates");
    run("truncate -s 1M x");
    char command[PATH_MAX + 200];
    for (unsigned i = 0; i < 2; i++) {
        snprintf(command, sizeof(command), "%s -f raw -t -k $PWD/s --object tls-creds-x509,id=t,endpoint=server,verify-peer=off,"
                 "dir=$PWD/tls --tls-creds t --fork --pid-file=pid x", i ? ospite : "qemu-nbd");
        if (!server_start(command))
            return;
        struct block_node *n = block_open(&o, &err);
        check(n && !block_pread(n, 0, sector, 512), "TLS: %s", n ? "read" : err.text);
        block_close(n);
        n = block_open(&wrong, &err);
        check(!n && strstr(err.text, "certificate is not accepted"), "TLS, wrong name: %s", n ? "opened" : err.text);
        n = block_open(&plain, &err);
        check(!n && strstr(err.text, "wants TLS"), "no TLS: %s", n ? "opened" : err.text);
        n = block_open(&none, &err);
        check(!n && strstr(err.text, "tls-certificates"), "no certificates: %s", n ? "opened" : err.text);
        server_stop();
    }
}

static void refusals(void)
{
    static const struct { const char *name, *message; bool readonly; } rows[] = {
        { "nbd+unix:///?socket=nosuch", "is the server running", true },
        { "nbd://127.0.0.1:1/", "cannot connect", true },
        { "nbd://nosuch.invalid/", "cannot find", true },
        { "nbd://[::1", "no ']'", true },
        { "nbd://h:/", ":PORT", true },
        { "nbd+unix:///", "lacks ?socket", true },
        { "nbd+unix://host/?socket=s", "is nbd+unix:///", true },
        { "nbd://h/?socket=s", "goes with nbd+unix", true },
        { "nbd://h/?foo=s", "is not known", true },
        { "nbd+unix:///%0?socket=s", "hexadecimal", true },
        { "nbd+unix:///%00?socket=s", "hexadecimal", true },
        { "nbd:host", "write nbd:HOST:PORT", true },
        { "nbd+ssh://h/", "the protocol 'nbd+ssh' is not one of", true },
        { "nbd+unix:///nosuch?socket=s", "no export 'nosuch'", true },
        { "nbd+unix:///e?socket=s", "export is read-only", false },
        { "json:{\"driver\":\"nbd\",\"path\":\"s\",\"host\":\"h\"}", "give one of them", true },
    };
    run("truncate -s 1M x");
    if (!server_start("qemu-nbd -f raw -r -t -k $PWD/s -x e --fork --pid-file=pid x"))
        return;
    for (size_t i = 0; i < ARRAY_SIZE(rows); i++) {
        const struct block_open_options o = { .filename = rows[i].name, .readonly = rows[i].readonly };
        struct error err = { { 0 } };
        struct block_node *n = block_open(&o, &err);
        check(!n && strstr(err.text, rows[i].message), "%s: %s", rows[i].name, n ? "opened" : err.text);
        block_close(n);
    }
    const struct block_open_options json = { .filename = "json:{\"driver\":\"nbd\",\"server\":{\"type\":\"unix\",\"path\":\"s\"},"
                                                         "\"export\":\"e\"}", .readonly = true };
    block_close(open_image(&json));
    server_stop();
}

/* A server that keeps to the handshake and lies afterwards, or before. */
struct liar {
    int fd;
    uint64_t rng;
    unsigned mode;
};

static void put(int fd, const void *data, size_t length)
{
    ssize_t r = send(fd, data, length, MSG_NOSIGNAL);
    (void)r;
}

static bool get(int fd, void *data, size_t length)
{
    return recv(fd, data, length, MSG_WAITALL) == (ssize_t)length;
}

static void option_reply(struct liar *l, uint32_t option, uint32_t type, const void *data, uint32_t length)
{
    struct nbd_wire_option_reply h = { be64_make(NBD_MAGIC_OPTION_REPLY), be32_make(option), be32_make(type), be32_make(length) };
    if (l->mode % 4 == 1 && rng_below(&l->rng, 12) == 0)
        ((uint8_t *)&h)[rng_below(&l->rng, sizeof(h))] ^= (uint8_t)rng_next(&l->rng);
    put(l->fd, &h, sizeof(h));
    put(l->fd, data, length);
}

static bool handshake(struct liar *l)
{
    struct nbd_wire_greeting g = { be64_make(NBD_MAGIC_INIT), be64_make(NBD_MAGIC_OPTION), be16_make(3) };
    struct { be16 type; be64 size; be16 flags; } __attribute__((packed)) x = { be16_make(NBD_INFO_EXPORT), be64_make(1 << 20),
                                                                              be16_make(0x6d) };
    struct { be32 id; char name[15]; } __attribute__((packed)) c = { be32_make(7), "base:allocatio" };
    uint8_t scrap[8192];
    c.name[14] = 'n';
    put(l->fd, &g, sizeof(g));
    if (!get(l->fd, scrap, 4))
        return false;
    for (;;) {
        struct nbd_wire_option o;
        if (!get(l->fd, &o, sizeof(o)) || be32_get(o.length) > sizeof(scrap) ||
            (be32_get(o.length) && !get(l->fd, scrap, be32_get(o.length))))
            return false;
        uint32_t option = be32_get(o.option);
        if (option == NBD_OPT_SET_META_CONTEXT)
            option_reply(l, option, NBD_REP_META_CONTEXT, &c, sizeof(c));
        if (option == NBD_OPT_GO)
            option_reply(l, option, NBD_REP_INFO, &x, sizeof(x));
        option_reply(l, option, NBD_REP_ACK, NULL, 0);
        if (option == NBD_OPT_GO)
            return true;
    }
}

/* An answer that is nearly right. */
static void answer(struct liar *l, const struct nbd_wire_request *q)
{
    uint8_t data[70000] = { 0 };
    uint32_t length = be32_get(q->length), sent = (uint32_t)rng_below(&l->rng, 3) ? MIN(length, 65536u) : (uint32_t)rng_below(&l->rng, 65536);
    uint16_t types[] = { NBD_CHUNK_OFFSET_DATA, NBD_CHUNK_OFFSET_HOLE, NBD_CHUNK_BLOCK_STATUS, NBD_CHUNK_ERROR, 0, 77 };
    struct nbd_wire_chunk h = { be32_make(NBD_MAGIC_CHUNK), be16_make(rng_below(&l->rng, 2)),
                                be16_make(types[rng_below(&l->rng, ARRAY_SIZE(types))]), q->handle, be32_make(0) };
    struct nbd_wire_simple simple = { be32_make(NBD_MAGIC_SIMPLE_REPLY), be32_make((uint32_t)rng_below(&l->rng, 2) * 5), q->handle };
    uint16_t type = be16_get(h.type);
    uint32_t payload = type == NBD_CHUNK_OFFSET_DATA ? sent + 8 : type == NBD_CHUNK_OFFSET_HOLE ? 12 : type == NBD_CHUNK_BLOCK_STATUS ?
                       12 : type == NBD_CHUNK_ERROR ? 6 : 0;
    be64 offset = q->offset;
    h.length = be32_make(payload);
    memcpy(data, &offset, 8);
    if (rng_below(&l->rng, 3) == 0)
        ((uint8_t *)&h)[rng_below(&l->rng, sizeof(h))] ^= (uint8_t)(1u << rng_below(&l->rng, 8));
    if (rng_below(&l->rng, 3) == 0)
        data[rng_below(&l->rng, 12)] ^= (uint8_t)(1u << rng_below(&l->rng, 8));
    if (rng_below(&l->rng, 4) == 0) {
        put(l->fd, &simple, sizeof(simple));
        return;
    }
    put(l->fd, &h, sizeof(h));
    put(l->fd, data, payload);
}

static void answer_truly(struct liar *l, const struct nbd_wire_request *q)
{
    uint8_t data[4096 + 8] = { 0 };
    struct nbd_wire_chunk h = { be32_make(NBD_MAGIC_CHUNK), be16_make(NBD_CHUNK_FLAG_DONE), be16_make(NBD_CHUNK_OFFSET_DATA),
                                q->handle, be32_make(MIN(be32_get(q->length), 4096u) + 8) };
    memcpy(data, &q->offset, sizeof(q->offset));
    put(l->fd, &h, sizeof(h));
    put(l->fd, data, be32_get(h.length));
}

static void *liar_thread(void *opaque)
{
    struct liar *l = opaque;
    uint8_t noise[512], scrap[65536];
    if (l->mode % 4 == 0) {
        rng_fill(&l->rng, noise, sizeof(noise));
        if (rng_below(&l->rng, 2))
            memcpy(noise, "NBDMAGICIHAVEOPT\0\3", 18);
        put(l->fd, noise, sizeof(noise));
    } else if (handshake(l)) {
        for (unsigned i = 0; i < 12; i++) {
            struct nbd_wire_request q;
            if (!get(l->fd, &q, sizeof(q)))
                break;
            if (be16_get(q.command) == NBD_CMD_WRITE && !get(l->fd, scrap, be32_get(q.length) & 65535))
                break;
            if (i)
                answer(l, &q);
            else
                answer_truly(l, &q);    /* opening reads the first bytes */
        }
    }
    close(l->fd);
    return NULL;
}

struct meeting {
    struct liar *liar;
    int listener;
    suseconds_t patience_us;
};

static void *liar_accept(void *opaque)
{
    const struct meeting *m = opaque;
    /* Both may wait for the other after a lie: the liar gives up first. */
    const struct timeval moment = { .tv_usec = m->patience_us };
    m->liar->fd = accept4(m->listener, NULL, NULL, SOCK_CLOEXEC);
    setsockopt(m->liar->fd, SOL_SOCKET, SO_RCVTIMEO, &moment, sizeof(moment));
    return liar_thread(m->liar);
}

static bool liars_try(uint64_t *rng, unsigned times, suseconds_t patience_us)
{
    struct sockaddr_un address = { .sun_family = AF_UNIX, .sun_path = "liar" };
    const struct block_open_options o = { .filename = "nbd+unix:///?socket=liar", .format = "raw" };
    int listener = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    unsigned opened = 0;
    unlink("liar");
    if (bind(listener, (struct sockaddr *)&address, sizeof(address)) || listen(listener, 4))
        return !check(false, "listen: %s", strerror(errno));
    for (unsigned i = 0; i < times; i++) {
        struct liar l = { .rng = rng_next(rng) | 1, .mode = i };
        uint8_t data[65536] = { 0 };
        struct block_extent e;
        struct error err;
        pthread_t acceptor;
        const struct meeting m = { &l, listener, patience_us };
        pthread_create(&acceptor, NULL, liar_accept, (void *)(uintptr_t)&m);
        struct block_node *n = block_open(&o, &err);
        checks++;
        opened += n != NULL;
        for (unsigned k = 0; n && k < 6; k++) {
            block_pread(n, 512 * rng_below(rng, 1000), data, 512 * (1 + rng_below(rng, 127)));
            block_extent_get(n, 4096, 65536, &e);
            block_pwrite(n, 512 * rng_below(rng, 1000), data, 512);
            block_write_zeroes_sync(n, 0, 4096, true);
        }
        block_close(n);
        pthread_join(acceptor, NULL);
    }
    close(listener);
    printf("%u servers that lie, %u were opened\n", times, opened);
    return opened > times / 4;
}

/* On a busy machine a liar may give up before anybody has come to ask. */
static void liars(uint64_t *rng, unsigned times)
{
    check(liars_try(rng, times, 20000) || liars_try(rng, times, 60000) || liars_try(rng, times, 200000), "hardly any liar was opened");
}

/* A list that comes a byte at a time: no single wait is long, the whole is. It ends by itself after 15 seconds. */
static void *dribble(void *opaque)
{
    const int *listener = opaque;
    struct nbd_wire_greeting g = { be64_make(NBD_MAGIC_INIT), be64_make(NBD_MAGIC_OPTION), be16_make(3) };
    struct liar l = { .fd = accept4(*listener, NULL, NULL, SOCK_CLOEXEC) };
    struct nbd_wire_option_reply h = { be64_make(NBD_MAGIC_OPTION_REPLY), be32_make(NBD_OPT_LIST), be32_make(NBD_REP_SERVER), be32_make(8000) };
    put(l.fd, &g, sizeof(g));
    option_reply(&l, NBD_OPT_STRUCTURED_REPLY, NBD_REP_ACK, NULL, 0);
    put(l.fd, &h, sizeof(h));
    for (unsigned i = 0; i < 300 && send(l.fd, "", 1, MSG_NOSIGNAL) == 1; i++)
        usleep(50000);
    close(l.fd);
    return NULL;
}

static void list_deadline(void)
{
    struct sockaddr_un address = { .sun_family = AF_UNIX, .sun_path = "dribble" };
    int listener = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    struct nbd_list list;
    struct error err = { { 0 } };
    pthread_t thread;
    if (bind(listener, (struct sockaddr *)&address, sizeof(address)) || listen(listener, 1)) {
        check(false, "listen: %s", strerror(errno));
        return;
    }
    pthread_create(&thread, NULL, dribble, &listener);
    check(nbd_list_get(&list, "dribble", NULL, NULL, NULL, NULL, 1000, &err) && strstr(err.text, "within 1 s"),
          "a list that comes a byte at a time: '%s'", err.text);
    nbd_list_free(&list);
    pthread_join(thread, NULL);
    close(listener);
}

int main(int argc, char **argv)
{
    uint64_t seed = argc > 2 ? strtoull(argv[2], NULL, 0) : 1009, rng = seed;
    char ospite[PATH_MAX], nbd[PATH_MAX + 8];
    if (argc < 2 || !realpath(argv[1], ospite)) {
        printf("usage: client OSPITE [SEED]\n");
        return 1;
    }
    setenv("OSPITE", ospite, 1);
    snprintf(nbd, sizeof(nbd), "%s nbd", ospite);
    loop_init();
    test_directory_enter();
    for (size_t i = 0; i < ARRAY_SIZE(servers); i++)
        if (strncmp(servers[i].command, "nbdkit", 6) || has_tool("nbdkit"))
            server_test(&servers[i], &rng);
        else
            printf("SKIPPED: nbdkit is not installed: %s\n", servers[i].command);
    format_test(&rng);
    tls_test(nbd);
    refusals();
    list_deadline();
    stderr = fopen("messages", "w");    /* what the client says of them; the sanitizers' words still come through */
    liars(&rng, HOSTILE);
    return report("nbd/client", seed);
}
