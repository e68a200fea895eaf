/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * A hostile driver and a hostile network against the e1000: registers through memory and I/O ports, rings and descriptors of all kinds
 * (legacy, context, data, with lengths and offsets that fit or not), EEPROM and PHY, resets, and frames with headers that lie, which also
 * go through the software for checksums and cutting. Nothing may crash, hang or reach outside of guest memory.
 *
 *   fuzz-net [STEPS [SEED]]                or, built with clang, fuzzer-net
 */
#include <stdio.h>
#include <sys/mman.h>

#include "base/bits.h"
#include "base/clock.h"
#include "base/error.h"
#include "base/loop.h"
#include "device/net/e1000_private.h"
#include "fuzz.h"
#include "mirror.h"
#include "replay.h"

enum { RAM_BYTES = 512 << 10, RING_RX = 0x1000, RING_TX = 0x2000, DATA = 0x4000, MMIO = 0x10000000, PORT = 0xc000, DEVFN = 8, ENTRIES = 64 };

static uint8_t *ram;
static struct memory_map *memory, *ports;
static struct pci_bus *bus;
static struct fuzz_source source;
static uint64_t sum, interrupts;

static uint32_t below(uint32_t n) { return fuzz_below(&source, n); }

static void intx(void *opaque, int n, int level) { interrupts += (unsigned)level; }
static void put(uint32_t at, uint64_t v, unsigned size) { memcpy(ram + at % (RAM_BYTES - 8), &v, size); }
static void set(unsigned reg, uint32_t v) { memory_io_write(memory, MMIO + reg, v, 4); }

static void start(void)
{
    pci_config_write(bus, DEVFN << 8 | 0x10, MMIO, 4);
    pci_config_write(bus, DEVFN << 8 | 0x14, PORT, 4);
    pci_config_write(bus, DEVFN << 8 | 4, 7, 2);
    set(IMS, ~0u);
    set(RDBAL, RING_RX), set(RDBAH, 0), set(RDLEN, ENTRIES * 16), set(RDH, 0), set(RDT, ENTRIES - 1);
    set(TDBAL, RING_TX), set(TDBAH, 0), set(TDLEN, ENTRIES * 16), set(TDH, 0), set(TDT, 0);
    set(RCTL, RCTL_EN | RCTL_UPE | RCTL_MPE | (below(2) ? RCTL_LPE : 0) | below(4) << 16 | (below(2) ? RCTL_BSEX : 0));
    set(TCTL, TCTL_EN);
    if (below(2)) set(CTRL, CTRL_VME | CTRL_SLU);
}

static uint32_t address(uint32_t bytes) { return below(50) ? DATA + below(RAM_BYTES - DATA - bytes % 4096) : below(~0u); }

static void descriptor(unsigned n)
{
    static const uint32_t types[] = { 0, 0x20000000, 0x20100000, 0x20100000 };
    uint32_t bytes = below(4) ? below(1600) : below(70000), at = RING_TX + 16 * (n % ENTRIES), type = types[below(4)];

    put(at, below(60) ? address(bytes) : (uint64_t)below(~0u) << below(33), 8);
    put(at + 8, type | (below(2) ? 0x01000000 : 0) | (below(3) ? 0 : 0x04000000) | (below(2) ? 0x08000000 : 0) | (below(8) ? 0 : 0x40000000) | bytes, 4);
    put(at + 12, below(2) ? below(4) << 8 : below(~0u), 4);
    if (type != 0x20000000) return;
    for (unsigned i = 0; i < 8; i++) put(at + i, below(16) ? 14 + below(60) : below(256), 1);
    put(at + 13, below(100), 1);
    put(at + 14, below(8) ? 200 + below(1400) : below(3), 2);
    put(at + 8, 0x20000000 | below(16) << 24 | below(0xfffff), 4);
}

/* Something like a packet, for descriptors to point at. */
static void packet(void)
{
    uint32_t at = DATA + below(RAM_BYTES - DATA - 128);

    put(at + 12, below(4) ? 0x0008 : 0xdd86, 2);
    put(at + 14, below(4) ? 0x45 : 0x60, 1);
    put(at + 20, below(8) ? 6 : below(256), 1);
    put(at + 23, 6, 1);
    put(at + 46, 0x50 + below(0xb0), 1);
}

static void step(struct mirror *m, struct device *d)
{
    static const uint16_t hot[] = { CTRL, EECD, EERD, MDIC, ICR, ICS, IMS, IMC, ITR, RCTL, TCTL, RDH, RDT, RDLEN, RDBAL, TDH, TDT, TDLEN, TDBAL, RXCSUM, VET, RAL + 4 };
    uint32_t tail;

    switch (below(12)) {
    case 0: case 1: case 2:
        tail = (uint32_t)memory_io_read(memory, MMIO + TDT, 4);
        for (unsigned n = 1 + below(5); n--; tail++) descriptor(tail);
        packet();
        set(TDT, below(40) ? tail % ENTRIES : below(0x10000));
        break;
    case 3: set(RDT, below(40) ? below(ENTRIES) : below(0x10000)); break;
    case 4: put(RING_RX + 16 * below(ENTRIES), below(60) ? address(2048) : (uint64_t)below(~0u) << below(33), 8); break;
    case 5: set(hot[below(ARRAY_SIZE(hot))], below(4) ? below(~0u) : 1u << below(32)); break;
    case 6: sum += memory_io_read(memory, MMIO + (below(2) ? hot[below(ARRAY_SIZE(hot))] : below(0x20000)), 1u << below(4)); break;
    case 7: memory_io_write(memory, MMIO + below(0x20000), below(~0u), 1u << below(4)); break;
    case 8:
        memory_io_write(ports, PORT, below(2) ? below(0x6000) : below(~0u), 4);
        memory_io_write(ports, PORT + 4, below(~0u), 4);
        sum += memory_io_read(ports, PORT + below(60), 4);
        break;
    case 9: if (below(20) == 0) below(2) ? start() : device_reset(d); break;
    default: mirror_give(m);
    }
}

static void world_make(void)
{
    struct pci_bus_config c = { .intx = { { intx, NULL, 0 }, { intx, NULL, 1 }, { intx, NULL, 2 }, { intx, NULL, 3 } } };

    loop_init();
    clock_virtual_start();
    ram = mmap(NULL, RAM_BYTES, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    memory = memory_map_new("memory", 1ull << 52);
    ports = memory_map_new("ports", 65536);
    memory_map_add_ram(memory, "ram", 0, RAM_BYTES, ram, false, 0);
    c.memory = memory;
    c.ports = ports;
    bus = pci_bus_new(&c);
}

static uint64_t sent, taken, refused;

/* A new card for some steps, or until the input ends. */
static void card_run(unsigned offloads, uint64_t steps)
{
    struct mirror *m = mirror_new(below, offloads);
    struct nic_device_config config = { .bus = bus, .devfn = DEVFN, .memory = memory, .backend = &m->base, .mac = { 0x52, 0x54, 0, 0x12, 0x34, 0x56 } };
    struct error err = { "" };
    struct device *d = e1000_new(&config, &err);

    if (!d) {
        printf("fuzz-net: %s\n", err.text);
        exit(1);
    }
    start();
    for (uint64_t i = 0; source.input ? source.left > 0 : i < steps; i++) {
        step(m, d);
        if (below(200) == 0) machine_unlock(), loop_step(0), machine_lock();
    }
    sent += m->sent;
    taken += m->taken;
    refused += m->refused;
    device_destroy(d);
    net_free(&m->base);
}

/* The first byte says what the network takes. */
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    if (!bus) world_make();
    source = (struct fuzz_source){ 0, data, size };
    memset(ram, 0, RAM_BYTES);
    machine_lock();
    card_run(below(2) ? NET_ALL_OFFLOADS : 0, 0);
    machine_unlock();
    return 0;
}

#ifndef FUZZER
int main(int argc, char **argv)
{
    uint64_t steps = argc > 1 ? strtoull(argv[1], NULL, 0) : 1000000, seed = argc > 2 ? strtoull(argv[2], NULL, 0) : 0xe1000;

    if (argc > 2 && !strcmp(argv[1], "--replay")) return fuzz_replay("fuzz-net", argv[2]);
    source.state = seed;
    world_make();
    machine_lock();
    card_run(0, steps / 2);
    card_run(NET_ALL_OFFLOADS, steps / 2);
    pci_bus_free(bus);
    machine_unlock();
    memory_map_free(memory);
    memory_map_free(ports);
    printf("fuzz-net: %llu steps, %llu frames sent, %llu taken, %llu refused, %llu interrupts, seed %#llx, sum %llx\n", (unsigned long long)steps,
           (unsigned long long)sent, (unsigned long long)taken, (unsigned long long)refused, (unsigned long long)interrupts, (unsigned long long)seed,
           (unsigned long long)sum);
    return sent > steps / 100 && taken > steps / 100 && refused && interrupts > steps / 1000 ? 0 : 1;
}
#endif
