/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Files for new images: made or opened without emptying them, locked, and looked into before anything is replaced. */
#include "block/block_private.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/bits.h"

#define LOOK_CHUNK_BYTES (256u << 10)
#define LOOK_MAX_BYTES (64u << 20)      /* of data: more than that is taken for data unread */

struct block_protocol *block_file_create(const char *filename, bool *created, struct error *err)
{
    const struct block_file_options o = { 0 };
    int fd = open(filename, O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC | O_NOCTTY, 0644);
    *created = fd >= 0;
    if (fd < 0 && errno != EEXIST) {
        error_set(err, "cannot create '%s': %s%s", filename, strerror(errno),
                  errno == ENOENT ? "; create its directory first" : "");
        return NULL;
    }
    if (fd >= 0)
        close(fd);
    struct block_protocol *p = block_file_open(filename, &o, err);
    if (!p && *created)
        unlink(filename);
    return p;
}

static bool is_zero(const uint8_t *data, size_t length)
{
    return !length || (!data[0] && !memcmp(data, data + 1, length - 1));
}

static bool holds_data(struct block_protocol *p)
{
    int64_t size = p->ops->size(p);
    uint8_t *data = malloc(LOOK_CHUNK_BYTES);
    bool found = size < 0 || !data;
    uint64_t seen = 0;
    for (uint64_t at = 0; !found && at < (uint64_t)size;) {
        struct block_extent x = { .length_bytes = (uint64_t)size - at };
        if (p->ops->extent && p->ops->extent(p, at, (uint64_t)size - at, &x))
            found = true;
        if (x.zero) {
            at += x.length_bytes;
            continue;
        }
        size_t take = MIN(x.length_bytes, MIN((uint64_t)LOOK_CHUNK_BYTES, (uint64_t)size - at));
        found |= !take || block_protocol_pread(p, at, data, take) || !is_zero(data, take);
        seen += take;
        at += take;
        found |= seen > LOOK_MAX_BYTES;
    }
    free(data);
    return found;
}

bool block_file_look(struct block_protocol *p, char what[BLOCK_LOOK_BYTES])
{
    uint8_t head[4096];
    if (!block_protocol_pread(p, 0, head, sizeof(head))) {
        const char *looks = block_format_looks_like(head, sizeof(head));
        snprintf(what, BLOCK_LOOK_BYTES, "a %s image", looks);
        if (strcmp(looks, "raw"))
            return true;
    }
    snprintf(what, BLOCK_LOOK_BYTES, "data");
    return holds_data(p);
}
