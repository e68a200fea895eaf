/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Inside of the xHCI. Doorbells and registers (xhci.c), ports (xhci_port.c) -> commands (xhci_command.c), transfers (xhci_transfer.c) -> events
 * (xhci_ring.c). Names are those of xHCI 1.1.
 */
#ifndef DEVICE_USB_XHCI_PRIVATE_H
#define DEVICE_USB_XHCI_PRIVATE_H

#include "bus/pci_msix.h"
#include "device/usb/xhci.h"

enum { XHCI_SLOTS = 64, XHCI_ENDPOINTS = 32, XHCI_INTERRUPTERS = 16, XHCI_PORTS_DEFAULT = 4, XHCI_PORTS_MOST = 2 * XHCI_PORTS_EACH_MOST, XHCI_EVENTS_WAITING = 256 };
enum { CMD_RS = 1, CMD_HCRST = 2, CMD_INTE = 4, CMD_CSS = 0x100, CMD_CRS = 0x200, CMD_MASK = 0xc0f };
enum { STS_HCH = 1, STS_HSE = 4, STS_EINT = 8, STS_PCD = 0x10, STS_SRE = 0x400, STS_HCE = 0x1000 };
enum { CODE_SUCCESS = 1, CODE_DATA_BUFFER = 2, CODE_BABBLE = 3, CODE_TRANSACTION = 4, CODE_TRB = 5, CODE_STALL = 6, CODE_NO_SLOTS = 9, CODE_SLOT_DISABLED = 11,
       CODE_ENDPOINT_DISABLED = 12, CODE_SHORT = 13, CODE_PARAMETER = 17, CODE_CONTEXT_STATE = 19, CODE_RING_STOPPED = 24, CODE_STOPPED = 26 };
enum { TRB_NORMAL = 1, TRB_SETUP, TRB_DATA, TRB_STATUS, TRB_ISOCH, TRB_LINK, TRB_EVENT_DATA, TRB_NOOP, CMD_ENABLE_SLOT, CMD_DISABLE_SLOT, CMD_ADDRESS_DEVICE, CMD_CONFIGURE_ENDPOINT,
       CMD_EVALUATE_CONTEXT, CMD_RESET_ENDPOINT, CMD_STOP_ENDPOINT, CMD_SET_DEQUEUE, CMD_RESET_DEVICE, CMD_NOOP = 23, EVENT_TRANSFER = 32, EVENT_COMMAND = 33, EVENT_PORT = 34,
       EVENT_NEC_FIRMWARE = 48, CMD_NEC_FIRMWARE = 49 };
enum { TRB_CYCLE = 1, TRB_TOGGLE = 2, TRB_ISP = 4, TRB_CHAIN = 0x10, TRB_IOC = 0x20, TRB_IMMEDIATE = 0x40, TRB_BYTES = 16 };
enum { EP_DISABLED, EP_RUNNING, EP_HALTED, EP_STOPPED, EP_ERROR };
enum { SLOT_DISABLED, SLOT_DEFAULT, SLOT_ADDRESSED, SLOT_CONFIGURED };

struct xhci_trb { uint64_t parameter; uint32_t status, control; gpa_t at; };
static inline unsigned xhci_trb_type(const struct xhci_trb *t) { return t->control >> 10 & 63; }

/* Where the next TRB of a ring is, and which cycle bit it must have. */
struct xhci_ring { gpa_t dequeue; bool cycle; };

struct xhci_endpoint {
    uint8_t state;
    struct xhci_ring ring;
    gpa_t context;
    bool waits, ready;                   /* the device had nothing for its transfer; it has now */
};
struct xhci_slot {
    uint8_t state;
    bool enabled;
    gpa_t context;
    unsigned interrupter;
    char path[USB_PATH_BYTES];           /* of the port where its device is; "" before it has an address */
    bool is_super;
    struct xhci_endpoint ep[XHCI_ENDPOINTS];     /* by device context index, from 1 */
};
struct xhci_interrupter {
    uint32_t iman, imod, erstsz;
    uint64_t erstba, erdp;
    gpa_t start;                         /* of the event ring's segment */
    uint32_t size, enqueue;              /* in TRBs */
    bool cycle;
    struct xhci_trb waiting[XHCI_EVENTS_WAITING];    /* for room in the ring */
    unsigned waiting_count;
};

struct xhci {
    struct pci_device pci;
    struct pci_msix msix;
    struct usb_bus bus;
    unsigned ports_each;                         /* of both kinds */
    struct usb_port port[XHCI_PORTS_EACH_MOST];       /* each is a port of both kinds: which one depends on what is plugged in */
    uint32_t portsc[XHCI_PORTS_MOST];         /* USB 2, then USB 3 */
    uint32_t cmd, sts, dnctrl, config;
    uint64_t dcbaap;
    struct xhci_ring command;
    bool is_nec, command_runs, command_more;
    struct timer *work;              /* what is done soon */
    int64_t start_ns;                    /* of MFINDEX */
    struct xhci_interrupter intr[XHCI_INTERRUPTERS];
    struct xhci_slot slot[XHCI_SLOTS + 1];
};

/* xhci.c */
/* The rest of what was begun is done soon, by the main loop. */
void xhci_work_post(struct xhci *s);
void xhci_controller_reset(struct xhci *s);

/* xhci_ring.c */
/* The next TRB that is no link; false: there is none yet, or the ring makes no sense (*s has an error then). */
bool xhci_ring_next(struct xhci *s, struct xhci_ring *r, struct xhci_trb *t);
void xhci_event(struct xhci *s, unsigned interrupter, const struct xhci_trb *event);
void xhci_event_ring_set(struct xhci *s, unsigned interrupter);
void xhci_dequeue_set(struct xhci *s, unsigned interrupter, uint64_t value);
void xhci_interrupt_update(struct xhci *s);

/* xhci_port.c */
extern const struct usb_port_ops xhci_port_ops;
void xhci_ports_reset(struct xhci *s);
void xhci_port_write(struct xhci *s, unsigned n, uint32_t value);

/* xhci_command.c */
void xhci_commands_run(struct xhci *s);
struct usb_device *xhci_slot_device(struct xhci *s, const struct xhci_slot *slot);
void xhci_endpoint_state_set(struct xhci *s, struct xhci_endpoint *e, unsigned state);
bool xhci_words_read(struct xhci *s, gpa_t at, uint32_t *words, unsigned count);
void xhci_words_write(struct xhci *s, gpa_t at, const uint32_t *words, unsigned count);

/* xhci_transfer.c */
void xhci_endpoint_run(struct xhci *s, unsigned slot, unsigned endpoint);
/* What waits is waited for no longer. */
void xhci_endpoint_stop(struct xhci *s, unsigned slot, unsigned endpoint);

#endif
