/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The firmware configuration device: what the board tells its firmware, by number and by file name. */
#ifndef DEVICE_FIRMWARE_FW_CFG_H
#define DEVICE_FIRMWARE_FW_CFG_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "bus/device.h"
#include "memory/map.h"

struct error;

/* Keys that SeaBIOS, OVMF and Linux ask for. */
enum {
    FW_CFG_SIGNATURE = 0x00,
    FW_CFG_ID = 0x01,
    FW_CFG_UUID = 0x02,
    FW_CFG_RAM_SIZE = 0x03,
    FW_CFG_NOGRAPHIC = 0x04,
    FW_CFG_NB_CPUS = 0x05,
    FW_CFG_KERNEL_ADDRESS = 0x07,
    FW_CFG_KERNEL_SIZE = 0x08,
    FW_CFG_INITRD_ADDRESS = 0x0a,
    FW_CFG_INITRD_SIZE = 0x0b,
    FW_CFG_BOOT_DEVICE = 0x0c,
    FW_CFG_NUMA = 0x0d,
    FW_CFG_BOOT_MENU = 0x0e,
    FW_CFG_MAX_CPUS = 0x0f,
    FW_CFG_KERNEL_DATA = 0x11,
    FW_CFG_INITRD_DATA = 0x12,
    FW_CFG_COMMAND_LINE_ADDRESS = 0x13,
    FW_CFG_COMMAND_LINE_SIZE = 0x14,
    FW_CFG_COMMAND_LINE_DATA = 0x15,
    FW_CFG_SETUP_ADDRESS = 0x16,
    FW_CFG_SETUP_SIZE = 0x17,
    FW_CFG_SETUP_DATA = 0x18,
    FW_CFG_FILE_DIR = 0x19,
    FW_CFG_FILE_FIRST = 0x20,
    FW_CFG_BOOT_PIECE = 0x7000,        /* the first of those that an option ROM of ours asks for */
    FW_CFG_ACPI_TABLES = 0x8000,
    FW_CFG_SMBIOS_ENTRIES = 0x8001,
    FW_CFG_IRQ0_OVERRIDE = 0x8002,
    FW_CFG_E820_TABLE = 0x8003
};

struct fw_cfg_config {
    struct memory_map *ports;          /* 510h-51Bh */
    struct memory_map *memory;         /* for DMA */
};
/* Realized and reset, with signature, id and an empty directory; NULL with *err when out of memory. */
struct device *fw_cfg_new(const struct fw_cfg_config *config, struct error *err);

/* Items are copied; one that exists already is replaced. 0, or -1 with *err (out of memory, too many, name too
 * long). */
int fw_cfg_set(struct device *d, uint16_t key, const void *data, size_t size, struct error *err);
int fw_cfg_set_u16(struct device *d, uint16_t key, uint16_t value, struct error *err);
int fw_cfg_set_u32(struct device *d, uint16_t key, uint32_t value, struct error *err);
int fw_cfg_set_u64(struct device *d, uint16_t key, uint64_t value, struct error *err);
int fw_cfg_set_file(struct device *d, const char *name, const void *data, size_t size, struct error *err);
bool fw_cfg_has_file(const struct device *d, const char *name);
/* Called when the guest selects this file, before it reads: the last moment to set it anew, in the same size. One file has that. */
void fw_cfg_on_select(struct device *d, const char *name, void (*fn)(void *opaque), void *opaque);

#endif
