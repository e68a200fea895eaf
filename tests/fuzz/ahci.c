/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * A hostile driver against a Serial ATA controller with a disk and a CD-ROM: registers by memory and by index and data ports, command lists,
 * FISes, packets and PRDs that fit or not, resets and stops with commands under way, a host that fails now and then. Nothing may crash,
 * hang or reach outside of guest memory.
 *
 *   fuzz-ahci [STEPS [SEED]]
 */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

#include "base/bits.h"
#include "base/clock.h"
#include "base/error.h"
#include "base/loop.h"
#include "block/fault.h"
#include "device/storage/ahci.h"

enum { RAM_BYTES = 1 << 20, LIST = 0x1000, FIS = 0x2000, TABLES = 0x4000, DATA = 0x20000, PORT = 0xc000, MMIO = 0x10000000, DEVFN = 8, DISK_BYTES = 1 << 20, PORTS = 2 };
enum { PxIS = 0x10, PxCMD = 0x18, PxSERR = 0x30, PxSACT = 0x34, PxCI = 0x38 };

static uint8_t *ram;
static struct memory_map *memory, *ports;
static struct pci_bus *bus;
static uint64_t state, sum, interrupts, commands, stops;

static uint32_t below(uint32_t n)
{
    state ^= state << 13;
    state ^= state >> 7;
    state ^= state << 17;
    return (uint32_t)(state * 0x2545f4914f6cdd1d >> 32) % n;
}

static void intx(void *opaque, int n, int level) { interrupts += (unsigned)level; }
static void on_stop(void *opaque, bool is_read, int error) { stops++; }
static void set(unsigned port, unsigned reg, uint32_t v) { memory_io_write(memory, MMIO + 0x100 + 0x80 * port + reg, v, 4); }
static uint32_t get(unsigned port, unsigned reg) { return (uint32_t)memory_io_read(memory, MMIO + 0x100 + 0x80 * port + reg, 4); }

static void port_start(unsigned port)
{
    set(port, PxCMD, 0);
    set(port, 0, LIST + 0x800 * port), set(port, 4, 0), set(port, 8, FIS + 0x100 * port), set(port, 12, 0);
    set(port, PxIS, ~0u), set(port, 0x14, ~0u), set(port, PxSERR, ~0u);
    set(port, PxCMD, 0x17);
}

static void start(void)
{
    pci_config_write(bus, DEVFN << 8 | 0x20, PORT, 4);
    pci_config_write(bus, DEVFN << 8 | 0x24, MMIO, 4);
    pci_config_write(bus, DEVFN << 8 | 4, below(20) ? 7 : below(8), 2);
    memory_io_write(memory, MMIO + 4, 2, 4);
    for (unsigned p = 0; p < PORTS; p++) port_start(p);
}

static void command(unsigned port, unsigned slot)
{
    static const uint8_t ops[] = { 0x60, 0x60, 0x61, 0x61, 0x25, 0x35, 0xc8, 0xca, 0x06, 0x2f, 0xe7, 0xea, 0xec, 0xef, 0xa0, 0xa0, 0xa1, 0x24, 0x34, 0x3d };
    static const uint8_t packets[] = { 0x28, 0x28, 0xa8, 0x25, 0x12, 0x5a, 0x43, 0x46, 0x4a, 0x03, 0x00, 0x1b, 0x1e };
    uint8_t *t = ram + TABLES + 0x400 * (32 * port + slot) % 0x1c000;
    uint32_t pieces = below(8) ? 1 + below(6) : below(70000), options = 5 | pieces << 16 | (below(2) << 6);
    uint64_t table = (uint64_t)(t - ram);

    for (unsigned i = 0; i < 20; i++) t[i] = (uint8_t)(below(8) ? 0 : below(256));
    t[0] = below(60) ? 0x27 : (uint8_t)below(256);
    t[1] = below(40) ? 0x80 : (uint8_t)below(256);
    t[2] = below(10) ? ops[below(sizeof(ops))] : (uint8_t)below(256);
    if (port == 1 && below(2)) t[2] = 0xa0;
    t[3] = (uint8_t)(below(3) ? 1 + below(8) : below(256));
    t[4] = (uint8_t)below(256), t[5] = (uint8_t)(below(3) ? below(8) : below(256));
    t[12] = (uint8_t)(t[2] == 0x60 || t[2] == 0x61 ? (below(20) ? slot << 3 : below(256)) : 1 + below(8));
    memset(t + 0x40, 0, 16);
    t[0x40] = below(10) ? packets[below(sizeof(packets))] : (uint8_t)below(256);
    for (unsigned i = 1; i < 12; i++) t[0x40 + i] = (uint8_t)(below(3) ? 0 : below(16) ? below(8) : below(256));
    for (unsigned n = 0; n < 40; n++) {
        uint64_t address = below(100) ? DATA + below(RAM_BYTES - DATA) : (uint64_t)below(~0u) << below(33);
        uint32_t count[2] = { 0, below(10) ? 2047 + 512 * below(8) : below(~0u) };

        memcpy(t + 0x80 + 16 * n, &address, 8);
        memcpy(t + 0x88 + 16 * n, count, 8);
    }
    if (!below(100)) table = (uint64_t)below(~0u) << below(33);
    memcpy(ram + LIST + 0x800 * port + 32 * slot, &options, 4);
    memcpy(ram + LIST + 0x800 * port + 32 * slot + 8, &table, 8);
    commands++;
}

static void step(struct device *d, struct block_protocol *p)
{
    unsigned port = below(PORTS);
    uint32_t slots;

    switch (below(17)) {
    case 0 ... 4:
        if (get(port, PxIS) >> 30 && below(4)) port_start(port);
        slots = below(8) ? 1u << below(32) : below(~0u);
        for (unsigned n = 0; n < 32; n++)
            if (slots >> n & 1) command(port, n);
        if (below(2)) set(port, PxSACT, slots);
        set(port, PxCI, slots);
        break;
    case 5 ... 7: case 14:
        machine_unlock();
        loop_step((get(port, PxCI) | get(port, PxSACT)) && !(get(port, PxIS) >> 30) ? 1 : 0);
        machine_lock();
        break;
    case 8: if (!(get(port, PxIS) >> 30)) set(port, PxIS, ~0u); break;
    case 9: if (get(port, PxIS) >> 30 || !below(20)) port_start(port); break;
    case 10:
        if (below(40)) break;
        memory_io_write(memory, MMIO + (below(2) ? below(0x1000) : 0x100 + below(0x100)), below(~0u), 1u << below(4));
        break;
    case 11:
        if (below(10)) break;
        memory_io_write(ports, PORT + 16, below(0x400), 4);
        memory_io_write(ports, PORT + 20, below(~0u), 4);
        sum += memory_io_read(ports, PORT + below(32), 1u << below(3));
        break;
    case 12: sum += memory_io_read(memory, MMIO + below(0x400), 4); break;
    case 13:
        if (below(40) == 0) device_reset(d);
        if (below(10) == 0) start();
        break;
    case 15: if (below(10) == 0) below(2) ? block_fault_fail_read(p, EIO) : block_fault_fail_at(p, block_fault_writes(p), ENOSPC); break;
    default: ahci_retry(d);
    }
}

int main(int argc, char **argv)
{
    static uint8_t empty[DISK_BYTES];
    uint64_t steps = argc > 1 ? strtoull(argv[1], NULL, 0) : 200000, seed = argc > 2 ? strtoull(argv[2], NULL, 0) : 0xa8c1;
    struct pci_bus_config c = { .intx = { { intx, NULL, 0 }, { intx, NULL, 1 }, { intx, NULL, 2 }, { intx, NULL, 3 } } };
    struct ahci_config config = { .devfn = DEVFN };
    struct block_protocol *p[PORTS];
    struct error err = { "" };
    struct device *d;

    state = seed;
    loop_init();
    clock_virtual_start();
    ram = mmap(NULL, RAM_BYTES, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    memory = memory_map_new("memory", 1ull << 52);
    ports = memory_map_new("ports", 65536);
    memory_map_add_ram(memory, "ram", 0, RAM_BYTES, ram, false, 0);
    c.memory = memory;
    c.ports = ports;
    bus = pci_bus_new(&c);
    machine_lock();
    for (unsigned n = 0; n < PORTS; n++) {
        struct block_node *node;

        p[n] = block_fault_open(empty, DISK_BYTES, DISK_BYTES);
        node = block_node_open_over(p[n], &(struct block_open_options){ .filename = "fault", .format = "raw", .discard = true, .readonly = n == 1 }, NULL, &err);
        config.drive[n] = (struct ide_drive_config){ n == 1 ? IDE_CDROM : IDE_DISK, node, NULL, true, { BLOCK_ERROR_STOP, BLOCK_ERROR_ENOSPC, NULL, on_stop } };
    }
    config.bus = bus;
    config.memory = memory;
    d = ahci_new(&config, &err);
    if (!d) {
        printf("fuzz-ahci: %s\n", err.text);
        return 1;
    }
    start();
    for (uint64_t n = 0; n < steps; n++) step(d, p[below(PORTS)]);
    sum += block_stats_get(config.drive[0].node).writes;
    printf("fuzz-ahci: %llu steps, %llu commands, %llu disk reads, %llu writes, %llu reads of the disc, %llu stops, %llu interrupts, seed %#llx, sum %llx\n",
           (unsigned long long)steps, (unsigned long long)commands, (unsigned long long)block_stats_get(config.drive[0].node).reads,
           (unsigned long long)block_stats_get(config.drive[0].node).writes, (unsigned long long)block_stats_get(config.drive[1].node).reads,
           (unsigned long long)stops, (unsigned long long)interrupts, (unsigned long long)seed, (unsigned long long)sum);
    stops = block_stats_get(config.drive[0].node).writes > steps / 200 && block_stats_get(config.drive[1].node).reads > steps / 5000 && stops;
    device_destroy(d);
    for (unsigned n = 0; n < PORTS; n++) block_close(config.drive[n].node);
    pci_bus_free(bus);
    machine_unlock();
    memory_map_free(memory);
    memory_map_free(ports);
    return stops ? 0 : 1;
}
