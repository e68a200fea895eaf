/* SPDX-License-Identifier: GPL-2.0-or-later */
/* What the command line asked for, checked but not yet opened: the one struct between main and the machine. */
#ifndef MACHINE_CONFIG_H
#define MACHINE_CONFIG_H

#include <stdbool.h>
#include <stdint.h>
#include "block/block.h"
#include "device/storage/identity.h"
#include "display/vnc.h"
#include "display/web.h"
#include "block/on_error.h"
#include "block/throttle.h"
#include "machine/usb_config.h"
#include "machine/virtio_config.h"
#include "memory/ram.h"
#include "x86/cpuid.h"

enum { CONFIG_DRIVES = 64, CONFIG_SERIALS = 4, CONFIG_DEVICES = 32, CONFIG_AHCI = 4, CONFIG_VIRTIO = 32, CONFIG_VIRTIO_PORTS = 64, CONFIG_CPUS = 255, CONFIG_MONITORS = 16, CONFIG_FW_CFG = 16, CONFIG_OPTION_ROMS = 16, CONFIG_IOTHREADS = 16 };
enum accel { ACCEL_DEFAULT, ACCEL_KVM, ACCEL_BT, ACCEL_KVM_BT };
enum drive_media { MEDIA_DISK, MEDIA_CDROM };
enum drive_interface { DRIVE_IF_IDE, DRIVE_IF_NONE, DRIVE_IF_VIRTIO, DRIVE_IF_SCSI, DRIVE_IF_AHCI, DRIVE_IF_USB, DRIVE_IF_PFLASH, DRIVE_IF_FLOPPY, DRIVE_IF_GONE };   /* GONE: the place is free */

struct drive_config {
    const char *id;                    /* "ide0-hd0" and so on, for messages and the monitor; "": it is known by its device's id */
    enum drive_interface interface;
    int index;                         /* IDE: 0..3 = primary master, slave, secondary master, slave; virtio: order, or -1; flash: chip 0, 1; floppy: drive 0, 1 */
    enum drive_media media;
    struct block_open_options open;    /* filename NULL: an empty CD-ROM drive */
    const char *serial;
    struct drive_identity identity;
    enum block_error_action on_read_error, on_write_error;
    unsigned ahci;                     /* AHCI: which controller; index is the port */
    unsigned boot_rank;                /* bootindex= and one more; 0: none */
    uint8_t floppy_type;               /* enum fdc_drive_type */
    const char *addr;                  /* virtio: PCI address as text, or NULL */
    struct block_limits limits;        /* all 0: none */
    const char *throttle_group;        /* NULL: of its own name */
    const char *device_id;             /* of the device that it is connected to; NULL: it has none */
    /* Of -blockdev: then id is its node-name, it need not be connected, and a device that goes leaves it. */
    bool is_node, is_protocol;         /* a protocol's node carries others, and is a drive only for a device that is connected to it */
    const char *file_node, *backing_node;                /* names of nodes below; NULL: not given; backing "": there is none */
    const struct block_option_set *node_options;         /* its own keys */
    bool is_filter;                    /* driver=throttle; is_protocol follows the node below */
    const char *filter_group;
    struct block_limits filter_limits; /* the group's, unless somebody is in it already */
    const char *drive_id;              /* of a drive that got a node for its medium: the id that it has without; NULL: none */
    enum { WRITE_CACHE_AUTO, WRITE_CACHE_ON, WRITE_CACHE_OFF } write_cache;    /* write-cache= of its device; auto: as cache= has it */
};
/* What QMP calls the drive: what a node is connected to has no name of its own. */
const char *config_drive_name(const struct drive_config *d);
struct monitor_config {
    const char *spec;                  /* a chardev's */
    const char *option;                /* who asked for it, for messages */
    bool is_control, is_pretty;        /* QMP, and with line breaks */
};
struct machine_config {
    const char *machine;               /* one of machine_types, or "none" */
    bool is_empty;                     /* "none": no processor, no board; see machine/empty.c */
    enum accel accel;
    uint64_t tb_cache_bytes;
    bool perf_map;                     /* names of blocks for the host's perf */
    bool no_windows;                   /* bt: memory always through the softmmu */
    const char *cpu;                   /* -cpu text or NULL */
    uint64_t ram_bytes;
    struct ram_config ram;             /* where it comes from; size and merging are those of ram_bytes and mem_merge */
    unsigned cpus;                     /* that run; the topology may have room for more */
    struct cpuid_topology topology;
    const char *name;
    uint8_t uuid[16];
    bool has_uuid;
    struct { const char *name, *file, *text; } fw_cfg[CONFIG_FW_CFG];   /* -fw_cfg: file or text */
    unsigned fw_cfg_count;
    struct { const char *file; unsigned boot_rank; size_t size; } option_rom[CONFIG_OPTION_ROMS];        /* -option-rom; boot_rank: as a drive's; size: known once it is loaded */
    unsigned option_rom_count;
    const char *bios;                  /* NULL: SeaBIOS from the system's packages */
    const char *kernel, *initrd, *append;
    struct drive_config drive[CONFIG_DRIVES];
    unsigned drive_count;
    struct { const char *id; int devfn; bool is_unnamed; } ahci[CONFIG_AHCI];     /* -device ahci; devfn -1: the next free slot; is_unnamed: the id is none of the user's */
    unsigned ahci_count;
    char boot_order[8], boot_once[8];
    bool boot_menu, boot_strict, boot_unsigned_floppies;
    int boot_menu_timeout_ms;
    const char *boot_splash;                     /* a picture for the boot menu; NULL: none */
    int boot_retry_ms;                           /* -1: the firmware stays where it is when nothing starts */
    const char *serial[CONFIG_SERIALS]; /* chardev specs; NULL: none */
    const char *serial_id[CONFIG_SERIALS];                     /* of -device isa-serial; NULL: of -serial */
    unsigned serial_count;
    struct monitor_config monitor[CONFIG_MONITORS];
    unsigned monitor_count;
    const char *debugcon;              /* chardev spec for port 0x402 or NULL */
    const char *gdb;                   /* "tcp::1234" or NULL */
    bool isa_debug_exit;
    uint16_t isa_debug_exit_port;
    bool has_vga;
    struct vga_settings {
        enum { VGA_CARD_STD, VGA_CARD_BOCHS, VGA_CARD_VIRTIO, VGA_CARD_GPU } card;     /* the second and the last: without VGA proper */
        struct virtio_device_config virtio;    /* of the last two */
        uint64_t vram_bytes;
        unsigned width, height;        /* preferred mode; 0: the device's default */
        int devfn;                     /* -1: slot 2 */
        const char *id;                /* NULL: none */
    } vga;
    bool has_vnc, has_web, has_curses;
    const char *layout;                /* of the keyboard, by name; NULL: American */
    enum { WINDOW_NONE, WINDOW_IF_IT_CAN, WINDOW_WANTED } window;
    struct display_wish { bool given, on; } full_screen, show_cursor, window_close;    /* of -display, for a window and who asks */
    struct vnc_config vnc;
    struct web_config web;
    bool has_hpet, has_acpi;
    bool no_reboot, no_shutdown, start_paused;
    bool mem_merge, mem_merge_asked;
    enum { RTC_UTC, RTC_LOCALTIME, RTC_DATE } rtc_base;
    enum { RTC_CLOCK_HOST, RTC_CLOCK_RT, RTC_CLOCK_VM } rtc_clock;
    bool rtc_slew;
    int64_t rtc_date_s;                /* seconds since 1970 for RTC_DATE */
    const char *device[CONFIG_DEVICES];/* -device text */
    unsigned device_count;
    struct virtio_device_config virtio[CONFIG_VIRTIO];
    unsigned virtio_count;
    struct usb_config usb;
    struct netdev_config netdev[CONFIG_NETDEVS];
    unsigned netdev_count;
    struct nic_config nic[CONFIG_NICS];
    unsigned nic_count;
    struct net_dump_config dump[CONFIG_DUMPS];
    unsigned dump_count;
    const char *iothread[CONFIG_IOTHREADS];     /* their ids, for who asks: disks have threads of their own */
    unsigned iothread_count;
};
void machine_config_defaults(struct machine_config *c);
/* A boot order in letters. 0, or -1 with *err, which begins with what. */
int config_boot_letters(const char *what, const char *v, char to[8], struct error *err);
/* Where SeaBIOS looks for option ROMs in fw_cfg, and the name of number n there. */
#define CONFIG_OPTION_ROM_FOLDER "genroms/"
const char *config_option_rom_name(const struct machine_config *c, unsigned n);

/* Which of several devices of a kind, in their order, has the bus that bus= names: ID.0; without id NAME0.0 and up, or QEMU's TYPE.0 and up. bus NULL: the first. */
struct config_bus_search { const char *bus; unsigned seen, unnamed; };
bool config_bus_is(struct config_bus_search *s, const char *id, const char *name, const char *type);

/* What -machine names. All are the same board; the versions are QEMU's, whose guests and managers ask for them by name. */
struct machine_type { const char *name, *alias; };         /* alias NULL: none; the first is the default */
extern const struct machine_type machine_types[];          /* a NULL name ends */
#define MACHINE_TYPE_DESCRIPTION "Standard PC (i440FX + PIIX, 1996)"
/* By name or alias; NULL: there is none. */
const struct machine_type *machine_type_find(const char *name);

#endif
