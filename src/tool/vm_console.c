/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Where monitors and debug console go, and what character devices there are: -monitor, -qmp, -chardev, -add-fd, -mon, -debugcon, -nographic. */
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/bits.h"
#include "base/error.h"
#include "base/fdset.h"
#include "base/log.h"
#include "tool/vm_options_private.h"

static int chardev_find(const struct vm_options *o, const char *id, struct error *err)
{
    for (unsigned i = 0; i < o->chardev_count; i++)
        if (!strcmp(o->chardev[i].id, id)) return (int)i;
    return error_set(err, "no -chardev has the id '%s'", id);
}

const char *chardev_resolve(struct vm_options *o, const char *spec, struct error *err)
{
    int i;

    if (strncmp(spec, "chardev:", 8)) return spec;
    i = chardev_find(o, spec + 8, err);
    return i < 0 ? NULL : arena_format(o->arena, "%s,id=%s", o->chardev[i].spec, o->chardev[i].id);
}

const char *chardev_take(struct vm_options *o, const char *spec, struct error *err)
{
    const char *text = chardev_resolve(o, spec, err);
    int i = text && text != spec ? chardev_find(o, spec + 8, err) : -1;

    if (i < 0) return text;
    if (o->chardev[i].used && strncmp(text, "mon:", 4)) {
        error_set(err, "Device '%s' is in use; mux=on of its -chardev is for several users", spec + 8);
        return NULL;
    }
    o->chardev[i].used = true;
    return text;
}

int guestfwds_resolve(struct vm_options *o, struct netdev_config *d, chardev_fn *find, struct error *err)
{
    int result = 0;

    for (unsigned i = 0; i < d->user.guestfwd_count; i++) {
        const char *device = net_user_guestfwd_device(d->user.guestfwd[i]);

        d->user.guestfwd_spec[i] = device ? find(o, device, err) : NULL;
        if (device && !d->user.guestfwd_spec[i]) result = error_prefix(err, "guestfwd=%s", d->user.guestfwd[i]);
    }
    return result;
}

static int monitor_add(struct vm_options *o, const struct monitor_config *m, struct error *err)
{
    struct machine_config *c = &o->config;

    o->monitor_given = true;
    if (!strcmp(m->spec, "none")) return 0;
    if (!*m->spec) return error_set(err, "%s wants stdio, mon:stdio, unix:PATH, tcp:HOST:PORT, pty, chardev:ID or none", m->option);
    if (c->monitor_count == CONFIG_MONITORS) return error_set(err, "%s: there can be %d monitors", m->option, CONFIG_MONITORS);
    c->monitor[c->monitor_count++] = *m;
    return 0;
}

int option_monitor(struct vm_options *o, const char *arg, struct error *err)
{
    return monitor_add(o, &(struct monitor_config){ arg, "-monitor", false, false }, err);
}

int option_qmp(struct vm_options *o, const char *arg, struct error *err)
{
    return monitor_add(o, &(struct monitor_config){ arg, "-qmp", true, false }, err);
}

int option_qmp_pretty(struct vm_options *o, const char *arg, struct error *err)
{
    return monitor_add(o, &(struct monitor_config){ arg, "-qmp-pretty", true, true }, err);
}

int option_debugcon(struct vm_options *o, const char *arg, struct error *err)
{
    if (o->config.debugcon) return error_set(err, "-debugcon: one is enough");
    o->config.debugcon = strcmp(arg, "none") ? arg : NULL;
    return 0;
}

int option_parallel(struct vm_options *o, const char *arg, struct error *err)
{
    if (!strcmp(arg, "none") || !strcmp(arg, "null")) return 0;
    return error_set(err, "-parallel %s: a parallel port is not supported in this version; use -parallel none", arg);
}

static int chardev_accept(void *t, const char *v, struct error *err) { return 0; }

/* ---- -add-fd fd=N,set=N ---- */

static const struct option_key add_fd_keys[] = {
    { "fd", chardev_accept, NULL }, { "set", chardev_accept, NULL }, { "opaque", chardev_accept, NULL }, { NULL, NULL, NULL },
};

/* The descriptor itself stays as it is, but for that no child gets it: another option may name it, too. */
int option_add_fd(struct vm_options *o, const char *arg, struct error *err)
{
    struct option_list l;
    uint64_t fd, set;
    int copy;

    if (option_list_parse(&l, o->arena, arg, NULL, err) < 0 || option_list_apply(&l, "-add-fd", add_fd_keys, o, err) < 0) return -1;
    if (!option_list_get(&l, "fd") || !option_list_get(&l, "set")) return error_set(err, "-add-fd needs fd= and set=");
    if (value_unsigned("fd", option_list_get(&l, "fd"), INT32_MAX, &fd, err) < 0 ||
        value_unsigned("set", option_list_get(&l, "set"), INT64_MAX, &set, err) < 0) return error_prefix(err, "-add-fd");
    if (fd < 3) return error_set(err, "-add-fd: fd=%d is standard input or output; it wants another descriptor", (int)fd);
    copy = fcntl((int)fd, F_DUPFD_CLOEXEC, 0);
    if (copy < 0) return error_set(err, "-add-fd: there is no descriptor %d; whoever starts this program has to leave it open", (int)fd);
    fcntl((int)fd, F_SETFD, FD_CLOEXEC);
    return fdset_add((int64_t)set, copy, option_list_get(&l, "opaque"), err) < 0 ? -1 : 0;
}

/* ---- -chardev backend,id=ID,... ---- */

/* What each backend takes beside its id; how its text begins. */
static const struct backend { const char *name, *keys[16]; } backends[] = {
    { "stdio", { "signal" } }, { "null", { NULL } }, { "pty", { NULL } }, { "vc", { "cols", "rows", "width", "height" } },
    { "ringbuf", { "size" } }, { "memory", { "size" } }, { "file", { "path", "append" } },
    { "socket", { "path", "host", "port", "fd", "server", "wait", "telnet", "reconnect", "websocket", "ipv4", "ipv6", "to", "nodelay", "delay" } },
    { "udp", { "host", "port", "localaddr", "localport", "ipv4", "ipv6" } }, { "qemu-vdagent", { "clipboard", "mouse", "name" } },
};
/* Those that are not part of the address, and are written behind it. */
static const char *const trailing[] = { "cols", "rows", "width", "height", "size", "signal", "append", "server", "wait", "telnet", "reconnect", "websocket", "ipv4", "ipv6", "to", "nodelay", "delay",
                                        "clipboard", "mouse", "logfile", "logappend" };

static const struct backend *backend_find(const char *name, struct error *err)
{
    for (unsigned i = 0; i < ARRAY_SIZE(backends); i++)
        if (!strcmp(backends[i].name, name)) return &backends[i];
    error_set(err, "-chardev: backend '%s' is not supported in this version; known are stdio, pty, file, socket, udp, null, vc, ringbuf, qemu-vdagent", name);
    return NULL;
}

static int keys_check(const struct backend *b, const struct option_list *l, struct error *err)
{
    static const char *const all[] = { "backend", "id", "mux", "logfile", "logappend" };

    for (unsigned i = 0; i < l->count; i++) {
        bool found = false;

        for (unsigned k = 0; k < ARRAY_SIZE(all); k++) found |= !strcmp(all[k], l->pair[i].key);
        for (unsigned k = 0; k < ARRAY_SIZE(b->keys) && b->keys[k]; k++) found |= !strcmp(b->keys[k], l->pair[i].key);
        if (!found) return error_set(err, "-chardev %s has no '%s'", b->name, l->pair[i].key);
    }
    return 0;
}

/* A host of IPv6 has colons of its own. */
static const char *address_text(struct vm_options *o, const char *host, const char *port)
{
    return arena_format(o->arena, host && strchr(host, ':') ? "[%s]:%s" : "%s:%s", host ? host : "", port);
}

/* In these texts a comma ends a word, two are one that belongs to it. */
static const char *comma_double(struct vm_options *o, const char *text)
{
    const char *comma = text ? strchr(text, ',') : NULL;

    return comma ? arena_format(o->arena, "%.*s,,%s", (int)(comma - text), text, comma_double(o, comma + 1)) : text;
}

static int address_begin(struct vm_options *o, const struct option_list *l, const char *kind, const char **spec, struct error *err)
{
    const char *path = comma_double(o, option_list_get(l, "path")), *host = option_list_get(l, "host"), *port = option_list_get(l, "port"), *fd = option_list_get(l, "fd"), *local = option_list_get(l, "localport");
    const char *address = port ? address_text(o, host, port) : "";

    if (!strcmp(kind, "file") && !path) return error_set(err, "-chardev file needs path=");
    if (!strcmp(kind, "udp") && !port) return error_set(err, "-chardev udp needs host= and port=");
    if (!strcmp(kind, "socket") && !path && !port && !fd) return error_set(err, "-chardev socket needs path=, host= and port=, or fd=");
    if (!strcmp(kind, "socket") && !!path + !!(host || port) + !!fd > 1) return error_set(err, "-chardev socket: one of path=, host= with port=, and fd= says where; leave out the others");
    if (!strcmp(kind, "file")) *spec = arena_format(o->arena, "file:%s", path);
    else if (!strcmp(kind, "udp")) *spec = arena_format(o->arena, "udp:%s@%s", address, address_text(o, option_list_get(l, "localaddr"), local ? local : "0"));
    else if (strcmp(kind, "socket")) *spec = kind;
    else *spec = fd ? arena_format(o->arena, "fd:%s", fd) : path ? arena_format(o->arena, "unix:%s", path) : arena_format(o->arena, "tcp:%s", address);
    return 0;
}

/* With its unit, as the rest of the command line has sizes. */
static const char *ring_size(struct vm_options *o, const char *text, struct error *err)
{
    uint64_t bytes;

    return value_size("-chardev ringbuf: size", text, 1, &bytes, err) < 0 ? NULL : arena_format(o->arena, "%llu", (unsigned long long)bytes);
}

static int chardev_text(struct vm_options *o, const struct option_list *l, const char **spec, struct error *err)
{
    const struct backend *b = backend_find(option_list_get(l, "backend"), err);

    if (!b || keys_check(b, l, err) < 0 || address_begin(o, l, b->name, spec, err) < 0) return -1;
    for (unsigned i = 0; i < ARRAY_SIZE(trailing); i++) {
        const char *value = option_list_get(l, trailing[i]);

        if (value && !strcmp(trailing[i], "size") && !(value = ring_size(o, value, err))) return -1;
        if (value && !strcmp(trailing[i], "logfile")) value = comma_double(o, value);
        else if (value && strchr(value, ',')) return error_set(err, "-chardev %s: %s=%s: a comma is not supported there", b->name, trailing[i], value);
        if (value) *spec = arena_format(o->arena, "%s,%s=%s", *spec, trailing[i], value);
    }
    return 0;
}

const struct option_key chardev_keys[] = {
    { "backend", chardev_accept, NULL }, { "id", chardev_accept, NULL }, { "path", chardev_accept, NULL },
    { "host", chardev_accept, NULL }, { "port", chardev_accept, NULL }, { "server", chardev_accept, NULL },
    { "wait", chardev_accept, NULL }, { "signal", chardev_accept, NULL }, { "append", chardev_accept, NULL },
    { "clipboard", chardev_accept, NULL }, { "mouse", chardev_accept, NULL }, { "name", chardev_accept, NULL },
    { "mux", chardev_accept, NULL }, { "fd", chardev_accept, NULL }, { "telnet", chardev_accept, NULL }, { "reconnect", chardev_accept, NULL },
    { "ipv4", chardev_accept, NULL }, { "ipv6", chardev_accept, NULL }, { "to", chardev_accept, NULL }, { "nodelay", chardev_accept, NULL },
    { "delay", chardev_accept, NULL }, { "localaddr", chardev_accept, NULL }, { "localport", chardev_accept, NULL },
    { "logfile", chardev_accept, NULL }, { "logappend", chardev_accept, NULL }, { "cols", chardev_accept, NULL }, { "rows", chardev_accept, NULL },
    { "width", chardev_accept, NULL }, { "height", chardev_accept, NULL }, { "size", chardev_accept, NULL },
    { "websocket", chardev_accept, NULL }, { "tls-creds", NULL, "not supported in this version; use a tunnel" },
    { "tn3270", NULL, "not supported in this version" }, { NULL, NULL, NULL },
};

int option_chardev(struct vm_options *o, const char *arg, struct error *err)
{
    const char *id, *spec = NULL, *mux_text;
    struct option_list l;
    bool mux = false;

    if (!strcmp(arg, "help")) {
        printf("Available chardev backend types:\n  file\n  memory\n  null\n  pty\n  qemu-vdagent\n  ringbuf\n  socket\n  stdio\n  udp\n  vc\n");
        return VM_OPTIONS_HELP_SHOWN;
    }
    if (option_list_parse(&l, o->arena, arg, "backend", err) < 0) return -1;
    if (option_list_apply(&l, "-chardev", chardev_keys, o, err) < 0) return -1;
    id = option_list_get(&l, "id");
    mux_text = option_list_get(&l, "mux");
    if (!option_list_get(&l, "backend") || !id) return error_set(err, "-chardev wants BACKEND,id=ID");
    if (id_check("-chardev", "id", id, err) < 0) return -1;
    if (o->chardev_count == ARRAY_SIZE(o->chardev)) return error_set(err, "-chardev: too many");
    for (unsigned i = 0; i < o->chardev_count; i++)
        if (!strcmp(o->chardev[i].id, id)) return error_set(err, "-chardev: two have the id '%s'", id);
    if (mux_text && value_bool("-chardev: mux", mux_text, &mux, err) < 0) return -1;
    if (chardev_text(o, &l, &spec, err) < 0) return -1;
    o->chardev[o->chardev_count].id = id;
    o->chardev[o->chardev_count++].spec = mux ? arena_format(o->arena, "mon:%s", spec) : spec;
    return 0;
}

static int mon_mode(void *t, const char *v, struct error *err)
{
    if (!strcmp(v, "readline") || !strcmp(v, "control")) return 0;
    return error_set(err, "there is no mode=%s; use mode=control (QMP) or mode=readline", v);
}

static int mon_pretty(void *t, const char *v, struct error *err)
{
    bool pretty;

    return value_bool("pretty", v, &pretty, err);
}

const struct option_key mon_keys[] = {
    { "chardev", chardev_accept, NULL }, { "mode", mon_mode, NULL }, { "pretty", mon_pretty, NULL }, { "id", chardev_accept, NULL }, { NULL, NULL, NULL },
};

int option_mon(struct vm_options *o, const char *arg, struct error *err)
{
    struct monitor_config m = { .option = "-mon" };
    const char *chardev, *mode, *pretty;
    struct option_list l;

    if (option_list_parse(&l, o->arena, arg, "chardev", err) < 0) return -1;
    if (option_list_apply(&l, "-mon", mon_keys, o, err) < 0 || id_check("-mon", "id", option_list_get(&l, "id"), err) < 0) return -1;
    chardev = option_list_get(&l, "chardev");
    mode = option_list_get(&l, "mode");
    pretty = option_list_get(&l, "pretty");
    if (!chardev) return error_set(err, "-mon wants chardev=ID, the id of a -chardev");
    m.is_control = mode && !strcmp(mode, "control");
    if (pretty && !m.is_control) return error_set(err, "-mon: pretty= is for mode=control");
    if (pretty && value_bool("-mon: pretty", pretty, &m.is_pretty, err) < 0) return -1;
    m.spec = arena_format(o->arena, "chardev:%s", chardev);
    return monitor_add(o, &m, err);
}

/* ---- messages ---- */

static int msg_timestamp(void *t, const char *v, struct error *err)
{
    bool on;

    if (value_bool("timestamp", v, &on, err) < 0) return -1;
    log_time_enable(on);
    return 0;
}

const struct option_key msg_keys[] = {
    { "timestamp", msg_timestamp, NULL }, { "guest-name", NULL, "not supported in this version; the process is named by -name process=" }, { NULL, NULL, NULL },
};

int option_msg(struct vm_options *o, const char *arg, struct error *err)
{
    struct option_list l;

    if (option_list_parse(&l, o->arena, arg, NULL, err) < 0) return -1;
    return option_list_apply(&l, "-msg", msg_keys, o, err);
}

/* ---- defaults ---- */

static void monitor_default(struct vm_options *o, const char *spec, const char *option)
{
    o->config.monitor[o->config.monitor_count++] = (struct monitor_config){ spec, option, false, false };
}

static void defaults_fill(struct vm_options *o)
{
    struct machine_config *c = &o->config;

    for (unsigned i = 0; i < c->serial_count; i++)
        if (c->serial[i] && !o->monitor_given && !strncmp(c->serial[i], "mon:", 4)) {
            monitor_default(o, c->serial[i], "-serial");
            o->monitor_given = true;
        }
    if (o->nodefaults) return;
    if (c->has_curses && !o->monitor_given && !o->nographic) monitor_default(o, "vc", "-display curses");
    if (!o->nographic) {
        if (!o->serial_given) c->serial[c->serial_count++] = "vc";
        return;
    }
    if (!o->serial_given) c->serial[c->serial_count++] = o->monitor_given ? "stdio" : "mon:stdio";
    if (!o->monitor_given) monitor_default(o, o->serial_given ? "stdio" : "mon:stdio", "-nographic");
}

static int stdio_check(struct vm_options *o, struct error *err)
{
    const char *user[2 + CONFIG_SERIALS + CONFIG_MONITORS] = { o->config.debugcon, o->config.gdb };
    const char *first = NULL;

    memcpy(user + 2, o->config.serial, sizeof(o->config.serial));
    for (unsigned i = 0; i < o->config.monitor_count; i++) user[2 + CONFIG_SERIALS + i] = o->config.monitor[i].spec;
    for (unsigned i = 0; i < ARRAY_SIZE(user); i++) {
        bool muxed = user[i] && !strncmp(user[i], "mon:", 4);
        const char *text = user[i] ? user[i] + (muxed ? 4 : 0) : "";

        if (strncmp(text, "stdio", 5) || (text[5] && text[5] != ',')) continue;
        if (o->config.has_curses) return error_set(err, "-display curses takes the terminal: it shows serial ports and the monitor by itself (Alt-2, Alt-3), so leave out stdio and -nographic");
        if (o->daemonize) return error_set(err, "-daemonize cannot be used with a console on stdio (-nographic, -serial stdio)");
        if (first && (!muxed || strcmp(first, user[i])))
            return error_set(err, "stdio is used twice; to share it between a serial port and the monitor use -serial mon:stdio");
        first = user[i];
    }
    return 0;
}

int console_finish(struct vm_options *o, struct error *err)
{
    struct machine_config *c = &o->config;

    if (serials_finish(o, err) < 0) return -1;
    for (unsigned i = 0; i < c->monitor_count; i++)
        if (!(c->monitor[i].spec = chardev_take(o, c->monitor[i].spec, err))) return error_prefix(err, "%s", c->monitor[i].option);
    if (c->debugcon && !(c->debugcon = chardev_take(o, c->debugcon, err))) return error_prefix(err, "-debugcon");
    if (c->gdb && !(c->gdb = chardev_take(o, c->gdb, err))) return error_prefix(err, "-gdb");
    for (unsigned i = 0; i < c->netdev_count; i++)
        if (guestfwds_resolve(o, &c->netdev[i], chardev_take, err) < 0) return error_prefix(err, "-netdev %s", c->netdev[i].id);
    defaults_fill(o);
    for (unsigned i = 0; i < c->serial_count; i++)
        if (c->serial[i] && !strcmp(c->serial[i], "none")) c->serial[i] = NULL;
    if (stdio_check(o, err) < 0) return -1;
    if (o->daemonize && c->has_curses) return error_set(err, "-daemonize cannot be used with -display curses");
    if (!o->nographic && !o->display_given && !o->daemonize && (getenv("DISPLAY") || getenv("WAYLAND_DISPLAY"))) c->window = WINDOW_IF_IT_CAN;
    o->quiet_display = c->window != WINDOW_NONE || o->nographic || o->display_given || o->serial_given || o->monitor_given || o->daemonize;
    return 0;
}
