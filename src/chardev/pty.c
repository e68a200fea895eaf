/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * A pseudo-terminal whose other end any terminal program may open. The slave is kept open here as well: without it
 * the master hangs up whenever nobody is connected, and output from before a connection would be lost.
 */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <termios.h>
#include <unistd.h>

#include "base/error.h"
#include "base/log.h"
#include "chardev/chardev_private.h"

struct pty {
    struct stream stream;
    int slave;
};

static void pty_closing(struct stream *s)
{
    close(((struct pty *)s)->slave);
}

struct chardev *pty_open(const char *path, const char *options, struct error *err)
{
    static const char *const names[] = { NULL };
    struct termios mode;
    char name[64];
    struct pty *p;
    int fd;

    if (chardev_options_check("pty", options, names, err) < 0) return NULL;
    fd = posix_openpt(O_RDWR | O_NOCTTY | O_NONBLOCK | O_CLOEXEC);
    if (fd < 0 || grantpt(fd) < 0 || unlockpt(fd) < 0 || ptsname_r(fd, name, sizeof(name)) != 0) {
        error_set(err, "cannot get a pseudo-terminal: %s", strerror(errno));
        if (fd >= 0) close(fd);
        return NULL;
    }
    p = calloc(1, sizeof(*p));
    if (!p || (p->slave = open(name, O_RDWR | O_NOCTTY | O_CLOEXEC)) < 0) {
        error_set(err, "cannot open '%s': %s", name, strerror(errno));
        close(fd);
        free(p);
        return NULL;
    }
    if (tcgetattr(p->slave, &mode) == 0) {
        cfmakeraw(&mode);
        tcsetattr(p->slave, TCSANOW, &mode);
    }
    stream_init(&p->stream, fd, fd);
    p->stream.own_in = true;
    p->stream.closing = pty_closing;
    snprintf(p->stream.base.description, sizeof(p->stream.base.description), "pty:%s", name);
    log_message("char device redirected to %s", name);
    return &p->stream.base;
}
