/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "bench.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include "base/error.h"

enum {
    STUBS = 0x1000,
    GDT = 0x2000,
    IDT32 = 0x2800,
    IDT64 = 0x3000,
    PML4 = 0x8000,
    PDPT = 0x9000,
    PD = 0xa000,
    PT = 0xb000,
    PD32 = 0xd000,
    PT32 = 0xe000,
    STUB_BYTES = 16,
    VECTORS = 256,
    PAGES = BENCH_RAM_BYTES / BENCH_PAGE
};
enum {
    SEL_CODE16 = 0x08,
    SEL_CODE32 = 0x10,
    SEL_CODE64 = 0x18,
    SEL_DATA = 0x20,
    SEL_USER_CODE16 = 0x2b,
    SEL_USER_CODE32 = 0x33,
    SEL_USER_CODE64 = 0x3b,
    SEL_USER_DATA = 0x43,
    SEL_TSS = 0x48
};

static void pio(void *opaque, uint16_t port, void *data, unsigned size, unsigned count, bool write)
{
    struct bench *b = opaque;
    uint8_t *p = data;
    b->port_number = port;
    if (b->on_port) b->on_port(b->on_port_opaque);
    for (unsigned i = 0; i < count; i++, p += size) {
        uint32_t value = write ? 0 : b->port_next++ * 0x9e3779b1u;
        if (!write) memcpy(p, &value, size);
        else memcpy(&value, p, size);
        if (b->port_count < sizeof(b->port_value) / sizeof(b->port_value[0]))
            b->port_value[b->port_count] = value;
        b->port_count++;
    }
}

static void mmio(void *opaque, unsigned vcpu, gpa_t address, void *data, unsigned size, bool write)
{
    struct bench *b = opaque;
    uint64_t at = address - BENCH_DEVICE;
    if (b->on_device) b->on_device(b->on_device_opaque, at, write);
    if (at + size > sizeof(b->device)) memset(data, write ? 0 : 0xff, write ? 0 : size);
    else if (write) memcpy(b->device + at, data, size);
    else memcpy(data, b->device + at, size);
}

static void ferr(void *opaque, bool level)
{
    struct bench *b = opaque;
    b->ferr_count++;
    engine_bt.vcpu_kick(b->vcpu);
}

static bool is_pending(void *opaque, unsigned vcpu)
{
    struct bench *b = opaque;
    return __atomic_load_n(&b->vector, __ATOMIC_SEQ_CST) > 0;
}

static int acknowledge(void *opaque, unsigned vcpu)
{
    struct bench *b = opaque;
    int vector = __atomic_exchange_n(&b->vector, 0, __ATOMIC_SEQ_CST);
    return vector > 0 ? vector : -1;
}

static void put64(struct bench *b, uint32_t at, uint64_t value) { memcpy(b->ram + at, &value, 8); }
static void put32(struct bench *b, uint32_t at, uint32_t value) { memcpy(b->ram + at, &value, 4); }

static void tables_make(struct bench *b)
{
    static const uint64_t gdt[] = { 0,
                                    0x000f9b000000ffff,
                                    0x00cf9b000000ffff,
                                    0x00af9b000000ffff,
                                    0x00cf93000000ffff,
                                    0x000ffb000000ffff,
                                    0x00cffb000000ffff,
                                    0x00affb000000ffff,
                                    0x00cff3000000ffff,
                                    0x0000890000000067 | (uint64_t)BENCH_TSS << 16,
                                    0 };
    memcpy(b->ram + GDT, gdt, sizeof(gdt));
    for (uint32_t n = 0; n < VECTORS; n++) {
        uint32_t stub = STUBS + n * STUB_BYTES, dpl = n == BENCH_DONE ? 0x6000 : 0;
        memcpy(b->ram + stub, "\xf4\xeb\xfd", 3);
        if (n < 128) put32(b, n * 4, stub);
        put64(b, IDT32 + n * 8,
              (uint64_t)(stub >> 16) << 48 | (uint64_t)(0x8e00 | dpl) << 32 | (uint32_t)SEL_CODE32 << 16 |
                  stub);
        put64(b, IDT64 + n * 16, (uint64_t)(0x8e00 | dpl) << 32 | (uint32_t)SEL_CODE64 << 16 | stub);
        put64(b, IDT64 + n * 16 + 8, 0);
    }
    put64(b, PML4, PDPT | MAP_ALL);
    put64(b, PDPT, PD | MAP_ALL);
    put64(b, PD, PT | MAP_ALL);
    put64(b, PD + 8, (PT + 0x1000) | MAP_ALL);
    put32(b, PD32, PT32 | MAP_ALL);
    for (uint32_t n = 0; n < PAGES; n++) bench_map(b, n * BENCH_PAGE, n * BENCH_PAGE, MAP_ALL);
}

void bench_map(struct bench *b, gva_t linear, gpa_t gpa, unsigned rights)
{
    uint32_t n = linear / BENCH_PAGE;
    put64(b, PT + n * 8, gpa | rights);
    put32(b, PT32 + n * 4, gpa | rights);
}

/* One vCPU, or so many as OSPITE_TEST_VCPUS says, which take turns: the code that is made for several is not that for one. */
static unsigned vcpus_wanted(void)
{
    const char *wish = getenv("OSPITE_TEST_VCPUS");
    int n = wish ? atoi(wish) : 1;
    return n < 1 ? 1 : n > BENCH_VCPUS ? BENCH_VCPUS : n;
}

static bool vcpus_make(struct bench *b, struct error *err)
{
    for (unsigned i = 0; b->engine && i < b->vcpus; i++) {
        b->all[i] = engine_bt.vcpu_create(b->engine, i, err);
        if (!b->all[i]) return false;
    }
    b->vcpu = b->all[0];
    return b->vcpu;
}

static struct bench *bench_make(uint64_t cache_bytes, const char *cpu)
{
    struct cpuid_model model;
    struct error err = { 0 };
    struct bench *b = calloc(1, sizeof(*b));
    b->vcpus = vcpus_wanted();
    b->ram = mmap(NULL, BENCH_RAM_BYTES, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);    /* shared: for windows */
    if (b->ram == MAP_FAILED) exit(1);
    struct memory_map *map = b->map = memory_map_new("memory", 1ull << 52);
    memory_map_add_ram(map, "ram", 0, BENCH_RAM_BYTES, b->ram, false, 0);
    if (cpuid_model_build(&model, cpu, CPUID_FOR_BT, NULL, &err) == 0) {
        struct engine_config config = { .memory = map,
                                        .cpuid = &model,
                                        .max_vcpus = b->vcpus,
                                        .tb_cache_bytes = cache_bytes,
                                        .host = { .opaque = b,
                                                  .pio = pio,
                                                  .mmio = mmio,
                                                  .ferr = ferr,
                                                  .interrupt_is_pending = is_pending,
                                                  .interrupt_acknowledge = acknowledge } };
        b->engine = engine_bt.create(&config, &err);
        b->xcr0 = model.xcr0_allowed;
    }
    if (!vcpus_make(b, &err)) {
        printf("bench: %s\n", err.text);
        return NULL;
    }
    tables_make(b);
    return b;
}

struct bench *bench_new(void) { return bench_new_small(32 << 20); }
struct bench *bench_new_small(uint64_t cache_bytes) { return bench_make(cache_bytes, NULL); }
struct bench *bench_new_cpu(const char *cpu) { return bench_make(32 << 20, cpu); }

void bench_free(struct bench *b)
{
    for (unsigned i = 0; i < b->vcpus; i++) engine_bt.vcpu_destroy(b->all[i]);
    engine_bt.destroy(b->engine);
    memory_map_free(b->map);
    munmap(b->ram, BENCH_RAM_BYTES);
    free(b);
}

static void segments_set(struct x86_state *s, enum bench_mode mode, unsigned cpl)
{
    unsigned dpl = cpl << SEG_ATTR_DPL_SHIFT;
    for (int i = 0; i < SEG_COUNT; i++)
        s->seg[i] = (struct segment){ .selector = cpl ? SEL_USER_DATA : SEL_DATA,
                                      .limit = 0xffffffff,
                                      .attr = 0xc93 | dpl };
    struct segment *cs = &s->seg[SEG_CS];
    static const uint16_t selector[2][BENCH_MODES] = {
        { 0, SEL_CODE16, SEL_CODE32, SEL_CODE64 }, { 0, SEL_USER_CODE16, SEL_USER_CODE32, SEL_USER_CODE64 }
    };
    static const uint32_t attr[BENCH_MODES] = { 0x9b, 0x89b, 0xc9b, 0xa9b };
    cs->selector = selector[cpl == 3][mode];
    cs->attr = attr[mode] | dpl;
    if (mode != BENCH_REAL) return;
    for (int i = 0; i < SEG_COUNT; i++)
        s->seg[i] = (struct segment){ .limit = 0xffff, .attr = i == SEG_CS ? 0x9b : 0x93 };
    cs->selector = BENCH_CODE >> 4;
    cs->base = BENCH_CODE;
}

void bench_state(struct bench *b, struct x86_state *s, enum bench_mode mode, unsigned cpl)
{
    engine_bt.vcpu_get(b->vcpu, s);
    segments_set(s, mode, cpl);
    s->rip = mode == BENCH_REAL ? 0 : BENCH_CODE;
    s->gpr[REG_RSP] = mode == BENCH_REAL ? 0xf000 : BENCH_STACK - 0x1000;
    s->rflags = RFLAGS_FIXED;
    s->cr0 = CR0_ET | CR0_NE | (mode == BENCH_REAL ? 0 : CR0_PE | CR0_PG | CR0_WP);
    s->cr4 = CR4_OSFXSR | CR4_OSXMMEXCPT | CR4_OSXSAVE | (mode == BENCH_LONG ? CR4_PAE : 0);
    s->cr3 = mode == BENCH_LONG ? PML4 : PD32;
    s->efer = mode == BENCH_LONG ? EFER_LME | EFER_LMA | EFER_NXE : 0;
    s->xcr0 = 7;
    s->halted = s->interrupt_shadow = 0;
    s->idtr = (struct descriptor_table){ .base = mode == BENCH_REAL   ? 0
                                                 : mode == BENCH_LONG ? IDT64
                                                                      : IDT32,
                                         .limit = 0xfff };
    s->gdtr = (struct descriptor_table){ .base = GDT, .limit = 0x7f };
    s->tr = (struct segment){ .base = BENCH_TSS, .limit = 0x1fff, .attr = 0x8b, .selector = SEL_TSS };
    if (mode == BENCH_LONG) put64(b, BENCH_TSS + 4, BENCH_STACK);
    else put64(b, BENCH_TSS + 4, (uint64_t)SEL_DATA << 32 | BENCH_STACK);
}

void bench_code(struct bench *b, uint32_t address, const void *code, unsigned n)
{
    memcpy(b->ram + address, code, n);
    b->ram[address + n] = 0xcd;
    b->ram[address + n + 1] = BENCH_DONE;
    memory_written(b->map, address, n + 2);
}

static bool has_error_code(unsigned vector) { return vector < 32 && (1u << vector & 0x00227d00); }

void bench_run(struct bench *b, const struct x86_state *s, enum bench_mode mode, struct result *r)
{
    b->vcpu = b->all[++b->turn % b->vcpus];
    engine_bt.vcpu_set(b->vcpu, s);
    enum engine_exit exit = engine_bt.vcpu_run(b->vcpu);
    engine_bt.vcpu_get(b->vcpu, &r->s);
    r->vector = (r->s.rip - STUBS) / STUB_BYTES;
    if (exit != EXIT_HALTED || r->vector >= VECTORS) {
        printf("bench: unexpected end: exit %d at %#lx\n", exit, (unsigned long)r->s.rip);
        r->vector = 999;
        return;
    }
    unsigned width = mode == BENCH_REAL ? 2 : mode == BENCH_LONG ? 8 : 4;
    const uint8_t *frame = b->ram + (mode == BENCH_REAL ? (uint16_t)r->s.gpr[REG_RSP] : r->s.gpr[REG_RSP]);
    uint64_t word[6] = { 0 };
    r->error = 0;
    if (mode != BENCH_REAL && has_error_code(r->vector)) {
        memcpy(&r->error, frame, 4);
        frame += width;
    }
    for (int i = 0; i < 5; i++) memcpy(&word[i], frame + i * width, width);
    r->rip = word[0];
    r->rflags = word[2];
    bool has_rsp = mode == BENCH_LONG || (mode != BENCH_REAL && (word[1] & 3));
    r->rsp = has_rsp ? word[3] : (uint64_t)(frame - b->ram) + 3 * width;
}
