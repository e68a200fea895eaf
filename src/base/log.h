/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Messages to the user on stderr ("ospite: ..."), and trace categories (-d) that go to stderr or -D FILE.
 */
#ifndef BASE_LOG_H
#define BASE_LOG_H

#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>

enum trace_category {
    TRACE_IN_ASM,      /* guest code of every translated block */
    TRACE_OUT_ASM,     /* host code of every translated block */
    TRACE_EXEC,        /* one line a block executed */
    TRACE_CPU,         /* registers before each block */
    TRACE_INT,         /* exceptions and interrupts */
    TRACE_MMU,         /* page walks that fault, TLB flushes */
    TRACE_PCALL,       /* far transfers, task switches */
    TRACE_GUEST_ERRORS,/* guest does what the datasheet forbids */
    TRACE_UNIMP,       /* guest asks for what is not there */
    TRACE_IO,          /* accesses to ports and device memory */
    TRACE_IDE,
    TRACE_IRQ,
    TRACE_FW_CFG,
    TRACE_PCI,
    TRACE_BLOCK,
    TRACE_KVM,
    TRACE_CATEGORIES
};

extern uint32_t trace_mask;   /* bit per category; set once by log_trace_enable */

static inline bool trace_is_on(enum trace_category c)
{
    return __builtin_expect((trace_mask >> c) & 1, 0);
}

void log_message(const char *fmt, ...) __attribute__((format(printf, 1, 2)));  /* "ospite: ...\n" */
/* Messages begin with the time from now on. While there is one thread. */
void log_time_enable(bool on);
void trace_print(const char *fmt, ...) __attribute__((format(printf, 1, 2)));  /* raw, no newline added */

#define trace(category, ...) \
    do { if (trace_is_on(category)) trace_print(__VA_ARGS__); } while (0)

struct error;
/* LIST is comma separated names as in qemu's -d ("in_asm,int,cpu"). 0, or -1 with *err naming the unknown one. */
int log_trace_enable(const char *list, struct error *err);
int log_trace_file(const char *path, struct error *err);
void log_trace_help(FILE *out);

#endif
