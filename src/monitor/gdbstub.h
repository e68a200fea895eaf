/* SPDX-License-Identifier: GPL-2.0-or-later */
/* A server of gdb's remote protocol for the guest's CPUs. Main thread, machine lock held, for all functions. */
#ifndef MONITOR_GDBSTUB_H
#define MONITOR_GDBSTUB_H

struct error;
struct gdbstub;
struct machine;

/* spec is a chardev's text; tcp: and unix: become servers that do not wait, and a TCP server without a host listens on
 * the loopback address only. NULL with *err. The machine outlives it. */
struct gdbstub *gdbstub_new(struct machine *m, const char *spec, struct error *err);
/* Tells a connected gdb that the machine is gone. NULL is allowed. */
void gdbstub_free(struct gdbstub *g);

#endif
