/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * A hostile driver against whole virtio devices: disk, entropy source, serial bus with one port and with several that come, go and have much to say,
 * balloon, SCSI adapter, shared folder, network card, keyboard and tablet on a PCI bus, each with its queues set up properly at first and then anything: registers of both interfaces, configuration space, rings and descriptors, requests that look
 * like those the device knows, notifications, resets, queue resets, in any order, while disk requests complete in between.
 * Nothing may crash, hang or reach outside of guest memory; the sanitizers watch.
 *
 *   fuzz-virtio [STEPS [SEED]]             or, built with clang, fuzzer-virtio
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>
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
#include "replay.h"

enum { RAM_BYTES = 320 << 10, DEVICES = 12, PORTS = 11, PORT_NUMBERS = 4, BAR_IO = 0xc000, BAR_MSIX = 0x10000000, BAR_MODERN = 0x20000000, STRIDE = 0x100000, QUEUE_BYTES = 0x1000,
       DATA = 0x2c000, DATA_ROOM = 0xb000, PORT_QUEUES = 0x40000, PORT_QUEUE_COUNT = 2 * PORT_NUMBERS + 2 };

static uint8_t *ram;
static struct memory_map *memory, *ports;
static struct pci_bus *bus;
static struct device *device[DEVICES];
static struct block_node *node;
static struct chardevs *all;
static struct chardev *line, *port_line[PORT_NUMBERS];
static int port_peer = -1;                             /* the far end of port 2's */
static struct mirror *mirror;
static struct input *input;
static struct fuzz_source source;
static uint64_t sum, messages, requests, broken;

static uint32_t below(uint32_t n) { return fuzz_below(&source, n); }
static uint32_t next(void) { return below(0); }
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

static unsigned queues_of(unsigned d) { return MIN(virtio_pci_device(device[d])->queue_count, d == PORTS ? PORT_QUEUE_COUNT + 0u : 4u); }
static uint32_t queue_at(unsigned d, unsigned q) { return d == PORTS ? PORT_QUEUES + q * QUEUE_BYTES : (d * 4 + q % 4) * QUEUE_BYTES; }
static bool is_queue(unsigned d, uint64_t at) { return d == PORTS ? at >= PORT_QUEUES && at < RAM_BYTES - QUEUE_BYTES : at < DATA; }

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
    for (unsigned q = 0; q < queues_of(d); q++) {
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
    } else if (d == 3 || d == 4 || d == PORTS) {
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

struct piece { uint32_t gpa, length; bool device_writes; };

/* A chain of these pieces for queue n, if it has the room, and a notification. */
static void chain_put(unsigned d, unsigned n, const struct piece *p, unsigned count)
{
    struct virtio *v = virtio_pci_device(device[d]);
    struct virtqueue *q = n < v->queue_count ? &v->queue[n] : NULL;
    uint32_t base, first;

    if (!q || !q->enabled || q->size < count || !is_queue(d, q->descriptors)) return;
    base = (uint32_t)q->descriptors;
    first = q->is_packed ? q->avail_index : 0;
    for (unsigned i = 0; i < count; i++)
        descriptor(q, base + 16 * ((first + i) % q->size), p[i].gpa, p[i].length, (p[i].device_writes ? 2 : 0) | (i + 1 < count ? 1 : 0), q->is_packed ? 0 : i + 1);
    if (!q->is_packed) {
        put((uint32_t)q->driver + 4 + 2 * (q->avail_index & (q->size - 1)), 0, 2);
        put((uint32_t)q->driver + 2, q->avail_index + 1, 2);
    }
    requests++;
    modern(d, 0x3000 + 4 * n, 0, 2);
}

static uint32_t data_place(void) { return DATA + 4096 * below(16); }

/* What the SCSI adapter likes: header, data, response, data; or task management and its answer. */
static void scsi_request(unsigned d)
{
    bool control = below(8) == 0, data_out = !control && below(2), data_in = !control && below(2);
    uint32_t data = data_place(), size = below(4) ? 16u << below(8) : below(9000);
    struct piece p[4];
    unsigned n = 0;

    content(data, d);
    if (control) put(data, 0, 4);
    else put(data, 1 | below(3) << 8 | (below(3) == 1 ? 1u << 24 : 0), 4), put(data + 4, 0, 4);
    if (below(2)) for (unsigned i = 0; i < 64; i += 8) put(data + 4096 + i, i == 0 ? 0x1000120016 : (uint64_t)below(64) << 56, 8);
    p[n++] = (struct piece){ data, control ? 24 : 51, false };
    if (data_out) p[n++] = (struct piece){ data + 4096, size, false };
    p[n++] = (struct piece){ data + 2048, control ? 5 : 108, true };
    if (data_in) p[n++] = (struct piece){ data + 16384, size, true };
    chain_put(d, control ? 0 : 2 + below(2), p, n);
}

/* UNMAP with a list that is one, nearly one, or cut. */
static void unmap_request(unsigned d)
{
    uint32_t data = data_place() % 0x4000 + DATA, list = data + 4096, count = below(20), bytes = 8 + 16 * count;
    struct piece p[3] = { { data, 51, false }, { list, below(8) ? bytes : below(9000), false }, { data + 2048, 108, true } };

    memset(ram + data, 0, 64);
    put(data, 1 | below(3) << 8 | (below(3) == 1 ? 1u << 24 : 0), 4);
    put(data + 19, 0x42, 1);
    put(data + 19 + 7, __builtin_bswap16((uint16_t)(below(8) ? bytes : below(5000))), 2);
    put(list, __builtin_bswap16((uint16_t)(below(8) ? bytes - 2 : next())), 2);
    put(list + 2, __builtin_bswap16((uint16_t)(below(8) ? bytes - 8 : next())), 2);
    for (uint32_t i = 0; i < count; i++) {
        put(list + 8 + 16 * i, below(16) ? __builtin_bswap64(below(2200)) : (uint64_t)next() << below(33), 8);
        put(list + 16 + 16 * i, below(16) ? __builtin_bswap32(below(100)) : next(), 4);
    }
    chain_put(d, 2 + below(2), p, 3);
}

/* Units, discs and sizes that change meanwhile, as the monitor has it. */
static void scsi_change(unsigned d)
{
    struct virtio *v = virtio_pci_device(device[d]);
    struct virtio_scsi_unit_config u = { 3 + below(2), below(3), { .write_cache = true } };
    struct block_node *old = NULL;
    struct error err;
    unsigned n;

    u.unit.node = node;
    switch (below(8)) {                                /* numbers are read as before, so that the corpus keeps its meaning */
    case 0: virtio_scsi_unit_add(v, &u, &err); break;
    case 1: if ((n = 3 + below(2)) < VIRTIO_SCSI_UNITS && virtio_scsi_unit(v, n)) virtio_scsi_unit_remove(v, n); break;
    case 2: virtio_scsi_disc_change(v, 2, below(2) ? node : NULL, below(2), &old, &err); break;
    case 3: virtio_scsi_resized(v, below(2)); break;
    case 4: virtio_scsi_retry(v); break;
    default: unmap_request(d);
    }
}

/* Buffers to receive in, a frame behind its header, or a command that the card knows with what fits it. */
static void net_request(unsigned d)
{
    static const uint8_t sizes[] = { 1, 6, 2, 0, 2, 8, 4, 24 };
    uint32_t data = data_place(), answer = data + 3000;
    unsigned class = below(7);

    if (below(3) == 0) {
        struct piece p[2] = { { data, below(4) ? 2048u : below(70), true }, { data + 4096, below(2) ? 2048u : 32000u, true } };

        chain_put(d, 0, p, 1 + below(2));
    } else if (below(2)) {
        struct piece p[2] = { { data, below(2) ? 12u : 10 + below(90), false }, { data + 12, 14 + below(below(2) ? 1500 : 20000), false } };

        content(data, d);
        chain_put(d, 1, p, 1 + below(2));
    } else {
        struct piece p[3] = { { data, 2, false }, { data + 2, below(4) ? sizes[class] : sizes[below(8)], false }, { answer, 1, true } };

        put(data, class | below(3) << 8, 2);
        put(data + 2, class == 1 ? below(3) : below(4) ? below(70) : next(), 4);
        put(data + 6, below(4), 4);
        if (class == 1 && below(2)) p[1].length = 4 + 6 * below(3) + 4 + 6 * below(3), put(data + 6 + 6 * below(3), below(3), 4);
        chain_put(d, 2, p, 3);
    }
}

/* A message of 9P2000.L with a body that may be one, and room for the answer. */
static void share_request(unsigned d)
{
    static const uint8_t types[] = { 8, 12, 14, 16, 18, 20, 22, 24, 26, 30, 32, 40, 50, 52, 54, 70, 72, 74, 76, 100, 104, 108, 110, 110, 116, 118, 120, 122 };
    uint32_t data = data_place(), at = data + 7;
    uint8_t type = below(16) ? types[below(sizeof(types))] : (uint8_t)below(256);

    put(at, below(4), 4);                              /* fid, most often; then small numbers and short names */
    if (type == 100) put(at, 8192, 4), put(at + 4, 8, 2), memcpy(ram + at + 6, "9P2000.L", 8);
    else if (type == 104) put(at + 4, ~0u, 4), put(at + 8, 0, 8);
    else if (type == 110) put(at + 4, below(4), 4), put(at + 8, 1, 2), put(at + 10, 1, 2), put(at + 12, 'a' + below(3), 1);
    else for (unsigned i = 4; i < 60; i += 2) put(at + i, below(3) ? below(6) : below(2) ? 0x2e61 + below(4) : below(65536), 2);
    put(data, below(8) ? 7 + below(60) : next(), 4);
    put(data + 4, type, 1);
    put(data + 5, below(8), 2);
    chain_put(d, 0, (struct piece[]){ { data, 80, false }, { data + 4096, below(8) ? 4096 : below(40), true } }, 2);
}

/* A message about one of the ports, bytes of a port, or buffers for either. */
static void port_request(unsigned d)
{
    static const uint8_t events[] = { 0, 0, 3, 3, 6, 6, 6, 1, 2, 4, 7 };
    uint32_t data = data_place() % 0x8000 + DATA;

    if (below(3) == 0) {
        put(data, below(16) ? below(PORT_NUMBERS + 1) : next(), 4);
        put(data + 4, below(16) ? events[below(ARRAY_SIZE(events))] : next(), 2);
        put(data + 6, below(4) ? 1 : below(3), 2);
        chain_put(d, 3, &(struct piece){ data, below(16) ? 8 : below(20), false }, 1);
    } else {
        unsigned n = below(PORT_QUEUE_COUNT);
        struct piece p[2] = { { data, below(2) ? 16 : below(8192), n % 2 == 0 }, { data + 8192, below(4096), n % 2 == 0 } };

        chain_put(d, n, p, 1 + below(2));
    }
}

/* What the host does with ports: says something, listens to the one with a socket, unplugs, plugs in. */
static void port_change(unsigned d)
{
    static uint8_t bytes[16384];
    struct virtio *v = virtio_pci_device(device[d]);
    unsigned n = below(PORT_NUMBERS), size = below(2) ? below(40) : below(sizeof(bytes));
    struct virtio_console_port_config c = { .present = true, .name = below(2) ? "again" : NULL, .is_console = below(2), .id = "x", .chardev = port_line[n] };
    bool is_there = chardev_has_frontend(port_line[n]);
    struct error err;

    switch (below(8)) {
    case 0: if (n && is_there) virtio_console_port_remove(v, n); break;
    case 1: if (!is_there) virtio_console_port_add(v, n, &c, &err); break;
    case 2: if (read(port_peer, bytes, size) < 0) return; break;
    case 3: if (write(port_peer, bytes, size) < 0) return; break;
    case 4: chardev_accept_input(port_line[n]); break;
    default: sum += chardev_inject(port_line[n], bytes, size);
    }
}

/* Numbers that the guest tells, as many as there are or more, some of them cut. */
static void balloon_request(unsigned d)
{
    uint32_t data = data_place() % 0x8000 + DATA, count = below(8) ? below(20) : below(900);
    uint64_t value;
    int64_t when;

    for (uint32_t i = 0; i < MIN(count, 400u); i++) {
        put(data + 10 * i, below(16) ? below(18) : next(), 2);
        put(data + 10 * i + 2, (uint64_t)next() << below(33), 8);
    }
    if (below(3)) chain_put(d, 2, (struct piece[]){ { data, 10 * count, below(32) == 0 }, { data + 100, below(100), true } }, 1 + (below(8) == 0));
    if (below(4) == 0) virtio_balloon_poll_set(virtio_pci_device(device[d]), below(3));
    if (virtio_balloon_stat(virtio_pci_device(device[d]), below(20), &value, &when)) sum += value;
}

/* A chain of header, data and status, in the shape the queue's device likes or in any other. */
static void request(unsigned d)
{
    struct virtio *v = virtio_pci_device(device[d]);
    unsigned n = below(queues_of(d)), place_, slots;
    struct virtqueue *q = &v->queue[n];
    uint32_t base = (uint32_t)q->descriptors, data = DATA + (below(DATA_ROOM) & (below(4) ? ~511u : ~0u));

    if (!q->enabled || !q->size || !is_queue(d, q->descriptors)) return;
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

/* ---- devices ---- */

static char file[] = "/tmp/ospite-fuzz-XXXXXX", folder[] = "/tmp/ospite-fuzz-XXXXXX";

static struct virtio *blk_make(struct error *err, bool packed)
{
    struct virtio_blk_config c = { .memory = memory, .node = node, .queues = 2, .queue_size = 16, .write_cache = true, .serial = "fuzz", .options.packed = packed };

    return virtio_blk_new(&c, err);
}

static struct virtio *disk_make(struct error *err) { return blk_make(err, false); }
static struct virtio *packed_disk_make(struct error *err) { return blk_make(err, true); }

static struct virtio *rng_make(struct error *err)
{
    return virtio_rng_new(&(struct virtio_rng_config){ .memory = memory, .max_bytes = 100000, .period_ms = 1 }, err);
}

static struct virtio *ports_make(struct error *err, bool packed)
{
    struct virtio_console_config c = { .memory = memory, .ports_max = 2, .options.packed = packed,
                                       .port = { { .present = true, .is_console = true, .chardev = packed ? line : NULL }, { .present = true, .name = "p" } } };

    return virtio_console_new(&c, err);
}

static void opened(void *opaque, const char *id, bool is_open) { sum += is_open; }

static struct virtio *bus_make(struct error *err)
{
    struct virtio_console_config c = { .memory = memory, .ports_max = PORT_NUMBERS, .guest_opened = opened };

    for (unsigned n = 0; n < PORT_NUMBERS; n++)
        c.port[n] = (struct virtio_console_port_config){ .present = true, .is_console = n % 2 == 0, .name = n ? "port" : NULL, .id = "p", .chardev = port_line[n] };
    return virtio_console_new(&c, err);
}

static struct virtio *packed_console_make(struct error *err) { return ports_make(err, true); }
static struct virtio *console_make(struct error *err) { return ports_make(err, false); }

static struct virtio *balloon_make(struct error *err)
{
    return virtio_balloon_new(&(struct virtio_balloon_config){ .memory = memory, .ram_hva = ram, .ram_bytes = RAM_BYTES, .free_page_reporting = true, .poll_s = 1 }, err);
}

static struct virtio *scsi_make(struct error *err)
{
    struct virtio_scsi_config c = { .memory = memory, .queues = 2, .queue_size = 16, .unit_count = 3,
                                    .unit = { { 0, 0, { .write_cache = true } }, { 1, 1, { .serial = "s" } }, { 2, 0, { .is_cdrom = true } } } };

    for (unsigned i = 0; i < c.unit_count; i++) c.unit[i].unit.node = node;
    return virtio_scsi_new(&c, err);
}

static struct virtio *share_make(struct error *err)
{
    return virtio_9p_new(&(struct virtio_9p_config){ .memory = memory, .tag = "fuzz", .share = { .path = folder, .security = P9_NONE } }, err);
}

static struct virtio *net_make(struct error *err)
{
    mirror = mirror_new(below, NET_CSUM);
    return virtio_net_new(&(struct virtio_net_config){ .memory = memory, .backend = &mirror->base }, err);
}

static struct virtio *keyboard_make(struct error *err)
{
    return virtio_input_new(&(struct virtio_input_config){ .memory = memory, .kind = VIRTIO_INPUT_KEYBOARD, .input = input, .options.packed = true }, err);
}

static struct virtio *tablet_make(struct error *err)
{
    return virtio_input_new(&(struct virtio_input_config){ .memory = memory, .kind = VIRTIO_INPUT_TABLET, .serial = "fuzz", .input = input }, err);
}

/* Their order is known to content() and step(). */
static const struct { const char *name; struct virtio *(*make)(struct error *err); } kinds[DEVICES] = {
    { "blk", disk_make }, { "blk-packed", packed_disk_make }, { "rng", rng_make }, { "console-packed", packed_console_make }, { "console", console_make },
    { "balloon", balloon_make }, { "scsi", scsi_make }, { "9p", share_make }, { "virtio-net", net_make }, { "keyboard", keyboard_make }, { "tablet", tablet_make }, { "ports", bus_make },
};

static void device_make(unsigned d)
{
    struct virtio_pci_config c = { .bus = bus, .devfn = (int)(d + 1) << 3, .vectors = d == 5 ? 0 : 4 };
    struct error err = { "" };
    struct virtio *v = kinds[d].make(&err);

    device[d] = v ? virtio_pci_new(&c, v, &err) : NULL;
    if (!device[d]) {
        printf("fuzz-virtio: %s: %s\n", kinds[d].name, err.text);
        exit(1);
    }
}

static void device_end(unsigned d)
{
    if (below(2)) device_reset(device[d]);
    device_destroy(device[d]);
    device[d] = NULL;
}

static bool ports_open(struct error *err)
{
    int pair[2];
    char spec[24];

    if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0, pair) < 0) return false;
    snprintf(spec, sizeof(spec), "fd:%d", pair[0]);
    port_peer = pair[1];
    for (unsigned n = 0; n < PORT_NUMBERS; n++)
        if (!(port_line[n] = chardev_open(all, n == 2 ? spec : "null", err))) return false;
    return true;
}

static void world_make(void)
{
    struct block_open_options o = { .filename = file, .format = "raw", .discard = true };
    struct pci_bus_config c = { .msi = { msi, NULL } };
    struct error err = { "" };
    int fd = mkstemp(file);

    if (fd < 0 || ftruncate(fd, 1 << 20) < 0 || !mkdtemp(folder)) exit(1);
    close(fd);
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
    node = block_open(&o, &err);
    all = chardevs_new();
    line = chardev_open(all, "null", &err);
    input = input_new();
    if (ports_open(&err) && node && line) return;
    printf("fuzz-virtio: %s\n", err.text);
    exit(1);
}

static void step(unsigned d)
{
    struct virtio *v = virtio_pci_device(device[d]);
    bool is_broken = v->status & VIRTIO_STATUS_NEEDS_RESET;
    unsigned dice;

    broken += is_broken;
    if (d == 6 && below(16) == 0) scsi_change(d);
    else if (d == 6 && below(4)) scsi_request(d);
    else if (d == 7 && below(4)) share_request(d);
    else if (d < 2 && below(64) == 0) below(2) ? virtio_blk_resized(v) : virtio_blk_retry(v);
    else if (d == 8 && below(3)) net_request(d);
    else if (d == 8 && below(2)) mirror_give(mirror);
    else if (d == 9 && below(3) == 0) input_key(input, below(200), below(2));
    else if (d == 10 && below(3) == 0) input_absolute(input, next(), next(), (int)below(9) - 4, below(64));
    else if (d == PORTS && below(4)) below(3) ? port_request(d) : port_change(d);
    else if (below(2)) request(d);
    else if (below(4) == 0) poke(d);
    if ((is_broken || !(v->status & VIRTIO_STATUS_DRIVER_OK)) && below(8) == 0) start(d);
    if (d == 5 && (dice = below(64)) == 0) virtio_balloon_target_set(v, below(RAM_BYTES));
    else if (d == 5 && dice < 16) balloon_request(d);
}

static void world_free(void)
{
    unlink(file);
    rmdir(folder);
}

/* OSPITE_FUZZ_DEVICE names one of kinds: a new one for each input, driven until the input ends. */
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    const char *name = getenv("OSPITE_FUZZ_DEVICE");
    unsigned d = 0;

    while (d + 1 < DEVICES && name && strcmp(kinds[d].name, name)) d++;
    if (!bus) {
        world_make();
        atexit(world_free);
    }
    source = (struct fuzz_source){ 0, data, size };
    memset(ram, 0, RAM_BYTES);
    machine_lock();
    device_make(d);
    start(d);
    while (source.left) {
        step(d);
        if (below(32) == 0) machine_unlock(), loop_step(0), machine_lock();
    }
    device_end(d);
    if (mirror) net_free(&mirror->base);
    mirror = NULL;
    machine_unlock();
    return 0;
}

#ifndef FUZZER
int main(int argc, char **argv)
{
    uint64_t steps = argc > 1 ? strtoull(argv[1], NULL, 0) : 600000, seed = argc > 2 ? strtoull(argv[2], NULL, 0) : 0xf1050;

    if (argc > 2 && !strcmp(argv[1], "--replay")) return fuzz_replay("fuzz-virtio", argv[2]);
    source.state = seed;
    world_make();
    machine_lock();
    for (unsigned d = 0; d < DEVICES; d++) device_make(d);
    for (unsigned d = 0; d < DEVICES; d++) start(d);
    machine_unlock();
    for (uint64_t i = 0; i < steps; i++) {
        machine_lock();
        step(below(DEVICES));
        machine_unlock();
        if (below(32) == 0) loop_step(0);
    }
    machine_lock();
    for (unsigned d = 0; d < DEVICES; d++) device_end(d);
    block_close(node);
    chardev_close(line);
    for (unsigned n = 0; n < PORT_NUMBERS; n++) chardev_close(port_line[n]);
    close(port_peer);
    chardevs_free(all);
    input_free(input);
    messages = mirror->sent && mirror->taken ? messages : 0;   /* the network must have seen something */
    net_free(&mirror->base);
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
#endif
