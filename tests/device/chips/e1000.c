/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The e1000's transmit ring when it is as long as it may be: a write of the tail takes some of it, the rest comes by and by from the main loop, all of it,
 * in order; a tail outside of the ring is not run after without end.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

#include "base/bits.h"
#include "base/clock.h"
#include "base/error.h"
#include "base/loop.h"
#include "device/net/e1000_private.h"
#include "net/backend_private.h"

enum { RAM_BYTES = 8 << 20, RING = 0x100000, DATA = 0x400000, MMIO = 0x10000000, DEVFN = 8, ENTRIES = 65528, SHORT = 64, FRAME = 64, A_TURN = 1000 };

static unsigned checks, failures, sent, out_of_order;

static void check(bool ok, const char *what)
{
    checks++;
    if (ok) return;
    failures++;
    printf("failed: %s\n", what);
}

static bool wire_send(struct net_backend *b, unsigned queue, const struct net_frame *f)
{
    uint8_t frame[NET_FRAME_MAX];
    uint32_t number;

    net_frame_copy(f, frame);
    memcpy(&number, frame + 14, sizeof(number));
    out_of_order += number != sent;
    sent++;
    return true;
}

static void wire_destroy(struct net_backend *b) { net_backend_fini(b); }
static const struct net_backend_ops wire_ops = { .type = "wire", .send = wire_send, .destroy = wire_destroy };

static void intx(void *opaque, int n, int level) { }

static void turn(void)
{
    machine_unlock();
    loop_step(0);
    machine_lock();
}

int main(void)
{
    struct pci_bus_config c = { .intx = { { intx, NULL, 0 }, { intx, NULL, 1 }, { intx, NULL, 2 }, { intx, NULL, 3 } } };
    uint8_t *ram = mmap(NULL, RAM_BYTES, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    struct memory_map *memory = memory_map_new("memory", 1ull << 52), *ports = memory_map_new("ports", 65536);
    struct net_backend wire = { .ops = NULL };
    struct error err = { "" };
    unsigned most = 0, turns = 0, before;
    struct pci_bus *bus;
    struct device *d;

    loop_init();
    clock_virtual_start();
    machine_lock();
    memory_map_add_ram(memory, "ram", 0, RAM_BYTES, ram, false, 0);
    c.memory = memory;
    c.ports = ports;
    bus = pci_bus_new(&c);
    net_backend_init(&wire, &wire_ops, "wire", &err);
    d = e1000_new(&(struct nic_device_config){ .bus = bus, .devfn = DEVFN, .memory = memory, .backend = &wire, .mac = { 0x52, 0x54, 0, 0x12, 0x34, 0x56 } }, &err);
    pci_config_write(bus, DEVFN << 8 | 0x10, MMIO, 4);
    pci_config_write(bus, DEVFN << 8 | 4, 7, 2);
    for (uint32_t i = 0; i < ENTRIES; i++) {
        uint64_t address = DATA + (uint64_t)i * FRAME % (RAM_BYTES - DATA);
        uint32_t lower = 0x09000000 | FRAME;             /* report status, end of packet */

        memcpy(ram + address + 14, &i, sizeof(i));
        memcpy(ram + RING + 16 * i, &address, 8);
        memcpy(ram + RING + 16 * i + 8, &lower, 4);
    }
    memory_io_write(memory, MMIO + TDBAL, RING, 4);
    memory_io_write(memory, MMIO + TDLEN, ENTRIES * 16, 4);
    memory_io_write(memory, MMIO + TCTL, TCTL_EN, 4);
    memory_io_write(memory, MMIO + TDT, ENTRIES - 1, 4);
    check(sent && sent < A_TURN, "a write of the tail takes a part of a long ring");
    for (; sent < ENTRIES - 1 && turns < ENTRIES; turns++) {
        before = sent;
        turn();
        most = MAX(most, sent - before);
    }
    check(sent == ENTRIES - 1 && !out_of_order && most < A_TURN, "the rest comes in order, in parts");
    check(memory_io_read(memory, MMIO + TDH, 4) == ENTRIES - 1, "the head is where the tail is");

    memory_io_write(memory, MMIO + TDH, 0, 4);
    memory_io_write(memory, MMIO + TDLEN, SHORT * 16, 4);
    sent = 0;
    memory_io_write(memory, MMIO + TDT, ENTRIES - 1, 4);
    for (unsigned i = 0; i < 50; i++) turn();
    check(sent == SHORT, "a tail outside of the ring: once around");

    memory_io_write(memory, MMIO + TDLEN, ENTRIES * 16, 4);
    memory_io_write(memory, MMIO + TDH, 0, 4);
    memory_io_write(memory, MMIO + TDT, ENTRIES - 1, 4);
    device_destroy(d);
    turn();
    wire_destroy(&wire);
    pci_bus_free(bus);
    machine_unlock();
    memory_map_free(memory);
    memory_map_free(ports);
    munmap(ram, RAM_BYTES);
    printf("e1000: %u checks, %u failed\n", checks, failures);
    return failures || !checks;
}
