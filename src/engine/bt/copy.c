/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Emits a guest instruction again as a host instruction: same opcode, registers renamed, memory operand replaced.
 *
 * Registers: most guest GPRs are in the host register of the same name. RCX is in R14 and RSP in R15; an implicit RCX
 * (shift counts) is copied to RCX first. R10, R11, R14, R15 are in memory and pass through scratch registers.
 * Where one of the latter is the r/m operand, its place in memory can be the operand itself.
 * AH, CH, DH, BH cannot be named in an instruction with a REX prefix, and REX is needed for the memory operand and
 * the renamed registers: the guest register is rotated right by 8 into a scratch register, whose low byte is used, and
 * rotated back. Two byte registers of one instruction are used as they are (no REX is needed then).
 */
#include "engine/bt/translate.h"

void t_gpr_load(struct trans *t, int host, int guest)
{
    int from = t_gpr_find(t, guest);
    if (from >= 0) e_mov_rr(&t->e, host, from);
    else e_load(&t->e, host, hm(H_RSP, VOFF(s.gpr[0]) + 8 * guest));
    if (from != host) t_scratch_set(t, host, guest);
}

/* Writes size bytes: 4 clears the upper half, 1 and 2 keep the rest. */
void t_gpr_store(struct trans *t, int guest, int host, unsigned size)
{
    struct emitter *e = &t->e;
    struct host_mem m = hm(H_RSP, VOFF(s.gpr[0]) + 8 * guest);
    int to = host_of(guest);
    if (size == 8) {
        if (to >= 0) e_mov_rr(e, to, host);
        else e_store(e, m, host);
    } else if (size == 4) {
        if (to >= 0) {
            e_mov32_rr(e, to, host);
        } else {
            e_mov32_rr(e, host, host);
            e_store(e, m, host);
        }
    } else {
        if (to >= 0) {
            e_mov16_rr(e, to, host);
        } else {
            e8(e, 0x66);
            e_rm(e, false, 0x89, host, m);
        }
    }
    if (to < 0) t_scratch_forget(t, guest);
    if (to < 0 && size >= 4) t_scratch_set(t, host, guest);
}

/* One register operand on its way into the instruction. */
struct place { int host, guest; bool load, store, high; };
struct renaming {
    const struct x86_insn *insn;
    struct place place[4];
    unsigned count;
    int reg, rm, vvvv, opcode;         /* host register for each encoding place, -1: as it stands */
    bool rm_in_memory;                 /* the r/m register stays where it lies */
    bool rcx_in, rcx_out, rcx_raw;     /* rcx_raw: byte registers by their own names, guest RCX in host RCX */
    bool force_rex;
};

static int explicit_rcx_or_address(const struct x86_insn *i)
{
    if (i->has_mem && (i->base == REG_RCX || i->index == REG_RCX)) return 1;
    for (unsigned n = 0; n < i->operand_count; n++) {
        const struct x86_operand *o = &i->operand[n];
        if (o->kind == OPND_REG && o->place != ENC_IMPLICIT &&
            ((o->reg_class == RC_GPR && o->reg == REG_RCX) || (o->reg_class == RC_GPR8_HIGH && o->reg == 5))) return 1;
    }
    return 0;
}

static void find_implicit_rcx(struct renaming *r)
{
    const struct x86_insn *i = r->insn;
    for (unsigned n = 0; n < i->operand_count; n++) {
        const struct x86_operand *o = &i->operand[n];
        if (o->kind != OPND_REG || o->place != ENC_IMPLICIT || o->reg_class != RC_GPR || o->reg != REG_RCX) continue;
        r->rcx_in = true;
        if (o->access & ACCESS_WRITE) r->rcx_out = true;
    }
    if (explicit_rcx_or_address(i)) return;
    if ((i->gpr_read | i->gpr_written) & 1u << REG_RCX) r->rcx_in = true;
    if (i->gpr_written & 1u << REG_RCX) r->rcx_out = true;
}

static bool is_byte_reg(const struct x86_operand *o)
{
    return o->kind == OPND_REG && o->place != ENC_IMPLICIT &&
           (o->reg_class == RC_GPR8_HIGH || (o->reg_class == RC_GPR && o->size == 1));
}

/* Two byte registers, one of them high: no REX, no renaming but RCX. */
static bool is_raw_bytes(const struct x86_insn *i)
{
    unsigned bytes = 0, high = 0;
    for (unsigned n = 0; n < i->operand_count; n++) {
        bytes += is_byte_reg(&i->operand[n]);
        high += i->operand[n].kind == OPND_REG && i->operand[n].reg_class == RC_GPR8_HIGH;
    }
    return bytes == 2 && high;
}

static int *slot_for(struct renaming *r, unsigned place)
{
    switch (place) {
    case ENC_MODRM_REG: return &r->reg;
    case ENC_MODRM_RM: return &r->rm;
    case ENC_VVVV: return &r->vvvv;
    case ENC_OPCODE: return &r->opcode;
    default: return NULL;
    }
}

/* Is nothing left of the register's old value? BSF and BSR leave it alone where there is no bit. */
static bool is_overwritten(const struct x86_insn *i, const struct x86_operand *o)
{
    return o->access == ACCESS_WRITE && o->size >= 4 && i->mnemonic != X86_BSF && i->mnemonic != X86_BSR;
}

/* The place of a register operand that needs a scratch register; NULL: it has a host register of its own. */
static struct place *place_of(struct renaming *r, const struct x86_operand *o)
{
    bool high = o->reg_class == RC_GPR8_HIGH;
    int guest = high ? o->reg - 4 : o->reg;
    if (!high && host_of(guest) >= 0) return NULL;
    for (unsigned k = 0; k < r->count; k++)
        if (r->place[k].guest == guest && r->place[k].high == high) return &r->place[k];
    r->place[r->count] = (struct place){ .host = -1, .guest = guest, .high = high };
    return &r->place[r->count++];
}

static bool is_renamed(const struct renaming *r, const struct x86_operand *o)
{
    bool gpr = o->reg_class == RC_GPR || o->reg_class == RC_GPR8_HIGH;
    return o->kind == OPND_REG && gpr && o->place != ENC_IMPLICIT && !(r->rm_in_memory && o->place == ENC_MODRM_RM);
}

/* Finds a scratch register of the set for each place; one that holds the guest register already will do in any case. */
static bool places_find(struct trans *t, struct renaming *r, unsigned set)
{
    for (unsigned k = 0; k < r->count; k++) {
        struct place *p = &r->place[k];
        p->host = p->high ? -1 : t_gpr_find(t, p->guest);
        if (p->host >= 0) p->load = false;
        if (p->host >= 0) set &= ~(1u << p->host);
    }
    for (unsigned k = 0; k < r->count; k++) {
        struct place *p = &r->place[k];
        if (p->host >= 0) continue;
        p->host = t_scratch_choose(t, set);
        if (p->host < 0) return false;
        set &= ~(1u << p->host);
    }
    return true;
}

/* Gives every GPR operand its host register, a scratch register out of a set where it has none. false: they ran out. */
static bool assign(struct trans *t, struct renaming *r, unsigned set)
{
    const struct x86_insn *i = r->insn;
    r->count = 0;
    for (unsigned n = 0; n < i->operand_count; n++) {
        const struct x86_operand *o = &i->operand[n];
        struct place *p = slot_for(r, o->place) && is_renamed(r, o) ? place_of(r, o) : NULL;
        if (!p) continue;
        if (o->access & ACCESS_WRITE) p->store = true;
        if (p->high || !is_overwritten(i, o)) p->load = true;
    }
    if (!places_find(t, r, set)) return false;
    r->force_rex = false;
    for (unsigned n = 0; n < i->operand_count; n++) {
        const struct x86_operand *o = &i->operand[n];
        int *slot = slot_for(r, o->place);
        if (!slot || !is_renamed(r, o)) continue;
        struct place *p = place_of(r, o);
        *slot = p ? p->host : host_of(o->reg);
        if (o->size == 1 && *slot >= 4 && *slot < 8) r->force_rex = true;
    }
    return true;
}

/* Does the instruction do to memory what it does to a register? A lock prefix is not implied, nor an extension of the size. */
static bool is_same_in_memory(const struct x86_insn *i)
{
    switch (i->mnemonic) {
    case X86_ADD: case X86_OR: case X86_ADC: case X86_SBB: case X86_AND: case X86_SUB: case X86_XOR: case X86_CMP:
    case X86_TEST: case X86_MOV: case X86_INC: case X86_DEC: case X86_NEG: case X86_NOT: case X86_CMOVCC: case X86_SETCC:
    case X86_IMUL: case X86_MOVZX: case X86_MOVSX: case X86_MOVSXD: return i->encoding == ENCODING_LEGACY;
    default: return false;
    }
}

/* Is the r/m operand a guest register that lies in memory and had better stay there? A write of 32 bits cannot: it clears the rest.
 * set: the scratch registers it could be in. */
static bool find_rm_in_memory(struct trans *t, const struct x86_insn *i, unsigned set, struct host_mem *m)
{
    const struct x86_operand *rm = NULL;
    if (!is_same_in_memory(i)) return false;
    for (unsigned n = 0; n < i->operand_count; n++) {
        const struct x86_operand *o = &i->operand[n];
        if (o->kind == OPND_REG && o->place == ENC_MODRM_RM) rm = o;
    }
    if (!rm || rm->reg_class != RC_GPR || host_of(rm->reg) >= 0 || (rm->size == 4 && rm->access & ACCESS_WRITE)) return false;
    for (unsigned n = 0; n < i->operand_count; n++)
        if (&i->operand[n] != rm && i->operand[n].kind == OPND_REG && i->operand[n].reg == rm->reg) return false;
    if (t_gpr_find(t, rm->reg) >= 0 || t_scratch_pays(t, rm->reg, set)) return false;
    *m = hm(H_RSP, VOFF(s.gpr[0]) + 8 * rm->reg);
    return true;
}

static void load_places(struct trans *t, struct renaming *r)
{
    struct emitter *e = &t->e;
    if (r->rcx_in) e_mov_rr(e, H_RCX, HOST_RCX);
    for (unsigned k = 0; k < r->count; k++) {
        struct place *p = &r->place[k];
        if (p->high) e_rorx(e, p->host, host_of(p->guest), 8);
        if (p->high || !p->load) continue;
        t_gpr_load(t, p->host, p->guest);
    }
}

static void store_places(struct trans *t, struct renaming *r)
{
    struct emitter *e = &t->e;
    for (unsigned k = 0; k < r->count; k++) {
        struct place *p = &r->place[k];
        if (!p->store) continue;
        if (p->high) e_rorx(e, host_of(p->guest), p->host, 56);
        else t_gpr_store(t, p->guest, p->host, 8);
    }
    if (r->rcx_out) e_mov_rr(e, HOST_RCX, H_RCX);
}

static bool is_vector(const struct x86_insn *i) { return i->attr & (IA_X87 | IA_MMX | IA_SSE | IA_AVX | IA_AVX512); }

static int field(int renamed, int raw) { return renamed >= 0 ? renamed : raw; }

static void emit_tail(struct emitter *e, const struct x86_insn *i, const uint8_t *bytes, int reg, int rm, const struct host_mem *m)
{
    if (i->has_modrm) {
        if (m) e_modrm_mem(e, reg, *m);
        else e_modrm_rr(e, reg, rm);
    }
    unsigned imm = i->imm_bytes;
    for (unsigned n = 0; n < i->operand_count && !imm; n++)
        if (i->operand[n].place == ENC_IS4) imm = 1;
    if (i->mnemonic == X86_EXTRQ || i->mnemonic == X86_INSERTQ) imm = i->imm_bytes ? 2 : 0;
    for (unsigned n = 0; n < imm; n++) e8(e, bytes[i->len - imm + n]);
}

static void emit_vex(struct trans *t, const struct renaming *r, const uint8_t *bytes, const struct host_mem *m)
{
    const struct x86_insn *i = r->insn;
    struct emitter *e = &t->e;
    int vvvv_raw = 0, reg_raw = (i->modrm >> 3) & 7, rm_raw = i->modrm & 7;
    for (unsigned n = 0; n < i->operand_count; n++) {
        const struct x86_operand *o = &i->operand[n];
        if (o->kind != OPND_REG) continue;
        if (o->place == ENC_VVVV) vvvv_raw = o->reg;
        if (o->place == ENC_MODRM_REG) reg_raw = o->reg;
        if (o->place == ENC_MODRM_RM) rm_raw = o->reg;
    }
    static const uint8_t pp_of[256] = { [0x66] = 1, [0xf3] = 2, [0xf2] = 3 };
    int reg = field(r->reg, reg_raw), rm = field(r->rm, rm_raw);
    bool has_vvvv = r->vvvv >= 0 || vvvv_raw;
    e_vex(e, i->map, pp_of[i->mandatory], i->w, i->vl & 1, has_vvvv ? field(r->vvvv, vvvv_raw) : 0, reg,
          m && m->index >= 0 ? m->index : 0, m ? m->base : rm);
    e8(e, i->opcode);
    emit_tail(e, i, bytes, reg, rm, m);
}

/* A single vCPU needs no lock: its instructions are whole to itself, and devices change nothing by reading, adding and writing. Where a locked
 * instruction only keeps stores and loads in order, between driver and device, it stays: those change nothing, or the stack, or what
 * belongs to the processor. */
bool t_needs_lock(const struct trans *t, const struct x86_insn *i)
{
    const struct x86_operand *from = &i->operand[1];
    bool constant = from->kind == OPND_IMM && (i->imm == 0 || i->imm == -1);
    if (t->en->vcpu_count > 1 || t->en->config.memory_shared) return true;
    return constant || i->base == REG_RSP || i->seg == SEG_FS || i->seg == SEG_GS;
}

static void emit_legacy(struct trans *t, const struct renaming *r, const uint8_t *bytes, const struct host_mem *m)
{
    const struct x86_insn *i = r->insn;
    struct emitter *e = &t->e;
    uint8_t opcode = i->opcode, map = i->map;
    bool has_modrm = i->has_modrm;
    int reg_raw = ((i->modrm >> 3) & 7) | (i->rex & 4) << 1, rm_raw = (i->modrm & 7) | (i->rex & 1) << 3;
    if (i->attr & IA_X87) reg_raw &= 7, rm_raw &= 7;
    for (unsigned n = 0; n < i->operand_count; n++) {
        const struct x86_operand *o = &i->operand[n];
        if (o->kind != OPND_REG || o->reg_class == RC_X87) continue;
        if (o->place == ENC_MODRM_REG && o->reg_class != RC_GPR8_HIGH) reg_raw = o->reg;
        if (o->place == ENC_MODRM_RM && o->reg_class != RC_GPR8_HIGH) rm_raw = o->reg;
    }
    int reg = field(r->reg, reg_raw), rm = field(r->rm, rm_raw), low = field(r->opcode, i->opcode & 7);
    bool by_opcode = r->opcode >= 0;
    if (i->lock && t_needs_lock(t, i)) e8(e, 0xf0);
    if (i->mandatory == 0x66 || (i->opsize == 2 && !is_vector(i))) e8(e, 0x66);
    if (i->mandatory && i->mandatory != 0x66) e8(e, i->mandatory);
    if (!map && opcode >= 0x40 && opcode <= 0x4f) {    /* inc, dec: REX prefixes here */
        has_modrm = true;
        reg = opcode >= 0x48;
        rm = low;
        opcode = 0xff;
        by_opcode = false;
    }
    int base = m ? m->base : has_modrm ? rm : by_opcode ? low : 0;
    e_rex(e, i->w || (i->rex & 8), has_modrm ? reg : 0, m && m->index >= 0 ? m->index : 0, base, r->force_rex);
    if (map == 1) e8(e, 0x0f);
    if (map == 2) e16(e, 0x380f);
    if (map == 3) e16(e, 0x3a0f);
    e8(e, by_opcode ? (opcode & 0xf8) | (low & 7) : opcode);
    struct x86_insn tail = *i;
    tail.has_modrm = has_modrm;
    emit_tail(e, &tail, bytes, reg, rm, m);
}

void t_copy(struct trans *t, const struct x86_insn *insn, const uint8_t *bytes, const struct host_mem *m)
{
    struct renaming r = { .insn = insn, .reg = -1, .rm = -1, .vvvv = -1, .opcode = -1 };
    struct host_mem merged, in_memory;
    unsigned set = 1 << T0 | 1 << S1 | 1 << S2;
    find_implicit_rcx(&r);
    bool is_raw = !m && is_raw_bytes(insn);
    if (r.rcx_in || is_raw) t_scratch_set(t, T0, -1);
    if (is_raw) {
        e_mov_rr(&t->e, H_RCX, HOST_RCX);
        r.reg = (insn->modrm >> 3) & 7;
        r.rm = insn->modrm & 7;
        emit_legacy(t, &r, bytes, NULL);
        e_mov_rr(&t->e, HOST_RCX, H_RCX);
        return;
    }
    if (r.rcx_in) set &= ~(1 << T0);
    if (m) {
        set &= ~(1u << S2 | 1u << m->base | (m->index < 0 ? 0 : 1u << m->index));     /* a fault asks for the addend */
    } else if (find_rm_in_memory(t, insn, set, &in_memory)) {
        r.rm_in_memory = true;
        m = &in_memory;
    }
    if (!assign(t, &r, set)) {                         /* only where there is a memory operand */
        merged = hm(S1, 0);
        e_lea(&t->e, S1, *m);
        t_scratch_set(t, S1, -1);
        m = &merged;
        assign(t, &r, (r.rcx_in ? 0 : 1 << T0) | 1 << S2);
    }
    load_places(t, &r);
    for (unsigned k = 0; k < r.count; k++)
        if (r.place[k].high || r.place[k].store) t_scratch_set(t, r.place[k].host, -1);
    if (insn->encoding == ENCODING_VEX) emit_vex(t, &r, bytes, m);
    else emit_legacy(t, &r, bytes, m);
    store_places(t, &r);
}
