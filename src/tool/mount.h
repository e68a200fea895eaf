/* SPDX-License-Identifier: GPL-2.0-or-later */
/* 'ospite mount' and 'ospite umount'. argv[0] is the tool's name. They return the process's exit status. */
#ifndef TOOL_MOUNT_H
#define TOOL_MOUNT_H

int mount_tool_run(int argc, char **argv);
int umount_tool_run(int argc, char **argv);

#endif
