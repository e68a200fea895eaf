/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * vCPU threads: each makes its engine vCPU, runs it, sleeps while the guest is halted or the machine is
 * stopped, and carries ports, device memory and interrupts between the engine and the devices.
 *
 * A thread is parked when it is outside the engine and will not go in until it is released; only then are its
 * registers touched from elsewhere. INIT and start-up messages only leave a note: the thread changes its own
 * state before it enters the engine the next time (SDM 3A, section 8.4 and 10.4.7). With an irqchip in the
 * engine both never come here, and the engine itself waits in HLT.
 */
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/error.h"
#include "base/futex.h"
#include "base/log.h"
#include "device/irqchip/lapic.h"
#include "machine/boot.h"
#include "machine/machine_private.h"
#include "machine/signals.h"

/* v->lock held, which is let go of meanwhile. */
static void change_wait(struct vcpu *v)
{
    int seen = v->changes;

    v->sleepers++;
    pthread_mutex_unlock(&v->lock);
    futex_wait(&v->changes, seen);
    pthread_mutex_lock(&v->lock);
    v->sleepers--;
}

/* v->lock held. */
static void vcpu_signal(struct vcpu *v)
{
    __atomic_add_fetch(&v->changes, 1, __ATOMIC_RELAXED);
    if (v->sleepers) futex_wake(&v->changes, INT_MAX);
}

/* An interrupt: the guest's thread asks the devices about it first thing, so it sleeps until they can be asked. */
void vcpu_wake(struct vcpu *v)
{
    bool sleeps;

    pthread_mutex_lock(&v->lock);
    sleeps = !v->woken && v->sleepers;
    v->woken = true;
    __atomic_add_fetch(&v->changes, 1, __ATOMIC_RELAXED);
    pthread_mutex_unlock(&v->lock);
    if (sleeps) machine_wake(&v->changes);
}

/* ---- what the APIC bus and devices ask of a vCPU: machine lock held, any thread ---- */

/* NULL while the board is made or taken down: then there is nobody to tell. */
static struct vcpu *vcpu_of(void *opaque, unsigned vcpu)
{
    struct machine *m = opaque;

    return vcpu < m->vcpu_count && m->vcpu[vcpu].engine ? &m->vcpu[vcpu] : NULL;
}

void vcpu_apic_wake(void *opaque, unsigned vcpu)
{
    struct vcpu *v = vcpu_of(opaque, vcpu);

    if (!v) return;
    v->m->ops->vcpu_interrupt(v->engine);
    vcpu_wake(v);
}

void vcpu_apic_nmi(void *opaque, unsigned vcpu)
{
    struct vcpu *v = vcpu_of(opaque, vcpu);

    if (!v) return;
    v->m->ops->vcpu_nmi(v->engine);
    vcpu_wake(v);
}

void vcpu_apic_init(void *opaque, unsigned vcpu)
{
    struct vcpu *v = vcpu_of(opaque, vcpu);

    if (!v) return;
    pthread_mutex_lock(&v->lock);
    v->init_pending = true;
    v->sipi_pending = false;
    v->woken = true;
    vcpu_signal(v);
    pthread_mutex_unlock(&v->lock);
    v->m->ops->vcpu_kick(v->engine);
}

void vcpu_apic_startup(void *opaque, unsigned vcpu, uint8_t vector)
{
    struct vcpu *v = vcpu_of(opaque, vcpu);

    if (!v) return;
    pthread_mutex_lock(&v->lock);
    if (v->waits_for_sipi || v->init_pending) {
        v->sipi_pending = true;
        v->sipi_vector = vector;
        v->woken = true;
        vcpu_signal(v);
    }
    pthread_mutex_unlock(&v->lock);
}

uint64_t vcpu_tsc(void *opaque, unsigned vcpu)
{
    struct vcpu *v = vcpu_of(opaque, vcpu);

    return __builtin_ia32_rdtsc() + (v ? (uint64_t)atomic_load(&v->tsc_offset) : 0);
}

/* ---- what the engine asks of the machine: vCPU threads, no lock held ---- */

static void host_pio(void *opaque, uint16_t port, void *data, unsigned size, unsigned count, bool write)
{
    struct machine *m = opaque;
    uint8_t *p = data;

    machine_lock();
    m->accesses++;
    for (unsigned i = 0; i < count; i++, p += size) {
        uint64_t value = 0;

        if (write) {
            memcpy(&value, p, size);
            memory_io_write(m->ports, port, value, size);
        } else {
            value = memory_io_read(m->ports, port, size);
            memcpy(p, &value, size);
        }
        trace(TRACE_IO, "%s port %04x size %u: %llx\n", write ? "out" : "in ", port, size,
              (unsigned long long)value);
    }
    machine_unlock();
}

static void mmio_access(struct machine *m, gpa_t address, uint8_t *p, unsigned size, bool write)
{
    /* 3, 5, 6 and 7 bytes are what page- or range-crossing accesses leave: bytes, as on a bus. */
    bool is_plain = size == 1 || size == 2 || size == 4 || size == 8;
    unsigned step = is_plain ? size : 1;

    for (unsigned at = 0; at < size; at += step) {
        uint64_t value = 0;

        if (write) {
            memcpy(&value, p + at, step);
            memory_io_write(m->memory, address + at, value, step);
        } else {
            value = memory_io_read(m->memory, address + at, step);
            memcpy(p + at, &value, step);
        }
        trace(TRACE_IO, "%s %09llx size %u: %llx\n", write ? "write" : "read ",
              (unsigned long long)(address + at), step, (unsigned long long)value);
    }
}

static void host_mmio(void *opaque, unsigned vcpu, gpa_t address, void *data, unsigned size, bool write)
{
    struct machine *m = opaque;
    struct device *lapic = m->vcpu[vcpu].lapic;

    machine_lock();
    m->accesses++;
    if (!lapic || !lapic_mmio(lapic, address, data, size, write)) mmio_access(m, address, data, size, write);
    machine_unlock();
}

static bool host_interrupt_is_pending(void *opaque, unsigned vcpu)
{
    const struct vcpu *v = &((struct machine *)opaque)->vcpu[vcpu];

    return v->lapic && lapic_is_pending(v->lapic);
}

static int host_interrupt_acknowledge(void *opaque, unsigned vcpu)
{
    const struct vcpu *v = &((struct machine *)opaque)->vcpu[vcpu];
    int vector;

    if (!v->lapic) return -1;
    machine_lock();
    vector = lapic_acknowledge(v->lapic);
    machine_unlock();
    trace(TRACE_IRQ, "CPU %u takes interrupt %d\n", vcpu, vector);
    return vector;
}

static bool host_apic_msr_read(void *opaque, unsigned vcpu, uint32_t reg, uint64_t *value)
{
    const struct vcpu *v = &((struct machine *)opaque)->vcpu[vcpu];
    bool ok;

    if (!v->lapic) return false;
    machine_lock();
    ok = lapic_msr_read(v->lapic, reg, value);
    machine_unlock();
    return ok;
}

static void tsc_offset_update(struct vcpu *v)
{
    struct x86_state s;

    v->m->ops->vcpu_get(v->engine, &s);
    atomic_store(&v->tsc_offset, s.tsc_offset);
}

static bool host_apic_msr_write(void *opaque, unsigned vcpu, uint32_t reg, uint64_t value)
{
    struct vcpu *v = &((struct machine *)opaque)->vcpu[vcpu];
    bool ok;

    if (!v->lapic) return false;
    if (reg == 0x6e0) tsc_offset_update(v);      /* the guest may have moved its TSC since the last deadline */
    machine_lock();
    ok = lapic_msr_write(v->lapic, reg, value);
    machine_unlock();
    return ok;
}

static uint8_t host_tpr_get(void *opaque, unsigned vcpu)
{
    const struct vcpu *v = &((struct machine *)opaque)->vcpu[vcpu];

    return v->lapic ? lapic_tpr_get(v->lapic) : 0;
}

static void host_tpr_set(void *opaque, unsigned vcpu, uint8_t tpr)
{
    struct vcpu *v = &((struct machine *)opaque)->vcpu[vcpu];

    if (!v->lapic) return;
    machine_lock();
    lapic_tpr_set(v->lapic, tpr);
    machine_unlock();
}

static void host_ferr(void *opaque, bool level)
{
    struct machine *m = opaque;

    machine_lock();
    irq_set(&m->ferr_irq, level);
    machine_unlock();
}

const struct engine_host vcpu_engine_host = {
    .pio = host_pio,
    .mmio = host_mmio,
    .interrupt_is_pending = host_interrupt_is_pending,
    .interrupt_acknowledge = host_interrupt_acknowledge,
    .apic_msr_read = host_apic_msr_read,
    .apic_msr_write = host_apic_msr_write,
    .tpr_get = host_tpr_get,
    .tpr_set = host_tpr_set,
    .ferr = host_ferr,
};

/* ---- the thread ---- */

/* SDM 3A table 10-1 and section 9.4: INIT leaves an AP waiting, the BSP starts at its reset vector. */
static void init_apply(struct vcpu *v)
{
    struct x86_state s;

    v->m->ops->vcpu_get(v->engine, &s);
    x86_state_reset(&s, true, v->m->cpuid.signature);
    v->waits_for_sipi = v->index != 0;
    s.wait_for_sipi = s.halted = v->waits_for_sipi;
    v->m->ops->vcpu_set(v->engine, &s);
}

static void sipi_apply(struct vcpu *v, uint8_t vector)
{
    struct x86_state s;

    v->m->ops->vcpu_get(v->engine, &s);
    s.seg[SEG_CS].selector = (uint16_t)(vector << 8);
    s.seg[SEG_CS].base = (uint64_t)vector << 12;
    s.rip = 0;
    s.wait_for_sipi = s.halted = 0;
    v->m->ops->vcpu_set(v->engine, &s);
    v->waits_for_sipi = false;
}

/* Sleeps until there is something to run. v->lock held. False: the thread is to end. */
static bool wait_to_run(struct vcpu *v, bool halted)
{
    for (;;) {
        if (v->quit) return false;
        if (v->hold) {
            if (!v->is_parked) {
                v->is_parked = true;
                vcpu_signal(v);
            }
            halted = false;            /* registers may be others afterwards: the engine finds out */
        } else if (v->init_pending) {
            v->init_pending = false;
            init_apply(v);
            halted = false;
        } else if (v->waits_for_sipi && v->sipi_pending) {
            v->sipi_pending = false;
            sipi_apply(v, v->sipi_vector);
            halted = false;
        } else if (!v->waits_for_sipi && (!halted || v->woken)) {
            v->is_parked = false;
            v->woken = false;
            return true;
        }
        if (v->hold || v->waits_for_sipi || halted) {
            if (!v->hold && ((v->waits_for_sipi && v->sipi_pending) || v->init_pending)) continue;
            change_wait(v);
        }
    }
}

/* The vCPU stays out until the main thread has dealt with what happened. */
static void hold_and_request(struct vcpu *v, unsigned what)
{
    pthread_mutex_lock(&v->lock);
    v->hold = true;
    pthread_mutex_unlock(&v->lock);
    if (what & (REQUEST_DEBUG | REQUEST_ERROR)) v->m->stop_vcpu = v->index;
    machine_request(v->m, what);
}

static bool exit_handle(struct vcpu *v, enum engine_exit exit)
{
    switch (exit) {
    case EXIT_KICKED:
        return false;
    case EXIT_HALTED:
        return true;
    case EXIT_SHUTDOWN:
        trace(TRACE_INT, "CPU %u: triple fault\n", v->index);
        hold_and_request(v, REQUEST_RESET);
        return false;
    case EXIT_RESET:
        hold_and_request(v, REQUEST_RESET);
        return false;
    case EXIT_DEBUG:
        hold_and_request(v, REQUEST_DEBUG);
        return false;
    case EXIT_INTERNAL_ERROR:
        log_message("CPU %u: the %s engine cannot go on: %s", v->index, v->m->ops->name,
                    v->m->ops->vcpu_error(v->engine));
        hold_and_request(v, REQUEST_ERROR);
        return false;
    }
    return false;
}

static void vcpu_loop(struct vcpu *v)
{
    bool halted = false;

    for (;;) {
        bool go;

        pthread_mutex_lock(&v->lock);
        go = wait_to_run(v, halted);
        pthread_mutex_unlock(&v->lock);
        if (!go) return;
        halted = exit_handle(v, v->m->ops->vcpu_run(v->engine));
        v->exits++;
    }
}

static void *vcpu_thread(void *opaque)
{
    struct vcpu *v = opaque;
    struct engine_vcpu *e;

    e = v->m->ops->vcpu_create(v->m->engine, v->index, v->create_error);
    pthread_mutex_lock(&v->lock);
    v->engine = e;
    v->tid = gettid();
    v->is_parked = true;
    vcpu_signal(v);
    pthread_mutex_unlock(&v->lock);
    if (!e) return NULL;
    vcpu_loop(v);
    v->m->ops->vcpu_destroy(e);
    return NULL;
}

static int thread_start(struct vcpu *v)
{
    char name[16];
    int result = signals_thread_create(&v->thread, vcpu_thread, v);

    if (result) return result;
    snprintf(name, sizeof(name), "CPU %u", v->index);
    pthread_setname_np(v->thread, name);
    return 0;
}

int vcpus_create(struct machine *m, struct error *err)
{
    for (unsigned i = 0; i < m->config.cpus; i++) {
        struct vcpu *v = &m->vcpu[i];
        int result;

        v->m = m;
        v->index = i;
        v->hold = true;
        v->create_error = err;
        pthread_mutex_init(&v->lock, NULL);
        m->vcpu_count++;
        result = thread_start(v);
        if (result) return error_set(err, "cannot start the thread of CPU %u: %s", i, strerror(result));
        v->has_thread = true;
        pthread_mutex_lock(&v->lock);
        while (!v->is_parked) change_wait(v);
        pthread_mutex_unlock(&v->lock);
        if (!v->engine) return -1;
    }
    return 0;
}

void vcpus_hold(struct machine *m)
{
    for (unsigned i = 0; i < m->vcpu_count; i++) {
        struct vcpu *v = &m->vcpu[i];
        bool inside;

        pthread_mutex_lock(&v->lock);
        v->hold = true;
        inside = !v->is_parked;
        vcpu_signal(v);
        pthread_mutex_unlock(&v->lock);
        if (inside && v->engine) m->ops->vcpu_kick(v->engine);
    }
}

void vcpus_wait(struct machine *m)
{
    unsigned depth = 0;

    /* A vCPU may be waiting for the machine lock in the middle of a device access. */
    for (; machine_is_locked(); depth++) machine_unlock();
    for (unsigned i = 0; i < m->vcpu_count; i++) {
        struct vcpu *v = &m->vcpu[i];

        pthread_mutex_lock(&v->lock);
        while (v->has_thread && !v->is_parked) change_wait(v);
        pthread_mutex_unlock(&v->lock);
    }
    while (depth--) machine_lock();
}

void vcpus_release(struct machine *m)
{
    for (unsigned i = 0; i < m->vcpu_count; i++) {
        struct vcpu *v = &m->vcpu[i];

        pthread_mutex_lock(&v->lock);
        v->hold = false;
        v->is_parked = false;
        vcpu_signal(v);
        pthread_mutex_unlock(&v->lock);
    }
}

void vcpus_reset(struct machine *m)
{
    for (unsigned i = 0; i < m->vcpu_count; i++) {
        struct vcpu *v = &m->vcpu[i];
        struct x86_state s;

        m->ops->vcpu_get(v->engine, &s);
        x86_state_reset(&s, false, m->cpuid.signature);
        if (i) s.wait_for_sipi = s.halted = 1;
        else if (m->boot) boot_registers(m->boot, &s);
        m->ops->vcpu_set(v->engine, &s);
        pthread_mutex_lock(&v->lock);
        v->waits_for_sipi = i && !m->has_irqchip;
        v->init_pending = v->sipi_pending = v->woken = false;
        pthread_mutex_unlock(&v->lock);
        atomic_store(&v->tsc_offset, s.tsc_offset);
    }
}

void vcpus_destroy(struct machine *m)
{
    if (!m->vcpu) return;
    for (unsigned i = 0; i < m->vcpu_count; i++) {
        struct vcpu *v = &m->vcpu[i];

        pthread_mutex_lock(&v->lock);
        v->quit = true;
        vcpu_signal(v);
        pthread_mutex_unlock(&v->lock);
        if (v->has_thread) pthread_join(v->thread, NULL);
        pthread_mutex_destroy(&v->lock);
    }
    free(m->vcpu);
    m->vcpu = NULL;
    m->vcpu_count = 0;
}
