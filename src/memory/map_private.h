/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Inside of the memory map: ranges, the flat view, listeners. */
#ifndef MEMORY_MAP_PRIVATE_H
#define MEMORY_MAP_PRIVATE_H

#include "memory/map.h"

enum { MAP_STRIPES = 8, MAP_LISTENERS = 8 };

struct memory_range {
    struct memory_range *next;
    struct memory_map *map;
    const char *name;
    gpa_t start;
    uint64_t size, wanted;           /* visible below the map's limit; as added */
    uint8_t *hva;                    /* NULL: device registers */
    const struct io_ops *ops;
    void *opaque;
    int priority;
    unsigned serial;                 /* order of adding */
    bool enabled, readonly, registers;
};

struct map_view {
    struct map_view *next;           /* when retired */
    size_t count;
    const struct memory_range **owner;
    struct flat_range range[];       /* sorted, without overlap */
};

struct memory_doorbell { struct memory_range *range; uint64_t offset; int64_t value; unsigned size; int fd; };
struct doorbell_listener { memory_doorbells_fn *fn; void *opaque; };
struct map_listener { memory_listener_fn *fn; void *opaque; };
struct written_listener { memory_written_fn *fn; void *opaque; };

struct memory_map {
    const char *name;
    uint64_t limit;
    struct memory_range *ranges;
    struct map_view *_Atomic view;
    struct map_view *retired;
    struct { _Alignas(64) _Atomic unsigned readers; } stripe[MAP_STRIPES];
    struct map_listener *listener;
    struct written_listener written_listener[MAP_LISTENERS];
    struct memory_doorbell *doorbell;
    struct doorbell_listener doorbell_listener;  /* an engine; fn NULL: nobody */
    unsigned doorbells, listeners, written_listeners, depth, next_serial;
    bool pending;
};

/* doorbell.c: the view or the list has changed. */
void map_doorbells_tell(struct memory_map *m);

#endif
