/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Disks of a machine that has stopped: what the guest gave them is done, and on the host's disks, before anybody is told of the stop; until it goes on
 * nothing more is written. So images can be copied and snapshots taken meanwhile. What the guest has put into rings and announced is taken as well: with
 * doorbells it may not have been heard of yet. Requests that limits hold back run at once. What a device would start next (USB's rings) waits, for
 * virtual time stands still.
 *
 * It takes as long as the slowest request: a host that never answers (a dead server of NFS or NBD) holds the monitor as long. As in QEMU, whose 'stop'
 * succeeds too when a flush failed; here a message says so.
 */
#include <string.h>

#include "base/log.h"
#include "device/virtio/virtio_pci.h"
#include "machine/pc_private.h"

static bool is_disk(enum virtio_kind kind) { return kind == VIRTIO_KIND_BLK || kind == VIRTIO_KIND_SCSI; }

static void drive_settle(struct machine *m, unsigned n)
{
    int why = block_settle(m->drive[n]);
    char name[MACHINE_PATH_BYTES];

    if (!why) return;
    pc_drive_label(m, n, name, sizeof(name));
    log_message("drive '%s': the machine is stopped, but what was written could not be stored: %s", name, strerror(-why));
}

void pc_drives_settle(struct machine *m)
{
    for (unsigned i = 0; i < m->config.virtio_count; i++)
        if (m->virtio[i] && is_disk(m->config.virtio[i].kind)) virtio_pci_settle(m->virtio[i]);
    for (unsigned n = 0; n < m->config.drive_count; n++)
        if (m->drive[n]) block_drain(m->drive[n]);
    for (unsigned n = 0; n < m->config.drive_count; n++)
        if (m->drive[n] && !block_is_abandoned(m->drive[n])) drive_settle(m, n);
}
