/* SPDX-License-Identifier: GPL-2.0-or-later */
/* 'info WHAT'. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/bits.h"
#include "base/nearest.h"
#include "block/block.h"
#include "bus/pci.h"
#include "chardev/chardev.h"
#include "engine/engine.h"
#include "display/input.h"
#include "display/vnc.h"
#include "display/web.h"
#include "monitor/monitor_private.h"
#include "monitor/page_tables.h"
#include "monitor/peek.h"
#include "monitor/registers_print.h"

static int info_status(struct monitor *mon, const struct command_line *c, struct error *err)
{
    enum run_state s = machine_state(mon->m);

    if (s == RUN_RUNNING || s == RUN_PAUSED) monitor_print(mon, "VM status: %s\n", run_state_name(s));
    else monitor_print(mon, "VM status: paused (%s)\n", run_state_name(s));
    return 0;
}

static int info_version(struct monitor *mon, const struct command_line *c, struct error *err)
{
    monitor_print(mon, "%s\n", OSPITE_VERSION);
    return 0;
}

static int info_name(struct monitor *mon, const struct command_line *c, struct error *err)
{
    const char *name = machine_configuration(mon->m)->name;

    if (name) monitor_print(mon, "%s\n", name);
    return 0;
}

static int info_uuid(struct monitor *mon, const struct command_line *c, struct error *err)
{
    char text[37];

    uuid_format(text, machine_configuration(mon->m)->uuid);
    monitor_print(mon, "%s\n", text);
    return 0;
}

static int info_cpus(struct monitor *mon, const struct command_line *c, struct error *err)
{
    bool ran = peek_begin(mon->m);

    for (unsigned i = 0; i < machine_vcpu_count(mon->m); i++) {
        struct x86_state s;

        machine_vcpu_get(mon->m, i, &s);
        monitor_print(mon, "%c CPU #%u: pc=0x%016llx%s\n", i == mon->vcpu ? '*' : ' ', i, (unsigned long long)s.rip,
                      s.halted ? " (halted)" : "");
    }
    peek_end(mon->m, ran);
    return 0;
}

static int info_kvm(struct monitor *mon, const struct command_line *c, struct error *err)
{
    bool kvm = !strcmp(machine_engine(mon->m)->ops->name, "kvm");

    monitor_print(mon, "kvm support: %s\n", kvm ? "enabled" : "disabled");
    return 0;
}

static int info_jit(struct monitor *mon, const struct command_line *c, struct error *err)
{
    struct engine *e = machine_engine(mon->m);
    bool ran = peek_begin(mon->m);

    monitor_print(mon, "engine: %s (%s)\n", e->ops->name, e->ops->description);
    if (e->ops->info) e->ops->info(e, monitor_print_line, mon);
    peek_end(mon->m, ran);
    return 0;
}

static int info_profile(struct monitor *mon, const struct command_line *c, struct error *err)
{
    struct engine *e = machine_engine(mon->m);
    bool code = c->argc > 2 && !strcmp(c->argv[2], "-d"), ran;
    unsigned at = code ? 3 : 2;
    uint64_t blocks = code ? 5 : 20;

    if (!e->ops->profile_info)
        return error_set(err, "the %s engine has no profile of its own; 'perf kvm' on the host shows where it is", e->ops->name);
    if (c->argc > at && expression_value(mon, c->rest[at], NULL, &blocks, err) < 0) return -1;
    ran = peek_begin(mon->m);
    e->ops->profile_info(e, (unsigned)MIN(blocks, 1000u), code, monitor_print_line, mon);
    peek_end(mon->m, ran);
    return 0;
}

static int info_mtree(struct monitor *mon, const struct command_line *c, struct error *err)
{
    memory_map_print(machine_memory(mon->m), monitor_print_line, mon);
    monitor_print(mon, "\n");
    memory_map_print(machine_ports(mon->m), monitor_print_line, mon);
    return 0;
}

static int info_balloon(struct monitor *mon, const struct command_line *c, struct error *err)
{
    return machine_balloon_info(mon->m, monitor_print_line, mon, err);
}

static int info_chardev(struct monitor *mon, const struct command_line *c, struct error *err)
{
    chardev_list(machine_chardevs(mon->m), monitor_print_line, mon);
    return 0;
}

/* ---- registers ---- */

static int info_registers(struct monitor *mon, const struct command_line *c, struct error *err)
{
    bool all = c->argc > 2 && !strcmp(c->argv[2], "-a"), ran;
    uint64_t one = mon->vcpu;

    if (words_most(c, 2, err) < 0) return -1;
    if (c->argc > 2 && !all && expression_value(mon, c->argv[2], NULL, &one, err) < 0) return -1;
    if (!all && one >= MAX(machine_vcpu_count(mon->m), 1u)) return error_set(err, "CPU#%llu not available", (unsigned long long)one);
    ran = peek_begin(mon->m);
    for (unsigned i = 0; i < machine_vcpu_count(mon->m); i++) {
        struct x86_state s;

        if (i != one && !all) continue;
        machine_vcpu_get(mon->m, i, &s);
        monitor_print(mon, "\nCPU#%u\n", i);
        registers_print(mon, &s, machine_a20(mon->m));
    }
    peek_end(mon->m, ran);
    return 0;
}

/* ---- page tables ---- */

struct listing {
    struct monitor *mon;
    struct page_mapping run;           /* 'info mem': with equal rights; size 0: none yet */
    unsigned lines;
};
enum { LISTING_LINES = 20000 };

static void run_flush(struct listing *l)
{
    const struct page_mapping *r = &l->run;

    if (!r->size) return;
    l->lines++;
    monitor_print(l->mon, "%016llx-%016llx %016llx %c%c%c\n", (unsigned long long)r->gva, (unsigned long long)(r->gva + r->size),
                  (unsigned long long)r->size, r->rights & PTE_USER ? 'u' : '-', 'r', r->rights & PTE_WRITE ? 'w' : '-');
    l->run.size = 0;
}

static bool mapping_merge(void *opaque, const struct page_mapping *p)
{
    struct listing *l = opaque;

    if (!l->run.size || l->run.gva + l->run.size != p->gva || l->run.rights != p->rights) {
        run_flush(l);
        l->run = *p;
    } else l->run.size += p->size;
    return l->lines < LISTING_LINES;
}

static bool mapping_print(void *opaque, const struct page_mapping *p)
{
    static const struct { uint64_t bit; char letter; } flags[] = {
        { 1ull << 63, 'X' }, { 0x100, 'G' }, { PTE_PSE, 'P' }, { 0x40, 'D' }, { 0x20, 'A' }, { 0x10, 'C' }, { 8, 'T' },
        { PTE_USER, 'U' }, { PTE_WRITE, 'W' },
    };
    char text[sizeof(flags) / sizeof(flags[0]) + 1] = "";
    struct listing *l = opaque;

    for (unsigned i = 0; i < ARRAY_SIZE(flags); i++)
        text[i] = p->entry & flags[i].bit && (flags[i].letter != 'P' || p->size > 4096) ? flags[i].letter : '-';
    monitor_print(l->mon, "%016llx: %016llx %s\n", (unsigned long long)p->gva, (unsigned long long)p->gpa, text);
    return ++l->lines < LISTING_LINES;
}

static int page_tables(struct monitor *mon, page_mapping_fn *fn)
{
    struct listing l = { .mon = mon };
    bool ran = peek_begin(mon->m);
    enum page_tables_result result;
    struct x86_state s;

    machine_vcpu_get(mon->m, mon->vcpu, &s);
    result = page_tables_walk(mon->m, &s, fn, &l);
    if (result == PAGES_NONE) monitor_print(mon, "PG disabled\n");
    run_flush(&l);
    if (l.lines >= LISTING_LINES) monitor_print(mon, "(more than %d lines: the rest is left out)\n", LISTING_LINES);
    else if (result == PAGES_CUT) monitor_print(mon, "(more tables than anybody needs: the rest is left out)\n");
    peek_end(mon->m, ran);
    return 0;
}

static int info_tlb(struct monitor *mon, const struct command_line *c, struct error *err)
{
    return page_tables(mon, mapping_print);
}

static int info_mem(struct monitor *mon, const struct command_line *c, struct error *err)
{
    return page_tables(mon, mapping_merge);
}

/* ---- devices ---- */

/* Devices whose name contains one of words. */
static int devices_info(struct monitor *mon, const char *const *words, struct error *err)
{
    unsigned shown = 0;

    for (struct device *d = machine_devices(mon->m); d; d = d->next) {
        bool wanted = false;

        for (unsigned i = 0; words[i]; i++) wanted |= strstr(d->ops->name, words[i]) != NULL;
        if (!wanted || !d->ops->info) continue;
        monitor_print(mon, "%s:\n", d->ops->name);
        d->ops->info(d, monitor_print_line, mon);
        shown++;
    }
    return shown ? 0 : error_set(err, "no device tells about this (the kvm engine keeps its interrupt controllers to itself)");
}

static int info_pic(struct monitor *mon, const struct command_line *c, struct error *err)
{
    return devices_info(mon, (const char *const[]){ "8259", "pic", NULL }, err);
}

static int info_irq(struct monitor *mon, const struct command_line *c, struct error *err)
{
    return devices_info(mon, (const char *const[]){ "8259", "pic", "ioapic", "lapic", NULL }, err);
}

static int info_lapic(struct monitor *mon, const struct command_line *c, struct error *err)
{
    return devices_info(mon, (const char *const[]){ "lapic", NULL }, err);
}

static int info_qtree(struct monitor *mon, const struct command_line *c, struct error *err)
{
    bool verbose = c->argc > 2;

    if (words_most(c, 2, err) < 0) return -1;
    if (verbose && strcmp(c->argv[2], "-v")) return error_set(err, "'%s' is none of its options; -v shows the state of devices", c->argv[2]);
    for (struct device *d = machine_devices(mon->m); d; d = d->next) {
        monitor_print(mon, "%s%s%s -- %s\n", d->ops->name, d->id ? " id " : "", d->id ? d->id : "",
                      d->ops->description ? d->ops->description : "");
        if (d->ops->info && verbose) d->ops->info(d, monitor_print_line, mon);
    }
    return 0;
}

const char *pci_class_name(unsigned class)
{
    static const struct { uint16_t class; const char *name; } classes[] = {
        { 0x0101, "IDE controller" }, { 0x0100, "SCSI controller" }, { 0x0200, "Ethernet controller" },
        { 0x0300, "VGA controller" }, { 0x0600, "Host bridge" }, { 0x0601, "ISA bridge" }, { 0x0604, "PCI bridge" },
        { 0x0680, "Bridge" },
    };

    for (unsigned i = 0; i < ARRAY_SIZE(classes); i++)
        if (classes[i].class == class) return classes[i].name;
    return NULL;
}

static void pci_function_print(struct monitor *mon, struct pci_device *d)
{
    unsigned class = d->config[0x0b] << 8 | d->config[0x0a];
    const char *name = pci_class_name(class);

    monitor_print(mon, "  Bus  0, device %3u, function %u:\n", d->devfn >> 3, d->devfn & 7);
    if (name) monitor_print(mon, "    %s: ", name);
    else monitor_print(mon, "    Class %04x: ", class);
    monitor_print(mon, "PCI device %02x%02x:%02x%02x\n", d->config[1], d->config[0], d->config[3], d->config[2]);
    if (d->config[0x2c] | d->config[0x2d])
        monitor_print(mon, "      PCI subsystem %02x%02x:%02x%02x\n", d->config[0x2d], d->config[0x2c], d->config[0x2f], d->config[0x2e]);
    if (d->config[0x3d]) monitor_print(mon, "      IRQ %u, pin %c\n", d->config[0x3c], 'A' + d->config[0x3d] - 1);
    for (unsigned i = 0; i < ARRAY_SIZE(d->bar); i++) {
        uint64_t address = 0;

        if (!d->bar[i].size) continue;
        memcpy(&address, d->config + 0x10 + 4 * i, d->bar[i].flags & PCI_BAR_64 ? 8 : 4);
        address &= d->bar[i].flags & PCI_BAR_IO ? ~3ull : ~15ull;
        monitor_print(mon, "      BAR%u: %s at 0x%llx [0x%llx].\n", i,
                      d->bar[i].flags & PCI_BAR_IO ? "I/O" : d->bar[i].flags & PCI_BAR_64 ? "64 bit memory" : "32 bit memory",
                      (unsigned long long)address, (unsigned long long)(address + d->bar[i].size - 1));
    }
    monitor_print(mon, "      id \"%s\"\n", d->device.id ? d->device.id : "");
}

static int info_pci(struct monitor *mon, const struct command_line *c, struct error *err)
{
    struct pci_bus *bus = machine_pci_bus(mon->m);

    if (!bus) return error_set(err, "this machine has no PCI bus");
    for (unsigned devfn = 0; devfn < 256; devfn++) {
        struct pci_device *d = pci_bus_device(bus, devfn);

        if (d) pci_function_print(mon, d);
    }
    return 0;
}

/* A protocol's node is open only below others, or for a device of its own. */
static bool is_part(struct machine *m, unsigned i) { return machine_drive_config(m, i)->is_protocol && !machine_drive(m, i); }

static int info_block(struct monitor *mon, const struct command_line *c, struct error *err)
{
    for (unsigned i = 0; i < machine_drive_count(mon->m); i++) {
        const struct drive_config *d = machine_drive_config(mon->m, i);
        struct block_node *n = machine_drive(mon->m, i);
        char name[MACHINE_PATH_BYTES];
        bool open, locked;

        if (is_part(mon->m, i)) continue;
        machine_drive_label(mon->m, i, name, sizeof(name));
        if (n) monitor_print(mon, "%s: %s (%s%s)\n    Size: %llu bytes\n", name, block_filename(n), block_format_name(n),
                             block_is_readonly(n) ? ", read-only" : "", (unsigned long long)block_size_bytes(n));
        else monitor_print(mon, "%s: [not inserted]\n", name);
        if (machine_drive_error(mon->m, i)) monitor_print(mon, "    I/O status:       %s\n", io_status_name(machine_drive_error(mon->m, i)));
        if (machine_drive_tray(mon->m, i, &open, &locked))
            monitor_print(mon, "    Removable device: %slocked, tray %s\n", locked ? "" : "not ", open ? "open" : "closed");
        throttle_print(mon, i);
        if (d->open.snapshot) monitor_print(mon, "    Writes are dropped at the end (snapshot)\n");
    }
    return 0;
}

static int info_blockstats(struct monitor *mon, const struct command_line *c, struct error *err)
{
    for (unsigned i = 0; i < machine_drive_count(mon->m); i++) {
        struct block_node *n = machine_drive(mon->m, i);
        struct block_stats s = { 0 };
        char name[MACHINE_PATH_BYTES];

        if (is_part(mon->m, i)) continue;
        machine_drive_label(mon->m, i, name, sizeof(name));
        if (n) s = block_stats_get(n);
        monitor_print(mon, "%s: rd_bytes=%llu wr_bytes=%llu rd_operations=%llu wr_operations=%llu flush_operations=%llu "
                      "rd_total_time_ns=%llu wr_total_time_ns=%llu flush_total_time_ns=%llu\n",
                      name, (unsigned long long)s.read_bytes, (unsigned long long)s.written_bytes,
                      (unsigned long long)s.reads, (unsigned long long)s.writes, (unsigned long long)s.flushes, (unsigned long long)s.read_ns,
                      (unsigned long long)s.write_ns, (unsigned long long)s.flush_ns);
    }
    return 0;
}

static int info_network(struct monitor *mon, const struct command_line *c, struct error *err)
{
    machine_net_info(mon->m, monitor_print_line, mon);
    return 0;
}

static int info_vnc(struct monitor *mon, const struct command_line *c, struct error *err)
{
    if (!machine_vnc(mon->m)) return error_set(err, "there is no VNC server; start the machine with -vnc HOST:N");
    vnc_info(machine_vnc(mon->m), monitor_print_line, mon);
    return 0;
}

static int info_usb(struct monitor *mon, const struct command_line *c, struct error *err)
{
    return machine_usb_info(mon->m, monitor_print_line, mon, err);
}

static int info_mice(struct monitor *mon, const struct command_line *c, struct error *err)
{
    input_mice_info(machine_input(mon->m), monitor_print_line, mon);
    return 0;
}

static int info_web(struct monitor *mon, const struct command_line *c, struct error *err)
{
    if (!machine_web(mon->m)) return error_set(err, "there is no web page; start the machine with -display web");
    web_info(machine_web(mon->m), monitor_print_line, mon);
    return 0;
}

static int info_usernet(struct monitor *mon, const struct command_line *c, struct error *err)
{
    machine_usernet_info(mon->m, monitor_print_line, mon);
    return 0;
}

const struct command info_commands[] = {
    { "status", "", "whether the machine runs", info_status, NULL },
    { "registers", "[-a|CPU]", "registers of the CPU (-a: of all)", info_registers, NULL },
    { "cpus", "", "the CPUs", info_cpus, NULL },
    { "mem", "", "mapped virtual memory, by rights", info_mem, NULL },
    { "tlb", "", "every mapped page", info_tlb, NULL },
    { "mtree", "", "the physical address spaces", info_mtree, NULL },
    { "pci", "", "PCI devices", info_pci, NULL },
    { "qtree", "[-v]", "all devices (-v: with their state)", info_qtree, NULL },
    { "pic", "", "the 8259 interrupt controllers", info_pic, NULL },
    { "lapic", "", "the local interrupt controllers", info_lapic, NULL },
    { "irq", "", "all interrupt controllers", info_irq, NULL },
    { "block", "", "drives and their images", info_block, NULL },
    { "blockstats", "", "what drives have read and written", info_blockstats, NULL },
    { "balloon", "", "the memory balloon and the guest's statistics", info_balloon, NULL },
    { "network", "", "network cards and networks", info_network, NULL },
    { "usernet", "", "connections through user networks", info_usernet, NULL },
    { "usb", "", "USB devices", info_usb, NULL },
    { "mice", "", "the guest's pointers; * is the one in use", info_mice, NULL },
    { "vnc", "", "the VNC server and who looks", info_vnc, NULL },
    { "web", "", "the web page: its URL, and who looks", info_web, NULL },
    { "chardev", "", "character devices", info_chardev, NULL },
    { "jit", "", "what the engine counts", info_jit, NULL },
    { "profile", "[-d] [COUNT]", "where time goes, and the hottest blocks (-d: disassembled), see 'profile'", info_profile, NULL },
    { "kvm", "", "whether KVM runs the guest", info_kvm, NULL },
    { "name", "", "the guest's name", info_name, NULL },
    { "uuid", "", "the machine's UUID", info_uuid, NULL },
    { "version", "", "ospite's version", info_version, NULL },
    { NULL, NULL, NULL, NULL, NULL },
};

static const struct command *const tables[] = { info_commands, list_commands };

const struct command *info_find(const char *name, struct error *err)
{
    struct nearest near;

    nearest_begin(&near, name);
    for (unsigned t = 0; t < ARRAY_SIZE(tables); t++)
        for (const struct command *k = tables[t]; k->name; k++) {
            if (command_is(k, name)) return k;
            nearest_offer(&near, k->name);
        }
    if (info_absent(name)) error_set(err, "'info %s' is not in this version: %s", name, info_absent(name));
    else if (nearest_result(&near)) error_set(err, "unknown: 'info %s'; did you mean '%s'?", name, near.best);
    else error_set(err, "unknown: 'info %s'; 'info' alone lists what there is", name);
    return NULL;
}

int info_help(struct monitor *mon, const char *name, struct error *err)
{
    const struct command *one = name ? info_find(name, err) : NULL;

    if (one) command_help_print(mon, "info ", one);
    if (name) return one ? 0 : -1;
    for (unsigned t = 0; t < ARRAY_SIZE(tables); t++)
        for (const struct command *k = tables[t]; k->name; k++) command_help_print(mon, "info ", k);
    return 0;
}

int command_info(struct monitor *mon, const struct command_line *c, struct error *err)
{
    const struct command *k;

    if (c->argc < 2) return info_help(mon, NULL, err);
    k = info_find(c->argv[1], err);
    if (!k || (!*k->args && words_most(c, 1, err) < 0)) return -1;
    return k->fn(mon, c, err);
}
