/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * 'info profile': the samples of all vCPUs (profile.c) put together: shares of translated code, engine and machine, host functions
 * by name, the hottest blocks. A block is disassembled as the guest's memory and the code cache hold it now; where it is no
 * longer translated, only the guest's side is shown.
 */
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include "engine/bt/profile.h"

struct hot { struct bt_sample key; uint64_t count; };
struct report {
    struct bt_engine *e;
    void (*print)(void *opaque, const char *line);
    void *opaque;
    struct bt_symbols *symbols;
    uint64_t samples, lost, place[SAMPLE_PLACES], ring[4];
    size_t count, block_count, function_count;
    struct bt_sample *sample;          /* of all vCPUs; those of one block lie together */
    struct hot *block;                 /* hottest first */
    struct function { char name[80]; uint64_t count; } *function;
};

static void __attribute__((format(printf, 2, 3))) line(const struct report *r, const char *fmt, ...)
{
    char text[256];
    va_list ap;
    va_start(ap, fmt);
    vsnprintf(text, sizeof(text), fmt, ap);
    va_end(ap);
    r->print(r->opaque, text);
}

struct percent { char text[16]; };
static struct percent percent_of(uint64_t part, uint64_t all)
{
    struct percent p;
    uint64_t tenths = all ? part * 1000 / all : 0;
    snprintf(p.text, sizeof(p.text), "%3lu.%lu%%", (unsigned long)tenths / 10, (unsigned long)tenths % 10);
    return p;
}

/* ---- Gathering ---- */

static int compare(uint64_t a, uint64_t b) { return a < b ? -1 : a > b; }

static int same_block_first(const void *va, const void *vb)
{
    const struct bt_sample *a = va, *b = vb;
    int by_pc = compare(a->pc, b->pc), by_rip = compare(a->rip, b->rip), by_flags = compare(a->flags, b->flags);
    int outside = compare(a->insn == SAMPLE_NO_INSN, b->insn == SAMPLE_NO_INSN);
    return outside ? outside : by_pc ? by_pc : by_rip ? by_rip : by_flags;
}

static bool is_same_block(const struct bt_sample *a, const struct bt_sample *b) { return !same_block_first(a, b); }

static int hotter(const void *a, const void *b) { return compare(((const struct hot *)b)->count, ((const struct hot *)a)->count); }
static int by_name(const void *a, const void *b) { return strcmp(((const struct function *)a)->name, ((const struct function *)b)->name); }
static int more(const void *a, const void *b) { return compare(((const struct function *)b)->count, ((const struct function *)a)->count); }

static bool gather(struct report *r)
{
    size_t most = 0;
    for (unsigned i = 0; i < r->e->vcpu_count; i++) {
        const struct bt_profile *p = r->e->vcpu[i] ? r->e->vcpu[i]->profile : NULL;
        for (unsigned n = 0; p && n < SAMPLES; n++) most += p->sample[n].count != 0;
    }
    r->sample = calloc(most + 1, sizeof(*r->sample));
    r->block = calloc(most + 1, sizeof(*r->block));
    r->function = calloc(most + 1, sizeof(*r->function));
    for (unsigned i = 0; i < r->e->vcpu_count; i++) {
        const struct bt_profile *p = r->e->vcpu[i] ? r->e->vcpu[i]->profile : NULL;
        if (!p || !r->sample) continue;
        r->samples += p->samples;
        r->lost += p->lost;
        for (unsigned n = 0; n < SAMPLES && r->count < most; n++)
            if (p->sample[n].count) r->sample[r->count++] = p->sample[n];
    }
    return r->sample && r->block && r->function;
}

static void block_add(struct report *r, const struct bt_sample *s)
{
    struct hot *last = r->block_count ? &r->block[r->block_count - 1] : NULL;
    if (!last || !is_same_block(&last->key, s)) {
        last = &r->block[r->block_count++];
        last->key = *s;
    }
    last->count += s->count;
    r->ring[s->flags >> TBF_CPL_SHIFT & 3] += s->count;
}

static void function_add(struct report *r, const struct bt_sample *s)
{
    struct function *f = &r->function[r->function_count++];
    enum bt_sample_place place = s->flags < SAMPLE_PLACES ? s->flags : SAMPLE_OUTSIDE;
    r->place[place] += s->count;
    f->count = s->count;
    if (place == SAMPLE_THUNK) snprintf(f->name, sizeof(f->name), "[thunks]");
    else bt_symbol_name(r->symbols, s->pc, f->name, sizeof(f->name));
}

static void functions_join(struct report *r)
{
    size_t n = 0;
    qsort(r->function, r->function_count, sizeof(*r->function), by_name);
    for (size_t i = 0; i < r->function_count; i++) {
        if (n && !strcmp(r->function[n - 1].name, r->function[i].name)) r->function[n - 1].count += r->function[i].count;
        else r->function[n++] = r->function[i];
    }
    r->function_count = n;
    qsort(r->function, n, sizeof(*r->function), more);
}

static void arrange(struct report *r)
{
    qsort(r->sample, r->count, sizeof(*r->sample), same_block_first);
    for (size_t i = 0; i < r->count; i++) {
        if (r->sample[i].insn == SAMPLE_NO_INSN) function_add(r, &r->sample[i]);
        else block_add(r, &r->sample[i]);
    }
    functions_join(r);
    qsort(r->block, r->block_count, sizeof(*r->block), hotter);
}

/* ---- Blocks ---- */

static struct tb *translation_of(const struct report *r, const struct bt_sample *key)
{
    struct tb *tb;
    for (unsigned part = 0; part < r->e->part_count; part++)
        for (uint32_t i = 0; (tb = bt_tb_at(r->e, part, i)); i++) {
            bool fits = tb->pc == key->pc && tb->flags == key->flags;
            if (fits && !tb->dead && (!(tb->flags & TBF_FIXED) || tb->key_base == key->rip - PAGE_OFFSET(key->pc))) return tb;
        }
    return NULL;
}

static uint64_t samples_at(const struct report *r, const struct bt_sample *key, unsigned insn)
{
    uint64_t sum = 0;
    for (size_t i = 0; i < r->count; i++)
        if (r->sample[i].insn == insn && is_same_block(&r->sample[i], key)) sum += r->sample[i].count;
    return sum;
}

/* The guest's bytes at offset in the block; from its second page where it has one. */
static unsigned guest_bytes(const struct report *r, const struct tb *tb, gpa_t pc, unsigned offset, uint8_t bytes[15])
{
    for (unsigned n = 0; n < 15; n++) {
        gpa_t at = pc + offset + n;
        bool readonly, beyond = PAGE_OF(at) != PAGE_OF(pc);
        if (beyond && (!tb || tb->page2 == ~0ull)) return n;
        const uint8_t *byte = bt_ram(r->e, beyond ? tb->page2 + PAGE_OFFSET(at) : at, &readonly);
        if (!byte) return n;
        bytes[n] = *byte;
    }
    return 15;
}

static void host_disassemble(const struct report *r, uint32_t from, uint32_t to)
{
    while (from < to) {
        struct x86_insn insn;
        char text[128] = "(bad)";
        uint64_t pc = (uint64_t)r->e->rx + from;
        if (x86_decode(r->e->rx + from, MIN(to - from, 15u), X86_CODE64, &insn) == X86_DECODE_OK) x86_format(&insn, pc, text, sizeof(text));
        else insn.len = 1;
        line(r, "              | %#lx  %s", (unsigned long)pc, text);
        from += insn.len;
    }
}

/* The block's instructions, behind each the host's code for it. */
static void disassemble(const struct report *r, const struct hot *h, const struct tb *tb)
{
    enum { UNTRANSLATED = 8 };         /* instructions to show where nobody knows how many there were */
    const struct bt_sample *key = &h->key;
    unsigned offset = 0, count = tb ? tb->insn_count : UNTRANSLATED;
    for (unsigned n = 0; n < count; n++) {
        uint8_t bytes[15];
        struct x86_insn insn;
        char text[128] = "(bad)";
        unsigned have = guest_bytes(r, tb, key->pc, offset, bytes);
        if (!have || x86_decode(bytes, have, key->flags & TBF_MODE, &insn) != X86_DECODE_OK) insn.len = tb ? tb->insn[n].len : 1;
        else x86_format(&insn, key->rip + offset, text, sizeof(text));
        line(r, "     %s  %#lx  %s", percent_of(samples_at(r, key, n), r->samples).text, (unsigned long)key->rip + offset, text);
        if (tb) host_disassemble(r, tb->host + tb->insn[n].host, n + 1 < count ? tb->host + tb->insn[n + 1].host : tb->host_end);
        offset += insn.len;
        if (!tb && (insn.attr & IA_BRANCH)) return;
    }
}

static void block_print(const struct report *r, const struct hot *h, bool with_code)
{
    static const char *const modes[] = { "16-bit", "32-bit", "64-bit", "" };
    const struct tb *tb = translation_of(r, &h->key);
    char size[80] = "no longer translated";
    if (tb)
        snprintf(size, sizeof(size), "%u instructions, %u bytes, became %u, %u of them cold", tb->insn_count, tb->size,
                 tb->host_end - tb->host + tb->cold_end - tb->cold_start, tb->cold_end - tb->cold_start);
    line(r, "%s  %#lx at %#lx, ring %u, %s: %s", percent_of(h->count, r->samples).text, (unsigned long)h->key.rip, (unsigned long)h->key.pc,
         h->key.flags >> TBF_CPL_SHIFT & 3, modes[h->key.flags & TBF_MODE], size);
    if (with_code) disassemble(r, h, tb);
}

static void print_all(const struct report *r, unsigned blocks, bool with_code)
{
    enum { FUNCTIONS = 12 };
    uint64_t translated = r->ring[0] + r->ring[1] + r->ring[2] + r->ring[3];
    line(r, "samples: %lu, of them lost for want of room %lu", (unsigned long)r->samples, (unsigned long)r->lost);
    line(r, "%s  translated code: ring 0 %s, ring 3 %s", percent_of(translated, r->samples).text, percent_of(r->ring[0], r->samples).text,
         percent_of(r->ring[3], r->samples).text);
    line(r, "%s  thunks", percent_of(r->place[SAMPLE_THUNK], r->samples).text);
    line(r, "%s  engine: translation, look-ups, TLB misses, helpers", percent_of(r->place[SAMPLE_ENGINE], r->samples).text);
    line(r, "%s  machine: devices, interrupts, clocks", percent_of(r->place[SAMPLE_MACHINE], r->samples).text);
    line(r, "%s  outside of the engine", percent_of(r->place[SAMPLE_OUTSIDE], r->samples).text);
    line(r, "functions of the host:");
    for (size_t i = 0; i < MIN(r->function_count, (size_t)FUNCTIONS); i++)
        line(r, "%s  %s", percent_of(r->function[i].count, r->samples).text, r->function[i].name);
    line(r, "blocks of the guest: %lu seen, the hottest:", (unsigned long)r->block_count);
    for (size_t i = 0; i < MIN(r->block_count, (size_t)blocks); i++) block_print(r, &r->block[i], with_code);
}

static void state_print(const struct report *r)
{
    bool on = false, any = false;
    for (unsigned i = 0; i < r->e->vcpu_count; i++) {
        const struct bt_profile *p = r->e->vcpu[i] ? r->e->vcpu[i]->profile : NULL;
        any |= p != NULL;
        on |= p && p->on;
    }
    line(r, "profile: %s", on ? "on" : any ? "off" : "off; 'profile on' begins one");
}

void bt_profile_info(struct engine *base, unsigned blocks, bool with_code, void (*print)(void *opaque, const char *text), void *opaque)
{
    struct report r = { .e = container_of(base, struct bt_engine, base), .print = print, .opaque = opaque };
    state_print(&r);
    r.symbols = bt_symbols_load();
    if (!gather(&r)) line(&r, "out of memory");
    else if (r.samples) {
        arrange(&r);
        print_all(&r, blocks, with_code);
    }
    bt_symbols_free(r.symbols);
    free(r.sample);
    free(r.block);
    free(r.function);
}
