/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Guest RAM: anonymous memory by default, mergeable by KSM or mapped twice by the bt engine, huge-page hints, not dumped into core files; or from a file or memfd. */
#ifndef MEMORY_RAM_H
#define MEMORY_RAM_H

#include <stdbool.h>
#include <stdint.h>

struct error;
struct ram_block {
    void *hva;
    uint64_t size_bytes;
    bool shared;                       /* it can be mapped again elsewhere; giving pages back takes MADV_REMOVE */
    bool discards;                     /* a file's contents are of no use when the guest has ended */
    bool wants_collapse;               /* the kernel gives it no huge pages by itself; MADV_COLLAPSE may */
};

enum ram_kind { RAM_ANONYMOUS, RAM_MEMFD, RAM_FILE };
struct ram_config {
    enum ram_kind kind;
    const char *id;                    /* for messages and as the memfd's name; NULL: none */
    const char *path;                  /* RAM_FILE: a file, or a directory for a file without a name */
    uint64_t size_bytes;
    uint64_t huge_page_bytes;          /* RAM_MEMFD with hugetlb: 0 is the host's default */
    bool hugetlb, unsealed;            /* RAM_MEMFD */
    bool share;                        /* writes reach the file, or who else maps the memory */
    bool mergeable, dump, no_reserve;
    bool discard;                      /* RAM_FILE with share: the file is emptied at the end */
    bool merge_asked;                  /* the user wants merging, whatever the host does at the moment */
    bool shareable;                    /* share it too if that costs nothing: unless it is to be merged */
    bool prealloc, lock;               /* have all of it from the start; and keep it from being swapped */
};

/* 0, or -1 with *err when the host cannot give that. */
int ram_create(struct ram_block *ram, const struct ram_config *config, struct error *err);
/* Private memory without further wishes. */
int ram_allocate(struct ram_block *ram, uint64_t size_bytes, bool mergeable, struct error *err);
void ram_free(struct ram_block *ram);

#endif
