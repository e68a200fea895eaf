/* SPDX-License-Identifier: GPL-2.0-or-later */
/* What the kernel says of page sharing, at one moment. */
#ifndef TOOL_KSM_PRIVATE_H
#define TOOL_KSM_PRIVATE_H

#include "tool/doctor_private.h"

#define KSM_DIRECTORY "/sys/kernel/mm/ksm"
enum { KSM_PAGE_BYTES = 4096, KSM_MACHINES = 32 };

struct ksm_machine {
    unsigned pid;
    char name[64];
    uint64_t merging;                   /* pages of it that are merged */
    int64_t profit_bytes;               /* saved, less what the bookkeeping costs; has_profit: the kernel says */
    bool has_profit;
};
struct ksm_state {
    uint64_t run, shared, sharing, unshared, volatile_pages, full_scans, pages_to_scan, sleep_ms, zero_pages;
    struct ksm_machine machine[KSM_MACHINES];
    unsigned machines;
};

/* ksm_state.c: false: this kernel has no KSM. */
bool ksm_state_read(struct doctor *d, struct ksm_state *s);
void ksm_state_print(struct doctor *d, const struct ksm_state *s);
void ksm_state_json(const struct ksm_state *s);

/* ksm_watch.c: redraws every interval_s seconds, count times (0: until it is interrupted). */
int ksm_watch(const char *root, bool json, double interval_s, unsigned count);

#endif
