/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Files behind guest RAM. */
#ifndef MEMORY_RAM_PRIVATE_H
#define MEMORY_RAM_PRIVATE_H

#include "memory/ram.h"

struct ram_file {
    int fd;
    uint64_t page_bytes;               /* what the mapping is made of; above 4096: huge pages */
};
/* Of the right size, with room for all of it. 0, or -1 with *err. */
int ram_file_open(struct ram_file *file, const struct ram_config *config, struct error *err);

#endif
