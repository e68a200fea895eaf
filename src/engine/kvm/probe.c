/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Is KVM really usable here? Some hosts offer a /dev/kvm that interprets guest kernel code instruction by instruction: a
 * thousand times slower than a processor, and slower than bt. So a short loop of long-mode ring-0 code is timed on it,
 * and a KVM below 50 million instructions a second is declined. Short runs decide where the case is clear, longer
 * ones where it is not. The best of some counts: others who use the processor make a run slower, nothing makes one
 * faster. A timer ends a run after 200 ms.
 */
#undef _GNU_SOURCE                     /* <sys/ucontext.h> would define REG_RAX and its like, as x86/state.h does */
#define _DEFAULT_SOURCE
#include <errno.h>
#include <pthread.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <time.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/error.h"
#include "engine/kvm/kvm_private.h"

enum { MEMORY_BYTES = 0x10000, CODE = 0x8000, TURNS_FIRST = 1000, TURNS_SHORT = 5000, TURNS_LONG = 100000, INSNS_PER_TURN = 2,
       LIMIT_MS = 200, MIPS_LEAST = 50, TRIES_SHORT = 6, TRIES_LONG = 3 };

/* 1: dec ecx; jnz 1b; hlt */
static const uint8_t code[] = { 0xff, 0xc9, 0x75, 0xfc, 0xf4 };

static void on_alarm(int signal) {}

/* Flat 64-bit mode, the first 2 MiB mapped to themselves by tables at 0x1000. */
static int registers_set(int vcpu, uint8_t *memory, unsigned turns)
{
    static const uint64_t tables[3] = { 0x2003, 0x3003, 0x83 };
    struct kvm_regs regs = { .rip = CODE, .rflags = 2, .rsp = CODE, .rcx = turns };
    struct kvm_segment cs = { .limit = 0xffffffff, .selector = 8, .type = 11, .present = 1, .s = 1, .l = 1, .g = 1 }, ds = cs;
    struct kvm_sregs s;

    for (unsigned n = 0; n < 3; n++) memcpy(memory + 0x1000 * (n + 1), &tables[n], 8);
    memcpy(memory + CODE, code, sizeof code);
    if (ioctl(vcpu, KVM_GET_SREGS, &s) < 0) return -1;
    ds.type = 3;
    ds.l = 0;
    ds.db = 1;
    ds.selector = 16;
    s.cs = cs;
    s.ds = s.es = s.fs = s.gs = s.ss = ds;
    s.cr0 = 0x80000031;
    s.cr3 = 0x1000;
    s.cr4 = 0x20;
    s.efer = 0x500;
    if (ioctl(vcpu, KVM_SET_SREGS, &s) < 0) return -1;
    return ioctl(vcpu, KVM_SET_REGS, &regs);
}

/* Runs to the HLT; nanoseconds, or -1 with errno (EINTR: time was up). */
static int64_t timed_run(int vcpu, struct kvm_run *run)
{
    struct sigaction action = { .sa_handler = on_alarm }, old;
    struct sigevent event = { .sigev_notify = SIGEV_SIGNAL, .sigev_signo = SIGALRM };
    struct itimerspec limit = { .it_value = { 0, LIMIT_MS * 1000000L }, .it_interval = { 0, 10 * 1000000L } };
    int64_t start, end;
    timer_t timer;
    sigset_t set, mask;
    int r;

    sigaction(SIGALRM, &action, &old);
    sigemptyset(&set);
    sigaddset(&set, SIGALRM);
    pthread_sigmask(SIG_UNBLOCK, &set, &mask);
    if (timer_create(CLOCK_MONOTONIC, &event, &timer) == 0) timer_settime(timer, 0, &limit, NULL);
    start = clock_host_ns();
    r = ioctl(vcpu, KVM_RUN, 0);
    end = clock_host_ns();
    timer_delete(timer);
    pthread_sigmask(SIG_SETMASK, &mask, NULL);
    sigaction(SIGALRM, &old, NULL);
    if (r < 0) return -1;
    if (run->exit_reason != KVM_EXIT_HLT) {
        errno = EPROTO;
        return -1;
    }
    return end > start ? end - start : 1;
}

/* Million instructions a second over so many turns; negative with errno if it does not run (EINTR: too slow). */
static double speed(int vcpu, struct kvm_run *run, uint8_t *memory, unsigned turns)
{
    if (registers_set(vcpu, memory, turns) < 0) return -1;
    int64_t ns = timed_run(vcpu, run);
    return ns < 0 ? -1 : (double)turns * INSNS_PER_TURN * 1000 / (double)ns;
}

/* The best of some runs, all of them only if none is good enough; negative as above. */
static double best_speed(int vcpu, struct kvm_run *run, uint8_t *memory, unsigned turns, unsigned tries, double enough)
{
    double best = -1;

    for (; tries > 0 && best < enough; tries--) {
        double mips = speed(vcpu, run, memory, turns);

        if (mips < 0) return mips;
        if (mips > best) best = mips;
    }
    return best;
}

static int judge(int vcpu, struct kvm_run *run, uint8_t *memory, double *figure, struct error *err)
{
    double mips = speed(vcpu, run, memory, TURNS_FIRST);   /* pays for page tables, and counts for nothing */

    if (mips >= 0) mips = best_speed(vcpu, run, memory, TURNS_SHORT, TRIES_SHORT, MIPS_LEAST / 10.0);
    if (mips >= MIPS_LEAST / 10.0 && mips < MIPS_LEAST) mips = best_speed(vcpu, run, memory, TURNS_LONG, TRIES_LONG, MIPS_LEAST);
    if (mips < 0 && errno == EINTR)
        return error_set(err, "this machine's KVM emulates guest code: a short test program took over %d ms", LIMIT_MS);
    if (mips < 0)
        return error_set(err, "this machine's KVM does not run a test program (%s, exit %u)", strerror(errno), run->exit_reason);
    if (mips < MIPS_LEAST)
        return error_set(err, "this machine's KVM emulates guest code: %.1f million instructions a second, a real one does over %d", mips,
                         MIPS_LEAST);
    if (figure) *figure = mips;
    return 0;
}

int kvm_is_offered(struct error *err)
{
    int kvm = kvm_open(err), vm;

    if (kvm < 0) return -1;
    vm = kvm_vm_create(kvm, err);
    if (vm >= 0) close(vm);
    close(kvm);
    return vm < 0 ? -1 : 0;
}

int kvm_probe(double *mips, struct error *err)
{
    int kvm = kvm_open(err), vm = -1, vcpu = -1, result = -1, bytes;
    struct kvm_userspace_memory_region region = { .memory_size = MEMORY_BYTES };
    struct kvm_run *run = MAP_FAILED;
    uint8_t *memory = MAP_FAILED;

    if (kvm < 0) return -1;
    bytes = ioctl(kvm, KVM_GET_VCPU_MMAP_SIZE, 0);
    vm = kvm_vm_create(kvm, err);
    if (vm < 0) goto out;
    memory = mmap(NULL, MEMORY_BYTES, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    region.userspace_addr = (uintptr_t)memory;
    if (memory == MAP_FAILED || ioctl(vm, KVM_SET_USER_MEMORY_REGION, &region) < 0 || (vcpu = ioctl(vm, KVM_CREATE_VCPU, 0)) < 0 ||
        (run = mmap(NULL, (size_t)bytes, PROT_READ | PROT_WRITE, MAP_SHARED, vcpu, 0)) == MAP_FAILED) {
        error_set(err, "this machine's KVM cannot set up a test program: %s", strerror(errno));
        goto out;
    }
    result = judge(vcpu, run, memory, mips, err);
out:
    if (run != MAP_FAILED) munmap(run, (size_t)bytes);
    if (vcpu >= 0) close(vcpu);
    if (memory != MAP_FAILED) munmap(memory, MEMORY_BYTES);
    if (vm >= 0) close(vm);
    close(kvm);
    return result;
}
