/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The sampling profile: 'profile on' gives each vCPU's thread a timer that runs on the thread's own CPU time and sends SIGPROF to it.
 * The handler notes where the thread was: in translated code the block and its guest instruction, else the host address. Notes
 * go to a hash table of the vCPU that only its own thread writes; what does not fit is counted as lost. Nothing of it costs while it
 * is off.
 *
 * The kernel looks at such timers on its tick: a sample is 1/250 second of CPU time on Debian's kernels. The table outlives flushes
 * of the code cache, because a block is noted by what it was translated from. profile_report.c prints.
 */
#undef _GNU_SOURCE                     /* as in signal.c */
#define _DEFAULT_SOURCE
#include <errno.h>
#include <signal.h>
#include <string.h>
#include <sys/mman.h>
#include <time.h>
#include <ucontext.h>
#include "base/error.h"
#include "engine/bt/profile.h"

enum { GREG_R10 = 2, GREG_RIP = 16, PROBES = 64, PERIOD_NS = 1000000 };

static unsigned hash_of(const struct bt_sample *s)
{
    uint64_t x = s->pc * 0x9e3779b97f4a7c15ull ^ s->rip * 0xc4ceb9fe1a85ec53ull ^ (s->flags * 2654435761u + s->insn);
    return (x ^ x >> 32) * 0x9e3779b97f4a7c15ull >> (64 - SAMPLE_BITS);
}

static void note(struct bt_profile *p, const struct bt_sample *s)
{
    unsigned slot = hash_of(s);
    p->samples++;
    for (unsigned n = 0; n < PROBES; n++) {
        struct bt_sample *x = &p->sample[(slot + n) & (SAMPLES - 1)];
        bool same = x->pc == s->pc && x->rip == s->rip && x->flags == s->flags && x->insn == s->insn;
        if (x->count && !same) continue;
        if (!x->count) *x = *s;
        x->count++;
        return;
    }
    p->lost++;
}

/* A block's first bytes put its page into pcbase; until then RIP, or the page, is in R10. */
static uint64_t block_rip(const struct bt_vcpu *v, const struct tb *tb, uint64_t pc, uint64_t r10)
{
    uint64_t at = pc - (uint64_t)v->engine->rx;
    if (tb->flags & TBF_RIP) return tb->key_base + PAGE_OFFSET(tb->pc);
    if (at == tb->host) return r10;
    if (at > tb->host && at < tb->host_main) return r10 + PAGE_OFFSET(tb->pc);
    return v->pcbase + PAGE_OFFSET(tb->pc);
}

static enum bt_sample_place place_of(const struct bt_vcpu *v, uint64_t pc)
{
    uint64_t at = pc - (uint64_t)v->engine->rx;
    if (at < v->engine->cache_bytes) return SAMPLE_THUNK;
    if (!v->running) return SAMPLE_OUTSIDE;
    return v->in_host ? SAMPLE_MACHINE : SAMPLE_ENGINE;
}

static void handler(int sig, siginfo_t *info, void *context)
{
    const ucontext_t *uc = context;
    struct bt_vcpu *v = info->si_value.sival_ptr;
    uint64_t pc = uc->uc_mcontext.gregs[GREG_RIP];
    if (info->si_code != SI_TIMER || !v || !v->profile || !v->profile->on) return;
    struct tb *tb = v->running ? bt_tb_of_host(v->engine, pc) : NULL;
    if (!tb) {
        note(v->profile, &(struct bt_sample){ .pc = pc, .insn = SAMPLE_NO_INSN, .flags = place_of(v, pc) });
        return;
    }
    const struct tb_insn *i = bt_tb_insn_at(v->engine, tb, pc);
    note(v->profile, &(struct bt_sample){ .pc = tb->pc, .rip = bt_rip_mask(v, block_rip(v, tb, pc, uc->uc_mcontext.gregs[GREG_R10])),
                                          .insn = i - tb->insn, .flags = tb->flags });
}

/* ---- Timers ---- */

static void timer_end(struct bt_vcpu *v)
{
    if (!v->profile || !v->profile->on) return;
    v->profile->on = false;
    timer_delete(v->profile->timer);
}

static int timer_begin(struct bt_vcpu *v, struct error *err)
{
    struct itimerspec each = { { 0, PERIOD_NS }, { 0, PERIOD_NS } };
    struct sigevent how = { .sigev_notify = SIGEV_THREAD_ID, .sigev_signo = SIGPROF, .sigev_value.sival_ptr = v };
    clockid_t clock;
    how._sigev_un._tid = v->thread_id;
    int result = pthread_getcpuclockid(v->thread, &clock);
    if (result) return error_set(err, "profile: no CPU clock of CPU %u: %s", v->base.index, strerror(result));
    if (timer_create(clock, &how, &v->profile->timer) < 0)
        return error_set(err, "profile: cannot make a timer for CPU %u: %s; 'ulimit -i' bounds them", v->base.index, strerror(errno));
    v->profile->on = true;
    timer_settime(v->profile->timer, 0, &each, NULL);
    return 0;
}

static int begin(struct bt_vcpu *v, struct error *err)
{
    if (!v->profile) {
        void *p = mmap(NULL, sizeof(struct bt_profile), PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
        if (p == MAP_FAILED) return error_set(err, "profile: no memory for the samples: %s", strerror(errno));
        v->profile = p;
    }
    memset(v->profile, 0, sizeof(*v->profile));
    return timer_begin(v, err);
}

int bt_profile_set(struct engine *base, bool on, struct error *err)
{
    struct bt_engine *e = container_of(base, struct bt_engine, base);
    struct sigaction sa = { .sa_sigaction = handler, .sa_flags = SA_SIGINFO | SA_ONSTACK | SA_RESTART };
    int result = 0;
    for (unsigned i = 0; i < e->vcpu_count; i++)
        if (e->vcpu[i]) timer_end(e->vcpu[i]);
    if (!on) return 0;
    sigaction(SIGPROF, &sa, NULL);
    for (unsigned i = 0; i < e->vcpu_count && !result; i++)
        if (e->vcpu[i]) result = begin(e->vcpu[i], err);
    for (unsigned i = 0; i < e->vcpu_count && result < 0; i++)
        if (e->vcpu[i]) timer_end(e->vcpu[i]);
    return result;
}

/* The vCPU's own thread, which has got its last signal when timer_delete returns. */
void bt_profile_vcpu_end(struct bt_vcpu *v)
{
    timer_end(v);
    if (v->profile) munmap(v->profile, sizeof(*v->profile));
}
