/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "ide_bench.h"

#include <fcntl.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/error.h"
#include "base/loop.h"
#include "block/block.h"
#include "bus/pci.h"

enum { DEVFN = 1 << 3 | 1, BUS_MASTER = 0xc000 };

unsigned checks, failures, interrupts[2];
int irq_level[2];
uint8_t *ram;
struct device *ide;
static struct memory_map *memory, *ports;
static struct memory_range *ram_range;
static struct pci_bus *bus;
static unsigned channel, base, control_port;
static uint64_t random_state;

/* ---- counting, random numbers (xorshift64*) ---- */

bool check(bool ok, const char *fmt, ...)
{
    va_list ap;

    checks++;
    if (ok) return true;
    if (failures++ > 20) return false;
    va_start(ap, fmt);
    printf("FAILED: ");
    vprintf(fmt, ap);
    printf("\n");
    va_end(ap);
    fflush(stdout);
    return false;
}

int report(const char *what)
{
    printf("%s: %u checks, %u failed\n", what, checks, failures);
    return failures || !checks;
}

void random_seed(uint64_t seed) { random_state = seed; }

uint64_t random_next(void)
{
    random_state ^= random_state >> 12;
    random_state ^= random_state << 25;
    random_state ^= random_state >> 27;
    return random_state * 0x2545f4914f6cdd1dull >> 11;
}

void random_fill(void *data, size_t bytes)
{
    uint8_t *p = data;

    for (size_t n = 0; n < bytes; n++) p[n] = random_next();
}

/* ---- the machine ---- */

static void on_irq(void *opaque, int n, int level)
{
    interrupts[n] += level && !irq_level[n];
    irq_level[n] = level;
}

static void config_write(unsigned reg, uint32_t value, unsigned bytes)
{
    pci_config_write(bus, DEVFN << 8 | reg, value, bytes);
}

void bench_master(bool on) { config_write(4, on ? 5 : 1, 2); }

void bench_new(const struct ide_drive_config drive[4])
{
    struct ide_config c = { .devfn = DEVFN };
    struct error err;

    memory = memory_map_new("memory", 1ull << 52);
    ports = memory_map_new("ports", 65536);
    ram = calloc(1, RAM_BYTES);
    ram_range = memory_map_add_ram(memory, "ram", 0, RAM_BYTES, ram, false, 0);
    bus = pci_bus_new(&(struct pci_bus_config){ .memory = memory, .ports = ports });
    c.bus = bus;
    c.memory = memory;
    c.ports = ports;
    for (int n = 0; n < 2; n++) c.irq[n] = (struct irq_line){ on_irq, NULL, n };
    memcpy(c.drive, drive, sizeof c.drive);
    if (!(ide = ide_new(&c, &err))) {
        printf("FAILED: %s\n", err.text);
        exit(1);
    }
    config_write(0x20, BUS_MASTER | 1, 4);
    bench_master(true);
    channel_select(0);
}

void bench_free(void)
{
    device_destroy(ide);
    pci_bus_free(bus);
    memory_range_remove(ram_range);
    memory_map_free(memory);
    memory_map_free(ports);
    free(ram);
    memset(interrupts, 0, sizeof interrupts);
    memset(irq_level, 0, sizeof irq_level);
}

/* ---- ports ---- */

void channel_select(unsigned n)
{
    channel = n;
    base = n ? 0x170 : 0x1f0;
    control_port = n ? 0x376 : 0x3f6;
}

uint32_t in(unsigned reg) { return memory_io_read(ports, base + reg, 1); }
uint32_t in_data(unsigned bytes) { return memory_io_read(ports, base, bytes); }
void out(unsigned reg, uint32_t value) { memory_io_write(ports, base + reg, value & 255, 1); }
void out_data(uint32_t value, unsigned bytes) { memory_io_write(ports, base, value, bytes); }
uint8_t alternate(void) { return memory_io_read(ports, control_port, 1); }
void control(uint8_t value) { memory_io_write(ports, control_port, value, 1); }
uint32_t bm_in(unsigned reg, unsigned bytes)
{
    return memory_io_read(ports, BUS_MASTER + 8 * channel + reg, bytes);
}
void bm_out(unsigned reg, uint32_t value, unsigned bytes)
{
    memory_io_write(ports, BUS_MASTER + 8 * channel + reg, value, bytes);
}

uint8_t settle(void)
{
    int64_t end = clock_host_ns() + 60 * NS_PER_SECOND;

    while (alternate() & BSY && clock_host_ns() < end) loop_step(10);
    return alternate();
}

void loop_settle(void)
{
    for (unsigned n = 0; n < 10; n++) loop_step(2);
}

void soft_reset(void)
{
    control(SRST);
    control(0);
    settle();
}

/* ---- commands ---- */

void command_start(const struct command *c)
{
    out(DEVICE, 0xa0 | c->slave << 4 | (c->chs ? 0 : 0x40) | (c->ext ? 0 : c->sector >> 24 & 15));
    if (c->ext) {
        out(FEATURE, 0);
        out(COUNT, c->count >> 8);
        for (unsigned n = 0; n < 3; n++) out(LOW + n, c->sector >> (24 + 8 * n));
    }
    out(FEATURE, c->feature);
    out(COUNT, c->count);
    for (unsigned n = 0; n < 3; n++) out(LOW + n, c->sector >> 8 * n);
    out(COMMAND, c->op);
}

uint8_t command(const struct command *c)
{
    command_start(c);
    return settle();
}

/* Words and double words by turns, as drivers do. */
void data_read(void *to, size_t bytes)
{
    uint8_t *p = to;

    for (size_t n = 0; n < bytes;) {
        unsigned size = bytes - n >= 4 && n & 4 ? 4 : 2;
        uint32_t value = in_data(size);
        memcpy(p + n, &value, bytes - n < size ? bytes - n : size);
        n += size;
    }
}

void data_write(const void *from, size_t bytes)
{
    const uint8_t *p = from;

    for (size_t n = 0; n < bytes;) {
        unsigned size = bytes - n >= 4 && n & 4 ? 4 : 2;
        uint32_t value = 0;
        memcpy(&value, p + n, size);
        out_data(value, size);
        n += size;
    }
}

void prd_table(const struct prd *prd, unsigned count, bool end)
{
    memcpy(ram + TABLE, prd, count * sizeof *prd);
    if (end) ram[TABLE + count * sizeof *prd - 1] |= 0x80;
    bm_out(4, TABLE, 4);
}

uint8_t dma(const struct command *c, bool to_memory)
{
    uint8_t status;

    bm_out(0, to_memory ? 8 : 0, 1);
    bm_out(2, BM_ERROR | BM_IRQ, 1);
    command_start(c);
    bm_out(0, to_memory ? 9 : 1, 1);
    settle();
    status = bm_in(2, 1);
    bm_out(0, 0, 1);
    return status;
}

/* ---- files ---- */

static char directory[256];
static pid_t owner;

static void directory_remove(void)
{
    if (getpid() == owner && !chdir("/") && shell("rm -rf '%s'", directory))
        printf("cannot remove %s\n", directory);
}

void directory_enter(void)
{
    const char *where = getenv("TMPDIR");

    snprintf(directory, sizeof directory, "%s/ospite-ide-XXXXXX", where && *where ? where : "/tmp");
    if (!mkdtemp(directory) || chdir(directory)) {
        perror(directory);
        exit(1);
    }
    owner = getpid();
    atexit(directory_remove);
}

int shell(const char *fmt, ...)
{
    char line[512], quiet[560];
    va_list ap;
    int status;

    va_start(ap, fmt);
    vsnprintf(line, sizeof line, fmt, ap);
    va_end(ap);
    snprintf(quiet, sizeof quiet, "{ %s; } >/dev/null 2>&1 </dev/null", line);
    status = system(quiet);
    return WIFEXITED(status) ? WEXITSTATUS(status) : -1;
}

void file_make(const char *name, const void *data, size_t bytes, uint64_t size_bytes)
{
    int fd = open(name, O_CREAT | O_TRUNC | O_WRONLY, 0600);

    if (fd < 0 || write(fd, data, bytes) != (ssize_t)bytes || ftruncate(fd, size_bytes) || close(fd)) {
        perror(name);
        exit(1);
    }
}

struct block_node *image_open(const char *name, const char *format, bool readonly)
{
    struct error err;
    struct block_node *n = block_open(
        &(struct block_open_options){ .filename = name, .format = format, .readonly = readonly }, &err);

    if (n) return n;
    printf("FAILED: %s\n", err.text);
    exit(1);
}
