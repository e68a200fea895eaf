/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * An ELF core of 64 bits: a segment for notes, segments that are loaded, and behind all that each piece of RAM and ROM once. With paging
 * every run of virtual pages is a segment; several may mean the same bytes of the file. What no page maps comes last, at its physical
 * address, as everything does without paging. The machine is x86-64 if the first processor is in long mode, else i386.
 * Each processor has a note CORE, its registers as Linux' kernel lays them out for debuggers, and a note QEMU with control registers and
 * segments, by which crash finds a kernel that was loaded at random.
 * Sources: ELF gABI (PN_XNUM), Linux' struct elf_prstatus, the layout of QEMU's note (its documentation of dump-guest-memory, crash's reader).
 */
#include "monitor/guest_core.h"

#include <elf.h>
#include <stdlib.h>
#include <string.h>

#include "base/bits.h"
#include "base/error.h"
#include "machine/machine.h"
#include "memory/map.h"
#include "monitor/page_tables.h"

enum { RUNS_MAX = 1 << 20, PIECES_MAX = 1024, NOTE_HEAD = sizeof(Elf64_Nhdr) + 8 };

struct run { uint64_t gva, gpa, size; };
struct runs {
    struct run *run;
    size_t count, room;
    bool over;
};

static bool run_add(struct runs *all, struct run r)
{
    struct run *last = all->count ? &all->run[all->count - 1] : NULL;

    if (last && last->gva + last->size == r.gva && last->gpa + last->size == r.gpa) {
        last->size += r.size;
        return true;
    }
    if (all->count == all->room) {
        size_t room = MAX(2 * all->room, (size_t)256);
        struct run *more = room <= RUNS_MAX ? realloc(all->run, room * sizeof(*more)) : NULL;

        if (!more) return all->over = true, false;
        all->run = more;
        all->room = room;
    }
    all->run[all->count++] = r;
    return true;
}

/* ---- memory ---- */

static int pieces_find(struct guest_core *c, struct machine *m, uint64_t begin, uint64_t length, struct error *err)
{
    uint64_t end = length ? begin + length : 1ull << 52;

    c->piece = calloc(PIECES_MAX, sizeof(*c->piece));
    if (!c->piece) return error_set(err, "out of memory");
    for (uint64_t at = begin; at < end;) {
        struct flat_range r = memory_map_find(machine_memory(m), at);
        uint64_t size = MIN(r.start + r.size, end) - at;
        struct core_piece *last = c->pieces ? &c->piece[c->pieces - 1] : NULL;
        uint8_t *hva = r.hva ? r.hva + (at - r.start) : NULL;

        if ((r.kind == RANGE_RAM || r.kind == RANGE_ROM) && hva) {
            if (last && last->gpa + last->size == at && last->hva + last->size == hva) last->size += size;
            else if (c->pieces < PIECES_MAX) c->piece[c->pieces++] = (struct core_piece){ at, size, hva };
            else return error_set(err, "guest memory is in more than %d pieces", PIECES_MAX);
            c->total += size;
        }
        if (r.start + r.size <= at) break;
        at += size;
    }
    return c->total ? 0 : error_set(err, "there is no memory from 0x%llx on for %llu bytes", (unsigned long long)begin, (unsigned long long)length);
}

/* ---- virtual memory ---- */

static bool mapping_add(void *all, const struct page_mapping *p)
{
    return run_add(all, (struct run){ p->gva, p->gpa, p->size });
}

static int by_gva(const void *a, const void *b)
{
    const struct run *x = a, *y = b;

    if (x->gva != y->gva) return x->gva < y->gva ? -1 : 1;
    return (x->gpa > y->gpa) - (x->gpa < y->gpa);
}

static int by_gpa(const void *a, const void *b)
{
    const struct run *x = a, *y = b;

    return (x->gpa > y->gpa) - (x->gpa < y->gpa);
}

/* Processors share most of what they map. */
static void runs_merge(struct runs *all)
{
    size_t kept = 0;

    if (!all->count) return;
    qsort(all->run, all->count, sizeof(*all->run), by_gva);
    for (size_t i = 1; i < all->count; i++) {
        struct run *last = &all->run[kept], *r = &all->run[i];

        if (r->gva - r->gpa == last->gva - last->gpa && r->gva <= last->gva + last->size)
            last->size = MAX(last->size, r->gva + r->size - last->gva);
        else all->run[++kept] = *r;
    }
    all->count = kept + 1;
}

static int mappings_find(struct runs *all, struct machine *m, struct error *err)
{
    struct x86_state s;

    for (unsigned i = 0; i < machine_vcpu_count(m) && !all->over; i++) {
        machine_vcpu_get(m, i, &s);
        if (page_tables_walk(m, &s, mapping_add, all) == PAGES_CUT) all->over = true;
    }
    if (all->over) return error_set(err, "the guest's page tables are too many for a dump; use paging false");
    runs_merge(all);
    return 0;
}

/* What of a run lies in memory, piece by piece. */
static void run_cut(struct runs *to, const struct guest_core *c, const struct run *r)
{
    for (unsigned i = 0; i < c->pieces; i++) {
        uint64_t from = MAX(r->gpa, c->piece[i].gpa), end = MIN(r->gpa + r->size, c->piece[i].gpa + c->piece[i].size);

        if (from < end) run_add(to, (struct run){ r->gva + (from - r->gpa), from, end - from });
    }
}

/* What of a piece none of the runs, by gpa, means. */
static void rest_add(struct runs *to, const struct core_piece *p, const struct run *run, size_t count)
{
    uint64_t at = p->gpa, end = p->gpa + p->size;

    for (size_t i = 0; i < count && at < end; i++) {
        if (run[i].gpa + run[i].size <= at) continue;
        if (run[i].gpa > at) run_add(to, (struct run){ at, at, MIN(run[i].gpa, end) - at });
        at = MAX(at, run[i].gpa + run[i].size);
    }
    if (at < end) run_add(to, (struct run){ at, at, end - at });
}

static int segments_find(struct runs *to, const struct guest_core *c, struct machine *m, bool paging, struct error *err)
{
    struct runs mapped = { 0 }, sorted = { 0 };
    int result = paging ? mappings_find(&mapped, m, err) : 0;

    for (size_t i = 0; i < mapped.count && !result; i++) run_cut(to, c, &mapped.run[i]);
    for (size_t i = 0; i < to->count; i++) run_add(&sorted, to->run[i]);
    if (sorted.count) qsort(sorted.run, sorted.count, sizeof(*sorted.run), by_gpa);
    for (unsigned i = 0; i < c->pieces && !result; i++) rest_add(to, &c->piece[i], sorted.run, sorted.count);
    if (!result && (to->over || sorted.over)) result = error_set(err, "the guest's page tables are too many for a dump; use paging false");
    free(mapped.run);
    free(sorted.run);
    return result;
}

/* ---- processors ---- */

static uint8_t *note_put(uint8_t *to, const char *name, uint32_t type, const void *data, size_t size)
{
    Elf64_Nhdr n = { .n_namesz = (uint32_t)strlen(name) + 1, .n_descsz = (uint32_t)size, .n_type = type };

    memcpy(to, &n, sizeof(n));
    memcpy(to + sizeof(n), name, n.n_namesz);
    memcpy(to + NOTE_HEAD, data, size);
    return to + NOTE_HEAD + size;
}

struct prstatus64 {
    uint8_t signals[32];
    uint32_t pid, others[3];
    uint64_t times[8];
    uint64_t regs[27];                 /* r15 r14 r13 r12 rbp rbx r11 r10 r9 r8 rax rcx rdx rsi rdi orig_rax rip cs flags rsp ss fs_base gs_base ds es fs gs */
    uint32_t has_fpu, pad;
};
struct prstatus32 {
    uint8_t signals[24];
    uint32_t pid, others[3];
    uint32_t times[8];
    uint32_t regs[17];                 /* ebx ecx edx esi edi ebp eax ds es fs gs orig_eax eip cs flags esp ss */
    uint32_t has_fpu;
};

static uint8_t *registers64_put(uint8_t *to, const struct x86_state *s, unsigned cpu)
{
    static const uint8_t order[] = { REG_R15, REG_R14, REG_R13, REG_R12, REG_RBP, REG_RBX, REG_R11, REG_R10, REG_R9, REG_R8, REG_RAX, REG_RCX, REG_RDX, REG_RSI, REG_RDI };
    const uint64_t rest[] = { 0, s->rip, s->seg[SEG_CS].selector, s->rflags, s->gpr[REG_RSP], s->seg[SEG_SS].selector, s->seg[SEG_FS].base, s->seg[SEG_GS].base,
                              s->seg[SEG_DS].selector, s->seg[SEG_ES].selector, s->seg[SEG_FS].selector, s->seg[SEG_GS].selector };
    struct prstatus64 p = { .pid = cpu + 1 };

    for (unsigned i = 0; i < ARRAY_SIZE(order); i++) p.regs[i] = s->gpr[order[i]];
    memcpy(p.regs + ARRAY_SIZE(order), rest, sizeof(rest));
    return note_put(to, "CORE", NT_PRSTATUS, &p, sizeof(p));
}

static uint8_t *registers32_put(uint8_t *to, const struct x86_state *s, unsigned cpu)
{
    const uint64_t regs[] = { s->gpr[REG_RBX], s->gpr[REG_RCX], s->gpr[REG_RDX], s->gpr[REG_RSI], s->gpr[REG_RDI], s->gpr[REG_RBP], s->gpr[REG_RAX],
                              s->seg[SEG_DS].selector, s->seg[SEG_ES].selector, s->seg[SEG_FS].selector, s->seg[SEG_GS].selector, 0, s->rip,
                              s->seg[SEG_CS].selector, s->rflags, s->gpr[REG_RSP], s->seg[SEG_SS].selector };
    struct prstatus32 p = { .pid = cpu + 1 };

    for (unsigned i = 0; i < ARRAY_SIZE(regs); i++) p.regs[i] = (uint32_t)regs[i];
    return note_put(to, "CORE", NT_PRSTATUS, &p, sizeof(p));
}

struct state_segment { uint32_t selector, limit, flags, pad; uint64_t base; };
struct state_note {
    uint32_t version, size;
    uint64_t gpr[8];                   /* rax rbx rcx rdx rsi rdi rsp rbp */
    uint64_t more[8];                  /* r8 to r15 */
    uint64_t rip, rflags;
    struct state_segment cs, ds, es, fs, gs, ss, ldt, tr, gdt, idt;
    uint64_t cr[5];
    uint64_t kernel_gs_base;
};

/* The flags are a descriptor's second half. */
static struct state_segment segment_of(const struct segment *s)
{
    uint32_t flags = (s->attr & 0xff) << 8 | (s->attr & 0xf00) << 12;

    return (struct state_segment){ s->selector, s->limit, flags, 0, s->base };
}

static uint8_t *state_put(uint8_t *to, const struct x86_state *s)
{
    static const uint8_t order[] = { REG_RAX, REG_RBX, REG_RCX, REG_RDX, REG_RSI, REG_RDI, REG_RSP, REG_RBP };
    struct state_note n = {
        .version = 1, .size = sizeof(n), .rip = s->rip, .rflags = s->rflags, .cs = segment_of(&s->seg[SEG_CS]), .ds = segment_of(&s->seg[SEG_DS]),
        .es = segment_of(&s->seg[SEG_ES]), .fs = segment_of(&s->seg[SEG_FS]), .gs = segment_of(&s->seg[SEG_GS]), .ss = segment_of(&s->seg[SEG_SS]),
        .ldt = segment_of(&s->ldtr), .tr = segment_of(&s->tr), .gdt = { .limit = s->gdtr.limit, .base = s->gdtr.base },
        .idt = { .limit = s->idtr.limit, .base = s->idtr.base }, .cr = { s->cr0, 0, s->cr2, s->cr3, s->cr4 }, .kernel_gs_base = s->kernel_gs_base,
    };

    for (unsigned i = 0; i < ARRAY_SIZE(order); i++) n.gpr[i] = s->gpr[order[i]];
    memcpy(n.more, s->gpr + REG_R8, sizeof(n.more));
    return note_put(to, "QEMU", 0, &n, sizeof(n));
}

/* ---- the file ---- */

static uint64_t offset_of(const struct guest_core *c, uint64_t gpa)
{
    uint64_t at = c->head_bytes;

    for (unsigned i = 0; i < c->pieces; at += c->piece[i++].size)
        if (gpa >= c->piece[i].gpa && gpa - c->piece[i].gpa < c->piece[i].size) return at + (gpa - c->piece[i].gpa);
    return at;
}

/* The section only holds the number of segments, where that is more than 16 bits. */
static uint8_t *headers_put(const struct guest_core *c, const struct runs *segments, bool is64, size_t notes, uint64_t notes_at)
{
    size_t count = segments->count + 1, low = MIN(count, (size_t)PN_XNUM);
    Elf64_Ehdr e = {
        .e_ident = { ELFMAG0, ELFMAG1, ELFMAG2, ELFMAG3, ELFCLASS64, ELFDATA2LSB, EV_CURRENT }, .e_type = ET_CORE, .e_machine = is64 ? EM_X86_64 : EM_386,
        .e_version = EV_CURRENT, .e_phoff = sizeof(e) + sizeof(Elf64_Shdr), .e_shoff = sizeof(e), .e_ehsize = sizeof(e), .e_phentsize = sizeof(Elf64_Phdr),
        .e_phnum = (uint16_t)low, .e_shentsize = sizeof(Elf64_Shdr), .e_shnum = 1,
    };
    Elf64_Shdr section = { .sh_info = (uint32_t)count };
    Elf64_Phdr p = { .p_type = PT_NOTE, .p_offset = notes_at, .p_filesz = notes, .p_memsz = notes };
    uint8_t *to = c->head;

    memcpy(to, &e, sizeof(e));
    memcpy(to += sizeof(e), &section, sizeof(section));
    memcpy(to += sizeof(section), &p, sizeof(p));
    to += sizeof(p);
    for (size_t i = 0; i < segments->count; i++, to += sizeof(p)) {
        const struct run *r = &segments->run[i];

        p = (Elf64_Phdr){ .p_type = PT_LOAD, .p_offset = offset_of(c, r->gpa), .p_vaddr = r->gva, .p_paddr = r->gpa, .p_filesz = r->size, .p_memsz = r->size };
        memcpy(to, &p, sizeof(p));
    }
    return to;
}

static int head_make(struct guest_core *c, struct machine *m, const struct runs *segments, struct error *err)
{
    unsigned cpus = machine_vcpu_count(m);
    struct x86_state s;
    size_t notes_at = sizeof(Elf64_Ehdr) + sizeof(Elf64_Shdr) + (segments->count + 1) * sizeof(Elf64_Phdr), notes;
    uint8_t *to;
    bool is64;

    machine_vcpu_get(m, 0, &s);
    is64 = x86_is_long(&s);
    notes = cpus * (2 * NOTE_HEAD + sizeof(struct state_note) + (is64 ? sizeof(struct prstatus64) : sizeof(struct prstatus32)));
    c->head_bytes = notes_at + notes;
    c->head = calloc(1, c->head_bytes);
    if (!c->head) return error_set(err, "out of memory");
    to = headers_put(c, segments, is64, notes, notes_at);
    for (unsigned i = 0; i < cpus; i++) {
        machine_vcpu_get(m, i, &s);
        to = is64 ? registers64_put(to, &s, i) : registers32_put(to, &s, i);
    }
    for (unsigned i = 0; i < cpus; i++) {
        machine_vcpu_get(m, i, &s);
        to = state_put(to, &s);
    }
    return 0;
}

int guest_core_make(struct guest_core *c, struct machine *m, bool paging, uint64_t begin, uint64_t length, struct error *err)
{
    struct runs segments = { 0 };
    int result;

    *c = (struct guest_core){ 0 };
    result = pieces_find(c, m, begin, length, err) < 0 || segments_find(&segments, c, m, paging, err) < 0 || head_make(c, m, &segments, err) < 0 ? -1 : 0;
    free(segments.run);
    if (result < 0) guest_core_free(c);
    return result;
}

void guest_core_free(struct guest_core *c)
{
    free(c->head);
    free(c->piece);
    *c = (struct guest_core){ 0 };
}
