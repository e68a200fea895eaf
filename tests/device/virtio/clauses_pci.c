/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The PCI transport. VIRTIO 1.2: 4.1. */
#include "clauses.h"

#include <string.h>

#include "base/error.h"
#include "block/fault.h"
#include "net/backend.h"

enum { CAP_VENDOR = 9, CAP_MSIX = 0x11, T_COMMON = 1, T_NOTIFY = 2, T_ISR = 3, T_DEVICE = 4, T_WINDOW = 5 };
static const uint8_t types[KINDS] = { [BLK] = 2, [NET] = 1, [SCSI] = 8, [CONSOLE] = 3, [RNG] = 4, [BALLOON] = 5, [SHARE] = 9 };

static void each(unsigned flags, void (*fn)(void))
{
    for (enum kind k = 0; k < KINDS; k++) {
        guest_plug(k, flags);
        fn();
        guest_unplug();
    }
}

/* Where the first capability of this type is; 0: nowhere. */
static unsigned capability(unsigned type)
{
    unsigned at = pci(0x34, 1);

    for (unsigned n = 0; at && n < 48; n++, at = pci(at + 1, 1)) {
        if (type == CAP_MSIX && pci(at, 1) == CAP_MSIX) return at;
        if (type != CAP_MSIX && pci(at, 1) == CAP_VENDOR && pci(at + 3, 1) == type) return at;
    }
    return 0;
}

/* ---- identity ---- */

static void registers(void)
{
    check(pci(0x0e, 1) == 0 && pci(6, 2) & 0x10 && pci(0x3d, 1) == 1);
    pci_set(0x20, 0xffffffff, 4);
    pci_set(0x24, 0xffffffff, 4);
    check((pci(0x20, 4) & 15) == 12 && pci(0x24, 4) == 0xffffffff);
}
static void pci_registers(void) { each(0, registers); }

static void vendor(void) { check(pci(0, 2) == 0x1af4); }
static void pci_vendor(void) { each(0, vendor); }

static void ids(void)
{
    static const uint16_t transitional[KINDS] = { [BLK] = 0x1001, [NET] = 0x1000, [SCSI] = 0x1004, [CONSOLE] = 0x1003, [RNG] = 0x1005, [BALLOON] = 0x1002, [SHARE] = 0x1009 };

    for (enum kind k = 0; k < KINDS; k++) {
        guest_plug(k, 0);
        check(pci(2, 2) == transitional[k] && pci(0x2e, 2) == types[k] && pci(8, 1) == 0);
        guest_plug(k, MODERN_ONLY);
        check(pci(2, 2) == 0x1040u + types[k]);
        guest_unplug();
    }
}

static void modern_ids(void)
{
    for (enum kind k = 0; k < KINDS; k++) {
        guest_plug(k, MODERN_ONLY);
        check(pci(2, 2) >= 0x1040 && pci(2, 2) <= 0x107f && pci(8, 1) >= 1 && pci(0x2e, 2) >= 0x40);
        guest_unplug();
    }
}

/* ---- capabilities ---- */

static void halves(void)
{
    guest_plug(BLK, 0);
    check(config(0, 4) == DISK_SECTORS && config(4, 4) == 0);
    check(guest_negotiate(ALL));
    reg_set(QUEUE_SELECT, 0, 2);
    for (unsigned at = QUEUE_DESC; at <= QUEUE_DEVICE; at += 8) {
        reg_set(at + 4, 0x12, 4);
        reg_set(at, 0x3456000, 4);
        check(reg(at, 4) == 0x3456000 && reg(at + 4, 4) == 0x12);
        reg_set(at, 0x1000, 4);
        check(reg(at + 4, 4) == 0x12);
    }
    guest_unplug();
}

static void lengths(void)
{
    check(pci(capability(T_COMMON) + 2, 1) >= 16 && pci(capability(T_ISR) + 2, 1) >= 16 && pci(capability(T_DEVICE) + 2, 1) >= 16);
    check(pci(capability(T_NOTIFY) + 2, 1) >= 20 && pci(capability(T_WINDOW) + 2, 1) >= 20);
}
static void capability_lengths(void) { each(0, lengths); }

static void present(unsigned type, unsigned align)
{
    unsigned at = capability(type);

    check(at && pci(at + 4, 1) == 4 && pci(at + 8, 4) % align == 0 && pci(at + 12, 4));
}
static void common(void) { present(T_COMMON, 4); }
static void common_present(void) { each(0, common); }
static void isr(void) { present(T_ISR, 1); }
static void isr_present(void) { each(0, isr); }
static void device(void) { present(T_DEVICE, 4); }
static void device_aligned(void) { each(0, device); }

static void notify(void)
{
    unsigned at = capability(T_NOTIFY), multiplier = pci(at + 16, 4), length = pci(at + 12, 4);

    present(T_NOTIFY, 2);
    check(!multiplier || (!(multiplier & (multiplier - 1)) && multiplier % 2 == 0));
    for (unsigned q = 0; q < reg(NUM_QUEUES, 2); q++) {
        reg_set(QUEUE_SELECT, q, 2);
        check(length >= reg(NOTIFY_OFF, 2) * multiplier + 2);
    }
}
static void notify_present(void) { each(0, notify); }

static void no_shared(void) { check(!capability(8) && !capability(9)); }
static void no_shared_memory(void) { each(0, no_shared); }

/* ---- common configuration ---- */

static void feature_windows(void)
{
    for (unsigned i = 2; i < 40; i++) {
        reg_set(FEATURE_SELECT, i == 39 ? 0xffffffff : i, 4);
        check(reg(FEATURE, 4) == 0);
    }
    check(guest_offered() & VIRTIO_F_VERSION_1);
}
static void device_feature(void) { each(0, feature_windows); }

static void feature_mirror(void)
{
    uint64_t offered = guest_offered();

    check(guest_negotiate(ALL));
    for (unsigned half = 0; half < 4; half++) {
        reg_set(DRIVER_SELECT, half, 4);
        check(reg(DRIVER_FEATURE, 4) == (half < 2 ? (uint32_t)(offered >> 32 * half) : 0));
    }
}
static void driver_feature(void) { each(0, feature_mirror); }

/* The value changes; before a driver that reads it can miss that, the generation does. */
static void generation(void)
{
    struct driver_piece p[] = { { DATA, 8, false }, { DATA + 64, 1, true } };
    unsigned before;

    guest_plug(NET, 0);
    guest_start(ALL);
    check(config(0, 4) == 0x01005452);
    before = (unsigned)reg(GENERATION, 1);
    check(config(0, 4) == 0x01005452 && reg(GENERATION, 1) == before);
    memcpy(guest.ram + DATA, "\1\1\2\3\4\5\6\7", 8);   /* MAC_ADDR_SET */
    check(guest_ask(4, p, 2) == 1 && guest.ram[DATA + 64] == 0);
    check(config(0, 4) == 0x05040302 && reg(GENERATION, 1) != before);
    before = (unsigned)reg(GENERATION, 1);
    net_link_set(wire_backend(), false);
    check((config(6, 2) & 1) == 0 && reg(GENERATION, 1) != before);
    before = (unsigned)reg(GENERATION, 1);
    for (unsigned i = 0; i < 256; i++) net_link_set(wire_backend(), i % 2 == 0);
    net_link_set(wire_backend(), true);
    config(6, 2);
    check(reg(GENERATION, 1) != before);                 /* 257 changes did not wrap it */
    guest_unplug();
}

static void status_zero(void)
{
    guest_start(ALL);
    reg_set(STATUS, 0, 1);
    check(reg(STATUS, 1) == 0);
    for (unsigned q = 0; q < guest.queues; q++) {
        reg_set(QUEUE_SELECT, q, 2);
        check(reg(QUEUE_ENABLE, 2) == 0 && reg(QUEUE_RESET, 2) == 0);
    }
}
static void status_zero_resets(void) { each(0, status_zero); }

static void queue_reset(void)
{
    guest_start(ALL);
    for (unsigned q = 0; q < guest.queues; q++) {
        reg_set(QUEUE_SELECT, q, 2);
        check(reg(QUEUE_ENABLE, 2) == 1 && reg(QUEUE_RESET, 2) == 0);
        reg_set(QUEUE_RESET, 1, 2);
        check(reg(QUEUE_ENABLE, 2) == 0 && reg(QUEUE_RESET, 2) == 0);
    }
}
static void queue_reset_reads(void) { each(0, queue_reset); }

static void no_such_queue(void)
{
    check(guest_negotiate(ALL));
    for (unsigned q = guest.v->queue_count; q < 0x10000; q += 0x7ff) {
        reg_set(QUEUE_SELECT, q, 2);
        check(reg(QUEUE_SIZE, 2) == 0);
        reg_set(QUEUE_SIZE, 16, 2);
        reg_set(QUEUE_ENABLE, 1, 2);
        check(reg(QUEUE_SIZE, 2) == 0 && reg(QUEUE_ENABLE, 2) == 0);
    }
}
static void queue_unavailable(void) { each(0, no_such_queue); }

static void power_of_two(void)
{
    check(guest_negotiate(ALL));
    for (unsigned q = 0; q < guest.queues; q++) {
        unsigned size;

        reg_set(QUEUE_SELECT, q, 2);
        size = (unsigned)reg(QUEUE_SIZE, 2);
        check(size && !(size & (size - 1)));
        reg_set(QUEUE_SIZE, 7, 2);
        size = (unsigned)reg(QUEUE_SIZE, 2);
        check(!(size & (size - 1)));
        reg_set(QUEUE_ENABLE, 1, 2);
        check(reg(QUEUE_ENABLE, 2) == 0);
    }
}
static void split_sizes(void) { each(0, power_of_two); }

static void read_only(void)
{
    static const struct { uint8_t at, size; } fields[] = { { FEATURE, 4 }, { NUM_QUEUES, 2 }, { GENERATION, 1 }, { NOTIFY_OFF, 2 }, { 56, 2 } };

    guest_start(ALL);
    for (unsigned i = 0; i < ARRAY_SIZE(fields); i++) {
        uint64_t before = reg(fields[i].at, fields[i].size);

        reg_set(fields[i].at, ~before, fields[i].size);
        check(reg(fields[i].at, fields[i].size) == before);
    }
    guest_kick(guest_typical(0));
    check(!guest_needs_reset());
}
static void read_only_fields(void) { each(0, read_only); }

static void enable_zero(void)
{
    guest_start(ALL);
    reg_set(QUEUE_SELECT, 0, 2);
    reg_set(QUEUE_ENABLE, 0, 2);
    reg_set(QUEUE_SIZE, 4, 2);
    reg_set(QUEUE_DESC, 0, 4);
    check(reg(QUEUE_ENABLE, 2) == 1 && reg(QUEUE_SIZE, 2) == guest.queue[0].size && reg(QUEUE_DESC, 4) == guest.queue[0].descriptors);
}
static void enabled_stays(void) { each(0, enable_zero); }

/* ---- interrupts ---- */

static void isr_queue(void)
{
    unsigned q;

    guest_start(ALL);
    q = guest_typical(0);
    guest_kick(q);
    check(guest_wait(q) >= 0);
    guest_turn();
    check(guest.intx && pci(6, 2) & 8);
    check(reg(ISR_AT, 1) & 1);
    check(!guest.intx && !(pci(6, 2) & 8) && reg(ISR_AT, 1) == 0);
}
static void isr_of_queues(void) { each(0, isr_queue); }

static void isr_config(void)
{
    for (unsigned msix = 0; msix < 2; msix++) {
        guest_plug(NET, msix ? MSIX : 0);
        guest_start(ALL);
        net_link_set(wire_backend(), false);
        check(msix ? guest.messages[0] == 1 : guest.intx);
        check(reg(ISR_AT, 1) & 2);
        check(reg(ISR_AT, 1) == 0 && !guest.intx);
        guest_unplug();
    }
}

static void isr_line(void)
{
    guest_plug(NET, MSIX);
    guest_start(ALL);
    net_link_set(wire_backend(), false);
    check(!guest.intx && !(pci(6, 2) & 8));              /* MSI-X is on */
    pci_set(0x98 + 2, 0, 2);
    check(guest.intx && pci(6, 2) & 8);
    reg(ISR_AT, 1);
    check(!guest.intx && !(pci(6, 2) & 8));
    guest_unplug();
}

static void msix_size(void)
{
    unsigned at = capability(CAP_MSIX);

    check(at && (pci(at + 2, 2) & 0x7ff) + 1 == VECTORS);
}
static void msix_table(void) { each(0, msix_size); }

static void msix_map(void)
{
    check(guest_negotiate(ALL));
    for (unsigned vector = 0; vector < VECTORS; vector++) {
        reg_set(CONFIG_VECTOR, vector, 2);
        check(reg(CONFIG_VECTOR, 2) == vector);
        for (unsigned q = 0; q < guest.v->queue_count; q++) {
            reg_set(QUEUE_SELECT, q, 2);
            reg_set(QUEUE_VECTOR, vector, 2);
            check(reg(QUEUE_VECTOR, 2) == vector);
        }
    }
    reg_set(CONFIG_VECTOR, VIRTIO_NO_VECTOR, 2);
    reg_set(QUEUE_VECTOR, VIRTIO_NO_VECTOR, 2);
    check(reg(CONFIG_VECTOR, 2) == VIRTIO_NO_VECTOR && reg(QUEUE_VECTOR, 2) == VIRTIO_NO_VECTOR);
}
static void msix_maps(void) { each(MSIX, msix_map); }

static void msix_wrong(void)
{
    check(guest_negotiate(ALL));
    for (unsigned wrong = VECTORS; wrong < 0xffff; wrong += 0x1234) {
        reg_set(CONFIG_VECTOR, wrong, 2);
        reg_set(QUEUE_SELECT, 0, 2);
        reg_set(QUEUE_VECTOR, wrong, 2);
        check(reg(CONFIG_VECTOR, 2) == VIRTIO_NO_VECTOR && reg(QUEUE_VECTOR, 2) == VIRTIO_NO_VECTOR);
    }
}
static void msix_failures(void) { each(MSIX, msix_wrong); }

static void msix_reset(void)
{
    guest_start(ALL);
    reg_set(STATUS, 0, 1);
    check(reg(CONFIG_VECTOR, 2) == VIRTIO_NO_VECTOR);
    for (unsigned q = 0; q < guest.v->queue_count; q++) {
        reg_set(QUEUE_SELECT, q, 2);
        check(reg(QUEUE_VECTOR, 2) == VIRTIO_NO_VECTOR);
    }
}
static void msix_unmapped(void) { each(MSIX, msix_reset); }

static void no_vector(bool of_config)
{
    guest_plug(NET, MSIX);
    guest_start(ALL);
    if (of_config) reg_set(CONFIG_VECTOR, VIRTIO_NO_VECTOR, 2);
    reg_set(QUEUE_SELECT, 1, 2);
    reg_set(QUEUE_VECTOR, VIRTIO_NO_VECTOR, 2);
    net_link_set(wire_backend(), false);
    net_link_set(wire_backend(), true);
    guest_kick(guest_typical(0));
    check(guest_wait(1) >= 0);
    guest_turn();
    check(guest.messages[0] == (of_config ? 0u : 2u) && !guest.messages[1] && !guest.messages[2] && !guest.messages[3] && !guest.intx);
    guest_unplug();
}
static void no_vector_queue(void) { no_vector(false); }
static void no_vector_config(void) { no_vector(true); }

/* ---- the window ---- */

static void window_set(unsigned bar, uint32_t offset, uint32_t length)
{
    unsigned at = capability(T_WINDOW);

    pci_set(at + 4, bar, 1);
    pci_set(at + 8, offset, 4);
    pci_set(at + 12, length, 4);
}

static void window(void)
{
    unsigned at = capability(T_WINDOW);

    check(at);
    window_set(4, STATUS, 1);
    pci_set(at + 16, S_ACK, 1);
    check(reg(STATUS, 1) == S_ACK && pci(at + 16, 1) == S_ACK);
    window_set(4, QUEUE_SELECT, 2);
    pci_set(at + 16, 1, 2);
    check(reg(QUEUE_SELECT, 2) == 1);
    window_set(4, FEATURE_SELECT, 4);
    pci_set(at + 16, 1, 4);
    window_set(4, FEATURE, 4);
    check(pci(at + 16, 4) == (uint32_t)(guest.v->offered >> 32));
}
static void window_works(void) { each(0, window); }

static void window_wrong(void)
{
    unsigned at = capability(T_WINDOW);
    static const struct { unsigned bar; uint32_t offset, length; } wrong[] = { { 4, 1, 4 }, { 4, 0x13, 2 }, { 0, 0, 4 }, { 5, 0, 4 }, { 4, 0xfffffffc, 4 }, { 4, 0, 3 }, { 4, 0, 0 },
                                                                               { 4, 0, 0xffffffff }, { 255, 20, 1 } };

    guest_start(ALL);
    for (unsigned i = 0; i < ARRAY_SIZE(wrong); i++) {
        window_set(wrong[i].bar, wrong[i].offset, wrong[i].length);
        pci_set(at + 16, 0, 4);
        pci(at + 16, 4);
        check(reg(STATUS, 1) == 15);
    }
}
static void window_survives(void) { each(0, window_wrong); }

const struct clause clauses_pci[] = {
    { "4.1.1-1", "the function meets the PCI specification: header, capability list, sizes of BARs", pci_registers, NULL },
    { "4.1.2.1-1", "vendor 1AF4h", pci_vendor, NULL },
    { "4.1.2.1-2", "device ID 1040h + type, or the transitional one with the type as subsystem ID", ids, NULL },
    { "4.1.2.1-3", "non-transitional: device ID 1040h to 107fh, revision from 1, subsystem ID from 40h", modern_ids, NULL },
    { "4.1.3.2-1", "halves of 64-bit fields are read and written by themselves", halves, NULL },
    { "4.1.4.2-1", "the length of a capability covers its extra fields", capability_lengths, NULL },
    { "4.1.4.3.1-1", "there is a common configuration, 4-byte aligned", common_present, NULL },
    { "4.1.4.3.1-2", "device_feature shows the 32 bits that are selected, 0 beyond 63", device_feature, NULL },
    { "4.1.4.3.1-3", "driver_feature shows what the driver wrote", driver_feature, NULL },
    { "4.1.4.3.1-4", "config_generation differs once a value was read that had changed, by whatever", generation, NULL },
    { "4.1.4.3.1-5", "0 in the status resets and reads 0; queue_enable and queue_reset read 0 then", status_zero_resets, NULL },
    { "4.1.4.3.1-6", "1 in queue_reset resets the queue; both read 0 when that is done", queue_reset_reads, NULL },
    { "4.1.4.3.1-7", "queue_size is 0 for queues that are not there", queue_unavailable, NULL },
    { "4.1.4.3.1-8", "without packed rings queue_size is 0 or a power of two, whatever was written", split_sizes, NULL },
    { "4.1.4.3.2-1", "writes to read-only fields change nothing", read_only_fields, NULL },
    { "4.1.4.3.2-2", "0 in queue_enable and new settings of an enabled queue change nothing", enabled_stays, NULL },
    { "4.1.4.4.1-1", "there is a notification capability, aligned, with a multiplier that is a power of two and room for all queues", notify_present, NULL },
    { "4.1.4.5.1-1", "there is an ISR capability", isr_present, NULL },
    { "4.1.4.5.1-2", "the configuration bit of ISR is set before that is told, with MSI-X too", isr_config, NULL },
    { "4.1.4.5.1-3", "without MSI-X the queue bit is set before that is told; reading gives 0 next time", isr_of_queues, NULL },
    { "4.1.4.5.1-4", "without MSI-X the interrupt status bit and INTx follow ISR", isr_line, NULL },
    { "4.1.4.6.1-1", "the device's configuration is 4-byte aligned", device_aligned, NULL },
    { "4.1.4.7.1-1", "shared memory regions lie in their BAR, with unique ids: these devices have none", no_shared_memory, NULL },
    { "4.1.4.8.1-1", "rules for vendor data: there is no such capability", no_shared_memory, NULL },
    { "4.1.4.9.1-1", "the window in configuration space writes and reads where it points", window_works, NULL },
    { "4.1.4.9.2-1", "a window that is not aligned, or points elsewhere, does no harm", window_survives, NULL },
    { "4.1.5.1.2.1-1", "2 to 2048 vectors", NULL, "the user chooses the number (`vectors=`); the command line's tests have the limits" },
    { "4.1.5.1.2.1-2", "the table's size is that of the vectors", msix_table, NULL },
    { "4.1.5.1.2.1-3", "any event goes to any vector or to none, and reads back so", msix_maps, NULL },
    { "4.1.5.1.2.1-4", "a reset unmaps all", msix_unmapped, NULL },
    { "4.1.5.1.2.1-5", "a vector that is not there reads back as none", msix_failures, NULL },
    { "4.1.5.3.1-1", "no vector: no interrupt of that queue", no_vector_queue, NULL },
    { "4.1.5.4.1-1", "no vector: no interrupt of configuration changes", no_vector_config, NULL },
    { NULL, NULL, NULL, NULL },
};
