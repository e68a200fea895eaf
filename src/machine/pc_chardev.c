/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Character devices that no device of the board owns: those behind virtio ports and guestfwd rules, and what chardev-add made. They outlive their frontends and are
 * found by their labels.
 */
#include <stdio.h>
#include <string.h>

#include "base/error.h"
#include "chardev/chardev.h"
#include "machine/pc_private.h"

struct chardev *pc_chardev_find(const struct machine *m, const char *label)
{
    struct chardev *c = NULL;

    while ((c = chardev_next(m->chardevs, c)) && strcmp(chardev_label(c), label)) {}
    return c;
}

struct chardev *pc_chardev_open(struct machine *m, const char *what, const char *spec, struct error *err)
{
    struct error why = { "" };
    struct chardev *c;
    char label[24];
    unsigned n = 0;

    while (n < m->chardev_count && m->chardev[n]) n++;
    if (n == CONFIG_VIRTIO_PORTS) {
        error_set(err, "more than %d character devices for ports", CONFIG_VIRTIO_PORTS);
        return NULL;
    }
    if (m->runs && !strncmp(spec, "qemu-vdagent", 12)) {
        error_set(err, "%s: qemu-vdagent must be at a port from the start", what);
        return NULL;
    }
    c = chardev_open(m->chardevs, spec, &why);
    if (c && pc_clipboard_connect(m, c, &why) < 0) {
        chardev_close(c);
        c = NULL;
    }
    if (!c) {
        error_set(err, "%s: %s: %s", what, spec, why.text[0] ? why.text : "it is none");
        return NULL;
    }
    snprintf(label, sizeof(label), "virtioport%u", n);
    chardev_label_set(c, label);
    m->chardev[n] = c;
    if (n == m->chardev_count) m->chardev_count++;
    return c;
}

void pc_chardev_drop(struct machine *m, struct chardev *c)
{
    for (unsigned i = 0; i < m->chardev_count; i++) {
        if (m->chardev[i] != c) continue;
        pc_clipboard_disconnect(m, c);
        chardev_close(c);
        m->chardev[i] = NULL;
    }
}

void pc_chardevs_close(struct machine *m)
{
    for (unsigned i = 0; i < m->chardev_count; i++)
        if (m->chardev[i]) chardev_close(m->chardev[i]);
    m->chardev_count = 0;
}

int machine_chardev_add(struct machine *m, const char *text, const char **description, struct error *err)
{
    struct machine_memory memory = { NULL, NULL };
    const char *id, *spec;
    struct chardev *c = NULL;

    if (m->parser.chardev(m->parser.opaque, text, &id, &spec, &memory, err) < 0) return -1;
    if (pc_chardev_find(m, id)) error_set(err, "Chardev with id '%s' already exists", id);
    else c = pc_chardev_open(m, id, spec, err);
    if (c) *description = chardev_description(c);
    machine_memory_free(&memory);
    return c ? 0 : -1;
}

int machine_chardev_remove(struct machine *m, const char *id, struct error *err)
{
    struct chardev *c = pc_chardev_find(m, id);

    if (!c) return error_set(err, "Chardev '%s' not found", id);
    for (unsigned i = 0; i < m->chardev_count && !chardev_has_frontend(c); i++) {
        if (m->chardev[i] != c) continue;
        pc_chardev_drop(m, c);
        return 0;
    }
    return error_set(err, "Chardev '%s' is busy", id);
}
