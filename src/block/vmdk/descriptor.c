/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The text that describes a VMDK disk. It comes from strangers and names files: an extent must lie in the descriptor's
 * own directory, so that an image cannot hand its guest other files of the host.
 * Source: VMware, "Virtual Disk Format 5.0", chapter "The Descriptor File".
 */
#include "block/vmdk/vmdk_private.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static const struct {
    const char *name;
    bool is_split;
} types[] = {
    { "monolithicSparse", false }, { "streamOptimized", false }, { "monolithicFlat", true }, { "vmfs", true },
    { "twoGbMaxExtentSparse", true }, { "twoGbMaxExtentFlat", true }, { "custom", true },
};

/* key=value or key="value", at the beginning of a line. */
static bool value_get(const char *text, const char *key, char *out, size_t room)
{
    size_t n = strlen(key);
    for (const char *line = text; line; line = strchr(line, '\n') ? strchr(line, '\n') + 1 : NULL) {
        if (strncmp(line, key, n))
            continue;
        const char *p = line + n + strspn(line + n, " \t");
        if (*p != '=')
            continue;
        p += 1 + strspn(p + 1, " \t");
        bool quoted = *p == '"';
        p += quoted;
        size_t length = strcspn(p, quoted ? "\"\r\n" : " \t\r\n");
        if (length >= room)
            return false;
        memcpy(out, p, length);
        out[length] = 0;
        return true;
    }
    return false;
}

long vmdk_descriptor_cid_find(const char *text)
{
    for (const char *line = text; line; line = strchr(line, '\n') ? strchr(line, '\n') + 1 : NULL)
        if (!strncmp(line, "CID=", 4))
            return strspn(line + 4, "0123456789abcdefABCDEF") == 8 ? line + 4 - text : -1;
    return -1;
}

static int name_check(const char *name, struct error *err)
{
    if (!*name || strchr(name, '/') || !strcmp(name, ".") || !strcmp(name, ".."))
        return error_set(err, "its extent '%.100s' is not a plain name: extents must lie in the image's own directory", name);
    return 0;
}

/* RW 4192256 SPARSE "disk-s001.vmdk", RW 1000 FLAT "disk-flat.vmdk" 0, RW 1000 ZERO. 1: taken, 0: no such line. */
static int line_parse(const char *text, struct vmdk_line *l, struct error *err)
{
    char access[16] = "", kind[16] = "";
    unsigned long long sectors = 0, offset = 0;
    int end = 0;
    *l = (struct vmdk_line){ .kind = VMDK_ZERO };
    if (sscanf(text, "%15s %llu %15s%n", access, &sectors, kind, &end) != 3)
        return 0;
    if (strcmp(access, "RW") && strcmp(access, "RDONLY") && strcmp(access, "NOACCESS"))
        return 0;
    if (!strcmp(access, "NOACCESS"))
        return error_set(err, "it has an extent that must not be used (NOACCESS)");
    if (!sectors || sectors > INT64_MAX / VMDK_SECTOR / VMDK_EXTENTS_MAX)
        return error_set(err, "an extent has no valid size");
    l->readonly = !strcmp(access, "RDONLY");
    l->sectors = sectors;
    if (!strcmp(kind, "ZERO"))
        return 1;
    if (sscanf(text + end, " \"%511[^\"\r\n]\" %llu", l->name, &offset) < 1)
        return error_set(err, "an extent has no name");
    l->offset_sectors = offset;
    if (!strcmp(kind, "FLAT") || !strcmp(kind, "VMFS"))
        l->kind = VMDK_FLAT;
    else if (!strcmp(kind, "SPARSE"))
        l->kind = VMDK_SPARSE;
    else
        return error_set(err, "extents of type %s are not supported; FLAT, VMFS, SPARSE and ZERO are", kind);
    if (offset > INT64_MAX / VMDK_SECTOR - sectors)
        return error_set(err, "an extent begins past every file's end");
    return name_check(l->name, err) ? -1 : 1;
}

static int lines_parse(struct vmdk_descriptor *d, const char *text, struct error *err)
{
    for (const char *line = text; line; line = strchr(line, '\n') ? strchr(line, '\n') + 1 : NULL) {
        struct vmdk_line l;
        char copy[1024];
        snprintf(copy, sizeof(copy), "%.*s", (int)MIN(strcspn(line, "\n"), sizeof(copy) - 1), line);
        int r = line_parse(copy, &l, err);
        if (r < 0)
            return -1;
        if (!r)
            continue;
        if (d->lines == VMDK_EXTENTS_MAX)
            return error_set(err, "it has more than %d extents", VMDK_EXTENTS_MAX);
        struct vmdk_line *more = realloc(d->line, (d->lines + 1) * sizeof(*more));
        if (!more)
            return error_set(err, "out of memory");
        d->line = more;
        d->line[d->lines++] = l;
    }
    return 0;
}

int vmdk_descriptor_parse(struct vmdk_descriptor *d, const char *text, struct error *err)
{
    char cid[16] = "", parent[16] = "ffffffff";
    *d = (struct vmdk_descriptor){ 0 };
    if (!value_get(text, "createType", d->type, sizeof(d->type)))
        return error_set(err, "its descriptor has no createType");
    size_t i = 0;
    while (i < ARRAY_SIZE(types) && strcmp(types[i].name, d->type))
        i++;
    if (i == ARRAY_SIZE(types))
        return error_set(err, "images of type '%s' are not supported", d->type);
    d->is_split = types[i].is_split;
    if (!value_get(text, "CID", cid, sizeof(cid)))
        return error_set(err, "its descriptor has no CID");
    value_get(text, "parentCID", parent, sizeof(parent));
    d->cid = (uint32_t)strtoul(cid, NULL, 16);
    d->parent_cid = (uint32_t)strtoul(parent, NULL, 16);
    if (d->parent_cid != UINT32_MAX && (!value_get(text, "parentFileNameHint", d->parent, sizeof(d->parent)) || !*d->parent))
        return error_set(err, "it has a parent image, which its descriptor does not name (parentFileNameHint)");
    return d->is_split ? lines_parse(d, text, err) : 0;
}

void vmdk_descriptor_free(struct vmdk_descriptor *d)
{
    free(d->line);
    d->line = NULL;
}
