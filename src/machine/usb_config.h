/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The USB controllers and devices that a command line asked for. */
#ifndef MACHINE_USB_CONFIG_H
#define MACHINE_USB_CONFIG_H

#include <stdbool.h>

enum { CONFIG_USB_CONTROLLERS = 8, CONFIG_USB_DEVICES = 32 };
enum usb_controller_kind { USB_CONTROLLER_UHCI, USB_CONTROLLER_XHCI, USB_CONTROLLER_XHCI_NEC };
struct usb_controller_config {
    enum usb_controller_kind kind;
    const char *id;                    /* the user's or NULL; its bus is then usb-bus.N */
    int devfn;                         /* -1: the next free slot */
    unsigned ports;                    /* xHCI: of each kind; 0: as many as it has without being told */
};
enum usb_kind { USB_KIND_KEYBOARD, USB_KIND_MOUSE, USB_KIND_TABLET, USB_KIND_HUB, USB_KIND_STORAGE };
struct usb_device_config {
    enum usb_kind kind;
    const char *id, *bus, *port, *serial;    /* all may be NULL: the first bus, the first free port, a serial number made of the place */
    bool full_speed_only;
    unsigned drive;                    /* storage: which of machine_config's */
};
struct usb_config {
    struct usb_controller_config controller[CONFIG_USB_CONTROLLERS];
    unsigned controllers;
    struct usb_device_config device[CONFIG_USB_DEVICES];
    unsigned devices;
};

#endif
