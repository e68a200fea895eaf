/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Properties that all virtio devices on PCI have. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/error.h"
#include "tool/vm_virtio_private.h"

int virtio_set_accept(void *t, const char *v, struct error *err) { return 0; }
int virtio_set_id(void *t, const char *v, struct error *err) { virtio_request_of(t)->d.id = v; return 0; }

int virtio_set_bus(void *t, const char *v, struct error *err)
{
    return !strcmp(v, "pci.0") ? 0 : error_set(err, "bus '%s' is not there; the PCI bus is pci.0", v);
}

/* "6", "06.0", "0x6.0x1": slot and function, in hexadecimal. */
int virtio_set_addr(void *t, const char *v, struct error *err)
{
    unsigned long slot, function = 0;
    char *end;

    slot = strtoul(v, &end, 16);
    if (end != v && *end == '.') {
        const char *f = end + 1;
        function = strtoul(f, &end, 16);
        if (end == f) end = (char *)(uintptr_t)v;
    }
    if (end == v || *end || slot > 31 || function > 7) return error_set(err, "addr wants a slot such as 6 or 06.0 (hexadecimal, at most 1f.7), not '%s'", v);
    virtio_request_of(t)->d.pci.devfn = (int)(slot << 3 | function);
    return 0;
}

int virtio_set_disable_legacy(void *t, const char *v, struct error *err)
{
    if (!strcmp(v, "auto")) return 0;
    return value_bool("disable-legacy", v, &virtio_request_of(t)->d.pci.disable_legacy, err);
}

int virtio_set_disable_modern(void *t, const char *v, struct error *err) { return value_bool("disable-modern", v, &virtio_request_of(t)->d.pci.disable_modern, err); }
int virtio_set_page_per_vq(void *t, const char *v, struct error *err) { return value_bool("page-per-vq", v, &virtio_request_of(t)->d.pci.page_per_queue, err); }
int virtio_set_packed(void *t, const char *v, struct error *err) { return value_bool("packed", v, &virtio_request_of(t)->d.options.packed, err); }

int virtio_set_negated(const char *name, const char *v, bool *off, struct error *err)
{
    bool on = true;

    if (value_bool(name, v, &on, err) < 0) return -1;
    *off = !on;
    return 0;
}

int virtio_set_event_idx(void *t, const char *v, struct error *err) { return virtio_set_negated("event_idx", v, &virtio_request_of(t)->d.options.no_event_index, err); }
int virtio_set_indirect(void *t, const char *v, struct error *err) { return virtio_set_negated("indirect_desc", v, &virtio_request_of(t)->d.options.no_indirect, err); }
int virtio_set_queue_reset(void *t, const char *v, struct error *err) { return virtio_set_negated("queue_reset", v, &virtio_request_of(t)->d.options.no_queue_reset, err); }

int virtio_set_vectors(void *t, const char *v, struct error *err)
{
    uint64_t n;

    if (value_unsigned("vectors", v, 2048, &n, err) < 0) return -1;
    virtio_request_of(t)->d.pci.vectors = (unsigned)n;
    virtio_request_of(t)->d.has_vectors = true;
    return 0;
}

int virtio_set_ioeventfd(void *t, const char *v, struct error *err) { return virtio_set_negated("ioeventfd", v, &virtio_request_of(t)->d.pci.no_events, err); }

/* A function does not have to be told: its slot has several when another one comes. */
int virtio_set_multifunction(void *t, const char *v, struct error *err)
{
    bool on;

    return value_bool("multifunction", v, &on, err);
}
