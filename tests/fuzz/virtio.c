/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * A hostile driver against whole virtio devices: disk, entropy source, serial bus, balloon, SCSI adapter, shared folder, network card,
 * keyboard and tablet on a PCI bus, each with its queues set up properly at first and then anything: registers of both interfaces, configuration space, rings and descriptors, requests that look
 * like those the device knows, notifications, resets, queue resets, in any order, while disk requests complete in between.
 * Nothing may crash, hang or reach outside of guest memory; the sanitizers watch.
 *
 *   fuzz-virtio [STEPS [SEED]]
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "base/bits.h"
#include "base/clock.h"
#include "base/error.h"
#include "base/loop.h"
#include "device/virtio/virtio_9p.h"
#include "device/virtio/virtio_balloon.h"
#include "device/virtio/virtio_blk.h"
#include "device/virtio/virtio_console.h"
#include "device/virtio/virtio_input.h"
#include "device/virtio/virtio_net.h"
#include "device/virtio/virtio_pci.h"
#include "device/virtio/virtio_rng.h"
#include "device/virtio/virtio_scsi.h"
#include "display/input.h"
#include "fuzz.h"
#include "mirror.h"

enum { RAM_BYTES = 256 << 10, DEVICES = 11, BAR_IO = 0xc000, BAR_MSIX = 0x10000000, BAR_MODERN = 0x20000000, STRIDE = 0x100000, QUEUE_BYTES = 0x1000,
       DATA = 0x2c000 };

static uint8_t *ram;
static struct memory_map *memory, *ports;
static struct pci_bus *bus;
static struct device *device[DEVICES];
static struct block_node *node;
static struct chardev *line;
static struct mirror *mirror;
static struct input *input;
static uint64_t state, sum, messages, requests, broken;

static uint32_t next(void)
{
    return (uint32_t)(fuzz_next(&state) >> 32);
}

static uint32_t below(uint32_t n) { return next() % n; }
static void put(uint32_t at, uint64_t v, unsigned size) { memcpy(ram + at % (RAM_BYTES - 8), &v, size); }
static void msi(void *opaque, unsigned long address, unsigned data) { messages++; }
static void intx(void *opaque, int n, int level) { messages += (unsigned)level; }

static void config_write(unsigned d, unsigned offset, uint32_t v, unsigned size) { pci_config_write(bus, (d + 1) << 11 | offset, v, size); }
static void modern(unsigned d, unsigned offset, uint64_t v, unsigned size) { memory_io_write(memory, BAR_MODERN + d * STRIDE + offset, v, size); }
static void legacy(unsigned d, unsigned offset, uint32_t v, unsigned size) { memory_io_write(ports, BAR_IO + d * 0x100 + offset, v, size); }

static void place(unsigned d)
{
    config_write(d, 0x10, BAR_IO + d * 0x100, 4);
    config_write(d, 0x14, BAR_MSIX + d * STRIDE, 4);
    config_write(d, 0x20, BAR_MODERN + d * STRIDE, 4);
    config_write(d, 0x24, 0, 4);
    config_write(d, 4, 7, 2);
}

static uint32_t queue_at(unsigned d, unsigned q) { return (d * 4 + q % 4) * QUEUE_BYTES; }

/* As a driver would, with most of the features. */
static void start(unsigned d)
{
    struct virtio *v = virtio_pci_device(device[d]);
    uint64_t features = virtio_features_modern(v);

    if (!below(3)) features &= ~(1ull << below(41)) | VIRTIO_F_VERSION_1;
    place(d);
    modern(d, 20, 0, 1);
    modern(d, 20, 3, 1);
    for (unsigned half = 0; half < 2; half++) {
        modern(d, 8, half, 4);
        modern(d, 12, (uint32_t)(features >> 32 * half), 4);
    }
    modern(d, 20, 11, 1);
    for (unsigned q = 0; q < MIN(v->queue_count, 4u); q++) {
        memset(ram + queue_at(d, q), 0, QUEUE_BYTES);
        modern(d, 22, q, 2);
        modern(d, 24, 4u << below(3), 2);
        modern(d, 26, below(4), 2);
        for (unsigned n = 0; n < 3; n++) {
            modern(d, 32 + 8 * n, queue_at(d, q) + 0x400 * n, 4);
            modern(d, 36 + 8 * n, 0, 4);
        }
        modern(d, 28, 1, 2);
    }
    modern(d, 20, 15, 1);
}

/* What a request's first bytes may be: a disk's header, a port's control message, page numbers. */
static void content(uint32_t at, unsigned d)
{
    if (d < 2) {
        static const uint8_t types[] = { 0, 0, 1, 1, 4, 8, 11, 13, 14, 2 };
        put(at, below(16) ? types[below(ARRAY_SIZE(types))] : next(), 4);
        put(at + 8, below(8) ? below(2100) : (uint64_t)next() << below(33), 8);
        put(at + 16, below(8) ? below(2100) : (uint64_t)next() << below(33), 8);
        put(at + 24, below(8) ? below(64) : next(), 4);
        put(at + 28, below(4) ? below(2) : next(), 4);
    } else if (d == 3 || d == 4) {
        put(at, below(4), 4);
        put(at + 4, below(9), 2);
        put(at + 6, below(2), 2);
    } else if (d == 6) {                               /* LUN, tag, a command; or task management */
        static const uint8_t commands[] = { 0x00, 0x03, 0x08, 0x0a, 0x12, 0x12, 0x15, 0x1a, 0x25, 0x28, 0x28, 0x2a, 0x2a, 0x2f, 0x35, 0x41, 0x41, 0x42, 0x42,
                                            0x43, 0x46, 0x4a, 0x55, 0x5a, 0x88, 0x8a, 0x91, 0x93, 0x93, 0x9e, 0xa0, 0xa8, 0xaa };

        for (unsigned i = 0; i < 64; i++) put(at + i, below(3) ? 0 : below(4) ? below(32) : next(), 1);
        if (below(8)) put(at, below(16) ? 1 | below(3) << 8 | (uint64_t)below(2) << 24 : 0, 4);
        if (below(8)) put(at + 4, 0, 4);
        if (below(4) == 0) put(at, 0, 4), put(at + 4, below(9), 4), put(at + 8, 1 | below(3) << 8, 4);
        else put(at + 19, below(32) ? commands[below(ARRAY_SIZE(commands))] : next(), 1);
        if (below(2)) put(at + 19 + 2, 0, 3), put(at + 19 + 7, below(3) << 8, 2);
    } else if (d == 8) {                               /* a frame behind its header; or class, command, data */
        for (unsigned i = 0; i < 64; i += 4) put(at + i, below(8) ? below(64) : next(), 4);
        if (below(2)) put(at, below(2), 1), put(at + 1, below(3) ? 0 : below(6), 1), put(at + 4, 40 + below(1400), 2), put(at + 6, 34, 2), put(at + 8, 16, 2);
        else put(at, below(7), 1), put(at + 1, below(7), 1);
        put(at + 24, 0x450008, 3);
        put(at + 35, 6, 1);
        put(at + 58, below(256), 1);
    } else for (unsigned i = 0; i < 16; i++) put(at + 4 * i, below(8) ? below(RAM_BYTES / 4096) : next(), 4);
}

static void descriptor(struct virtqueue *q, uint32_t at, uint32_t gpa, uint32_t length, unsigned flags, unsigned follow)
{
    put(at, below(200) ? gpa : (uint64_t)next() << below(33), 8);
    put(at + 8, below(200) ? length : next(), 4);
    put(at + 12, q->is_packed ? follow : flags, 2);
    put(at + 14, q->is_packed ? flags | (q->avail_wrap ? 0x80 : 0x8000) : follow, 2);
}

/* What the SCSI adapter likes: header, data, response, data; or task management and its answer. */
static void scsi_request(unsigned d)
{
    struct virtio *v = virtio_pci_device(device[d]);
    bool control = below(8) == 0, data_out = !control && below(2), data_in = !control && below(2);
    struct virtqueue *q = &v->queue[control ? 0 : 2 + below(2)];
    uint32_t base = (uint32_t)q->descriptors, data = DATA + 4096 * below(16), size = below(4) ? 16u << below(8) : below(9000), n = 0;
    uint32_t count = 2u + data_out + data_in, first = q->is_packed ? q->avail_index : 0;

    if (!q->enabled || q->size < count || base >= DATA) return;
    content(data, d);
    if (control) put(data, 0, 4);
    else put(data, 1 | below(3) << 8 | (below(3) == 1 ? 1u << 24 : 0), 4), put(data + 4, 0, 4);
    if (below(2)) for (unsigned i = 0; i < 64; i += 8) put(data + 4096 + i, i == 0 ? 0x1000120016 : (uint64_t)below(64) << 56, 8);
#define PIECE(gpa, length, flags) \
    do { descriptor(q, base + 16 * ((first + n) % q->size), gpa, length, (flags) | (n + 1 < count ? 1 : 0), q->is_packed ? 0 : n + 1); n++; } while (0)
    PIECE(data, control ? 24 : 51, 0);
    if (data_out) PIECE(data + 4096, size, 0);
    PIECE(data + 2048, control ? 5 : 108, 2);
    if (data_in) PIECE(data + 16384, size, 2);
#undef PIECE
    if (!q->is_packed) {
        put((uint32_t)q->driver + 4 + 2 * (q->avail_index & (q->size - 1)), 0, 2);
        put((uint32_t)q->driver + 2, q->avail_index + 1, 2);
    }
    requests++;
    modern(d, 0x3000 + 4 * (uint32_t)(q - v->queue), 0, 2);
}

/* A chain of header, data and status, in the shape the queue's device likes or in any other. */
static void request(unsigned d)
{
    struct virtio *v = virtio_pci_device(device[d]);
    unsigned n = below(MIN(v->queue_count, 4u)), place_, slots;
    struct virtqueue *q = &v->queue[n];
    uint32_t base = (uint32_t)q->descriptors, data = DATA + (below(RAM_BYTES - DATA - 0x9000) & (below(4) ? ~511u : ~0u));

    if (!q->enabled || !q->size || base >= DATA) return;
    content(data, d);
    place_ = q->is_packed ? q->avail_index : 0;
    slots = MIN(1 + below(3), (unsigned)q->size);
    for (unsigned i = 0; i < slots; i++) {
        bool last = i + 1 == slots;
        unsigned flags = (last ? 0 : 1) | ((i == 0 ? below(4) == 0 : below(4)) ? 2 : 0);
        uint32_t length = i == 0 ? (below(4) ? 16u : below(64)) : last && below(2) ? 1u : 512u << below(5);
        descriptor(q, base + 16 * ((place_ + i) % q->size), data + 0x1000 * i, length, flags, q->is_packed ? 0 : (i + 1) % q->size);
    }
    if (!q->is_packed) {
        put((uint32_t)q->driver + 4 + 2 * (q->avail_index & (q->size - 1)), 0, 2);
        put((uint32_t)q->driver + 2, q->avail_index + 1, 2);
    }
    requests++;
    modern(d, 0x3000 + 4 * n, n, 2);
}

static void poke(unsigned d)
{
    static const uint8_t config_offsets[] = { 4, 5, 0x88, 0x8c, 0x90, 0x94, 0x94, 0x9b };
    unsigned size = 1u << below(4), offset = below(8) ? below(64) : 0x1000 * below(4) + below(64);

    switch (below(10)) {
    case 0: modern(d, offset, below(2) ? below(16) : next(), size); break;
    case 1: sum += memory_io_read(memory, BAR_MODERN + d * STRIDE + offset, size); break;
    case 2: legacy(d, below(32), below(2) ? below(16) : next(), MIN(size, 4u)); break;
    case 3: sum += memory_io_read(ports, BAR_IO + d * 0x100 + below(128), MIN(size, 4u)); break;
    case 4: config_write(d, config_offsets[below(ARRAY_SIZE(config_offsets))], below(2) ? below(0x3010) : next(), MIN(size, 4u)); break;
    case 5: sum += pci_config_read(bus, (d + 1) << 11 | (below(256) & ~3u), 4); break;
    case 6: memory_io_write(memory, BAR_MSIX + d * STRIDE + below(0x40), next(), size); break;
    case 7: put(below(DATA), next(), 1u << below(4)); break;
    case 8: modern(d, 0x3000 + 4 * below(5), 0, 2); break;
    default:                                           /* queue reset */
        modern(d, 22, below(4), 2);
        modern(d, 58, 1, 2);
    }
}

static int devices_make(const char *file, const char *folder, struct error *err)
{
    struct block_open_options o = { .filename = file, .format = "raw", .discard = true };
    struct virtio_blk_config blk = { .memory = memory, .queues = 2, .queue_size = 16, .write_cache = true, .serial = "fuzz" };
    struct virtio_rng_config rng = { .memory = memory, .max_bytes = 100000, .period_ms = 1 };
    struct virtio_console_config console = { .memory = memory, .ports_max = 2, .port = { { .present = true, .is_console = true }, { .present = true, .name = "p" } } };
    struct virtio_balloon_config balloon = { .memory = memory, .ram_hva = ram, .ram_bytes = RAM_BYTES, .free_page_reporting = true, .poll_s = 1 };
    struct virtio_scsi_config scsi = { .memory = memory, .queues = 2, .queue_size = 16, .unit_count = 3,
                                       .unit = { { 0, 0, { .write_cache = true } }, { 1, 1, { .serial = "s" } }, { 2, 0, { .is_cdrom = true } } } };
    struct virtio_9p_config share = { .memory = memory, .tag = "fuzz", .share = { .path = folder, .security = P9_NONE } };
    struct virtio *v[DEVICES];

    node = block_open(&o, err);
    line = chardev_open("null", err);
    if (!node || !line) return -1;
    blk.node = node;
    console.port[0].chardev = line;
    v[0] = virtio_blk_new(&blk, err);
    blk.options.packed = console.options.packed = true;
    v[1] = virtio_blk_new(&blk, err);
    v[2] = virtio_rng_new(&rng, err);
    v[3] = virtio_console_new(&console, err);
    console.options.packed = false;
    console.port[0].chardev = NULL;
    v[4] = virtio_console_new(&console, err);
    v[5] = virtio_balloon_new(&balloon, err);
    scsi.unit[0].unit.node = scsi.unit[1].unit.node = scsi.unit[2].unit.node = node;
    v[6] = virtio_scsi_new(&scsi, err);
    v[7] = virtio_9p_new(&share, err);
    mirror = mirror_new(below, NET_CSUM);
    v[8] = virtio_net_new(&(struct virtio_net_config){ .memory = memory, .backend = &mirror->base }, err);
    input = input_new();
    v[9] = virtio_input_new(&(struct virtio_input_config){ .memory = memory, .kind = VIRTIO_INPUT_KEYBOARD, .input = input, .options.packed = true }, err);
    v[10] = virtio_input_new(&(struct virtio_input_config){ .memory = memory, .kind = VIRTIO_INPUT_TABLET, .serial = "fuzz", .input = input }, err);
    for (int i = 0; i < DEVICES; i++) {
        struct virtio_pci_config c = { .bus = bus, .devfn = (i + 1) << 3, .vectors = i == 5 ? 0 : 4 };

        if (!v[i] || !(device[i] = virtio_pci_new(&c, v[i], err))) return -1;
    }
    return 0;
}

int main(int argc, char **argv)
{
    uint64_t steps = argc > 1 ? strtoull(argv[1], NULL, 0) : 600000, seed = argc > 2 ? strtoull(argv[2], NULL, 0) : 0xf1050;
    struct pci_bus_config c = { .msi = { msi, NULL } };
    char file[] = "/tmp/ospite-fuzz-XXXXXX", folder[] = "/tmp/ospite-fuzz-XXXXXX";
    struct error err = { "" };
    int fd = mkstemp(file);

    if (fd < 0 || ftruncate(fd, 1 << 20) < 0 || !mkdtemp(folder)) return 1;
    close(fd);
    state = seed;
    loop_init();
    clock_virtual_start();
    ram = mmap(NULL, RAM_BYTES, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    memory = memory_map_new("memory", 1ull << 52);
    ports = memory_map_new("ports", 65536);
    memory_map_add_ram(memory, "ram", 0, RAM_BYTES, ram, false, 0);
    c.memory = memory;
    c.ports = ports;
    for (int n = 0; n < 4; n++) c.intx[n] = (struct irq_line){ intx, NULL, n };
    bus = pci_bus_new(&c);
    machine_lock();
    if (devices_make(file, folder, &err) < 0) {
        printf("fuzz-virtio: %s\n", err.text);
        return 1;
    }
    for (unsigned d = 0; d < DEVICES; d++) start(d);
    machine_unlock();
    for (uint64_t i = 0; i < steps; i++) {
        unsigned d = below(DEVICES);
        struct virtio *v = virtio_pci_device(device[d]);
        bool is_broken = v->status & VIRTIO_STATUS_NEEDS_RESET;

        machine_lock();
        broken += is_broken;
        if (d == 6 && below(4)) scsi_request(d);
        else if (d == 8 && below(3) == 0) mirror_give(mirror);
        else if (d == 9 && below(3) == 0) input_key(input, below(200), below(2));
        else if (d == 10 && below(3) == 0) input_absolute(input, next(), next(), (int)below(9) - 4, below(64));
        else if (below(2)) request(d);
        else if (below(4) == 0) poke(d);
        if ((is_broken || !(v->status & VIRTIO_STATUS_DRIVER_OK)) && below(8) == 0) start(d);
        if (below(500) == 0) virtio_balloon_target_set(virtio_pci_device(device[5]), below(RAM_BYTES));
        machine_unlock();
        if (below(32) == 0) loop_step(0);
    }
    machine_lock();
    for (unsigned d = 0; d < DEVICES; d++) {
        if (below(2)) device_reset(device[d]);
        device_destroy(device[d]);
    }
    block_close(node);
    chardev_close(line);
    messages = mirror->sent && mirror->taken ? messages : 0;   /* the network must have seen something */
    net_free(&mirror->base);
    input_free(input);
    pci_bus_free(bus);
    machine_unlock();
    memory_map_free(memory);
    memory_map_free(ports);
    unlink(file);
    rmdir(folder);
    printf("fuzz-virtio: %llu steps on %d devices, %llu requests, %llu interrupts, %llu steps on broken devices, seed %#llx, sum %llx\n",
           (unsigned long long)steps, DEVICES, (unsigned long long)requests, (unsigned long long)messages, (unsigned long long)broken,
           (unsigned long long)seed, (unsigned long long)sum);
    return requests > steps / 10 && messages > steps / 200 && broken ? 0 : 1;
}
