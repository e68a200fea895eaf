/* SPDX-License-Identifier: GPL-2.0-or-later */
/* What the web page is about: serial ports, which are listened in on beside what they are connected to, the buttons, and the figures. */
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <time.h>
#include <unistd.h>

#include "base/bits.h"
#include "base/clock.h"
#include "base/error.h"
#include "chardev/chardev.h"
#include "display/web.h"
#include "machine/pc_console.h"
#include "machine/pc_private.h"
#include "net/backend.h"

struct console { struct pc_console port; char name[8]; };

struct pc_web {
    struct machine *m;
    struct web_server *server;
    struct console console[CONFIG_SERIALS];
    unsigned consoles;
    char engine[96];
};

_Static_assert((int)CONFIG_SERIALS <= (int)WEB_CONSOLES_MAX, "consoles");

/* ---- consoles ---- */

static void console_output(void *opaque, unsigned number, const uint8_t *data, size_t size)
{
    struct pc_web *w = opaque;

    if (w->server) web_console_output(w->server, number, data, size);
}

static void console_ready(void *opaque, unsigned number) { web_console_ready(((struct pc_web *)opaque)->server, number); }

static size_t console_input(void *opaque, unsigned console, const uint8_t *data, size_t size)
{
    return pc_console_input(&((struct pc_web *)opaque)->console[console].port, data, size);
}

static const char *console_name(void *opaque, unsigned console) { return ((struct pc_web *)opaque)->console[console].name; }

static void console_size(void *opaque, unsigned console, unsigned *columns, unsigned *rows)
{
    chardev_text_size(((struct pc_web *)opaque)->console[console].port.port, columns, rows);
}

static void consoles_find(struct pc_web *w)
{
    for (unsigned i = 0; i < CONFIG_SERIALS; i++) {
        struct console *k = &w->console[w->consoles];

        if (!w->m->serial[i]) continue;
        k->port = (struct pc_console){ .port = w->m->serial[i], .output = console_output, .ready = console_ready, .opaque = w, .number = w->consoles++ };
        snprintf(k->name, sizeof(k->name), "COM%u", i + 1);
        pc_console_open(&k->port);
    }
}

/* ---- buttons ---- */

static int do_pause(struct machine *m, struct error *err)
{
    if (m->state == RUN_RUNNING) machine_stop(m, RUN_PAUSED);
    return 0;
}

static int do_resume(struct machine *m, struct error *err)
{
    if (m->state == RUN_INTERNAL_ERROR) return error_set(err, "the machine is in an error; a reset starts it anew");
    machine_start(m);
    return 0;
}

static int do_reset(struct machine *m, struct error *err)
{
    machine_request_reset(m, CAUSE_UI);
    return 0;
}

static int do_powerdown(struct machine *m, struct error *err)
{
    if (m->state != RUN_RUNNING) return error_set(err, "the guest does not run: it cannot notice its power button");
    machine_request_powerdown(m);
    return 0;
}

static int do_quit(struct machine *m, struct error *err)
{
    machine_request_quit(m, 0, CAUSE_UI);
    return 0;
}

static const struct { const char *name; int (*run)(struct machine *m, struct error *err); } commands[] = {
    { "pause", do_pause }, { "resume", do_resume }, { "reset", do_reset }, { "powerdown", do_powerdown }, { "quit", do_quit },
};

static int command(void *opaque, const char *name, struct error *err)
{
    for (unsigned i = 0; i < ARRAY_SIZE(commands); i++)
        if (!strcmp(commands[i].name, name)) return commands[i].run(((struct pc_web *)opaque)->m, err);
    return error_set(err, "there is no '%s'", name);
}

/* ---- figures ---- */

static uint64_t clock_read_ns(clockid_t clock)
{
    struct timespec t;

    return clock_gettime(clock, &t) == 0 ? (uint64_t)t.tv_sec * NS_PER_SECOND + (uint64_t)t.tv_nsec : 0;
}

static uint64_t resident_bytes(void)
{
    FILE *f = fopen("/proc/self/statm", "re");
    unsigned long pages = 0;

    if (!f) return 0;
    if (fscanf(f, "%*u %lu", &pages) != 1) pages = 0;
    fclose(f);
    return pages * (uint64_t)sysconf(_SC_PAGESIZE);
}

static void vcpu_figures(struct machine *m, struct web_figures *f)
{
    for (unsigned i = 0; i < m->vcpu_count; i++) {
        clockid_t clock;

        f->exits += m->vcpu[i].exits;
        if (m->vcpu[i].has_thread && pthread_getcpuclockid(m->vcpu[i].thread, &clock) == 0) f->guest_cpu_ns += clock_read_ns(clock);
    }
    f->exits += m->accesses;
}

static void io_figures(struct machine *m, struct web_figures *f)
{
    for (unsigned i = 0; i < m->config.drive_count; i++) {
        struct block_stats s = { 0 };

        f->has_disk = true;
        if (m->drive[i]) s = block_stats_get(m->drive[i]);
        f->disk_read_bytes += s.read_bytes;
        f->disk_written_bytes += s.written_bytes;
    }
    for (unsigned i = 0; i < m->config.netdev_count; i++) {
        uint64_t sent, received;

        if (!m->netdev[i] || !net_is_attached(m->netdev[i])) continue;
        f->has_net = true;
        net_bytes(m->netdev[i], &sent, &received);
        f->net_sent_bytes += sent;
        f->net_received_bytes += received;
    }
}

static void figures(void *opaque, struct web_figures *f)
{
    static const char *const states[] = {
        [RUN_PRELAUNCH] = "not started", [RUN_RUNNING] = "running", [RUN_PAUSED] = "paused", [RUN_DEBUG] = "held by the debugger",
        [RUN_SHUTDOWN] = "powered off", [RUN_INTERNAL_ERROR] = "in an error", [RUN_IO_ERROR] = "stopped: the host's disk fails",
    };
    struct pc_web *w = opaque;
    struct machine *m = w->m;

    *f = (struct web_figures){ .state = m->state < ARRAY_SIZE(states) && states[m->state] ? states[m->state] : "stopped", .engine = w->engine,
                               .runs = m->state == RUN_RUNNING, .cpus = m->vcpu_count, .cpu_ns = clock_read_ns(CLOCK_PROCESS_CPUTIME_ID),
                               .ram_bytes = m->config.ram_bytes, .resident_bytes = resident_bytes() };
    vcpu_figures(m, f);
    io_figures(m, f);
}

/* ---- life ---- */

int pc_web_create(struct machine *m, struct error *err)
{
    struct pc_web *w = calloc(1, sizeof(*w));
    struct web_host host = { .console_name = console_name, .console_size = console_size, .console_input = console_input, .command = command, .figures = figures, .opaque = w };

    if (!w) return error_set(err, "no memory");
    m->web = w;
    w->m = m;
    snprintf(w->engine, sizeof(w->engine), "%s, %s", m->ops->name, m->ops->description);
    consoles_find(w);
    host.consoles = w->consoles;
    m->config.web.name = m->config.name;
    w->server = web_server_new(m->display, &m->config.web, &host, err);
    return w->server ? 0 : error_prefix(err, "-display web");
}

void pc_web_destroy(struct machine *m)
{
    struct pc_web *w = m->web;

    if (!w) return;
    for (unsigned i = 0; i < w->consoles; i++) pc_console_close(&w->console[i].port, true);
    web_server_free(w->server);
    free(w);
    m->web = NULL;
}

struct web_server *machine_web(struct machine *m) { return m->web ? m->web->server : NULL; }
