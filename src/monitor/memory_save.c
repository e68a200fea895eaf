/* SPDX-License-Identifier: GPL-2.0-or-later */
/* memsave and pmemsave, of both monitors. The machine stands still meanwhile. */
#include "monitor/memory_save.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <unistd.h>

#include "base/bits.h"
#include "base/error.h"
#include "base/fdset.h"
#include "machine/machine.h"
#include "memory/map.h"
#include "monitor/peek.h"

enum { PIECE_BYTES = 1 << 16, SIZE_BITS = 52 };

struct save {
    struct machine *m;
    int cpu;                           /* -1: physical addresses */
    uint64_t at, left;
};

/* The next n bytes; false: that memory is not there. Device memory is not touched: zeroes stand for it. */
static bool save_read(struct save *s, uint8_t *data, size_t n)
{
    if (s->cpu >= 0) return machine_debug_read(s->m, (unsigned)s->cpu, s->at, data, n) == n;
    for (size_t done = 0; done < n;) {
        struct flat_range r = memory_map_find(machine_memory(s->m), s->at + done);
        uint64_t end = r.start + r.size - (s->at + done);
        size_t here = MIN(n - done, end ? end : n - done);

        if (r.kind != RANGE_RAM && r.kind != RANGE_ROM) memset(data + done, 0, here);
        else if (!memory_read(machine_memory(s->m), s->at + done, data + done, here)) return false;
        done += here;
    }
    return true;
}

static int save_run(struct save *s, int fd, const char *filename, struct error *err)
{
    static const uint64_t page = 4096;
    uint8_t data[PIECE_BYTES];

    while (s->left) {
        size_t n = MIN(s->left, s->cpu < 0 ? (uint64_t)sizeof(data) : page - s->at % page);

        if (!save_read(s, data, n)) return error_set(err, "Invalid addr 0x%016llx/size %llu specified", (unsigned long long)s->at, (unsigned long long)s->left);
        if (write(fd, data, n) != (ssize_t)n) return error_set(err, "cannot write '%.200s': %s", filename, strerror(errno ? errno : ENOSPC));
        s->at += n;
        s->left -= n;
    }
    return 0;
}

int memory_save(struct machine *m, int cpu, uint64_t at, uint64_t size, const char *filename, struct error *err)
{
    struct save s = { m, cpu, at, size };
    int fd, result;
    bool ran;

    if (size >> SIZE_BITS) return error_set(err, "Parameter 'size' expects a size of memory");
    fd = fdset_open(filename, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0666);
    if (fd < 0) return error_set(err, "Could not open '%.200s': %s", filename, strerror(errno));
    ran = peek_begin(m);
    result = save_run(&s, fd, filename, err);
    peek_end(m, ran);
    if (close(fd) < 0 && !result) result = error_set(err, "cannot write '%.200s': %s", filename, strerror(errno));
    return result;
}
