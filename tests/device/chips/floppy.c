/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The floppy controller with two drives, driven through its ports and the DMA controller: random seeks, reads, writes, formats and
 * sense commands against a copy of the disks; the same commands in QEMU (by its qtest protocol) give the same result bytes, memory and images.
 * Then formats by size, write protection, disk changes, data through the port, and a guest that writes anything anywhere.
 * The comparison is skipped, aloud, where qemu-system-x86_64 is missing.
 *
 *   test-floppy [ROUNDS [SEED]]
 */
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/bits.h"
#include "base/clock.h"
#include "base/error.h"
#include "base/loop.h"
#include "block/block.h"
#include "device/dma/i8237.h"
#include "device/storage/fdc.h"

enum { SEED = 20261128, SECTOR = 512, RAM_BYTES = 1 << 20, BUFFER = 0x20000 };
enum { ST0 = 0, ST1, ST2 };

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

static struct memory_map *memory, *ports;
static uint8_t *ram, result[16];
static struct device *fdc, *dma;
static struct block_node *node[2];
static char path[2][32], other[2][32];
static uint8_t *model[2];
static uint64_t state;
static int irq;

static uint32_t below(uint32_t n)
{
    state ^= state << 13;
    state ^= state >> 7;
    state ^= state << 17;
    return (uint32_t)(state * 0x2545f4914f6cdd1d >> 32) % n;
}

static void irq_set_here(void *opaque, int n, int level) { irq = level; }

/* ---- QEMU ---- */

static FILE *to_qemu, *from_qemu;
static pid_t qemu;

static void qemu_run(int in, int out)
{
    char drive[2][128];

    dup2(in, 0);
    dup2(out, 1);
    for (unsigned n = 0; n < 2; n++) snprintf(drive[n], sizeof(drive[n]), "if=floppy,index=%u,format=raw,file=%s", n, other[n]);
    execl("/usr/bin/qemu-system-x86_64", "qemu", "-machine", "pc,accel=tcg", "-S", "-m", "16", "-qtest", "stdio", "-display", "none", "-nodefaults",
          "-drive", drive[0], "-drive", drive[1], "-qtest-log", "/dev/null", NULL);
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
    qemu = 0;
}

static char *qemu_line(void)
{
    static char line[1 << 18];

    fflush(to_qemu);
    while (fgets(line, sizeof(line), from_qemu))
        if (!strncmp(line, "OK", 2)) return line + 2;
    printf("qtest: no answer\n");
    exit(1);
}

static void qemu_memory_compare(uint32_t at, uint32_t size, const char *what)
{
    const char *hex;
    bool same = true;

    if (!qemu) return;
    fprintf(to_qemu, "read 0x%x 0x%x\n", at, size);
    hex = strstr(qemu_line(), "0x") + 2;
    for (uint32_t i = 0; i < size; i++) {
        unsigned byte = 0;

        sscanf(hex + 2 * i, "%2x", &byte);
        same &= byte == ram[at + i];
    }
    CHECK(same, "%s: memory differs", what);
}

static void qemu_memory_set(uint32_t at, uint32_t size)
{
    if (!qemu) return;
    fprintf(to_qemu, "write 0x%x 0x%x 0x", at, size);
    for (uint32_t i = 0; i < size; i++) fprintf(to_qemu, "%02x", ram[at + i]);
    fprintf(to_qemu, "\n");
    qemu_line();
}

/* ---- both ---- */

static void out(uint16_t port, uint8_t value)
{
    memory_io_write(ports, port, value, 1);
    if (!qemu) return;
    fprintf(to_qemu, "outb 0x%x 0x%x\n", port, value);
    qemu_line();
}

static uint8_t in(uint16_t port) { return (uint8_t)memory_io_read(ports, port, 1); }

static uint8_t in_qemu(uint16_t port)
{
    fprintf(to_qemu, "inb 0x%x\n", port);
    return (uint8_t)strtoul(qemu_line(), NULL, 0);
}

static void settle(void)
{
    for (unsigned n = 0; n < 2; n++)
        if (node[n]) block_drain(node[n]);
}

/* Waits for the results and reads them; how many bytes. */
static unsigned results(unsigned want)
{
    unsigned count = 0;

    for (unsigned n = 0; n < 2000 && !(in(0x3f4) & 0x40); n++) {
        settle();
        if (!(in(0x3f4) & 0x40)) loop_step(1);
    }
    while ((in(0x3f4) & 0xd0) == 0xd0 && count < sizeof(result)) result[count++] = in(0x3f5);
    CHECK(count == want, "%u result bytes, not %u", count, want);
    return count;
}

/* The same bytes in QEMU; ST0's seek end bit is not compared, QEMU sets it for transfers that moved the head. */
static void results_compare(unsigned count, const char *what)
{
    uint8_t theirs[16] = { 0 };
    unsigned got = 0;

    if (!qemu) return;
    for (unsigned n = 0; n < 1000 && !(in_qemu(0x3f4) & 0x40); n++) {
        fprintf(to_qemu, "clock_step 20000000\n");
        qemu_line();
    }
    while ((in_qemu(0x3f4) & 0xd0) == 0xd0 && got < 16) theirs[got++] = in_qemu(0x3f5);
    CHECK(got == count, "%s: QEMU has %u result bytes, not %u", what, got, count);
    theirs[ST0] &= (uint8_t)~0x20;
    for (unsigned i = 0; i < count && i < got; i++)
        CHECK((i == ST0 ? result[i] & ~0x20 : result[i]) == theirs[i], "%s: result byte %u is %02x, QEMU has %02x", what, i, result[i], theirs[i]);
}

static void command(const uint8_t *bytes, unsigned count)
{
    for (unsigned i = 0; i < count; i++) {
        CHECK((in(0x3f4) & 0xc0) == 0x80, "the controller does not take byte %u of command %02x: %02x", i, bytes[0], in(0x3f4));
        out(0x3f5, bytes[i]);
    }
}

static void dma_set(uint8_t mode, uint32_t address, uint32_t size)
{
    out(0x0a, 6);
    out(0x0c, 0);
    out(0x0b, mode | 2);
    out(0x04, (uint8_t)address), out(0x04, (uint8_t)(address >> 8));
    out(0x05, (uint8_t)(size - 1)), out(0x05, (uint8_t)((size - 1) >> 8));
    out(0x81, (uint8_t)(address >> 16));
    out(0x0a, 2);
}

static void sense_interrupt(const char *what)
{
    command((const uint8_t[]){ 8 }, 1);
    results(2);
    results_compare(2, what);
}

static void controller_start(void)
{
    out(0x3f2, 0x00);
    out(0x3f2, 0x3c);
    for (unsigned n = 0; n < 4; n++) {
        sense_interrupt("after a reset");
        CHECK(result[0] == (0xc0 | n), "drive %u: ST0 is %02x", n, result[0]);
    }
    command((const uint8_t[]){ 3, 0xaf, 2 }, 3);
    out(0x3f7, 0);
}

static void seek(unsigned drive, unsigned track)
{
    if (below(5)) command((const uint8_t[]){ 0x0f, (uint8_t)drive, (uint8_t)track }, 3);
    else command((const uint8_t[]){ 7, (uint8_t)drive }, 2), track = 0;
    CHECK(irq, "no interrupt after a seek");
    sense_interrupt("after a seek");
    CHECK(result[0] == (0x20 | drive) && result[1] == track, "seek of %u to %u: %02x %02x", drive, track, result[0], result[1]);
    CHECK(!irq, "the interrupt stays");
}

enum { SPT = 18, HEADS = 2, TRACKS = 80, DISK = TRACKS * HEADS * SPT * SECTOR };

static void transfer(unsigned drive, bool write)
{
    unsigned track = below(TRACKS), head = below(2), first = 1 + below(SPT), multi = head == 0 && below(2);
    unsigned most = SPT - first + 1 + (multi ? SPT : 0), count = 1 + below(most), size = count * SECTOR;
    uint32_t at = ((track * HEADS + head) * SPT + first - 1) * SECTOR;
    const char *what = write ? "write" : "read";

    if (below(2)) seek(drive, track);
    for (unsigned i = 0; i < size; i++) ram[BUFFER + i] = write ? (uint8_t)below(256) : 0xee;
    qemu_memory_set(BUFFER, size);
    dma_set(write ? 0x48 : 0x44, BUFFER, size);
    command((const uint8_t[]){ (uint8_t)((write ? 0x45 : 0x46) | (multi ? 0x80 : 0)), (uint8_t)(head << 2 | drive), (uint8_t)track, (uint8_t)head, (uint8_t)first, 2, SPT, 27, 0xff }, 9);
    results(7);
    results_compare(7, what);
    CHECK((result[ST0] & 0xc0) == 0 && !result[ST1] && !result[ST2], "%s: %02x %02x %02x", what, result[0], result[1], result[2]);
    if (write) memcpy(model[drive] + at, ram + BUFFER, size);
    CHECK(!memcmp(model[drive] + at, ram + BUFFER, size), "read of track %u head %u sector %u: other data", track, head, first);
    if (!write) qemu_memory_compare(BUFFER, size, what);
}

static void random_step(void)
{
    unsigned drive = below(2);

    switch (below(8)) {
    case 0: seek(drive, below(TRACKS)); break;
    case 1:
        command((const uint8_t[]){ 4, (uint8_t)(drive | below(2) << 2) }, 2);
        results(1);
        results_compare(1, "drive status");
        break;
    case 2: command((const uint8_t[]){ 0x10 }, 1); results(1); results_compare(1, "version"); break;
    case 3: command((const uint8_t[]){ below(2) ? 0x94 : 0x14 }, 1); results(1); results_compare(1, "lock"); break;
    case 4: case 5: transfer(drive, true); break;
    default: transfer(drive, false);
    }
}

/* ---- ours alone ---- */

static void format_test(void)
{
    for (unsigned n = 0; n < 20; n++) {
        unsigned drive = below(2), track = below(TRACKS), head = below(2);
        uint8_t fill = (uint8_t)below(256);
        uint32_t at = (track * HEADS + head) * SPT * SECTOR;

        command((const uint8_t[]){ 0x0f, (uint8_t)drive, (uint8_t)track }, 3);
        sense_interrupt("seek");
        for (unsigned i = 0; i < SPT; i++) memcpy(ram + BUFFER + 4 * i, (const uint8_t[]){ (uint8_t)track, (uint8_t)head, (uint8_t)(i * 2 % SPT + i * 2 / SPT + 1), 2 }, 4);
        dma_set(0x48, BUFFER, SPT * 4);
        command((const uint8_t[]){ 0x4d, (uint8_t)(head << 2 | drive), 2, SPT, 0x54, fill }, 6);
        results(7);
        CHECK((result[ST0] & 0xc0) == 0 && !result[ST1], "format: %02x %02x", result[0], result[1]);
        memset(model[drive] + at, fill, SPT * SECTOR);
    }
    memset(ram + BUFFER, 0, 64);
    dma_set(0x48, BUFFER, 15 * 4);
    command((const uint8_t[]){ 0x4d, 0, 2, 15, 0x54, 0xf6 }, 6);
    results(7);
    CHECK((result[ST0] & 0xc0) == 0x40 && result[ST1] == 4, "a format of 15 sectors: %02x %02x", result[0], result[1]);
}

/* Without DMA; and TC in the middle of a sector; and a channel that is never opened. */
static void data_test(void)
{
    command((const uint8_t[]){ 3, 0xaf, 3 }, 3);
    command((const uint8_t[]){ 0x46, 0, 3, 0, 17, 2, SPT, 27, 0xff }, 9);
    settle();
    for (unsigned i = 0; i < 2 * SECTOR; i++) {
        CHECK((in(0x3f4) & 0xf0) == 0xf0, "byte %u: %02x", i, in(0x3f4));
        CHECK(in(0x3f5) == model[0][(3 * HEADS * SPT + 16) * SECTOR + i], "byte %u through the port", i);
    }
    results(7);
    CHECK((result[ST0] & 0xc0) == 0, "%02x %02x", result[0], result[1]);
    command((const uint8_t[]){ 3, 0xaf, 2 }, 3);
    memset(ram + BUFFER, 0x5a, SECTOR);
    dma_set(0x48, BUFFER, 100);
    command((const uint8_t[]){ 0x45, 0, 5, 0, 1, 2, SPT, 27, 0xff }, 9);
    results(7);
    memset(model[0] + 5 * HEADS * SPT * SECTOR, 0, SECTOR);
    memset(model[0] + 5 * HEADS * SPT * SECTOR, 0x5a, 100);
    out(0x0a, 6);
    command((const uint8_t[]){ 0x46, 0, 5, 0, 1, 2, SPT, 27, 0xff }, 9);
    results(7);
    CHECK((result[ST0] & 0xc0) == 0x40 && result[ST1] == 0x10, "a masked channel: %02x %02x", result[0], result[1]);
    dma_set(0x44, BUFFER, 40 * SECTOR);
    command((const uint8_t[]){ 0x46, 0, 5, 0, 1, 2, SPT, 27, 0xff }, 9);
    results(7);
    CHECK((result[ST0] & 0xc0) == 0x40 && result[ST1] == 0x80, "more than the track has: %02x %02x", result[0], result[1]);
}

static void errors_test(void)
{
    static const struct { uint8_t rate, c, h, r, size, st1; } cases[] = {
        { 2, 0, 0, 1, 2, 1 }, { 0, 80, 0, 1, 2, 4 }, { 0, 0, 0, 19, 2, 4 }, { 0, 0, 0, 0, 2, 4 }, { 0, 0, 0, 1, 3, 4 },
    };

    for (unsigned i = 0; i < ARRAY_SIZE(cases); i++) {
        out(0x3f7, cases[i].rate);
        dma_set(0x44, BUFFER, SECTOR);
        command((const uint8_t[]){ 0x46, 0, cases[i].c, cases[i].h, cases[i].r, cases[i].size, SPT, 27, 0xff }, 9);
        results(7);
        CHECK((result[ST0] & 0xc0) == 0x40 && result[ST1] == cases[i].st1, "case %u: %02x %02x", i, result[0], result[1]);
    }
    out(0x3f7, 0);
    command((const uint8_t[]){ 0x1f }, 1);
    results(1);
    CHECK(result[0] == 0x80, "an unknown command: %02x", result[0]);
}

static struct block_node *disk_open(const char *file, bool readonly)
{
    struct block_open_options o = { .filename = file, .format = "raw", .readonly = readonly };
    struct error err = { "" };
    struct block_node *n = block_open(&o, &err);

    if (!n) printf("%s\n", err.text), exit(1);
    return n;
}

static void disk_put(unsigned drive, struct block_node *n)
{
    struct block_node *old;
    struct error err = { "" };

    CHECK(fdc_disk_change(fdc, drive, n, &old, &err) == 0, "change: %s", err.text);
    if (old) block_close(old);
    node[drive] = n;
}

/* Each size is a format: its last sector is found, one more is not. */
static void change_test(void)
{
    static const struct { unsigned kib; uint8_t rate, spt, tracks, heads; } formats[] = {
        { 360, 2, 9, 40, 2 }, { 720, 2, 9, 80, 2 }, { 1200, 0, 15, 80, 2 }, { 1440, 0, 18, 80, 2 }, { 1680, 0, 21, 80, 2 }, { 2880, 3, 36, 80, 2 }, { 180, 2, 9, 40, 1 },
    };

    for (unsigned i = 0; i < ARRAY_SIZE(formats); i++) {
        char file[] = "/tmp/ospite-floppy-XXXXXX";
        int fd = mkstemp(file);
        unsigned readonly = i & 1, head = formats[i].heads - 1u;

        if (ftruncate(fd, formats[i].kib * 1024) || pwrite(fd, "the last", 8, formats[i].kib * 1024 - SECTOR) != 8) exit(1);
        close(fd);
        out(0x3f2, 0x1c);
        disk_put(0, disk_open(file, readonly));
        CHECK(in(0x3f7) == 0x80, "the change line is down");
        command((const uint8_t[]){ 0x0f, 0, 1 }, 3);
        sense_interrupt("seek");
        CHECK(in(0x3f7) == 0, "the change line stays up");
        out(0x3f7, formats[i].rate);
        for (unsigned over = 0; over < 2; over++) {
            dma_set(0x44, BUFFER, SECTOR);
            command((const uint8_t[]){ 0x46, (uint8_t)(head << 2), (uint8_t)(formats[i].tracks - 1), (uint8_t)head, (uint8_t)(formats[i].spt + over), 2, formats[i].spt, 27, 0xff }, 9);
            results(7);
            CHECK(((result[ST0] & 0xc0) == 0x40) == over, "%u KiB: %02x %02x", formats[i].kib, result[0], result[1]);
        }
        CHECK(!memcmp(ram + BUFFER, "the last", 8), "%u KiB: other data", formats[i].kib);
        dma_set(0x48, BUFFER, SECTOR);
        command((const uint8_t[]){ 0x45, 0, 0, 0, 1, 2, formats[i].spt, 27, 0xff }, 9);
        results(7);
        CHECK(result[ST1] == (readonly ? 2 : 0), "write to %s disk: %02x", readonly ? "a protected" : "the", result[ST1]);
        command((const uint8_t[]){ 4, 0 }, 2);
        results(1);
        CHECK((result[0] & 0x40) == (readonly ? 0x40 : 0), "ST3 %02x", result[0]);
        unlink(file);
    }
    disk_put(0, NULL);
    CHECK(in(0x3f7) == 0x80, "no disk, and the change line is down");
    command((const uint8_t[]){ 0x46, 0, 0, 0, 1, 2, SPT, 27, 0xff }, 9);
    results(7);
    CHECK((result[ST0] & 0xc8) == 0x48, "no disk: %02x", result[0]);
}

static void hostile_test(unsigned steps)
{
    static const uint8_t codes[] = { 0x46, 0x45, 0xc6, 0xc5, 0x4d, 0x56, 0x42, 3, 4, 7, 8, 0x4a, 0x0e, 0x0f, 0x10, 0x12, 0x13, 0x14, 0x18, 0x2e, 0x8f, 0xcf };
    static const uint16_t at[] = { 0x3f2, 0x3f4, 0x3f5, 0x3f5, 0x3f5, 0x3f5, 0x3f7, 0x0a, 0x0b, 0x05, 0x04, 0x08, 0x0f, 0x0d };

    for (unsigned n = 0; n < steps; n++) {
        uint16_t port = at[below(ARRAY_SIZE(at))];
        uint8_t value = port == 0x3f5 && below(3) ? codes[below(sizeof(codes))] : below(3) ? (uint8_t)below(20) : (uint8_t)below(256);

        if (port == 0x3f2 && below(8)) value |= 0x0c;
        if (below(4)) memory_io_write(ports, port, value, 1);
        else memory_io_read(ports, port, 1);
        if (!below(50)) settle();
        if (!below(500)) loop_step(0);
        if (!below(3000)) device_reset(fdc);
        if (below(2000)) continue;
        disk_put(0, NULL);
        if (below(2)) disk_put(0, disk_open(other[0], below(2)));
    }
    settle();
}

static void disks_make(void)
{
    for (unsigned n = 0; n < 2; n++) {
        int fd[2];

        model[n] = malloc(DISK);
        for (unsigned i = 0; i < DISK; i++) model[n][i] = (uint8_t)below(256);
        strcpy(path[n], "/tmp/ospite-floppy-XXXXXX"), strcpy(other[n], path[n]);
        fd[0] = mkstemp(path[n]), fd[1] = mkstemp(other[n]);
        for (unsigned i = 0; i < 2; i++) {
            if (write(fd[i], model[n], DISK) != DISK) exit(1);
            close(fd[i]);
        }
        node[n] = disk_open(path[n], false);
    }
}

static void image_check(const char *file, const uint8_t *want, const char *what)
{
    uint8_t *got = malloc(DISK);
    int fd = open(file, O_RDONLY);

    CHECK(read(fd, got, DISK) == DISK && !memcmp(got, want, DISK), "%s: the image differs", what);
    close(fd);
    free(got);
}

static void world_make(void)
{
    struct fdc_config c = { .irq = { irq_set_here, NULL, 0 } };
    struct error err = { "" };

    loop_init();
    clock_virtual_start();
    memory = memory_map_new("memory", 1ull << 52);
    ports = memory_map_new("ports", 65536);
    ram = mmap(NULL, RAM_BYTES, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    memory_map_add_ram(memory, "ram", 0, RAM_BYTES, ram, false, 0);
    dma = i8237_new(&(struct i8237_config){ ports, memory }, &err);
    disks_make();
    c.ports = ports;
    c.dma = dma;
    for (unsigned n = 0; n < 2; n++) c.drive[n] = (struct fdc_drive_config){ .is_there = true, .node = node[n] };
    fdc = fdc_new(&c, &err);
    if (!fdc) printf("%s\n", err.text), exit(1);
}

int main(int argc, char **argv)
{
    unsigned rounds = argc > 1 ? (unsigned)atoi(argv[1]) : 300;

    state = argc > 2 ? strtoull(argv[2], NULL, 0) : SEED;
    printf("seed %llu\n", (unsigned long long)state);
    world_make();
    if (!qemu_start()) printf("SKIP the comparison: qemu-system-x86_64 is missing\n");
    machine_lock();
    out(0x08, 0), out(0xd6, 0xc0), out(0xd4, 0);
    controller_start();
    for (unsigned n = 0; n < rounds; n++) random_step();
    qemu_stop();
    for (unsigned n = 0; n < 2; n++) image_check(other[n], model[n], "QEMU");
    format_test();
    data_test();
    errors_test();
    for (unsigned n = 0; n < 2; n++) image_check(path[n], model[n], "ours");
    change_test();
    hostile_test(400 * rounds);
    device_destroy(fdc);
    device_destroy(dma);
    for (unsigned n = 0; n < 2; n++) {
        if (node[n]) block_close(node[n]);
        unlink(path[n]);
        unlink(other[n]);
        free(model[n]);
    }
    machine_unlock();
    memory_map_free(memory);
    memory_map_free(ports);
    printf("floppy: %u checks, %u failures\n", checks, failures);
    return failures != 0;
}
