/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Guest RAM: private anonymous memory, mergeable by KSM, huge-page hints, not dumped into core files. */
#ifndef MEMORY_RAM_H
#define MEMORY_RAM_H

#include <stdbool.h>
#include <stdint.h>

struct error;
struct ram_block {
    void *hva;
    uint64_t size_bytes;
};
/* 0, or -1 with *err when the host cannot give that much. */
int ram_allocate(struct ram_block *ram, uint64_t size_bytes, bool mergeable, struct error *err);
void ram_free(struct ram_block *ram);

#endif
