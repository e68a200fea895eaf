/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * User messages and traces. Every line goes out in one stdio call, so lines of different threads do not mix.
 * The category names are those of qemu's -d where it has them.
 */
#include "base/log.h"

#include <errno.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "base/bits.h"
#include "base/error.h"
#include "base/nearest.h"

uint32_t trace_mask;
static FILE *trace_out;                /* NULL: stderr */
static bool with_time;                 /* set once, by log_time_enable */

static const struct { const char *name, *help; } categories[TRACE_CATEGORIES] = {
    [TRACE_IN_ASM] = { "in_asm", "guest code of every translated block" },
    [TRACE_OUT_ASM] = { "out_asm", "host code of every translated block" },
    [TRACE_EXEC] = { "exec", "one line a block executed" },
    [TRACE_CPU] = { "cpu", "registers before each block" },
    [TRACE_INT] = { "int", "exceptions and interrupts" },
    [TRACE_MMU] = { "mmu", "page faults, changes of CR3" },
    [TRACE_PCALL] = { "pcall", "far transfers and task switches" },
    [TRACE_GUEST_ERRORS] = { "guest_errors", "the guest does what a datasheet forbids" },
    [TRACE_UNIMP] = { "unimp", "the guest asks for what is not there" },
    [TRACE_IO] = { "io", "accesses to ports and device memory" },
    [TRACE_IDE] = { "ide", "IDE commands and transfers" },
    [TRACE_IRQ] = { "irq", "interrupt lines and controllers" },
    [TRACE_FW_CFG] = { "fw_cfg", "firmware configuration device" },
    [TRACE_PCI] = { "pci", "PCI configuration" },
    [TRACE_BLOCK] = { "block", "disk images" },
    [TRACE_KVM] = { "kvm", "KVM calls and exits" },
};

/* What qemu's -d has besides. */
static const struct { const char *name, *why; } others[] = {
    { "op", "there is no code between guest and host code; use in_asm and out_asm" },
    { "op_opt", "there is no code between guest and host code; use in_asm and out_asm" },
    { "op_ind", "there is no code between guest and host code; use in_asm and out_asm" },
    { "nochain", "exec and cpu always show every block; leave it out" },
    { "fpu", "use 'info registers' in the monitor" },
    { "cpu_reset", "use int, which shows triple faults, and 'info registers' in the monitor" },
    { "page", "use 'info mem' in the monitor" },
    { "strace", "it belongs to programs, not machines" },
    { "plugin", "there are no plugins" },
    { "tid", "all threads write to one file" },
};

void log_time_enable(bool on)
{
    with_time = on;
}

/* As QEMU's -msg timestamp=on writes it: "2026-11-28T14:31:06.083412Z ", or "". */
static const char *time_write(char *text, size_t size)
{
    struct timespec now;
    struct tm tm;
    size_t n = 0;

    text[0] = 0;
    if (with_time && clock_gettime(CLOCK_REALTIME, &now) == 0 && gmtime_r(&now.tv_sec, &tm)) n = strftime(text, size, "%Y-%m-%dT%H:%M:%S", &tm);
    if (n) snprintf(text + n, size - n, ".%06ldZ ", now.tv_nsec / 1000);
    return text;
}

void log_message(const char *fmt, ...)
{
    char text[1400], time[48];
    va_list ap;

    va_start(ap, fmt);
    vsnprintf(text, sizeof(text), fmt, ap);
    va_end(ap);
    fprintf(stderr, "%sospite: %s\n", time_write(time, sizeof(time)), text);
}

void trace_print(const char *fmt, ...)
{
    va_list ap;

    va_start(ap, fmt);
    vfprintf(trace_out ? trace_out : stderr, fmt, ap);
    va_end(ap);
}

static int category_find(const char *name, uint32_t *mask, struct error *err)
{
    struct nearest near;

    if (!strcmp(name, "all")) {
        *mask |= BIT(TRACE_CATEGORIES) - 1;
        return 0;
    }
    if (!strcmp(name, "none")) return 0;
    for (unsigned i = 0; i < ARRAY_SIZE(others); i++)
        if (!strcmp(name, others[i].name)) return error_set(err, "'%s' is not here: %s", name, others[i].why);
    if (!strncmp(name, "trace:", 6)) return error_set(err, "'%s' is not here: there are the categories of '-d help' only", name);
    nearest_begin(&near, name);
    for (unsigned i = 0; i < TRACE_CATEGORIES; i++) {
        if (!strcmp(name, categories[i].name)) {
            *mask |= BIT(i);
            return 0;
        }
        nearest_offer(&near, categories[i].name);
    }
    if (nearest_result(&near))
        return error_set(err, "unknown trace category '%s'; did you mean '%s'?", name, nearest_result(&near));
    return error_set(err, "unknown trace category '%s'; 'ospite -d help' lists them", name);
}

int log_trace_enable(const char *list, struct error *err)
{
    char copy[512], *save = NULL;
    uint32_t mask = 0;

    if (strlen(list) >= sizeof(copy)) return error_set(err, "the list of trace categories is too long");
    strcpy(copy, list);
    for (char *w = strtok_r(copy, ",", &save); w; w = strtok_r(NULL, ",", &save))
        if (category_find(w, &mask, err) < 0) return -1;
    trace_mask = mask;
    return 0;
}

int log_trace_file(const char *path, struct error *err)
{
    FILE *f = fopen(path, "we");

    if (!f) return error_set(err, "cannot write the trace file '%s': %s", path, strerror(errno));
    setvbuf(f, NULL, _IOLBF, 65536);
    if (trace_out) fclose(trace_out);
    trace_out = f;
    return 0;
}

void log_trace_help(FILE *out)
{
    fprintf(out, "Trace categories (comma separated):\n");
    for (unsigned i = 0; i < TRACE_CATEGORIES; i++)
        fprintf(out, "  %-14s %s\n", categories[i].name, categories[i].help);
    fprintf(out, "  %-14s %s\n", "all", "everything above");
}
