/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Options of guest memory: -m, -object memory-backend-*, -machine memory-backend=, -mem-path, -mem-prealloc, -overcommit. What belongs
 * together may come in any order, so it is put together at the end (memory_finish).
 */
#include <stdio.h>
#include <string.h>

#include "base/bits.h"
#include "base/error.h"
#include "tool/vm_options_private.h"

#define MIB (1024ull * 1024)

/* ---- -m ---- */

struct size_request { uint64_t bytes, slots, maxmem_bytes; };

static int size_read(void *t, const char *v, uint64_t unit, struct error *err)
{
    uint64_t bytes;

    if (value_size("guest memory", v, unit, &bytes, err) < 0) return -1;
    if (!bytes) return 0;                        /* as qemu: 0 is the default */
    bytes = ALIGN_UP(bytes, (uint64_t)8192);
    if (bytes < MIB) return error_set(err, "%s is too little; a PC needs at least 1M", v);
    if (bytes > BIT(45)) return error_set(err, "%s is more than a PC can address; at most 32T", v);
    ((struct size_request *)t)->bytes = bytes;
    return 0;
}

static int memory_size(void *t, const char *v, struct error *err) { return size_read(t, v, MIB, err); }

static int memory_slots(void *t, const char *v, struct error *err)
{
    return value_unsigned("slots", v, 256, &((struct size_request *)t)->slots, err);
}

static int memory_maxmem(void *t, const char *v, struct error *err)
{
    if (value_size("maxmem", v, MIB, &((struct size_request *)t)->maxmem_bytes, err) < 0) return -1;
    return ((struct size_request *)t)->maxmem_bytes ? 0 : error_set(err, "maxmem=0: the guest has memory; leave it out");
}

const struct option_key memory_keys[] = {
    { "size", memory_size, NULL }, { "slots", memory_slots, NULL }, { "maxmem", memory_maxmem, NULL }, { NULL, NULL, NULL },
};

int option_memory(struct vm_options *o, const char *arg, struct error *err)
{
    struct size_request r = { 0 };
    struct option_list l;
    uint64_t size;

    if (option_list_parse(&l, o->arena, arg, "size", err) < 0) return -1;
    if (option_list_apply(&l, "-m", memory_keys, &r, err) < 0) return -1;
    size = r.bytes ? r.bytes : o->config.ram_bytes;
    if (r.maxmem_bytes && r.maxmem_bytes < size) return error_set(err, "-m: maxmem is less than the %llu MiB the guest starts with", (unsigned long long)(size / MIB));
    if (r.maxmem_bytes > size || r.slots)
        return error_set(err, "-m: memory cannot be added to a running guest in this version; leave out slots= and maxmem=, and give it all with size=");
    o->memory_size_given |= r.bytes != 0;
    o->config.ram_bytes = size;
    return 0;
}

/* ---- -object memory-backend-* ---- */

struct backend_request { struct ram_config ram; };

static struct ram_config *ram_of(void *t) { return &((struct backend_request *)t)->ram; }
static int set_accept(void *t, const char *v, struct error *err) { return 0; }
static int set_id(void *t, const char *v, struct error *err) { ram_of(t)->id = v; return 0; }
static int set_path(void *t, const char *v, struct error *err) { ram_of(t)->path = v; return 0; }
static int set_share(void *t, const char *v, struct error *err) { return value_bool("share", v, &ram_of(t)->share, err); }
static int set_prealloc(void *t, const char *v, struct error *err) { return value_bool("prealloc", v, &ram_of(t)->prealloc, err); }
static int set_merge(void *t, const char *v, struct error *err) { return value_bool("merge", v, &ram_of(t)->mergeable, err); }
static int set_dump(void *t, const char *v, struct error *err) { return value_bool("dump", v, &ram_of(t)->dump, err); }
static int set_hugetlb(void *t, const char *v, struct error *err) { return value_bool("hugetlb", v, &ram_of(t)->hugetlb, err); }

static int set_discard(void *t, const char *v, struct error *err) { return value_bool("discard-data", v, &ram_of(t)->discard, err); }

static int set_size(void *t, const char *v, struct error *err)
{
    struct size_request r = { 0 };

    if (size_read(&r, v, 1, err) < 0) return -1;       /* bytes, without a suffix */
    ram_of(t)->size_bytes = r.bytes;
    return r.bytes ? 0 : error_set(err, "size=0: a PC needs at least 1M");
}

static int set_negated(const char *name, const char *v, bool *off, struct error *err)
{
    bool on = true;

    if (value_bool(name, v, &on, err) < 0) return -1;
    *off = !on;
    return 0;
}

static int set_reserve(void *t, const char *v, struct error *err) { return set_negated("reserve", v, &ram_of(t)->no_reserve, err); }
static int set_seal(void *t, const char *v, struct error *err) { return set_negated("seal", v, &ram_of(t)->unsealed, err); }

static int set_hugetlb_size(void *t, const char *v, struct error *err)
{
    uint64_t n;

    if (value_size("hugetlbsize", v, 1, &n, err) < 0) return -1;
    if (n < 65536 || n & (n - 1)) return error_set(err, "hugetlbsize=%s: it is a power of two such as 2M or 1G", v);
    ram_of(t)->huge_page_bytes = n;
    return 0;
}

static int set_policy(void *t, const char *v, struct error *err)
{
    return strcmp(v, "default") ? error_set(err, "policy=%s is not supported in this version; start ospite with numactl", v) : 0;
}

/* How many threads have all memory at once; the kernel does it in one go. */
static int set_threads(void *t, const char *v, struct error *err)
{
    uint64_t n;

    if (value_unsigned("prealloc-threads", v, UINT32_MAX, &n, err) < 0) return -1;
    return n ? 0 : error_set(err, "prealloc-threads=0: it is at least 1");
}

#define BACKEND_KEYS \
    { "qom-type", set_accept, NULL }, { "id", set_id, NULL }, { "size", set_size, NULL }, { "share", set_share, NULL }, \
    { "prealloc", set_prealloc, NULL }, { "merge", set_merge, NULL }, { "dump", set_dump, NULL }, { "reserve", set_reserve, NULL }, \
    { "policy", set_policy, NULL }, { "host-nodes", NULL, "not supported in this version; start ospite with numactl" }, \
    { "prealloc-threads", set_threads, NULL }, \
    { "x-use-canonical-path-for-ramblock-id", option_off_only, NULL }, { NULL, NULL, NULL }

static const struct option_key ram_keys[] = { BACKEND_KEYS };
static const struct option_key memfd_keys[] = {
    { "hugetlb", set_hugetlb, NULL }, { "hugetlbsize", set_hugetlb_size, NULL }, { "seal", set_seal, NULL }, BACKEND_KEYS,
};
static const struct option_key file_keys[] = {
    { "mem-path", set_path, NULL }, { "pmem", option_off_only, NULL }, { "readonly", option_off_only, NULL }, { "discard-data", set_discard, NULL },
    { "align", NULL, "the mapping is aligned to huge pages; leave it out" }, BACKEND_KEYS,
};

static const struct backend_type { const char *name; enum ram_kind kind; const struct option_key *keys; } types[] = {
    { "memory-backend-ram", RAM_ANONYMOUS, ram_keys }, { "memory-backend-memfd", RAM_MEMFD, memfd_keys }, { "memory-backend-file", RAM_FILE, file_keys },
};

int object_memory(struct vm_options *o, const struct option_list *l, struct error *err)
{
    const struct backend_type *type = types;
    struct backend_request r = { 0 };
    const char *what;

    while (strcmp(type->name, l->pair[0].value)) type++;
    if (option_list_wants_help(l)) return keys_show(o, type->name, type->keys);
    what = arena_format(o->arena, "-object %s", type->name);
    r.ram = (struct ram_config){ .kind = type->kind, .share = type->kind == RAM_MEMFD, .mergeable = true };
    if (option_list_apply(l, what, type->keys, &r, err) < 0) return -1;
    if (!r.ram.id || !r.ram.size_bytes) return error_set(err, "%s needs id= and size=", what);
    if (type->kind == RAM_FILE && !r.ram.path) return error_set(err, "%s needs mem-path=", what);
    if (r.ram.huge_page_bytes && !r.ram.hugetlb) return error_set(err, "%s: hugetlbsize= needs hugetlb=on", what);
    if (o->memory_backend_count == ARRAY_SIZE(o->memory_backend)) return error_set(err, "-object: more than %zu memory backends", ARRAY_SIZE(o->memory_backend));
    o->memory_backend[o->memory_backend_count++] = r.ram;
    return 0;
}

/* ---- the other options ---- */

int option_mem_path(struct vm_options *o, const char *arg, struct error *err)
{
    o->mem_path = arg;
    return *arg ? 0 : error_set(err, "-mem-path wants a directory or a file");
}

int option_mem_prealloc(struct vm_options *o, const char *arg, struct error *err)
{
    o->mem_prealloc = true;
    return 0;
}

static int overcommit_mem_lock(void *t, const char *v, struct error *err)
{
    return value_bool("mem-lock", v, &((struct vm_options *)t)->mem_lock, err);
}

const struct option_key overcommit_keys[] = {
    { "mem-lock", overcommit_mem_lock, NULL }, { "cpu-pm", option_off_only, NULL }, { NULL, NULL, NULL },
};

int option_overcommit(struct vm_options *o, const char *arg, struct error *err)
{
    struct option_list l;

    if (option_list_parse(&l, o->arena, arg, NULL, err) < 0) return -1;
    return option_list_apply(&l, "-overcommit", overcommit_keys, o, err);
}

/* ---- together ---- */

static int backend_take(struct vm_options *o, const char *id, struct error *err)
{
    struct machine_config *c = &o->config;
    const struct ram_config *b = NULL;

    for (unsigned i = 0; i < o->memory_backend_count; i++)
        if (id && !strcmp(o->memory_backend[i].id, id)) b = &o->memory_backend[i];
    if (!b) return error_set(err, "-machine: no -object memory-backend-... has the id '%s'", id);
    if (o->mem_path) return error_set(err, "-mem-path and -machine memory-backend= both say where memory comes from; give one of them");
    if (o->memory_size_given && c->ram_bytes != b->size_bytes)
        return error_set(err, "-m says %llu MiB, memory backend '%s' has %llu; make them equal, or leave out -m", (unsigned long long)(c->ram_bytes / MIB), id,
                         (unsigned long long)(b->size_bytes / MIB));
    c->ram = *b;
    c->ram_bytes = b->size_bytes;
    return 0;
}

int memory_finish(struct vm_options *o, struct error *err)
{
    struct ram_config *ram = &o->config.ram;

    if (o->memory_backend_id) {
        if (backend_take(o, o->memory_backend_id, err) < 0) return -1;
    } else {
        *ram = (struct ram_config){ .kind = o->mem_path ? RAM_FILE : RAM_ANONYMOUS, .path = o->mem_path, .mergeable = true };
    }
    for (unsigned i = 0; i < o->memory_backend_count; i++)
        if (!o->memory_backend_id || strcmp(o->memory_backend[i].id, o->memory_backend_id))
            return error_set(err, "memory backend '%s' is not used; add -machine memory-backend=%s", o->memory_backend[i].id, o->memory_backend[i].id);
    ram->prealloc |= o->mem_prealloc;
    ram->lock = o->mem_lock;
    return 0;
}
