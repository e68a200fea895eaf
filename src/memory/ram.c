/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Guest RAM from the kernel: reserved lazily, so that a large guest costs only what it touches (mmap(2), madvise(2)); files behind it
 * come from ram_file.c. What the host cannot give is said before the guest starts: a file system that is full, or huge pages that are
 * used up, would otherwise end the process by a signal in the middle of the guest's life.
 */
#include "memory/ram.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <sys/sysinfo.h>
#include <unistd.h>

#include "base/error.h"
#include "memory/ram_private.h"

#ifndef MADV_POPULATE_WRITE
#define MADV_POPULATE_WRITE 23
#endif
#ifndef MADV_COLLAPSE
#define MADV_COLLAPSE 25               /* Linux 6.1 */
#endif
enum { HUGE_PAGE = 2 << 20 };

static unsigned long long mib(uint64_t bytes) { return bytes >> 20; }

/* What the host has in RAM and swap: where overcommit is unlimited mmap would promise anything. */
static uint64_t host_memory_bytes(void)
{
    struct sysinfo info;

    if (sysinfo(&info) < 0) return UINT64_MAX;
    return ((uint64_t)info.totalram + info.totalswap) * info.mem_unit;
}

/* What could be had now without pushing programs out; UINT64_MAX: not known. */
static uint64_t host_available_bytes(void)
{
    FILE *f = fopen("/proc/meminfo", "re");
    unsigned long long kib = UINT64_MAX >> 10;
    char line[128];

    while (f && fgets(line, sizeof(line), f))
        if (sscanf(line, "MemAvailable: %llu", &kib) == 1) break;
    if (f) fclose(f);
    return kib << 10;
}

static bool ksm_is_on(void)
{
    int fd = open("/sys/kernel/mm/ksm/run", O_RDONLY | O_CLOEXEC);
    char c = 0;
    bool on = fd >= 0 && read(fd, &c, 1) == 1 && c == '1';

    if (fd >= 0) close(fd);
    return on;
}

static int map_failed(const struct ram_config *c, const struct ram_file *file, int why, struct error *err)
{
    if (file->page_bytes <= 4096)
        return error_set(err, "cannot get %llu MiB of memory for the guest: %s; use a smaller -m", mib(c->size_bytes), strerror(why));
    return error_set(err, "cannot get %llu MiB of memory in huge pages of %llu KiB: %s; set more aside ('sysctl vm.nr_hugepages=%llu') or use a smaller -m",
                     mib(c->size_bytes), (unsigned long long)(file->page_bytes >> 10), strerror(why), (unsigned long long)(c->size_bytes / file->page_bytes));
}

/* Addresses are reserved first, so that memory starts on a huge page, which the kernel can then use, and a file at its beginning. */
static int memory_map_try(struct ram_block *ram, const struct ram_config *c, const struct ram_file *file, struct error *err)
{
    int flags = (ram->shared ? MAP_SHARED : MAP_PRIVATE) | (file->fd < 0 ? MAP_ANONYMOUS : 0) | (c->no_reserve ? MAP_NORESERVE : 0);
    size_t align = file->page_bytes > HUGE_PAGE ? file->page_bytes : HUGE_PAGE, slack = c->size_bytes >= align || file->page_bytes > 4096 ? align : 0, head;
    uint8_t *whole = mmap(NULL, c->size_bytes + slack, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);

    if (whole == MAP_FAILED) return map_failed(c, file, errno, err);
    head = slack ? -(uintptr_t)whole & (align - 1) : 0;
    ram->hva = whole + head;
    ram->size_bytes = c->size_bytes;
    if (mmap(ram->hva, c->size_bytes, PROT_READ | PROT_WRITE, flags | MAP_FIXED, file->fd, 0) == MAP_FAILED) {
        int why = errno;

        munmap(whole, c->size_bytes + slack);
        *ram = (struct ram_block){ 0 };
        return map_failed(c, file, why, err);
    }
    if (head) munmap(whole, head);
    if (slack - head) munmap(whole + head + c->size_bytes, slack - head);
    return 0;
}

/* A kernel without one of them loses nothing but the saving. */
static void hints_give(const struct ram_block *ram, const struct ram_config *c)
{
    bool mergeable = c->mergeable && !ram->shared;               /* KSM merges private memory only */

    if (!c->dump) madvise(ram->hva, ram->size_bytes, MADV_DONTDUMP);
    if (mergeable) madvise(ram->hva, ram->size_bytes, MADV_MERGEABLE);
    /* Where KSM works it would only take huge pages apart again, having scanned what the guest never touched. */
    if (!mergeable || !ksm_is_on()) madvise(ram->hva, ram->size_bytes, MADV_HUGEPAGE);
}

static int preallocate(const struct ram_block *ram, const struct ram_config *c, const struct ram_file *file, struct error *err)
{
    uint64_t available = host_available_bytes();

    if (file->page_bytes <= 4096 && ram->size_bytes > available)
        return error_set(err, "cannot have %llu MiB of memory at once: %llu MiB are free; use a smaller -m, or leave out prealloc", mib(ram->size_bytes), mib(available));
    bool populated = madvise(ram->hva, ram->size_bytes, MADV_POPULATE_WRITE) == 0;
    /* Which takes pages out of the page table for a moment. */
    if (populated && ram->shared && !c->share && madvise(ram->hva, ram->size_bytes, MADV_COLLAPSE) == 0)
        populated = madvise(ram->hva, ram->size_bytes, MADV_POPULATE_WRITE) == 0;
    if (populated) return 0;
    if (errno != EINVAL || file->fd >= 0)
        return error_set(err, "cannot have %llu MiB of memory at once: %s; use a smaller -m, or leave out prealloc", mib(ram->size_bytes), strerror(errno));
    for (uint64_t at = 0; at < ram->size_bytes; at += 4096) ((volatile uint8_t *)ram->hva)[at] = 0;     /* kernels of before 5.14 */
    return 0;
}

int ram_create(struct ram_block *ram, const struct ram_config *c, struct error *err)
{
    struct ram_file file = { .fd = -1, .page_bytes = 4096 };
    uint64_t host = host_memory_bytes();
    int result = -1;

    *ram = (struct ram_block){ .shared = c->share || (c->shareable && !(c->mergeable && (c->merge_asked || ksm_is_on()))) };
    if (c->size_bytes > host)
        return error_set(err, "cannot give the guest %llu MiB of memory: this machine has %llu MiB with swap; use a smaller -m", mib(c->size_bytes), mib(host));
    if (c->kind != RAM_ANONYMOUS && ram_file_open(&file, c, err) < 0) return -1;
    if (memory_map_try(ram, c, &file, err) == 0) {
        hints_give(ram, c);
        ram->wants_collapse = ram->shared && !c->share && !c->prealloc && !c->lock;
        if (c->prealloc && preallocate(ram, c, &file, err) < 0) goto out;
        /* Not mlock(): the address sanitizer makes that do nothing. */
        if (c->lock && syscall(SYS_mlock, ram->hva, ram->size_bytes) < 0) {
            error_set(err, "cannot lock %llu MiB of memory: %s; raise the limit ('ulimit -l unlimited' as root) or leave out -overcommit mem-lock=on",
                      mib(ram->size_bytes), strerror(errno));
            goto out;
        }
        ram->discards = c->discard && c->share;
        result = 0;
    }
out:
    if (file.fd >= 0) close(file.fd);
    if (result < 0) ram_free(ram);
    return result;
}

int ram_allocate(struct ram_block *ram, uint64_t size_bytes, bool mergeable, struct error *err)
{
    const struct ram_config c = { .kind = RAM_ANONYMOUS, .size_bytes = size_bytes, .mergeable = mergeable };

    return ram_create(ram, &c, err);
}

void ram_free(struct ram_block *ram)
{
    if (ram->hva && ram->discards) madvise(ram->hva, ram->size_bytes, MADV_REMOVE);
    if (ram->hva) munmap(ram->hva, ram->size_bytes);
    ram->hva = NULL;
    ram->size_bytes = 0;
}
