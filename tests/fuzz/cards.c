/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * A hostile driver and a hostile network against the RTL8139 and the NE2000: registers of all widths, descriptors in registers and in rings
 * with lengths and addresses that fit or not, ring buffers of any size, ring indices, resets in the middle, loopback, and frames with
 * headers that lie. Nothing may crash, hang or reach outside of guest memory.
 *
 *   fuzz-cards [STEPS [SEED]]              or, built with clang, fuzzer-cards
 */
#include <stdio.h>
#include <sys/mman.h>

#include "base/bits.h"
#include "base/clock.h"
#include "base/error.h"
#include "base/loop.h"
#include "device/net/ne2k_pci.h"
#include "device/net/rtl8139_private.h"
#include "fuzz.h"
#include "mirror.h"
#include "replay.h"

enum { RAM_BYTES = 512 << 10, RING_TX = 0x1000, RING_RX = 0x2000, DATA = 0x4000, PORT = 0xc000, MMIO = 0x10000000, DEVFN = 8, ENTRIES = 64 };

static uint8_t *ram;
static struct memory_map *memory, *ports;
static struct pci_bus *bus;
static struct fuzz_source source;
static uint64_t sum, interrupts;

static uint32_t below(uint32_t n) { return fuzz_below(&source, n); }

static void intx(void *opaque, int n, int level) { interrupts += (unsigned)level; }
static void put(uint32_t at, uint64_t v, unsigned size) { memcpy(ram + at % (RAM_BYTES - 8), &v, size); }
static void out(unsigned reg, uint64_t v, unsigned size) { memory_io_write(ports, PORT + reg, v, size); }
static uint64_t in(unsigned reg, unsigned size) { return memory_io_read(ports, PORT + reg, size); }
static uint64_t address(void) { return below(50) ? DATA + below(RAM_BYTES - DATA) : (uint64_t)below(~0u) << below(33); }

static void place(void)
{
    pci_config_write(bus, DEVFN << 8 | 0x10, PORT, 4);
    pci_config_write(bus, DEVFN << 8 | 0x14, MMIO, 4);
    pci_config_write(bus, DEVFN << 8 | 4, below(20) ? 7 : below(8), 2);
}

static void poke(void)
{
    unsigned reg = below(4) ? below(0x20) : below(0x100);

    out(reg, below(4) ? below(~0u) : 1u << below(32), 1u << below(3));
    sum += in(below(0x100), 1u << below(3));
}

/* ---- RTL8139 ---- */

static void rtl_start(void)
{
    place();
    out(CR, CR_RST, 1);
    out(CR, CR_RE | CR_TE, 1);
    out(RCR, (below(4) ? 0x0f : below(16)) | (below(2) ? RCR_WRAP : 0) | below(4) << 11, 4);
    out(TCR, below(3) ? 0 : TCR_LOOPBACK, 4);
    out(RBSTART, DATA, 4);
    out(IMR, 0xffff, 2);
    if (below(2)) {
        out(CPCR, 0x3 | (below(2) ? CPCR_RXVLAN : 0), 2);
        out(TSAD0, RING_TX, 4), out(TSAD0 + 4, 0, 4), out(RDSAR, RING_RX, 4), out(RDSAR + 4, 0, 4);
    }
}

static void packet(uint32_t at)
{
    put(at + 12, below(4) ? 0x0008 : below(2) ? 0xdd86 : 0x0081, 2);
    put(at + 14, below(4) ? 0x45 : below(256), 1);
    put(at + 16, below(65536), 2);
    put(at + 23, below(2) ? 6 : 17, 1);
    put(at + 46, below(0x100), 1);
    if (below(2)) put(at, 0x120054523456ull, 6);
}

static void rtl_descriptor(unsigned ring, unsigned n)
{
    uint32_t at = ring + 16 * (n % ENTRIES), bytes = below(4) ? below(1600) : below(0x10000);

    put(at, (below(8) ? 0x80000000 : 0) | (below(10) ? 0 : 0x40000000) | (below(4) ? 0x30000000 : below(4) << 28) | (below(4) ? 0 : 0x08000000) |
            (below(2) ? below(8) << 16 : below(0x800) << 16) | bytes, 4);
    put(at + 4, below(2) ? 0 : below(0x40000), 4);
    put(at + 8, address(), 8);
}

static void rtl_step(void)
{
    uint32_t at;

    switch (below(8)) {
    case 0: case 1:
        at = DATA + below(RAM_BYTES - DATA - 128);
        packet(at);
        for (unsigned n = 0; n < 4; n++) {
            out(TSAD0 + 4 * n, below(2) ? at : address(), 4);
            out(TSD0 + 4 * n, below(4) ? 20 + below(1500) : below(~0u), 4);
        }
        break;
    case 2:
        for (unsigned n = 0; n < ENTRIES; n++) rtl_descriptor(RING_TX, n), packet(DATA + below(RAM_BYTES - DATA - 128));
        out(TPPOLL, 0x40, 1);
        break;
    case 3: for (unsigned n = 0; n < ENTRIES; n++) rtl_descriptor(RING_RX, n); break;
    case 4: out(CAPR, below(3) ? in(CBR, 2) - 16 : below(0x10000), 2); break;
    case 5: out(ISR, below(0x10000), 2); break;
    case 6: memory_io_write(memory, MMIO + below(0x100), below(~0u), 1u << below(3)); break;
    default: poke();
    }
    if (below(300) == 0) rtl_start();
}

/* ---- NE2000 ---- */

static void ne_start(void)
{
    static const uint8_t values[][2] = { { 0, 0x21 }, { 14, 0x49 }, { 1, 0x46 }, { 2, 0x80 }, { 3, 0x46 }, { 12, 0x1f }, { 15, 0x7f }, { 0, 0x61 }, { 7, 0x47 }, { 0, 0x22 } };

    place();
    for (unsigned i = 0; i < ARRAY_SIZE(values); i++) out(values[i][0], values[i][1], 1);
}

static void ne_step(void)
{
    switch (below(8)) {
    case 0: case 1:
        out(0, 0x22, 1);
        out(4, below(8) ? 0x40 + below(0x80) : below(256), 1);
        out(5, below(256), 1);
        out(6, below(8) ? below(6) : below(256), 1);
        out(0, 0x26, 1);
        break;
    case 2:
        out(0, 0x22, 1);
        for (unsigned i = 8; i < 12; i++) out(i, below(256), 1);
        out(0, below(2) ? 0x12 : 0x0a, 1);
        for (unsigned n = below(300); n--;) below(2) ? (void)out(0x10, below(~0u), 1u << below(3)) : (void)(sum += in(0x10, 1u << below(3)));
        break;
    case 3: case 4:                                      /* the ring is read */
        out(0, 0x62, 1);
        sum = in(7, 1);
        out(0, 0x22, 1);
        out(3, below(8) ? sum - 1 : below(256), 1);
        break;
    case 5: if (below(30) == 0) sum += in(0x1f, 1); break;
    default: if (below(20) == 0) poke();
    }
    if (below(200) == 0) ne_start();
}

static const struct { const char *name; struct device *(*create)(const struct nic_device_config *c, struct error *err); void (*start)(void), (*step)(void); } cards[] = {
    { "rtl8139", rtl8139_new, rtl_start, rtl_step }, { "ne2k_pci", ne2k_pci_new, ne_start, ne_step },
};

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

/* One card for some steps, or until the input ends. */
static bool card_run(unsigned n, unsigned offloads, uint64_t steps)
{
    struct mirror *m = mirror_new(below, offloads);
    struct nic_device_config config = { .bus = bus, .devfn = DEVFN, .memory = memory, .backend = &m->base, .mac = { 0x52, 0x54, 0, 0x12, 0x34, 0x56 } };
    struct error err = { "" };
    struct device *d = cards[n].create(&config, &err);
    bool good;

    if (!d) {
        printf("fuzz-cards: %s\n", err.text);
        exit(1);
    }
    interrupts = 0;
    cards[n].start();
    for (uint64_t i = 0; source.input ? source.left > 0 : i < steps; i++) {
        if (below(5)) cards[n].step();
        else mirror_give(m);
        if (below(5000) == 0) device_reset(d);
        if (below(200) == 0) machine_unlock(), loop_step(0), machine_lock();
    }
    if (!source.input)
        printf("fuzz-cards: %s: %llu steps, %llu frames sent, %llu taken, %llu refused, %llu interrupts\n", cards[n].name, (unsigned long long)steps,
               (unsigned long long)m->sent, (unsigned long long)m->taken, (unsigned long long)m->refused, (unsigned long long)interrupts);
    good = m->sent > steps / 100 && m->taken > steps / 100 && interrupts > steps / 1000;
    device_destroy(d);
    net_free(&m->base);
    return good;
}

/* OSPITE_FUZZ_DEVICE names the card. The first byte says what the network takes. */
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    const char *name = getenv("OSPITE_FUZZ_DEVICE");
    unsigned n = 0;

    while (n + 1 < ARRAY_SIZE(cards) && name && strcmp(cards[n].name, name)) n++;
    if (!bus) world_make();
    source = (struct fuzz_source){ 0, data, size };
    memset(ram, 0, RAM_BYTES);
    machine_lock();
    card_run(n, below(2) ? NET_ALL_OFFLOADS : 0, 0);
    machine_unlock();
    return 0;
}

#ifndef FUZZER
static void world_free(void)
{
    pci_bus_free(bus);
    memory_map_free(memory);
    memory_map_free(ports);
}

int main(int argc, char **argv)
{
    uint64_t steps = argc > 1 ? strtoull(argv[1], NULL, 0) : 300000, seed = argc > 2 ? strtoull(argv[2], NULL, 0) : 0x8139;
    bool good = true;

    if (argc > 2 && !strcmp(argv[1], "--replay")) return fuzz_replay("fuzz-cards", argv[2]);
    source.state = seed;
    world_make();
    machine_lock();
    for (unsigned i = 0; i < 2 * ARRAY_SIZE(cards); i++) good &= card_run(i / 2, i & 1 ? NET_ALL_OFFLOADS : 0, steps);
    machine_unlock();
    world_free();
    printf("seed %#llx, sum %llx\n", (unsigned long long)seed, (unsigned long long)sum);
    return good ? 0 : 1;
}
#endif
