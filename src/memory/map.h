/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * An address space of the machine: ranges of RAM, ROM and device registers, for guest-physical memory and for
 * I/O ports alike. Ranges may overlap; the one of higher priority is seen (ROM over RAM, a BAR over both).
 *
 * Changes (adding, removing, enabling a range) happen under the machine lock and build a new flat view, a sorted
 * array without overlaps, which is swapped in atomically: readers (vCPU threads, disk threads) take no lock.
 * Old views are kept until the map is destroyed or the last reader has let go (see map_view_enter).
 */
#ifndef MEMORY_MAP_H
#define MEMORY_MAP_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

typedef uint64_t gpa_t;   /* guest-physical address */
typedef uint64_t gva_t;   /* guest-virtual (linear) address */

/* Device registers. offset is from the start of the range; size is 1, 2, 4 or 8 as long as it lies within
 * min_size..max_size: wider accesses are split, narrower ones widened (read) by the map. Called with the machine
 * lock held. A read returns the value in the low size bytes. */
struct io_ops {
    uint64_t (*read)(void *opaque, uint64_t offset, unsigned size);
    void (*write)(void *opaque, uint64_t offset, uint64_t value, unsigned size);
    uint8_t min_size, max_size;      /* 0: 1 and 8 */
    bool is_memory;                  /* behind them is a device's memory and nothing that acts: DMA may come here */
};

enum range_kind { RANGE_RAM, RANGE_ROM, RANGE_IO, RANGE_NONE };

/* One piece of the flat view. */
struct flat_range {
    gpa_t start, size;
    enum range_kind kind;
    uint8_t *hva;                    /* RAM, ROM: host address of start */
    const struct io_ops *ops;        /* IO (ROM may have ops too: flash) */
    void *opaque;
    uint64_t offset;                 /* of start within the device's range */
};

struct memory_map;
struct memory_range;                 /* handle of an added range */

/* limit: number of addresses (65536 for ports, 1 << 52 for memory). */
struct memory_map *memory_map_new(const char *name, uint64_t limit);
void memory_map_free(struct memory_map *m);

/* name must stay valid (for 'info mtree'). priority: RAM 0, ROM 1, devices 2 and up by custom. */
struct memory_range *memory_map_add_ram(struct memory_map *m, const char *name, gpa_t start, uint64_t size,
                                        void *hva, bool readonly, int priority);
struct memory_range *memory_map_add_io(struct memory_map *m, const char *name, gpa_t start, uint64_t size,
                                       const struct io_ops *ops, void *opaque, int priority);
/* A flash chip: read and run as memory, written through ops; with registers set, read through ops as well. */
struct memory_range *memory_map_add_flash(struct memory_map *m, const char *name, gpa_t start, uint64_t size, void *hva,
                                          const struct io_ops *ops, void *opaque, int priority);
void memory_range_set_registers(struct memory_range *r, bool registers);
void memory_range_enable(struct memory_range *r, bool enabled);
void memory_range_move(struct memory_range *r, gpa_t start);
/* RAM is now this one, of the range's size. */
void memory_range_set_ram(struct memory_range *r, void *hva);
void memory_range_set_readonly(struct memory_range *r, bool readonly);  /* RAM <-> ROM: PAM registers */
void memory_range_remove(struct memory_range *r);
/* Between begin and end changes are collected and become visible at once. Nests. */
void memory_map_begin(struct memory_map *m);
void memory_map_end(struct memory_map *m);

/* Called after every change of the flat view, with the machine lock held (KVM slots, softmmu flush). */
typedef void memory_listener_fn(void *opaque, const struct flat_range *ranges, size_t count);
void memory_map_listen(struct memory_map *m, memory_listener_fn *fn, void *opaque);
/* Forgets the listeners with this argument. Not from within one. */
void memory_map_unlisten(struct memory_map *m, void *opaque);

/* Doorbells (doorbell.c): a write of size bytes (0: any) of value (-1: any) to offset of a range of registers may be counted in the eventfd by
 * whoever runs the guest, in place of a call of ops->write. fd must stay open until the doorbell is removed; with the range all of its own go. */
void memory_doorbell_add(struct memory_range *r, uint64_t offset, unsigned size, int64_t value, int fd);
void memory_doorbell_remove(struct memory_range *r, int fd);
/* Does anybody look at them? */
bool memory_range_may_ring(const struct memory_range *r);
/* An engine, the only one that listens: all that are seen in the map now. */
struct memory_bell { gpa_t address; int fd; int64_t value; unsigned size; };
typedef void memory_doorbells_fn(void *opaque, const struct memory_bell *bells, size_t count);
void memory_map_listen_doorbells(struct memory_map *m, memory_doorbells_fn *fn, void *opaque);

/* The range that holds address; kind RANGE_NONE (with the extent of the hole) where nothing is. Any thread. The
 * result is a copy and stays meaningful until the next change. */
struct flat_range memory_map_find(struct memory_map *m, gpa_t address);

/* Guest memory access by loaders and for the user; crosses ranges, calls device registers, needs the machine lock when
 * it may reach them. false if part of it hit nothing (reads give 0xff there). Writes to ROM are dropped.
 * Writes to RAM are reported to dirty/SMC listeners. */
bool memory_read(struct memory_map *m, gpa_t address, void *data, size_t size);
bool memory_write(struct memory_map *m, gpa_t address, const void *data, size_t size);
/* The same by devices, which reach memory alone: registers count as nothing, but for those that are marked is_memory. */
bool memory_dma_read(struct memory_map *m, gpa_t address, void *data, size_t size);
bool memory_dma_write(struct memory_map *m, gpa_t address, const void *data, size_t size);
/* One register access of 1, 2, 4 or 8 bytes, as a CPU does it. */
uint64_t memory_io_read(struct memory_map *m, gpa_t address, unsigned size);
void memory_io_write(struct memory_map *m, gpa_t address, uint64_t value, unsigned size);
/* Host pointer to size bytes of RAM at address, or NULL if not all RAM. After writing through it call
 * memory_written. */
void *memory_ram_pointer(struct memory_map *m, gpa_t address, size_t size);
void memory_written(struct memory_map *m, gpa_t address, size_t size);
/* RAM was written by somebody other than a vCPU (devices, loaders, gdb): the bt engine drops translations. */
typedef void memory_written_fn(void *opaque, gpa_t address, size_t size);
void memory_map_listen_written(struct memory_map *m, memory_written_fn *fn, void *opaque);
/* Does anybody want to know? */
bool memory_map_tells_written(const struct memory_map *m);

typedef void memory_print_fn(void *opaque, const char *line);
void memory_map_print(struct memory_map *m, memory_print_fn *fn, void *opaque);   /* 'info mtree' */

#endif
