/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * What becomes of a guest's request that the host could not carry out (werror=, rerror=): the guest is told, it is told that all went
 * well, or the machine stops and the request is tried again when it goes on. The device that keeps the request asks here.
 */
#ifndef BLOCK_ON_ERROR_H
#define BLOCK_ON_ERROR_H

#include <errno.h>
#include <stdbool.h>

enum block_error_action { BLOCK_ERROR_REPORT, BLOCK_ERROR_IGNORE, BLOCK_ERROR_STOP, BLOCK_ERROR_ENOSPC /* STOP for a full host, else REPORT */ };

struct block_error_policy {
    enum block_error_action read, write;             /* write: also flushes and discards */
    void *opaque;
    void (*stop)(void *opaque, bool is_read, int error);  /* shall stop the machine; NULL: what would stop is reported */
    void (*tell)(void *opaque, bool is_read, int error, enum block_error_action action);    /* of each failure; may be NULL */
};

/* What to do with the result of a request, 0 or -errno. STOP: stop was called, the request must be kept. */
static inline enum block_error_action block_error_action(const struct block_error_policy *p, bool is_read, int result)
{
    enum block_error_action a = is_read ? p->read : p->write;

    if (a == BLOCK_ERROR_ENOSPC) a = result == -ENOSPC ? BLOCK_ERROR_STOP : BLOCK_ERROR_REPORT;
    if (result == -ENOMEDIUM) a = BLOCK_ERROR_REPORT;    /* the image was taken away; waiting does not bring it back */
    if (a == BLOCK_ERROR_STOP && !p->stop) a = BLOCK_ERROR_REPORT;
    if (result && p->tell) p->tell(p->opaque, is_read, -result, a);
    if (a == BLOCK_ERROR_STOP) p->stop(p->opaque, is_read, -result);
    return a;
}

#endif
