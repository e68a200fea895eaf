/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The table of options. Every option is a row: name, argument, help, handler. Options of qemu that this version does
 * not have are rows of a second table, so that they are refused by name with a reason; anything else is unknown and
 * told with the nearest known name. Handlers only note what was asked; vm_options_parse completes defaults at the end.
 */
#include "tool/vm_options.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/bits.h"
#include "base/error.h"
#include "base/log.h"
#include "base/nearest.h"
#include "tool/version.h"
#include "tool/vm_options_private.h"

static int option_help(struct vm_options *o, const char *arg, struct error *err);

static int option_version(struct vm_options *o, const char *arg, struct error *err)
{
    version_print("ospite");
    printf("Copyright the ospite authors. Free software, GNU GPL version 2 or later; no warranty.\n");
    return VM_OPTIONS_HELP_SHOWN;
}

static int option_kernel(struct vm_options *o, const char *a, struct error *err) { o->config.kernel = a; return 0; }
static int option_initrd(struct vm_options *o, const char *a, struct error *err) { o->config.initrd = a; return 0; }
static int option_append(struct vm_options *o, const char *a, struct error *err) { o->config.append = a; return 0; }
static int option_nographic(struct vm_options *o, const char *a, struct error *err) { o->nographic = true; return 0; }
static int option_snapshot(struct vm_options *o, const char *a, struct error *err) { o->snapshot = true; return 0; }
static int option_nodefaults(struct vm_options *o, const char *a, struct error *err) { o->nodefaults = true; return 0; }
static int option_paused(struct vm_options *o, const char *a, struct error *err) { o->config.start_paused = true; return 0; }
static int option_no_reboot(struct vm_options *o, const char *a, struct error *err) { o->config.no_reboot = true; return 0; }
static int option_no_acpi(struct vm_options *o, const char *a, struct error *err) { o->config.has_acpi = false; return 0; }
static int option_no_hpet(struct vm_options *o, const char *a, struct error *err) { o->config.has_hpet = false; return 0; }
static int option_no_fd_bootchk(struct vm_options *o, const char *a, struct error *err) { o->config.boot_unsigned_floppies = true; return 0; }
static int option_full_screen(struct vm_options *o, const char *a, struct error *err) { o->config.full_screen.given = o->config.full_screen.on = true; return 0; }
static int option_pidfile(struct vm_options *o, const char *a, struct error *err) { o->pidfile = a; return 0; }
static int option_daemonize(struct vm_options *o, const char *a, struct error *err) { o->daemonize = true; return 0; }
static int option_trace_file(struct vm_options *o, const char *a, struct error *err) { o->trace_file = a; return 0; }
/* There are no configuration files that could be skipped. */
static int option_without_effect(struct vm_options *o, const char *a, struct error *err) { return 0; }

static int option_no_shutdown(struct vm_options *o, const char *a, struct error *err)
{
    o->config.no_shutdown = true;
    return 0;
}

static int option_gdb(struct vm_options *o, const char *arg, struct error *err)
{
    o->config.gdb = strcmp(arg, "none") ? arg : NULL;
    return 0;
}

static int option_gdb_default(struct vm_options *o, const char *arg, struct error *err)
{
    return option_gdb(o, "tcp::1234", err);
}

static int option_trace(struct vm_options *o, const char *arg, struct error *err)
{
    uint32_t before = trace_mask;

    if (!strcmp(arg, "help") || !strcmp(arg, "?")) {
        log_trace_help(stdout);
        return VM_OPTIONS_HELP_SHOWN;
    }
    if (log_trace_enable(arg, err) < 0) return error_prefix(err, "-d");
    trace_mask = before;                         /* switched on when all options are known to be right */
    o->trace_list = arg;
    return 0;
}

static int option_sandbox(struct vm_options *o, const char *arg, struct error *err)
{
    if (!strcmp(arg, "off")) return 0;
    return error_set(err, "-sandbox %s: the sandbox is not in this version; use -sandbox off", arg);
}

struct row {
    const char *name, *arg, *help;               /* arg NULL: takes none; help NULL: another name of the row above */
    option_fn *fn;
};

static const struct row rows[] = {
    { "h", NULL, "show this help", option_help },
    { "help", NULL, NULL, option_help },
    { "version", NULL, "show the version", option_version },
    { "machine", "TYPE[,PROP=V...]", "machine type: pc; accel=, mem-merge=, acpi=, hpet= ('help' lists types)", option_machine },
    { "M", "TYPE", NULL, option_machine },
    { "accel", "kvm|bt|tcg[,tb-size=MIB][,windows=on|off][,perf=on]", "engine; tcg means bt; kvm:bt tries both (default); perf: names for perf", option_accel },
    { "enable-kvm", NULL, "the same as -accel kvm", option_enable_kvm },
    { "cpu", "MODEL[,+FLAG][,-FLAG]", "CPU model ('help' lists models and flags)", option_cpu },
    { "smp", "N[,maxcpus=N][,sockets=N][,dies=N][,cores=N][,threads=N]", "number of CPUs (1 to 255) and how they lie", option_smp },
    { "m", "[size=]SIZE", "guest memory, in MiB or with a suffix: 512, 2G (default 128)", option_memory },
    { "mem-path", "PATH", "guest memory from a file, or from a directory such as /dev/hugepages", option_mem_path },
    { "mem-prealloc", NULL, "have all of the guest's memory from the start", option_mem_prealloc },
    { "overcommit", "mem-lock=on|off", "keep the guest's memory from being swapped", option_overcommit },
    { "name", "NAME", "name of the guest; process=NAME names the process", option_name },
    { "uuid", "UUID", "the machine's UUID, %08x-%04x-%04x-%04x-%012x", option_uuid },
    { "rtc", "[base=utc|localtime|DATE][,clock=host|rt|vm][,driftfix=none|slew]", "what the guest's clock shows at the start, what drives it, "
      "and whether missed periodic interrupts are made good", option_rtc },
    { "device", "NAME[,PROP=V...]", "add a device ('help' lists them)", option_device },
    { "object", "rng-random,id=ID[,filename=FILE]", "a source of random numbers for virtio-rng; also rng-builtin, iothread,id=ID (disks have threads of their own with and without), and "
      "filter-dump,id=ID,netdev=ID,file=FILE, which writes a network's frames to a pcap file; secret,id=ID,file=PATH (or data=TEXT) for encrypted disks; throttle-group,id=ID,x-iops-total=N, limits that drives share", option_object },
    { "global", "DRIVER.PROP=VALUE", "a property of all devices of a kind", option_global },
    { "fda", "FILE", "image of the disk in floppy drive A; FILE '' is an empty drive", option_fda },
    { "fdb", "FILE", "in drive B", option_fdb },
    { "hda", "FILE", "image of the primary master disk; a bare FILE argument is the same", option_hda },
    { "hdb", "FILE", "primary slave", option_hdb },
    { "hdc", "FILE", "secondary master (shares its place with -cdrom)", option_hdc },
    { "hdd", "FILE", "secondary slave", option_hdd },
    { "cdrom", "FILE", "CD-ROM image", option_cdrom },
    { "drive", "file=F[,if=ide|virtio|floppy|pflash|none][,format=F][,index=N][,media=disk|cdrom]...", "a drive in full: also id=, readonly=on, "
      "snapshot=on, cache=, discard=, serial=, werror=, rerror=, encrypt.key-secret=ID (format=luks: key-secret=ID)", option_drive },
    { "blockdev", "driver=NAME,node-name=NODE[,file=NODE][,PROP=V...]", "a piece of an image by name, for -device NAME,drive=NODE; mostly as JSON", option_blockdev },
    { "virtfs", "local,path=DIR,mount_tag=TAG,security_model=MODEL[,readonly=on]", "share a folder: mount -t 9p -o trans=virtio TAG /mnt in the guest", option_virtfs },
    { "fsdev", "local,id=ID,path=DIR,security_model=MODEL[,...]", "the same for -device virtio-9p-pci,fsdev=ID,mount_tag=TAG", option_fsdev },
    { "snapshot", NULL, "write to temporary files instead of disk images", option_snapshot },
    { "boot", "[order=]DRIVES[,once=DRIVES][,menu=on][,splash=FILE][,splash-time=MS][,reboot-timeout=MS]", "boot order: a floppy, c disk, d CD-ROM, n network", option_boot },
    { "kernel", "FILE", "boot this kernel (bzImage, PVH ELF or multiboot) without firmware", option_kernel },
    { "initrd", "FILE", "initial RAM disk, or multiboot modules 'FILE ARGS,FILE ARGS'", option_initrd },
    { "append", "TEXT", "command line of the kernel", option_append },
    { "bios", "FILE", "firmware instead of SeaBIOS: UEFI is /usr/share/ovmf/OVMF.fd", option_bios },
    { "option-rom", "FILE[,bootindex=N]", "an option ROM for the firmware to run, which may be what is started", option_option_rom },
    { "fw_cfg", "[name=]opt/NAME,file=FILE|string=TEXT", "a file for the guest's firmware and for /sys/firmware/qemu_fw_cfg", option_fw_cfg },
    { "pflash", "FILE", "firmware in a flash chip; the second one keeps its variables. The same as -drive if=pflash,file=FILE", option_pflash },
    { "L", "DIR", "look for firmware here first", option_firmware_dir },
    { "nographic", NULL, "serial port and monitor on this terminal; Ctrl-A h shows the keys", option_nographic },
    { "display", "sdl[,full-screen=on][,show-cursor=off][,window-close=off]|curses|web[=[ADDR:]PORT]|vnc=ADDRESS|none", "where the screen is shown: in a window (the default on a desktop), as text in this terminal, in a browser (the URL is printed), to VNC clients, nowhere", option_display },
    { "vga", "std|virtio|none", "graphic card", option_vga },
    { "vnc", "HOST:N|unix:PATH|none[,password=on][,websocket=on|[ADDR:]PORT][,to=N][,share=POLICY][,tls-creds=ID][,password-secret=ID][,PROP=V...]", "show the screen to VNC clients, at port 5900 + N", option_vnc },
    { "usb", NULL, "USB: a UHCI controller with two ports", option_usb },
    { "usbdevice", "tablet|mouse|keyboard", "plug one of these in (-usb included); -device usb-tablet and so on say where", option_usbdevice },
    { "k", "LAYOUT", "keyboard layout of viewers that send characters, such as de ('help' lists them)", option_layout },
    { "serial", "DEV", "connect the serial port: stdio, mon:stdio, file:PATH, pty, unix:PATH[,server=on][,wait=off], "
      "tcp:HOST:PORT[,...], telnet:HOST:PORT[,...], udp:HOST:PORT, vc[:80Cx24C], null, none; up to four times", option_serial },
    { "parallel", "none", "parallel port; none in this version", option_parallel },
    { "monitor", "DEV", "connect the monitor, DEV as for -serial", option_monitor },
    { "chardev", "BACKEND,id=ID[,...]", "a character device for -serial chardev:ID, -mon, ports", option_chardev },
    { "add-fd", "fd=N,set=N[,opaque=TEXT]", "an inherited descriptor, for those who name the file /dev/fdset/SET", option_add_fd },
    { "mon", "[chardev=]ID[,mode=readline|control][,pretty=on|off]", "the monitor, or QMP (control), on a -chardev", option_mon },
    { "qmp", "DEV", "serve QMP, the monitor protocol for programs; DEV as for -serial", option_qmp },
    { "qmp-pretty", "DEV", "the same with line breaks, for people", option_qmp_pretty },
    { "debugcon", "DEV", "the firmware's debug console (port 0x402)", option_debugcon },
    { "nic", "user|none[,model=MODEL][,mac=ADDR][,PROP=V...]", "a network card and its network in one; none: no card at all", option_nic },
    { "netdev", "user|tap|bridge|stream|dgram|socket|hubport,id=ID[,hostfwd=tcp:[ADDR]:PORT-[ADDR]:PORT][,PROP=V...]", "a network, to be used by -device NAME,netdev=ID", option_netdev },
    { "net", "nic[,model=MODEL][,macaddr=ADDR] -net user[,PROP=V...]", "the same in the old way: cards and networks, all on one hub", option_net },
    { "gdb", "DEV", "serve gdb on DEV: tcp::1234, unix:PATH, stdio, chardev:ID", option_gdb },
    { "s", NULL, "the same as -gdb tcp::1234", option_gdb_default },
    { "S", NULL, "do not start the CPU ('cont' in the monitor does)", option_paused },
    { "d", "LIST", "trace categories ('help' lists them)", option_trace },
    { "D", "FILE", "write traces to FILE instead of stderr", option_trace_file },
    { "no-reboot", NULL, "end when the guest reboots", option_no_reboot },
    { "no-shutdown", NULL, "stop, do not end, when the guest powers off", option_no_shutdown },
    { "action", "reboot=reset|shutdown,shutdown=poweroff|pause", "the same in other words; panic= and watchdog= are taken", option_action },
    { "watchdog-action", "ACTION", "accepted: there is no watchdog", option_watchdog_action },
    { "no-acpi", NULL, "no ACPI tables", option_no_acpi },
    { "no-fd-bootchk", NULL, "start from floppies whose boot sector has no signature, too", option_no_fd_bootchk },
    { "full-screen", NULL, "begin with full screen, if there is a window: as -display sdl,full-screen=on", option_full_screen },
    { "no-hpet", NULL, "no HPET", option_no_hpet },
    { "nodefaults", NULL, "no default serial port, monitor, CD-ROM drive, graphic and network card", option_nodefaults },
    { "no-user-config", NULL, "accepted: there are no configuration files", option_without_effect },
    { "nodefconfig", NULL, NULL, option_without_effect },
    { "pidfile", "FILE", "write the process number to FILE", option_pidfile },
    { "daemonize", NULL, "go to the background once the machine is set up", option_daemonize },
    { "audiodev", "none,id=ID", "a sound card's backend without sound, for those that refer to one", option_audiodev },
    { "msg", "timestamp=on|off", "begin messages with the time", option_msg },
    { "sandbox", "off", "the sandbox is not in this version", option_sandbox },
};

const char *vm_option_name(unsigned i)
{
    return i < ARRAY_SIZE(rows) ? rows[i].name : NULL;
}

static const struct { const char *name, *why; } refused[] = {
    { "spice", "use -vnc HOST:N, or -nographic" },
    { "curses", "use -display curses" },
    { "g", "the guest chooses the size of its screen" },
    { "rotate", "no PC turns its screen (in QEMU one board's LCD does); the guest can: xrandr --output NAME --rotate left" },
    { "portrait", "no PC turns its screen (in QEMU one board's LCD does); the guest can: xrandr --output NAME --rotate left" },
    { "sdl", "use -display sdl" },
    { "audio", "there is no sound in this version" },
    { "soundhw", "there is no sound in this version" },
    { "incoming", "migration is not in this version" },
    { "only-migratable", "migration is not in this version" },
    { "loadvm", "machine snapshots are not in this version" },
    { "numa", "NUMA is not in this version" },
    { "sd", "SD cards are not in this version; use -hda" },
    { "mtdblock", "flash is not in this version; use -hda" },
    { "tpmdev", "a TPM is not in this version" },
    { "acpitable", "tables of your own are not in this version" },
    { "smbios", "fields of your own are not in this version; -uuid and -name are used" },
    { "watchdog", "a watchdog is not in this version" },
    { "icount", "not in this version" },
    { "trace", "use -d" },
    { "chroot", "not in this version" },
    { "runas", "not in this version" },
    { "readconfig", "configuration files are not in this version" },
    { "writeconfig", "configuration files are not in this version" },
    { "echr", "the key of the console mux is Ctrl-A in this version" },
    { "semihosting", "not for PCs" },
    { "tb-size", "use -accel bt,tb-size=MIB" },
    { "no-kvm", "use -accel bt" },
    { "localtime", "use -rtc base=localtime" },
    { "startdate", "use -rtc base=DATE" },
    { "set", "give the value where the object is made" },
    { "singlestep", "not in this version" },
    { "seed", "not in this version" },
    { "dfilter", "not in this version; -d traces everywhere" },
    { "dtb", "not for PCs" },
    { "compat", "not in this version" },
    { "iscsi", "iSCSI is not in this version" },
    { "plugin", "plugins are not in this version" },
    { "preconfig", "not in this version; -S stops before the first instruction" },
    { "async-teardown", "not in this version" },
    { "audio-help", "there is no sound in this version" },
    { "dump-vmstate", "migration is not in this version" },
    { "enable-sync-profile", "not in this version" },
    { "win2k-hack", "the IDE disks need no slowing down here; leave it out" },
    { "xen-attach", "Xen is not in this version" },
    { "xen-domid", "Xen is not in this version" },
    { "xen-domid-restrict", "Xen is not in this version" },
};

static int option_help(struct vm_options *o, const char *arg, struct error *err)
{
    printf("ospite %s\nusage: ospite [options] [disk_image]\n\n", OSPITE_VERSION);
    for (unsigned i = 0; i < ARRAY_SIZE(rows); i++) {
        const struct row *r = &rows[i];

        printf("-%s%s%s", r->name, r->arg ? " " : "", r->arg ? r->arg : "");
        if (i + 1 < ARRAY_SIZE(rows) && !rows[i + 1].help) printf(" or -%s", rows[++i].name);
        printf("\n                %s\n", r->help);
    }
    printf("\nWith -nographic, Ctrl-A h shows the keys of the terminal, Ctrl-A x ends the machine.\n"
           "The manual page ospite(1) tells more.\n");
    return VM_OPTIONS_HELP_SHOWN;
}

static int option_unknown(const char *given, const char *name, struct error *err)
{
    struct nearest near;

    for (unsigned i = 0; i < ARRAY_SIZE(refused); i++)
        if (!strcmp(refused[i].name, name)) return error_set(err, "%s is not supported: %s", given, refused[i].why);
    nearest_begin(&near, name);
    for (unsigned i = 0; i < ARRAY_SIZE(rows); i++) nearest_offer(&near, rows[i].name);
    if (nearest_result(&near)) return error_set(err, "%s: unknown option; did you mean '-%s'?", given, near.best);
    return error_set(err, "%s: unknown option; 'ospite -h' lists them", given);
}

static int one_option(struct vm_options *o, int argc, char **argv, int *i, struct error *err)
{
    const char *given = argv[*i], *name = given + 1 + (given[1] == '-');

    for (unsigned r = 0; r < ARRAY_SIZE(rows); r++) {
        if (strcmp(rows[r].name, name)) continue;
        if (!rows[r].arg) return rows[r].fn(o, NULL, err);
        if (*i + 1 == argc) return error_set(err, "%s: requires an argument: %s", given, rows[r].arg);
        return rows[r].fn(o, argv[++*i], err);
    }
    return option_unknown(given, name, err);
}

/* Of what an empty machine cannot have, the first that was asked for. */
static int empty_check(struct vm_options *o, struct error *err)
{
    const struct machine_config *c = &o->config;
    const struct { bool asked; const char *what; } none[] = {
        { c->kernel || c->bios, "-kernel, -bios" }, { c->drive_count, "drives" }, { c->virtio_count || o->usb || o->usb_device_count || o->virtio_port_count ||
          c->isa_debug_exit || c->ahci_count || o->ide_device_count || o->scsi_device_count || c->nic_count, "devices" },
        { c->netdev_count, "networks" }, { o->vga_given || c->has_vnc || c->has_web || c->has_curses, "screens" }, { o->serial_given, "serial ports" },
        { c->debugcon || c->gdb, "a debugger" },
    };

    for (unsigned i = 0; i < ARRAY_SIZE(none); i++)
        if (none[i].asked) return error_set(err, "the machine 'none' takes no %s; it is only there to ask its monitor", none[i].what);
    o->nodefaults = true;
    return 0;
}

static int options_finish(struct vm_options *o, struct error *err)
{
    struct machine_config *c = &o->config;

    if (!c->kernel && c->initrd) return error_set(err, "-initrd only makes sense with -kernel");
    if (!c->kernel && c->append) return error_set(err, "-append only makes sense with -kernel");
    if (c->is_empty && empty_check(o, err) < 0) return -1;
    if (o->nodefaults && !o->vga_given) c->has_vga = false;
    if (o->nographic && o->daemonize && !o->nodefaults && !(o->serial_given && o->monitor_given))
        return error_set(err, "-nographic cannot be used with -daemonize, unless -serial and -monitor, or -nodefaults, say where those go");
    if (memory_finish(o, err) < 0) return -1;
    if (audio_finish(o, err) < 0 || vnc_finish(o, err) < 0 || console_finish(o, err) < 0 || flash_finish(o, err) < 0 || drives_finish(o, err) < 0 || nics_finish(o, err) < 0 || usb_finish(o, err) < 0) return -1;
    globals_finish(o);
    return firmware_finish(o, err);
}

static int globals_read(struct vm_options *o, int argc, char **argv, struct error *err)
{
    for (int i = 1; i < argc; i++) {
        const char *name = argv[i][0] == '-' ? argv[i] + 1 + (argv[i][1] == '-') : "";
        unsigned r = 0;

        while (r < ARRAY_SIZE(rows) && strcmp(rows[r].name, name)) r++;
        if (r == ARRAY_SIZE(rows) || !rows[r].arg || ++i == argc) continue;
        if (rows[r].fn == option_global && global_read(o, argv[i], err) < 0) return -1;
    }
    return 0;
}

enum vm_options_result vm_options_parse(struct vm_options *o, int argc, char **argv, struct error *err)
{
    bool positional = false;

    memset(o, 0, sizeof(*o));
    machine_config_defaults(&o->config);
    o->config.serial_count = 0;
    memset(o->config.serial, 0, sizeof(o->config.serial));
    o->config.monitor_count = 0;
    o->arena = arena_new();
    if (globals_read(o, argc, argv, err) < 0) return VM_OPTIONS_ERROR;
    for (int i = 1; i < argc; i++) {
        int result;

        if (argv[i][0] != '-' || !argv[i][1]) {
            if (positional) {
                error_set(err, "'%s': one disk image may stand alone; for more use -hdb or -drive", argv[i]);
                return VM_OPTIONS_ERROR;
            }
            positional = true;
            result = option_hda(o, argv[i], err);
        } else result = one_option(o, argc, argv, &i, err);
        if (result) return result < 0 ? VM_OPTIONS_ERROR : VM_OPTIONS_HELP_SHOWN;
    }
    return options_finish(o, err) < 0 ? VM_OPTIONS_ERROR : VM_OPTIONS_RUN;
}

void vm_options_free(struct vm_options *o)
{
    vm_tls_free(o);
    vm_objects_free(o);
    secrets_free(&o->secrets);
    arena_free(o->arena);
    o->arena = NULL;
}
