/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The command line of a virtual machine, in qemu's grammar: arguments in, a checked struct machine_config out. */
#ifndef TOOL_VM_OPTIONS_H
#define TOOL_VM_OPTIONS_H

#include "machine/config.h"
#include "tool/option_list.h"
#include "tool/secrets.h"

struct error;
struct vnc_credentials;

/* What a -device says about its drive: werror=, rerror=, write-cache= (NULL: the drive's), bootindex= (NULL: none). */
struct drive_errors { const char *read, *write, *write_cache, *boot_index, *share_rw; };

struct vm_options {
    struct machine_config config;
    struct arena *arena;
    bool nodefaults, nographic, display_given, snapshot, daemonize, quiet_display;
    const char *audio_id[4], *vnc_audio;                      /* -audiodev, and -vnc audiodev= */
    unsigned audio_count;
    const char *serial_device[CONFIG_SERIALS];                /* -device isa-serial, resolved at the end */
    unsigned serial_device_count;
    bool is_quiet_help;              /* 'help' prints nothing; ... */
    const struct option_key *keys_told;                       /* ... the properties that it would print are these */
    bool serial_given, monitor_given, vga_given, vga_device_given, uuid_given;
    struct vm_id *device_id, *object_id;                      /* those that are given */
    bool usb;                        /* the board's own controller */
    struct usb_device_config usb_device[CONFIG_USB_DEVICES];  /* -device usb-*, which come behind those of -usbdevice */
    unsigned usb_device_count;
    const char *usb_drive[CONFIG_USB_DEVICES];                /* ids, resolved at the end */
    struct drive_errors usb_errors[CONFIG_USB_DEVICES];       /* likewise */
    const char *pidfile, *process_name, *firmware_dir[8];
    unsigned firmware_dir_count;
    const char *flash_id[2];         /* -machine pflash0=, pflash1= */
    const char *trace_list, *trace_file;
    struct { const char *id, *spec; bool used; } chardev[8];   /* -chardev, as legacy text */
    unsigned chardev_count;
    struct { const char *text; bool cdrom; } ide_device[8];   /* -device ide-hd and ide-cd, resolved at the end */
    unsigned ide_device_count;
    const char *floppy_device[2];    /* -device floppy, likewise */
    unsigned floppy_device_count;
    const char *virtio_drive[CONFIG_VIRTIO], *virtio_rng[CONFIG_VIRTIO], *virtio_iothread[CONFIG_VIRTIO];   /* ids, resolved at the end */
    struct drive_errors virtio_errors[CONFIG_VIRTIO];         /* likewise */
    struct { const char *id; struct block_limits limits; } throttle_group[16];   /* -object throttle-group */
    unsigned throttle_group_count;
    struct { const char *id, *filename; } rng[8];             /* -object rng-random, rng-builtin */
    unsigned rng_count;
    struct { const char *id; struct arena *arena; } object[40];   /* those that came while the machine ran */
    unsigned object_count;
    struct secrets secrets;                                   /* -object secret */
    struct option_list tls_object[4];                         /* -object tls-creds-* */
    unsigned tls_object_count;
    const char *vnc_tls_creds, *vnc_password_secret, *vnc_display;    /* ids, resolved at the end */
    int vnc_ip[2];                                            /* ipv4=, ipv6=: on 1, off -1, not said 0 */
    const char *vnc_tls_directory;                            /* of those credentials */
    struct vnc_credentials *vnc_tls;                          /* what was read last */
    struct vnc_tls_source vnc_tls_source;
    const char *virtio_port[CONFIG_VIRTIO_PORTS];             /* -device virtserialport, virtconsole, likewise */
    unsigned virtio_port_count;
    struct { const char *id; struct p9_config config; bool used; } fsdev[16];   /* -fsdev, -virtfs */
    unsigned fsdev_count;
    const char *virtio_fsdev[CONFIG_VIRTIO];                   /* ids, likewise */
    struct ram_config memory_backend[4];                      /* -object memory-backend-*, matched at the end */
    unsigned memory_backend_count;
    const char *memory_backend_id, *mem_path;
    bool memory_size_given, mem_prealloc, mem_lock;
    const char *scsi_device[CONFIG_DRIVES];                   /* -device scsi-hd, scsi-cd, likewise */
    unsigned scsi_device_count;
    bool net_given;                                           /* no default network card, then */
    const char *nic_netdev[CONFIG_NICS], *virtio_netdev[CONFIG_VIRTIO], *dump_netdev[CONFIG_DUMPS];   /* ids, resolved at the end */
    bool nic_has_mac[CONFIG_NICS], virtio_has_mac[CONFIG_VIRTIO];
    bool nic_on_net[CONFIG_NICS], netdev_on_net[CONFIG_NETDEVS];    /* of -net, which belong together */
    struct { const char *netdev; unsigned hub; } hub_join[CONFIG_NETDEVS];    /* -netdev hubport,netdev= */
    unsigned hub_joins;
    struct vm_global { const char *text, *driver, *property, *value; bool used; } global[64];    /* -global */
    unsigned global_count;
};

enum vm_options_result { VM_OPTIONS_RUN, VM_OPTIONS_HELP_SHOWN, VM_OPTIONS_ERROR = -1 };
/* Touches no file but to look for firmware in -L directories. On VM_OPTIONS_ERROR *err says what is wrong; the caller
 * frees in every case. */
enum vm_options_result vm_options_parse(struct vm_options *o, int argc, char **argv, struct error *err);
void vm_options_free(struct vm_options *o);

#endif
