/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * fw_cfg through its ports and its DMA interface; ACPI tables: checksums, links, and ACPICA's iasl and acpiexec as
 * judges; SMBIOS structures walked as the specification says; the DMA controllers.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/bits.h"
#include "base/error.h"
#include "device/dma/i8237.h"
#include "device/firmware/acpi.h"
#include "device/firmware/debugcon.h"
#include "device/firmware/fw_cfg.h"
#include "device/firmware/smbios.h"
#include "memory/map.h"

static unsigned checks, failures;

#define CHECK(condition, ...) \
    do { \
        checks++; \
        if (condition) break; \
        failures++; \
        printf("%s:%d: %s: ", __FILE__, __LINE__, #condition); \
        printf(__VA_ARGS__); \
        printf("\n"); \
    } while (0)

enum { RAM_BYTES = 1 << 20 };
static uint8_t ram[RAM_BYTES] __attribute__((aligned(4096)));
static struct memory_map *memory, *ports;

static void out(uint16_t port, uint32_t value, unsigned size) { memory_io_write(ports, port, value, size); }
static uint32_t in(uint16_t port, unsigned size) { return (uint32_t)memory_io_read(ports, port, size); }

/* ---- fw_cfg ---- */

static uint32_t dma(uint32_t control, uint32_t length, uint64_t address)
{
    struct { be32 control, length; be64 address; } __attribute__((packed)) r = {
        be32_make(control), be32_make(length), be64_make(address)
    };

    memcpy(ram + 0x1000, &r, sizeof(r));
    out(0x514, 0, 4);
    out(0x518, htobe32(0x1000), 4);
    memcpy(&r, ram + 0x1000, 4);
    return be32_get(r.control);
}

/* As firmware looks for a file: reads the directory byte by byte. */
static int file_find(const char *name, uint32_t *size)
{
    uint32_t count = 0;
    int found = -1;

    out(0x510, 0x19, 2);
    for (unsigned i = 0; i < 4; i++) count = count << 8 | in(0x511, 1);
    for (unsigned n = 0; n < count; n++) {
        uint8_t e[64];

        for (unsigned i = 0; i < sizeof(e); i++) e[i] = (uint8_t)in(0x511, 1);
        if (strcmp((char *)e + 8, name)) continue;
        *size = (uint32_t)e[0] << 24 | e[1] << 16 | e[2] << 8 | e[3];
        found = e[4] << 8 | e[5];
    }
    return found;
}

static void test_fw_cfg(void)
{
    static const char text[] = "what a file holds";
    struct fw_cfg_config c = { ports, memory };
    struct error err;
    struct device *d = fw_cfg_new(&c, &err);
    uint32_t size = 0;
    int key;

    out(0x510, 0, 2);
    for (unsigned i = 0; i < 4; i++) CHECK(in(0x511, 1) == (uint8_t)"QEMU"[i], "signature byte %u", i);
    CHECK(in(0x511, 1) == 0, "past the end");
    out(0x510, 1, 2);
    CHECK(in(0x511, 1) == 3, "id");
    CHECK(in(0x514, 4) == htobe32(0x51454d55) && in(0x518, 4) == htobe32(0x20434647), "DMA signature %08x",
          in(0x514, 4));
    CHECK(in(0x515, 1) == 'E', "one byte of it");
    CHECK(fw_cfg_set_file(d, "opt/a", "x", 1, &err) == 0 &&
              fw_cfg_set_file(d, "opt/text", text, sizeof(text), &err) == 0,
          "set");
    key = file_find("opt/text", &size);
    CHECK(key == 0x21 && size == sizeof(text), "key %x size %u", key, size);
    CHECK(fw_cfg_set_file(d, "opt/text", text, 4, &err) == 0 && file_find("opt/text", &size) == key &&
              size == 4,
          "replaced");
    fw_cfg_set_file(d, "opt/text", text, sizeof(text), &err);
    memset(ram + 0x2000, 0xaa, 64);
    CHECK(dma((uint32_t)key << 16 | 8 | 2, sizeof(text) + 8, 0x2000) == 0, "DMA select and read");
    CHECK(!memcmp(ram + 0x2000, text, sizeof(text)) && ram[0x2000 + sizeof(text) + 7] == 0 &&
          ram[0x2000 + sizeof(text) + 8] == 0xaa, "data and zeros");
    CHECK(dma((uint32_t)key << 16 | 8 | 4, 5, 0) == 0 && dma(2, 1, 0x2000) == 0 && ram[0x2000] == text[5], "skip");
    CHECK(dma(16, 4, 0x2000) == 1, "write is refused");
    CHECK(dma((uint32_t)key << 16 | 8 | 2, 0xffffffff, RAM_BYTES - 4) == 1, "read beyond the end of RAM");
    CHECK(dma((uint32_t)key << 16 | 8 | 2, 16, UINT64_MAX - 3) == 1 && dma(2, 16, UINT64_MAX) == 1,
          "read to the end of the address space");
    out(0x514, 0xffffffff, 4);
    out(0x518, 0xf0ffffff, 4);                    /* a request where there is no memory */
    out(0x510, 0x7fff, 2);
    CHECK(in(0x511, 1) == 0, "item that is not there");
    CHECK(fw_cfg_set_file(d, "a name of more than fifty-five characters is more than fits", "", 0, &err) < 0,
          "long name");
    for (unsigned i = 0; i < 100; i++) {
        char name[16];

        snprintf(name, sizeof(name), "n%u", i);
        if (fw_cfg_set_file(d, name, "", 0, &err) < 0) break;
    }
    CHECK(file_find("n61", &size) >= 0 && file_find("n62", &size) < 0, "64 files and no more");
    device_destroy(d);
}

static int exit_status = -1;
static void exit_note(void *opaque, int status) { exit_status = status; }

static void test_ports(void)
{
    struct debugcon_config c = { ports, 0x402, NULL };
    struct isa_debug_exit_config e = { ports, 0x501, NULL, exit_note };
    struct error err;
    struct device *con = debugcon_new(&c, &err), *ex = isa_debug_exit_new(&e, &err);

    CHECK(in(0x402, 1) == 0xe9, "read-back");
    out(0x402, 'x', 1);
    out(0x501, 0x10, 4);
    CHECK(exit_status == 0x21, "status %d", exit_status);
    out(0x501, 0, 1);
    CHECK(exit_status == 1, "status %d", exit_status);
    out(0x501, 0xff, 1);
    CHECK(exit_status == 0xff, "status %d", exit_status);
    device_destroy(con);
    device_destroy(ex);
    CHECK(in(0x402, 1) == 0xff, "gone");
}

/* ---- ACPI ---- */

static uint8_t sum(const uint8_t *p, size_t size)
{
    uint8_t s = 0;

    while (size--) s += *p++;
    return s;
}

static uint32_t get32(const uint8_t *p)
{
    le32 v;

    memcpy(&v, p, 4);
    return le32_get(v);
}

static void file_write(const char *dir, const char *name, const uint8_t *data, size_t size)
{
    char path[256];
    FILE *f;

    snprintf(path, sizeof(path), "%s/%s", dir, name);
    f = fopen(path, "w");
    if (!f || fwrite(data, 1, size, f) != size || fclose(f)) CHECK(false, "cannot write %s", path);
}

/* Output of a command; false if it failed. */
static bool output_of(const char *command, char *text, size_t size)
{
    FILE *f = popen(command, "r");
    size_t n = f ? fread(text, 1, size - 1, f) : 0;

    text[n] = 0;
    return f && pclose(f) == 0;
}

static void judge(const char *dir, const char *tables)
{
    static const struct { const char *evaluate, *expect; } expected[] = {
        { "\\_S5", "Package] Contains 4 Elements" },
        { "\\_SB.LNKA._PRS", "89 0E 00 09 03 05" },
        { "\\_SB.LNKS._CRS", "89 06 00 09 01 09" },
        { "\\_SB.HPET._STA", "000000000000000F" },
        { "\\_SB.PCI0.ISA.COM1._STA", "000000000000000F" },
        { "\\_SB.PCI0.ISA.COM2._STA", "0000000000000000" },
        { "\\_SB.C002._UID", "0000000000000002" },
        { "\\_SB.PCI0.S18_._SUN", "0000000000000003" },
        { "\\_SB.PCI0.S18_._ADR", "0000000000030000" },
        { "\\_SB.PCI0.SF8_._ADR", "00000000001F0000" },
        { "\\_SB.PCI0.S18_._EJ0 1", "No object was returned" },
        { "\\_GPE._E01", "No object was returned" },
        { "\\_SB.PCI0.S10_._SUN", "AE_NOT_FOUND" },
        /* 32-bit memory up to FEBFFFFFh, length 7EC00000h */
        { "\\_SB.PCI0.ISA.PMIO._CRS", "47 01 00 B0 00 B0 01 40" },
        /* the same above 4 GiB */
        { "\\_SB.PCI0._CRS", "00 00 FF FF FF 7F 85 00 00 00" },
        { "\\_SB.PCI0._CRS", "00 00 00 80 01 00 00 00" },
        { "\\_SB.PCI0._CRS", "FF FF BF FE 00 00 00 00 00 00 C0 7E" },
    };
    char command[1024];
    int at;
    static char text[1 << 16];

    snprintf(command, sizeof(command), "cd %s && iasl -d %s 2>&1", dir, tables);
    CHECK(output_of(command, text, sizeof(text)), "iasl: %s", text);
    CHECK(!strstr(text, "Error") && !strstr(text, "ncorrect checksum") && !strstr(text, "Invalid"), "iasl: %s",
          text);
    /* One run, which takes a second whatever it does; the answers come in the order of the questions. */
    at = snprintf(command, sizeof(command), "cd %s && acpiexec -b '", dir);
    for (unsigned i = 0; i < ARRAY_SIZE(expected); i++)
        at += snprintf(command + at, sizeof(command) - (size_t)at, "%sevaluate %s", i ? ";" : "",
                       expected[i].evaluate);
    snprintf(command + at, sizeof(command) - (size_t)at, "' dsdt.dat ssdt.dat 2>&1");
    output_of(command, text, sizeof(text));
    for (unsigned i = 0; i < ARRAY_SIZE(expected); i++) {
        char name[64], *answer, *next;

        /* The answer repeats the name without its argument. */
        snprintf(name, sizeof(name), "Evaluating %.*s\n", (int)strcspn(expected[i].evaluate, " "), expected[i].evaluate);
        answer = strstr(text, name);
        next = answer ? strstr(answer + 1, "Evaluating \\") : NULL;
        if (next) next[-1] = 0;
        CHECK(answer && strstr(answer, expected[i].expect), "acpiexec %s: no '%s' in: %s", expected[i].evaluate,
              expected[i].expect, answer ? answer : text);
        if (next) next[-1] = '\n';
    }
}

static void test_acpi(void)
{
    struct acpi_config c = { .cpus = 3, .cpus_present = 2, .apic_id = { 0, 1, 4 }, .has_hpet = true, .serial_mask = 1, .pci_hole_start = 0x80000000,
                             .pci_hole_end = 0xfec00000, .pci_hole64_start = 0x8400000000, .pci_hole64_end = 0x8580000000, .pm_base = 0xb000, .gpe_base = 0xafe0,
                             .hotplug_slots = 0xfffffff8 };
    char dir[] = "/tmp/ospite-acpi-XXXXXX", tables[256] = "", remove[64];
    const uint8_t *rsdp = ram + 0xe0000;
    struct acpi_tables t;
    struct error err;
    unsigned count;

    CHECK(acpi_build(&t, &c, &err) == 0 && mkdtemp(dir), "build");
    acpi_place(&t, memory, 0x40000, 0xe0000);
    CHECK(!memcmp(rsdp, "RSD PTR ", 8) && sum(rsdp, 20) == 0 && sum(rsdp, 36) == 0, "RSDP");
    count = (get32(ram + get32(rsdp + 16) + 4) - 36) / 4;
    CHECK(count == 4 && (get32(ram + get32(rsdp + 24) + 4) - 36) / 8 == count, "%u tables", count);
    for (unsigned i = 0; i < count; i++) {
        const uint8_t *table = ram + get32(ram + get32(rsdp + 16) + 36 + i * 4);
        char name[16];

        CHECK(sum(table, get32(table + 4)) == 0, "checksum of %.4s", table);
        CHECK(get32(ram + get32(rsdp + 24) + 36 + i * 8) == (uint32_t)(table - ram), "XSDT entry %u", i);
        snprintf(name, sizeof(name), "%c%c%c%c.dat", table[0] | 32, table[1] | 32, table[2] | 32, table[3] | 32);
        file_write(dir, name, table, get32(table + 4));
        strcat(strcat(tables, name), " ");
        if (!memcmp(table, "FACP", 4)) {
            const uint8_t *dsdt = ram + get32(table + 40), *facs = ram + get32(table + 36);

            CHECK(get32(table + 4) == 244, "FADT has %u bytes", get32(table + 4));
            CHECK(!memcmp(dsdt, "DSDT", 4) && sum(dsdt, get32(dsdt + 4)) == 0, "DSDT");
            CHECK(!memcmp(facs, "FACS", 4) && get32(table + 36) % 64 == 0, "FACS");
            CHECK(get32(table + 132) == get32(table + 36) && get32(table + 140) == get32(table + 40),
                  "64-bit pointers");
            file_write(dir, "dsdt.dat", dsdt, get32(dsdt + 4));
        }
    }
    strcat(tables, "dsdt.dat");
    judge(dir, tables);
    snprintf(remove, sizeof(remove), "rm -rf %s", dir);
    CHECK(system(remove) == 0, "clean up");
    acpi_free(&t);
}

/* ---- SMBIOS ---- */

static void test_smbios(void)
{
    static const uint8_t uuid[16] = { 0x00, 0x11, 0x22, 0x33, 0x44, 0x55, 0x66, 0x77,
                                      0x88, 0x99, 0xaa, 0xbb, 0xcc, 0xdd, 0xee, 0xff };
    static const uint8_t mixed[16] = { 0x33, 0x22, 0x11, 0x00, 0x55, 0x44, 0x77, 0x66,
                                       0x88, 0x99, 0xaa, 0xbb, 0xcc, 0xdd, 0xee, 0xff };
    struct smbios_config c = { "1.0", "a name", uuid, 2, 3ull << 30, 29ull << 30, 4, 2 };
    const uint8_t *anchor = ram + 0xf0000, *p = ram + 0xf0100, *end;
    unsigned seen[128] = { 0 }, count = 0;
    struct smbios_tables t;
    struct error err;

    CHECK(smbios_build(&t, &c, &err) == 0, "build");
    smbios_place(&t, memory, 0xf0000, 0xf0100);
    CHECK(!memcmp(anchor, "_SM_", 4) && sum(anchor, 31) == 0 && sum(anchor + 16, 15) == 0, "anchor");
    CHECK(get32(anchor + 24) == 0xf0100, "address");
    end = p + (anchor[22] | anchor[23] << 8);
    while (p < end) {
        const uint8_t *strings = p + p[1];

        CHECK(p[0] < 128 && p[1] >= 4, "structure of type %u, length %u", p[0], p[1]);
        seen[p[0] & 127]++;
        count++;
        if (p[0] == 1) CHECK(p[1] == 0x1b && !memcmp(p + 8, mixed, 16), "UUID");
        if (p[0] == 1) CHECK(memmem(strings, 200, "a name", 7), "name");
        if (p[0] == 4) CHECK(p[1] == 0x2a, "CPU structure has %u bytes", p[1]);
        if (p[0] == 17) CHECK(p[1] == 0x28, "memory device has %u bytes", p[1]);
        if (p[0] == 3) CHECK(p[1] == 0x16, "chassis has %u bytes", p[1]);
        while (strings[0] || strings[1]) strings++;
        p = strings + 2;
    }
    CHECK(p == end && count == (unsigned)(anchor[28] | anchor[29] << 8), "%u structures", count);
    CHECK(seen[0] == 1 && seen[1] == 1 && seen[3] == 1 && seen[4] == 2 && seen[16] == 1 && seen[17] == 2 &&
              seen[19] == 2 && seen[32] == 1 && seen[127] == 1,
          "kinds");
    smbios_free(&t);
}

/* ---- DMA controllers ---- */

static void test_dma(void)
{
    struct i8237_config c = { ports, memory };
    struct error err;
    struct device *d = i8237_new(&c, &err);
    uint8_t data[64];
    bool done;

    out(0x0d, 0, 1);
    CHECK(in(0x0f, 1) == 0xff && in(0xde, 1) == 0xff, "all masked after master clear");
    out(0x0c, 0, 1);
    out(0x04, 0x34, 1);
    out(0x04, 0x12, 1);
    out(0x05, 31, 1);
    out(0x05, 0, 1);
    out(0x0c, 0, 1);
    CHECK(in(0x04, 1) == 0x34 && in(0x04, 1) == 0x12, "address of channel 2");
    out(0x81, 0x03, 1);
    CHECK(in(0x81, 1) == 0x03, "page");
    out(0x0b, 0x46, 1);                            /* channel 2: single, into memory */
    for (unsigned i = 0; i < sizeof(data); i++) data[i] = (uint8_t)(i ^ 0x5a);
    CHECK(i8237_transfer(d, 2, data, sizeof(data), &done) == 0, "masked");
    out(0x0a, 0x02, 1);
    CHECK(i8237_transfer(d, 2, data, 16, &done) == 16 && !done, "half of it");
    CHECK(i8237_transfer(d, 2, data + 16, 48, &done) == 16 && done, "to terminal count");
    CHECK(!memcmp(ram + 0x31234, data, 32), "data");
    CHECK(in(0x08, 1) == 0x04 && in(0x08, 1) == 0, "status is cleared by reading");
    CHECK(in(0x0f, 1) == 0xff, "masked again");
    out(0xd8, 0, 1);
    out(0xc4, 0x00, 1);
    out(0xc4, 0x91, 1);                            /* words: 9100h << 1 */
    out(0xc6, 3, 1);
    out(0xc6, 0, 1);
    out(0x8b, 0x02, 1);
    out(0xd6, 0x59, 1);                            /* channel 5: from memory, auto-init */
    out(0xd4, 0x01, 1);
    memcpy(ram + 0x32200, "12345678", 8);
    CHECK(i8237_transfer(d, 5, data, sizeof(data), &done) == 8 && done && !memcmp(data, "12345678", 8),
          "words from memory");
    CHECK(i8237_transfer(d, 5, data, 2, &done) == 2 && !done, "auto-init goes on");
    device_destroy(d);
}

int main(void)
{
    memory = memory_map_new("memory", 1ull << 52);
    ports = memory_map_new("ports", 0x10000);
    memory_map_add_ram(memory, "ram", 0, RAM_BYTES, ram, false, 0);
    test_fw_cfg();
    test_ports();
    test_acpi();
    test_smbios();
    test_dma();
    memory_map_free(ports);
    memory_map_free(memory);
    printf("firmware: %u checks, %u failed\n", checks, failures);
    return failures != 0;
}
