/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The processor: does it virtualize, has the firmware switched that off, which module of KVM fits, nested virtualization, IOMMU.
 *
 * Firmware that switches VMX or SVM off leaves a trace in a register (IA32_FEATURE_CONTROL 3Ah: locked without bit 2; VM_CR
 * C0010114h: bit 4), which root can read where the module msr is loaded. Without it there is another one: the kernel takes vmx off
 * the list in /proc/cpuinfo while the CPUID instruction still tells it.
 * Sources: Intel SDM vol. 3, 24.7; AMD APM vol. 2, 15.4 and 15.30.
 */
#include <cpuid.h>
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/bits.h"
#include "tool/doctor_private.h"

enum { MSR_FEATURE_CONTROL = 0x3a };
#define MSR_VM_CR 0xc0010114

static bool msr_read(struct doctor *d, uint32_t msr, uint64_t *value)
{
    const char *fact = host_fact(d, arena_format(d->arena, "msr_%x", msr));
    int fd;
    bool got;

    if (*d->root) {
        if (fact) *value = strtoull(fact, NULL, 16);
        return fact;
    }
    fd = open("/dev/cpu/0/msr", O_RDONLY | O_CLOEXEC);
    if (fd < 0) return false;
    got = pread(fd, value, 8, msr) == 8;
    close(fd);
    return got;
}

/* What the instruction says, whatever the kernel made of it. */
static bool cpuid_has(struct doctor *d, const char *name)
{
    uint32_t a, b, c = 0, e;
    const char *fact = host_fact(d, "cpuid");

    if (*d->root) return fact && host_has_word(fact, name);
    if (!strcmp(name, "vmx")) return __get_cpuid(1, &a, &b, &c, &e) && c & BIT(5);
    return __get_cpuid(0x80000001, &a, &b, &c, &e) && c & BIT(2);
}

static bool firmware_forbids(struct doctor *d, const char *name)
{
    uint64_t v;

    if (!strcmp(name, "vmx")) return msr_read(d, MSR_FEATURE_CONTROL, &v) && v & 1 && !(v & 4);
    return msr_read(d, MSR_VM_CR, &v) && v & 0x10;
}

static void cpu_without(struct doctor *d, const char *model, const char *flags)
{
    const char *raw = cpuid_has(d, "vmx") ? "vmx" : cpuid_has(d, "svm") ? "svm" : NULL;

    if (raw)
        doctor_found(d, FINDING_MISSING, "cpu", !strcmp(raw, "vmx") ? "switch on 'Intel VT-x' in the firmware setup (systemctl reboot --firmware-setup)"
                     : "switch on 'SVM' in the firmware setup (systemctl reboot --firmware-setup)",
                     "%s has %s, but the firmware switched it off", model, raw);
    else if (host_has_word(flags, "hypervisor"))
        doctor_found(d, FINDING_MISSING, "cpu", "on this machine's host: modprobe kvm_intel nested=1 (or kvm_amd nested=1), and -cpu host for this machine; "
                     "rented: a type with nested virtualization, or bare metal",
                     "%s without vmx and svm: this machine is virtual itself, and its host does not pass virtualization on", model);
    else
        doctor_found(d, FINDING_MISSING, "cpu", "look for 'VT-x' or 'SVM' in the firmware setup (systemctl reboot --firmware-setup)",
                     "%s has neither vmx nor svm: too old, or switched off by the firmware", model);
}

void doctor_cpu(struct doctor *d)
{
    const char *info = host_read(d, "/proc/cpuinfo"), *flags = info ? host_field(d, info, "flags") : NULL;
    const char *model = info ? host_field(d, info, "model name") : NULL, *name;

    if (!flags) {
        doctor_found(d, FINDING_WARNING, "cpu", "mount -t proc proc /proc", "/proc/cpuinfo cannot be read; whether this processor virtualizes is not known");
        return;
    }
    if (!model) model = "this processor";
    name = host_has_word(flags, "vmx") ? "vmx" : host_has_word(flags, "svm") ? "svm" : NULL;
    if (!name) {
        cpu_without(d, model, flags);
        return;
    }
    if (firmware_forbids(d, name)) {
        doctor_found(d, FINDING_MISSING, "cpu", "switch on virtualization (VT-x, SVM) in the firmware setup (systemctl reboot --firmware-setup)",
                     "%s has %s, but the firmware has locked it off", model, name);
        return;
    }
    d->has_vmx = !strcmp(name, "vmx");
    d->has_svm = !d->has_vmx;
    doctor_found(d, FINDING_OK, "cpu", NULL, "%s with %s", model, name);
}

/* ---- modules ---- */

static const char *modules_loaded(struct doctor *d)
{
    static const char *const names[] = { "kvm", "kvm_intel", "kvm_amd", "kvm_pvm" };
    const char *list = "";

    for (unsigned i = 0; i < ARRAY_SIZE(names); i++)
        if (host_module_is_loaded(d, names[i])) list = arena_format(d->arena, "%s%s%s", list, *list ? ", " : "", names[i]);
    return list;
}

static const char *module_mend(struct doctor *d, const char *want)
{
    if (host_module_is_known(d, want)) return arena_format(d->arena, "modprobe %s", want);
    if (host_is_container(d)) return arena_format(d->arena, "on the container's host: modprobe %s", want);
    return "apt install linux-image-amd64, then boot that kernel";
}

void doctor_modules(struct doctor *d)
{
    const char *want = d->has_vmx ? "kvm_intel" : d->has_svm ? "kvm_amd" : NULL, *loaded = modules_loaded(d);

    if (want && host_module_is_loaded(d, want))
        doctor_found(d, FINDING_OK, "kvm-module", NULL, "%s is loaded, which fits this processor", want);
    else if (want)
        doctor_found(d, FINDING_MISSING, "kvm-module", module_mend(d, want), "%s fits this processor and is not loaded%s%s", want, *loaded ? "; there is " : "",
                     loaded);
    else if (*loaded)
        doctor_found(d, FINDING_WARNING, "kvm-module", NULL, "%s: without vmx and svm none of KVM's usual modules can work", loaded);
    else
        doctor_found(d, FINDING_MISSING, "kvm-module", NULL, "no module of KVM fits a processor without vmx and svm: see cpu");
}

void doctor_nested(struct doctor *d)
{
    const char *module = d->has_vmx ? "kvm_intel" : "kvm_amd", *on;

    if (!d->has_vmx && !d->has_svm) {
        doctor_found(d, FINDING_MISSING, "nested", NULL, "guests cannot run KVM themselves: see cpu");
        return;
    }
    on = host_read(d, "/sys/module/%s/parameters/nested", module);
    if (!on) doctor_found(d, FINDING_MISSING, "nested", NULL, "guests cannot run KVM themselves: see kvm-module");
    else if (*on == 'Y' || *on == '1') doctor_found(d, FINDING_OK, "nested", NULL, "guests can run KVM themselves");
    else
        doctor_found(d, FINDING_WARNING, "nested",
                     arena_format(d->arena, "echo 'options %s nested=1' > /etc/modprobe.d/nested.conf; modprobe -r %s; modprobe %s", module, module, module),
                     "guests cannot run KVM themselves: switched off in %s", module);
}

/* ---- IOMMU ---- */

static unsigned directory_count(struct doctor *d, const char *path)
{
    DIR *dir = opendir(host_path(d, path));
    unsigned n = 0;

    for (struct dirent *e; dir && (e = readdir(dir));) n += e->d_name[0] != '.';
    if (dir) closedir(dir);
    return n;
}

void doctor_iommu(struct doctor *d)
{
    unsigned groups = directory_count(d, "/sys/kernel/iommu_groups");
    bool table = host_exists(d, "/sys/firmware/acpi/tables/DMAR") || host_exists(d, "/sys/firmware/acpi/tables/IVRS");

    if (groups) doctor_found(d, FINDING_OK, "iommu", NULL, "on, %u groups", groups);
    else
        doctor_found(d, FINDING_MISSING, "iommu", table ? "put intel_iommu=on on the kernel's command line (/etc/default/grub, update-grub) and reboot"
                     : "switch on 'VT-d' or 'IOMMU' in the firmware setup, where there is one",
                     "%s; needed only to hand PCI devices to guests, which this version does not do", table ? "there is one, but it is off" : "none");
}
