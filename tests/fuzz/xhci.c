/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * A hostile driver against an xHCI with devices on its ports: rings with loops and wild links, contexts, TRBs of all kinds, commands in any order,
 * events that nobody takes, registers at random, devices plugged in and out. Nothing may crash, hang or reach outside of guest memory.
 *
 *   fuzz-xhci [STEPS [SEED]]
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

#include "base/bits.h"
#include "base/clock.h"
#include "base/error.h"
#include "base/loop.h"
#include "device/usb/xhci.h"
#include "usb_devices.h"

enum { RAM_BYTES = 1 << 20, MMIO = 0x10000000, DEVFN = 8, DCBAA = 0x1000, COMMANDS = 0x2000, RING_TRBS = 64, SEGMENT = 0x3000, EVENTS = 0x4000, EVENT_TRBS = 64, INPUT = 0x5000,
       CONTEXTS = 0x8000, RINGS = 0x20000, RING_BYTES = 0x400, SLOTS = 6, ENDPOINTS = 6, DATA = 0x80000, EVENT_TYPES = 64 };
enum { OPER = 0x40, RUNTIME = 0x1020, DOORBELLS = 0x2000, TRB_BYTES = 16 };

struct ring { uint32_t base; unsigned at; uint32_t cycle; };

static uint8_t *ram;
static struct memory_map *memory, *ports;
static struct ring commands, rings[SLOTS][ENDPOINTS];
static unsigned event_at;
static uint32_t event_cycle;
static uint64_t interrupts, successes, failures, transfers;

static void intx(void *opaque, int n, int level) { interrupts += (unsigned)level; }
static void set(unsigned reg, uint32_t v) { memory_io_write(memory, MMIO + reg, v, 4); }
static uint32_t get(unsigned reg) { return (uint32_t)memory_io_read(memory, MMIO + reg, 4); }
static void put32(uint32_t at, uint32_t v) { memcpy(ram + at, &v, 4); }

static uint32_t get32(uint32_t at)
{
    uint32_t v;

    memcpy(&v, ram + at, 4);
    return v;
}

/* ---- rings ---- */

static void ring_reset(struct ring *r)
{
    r->at = 0;
    r->cycle = 1;
    memset(ram + r->base, 0, RING_BYTES);
}

static uint32_t push(struct ring *r, uint64_t parameter, uint32_t status, uint32_t control)
{
    uint32_t at = r->base + r->at * TRB_BYTES;

    memcpy(ram + at, &parameter, 8);
    put32(at + 8, status);
    put32(at + 12, (control & ~1u) | r->cycle);
    if (++r->at < RING_TRBS - 1) return at;
    put32(r->base + r->at * TRB_BYTES, below(300) ? r->base : below(~0u));
    put32(r->base + r->at * TRB_BYTES + 4, 0);
    put32(r->base + r->at * TRB_BYTES + 12, 6 << 10 | (below(300) ? 2 : 0) | r->cycle);
    r->at = 0;
    r->cycle ^= 1;
    return at;
}

static void events_take(void)
{
    for (unsigned n = 0; n < EVENT_TRBS; n++) {
        uint32_t at = EVENTS + event_at * TRB_BYTES, code = get32(at + 8) >> 24, type = get32(at + 12) >> 10 & 63;

        if ((get32(at + 12) & 1) != event_cycle) break;
        if (type == 32) transfers++;
        if (code == 1 || code == 13) successes++;
        else failures++;
        if (++event_at < EVENT_TRBS) continue;
        event_at = 0;
        event_cycle ^= 1;
    }
    set(RUNTIME + 0x18, (EVENTS + event_at * TRB_BYTES) | 8);
}

/* ---- what drivers do ---- */

static void begin(struct pci_bus *bus)
{
    pci_config_write(bus, DEVFN << 8 | 0x10, MMIO, 4);
    pci_config_write(bus, DEVFN << 8 | 4, 6, 2);
    set(OPER, 2);
    memset(ram + DCBAA, 0, 0x800);
    for (unsigned s = 0; s < SLOTS; s++) {
        put32(DCBAA + 8 * (s + 1), CONTEXTS + 0x800 * s);
        for (unsigned e = 0; e < ENDPOINTS; e++) rings[s][e].base = RINGS + (s * ENDPOINTS + e) * RING_BYTES, ring_reset(&rings[s][e]);
    }
    commands.base = COMMANDS;
    ring_reset(&commands);
    memset(ram + EVENTS, 0, EVENT_TRBS * TRB_BYTES);
    event_at = 0;
    event_cycle = 1;
    put32(SEGMENT, EVENTS), put32(SEGMENT + 4, 0), put32(SEGMENT + 8, EVENT_TRBS), put32(SEGMENT + 12, 0);
    set(OPER + 0x38, 64), set(OPER + 0x30, DCBAA), set(OPER + 0x34, 0), set(OPER + 0x18, COMMANDS | 1), set(OPER + 0x1c, 0);
    set(RUNTIME + 8, 1), set(RUNTIME + 0x18, EVENTS), set(RUNTIME + 0x1c, 0), set(RUNTIME + 0x10, SEGMENT), set(RUNTIME + 0x14, 0), set(RUNTIME, 2);
    set(OPER, 5);
    for (unsigned p = 0; p < 8; p++) set(OPER + 0x400 + 16 * p, 0x210);
}

static void endpoint_context(uint32_t at, unsigned type, unsigned packet, const struct ring *r)
{
    put32(at, 0), put32(at + 4, 3 << 1 | type << 3 | packet << 16), put32(at + 8, (r->base + r->at * TRB_BYTES) | r->cycle), put32(at + 12, 0), put32(at + 16, 8);
    if (!below(100)) put32(at + 4 * below(5), below(~0u));
}

/* Input contexts for the commands that take them. */
static void input_make(unsigned slot, bool configure)
{
    static const uint8_t types[ENDPOINTS] = { 0, 4, 3, 7, 2, 6 };          /* control; interrupt or bulk out 1, in 1; bulk out 2, in 2 */
    unsigned root = below(20) ? 1 + below(8) : below(256);

    memset(ram + INPUT, 0, 0x800);
    put32(INPUT + 4, configure ? 1 | below(64) << 2 : 3);
    put32(INPUT + 32, 5u << 27 | (below(3) ? 0 : below(9)));
    put32(INPUT + 36, root << 16);
    for (unsigned e = 1; e < ENDPOINTS; e++) endpoint_context(INPUT + 32 * (e + 1), types[e] == 3 && below(2) ? 2 : types[e] == 7 && below(2) ? 6 : types[e], 64, &rings[slot - 1][e]);
    if (!below(60)) put32(INPUT + 4 * below(64), below(~0u));
}

static void command(void)
{
    static const uint8_t often[] = { 9, 11, 11, 12, 12, 12, 14, 15, 16, 16, 13, 17, 10, 23, 49 };
    unsigned type = below(30) ? often[below(sizeof(often))] : below(64), slot = 1 + below(SLOTS), e = 1 + below(ENDPOINTS - 1);
    uint64_t parameter = INPUT;

    if (type == 10 && below(6)) type = 9;
    if (type == 12 || type == 11 || type == 13) input_make(slot, type == 12);
    if (type == 16) {
        if (below(4)) ring_reset(&rings[slot - 1][e]);
        parameter = (rings[slot - 1][e].base + rings[slot - 1][e].at * TRB_BYTES) | rings[slot - 1][e].cycle;
    }
    if (!below(150)) parameter = (uint64_t)below(~0u) << below(33);
    push(&commands, parameter, 0, type << 10 | slot << 24 | e << 16 | (below(8) ? 0 : 0x200));
    if (below(3)) set(DOORBELLS, 0);
}

static uint64_t buffer(void) { return below(300) ? DATA + below(RAM_BYTES - DATA - 0x20000) : (uint64_t)below(~0u) << below(33); }

static void control(unsigned slot)
{
    struct ring *r = &rings[slot - 1][1];
    uint8_t request[8];
    uint64_t setup;
    unsigned length;
    bool in;

    usb_request_make(request);
    memcpy(&setup, request, 8);
    length = request[6] | request[7] << 8;
    in = request[0] & 0x80;
    push(r, setup, below(100) ? 8 : below(100), 2 << 10 | (below(50) ? 0x40 : 0) | (length ? in ? 3 : 2 : 0) << 16);
    if (length) push(r, buffer(), length, 3 << 10 | (in ? 1 << 16 : 0) | (below(3) ? 4 : 0) | (below(4) ? 0 : 0x20));
    push(r, 0, 0, 4 << 10 | (in && length ? 0 : 1 << 16) | 0x20);
    set(DOORBELLS + 4 * slot, 1);
}

static void transfer(unsigned slot, unsigned e, uint32_t length)
{
    struct ring *r = &rings[slot - 1][e];
    unsigned pieces = below(4) ? 1 : 1 + below(below(10) ? 6 : 40);

    for (unsigned n = 0; n < pieces; n++)
        push(r, buffer(), (length / pieces) & 0x1ffff, (below(60) ? 1 : below(16)) << 10 | (n + 1 < pieces ? 0x10 : 0x20) | (below(2) ? 4 : 0) | (below(80) ? 0 : below(~0u) & 0xfff0));
    if (!below(10)) push(r, below(~0u), 0, 7 << 10 | 0x20);
    set(DOORBELLS + 4 * slot, e);
}

/* A command for a stick, its data, its status. */
static void bulk(unsigned slot)
{
    uint32_t at = DATA + below(0x1000), length;
    uint8_t c[31];

    usb_command_make(c);
    memcpy(ram + at, c, sizeof(c));
    memcpy(&length, c + 8, 4);
    push(&rings[slot - 1][4], at, 31, 1 << 10 | 0x20);
    set(DOORBELLS + 4 * slot, 4);
    if (length) transfer(slot, c[12] ? 3 : 4, MIN(length, 100000u));
    transfer(slot, 3, 13);
}

static void settle(void)
{
    machine_unlock();
    for (unsigned n = 0; n < 3; n++) loop_step(0);
    machine_lock();
    events_take();
}

/* The input context of a careful driver: the control endpoint, or bulk in 1 and bulk out 2. */
static void input_plain(unsigned slot, unsigned port, bool configure)
{
    memset(ram + INPUT, 0, 0x800);
    put32(INPUT + 4, configure ? 1 | 1 << 3 | 1 << 4 : 3);
    put32(INPUT + 32, 5u << 27);
    put32(INPUT + 36, port << 16);
    for (unsigned e = configure ? 3 : 1; e <= (configure ? 4 : 1); e++) {
        const struct ring *r = &rings[slot - 1][e];

        put32(INPUT + 32 * (e + 1) + 4, 3 << 1 | (e == 1 ? 4 : e == 3 ? 6 : 2) << 3 | 512 << 16);
        put32(INPUT + 32 * (e + 1) + 8, r->base | r->cycle);
    }
}

/* SCSI command c of ten bytes at most, with this much data in, in a wrapper; its data and its status. */
static void stick_command(unsigned slot, const uint8_t *c, uint32_t bytes)
{
    uint8_t wrapper[31] = { 'U', 'S', 'B', 'C', 1, 0, 0, 0, bytes & 255, bytes >> 8, 0, 0, 0x80, 0, 10 };

    memcpy(wrapper + 15, c, 10);
    memcpy(ram + DATA, wrapper, sizeof(wrapper));
    push(&rings[slot - 1][4], DATA, sizeof(wrapper), 1 << 10 | 0x20);
    set(DOORBELLS + 4 * slot, 4);
    if (bytes) push(&rings[slot - 1][3], DATA + 0x1000, bytes, 1 << 10 | 0x20);
    push(&rings[slot - 1][3], DATA + 0x2000, 13, 1 << 10 | 0x20);
    set(DOORBELLS + 4 * slot, 3);
    settle();
}

/* A careful driver reads the stick, wherever that is, so that what follows finds a disk at work. */
static void stick_read(struct pci_bus *pci)
{
    static const uint8_t ready[10] = { 0 }, read[10] = { 0x28, [8] = 1 };
    unsigned slot = 0;

    begin(pci);
    for (unsigned port = 1; port <= 8 && slot < SLOTS; port++) {
        if (!(get(OPER + 0x400 + 16 * (port - 1)) & 1)) continue;
        push(&commands, 0, 0, 9 << 10);
        set(DOORBELLS, 0);
        settle();
        slot++;
        input_plain(slot, port, false);
        push(&commands, INPUT, 0, 11 << 10 | slot << 24);
        set(DOORBELLS, 0);
        settle();
        push(&rings[slot - 1][1], 9u << 8 | 1u << 16, 8, 2 << 10 | 0x40);                  /* SET_CONFIGURATION 1 */
        push(&rings[slot - 1][1], 0, 0, 4 << 10 | 1 << 16 | 0x20);
        set(DOORBELLS + 4 * slot, 1);
        settle();
        input_plain(slot, port, true);
        push(&commands, INPUT, 0, 12 << 10 | slot << 24);
        set(DOORBELLS, 0);
        settle();
        stick_command(slot, ready, 0);                                                     /* takes the attention */
        stick_command(slot, read, 512);
    }
}

static void step(struct pci_bus *pci, struct usb_bus *bus, struct device *d)
{
    unsigned slot = 1 + below(SLOTS);

    switch (below(20)) {
    case 0 ... 4: command(); break;
    case 5 ... 8: control(slot); break;
    case 9: transfer(slot, 1 + below(ENDPOINTS - 1), below(5) ? below(600) : below(~0u)); break;
    case 10 ... 11: bulk(slot); break;
    case 12: usb_devices_poke(); break;
    case 13: if (below(20) == 0) set(below(2) ? OPER + 4 * below(20) : below(2) ? OPER + 0x400 + 4 * below(32) : RUNTIME + 4 * below(40), below(~0u)); break;
    case 14:
        if (below(1000) == 0) stick_read(pci);
        else if (get(OPER + 4) & 0x1005 || below(500) == 0) begin(pci);
        break;
    case 15:
        if (below(60) == 0) usb_devices_replug(bus);
        if (below(400) == 0) device_reset(d);
        break;
    case 16:
        machine_unlock();
        loop_step(0);
        machine_lock();
        break;
    case 17: memory_io_read(memory, MMIO + below(0x4000), 1u << below(4)); break;
    default:
        if (below(10)) events_take();
        if (get(OPER + 0x400 + 16 * below(8)) & 0x20000) set(OPER + 0x400 + 16 * below(8), 0x210);
    }
}

int main(int argc, char **argv)
{
    uint64_t steps = argc > 1 ? strtoull(argv[1], NULL, 0) : 2000000, seed = argc > 2 ? strtoull(argv[2], NULL, 0) : 0x3c1, requests;
    struct pci_bus_config c = { .intx = { { intx, NULL, 0 }, { intx, NULL, 1 }, { intx, NULL, 2 }, { intx, NULL, 3 } } };
    struct error err = { "" };
    struct pci_bus *pci;
    struct usb_bus *bus;
    struct device *d;

    below_seed(seed);
    loop_init();
    clock_virtual_start();
    ram = mmap(NULL, RAM_BYTES, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    memory = memory_map_new("memory", 1ull << 52);
    ports = memory_map_new("ports", 65536);
    memory_map_add_ram(memory, "ram", 0, RAM_BYTES, ram, false, 0);
    c.memory = memory;
    c.ports = ports;
    pci = pci_bus_new(&c);
    machine_lock();
    d = xhci_new(&(struct xhci_config){ pci, DEVFN, NULL, "usb", seed & 1, 0 }, &bus, &err);
    if (!d || usb_devices_make(bus, &err) < 0) {
        printf("fuzz-xhci: %s\n", err.text);
        return 1;
    }
    begin(pci);
    for (uint64_t n = 0; n < steps; n++) step(pci, bus, d);
    requests = usb_disk_requests();
    printf("fuzz-xhci: %llu steps, %llu good events, %llu of failures, %llu of transfers, %llu disk requests, %llu interrupts, seed %#llx\n", (unsigned long long)steps,
           (unsigned long long)successes, (unsigned long long)failures, (unsigned long long)transfers, (unsigned long long)requests, (unsigned long long)interrupts,
           (unsigned long long)seed);
    usb_devices_free();
    device_destroy(d);
    pci_bus_free(pci);
    machine_unlock();
    memory_map_free(memory);
    memory_map_free(ports);
    return successes > steps / 100 && failures && transfers > steps / 1000 && requests > steps / 100000 && interrupts ? 0 : 1;
}
