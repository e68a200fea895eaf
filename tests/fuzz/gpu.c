/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * A hostile driver of the graphic card virtio-vga: commands whose fields are right, nearly right or anything, cut anywhere, in either queue, with
 * room for the answer or without; lists of pages in RAM, in the card's own registers and nowhere; VGA and Bochs registers, resets, other sizes and
 * rounds of a display that somebody looks at, in between. Nothing may crash, hang or reach outside of guest memory (the sanitizers watch), the
 * memory stays below max_hostmem, and at the end, after a reset, the card still does what it should.
 *
 *   fuzz-gpu [STEPS [SEED]]             or, built with clang, fuzzer-gpu
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

#include "base/clock.h"
#include "base/error.h"
#include "base/loop.h"
#include "device/display/virtio_vga.h"
#include "device/virtio/virtio_gpu_private.h"
#include "display/display.h"
#include "fuzz.h"
#include "replay.h"

enum { RAM_BYTES = 1 << 20, QUEUE_BYTES = 0x4000, REQUEST = 0x10000, RESPONSE = 0x20000, VRAM = 0x30000000, BAR = 0x20000000, COMMON = BAR + 0x1000,
       CONFIG = BAR + 0x2000, NOTIFY = BAR + 0x3000, SIZE = 16, HOSTMEM = 4 << 20, FUNCTION = 16 << 8 };

static uint8_t *ram;
static struct memory_map *memory, *ports;
static struct pci_bus *bus;
static struct device *device;
static struct display *display;
static struct virtio *v;
static uint16_t made[2];
static struct fuzz_source source;
static uint64_t commands, good, rows, cursors;

static uint32_t below(uint32_t n) { return fuzz_below(&source, n); }
static uint32_t next(void) { return below(0); }
static void put(uint32_t at, uint64_t value, unsigned size) { memcpy(ram + at % (RAM_BYTES - 8), &value, size); }
static void out(uint64_t at, uint64_t value, unsigned size) { memory_io_write(memory, at, value, size); }
static void intx(void *opaque, int n, int level) {}
static void changed(void *opaque, unsigned x, unsigned y, unsigned width) { rows++; }
static void cursor(void *opaque) { cursors++; }

static void start(void)
{
    uint64_t features = virtio_features_modern(v) & ~(VIRTIO_F_RING_PACKED | VIRTIO_F_EVENT_IDX);

    pci_config_write(bus, FUNCTION | 0x10, VRAM, 4);
    pci_config_write(bus, FUNCTION | 0x18, BAR, 4);
    pci_config_write(bus, FUNCTION | 0x1c, 0, 4);
    pci_config_write(bus, FUNCTION | 4, 7, 2);
    out(COMMON + 20, 0, 1);
    out(COMMON + 20, 3, 1);
    for (unsigned half = 0; half < 2; half++) {
        out(COMMON + 8, half, 4);
        out(COMMON + 12, (uint32_t)(features >> 32 * half), 4);
    }
    out(COMMON + 20, 11, 1);
    memset(ram, 0, 2 * QUEUE_BYTES);
    for (unsigned q = 0; q < 2; q++) {
        made[q] = 0;
        out(COMMON + 22, q, 2);
        out(COMMON + 24, SIZE, 2);
        for (unsigned n = 0; n < 3; n++) {
            out(COMMON + 32 + 8 * n, q * QUEUE_BYTES + 0x1000 * n, 4);
            out(COMMON + 36 + 8 * n, 0, 4);
        }
        out(COMMON + 28, 1, 2);
    }
    out(COMMON + 20, 15, 1);
}

/* ---- commands ---- */

static uint32_t side(void) { return below(16) ? 1 + below(600) : below(2) ? below(3) * 0x7fff : next(); }
static uint32_t id(void) { return below(32) ? 1 + below(6) : below(2) ? 0 : next(); }
static uint32_t edge(uint32_t n) { return below(8) ? below(n) : next(); }

static void rect_put(uint32_t at)
{
    bool small = below(8);

    put(at, small ? below(16) : edge(600), 4);
    put(at + 4, small ? below(16) : edge(600), 4);
    put(at + 8, small ? 16 + below(33) : side(), 4);
    put(at + 12, small ? 16 + below(33) : side(), 4);
}

static void pages_put(uint32_t at, uint32_t count)
{
    for (uint32_t i = 0; i < count; i++) {
        put(at + 16 * i, below(64) ? below(RAM_BYTES) : below(2) ? VRAM + below(8 << 20) : below(2) ? BAR + below(0x4000) : (uint64_t)next() << below(33), 8);
        put(at + 16 * i + 8, below(64) ? below(8192) : below(2) ? 0 : next(), 4);
    }
}

/* Fills REQUEST; its length. */
static uint32_t command_make(void)
{
    static const uint16_t types[] = { 0x100, 0x101, 0x101, 0x102, 0x103, 0x103, 0x104, 0x104, 0x104, 0x105, 0x105, 0x105, 0x106, 0x106, 0x107, 0x10a, 0x300, 0x300, 0x301 };
    static const uint8_t formats[] = { 1, 2, 3, 4, 67, 68, 121, 134 };
    uint32_t type = below(64) ? types[below(ARRAY_SIZE(types))] : next() & 0x10ff, at = REQUEST + 24, count;

    put(REQUEST, type, 4);
    put(REQUEST + 4, below(4) ? 0 : 1, 4);
    put(REQUEST + 8, next(), 8);
    put(REQUEST + 16, below(3), 8);
    switch (type) {
    case 0x101:
        put(at, id(), 4);
        put(at + 4, below(16) ? formats[below(8)] : next(), 4);
        put(at + 8, below(4) ? side() : 64, 4);
        put(at + 12, below(4) ? side() : 64, 4);
        return 40;
    case 0x103:
        rect_put(at);
        put(at + 16, below(16) ? 0 : next(), 4);
        put(at + 20, id(), 4);
        return 48;
    case 0x104:
        rect_put(at);
        put(at + 16, id(), 8);
        return 48;
    case 0x105:
        rect_put(at);
        put(at + 16, below(8) ? below(100000) : (uint64_t)next() << below(33), 8);
        put(at + 24, id(), 8);
        return 56;
    case 0x106:
        count = below(64);
        put(at, id(), 4);
        put(at + 4, below(8) ? count : below(2) ? count + 1 : next(), 4);
        pages_put(at + 8, count);
        return 32 + 16 * count;
    case 0x300: case 0x301:
        for (unsigned i = 0; i < 32; i += 4) put(at + i, below(2) ? 0 : edge(64), 4);
        put(at + 16, id(), 4);
        return 56;
    }
    put(at, id(), 8);
    return type == 0x100 ? 24 : 32;
}

static void command(void)
{
    uint32_t bytes = command_make(), type, room = below(8) ? 1056 : below(64), n = 0, base, cut;
    unsigned q = le32_get(*(le32 *)(ram + REQUEST)) >= 0x300;

    if (below(64) == 0) q = !q;
    if (below(16) == 0) bytes = below(bytes);
    base = q * QUEUE_BYTES;
    cut = below(3) && bytes > 1 ? 0 : below(MAX(bytes, 1u));
#define PIECE(gpa, length, flags) \
    (put(base + 16 * n, below(3000) ? (gpa) : next(), 8), put(base + 16 * n + 8, below(3000) ? (length) : next(), 4), put(base + 16 * n + 12, (flags), 2), \
     put(base + 16 * n + 14, below(3000) ? n + 1 : next(), 2), n++)
    if (cut) PIECE(REQUEST, cut, 1);
    PIECE(REQUEST + cut, bytes - cut, room ? 1 : 0);
    if (room) PIECE(below(16) ? RESPONSE : below(RAM_BYTES), room, 2);
#undef PIECE
    put(base + 0x1000 + 4 + 2 * (made[q] % SIZE), below(2000) ? 0 : below(SIZE + 1), 2);
    put(base + 0x1000 + 2, ++made[q], 2);
    put(RESPONSE, 0, 4);
    commands++;
    out(NOTIFY + 4 * q, q, 2);
    type = le32_get(*(le32 *)(ram + RESPONSE));
    good += type >= GPU_OK_NODATA && type < GPU_ERR_UNSPEC;
}

static void poke(void)
{
    switch (below(9)) {
    case 0: out(COMMON + below(64), next(), 1u << below(3)); break;
    case 1: out(CONFIG + below(20), below(2) ? below(4) : next(), 1u << below(3)); break;
    case 2: memory_io_read(memory, BAR + below(0x4000), 1u << below(3)); break;
    case 3: out(BAR + 0x500 + 2 * below(12), below(2) ? below(2000) : next(), 2); break;
    case 4: out(BAR + 0x400 + below(32), next(), 1u << below(3)); break;
    case 5: out(VRAM + below(8 << 20), next(), 4); break;
    case 6: put(below(2 * QUEUE_BYTES), next(), 2); break;
    case 7: virtio_gpu_size_wish(v, next(), below(2000)); break;
    default: if (below(16) == 0) device_reset(device);
    }
}

/* After a reset a picture is seen. */
static bool works(void)
{
    static const uint32_t create[] = { 0x101, 0, 0, 0, 0, 0, 5, 2, 16, 16 }, screen[] = { 0x103, 0, 0, 0, 0, 0, 0, 0, 16, 16, 0, 5 };
    const struct surface *s;

    start();
    for (unsigned i = 0; i < 2; i++) {
        memcpy(ram + REQUEST, i ? screen : create, i ? sizeof(screen) : sizeof(create));
        memcpy(ram, (const uint32_t[]){ REQUEST, 0, sizeof(screen), 0 }, 16);
        put(0x1000 + 4 + 2 * (made[0] % SIZE), 0, 2);
        put(0x1000 + 2, ++made[0], 2);
        out(NOTIFY, 0, 2);
    }
    display_refresh(display);
    s = display_surface(display);
    return s->width == 16 && s->height == 16 && s->pixel[0] == 0;
}

static bool device_make(struct error *err)
{
    struct virtio_vga_config c = { .pci = { .bus = bus, .devfn = 16, .vectors = 3 },
                                   .gpu = { .memory = memory, .display = display, .is_vga = true, .max_hostmem = HOSTMEM },
                                   .vga = { .legacy = true, .vram_bytes = 8 << 20, .display = display, .memory = memory, .ports = ports } };
    struct vga *vga;

    device = virtio_vga_new(&c, &vga, err);
    if (device) v = virtio_pci_device(device);
    return device != NULL;
}

static void world_make(void)
{
    struct pci_bus_config c = { .memory = NULL };

    loop_init();
    clock_virtual_start();
    ram = mmap(NULL, RAM_BYTES, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    c.memory = memory = memory_map_new("memory", 1ull << 52);
    c.ports = ports = memory_map_new("ports", 65536);
    memory_map_add_ram(memory, "ram", 0, RAM_BYTES, ram, false, 0);
    for (int n = 0; n < 4; n++) c.intx[n] = (struct irq_line){ intx, NULL, n };
    bus = pci_bus_new(&c);
}

static void step(void)
{
    if (below(32)) command();
    else poke();
    if (below(64) == 0) display_refresh(display);
    if ((v->status & VIRTIO_STATUS_NEEDS_RESET || !(v->status & VIRTIO_STATUS_DRIVER_OK)) && below(4) == 0) start();
    if (below(64)) return;
    machine_unlock();
    loop_step(0);
    machine_lock();
}

/* A card and somebody who looks at it; false: it does not do what it should after all that. */
static bool session(uint64_t steps, uint64_t *most)
{
    struct display_viewer viewer = { .changed = changed, .cursor = cursor };
    struct error err = { "" };
    bool fine;

    machine_lock();
    display = display_new();
    display_viewer_add(display, &viewer);
    if (!device_make(&err)) {
        printf("fuzz-gpu: %s\n", err.text);
        exit(1);
    }
    start();
    for (uint64_t i = 0; steps ? i < steps : source.left > 0; i++) {
        step();
        *most = MAX(*most, gpu_of(v)->hostmem);
    }
    fine = works();
    device_destroy(device);
    display_viewer_remove(display, &viewer);
    display_free(display);
    machine_unlock();
    return fine;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    uint64_t most = 0;

    if (!bus) world_make();
    source = (struct fuzz_source){ 0, data, size };
    for (uint32_t i = 0; i < RAM_BYTES; i += 4) put(i, i * 0x9e3779b1u, 4);
    if (size && (!session(0, &most) || most > HOSTMEM)) abort();
    return 0;
}

#ifndef FUZZER
int main(int argc, char **argv)
{
    uint64_t steps = argc > 1 ? strtoull(argv[1], NULL, 0) : 150000, seed = argc > 2 ? strtoull(argv[2], NULL, 0) : 0x96b0, most = 0;
    bool fine;

    if (argc > 2 && !strcmp(argv[1], "--replay")) return fuzz_replay("fuzz-gpu", argv[2]);
    source.state = seed;
    world_make();
    for (uint32_t i = REQUEST; i < RAM_BYTES; i += 4) put(i, next(), 4);
    fine = session(steps, &most);
    pci_bus_free(bus);
    memory_map_free(memory);
    memory_map_free(ports);
    printf("fuzz-gpu: %llu steps, %llu commands, %llu of them carried out, %llu changes of the screen, %llu of the cursor, at most %llu bytes, seed %#llx\n",
           (unsigned long long)steps, (unsigned long long)commands, (unsigned long long)good, (unsigned long long)rows, (unsigned long long)cursors,
           (unsigned long long)most, (unsigned long long)seed);
    return fine && good > steps / 20 && rows && cursors && most <= HOSTMEM && most > HOSTMEM / 4 ? 0 : 1;
}
#endif
