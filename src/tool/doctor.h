/* SPDX-License-Identifier: GPL-2.0-or-later */
/* 'ospite doctor'. argv[0] is the tool's name. Returns the process's exit status. */
#ifndef TOOL_DOCTOR_H
#define TOOL_DOCTOR_H

int doctor_tool_run(int argc, char **argv);

#endif
