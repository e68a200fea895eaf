/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The flash chip against QEMU's, driven by its qtest protocol: the same random commands read the same, and leave the same image.
 * Then what is the chip's own: an acknowledged program is in the file before the guest goes on, a read-only image refuses, a guest that
 * sends anything to any place does no harm. The comparison is skipped, aloud, where qemu-system-x86_64 is missing.
 *
 *   test-flash [ROUNDS [SEED]]
 */
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/bits.h"
#include "base/error.h"
#include "base/loop.h"
#include "block/block.h"
#include "device/firmware/pflash.h"
#include "memory/map.h"

enum { SIZE = 1 << 20, SEED = 20261128 };
#define BASE ((1ull << 32) - SIZE)

static unsigned checks, failures;
#define CHECK(condition, ...) \
    do { \
        checks++; \
        if (condition) break; \
        if (failures++ > 20) break; \
        printf("%s:%d: %s: ", __FILE__, __LINE__, #condition); \
        printf(__VA_ARGS__); \
        printf("\n"); \
    } while (0)

static struct memory_map *memory;
static struct device *chip;
static struct block_node *node;
static char ours_path[] = "/tmp/ospite-flash-XXXXXX", theirs_path[] = "/tmp/ospite-flash-XXXXXX";
static uint64_t state;

static uint32_t below(uint32_t n)
{
    state ^= state << 13;
    state ^= state >> 7;
    state ^= state << 17;
    return (uint32_t)(state * 0x2545f4914f6cdd1d >> 32) % n;
}

/* ---- QEMU ---- */

static FILE *to_qemu, *from_qemu;
static pid_t qemu;

static void qemu_run(int in, int out)
{
    char drive[128];

    dup2(in, 0);
    dup2(out, 1);
    snprintf(drive, sizeof(drive), "if=pflash,format=raw,file=%s", theirs_path);
    execl("/usr/bin/qemu-system-x86_64", "qemu", "-machine", "pc,accel=tcg", "-S", "-qtest", "stdio", "-display", "none", "-nodefaults",
          "-drive", drive, "-qtest-log", "/dev/null", NULL);
    _exit(127);
}

static bool qemu_start(void)
{
    int in[2], out[2];

    if (access("/usr/bin/qemu-system-x86_64", X_OK) || pipe(in) || pipe(out)) return false;
    qemu = fork();
    if (qemu == 0) {
        close(in[1]);
        close(out[0]);
        qemu_run(in[0], out[1]);
    }
    close(in[0]);
    close(out[1]);
    to_qemu = fdopen(in[1], "w");
    from_qemu = fdopen(out[0], "r");
    return true;
}

static void qemu_stop(void)
{
    if (!qemu) return;
    kill(qemu, SIGTERM);
    waitpid(qemu, NULL, 0);
    fclose(to_qemu);
    fclose(from_qemu);
}

static uint64_t ask(const char *format, uint64_t a, uint64_t b)
{
    char line[128] = "";

    fprintf(to_qemu, format, (unsigned long long)a, (unsigned long long)b);
    fflush(to_qemu);
    while (fgets(line, sizeof(line), from_qemu))
        if (!strncmp(line, "OK", 2)) return strtoull(line + 2, NULL, 0);
    printf("qtest: no answer to '%s'\n", format);
    exit(1);
}

/* ---- both ---- */

static void put(uint32_t at, uint8_t value)
{
    memory_io_write(memory, BASE + at, value, 1);
    if (qemu) ask("writeb 0x%llx 0x%llx\n", BASE + at, value);
}

static uint8_t get(uint32_t at, const char *what)
{
    uint8_t ours = (uint8_t)memory_io_read(memory, BASE + at, 1), theirs = ours;

    if (qemu) theirs = (uint8_t)ask("readb 0x%llx\n", BASE + at, 0);
    CHECK(ours == theirs, "%s: at %x %02x, qemu has %02x", what, at, ours, theirs);
    return ours;
}

static void program_buffer(uint32_t at)
{
    uint32_t count = 1 + below(256 - (at & 255));

    put(at, 0xe8);
    get(at, "status of a buffer");
    put(at, (uint8_t)(count - 1));
    for (uint32_t i = 0; i < count; i++) put(at + i, (uint8_t)below(256));
    put(at, 0xd0);
    get(at, "status after a buffer");
    put(at, 0xff);
}

static void random_command(void)
{
    uint32_t at = below(SIZE);

    switch (below(12)) {
    case 0: case 1:
        for (unsigned n = below(40); n; n--, at = (at + 1) % SIZE) {
            put(at, below(2) ? 0x10 : 0x40);
            put(at, (uint8_t)below(256));
            if (!below(4)) get(at, "status after a byte");
        }
        break;
    case 2: put(at, 0x20), put(at, 0xd0), get(at, "status after an erase"); break;
    case 3: program_buffer(at); break;
    case 4: put(at, 0x98); for (unsigned n = 0; n < 0x60; n++) get(n + (at & ~0xfffu), "CFI"); break;
    case 5: put(at, 0x90); for (unsigned n = 0; n < 4; n++) get(n, "identifiers"); break;
    case 6: put(at, 0x70), get(at, "status"), get(below(SIZE), "status"); break;
    case 7: put(at, 0x50), get(at, "array after clear status"); break;
    case 8: put(at, 0x60), put(at, below(2) ? 0xd0 : 0x01), get(at, "status after a lock"); break;
    case 9: put(at, 0xf0), get(at, "array"); break;
    default: put(at, 0xff); for (unsigned n = 0; n < 8; n++) get(below(SIZE), "array");
    }
    put(below(SIZE), 0xff);
    get(at, "array behind a command");
}

/* ---- our chip ---- */

static void chip_make(bool readonly)
{
    struct error err = { "" };
    struct block_open_options o = { .filename = ours_path, .format = "raw", .readonly = readonly };
    struct pflash_config c = { .memory = memory, .name = "flash", .start = BASE, .priority = 1, .size_bytes = SIZE };

    c.node = node = block_open(&o, &err);
    chip = node ? pflash_new(&c, &err) : NULL;
    if (chip) return;
    printf("cannot make a chip: %s\n", err.text);
    exit(1);
}

static void chip_drop(void)
{
    machine_lock();
    device_destroy(chip);
    machine_unlock();
    block_close(node);
}

static uint8_t in_file(const char *path, uint32_t at)
{
    int fd = open(path, O_RDONLY);
    uint8_t byte = 0;

    if (pread(fd, &byte, 1, at) != 1) failures++;
    close(fd);
    return byte;
}

/* What the guest was told is done is in the file at that moment. */
static void acknowledged_test(void)
{
    for (unsigned n = 0; n < 50; n++) {
        uint32_t at = below(SIZE);
        uint8_t value = (uint8_t)below(256);

        put(at, 0x40), put(at, value);
        if (n & 1) get(at, "status");
        else put(at, 0xff);
        CHECK(in_file(ours_path, at) == value, "byte %x is not in the file", at);
        put(at, 0xff);
        put(at, 0x20), put(at, 0xd0), put(at, 0xff);
        CHECK(in_file(ours_path, at) == 0xff, "the block of %x is not erased in the file", at);
    }
}

static void readonly_test(void)
{
    uint8_t before = in_file(ours_path, 4000);

    put(4000, 0x50);
    put(4000, 0x40), put(4000, (uint8_t)~before);
    CHECK(get(4000, "status") == 0x90, "a read-only chip let itself be programmed");
    put(4000, 0x50);
    put(4000, 0x20), put(4000, 0xd0);
    CHECK(get(4000, "status") == 0xa0, "a read-only chip let itself be erased");
    put(4000, 0xff);
    CHECK(get(4000, "array") == before && in_file(ours_path, 4000) == before, "it changed");
}

static void hostile_test(unsigned steps)
{
    static const uint8_t commands[] = { 0x10, 0x40, 0x20, 0x50, 0x60, 0x70, 0x90, 0x98, 0xe8, 0xd0, 0xff, 0xf0, 0x01, 0 };

    for (unsigned n = 0; n < steps; n++) {
        uint32_t at = below(3) ? below(SIZE) : SIZE - 1 - below(300);
        uint64_t value = below(4) ? commands[below(sizeof(commands))] : below(256);

        if (below(3)) memory_io_write(memory, BASE + at, value, 1u << below(4));
        else memory_io_read(memory, BASE + at, 1u << below(4));
        if (!below(2000)) device_reset(chip);
    }
}

static void files_make(void)
{
    static uint8_t bytes[SIZE];
    int fd[2] = { mkstemp(ours_path), mkstemp(theirs_path) };

    for (unsigned n = 0; n < SIZE; n++) bytes[n] = below(2) ? 0xff : (uint8_t)below(256);
    for (unsigned n = 0; n < 2; n++) {
        if (write(fd[n], bytes, SIZE) != SIZE) exit(1);
        close(fd[n]);
    }
}

static void images_compare(void)
{
    static uint8_t a[SIZE], b[SIZE];
    int fd[2] = { open(ours_path, O_RDONLY), open(theirs_path, O_RDONLY) };

    if (read(fd[0], a, SIZE) != SIZE || read(fd[1], b, SIZE) != SIZE) exit(1);
    CHECK(!memcmp(a, b, SIZE), "the images differ");
    close(fd[0]);
    close(fd[1]);
}

int main(int argc, char **argv)
{
    unsigned rounds = argc > 1 ? (unsigned)atoi(argv[1]) : 600;

    state = argc > 2 ? strtoull(argv[2], NULL, 0) : SEED;
    printf("seed %llu\n", (unsigned long long)state);
    loop_init();
    memory = memory_map_new("memory", 1ull << 52);
    files_make();
    chip_make(false);
    if (!qemu_start()) printf("SKIP the comparison: qemu-system-x86_64 is missing\n");
    for (unsigned n = 0; n < rounds; n++) random_command();
    qemu_stop();
    if (qemu) images_compare();
    qemu = 0;
    acknowledged_test();
    hostile_test(200 * rounds);
    chip_drop();
    chip_make(true);
    readonly_test();
    hostile_test(20 * rounds);
    chip_drop();
    memory_map_free(memory);
    unlink(ours_path);
    unlink(theirs_path);
    printf("flash: %u checks, %u failures\n", checks, failures);
    return failures != 0;
}
