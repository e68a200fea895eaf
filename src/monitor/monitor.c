/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The human monitor: a line comes in, its first word is looked up in the command tables, the command prints. On a
 * terminal lines can be edited; on pipes and sockets there is the prompt and nothing else is echoed. One without a
 * chardev keeps what commands print, for QMP's human-monitor-command.
 */
#include "monitor/monitor.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/bits.h"
#include "base/nearest.h"
#include "chardev/chardev.h"
#include "monitor/gdbstub.h"
#include "monitor/monitor_private.h"

enum { LINE_BYTES = 4096, TEXT_MAX = 4 << 20 };

static command_fn command_help;
static const struct command own_commands[] = {
    { "help", "[COMMAND|info [WHAT]]", "show the commands, or one of them; 'help info': what info shows", command_help, "?" },
    { "info", "WHAT", "show state; 'info' alone lists what", command_info, NULL },
    { NULL, NULL, NULL, NULL, NULL },
};
static const struct command *const tables[] = { own_commands, run_commands, memory_commands, device_commands, hotplug_commands, dump_commands,
                                               chardev_commands, announce_commands };

static void keep_text(struct monitor *mon, const char *text, size_t size)
{
    if (!size) return;
    if (mon->text.size + size > mon->text.room) {
        size_t room = MAX(2 * mon->text.room, mon->text.size + size);
        char *data = room <= TEXT_MAX ? realloc(mon->text.data, room) : NULL;

        if (!data) {
            mon->text.cut = true;
            return;
        }
        mon->text.data = data;
        mon->text.room = room;
    }
    memcpy(mon->text.data + mon->text.size, text, size);
    mon->text.size += size;
}

static void write_part(struct monitor *mon, const char *text, size_t size)
{
    if (mon->chardev) chardev_write(mon->chardev, text, size);
    else keep_text(mon, text, size);
}

static void write_text(void *opaque, const char *text, size_t size)
{
    struct monitor *mon = opaque;

    if (!mon->newline_is_crlf) {
        write_part(mon, text, size);
        return;
    }
    while (size) {
        const char *nl = memchr(text, '\n', size);
        size_t n = nl ? (size_t)(nl - text) : size;

        write_part(mon, text, n);
        if (!nl) return;
        write_part(mon, "\r\n", 2);
        text += n + 1;
        size -= n + 1;
    }
}

void monitor_print(struct monitor *mon, const char *fmt, ...)
{
    char text[LINE_BYTES];
    va_list ap;
    int n;

    va_start(ap, fmt);
    n = vsnprintf(text, sizeof(text), fmt, ap);
    va_end(ap);
    if (n > 0) write_text(mon, text, MIN((size_t)n, sizeof(text) - 1));
}

void monitor_print_line(void *mon, const char *line)
{
    monitor_print(mon, "%s\n", line);
}

/* ---- commands ---- */

bool command_is(const struct command *c, const char *name)
{
    return !strcmp(c->name, name) || (c->alias && !strcmp(c->alias, name));
}

static const struct command *command_number(unsigned i)
{
    for (unsigned t = 0; t < ARRAY_SIZE(tables); t++)
        for (const struct command *c = tables[t]; c->name; c++)
            if (!i--) return c;
    return NULL;
}

static const char *command_name(void *opaque, unsigned i)
{
    const struct command *c = command_number(i);

    return c ? c->name : NULL;
}

static const struct command *command_find(const char *name, struct error *err)
{
    const struct command *c;
    struct nearest near;

    nearest_begin(&near, name);
    for (unsigned i = 0; (c = command_number(i)); i++) {
        if (command_is(c, name)) return c;
        nearest_offer(&near, c->name);
    }
    if (command_absent(name)) error_set(err, "'%s' is not in this version: %s", name, command_absent(name));
    else if (nearest_result(&near))
        error_set(err, "unknown command: '%s'; did you mean '%s'?", name, near.best);
    else error_set(err, "unknown command: '%s'; 'help' lists them", name);
    return NULL;
}

void command_help_print(struct monitor *mon, const char *prefix, const struct command *k)
{
    monitor_print(mon, "%s%s%s%s%s%s -- %s\n", prefix, k->name, k->alias ? "|" : "", k->alias ? k->alias : "", *k->args ? " " : "", k->args, k->help);
}

int words_most(const struct command_line *c, unsigned last, struct error *err)
{
    bool is_info = last && c->argc > 1 && !strcmp(c->argv[0], "info");

    if (c->argc <= last + 1) return 0;
    return error_set(err, "'%s%s%s' takes nothing more: '%s'", c->argv[0], is_info ? " " : "", is_info ? c->argv[1] : "", c->rest[last + 1]);
}

static int command_help(struct monitor *mon, const struct command_line *c, struct error *err)
{
    const struct command *one = NULL;

    if (c->argc > 1 && !strcmp(c->argv[1], "info")) return words_most(c, 2, err) < 0 ? -1 : info_help(mon, c->argc > 2 ? c->argv[2] : NULL, err);
    if (words_most(c, 1, err) < 0 || (c->argc > 1 && !(one = command_find(c->argv[1], err)))) return -1;
    for (unsigned i = 0; !one && command_number(i); i++) command_help_print(mon, "", command_number(i));
    if (one) command_help_print(mon, "", one);
    return 0;
}

/* Splits at blanks; "..." holds a word together. "x/4i" is "x" and "/4i". words has room for the line and more. */
static int line_split(const char *line, char *words, struct command_line *c, struct error *err)
{
    c->argc = 0;
    for (;;) {
        line += strspn(line, " \t");
        if (!*line) return 0;
        if (c->argc == COMMAND_WORDS) return error_set(err, "more than %d words", COMMAND_WORDS);
        c->rest[c->argc] = line;
        c->argv[c->argc++] = words;
        if (*line == '"') {
            const char *end = strchr(++line, '"');

            if (!end) return error_set(err, "a quotation mark is missing");
            memcpy(words, line, end - line);
            words += end - line;
            line = end + 1;
        } else {
            while (*line && *line != ' ' && *line != '\t' && !(c->argc == 1 && *line == '/' && line > c->rest[0]))
                *words++ = *line++;
        }
        *words++ = 0;
    }
}

static void line_carry_out(struct monitor *mon, const char *line)
{
    char words[READLINE_BYTES + COMMAND_WORDS];
    const struct command *k;
    struct command_line c;
    struct error err;
    int result;

    result = line_split(line, words, &c, &err);
    if (!result && c.argc) {
        k = command_find(c.argv[0], &err);
        if (!k) result = -1;
        else if (!*k->args && words_most(&c, 0, &err) < 0) result = -1;
        else result = k->fn(mon, &c, &err);
    }
    if (result < 0) monitor_print(mon, "Error: %s\n", err.text);
}

static void line_run(void *opaque, const char *line)
{
    struct monitor *mon = opaque;

    mon->shown = false;
    line_carry_out(mon, line);
    mon->shown = true;
    readline_prompt(&mon->readline);
}

/* ---- the line ---- */

static size_t can_receive(void *opaque)
{
    return 1;                                    /* one at a time: a command may end the machine */
}

static void receive(void *opaque, const uint8_t *data, size_t size)
{
    struct monitor *mon = opaque;

    for (size_t i = 0; i < size; i++) readline_byte(&mon->readline, data[i]);
}

static void greet(struct monitor *mon)
{
    monitor_print(mon, "ospite monitor - type 'help' for more information\n");
    mon->shown = true;
    readline_prompt(&mon->readline);
}

static void focus(void *opaque, bool has_focus)
{
    struct monitor *mon = opaque;

    if (!has_focus) {
        monitor_print(mon, "\n");
        return;
    }
    monitor_print(mon, "\n");
    if (!mon->shown) greet(mon);
    else readline_prompt(&mon->readline);
}

static void event(void *opaque, bool opened)
{
    if (opened) greet(opaque);
}

static bool is_terminal(const char *description)
{
    return !strncmp(description, "pty:", 4) || !strcmp(description, "vc") || !strncmp(description, "mon:pty:", 8) ||
           (strstr(description, "stdio") && isatty(STDIN_FILENO));
}

struct monitor *monitor_silent_new(struct machine *m)
{
    struct monitor *mon = calloc(1, sizeof(*mon));

    if (!mon) return NULL;
    mon->m = m;
    mon->newline_is_crlf = true;
    return mon;
}

char *monitor_run_line(struct monitor *mon, const char *line, size_t *size)
{
    char *text;

    if (strlen(line) >= READLINE_BYTES) monitor_print(mon, "Error: a line has at most %d characters\n", READLINE_BYTES - 1);
    else line_carry_out(mon, line);
    if (mon->text.cut) monitor_print(mon, "Error: all the rest is more than %d MiB\n", TEXT_MAX >> 20);
    text = mon->text.data ? mon->text.data : calloc(1, 1);
    *size = mon->text.size;
    memset(&mon->text, 0, sizeof(mon->text));
    return text;
}

struct monitor *monitor_new(struct machine *m, struct chardev *c, struct error *err)
{
    struct monitor *mon = calloc(1, sizeof(*mon));
    struct chardev_frontend f = { can_receive, receive, event, mon, focus, NULL };
    const char *description = chardev_description(c);

    if (!mon) {
        error_set(err, "out of memory");
        chardev_close(c);
        return NULL;
    }
    mon->m = m;
    mon->chardev = c;
    mon->readline = (struct readline){
        .prompt = "(ospite) ", .write = write_text, .line = line_run, .name = command_name, .opaque = mon,
        .edit = is_terminal(description), .history_count = 0,
    };
    mon->newline_is_crlf = mon->readline.edit;
    chardev_attach(mon->chardev, &f);
    if (strncmp(description, "mon:", 4) && strncmp(description, "disconnected:", 13)) greet(mon);
    return mon;
}

void monitor_free(struct monitor *mon)
{
    if (!mon) return;
    gdbstub_free(mon->gdb);
    if (mon->chardev) {
        chardev_attach(mon->chardev, NULL);
        chardev_close(mon->chardev);
        readline_free(&mon->readline);
    }
    free(mon->text.data);
    free(mon);
}
