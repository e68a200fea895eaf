/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The guest's memory and processors as an ELF core, for gdb and crash. Main thread, machine lock held. */
#ifndef MONITOR_GUEST_DUMP_H
#define MONITOR_GUEST_DUMP_H

#include <stdbool.h>
#include <stdint.h>

struct error;
struct machine;

struct guest_dump_config {
    int fd;                            /* taken, also when it fails */
    bool paging;                       /* segments have the virtual addresses of the page tables */
    bool detach;                       /* a thread writes; the event DUMP_COMPLETED tells of the end */
    uint64_t begin, length;            /* physical memory; length 0: all */
};
enum guest_dump_state { GUEST_DUMP_NONE, GUEST_DUMP_ACTIVE, GUEST_DUMP_COMPLETED, GUEST_DUMP_FAILED };

/* The machine stands until it is done, and goes on then if it ran. -1 with *err: it could not begin, or (without detach) was not finished. */
int guest_dump_run(struct machine *m, const struct guest_dump_config *config, struct error *err);
/* Of the last one, in bytes of memory. */
enum guest_dump_state guest_dump_progress(uint64_t *done, uint64_t *total);
/* Ends one that is under way. */
void guest_dump_end(void);

#endif
