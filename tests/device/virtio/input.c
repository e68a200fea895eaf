/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Virtio keyboard, mouse and tablet driven through registers and rings while somebody types and points at random: what the events add up to against
 * what was typed and pointed, however late buffers come; who is in use before, while and after a driver is there; LEDs; buffers that are no use.
 * VIRTIO 1.2: 5.8.
 *
 *   test-virtio-input [ROUNDS [SEED]]
 */
#include <linux/input-event-codes.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

#include "base/bits.h"
#include "base/clock.h"
#include "base/error.h"
#include "base/loop.h"
#include "base/qkeycode.h"
#include "device/virtio/virtio_input.h"
#include "device/virtio/virtio_pci.h"
#include "display/display.h"
#include "display/input.h"
#include "driver.h"

enum { RAM_BYTES = 2 << 20, RINGS = 0x10000, QUEUE_STRIDE = 0x80000, DATA = 0x180000, MODERN = 0x20000000, CONFIG = MODERN + 0x2000,
       NOTIFY = MODERN + 0x3000, QUEUES = 2, SIZE = 64, CODES = 1024 };
struct event { uint16_t type, code; uint32_t value; };

static uint8_t *ram;
static struct memory_map *memory;
static struct pci_bus *bus;
static struct device *device;
static struct virtio *v;
static struct input *input;
static struct driver driver[QUEUES];
static unsigned given, taken, other_keys;
static uint64_t checks, failures, state, events, frames;
/* What the driver knows by the events. */
static bool down[CODES];
static int x, y, wheel, gears;

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

static void intx(void *opaque, int n, int level) { }
static void out(uint64_t at, uint64_t value, unsigned size) { memory_io_write(memory, at, value, size); }
static uint64_t in(uint64_t at, unsigned size) { return memory_io_read(memory, at, size); }
static void other_key(void *opaque, unsigned qkeycode, bool is_down) { other_keys++; }

/* ---- one device ---- */

static void create(enum virtio_input_kind kind, bool packed, bool no_wheel)
{
    struct virtio_input_config c = { .memory = memory, .kind = kind, .serial = "SERIAL", .no_wheel = no_wheel, .input = input, .options.packed = packed };
    struct virtio_pci_config pci = { .bus = bus, .devfn = 8 };
    struct error err = { "" };

    v = virtio_input_new(&c, &err);
    device = v ? virtio_pci_new(&pci, v, &err) : NULL;
    if (!device) {
        printf("test-virtio-input: %s\n", err.text);
        exit(1);
    }
    pci_config_write(bus, 8 << 8 | 0x20, MODERN, 4);
    pci_config_write(bus, 8 << 8 | 4, 6, 2);
}

static void start(void)
{
    uint64_t features = virtio_features_modern(v);

    out(MODERN + 20, 0, 1);
    out(MODERN + 20, 3, 1);
    for (unsigned half = 0; half < 2; half++) {
        out(MODERN + 8, half, 4);
        out(MODERN + 12, (uint32_t)(features >> 32 * half), 4);
    }
    out(MODERN + 20, 11, 1);
    for (unsigned n = 0; n < QUEUES; n++) {
        struct driver *d = &driver[n];

        driver_init(d, ram, features & VIRTIO_F_RING_PACKED, features & VIRTIO_F_EVENT_IDX, SIZE, RINGS + n * QUEUE_STRIDE);
        out(MODERN + 22, n, 2);
        out(MODERN + 32, d->descriptors, 4);
        out(MODERN + 40, d->avail, 4);
        out(MODERN + 48, d->used, 4);
        out(MODERN + 28, 1, 2);
    }
    out(MODERN + 20, 15, 1);
    memset(down, 0, sizeof(down));
    x = y = wheel = gears = 0;
    given = taken = 0;
}

/* ---- the driver's side ---- */

/* Buffers are used in order, each has its own eight bytes. */
static void buffers_give(unsigned count, unsigned bytes)
{
    for (; count-- > 0; given++) {
        struct driver_piece p = { DATA + 8 * (given % SIZE), bytes, true };

        if (driver_add(&driver[0], &p, 1, false) < 0) break;
    }
    out(NOTIFY, 0, 2);
}

static void event_take(const struct event *e)
{
    events++;
    if (e->type == EV_SYN) frames++;
    else if (e->type == EV_KEY) {
        check(e->code < CODES && e->value <= 1 && down[e->code] != (e->value != 0), "a key or button %u changes to %u", e->code, e->value);
        down[e->code % CODES] = e->value;
        if (e->value) gears += e->code == BTN_GEAR_DOWN ? 1 : e->code == BTN_GEAR_UP ? -1 : 0;
    } else if (e->type == EV_REL && e->code == REL_X) x += (int)e->value;
    else if (e->type == EV_REL && e->code == REL_Y) y += (int)e->value;
    else if (e->type == EV_REL && e->code == REL_WHEEL) wheel -= (int)e->value;
    else if (e->type == EV_ABS) *(e->code == ABS_X ? &x : &y) = (int)e->value;
    else check(false, "an event of type %u", e->type);
}

static unsigned used_take(unsigned bytes)
{
    uint32_t written;
    unsigned count = 0;

    for (; driver_take(&driver[0], &written) >= 0; taken++, count++) {
        check(written == bytes, "an event has %u bytes, not %u", bytes, written);
        if (bytes == 8) event_take((struct event *)(void *)(ram + DATA + 8 * (taken % SIZE)));
    }
    return count;
}

static void settle(void)
{
    for (unsigned i = 0; i < 200; i++) {
        buffers_give(SIZE, 8);
        machine_unlock();
        loop_step(0);
        machine_lock();
        if (!used_take(8)) break;
    }
}

/* ---- who is in use ---- */

static void activity(void)
{
    create(VIRTIO_INPUT_KEYBOARD, false, false);
    input_key(input, QKEY_A, true);
    input_key(input, QKEY_A, false);
    check(other_keys == 2, "a keyboard without a driver is not in use");
    start();
    buffers_give(4, 8);
    input_key(input, QKEY_A, true);
    check(other_keys == 2 && used_take(8) == 2 && down[KEY_A], "one with a driver is");
    input_key(input, QKEY_A, true);
    check(used_take(8) == 0, "a key that is down goes down no more");
    out(MODERN + 20, 0, 1);
    input_key(input, QKEY_A, false);
    input_key(input, QKEY_B, true);
    check(other_keys == 3, "after a reset it is not; the key that went down there goes up there");
    input_key(input, QKEY_B, false);
    start();
    settle();
    check(!down[KEY_A] && !down[KEY_B], "a driver that comes again finds no key down");
    device_destroy(device);
    other_keys = 0;
    input_key(input, QKEY_C, true);
    input_key(input, QKEY_C, false);
    check(other_keys == 2, "a keyboard that is gone is not in use");
}

static void shown(void *opaque, const char *line) { snprintf(opaque, 96, "%s", line); }

static void leds(void)
{
    static const struct { uint16_t type, code; uint32_t value, bytes; const char *want; } said[] = {
        { EV_LED, LED_CAPSL, 1, 8, "LEDs: caps lock" }, { EV_LED, LED_NUML, 1, 8, "LEDs: num lock caps lock" }, { EV_LED, LED_CAPSL, 0, 8, "LEDs: num lock" },
        { EV_LED, 9, 1, 8, "LEDs: num lock" }, { EV_LED, 0xffff, 1, 8, "LEDs: num lock" }, { EV_SYN, 0, 0, 8, "LEDs: num lock" },
        { EV_LED, LED_NUML, 0, 7, "LEDs: num lock" }, { EV_LED, LED_NUML, 0, 8, "LEDs: none" },
    };
    char line[96];

    create(VIRTIO_INPUT_KEYBOARD, false, false);
    start();
    for (unsigned i = 0; i < ARRAY_SIZE(said); i++) {
        struct driver_piece p = { DATA + 0x1000, said[i].bytes, false };
        uint32_t written;

        memcpy(ram + DATA + 0x1000, &said[i], 8);
        driver_add(&driver[1], &p, 1, false);
        out(NOTIFY + 4, 1, 2);
        check(driver_take(&driver[1], &written) >= 0 && written == 0, "what the driver says is taken");
        v->ops->info(v, shown, line);
        check(!strcmp(line, said[i].want), "step %u: %s", i, line);
    }
    out(CONFIG, 3, 1);
    check(in(CONFIG + 2, 1) == 8 && in(CONFIG + 8, 2) == 6, "the device still tells its numbers");
    buffers_give(3, 4);
    input_key(input, QKEY_X, true);
    check(used_take(0) == 3, "buffers of four bytes come back empty");
    settle();
    check(down[KEY_X], "and no event is lost by them");
    input_key(input, QKEY_X, false);
    device_destroy(device);
}

/* ---- keys and pointers at random, buffers at any time ---- */

static const struct { unsigned key; uint16_t code; } keys[] = {
    { QKEY_A, KEY_A }, { QKEY_SHIFT, KEY_LEFTSHIFT }, { QKEY_F12, KEY_F12 }, { QKEY_RET, KEY_ENTER }, { QKEY_UP, KEY_UP }, { QKEY_KP_5, KEY_KP5 },
};

static void typing(unsigned rounds, bool packed)
{
    bool held[ARRAY_SIZE(keys)] = { false };

    create(VIRTIO_INPUT_KEYBOARD, packed, false);
    start();
    for (unsigned r = 0; r < rounds; r++) {
        for (unsigned n = below(8) ? below(20) : below(1000); n-- > 0;) {
            unsigned k = below(ARRAY_SIZE(keys));

            held[k] = below(2);
            input_key(input, keys[k].key, held[k]);
        }
        if (below(2)) buffers_give(below(SIZE), 8);
        used_take(8);
        if (below(4)) continue;
        settle();
        for (unsigned k = 0; k < ARRAY_SIZE(keys); k++) check(down[keys[k].code] == held[k], "key %u is %s", keys[k].code, held[k] ? "down" : "up");
    }
    for (unsigned k = 0; k < ARRAY_SIZE(keys); k++) input_key(input, keys[k].key, false);
    device_destroy(device);
}

static void pointing(unsigned rounds, enum virtio_input_kind kind, bool packed, bool no_wheel)
{
    bool is_tablet = kind == VIRTIO_INPUT_TABLET;
    int at_x = 0, at_y = 0, turned = 0;
    unsigned pressed = 0;

    create(kind, packed, no_wheel);
    start();
    check(input_is_absolute(input) == is_tablet, "the pointer with a driver is in use");
    for (unsigned r = 0; r < rounds; r++) {
        for (unsigned n = below(8) ? below(20) : below(500); n-- > 0;) {
            int dx = (int)below(9) - 4, dy = (int)below(9) - 4, turn = below(4) ? 0 : (int)below(3) - 1;

            if (below(4) == 0) pressed = below(32);
            at_x = is_tablet ? (int)below(INPUT_MAX + 1) : at_x + dx;
            at_y = is_tablet ? (int)below(INPUT_MAX + 1) : at_y + dy;
            turned += turn;
            if (is_tablet) input_absolute(input, (unsigned)at_x, (unsigned)at_y, turn, pressed);
            else input_relative(input, dx, dy, turn, pressed);
        }
        if (below(2)) buffers_give(below(SIZE), 8);
        used_take(8);
        if (below(4)) continue;
        settle();
        check(x == at_x && y == at_y, "it points at %d,%d, not %d,%d", at_x, at_y, x, y);
        check(wheel == (no_wheel ? 0 : turned) && gears == (no_wheel ? turned : 0), "the wheel has turned by %d, not %d and %d", turned, wheel, gears);
        check(down[BTN_LEFT] == ((pressed & POINTER_LEFT) != 0) && down[BTN_RIGHT] == ((pressed & POINTER_RIGHT) != 0) &&
              down[BTN_MIDDLE] == ((pressed & POINTER_MIDDLE) != 0) && down[BTN_SIDE] == ((pressed & POINTER_SIDE) != 0) &&
              down[BTN_EXTRA] == ((pressed & POINTER_EXTRA) != 0), "buttons %x are down", pressed);
    }
    device_destroy(device);
    check(!input_is_absolute(input), "a pointer that is gone is not in use");
}

int main(int argc, char **argv)
{
    unsigned rounds = argc > 1 ? (unsigned)strtoul(argv[1], NULL, 0) : 3000;
    uint64_t seed = argc > 2 ? strtoull(argv[2], NULL, 0) : 0x1d1d1;
    struct input_device other = { .name = "other", .kind = INPUT_KEYBOARD, .key = other_key };
    struct pci_bus_config c = { .msi = { NULL, NULL } };
    struct memory_map *ports;

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
    input = input_new();
    input_add(input, &other);
    machine_lock();
    activity();
    leds();
    for (unsigned packed = 0; packed < 2; packed++) {
        typing(rounds, packed);
        pointing(rounds, VIRTIO_INPUT_MOUSE, packed, false);
        pointing(rounds, VIRTIO_INPUT_TABLET, packed, false);
        pointing(rounds, VIRTIO_INPUT_MOUSE, packed, true);
    }
    pci_bus_free(bus);
    machine_unlock();
    input_free(input);
    memory_map_free(memory);
    memory_map_free(ports);
    printf("virtio-input: %u rounds, %llu events in %llu reports, %llu checks, %llu failed, seed %#llx\n", rounds, (unsigned long long)events,
           (unsigned long long)frames, (unsigned long long)checks, (unsigned long long)failures, (unsigned long long)seed);
    return failures || events < rounds ? 1 : 0;
}
