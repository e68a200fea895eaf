/* SPDX-License-Identifier: GPL-2.0-or-later */
/* What the fuzzers of USB controllers share: random numbers, requests, and devices on the bus that are typed on, moved, plugged in and out. */
#ifndef FUZZ_USB_DEVICES_H
#define FUZZ_USB_DEVICES_H

#include "bus/usb.h"

void below_seed(uint64_t seed);
uint32_t below(uint32_t n);

int usb_devices_make(struct usb_bus *bus, struct error *err);
void usb_devices_free(void);
/* Somebody types or points. */
void usb_devices_poke(void);
void usb_devices_replug(struct usb_bus *bus);
/* Eight bytes of a request that devices mostly know. */
void usb_request_make(uint8_t request[8]);
/* Thirty-one bytes of a command for a stick. */
void usb_command_make(uint8_t command[31]);
/* What the stick's image was asked for. */
uint64_t usb_disk_requests(void);
/* How often usb_devices_poke found a device configured. */
uint64_t usb_devices_configured(void);

#endif
