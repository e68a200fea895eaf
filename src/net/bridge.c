/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Runs the bridge helper (bridge_helper.c, or QEMU's, which takes the same arguments) with one end of a pair of sockets, and takes the
 * interface's descriptor from the other. The helper tells on stderr what it did not like.
 */
#include "net/bridge.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/close_range.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/error.h"

/* It gets nothing of ours but its socket. */
static void helper_run(const char *helper, const char *bridge, int to)
{
    char br[64], fd[32];

    syscall(SYS_close_range, 3u, ~0u, CLOSE_RANGE_CLOEXEC);
    fcntl(to, F_SETFD, 0);
    snprintf(br, sizeof(br), "--br=%s", bridge);
    snprintf(fd, sizeof(fd), "--fd=%d", to);
    execl(helper, helper, "--use-vnet", fd, br, (char *)NULL);
    _exit(127);
}

/* -1: nothing came. */
static int descriptor_take(int from)
{
    union { struct cmsghdr header; char room[CMSG_SPACE(sizeof(int))]; } control;
    char byte;
    struct iovec one = { &byte, 1 };
    struct msghdr m = { .msg_iov = &one, .msg_iovlen = 1, .msg_control = &control, .msg_controllen = sizeof(control) };
    struct cmsghdr *c;
    ssize_t n;
    int fd = -1;

    do n = recvmsg(from, &m, MSG_CMSG_CLOEXEC);
    while (n < 0 && errno == EINTR);
    c = n == 1 ? CMSG_FIRSTHDR(&m) : NULL;
    if (c && c->cmsg_level == SOL_SOCKET && c->cmsg_type == SCM_RIGHTS && c->cmsg_len == CMSG_LEN(sizeof(int))) memcpy(&fd, CMSG_DATA(c), sizeof(fd));
    return fd;
}

int net_bridge_open(const char *bridge, const char *helper, struct error *err)
{
    int pair[2], fd, status = 0;
    pid_t child;

    if (!helper) helper = BRIDGE_HELPER;
    if (strlen(bridge) > 15) return error_set(err, "br=%s: at most 15 characters", bridge);
    if (access(helper, X_OK) < 0) return error_set(err, "the bridge helper '%s' cannot be run: %s; helper=PATH names another", helper, strerror(errno));
    if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair) < 0) return error_set(err, "no sockets for the bridge helper: %s", strerror(errno));
    child = fork();
    if (child == 0) helper_run(helper, bridge, pair[1]);
    close(pair[1]);
    fd = child < 0 ? -1 : descriptor_take(pair[0]);
    close(pair[0]);
    while (child > 0 && waitpid(child, &status, 0) < 0 && errno == EINTR) {}
    if (fd >= 0) return fd;
    return error_set(err, "the bridge helper '%s' gave no interface in '%s'; what it says stands above", helper, bridge);
}
