/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The bt engine as engine.h wants it: creation, vCPUs, registers, run; what helpers ask of the machine.
 */
#include <cpuid.h>
#include <errno.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/random.h>
#include <unistd.h>
#include "base/error.h"
#include "base/log.h"
#include "engine/bt/bt_private.h"
#include "engine/bt/helper/helper.h"


enum { STACK_BYTES = 1 << 20 };
#define DEFAULT_CACHE_BYTES (256ull << 20)

/* ---- Services for helpers that end at the machine ---- */

struct pio_call { uint16_t port; void *data; unsigned size, count; bool write; };
static void pio_in_host(struct bt_vcpu *v, void *arg)
{
    struct pio_call *c = arg;
    v->count[COUNT_PIO]++;
    v->engine->config.host.pio(v->engine->config.host.opaque, c->port, c->data, c->size, c->count, c->write);
}

void bt_pio(struct bt_vcpu *v, uint16_t port, void *data, unsigned size, unsigned count, bool write)
{
    struct pio_call c = { port, data, size, count, write };
    bt_host_call(v, pio_in_host, &c);
}

struct apic_call { uint32_t msr; uint64_t value; bool ok, write; };
static void apic_in_host(struct bt_vcpu *v, void *arg)
{
    struct apic_call *c = arg;
    v->count[COUNT_APIC]++;
    const struct engine_host *h = &v->engine->config.host;
    if (c->write) c->ok = h->apic_msr_write && h->apic_msr_write(h->opaque, v->base.index, c->msr, c->value);
    else c->ok = h->apic_msr_read && h->apic_msr_read(h->opaque, v->base.index, c->msr, &c->value);
}

bool bt_apic_msr_read(struct bt_vcpu *v, uint32_t msr, uint64_t *value)
{
    struct apic_call c = { .msr = msr };
    bt_host_call(v, apic_in_host, &c);
    *value = c.value;
    return c.ok;
}

bool bt_apic_msr_write(struct bt_vcpu *v, uint32_t msr, uint64_t value)
{
    struct apic_call c = { .msr = msr, .value = value, .write = true };
    bt_host_call(v, apic_in_host, &c);
    return c.ok;
}

static void tpr_get_in_host(struct bt_vcpu *v, void *arg)
{
    const struct engine_host *h = &v->engine->config.host;
    *(uint8_t *)arg = h->tpr_get ? h->tpr_get(h->opaque, v->base.index) : v->s.cr8;
}

static void tpr_set_in_host(struct bt_vcpu *v, void *arg)
{
    const struct engine_host *h = &v->engine->config.host;
    v->s.cr8 = *(uint8_t *)arg;
    if (h->tpr_set) h->tpr_set(h->opaque, v->base.index, *(uint8_t *)arg);
}

uint8_t bt_tpr_get(struct bt_vcpu *v)
{
    uint8_t tpr;
    v->count[COUNT_TPR]++;
    bt_host_call(v, tpr_get_in_host, &tpr);
    return tpr;
}

void bt_tpr_set(struct bt_vcpu *v, uint8_t tpr)
{
    v->count[COUNT_TPR]++;
    bt_host_call(v, tpr_set_in_host, &tpr);
    bt_vcpu_interrupt(&v->base);                       /* something may have become deliverable */
}

struct cpuid_call { uint32_t leaf, subleaf, *out; };
static void cpuid_in_host(struct bt_vcpu *v, void *arg)
{
    struct cpuid_call *c = arg;
    v->count[COUNT_CPUID]++;
    cpuid_query(&v->engine->cpuid, c->leaf, c->subleaf, v->base.index, v->s.cr4, v->s.xcr0, c->out);
}

void bt_cpuid(struct bt_vcpu *v, uint32_t leaf, uint32_t subleaf, uint32_t out[4])
{
    struct cpuid_call c = { leaf, subleaf, out };
    bt_host_call(v, cpuid_in_host, &c);
}

bool bt_has(struct bt_vcpu *v, uint32_t leaf, uint32_t subleaf, int reg, unsigned bit)
{
    const struct cpuid_model *m = &v->engine->cpuid;
    for (unsigned i = 0; i < m->count; i++) {
        const struct cpuid_entry *e = &m->entry[i];
        if (e->leaf != leaf || (e->has_subleaf && e->subleaf != subleaf)) continue;
        uint32_t value = reg == 0 ? e->eax : reg == 1 ? e->ebx : reg == 2 ? e->ecx : e->edx;
        return value >> bit & 1;
    }
    return false;
}

uint64_t bt_xcr0_allowed(struct bt_vcpu *v) { return v->engine->cpuid.xcr0_allowed; }

uint64_t bt_tsc(struct bt_vcpu *v) { return __builtin_ia32_rdtsc() + v->s.tsc_offset; }

/* PAUSE: a vCPU that goes on waiting lets others have its host CPU, the one that it waits for may be among them. */
void bt_yield(struct bt_vcpu *v)
{
    enum { PATIENCE = 64 };
    __builtin_ia32_pause();
    if (v->engine->vcpu_count == 1 || ++v->pauses % PATIENCE) return;
    v->count[COUNT_YIELD]++;
    sched_yield();
}

static void ferr_in_host(struct bt_vcpu *v, void *arg)
{
    const struct engine_host *h = &v->engine->config.host;
    if (h->ferr) h->ferr(h->opaque, true);
}
void bt_ferr(struct bt_vcpu *v) { bt_host_call(v, ferr_in_host, NULL); }

/* ---- Memory map ---- */

/* Frees what no vCPU can still be reading: each has been asked to flush since, and has, or rests. */
static void old_ranges_free(struct bt_engine *e)
{
    uint64_t oldest = e->ranges->serial;
    for (unsigned i = 0; i < e->vcpu_count; i++) {
        const struct bt_vcpu *v = e->vcpu[i];
        if (v && !__atomic_load_n(&v->at_rest, __ATOMIC_SEQ_CST)) oldest = MIN(oldest, __atomic_load_n(&v->ranges_seen, __ATOMIC_SEQ_CST));
    }
    struct bt_ranges **p = &e->ranges->old, *r;
    while (*p && (*p)->serial >= oldest) p = &(*p)->old;
    while ((r = *p)) {
        *p = r->old;
        free(r);
    }
}

static bool ranges_equal(const struct bt_ranges *a, const struct bt_ranges *b)
{
    if (a->count != b->count) return false;
    for (size_t i = 0; i < a->count; i++) {
        const struct bt_range *x = &a->range[i], *y = &b->range[i];
        if (x->start != y->start || x->size != y->size || x->hva != y->hva || x->readonly != y->readonly) return false;
    }
    return true;
}

static void ranges_changed(void *opaque, const struct flat_range *ranges, size_t count)
{
    struct bt_engine *e = opaque;
    struct bt_ranges *r = calloc(1, sizeof(*r) + count * sizeof(struct bt_range));
    if (!r) abort();
    for (size_t i = 0; i < count; i++) {
        const struct flat_range *f = &ranges[i];
        if ((f->kind != RANGE_RAM && f->kind != RANGE_ROM) || f->start + f->size > PAGES_MAX * PAGE_BYTES) continue;
        struct bt_range *last = r->count ? &r->range[r->count - 1] : NULL;
        bool readonly = f->kind == RANGE_ROM;
        if (last && last->start + last->size == f->start && last->hva + last->size == f->hva && last->readonly == readonly)
            last->size += f->size;
        else
            r->range[r->count++] = (struct bt_range){ f->start, f->size, f->hva, readonly };
    }
    if (ranges_equal(r, e->ranges)) {                  /* devices moved: TLBs do not tell one from another, nor from nothing */
        free(r);
        return;
    }
    r->old = e->ranges;
    r->serial = r->old->serial + 1;
    __atomic_store_n(&e->ranges, r, __ATOMIC_SEQ_CST);
    old_ranges_free(e);
    bt_request_flush(e);
}

/* ---- Engine ---- */

static bool cache_map(struct bt_engine *e)
{
    if (e->config.perf) return bt_perf_cache_map(e->cache_bytes, &e->rw, &e->rx);
    int fd = memfd_create("ospite-code", MFD_CLOEXEC);
    bool ok = fd >= 0 && ftruncate(fd, e->cache_bytes) == 0;
    if (ok) {
        e->rw = mmap(NULL, e->cache_bytes, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
        e->rx = mmap(NULL, e->cache_bytes, PROT_READ | PROT_EXEC, MAP_SHARED, fd, 0);
    }
    if (fd >= 0) close(fd);
    return ok;
}

static int cache_create(struct bt_engine *e, struct error *err)
{
    if (!cache_map(e))
        return error_set(err, "bt: cannot make a code cache of %lu MiB: %s", (unsigned long)(e->cache_bytes >> 20), strerror(errno));
    e->meta_bytes = e->cache_bytes * 2;
    e->meta = mmap(NULL, e->meta_bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    e->page_tbs = mmap(NULL, PAGES_MAX * sizeof(*e->page_tbs), PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    e->page_watch = mmap(NULL, PAGES_MAX, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    e->page_lines = mmap(NULL, PAGES_MAX * sizeof(*e->page_lines), PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    e->page_count = PAGES_MAX;
    e->tb_max = e->cache_bytes / 128;
    e->by_host = mmap(NULL, e->tb_max * sizeof(*e->by_host), PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    if (e->rw == MAP_FAILED || e->rx == MAP_FAILED || e->meta == MAP_FAILED || e->page_tbs == MAP_FAILED ||
        e->page_watch == MAP_FAILED || e->page_lines == MAP_FAILED || e->by_host == MAP_FAILED)
        return error_set(err, "bt: cannot map its code cache: %s; executable memory may be forbidden on this host", strerror(errno));
    return 0;
}

static void bt_destroy(struct engine *base)
{
    struct bt_engine *e = container_of(base, struct bt_engine, base);
    if (e->rw && e->rw != MAP_FAILED) munmap(e->rw, e->cache_bytes);
    if (e->rx && e->rx != MAP_FAILED) munmap(e->rx, e->cache_bytes);
    if (e->meta && e->meta != MAP_FAILED) munmap(e->meta, e->meta_bytes);
    if (e->page_tbs && e->page_tbs != MAP_FAILED) munmap(e->page_tbs, PAGES_MAX * sizeof(*e->page_tbs));
    if (e->page_watch && e->page_watch != MAP_FAILED) munmap(e->page_watch, PAGES_MAX);
    if (e->page_lines && e->page_lines != MAP_FAILED) munmap(e->page_lines, PAGES_MAX * sizeof(*e->page_lines));
    if (e->by_host && e->by_host != MAP_FAILED) munmap(e->by_host, e->tb_max * sizeof(*e->by_host));
    for (struct bt_ranges *r = e->ranges, *old; r; r = old) {
        old = r->old;
        free(r);
    }
    bt_perf_end(e);
    free(e->vcpu);
    free(e);
}

static bool host_has_bmi2(void)
{
    unsigned a, b, c, d;
    return __get_cpuid_count(7, 0, &a, &b, &c, &d) && (b & (1 << 8)) && __get_cpuid(1, &a, &b, &c, &d) && (c & (1 << 27));
}

static struct engine *bt_create(const struct engine_config *config, struct error *err)
{
    if (!host_has_bmi2()) {
        error_set(err, "bt: this CPU has no BMI2 or no XSAVE, which the engine needs (Haswell, Zen or later); use -accel kvm");
        return NULL;
    }
    struct bt_engine *e = calloc(1, sizeof(*e));
    if (!e) return NULL;
    e->base.ops = &engine_bt;
    e->config = *config;
    e->cpuid = *config->cpuid;
    e->cache_bytes = ALIGN_UP(config->tb_cache_bytes ? config->tb_cache_bytes : DEFAULT_CACHE_BYTES, PAGE_BYTES);
    e->cache_bytes = MAX(MIN(e->cache_bytes, 1ull << 30), 1ull << 20);
    e->vcpu_count = config->max_vcpus;
    e->vcpu = calloc(config->max_vcpus, sizeof(*e->vcpu));
    e->ranges = calloc(1, sizeof(struct bt_ranges));
    uint32_t width[4];
    cpuid_query(&e->cpuid, 0x80000008, 0, 0, 0, 0, width);
    unsigned bits = (width[0] & 0xff) >= 32 && (width[0] & 0xff) <= 52 ? width[0] & 0xff : 40;
    e->host_phys_mask = (1ull << bits) - 1;
    bt_features_find(&e->cpuid, e->feature);
    e->exact_flags = getenv("OSPITE_BT_EXACT_FLAGS") != NULL;
    e->perf_fd = -1;
    if (!e->vcpu || !e->ranges || cache_create(e, err) < 0) {
        bt_destroy(&e->base);
        return NULL;
    }
    kvmclock_start(e);
    bt_thunks_build(e);
    bt_cache_init(e);
    if (config->perf && bt_perf_begin(e, err) < 0) {
        bt_destroy(&e->base);
        return NULL;
    }
    bt_signals_install();
    memory_map_listen(config->memory, ranges_changed, e);
    memory_map_listen_written(config->memory, bt_memory_written, e);
    return &e->base;
}

static struct engine_vcpu *bt_vcpu_create(struct engine *base, unsigned index, struct error *err)
{
    struct bt_engine *e = container_of(base, struct bt_engine, base);
    uint64_t used = PAGE_BYTES + STACK_BYTES + WINDOW_TABLE_AT + PAGE_BYTES, bytes = used - PAGE_BYTES + WINDOW_TABLE_BYTES;
    uint8_t *region = mmap(NULL, bytes, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    if (region == MAP_FAILED || mprotect(region + PAGE_BYTES, used - PAGE_BYTES, PROT_READ | PROT_WRITE) < 0) {
        error_set(err, "bt: no memory for vCPU %u: %s", index, strerror(errno));
        return NULL;
    }
    uint64_t place_bytes = PAGES_MAX * sizeof(uint64_t);
    uint64_t *places = mmap(NULL, 2 * place_bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    if (places == MAP_FAILED) {
        error_set(err, "bt: no memory for vCPU %u: %s", index, strerror(errno));
        munmap(region, bytes);
        return NULL;
    }
    struct bt_vcpu *v = (struct bt_vcpu *)(region + PAGE_BYTES + STACK_BYTES);
    v->region = region;
    v->window = (uint64_t *)((uint8_t *)v + WINDOW_TABLE_AT);
    v->region_bytes = bytes;
    v->write_place[0] = places;
    v->write_place[1] = places + PAGES_MAX;
    v->engine = e;
    v->base.engine = base;
    v->base.index = index;
    v->thunk_raise = e->thunk_raise;
    v->at_rest = 1;
    v->thread = pthread_self();
    v->thread_id = gettid();
    v->xsave_mask = e->cpuid.xcr0_allowed | 3;
    v->light = bt_vectors_are_light(v->xsave_mask);
    if (getrandom(&v->generation, sizeof(v->generation), 0) < 0) v->generation = __builtin_ia32_rdtsc();
    bt_mmu_init(v);
    bt_windows_init(v);
    x86_state_reset(&v->s, false, e->cpuid.signature);
    bt_mode_update(v);
    e->vcpu[index] = v;
    return &v->base;
}

static void bt_vcpu_destroy(struct engine_vcpu *base)
{
    struct bt_vcpu *v = bt_of(base);
    v->engine->vcpu[base->index] = NULL;
    bt_profile_vcpu_end(v);
    free(v->signal_stack);
    bt_windows_free(v);
    munmap(v->write_place[0], 2 * PAGES_MAX * sizeof(uint64_t));
    munmap(v->region, v->region_bytes);
}

static enum engine_exit bt_vcpu_run(struct engine_vcpu *base)
{
    struct bt_vcpu *v = bt_of(base);
    bt_signals_thread(v);
    v->in_host = false;
    v->running = true;
    bt_run_begin(v);
    bt_vectors_load(v);
    uint64_t start = (uint64_t)v->engine->thunk_start;
    ((void (*)(struct bt_vcpu *, uint64_t))v->engine->thunk_enter)(v, start);
    bt_vectors_save(v);
    bt_run_end(v);
    v->running = false;
    bt_signals_thread(NULL);
    return v->exit;
}

static void bt_vcpu_get(struct engine_vcpu *base, struct x86_state *s) { *s = bt_of(base)->s; }

static void bt_vcpu_set(struct engine_vcpu *base, const struct x86_state *s)
{
    struct bt_vcpu *v = bt_of(base);
    v->s = *s;
    v->stepping_shadow = 0;
    v->single_tb = v->event_pending = v->want_exit = false;
    bt_tlb_switch(v, s->cr4 & CR4_PCIDE ? s->cr3 & 0xfff : 0, false);
    bt_tlb_flush(v, true);
    bt_mode_update(v);
}

static void bt_vcpu_debug(struct engine_vcpu *base, const struct engine_debug *d)
{
    struct bt_vcpu *v = bt_of(base);
    v->debug.wish = *d;
    v->debug.has_exec = v->debug.has_data = false;
    for (unsigned i = 0; i < d->count; i++) {
        if (d->breakpoint[i].type == 0) v->debug.has_exec = true;
        else v->debug.has_data = true;
    }
    v->engine->flush_all = true;
    bt_tlb_flush(v, true);
}

static struct engine_debug_info bt_vcpu_debug_info(struct engine_vcpu *base) { return bt_of(base)->debug.info; }
static const char *bt_vcpu_error(struct engine_vcpu *base) { return bt_of(base)->error; }

const struct engine_ops engine_bt = {
    .name = "bt",
    .description = "binary translation, no privileges needed",
    .create = bt_create,
    .destroy = bt_destroy,
    .vcpu_create = bt_vcpu_create,
    .vcpu_destroy = bt_vcpu_destroy,
    .vcpu_run = bt_vcpu_run,
    .vcpu_kick = bt_vcpu_kick,
    .vcpu_interrupt = bt_vcpu_interrupt,
    .vcpu_nmi = bt_vcpu_nmi,
    .vcpu_get = bt_vcpu_get,
    .vcpu_set = bt_vcpu_set,
    .vcpu_debug = bt_vcpu_debug,
    .vcpu_debug_info = bt_vcpu_debug_info,
    .vcpu_error = bt_vcpu_error,
    .info = bt_info,
    .profile_set = bt_profile_set,
    .profile_info = bt_profile_info,
};
