/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * A hostile driver against a UHCI with devices on its ports: schedules with loops, wild links, lengths, tokens and buffers, control transfers that
 * break off, registers written at random, devices plugged in and out. Nothing may crash or hang, and no frame may take for ever.
 *
 *   fuzz-uhci [STEPS [SEED]]
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

#include "base/bits.h"
#include "base/clock.h"
#include "base/error.h"
#include "base/loop.h"
#include "device/usb/uhci_private.h"
#include "usb_devices.h"

enum { RAM_BYTES = 1 << 18, FRAMES = 0x1000, QUEUES = 0x2000, QUEUE_COUNT = 24, DESCRIPTORS = 0x3000, DESCRIPTOR_COUNT = 96, DATA = 0x8000, PORT = 0xc000, DEVFN = 8 };

static uint8_t *ram;
static struct memory_map *memory, *ports;
static uint64_t interrupts, finished, stalls, frame_errors;

static void intx(void *opaque, int n, int level) { interrupts += (unsigned)level; }
static void set(unsigned reg, uint32_t v, unsigned size) { memory_io_write(ports, PORT + reg, v, size); }
static uint32_t get(unsigned reg, unsigned size) { return (uint32_t)memory_io_read(ports, PORT + reg, size); }
static void put32(uint32_t at, uint32_t v) { memcpy(ram + at, &v, 4); }

static uint32_t get32(uint32_t at)
{
    uint32_t v;

    memcpy(&v, ram + at, 4);
    return v;
}

static uint32_t any_link(void)
{
    if (!below(100)) return below(~0u);
    switch (below(11)) {
    case 1: return 1;
    case 2 ... 5: return (QUEUES + 16 * below(QUEUE_COUNT)) | 2 | (below(30) ? 0 : below(16));
    default: return (DESCRIPTORS + 32 * below(DESCRIPTOR_COUNT)) | (below(3) ? 4 : 0) | (below(20) ? 0 : 1);
    }
}

static void descriptor(unsigned n, unsigned pid, unsigned address, unsigned endpoint, unsigned length, uint32_t link)
{
    uint32_t at = DESCRIPTORS + 32 * n, buffer = DATA + below(RAM_BYTES - DATA - 2048);

    put32(at, link);
    put32(at + 4, 0x800000 | below(4) << 27 | below(2) << 24 | below(2) << 29 | (below(50) ? 0 : below(~0u)));
    put32(at + 8, pid | address << 8 | endpoint << 15 | ((length - 1) & 0x7ff) << 21);
    put32(at + 12, below(200) ? buffer : below(~0u));
}

/* A control transfer that a driver could send, with a mistake now and then, in a queue of its own. */
static void control(unsigned address)
{
    unsigned first = below(DESCRIPTOR_COUNT - 4), queue = below(QUEUE_COUNT), length;
    uint8_t request[8];
    uint32_t at;

    usb_request_make(request);
    length = request[6] | request[7] << 8;
    descriptor(first, 0x2d, address, 0, below(40) ? 8 : below(64), (DESCRIPTORS + 32 * (first + 1)) | 4);
    at = DATA + below(1000);
    memcpy(ram + at, request, 8);
    put32(DESCRIPTORS + 32 * first + 12, at);
    descriptor(first + 1, request[0] & 0x80 ? 0x69 : 0xe1, address, 0, MIN(length, 1280u), (DESCRIPTORS + 32 * (first + 2)) | 4);
    descriptor(first + 2, request[0] & 0x80 && length ? 0xe1 : 0x69, address, 0, 0, below(4) ? 1 : any_link());
    if (!length) put32(DESCRIPTORS + 32 * first, (DESCRIPTORS + 32 * (first + 2)) | 4);
    put32(QUEUES + 16 * queue + 4, DESCRIPTORS + 32 * first);
}

/* A command for a stick, its data, its status. */
static void bulk(struct uhci *s, unsigned address)
{
    unsigned first = below(DESCRIPTOR_COUNT - 8), queue = below(QUEUE_COUNT), n = 1;
    uint32_t at = DATA + below(1000), length;
    uint8_t command[31];
    bool in;

    usb_command_make(command);
    memcpy(&length, command + 8, 4);
    in = command[12];
    descriptor(first, 0xe1, address, 2, below(40) ? 31 : below(64), (DESCRIPTORS + 32 * (first + 1)) | 4);
    memcpy(ram + at, command, sizeof(command));
    put32(DESCRIPTORS + 32 * first + 12, at);
    for (; length && n < 7; n++) {
        unsigned here = MIN(length, 1024u);

        descriptor(first + n, in ? 0x69 : 0xe1, address, in ? 1 : 2, here, (DESCRIPTORS + 32 * (first + n + 1)) | 4);
        length -= here;
    }
    descriptor(first + n, 0x69, address, 1, below(10) ? 13 : below(64), below(4) ? 1 : any_link());
    put32(QUEUES + 16 * queue + 4, DESCRIPTORS + 32 * first);
    put32(FRAMES, (QUEUES + 16 * queue) | 2);
    for (n = below(6); n; n--) {
        s->frnum = 0;
        uhci_frame_run(s);
        machine_unlock();
        loop_step(0);
        machine_lock();
    }
}

static void frame(void)
{
    for (unsigned n = 0; n < 4; n++) descriptor(below(DESCRIPTOR_COUNT), below(200) ? (below(3) ? 0x69 : 0xe1) : below(256), below(6), below(10) ? below(3) : below(16),
                                                below(40) ? below(80) : below(1400), any_link());
    for (unsigned n = 0; n < 3; n++) put32(QUEUES + 16 * below(QUEUE_COUNT), any_link());
    put32(QUEUES + 16 * below(QUEUE_COUNT) + 4, any_link());
    put32(FRAMES + 4 * below(1024), below(200) ? any_link() : below(~0u));
}

static void begin(struct pci_bus *bus)
{
    pci_config_write(bus, DEVFN << 8 | 0x20, PORT, 4);
    pci_config_write(bus, DEVFN << 8 | 4, 5, 2);
    for (unsigned n = 0; n < 1024; n++) put32(FRAMES + 4 * n, (QUEUES + 16 * (n % QUEUE_COUNT)) | 2);
    set(0, 2, 2);
    set(8, FRAMES, 4);
    set(4, 15, 2);
    for (unsigned p = 0; p < 2; p++) set(16 + 2 * p, 0x200, 2), set(16 + 2 * p, 4, 2);
    set(0, 1, 2);
}

static void count(void)
{
    for (unsigned n = 0; n < DESCRIPTOR_COUNT; n++) {
        uint32_t status = get32(DESCRIPTORS + 32 * n + 4);

        if (status & 0x800000) continue;
        if (status & 0x400000) stalls++;
        else finished++;
    }
}

static void step(struct pci_bus *pci, struct usb_bus *bus, struct device *d)
{
    switch (below(17)) {
    case 0 ... 2: frame(); break;
    case 3 ... 5: control(below(6)); break;
    case 6 ... 7: usb_devices_poke(); break;
    case 8:
        if (below(40) == 0) set(below(32), below(~0u), 1u << below(3));
        else if (below(10) == 0) set(16 + 2 * below(2), below(2) ? 0x200 : 4, 2);
        break;
    case 9: if (below(100) == 0) device_reset(d); break;
    case 10: if (below(6) == 0 || get(2, 2) & 0x20) begin(pci); break;
    case 11: if (below(20) == 0) usb_devices_replug(bus); break;
    case 12 ... 14: bulk((struct uhci *)d, below(4) ? 2 : below(6)); break;
    default:
        set(2, 0x3f, 2);
        for (unsigned n = 0; n < 4; n++) {
            ((struct uhci *)d)->frnum = (uint16_t)below(2048);
            frame_errors += (uhci_frame_run((struct uhci *)d).errors & (STS_HSE | STS_HCPE)) != 0;
        }
        count();
        if (below(50)) break;
        /* By the clock a frame lasts a millisecond. */
        machine_unlock();
        loop_step(1);
        machine_lock();
        get(6, 2);
    }
}

int main(int argc, char **argv)
{
    uint64_t steps = argc > 1 ? strtoull(argv[1], NULL, 0) : 400000, seed = argc > 2 ? strtoull(argv[2], NULL, 0) : 0x0481;
    struct pci_bus_config c = { .intx = { { intx, NULL, 0 }, { intx, NULL, 1 }, { intx, NULL, 2 }, { intx, NULL, 3 } } };
    struct error err = { "" };
    uint64_t requests;
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
    d = uhci_new(&(struct uhci_config){ pci, DEVFN, NULL, "usb" }, &bus, &err);
    if (!d || usb_devices_make(bus, &err) < 0) {
        printf("fuzz-uhci: %s\n", err.text);
        return 1;
    }
    begin(pci);
    for (uint64_t n = 0; n < steps; n++) step(pci, bus, d);
    printf("fuzz-uhci: %llu steps, %llu transfers seen finished, %llu failed, %llu frames broken, devices configured %llu times, %llu disk requests, %llu interrupts, seed %#llx\n", (unsigned long long)steps,
           (unsigned long long)finished, (unsigned long long)stalls, (unsigned long long)frame_errors, (unsigned long long)usb_devices_configured(), (unsigned long long)usb_disk_requests(), (unsigned long long)interrupts, (unsigned long long)seed);
    requests = usb_disk_requests();
    usb_devices_free();
    device_destroy(d);
    pci_bus_free(pci);
    machine_unlock();
    memory_map_free(memory);
    memory_map_free(ports);
    return finished > steps / 10 && stalls && frame_errors && usb_devices_configured() && requests > steps / 20000 && interrupts ? 0 : 1;
}
