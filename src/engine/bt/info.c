/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * 'info jit': what the engine counts all the time. Each vCPU counts for itself, without atomic operations, so the sums are exact
 * only while the machine is stopped, which the monitor sees to. Helpers are counted by mnemonic in the thunks that call
 * them; nothing is counted in translated code itself: see profile.c for where time goes.
 */
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include "engine/bt/bt_private.h"

struct out { void (*print)(void *opaque, const char *line); void *opaque; };

static void __attribute__((format(printf, 2, 3))) line(const struct out *o, const char *fmt, ...)
{
    char text[256];
    va_list ap;
    va_start(ap, fmt);
    vsnprintf(text, sizeof(text), fmt, ap);
    va_end(ap);
    o->print(o->opaque, text);
}

static const struct counter_row { const char *title; enum bt_counter counter; const char *name; } counter_rows[] = {
    { "TLB misses", COUNT_MISS, "of accesses" },
    { NULL, COUNT_GROUP_MISS, "of groups" },
    { NULL, COUNT_WALK, "page walks (the second level missed too)" },
    { "accesses by the slow path", COUNT_BOUNCE_CROSSING, "across pages" },
    { NULL, COUNT_BOUNCE_DEVICE, "to devices" },
    { NULL, COUNT_BOUNCE_CODE, "on pages with code" },
    { NULL, COUNT_CODE_WRITE, "stores there" },
    { "TLB flushes", COUNT_TLB_FLUSH, "of all" },
    { NULL, COUNT_TLB_SWITCH, "address spaces" },
    { NULL, COUNT_PAGE_FLUSH, "of one page" },
    { NULL, COUNT_TLB_GROW, "larger" },
    { "windows", COUNT_WINDOW_PAGE, "pages mapped" },
    { NULL, COUNT_WINDOW_FAULT, "faults for the guest" },
    { NULL, COUNT_WINDOW_SPECIAL, "accesses to code or devices" },
    { NULL, COUNT_WINDOW_COSTLY, "times too costly" },
    { "ways out of translated code", COUNT_CHAIN, "first direct jumps" },
    { NULL, COUNT_RETURN, "first returns" },
    { NULL, COUNT_LOOKUP, "jump cache misses" },
    { NULL, COUNT_NEXT, "block ends (helpers, polls)" },
    { NULL, COUNT_CODE_CHANGED, "code changed" },
    { NULL, COUNT_TRANSLATE, "translations" },
    { "calls to the machine", COUNT_PIO, "ports" },
    { NULL, COUNT_MMIO, "device memory" },
    { NULL, COUNT_APIC, "APIC registers" },
    { NULL, COUNT_TPR, "task priority" },
    { NULL, COUNT_CPUID, "CPUID" },
    { NULL, COUNT_ACKNOWLEDGE, "interrupt acknowledges" },
    { "interrupts", COUNT_IRQ, "delivered" },
    { NULL, COUNT_NMI, "NMI" },
    { "waits for other CPUs", COUNT_REST, "rests" },
    { NULL, COUNT_EXCLUSIVE, "runs alone" },
    { NULL, COUNT_YIELD, "PAUSE gave way" },
};
static const char *const exit_names[] = {
    [EXIT_KICKED] = "kicked", [EXIT_HALTED] = "halted", [EXIT_SHUTDOWN] = "triple fault", [EXIT_DEBUG] = "debugger",
    [EXIT_RESET] = "reset", [EXIT_INTERNAL_ERROR] = "internal error",
};
static const char *const exception_names[32] = {
    "#DE", "#DB", "NMI", "#BP", "#OF", "#BR", "#UD", "#NM", "#DF", "9", "#TS", "#NP", "#SS", "#GP", "#PF", "15", "#MF", "#AC", "#MC", "#XM",
};

/* The sum over all vCPUs of a counter that lies at this offset. */
static uint64_t total(const struct bt_engine *e, size_t offset)
{
    uint64_t sum = 0;
    for (unsigned i = 0; i < e->vcpu_count; i++)
        if (e->vcpu[i]) sum += *(const uint64_t *)((const uint8_t *)e->vcpu[i] + offset);
    return sum;
}
#define TOTAL(e, field, n) total(e, offsetof(struct bt_vcpu, field) + (n) * sizeof(uint64_t))

/* A list of "N name" that is written out as one line. */
struct list { char text[240]; unsigned used; };
static void list_add(struct list *l, uint64_t count, const char *name)
{
    int n = snprintf(l->text + l->used, sizeof(l->text) - l->used, "%s%lu %s", l->used ? ", " : "", (unsigned long)count, name);
    if (n > 0) l->used = MIN(l->used + (unsigned)n, (unsigned)sizeof(l->text) - 1);
}

static void counters(const struct bt_engine *e, const struct out *o)
{
    for (unsigned i = 0; i < ARRAY_SIZE(counter_rows);) {
        const char *title = counter_rows[i].title;
        struct list l = { .used = 0 };
        do list_add(&l, TOTAL(e, count, counter_rows[i].counter), counter_rows[i].name);
        while (++i < ARRAY_SIZE(counter_rows) && !counter_rows[i].title);
        line(o, "%s: %s", title, l.text);
    }
    struct list exits = { .used = 0 }, exceptions = { .used = 0 };
    for (unsigned i = 0; i < ARRAY_SIZE(exit_names); i++)
        if (TOTAL(e, count_exit, i)) list_add(&exits, TOTAL(e, count_exit, i), exit_names[i]);
    for (unsigned i = 0; i < ARRAY_SIZE(exception_names); i++)
        if (TOTAL(e, count_exception, i)) list_add(&exceptions, TOTAL(e, count_exception, i), exception_names[i] ? exception_names[i] : "reserved");
    line(o, "exits to the machine: %s", exits.used ? exits.text : "none");
    line(o, "exceptions: %s", exceptions.used ? exceptions.text : "none");
}

static void blocks(const struct bt_engine *e, const struct out *o)
{
    uint64_t alive = 0, insns = e->count_guest_insns, guest = e->count_guest_bytes, host = e->count_host_bytes;
    uint64_t code = 0, descriptions = 0;
    const struct tb *tb;
    for (unsigned n = 0; n < e->part_count; n++) {
        for (uint32_t i = 0; (tb = bt_tb_at(e, n, i)); i++) alive += !tb->dead;
        code += e->part[n].hot - e->hot_base - n * e->hot_bytes + e->part[n].cold - e->cold_base - n * e->cold_bytes;
        descriptions += e->part[n].meta - n * e->meta_part_bytes;
    }
    line(o, "code cache: %lu of %lu KiB, descriptions %lu KiB, %u parts, oldest emptied %lu times, all %lu times", (unsigned long)(code >> 10),
         (unsigned long)(e->cache_bytes >> 10), (unsigned long)(descriptions >> 10), e->part_count, (unsigned long)e->count_parts,
         (unsigned long)e->count_tb_flush);
    line(o, "blocks: %lu translated, %lu in use, %lu invalidated", (unsigned long)e->count_tb, (unsigned long)alive, (unsigned long)e->count_invalidated);
    uint64_t tenths = guest ? host * 10 / guest : 0, per_block = e->count_tb ? insns * 10 / e->count_tb : 0;
    line(o, "code: %lu instructions (%lu.%lu a block), %lu bytes, became %lu bytes: %lu.%lu times as many", (unsigned long)insns,
         (unsigned long)per_block / 10, (unsigned long)per_block % 10, (unsigned long)guest, (unsigned long)host, (unsigned long)tenths / 10,
         (unsigned long)tenths % 10);
}

struct helper_count { uint64_t count; unsigned mnemonic; };
static int more_calls(const void *a, const void *b)
{
    uint64_t x = ((const struct helper_count *)a)->count, y = ((const struct helper_count *)b)->count;
    return x < y ? 1 : x > y ? -1 : 0;
}

static void helpers(const struct bt_engine *e, const struct out *o)
{
    enum { SHOWN = 16, PER_LINE = 4 };
    struct helper_count *h = calloc(X86_MNEMONIC_COUNT, sizeof(*h));
    uint64_t sum = 0;
    if (!h) return;
    for (unsigned i = 0; i < X86_MNEMONIC_COUNT; i++) {
        h[i] = (struct helper_count){ TOTAL(e, count_helper, i), i };
        sum += h[i].count;
    }
    qsort(h, X86_MNEMONIC_COUNT, sizeof(*h), more_calls);
    line(o, "helpers: %lu calls", (unsigned long)sum);
    for (unsigned i = 0; i < SHOWN && h[i].count; i += PER_LINE) {
        struct list l = { .used = 0 };
        for (unsigned k = i; k < i + PER_LINE && h[k].count; k++) list_add(&l, h[k].count, x86_mnemonic_name(h[k].mnemonic));
        line(o, "    %s", l.text);
    }
    free(h);
}

void bt_info(struct engine *base, void (*print)(void *opaque, const char *text), void *opaque)
{
    const struct bt_engine *e = container_of(base, struct bt_engine, base);
    struct out o = { print, opaque };
    blocks(e, &o);
    counters(e, &o);
    helpers(e, &o);
    for (unsigned i = 0; i < e->vcpu_count && e->vcpu_count > 1; i++) {
        const struct bt_vcpu *v = e->vcpu[i];
        if (v)
            line(&o, "CPU %u: %lu TLB misses, %lu jump cache misses, %lu block ends, %lu interrupts, %lu exits", i,
                 (unsigned long)v->count[COUNT_MISS], (unsigned long)v->count[COUNT_LOOKUP], (unsigned long)v->count[COUNT_NEXT],
                 (unsigned long)v->count[COUNT_IRQ], (unsigned long)(v->count_exit[EXIT_KICKED] + v->count_exit[EXIT_HALTED]));
    }
}
