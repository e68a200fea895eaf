/* SPDX-License-Identifier: GPL-2.0-or-later */
/* 'info' about what a machine is made of, in QEMU's form: processors, memory and ROMs, threads, snapshots in images, a dump, lines typed. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "base/bits.h"
#include "base/clock.h"
#include "block/block.h"
#include "block/image.h"
#include "bus/pci.h"
#include "monitor/guest_dump.h"
#include "monitor/monitor_private.h"

static int info_history(struct monitor *mon, const struct command_line *c, struct error *err)
{
    for (unsigned i = 0; i < mon->readline.history_count; i++) monitor_print(mon, "%u: '%s'\n", i, mon->readline.history[i]);
    return 0;
}

/* ---- processors and threads ---- */

static int info_hotpluggable_cpus(struct monitor *mon, const struct command_line *c, struct error *err)
{
    const struct cpuid_topology *t = &machine_configuration(mon->m)->topology;

    monitor_print(mon, "Hotpluggable CPUs:\n");
    for (unsigned i = cpuid_topology_size(t); i-- > 0;) {
        monitor_print(mon, "  type: \"%s-x86_64-cpu\"\n  vcpus_count: \"1\"\n", machine_cpu_model(mon->m));
        if (i < machine_vcpu_count(mon->m)) monitor_print(mon, "  qom_path: \"/machine/unattached/device[%u]\"\n", i);
        monitor_print(mon, "  CPUInstance Properties:\n    socket-id: \"%u\"\n", i / (t->threads * t->cores * t->dies));
        if (t->dies > 1) monitor_print(mon, "    die-id: \"%u\"\n", i / (t->threads * t->cores) % t->dies);
        monitor_print(mon, "    core-id: \"%u\"\n    thread-id: \"%u\"\n", i / t->threads % t->cores, i % t->threads);
    }
    return 0;
}

/* As query-iothreads has it: requests belong to threads of the disks, and none to an iothread. */
static int info_iothreads(struct monitor *mon, const struct command_line *c, struct error *err)
{
    const struct machine_config *config = machine_configuration(mon->m);

    for (unsigned i = 0; i < config->iothread_count; i++)
        monitor_print(mon, "%s:\n  thread_id=%d\n  poll-max-ns=0\n  poll-grow=0\n  poll-shrink=0\n  aio-max-batch=0\n", config->iothread[i], (int)getpid());
    return 0;
}

/* ---- memory ---- */

static int info_memory_size(struct monitor *mon, const struct command_line *c, struct error *err)
{
    monitor_print(mon, "base memory: %llu\nplugged memory: 0\n", (unsigned long long)machine_configuration(mon->m)->ram_bytes);
    return 0;
}

static const char *word(bool yes) { return yes ? "true" : "false"; }
static const char *ram_name(const struct machine_config *c) { return c->ram.id ? c->ram.id : "pc.ram"; }

static int info_memdev(struct monitor *mon, const struct command_line *c, struct error *err)
{
    const struct machine_config *config = machine_configuration(mon->m);
    const struct ram_config *ram = &config->ram;

    monitor_print(mon, "memory backend: %s\n  size:  %llu\n  merge: %s\n  dump: %s\n  prealloc: %s\n  share: %s\n  reserve: %s\n  policy: default\n  host nodes: \n\n",
                  ram_name(config), (unsigned long long)config->ram_bytes, word(ram->mergeable && config->mem_merge), word(ram->dump), word(ram->prealloc),
                  word(ram->share), word(!ram->no_reserve));
    return 0;
}

/* Without -numa, as here always, QEMU counts none. */
static int info_numa(struct monitor *mon, const struct command_line *c, struct error *err)
{
    monitor_print(mon, "0 nodes\n");
    return 0;
}

static struct flat_range firmware_range(struct monitor *mon) { return memory_map_find(machine_memory(mon->m), 0xffffffff); }

static const char *firmware_name(struct monitor *mon)
{
    const char *path = machine_configuration(mon->m)->bios, *slash = path ? strrchr(path, '/') : NULL;

    return slash ? slash + 1 : path ? path : "bios-256k.bin";
}

static int info_roms(struct monitor *mon, const struct command_line *c, struct error *err)
{
    struct pci_bus *bus = machine_pci_bus(mon->m);
    struct flat_range r = firmware_range(mon);
    const struct machine_config *config = machine_configuration(mon->m);

    for (unsigned n = 0; n < config->option_rom_count; n++)
        monitor_print(mon, "fw=" CONFIG_OPTION_ROM_FOLDER "%s size=0x%06zx name=\"%s\"\n", config_option_rom_name(config, n), config->option_rom[n].size,
                      config->option_rom[n].file);
    if (r.kind == RANGE_ROM)
        monitor_print(mon, "addr=%016llx size=0x%06llx mem=rom name=\"%s\"\n", (unsigned long long)r.start, (unsigned long long)r.size, firmware_name(mon));
    for (unsigned devfn = 0; bus && devfn < 256; devfn++) {
        const struct pci_device *d = pci_bus_device(bus, devfn);

        if (d && d->rom.size) monitor_print(mon, "pci=0000:00:%02x.%u size=0x%06x name=\"%s.rom\"\n", devfn >> 3, devfn & 7, d->rom.size, d->device.ops->name);
    }
    return 0;
}

struct blocks { struct monitor *mon; uint64_t offset; };

/* Offsets are those of blocks one behind the other: addresses of the guest are 'info mtree'. */
static void block_print(struct blocks *b, const char *name, uint64_t page_bytes, uint64_t size)
{
    char page[32];

    if (!size) return;
    if (page_bytes >= 1 << 20) snprintf(page, sizeof(page), "%llu MiB", (unsigned long long)(page_bytes >> 20));
    else snprintf(page, sizeof(page), "%llu KiB", (unsigned long long)(page_bytes >> 10));
    monitor_print(b->mon, "%24s %8s  0x%016llx 0x%016llx 0x%016llx\n", name, page, (unsigned long long)b->offset, (unsigned long long)size, (unsigned long long)size);
    b->offset += size;
}

static void pci_blocks_print(struct blocks *b, struct pci_bus *bus)
{
    enum { CLASS_AT = 0x0b, CLASS_DISPLAY = 3 };
    char name[96];

    for (unsigned devfn = 0; bus && devfn < 256; devfn++) {
        const struct pci_device *d = pci_bus_device(bus, devfn);

        if (!d) continue;
        snprintf(name, sizeof(name), "0000:00:%02x.%u/vga.vram", devfn >> 3, devfn & 7);
        if (d->config[CLASS_AT] == CLASS_DISPLAY && d->bar[0].flags & PCI_BAR_PREFETCH) block_print(b, name, 4096, d->bar[0].size);
        snprintf(name, sizeof(name), "0000:00:%02x.%u/%.40s.rom", devfn >> 3, devfn & 7, d->device.ops->name);
        block_print(b, name, 4096, d->rom.size);
    }
}

static int info_ramblock(struct monitor *mon, const struct command_line *c, struct error *err)
{
    const struct machine_config *config = machine_configuration(mon->m);
    struct flat_range r = firmware_range(mon);
    struct blocks b = { .mon = mon };

    monitor_print(mon, "%24s %8s  %18s %18s %18s\n", "Block Name", "PSize", "Offset", "Used", "Total");
    block_print(&b, ram_name(config), config->ram.huge_page_bytes ? config->ram.huge_page_bytes : 4096, config->ram_bytes);
    if (r.kind == RANGE_ROM) block_print(&b, "pc.bios", 4096, r.size);
    pci_blocks_print(&b, machine_pci_bus(mon->m));
    return 0;
}

/* ---- disks ---- */

static void size_text(uint64_t bytes, char *text, size_t size)
{
    static const char *const units[] = { "B", "KiB", "MiB", "GiB", "TiB", "PiB", "EiB" };
    double n = (double)bytes;
    unsigned unit = 0;

    for (; n >= 1000 && unit + 1 < ARRAY_SIZE(units); unit++) n /= 1024;
    snprintf(text, size, "%.3g %s", n, units[unit]);
}

/* The image's maker chose these words; a terminal shall not take them for orders. */
static void printable(char *text)
{
    for (; *text; text++)
        if ((uint8_t)*text < ' ' || *text == 0x7f) *text = '?';
}

static void snapshot_print(struct monitor *mon, struct block_snapshot *s)
{
    uint64_t ms = s->vm_clock_ns / 1000000;
    char date[32] = "", bytes[32], clock[48];
    time_t seconds = (time_t)s->date_s;
    struct tm tm;

    if (localtime_r(&seconds, &tm)) strftime(date, sizeof(date), "%Y-%m-%d %H:%M:%S", &tm);
    printable(s->id);
    printable(s->name);
    size_text(s->vm_state_bytes, bytes, sizeof(bytes));
    snprintf(clock, sizeof(clock), "%02llu:%02llu:%02llu.%03llu", (unsigned long long)(ms / 3600000), (unsigned long long)(ms / 60000 % 60),
             (unsigned long long)(ms / 1000 % 60), (unsigned long long)(ms % 1000));
    monitor_print(mon, "%-9s %-16s %8s %20s %13s\n", s->id, s->name, bytes, date, clock);
}

/* Those that 'ospite img snapshot' makes; a machine's own state is in none. */
static int info_snapshots(struct monitor *mon, const struct command_line *c, struct error *err)
{
    unsigned shown = 0;

    for (unsigned i = 0; i < machine_drive_count(mon->m); i++) {
        struct block_node *n = machine_drive(mon->m, i);
        struct block_snapshot *list = NULL;
        char name[MACHINE_PATH_BYTES];
        unsigned count = 0;
        struct error none;

        if (!n || block_snapshot_list(n, &list, &count, &none) < 0 || !count) {
            free(list);
            continue;
        }
        shown += count;
        machine_drive_label(mon->m, i, name, sizeof(name));
        monitor_print(mon, "Snapshots in '%s':\n%-9s %-16s %8s %20s %13s\n", name, "ID", "TAG", "VM SIZE", "DATE", "VM CLOCK");
        for (unsigned s = 0; s < count; s++) snapshot_print(mon, &list[s]);
        free(list);
    }
    if (!shown) monitor_print(mon, "There is no snapshot available.\n");
    return 0;
}

static int info_block_jobs(struct monitor *mon, const struct command_line *c, struct error *err)
{
    monitor_print(mon, "No active jobs\n");
    return 0;
}

static int info_dump(struct monitor *mon, const struct command_line *c, struct error *err)
{
    static const char *const names[] = { [GUEST_DUMP_NONE] = "none", [GUEST_DUMP_ACTIVE] = "active", [GUEST_DUMP_COMPLETED] = "completed",
                                         [GUEST_DUMP_FAILED] = "failed" };
    uint64_t done = 0, total = 0;
    enum guest_dump_state state = guest_dump_progress(&done, &total);

    monitor_print(mon, "Status: %s\n", names[state]);
    if (state == GUEST_DUMP_ACTIVE && total) monitor_print(mon, "Finished: %.2f %%\n", 100. * (double)done / (double)total);
    return 0;
}

const struct command list_commands[] = {
    { "hotpluggable-cpus", "", "the places for processors", info_hotpluggable_cpus, NULL },
    { "iothreads", "", "-object iothread", info_iothreads, NULL },
    { "memory_size_summary", "", "how much memory there is", info_memory_size, NULL },
    { "memdev", "", "where the guest's memory comes from", info_memdev, NULL },
    { "numa", "", "memory by processors: there is no NUMA", info_numa, NULL },
    { "ramblock", "", "memory of the machine and its cards", info_ramblock, NULL },
    { "roms", "", "firmware and option ROMs", info_roms, NULL },
    { "snapshots", "", "internal snapshots in images ('ospite img snapshot' makes them)", info_snapshots, NULL },
    { "block-jobs", "", "jobs of drives: there are none", info_block_jobs, NULL },
    { "dump", "", "how far dump-guest-memory -d has got", info_dump, NULL },
    { "history", "", "lines typed so far, on a terminal", info_history, NULL },
    { NULL, NULL, NULL, NULL, NULL },
};
