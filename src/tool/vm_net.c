/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Networks of the command line: -netdev, the part of -nic and -net that is about the network, -object filter-dump. One table of keys a
 * type. Addresses and rules stay text until the network is made.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/bits.h"
#include "base/error.h"
#include "base/log.h"
#include "base/nearest.h"
#include "net/bridge.h"
#include "tool/vm_options_private.h"

struct netdev_config *netdev_new(struct vm_options *o, const char *id, enum netdev_kind kind, struct error *err)
{
    struct machine_config *c = &o->config;

    if (c->netdev_count == CONFIG_NETDEVS) {
        error_set(err, "more than %d networks", CONFIG_NETDEVS);
        return NULL;
    }
    for (unsigned i = 0; id && i < c->netdev_count; i++)
        if (!strcmp(c->netdev[i].id, id)) {
            error_set(err, "two networks have the id '%s'", id);
            return NULL;
        }
    c->netdev[c->netdev_count] = (struct netdev_config){ .id = id ? id : arena_format(o->arena, "net%u", c->netdev_count), .kind = kind };
    return &c->netdev[c->netdev_count++];
}

static int set_accept(void *t, const char *v, struct error *err) { return 0; }

/* ---- user ---- */

static struct net_user_config *user(void *t) { return &((struct netdev_config *)t)->user; }

static int set_negated(const char *name, const char *v, bool *off, struct error *err)
{
    bool on = true;

    if (value_bool(name, v, &on, err) < 0) return -1;
    *off = !on;
    return 0;
}

#define TEXT(name, field) \
    static int user_##name(void *t, const char *v, struct error *err) { user(t)->field = v; return 0; }
TEXT(net, net)
TEXT(host, host)
TEXT(dhcpstart, dhcp_start)
TEXT(dns, dns)
TEXT(prefix, ipv6_prefix)
TEXT(prefixlen, ipv6_prefix_bits)
TEXT(host6, ipv6_host)
TEXT(dns6, ipv6_dns)
TEXT(hostname, hostname)
TEXT(domain, domain)
TEXT(tftp, tftp)
TEXT(bootfile, bootfile)
TEXT(tftp_server, tftp_server)

static int user_ipv4(void *t, const char *v, struct error *err) { return set_negated("ipv4", v, &user(t)->no_ipv4, err); }
static int user_ipv6(void *t, const char *v, struct error *err) { return set_negated("ipv6", v, &user(t)->no_ipv6, err); }
static int user_restrict(void *t, const char *v, struct error *err) { return value_bool("restrict", v, &user(t)->restricted, err); }
static int user_loopback(void *t, const char *v, struct error *err) { return set_negated("host-loopback", v, &user(t)->no_host_loopback, err); }

static int list_add(const char *name, const char **list, unsigned *count, unsigned most, const char *v, struct error *err)
{
    if (*count == most) return error_set(err, "%s: more than %u of them", name, most);
    list[(*count)++] = v;
    return 0;
}

static int user_search(void *t, const char *v, struct error *err)
{
    return list_add("dnssearch", user(t)->search, &user(t)->search_count, NET_USER_SEARCH, v, err);
}

static int user_hostfwd(void *t, const char *v, struct error *err)
{
    return list_add("hostfwd", user(t)->hostfwd, &user(t)->hostfwd_count, NET_USER_FORWARDS, v, err);
}

static int user_guestfwd(void *t, const char *v, struct error *err)
{
    return list_add("guestfwd", user(t)->guestfwd, &user(t)->guestfwd_count, NET_USER_FORWARDS, v, err);
}

static const struct option_key user_keys[] = {
    { "type", set_accept, NULL }, { "id", set_accept, NULL }, { "net", user_net, NULL }, { "host", user_host, NULL }, { "dhcpstart", user_dhcpstart, NULL },
    { "dns", user_dns, NULL }, { "dnssearch", user_search, NULL }, { "hostname", user_hostname, NULL }, { "domainname", user_domain, NULL },
    { "tftp", user_tftp, NULL }, { "tftp-server-name", user_tftp_server, NULL }, { "bootfile", user_bootfile, NULL }, { "restrict", user_restrict, NULL },
    { "host-loopback", user_loopback, NULL }, { "hostfwd", user_hostfwd, NULL }, { "guestfwd", user_guestfwd, NULL }, { "ipv4", user_ipv4, NULL },
    { "ipv6", user_ipv6, NULL }, { "ipv6-prefix", user_prefix, NULL }, { "ipv6-net", user_prefix, NULL }, { "ipv6-prefixlen", user_prefixlen, NULL }, { "ipv6-host", user_host6, NULL },
    { "ipv6-dns", user_dns6, NULL }, { "smb", NULL, "an SMB server is not in this version; use tftp=, or hostfwd= and ssh" },
    { "smbserver", NULL, "an SMB server is not in this version" }, { NULL, NULL, NULL },
};

/* ---- tap ---- */

static struct net_tap_config *tap(void *t) { return &((struct netdev_config *)t)->tap; }
static int tap_ifname(void *t, const char *v, struct error *err) { tap(t)->ifname = v; return 0; }
static int tap_script(void *t, const char *v, struct error *err) { tap(t)->script = v; return 0; }
static int tap_downscript(void *t, const char *v, struct error *err) { tap(t)->downscript = v; return 0; }

static int tap_bridge(void *t, const char *v, struct error *err) { tap(t)->bridge = v; return 0; }
static int tap_helper(void *t, const char *v, struct error *err) { tap(t)->helper = v; return 0; }

static int tap_queues(void *t, const char *v, struct error *err)
{
    uint64_t n;

    if (value_unsigned("queues", v, NET_TAP_QUEUES, &n, err) < 0) return -1;
    tap(t)->queues = (unsigned)n;
    return n ? 0 : error_set(err, "queues=0: a network needs a queue");
}

/* "7", or with several "7:8:9". */
static int fds_read(const char *key, const char *v, bool several, int *fd, unsigned *count, struct error *err)
{
    const char *p = v;

    if (*count) return error_set(err, "%s=%s: descriptors are named already", key, v);
    for (char *end; ; p = end + 1) {
        unsigned long n = strtoul(p, &end, 10);

        if (end == p || (*end && (*end != ':' || !several)) || *p == '-' || n > 65535)
            return error_set(err, "%s=%s: it is a descriptor's number%s", key, v, several ? "; several are separated by ':'" : "");
        if (*count == NET_TAP_QUEUES) return error_set(err, "%s=%s: more than %d", key, v, NET_TAP_QUEUES);
        fd[(*count)++] = (int)n;
        if (!*end) return 0;
    }
}

static int tap_fd(void *t, const char *v, struct error *err) { return fds_read("fd", v, false, tap(t)->fd, &tap(t)->fd_count, err); }
static int tap_fds(void *t, const char *v, struct error *err) { return fds_read("fds", v, true, tap(t)->fd, &tap(t)->fd_count, err); }

static int tap_vhost_fd(void *t, const char *v, struct error *err) { return fds_read("vhostfd", v, false, tap(t)->vhost_fd, &tap(t)->vhost_fd_count, err); }
static int tap_vhost_fds(void *t, const char *v, struct error *err) { return fds_read("vhostfds", v, true, tap(t)->vhost_fd, &tap(t)->vhost_fd_count, err); }

static int tap_poll(void *t, const char *v, struct error *err)
{
    uint64_t n;

    if (value_unsigned("poll-us", v, INT32_MAX, &n, err) < 0) return -1;
    tap(t)->poll_us = (unsigned)n;
    return 0;
}
static int tap_vhost_force(void *t, const char *v, struct error *err) { return value_bool("vhostforce", v, &tap(t)->vhost_force, err); }

static int tap_sndbuf(void *t, const char *v, struct error *err)
{
    tap(t)->has_sndbuf = true;
    return value_size("sndbuf", v, 1, &tap(t)->sndbuf, err);
}

static int tap_header(void *t, const char *v, struct error *err) { return set_negated("vnet_hdr", v, &tap(t)->no_header, err); }

static int tap_vhost(void *t, const char *v, struct error *err)
{
    if (value_bool("vhost", v, &tap(t)->vhost, err) < 0) return -1;
    tap(t)->vhost_off = !tap(t)->vhost;
    return 0;
}

static const struct option_key tap_keys[] = {
    { "type", set_accept, NULL }, { "id", set_accept, NULL }, { "ifname", tap_ifname, NULL }, { "script", tap_script, NULL },
    { "downscript", tap_downscript, NULL }, { "fd", tap_fd, NULL }, { "fds", tap_fds, NULL }, { "queues", tap_queues, NULL }, { "vhost", tap_vhost, NULL },
    { "vhostforce", tap_vhost_force, NULL }, { "vhostfd", tap_vhost_fd, NULL }, { "vhostfds", tap_vhost_fds, NULL },
    { "br", tap_bridge, NULL }, { "helper", tap_helper, NULL },
    { "sndbuf", tap_sndbuf, NULL }, { "vnet_hdr", tap_header, NULL },
    { "poll-us", tap_poll, NULL }, { NULL, NULL, NULL },
};

static const struct option_key bridge_keys[] = {
    { "type", set_accept, NULL }, { "id", set_accept, NULL }, { "br", tap_bridge, NULL }, { "helper", tap_helper, NULL }, { NULL, NULL, NULL },
};

/* A helper makes one interface, and all of it. vhostfd= and vhostforce=on say vhost=on too. */
static int tap_check(const char *what, struct netdev_config *d, struct error *err)
{
    struct net_tap_config *c = &d->tap;

    if (c->vhost_off && c->vhost_fd_count) return error_set(err, "%s: vhostfd= says vhost=on", what);
    if (!c->vhost_off && (c->vhost_fd_count || c->vhost_force)) c->vhost = true;
    if (c->no_header && (c->fd_count || c->bridge || c->helper)) return error_set(err, "%s: vnet_hdr=off is for an interface that is opened here; leave it out", what);
    if (c->fd_count && (c->ifname || c->script || c->downscript || c->queues))
        return error_set(err, "%s: an interface that comes by fd= is there and set up; leave out ifname, script, downscript and queues", what);
    if (c->no_header && c->vhost) return error_set(err, "%s: vhost=on wants vnet_hdr=on", what);
    if (c->bridge && !c->helper && (c->ifname || c->script || c->downscript || c->queues)) {
        log_message("warning: %s: br=%s is for helper=; it is ignored", what, c->bridge);
        c->bridge = NULL;
    }
    if (!c->bridge && !c->helper) return 0;
    if (c->helper && !*c->helper) return error_set(err, "%s: helper= wants the path of a program", what);
    if (c->ifname || c->fd_count || c->queues || c->script || c->downscript)
        return error_set(err, "%s: with br= or helper= the interface is the helper's; leave out ifname, fd, queues and scripts", what);
    return 0;
}

/* ---- stream and dgram ---- */

static struct net_socket_config *sock(void *t) { return &((struct netdev_config *)t)->socket; }

#define SOCKET(name, field) \
    static int socket_##name(void *t, const char *v, struct error *err) { sock(t)->field = v; return 0; }
SOCKET(path, path)
SOCKET(host, host)
SOCKET(port, port)
SOCKET(local_path, local_path)
SOCKET(local_host, local_host)
SOCKET(local_port, local_port)

static int socket_fd(void *t, const char *v, struct error *err)
{
    uint64_t n;

    if (value_unsigned("fd", v, INT32_MAX, &n, err) < 0) return -1;
    sock(t)->fd = (int)n;
    return 0;
}

static int socket_server(void *t, const char *v, struct error *err) { return value_bool("server", v, &sock(t)->server, err); }

#define SOCKET_FLAG(name, key, field) \
    static int socket_##name(void *t, const char *v, struct error *err) { return value_bool(key, v, &sock(t)->field, err); }
SOCKET_FLAG(numeric, "addr.numeric", numeric)
SOCKET_FLAG(keep_alive, "addr.keep-alive", keep_alive)
SOCKET_FLAG(abstract, "addr.abstract", is_abstract)
static int socket_ipv4(void *t, const char *v, struct error *err) { return set_negated("addr.ipv4", v, &sock(t)->no_ipv4, err); }
static int socket_ipv6(void *t, const char *v, struct error *err) { return set_negated("addr.ipv6", v, &sock(t)->no_ipv6, err); }

static int socket_to(void *t, const char *v, struct error *err)
{
    uint64_t n;

    if (value_unsigned("addr.to", v, 65535, &n, err) < 0) return -1;
    sock(t)->port_to = (unsigned)n;
    return 0;
}

static int reconnect_set(void *t, const char *name, const char *v, unsigned unit_ms, struct error *err)
{
    uint64_t n;

    if (value_unsigned(name, v, INT32_MAX / 1000, &n, err) < 0) return -1;
    sock(t)->reconnect_ms = (unsigned)n * unit_ms;
    return 0;
}

static int socket_reconnect(void *t, const char *v, struct error *err) { return reconnect_set(t, "reconnect", v, 1000, err); }
static int socket_reconnect_ms(void *t, const char *v, struct error *err) { return reconnect_set(t, "reconnect-ms", v, 1, err); }

/* The keys that follow say which it is, and have to be of this type. */
static int socket_type(void *t, const char *v, struct error *err)
{
    static const enum net_address_type types[] = { NET_ADDRESS_UNIX, NET_ADDRESS_INET, NET_ADDRESS_FD };
    unsigned which;

    if (value_choice("addr.type", v, (const char *const[]){ "unix", "inet", "fd", NULL }, &which, err) < 0) return -1;
    sock(t)->address_types |= types[which];
    return 0;
}

static const struct option_key stream_keys[] = {
    { "type", set_accept, NULL }, { "id", set_accept, NULL }, { "server", socket_server, NULL }, { "addr.type", socket_type, NULL },
    { "addr.path", socket_path, NULL }, { "addr.host", socket_host, NULL }, { "addr.port", socket_port, NULL }, { "addr.str", socket_fd, NULL },
    { "addr.numeric", socket_numeric, NULL }, { "addr.to", socket_to, NULL }, { "addr.ipv4", socket_ipv4, NULL }, { "addr.ipv6", socket_ipv6, NULL },
    { "addr.keep-alive", socket_keep_alive, NULL }, { "addr.abstract", socket_abstract, NULL },
    { "reconnect", socket_reconnect, NULL }, { "reconnect-ms", socket_reconnect_ms, NULL }, { NULL, NULL, NULL },
};
static const struct option_key dgram_keys[] = {
    { "type", set_accept, NULL }, { "id", set_accept, NULL }, { "local.type", socket_type, NULL }, { "local.path", socket_local_path, NULL },
    { "local.host", socket_local_host, NULL }, { "local.port", socket_local_port, NULL }, { "remote.type", socket_type, NULL },
    { "remote.path", socket_path, NULL }, { "remote.host", socket_host, NULL }, { "remote.port", socket_port, NULL }, { "local.str", socket_fd, NULL }, { NULL, NULL, NULL },
};

/* The older way to write the same: an address is HOST:PORT. */
static int socket_listen(void *t, const char *v, struct error *err) { sock(t)->server = true; return socket_host(t, v, err); }

static const struct option_key socket_keys[] = {
    { "type", set_accept, NULL }, { "id", set_accept, NULL }, { "listen", socket_listen, NULL }, { "connect", socket_host, NULL }, { "udp", socket_host, NULL },
    { "localaddr", socket_local_host, NULL }, { "mcast", socket_host, NULL },
    { "fd", socket_fd, NULL }, { NULL, NULL, NULL },
};

static int address_split(struct vm_options *o, const char **host, const char **port, const char *what, struct error *err)
{
    const char *colon = *host ? strrchr(*host, ':') : NULL;

    if (!*host) return 0;
    if (!colon || !colon[1]) return error_set(err, "%s: '%s' is no HOST:PORT", what, *host);
    *port = colon + 1;
    *host = colon == *host ? "0.0.0.0" : arena_format(o->arena, "%.*s", (int)(colon - *host), *host);
    return 0;
}

/* All in the group; localaddr= is an address alone. */
static int group_take(struct vm_options *o, const char *what, struct netdev_config *d, struct error *err)
{
    d->kind = NETDEV_DGRAM;
    if (address_split(o, &d->socket.host, &d->socket.port, what, err) < 0) return -1;
    return net_socket_is_group(d->socket.host) ? 0 : error_set(err, "%s: mcast=%s: that is no multicast address; those are 224.0.0.0 to 239.255.255.255", what, d->socket.host);
}

static int socket_take(struct vm_options *o, const struct option_list *l, const char *what, struct netdev_config *d, struct error *err)
{
    bool is_udp = option_list_get(l, "udp") != NULL, is_group = option_list_get(l, "mcast") != NULL;

    if (!!option_list_get(l, "listen") + !!option_list_get(l, "connect") + !!option_list_get(l, "fd") + is_udp + is_group != 1)
        return error_set(err, "%s needs one of listen=[HOST]:PORT, connect=HOST:PORT, mcast=GROUP:PORT, udp=HOST:PORT and fd=NUMBER", what);
    if (is_group) return group_take(o, what, d, err);
    if (is_udp != (d->socket.local_host != NULL)) return error_set(err, "%s: udp=HOST:PORT and localaddr=[HOST]:PORT belong together", what);
    d->kind = is_udp ? NETDEV_DGRAM : NETDEV_STREAM;
    if (d->socket.fd >= 0) {
        d->socket.fd_of_any_kind = true;
        return 0;
    }
    return address_split(o, &d->socket.host, &d->socket.port, what, err) < 0 ? -1 : address_split(o, &d->socket.local_host, &d->socket.local_port, what, err);
}

/* What there are addresses of. */
static unsigned address_types(const struct net_socket_config *s)
{
    return (s->path || s->local_path ? NET_ADDRESS_UNIX : 0u) | (s->port || s->local_port ? NET_ADDRESS_INET : 0u) | (s->fd >= 0 ? NET_ADDRESS_FD : 0u);
}

static int socket_check(const char *what, const struct netdev_config *d, struct error *err)
{
    const struct net_socket_config *s = &d->socket;

    if (d->kind != NETDEV_STREAM && d->kind != NETDEV_DGRAM) return 0;
    if (s->reconnect_ms && (s->server || s->fd >= 0)) return error_set(err, "%s: reconnect= is for a client; a server takes the next peer by itself", what);
    if (s->address_types & ~address_types(s))
        return error_set(err, "%s: unix wants path=PATH, inet host=HOST and port=PORT, fd str=NUMBER", what);
    if (s->no_ipv4 && s->no_ipv6) return error_set(err, "%s: addr.ipv4=off and addr.ipv6=off: nothing is left", what);
    if (s->port_to && !s->server) return error_set(err, "%s: addr.to= is for a server", what);
    if (s->path ? s->numeric || s->port_to || s->no_ipv4 || s->no_ipv6 || s->keep_alive : s->is_abstract)
        return error_set(err, "%s: abstract is for addresses of unix, numeric, to, ipv4, ipv6 and keep-alive for those of inet", what);
    if (s->fd >= 0) return s->path || s->port || s->local_path || s->local_port || s->server ? error_set(err, "%s: a descriptor is a connection; leave out addresses and server=", what) : 0;
    if (!s->path && !s->port)
        return error_set(err, d->kind == NETDEV_STREAM ? "%s needs addr.type=unix,addr.path=PATH, addr.type=inet,addr.host=HOST,addr.port=PORT or addr.type=fd,addr.str=NUMBER" :
                         "%s needs local. and remote. addresses: type=unix,path=PATH or type=inet,host=HOST,port=PORT", what);
    if (d->kind == NETDEV_DGRAM && !s->path && net_socket_is_group(s->host)) return 0;
    if (d->kind == NETDEV_DGRAM && (s->path ? !s->local_path : !s->local_port))
        return error_set(err, "%s needs a local.%s of the same kind as the remote one", what, s->path ? "path" : "port");
    return 0;
}

/* ---- hubs ---- */

static int hub_number(void *t, const char *v, struct error *err)
{
    struct netdev_config *d = t;
    uint64_t n;

    if (value_unsigned("hubid", v, INT32_MAX, &n, err) < 0) return -1;
    d->hub = (unsigned)n;
    d->has_hub = true;
    return 0;
}

static const struct option_key hub_keys[] = {
    { "type", set_accept, NULL }, { "id", set_accept, NULL }, { "hubid", hub_number, NULL }, { "netdev", set_accept, NULL }, { NULL, NULL, NULL },
};

/* With netdev= it is that network's place, which nobody else uses: then there is nothing for a card. */
static struct netdev_config *hub_take(struct vm_options *o, const struct option_list *l, const char *what, struct netdev_config *d, struct error *err)
{
    const char *netdev = option_list_get(l, "netdev");

    if (!d->has_hub) return error_set(err, "%s needs hubid=NUMBER", what), NULL;
    if (!netdev) return d;
    if (o->hub_joins == CONFIG_NETDEVS) return error_set(err, "%s: more than %d networks", what, CONFIG_NETDEVS), NULL;
    o->hub_join[o->hub_joins].netdev = netdev;
    o->hub_join[o->hub_joins++].hub = d->hub;
    d->kind = NETDEV_NONE;
    d->has_hub = false;
    d->has_card = true;
    return d;
}

/* ---- types ---- */

static const struct { const char *name; enum netdev_kind kind; const struct option_key *keys; } types[] = {
    { "user", NETDEV_USER, user_keys }, { "tap", NETDEV_TAP, tap_keys }, { "stream", NETDEV_STREAM, stream_keys },
    { "dgram", NETDEV_DGRAM, dgram_keys }, { "bridge", NETDEV_TAP, bridge_keys }, { "socket", NETDEV_STREAM, socket_keys },
    { "hubport", NETDEV_HUBPORT, hub_keys },
};

static const struct { const char *name, *why; } refused[] = {
    { "vde", "use tap, or stream and dgram between machines" }, { "l2tpv3", "use tap, or stream and dgram between machines" }, { "netmap", "use tap" },
    { "af-xdp", "use tap" }, { "passt", "start passt with --socket=PATH and use stream,addr.type=unix,addr.path=PATH" },
    { "vmnet-host", "that is of macOS; use user or tap" }, { "vmnet-shared", "that is of macOS; use user or tap" },
    { "vmnet-bridged", "that is of macOS; use user or tap" },
    { "vhost-user", "vhost in other programs is not in this version; use user, or tap with vhost=on" },
    { "vhost-vdpa", "network cards of the host are not given to guests; use tap with vhost=on" },
};

static int types_show(void)
{
    printf("Available netdev backend types:\n");
    for (unsigned i = 0; i < ARRAY_SIZE(types); i++) printf("%s\n", types[i].name);
    return VM_OPTIONS_HELP_SHOWN;
}

static int type_unknown(const char *what, const char *name, struct error *err)
{
    struct nearest near;

    for (unsigned i = 0; i < ARRAY_SIZE(refused); i++)
        if (!strcmp(refused[i].name, name)) return error_set(err, "%s %s is not supported: %s", what, name, refused[i].why);
    nearest_begin(&near, name);
    for (unsigned i = 0; i < ARRAY_SIZE(types); i++) nearest_offer(&near, types[i].name);
    if (nearest_result(&near)) return error_set(err, "%s: unknown type '%s'; did you mean '%s'?", what, name, near.best);
    return error_set(err, "%s: unknown type '%s'; '-netdev help' lists them", what, name);
}

struct netdev_config *netdev_add(struct vm_options *o, const char *what, const struct option_list *l, struct error *err)
{
    const char *name = option_list_get(l, "type"), *id = option_list_get(l, "id");
    struct netdev_config *d;

    if (id_check(arena_format(o->arena, "%s %s", what, name), "id", id, err) < 0) return NULL;
    for (unsigned i = 0; i < ARRAY_SIZE(types); i++) {
        if (strcmp(types[i].name, name)) continue;
        d = netdev_new(o, id, types[i].kind, err);
        what = arena_format(o->arena, "%s %s", what, name);
        if (!d) return NULL;
        d->socket.fd = -1;
        if (types[i].keys == bridge_keys) d->tap.bridge = NET_BRIDGE_DEFAULT;
        if (option_list_apply(l, what, types[i].keys, d, err) < 0) return NULL;
        if (types[i].keys == socket_keys && socket_take(o, l, what, d, err) < 0) return NULL;
        if (types[i].keys == hub_keys) return hub_take(o, l, what, d, err);
        d->socket.datagrams = d->kind == NETDEV_DGRAM;
        return socket_check(what, d, err) < 0 || tap_check(what, d, err) < 0 ? NULL : d;
    }
    type_unknown(what, name, err);
    return NULL;
}

int option_netdev(struct vm_options *o, const char *arg, struct error *err)
{
    struct option_list l;

    if (!strcmp(arg, "help") || !strcmp(arg, "?")) return types_show();
    if (option_list_parse(&l, o->arena, arg, "type", err) < 0) return -1;
    if (!option_list_get(&l, "type")) return error_set(err, "-netdev begins with a type; '-netdev help' lists them");
    if (!option_list_get(&l, "id")) return error_set(err, "-netdev %s needs id=", option_list_get(&l, "type"));
    o->net_given = true;
    return netdev_add(o, "-netdev", &l, err) ? 0 : -1;
}

/* ---- filter-dump ---- */

struct dump_request { struct net_dump_config d; const char *netdev; bool off; };

static struct dump_request *dump(void *t) { return t; }
static int dump_id(void *t, const char *v, struct error *err) { dump(t)->d.id = v; return 0; }
static int dump_netdev(void *t, const char *v, struct error *err) { dump(t)->netdev = v; return 0; }
static int dump_file(void *t, const char *v, struct error *err) { dump(t)->d.file = v; return 0; }

static int dump_maxlen(void *t, const char *v, struct error *err)
{
    uint64_t bytes;

    if (value_size("maxlen", v, 1, &bytes, err) < 0) return -1;
    if (!bytes || bytes > NET_FRAME_MAX) return error_set(err, "maxlen=%s: it is 1 to %d bytes", v, NET_FRAME_MAX);
    dump(t)->d.most_bytes = (unsigned)bytes;
    return 0;
}

static int dump_queue(void *t, const char *v, struct error *err)
{
    static const char *const names[] = { "all", "rx", "tx", NULL };   /* as the network sees it: what it receives comes from the guest */
    unsigned which;

    if (value_choice("queue", v, names, &which, err) < 0) return -1;
    dump(t)->d.way = which == 0 ? NET_DUMP_ALL : which == 1 ? NET_DUMP_FROM_GUEST : NET_DUMP_TO_GUEST;
    return 0;
}

static int dump_status(void *t, const char *v, struct error *err)
{
    bool on;

    if (value_bool("status", v, &on, err) < 0) return -1;
    dump(t)->off = !on;
    return 0;
}

static const struct option_key dump_keys[] = {
    { "qom-type", set_accept, NULL }, { "id", dump_id, NULL }, { "netdev", dump_netdev, NULL }, { "file", dump_file, NULL },
    { "maxlen", dump_maxlen, NULL }, { "queue", dump_queue, NULL }, { "status", dump_status, NULL }, { NULL, NULL, NULL },
};

int filter_dump_read(const struct option_list *l, struct net_dump_config *d, const char **netdev, bool *off, struct error *err)
{
    struct dump_request r = { .d = { .most_bytes = 65536 } };

    if (option_list_apply(l, "-object filter-dump", dump_keys, &r, err) < 0) return -1;
    if (!r.d.id || !r.netdev || !r.d.file) return error_set(err, "-object filter-dump needs id=, netdev= and file=");
    *d = r.d;
    *netdev = r.netdev;
    *off = r.off;
    return 0;
}

int option_filter_dump(struct vm_options *o, const char *arg, struct error *err)
{
    struct machine_config *c = &o->config;
    struct net_dump_config d;
    struct option_list l;
    const char *netdev;
    bool off;

    if (option_list_parse(&l, o->arena, arg, "qom-type", err) < 0) return -1;
    if (option_list_wants_help(&l)) return keys_show(o, "filter-dump", dump_keys);
    if (filter_dump_read(&l, &d, &netdev, &off, err) < 0) return -1;
    if (off) return 0;
    if (c->dump_count == CONFIG_DUMPS) return error_set(err, "-object filter-dump: more than %d", CONFIG_DUMPS);
    o->dump_netdev[c->dump_count] = netdev;
    c->dump[c->dump_count++] = d;
    return 0;
}
