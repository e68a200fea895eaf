/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The process around the machine: signals, name, going to the background, in the order that starters rely on: the parent ends when the machine is set up. */
#ifndef TOOL_DAEMON_H
#define TOOL_DAEMON_H

struct error;

/* Peers that go must not kill us. name: for ps and top, or NULL. */
void process_prepare(const char *name);

/* Forks; returns in the child only, with a descriptor for daemon_ready, or -1 with *err. Before any thread exists.
 * The parent ends with status 0 after daemon_ready, else with the child's status. */
int daemon_begin(struct error *err);
/* Lets go of the terminal and of the parent. 0, or -1 with *err. */
int daemon_ready(int fd, struct error *err);

/* Writes the process number and keeps the file locked while the process lives. 0, or -1 with *err. */
int pidfile_write(const char *path, struct error *err);

#endif
