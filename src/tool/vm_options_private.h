/* SPDX-License-Identifier: GPL-2.0-or-later */
/* One row of the option table, and the handlers by area. */
#ifndef TOOL_VM_OPTIONS_PRIVATE_H
#define TOOL_VM_OPTIONS_PRIVATE_H

#include "tool/vm_options.h"

/* 0: taken. VM_OPTIONS_HELP_SHOWN: it printed what was asked for; the program ends well. -1: *err. */
typedef int option_fn(struct vm_options *o, const char *arg, struct error *err);

/* vm_catalog.c: the answer to -device NAME,help and its like. */
int keys_show(struct vm_options *o, const char *name, const struct option_key *keys);
/* Names of options by number; NULL behind the last. */
const char *vm_option_name(unsigned i);
const char *vm_device_name(unsigned i);
/* Properties of the board's own devices, with the one value that -global may give them; NULL behind the last. */
struct vm_fixed_property { const char *device, *name, *value; };
const struct vm_fixed_property *vm_fixed_property(unsigned i);
extern const char *const vm_object_names[];
extern const struct option_key machine_keys[], accel_keys[], smp_keys[], rtc_keys[], boot_keys[], name_keys[], chardev_keys[], mon_keys[], drive_keys[], vnc_keys[],
    memory_keys[], overcommit_keys[], fsdev_keys[], virtfs_keys[], fw_cfg_keys[], option_rom_keys[], msg_keys[];

/* vm_global.c: one -global. The next for a device, from *at on; false: there are no more. */
int global_read(struct vm_options *o, const char *arg, struct error *err);
bool global_next(struct vm_options *o, const char *device, unsigned *at, struct vm_global **g);
/* Those for a device, but one that is given otherwise (NULL: none), by its keys. */
int globals_apply(struct vm_options *o, const char *device, const struct option_key *keys, const char *but, void *target, struct error *err);
/* The text of a -device with them; text itself if there are none. */
const char *globals_write(struct vm_options *o, const char *text, const struct option_list *l);
void globals_finish(const struct vm_options *o);
/* vm_id.c: an id that is given (NULL: none is) is an identifier. */
int id_check(const char *option, const char *key, const char *id, struct error *err);
/* The same for id= in l, which is of a "device" or an "object" and is not among those taken yet. */
int id_take(struct vm_options *o, struct vm_id **taken, const char *what, const struct option_list *l, struct error *err);
/* vm_machine.c */
option_fn option_machine, option_accel, option_enable_kvm;
/* vm_board.c */
option_fn option_cpu, option_smp, option_rtc, option_boot, option_uuid, option_name, option_device, option_global, option_action, option_watchdog_action;
/* vm_later.c: of a device of QEMU's that is not here, what is instead; else NULL. */
const char *device_later(const char *name);
/* vm_display.c */
option_fn option_display, option_layout, option_vga, option_vnc;
/* vm_tls.c */
int object_tls(struct vm_options *o, const struct option_list *l, struct error *err);
int vnc_finish(struct vm_options *o, struct error *err);
void vm_tls_free(struct vm_options *o);
int device_vga(struct vm_options *o, const char *arg, const struct option_list *l, struct error *err);
int device_gpu(struct vm_options *o, const char *arg, const struct option_list *l, struct error *err);   /* vm_gpu.c */
/* The machine's graphic card (an enum of vga_settings), named by -device. */
int vga_card_set(struct vm_options *o, const char *name, unsigned card, struct error *err);
/* "vgamem_mb=32" of -global VGA.vgamem_mb=32. */
int global_vga(struct vm_options *o, const char *property, struct error *err);
int global_gpu(struct vm_options *o, const char *property, struct error *err);
/* vm_usb.c */
option_fn option_usb, option_usbdevice;
int device_usb(struct vm_options *o, const char *arg, const struct option_list *l, struct error *err);
int device_usb_controller(struct vm_options *o, const char *arg, const struct option_list *l, struct error *err);
/* -usb, or usb= of -machine. */
int usb_enable(struct vm_options *o, bool on, struct error *err);
/* Connects the drives of sticks; then the rest. */
int usb_drives_finish(struct vm_options *o, struct error *err);
int usb_finish(struct vm_options *o, struct error *err);
/* vm_share.c */
option_fn option_virtfs, option_fsdev;
int shares_finish(struct vm_options *o, struct error *err);
/* vm_memory.c */
option_fn option_memory, option_mem_path, option_mem_prealloc, option_overcommit;
int object_memory(struct vm_options *o, const struct option_list *l, struct error *err);
int memory_finish(struct vm_options *o, struct error *err);
/* vm_drive.c */
option_fn option_fda, option_fdb, option_hda, option_hdb, option_hdc, option_hdd, option_cdrom, option_drive;
int device_floppy(struct vm_options *o, const char *arg, const struct option_list *l, struct error *err);
/* What a device needs: an image. */
static inline bool drive_has_image(const struct drive_config *d) { return d->open.filename || d->is_node; }
int device_ide(struct vm_options *o, const char *arg, const struct option_list *l, struct error *err);
int device_ahci(struct vm_options *o, const char *arg, const struct option_list *l, struct error *err);
int drives_finish(struct vm_options *o, struct error *err);
/* What a device said about errors goes before what its drive said. */
/* bootindex=: each is given once. */
int boot_index_set(struct vm_options *o, const char *value, unsigned *rank, struct error *err);
int drive_errors_set(struct vm_options *o, struct drive_config *d, const struct drive_errors *e, struct error *err);
/* vm_floppy.c: drives of -device floppy, once all options are read. */
int floppies_finish(struct vm_options *o, struct error *err);
/* The drive at that place, or NULL. */
struct drive_config *drive_of(struct vm_options *o, enum drive_interface interface, int index);
int drive_add(struct vm_options *o, const struct drive_config *d, struct error *err);
/* The drive of that id, or NULL. */
struct drive_config *drive_by_id(struct vm_options *o, const char *id);
int pflash_add(struct vm_options *o, const char *file, struct error *err);
/* vm_firmware.c */
option_fn option_bios, option_fw_cfg, option_option_rom, option_pflash, option_firmware_dir;
int machine_flash_set(struct vm_options *o, int chip, const char *id, struct error *err);
/* Before drives_finish: flash chips take the drives that -machine gave them. */
int flash_finish(struct vm_options *o, struct error *err);
/* Finds the firmware, and refuses what cannot work here. */
int firmware_finish(struct vm_options *o, struct error *err);
/* vm_blockdev.c */
option_fn option_blockdev;
int blockdev_read(struct vm_options *o, const char *arg, struct drive_config *d, struct error *err);
/* driver= of a node, or of the file below a -drive. */
int blockdev_driver_check(const char *driver, bool protocols_only, struct error *err);
/* A throttle's group is looked for. */
int blockdev_filter_join(struct vm_options *o, struct drive_config *d, struct error *err);
/* vm_virtio.c */
int device_virtio(struct vm_options *o, const char *arg, const struct option_list *l, struct error *err);
int device_virtio_port(struct vm_options *o, const char *arg, const struct option_list *l, struct error *err);
int device_scsi(struct vm_options *o, const char *arg, const struct option_list *l, struct error *err);
option_fn option_object;
int virtio_finish(struct vm_options *o, struct error *err);
/* vm_object.c */
void vm_objects_free(struct vm_options *o);
/* vm_net.c: networks */
option_fn option_netdev, option_filter_dump;
/* What a filter-dump's text says; false for off: it is none now. 0, or -1 with *err. */
int filter_dump_read(const struct option_list *l, struct net_dump_config *d, const char **netdev, bool *off, struct error *err);
/* One that l (all of it but its type, which is the first value) describes; NULL with *err. what names the option. */
struct netdev_config *netdev_add(struct vm_options *o, const char *what, const struct option_list *l, struct error *err);
/* NULL with *err: too many. The id is made up if it is NULL. */
struct netdev_config *netdev_new(struct vm_options *o, const char *id, enum netdev_kind kind, struct error *err);
/* vm_nic.c: network cards */
option_fn option_nic, option_net;
int device_nic(struct vm_options *o, const char *arg, const struct option_list *l, struct error *err);
int nics_finish(struct vm_options *o, struct error *err);
/* vm_audio.c */
option_fn option_audiodev;
int audio_finish(struct vm_options *o, struct error *err);
/* vm_serial.c */
option_fn option_serial;
int device_isa_serial(struct vm_options *o, const char *arg, const struct option_list *l, struct error *err);
int serials_finish(struct vm_options *o, struct error *err);
/* vm_console.c */
option_fn option_monitor, option_qmp, option_qmp_pretty, option_debugcon, option_chardev, option_add_fd, option_mon, option_msg, option_parallel;
/* "chardev:ID" becomes the text that -chardev with this id amounts to; other text stays. NULL with *err. */
const char *chardev_resolve(struct vm_options *o, const char *spec, struct error *err);
/* The same for who uses it from the start: it has one user, unless it is mux=on. */
const char *chardev_take(struct vm_options *o, const char *spec, struct error *err);
typedef const char *chardev_fn(struct vm_options *o, const char *spec, struct error *err);
/* How the character devices of guestfwd= are opened, by one of these two. 0, or -1 with *err: one was refused; all others are looked up nevertheless. */
int guestfwds_resolve(struct vm_options *o, struct netdev_config *d, chardev_fn *find, struct error *err);
int console_finish(struct vm_options *o, struct error *err);

/* Engine by name, colon separated for several: "kvm:tcg". */
int accel_parse(struct vm_options *o, const char *names, struct error *err);

#endif
