/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "assemble.h"

#include <assert.h>
#include <string.h>

int code_label(struct code *c)
{
    assert(c->labels < LABELS_MAX);
    c->label_at[c->labels] = UNBOUND;
    return (int)c->labels++;
}

void code_bind(struct code *c, int label) { c->label_at[label] = (uint16_t)c->bytes; }

void code_raw(struct code *c, const void *bytes, unsigned n)
{
    assert(c->bytes + n <= CODE_MAX);
    memcpy(c->byte + c->bytes, bytes, n);
    c->bytes += n;
}

static void begin(struct code *c)
{
    assert(c->insns < INSNS_MAX);
    c->insn_at[c->insns++] = (uint16_t)c->bytes;
}

void code_bytes(struct code *c, const void *bytes, unsigned n)
{
    begin(c);
    code_raw(c, bytes, n);
}

static void put8(struct code *c, unsigned b) { code_raw(c, &(uint8_t){ (uint8_t)b }, 1); }

/* size bytes of the address of label + add: relative to end, or absolute when end is 0. */
static void put_label(struct code *c, int label, int add, unsigned size, unsigned behind)
{
    assert(c->fixups < FIXUPS_MAX);
    unsigned end = size == 8 ? 0 : c->bytes + size + behind;
    c->fixup[c->fixups++] = (struct fixup){ (uint16_t)c->bytes, (uint16_t)end, (int16_t)label, (int16_t)add, (uint8_t)size };
    code_raw(c, &(uint64_t){ 0 }, size);
}

void code_address(struct code *c, int label) { put_label(c, label, 0, 8, 0); }

void code_finish(struct code *c)
{
    for (unsigned n = 0; n < c->fixups; n++) {
        const struct fixup *f = &c->fixup[n];
        assert(c->label_at[f->label] != UNBOUND);
        int64_t value = c->label_at[f->label] + f->add - f->end;
        if (f->size == 8) value += (int64_t)c->base;
        assert(f->size != 1 || value == (int8_t)value);
        memcpy(c->byte + f->at, &value, f->size);
    }
}

static void prefixes(struct code *c, unsigned opcode, unsigned size, int reg, int base, int index)
{
    unsigned rex = (size == 8 ? 8u : 0) | (reg > 7 ? 4u : 0) | (index > 7 ? 2u : 0) | (base > 7 ? 1u : 0);

    begin(c);
    if (size == 2) put8(c, 0x66);
    if (opcode > 0xffff) put8(c, opcode >> 16);
    if (rex || size == 1) put8(c, 0x40 | rex);
    if (opcode > 0xff) put8(c, opcode >> 8 & 0xff);
}

static void modrm(struct code *c, int reg, const struct operand *o, unsigned imm_bytes)
{
    unsigned r = (unsigned)(reg & 7) << 3, base = o->base & 7;

    if (!o->is_memory) {
        put8(c, 0xc0 | r | base);
        return;
    }
    if (o->label != NO_LABEL) {
        put8(c, r | 5);
        put_label(c, o->label, o->disp, 4, imm_bytes);
        return;
    }
    bool is_short = o->base >= 0 && o->disp == (int8_t)o->disp;
    unsigned mod = o->base < 0 ? 0 : is_short ? 0x40 : 0x80;
    if (o->base < 0 || o->index >= 0 || base == 4) {
        put8(c, mod | r | 4);
        put8(c, o->base < 0 ? 0x25 : (o->index >= 0 ? 0xc0 | (unsigned)(o->index & 7) << 3 : 0x20) | base);
    } else {
        put8(c, mod | r | base);
    }
    code_raw(c, &o->disp, is_short ? 1 : 4);
}

void code_op(struct code *c, unsigned opcode, unsigned size, int reg, struct operand rm, unsigned imm_bytes, int64_t imm)
{
    prefixes(c, opcode, size, reg, rm.base, rm.index);
    put8(c, opcode & 0xff);
    modrm(c, reg, &rm, imm_bytes);
    code_raw(c, &imm, imm_bytes);
}

void code_op_reg(struct code *c, unsigned opcode, unsigned size, int reg, unsigned imm_bytes, int64_t imm)
{
    prefixes(c, opcode, size, 0, reg, -1);
    put8(c, (opcode & 0xff) | (unsigned)(reg & 7));
    code_raw(c, &imm, imm_bytes);
}

void code_branch(struct code *c, unsigned opcode, unsigned bytes, int label)
{
    begin(c);
    if (opcode > 0xff) put8(c, opcode >> 8);
    put8(c, opcode & 0xff);
    put_label(c, label, 0, bytes, 0);
}
