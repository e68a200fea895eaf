/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * A running machine: owns address spaces, RAM, engine, vCPU threads, devices and drives. The board itself is pc.c.
 */
#ifndef MACHINE_MACHINE_H
#define MACHINE_MACHINE_H

#include "bus/device.h"
#include "engine/engine.h"
#include "machine/config.h"

struct machine;
/* event.h tells of each change: STOP, RESUME, RESET, SHUTDOWN, POWERDOWN. */
enum run_state { RUN_PRELAUNCH, RUN_RUNNING, RUN_PAUSED, RUN_DEBUG, RUN_SHUTDOWN, RUN_INTERNAL_ERROR, RUN_IO_ERROR };

/* Builds everything, opens images, loads firmware or kernel; nothing runs yet. NULL with *err. */
struct machine *machine_new(const struct machine_config *config, struct error *err);
void machine_free(struct machine *m);
/* Starts vCPU threads and runs the loop until the machine ends; returns the process's exit status. */
int machine_run(struct machine *m);

void machine_start(struct machine *m);           /* 'cont' */
void machine_stop(struct machine *m, enum run_state why);
/* For a look at registers: as those, but nobody is told by an event. */
void machine_pause(struct machine *m);
void machine_unpause(struct machine *m);
/* For who asks a stopped machine to stop: its disks are flushed as if it had just stopped. */
void machine_settle(struct machine *m);
enum run_state machine_state(const struct machine *m);
/* Requests from devices (any thread, machine lock held) and the monitor; carried out by the main loop. */
enum machine_cause { CAUSE_GUEST_RESET, CAUSE_GUEST_SHUTDOWN, CAUSE_MONITOR_RESET, CAUSE_MONITOR_QUIT, CAUSE_SIGNAL, CAUSE_UI };
void machine_request_reset(struct machine *m, enum machine_cause cause);
void machine_request_shutdown(struct machine *m, const char *why);      /* guest power-off: honours -no-shutdown */
void machine_request_powerdown(struct machine *m);                      /* press the power button */
void machine_request_quit(struct machine *m, int status, enum machine_cause cause);
/* What a reset and a power-off by the guest do from now on. */
void machine_actions_set(struct machine *m, bool no_reboot, bool no_shutdown);

struct memory_map *machine_memory(struct machine *m);
struct memory_map *machine_ports(struct machine *m);
struct engine *machine_engine(struct machine *m);
unsigned machine_vcpu_count(const struct machine *m);
struct engine_vcpu *machine_vcpu(struct machine *m, unsigned i);
int machine_vcpu_thread(const struct machine *m, unsigned i);           /* the host's id of the thread that runs it */
const char *machine_cpu_model(const struct machine *m);                 /* "qemu64", "max" */
const char *machine_cpu_missing(const struct machine *m);               /* flags of it that the guest does not get: "fma, avx2" */
/* While the machine is stopped. */
void machine_vcpu_get(struct machine *m, unsigned i, struct x86_state *s);
void machine_vcpu_set(struct machine *m, unsigned i, const struct x86_state *s);
/* Debugger: carried out while stopped. on_stop is called in the main thread each time the machine stops. */
void machine_debug_set(struct machine *m, const struct engine_debug *d);
void machine_on_stop(struct machine *m, void (*fn)(void *opaque, enum run_state why, unsigned vcpu), void *opaque);
bool machine_a20(const struct machine *m);       /* address line 20 is let through */
struct device *machine_devices(struct machine *m);                      /* list by ->next */
const struct machine_config *machine_configuration(const struct machine *m);
/* Drives, for 'info block', and nodes. */
unsigned machine_drive_count(const struct machine *m);
struct block_node *machine_drive(struct machine *m, unsigned i);
/* The 80x25 (or other) text screen as UTF-8 lines; false if in a graphics mode. buf gets at most size bytes. */
bool machine_text_screen(struct machine *m, char *buf, size_t size);
/* What the graphic card shows; NULL: there is none. */
struct display;
struct display *machine_display(struct machine *m);
bool machine_has_window(const struct machine *m);
struct vnc_server;
struct vnc_server *machine_vnc(struct machine *m);     /* or NULL */
/* Keyboards and pointers of the guest. */
struct input;
struct input *machine_input(struct machine *m);
/* Lines for 'info usb'. -1 with *err: there is no USB. */
int machine_usb_info(struct machine *m, void (*print)(void *opaque, const char *line), void *opaque, struct error *err);
/* A monitor's device, which -display curses shows if it has no other place; and that there were all of them. */
struct chardev;
struct chardevs;
/* All character devices: the board's, the monitors', gdb's. */
struct chardevs *machine_chardevs(const struct machine *m);
void machine_monitor_show(struct machine *m, struct chardev *c);
void machine_monitors_shown(struct machine *m);
struct web_server;
struct web_server *machine_web(struct machine *m);     /* or NULL */
/* QKeyCode names as in sendkey ("ctrl-alt-delete", "a", "ret"). 0, or -1 with *err naming the unknown key. */
int machine_send_keys(struct machine *m, const char *keys, int hold_ms, struct error *err);
/* -boot order= from the next reset on, with no exception for one boot any more. 0, or -1 with *err. */
int machine_boot_order_set(struct machine *m, const char *letters, struct error *err);
/* The PCI host's bus, for 'info pci'. */
struct pci_bus;
struct pci_bus *machine_pci_bus(struct machine *m);
/* For CD-ROM and floppy drives, 'eject' and 'change': options NULL takes the medium out. i counts as machine_drive does. 0, or -1
 * with *err (not a CD-ROM drive, the guest holds the door shut and force is false, the image cannot be opened). */
int machine_drive_change(struct machine *m, unsigned i, const struct block_open_options *options, bool force,
                         struct error *err);
/* The same in steps. The tray opens or shuts (a floppy drive has none: nothing happens); while it is open the medium is taken out, if there
 * is one, or the node of this name put in. A node that was a medium stays as a node. 0, or -1 with *err. */
int machine_tray_move(struct machine *m, unsigned i, bool open, bool force, struct error *err);
int machine_medium_remove(struct machine *m, unsigned i, struct error *err);
int machine_medium_insert(struct machine *m, unsigned i, const char *node, struct error *err);
/* Where the device that a drive is connected to stands in QMP's tree of objects; false: it is connected to none. */
enum { MACHINE_PATH_BYTES = 320 };     /* enough for each */
bool machine_drive_path(struct machine *m, unsigned i, char *path, size_t size);
/* What QMP calls this device: its id, or the path where it has none, or where the drive is a part's. */
bool machine_drive_device(struct machine *m, unsigned i, char *name, size_t size);
/* What people call the drive: its id, its node's, or, where it has none of its own, its device as above. */
void machine_drive_label(struct machine *m, unsigned i, char *name, size_t size);
/* Why a request of this drive stopped the machine, an errno; 0: none did since it was started. */
int machine_drive_error(struct machine *m, unsigned i);
/* The tray of a drive whose medium can be changed; false: it has none. */
bool machine_drive_tray(struct machine *m, unsigned i, bool *open, bool *locked);
/* The memory balloon: what the guest shall keep, in bytes; lines for 'info balloon'. -1 with *err: there is none. */
int machine_balloon_set(struct machine *m, uint64_t bytes, struct error *err);
bool machine_balloon_get(struct machine *m, uint64_t *bytes);           /* what it keeps; false: there is no balloon */
/* Statistics of the guest by virtio's tags, and when they came; false: it told none, or there is no balloon. The interval in seconds in
 * which it is asked, 0: when somebody looks. */
bool machine_balloon_stat(struct machine *m, unsigned tag, uint64_t *value, int64_t *updated_s);
uint32_t machine_balloon_poll(struct machine *m);
void machine_balloon_poll_set(struct machine *m, uint32_t seconds);
int machine_balloon_info(struct machine *m, void (*print)(void *opaque, const char *line), void *opaque, struct error *err);
/* Networks: lines for 'info network' and 'info usernet'; plugs a cable (the card's name or the network's id) in or out; forwards of a
 * user network (netdev NULL: the only one). 0, or -1 with *err. */
void machine_net_info(struct machine *m, void (*print)(void *opaque, const char *line), void *opaque);
void machine_usernet_info(struct machine *m, void (*print)(void *opaque, const char *line), void *opaque);
int machine_link_set(struct machine *m, const char *name, bool up, struct error *err);
int machine_hostfwd_add(struct machine *m, const char *netdev, const char *rule, struct error *err);
int machine_hostfwd_remove(struct machine *m, const char *netdev, const char *rule, struct error *err);
/* Has cards announce themselves to their networks, now and rounds - 1 times later: after initial_ms, each time step_ms later than that, at most max_ms. It
 * takes the place of one of the same id that is under way; with 0 rounds it only ends that. */
struct machine_announce {
    int64_t initial_ms, max_ms, step_ms;
    unsigned rounds, name_count;
    const char *const *names;          /* of the cards; NULL: all */
    const char *id;                    /* or NULL */
};
int machine_announce(struct machine *m, const struct machine_announce *how, struct error *err);
/* The i-th network card's name, *name NULL: there is none at this place; false: there are no more. *v NULL: it is no virtio card. */
bool machine_nic(struct machine *m, unsigned i, const char **name, struct virtio **v);
/* The drive's options as configured, and whether a medium is in: machine_drive is NULL for an empty CD-ROM drive. */
const struct drive_config *machine_drive_config(struct machine *m, unsigned i);
/* debug.c: walks the page tables of the vCPU as they are now, changing nothing (no A/D bits). While it is stopped. */
bool machine_translate(struct machine *m, unsigned vcpu, gva_t gva, gpa_t *gpa);
/* debug.c: guest-virtual memory for debuggers, page by page: RAM, and ROM for reading. Returns the bytes done before
 * the first that is not there. After a write translations are dropped. */
size_t machine_debug_read(struct machine *m, unsigned vcpu, gva_t gva, void *data, size_t size);
size_t machine_debug_write(struct machine *m, unsigned vcpu, gva_t gva, const void *data, size_t size);

#endif
