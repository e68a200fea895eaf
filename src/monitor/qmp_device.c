/* SPDX-License-Identifier: GPL-2.0-or-later */
/* QMP: character devices, PCI, network cards, and lists of what there is none of. */
#include <string.h>

#include "base/bits.h"
#include "bus/pci.h"
#include "chardev/chardev.h"
#include "device/virtio/virtio_net.h"
#include "monitor/monitor_private.h"
#include "monitor/qmp_private.h"

json_t *qmp_query_chardev(struct qmp *q, json_t *args, struct qmp_error *err)
{
    const struct chardevs *set = machine_chardevs(qmp_machine(q));
    json_t *all = json_array();

    for (const struct chardev *c = chardev_next(set, NULL); c; c = chardev_next(set, c)) {
        const char *label = chardev_label(c), *name = chardev_description(c);

        json_array_append_new(all, json_pack("{s:o, s:o, s:b}", "label", qmp_text(label, strlen(label)), "filename", qmp_text(name, strlen(name)),
                                             "frontend-open", chardev_has_frontend(c)));
    }
    return all;
}

json_t *qmp_query_chardev_backends(struct qmp *q, json_t *args, struct qmp_error *err)
{
    static const char *const names[] = { "file", "memory", "null", "pty", "qemu-vdagent", "ringbuf", "socket", "stdio", "udp", "vc" };
    json_t *all = json_array();

    for (unsigned i = 0; i < ARRAY_SIZE(names); i++) json_array_append_new(all, json_pack("{s:s}", "name", names[i]));
    return all;
}

/* ---- PCI ---- */

static unsigned config_u16(const struct pci_device *d, unsigned at)
{
    return d->config[at] | d->config[at + 1] << 8;
}

static json_t *region(const struct pci_device *d, unsigned i)
{
    const struct pci_bar *bar = &d->bar[i];
    bool io = bar->flags & PCI_BAR_IO, wide = bar->flags & PCI_BAR_64;
    unsigned command = config_u16(d, 4), enabled = io ? 1 : 2;
    uint64_t address = 0;
    json_t *r;

    memcpy(&address, d->config + 0x10 + 4 * i, wide ? 8 : 4);
    address &= io ? ~3ull : ~15ull;
    r = json_pack("{s:i, s:s, s:I, s:I}", "bar", (int)i, "type", io ? "io" : "memory", "address",
                  command & enabled ? (json_int_t)address : (json_int_t)-1, "size", (json_int_t)bar->size);
    if (io) return r;
    json_object_set_new(r, "prefetch", json_boolean(bar->flags & PCI_BAR_PREFETCH));
    json_object_set_new(r, "mem_type_64", json_boolean(wide));
    return r;
}

static json_t *function_info(const struct pci_device *d)
{
    unsigned class = config_u16(d, 0x0a), pin = d->config[0x3d];
    const char *id = d->device.id ? d->device.id : "", *desc = pci_class_name(class);
    json_t *regions = json_array(), *f;

    for (unsigned i = 0; i < ARRAY_SIZE(d->bar); i++)
        if (d->bar[i].size) json_array_append_new(regions, region(d, i));
    f = json_pack("{s:i, s:i, s:i, s:{s:i}, s:{s:i, s:i, s:i, s:i}, s:i, s:o, s:o}", "bus", 0, "slot", d->devfn >> 3, "function", d->devfn & 7,
                  "class_info", "class", (int)class, "id", "device", (int)config_u16(d, 2), "vendor", (int)config_u16(d, 0), "subsystem",
                  (int)config_u16(d, 0x2e), "subsystem-vendor", (int)config_u16(d, 0x2c), "irq_pin", (int)pin, "qdev_id", qmp_text(id, strlen(id)),
                  "regions", regions);
    if (desc) json_object_set_new(json_object_get(f, "class_info"), "desc", json_string(desc));
    if (pin) json_object_set_new(f, "irq", json_integer(d->config[0x3c]));
    return f;
}

json_t *qmp_query_pci(struct qmp *q, json_t *args, struct qmp_error *err)
{
    struct pci_bus *bus = machine_pci_bus(qmp_machine(q));
    json_t *devices = json_array();

    for (unsigned devfn = 0; bus && devfn < 256; devfn++) {
        const struct pci_device *d = pci_bus_device(bus, devfn);

        if (d) json_array_append_new(devices, function_info(d));
    }
    return json_pack("[{s:i, s:o}]", "bus", 0, "devices", devices);
}

/* ---- network cards ---- */

static json_t *mac_text(const uint8_t *a) { return json_sprintf("%02x:%02x:%02x:%02x:%02x:%02x", a[0], a[1], a[2], a[3], a[4], a[5]); }

static json_t *mac_list(const uint8_t (*table)[6], unsigned count)
{
    json_t *list = json_array();

    for (unsigned i = 0; i < count; i++) json_array_append_new(list, mac_text(table[i]));
    return list;
}

static json_t *vlan_list(const struct virtio_net_rx *rx)
{
    json_t *list = json_array();

    for (unsigned i = 0; i < rx->vlan_count; i++)
        if (rx->vlans[i / 64] >> i % 64 & 1) json_array_append_new(list, json_integer(i));
    return list;
}

static json_t *rx_filter(const char *name, struct virtio *v)
{
    static const char *const states[] = { [VIRTIO_NET_RX_NORMAL] = "normal", [VIRTIO_NET_RX_NONE] = "none", [VIRTIO_NET_RX_ALL] = "all" };
    struct virtio_net_rx rx;

    virtio_net_rx_get(v, &rx);
    return json_pack("{s:s, s:b, s:s, s:s, s:s, s:b, s:b, s:b, s:o, s:o, s:o, s:o}", "name", name, "promiscuous", rx.promiscuous, "multicast",
                     states[rx.multicast], "unicast", states[rx.unicast], "vlan", states[rx.vlan], "broadcast-allowed", rx.broadcast, "multicast-overflow",
                     rx.multicast_overflow, "unicast-overflow", rx.unicast_overflow, "main-mac", mac_text(rx.mac), "vlan-table", vlan_list(&rx),
                     "unicast-table", mac_list(rx.unicast_table, rx.unicast_count), "multicast-table", mac_list(rx.multicast_table, rx.multicast_count));
}

json_t *qmp_query_rx_filter(struct qmp *q, json_t *args, struct qmp_error *err)
{
    struct machine *m = qmp_machine(q);
    const char *wanted = qmp_string(args, "name"), *name;
    json_t *all = json_array();
    struct virtio *v;

    for (unsigned i = 0; machine_nic(m, i, &name, &v); i++) {
        if (!name || (wanted && strcmp(name, wanted))) continue;
        if (v) json_array_append_new(all, rx_filter(name, v));
        else if (wanted) qmp_fail(err, QMP_GENERIC, "net client(%.64s) doesn't support rx-filter querying", name);
        if (wanted && v) return all;
        if (!wanted) continue;
        json_decref(all);
        return NULL;
    }
    if (!wanted) return all;
    json_decref(all);
    return qmp_fail(err, QMP_GENERIC, "invalid net client name: %.200s", wanted);
}

/* ---- the rest ---- */

json_t *qmp_set_link(struct qmp *q, json_t *args, struct qmp_error *err)
{
    if (machine_link_set(qmp_machine(q), qmp_string(args, "name"), qmp_bool(args, "up", true), &err->error) == 0) return json_object();
    return qmp_no_device(err, qmp_string(args, "name"));
}

json_t *qmp_query_tpm(struct qmp *q, json_t *args, struct qmp_error *err) { return json_array(); }
json_t *qmp_query_tpm_models(struct qmp *q, json_t *args, struct qmp_error *err) { return json_array(); }
json_t *qmp_query_tpm_types(struct qmp *q, json_t *args, struct qmp_error *err) { return json_array(); }
