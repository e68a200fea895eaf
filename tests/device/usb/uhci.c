/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * A driver that is as quick as can be: the moment a transfer descriptor is marked done it puts another one into the queue (SeaBIOS, from another
 * processor's view). The controller must have left the queue's head alone by then, or the new descriptor is lost. UHCI 1.1, 3.4.2.
 */
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

#include "base/bits.h"
#include "base/clock.h"
#include "base/error.h"
#include "base/loop.h"
#include "device/usb/hub.h"
#include "device/usb/uhci_private.h"
#include "unit.h"

enum { RAM_BYTES = 1 << 16, FRAMES = 0x1000, QUEUE = 0x2000, DATA = 0x4000, PORT = 0xc000, DEVFN = 8, LINK_END = 1, LINK_QUEUE = 2, ACTIVE = 0x800000, SETUP_OF_8 = 0x2d | 7 << 21 };
enum { FIRST = 0x3000, SECOND = 0x3020 };

static uint8_t *ram;
static struct memory_map *memory, *ports;
static unsigned quick;

static void intx(void *opaque, int n, int level) {}
static void set(unsigned reg, uint32_t v, unsigned size) { memory_io_write(ports, PORT + reg, v, size); }
static void put32(uint32_t at, uint32_t v) { memcpy(ram + at, &v, 4); }

static uint32_t get32(uint32_t at)
{
    uint32_t v;

    memcpy(&v, ram + at, 4);
    return v;
}

static void descriptor(uint32_t at)
{
    put32(at, LINK_END);
    put32(at + 4, ACTIVE);
    put32(at + 8, SETUP_OF_8);
    put32(at + 12, DATA);
}

static void driver(void *opaque, gpa_t address, size_t size)
{
    if (quick || get32(FIRST + 4) & ACTIVE) return;
    quick++;
    put32(QUEUE + 4, SECOND);
}

static void frames(struct uhci *s)
{
    static const uint8_t request[8] = { 0x80, 6, 0, 1, 0, 0, 18 };
    unsigned first = 0, second = 0;

    memcpy(ram + DATA, request, sizeof(request));
    descriptor(FIRST);
    descriptor(SECOND);
    put32(QUEUE, LINK_END);
    put32(QUEUE + 4, FIRST);
    put32(FRAMES, QUEUE | LINK_QUEUE);
    put32(FRAMES + 4, QUEUE | LINK_QUEUE);
    s->frnum = 0;
    first = uhci_frame_run(s).moved;
    check(first && quick == 1 && !(get32(FIRST + 4) & ACTIVE), "the first descriptor is done");
    check(get32(QUEUE + 4) == SECOND, "the queue holds what the driver put there, not %#x", get32(QUEUE + 4));
    s->frnum = 1;
    second = uhci_frame_run(s).moved;
    check(second && !(get32(SECOND + 4) & ACTIVE) && get32(QUEUE + 4) == LINK_END, "the second one is done");
}

int main(void)
{
    struct pci_bus_config c = { .intx = { { intx, NULL, 0 }, { intx, NULL, 1 }, { intx, NULL, 2 }, { intx, NULL, 3 } } };
    struct usb_device *hub;
    struct usb_bus *bus;
    struct pci_bus *pci;
    struct error err = { "" };
    struct device *d;

    loop_init();
    ram = mmap(NULL, RAM_BYTES, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    c.memory = memory = memory_map_new("memory", 1ull << 52);
    c.ports = ports = memory_map_new("ports", 65536);
    memory_map_add_ram(memory, "ram", 0, RAM_BYTES, ram, false, 0);
    memory_map_listen_written(memory, driver, NULL);
    pci = pci_bus_new(&c);
    machine_lock();
    d = uhci_new(&(struct uhci_config){ pci, DEVFN, NULL, "usb" }, &bus, &err);
    hub = usb_hub_new(NULL, NULL, &err);
    if (check(d && hub && usb_attach(bus, NULL, hub, &err) == 0, "a controller and a hub: %s", err.text)) {
        pci_config_write(pci, DEVFN << 8 | 0x20, PORT, 4);
        pci_config_write(pci, DEVFN << 8 | 4, 5, 2);
        set(8, FRAMES, 4);
        set(16, 0x200, 2);
        set(16, 4, 2);
        frames((struct uhci *)d);
        device_destroy(&hub->device);
        device_destroy(d);
    }
    pci_bus_free(pci);
    machine_unlock();
    memory_map_free(memory);
    memory_map_free(ports);
    return report("uhci");
}
