/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * 'ospite doctor': what this host can do for guests, a line each, with the command that mends what it cannot. A table of checks, in
 * the order a reader wants them; each adds findings. Nothing is changed on the host.
 */
#include "tool/doctor.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/bits.h"
#include "base/error.h"
#include "base/log.h"
#include "base/nearest.h"
#include "tool/doctor_private.h"
#include "tool/json_text.h"

enum { STATUS_KVM = 0, STATUS_NONE = 1, STATUS_BT = 2 };

static void (*const checks[])(struct doctor *d) = {
    doctor_cpu, doctor_modules, doctor_kvm, doctor_kvm_speed, doctor_bt, doctor_nested, doctor_iommu, doctor_memory, doctor_overcommit,
    doctor_limits, doctor_cgroup, doctor_ksm, doctor_huge_pages, doctor_drivers, doctor_firmware, doctor_machines,
};
static const char *const status_names[] = { [FINDING_OK] = "ok", [FINDING_WARNING] = "warning", [FINDING_MISSING] = "missing" };

void doctor_found(struct doctor *d, enum finding_status status, const char *check, const char *mend, const char *fmt, ...)
{
    va_list ap;
    char *text;

    if (d->findings == DOCTOR_FINDINGS) return;
    va_start(ap, fmt);
    if (vasprintf(&text, fmt, ap) < 0) abort();
    va_end(ap);
    d->finding[d->findings++] = (struct finding){ status, check, arena_copy(d->arena, text, strlen(text)), mend };
    free(text);
}

/* Control characters of other processes' names do not reach the terminal. */
static void text_print(const char *text)
{
    for (; *text; text++) putchar((unsigned char)*text < 0x20 || *text == 0x7f ? '?' : *text);
}

static const char *conclusion(const struct doctor *d)
{
    if (d->kvm_works) return "guests run here, with kvm";
    if (d->bt_works) return "guests run here, but only with bt: slower than with kvm";
    return "no guest can run here";
}

static void lines_print(const struct doctor *d)
{
    for (unsigned i = 0; i < d->findings; i++) {
        const struct finding *f = &d->finding[i];

        printf("%-8s %-14s ", status_names[f->status], f->check);
        text_print(f->text);
        if (f->mend) {
            printf("  -> ");
            text_print(f->mend);
        }
        putchar('\n');
    }
    printf("%s\n", conclusion(d));
}

static void json_print(const struct doctor *d)
{
    printf("{\n  \"kvm\": %s,\n  \"bt\": %s,\n  \"summary\": ", d->kvm_works ? "true" : "false", d->bt_works ? "true" : "false");
    json_text_print(stdout, conclusion(d));
    printf(",\n  \"findings\": [");
    for (unsigned i = 0; i < d->findings; i++) {
        const struct finding *f = &d->finding[i];

        printf("%s\n    { \"check\": \"%s\", \"status\": \"%s\", \"text\": ", i ? "," : "", f->check, status_names[f->status]);
        json_text_print(stdout, f->text);
        printf(", \"mend\": ");
        json_text_print(stdout, f->mend);
        printf(" }");
    }
    printf("\n  ]\n}\n");
}

/* ---- command line ---- */

struct request { bool help, json; const char *root; };
static const struct { const char *name, *arg, *help; } options[] = {
    { "--json", NULL, "print JSON" },
    { "--root", "DIR", "look at DIR/proc, DIR/sys and so on, and at DIR/facts (for tests)" },
    { "--help", NULL, "show this help; also -h" },
};

static int request_parse(struct request *r, int argc, char **argv, struct error *err)
{
    for (int i = 1; i < argc; i++) {
        struct nearest near;

        if (!strcmp(argv[i], "--json")) r->json = true;
        else if (!strcmp(argv[i], "--help") || !strcmp(argv[i], "-h")) r->help = true;
        else if (!strcmp(argv[i], "--root") && i + 1 < argc) r->root = argv[++i];
        else if (!strncmp(argv[i], "--root=", 7)) r->root = argv[i] + 7;
        else {
            nearest_begin(&near, argv[i]);
            for (unsigned k = 0; k < ARRAY_SIZE(options); k++) nearest_offer(&near, options[k].name);
            if (!strcmp(argv[i], "--root")) return error_set(err, "--root wants a directory");
            if (nearest_result(&near)) return error_set(err, "unknown option '%s'; did you mean '%s'?", argv[i], near.best);
            return error_set(err, "unknown option '%s'; 'ospite doctor -h' shows them", argv[i]);
        }
    }
    return 0;
}

static void help_print(void)
{
    printf("ospite doctor [options]   what this host can do for guests, and how to mend what it cannot\n\n");
    for (unsigned i = 0; i < ARRAY_SIZE(options); i++)
        printf("%-8s %-6s %s\n", options[i].name, options[i].arg ? options[i].arg : "", options[i].help);
    printf("\nExit status: 0 guests run with kvm, 2 only with bt, 1 not at all (or a wrong option).\n");
}

static int examine(const struct request *r)
{
    struct doctor *d = calloc(1, sizeof(*d));
    int status;

    if (!d) return STATUS_NONE;
    d->root = r->root ? r->root : "";
    d->arena = arena_new();
    for (unsigned i = 0; i < ARRAY_SIZE(checks); i++) checks[i](d);
    if (r->json) json_print(d);
    else lines_print(d);
    status = d->kvm_works ? STATUS_KVM : d->bt_works ? STATUS_BT : STATUS_NONE;
    arena_free(d->arena);
    free(d);
    return status;
}

int doctor_tool_run(int argc, char **argv)
{
    struct error err = { "unknown error" };
    struct request r = { 0 };

    if (request_parse(&r, argc, argv, &err) < 0) {
        log_message("doctor: %s", err.text);
        return STATUS_NONE;
    }
    if (r.help) {
        help_print();
        return 0;
    }
    return examine(&r);
}
