/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * IN, OUT, INS, OUTS: the right to use a port (IOPL, TSS I/O map), then the machine's port space.
 *
 * Repeated forms going upwards through plain memory are handed over in pieces of up to PIECE_BYTES; the
 * memory side is checked before the port is touched, so a fault never loses what a device has given.
 * Sources: Intel SDM volume 1 chapter 19, volume 3A section 8.1 (debugging) and volume 2; AMD APM volume 2
 * section 12.2.4.
 */
#include "engine/bt/bt_private.h"
#include "engine/bt/helper/helper_b.h"

enum { PIECE_BYTES = 512, TSS_IO_MAP_BASE = 0x66 };

/* Raises #GP(0) when port .. port + size - 1 are not all allowed. */
static void port_check(struct bt_vcpu *v, uint16_t port, unsigned size)
{
    const struct x86_state *s = &v->s;
    if (!(s->cr0 & CR0_PE)) return;
    if (!(s->rflags & RFLAGS_VM) && x86_cpl(s) <= iopl_of(s)) return;
    unsigned type = s->tr.attr & SEG_ATTR_TYPE;
    if ((s->tr.attr & SEG_ATTR_UNUSABLE) || (type != TYPE_TSS32 && type != TYPE_TSS32_BUSY) ||
        s->tr.limit < TSS_IO_MAP_BASE + 1)
        bt_raise_error(v, VECTOR_GP, 0);
    uint64_t wrap = x86_is_long(s) ? ~0ull : 0xffffffff;
    uint64_t at = bt_load(v, (s->tr.base + TSS_IO_MAP_BASE) & wrap, 2, BT_SYSTEM) + port / 8;
    if (at + 1 > s->tr.limit) bt_raise_error(v, VECTOR_GP, 0);
    uint64_t map = bt_load(v, (s->tr.base + at) & wrap, 2, BT_SYSTEM);
    if (map >> (port % 8) & ((1u << size) - 1)) bt_raise_error(v, VECTOR_GP, 0);
}

void helper_in(struct bt_vcpu *v, const struct x86_insn *insn)
{
    unsigned size = insn->operand[0].size;
    uint16_t port = insn->operand[1].kind == OPND_IMM ? (uint8_t)insn->imm : (uint16_t)v->s.gpr[REG_RDX];
    uint32_t value = 0;
    port_check(v, port, size);
    bt_pio(v, port, &value, size, 1, false);
    gpr_set(&v->s, REG_RAX, value, size);
}

void helper_out(struct bt_vcpu *v, const struct x86_insn *insn)
{
    unsigned size = insn->operand[1].size;
    uint16_t port = insn->operand[0].kind == OPND_IMM ? (uint8_t)insn->imm : (uint16_t)v->s.gpr[REG_RDX];
    uint32_t value = v->s.gpr[REG_RAX];
    port_check(v, port, size);
    v->s.rip = bt_next_rip(v, insn);
    bt_pio(v, port, &value, size, 1, true);
}

struct port_string {
    unsigned size, addrsize;
    uint16_t port;
    bool rep, down;
    uint64_t count;
};

static struct port_string port_string_begin(struct bt_vcpu *v, const struct x86_insn *insn)
{
    struct port_string p = { .size = insn->opcode & 1 ? MIN((unsigned)insn->opsize, 4u) : 1,
                             .addrsize = insn->addrsize };
    p.port = v->s.gpr[REG_RDX];
    p.rep = insn->rep != 0;
    p.down = v->s.rflags & RFLAGS_DF;
    p.count = p.rep ? address_get(&v->s, REG_RCX, p.addrsize) : 1;
    port_check(v, p.port, p.size);
    return p;
}

/* How many elements to move at once from offset on, the first of which has passed bt_linear. */
static uint64_t piece(struct bt_vcpu *v, const struct port_string *p, unsigned seg, uint64_t offset,
                      gva_t linear)
{
    uint64_t room = string_room(v, seg, offset, linear, p->size, p->addrsize, p->down);
    if (p->down || !room || v->stepping_shadow || !bt_host_pointer(v, linear, BT_READ)) return 1;
    return MIN(p->count, MIN(room, (uint64_t)PIECE_BYTES / p->size));
}

static bool port_string_advance(struct bt_vcpu *v, struct port_string *p, unsigned reg, uint64_t n)
{
    uint64_t bytes = p->down ? -(n * p->size) : n * p->size;
    gpr_set(&v->s, reg, v->s.gpr[reg] + bytes, p->addrsize);
    p->count -= n;
    if (!p->rep) return false;
    gpr_set(&v->s, REG_RCX, p->count, p->addrsize);
    return p->count != 0;
}

void helper_ins(struct bt_vcpu *v, const struct x86_insn *insn)
{
    uint8_t data[PIECE_BYTES];
    struct port_string p = port_string_begin(v, insn);
    while (p.count) {
        uint64_t offset = address_get(&v->s, REG_RDI, p.addrsize);
        gva_t linear = bt_linear(v, SEG_ES, offset, p.size, BT_WRITE);
        alignment_check(v, linear, p.size);
        uint64_t n = piece(v, &p, SEG_ES, offset, linear);
        bt_probe(v, linear, n * p.size, BT_WRITE);
        bt_pio(v, p.port, data, p.size, n, false);
        bt_store_bytes(v, linear, data, n * p.size, BT_WRITE);
        if (!port_string_advance(v, &p, REG_RDI, n)) break;
        string_pause(v);
    }
    v->s.rip = bt_next_rip(v, insn);
}

void helper_outs(struct bt_vcpu *v, const struct x86_insn *insn)
{
    uint8_t data[PIECE_BYTES];
    struct port_string p = port_string_begin(v, insn);
    while (p.count) {
        uint64_t offset = address_get(&v->s, REG_RSI, p.addrsize);
        gva_t linear = bt_linear(v, insn->seg, offset, p.size, BT_READ);
        alignment_check(v, linear, p.size);
        uint64_t n = piece(v, &p, insn->seg, offset, linear);
        bt_load_bytes(v, linear, data, n * p.size, BT_READ);
        bt_pio(v, p.port, data, p.size, n, true);
        if (!port_string_advance(v, &p, REG_RSI, n)) break;
        string_pause(v);
    }
    v->s.rip = bt_next_rip(v, insn);
}
