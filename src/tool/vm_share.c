/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Folders of the host for the guest: -virtfs, and -fsdev with -device virtio-9p-pci, which may come in any order. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/bits.h"
#include "base/error.h"
#include "base/log.h"
#include "tool/vm_options_private.h"
#include "tool/vm_virtio_private.h"

struct share_request {
    struct vm_options *o;
    struct p9_config c;
    const char *id, *tag;
    bool has_model;
};

static struct share_request *of(void *t) { return t; }
static int set_driver(void *t, const char *v, struct error *err)
{
    return strcmp(v, "local") ? error_set(err, "fsdriver '%s' is not supported in this version; only 'local' is", v) : 0;
}
static int set_path(void *t, const char *v, struct error *err) { of(t)->c.path = v; return 0; }
static int set_id(void *t, const char *v, struct error *err) { of(t)->id = v; return 0; }
static int set_tag(void *t, const char *v, struct error *err) { of(t)->tag = v; return 0; }

static int set_model(void *t, const char *v, struct error *err)
{
    static const char *const names[] = { "passthrough", "none", "mapped-xattr", "mapped", NULL };
    unsigned which;

    if (!strcmp(v, "mapped-file")) return error_set(err, "security_model=mapped-file is not supported in this version; use mapped-xattr");
    if (value_choice("security_model", v, names, &which, err) < 0) return -1;
    of(t)->c.security = which == 0 ? P9_PASSTHROUGH : which == 1 ? P9_NONE : P9_MAPPED_XATTR;
    of(t)->has_model = true;
    return 0;
}

static int set_readonly(void *t, const char *v, struct error *err) { return value_bool("readonly", v, &of(t)->c.readonly, err); }

static int mode_parse(const char *name, const char *v, uint32_t *mode, struct error *err)
{
    char *end;
    unsigned long n = strtoul(v, &end, 8);

    if (!*v || *end || n > 0777) return error_set(err, "%s wants an octal mode such as 0640, not '%s'", name, v);
    *mode = (uint32_t)n;
    return 0;
}

static int set_fmode(void *t, const char *v, struct error *err) { return mode_parse("fmode", v, &of(t)->c.file_mode, err); }
static int set_dmode(void *t, const char *v, struct error *err) { return mode_parse("dmode", v, &of(t)->c.directory_mode, err); }

static int set_multidevs(void *t, const char *v, struct error *err)
{
    return strcmp(v, "remap") ? error_set(err, "multidevs=%s is not supported in this version; file numbers of several file systems are always remapped", v) : 0;
}

#define SHARE_KEYS \
    { "fsdriver", set_driver, NULL }, { "id", set_id, NULL }, { "path", set_path, NULL }, { "security_model", set_model, NULL }, \
    { "readonly", set_readonly, NULL }, { "fmode", set_fmode, NULL }, { "dmode", set_dmode, NULL }, { "multidevs", set_multidevs, NULL }, \
    { "writeout", NULL, "not supported in this version; mount with -o sync in the guest" }, \
    { "socket", NULL, "the proxy driver is not supported; use local" }, { NULL, NULL, NULL }

const struct option_key fsdev_keys[] = { SHARE_KEYS };
const struct option_key virtfs_keys[] = { { "mount_tag", set_tag, NULL }, SHARE_KEYS };

static int share_parse(struct share_request *r, const char *what, const char *arg, const struct option_key *keys, struct error *err)
{
    struct option_list l;

    if (option_list_parse(&l, r->o->arena, arg, "fsdriver", err) < 0) return -1;
    if (!l.count || strcmp(l.pair[0].key, "fsdriver")) return error_set(err, "%s begins with a driver: local", what);
    if (option_list_apply(&l, what, keys, r, err) < 0 || id_check(what, "id", r->id, err) < 0) return -1;
    if (!r->c.path) return error_set(err, "%s needs path=", what);
    if (!r->has_model) return error_set(err, "%s needs security_model=: mapped-xattr, passthrough or none", what);
    if (r->c.security != P9_MAPPED_XATTR && (r->c.file_mode || r->c.directory_mode)) return error_set(err, "%s: fmode and dmode belong to security_model=mapped-xattr", what);
    return 0;
}

static int share_add(struct vm_options *o, const struct share_request *r, const char *id, struct error *err)
{
    for (unsigned i = 0; i < o->fsdev_count; i++)
        if (!strcmp(o->fsdev[i].id, id)) return error_set(err, "two -fsdev have the id '%s'", id);
    if (o->fsdev_count == ARRAY_SIZE(o->fsdev)) return error_set(err, "more than %zu shared folders", ARRAY_SIZE(o->fsdev));
    o->fsdev[o->fsdev_count].id = id;
    o->fsdev[o->fsdev_count++].config = r->c;
    return 0;
}

int option_fsdev(struct vm_options *o, const char *arg, struct error *err)
{
    struct share_request r = { .o = o };

    if (share_parse(&r, "-fsdev", arg, fsdev_keys, err) < 0) return -1;
    return r.id ? share_add(o, &r, r.id, err) : error_set(err, "-fsdev needs id=");
}

static int tag_check(const char *what, const char *tag, struct error *err)
{
    if (!tag || !*tag || strlen(tag) > VIRTIO_9P_TAG_MAX) return error_set(err, "%s needs mount_tag= of 1 to %d characters", what, VIRTIO_9P_TAG_MAX);
    return 0;
}

int option_virtfs(struct vm_options *o, const char *arg, struct error *err)
{
    struct share_request r = { .o = o };
    struct virtio_request v = { .o = o, .d = { .kind = VIRTIO_KIND_9P, .pci.devfn = -1 } };

    if (share_parse(&r, "-virtfs", arg, virtfs_keys, err) < 0 || tag_check("-virtfs", r.tag, err) < 0) return -1;
    v.fsdev = r.id ? r.id : arena_format(o->arena, "fsdev-virtfs%u", o->fsdev_count);
    v.d.share.tag = r.tag;
    return share_add(o, &r, v.fsdev, err) < 0 ? -1 : virtio_request_add(o, &v, err);
}

/* ---- -device virtio-9p-pci ---- */

static int set_fsdev(void *t, const char *v, struct error *err) { virtio_request_of(t)->fsdev = v; return 0; }

static int set_mount_tag(void *t, const char *v, struct error *err)
{
    virtio_request_of(t)->d.share.tag = v;
    return tag_check("-device virtio-9p-pci", v, err);
}

const struct option_key virtio_9p_keys[] = { { "fsdev", set_fsdev, NULL }, { "mount_tag", set_mount_tag, NULL }, VIRTIO_COMMON_KEYS };

int share_find(struct vm_options *o, const char *id, struct virtio_9p_config *c, struct error *err)
{
    unsigned i = 0;

    if (!id) return error_set(err, "-device virtio-9p-pci needs fsdev=ID of an -fsdev");
    if (tag_check("-device virtio-9p-pci", c->tag, err) < 0) return -1;
    while (i < o->fsdev_count && strcmp(o->fsdev[i].id, id)) i++;
    if (i == o->fsdev_count) return error_set(err, "-device virtio-9p-pci: no -fsdev has the id '%s'", id);
    c->share = o->fsdev[i].config;
    o->fsdev[i].used = true;
    return 0;
}

static int one_resolve(struct vm_options *o, unsigned n, struct error *err)
{
    struct virtio_device_config *d = &o->config.virtio[n];

    if (share_find(o, o->virtio_fsdev[n], &d->share, err) < 0) return -1;
    for (unsigned k = 0; k < n; k++)
        if (o->config.virtio[k].kind == VIRTIO_KIND_9P && !strcmp(o->config.virtio[k].share.tag, d->share.tag)) return error_set(err, "two shared folders have the mount_tag '%s'", d->share.tag);
    return 0;
}

int shares_finish(struct vm_options *o, struct error *err)
{
    for (unsigned n = 0; n < o->config.virtio_count; n++)
        if (o->config.virtio[n].kind == VIRTIO_KIND_9P && one_resolve(o, n, err) < 0) return -1;
    for (unsigned i = 0; i < o->fsdev_count; i++)
        if (!o->fsdev[i].used) log_message("-fsdev '%s' is not used; add -device virtio-9p-pci,fsdev=%s,mount_tag=NAME, or device_add later", o->fsdev[i].id, o->fsdev[i].id);
    return 0;
}
