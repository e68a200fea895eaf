/* SPDX-License-Identifier: GPL-2.0-or-later */
/* What lies in files: device nodes of drivers that networks, images and guests use, and firmware packages. */
#include <string.h>

#include "base/bits.h"
#include "tool/doctor_private.h"

struct driver {
    const char *check, *node, *module, *use;
    const char *ask;                    /* how to be allowed to use it */
};

static const struct driver drivers[] = {
    { "tun", "/dev/net/tun", "tun", "guests on a tap interface", "chmod 666 /dev/net/tun" },
    { "vhost-net", "/dev/vhost-net", "vhost_net", "fast guest networks on a tap interface", "chgrp kvm /dev/vhost-net; chmod 660 /dev/vhost-net" },
    { "nbd", "/dev/nbd0", "nbd", "disk images as block devices ('ospite nbd -c')", "run 'ospite nbd -c' as root" },
    { "fuse", "/dev/fuse", "fuse", "disk images as files", "chmod 666 /dev/fuse" },
};

static void driver_missing(struct doctor *d, const struct driver *r)
{
    const char *mend = host_module_is_known(d, r->module) ? arena_format(d->arena, "modprobe %s", r->module) : NULL;

    if (host_is_container(d)) mend = arena_format(d->arena, "start the container with --device %s", r->node);
    doctor_found(d, FINDING_MISSING, r->check, mend, "there is no %s%s; needed only for %s", r->node, mend ? "" : ", and this kernel has no such module", r->use);
}

void doctor_drivers(struct doctor *d)
{
    for (unsigned i = 0; i < ARRAY_SIZE(drivers); i++) {
        const struct driver *r = &drivers[i];

        if (!host_exists(d, "%s", r->node)) driver_missing(d, r);
        else if (!host_may_use(d, r->node))
            doctor_found(d, FINDING_WARNING, r->check, r->ask, "no permission on %s; needed only for %s", r->node, r->use);
        else doctor_found(d, FINDING_OK, r->check, NULL, "%s is there", r->node);
    }
    if (!host_exists(d, "/usr/bin/fusermount3") && !host_exists(d, "/bin/fusermount3"))
        doctor_found(d, FINDING_MISSING, "fusermount", "apt install fuse3", "fusermount3 is not installed; needed only for disk images as files without root");
}

/* The first file that is there decides. */
static const struct firmware {
    const char *check, *package, *use;
    bool needed;
    const char *path[4];
} firmware[] = {
    { "seabios", "seabios", "firmware of a PC", true, { "/usr/share/seabios/bios-256k.bin", "/usr/share/seabios/bios.bin", "/usr/share/qemu/bios-256k.bin" } },
    { "vgabios", "seabios", "its graphic card", true, { "/usr/share/seabios/vgabios-stdvga.bin" } },
    { "ovmf", "ovmf", "UEFI", false, { "/usr/share/OVMF/OVMF_CODE_4M.fd", "/usr/share/OVMF/OVMF_CODE.fd", "/usr/share/ovmf/OVMF.fd" } },
    { "ipxe", "ipxe-qemu", "booting from the network", false, { "/usr/lib/ipxe/qemu/pxe-virtio.rom" } },
};

void doctor_firmware(struct doctor *d)
{
    for (unsigned i = 0; i < ARRAY_SIZE(firmware); i++) {
        const struct firmware *f = &firmware[i];
        const char *found = NULL;

        for (unsigned k = 0; !found && k < ARRAY_SIZE(f->path) && f->path[k]; k++)
            if (host_exists(d, "%s", f->path[k])) found = f->path[k];
        if (found) doctor_found(d, FINDING_OK, f->check, NULL, "%s", found);
        else
            doctor_found(d, FINDING_MISSING, f->check, arena_format(d->arena, "apt install %s", f->package), "not installed; needed %sfor %s%s", f->needed ? "" : "only ",
                         f->use, f->needed ? " that does not start a kernel directly" : "");
    }
}
