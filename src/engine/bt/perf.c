/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * -accel bt,perf=on: names of blocks for the host's perf. It takes names of generated code from /tmp/perf-PID.map, one line
 * "START SIZE NAME" each (Linux: tools/perf/Documentation/jit-interface.txt), for code in memory without a file; so the code
 * cache is then shared anonymous memory, mapped a second time by mremap, instead of a memfd. (A jitdump would have times too, but perf
 * makes a file of each block out of it, a hundred thousand for a boot.)
 *
 * A block is rRING.RIP, its cold code rRING.RIP.cold, a thunk bt.NAME. The file holds what lies in the code cache now: when a part of that
 * is emptied, its names go. It stays when ospite ends, because perf report comes later.
 */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>
#include "base/error.h"
#include "engine/bt/bt_private.h"

#define THUNK(name) { offsetof(struct bt_engine, thunk_##name), "bt." #name }
static const struct { size_t offset; const char *name; } thunks[] = {
    THUNK(enter), THUNK(exit), THUNK(helper_next), THUNK(helper_end), THUNK(miss), THUNK(group), THUNK(commit), THUNK(chain), THUNK(crossing),
    THUNK(return), THUNK(lookup), THUNK(dead), THUNK(by_cache), THUNK(step), THUNK(raise),
};

static uint64_t thunk_at(const struct bt_engine *e, unsigned i)
{
    return *(const uint64_t *)((const uint8_t *)e + thunks[i].offset);
}

/* The cache twice, readable and writable in *rw, readable and executable in *rx, without a file. */
bool bt_perf_cache_map(uint64_t bytes, uint8_t **rw, uint8_t **rx)
{
    void *first = mmap(NULL, bytes, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    void *second = first == MAP_FAILED ? MAP_FAILED : mremap(first, 0, bytes, MREMAP_MAYMOVE);
    *rw = first;
    *rx = second;
    return second != MAP_FAILED && mprotect(second, bytes, PROT_READ | PROT_EXEC) == 0;
}

/* Opens the file and writes the thunks. */
int bt_perf_begin(struct bt_engine *e, struct error *err)
{
    char path[64];
    snprintf(path, sizeof(path), "/tmp/perf-%d.map", (int)getpid());
    unlink(path);                      /* of an earlier process with this number */
    e->perf_fd = open(path, O_RDWR | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, 0644);
    if (e->perf_fd < 0) return error_set(err, "perf=on: cannot make '%s': %s", path, strerror(errno));
    for (unsigned i = 0; i < ARRAY_SIZE(thunks); i++) {
        uint64_t start = thunk_at(e, i), end = (uint64_t)e->rx + e->thunk_bytes;
        for (unsigned k = 0; k < ARRAY_SIZE(thunks); k++)
            if (thunk_at(e, k) > start) end = MIN(end, thunk_at(e, k));
        dprintf(e->perf_fd, "%lx %lx %s\n", (unsigned long)start, (unsigned long)(end - start), thunks[i].name);
    }
    e->perf_thunks_bytes = lseek(e->perf_fd, 0, SEEK_CUR);
    return 0;
}

void bt_perf_end(struct bt_engine *e)
{
    if (e->perf_fd >= 0) close(e->perf_fd);
}

/* The code cache is emptied. Guest world. */
void bt_perf_flush(struct bt_engine *e)
{
    if (e->perf_fd < 0) return;
    if (ftruncate(e->perf_fd, e->perf_thunks_bytes) < 0) return;       /* stale names are no reason to stop */
    lseek(e->perf_fd, e->perf_thunks_bytes, SEEK_SET);
    bt_fill(e->perf_part_bytes, 0, sizeof(e->perf_part_bytes));
}

/* Names of a part stand together, those of the oldest first: what is behind them moves to their place. */
static void part_in_host(struct bt_vcpu *v, void *arg)
{
    enum { PIECE = 65536 };
    struct bt_engine *e = v->engine;
    uint64_t *gone = &e->perf_part_bytes[e->current_part], to = e->perf_thunks_bytes;
    if (!*gone) return;
    char *piece = malloc(PIECE);
    ssize_t n;
    while (piece && (n = pread(e->perf_fd, piece, PIECE, to + *gone)) > 0 && pwrite(e->perf_fd, piece, n, to) == n) to += n;
    free(piece);
    *gone = 0;
    if (ftruncate(e->perf_fd, to) == 0) lseek(e->perf_fd, to, SEEK_SET);
}

/* The part of the code cache that is written to from now on was emptied. */
void bt_perf_part(struct bt_vcpu *v)
{
    if (v->engine->perf_fd >= 0) bt_host_call(v, part_in_host, NULL);
}

struct perf_call { const struct tb *tb; uint64_t rip; };
static void block_in_host(struct bt_vcpu *v, void *arg)
{
    const struct perf_call *c = arg;
    const struct tb *tb = c->tb;
    uint64_t rx = (uint64_t)v->engine->rx;
    unsigned ring = tb->flags >> TBF_CPL_SHIFT & 3;
    unsigned long rip = c->rip;
    int fd = v->engine->perf_fd;
    int n = dprintf(fd, "%lx %x r%u.%lx\n", (unsigned long)rx + tb->host, tb->host_end - tb->host, ring, rip);
    if (tb->cold_end > tb->cold_start)
        n += dprintf(fd, "%lx %x r%u.%lx.cold\n", (unsigned long)rx + tb->cold_start, tb->cold_end - tb->cold_start, ring, rip);
    v->engine->perf_part_bytes[v->engine->current_part] += MAX(n, 0);
}

/* A block was translated at rip. */
void bt_perf_block(struct bt_vcpu *v, const struct tb *tb, uint64_t rip)
{
    struct perf_call c = { tb, rip };
    if (v->engine->perf_fd >= 0) bt_host_call(v, block_in_host, &c);
}
