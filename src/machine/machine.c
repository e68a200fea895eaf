/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The machine's life: made, started, stopped, reset, ended.
 *
 * Requests may come from any thread. They leave a bit, hold the vCPUs so that the guest gets no further, and
 * are carried out by the main loop, which waits for the vCPU threads to be outside of the engine first. Virtual
 * time runs exactly while the state is RUN_RUNNING.
 *
 * Exit status: 0 after power-off, quit, and reset with -no-reboot; isa-debug-exit gives (value << 1) | 1; an
 * engine that cannot go on stops the guest for the monitor.
 */
#include "machine/machine.h"

#include <stdlib.h>
#include <string.h>

#include "base/bits.h"
#include "base/clock.h"
#include "base/error.h"
#include "base/log.h"
#include "bus/pci.h"
#include "chardev/chardev.h"
#include "machine/machine_private.h"
#include "machine/signals.h"

/* ---- run states ---- */

static void listeners_tell(struct machine *m, enum run_state why, unsigned vcpu)
{
    for (unsigned i = 0; i < m->listener_count; i++) m->listener[i].fn(m->listener[i].opaque, why, vcpu);
}

/* An engine that counts the host's TSC must not let the guest see the time it stood still: clocks made from the
 * TSC would run ahead of those made from virtual time. KVM has a say of its own in its TSC. A stop for the
 * debugger is left alone: setting registers would disturb a vCPU that is being stepped. */
static void tsc_hold(struct machine *m)
{
    m->tsc_held = m->has_irqchip || m->state == RUN_DEBUG ? 0 : __builtin_ia32_rdtsc();
}

static void tsc_release(struct machine *m)
{
    uint64_t ticks = __builtin_ia32_rdtsc() - m->tsc_held;
    struct x86_state s;

    if (!m->tsc_held) return;
    m->tsc_held = 0;
    for (unsigned i = 0; i < m->vcpu_count; i++) {
        m->ops->vcpu_get(m->vcpu[i].engine, &s);
        s.tsc_offset -= (int64_t)ticks;
        m->ops->vcpu_set(m->vcpu[i].engine, &s);
        atomic_store(&m->vcpu[i].tsc_offset, s.tsc_offset);
    }
}

static bool is_by_guest(enum machine_cause cause)
{
    return cause == CAUSE_GUEST_RESET || cause == CAUSE_GUEST_SHUTDOWN;
}

/* "RESET" or "SHUTDOWN". */
static void cause_tell(struct machine *m, const char *event, enum machine_cause cause)
{
    static const char *const reasons[] = {
        [CAUSE_GUEST_RESET] = "guest-reset", [CAUSE_GUEST_SHUTDOWN] = "guest-shutdown", [CAUSE_MONITOR_RESET] = "host-qmp-system-reset",
        [CAUSE_MONITOR_QUIT] = "host-qmp-quit", [CAUSE_SIGNAL] = "host-signal", [CAUSE_UI] = "host-ui",
    };

    machine_event(m, event, json_pack("{s:b, s:s}", "guest", is_by_guest(cause), "reason", reasons[cause]));
}

/* tell: as an event too. */
static void stop_for(struct machine *m, enum run_state why, unsigned vcpu, bool tell)
{
    bool was_running = m->state == RUN_RUNNING;

    vcpus_hold(m);
    vcpus_wait(m);
    clock_virtual_stop();
    m->state = why;
    if (was_running) tsc_hold(m);
    if (was_running && m->runs) pc_stopped(m);
    if (tell) pc_drives_settle(m);
    if (was_running) listeners_tell(m, why, vcpu);
    if (was_running && tell) machine_event(m, "STOP", NULL);
}

void machine_stop(struct machine *m, enum run_state why)
{
    stop_for(m, why, 0, true);
}

void machine_settle(struct machine *m)
{
    pc_drives_settle(m);
}

void machine_pause(struct machine *m)
{
    stop_for(m, RUN_PAUSED, 0, false);
}

static void start(struct machine *m, bool tell)
{
    if (m->state == RUN_RUNNING) return;
    /* What was powered off starts anew. */
    if (m->state == RUN_SHUTDOWN) pc_reset(m);
    m->state = RUN_RUNNING;
    if (!m->runs) return;
    tsc_release(m);
    clock_virtual_start();
    pc_started(m);
    if (tell) machine_event(m, "RESUME", NULL);
    vcpus_release(m);
}

void machine_start(struct machine *m)
{
    start(m, true);
}

void machine_unpause(struct machine *m)
{
    start(m, false);
}

enum run_state machine_state(const struct machine *m)
{
    return m->state;
}

void machine_on_stop(struct machine *m, void (*fn)(void *opaque, enum run_state why, unsigned vcpu), void *opaque)
{
    for (unsigned i = 0; i < m->listener_count; i++) {
        if (m->listener[i].fn != fn || m->listener[i].opaque != opaque) continue;
        return;
    }
    if (m->listener_count == ARRAY_SIZE(m->listener)) abort();
    m->listener[m->listener_count++] = (struct stop_listener){ fn, opaque };
}

/* ---- requests ---- */

static void end(struct machine *m, int status)
{
    stop_for(m, RUN_SHUTDOWN, 0, false);
    m->exit_status = status;
    loop_quit();
}

/* The guest's wish to be off, or to start anew where that counts as one. */
static void shutdown_carry_out(struct machine *m, enum machine_cause cause)
{
    cause_tell(m, "SHUTDOWN", cause);
    if (m->config.no_shutdown) stop_for(m, RUN_SHUTDOWN, 0, true);
    else end(m, 0);
}

static void reset_carry_out(struct machine *m)
{
    enum machine_cause cause = atomic_exchange(&m->reset_cause, CAUSE_GUEST_RESET);
    bool goes_on = m->state == RUN_RUNNING;

    if (m->config.no_reboot && m->state == RUN_RUNNING) {
        shutdown_carry_out(m, cause);
        return;
    }
    vcpus_hold(m);
    vcpus_wait(m);
    pc_reset(m);
    cause_tell(m, "RESET", cause);
    if (m->state == RUN_SHUTDOWN || m->state == RUN_INTERNAL_ERROR) m->state = RUN_PAUSED;
    if (goes_on && m->runs) vcpus_release(m);
}

/* The bits are taken one by one: what ends the machine goes first. */
static void requests_carry_out(void *opaque)
{
    struct machine *m = opaque;
    unsigned what = atomic_exchange(&m->requests, 0);

    if (what & REQUEST_QUIT) {
        cause_tell(m, "SHUTDOWN", m->quit_cause);
        end(m, m->exit_status);
    } else if (what & REQUEST_SHUTDOWN) shutdown_carry_out(m, CAUSE_GUEST_SHUTDOWN);
    else if (what & REQUEST_ERROR) stop_for(m, RUN_INTERNAL_ERROR, m->stop_vcpu, true);
    else if (what & REQUEST_RESET) reset_carry_out(m);
    else if (what & REQUEST_DEBUG) stop_for(m, RUN_DEBUG, m->stop_vcpu, true);
}

void machine_request(struct machine *m, unsigned what)
{
    vcpus_hold(m);
    if (!atomic_fetch_or(&m->requests, what)) loop_post(requests_carry_out, m);
}

void machine_request_reset(struct machine *m, enum machine_cause cause)
{
    atomic_store(&m->reset_cause, cause);
    machine_request(m, REQUEST_RESET);
}

void machine_request_shutdown(struct machine *m, const char *why)
{
    trace(TRACE_GUEST_ERRORS, "shutdown: %s\n", why);
    machine_request(m, REQUEST_SHUTDOWN);
}

static void powerdown_carry_out(void *opaque)
{
    struct machine *m = opaque;

    pc_power_button(m);
    machine_event(m, "POWERDOWN", NULL);
}

void machine_request_powerdown(struct machine *m)
{
    loop_post(powerdown_carry_out, m);
}

void machine_actions_set(struct machine *m, bool no_reboot, bool no_shutdown)
{
    m->config.no_reboot = no_reboot;
    m->config.no_shutdown = no_shutdown;
}

void machine_request_quit(struct machine *m, int status, enum machine_cause cause)
{
    m->exit_status = status;
    m->quit_cause = cause;
    machine_request(m, REQUEST_QUIT);
}

static void on_signal(void *opaque)
{
    machine_request_quit(opaque, 0, CAUSE_SIGNAL);
}

/* ---- made and freed ---- */

static int engine_choose(struct machine *m, struct error *err)
{
    enum accel accel = m->config.accel;
    struct error why;

    m->ops = &engine_bt;
    if (accel == ACCEL_BT) return 0;
    if ((m->config.is_empty ? kvm_is_offered(&why) : kvm_probe(NULL, &why)) == 0) {
        m->ops = &engine_kvm;
        if (accel == ACCEL_DEFAULT && !m->config.is_empty) log_message("engine kvm: /dev/kvm passed the probe");
        return 0;
    }
    if (accel == ACCEL_KVM) return error_set(err, "%s; -accel bt runs the guest without KVM", why.text);
    log_message("engine bt: %s", why.text);
    return 0;
}

static int engine_make(struct machine *m, struct error *err)
{
    struct engine_config c = {
        .memory = m->memory, .ports = m->ports, .host = vcpu_engine_host, .cpuid = &m->cpuid, .max_vcpus = m->config.cpus,
        .tb_cache_bytes = m->config.tb_cache_bytes, .perf = m->config.perf_map, .no_windows = m->config.no_windows, .memory_shared = m->config.ram.share, .ram = &m->ram,
        .want_irqchip = true,
    };
    bool is_kvm = m->ops == &engine_kvm;

    if (is_kvm && c.perf) return error_set(err, "perf=on is the engine bt's; with kvm, 'perf kvm' on the host sees the guest");
    if (cpuid_model_build(&m->cpuid, m->config.cpu, is_kvm ? CPUID_FOR_KVM : CPUID_FOR_BT, &m->config.topology,
                          err) < 0)
        return -1;
    if (m->cpuid.check && m->cpuid.missing[0]) log_message("-cpu: %s has %s, which the guest does not get", m->cpuid.name, m->cpuid.missing);
    c.host.opaque = m;
    m->engine = m->ops->create(&c, err);
    if (!m->engine) return -1;
    m->has_irqchip = m->ops->has_irqchip && m->ops->has_irqchip(m->engine);
    return 0;
}

static int machine_build(struct machine *m, struct error *err)
{
    m->memory = memory_map_new("memory", 1ull << 52);
    m->ports = memory_map_new("ports", 0x10000);
    if (!m->memory || !m->ports) return error_set(err, "no memory for the address spaces");
    if (engine_choose(m, err) < 0 || engine_make(m, err) < 0) return -1;
    if (m->config.is_empty) return empty_create(m, err);
    m->vcpu = calloc(m->config.cpus, sizeof(*m->vcpu));
    if (!m->vcpu) return error_set(err, "no memory for %u CPUs", m->config.cpus);
    if (pc_create(m, err) < 0) return -1;
    if (vcpus_create(m, err) < 0) return -1;
    pc_reset(m);
    return 0;
}

struct machine *machine_new(const struct machine_config *config, struct error *err)
{
    struct machine *m = calloc(1, sizeof(*m));
    int result;

    if (!m) {
        error_set(err, "no memory for the machine");
        return NULL;
    }
    m->config = *config;
    m->chardevs = chardevs_new();
    if (!m->chardevs) {
        free(m);
        error_set(err, "no memory for the machine");
        return NULL;
    }
    m->state = RUN_PRELAUNCH;
    m->tsc_start_ns = clock_host_ns();
    m->tsc_start = __builtin_ia32_rdtsc();
    machine_lock();
    result = machine_build(m, err);
    machine_unlock();
    if (result == 0) return m;
    machine_free(m);
    return NULL;
}

void machine_free(struct machine *m)
{
    if (!m) return;
    if (m->vcpu) {
        vcpus_hold(m);
        vcpus_wait(m);
    }
    machine_lock();
    keys_destroy(m);
    vcpus_destroy(m);
    pc_destroy(m);
    if (m->engine) m->ops->destroy(m->engine);
    memory_map_free(m->ports);
    memory_map_free(m->memory);
    machine_unlock();
    loop_post_cancel(m);
    chardevs_free(m->chardevs);
    free(m);
}

int machine_run(struct machine *m)
{
    bool paused;

    machine_lock();
    signals_watch(on_signal, m);
    m->runs = true;
    paused = m->config.start_paused && m->state == RUN_PRELAUNCH;
    if (m->state == RUN_RUNNING) m->state = RUN_PAUSED;      /* 'cont' came before there was a loop */
    if (!paused) machine_start(m);
    machine_unlock();
    loop_run();
    machine_lock();
    signals_forget();
    machine_unlock();
    return m->exit_status;
}

/* ---- what others may look at ---- */

struct chardevs *machine_chardevs(const struct machine *m) { return m->chardevs; }

struct memory_map *machine_memory(struct machine *m) { return m->memory; }
struct memory_map *machine_ports(struct machine *m) { return m->ports; }
struct engine *machine_engine(struct machine *m) { return m->engine; }
unsigned machine_vcpu_count(const struct machine *m) { return m->vcpu_count; }
bool machine_a20(const struct machine *m) { return !m->a20_masked; }
struct device *machine_devices(struct machine *m) { return m->devices; }
const struct machine_config *machine_configuration(const struct machine *m) { return &m->config; }
struct pci_bus *machine_pci_bus(struct machine *m) { return m->pci; }

struct engine_vcpu *machine_vcpu(struct machine *m, unsigned i)
{
    return i < m->vcpu_count ? m->vcpu[i].engine : NULL;
}

int machine_vcpu_thread(const struct machine *m, unsigned i)
{
    return i < m->vcpu_count ? m->vcpu[i].tid : 0;
}

const char *machine_cpu_model(const struct machine *m)
{
    return m->cpuid.name;
}

const char *machine_cpu_missing(const struct machine *m)
{
    return m->cpuid.missing;
}

void machine_vcpu_get(struct machine *m, unsigned i, struct x86_state *s)
{
    if (i < m->vcpu_count) m->ops->vcpu_get(m->vcpu[i].engine, s);
    else memset(s, 0, sizeof(*s));
}

void machine_vcpu_set(struct machine *m, unsigned i, const struct x86_state *s)
{
    if (i < m->vcpu_count) m->ops->vcpu_set(m->vcpu[i].engine, s);
}

void machine_debug_set(struct machine *m, const struct engine_debug *d)
{
    m->debug = *d;
    for (unsigned i = 0; i < m->vcpu_count; i++) m->ops->vcpu_debug(m->vcpu[i].engine, d);
}

static bool is_drive(const struct drive_config *d) { return d->interface != DRIVE_IF_GONE; }

/* Others count the drives that there are; their places in the tables stay what they are while drives come and go. */
unsigned machine_drive_count(const struct machine *m)
{
    unsigned count = 0;

    for (unsigned n = 0; n < m->config.drive_count; n++) count += is_drive(&m->config.drive[n]);
    return count;
}

int machine_drive_place(const struct machine *m, unsigned i)
{
    for (unsigned n = 0; n < m->config.drive_count; n++)
        if (is_drive(&m->config.drive[n]) && !i--) return (int)n;
    return -1;
}

struct block_node *machine_drive(struct machine *m, unsigned i)
{
    int n = machine_drive_place(m, i);

    return n < 0 || !m->drive[n] || block_is_abandoned(m->drive[n]) ? NULL : m->drive[n];
}

const struct drive_config *machine_drive_config(struct machine *m, unsigned i)
{
    int n = machine_drive_place(m, i);

    return n < 0 ? NULL : &m->config.drive[n];
}
