/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The door to the engines. Shaped like the KVM API: an engine has memory slots, vCPUs with registers in and out, run
 * until something concerns the machine, kick. Two implementations: kvm/ (the kernel's) and bt/ (binary translation).
 * Nothing above knows which one runs.
 *
 * Threads: a vCPU is created, run and read by one thread (its own); engine_vcpu_kick and the interrupt calls may come
 * from any. State of a vCPU is read or written only by its own thread, or while it is not in run.
 */
#ifndef ENGINE_ENGINE_H
#define ENGINE_ENGINE_H

#include <stdbool.h>
#include <stdint.h>
#include "memory/map.h"
#include "memory/ram.h"
#include "x86/cpuid.h"
#include "x86/state.h"

struct error;
struct engine;
struct engine_vcpu;

/* Functions of the machine that an engine calls, from vCPU threads, without the machine lock (they take it). */
struct engine_host {
    void *opaque;
    /* count elements of size 1, 2 or 4 bytes at data. */
    void (*pio)(void *opaque, uint16_t port, void *data, unsigned size, unsigned count, bool write);
    /* size 1..8. */
    void (*mmio)(void *opaque, unsigned vcpu, gpa_t address, void *data, unsigned size, bool write);
    /* Engines without an irqchip of their own: is an interrupt waiting that the local APIC / 8259 would deliver
     * (priority above TPR)? Cheap, no side effect. */
    bool (*interrupt_is_pending)(void *opaque, unsigned vcpu);
    /* Acknowledge: the vector to deliver now, or -1 (spurious went away). */
    int (*interrupt_acknowledge)(void *opaque, unsigned vcpu);
    /* Local APIC as seen by the CPU. reg is the MSR: 0x1b (APIC base), 0x6e0 (TSC deadline), 0x800..0x8ff (x2APIC).
     * false: #GP. */
    bool (*apic_msr_read)(void *opaque, unsigned vcpu, uint32_t reg, uint64_t *value);
    bool (*apic_msr_write)(void *opaque, unsigned vcpu, uint32_t reg, uint64_t value);
    uint8_t (*tpr_get)(void *opaque, unsigned vcpu);             /* CR8: 0..15 */
    void (*tpr_set)(void *opaque, unsigned vcpu, uint8_t tpr);
    /* FERR#: x87 error with CR0.NE clear (IRQ 13). */
    void (*ferr)(void *opaque, bool level);
};

enum engine_exit {
    EXIT_KICKED,           /* engine_vcpu_kick, or a signal: look what is wanted */
    EXIT_HALTED,           /* HLT with no interrupt waiting: call run again when one may be */
    EXIT_SHUTDOWN,         /* triple fault */
    EXIT_DEBUG,            /* breakpoint, watchpoint or single step of the debugger; see vcpu debug info */
    EXIT_RESET,            /* guest asked through something only the engine saw */
    EXIT_INTERNAL_ERROR,   /* the engine cannot go on; text in engine_vcpu_error */
};

/* Debugger's wishes (gdb stub). */
struct engine_breakpoint { gva_t address; uint32_t size; uint8_t type; /* 0 execute, 1 write, 2 read, 3 access */ };
struct engine_debug {
    bool single_step;
    unsigned count;
    struct engine_breakpoint breakpoint[64];
};
struct engine_debug_info { gva_t pc; bool is_step; int breakpoint; /* index or -1 */ gva_t address; };

struct engine_config {
    struct memory_map *memory, *ports;
    struct engine_host host;
    const struct cpuid_model *cpuid;
    unsigned max_vcpus;
    uint64_t tb_cache_bytes;      /* bt: 0 default */
    bool perf;                    /* bt: /tmp/perf-PID.map for the host's perf */
    bool no_windows;              /* bt: memory always through the softmmu */
    bool memory_shared;           /* other processes may write to guest memory, too */
    const struct ram_block *ram;  /* bt: made before the vCPUs are; NULL: nothing is known about it */
    bool want_irqchip;            /* kvm: in-kernel PIC, IOAPIC, LAPIC, PIT */
};

struct engine_ops {
    const char *name;             /* "kvm", "bt" */
    const char *description;
    struct engine *(*create)(const struct engine_config *config, struct error *err);
    void (*destroy)(struct engine *e);
    struct engine_vcpu *(*vcpu_create)(struct engine *e, unsigned index, struct error *err);
    void (*vcpu_destroy)(struct engine_vcpu *v);
    /* Runs until an exit. */
    enum engine_exit (*vcpu_run)(struct engine_vcpu *v);
    void (*vcpu_kick)(struct engine_vcpu *v);
    /* An interrupt or NMI may be waiting: have it noticed soon; wakes nothing (the machine does that). Any thread. */
    void (*vcpu_interrupt)(struct engine_vcpu *v);
    void (*vcpu_nmi)(struct engine_vcpu *v);
    void (*vcpu_get)(struct engine_vcpu *v, struct x86_state *s);
    void (*vcpu_set)(struct engine_vcpu *v, const struct x86_state *s);
    void (*vcpu_debug)(struct engine_vcpu *v, const struct engine_debug *d);
    struct engine_debug_info (*vcpu_debug_info)(struct engine_vcpu *v);
    const char *(*vcpu_error)(struct engine_vcpu *v);
    /* In-kernel irqchip (kvm); NULL where the engine has none. */
    bool (*has_irqchip)(struct engine *e);
    void (*irq_line)(struct engine *e, int gsi, int level);
    void (*msi)(struct engine *e, uint64_t address, uint32_t data);
    /* Whenever fd, an eventfd, counts, the kernel sends this message, until it is told off or another one. false: it does not, for want of room.
     * NULL where the engine has none. */
    bool (*msi_event)(struct engine *e, int fd, bool on, uint64_t address, uint32_t data);
    /* 'info jit' and the like: lines of text; may be NULL. */
    void (*info)(struct engine *e, void (*print)(void *opaque, const char *line), void *opaque);
    /* Sampling profile: begins a new one, or ends it (what it found stays). NULL: the engine has none. While no vCPU is in run. */
    int (*profile_set)(struct engine *e, bool on, struct error *err);
    /* 'info profile': where the time went, the hottest blocks, with guest and host disassembly if wanted. */
    void (*profile_info)(struct engine *e, unsigned blocks, bool disassemble, void (*print)(void *opaque, const char *line), void *opaque);
};

struct engine { const struct engine_ops *ops; };
struct engine_vcpu { struct engine *engine; unsigned index; };

extern const struct engine_ops engine_kvm, engine_bt;

/* Time a run of long-mode ring-0 code on /dev/kvm. 0 if KVM is usable, with its speed in million instructions a second (mips may be
 * NULL); -1 with *err saying why not and what to do. */
int kvm_probe(double *mips, struct error *err);
/* Whether a KVM can be had here at all, fast or slow. 0, or -1 with *err. */
int kvm_is_offered(struct error *err);

#endif
