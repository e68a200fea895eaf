/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Network cards of the command line: -nic, -net nic, -device of cards, properties of virtio-net. Which network a card is on
 * is looked up when all options are known (nics_finish), since -device may come before -netdev.
 */
#include <ctype.h>
#include <stdio.h>
#include <string.h>

#include "base/bits.h"
#include "base/error.h"
#include "base/nearest.h"
#include "tool/vm_virtio_private.h"

enum { MAC_BYTES = 6 };

static int mac_read(const char *v, uint8_t *mac, struct error *err)
{
    const char *p = v;

    for (unsigned i = 0; i < MAC_BYTES; i++) {
        int high = tolower((unsigned char)p[0]), low = high ? tolower((unsigned char)p[1]) : 0;

        if (!isxdigit(high) || !isxdigit(low) || (i < MAC_BYTES - 1 ? p[2] != ':' && p[2] != '-' : p[2] != 0))
            return error_set(err, "'%s' is no MAC address; write it as 52:54:00:12:34:56", v);
        mac[i] = (uint8_t)((high > '9' ? high - 'a' + 10 : high - '0') << 4 | (low > '9' ? low - 'a' + 10 : low - '0'));
        p += 3;
    }
    return mac[0] & 1 ? error_set(err, "'%s' is a multicast address; the first byte of a card's is even", v) : 0;
}

/* Then one is made up. */
static bool mac_is_zero(const uint8_t *mac) { return !memcmp(mac, (const uint8_t[MAC_BYTES]){ 0 }, MAC_BYTES); }

/* ---- virtio-net ---- */

static struct virtio_request *of(void *t) { return t; }

#define FEATURE(name, bit) \
    static int virtio_##name(void *t, const char *v, struct error *err) { return feature_set(t, #name, v, BIT(bit), err); }

static int feature_set(struct virtio_request *r, const char *name, const char *v, uint64_t bits, struct error *err)
{
    bool on = true;

    if (value_bool(name, v, &on, err) < 0) return -1;
    if (on) r->d.net.left_out &= ~bits;
    else r->d.net.left_out |= bits;
    return 0;
}

FEATURE(csum, VIRTIO_NET_CSUM)
FEATURE(guest_csum, VIRTIO_NET_GUEST_CSUM)
FEATURE(guest_tso4, VIRTIO_NET_GUEST_TSO4)
FEATURE(guest_tso6, VIRTIO_NET_GUEST_TSO6)
FEATURE(guest_ecn, VIRTIO_NET_GUEST_ECN)
FEATURE(guest_announce, VIRTIO_NET_GUEST_ANNOUNCE)
FEATURE(host_tso4, VIRTIO_NET_HOST_TSO4)
FEATURE(host_tso6, VIRTIO_NET_HOST_TSO6)
FEATURE(host_ecn, VIRTIO_NET_HOST_ECN)
FEATURE(mrg_rxbuf, VIRTIO_NET_MRG_RXBUF)
FEATURE(status, VIRTIO_NET_STATUS)
FEATURE(ctrl_vq, VIRTIO_NET_CTRL_VQ)
FEATURE(ctrl_rx, VIRTIO_NET_CTRL_RX)
FEATURE(ctrl_vlan, VIRTIO_NET_CTRL_VLAN)
FEATURE(ctrl_rx_extra, VIRTIO_NET_CTRL_RX_EXTRA)
FEATURE(ctrl_mac_addr, VIRTIO_NET_CTRL_MAC_ADDR)
FEATURE(ctrl_guest_offloads, VIRTIO_NET_CTRL_GUEST_OFFLOADS)

static int virtio_gso(void *t, const char *v, struct error *err)
{
    return feature_set(t, "gso", v, BIT(VIRTIO_NET_HOST_TSO4) | BIT(VIRTIO_NET_HOST_TSO6) | BIT(VIRTIO_NET_HOST_ECN), err);
}

static int virtio_netdev(void *t, const char *v, struct error *err) { of(t)->netdev = v; return 0; }
static int virtio_mq(void *t, const char *v, struct error *err) { return value_bool("mq", v, &of(t)->d.net.multiqueue, err); }

static int virtio_mac(void *t, const char *v, struct error *err)
{
    if (mac_read(v, of(t)->d.nic.mac, err) < 0) return -1;
    of(t)->has_mac = !mac_is_zero(of(t)->d.nic.mac);
    return 0;
}

static int queue_size(const char *name, const char *v, uint16_t *to, struct error *err)
{
    uint64_t n;

    if (value_unsigned(name, v, VIRTQUEUE_SIZE_MAX, &n, err) < 0) return -1;
    if (n < 256 || n & (n - 1)) return error_set(err, "%s=%s: it is a power of two from 256 to %d", name, v, VIRTQUEUE_SIZE_MAX);
    *to = (uint16_t)n;
    return 0;
}

static int virtio_rx_size(void *t, const char *v, struct error *err) { return queue_size("rx_queue_size", v, &of(t)->d.net.rx_queue_size, err); }
static int virtio_tx_size(void *t, const char *v, struct error *err) { return queue_size("tx_queue_size", v, &of(t)->d.net.tx_queue_size, err); }

static int virtio_mtu(void *t, const char *v, struct error *err)
{
    uint64_t n;

    if (value_unsigned("host_mtu", v, 65535, &n, err) < 0) return -1;
    if (n && n < 68) return error_set(err, "host_mtu=%s: it is at least 68", v);
    of(t)->d.net.mtu = (uint16_t)n;
    return 0;
}

static int virtio_speed(void *t, const char *v, struct error *err)
{
    uint64_t n;

    if (!strcmp(v, "-1")) return 0;                      /* not known */
    if (value_unsigned("speed", v, INT32_MAX, &n, err) < 0) return -1;
    of(t)->d.net.speed_mbit = (int32_t)n;
    return 0;
}

static int virtio_duplex(void *t, const char *v, struct error *err)
{
    unsigned which;

    if (value_choice("duplex", v, (const char *const[]){ "full", "half", NULL }, &which, err) < 0) return -1;
    of(t)->d.net.half_duplex = which;
    return 0;
}

static int virtio_romfile(void *t, const char *v, struct error *err) { of(t)->d.nic.rom = v; return 0; }

static int rombar(const char *v, const char **rom, struct error *err)
{
    uint64_t on;

    if (value_unsigned("rombar", v, UINT32_MAX, &on, err) < 0) return -1;
    if (!on) *rom = "";
    return 0;
}

static int virtio_rombar(void *t, const char *v, struct error *err) { return rombar(v, &of(t)->d.nic.rom, err); }

static int virtio_tx(void *t, const char *v, struct error *err)
{
    return strcmp(v, "bh") ? error_set(err, "tx=%s is not supported in this version; only 'bh' is", v) : 0;
}

static int virtio_boot_index(void *t, const char *v, struct error *err) { return boot_index_set(of(t)->o, v, &of(t)->d.nic.boot_rank, err); }

const struct option_key virtio_net_keys[] = {
    { "netdev", virtio_netdev, NULL }, { "mac", virtio_mac, NULL }, { "csum", virtio_csum, NULL }, { "guest_csum", virtio_guest_csum, NULL },
    { "gso", virtio_gso, NULL }, { "guest_tso4", virtio_guest_tso4, NULL }, { "guest_tso6", virtio_guest_tso6, NULL }, { "guest_ecn", virtio_guest_ecn, NULL },
    { "guest_announce", virtio_guest_announce, NULL }, { "host_tso4", virtio_host_tso4, NULL }, { "host_tso6", virtio_host_tso6, NULL },
    { "host_ecn", virtio_host_ecn, NULL }, { "mrg_rxbuf", virtio_mrg_rxbuf, NULL }, { "status", virtio_status, NULL }, { "ctrl_vq", virtio_ctrl_vq, NULL },
    { "ctrl_rx", virtio_ctrl_rx, NULL }, { "ctrl_vlan", virtio_ctrl_vlan, NULL }, { "ctrl_rx_extra", virtio_ctrl_rx_extra, NULL },
    { "ctrl_mac_addr", virtio_ctrl_mac_addr, NULL }, { "ctrl_guest_offloads", virtio_ctrl_guest_offloads, NULL }, { "mq", virtio_mq, NULL },
    { "rx_queue_size", virtio_rx_size, NULL }, { "tx_queue_size", virtio_tx_size, NULL }, { "host_mtu", virtio_mtu, NULL }, { "speed", virtio_speed, NULL },
    { "duplex", virtio_duplex, NULL }, { "romfile", virtio_romfile, NULL }, { "rombar", virtio_rombar, NULL }, { "tx", virtio_tx, NULL },
    { "guest_ufo", option_off_only, NULL }, { "host_ufo", option_off_only, NULL }, { "rss", option_off_only, NULL },
    { "hash", option_off_only, NULL }, { "guest_rsc_ext", option_off_only, NULL }, { "failover", option_off_only, NULL },
    { "bootindex", virtio_boot_index, NULL }, VIRTIO_COMMON_KEYS,
};

/* ---- other cards ---- */

struct nic_request {
    struct vm_options *o;
    struct nic_config c;
    const char *netdev;
    bool has_mac;
};

static const struct { const char *name, *short_name; enum nic_model model; } models[] = {
    { "virtio-net-pci", "virtio", NIC_VIRTIO }, { "e1000", "e1000-82540em", NIC_E1000 },
    { "rtl8139", "rtl8139", NIC_RTL8139 }, { "ne2k_pci", "ne2k_pci", NIC_NE2K_PCI },
};

static struct nic_request *nic(void *t) { return t; }
static int nic_accept(void *t, const char *v, struct error *err) { return 0; }
static int nic_netdev(void *t, const char *v, struct error *err) { nic(t)->netdev = v; return 0; }

static int nic_mac(void *t, const char *v, struct error *err)
{
    if (mac_read(v, nic(t)->c.common.mac, err) < 0) return -1;
    nic(t)->has_mac = !mac_is_zero(nic(t)->c.common.mac);
    return 0;
}

static int nic_addr(void *t, const char *v, struct error *err)
{
    struct virtio_request r = { .o = nic(t)->o };

    if (virtio_set_addr(&r, v, err) < 0) return -1;
    nic(t)->c.devfn = r.d.pci.devfn;
    return 0;
}

static int nic_vectors(void *t, const char *v, struct error *err)
{
    uint64_t n;

    if (value_unsigned("vectors", v, 2048, &n, err) < 0) return -1;
    nic(t)->c.vectors = (int)n;
    return 0;
}

static int nic_model(void *t, const char *v, struct error *err)
{
    struct nearest near;

    nearest_begin(&near, v);
    for (unsigned i = 0; i < ARRAY_SIZE(models); i++) {
        nic(t)->c.model = models[i].model;
        if (!strcmp(models[i].name, v) || !strcmp(models[i].short_name, v)) return 0;
        nearest_offer(&near, models[i].name);
        nearest_offer(&near, models[i].short_name);
    }
    if (nearest_result(&near)) return error_set(err, "unsupported NIC model '%s'; did you mean '%s'?", v, near.best);
    return error_set(err, "unsupported NIC model '%s'; 'model=help' lists them", v);
}

/* Of -nic and -net nic. */
static const struct option_key legacy_keys[] = {
    { "model", nic_model, NULL }, { "mac", nic_mac, NULL }, { "macaddr", nic_mac, NULL }, { "addr", nic_addr, NULL },
    { "netdev", nic_netdev, NULL }, { "type", nic_accept, NULL }, { "name", nic_accept, NULL }, { "id", nic_accept, NULL }, { "vectors", nic_vectors, NULL },
    { NULL, NULL, NULL },
};

static int nic_id(void *t, const char *v, struct error *err) { nic(t)->c.common.id = v; return 0; }
static int nic_romfile(void *t, const char *v, struct error *err) { nic(t)->c.common.rom = v; return 0; }
static int nic_rombar(void *t, const char *v, struct error *err) { return rombar(v, &nic(t)->c.common.rom, err); }

static int nic_boot_index(void *t, const char *v, struct error *err) { return boot_index_set(nic(t)->o, v, &nic(t)->c.common.boot_rank, err); }

/* Of -device with a card that is no virtio. */
static const struct option_key device_keys[] = {
    { "driver", nic_accept, NULL }, { "id", nic_id, NULL }, { "netdev", nic_netdev, NULL }, { "mac", nic_mac, NULL }, { "addr", nic_addr, NULL },
    { "bus", virtio_set_bus, NULL }, { "romfile", nic_romfile, NULL }, { "rombar", nic_rombar, NULL }, { "multifunction", virtio_set_multifunction, NULL },
    { "bootindex", nic_boot_index, NULL }, { NULL, NULL, NULL },
};

/* A card that -device did not make gets what -global says, but for what was said of it. */
static int nic_globals(struct vm_options *o, struct nic_request *r, struct error *err)
{
    const char *name = NULL;
    struct vm_global *g;
    unsigned at = 0;

    for (unsigned i = 0; i < ARRAY_SIZE(models); i++)
        if (models[i].model == r->c.model) name = models[i].name;
    if (r->c.before != NIC_LEGACY || !name) return 0;
    if (r->c.model != NIC_VIRTIO) return globals_apply(o, name, device_keys, r->has_mac ? "mac" : NULL, r, err);
    if (!global_next(o, name, &at, &g)) return 0;
    return error_set(err, "-global %s: virtio cards of -nic and -net do not take it; use -netdev and -device virtio-net-pci", g->text);
}

static int nic_add(struct vm_options *o, const struct nic_request *given, struct error *err)
{
    struct nic_request copy = *given, *r = &copy;

    struct machine_config *c = &o->config;

    if (c->nic_count == CONFIG_NICS) return error_set(err, "more than %d network cards", CONFIG_NICS);
    copy.o = o;
    if (nic_globals(o, r, err) < 0) return -1;
    o->nic_netdev[c->nic_count] = r->netdev;
    o->nic_has_mac[c->nic_count] = r->has_mac;
    c->nic[c->nic_count++] = r->c;
    return 0;
}

int device_nic(struct vm_options *o, const char *arg, const struct option_list *l, struct error *err)
{
    struct nic_request r = { .o = o, .c = { .devfn = -1, .vectors = -1, .before = (int)o->config.virtio_count } };
    const char *name = l->pair[0].value;

    if (nic_model(&r, name, err) < 0) return -1;
    if (option_list_wants_help(l)) return keys_show(o, name, device_keys);
    if (option_list_apply(l, arena_format(o->arena, "-device %s", name), device_keys, &r, err) < 0) return -1;
    return nic_add(o, &r, err);
}

static int models_show(void)
{
    printf("Available NIC models:\n");
    for (unsigned i = 0; i < ARRAY_SIZE(models); i++) printf("%s\n", models[i].name);
    return VM_OPTIONS_HELP_SHOWN;
}

static bool wants_models(const struct option_list *l)
{
    const char *model = option_list_get(l, "model");

    return model && (!strcmp(model, "help") || !strcmp(model, "?"));
}

/* What is about the card goes to card, the rest stays. */
static void card_take(struct option_list *l, struct option_list *card)
{
    static const char *const names[] = { "model", "mac", "macaddr", "addr", "vectors", NULL };
    unsigned kept = 0;

    card->count = 0;
    for (unsigned i = 0; i < l->count; i++) {
        bool is_card = false;

        for (unsigned n = 0; names[n]; n++) is_card |= !strcmp(names[n], l->pair[i].key);
        if (is_card) card->pair[card->count++] = l->pair[i];
        else l->pair[kept++] = l->pair[i];
    }
    l->count = kept;
}

static const struct nic_request legacy_nic = { .c = { .model = NIC_E1000, .devfn = -1, .vectors = -1, .before = NIC_LEGACY } };

int option_nic(struct vm_options *o, const char *arg, struct error *err)
{
    struct nic_request r = legacy_nic;
    struct option_list l, card;
    struct netdev_config *d;

    o->net_given = true;
    r.o = o;
    if (!strcmp(arg, "none")) return 0;
    if (option_list_parse(&l, o->arena, arg, "type", err) < 0) return -1;
    if (wants_models(&l)) return models_show();
    if (!option_list_get(&l, "type")) {                  /* as QEMU has it */
        if (l.count == OPTION_PAIRS) return error_set(err, "-nic: more than %d items", OPTION_PAIRS);
        l.pair[l.count].bare = false;
        l.pair[l.count].key = "type";
        l.pair[l.count++].value = "user";
    }
    if (!strcmp(option_list_get(&l, "type"), "none")) return 0;
    card_take(&l, &card);
    if (option_list_apply(&card, "-nic", legacy_keys, &r, err) < 0) return -1;
    d = netdev_add(o, "-nic", &l, err);
    if (!d) return -1;
    r.netdev = d->id;
    return nic_add(o, &r, err);
}

/* The old way: all cards and networks of -net are on one hub, see nets_connect. */
int option_net(struct vm_options *o, const char *arg, struct error *err)
{
    struct nic_request r = legacy_nic;
    struct option_list l;
    struct netdev_config *d;

    o->net_given = true;
    r.o = o;
    if (!strcmp(arg, "none")) return 0;
    if (option_list_parse(&l, o->arena, arg, "type", err) < 0) return -1;
    if (wants_models(&l)) return models_show();
    if (!option_list_get(&l, "type")) return error_set(err, "-net begins with nic or a network's type");
    if (!strcmp(option_list_get(&l, "type"), "nic")) {
        if (option_list_apply(&l, "-net nic", legacy_keys, &r, err) < 0 || nic_add(o, &r, err) < 0) return -1;
        if (r.netdev) return 0;
        o->nic_on_net[o->config.nic_count - 1] = true;
        return 0;
    }
    d = netdev_add(o, "-net", &l, err);
    if (!d) return -1;
    o->netdev_on_net[d - o->config.netdev] = true;
    return 0;
}

/* ---- the end ---- */

static int network_find(struct vm_options *o, const char *who, const char *id, unsigned *index, struct error *err)
{
    struct machine_config *c = &o->config;
    struct netdev_config *d = NULL;

    if (!id) d = netdev_new(o, arena_format(o->arena, "none%u", c->netdev_count), NETDEV_NONE, err);   /* a card without a cable */
    for (unsigned i = 0; id && i < c->netdev_count; i++)
        if (!strcmp(c->netdev[i].id, id)) d = &c->netdev[i];
    if (!d) return id ? error_set(err, "%s: no -netdev has the id '%s'", who, id) : -1;
    if (d->has_card) return error_set(err, "%s: network '%s' is in use already", who, id);
    d->has_card = true;
    *index = (unsigned)(d - c->netdev);
    return 0;
}

struct cards { unsigned count; struct nic_common *card[CONFIG_NICS + CONFIG_VIRTIO]; bool has_mac[CONFIG_NICS + CONFIG_VIRTIO]; };

static int card_finish(struct vm_options *o, struct cards *all, struct nic_common *c, const char *netdev, bool has_mac, const char *name, struct error *err)
{
    if (network_find(o, c->id ? c->id : name, netdev, &c->netdev, err) < 0) return -1;
    all->card[all->count] = c;
    all->has_mac[all->count++] = has_mac;
    return 0;
}

static int nics_before(struct vm_options *o, struct cards *all, int before, struct error *err)
{
    for (unsigned i = 0; i < o->config.nic_count; i++) {
        struct nic_config *n = &o->config.nic[i];

        if (n->before != before) continue;
        if (card_finish(o, all, &n->common, o->nic_netdev[i], o->nic_has_mac[i], models[n->model].name, err) < 0) return -1;
    }
    return 0;
}

static bool mac_is_used(const struct cards *all, unsigned limit, const uint8_t *mac)
{
    for (unsigned i = 0; i < all->count; i++)
        if ((i < limit || all->has_mac[i]) && !memcmp(all->card[i]->mac, mac, MAC_BYTES)) return true;
    return false;
}

/* As qemu's: 52:54:00:12:34:56 and the following. */
static void macs_make(struct cards *all)
{
    for (unsigned i = 0; i < all->count; i++) {
        uint8_t mac[MAC_BYTES] = { 0x52, 0x54, 0, 0x12, 0x34, 0x56 };

        if (all->has_mac[i]) continue;
        while (mac_is_used(all, i, mac)) mac[5]++;
        memcpy(all->card[i]->mac, mac, MAC_BYTES);
    }
}

static int dumps_finish(struct vm_options *o, struct error *err)
{
    struct machine_config *c = &o->config;

    for (unsigned i = 0; i < c->dump_count; i++) {
        unsigned n = 0;

        while (n < c->netdev_count && strcmp(c->netdev[n].id, o->dump_netdev[i])) n++;
        if (n == c->netdev_count) return error_set(err, "-object filter-dump: no -netdev has the id '%s'", o->dump_netdev[i]);
        c->dump[i].netdev = n;
    }
    return 0;
}

/* As qemu's: -net nic -net user. */
static int default_add(struct vm_options *o, struct error *err)
{
    struct netdev_config *d = netdev_new(o, NULL, NETDEV_USER, err);
    struct nic_request r = legacy_nic;

    if (!d) return -1;
    r.netdev = d->id;
    return nic_add(o, &r, err);
}

static unsigned flags_count(const bool *flag, unsigned count, unsigned *last)
{
    unsigned n = 0;

    for (unsigned i = 0; i < count; i++)
        if (flag[i]) *last = i, n++;
    return n;
}

/* Cards and networks of -net: one of each are a pair, more share hub 0. */
static int nets_connect(struct vm_options *o, struct error *err)
{
    struct machine_config *c = &o->config;
    unsigned nic = 0, network = 0, networks = c->netdev_count, port = 0;
    unsigned nics = flags_count(o->nic_on_net, CONFIG_NICS, &nic), count = flags_count(o->netdev_on_net, networks, &network);
    bool has_hub = false;

    for (unsigned i = 0; i < networks; i++) has_hub |= c->netdev[i].kind == NETDEV_HUBPORT && c->netdev[i].hub == 0;
    for (unsigned i = 0; i < o->hub_joins; i++) has_hub |= o->hub_join[i].hub == 0;
    if (nics + count < 2 && !has_hub) return 0;
    if (nics == 1 && count == 1 && !has_hub) {
        o->nic_netdev[nic] = c->netdev[network].id;
        return 0;
    }
    for (unsigned i = 0; i < networks; i++)
        if (o->netdev_on_net[i]) c->netdev[i].has_hub = c->netdev[i].has_card = true;
    for (unsigned i = 0; i < CONFIG_NICS; i++) {
        struct netdev_config *d = o->nic_on_net[i] ? netdev_new(o, arena_format(o->arena, "hub0port%u", port++), NETDEV_HUBPORT, err) : NULL;

        if (o->nic_on_net[i] && !d) return -1;
        if (!d) continue;
        d->has_hub = true;
        o->nic_netdev[i] = d->id;
    }
    return 0;
}

/* -netdev hubport,netdev=: the network is on the hub. */
static int hubs_finish(struct vm_options *o, struct error *err)
{
    for (unsigned i = 0; i < o->hub_joins; i++) {
        unsigned n = 0;

        if (network_find(o, "-netdev hubport", o->hub_join[i].netdev, &n, err) < 0) return -1;
        if (o->config.netdev[n].kind == NETDEV_HUBPORT)
            return error_set(err, "-netdev hubport: netdev=%s is a port of a hub itself; name a network, or leave out netdev=", o->hub_join[i].netdev);
        o->config.netdev[n].has_hub = true;
        o->config.netdev[n].hub = o->hub_join[i].hub;
    }
    return 0;
}

int nics_finish(struct vm_options *o, struct error *err)
{
    struct machine_config *c = &o->config;
    struct cards all = { .count = 0 };

    if (!o->net_given && !o->nodefaults && default_add(o, err) < 0) return -1;
    if (nets_connect(o, err) < 0 || hubs_finish(o, err) < 0) return -1;
    if (nics_before(o, &all, NIC_LEGACY, err) < 0) return -1;
    for (unsigned i = 0; i < c->virtio_count; i++) {
        if (nics_before(o, &all, (int)i, err) < 0) return -1;
        if (c->virtio[i].kind != VIRTIO_KIND_NET) continue;
        c->virtio[i].nic.id = c->virtio[i].id;
        if (card_finish(o, &all, &c->virtio[i].nic, o->virtio_netdev[i], o->virtio_has_mac[i], "virtio-net-pci", err) < 0) return -1;
    }
    if (nics_before(o, &all, (int)c->virtio_count, err) < 0) return -1;
    macs_make(&all);
    return dumps_finish(o, err);
}
