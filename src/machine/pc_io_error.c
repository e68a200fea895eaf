/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * A drive's requests that fail on the host (werror=, rerror=). What shall stop the machine stops it from the main loop, once, however
 * many requests fail meanwhile; the devices keep them and try again in pc_started.
 */
#include <errno.h>
#include <string.h>

#include "base/bits.h"
#include "base/error.h"
#include "base/log.h"
#include "machine/pc_private.h"

static void stop_carry_out(void *opaque)
{
    struct machine *m = opaque;

    m->io_error_stops = false;
    if (machine_state(m) == RUN_RUNNING) machine_stop(m, RUN_IO_ERROR);
}

static void stop(void *opaque, bool is_read, int error)
{
    struct drive_owner *o = opaque;
    struct machine *m = o->m;
    char name[MACHINE_PATH_BYTES];

    if (!o->error) o->error = error;
    if (m->io_error_stops || machine_state(m) != RUN_RUNNING) return;
    m->io_error_stops = true;
    pc_drive_label(m, o->drive, name, sizeof(name));
    log_message("drive '%s': a %s failed: %s; the guest is stopped. %s, then give the monitor 'cont'", name,
                is_read ? "read" : "write", strerror(error), error == ENOSPC ? "Make room" : "Mend that");
    loop_post(stop_carry_out, m);
}

/* None if the image was taken away. */
static void node_name_add(struct machine *m, unsigned n, json_t *event)
{
    const struct drive_config *d = &m->config.drive[n];

    if (!m->drive[n] || block_is_abandoned(m->drive[n])) return;
    json_object_set_new(event, "node-name", d->is_node ? json_string(d->id) : json_sprintf("#block%u", n));
}

static void tell(void *opaque, bool is_read, int error, enum block_error_action action)
{
    static const char *const actions[] = { [BLOCK_ERROR_REPORT] = "report", [BLOCK_ERROR_IGNORE] = "ignore", [BLOCK_ERROR_STOP] = "stop" };
    struct drive_owner *o = opaque;
    json_t *event = json_pack("{s:s, s:s, s:s, s:b, s:s}", "device", config_drive_name(&o->m->config.drive[o->drive]), "operation", is_read ? "read" : "write",
                              "action", actions[action], "nospace", error == ENOSPC, "reason", strerror(error));

    node_name_add(o->m, o->drive, event);
    machine_event(o->m, "BLOCK_IO_ERROR", event);
}

void pc_io_errors_forget(struct machine *m)
{
    for (unsigned n = 0; n < ARRAY_SIZE(m->drive_owner); n++) m->drive_owner[n].error = 0;
}

int machine_drive_error(struct machine *m, unsigned i)
{
    int n = machine_drive_place(m, i);

    return n < 0 ? 0 : m->drive_owner[n].error;
}

bool pc_write_cache(const struct machine *m, unsigned drive)
{
    const struct drive_config *d = &m->config.drive[drive];

    if (d->write_cache != WRITE_CACHE_AUTO) return d->write_cache == WRITE_CACHE_ON;
    return d->open.cache != BLOCK_CACHE_WRITETHROUGH && d->open.cache != BLOCK_CACHE_DIRECTSYNC;
}

struct block_error_policy pc_error_policy(struct machine *m, unsigned drive)
{
    const struct drive_config *d = &m->config.drive[drive];

    m->drive_owner[drive] = (struct drive_owner){ m, drive };
    return (struct block_error_policy){ d->on_read_error, d->on_write_error, &m->drive_owner[drive], stop, tell };
}
