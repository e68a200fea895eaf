/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Reads and writes through the map: bulk transfers of devices and loaders, and single register accesses of CPUs.
 *
 * An access is cut where ranges end. Inside a device's range it is cut again into what the device takes: aligned
 * pieces of a power of two, not wider than its max_size; what is narrower than min_size is widened to it.
 *
 * DMA sees memory alone. A guest that sends one device's DMA into the registers of another, or its own, would have that device work
 * in the midst of what the first is doing, and so without end.
 */
#include <string.h>

#include "base/bits.h"
#include "memory/map_private.h"

/* One access a device takes: size and offset fit its ops. */
static uint64_t device_read(const struct flat_range *r, uint64_t offset, unsigned size)
{
    unsigned least = r->ops->min_size ? r->ops->min_size : 1;
    uint64_t value;

    if (!r->ops->read) return UINT64_MAX;
    if (size >= least) return r->ops->read(r->opaque, offset, size);
    value = r->ops->read(r->opaque, offset & ~(uint64_t)(least - 1), least);
    return value >> 8 * (offset & (least - 1));
}

static void device_write(const struct flat_range *r, uint64_t offset, uint64_t value, unsigned size)
{
    unsigned least = r->ops->min_size ? r->ops->min_size : 1;

    if (!r->ops->write) return;
    if (size >= least) r->ops->write(r->opaque, offset, value, size);
    else r->ops->write(r->opaque, offset & ~(uint64_t)(least - 1), value << 8 * (offset & (least - 1)), least);
}

/* The widest piece of an access of left bytes at offset that the device takes in one go. A device that takes
 * unaligned accesses is not known here: a piece is aligned unless the whole access is one the device can take. */
static unsigned piece_size(const struct io_ops *ops, uint64_t offset, unsigned left)
{
    unsigned most = ops->max_size ? ops->max_size : 8, size = 1;

    if (left <= most && (left & (left - 1)) == 0) return left;
    while (size * 2 <= left && size * 2 <= most && !(offset & (size * 2 - 1))) size *= 2;
    return size;
}

static void range_read(const struct flat_range *r, gpa_t address, uint8_t *data, size_t size)
{
    uint64_t offset = r->offset + (address - r->start);

    if (r->kind == RANGE_NONE) {
        memset(data, 0xff, size);
        return;
    }
    if (r->kind != RANGE_IO) {
        memcpy(data, r->hva + (address - r->start), size);
        return;
    }
    while (size) {
        unsigned n = piece_size(r->ops, offset, size > 8 ? 8 : (unsigned)size);
        uint64_t value = device_read(r, offset, n);
        memcpy(data, &value, n);
        data += n;
        offset += n;
        size -= n;
    }
}

/* A driver answers what it finds in memory at once: it gives a descriptor that is marked done to the device again. So no byte may be stored a second
 * time, as memcpy does it with small sizes (from both ends, over each other), and words go out whole and in order. */
static void ram_write(uint8_t *to, const uint8_t *from, size_t size)
{
    typedef uint64_t __attribute__((aligned(1), may_alias)) word8;
    typedef uint32_t __attribute__((aligned(1), may_alias)) word4;
    typedef uint16_t __attribute__((aligned(1), may_alias)) word2;
    enum { SMALL = 64 };

    if (size > SMALL) {
        memcpy(to, from, size);
        return;
    }
    for (; size >= 8; size -= 8, to += 8, from += 8) *(volatile word8 *)to = *(const word8 *)from;
    if (size & 4) *(volatile word4 *)to = *(const word4 *)from, to += 4, from += 4;
    if (size & 2) *(volatile word2 *)to = *(const word2 *)from, to += 2, from += 2;
    if (size & 1) *(volatile uint8_t *)to = *from;
}

static void range_write(struct memory_map *m, const struct flat_range *r, gpa_t address, const uint8_t *data,
                        size_t size)
{
    uint64_t offset = r->offset + (address - r->start);

    if (r->kind == RANGE_RAM) {
        ram_write(r->hva + (address - r->start), data, size);
        memory_written(m, address, size);
        return;
    }
    if (!r->ops) return;                               /* ROM, or nothing */
    while (size) {
        unsigned n = piece_size(r->ops, offset, size > 8 ? 8 : (unsigned)size);
        uint64_t value = 0;
        memcpy(&value, data, n);
        device_write(r, offset, value, n);
        data += n;
        offset += n;
        size -= n;
    }
}

/* How much of size bytes at address lies in r. The last byte of the address space is in no range: it counts as one. */
static size_t extent(const struct flat_range *r, gpa_t address, size_t size)
{
    uint64_t here = MAX(r->start + r->size - address, 1u);

    return here < size ? here : size;
}

static struct flat_range find(struct memory_map *m, gpa_t address, bool is_dma)
{
    struct flat_range r = memory_map_find(m, address);

    if (!is_dma || !r.ops || r.ops->is_memory) return r;
    r.ops = NULL;
    if (r.kind == RANGE_IO) r.kind = RANGE_NONE;
    return r;
}

static bool read_any(struct memory_map *m, gpa_t address, uint8_t *to, size_t size, bool is_dma)
{
    bool all = true;

    while (size) {
        struct flat_range r = find(m, address, is_dma);
        size_t n = extent(&r, address, size);
        all &= r.kind != RANGE_NONE;
        range_read(&r, address, to, n);
        to += n;
        address += n;
        size -= n;
        if (!address && size) {                        /* past the end there is nothing, and no way round to 0 */
            memset(to, 0xff, size);
            return false;
        }
    }
    return all;
}

static bool write_any(struct memory_map *m, gpa_t address, const uint8_t *from, size_t size, bool is_dma)
{
    bool all = true;

    while (size) {
        struct flat_range r = find(m, address, is_dma);
        size_t n = extent(&r, address, size);
        all &= r.kind != RANGE_NONE;
        range_write(m, &r, address, from, n);
        from += n;
        address += n;
        size -= n;
        if (!address && size) return false;            /* past the end: see read_any */
    }
    return all;
}

bool memory_read(struct memory_map *m, gpa_t address, void *data, size_t size) { return read_any(m, address, data, size, false); }
bool memory_write(struct memory_map *m, gpa_t address, const void *data, size_t size) { return write_any(m, address, data, size, false); }
bool memory_dma_read(struct memory_map *m, gpa_t address, void *data, size_t size) { return read_any(m, address, data, size, true); }
bool memory_dma_write(struct memory_map *m, gpa_t address, const void *data, size_t size) { return write_any(m, address, data, size, true); }

uint64_t memory_io_read(struct memory_map *m, gpa_t address, unsigned size)
{
    uint64_t value = 0;

    memory_read(m, address, &value, size);
    return value;
}

void memory_io_write(struct memory_map *m, gpa_t address, uint64_t value, unsigned size)
{
    memory_write(m, address, &value, size);
}
