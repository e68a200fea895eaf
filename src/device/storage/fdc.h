/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The floppy disk controller of a PC (82078) with up to two drives. */
#ifndef DEVICE_STORAGE_FDC_H
#define DEVICE_STORAGE_FDC_H

#include "block/on_error.h"
#include "bus/device.h"
#include "bus/irq.h"
#include "memory/map.h"

struct block_node;
struct error;

enum { FDC_DRIVES = 2 };
/* As CMOS 10h has them. */
enum fdc_drive_type { FDC_NONE, FDC_360K, FDC_1200K, FDC_720K, FDC_1440K, FDC_2880K };

struct fdc_drive_config {
    bool is_there;
    enum fdc_drive_type type;          /* FDC_NONE: what its first disk needs */
    struct block_node *node;           /* stays the caller's; NULL: no disk is in */
    struct block_error_policy on_error;   /* what stops is tried again by fdc_retry */
};
struct fdc_config {
    struct memory_map *ports;          /* 3F0h-3F5h, 3F7h */
    struct device *dma;                /* i8237, channel 2 */
    struct irq_line irq;               /* 6 */
    struct fdc_drive_config drive[FDC_DRIVES];
};
/* NULL with *err (also: an image is larger than any disk). */
struct device *fdc_new(const struct fdc_config *config, struct error *err);
enum fdc_drive_type fdc_drive_type(const struct device *d, unsigned drive);
/* Another disk, or none (NULL): *old gets the node that was in, which has no request any more. -1 with *err: no such drive, or the image is larger
 * than any disk. Machine lock held. */
int fdc_disk_change(struct device *d, unsigned drive, struct block_node *node, struct block_node **old, struct error *err);
/* Goes on with a request that failed and stopped the machine. */
void fdc_retry(struct device *d);

#endif
