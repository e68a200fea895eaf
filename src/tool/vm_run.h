/* SPDX-License-Identifier: GPL-2.0-or-later */
/* "ospite [options] [disk]": runs a virtual machine. Returns the process's exit status. */
#ifndef TOOL_VM_RUN_H
#define TOOL_VM_RUN_H

int vm_run(int argc, char **argv);

#endif
