/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Parts of the board that have a file of their own. All return 0, or -1 with *err. */
#ifndef MACHINE_PC_PRIVATE_H
#define MACHINE_PC_PRIVATE_H

#include "machine/machine_private.h"

/* Addresses of what direct boot puts into the F segment, where SeaBIOS would. */
enum { PC_RSDP = 0xf0000, PC_SMBIOS_ANCHOR = 0xf0040, PC_SMBIOS_TABLES = 0xf0100 };
#define PC_LOW_MAX 0xc0000000ull       /* RAM beyond lies above 4 GiB */
#define PC_TABLES_BYTES 0x20000ull     /* at the top of low RAM, for the ACPI tables of direct boot */
#define PC_BIOS_HIGH_BYTES 0x100000ull /* there SeaBIOS keeps its tables and what it allocates for good */

/* pc_memory.c */
int pc_ram_create(struct machine *m, struct error *err);
int pc_bios_load(struct machine *m, struct error *err);
/* The firmware's last bytes, which are seen below 1 MiB too. */
void pc_isa_bios_show(struct machine *m, const uint8_t *firmware, uint64_t size);
/* A whole file of at most max bytes; the caller frees. NULL with *err. */
uint8_t *pc_file_read(const char *what, const char *path, size_t max, size_t *size, struct error *err);
void pc_memory_destroy(struct machine *m);

/* pc_flash.c: firmware and its variables in flash chips instead of a ROM. */
const struct drive_config *pc_flash_drive(const struct machine *m, int chip, unsigned *drive);
bool pc_flash_is_there(const struct machine *m);
int pc_flash_create(struct machine *m, struct error *err);

/* pc_floppy.c: the controller, if there is a drive. */
int pc_floppy_create(struct machine *m, struct error *err);
/* CMOS 10h: the types of both drives. */
uint8_t pc_floppy_types(const struct machine *m);

/* pc_irq.c: a line of its own into an ISA IRQ, which ends at the 8259s and the I/O APIC (or the engine's). */
struct irq_line pc_isa_irq(struct machine *m, unsigned irq);
/* I/O APIC pin n as the HPET sees it; n = 0. */
struct irq_line pc_gsi(struct machine *m);
/* APIC bus, local APICs, I/O APIC, 8259s, if the engine has none. */
int pc_irqchip_create(struct machine *m, struct error *err);
struct msi_target pc_msi(struct machine *m);
/* FERR# latch: port F0h clears it. */
int pc_ferr_create(struct machine *m, struct error *err);

/* pc_firmware.c */
int pc_fw_cfg_create(struct machine *m, struct error *err);
/* The ACPI tables, when all devices are there. */
int pc_acpi_create(struct machine *m, struct error *err);
void pc_cmos_fill(struct machine *m);
void pc_disks_inspect(struct machine *m);
/* pc_boot_order.c: what the firmware shall start, once all devices are there. */
int pc_boot_order_set(struct machine *m, struct error *err);
int pc_direct_boot_load(struct machine *m, struct error *err);
void pc_direct_boot_place(struct machine *m);

/* pc_vga.c: the graphic card and its display. Can it show text without a driver? */
int pc_vga_create(struct machine *m, struct error *err);
bool pc_vga_has_text(const struct machine *m);

/* pc_pci.c: the bus, its chip set functions, IDE. */
int pc_pci_create(struct machine *m, struct error *err);
void pc_pci_reset(struct machine *m);
int pc_ahci_create(struct machine *m, struct error *err);

/* pc_hotplug.c: slots whose functions may come and go. */
uint32_t pc_slots_removable(const struct machine *m);
/* Takes what is in the slot off the bus at once; the main loop frees it. Any thread, machine lock held. */
void pc_slot_eject(void *machine, unsigned slot);
/* Ejects what the guest was asked to let go of, as the first part of a reset. */
void pc_hotplug_reset(struct machine *m);
/* Devices that were ejected and not yet freed; and, last of all, the strings of requests. */
void pc_hotplug_destroy(struct machine *m);
void pc_hotplug_memory_free(struct machine *m);
void machine_memory_free(struct machine_memory *memory);
/* Tells that a device with this id (NULL: nothing is told) is gone. */
void pc_device_deleted(struct machine *m, const char *id, bool is_virtio);
/* pc_hotplug_drive.c: the place of the drive or network of this id, or -1. */
int pc_drive_find(const struct machine *m, const char *id);
int pc_netdev_find(const struct machine *m, const char *id);
/* Takes the drive that r names for a device of this id, if it is free; its errors are what the device says, if it says. Its place, or -1 with *err. */
int pc_drive_take(struct machine *m, const struct machine_device_request *r, enum drive_interface interface, const char *device_id, struct error *err);
/* A CD-ROM drive without a medium, for a device that names none; likewise. */
int pc_drive_empty(struct machine *m, const struct machine_device_request *r, enum drive_interface interface, const char *device_id, struct error *err);
/* There is no such device after all. */
void pc_drive_untake(struct machine *m, unsigned n);
/* The device that used it is gone. */
void pc_drive_release(struct machine *m, unsigned n);
/* A place for a drive of this id, or -1. */
int pc_drive_place(const struct machine *m, const char *id, struct error *err);
void pc_drive_remove(struct machine *m, unsigned n);
/* pc_hotplug_port.c: ports of virtio serial buses. */
int pc_port_add(struct machine *m, struct machine_device_request *r, struct machine_memory *memory, struct error *err);
bool pc_port_find(const struct machine *m, const char *id, unsigned *bus, unsigned *nr);
void pc_port_remove(struct machine *m, unsigned bus, unsigned nr);
/* The bus is gone, and with it its ports. */
void pc_ports_forget(struct machine *m, unsigned bus);
/* pc_chardev.c: NULL: there is none of this label; NULL with *err. what names who wants it, for messages. */
struct chardev *pc_chardev_find(const struct machine *m, const char *label);
struct chardev *pc_chardev_open(struct machine *m, const char *what, const char *spec, struct error *err);
/* One that pc_chardev_open made. */
void pc_chardev_drop(struct machine *m, struct chardev *c);
/* Character devices behind addresses of a user network; they are let go before the network is. 0, or -1 with *err. */
int pc_guestfwds_create(struct machine *m, struct net_backend *b, const struct net_user_config *c, struct error *err);
/* pc_announce.c: no more rounds. */
void pc_announces_end(struct machine *m);
void pc_guestfwds_close(struct machine *m, const struct net_backend *b);
void pc_chardevs_close(struct machine *m);
/* pc_blockdev.c */
int pc_node_open(struct machine *m, unsigned n, struct error *err);
bool pc_node_is_used(const struct machine *m, const char *name);
/* The node that is drive n's medium becomes a node again, and n a drive without medium; and the other way round. 0, or -1 with *err. */
int pc_node_part(struct machine *m, unsigned n, struct error *err);
int pc_node_join(struct machine *m, unsigned n, const char *name, struct error *err);
/* pc_media.c: what messages call drive n; tells of trays. */
void pc_drive_label(const struct machine *m, unsigned n, char *name, size_t size);
struct tray_watch pc_tray_watch(struct machine *m, unsigned drive);

/* pc_throttle.c: drive n has a new image; it goes to another drive or to none; it is free of its device. */
/* All of them, those on top first. */
void pc_drives_close(struct machine *m);
int pc_throttle_apply(struct machine *m, unsigned n, struct error *err);
void pc_throttle_lift(struct machine *m, unsigned n);
void pc_throttle_forget(struct machine *m, unsigned n);
void pc_throttle_destroy(struct machine *m);
/* Does the guest find the drive's write cache on? */
bool pc_write_cache(const struct machine *m, unsigned drive);
/* pc_io_error.c: what becomes of requests of a drive that the host fails. */
struct block_error_policy pc_error_policy(struct machine *m, unsigned drive);
/* The machine goes on, and requests are tried again. */
void pc_io_errors_forget(struct machine *m);

/* pc_display.c: keyboards and pointers, those who look at the screen, and the VNC server. */
int pc_input_create(struct machine *m, struct error *err);
void pc_input_destroy(struct machine *m);
int pc_display_create(struct machine *m, struct error *err);
/* pc_clipboard.c: a device that may be an agent's. What viewers share with the guest; NULL: nothing. */
struct clipboard;
int pc_clipboard_connect(struct machine *m, struct chardev *c, struct error *err);
void pc_clipboard_disconnect(struct machine *m, const struct chardev *c);
struct clipboard *pc_clipboard(const struct machine *m);
void pc_clipboard_destroy(struct machine *m);
/* pc_curses.c: the terminal. */
int pc_curses_create(struct machine *m, struct error *err);
void pc_curses_destroy(struct machine *m);

/* pc_usb.c: controllers and what is plugged in. */
int pc_usb_create(struct machine *m, struct error *err);
/* The machine runs again. */
void pc_usb_started(struct machine *m);
/* Plugs in one more device, at any time; memory is what its strings live in. 0, or -1 with *err. */
int pc_usb_add(struct machine *m, const struct usb_device_config *config, const struct machine_memory *memory, struct error *err);
/* A controller that comes, likewise; NULL with *err. */
struct device *pc_usb_controller_add(struct machine *m, const struct usb_controller_config *config, const struct machine_memory *memory, struct error *err);
/* d's place among the controllers, or -1; one that is of the chip set has none. */
int pc_usb_controller_place(const struct machine *m, const struct device *d);
/* A controller off the PCI bus is about to be freed: all at its bus is pulled out. Then its place is free, if it is none of the command line's. */
void pc_usb_controller_empty(struct machine *m, const struct device *d);
void pc_usb_controller_forget(struct machine *m, int place);
/* The device of this id, if it is one of pc_usb_add's. */
struct usb_device *pc_usb_find(const struct machine *m, const char *id);
/* Pulls out such a device, and what hangs behind it. */
void pc_usb_remove(struct machine *m, struct usb_device *d);
/* What drive n is, if it is at a USB port; else NULL. */
const struct usb_device *pc_usb_of_drive(const struct machine *m, unsigned n);

/* pc_web.c: the web page. */
int pc_web_create(struct machine *m, struct error *err);
void pc_web_destroy(struct machine *m);

/* pc_virtio.c: devices, and what to do when the machine runs again. */
int pc_virtio_create(struct machine *m, struct error *err);
void pc_virtio_started(struct machine *m);
/* One device; NULL with *err. where (may be NULL) gets it on success. */
struct device *pc_virtio_add(struct machine *m, const struct virtio_device_config *config, struct error *err);

/* What the drive is as a SCSI unit; a serial number that is set stays. */
void pc_scsi_unit_fill(struct machine *m, unsigned drive, struct scsi_unit_config *u);

/* pc_net.c: networks, and cards that are made before virtio device number before (see nic_config). */
int pc_networks_create(struct machine *m, struct error *err);
int pc_nics_create(struct machine *m, int before, struct error *err);
/* Warns of networks without a card, and of cards without a network. */
void pc_networks_check(const struct machine *m);
void pc_networks_started(struct machine *m);
void pc_networks_stopped(struct machine *m);
void pc_networks_destroy(struct machine *m);
/* pc_rom.c: a card's option ROM, *rom of *bytes, which are the machine's; the card leaves it when it goes (NULL is fine). */
#define PC_ROM_FOLDER "/usr/lib/ipxe/qemu/"       /* of Debian's ipxe-qemu */
int pc_rom_read(struct machine *m, void **rom, const char *path, uint32_t *bytes, struct error *err);
void pc_rom_leave(struct machine *m, const void *rom);
void pc_roms_free(struct machine *m);
/* The device that an option ROM says it is for. */
void pc_rom_device_set(void *rom, uint32_t bytes, uint16_t vendor, uint16_t device);
struct net_backend *pc_network_create(struct machine *m, const struct netdev_config *d, struct error *err);
void pc_network_free(struct machine *m, struct net_backend *b);        /* NULL is fine */
/* One card; NULL with *err. What was noted of it is then still to be forgotten. */
struct device *pc_nic_create(struct machine *m, const struct nic_config *c, struct error *err);
/* The place is free again, its device is gone. */
void pc_nic_forget(struct machine *m, struct machine_nic *nic);
/* Notes a card for the monitor and reads its option ROM, if any: nic->rom of *rom_bytes. default_rom is the model's own, without folder. */
/* A driver told a card to receive something else. */
void pc_nic_filter_changed(void *machine, struct virtio *v);
int pc_nic_note(struct machine *m, const char *model, const struct nic_common *c, const char *default_rom, struct machine_nic **nic, uint32_t *rom_bytes,
                struct error *err);

/* pci_setup.c: what firmware does to PCI devices, for kernels that are started without. */
void pc_pci_setup(struct machine *m);

/* pc.c */
void pc_device_add(struct machine *m, struct device *d);

#endif
