/* SPDX-License-Identifier: GPL-2.0-or-later */
/* What the translator knows of the size of registers' values: range.c. */
#ifndef ENGINE_BT_RANGE_H
#define ENGINE_BT_RANGE_H

#include "x86/decode.h"

/* A value is less than 1 << bits, and not less than 0 or, if is_signed, -1 << bits. 64 bits: anything. */
struct range { uint8_t bits; bool is_signed; };

/* r: of all 16 registers. Nothing is known; what is known behind an instruction of 64-bit code that does not raise an exception. */
void t_range_forget(struct range *r);
void t_range_step(struct range *r, const struct x86_insn *i);

#endif
