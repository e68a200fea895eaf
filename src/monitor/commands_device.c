/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Commands that reach devices: keys, the text screen, CD-ROM drives. */
#include <stdlib.h>
#include <string.h>

#include "base/bits.h"
#include "base/nearest.h"
#include "block/block.h"
#include "block/image.h"
#include "display/display.h"
#include "display/input.h"
#include "display/vnc.h"
#include "monitor/monitor_private.h"
#include "monitor/peek.h"

enum { SCREEN_BYTES = 64 * 1024, HOLD_MS = 100 };

static int cmd_sendkey(struct monitor *mon, const struct command_line *c, struct error *err)
{
    uint64_t hold = HOLD_MS;

    if (c->argc < 2) return error_set(err, "which keys? for example ctrl-alt-delete");
    if (words_most(c, 2, err) < 0) return -1;
    if (c->argc > 2 && expression_value(mon, c->argv[2], NULL, &hold, err) < 0) return -1;
    if (hold > 60000) return error_set(err, "keys are held at most 60000 ms");
    return machine_send_keys(mon->m, c->argv[1], (int)hold, err);
}

static int cmd_screen(struct monitor *mon, const struct command_line *c, struct error *err)
{
    char *text = malloc(SCREEN_BYTES);
    bool ok;

    if (!text) return error_set(err, "out of memory");
    ok = machine_text_screen(mon->m, text, SCREEN_BYTES);
    for (char *line = text, *end; ok && *line; line = end + (*end == '\n')) {
        end = line + strcspn(line, "\n");
        monitor_print(mon, "%.*s\n", (int)(end - line), line);
    }
    free(text);
    return ok ? 0 : error_set(err, "the screen is in a graphics mode, or there is none");
}

/* As in qemu: screendump FILE [-f png]; the format may also stand alone. */
static int cmd_screendump(struct monitor *mon, const struct command_line *c, struct error *err)
{
    struct display *d = machine_display(mon->m);
    const char *format = c->argc > 2 ? c->argv[c->argc - 1] : "ppm";
    bool png = !strcmp(format, "png");

    if (c->argc < 2 || c->argc > 4 || (c->argc == 4 && strcmp(c->argv[2], "-f")) || !strcmp(format, "-f"))
        return error_set(err, "FILE [ppm|png] is wanted");
    if (!png && strcmp(format, "ppm")) return error_set(err, "'%s' is no format of screen dumps; use ppm or png", format);
    if (!d) return error_set(err, "this machine has no graphic card; start it with -vga std");
    return display_dump(d, c->argv[1], png ? DUMP_PNG : DUMP_PPM, err);
}

int monitor_drive_find(struct monitor *mon, const char *id, unsigned *index, struct error *err)
{
    unsigned count = machine_drive_count(mon->m);
    struct nearest near;

    nearest_begin(&near, id);
    for (*index = 0; *index < count; ++*index) {
        const char *name = machine_drive_config(mon->m, *index)->id;

        if (name && *name && !strcmp(name, id)) return 0;
        if (name && *name) nearest_offer(&near, name);
    }
    for (*index = 0; *index < count; ++*index) {
        char name[MACHINE_PATH_BYTES];

        machine_drive_label(mon->m, *index, name, sizeof(name));
        if (!strcmp(name, id)) return 0;
    }
    if (nearest_result(&near)) return error_set(err, "no drive '%s'; did you mean '%s'?", id, near.best);
    return error_set(err, "no drive '%s'; 'info block' lists them", id);
}

static int cmd_eject(struct monitor *mon, const struct command_line *c, struct error *err)
{
    bool force = c->argc > 1 && !strcmp(c->argv[1], "-f");
    unsigned i;

    if (c->argc != 2u + force) return error_set(err, "[-f] DRIVE is wanted");
    if (monitor_drive_find(mon, c->argv[1 + force], &i, err) < 0) return -1;
    return machine_drive_change(mon->m, i, NULL, force, err);
}

static int vnc_password(struct monitor *mon, const char *password, struct error *err)
{
    if (!machine_vnc(mon->m)) return error_set(err, "there is no VNC server; start the machine with -vnc HOST:N,password=on");
    if (!*password) return error_set(err, "a password is wanted");
    return vnc_password_set(machine_vnc(mon->m), password, err);
}

static int cmd_set_password(struct monitor *mon, const struct command_line *c, struct error *err)
{
    if (c->argc != 3) return error_set(err, "vnc PASSWORD is wanted");
    if (strcmp(c->argv[1], "vnc")) return error_set(err, "'%s' has no password in this version; only vnc has", c->argv[1]);
    return vnc_password(mon, c->argv[2], err);
}

static int cmd_expire_password(struct monitor *mon, const struct command_line *c, struct error *err)
{
    if (c->argc != 3) return error_set(err, "vnc now|never|+SECONDS|SECONDS is wanted");
    if (strcmp(c->argv[1], "vnc")) return error_set(err, "'%s' has no password in this version; only vnc has", c->argv[1]);
    return password_expire(mon->m, c->argv[2], err);
}

static int cmd_change(struct monitor *mon, const struct command_line *c, struct error *err)
{
    static const char *const modes[] = { "retain", "read-only", "read-write" };
    struct block_open_options o = { 0 };
    unsigned i, mode = 0;

    if (c->argc == 4 && !strcmp(c->argv[1], "vnc") && !strcmp(c->argv[2], "password")) return vnc_password(mon, c->argv[3], err);
    if (c->argc < 3 || c->argc > 5) return error_set(err, "DRIVE FILE [FORMAT [MODE]] is wanted");
    if (monitor_drive_find(mon, c->argv[1], &i, err) < 0) return -1;
    while (c->argc > 4 && mode < ARRAY_SIZE(modes) && strcmp(c->argv[4], modes[mode])) mode++;
    if (mode == ARRAY_SIZE(modes)) return error_set(err, "'%s' is no mode; known are retain, read-only and read-write", c->argv[4]);
    if (mode == 2 && machine_drive_config(mon->m, i)->media == MEDIA_CDROM) return error_set(err, "a CD-ROM drive cannot write; use read-only");
    o.filename = c->argv[2];
    o.format = c->argc > 3 ? c->argv[3] : NULL;
    o.readonly = mode == 1 || (mode == 0 && machine_drive_config(mon->m, i)->open.readonly);
    return machine_drive_change(mon->m, i, &o, false, err);
}

static int commit_one(struct machine *m, unsigned i, struct error *err)
{
    struct block_node *n = machine_drive(m, i);
    char name[MACHINE_PATH_BYTES];

    machine_drive_label(m, i, name, sizeof(name));
    if (!n) return error_set(err, "there is no medium in '%s'", name);
    return block_commit(n, err) < 0 ? error_prefix(err, "%s", name) : 0;
}

int monitor_commit_all(struct machine *m, struct error *err)
{
    bool ran = peek_begin(m), failed = false;
    int count = 0;

    for (unsigned i = 0; i < machine_drive_count(m) && !failed; i++) {
        struct block_node *n = machine_drive(m, i);

        if (!n || block_is_readonly(n) || !block_backing(n)) continue;
        failed = commit_one(m, i, err) < 0;
        count++;
    }
    peek_end(m, ran);
    return failed ? -1 : count;
}

static int cmd_commit(struct monitor *mon, const struct command_line *c, struct error *err)
{
    unsigned i;
    bool ran;
    int r;

    if (c->argc != 2) return error_set(err, "DRIVE or all is wanted");
    if (!strcmp(c->argv[1], "all")) return monitor_commit_all(mon->m, err) < 0 ? -1 : 0;
    if (monitor_drive_find(mon, c->argv[1], &i, err) < 0) return -1;
    ran = peek_begin(mon->m);
    r = commit_one(mon->m, i, err);
    peek_end(mon->m, ran);
    return r;
}

static int cmd_balloon(struct monitor *mon, const struct command_line *c, struct error *err)
{
    uint64_t mib;

    if (c->argc != 2) return error_set(err, "how many MiB shall the guest keep?");
    if (expression_value(mon, c->argv[1], NULL, &mib, err) < 0) return -1;
    if (!mib || mib >> 44) return error_set(err, "%s MiB makes no sense", c->argv[1]);
    return machine_balloon_set(mon->m, mib << 20, err);
}

static int cmd_set_link(struct monitor *mon, const struct command_line *c, struct error *err)
{
    bool up;

    if (c->argc != 3) return error_set(err, "NAME on|off is wanted");
    up = !strcmp(c->argv[2], "on");
    if (!up && strcmp(c->argv[2], "off")) return error_set(err, "'%s': a link is on or off", c->argv[2]);
    return machine_link_set(mon->m, c->argv[1], up, err);
}

static int cmd_hostfwd_add(struct monitor *mon, const struct command_line *c, struct error *err)
{
    if (c->argc < 2 || c->argc > 3) return error_set(err, "[NETDEV] tcp|udp:[ADDR]:PORT-[ADDR]:PORT is wanted");
    return machine_hostfwd_add(mon->m, c->argc == 3 ? c->argv[1] : NULL, c->argv[c->argc - 1], err);
}

static int cmd_hostfwd_remove(struct monitor *mon, const struct command_line *c, struct error *err)
{
    if (c->argc < 2 || c->argc > 3) return error_set(err, "[NETDEV] tcp|udp:[ADDR]:PORT is wanted");
    if (machine_hostfwd_remove(mon->m, c->argc == 3 ? c->argv[1] : NULL, c->argv[c->argc - 1], err) < 0) return -1;
    monitor_print(mon, "host forwarding rule for %s removed\n", c->argv[c->argc - 1]);
    return 0;
}

static int cmd_mouse_set(struct monitor *mon, const struct command_line *c, struct error *err)
{
    uint64_t n;

    if (c->argc != 2) return error_set(err, "a number is wanted; 'info mice' shows them");
    if (expression_value(mon, c->argv[1], NULL, &n, err) < 0) return -1;
    return input_mouse_choose(machine_input(mon->m), (unsigned)MIN(n, (uint64_t)UINT32_MAX), err);
}

static int number_small(struct monitor *mon, const char *text, int limit, int *to, struct error *err)
{
    uint64_t n;

    if (expression_value(mon, text, NULL, &n, err) < 0) return -1;
    if ((int64_t)n < -limit || (int64_t)n > limit) return error_set(err, "%s: from %d to %d", text, -limit, limit);
    *to = (int)(int64_t)n;
    return 0;
}

static int cmd_mouse_move(struct monitor *mon, const struct command_line *c, struct error *err)
{
    int by[3] = { 0 };

    if (c->argc < 3 || c->argc > 4) return error_set(err, "DX DY [DZ] is wanted");
    for (unsigned i = 1; i < c->argc; i++)
        if (number_small(mon, c->argv[i], 32767, &by[i - 1], err) < 0) return -1;
    if (machine_state(mon->m) == RUN_RUNNING) input_relative(machine_input(mon->m), by[0], by[1], by[2], mon->buttons);
    return 0;
}

/* The numbers are those of a PS/2 mouse, QEMU's, and POINTER_*. */
static int cmd_mouse_button(struct monitor *mon, const struct command_line *c, struct error *err)
{
    int state = 0;

    if (c->argc != 2) return error_set(err, "the buttons that are down are wanted: 1 (left) + 2 (right) + 4 (middle), 0 for none");
    if (number_small(mon, c->argv[1], 32767, &state, err) < 0) return -1;
    if (state < 0 || state > 7) return error_set(err, "%s: from 0 to 7", c->argv[1]);
    if (machine_state(mon->m) != RUN_RUNNING) return 0;
    mon->buttons = (unsigned)state;
    input_relative(machine_input(mon->m), 0, 0, 0, mon->buttons);
    return 0;
}

static int cmd_boot_set(struct monitor *mon, const struct command_line *c, struct error *err)
{
    if (c->argc != 2) return error_set(err, "letters are wanted, as in 'boot_set dc': a (floppy), c (disk), d (CD-ROM), n (network)");
    if (machine_boot_order_set(mon->m, c->argv[1], err) < 0) return -1;
    monitor_print(mon, "boot device list now set to %s\n", c->argv[1]);
    return 0;
}

const struct command device_commands[] = {
    { "set_link", "NAME on|off", "plug in or pull out a network card's cable", cmd_set_link, NULL },
    { "hostfwd_add", "[NETDEV] RULE", "forward a port of the host: tcp:127.0.0.1:2222-:22", cmd_hostfwd_add, NULL },
    { "hostfwd_remove", "[NETDEV] RULE", "forward it no more: tcp:127.0.0.1:2222", cmd_hostfwd_remove, NULL },
    { "balloon", "MIB", "memory the guest shall keep; it gives up the rest", cmd_balloon, NULL },
    { "mouse_set", "NUMBER", "the pointer that viewers move ('info mice')", cmd_mouse_set, NULL },
    { "mouse_move", "DX DY [DZ]", "move the mouse, turn its wheel", cmd_mouse_move, NULL },
    { "mouse_button", "STATE", "its buttons that are down: 1 (left) + 2 (right) + 4 (middle)", cmd_mouse_button, NULL },
    { "boot_set", "LETTERS", "what to start from at the next reset, as -boot order=", cmd_boot_set, NULL },
    { "sendkey", "KEYS [HOLD_MS]", "press keys together: ctrl-alt-delete, a, ret", cmd_sendkey, NULL },
    { "screen", "", "print the guest's text screen", cmd_screen, NULL },
    { "screendump", "FILE [ppm|png]", "write the screen's picture to a file", cmd_screendump, NULL },
    { "eject", "[-f] DRIVE", "take the medium out of a CD-ROM or floppy drive", cmd_eject, NULL },
    { "change", "DRIVE FILE [FORMAT [retain|read-only|read-write]]", "put another medium in; 'change vnc password WORD' sets the VNC server's", cmd_change, NULL },
    { "set_password", "vnc PASSWORD", "what VNC clients must know (-vnc ...,password=on)", cmd_set_password, NULL },
    { "expire_password", "vnc TIME", "when it ends: now, never, +SECONDS, or seconds since 1970", cmd_expire_password, NULL },
    { "commit", "DRIVE|all", "write changes kept apart (-snapshot, a backing file) into the image below", cmd_commit, NULL },
    { NULL, NULL, NULL, NULL, NULL },
};
