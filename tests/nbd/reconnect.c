/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The NBD client with reconnect-delay and open-timeout: servers that are killed while sixteen requests are in flight, and come
 * back; that come back too late, as another export, or never; that start after the client; all that with TLS. Judged by a copy in memory
 * and the server's file. 'reconnect OSPITE SEED'.
 */
#include "../block/common.h"

#include "base/bits.h"
#include "base/clock.h"
#include "base/error.h"
#include "base/loop.h"
#include "block/block.h"
#include "block/nbd_tls.h"
#include "block/option.h"

#include <errno.h>
#include <limits.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum { SIZE = 16 << 20, IN_FLIGHT = 16, DEATHS = 6, TLS_DEATHS = 3 };
#define QEMU "qemu-nbd -f raw -t -e 8 -k $PWD/s -x e --fork --pid-file=pid "
#define OSPITE "$OSPITE nbd -f raw -t -e 8 -k $PWD/s -x e --fork --pid-file=pid "

/* The one before, which was killed, has the image's lock until the kernel has cleared away what it had in flight. */
static bool server_start(const char *command)
{
    enum { TRIES = 100 };
    for (unsigned n = 0; n < TRIES; n++, usleep(100000)) {
        run("rm -f s pid");
        if (!run("%s", command))
            return true;
    }
    printf("%s", run_output("tail -n 3 log"));
    return check(false, "cannot start: %s", command);
}

/* As by a crash; waits until it is gone with all its threads, or nobody fetches its status. */
static void server_kill(void)
{
    run("p=$(cat pid); kill -9 $p; "
        "while kill -0 $p && ! { grep -q ^State:.Z /proc/$p/status && [ $(ls /proc/$p/task | wc -l) = 1 ]; }; do sleep 0.01; done");
}

/* Credentials, with no more than a name to find them by. */
struct keys {
    struct block_objects objects;
    struct nbd_tls *tls;
};

static struct nbd_tls *keys_tls(const struct block_objects *o, const char *id, struct error *err)
{
    return container_of(o, struct keys, objects)->tls;
}

/* keys NULL: without TLS. */
static struct block_node *client_open(const char *delay, const char *timeout, const struct keys *keys, struct error *err)
{
    const struct block_option_value item[] = {
        { "driver", "raw" }, { "file.driver", "nbd" }, { "file.server.type", "unix" }, { "file.server.path", "s" }, { "file.export", "e" },
        { "file.reconnect-delay", delay }, { "file.open-timeout", timeout }, { "file.tls-creds", "k" }, { "file.tls-hostname", "me" },
    };
    const struct block_option_set set = { item, ARRAY_SIZE(item) - (keys ? 0 : 2) };
    const struct block_open_options o = { .options = &set, .objects = keys ? &keys->objects : NULL };
    return block_open(&o, err);
}

struct killer {
    const char *command;
    uint64_t rng;
    bool stop;                      /* atomic */
    unsigned deaths, rounds;        /* atomic */
};

/* Two deaths in a round at most, or on a slow machine no round would end. */
static void round_await(struct killer *k, unsigned rounds)
{
    while (k->deaths & 1 && __atomic_load_n(&k->rounds, __ATOMIC_ACQUIRE) == rounds && !__atomic_load_n(&k->stop, __ATOMIC_ACQUIRE))
        usleep(1000);
}

static void *killer_thread(void *opaque)
{
    struct killer *k = opaque;
    while (!__atomic_load_n(&k->stop, __ATOMIC_ACQUIRE)) {
        unsigned rounds = __atomic_load_n(&k->rounds, __ATOMIC_ACQUIRE);
        usleep((useconds_t)(20000 + rng_below(&k->rng, 80000)));
        server_kill();
        usleep((useconds_t)rng_below(&k->rng, 200000));
        server_start(k->command);
        __atomic_add_fetch(&k->deaths, 1, __ATOMIC_ACQ_REL);
        round_await(k, rounds);
    }
    return NULL;
}

static void done(void *opaque, int result)
{
    check(!result, "%s: request: %s", (const char *)opaque, strerror(-result));
}

/* Sixteen requests in sixteen parts of the disk. */
static void round_run(struct block_node *n, uint8_t *model, uint8_t *got, uint64_t *rng, const char *what)
{
    const uint64_t share = SIZE / IN_FLIGHT;
    struct { uint64_t at, length; bool read; } a[IN_FLIGHT];
    struct iovec iov[IN_FLIGHT];
    for (unsigned k = 0; k < IN_FLIGHT; k++) {
        a[k].length = 512 * (1 + rng_below(rng, rng_below(rng, 4) ? 32 : 1000));
        a[k].at = k * share + 512 * rng_below(rng, (share - a[k].length) / 512);
        a[k].read = rng_below(rng, 2);
        iov[k] = (struct iovec){ (a[k].read ? got : model) + a[k].at, a[k].length };
        if (!a[k].read)
            rng_fill(rng, model + a[k].at, a[k].length);
        (a[k].read ? block_read : block_write)(n, a[k].at, &iov[k], 1, done, (void *)(uintptr_t)what);
    }
    block_flush(n, done, (void *)(uintptr_t)what);
    block_drain(n);
    for (unsigned k = 0; k < IN_FLIGHT; k++)
        if (a[k].read)
            check(!memcmp(got + a[k].at, model + a[k].at, a[k].length), "%s: read something else", what);
}

static void deaths_test(const char *command, const struct keys *keys, unsigned deaths, uint64_t *rng)
{
    struct killer k = { .command = command, .rng = rng_next(rng) | 1 };
    uint8_t *model = calloc(1, SIZE), *got = malloc(SIZE);
    struct error err;
    pthread_t killer;
    run("rm -f x; truncate -s %d x", SIZE);
    if (!server_start(command))
        return;
    struct block_node *n = client_open("600", "0", keys, &err);
    if (!check(n != NULL, "%s: %s", command, err.text))
        return;
    pthread_create(&killer, NULL, killer_thread, &k);
    for (; __atomic_load_n(&k.deaths, __ATOMIC_ACQUIRE) < deaths; __atomic_add_fetch(&k.rounds, 1, __ATOMIC_ACQ_REL))
        round_run(n, model, got, rng, command);
    __atomic_store_n(&k.stop, true, __ATOMIC_RELEASE);
    pthread_join(killer, NULL);
    check(!block_pread(n, 0, got, SIZE) && !memcmp(got, model, SIZE), "%s: the whole disk", command);
    block_close(n);
    server_kill();
    file_write("model", model, SIZE);
    check(!run("cmp model x"), "%s: the server's file", command);
    printf("%s: %u rounds of %d requests, killed %u times\n", command, k.rounds, IN_FLIGHT, k.deaths);
    free(model);
    free(got);
}

/* Reads until one succeeds. */
static bool comes_back(struct block_node *n)
{
    uint8_t sector[512];
    for (unsigned i = 0; i < 6000; i++, usleep(10000))
        if (!block_pread(n, 0, sector, 512))
            return true;
    return false;
}

static void late_test(void)
{
    struct error err;
    uint8_t sector[512];
    run("rm -f x; truncate -s 1M x");
    server_start(QEMU "x");
    struct block_node *n = client_open("1", "0", NULL, &err);
    int64_t begun = clock_host_ns();    /* waiting is counted from the death, which may be a while before the read */
    server_kill();
    check(block_pread(n, 0, sector, 512) == -EIO, "a server that stays away: read");
    check(clock_host_ns() - begun > NS_PER_SECOND / 2, "a server that stays away: the read did not wait");
    server_start(OSPITE "x");
    check(comes_back(n), "a server that comes late");
    server_kill();
    block_close(n);                         /* while away, with nothing to wait for */
}

static void never_test(void)
{
    struct error err;
    uint8_t sector[512];
    server_start(QEMU "x");
    struct block_node *n = client_open("0", "0", NULL, &err);
    server_kill();
    check(block_pread(n, 0, sector, 512) == -EIO, "without reconnect-delay: read");
    server_start(QEMU "x");
    check(block_pread(n, 0, sector, 512) == -EIO, "without reconnect-delay: read later");
    block_close(n);
    server_kill();
}

/* What comes back under the name has to be the same. */
static void other_test(const char *command, const char *prepare)
{
    struct error err;
    uint8_t sector[512];
    server_start(QEMU "x");
    struct block_node *n = client_open("600", "0", NULL, &err);
    server_kill();
    run("%s", prepare);
    server_start(command);
    check(block_pread(n, 0, sector, 512) == -EIO, "another export: %s", command);
    check(block_pread(n, 0, sector, 512) == -EIO, "another export, later: %s", command);
    block_close(n);
    server_kill();
}

static void *late_start(void *command)
{
    usleep(700000);
    server_start(command);
    return NULL;
}

static void open_test(void)
{
    struct error err;
    pthread_t starter;
    run("rm -f s pid");
    int64_t begun = clock_host_ns();
    struct block_node *n = client_open("0", "1", NULL, &err);
    check(!n && strstr(err.text, "is the server running"), "open-timeout: %s", n ? "opened" : err.text);
    check(clock_host_ns() - begun >= NS_PER_SECOND, "open-timeout: gave up at once");
    pthread_create(&starter, NULL, late_start, QEMU "x");
    n = client_open("0", "600", NULL, &err);
    check(n != NULL, "open-timeout: %s", n ? "" : err.text);
    pthread_join(starter, NULL);
    block_close(n);
    server_kill();
    n = client_open("1 week", "0", NULL, &err);
    check(!n && strstr(err.text, "reconnect-delay"), "reconnect-delay=1 week: %s", n ? "opened" : err.text);
}

#define X509 "--object tls-creds-x509,id=t,endpoint=server,verify-peer=off,dir=$PWD/"
#define PSK "--object tls-creds-psk,id=t,endpoint=server,dir=$PWD/"

/* Two authorities, and two keys of one name. */
static bool keys_make(void)
{
    return check(!run("printf 'cn=ca\\nca\\ncert_signing_key\\n' > ca.t; printf 'cn=me\\ndns_name=me\\ntls_www_server\\nsigning_key\\n' > s.t;"
                      "for d in right wrong; do mkdir $d; cd $d; certtool -p --sec-param low --outfile ca-key.pem && "
                      "certtool -s --load-privkey ca-key.pem --template ../ca.t --outfile ca-cert.pem && "
                      "certtool -p --sec-param low --outfile server-key.pem && "
                      "certtool -c --load-ca-certificate ca-cert.pem --load-ca-privkey ca-key.pem --load-privkey server-key.pem "
                      "--template ../s.t --outfile server-cert.pem && psktool -u qemu -p keys.psk || exit 1; cd ..; done"),
                 "certificates and keys");
}

/* A server with another's keys, or without TLS, is none that is gone back to; the right one is, later. */
static void imposter_test(const char *right, const char *const *wrong, const struct keys *keys)
{
    struct error err;
    uint8_t sector[512];
    server_start(right);
    struct block_node *n = client_open("1", "0", keys, &err);
    if (!check(n && !block_pread(n, 0, sector, 512), "%s: %s", right, n ? "read" : err.text))
        return;
    for (; *wrong; wrong++) {
        server_kill();
        server_start(*wrong);
        check(block_pread(n, 0, sector, 512) == -EIO, "'%s' was read from: %s", *wrong, right);
    }
    server_kill();
    server_start(right);
    check(comes_back(n), "the right server after imposters: %s", right);
    block_close(n);
    server_kill();
}

static void tls_test(uint64_t *rng)
{
    static const struct { enum nbd_tls_kind kind; const char *qemu, *ospite, *wrong[3]; } rows[] = {
        { NBD_TLS_X509, QEMU X509 "right --tls-creds t x", OSPITE X509 "right --tls-creds t x",
          { OSPITE X509 "wrong --tls-creds t x", QEMU "x" } },
        { NBD_TLS_PSK, QEMU PSK "right --tls-creds t x", OSPITE PSK "right --tls-creds t x",
          { OSPITE PSK "wrong --tls-creds t x", QEMU "x" } },
    };
    if (!has_tool("certtool") || !has_tool("psktool")) {
        printf("SKIPPED: TLS needs certtool and psktool (Debian package gnutls-bin)\n");
        return;
    }
    if (!keys_make())
        return;
    for (size_t i = 0; i < ARRAY_SIZE(rows); i++) {
        const struct nbd_tls_options o = { .kind = rows[i].kind, .verify_peer = true, .directory = "right" };
        struct error err;
        struct keys keys = { { .tls = keys_tls }, nbd_tls_new(&o, &err) };
        if (!check(keys.tls != NULL, "%s", err.text))
            continue;
        deaths_test(rows[i].qemu, &keys, TLS_DEATHS, rng);
        deaths_test(rows[i].ospite, &keys, TLS_DEATHS, rng);
        imposter_test(rows[i].ospite, rows[i].wrong, &keys);
        nbd_tls_free(keys.tls);
    }
}

int main(int argc, char **argv)
{
    uint64_t seed = argc > 2 ? strtoull(argv[2], NULL, 0) : 1013, rng = seed;
    char ospite[PATH_MAX];
    if (argc < 2 || !realpath(argv[1], ospite)) {
        printf("usage: reconnect OSPITE [SEED]\n");
        return 1;
    }
    setenv("OSPITE", ospite, 1);
    loop_init();
    test_directory_enter();
    deaths_test(QEMU "x", NULL, DEATHS, &rng);
    deaths_test(OSPITE "x", NULL, DEATHS, &rng);
    tls_test(&rng);
    run("rm -f x; truncate -s 1M x");
    late_test();
    never_test();
    other_test(QEMU "y", "rm -f y; truncate -s 2M y");
    other_test(QEMU "-r x", "true");
    open_test();
    return report("nbd/reconnect", seed);
}
