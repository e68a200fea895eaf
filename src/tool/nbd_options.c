/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Options of 'ospite nbd': a row each, with qemu-nbd's letters and long names. What that tool has and this one has not
 * is refused by name. New here: --export for more than one image, several FILEs, and -P (which qemu-nbd had until 5.2).
 */
#include "tool/nbd_options.h"

#include <getopt.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/bits.h"
#include "base/error.h"
#include "base/log.h"
#include "base/nearest.h"
#include "tool/image_options.h"

typedef int set_fn(struct nbd_tool *t, const char *arg, struct error *err);

#define SET_TEXT(name, field) \
    static int set_##name(struct nbd_tool *t, const char *arg, struct error *err) { t->field = arg; return 0; }
#define SET_FLAG(name, field) \
    static int set_##name(struct nbd_tool *t, const char *arg, struct error *err) { t->field = true; return 0; }

SET_FLAG(help, help)
SET_FLAG(version, version)
SET_TEXT(bind, bind)
SET_TEXT(socket, socket)
SET_FLAG(persistent, persistent)
SET_FLAG(verbose, verbose)
SET_TEXT(name, plain.name)
SET_TEXT(description, plain.description)
SET_TEXT(bitmap, plain.bitmap)
SET_TEXT(connect, connect)
SET_TEXT(disconnect, disconnect)
SET_FLAG(readonly, plain.readonly)
SET_FLAG(depth, plain.depth)
SET_FLAG(snapshot, snapshot)
SET_TEXT(format, plain.format)
SET_FLAG(fork, fork)
SET_TEXT(pid_file, pid_file)
SET_TEXT(tls_creds, tls_creds)
SET_TEXT(tls_authz, tls_authz)
SET_TEXT(tls_hostname, tls_hostname)
SET_FLAG(image_options, image_options)
SET_FLAG(list, list)

static int set_port(struct nbd_tool *t, const char *arg, struct error *err)
{
    t->port_given = true;
    if (value_unsigned("-p", arg, 65535, &t->port, err))
        return -1;
    return t->port ? 0 : error_set(err, "-p: ports are numbers from 1 to 65535");
}

static int set_shared(struct nbd_tool *t, const char *arg, struct error *err)
{
    uint64_t n;
    if (value_unsigned("-e", arg, 1024, &n, err))
        return -1;
    t->shared = (unsigned)n;
    t->shared_given = true;
    return 0;
}

static int set_offset(struct nbd_tool *t, const char *arg, struct error *err)
{
    return value_size("-o", arg, 1, &t->plain.offset, err);
}

static int partition_set(struct nbd_image *i, const char *arg, struct error *err)
{
    uint64_t n;
    if (value_unsigned("-P", arg, 1024, &n, err))
        return -1;
    i->partition = (unsigned)n;
    return n ? 0 : error_set(err, "-P: partitions are counted from 1");
}

static int set_partition(struct nbd_tool *t, const char *arg, struct error *err)
{
    return partition_set(&t->plain, arg, err);
}

static int set_load_snapshot(struct nbd_tool *t, const char *arg, struct error *err)
{
    t->plain.snapshot = image_snapshot_name(t->arena, arg, err);
    return t->plain.snapshot ? 0 : -1;
}

static int set_cache(struct nbd_tool *t, const char *arg, struct error *err)
{
    static const char *const names[] = { "writeback", "writethrough", "none", "directsync", "unsafe", "off", NULL };
    unsigned i;
    if (t->cache_given)
        return error_set(err, "-n and --cache can only be given once");
    if (value_choice("--cache", arg, names, &i, err))
        return -1;
    t->cache = i == 5 ? BLOCK_CACHE_NONE : (enum block_cache)i;
    t->cache_given = true;
    return 0;
}

static int set_nocache(struct nbd_tool *t, const char *arg, struct error *err)
{
    return set_cache(t, "none", err);
}

static int set_aio(struct nbd_tool *t, const char *arg, struct error *err)
{
    static const char *const names[] = { "threads", "native", "io_uring", NULL };
    unsigned i;
    t->aio = arg;
    return value_choice("--aio", arg, names, &i, err);
}

static int set_discard(struct nbd_tool *t, const char *arg, struct error *err)
{
    static const char *const names[] = { "ignore", "off", "unmap", "on", NULL };
    unsigned i;
    if (value_choice("--discard", arg, names, &i, err))
        return -1;
    t->discard = i >= 2;
    return 0;
}

static int set_detect_zeroes(struct nbd_tool *t, const char *arg, struct error *err)
{
    static const char *const names[] = { "off", "on", "unmap", NULL };
    unsigned i;
    if (value_choice("--detect-zeroes", arg, names, &i, err))
        return -1;
    t->detect_zeroes = (enum nbd_detect_zeroes)i;
    return 0;
}

static int set_object(struct nbd_tool *t, const char *arg, struct error *err)
{
    if (t->objects == NBD_TOOL_OBJECTS)
        return error_set(err, "--object: more than %d of them", NBD_TOOL_OBJECTS);
    struct nbd_object *o = &t->object[t->objects++];
    if (option_list_parse(&o->list, t->arena, arg, "qom-type", err))
        return error_prefix(err, "--object");
    o->type = option_list_get(&o->list, "qom-type");
    o->id = option_list_get(&o->list, "id");
    return o->type && o->id ? 0 : error_set(err, "--object: write TYPE,id=NAME,...");
}

static int set_trace(struct nbd_tool *t, const char *arg, struct error *err)
{
    struct option_list l;
    static const struct option_key keys[] = { { .name = "enable" }, { .name = "file" }, { .name = NULL } };
    if (option_list_parse(&l, t->arena, arg, "enable", err) || option_list_apply(&l, "-T", keys, NULL, err))
        return -1;
    const char *list = option_list_get(&l, "enable"), *file = option_list_get(&l, "file");
    t->trace_help = list && !strcmp(list, "help");
    if (t->trace_help)
        return 0;
    if (file && log_trace_file(file, err))
        return -1;
    return list ? log_trace_enable(list, err) : 0;
}

static int export_filename(void *i, const char *v, struct error *err) { ((struct nbd_image *)i)->filename = v; return 0; }
static int export_name(void *i, const char *v, struct error *err) { ((struct nbd_image *)i)->name = v; return 0; }
static int export_format(void *i, const char *v, struct error *err) { ((struct nbd_image *)i)->format = v; return 0; }
static int export_description(void *i, const char *v, struct error *err)
{
    ((struct nbd_image *)i)->description = v;
    return 0;
}
static int export_readonly(void *i, const char *v, struct error *err)
{
    return value_bool("read-only", v, &((struct nbd_image *)i)->readonly, err);
}
static int export_offset(void *i, const char *v, struct error *err)
{
    return value_size("offset", v, 1, &((struct nbd_image *)i)->offset, err);
}
static int export_bitmap(void *i, const char *v, struct error *err) { ((struct nbd_image *)i)->bitmap = v; return 0; }
static int export_depth(void *i, const char *v, struct error *err)
{
    return value_bool("allocation-depth", v, &((struct nbd_image *)i)->depth, err);
}
static int export_snapshot(void *i, const char *v, struct error *err) { ((struct nbd_image *)i)->snapshot = v; return 0; }
static int export_partition(void *i, const char *v, struct error *err) { return partition_set(i, v, err); }

static int image_add(struct nbd_tool *t, const struct nbd_image *i, struct error *err)
{
    if (t->images == NBD_TOOL_IMAGES)
        return error_set(err, "more than %d images", NBD_TOOL_IMAGES);
    if (i->snapshot && (t->snapshot || i->bitmap))
        return error_set(err, "-l shows a disk as it was: no -s and no -B with it");
    t->image[t->images++] = *i;
    return 0;
}

static int set_export(struct nbd_tool *t, const char *arg, struct error *err)
{
    static const struct option_key keys[] = {
        { "file", export_filename }, { "name", export_name }, { "format", export_format }, { "offset", export_offset },
        { "description", export_description }, { "read-only", export_readonly }, { "partition", export_partition },
        { "bitmap", export_bitmap }, { "allocation-depth", export_depth }, { "load-snapshot", export_snapshot }, { .name = NULL },
    };
    struct nbd_image i = { 0 };
    struct option_list l;
    if (option_list_parse(&l, t->arena, arg, "file", err) || option_list_apply(&l, "--export", keys, &i, err))
        return -1;
    if (!i.filename || !i.name)
        return error_set(err, "--export: write file=IMAGE,name=NAME[,format=F,read-only=on,...]");
    return image_add(t, &i, err);
}

static int set_label(struct nbd_tool *t, const char *arg, struct error *err)
{
    t->label = arg;
    return *arg ? 0 : error_set(err, "--selinux-label: the label is empty");
}

enum { LONG_ONLY = 256 };
static const struct row {
    char letter;
    const char *name, *arg, *help;
    set_fn *set;                    /* NULL: refused, with the words in help */
} rows[] = {
    { 'h', "help", NULL, "show this help", set_help },
    { 'V', "version", NULL, "show the version", set_version },
    { 'p', "port", "PORT", "TCP port (default 10809)", set_port },
    { 'b', "bind", "ADDRESS", "address to listen on (default: all of IPv4, 0.0.0.0)", set_bind },
    { 'k', "socket", "PATH", "listen on a unix socket", set_socket },
    { 'e', "shared", "NUM", "how many clients at a time (default 1, 0: no limit)", set_shared },
    { 't', "persistent", NULL, "go on when the last client has left", set_persistent },
    { 'v', "verbose", NULL, "say why connections end; stay in the foreground", set_verbose },
    { 'x', "export-name", "NAME", "name of the export (default: empty)", set_name },
    { 'D', "description", "TEXT", "what the export is, for people", set_description },
    { 0, "export", "file=F,name=N,...", "one more image; also format=, read-only=, description=, offset=, partition=, bitmap=, "
      "allocation-depth=, load-snapshot=",
      set_export },
    { 'o', "offset", "OFFSET", "where in the image the export begins", set_offset },
    { 'P', "partition", "NUM", "only this partition (GPT, or MBR with logical ones from 5)", set_partition },
    { 'A', "allocation-depth", NULL, "show which image of the chain holds what, as qemu:allocation-depth", set_depth },
    { 'B', "bitmap", "NAME", "show this dirty bitmap, as qemu:dirty-bitmap:NAME", set_bitmap },
    { 'L', "list", NULL, "list the exports of another server (with -k, or -b and -p)", set_list },
    { 0, "object", "TYPE,id=ID,...", "tls-creds-x509, tls-creds-psk, tls-creds-anon, secret, authz-simple", set_object },
    { 0, "tls-creds", "ID", "TLS with the credentials of that --object, and nothing without TLS", set_tls_creds },
    { 0, "tls-authz", "ID", "only the client that the authz-simple object names", set_tls_authz },
    { 0, "tls-hostname", "NAME", "with -L: the name in the server's certificate", set_tls_hostname },
    { 'T', "trace", "LIST[,file=F]", "trace these categories; 'help' lists them", set_trace },
    { 0, "fork", NULL, "go to the background when clients can connect", set_fork },
    { 0, "pid-file", "PATH", "write the process number to PATH", set_pid_file },
    { 0, "selinux-label", "LABEL", "with -k: SELinux' label of the socket", set_label },
    { 'c', "connect", "DEV", "let the kernel's /dev/nbdN be this image", set_connect },
    { 'd', "disconnect", "DEV", "end that", set_disconnect },
    { 'f', "format", "FORMAT", "raw, qcow2, vdi, vhdx, vmdk, vpc, qed, parallels, qcow, cloop, dmg, luks (default: guessed)", set_format },
    { 'r', "read-only", NULL, "export read-only", set_readonly },
    { 's', "snapshot", NULL, "writes go to a temporary file that is dropped", set_snapshot },
    { 'l', "load-snapshot", "SNAPSHOT", "the disk as it was in this internal snapshot (ID or name), read-only", set_load_snapshot },
    { 'n', "nocache", NULL, "the same as --cache=none", set_nocache },
    { 0, "cache", "MODE", "writeback (default), writethrough, none, directsync, unsafe", set_cache },
    { 0, "aio", "MODE", "threads, native, io_uring: all served by the connection's own threads", set_aio },
    { 0, "discard", "MODE", "ignore (default) or unmap", set_discard },
    { 0, "detect-zeroes", "MODE", "off (default), on, or unmap", set_detect_zeroes },
    { 0, "image-opts", NULL, "FILE is driver=qcow2,file.filename=NAME,...", set_image_options },
};

void nbd_options_help(void)
{
    printf("usage: ospite nbd [OPTION]... FILE...\n"
           "       ospite nbd -L [-k PATH | -b HOST -p PORT]\n"
           "       ospite nbd -d /dev/nbdN\n"
           "Exports disk images to NBD clients.\n\n");
    for (size_t i = 0; i < ARRAY_SIZE(rows); i++) {
        char left[64], letter[8] = "    ";
        if (!rows[i].set)
            continue;
        if (rows[i].letter)
            snprintf(letter, sizeof(letter), "-%c, ", rows[i].letter);
        snprintf(left, sizeof(left), "%s--%s%s%s", letter, rows[i].name, rows[i].arg ? "=" : "",
                 rows[i].arg ? rows[i].arg : "");
        printf("  %-34s %s\n", left, rows[i].help);
    }
    printf("\nWith several FILEs each export has its file's name, without the directory.\n"
           "example: ospite nbd -k /tmp/disk.sock -t -e 4 -f qcow2 disk.qcow2\n"
           "         nbdinfo 'nbd+unix:///?socket=/tmp/disk.sock'\n");
}

static int unknown_option(const char *text, struct error *err)
{
    const char *names[ARRAY_SIZE(rows)];
    char bare[64];
    for (size_t i = 0; i < ARRAY_SIZE(rows); i++)
        names[i] = rows[i].name;
    snprintf(bare, sizeof(bare), "%.*s", (int)strcspn(text + strspn(text, "-"), "="), text + strspn(text, "-"));
    const char *near = nearest_name(bare, names, ARRAY_SIZE(names));
    return near ? error_set(err, "'%s': unknown option; did you mean '--%s'?", text, near) :
           error_set(err, "'%s': unknown option; see ospite nbd --help", text);
}

static int row_apply(struct nbd_tool *t, const struct row *row, const char *arg, struct error *err)
{
    return row->set ? row->set(t, arg, err) : error_set(err, "--%s is not supported: %s", row->name, row->help);
}

static int options_get(struct nbd_tool *t, int argc, char **argv, struct error *err)
{
    struct option longs[ARRAY_SIZE(rows) + 1] = { 0 };
    char shorts[3 * ARRAY_SIZE(rows) + 2] = ":";
    for (size_t i = 0; i < ARRAY_SIZE(rows); i++) {
        size_t n = strlen(shorts);
        longs[i] = (struct option){ rows[i].name, rows[i].arg ? required_argument : no_argument, NULL, LONG_ONLY + (int)i };
        if (rows[i].letter)
            snprintf(shorts + n, sizeof(shorts) - n, "%c%s", rows[i].letter, rows[i].arg ? ":" : "");
    }
    opterr = 0;
    optind = 1;
    for (int c; (c = getopt_long(argc, argv, shorts, longs, NULL)) != -1;) {
        const char *text = argv[optind - 1];
        if (c == ':')
            return error_set(err, "'%s' wants a value; see ospite nbd --help", text);
        const struct row *row = c >= LONG_ONLY ? &rows[c - LONG_ONLY] : NULL;
        for (size_t i = 0; !row && c != '?' && i < ARRAY_SIZE(rows); i++)
            if (rows[i].letter == c)
                row = &rows[i];
        if (!row && !strncmp(text, "--", 2))
            return unknown_option(text, err);
        if (!row)
            return error_set(err, "'-%c': unknown option; see ospite nbd --help", optopt ? optopt : c);
        if (row_apply(t, row, optarg, err))
            return -1;
    }
    return 0;
}

static int image_options_take(struct nbd_tool *t, struct nbd_image *i, struct error *err)
{
    if (i->format)
        return error_set(err, "--image-opts and -f both give the format: use driver=%s in the options", i->format);
    i->options = arena_room(t->arena, sizeof(*i->options));
    if (image_options_parse(t->arena, i->filename, i->options, err))
        return -1;
    i->filename = image_options_name(i->options, i->filename);
    return 0;
}

static int files_take(struct nbd_tool *t, int count, char **files, struct error *err)
{
    bool many = count > 1 || t->images;
    for (int k = 0; k < count; k++) {
        struct nbd_image i = t->plain;
        const char *slash = strrchr(files[k], '/');
        i.filename = files[k];
        if (many && !(count == 1 && i.name))
            i.name = slash ? slash + 1 : files[k];
        if (!i.name)
            i.name = "";
        if (t->image_options && image_options_take(t, &i, err))
            return -1;
        if (image_add(t, &i, err))
            return -1;
    }
    if (count > 1 && t->plain.name)
        return error_set(err, "-x names one export; give the others with --export file=F,name=N");
    return 0;
}

static int together_check(const struct nbd_tool *t, struct error *err)
{
    bool serves = !t->disconnect && !t->list;
    if (serves && !t->images)
        return error_set(err, "which image? Write: ospite nbd [options] FILE");
    if (!serves && t->images)
        return error_set(err, "-%c takes no FILE", t->list ? 'L' : 'd');
    const struct nbd_image *p = &t->plain;
    if (t->list && (p->format || p->name || p->description || p->bitmap || p->readonly || p->depth || p->snapshot || p->offset ||
                    p->partition || t->snapshot || t->fork || t->disconnect || t->cache_given || t->aio || t->discard || t->label))
        return error_set(err, "-L asks another server: it goes with -k or -b and -p, and with TLS, nothing else");
    if (t->socket && (t->port_given || t->bind))
        return error_set(err, "-k is a unix socket, -p and -b are TCP: give one of them");
    if (t->label && !t->socket)
        return error_set(err, "--selinux-label is that of a unix socket: it needs -k");
    if (t->connect && (t->images != 1 || t->tls_creds || t->socket || t->port_given || t->bind || t->list))
        return error_set(err, "-c gives one image to the kernel: no sockets, no TLS, no other image");
    if (t->tls_authz && !t->tls_creds)
        return error_set(err, "--tls-authz is only good with --tls-creds");
    if (t->tls_hostname && !t->list)
        return error_set(err, "--tls-hostname is only good with -L");
    if (t->detect_zeroes == NBD_DETECT_UNMAP && !t->discard)
        return error_set(err, "--detect-zeroes=unmap needs --discard=unmap");
    for (unsigned i = 0; i < t->images; i++)
        if (t->image[i].partition && t->image[i].offset)
            return error_set(err, "-o and -P both say where the export begins: give one of them");
    if (t->aio && !strcmp(t->aio, "native") && t->cache != BLOCK_CACHE_NONE && t->cache != BLOCK_CACHE_DIRECTSYNC)
        return error_set(err, "--aio=native needs --cache=none or --cache=directsync");
    return 0;
}

int nbd_options_parse(struct nbd_tool *t, int argc, char **argv, struct error *err)
{
    *t = (struct nbd_tool){ .arena = arena_new(), .port = 10809, .shared = 1 };
    if (options_get(t, argc, argv, err))
        return -1;
    if (t->help || t->version || t->trace_help)
        return 0;
    if (files_take(t, argc - optind, argv + optind, err) || together_check(t, err))
        return -1;
    return nbd_objects_check(t, err);
}
