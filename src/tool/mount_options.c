/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Options of 'ospite mount' and 'ospite umount': a row each. The letters are those of 'ospite nbd'. */
#include "tool/mount_options.h"

#include <getopt.h>
#include <stdio.h>
#include <string.h>

#include "base/bits.h"
#include "base/error.h"
#include "base/nearest.h"
#include "tool/image_options.h"
#include "tool/option_list.h"

typedef int set_fn(struct mount_options *o, const char *arg, struct error *err);

#define SET_TEXT(name) \
    static int set_##name(struct mount_options *o, const char *arg, struct error *err) { o->name = arg; return 0; }
#define SET_FLAG(name) \
    static int set_##name(struct mount_options *o, const char *arg, struct error *err) { o->name = true; return 0; }

SET_FLAG(help)
SET_FLAG(version)
SET_FLAG(readonly)
SET_FLAG(snapshot)
SET_FLAG(foreground)
SET_FLAG(allow_other)
SET_FLAG(allow_root)
SET_FLAG(image_options)
SET_TEXT(format)
SET_TEXT(pid_file)

static int set_object(struct mount_options *o, const char *arg, struct error *err)
{
    struct option_list l;
    if (option_list_parse(&l, o->arena, arg, "qom-type", err))
        return error_prefix(err, "--object");
    const char *type = option_list_get(&l, "qom-type");
    if (!type || strcmp(type, "secret"))
        return error_set(err, "--object: write secret,id=NAME,file=PATH");
    return option_list_apply(&l, "--object secret", secret_keys, NULL, err) ? -1 : secrets_add(&o->secrets, &l, err);
}

static int set_cache(struct mount_options *o, const char *arg, struct error *err)
{
    static const char *const names[] = { "writeback", "writethrough", "none", "directsync", "unsafe", NULL };
    unsigned i;
    if (value_choice("--cache", arg, names, &i, err))
        return -1;
    o->cache = (enum block_cache)i;
    return 0;
}

static int set_nocache(struct mount_options *o, const char *arg, struct error *err)
{
    return set_cache(o, "none", err);
}

static int set_discard(struct mount_options *o, const char *arg, struct error *err)
{
    static const char *const names[] = { "unmap", "on", "ignore", "off", NULL };
    unsigned i;
    if (value_choice("--discard", arg, names, &i, err))
        return -1;
    o->keep_discards = i >= 2;
    return 0;
}

enum { LONG_ONLY = 256 };
static const struct row {
    char letter;
    const char *name, *arg, *help;
    set_fn *set;
    bool both;                      /* 'ospite umount' has it too */
} rows[] = {
    { 'h', "help", NULL, "show this help", set_help, true },
    { 'V', "version", NULL, "show the version", set_version, true },
    { 'f', "format", "FORMAT", "the image's format (default: what it looks like)", set_format, false },
    { 'r', "read-only", NULL, "nothing can be written", set_readonly, false },
    { 's', "snapshot", NULL, "writes go to a temporary file that is dropped", set_snapshot, false },
    { 'n', "nocache", NULL, "the same as --cache=none", set_nocache, false },
    { 0, "cache", "MODE", "writeback (default), writethrough, none, directsync, unsafe", set_cache, false },
    { 0, "discard", "MODE", "unmap (default): holes that are punched become free space of the image; or ignore",
      set_discard, false },
    { 0, "object", "secret,id=ID,...", "a passphrase: data=TEXT or file=PATH, format=raw or base64", set_object, false },
    { 0, "image-opts", NULL, "IMAGE is driver=luks,file.filename=NAME,key-secret=ID,...", set_image_options, false },
    { 0, "allow-other", NULL, "other users may use the files too, as far as their mode lets them", set_allow_other, false },
    { 0, "allow-root", NULL, "root may use the files too", set_allow_root, false },
    { 0, "foreground", NULL, "stay in the foreground", set_foreground, false },
    { 0, "pid-file", "PATH", "write the process number to PATH", set_pid_file, false },
};

void mount_options_help(const struct mount_options *o)
{
    printf(o->unmounts ? "usage: ospite umount DIR\n"
           "Ends 'ospite mount': returns when all that was written is in the image and the image is closed.\n\n" :
           "usage: ospite mount [OPTION]... IMAGE DIR\n"
           "Shows a disk image as the file DIR/disk, and its partitions as DIR/p1, DIR/p2, ...\n\n");
    for (size_t i = 0; i < ARRAY_SIZE(rows); i++) {
        char left[64], letter[8] = "    ";
        if (o->unmounts && !rows[i].both)
            continue;
        if (rows[i].letter)
            snprintf(letter, sizeof(letter), "-%c, ", rows[i].letter);
        snprintf(left, sizeof(left), "%s--%s%s%s", letter, rows[i].name, rows[i].arg ? "=" : "",
                 rows[i].arg ? rows[i].arg : "");
        printf("  %-24s %s\n", left, rows[i].help);
    }
    if (!o->unmounts)
        printf("\nexample: ospite mount disk.qcow2 /tmp/d && mount -o loop /tmp/d/p1 /mnt\n"
               "         umount /mnt && ospite umount /tmp/d\n");
}

static int unknown_option(const char *text, const char *tool, struct error *err)
{
    const char *names[ARRAY_SIZE(rows)];
    char bare[64];
    for (size_t i = 0; i < ARRAY_SIZE(rows); i++)
        names[i] = rows[i].name;
    snprintf(bare, sizeof(bare), "%.*s", (int)strcspn(text + strspn(text, "-"), "="), text + strspn(text, "-"));
    const char *near = nearest_name(bare, names, ARRAY_SIZE(names));
    return near ? error_set(err, "'%s': unknown option; did you mean '--%s'?", text, near) :
           error_set(err, "'%s': unknown option; see ospite %s --help", text, tool);
}

static int options_get(struct mount_options *o, int argc, char **argv, struct error *err)
{
    struct option longs[ARRAY_SIZE(rows) + 1] = { 0 };
    char shorts[3 * ARRAY_SIZE(rows) + 2] = ":";
    for (size_t i = 0, used = 0; i < ARRAY_SIZE(rows); i++) {
        size_t n = strlen(shorts);
        if (o->unmounts && !rows[i].both)
            continue;
        longs[used++] = (struct option){ rows[i].name, rows[i].arg ? required_argument : no_argument, NULL,
                                         LONG_ONLY + (int)i };
        if (rows[i].letter)
            snprintf(shorts + n, sizeof(shorts) - n, "%c%s", rows[i].letter, rows[i].arg ? ":" : "");
    }
    opterr = 0;
    optind = 1;
    for (int c; (c = getopt_long(argc, argv, shorts, longs, NULL)) != -1;) {
        const char *text = argv[optind - 1];
        if (c == ':')
            return error_set(err, "'%s' wants a value; see ospite %s --help", text, argv[0]);
        const struct row *row = c >= LONG_ONLY ? &rows[c - LONG_ONLY] : NULL;
        for (size_t i = 0; !row && c != '?' && i < ARRAY_SIZE(rows); i++)
            if (rows[i].letter == c)
                row = &rows[i];
        if (!row && !strncmp(text, "--", 2))
            return unknown_option(text, argv[0], err);
        if (!row)
            return error_set(err, "'-%c': unknown option; see ospite %s --help", optopt ? optopt : c, argv[0]);
        if (row->set(o, optarg, err))
            return -1;
    }
    return 0;
}

int mount_options_parse(struct mount_options *o, int argc, char **argv, struct error *err)
{
    *o = (struct mount_options){ .unmounts = !strcmp(argv[0], "umount"), .arena = arena_new() };
    if (options_get(o, argc, argv, err))
        return -1;
    int left = argc - optind, want = o->unmounts ? 1 : 2;
    if (o->help || o->version)
        return 0;
    if (left != want)
        return error_set(err, "%s. Write: ospite %s", left < want ? o->unmounts ? "which directory?" :
                         "an image and a directory are needed" : "too many names",
                         o->unmounts ? "umount DIR" : "mount [options] IMAGE DIR");
    o->directory = argv[argc - 1];
    o->image = o->unmounts ? NULL : argv[optind];
    if (o->allow_other && o->allow_root)
        return error_set(err, "--allow-other lets root in already; leave out --allow-root");
    if (!o->image_options)
        return 0;
    if (o->format)
        return error_set(err, "--image-opts and -f both give the format: use driver=%s in the options", o->format);
    if (image_options_parse(o->arena, o->image, &o->options, err))
        return -1;
    o->image = image_options_name(&o->options, o->image);
    return 0;
}

void mount_options_free(struct mount_options *o)
{
    secrets_free(&o->secrets);
    if (o->arena)
        arena_free(o->arena);
}
