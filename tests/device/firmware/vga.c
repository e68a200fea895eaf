/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The VGA against QEMU's, driven by its qtest protocol: the same random pokes at registers, planes and VBE
 * registers must read the same. Then the text screen in its geometries. Skipped, aloud, where
 * qemu-system-x86_64 is missing.
 */
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/bits.h"
#include "base/error.h"
#include "bus/pci.h"
#include "device/display/vga.h"
#include "memory/map.h"

enum { SEED = 20261123, ROUNDS = 150, POKES = 40 };

static unsigned checks, failures;

#define CHECK(condition, ...) \
    do { \
        checks++; \
        if (condition) break; \
        if (failures++ > 20) break; \
        printf("%s:%d: %s: ", __FILE__, __LINE__, #condition); \
        printf(__VA_ARGS__); \
        printf("\n"); \
    } while (0)

static struct memory_map *memory, *ports;
static struct device *vga;

/* ---- the PCI functions that the card calls when it is made: the bus is not what this test is about ---- */

int pci_device_init(struct pci_device *d, const struct pci_device_ops *ops, struct pci_bus *bus, int devfn,
                    uint16_t vendor, uint16_t device, uint32_t class_revision, struct error *err)
{
    d->device.ops = &ops->device;
    return 0;
}

void pci_bar_add_io(struct pci_device *d, unsigned bar, uint64_t size, uint8_t flags, const struct io_ops *ops,
                    void *opaque, const char *name)
{
    d->bar[bar].range = memory_map_add_io(memory, name, 0xfd000000, size, ops, opaque, 2);
}

void pci_bar_add_ram(struct pci_device *d, unsigned bar, uint64_t size, uint8_t flags, void *hva, const char *name)
{
    d->bar[bar].range = memory_map_add_ram(memory, name, 0xe0000000, size, hva, false, 2);
}

void pci_rom_add(struct pci_device *d, const void *rom, uint32_t size) { d->rom.size = size; }
void pci_device_remove(struct pci_device *d) {}

/* ---- QEMU at the other end of two pipes ---- */

static FILE *to_qemu, *from_qemu;
static pid_t qemu;

static bool qemu_start(void)
{
    int in[2], out[2];

    if (access("/usr/bin/qemu-system-x86_64", X_OK) || pipe(in) || pipe(out)) return false;
    qemu = fork();
    if (qemu == 0) {
        dup2(in[0], 0);
        dup2(out[1], 1);
        close(in[1]);
        close(out[0]);
        execl("/usr/bin/qemu-system-x86_64", "qemu", "-machine", "pc,accel=tcg", "-S", "-qtest", "stdio",
              "-vga", "std", "-display", "none", "-nodefaults", "-device", "VGA", "-qtest-log", "/dev/null",
              NULL);
        _exit(127);
    }
    close(in[0]);
    close(out[1]);
    to_qemu = fdopen(in[1], "w");
    from_qemu = fdopen(out[0], "r");
    return true;
}

static unsigned long long ask(const char *format, unsigned long long a, unsigned long long b)
{
    char line[128];

    fprintf(to_qemu, format, a, b);
    fflush(to_qemu);
    while (fgets(line, sizeof(line), from_qemu)) {
        if (!strncmp(line, "OK", 2)) return strtoull(line + 2, NULL, 0);
        if (!strncmp(line, "FAIL", 4) || !strncmp(line, "ERR", 3)) break;
    }
    printf("qtest: no answer to '%s': %s\n", format, line);
    exit(1);
}

static void out(uint16_t port, uint8_t value)
{
    memory_io_write(ports, port, value, 1);
    if (qemu) ask("outb 0x%llx 0x%llx\n", port, value);
}

static uint8_t in(uint16_t port)
{
    uint8_t ours = (uint8_t)memory_io_read(ports, port, 1), theirs = ours;

    if (qemu) theirs = (uint8_t)ask("inb 0x%llx\n", port, 0);
    CHECK(ours == theirs, "port %x: %02x, qemu has %02x", port, ours, theirs);
    return ours;
}

static void indexed(uint16_t port, uint8_t index, uint8_t value)
{
    out(port, index);
    out(port + 1, value);
}

static void poke(gpa_t at, uint8_t value)
{
    memory_io_write(memory, at, value, 1);
    if (qemu) ask("writeb 0x%llx 0x%llx\n", at, value);
}

static uint8_t peek(gpa_t at)
{
    uint8_t ours = (uint8_t)memory_io_read(memory, at, 1), theirs = ours;

    if (qemu) theirs = (uint8_t)ask("readb 0x%llx\n", at, 0);
    CHECK(ours == theirs, "%llx: %02x, qemu has %02x", (unsigned long long)at, ours, theirs);
    return ours;
}

static unsigned pick(unsigned below) { return (unsigned)(random() >> 4) % below; }

/* ---- registers ---- */

static void test_registers(void)
{
    static const struct { uint16_t port; uint8_t count; } file[] = { { 0x3c4, 5 }, { 0x3ce, 9 }, { 0x3d4, 0x19 } };

    out(0x3c2, 0x67);
    in(0x3cc);
    for (unsigned round = 0; round < 4; round++) {
        for (unsigned f = 0; f < ARRAY_SIZE(file); f++) {
            if (f == 2) indexed(0x3d4, 0x11, 0);
            for (unsigned i = 0; i < file[f].count; i++) {
                indexed(file[f].port, (uint8_t)i, (uint8_t)pick(256));
                out(file[f].port, (uint8_t)i);
                in(file[f].port);
                in(file[f].port + 1);
            }
        }
        out(0x3c8, 10);                                    /* QEMU keeps all 8 bits, a DAC 6 of them */
        for (unsigned i = 0; i < 12; i++) out(0x3c9, (uint8_t)pick(64));
        in(0x3c8);
        out(0x3c7, 9);
        for (unsigned i = 0; i < 15; i++) in(0x3c9);
        in(0x3c7);
        for (unsigned i = 0; i < 0x15; i++) {
            memory_io_read(ports, 0x3da, 1);               /* its value is the time */
            if (qemu) ask("inb 0x%llx\n", 0x3da, 0);
            out(0x3c0, (uint8_t)i);
            out(0x3c0, (uint8_t)pick(i == 0x10 ? 1 : 16));
            out(0x3c0, (uint8_t)i);
            in(0x3c1);
            out(0x3c0, 0);
        }
    }
    indexed(0x3d4, 0x11, 0x80);                            /* 0-7 are locked, but for bit 4 of 7 */
    indexed(0x3d4, 1, 0x12);
    in(0x3d5);
    indexed(0x3d4, 7, 0x12);
    in(0x3d5);
    out(0x3c2, 0x66);                                      /* monochrome: the CRTC moves */
    in(0x3d5);
    indexed(0x3b4, 0x0e, 0x77);
    in(0x3b5);
    out(0x3c2, 0x67);
}

/* ---- planes ---- */

static void planar_defaults(uint8_t misc)
{
    static const uint8_t gfx[9] = { 0, 0, 0, 0, 0, 0, 5, 0x0f, 0xff };

    indexed(0x3c4, 2, 0x0f);
    indexed(0x3c4, 4, 6);
    for (unsigned i = 0; i < 9; i++) indexed(0x3ce, (uint8_t)i, i == 6 ? misc : gfx[i]);
}

static void test_planes(void)
{
    for (unsigned round = 0; round < ROUNDS; round++) {
        static const uint8_t maps[4] = { 1, 5, 9, 0x0d };
        static const gpa_t base[4] = { 0xa0000, 0xa0000, 0xb0000, 0xb8000 };
        unsigned map = pick(4);

        planar_defaults(maps[map]);
        indexed(0x3c4, 2, (uint8_t)pick(16));
        for (unsigned i = 0; i < 9; i++)
            if (i != 6 && i != 5) indexed(0x3ce, (uint8_t)i, (uint8_t)pick(256));
        indexed(0x3ce, 5, (uint8_t)(pick(4) | pick(2) << 3));
        for (unsigned n = 0; n < POKES; n++) {
            gpa_t at = base[map] + pick(64);

            if (pick(2)) poke(at, (uint8_t)pick(256));
            else peek(at);
        }
        for (unsigned plane = 0; plane < 4; plane++) {     /* what all of it came to */
            planar_defaults(maps[map]);
            indexed(0x3ce, 4, (uint8_t)plane);
            for (unsigned n = 0; n < 8; n++) peek(base[map] + n * 8);
        }
    }
}

/* Odd/even and chain 4 as BIOS modes use them. */
static void test_chained(void)
{
    for (unsigned mode = 0; mode < 2; mode++) {
        gpa_t base = mode ? 0xa0000 : 0xb8000;

        planar_defaults(mode ? 5 : 0x0e);
        indexed(0x3c4, 2, mode ? 0x0f : 3);
        indexed(0x3c4, 4, mode ? 0x0e : 2);
        indexed(0x3ce, 5, mode ? 0x40 : 0x10);
        for (unsigned n = 0; n < 400; n++) poke(base + pick(0x8000), (uint8_t)pick(256));
        for (unsigned n = 0; n < 400; n++) {
            unsigned at = pick(0x8000);

            poke(base + at, (uint8_t)n);
            peek(base + at);
        }
        peek(0xa8000 + 0x8000 * !mode);
    }
}

/* ---- VBE ---- */

static void vbe_write(unsigned index, unsigned value)
{
    memory_io_write(ports, 0x1ce, index, 2);
    memory_io_write(ports, 0x1cf, value, 2);
    if (!qemu) return;
    ask("outw 0x%llx 0x%llx\n", 0x1ce, index);
    ask("outw 0x%llx 0x%llx\n", 0x1d0, value);
}

static unsigned vbe_read(unsigned index)
{
    unsigned ours, theirs;

    memory_io_write(ports, 0x1ce, index, 2);
    ours = theirs = (unsigned)memory_io_read(ports, 0x1d0, 2);
    if (qemu) {
        ask("outw 0x%llx 0x%llx\n", 0x1ce, index);
        theirs = (unsigned)ask("inw 0x%llx\n", 0x1d0, 0);
    }
    CHECK(ours == theirs, "VBE register %u: %x, qemu has %x", index, ours, theirs);
    return ours;
}

/* VGA registers that follow the mode, and what of a write to them is left. */
static void test_forced(void)
{
    static const struct { uint16_t port; uint8_t index; } reg[] = {
        { 0x3c4, 1 }, { 0x3c4, 2 }, { 0x3c4, 4 }, { 0x3ce, 5 }, { 0x3ce, 6 }, { 0x3d4, 1 }, { 0x3d4, 7 }, { 0x3d4, 9 },
        { 0x3d4, 0x12 }, { 0x3d4, 0x13 }, { 0x3d4, 0x17 }, { 0x3d4, 0x18 },
    };

    out(0x3c2, 0x67);
    indexed(0x3d4, 0x11, 0);
    for (unsigned round = 0; round < 2; round++)
        for (unsigned i = 0; i < ARRAY_SIZE(reg); i++) {
            if (round) indexed(reg[i].port, reg[i].index, (uint8_t)pick(256));
            else out(reg[i].port, reg[i].index);
            in((uint16_t)(reg[i].port + 1));
        }
}

static void test_vbe(void)
{
    static const uint16_t modes[][3] = {
        { 1024, 768, 32 }, { 800, 600, 16 }, { 640, 480, 8 }, { 1280, 1024, 24 }
    };

    CHECK(vbe_read(0) == 0xb0c5 && vbe_read(10) == 256, "id and memory");
    vbe_write(4, 2);
    for (unsigned i = 1; i <= 3; i++) vbe_read(i);
    vbe_write(4, 0);
    for (unsigned m = 0; m < ARRAY_SIZE(modes); m++) {
        for (unsigned i = 0; i < 3; i++) vbe_write(1 + i, modes[m][i]);
        vbe_write(4, 0x41);
        for (unsigned i = 0; i < 11; i++) vbe_read(i);
        test_forced();
        vbe_write(5, 3);
        for (unsigned n = 0; n < 20; n++) poke(0xa0000 + pick(0x10000), (uint8_t)pick(256));
        for (unsigned n = 0; n < 20; n++) peek(0xa0000 + pick(0x10000));
        vbe_write(8, 16);
        vbe_write(9, 32);
        vbe_read(8);
        vbe_read(9);
        vbe_write(5, 0);
        vbe_write(4, 0);
    }
    /* Hostile geometry: QEMU clamps other ways; ours must stay inside of the memory. */
    if (qemu) return;
    for (unsigned n = 0; n < 2000; n++) {
        vbe_write(pick(12), pick(65536));
        vbe_write(4, pick(256));
        poke(0xa0000 + pick(0x20000), 1);
        peek(0xa0000 + pick(0x20000));
        memory_io_read(memory, 0xfd000000 + pick(0x1000), 1u << pick(3));
        memory_io_write(memory, 0xfd000000 + pick(0x1000), (unsigned)random(), 1u << pick(3));
        CHECK(memory_io_read(ports, 0x1ce, 2) <= 0xffff, "alive");
    }
}

/* ---- text, ours alone ---- */

static void text_mode(unsigned columns, unsigned scan_lines, unsigned height)
{
    unsigned vde = scan_lines - 1;

    planar_defaults(0x0e);
    indexed(0x3c4, 2, 3);
    indexed(0x3c4, 4, 2);
    indexed(0x3ce, 5, 0x10);
    indexed(0x3d4, 0x11, 0);
    indexed(0x3d4, 0x01, (uint8_t)(columns - 1));
    indexed(0x3d4, 0x07, (uint8_t)(0x10 | (vde >> 8 & 1) << 1 | (vde >> 9 & 1) << 6));
    indexed(0x3d4, 0x09, (uint8_t)(0x40 | (height - 1)));
    indexed(0x3d4, 0x0c, 0);
    indexed(0x3d4, 0x0d, 0);
    indexed(0x3d4, 0x12, (uint8_t)vde);
    indexed(0x3d4, 0x13, (uint8_t)(columns / 2));
    indexed(0x3d4, 0x17, 0xa3);
    indexed(0x3d4, 0x18, 0xff);
}

/* ---- what is mapped as memory, without QEMU ---- */

static bool is_mapped(gpa_t at) { return memory_map_find(memory, at).kind == RANGE_RAM; }

static void chain4_set(bool on)
{
    planar_defaults(5);
    if (!on) return;
    indexed(0x3c4, 4, 0x0e);
    indexed(0x3ce, 5, 0x40);
}

/* Chain 4 reaches every fourth byte of the planes, mapped or not; the rest stays what it was through all changes. */
static void test_mapped_chain4(void)
{
    static uint8_t plane[4][0x10000];

    device_reset(vga);
    chain4_set(false);
    for (unsigned at = 0; at < 0x10000; at++) poke(0xa0000 + at, 0);
    for (unsigned round = 0; round < 6; round++) {
        chain4_set(false);
        for (unsigned p = 0; p < 4; p++) {
            indexed(0x3c4, 2, (uint8_t)(1u << p));
            for (unsigned n = 0; n < 2000; n++) {
                unsigned at = pick(0x10000);

                poke(0xa0000 + at, plane[p][at] = (uint8_t)pick(256));
            }
        }
        chain4_set(true);
        CHECK(!is_mapped(0xa0000), "not at once");
        for (unsigned n = 0; n < 3000; n++) {
            unsigned at = pick(0x10000);

            poke(0xa0000 + at, plane[at & 3][at & 0xfffc] = (uint8_t)pick(256));
            if (n == 1000) CHECK(is_mapped(0xa0000) && !is_mapped(0xb0000), "after some accesses");
        }
        for (unsigned at = 0; at < 0x10000; at++) CHECK(peek(0xa0000 + at) == plane[at & 3][at & 0xfffc], "chain 4, %x", at);
        if (round & 1) vga_text_mode_set(vga_of_device(vga));                 /* the other layout; it loads the font into plane 2 */
        if (round & 1) memset(plane, 0, sizeof(plane));
        chain4_set(false);
        CHECK(!is_mapped(0xa0000), "planes are not memory");
        for (unsigned p = 0; p < 4; p++) {
            indexed(0x3ce, 4, (uint8_t)p);
            for (unsigned at = 0; at < 0x10000; at++) {
                if (round & 1) plane[p][at] = peek(0xa0000 + at);
                else CHECK(peek(0xa0000 + at) == plane[p][at], "plane %u, %x", p, at);
            }
        }
    }
}

/* Each bank is a part of the frame buffer, whether it was mapped before, and whether it is looked at often or once. */
static void test_mapped_banks(void)
{
    device_reset(vga);
    vbe_write(1, 1024);
    vbe_write(2, 768);
    vbe_write(3, 8);
    vbe_write(4, 1);
    for (unsigned round = 0; round < 200; round++) {
        unsigned bank = pick(256), count = pick(3) ? 20 : 600;

        vbe_write(5, bank);
        for (unsigned n = 0; n < count; n++) {
            unsigned at = pick(0x10000), value = pick(256);

            if (n & 1) poke(0xe0000000 + (bank << 16) + at, (uint8_t)value);
            else poke(0xa0000 + at, (uint8_t)value);
            CHECK(peek(0xa0000 + at) == value && peek(0xe0000000 + (bank << 16) + at) == value, "bank %u, %x", bank, at);
        }
        CHECK(is_mapped(0xa0000) == (count == 600) || round == 0, "bank %u after %u accesses", bank, count);
    }
    vbe_write(4, 0);
    CHECK(!is_mapped(0xa0000), "no bank");
}

static void text_put(unsigned at, const char *text)
{
    for (; *text; text++, at++) {
        poke(0xb8000 + at * 2, (uint8_t)*text);
        poke(0xb8000 + at * 2 + 1, 7);
    }
}

static unsigned lines_of(const char *text)
{
    unsigned n = 0;

    while ((text = strchr(text, '\n'))) n++, text++;
    return n;
}

static uint8_t font[VGA_FONT_BYTES];

/* The font of kernels without firmware lies where the sequencer looks for font 0. */
static void test_font(void)
{
    planar_defaults(5);
    indexed(0x3ce, 4, 2);
    for (unsigned n = 0; n < VGA_FONT_BYTES; n++)
        CHECK(peek(0xa0000 + n / VGA_FONT_HEIGHT * 32 + n % VGA_FONT_HEIGHT) == font[n], "font byte %u", n);
}

static void test_text(void)
{
    static const struct { unsigned columns, scan_lines, height, rows; } modes[] = {
        { 80, 400, 16, 25 }, { 80, 400, 8, 50 }, { 40, 400, 16, 25 }, { 132, 400, 16, 25 }, { 80, 480, 16, 30 },
    };
    char text[32768];

    device_reset(vga);
    out(0x3c2, 0x67);
    out(0x3c6, 0x5a);
    CHECK(in(0x3c6) == 0x5a, "DAC mask");
    for (unsigned m = 0; m < ARRAY_SIZE(modes); m++) {
        text_mode(modes[m].columns, modes[m].scan_lines, modes[m].height);
        for (unsigned i = 0; i < 0x8000; i += 2) poke(0xb8000 + i, ' ');
        text_put(0, "first");
        text_put(modes[m].columns * (modes[m].rows - 1) + modes[m].columns - 4, "last");
        CHECK(vga_text_screen(vga_of_device(vga), text, sizeof(text)), "is text");
        CHECK(lines_of(text) == modes[m].rows && !strncmp(text, "first\n\n", 7), "%u lines", lines_of(text));
        CHECK(!strcmp(text + strlen(text) - 5, "last\n") &&
              strlen(text) == 5 + modes[m].rows - 1 + modes[m].columns + 1, "last line, %zu bytes", strlen(text));
    }
    device_reset(vga);
    vga_text_mode_set(vga_of_device(vga));
    CHECK(vga_text_screen(vga_of_device(vga), text, sizeof(text)) && lines_of(text) == 25 && strlen(text) == 25,
          "mode 3 is blank");
    test_font();
    vga_text_mode_set(vga_of_device(vga));
    text_put(0, "x");
    CHECK(vga_text_screen(vga_of_device(vga), text, sizeof(text)) && text[0] == 'x', "and written to");
    text_mode(80, 400, 16);
    CHECK(memory_map_find(memory, 0xb8000).kind == RANGE_RAM, "text is mapped as memory");
    text_put(80, "\xc9\xcd\x80");
    indexed(0x3d4, 0x0d, 80);
    vga_text_screen(vga_of_device(vga), text, sizeof(text));
    CHECK(!strncmp(text, "\xe2\x95\x94\xe2\x95\x90\xc3\x87\n", 9), "start address and code page 437");
    CHECK(vga_text_screen(vga_of_device(vga), text, 10) && strlen(text) < 10, "short buffer");
    indexed(0x3ce, 6, 5);
    CHECK(!vga_text_screen(vga_of_device(vga), text, sizeof(text)), "graphics");
    CHECK(memory_map_find(memory, 0xb8000).kind == RANGE_IO, "no longer mapped");
}

int main(void)
{
    struct vga_config c = { .devfn = 0x10, .legacy = true, .vram_bytes = 16 << 20, .font = font };
    struct error err;

    for (unsigned n = 0; n < VGA_FONT_BYTES; n++) font[n] = (uint8_t)(n * 37 + n / 256);

    memory = c.memory = memory_map_new("memory", 1ull << 52);
    ports = c.ports = memory_map_new("ports", 0x10000);
    vga = vga_new(&c, &err);
    signal(SIGPIPE, SIG_IGN);
    srandom(SEED);
    if (!qemu_start()) printf("vga: qemu-system-x86_64 is not there: comparison SKIPPED\n");
    test_registers();
    test_planes();
    test_chained();
    test_vbe();
    if (qemu) {
        kill(qemu, SIGKILL);
        waitpid(qemu, NULL, 0);
        qemu = 0;
        test_vbe();
    }
    test_mapped_chain4();
    test_mapped_banks();
    test_text();
    device_destroy(vga);
    memory_map_free(memory);
    memory_map_free(ports);
    printf("vga: seed %d, %u checks, %u failed\n", SEED, checks, failures);
    return failures != 0;
}
