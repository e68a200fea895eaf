/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * QMP: descriptors that a client sends beside a command's text (SCM_RIGHTS over a Unix socket). getfd gives one a name, by which other
 * commands take it; add-fd puts it into a set (base/fdset.h), by which it stands for a file. Names belong to the client's monitor and
 * outlive its connection, as in QEMU: whoever comes next may close them.
 */
#include <ctype.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/fdset.h"
#include "chardev/chardev.h"
#include "display/vnc.h"
#include "monitor/qmp_private.h"

enum { NAMED_MAX = 256 };

struct qmp_descriptor {
    struct qmp_descriptor *next;
    int fd;
    char name[];
};

/* ---- names ---- */

static struct qmp_descriptor **named_find(struct qmp *q, const char *name)
{
    struct qmp_descriptor **at = qmp_descriptors(q);

    while (*at && strcmp((*at)->name, name)) at = &(*at)->next;
    return at;
}

/* Takes it out of the list; -1: there is none of this name. */
static int named_take(struct qmp *q, const char *name)
{
    struct qmp_descriptor **at = named_find(q, name), *d = *at;
    int fd;

    if (!d) return -1;
    fd = d->fd;
    *at = d->next;
    free(d);
    return fd;
}

void qmp_descriptors_free(struct qmp *q)
{
    for (struct qmp_descriptor *d; (d = *qmp_descriptors(q));) close(named_take(q, d->name));
}

static json_t *none_sent(struct qmp_error *err)
{
    return qmp_fail(err, QMP_GENERIC, "No file descriptor supplied via SCM_RIGHTS");
}

static unsigned named_count(struct qmp *q)
{
    unsigned n = 0;

    for (const struct qmp_descriptor *d = *qmp_descriptors(q); d; d = d->next) n++;
    return n;
}

json_t *qmp_getfd(struct qmp *q, json_t *args, struct qmp_error *err)
{
    const char *name = qmp_string(args, "fdname");
    int fd = chardev_descriptor_take(qmp_chardev(q)), old;
    struct qmp_descriptor *d;

    if (fd < 0) return none_sent(err);
    if (isdigit((unsigned char)*name)) {
        close(fd);
        return qmp_fail(err, QMP_GENERIC, "Parameter 'fdname' expects a name not starting with a digit");
    }
    old = named_take(q, name);
    if (old >= 0) close(old);
    d = named_count(q) < NAMED_MAX ? malloc(sizeof(*d) + strlen(name) + 1) : NULL;
    if (!d) {
        close(fd);
        return qmp_fail(err, QMP_GENERIC, "there is room for %d descriptors; closefd makes some", NAMED_MAX);
    }
    d->fd = fd;
    strcpy(d->name, name);
    d->next = *qmp_descriptors(q);
    *qmp_descriptors(q) = d;
    return json_object();
}

json_t *qmp_closefd(struct qmp *q, json_t *args, struct qmp_error *err)
{
    int fd = named_take(q, qmp_string(args, "fdname"));

    if (fd < 0) return qmp_fail(err, QMP_GENERIC, "File descriptor named '%.200s' not found", qmp_string(args, "fdname"));
    close(fd);
    return json_object();
}

int qmp_descriptor_take(struct qmp *q, const char *name, struct qmp_error *err)
{
    int fd = named_take(q, name);

    if (fd < 0) qmp_fail(err, QMP_GENERIC, "File descriptor named '%.200s' has not been found", name);
    return fd;
}

/* ---- sets ---- */

json_t *qmp_add_fd(struct qmp *q, json_t *args, struct qmp_error *err)
{
    int fd = chardev_descriptor_take(qmp_chardev(q));
    int64_t set = qmp_int(args, "fdset-id", -1);

    if (fd < 0) return none_sent(err);
    if (set < 0 && json_object_get(args, "fdset-id")) {
        close(fd);
        return qmp_fail(err, QMP_GENERIC, "Parameter 'fdset-id' expects a non-negative value");
    }
    set = fdset_add(set, fd, qmp_string(args, "opaque"), &err->error);
    return set < 0 ? NULL : json_pack("{s:I, s:i}", "fdset-id", (json_int_t)set, "fd", fd);
}

json_t *qmp_remove_fd(struct qmp *q, json_t *args, struct qmp_error *err)
{
    int64_t fd = qmp_int(args, "fd", -1);

    if (json_object_get(args, "fd") && fd < 0) fd = INT64_MAX;         /* none has this number */
    return qmp_result(fdset_remove(qmp_int(args, "fdset-id", 0), fd, &err->error));
}

/* In QEMU's order, which is the other way round. */
static void set_member_add(void *opaque, int64_t set, int fd, const char *text)
{
    json_t *all = opaque, *last = json_array_get(all, 0), *one = json_pack("{s:i}", "fd", fd);

    if (text) json_object_set_new(one, "opaque", qmp_text(text, strlen(text)));
    if (!last || json_integer_value(json_object_get(last, "fdset-id")) != set) {
        last = json_pack("{s:I, s:[]}", "fdset-id", (json_int_t)set, "fds");
        json_array_insert_new(all, 0, last);
    }
    json_array_insert_new(json_object_get(last, "fds"), 0, one);
}

json_t *qmp_query_fdsets(struct qmp *q, json_t *args, struct qmp_error *err)
{
    json_t *all = json_array();

    fdset_list(set_member_add, all);
    return all;
}

/* ---- who takes a connection that was made elsewhere ---- */

static int chardev_client(const struct chardevs *all, const char *label, int fd, struct error *err)
{
    for (struct chardev *c = chardev_next(all, NULL); c; c = chardev_next(all, c))
        if (!strcmp(chardev_label(c), label)) return chardev_client_add(c, fd, err);
    return error_set(err, "protocol '%.200s' is invalid", label);
}

json_t *qmp_add_client(struct qmp *q, json_t *args, struct qmp_error *err)
{
    const char *protocol = qmp_string(args, "protocol");
    struct vnc_server *vnc = machine_vnc(qmp_machine(q));
    int fd = qmp_descriptor_take(q, qmp_string(args, "fdname"), err), type, result;
    socklen_t size = sizeof(type);

    if (fd < 0) return NULL;
    if (getsockopt(fd, SOL_SOCKET, SO_TYPE, &type, &size) < 0) result = error_set(&err->error, "parameter @fdname must name a socket");
    else if (strcmp(protocol, "vnc")) result = chardev_client(machine_chardevs(qmp_machine(q)), protocol, fd, &err->error);
    else if (!vnc) result = error_set(&err->error, "there is no VNC server; start the machine with -vnc HOST:N");
    else {
        vnc_server_add(vnc, fd, qmp_bool(args, "skipauth", false));
        return json_object();
    }
    if (result < 0) close(fd);
    return qmp_result(result);
}
