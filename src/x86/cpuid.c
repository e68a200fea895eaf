/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Builds the CPUID leaves of a guest: the flags an engine can give, cut down to a named model, changed by +flag and
 * -flag; then the leaves that follow from them (vendor, brand, topology, XSAVE areas, address widths, hypervisor).
 *
 * On bt no defence of a guest's kernel against its own programs does anything: all of them are one process' memory, and none of the guest's
 * branches and loads are the processor's. Separate page tables, return trampolines, VERW and the like would only cost (a system call ten
 * times its time), so bt says of every model that it needs none (docs/security.md).
 * Sources: Intel SDM volume 2 (CPUID), AMD APM volume 3 appendix E, Linux Documentation/virt/kvm/x86/cpuid.rst.
 */
#include "x86/cpuid.h"

#include <cpuid.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "base/bits.h"
#include "base/error.h"
#include "base/nearest.h"
#include "x86/cpuid_private.h"

#define XCR0_AVX512 0xe0ull

struct host_leaf { uint32_t r[4]; };

static struct host_leaf host(uint32_t leaf, uint32_t subleaf)
{
    struct host_leaf l = { { 0 } };
    unsigned max = __get_cpuid_max(leaf & 0x80000000u, NULL);

    if (leaf <= max) __cpuid_count(leaf, subleaf, l.r[0], l.r[1], l.r[2], l.r[3]);
    return l;
}

static struct cpuid_entry *entry_of(struct cpuid_model *m, uint32_t leaf, uint32_t subleaf)
{
    for (unsigned n = 0; n < m->count; n++)
        if (m->entry[n].leaf == leaf && m->entry[n].subleaf == subleaf) return &m->entry[n];
    if (m->count == ARRAY_SIZE(m->entry)) abort();     /* the table below is fixed: cannot happen */
    m->entry[m->count] = (struct cpuid_entry){ .leaf = leaf, .subleaf = subleaf,
                                               .has_subleaf = leaf == 4 || leaf == 7 || leaf == 0xb || leaf == 0xd || leaf == 0x1f || leaf == 0x8000001d };
    return &m->entry[m->count++];
}

static uint32_t *reg_of(struct cpuid_entry *e, int reg)
{
    uint32_t *const regs[4] = { &e->eax, &e->ebx, &e->ecx, &e->edx };

    return regs[reg];
}

static void put(struct cpuid_model *m, uint32_t leaf, uint32_t subleaf, uint32_t eax, uint32_t ebx, uint32_t ecx, uint32_t edx)
{
    struct cpuid_entry *e = entry_of(m, leaf, subleaf);

    e->eax = eax;
    e->ebx = ebx;
    e->ecx = ecx;
    e->edx = edx;
}

/* ---- flags ---- */

static bool host_has(const struct cpuid_flag *f)
{
    return host(f->leaf, f->subleaf).r[f->reg] >> f->bit & 1;
}

static bool can_give(const struct cpuid_flag *f, enum cpuid_engine engine)
{
    if (engine == CPUID_FOR_BT) return f->bt == BT_SOFT || f->bt == BT_CALM || (f->bt == BT_HOST && host_has(f));
    if (f->leaf == 0x40000001) return true;            /* the kernel's own; kvm keeps what it has */
    return host_has(f) || f->bit == 31 /* hypervisor, avx512vl */ || f->bt == BT_SOFT;
}

static void flag_set(struct cpuid_model *m, const struct cpuid_flag *f, bool on)
{
    uint32_t *reg = reg_of(entry_of(m, f->leaf, f->subleaf), f->reg);

    *reg = on ? *reg | 1u << f->bit : *reg & ~(1u << f->bit);
}

static bool flag_get(const struct cpuid_model *m, const char *name)
{
    const struct cpuid_flag *f = cpuid_flag_find(name, strlen(name));

    return f && cpuid_has(m, f->leaf, f->subleaf, f->reg, f->bit);
}

static void flags_clear(struct cpuid_model *m, const char *list)
{
    for (; *list; list += strcspn(list, " "), list += *list == ' ') {
        const struct cpuid_flag *f = cpuid_flag_find(list, strcspn(list, " "));
        if (f) flag_set(m, f, false);
    }
}

static void all_flags(struct cpuid_model *m, enum cpuid_engine engine)
{
    for (size_t n = 0; n < cpuid_flag_count; n++) {
        const struct cpuid_flag *f = &cpuid_flags[n];
        if (can_give(f, engine) && strcmp(f->name, "kvm-nopiodelay")) flag_set(m, f, true);
    }
    flag_set(m, cpuid_flag_find("kvm-nopiodelay", 14), true);
    if (engine == CPUID_FOR_KVM) flags_clear(m, "vmx svm npt nrip-save monitor");
}

/* ---- models ---- */

static const struct cpuid_named_model *model_find(const char *name, size_t length)
{
    for (size_t n = 0; n < cpuid_named_model_count; n++)
        if (strncasecmp(cpuid_named_models[n].name, name, length) == 0 && !cpuid_named_models[n].name[length])
            return &cpuid_named_models[n];
    return NULL;
}

static bool model_has(const struct cpuid_named_model *n, const struct cpuid_flag *f)
{
    for (; n; n = n->parent ? model_find(n->parent, strlen(n->parent)) : NULL)
        for (const char *p = n->flags; *p; p += strcspn(p, " "), p += *p == ' ')
            if (cpuid_flag_find(p, strcspn(p, " ")) == f) return true;
    return false;
}

/* Takes away what the named model has not. Hypervisor, paravirtual clock and x2APIC stay, as with qemu; on bt what says that no
 * defences are needed, too. */
static void cut_to_model(struct cpuid_model *m, const struct cpuid_named_model *named, enum cpuid_engine engine)
{
    for (size_t n = 0; n < cpuid_flag_count; n++) {
        const struct cpuid_flag *f = &cpuid_flags[n];
        if (f->leaf == 0x40000001 || !strcmp(f->name, "hypervisor") || !strcmp(f->name, "x2apic") || !strcmp(f->name, "ht")) continue;
        if (engine == CPUID_FOR_BT && f->bt == BT_CALM) continue;
        if (!model_has(named, f)) flag_set(m, f, false);
    }
}

static uint32_t signature_of(unsigned family, unsigned model, unsigned stepping)
{
    uint32_t base = family > 15 ? 15 : family;

    return (family - base) << 20 | (model >> 4) << 16 | base << 8 | (model & 15) << 4 | (stepping & 15);
}

struct identity {
    char vendor[13], brand[49];
    unsigned family, model, stepping, level, phys_bits;
    bool check, enforce, hide_kvm, migratable;
    const struct cpuid_named_model *named;     /* NULL: host, max */
};

static bool is_amd(const struct identity *id)
{
    return memcmp(id->vendor, "Auth", 4) == 0 || memcmp(id->vendor, "Hygo", 4) == 0;
}

static struct identity host_identity(void)
{
    struct identity id = { .level = 0xd };
    struct host_leaf l = host(0, 0), s = host(1, 0);

    memcpy(id.vendor, &l.r[1], 4);
    memcpy(id.vendor + 4, &l.r[3], 4);
    memcpy(id.vendor + 8, &l.r[2], 4);
    for (unsigned n = 0; n < 3; n++) {
        l = host(0x80000002 + n, 0);
        memcpy(id.brand + 16 * n, l.r, 16);
    }
    id.stepping = s.r[0] & 15;
    id.model = s.r[0] >> 4 & 15;
    id.family = s.r[0] >> 8 & 15;
    if (id.family == 6 || id.family == 15) id.model |= s.r[0] >> 12 & 0xf0;
    if (id.family == 15) id.family += s.r[0] >> 20 & 0xff;
    return id;
}

/* Programs take instructions for granted by a processor's family and model (GCC's target_clones does). A guest that gets none of the host's
 * AVX-512 is told of the last one of its maker, or nearly, that had none: Broadwell-EP, Zen 3. */
static void identity_without_avx512(struct identity *id)
{
    if (is_amd(id)) id->family = 0x19, id->model = 0x21, id->stepping = 0;
    else id->family = 6, id->model = 0x4f, id->stepping = 1;
}

/* ---- -cpu NAME,... ---- */

static int unknown(const char *what, const char *word, const struct nearest *near, struct error *err)
{
    const char *best = nearest_result(near);

    if (best) return error_set(err, "-cpu: unknown CPU %s '%s'; did you mean '%s'?", what, word, best);
    return error_set(err, "-cpu: unknown CPU %s '%s'; '-cpu help' lists them", what, word);
}

static int number_property(const char *key, const char *value, unsigned limit, unsigned *to, struct error *err)
{
    char *end;
    unsigned long v = strtoul(value, &end, 0);

    if (!*value || *end || v > limit) return error_set(err, "-cpu: %s=%s is not a number up to %u", key, value, limit);
    *to = v;
    return 0;
}

/* 1: was a property, 0: is none, -1: error. */
static int property(struct identity *id, const char *key, const char *value, struct error *err)
{
    if (!strcmp(key, "vendor")) {
        if (strlen(value) != 12) return error_set(err, "-cpu: vendor='%s' must have 12 characters, like AuthenticAMD", value);
        memcpy(id->vendor, value, 13);
        return 1;
    }
    if (!strcmp(key, "model-id")) {
        snprintf(id->brand, sizeof id->brand, "%s", value);
        return 1;
    }
    if (!strcmp(key, "family")) return number_property(key, value, 270, &id->family, err) < 0 ? -1 : 1;
    if (!strcmp(key, "model")) return number_property(key, value, 255, &id->model, err) < 0 ? -1 : 1;
    if (!strcmp(key, "stepping")) return number_property(key, value, 15, &id->stepping, err) < 0 ? -1 : 1;
    if (!strcmp(key, "level")) return number_property(key, value, 0x1f, &id->level, err) < 0 ? -1 : 1;
    if (!strcmp(key, "phys-bits")) {
        if (number_property(key, value, 52, &id->phys_bits, err) < 0) return -1;
        return id->phys_bits && id->phys_bits < 32 ? error_set(err, "-cpu: phys-bits=%s: at least 32", value) : 1;
    }
    return 0;
}

/* What is neither a flag nor a value. only: the one setting that can be had, 1 on, 0 off, and why not the other. */
static const struct setting {
    const char *name;
    int only;
    const char *why;
    size_t field;
} settings[] = {
#define FIELD(f) -1, NULL, offsetof(struct identity, f)
    { "check", FIELD(check) }, { "enforce", FIELD(enforce) }, { "migratable", FIELD(migratable) }, { "kvm", FIELD(hide_kvm) },
    { "pmu", 0, "guests have no performance counters", 0 },
    { "host-phys-bits", 1, "addresses are as wide as the host's; use phys-bits=N", 0 },
    { "host-cache-info", 1, "caches are described as the host's", 0 },
    { "l3-cache", 1, "caches are described as the host's", 0 },
    { "lmce", 0, "there are no local machine checks", 0 },
    { "cpuid-0xb", 1, "the topology is in leaf 0xb, too", 0 },
    { "kvm-no-smi-migration", 0, "there is no SMM", 0 },
};

/* As property. */
static int setting(struct identity *id, const char *key, bool on, struct error *err)
{
    if (!strncmp(key, "hv-", 3) || !strncmp(key, "hv_", 3))
        return on ? error_set(err, "-cpu: '%s': Hyper-V's interfaces are not in this version; leave it out", key) : 1;
    for (unsigned n = 0; n < ARRAY_SIZE(settings); n++) {
        const struct setting *s = &settings[n];

        if (strcmp(s->name, key)) continue;
        if (s->only >= 0 && s->only != on) return error_set(err, "-cpu: %s=%s cannot be had: %s", key, on ? "on" : "off", s->why);
        if (s->only < 0) *(bool *)((char *)id + s->field) = on != (s->field == offsetof(struct identity, hide_kvm));
        return 1;
    }
    return 0;
}

static int flag_change(struct cpuid_model *m, struct identity *id, const char *name, bool on, enum cpuid_engine engine,
                       struct error *err)
{
    const struct cpuid_flag *f = cpuid_flag_find(name, strlen(name));
    int r = f ? 0 : setting(id, name, on, err);
    struct nearest near;

    if (r) return r < 0 ? -1 : 0;
    if (!f) {
        nearest_begin(&near, name);
        for (unsigned n = 0; n < ARRAY_SIZE(settings); n++) nearest_offer(&near, settings[n].name);
        for (size_t n = 0; n < cpuid_flag_count; n++) nearest_offer(&near, cpuid_flags[n].name);
        return unknown("flag", name, &near, err);
    }
    if (on && !can_give(f, engine)) {
        if (engine == CPUID_FOR_BT && f->bt == BT_NO)
            return error_set(err, "-cpu: the engine bt does not offer '%s'; leave it out", f->name);
        return error_set(err, "-cpu: this machine's processor has no '%s'; leave it out", f->name);
    }
    flag_set(m, f, on);
    return 0;
}

static int apply_item(struct cpuid_model *m, struct identity *id, char *item, enum cpuid_engine engine, struct error *err)
{
    char *value = strchr(item, '=');
    int r;

    if (!*item) return error_set(err, "-cpu: an item between commas is empty");
    if (*item == '+' || *item == '-') return flag_change(m, id, item + 1, *item == '+', engine, err);
    if (!value) return flag_change(m, id, item, true, engine, err);
    *value++ = 0;
    for (char *c = item; *c; c++)                      /* the old spelling, as in model_id */
        if (*c == '_' && !cpuid_flag_find(item, strlen(item))) *c = '-';
    if ((r = property(id, item, value, err)) != 0) return r < 0 ? -1 : 0;
    if (!strcmp(value, "on") || !strcmp(value, "true") || !strcmp(value, "yes")) return flag_change(m, id, item, true, engine, err);
    if (!strcmp(value, "off") || !strcmp(value, "false") || !strcmp(value, "no")) return flag_change(m, id, item, false, engine, err);
    if (cpuid_flag_find(item, strlen(item))) return error_set(err, "-cpu: %s=%s is neither on nor off", item, value);
    return flag_change(m, id, item, true, engine, err) < 0 ? -1 : error_set(err, "-cpu: %s=%s is neither on nor off", item, value);
}

/* What the model has and the guest cannot have. */
static void missing_find(struct cpuid_model *m, const struct cpuid_named_model *named, enum cpuid_engine engine)
{
    for (size_t n = 0; n < cpuid_flag_count; n++) {
        const struct cpuid_flag *f = &cpuid_flags[n];
        size_t used = strlen(m->missing);

        if (model_has(named, f) && !can_give(f, engine))
            snprintf(m->missing + used, sizeof m->missing - used, "%s%s", used ? ", " : "", f->name);
    }
}

/* The first word: which processor. */
static int choose_model(struct cpuid_model *m, struct identity *id, const char *name, enum cpuid_engine engine, struct error *err)
{
    const struct cpuid_named_model *named;
    struct nearest near;

    snprintf(m->name, sizeof m->name, "%s", name);
    all_flags(m, engine);
    if (!strcmp(name, "max") || !strcmp(name, "host")) {
        if (host_has(cpuid_flag_find("avx512f", 7)) && !flag_get(m, "avx512f")) identity_without_avx512(id);
        return 0;
    }
    named = model_find(name, strlen(name));
    if (!named) {
        nearest_begin(&near, name);
        nearest_offer(&near, "host");
        nearest_offer(&near, "max");
        for (size_t n = 0; n < cpuid_named_model_count; n++) nearest_offer(&near, cpuid_named_models[n].name);
        return unknown("model", name, &near, err);
    }
    missing_find(m, named, engine);
    cut_to_model(m, named, engine);
    id->named = named;
    id->family = named->family;
    id->model = named->model;
    id->stepping = named->stepping;
    if (named->vendor) memcpy(id->vendor, named->vendor, 13);
    snprintf(id->brand, sizeof id->brand, "%s", named->brand);
    return 0;
}

/* ---- leaves that follow ---- */

static void vendor_leaf(struct cpuid_model *m, uint32_t leaf, uint32_t max, const char *vendor)
{
    uint32_t r[3];

    memcpy(r, vendor, 12);
    put(m, leaf, 0, max, r[0], r[2], r[1]);
}

static void brand_leaves(struct cpuid_model *m, const char *brand)
{
    char text[48] = { 0 };
    uint32_t r[12];

    memcpy(text, brand, strnlen(brand, sizeof text));
    memcpy(r, text, sizeof r);
    for (unsigned n = 0; n < 3; n++) put(m, 0x80000002 + n, 0, r[4 * n], r[4 * n + 1], r[4 * n + 2], r[4 * n + 3]);
}

/* Flags that mean nothing without others. */
static void settle_flags(struct cpuid_model *m, const struct identity *id)
{
    struct cpuid_entry *ext = entry_of(m, 0x80000001, 0), *base = entry_of(m, 1, 0);

    if (!flag_get(m, "xsave")) flags_clear(m, "avx xsaveopt xsavec xgetbv1 xsaves");
    if (!flag_get(m, "avx")) flags_clear(m, "avx2 fma f16c vaes vpclmulqdq avx-vnni avx512f");
    if (!flag_get(m, "avx512f"))
        flags_clear(m, "avx512dq avx512ifma avx512cd avx512bw avx512vl avx512vbmi avx512vbmi2 avx512vnni avx512bitalg "
                       "avx512-vpopcntdq avx512-bf16 avx512-vp2intersect");
    if (!flag_get(m, "lm")) flags_clear(m, "pcid syscall lahf-lm pdpe1gb invtsc");
    /* Either maker says in its own way which defences are needed. */
    if (is_amd(id)) flags_clear(m, "arch-capabilities spec-ctrl bhi-ctrl");
    else flags_clear(m, "amd-no-ssb auto-ibrs srso-no tsa-sq-no tsa-l1-no");
    /* AMD repeats the common flags of leaf 1. */
    ext->edx = (ext->edx & ~0x0183f3ffu) | (memcmp(&entry_of(m, 0, 0)->ebx, "Auth", 4) == 0 ? base->edx & 0x0183f3ffu : 0);
}

static void xsave_leaves(struct cpuid_model *m)
{
    uint32_t features = entry_of(m, 0xd, 1)->eax & 7;

    m->xcr0_allowed = 1;
    if (!flag_get(m, "xsave")) {
        put(m, 0xd, 1, 0, 0, 0, 0);
        return;
    }
    m->xcr0_allowed = 3 | (flag_get(m, "avx") ? 4 : 0) | (flag_get(m, "avx512f") ? XCR0_AVX512 : 0);
    put(m, 0xd, 0, m->xcr0_allowed, 0, 0, m->xcr0_allowed >> 32);
    put(m, 0xd, 1, features, 0, 0, 0);
    for (unsigned n = 2; n < 8; n++) {
        struct host_leaf l = host(0xd, n);
        if (m->xcr0_allowed >> n & 1) put(m, 0xd, n, l.r[0], l.r[1], l.r[2], 0);
    }
}

static unsigned bits_for(unsigned count)
{
    unsigned bits = 0;

    while (1u << bits < count) bits++;
    return bits;
}

uint32_t cpuid_apic_id(const struct cpuid_topology *t, unsigned index)
{
    unsigned thread = index % t->threads, core = index / t->threads % t->cores;
    unsigned die = index / t->threads / t->cores % t->dies, socket = index / t->threads / t->cores / t->dies;

    return ((socket << bits_for(t->dies) | die) << bits_for(t->cores) | core) << bits_for(t->threads) | thread;
}

static unsigned package_bits(const struct cpuid_topology *t) { return bits_for(t->threads) + bits_for(t->cores) + bits_for(t->dies); }
static unsigned package_size(const struct cpuid_topology *t) { return t->threads * t->cores * t->dies; }

/* Which processors share a cache, as a count minus one: of first and second level those of a core, else those of a die. */
static unsigned sharing(const struct cpuid_topology *t, unsigned level)
{
    return (1u << (bits_for(t->threads) + (level > 2 ? bits_for(t->cores) : 0))) - 1;
}

static void topology_leaves(struct cpuid_model *m, bool amd)
{
    const struct cpuid_topology *t = &m->topology;

    put(m, 0xb, 0, bits_for(t->threads), t->threads, 0x100, 0);
    put(m, 0xb, 1, package_bits(t), package_size(t), 0x201, 0);
    if (!amd && t->dies > 1) {
        unsigned die_bits = bits_for(t->threads) + bits_for(t->cores);

        put(m, 0x1f, 0, bits_for(t->threads), t->threads, 0x100, 0);
        put(m, 0x1f, 1, die_bits, t->threads * t->cores, 0x201, 0);
        put(m, 0x1f, 2, package_bits(t), package_size(t), 0x502, 0);
    }
    if (!amd) return;
    for (unsigned n = 0; n < 4; n++) {
        struct host_leaf l = host(0x8000001d, n);
        unsigned with = sharing(t, l.r[0] >> 5 & 7);
        if (l.r[0] & 31 && flag_get(m, "topoext")) put(m, 0x8000001d, n, (l.r[0] & ~0x03ffc000u) | with << 14, l.r[1], l.r[2], l.r[3]);
    }
    if (flag_get(m, "topoext")) put(m, 0x8000001e, 0, 0, 0, 0, 0);
}

/* Cache descriptions are the host's, shared as the topology says. */
static void cache_leaves(struct cpuid_model *m, bool amd)
{
    const struct cpuid_topology *t = &m->topology;
    struct host_leaf l5 = host(0x80000005, 0), l6 = host(0x80000006, 0);

    put(m, 0x80000005, 0, l5.r[0], l5.r[1], l5.r[2], l5.r[3]);
    put(m, 0x80000006, 0, l6.r[0], l6.r[1], l6.r[2], l6.r[3]);
    for (unsigned n = 0; n < 4 && !amd; n++) {
        struct host_leaf l = host(host(4, 0).r[0] & 31 ? 4 : 0x8000001d, n);      /* a host by AMD has it there, laid out alike */
        unsigned with = sharing(t, l.r[0] >> 5 & 7), cores = (1u << (bits_for(t->cores) + bits_for(t->dies))) - 1;
        if (l.r[0] & 31) put(m, 4, n, (l.r[0] & 0x3fff) | with << 14 | cores << 26, l.r[1], l.r[2], l.r[3]);
    }
}

static void derived_leaves(struct cpuid_model *m, const struct identity *id, enum cpuid_engine engine)
{
    bool amd = is_amd(id);
    struct cpuid_entry *e;
    struct host_leaf width = host(0x80000008, 0);
    unsigned physical = width.r[0] & 0xff, logical = package_size(&m->topology);

    if (physical < 36 || !width.r[0]) physical = 36;
    if (engine == CPUID_FOR_BT && physical > 46) physical = 46;
    /* UEFI firmware lays page tables and windows out by the width, and needs more memory for them than small machines have; 40 is QEMU's default. */
    if (id->phys_bits || engine == CPUID_FOR_BT) physical = MIN(physical, id->phys_bits ? id->phys_bits : 40);
    vendor_leaf(m, 0, !amd && m->topology.dies > 1 ? MAX(id->level, 0x1fu) : id->level, id->vendor);      /* leaf 1F tells of dies */
    if (id->migratable) flags_clear(m, "invtsc");
    settle_flags(m, id);
    m->signature = signature_of(id->family, id->model, id->stepping);
    e = entry_of(m, 1, 0);
    e->eax = m->signature;
    e->ebx = MIN(logical, 255u) << 16 | 8 << 8;        /* CLFLUSH line of 64 bytes */
    if (logical < 2) e->edx &= ~(1u << 28);
    /* Without TOPOEXT an AMD processor says so that its logical processors are cores, not threads. */
    if (amd && logical > 1 && !flag_get(m, "topoext")) entry_of(m, 0x80000001, 0)->ecx |= 1u << 1;
    entry_of(m, 7, 0)->eax = entry_of(m, 7, 2)->edx ? 2 : entry_of(m, 7, 1)->eax ? 1 : 0;
    xsave_leaves(m);
    topology_leaves(m, amd);
    cache_leaves(m, amd);
    if (id->hide_kvm) put(m, 0x40000001, 0, 0, 0, 0, 0);
    else put(m, 0x40000000, 0, 0x40000001, 0x4b4d564b, 0x564b4d56, 0x4d);  /* KVMKVMKVM */
    vendor_leaf(m, 0x80000000, amd ? 0x80000021 : 0x80000008, id->vendor);
    if (!amd) entry_of(m, 0x80000000, 0)->ebx = entry_of(m, 0x80000000, 0)->ecx = entry_of(m, 0x80000000, 0)->edx = 0;
    entry_of(m, 0x80000001, 0)->eax = amd ? m->signature : 0;
    brand_leaves(m, id->brand);
    e = entry_of(m, 0x80000008, 0);
    e->eax = flag_get(m, "lm") ? physical | 48 << 8 : 32 | 32 << 8;
    e->ecx = amd ? MIN(logical - 1, 255u) | package_bits(&m->topology) << 12 : 0;
}

int cpuid_model_build(struct cpuid_model *m, const char *spec, enum cpuid_engine engine, const struct cpuid_topology *t,
                      struct error *err)
{
    char *copy = strdup(spec ? spec : engine == CPUID_FOR_BT ? "max" : "host"), *rest = copy, *item;
    struct identity id = host_identity();
    int result = -1;

    memset(m, 0, sizeof *m);
    m->topology = t ? *t : (struct cpuid_topology){ 1, 1, 1, 1 };
    if (!copy) return error_set(err, "out of memory");
    item = strsep(&rest, ",");
    if (choose_model(m, &id, item, engine, err) < 0) goto out;
    while ((item = strsep(&rest, ",")))
        if (apply_item(m, &id, item, engine, err) < 0) goto out;
    derived_leaves(m, &id, engine);
    m->check = id.check;
    result = id.enforce && m->missing[0] ? error_set(err, "-cpu: %s has %s, which this machine cannot give; leave out enforce", m->name, m->missing) : 0;
out:
    free(copy);
    return result;
}

/* ---- queries ---- */

static const struct cpuid_entry *lookup(const struct cpuid_model *m, uint32_t leaf, uint32_t subleaf)
{
    for (unsigned n = 0; n < m->count; n++)
        if (m->entry[n].leaf == leaf && (!m->entry[n].has_subleaf || m->entry[n].subleaf == subleaf)) return &m->entry[n];
    return NULL;
}

bool cpuid_has(const struct cpuid_model *m, uint32_t leaf, uint32_t subleaf, int reg, unsigned bit)
{
    struct cpuid_entry *e = (struct cpuid_entry *)lookup(m, leaf, subleaf);

    return e && (*reg_of(e, reg) >> bit & 1);
}

/* Size of the XSAVE area for the components in mask: standard layout, or compacted. */
static uint32_t xsave_size(const struct cpuid_model *m, uint64_t mask, bool compacted)
{
    uint32_t size = 576;

    for (unsigned n = 2; n < 8; n++) {
        const struct cpuid_entry *e = lookup(m, 0xd, n);
        if (!e || !(mask >> n & 1)) continue;
        if (compacted) size = (e->ecx & 2 ? ALIGN_UP(size, 64u) : size) + e->eax;
        else if (e->ebx + e->eax > size) size = e->ebx + e->eax;
    }
    return size;
}

void cpuid_query(const struct cpuid_model *m, uint32_t leaf, uint32_t subleaf, unsigned vcpu, uint64_t cr4, uint64_t xcr0,
                 uint32_t out[4])
{
    const struct cpuid_entry *e = lookup(m, leaf, subleaf), *first = lookup(m, leaf & 0xf0000000, 0);
    const struct cpuid_topology *t = &m->topology;
    uint32_t id = cpuid_apic_id(t, vcpu);

    /* Beyond the last leaf AMD answers with zeros, as here for leaves that are not kept. */
    if (!e || (first && leaf > first->eax)) {
        memset(out, 0, 16);
        if (leaf == 0xb || (leaf == 0x1f && lookup(m, leaf, 0))) {
            out[2] = subleaf & 0xff;
            out[3] = id;
        }
        return;
    }
    out[0] = e->eax;
    out[1] = e->ebx;
    out[2] = e->ecx;
    out[3] = e->edx;
    switch (leaf) {
    case 1:
        out[1] |= id << 24;
        if (cr4 & 1u << 18) out[2] |= 1u << 27;        /* OSXSAVE */
        break;
    case 0xb:
    case 0x1f: out[3] = id; break;
    case 0xd:
        if (subleaf == 0) {
            out[1] = xsave_size(m, xcr0, false);
            out[2] = xsave_size(m, m->xcr0_allowed, false);
        } else if (subleaf == 1 && e->eax & 2) {
            out[1] = xsave_size(m, xcr0, true);
        }
        break;
    case 0x8000001e:
        out[0] = id;
        out[1] = (vcpu / t->threads % (t->cores * t->dies)) | (t->threads - 1) << 8;
        out[2] = vcpu / package_size(t);               /* node */
        break;
    }
}

const char *cpuid_flag_name(unsigned i)
{
    return i < cpuid_flag_count ? cpuid_flags[i].name : NULL;
}

bool cpuid_flag_is_set(const struct cpuid_model *m, unsigned i)
{
    const struct cpuid_flag *f = &cpuid_flags[i];

    return i < cpuid_flag_count && cpuid_has(m, f->leaf, f->subleaf, f->reg, f->bit);
}

const char *cpuid_model_name(unsigned i)
{
    if (i < cpuid_named_model_count) return cpuid_named_models[i].name;
    return i == cpuid_named_model_count ? "host" : i == cpuid_named_model_count + 1 ? "max" : NULL;
}

void cpuid_help(FILE *out)
{
    unsigned column = 0;

    fprintf(out, "Available CPUs:\n");
    for (size_t n = 0; n < cpuid_named_model_count; n++)
        fprintf(out, "x86 %-20s  %s\n", cpuid_named_models[n].name, cpuid_named_models[n].brand);
    fprintf(out, "x86 %-20s  %s\n", "host", "this machine's processor, as far as the engine can give it");
    fprintf(out, "x86 %-20s  %s\n", "max", "everything the engine can give on this machine");
    fprintf(out, "\nRecognized CPUID flags:\n ");
    for (size_t n = 0; n < cpuid_flag_count; n++) {
        column += fprintf(out, " %s", cpuid_flags[n].name);
        if (column < 70) continue;
        fprintf(out, "\n ");
        column = 0;
    }
    fprintf(out, "\n");
}
