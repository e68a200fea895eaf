/* SPDX-License-Identifier: GPL-2.0-or-later */
/* What the files of the 32-bit guest share: printing, descriptors, running a snippet and looking at its trap. */
#ifndef GUEST_LEGACY_H
#define GUEST_LEGACY_H

typedef unsigned char u8;
typedef unsigned short u16;
typedef unsigned int u32;
typedef unsigned long long u64;

enum { SEL_CODE0 = 0x08, SEL_DATA0 = 0x10, SEL_CODE3 = 0x38, SEL_DATA3 = 0x40, SEL_TSS = 0x48,
       SEL_TSS_B = 0x50, SEL_TSS_DF = 0x58, SEL_LDT = 0x60, SEL_TEST = 0x68, SEL_TARGET = 0x70, SEL_GATE = 0x78,
       SEL_TSS_16 = 0x80, SEL_SCRATCH = 0x88, SEL_CODE16 = 0x90, SEL_DATA16 = 0x98, SEL_LAST = 0x98 };
enum { VECTOR_DONE = 0x80 };

/* As trap_common and the processor leave it. */
struct trap { u32 gs, fs, es, ds, edi, esi, ebp, esp_unused, ebx, edx, ecx, eax, vector, error, eip, cs, eflags, esp, ss,
              vm_es, vm_ds, vm_fs, vm_gs; };
extern struct trap trap_record;
extern u32 recover_esp;

struct tss32 { u32 link, esp0, ss0, esp1, ss1, esp2, ss2, cr3, eip, eflags, eax, ecx, edx, ebx, esp, ebp, esi, edi, es, cs, ss,
               ds, fs, gs, ldt; u16 trap, iomap; u8 redirect[32]; u8 io[128]; } __attribute__((packed));
struct tss16 { u16 link, sp0, ss0, sp1, ss1, sp2, ss2, ip, flags, ax, cx, dx, bx, sp, bp, si, di, es, cs, ss, ds, ldt; };
extern struct tss32 tss_main, tss_b, tss_df;
extern struct tss16 tss_16;

extern u64 gdt[];
extern u64 idt[256];
u64 descriptor(u32 base, u32 limit, u8 access, u8 flags);
u64 gate(u16 selector, u32 offset, u8 access, u8 count);

/* The registers a snippet starts with. */
struct registers { u32 edi, esi, ebp, unused, ebx, edx, ecx, eax; };
extern struct registers run_registers;
extern u32 run_frame[9], run_frame_words, run_segments[2], run_eflags;
void run_at(void);
/* Runs code at privilege ring until a trap; the trap is in trap_record. */
void run(unsigned ring, const void *code);
/* The result in one short word: 0 when int $0x80 was reached, else vector and error code. */
u32 outcome(void);

void print(const char *format, ...);       /* %x %s %c %d, %X is 8 digits */
/* Collects the outcomes of a row and prints them with its key; equal rows that follow are counted. */
void row_add(u32 value);
void row_end(const char *name, u32 key);
void row_flush(void);

void test_selectors(void);
void test_transfers(void);
void test_tasks(void);
void test_flags(void);
void test_vm86(void);
void test_real(void);
void test_limits(void);

#endif
