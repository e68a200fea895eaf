/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * New images. Everything that can be refused is refused before the file is opened; then it is opened and locked as a
 * writer does it, so that an image in use is not touched, and what it holds is looked at under the lock. Only then is it
 * emptied and handed to the format. When the format fails, what was not there before is removed again, and a file that was is
 * left empty.
 */
#include "block/block_private.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <linux/fs.h>
#include <sys/ioctl.h>
#include <unistd.h>

#include "base/bits.h"
#include "base/log.h"

static int file_name_check(const char *filename, const char **path, struct error *err)
{
    *path = filename;
    if (!filename || !*filename)
        return error_set(err, "the file name is empty");
    if (!strncmp(filename, "file:", 5) && access(filename, F_OK)) {
        *path = filename + 5;
        return 0;
    }
    const struct block_protocol_driver *d = block_protocol_find(filename);
    if (!strncmp(filename, "json:", 5) || !d || strcmp(d->name, "file"))
        return error_set(err, "cannot create '%s': only files and block devices can be created here; create it with the "
                         "tools of the machine that has it, then use 'convert -n'", filename);
    return 0;
}

int block_create_check(const struct block_create_options *o, struct error *err)
{
    const struct block_format *f = block_format_find(o->format);
    const char *path;
    if (!f)
        return error_set(err, "unknown format '%s'; known are %s", o->format, block_format_names());
    if (!f->create)
        return error_set(err, "%s images can be read but not created; use qcow2", f->name);
    if (o->backing && !f->has_backing)
        return error_set(err, "%s images have no backing file; use qcow2", f->name);
    if (file_name_check(o->filename, &path, err) || block_options_check(o->options, f->create_options, f->name, err))
        return -1;
    bool nocow;
    if (block_option_bool(o->options, "nocow", &nocow, err))
        return -1;
    return f->create_check ? f->create_check(o, err) : 0;
}

static int file_empty(struct block_protocol *p)
{
    int64_t size = p->ops->size(p);
    int r = size < 0 ? (int)size : 0;
    if (!r && size > 0 && p->ops->truncate)
        r = p->ops->truncate(p, 0, BLOCK_PREALLOCATION_OFF);
    return r == -ENOTSUP ? 0 : r;       /* a device */
}

/* FS_IOC_SETFLAGS, ioctl_iflags(2): only while the file is empty. Elsewhere than on btrfs nothing is copied on write anyway. */
static void copy_on_write_end(const struct block_protocol *p)
{
    int flags = 0;
    if (ioctl(p->fd, FS_IOC_GETFLAGS, &flags))
        return;
    flags |= FS_NOCOW_FL;
    if (ioctl(p->fd, FS_IOC_SETFLAGS, &flags))
        log_message("'%s': nocow=on is left out, its file system has no such flag", p->filename);
}

static int file_fill(struct block_protocol *p, const struct block_create_options *o, bool created, struct error *err)
{
    char what[BLOCK_LOOK_BYTES];
    bool nocow = false;
    if (!o->force && !created && block_file_look(p, what))
        return error_set(err, "'%s' holds %s; choose another name, or give --force to replace it", o->filename, what);
    int r = file_empty(p);
    if (r)
        return error_set(err, "cannot empty '%s': %s", o->filename, strerror(-r));
    if (!block_option_bool(o->options, "nocow", &nocow, err) && nocow)
        copy_on_write_end(p);
    r = block_format_find(o->format)->create(p, o, err);
    if (r && !created)
        file_empty(p);
    return r;
}

int block_create(const struct block_create_options *o, struct error *err)
{
    const char *path;
    bool created = false;
    if (block_create_check(o, err) || file_name_check(o->filename, &path, err))
        return -1;
    struct block_protocol *p = block_file_create(path, &created, err);
    if (!p)
        return -1;
    int r = file_fill(p, o, created, err);
    if (r && created)
        unlink(path);
    p->ops->close(p);
    return r;
}

bool block_create_look(const char *filename, char what[BLOCK_LOOK_BYTES])
{
    const struct block_file_options o = { .readonly = true, .no_lock = true };
    const char *path;
    if (file_name_check(filename, &path, NULL))
        return false;
    struct block_protocol *p = block_file_open(path, &o, NULL);
    bool holds = p && block_file_look(p, what);
    if (p)
        p->ops->close(p);
    return holds;
}
