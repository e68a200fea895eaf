/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * 82441FX. The configuration address register takes 32-bit accesses at CF8h only; data goes through CFCh-CFFh.
 *
 * PAM: 13 regions of C0000h-FFFFFh, each with a read and a write enable for the RAM behind. Where reads are on, a range of
 * RAM lies over whatever else is there. Where only writes are on, an I/O range answers reads with the firmware and
 * passes writes to the RAM. Where both are off and no firmware is seen, an I/O range hides the RAM.
 * SMRAM's register is kept; there is no SMM.
 * Source: Intel 82441FX data sheet 290549.
 */
#include "device/chipset/i440fx.h"

#include <stdlib.h>
#include <string.h>

#include "base/bits.h"
#include "base/error.h"

enum { SHADOW_START = 0xc0000, SHADOW_END = 0x100000, REGIONS = 13, PAM0 = 0x59, SMRAM = 0x72, PRIORITY = 4 };
enum { READ_ENABLE = 1, WRITE_ENABLE = 2 };

struct region {
    struct i440fx *bridge;
    uint32_t start, size;
    struct memory_range *ram, *cover;
};

struct i440fx {
    struct pci_device pci;
    struct i440fx_config config;
    struct memory_range *range[2];
    uint32_t address;
    struct region region[REGIONS];
};

/* ---- configuration mechanism 1 ---- */

static uint64_t address_read(void *opaque, uint64_t offset, unsigned size)
{
    struct i440fx *s = opaque;

    if (offset == 1 && size == 1 && s->config.reset_control_read) return s->config.reset_control_read(s->config.opaque);
    return s->address >> 8 * offset;
}

static void address_write(void *opaque, uint64_t offset, uint64_t value, unsigned size)
{
    struct i440fx *s = opaque;

    if (offset == 0 && size == 4) s->address = value;
    else if (offset == 1 && size == 1 && s->config.reset_control_write) s->config.reset_control_write(s->config.opaque, value);
}

static uint64_t data_read(void *opaque, uint64_t offset, unsigned size)
{
    struct i440fx *s = opaque;

    if (!(s->address >> 31)) return 0xffffffff;
    return pci_config_read(s->pci.bus, (s->address & 0x00fffffc) | offset, size);
}

static void data_write(void *opaque, uint64_t offset, uint64_t value, unsigned size)
{
    struct i440fx *s = opaque;

    if (s->address >> 31) pci_config_write(s->pci.bus, (s->address & 0x00fffffc) | offset, value, size);
}

static const struct io_ops address_io = { address_read, address_write, 1, 4 };
static const struct io_ops data_io = { data_read, data_write, 1, 4 };

/* ---- PAM ---- */

static uint32_t rom_start(const struct i440fx *s) { return SHADOW_END - (s->config.rom ? s->config.rom_bytes : 0); }

static uint64_t cover_read(void *opaque, uint64_t offset, unsigned size)
{
    struct region *r = opaque;
    struct i440fx *s = r->bridge;
    uint32_t at = r->start + offset;
    uint64_t value = UINT64_MAX;

    if (at >= rom_start(s)) memcpy(&value, s->config.rom + (at - rom_start(s)), size);
    return value;
}

static void cover_write(void *opaque, uint64_t offset, uint64_t value, unsigned size)
{
    struct region *r = opaque;
    struct i440fx *s = r->bridge;
    unsigned n = (unsigned)(r - s->region), pam = s->pci.config[PAM0 + (n + 1) / 2] >> (n & 1 ? 0 : 4);

    if (pam & WRITE_ENABLE) memcpy(s->config.shadow + (r->start - SHADOW_START) + offset, &value, size);
}

static const struct io_ops cover_io = { cover_read, cover_write, 1, 8 };

/* Region 0 is F0000h (PAM0, high nibble); 1 is C0000h (PAM1, low nibble), 2 C4000h and so on. */
static void pam_update(struct i440fx *s)
{
    if (!s->config.shadow) return;
    memory_map_begin(s->config.memory);
    for (unsigned n = 0; n < REGIONS; n++) {
        struct region *r = &s->region[n];
        unsigned pam = s->pci.config[PAM0 + (n + 1) / 2] >> (n & 1 ? 0 : 4);
        bool rom = r->start >= rom_start(s);
        memory_range_enable(r->ram, pam & READ_ENABLE);
        memory_range_set_readonly(r->ram, !(pam & WRITE_ENABLE));
        memory_range_enable(r->cover, !(pam & READ_ENABLE) && (pam & WRITE_ENABLE || !rom));
    }
    memory_map_end(s->config.memory);
}

static void pam_create(struct i440fx *s)
{
    if (!s->config.shadow) return;
    memory_map_begin(s->config.memory);
    for (unsigned n = 0; n < REGIONS; n++) {
        struct region *r = &s->region[n];
        r->bridge = s;
        r->start = n ? SHADOW_START + (n - 1) * 0x4000 : 0xf0000;
        r->size = n ? 0x4000 : 0x10000;
        r->ram = memory_map_add_ram(s->config.memory, "shadow-ram", r->start, r->size, s->config.shadow + (r->start - SHADOW_START), false,
                                    PRIORITY);
        r->cover = memory_map_add_io(s->config.memory, "shadow-off", r->start, r->size, &cover_io, r, PRIORITY);
    }
    memory_map_end(s->config.memory);
}

/* ---- device ---- */

static void config_write(struct pci_device *d, unsigned offset, uint32_t value, unsigned size)
{
    if (offset <= PAM0 + 6 && offset + size > PAM0) pam_update((struct i440fx *)d);
}

static void i440fx_reset(struct device *d)
{
    struct i440fx *s = (struct i440fx *)d;

    s->address = 0;
    memset(s->pci.config + PAM0, 0, 7);
    s->pci.config[SMRAM] = 2;
    pam_update(s);
}

static void i440fx_destroy(struct device *d)
{
    struct i440fx *s = (struct i440fx *)d;

    for (unsigned n = 0; n < ARRAY_SIZE(s->range); n++) memory_range_remove(s->range[n]);
    for (unsigned n = 0; n < REGIONS && s->config.shadow; n++) {
        memory_range_remove(s->region[n].ram);
        memory_range_remove(s->region[n].cover);
    }
    free(s);
}

static const struct state_field i440fx_state[] = { STATE_FIELD(struct i440fx, address), STATE_ARRAY(struct i440fx, pci.config), STATE_END };
static void i440fx_after_load(struct device *d) { pam_update((struct i440fx *)d); }

static const struct pci_device_ops i440fx_ops = {
    .device = { "i440fx", "82441FX host bridge", i440fx_reset, i440fx_destroy, i440fx_state, i440fx_after_load, NULL },
    .config_write = config_write,
};

struct device *i440fx_new(const struct i440fx_config *config, struct error *err)
{
    struct i440fx *s = calloc(1, sizeof *s);

    if (!s) {
        error_set(err, "i440fx: out of memory");
        return NULL;
    }
    s->config = *config;
    if (pci_device_init(&s->pci, &i440fx_ops, config->bus, 0, 0x8086, 0x1237, 0x06000002, err) < 0) {
        free(s);
        return NULL;
    }
    memset(s->pci.writable + 0x50, 0xff, 0x20);        /* memory timing and sizes: kept, without effect */
    memset(s->pci.writable + PAM0, 0x33, 7);
    s->pci.writable[PAM0] = 0x30;
    s->pci.writable[SMRAM] = 0x70;
    s->range[0] = memory_map_add_io(config->ports, "pci-conf-address", 0xcf8, 4, &address_io, s, 2);
    s->range[1] = memory_map_add_io(config->ports, "pci-conf-data", 0xcfc, 4, &data_io, s, 2);
    pam_create(s);
    i440fx_reset(&s->pci.device);
    return &s->pci.device;
}
