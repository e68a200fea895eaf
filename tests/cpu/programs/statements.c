/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Statements without bodies: operations on registers and memory, stores into code, faults.
 *
 * No instruction whose flags the manuals leave undefined is followed by one that sees them: a comparison comes between
 * (but AF, which logic operations and shifts leave as any processor leaves it).
 */
#include <string.h>

#include "base/bits.h"
#include "generate_private.h"

static const uint8_t data_registers[] = { REG_RAX, REG_RCX, REG_RDX, REG_R11, REG_R13, REG_R15 };


int operand_data_register(struct gen *g)
{
    int r;

    do r = data_registers[below(g, ARRAY_SIZE(data_registers))];
    while (g->busy >> r & 1);
    return r;
}

int operand_pointer(struct gen *g) { return pointers[below(g, ARRAY_SIZE(pointers))]; }
int operand_any_register(struct gen *g) { return one_in(g, 3) ? (int)below(g, 16) : operand_data_register(g); }
static unsigned size_of(struct gen *g) { return 1u << (one_in(g, 3) ? below(g, 4) : 2 + below(g, 2)); }

/* A place of up to 16 bytes that may be read and written. */
struct operand operand_place(struct gen *g)
{
    unsigned kind = below(g, 16);

    if (kind < 4 && g->frame) {
        int at = (int)below(g, (unsigned)g->frame - 15);
        return g->has_rbp && one_in(g, 2) ? at_base(REG_RBP, at - g->frame) : at_base(REG_RSP, g->pushed + at);
    }
    if (kind == 4) return at_label(g->local, (int)below(g, LOCAL_BYTES - 15));
    if (kind == 5) return (struct operand){ true, -1, -1, DATA + 0x1000 - 40 + (int)below(g, 64), NO_LABEL };
    return at_base(operand_pointer(g), one_in(g, 8) ? (int)below(g, 400) - 200 : (int)below(g, 48) - 16);
}

static struct operand register_or_place(struct gen *g)
{
    return one_in(g, 2) ? operand_place(g) : in_register(operand_data_register(g));
}

static unsigned imm_size(unsigned size) { return size < 4 ? size : 4; }
static int64_t imm_of(struct gen *g) { return one_in(g, 2) ? (int)below(g, 256) - 128 : (int64_t)bench_random(&g->seed); }

/* Gives all flags values that the manual defines. */
static void wash(struct gen *g) { code_op(g->c, 0x39, 8, operand_any_register(g), in_register(operand_data_register(g)), 0, 0); }

/* ---- what may be stored to ---- */

/* The last bytes that were emitted are an immediate that may be changed. */
static void is_target(struct gen *g, unsigned bytes, enum target_kind kind)
{
    if (g->targets == TARGETS_MAX) return;
    int label = code_label(g->c);
    g->c->label_at[label] = (uint16_t)(g->c->bytes - bytes);
    g->target[g->targets++] = (struct target){ label, (uint8_t)bytes, kind };
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
    is_target(g, SLOT_BYTES, SLOT);
    if (!g->is_exact) wash(g);
}

/* An instruction with an immediate that may be changed. */
void statement_patchable(struct gen *g)
{
    unsigned size = 4u << below(g, 2);

    switch (below(g, 7)) {
    case 0:
        code_op_reg(g->c, 0xb8, 4, one_in(g, 2) ? REG_RAX : REG_RDX, 4, imm_of(g));
        is_target(g, 5, MOV);
        break;
    case 1: case 6: code_op_reg(g->c, 0xb8, 4, operand_data_register(g), 4, imm_of(g)); is_target(g, 4, IMMEDIATE); break;
    case 2: code_op_reg(g->c, 0xb8, 8, operand_data_register(g), 8, imm_of(g)); is_target(g, 8, IMMEDIATE); break;
    case 3: code_op(g->c, 0x81, size, (int)below(g, 8), in_register(operand_data_register(g)), 4, imm_of(g)); is_target(g, 4, IMMEDIATE); break;
    case 4: code_op(g->c, 0xc7, size, 0, register_or_place(g), 4, imm_of(g)); is_target(g, 4, IMMEDIATE); break;
    default: slot(g); break;
    }
}

/* Where a store into code of so many bytes goes is chosen when all of it is known; until then: the data beside it. */
static struct operand somewhere_in_code(struct gen *g) { return at_label(g->local, 0); }

static void is_patch(struct gen *g, unsigned bytes, enum target_kind kind)
{
    if (g->patches < TARGETS_MAX) g->patch[g->patches++] = (struct patch){ g->c->fixups - 1, (uint8_t)bytes, kind };
}

/* A slot is always stored to as a whole, and may be by what else is of its size. */
static bool is_fit(const struct target *t, const struct patch *p)
{
    if (t->kind == SLOT) return p->kind != MOV && p->bytes == SLOT_BYTES;
    return t->kind == p->kind && t->bytes >= p->bytes;
}

void statement_patches_finish(struct gen *g)
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
        f->add = (int16_t)(to->kind == MOV ? 0 : below(g, to->bytes - bytes + 1));
    }
}

/* Eight bytes for a slot or an immediate of eight, in a register. */
static int slot_in_register(struct gen *g)
{
    int r = operand_data_register(g);

    code_op_reg(g->c, 0xb8, 8, r, 8, (int64_t)slot_content(g));
    return r;
}

void statement_store_into_code(struct gen *g)
{
    struct code *c = g->c;
    unsigned size = 1u << below(g, 3);
    int r;

    switch (below(g, 10)) {
    case 9:                                            /* another register for a MOV, and some of its immediate */
        code_op(c, 0xc6 | (size > 1), size, 0, somewhere_in_code(g), size, (imm_of(g) & ~0xffll) | (one_in(g, 2) ? 0xb8 : 0xba));
        is_patch(g, size, MOV);
        break;
    case 0: case 1: code_op(c, size == 1 ? 0x88 : 0x89, size, operand_any_register(g), somewhere_in_code(g), 0, 0); is_patch(g, size, IMMEDIATE); break;
    case 2: code_op(c, 0x83, 4, (int)below(g, 7), somewhere_in_code(g), 1, imm_of(g)); is_patch(g, 4, IMMEDIATE); break;
    case 3: code_op(c, 0x87, 4, operand_data_register(g), somewhere_in_code(g), 0, 0); is_patch(g, 4, IMMEDIATE); break;
    case 4:
        r = slot_in_register(g);
        code_op(c, one_in(g, 3) ? 0x87 : 0x89, 8, r, somewhere_in_code(g), 0, 0);
        is_patch(g, 8, IMMEDIATE);
        break;
    case 5:                                            /* through a register, twice: a group */
        code_op(c, 0x8d, 8, REG_RDI, somewhere_in_code(g), 0, 0);
        is_patch(g, 4, IMMEDIATE);
        code_op(c, 0x89, 2, operand_any_register(g), at_base(REG_RDI, 0), 0, 0);
        code_op(c, 0x89, 2, operand_any_register(g), at_base(REG_RDI, 2), 0, 0);
        break;
    case 6:                                            /* a string store */
        code_op(c, 0x8d, 8, REG_RDI, somewhere_in_code(g), 0, 0);
        is_patch(g, 4, IMMEDIATE);
        code_bytes(c, "\xab", 1);
        break;
    case 7:                                            /* a push */
        if (g->busy >> REG_R15 & 1) break;
        code_op_reg(c, 0xb8, 8, REG_RAX, 8, (int64_t)slot_content(g));
        code_op(c, 0x89, 8, REG_RSP, in_register(REG_R15), 0, 0);
        code_op(c, 0x8d, 8, REG_RSP, somewhere_in_code(g), 0, 0);
        is_patch(g, 8, IMMEDIATE);
        code_op(c, 0x8d, 8, REG_RSP, at_base(REG_RSP, 8), 0, 0);
        code_op_reg(c, 0x50, 4, REG_RAX, 0, 0);
        code_op(c, 0x89, 8, REG_R15, in_register(REG_RSP), 0, 0);
        break;
    default:                                           /* a slot to another one */
        r = operand_data_register(g);
        code_op(c, 0x8b, 8, r, somewhere_in_code(g), 0, 0);
        is_patch(g, 8, SLOT);
        code_op(c, 0x89, 8, r, somewhere_in_code(g), 0, 0);
        is_patch(g, 8, IMMEDIATE);
        break;
    }
    if (one_in(g, 2)) statement_patchable(g);                    /* just ahead */
}

/* ---- simple statements ---- */

void statement_alu(struct gen *g)
{
    unsigned size = size_of(g), wide = size > 1, digit = below(g, 8);

    switch (below(g, 5)) {
    case 0: code_op(g->c, digit << 3 | wide, size, operand_any_register(g), register_or_place(g), 0, 0); break;
    case 1: code_op(g->c, digit << 3 | 2 | wide, size, operand_data_register(g), register_or_place(g), 0, 0); break;
    case 2: code_op(g->c, 0x80 | wide, size, (int)digit, register_or_place(g), imm_size(size), imm_of(g)); break;
    case 3: code_op(g->c, 0x83, wide ? size : 4, (int)digit, register_or_place(g), 1, imm_of(g)); break;
    default: code_op(g->c, 0x84 | wide, size, operand_any_register(g), register_or_place(g), 0, 0); break;
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

void statement_move(struct gen *g)
{
    static const uint16_t extends[] = { 0x0fb6, 0x0fb7, 0x0fbe, 0x0fbf };
    unsigned size = size_of(g), wide = size > 1;

    switch (below(g, 8)) {
    case 0: case 1: code_op(g->c, 0x88 | wide, size, operand_any_register(g), register_or_place(g), 0, 0); break;
    case 2: case 3: code_op(g->c, 0x8a | wide, size, operand_data_register(g), operand_place(g), 0, 0); break;
    case 4: code_op(g->c, extends[below(g, 4)], 4u << below(g, 2), operand_data_register(g), register_or_place(g), 0, 0); break;
    case 5: code_op(g->c, 0x8d, 4u << below(g, 2), operand_data_register(g), operand_place(g), 0, 0); break;
    case 6: code_op(g->c, 0x0f10 | below(g, 2), 4, (int)below(g, 4), operand_place(g), 0, 0); break;
    default: code_op(g->c, 0xc6 | wide, size, 0, operand_place(g), imm_size(size), imm_of(g)); break;
    }
}

static void arithmetic(struct gen *g)
{
    unsigned size = 4u << below(g, 2);
    int r = operand_data_register(g);

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
    case 1: code_op(g->c, 0x0f40 | below(g, 16), size, operand_data_register(g), register_or_place(g), 0, 0); break;
    case 2: code_op(g->c, 0x11 | (below(g, 2) << 3), size, operand_any_register(g), register_or_place(g), 0, 0); break;
    case 3: code_bytes(g->c, &single[below(g, sizeof single)], 1); break;
    case 4:
        code_bytes(g->c, "\x9c", 1);
        code_op_reg(g->c, 0x58, 4, operand_data_register(g), 0, 0);
        break;
    default: code_op(g->c, 0xd1, size, 2 + (int)below(g, 2), register_or_place(g), 0, 0); break;
    }
}

void statement_access(struct gen *g, struct operand at)
{
    unsigned size = size_of(g), wide = size > 1;

    switch (below(g, 8)) {
    case 0: code_op(g->c, 0x01, 8, operand_any_register(g), at, 0, 0); break;
    case 1: code_op(g->c, 0x03, 4, operand_data_register(g), at, 0, 0); break;
    case 2: code_op(g->c, 0x0f10 | below(g, 2), 4, (int)below(g, 4), at, 0, 0); break;
    case 3: case 4: code_op(g->c, 0x88 | wide, size, operand_any_register(g), at, 0, 0); break;
    case 5: code_op(g->c, 0x0fb6, 4, operand_data_register(g), at, 0, 0); break;
    default: code_op(g->c, 0x8a | wide, size, operand_data_register(g), at, 0, 0); break;
    }
}

/* Accesses off one register and an index, while RSP moves. */
void statement_indexed(struct gen *g)
{
    int index = operand_data_register(g), value = (int)below(g, 4), base = g->frame && one_in(g, 2) ? REG_RSP : operand_pointer(g);
    unsigned busy = g->busy;

    code_op_reg(g->c, 0xb8, 4, index, 4, value);
    g->busy |= 1u << index;
    for (unsigned n = 2 + below(g, 5); n; n--) {
        int disp = base == REG_RSP ? g->pushed + (int)below(g, (unsigned)g->frame - 15) : (int)below(g, 64) - 24;
        bool pushes = one_in(g, 3);
        if (pushes) code_op_reg(g->c, 0x50, 4, operand_any_register(g), 0, 0);
        statement_access(g, (struct operand){ true, base, index, disp - 8 * value + (pushes && base == REG_RSP ? 8 : 0), NO_LABEL });
        if (pushes) code_op_reg(g->c, 0x58, 4, operand_data_register(g), 0, 0);
        if (one_in(g, 8)) statement_move(g);
        if (one_in(g, 4)) code_op_reg(g->c, 0xb8, 4, operand_data_register(g), 4, imm_of(g));
    }
    g->busy = busy;
}

/* Accesses off one register, and it moves. */
void statement_group(struct gen *g)
{
    int base = operand_pointer(g);

    for (unsigned n = 2 + below(g, 5); n; n--) {
        statement_access(g, at_base(base, (int)below(g, one_in(g, 8) ? 160 : 64) - 24));
        if (one_in(g, 8)) code_op(g->c, 0x83, 8, below(g, 2) ? 0 : 5, in_register(base), 1, (int)below(g, 24));
    }
}

static void pointer_moves(struct gen *g)
{
    int r = operand_pointer(g);

    switch (below(g, 4)) {
    case 0: code_op(g->c, 0x83, 8, 0, in_register(r), 1, (int)below(g, 48) - 24); break;
    case 1: code_op(g->c, 0x8d, 8, r, at_base(operand_pointer(g), (int)below(g, 32) - 16), 0, 0); break;
    case 2: code_op(g->c, 0x87, 8, r, in_register(operand_pointer(g)), 0, 0); break;
    default: code_op_reg(g->c, 0xb8, 4, r, 4, DATA + 0x1000 - 64 + (int)below(g, 128)); break;
    }
}

void statement_simple(struct gen *g)
{
    static void (*const kinds[])(struct gen *) = { statement_alu, statement_alu, statement_alu, unary, statement_move, statement_move, arithmetic, flags_used, flags_used, pointer_moves };

    kinds[below(g, ARRAY_SIZE(kinds))](g);
}

/* ---- faults ---- */

void statement_fault(struct gen *g)
{
    static const char *const bad[] = { "\x0f\x0b", "\xf4", "\xfa", "\x06", "\xf0\x01\xc0" };   /* ud2, hlt, cli, push es, lock */
    struct code *c = g->c;
    int r = operand_data_register(g);
    unsigned kind = below(g, 8), which = below(g, ARRAY_SIZE(bad)), size = size_of(g);
    uint8_t bytes[5];
    struct operand hole = { true, -1, -1, HOLE + (int)below(g, 0x1000), NO_LABEL };
    struct operand constant = { true, -1, -1, READ_ONLY + (int)below(g, 0x1000), NO_LABEL };

    switch (kind) {
    case 0: code_op(c, 0x88 | (size > 1), size, operand_any_register(g), hole, 0, 0); break;
    case 1: code_op(c, 0x03, 8, r, hole, 0, 0); break;
    case 2: code_op(c, one_in(g, 2) ? 0x01 : 0x11, 4, operand_any_register(g), constant, 0, 0); break;
    case 3:                                            /* division by zero, or of too much */
        if (one_in(g, 2)) code_op(c, 0x31, 4, r, in_register(r), 0, 0);
        code_op(c, 0xf7, 4u << below(g, 2), 6 + (int)below(g, 2), in_register(r), 0, 0);
        wash(g);
        break;
    case 4: code_bytes(c, bad[which], (unsigned)strlen(bad[which])); break;
    case 5:                                            /* not canonical */
        code_op_reg(c, 0xb8, 8, r, 8, (int64_t)(0x0000800000000000 | bench_random(&g->seed) >> 17));
        code_op(c, one_in(g, 2) ? 0x03 : 0x29, 8, operand_data_register(g), at_base(r, (int)below(g, 64)), 0, 0);
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
