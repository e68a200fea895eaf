/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * fw_cfg: a selector port (510h), a data port (511h) that gives the selected item byte by byte, and a DMA
 * interface (514h, a big-endian address of a request in guest memory). Files are items from key 20h on, listed
 * in item 19h. Reading past the end of an item gives zeros.
 *
 * Limits: items are read-only; a DMA write gets the error bit, as the interface defines for such items.
 * Source: QEMU's specification of the device (docs/specs/fw_cfg).
 */
#include "device/firmware/fw_cfg.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/bits.h"
#include "base/error.h"
#include "base/log.h"

enum { FILES = 64, NUMBERED = 32, NAME_BYTES = 56, PORT_BASE = 0x510, PORT_COUNT = 12 };
enum { SELECTOR = 0, DATA = 1, DMA_HIGH = 4, DMA_LOW = 8 };
enum { ID_TRADITIONAL = 1, ID_DMA = 2 };
enum { DMA_ERROR = 1, DMA_READ = 2, DMA_SKIP = 4, DMA_SELECT = 8, DMA_WRITE = 16 };
#define ADDRESSES (1ull << 52)               /* no physical address lies beyond */
#define DMA_SIGNATURE 0x51454d5520434647ull   /* "QEMU CFG" */

struct item {
    uint16_t key;
    uint8_t *data;
    uint32_t size;
};

struct directory_entry {
    be32 size;
    be16 select, reserved;
    char name[NAME_BYTES];
} __attribute__((packed));

struct fw_cfg {
    struct device device;
    struct memory_map *memory;
    struct memory_range *range;
    struct item item[FILES + NUMBERED];
    unsigned item_count;
    struct directory_entry entry[FILES];
    unsigned file_count;
    uint16_t key;
    uint32_t offset;
    uint64_t dma_address;
    uint16_t watched_key;              /* 0: none */
    void (*on_select)(void *opaque);
    void *on_select_opaque;
};

static const struct item *item_find(const struct fw_cfg *f, uint16_t key)
{
    for (unsigned i = 0; i < f->item_count; i++)
        if (f->item[i].key == key) return &f->item[i];
    return NULL;
}

static void item_select(struct fw_cfg *f, uint16_t key)
{
    f->key = key;
    f->offset = 0;
    if (key == f->watched_key && key) f->on_select(f->on_select_opaque);
    trace(TRACE_FW_CFG, "fw_cfg: select %04x%s\n", key, item_find(f, key) ? "" : " (not there)");
}

/* What is left of the selected item, at most *size; moves on by size. */
static const uint8_t *item_take(struct fw_cfg *f, uint32_t size, uint32_t *there)
{
    const struct item *i = item_find(f, f->key);
    const uint8_t *data = NULL;

    *there = 0;
    if (!i || f->offset >= i->size) return NULL;
    data = i->data + f->offset;
    *there = MIN(size, i->size - f->offset);
    f->offset += *there;
    return data;
}

static uint64_t data_read(struct fw_cfg *f, unsigned size)
{
    uint64_t value = 0;
    uint32_t there;

    for (unsigned i = 0; i < size; i++) {
        const uint8_t *p = item_take(f, 1, &there);

        value = value << 8 | (p ? *p : 0);
    }
    return value;
}

/* ---- DMA ---- */

static bool zeros_write(struct fw_cfg *f, gpa_t address, uint32_t length)
{
    static const uint8_t zeros[4096];

    while (length) {
        uint32_t part = MIN(length, (uint32_t)sizeof(zeros));

        if (!memory_dma_write(f->memory, address, zeros, part)) return false;
        address += part;
        length -= part;
    }
    return true;
}

static uint32_t dma_transfer(struct fw_cfg *f, uint32_t control, uint32_t length, gpa_t address)
{
    const uint8_t *data;
    uint32_t there;

    if (control & DMA_SELECT) item_select(f, (uint16_t)(control >> 16));
    if (address >= ADDRESSES) return DMA_ERROR;
    if (control & DMA_READ) {
        data = item_take(f, length, &there);
        if (there && !memory_dma_write(f->memory, address, data, there)) return DMA_ERROR;
        return zeros_write(f, address + there, length - there) ? 0 : DMA_ERROR;
    }
    if (control & DMA_WRITE) return DMA_ERROR;
    if (control & DMA_SKIP) item_take(f, length, &there);
    return 0;
}

static void dma_request(struct fw_cfg *f)
{
    struct { be32 control, length; be64 address; } __attribute__((packed)) r;
    gpa_t at = f->dma_address;
    be32 result;

    f->dma_address = 0;
    if (at >= ADDRESSES || !memory_dma_read(f->memory, at, &r, sizeof(r))) {
        trace(TRACE_GUEST_ERRORS, "fw_cfg: no memory at the DMA request %llx\n", (unsigned long long)at);
        result = be32_make(DMA_ERROR);
    } else {
        trace(TRACE_FW_CFG, "fw_cfg: DMA %08x, %u bytes at %llx\n", be32_get(r.control), be32_get(r.length),
              (unsigned long long)be64_get(r.address));
        result = be32_make(dma_transfer(f, be32_get(r.control), be32_get(r.length), be64_get(r.address)));
    }
    if (at < ADDRESSES) memory_dma_write(f->memory, at, &result, sizeof(result));
}

/* ---- ports ---- */

static uint64_t fw_cfg_read(void *opaque, uint64_t offset, unsigned size)
{
    struct fw_cfg *f = opaque;

    if (offset >= DMA_HIGH) {
        /* Big-endian: the byte at offset 0 is the most significant one. */
        uint64_t bytes = htobe64(DMA_SIGNATURE) >> (8 * (offset - DMA_HIGH));

        return size == 8 ? bytes : bytes & (BIT(8 * size) - 1);
    }
    if (offset == DATA) return data_read(f, 1);
    return 0;                          /* the selector is write-only */
}

static void fw_cfg_write(void *opaque, uint64_t offset, uint64_t value, unsigned size)
{
    struct fw_cfg *f = opaque;

    if (offset == SELECTOR && size == 2) item_select(f, (uint16_t)value);
    else if (offset == DMA_HIGH && size == 4) f->dma_address = (uint64_t)be32toh((uint32_t)value) << 32;
    else if (offset == DMA_LOW && size == 4) {
        f->dma_address = (f->dma_address & ~0xffffffffull) | be32toh((uint32_t)value);
        dma_request(f);
    }
}

static const struct io_ops fw_cfg_io = { fw_cfg_read, fw_cfg_write, 1, 4 };

/* ---- items ---- */

static int item_set(struct fw_cfg *f, uint16_t key, const void *data, size_t size, struct error *err)
{
    struct item *i = (struct item *)(uintptr_t)item_find(f, key);
    uint8_t *copy;

    if (size > UINT32_MAX / 2) return error_set(err, "fw_cfg: item %#x is too large", key);
    if (!i && f->item_count == ARRAY_SIZE(f->item))
        return error_set(err, "fw_cfg: there is no room for item %#x", key);
    copy = malloc(size ? size : 1);
    if (!copy) return error_set(err, "fw_cfg: no memory for item %#x", key);
    if (size) memcpy(copy, data, size);
    if (!i) {
        i = &f->item[f->item_count++];
        i->data = NULL;
    }
    free(i->data);
    *i = (struct item){ key, copy, (uint32_t)size };
    return 0;
}

static int directory_update(struct fw_cfg *f, struct error *err)
{
    uint8_t buffer[4 + sizeof(f->entry)];
    be32 count = be32_make(f->file_count);

    memcpy(buffer, &count, 4);
    memcpy(buffer + 4, f->entry, f->file_count * sizeof(f->entry[0]));
    return item_set(f, FW_CFG_FILE_DIR, buffer, 4 + f->file_count * sizeof(f->entry[0]), err);
}

int fw_cfg_set(struct device *d, uint16_t key, const void *data, size_t size, struct error *err)
{
    return item_set(container_of(d, struct fw_cfg, device), key, data, size, err);
}

int fw_cfg_set_u16(struct device *d, uint16_t key, uint16_t value, struct error *err)
{
    le16 v = le16_make(value);

    return fw_cfg_set(d, key, &v, sizeof(v), err);
}

int fw_cfg_set_u32(struct device *d, uint16_t key, uint32_t value, struct error *err)
{
    le32 v = le32_make(value);

    return fw_cfg_set(d, key, &v, sizeof(v), err);
}

int fw_cfg_set_u64(struct device *d, uint16_t key, uint64_t value, struct error *err)
{
    le64 v = le64_make(value);

    return fw_cfg_set(d, key, &v, sizeof(v), err);
}

int fw_cfg_set_file(struct device *d, const char *name, const void *data, size_t size, struct error *err)
{
    struct fw_cfg *f = container_of(d, struct fw_cfg, device);
    unsigned n = 0;

    if (strlen(name) >= NAME_BYTES) return error_set(err, "fw_cfg: the file name '%s' is too long", name);
    while (n < f->file_count && strcmp(f->entry[n].name, name)) n++;
    if (n == FILES) return error_set(err, "fw_cfg: there is no room for the file '%s'", name);
    if (item_set(f, (uint16_t)(FW_CFG_FILE_FIRST + n), data, size, err) < 0) return -1;
    if (n == f->file_count) f->file_count++;
    f->entry[n].size = be32_make((uint32_t)size);
    f->entry[n].select = be16_make((uint16_t)(FW_CFG_FILE_FIRST + n));
    strcpy(f->entry[n].name, name);
    return directory_update(f, err);
}

bool fw_cfg_has_file(const struct device *d, const char *name)
{
    const struct fw_cfg *f = container_of(d, struct fw_cfg, device);
    unsigned n = 0;

    while (n < f->file_count && strcmp(f->entry[n].name, name)) n++;
    return n < f->file_count;
}

void fw_cfg_on_select(struct device *d, const char *name, void (*fn)(void *opaque), void *opaque)
{
    struct fw_cfg *f = container_of(d, struct fw_cfg, device);

    for (unsigned n = 0; n < f->file_count; n++) {
        if (strcmp(f->entry[n].name, name)) continue;
        f->on_select = fn;
        f->on_select_opaque = opaque;
        f->watched_key = (uint16_t)(FW_CFG_FILE_FIRST + n);
    }
}

/* ---- life ---- */

static void fw_cfg_reset(struct device *d)
{
    struct fw_cfg *f = container_of(d, struct fw_cfg, device);

    f->key = FW_CFG_SIGNATURE;
    f->offset = 0;
    f->dma_address = 0;
}

static void fw_cfg_destroy(struct device *d)
{
    struct fw_cfg *f = container_of(d, struct fw_cfg, device);

    if (f->range) memory_range_remove(f->range);
    for (unsigned i = 0; i < f->item_count; i++) free(f->item[i].data);
    free(f);
}

static void fw_cfg_info(struct device *d, void (*print)(void *opaque, const char *line), void *opaque)
{
    const struct fw_cfg *f = container_of(d, struct fw_cfg, device);
    char line[128];

    for (unsigned i = 0; i < f->file_count; i++) {
        snprintf(line, sizeof(line), "%04x %8u %s", be16_get(f->entry[i].select), be32_get(f->entry[i].size),
                 f->entry[i].name);
        print(opaque, line);
    }
}

static const struct state_field fw_cfg_state[] = {
    STATE_FIELD(struct fw_cfg, key), STATE_FIELD(struct fw_cfg, offset), STATE_FIELD(struct fw_cfg, dma_address),
    STATE_END
};

static const struct device_ops fw_cfg_ops = {
    .name = "fw_cfg",
    .description = "firmware configuration",
    .reset = fw_cfg_reset,
    .destroy = fw_cfg_destroy,
    .state = fw_cfg_state,
    .info = fw_cfg_info,
};

struct device *fw_cfg_new(const struct fw_cfg_config *config, struct error *err)
{
    struct fw_cfg *f = calloc(1, sizeof(*f));

    if (!f) {
        error_set(err, "fw_cfg: no memory");
        return NULL;
    }
    f->device.ops = &fw_cfg_ops;
    f->memory = config->memory;
    if (item_set(f, FW_CFG_SIGNATURE, "QEMU", 4, err) < 0 || directory_update(f, err) < 0 ||
        fw_cfg_set_u32(&f->device, FW_CFG_ID, ID_TRADITIONAL | ID_DMA, err) < 0) {
        fw_cfg_destroy(&f->device);
        return NULL;
    }
    f->range = memory_map_add_io(config->ports, "fw_cfg", PORT_BASE, PORT_COUNT, &fw_cfg_io, f, 2);
    return &f->device;
}
