/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Commands about memory and ports: x, xp, print, memsave, pmemsave, i, o, gva2gpa. Dumps are laid out as qemu's, so that scripts
 * can read them; but d is signed in all sizes.
 */
#include <ctype.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/bits.h"
#include "monitor/memory_save.h"
#include "monitor/monitor_private.h"
#include "monitor/peek.h"
#include "x86/decode.h"

enum { DUMP_MOST = 4096 };

struct format {
    unsigned count, size;              /* size: 1, 2, 4, 8 */
    char letter;                       /* x d u o c i */
};

/* What the text leaves out is as the last time: *f. */
static int format_read(const char *text, struct format *f, struct error *err)
{
    static const char sizes[] = "bhwg";
    const char *where;

    f->count = 1;
    if (!text) return 0;
    if (isdigit((unsigned char)text[1])) f->count = MIN(strtoul(text + 1, NULL, 10), (unsigned long)DUMP_MOST);
    for (text++; isdigit((unsigned char)*text); text++) {}
    for (; *text; text++) {
        if ((where = strchr(sizes, *text))) f->size = 1u << (where - sizes);
        else if (strchr("xduoci", *text)) f->letter = *text;
        else return error_set(err, "'%c' is no format; known are x d u o c i and the sizes b h w g", *text);
    }
    return 0;
}

static int dump_format(struct monitor *mon, const char *text, struct format *f, struct error *err)
{
    *f = (struct format){ 1, mon->dump_size ? mon->dump_size : 4, mon->dump_letter ? mon->dump_letter : 'x' };
    if (format_read(text, f, err) < 0) return -1;
    mon->dump_size = (uint8_t)f->size;
    mon->dump_letter = f->letter;
    return 0;
}

/* "/FMT EXPR" or "EXPR" behind the command. */
static int dump_arguments(struct monitor *mon, const struct command_line *c, struct format *f, uint64_t *value,
                          struct error *err)
{
    bool has_format = c->argc > 1 && c->argv[1][0] == '/';
    unsigned at = has_format ? 2 : 1;

    if (dump_format(mon, has_format ? c->argv[1] : NULL, f, err) < 0) return -1;
    if (c->argc <= at) return error_set(err, "an address is missing");
    return expression_value(mon, c->rest[at], NULL, value, err);
}

static size_t memory_get(struct monitor *mon, bool physical, uint64_t address, void *data, size_t size)
{
    struct flat_range r;

    if (!physical) return machine_debug_read(mon->m, mon->vcpu, address, data, size);
    r = memory_map_find(machine_memory(mon->m), address);
    if (r.kind != RANGE_RAM && r.kind != RANGE_ROM) return 0;
    size = MIN(size, r.start + r.size - address);
    return memory_read(machine_memory(mon->m), address, data, size) ? size : 0;
}

static void character_print(struct monitor *mon, uint8_t c)
{
    switch (c) {
    case '\'': case '\\': monitor_print(mon, "'\\%c'", c); break;
    case '\n': monitor_print(mon, "'\\n'"); break;
    case '\r': monitor_print(mon, "'\\r'"); break;
    default: monitor_print(mon, c >= ' ' && c <= '~' ? "'%c'" : "'\\x%02x'", c);
    }
}

static void element_print(struct monitor *mon, const struct format *f, uint64_t v)
{
    int bits = 8 * (int)f->size, decimals = (10 * bits + 32) / 33;

    monitor_print(mon, " ");
    switch (f->letter) {
    case 'x': monitor_print(mon, "0x%0*llx", bits / 4, (unsigned long long)v); break;
    case 'd': monitor_print(mon, "%*lld", decimals, (long long)((int64_t)(v << (64 - bits)) >> (64 - bits))); break;
    case 'u': monitor_print(mon, "%*llu", decimals, (unsigned long long)v); break;
    case 'o': monitor_print(mon, "%#*llo", (bits + 2) / 3, (unsigned long long)v); break;
    case 'c': character_print(mon, (uint8_t)v); break;
    }
}

static void dump(struct monitor *mon, const struct format *asked, bool physical, uint64_t address)
{
    unsigned line_bytes = asked->size == 1 ? 8 : 16;
    struct format f = *asked;

    if (f.letter == 'c') {
        f.count *= f.size;
        f.size = 1;
    }
    for (unsigned i = 0; i < f.count; i++, address += f.size) {
        uint64_t v = 0;

        if (i % (line_bytes / f.size) == 0) monitor_print(mon, "%s%016llx:", i ? "\n" : "", (unsigned long long)address);
        if (memory_get(mon, physical, address, &v, f.size) < f.size) {
            monitor_print(mon, " Cannot access memory\n");
            return;
        }
        element_print(mon, &f, v);
    }
    monitor_print(mon, "\n");
}

static enum x86_code_mode code_mode(const struct x86_state *s)
{
    if (x86_is_code64(s)) return X86_CODE64;
    return s->seg[SEG_CS].attr & SEG_ATTR_DB ? X86_CODE32 : X86_CODE16;
}

static void disassemble(struct monitor *mon, const struct format *f, bool physical, uint64_t address)
{
    struct x86_state s;

    monitor_registers(mon, &s);
    for (unsigned i = 0; i < f->count; i++) {
        struct x86_insn insn;
        uint8_t bytes[15];
        char text[128] = "(bad)";
        size_t n = memory_get(mon, physical, address, bytes, sizeof(bytes));

        /* Up to the page's end and on behind it, where that is mapped. */
        if (n && n < sizeof(bytes)) n += memory_get(mon, physical, address + n, bytes + n, sizeof(bytes) - n);
        if (!n) {
            monitor_print(mon, "0x%08llx: Cannot access memory\n", (unsigned long long)address);
            return;
        }
        if (x86_decode(bytes, n, code_mode(&s), &insn) == X86_DECODE_OK) x86_format(&insn, address, text, sizeof(text));
        else insn.len = 1;
        monitor_print(mon, "0x%08llx:  ", (unsigned long long)address);
        for (unsigned b = 0; b < 11; b++) monitor_print(mon, b < insn.len ? "%02x " : "   ", bytes[b]);
        monitor_print(mon, "%s\n", text);
        address += insn.len;
    }
}

static int dump_command(struct monitor *mon, const struct command_line *c, bool physical, struct error *err)
{
    uint64_t address;
    struct format f;
    bool ran;

    if (dump_arguments(mon, c, &f, &address, err) < 0) return -1;
    ran = peek_begin(mon->m);
    if (f.letter == 'i') disassemble(mon, &f, physical, address);
    else dump(mon, &f, physical, address);
    peek_end(mon->m, ran);
    return 0;
}

static int cmd_x(struct monitor *mon, const struct command_line *c, struct error *err)
{
    return dump_command(mon, c, false, err);
}

static int cmd_xp(struct monitor *mon, const struct command_line *c, struct error *err)
{
    return dump_command(mon, c, true, err);
}

static int cmd_print(struct monitor *mon, const struct command_line *c, struct error *err)
{
    struct format f;
    uint64_t v;

    if (dump_arguments(mon, c, &f, &v, err) < 0) return -1;
    switch (f.letter) {
    case 'x': monitor_print(mon, "%#llx\n", (unsigned long long)v); break;
    case 'u': monitor_print(mon, "%llu\n", (unsigned long long)v); break;
    case 'o': monitor_print(mon, "%#llo\n", (unsigned long long)v); break;
    case 'c':
        character_print(mon, (uint8_t)v);
        monitor_print(mon, "\n");
        break;
    default: monitor_print(mon, "%lld\n", (long long)v);
    }
    return 0;
}

static int cmd_gva2gpa(struct monitor *mon, const struct command_line *c, struct error *err)
{
    uint64_t gva;
    gpa_t gpa;
    bool ran, ok;

    if (c->argc < 2) return error_set(err, "an address is missing");
    if (expression_value(mon, c->rest[1], NULL, &gva, err) < 0) return -1;
    ran = peek_begin(mon->m);
    ok = machine_translate(mon->m, mon->vcpu, gva, &gpa);
    peek_end(mon->m, ran);
    if (ok) monitor_print(mon, "gpa: %#llx\n", (unsigned long long)gpa);
    else monitor_print(mon, "Unmapped\n");
    return 0;
}

/* ADDRESS SIZE FILE, each address one word. */
static int save(struct monitor *mon, const struct command_line *c, int cpu, struct error *err)
{
    uint64_t address, size;

    if (c->argc != 4) return error_set(err, "ADDRESS SIZE FILE is wanted");
    if (expression_value(mon, c->argv[1], NULL, &address, err) < 0 || expression_value(mon, c->argv[2], NULL, &size, err) < 0) return -1;
    return memory_save(mon->m, cpu, address, size, c->argv[3], err);
}

/* The checksum of 'sum' (BSD), of physical memory, as in QEMU. What is not there counts nothing. */
static int cmd_sum(struct monitor *mon, const struct command_line *c, struct error *err)
{
    enum { BYTES_MOST = 256 << 20, PIECE = 4096 };
    uint64_t address, size;
    uint8_t data[PIECE];
    uint16_t sum = 0;
    bool ran;

    if (c->argc != 3) return error_set(err, "ADDRESS SIZE is wanted");
    if (expression_value(mon, c->argv[1], NULL, &address, err) < 0 || expression_value(mon, c->argv[2], NULL, &size, err) < 0) return -1;
    if (size > BYTES_MOST) return error_set(err, "at most %d MiB at a time", BYTES_MOST >> 20);
    ran = peek_begin(mon->m);
    for (uint64_t done = 0; done < size;) {
        size_t want = (size_t)MIN(size - done, (uint64_t)PIECE - (address + done) % PIECE), got = memory_get(mon, true, address + done, data, want);

        memset(data + got, 0, want - got);
        for (size_t i = 0; i < want; i++) sum = (uint16_t)((uint16_t)(sum >> 1 | sum << 15) + data[i]);
        done += want;
    }
    peek_end(mon->m, ran);
    monitor_print(mon, "%05u\n", sum);
    return 0;
}

static int cmd_memsave(struct monitor *mon, const struct command_line *c, struct error *err)
{
    return save(mon, c, (int)mon->vcpu, err);
}

static int cmd_pmemsave(struct monitor *mon, const struct command_line *c, struct error *err)
{
    return save(mon, c, -1, err);
}

/* "i /b PORT", "o /w PORT VALUE" */
static int port_arguments(struct monitor *mon, const struct command_line *c, unsigned values, struct format *f,
                          uint64_t *port, uint64_t *value, struct error *err)
{
    bool has_format = c->argc > 1 && c->argv[1][0] == '/';
    unsigned at = has_format ? 2 : 1;

    *f = (struct format){ 1, 1, 'x' };
    if (format_read(has_format ? c->argv[1] : NULL, f, err) < 0) return -1;
    if (f->size == 8) return error_set(err, "ports are at most 32 bits wide");
    if (c->argc != at + values) return error_set(err, values == 1 ? "PORT is wanted" : "PORT VALUE is wanted");
    if (expression_value(mon, c->argv[at], NULL, port, err) < 0) return -1;
    if (*port > 0xffff) return error_set(err, "there are ports up to 0xffff");
    return values == 1 ? 0 : expression_value(mon, c->argv[at + 1], NULL, value, err);
}

static int cmd_in(struct monitor *mon, const struct command_line *c, struct error *err)
{
    uint64_t port, v;
    struct format f;

    if (port_arguments(mon, c, 1, &f, &port, NULL, err) < 0) return -1;
    v = memory_io_read(machine_ports(mon->m), port, f.size);
    monitor_print(mon, "port%c[0x%04llx] = 0x%0*llx\n", " bw l"[f.size], (unsigned long long)port, 2 * (int)f.size,
                  (unsigned long long)v);
    return 0;
}

static int cmd_out(struct monitor *mon, const struct command_line *c, struct error *err)
{
    uint64_t port, v;
    struct format f;

    if (port_arguments(mon, c, 2, &f, &port, &v, err) < 0) return -1;
    memory_io_write(machine_ports(mon->m), port, v, f.size);
    return 0;
}

const struct command memory_commands[] = {
    { "x", "/FMT ADDRESS", "guest-virtual memory; FMT is a count, x d u o c i, and b h w g", cmd_x, NULL },
    { "xp", "/FMT ADDRESS", "guest-physical memory", cmd_xp, NULL },
    { "print", "/FMT EXPRESSION", "the value of an expression; $rip and so on are registers", cmd_print, "p" },
    { "gva2gpa", "ADDRESS", "where a virtual address lies", cmd_gva2gpa, NULL },
    { "sum", "ADDRESS SIZE", "a checksum of guest-physical memory", cmd_sum, NULL },
    { "memsave", "ADDRESS SIZE FILE", "save guest-virtual memory", cmd_memsave, NULL },
    { "pmemsave", "ADDRESS SIZE FILE", "save guest-physical memory", cmd_pmemsave, NULL },
    { "i", "/FMT PORT", "read a port", cmd_in, NULL },
    { "o", "/FMT PORT VALUE", "write a port", cmd_out, NULL },
    { NULL, NULL, NULL, NULL, NULL },
};
