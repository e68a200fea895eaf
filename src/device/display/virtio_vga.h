/* SPDX-License-Identifier: GPL-2.0-or-later */
/* virtio-vga: virtio-gpu and a VGA in one PCI function. */
#ifndef DEVICE_DISPLAY_VIRTIO_VGA_H
#define DEVICE_DISPLAY_VIRTIO_VGA_H

#include "device/display/vga.h"
#include "device/virtio/virtio_gpu.h"
#include "device/virtio/virtio_pci.h"

struct virtio_vga_config {
    struct virtio_pci_config pci;
    struct virtio_gpu_config gpu;      /* is_vga */
    struct vga_config vga;             /* legacy; the display is the one of gpu */
};
/* *vga: the VGA, for vga_text_screen and its like; it lives as long as the device. NULL with *err. */
struct device *virtio_vga_new(const struct virtio_vga_config *config, struct vga **vga, struct error *err);

#endif
