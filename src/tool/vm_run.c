/* SPDX-License-Identifier: GPL-2.0-or-later */
/* From the command line to a running machine: options, traces, machine, monitor, gdb stub, run. */
#include "tool/vm_run.h"

#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/error.h"
#include "base/log.h"
#include "base/loop.h"
#include "chardev/chardev.h"
#include "machine/machine.h"
#include "monitor/gdbstub.h"
#include "monitor/monitor.h"
#include "tool/daemon.h"
#include "tool/vm_catalog.h"
#include "tool/vm_hotplug.h"
#include "tool/vm_options.h"

static void quit_key(void *opaque)
{
    machine_request_quit(opaque, 0, CAUSE_UI);
}

static void save_key(void *opaque, char *says, size_t size)
{
    struct error err;
    int drives = monitor_commit_all(opaque, &err);

    if (drives < 0) snprintf(says, size, "%s", err.text);
    else if (!drives) snprintf(says, size, "no drive keeps its changes apart; start with -snapshot for that");
    else snprintf(says, size, "changes of %d drive%s saved", drives, drives == 1 ? "" : "s");
}

static int traces_start(const struct vm_options *o, struct error *err)
{
    if (o->trace_file && log_trace_file(o->trace_file, err) < 0) return -1;
    return o->trace_list ? log_trace_enable(o->trace_list, err) : 0;
}

static void display_hint(const struct vm_options *o)
{
    if (!o->quiet_display)
        log_message("there is no desktop for a window; -display web shows the screen in a browser, -vnc 127.0.0.1:0 to VNC clients, -display curses the text screen "
                    "here, -nographic the serial port and the monitor");
}

static const char *path_absolute(struct vm_options *o, const char *path)
{
    char *whole = realpath(path, NULL);
    const char *copy = whole ? arena_copy(o->arena, whole, strlen(whole)) : path;

    free(whole);
    return copy;
}

/* Everything that can fail before the machine runs. */
static int machine_make(struct vm_options *o, struct machine **m, struct monitors **monitors, struct gdbstub **gdb,
                        struct error *err)
{
    int background = -1;

    if (o->daemonize && (background = daemon_begin(err)) < 0) return -1;
    if (traces_start(o, err) < 0) return -1;
    loop_init();
    *m = machine_new(&o->config, err);
    if (!*m) return -1;
    vm_hotplug_parser_set(*m, o);
    chardev_on_quit(machine_chardevs(*m), quit_key, *m);
    chardev_on_save(machine_chardevs(*m), save_key, *m);
    if (!(*monitors = monitors_new(*m, &vm_catalog, err))) return -1;
    if (o->config.gdb && !(*gdb = gdbstub_new(*m, o->config.gdb, err))) return error_prefix(err, "-gdb");
    if (o->pidfile && pidfile_write(o->pidfile, err) < 0) return -1;
    if (o->pidfile && o->daemonize) o->pidfile = path_absolute(o, o->pidfile);     /* the background is in / */
    return background < 0 ? 0 : daemon_ready(background, err);
}

int vm_run(int argc, char **argv)
{
    struct error err = { "unknown error" };
    struct monitors *monitors = NULL;
    struct gdbstub *gdb = NULL;
    struct machine *m = NULL;
    struct vm_options o;
    int status = 1;

    switch (vm_options_parse(&o, argc, argv, &err)) {
    case VM_OPTIONS_HELP_SHOWN:
        status = 0;
        break;
    case VM_OPTIONS_ERROR:
        log_message("%s", err.text);
        break;
    case VM_OPTIONS_RUN:
        process_prepare(o.process_name);
        if (machine_make(&o, &m, &monitors, &gdb, &err) < 0) {
            log_message("%s", err.text);
            break;
        }
        display_hint(&o);
        status = machine_run(m);
        if (o.pidfile) unlink(o.pidfile);
        break;
    }
    gdbstub_free(gdb);
    monitors_free(monitors);
    machine_free(m);
    vm_options_free(&o);
    return status;
}
