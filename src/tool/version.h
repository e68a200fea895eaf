/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Who is asked for a version, and how scripts of the peer's tools expect the answer. */
#ifndef TOOL_VERSION_H
#define TOOL_VERSION_H

/* The version of QEMU whose command lines, protocols and answers are followed. */
#define QEMU_VERSION "7.2.0"

/* Prints it on a line. tool: "ospite", "ospite-img", "ospite-nbd" ... */
void version_print(const char *tool);

#endif
