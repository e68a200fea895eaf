/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The decoder: prefixes, opcode, row of the table (insns.txt), ModRM and SIB, displacement, immediates, operands.
 *
 * The first row of an opcode whose conditions hold is the instruction; no row is #UD. EVEX instructions have no rows:
 * the engine offers no AVX-512, and on such a processor they are invalid. Where processors differ AMD's behaviour is
 * taken: 66 is honoured on near branches in 64-bit mode (measured on a host of that kind), LOCK on MOV CR is invalid.
 * Sources: Intel SDM volume 2 chapter 2 and appendix A, AMD APM volume 3 chapter 1 and appendix A.
 */
#include "x86/decode.h"

#include "x86/state.h"

enum spec_kind { SPEC_REG, SPEC_MEM, SPEC_RM, SPEC_IMM, SPEC_REL, SPEC_FAR, SPEC_MOFFS, SPEC_STRING };
enum spec_size { SIZE_0, SIZE_b, SIZE_ub, SIZE_2b, SIZE_w, SIZE_d, SIZE_d64, SIZE_q, SIZE_dq, SIZE_t, SIZE_v, SIZE_z, SIZE_y,
                 SIZE_y64, SIZE_x, SIZE_hx, SIZE_qx, SIZE_ox, SIZE_p, SIZE_s, SIZE_a, SIZE_64 };
enum row_prefix { PP_ANY, PP_NONE, PP_66, PP_F3, PP_F2, PP_NO_REP };
enum {
    WHEN_NOT64 = 1 << 0, WHEN_ONLY64 = 1 << 1, WHEN_OS16 = 1 << 2, WHEN_OS32 = 1 << 3, WHEN_OS64 = 1 << 4, WHEN_W0 = 1 << 5,
    WHEN_W1 = 1 << 6, WHEN_L0 = 1 << 7, WHEN_L1 = 1 << 8, WHEN_REG = 1 << 9, WHEN_MEM = 1 << 10, WHEN_NO_REXB = 1 << 11,
    ROW_D64 = 1 << 12, ROW_F64 = 1 << 13, ROW_CC = 1 << 14, ROW_REG_FORCED = 1 << 15,
};

struct spec { uint8_t kind, reg_class, place, size, access, reg; };
struct row {
    uint16_t mnemonic;
    uint8_t operand[4];              /* numbers in specs; 0: none */
    uint8_t prefix;
    int8_t reg, rm;                  /* of ModRM; -1: any */
    uint8_t feature;
    uint16_t when;
    uint32_t attr;
    uint16_t flags_read, flags_written, flags_undefined, gpr_read, gpr_written;
};
#include "insn_table.h"

struct cursor {
    const uint8_t *p;
    size_t avail;                    /* bytes given, at most 15 count */
    unsigned at;
    bool is_short, is_long;
    struct x86_insn *insn;
    uint8_t last_rep, vvvv;
    bool vvvv_used;
};

static uint8_t take(struct cursor *c)
{
    if (c->at >= 15) {
        c->is_long = true;
        return 0;
    }
    if (c->at >= c->avail) {
        c->is_short = true;
        return 0;
    }
    return c->p[c->at++];
}

static uint64_t take_bytes(struct cursor *c, unsigned count)
{
    uint64_t value = 0;

    if (c->at + 8 <= c->avail && c->at + count <= 15) {        /* most often in one piece */
        __builtin_memcpy(&value, c->p + c->at, 8);
        c->at += count;
        return count >= 8 ? value : value & ((1ull << 8 * count) - 1);
    }
    for (unsigned i = 0; i < count; i++) value |= (uint64_t)take(c) << 8 * i;
    return value;
}

static int64_t sign_extend(uint64_t value, unsigned bytes)
{
    if (bytes >= 8) return (int64_t)value;
    return (int64_t)(value << (64 - 8 * bytes)) >> (64 - 8 * bytes);
}

/* ---- prefixes and opcode ---- */

static uint8_t take_prefixes(struct cursor *c)
{
    struct x86_insn *i = c->insn;
    bool is64 = i->mode == X86_CODE64;
    int seg = -1;
    uint8_t b;

    for (;;) {
        b = take(c);
        if (c->is_short || c->is_long) return 0;
        switch (b) {
        case 0x66: i->has_66 = true; break;
        case 0x67: i->has_67 = true; break;
        case 0xf0: i->lock = true; break;
        case 0xf2: case 0xf3: c->last_rep = b; break;
        case 0x26: if (!is64) seg = SEG_ES; break;
        case 0x2e: if (!is64) seg = SEG_CS; break;
        case 0x36: if (!is64) seg = SEG_SS; break;
        case 0x3e: if (!is64) seg = SEG_DS; break;
        case 0x64: seg = SEG_FS; break;
        case 0x65: seg = SEG_GS; break;
        default:
            if (is64 && (b & 0xf0) == 0x40) {          /* counts only right before the opcode */
                i->rex = b;
                continue;
            }
            i->seg_override = seg >= 0;
            i->seg = seg >= 0 ? seg : SEG_DS;
            return b;
        }
        i->rex = 0;
    }
}

/* C4 and C5 in a mode where they are VEX. Returns the opcode; false in *ok for what is no VEX instruction. */
static uint8_t take_vex(struct cursor *c, uint8_t first, bool *ok)
{
    static const uint8_t mandatory[4] = { 0, 0x66, 0xf3, 0xf2 };
    struct x86_insn *i = c->insn;
    uint8_t b1 = take(c), b2 = first == 0xc5 ? b1 : take(c);
    uint8_t rex = (uint8_t)(~b1 >> 5 & 4);

    *ok = !(i->has_66 || c->last_rep || i->lock || i->rex);
    i->encoding = ENCODING_VEX;
    i->map = 1;
    if (first == 0xc4) {
        rex = (uint8_t)(~b1 >> 5 & 7) | (b2 >> 4 & 8);
        i->map = b1 & 31;
    }
    if (i->mode != X86_CODE64) rex = 0;
    if (rex) i->rex = 0x40 | rex;
    i->mandatory = mandatory[b2 & 3];
    i->vl = b2 >> 2 & 1;
    i->w = rex & 8;
    if (first == 0xc4 && i->mode != X86_CODE64) i->w = b2 >> 7;
    c->vvvv = ~b2 >> 3 & 15;               /* outside 64-bit mode bit 3 selects no register, but counts where none is used */
    *ok = *ok && i->map >= 1 && i->map <= 3;
    return take(c);
}

static bool is_vex(const struct cursor *c, uint8_t b)
{
    if (b != 0xc4 && b != 0xc5) return false;
    return c->insn->mode == X86_CODE64 || (c->at < c->avail && c->at < 15 && (c->p[c->at] & 0xc0) == 0xc0);
}

/* Opcode and map. */
static bool take_opcode(struct cursor *c)
{
    struct x86_insn *i = c->insn;
    uint8_t b = take_prefixes(c);
    bool ok = true;

    if (is_vex(c, b)) {
        b = take_vex(c, b, &ok);
    } else if (b == 0x0f) {
        i->map = 1;
        b = take(c);
        if (b == 0x38 || b == 0x3a) {
            i->map = b == 0x38 ? 2 : 3;
            b = take(c);
        }
    }
    if (i->encoding == ENCODING_LEGACY) i->w = i->rex & 8;
    i->opcode = b;
    return ok;
}

/* ---- sizes ---- */

static unsigned operand_size(const struct cursor *c, const struct row *row)
{
    const struct x86_insn *i = c->insn;
    bool small = i->has_66 && row->prefix != PP_66;

    if (i->encoding == ENCODING_VEX || row->prefix == PP_NONE || row->prefix == PP_66)
        return i->w && i->mode == X86_CODE64 ? 8 : 4;
    if (i->mode == X86_CODE16) return small ? 4 : 2;
    if (i->mode == X86_CODE32) return small ? 2 : 4;
    if (i->w) return 8;
    if (row->when & (ROW_D64 | ROW_F64)) return small ? 2 : 8;
    return small ? 2 : 4;
}

static unsigned size_bytes(const struct x86_insn *i, unsigned size)
{
    switch (size) {
    case SIZE_b: case SIZE_ub: case SIZE_2b: return 1;
    case SIZE_w: return 2;
    case SIZE_d: return 4;
    case SIZE_d64: return i->w ? 8 : 4;
    case SIZE_q: return 8;
    case SIZE_dq: return 16;
    case SIZE_t: return 10;
    case SIZE_v: return i->opsize;
    case SIZE_z: return i->opsize == 2 ? 2 : 4;
    case SIZE_y: return i->w && i->mode == X86_CODE64 ? 8 : 4;
    case SIZE_y64: return i->mode == X86_CODE64 ? 8 : 4;
    case SIZE_x: return 16u << i->vl;
    case SIZE_hx: return 8u << i->vl;
    case SIZE_qx: return 4u << i->vl;
    case SIZE_ox: return 2u << i->vl;
    case SIZE_p: return i->opsize + 2;
    case SIZE_s: return i->mode == X86_CODE64 ? 10 : 6;
    case SIZE_a: return 2 * (i->mode == X86_CODE64 ? i->addrsize : i->opsize);
    case SIZE_64: return 64;
    default: return 0;
    }
}

/* ---- rows ---- */

static bool row_fits(const struct cursor *c, const struct row *row, uint8_t prefix)
{
    const struct x86_insn *i = c->insn;
    unsigned when = row->when, size = operand_size(c, row);
    bool is64 = i->mode == X86_CODE64, reg = i->modrm >= 0xc0;

    switch (row->prefix) {
    case PP_ANY: break;
    case PP_NONE: if (prefix) return false; break;
    case PP_NO_REP: if (prefix == 0xf2 || prefix == 0xf3) return false; break;
    default: if (prefix != (row->prefix == PP_66 ? 0x66 : row->prefix == PP_F3 ? 0xf3 : 0xf2)) return false;
    }
    if (row->reg >= 0 && row->reg != (i->modrm >> 3 & 7)) return false;
    if (row->rm >= 0 && row->rm != (i->modrm & 7)) return false;
    if ((when & WHEN_REG && !reg) || (when & WHEN_MEM && reg)) return false;
    if ((when & WHEN_NOT64 && is64) || (when & WHEN_ONLY64 && !is64)) return false;
    if ((when & WHEN_OS16 && size != 2) || (when & WHEN_OS32 && size != 4) || (when & WHEN_OS64 && size != 8)) return false;
    if ((when & WHEN_W0 && i->w) || (when & WHEN_W1 && !i->w)) return false;
    if ((when & WHEN_L0 && i->vl) || (when & WHEN_L1 && !i->vl)) return false;
    return !(when & WHEN_NO_REXB && i->rex & 1);
}

static const struct row *find_row(struct cursor *c)
{
    struct x86_insn *i = c->insn;
    unsigned n = ((i->encoding == ENCODING_VEX ? 4 : 0) + i->map) * 256 + i->opcode;
    unsigned first = first_row[n] & 0x7fff, end = first_row[n + 1] & 0x7fff;
    uint8_t prefix = i->encoding == ENCODING_VEX ? i->mandatory : c->last_rep ? c->last_rep : i->has_66 ? 0x66 : 0;

    if (first == end) return NULL;
    if (first_row[n] & 0x8000) {
        i->has_modrm = true;
        i->modrm = take(c);
    }
    for (unsigned k = first; k < end; k++)
        if (row_fits(c, &rows[k], prefix)) return &rows[k];
    return NULL;
}

/* ---- memory operand ---- */

static void address16(struct cursor *c)
{
    static const int8_t base[8] = { REG_RBX, REG_RBX, REG_RBP, REG_RBP, REG_RSI, REG_RDI, REG_RBP, REG_RBX };
    static const int8_t index[8] = { REG_RSI, REG_RDI, REG_RSI, REG_RDI, -1, -1, -1, -1 };
    struct x86_insn *i = c->insn;
    unsigned mod = i->modrm >> 6, rm = i->modrm & 7;

    i->base = base[rm];
    i->index = index[rm];
    if (mod == 0 && rm == 6) {
        i->base = -1;
        i->disp = sign_extend(take_bytes(c, 2), 2);
        return;
    }
    if (mod == 1) i->disp = sign_extend(take(c), 1);
    if (mod == 2) i->disp = sign_extend(take_bytes(c, 2), 2);
    if (i->base == REG_RBP && !i->seg_override) i->seg = SEG_SS;
}

static void address_sib(struct cursor *c, const struct row *row)
{
    struct x86_insn *i = c->insn;
    unsigned mod = i->modrm >> 6;

    i->has_sib = true;
    i->sib = take(c);
    i->scale = 1 << (i->sib >> 6);
    i->index = (i->sib >> 3 & 7) | (i->rex & 2) << 2;
    if (i->index == REG_RSP && !(row->attr & IA_VSIB)) i->index = -1;
    i->base = (i->sib & 7) | (i->rex & 1) << 3;
    if ((i->sib & 7) == 5 && mod == 0) {
        i->base = -1;
        i->disp = sign_extend(take_bytes(c, 4), 4);
    }
}

static void take_address(struct cursor *c, const struct row *row)
{
    struct x86_insn *i = c->insn;
    unsigned mod = i->modrm >> 6, rm = i->modrm & 7;

    i->has_mem = true;
    i->base = i->index = -1;
    i->scale = 1;
    if (i->addrsize == 2) {
        address16(c);
        return;
    }
    if (rm == 4) {
        address_sib(c, row);
    } else if (rm == 5 && mod == 0) {
        i->rip_relative = i->mode == X86_CODE64;
        i->disp = sign_extend(take_bytes(c, 4), 4);
    } else {
        i->base = rm | (i->rex & 1) << 3;
    }
    if (mod == 1) i->disp = sign_extend(take(c), 1);
    if (mod == 2) i->disp = sign_extend(take_bytes(c, 4), 4);
    if ((i->base == REG_RSP || i->base == REG_RBP) && !i->seg_override) i->seg = SEG_SS;
}

/* ---- operands ---- */

static void gpr_uses(struct x86_insn *i, const struct x86_operand *o)
{
    unsigned reg = o->reg_class == RC_GPR8_HIGH ? o->reg - 4u : o->reg;

    if (o->access & ACCESS_READ || o->access & ACCESS_COND) i->gpr_read |= 1u << reg;
    if (o->access & ACCESS_WRITE) i->gpr_written |= 1u << reg;
}

static unsigned register_number(struct cursor *c, const struct spec *s)
{
    const struct x86_insn *i = c->insn;
    bool extended = s->reg_class == RC_GPR || s->reg_class == RC_VEC || s->reg_class == RC_CR || s->reg_class == RC_DR;

    switch (s->place) {
    case ENC_MODRM_REG: return (i->modrm >> 3 & 7) | (extended ? (i->rex & 4) << 1 : 0);
    case ENC_MODRM_RM: return (i->modrm & 7) | (extended ? (i->rex & 1) << 3 : 0);
    case ENC_OPCODE: return (i->opcode & 7) | (i->rex & 1) << 3;
    case ENC_VVVV:
        c->vvvv_used = true;
        return c->vvvv & (i->mode == X86_CODE64 ? 15 : 7);
    default: return s->reg;
    }
}

static void put_register(struct cursor *c, const struct spec *s, struct x86_operand *o)
{
    struct x86_insn *i = c->insn;

    o->kind = OPND_REG;
    if (s->place == ENC_IS4) {
        i->imm = take(c);
        o->reg = i->imm >> 4 & (i->mode == X86_CODE64 ? 15 : 7);
    } else {
        o->reg = register_number(c, s);
    }
    if (o->reg_class != RC_GPR) return;
    if (o->size == 1 && !i->rex && o->reg >= 4 && o->reg < 8 && s->place != ENC_IMPLICIT) o->reg_class = RC_GPR8_HIGH;
    gpr_uses(i, o);
}

static void put_immediate(struct cursor *c, const struct spec *s, struct x86_operand *o)
{
    struct x86_insn *i = c->insn;

    o->kind = OPND_IMM;
    if (s->place == ENC_IMPLICIT) {
        i->imm = 1;
        return;
    }
    if (s->size == SIZE_2b) {
        i->imm2 = take(c);
        return;
    }
    i->imm_bytes = o->size;
    i->imm = s->size == SIZE_ub || s->size == SIZE_w ? (int64_t)take_bytes(c, o->size)
                                                    : sign_extend(take_bytes(c, o->size), o->size);
}

static void put_string(struct x86_insn *i, const struct spec *s, struct x86_operand *o)
{
    o->kind = OPND_STRING;
    i->gpr_read |= 1u << s->reg;
    if (s->reg == REG_RBX) return;                     /* XLAT moves nothing */
    i->gpr_written |= 1u << s->reg;
    if (i->rep) {
        i->gpr_read |= 1u << REG_RCX;
        i->gpr_written |= 1u << REG_RCX;
    }
}

static void put_operand(struct cursor *c, const struct spec *s)
{
    struct x86_insn *i = c->insn;
    struct x86_operand *o = &i->operand[i->operand_count++];

    *o = (struct x86_operand){ .reg_class = s->reg_class, .reg = s->reg, .place = s->place, .access = s->access,
                               .size = size_bytes(i, s->size) };
    switch (s->kind) {
    case SPEC_RM:
    case SPEC_MEM:
        if (i->modrm < 0xc0) o->kind = OPND_MEM;
        else put_register(c, s, o);
        break;
    case SPEC_REG: put_register(c, s, o); break;
    case SPEC_IMM: put_immediate(c, s, o); break;
    case SPEC_REL:
        o->kind = OPND_REL;
        i->imm_bytes = o->size;
        i->imm = sign_extend(take_bytes(c, o->size), o->size);
        break;
    case SPEC_FAR:
        o->kind = OPND_FAR;
        i->imm_bytes = i->opsize == 2 ? 2 : 4;
        i->imm = (int64_t)take_bytes(c, i->imm_bytes);
        i->imm2 = (int64_t)take_bytes(c, 2);
        break;
    case SPEC_MOFFS:
        o->kind = OPND_MOFFS;
        i->disp = (int64_t)take_bytes(c, i->addrsize);
        break;
    case SPEC_STRING: put_string(i, s, o); break;
    }
}

/* ---- what depends on more than the row ---- */

static void implicit_uses(struct x86_insn *i)
{
    if (i->rep && (i->mnemonic == X86_CMPS || i->mnemonic == X86_SCAS)) i->flags_read |= 0x40;
    if (i->attr & IA_STACK) {
        i->gpr_read |= 1u << REG_RSP;
        i->gpr_written |= 1u << REG_RSP;
    }
    if (!i->has_mem) return;
    if (i->base >= 0) i->gpr_read |= 1u << i->base;
    if (i->index >= 0 && !(i->attr & IA_VSIB)) i->gpr_read |= 1u << i->index;
}

static bool registers_exist(const struct x86_insn *i)
{
    for (unsigned n = 0; n < i->operand_count; n++) {
        const struct x86_operand *o = &i->operand[n];
        if (o->kind != OPND_REG) continue;
        if (o->reg_class == RC_SEG && (o->reg > SEG_GS || (o->reg == SEG_CS && o->access & ACCESS_WRITE && i->mnemonic == X86_MOV_SREG)))
            return false;
        if (o->reg_class == RC_CR && o->reg != 0 && o->reg != 2 && o->reg != 3 && o->reg != 4 && o->reg != 8) return false;
        if (o->reg_class == RC_DR && o->reg > 7) return false;
    }
    return true;
}

static bool gather_is_valid(const struct x86_insn *i)
{
    unsigned to = i->operand[0].reg, mask = i->operand[2].reg;

    return i->has_sib && i->addrsize != 2 && to != mask && to != (unsigned)i->index && mask != (unsigned)i->index;
}

static bool is_legal(const struct cursor *c)
{
    const struct x86_insn *i = c->insn;

    if (i->lock && !(i->attr & IA_LOCKABLE && i->operand[0].kind == OPND_MEM)) return false;
    if (i->encoding == ENCODING_VEX && !c->vvvv_used && c->vvvv) return false;
    if (i->attr & IA_VSIB && !gather_is_valid(i)) return false;
    return registers_exist(i);
}

static void fill(struct cursor *c, const struct row *row)
{
    struct x86_insn *i = c->insn;

    i->mnemonic = row->mnemonic;
    i->feature = row->feature;
    i->attr = row->attr;
    i->flags_read = row->flags_read;
    i->flags_written = row->flags_written;
    i->flags_undefined = row->flags_undefined;
    i->gpr_read = row->gpr_read;
    i->gpr_written = row->gpr_written;
    i->opsize = operand_size(c, row);
    if (row->prefix == PP_66) i->mandatory = 0x66;
    if (row->prefix == PP_F3 || row->prefix == PP_F2) i->mandatory = row->prefix == PP_F3 ? 0xf3 : 0xf2;
    else i->rep = i->encoding == ENCODING_VEX ? 0 : c->last_rep;
    if (row->when & ROW_CC) {
        static const uint16_t reads[8] = { 0x800, 1, 0x40, 0x41, 0x80, 4, 0x880, 0x8c0 };
        i->cc = i->opcode & 15;
        i->flags_read |= reads[i->cc >> 1];
    }
    if (i->has_modrm && i->modrm < 0xc0 && !(row->when & ROW_REG_FORCED)) take_address(c, row);
    for (unsigned n = 0; n < 4 && row->operand[n]; n++) put_operand(c, &specs[row->operand[n]]);
    implicit_uses(i);
}

/* Not memset: the translator decodes while the guest's vector registers are live, and the C library's would use them. */
static void clear(struct x86_insn *insn)
{
    uint64_t *words = (void *)insn;

    _Static_assert(sizeof *insn % sizeof *words == 0, "cleared by words");
#pragma GCC unroll 16
    for (unsigned n = 0; n < sizeof *insn / sizeof *words; n++) words[n] = 0;
}

enum x86_decode_result x86_decode(const uint8_t *bytes, size_t avail, enum x86_code_mode mode, struct x86_insn *insn)
{
    struct cursor c = { .p = bytes, .avail = avail, .insn = insn };
    const struct row *row = NULL;
    bool legal;

    clear(insn);
    insn->mode = mode;
    insn->base = insn->index = -1;
    legal = take_opcode(&c);
    insn->addrsize = mode == X86_CODE64 ? (insn->has_67 ? 4 : 8) : (mode == X86_CODE32) != insn->has_67 ? 4 : 2;
    if (legal && !c.is_short && !c.is_long) row = find_row(&c);
    if (row && !c.is_short && !c.is_long) fill(&c, row);
    insn->len = c.at;
    if (c.is_long) return X86_DECODE_TOO_LONG;
    if (c.is_short) return X86_DECODE_SHORT;
    if (!row || !is_legal(&c)) return X86_DECODE_INVALID;
    return X86_DECODE_OK;
}

const char *x86_mnemonic_name(unsigned mnemonic)
{
    static const char *const names[] = {
        "invalid",
#define X86_ENTRY(name) #name,
        X86_MNEMONICS(X86_ENTRY)
#undef X86_ENTRY
    };
    return mnemonic < X86_MNEMONIC_COUNT ? names[mnemonic] : "invalid";
}
