/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * A hostile driver and hostile programs of the host against the socket device: packets that are nearly right on a few ports, rings and descriptors that are
 * overwritten, buffers or none, resets; greetings, data, half-closed and closed sockets at the other end, in any order. Nothing may crash, hang, keep descriptors or
 * reach outside of guest memory; the sanitizers watch.
 *
 *   fuzz-vsock [STEPS [SEED]]              or, built with clang, fuzzer-vsock
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include "base/bits.h"
#include "base/clock.h"
#include "base/error.h"
#include "base/loop.h"
#include "device/virtio/virtio_pci.h"
#include "device/virtio/virtio_vsock.h"
#include "fuzz.h"
#include "replay.h"

enum { RAM_BYTES = 512 << 10, MODERN = 0x20000000, QUEUE_BYTES = 0x1000, RX_DATA = 0x10000, RX_BYTES = 4096, TX_DATA = 0x50000, PROGRAMS = 24, PORTS = 4, CID = 5, SIZE = 32 };
struct packet { uint64_t src, dst; uint32_t from, to, len; uint16_t type, op; uint32_t flags, room, forwarded; } __attribute__((packed));

static uint8_t *ram;
static struct memory_map *memory, *ports;
static struct pci_bus *bus;
static struct device *device;
static struct virtio *v;
static int program[PROGRAMS], listener[PORTS / 2];
static uint32_t last_port;               /* of the device's side, as seen in its last packet */
static char folder[] = "/tmp/ospite-fuzz-XXXXXX", path[64];
static struct fuzz_source source;
static uint64_t sum, packets, answers, broken, accepted;

static uint32_t below(uint32_t n) { return fuzz_below(&source, n); }
static uint32_t next(void) { return below(0); }
static void put(uint32_t at, uint64_t value, unsigned size) { memcpy(ram + at % (RAM_BYTES - 8), &value, size); }
static void intx(void *opaque, int n, int level) { }
static void out(unsigned offset, uint64_t value, unsigned size) { memory_io_write(memory, MODERN + offset, value, size); }

static void create(bool packed)
{
    struct virtio_vsock_config c = { .memory = memory, .path = path, .guest_cid = CID, .options.packed = packed };
    struct virtio_pci_config pci = { .bus = bus, .devfn = 8 };
    struct error err = { "" };

    v = virtio_vsock_new(&c, &err);
    device = v ? virtio_pci_new(&pci, v, &err) : NULL;
    if (device) return;
    printf("fuzz-vsock: %s\n", err.text);
    exit(1);
}

static void start(void)
{
    uint64_t features = virtio_features_modern(v);

    pci_config_write(bus, 8 << 8 | 0x20, MODERN, 4);
    pci_config_write(bus, 8 << 8 | 4, 6, 2);
    out(20, 0, 1);
    out(20, 3, 1);
    for (unsigned half = 0; half < 2; half++) {
        out(8, half, 4);
        out(12, (uint32_t)(features >> 32 * half), 4);
    }
    out(20, 11, 1);
    for (unsigned q = 0; q < 3; q++) {
        memset(ram + q * QUEUE_BYTES, 0, QUEUE_BYTES);
        out(22, q, 2);
        out(24, SIZE, 2);
        for (unsigned n = 0; n < 3; n++) out(32 + 8 * n, q * QUEUE_BYTES + 0x400 * n, 4), out(36 + 8 * n, 0, 4);
        out(28, 1, 2);
    }
    out(20, 15, 1);
}

static void descriptor(struct virtqueue *q, uint32_t at, uint32_t gpa, uint32_t length, unsigned flags, unsigned index)
{
    put(at, below(500) ? gpa : (uint64_t)next() << below(33), 8);
    put(at + 8, below(500) ? length : next(), 4);
    put(at + 12, q->is_packed ? index : flags, 2);
    put(at + 14, q->is_packed ? flags | (q->avail_wrap ? 0x80 : 0x8000) : 0, 2);
}

/* One buffer more where the device looks next. */
static void add(unsigned n, uint32_t gpa, uint32_t length, bool device_writes)
{
    struct virtqueue *q = &v->queue[n];
    unsigned place = q->avail_index & (q->size - 1), index = q->is_packed ? q->avail_index : place;

    if (!q->enabled) return;
    descriptor(q, (uint32_t)q->descriptors + 16 * index, gpa, length, device_writes ? 2 : 0, place);
    if (!q->is_packed) {
        put((uint32_t)q->driver + 4 + 2 * place, place, 2);
        put((uint32_t)q->driver + 2, q->avail_index + 1u, 2);
    }
    out(0x3000 + 4 * n, n, 2);
}

static void packet_send(void)
{
    static const uint16_t ops[] = { 1, 1, 2, 2, 3, 4, 4, 5, 5, 5, 5, 5, 5, 6, 6, 7 };
    uint32_t size = below(4) ? below(3000) : below(70000);
    struct packet p = {
        .src = below(64) ? CID : next(), .dst = below(64) ? 2 : below(4), .from = 100 + below(6), .to = below(4) ? 70 + below(PORTS) : last_port,
        .len = below(32) ? size : next(), .type = below(64) ? 1 : (uint16_t)below(4), .op = below(64) ? ops[below(ARRAY_SIZE(ops))] : (uint16_t)next(),
        .flags = below(8) ? below(4) : next(), .room = below(4) ? 1 << 20 : below(4) ? below(5000) : next(), .forwarded = below(16) ? 0 : next(),
    };

    memcpy(ram + TX_DATA, &p, sizeof(p));
    packets++;
    add(1, TX_DATA, below(200) ? 44 + size : below(60), false);
}

static void poke(void)
{
    switch (below(5)) {
    case 0: out(below(60), below(2) ? below(16) : next(), 1u << below(3)); break;
    case 1: put(below(3 * QUEUE_BYTES), next(), 1u << below(4)); break;
    case 2: out(0x3000 + 4 * below(4), below(4), 2); break;
    case 3: out(22, below(3), 2), out(58, 1, 2); break;
    default: sum += memory_io_read(memory, MODERN + 0x1000 * below(3) + below(16), 1u << below(3));
    }
}

/* ---- programs ---- */

static void greet(int *fd)
{
    static const char *const lines[] = { "CONNECT 100\n", "CONNECT 101\nabc", "connect 102\n", "CONN", "ECT 103\n", "CONNECT 4294967296\n", "\n", "x" };
    struct sockaddr_un a = { .sun_family = AF_UNIX };
    const char *line = lines[below(ARRAY_SIZE(lines))];

    snprintf(a.sun_path, sizeof(a.sun_path), "%s", path);
    *fd = socket(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK, 0);
    if (connect(*fd, (struct sockaddr *)&a, sizeof(a)) < 0) {
        close(*fd);
        *fd = -1;
    } else sum += (uint64_t)send(*fd, line, strlen(line), MSG_NOSIGNAL);
}

static void program_step(void)
{
    static uint8_t data[100000];
    int *fd = &program[below(PROGRAMS)];
    ssize_t n = 0;

    if (*fd < 0) {
        *fd = below(2) ? accept4(listener[below(PORTS / 2)], NULL, NULL, SOCK_NONBLOCK) : -1;
        if (*fd >= 0) accepted++;
        else greet(fd);
        return;
    }
    switch (below(8)) {
    case 0: case 1: case 2: n = send(*fd, data, 1 + below(below(4) ? 2000 : sizeof(data)), MSG_NOSIGNAL); break;
    case 3: case 4: case 5: n = recv(*fd, data, 1 + below(sizeof(data)), 0); break;
    case 6: n = shutdown(*fd, (int)below(3)); break;
    default:
        close(*fd);
        *fd = -1;
    }
    sum += (uint64_t)n;
}

static void listeners_make(void)
{
    for (unsigned i = 0; i < PORTS / 2; i++) {         /* on the other half of the ports nobody listens */
        struct sockaddr_un a = { .sun_family = AF_UNIX };

        snprintf(a.sun_path, sizeof(a.sun_path), "%s_%u", path, 70 + i);
        listener[i] = socket(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK, 0);
        if (bind(listener[i], (struct sockaddr *)&a, sizeof(a)) < 0 || listen(listener[i], 8) < 0) exit(1);
    }
}

static void programs_end(void)
{
    for (unsigned i = 0; i < PROGRAMS; i++) {
        if (program[i] >= 0) close(program[i]);
        program[i] = -1;
    }
}

static void end(void)
{
    for (unsigned i = 0; i < PORTS / 2; i++) {
        char name[80];

        close(listener[i]);
        snprintf(name, sizeof(name), "%s_%u", path, 70 + i);
        unlink(name);
    }
    rmdir(folder);
}

static void step(void)
{
    static uint16_t rx_seen;
    bool is_broken = v->status & VIRTIO_STATUS_NEEDS_RESET;
    struct packet p;

    machine_lock();
    broken += is_broken;
    switch (below(8)) {
    case 0: case 1: case 2: packet_send(); break;
    case 3: case 4: case 5: add(0, RX_DATA + RX_BYTES * below(SIZE), below(300) ? RX_BYTES : 40 + below(8), true); break;
    case 6: if (below(16) == 0) poke(); break;
    default: break;
    }
    memcpy(&p, ram + RX_DATA + RX_BYTES * below(SIZE), sizeof(p));
    if (p.src == 2 && p.from) last_port = p.from;
    answers += v->queue[0].used_index != rx_seen;
    rx_seen = v->queue[0].used_index;
    if (((is_broken || !(v->status & VIRTIO_STATUS_DRIVER_OK)) && below(8) == 0) || below(4000) == 0) start();
    if (below(20000) == 0) {
        device_destroy(device);
        create(below(2));
        start();
    }
    machine_unlock();
    if (below(4) == 0) program_step();
    if (below(8) == 0) loop_step(0);
}

/* ---- the world ---- */

static void world_make(void)
{
    struct pci_bus_config c = { .msi = { NULL, NULL } };

    if (!mkdtemp(folder)) exit(1);
    snprintf(path, sizeof(path), "%s/v", folder);
    memset(program, 0xff, sizeof(program));
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
    listeners_make();
}

/* From a device's start to its end; steps 0: as long as the input has numbers. */
static void run(uint64_t steps)
{
    machine_lock();
    create(below(2));
    start();
    machine_unlock();
    for (uint64_t i = 0; steps ? i < steps : source.left > 0; i++) step();
    machine_lock();
    device_destroy(device);
    machine_unlock();
    programs_end();
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    int fd;

    if (!bus) {
        world_make();
        atexit(end);
    }
    source = (struct fuzz_source){ 0, data, size };
    memset(ram, 0, RAM_BYTES);
    run(0);
    for (unsigned i = 0; i < PORTS / 2; i++)
        while ((fd = accept4(listener[i], NULL, NULL, SOCK_NONBLOCK)) >= 0) close(fd);
    return 0;
}

#ifndef FUZZER
int main(int argc, char **argv)
{
    uint64_t steps = argc > 1 ? strtoull(argv[1], NULL, 0) : 2000000, seed = argc > 2 ? strtoull(argv[2], NULL, 0) : 0xf50c;
    int fd;

    if (argc > 2 && !strcmp(argv[1], "--replay")) return fuzz_replay("fuzz-vsock", argv[2]);
    source.state = seed;
    world_make();
    run(steps);
    pci_bus_free(bus);
    memory_map_free(memory);
    memory_map_free(ports);
    end();
    fd = dup(0);
    printf("fuzz-vsock: %llu steps, %llu packets, %llu answers, %llu connections of the guest, %llu steps on a broken device, next descriptor %d, seed %#llx, sum %llx\n",
           (unsigned long long)steps, (unsigned long long)packets, (unsigned long long)answers, (unsigned long long)accepted, (unsigned long long)broken, fd,
           (unsigned long long)seed, (unsigned long long)sum);
    return packets > steps / 4 && answers > steps / 50 && accepted > steps / 10000 && broken && fd < 16 ? 0 : 1;
}
#endif
