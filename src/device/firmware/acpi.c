/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * RSDP, RSDT, XSDT, FADT, FACS, MADT, HPET, DSDT (dsdt.asl, compiled with the project) and an SSDT with what
 * the DSDT leaves open: PCI hole, HPET, serial ports, processors, PCI slots for hot-plug.
 *
 * One file holds all tables; pointers between them are offsets until the loader script adds the address where
 * the file came to lie, and checksums follow. Sources: ACPI 2.0c chapter 5 and 17 (AML), IA-PC HPET 1.0a
 * section 3.2.4, the description of QEMU's table loader in SeaBIOS (docs and romfile_loader's command layout).
 */
#include "device/firmware/acpi.h"

#include <stdlib.h>
#include <string.h>

#include "base/bits.h"
#include "base/error.h"
#include "device/firmware/acpi_slots.h"
#include "device/firmware/fw_cfg.h"
#include "dsdt.hex"

#define FILE_TABLES "etc/acpi/tables"
#define FILE_RSDP "etc/acpi/rsdp"
#define FILE_LOADER "etc/table-loader"

enum { TABLES_MAX = 0x20000, LOADER_MAX = 64, HEADER_BYTES = 36, CHECKSUM_AT = 9 };
enum { LOADER_ALLOCATE = 1, LOADER_ADD_POINTER, LOADER_ADD_CHECKSUM };
enum { ZONE_HIGH = 1, ZONE_FSEG };

struct acpi_loader_entry {
    le32 command;
    union {
        struct { char file[56]; le32 align; uint8_t zone; } __attribute__((packed)) allocate;
        struct { char in[56], to[56]; le32 offset; uint8_t size; } __attribute__((packed)) pointer;
        struct { char file[56]; le32 offset, start, length; } __attribute__((packed)) checksum;
        uint8_t pad[124];
    };
} __attribute__((packed));

/* Tables being written; a table ends where the next begins. */
struct builder {
    struct acpi_tables *t;
    uint32_t start;                    /* of the current table */
};

static void put(struct builder *b, const void *data, uint32_t size)
{
    if (b->t->tables_bytes + size > TABLES_MAX) return;        /* cannot happen with at most 255 CPUs */
    memcpy(b->t->tables + b->t->tables_bytes, data, size);
    b->t->tables_bytes += size;
}

static void put8(struct builder *b, uint8_t v) { put(b, &v, 1); }
static void put16(struct builder *b, uint16_t v) { le16 x = le16_make(v); put(b, &x, 2); }
static void put32(struct builder *b, uint32_t v) { le32 x = le32_make(v); put(b, &x, 4); }
static void put64(struct builder *b, uint64_t v) { le64 x = le64_make(v); put(b, &x, 8); }

static void put_zeros(struct builder *b, unsigned count)
{
    while (count--) put8(b, 0);
}

/* ---- loader script ---- */

static struct acpi_loader_entry *loader_add(struct acpi_tables *t, uint32_t command)
{
    struct acpi_loader_entry *e = &t->loader[t->loader_count++];

    e->command = le32_make(command);
    return e;
}

static void loader_allocate(struct acpi_tables *t, const char *file, uint32_t align, uint8_t zone)
{
    struct acpi_loader_entry *e = loader_add(t, LOADER_ALLOCATE);

    strcpy(e->allocate.file, file);
    e->allocate.align = le32_make(align);
    e->allocate.zone = zone;
}

static void loader_pointer(struct acpi_tables *t, const char *in, uint32_t offset, uint8_t size)
{
    struct acpi_loader_entry *e = loader_add(t, LOADER_ADD_POINTER);

    strcpy(e->pointer.in, in);
    strcpy(e->pointer.to, FILE_TABLES);
    e->pointer.offset = le32_make(offset);
    e->pointer.size = size;
}

static void loader_checksum(struct acpi_tables *t, const char *file, uint32_t offset, uint32_t start,
                            uint32_t length)
{
    struct acpi_loader_entry *e = loader_add(t, LOADER_ADD_CHECKSUM);

    strcpy(e->checksum.file, file);
    e->checksum.offset = le32_make(offset);
    e->checksum.start = le32_make(start);
    e->checksum.length = le32_make(length);
}

/* ---- tables ---- */

static uint32_t table_begin(struct builder *b, const char *signature, uint8_t revision)
{
    while (b->t->tables_bytes & 7) put8(b, 0);
    b->start = b->t->tables_bytes;
    put(b, signature, 4);
    put32(b, 0);                       /* length: table_end */
    put8(b, revision);
    put8(b, 0);                        /* checksum: the loader */
    put(b, "OSPITE", 6);
    put(b, "OSPITEPC", 8);
    put32(b, 1);
    put(b, "OSPT", 4);
    put32(b, 1);
    return b->start;
}

static void table_end(struct builder *b)
{
    uint32_t length = b->t->tables_bytes - b->start;
    le32 v = le32_make(length);

    memcpy(b->t->tables + b->start + 4, &v, 4);
    loader_checksum(b->t, FILE_TABLES, b->start + CHECKSUM_AT, b->start, length);
}

static void facs_put(struct builder *b)
{
    while (b->t->tables_bytes & 63) put8(b, 0);
    put(b, "FACS", 4);
    put32(b, 64);
    put_zeros(b, 24);
    put8(b, 1);                        /* version */
    put_zeros(b, 31);
}

static uint32_t dsdt_put(struct builder *b)
{
    while (b->t->tables_bytes & 7) put8(b, 0);
    b->start = b->t->tables_bytes;
    put(b, dsdt_aml_code, sizeof(dsdt_aml_code));
    b->t->tables[b->start + CHECKSUM_AT] = 0;
    loader_checksum(b->t, FILE_TABLES, b->start + CHECKSUM_AT, b->start, sizeof(dsdt_aml_code));
    return b->start;
}

/* Name (\NAME, value) */
static void aml_name(struct builder *b, const char *name, uint32_t value)
{
    put8(b, 0x08);
    put8(b, '\\');
    put(b, name, 4);
    put8(b, 0x0c);
    put32(b, value);
}

/* Device (\_SB.Cnnn) { Name (_HID, "ACPI0007") Name (_UID, n) }: the package length, two bytes, counts itself. */
static void aml_processor(struct builder *b, unsigned n)
{
    static const char hex[] = "0123456789ABCDEF";
    char name[4] = { 'C', '0', hex[n >> 4 & 15], hex[n & 15] };
    enum { BODY = 10 + 15 + 10 };

    put16(b, 0x825b);                  /* DeviceOp */
    put8(b, 0x40 | ((BODY + 2) & 15));
    put8(b, (BODY + 2) >> 4);
    put(b, "\\._SB_", 6);
    put(b, name, 4);
    put(b, "\x08_HID\x0d" "ACPI0007", 15);
    put(b, "\x08_UID\x0c", 6);
    put32(b, n);
}

static uint32_t ssdt_put(struct builder *b, const struct acpi_config *c)
{
    uint32_t at = table_begin(b, "SSDT", 1);
    uint8_t slots[ACPI_SLOTS_BYTES_MAX];
    uint64_t hole64 = c->pci_hole64_end - c->pci_hole64_start;

    aml_name(b, "PHS_", c->pci_hole_start);
    aml_name(b, "PHE_", c->pci_hole_end - 1);
    aml_name(b, "HPEN", c->has_hpet);
    aml_name(b, "CMEN", c->serial_mask);
    aml_name(b, "FDEN", c->has_floppy);
    aml_name(b, "PMB_", c->pm_base);
    aml_name(b, "QHS0", (uint32_t)c->pci_hole64_start);
    aml_name(b, "QHS1", (uint32_t)(c->pci_hole64_start >> 32));
    aml_name(b, "QHE0", (uint32_t)(c->pci_hole64_end - !!hole64));
    aml_name(b, "QHE1", (uint32_t)((c->pci_hole64_end - !!hole64) >> 32));
    aml_name(b, "QHL0", (uint32_t)hole64);
    aml_name(b, "QHL1", (uint32_t)(hole64 >> 32));
    for (unsigned i = 0; i < c->cpus; i++) aml_processor(b, i);
    put(b, slots, (uint32_t)acpi_slots_aml(slots, c->hotplug_slots));
    table_end(b);
    return at;
}

/* Generic address structure in I/O space. */
static void put_gas(struct builder *b, uint8_t bits, uint16_t port)
{
    put8(b, 1);
    put8(b, port ? bits : 0);
    put8(b, 0);
    put8(b, 0);
    put64(b, port);
}

enum { FADT_WBINVD = 1 << 0, FADT_PROC_C1 = 1 << 2, FADT_SLP_BUTTON = 1 << 5, FADT_RTC_S4 = 1 << 7,
       FADT_RESET_REG = 1 << 10, FADT_PLATFORM_CLOCK = 1 << 15, BOOT_LEGACY = 1, BOOT_8042 = 2, RESET_VALUE = 6,
       SMI_COMMAND = 0xb2, SMI_ACPI_ENABLE = 0xf1, SMI_ACPI_DISABLE = 0xf0, SCI = 9 };

/* The fields of ACPI 1.0, in order. */
static void fadt_v1_put(struct builder *b, const struct acpi_config *c)
{
    put32(b, 0);                       /* FACS: offset 0 of the file */
    put32(b, 0);                       /* DSDT: fadt_put */
    put8(b, 1);                        /* interrupt model of 1.0: reserved later */
    put8(b, 0);                        /* preferred profile: unspecified */
    put16(b, SCI);
    put32(b, SMI_COMMAND);
    put8(b, SMI_ACPI_ENABLE);
    put8(b, SMI_ACPI_DISABLE);
    put16(b, 0);                       /* S4BIOS, P-state control */
    put32(b, c->pm_base);              /* PM1a event */
    put32(b, 0);
    put32(b, c->pm_base + 4u);         /* PM1a control */
    put32(b, 0);
    put32(b, 0);                       /* PM2 */
    put32(b, c->pm_base + 8u);         /* PM timer */
    put32(b, c->gpe_base);
    put32(b, 0);
    put8(b, 4);                        /* lengths: PM1 event, PM1 control, PM2, timer, GPE0, GPE1 */
    put8(b, 2);
    put8(b, 0);
    put8(b, 4);
    put8(b, 4);
    put8(b, 0);
    put16(b, 0);                       /* GPE1 base, _CST */
    put16(b, 0xfff);                   /* no C2, no C3 */
    put16(b, 0xfff);
    put32(b, 0);                       /* flush */
    put16(b, 0);                       /* duty */
    put8(b, 0);                        /* RTC: day and month alarm, century */
    put8(b, 0);
    put8(b, 0x32);
    put16(b, BOOT_LEGACY | BOOT_8042);
    put8(b, 0);
    put32(b, FADT_WBINVD | FADT_PROC_C1 | FADT_SLP_BUTTON | FADT_RTC_S4 | FADT_RESET_REG | FADT_PLATFORM_CLOCK);
}

static uint32_t fadt_put(struct builder *b, const struct acpi_config *c, uint32_t dsdt)
{
    uint32_t at = table_begin(b, "FACP", 3), x_facs;
    le32 pointer = le32_make(dsdt);

    fadt_v1_put(b, c);
    memcpy(b->t->tables + at + 40, &pointer, 4);
    put_gas(b, 8, 0xcf9);
    put8(b, RESET_VALUE);
    put_zeros(b, 3);
    x_facs = b->t->tables_bytes;
    put64(b, 0);
    put64(b, dsdt);
    put_gas(b, 32, c->pm_base);
    put_gas(b, 0, 0);
    put_gas(b, 16, c->pm_base + 4);
    put_gas(b, 0, 0);
    put_gas(b, 0, 0);
    put_gas(b, 32, c->pm_base + 8);
    put_gas(b, 32, c->gpe_base);
    put_gas(b, 0, 0);
    loader_pointer(b->t, FILE_TABLES, at + 36, 4);
    loader_pointer(b->t, FILE_TABLES, at + 40, 4);
    loader_pointer(b->t, FILE_TABLES, x_facs, 8);
    loader_pointer(b->t, FILE_TABLES, x_facs + 8, 8);
    table_end(b);
    return at;
}

/* ISA interrupts are edge-triggered, active high, GSI n; 0 lies at pin 2, and those PCI and the SCI use are
 * level. */
static uint32_t madt_put(struct builder *b, const struct acpi_config *c)
{
    uint32_t at = table_begin(b, "APIC", 1);

    put32(b, 0xfee00000);
    put32(b, 1);                       /* there are 8259s */
    for (unsigned i = 0; i < c->cpus; i++) {
        put16(b, 0x0800);              /* local APIC, 8 bytes */
        put8(b, (uint8_t)i);
        put8(b, c->apic_id[i]);
        put32(b, i < c->cpus_present); /* enabled */
    }
    put16(b, 0x0c01);                  /* I/O APIC */
    put16(b, 0);
    put32(b, 0xfec00000);
    put32(b, 0);
    for (unsigned irq = 0; irq < 16; irq++) {
        bool is_level = irq == 5 || irq == 9 || irq == 10 || irq == 11;

        if (irq && !is_level) continue;
        put16(b, 0x0a02);              /* interrupt source override: bus 0 */
        put8(b, 0);
        put8(b, (uint8_t)irq);
        put32(b, irq ? irq : 2);
        put16(b, is_level ? 0x0d : 0);
    }
    put16(b, 0x0604);                  /* NMI at LINT1 of all */
    put8(b, 0xff);
    put16(b, 0);
    put8(b, 1);
    table_end(b);
    return at;
}

static uint32_t hpet_put(struct builder *b)
{
    uint32_t at = table_begin(b, "HPET", 1);

    put32(b, 0x8086a201);              /* as in its capability register */
    put_zeros(b, 4);                   /* address structure: memory */
    put64(b, 0xfed00000);
    put8(b, 0);
    put16(b, 0);
    put8(b, 0);
    table_end(b);
    return at;
}

static uint32_t root_put(struct builder *b, const char *signature, uint8_t entry_bytes, const uint32_t *table,
                         unsigned count)
{
    uint32_t at = table_begin(b, signature, 1);

    for (unsigned i = 0; i < count; i++) {
        if (entry_bytes == 8) put64(b, table[i]);
        else put32(b, table[i]);
        loader_pointer(b->t, FILE_TABLES, at + HEADER_BYTES + i * entry_bytes, entry_bytes);
    }
    table_end(b);
    return at;
}

static void rsdp_fill(struct acpi_tables *t, uint32_t rsdt, uint32_t xsdt)
{
    le32 r = le32_make(rsdt), length = le32_make(sizeof(t->rsdp));
    le64 x = le64_make(xsdt);

    memcpy(t->rsdp, "RSD PTR ", 8);
    memcpy(t->rsdp + 9, "OSPITE", 6);
    t->rsdp[15] = 2;
    memcpy(t->rsdp + 16, &r, 4);
    memcpy(t->rsdp + 20, &length, 4);
    memcpy(t->rsdp + 24, &x, 8);
    loader_pointer(t, FILE_RSDP, 16, 4);
    loader_pointer(t, FILE_RSDP, 24, 8);
    loader_checksum(t, FILE_RSDP, 8, 0, 20);
    loader_checksum(t, FILE_RSDP, 32, 0, sizeof(t->rsdp));
}

int acpi_build(struct acpi_tables *t, const struct acpi_config *config, struct error *err)
{
    struct builder b = { .t = t };
    uint32_t dsdt, table[8], rsdt;
    unsigned count = 0;

    memset(t, 0, sizeof(*t));
    t->tables = calloc(1, TABLES_MAX);
    t->loader = calloc(LOADER_MAX, sizeof(*t->loader));
    if (!t->tables || !t->loader) {
        acpi_free(t);
        return error_set(err, "no memory for the ACPI tables");
    }
    loader_allocate(t, FILE_RSDP, 16, ZONE_FSEG);
    loader_allocate(t, FILE_TABLES, 64, ZONE_HIGH);
    facs_put(&b);
    dsdt = dsdt_put(&b);
    table[count++] = fadt_put(&b, config, dsdt);
    table[count++] = ssdt_put(&b, config);
    table[count++] = madt_put(&b, config);
    if (config->has_hpet) table[count++] = hpet_put(&b);
    rsdt = root_put(&b, "RSDT", 4, table, count);
    rsdp_fill(t, rsdt, root_put(&b, "XSDT", 8, table, count));
    return 0;
}

void acpi_free(struct acpi_tables *t)
{
    free(t->tables);
    free(t->loader);
    memset(t, 0, sizeof(*t));
}

int acpi_publish(const struct acpi_tables *t, struct device *fw_cfg, struct error *err)
{
    if (fw_cfg_set_file(fw_cfg, FILE_TABLES, t->tables, t->tables_bytes, err) < 0) return -1;
    if (fw_cfg_set_file(fw_cfg, FILE_RSDP, t->rsdp, sizeof(t->rsdp), err) < 0) return -1;
    return fw_cfg_set_file(fw_cfg, FILE_LOADER, t->loader, t->loader_count * sizeof(*t->loader), err);
}

/* ---- the script, run without firmware ---- */

static void script_run(const struct acpi_tables *t, uint8_t *tables, uint8_t *rsdp, gpa_t tables_at)
{
    for (unsigned i = 0; i < t->loader_count; i++) {
        const struct acpi_loader_entry *e = &t->loader[i];
        uint32_t command = le32_get(e->command);

        if (command == LOADER_ADD_POINTER) {
            uint8_t *p = (strcmp(e->pointer.in, FILE_RSDP) ? tables : rsdp) + le32_get(e->pointer.offset);
            le64 value = { 0 };

            memcpy(&value, p, e->pointer.size);
            value = le64_make(le64_get(value) + tables_at);
            memcpy(p, &value, e->pointer.size);
        } else if (command == LOADER_ADD_CHECKSUM) {
            uint8_t *p = strcmp(e->checksum.file, FILE_RSDP) ? tables : rsdp, sum = 0;

            for (uint32_t n = 0; n < le32_get(e->checksum.length); n++) sum += p[le32_get(e->checksum.start) + n];
            p[le32_get(e->checksum.offset)] -= sum;
        }
    }
}

void acpi_place(const struct acpi_tables *t, struct memory_map *memory, gpa_t tables_at, gpa_t rsdp_at)
{
    uint8_t *tables = malloc(t->tables_bytes), rsdp[sizeof(t->rsdp)];

    if (!tables) return;
    memcpy(tables, t->tables, t->tables_bytes);
    memcpy(rsdp, t->rsdp, sizeof(rsdp));
    script_run(t, tables, rsdp, tables_at);
    memory_write(memory, tables_at, tables, t->tables_bytes);
    memory_write(memory, rsdp_at, rsdp, sizeof(rsdp));
    free(tables);
}
