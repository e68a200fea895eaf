/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "native64.h"

#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <ucontext.h>
#include <unistd.h>

static const int order[16] = { REG_RAX, REG_RCX, REG_RDX, REG_RBX, REG_RSP, REG_RBP, REG_RSI, REG_RDI,
                               REG_R8, REG_R9, REG_R10, REG_R11, REG_R12, REG_R13, REG_R14, REG_R15 };
static struct native_state *current;
static bool inside;
static struct sigaction before[NSIG];   /* the engine's handlers: what happens outside native64_run is theirs */
static gregset_t outer;
static uint8_t outer_fpu[4096];
static stack_t stack = { .ss_size = 1 << 17 };

/* The kernel's frame says how large its XSAVE area is (struct _fpx_sw_bytes). */
static uint32_t frame_bytes(const uint8_t *fpu)
{
    uint32_t bytes;

    memcpy(&bytes, fpu + 464 + 16, 4);
    return bytes && bytes <= sizeof outer_fpu ? bytes : 512;
}

static void state_in(ucontext_t *u)
{
    uint8_t *fpu = (uint8_t *)u->uc_mcontext.fpregs;
    uint64_t bv;

    memcpy(outer, u->uc_mcontext.gregs, sizeof outer);
    memcpy(outer_fpu, fpu, frame_bytes(fpu));
    for (unsigned n = 0; n < 16; n++) u->uc_mcontext.gregs[order[n]] = (greg_t)current->gpr[n];
    u->uc_mcontext.gregs[REG_RIP] = (greg_t)current->rip;
    u->uc_mcontext.gregs[REG_EFL] = (greg_t)current->rflags;
    memcpy(fpu, current->xsave, 416);
    memcpy(fpu + 576, current->xsave + 576, 256);
    memcpy(&bv, fpu + 512, 8);
    bv |= 7;
    memcpy(fpu + 512, &bv, 8);
    inside = true;
}

/* Components that are in their initial state need not be in the frame. */
static void fpu_out(const uint8_t *fpu)
{
    static const uint8_t init[32] = { 0x7f, 0x03 };
    uint64_t bv;

    memcpy(&bv, fpu + 512, 8);
    memcpy(current->xsave, fpu, 416);
    memcpy(current->xsave + 576, fpu + 576, 256);
    if (!(bv & 1)) {
        memcpy(current->xsave, init, 24);
        memset(current->xsave + 32, 0, 128);
    }
    if (!(bv & 2)) memset(current->xsave + 160, 0, 256);
    if (!(bv & 4)) memset(current->xsave + 576, 0, 256);
}

static void handler(int signal_number, siginfo_t *info, void *context)
{
    ucontext_t *u = context;

    if (!current) {
        if (!(before[signal_number].sa_flags & SA_SIGINFO)) abort();
        before[signal_number].sa_sigaction(signal_number, info, context);
        return;
    }
    if (!inside) {
        if (signal_number != SIGTRAP) abort();
        state_in(u);
        return;
    }
    inside = false;
    for (unsigned n = 0; n < 16; n++) current->gpr[n] = (uint64_t)u->uc_mcontext.gregs[order[n]];
    current->rip = (uint64_t)u->uc_mcontext.gregs[REG_RIP];
    current->rflags = (uint64_t)u->uc_mcontext.gregs[REG_EFL];
    current->vector = (unsigned)u->uc_mcontext.gregs[REG_TRAPNO];
    current->error = (uint32_t)u->uc_mcontext.gregs[REG_ERR];
    current->address = (uint64_t)u->uc_mcontext.gregs[REG_CR2];
    fpu_out((const uint8_t *)u->uc_mcontext.fpregs);
    memcpy(u->uc_mcontext.gregs, outer, sizeof outer);
    memcpy(u->uc_mcontext.fpregs, outer_fpu, frame_bytes(outer_fpu));
}

void native64_handlers(void)
{
    static const int signals[] = { SIGTRAP, SIGSEGV, SIGBUS, SIGFPE, SIGILL };
    struct sigaction action = { .sa_sigaction = handler, .sa_flags = SA_SIGINFO | SA_ONSTACK | SA_NODEFER };

    for (unsigned n = 0; n < sizeof signals / sizeof signals[0]; n++) sigaction(signals[n], &action, &before[signals[n]]);
}

bool native64_open(void)
{
    if (mmap((void *)NATIVE_CODE, 0x2000, PROT_READ | PROT_WRITE | PROT_EXEC, MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED_NOREPLACE, -1, 0) ==
        MAP_FAILED) {
        perror("oracle: no memory at the address of the code");
        return false;
    }
    stack.ss_sp = malloc(stack.ss_size);
    if (!stack.ss_sp) return false;
    native64_handlers();
    return true;
}

void native64_code(unsigned offset, const void *code, unsigned n)
{
    memcpy((uint8_t *)NATIVE_CODE + offset, code, n);
    ((uint8_t *)NATIVE_CODE)[offset + n] = 0xcc;
}

void native64_run(struct native_state *s)
{
    sigaltstack(&stack, NULL);         /* the engine takes its own away after each run */
    current = s;
    __asm__ volatile("int3" : : : "memory");
    current = NULL;
}

void native64_limit(unsigned seconds, void (*expired)(int))
{
    sigaction(SIGALRM, &(struct sigaction){ .sa_handler = expired, .sa_flags = SA_ONSTACK }, NULL);
    alarm(seconds);
}
