/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The requirements of VIRTIO 1.2 that a device must meet, and those of drivers whose violation it must survive, one by one: each row of
 * clauses_*.c has the section's number, what it says in short, and a test of the device models, or the reason why there is none.
 * docs/virtio-clauses.md is what --list prints, and is compared.
 *
 *   test-virtio-clauses [DOCUMENT]          all tests, and the document
 *   test-virtio-clauses --list              the document
 *   test-virtio-clauses NUMBER...           some tests: 5.2 is all of section 5.2
 */
#include "clauses.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static const struct { const char *title; const struct clause *list; } parts[] = {
    { "Status, features, reset, queue reset", clauses_core }, { "Rings", clauses_rings }, { "PCI", clauses_pci }, { "Network card", clauses_net },
    { "Disk", clauses_blk }, { "Console and ports", clauses_console }, { "Entropy source", clauses_rng }, { "Balloon", clauses_balloon },
    { "SCSI adapter", clauses_scsi }, { "Shared folder (9P)", clauses_9p }, { "Graphic card", clauses_gpu }, { "Input devices", clauses_input }, { "Sockets", clauses_vsock },
};
static const char *running;
static unsigned failures, failures_here, checks;

void clause_check(bool ok, const char *file, int line, const char *what)
{
    checks++;
    if (ok) return;
    failures++;
    if (failures_here++ < 5) printf("FAILED %s (%s:%d): %s\n", running, strrchr(file, '/') ? strrchr(file, '/') + 1 : file, line, what);
}

static void list_print(FILE *out)
{
    fprintf(out, "# Clauses of the virtio specification\n\n"
                 "Which requirements of [VIRTIO 1.2](https://docs.oasis-open.org/virtio/virtio/v1.2/virtio-v1.2.html) are device tests, in short words; 2.1.2-1 is the first\n"
                 "statement of section 2.1.2. Those of drivers are here where a driver that breaks them meets the device: it must survive. The test `virtio-clauses` prints\n"
                 "this file (`test-virtio-clauses --list`) and fails when it differs. Commands that `VIRTIO_F_*` features bring which no device here offers are left out.\n");
    for (unsigned i = 0; i < ARRAY_SIZE(parts); i++) {
        fprintf(out, "\n## %s\n\n| clause | says | |\n|---|---|---|\n", parts[i].title);
        for (const struct clause *c = parts[i].list; c->number; c++)
            fprintf(out, "| %s | %s | %s%s |\n", c->number, c->says, c->test ? "tested" : "not tested: ", c->test ? "" : c->reason);
    }
}

static char *list_text(size_t *size)
{
    char *text = NULL;
    FILE *f = open_memstream(&text, size);

    list_print(f);
    fclose(f);
    return text;
}

static bool document_is_right(const char *name)
{
    size_t size, have;
    char *text = list_text(&size), *file = malloc(size + 2);
    FILE *f = fopen(name, "r");
    bool same;

    have = f ? fread(file, 1, size + 1, f) : 0;
    same = have == size && !memcmp(file, text, size);
    if (f) fclose(f);
    free(text);
    free(file);
    if (!same) printf("FAILED: %s is not what --list prints: write it anew\n", name);
    return same;
}

static bool is_wanted(const char *number, int count, char **wanted)
{
    for (int i = 0; i < count; i++)
        if (!strncmp(number, wanted[i], strlen(wanted[i]))) return true;
    return !count;
}

static void run(int count, char **wanted)
{
    unsigned checked = 0, failed = 0, untested = 0;

    guest_begin();
    for (unsigned i = 0; i < ARRAY_SIZE(parts); i++)
        for (const struct clause *c = parts[i].list; c->number; c++) {
            running = c->number;
            failures_here = 0;
            if (!is_wanted(c->number, count, wanted)) continue;
            if (c->test) c->test();
            checked += c->test != NULL;
            untested += !c->test;
            failed += failures_here != 0;
        }
    guest_end();
    printf("virtio-clauses: clauses: %u checked, %u failed, %u untested with reason; %u checks\n", checked, failed, untested, checks);
}

int main(int argc, char **argv)
{
    bool by_number = argc > 1 && *argv[1] >= '0' && *argv[1] <= '9';
    bool good = true;

    if (argc > 1 && !strcmp(argv[1], "--list")) {
        list_print(stdout);
        return 0;
    }
    setvbuf(stdout, NULL, _IOLBF, 0);
    run(by_number ? argc - 1 : 0, argv + 1);
    if (argc > 1 && !by_number) good = document_is_right(argv[1]);
    return failures || !good;
}
