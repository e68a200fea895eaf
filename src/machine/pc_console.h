/* SPDX-License-Identifier: GPL-2.0-or-later */
/* A character device that viewers show and type into, beside whatever it is connected to. */
#ifndef MACHINE_PC_CONSOLE_H
#define MACHINE_PC_CONSOLE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct chardev;

struct pc_console {
    struct chardev *port;
    void (*output)(void *opaque, unsigned number, const uint8_t *data, size_t size);
    void (*ready)(void *opaque, unsigned number);      /* it refused keys and may take some now */
    void *opaque;
    unsigned number;                   /* for those */
    bool is_full, is_posted;           /* pc_console.c's own */
};
/* Everything but the last two is filled in. One for each device. */
void pc_console_open(struct pc_console *k);
/* is_there: the device was not closed before. */
void pc_console_close(struct pc_console *k, bool is_there);
/* How many bytes it took. */
size_t pc_console_input(struct pc_console *k, const uint8_t *data, size_t size);

#endif
