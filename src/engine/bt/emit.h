/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Host code emitter: writes x86-64 instructions into the code cache through its writable mapping. A few general
 * encoders (register-register, register-memory, VEX) and the named instructions that the translator uses for glue;
 * guest instructions are re-encoded by copy.c. Source: Intel SDM volume 2, chapter 2.
 */
#ifndef ENGINE_BT_EMIT_H
#define ENGINE_BT_EMIT_H

#include <stdbool.h>
#include <stdint.h>

enum { H_RAX, H_RCX, H_RDX, H_RBX, H_RSP, H_RBP, H_RSI, H_RDI, H_R8, H_R9, H_R10, H_R11, H_R12, H_R13, H_R14, H_R15 };
enum { CC_O, CC_NO, CC_B, CC_AE, CC_E, CC_NE, CC_BE, CC_A, CC_S, CC_NS, CC_P, CC_NP, CC_L, CC_GE, CC_LE, CC_G };

/* A place in the cache: p is where the next byte is written; exec_delta added to it is where it will run. */
struct emitter {
    uint8_t *p, *end;
    intptr_t exec_delta;
    bool full;                       /* ran into end: what was written is not usable */
};

/* Host memory operand: base register, optional index (-1: none; never RSP), scale 1 2 4 8. */
struct host_mem { int8_t base, index; uint8_t scale; int32_t disp; };

static inline struct host_mem hm(int base, int32_t disp) { return (struct host_mem){ base, -1, 1, disp }; }
static inline struct host_mem hmi(int base, int index, int scale, int32_t disp)
{
    return (struct host_mem){ base, index, scale, disp };
}
static inline void e8(struct emitter *e, uint8_t b)
{
    if (e->p < e->end) *e->p++ = b;
    else e->full = true;
}
static inline void e16(struct emitter *e, uint16_t v) { e8(e, v); e8(e, v >> 8); }
static inline void e32(struct emitter *e, uint32_t v) { e16(e, v); e16(e, v >> 16); }
static inline void e64(struct emitter *e, uint64_t v) { e32(e, v); e32(e, v >> 32); }
static inline uint64_t e_pc(const struct emitter *e) { return (uint64_t)((intptr_t)e->p + e->exec_delta); }

static inline void e_modrm_rr(struct emitter *e, int reg, int rm) { e8(e, 0xc0 | (reg & 7) << 3 | (rm & 7)); }
static inline void e_modrm_mem(struct emitter *e, int reg, struct host_mem m)
{
    bool sib = m.index >= 0 || (m.base & 7) == H_RSP;
    int mod = m.disp == 0 && (m.base & 7) != H_RBP ? 0 : m.disp == (int8_t)m.disp ? 1 : 2;
    e8(e, mod << 6 | (reg & 7) << 3 | (sib ? 4 : m.base & 7));
    if (sib)
        e8(e, (m.index < 0 ? 0 : __builtin_ctz(m.scale)) << 6 | (m.index < 0 ? 4 : m.index & 7) << 3 | (m.base & 7));
    if (mod == 1) e8(e, m.disp);
    if (mod == 2) e32(e, m.disp);
}
static inline void e_rex(struct emitter *e, bool w, int reg, int index, int base, bool force)
{
    uint8_t rex = 0x40 | w << 3 | (reg > 7) << 2 | (index > 7) << 1 | (base > 7);
    if (rex != 0x40 || force) e8(e, rex);
}
/* opcode: one byte, or 0x0fXX for two. */
static inline void e_opcode(struct emitter *e, unsigned opcode)
{
    if (opcode > 0xff) e8(e, opcode >> 8);
    e8(e, opcode);
}
static inline void e_rr(struct emitter *e, bool w, unsigned opcode, int reg, int rm)
{
    e_rex(e, w, reg, 0, rm, false);
    e_opcode(e, opcode);
    e_modrm_rr(e, reg, rm);
}
static inline void e_rm(struct emitter *e, bool w, unsigned opcode, int reg, struct host_mem m)
{
    e_rex(e, w, reg, m.index < 0 ? 0 : m.index, m.base, false);
    e_opcode(e, opcode);
    e_modrm_mem(e, reg, m);
}
/* VEX with three bytes. map 1 0F, 2 0F38, 3 0F3A; pp 0 none, 1 66, 2 F3, 3 F2. */
static inline void e_vex(struct emitter *e, int map, int pp, bool w, int l, int vvvv, int reg, int index, int base)
{
    e8(e, 0xc4);
    e8(e, (reg > 7 ? 0 : 0x80) | (index > 7 ? 0 : 0x40) | (base > 7 ? 0 : 0x20) | map);
    e8(e, w << 7 | (~vvvv & 15) << 3 | l << 2 | pp);
}

/* The glue. None of these changes flags unless the name says so. */
static inline void e_mov_rr(struct emitter *e, int to, int from) { if (to != from) e_rr(e, true, 0x8b, to, from); }
static inline void e_mov32_rr(struct emitter *e, int to, int from) { e_rr(e, false, 0x8b, to, from); }
static inline void e_load(struct emitter *e, int to, struct host_mem m) { e_rm(e, true, 0x8b, to, m); }
static inline void e_load32(struct emitter *e, int to, struct host_mem m) { e_rm(e, false, 0x8b, to, m); }
static inline void e_store(struct emitter *e, struct host_mem m, int from) { e_rm(e, true, 0x89, from, m); }
static inline void e_store32(struct emitter *e, struct host_mem m, int from) { e_rm(e, false, 0x89, from, m); }
static inline void e_lea(struct emitter *e, int to, struct host_mem m) { e_rm(e, true, 0x8d, to, m); }
static inline void e_lea32(struct emitter *e, int to, struct host_mem m) { e_rm(e, false, 0x8d, to, m); }
static inline void e_movzx16(struct emitter *e, int to, int from) { e_rr(e, false, 0x0fb7, to, from); }
static inline void e_movsxd_load(struct emitter *e, int to, struct host_mem from) { e_rm(e, true, 0x63, to, from); }
/* to = base + disp, always seven bytes. base: neither RSP nor R12. */
static inline void e_lea32_disp(struct emitter *e, int to, int base, int32_t disp)
{
    e_rex(e, true, to, 0, base, false);
    e8(e, 0x8d);
    e8(e, 0x80 | (to & 7) << 3 | (base & 7));
    e32(e, disp);
}
/* to = index * scale + disp; flags stay. */
static inline void e_lea_scaled(struct emitter *e, int to, int index, unsigned scale, int32_t disp)
{
    e_rex(e, true, to, index, 0, false);
    e8(e, 0x8d);
    e8(e, (to & 7) << 3 | 4);
    e8(e, __builtin_ctz(scale) << 6 | (index & 7) << 3 | 5);
    e32(e, disp);
}
/* n bytes that do nothing, at most 8 (SDM 2B, NOP: recommended sequences). */
static inline void e_nops(struct emitter *e, unsigned n)
{
    static const uint8_t nop[9][8] = {
        { 0 }, { 0x90 }, { 0x66, 0x90 }, { 0x0f, 0x1f, 0 }, { 0x0f, 0x1f, 0x40, 0 }, { 0x0f, 0x1f, 0x44, 0, 0 },
        { 0x66, 0x0f, 0x1f, 0x44, 0, 0 }, { 0x0f, 0x1f, 0x80, 0, 0, 0, 0 }, { 0x0f, 0x1f, 0x84, 0, 0, 0, 0, 0 },
    };
    for (unsigned i = 0; i < n; i++) e8(e, nop[n][i]);
}
/* So that what follows begins at a multiple of a power of two. */
static inline void e_align(struct emitter *e, unsigned to)
{
    unsigned n = -(uintptr_t)e->p & (to - 1);
    for (; n > 11; n -= 11) {                          /* the longest that all processors decode quickly: three prefixes */
        e8(e, 0x66); e8(e, 0x66); e8(e, 0x66);
        e_nops(e, 8);
    }
    for (; n > 8; n--) e8(e, 0x66);
    e_nops(e, n);
}
/* to's low 16 bits = from's. */
static inline void e_mov16_rr(struct emitter *e, int to, int from)
{
    e8(e, 0x66);
    e_rr(e, false, 0x8b, to, from);
}
/* Always ten bytes. */
static inline void e_mov_ri64(struct emitter *e, int to, uint64_t v)
{
    e_rex(e, true, 0, 0, to, false);
    e8(e, 0xb8 | (to & 7));
    e64(e, v);
}
static inline void e_mov_ri(struct emitter *e, int to, uint64_t v)
{
    if (v == (uint32_t)v) {
        e_rex(e, false, 0, 0, to, false);
        e8(e, 0xb8 | (to & 7));
        e32(e, v);
    } else if ((int64_t)v == (int32_t)v) {
        e_rex(e, true, 0, 0, to, false);
        e8(e, 0xc7);
        e_modrm_rr(e, 0, to);
        e32(e, v);
    } else {
        e_mov_ri64(e, to, v);
    }
}
static inline void e_store32_i(struct emitter *e, struct host_mem m, uint32_t v)
{
    e_rm(e, false, 0xc7, 0, m);
    e32(e, v);
}
/* to = from rotated right by n (RORX). */
static inline void e_rorx(struct emitter *e, int to, int from, int n)
{
    e_vex(e, 3, 3, true, 0, 0, to, 0, from);
    e8(e, 0xf0);
    e_modrm_rr(e, to, from);
    e8(e, n);
}
/* to = bits of from that mask (in memory) selects, packed (PEXT). */
static inline void e_pext(struct emitter *e, int to, int from, struct host_mem mask)
{
    e_vex(e, 2, 2, true, 0, from, to, mask.index < 0 ? 0 : mask.index, mask.base);
    e8(e, 0xf5);
    e_modrm_mem(e, to, mask);
}
static inline void e_pdep(struct emitter *e, int to, int from, struct host_mem mask)
{
    e_vex(e, 2, 3, true, 0, from, to, mask.index < 0 ? 0 : mask.index, mask.base);
    e8(e, 0xf5);
    e_modrm_mem(e, to, mask);
}
/* to = from >> count register, arithmetic (SARX). */
static inline void e_sarx(struct emitter *e, int to, int from, int count)
{
    e_vex(e, 2, 2, true, 0, count, to, 0, from);
    e8(e, 0xf7);
    e_modrm_rr(e, to, from);
}
/* to = from >> count register (SHRX). */
static inline void e_shrx(struct emitter *e, int to, int from, int count)
{
    e_vex(e, 2, 3, true, 0, count, to, 0, from);
    e8(e, 0xf7);
    e_modrm_rr(e, to, from);
}
static inline void e_pop_mem(struct emitter *e, struct host_mem m) { e_rm(e, false, 0x8f, 0, m); }
static inline void e_push_mem(struct emitter *e, struct host_mem m) { e_rm(e, false, 0xff, 6, m); }
static inline void e_not(struct emitter *e, int reg) { e_rr(e, true, 0xf7, 2, reg); }
/* op reg, imm32: /0 add, /4 and, /5 sub, /7 cmp. Changes flags. */
static inline void e_alu_ri(struct emitter *e, bool w, int digit, int reg, int32_t imm)
{
    e_rex(e, w, 0, 0, reg, false);
    if (imm == (int8_t)imm) {
        e8(e, 0x83);
        e_modrm_rr(e, digit, reg);
        e8(e, imm);
    } else {
        e8(e, 0x81);
        e_modrm_rr(e, digit, reg);
        e32(e, imm);
    }
}

/* Jumps. The _fwd forms return where the displacement ends, for e_bind. */
static inline uint8_t *e_jrcxz_fwd(struct emitter *e) { e8(e, 0xe3); e8(e, 0); return e->p; }
static inline uint8_t *e_jcc8_fwd(struct emitter *e, int cc) { e8(e, 0x70 | cc); e8(e, 0); return e->p; }
static inline uint8_t *e_jmp8_fwd(struct emitter *e) { e8(e, 0xeb); e8(e, 0); return e->p; }
static inline uint8_t *e_jcc32_fwd(struct emitter *e, int cc) { e8(e, 0x0f); e8(e, 0x80 | cc); e32(e, 0); return e->p; }
static inline uint8_t *e_jmp32_fwd(struct emitter *e) { e8(e, 0xe9); e32(e, 0); return e->p; }
static inline void e_bind8(struct emitter *e, uint8_t *from)
{
    if (e->p - from > 127) e->full = true;
    if (!e->full) from[-1] = e->p - from;
}
static inline void e_bind32(struct emitter *e, uint8_t *from)
{
    if (e->full) return;
    int32_t d = e->p - from;
    __builtin_memcpy(from - 4, &d, 4);
}
static inline void e_jmp_to(struct emitter *e, uint64_t pc)
{
    e8(e, 0xe9);
    e32(e, pc - (e_pc(e) + 4));
}
static inline void e_call_to(struct emitter *e, uint64_t pc)
{
    e8(e, 0xe8);
    e32(e, pc - (e_pc(e) + 4));
}
static inline void e_jmp_mem(struct emitter *e, struct host_mem m) { e_rm(e, false, 0xff, 4, m); }
static inline void e_call_mem(struct emitter *e, struct host_mem m) { e_rm(e, false, 0xff, 2, m); }

#endif
