/* SPDX-License-Identifier: GPL-2.0-or-later */
/* 'ospite img', also called as qemu-img: work on disk images. */
#ifndef TOOL_IMG_IMG_H
#define TOOL_IMG_IMG_H

int img_tool_run(int argc, char **argv);

#endif
