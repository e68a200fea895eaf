/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Ports of virtio serial buses that come and go. Their character devices stay. */
#include <stdio.h>
#include <string.h>

#include "base/error.h"
#include "chardev/chardev.h"
#include "machine/pc_private.h"

/* bus=ID.0 names a virtio-serial device, virtio-serial0.0 and so on those without id; without it the first one takes the port. */
static int bus_find(const struct machine *m, const char *bus, struct error *err)
{
    struct config_bus_search s = { .bus = bus };

    for (unsigned i = 0; i < m->config.virtio_count; i++) {
        const struct virtio_device_config *c = &m->config.virtio[i];

        if (m->virtio[i] && c->kind == VIRTIO_KIND_SERIAL && config_bus_is(&s, c->id, "virtio-serial", "virtio-serial-bus")) return (int)i;
    }
    return error_set(err, bus ? "there is no bus '%s'" : "there is no virtio-serial bus; add virtio-serial-pci first", bus);
}

/* Port 0 is for a console. */
static int number_find(const struct virtio_console_config *c, struct machine_device_request *r, struct error *err)
{
    unsigned nr = r->port.has_nr ? r->port.nr : !r->port.port.is_console;

    while (!r->port.has_nr && nr < c->ports_max && c->port[nr].present) nr++;
    r->port.nr = nr;
    if (nr >= c->ports_max) return error_set(err, r->port.has_nr ? "nr=%u: the bus has ports 0 to %u" : "all ports of the bus are taken", nr, c->ports_max - 1);
    if (c->port[nr].present) return error_set(err, "a port with nr=%u is there already", nr);
    return nr || r->port.port.is_console ? 0 : error_set(err, "port 0 is for a virtconsole; choose another nr=");
}

static int chardev_take(struct machine *m, struct machine_device_request *r, struct error *err)
{
    struct chardev *c = r->port.chardev ? pc_chardev_find(m, r->port.chardev) : NULL;

    if (!r->port.chardev) return 0;
    if (c && chardev_has_frontend(c)) return error_set(err, "character device '%s' is in use already", r->port.chardev);
    if (!c && !r->port.spec) return error_set(err, "there is no character device '%s'; chardev-add makes one", r->port.chardev);
    r->port.port.chardev = c ? c : pc_chardev_open(m, r->port.chardev, r->port.spec, err);
    return r->port.port.chardev ? 0 : -1;
}

int pc_port_add(struct machine *m, struct machine_device_request *r, struct machine_memory *memory, struct error *err)
{
    int i = bus_find(m, r->port.bus, err);
    struct virtio_console_config *c = i < 0 ? NULL : &m->config.virtio[i].console;

    if (i < 0 || number_find(c, r, err) < 0 || chardev_take(m, r, err) < 0) return -1;
    r->port.port.present = true;
    if (virtio_console_port_add(virtio_pci_device(m->virtio[i]), r->port.nr, &r->port.port, err) < 0) return -1;
    c->port[r->port.nr] = r->port.port;
    m->port_memory[i][r->port.nr] = *memory;
    return 0;
}

bool pc_port_find(const struct machine *m, const char *id, unsigned *bus, unsigned *nr)
{
    for (*bus = 0; *bus < m->config.virtio_count; ++*bus) {
        const struct virtio_device_config *c = &m->config.virtio[*bus];

        if (!m->virtio[*bus] || c->kind != VIRTIO_KIND_SERIAL) continue;
        for (*nr = 0; *nr < c->console.ports_max; ++*nr)
            if (c->console.port[*nr].present && c->console.port[*nr].id && !strcmp(c->console.port[*nr].id, id)) return true;
    }
    return false;
}

/* Its bus is gone, or it is about to go. */
static void port_forget(struct machine *m, unsigned bus, unsigned nr)
{
    struct virtio_console_port_config *p = &m->config.virtio[bus].console.port[nr];

    if (p->present) pc_device_deleted(m, p->id, false);
    *p = (struct virtio_console_port_config){ .present = false };
    machine_memory_free(&m->port_memory[bus][nr]);
}

void pc_port_remove(struct machine *m, unsigned bus, unsigned nr)
{
    virtio_console_port_remove(virtio_pci_device(m->virtio[bus]), nr);
    port_forget(m, bus, nr);
}

void pc_ports_forget(struct machine *m, unsigned bus)
{
    for (unsigned nr = 0; nr < VIRTIO_CONSOLE_PORTS_MAX; nr++) port_forget(m, bus, nr);
}

bool machine_port_exists(const struct machine *m, const char *id)
{
    unsigned bus, nr;

    return pc_port_find(m, id, &bus, &nr);
}
