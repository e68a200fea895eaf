/* SPDX-License-Identifier: GPL-2.0-or-later */
/* QMP: processors and memory. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/bits.h"
#include "engine/engine.h"
#include "monitor/memory_save.h"
#include "monitor/qmp_private.h"

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

/* ---- CPU models ---- */

static const char *const numbers[] = { "family", "model", "stepping" };

void qmp_cpu_properties(void (*tell)(void *opaque, const char *name), void *opaque)
{
    const char *name;

    tell(opaque, "unavailable-features");
    tell(opaque, "vendor");
    for (unsigned i = 0; i < ARRAY_SIZE(numbers); i++) tell(opaque, numbers[i]);
    for (unsigned i = 0; (name = cpuid_flag_name(i)); i++) tell(opaque, name);
}

enum cpuid_engine qmp_cpuid_engine(struct qmp *q)
{
    return machine_engine(qmp_machine(q))->ops == &engine_kvm ? CPUID_FOR_KVM : CPUID_FOR_BT;
}

/* One property as -cpu takes it; false: no value that it could have. */
static bool item_write(FILE *out, const char *name, const json_t *value)
{
    if (strpbrk(name, ",=") || (json_is_string(value) && strchr(json_string_value(value), ','))) return false;
    if (json_is_boolean(value)) fprintf(out, ",%s=%s", name, json_is_true(value) ? "on" : "off");
    else if (json_is_integer(value)) fprintf(out, ",%s=%lld", name, (long long)json_integer_value(value));
    else if (json_is_string(value)) fprintf(out, ",%s=%s", name, json_string_value(value));
    return json_is_boolean(value) || json_is_integer(value) || json_is_string(value);
}

/* The model as text for -cpu, to be freed; NULL with *err. */
static char *model_text(json_t *model, struct qmp_error *err)
{
    const char *name = qmp_string(model, "name"), *key;
    json_t *props = json_object_get(model, "props"), *value;
    char *text = NULL;
    size_t size;
    FILE *out = open_memstream(&text, &size);
    bool ok = out && !strchr(name, ',') && (!props || json_is_object(props));

    if (out) fputs(name, out);
    if (ok) json_object_foreach(props, key, value) ok = ok && item_write(out, key, value);
    if (out && fclose(out) == 0 && ok) return text;
    free(text);
    qmp_fail(err, QMP_GENERIC, "Parameter 'model' is no CPU model with properties that are on, off, numbers or names");
    return NULL;
}

static json_t *props_pack(const struct cpuid_model *m)
{
    unsigned family = m->signature >> 8 & 15, model = m->signature >> 4 & 15;
    uint32_t leaf0[4];
    char vendor[12];
    json_t *props;
    const char *name;

    if (family == 15) family += m->signature >> 20 & 255;
    if (family == 6 || family >= 15) model |= m->signature >> 12 & 0xf0;
    cpuid_query(m, 0, 0, 0, 0, 0, leaf0);
    memcpy(vendor, &leaf0[1], 4);
    memcpy(vendor + 4, &leaf0[3], 4);
    memcpy(vendor + 8, &leaf0[2], 4);
    props = json_pack("{s:i, s:i, s:i, s:o}", "family", (int)family, "model", (int)model, "stepping", (int)(m->signature & 15), "vendor",
                      qmp_text(vendor, sizeof(vendor)));
    for (unsigned i = 0; (name = cpuid_flag_name(i)); i++) json_object_set_new(props, name, json_boolean(cpuid_flag_is_set(m, i)));
    return props;
}

json_t *qmp_query_cpu_model_expansion(struct qmp *q, json_t *args, struct qmp_error *err)
{
    bool is_static = !strcmp(qmp_string(args, "type"), "static");
    json_t *asked = json_object_get(args, "model");
    struct cpuid_model m;
    char *text = model_text(asked, err);
    int result;

    if (!text) return NULL;
    result = cpuid_model_build(&m, text, qmp_cpuid_engine(q), NULL, &err->error);
    free(text);
    if (result < 0) return NULL;
    return json_pack("{s:{s:s, s:o}}", "model", "name", is_static ? "base" : qmp_string(asked, "name"), "props", props_pack(&m));
}

/* ---- how much memory ---- */

json_t *qmp_query_memory_size_summary(struct qmp *q, json_t *args, struct qmp_error *err)
{
    return json_pack("{s:I, s:i}", "base-memory", (json_int_t)machine_configuration(qmp_machine(q))->ram_bytes, "plugged-memory", 0);
}

json_t *qmp_query_memdev(struct qmp *q, json_t *args, struct qmp_error *err)
{
    const struct machine_config *c = machine_configuration(qmp_machine(q));
    const struct ram_config *ram = &c->ram;

    return json_pack("[{s:s, s:I, s:b, s:b, s:b, s:b, s:b, s:[], s:s}]", "id", ram->id ? ram->id : "pc.ram", "size", (json_int_t)c->ram_bytes,
                     "merge", ram->mergeable && c->mem_merge, "dump", ram->dump, "prealloc", ram->prealloc, "share", ram->share, "reserve", !ram->no_reserve,
                     "host-nodes", "policy", "default");
}

json_t *qmp_query_memory_devices(struct qmp *q, json_t *args, struct qmp_error *err) { return json_array(); }

/* All have the work of the main thread, which ends requests; the process has its number. */
json_t *qmp_query_iothreads(struct qmp *q, json_t *args, struct qmp_error *err)
{
    const struct machine_config *c = machine_configuration(qmp_machine(q));
    json_t *list = json_array();

    for (unsigned i = 0; i < c->iothread_count; i++)
        json_array_append_new(list, json_pack("{s:s, s:i, s:i, s:i, s:i, s:i}", "id", c->iothread[i], "thread-id", (int)getpid(), "poll-max-ns", 0, "poll-grow", 0,
                                              "poll-shrink", 0, "aio-max-batch", 0));
    return list;
}

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

static json_t *save(struct qmp *q, json_t *args, int cpu, struct qmp_error *err)
{
    return qmp_result(memory_save(qmp_machine(q), cpu, (uint64_t)qmp_int(args, "val", 0), (uint64_t)qmp_int(args, "size", 0), qmp_string(args, "filename"),
                                  &err->error));
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
