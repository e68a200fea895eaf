/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Serial ports: -serial, which fills them in order, and -device isa-serial, which says which one; read when all -serial are known. */
#include <string.h>

#include "base/bits.h"
#include "base/error.h"
#include "tool/vm_options_private.h"

static const struct { uint16_t port; uint8_t irq; } com[CONFIG_SERIALS] = { { 0x3f8, 4 }, { 0x2f8, 3 }, { 0x3e8, 4 }, { 0x2e8, 3 } };

int option_serial(struct vm_options *o, const char *arg, struct error *err)
{
    if (o->config.serial_count == CONFIG_SERIALS)
        return error_set(err, "-serial: a PC has at most %d serial ports", CONFIG_SERIALS);
    if (!*arg) return error_set(err, "-serial wants stdio, mon:stdio, file:PATH, pty, unix:PATH, tcp:HOST:PORT, null or none");
    o->config.serial[o->config.serial_count++] = arg;
    o->serial_given = true;
    return 0;
}

struct serial_request { const char *id, *chardev; uint64_t index, iobase, irq; bool has_index, has_iobase, has_irq; };

static int accept(void *t, const char *v, struct error *err) { return 0; }
static int set_id(void *t, const char *v, struct error *err) { ((struct serial_request *)t)->id = v; return 0; }
static int set_chardev(void *t, const char *v, struct error *err) { ((struct serial_request *)t)->chardev = v; return 0; }

static int set_index(void *t, const char *v, struct error *err)
{
    struct serial_request *r = t;

    r->has_index = true;
    return value_unsigned("index", v, CONFIG_SERIALS - 1, &r->index, err);
}

static int set_iobase(void *t, const char *v, struct error *err)
{
    struct serial_request *r = t;

    r->has_iobase = true;
    return value_unsigned("iobase", v, 0xffff, &r->iobase, err);
}

static int set_irq(void *t, const char *v, struct error *err)
{
    struct serial_request *r = t;

    r->has_irq = true;
    return value_unsigned("irq", v, 15, &r->irq, err);
}

static int set_bus(void *t, const char *v, struct error *err)
{
    return strcmp(v, "isa.0") ? error_set(err, "there is no bus '%s'; serial ports are on isa.0", v) : 0;
}

static const struct option_key serial_keys[] = {
    { "driver", accept, NULL }, { "id", set_id, NULL }, { "bus", set_bus, NULL }, { "chardev", set_chardev, NULL }, { "index", set_index, NULL },
    { "iobase", set_iobase, NULL }, { "irq", set_irq, NULL }, { NULL, NULL, NULL },
};

int device_isa_serial(struct vm_options *o, const char *arg, const struct option_list *l, struct error *err)
{
    if (option_list_wants_help(l)) return keys_show(o, "isa-serial", serial_keys);
    if (o->serial_device_count == CONFIG_SERIALS) return error_set(err, "-device isa-serial: a PC has at most %d serial ports", CONFIG_SERIALS);
    o->serial_device[o->serial_device_count++] = arg;
    o->serial_given = true;
    return 0;
}

static int place_find(const struct machine_config *c, const struct serial_request *r, struct error *err)
{
    unsigned i = r->has_index ? (unsigned)r->index : 0;

    if (!r->has_index && r->has_iobase)
        while (i < CONFIG_SERIALS && com[i].port != r->iobase) i++;
    else if (!r->has_index)
        while (i < CONFIG_SERIALS && c->serial[i]) i++;
    if (i == CONFIG_SERIALS && r->has_iobase) return error_set(err, "iobase=%#llx: serial ports are at 0x3f8, 0x2f8, 0x3e8 and 0x2e8", (unsigned long long)r->iobase);
    if (i == CONFIG_SERIALS) return error_set(err, "a PC has at most %d serial ports", CONFIG_SERIALS);
    if (r->has_iobase && com[i].port != r->iobase) return error_set(err, "serial port %u is at %#x", i, com[i].port);
    if (r->has_irq && com[i].irq != r->irq) return error_set(err, "serial port %u has the IRQ %u", i, com[i].irq);
    return c->serial[i] ? error_set(err, "serial port %u is taken", i) : (int)i;
}

static int serial_add(struct vm_options *o, const char *text, struct error *err)
{
    struct machine_config *c = &o->config;
    struct serial_request r = { .id = NULL };
    struct option_list l;
    int i;

    if (option_list_parse(&l, o->arena, text, "driver", err) < 0 || option_list_apply(&l, "-device isa-serial", serial_keys, &r, err) < 0) return -1;
    if (!r.chardev) return error_set(err, "-device isa-serial needs chardev=ID");
    if ((i = place_find(c, &r, err)) < 0) return error_prefix(err, "-device isa-serial");
    c->serial[i] = arena_format(o->arena, "chardev:%s", r.chardev);
    c->serial_id[i] = r.id;
    c->serial_count = MAX(c->serial_count, (unsigned)i + 1);
    return 0;
}

int serials_finish(struct vm_options *o, struct error *err)
{
    struct machine_config *c = &o->config;

    for (unsigned i = 0; i < o->serial_device_count; i++)
        if (serial_add(o, o->serial_device[i], err) < 0) return -1;
    for (unsigned i = 0; i < c->serial_count; i++)
        if (c->serial[i] && !(c->serial[i] = chardev_take(o, c->serial[i], err))) return error_prefix(err, c->serial_id[i] ? "-device isa-serial" : "-serial");
    return 0;
}
