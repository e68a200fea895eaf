/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Signals that somebody else handles already (the engine its guest's faults) are left to them; they call crash_calls_run if they have no use for one.
 *
 * The calls stand at file scope: a signal's handler and what runs at the exit get no argument, and both belong to the process.
 */
#include "base/crash.h"

#include <signal.h>
#include <stddef.h>
#include <stdlib.h>

#include "base/bits.h"

enum { CALLS = 4 };
static void (*volatile call[CALLS])(void);
static volatile sig_atomic_t calls;

void crash_calls_run(void)
{
    for (int i = 0; i < calls; i++) call[i]();
}

static void on_signal(int sig)
{
    crash_calls_run();
    signal(sig, SIG_DFL);
    raise(sig);
}

static void handlers_install(void)
{
    static const int fatal[] = { SIGSEGV, SIGBUS, SIGILL, SIGFPE, SIGABRT, SIGQUIT, SIGHUP, SIGINT, SIGTERM };
    struct sigaction act = { .sa_handler = on_signal }, old;

    for (unsigned i = 0; i < ARRAY_SIZE(fatal); i++)
        if (sigaction(fatal[i], NULL, &old) == 0 && !(old.sa_flags & SA_SIGINFO) && old.sa_handler == SIG_DFL) sigaction(fatal[i], &act, NULL);
    atexit(crash_calls_run);
}

void crash_call_add(void (*fn)(void))
{
    for (int i = 0; i < calls; i++)
        if (call[i] == fn) return;
    if (calls == CALLS) return;
    call[calls] = fn;
    if (!calls++) handlers_install();
}
