/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * filter-dump: frames into a file that tcpdump and Wireshark read. A frame that is to be cut later is written as it is, and
 * its checksum may be missing. When the disk is full the dump ends, the network does not.
 * Source: draft-ietf-opsawg-pcap (file format).
 */
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/uio.h>
#include <unistd.h>

#include "base/bits.h"
#include "base/clock.h"
#include "base/error.h"
#include "base/log.h"
#include "net/backend_private.h"

enum { MAGIC = 0xa1b2c3d4, LINK_ETHERNET = 1 };

struct file_header { uint32_t magic; uint16_t major, minor; uint32_t zone, accuracy, most_bytes, link; };
struct record { uint32_t seconds, microseconds, stored, bytes; };

struct net_dump {
    struct net_dump *next;
    char *id;
    int fd;
    unsigned most_bytes;
    enum net_dump_way way;
};

static void dump_free(struct net_dump *d)
{
    if (d->fd >= 0) close(d->fd);
    free(d->id);
    free(d);
}

int net_dump_start(struct net_backend *b, const char *id, const char *file, unsigned most_bytes, enum net_dump_way way, struct error *err)
{
    struct file_header h = { MAGIC, 2, 4, 0, 0, most_bytes, LINK_ETHERNET };
    struct net_dump *d;
    int fd;

    if (b->vhost) return error_set(err, "%s: with vhost=on the frames are not seen here; use vhost=off", b->id);
    fd = open(file, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0644);
    if (fd < 0) return error_set(err, "cannot write '%s': %s", file, strerror(errno));
    d = calloc(1, sizeof(*d));
    if (d) *d = (struct net_dump){ b->dump, strdup(id), fd, most_bytes, way };
    if (!d || !d->id || write(fd, &h, sizeof(h)) != (ssize_t)sizeof(h)) {
        error_set(err, "cannot write '%s': %s", file, d && d->id ? strerror(errno) : "no memory");
        if (d) dump_free(d);
        else close(fd);
        return -1;
    }
    b->dump = d;
    return 0;
}

static struct net_dump **dump_find(struct net_backend *b, const char *id)
{
    struct net_dump **link = &b->dump;

    while (*link && strcmp((*link)->id, id)) link = &(*link)->next;
    return link;
}

bool net_dump_exists(struct net_backend *b, const char *id) { return *dump_find(b, id); }

bool net_dump_stop(struct net_backend *b, const char *id)
{
    struct net_dump **link = dump_find(b, id), *d = *link;

    if (!d) return false;
    *link = d->next;
    dump_free(d);
    return true;
}

static void frame_write(struct net_dump *d, const struct net_frame *f, bool to_guest)
{
    int64_t now = clock_wall_ns();
    struct record r = { (uint32_t)(now / NS_PER_SECOND), (uint32_t)(now % NS_PER_SECOND / 1000),
                        (uint32_t)MIN(f->bytes, (size_t)d->most_bytes), (uint32_t)f->bytes };
    struct iovec iov[NET_PIECES_MAX + 1];
    size_t left = r.stored;
    int n = 1;

    if (d->fd < 0 || (d->way == NET_DUMP_TO_GUEST && !to_guest) || (d->way == NET_DUMP_FROM_GUEST && to_guest)) return;
    iov[0] = (struct iovec){ &r, sizeof(r) };
    for (unsigned i = 0; i < f->count && i < NET_PIECES_MAX && left; i++, n++) {
        iov[n] = (struct iovec){ f->iov[i].iov_base, MIN(f->iov[i].iov_len, left) };
        left -= iov[n].iov_len;
    }
    for (int at = 0; at < n;) {
        ssize_t done = writev(d->fd, iov + at, MIN(n - at, 1024));

        if (done < 0 && errno == EINTR) continue;
        if (done < 0) {
            log_message("filter-dump: %s; it ends here", strerror(errno));
            close(d->fd);
            d->fd = -1;
            return;
        }
        while (at < n && (size_t)done >= iov[at].iov_len) done -= (ssize_t)iov[at++].iov_len;
        if (at == n) break;
        iov[at].iov_base = (uint8_t *)iov[at].iov_base + done;
        iov[at].iov_len -= (size_t)done;
    }
}

void net_dump_frame(struct net_dump *d, const struct net_frame *f, bool to_guest)
{
    for (; d; d = d->next) frame_write(d, f, to_guest);
}

void net_dump_free(struct net_dump *d)
{
    for (struct net_dump *next; d; d = next) {
        next = d->next;
        dump_free(d);
    }
}
