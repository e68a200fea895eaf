/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The receive ring of an RTL8139C+: a frame longer than the next descriptor's buffer is missed, the driver is told, and those behind it arrive; a
 * frame without a free descriptor waits until there is one.
 */
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>

#include "base/bits.h"
#include "base/clock.h"
#include "base/error.h"
#include "base/loop.h"
#include "device/net/rtl8139_private.h"
#include "net/backend_private.h"

enum { RAM_BYTES = 8 << 20, RING = 0x200000, DATA = 0x400000, MMIO = 0x10000000, DEVFN = 8, BUFFER = 1518, ENTRIES = 3, CRC = 4, FRAMES = 16 };

static unsigned checks, failures;
static struct memory_map *memory;
static uint8_t *ram;
static struct net_backend wire;
static struct { size_t bytes; bool has_tag; } waiting[FRAMES];
static unsigned first, count;

static void check(bool ok, const char *what)
{
    checks++;
    if (ok) return;
    failures++;
    printf("failed: %s\n", what);
}

/* ---- the wire: what finds no room waits ---- */

static void wire_ready(struct net_backend *b, unsigned queue)
{
    for (; first < count; first++) {
        uint8_t data[1600] = { 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 2, [14] = (uint8_t)first };
        struct iovec iov = { data, waiting[first].bytes };

        data[12] = waiting[first].has_tag ? 0x81 : 0x08;
        if (!net_deliver(b, 0, &(struct net_frame){ .iov = &iov, .count = 1, .bytes = iov.iov_len })) return;
    }
}

static void frame_come(size_t bytes, bool has_tag)
{
    waiting[count].bytes = bytes;
    waiting[count].has_tag = has_tag;
    count++;
    wire_ready(&wire, 0);
}

static bool wire_send(struct net_backend *b, unsigned queue, const struct net_frame *f) { return true; }
static void wire_destroy(struct net_backend *b) { net_backend_fini(b); }
static const struct net_backend_ops wire_ops = { .type = "wire", .send = wire_send, .ready = wire_ready, .destroy = wire_destroy };

/* ---- the driver ---- */

static void intx(void *opaque, int n, int level) { }
static void reg_write(unsigned at, uint32_t value, unsigned size) { memory_io_write(memory, MMIO + at, value, size); }
static uint32_t reg_read(unsigned at, unsigned size) { return (uint32_t)memory_io_read(memory, MMIO + at, size); }

static void descriptor_give(unsigned n)
{
    uint32_t d[4] = { 0x80000000 | (n == ENTRIES - 1 ? 0x40000000 : 0) | BUFFER, 0, DATA + 2048 * n, 0 };

    memcpy(ram + RING + 16 * n, d, sizeof(d));
}

static uint32_t descriptor_get(unsigned n)
{
    uint32_t command;

    memcpy(&command, ram + RING + 16 * n, 4);
    return command;
}

/* Is frame number in the buffer of descriptor n? */
static bool holds(unsigned n, unsigned number, size_t bytes)
{
    uint32_t command = descriptor_get(n);

    return !(command >> 31) && (command & 0x1fff) == bytes + CRC && ram[DATA + 2048 * n + 14] == number;
}

static uint32_t causes_take(void)
{
    uint32_t isr = reg_read(ISR, 2);

    reg_write(ISR, isr, 2);
    return isr;
}

static void driver_start(struct pci_bus *bus)
{
    pci_config_write(bus, DEVFN << 8 | 0x14, MMIO, 4);
    pci_config_write(bus, DEVFN << 8 | 4, 7, 2);
    for (unsigned n = 0; n < ENTRIES; n++) descriptor_give(n);
    reg_write(CPCR, CPCR_TE | CPCR_RE, 2);
    reg_write(RDSAR, RING, 4);
    reg_write(RCR, RCR_AAP | RCR_APM | RCR_AM | RCR_AB, 4);
    reg_write(CR, CR_RE | CR_TE, 1);
}

static void test_too_long(void)
{
    frame_come(60, false);
    check(causes_take() == ISR_ROK && holds(0, 0, 60), "a short frame");
    frame_come(BUFFER, true);
    check(causes_take() == ISR_RXOVW && reg_read(MPC, 4) == 1 && descriptor_get(1) >> 31, "a frame longer than the buffer is missed");
    check(first == count, "and nobody waits");
    frame_come(BUFFER - CRC, false);
    check(causes_take() == ISR_ROK && holds(1, 2, BUFFER - CRC), "a frame as long as the buffer");
    frame_come(60, false);
    check(causes_take() == ISR_ROK && holds(2, 3, 60), "another short frame");
}

static void test_waits(void)
{
    frame_come(60, false);
    check(causes_take() == ISR_RXOVW && reg_read(MPC, 4) == 1 && first == count - 1, "a frame without a descriptor waits");
    descriptor_give(0);
    for (int64_t end = clock_host_ns() + 20 * NS_PER_SECOND; first < count && clock_host_ns() < end;) {
        machine_unlock();
        loop_step(1);
        machine_lock();
    }
    check(first == count && holds(0, 4, 60), "until there is one");
}

int main(void)
{
    struct pci_bus_config c = { .intx = { { intx, NULL, 0 }, { intx, NULL, 1 }, { intx, NULL, 2 }, { intx, NULL, 3 } } };
    struct error err = { "" };
    struct pci_bus *bus;
    struct device *d;

    ram = mmap(NULL, RAM_BYTES, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    memory = memory_map_new("memory", 1ull << 52);
    loop_init();
    clock_virtual_start();
    machine_lock();
    memory_map_add_ram(memory, "ram", 0, RAM_BYTES, ram, false, 0);
    c.memory = memory;
    c.ports = memory_map_new("ports", 65536);
    bus = pci_bus_new(&c);
    net_backend_init(&wire, &wire_ops, "wire", &err);
    d = rtl8139_new(&(struct nic_device_config){ .bus = bus, .devfn = DEVFN, .memory = memory, .backend = &wire, .mac = { 0x52, 0x54, 0, 0x12, 0x34, 0x56 } }, &err);
    driver_start(bus);
    test_too_long();
    test_waits();
    device_destroy(d);
    wire_destroy(&wire);
    pci_bus_free(bus);
    machine_unlock();
    memory_map_free(memory);
    memory_map_free(c.ports);
    munmap(ram, RAM_BYTES);
    printf("rtl8139: %u checks, %u failed\n", checks, failures);
    return failures || !checks;
}
