/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Sleeping on a word of memory, within this process: futex(2). */
#ifndef BASE_FUTEX_H
#define BASE_FUTEX_H

#include <linux/futex.h>
#include <stddef.h>
#include <sys/syscall.h>
#include <unistd.h>

/* Returns when it is woken, at once if the word has another value, and sometimes without a reason. */
static inline void futex_wait(int *word, int value) { syscall(SYS_futex, word, FUTEX_WAIT_PRIVATE, value, NULL, NULL, 0); }
/* The word itself is not looked at: it may be gone. */
static inline void futex_wake(int *word, int count) { syscall(SYS_futex, word, FUTEX_WAKE_PRIVATE, count, NULL, NULL, 0); }

#endif
