/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * KVM's paravirtual clock: the structures that the guest asks for through MSRs 11h, 12h, 4B564D00h and 4B564D01h.
 *
 * All vCPUs get the same pair (host TSC, virtual time) and the same scale, so their times agree and the structure is
 * marked stable. The scale is the host's TSC frequency, from two samples, the first taken when the engine is created.
 * Firmware asks some milliseconds later, which makes it good to a few ppm; a kernel asks later still, and the boot
 * processor's asking makes pair and scale new. A stop of the machine shifts virtual time and the TSC that the guest sees,
 * so a pair from before it is not given out after it.
 * Source: Linux Documentation/virt/kvm/x86/msr.rst and cpuid.rst.
 */
#include <time.h>
#include "base/clock.h"
#include "engine/bt/bt_private.h"
#include "engine/bt/helper/helper.h"

enum { SYSTEM_TIME_ENABLE = 1, TSC_STABLE = 1, LEAST_NS = 5000000,
       SHIFTED_NS = 100000 };

struct wall_clock { le32 version, sec, nsec; };
struct time_info {
    le32 version, pad0;
    le64 tsc_timestamp, system_time;
    le32 tsc_to_system_mul;
    int8_t tsc_shift;
    uint8_t flags, pad[2];
};
_Static_assert(sizeof(struct time_info) == 32, "layout of pvclock_vcpu_time_info");

/* A TSC value and the monotonic time that belongs to it: the closest of some tries. */
static uint64_t sample(int64_t *ns)
{
    uint64_t best = ~0ull, tsc = 0;
    for (int i = 0; i < 8; i++) {
        uint64_t before = __builtin_ia32_rdtsc();
        int64_t now = clock_host_ns();
        uint64_t after = __builtin_ia32_rdtsc();
        if (after - before >= best) continue;
        best = after - before;
        tsc = before + best / 2;
        *ns = now;
    }
    return tsc;
}

static void lock(struct bt_engine *e) { while (__atomic_exchange_n(&e->clock_lock, 1, __ATOMIC_ACQUIRE)) __builtin_ia32_pause(); }
static void unlock(struct bt_engine *e) { __atomic_store_n(&e->clock_lock, 0, __ATOMIC_RELEASE); }

void kvmclock_start(struct bt_engine *e) { e->clock.start_tsc = sample(&e->clock.start_ns); }

static void measure(struct kvmclock *t)
{
    int64_t now = 0;
    uint64_t tsc = sample(&now);
    while (now - t->start_ns < LEAST_NS) {
        nanosleep(&(struct timespec){ 0, LEAST_NS }, NULL);
        tsc = sample(&now);
    }
    t->khz = MAX(muldiv64(tsc - t->start_tsc, 1000000, now - t->start_ns), 1u);
    t->tsc = tsc;
    t->shift = clock_virtual_ns() - clock_host_ns();
    t->ns = now + t->shift;
}

struct asked { struct kvmclock time; bool anew; };
static void host_time_get(struct bt_vcpu *v, void *arg)
{
    struct asked *a = arg;
    struct kvmclock *t = &v->engine->clock;
    lock(v->engine);
    int64_t shift = clock_virtual_ns() - clock_host_ns() - t->shift;
    if (!t->khz || a->anew || shift > SHIFTED_NS || shift < -SHIFTED_NS) measure(t);
    a->time = *t;
    unlock(v->engine);
}

uint64_t kvmclock_tsc_khz(struct bt_vcpu *v)
{
    struct asked a = { .anew = false };
    bt_host_call(v, host_time_get, &a);
    return a.time.khz;
}

/* ns = (ticks << shift) * mul >> 32. */
static void scale_find(uint64_t khz, uint32_t *mul, int8_t *shift)
{
    uint64_t hz = khz * 1000;
    int n = 0;
    while (hz > 2 * (uint64_t)NS_PER_SECOND) {
        hz >>= 1;
        n--;
    }
    while (hz <= NS_PER_SECOND) {
        hz <<= 1;
        n++;
    }
    *mul = muldiv64(NS_PER_SECOND, 1ull << 32, hz);
    *shift = n;
}

/* Bytes at a physical address of the guest's choice: what does not lie in RAM is dropped. */
static void put(struct bt_vcpu *v, gpa_t gpa, const void *data, unsigned size)
{
    const uint8_t *from = data;
    for (unsigned i = 0; i < size; i++) {
        bool readonly = false;
        uint8_t *p = bt_ram(v->engine, gpa + i, &readonly);
        if (!p || readonly) continue;
        bt_code_lock(v);
        if (bt_page_is_watched(v->engine, gpa + i)) bt_invalidate(v->engine, gpa + i, 1);
        __atomic_store_n(p, from[i], __ATOMIC_RELEASE);
        bt_code_unlock(v);
    }
}

static uint32_t get_version(struct bt_vcpu *v, gpa_t gpa)
{
    uint32_t version = 0;
    for (unsigned i = 0; i < 4; i++) {
        bool readonly;
        const uint8_t *p = bt_ram(v->engine, gpa + i, &readonly);
        if (p) version |= (uint32_t)*p << 8 * i;
    }
    return version;
}

/* Writes a structure that starts with its version: odd while it changes. */
static void publish(struct bt_vcpu *v, gpa_t gpa, le32 *structure, unsigned size)
{
    uint32_t version = (get_version(v, gpa) & ~1u) + 1;
    *structure = le32_make(version);
    put(v, gpa, structure, 4);
    __atomic_thread_fence(__ATOMIC_SEQ_CST);
    put(v, gpa + 4, structure + 1, size - 4);
    __atomic_thread_fence(__ATOMIC_SEQ_CST);
    *structure = le32_make(version + 1);
    put(v, gpa, structure, 4);
}

void kvmclock_update(struct bt_vcpu *v)
{
    const struct x86_state *s = bt_state(v);
    if (!(s->kvm_system_time & SYSTEM_TIME_ENABLE)) return;
    uint32_t mul;
    struct time_info t = { .flags = TSC_STABLE };
    struct asked a = { .anew = v->base.index == 0 };
    bt_host_call(v, host_time_get, &a);
    scale_find(a.time.khz, &mul, &t.tsc_shift);
    t.tsc_timestamp = le64_make(a.time.tsc + s->tsc_offset);
    t.system_time = le64_make(a.time.ns);
    t.tsc_to_system_mul = le32_make(mul);
    publish(v, s->kvm_system_time & ~3ull, &t.version, sizeof(t));
}

static void wall_in_host(struct bt_vcpu *v, void *arg)
{
    *(int64_t *)arg = clock_wall_ns() - clock_virtual_ns();
}

void kvmclock_wall_write(struct bt_vcpu *v, gpa_t gpa)
{
    int64_t boot;
    bt_host_call(v, wall_in_host, &boot);
    struct wall_clock w = { .sec = le32_make(boot / NS_PER_SECOND), .nsec = le32_make(boot % NS_PER_SECOND) };
    publish(v, gpa & ~3ull, &w.version, sizeof(w));
}
