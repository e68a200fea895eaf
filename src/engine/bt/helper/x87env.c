/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * FNSTENV, FLDENV, FNSAVE, FRSTOR in their four formats (16 or 32 bits, real or protected), and WAIT.
 *
 * The x87 state is live in the host. It is read and loaded in the 32-bit protected form and laid out anew for
 * the guest; the pointers follow the rule in xstate.c: addresses of generated code are shown as 0. Memory is
 * written before the state changes, so an instruction that faults can be started again.
 * Sources: Intel SDM volume 1 figures 8-9 to 8-12, AMD APM volume 2 section 11.4.4.
 */
#include "engine/bt/bt_private.h"
#include "engine/bt/helper/helper_b.h"

enum { ENV_BYTES = 28, ENV16_BYTES = 14, ST_BYTES = 80, FSW_ES = 0x80 };

/* The 32-bit protected form: each word in the low half of a field. */
struct x87_env { uint32_t fcw, fsw, ftw, fip, fcs_fop, fdp, fds; uint8_t st[ST_BYTES]; };

void x87_exception_check(struct bt_vcpu *v)
{
    uint16_t fsw;
    __asm__ volatile("fnstsw %0" : "=am"(fsw));
    if (!(fsw & FSW_ES)) return;
    if (v->s.cr0 & CR0_NE) bt_raise(v, VECTOR_MF);
    v->ferr = true;                    /* goes out as IRQ 13; the instruction is started again after it */
    bt_restart(v);
}

void helper_wait(struct bt_vcpu *v, const struct x86_insn *insn) { x87_exception_check(v); }

/* Hides pointers that are addresses of generated code, in the image that has been read. FXSAVE would tell
 * them in full, but AMD CPUs save them there only when an exception is pending: so the low halves are
 * compared. */
static void pointers_clean(const struct bt_vcpu *v, struct x87_env *e)
{
    uint32_t from_start = e->fip - (uint32_t)(uint64_t)v->engine->rx;
    if (from_start < v->engine->cache_bytes) e->fip = e->fdp = e->fcs_fop = 0;
    e->fcs_fop &= 0x7ff0000;
    e->fds = 0;
}

static bool is_real(const struct bt_vcpu *v) { return has_paragraphs(&v->s); }

/* The guest's form of the environment; returns its size. */
static unsigned env_encode(const struct bt_vcpu *v, const struct x86_insn *insn, const struct x87_env *e,
                           uint8_t *out)
{
    uint32_t fop = e->fcs_fop >> 16 & 0x7ff;
    if (insn->opsize == 2) {
        uint16_t w[7] = { e->fcw, e->fsw, e->ftw, e->fip, e->fcs_fop, e->fdp, e->fds };
        if (is_real(v)) {
            w[4] = (e->fip >> 16 & 15) << 12 | fop;
            w[6] = (e->fdp >> 16 & 15) << 12;
        }
        bt_copy(out, w, sizeof(w));
        return sizeof(w);
    }
    uint32_t d[7] = { 0xffff0000 | e->fcw, 0xffff0000 | e->fsw,
                      0xffff0000 | e->ftw, e->fip,
                      e->fcs_fop,          e->fdp,
                      0xffff0000 | e->fds };
    if (is_real(v)) {
        d[3] = 0xffff0000 | (uint16_t)e->fip;
        d[4] = (e->fip >> 16) << 12 | fop;
        d[5] = 0xffff0000 | (uint16_t)e->fdp;
        d[6] = (e->fdp >> 16) << 12;
    }
    bt_copy(out, d, sizeof(d));
    return sizeof(d);
}

static void env_decode(const struct bt_vcpu *v, const struct x86_insn *insn, const uint8_t *in,
                       struct x87_env *e)
{
    uint16_t w[7];
    uint32_t d[7];
    if (insn->opsize == 2) {
        bt_copy(w, in, sizeof(w));
        for (unsigned i = 0; i < 7; i++) d[i] = w[i];
        if (is_real(v)) {
            d[3] |= (d[4] >> 12) << 16;
            d[4] = (d[4] & 0x7ff) << 16;
            d[5] |= (d[6] >> 12) << 16;
        }
    } else {
        bt_copy(d, in, sizeof(d));
        if (is_real(v)) {
            d[3] = (uint16_t)d[3] | (d[4] >> 12) << 16;
            d[4] = (d[4] & 0x7ff) << 16;
            d[5] = (uint16_t)d[5] | (d[6] >> 12) << 16;
        }
    }
    e->fcw = d[0] & 0xffff;
    e->fsw = d[1] & 0xffff;
    e->ftw = d[2] & 0xffff;
    e->fip = d[3];
    e->fcs_fop = d[4] & 0x7ff0000;
    e->fdp = d[5];
    e->fds = 0;
}

static unsigned env_bytes(const struct x86_insn *insn) { return insn->opsize == 2 ? ENV16_BYTES : ENV_BYTES; }

void helper_fnstenv(struct bt_vcpu *v, const struct x86_insn *insn)
{
    struct x87_env e;
    uint8_t out[ENV_BYTES];
    gva_t linear = bt_operand_linear(v, insn, env_bytes(insn), BT_WRITE);
    __asm__ volatile("fnstenv %0" : "=m"(e) : : "memory");
    pointers_clean(v, &e);
    __asm__ volatile("fldenv %0" : : "m"(e));          /* it has masked the exceptions: too early */
    bt_store_bytes(v, linear, out, env_encode(v, insn, &e, out), BT_WRITE);
    __asm__ volatile("fnstenv %0" : "=m"(e) : : "memory");
}

void helper_fldenv(struct bt_vcpu *v, const struct x86_insn *insn)
{
    struct x87_env e;
    uint8_t in[ENV_BYTES];
    x87_exception_check(v);
    bt_load_bytes(v, bt_operand_linear(v, insn, env_bytes(insn), BT_READ), in, env_bytes(insn), BT_READ);
    env_decode(v, insn, in, &e);
    __asm__ volatile("fldenv %0" : : "m"(e));
}

void helper_fnsave(struct bt_vcpu *v, const struct x86_insn *insn)
{
    struct x87_env e;
    uint8_t out[ENV_BYTES + ST_BYTES];
    gva_t linear = bt_operand_linear(v, insn, env_bytes(insn) + ST_BYTES, BT_WRITE);
    __asm__ volatile("fnsave %0" : "=m"(e) : : "memory");
    pointers_clean(v, &e);
    __asm__ volatile("frstor %0" : : "m"(e));
    unsigned n = env_encode(v, insn, &e, out);
    bt_copy(out + n, e.st, ST_BYTES);
    bt_store_bytes(v, linear, out, n + ST_BYTES, BT_WRITE);
    __asm__ volatile("fninit");
}

void helper_frstor(struct bt_vcpu *v, const struct x86_insn *insn)
{
    struct x87_env e;
    uint8_t in[ENV_BYTES + ST_BYTES];
    unsigned n = env_bytes(insn);
    x87_exception_check(v);
    bt_load_bytes(v, bt_operand_linear(v, insn, n + ST_BYTES, BT_READ), in, n + ST_BYTES, BT_READ);
    env_decode(v, insn, in, &e);
    bt_copy(e.st, in + n, ST_BYTES);
    __asm__ volatile("frstor %0" : : "m"(e));
}
