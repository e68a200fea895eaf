/* SPDX-License-Identifier: GPL-2.0-or-later */
/* virtio SCSI host bus adapter. */
#ifndef DEVICE_VIRTIO_VIRTIO_SCSI_H
#define DEVICE_VIRTIO_VIRTIO_SCSI_H

#include "device/storage/scsi_unit.h"
#include "device/virtio/virtio.h"

enum { VIRTIO_SCSI_UNITS = 16, VIRTIO_SCSI_TARGETS = 256, VIRTIO_SCSI_LUNS = 16384 };

struct virtio_scsi_unit_config {
    uint8_t target;
    uint16_t lun;
    struct scsi_unit_config unit;
};
struct virtio_scsi_config {
    struct memory_map *memory;
    const char *id;
    unsigned queues;                     /* for requests, 1..1022 */
    uint16_t queue_size;                 /* power of two, 4..1024 */
    struct virtio_scsi_unit_config unit[VIRTIO_SCSI_UNITS];
    unsigned unit_count;
    bool no_hotplug;                     /* drives that come and go are not reported */
    bool no_param_change;                /* nor are drives whose size changes */
    struct virtio_options options;
};
/* NULL with *err. */
struct virtio *virtio_scsi_new(const struct virtio_scsi_config *config, struct error *err);
/* A drive that comes; where it goes must be free. 0, or -1 with *err. */
int virtio_scsi_unit_add(struct virtio *v, const struct virtio_scsi_unit_config *u, struct error *err);
/* Unit number n goes, when what is in flight has ended; those behind it move up. */
void virtio_scsi_unit_remove(struct virtio *v, unsigned n);
/* The CD-ROM drive number n gets another disc: see scsi_unit_disc_change. */
int virtio_scsi_disc_change(struct virtio *v, unsigned n, struct block_node *node, bool force, struct block_node **old, struct error *err);
/* Unit number n, for its tray; its disc is put in by the second. */
struct scsi_unit *virtio_scsi_unit(struct virtio *v, unsigned n);
void virtio_scsi_disc_put(struct virtio *v, unsigned n, struct block_node *node);
struct tray_state virtio_scsi_tray(struct virtio *v, unsigned n);
/* Writes that waited for room on the host are tried again. */
void virtio_scsi_retry(struct virtio *v);
/* The node of unit number n has another size. */
void virtio_scsi_resized(struct virtio *v, unsigned n);

#endif
