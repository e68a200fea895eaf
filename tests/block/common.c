/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "common.h"

#include "base/error.h"
#include "block/block.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

unsigned checks, failures;
static char directory[256];
static pid_t owner;

bool check(bool ok, const char *fmt, ...)
{
    va_list ap;
    checks++;
    if (ok)
        return true;
    failures++;
    if (failures <= 20) {
        printf("FAILED: ");
        va_start(ap, fmt);
        vprintf(fmt, ap);
        va_end(ap);
        printf("\n");
        fflush(stdout);
    }
    return false;
}

int report(const char *what, uint64_t seed)
{
    printf("%s: %u checks, %u failed, seed %llu\n", what, checks, failures, (unsigned long long)seed);
    return failures || !checks;
}

uint64_t rng_next(uint64_t *state)
{
    *state ^= *state >> 12;
    *state ^= *state << 25;
    *state ^= *state >> 27;
    return *state * 0x2545f4914f6cdd1dull;
}

uint64_t rng_below(uint64_t *state, uint64_t limit)
{
    return (rng_next(state) >> 11) % limit;
}

void rng_fill(uint64_t *state, void *data, size_t length)
{
    uint8_t *p = data;
    for (size_t i = 0; i < length; i += 8) {
        uint64_t v = rng_next(state);
        memcpy(p + i, &v, length - i < 8 ? length - i : 8);
    }
}

static void directory_remove(void)
{
    if (*directory && getpid() == owner && !chdir("/")) {
        char command[300];
        snprintf(command, sizeof(command), "rm -rf '%s'", directory);
        if (system(command))
            printf("cannot remove %s\n", directory);
    }
}

void test_directory_enter(void)
{
    const char *base = getenv("TMPDIR");
    snprintf(directory, sizeof(directory), "%s/ospite-block-XXXXXX", base && *base ? base : "/tmp");
    if (!mkdtemp(directory) || chdir(directory)) {
        perror(directory);
        exit(1);
    }
    owner = getpid();
    atexit(directory_remove);
    if (!has_tool("qemu-img") || !has_tool("qemu-io")) {
        printf("SKIPPED: qemu-img and qemu-io are not installed (Debian package qemu-utils)\n");
        exit(77);
    }
}

bool has_tool(const char *name)
{
    return run("command -v %s", name) == 0;
}

int run(const char *fmt, ...)
{
    char command[1024], quiet[1100];
    va_list ap;
    va_start(ap, fmt);
    vsnprintf(command, sizeof(command), fmt, ap);
    va_end(ap);
    snprintf(quiet, sizeof(quiet), "{ %s; } >>log 2>&1 </dev/null", command);
    int status = system(quiet);
    return WIFEXITED(status) ? WEXITSTATUS(status) : -1;
}

const char *run_output(const char *fmt, ...)
{
    static char out[65536];
    char command[1024];
    va_list ap;
    va_start(ap, fmt);
    vsnprintf(command, sizeof(command), fmt, ap);
    va_end(ap);
    FILE *f = popen(command, "r");
    size_t n = f ? fread(out, 1, sizeof(out) - 1, f) : 0;
    out[n] = 0;
    if (f)
        pclose(f);
    return out;
}

void file_write(const char *name, const void *data, size_t length)
{
    FILE *f = fopen(name, "w");
    if (!f || (length && fwrite(data, length, 1, f) != 1) || fclose(f)) {
        perror(name);
        exit(1);
    }
}

void *file_read(const char *name, size_t *length)
{
    FILE *f = fopen(name, "r");
    if (!f || fseek(f, 0, SEEK_END)) {
        perror(name);
        exit(1);
    }
    *length = (size_t)ftell(f);
    rewind(f);
    void *data = malloc(*length + 1);
    if (*length && fread(data, *length, 1, f) != 1) {
        perror(name);
        exit(1);
    }
    fclose(f);
    return data;
}

struct block_node *open_image(const struct block_open_options *o)
{
    struct error err;
    struct block_node *n = block_open(o, &err);
    if (!n) {
        printf("FAILED: %s\n", err.text);
        exit(1);
    }
    return n;
}
