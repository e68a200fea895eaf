/* SPDX-License-Identifier: GPL-2.0-or-later */
/* QMP: character devices, PCI, network cards, and lists of what there is none of. */
#include <string.h>

#include "base/bits.h"
#include "bus/pci.h"
#include "chardev/chardev.h"
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
    static const char *const names[] = { "file", "null", "pty", "qemu-vdagent", "socket", "stdio", "vc" };
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

/* ---- the rest ---- */

json_t *qmp_set_link(struct qmp *q, json_t *args, struct qmp_error *err)
{
    if (machine_link_set(qmp_machine(q), qmp_string(args, "name"), qmp_bool(args, "up", true), &err->error) == 0) return json_object();
    return qmp_no_device(err, qmp_string(args, "name"));
}

json_t *qmp_query_rx_filter(struct qmp *q, json_t *args, struct qmp_error *err) { return json_array(); }
json_t *qmp_query_tpm(struct qmp *q, json_t *args, struct qmp_error *err) { return json_array(); }
json_t *qmp_query_tpm_models(struct qmp *q, json_t *args, struct qmp_error *err) { return json_array(); }
json_t *qmp_query_tpm_types(struct qmp *q, json_t *args, struct qmp_error *err) { return json_array(); }
