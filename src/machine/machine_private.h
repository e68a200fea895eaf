/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Inside of the machine room: what machine.c, vcpu.c, pc.c and the loaders share. */
#ifndef MACHINE_MACHINE_PRIVATE_H
#define MACHINE_MACHINE_PRIVATE_H

#include <pthread.h>
#include <stdatomic.h>

#include "base/loop.h"
#include "block/block.h"
#include "bus/device.h"
#include "bus/irq.h"
#include "engine/engine.h"
#include "machine/event.h"
#include "machine/machine.h"
#include "device/firmware/acpi.h"
#include "device/firmware/smbios.h"
#include "display/input.h"
#include "machine/boot.h"
#include "machine/hotplug.h"
#include "memory/map.h"
#include "memory/ram.h"
#include "x86/cpuid.h"

struct apic_bus;
struct boot_image;
struct chardev;
struct display;
struct net_backend;
struct pci_bus;
struct usb_bus;
struct usb_device;
struct layout;
struct pc_clipboard;
struct pc_curses;
struct pc_web;
struct sdl_window;
struct vnc_server;

/* One vCPU and its thread. Everything under lock unless it says otherwise. */
struct vcpu {
    struct machine *m;
    unsigned index;
    pthread_t thread;
    bool has_thread;
    int tid;                           /* the host's number of the thread */
    struct engine_vcpu *engine;        /* made, run and freed by the thread */
    struct device *lapic;              /* NULL with an irqchip in the engine */
    _Atomic int64_t tsc_offset;        /* copy for the APIC timer's deadline mode */
    pthread_mutex_t lock;
    int changes;            /* a futex, both ways: the thread sleeps on it, the machine waits for the thread on it */
    unsigned sleepers;      /* on changes */
    bool hold;                         /* the machine wants the thread outside of the engine */
    bool quit;
    bool is_parked;                    /* it is: registers may be read and written */
    _Atomic uint64_t exits;            /* out of the engine so far */
    bool woken;                        /* an interrupt came since the engine was entered */
    bool waits_for_sipi;
    bool init_pending, sipi_pending;
    uint8_t sipi_vector;
    struct error *create_error;        /* while the thread starts */
};

enum machine_request {
    REQUEST_RESET = 1,
    REQUEST_SHUTDOWN = 2,
    REQUEST_QUIT = 4,
    REQUEST_DEBUG = 8,
    REQUEST_ERROR = 16
};

struct stop_listener {
    void (*fn)(void *opaque, enum run_state why, unsigned vcpu);
    void *opaque;
};

struct event_listener {
    machine_event_fn *fn;              /* NULL: free */
    void *opaque;
};

/* A network card, for the monitor. */
struct machine_nic {
    char name[64];
    const char *model;
    uint8_t mac[6];
    struct net_backend *backend;       /* NULL: the place is free */
    struct virtio *v;                  /* a virtio card; else NULL */
    void *rom;
    unsigned boot_rank;
    struct device *device;
    struct machine_memory memory;
};

struct drive_owner {                   /* for callbacks */
    struct machine *m;
    unsigned drive;
    int error;                         /* of a request for which the machine was stopped; 0: none */
};

struct machine {
    struct machine_config config;
    struct memory_map *memory, *ports;
    struct ram_block ram, bios;
    gpa_t ram_below_4g, ram_above_4g;  /* bytes of each */
    const uint8_t *isa_bios;           /* the firmware's last bytes as they are seen below 1 MiB; NULL: none */
    uint32_t isa_bios_bytes;
    const struct engine_ops *ops;
    struct engine *engine;
    struct cpuid_model cpuid;
    struct vcpu *vcpu;
    unsigned vcpu_count;               /* those whose lock and condition exist */
    bool has_irqchip;                  /* in the engine */

    enum run_state state;
    bool runs;                         /* machine_run has begun: vCPUs may go */
    _Atomic unsigned requests;         /* enum machine_request */
    unsigned stop_vcpu;                /* which vCPU asked for REQUEST_DEBUG */
    int exit_status;
    enum machine_cause quit_cause;
    _Atomic enum machine_cause reset_cause;     /* a triple fault leaves it as it is */
    unsigned resets;                   /* the first is power-on */
    bool boot_once_used;
    struct engine_debug debug;
    struct stop_listener listener[8];
    unsigned listener_count;
    struct event_listener event_listener[CONFIG_MONITORS];
    struct timer *key_timer;
    struct key_event *key_first, *key_last;

    /* The board. */
    uint8_t isa_source_irq[64];        /* which ISA IRQ each source drives; sources of one IRQ are or-ed */
    unsigned isa_source_count;
    uint64_t isa_high[16];             /* a bit for each source that drives the IRQ high */
    struct acpi_tables acpi;
    struct smbios_tables smbios;
    struct boot_memory_range e820[8];
    unsigned e820_count;
    uint8_t disk_translation;          /* CMOS 39h */
    int64_t tsc_start_ns; /* host time and TSC when the machine was begun, to measure the latter's rate */
    uint64_t tsc_start;
    uint64_t tsc_held;                 /* the TSC when the guest stopped; 0: nothing to make up for */
    struct device *devices;            /* newest first */
    struct device *flash[2];
    struct device *pic, *ioapic, *pit, *rtc, *hpet, *port92, *keyboard, *fw_cfg, *pm, *dma, *fdc, *ide, *piix3, *ahci[CONFIG_AHCI];
    struct display *display;           /* NULL: no graphic card */
    struct vga *vga;                   /* in the graphic card or NULL */
    struct virtio *gpu;                /* likewise */
    struct vnc_server *vnc;
    struct layout *layout;             /* NULL: American */
    struct input *input;               /* keyboards and pointers, and which of them are in use */
    struct input_device ps2_keyboard, ps2_mouse;
    struct usb_bus *usb;               /* list */
    struct usb_device *usb_device[CONFIG_USB_DEVICES];     /* as in config; NULL: the place is free */
    struct device *usb_controller[CONFIG_USB_CONTROLLERS];  /* likewise */
    unsigned usb_buses_unnamed;
    struct sdl_window *window;
    struct pc_web *web;
    struct pc_curses *curses;
    struct pc_clipboard *clipboard;    /* NULL: there is none */
    uint64_t accesses;                 /* of vCPUs to ports and device memory so far */
    struct apic_bus *apic_bus;
    struct pci_bus *pci;
    struct memory_range *a20_alias;
    bool a20_masked;
    struct irq_line ferr_irq;
    struct chardevs *chardevs;         /* all that are open */
    struct chardev *serial[CONFIG_SERIALS], *debugcon;
    struct block_node *drive[CONFIG_DRIVES];
    struct block_throttles *throttles;     /* NULL: there were no limits yet */
    char *throttle_name[CONFIG_DRIVES];    /* of groups that the monitor named */
    struct drive_owner drive_owner[CONFIG_DRIVES];
    bool io_error_stops;               /* it will be stopped for one */
    struct chardev *chardev[CONFIG_VIRTIO_PORTS];      /* pc_chardev.c; NULL: the place is free */
    unsigned chardev_count;
    struct pc_guestfwd *guestfwd;      /* pc_guestfwd.c */
    struct device *virtio[CONFIG_VIRTIO];   /* as in config */
    struct net_backend *netdev[CONFIG_NETDEVS];
    struct net_hub *hub[CONFIG_NETDEVS];   /* NULL ends */
    struct pc_announce *announce;      /* pc_announce.c; list */
    struct machine_nic nic[CONFIG_NICS + CONFIG_VIRTIO];
    unsigned nic_count;
    struct rom_image *roms;            /* of the cards, and of those that went */
    /* What came while it ran. */
    struct device *pcihp;              /* NULL: no ACPI */
    struct device *ejected;            /* off the bus; to be freed by the main loop */
    struct machine_parser parser;
    struct machine_memory drive_memory[CONFIG_DRIVES], unit_memory[CONFIG_DRIVES], netdev_memory[CONFIG_NETDEVS], virtio_memory[CONFIG_VIRTIO],
        usb_memory[CONFIG_USB_DEVICES], usb_controller_memory[CONFIG_USB_CONTROLLERS], port_memory[CONFIG_VIRTIO][VIRTIO_CONSOLE_PORTS_MAX], node_memory[CONFIG_DRIVES];    /* of nodes that became media; otherwise theirs is drive_memory */
    bool is_direct;                    /* a kernel in the place of firmware: then there is boot */
    struct boot_image *boot;
};

/* vcpu.c. The lock order is machine lock, then vcpu.lock; the thread sleeps and runs with neither held. */
int vcpus_create(struct machine *m, struct error *err);
void vcpus_destroy(struct machine *m);
/* Asks all threads to leave the engine; does not wait. Any thread. */
void vcpus_hold(struct machine *m);
/* Waits until all are parked; lets the machine lock go meanwhile. Main thread. */
void vcpus_wait(struct machine *m);
void vcpus_release(struct machine *m);
/* Registers of all as after power-on, or as the boot image wants them. While parked. */
void vcpus_reset(struct machine *m);
void vcpu_wake(struct vcpu *v);
/* What the engine calls back, and what the APIC bus does. */
extern const struct engine_host vcpu_engine_host;
void vcpu_apic_wake(void *opaque, unsigned vcpu);
void vcpu_apic_nmi(void *opaque, unsigned vcpu);
void vcpu_apic_init(void *opaque, unsigned vcpu);
void vcpu_apic_startup(void *opaque, unsigned vcpu, uint8_t vector);
uint64_t vcpu_tsc(void *opaque, unsigned vcpu);

/* machine.c */
/* Where in the tables the drive is that machine_drive calls i; -1: there is none. */
int machine_drive_place(const struct machine *m, unsigned i);
void machine_request(struct machine *m, unsigned what);

/* pc.c: the board. 0, or -1 with *err; what was made is freed by pc_destroy in either case. */
int pc_create(struct machine *m, struct error *err);
void pc_destroy(struct machine *m);
/* Devices to power-on values, firmware or kernel in place again. vCPUs are parked. */
void pc_reset(struct machine *m);
/* Presses it: an ACPI event. */
void pc_power_button(struct machine *m);
/* vCPUs run again: requests that waited for space on the host are tried again. */
void pc_started(struct machine *m);
void pc_stopped(struct machine *m);
/* What the guest asked of its disks is done and flushed. */
void pc_drives_settle(struct machine *m);

/* empty.c: the machine "none" in the place of pc_create. */
int empty_create(struct machine *m, struct error *err);

/* keys.c */
void keys_destroy(struct machine *m);

#endif
