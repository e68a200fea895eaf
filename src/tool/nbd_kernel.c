/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The kernel's nbd driver through generic netlink (linux/nbd-netlink.h, family "nbd"), which needs no process that sits
 * in an ioctl. One request, one answer each; what the kernel says is checked for length all the same.
 */
#include <errno.h>
#include <fcntl.h>
#include <linux/genetlink.h>
#include <linux/nbd-netlink.h>
#include <linux/netlink.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/bits.h"
#include "base/error.h"
#include "tool/nbd_options.h"

enum { BLOCK_BYTES = 512 };

struct message {
    struct nlmsghdr head;
    struct genlmsghdr genl;
    uint8_t attributes[512];
};

static void message_begin(struct message *m, uint16_t family, uint8_t command)
{
    *m = (struct message){ .head = { .nlmsg_len = NLMSG_LENGTH(GENL_HDRLEN), .nlmsg_type = family,
                                     .nlmsg_flags = NLM_F_REQUEST | NLM_F_ACK, .nlmsg_seq = 1 },
                           .genl = { .cmd = command, .version = 1 } };
}

static struct nlattr *attribute_add(struct message *m, uint16_t type, const void *data, size_t length)
{
    struct nlattr *a = (struct nlattr *)((uint8_t *)m + NLMSG_ALIGN(m->head.nlmsg_len));
    a->nla_type = type;
    a->nla_len = (uint16_t)(NLA_HDRLEN + length);
    if (length)
        memcpy((uint8_t *)a + NLA_HDRLEN, data, length);
    m->head.nlmsg_len = NLMSG_ALIGN(m->head.nlmsg_len) + (uint32_t)NLA_ALIGN(a->nla_len);
    return a;
}

/* Sends m and reads until the kernel's verdict: 0 or -errno. The first other answer goes to *answer. */
static int exchange(int fd, struct message *m, struct message *answer)
{
    struct sockaddr_nl kernel = { .nl_family = AF_NETLINK };
    uint8_t data[8192];
    if (sendto(fd, m, m->head.nlmsg_len, 0, (struct sockaddr *)&kernel, sizeof(kernel)) < 0)
        return -errno;
    for (;;) {
        ssize_t n = recv(fd, data, sizeof(data), 0);
        if (n < 0)
            return -errno;
        size_t left = (size_t)n;
        for (struct nlmsghdr *h = (void *)data; NLMSG_OK(h, left); h = NLMSG_NEXT(h, left)) {
            if (h->nlmsg_type == NLMSG_ERROR && h->nlmsg_len >= NLMSG_LENGTH(sizeof(struct nlmsgerr)))
                return ((struct nlmsgerr *)NLMSG_DATA(h))->error;
            if (answer)
                memcpy(answer, h, MIN(sizeof(*answer), (size_t)h->nlmsg_len));
        }
    }
}

/* The family's number, or -errno. */
static int family_find(int fd)
{
    struct message m, answer = { 0 };
    message_begin(&m, GENL_ID_CTRL, CTRL_CMD_GETFAMILY);
    attribute_add(&m, CTRL_ATTR_FAMILY_NAME, NBD_GENL_FAMILY_NAME, sizeof(NBD_GENL_FAMILY_NAME));
    int r = exchange(fd, &m, &answer);
    if (r)
        return r;
    size_t end = MIN((size_t)answer.head.nlmsg_len, sizeof(answer)), at = NLMSG_LENGTH(GENL_HDRLEN);
    while (at + NLA_HDRLEN <= end) {
        struct nlattr a;
        uint16_t id;
        memcpy(&a, (uint8_t *)&answer + at, sizeof(a));
        if (a.nla_len < NLA_HDRLEN || a.nla_len > end - at)
            break;
        if (a.nla_type == CTRL_ATTR_FAMILY_ID && a.nla_len >= NLA_HDRLEN + sizeof(id)) {
            memcpy(&id, (uint8_t *)&answer + at + NLA_HDRLEN, sizeof(id));
            return id;
        }
        at += NLA_ALIGN(a.nla_len);
    }
    return -ENOENT;
}

static int device_number(const char *device, uint32_t *number, struct error *err)
{
    const char *digits = !strncmp(device, "/dev/nbd", 8) ? device + 8 : "";
    char *end;
    unsigned long n = strtoul(digits, &end, 10);
    if (*digits < '0' || *digits > '9' || *end || n > 65535)
        return error_set(err, "'%s' is no NBD device; they are named /dev/nbd0, /dev/nbd1, ...", device);
    *number = (uint32_t)n;
    return 0;
}

/* The netlink socket, or -1. */
static int kernel_open(const char *device, uint16_t *family, uint32_t *number, struct error *err)
{
    if (device_number(device, number, err))
        return -1;
    int fd = socket(AF_NETLINK, SOCK_RAW | SOCK_CLOEXEC, NETLINK_GENERIC);
    int r = fd < 0 ? -errno : family_find(fd);
    if (r >= 0) {
        *family = (uint16_t)r;
        return fd;
    }
    if (fd >= 0)
        close(fd);
    if (r == -ENOENT)
        return error_set(err, "cannot use '%s': this kernel has no nbd driver loaded. Run 'modprobe nbd' as root; where "
                         "there is no such module, 'ospite mount IMAGE DIR' shows the image and its partitions as files",
                         device);
    return error_set(err, "cannot use '%s': netlink: %s", device, strerror(-r));
}

int nbd_kernel_check(const char *device, struct error *err)
{
    uint16_t family;
    uint32_t number;
    struct stat st;
    int fd = kernel_open(device, &family, &number, err);
    if (fd < 0)
        return -1;
    close(fd);
    if (stat(device, &st))
        return error_set(err, "cannot use '%s': %s; 'modprobe nbd nbds_max=16' makes more of them", device, strerror(errno));
    return S_ISBLK(st.st_mode) ? 0 : error_set(err, "cannot use '%s': it is no block device", device);
}

static int verdict(const char *device, const char *what, int r, struct error *err)
{
    if (!r)
        return 0;
    return error_set(err, "cannot %s '%s': %s", what, device, r == -EPERM ? "only root may" :
                     r == -EBUSY ? "it is in use; choose another, or end that with -d" : strerror(-r));
}

int nbd_kernel_connect(const char *device, int socket_fd, uint64_t size_bytes, uint16_t flags, struct error *err)
{
    struct message m;
    uint16_t family;
    uint32_t number, descriptor = (uint32_t)socket_fd;
    const uint64_t block = BLOCK_BYTES, server_flags = flags;
    int fd = kernel_open(device, &family, &number, err);
    if (fd < 0)
        return -1;
    message_begin(&m, family, NBD_CMD_CONNECT);
    attribute_add(&m, NBD_ATTR_INDEX, &number, sizeof(number));
    attribute_add(&m, NBD_ATTR_SIZE_BYTES, &size_bytes, sizeof(size_bytes));
    attribute_add(&m, NBD_ATTR_BLOCK_SIZE_BYTES, &block, sizeof(block));
    attribute_add(&m, NBD_ATTR_SERVER_FLAGS, &server_flags, sizeof(server_flags));
    struct nlattr *list = attribute_add(&m, NBD_ATTR_SOCKETS | NLA_F_NESTED, NULL, 0);
    struct nlattr *item = attribute_add(&m, NBD_SOCK_ITEM | NLA_F_NESTED, NULL, 0);
    attribute_add(&m, NBD_SOCK_FD, &descriptor, sizeof(descriptor));
    uint8_t *end = (uint8_t *)&m + m.head.nlmsg_len;
    list->nla_len = (uint16_t)(end - (uint8_t *)list);
    item->nla_len = (uint16_t)(end - (uint8_t *)item);
    int r = exchange(fd, &m, NULL);
    close(fd);
    return verdict(device, "connect", r, err);
}

int nbd_kernel_disconnect(const char *device, struct error *err)
{
    struct message m;
    uint16_t family;
    uint32_t number;
    int fd = kernel_open(device, &family, &number, err);
    if (fd < 0)
        return -1;
    message_begin(&m, family, NBD_CMD_DISCONNECT);
    attribute_add(&m, NBD_ATTR_INDEX, &number, sizeof(number));
    int r = exchange(fd, &m, NULL);
    close(fd);
    return verdict(device, "disconnect", r, err);
}
