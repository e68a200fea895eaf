/* SPDX-License-Identifier: GPL-2.0-or-later */
/* What the files of the 64-bit guest share. */
#ifndef GUEST_LONG_H
#define GUEST_LONG_H

typedef unsigned char u8;
typedef unsigned short u16;
typedef unsigned int u32;
typedef unsigned long u64;

/* The order of the selectors behind CODE32_3 is SYSRET's and SYSEXIT's. */
enum { SEL_CODE = 0x08, SEL_DATA = 0x10, SEL_CODE32_3 = 0x18, SEL_DATA3 = 0x20, SEL_CODE3 = 0x28, SEL_CODE32 = 0x38, SEL_TEST = 0x40,
       SEL_TARGET = 0x50, SEL_GATE = 0x60, SEL_TSS = 0x70, SEL_TEST_TSS = 0x80, SEL_LAST = 0x88 };
enum { VECTOR_DONE = 0x80 };
struct trap { u64 handler_ss, ds, rax, rbx, rcx, rdx, rsi, rdi, r8, r11, r15, vector, error, rip, cs, rflags, rsp, ss, frame; };
extern struct trap trap_record;
extern u64 gdt[], idt[512], pml4[512], pdpt[512], pd[512], test_pd[512], test_pt[512];
extern struct tss64 { u32 reserved; u64 rsp[3], reserved2, ist[7], reserved3; u16 reserved4, iomap; u8 io[8]; } __attribute__((packed)) tss;
extern struct registers { u64 rax, rbx, rcx, rdx, rsi, rdi, r8, r11; } run_registers;
extern u64 run_frame[5], run_rflags, recover_rsp;
extern u8 ring_stack[4][8192];

u64 descriptor(u32 base, u32 limit, u8 access, u8 flags);
void gate_set(u64 *to, u16 selector, u64 offset, u8 access, u8 ist);
void run_at(void);
/* mode: 0 kernel 64, 1 user 64, 2 user 32 (compatibility), 3 kernel 32. */
void run(unsigned mode, const void *code);
u64 outcome(void);
void print(const char *format, ...);       /* %x %s */
void row_add(u64 value);
/* An address in this guest, as "add", since builds differ. */
void row_add_address(u64 value);
void row_end(const char *name, u64 key);
void row_flush(void);
u64 rdmsr(u32 msr);
void wrmsr(u32 msr, u64 value);
int is_qemu(void);                         /* by the signature of its TCG */
int has(u32 leaf, unsigned reg, unsigned bit);

#define SNIPPET(name, text) \
    extern const char name[]; \
    __asm__(".text\n.code64\n" #name ":\n" text "\nint $0x80\n")
#define SNIPPET32(name, text) \
    extern const char name[]; \
    __asm__(".text\n.code32\n" #name ":\n" text "\nint $0x80\n.code64\n")

void test_segments(void);
void test_gates(void);
void test_syscalls(void);
void test_registers(void);
void test_pages(void);
void test_spaces(void);
void test_traps(void);
void test_interrupts(void);
void test_crossings(void);

#endif
