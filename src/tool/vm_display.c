/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The screen: -vga, -device VGA and bochs-display (a machine has one graphic card), and the VNC server. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/error.h"
#include "base/log.h"
#include "device/display/vga.h"
#include "display/layout.h"
#include "tool/vm_options_private.h"
#include "tool/vm_virtio_private.h"

static struct vga_settings *vga_of(void *target) { return &((struct vm_options *)target)->config.vga; }

int option_vga(struct vm_options *o, const char *arg, struct error *err)
{
    static const char *const known[] = { "std", "none", "virtio", NULL };
    static const char *const later[] = { "cirrus", "vmware", "qxl", "xenfb", "tcx", "cg3", NULL };
    unsigned which;

    if (!strcmp(arg, "help")) {
        printf("std                  standard VGA (default)\nvirtio               VGA and virtio-gpu\nnone                 no graphic card\n");
        return VM_OPTIONS_HELP_SHOWN;
    }
    for (unsigned i = 0; later[i]; i++)
        if (!strcmp(arg, later[i]))
            return error_set(err, "-vga %s is not supported in this version; use std or virtio (or none)", arg);
    if (value_choice("-vga", arg, known, &which, err) < 0) return -1;
    if (which != 1 && o->vga_device_given) return error_set(err, "-vga %s: -device adds a graphic card already; there is one in this version", arg);
    if (!o->vga_device_given) {
        o->config.has_vga = which != 1;
        o->config.vga.card = which == 2 ? VGA_CARD_VIRTIO : VGA_CARD_STD;
    }
    o->vga_given = true;
    return 0;
}

/* ---- properties ---- */

static int vga_memory(void *t, const char *v, struct error *err)
{
    uint64_t mib;

    if (value_unsigned("vgamem_mb", v, VGA_MEMORY_MAX_MIB, &mib, err) < 0) return -1;
    if (mib < VGA_MEMORY_MIN_MIB || (mib & (mib - 1)))
        return error_set(err, "vgamem_mb=%s: it is a power of two from %d to %d; 4K in 32 bits wants 64", v, VGA_MEMORY_MIN_MIB,
                         VGA_MEMORY_MAX_MIB);
    vga_of(t)->vram_bytes = mib << 20;
    return 0;
}

/* bochs-display's name for it, with a unit. */
static int vga_memory_size(void *t, const char *v, struct error *err)
{
    uint64_t bytes;

    if (value_size("vgamem", v, 1, &bytes, err) < 0) return -1;
    if (bytes < (uint64_t)VGA_MEMORY_MIN_MIB << 20 || bytes > (uint64_t)VGA_MEMORY_MAX_MIB << 20 || (bytes & (bytes - 1)))
        return error_set(err, "vgamem=%s: it is a power of two from %dM to %dM; 4K wants 64M", v, VGA_MEMORY_MIN_MIB, VGA_MEMORY_MAX_MIB);
    vga_of(t)->vram_bytes = bytes;
    return 0;
}

static int side(const char *name, const char *v, unsigned *to, struct error *err)
{
    uint64_t n;

    if (value_unsigned(name, v, 4095, &n, err) < 0) return -1;
    if (n && n < 64) return error_set(err, "%s=%s: it is 64 to 4095 pixels", name, v);
    *to = (unsigned)n;
    return 0;
}

static int vga_xres(void *t, const char *v, struct error *err) { return side("xres", v, &vga_of(t)->width, err); }
static int vga_yres(void *t, const char *v, struct error *err) { return side("yres", v, &vga_of(t)->height, err); }

static int vga_edid(void *t, const char *v, struct error *err)
{
    bool on = true;

    if (value_bool("edid", v, &on, err) < 0) return -1;
    return on ? 0 : error_set(err, "edid=off is not supported in this version; leave it out");
}

static int vga_addr(void *t, const char *v, struct error *err)
{
    struct virtio_request r = { .o = t };

    if (virtio_set_addr(&r, v, err) < 0) return -1;
    vga_of(t)->devfn = r.d.pci.devfn;
    return 0;
}

static int vga_id(void *t, const char *v, struct error *err) { vga_of(t)->id = v; return 0; }
static int vga_accept(void *t, const char *v, struct error *err) { return 0; }

static const struct option_key vga_keys[] = {
    { "driver", vga_accept, NULL }, { "id", vga_id, NULL }, { "bus", virtio_set_bus, NULL }, { "addr", vga_addr, NULL },
    { "vgamem_mb", vga_memory, NULL }, { "xres", vga_xres, NULL }, { "yres", vga_yres, NULL }, { "edid", vga_edid, NULL },
    { NULL, NULL, NULL },
};
static const struct option_key bochs_display_keys[] = {
    { "driver", vga_accept, NULL }, { "id", vga_id, NULL }, { "bus", virtio_set_bus, NULL }, { "addr", vga_addr, NULL },
    { "vgamem", vga_memory_size, NULL }, { "xres", vga_xres, NULL }, { "yres", vga_yres, NULL }, { "edid", vga_edid, NULL },
    { NULL, NULL, NULL },
};

int vga_card_set(struct vm_options *o, const char *name, unsigned card, struct error *err)
{
    if (o->vga_device_given || (o->vga_given && o->config.has_vga))
        return error_set(err, "-device %s: there is a graphic card already; one is all in this version", name);
    o->config.has_vga = o->vga_given = o->vga_device_given = true;
    o->config.vga.card = card;
    return 0;
}

int device_vga(struct vm_options *o, const char *arg, const struct option_list *l, struct error *err)
{
    const char *name = l->pair[0].value;
    bool bochs = !strcmp(name, "bochs-display");
    const struct option_key *keys = bochs ? bochs_display_keys : vga_keys;

    if (option_list_wants_help(l)) return keys_show(o, name, keys);
    if (vga_card_set(o, name, bochs ? VGA_CARD_BOCHS : VGA_CARD_STD, err) < 0) return -1;
    return option_list_apply(l, arena_format(o->arena, "-device %s", name), keys, o, err);
}

int global_vga(struct vm_options *o, const char *property, struct error *err)
{
    struct option_list l;

    if (option_list_parse(&l, o->arena, property, NULL, err) < 0) return -1;
    return option_list_apply(&l, "-global VGA", vga_keys, o, err);
}

/* ---- -k ---- */

static void name_show(void *opaque, const char *name) { puts(name); }

int option_layout(struct vm_options *o, const char *arg, struct error *err)
{
    if (!strcmp(arg, "help")) {
        layout_names(name_show, NULL);
        return VM_OPTIONS_HELP_SHOWN;
    }
    if (layout_check(arg, err) < 0) return error_prefix(err, "-k");
    o->config.layout = arg;
    return 0;
}

/* ---- -vnc ---- */

enum { VNC_PORT = 5900, WEB_PORT = 5700 };

static struct vnc_config *vnc_of(void *target) { return &((struct vm_options *)target)->config.vnc; }

static int vnc_password(void *t, const char *v, struct error *err) { return value_bool("password", v, &vnc_of(t)->password, err); }

static int vnc_password_secret(void *t, const char *v, struct error *err)
{
    vnc_of(t)->password = true;
    ((struct vm_options *)t)->vnc_password_secret = v;
    return 0;
}

static int vnc_tls_creds(void *t, const char *v, struct error *err)
{
    ((struct vm_options *)t)->vnc_tls_creds = v;
    return 0;
}

static int vnc_to(void *t, const char *v, struct error *err)
{
    uint64_t n;

    if (value_unsigned("to", v, 65535 - VNC_PORT, &n, err) < 0) return -1;
    vnc_of(t)->port_to = VNC_PORT + (unsigned)n;
    return 0;
}

/* "ADDR:PORT", "[ADDR6]:PORT"; the address without brackets. */
static int address_cut(struct vm_options *o, const char *text, const char **host, const char **port, struct error *err)
{
    const char *colon = strrchr(text, ':');
    size_t n;

    if (!colon) return error_set(err, "'%s' has no colon", text);
    n = (size_t)(colon - text);
    *port = colon + 1;
    if (n > 1 && text[0] == '[' && text[n - 1] == ']') *host = arena_copy(o->arena, text + 1, n - 2);
    else *host = arena_copy(o->arena, text, n);
    return 0;
}

static int vnc_websocket(void *t, const char *v, struct error *err)
{
    struct vnc_config *c = vnc_of(t);
    const char *port = v;
    uint64_t n;

    if (!strcmp(v, "off")) return 0;
    c->web_host = c->host;
    if (!strcmp(v, "on")) {
        if (c->unix_path) return error_set(err, "websocket=on: beside a Unix socket it needs a port, websocket=127.0.0.1:5700");
        c->web_port = c->port - VNC_PORT + WEB_PORT;
        return 0;
    }
    if (strchr(v, ':') && address_cut(t, v, &c->web_host, &port, err) < 0) return -1;
    if (value_unsigned("websocket", port, 65535, &n, err) < 0) return -1;
    if (!n) return error_set(err, "websocket=%s: a port from 1 to 65535 is wanted", v);
    c->web_port = (unsigned)n;
    return 0;
}

static int vnc_share(void *t, const char *v, struct error *err)
{
    unsigned which;

    if (value_choice("share", v, (const char *const[]){ "allow-exclusive", "force-shared", "ignore", NULL }, &which, err) < 0) return -1;
    vnc_of(t)->share = (enum vnc_share)which;
    return 0;
}

static int off_only(const char *name, const char *v, const char *why, struct error *err)
{
    bool on = false;

    if (value_bool(name, v, &on, err) < 0) return -1;
    return on ? error_set(err, "%s is not supported in this version: %s", name, why) : 0;
}

static int vnc_sasl(void *t, const char *v, struct error *err) { return off_only("sasl", v, "use password=on or client certificates (tls-creds=)", err); }
static int vnc_reverse(void *t, const char *v, struct error *err) { return off_only("reverse", v, "have the viewer connect", err); }
static int vnc_power(void *t, const char *v, struct error *err) { return off_only("power-control", v, "the monitor has system_powerdown and system_reset", err); }

static int vnc_ip(struct vm_options *o, unsigned which, const char *name, const char *v, struct error *err)
{
    bool on;

    if (value_bool(name, v, &on, err) < 0) return -1;
    o->vnc_ip[which] = on ? 1 : -1;
    return 0;
}

static int vnc_ipv4(void *t, const char *v, struct error *err) { return vnc_ip(t, 0, "ipv4", v, err); }
static int vnc_ipv6(void *t, const char *v, struct error *err) { return vnc_ip(t, 1, "ipv6", v, err); }

static int vnc_key_delay(void *t, const char *v, struct error *err)
{
    uint64_t ms;

    if (value_unsigned("key-delay-ms", v, 1000, &ms, err) < 0) return -1;
    vnc_of(t)->key_delay_ms = (unsigned)ms;
    return 0;
}

static int vnc_lock_key_sync(void *t, const char *v, struct error *err) { return value_bool("lock-key-sync", v, &vnc_of(t)->lock_key_sync, err); }

static int vnc_connections(void *t, const char *v, struct error *err)
{
    uint64_t n;

    if (value_unsigned("connections", v, 1024, &n, err) < 0) return -1;
    if (!n) return error_set(err, "connections=0: then nobody could look; from 1 to 1024");
    vnc_of(t)->clients = (unsigned)n;
    return 0;
}

/* There is one screen, the graphic card's; that it is the one is seen when all options are known. */
static int vnc_display(void *t, const char *v, struct error *err) { ((struct vm_options *)t)->vnc_display = v; return 0; }

static int vnc_head(void *t, const char *v, struct error *err)
{
    uint64_t n;

    if (value_unsigned("head", v, UINT32_MAX, &n, err) < 0) return -1;
    return n ? error_set(err, "head=%s: a graphic card has one screen, number 0", v) : 0;
}

/* Pictures are never lossy here, so that both may be wanted. */
static int vnc_quality(void *t, const char *v, struct error *err)
{
    bool on;

    return value_bool("lossy and non-adaptive", v, &on, err);
}

static int vnc_audio(void *t, const char *v, struct error *err) { ((struct vm_options *)t)->vnc_audio = v; return 0; }
static int vnc_accept(void *t, const char *v, struct error *err) { return 0; }

const struct option_key vnc_keys[] = {
    { "vnc", vnc_accept, NULL }, { "id", vnc_accept, NULL }, { "password", vnc_password, NULL }, { "to", vnc_to, NULL },
    { "websocket", vnc_websocket, NULL }, { "share", vnc_share, NULL }, { "lossy", vnc_quality, NULL }, { "non-adaptive", vnc_quality, NULL },
    { "tls-creds", vnc_tls_creds, NULL },
    { "sasl", vnc_sasl, NULL }, { "tls-authz", NULL, "give out client certificates of an authority of your own instead: tls-creds-x509 with verify-peer=on" }, { "reverse", vnc_reverse, NULL }, { "power-control", vnc_power, NULL },
    { "ipv4", vnc_ipv4, NULL }, { "ipv6", vnc_ipv6, NULL }, { "key-delay-ms", vnc_key_delay, NULL }, { "lock-key-sync", vnc_lock_key_sync, NULL },
    { "connections", vnc_connections, NULL }, { "display", vnc_display, NULL }, { "head", vnc_head, NULL },
    { "password-secret", vnc_password_secret, NULL },
    { "audiodev", vnc_audio, NULL },
    { NULL, NULL, NULL },
};

static int vnc_address(struct vm_options *o, const char *text, struct error *err)
{
    struct vnc_config *c = &o->config.vnc;
    const char *number;
    uint64_t n;

    if (!strncmp(text, "unix:", 5)) {
        if (!text[5]) return error_set(err, "-vnc unix: wants a path");
        c->unix_path = text + 5;
        return 0;
    }
    if (address_cut(o, text, &c->host, &number, err) < 0) return error_set(err, "-vnc %s: HOST:N or unix:PATH is wanted; N = 0 is port 5900", text);
    if (value_unsigned("-vnc", number, 65535 - VNC_PORT, &n, err) < 0) return -1;
    c->port = VNC_PORT + (unsigned)n;
    return 0;
}

/* One of both that is on means the other one is not wanted; without a word all addresses are. */
static int vnc_family(struct vm_options *o, struct error *err)
{
    int v4 = o->vnc_ip[0], v6 = o->vnc_ip[1];

    if (v4 < 0 && v6 < 0) return error_set(err, "-vnc: ipv4=off and ipv6=off leave no address");
    if (v4 < 0 || (v6 > 0 && !v4)) o->config.vnc.family = LISTEN_IPV6;
    else if (v6 < 0 || (v4 > 0 && !v6)) o->config.vnc.family = LISTEN_IPV4;
    return 0;
}

int option_vnc(struct vm_options *o, const char *arg, struct error *err)
{
    enum { KEY_DELAY_MS = 10 };
    struct option_list l;

    if (option_list_parse(&l, o->arena, arg, "vnc", err) < 0) return -1;
    if (!l.count || strcmp(l.pair[0].key, "vnc")) return error_set(err, "-vnc begins with an address: HOST:N or unix:PATH");
    o->display_given = true;
    o->config.has_vnc = strcmp(l.pair[0].value, "none") != 0;
    o->config.vnc = (struct vnc_config){ .key_delay_ms = KEY_DELAY_MS, .lock_key_sync = true };
    o->vnc_tls_creds = o->vnc_password_secret = o->vnc_display = NULL;
    o->vnc_ip[0] = o->vnc_ip[1] = 0;
    if (!o->config.has_vnc) return l.count == 1 ? 0 : error_set(err, "-vnc none takes nothing else");
    if (vnc_address(o, l.pair[0].value, err) < 0) return -1;
    return option_list_apply(&l, "-vnc", vnc_keys, o, err) < 0 ? -1 : vnc_family(o, err);
}

/* ---- -display web ---- */

/* "", "PORT", "ADDR:PORT" */
static int option_web(struct vm_options *o, const char *arg, struct error *err)
{
    enum { MORE_PORTS = 99 };
    struct web_config *c = &o->config.web;
    const char *port = arg;
    uint64_t n;

    *c = (struct web_config){ .port = WEB_PORT_DEFAULT, .port_to = WEB_PORT_DEFAULT + MORE_PORTS };
    o->config.has_web = o->display_given = true;
    if (!*arg) return 0;
    if (strchr(arg, ',')) return error_set(err, "-display web=%s: an address and a port, nothing else", arg);
    if (strchr(arg, ':') && address_cut(o, arg, &c->host, &port, err) < 0) return -1;
    if (value_unsigned("-display web", port, 65535, &n, err) < 0) return -1;
    c->port = (unsigned)n;
    c->port_to = 0;
    return 0;
}

/* ---- -display sdl ---- */

static int wish_set(struct display_wish *w, const char *name, const char *v, struct error *err)
{
    w->given = true;
    return value_bool(name, v, &w->on, err);
}

static int window_full_screen(void *t, const char *v, struct error *err) { return wish_set(&((struct vm_options *)t)->config.full_screen, "full-screen", v, err); }
static int window_cursor(void *t, const char *v, struct error *err) { return wish_set(&((struct vm_options *)t)->config.show_cursor, "show-cursor", v, err); }
static int window_close(void *t, const char *v, struct error *err) { return wish_set(&((struct vm_options *)t)->config.window_close, "window-close", v, err); }

static int window_gl(void *t, const char *v, struct error *err)
{
    return strcmp(v, "off") ? error_set(err, "gl=%s is not supported in this version; leave it out", v) : 0;
}

static const struct option_key window_keys[] = {
    { "type", vga_accept, NULL }, { "full-screen", window_full_screen, NULL }, { "gl", window_gl, NULL },
    { "grab-mod", NULL, "Ctrl-Alt-G lets go of the mouse" }, { "window-close", window_close, NULL }, { "show-cursor", window_cursor, NULL },
    { NULL, NULL, NULL },
};
/* Words about a window where there is none: QEMU takes them, and tells them to who asks. */
static const struct option_key no_window_keys[] = {
    { "type", vga_accept, NULL }, { "full-screen", window_full_screen, NULL }, { "gl", window_gl, NULL }, { "window-close", window_close, NULL },
    { "show-cursor", window_cursor, NULL }, { NULL, NULL, NULL },
};

static int option_window(struct vm_options *o, const char *arg, struct error *err)
{
    struct option_list l;

    if (option_list_parse(&l, o->arena, arg, "type", err) < 0) return -1;
    o->config.window = WINDOW_WANTED;
    o->display_given = true;
    return option_list_apply(&l, "-display sdl", window_keys, o, err);
}

static void no_window_warn(const char *type, const struct option_list *l)
{
    for (unsigned i = 0; i < l->count; i++)
        if (strcmp(l->pair[i].key, "type") && strcmp(l->pair[i].key, "charset"))
            log_message("warning: -display %s: %s= is about a window, and there is none", type, l->pair[i].key);
}

/* ---- -display curses ---- */

static int curses_charset(void *t, const char *v, struct error *err)
{
    return strcasecmp(v, "CP437") ? error_set(err, "charset=%s: guests' fonts are taken for CP437 in this version; leave it out", v) : 0;
}

static const struct option_key curses_keys[] = {
    { "type", vga_accept, NULL }, { "charset", curses_charset, NULL }, { "full-screen", window_full_screen, NULL }, { "gl", window_gl, NULL },
    { "window-close", window_close, NULL }, { "show-cursor", window_cursor, NULL }, { NULL, NULL, NULL },
};

static int option_curses(struct vm_options *o, const char *arg, struct error *err)
{
    struct option_list l;

    if (option_list_parse(&l, o->arena, arg, "type", err) < 0) return -1;
    o->config.has_curses = o->display_given = true;
    if (option_list_apply(&l, "-display curses", curses_keys, o, err) < 0) return -1;
    no_window_warn("curses", &l);
    return 0;
}

/* ---- -display ---- */

static int display_of_type(struct vm_options *o, const char *type, const char *arg, struct error *err)
{
    struct option_list l;
    bool none = !strcmp(type, "none");

    if (!strcmp(type, "sdl")) return option_window(o, arg, err);
    if (!strcmp(type, "curses")) return option_curses(o, arg, err);
    if (!none && strcmp(type, "default"))
        return error_set(err, "-display %s: it is not supported in this version; use -display sdl, curses, web, vnc=HOST:N, none or -nographic", type);
    o->config.has_web = false;
    o->display_given = none;
    if (option_list_parse(&l, o->arena, arg, "type", err) < 0 || option_list_apply(&l, "-display", no_window_keys, o, err) < 0) return -1;
    if (none) no_window_warn(type, &l);
    return 0;
}

int option_display(struct vm_options *o, const char *arg, struct error *err)
{
    struct option_list l;

    if (!strcmp(arg, "help")) {
        printf("Available display backend types:\nnone\nsdl\ncurses\nvnc\nweb\n");
        return VM_OPTIONS_HELP_SHOWN;
    }
    if (!strncmp(arg, "vnc=", 4)) return option_vnc(o, arg + 4, err);
    o->config.window = WINDOW_NONE;    /* the last -display counts */
    o->config.has_curses = false;
    if (!strcmp(arg, "web") || !strncmp(arg, "web=", 4)) return option_web(o, arg[3] ? arg + 4 : "", err);
    if (option_list_parse(&l, o->arena, arg, "type", err) < 0) return error_prefix(err, "-display");
    if (!option_list_get(&l, "type")) return error_set(err, "-display %s: it begins with a type: sdl, curses, web, vnc=HOST:N or none", arg);
    return display_of_type(o, option_list_get(&l, "type"), arg, err);
}
