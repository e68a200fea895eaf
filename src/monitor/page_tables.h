/* SPDX-License-Identifier: GPL-2.0-or-later */
/* A walk through all that a vCPU's page tables map, changing nothing. While the machine stands. */
#ifndef MONITOR_PAGE_TABLES_H
#define MONITOR_PAGE_TABLES_H

#include <stdbool.h>
#include <stdint.h>

struct machine;
struct x86_state;

enum { PTE_PRESENT = 1, PTE_WRITE = 2, PTE_USER = 4, PTE_PSE = 0x80 };
struct page_mapping {
    uint64_t gva, gpa, size;
    uint64_t entry, rights;            /* as it stands in the table; PTE_USER and PTE_WRITE of all levels */
};
/* false: enough. */
typedef bool page_mapping_fn(void *opaque, const struct page_mapping *p);
/* By virtual address. PAGES_ALL, or that the tables are more than anybody would wait for, or fn had enough, or there is no paging. */
enum page_tables_result { PAGES_ALL, PAGES_CUT, PAGES_NONE };
enum page_tables_result page_tables_walk(struct machine *m, const struct x86_state *s, page_mapping_fn *fn, void *opaque);

#endif
