/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Random programs. Each register has a part to play, so that programs end and do not run wild on the host: RBX, RSI, R8
 * and R10 point into the data and move by small amounts; R9, R12 and R14 count loops; RAX, RCX, RDX, R11, R13 and R15 hold
 * anything; RDI is a pointer into code for a moment; RBP a frame, if there is one. (R10, R11, R14 and R15 are those that
 * the engine keeps in memory.)
 *
 * A body is a list of statements, some of which have bodies. Conditional jumps lead forward to the border of a later
 * statement of the same body, so that the depth of the stack is known everywhere; the way back of a loop is bounded by
 * its counter; functions call only those behind them. Code is stored to where that leaves it code: into immediates, and
 * over whole slots of eight bytes which hold instructions of no effect on control.
 *
 * No instruction whose flags the manuals leave undefined is followed by one that sees them: a comparison comes between
 * (but AF, which logic operations and shifts leave as any processor leaves it).
 */
#include "generate.h"

#include <string.h>

#include "../oracle/values.h"
#include "base/bits.h"
#include "x86/state.h"

enum { FUNCTIONS_MAX = 4, TARGETS_MAX = 64, SLOT_BYTES = 8, LOCAL_BYTES = 64, DEPTH_MAX = 3 };

struct target { int label; uint8_t bytes; bool is_slot; };     /* what may be stored to: an immediate, or a slot */

struct gen {
    struct code *c;
    uint64_t seed;
    unsigned busy;                     /* registers that count */
    bool is_exact;                     /* the engine keeps all flags */
    unsigned fault_in;                 /* one statement in so many faults; 0: none */
    int frame, pushed;                 /* bytes of locals (0: none), what lies between RSP and them */
    bool has_rbp;
    int function[FUNCTIONS_MAX];
    unsigned functions, current;       /* current: those behind it may be called; 0: the main program */
    int local, table;                  /* labels of data beside the code */
    int table_entry[8];
    unsigned table_entries;
    struct target target[TARGETS_MAX];
    unsigned targets, statements;
    struct patch { unsigned fixup; uint8_t bytes; bool from_slot; } patch[TARGETS_MAX];
    unsigned patches;
};

static const uint8_t data_registers[] = { REG_RAX, REG_RCX, REG_RDX, REG_R11, REG_R13, REG_R15 };
static const uint8_t pointers[] = { REG_RBX, REG_RSI, REG_R8, REG_R10 };
static const uint8_t counters[] = { REG_R9, REG_R12, REG_R14, REG_RCX };

static void statement(struct gen *g, unsigned depth);

static unsigned below(struct gen *g, unsigned n) { return (unsigned)(bench_random(&g->seed) % n); }
static bool one_in(struct gen *g, unsigned n) { return below(g, n) == 0; }

static int data_register(struct gen *g)
{
    int r;

    do r = data_registers[below(g, ARRAY_SIZE(data_registers))];
    while (g->busy >> r & 1);
    return r;
}

static int pointer(struct gen *g) { return pointers[below(g, ARRAY_SIZE(pointers))]; }
static int any_register(struct gen *g) { return one_in(g, 3) ? (int)below(g, 16) : data_register(g); }
static unsigned size_of(struct gen *g) { return 1u << (one_in(g, 3) ? below(g, 4) : 2 + below(g, 2)); }

/* A place of up to 16 bytes that may be read and written. */
static struct operand place(struct gen *g)
{
    unsigned kind = below(g, 16);

    if (kind < 4 && g->frame) {
        int at = (int)below(g, (unsigned)g->frame - 15);
        return g->has_rbp && one_in(g, 2) ? at_base(REG_RBP, at - g->frame) : at_base(REG_RSP, g->pushed + at);
    }
    if (kind == 4) return at_label(g->local, (int)below(g, LOCAL_BYTES - 15));
    if (kind == 5) return (struct operand){ true, -1, -1, DATA + 0x1000 - 40 + (int)below(g, 64), NO_LABEL };
    return at_base(pointer(g), one_in(g, 8) ? (int)below(g, 400) - 200 : (int)below(g, 48) - 16);
}

static struct operand register_or_place(struct gen *g)
{
    return one_in(g, 2) ? place(g) : in_register(data_register(g));
}

static unsigned imm_size(unsigned size) { return size < 4 ? size : 4; }
static int64_t imm_of(struct gen *g) { return one_in(g, 2) ? (int)below(g, 256) - 128 : (int64_t)bench_random(&g->seed); }

/* Gives all flags values that the manual defines. */
static void wash(struct gen *g) { code_op(g->c, 0x39, 8, any_register(g), in_register(data_register(g)), 0, 0); }

/* ---- what may be stored to ---- */

/* The last bytes that were emitted are an immediate that may be changed. */
static void is_target(struct gen *g, unsigned bytes, bool is_slot)
{
    if (g->targets == TARGETS_MAX) return;
    int label = code_label(g->c);
    g->c->label_at[label] = (uint16_t)(g->c->bytes - bytes);
    g->target[g->targets++] = (struct target){ label, (uint8_t)bytes, is_slot };
}

static uint64_t slot_content(struct gen *g)
{
    static const uint8_t slots[][SLOT_BYTES] = {
        { 0x48, 0x01, 0xc8, 0x0f, 0x1f, 0x44, 0x00, 0x00 },    /* add rax, rcx; nop */
        { 0xb8, 0x11, 0x22, 0x33, 0x44, 0x0f, 0x1f, 0x00 },    /* mov eax, imm; nop */
        { 0xeb, 0x06, 0x0f, 0x0b, 0x0f, 0x0b, 0x0f, 0x0b },    /* jmp behind it */
        { 0x31, 0xc0, 0x83, 0xc2, 0x55, 0x0f, 0x1f, 0x00 },    /* xor eax, eax; add edx, imm; nop */
        { 0x48, 0x83, 0x03, 0x07, 0x0f, 0x1f, 0x40, 0x00 },    /* add qword [rbx], 7; nop */
        { 0x90, 0x90, 0x90, 0x90, 0x90, 0x90, 0x90, 0x90 },
        { 0x50, 0x41, 0x5b, 0xff, 0xc2, 0x90, 0x66, 0x90 },    /* push rax; pop r11; inc edx; nops */
        /* Those that see flags. */
        { 0x74, 0x02, 0xff, 0xc0, 0x0f, 0x1f, 0x40, 0x00 },    /* je; inc eax; nop */
        { 0x11, 0xd2, 0x4d, 0x8d, 0x5b, 0x05, 0x66, 0x90 },    /* adc edx, edx; lea r11, [r11 + 5]; nop */
        { 0x50, 0x41, 0x5b, 0x0f, 0x92, 0xc2, 0x66, 0x90 },    /* push rax; pop r11; setc dl; nop */
    };
    enum { BLIND = 7 };
    uint64_t value;

    memcpy(&value, slots[below(g, g->is_exact ? ARRAY_SIZE(slots) : BLIND)], 8);
    if (one_in(g, 40)) value = 0x9090909090900b0f;      /* ud2 */
    return value;
}

/* Unless the engine keeps flags exactly, those before a slot must not be seen behind it: what stood there may have set
 * them, so that they were lost before it was replaced. */
static void slot(struct gen *g)
{
    uint64_t value = slot_content(g);

    code_bytes(g->c, &value, 8);
    is_target(g, SLOT_BYTES, true);
    if (!g->is_exact) wash(g);
}

/* An instruction with an immediate that may be changed. */
static void patchable(struct gen *g)
{
    unsigned size = 4u << below(g, 2);

    switch (below(g, 6)) {
    case 0: case 1: code_op_reg(g->c, 0xb8, 4, data_register(g), 4, imm_of(g)); is_target(g, 4, false); break;
    case 2: code_op_reg(g->c, 0xb8, 8, data_register(g), 8, imm_of(g)); is_target(g, 8, false); break;
    case 3: code_op(g->c, 0x81, size, (int)below(g, 8), in_register(data_register(g)), 4, imm_of(g)); is_target(g, 4, false); break;
    case 4: code_op(g->c, 0xc7, size, 0, register_or_place(g), 4, imm_of(g)); is_target(g, 4, false); break;
    default: slot(g); break;
    }
}

/* Where a store into code of so many bytes goes is chosen when all of it is known; until then: the data beside it. */
static struct operand somewhere_in_code(struct gen *g) { return at_label(g->local, 0); }

static void is_patch(struct gen *g, unsigned bytes, bool from_slot)
{
    if (g->patches < TARGETS_MAX) g->patch[g->patches++] = (struct patch){ g->c->fixups - 1, (uint8_t)bytes, from_slot };
}

/* A slot is always stored to as a whole. */
static bool is_fit(const struct target *t, const struct patch *p)
{
    return p->from_slot || t->is_slot ? t->is_slot && p->bytes == SLOT_BYTES : t->bytes >= p->bytes;
}

static void patches_finish(struct gen *g)
{
    for (unsigned n = 0; n < g->patches; n++) {
        struct target fit[TARGETS_MAX];
        unsigned fits = 0, bytes = g->patch[n].bytes;
        for (unsigned k = 0; k < g->targets; k++)
            if (is_fit(&g->target[k], &g->patch[n])) fit[fits++] = g->target[k];
        if (!fits) continue;
        const struct target *to = &fit[below(g, fits)];
        struct fixup *f = &g->c->fixup[g->patch[n].fixup];
        f->label = (int16_t)to->label;
        f->add = (int16_t)below(g, to->bytes - bytes + 1);
    }
}

/* Eight bytes for a slot or an immediate of eight, in a register. */
static int slot_in_register(struct gen *g)
{
    int r = data_register(g);

    code_op_reg(g->c, 0xb8, 8, r, 8, (int64_t)slot_content(g));
    return r;
}

static void store_into_code(struct gen *g)
{
    struct code *c = g->c;
    unsigned size = 1u << below(g, 3);
    int r;

    switch (below(g, 9)) {
    case 0: case 1: code_op(c, size == 1 ? 0x88 : 0x89, size, any_register(g), somewhere_in_code(g), 0, 0); is_patch(g, size, false); break;
    case 2: code_op(c, 0x83, 4, (int)below(g, 7), somewhere_in_code(g), 1, imm_of(g)); is_patch(g, 4, false); break;
    case 3: code_op(c, 0x87, 4, data_register(g), somewhere_in_code(g), 0, 0); is_patch(g, 4, false); break;
    case 4:
        r = slot_in_register(g);
        code_op(c, one_in(g, 3) ? 0x87 : 0x89, 8, r, somewhere_in_code(g), 0, 0);
        is_patch(g, 8, false);
        break;
    case 5:                                            /* through a register, twice: a group */
        code_op(c, 0x8d, 8, REG_RDI, somewhere_in_code(g), 0, 0);
        is_patch(g, 4, false);
        code_op(c, 0x89, 2, any_register(g), at_base(REG_RDI, 0), 0, 0);
        code_op(c, 0x89, 2, any_register(g), at_base(REG_RDI, 2), 0, 0);
        break;
    case 6:                                            /* a string store */
        code_op(c, 0x8d, 8, REG_RDI, somewhere_in_code(g), 0, 0);
        is_patch(g, 4, false);
        code_bytes(c, "\xab", 1);
        break;
    case 7:                                            /* a push */
        if (g->busy >> REG_R15 & 1) break;
        code_op_reg(c, 0xb8, 8, REG_RAX, 8, (int64_t)slot_content(g));
        code_op(c, 0x89, 8, REG_RSP, in_register(REG_R15), 0, 0);
        code_op(c, 0x8d, 8, REG_RSP, somewhere_in_code(g), 0, 0);
        is_patch(g, 8, false);
        code_op(c, 0x8d, 8, REG_RSP, at_base(REG_RSP, 8), 0, 0);
        code_op_reg(c, 0x50, 4, REG_RAX, 0, 0);
        code_op(c, 0x89, 8, REG_R15, in_register(REG_RSP), 0, 0);
        break;
    default:                                           /* a slot to another one */
        r = data_register(g);
        code_op(c, 0x8b, 8, r, somewhere_in_code(g), 0, 0);
        is_patch(g, 8, true);
        code_op(c, 0x89, 8, r, somewhere_in_code(g), 0, 0);
        is_patch(g, 8, false);
        break;
    }
    if (one_in(g, 2)) patchable(g);                    /* just ahead */
}

/* ---- simple statements ---- */

static void alu(struct gen *g)
{
    unsigned size = size_of(g), wide = size > 1, digit = below(g, 8);

    switch (below(g, 5)) {
    case 0: code_op(g->c, digit << 3 | wide, size, any_register(g), register_or_place(g), 0, 0); break;
    case 1: code_op(g->c, digit << 3 | 2 | wide, size, data_register(g), register_or_place(g), 0, 0); break;
    case 2: code_op(g->c, 0x80 | wide, size, (int)digit, register_or_place(g), imm_size(size), imm_of(g)); break;
    case 3: code_op(g->c, 0x83, wide ? size : 4, (int)digit, register_or_place(g), 1, imm_of(g)); break;
    default: code_op(g->c, 0x84 | wide, size, any_register(g), register_or_place(g), 0, 0); break;
    }
}

static void unary(struct gen *g)
{
    unsigned size = size_of(g), wide = size > 1;
    static const uint8_t shifts[] = { 0, 1, 2, 3, 4, 5, 7 };

    switch (below(g, 4)) {
    case 0: code_op(g->c, 0xfe | wide, size, (int)below(g, 2), register_or_place(g), 0, 0); break;
    case 1: code_op(g->c, 0xf6 | wide, size, 2 + (int)below(g, 2), register_or_place(g), 0, 0); break;
    case 2: code_op(g->c, 0xd0 | wide, size, shifts[below(g, 7)], register_or_place(g), 0, 0); break;
    default:
        if (one_in(g, 2)) code_op(g->c, 0xc0 | wide, size, shifts[below(g, 7)], register_or_place(g), 1, (int)below(g, 32));
        else code_op(g->c, 0xd2 | wide, size, shifts[below(g, 7)], register_or_place(g), 0, 0);
        wash(g);
        break;
    }
}

static void move(struct gen *g)
{
    static const uint16_t extends[] = { 0x0fb6, 0x0fb7, 0x0fbe, 0x0fbf };
    unsigned size = size_of(g), wide = size > 1;

    switch (below(g, 8)) {
    case 0: case 1: code_op(g->c, 0x88 | wide, size, any_register(g), register_or_place(g), 0, 0); break;
    case 2: case 3: code_op(g->c, 0x8a | wide, size, data_register(g), place(g), 0, 0); break;
    case 4: code_op(g->c, extends[below(g, 4)], 4u << below(g, 2), data_register(g), register_or_place(g), 0, 0); break;
    case 5: code_op(g->c, 0x8d, 4u << below(g, 2), data_register(g), place(g), 0, 0); break;
    case 6: code_op(g->c, 0x0f10 | below(g, 2), 4, (int)below(g, 4), place(g), 0, 0); break;
    default: code_op(g->c, 0xc6 | wide, size, 0, place(g), imm_size(size), imm_of(g)); break;
    }
}

static void arithmetic(struct gen *g)
{
    unsigned size = 4u << below(g, 2);
    int r = data_register(g);

    switch (below(g, 8)) {
    case 0: code_op(g->c, 0x0faf, size, r, register_or_place(g), 0, 0); wash(g); break;
    case 1: code_op(g->c, 0x0fba, size, 4 + (int)below(g, 4), register_or_place(g), 1, (int)below(g, 64)); wash(g); break;
    case 2: code_op(g->c, 0xf30fb8, size, r, register_or_place(g), 0, 0); break;
    case 3: code_op(g->c, 0x0fc1, size, r, register_or_place(g), 0, 0); break;
    case 4: code_op(g->c, 0x0fb1, size, r, register_or_place(g), 0, 0); break;
    case 5: code_op(g->c, 0x87, size, r, register_or_place(g), 0, 0); break;
    case 6: code_op_reg(g->c, 0x0fc8, size, r, 0, 0); break;
    default: code_op(g->c, 0xf7, size, 4 + (int)below(g, 2), in_register(r), 0, 0); wash(g); break;
    }
}

static void flags_used(struct gen *g)
{
    static const char single[] = { '\xf5', '\xf8', '\xf9', '\x9f', '\x9e', '\x98', '\x99' };   /* cmc clc stc lahf sahf cwde cdq */
    unsigned size = 4u << below(g, 2);

    switch (below(g, 6)) {
    case 0: code_op(g->c, 0x0f90 | below(g, 16), 1, 0, register_or_place(g), 0, 0); break;
    case 1: code_op(g->c, 0x0f40 | below(g, 16), size, data_register(g), register_or_place(g), 0, 0); break;
    case 2: code_op(g->c, 0x11 | (below(g, 2) << 3), size, any_register(g), register_or_place(g), 0, 0); break;
    case 3: code_bytes(g->c, &single[below(g, sizeof single)], 1); break;
    case 4:
        code_bytes(g->c, "\x9c", 1);
        code_op_reg(g->c, 0x58, 4, data_register(g), 0, 0);
        break;
    default: code_op(g->c, 0xd1, size, 2 + (int)below(g, 2), register_or_place(g), 0, 0); break;
    }
}

/* Accesses off one register, and it moves. */
static void group(struct gen *g)
{
    int base = pointer(g);

    for (unsigned n = 2 + below(g, 5); n; n--) {
        struct operand at = at_base(base, (int)below(g, one_in(g, 8) ? 160 : 64) - 24);
        unsigned size = size_of(g), wide = size > 1;
        switch (below(g, 8)) {
        case 0: code_op(g->c, 0x01, 8, any_register(g), at, 0, 0); break;
        case 1: code_op(g->c, 0x03, 4, data_register(g), at, 0, 0); break;
        case 2: code_op(g->c, 0x0f10 | below(g, 2), 4, (int)below(g, 4), at, 0, 0); break;
        case 3: case 4: code_op(g->c, 0x88 | wide, size, any_register(g), at, 0, 0); break;
        case 5: code_op(g->c, 0x0fb6, 4, data_register(g), at, 0, 0); break;
        default: code_op(g->c, 0x8a | wide, size, data_register(g), at, 0, 0); break;
        }
        if (one_in(g, 8)) code_op(g->c, 0x83, 8, below(g, 2) ? 0 : 5, in_register(base), 1, (int)below(g, 24));
    }
}

static void pointer_moves(struct gen *g)
{
    int r = pointer(g);

    switch (below(g, 4)) {
    case 0: code_op(g->c, 0x83, 8, 0, in_register(r), 1, (int)below(g, 48) - 24); break;
    case 1: code_op(g->c, 0x8d, 8, r, at_base(pointer(g), (int)below(g, 32) - 16), 0, 0); break;
    case 2: code_op(g->c, 0x87, 8, r, in_register(pointer(g)), 0, 0); break;
    default: code_op_reg(g->c, 0xb8, 4, r, 4, DATA + 0x1000 - 64 + (int)below(g, 128)); break;
    }
}

static void simple(struct gen *g)
{
    static void (*const kinds[])(struct gen *) = { alu, alu, alu, unary, move, move, arithmetic, flags_used, flags_used, pointer_moves };

    kinds[below(g, ARRAY_SIZE(kinds))](g);
}

/* ---- faults ---- */

static void fault(struct gen *g)
{
    static const char *const bad[] = { "\x0f\x0b", "\xf4", "\xfa", "\x06", "\xf0\x01\xc0" };   /* ud2, hlt, cli, push es, lock */
    struct code *c = g->c;
    int r = data_register(g);
    unsigned kind = below(g, 8), which = below(g, ARRAY_SIZE(bad)), size = size_of(g);
    uint8_t bytes[5];
    struct operand hole = { true, -1, -1, HOLE + (int)below(g, 0x1000), NO_LABEL };
    struct operand constant = { true, -1, -1, READ_ONLY + (int)below(g, 0x1000), NO_LABEL };

    switch (kind) {
    case 0: code_op(c, 0x88 | (size > 1), size, any_register(g), hole, 0, 0); break;
    case 1: code_op(c, 0x03, 8, r, hole, 0, 0); break;
    case 2: code_op(c, one_in(g, 2) ? 0x01 : 0x11, 4, any_register(g), constant, 0, 0); break;
    case 3:                                            /* division by zero, or of too much */
        if (one_in(g, 2)) code_op(c, 0x31, 4, r, in_register(r), 0, 0);
        code_op(c, 0xf7, 4u << below(g, 2), 6 + (int)below(g, 2), in_register(r), 0, 0);
        wash(g);
        break;
    case 4: code_bytes(c, bad[which], (unsigned)strlen(bad[which])); break;
    case 5:                                            /* not canonical */
        code_op_reg(c, 0xb8, 8, r, 8, (int64_t)(0x0000800000000000 | bench_random(&g->seed) >> 17));
        code_op(c, one_in(g, 2) ? 0x03 : 0x29, 8, data_register(g), at_base(r, (int)below(g, 64)), 0, 0);
        break;
    case 6:                                            /* a jump or call to where no code is */
        code_op_reg(c, 0xb8, 4, r, 4, one_in(g, 2) ? HOLE + (int)below(g, 0x1000) : DATA + (int)below(g, 0x2000));
        code_op(c, 0xff, 4, one_in(g, 2) ? 2 : 4, in_register(r), 0, 0);
        break;
    default:                                           /* the same by a return */
        bytes[0] = 0x68;                               /* push */
        memcpy(bytes + 1, &hole.disp, 4);
        code_bytes(c, bytes, 5);
        code_bytes(c, "\xc3", 1);
        break;
    }
}

/* ---- statements with bodies ---- */

struct pending { int label; unsigned left; };

/* A conditional jump to the end of a statement to come. */
static void jump_ahead(struct gen *g, struct pending *p, unsigned left)
{
    p->label = code_label(g->c);
    p->left = 1 + below(g, left);
    code_branch(g->c, 0x0f80 | below(g, 16), 4, p->label);
}

static void body(struct gen *g, unsigned count, unsigned depth)
{
    struct pending pending[4];
    unsigned waiting = 0;

    for (unsigned left = count; left; left--) {
        if (waiting < ARRAY_SIZE(pending) && one_in(g, 4)) jump_ahead(g, &pending[waiting++], left);
        statement(g, depth);
        for (unsigned n = 0; n < waiting;) {
            if (--pending[n].left) n++;
            else code_bind(g->c, pending[n].label), pending[n] = pending[--waiting];
        }
    }
}

/* A short jump over simple statements, perhaps with another way. */
static void either(struct gen *g)
{
    struct code *c = g->c;
    int over = code_label(c), end = code_label(c);
    bool has_else = one_in(g, 2);

    code_branch(c, one_in(g, 10) && !(g->busy >> REG_RCX & 1) ? 0xe3 : 0x70 | below(g, 16), 1, over);
    for (unsigned n = 1 + below(g, 2); n; n--) alu(g);
    if (has_else) code_branch(c, 0xeb, 1, end);
    code_bind(c, over);
    if (has_else) move(g);
    code_bind(c, end);
}

static void pushes(struct gen *g, unsigned depth)
{
    struct code *c = g->c;
    unsigned count = 1 + below(g, 3), n;

    for (n = 0; n < count; n++) {
        switch (below(g, 6)) {
        case 0: code_bytes(c, "\x9c", 1); break;
        case 1: code_bytes(c, (uint8_t[]){ 0x6a, (uint8_t)below(g, 256) }, 2); break;
        case 2: code_op(c, 0xff, 4, 6, place(g), 0, 0); break;
        default: code_op_reg(c, 0x50, 4, any_register(g), 0, 0); break;
        }
        g->pushed += 8;
    }
    body(g, 1 + below(g, 2), depth + 1);
    for (n = 0; n < count; n++) {
        g->pushed -= 8;
        if (one_in(g, 8)) {                            /* the operand's address is that after the pop */
            code_op(c, 0x8f, 4, 0, place(g), 0, 0);
        } else if (one_in(g, 8)) {
            code_op(c, 0x83, 8, 0, in_register(REG_RSP), 1, 8);
        } else {
            code_op_reg(c, 0x58, 4, data_register(g), 0, 0);
        }
    }
}

/* Locals, off RSP or RBP. */
static void frame(struct gen *g, unsigned depth)
{
    struct code *c = g->c;
    struct gen outer = *g;
    bool has_rbp = one_in(g, 2);
    int bytes = 16 + 8 * (int)below(g, 14);

    if (has_rbp && one_in(g, 4)) {
        code_bytes(c, (uint8_t[]){ 0xc8, (uint8_t)bytes, 0, 0 }, 4);       /* enter */
    } else {
        if (has_rbp) code_op_reg(c, 0x50, 4, REG_RBP, 0, 0);
        if (has_rbp) code_op(c, 0x89, 8, REG_RSP, in_register(REG_RBP), 0, 0);
        if (one_in(g, 4)) code_op(c, 0x8d, 8, REG_RSP, at_base(REG_RSP, -bytes), 0, 0);
        else code_op(c, 0x81, 8, 5, in_register(REG_RSP), 4, bytes);
    }
    g->frame = bytes;
    g->pushed = 0;
    g->has_rbp = has_rbp;
    body(g, 2 + below(g, 3), depth + 1);
    if (has_rbp) code_bytes(c, "\xc9", 1);
    else code_op(c, 0x81, 8, 0, in_register(REG_RSP), 4, bytes);
    g->frame = outer.frame;
    g->pushed = outer.pushed;
    g->has_rbp = outer.has_rbp;
}

static void loop(struct gen *g, unsigned depth)
{
    struct code *c = g->c;
    int r = counters[below(g, ARRAY_SIZE(counters))], top = code_label(c);
    bool outermost = !g->current && !g->busy;

    if (g->busy >> r & 1 || (r == REG_RCX && g->current < g->functions)) return;      /* functions use RCX */
    if (g->current) {
        code_op_reg(c, 0x50, 4, r, 0, 0);
        g->pushed += 8;
    }
    code_op_reg(c, 0xb8, 4, r, 4, outermost && one_in(g, 6) ? 8 + below(g, 24) : 1 + below(g, 4));
    g->busy |= 1u << r;
    code_bind(c, top);
    body(g, 1 + below(g, 4), depth + 1);
    switch (below(g, 3)) {
    case 0: code_op(c, 0xff, 8, 1, in_register(r), 0, 0); break;
    case 1: code_op(c, 0x83, 8, 5, in_register(r), 1, 1); break;
    default: code_op(c, 0x8d, 8, r, at_base(r, -1), 0, 0); code_op(c, 0x85, 8, r, in_register(r), 0, 0); break;
    }
    code_branch(c, 0x0f85, 4, top);
    g->busy &= ~(1u << r);
    if (!g->current) return;
    code_op_reg(c, 0x58, 4, r, 0, 0);
    g->pushed -= 8;
}

static void call(struct gen *g)
{
    struct code *c = g->c;
    int to, r = data_register(g);
    struct operand at = place(g);

    if (g->current >= g->functions) return;
    to = g->function[g->current + below(g, g->functions - g->current)];
    switch (below(g, 5)) {
    case 0: case 1: code_branch(c, 0xe8, 4, to); break;
    case 2:
        code_op(c, 0x8d, 8, r, at_label(to, 0), 0, 0);
        code_op(c, 0xff, 4, 2, in_register(r), 0, 0);
        break;
    case 3:
        code_op(c, 0x8d, 8, r, at_label(to, 0), 0, 0);
        code_op(c, 0x89, 8, r, at, 0, 0);
        code_op(c, 0xff, 4, 2, at, 0, 0);
        break;
    default:                                           /* through a pointer beside the code */
        if (g->table_entries == ARRAY_SIZE(g->table_entry)) break;
        code_op(c, 0xff, 4, 2, at_label(g->table, (int)(8 * g->table_entries)), 0, 0);
        g->table_entry[g->table_entries++] = to;
        break;
    }
}

static void jump_indirect(struct gen *g)
{
    struct code *c = g->c;
    int to = code_label(c), other = code_label(c), r = data_register(g);
    struct operand at = place(g);
    unsigned kind = below(g, 4);

    if (kind == 3 && g->table_entries + 2 <= ARRAY_SIZE(g->table_entry)) {
        code_op(c, 0x83, 4, 4, in_register(r), 1, 1);
        code_op(c, 0x8d, 8, REG_RDI, at_label(g->table, (int)(8 * g->table_entries)), 0, 0);
        code_op(c, 0xff, 4, 4, (struct operand){ true, REG_RDI, r, 0, NO_LABEL }, 0, 0);
        g->table_entry[g->table_entries++] = to;
        g->table_entry[g->table_entries++] = other;
    } else {
        code_op(c, 0x8d, 8, r, at_label(one_in(g, 2) ? to : other, 0), 0, 0);
        if (kind == 0) {
            code_op(c, 0xff, 4, 4, in_register(r), 0, 0);
        } else if (kind == 1) {
            code_op(c, 0x89, 8, r, at, 0, 0);
            code_op(c, 0xff, 4, 4, at, 0, 0);
        } else {
            code_op_reg(c, 0x50, 4, r, 0, 0);
            code_bytes(c, "\xc3", 1);
        }
    }
    simple(g);
    code_bind(c, to);
    simple(g);
    code_bind(c, other);
}

static void statement(struct gen *g, unsigned depth)
{
    unsigned kind = below(g, 32);

    g->statements++;
    if (g->fault_in && one_in(g, g->fault_in)) fault(g);
    else if (depth >= DEPTH_MAX || g->statements > 40 || kind < 10) simple(g);
    else if (kind < 14) group(g);
    else if (kind < 16) either(g);
    else if (kind < 18) pushes(g, depth);
    else if (kind < 20) frame(g, depth);
    else if (kind < 22) loop(g, depth);
    else if (kind < 25) call(g);
    else if (kind < 26) jump_indirect(g);
    else if (kind < 28) patchable(g);
    else store_into_code(g);
}

/* ---- programs ---- */

static void function(struct gen *g)
{
    static const uint8_t zero[4096];
    unsigned to_border = 4096 - (unsigned)(g->c->base + g->c->bytes) % 4096;

    if (one_in(g, 4)) code_raw(g->c, zero, one_in(g, 2) ? to_border : to_border - below(g, MIN(to_border, 24u)));
    code_bind(g->c, g->function[g->current - 1]);
    body(g, 1 + below(g, 5), 1);
    if (one_in(g, 6)) code_bytes(g->c, (uint8_t[]){ 0xc2, 0, 0 }, 3);
    else code_bytes(g->c, "\xc3", 1);
}

static void data_beside(struct gen *g)
{
    code_bind(g->c, g->local);
    for (unsigned n = 0; n < LOCAL_BYTES / 8; n++) code_raw(g->c, &(uint64_t){ bench_random(&g->seed) }, 8);
    code_bind(g->c, g->table);
    for (unsigned n = 0; n < g->table_entries; n++) code_address(g->c, g->table_entry[n]);
}

void program_generate(struct code *c, uint64_t seed, bool is_exact, uint64_t *end)
{
    struct gen g = { .c = c, .seed = seed, .is_exact = is_exact };

    c->bytes = c->insns = c->labels = c->fixups = 0;
    c->base = CODE + below(&g, 9) * 0x1000 + (one_in(&g, 2) ? 0x1000 - below(&g, 300) : below(&g, 0x1000));
    g.local = code_label(c);
    g.table = code_label(c);
    g.functions = below(&g, FUNCTIONS_MAX + 1);
    for (unsigned n = 0; n < g.functions; n++) g.function[n] = code_label(c);
    g.fault_in = one_in(&g, 3) ? 6 + below(&g, 20) : 0;
    body(&g, 3 + below(&g, 8), 0);
    *end = c->base + c->bytes;
    code_bytes(c, "\x0f\x0b", 2);
    for (g.current = 1; g.current <= g.functions; g.current++) function(&g);
    data_beside(&g);
    patches_finish(&g);
    code_finish(c);
}

void program_registers(uint64_t seed, uint64_t gpr[16])
{
    bool is_bold = bench_random(&seed) % 8 == 0;       /* near what is not there */

    for (unsigned n = 0; n < 16; n++) gpr[n] = random_value(&seed);
    for (unsigned n = 0; n < ARRAY_SIZE(pointers); n++) {
        uint64_t r = bench_random(&seed);
        uint64_t at = r & 1 ? DATA + 0x1000 - 64 + (r >> 8) % 128 : DATA + 0x200 + (r >> 8) % 0x1c00;
        if (n && r % 8 >= 5) at = gpr[pointers[n - 1]] + (r >> 8) % 24;
        if (is_bold && r % 8 == 1) at = (r & 16 ? READ_ONLY : DATA) - 40 + (r >> 8) % 80;
        gpr[pointers[n]] = at;
    }
    gpr[REG_RSP] = STACK + (bench_random(&seed) % 2 ? 0x1000 + bench_random(&seed) % 128 : 0x800 + bench_random(&seed) % 0x1700);
    if (bench_random(&seed) % 2) gpr[REG_RSP] &= ~7ull;
    if (is_bold && bench_random(&seed) % 4 == 0) gpr[REG_RSP] = STACK + bench_random(&seed) % 64;
}
