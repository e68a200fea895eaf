/* SPDX-License-Identifier: GPL-2.0-or-later */
/* 'ospite nbd -L': what another server has, in the words of qemu-nbd -L, which scripts read. */
#include "tool/nbd_options.h"

#include <stdio.h>

#include "base/error.h"
#include "block/nbd_list.h"
#include "block/nbd_tls.h"

static void export_print(const struct nbd_listed *e)
{
    printf(" export: '%s'\n", e->name);
    if (*e->description)
        printf("  description: %s\n", e->description);
    if (e->described) {
        printf("  size:  %llu\n  flags: 0x%x (", (unsigned long long)e->size, e->flags);
        for (const struct nbd_flag_name *f = nbd_flag_names; f->name; f++)
            if (e->flags & f->bit)
                printf(" %s", f->name);
        printf(" )\n");
    }
    if (e->min_block)
        printf("  min block: %u\n  opt block: %u\n  max block: %u\n", e->min_block, e->preferred_block, e->max_block);
    if (e->contexts)
        printf("  available meta contexts: %u\n", e->contexts);
    for (unsigned i = 0; i < e->contexts; i++)
        printf("   %s\n", e->context[i]);
}

int nbd_tool_list(struct nbd_tool *t, struct error *err)
{
    struct nbd_tls *tls = NULL;
    struct nbd_list l = { .count = 0 };
    char port[8];
    snprintf(port, sizeof(port), "%u", (unsigned)t->port);
    int r = nbd_objects_tls(t, false, &tls, err);
    if (!r)
        r = nbd_list_get(&l, t->socket, t->bind ? t->bind : "localhost", port, tls, t->tls_hostname,
                         NBD_LIST_WITHIN_MS, err);
    if (!r)
        printf("exports available: %u\n", l.count);
    for (unsigned i = 0; !r && i < l.count; i++)
        export_print(&l.export[i]);
    nbd_list_free(&l);
    nbd_tls_free(tls);
    return r;
}
