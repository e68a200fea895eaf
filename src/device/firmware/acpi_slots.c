/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * AML by which a guest handles PCI slots whose function may come and go:
 *
 *   Scope (\_SB.PCI0)
 *   {
 *       Device (S18)
 *       {
 *           Name (_ADR, 0x30000)
 *           Name (_SUN, 3)
 *           Method (_EJ0, 1) { PCEJ (0, _SUN) }
 *       }
 *       Method (DVNT, 2) { If (Arg0 & 8) { Notify (S18, Arg1) } }
 *   }
 *
 * PCEJ, and PCNT which calls DVNT, are in dsdt.asl. Names are those of QEMU: S and the devfn in hexadecimal.
 * Source: ACPI 6.4, sections 20.2 (AML) and 6.3 (_EJ0).
 */
#include "device/firmware/acpi_slots.h"

#include <string.h>

enum { ZERO_OP = 0, NAME_OP = 8, DWORD_PREFIX = 0xc, SCOPE_OP = 0x10, METHOD_OP = 0x14, EXT_PREFIX = 0x5b, DEVICE_OP = 0x82, ARG0 = 0x68, ARG1 = 0x69,
       AND_OP = 0x7b, NOTIFY_OP = 0x86, IF_OP = 0xa0 };
enum { ITEM_MAX = 64, BODY_MAX = ACPI_SLOTS_BYTES_MAX - 16 };

struct aml { uint8_t *to; size_t size; };

static void put(struct aml *a, const void *data, size_t size)
{
    memcpy(a->to + a->size, data, size);
    a->size += size;
}

static void put8(struct aml *a, uint8_t v) { put(a, &v, 1); }

static void put32(struct aml *a, uint32_t v)
{
    put8(a, DWORD_PREFIX);
    for (unsigned n = 0; n < 4; n++) put8(a, (uint8_t)(v >> 8 * n));
}

/* The length counts its own bytes. */
static void put_length(struct aml *a, size_t size)
{
    if (size + 1 < 64) {
        put8(a, (uint8_t)(size + 1));
        return;
    }
    put8(a, (uint8_t)(0x40 | ((size + 2) & 15)));
    put8(a, (uint8_t)((size + 2) >> 4));
}

static void put_package(struct aml *a, uint8_t op, const struct aml *body)
{
    put8(a, op);
    put_length(a, body->size);
    put(a, body->to, body->size);
}

static void put_slot_name(struct aml *a, unsigned slot)
{
    static const char hex[] = "0123456789ABCDEF";
    const char name[4] = { 'S', hex[slot >> 1], hex[slot << 3 & 15], '_' };

    put(a, name, 4);
}

static void put_name(struct aml *a, const char *name, uint32_t value)
{
    put8(a, NAME_OP);
    put(a, name, 4);
    put32(a, value);
}

static void put_device(struct aml *a, unsigned slot)
{
    uint8_t device[ITEM_MAX], method[ITEM_MAX];
    struct aml d = { device, 0 }, m = { method, 0 };

    put(&m, "_EJ0\x01PCEJ", 9);
    put8(&m, ZERO_OP);
    put(&m, "_SUN", 4);
    put_slot_name(&d, slot);
    put_name(&d, "_ADR", slot << 16);
    put_name(&d, "_SUN", slot);
    put_package(&d, METHOD_OP, &m);
    put8(a, EXT_PREFIX);
    put_package(a, DEVICE_OP, &d);
}

static void put_notify(struct aml *a, unsigned slot)
{
    uint8_t condition[ITEM_MAX];
    struct aml c = { condition, 0 };

    put8(&c, AND_OP);
    put8(&c, ARG0);
    put32(&c, 1u << slot);
    put8(&c, ZERO_OP);                 /* the result is kept nowhere */
    put8(&c, NOTIFY_OP);
    put_slot_name(&c, slot);
    put8(&c, ARG1);
    put_package(a, IF_OP, &c);
}

size_t acpi_slots_aml(uint8_t *to, uint32_t slots)
{
    uint8_t scope[BODY_MAX], method[BODY_MAX];
    struct aml out = { to, 0 }, s = { scope, 0 }, m = { method, 0 };

    put(&s, "\\._SB_PCI0", 10);
    put(&m, "DVNT\x02", 5);
    for (unsigned slot = 0; slot < 32; slot++) {
        if (!(slots >> slot & 1)) continue;
        put_device(&s, slot);
        put_notify(&m, slot);
    }
    put_package(&s, METHOD_OP, &m);
    put_package(&out, SCOPE_OP, &s);
    return out.size;
}
