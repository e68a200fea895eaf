/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * A network card whose rings the kernel serves, with a kernel made up here: which pages it wrote is told, also when the guest's memory becomes larger
 * meanwhile (a graphic card's, which the guest puts where it likes), and when the kernel does not play along then.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

#include "base/bits.h"
#include "base/clock.h"
#include "base/error.h"
#include "base/loop.h"
#include "device/virtio/virtio_net.h"
#include "net/backend_private.h"
#include "net/vhost.h"

enum { RAM_BYTES = 4 << 20, PAGE = 4096, HIGH_BYTES = 64 << 10 };
#define HIGH_AT 0x30000000000ull

static struct { uint64_t *log; unsigned running, regions; bool fails; } kernel;
static unsigned checks, failures, written[2];
static uint64_t page_seen;

static void check(bool ok, const char *what)
{
    checks++;
    if (ok) return;
    failures++;
    printf("failed: %s\n", what);
}

/* ---- the kernel ---- */

bool net_has_vhost(const struct net_backend *b) { return true; }
uint64_t net_vhost_features(const struct net_backend *b) { return ~0ull; }
void net_vhost_close(struct net_vhost *k) { }
struct net_vhost *net_vhost_open(const int *fds, unsigned fd_count, unsigned queues, struct error *err) { return NULL; }

int net_vhost_log_set(struct net_backend *b, const void *log, struct error *err)
{
    if (kernel.fails) return error_set(err, "no log today");
    kernel.log = (uint64_t *)(uintptr_t)log;
    return 0;
}

int net_vhost_features_set(struct net_backend *b, uint64_t features, const void *log, struct error *err) { return log ? net_vhost_log_set(b, log, err) : 0; }

int net_vhost_memory_set(struct net_backend *b, const struct net_vhost_region *region, unsigned count, struct error *err)
{
    kernel.regions = count;
    return 0;
}

int net_vhost_start(struct net_backend *b, unsigned queue, const struct net_vhost_ring ring[2], struct error *err)
{
    kernel.running++;
    return 0;
}

int net_vhost_call_set(struct net_backend *b, unsigned queue, unsigned ring, int call, struct error *err) { return 0; }

void net_vhost_stop(struct net_backend *b, unsigned queue, uint16_t base[2])
{
    kernel.running--;
    base[0] = base[1] = 0;
}

/* ---- the machine ---- */

static bool wire_send(struct net_backend *b, unsigned queue, const struct net_frame *f) { return true; }
static void wire_destroy(struct net_backend *b) { net_backend_fini(b); }
static const struct net_backend_ops wire_ops = { .type = "wire", .send = wire_send, .destroy = wire_destroy };

static void on_written(void *opaque, gpa_t gpa, uint64_t bytes)
{
    written[gpa >= HIGH_AT]++;
    page_seen = gpa / PAGE;
}

static void interrupt(void *opaque, uint16_t vector) { }
static void config_changed(void *opaque) { }
static bool may_dma(void *opaque) { return true; }

static void start(struct virtio *v)
{
    v->transport = (struct virtio_transport){ .interrupt = interrupt, .config_changed = config_changed, .may_dma = may_dma };
    virtio_status_write(v, 3, false);
    v->features = virtio_features_modern(v);
    virtio_status_write(v, 11, false);
    for (unsigned q = 0; q < 2; q++) {
        v->queue[q].descriptors = 0x10000 + 0x10000 * q;
        v->queue[q].driver = v->queue[q].descriptors + 0x4000;
        v->queue[q].device = v->queue[q].descriptors + 0x8000;
        virtio_queue_enable(v, q);
    }
    virtio_status_write(v, 15, false);
    check(kernel.running == 1 && kernel.log, "the kernel serves the pair, and has a log");
}

static void kernel_writes(struct virtio *v, uint64_t gpa)
{
    written[0] = written[1] = 0;
    kernel.log[gpa / PAGE / 64] |= BIT(gpa / PAGE % 64);
    virtio_queue_notify(v, 0);
    check(written[gpa >= HIGH_AT] == 1 && page_seen == gpa / PAGE, "a page that the kernel wrote is told of, once");
}

static void test_grows(bool fails)
{
    struct net_backend wire = { .ops = NULL };
    struct memory_map *memory = memory_map_new("memory", 1ull << 52);
    uint8_t *ram = mmap(NULL, RAM_BYTES, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0), *high = aligned_alloc(PAGE, HIGH_BYTES);
    struct error err = { "" };
    struct virtio *v;

    memory_map_add_ram(memory, "ram", 0, RAM_BYTES, ram, false, 0);
    memory_map_listen_written(memory, on_written, NULL);
    net_backend_init(&wire, &wire_ops, "wire", &err);
    v = virtio_net_new(&(struct virtio_net_config){ .memory = memory, .backend = &wire, .mac = { 0x52, 0x54, 0, 1, 2, 3 } }, &err);
    check(v != NULL, "a card");
    start(v);
    kernel_writes(v, 0x123000);
    written[0] = written[1] = 0;
    kernel.fails = fails;
    memory_map_add_ram(memory, "high", HIGH_AT, HIGH_BYTES, high, false, 0);
    kernel.fails = false;
    check((fails || !written[0]) && !written[1], "memory that comes is not written by that");      /* or by the card, which serves its rings again */
    check(kernel.running == !fails, "the kernel goes on, unless it refused");
    if (!fails) {
        kernel_writes(v, 0x123000);
        kernel_writes(v, HIGH_AT + 0x2000);
    }
    virtio_reset(v);
    v->ops->destroy(v);
    check(!kernel.running, "it ends with the card");
    wire_destroy(&wire);
    memory_map_free(memory);
    munmap(ram, RAM_BYTES);
    free(high);
}

int main(void)
{
    loop_init();
    clock_virtual_start();
    machine_lock();
    test_grows(false);
    test_grows(true);
    machine_unlock();
    printf("virtio-net-vhost: %u checks, %u failed\n", checks, failures);
    return failures || !checks;
}
