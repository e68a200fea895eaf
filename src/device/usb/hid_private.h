/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Inside of the HID devices: hid.c speaks USB, hid_events.c keeps what happened and makes reports of it. */
#ifndef DEVICE_USB_HID_PRIVATE_H
#define DEVICE_USB_HID_PRIVATE_H

#include "device/usb/hid.h"

enum { HID_EVENTS = 64, HID_KEYS = 6, HID_REPORT_BYTES = 8 };

/* Something that happened; each makes a report of its own, but movement is added to movement that waits. */
struct hid_event {
    uint8_t usage;                       /* keyboard: which key, */
    bool down;
    int x, y, wheel;                     /* pointer: movement or position, */
    uint8_t buttons;
    bool clicks;                         /* a button changed */
};

struct hid_events {
    enum hid_kind kind;
    struct hid_event event[HID_EVENTS];
    unsigned first, count;
    /* As the last report said. */
    uint8_t modifiers, key[HID_KEYS + 10], keys, buttons;
    int x, y;
};

void hid_events_reset(struct hid_events *e);
/* A key that this keyboard has not is dropped (false), and what comes when the queue is full. */
bool hid_key(struct hid_events *e, unsigned qkeycode, bool down);
/* false: nothing changed. */
bool hid_pointer(struct hid_events *e, int x, int y, int wheel, unsigned buttons);
/* The next event as a report; without one, how things are. Returns its bytes. */
size_t hid_report(struct hid_events *e, bool boot_protocol, uint8_t report[HID_REPORT_BYTES]);

#endif
