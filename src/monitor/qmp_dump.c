/* SPDX-License-Identifier: GPL-2.0-or-later */
/* QMP: dump-guest-memory and what asks about it. */
#include <errno.h>
#include <fcntl.h>
#include <string.h>

#include "base/fdset.h"
#include "monitor/guest_dump.h"
#include "monitor/monitor_private.h"
#include "monitor/qmp_private.h"

/* file:PATH, fd:NAME. */
static int target_open(struct qmp *q, const char *protocol, struct qmp_error *err)
{
    int fd;

    if (!strncmp(protocol, "fd:", 3)) return qmp_descriptor_take(q, protocol + 3, err);
    if (strncmp(protocol, "file:", 5)) return qmp_fail(err, QMP_GENERIC, "Invalid parameter 'protocol'"), -1;
    fd = fdset_open(protocol + 5, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
    if (fd < 0) qmp_fail(err, QMP_GENERIC, "Could not open '%.200s': %s", protocol + 5, strerror(errno));
    return fd;
}

json_t *qmp_dump_guest_memory(struct qmp *q, json_t *args, struct qmp_error *err)
{
    json_t *begin = json_object_get(args, "begin"), *length = json_object_get(args, "length");
    struct guest_dump_config c = { .paging = qmp_bool(args, "paging", false), .detach = qmp_bool(args, "detach", false),
                                   .begin = (uint64_t)qmp_int(args, "begin", 0), .length = (uint64_t)qmp_int(args, "length", 0) };
    uint64_t done, total;

    if (guest_dump_progress(&done, &total) == GUEST_DUMP_ACTIVE) return qmp_fail(err, QMP_GENERIC, "There is a dump in process, please wait.");
    if (begin && !length) return qmp_fail(err, QMP_GENERIC, "Parameter 'length' is missing");
    if (length && !begin) return qmp_fail(err, QMP_GENERIC, "Parameter 'begin' is missing");
    if (length && (!c.length || c.length >> 52 || c.begin >> 52)) return qmp_fail(err, QMP_GENERIC, "Invalid parameter 'length'");
    c.fd = target_open(q, qmp_string(args, "protocol"), err);
    return c.fd < 0 ? NULL : qmp_result(guest_dump_run(qmp_machine(q), &c, &err->error));
}

json_t *qmp_query_dump(struct qmp *q, json_t *args, struct qmp_error *err)
{
    static const char *const names[] = { [GUEST_DUMP_NONE] = "none", [GUEST_DUMP_ACTIVE] = "active", [GUEST_DUMP_COMPLETED] = "completed",
                                         [GUEST_DUMP_FAILED] = "failed" };
    uint64_t done, total;
    enum guest_dump_state state = guest_dump_progress(&done, &total);

    return json_pack("{s:s, s:I, s:I}", "status", names[state], "completed", (json_int_t)done, "total", (json_int_t)total);
}

json_t *qmp_query_dump_guest_memory_capability(struct qmp *q, json_t *args, struct qmp_error *err)
{
    return json_pack("{s:[s]}", "formats", "elf");
}

static int dump_line(struct monitor *mon, const struct command_line *c, struct error *err)
{
    struct guest_dump_config d = { .fd = -1 };
    unsigned at = 1;

    for (; at < c->argc && c->argv[at][0] == '-'; at++) {
        if (!strcmp(c->argv[at], "-p")) d.paging = true;
        else if (!strcmp(c->argv[at], "-d")) d.detach = true;
        else return error_set(err, "'%s' is no option; known are -p (paging) and -d (detach)", c->argv[at]);
    }
    if (c->argc != at + 1 && c->argc != at + 3) return error_set(err, "[-p] [-d] FILE [BEGIN LENGTH] is wanted");
    if (c->argc == at + 3 && (expression_value(mon, c->argv[at + 1], NULL, &d.begin, err) < 0 || expression_value(mon, c->argv[at + 2], NULL, &d.length, err) < 0)) return -1;
    if (c->argc == at + 3 && (!d.length || d.length >> 52 || d.begin >> 52)) return error_set(err, "that is no range of physical memory");
    d.fd = fdset_open(c->argv[at], O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
    if (d.fd < 0) return error_set(err, "cannot write '%.200s': %s", c->argv[at], strerror(errno));
    return guest_dump_run(mon->m, &d, err);
}

const struct command dump_commands[] = {
    { "dump-guest-memory", "[-p] [-d] FILE [BEGIN LENGTH]", "write an ELF core for gdb and crash; -p: with virtual addresses, -d: go on meanwhile", dump_line, NULL },
    { NULL, NULL, NULL, NULL, NULL },
};
