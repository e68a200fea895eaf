/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Somebody wants a vCPU that never leaves translated code by itself, or is in the middle of a string instruction at a device: it stops when it is
 * kicked, takes interrupts and NMIs between two instructions (or two elements), and sees a change of the memory map at the next element.
 */
#include <pthread.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>
#include "base/bits.h"
#include "bench.h"

enum { ROUNDS = 150, KERNEL = BENCH_CODE + 0x100, VECTOR = 0x41, NMI = 2, LIMIT_S = 200, DEVICE_AT = 0x3f0000, AT = 0x100000, COUNT = 300, STOP_AT = 123,
       OTHER_CODE = 0x60000, EXCLUSIVE = 2000, WRITES = 1000 };

static unsigned failed;
static void check(bool ok, const char *what, uint64_t value)
{
    if (ok || failed++ > 10) return;
    printf("FAIL %s: %#lx\n", what, (unsigned long)value);
}

/* ---- SYSCALL and SYSRET without end ---- */

enum wish { KICK, INTERRUPT, INTERRUPT_NMI, WISHES };
struct asker { struct bench *b; enum wish wish; unsigned delay_us; };
static void *ask(void *arg)
{
    struct asker *a = arg;
    usleep(a->delay_us);
    if (a->wish == KICK) {
        engine_bt.vcpu_kick(a->b->vcpu);
    } else if (a->wish == INTERRUPT) {
        __atomic_store_n(&a->b->vector, VECTOR, __ATOMIC_SEQ_CST);
        engine_bt.vcpu_interrupt(a->b->vcpu);
    } else {
        engine_bt.vcpu_nmi(a->b->vcpu);
    }
    return NULL;
}

static void crossings_state(struct bench *b, struct x86_state *s)
{
    static const char program[] = "\x0f\x05", kernel[] = "\x48\x83\xe9\x02\x48\x0f\x07";     /* syscall; sub rcx, 2; sysretq: no jump asks */
    bench_state(b, s, BENCH_LONG, 3);
    bench_code(b, BENCH_CODE, program, 2);
    bench_code(b, KERNEL, kernel, 7);
    s->efer |= EFER_SCE;
    s->lstar = KERNEL;
    s->star = 0x18ull << 32 | 0x2bull << 48;
    s->fmask = 0x47fd5;
    s->rflags |= RFLAGS_IF;
    s->nmi_pending = s->nmi_blocked = 0;
}

static void crossings(struct bench *b, uint64_t *seed)
{
    struct x86_state s;
    for (unsigned n = 0; n < ROUNDS; n++) {
        pthread_t thread;
        b->vcpu = b->all[++b->turn % b->vcpus];
        struct asker a = { b, n % WISHES, bench_random(seed) % 3000 };
        crossings_state(b, &s);
        engine_bt.vcpu_set(b->vcpu, &s);
        pthread_create(&thread, NULL, ask, &a);
        enum engine_exit exit = engine_bt.vcpu_run(b->vcpu);
        pthread_join(thread, NULL);
        engine_bt.vcpu_get(b->vcpu, &s);
        if (a.wish == KICK) {
            check(exit == EXIT_KICKED, "exit after a kick", exit);
            check(s.rip == BENCH_CODE || s.rip == KERNEL, "RIP after a kick", s.rip);
            check(x86_cpl(&s) == (s.rip == KERNEL ? 0 : 3), "level after a kick", x86_cpl(&s));
            check(!(s.rflags & RFLAGS_IF) == (s.rip == KERNEL), "flags after a kick", s.rflags);
            continue;
        }
        uint64_t rip, rflags;
        memcpy(&rip, b->ram + s.gpr[REG_RSP], 8);
        memcpy(&rflags, b->ram + s.gpr[REG_RSP] + 16, 8);
        check(exit == EXIT_HALTED, "exit after an interrupt", exit);
        check((s.rip - 1 - 0x1000) / 16 == (a.wish == INTERRUPT ? VECTOR : NMI), "handler", s.rip);
        check(a.wish != INTERRUPT || (rflags & RFLAGS_IF && rip != KERNEL), "where the interrupt came", rip);
    }
}

/* ---- The same beside a vCPU that wants it to rest, and a device that writes to its code ---- */

static void *other_vcpu(void *arg)
{
    static const char code[] = "\xf0\xff\x06\xff\xc9\x75\xf9";         /* lock inc dword [rsi]; dec ecx; jnz */
    struct bench *b = arg;
    struct x86_state s;
    uint32_t sum;
    bench_code(b, OTHER_CODE, code, 7);
    bench_state(b, &s, BENCH_LONG, 0);
    s.rip = OTHER_CODE;
    s.gpr[REG_RSP] = OTHER_CODE + BENCH_PAGE;
    s.gpr[REG_RSI] = AT + BENCH_PAGE - 2;
    s.gpr[REG_RCX] = EXCLUSIVE;
    memset(b->ram + AT, 0, 2 * BENCH_PAGE);
    engine_bt.vcpu_set(b->all[1], &s);
    enum engine_exit exit = engine_bt.vcpu_run(b->all[1]);
    memcpy(&sum, b->ram + AT + BENCH_PAGE - 2, 4);
    check(exit == EXIT_HALTED, "end of the other vCPU", exit);
    check(sum == EXCLUSIVE, "locked additions", sum);
    for (unsigned n = 0; n < WRITES; n++) {
        memory_written(b->map, n % 2 ? BENCH_CODE : KERNEL, 1);
        usleep(n % 3 * 50);
    }
    engine_bt.vcpu_kick(b->all[0]);
    return NULL;
}

static void crossings_beside(struct bench *b)
{
    static const char program[] = "\x48\xff\xc3\x0f\x05", kernel[] = "\x48\xff\xc5\x48\x83\xe9\x05\x48\x0f\x07";     /* inc rbx; inc rbp */
    struct x86_state s;
    pthread_t thread;
    b->vcpu = b->all[0];
    crossings_state(b, &s);
    bench_code(b, BENCH_CODE, program, 5);
    bench_code(b, KERNEL, kernel, 10);
    s.gpr[REG_RBX] = s.gpr[REG_RBP] = 0;
    engine_bt.vcpu_set(b->vcpu, &s);
    pthread_create(&thread, NULL, other_vcpu, b);
    enum engine_exit exit = engine_bt.vcpu_run(b->vcpu);
    pthread_join(thread, NULL);
    engine_bt.vcpu_get(b->vcpu, &s);
    printf("%lu crossings beside another vCPU\n", (unsigned long)s.gpr[REG_RBP]);
    check(exit == EXIT_KICKED, "exit after the other vCPU's end", exit);
    check(s.gpr[REG_RBX] - s.gpr[REG_RBP] <= 1 && s.gpr[REG_RBP], "crossings", s.gpr[REG_RBX] - s.gpr[REG_RBP]);
}

/* ---- Strings at a device ---- */

enum event { EVENT_KICK, EVENT_INTERRUPT, EVENT_NMI, EVENT_MAP, EVENTS };
enum kind { TO_DEVICE, FROM_DEVICE, FILL, KINDS };
struct string_case { struct bench *b; enum event event; enum kind kind; unsigned size, left; bool down; struct memory_range *other; };

/* Before the access of element STOP_AT. */
static void on_device(void *opaque, uint64_t at, bool write)
{
    struct string_case *c = opaque;
    if (!c->left || --c->left) return;
    if (c->event == EVENT_KICK) engine_bt.vcpu_kick(c->b->vcpu);
    if (c->event == EVENT_NMI) engine_bt.vcpu_nmi(c->b->vcpu);
    if (c->event == EVENT_MAP) memory_range_enable(c->other, true);
    if (c->event != EVENT_INTERRUPT) return;
    __atomic_store_n(&c->b->vector, VECTOR, __ATOMIC_SEQ_CST);
    engine_bt.vcpu_interrupt(c->b->vcpu);
}

static void string_state(const struct string_case *c, struct x86_state *s)
{
    uint8_t code[3] = { 0xf3, c->size == 2 ? 0x66 : c->size == 8 ? 0x48 : 0x90 };
    uint64_t start = 5 + (c->down ? (COUNT - 1) * c->size : 0);
    unsigned n = c->size == 2 || c->size == 8 ? 2 : 1;
    code[n++] = (c->kind == FILL ? 0xaa : 0xa4) | (c->size > 1);
    if (c->size == 2) code[0] = 0x66, code[1] = 0xf3;
    bench_state(c->b, s, BENCH_LONG, 0);
    bench_code(c->b, BENCH_CODE, code, n);
    s->gpr[REG_RSI] = start + (c->kind == FROM_DEVICE ? DEVICE_AT : AT);
    s->gpr[REG_RDI] = start + (c->kind == FROM_DEVICE ? AT : DEVICE_AT);
    s->gpr[REG_RAX] = 0x7777777777777777;
    s->gpr[REG_RCX] = COUNT;
    s->rflags |= RFLAGS_IF | (c->down ? RFLAGS_DF : 0);
    s->nmi_pending = s->nmi_blocked = 0;
}

/* Stopped between elements STOP_AT and the next. */
static void check_stopped(const struct string_case *c, const struct x86_state *s, uint64_t rip)
{
    int64_t bytes = (c->down ? -1 : 1) * (int64_t)(STOP_AT * c->size);
    struct x86_state start;
    string_state(c, &start);
    check(rip == BENCH_CODE, "RIP of a stopped string", rip);
    check(s->gpr[REG_RCX] == COUNT - STOP_AT, "RCX of a stopped string", s->gpr[REG_RCX]);
    check(s->gpr[REG_RDI] == start.gpr[REG_RDI] + (uint64_t)bytes, "RDI of a stopped string", s->gpr[REG_RDI]);
    check(s->gpr[REG_RSI] == start.gpr[REG_RSI] + (c->kind == FILL ? 0 : (uint64_t)bytes), "RSI of a stopped string", s->gpr[REG_RSI]);
}

/* What lies at element n of the side that was written. */
static uint8_t element(const struct string_case *c, const uint8_t *page, unsigned n)
{
    return page[5 + (c->down ? COUNT - 1 - n : n) * c->size];
}

static void check_map_change(const struct string_case *c, const uint8_t *other)
{
    for (unsigned n = 0; n < COUNT; n++) {
        if (c->kind == TO_DEVICE) check(element(c, c->b->device, n) == (n < STOP_AT ? 0x11 : 0x22), "read after a change of the map", n);
        if (c->kind != FROM_DEVICE || n == STOP_AT - 1) continue;
        check(element(c, c->b->ram + AT, n) == (n < STOP_AT ? 0x33 : 0x11), "written before a change of the map", n);
        check(element(c, other, n) == (n < STOP_AT ? 0x22 : 0x33), "written after a change of the map", n);
    }
}

static void string_case(struct string_case *c, uint8_t *other)
{
    struct x86_state s;
    uint64_t rip;
    memset(c->b->ram + AT, 0x11, BENCH_PAGE);
    memset(other, 0x22, BENCH_PAGE);
    memset(c->b->device, 0x33, BENCH_PAGE);
    c->left = STOP_AT;
    c->b->vcpu = c->b->all[++c->b->turn % c->b->vcpus];
    string_state(c, &s);
    engine_bt.vcpu_set(c->b->vcpu, &s);
    enum engine_exit exit = engine_bt.vcpu_run(c->b->vcpu);
    engine_bt.vcpu_get(c->b->vcpu, &s);
    memcpy(&rip, c->b->ram + s.gpr[REG_RSP], 8);
    unsigned vector = (s.rip - 1 - 0x1000) / 16;
    if (c->event == EVENT_MAP) {
        check(exit == EXIT_HALTED && vector == BENCH_DONE, "end", s.rip);
        check_map_change(c, other);
    } else if (c->event == EVENT_KICK) {
        check(exit == EXIT_KICKED, "exit of a kicked string", exit);
        check_stopped(c, &s, s.rip);
    } else {
        check(exit == EXIT_HALTED && vector == (c->event == EVENT_NMI ? NMI : VECTOR), "handler of a stopped string", s.rip);
        check_stopped(c, &s, rip);
    }
    memory_range_enable(c->other, false);
}

static void strings(struct bench *b)
{
    static uint8_t other[BENCH_PAGE] __attribute__((aligned(BENCH_PAGE)));
    struct string_case c = { .b = b, .other = memory_map_add_ram(b->map, "other", AT, BENCH_PAGE, other, false, 1) };
    memory_range_enable(c.other, false);
    bench_map(b, DEVICE_AT, BENCH_DEVICE, MAP_ALL);
    b->on_device = on_device;
    b->on_device_opaque = &c;
    for (c.kind = 0; c.kind < KINDS; c.kind++)
        for (c.event = 0; c.event < EVENTS; c.event++)
            for (c.size = 1; c.size <= 8; c.size *= 2)
                for (unsigned down = 0; down < 2; down++) {
                    c.down = down;
                    string_case(&c, other);
                }
    b->on_device = NULL;
    b->on_device_opaque = NULL;
}

int main(void)
{
    uint64_t seed = 5;
    struct bench *b = bench_new();
    if (!b) return 1;
    alarm(LIMIT_S);
    printf("seed %lu\n", (unsigned long)seed);
    crossings(b, &seed);
    if (b->vcpus > 1) crossings_beside(b);
    strings(b);
    printf("%u differ\n", failed);
    bench_free(b);
    return failed ? 1 : 0;
}
