/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The machine "none": no processor, no memory, no board. It runs nothing; programs start it to ask its monitor what this version can do
 * (libvirt: once for each build, with -machine none,accel=kvm:tcg). Buses without devices spare all others the question whether there are any.
 *
 * Its engine is the first of -accel that can be made. KVM's speed is not tried: libvirt compares the answer of query-kvm to whether /dev/kvm can
 * be opened, and asks anew at every call for as long as they differ. A machine that KVM would run too slowly says so when it is started.
 */
#include "base/error.h"
#include "bus/pci.h"
#include "display/input.h"
#include "machine/machine_private.h"

int empty_create(struct machine *m, struct error *err)
{
    struct pci_bus_config bus = { 0 };

    m->pci = pci_bus_new(&bus);
    m->input = input_new();
    return m->pci && m->input ? 0 : error_set(err, "no memory for the machine");
}
