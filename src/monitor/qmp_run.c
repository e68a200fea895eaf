/* SPDX-License-Identifier: GPL-2.0-or-later */
/* QMP: the machine's life, and what it is. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "engine/engine.h"
#include "monitor/guest_dump.h"
#include "monitor/monitor_private.h"
#include "monitor/qmp_private.h"

/* QEMU's names of run states, which 'info status' prints, too. */
const char *run_state_name(enum run_state s)
{
    static const char *const names[] = {
        [RUN_PRELAUNCH] = "prelaunch", [RUN_RUNNING] = "running", [RUN_PAUSED] = "paused", [RUN_DEBUG] = "debug",
        [RUN_SHUTDOWN] = "shutdown", [RUN_INTERNAL_ERROR] = "internal-error", [RUN_IO_ERROR] = "io-error",
    };

    return names[s];
}

json_t *qmp_query_status(struct qmp *q, json_t *args, struct qmp_error *err)
{
    enum run_state s = machine_state(qmp_machine(q));

    return json_pack("{s:b, s:b, s:s}", "running", s == RUN_RUNNING, "singlestep", false, "status", run_state_name(s));
}

json_t *qmp_query_name(struct qmp *q, json_t *args, struct qmp_error *err)
{
    const char *name = machine_configuration(qmp_machine(q))->name;

    return name ? json_pack("{s:o}", "name", qmp_text(name, strlen(name))) : json_object();
}

void uuid_format(char text[37], const uint8_t *u)
{
    for (unsigned i = 0, at = 0; i < 16; i++)
        at += (unsigned)sprintf(text + at, i == 4 || i == 6 || i == 8 || i == 10 ? "-%02x" : "%02x", u[i]);
}

json_t *qmp_query_uuid(struct qmp *q, json_t *args, struct qmp_error *err)
{
    char text[37];

    uuid_format(text, machine_configuration(qmp_machine(q))->uuid);
    return json_pack("{s:s}", "UUID", text);
}

json_t *qmp_query_kvm(struct qmp *q, json_t *args, struct qmp_error *err)
{
    return json_pack("{s:b, s:b}", "enabled", machine_engine(qmp_machine(q))->ops == &engine_kvm, "present", true);
}

json_t *qmp_query_target(struct qmp *q, json_t *args, struct qmp_error *err)
{
    return json_pack("{s:s}", "arch", "x86_64");
}

json_t *qmp_stop(struct qmp *q, json_t *args, struct qmp_error *err)
{
    if (machine_state(qmp_machine(q)) == RUN_RUNNING) machine_stop(qmp_machine(q), RUN_PAUSED);
    else machine_settle(qmp_machine(q));
    return json_object();
}

int run_continue(struct machine *m, struct error *err)
{
    enum run_state now = machine_state(m);
    uint64_t done, total;

    if (guest_dump_progress(&done, &total) == GUEST_DUMP_ACTIVE) return error_set(err, "There is a dump in process, please wait.");
    if (now == RUN_SHUTDOWN || now == RUN_INTERNAL_ERROR)
        return error_set(err, "the machine is %s; 'system_reset' starts it anew", now == RUN_SHUTDOWN ? "off" : "in an error");
    if (now != RUN_RUNNING) machine_start(m);
    return 0;
}

json_t *qmp_cont(struct qmp *q, json_t *args, struct qmp_error *err)
{
    return qmp_result(run_continue(qmp_machine(q), &err->error));
}

json_t *qmp_quit(struct qmp *q, json_t *args, struct qmp_error *err)
{
    machine_request_quit(qmp_machine(q), 0, CAUSE_MONITOR_QUIT);
    return json_object();
}

json_t *qmp_system_reset(struct qmp *q, json_t *args, struct qmp_error *err)
{
    machine_request_reset(qmp_machine(q), CAUSE_MONITOR_RESET);
    return json_object();
}

json_t *qmp_system_powerdown(struct qmp *q, json_t *args, struct qmp_error *err)
{
    machine_request_powerdown(qmp_machine(q));
    return json_object();
}

int run_wakeup(struct error *err)
{
    return error_set(err, "Unable to wake up: guest is not in suspended state");
}

json_t *qmp_system_wakeup(struct qmp *q, json_t *args, struct qmp_error *err)
{
    return qmp_result(run_wakeup(&err->error));
}

json_t *qmp_set_action(struct qmp *q, json_t *args, struct qmp_error *err)
{
    const struct machine_config *c = machine_configuration(qmp_machine(q));
    const char *reboot = qmp_string(args, "reboot"), *shutdown = qmp_string(args, "shutdown");

    machine_actions_set(qmp_machine(q), reboot ? !strcmp(reboot, "shutdown") : c->no_reboot,
                        shutdown ? !strcmp(shutdown, "pause") : c->no_shutdown);
    return json_object();
}

json_t *qmp_inject_nmi(struct qmp *q, json_t *args, struct qmp_error *err)
{
    for (unsigned i = 0; i < machine_vcpu_count(qmp_machine(q)); i++) {
        struct engine_vcpu *v = machine_vcpu(qmp_machine(q), i);

        v->engine->ops->vcpu_nmi(v);
    }
    return json_object();
}

json_t *qmp_human_monitor_command(struct qmp *q, json_t *args, struct qmp_error *err)
{
    struct monitor *human = qmp_human(q);
    int64_t cpu = qmp_int(args, "cpu-index", human->vcpu);
    json_t *result;
    size_t size;
    char *text;

    if (cpu < 0 || (cpu && cpu >= machine_vcpu_count(qmp_machine(q))))
        return qmp_fail(err, QMP_GENERIC, "Parameter 'cpu-index' expects a CPU number");
    human->vcpu = (unsigned)cpu;
    text = monitor_run_line(human, qmp_string(args, "command-line"), &size);
    if (!text) return qmp_fail(err, QMP_GENERIC, "out of memory");
    result = qmp_text(text, size);
    free(text);
    return result;
}

json_t *qmp_watchdog_set_action(struct qmp *q, json_t *args, struct qmp_error *err) { return json_object(); }
json_t *qmp_query_acpi_ospm_status(struct qmp *q, json_t *args, struct qmp_error *err) { return json_array(); }
