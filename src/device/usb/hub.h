/* SPDX-License-Identifier: GPL-2.0-or-later */
/* A USB 1.1 hub with eight ports. 0409:55aa, as QEMU's. */
#ifndef DEVICE_USB_HUB_H
#define DEVICE_USB_HUB_H

#include "bus/usb.h"

/* Not plugged in yet; its ports are there while it is. What hangs on it is pulled out with it. NULL with *err. */
struct usb_device *usb_hub_new(const char *id, const char *serial, struct error *err);

#endif
