/* SPDX-License-Identifier: GPL-2.0-or-later */
/* QMP: processors and memory. */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/bits.h"
#include "engine/engine.h"
#include "memory/map.h"
#include "monitor/peek.h"
#include "monitor/qmp_private.h"

enum { PIECE_BYTES = 1 << 16 };

/* ---- processors ---- */

static json_t *place(const struct cpuid_topology *t, unsigned i)
{
    unsigned die = i / (t->threads * t->cores) % t->dies;
    json_t *p = json_pack("{s:i, s:i, s:i}", "socket-id", (int)(i / (t->threads * t->cores * t->dies)), "core-id", (int)(i / t->threads % t->cores),
                          "thread-id", (int)(i % t->threads));

    if (t->dies > 1) json_object_set_new(p, "die-id", json_integer(die));
    return p;
}

static json_t *path(unsigned i)
{
    return json_sprintf("/machine/unattached/device[%u]", i);
}

json_t *qmp_query_cpus_fast(struct qmp *q, json_t *args, struct qmp_error *err)
{
    struct machine *m = qmp_machine(q);
    json_t *all = json_array();

    for (unsigned i = 0; i < machine_vcpu_count(m); i++)
        json_array_append_new(all, json_pack("{s:i, s:o, s:i, s:o, s:s}", "cpu-index", (int)i, "qom-path", path(i), "thread-id",
                                             machine_vcpu_thread(m, i), "props", place(&machine_configuration(m)->topology, i), "target", "x86_64"));
    return all;
}

json_t *qmp_query_hotpluggable_cpus(struct qmp *q, json_t *args, struct qmp_error *err)
{
    struct machine *m = qmp_machine(q);
    const struct cpuid_topology *t = &machine_configuration(m)->topology;
    json_t *all = json_array();

    for (unsigned i = cpuid_topology_size(t); i-- > 0;) {
        json_t *cpu = json_pack("{s:o, s:i, s:o}", "type", json_sprintf("%s-x86_64-cpu", machine_cpu_model(m)), "vcpus-count", 1, "props", place(t, i));

        if (i < machine_vcpu_count(m)) json_object_set_new(cpu, "qom-path", path(i));
        json_array_append_new(all, cpu);
    }
    return all;
}

/* ---- how much memory ---- */

json_t *qmp_query_memory_size_summary(struct qmp *q, json_t *args, struct qmp_error *err)
{
    return json_pack("{s:I, s:i}", "base-memory", (json_int_t)machine_configuration(qmp_machine(q))->ram_bytes, "plugged-memory", 0);
}

json_t *qmp_query_memory_devices(struct qmp *q, json_t *args, struct qmp_error *err) { return json_array(); }
json_t *qmp_query_iothreads(struct qmp *q, json_t *args, struct qmp_error *err) { return json_array(); }

json_t *qmp_query_balloon(struct qmp *q, json_t *args, struct qmp_error *err)
{
    uint64_t bytes;

    if (machine_balloon_get(qmp_machine(q), &bytes)) return json_pack("{s:I}", "actual", (json_int_t)bytes);
    return qmp_fail(err, QMP_NOT_ACTIVE, "No balloon device has been activated");
}

json_t *qmp_balloon(struct qmp *q, json_t *args, struct qmp_error *err)
{
    int64_t value = qmp_int(args, "value", 0);
    uint64_t bytes;

    if (!machine_balloon_get(qmp_machine(q), &bytes)) return qmp_fail(err, QMP_NOT_ACTIVE, "No balloon device has been activated");
    if (value <= 0) return qmp_fail(err, QMP_GENERIC, "Parameter 'target' expects a size");
    return qmp_result(machine_balloon_set(qmp_machine(q), (uint64_t)value, &err->error));
}

/* ---- memory into files ---- */

struct save {
    struct machine *m;
    int cpu;                           /* -1: physical addresses */
    uint64_t at, left;
};

/* The next n bytes; false: that memory is not there. Device memory is not touched: zeroes stand for it. */
static bool save_read(struct save *s, uint8_t *data, size_t n)
{
    if (s->cpu >= 0) return machine_debug_read(s->m, (unsigned)s->cpu, s->at, data, n) == n;
    for (size_t done = 0; done < n;) {
        struct flat_range r = memory_map_find(machine_memory(s->m), s->at + done);
        uint64_t end = r.start + r.size - (s->at + done);
        size_t here = MIN(n - done, end ? end : n - done);

        if (r.kind != RANGE_RAM && r.kind != RANGE_ROM) memset(data + done, 0, here);
        else if (!memory_read(machine_memory(s->m), s->at + done, data + done, here)) return false;
        done += here;
    }
    return true;
}

static int save_run(struct save *s, int fd, const char *filename, struct error *err)
{
    static const uint64_t page = 4096;
    uint8_t data[PIECE_BYTES];

    while (s->left) {
        size_t n = MIN(s->left, s->cpu < 0 ? (uint64_t)sizeof(data) : page - s->at % page);

        if (!save_read(s, data, n)) return error_set(err, "Invalid addr 0x%016llx/size %llu specified", (unsigned long long)s->at, (unsigned long long)s->left);
        if (write(fd, data, n) != (ssize_t)n) return error_set(err, "cannot write '%.200s': %s", filename, strerror(errno ? errno : ENOSPC));
        s->at += n;
        s->left -= n;
    }
    return 0;
}

static json_t *save(struct qmp *q, json_t *args, int cpu, struct qmp_error *err)
{
    struct save s = { qmp_machine(q), cpu, (uint64_t)qmp_int(args, "val", 0), (uint64_t)qmp_int(args, "size", 0) };
    const char *filename = qmp_string(args, "filename");
    int fd, result;
    bool ran;

    if (s.left >> 52) return qmp_fail(err, QMP_GENERIC, "Parameter 'size' expects a size of memory");
    fd = open(filename, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0666);
    if (fd < 0) return qmp_fail(err, QMP_GENERIC, "Could not open '%.200s': %s", filename, strerror(errno));
    ran = peek_begin(s.m);
    result = save_run(&s, fd, filename, &err->error);
    peek_end(s.m, ran);
    if (close(fd) < 0 && !result) result = error_set(&err->error, "cannot write '%.200s': %s", filename, strerror(errno));
    return qmp_result(result);
}

json_t *qmp_pmemsave(struct qmp *q, json_t *args, struct qmp_error *err)
{
    return save(q, args, -1, err);
}

json_t *qmp_memsave(struct qmp *q, json_t *args, struct qmp_error *err)
{
    int64_t cpu = qmp_int(args, "cpu-index", 0);

    if (cpu < 0 || cpu >= machine_vcpu_count(qmp_machine(q))) return qmp_fail(err, QMP_GENERIC, "Parameter 'cpu-index' expects a CPU number");
    return save(q, args, (int)cpu, err);
}

json_t *qmp_dump_guest_memory(struct qmp *q, json_t *args, struct qmp_error *err)
{
    return qmp_fail(err, QMP_GENERIC, "dumps of the guest's memory are not supported in this version; pmemsave writes memory as it is");
}
