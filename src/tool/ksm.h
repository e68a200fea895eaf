/* SPDX-License-Identifier: GPL-2.0-or-later */
/* 'ospite ksm'. argv[0] is the tool's name. Returns the process's exit status. */
#ifndef TOOL_KSM_H
#define TOOL_KSM_H

int ksm_tool_run(int argc, char **argv);

#endif
