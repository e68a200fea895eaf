/* SPDX-License-Identifier: GPL-2.0-or-later */
/* QMP: the VNC server. */
#include <ctype.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "display/vnc.h"
#include "monitor/monitor_private.h"
#include "monitor/qmp_private.h"

static json_t *peer_pack(const struct vnc_peer *p)
{
    return json_pack("{s:o, s:o, s:s, s:b}", "host", qmp_text(p->host, strlen(p->host)), "service", qmp_text(p->service, strlen(p->service)), "family",
                     p->family, "websocket", p->is_web);
}

static void client_add(void *clients, const struct vnc_peer *p)
{
    json_array_append_new(clients, peer_pack(p));
}

static json_t *clients_of(const struct vnc_server *s)
{
    json_t *clients = json_array();

    vnc_clients_list(s, client_add, clients);
    return clients;
}

json_t *qmp_query_vnc(struct qmp *q, json_t *args, struct qmp_error *err)
{
    const struct vnc_server *s = machine_vnc(qmp_machine(q));
    struct vnc_peer p;
    json_t *info, *where;

    if (!s || !vnc_listener(s, 0, &p) || p.is_web) return json_pack("{s:b}", "enabled", false);
    info = json_pack("{s:b, s:s, s:o}", "enabled", true, "auth", vnc_auth_name(s), "clients", clients_of(s));
    where = peer_pack(&p);
    json_object_del(where, "websocket");
    json_object_update(info, where);
    json_decref(where);
    return info;
}

json_t *qmp_query_vnc_servers(struct qmp *q, json_t *args, struct qmp_error *err)
{
    const struct vnc_server *s = machine_vnc(qmp_machine(q));
    json_t *servers = json_array();
    struct vnc_peer p;

    if (!s) return servers;
    for (unsigned i = 0; vnc_listener(s, i, &p); i++) {
        json_t *one = peer_pack(&p);

        json_object_set_new(one, "auth", json_string(vnc_auth_name(s)));
        json_array_append_new(servers, one);
    }
    return json_pack("[{s:s, s:o, s:o, s:s}]", "id", "default", "server", servers, "clients", clients_of(s), "auth", vnc_auth_name(s));
}

/* ---- the password ---- */

static json_t *password_set(struct qmp *q, const char *password, struct qmp_error *err)
{
    struct vnc_server *s = machine_vnc(qmp_machine(q));

    if (!s) return qmp_fail(err, QMP_GENERIC, "Could not set password: there is no VNC server; start the machine with -vnc HOST:N,password=on");
    return qmp_result(vnc_password_set(s, *password ? password : NULL, &err->error));
}

json_t *qmp_set_password(struct qmp *q, json_t *args, struct qmp_error *err)
{
    const char *connected = qmp_string(args, "connected");

    if (strcmp(qmp_string(args, "protocol"), "vnc")) return qmp_fail(err, QMP_NOT_ACTIVE, "SPICE is not in use");
    if (connected && strcmp(connected, "keep")) return qmp_fail(err, QMP_GENERIC, "Invalid parameter 'connected'");
    return password_set(q, qmp_string(args, "password"), err);
}

/* now, never, +SECONDS, SECONDS since 1970; -1: none of these. */
static int64_t time_of(const char *text)
{
    int64_t now = clock_wall_ns() / NS_PER_SECOND;
    unsigned long long n;
    char *end;

    if (!strcmp(text, "now")) return 0;
    if (!strcmp(text, "never")) return INT64_MAX;
    if (!isdigit((unsigned char)text[*text == '+'])) return -1;
    errno = 0;
    n = strtoull(text + (*text == '+'), &end, 10);
    if (*end || errno || n > (unsigned long long)(INT64_MAX - now)) return -1;
    return (int64_t)n + (*text == '+' ? now : 0);
}

int password_expire(struct machine *m, const char *text, struct error *err)
{
    int64_t at = time_of(text);

    if (!machine_vnc(m)) return error_set(err, "there is no VNC server; start the machine with -vnc HOST:N,password=on");
    if (at < 0) return error_set(err, "'%.100s' is no time: now, never, +SECONDS or SECONDS since 1970 are wanted", text);
    return vnc_password_expire(machine_vnc(m), at, err);
}

json_t *qmp_expire_password(struct qmp *q, json_t *args, struct qmp_error *err)
{
    if (strcmp(qmp_string(args, "protocol"), "vnc")) return qmp_fail(err, QMP_NOT_ACTIVE, "SPICE is not in use");
    return qmp_result(password_expire(qmp_machine(q), qmp_string(args, "time"), &err->error));
}

json_t *qmp_change_vnc_password(struct qmp *q, json_t *args, struct qmp_error *err)
{
    return password_set(q, qmp_string(args, "password"), err);
}
