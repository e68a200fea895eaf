/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Commands that add and remove devices, drives and networks; see machine/hotplug.h. */
#include <ctype.h>
#include <stdlib.h>
#include <string.h>

#include "base/bits.h"
#include "machine/hotplug.h"
#include "monitor/monitor_private.h"

static int cmd_device_add(struct monitor *mon, const struct command_line *c, struct error *err)
{
    if (c->argc < 2) return error_set(err, "NAME[,PROP=V...] is wanted, as for -device");
    return machine_device_add(mon->m, c->rest[1], err);
}

static int cmd_device_del(struct monitor *mon, const struct command_line *c, struct error *err)
{
    if (c->argc != 2) return error_set(err, "a device's id is wanted; 'info qtree' shows them");
    return machine_device_del(mon->m, c->argv[1], err);
}

/* As in qemu the drive's text stands behind a PCI address, which says nothing with if=none. */
static int cmd_drive_add(struct monitor *mon, const struct command_line *c, struct error *err)
{
    unsigned at = 1 + (c->argc > 1 && !strcmp(c->argv[1], "-n"));

    if (c->argc == at + 2) at++;
    if (c->argc != at + 1) return error_set(err, "[ADDR] if=none,id=ID,file=FILE[,PROP=V...] is wanted, as for -drive");
    if (machine_drive_add(mon->m, c->rest[at], err) < 0) return -1;
    monitor_print(mon, "OK\n");
    return 0;
}

static int cmd_drive_del(struct monitor *mon, const struct command_line *c, struct error *err)
{
    if (c->argc != 2) return error_set(err, "a drive's id is wanted; 'info block' shows them");
    return machine_drive_del(mon->m, c->argv[1], err);
}

/* In MiB unless a letter stands behind it, as in qemu. */
static int size_read(const char *text, uint64_t *size, struct error *err)
{
    static const char letters[] = "bkmgt";
    char *end;
    double n = strtod(text, &end);
    const char *letter = *end ? strchr(letters, tolower((unsigned char)*end)) : letters + 2;

    if (end == text || !letter || (*end && end[1]) || !(n > 0) || n * (double)(1ull << 10 * (letter - letters)) > (double)INT64_MAX / 2)
        return error_set(err, "'%s' is no size; for example 20G", text);
    *size = (uint64_t)(n * (double)(1ull << 10 * (letter - letters)));
    return 0;
}

static int cmd_block_resize(struct monitor *mon, const struct command_line *c, struct error *err)
{
    uint64_t size = 0;
    unsigned i;

    if (c->argc != 3) return error_set(err, "DRIVE and SIZE are wanted: block_resize disk0 20G");
    if (size_read(c->argv[2], &size, err) < 0 || monitor_drive_find(mon, c->argv[1], &i, err) < 0) return -1;
    return machine_drive_resize(mon->m, i, size, err);
}

static int cmd_netdev_add(struct monitor *mon, const struct command_line *c, struct error *err)
{
    if (c->argc < 2) return error_set(err, "TYPE,id=ID[,PROP=V...] is wanted, as for -netdev");
    return machine_netdev_add(mon->m, c->rest[1], err);
}

static int cmd_netdev_del(struct monitor *mon, const struct command_line *c, struct error *err)
{
    if (c->argc != 2) return error_set(err, "a network's id is wanted; 'info network' shows them");
    return machine_netdev_del(mon->m, c->argv[1], err);
}

static int cmd_chardev_add(struct monitor *mon, const struct command_line *c, struct error *err)
{
    const char *description;

    if (c->argc < 2) return error_set(err, "BACKEND,id=ID[,PROP=V...] is wanted, as for -chardev");
    if (machine_chardev_add(mon->m, c->rest[1], &description, err) < 0) return -1;
    if (!strncmp(description, "pty:", 4)) monitor_print(mon, "char device redirected to %s\n", description + 4);
    return 0;
}

static int cmd_chardev_remove(struct monitor *mon, const struct command_line *c, struct error *err)
{
    if (c->argc != 2) return error_set(err, "a character device's id is wanted; 'info chardev' shows them");
    return machine_chardev_remove(mon->m, c->argv[1], err);
}

static int cmd_object_add(struct monitor *mon, const struct command_line *c, struct error *err)
{
    if (c->argc < 2) return error_set(err, "TYPE,id=ID[,PROP=V...] is wanted, as for -object");
    return machine_object_add(mon->m, c->rest[1], err);
}

static int cmd_object_del(struct monitor *mon, const struct command_line *c, struct error *err)
{
    if (c->argc != 2) return error_set(err, "an object's id is wanted");
    return machine_object_del(mon->m, c->argv[1], err);
}

const struct command hotplug_commands[] = {
    { "device_add", "NAME[,PROP=V...]", "add a device, as -device does: virtio-blk-pci,drive=ID,id=ID", cmd_device_add, NULL },
    { "device_del", "ID", "ask the guest to let go of a device, which then goes", cmd_device_del, NULL },
    { "drive_add", "[ADDR] if=none,id=ID,file=FILE[,PROP=V...]", "add a drive for device_add, as -drive does", cmd_drive_add, NULL },
    { "drive_del", "ID", "close a drive; a device that uses it stays, and gets errors", cmd_drive_del, NULL },
    { "block_resize", "DRIVE SIZE[K|M|G|T]", "give a drive another size (in MiB without a letter); the guest is told", cmd_block_resize, NULL },
    { "block_set_io_throttle", "DRIVE BPS BPS_RD BPS_WR IOPS IOPS_RD IOPS_WR", "limit a drive to so many bytes and requests a second; 0: no limit",
      cmd_block_set_io_throttle, NULL },
    { "netdev_add", "TYPE,id=ID[,PROP=V...]", "add a network for device_add, as -netdev does", cmd_netdev_add, NULL },
    { "netdev_del", "ID", "remove a network that no card uses", cmd_netdev_del, NULL },
    { "object_add", "TYPE,id=ID[,PROP=V...]", "add an object, as -object does: rng-random, rng-builtin, secret, filter-dump", cmd_object_add, NULL },
    { "object_del", "ID", "remove one that no device uses", cmd_object_del, NULL },
    { "chardev-add", "BACKEND,id=ID[,PROP=V...]", "add a character device for device_add virtserialport, as -chardev does", cmd_chardev_add, NULL },
    { "chardev-remove", "ID", "close one that no device uses", cmd_chardev_remove, NULL },
    { NULL, NULL, NULL, NULL, NULL },
};
