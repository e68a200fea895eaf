/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Inside of the kvm engine. */
#ifndef ENGINE_KVM_PRIVATE_H
#define ENGINE_KVM_PRIVATE_H

#include <linux/kvm.h>
#include <pthread.h>
#include "engine/engine.h"

enum { KVM_SLOTS = 256, KVM_MESSAGES = 1024, KVM_XSAVE_MAX = 4096 };

struct kvm_slot { gpa_t start; uint64_t size; uint8_t *hva; bool readonly; };

struct kvm_message { int fd; uint32_t data; uint64_t address; };       /* fd -1: told off, or none yet */

/* The doorbells of one map that the kernel knows. */
struct kvm_bells {
    struct kvm_engine *engine;
    bool is_ports;
    struct memory_bell *bell;
    size_t count, room;
};

struct kvm_engine {
    struct engine base;
    struct engine_config config;
    int kvm_fd, vm_fd;
    size_t run_bytes;
    struct kvm_slot slot[KVM_SLOTS];
    struct kvm_bells bells[2];       /* memory, ports */
    bool any_length;                 /* of writes to a doorbell */
    unsigned messages;
    struct kvm_message message[KVM_MESSAGES];
    bool slot_error;                 /* the kernel refused a slot: said once */
    struct kvm_irqchip chip[3];      /* as they were made, for a reset of the machine */
    struct kvm_pit_state2 pit;
};

struct kvm_vcpu {
    struct engine_vcpu base;
    struct kvm_engine *engine;
    int fd;
    struct kvm_run *run;
    pthread_t thread;
    bool thread_known, nmi, access_pending;
    struct kvm_lapic_state lapic;    /* as it was made */
    struct engine_debug debug;
    struct engine_debug_info debug_info;
    char error[512];
};

static inline struct kvm_engine *kvm_of(struct engine *e) { return (struct kvm_engine *)e; }
static inline struct kvm_vcpu *kvm_vcpu_of(struct engine_vcpu *v) { return (struct kvm_vcpu *)v; }

/* open("/dev/kvm") with the API checked; -1 with *err saying what to do. */
int kvm_open(struct error *err);
/* A VM descriptor; EINTR is tried again. */
int kvm_vm_create(int kvm_fd, struct error *err);

struct engine_vcpu *kvm_vcpu_create(struct engine *e, unsigned index, struct error *err);
void kvm_vcpu_destroy(struct engine_vcpu *v);
enum engine_exit kvm_vcpu_run(struct engine_vcpu *v);
void kvm_vcpu_kick(struct engine_vcpu *v);
void kvm_vcpu_interrupt(struct engine_vcpu *v);
void kvm_vcpu_nmi(struct engine_vcpu *v);
void kvm_vcpu_debug(struct engine_vcpu *v, const struct engine_debug *d);
struct engine_debug_info kvm_vcpu_debug_info(struct engine_vcpu *v);
const char *kvm_vcpu_error(struct engine_vcpu *v);
/* regs.c */
void kvm_vcpu_get(struct engine_vcpu *v, struct x86_state *s);
void kvm_vcpu_set(struct engine_vcpu *v, const struct x86_state *s);
/* Lets the kernel finish the port or memory access that the last exit was about. */
void kvm_access_finish(struct kvm_vcpu *v);
/* cpuid.c */
int kvm_cpuid_set(struct kvm_vcpu *v, struct error *err);
/* vm.c: interrupt controllers and timer as at power-on. */
void kvm_chips_reset(struct kvm_engine *e);
/* events.c */
void kvm_bells_changed(void *opaque, const struct memory_bell *bell, size_t count);
int kvm_routing_set(struct kvm_engine *e);
bool kvm_msi_event(struct engine *e, int fd, bool on, uint64_t address, uint32_t data);

#endif
