/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Options that describe the board: CPUs, clock, boot order, identity, -device. */
#include <ctype.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "base/bits.h"
#include "base/error.h"
#include "base/nearest.h"
#include "tool/vm_options_private.h"
#include "x86/cpuid.h"

static struct machine_config *config_of(void *target)
{
    return &((struct vm_options *)target)->config;
}

int option_cpu(struct vm_options *o, const char *arg, struct error *err)
{
    struct cpuid_model model;

    if (!strcmp(arg, "help") || !strcmp(arg, "?")) {
        cpuid_help(stdout);
        return VM_OPTIONS_HELP_SHOWN;
    }
    if (!*arg || *arg == ',') return error_set(err, "-cpu wants a model; '-cpu help' lists them");
    o->config.cpu = arg;
    /* Which engine it will be is not known yet, so names are checked against the one that can give more. */
    return cpuid_model_build(&model, arg, CPUID_FOR_KVM, NULL, err);
}

struct smp { uint64_t cpus, maxcpus, sockets, dies, clusters, cores, threads; };

static int smp_number(const char *name, const char *v, uint64_t *to, struct error *err)
{
    if (value_unsigned(name, v, 65535, to, err) < 0) return -1;
    return *to ? 0 : error_set(err, "%s=0 is no topology", name);
}

static int smp_cpus(void *t, const char *v, struct error *err) { return smp_number("cpus", v, &((struct smp *)t)->cpus, err); }
static int smp_max(void *t, const char *v, struct error *err) { return smp_number("maxcpus", v, &((struct smp *)t)->maxcpus, err); }
static int smp_sockets(void *t, const char *v, struct error *err) { return smp_number("sockets", v, &((struct smp *)t)->sockets, err); }
static int smp_dies(void *t, const char *v, struct error *err) { return smp_number("dies", v, &((struct smp *)t)->dies, err); }
static int smp_cores(void *t, const char *v, struct error *err) { return smp_number("cores", v, &((struct smp *)t)->cores, err); }
static int smp_threads(void *t, const char *v, struct error *err) { return smp_number("threads", v, &((struct smp *)t)->threads, err); }

static int smp_clusters(void *t, const char *v, struct error *err)
{
    struct smp *s = t;

    if (smp_number("clusters", v, &s->clusters, err) < 0) return -1;
    return s->clusters == 1 ? 0 : error_set(err, "clusters=%s: a PC's processors have no clusters; leave it out", v);
}

const struct option_key smp_keys[] = {
    { "cpus", smp_cpus, NULL }, { "maxcpus", smp_max, NULL }, { "sockets", smp_sockets, NULL },
    { "dies", smp_dies, NULL }, { "clusters", smp_clusters, NULL }, { "cores", smp_cores, NULL },
    { "threads", smp_threads, NULL }, { NULL, NULL, NULL },
};

/* What is not given follows from the rest, as in qemu since 6.2: cores before sockets before threads. */
static void smp_complete(struct smp *s)
{
    uint64_t dies = s->dies ? s->dies : 1, total = s->maxcpus ? s->maxcpus : s->cpus;

    s->dies = dies;
    if (!total) {
        s->sockets = s->sockets ? s->sockets : 1;
        s->cores = s->cores ? s->cores : 1;
        s->threads = s->threads ? s->threads : 1;
    } else if (!s->cores) {
        s->sockets = s->sockets ? s->sockets : 1;
        s->threads = s->threads ? s->threads : 1;
        s->cores = total / (s->sockets * dies * s->threads);
    } else if (!s->sockets) {
        s->threads = s->threads ? s->threads : 1;
        s->sockets = total / (dies * s->cores * s->threads);
    } else if (!s->threads) {
        s->threads = total / (s->sockets * dies * s->cores);
    }
    if (!s->maxcpus) s->maxcpus = s->cpus ? s->cpus : s->sockets * dies * s->cores * s->threads;
    if (!s->cpus) s->cpus = s->maxcpus;
}

int option_smp(struct vm_options *o, const char *arg, struct error *err)
{
    struct machine_config *c = &o->config;
    struct smp s = { 0 };
    struct option_list l;

    if (option_list_parse(&l, o->arena, arg, "cpus", err) < 0) return -1;
    if (option_list_apply(&l, "-smp", smp_keys, &s, err) < 0) return -1;
    smp_complete(&s);
    if (s.sockets * s.dies * s.cores * s.threads != s.maxcpus)
        return error_set(err, "-smp %s: %llu sockets of %llu dies of %llu cores of %llu threads are not %llu CPUs", arg,
                         (unsigned long long)s.sockets, (unsigned long long)s.dies, (unsigned long long)s.cores,
                         (unsigned long long)s.threads, (unsigned long long)s.maxcpus);
    if (s.cpus > s.maxcpus) return error_set(err, "-smp %s: more CPUs than maxcpus", arg);
    if (s.maxcpus > CONFIG_CPUS) return error_set(err, "-smp %s: a PC has at most %d CPUs", arg, CONFIG_CPUS);
    c->cpus = (unsigned)s.cpus;
    c->topology = (struct cpuid_topology){ (unsigned)s.sockets, (unsigned)s.dies, (unsigned)s.cores, (unsigned)s.threads };
    if (cpuid_apic_id(&c->topology, (unsigned)s.maxcpus - 1) > 254)
        return error_set(err, "-smp %s: this topology needs APIC IDs above 254; use powers of two", arg);
    return 0;
}

/* ---- clock and boot ---- */

static int rtc_base(void *t, const char *v, struct error *err)
{
    struct machine_config *c = config_of(t);
    struct tm tm = { 0 };
    const char *end;

    if (!strcmp(v, "utc")) c->rtc_base = RTC_UTC;
    else if (!strcmp(v, "localtime")) c->rtc_base = RTC_LOCALTIME;
    else {
        end = strptime(v, "%Y-%m-%dT%H:%M:%S", &tm);
        if (!end) {
            memset(&tm, 0, sizeof(tm));
            end = strptime(v, "%Y-%m-%d", &tm);
        }
        if (!end || *end)
            return error_set(err, "base wants utc, localtime, 2006-06-17 or 2006-06-17T16:01:21, not '%s'", v);
        c->rtc_base = RTC_DATE;
        c->rtc_date_s = timegm(&tm);
    }
    return 0;
}

static int rtc_clock(void *t, const char *v, struct error *err)
{
    unsigned which;

    if (value_choice("clock", v, (const char *const[]){ "host", "rt", "vm", NULL }, &which, err) < 0) return -1;
    config_of(t)->rtc_clock = which == 0 ? RTC_CLOCK_HOST : which == 1 ? RTC_CLOCK_RT : RTC_CLOCK_VM;
    return 0;
}

static int rtc_driftfix(void *t, const char *v, struct error *err)
{
    unsigned which;

    if (value_choice("driftfix", v, (const char *const[]){ "none", "slew", NULL }, &which, err) < 0) return -1;
    config_of(t)->rtc_slew = which == 1;
    return 0;
}

const struct option_key rtc_keys[] = {
    { "base", rtc_base, NULL }, { "clock", rtc_clock, NULL }, { "driftfix", rtc_driftfix, NULL }, { NULL, NULL, NULL },
};

int option_rtc(struct vm_options *o, const char *arg, struct error *err)
{
    struct option_list l;

    if (option_list_parse(&l, o->arena, arg, NULL, err) < 0) return -1;
    return option_list_apply(&l, "-rtc", rtc_keys, o, err);
}

static int boot_order(void *t, const char *v, struct error *err)
{
    return config_boot_letters("order", v, config_of(t)->boot_order, err);
}

static int boot_once(void *t, const char *v, struct error *err)
{
    return config_boot_letters("once", v, config_of(t)->boot_once, err);
}

static int boot_menu(void *t, const char *v, struct error *err)
{
    return value_bool("menu", v, &config_of(t)->boot_menu, err);
}

static int boot_strict(void *t, const char *v, struct error *err)
{
    return value_bool("strict", v, &config_of(t)->boot_strict, err);
}

static int boot_splash_time(void *t, const char *v, struct error *err)
{
    uint64_t ms;

    if (value_unsigned("splash-time", v, 65535, &ms, err) < 0) return -1;
    config_of(t)->boot_menu_timeout_ms = ms;
    return 0;
}

static int boot_splash(void *t, const char *v, struct error *err)
{
    if (!*v) return error_set(err, "splash= wants a file, JPEG or BMP");
    config_of(t)->boot_splash = v;
    return 0;
}

static int boot_reboot_timeout(void *t, const char *v, struct error *err)
{
    uint64_t ms;

    if (!strcmp(v, "-1")) {
        config_of(t)->boot_retry_ms = -1;
        return 0;
    }
    if (value_unsigned("reboot-timeout", v, 65535, &ms, err) < 0) return -1;
    config_of(t)->boot_retry_ms = (int)ms;
    return 0;
}

const struct option_key boot_keys[] = {
    { "order", boot_order, NULL },
    { "once", boot_once, NULL },
    { "menu", boot_menu, NULL },
    { "strict", boot_strict, NULL },
    { "splash-time", boot_splash_time, NULL },
    { "splash", boot_splash, NULL },
    { "reboot-timeout", boot_reboot_timeout, NULL },
    { NULL, NULL, NULL },
};

int option_boot(struct vm_options *o, const char *arg, struct error *err)
{
    struct option_list l;

    if (option_list_parse(&l, o->arena, arg, "order", err) < 0) return -1;
    return option_list_apply(&l, "-boot", boot_keys, o, err);
}

/* ---- identity ---- */

int option_uuid(struct vm_options *o, const char *arg, struct error *err)
{
    uint8_t *u = o->config.uuid;
    unsigned digits = 0;

    for (const char *p = arg; *p; p++) {
        bool dash = p - arg == 8 || p - arg == 13 || p - arg == 18 || p - arg == 23;

        if (dash != (*p == '-') || (!dash && !isxdigit((unsigned char)*p)) || digits > 31) digits = 99;
        if (digits == 99) break;
        if (dash) continue;
        u[digits / 2] = u[digits / 2] << 4 | (isdigit((unsigned char)*p) ? *p - '0' : (*p | 32) - 'a' + 10);
        digits++;
    }
    if (digits != 32) return error_set(err, "-uuid wants 8-4-4-4-12 hexadecimal digits, not '%s'", arg);
    o->config.has_uuid = true;
    return 0;
}

static int name_guest(void *t, const char *v, struct error *err) { config_of(t)->name = v; return 0; }

static int name_process(void *t, const char *v, struct error *err)
{
    ((struct vm_options *)t)->process_name = v;
    return 0;
}

static int name_debug_threads(void *t, const char *v, struct error *err)
{
    bool on;

    return value_bool("debug-threads", v, &on, err);    /* threads have names in any case */
}

const struct option_key name_keys[] = {
    { "guest", name_guest, NULL }, { "process", name_process, NULL }, { "debug-threads", name_debug_threads, NULL },
    { NULL, NULL, NULL },
};

int option_name(struct vm_options *o, const char *arg, struct error *err)
{
    struct option_list l;

    if (option_list_parse(&l, o->arena, arg, "guest", err) < 0) return -1;
    return option_list_apply(&l, "-name", name_keys, o, err);
}

/* ---- devices ---- */

/* Nothing tells of a panic, and there is no watchdog. */
static const char *const action_events[] = { "reboot", "shutdown", "panic", "watchdog", NULL };
static const char *const actions[][8] = {
    { "reset", "shutdown" }, { "poweroff", "pause" }, { "pause", "shutdown", "exit-failure", "none" },
    { "reset", "shutdown", "poweroff", "pause", "debug", "none", "inject-nmi" },
};
enum { EVENT_REBOOT, EVENT_SHUTDOWN, EVENT_WATCHDOG = 3 };

int option_action(struct vm_options *o, const char *arg, struct error *err)
{
    struct option_list l;

    if (option_list_parse(&l, o->arena, arg, NULL, err) < 0) return -1;
    for (unsigned i = 0; i < l.count; i++) {
        unsigned event, which;

        if (value_choice("-action", l.pair[i].key, action_events, &event, err) < 0) return -1;
        if (value_choice(arena_format(o->arena, "-action: %s", l.pair[i].key), l.pair[i].value, actions[event], &which, err) < 0) return -1;
        if (event == EVENT_REBOOT) o->config.no_reboot = which == 1;
        else if (event == EVENT_SHUTDOWN) o->config.no_shutdown = which == 1;
    }
    return 0;
}

int option_watchdog_action(struct vm_options *o, const char *arg, struct error *err)
{
    unsigned which;

    return value_choice("-watchdog-action", arg, actions[EVENT_WATCHDOG], &which, err);
}

static int debug_exit_iobase(void *t, const char *v, struct error *err)
{
    uint64_t port;

    if (value_unsigned("iobase", v, 0xfffc, &port, err) < 0) return -1;
    config_of(t)->isa_debug_exit_port = port;
    return 0;
}

static int debug_exit_iosize(void *t, const char *v, struct error *err)
{
    uint64_t size;

    if (value_unsigned("iosize", v, 4, &size, err) < 0) return -1;
    return size ? 0 : error_set(err, "iosize is 1 to 4");
}

static int device_accept(void *t, const char *v, struct error *err) { return 0; }

static const struct option_key debug_exit_keys[] = {
    { "driver", device_accept, NULL }, { "id", device_accept, NULL }, { "iobase", debug_exit_iobase, NULL },
    { "iosize", debug_exit_iosize, NULL }, { NULL, NULL, NULL },
};

static int device_debug_exit(struct vm_options *o, const char *arg, const struct option_list *l, struct error *err)
{
    if (option_list_wants_help(l)) return keys_show(o, "isa-debug-exit", debug_exit_keys);
    if (o->config.isa_debug_exit) return error_set(err, "-device isa-debug-exit: one is enough");
    o->config.isa_debug_exit = true;
    o->config.isa_debug_exit_port = 0x501;
    return option_list_apply(l, "-device isa-debug-exit", debug_exit_keys, o, err);
}

static int debugcon_chardev(void *t, const char *v, struct error *err)
{
    struct vm_options *o = t;

    return option_debugcon(o, arena_format(o->arena, "chardev:%s", v), err);
}

static int debugcon_iobase(void *t, const char *v, struct error *err)
{
    uint64_t port;

    if (value_unsigned("iobase", v, 0xffff, &port, err) < 0) return -1;
    return port == 0x402 ? 0 : error_set(err, "iobase: the debug console is at port 0x402");
}

static const struct option_key debugcon_keys[] = {
    { "driver", device_accept, NULL }, { "id", device_accept, NULL }, { "chardev", debugcon_chardev, NULL },
    { "iobase", debugcon_iobase, NULL }, { NULL, NULL, NULL },
};

static int device_debugcon(struct vm_options *o, const char *arg, const struct option_list *l, struct error *err)
{
    if (option_list_wants_help(l)) return keys_show(o, "isa-debugcon", debugcon_keys);
    return option_list_apply(l, "-device isa-debugcon", debugcon_keys, o, err);
}

static const struct {
    const char *name, *bus, *help;
    int (*add)(struct vm_options *o, const char *arg, const struct option_list *l, struct error *err);
} devices[] = {
    { "ide-hd", "IDE", "virtual IDE disk", device_ide },
    { "ide-cd", "IDE", "virtual IDE CD-ROM", device_ide },
    { "virtio-blk-pci", "PCI", "virtio disk", device_virtio },
    { "virtio-blk", "PCI", "another name for virtio-blk-pci", device_virtio },
    { "virtio-blk-pci-transitional", "PCI", "likewise", device_virtio },
    { "virtio-blk-pci-non-transitional", "PCI", "virtio disk without the legacy interface", device_virtio },
    { "virtio-rng-pci", "PCI", "virtio entropy source", device_virtio },
    { "virtio-rng", "PCI", "another name for virtio-rng-pci", device_virtio },
    { "virtio-rng-pci-transitional", "PCI", "likewise", device_virtio },
    { "virtio-rng-pci-non-transitional", "PCI", "without the legacy interface", device_virtio },
    { "virtio-serial-pci", "PCI", "virtio serial bus", device_virtio },
    { "virtio-serial", "PCI", "another name for virtio-serial-pci", device_virtio },
    { "virtio-serial-pci-transitional", "PCI", "likewise", device_virtio },
    { "virtio-serial-pci-non-transitional", "PCI", "without the legacy interface", device_virtio },
    { "virtio-scsi-pci", "PCI", "virtio SCSI adapter", device_virtio },
    { "virtio-scsi", "PCI", "another name for virtio-scsi-pci", device_virtio },
    { "virtio-scsi-pci-transitional", "PCI", "likewise", device_virtio },
    { "virtio-scsi-pci-non-transitional", "PCI", "without the legacy interface", device_virtio },
    { "scsi-hd", "SCSI", "virtual SCSI disk", device_scsi },
    { "scsi-cd", "SCSI", "virtual SCSI CD-ROM", device_scsi },
    { "virtserialport", "virtio-serial-bus", "a port for programs, such as guest agents", device_virtio_port },
    { "virtconsole", "virtio-serial-bus", "a console (hvc0)", device_virtio_port },
    { "virtio-9p-pci", "PCI", "a folder of the host", device_virtio },
    { "virtio-9p", "PCI", "another name for virtio-9p-pci", device_virtio },
    { "virtio-9p-pci-transitional", "PCI", "likewise", device_virtio },
    { "virtio-9p-pci-non-transitional", "PCI", "without the legacy interface", device_virtio },
    { "virtio-balloon-pci", "PCI", "virtio memory balloon", device_virtio },
    { "virtio-balloon", "PCI", "another name for virtio-balloon-pci", device_virtio },
    { "virtio-balloon-pci-transitional", "PCI", "likewise", device_virtio },
    { "virtio-balloon-pci-non-transitional", "PCI", "without the legacy interface", device_virtio },
    { "floppy", "floppy-bus", "virtual floppy drive", device_floppy },
    { "ich9-ahci", "PCI", "AHCI Serial ATA controller", device_ahci },
    { "ahci", "PCI", "another name for ich9-ahci", device_ahci },
    { "e1000", "PCI", "Intel Gigabit Ethernet (82540EM)", device_nic },
    { "e1000-82540em", "PCI", "another name for e1000", device_nic },
    { "ne2k_pci", "PCI", "NE2000 (Realtek RTL8029AS)", device_nic },
    { "rtl8139", "PCI", "Realtek RTL8139C+ Fast Ethernet", device_nic },
    { "virtio-net-pci", "PCI", "virtio network card", device_virtio },
    { "virtio-net", "PCI", "another name for virtio-net-pci", device_virtio },
    { "virtio-net-pci-transitional", "PCI", "likewise", device_virtio },
    { "virtio-net-pci-non-transitional", "PCI", "without the legacy interface", device_virtio },
    { "virtio-vsock-pci", "PCI", "sockets between host and guest", device_virtio },
    { "virtio-vsock", "PCI", "another name for virtio-vsock-pci", device_virtio },
    { "virtio-keyboard-pci", "PCI", "virtio keyboard", device_virtio },
    { "virtio-keyboard", "PCI", "another name for virtio-keyboard-pci", device_virtio },
    { "virtio-mouse-pci", "PCI", "virtio mouse", device_virtio },
    { "virtio-mouse", "PCI", "another name for virtio-mouse-pci", device_virtio },
    { "virtio-tablet-pci", "PCI", "virtio tablet: a pointer with positions", device_virtio },
    { "virtio-tablet", "PCI", "another name for virtio-tablet-pci", device_virtio },
    { "piix3-usb-uhci", "PCI", "USB 1.1 controller, which -usb adds too", device_usb_controller },
    { "qemu-xhci", "PCI", "USB 3 controller", device_usb_controller },
    { "nec-usb-xhci", "PCI", "USB 3 controller (NEC uPD720200)", device_usb_controller },
    { "usb-tablet", "usb-bus", "a pointer with positions, which is not captured", device_usb },
    { "usb-mouse", "usb-bus", "USB mouse", device_usb },
    { "usb-kbd", "usb-bus", "USB keyboard", device_usb },
    { "usb-hub", "usb-bus", "USB hub with eight ports", device_usb },
    { "usb-storage", "usb-bus", "USB stick, or CD-ROM drive, with drive=ID", device_usb },
    { "VGA", "PCI", "standard VGA", device_vga },
    { "bochs-display", "PCI", "a frame buffer with the Bochs extensions, without VGA", device_vga },
    { "virtio-vga", "PCI", "virtio graphic card with VGA", device_gpu },
    { "virtio-gpu-pci", "PCI", "virtio graphic card without VGA", device_gpu },
    { "virtio-gpu", "PCI", "another name for virtio-gpu-pci", device_gpu },
    { "isa-serial", "ISA", "serial port, with chardev=ID", device_isa_serial },
    { "isa-debug-exit", "ISA", "a port that ends the machine with a status", device_debug_exit },
    { "isa-debugcon", "ISA", "debug console at port 0x402", device_debugcon },
};

const char *vm_device_name(unsigned i)
{
    return i < ARRAY_SIZE(devices) ? devices[i].name : NULL;
}

static int device_help(void)
{
    printf("Devices that -device adds:\n");
    for (unsigned i = 0; i < ARRAY_SIZE(devices); i++)
        printf("name \"%s\", bus %s, desc \"%s\"\n", devices[i].name, devices[i].bus, devices[i].help);
    return VM_OPTIONS_HELP_SHOWN;
}

int option_device(struct vm_options *o, const char *arg, struct error *err)
{
    struct option_list l;
    struct nearest near;
    const char *text;
    int result;

    if (!strcmp(arg, "help") || !strcmp(arg, "?")) return device_help();
    if (option_list_parse(&l, o->arena, arg, "driver", err) < 0) return -1;
    if (!l.count || strcmp(l.pair[0].key, "driver"))
        return error_set(err, "-device begins with a device's name; '-device help' lists them");
    if (id_take(o, &o->device_id, "device", &l, err) < 0) return -1;
    nearest_begin(&near, l.pair[0].value);
    for (unsigned i = 0; i < ARRAY_SIZE(devices); i++) {
        nearest_offer(&near, devices[i].name);
        if (strcmp(devices[i].name, l.pair[0].value)) continue;
        text = option_list_wants_help(&l) ? arg : globals_write(o, arg, &l);
        if (text == arg) return devices[i].add(o, arg, &l, err);
        if (option_list_parse(&l, o->arena, text, "driver", err) < 0) return -1;
        result = devices[i].add(o, text, &l, err);
        return result < 0 ? error_prefix(err, "with -global") : result;
    }
    if (device_later(l.pair[0].value)) return error_set(err, "-device: %s is not in this version; %s", l.pair[0].value, device_later(l.pair[0].value));
    if (nearest_result(&near))
        return error_set(err, "-device: unknown device '%s'; did you mean '%s'?", l.pair[0].value, near.best);
    return error_set(err, "-device: '%s' is not a device of this version; '-device help' lists them", l.pair[0].value);
}
