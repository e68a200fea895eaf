/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Inside the room: the monitor's state and what commands use. */
#ifndef MONITOR_PRIVATE_H
#define MONITOR_PRIVATE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/error.h"
#include "machine/machine.h"
#include "monitor/monitor.h"
#include "monitor/readline.h"

struct gdbstub;

struct monitor {
    struct machine *m;
    struct chardev *chardev;           /* NULL: what is printed is kept in text */
    struct { char *data; size_t size, room; bool cut; } text;
    struct gdbstub *gdb;               /* of the command 'gdbserver' */
    struct readline readline;
    bool newline_is_crlf, shown;       /* shown: a prompt stands on the screen */
    uint8_t dump_size;                 /* of the last x, xp or print, which the next one keeps; 0: none yet */
    char dump_letter;
    unsigned buttons;                  /* of the mouse, that 'mouse_button' holds down */
    unsigned vcpu;                     /* whose registers 'info registers' and '$rip' mean */
};

enum { COMMAND_WORDS = 16 };
/* The words of a line; text[i] is the line from word i on. argv[0] is the command. */
struct command_line {
    unsigned argc;
    const char *argv[COMMAND_WORDS], *rest[COMMAND_WORDS];
};
/* 0, or -1 with *err. */
typedef int command_fn(struct monitor *mon, const struct command_line *c, struct error *err);
struct command {
    const char *name, *args, *help;
    command_fn *fn;
    const char *alias;                 /* a short name, or NULL */
};

/* On a chardev, which it takes over, also when it fails. NULL with *err. */
struct monitor *monitor_new(struct machine *m, struct chardev *c, struct error *err);
/* One for monitor_run_line only. NULL: out of memory. */
struct monitor *monitor_silent_new(struct machine *m);
void monitor_free(struct monitor *mon);              /* NULL is allowed */
/* Carries a line out and returns what it printed, malloc'ed, with \r\n for line ends; NULL: out of memory. */
char *monitor_run_line(struct monitor *mon, const char *line, size_t *size);
void monitor_print(struct monitor *mon, const char *fmt, ...) __attribute__((format(printf, 2, 3)));
void monitor_print_line(void *mon, const char *line);        /* the shape of the info callbacks */
bool command_is(const struct command *c, const char *name);

/* qmp_run.c: what both kinds of monitors do. */
const char *run_state_name(enum run_state s);
void uuid_format(char text[37], const uint8_t *uuid);
/* 0, or -1 with *err. */
int run_continue(struct machine *m, struct error *err);
int run_wakeup(struct error *err);

/* qmp_vnc.c: when the password of VNC ends. 0, or -1 with *err. */
int password_expire(struct machine *m, const char *text, struct error *err);

/* commands_device.c: the drive of this name, else of a device of this name, which another drive may have for its own. 0, or -1 with *err. */
int monitor_drive_find(struct monitor *mon, const char *id, unsigned *index, struct error *err);

/* commands_info.c: what 'info pci' calls a class, NULL: nothing. */
const char *pci_class_name(unsigned class);

/* Tables end with a NULL name. */
/* qmp_throttle.c */
int cmd_block_set_io_throttle(struct monitor *mon, const struct command_line *c, struct error *err);
void throttle_print(struct monitor *mon, unsigned drive);
/* qmp_block.c: what both monitors say of machine_drive_error. */
const char *io_status_name(int error);

extern const struct command run_commands[], memory_commands[], device_commands[], hotplug_commands[], dump_commands[], chardev_commands[], announce_commands[],
    info_commands[], list_commands[];
command_fn command_info;
/* The command 'info NAME'; NULL with *err. help: all or one of them. */
const struct command *info_find(const char *name, struct error *err);
int info_help(struct monitor *mon, const char *name, struct error *err);
void command_help_print(struct monitor *mon, const char *prefix, const struct command *c);
/* Why QEMU has a command of this name and we have not; NULL: it has none either. */
const char *command_absent(const char *name);
const char *info_absent(const char *name);
/* -1 with *err: there are words behind the one with this number. */
int words_most(const struct command_line *c, unsigned last, struct error *err);

/* Numbers, $registers, + - * / % & | ^ << >> ~ ( ). 0, or -1 with *err. *end (if not NULL) is where it stopped;
 * otherwise everything must be used up. */
int expression_value(struct monitor *mon, const char *text, const char **end, uint64_t *value, struct error *err);
/* Registers of the monitor's CPU, stopping the machine for the moment. */
void monitor_registers(struct monitor *mon, struct x86_state *s);

#endif
