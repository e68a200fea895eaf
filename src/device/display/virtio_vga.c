/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * One PCI function that firmware and old systems take for a VGA with the Bochs extensions, and Linux for a virtio-gpu. BARs are where
 * QEMU has them: 0 video memory, 2 registers (the VGA's first page, then virtio's), 4 MSI-X, and the ROM. The picture is
 * the VGA's until a driver shows one of its own, and again after a reset.
 */
#include "device/display/virtio_vga.h"

static void part_reset(void *opaque) { vga_part_reset(opaque); }
static void part_destroy(void *opaque) { vga_part_free(opaque); }

static void part_info(void *opaque, void (*print)(void *opaque, const char *line), void *print_opaque)
{
    char line[128];

    vga_describe(opaque, line, sizeof(line));
    print(print_opaque, line);
}

struct device *virtio_vga_new(const struct virtio_vga_config *config, struct vga **vga, struct error *err)
{
    struct vga *v = vga_part_new(&config->vga, err);
    struct virtio_pci_part part = { &vga_mmio_io, part_reset, part_destroy, part_info, v };
    struct virtio_pci_config pci = config->pci;
    struct device *d;
    struct virtio *gpu;

    if (!v) return NULL;
    gpu = virtio_gpu_new(&config->gpu, err);
    if (!gpu) {
        vga_part_free(v);
        return NULL;
    }
    virtio_gpu_behind_set(gpu, vga_update, vga_redraw, v);
    pci.part = &part;
    d = virtio_pci_new(&pci, gpu, err);
    if (!d) return NULL;
    vga_part_attach(v, virtio_pci_function(d));
    *vga = v;
    return d;
}
