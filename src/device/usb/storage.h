/* SPDX-License-Identifier: GPL-2.0-or-later */
/* A USB stick or CD-ROM drive: one SCSI unit behind the bulk-only transport. 46f4:0001, as QEMU's. */
#ifndef DEVICE_USB_STORAGE_H
#define DEVICE_USB_STORAGE_H

#include "bus/usb.h"
#include "device/storage/scsi_unit.h"

struct usb_storage_config {
    const char *id, *serial;             /* serial NULL: made of where it is plugged in */
    struct scsi_unit_config unit;
};
/* Not plugged in yet. NULL with *err. */
struct usb_device *usb_storage_new(const struct usb_storage_config *config, struct error *err);
/* Of a device that is one: what is in it. */
struct scsi_unit *usb_storage_unit(struct usb_device *d);
/* Goes on with a request that failed and stopped the machine. Any USB device. */
void usb_storage_retry(struct usb_device *d);

#endif
