/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The engines: is /dev/kvm there, permitted and really fast (engine/kvm/probe.c), and can bt make code. */
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "base/error.h"
#include "engine/engine.h"
#include "tool/doctor_private.h"

static void kvm_absent(struct doctor *d)
{
    const char *mend = "mend what cpu and kvm-module say";

    if (host_is_container(d)) mend = "start the container with --device /dev/kvm";
    else if (host_module_is_loaded(d, "kvm_intel") || host_module_is_loaded(d, "kvm_amd")) mend = "mknod -m 660 /dev/kvm c 10 232; chgrp kvm /dev/kvm";
    d->kvm_why = "there is no /dev/kvm";
    doctor_found(d, FINDING_MISSING, "kvm", mend, "there is no /dev/kvm");
}

static void kvm_forbidden(struct doctor *d)
{
    const char *group = host_group_of(d, "/dev/kvm"), *user = host_user(d);
    bool is_member = host_user_is_in(d, group);

    d->kvm_why = "no permission on /dev/kvm";
    doctor_found(d, FINDING_MISSING, "kvm", is_member ? arena_format(d->arena, "log in again, or: newgrp %s", group)
                 : arena_format(d->arena, "adduser %s %s, then log in again", user, group),
                 "no permission on /dev/kvm: it belongs to group %s, and %s is %s", group, user, is_member ? "in it since after this login" : "not in it");
}

void doctor_kvm(struct doctor *d)
{
    if (!host_exists(d, "/dev/kvm")) kvm_absent(d);
    else if (!host_may_use(d, "/dev/kvm")) kvm_forbidden(d);
    else doctor_found(d, FINDING_OK, "kvm", NULL, "/dev/kvm is there, and %s may use it", host_user(d));
}

static int probe(struct doctor *d, double *mips, struct error *err)
{
    const char *figure = host_fact(d, "kvm_mips"), *why = host_fact(d, "kvm_error");

    if (!*d->root) return kvm_probe(mips, err);
    if (!figure) return error_set(err, "%s", why ? why : "KVM: /dev/kvm does not answer");
    *mips = atof(figure);
    return 0;
}

void doctor_kvm_speed(struct doctor *d)
{
    struct error err = { "" };
    double mips = 0;

    if (d->kvm_why) doctor_found(d, FINDING_MISSING, "kvm-speed", NULL, "not tried: %s", d->kvm_why);
    else if (probe(d, &mips, &err) == 0) {
        d->kvm_works = true;
        doctor_found(d, FINDING_OK, "kvm-speed", NULL, "a test program runs at %.0f million instructions a second", mips);
    } else {
        d->kvm_why = arena_copy(d->arena, err.text, strlen(err.text));
        doctor_found(d, FINDING_MISSING, "kvm-speed", d->has_vmx || d->has_svm ? "dmesg | grep -i kvm tells what the kernel thinks" : "mend what cpu says", "%s",
                     err.text);
    }
}

/* bt maps its code twice, writable and executable; SELinux and vm.memfd_noexec=2 can forbid the second. */
static const char *code_memory_try(struct doctor *d)
{
    enum { BYTES = 1 << 20 };
    const char *fact = host_fact(d, "exec_memory"), *why = NULL;
    int fd;
    void *p;

    if (*d->root) return fact;
    fd = memfd_create("ospite-doctor", MFD_CLOEXEC);
    if (fd < 0 || ftruncate(fd, BYTES) < 0) why = strerror(errno);
    else {
        p = mmap(NULL, BYTES, PROT_READ | PROT_EXEC, MAP_SHARED, fd, 0);
        if (p == MAP_FAILED) why = strerror(errno);
        else munmap(p, BYTES);
    }
    if (fd >= 0) close(fd);
    return why;
}

void doctor_bt(struct doctor *d)
{
    const char *why = code_memory_try(d);
    uint64_t noexec = 0;

    d->bt_works = !why;
    if (!why) {
        doctor_found(d, FINDING_OK, "bt", NULL, "the engine bt can run guests without KVM, several times slower");
        return;
    }
    host_number(d, &noexec, "/proc/sys/vm/memfd_noexec");
    doctor_found(d, FINDING_MISSING, "bt", noexec ? "sysctl vm.memfd_noexec=0" : "ausearch -m avc -c ospite tells whether SELinux forbids it",
                 "the engine bt cannot have executable memory: %s%s", why, noexec ? " (vm.memfd_noexec)" : "");
}
