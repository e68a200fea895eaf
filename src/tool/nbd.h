/* SPDX-License-Identifier: GPL-2.0-or-later */
/* 'ospite nbd', also called as qemu-nbd. argv[0] is the tool's name. Returns the process's exit status. */
#ifndef TOOL_NBD_H
#define TOOL_NBD_H

int nbd_tool_run(int argc, char **argv);

#endif
