/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Guest RAM from the kernel: reserved lazily, so that a large guest costs only what it touches (mmap(2), madvise(2)). */
#include "memory/ram.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/sysinfo.h>
#include <unistd.h>

#include "base/error.h"

/* What the host has in RAM and swap: where overcommit is unlimited mmap would promise anything. */
static uint64_t host_memory_bytes(void)
{
    struct sysinfo info;

    if (sysinfo(&info) < 0) return UINT64_MAX;
    return ((uint64_t)info.totalram + info.totalswap) * info.mem_unit;
}

static bool ksm_is_on(void)
{
    int fd = open("/sys/kernel/mm/ksm/run", O_RDONLY | O_CLOEXEC);
    char c = 0;
    bool on = fd >= 0 && read(fd, &c, 1) == 1 && c == '1';

    if (fd >= 0) close(fd);
    return on;
}

int ram_allocate(struct ram_block *ram, uint64_t size_bytes, bool mergeable, struct error *err)
{
    enum { HUGE_PAGE = 2 << 20 };
    size_t slack = size_bytes >= HUGE_PAGE ? HUGE_PAGE : 0;
    uint64_t host = host_memory_bytes();
    uint8_t *whole;
    size_t head;

    if (size_bytes > host)
        return error_set(err, "cannot give the guest %llu MiB of memory: this machine has %llu MiB with swap; use a "
                         "smaller -m", (unsigned long long)(size_bytes >> 20), (unsigned long long)(host >> 20));
    whole = mmap(NULL, size_bytes + slack, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS,
                 -1, 0);
    if (whole == MAP_FAILED)
        return error_set(err, "cannot get %llu MiB of memory for the guest: %s; use a smaller -m",
                         (unsigned long long)(size_bytes >> 20), strerror(errno));
    head = slack ? -(uintptr_t)whole & (HUGE_PAGE - 1) : 0;      /* start on a huge page: the kernel can then use them */
    if (head) munmap(whole, head);
    if (slack - head) munmap(whole + head + size_bytes, slack - head);
    ram->hva = whole + head;
    ram->size_bytes = size_bytes;
    /* Hints: a kernel without one of them loses nothing but the saving. */
    madvise(ram->hva, size_bytes, MADV_DONTDUMP);
    if (mergeable) madvise(ram->hva, size_bytes, MADV_MERGEABLE);
    /* Where KSM works it would only take huge pages apart again, having scanned what the guest never touched. */
    if (!mergeable || !ksm_is_on()) madvise(ram->hva, size_bytes, MADV_HUGEPAGE);
    return 0;
}

void ram_free(struct ram_block *ram)
{
    if (ram->hva) munmap(ram->hva, ram->size_bytes);
    ram->hva = NULL;
    ram->size_bytes = 0;
}
