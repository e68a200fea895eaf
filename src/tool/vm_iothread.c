/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * -object iothread, and iothread= of virtio disks and SCSI adapters. In QEMU they take a disk's work off the main loop; here requests run in
 * threads or in the kernel (io_uring) whatever the command line says, so all that is left of it is that the names fit, and that
 * query-iothreads lists them for those who set their affinity.
 */
#include <string.h>

#include "base/error.h"
#include "tool/vm_virtio_private.h"

static int set_accept(void *t, const char *v, struct error *err) { return 0; }

#define NOT_POLLED "nothing is polled in this version; leave it out"
const struct option_key iothread_keys[] = {
    { "qom-type", set_accept, NULL }, { "id", set_accept, NULL }, { "poll-max-ns", NULL, NOT_POLLED }, { "poll-grow", NULL, NOT_POLLED },
    { "poll-shrink", NULL, NOT_POLLED }, { "aio-max-batch", NULL, "requests of one notification are sent together always; leave it out" },
    { "thread-pool-min", NULL, "a disk has as many threads as it has work, at most eight; leave it out" },
    { "thread-pool-max", NULL, "a disk has as many threads as it has work, at most eight; leave it out" }, { NULL, NULL, NULL },
};

static bool is_there(const struct machine_config *c, const char *id)
{
    for (unsigned i = 0; i < c->iothread_count; i++)
        if (!strcmp(c->iothread[i], id)) return true;
    return false;
}

int object_iothread(struct vm_options *o, const struct option_list *l, struct error *err)
{
    struct machine_config *c = &o->config;
    const char *id = option_list_get(l, "id");

    if (option_list_wants_help(l)) return keys_show(o, "iothread", iothread_keys);
    if (option_list_apply(l, "-object iothread", iothread_keys, NULL, err) < 0) return -1;
    if (!id) return error_set(err, "-object iothread needs id=");
    if (c->iothread_count == CONFIG_IOTHREADS) return error_set(err, "-object: more than %d of iothread", CONFIG_IOTHREADS);
    c->iothread[c->iothread_count++] = id;
    return 0;
}

int virtio_set_iothread(void *t, const char *v, struct error *err)
{
    virtio_request_of(t)->iothread = v;
    return 0;
}

int iothread_check(const struct vm_options *o, const char *id, struct error *err)
{
    if (!id || is_there(&o->config, id)) return 0;
    return error_set(err, "iothread=%s: no -object iothread has the id '%s'", id, id);
}
