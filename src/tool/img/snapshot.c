/* SPDX-License-Identifier: GPL-2.0-or-later */
/* 'ospite img snapshot': the internal snapshots of an image. */
#include "tool/img/img_private.h"

#include <string.h>
#include <time.h>

#include "base/clock.h"

struct snapshot_args {
    struct img_common c;
    bool list;
    struct img_texts apply, create, delete;
};

static const struct img_option options[] = {
    IMG_HELP(struct snapshot_args), IMG_OBJECT_ROW(struct snapshot_args), IMG_IMAGE_OPTS(struct snapshot_args),
    IMG_FORMAT(struct snapshot_args), IMG_QUIET(struct snapshot_args),
    { 'l', "list", NULL, IMG_FLAG, offsetof(struct snapshot_args, list), "list the snapshots (default)" },
    { 'c', "create", "NAME", IMG_OPTIONS, offsetof(struct snapshot_args, create), "keep the disk as it is now" },
    { 'a', "apply", "SNAPSHOT", IMG_OPTIONS, offsetof(struct snapshot_args, apply),
      "go back to a snapshot (ID or name); what was written since is lost" },
    { 'd', "delete", "SNAPSHOT", IMG_OPTIONS, offsetof(struct snapshot_args, delete), "delete a snapshot (name or ID)" },
    IMG_SHARE(struct snapshot_args),
    { 0 },
};

static int list_print(struct block_node *n, struct error *err)
{
    struct block_snapshot *list;
    unsigned count;
    if (block_snapshot_list(n, &list, &count, err))
        return -1;
    if (count)
        img_snapshots_head();
    for (unsigned i = 0; i < count; i++)
        img_snapshot_line(&list[i]);
    free(list);
    return 0;
}

static int create(struct block_node *n, const char *name, struct error *err)
{
    struct block_snapshot s = { .date_s = clock_wall_ns() / NS_PER_SECOND,
                                .date_ns = (uint32_t)(clock_wall_ns() % NS_PER_SECOND / 1000 * 1000) };
    if (strlen(name) >= sizeof(s.name))
        return error_set(err, "-c: the name has more than %zu bytes", sizeof(s.name) - 1);
    strcpy(s.name, name);
    return block_snapshot_create(n, &s, err);
}

static int snapshot_run(void *args, struct error *err)
{
    struct snapshot_args *a = args;
    unsigned writes = a->apply.count + a->create.count + a->delete.count;
    if (img_files_check(&a->c, &img_verb_snapshot, 1, 1, err))
        return -1;
    if (a->list + writes > 1)
        return error_set(err, "-l, -c, -a and -d are four different things: give one of them, once");
    if (writes && a->c.force_share)
        return error_set(err, "-U only goes with -l");
    struct block_node *n = img_open_file(&a->c, 0, writes, err);
    if (!n)
        return -1;
    int r = a->create.count ? create(n, a->create.text[0], err) : a->apply.count ? block_snapshot_apply(n, a->apply.text[0], err) :
            a->delete.count ? block_snapshot_delete(n, a->delete.text[0], err) : list_print(n, err);
    if (!r && writes)
        r = img_flush(n, err);
    block_close(n);
    return r;
}

const struct img_verb img_verb_snapshot = {
    .name = "snapshot", .operands = "FILE", .summary = "make, list, go back to and delete internal snapshots",
    .example = "ospite img snapshot -c before-upgrade disk.qcow2", .options = options,
    .args_bytes = sizeof(struct snapshot_args), .run = snapshot_run,
};
