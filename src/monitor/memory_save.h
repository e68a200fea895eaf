/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Memory of the guest into files. */
#ifndef MONITOR_MEMORY_SAVE_H
#define MONITOR_MEMORY_SAVE_H

#include <stdint.h>

struct error;
struct machine;

/* size bytes from at on into a new file: as that processor sees them, or physical ones for cpu -1. 0, or -1 with *err; the file then has
 * what came before the first byte that is not there. */
int memory_save(struct machine *m, int cpu, uint64_t at, uint64_t size, const char *filename, struct error *err);

#endif
