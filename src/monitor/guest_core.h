/* SPDX-License-Identifier: GPL-2.0-or-later */
/* What stands in front of the memory in a guest's core: ELF headers, notes of the processors, segments. */
#ifndef MONITOR_GUEST_CORE_H
#define MONITOR_GUEST_CORE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct error;
struct machine;

/* Memory in the order in which it follows the head. */
struct core_piece { uint64_t gpa, size; uint8_t *hva; };
struct guest_core {
    uint8_t *head;
    size_t head_bytes;
    struct core_piece *piece;
    unsigned pieces;
    uint64_t total;                    /* bytes of all pieces */
};
/* While the machine stands. begin and length: of physical memory; length 0: all. -1 with *err. */
int guest_core_make(struct guest_core *c, struct machine *m, bool paging, uint64_t begin, uint64_t length, struct error *err);
void guest_core_free(struct guest_core *c);

#endif
