/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Memory for keys and passphrases: not in core dumps, not swapped out where the host allows that, wiped when freed. */
#ifndef BLOCK_CRYPT_MEMORY_H
#define BLOCK_CRYPT_MEMORY_H

#include <stddef.h>

/* Zeroed, aligned to a page; NULL: out of memory. */
void *crypt_memory_new(size_t bytes);
void crypt_memory_free(void *memory, size_t bytes);

#endif
