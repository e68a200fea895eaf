/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The list of protocols: which one a file name or driver= means. A path with a colon in it is a path when such a file
 * exists, or when nothing like a protocol stands before the colon.
 */
#include "block/block_private.h"

#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "base/bits.h"
#include "base/nearest.h"

static struct block_protocol *file_driver_open(const char *filename, const struct block_option_set *options,
                                               const struct block_objects *objects, const struct block_file_options *o,
                                               struct error *err)
{
    static const char *const aio[] = { "threads", "native", "io_uring", NULL };
    struct block_file_options own = *o;
    unsigned any;
    const char *locking = block_option_get(options, "locking");
    if (!filename)
        filename = block_option_get(options, "filename");
    if (!filename || !*filename) {
        error_set(err, "the name of the file is missing; give file.filename=NAME");
        return NULL;
    }
    if (block_option_choice(options, "aio", aio, &any, err))
        return NULL;
    if (!strncmp(filename, "file:", 5) && access(filename, F_OK))
        filename += 5;
    if (locking && !strcmp(locking, "off"))
        own.no_lock = true;
    return block_file_open(filename, &own, err);
}

static const struct block_option file_options[] = {
    { "filename", BLOCK_OPTION_TEXT, "path", NULL, false }, { "locking", BLOCK_OPTION_TEXT, "auto, on, off", "auto", false },
    { "aio", BLOCK_OPTION_TEXT, "threads, native, io_uring; any: requests go where they are quickest", NULL, false },
    { .name = NULL },
};
static const char *const file_prefixes[] = { "file:", NULL };
static const char *const no_prefixes[] = { NULL };

static const struct block_protocol_driver files = { "file", file_prefixes, file_options, file_driver_open },
                                          devices = { "host_device", no_prefixes, file_options, file_driver_open };
static const struct block_protocol_driver *const drivers[] = { &files, &devices, &block_protocol_nbd,
                                                              &block_protocol_http, &block_protocol_https };

/* Names of protocols that are not here, so that they are not taken for files. */
static const char *const foreign[] = { "nbd+", "ssh:", "ftp:", "ftps:", "iscsi:", "rbd:",
                                       "gluster", "nfs:", "vvfat:", "fat:", "blkdebug:", "blkverify:", "null-co:", "nvme:" };

const struct block_protocol_driver *block_protocol_driver_find(const char *name)
{
    for (size_t i = 0; i < ARRAY_SIZE(drivers); i++)
        if (!strcmp(drivers[i]->name, name))
            return drivers[i];
    return NULL;
}

const char *block_protocol_nth(unsigned i)
{
    return i < ARRAY_SIZE(drivers) ? drivers[i]->name : NULL;
}

const struct block_protocol_driver *block_protocol_find(const char *filename)
{
    for (size_t i = 0; i < ARRAY_SIZE(drivers); i++)
        for (const char *const *p = drivers[i]->prefixes; *p; p++)
            if (!strncmp(filename, *p, strlen(*p)) && access(filename, F_OK))
                return drivers[i];
    for (size_t i = 0; i < ARRAY_SIZE(foreign); i++)
        if (!strncmp(filename, foreign[i], strlen(foreign[i])) && strchr(filename, ':') && access(filename, F_OK))
            return NULL;
    return drivers[0];
}

static int unknown(const char *filename, const char *name, struct error *err)
{
    char all[256] = "";
    for (size_t i = 0; i < ARRAY_SIZE(drivers); i++)
        snprintf(all + strlen(all), sizeof(all) - strlen(all), "%s%s", i ? ", " : "", drivers[i]->name);
    return error_set(err, "cannot open '%s': the protocol '%.*s' is not one of %s; copy the image to a file",
                     filename, (int)strcspn(name, ":"), name, all);
}

struct block_protocol *block_protocol_open(const char *filename, const struct block_option_set *options,
                                           const struct block_objects *objects, const struct block_file_options *o,
                                           struct error *err)
{
    const char *name = block_option_get(options, "driver");
    const struct block_protocol_driver *d = name ? block_protocol_driver_find(name) : filename ?
                                            block_protocol_find(filename) : drivers[0];
    struct block_options_arena own = { 0 };
    struct block_protocol *p = NULL;
    if (!d) {
        unknown(filename ? filename : "image", name ? name : filename, err);
        return NULL;
    }
    bool failed = false;
    for (unsigned i = 0; options && i < options->count; i++)
        if (strcmp(options->item[i].key, "driver"))
            failed |= block_options_add(&own, options->item[i].key, options->item[i].value) != 0;
    if (failed)
        error_set(err, "cannot open '%s': out of memory", filename ? filename : "image");
    else if (!block_options_check(&own.set, d->open_options, d->name, err))
        p = d->open(filename, &own.set, objects, o, err);
    block_options_free(&own);
    return p;
}
