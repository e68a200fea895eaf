/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Sets of descriptors that somebody has handed over (-add-fd, add-fd of QMP): the name /dev/fdset/N means the one of set N whose access
 * is what is wanted, or else one that can do more. Like the loop, they belong to the process. Main thread.
 */
#ifndef BASE_FDSET_H
#define BASE_FDSET_H

#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

struct error;

/* As open(2), but for names of sets: a duplicate then, which shares offset and flags with what was handed over, and nothing is truncated.
 * -1 with errno; EACCES: the set has none of this access. From any thread while sets stay as they are. */
int fdset_open(const char *path, int flags, mode_t mode);

/* Takes fd, also when it fails; set < 0: the first free number. The set's number, or -1 with *err. */
int64_t fdset_add(int64_t set, int fd, const char *text, struct error *err);
/* Closes one of a set (fd < 0: all of it). Duplicates that are open stay. -1 with *err: there is none. */
int fdset_remove(int64_t set, int64_t fd, struct error *err);
/* All, by set. */
void fdset_list(void (*fn)(void *opaque, int64_t set, int fd, const char *text), void *opaque);

#endif
