/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Memory: what there is, what the kernel and this process's limits allow, page sharing, huge pages. proc(5), sysctl/vm.rst. */
#include <stdlib.h>
#include <string.h>

#include "base/bits.h"
#include "tool/doctor_private.h"

#define MIB (1ull << 20)
#define KSM "/sys/kernel/mm/ksm/"
enum { MAPS_LEAST = 16384, FILES_LEAST = 1024, DEFAULT_GUEST_MIB = 128 };

void doctor_ksm(struct doctor *d)
{
    uint64_t run = 0, sharing = 0;

    if (!host_number(d, &run, KSM "run")) {
        doctor_found(d, FINDING_MISSING, "ksm", NULL, "this kernel has no KSM (CONFIG_KSM): equal pages of guests are kept once each");
        return;
    }
    host_number(d, &sharing, KSM "pages_sharing");
    if (run == 1) doctor_found(d, FINDING_OK, "ksm", NULL, "on; it saves %s now", host_size(d, sharing * 4096));
    else doctor_found(d, FINDING_WARNING, "ksm", "ospite ksm on", "off: guests with equal memory keep it once each");
}

/* The word in brackets is the one that holds. */
static const char *thp_mode(struct doctor *d)
{
    const char *text = host_read(d, "/sys/kernel/mm/transparent_hugepage/enabled"), *open = text ? strchr(text, '[') : NULL;

    return open ? arena_copy(d->arena, open + 1, strcspn(open + 1, "]")) : NULL;
}

void doctor_huge_pages(struct doctor *d)
{
    const char *mode = thp_mode(d), *info = host_read(d, "/proc/meminfo"), *total = info ? host_field(d, info, "HugePages_Total") : NULL;
    const char *free = info ? host_field(d, info, "HugePages_Free") : NULL;

    if (!mode) doctor_found(d, FINDING_MISSING, "huge-pages", NULL, "this kernel has no transparent huge pages: guests' memory is slower to reach");
    else if (!strcmp(mode, "never"))
        doctor_found(d, FINDING_WARNING, "huge-pages", "echo madvise > /sys/kernel/mm/transparent_hugepage/enabled",
                     "transparent huge pages are off: guests' memory is slower to reach");
    else doctor_found(d, FINDING_OK, "huge-pages", NULL, "transparent ones: %s", mode);
    if (!total || !free) return;
    if (!strcmp(total, "0"))
        doctor_found(d, FINDING_MISSING, "hugetlbfs", "sysctl vm.nr_hugepages=512; then -mem-path /dev/hugepages", "no huge pages are set aside; needed only for -mem-path on hugetlbfs");
    else doctor_found(d, FINDING_OK, "hugetlbfs", NULL, "%s of %s huge pages are free", free, total);
}

static uint64_t meminfo_bytes(struct doctor *d, const char *key)
{
    const char *info = host_read(d, "/proc/meminfo"), *v = info ? host_field(d, info, key) : NULL;

    return v ? strtoull(v, NULL, 10) * 1024 : 0;
}

void doctor_memory(struct doctor *d)
{
    uint64_t total = meminfo_bytes(d, "MemTotal"), available = meminfo_bytes(d, "MemAvailable");
    bool little = available < DEFAULT_GUEST_MIB * MIB;

    if (total)
        doctor_found(d, little ? FINDING_WARNING : FINDING_OK, "memory", little ? "end other programs, or give guests less: -m 64" : NULL,
                     "%s of %s are free for guests%s", host_size(d, available), host_size(d, total), little ? ", less than the 128 MiB a guest gets without -m" : "");
}

void doctor_overcommit(struct doctor *d)
{
    uint64_t mode = 0, limit = meminfo_bytes(d, "CommitLimit"), used = meminfo_bytes(d, "Committed_AS");

    if (!host_number(d, &mode, "/proc/sys/vm/overcommit_memory")) return;
    if (mode != 2)
        doctor_found(d, FINDING_OK, "overcommit", NULL, "%s: guests cost only what they touch", mode ? "without limit" : "as usual");
    else
        doctor_found(d, FINDING_WARNING, "overcommit", "sysctl vm.overcommit_memory=0",
                     "strict: all of a guest's memory is set aside when it starts, and %s are left", host_size(d, limit > used ? limit - used : 0));
}

static void memlock(struct doctor *d)
{
    uint64_t limit = host_limit(d, "Max locked memory");

    if (limit == UINT64_MAX) doctor_found(d, FINDING_OK, "memlock", NULL, "no limit to locked memory (ulimit -l)");
    else
        doctor_found(d, limit < 64 * 1024 ? FINDING_WARNING : FINDING_OK, "memlock",
                     limit < 64 * 1024 ? arena_format(d->arena, "echo '%s - memlock unlimited' >> /etc/security/limits.conf, then log in again", host_user(d)) : NULL,
                     "%s may be locked (ulimit -l); more is needed only for -overcommit mem-lock=on", host_size(d, limit));
}

static void io_uring(struct doctor *d)
{
    uint64_t off = 0;

    if (host_number(d, &off, "/proc/sys/kernel/io_uring_disabled") && off)
        doctor_found(d, FINDING_WARNING, "io_uring", "sysctl kernel.io_uring_disabled=0", "switched off%s: disks use threads, somewhat slower",
                     off == 1 ? " for all but a group" : "");
}

void doctor_limits(struct doctor *d)
{
    uint64_t maps = 0, space = host_limit(d, "Max address space"), files = host_limit(d, "Max open files");

    if (host_number(d, &maps, "/proc/sys/vm/max_map_count")) {
        bool few = maps < MAPS_LEAST;

        doctor_found(d, few ? FINDING_WARNING : FINDING_OK, "maps", few ? "sysctl vm.max_map_count=65530" : NULL, "a process may have %llu memory mappings%s",
                     (unsigned long long)maps, few ? ": too few for a large guest" : "");
    }
    memlock(d);
    if (space != UINT64_MAX)
        doctor_found(d, FINDING_WARNING, "address-space", "ulimit -v unlimited", "limited to %s (ulimit -v): guests larger than about half of it do not start",
                     host_size(d, space));
    if (files < FILES_LEAST)
        doctor_found(d, FINDING_WARNING, "open-files", "ulimit -n 1024", "%llu (ulimit -n): too few for many disks and connections", (unsigned long long)files);
    io_uring(d);
}
