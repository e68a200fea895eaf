/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Networks of the board, its network cards, and what the monitor does with them. Networks are made first: they
 * may fail, and no image is open yet. Cards of -nic and -net come before devices of -device, as on QEMU's board.
 */
#include <errno.h>
#include <fcntl.h>
#include <netdb.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include "base/bits.h"
#include "base/error.h"
#include "base/log.h"
#include "device/net/e1000.h"
#include "device/net/ne2k_pci.h"
#include "device/net/rtl8139.h"
#include "machine/event.h"
#include "machine/pc_private.h"
#include "net/backend.h"
#include "net/hub.h"
#include "net/user.h"

/* ---- networks ---- */

static struct net_hub *hub_find(struct machine *m, unsigned number, struct error *err)
{
    unsigned i = 0;

    while (i < CONFIG_NETDEVS && m->hub[i] && net_hub_number(m->hub[i]) != number) i++;
    if (i < CONFIG_NETDEVS && !m->hub[i]) m->hub[i] = net_hub_new(number, err);
    if (i == CONFIG_NETDEVS) error_set(err, "more than %d hubs", CONFIG_NETDEVS);
    return i < CONFIG_NETDEVS ? m->hub[i] : NULL;
}

static struct net_backend *hub_port_create(struct machine *m, const struct netdev_config *d, struct error *err)
{
    struct net_hub *h = hub_find(m, d->hub, err);

    return h ? net_hub_port_new(h, d->id, err) : NULL;
}

/* Those that are not for one card alone. */
static int hubs_join(struct machine *m, struct error *err)
{
    for (unsigned i = 0; i < m->config.netdev_count; i++) {
        const struct netdev_config *d = &m->config.netdev[i];
        struct net_hub *h = d->has_hub && d->kind != NETDEV_HUBPORT ? hub_find(m, d->hub, err) : NULL;

        if (d->has_hub && d->kind != NETDEV_HUBPORT && (!h || net_hub_join(h, m->netdev[i], err) < 0)) return -1;
    }
    return 0;
}

static struct net_backend *user_network_create(struct machine *m, const struct netdev_config *d, struct error *err)
{
    struct net_backend *b = net_user_new(d->id, &d->user, err);

    if (!b || pc_guestfwds_create(m, b, &d->user, err) == 0) return b;
    net_free(b);
    return NULL;
}

/* As QEMU's SocketAddress. */
static json_t *address_describe(const struct sockaddr_storage *a)
{
    const struct sockaddr_un *u = (const struct sockaddr_un *)a;
    char host[NI_MAXHOST], port[NI_MAXSERV];

    if (a->ss_family == AF_UNIX) {
        json_t *path = json_string(u->sun_path);       /* NULL: it is no UTF-8 */

        return json_pack("{s:s, s:o}", "type", "unix", "path", path ? path : json_string(""));
    }
    if (getnameinfo((const struct sockaddr *)a, sizeof(*a), host, sizeof(host), port, sizeof(port), NI_NUMERICHOST | NI_NUMERICSERV))
        return json_pack("{s:s, s:s}", "type", "fd", "str", "");
    return json_pack("{s:s, s:s, s:s, s:b}", "type", "inet", "host", host, "port", port, a->ss_family == AF_INET6 ? "ipv6" : "ipv4", 1);
}

static void peer_changed(void *opaque, const char *id, const struct sockaddr_storage *peer)
{
    if (peer) machine_event(opaque, "NETDEV_STREAM_CONNECTED", json_pack("{s:s, s:o}", "netdev-id", id, "addr", address_describe(peer)));
    else machine_event(opaque, "NETDEV_STREAM_DISCONNECTED", json_pack("{s:s}", "netdev-id", id));
}

static struct net_backend *socket_network_create(struct machine *m, const struct netdev_config *d, struct error *err)
{
    struct net_socket_config c = d->socket;

    c.event = peer_changed;
    c.opaque = m;
    return net_socket_new(d->id, &c, err);
}

void pc_network_free(struct machine *m, struct net_backend *b)
{
    if (b) pc_guestfwds_close(m, b);
    net_free(b);
}

struct net_backend *pc_network_create(struct machine *m, const struct netdev_config *d, struct error *err)
{
    switch (d->kind) {
    case NETDEV_NONE: return net_none_new(d->id, err);
    case NETDEV_TAP: return net_tap_new(d->id, &d->tap, err);
    case NETDEV_STREAM: case NETDEV_DGRAM: return socket_network_create(m, d, err);
    case NETDEV_USER: return user_network_create(m, d, err);
    case NETDEV_HUBPORT: return hub_port_create(m, d, err);
    }
    return NULL;
}

int pc_networks_create(struct machine *m, struct error *err)
{
    for (unsigned i = 0; i < m->config.netdev_count; i++) {
        m->netdev[i] = pc_network_create(m, &m->config.netdev[i], err);
        if (!m->netdev[i]) return error_prefix(err, "network %s", m->config.netdev[i].id);
    }
    for (unsigned i = 0; i < m->config.dump_count; i++) {
        const struct net_dump_config *d = &m->config.dump[i];

        if (net_dump_start(m->netdev[d->netdev], d->id, d->file, d->most_bytes, d->way, err) < 0) return error_prefix(err, "filter-dump");
    }
    return hubs_join(m, err);
}

int machine_dump_add(struct machine *m, const char *netdev, const struct net_dump_config *d, struct error *err)
{
    int n = pc_netdev_find(m, netdev);

    if (n < 0) return error_set(err, "there is no network '%s'; 'info network' lists them", netdev);
    return net_dump_start(m->netdev[n], d->id, d->file, d->most_bytes, d->way, err);
}

bool machine_dump_exists(const struct machine *m, const char *id)
{
    for (unsigned i = 0; i < m->config.netdev_count; i++)
        if (m->netdev[i] && net_dump_exists(m->netdev[i], id)) return true;
    return false;
}

bool machine_dump_del(struct machine *m, const char *id)
{
    for (unsigned i = 0; i < m->config.netdev_count; i++)
        if (m->netdev[i] && net_dump_stop(m->netdev[i], id)) return true;
    return false;
}

static bool has_network(const struct machine *m, const struct net_hub *h)
{
    for (unsigned i = 0; i < m->config.netdev_count; i++)
        if (m->config.netdev[i].kind != NETDEV_HUBPORT && net_hub_has(h, m->netdev[i])) return true;
    return false;
}

void pc_networks_check(const struct machine *m)
{
    for (unsigned i = 0; i < CONFIG_NETDEVS && m->hub[i]; i++)
        if (!has_network(m, m->hub[i])) log_message("warning: hub %u is not connected to host network", net_hub_number(m->hub[i]));
    for (unsigned i = 0; i < m->config.netdev_count; i++)
        if (m->netdev[i] && m->config.netdev[i].kind != NETDEV_NONE && !net_is_attached(m->netdev[i])) log_message("warning: netdev %s has no peer", m->config.netdev[i].id);
    for (unsigned i = 0; i < m->nic_count; i++)
        for (unsigned n = 0; n < m->config.netdev_count; n++)
            if (m->netdev[n] == m->nic[i].backend && m->config.netdev[n].kind == NETDEV_NONE) log_message("warning: nic %s has no peer", m->nic[i].name);
}

void pc_networks_started(struct machine *m)
{
    for (unsigned i = 0; i < m->config.netdev_count; i++)
        if (m->netdev[i]) net_resume(m->netdev[i]), net_runs_changed(m->netdev[i]);
}

void pc_networks_stopped(struct machine *m)
{
    for (unsigned i = 0; i < m->config.netdev_count; i++)
        if (m->netdev[i]) net_runs_changed(m->netdev[i]);
}

void pc_networks_destroy(struct machine *m)
{
    pc_announces_end(m);
    pc_roms_free(m);
    for (unsigned i = 0; i < CONFIG_NETDEVS; i++) net_hub_free(m->hub[i]);
    for (unsigned i = 0; i < m->config.netdev_count; i++) pc_network_free(m, m->netdev[i]);
}

/* ---- cards ---- */

int pc_nic_note(struct machine *m, const char *model, const struct nic_common *c, const char *default_rom, struct machine_nic **nic, uint32_t *rom_bytes,
                struct error *err)
{
    struct machine_nic *n;
    char path[128];
    unsigned same = 0, at = 0;

    while (at < m->nic_count && m->nic[at].backend) at++;          /* a place that became free, or a new one */
    if (at == ARRAY_SIZE(m->nic)) return error_set(err, "more than %zu network cards", ARRAY_SIZE(m->nic));
    for (unsigned i = 0; i < m->nic_count; i++) same += m->nic[i].backend && !strcmp(m->nic[i].model, model);
    n = &m->nic[at];
    *n = (struct machine_nic){ .model = model, .backend = m->netdev[c->netdev], .boot_rank = c->boot_rank };
    memcpy(n->mac, c->mac, sizeof(n->mac));
    if (c->id) snprintf(n->name, sizeof(n->name), "%.63s", c->id);
    else snprintf(n->name, sizeof(n->name), "%s.%u", model, same);
    m->nic_count = MAX(m->nic_count, at + 1);
    *nic = n;
    *rom_bytes = 0;
    if (c->rom && !*c->rom) return 0;
    if (c->rom) return pc_rom_read(m, &n->rom, c->rom, rom_bytes, err);
    snprintf(path, sizeof(path), "%s%s", PC_ROM_FOLDER, default_rom);
    if (access(path, R_OK) == 0) return pc_rom_read(m, &n->rom, path, rom_bytes, err);
    if (strchr(m->config.boot_order, 'n') || strchr(m->config.boot_once, 'n'))
        log_message("%s: there is no option ROM to boot from the network with; run 'apt install ipxe-qemu'", n->name);
    return 0;
}

static struct device *virtio_create(struct machine *m, const struct nic_config *c, struct error *err)
{
    struct virtio_device_config d = { .kind = VIRTIO_KIND_NET, .pci.devfn = c->devfn, .nic = c->common, .id = c->common.id };

    d.has_vectors = c->vectors >= 0;
    if (d.has_vectors) d.pci.vectors = (unsigned)c->vectors;
    return pc_virtio_add(m, &d, err);
}

/* Those that are no virtio. */
static const struct {
    const char *name, *rom;
    uint16_t vendor, device;
    struct device *(*create)(const struct nic_device_config *config, struct error *err);
} cards[] = {
    [NIC_E1000] = { "e1000", "efi-e1000.rom", 0x8086, 0x100e, e1000_new }, [NIC_RTL8139] = { "rtl8139", "efi-rtl8139.rom", 0x10ec, 0x8139, rtl8139_new },
    [NIC_NE2K_PCI] = { "ne2k_pci", "efi-ne2k_pci.rom", 0x10ec, 0x8029, ne2k_pci_new },
};

struct device *pc_nic_create(struct machine *m, const struct nic_config *c, struct error *err)
{
    struct nic_device_config d = { .bus = m->pci, .devfn = c->devfn, .memory = m->memory, .id = c->common.id };
    struct machine_nic *nic;
    struct device *device;

    if (c->model == NIC_VIRTIO) return virtio_create(m, c, err);
    if (pc_nic_note(m, cards[c->model].name, &c->common, cards[c->model].rom, &nic, &d.rom_bytes, err) < 0) return NULL;
    if (nic->rom && !c->common.rom) pc_rom_device_set(nic->rom, d.rom_bytes, cards[c->model].vendor, cards[c->model].device);
    memcpy(d.mac, c->common.mac, sizeof(d.mac));
    d.backend = nic->backend;
    d.rom = nic->rom;
    device = cards[c->model].create(&d, err);
    if (!device) return NULL;
    nic->device = device;
    pc_device_add(m, device);
    return device;
}

void pc_nic_forget(struct machine *m, struct machine_nic *nic)
{
    struct machine_memory memory = nic->memory;

    pc_rom_leave(m, nic->rom);
    *nic = (struct machine_nic){ .backend = NULL };
    machine_memory_free(&memory);
}

int pc_nics_create(struct machine *m, int before, struct error *err)
{
    for (unsigned i = 0; i < m->config.nic_count; i++)
        if (m->config.nic[i].before == before && !pc_nic_create(m, &m->config.nic[i], err)) return -1;
    return 0;
}

/* ---- for the monitor ---- */

static void nic_describe(const struct machine_nic *n, char *line, size_t size)
{
    const uint8_t *a = n->mac;

    snprintf(line, size, "%s: index=0,type=nic,model=%s,macaddr=%02x:%02x:%02x:%02x:%02x:%02x%s", n->name, n->model, a[0], a[1], a[2], a[3], a[4], a[5],
             net_link_is_up(n->backend) ? "" : ",link=off");
}

static bool is_on_hub(const struct machine *m, const struct net_backend *b)
{
    for (unsigned i = 0; i < CONFIG_NETDEVS && m->hub[i]; i++)
        if (net_hub_has(m->hub[i], b)) return true;
    return false;
}

static void hub_info(struct machine *m, const struct net_hub *h, void (*print)(void *opaque, const char *line), void *opaque)
{
    char line[512], text[400];

    snprintf(line, sizeof(line), "hub %u", net_hub_number(h));
    print(opaque, line);
    for (unsigned i = 0; i < m->nic_count; i++) {
        if (!m->nic[i].backend || !net_hub_has(h, m->nic[i].backend)) continue;
        nic_describe(&m->nic[i], text, sizeof(text));
        snprintf(line, sizeof(line), " \\ %.64s: %s", net_id(m->nic[i].backend), text);
        print(opaque, line);
    }
    for (unsigned i = 0; i < m->config.netdev_count; i++) {
        if (!m->netdev[i] || !net_hub_has(h, m->netdev[i])) continue;
        if (m->config.netdev[i].kind == NETDEV_HUBPORT) {
            snprintf(line, sizeof(line), " \\ %.64s", net_id(m->netdev[i]));
            if (!net_is_attached(m->netdev[i])) print(opaque, line);       /* a place that is free */
            continue;
        }
        net_describe(m->netdev[i], text, sizeof(text));
        snprintf(line, sizeof(line), " \\ %s", text);
        print(opaque, line);
    }
}

/* What a card without a network is on. */
static bool is_none(const struct machine *m, const struct net_backend *b)
{
    unsigned i = 0;

    while (i < m->config.netdev_count && m->netdev[i] != b) i++;
    return i < m->config.netdev_count && m->config.netdev[i].kind == NETDEV_NONE;
}

void machine_net_info(struct machine *m, void (*print)(void *opaque, const char *line), void *opaque)
{
    char line[512], net[400];

    for (unsigned i = 0; i < CONFIG_NETDEVS && m->hub[i]; i++) hub_info(m, m->hub[i], print, opaque);
    for (unsigned i = 0; i < m->nic_count; i++) {
        const struct machine_nic *n = &m->nic[i];

        if (!n->backend || is_on_hub(m, n->backend)) continue;
        nic_describe(n, line, sizeof(line));
        print(opaque, line);
        if (is_none(m, n->backend)) continue;
        net_describe(n->backend, net, sizeof(net));
        snprintf(line, sizeof(line), " \\ %s", net);
        print(opaque, line);
    }
    for (unsigned i = 0; i < m->config.netdev_count; i++) {
        if (!m->netdev[i] || net_is_attached(m->netdev[i]) || m->config.netdev[i].kind == NETDEV_NONE || is_on_hub(m, m->netdev[i])) continue;
        net_describe(m->netdev[i], net, sizeof(net));
        print(opaque, net);
    }
}

void machine_usernet_info(struct machine *m, void (*print)(void *opaque, const char *line), void *opaque)
{
    for (unsigned i = 0; i < m->config.netdev_count; i++) {
        int hub = -1;
        char line[128];

        if (!m->netdev[i] || !net_is_user(m->netdev[i])) continue;
        for (unsigned h = 0; h < CONFIG_NETDEVS && m->hub[h]; h++)
            if (net_hub_has(m->hub[h], m->netdev[i])) hub = (int)net_hub_number(m->hub[h]);
        snprintf(line, sizeof(line), "Hub %d (%.100s):", hub, net_id(m->netdev[i]));
        print(opaque, line);
        net_user_info(m->netdev[i], print, opaque);
    }
}

int machine_link_set(struct machine *m, const char *name, bool up, struct error *err)
{
    for (unsigned i = 0; i < m->config.netdev_count; i++)
        if (m->netdev[i] && !strcmp(net_id(m->netdev[i]), name)) {
            net_link_set(m->netdev[i], up);
            return 0;
        }
    for (unsigned i = 0; i < m->nic_count; i++)
        if (m->nic[i].backend && !strcmp(m->nic[i].name, name)) {
            net_card_link_set(m->nic[i].backend, up);
            return 0;
        }
    return error_set(err, "device '%s' not found; 'info network' lists cards and networks", name);
}

/* id NULL: the first. */
static struct net_backend *user_network(struct machine *m, const char *id, struct error *err)
{
    for (unsigned i = 0; i < m->config.netdev_count; i++)
        if (m->netdev[i] && net_is_user(m->netdev[i]) && (!id || !strcmp(net_id(m->netdev[i]), id))) return m->netdev[i];
    error_set(err, id ? "there is no user network '%s'" : "there is no user network", id);
    return NULL;
}

int machine_hostfwd_add(struct machine *m, const char *netdev, const char *rule, struct error *err)
{
    struct net_backend *b = user_network(m, netdev, err);

    return b ? net_user_forward_add(b, rule, err) : -1;
}

int machine_hostfwd_remove(struct machine *m, const char *netdev, const char *rule, struct error *err)
{
    struct net_backend *b = user_network(m, netdev, err);

    return b ? net_user_forward_remove(b, rule, err) : -1;
}

bool machine_nic(struct machine *m, unsigned i, const char **name, struct virtio **v)
{
    if (i >= m->nic_count) return false;
    *name = m->nic[i].backend ? m->nic[i].name : NULL;
    *v = m->nic[i].v;
    return true;
}

void pc_nic_filter_changed(void *machine, struct virtio *v)
{
    struct machine *m = machine;
    unsigned i = 0, number = m->vcpu_count;              /* of a card without an id: its place among such devices, after the processors */
    json_t *path;

    while (i < m->nic_count && m->nic[i].v != v) i++;
    if (i == m->nic_count || !m->nic[i].device) return;
    for (const struct device *d = m->nic[i].device->next; d; d = d->next) number += !d->id;
    if (m->nic[i].device->id) path = json_sprintf("/machine/peripheral/%s/virtio-backend", m->nic[i].device->id);
    else path = json_sprintf("/machine/unattached/device[%u]/virtio-backend", number);
    machine_event(m, "NIC_RX_FILTER_CHANGED", json_pack("{s:s, s:o}", "name", m->nic[i].name, "path", path));
}
