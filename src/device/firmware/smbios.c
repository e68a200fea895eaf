/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * SMBIOS structures of types 0, 1, 3, 4, 16, 17, 19, 32 and 127. Source: DMTF DSP0134 version 2.8.0, section 5.2.1
 * (entry point) and chapter 7. Each CPU is a socket; each memory device holds at most 16 GiB.
 */
#include "device/firmware/smbios.h"

#include <stdlib.h>
#include <string.h>

#include "base/bits.h"
#include "base/error.h"
#include "device/firmware/fw_cfg.h"

#define GIB (1ull << 30)
#define DEVICE_BYTES (16 * GIB)

enum { TABLES_MAX = 0xc000, STRINGS = 8 };
enum {
    HANDLE_BIOS = 0x0000,
    HANDLE_SYSTEM = 0x0100,
    HANDLE_CHASSIS = 0x0300,
    HANDLE_CPU = 0x0400,
    HANDLE_ARRAY = 0x1000,
    HANDLE_DEVICE = 0x1100,
    HANDLE_MAPPED = 0x1300,
    HANDLE_BOOT = 0x2000,
    HANDLE_END = 0x7f00
};

struct builder {
    struct smbios_tables *t;
    uint32_t start, largest;
    unsigned count, string_count;
    const char *string[STRINGS];
};

static void put(struct builder *b, const void *data, size_t size)
{
    if (b->t->tables_bytes + size > TABLES_MAX) return;        /* cannot happen with at most 255 CPUs */
    memcpy(b->t->tables + b->t->tables_bytes, data, size);
    b->t->tables_bytes += (uint32_t)size;
}

static void put8(struct builder *b, uint8_t v) { put(b, &v, 1); }
static void put16(struct builder *b, uint16_t v) { le16 x = le16_make(v); put(b, &x, 2); }
static void put32(struct builder *b, uint32_t v) { le32 x = le32_make(v); put(b, &x, 4); }
static void put64(struct builder *b, uint64_t v) { le64 x = le64_make(v); put(b, &x, 8); }

static void begin(struct builder *b, uint8_t type, uint16_t handle)
{
    b->start = b->t->tables_bytes;
    b->string_count = 0;
    put8(b, type);
    put8(b, 0);
    put16(b, handle);
}

/* The number of a string, written after the formatted part. */
static void put_string(struct builder *b, const char *s)
{
    if (s && *s) b->string[b->string_count++] = s;
    put8(b, s && *s ? (uint8_t)b->string_count : 0);
}

static void end(struct builder *b)
{
    uint32_t size;

    b->t->tables[b->start + 1] = (uint8_t)(b->t->tables_bytes - b->start);
    for (unsigned i = 0; i < b->string_count; i++) {
        size_t length = strlen(b->string[i]);

        put(b, b->string[i], MIN(length, (size_t)64));         /* DSP0134 6.1.3: 64 characters are always fine */
        put8(b, 0);
    }
    if (!b->string_count) put8(b, 0);
    put8(b, 0);
    size = b->t->tables_bytes - b->start;
    b->largest = MAX(b->largest, size);
    b->count++;
}

static void bios_put(struct builder *b, const struct smbios_config *c)
{
    begin(b, 0, HANDLE_BIOS);
    put_string(b, "ospite");
    put_string(b, c->version);
    put16(b, 0xe800);                  /* segment */
    put_string(b, "01/01/2026");
    put8(b, 0);                        /* 64 KiB */
    put64(b, 1 << 3);                  /* characteristics are not given */
    put8(b, 0);
    put8(b, 0x14);                     /* targeted content distribution, this is a virtual machine */
    put32(b, 0xffff0000);              /* release: not given */
    end(b);
}

/* 7.2.1: the first three fields of a UUID are little-endian. */
static void uuid_put(struct builder *b, const uint8_t *u)
{
    static const uint8_t order[16] = { 3, 2, 1, 0, 5, 4, 7, 6, 8, 9, 10, 11, 12, 13, 14, 15 };

    for (unsigned i = 0; i < 16; i++) put8(b, u ? u[order[i]] : 0);
}

static void system_put(struct builder *b, const struct smbios_config *c)
{
    begin(b, 1, HANDLE_SYSTEM);
    put_string(b, "ospite");
    put_string(b, "Standard PC (i440FX + PIIX3)");
    put_string(b, "pc");
    put_string(b, c->name);
    uuid_put(b, c->uuid);
    put8(b, 6);                        /* woken by the power switch */
    put_string(b, NULL);
    put_string(b, "Virtual Machine");
    end(b);
}

static void chassis_put(struct builder *b)
{
    begin(b, 3, HANDLE_CHASSIS);
    put_string(b, "ospite");
    put8(b, 1);                        /* other */
    put_string(b, "pc");
    put_string(b, NULL);
    put_string(b, NULL);
    put32(b, 0x02030303);              /* boot-up, power, thermal: safe; security: unknown */
    put32(b, 0);
    put32(b, 0);                       /* height, cords, elements */
    put_string(b, NULL);
    end(b);
}

static void cpu_put(struct builder *b, const struct smbios_config *c, unsigned n)
{
    static const char digits[] = "0123456789ABCDEF";
    char socket[] = "CPU 00";

    socket[4] = digits[n >> 4 & 15];
    socket[5] = digits[n & 15];
    begin(b, 4, (uint16_t)(HANDLE_CPU + n));
    put_string(b, socket);
    put8(b, 3);                        /* central processor */
    put8(b, 1);                        /* family: other */
    put_string(b, "ospite");
    put64(b, 0);                       /* id */
    put_string(b, "pc");
    put8(b, 0);                        /* voltage, clock, speeds: unknown */
    put16(b, 0);
    put16(b, 2000);
    put16(b, 2000);
    put8(b, 0x41);                     /* in its socket, enabled */
    put8(b, 1);
    put16(b, 0xffff);                  /* no cache structures */
    put16(b, 0xffff);
    put16(b, 0xffff);
    put_string(b, NULL);
    put_string(b, NULL);
    put_string(b, NULL);
    put8(b, (uint8_t)c->cores);        /* cores, enabled, threads */
    put8(b, (uint8_t)c->cores);
    put8(b, (uint8_t)(c->cores * c->threads));
    put16(b, 4);                       /* 64-bit */
    put16(b, 1);
    end(b);
}

static void memory_put(struct builder *b, const struct smbios_config *c)
{
    uint64_t total = c->ram_below_4g + c->ram_above_4g;
    unsigned devices = (unsigned)((total + DEVICE_BYTES - 1) / DEVICE_BYTES);

    devices = MIN(devices, 64u);
    begin(b, 16, HANDLE_ARRAY);
    put8(b, 1);                        /* location other, system memory, multi-bit ECC */
    put8(b, 3);
    put8(b, 6);
    put32(b, total < 2048 * GIB ? (uint32_t)(total >> 10) : 0x80000000);
    put16(b, 0xfffe);
    put16(b, (uint16_t)devices);
    put64(b, total < 2048 * GIB ? 0 : total);
    end(b);
    for (unsigned i = 0; i < devices; i++) {
        uint64_t mib = MIN(total - i * DEVICE_BYTES, DEVICE_BYTES) >> 20;

        begin(b, 17, (uint16_t)(HANDLE_DEVICE + i));
        put16(b, HANDLE_ARRAY);
        put16(b, 0xfffe);
        put16(b, 0xffff);              /* widths: unknown */
        put16(b, 0xffff);
        put16(b, (uint16_t)mib);
        put8(b, 9);                    /* DIMM */
        put8(b, 0);
        put_string(b, "DIMM");
        put_string(b, NULL);
        put8(b, 7);                    /* RAM */
        put16(b, 2);
        put16(b, 0);
        put_string(b, "ospite");
        put_string(b, NULL);
        put_string(b, NULL);
        put_string(b, NULL);
        put8(b, 0);
        put32(b, 0);
        put16(b, 0);
        put16(b, 0);                   /* voltages */
        put16(b, 0);
        put16(b, 0);
        end(b);
    }
}

static void mapped_put(struct builder *b, unsigned n, uint64_t start, uint64_t size)
{
    if (!size) return;
    begin(b, 19, (uint16_t)(HANDLE_MAPPED + n));
    put32(b, start + size < 4096 * GIB ? (uint32_t)(start >> 10) : UINT32_MAX);
    put32(b, start + size < 4096 * GIB ? (uint32_t)((start + size - 1) >> 10) : UINT32_MAX);
    put16(b, HANDLE_ARRAY);
    put8(b, 1);
    put64(b, start + size < 4096 * GIB ? 0 : start);
    put64(b, start + size < 4096 * GIB ? 0 : start + size - 1);
    end(b);
}

static uint8_t sum_to_zero(const uint8_t *p, size_t size)
{
    uint8_t sum = 0;

    while (size--) sum += *p++;
    return (uint8_t)-sum;
}

static void anchor_fill(uint8_t *a, const struct builder *b, uint32_t address)
{
    le16 largest = le16_make((uint16_t)b->largest), length = le16_make((uint16_t)b->t->tables_bytes);
    le16 count = le16_make((uint16_t)b->count);
    le32 at = le32_make(address);

    memset(a, 0, 31);
    memcpy(a, "_SM_", 4);
    a[5] = 31;
    a[6] = 2;
    a[7] = 8;
    memcpy(a + 8, &largest, 2);
    memcpy(a + 16, "_DMI_", 5);
    memcpy(a + 22, &length, 2);
    memcpy(a + 24, &at, 4);
    memcpy(a + 28, &count, 2);
    a[30] = 0x28;
    a[21] = sum_to_zero(a + 16, 15);
    a[4] = sum_to_zero(a, 31);
}

int smbios_build(struct smbios_tables *t, const struct smbios_config *config, struct error *err)
{
    struct builder b = { .t = t };

    memset(t, 0, sizeof(*t));
    t->tables = malloc(TABLES_MAX);
    if (!t->tables) return error_set(err, "no memory for the SMBIOS tables");
    bios_put(&b, config);
    system_put(&b, config);
    chassis_put(&b);
    for (unsigned i = 0; i < config->sockets; i++) cpu_put(&b, config, i);
    memory_put(&b, config);
    mapped_put(&b, 0, 0, config->ram_below_4g);
    mapped_put(&b, 1, 4 * GIB, config->ram_above_4g);
    begin(&b, 32, HANDLE_BOOT);
    put(&b, "\0\0\0\0\0\0", 7);        /* reserved, no errors */
    end(&b);
    begin(&b, 127, HANDLE_END);
    end(&b);
    anchor_fill(t->anchor, &b, 0);
    return 0;
}

void smbios_free(struct smbios_tables *t)
{
    free(t->tables);
    t->tables = NULL;
}

int smbios_publish(const struct smbios_tables *t, struct device *fw_cfg, struct error *err)
{
    if (fw_cfg_set_file(fw_cfg, "etc/smbios/smbios-tables", t->tables, t->tables_bytes, err) < 0) return -1;
    return fw_cfg_set_file(fw_cfg, "etc/smbios/smbios-anchor", t->anchor, sizeof(t->anchor), err);
}

void smbios_place(const struct smbios_tables *t, struct memory_map *memory, gpa_t anchor_at, gpa_t tables_at)
{
    uint8_t a[31];
    le32 at = le32_make((uint32_t)tables_at);

    memcpy(a, t->anchor, sizeof(a));
    memcpy(a + 24, &at, 4);
    a[21] = a[4] = 0;
    a[21] = sum_to_zero(a + 16, 15);
    a[4] = sum_to_zero(a, 31);
    memory_write(memory, tables_at, t->tables, t->tables_bytes);
    memory_write(memory, anchor_at, a, sizeof(a));
}
