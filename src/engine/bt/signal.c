/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Host exceptions in generated code. A copied instruction that the host CPU refuses is the guest's exception: the
 * registers are taken from the signal frame, RIP from the block's map, and the thread returns into thunk_raise. The
 * guest's vector state stays in the registers all the while (the kernel restores it from the frame).
 *
 * SIGFPE: #DE, #MF or #XM, as the kernel's frame says. SIGSEGV without an address: #GP (misaligned SSE operand).
 * SIGILL: #UD. Everything else is our own fault and ends the process as usual.
 */
#undef _GNU_SOURCE                     /* <sys/ucontext.h> would define REG_RAX and its like, as x86/state.h does */
#define _DEFAULT_SOURCE
#include <signal.h>
#include <stdlib.h>
#include <ucontext.h>
#include "base/crash.h"
#include "engine/bt/bt_private.h"

static __thread struct bt_vcpu *current;

/* Places in the frame's register array (sys/ucontext.h). */
enum { GREG_RDI = 8, GREG_RSP = 15, GREG_RIP = 16, GREG_EFL = 17, GREG_ERR = 19, GREG_TRAPNO = 20 };
static int64_t *greg(ucontext_t *uc, int host)
{
    static const int index[16] = { 13, 14, 12, 11, 15, 10, 9, 8, 0, 1, 2, 3, 4, 5, 6, 7 };
    return (int64_t *)&uc->uc_mcontext.gregs[index[host]];
}

static bool take_over(struct bt_vcpu *v, int sig, const siginfo_t *info, ucontext_t *uc)
{
    uint64_t pc = uc->uc_mcontext.gregs[GREG_RIP];
    struct x86_state *s = &v->s;
    struct tb *tb = bt_tb_of_host(v->engine, pc);
    if (!tb) return false;
    bool in_window = sig == SIGSEGV && tb->flags & TBF_WINDOW, has_address = info->si_code != SI_KERNEL;
    if (sig == SIGBUS || (sig == SIGSEGV && has_address && !in_window)) return false;
    const struct tb_insn *i = bt_tb_insn_at(v->engine, tb, pc);
    for (int g = 0; g < 16; g++)
        if (host_of(g) >= 0) s->gpr[g] = *greg(uc, host_of(g));
    s->rflags = (s->rflags & ~(uint64_t)RFLAGS_ARITH) | (uc->uc_mcontext.gregs[GREG_EFL] & RFLAGS_ARITH);
    s->rip = bt_rip_mask(v, bt_page_rip(v, tb) + i->guest);
    if (in_window && has_address && bt_window_fault(v, tb, i, (uint64_t)info->si_addr, *greg(uc, S2), uc->uc_mcontext.gregs[GREG_ERR] & 2)) return true;
    v->event = (struct bt_event){ .kind = BT_EVENT_EXCEPTION };
    v->event_pending = true;
    if (in_window) {                                   /* whatever it is, the softmmu finds out */
        v->event_pending = false;
        v->single_tb = true;
    } else if (sig == SIGILL) {
        v->event.vector = VECTOR_UD;
    } else if (sig == SIGSEGV) {
        v->event.vector = VECTOR_GP;
        v->event.has_error = true;
    } else if (uc->uc_mcontext.gregs[GREG_TRAPNO] == VECTOR_XM) {
        v->event.vector = s->cr4 & CR4_OSXMMEXCPT ? VECTOR_XM : VECTOR_UD;
    } else if (uc->uc_mcontext.gregs[GREG_TRAPNO] == VECTOR_MF) {
        v->event.vector = VECTOR_MF;
        if (!(s->cr0 & CR0_NE)) {
            v->event_pending = false;
            v->ferr = true;
        }
    } else {
        v->event.vector = VECTOR_DE;
    }
    uc->uc_mcontext.gregs[GREG_RIP] = v->engine->thunk_raise;
    uc->uc_mcontext.gregs[GREG_RDI] = (int64_t)v;
    uc->uc_mcontext.gregs[GREG_RSP] = (int64_t)v;
    uc->uc_mcontext.gregs[GREG_EFL] &= ~(int64_t)(RFLAGS_DF | RFLAGS_TF);
    return true;
}

static void handler(int sig, siginfo_t *info, void *context)
{
    if (current && current->running && take_over(current, sig, info, context)) return;
    crash_calls_run();
    signal(sig, SIG_DFL);                              /* the instruction faults again, for real */
}

void bt_signals_install(void)
{
    struct sigaction sa = { .sa_sigaction = handler, .sa_flags = SA_SIGINFO | SA_ONSTACK | SA_NODEFER };
    sigaction(SIGSEGV, &sa, NULL);
    sigaction(SIGBUS, &sa, NULL);
    sigaction(SIGFPE, &sa, NULL);
    sigaction(SIGILL, &sa, NULL);
}

/* Gives this thread its vCPU and a signal stack (generated code's stack pointer is no stack). v NULL: takes them away. */
void bt_signals_thread(struct bt_vcpu *v)
{
    enum { STACK = 256 << 10 };
    stack_t ss = { .ss_flags = SS_DISABLE }, old;
    if (v) {
        if (!v->signal_stack) v->signal_stack = malloc(STACK);
        if (v->signal_stack) ss = (stack_t){ .ss_sp = v->signal_stack, .ss_size = STACK };
    }
    sigaltstack(&ss, &old);
    current = v;
}
