/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Pages of their own for keys and passphrases. See memory.h. */
#include "block/crypt/memory.h"

#include <string.h>
#include <sys/mman.h>

void *crypt_memory_new(size_t bytes)
{
    void *p = mmap(NULL, bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (p == MAP_FAILED)
        return NULL;
    madvise(p, bytes, MADV_DONTDUMP);
    (void)!mlock(p, bytes);         /* RLIMIT_MEMLOCK may forbid it: then it can be swapped out like all else */
    return p;
}

void crypt_memory_free(void *memory, size_t bytes)
{
    if (!memory)
        return;
    explicit_bzero(memory, bytes);
    munmap(memory, bytes);
}
