/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Random programs. Each register has a part to play, so that programs end and do not run wild on the host: RBX, RSI, R8
 * and R10 point into the data and move by small amounts; R9, R12 and R14 count loops; RAX, RCX, RDX, R11, R13 and R15 hold
 * anything; RDI is a pointer into code for a moment; RBP a frame, if there is one. (R10, R11, R14 and R15 are those that
 * the engine keeps in memory.)
 *
 * A body is a list of statements, some of which have bodies. Conditional jumps lead forward to the border of a later
 * statement of the same body, so that the depth of the stack is known everywhere; the way back of a loop is bounded by
 * its counter; functions call only those behind them. Code is stored to where that leaves it code: into immediates, over
 * the first bytes of MOVs, and over whole slots of eight bytes which hold instructions of no effect on control.
 */
#include <string.h>

#include "base/bits.h"
#include "generate_private.h"

static const uint8_t counters[] = { REG_R9, REG_R12, REG_R14, REG_RCX };

static void statement(struct gen *g, unsigned depth);

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
    for (unsigned n = 1 + below(g, 2); n; n--) statement_alu(g);
    if (has_else) code_branch(c, 0xeb, 1, end);
    code_bind(c, over);
    if (has_else) statement_move(g);
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
        case 2: code_op(c, 0xff, 4, 6, operand_place(g), 0, 0); break;
        default: code_op_reg(c, 0x50, 4, operand_any_register(g), 0, 0); break;
        }
        g->pushed += 8;
    }
    body(g, 1 + below(g, 2), depth + 1);
    for (n = 0; n < count; n++) {
        g->pushed -= 8;
        if (one_in(g, 8)) {                            /* the operand's address is that after the pop */
            code_op(c, 0x8f, 4, 0, operand_place(g), 0, 0);
        } else if (one_in(g, 8)) {
            code_op(c, 0x83, 8, 0, in_register(REG_RSP), 1, 8);
        } else {
            code_op_reg(c, 0x58, 4, operand_data_register(g), 0, 0);
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

/* A loop over up to three arrays, which is one block unless there is a jump in it. */
static void sweep(struct gen *g)
{
    struct code *c = g->c;
    static const uint8_t indices[] = { REG_RCX, REG_R13, REG_R15 };      /* slots write RAX, RDX, R11 */
    int index = indices[below(g, ARRAY_SIZE(indices))], top = code_label(c), array[3];
    unsigned busy = g->busy, rounds = 1 + below(g, 8);

    if (busy >> index & 1) return;
    for (unsigned n = 0; n < ARRAY_SIZE(array); n++) array[n] = operand_pointer(g);
    code_op_reg(c, 0xb8, 4, index, 4, 0);
    g->busy |= 1u << index;
    code_bind(c, top);
    for (unsigned n = 2 + below(g, 5); n; n--) {
        int disp = (int)below(g, 64) - 24, base = array[below(g, ARRAY_SIZE(array))];
        statement_access(g, one_in(g, 6) ? at_base(base, disp) : (struct operand){ true, base, index, disp, NO_LABEL });
        switch (below(g, 12)) {
        case 0: statement_alu(g); break;
        case 1: statement_move(g); break;
        case 2: statement_patchable(g); break;
        case 3: statement_store_into_code(g); break;
        case 4: either(g); break;
        case 5: code_op(c, 0x83, 8, 0, in_register(array[0]), 1, (int)below(g, 32) - 16); break;
        case 6: code_op_reg(c, 0x50, 4, operand_any_register(g), 0, 0); code_op_reg(c, 0x58, 4, operand_data_register(g), 0, 0); break;
        default: break;
        }
    }
    code_op(c, 0x83, 8, 0, in_register(index), 1, 1);
    if (one_in(g, 4)) statement_move(g);
    code_op(c, 0x83, 8, 7, in_register(index), 1, rounds);
    code_branch(c, 0x0f85, 4, top);
    g->busy = busy;
}

static void call(struct gen *g)
{
    struct code *c = g->c;
    int to, r = operand_data_register(g);
    struct operand at = operand_place(g);

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
    int to = code_label(c), other = code_label(c), r = operand_data_register(g);
    struct operand at = operand_place(g);
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
    statement_simple(g);
    code_bind(c, to);
    statement_simple(g);
    code_bind(c, other);
}

static void statement(struct gen *g, unsigned depth)
{
    unsigned kind = below(g, 32);

    g->statements++;
    if (g->fault_in && one_in(g, g->fault_in)) statement_fault(g);
    else if (depth >= DEPTH_MAX || g->statements > 40 || kind < 10) statement_simple(g);
    else if (kind < 12) statement_group(g);
    else if (kind < 14) statement_indexed(g);
    else if (kind < 16) either(g);
    else if (kind < 18) pushes(g, depth);
    else if (kind < 20) frame(g, depth);
    else if (kind < 22) loop(g, depth);
    else if (kind < 23) sweep(g);
    else if (kind < 25) call(g);
    else if (kind < 26) jump_indirect(g);
    else if (kind < 28) statement_patchable(g);
    else statement_store_into_code(g);
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
    statement_patches_finish(&g);
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
