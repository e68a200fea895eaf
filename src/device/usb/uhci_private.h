/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Inside of the UHCI: uhci.c has registers, ports and time, uhci_frame.c walks the schedule of one frame. */
#ifndef DEVICE_USB_UHCI_PRIVATE_H
#define DEVICE_USB_UHCI_PRIVATE_H

#include "device/usb/uhci.h"

enum { UHCI_PORTS = 2 };
/* USBCMD, USBSTS, USBINTR by the data sheet's names. */
enum { CMD_RS = 1, CMD_HCRESET = 2, CMD_GRESET = 4, CMD_EGSM = 8, CMD_FGR = 0x10, CMD_MASK = 0xff };
enum { STS_USBINT = 1, STS_ERROR = 2, STS_RESUME = 4, STS_HSE = 8, STS_HCPE = 0x10, STS_HCHALTED = 0x20, STS_CLEARABLE = 0x1f };
enum { INTR_TIMEOUT = 1, INTR_RESUME = 2, INTR_IOC = 4, INTR_SHORT = 8 };

struct timer;
struct uhci {
    struct pci_device pci;
    struct usb_bus bus;
    struct usb_port port[UHCI_PORTS];
    uint16_t portsc[UHCI_PORTS];
    uint16_t cmd, sts, intr, frnum;
    uint32_t flbase;
    uint8_t sofmod;
    uint8_t causes;                      /* INTR_IOC, INTR_SHORT: why USBINT is set */
    int64_t frame_ns;                    /* when the next frame begins */
    struct timer *timer;
    unsigned quiet;                      /* frames since something happened */
};

/* uhci_frame.c: what happened in the frame FRNUM. */
struct uhci_result {
    bool moved;                          /* a transfer was carried out, or failed */
    uint8_t causes;                      /* INTR_IOC, INTR_SHORT */
    uint16_t errors;                     /* STS_ERROR; STS_HSE and STS_HCPE stop the controller */
};
struct uhci_result uhci_frame_run(struct uhci *s);

#endif
