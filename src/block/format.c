/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The list of image formats, and what a file looks like by its first bytes. Formats that ospite cannot open
 * are known by name too, so that they are not given to a guest as raw disks by mistake.
 */
#include "block/block_private.h"

#include "base/bits.h"

#include <string.h>

static const struct block_format *const formats[] = {
    &block_format_qcow2, &block_format_vdi, &block_format_vhdx, &block_format_vmdk, &block_format_vpc, &block_format_qed,
    &block_format_parallels, &block_format_qcow1, &block_format_cloop, &block_format_dmg, &block_format_luks,
    &block_format_raw,
};
#define FORMAT_NAMES "qcow2, raw, vdi, vhdx, vmdk, vpc, qed, parallels, qcow, cloop, dmg, luks"

static const struct {
    const char *name;
    uint32_t offset;
    const char *magic;
    uint32_t length;
} strangers[] = {
    { "VMDK 3 (COWD)", 0, "COWD", 4 },
    { "Bochs", 0, "Bochs Virtual HD Image", 22 },
};

const struct block_format *block_format_probe(const uint8_t *head, size_t length)
{
    for (size_t i = 0; i < ARRAY_SIZE(formats); i++)
        if (formats[i]->probe && formats[i]->probe(head, length))
            return formats[i];
    return NULL;
}

const struct block_format *block_format_probe_end(struct block_protocol *file)
{
    uint8_t end[512];
    size_t name = strlen(file->filename);
    for (size_t i = 0; i < ARRAY_SIZE(formats); i++) {
        const char *suffix = formats[i]->suffix;
        int64_t size = suffix && name > strlen(suffix) && !strcmp(file->filename + name - strlen(suffix), suffix) ?
                       file->ops->size(file) : 0;
        if (size >= (int64_t)sizeof(end) && !block_protocol_pread(file, (uint64_t)size - sizeof(end), end, sizeof(end)) &&
            formats[i]->probe_end(end))
            return formats[i];
    }
    return NULL;
}

const struct block_format *block_format_find(const char *name)
{
    for (size_t i = 0; i < ARRAY_SIZE(formats); i++)
        if (!strcmp(formats[i]->name, name))
            return formats[i];
    return NULL;
}

const char *block_format_looks_like(const uint8_t *head, size_t length)
{
    const struct block_format *f = block_format_probe(head, length);
    if (f)
        return f->name;
    for (size_t i = 0; i < ARRAY_SIZE(strangers); i++)
        if (strangers[i].offset + strangers[i].length <= length &&
            !memcmp(head + strangers[i].offset, strangers[i].magic, strangers[i].length))
            return strangers[i].name;
    return "raw";
}

const char *block_format_names(void)
{
    return FORMAT_NAMES;
}

const char *block_format_nth(unsigned i)
{
    return i < ARRAY_SIZE(formats) ? formats[i]->name : NULL;
}

bool block_format_exists(const char *format)
{
    return block_format_find(format);
}

const struct block_option *block_create_table(const char *format)
{
    const struct block_format *f = block_format_find(format);
    return f && f->create ? f->create_options : NULL;
}

const struct block_option *block_amend_table(const char *format)
{
    const struct block_format *f = block_format_find(format);
    return f ? f->amend_options : NULL;
}

bool block_format_new_is_zero(const char *format)
{
    const struct block_format *f = block_format_find(format);
    return f && !f->new_is_garbage;
}

bool block_format_can_rebase(const char *format)
{
    const struct block_format *f = block_format_find(format);
    return f && f->backing_change;
}

bool block_format_has_backing(const char *format)
{
    const struct block_format *f = block_format_find(format);
    return f && f->has_backing;
}

bool block_format_has_compression(const char *format)
{
    const struct block_format *f = block_format_find(format);
    return f && f->write_compressed;
}

bool block_format_has_bitmaps(const char *format)
{
    const struct block_format *f = block_format_find(format);
    return f && f->bitmap_change;
}

bool block_format_has_repair(const char *format)
{
    const struct block_format *f = block_format_find(format);
    return f && f->check && f->repairs;
}

bool block_format_has_check(const char *format)
{
    const struct block_format *f = block_format_find(format);
    return f && f->check;
}

bool block_format_has_make_empty(const char *format)
{
    const struct block_format *f = block_format_find(format);
    return f && f->make_empty;
}
