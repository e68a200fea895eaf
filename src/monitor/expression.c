/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Arithmetic for addresses: recursive descent over 64-bit words, registers by name. */
#include <ctype.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "base/bits.h"
#include "monitor/monitor_private.h"
#include "monitor/peek.h"

enum { DEPTH = 64 };

struct parser {
    struct monitor *mon;
    const char *p;
    struct error *err;
    unsigned depth;
    bool failed;
};

void monitor_registers(struct monitor *mon, struct x86_state *s)
{
    bool ran = peek_begin(mon->m);

    machine_vcpu_get(mon->m, mon->vcpu, s);
    peek_end(mon->m, ran);
}

static const struct { const char *name; size_t offset; uint64_t mask; } registers[] = {
#define GPR(wide, narrow, n)                                                                                         \
    { wide, offsetof(struct x86_state, gpr[n]), ~0ull }, { narrow, offsetof(struct x86_state, gpr[n]), 0xffffffff }
    GPR("rax", "eax", REG_RAX), GPR("rbx", "ebx", REG_RBX), GPR("rcx", "ecx", REG_RCX), GPR("rdx", "edx", REG_RDX),
    GPR("rsi", "esi", REG_RSI), GPR("rdi", "edi", REG_RDI), GPR("rbp", "ebp", REG_RBP), GPR("rsp", "esp", REG_RSP),
    GPR("r8", "r8d", 8), GPR("r9", "r9d", 9), GPR("r10", "r10d", 10), GPR("r11", "r11d", 11), GPR("r12", "r12d", 12),
    GPR("r13", "r13d", 13), GPR("r14", "r14d", 14), GPR("r15", "r15d", 15),
    { "rip", offsetof(struct x86_state, rip), ~0ull }, { "eip", offsetof(struct x86_state, rip), 0xffffffff },
    { "rflags", offsetof(struct x86_state, rflags), ~0ull }, { "eflags", offsetof(struct x86_state, rflags), 0xffffffff },
    { "cr0", offsetof(struct x86_state, cr0), ~0ull }, { "cr2", offsetof(struct x86_state, cr2), ~0ull },
    { "cr3", offsetof(struct x86_state, cr3), ~0ull }, { "cr4", offsetof(struct x86_state, cr4), ~0ull },
    { "efer", offsetof(struct x86_state, efer), ~0ull },
#define SEG(name, n)                                                                                                 \
    { name, offsetof(struct x86_state, seg[n].selector), 0xffff }, { name ".base", offsetof(struct x86_state, seg[n].base), ~0ull }
    SEG("cs", SEG_CS), SEG("ds", SEG_DS), SEG("es", SEG_ES), SEG("ss", SEG_SS), SEG("fs", SEG_FS), SEG("gs", SEG_GS),
};

static uint64_t fail(struct parser *s, const char *why)
{
    if (!s->failed) error_set(s->err, "%s at '%.40s'", why, s->p);
    s->failed = true;
    return 0;
}

static void blanks(struct parser *s)
{
    s->p += strspn(s->p, " \t");
}

static uint64_t register_value(struct parser *s)
{
    size_t n = 0;

    s->p++;
    while (isalnum((unsigned char)s->p[n]) || s->p[n] == '.') n++;
    /* $pc: where the next instruction lies, as a linear address. */
    if (n == 2 && !strncasecmp(s->p, "pc", 2)) {
        struct x86_state state;

        monitor_registers(s->mon, &state);
        s->p += n;
        return x86_is_code64(&state) ? state.rip : (uint32_t)(state.seg[SEG_CS].base + state.rip);
    }
    for (unsigned i = 0; i < ARRAY_SIZE(registers); i++) {
        struct x86_state state;
        uint64_t v;

        if (strlen(registers[i].name) != n || strncasecmp(registers[i].name, s->p, n)) continue;
        monitor_registers(s->mon, &state);
        s->p += n;
        memcpy(&v, (char *)&state + registers[i].offset, registers[i].mask == 0xffff ? 2 : 8);
        return registers[i].mask == 0xffff ? (uint16_t)v : v & registers[i].mask;
    }
    return fail(s, "unknown register");
}

static uint64_t level(struct parser *s, unsigned n);

static uint64_t atom(struct parser *s)
{
    uint64_t v;
    char *end;

    blanks(s);
    if (s->failed || ++s->depth > DEPTH) return fail(s, "nested too deeply");
    switch (*s->p) {
    case '(':
        s->p++;
        v = level(s, 0);
        blanks(s);
        if (*s->p == ')') s->p++;
        else fail(s, "')' is missing");
        break;
    case '-': s->p++; v = -atom(s); break;
    case '+': s->p++; v = atom(s); break;
    case '~': s->p++; v = ~atom(s); break;
    case '$': v = register_value(s); break;
    default:
        if (!isdigit((unsigned char)*s->p)) return fail(s, *s->p ? "a number is wanted" : "the expression ends early");
        v = strtoull(s->p, &end, 0);
        s->p = end;
    }
    s->depth--;
    return v;
}

/* Operators by level, loosest first. */
static const char *const operators[][3] = {
    { "|" }, { "^" }, { "&" }, { "<<", ">>" }, { "+", "-" }, { "*", "/", "%" },
};

static uint64_t apply(struct parser *s, char op, uint64_t a, uint64_t b)
{
    switch (op) {
    case '|': return a | b;
    case '^': return a ^ b;
    case '&': return a & b;
    case '<': return b < 64 ? a << b : 0;
    case '>': return b < 64 ? a >> b : 0;
    case '+': return a + b;
    case '-': return a - b;
    case '*': return a * b;
    default:
        if (!b) return fail(s, "division by zero");
        return op == '/' ? a / b : a % b;
    }
}

static uint64_t level(struct parser *s, unsigned n)
{
    uint64_t v;

    if (n == ARRAY_SIZE(operators)) return atom(s);
    v = level(s, n + 1);
    for (;;) {
        const char *op = NULL;

        blanks(s);
        for (unsigned i = 0; i < 3 && operators[n][i]; i++)
            if (!strncmp(s->p, operators[n][i], strlen(operators[n][i]))) op = operators[n][i];
        if (!op || s->failed) return v;
        s->p += strlen(op);
        v = apply(s, *op, v, level(s, n + 1));
    }
}

int expression_value(struct monitor *mon, const char *text, const char **end, uint64_t *value, struct error *err)
{
    struct parser s = { .mon = mon, .p = text, .err = err };

    *value = level(&s, 0);
    blanks(&s);
    if (!s.failed && !end && *s.p) fail(&s, "what is this");
    if (end) *end = s.p;
    return s.failed ? -1 : 0;
}
