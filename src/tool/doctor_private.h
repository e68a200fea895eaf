/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The parts of the doctor: what is looked at, how the host is read, what was found. */
#ifndef TOOL_DOCTOR_PRIVATE_H
#define TOOL_DOCTOR_PRIVATE_H

#include <stdbool.h>
#include <stdint.h>

#include "tool/option_list.h"

enum { DOCTOR_FINDINGS = 256 };
enum finding_status { FINDING_OK, FINDING_WARNING, FINDING_MISSING };

struct finding {
    enum finding_status status;
    const char *check, *text, *mend;    /* mend: a command or NULL */
};

struct doctor {
    const char *root;                   /* in front of /proc, /sys, /dev and so on; "" but for tests */
    struct arena *arena;
    struct finding finding[DOCTOR_FINDINGS];
    unsigned findings;
    bool has_vmx, has_svm;              /* usable, as far as the processor goes */
    bool kvm_works, bt_works;
    const char *kvm_why;                /* why not, in one line */
};

void doctor_found(struct doctor *d, enum finding_status status, const char *check, const char *mend, const char *fmt, ...)
    __attribute__((format(printf, 5, 6)));

/* ---- doctor_host.c: reading. Strings live in the arena. ---- */

/* A small file without the white space at its end, or NULL. */
const char *host_read(struct doctor *d, const char *fmt, ...) __attribute__((format(printf, 2, 3)));
bool host_exists(struct doctor *d, const char *fmt, ...) __attribute__((format(printf, 2, 3)));
/* The path as the kernel is told it. */
const char *host_path(struct doctor *d, const char *path);
/* A decimal number at the beginning of a file; false: no such file, or no number. */
bool host_number(struct doctor *d, uint64_t *value, const char *fmt, ...) __attribute__((format(printf, 3, 4)));
/* The value of "key : value" or "key value" among the lines of text, or NULL. */
const char *host_field(struct doctor *d, const char *text, const char *key);
/* Is word among the blank-separated words of text? */
bool host_has_word(const char *text, const char *word);
/* May this process read and write the file? */
bool host_may_use(struct doctor *d, const char *path);
/* Name of the group of a file, or its number as text; NULL if there is no such file. */
const char *host_group_of(struct doctor *d, const char *path);
/* The user's name, and whether /etc/group has it in this group. */
const char *host_user(struct doctor *d);
bool host_user_is_in(struct doctor *d, const char *group);
bool host_is_container(struct doctor *d);
/* Kernel module: loaded (or built in), or to be had with modprobe. */
bool host_module_is_loaded(struct doctor *d, const char *name);
bool host_module_is_known(struct doctor *d, const char *name);
/* What no file tells (the probe of KVM, CPUID): a test's DIR/facts has it as "key value"; NULL without --root. */
const char *host_fact(struct doctor *d, const char *key);
/* Soft limit by its name in /proc/self/limits; UINT64_MAX: unlimited, or not known. */
uint64_t host_limit(struct doctor *d, const char *name);
/* "12 MiB", "3.5 GiB". */
const char *host_size(struct doctor *d, uint64_t bytes);

/* ---- checks ---- */

void doctor_cpu(struct doctor *d);          /* doctor_cpu.c */
void doctor_modules(struct doctor *d);
void doctor_nested(struct doctor *d);
void doctor_iommu(struct doctor *d);
void doctor_kvm(struct doctor *d);          /* doctor_kvm.c */
void doctor_kvm_speed(struct doctor *d);
void doctor_bt(struct doctor *d);
void doctor_ksm(struct doctor *d);          /* doctor_memory.c */
void doctor_huge_pages(struct doctor *d);
void doctor_memory(struct doctor *d);
void doctor_overcommit(struct doctor *d);
void doctor_limits(struct doctor *d);
void doctor_cgroup(struct doctor *d);       /* doctor_cgroup.c */
void doctor_drivers(struct doctor *d);      /* doctor_files.c */
void doctor_firmware(struct doctor *d);
void doctor_machines(struct doctor *d);     /* doctor_machines.c */
/* Is the entry of /proc a running machine of this program? The name it was given, or NULL. */
bool host_is_machine(struct doctor *d, const char *pid);
const char *host_machine_name(struct doctor *d, const char *pid);

#endif
