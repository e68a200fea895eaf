/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Commands about running: stop, cont, reset, power, quit, nmi, log, profile, gdbserver. */
#include <stdlib.h>
#include <string.h>

#include "base/bits.h"
#include "base/log.h"
#include "engine/engine.h"
#include "monitor/gdbstub.h"
#include "monitor/monitor_private.h"
#include "monitor/peek.h"

static int cmd_stop(struct monitor *mon, const struct command_line *c, struct error *err)
{
    if (machine_state(mon->m) == RUN_RUNNING) machine_stop(mon->m, RUN_PAUSED);
    else machine_settle(mon->m);
    return 0;
}

static int cmd_cont(struct monitor *mon, const struct command_line *c, struct error *err)
{
    return run_continue(mon->m, err);
}

static int cmd_reset(struct monitor *mon, const struct command_line *c, struct error *err)
{
    machine_request_reset(mon->m, CAUSE_MONITOR_RESET);
    return 0;
}

static int cmd_powerdown(struct monitor *mon, const struct command_line *c, struct error *err)
{
    machine_request_powerdown(mon->m);
    return 0;
}

static int cmd_wakeup(struct monitor *mon, const struct command_line *c, struct error *err)
{
    return run_wakeup(err);
}

static int cmd_quit(struct monitor *mon, const struct command_line *c, struct error *err)
{
    uint64_t status = 0;

    if (c->argc > 1 && expression_value(mon, c->rest[1], NULL, &status, err) < 0) return -1;
    machine_request_quit(mon->m, status & 0xff, CAUSE_MONITOR_QUIT);
    return 0;
}

static int cmd_nmi(struct monitor *mon, const struct command_line *c, struct error *err)
{
    struct engine_vcpu *v = machine_vcpu(mon->m, mon->vcpu);

    if (!v) return error_set(err, "no CPU %u", mon->vcpu);
    v->engine->ops->vcpu_nmi(v);
    return 0;
}

static int cmd_profile(struct monitor *mon, const struct command_line *c, struct error *err)
{
    struct engine *e = machine_engine(mon->m);
    bool on = c->argc == 2 && !strcmp(c->argv[1], "on"), off = c->argc == 2 && !strcmp(c->argv[1], "off"), ran;
    int result;

    if (!on && !off) return error_set(err, "'profile on' or 'profile off'");
    if (!e->ops->profile_set)
        return error_set(err, "the %s engine has no profile of its own; 'perf kvm' on the host shows where it is", e->ops->name);
    ran = peek_begin(mon->m);
    result = e->ops->profile_set(e, on, err);
    peek_end(mon->m, ran);
    return result;
}

/* There is none; what QMP's watchdog-set-action takes. */
static int cmd_watchdog_action(struct monitor *mon, const struct command_line *c, struct error *err)
{
    static const char *const actions[] = { "reset", "shutdown", "poweroff", "pause", "debug", "none", "inject-nmi" };

    if (c->argc != 2) return error_set(err, "one of reset, shutdown, poweroff, pause, debug, none, inject-nmi is wanted");
    for (unsigned i = 0; i < ARRAY_SIZE(actions); i++)
        if (!strcmp(actions[i], c->argv[1])) return 0;
    return error_set(err, "'%s' is no action; known are reset, shutdown, poweroff, pause, debug, none, inject-nmi", c->argv[1]);
}

static int cmd_cpu(struct monitor *mon, const struct command_line *c, struct error *err)
{
    uint64_t n;

    if (c->argc < 2) return error_set(err, "which CPU?");
    if (expression_value(mon, c->rest[1], NULL, &n, err) < 0) return -1;
    if (n >= machine_vcpu_count(mon->m)) return error_set(err, "there is no CPU %llu", (unsigned long long)n);
    mon->vcpu = n;
    return 0;
}

static int cmd_log(struct monitor *mon, const struct command_line *c, struct error *err)
{
    if (c->argc < 2) return error_set(err, "log what? 'none' ends it; ospite -d help lists the categories");
    if (words_most(c, 1, err) < 0) return -1;
    bool ran = peek_begin(mon->m);                     /* a vCPU that turns in a loop looks when it is stopped */
    int result = log_trace_enable(c->argv[1], err);
    peek_end(mon->m, ran);
    return result;
}

static int cmd_logfile(struct monitor *mon, const struct command_line *c, struct error *err)
{
    if (c->argc < 2) return error_set(err, "which file?");
    if (words_most(c, 1, err) < 0) return -1;
    return log_trace_file(c->argv[1], err);
}

static int cmd_gdbserver(struct monitor *mon, const struct command_line *c, struct error *err)
{
    const char *spec = c->argc > 1 ? c->argv[1] : "tcp::1234";

    if (words_most(c, 1, err) < 0) return -1;
    if (!strcmp(spec, "none")) {
        gdbstub_free(mon->gdb);
        mon->gdb = NULL;
        monitor_print(mon, "Disabled gdbserver\n");
        return 0;
    }
    if (mon->gdb || machine_configuration(mon->m)->gdb) return error_set(err, "gdb is served already");
    mon->gdb = gdbstub_new(mon->m, spec, err);
    if (!mon->gdb) return -1;
    monitor_print(mon, "Waiting for gdb connection on device '%s'\n", spec);
    return 0;
}

const struct command run_commands[] = {
    { "stop", "", "stop the machine", cmd_stop, "s" },
    { "cont", "", "let it go on", cmd_cont, "c" },
    { "system_reset", "", "the reset button", cmd_reset, NULL },
    { "system_powerdown", "", "the power button", cmd_powerdown, NULL },
    { "system_wakeup", "", "wake a guest up that sleeps; none does in this version", cmd_wakeup, NULL },
    { "quit", "[STATUS]", "end ospite", cmd_quit, "q" },
    { "nmi", "", "inject a non-maskable interrupt", cmd_nmi, NULL },
    { "watchdog_action", "ACTION", "what a watchdog does; there is none in this version", cmd_watchdog_action, NULL },
    { "cpu", "N", "the CPU that registers mean", cmd_cpu, NULL },
    { "log", "CATEGORIES|none", "trace to the log file or stderr", cmd_log, NULL },
    { "logfile", "FILE", "where traces go", cmd_logfile, NULL },
    { "profile", "on|off", "sample where the engine spends its time; 'info profile' shows it", cmd_profile, NULL },
    { "gdbserver", "[DEV|none]", "serve gdb (default tcp::1234)", cmd_gdbserver, NULL },
    { NULL, NULL, NULL, NULL, NULL },
};
