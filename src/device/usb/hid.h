/* SPDX-License-Identifier: GPL-2.0-or-later */
/* USB keyboard, mouse and tablet (HID 1.11). Vendor 0627, product 0001, as QEMU's. */
#ifndef DEVICE_USB_HID_H
#define DEVICE_USB_HID_H

#include "bus/usb.h"

struct input;

enum hid_kind { HID_KEYBOARD, HID_MOUSE, HID_TABLET };
struct hid_config {
    enum hid_kind kind;
    const char *id, *serial;             /* serial NULL: made of where it is plugged in */
    bool full_speed_only;                /* usb_version=1 */
    struct input *input;                 /* who types and points */
};
/* Not plugged in yet. NULL with *err. */
struct usb_device *hid_new(const struct hid_config *config, struct error *err);

#endif
