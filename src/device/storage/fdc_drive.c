/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Floppy drives and disks: what format an image is by its size, and the disk change line. An image of an odd size is taken for
 * a 3.5-inch disk of 1440 KiB or the smallest of more that holds it; what lies behind its end reads as zeros and cannot be written.
 */
#include "base/bits.h"
#include "base/error.h"
#include "block/block.h"
#include "device/storage/fdc_private.h"

enum { RATE_500K = 0, RATE_300K, RATE_250K, RATE_1M };

/* 360K disks turn faster in a 1.2M drive, where their rate is 300K. */
static const struct fdc_geometry geometries[] = {
    { 160, 40, 1, 8, RATE_250K, FDC_360K },    { 180, 40, 1, 9, RATE_250K, FDC_360K },    { 320, 40, 2, 8, RATE_250K, FDC_360K },
    { 360, 40, 2, 9, RATE_250K, FDC_360K },    { 720, 80, 2, 9, RATE_250K, FDC_720K },    { 800, 80, 2, 10, RATE_250K, FDC_720K },
    { 1200, 80, 2, 15, RATE_500K, FDC_1200K }, { 1440, 80, 2, 18, RATE_500K, FDC_1440K }, { 1600, 80, 2, 20, RATE_500K, FDC_1440K },
    { 1680, 80, 2, 21, RATE_500K, FDC_1440K }, { 1722, 82, 2, 21, RATE_500K, FDC_1440K }, { 1743, 83, 2, 21, RATE_500K, FDC_1440K },
    { 1760, 80, 2, 22, RATE_500K, FDC_1440K }, { 1840, 80, 2, 23, RATE_500K, FDC_1440K }, { 1920, 80, 2, 24, RATE_500K, FDC_1440K },
    { 2880, 80, 2, 36, RATE_1M, FDC_2880K },   { 3120, 80, 2, 39, RATE_1M, FDC_2880K },   { 3200, 80, 2, 40, RATE_1M, FDC_2880K },
    { 3520, 80, 2, 44, RATE_1M, FDC_2880K },   { 3840, 80, 2, 48, RATE_1M, FDC_2880K },
};

const struct fdc_geometry *fdc_geometry_find(uint64_t bytes)
{
    for (unsigned i = 0; i < ARRAY_SIZE(geometries); i++)
        if (bytes == geometries[i].kib * 1024ull) return &geometries[i];
    for (unsigned i = 0; i < ARRAY_SIZE(geometries); i++)
        if (bytes < geometries[i].kib * 1024ull && geometries[i].type >= FDC_1440K) return &geometries[i];
    return NULL;
}

int fdc_drive_load(struct fdc_drive *d, struct block_node *node, struct error *err)
{
    const struct fdc_geometry *g = node ? fdc_geometry_find(block_size_bytes(node)) : NULL;

    if (node && !g)
        return error_set(err, "'%s' is larger than any floppy disk (3840 KiB)", block_filename(node));
    d->config.node = node;
    d->geometry = g;
    d->changed = true;
    d->next_id = 0;
    if (d->type == FDC_NONE) d->type = g ? g->type : FDC_NONE;
    return 0;
}

bool fdc_drive_is_protected(const struct fdc_drive *d)
{
    return d->geometry && block_is_readonly(d->config.node);
}
