/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * vCPUs: run until something concerns the machine.
 *
 * A kick sets immediate_exit and sends a signal: before KVM_RUN the flag ends it at once, inside the signal does, so no
 * kick is lost. Port and memory accesses are carried out here and finished by the kernel on the next entry; whoever
 * wants registers first has it done by kvm_access_finish. NMIs are injected by the vCPU's own thread.
 */
#undef _GNU_SOURCE                     /* <sys/ucontext.h> would define REG_RAX and its like, as x86/state.h does */
#define _DEFAULT_SOURCE
#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <unistd.h>

#include "base/error.h"
#include "base/log.h"
#include "engine/kvm/kvm_private.h"

enum { KICK_SIGNAL = SIGUSR1 };

static void on_kick(int signal) {}                     /* its only effect is EINTR */

static void signal_prepare(void)
{
    struct sigaction action = { .sa_handler = on_kick };
    sigset_t set;

    sigaction(KICK_SIGNAL, &action, NULL);
    sigemptyset(&set);
    sigaddset(&set, KICK_SIGNAL);
    pthread_sigmask(SIG_UNBLOCK, &set, NULL);
}

void kvm_vcpu_destroy(struct engine_vcpu *base)
{
    struct kvm_vcpu *v = kvm_vcpu_of(base);

    if (!v) return;
    if (v->run) munmap(v->run, v->engine->run_bytes);
    if (v->fd >= 0) close(v->fd);
    free(v);
}

struct engine_vcpu *kvm_vcpu_create(struct engine *base, unsigned index, struct error *err)
{
    struct kvm_engine *e = kvm_of(base);
    struct kvm_vcpu *v = calloc(1, sizeof *v);
    void *run;

    if (!v) {
        error_set(err, "KVM: out of memory");
        return NULL;
    }
    v->base.engine = base;
    v->base.index = index;
    v->engine = e;
    v->fd = ioctl(e->vm_fd, KVM_CREATE_VCPU, (unsigned long)cpuid_apic_id(&e->config.cpuid->topology, index));
    if (v->fd < 0) {
        error_set(err, "KVM: cannot create vCPU %u: %s", index, strerror(errno));
        goto failed;
    }
    run = mmap(NULL, e->run_bytes, PROT_READ | PROT_WRITE, MAP_SHARED, v->fd, 0);
    if (run == MAP_FAILED) {
        error_set(err, "KVM: cannot map vCPU %u: %s", index, strerror(errno));
        goto failed;
    }
    v->run = run;
    if (kvm_cpuid_set(v, err) < 0) goto failed;
    ioctl(v->fd, KVM_GET_LAPIC, &v->lapic);
    v->thread = pthread_self();
    v->thread_known = true;
    signal_prepare();
    return &v->base;
failed:
    kvm_vcpu_destroy(&v->base);
    return NULL;
}

void kvm_vcpu_kick(struct engine_vcpu *base)
{
    struct kvm_vcpu *v = kvm_vcpu_of(base);

    __atomic_store_n(&v->run->immediate_exit, 1, __ATOMIC_SEQ_CST);
    if (v->thread_known && !pthread_equal(v->thread, pthread_self())) pthread_kill(v->thread, KICK_SIGNAL);
}

void kvm_vcpu_interrupt(struct engine_vcpu *base) {}   /* the kernel has the interrupt controllers */

void kvm_vcpu_nmi(struct engine_vcpu *base)
{
    __atomic_store_n(&kvm_vcpu_of(base)->nmi, true, __ATOMIC_SEQ_CST);
    kvm_vcpu_kick(base);
}

const char *kvm_vcpu_error(struct engine_vcpu *base) { return kvm_vcpu_of(base)->error[0] ? kvm_vcpu_of(base)->error : NULL; }
struct engine_debug_info kvm_vcpu_debug_info(struct engine_vcpu *base) { return kvm_vcpu_of(base)->debug_info; }

void kvm_access_finish(struct kvm_vcpu *v)
{
    uint8_t before;

    if (!v->access_pending) return;
    v->access_pending = false;
    before = __atomic_exchange_n(&v->run->immediate_exit, 1, __ATOMIC_SEQ_CST);
    ioctl(v->fd, KVM_RUN, 0);
    __atomic_store_n(&v->run->immediate_exit, before, __ATOMIC_SEQ_CST);
}

/* ---- debugger ---- */

/* The processor has four breakpoints; more wishes than that are not met. */
void kvm_vcpu_debug(struct engine_vcpu *base, const struct engine_debug *d)
{
    static const uint8_t types[4] = { 0, 1, 3, 3 };
    struct kvm_vcpu *v = kvm_vcpu_of(base);
    struct kvm_guest_debug g = { 0 };

    v->debug = *d;
    if (d->single_step) g.control |= KVM_GUESTDBG_ENABLE | KVM_GUESTDBG_SINGLESTEP | KVM_GUESTDBG_BLOCKIRQ;
    if (d->count) g.control |= KVM_GUESTDBG_ENABLE | KVM_GUESTDBG_USE_HW_BP;
    g.arch.debugreg[7] = 0x600;
    for (unsigned n = 0; n < d->count && n < 4; n++) {
        const struct engine_breakpoint *b = &d->breakpoint[n];
        unsigned length = b->type == 0 || b->size == 1 ? 0 : b->size == 2 ? 1 : b->size == 8 ? 2 : 3;
        g.arch.debugreg[n] = b->address;
        g.arch.debugreg[7] |= 2ull << (2 * n) | (uint64_t)(types[b->type & 3] | length << 2) << (16 + 4 * n);
    }
    if (ioctl(v->fd, KVM_SET_GUEST_DEBUG, &g) == 0 || !d->single_step) return;
    g.control &= ~KVM_GUESTDBG_BLOCKIRQ;         /* Linux before 5.16: steps lead into interrupt handlers */
    ioctl(v->fd, KVM_SET_GUEST_DEBUG, &g);
}

static enum engine_exit debug_exit(struct kvm_vcpu *v)
{
    const struct kvm_debug_exit_arch *a = &v->run->debug.arch;

    v->debug_info = (struct engine_debug_info){ .pc = a->pc, .is_step = a->dr6 >> 14 & 1, .breakpoint = -1 };
    for (int n = 0; n < 4 && n < (int)v->debug.count; n++) {
        if (!(a->dr6 >> n & 1)) continue;
        v->debug_info.breakpoint = n;
        v->debug_info.address = v->debug.breakpoint[n].address;
    }
    return EXIT_DEBUG;
}

/* ---- exits ---- */

static enum engine_exit internal_error(struct kvm_vcpu *v)
{
    struct kvm_run *r = v->run;
    int n = snprintf(v->error, sizeof v->error, "KVM internal error %u", r->internal.suberror);

    if (r->internal.suberror == KVM_INTERNAL_ERROR_EMULATION) {
        n = snprintf(v->error, sizeof v->error, "KVM cannot emulate an instruction");
        if (r->internal.ndata >= 2 && r->emulation_failure.flags & KVM_INTERNAL_ERROR_EMULATION_FLAG_INSTRUCTION_BYTES) {
            n += snprintf(v->error + n, sizeof v->error - (size_t)n, ":");
            for (unsigned k = 0; k < r->emulation_failure.insn_size && k < 15; k++)
                n += snprintf(v->error + n, sizeof v->error - (size_t)n, " %02x", r->emulation_failure.insn_bytes[k]);
        }
    }
    return EXIT_INTERNAL_ERROR;
}

/* true: the machine must know, *exit says what. */
static bool exit_is_for_machine(struct kvm_vcpu *v, enum engine_exit *exit)
{
    const struct engine_host *h = &v->engine->config.host;
    struct kvm_run *r = v->run;

    switch (r->exit_reason) {
    case KVM_EXIT_IO:
        v->access_pending = true;
        h->pio(h->opaque, r->io.port, (uint8_t *)r + r->io.data_offset, r->io.size, r->io.count, r->io.direction == KVM_EXIT_IO_OUT);
        return false;
    case KVM_EXIT_MMIO:
        v->access_pending = true;
        h->mmio(h->opaque, v->base.index, r->mmio.phys_addr, r->mmio.data, r->mmio.len, r->mmio.is_write);
        return false;
    case KVM_EXIT_INTR: case KVM_EXIT_IRQ_WINDOW_OPEN: case KVM_EXIT_UNKNOWN: *exit = EXIT_KICKED; return true;
    case KVM_EXIT_HLT: *exit = EXIT_HALTED; return true;
    case KVM_EXIT_SHUTDOWN: *exit = EXIT_SHUTDOWN; return true;
    case KVM_EXIT_DEBUG: *exit = debug_exit(v); return true;
    case KVM_EXIT_SYSTEM_EVENT: *exit = r->system_event.type == KVM_SYSTEM_EVENT_SHUTDOWN ? EXIT_SHUTDOWN : EXIT_RESET; return true;
    case KVM_EXIT_INTERNAL_ERROR: *exit = internal_error(v); return true;
    case KVM_EXIT_FAIL_ENTRY:
        snprintf(v->error, sizeof v->error, "KVM cannot enter the guest: hardware reason %#llx",
                 (unsigned long long)r->fail_entry.hardware_entry_failure_reason);
        *exit = EXIT_INTERNAL_ERROR;
        return true;
    default:
        snprintf(v->error, sizeof v->error, "KVM ended with reason %u, which is not known here", r->exit_reason);
        *exit = EXIT_INTERNAL_ERROR;
        return true;
    }
}

enum engine_exit kvm_vcpu_run(struct engine_vcpu *base)
{
    struct kvm_vcpu *v = kvm_vcpu_of(base);
    enum engine_exit exit = EXIT_KICKED;

    for (;;) {
        if (__atomic_exchange_n(&v->nmi, false, __ATOMIC_SEQ_CST)) ioctl(v->fd, KVM_NMI, 0);
        int r = ioctl(v->fd, KVM_RUN, 0);
        v->access_pending = false;
        if (r < 0 && (errno == EINTR || errno == EAGAIN)) {
            __atomic_store_n(&v->run->immediate_exit, 0, __ATOMIC_SEQ_CST);
            if (__atomic_load_n(&v->nmi, __ATOMIC_SEQ_CST)) continue;
            return EXIT_KICKED;
        }
        if (r < 0) {
            snprintf(v->error, sizeof v->error, "KVM_RUN fails: %s", strerror(errno));
            return EXIT_INTERNAL_ERROR;
        }
        if (exit_is_for_machine(v, &exit)) return exit;
    }
}
