/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Prints what the guest's processor and ACPI table tell of the topology, one number a word, for topology.py. Built statically. */
#include <cpuid.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

static const struct { uint32_t leaf, subleaves; } rows[] = {
    { 1, 1 }, { 0xb, 3 }, { 0x1f, 4 },
};

static void leaf_print(uint32_t leaf, uint32_t subleaf)
{
    uint32_t last, a = 0, b = 0, c = 0, d = 0;
    __cpuid(leaf & 0x80000000, last, b, c, d);
    a = b = c = d = 0;
    if (leaf <= last) __cpuid_count(leaf, subleaf, a, b, c, d);
    printf("leaf %x.%x %08x %08x %08x %08x\n", leaf, subleaf, a, b, c, d);
}

static uint32_t get32(const uint8_t *p)
{
    uint32_t v;
    memcpy(&v, p, sizeof(v));
    return v;
}

/* ACPI 6.4, 5.2.12: local APICs, x2APICs and their NMI inputs. */
static void madt_print(const uint8_t *t, size_t size)
{
    enum { HEADER = 44, LAPIC = 0, LAPIC_NMI = 4, X2APIC = 9, X2APIC_NMI = 10 };
    for (size_t at = HEADER; at + 2 <= size && t[at + 1]; at += t[at + 1]) {
        const uint8_t *p = t + at;
        if (p[0] == LAPIC) printf("lapic %u %u %u\n", p[2], p[3], p[4] & 1);
        if (p[0] == X2APIC) printf("x2apic %u %u %u\n", get32(p + 12), get32(p + 4), get32(p + 8) & 1);
        if (p[0] == LAPIC_NMI) printf("nmi %u\n", p[2]);
        if (p[0] == X2APIC_NMI) printf("x2nmi %u\n", get32(p + 4));
    }
}

int main(void)
{
    static uint8_t table[1 << 16];
    FILE *f = fopen("/sys/firmware/acpi/tables/APIC", "rb");
    for (unsigned i = 0; i < sizeof(rows) / sizeof(*rows); i++)
        for (uint32_t s = 0; s < rows[i].subleaves; s++) leaf_print(rows[i].leaf, s);
    if (f) madt_print(table, fread(table, 1, sizeof(table), f));
    return 0;
}
