/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Inside of QMP: what commands get and give. */
#ifndef MONITOR_QMP_PRIVATE_H
#define MONITOR_QMP_PRIVATE_H

#include <jansson.h>

#include "base/error.h"
#include "machine/machine.h"
#include "x86/cpuid.h"

struct qmp;

#define QMP_GENERIC "GenericError"
#define QMP_NO_COMMAND "CommandNotFound"
#define QMP_NO_DEVICE "DeviceNotFound"
#define QMP_NOT_ACTIVE "DeviceNotActive"

struct qmp_error {
    const char *class;                 /* GenericError unless set */
    struct error error;
};
/* args were checked against the schema, so members may be taken as what they are. A new reference, or NULL with *err. */
typedef json_t *qmp_fn(struct qmp *q, json_t *args, struct qmp_error *err);

/* Both return NULL. */
json_t *qmp_fail(struct qmp_error *err, const char *class, const char *fmt, ...) __attribute__((format(printf, 3, 4)));
json_t *qmp_no_device(struct qmp_error *err, const char *name);
/* What a command without an answer returns: {} or, for -1 with the text set, NULL. */
json_t *qmp_result(int result);

struct machine *qmp_machine(struct qmp *q);
/* Where this client has put a pointer, and which buttons it holds. */
struct qmp_pointer { unsigned x, y, buttons; };
struct qmp_pointer *qmp_pointer(struct qmp *q);
const struct monitor_catalog *qmp_catalog(struct qmp *q);                 /* or NULL */
bool *qmp_migration_events(struct qmp *q);
/* The human monitor behind human-monitor-command. */
struct monitor *qmp_human(struct qmp *q);
/* A string of bytes that may be no UTF-8: what is not becomes '?'. */
json_t *qmp_text(const char *text, size_t size);
/* The same of what may be anything: U+FFFD stands for it, as in QEMU. */
json_t *qmp_bytes(const uint8_t *data, size_t size);
/* Members of args; absent: NULL, the value given. */
const char *qmp_string(json_t *args, const char *name);
int64_t qmp_int(json_t *args, const char *name, int64_t absent);
bool qmp_bool(json_t *args, const char *name, bool absent);
/* Sets a member if value is not NULL (which is taken). */
void qmp_set(json_t *object, const char *name, json_t *value);

/* qmp_fd.c: descriptors that clients have sent and named. Takes one, the caller's from now on; -1 with *err. */
struct qmp_descriptor;
struct qmp_descriptor **qmp_descriptors(struct qmp *q);
int qmp_descriptor_take(struct qmp *q, const char *name, struct qmp_error *err);
void qmp_descriptors_free(struct qmp *q);
struct chardev *qmp_chardev(struct qmp *q);

/* qmp_hotplug.c: does a device have this id? */
bool qmp_is_device(struct machine *m, const char *id);

/* qmp_block.c: the drive that 'device' or 'id' of args means; -1 with *err. */
int qmp_drive_find(struct machine *m, json_t *args, struct qmp_error *err);
/* qmp_throttle.c: the limits in what is told of an image. */
void qmp_throttle_fill(json_t *info, struct machine *m, unsigned drive);
/* Of an object path: the id of a throttle-group; NULL: it is none. */
const char *qmp_throttle_group_of(struct machine *m, const char *path);
json_t *qmp_throttle_group_get(struct machine *m, const char *id, const char *name, struct qmp_error *err);
json_t *qmp_throttle_group_set(struct machine *m, const char *id, const char *name, json_t *value, struct qmp_error *err);
/* qmp_catalog.c: flags of the machine's CPU model that the guest does not get. */
json_t *qmp_cpu_missing(struct machine *m);
/* qmp_cpu.c: whose flags guests get. */
enum cpuid_engine qmp_cpuid_engine(struct qmp *q);
/* Names of what a CPU model can be given. */
void qmp_cpu_properties(void (*tell)(void *opaque, const char *name), void *opaque);
/* qmp_check.c: 0, or -1 with *err as QEMU words it. */
int qmp_check(unsigned type, json_t *value, const char *name, struct qmp_error *err);
#endif
