/* SPDX-License-Identifier: GPL-2.0-or-later */
/* QMP: how the screen is shown, and what of it can be changed: where VNC listens, its certificates. */
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/bits.h"
#include "display/vnc.h"
#include "monitor/qmp_private.h"

/* ---- -display ---- */

static void wish_tell(json_t *options, const char *name, const struct display_wish *w)
{
    if (w->given) json_object_set_new(options, name, json_boolean(w->on));
}

/* VNC is no type of these, nor is the web page: they are beside it. */
json_t *qmp_query_display_options(struct qmp *q, json_t *args, struct qmp_error *err)
{
    const struct machine_config *c = machine_configuration(qmp_machine(q));
    json_t *options = json_pack("{s:s}", "type", machine_has_window(qmp_machine(q)) ? "sdl" : c->has_curses ? "curses" : "none");

    wish_tell(options, "full-screen", &c->full_screen);
    wish_tell(options, "show-cursor", &c->show_cursor);
    wish_tell(options, "window-close", &c->window_close);
    return options;
}

/* ---- VNC ---- */

static struct vnc_server *vnc_find(struct qmp *q, struct qmp_error *err)
{
    struct vnc_server *s = machine_vnc(qmp_machine(q));

    if (!s) qmp_fail(err, QMP_GENERIC, "Can not find vnc display");
    return s;
}

json_t *qmp_display_reload(struct qmp *q, json_t *args, struct qmp_error *err)
{
    struct vnc_server *s;

    if (!qmp_bool(args, "tls-certs", false)) return json_object();
    s = vnc_find(q, err);
    return s ? qmp_result(vnc_tls_reload(s, &err->error)) : NULL;
}

static int port_read(const char *text, unsigned *port, struct qmp_error *err)
{
    char *end;
    unsigned long n = strtoul(text, &end, 10);

    if (*text < '0' || *text > '9' || *end || n > 65535) return error_set(&err->error, "Parameter 'port' expects a number up to 65535, not '%.100s'", text);
    *port = (unsigned)n;
    return 0;
}

static int family_read(json_t *a, enum listen_family *family, struct qmp_error *err)
{
    bool v4 = qmp_bool(a, "ipv4", false), v6 = qmp_bool(a, "ipv6", false), not4 = json_object_get(a, "ipv4") && !v4, not6 = json_object_get(a, "ipv6") && !v6;

    if (not4 && not6) return error_set(&err->error, "Cannot disable IPv4 and IPv6 at same time");
    if (not4 || (v6 && !v4)) *family = LISTEN_IPV6;
    else if (not6 || (v4 && !v6)) *family = LISTEN_IPV4;
    return 0;
}

static int address_read(struct qmp *q, json_t *a, struct vnc_address *to, struct qmp_error *err)
{
    const char *type = qmp_string(a, "type");

    *to = (struct vnc_address){ .fd = -1 };
    if (!strcmp(type, "unix")) to->unix_path = qmp_string(a, "path");
    else if (!strcmp(type, "fd")) {
        to->fd = qmp_descriptor_take(q, qmp_string(a, "str"), err);
        to->has_fd = true;
        return to->fd < 0 ? -1 : 0;
    } else {
        to->host = qmp_string(a, "host");
        if (port_read(qmp_string(a, "port"), &to->port, err) < 0 || family_read(a, &to->family, err) < 0) return -1;
        to->port_to = (unsigned)qmp_int(a, "to", 0);
    }
    return 0;
}

json_t *qmp_display_update(struct qmp *q, json_t *args, struct qmp_error *err)
{
    json_t *addresses = json_object_get(args, "addresses");
    struct vnc_server *s = vnc_find(q, err);
    struct vnc_address a[VNC_LISTENERS];
    size_t count = json_array_size(addresses), read = 0;
    int result = 0;

    if (!s) return NULL;
    if (!addresses) return json_object();
    if (count > ARRAY_SIZE(a)) return qmp_fail(err, QMP_GENERIC, "a VNC server listens at %d addresses at most", VNC_LISTENERS);
    while (read < count && result == 0) result = address_read(q, json_array_get(addresses, read), &a[read], err), read++;
    if (result == 0) result = vnc_server_listen(s, a, (unsigned)count, &err->error);
    for (size_t i = 0; result < 0 && i < read; i++)
        if (a[i].has_fd && a[i].fd >= 0) close(a[i].fd);
    return qmp_result(result);
}
