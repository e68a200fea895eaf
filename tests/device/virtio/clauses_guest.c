/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The guest of the clause tests: 4 MiB of memory and one device on a PCI bus, driven through the registers of its modern interface (BAR 4) as a
 * driver does it. Behind the device: a disk in memory, a wire that remembers the last frame, a line that is listened to, an empty folder.
 */
#include "clauses.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/error.h"
#include "base/loop.h"
#include "block/fault.h"
#include "chardev/chardev.h"
#include "device/virtio/virtio_9p.h"
#include "device/virtio/virtio_balloon.h"
#include "device/virtio/virtio_blk.h"
#include "device/virtio/virtio_console.h"
#include "device/virtio/virtio_gpu.h"
#include "device/virtio/virtio_input.h"
#include "device/virtio/virtio_rng.h"
#include "device/virtio/virtio_scsi.h"
#include "device/virtio/virtio_vsock.h"
#include "display/display.h"
#include "display/input.h"
#include "net/backend_private.h"

struct guest guest;

/* ---- a wire ---- */

struct wire { struct net_backend base; struct wire_sent sent; };

static bool wire_send(struct net_backend *b, unsigned queue, const struct net_frame *f)
{
    struct wire *w = (struct wire *)b;
    static uint8_t whole[NET_FRAME_MAX];

    w->sent.count++;
    w->sent.header = f->header;
    w->sent.bytes = net_frame_copy(f, whole);
    memcpy(w->sent.data, whole, MIN(w->sent.bytes, sizeof(w->sent.data)));
    return true;
}

static void wire_destroy(struct net_backend *b)
{
    net_backend_fini(b);
    free(b);
}

static const struct net_backend_ops wire_ops = { .type = "wire", .send = wire_send, .destroy = wire_destroy };

const struct wire_sent *wire_sent(void) { return &guest.wire->sent; }
struct net_backend *wire_backend(void) { return &guest.wire->base; }

bool wire_give(unsigned queue, const struct net_header *h, const void *data, size_t bytes)
{
    struct iovec iov = { (void *)(uintptr_t)data, bytes };
    struct net_frame f = { .header = *h, .iov = &iov, .count = 1, .bytes = bytes };
    bool taken = net_deliver(&guest.wire->base, queue, &f);

    net_delivered(&guest.wire->base, queue);
    return taken;
}

/* ---- devices ---- */

static void *made(void *what, const struct error *err)
{
    if (what) return what;
    printf("virtio-clauses: %s\n", err->text);
    exit(1);
}

static void disk_open(bool readonly)
{
    static uint8_t image[DISK_SECTORS * 512];
    struct block_open_options o = { .format = "raw", .discard = true, .readonly = readonly, .filename = "disk" };
    struct error err = { "" };

    for (unsigned i = 0; i < sizeof(image); i++) image[i] = (uint8_t)(i / 512 + i);
    guest.disk = block_fault_open(image, sizeof(image), sizeof(image));
    guest.node = made(block_node_open_over(guest.disk, &o, NULL, &err), &err);
}

static void heard(void *opaque, const uint8_t *data, size_t size)
{
    for (size_t i = 0; i < size && guest.heard_bytes < sizeof(guest.heard); i++) guest.heard[guest.heard_bytes++] = data[i];
}

static void on_stop(void *opaque, bool is_read, int error) { }

static void folder_make(struct error *err)
{
    strcpy(guest.folder, "/tmp/virtio-clauses-XXXXXX");
    made(mkdtemp(guest.folder), err);
}

static struct virtio *vsock_make(struct virtio_options o, struct error *err)
{
    char path[40];

    folder_make(err);
    snprintf(path, sizeof(path), "%s/s", guest.folder);
    return virtio_vsock_new(&(struct virtio_vsock_config){ .memory = guest.memory, .path = path, .guest_cid = VSOCK_CID, .options = o }, err);
}

static struct virtio *device_make(enum kind kind, struct virtio_options o, struct error *err)
{
    switch (kind) {
    case BLK:
        disk_open(guest.flags & READONLY);
        return virtio_blk_new(&(struct virtio_blk_config){ .memory = guest.memory, .node = guest.node, .queues = 2, .queue_size = 64, .write_cache = true, .serial = "S-1",
                              .options = o }, err);
    case NET:
        guest.wire = made(calloc(1, sizeof(*guest.wire)), err);
        net_backend_init(&guest.wire->base, &wire_ops, "wire", err);
        guest.wire->base.offloads = NET_ALL_OFFLOADS;
        guest.wire->base.queues = 2;
        return virtio_net_new(&(struct virtio_net_config){ .memory = guest.memory, .backend = &guest.wire->base, .mac = { 0x52, 0x54, 0, 1, 2, 3 }, .multiqueue = true,
                              .mtu = guest.mtu, .speed_mbit = 1000, .left_out = guest.left_out, .options = o }, err);
    case SCSI:
        disk_open(false);
        return virtio_scsi_new(&(struct virtio_scsi_config){ .memory = guest.memory, .queues = 1, .queue_size = 64, .unit_count = 1, .options = o,
                               .unit = { { 3, 0, { .node = guest.node, .write_cache = true, .on_error = { BLOCK_ERROR_REPORT, BLOCK_ERROR_ENOSPC, NULL, on_stop } } } } }, err);
    case CONSOLE: {
        struct chardev_tap tap = { .output = heard };

        guest.lines = made(chardevs_new(), err);
        guest.line = made(chardev_open(guest.lines, "null", err), err);
        chardev_tap(guest.line, &tap);
        return virtio_console_new(&(struct virtio_console_config){ .memory = guest.memory, .ports_max = 3, .options = o,
                                  .port = { { .present = true, .is_console = true, .chardev = guest.line }, { .present = true, .name = "agent" } } }, err);
    }
    case RNG:
        return virtio_rng_new(&(struct virtio_rng_config){ .memory = guest.memory, .max_bytes = guest.random_bytes, .period_ms = guest.random_ms, .options = o }, err);
    case BALLOON:
        return virtio_balloon_new(&(struct virtio_balloon_config){ .memory = guest.memory, .ram_hva = guest.ram, .ram_bytes = RAM_BYTES, .deflate_on_oom = true,
                                  .free_page_reporting = true, .options = o }, err);
    case GPU:
        guest.display = display_new();
        return virtio_gpu_new(&(struct virtio_gpu_config){ .memory = guest.memory, .display = guest.display, .options = o }, err);
    case INPUT:
        guest.input = input_new();
        return virtio_input_new(&(struct virtio_input_config){ .memory = guest.memory, .kind = VIRTIO_INPUT_TABLET, .input = guest.input, .options = o }, err);
    case VSOCK: return vsock_make(o, err);
    default:
        folder_make(err);
        return virtio_9p_new(&(struct virtio_9p_config){ .memory = guest.memory, .tag = "tag", .share = { .path = guest.folder, .security = P9_NONE }, .options = o }, err);
    }
}

static void msix_setup(void)
{
    for (unsigned i = 0; i < VECTORS; i++) {
        memory_io_write(guest.memory, MSIX_AT + 16 * i, 0xfee00000, 4);
        memory_io_write(guest.memory, MSIX_AT + 16 * i + 4, 0, 4);
        memory_io_write(guest.memory, MSIX_AT + 16 * i + 8, i, 4);
        memory_io_write(guest.memory, MSIX_AT + 16 * i + 12, 0, 4);
    }
    pci_set(0x98 + 2, 0x8000, 2);
}

void guest_plug(enum kind kind, unsigned flags)
{
    struct virtio_pci_config c = { .bus = guest.bus, .devfn = DEVFN, .vectors = VECTORS, .disable_legacy = flags & MODERN_ONLY };
    struct virtio_options o = { .packed = flags & PACKED, .no_event_index = flags & NO_EVENT_INDEX };
    struct error err = { "" };

    if (guest.device) guest_unplug();
    guest.kind = kind;
    guest.flags = flags;
    memset(guest.ram, 0, RAM_BYTES);
    guest.v = made(device_make(kind, o, &err), &err);
    guest.device = made(virtio_pci_new(&c, guest.v, &err), &err);
    guest.queues = MIN(guest.v->queue_count, (unsigned)QUEUES);
    guest.raised = guest.heard_bytes = 0;
    memset(guest.messages, 0, sizeof(guest.messages));
    pci_set(0x10, PORTS_AT, 4);
    pci_set(0x14, MSIX_AT, 4);
    pci_set(0x20, MODERN_AT, 4);
    pci_set(0x24, 0, 4);
    pci_set(4, 7, 2);
    if (flags & MSIX) msix_setup();
}

void guest_unplug(void)
{
    device_destroy(guest.device);
    guest.device = NULL;
    if (guest.node) block_close(guest.node);
    if (guest.wire) net_free(&guest.wire->base);
    if (guest.line) chardev_close(guest.line);
    chardevs_free(guest.lines);
    guest.lines = NULL;
    if (guest.display) display_free(guest.display);
    if (guest.input) input_free(guest.input);
    if (*guest.folder) rmdir(guest.folder);
    guest.node = NULL;
    guest.wire = NULL;
    guest.line = NULL;
    guest.display = NULL;
    guest.input = NULL;
    *guest.folder = 0;
}

static void msi(void *opaque, unsigned long address, unsigned data)
{
    if (data < VECTORS) guest.messages[data]++;
}

static void intx(void *opaque, int n, int level)
{
    guest.raised += level && !guest.intx;
    guest.intx = level;
}

void guest_begin(void)
{
    struct pci_bus_config c = { .msi = { msi, guest.msi_event, NULL }, .intx = { { intx, NULL, 0 }, { intx, NULL, 1 }, { intx, NULL, 2 }, { intx, NULL, 3 } } };

    loop_init();
    clock_virtual_start();
    guest.ram = mmap(NULL, RAM_BYTES, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    guest.memory = memory_map_new("memory", 1ull << 52);
    guest.ports = memory_map_new("ports", 65536);
    memory_map_add_ram(guest.memory, "ram", 0, RAM_BYTES, guest.ram, false, 0);
    c.memory = guest.memory;
    c.ports = guest.ports;
    guest.bus = pci_bus_new(&c);
    guest.mtu = 1500;
    machine_lock();
}

void guest_end(void)
{
    if (guest.device) guest_unplug();
    pci_bus_free(guest.bus);
    machine_unlock();
    memory_map_free(guest.memory);
    memory_map_free(guest.ports);
    munmap(guest.ram, RAM_BYTES);
}

/* ---- registers and rings ---- */

uint64_t reg(unsigned at, unsigned size) { return memory_io_read(guest.memory, MODERN_AT + at, size); }
void reg_set(unsigned at, uint64_t value, unsigned size) { memory_io_write(guest.memory, MODERN_AT + at, value, size); }
uint64_t config(unsigned at, unsigned size) { return reg(CONFIG_AT + at, size); }
uint32_t pci(unsigned at, unsigned size) { return pci_config_read(guest.bus, DEVFN << 8 | at, size); }
void pci_set(unsigned at, uint32_t value, unsigned size) { pci_config_write(guest.bus, DEVFN << 8 | at, value, size); }
void put(uint64_t at, uint64_t value, unsigned size) { memcpy(guest.ram + at, &value, size); }
bool guest_needs_reset(void) { return reg(STATUS, 1) & S_NEEDS_RESET; }

uint64_t get(uint64_t at, unsigned size)
{
    uint64_t v = 0;

    memcpy(&v, guest.ram + at, size);
    return v;
}

uint64_t guest_offered(void)
{
    uint64_t low;

    reg_set(FEATURE_SELECT, 0, 4);
    low = reg(FEATURE, 4);
    reg_set(FEATURE_SELECT, 1, 4);
    return low | reg(FEATURE, 4) << 32;
}

bool guest_negotiate_exactly(uint64_t features)
{
    reg_set(STATUS, 0, 1);
    check(reg(STATUS, 1) == 0);
    reg_set(STATUS, S_ACK, 1);
    reg_set(STATUS, S_ACK | S_DRIVER, 1);
    for (unsigned half = 0; half < 2; half++) {
        reg_set(DRIVER_SELECT, half, 4);
        reg_set(DRIVER_FEATURE, (uint32_t)(features >> 32 * half), 4);
    }
    reg_set(STATUS, S_ACK | S_DRIVER | S_FEATURES_OK, 1);
    return reg(STATUS, 1) & S_FEATURES_OK;
}

bool guest_negotiate(uint64_t features) { return guest_negotiate_exactly((features | VIRTIO_F_VERSION_1) & guest_offered()); }

void guest_queue_setup(unsigned q, unsigned size)
{
    struct driver *d = &guest.queue[q];

    size = MIN(size, (unsigned)guest.v->queue[q].size_max);
    driver_init(d, guest.ram, guest.v->features & VIRTIO_F_RING_PACKED, guest.v->features & VIRTIO_F_EVENT_IDX, size, RING_AT + q * RING_STRIDE);
    reg_set(QUEUE_SELECT, q, 2);
    reg_set(QUEUE_SIZE, size, 2);
    if (guest.flags & MSIX) reg_set(QUEUE_VECTOR, 1 + q % (VECTORS - 1), 2);
    for (unsigned half = 0; half < 2; half++) {
        reg_set(QUEUE_DESC + 4 * half, half ? 0 : d->descriptors, 4);
        reg_set(QUEUE_DRIVER + 4 * half, half ? 0 : d->avail, 4);
        reg_set(QUEUE_DEVICE + 4 * half, half ? 0 : d->used, 4);
    }
    reg_set(QUEUE_ENABLE, 1, 2);
}

void guest_queues_setup(void)
{
    if (guest.flags & MSIX) reg_set(CONFIG_VECTOR, 0, 2);
    for (unsigned q = 0; q < guest.queues; q++) guest_queue_setup(q, SIZE);
}

void guest_start(uint64_t features)
{
    check(guest_negotiate(features));
    guest_queues_setup();
    reg_set(STATUS, S_ACK | S_DRIVER | S_FEATURES_OK | S_DRIVER_OK, 1);
    reg(ISR_AT, 1);
    guest.raised = 0;
    memset(guest.messages, 0, sizeof(guest.messages));
}

void guest_kick(unsigned q) { reg_set(NOTIFY_AT + 4 * q, q, 2); }

void guest_turn(void)
{
    machine_unlock();
    loop_step(1);
    machine_lock();
}

int64_t guest_wait(unsigned q)
{
    static unsigned in_vain;                             /* whoever waits for nothing a third time is not waited for so long */
    int64_t end = clock_host_ns() + (in_vain < 3 ? 60 * NS_PER_SECOND : NS_PER_SECOND / 10);
    uint32_t written;

    while (driver_take(&guest.queue[q], &written) < 0) {
        if (clock_host_ns() > end) return in_vain++, -1;
        guest_turn();
    }
    return written;
}

bool guest_is_quiet(unsigned q)
{
    uint32_t written;

    for (unsigned i = 0; i < 5; i++) guest_turn();
    return driver_take(&guest.queue[q], &written) < 0;
}

int64_t guest_ask(unsigned q, const struct driver_piece *pieces, unsigned count)
{
    check(driver_add(&guest.queue[q], pieces, count, false) >= 0);
    guest_kick(q);
    return guest_needs_reset() ? -1 : guest_wait(q);
}

/* ---- a request that is answered ---- */

static const struct { unsigned queue; uint32_t out, in; } typical[KINDS] = {
    [BLK] = { 0, 16, 513 }, [NET] = { 1, 12 + 60, 0 }, [SCSI] = { 2, 51, 108 }, [CONSOLE] = { 1, 16, 0 }, [RNG] = { 0, 0, 64 }, [BALLOON] = { 0, 4, 0 }, [SHARE] = { 0, 21, 64 },
};

static unsigned cut(struct driver_piece *p, unsigned count, uint64_t at, uint32_t bytes, unsigned most, bool writes, unsigned room)
{
    while (bytes) {
        uint32_t here = most && bytes > most && room > 1 ? most : bytes;

        p[count++] = (struct driver_piece){ at, here, writes };
        at += here;
        bytes -= here;
        room--;
    }
    return count;
}

unsigned guest_typical(unsigned most)
{
    unsigned q = typical[guest.kind].queue, count = 0;
    struct driver_piece p[DRIVER_PIECES_MAX];

    memset(guest.ram + DATA, 0, 4096);
    if (guest.kind == SCSI) put(DATA, 0x0301, 2);        /* target 3, lun 0, TEST UNIT READY */
    if (guest.kind == BALLOON) put(DATA, (DATA + 0x8000) >> 12, 4);
    if (guest.kind == SHARE) memcpy(guest.ram + DATA, "\x15\0\0\0\x64\xff\xff\0\x20\0\0\x08\0" "9P2000.L", 21);
    count = cut(p, 0, DATA, typical[guest.kind].out, most, false, DRIVER_PIECES_MAX / 2);
    count = cut(p, count, DATA + 4096, typical[guest.kind].in, most, true, DRIVER_PIECES_MAX / 2);
    check(driver_add(&guest.queue[q], p, count, false) >= 0);
    return q;
}
