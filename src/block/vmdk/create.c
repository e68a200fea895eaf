/* SPDX-License-Identifier: GPL-2.0-or-later */
/* New VMDK images: the descriptor's text, and files of zeroes or with empty grain tables, both copies in place from the start. */
#include "block/vmdk/vmdk_private.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>
#include <unistd.h>

#define SPLIT_BYTES (2ull << 30)

enum { FILES_MAX = VMDK_EXTENTS_MAX };

static const struct kind {
    const char *name;
    bool split, flat, packed, is_one;   /* split: a descriptor beside the data; is_one: in one file */
} kinds[] = {
    { "monolithicSparse", false, false, false, true }, { "monolithicFlat", true, true, false, true },
    { "twoGbMaxExtentSparse", true, false, false, false }, { "twoGbMaxExtentFlat", true, true, false, false },
    { "streamOptimized", false, false, true, true },
};

struct plan {
    const struct kind *kind;
    const char *adapter, *hardware, *tools;
    bool zero_grains;
    const char *parent;
    uint32_t parent_cid;
    uint64_t size;
    unsigned heads;
};

const struct block_option vmdk_create_options[] = {
    { "adapter_type", BLOCK_OPTION_TEXT, "Virtual adapter type (allowed values: ide, lsilogic, buslogic, legacyESX)", "ide",
      false },
    { "backing_file", BLOCK_OPTION_TEXT, "File name of a base image", NULL, false },
    { "backing_fmt", BLOCK_OPTION_TEXT, "Must be 'vmdk' if present", NULL, false },
    { "compat6", BLOCK_OPTION_BOOL, "VMDK version 6 image", "off", false },
    { "hwversion", BLOCK_OPTION_TEXT, "VMDK hardware version", NULL, false },
    { "size", BLOCK_OPTION_SIZE, "Virtual disk size", NULL, false },
    { "subformat", BLOCK_OPTION_TEXT, "VMDK flat extent format (allowed values: monolithicSparse, monolithicFlat, "
      "twoGbMaxExtentSparse, twoGbMaxExtentFlat, streamOptimized)", "monolithicSparse", false },
    { "toolsversion", BLOCK_OPTION_TEXT, "VMware guest tools version", NULL, false },
    { "zeroed_grain", BLOCK_OPTION_BOOL, "Enable efficient zero writes using the zeroed-grain GTE feature", "off", false },
    { .name = NULL },
};

/* Values go into the descriptor's text between quotation marks. */
static int word_check(const char *key, const char *word, struct error *err)
{
    if (strlen(word) > 60 || strspn(word, "0123456789abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ.-") != strlen(word))
        return error_set(err, "%s: '%.60s' is no version", key, word);
    return 0;
}

static int parent_check(const struct block_create_options *o, struct plan *p, struct error *err)
{
    if (p->kind->flat)
        return error_set(err, "%s images cannot have a backing file; use monolithicSparse", p->kind->name);
    if (o->backing_format && strcmp(o->backing_format, "vmdk"))
        return error_set(err, "the backing file of a vmdk image is a vmdk image too, not %s", o->backing_format);
    if (strlen(p->parent) >= VMDK_NAME_MAX || strpbrk(p->parent, "\"\r\n"))
        return error_set(err, "a vmdk image cannot record the name of this backing file");
    char *path = block_path_join(o->filename, p->parent);
    const struct block_open_options open = { .filename = path, .format = "vmdk", .readonly = true, .force_share = true,
                                             .no_backing = true };
    struct block_node *n = path ? block_open(&open, err) : NULL;
    if (n)
        p->parent_cid = ((struct vmdk *)n->state)->d.cid;
    block_close(n);
    free(path);
    return n ? 0 : error_prefix(err, "the backing file is not to be had");
}

static int plan_make(const struct block_create_options *o, struct plan *p, struct error *err)
{
    static const char *const adapters[] = { "ide", "lsilogic", "buslogic", "legacyESX", NULL };
    const char *names[ARRAY_SIZE(kinds) + 1] = { NULL };
    const char *hardware = block_option_get(o->options, "hwversion"), *tools = block_option_get(o->options, "toolsversion");
    unsigned kind = 0, adapter = 0;
    bool six = false;
    for (size_t i = 0; i < ARRAY_SIZE(kinds); i++)
        names[i] = kinds[i].name;
    *p = (struct plan){ .parent = o->backing, .parent_cid = UINT32_MAX, .size = ALIGN_UP(o->size_bytes, (uint64_t)VMDK_SECTOR) };
    if (block_option_choice(o->options, "subformat", names, &kind, err) ||
        block_option_choice(o->options, "adapter_type", adapters, &adapter, err) ||
        block_option_bool(o->options, "compat6", &six, err) ||
        block_option_bool(o->options, "zeroed_grain", &p->zero_grains, err))
        return -1;
    if (six && hardware)
        return error_set(err, "compat6 and hwversion say the same: give one of them");
    if ((hardware && word_check("hwversion", hardware, err)) || (tools && word_check("toolsversion", tools, err)))
        return -1;
    p->kind = &kinds[kind];
    if (o->compress && !p->kind->packed)
        return error_set(err, "of vmdk images only streamOptimized ones are compressed; use -o subformat=streamOptimized");
    p->adapter = adapters[adapter];
    p->heads = adapter ? 255 : 16;
    p->hardware = hardware ? hardware : six ? "6" : "4";
    p->tools = tools ? tools : "2147483647";
    if (p->zero_grains && p->kind->flat)
        return error_set(err, "zeroed_grain is for sparse images, not for %s", p->kind->name);
    if (p->parent && parent_check(o, p, err))
        return -1;
    uint64_t max = p->kind->flat ? 62ull << 40 : p->kind->is_one ? 2ull << 40 : FILES_MAX * SPLIT_BYTES;
    max = p->kind->is_one ? max : MIN(max, FILES_MAX * SPLIT_BYTES);
    if (!p->size || p->size > max)
        return error_set(err, "a %s image holds 1 byte to %llu GiB, not %llu bytes", p->kind->name,
                         (unsigned long long)(max >> 30), (unsigned long long)o->size_bytes);
    return 0;
}

int vmdk_create_check(const struct block_create_options *o, struct error *err)
{
    struct plan p;
    return plan_make(o, &p, err);
}

static int tables_write(struct block_protocol *file, uint64_t directory, uint64_t directory_sectors, uint64_t tables,
                        uint64_t table_sectors)
{
    uint64_t bytes = directory_sectors * VMDK_SECTOR, first = directory + directory_sectors;
    le32 *entry = calloc(1, bytes);
    if (!entry)
        return -ENOMEM;
    for (uint64_t i = 0; i < tables; i++)
        entry[i] = le32_make((uint32_t)(first + i * table_sectors));
    int r = block_protocol_pwrite(file, directory * VMDK_SECTOR, entry, bytes);
    free(entry);
    /* The tables themselves are zeroes: the file is empty, and grown over them below. */
    return r;
}

/* A file with a header, both directories, and tables without grains. text: NULL or the descriptor. */
static int sparse_file_write(struct block_protocol *file, const struct plan *p, uint64_t size, const char *text)
{
    const uint64_t table_sectors = VMDK_GTES * sizeof(le32) / VMDK_SECTOR, per_table = VMDK_GTES * VMDK_GRAIN_SECTORS;
    uint64_t capacity = size / VMDK_SECTOR, tables = (capacity + per_table - 1) / per_table;
    uint64_t directory_sectors = (tables * sizeof(le32) + VMDK_SECTOR - 1) / VMDK_SECTOR;
    uint64_t rgd = 1 + VMDK_DESCRIPTOR_SECTORS, gd = rgd + directory_sectors + tables * table_sectors;
    uint64_t overhead = ALIGN_UP(gd + directory_sectors + tables * table_sectors, (uint64_t)VMDK_GRAIN_SECTORS);
    uint32_t flags = VMDK_FLAG_NEWLINE | VMDK_FLAG_RGD | (p->zero_grains ? VMDK_FLAG_ZERO_GRAIN : 0) |
                     (p->kind->packed ? VMDK_FLAG_COMPRESSED | VMDK_FLAG_MARKERS : 0);
    struct vmdk_header h = {
        .magic = { 'K', 'D', 'M', 'V' }, .version = le32_make(p->kind->packed ? 3 : p->zero_grains ? 2 : 1),
        .flags = le32_make(flags), .capacity = le64_make(capacity), .grain = le64_make(VMDK_GRAIN_SECTORS),
        .descriptor = le64_make(1), .descriptor_sectors = le64_make(VMDK_DESCRIPTOR_SECTORS), .gtes = le32_make(VMDK_GTES),
        .rgd = le64_make(rgd), .gd = le64_make(gd), .overhead = le64_make(overhead), .newline = { '\n', ' ', '\r', '\n' },
        .compression = le16_make(p->kind->packed ? VMDK_COMPRESSION_DEFLATE : 0),
    };
    int r = block_protocol_pwrite(file, 0, &h, sizeof(h));
    if (!r && text)
        r = block_protocol_pwrite(file, VMDK_SECTOR, text, strlen(text));
    if (!r)
        r = tables_write(file, rgd, directory_sectors, tables, table_sectors);
    if (!r)
        r = tables_write(file, gd, directory_sectors, tables, table_sectors);
    if (!r && file->ops->truncate)
        r = file->ops->truncate(file, overhead * VMDK_SECTOR, BLOCK_PREALLOCATION_OFF);
    else if (!r)
        r = block_protocol_write_zeroes(file, overhead * VMDK_SECTOR - VMDK_SECTOR, VMDK_SECTOR, true);
    return r ? r : block_protocol_flush(file);
}

struct text {
    char *data;
    size_t used, room;
};

static void text_add(struct text *t, const char *fmt, ...) __attribute__((format(printf, 2, 3)));
static void text_add(struct text *t, const char *fmt, ...)
{
    va_list ap;
    va_start(ap, fmt);
    int n = vsnprintf(t->data + t->used, t->room - t->used, fmt, ap);
    va_end(ap);
    t->used = MIN(t->used + (size_t)MAX(n, 0), t->room - 1);
}

/* "disk.vmdk" -> "disk-s001.vmdk", "disk-flat.vmdk", without the directory. */
static void file_name(const struct plan *p, const char *filename, unsigned number, char *out, size_t room)
{
    const char *slash = strrchr(filename, '/'), *base = slash ? slash + 1 : filename, *dot = strrchr(base, '.');
    bool known = dot && !strcmp(dot, ".vmdk");
    int stem = (int)(known ? dot - base : (ptrdiff_t)strlen(base));
    if (!p->kind->split)
        snprintf(out, room, "%s", base);
    else if (p->kind->is_one)
        snprintf(out, room, "%.*s-flat%s", stem, base, known ? dot : "");
    else
        snprintf(out, room, "%.*s-%c%03u%s", stem, base, p->kind->flat ? 'f' : 's', number, known ? dot : "");
}

static unsigned file_count(const struct plan *p)
{
    return p->kind->is_one ? 1 : (unsigned)((p->size + SPLIT_BYTES - 1) / SPLIT_BYTES);
}

static uint64_t file_size(const struct plan *p, unsigned i)
{
    return p->kind->is_one ? p->size : MIN(SPLIT_BYTES, p->size - i * SPLIT_BYTES);
}

static int descriptor_make(const struct plan *p, const char *filename, struct text *t)
{
    char name[VMDK_NAME_MAX];
    uint32_t cid;
    if (getrandom(&cid, sizeof(cid), 0) != sizeof(cid))
        return -EIO;
    text_add(t, "# Disk DescriptorFile\nversion=1\nCID=%08x\nparentCID=%08x\ncreateType=\"%s\"\n", cid & 0x7fffffff,
             p->parent_cid, p->kind->name);
    if (p->parent)
        text_add(t, "parentFileNameHint=\"%s\"\n", p->parent);
    text_add(t, "\n# Extent description\n");
    for (unsigned i = 0; i < file_count(p); i++) {
        file_name(p, filename, i + 1, name, sizeof(name));
        text_add(t, "RW %llu %s \"%s\"%s\n", (unsigned long long)(file_size(p, i) / VMDK_SECTOR),
                 p->kind->flat ? "FLAT" : "SPARSE", name, p->kind->flat ? " 0" : "");
    }
    text_add(t, "\n# The Disk Data Base\n#DDB\n\nddb.virtualHWVersion = \"%s\"\nddb.geometry.cylinders = \"%llu\"\n"
             "ddb.geometry.heads = \"%u\"\nddb.geometry.sectors = \"63\"\nddb.adapterType = \"%s\"\nddb.toolsVersion = \"%s\"\n",
             p->hardware, (unsigned long long)(p->size / VMDK_SECTOR / (63 * p->heads)), p->heads, p->adapter, p->tools);
    return t->used + 1 < t->room ? 0 : -ENAMETOOLONG;
}

/* NULL: out of memory. */
static char *extent_path(const struct plan *p, const char *directory_of, unsigned i)
{
    const char *slash = strrchr(directory_of, '/');
    char name[VMDK_NAME_MAX], *path;
    file_name(p, directory_of, i + 1, name, sizeof(name));
    return asprintf(&path, "%.*s%s", slash ? (int)(slash - directory_of + 1) : 0, directory_of, name) < 0 ? NULL : path;
}

static int extent_file_make(const struct plan *p, const struct block_create_options *o, const char *path, unsigned i,
                            bool *created, struct error *err)
{
    char what[BLOCK_LOOK_BYTES];
    struct block_protocol *f = block_file_create(path, created, err);
    int r = f ? 0 : -1;
    if (!r && !*created && !o->force && block_file_look(f, what))
        r = error_set(err, "'%s' holds %s; choose another name, or give --force to replace it", path, what);
    if (!r) {
        int e = f->ops->truncate(f, 0, BLOCK_PREALLOCATION_OFF);
        if (!e)
            e = p->kind->flat ? f->ops->truncate(f, file_size(p, i), BLOCK_PREALLOCATION_OFF) :
                sparse_file_write(f, p, file_size(p, i), NULL);
        r = e ? error_set(err, "cannot write '%s': %s", path, strerror(-e)) : 0;
    }
    if (f)
        f->ops->close(f);
    return r;
}

static int extent_files_make(const struct plan *p, const struct block_create_options *o, const char *directory_of, bool *created,
                             struct error *err)
{
    int r = 0;
    for (unsigned i = 0; !r && i < file_count(p); i++) {
        char *path = extent_path(p, directory_of, i);
        r = path ? extent_file_make(p, o, path, i, &created[i], err) : error_set(err, "out of memory");
        free(path);
    }
    return r;
}

/* All or none. */
static void extent_files_remove(const struct plan *p, const char *directory_of, const bool *created)
{
    for (unsigned i = 0; i < file_count(p); i++) {
        char *path = created[i] ? extent_path(p, directory_of, i) : NULL;
        if (path)
            unlink(path);
        free(path);
    }
}

static int split_create(struct block_protocol *file, const struct plan *p, const struct block_create_options *o,
                        const struct text *t, struct error *err)
{
    bool created[FILES_MAX] = { false };
    int r = extent_files_make(p, o, file->filename, created, err);
    if (!r) {
        int e = block_protocol_pwrite(file, 0, t->data, t->used);
        if (!e)
            e = block_protocol_flush(file);
        r = e ? error_set(err, "cannot write '%s': %s", o->filename, strerror(-e)) : 0;
    }
    if (r)
        extent_files_remove(p, file->filename, created);
    return r;
}

int vmdk_create(struct block_protocol *file, const struct block_create_options *o, struct error *err)
{
    struct plan p;
    if (plan_make(o, &p, err))
        return -1;
    struct text t = { .room = p.kind->split ? VMDK_DESCRIPTOR_MAX : VMDK_DESCRIPTOR_SECTORS * VMDK_SECTOR };
    t.data = calloc(1, t.room);
    int r = t.data ? descriptor_make(&p, file->filename, &t) : -ENOMEM;
    if (r)
        r = r == -ENAMETOOLONG ? error_set(err, "cannot create '%s': its name is too long for the descriptor", o->filename) :
            error_set(err, "cannot write '%s': %s", o->filename, strerror(-r));
    else if (p.kind->split)
        r = split_create(file, &p, o, &t, err);
    else if ((r = sparse_file_write(file, &p, p.size, t.data)))
        r = error_set(err, "cannot write '%s': %s", o->filename, strerror(-r));
    free(t.data);
    return r;
}
