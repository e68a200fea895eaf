/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The smallest machine that a test guest needs: RAM, a serial port that is always ready (3F8h), an exit port (F4h), two
 * ports that ask for an interrupt of the vector written (F5h) and an NMI (F6h), one vCPU of the engine bt. Runs a multiboot ELF32 file and writes what it prints to stdout, so that the transcript can
 * be compared with another machine's:
 *     board FILE [megabytes]
 * The process returns the byte that the guest writes to port F4h, 100 after a triple fault, 101 when it hangs.
 */
#include <elf.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include "base/bits.h"
#include "base/clock.h"
#include "base/error.h"
#include "base/log.h"
#include "engine/engine.h"

enum { EXIT_TRIPLE = 100, EXIT_HUNG = 101, EXIT_USAGE = 102, TIME_LIMIT_S = 300 };
enum {
    PORT_SERIAL = 0x3f8,
    PORT_EXIT = 0xf4,
    PORT_INTERRUPT = 0xf5,
    PORT_NMI = 0xf6,
    MULTIBOOT_MAGIC = 0x2badb002
};

struct board {
    uint8_t *ram;
    uint64_t ram_bytes;
    struct engine_vcpu *vcpu;
    int exit_code;
    uint64_t pending[4];
};

static void pio(void *opaque, uint16_t port, void *data, unsigned size, unsigned count, bool write)
{
    struct board *b = opaque;
    uint8_t *p = data;
    for (unsigned i = 0; i < count; i++, p += size) {
        if (!write) memset(p, port == PORT_SERIAL + 5 ? 0x60 : 0xff, size);
        else if (port == PORT_SERIAL) putchar(*p);
        else if (port == PORT_EXIT) {
            b->exit_code = *p;
            engine_bt.vcpu_kick(b->vcpu);
        } else if (port == PORT_INTERRUPT) {
            b->pending[*p / 64] |= 1ull << *p % 64;
            engine_bt.vcpu_interrupt(b->vcpu);
        } else if (port == PORT_NMI) {
            engine_bt.vcpu_nmi(b->vcpu);
        }
    }
}

static void mmio(void *opaque, unsigned vcpu, gpa_t address, void *data, unsigned size, bool write)
{
    if (!write) memset(data, 0xff, size);
}

/* The highest vector first, as a local APIC does. */
static int highest(const struct board *b)
{
    for (int n = 3; n >= 0; n--)
        if (b->pending[n]) return n * 64 + 63 - __builtin_clzll(b->pending[n]);
    return -1;
}

static bool is_pending(void *opaque, unsigned vcpu) { return highest(opaque) >= 0; }

static int acknowledge(void *opaque, unsigned vcpu)
{
    struct board *b = opaque;
    int vector = highest(b);
    if (vector >= 0) b->pending[vector / 64] &= ~(1ull << vector % 64);
    return vector;
}

/* Loads the file's segments; the entry point, or 0. */
static uint32_t load(struct board *b, const char *path)
{
    FILE *f = fopen(path, "rb");
    Elf32_Ehdr h;
    Elf32_Phdr p;
    if (!f || fread(&h, sizeof(h), 1, f) != 1 || memcmp(h.e_ident, ELFMAG, SELFMAG) ||
        h.e_ident[EI_CLASS] != ELFCLASS32)
        return 0;
    for (unsigned i = 0; i < h.e_phnum; i++) {
        if (fseek(f, h.e_phoff + i * sizeof(p), SEEK_SET) || fread(&p, sizeof(p), 1, f) != 1) return 0;
        if (p.p_type != PT_LOAD || !p.p_filesz) continue;
        if ((uint64_t)p.p_paddr + p.p_memsz > b->ram_bytes || fseek(f, p.p_offset, SEEK_SET)) return 0;
        if (fread(b->ram + p.p_paddr, p.p_filesz, 1, f) != 1) return 0;
    }
    fclose(f);
    return h.e_entry;
}

/* Registers as the multiboot specification has them. */
static void start_at(struct board *b, uint32_t entry)
{
    static struct x86_state s;
    engine_bt.vcpu_get(b->vcpu, &s);
    for (int i = 0; i < SEG_COUNT; i++)
        s.seg[i] = (struct segment){ .selector = i == SEG_CS ? 8 : 16,
                                     .limit = 0xffffffff,
                                     .attr = i == SEG_CS ? 0xc9b : 0xc93 };
    s.cr0 = CR0_PE | CR0_ET;
    s.gpr[REG_RAX] = MULTIBOOT_MAGIC;
    s.rip = entry;
    s.rflags = RFLAGS_FIXED;
    engine_bt.vcpu_set(b->vcpu, &s);
}

static void *watchdog(void *arg)
{
    sleep(TIME_LIMIT_S);
    fprintf(stderr, "board: the guest did not end in %d seconds\n", TIME_LIMIT_S);
    fflush(stdout);
    _exit(EXIT_HUNG);
}

static int run(struct board *b)
{
    for (;;) {
        enum engine_exit why = engine_bt.vcpu_run(b->vcpu);
        if (b->exit_code >= 0) return b->exit_code;
        if (why == EXIT_KICKED) continue;
        struct x86_state s;
        engine_bt.vcpu_get(b->vcpu, &s);
        fprintf(stderr, "board: exit %d at %04x:%lx\n", why, s.seg[SEG_CS].selector, (unsigned long)s.rip);
        return why == EXIT_SHUTDOWN ? EXIT_TRIPLE : EXIT_HUNG;
    }
}

int main(int argc, char **argv)
{
    struct error err = { 0 };
    static struct cpuid_model model;
    struct board b = { .exit_code = -1, .ram_bytes = (uint64_t)(argc > 2 ? atoi(argv[2]) : 32) << 20 };
    const char *trace_list = getenv("BOARD_TRACE"), *wish = getenv("OSPITE_TEST_VCPUS");
    struct engine_vcpu *idle[3] = { NULL };            /* they are there, which makes the translator's code another one */
    unsigned vcpus = wish ? MIN(MAX(atoi(wish), 1), 4) : 1;
    if (argc < 2 || cpuid_model_build(&model, NULL, CPUID_FOR_BT, NULL, &err) < 0) {
        fprintf(stderr, "usage: board FILE [megabytes] (%s)\n", err.text);
        return EXIT_USAGE;
    }
    if (trace_list && log_trace_enable(trace_list, &err) < 0) return EXIT_USAGE;
    struct memory_map *map = memory_map_new("memory", 1ull << 52);
    b.ram = aligned_alloc(4096, b.ram_bytes);
    memset(b.ram, 0, b.ram_bytes);
    memory_map_add_ram(map, "ram", 0, b.ram_bytes, b.ram, false, 0);
    struct engine_config config = { .memory = map,
                                    .cpuid = &model,
                                    .max_vcpus = vcpus,
                                    .host = { .opaque = &b,
                                              .pio = pio,
                                              .mmio = mmio,
                                              .interrupt_is_pending = is_pending,
                                              .interrupt_acknowledge = acknowledge } };
    struct engine *engine = engine_bt.create(&config, &err);
    b.vcpu = engine ? engine_bt.vcpu_create(engine, 0, &err) : NULL;
    for (unsigned i = 1; b.vcpu && i < vcpus; i++) idle[i - 1] = engine_bt.vcpu_create(engine, i, &err);
    uint32_t entry = b.vcpu ? load(&b, argv[1]) : 0;
    if (!entry) {
        fprintf(stderr, "board: cannot start '%s': %s\n", argv[1],
                b.vcpu ? "not a multiboot ELF32 file that fits" : err.text);
        return EXIT_USAGE;
    }
    pthread_t thread;
    pthread_create(&thread, NULL, watchdog, NULL);
    start_at(&b, entry);
    clock_virtual_start();
    int code = run(&b);
    fflush(stdout);
    for (unsigned i = 0; i < 3; i++)
        if (idle[i]) engine_bt.vcpu_destroy(idle[i]);
    engine_bt.vcpu_destroy(b.vcpu);
    engine_bt.destroy(engine);
    memory_map_free(map);
    free(b.ram);
    return code;
}
