/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Option ROMs of network cards.
 *
 * An image outlives its card: a guest may have told another device to read from the ROM and pull the card before that is done. It is kept for
 * the next card that wants one of its size, so there are never more than were in use at the same time.
 */
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/error.h"
#include "machine/pc_private.h"

enum { ROM_MAX = 16 << 20, ROM_PAGE = 4096 };

struct rom_image {
    struct rom_image *next;
    void *data;
    size_t bytes;
    bool is_used;
};

static void *image_take(struct machine *m, size_t bytes)
{
    struct rom_image *i = m->roms;

    while (i && (i->is_used || i->bytes != bytes)) i = i->next;
    if (!i) {
        i = calloc(1, sizeof(*i));
        if (i) *i = (struct rom_image){ .next = m->roms, .data = aligned_alloc(ROM_PAGE, bytes), .bytes = bytes };
        if (!i || !i->data) {
            free(i);
            return NULL;
        }
        m->roms = i;
    }
    i->is_used = true;
    return i->data;
}

void pc_rom_leave(struct machine *m, const void *rom)
{
    for (struct rom_image *i = m->roms; i && rom; i = i->next)
        if (i->data == rom) i->is_used = false;
}

void pc_roms_free(struct machine *m)
{
    for (struct rom_image *i; (i = m->roms);) {
        m->roms = i->next;
        free(i->data);
        free(i);
    }
}

/* Whole pages, a power of two of them, the rest filled with zeros. A name without a folder may be one of iPXE's. */
int pc_rom_read(struct machine *m, void **rom, const char *path, uint32_t *bytes, struct error *err)
{
    size_t size, room = ROM_PAGE;
    uint8_t *data;
    char there[PATH_MAX];

    snprintf(there, sizeof(there), PC_ROM_FOLDER "%s", path);
    data = pc_file_read("option ROM", strchr(path, '/') || access(path, F_OK) == 0 || access(there, F_OK) < 0 ? path : there, ROM_MAX, &size, err);
    if (!data) return -1;
    while (room < size) room *= 2;
    *rom = image_take(m, room);
    if (*rom) {
        memcpy(*rom, data, size);
        memset((uint8_t *)*rom + size, 0, room - size);
    }
    free(data);
    *bytes = (uint32_t)room;
    return *rom ? 0 : error_set(err, "no memory for the option ROM '%s'", path);
}

/* iPXE's ROM for virtio names the modern device, that for NE2000 none; firmware starts it only for the device it names. As QEMU does it: the
 * IDs are put right, and a byte of the image that nobody reads makes up for it in the checksum (PCI firmware specification 3.0, 5.1). */
void pc_rom_device_set(void *rom, uint32_t bytes, uint16_t vendor, uint16_t device)
{
    uint8_t *image = rom;
    size_t at;

    if (bytes < 0x20 || image[0] != 0x55 || image[1] != 0xaa) return;
    at = image[0x18] | image[0x19] << 8;
    if (at + 8 > bytes || memcmp(image + at, "PCIR", 4)) return;
    for (unsigned i = 4; i < 8; i++) image[6] += image[at + i];
    image[6] -= (uint8_t)((vendor & 0xff) + (vendor >> 8) + (device & 0xff) + (device >> 8));
    image[at + 4] = (uint8_t)vendor;
    image[at + 5] = (uint8_t)(vendor >> 8);
    image[at + 6] = (uint8_t)device;
    image[at + 7] = (uint8_t)(device >> 8);
}
