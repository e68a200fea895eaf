/* SPDX-License-Identifier: GPL-2.0-or-later */
/* -device virtio-vga and virtio-gpu-pci, and what -vga virtio and -global set of them. */
#include <string.h>

#include "base/error.h"
#include "tool/vm_virtio_private.h"

static struct virtio_gpu_config *of(void *t) { return &virtio_request_of(t)->d.gpu; }

static int side(const char *name, const char *v, unsigned *to, struct error *err)
{
    uint64_t n;

    if (value_unsigned(name, v, VIRTIO_GPU_SIDE_MAX, &n, err) < 0) return -1;
    if (n < VIRTIO_GPU_SIDE_MIN) return error_set(err, "%s=%s: it is %d to %d pixels", name, v, VIRTIO_GPU_SIDE_MIN, VIRTIO_GPU_SIDE_MAX);
    *to = (unsigned)n;
    return 0;
}

static int set_xres(void *t, const char *v, struct error *err) { return side("xres", v, &of(t)->width, err); }
static int set_yres(void *t, const char *v, struct error *err) { return side("yres", v, &of(t)->height, err); }
static int set_edid(void *t, const char *v, struct error *err) { return virtio_set_negated("edid", v, &of(t)->no_edid, err); }

static int set_max_outputs(void *t, const char *v, struct error *err)
{
    uint64_t n;

    if (value_unsigned("max_outputs", v, 16, &n, err) < 0) return -1;
    return n == 1 ? 0 : error_set(err, "max_outputs=%s: a machine has one screen in this version; leave it out", v);
}

static int set_max_hostmem(void *t, const char *v, struct error *err)
{
    enum { LEAST = 1 << 20 };
    uint64_t n;

    if (value_size("max_hostmem", v, 1, &n, err) < 0) return -1;
    if (n < LEAST) return error_set(err, "max_hostmem=%s: a picture of 1280x800 takes 4M; 256M is the default", v);
    of(t)->max_hostmem = n;
    return 0;
}

static const struct option_key gpu_keys[] = {
    { "xres", set_xres, NULL }, { "yres", set_yres, NULL }, { "edid", set_edid, NULL }, { "max_outputs", set_max_outputs, NULL },
    { "max_hostmem", set_max_hostmem, NULL }, { "blob", option_off_only, NULL }, VIRTIO_COMMON_KEYS,
};

static int apply(struct vm_options *o, const struct option_list *l, const char *what, struct error *err)
{
    struct virtio_request r = { .o = o, .d = o->config.vga.virtio };

    r.d.pci.devfn = -1;
    if (option_list_apply(l, what, gpu_keys, &r, err) < 0) return -1;
    o->config.vga.virtio = r.d;
    if (r.d.pci.devfn >= 0) o->config.vga.devfn = r.d.pci.devfn;
    return 0;
}

int device_gpu(struct vm_options *o, const char *arg, const struct option_list *l, struct error *err)
{
    const char *name = l->pair[0].value;

    if (option_list_wants_help(l)) return keys_show(o, name, gpu_keys);
    if (vga_card_set(o, name, strcmp(name, "virtio-vga") ? VGA_CARD_GPU : VGA_CARD_VIRTIO, err) < 0) return -1;
    return apply(o, l, arena_format(o->arena, "-device %s", name), err);
}

int global_gpu(struct vm_options *o, const char *property, struct error *err)
{
    struct option_list l;

    if (option_list_parse(&l, o->arena, property, NULL, err) < 0) return -1;
    return apply(o, &l, "-global virtio-vga", err);
}
