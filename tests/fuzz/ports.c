/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * A hostile guest's pokes: a whole machine, held before its first instruction, whose ports and device memory are read and
 * written as a guest could, at random but with a liking for what devices understand: commands, descriptors in guest memory,
 * PCI configuration, DMA. Virtual time runs, disk requests complete in between. The process must neither crash nor
 * hang; the sanitizers watch. A reset or power-off that the pokes cause is carried out, then it goes on.
 *
 *   fuzz-ports [POKES [SEED]]
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/bits.h"
#include "base/clock.h"
#include "base/error.h"
#include "base/loop.h"
#include "machine/machine.h"
#include "fuzz.h"

enum { BURST = 400, RAM_BYTES = 16 << 20, DISK_BYTES = 4 << 20 };

static struct machine *m;
static struct timer *timer;
static uint64_t state, pokes_left, pokes_done, changed;
static unsigned machines;

static uint64_t next_random(void)
{
    return fuzz_next(&state);
}

static unsigned below(unsigned n) { return (next_random() >> 20) % n; }
static unsigned any_size(void) { return 1u << below(3); }

/* ---- values ---- */

static uint64_t value(void)
{
    static const uint32_t liked[] = { 0, 1, 2, 3, 0x7f, 0x80, 0xff, 0x7fff, 0x8000, 0xffff, 0x7fffffff, 0x80000000, 0xffffffff };

    switch (below(4)) {
    case 0: return liked[below(ARRAY_SIZE(liked))];
    case 1: return 1ull << below(32);
    case 2: return below(256);
    default: return next_random();
    }
}

/* Mostly in RAM, at times across its end, in device memory or nowhere. */
static gpa_t address(void)
{
    static const uint64_t places[] = { 0xa0000, 0xb8000, 0xf0000, RAM_BYTES - 8, 0xfec00000, 0xfee00000, 0xfed00000, 0xfffffff0, 0xffffffffffff };

    if (below(8) == 0) return places[below(ARRAY_SIZE(places))] + below(64);
    return next_random() % RAM_BYTES & ~(below(4) ? 15ull : 0ull);
}

/* ---- single accesses ---- */

static const struct { uint16_t first, count; uint8_t weight; } ports[] = {
    { 0x00, 0x10, 3 }, { 0x20, 2, 4 }, { 0xa0, 2, 4 }, { 0x4d0, 2, 1 }, { 0x40, 4, 5 }, { 0x61, 1, 2 }, { 0x60, 5, 6 }, { 0x70, 2, 5 },
    { 0x80, 16, 1 }, { 0x92, 1, 1 }, { 0xb2, 2, 1 }, { 0xc0, 32, 3 }, { 0xf0, 2, 1 }, { 0x170, 8, 12 }, { 0x1f0, 8, 12 }, { 0x376, 1, 4 },
    { 0x3f6, 1, 4 }, { 0x3b0, 48, 8 }, { 0x1ce, 4, 5 }, { 0x3f8, 8, 6 }, { 0x2f8, 8, 1 }, { 0x402, 1, 1 }, { 0x510, 12, 4 },
    { 0xcf8, 8, 6 }, { 0x600, 64, 3 }, { 0xc000, 64, 8 }, { 0, 0xffff, 2 },
};

static unsigned some_port(void)
{
    unsigned total = 0, pick;

    for (unsigned i = 0; i < ARRAY_SIZE(ports); i++) total += ports[i].weight;
    pick = below(total);
    for (unsigned i = 0; ; i++) {
        if (pick < ports[i].weight) return ports[i].first + below(ports[i].count);
        pick -= ports[i].weight;
    }
}

static void out(unsigned port, unsigned size, uint64_t v) { memory_io_write(machine_ports(m), port, v, size); }
static uint64_t in(unsigned port, unsigned size) { return memory_io_read(machine_ports(m), port, size); }

static void poke_port(void)
{
    unsigned port = some_port(), size = below(4) ? 1 : any_size();

    if (below(3)) out(port, size, value());
    else changed += in(port, size);
}

static void poke_memory(void)
{
    static const struct { gpa_t at; uint32_t bytes; } places[] = {
        { 0xfec00000, 0x40 }, { 0xfee00000, 0x400 }, { 0xfed00000, 0x400 }, { 0xa0000, 0x20000 }, { 0xc0000, 0x40000 }, { 0xfffe0000, 0x20000 },
        { 0xfd000000, 0x1000000 }, { 0xe0000000, 0x1000 }, { 0xfeb00000, 0x2000 },
    };
    unsigned n = below(ARRAY_SIZE(places)), size = 1u << below(4);
    gpa_t at = places[n].at + below(places[n].bytes);

    if (below(4)) at &= ~(gpa_t)(size - 1);
    if (below(2)) memory_io_write(machine_memory(m), at, value(), size);
    else changed += memory_io_read(machine_memory(m), at, size);
}

/* ---- what devices understand ---- */

static void pci_write(unsigned function, unsigned offset, uint32_t v, unsigned size)
{
    out(0xcf8, 4, 0x80000000u | function << 8 | (offset & 0xfc));
    out(0xcfc + (offset & 3), size, v);
}

/* What SeaBIOS would have set up before a guest came; a reset takes it away. */
static void firmware_setup(void)
{
    pci_write(9, 0x20, 0xc001, 4);                     /* IDE: the bus master's BAR */
    pci_write(9, 0x40, 0x80008000, 4);                 /* both channels */
    pci_write(9, 4, 5, 2);
    pci_write(11, 0x40, 0x601, 4);                     /* PM: base */
    pci_write(11, 0x80, 1, 1);
    pci_write(16, 0x10, 0xfd000000, 4);                /* VGA: frame buffer, registers */
    pci_write(16, 0x18, 0xfeb00000, 4);
    pci_write(16, 4, 3, 2);
}

static void poke_pci(void)
{
    static const uint8_t functions[] = { 0, 8, 9, 11, 16, 24 };
    unsigned function = functions[below(ARRAY_SIZE(functions))];

    switch (below(4)) {
    case 0: pci_write(function, 4, below(8), 2); break;                        /* command */
    case 1: pci_write(function, 0x10 + 4 * below(6), (uint32_t)value(), 4); break;
    case 2: firmware_setup(); break;
    default: pci_write(function, below(256), (uint32_t)value(), any_size()); break;
    }
}

static void put32(gpa_t at, uint32_t v) { memory_write(machine_memory(m), at, &v, 4); }
static void put32_big(gpa_t at, uint32_t v) { put32(at, __builtin_bswap32(v)); }

/* A PRD table: mostly sensible, at times without end, empty or outside. */
static gpa_t prd_table(void)
{
    gpa_t at = address() & ~3ull;
    unsigned n = 1 + below(6);

    for (unsigned i = 0; i < n; i++) {
        put32(at + 8 * i, (uint32_t)address());
        put32(at + 8 * i + 4, (below(4) ? below(0x4000) : (uint32_t)value()) | (i == n - 1 && below(8) ? 0x80000000u : 0));
    }
    return at;
}

static const uint8_t ata_commands[] = {
    0x20, 0x24, 0x25, 0x29, 0x30, 0x34, 0x35, 0x39, 0x40, 0x42, 0x70, 0x90, 0x91, 0xa0, 0xa1, 0xb0, 0xc4, 0xc5, 0xc6, 0xc8, 0xca, 0xe0, 0xe1, 0xe5,
    0xe7, 0xea, 0xec, 0xef, 0xf5, 0xf8, 0x27, 0x37, 0x00, 0x08, 0xc8, 0xca, 0x25, 0x35,
};
static const uint8_t packets[] = { 0x00, 0x03, 0x12, 0x1a, 0x1b, 0x1e, 0x23, 0x25, 0x28, 0x2b, 0x35, 0x42, 0x43, 0x44, 0x46, 0x4a, 0x51, 0x52, 0x55, 0x5a, 0xa8, 0xad,
                                   0xbd, 0xbe };

static void ide_data(unsigned base, unsigned bytes, bool write)
{
    unsigned size = below(2) ? 2 : 4;

    for (unsigned done = 0; done < bytes; done += size) {
        if (write) out(base, size, next_random());
        else changed += in(base, size);
    }
}

static void poke_ide(void)
{
    unsigned channel = below(2), base = channel ? 0x170 : 0x1f0, bus_master = 0xc000 + 8 * channel;
    uint8_t command = below(8) ? ata_commands[below(ARRAY_SIZE(ata_commands))] : below(256);

    out(base + 6, 1, 0xa0 | below(2) << 4 | below(2) << 6 | below(16) * !below(4));
    for (unsigned high = 0; high < 2; high++) {        /* twice, for the 48-bit commands */
        out(base + 1, 1, value());
        out(base + 2, 1, below(4) ? below(8) : value());
        for (unsigned r = 3; r < 6; r++) out(base + r, 1, below(3) ? 0 : value());
    }
    if (below(2)) {
        out(bus_master + 4, 4, prd_table());
        out(bus_master, 1, below(2) << 3);
    }
    out(base + 7, 1, command);
    if (below(2)) out(bus_master, 1, 1 | below(2) << 3);
    if (command == 0xa0) {
        uint8_t packet[12] = { packets[below(ARRAY_SIZE(packets))] };
        for (unsigned i = 1; i < 12; i++) packet[i] = below(3) ? below(4) : value();
        for (unsigned i = 0; i < 12; i += 2) out(base, 2, packet[i] | packet[i + 1] << 8);
    }
    if (below(2)) ide_data(base, below(2) ? 512 : below(4096), below(2));
    if (!below(16)) out(channel ? 0x376 : 0x3f6, 1, below(8));                 /* SRST, nIEN */
    changed += in(base + 7, 1);
}

static void poke_fw_cfg(void)
{
    gpa_t at = address();

    put32_big(at, below(4) ? below(64) << 16 | below(32) : (uint32_t)value());
    put32_big(at + 4, below(4) ? below(4096) : (uint32_t)value());
    put32_big(at + 8, below(16) ? 0 : (uint32_t)value());
    put32_big(at + 12, (uint32_t)address());
    out(0x514, 4, 0);
    out(0x518, 4, __builtin_bswap32((uint32_t)at));
}

static void poke_keyboard(void)
{
    static const uint8_t commands[] = { 0x20, 0x60, 0xa7, 0xa8, 0xa9, 0xaa, 0xab, 0xad, 0xae, 0xc0, 0xd0, 0xd1, 0xd2, 0xd3, 0xd4, 0xd4, 0xd4, 0xf0 };
    static const uint8_t device[] = { 0xe6, 0xe7, 0xe8, 0xe9, 0xea, 0xeb, 0xec, 0xed, 0xee, 0xf0, 0xf2, 0xf3, 0xf4, 0xf5, 0xf6, 0xf8, 0xfe, 0xff };

    if (below(2)) out(0x64, 1, commands[below(ARRAY_SIZE(commands))]);
    out(0x60, 1, below(4) ? device[below(ARRAY_SIZE(device))] : value());
    for (unsigned n = below(6); n-- > 0;) changed += in(0x64, 1) + in(0x60, 1);
}

static void poke_vga(void)
{
    static const uint16_t index[] = { 0x3c4, 0x3ce, 0x3d4, 0x3c0, 0x1ce };

    for (unsigned n = 1 + below(8); n-- > 0;) {
        unsigned port = index[below(ARRAY_SIZE(index))];
        if (port == 0x1ce) out(port, 2, below(16)), out(port + 2, 2, value());
        else out(port, 1, below(40)), out(port == 0x3c0 ? port : port + 1, 1, value());
    }
    for (unsigned n = below(8); n-- > 0;) memory_io_write(machine_memory(m), 0xa0000 + below(0x20000), value(), 1u << below(4));
    if (!below(64)) {
        char text[16384];
        machine_text_screen(m, text, sizeof text);
    }
}

static void poke_power(void)
{
    switch (below(4)) {
    case 0: out(0x604, 2, 0x2000); break;              /* S5 */
    case 1: out(0xcf9, 1, 6); break;
    case 2: out(0x64, 1, 0xfe); break;
    default: out(0x92, 1, 1); break;
    }
}

/* ---- the run ---- */

static void poke(void)
{
    unsigned n = below(100);

    if (n < 45) poke_port();
    else if (n < 60) poke_memory();
    else if (n < 68) poke_pci();
    else if (n < 84) poke_ide();
    else if (n < 88) poke_fw_cfg();
    else if (n < 93) poke_keyboard();
    else if (n < 98) poke_vga();
    else if (below(100)) put32(address(), (uint32_t)value());
    else poke_power();
}

static void burst(void *opaque)
{
    for (unsigned n = 0; n < BURST && pokes_left; n++, pokes_left--, pokes_done++) poke();
    if (pokes_left) timer_arm_ns(timer, clock_host_ns() + 1000);
    else machine_request_quit(m, 0, CAUSE_SIGNAL);
}

static void run_one(char *const *files)
{
    struct machine_config c;
    struct error err;

    machine_config_defaults(&c);
    c.accel = ACCEL_BT;
    c.ram_bytes = RAM_BYTES;
    c.start_paused = true;
    c.serial[0] = "null";
    c.serial_count = 1;
    c.debugcon = "null";
    c.drive[0] = (struct drive_config){ .id = "disk", .index = 0, .open = { .filename = files[0], .format = "raw" } };
    c.drive[1] = (struct drive_config){ .id = "second", .index = 1, .open = { .filename = files[1], .snapshot = true } };
    c.drive[2] = (struct drive_config){ .id = "cd", .index = 2, .media = MEDIA_CDROM, .open = { .filename = files[2] } };
    c.drive_count = 3;
    m = machine_new(&c, &err);
    if (!m) {
        printf("fuzz-ports: %s\n", err.text);
        exit(1);
    }
    machines++;
    machine_lock();
    firmware_setup();
    clock_virtual_start();
    timer_arm_ns(timer, clock_host_ns());
    machine_unlock();
    machine_run(m);
    machine_lock();
    timer_disarm(timer);
    machine_unlock();
    machine_free(m);
}

int main(int argc, char **argv)
{
    uint64_t pokes = argc > 1 ? strtoull(argv[1], NULL, 0) : 1000000, seed = argc > 2 ? strtoull(argv[2], NULL, 0) : 0x0b5e55ed;
    char names[3][24], *files[3];

    for (unsigned i = 0; i < 3; i++) {
        int fd = mkstemp(files[i] = strcpy(names[i], "/tmp/ospite-fuzz-XXXXXX"));
        if (fd < 0 || ftruncate(fd, DISK_BYTES - i * 0x155400) < 0) {
            perror("fuzz-ports: a temporary file");
            return 1;
        }
        close(fd);
    }
    state = seed;
    pokes_left = pokes;
    timer = timer_new(TIMER_HOST, burst, NULL);
    while (pokes_left) run_one(files);
    for (unsigned i = 0; i < 3; i++) unlink(files[i]);
    printf("fuzz-ports: %llu pokes on %u machines, seed %#llx, sum of what was read %llx\n", (unsigned long long)pokes_done, machines,
           (unsigned long long)seed, (unsigned long long)changed);
    return pokes_done == pokes ? 0 : 1;
}
