/* SPDX-License-Identifier: GPL-2.0-or-later */
/* SMBIOS 2.8 structures: what the machine is called and what is in it. */
#ifndef DEVICE_FIRMWARE_SMBIOS_H
#define DEVICE_FIRMWARE_SMBIOS_H

#include <stdint.h>

#include "memory/map.h"

struct device;
struct error;

struct smbios_config {
    const char *version;               /* of the program */
    const char *name;                  /* of the machine; NULL: none. Shown as the system's serial number */
    const uint8_t *uuid;               /* 16 bytes in text order; NULL: not set */
    unsigned sockets;
    uint64_t ram_below_4g, ram_above_4g;
    unsigned cores, threads;           /* of a socket, of a core */
};
struct smbios_tables {
    uint8_t anchor[31];                /* its address field is 0 until placed */
    uint8_t *tables;
    uint32_t tables_bytes;
};

/* 0, or -1 with *err when out of memory. */
int smbios_build(struct smbios_tables *t, const struct smbios_config *config, struct error *err);
void smbios_free(struct smbios_tables *t);
/* etc/smbios/smbios-anchor and etc/smbios/smbios-tables. */
int smbios_publish(const struct smbios_tables *t, struct device *fw_cfg, struct error *err);
/* Without firmware: the anchor at a 16-byte boundary between F0000h and FFFFFh, the structures at tables_at. */
void smbios_place(const struct smbios_tables *t, struct memory_map *memory, gpa_t anchor_at, gpa_t tables_at);

#endif
