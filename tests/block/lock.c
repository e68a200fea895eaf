/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Image locks between two ospites, and between ospite and qemu-io in both directions; the refusal names who
 * holds the image. Each line of the table is one pair of users.
 */
#include "common.h"

#include "base/bits.h"
#include "base/error.h"
#include "block/block.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

enum user { WRITER, READER, SHARED_READER, SNAPSHOT };
static const char *const user_names[] = { "writer", "reader", "force-share reader", "snapshot=on" };
static const struct {
    enum user first, second;
    bool allowed;
} pairs[] = {
    { WRITER, WRITER, false }, { WRITER, READER, false }, { READER, WRITER, false }, { READER, READER, true },
    { WRITER, SHARED_READER, true }, { SHARED_READER, WRITER, true }, { SNAPSHOT, SNAPSHOT, true },
    { SNAPSHOT, WRITER, false }, { WRITER, SNAPSHOT, false }, { READER, SNAPSHOT, true },
};

static struct block_node *try_open(const char *name, enum user u, struct error *err)
{
    const struct block_open_options o = { .filename = name, .readonly = u == READER || u == SHARED_READER,
                                          .force_share = u == SHARED_READER, .snapshot = u == SNAPSHOT };
    return block_open(&o, err);
}

/* The first user lives in another process that opens the image, writes a byte to the pipe and waits. */
static pid_t holder_start(const char *name, enum user u, int *hold)
{
    int ready[2], end[2];
    struct error err;
    char byte;
    if (pipe(ready) || pipe(end))
        exit(1);
    pid_t pid = fork();
    if (pid == 0) {
        close(end[1]);
        struct block_node *n = try_open(name, u, &err);
        if (!n || write(ready[1], "", 1) != 1 || read(end[0], &byte, 1) < 0)
            _exit(1);
        _exit(0);
    }
    close(ready[1]);
    close(end[0]);
    check(read(ready[0], &byte, 1) == 1, "the first %s cannot open %s", user_names[u], name);
    close(ready[0]);
    *hold = end[1];
    return pid;
}

static void pair_test(const char *name, enum user first, enum user second, bool allowed)
{
    struct error err = { 0 };
    char want[64];
    int hold;
    pid_t pid = holder_start(name, first, &hold);
    struct block_node *n = try_open(name, second, &err);
    check(!!n == allowed, "%s: %s and then %s: %s", name, user_names[first], user_names[second],
          n ? "allowed" : err.text);
    snprintf(want, sizeof(want), "process %d (", (int)pid);
    if (!n)
        check(strstr(err.text, want) != NULL, "'%s' does not name process %d", err.text, (int)pid);
    block_close(n);
    close(hold);
    waitpid(pid, NULL, 0);
    n = try_open(name, second, &err);
    check(n != NULL, "%s after the first user has gone: %s", name, err.text);
    block_close(n);
}

/* ospite holds, qemu-io comes. */
static void qemu_comes(const char *name, const char *format, enum user u, const char *command, bool allowed)
{
    struct error err;
    struct block_node *n = try_open(name, u, &err);
    int r = run("qemu-io -f %s %s %s", format, command, name);
    check(n && (r == 0) == allowed, "%s: an ospite %s and 'qemu-io %s': %d", name, user_names[u], command, r);
    block_close(n);
}

/* qemu-io holds, as soon as it is there, ospite comes. */
static void qemu_holds(const char *name, const char *format, const char *flags, enum user u, bool allowed)
{
    struct error err = { 0 };
    char command[256];
    snprintf(command, sizeof(command), "qemu-io %s -f %s %s >/dev/null", flags, format, name);
    FILE *f = popen(command, "w");
    struct block_node *n = NULL;
    for (unsigned i = 0; i < 1200; i++) {
        usleep(50000);
        n = try_open(name, u, &err);
        if (!n || allowed)
            break;
        block_close(n);
        n = NULL;
        err.text[0] = 0;
    }
    check(!!n == allowed && (n || strstr(err.text, "qemu-io")), "%s: 'qemu-io %s' and then an ospite %s: %s", name,
          flags, user_names[u], n ? "allowed" : err.text);
    block_close(n);
    pclose(f);
}

int main(void)
{
    static const char *const names[] = { "image.qcow2", "image.raw" }, *const formats[] = { "qcow2", "raw" };
    test_directory_enter();
    run("qemu-img create -q -f qcow2 image.qcow2 1M; truncate -s 1M image.raw");
    for (size_t f = 0; f < 2; f++) {
        for (size_t i = 0; i < ARRAY_SIZE(pairs); i++)
            pair_test(names[f], pairs[i].first, pairs[i].second, pairs[i].allowed);
        qemu_comes(names[f], formats[f], WRITER, "-c 'write 0 512'", false);
        /* A reading qemu-io lets others write raw images. */
        qemu_comes(names[f], formats[f], WRITER, "-r -c 'read 0 512'", f == 1);
        qemu_comes(names[f], formats[f], WRITER, "-r -U -c 'read 0 512'", true);
        qemu_comes(names[f], formats[f], READER, "-r -c 'read 0 512'", true);
        qemu_comes(names[f], formats[f], READER, "-c 'write 0 512'", false);
        qemu_comes(names[f], formats[f], SNAPSHOT, "-r -c 'read 0 512'", true);
        qemu_holds(names[f], formats[f], "", WRITER, false);
        qemu_holds(names[f], formats[f], "", READER, false);
        qemu_holds(names[f], formats[f], "-r", WRITER, f == 1);
        qemu_holds(names[f], formats[f], "-r", READER, true);
        qemu_holds(names[f], formats[f], "-r", SNAPSHOT, true);
    }
    run("qemu-img create -q -f qcow2 -b image.qcow2 -F qcow2 over.qcow2");
    struct error err;
    struct block_node *over = try_open("over.qcow2", WRITER, &err), *base = try_open("image.qcow2", WRITER, &err);
    check(over && !base, "a backing file that is in use was opened for writing");
    block_close(base);
    base = try_open("image.qcow2", READER, &err);
    check(base != NULL, "a backing file that is in use cannot be read");
    block_close(base);
    block_close(over);
    return report("block/lock", 0);
}
