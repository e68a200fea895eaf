/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * A VM of the kernel's KVM: memory slots, the interrupt controllers and the PIT in the kernel, interrupt lines. Doorbells and their like: events.c.
 *
 * Slots follow the memory map's view: what is in both stays as it is, the rest is deleted and made anew. A vCPU that
 * meets the gap in between comes out with a memory access, which the map serves like any other. ROM is a read-only
 * slot: writes come out too. The engine needs the in-kernel irqchip; there is no mode without.
 * Sources: Linux Documentation/virt/kvm/api.rst.
 */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <unistd.h>

#include "base/bits.h"
#include "base/error.h"
#include "base/log.h"
#include "engine/kvm/kvm_private.h"

int kvm_open(struct error *err)
{
    int fd = open("/dev/kvm", O_RDWR | O_CLOEXEC), version;

    if (fd < 0 && errno == ENOENT)
        return error_set(err, "KVM: there is no /dev/kvm; load kvm-intel or kvm-amd ('modprobe kvm-amd'), or switch virtualization on in "
                         "the firmware");
    if (fd < 0 && (errno == EACCES || errno == EPERM))
        return error_set(err, "KVM: no permission on /dev/kvm; join its group ('sudo usermod -aG kvm $USER', then log in again)");
    if (fd < 0) return error_set(err, "KVM: cannot open /dev/kvm: %s", strerror(errno));
    version = ioctl(fd, KVM_GET_API_VERSION, 0);
    if (version == KVM_API_VERSION) return fd;
    close(fd);
    if (version < 0) return error_set(err, "KVM: /dev/kvm does not answer (%s)", strerror(errno));
    return error_set(err, "KVM: the kernel speaks API version %d, not %d", version, KVM_API_VERSION);
}

int kvm_vm_create(int kvm_fd, struct error *err)
{
    int fd;

    do fd = ioctl(kvm_fd, KVM_CREATE_VM, 0);
    while (fd < 0 && errno == EINTR);
    if (fd < 0) return error_set(err, "KVM: cannot create a virtual machine: %s", strerror(errno));
    return fd;
}

/* ---- memory ---- */

static void slot_put(struct kvm_engine *e, unsigned n, const struct kvm_slot *s)
{
    struct kvm_userspace_memory_region r = {
        .slot = n, .guest_phys_addr = s->start, .memory_size = s->size, .userspace_addr = (uintptr_t)s->hva,
        .flags = s->readonly ? KVM_MEM_READONLY : 0,
    };

    trace(TRACE_KVM, "kvm: slot %u %#llx + %#llx%s\n", n, (unsigned long long)s->start, (unsigned long long)s->size, s->readonly ? " ro" : "");
    if (ioctl(e->vm_fd, KVM_SET_USER_MEMORY_REGION, &r) == 0 || e->slot_error) return;
    e->slot_error = true;
    log_message("KVM refuses memory at %#llx: %s", (unsigned long long)s->start, strerror(errno));
}

static bool same(const struct kvm_slot *a, const struct kvm_slot *b)
{
    return a->start == b->start && a->size == b->size && a->hva == b->hva && a->readonly == b->readonly;
}

/* Whole pages of a piece of the view. */
static struct kvm_slot slot_of(const struct flat_range *r)
{
    gpa_t start = ALIGN_UP(r->start, (gpa_t)4096), end = ALIGN_DOWN(r->start + r->size, (gpa_t)4096);

    if (r->kind != RANGE_RAM && r->kind != RANGE_ROM) return (struct kvm_slot){ 0 };
    if (end <= start) return (struct kvm_slot){ 0 };
    return (struct kvm_slot){ start, end - start, r->hva + (start - r->start), r->kind == RANGE_ROM };
}

static bool view_has(const struct flat_range *ranges, size_t count, const struct kvm_slot *s)
{
    for (size_t n = 0; n < count; n++) {
        struct kvm_slot want = slot_of(&ranges[n]);
        if (same(&want, s)) return true;
    }
    return false;
}

static void slot_add(struct kvm_engine *e, const struct kvm_slot *s)
{
    unsigned free_slot = KVM_SLOTS;

    for (unsigned n = 0; n < KVM_SLOTS; n++) {
        if (e->slot[n].size && same(&e->slot[n], s)) return;
        if (!e->slot[n].size && free_slot == KVM_SLOTS) free_slot = n;
    }
    if (free_slot == KVM_SLOTS) return;                /* the rest is served by exits */
    e->slot[free_slot] = *s;
    slot_put(e, free_slot, s);
}

static void view_changed(void *opaque, const struct flat_range *ranges, size_t count)
{
    struct kvm_engine *e = opaque;

    for (unsigned n = 0; n < KVM_SLOTS; n++) {
        if (!e->slot[n].size || view_has(ranges, count, &e->slot[n])) continue;
        e->slot[n].size = 0;
        slot_put(e, n, &e->slot[n]);
    }
    for (size_t n = 0; n < count; n++) {
        struct kvm_slot s = slot_of(&ranges[n]);
        if (s.size) slot_add(e, &s);
    }
}

/* ---- interrupts ---- */

static int chips_create(struct kvm_engine *e, struct error *err)
{
    struct kvm_pit_config pit = { .flags = KVM_PIT_SPEAKER_DUMMY };
    uint64_t identity = 0xfeffc000;

    ioctl(e->vm_fd, KVM_SET_IDENTITY_MAP_ADDR, &identity);      /* only some Intel processors need these two */
    ioctl(e->vm_fd, KVM_SET_TSS_ADDR, 0xfeffd000ul);
    if (ioctl(e->vm_fd, KVM_CREATE_IRQCHIP, 0) < 0 || ioctl(e->vm_fd, KVM_CREATE_PIT2, &pit) < 0 || kvm_routing_set(e) < 0)
        return error_set(err, "KVM: this kernel has no interrupt controllers for guests (%s)", strerror(errno));
    for (unsigned n = 0; n < 3; n++) {
        e->chip[n].chip_id = n;
        ioctl(e->vm_fd, KVM_GET_IRQCHIP, &e->chip[n]);
    }
    ioctl(e->vm_fd, KVM_GET_PIT2, &e->pit);
    return 0;
}

void kvm_chips_reset(struct kvm_engine *e)
{
    for (unsigned n = 0; n < 3; n++) ioctl(e->vm_fd, KVM_SET_IRQCHIP, &e->chip[n]);
    ioctl(e->vm_fd, KVM_SET_PIT2, &e->pit);
}

static bool has_irqchip(struct engine *e) { return true; }

static void irq_line_set(struct engine *e, int gsi, int level)
{
    struct kvm_irq_level l = { .irq = (unsigned)gsi, .level = level != 0 };

    ioctl(kvm_of(e)->vm_fd, KVM_IRQ_LINE, &l);
}

static void msi_send(struct engine *e, uint64_t address, uint32_t data)
{
    struct kvm_msi m = { .address_lo = (uint32_t)address, .address_hi = address >> 32, .data = data };

    ioctl(kvm_of(e)->vm_fd, KVM_SIGNAL_MSI, &m);
}

/* ---- engine ---- */

static void kvm_destroy(struct engine *base)
{
    struct kvm_engine *e = kvm_of(base);

    if (e->vm_fd >= 0) close(e->vm_fd);
    if (e->kvm_fd >= 0) close(e->kvm_fd);
    for (unsigned n = 0; n < 2; n++) free(e->bells[n].bell);
    free(e);
}

static struct engine *kvm_create(const struct engine_config *config, struct error *err)
{
    static const struct { int cap; const char *what; } needed[] = {
        { KVM_CAP_USER_MEMORY, "memory slots" }, { KVM_CAP_IRQCHIP, "interrupt controllers" }, { KVM_CAP_IRQ_ROUTING, "interrupt routing" },
        { KVM_CAP_SIGNAL_MSI, "message-signalled interrupts" }, { KVM_CAP_IMMEDIATE_EXIT, "immediate exits" },
        { KVM_CAP_READONLY_MEM, "read-only memory" }, { KVM_CAP_IOEVENTFD, "doorbells" }, { KVM_CAP_IRQFD, "interrupts by descriptors" }, { KVM_CAP_XSAVE, "XSAVE state" }, { KVM_CAP_VCPU_EVENTS, "vCPU events" },
    };
    struct kvm_engine *e = calloc(1, sizeof *e);
    int bytes;

    if (!e) {
        error_set(err, "KVM: out of memory");
        return NULL;
    }
    e->base.ops = &engine_kvm;
    e->config = *config;
    e->vm_fd = -1;
    e->kvm_fd = kvm_open(err);
    if (e->kvm_fd < 0) goto failed;
    for (unsigned n = 0; n < ARRAY_SIZE(needed); n++)
        if (ioctl(e->kvm_fd, KVM_CHECK_EXTENSION, needed[n].cap) <= 0) {
            error_set(err, "KVM: this kernel lacks %s; use a newer kernel or -accel bt", needed[n].what);
            goto failed;
        }
    bytes = ioctl(e->kvm_fd, KVM_GET_VCPU_MMAP_SIZE, 0);
    e->run_bytes = bytes > 0 ? (size_t)bytes : 0;
    e->vm_fd = kvm_vm_create(e->kvm_fd, err);
    if (e->vm_fd < 0 || chips_create(e, err) < 0) goto failed;
    e->any_length = ioctl(e->kvm_fd, KVM_CHECK_EXTENSION, KVM_CAP_IOEVENTFD_ANY_LENGTH) > 0;
    memory_map_listen(config->memory, view_changed, e);
    for (unsigned n = 0; n < 2; n++) e->bells[n] = (struct kvm_bells){ .engine = e, .is_ports = n };
    memory_map_listen_doorbells(config->memory, kvm_bells_changed, &e->bells[0]);
    memory_map_listen_doorbells(config->ports, kvm_bells_changed, &e->bells[1]);
    return &e->base;
failed:
    kvm_destroy(&e->base);
    return NULL;
}

static void info(struct engine *base, void (*print)(void *opaque, const char *line), void *opaque)
{
    struct kvm_engine *e = kvm_of(base);
    unsigned messages = 0;
    char line[128];

    print(opaque, "kvm support: enabled");
    for (unsigned n = 0; n < e->messages; n++) messages += e->message[n].fd >= 0;
    snprintf(line, sizeof line, "doorbells: %zu in memory, %zu in ports; interrupts by descriptors: %u", e->bells[0].count, e->bells[1].count, messages);
    print(opaque, line);
    for (unsigned n = 0; n < KVM_SLOTS; n++) {
        const struct kvm_slot *s = &e->slot[n];
        if (!s->size) continue;
        snprintf(line, sizeof line, "slot %u: %016llx-%016llx%s", n, (unsigned long long)s->start, (unsigned long long)(s->start + s->size - 1),
                 s->readonly ? " read-only" : "");
        print(opaque, line);
    }
}

const struct engine_ops engine_kvm = {
    .name = "kvm", .description = "the kernel's KVM", .create = kvm_create, .destroy = kvm_destroy, .vcpu_create = kvm_vcpu_create,
    .vcpu_destroy = kvm_vcpu_destroy, .vcpu_run = kvm_vcpu_run, .vcpu_kick = kvm_vcpu_kick, .vcpu_interrupt = kvm_vcpu_interrupt,
    .vcpu_nmi = kvm_vcpu_nmi, .vcpu_get = kvm_vcpu_get, .vcpu_set = kvm_vcpu_set, .vcpu_debug = kvm_vcpu_debug,
    .vcpu_debug_info = kvm_vcpu_debug_info, .vcpu_error = kvm_vcpu_error, .has_irqchip = has_irqchip, .irq_line = irq_line_set,
    .msi = msi_send, .msi_event = kvm_msi_event, .info = info,
};
