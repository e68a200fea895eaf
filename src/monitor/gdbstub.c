/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * gdb's remote serial protocol. A connected gdb stops the machine; while it runs, only Ctrl-C is listened to.
 * Breakpoints and watchpoints are the engine's, so guest memory is not touched. Threads 1..N are the vCPUs.
 * Source: gdb manual, appendix E.
 *
 * Which registers gdb is told of is settled when it connects: x86-64, except that a CPU which runs a 32-bit system
 * with paging is shown as i386. 'monitor arch i386|x86-64|auto' overrules that for the next
 * connection (real mode is best seen as i386, with 'set architecture i8086' in gdb).
 */
#include "monitor/gdbstub.h"

#include <ctype.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/bits.h"
#include "base/error.h"
#include "base/log.h"
#include "base/loop.h"
#include "chardev/chardev.h"
#include "machine/machine.h"
#include "monitor/gdb_registers.h"
#include "monitor/peek.h"

enum { PACKET_BYTES = 4096, XML_BYTES = 16384, SIGNAL_INT = 2, SIGNAL_TRAP = 5 };
enum parse_state { WAIT_START, IN_DATA, IN_ESCAPE, IN_SUM1, IN_SUM2 };
enum arch_choice { ARCH_AUTO, ARCH_NARROW, ARCH_WIDE };

struct gdbstub {
    struct machine *m;
    struct chardev *chardev;
    struct engine_debug debug;
    bool connected, running, no_ack, wide;   /* running: gdb waits for a stop reply */
    bool ran;                                /* the machine did when gdb came */
    enum arch_choice arch;
    unsigned vcpu;                           /* H packet: whose registers */
    unsigned stop_signal, stop_vcpu;
    enum parse_state state;
    uint8_t sum, sum_sent;
    char in[PACKET_BYTES + 1];               /* kept NUL-terminated */
    size_t in_size;
    bool in_overflow;
    char out[XML_BYTES * 2];
    size_t out_size;
    char xml[XML_BYTES];
};

/* ---- replies ---- */

static const char hex_digits[] = "0123456789abcdef";

static void out_char(struct gdbstub *g, char c)
{
    if (g->out_size < sizeof(g->out)) g->out[g->out_size++] = c;
}

static void out_text(struct gdbstub *g, const char *s)
{
    while (*s) out_char(g, *s++);
}

static void out_hex(struct gdbstub *g, const uint8_t *data, size_t size)
{
    for (size_t i = 0; i < size; i++) {
        out_char(g, hex_digits[data[i] >> 4]);
        out_char(g, hex_digits[data[i] & 15]);
    }
}

static void reply_send(struct gdbstub *g)
{
    uint8_t sum = 0;
    char tail[4];

    for (size_t i = 0; i < g->out_size; i++) sum += (uint8_t)g->out[i];
    snprintf(tail, sizeof(tail), "#%02x", sum);
    chardev_write(g->chardev, "$", 1);
    chardev_write(g->chardev, g->out, g->out_size);
    chardev_write(g->chardev, tail, 3);
    g->out_size = 0;
}

static void reply(struct gdbstub *g, const char *text)
{
    g->out_size = 0;
    out_text(g, text);
    reply_send(g);
}

/* ---- reading packets' text ---- */

static int hex_value(char c)
{
    if (c >= '0' && c <= '9') return c - '0';
    c |= 32;
    return c >= 'a' && c <= 'f' ? c - 'a' + 10 : -1;
}

/* Decodes exactly size bytes; false if there are not as many digits. */
static bool hex_bytes(const char *text, uint8_t *data, size_t size)
{
    for (size_t i = 0; i < size; i++) {
        int high = hex_value(text[2 * i]), low = high < 0 ? -1 : hex_value(text[2 * i + 1]);

        if (low < 0) return false;
        data[i] = high << 4 | low;
    }
    return true;
}

static bool hex_number(const char **p, uint64_t *v)
{
    const char *start = *p;

    *v = 0;
    while (hex_value(**p) >= 0) *v = *v << 4 | (unsigned)hex_value(*(*p)++);
    return *p > start;
}

static bool hex_pair(const char *p, char between, uint64_t *a, uint64_t *b, const char **end)
{
    if (!hex_number(&p, a) || *p++ != between || !hex_number(&p, b)) return false;
    *end = p;
    return true;
}

/* ---- running and stopping ---- */

static void debug_apply(struct gdbstub *g)
{
    machine_debug_set(g->m, &g->debug);
}

static void go(struct gdbstub *g, bool step)
{
    g->debug.single_step = step;
    debug_apply(g);
    g->running = true;
    machine_start(g->m);
}

static void stop_report(struct gdbstub *g)
{
    static const char *const names[] = { NULL, "watch", "rwatch", "awatch" };
    struct engine_vcpu *v = machine_vcpu(g->m, g->stop_vcpu);
    struct engine_debug_info info = { .breakpoint = -1 };
    char text[96];

    if (g->stop_signal == SIGNAL_TRAP && v) info = v->engine->ops->vcpu_debug_info(v);
    g->out_size = 0;
    snprintf(text, sizeof(text), "T%02xthread:%02x;", g->stop_signal, g->stop_vcpu + 1);
    out_text(g, text);
    if (info.breakpoint >= 0 && (unsigned)info.breakpoint < g->debug.count) {
        const struct engine_breakpoint *b = &g->debug.breakpoint[info.breakpoint];

        if (b->type) {
            snprintf(text, sizeof(text), "%s:%llx;", names[b->type & 3], (unsigned long long)info.address);
            out_text(g, text);
        }
    }
    reply_send(g);
}

static void on_stop(void *opaque, enum run_state why, unsigned vcpu)
{
    struct gdbstub *g = opaque;

    if (!g->connected || !g->running || peek_is_on()) return;
    g->running = false;
    g->stop_vcpu = vcpu < machine_vcpu_count(g->m) ? vcpu : 0;
    g->vcpu = g->stop_vcpu;
    g->stop_signal = why == RUN_DEBUG ? SIGNAL_TRAP : SIGNAL_INT;
    if (g->debug.single_step) {
        g->debug.single_step = false;
        debug_apply(g);
    }
    stop_report(g);
}

static void let_go(struct gdbstub *g)
{
    memset(&g->debug, 0, sizeof(g->debug));
    debug_apply(g);
    g->running = false;
    if (machine_state(g->m) == RUN_PAUSED || machine_state(g->m) == RUN_DEBUG || machine_state(g->m) == RUN_PRELAUNCH ||
        machine_state(g->m) == RUN_IO_ERROR)
        machine_start(g->m);
}

static bool is_stopped(const struct gdbstub *g)
{
    return machine_state(g->m) != RUN_RUNNING;
}

/* gdb went without a word: its breakpoints go, and a machine that ran when it came runs again. */
static void break_off(struct gdbstub *g)
{
    if (g->ran) {
        let_go(g);
        return;
    }
    memset(&g->debug, 0, sizeof(g->debug));
    debug_apply(g);
    g->running = false;
}

/* ---- packets; args is the text behind the letter ---- */

static void packet_why(struct gdbstub *g, const char *args)
{
    stop_report(g);
}

static void packet_registers_get(struct gdbstub *g, const char *args)
{
    struct x86_state s;

    machine_vcpu_get(g->m, g->vcpu, &s);
    g->out_size = 0;
    for (unsigned n = 0; n < gdb_register_count(g->wide); n++) {
        uint8_t data[GDB_REGISTER_BYTES];

        out_hex(g, data, gdb_register_get(&s, g->wide, n, data));
    }
    reply_send(g);
}

/* Registers that cannot be set keep their value: gdb writes all of them back after a call. */
static void packet_registers_set(struct gdbstub *g, const char *args)
{
    struct x86_state s;
    size_t left = strlen(args);

    machine_vcpu_get(g->m, g->vcpu, &s);
    for (unsigned n = 0; n < gdb_register_count(g->wide); n++) {
        uint8_t data[GDB_REGISTER_BYTES];
        unsigned size = gdb_register_size(g->wide, n);

        if (left < 2 * size) break;
        if (!hex_bytes(args, data, size)) {
            reply(g, "E22");
            return;
        }
        gdb_register_set(&s, g->wide, n, data);
        args += 2 * size;
        left -= 2 * size;
    }
    machine_vcpu_set(g->m, g->vcpu, &s);
    reply(g, "OK");
}

static void packet_register_get(struct gdbstub *g, const char *args)
{
    uint8_t data[GDB_REGISTER_BYTES];
    struct x86_state s;
    unsigned size = 0;
    uint64_t n;

    machine_vcpu_get(g->m, g->vcpu, &s);
    if (hex_number(&args, &n) && n < 1000) size = gdb_register_get(&s, g->wide, n, data);
    if (!size) {
        reply(g, "E14");
        return;
    }
    g->out_size = 0;
    out_hex(g, data, size);
    reply_send(g);
}

static void packet_register_set(struct gdbstub *g, const char *args)
{
    uint8_t data[GDB_REGISTER_BYTES];
    struct x86_state s;
    unsigned size;
    uint64_t n;

    if (!hex_number(&args, &n) || *args++ != '=' || n >= 1000 || !(size = gdb_register_size(g->wide, n)) ||
        !hex_bytes(args, data, size)) {
        reply(g, "E22");
        return;
    }
    machine_vcpu_get(g->m, g->vcpu, &s);
    if (!gdb_register_set(&s, g->wide, n, data)) {
        reply(g, "E14");
        return;
    }
    machine_vcpu_set(g->m, g->vcpu, &s);
    reply(g, "OK");
}

static void packet_memory_get(struct gdbstub *g, const char *args)
{
    uint8_t data[PACKET_BYTES / 2];
    uint64_t address, size;
    const char *end;
    size_t done;

    if (!hex_pair(args, ',', &address, &size, &end)) {
        reply(g, "E22");
        return;
    }
    done = machine_debug_read(g->m, g->vcpu, address, data, MIN(size, (uint64_t)sizeof(data)));
    if (!done && size) {
        reply(g, "E14");
        return;
    }
    g->out_size = 0;
    out_hex(g, data, done);
    reply_send(g);
}

static void memory_set(struct gdbstub *g, uint64_t address, const uint8_t *data, size_t size)
{
    reply(g, machine_debug_write(g->m, g->vcpu, address, data, size) == size ? "OK" : "E14");
}

static void packet_memory_set(struct gdbstub *g, const char *args)
{
    uint8_t data[PACKET_BYTES / 2];
    uint64_t address, size;
    const char *end;

    if (!hex_pair(args, ',', &address, &size, &end) || *end++ != ':' || size > sizeof(data) || !hex_bytes(end, data, size))
        reply(g, "E22");
    else memory_set(g, address, data, size);
}

static void packet_memory_set_binary(struct gdbstub *g, const char *args)
{
    uint64_t address, size;
    const char *end;

    if (!hex_pair(args, ',', &address, &size, &end) || *end++ != ':' || size != (size_t)(g->in + g->in_size - end))
        reply(g, "E22");
    else memory_set(g, address, (const uint8_t *)end, size);
}

static void set_pc(struct gdbstub *g, const char *args)
{
    struct x86_state s;
    uint64_t pc;

    if (!hex_number(&args, &pc)) return;
    machine_vcpu_get(g->m, g->vcpu, &s);
    s.rip = pc;
    machine_vcpu_set(g->m, g->vcpu, &s);
}

static void packet_continue(struct gdbstub *g, const char *args)
{
    set_pc(g, args);
    go(g, false);
}

static void packet_step(struct gdbstub *g, const char *args)
{
    set_pc(g, args);
    go(g, true);
}

/* "Cont?" and "Cont;action[:thread];...": one step action makes all of it a step. */
static void packet_v(struct gdbstub *g, const char *args)
{
    bool step = false;

    if (!strcmp(args, "Cont?")) {
        reply(g, "vCont;c;C;s;S");
        return;
    }
    if (!strncmp(args, "Kill", 4)) {
        reply(g, "OK");
        machine_request_quit(g->m, 0, CAUSE_UI);
        return;
    }
    if (strncmp(args, "Cont;", 5)) {
        reply(g, "");
        return;
    }
    for (const char *a = args + 4; *a == ';'; a += strcspn(a, ";")) {
        a++;
        if (*a == 's' || *a == 'S') step = true;
        else if (*a != 'c' && *a != 'C') {
            reply(g, "E22");
            return;
        }
    }
    go(g, step);
}

static void packet_kill(struct gdbstub *g, const char *args)
{
    machine_request_quit(g->m, 0, CAUSE_UI);
}

static void packet_detach(struct gdbstub *g, const char *args)
{
    reply(g, "OK");
    let_go(g);
}

static bool thread_valid(struct gdbstub *g, const char *text, unsigned *vcpu)
{
    uint64_t id;

    if (!strcmp(text, "-1") || !strcmp(text, "0")) {
        *vcpu = g->vcpu;
        return true;
    }
    if (!hex_number(&text, &id) || !id || id > machine_vcpu_count(g->m)) return false;
    *vcpu = id - 1;
    return true;
}

static void packet_thread_set(struct gdbstub *g, const char *args)
{
    unsigned vcpu;

    if ((*args != 'g' && *args != 'c') || !thread_valid(g, args + 1, &vcpu)) {
        reply(g, "E22");
        return;
    }
    if (*args == 'g') g->vcpu = vcpu;
    reply(g, "OK");
}

static void packet_thread_alive(struct gdbstub *g, const char *args)
{
    unsigned vcpu;

    reply(g, thread_valid(g, args, &vcpu) ? "OK" : "E22");
}

/* gdb's type 0 and 1 are both execution breakpoints here; 2 write, 3 read, 4 access. */
static bool breakpoint_read(const char *args, struct engine_breakpoint *b)
{
    uint64_t address, size;
    const char *end;
    int type = *args - '0';

    if (type < 0 || type > 4 || args[1] != ',' || !hex_pair(args + 2, ',', &address, &size, &end)) return false;
    *b = (struct engine_breakpoint){ address, type < 2 ? 1 : MIN(size, (uint64_t)4096), type < 2 ? 0 : type - 1 };
    return b->size > 0;
}

static int breakpoint_index(struct gdbstub *g, const struct engine_breakpoint *b)
{
    for (unsigned i = 0; i < g->debug.count; i++) {
        const struct engine_breakpoint *have = &g->debug.breakpoint[i];

        if (have->address == b->address && have->size == b->size && have->type == b->type) return i;
    }
    return -1;
}

static void packet_break_insert(struct gdbstub *g, const char *args)
{
    struct engine_breakpoint b;

    if (!breakpoint_read(args, &b)) reply(g, "E22");
    else if (breakpoint_index(g, &b) >= 0) reply(g, "OK");
    else if (g->debug.count == ARRAY_SIZE(g->debug.breakpoint)) reply(g, "E28");
    else {
        g->debug.breakpoint[g->debug.count++] = b;
        debug_apply(g);
        reply(g, "OK");
    }
}

static void packet_break_remove(struct gdbstub *g, const char *args)
{
    struct engine_breakpoint b;
    int i;

    if (!breakpoint_read(args, &b)) {
        reply(g, "E22");
        return;
    }
    i = breakpoint_index(g, &b);
    if (i >= 0) {
        g->debug.breakpoint[i] = g->debug.breakpoint[--g->debug.count];
        debug_apply(g);
    }
    reply(g, "OK");
}

/* ---- queries ---- */

static void query_supported(struct gdbstub *g, const char *args)
{
    char text[120];

    snprintf(text, sizeof(text), "PacketSize=%x;qXfer:features:read+;QStartNoAckMode+;vContSupported+", PACKET_BYTES - 4);
    reply(g, text);
}

static void query_features(struct gdbstub *g, const char *args)
{
    uint64_t offset, length;
    const char *end;
    size_t size;

    if (strncmp(args, "target.xml:", 11) || !hex_pair(args + 11, ',', &offset, &length, &end)) {
        reply(g, "E00");
        return;
    }
    size = MIN(gdb_target_xml(g->wide, g->xml, sizeof(g->xml)), sizeof(g->xml) - 1);
    offset = MIN(offset, (uint64_t)size);
    length = MIN(length, (uint64_t)PACKET_BYTES - 8);
    g->out_size = 0;
    out_char(g, offset + length < size ? 'm' : 'l');
    for (size_t i = offset; i < size && i < offset + length; i++) out_char(g, g->xml[i]);
    reply_send(g);
}

static void query_threads(struct gdbstub *g, const char *args)
{
    char text[16];

    g->out_size = 0;
    out_char(g, 'm');
    for (unsigned i = 0; i < machine_vcpu_count(g->m); i++) {
        snprintf(text, sizeof(text), "%s%x", i ? "," : "", i + 1);
        out_text(g, text);
    }
    reply_send(g);
}

static void query_threads_end(struct gdbstub *g, const char *args) { reply(g, "l"); }
static void query_attached(struct gdbstub *g, const char *args) { reply(g, "1"); }

static void query_current(struct gdbstub *g, const char *args)
{
    char text[16];

    snprintf(text, sizeof(text), "QC%x", g->vcpu + 1);
    reply(g, text);
}

static void query_thread_info(struct gdbstub *g, const char *args)
{
    char text[40];
    unsigned vcpu;

    if (!thread_valid(g, args, &vcpu)) {
        reply(g, "E22");
        return;
    }
    snprintf(text, sizeof(text), "CPU#%u", vcpu);
    g->out_size = 0;
    out_hex(g, (const uint8_t *)text, strlen(text));
    reply_send(g);
}

/* gdb's "monitor TEXT". */
static void query_command(struct gdbstub *g, const char *args)
{
    static const struct { const char *text; enum arch_choice arch; } words[] = {
        { "arch auto", ARCH_AUTO }, { "arch i386", ARCH_NARROW }, { "arch x86-64", ARCH_WIDE },
    };
    const char *answer = "known: arch auto|i386|x86-64\n";
    char text[64] = "";

    if (strlen(args) / 2 < sizeof(text) && hex_bytes(args, (uint8_t *)text, strlen(args) / 2)) {
        for (unsigned i = 0; i < ARRAY_SIZE(words); i++) {
            if (strcmp(words[i].text, text)) continue;
            g->arch = words[i].arch;
            answer = "holds from the next connection on\n";
        }
    }
    g->out_size = 0;
    out_hex(g, (const uint8_t *)answer, strlen(answer));
    reply_send(g);
}

static void query_no_ack(struct gdbstub *g, const char *args)
{
    reply(g, "OK");
    g->no_ack = true;
}

typedef void packet_fn(struct gdbstub *g, const char *args);

static const struct { const char *name; packet_fn *fn; } queries[] = {
    { "qSupported", query_supported },
    { "qXfer:features:read:", query_features },
    { "qfThreadInfo", query_threads },
    { "qsThreadInfo", query_threads_end },
    { "qThreadExtraInfo,", query_thread_info },
    { "qAttached", query_attached },
    { "qRcmd,", query_command },
    { "qC", query_current },
    { "QStartNoAckMode", query_no_ack },
};

static void packet_query(struct gdbstub *g, const char *args)
{
    for (unsigned i = 0; i < ARRAY_SIZE(queries); i++) {
        size_t n = strlen(queries[i].name);

        if (strncmp(args - 1, queries[i].name, n)) continue;
        queries[i].fn(g, args - 1 + n);
        return;
    }
    reply(g, "");
}

static const struct { char letter; packet_fn *fn; } packets[] = {
    { '?', packet_why },           { 'g', packet_registers_get }, { 'G', packet_registers_set },
    { 'p', packet_register_get },  { 'P', packet_register_set },  { 'm', packet_memory_get },
    { 'M', packet_memory_set },    { 'X', packet_memory_set_binary }, { 'c', packet_continue },
    { 's', packet_step },          { 'v', packet_v },             { 'k', packet_kill },
    { 'D', packet_detach },        { 'H', packet_thread_set },    { 'T', packet_thread_alive },
    { 'Z', packet_break_insert },  { 'z', packet_break_remove },  { 'q', packet_query }, { 'Q', packet_query },
};

static void packet_handle(struct gdbstub *g)
{
    g->in[g->in_size] = 0;
    if (!is_stopped(g) && !strchr("qQkDHT", g->in[0])) {
        /* The monitor let it run behind gdb's back, or gdb does not keep to the protocol. */
        reply(g, "E01");
        return;
    }
    for (unsigned i = 0; i < ARRAY_SIZE(packets); i++) {
        if (packets[i].letter != g->in[0]) continue;
        packets[i].fn(g, g->in + 1);
        return;
    }
    reply(g, "");
}

/* ---- the line ---- */

static void packet_end(struct gdbstub *g, uint8_t byte)
{
    int digit = hex_value(byte);
    bool good = digit >= 0 && (g->sum_sent | digit) == g->sum && !g->in_overflow;

    g->state = WAIT_START;
    if (!g->no_ack) chardev_write(g->chardev, good ? "+" : "-", 1);
    if (good && g->in_size) packet_handle(g);
    else if (good) reply(g, "");
}

static void data_add(struct gdbstub *g, uint8_t byte)
{
    if (g->in_size < PACKET_BYTES) g->in[g->in_size++] = byte;
    else g->in_overflow = true;
}

static void byte_take(struct gdbstub *g, uint8_t byte)
{
    switch (g->state) {
    case WAIT_START:
        if (byte == '$') {
            g->state = IN_DATA;
            g->sum = g->in_size = 0;
            g->in_overflow = false;
        } else if (byte == 3 && !is_stopped(g)) machine_stop(g->m, RUN_PAUSED);
        break;
    case IN_DATA:
        if (byte == '#') {
            g->state = IN_SUM1;
            break;
        }
        g->sum += byte;
        if (byte == '}') g->state = IN_ESCAPE;
        else data_add(g, byte);
        break;
    case IN_ESCAPE:
        g->sum += byte;
        data_add(g, byte ^ 0x20);
        g->state = IN_DATA;
        break;
    case IN_SUM1:
        g->sum_sent = hex_value(byte) < 0 ? 0 : hex_value(byte) << 4;
        g->state = hex_value(byte) < 0 ? WAIT_START : IN_SUM2;
        break;
    case IN_SUM2:
        packet_end(g, byte);
        break;
    }
}

static size_t stub_can_receive(void *opaque)
{
    return PACKET_BYTES;
}

static void stub_receive(void *opaque, const uint8_t *data, size_t size)
{
    struct gdbstub *g = opaque;

    for (size_t i = 0; i < size; i++) byte_take(g, data[i]);
}

static bool arch_is_wide(struct gdbstub *g)
{
    struct x86_state s;

    if (g->arch != ARCH_AUTO) return g->arch == ARCH_WIDE;
    machine_vcpu_get(g->m, 0, &s);
    return x86_is_long(&s) || !(s.cr0 & CR0_PG);
}

static void stub_event(void *opaque, bool opened)
{
    struct gdbstub *g = opaque;

    if (opened) {
        g->running = false;
        g->connected = true;
        g->no_ack = false;
        g->state = WAIT_START;
        g->ran = !is_stopped(g);
        if (g->ran) machine_stop(g->m, RUN_PAUSED);
        g->stop_signal = SIGNAL_TRAP;
        g->stop_vcpu = g->vcpu = 0;
        g->wide = arch_is_wide(g);
    } else if (g->connected) {
        g->connected = false;
        break_off(g);
    }
}

static const char *server_spec(const char *spec, char *buf, size_t size)
{
    if (!strncmp(spec, "tcp:", 4)) {
        bool no_host = spec[4] == ':';

        snprintf(buf, size, "tcp:%s%s,server=on,wait=off", no_host ? "127.0.0.1" : "", spec + 4);
        return buf;
    }
    if (!strncmp(spec, "unix:", 5)) {
        snprintf(buf, size, "%s,server=on,wait=off", spec);
        return buf;
    }
    return spec;
}

struct gdbstub *gdbstub_new(struct machine *m, const char *spec, struct error *err)
{
    struct gdbstub *g = calloc(1, sizeof(*g));
    struct chardev_frontend f = { stub_can_receive, stub_receive, stub_event, g };
    char text[600];

    if (!g) {
        error_set(err, "out of memory");
        return NULL;
    }
    g->m = m;
    g->chardev = chardev_open(machine_chardevs(m), server_spec(spec, text, sizeof(text)), err);
    if (!g->chardev) {
        free(g);
        return NULL;
    }
    chardev_label_set(g->chardev, "gdb");
    g->stop_signal = SIGNAL_TRAP;
    g->wide = true;
    machine_on_stop(m, on_stop, g);
    chardev_attach(g->chardev, &f);
    return g;
}

void gdbstub_free(struct gdbstub *g)
{
    if (!g) return;
    if (g->connected) {
        g->connected = false;
        reply(g, "W00");
    }
    machine_on_stop(g->m, NULL, NULL);
    chardev_attach(g->chardev, NULL);
    chardev_close(g->chardev);
    free(g);
}
