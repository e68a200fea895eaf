/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The clauses of the virtio specification as tests: one row each, and the guest that they share. */
#ifndef TESTS_VIRTIO_CLAUSES_H
#define TESTS_VIRTIO_CLAUSES_H

#include "base/bits.h"
#include "device/virtio/virtio_net.h"
#include "device/virtio/virtio_pci.h"
#include "driver.h"

/* number: section of VIRTIO 1.2 and the statement in it. One of test and reason (why it is not tested) is there. */
struct clause {
    const char *number, *says;
    void (*test)(void);
    const char *reason;
};
extern const struct clause clauses_core[], clauses_rings[], clauses_pci[], clauses_net[], clauses_blk[], clauses_console[], clauses_rng[], clauses_balloon[],
    clauses_scsi[], clauses_9p[], clauses_gpu[], clauses_input[], clauses_vsock[];                        /* each ends with a row without number */

void clause_check(bool ok, const char *file, int line, const char *what);
#define check(ok) clause_check(ok, __FILE__, __LINE__, #ok)

/* ---- a guest with one device ---- */

/* KINDS are those that all general clauses are tried on; the others came with virtio 1.0, and have no legacy interface. INPUT is a tablet. */
enum kind { BLK, NET, SCSI, CONSOLE, RNG, BALLOON, SHARE, KINDS, GPU = KINDS, INPUT, VSOCK };
enum { VSOCK_CID = 7 };
enum { PACKED = 1, MSIX = 2, READONLY = 4, MODERN_ONLY = 8, NO_EVENT_INDEX = 16 };
enum { RAM_BYTES = 4 << 20, RING_AT = 0x10000, RING_STRIDE = 0x40000, DATA = 0x280000, QUEUES = 8, SIZE = 16, VECTORS = 4, DISK_SECTORS = 512 };
enum { PORTS_AT = 0xc000, MSIX_AT = 0x10000000, MODERN_AT = 0x20000000, ISR_AT = 0x1000, CONFIG_AT = 0x2000, NOTIFY_AT = 0x3000, DEVFN = 8 };
enum { FEATURE_SELECT = 0, FEATURE = 4, DRIVER_SELECT = 8, DRIVER_FEATURE = 12, CONFIG_VECTOR = 16, NUM_QUEUES = 18, STATUS = 20, GENERATION = 21, QUEUE_SELECT = 22,
       QUEUE_SIZE = 24, QUEUE_VECTOR = 26, QUEUE_ENABLE = 28, NOTIFY_OFF = 30, QUEUE_DESC = 32, QUEUE_DRIVER = 40, QUEUE_DEVICE = 48, QUEUE_RESET = 58 };
enum { S_ACK = 1, S_DRIVER = 2, S_DRIVER_OK = 4, S_FEATURES_OK = 8, S_NEEDS_RESET = 0x40, S_FAILED = 0x80 };
#define ALL (~0ull)

struct wire;
struct guest {
    enum kind kind;
    unsigned flags;
    uint8_t *ram;
    struct memory_map *memory, *ports;
    struct pci_bus *bus;
    struct device *device;
    struct virtio *v;
    struct driver queue[QUEUES];
    unsigned queues;
    uint64_t left_out;                                   /* network card: features the user left out */
    uint16_t mtu;
    unsigned random_bytes, random_ms;                    /* entropy source: the most in a period; 0: no limit */
    int intx;
    unsigned raised, messages[VECTORS];
    bool (*msi_event)(void *opaque, int fd, bool on, unsigned long address, unsigned data);   /* set before guest_begin; NULL: there is none */
    struct block_protocol *disk;
    struct block_node *node;
    struct wire *wire;
    struct chardevs *lines;
    struct chardev *line;
    uint8_t heard[256];                                  /* what the console said */
    unsigned heard_bytes;
    char folder[32];
    struct display *display;
    struct input *input;
};
extern struct guest guest;

/* What the card sent last, and how often it sent. */
struct wire_sent { unsigned count; struct net_header header; size_t bytes; uint8_t data[256]; };
const struct wire_sent *wire_sent(void);
bool wire_give(unsigned queue, const struct net_header *h, const void *data, size_t bytes);
struct net_backend *wire_backend(void);

void guest_begin(void);
void guest_end(void);
void guest_plug(enum kind kind, unsigned flags);
void guest_unplug(void);
uint64_t reg(unsigned at, unsigned size);
void reg_set(unsigned at, uint64_t value, unsigned size);
uint64_t config(unsigned at, unsigned size);
uint32_t pci(unsigned at, unsigned size);
void pci_set(unsigned at, uint32_t value, unsigned size);
uint64_t guest_offered(void);
/* From reset to FEATURES_OK with these of what is on offer; was it accepted? */
bool guest_negotiate(uint64_t features);
/* The same with exactly these bits. */
bool guest_negotiate_exactly(uint64_t features);
void guest_queue_setup(unsigned q, unsigned size);
void guest_queues_setup(void);
/* All of it up to DRIVER_OK. */
void guest_start(uint64_t features);
void guest_kick(unsigned q);
void guest_turn(void);                                   /* of the main loop */
void put(uint64_t at, uint64_t value, unsigned size);
uint64_t get(uint64_t at, unsigned size);
/* Waits for a used chain: how many bytes were written, or -1. */
int64_t guest_wait(unsigned q);
bool guest_is_quiet(unsigned q);                         /* a few turns later there is still none */
/* Adds, notifies, waits. */
int64_t guest_ask(unsigned q, const struct driver_piece *pieces, unsigned count);
/* Makes a request available that this kind of device answers; the queue. Pieces of at most so many bytes (0: as they are). */
unsigned guest_typical(unsigned most);
bool guest_needs_reset(void);

#endif
