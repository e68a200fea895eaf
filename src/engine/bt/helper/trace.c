/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Lines of -d pcall and -d mmu. Callers ask trace_is_on first; printing is done in the host's world. */
#include "base/log.h"
#include "engine/bt/helper/helper.h"

struct line { const char *what; uint64_t a, b; };

static void far_in_host(struct bt_vcpu *v, void *arg)
{
    const struct x86_state *s = bt_state(v);
    const struct line *l = arg;

    trace_print("%s: %04x:%016llx -> %04x:%016llx CPL=%u\n", l->what, s->seg[SEG_CS].selector, (unsigned long long)s->rip,
                (unsigned)l->a, (unsigned long long)l->b, x86_cpl(s));
}

void trace_far(struct bt_vcpu *v, const char *what, uint16_t selector, uint64_t rip)
{
    struct line l = { what, selector, rip };

    bt_host_call(v, far_in_host, &l);
}

static void fault_in_host(struct bt_vcpu *v, void *arg)
{
    const struct line *l = arg;

    trace_print("page fault at %016llx: %s of a %s page%s%s, CR3=%llx\n", (unsigned long long)l->a,
                l->b & 16 ? "fetch" : l->b & 2 ? "write" : "read", l->b & 1 ? "present" : "missing", l->b & 4 ? ", user" : "",
                l->b & 8 ? ", reserved bits" : "", (unsigned long long)bt_state(v)->cr3);
}

void trace_page_fault(struct bt_vcpu *v, uint64_t address, uint32_t error)
{
    struct line l = { NULL, address, error };

    bt_host_call(v, fault_in_host, &l);
}

static void cr3_in_host(struct bt_vcpu *v, void *arg)
{
    const struct line *l = arg;

    trace_print("CR3 update: CR3=%llx%s\n", (unsigned long long)l->a, l->b ? ", entries kept" : "");
}

void trace_cr3(struct bt_vcpu *v, uint64_t value, bool keep)
{
    struct line l = { NULL, value, keep };

    bt_host_call(v, cr3_in_host, &l);
}
