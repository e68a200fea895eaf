/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * State of page sharing: the kernel's counters, and those of each running machine. A page that several share is kept once
 * (pages_shared); pages_sharing counts the places that point to it beyond that, so it is what is saved.
 * Sources: Documentation/admin-guide/mm/ksm.rst, proc(5).
 */
#include <dirent.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/bits.h"
#include "tool/json_text.h"
#include "tool/ksm_private.h"

static const struct { const char *file; size_t offset; } counters[] = {
    { "run", offsetof(struct ksm_state, run) }, { "pages_shared", offsetof(struct ksm_state, shared) },
    { "pages_sharing", offsetof(struct ksm_state, sharing) }, { "pages_unshared", offsetof(struct ksm_state, unshared) },
    { "pages_volatile", offsetof(struct ksm_state, volatile_pages) }, { "full_scans", offsetof(struct ksm_state, full_scans) },
    { "pages_to_scan", offsetof(struct ksm_state, pages_to_scan) }, { "sleep_millisecs", offsetof(struct ksm_state, sleep_ms) },
    { "ksm_zero_pages", offsetof(struct ksm_state, zero_pages) },
};

static void machine_read(struct doctor *d, struct ksm_machine *m, const char *pid)
{
    const char *stat = host_read(d, "/proc/%s/ksm_stat", pid), *merging = stat ? host_field(d, stat, "ksm_merging_pages") : NULL;
    const char *profit = stat ? host_field(d, stat, "ksm_process_profit") : NULL, *name = host_machine_name(d, pid);

    *m = (struct ksm_machine){ .pid = (unsigned)strtoul(pid, NULL, 10) };
    snprintf(m->name, sizeof(m->name), "%s", name ? name : "");
    if (merging) m->merging = strtoull(merging, NULL, 10);
    else host_number(d, &m->merging, "/proc/%s/ksm_merging_pages", pid);     /* kernels of before 6.1 */
    m->has_profit = profit;
    if (profit) m->profit_bytes = strtoll(profit, NULL, 10);
}

static int by_pid(const void *a, const void *b)
{
    const struct ksm_machine *x = a, *y = b;

    return x->pid < y->pid ? -1 : x->pid > y->pid;
}

bool ksm_state_read(struct doctor *d, struct ksm_state *s)
{
    DIR *dir = opendir(host_path(d, "/proc"));

    *s = (struct ksm_state){ 0 };
    for (unsigned i = 0; i < ARRAY_SIZE(counters); i++)
        host_number(d, (uint64_t *)((char *)s + counters[i].offset), KSM_DIRECTORY "/%s", counters[i].file);
    for (struct dirent *e; dir && s->machines < KSM_MACHINES && (e = readdir(dir));)
        if (host_is_machine(d, e->d_name)) machine_read(d, &s->machine[s->machines++], e->d_name);
    if (dir) closedir(dir);
    qsort(s->machine, s->machines, sizeof(s->machine[0]), by_pid);
    return host_exists(d, KSM_DIRECTORY "/run");
}

/* ---- for people ---- */

static void line_print(struct doctor *d, const char *name, uint64_t pages, const char *meaning)
{
    printf("%-9s %10llu pages  %9s   %s\n", name, (unsigned long long)pages, host_size(d, pages * KSM_PAGE_BYTES), meaning);
}

static void ratio_print(const struct ksm_state *s)
{
    double ratio = s->shared ? (double)s->sharing / (double)s->shared : 0;

    if (!s->shared) printf("ratio     nothing is shared%s\n", s->run == 1 ? " yet" : "");
    else
        printf("ratio     %.1f: each page that is kept stands for %.1f; %s\n", ratio, ratio + 1,
               s->unshared > 10 * s->sharing ? "most of what is scanned has no equal, so the scanning hardly pays" : "sharing pays");
}

static void machines_print(struct doctor *d, const struct ksm_state *s)
{
    for (unsigned i = 0; i < s->machines; i++) {
        const struct ksm_machine *m = &s->machine[i];

        printf("machine   process %u", m->pid);
        if (*m->name) {
            printf(" (");
            for (const char *p = m->name; *p; p++) putchar((unsigned char)*p < 0x20 || *p == 0x7f ? '?' : *p);
            printf(")");
        }
        printf(": %llu pages merged, %s", (unsigned long long)m->merging, host_size(d, m->merging * KSM_PAGE_BYTES));
        if (m->has_profit)
            printf("; %s %s, bookkeeping included", m->profit_bytes < 0 ? "costs" : "saves", host_size(d, (uint64_t)llabs(m->profit_bytes)));
        putchar('\n');
    }
    if (!s->machines) printf("machine   no ospite is running\n");
}

void ksm_state_print(struct doctor *d, const struct ksm_state *s)
{
    static const char *const runs[] = { "off; what was merged stays so", "on", "off, and all pages are apart again" };
    double a_second = s->sleep_ms ? (double)s->pages_to_scan * 1000 / (double)s->sleep_ms : 0;

    printf("KSM       %s; %llu full scans", s->run < ARRAY_SIZE(runs) ? runs[s->run] : "in an unknown state", (unsigned long long)s->full_scans);
    if (s->run == 1) printf(", at most %s a second", host_size(d, (uint64_t)(a_second * KSM_PAGE_BYTES)));
    putchar('\n');
    line_print(d, "shared", s->shared, "kept once for several owners");
    line_print(d, "sharing", s->sharing, "saved: would be copies without KSM");
    line_print(d, "unshared", s->unshared, "looked at, have no equal");
    line_print(d, "volatile", s->volatile_pages, "change too often to be shared");
    if (s->zero_pages) line_print(d, "zero", s->zero_pages, "saved too: all zero, nothing is kept");
    ratio_print(s);
    machines_print(d, s);
}

void ksm_state_json(const struct ksm_state *s)
{
    printf("{ \"run\": %llu, \"pages_shared\": %llu, \"pages_sharing\": %llu, \"pages_unshared\": %llu, \"pages_volatile\": %llu, ", (unsigned long long)s->run,
           (unsigned long long)s->shared, (unsigned long long)s->sharing, (unsigned long long)s->unshared, (unsigned long long)s->volatile_pages);
    printf("\"zero_pages\": %llu, \"full_scans\": %llu, \"pages_to_scan\": %llu, \"sleep_millisecs\": %llu, \"saved_bytes\": %llu, \"machines\": [",
           (unsigned long long)s->zero_pages, (unsigned long long)s->full_scans, (unsigned long long)s->pages_to_scan, (unsigned long long)s->sleep_ms,
           (unsigned long long)((s->sharing + s->zero_pages) * KSM_PAGE_BYTES));
    for (unsigned i = 0; i < s->machines; i++) {
        printf("%s { \"pid\": %u, \"name\": ", i ? "," : "", s->machine[i].pid);
        json_text_print(stdout, *s->machine[i].name ? s->machine[i].name : NULL);
        printf(", \"merging_pages\": %llu, \"profit_bytes\": ", (unsigned long long)s->machine[i].merging);
        if (s->machine[i].has_profit) printf("%lld }", (long long)s->machine[i].profit_bytes);
        else printf("null }");
    }
    printf(" ] }\n");
}
