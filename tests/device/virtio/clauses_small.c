/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Console and ports, entropy source, balloon, shared folder. VIRTIO 1.2: 5.3, 5.4, 5.5; 9P has no section but its number. */
#include "clauses.h"

#include <string.h>

#include "chardev/chardev.h"
#include "device/virtio/virtio_balloon.h"
#include "device/virtio/virtio_console.h"

static void start(enum kind kind, uint64_t features)
{
    guest_plug(kind, 0);
    guest_start(features);
}

/* ---- console ---- */

enum { DEVICE_READY = 0, PORT_ADD = 1, PORT_REMOVE = 2, PORT_READY = 3, CONSOLE_PORT = 4, PORT_OPEN = 6, CONTROL_IN = 2, CONTROL_OUT = 3, EMERG_WR = 8, MESSAGES = DATA + 0x8000 };

static void emergency(void)
{
    guest_plug(CONSOLE, 0);
    check(guest_offered() & BIT(2));
    reg_set(STATUS, 0, 1);
    reg_set(CONFIG_AT + EMERG_WR, 0x12345600 | 'A', 4);
    check(guest.heard_bytes == 1 && guest.heard[0] == 'A');
    guest_start(ALL);
    reg_set(CONFIG_AT + EMERG_WR, 'B', 4);
    check(guest.heard_bytes == 2 && guest.heard[1] == 'B' && config(4, 4) == 3);
    guest_unplug();
}

static void wrong_way(void)
{
    struct driver_piece out = { DATA, 16, false }, in = { DATA + 64, 16, true };

    start(CONSOLE, ~BIT(1));
    memset(guest.ram + DATA + 64, 0xee, 16);
    check(guest_ask(1, &in, 1) == 0 && guest.ram[DATA + 64] == 0xee);
    driver_add(&guest.queue[0], &out, 1, false);
    guest_kick(0);
    check(chardev_inject(guest.line, (const uint8_t *)"hello", 5) == 5 || guest_needs_reset());
    guest_turn();
    driver_add(&guest.queue[0], &in, 1, false);
    guest_kick(0);
    while (guest.queue[0].seen_used < 2) check(guest_wait(0) >= 0);
    check(!memcmp(guest.ram + DATA + 64, "hello", 5));
    guest_unplug();
}

static void message(uint32_t id, unsigned event, unsigned value)
{
    struct driver_piece p = { DATA, 8, false };

    put(DATA, id | (uint64_t)event << 32 | (uint64_t)value << 48, 8);
    check(guest_ask(CONTROL_OUT, &p, 1) == 0);
}

/* Room for messages of the device; how many of this kind came, and of which ports. */
static unsigned messages(unsigned event, unsigned *ports)
{
    unsigned count = 0;

    *ports = 0;
    for (unsigned i = 0; i < SIZE; i++) {
        struct driver_piece p = { MESSAGES + 64 * i, 64, true };

        memset(guest.ram + MESSAGES + 64 * i, 0xff, 64);
        driver_add(&guest.queue[CONTROL_IN], &p, 1, false);
    }
    guest_kick(CONTROL_IN);
    for (uint32_t written; driver_take(&guest.queue[CONTROL_IN], &written) >= 0;) check(written >= 8);
    for (unsigned i = 0; i < SIZE; i++) {
        if (get(MESSAGES + 64 * i + 4, 2) != event) continue;
        count++;
        *ports |= 1u << (get(MESSAGES + 64 * i, 4) & 31);
    }
    return count;
}

static void ports_added(void)
{
    unsigned ports;

    start(CONSOLE, ALL);
    message(0, DEVICE_READY, 1);
    check(messages(PORT_ADD, &ports) == 2 && ports == 3);
    guest_unplug();
    start(CONSOLE, ALL);
    message(0, DEVICE_READY, 1);
    message(0, DEVICE_READY, 1);
    check(messages(PORT_ADD, &ports) == 2 && ports == 3);            /* each once */
    guest_start(ALL);
    message(0, DEVICE_READY, 1);
    check(messages(PORT_ADD, &ports) == 2);                          /* a new driver is told again */
    guest_unplug();
}

/* A buffer that is longer than what is sent at once waits, and with it those behind it: all come back, without a notification. */
static void port_removed_while_sending(void)
{
    struct driver_piece p = { 0, 2 << 20, false };
    uint32_t written;
    unsigned ports;

    start(CONSOLE, ALL);
    message(0, DEVICE_READY, 1);
    for (unsigned i = 0; i < SIZE; i++) check(driver_add(&guest.queue[1], &p, 1, false) >= 0);
    guest_kick(1);
    check(driver_take(&guest.queue[1], &written) < 0);
    virtio_console_port_remove(guest.v, 0);
    for (unsigned i = 0; i < SIZE; i++) check(driver_take(&guest.queue[1], &written) >= 0 && written == 0);
    check(messages(PORT_REMOVE, &ports) == 1 && ports == 1);
    guest_unplug();
}

static void ports_removed(void)
{
    unsigned ports;

    start(CONSOLE, ALL);
    virtio_console_port_remove(guest.v, 1);
    message(0, DEVICE_READY, 1);
    check(messages(PORT_REMOVE, &ports) == 0);
    guest_unplug();
    port_removed_while_sending();
}

static void no_such_port(void)
{
    unsigned ports;

    start(CONSOLE, ALL);
    for (uint32_t id = 2; id < 40; id++)
        for (unsigned event = 1; event < 9; event++) message(id, event, 1);
    message(0xffffffff, PORT_READY, 1);
    check(messages(PORT_ADD, &ports) == 0 && !guest_needs_reset());
    guest_unplug();
}

static void console_port(void)
{
    unsigned ports;

    start(CONSOLE, ALL);
    message(0, DEVICE_READY, 1);
    message(0, PORT_READY, 1);
    message(1, PORT_READY, 1);
    check(messages(CONSOLE_PORT, &ports) == 1 && ports == 1);
    message(0, PORT_OPEN, 1);
    guest_unplug();
}

const struct clause clauses_console[] = {
    { "5.3.5.1-1", "emerg_wr may be written before the device is set up, and its low byte is heard", emergency, NULL },
    { "5.3.6.1-1", "readable buffers to receive into and writable ones to send go back unused", wrong_way, NULL },
    { "5.3.6.2.1-1", "PORT_ADD names each port once, and none from max_nr_ports on", ports_added, NULL },
    { "5.3.6.2.1-2", "PORT_REMOVE names ports that were added; what the driver was sending there comes back", ports_removed, NULL },
    { "5.3.6.2.2-1", "messages about ports that are not there do no harm", no_such_port, NULL },
    { "5.3.6.2.2-2", "only what is a console is called one", console_port, NULL },
    { NULL, NULL, NULL, NULL },
};

/* ---- entropy ---- */

static void random_bytes(void)
{
    unsigned zeroes = 0;

    start(RNG, ALL);
    for (unsigned n = 0; n < 8; n++) {
        struct driver_piece p = { DATA, 1 + 200 * n, true };
        int64_t got;

        memset(guest.ram + DATA, 0, 4096);
        got = guest_ask(0, &p, 1);
        check(got >= 1 && got <= p.length);
        for (int64_t i = 0; i < got; i++) zeroes += !guest.ram[DATA + i];
        for (unsigned i = (unsigned)got; i < 4096; i++) check(!guest.ram[DATA + i]);
    }
    check(zeroes < 100);
    guest_unplug();
}

static void readable(void)
{
    struct driver_piece p[] = { { DATA, 64, false }, { DATA + 64, 64, true } };

    start(RNG, ALL);
    memset(guest.ram + DATA, 0x33, 64);
    check(guest_ask(0, p, 2) >= 1 && guest.ram[DATA] == 0x33 && guest.ram[DATA + 63] == 0x33);
    check(guest_ask(0, p, 1) == 0 && guest.ram[DATA] == 0x33);
    guest_unplug();
}

const struct clause clauses_rng[] = {
    { "5.4.6.1-1", "readable buffers stay as they are", readable, NULL },
    { "5.4.6.2-1", "one random byte or more, no more than the buffer has, and the length says how many", random_bytes, NULL },
    { NULL, NULL, NULL, NULL },
};

/* ---- balloon ---- */

enum { INFLATE = 0, DEFLATE = 1, STATS = 2, REPORT = 3, PAGE = 4096, PAGES = DATA + 0x20000, POISON = 12 };

static int64_t pages(unsigned queue, const uint32_t *pfn, unsigned count)
{
    struct driver_piece p = { DATA, 4 * count, false };

    memcpy(guest.ram + DATA, pfn, 4ul * count);
    return guest_ask(queue, &p, 1);
}

static void inflated(void)
{
    uint32_t pfn[] = { PAGES / PAGE, PAGES / PAGE + 1 };

    start(BALLOON, ALL);
    memset(guest.ram + PAGES, 0x77, 4 * PAGE);
    check(pages(INFLATE, pfn, 2) == 0);
    check(guest.ram[PAGES] == 0 && guest.ram[PAGES + 2 * PAGE - 1] == 0);            /* given back: reads as zeroes */
    check(guest.ram[PAGES - 1] == 0 && guest.ram[PAGES + 2 * PAGE] == 0x77);
    check(pages(DEFLATE, pfn, 2) == 0);
    guest.ram[PAGES] = 0x55;
    guest_turn();
    check(guest.ram[PAGES] == 0x55);
    guest_unplug();
}

static void wrong_pages(void)
{
    uint32_t pfn[] = { 0xffffffff, RAM_BYTES / PAGE, PAGES / PAGE, PAGES / PAGE, 0x80000000 };

    start(BALLOON, ALL);
    check(pages(INFLATE, pfn, ARRAY_SIZE(pfn)) == 0 && pages(DEFLATE, pfn, ARRAY_SIZE(pfn)) == 0 && !guest_needs_reset());
    guest_unplug();
}

static void actual(void)
{
    start(BALLOON, ALL);
    virtio_balloon_target_set(guest.v, RAM_BYTES / 2);
    check(config(0, 4) == RAM_BYTES / 2 / PAGE && reg(ISR_AT, 1) & 2);
    reg_set(CONFIG_AT + 4, 100, 4);
    check(config(4, 4) == 100 && virtio_balloon_actual_bytes(guest.v) == RAM_BYTES - 100 * PAGE);
    reg_set(CONFIG_AT, 1, 4);
    check(config(0, 4) == RAM_BYTES / 2 / PAGE);
    reg_set(CONFIG_AT + 4, 0xffffffff, 4);
    check(virtio_balloon_actual_bytes(guest.v) == 0);
    guest_unplug();
}

static void entry(unsigned n, uint16_t tag, uint64_t value)
{
    put(DATA + 10 * n, tag, 2);
    put(DATA + 10 * n + 2, value, 8);
}

static void stats_give(unsigned bytes)
{
    struct driver_piece p = { DATA, bytes, false };

    driver_add(&guest.queue[STATS], &p, 1, false);
    guest_kick(STATS);
}

static void unknown_tags(void)
{
    uint64_t value;
    int64_t when;

    start(BALLOON, ALL);
    entry(0, 0x7777, 1), entry(1, 4, 4444), entry(2, 0xffff, 2), entry(3, 5, 5555);
    stats_give(40);
    check(virtio_balloon_stat(guest.v, 4, &value, &when) && value == 4444 && virtio_balloon_stat(guest.v, 5, &value, &when) && value == 5555);
    check(!virtio_balloon_stat(guest.v, 0, &value, &when) && !guest_needs_reset());
    guest_unplug();
}

static void any_order(void)
{
    uint64_t value;
    int64_t when;

    start(BALLOON, ALL);
    for (unsigned n = 0; n < 10; n++) entry(n, (uint16_t)(9 - n), 100 + n);
    stats_give(100);
    for (unsigned n = 0; n < 10; n++) check(virtio_balloon_stat(guest.v, 9 - n, &value, &when) && value == 100 + n);
    guest_unplug();
}

static void two_buffers(void)
{
    start(BALLOON, ALL);
    entry(0, 4, 1);
    stats_give(10);
    check(guest_is_quiet(STATS));
    stats_give(13);                                      /* a second one, of an odd size: the first goes back */
    check(guest_wait(STATS) == 0 && !guest_needs_reset());
    guest_unplug();
}

static void report(bool poison, uint32_t value, uint8_t expected)
{
    struct driver_piece p = { PAGES, 2 * PAGE, true };

    guest_plug(BALLOON, 0);
    check(guest_negotiate(poison ? ALL : ~BIT(4)));
    guest_queues_setup();
    reg_set(CONFIG_AT + POISON, value, 4);
    reg_set(STATUS, 15, 1);
    memset(guest.ram + PAGES, 0x77, 3 * PAGE);
    check(guest_ask(REPORT, &p, 1) == 0 && guest.ram[PAGES] == expected && guest.ram[PAGES + 2 * PAGE - 1] == expected && guest.ram[PAGES + 2 * PAGE] == 0x77);
    guest_unplug();
}

static void reported(void)
{
    report(false, 0, 0);
    report(false, 0x77777777, 0);                        /* not agreed on: the register says nothing */
}

static void poisoned(void)
{
    report(true, 0x77777777, 0x77);
    report(true, 0, 0);
}

const struct clause clauses_balloon[] = {
    { "5.5.3.2-1", "MUST_TELL_HOST", NULL, "not offered: pages come back by being touched" },
    { "5.5.6.1-1", "num_pages is told, actual is the driver's, the rest of the configuration is not", actual, NULL },
    { "5.5.6.1-2", "page numbers that are no memory, twice the same, never given: no harm", wrong_pages, NULL },
    { "5.5.6.2-1", "pages are changed between their inflate request and its end, and not after it", inflated, NULL },
    { "5.5.6.3.1-1", "a second buffer for statistics, or one of an odd size: the first goes back", two_buffers, NULL },
    { "5.5.6.3.2-1", "unknown tags are ignored", unknown_tags, NULL },
    { "5.5.6.3.2-2", "entries come in any order", any_order, NULL },
    { "5.5.6.5.2-1", "free page hinting", NULL, "FREE_PAGE_HINT is not offered; it serves migration" },
    { "5.5.6.7.2-1", "without PAGE_POISON reported pages may change until the request's end", reported, NULL },
    { "5.5.6.7.2-2", "with it they change to poison_val only", poisoned, NULL },
    { NULL, NULL, NULL, NULL },
};

/* ---- 9P ---- */

static void tag(void)
{
    guest_plug(SHARE, 0);
    check(guest_offered() & 1 && config(0, 2) == 3 && config(2, 2) == ('t' | 'a' << 8) && config(4, 1) == 'g' && config(5, 1) == 0xff);
    guest_unplug();
}

static void odd_messages(void)
{
    struct driver_piece none = { DATA, 7, false }, in = { DATA + 64, 64, true }, small[] = { { DATA, 21, false }, { DATA + 64, 3, true } };

    start(SHARE, ALL);
    check(guest_ask(0, &none, 1) == 0 && guest_ask(0, &in, 1) >= 0 && guest_ask(0, small, 2) >= 0 && !guest_needs_reset());
    guest_kick(guest_typical(0));
    check(guest_wait(0) == 21 && guest.ram[DATA + 4096 + 4] == 101);
    guest_unplug();
}

const struct clause clauses_9p[] = {
    { "5-9.1", "(no section of its own) the tag and its length are in the configuration", tag, NULL },
    { "5-9.2", "messages without room for an answer, without content, too short: no harm", odd_messages, NULL },
    { NULL, NULL, NULL, NULL },
};
