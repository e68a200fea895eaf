/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * What DMA reaches: memory, and registers behind which there is only memory. A guest that has an e1000 receive into its own registers, or those of
 * another card, is tried on networks that answer at once: a reset while answers that waited are handed over, a transmit ring that goes on for
 * each answer, two cards on a hub that set each other off. A card is destroyed by a call of the main loop before one that it posted itself.
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
#include "net/hub.h"
#include "net/user.h"

enum { RAM_BYTES = 8 << 20, TX_RING = 0x100000, RX_RING = 0x200000, DATA = 0x400000, MMIO = 0x10000000, OTHER_MMIO = 0x20000000, DEVFN = 8, OTHER_DEVFN = 16, ENTRIES = 256,
       TEST_IO = 0x30000000, TEST_MEMORY = 0x30001000, TEST_FLASH = 0x30002000, PAGE = 4096 };

static unsigned checks, failures;
static struct memory_map *memory;
static struct pci_bus *bus;
static uint8_t *ram;

static void check(bool ok, const char *what)
{
    checks++;
    if (ok) return;
    failures++;
    printf("failed: %s\n", what);
}

static void turn(void)
{
    machine_unlock();
    loop_step(0);
    machine_lock();
}

/* ---- the map ---- */

static unsigned reads, writes;
static uint64_t count_read(void *opaque, uint64_t offset, unsigned size) { return reads++, 0; }
static void count_write(void *opaque, uint64_t offset, uint64_t value, unsigned size) { writes++; }

static void test_map(void)
{
    static const struct io_ops registers = { count_read, count_write, 1, 8 }, cells = { count_read, count_write, 1, 8, true };
    struct memory_range *range[3];
    static uint8_t flash[PAGE];
    uint8_t data[16] = { 0 };

    memset(flash, 0x5a, sizeof(flash));
    range[0] = memory_map_add_io(memory, "registers", TEST_IO, PAGE, &registers, NULL, 2);
    range[1] = memory_map_add_io(memory, "cells", TEST_MEMORY, PAGE, &cells, NULL, 2);
    range[2] = memory_map_add_flash(memory, "flash", TEST_FLASH, PAGE, flash, &registers, NULL, 2);
    check(!memory_dma_write(memory, TEST_IO, data, sizeof(data)) && !writes, "DMA does not write to registers");
    check(!memory_dma_read(memory, TEST_IO, data, sizeof(data)) && !reads && data[0] == 0xff && data[15] == 0xff, "DMA does not read from registers");
    check(memory_dma_write(memory, TEST_MEMORY, data, sizeof(data)) && writes == 2, "DMA writes to a device's memory");
    check(memory_dma_read(memory, TEST_MEMORY, data, sizeof(data)) && reads == 2, "DMA reads a device's memory");
    check(memory_dma_write(memory, TEST_FLASH, data, sizeof(data)) && writes == 2, "DMA gives no commands to flash");
    check(memory_dma_read(memory, TEST_FLASH, data, sizeof(data)) && data[3] == 0x5a, "DMA reads from flash");
    check(!memory_dma_write(memory, TEST_MEMORY - 8, data, sizeof(data)) && writes == 3, "of an access to both the part for memory arrives");
    check(memory_write(memory, TEST_IO, data, 8) && writes == 4, "a CPU reaches registers");
    for (unsigned i = 0; i < ARRAY_SIZE(range); i++) memory_range_remove(range[i]);
}

/* ---- cards ---- */

static void put(uint64_t at, uint64_t value, size_t size) { memcpy(ram + at, &value, size); }
static void set(uint64_t mmio, unsigned reg, uint32_t value) { memory_io_write(memory, mmio + reg, value, 4); }
static uint32_t get(uint64_t mmio, unsigned reg) { return (uint32_t)memory_io_read(memory, mmio + reg, 4); }

/* All buffers to receive into are at to; all frames to send at DATA. No buffer is free as yet. */
static struct device *card_make(struct net_backend *b, unsigned devfn, uint32_t mmio, uint64_t to)
{
    struct error err = { "" };
    struct device *d = e1000_new(&(struct nic_device_config){ .bus = bus, .devfn = devfn, .memory = memory, .backend = b, .mac = { 0x52, 0x54, 0, 4, 5, 6 } }, &err);

    pci_config_write(bus, devfn << 8 | 0x10, mmio, 4);
    pci_config_write(bus, devfn << 8 | 4, 7, 2);
    for (unsigned i = 0; i < ENTRIES; i++) {
        put(RX_RING + 16 * i, to, 8);
        put(RX_RING + 16 * i + 8, 0, 8);
        put(TX_RING + 16 * i, DATA, 8);
        put(TX_RING + 16 * i + 8, 0x09000000 | 60, 8);
    }
    set(mmio, CTRL, 0x40);                               /* set link up */
    set(mmio, RDBAL, RX_RING);
    set(mmio, RDLEN, ENTRIES * 16);
    set(mmio, RCTL, RCTL_EN | RCTL_UPE | RCTL_MPE | RCTL_BAM);
    set(mmio, TDBAL, TX_RING);
    set(mmio, TDLEN, ENTRIES * 16);
    set(mmio, TCTL, TCTL_EN);
    return d;
}

static void arp_put(void)
{
    static const uint8_t arp[60] = { 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x52, 0x54, 0, 4, 5, 6, 8, 6, 0, 1, 8, 0, 6, 4, 0, 1, 0x52, 0x54, 0, 4, 5, 6, 10, 0, 2, 15,
                                     0, 0, 0, 0, 0, 0, 10, 0, 2, 2 };

    memcpy(ram + DATA, arp, sizeof(arp));
}

/* Answers wait; then the first buffer is CTRL, and the first word of a frame, the guest's own address, has CTRL_RST. */
static void test_reset(void)
{
    struct error err = { "" };
    struct net_backend *b = net_user_new("n", &(struct net_user_config){ .no_ipv6 = true }, &err);
    struct device *d = card_make(b, DEVFN, MMIO, MMIO + CTRL);
    uint32_t before = get(MMIO, CTRL);

    arp_put();
    set(MMIO, TDT, 3);
    turn();
    set(MMIO, RDT, 8);
    turn();
    check(get(MMIO, CTRL) == before && get(MMIO, RDLEN) == ENTRIES * 16, "a frame received into CTRL changes nothing there");
    check(get(MMIO, RDH) == 3, "the three answers went their way");
    device_destroy(d);
    net_free(b);
}

static bool echo_send(struct net_backend *b, unsigned queue, const struct net_frame *f) { return net_deliver(b, queue, f); }
static void echo_destroy(struct net_backend *b) { net_backend_fini(b); }
static const struct net_backend_ops echo_ops = { .type = "echo", .send = echo_send, .destroy = echo_destroy };

static void test_tail(void)
{
    struct net_backend b = { .ops = NULL };
    struct error err = { "" };
    struct device *d;

    net_backend_init(&b, &echo_ops, "echo", &err);
    d = card_make(&b, DEVFN, MMIO, MMIO + TDT);
    memset(ram + DATA, 0, 60);
    put(DATA, ENTRIES - 1, 4);                           /* what TDT would become */
    set(MMIO, RDT, ENTRIES - 1);
    set(MMIO, TDT, 1);
    for (unsigned i = 0; i < 10; i++) turn();
    check(get(MMIO, TDT) == 1 && get(MMIO, TDH) == 1, "a frame received into TDT sends nothing");
    device_destroy(d);
    echo_destroy(&b);
}

static void test_each_other(void)
{
    struct error err = { "" };
    struct net_hub *h = net_hub_new(0, &err);
    struct net_backend *b[2] = { net_hub_port_new(h, "a", &err), net_hub_port_new(h, "b", &err) };
    struct device *d[2] = { card_make(b[0], DEVFN, MMIO, OTHER_MMIO + TDT), NULL };

    d[1] = card_make(b[1], OTHER_DEVFN, OTHER_MMIO, MMIO + TDT);
    memset(ram + DATA, 0xff, 6);
    put(DATA + 6, 0, 8);
    set(MMIO, RDT, ENTRIES - 1);
    set(OTHER_MMIO, RDT, ENTRIES - 1);
    set(MMIO, TDT, 1);
    for (unsigned i = 0; i < 10; i++) turn();
    check(get(MMIO, TDT) == 1 && get(OTHER_MMIO, TDT) == 0, "cards on a hub do not set each other off");
    for (unsigned i = 0; i < 2; i++) device_destroy(d[i]), net_free(b[i]);
    net_hub_free(h);
}

/* ---- a card that goes ---- */

static void destroy(void *opaque) { device_destroy(opaque); }

static void test_destroyed(void)
{
    struct net_backend b = { .ops = NULL };
    struct error err = { "" };
    struct device *d;

    net_backend_init(&b, &echo_ops, "echo", &err);
    d = card_make(&b, DEVFN, MMIO, DATA + 0x10000);
    loop_post(destroy, d);
    set(MMIO, TDLEN, 65520 * 16);
    set(MMIO, TDT, 1000);                                /* more than it sends at once: the rest is posted */
    turn();
    turn();
    check(true, "what the card posted does not come");   /* the sanitizers and the heap say the rest */
    echo_destroy(&b);
}

static void intx(void *opaque, int n, int level) { }

int main(void)
{
    struct pci_bus_config c = { .intx = { { intx, NULL, 0 }, { intx, NULL, 1 }, { intx, NULL, 2 }, { intx, NULL, 3 } } };

    ram = mmap(NULL, RAM_BYTES, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    memory = memory_map_new("memory", 1ull << 52);
    loop_init();
    clock_virtual_start();
    machine_lock();
    memory_map_add_ram(memory, "ram", 0, RAM_BYTES, ram, false, 0);
    c.memory = memory;
    c.ports = memory_map_new("ports", 65536);
    bus = pci_bus_new(&c);
    test_map();
    test_reset();
    test_tail();
    test_each_other();
    test_destroyed();
    pci_bus_free(bus);
    memory_map_free(c.ports);
    memory_map_free(memory);
    machine_unlock();
    munmap(ram, RAM_BYTES);
    printf("dma: %u checks, %u failed\n", checks, failures);
    return failures != 0;
}
