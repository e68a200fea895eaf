/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Listeners of a process that has no descriptor left: the loop looks elsewhere for a while. */
#include "base/socket_accept.h"

#include <errno.h>
#include <stddef.h>
#include <sys/socket.h>

#include "base/loop.h"

int socket_accept(int listener)
{
    int fd = accept4(listener, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC);

    if (fd < 0 && (errno == EMFILE || errno == ENFILE || errno == ENOBUFS || errno == ENOMEM)) loop_fd_pause(listener);
    return fd;
}
