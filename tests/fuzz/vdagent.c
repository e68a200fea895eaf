/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * A hostile guest against the host's end of SPICE's agent: chunks and messages that are nearly right, of any size, cut anywhere, a port that is opened and
 * closed in between, a guest that reads or does not; and a host that copies meanwhile. Nothing may crash, reach outside of what was sent, or grow
 * without end; the sanitizers watch.
 *
 *   fuzz-vdagent [STEPS [SEED]]
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/error.h"
#include "chardev/vdagent.h"
#include "fuzz.h"

enum { WAITS_MAX = VDAGENT_TEXT_MAX + (512 << 10), ROOM = 300, ALLOCATED_MAX = VDAGENT_TEXT_MAX + 4096 };

/* The linker leads the agent's calls here: a message that says it is large must not be given room. */
void *__real_malloc(size_t size);
void *__wrap_malloc(size_t size);
static size_t largest;
void *__wrap_malloc(size_t size)
{
    if (size > largest) largest = size;
    return __real_malloc(size);
}

struct bench {
    struct fuzz_source source;
    struct chardev *agent;
    size_t room, host_bytes;
    uint64_t copied, received, sent;
    char *text;
};

static uint32_t below(struct bench *b, uint32_t n) { return fuzz_below(&b->source, n); }
static size_t can_receive(void *opaque) { return ((struct bench *)opaque)->room; }

static void receive(void *opaque, const uint8_t *data, size_t size)
{
    struct bench *b = opaque;

    b->received += size;
    b->room -= size;
}

static void copied(void *opaque, const char *text, size_t size)
{
    struct bench *b = opaque;

    for (size_t i = 0; i < size; i += 997) b->copied += (uint8_t)text[i] + 1u;
}

static const char *text(void *opaque, size_t *size)
{
    struct bench *b = opaque;

    *size = b->host_bytes;
    return b->text;
}

static void word_put(uint8_t *to, uint32_t value) { memcpy(to, &value, sizeof(value)); }

/* A message in one or several chunks, now and then with a lie about its size. */
static void message(struct bench *b)
{
    static const uint32_t types[] = { 6, 7, 8, 4, 9, 1, 77 };
    static const uint32_t sizes[] = { 0, 1, 3, 4, 8, 12, 16, 40, 3000, 70000 };
    uint32_t size = sizes[below(b, 10)], told = below(b, 100) ? size : below(b, 2) ? below(b, 0) : VDAGENT_TEXT_MAX + 63 + below(b, 3);
    unsigned kind = below(b, 7);
    uint8_t *m = calloc(1, 28 + size);

    for (uint32_t i = 0; i < size && i < 64; i++) m[28 + i] = (uint8_t)(below(b, 3) ? below(b, 3) : below(b, 256));
    word_put(m, below(b, 100) ? 1 : below(b, 4));
    word_put(m + 4, 20 + size);
    word_put(m + 8, below(b, 30) ? 1 : 2);
    word_put(m + 12, types[kind]);
    if (size >= 4 && below(b, 4)) word_put(m + 28, below(b, 8) == 0);        /* a selection, or that an answer is wanted */
    if (size >= 8 && below(b, 4)) word_put(m + 32, kind ? below(b, 8) != 0 : 1u << 5 | (below(b, 8) != 0) << 6);
    word_put(m + 24, told);
    for (uint32_t at = 0, n; at < 28 + size; at += n) {
        n = 1 + below(b, 28 + size - at);
        b->sent += chardev_write(b->agent, m + at, n);
    }
    free(m);
}

static void step(struct bench *b)
{
    uint8_t noise[64];

    switch (below(b, 12)) {
    case 0:
        if (!below(b, 6)) chardev_guest_opened(b->agent, false);
        if (!below(b, 6)) chardev_guest_opened(b->agent, true);
        break;
    case 1:
        b->host_bytes = below(b, 3) ? below(b, 5000) : VDAGENT_TEXT_MAX;
        vdagent_offer(b->agent);
        break;
    case 2:
        for (unsigned i = 0; i < sizeof(noise); i++) noise[i] = (uint8_t)below(b, 256);
        if (!below(b, 30)) chardev_write(b->agent, noise, below(b, sizeof(noise)));
        break;
    case 3: case 4: case 5:
        b->room = below(b, 4) ? below(b, ROOM) : 3 << 20;
        chardev_accept_input(b->agent);
        break;
    default:
        message(b);
    }
}

/* All that waits comes out. */
static void drain(struct bench *b)
{
    uint64_t before = b->received;

    b->room = SIZE_MAX;
    chardev_accept_input(b->agent);
    if (b->received - before > WAITS_MAX) {
        printf("fuzz-vdagent: %llu bytes waited\n", (unsigned long long)(b->received - before));
        exit(1);
    }
    b->room = 0;
}

int main(int argc, char **argv)
{
    unsigned steps = argc > 1 ? (unsigned)atoi(argv[1]) : 100000;
    uint64_t seed = argc > 2 ? strtoull(argv[2], NULL, 0) : 20261128;
    struct bench b = { .source.state = seed, .text = malloc(VDAGENT_TEXT_MAX) };
    struct chardev_frontend f = { .can_receive = can_receive, .receive = receive, .opaque = &b };
    struct chardevs *all = chardevs_new();
    struct error err;

    memset(b.text, 'x', VDAGENT_TEXT_MAX);
    b.agent = chardev_open(all, "qemu-vdagent,clipboard=on", &err);
    if (!b.agent) {
        printf("fuzz-vdagent: %s\n", err.text);
        return 1;
    }
    chardev_attach(b.agent, &f);
    vdagent_use(b.agent, &(struct vdagent_user){ copied, text, &b });
    chardev_guest_opened(b.agent, true);
    for (unsigned i = 0; i < steps; i++) {
        step(&b);
        if (i % 1000 == 999) drain(&b);
    }
    chardev_close(b.agent);
    chardevs_free(all);
    free(b.text);
    printf("fuzz-vdagent: %u steps, seed %llu, %llu bytes of the guest, %llu to it, sum of what it copied %llu\n", steps, (unsigned long long)seed,
           (unsigned long long)b.sent, (unsigned long long)b.received, (unsigned long long)b.copied);
    if (largest > ALLOCATED_MAX) printf("fuzz-vdagent: %llu bytes were asked for at once\n", (unsigned long long)largest);
    return b.copied && b.received && largest <= ALLOCATED_MAX ? 0 : 1;
}
