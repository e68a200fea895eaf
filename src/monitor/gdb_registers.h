/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The CPU's registers in gdb's order and byte layout, and the target description that tells gdb about them. */
#ifndef MONITOR_GDB_REGISTERS_H
#define MONITOR_GDB_REGISTERS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct x86_state;

enum { GDB_REGISTER_BYTES = 16 };

unsigned gdb_register_count(bool wide);
/* Copies register n, little endian, to data (GDB_REGISTER_BYTES); returns its size, 0 if there is none. */
unsigned gdb_register_get(const struct x86_state *s, bool wide, unsigned n, uint8_t *data);
/* data holds the register's size. false: there is none, or this value cannot be set. */
bool gdb_register_set(struct x86_state *s, bool wide, unsigned n, const uint8_t *data);
unsigned gdb_register_size(bool wide, unsigned n);
/* target.xml into buf; returns its length (as snprintf). wide: x86-64, else i386. */
size_t gdb_target_xml(bool wide, char *buf, size_t size);

#endif
