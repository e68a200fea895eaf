/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * A bench for single instructions: one vCPU of the engine bt with 4 MiB of RAM, descriptor tables, page
 * tables and a handler for each vector. A few bytes of code run in the mode that is asked for; the run ends
 * in the handler of vector BENCH_DONE (INT 30h behind the code) or of the exception that was raised.
 *
 * Linear memory is identity mapped with 4 KiB pages, except where bench_map changes it (not in real mode).
 */
#ifndef TESTS_CPU_SYSTEM_MISC_BENCH_H
#define TESTS_CPU_SYSTEM_MISC_BENCH_H

#include <stdbool.h>
#include <stdint.h>
#include "engine/engine.h"

enum bench_mode { BENCH_REAL, BENCH_PROT16, BENCH_PROT32, BENCH_LONG, BENCH_MODES };
enum {
    BENCH_VCPUS = 4,
    BENCH_RAM_BYTES = 4 << 20,
    BENCH_CODE = 0x30000,
    BENCH_STACK = 0x20000,
    BENCH_TSS = 0x4000,
    BENCH_DONE = 0x30,
    BENCH_DEVICE = 0x400000 /* GPA of a page of device memory */,
    BENCH_PAGE = 4096
};
enum { MAP_NONE = 0, MAP_PRESENT = 1, MAP_WRITABLE = 2, MAP_USER = 4, MAP_ALL = 7 };

struct bench {
    uint8_t *ram;
    uint8_t device[BENCH_PAGE];
    struct memory_map *map;
    struct engine *engine;
    struct engine_vcpu *vcpu;          /* whose turn it is */
    struct engine_vcpu *all[BENCH_VCPUS];
    unsigned vcpus, turn;
    /* Port log: elements written; what reads give is a counter. */
    unsigned port_count;
    uint32_t port_value[8192];
    uint16_t port_number;
    void (*on_port)(void *opaque);     /* at each access; NULL: nothing more */
    void *on_port_opaque;
    /* Device memory: called before each access with its offset in the page (perhaps outside); NULL: nothing more. */
    void (*on_device)(void *opaque, uint64_t at, bool write);
    void *on_device_opaque;
    int vector;                        /* of an interrupt that waits; 0: none */
    uint64_t xcr0;                     /* what the guest may set */
    uint32_t port_next;
    unsigned ferr_count;               /* FERR# asserted; the run is ended then (EXIT_KICKED) */
};

struct result {
    unsigned vector;                   /* BENCH_DONE, or what was raised */
    uint32_t error;                    /* its error code, where it has one */
    uint64_t rip, rflags, rsp;         /* from the frame */
    struct x86_state s;                /* in the handler */
};

/* The bench, or NULL with a message printed. */
struct bench *bench_new(void);
struct bench *bench_new_small(uint64_t cache_bytes);   /* of the code cache */
struct bench *bench_new_cpu(const char *cpu);          /* as -cpu; NULL: all of the host's */
void bench_free(struct bench *b);
/* State for mode at cpl (0 or 3; real mode: 0): flat segments, rip at BENCH_CODE. */
void bench_state(struct bench *b, struct x86_state *s, enum bench_mode mode, unsigned cpl);
/* Page at linear (below 4 MiB) shows gpa with rights MAP_*, in all paged modes. */
void bench_map(struct bench *b, gva_t linear, gpa_t gpa, unsigned rights);
/* Writes code and INT 30h at address. */
void bench_code(struct bench *b, uint32_t address, const void *code, unsigned n);
/* Runs from *s. mode as given to bench_state. */
void bench_run(struct bench *b, const struct x86_state *s, enum bench_mode mode, struct result *r);

static inline uint64_t bench_random(uint64_t *seed)
{
    uint64_t z = *seed += 0x9e3779b97f4a7c15ull;
    z = (z ^ z >> 30) * 0xbf58476d1ce4e5b9ull;
    z = (z ^ z >> 27) * 0x94d049bb133111ebull;
    return z ^ z >> 31;
}

#endif
