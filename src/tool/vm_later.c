/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Devices that QEMU has and this version has not, and what comes nearest: refused by name, not taken for slips. */
#include <string.h>

#include "base/bits.h"
#include "tool/vm_options_private.h"

static const struct { const char *names, *instead; } later[] = {
    { " vhost-vsock-pci vhost-vsock-pci-non-transitional vhost-vsock-pci-transitional vhost-user-vsock-pci vhost-user-vsock-pci-non-transitional vhost-vsock-device vhost-user-vsock-device ",
      "use virtio-vsock-pci,guest-cid=N,path=SOCKET: the host's programs connect to a Unix socket instead of AF_VSOCK" },
    { " vhost-user-fs-pci vhost-user-fs-device usb-mtp ", "for a shared folder use -virtfs" },
    { " virtio-vga-gl vhost-user-vga ", "use virtio-vga" }, { " virtio-gpu-gl-pci vhost-user-gpu vhost-user-gpu-pci ", "use virtio-gpu-pci" },
    { " cirrus-vga qxl qxl-vga vmware-svga ati-vga isa-vga isa-cirrus-vga secondary-vga ramfb ", "use VGA or virtio-vga" },
    { " virtio-input-host-pci virtio-input-host-device vhost-user-input-pci vhost-user-input ", "use virtio-keyboard-pci and virtio-tablet-pci" },
    { " virtio-multitouch-pci ", "use virtio-tablet-pci" }, { " usb-wacom-tablet vmmouse ", "use usb-tablet" },
    { " usb-host usb-redir vfio-pci vfio-pci-nohotplug ", "devices of the host are not handed to guests" },
    { " usb-uas usb-bot ", "use usb-storage" },
    { " usb-ehci ich9-usb-ehci1 ich9-usb-ehci2 ich9-usb-uhci1 ich9-usb-uhci2 ich9-usb-uhci3 ich9-usb-uhci4 ich9-usb-uhci5 ich9-usb-uhci6 pci-ohci piix4-usb-uhci ",
      "use qemu-xhci or piix3-usb-uhci" },
    { " usb-serial usb-braille pci-serial pci-serial-2x pci-serial-4x ", "use isa-serial or virtserialport" },
    { " usb-ccid ccid-card-emulated ccid-card-passthru u2f-passthru u2f-emulated usb-u2f ", "there are no smart cards and keys" },
    { " AC97 ES1370 adlib cs4231a gus hda-duplex hda-micro hda-output ich9-intel-hda intel-hda sb16 usb-audio virtio-sound virtio-sound-pci ", "there is no sound" },
    { " e1000e e1000-82544gc e1000-82545em igb i82550 i82551 i82557a i82557b i82557c i82558a i82558b i82559a i82559b i82559c i82559er i82562 i82801 ne2k_isa pcnet tulip vmxnet3 rocker usb-net pvrdma ",
      "use e1000, rtl8139 or virtio-net-pci" },
    { " am53c974 dc390 lsi53c810 lsi53c895a lsi megasas megasas-gen2 mptsas1068 pvscsi scsi-block scsi-generic vhost-scsi vhost-scsi-pci vhost-scsi-pci-transitional "
      "vhost-scsi-pci-non-transitional vhost-user-scsi vhost-user-scsi-pci vhost-user-scsi-pci-transitional vhost-user-scsi-pci-non-transitional ",
      "use virtio-scsi-pci with scsi-hd and scsi-cd" },
    { " nvme nvme-ns nvme-subsys vhost-user-blk vhost-user-blk-pci vhost-user-blk-pci-transitional vhost-user-blk-pci-non-transitional sd-card sdhci-pci ", "use virtio-blk-pci" },
    { " piix3-ide piix4-ide isa-ide ", "the board has two IDE channels; for more use ahci" },
    { " pc-dimm nvdimm virtio-mem virtio-mem-pci virtio-pmem virtio-pmem-pci cxl-type3 ", "give all memory with -m" },
    { " vhost-user-rng vhost-user-rng-pci ", "use virtio-rng-pci" },
    { " pcie-root-port ioh3420 pci-bridge pci-bridge-seat pcie-pci-bridge i82801b11-bridge pxb pxb-pcie pxb-cxl cxl-rp cxl-upstream cxl-downstream x3130-upstream xio3130-downstream ",
      "all PCI devices are on pci.0" },
    { " intel-iommu amd-iommu AMDVI-PCI virtio-iommu-pci virtio-iommu-device ", "there is no IOMMU" },
    { " tpm-tis tpm-crb ", "there is no TPM" }, { " i6300esb ib700 ", "there is no watchdog" }, { " isa-parallel ", "there is no parallel port" },
    { " isa-fdc ", "use floppy" }, { " i8042 mc146818rtc ", "the board has one" }, { " loader guest-loader ", "use -kernel and -initrd" },
    { " virtio-9p-device virtio-balloon-device virtio-blk-device virtio-gpu-device virtio-keyboard-device virtio-mouse-device virtio-net-device virtio-rng-device virtio-scsi-device "
      "virtio-serial-device virtio-tablet-device ", "virtio devices are on PCI: NAME-pci instead of NAME-device" },
    { " ivshmem-plain ivshmem-doorbell ", "there is no memory that guests share; use a network or virtio-vsock-pci" },
    { " acpi-erst ctucan_pci edu hv-syndbg hyperv-testdev i2c-ddc ipmi-bmc-extern ipmi-bmc-sim ipoctal232 isa-applesmc isa-ipmi-bt isa-ipmi-kcs kvaser_pci mioe3680_pci pc-testdev pci-ipmi-bt "
      "pci-ipmi-kcs pci-testdev pcm3680_pci pvpanic pvpanic-pci sga smbus-ipmi tpci200 vhost-user-gpio-device vhost-user-gpio-pci vhost-user-i2c-device vhost-user-i2c-pci "
      "virtio-crypto-device virtio-crypto-pci vfio-pci-igd-lpc-bridge vmbus-bridge vmcoreinfo vmgenid x-pci-proxy-dev ", "nothing here is like it; leave it out" },
};

const char *device_later(const char *name)
{
    size_t length = strlen(name);

    for (unsigned i = 0; *name && i < ARRAY_SIZE(later); i++)
        for (const char *at = later[i].names; (at = strstr(at, name)); at++)
            if (at > later[i].names && at[-1] == ' ' && at[length] == ' ') return later[i].instead;
    return NULL;
}
