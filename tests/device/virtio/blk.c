/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * A virtio disk on a PCI bus, driven through its registers and rings, over a disk in memory that fails when it is told to: data against
 * a copy, statuses of wrong requests, when writes are flushed, a full host, resets with requests in flight, needs-reset.
 * VIRTIO 1.2: 2.1, 2.6.1, 3.1, 4.1.4.3, 5.2.
 *
 *   test-virtio-blk [BATCHES [SEED]]
 */
#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

#include "base/bits.h"
#include "base/clock.h"
#include "base/error.h"
#include "base/loop.h"
#include "block/fault.h"
#include "device/virtio/virtio_blk.h"
#include "device/virtio/virtio_pci.h"
#include "driver.h"

enum { RAM_BYTES = 4 << 20, RINGS = 0x10000, QUEUE_STRIDE = 0x80000, DATA = 0x200000, SLOT_BYTES = 0x10000, DISK_BYTES = 1 << 20, MODERN = 0x20000000,
       ISR = MODERN + 0x1000, CONFIG = MODERN + 0x2000, NOTIFY = MODERN + 0x3000, QUEUES = 2, SIZE = 32, SLOTS = 16 };
enum { IN = 0, OUT = 1, FLUSH = 4, GET_ID = 8, DISCARD = 11, ZEROES = 13, OK = 0, IOERR = 1, UNSUPP = 2, PENDING = 0xee };
enum { NEEDS_RESET = 0x40, WRITEBACK = 32 };

static uint8_t *ram, *copy;
static struct memory_map *memory, *ports;
static struct pci_bus *bus;
static struct device *device;
static struct virtio *v;
static struct block_protocol *disk;
static struct block_node *node;
static struct driver driver[QUEUES];
static unsigned stops;
static enum block_error_action on_read = BLOCK_ERROR_REPORT, on_write = BLOCK_ERROR_ENOSPC;
static int intx_level;
static uint64_t checks, failures, state, finished;

static void check(bool ok, const char *fmt, ...)
{
    va_list ap;

    checks++;
    if (ok || failures++ > 20) return;
    va_start(ap, fmt);
    printf("failed: ");
    vprintf(fmt, ap);
    printf("\n");
    va_end(ap);
}

static uint32_t below(uint32_t n)
{
    state ^= state << 13;
    state ^= state >> 7;
    state ^= state << 17;
    return (uint32_t)(state * 0x2545f4914f6cdd1d >> 32) % n;
}

static void intx(void *opaque, int n, int level) { intx_level = level; }
static void on_stop(void *opaque, bool is_read, int error) { stops++; }
static void out(uint64_t at, uint64_t value, unsigned size) { memory_io_write(memory, at, value, size); }
static uint64_t in(uint64_t at, unsigned size) { return memory_io_read(memory, at, size); }

/* ---- one device ---- */

static void create(bool readonly, bool packed)
{
    struct block_open_options o = { .format = "raw", .discard = true, .readonly = readonly, .filename = "fault" };
    struct virtio_blk_config c = { .memory = memory, .queues = QUEUES, .queue_size = SIZE, .write_cache = true, .serial = "SERIAL-0123",
                                   .options.packed = packed, .on_error = { on_read, on_write, NULL, on_stop } };
    struct virtio_pci_config pci = { .bus = bus, .devfn = 8 };
    struct error err = { "" };

    disk = block_fault_open(copy, DISK_BYTES, DISK_BYTES);
    node = block_node_open_over(disk, &o, NULL, &err);
    c.node = node;
    v = node ? virtio_blk_new(&c, &err) : NULL;
    device = v ? virtio_pci_new(&pci, v, &err) : NULL;
    if (!device) {
        printf("test-virtio-blk: %s\n", err.text);
        exit(1);
    }
    pci_config_write(bus, 8 << 8 | 0x20, MODERN, 4);
    pci_config_write(bus, 8 << 8 | 4, 6, 2);
}

static void destroy(void)
{
    device_destroy(device);
    block_close(node);
}

static void queue_setup(unsigned n)
{
    struct driver *d = &driver[n];

    driver_init(d, ram, v->features & VIRTIO_F_RING_PACKED, v->features & VIRTIO_F_EVENT_IDX, SIZE, RINGS + n * QUEUE_STRIDE);
    out(MODERN + 22, n, 2);
    check(in(MODERN + 24, 2) == SIZE && in(MODERN + 28, 2) == 0, "a queue is off and has its full size");
    out(MODERN + 32, d->descriptors, 4);
    out(MODERN + 40, d->avail, 4);
    out(MODERN + 48, d->used, 4);
    out(MODERN + 28, 1, 2);
    check(in(MODERN + 28, 2) == 1, "the queue is enabled");
}

static void start(uint64_t features)
{
    features = (features | VIRTIO_F_VERSION_1) & virtio_features_modern(v);
    out(MODERN + 20, 0, 1);
    check(in(MODERN + 20, 1) == 0, "reset shows in the status");
    out(MODERN + 20, 3, 1);
    for (unsigned half = 0; half < 2; half++) {
        out(MODERN + 8, half, 4);
        out(MODERN + 12, (uint32_t)(features >> 32 * half), 4);
    }
    out(MODERN + 20, 11, 1);
    check(in(MODERN + 20, 1) == 11, "features are accepted");
    for (unsigned n = 0; n < QUEUES; n++) queue_setup(n);
    out(MODERN + 20, 15, 1);
}

/* ---- requests; each has a slot of guest memory: header, data, status ---- */

struct slot { bool busy; unsigned queue; int id; uint32_t type; uint64_t sector, bytes; uint8_t before[SLOT_BYTES]; };
static struct slot slots[SLOTS];

static uint64_t slot_at(unsigned s) { return DATA + s * SLOT_BYTES * 2ull; }
static uint8_t *data_of(unsigned s) { return ram + slot_at(s) + 64; }
static uint8_t status_of(unsigned s) { return ram[slot_at(s) + 63]; }

/* Header, data and status, with data cut into pieces at random and header and status glued to them or not. */
static bool submit(unsigned n, unsigned s, uint32_t type, uint64_t sector, uint64_t bytes)
{
    bool reads = type == IN || type == GET_ID;
    struct driver_piece p[8] = { { slot_at(s), below(2) ? 16 : 7, false } };
    unsigned count = 1;

    memcpy(ram + slot_at(s), &type, 4);
    memset(ram + slot_at(s) + 4, 0, 4);
    memcpy(ram + slot_at(s) + 8, &sector, 8);
    ram[slot_at(s) + 63] = PENDING;
    if (p[0].length == 7) p[count++] = (struct driver_piece){ slot_at(s) + 7, 9, false };
    for (uint64_t at = 0; at < bytes;) {
        uint64_t piece = count == 6 || below(2) ? bytes - at : 1 + below((uint32_t)(bytes - at));

        p[count++] = (struct driver_piece){ slot_at(s) + 64 + at, (uint32_t)piece, reads };
        at += piece;
    }
    p[count++] = (struct driver_piece){ slot_at(s) + 63, 1, true };
    slots[s] = (struct slot){ .busy = true, .queue = n, .type = type, .sector = sector, .bytes = bytes };
    memcpy(slots[s].before, data_of(s), bytes);
    slots[s].id = driver_add(&driver[n], p, count, below(2));
    slots[s].busy = slots[s].id >= 0;
    return slots[s].busy;
}

static void kick(unsigned n) { out(NOTIFY + 4 * n, n, 2); }

static void used_take(void)
{
    uint32_t written;

    for (unsigned n = 0; n < QUEUES; n++)
        for (int id; (id = driver_take(&driver[n], &written)) >= 0; finished++) {
            unsigned s = 0;

            while (s < SLOTS && !(slots[s].busy && slots[s].queue == n && slots[s].id == id)) s++;
            check(s < SLOTS, "a used chain is one of ours");
            if (s == SLOTS) continue;
            slots[s].busy = false;
            check(status_of(s) <= UNSUPP, "the status is written before the chain is used");
            check(written == 1 + (slots[s].type == IN || slots[s].type == GET_ID ? slots[s].bytes : 0), "the used length is that of data and status");
        }
}

static bool any_busy(void)
{
    for (unsigned s = 0; s < SLOTS; s++)
        if (slots[s].busy) return true;
    return false;
}

static void wait_all(void)
{
    int64_t end = clock_host_ns() + 60 * NS_PER_SECOND;

    while (used_take(), any_busy()) {
        machine_unlock();
        loop_step(10);
        machine_lock();
        if (clock_host_ns() > end) {
            printf("failed: requests do not finish\n");
            exit(1);
        }
    }
}

static int one(uint32_t type, uint64_t sector, uint64_t bytes)
{
    submit(0, 0, type, sector, bytes);
    kick(0);
    wait_all();
    return status_of(0);
}

static int range(uint32_t type, uint64_t sector, uint32_t sectors, uint32_t flags)
{
    memcpy(data_of(0), &sector, 8);
    memcpy(data_of(0) + 8, &sectors, 4);
    memcpy(data_of(0) + 12, &flags, 4);
    return one(type, 0, 16);
}

/* ---- data ---- */

static void slot_check(unsigned s)
{
    const struct slot *r = &slots[s];
    uint64_t at = r->sector * 512;

    check(status_of(s) == OK, "request of type %u at sector %llu: status %u", r->type, (unsigned long long)r->sector, status_of(s));
    if (r->type == IN) check(!memcmp(data_of(s), copy + at, r->bytes), "what was read at sector %llu is what was written", (unsigned long long)r->sector);
    if (r->type == OUT) memcpy(copy + at, r->before, r->bytes);
    if (r->type == ZEROES) {
        uint64_t sector;
        uint32_t sectors;

        memcpy(&sector, r->before, 8);
        memcpy(&sectors, r->before + 8, 4);
        memset(copy + sector * 512, 0, sectors * 512);
    }
}

/* Requests that are in flight together touch different parts of the disk: their order is free. */
static void batch(void)
{
    static const uint8_t types[] = { IN, IN, IN, OUT, OUT, OUT, FLUSH, ZEROES };
    unsigned share = DISK_BYTES / SLOTS / 512;
    bool used[SLOTS] = { false };

    for (unsigned s = 0; s < SLOTS; s++) {
        uint32_t type = types[below(ARRAY_SIZE(types))], sectors = 1 + below(share / 2);
        uint64_t sector = s * share + below(share - sectors);

        for (unsigned i = 0; i < sectors * 512; i += 8) memcpy(data_of(s) + i, &(uint64_t){ state + i }, 8);
        if (type == ZEROES) {
            memcpy(data_of(s), &sector, 8);
            memcpy(data_of(s) + 8, &sectors, 4);
            memset(data_of(s) + 12, 0, 4);
        }
        used[s] = submit(below(QUEUES), s, type, type == FLUSH || type == ZEROES ? 0 : sector, type == FLUSH ? 0 : type == ZEROES ? 16 : sectors * 512);
        if (below(3) == 0) kick(below(QUEUES));
    }
    for (unsigned n = 0; n < QUEUES; n++) kick(n);
    wait_all();
    for (unsigned s = 0; s < SLOTS; s++)
        if (used[s]) slot_check(s);
}

/* ---- wrong requests ---- */

static void statuses(bool readonly)
{
    uint64_t last = DISK_BYTES / 512;

    check(one(IN, last - 1, 512) == OK && one(IN, last, 512) == IOERR && one(IN, last - 1, 1024) == IOERR, "reads end with the disk");
    check(one(IN, ~0ull, 512) == IOERR && one(IN, ~0ull / 512, 512) == IOERR, "sector numbers that overflow");
    check(one(IN, 0, 100) == IOERR && one(OUT, 0, 513) == IOERR, "half sectors");
    check(one(OUT, 3, 512) == (readonly ? IOERR : OK), "a write to a %s disk", readonly ? "read-only" : "writable");
    check(one(99, 0, 512) == UNSUPP && one(2, 0, 512) == UNSUPP && one(14, 0, 16) == UNSUPP, "unknown requests, SCSI commands, secure erase");
    check(range(DISCARD, 8, 8, 0) == (readonly ? IOERR : OK) && range(DISCARD, 8, 8, 1) == UNSUPP, "discard; with the unmap flag");
    check(range(ZEROES, 8, 8, 1) == (readonly ? IOERR : OK) && range(ZEROES, 8, 8, 2) == UNSUPP, "write zeroes; with an unknown flag");
    check(range(ZEROES, last, 1, 0) == IOERR && range(DISCARD, ~0ull, 2, 0) == IOERR && range(DISCARD, 0, ~0u, 0) == IOERR, "ranges outside");
    check(one(DISCARD, 0, 32) == UNSUPP && one(ZEROES, 0, 8) == UNSUPP, "two segments, half a segment");
    memset(data_of(0), 0x77, 64);
    check(one(GET_ID, 0, 20) == OK && !memcmp(data_of(0), "SERIAL-0123\0\0\0\0\0\0\0\0\0", 20), "the serial number");
    memset(data_of(0), 0x77, 64);
    check(one(GET_ID, 0, 5) == OK && !memcmp(data_of(0), "SERIA\x77", 6), "a short buffer for the serial number");
    check(one(FLUSH, 0, 0) == OK, "flush");
}

static unsigned interrupts;
static void (*interrupt_of_device)(void *opaque, uint16_t vector);

static void interrupt_count(void *opaque, uint16_t vector)
{
    interrupts++;
    interrupt_of_device(opaque, vector);
}

/* What needs no disk has finished when the notification returns, and was told once; a driver without event index is told of everything. */
static void at_once(void)
{
    start(~VIRTIO_F_EVENT_IDX);
    interrupt_of_device = v->transport.interrupt;
    v->transport.interrupt = interrupt_count;
    for (unsigned s = 0; s < 8; s++) submit(0, s, GET_ID, 0, 20);
    interrupts = 0;
    kick(0);
    used_take();
    check(!any_busy() && interrupts == 1, "eight requests that end at once: %u interrupts", interrupts);
    for (unsigned s = 0; s < 8; s++) submit(0, s, s ? GET_ID : IN, 0, s ? 20 : 512);
    interrupts = 0;
    kick(0);
    used_take();
    check(interrupts == 1, "seven that do beside one that takes time: %u interrupts", interrupts);
    wait_all();
    check(interrupts == 2, "and the one: %u interrupts", interrupts);
    v->transport.interrupt = interrupt_of_device;
}

/* ---- when writes are stable ---- */

static uint64_t flushes_of(uint32_t type)
{
    uint64_t before = block_fault_flushes(disk);

    check(one(type, 0, type == OUT ? 512 : 0) == OK, "a request of type %u", type);
    return block_fault_flushes(disk) - before;
}

static void caching(void)
{
    start(~0ull);
    check(in(CONFIG + WRITEBACK, 1) == 1, "the cache is on at the start");
    check(flushes_of(OUT) == 0 && flushes_of(FLUSH) == 1, "writes are cached, a flush flushes");
    out(CONFIG + WRITEBACK, 0, 1);
    check(in(CONFIG + WRITEBACK, 1) == 0 && flushes_of(OUT) == 1, "5.2.6.2: with writeback off a write is stable when it is done");
    out(CONFIG, 0, 4);
    check(in(CONFIG, 4) == DISK_BYTES / 512, "the rest of the configuration is read-only");
    start(~(BIT(11) | BIT(9)));
    check(flushes_of(OUT) == 1, "5.2.5.2: a driver without flushes finds its writes stable");
    start(~BIT(11));
    check(flushes_of(OUT) == 0, "one with flushes need not");
}

/* ---- failures of the host ---- */

static void stop_wait(void)
{
    for (unsigned i = 0; i < 6000 && !stops; i++) {
        machine_unlock();
        loop_step(10);
        machine_lock();
    }
    used_take();
}

static void kick_one(uint32_t type, uint64_t sector, uint32_t bytes)
{
    stops = 0;
    submit(0, 0, type, sector, bytes);
    kick(0);
    stop_wait();
}

/* werror=stop, rerror=stop: requests of all kinds wait, and end well when they are tried again. */
static void host_stops(void)
{
    static const uint32_t types[] = { OUT, IN, FLUSH };

    for (unsigned n = 0; n < ARRAY_SIZE(types); n++) {
        block_fault_fail_at(disk, block_fault_writes(disk), EIO);
        if (types[n] == IN) block_fault_fail_read(disk, EIO);
        if (types[n] == FLUSH) block_fault_fail_flush(disk, EIO);
        kick_one(types[n], types[n] == FLUSH ? 0 : 9, types[n] == FLUSH ? 0 : 512);
        check(stops == 1 && slots[0].busy && status_of(0) == PENDING, "request of type %u waits", types[n]);
        stops = 0;
        virtio_blk_retry(v);
        if (types[n] == FLUSH) {                       /* a node that failed one flush fails the next too */
            stop_wait();
            check(stops == 1 && status_of(0) == PENDING, "a flush waits again");
            out(MODERN + 20, 0, 1);
            slots[0].busy = false;
            continue;
        }
        wait_all();
        check(status_of(0) == OK, "request of type %u ends well", types[n]);
    }
}

/* werror=ignore, rerror=ignore. */
static void host_is_ignored(void)
{
    stops = 0;
    block_fault_fail_at(disk, block_fault_writes(disk), EIO);
    check(one(OUT, 9, 512) == OK, "a write's error is passed over");
    block_fault_fail_read(disk, EIO);
    check(one(IN, 9, 512) == OK, "a read's error is passed over");
    block_fault_fail_flush(disk, EIO);
    check(one(FLUSH, 0, 0) == OK && !stops, "a flush's error is passed over");
}

static void host_failures(void)
{
    start(~0ull);
    block_fault_fail_at(disk, block_fault_writes(disk), EIO);
    check(one(OUT, 5, 512) == IOERR && one(OUT, 5, 512) == OK, "an error of the host is the guest's, once");
    block_fault_fail_at(disk, block_fault_writes(disk), ENOSPC);
    kick_one(OUT, 7, 512);
    check(stops == 1 && slots[0].busy && status_of(0) == PENDING, "a full host: the write waits");
    virtio_blk_retry(v);
    wait_all();
    check(status_of(0) == OK, "and is done when there is room");
    block_fault_fail_at(disk, block_fault_writes(disk), ENOSPC);
    submit(0, 0, OUT, 7, 512);
    kick(0);
    block_drain(node);
    out(MODERN + 20, 0, 1);
    virtio_blk_retry(v);
    block_drain(node);
    slots[0].busy = false;
    check(status_of(0) == PENDING, "a reset forgets a write that waits");
    start(~0ull);
    check(one(IN, 7, 512) == OK, "the disk works after it");
}

/* ---- resets ---- */

static void resets(void)
{
    uint8_t before[4096];

    start(~0ull);
    for (unsigned s = 0; s < SLOTS; s++) submit(s % 2, s, s % 4 < 2 ? OUT : IN, s * 16, 4096);
    kick(0);
    kick(1);
    out(MODERN + 20, 0, 1);
    for (unsigned s = 0; s < SLOTS; s++) slots[s].busy = false;
    memset(ram + RINGS, 0x5a, 4096);
    memcpy(before, ram + RINGS, 4096);
    machine_unlock();
    loop_step(20);
    machine_lock();
    check(!memcmp(before, ram + RINGS, 4096) && !intx_level, "2.4.2: after a reset nothing is written and no interrupt comes");
    block_pread(node, 0, copy, DISK_BYTES);
    start(~0ull);
    submit(0, 0, IN, 0, 512);
    kick(0);
    out(MODERN + 22, 1, 2);
    out(MODERN + 58, 1, 2);
    check(in(MODERN + 58, 2) == 0 && in(MODERN + 28, 2) == 0, "2.6.1: a queue alone is reset");
    wait_all();
    check(status_of(0) == OK, "the other goes on");
    queue_setup(1);
    submit(1, 1, IN, 0, 512);
    kick(1);
    wait_all();
    check(status_of(1) == OK, "and the one that was reset works again");
}

static void needs_reset(void)
{
    struct driver_piece header = { slot_at(0), 16, false }, status = { slot_at(0) + 63, 1, true }, few[2] = { { slot_at(0), 15, false }, status };

    for (unsigned i = 0; i < 3; i++) {
        start(~0ull);
        in(ISR, 1);
        if (i == 0) driver_add(&driver[0], &header, 1, false);
        if (i == 1) driver_add(&driver[0], &status, 1, false);
        if (i == 2) driver_add(&driver[0], few, 2, false);
        kick(0);
        check(in(MODERN + 20, 1) & NEEDS_RESET, "2.1.2: a request without header or status: the device needs a reset");
        check(intx_level && in(ISR, 1) & 2 && !intx_level, "and says so by a configuration interrupt");
        submit(1, 1, IN, 0, 512);
        kick(1);
        machine_unlock();
        loop_step(5);
        machine_lock();
        slots[1].busy = false;
        check(status_of(1) == PENDING, "it serves nothing until then");
    }
    start(~0ull);
    check(!(in(MODERN + 20, 1) & NEEDS_RESET) && one(IN, 0, 512) == OK, "a reset mends it");
    pci_config_write(bus, 8 << 8 | 4, 2, 2);
    submit(0, 0, IN, 0, 512);
    kick(0);
    check(status_of(0) == PENDING, "without bus mastering nothing is read or written");
    pci_config_write(bus, 8 << 8 | 4, 6, 2);
    kick(0);
    wait_all();
    out(MODERN + 20, 0, 1);
    out(MODERN + 20, 3, 1);
    out(MODERN + 8, 0, 4);
    out(MODERN + 12, 1u << 3, 4);
    out(MODERN + 20, 11, 1);
    check(!(in(MODERN + 20, 1) & 8), "3.1.1: features that are not on offer are not accepted");
}

int main(int argc, char **argv)
{
    unsigned batches = argc > 1 ? (unsigned)strtoul(argv[1], NULL, 0) : 400;
    uint64_t seed = argc > 2 ? strtoull(argv[2], NULL, 0) : 0xb10c;
    struct pci_bus_config c = { .intx = { { intx, NULL, 0 }, { intx, NULL, 1 }, { intx, NULL, 2 }, { intx, NULL, 3 } } };

    state = seed;
    loop_init();
    clock_virtual_start();
    ram = mmap(NULL, RAM_BYTES, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    copy = calloc(1, DISK_BYTES);
    memory = memory_map_new("memory", 1ull << 52);
    ports = memory_map_new("ports", 65536);
    memory_map_add_ram(memory, "ram", 0, RAM_BYTES, ram, false, 0);
    c.memory = memory;
    c.ports = ports;
    bus = pci_bus_new(&c);
    machine_lock();
    for (unsigned packed = 0; packed < 2; packed++) {
        create(false, packed);
        for (unsigned i = 0; i < 4; i++) {
            start(i & 1 ? ~0ull : ~VIRTIO_F_EVENT_IDX);
            for (unsigned b = 0; b < batches; b++) batch();
        }
        statuses(false);
        at_once();
        caching();
        host_failures();
        resets();
        needs_reset();
        destroy();
        on_read = on_write = BLOCK_ERROR_STOP;
        create(false, packed);
        start(~0ull);
        host_stops();
        destroy();
        on_read = on_write = BLOCK_ERROR_IGNORE;
        create(false, packed);
        start(~0ull);
        host_is_ignored();
        destroy();
        on_read = BLOCK_ERROR_REPORT;
        on_write = BLOCK_ERROR_ENOSPC;
        create(true, packed);
        start(~0ull);
        statuses(true);
        destroy();
    }
    pci_bus_free(bus);
    machine_unlock();
    memory_map_free(memory);
    memory_map_free(ports);
    free(copy);
    printf("virtio-blk: %llu requests, %llu checks, %llu failed, seed %#llx\n", (unsigned long long)finished, (unsigned long long)checks,
           (unsigned long long)failures, (unsigned long long)seed);
    return failures != 0;
}
