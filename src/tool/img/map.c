/* SPDX-License-Identifier: GPL-2.0-or-later */
/* 'ospite img map': where the parts of a disk lie; neighbours that go on in the same way are told as one. */
#include "tool/img/img_private.h"

#include <string.h>

struct map_args {
    struct img_common c;
    const char *start, *length;
};

static const struct img_option options[] = {
    IMG_HELP(struct map_args), IMG_OBJECT_ROW(struct map_args), IMG_IMAGE_OPTS(struct map_args),
    IMG_FORMAT(struct map_args), IMG_OUTPUT(struct map_args),
    { 's', "start-offset", "OFFSET", IMG_TEXT, offsetof(struct map_args, start), "where to begin (default 0)" },
    { 'l', "max-length", "LENGTH", IMG_TEXT, offsetof(struct map_args, length), "how much (default: to the end)" },
    IMG_SHARE(struct map_args),
    { 0 },
};

struct printer {
    bool json, first;
    struct error *err;
};

static const char *flag(bool value)
{
    return value ? "true" : "false";
}

static int entry_print(struct printer *p, uint64_t start, const struct block_map *m)
{
    if (p->json) {
        printf("%s{ \"start\": %llu, \"length\": %llu, \"depth\": %u, \"present\": %s, \"zero\": %s, \"data\": %s",
               p->first ? "[" : ",\n", (unsigned long long)start, (unsigned long long)m->length_bytes, m->depth,
               flag(m->present), flag(m->zero), flag(m->data));
        if (m->has_offset)
            printf(", \"offset\": %llu", (unsigned long long)m->offset);
        printf("}");
        p->first = false;
        return 0;
    }
    if (!m->data || m->zero)
        return 0;
    if (!m->has_offset)
        return error_set(p->err, "the data at %llu are compressed, encrypted or not in this file, for which a list has no "
                         "place; use --output=json", (unsigned long long)start);
    printf("%#-16llx%#-16llx%#-16llx%s\n", (unsigned long long)start, (unsigned long long)m->length_bytes,
           (unsigned long long)m->offset, block_filename(m->node));
    return 0;
}

static bool goes_on(const struct block_map *a, const struct block_map *b)
{
    return a->depth == b->depth && a->present == b->present && a->zero == b->zero && a->data == b->data &&
           a->has_offset == b->has_offset && (!a->has_offset || a->offset + a->length_bytes == b->offset);
}

static int map(struct printer *p, struct block_node *n, uint64_t at, uint64_t end)
{
    struct block_map entry = { 0 }, m;
    uint64_t start = at;
    while (at < end) {
        int r = block_map_get(n, at, end - at, 0, &m);
        if (r)
            return error_set(p->err, "cannot read the map of '%s' at %llu: %s", block_filename(n), (unsigned long long)at,
                             strerror(-r));
        at += m.length_bytes;
        if (m.past_end) {               /* told as qemu-img does: nobody's */
            m.present = false;
            m.depth--;
        }
        if (entry.length_bytes && goes_on(&entry, &m)) {
            entry.length_bytes += m.length_bytes;
            continue;
        }
        if (entry.length_bytes && entry_print(p, start, &entry))
            return -1;
        start = at - m.length_bytes;
        entry = m;
    }
    if (entry.length_bytes && entry_print(p, start, &entry))
        return -1;
    if (p->json)
        printf("%s]\n", p->first ? "[" : "");
    return 0;
}

static int map_run(void *args, struct error *err)
{
    struct map_args *a = args;
    struct printer p = { .first = true, .err = err };
    uint64_t start = 0, length = UINT64_MAX;
    if (img_files_check(&a->c, &img_verb_map, 1, 1, err) || img_json_wanted(&a->c, &p.json, err) ||
        (a->start && img_size_parse("--start-offset", a->start, &start, err)) ||
        (a->length && img_size_parse("--max-length", a->length, &length, err)))
        return -1;
    struct block_node *n = img_open_file(&a->c, 0, false, err);
    if (!n)
        return -1;
    uint64_t size = block_size_bytes(n), from = MIN(ALIGN_DOWN(start, 512ull), size);
    uint64_t end = from + MIN(length > INT64_MAX ? size : ALIGN_UP(length, 512ull), size - from);
    if (!p.json)
        printf("%-16s%-16s%-16s%s\n", "Offset", "Length", "Mapped to", "File");
    int r = map(&p, n, from, end);
    block_close(n);
    return r;
}

const struct img_verb img_verb_map = {
    .name = "map", .operands = "FILE", .summary = "tell where the parts of a disk lie",
    .example = "ospite img map --output=json work.qcow2", .options = options, .args_bytes = sizeof(struct map_args),
    .run = map_run,
};
