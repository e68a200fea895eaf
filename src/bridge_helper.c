/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * ospite-bridge-helper --br=BRIDGE --fd=N [--use-vnet]   makes a tap interface in a bridge for who may not, and hands it over.
 *
 * It has CAP_NET_ADMIN (setcap cap_net_admin+ep, or set-uid root) and is run by anybody, so it trusts nothing it is given: it lets go of
 * every other privilege first, reads the list of allowed bridges as the user it works for, and does one fixed thing. The interface ends
 * with its last descriptor, which goes through the socket N as SCM_RIGHTS.
 *
 * The list is /etc/ospite/bridge.conf, or where that is missing /etc/qemu/bridge.conf. Its lines: "allow BRIDGE", "deny BRIDGE", BRIDGE being
 * a name or "all"; "include /FILE", which is skipped if the user may not read FILE (from the root: whoever runs this chooses the folder it runs in); '#' begins a comment. One deny is enough to refuse,
 * and what no line allows is refused. Arguments and file are those of QEMU's helper, so that either serves both.
 * Sources: Linux Documentation/networking/tuntap.rst; QEMU's documentation of -netdev bridge.
 */
#include <ctype.h>
#include <errno.h>
#include <fcntl.h>
#include <net/if.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <linux/capability.h>
#include <linux/if_tun.h>
#include <linux/sockios.h>

#define OWN_LIST "/etc/ospite/bridge.conf"
#define OTHER_LIST "/etc/qemu/bridge.conf"
enum { INCLUDE_DEPTH = 4, LINE_BYTES = 1024, LINES_MAX = 10000 };

struct verdict { bool allowed, denied; unsigned lines; };

static int fail(const char *what, const char *why)
{
    fprintf(stderr, "ospite-bridge-helper: %s: %s\n", what, why);
    return 1;
}

/* ---- privileges ---- */

/* Only CAP_NET_ADMIN is left, and nothing that is run could have more. */
static int privileges_drop(void)
{
    struct __user_cap_header_struct header = { _LINUX_CAPABILITY_VERSION_3, 0 };
    struct __user_cap_data_struct data[2] = { { 1u << CAP_NET_ADMIN, 1u << CAP_NET_ADMIN, 0 }, { 0, 0, 0 } };

    if (prctl(PR_SET_KEEPCAPS, 1, 0, 0, 0) < 0) return -1;
    if (setresgid(getgid(), getgid(), getgid()) < 0 || setresuid(getuid(), getuid(), getuid()) < 0) return -1;
    if (syscall(SYS_capset, &header, data) < 0) return -1;
    return prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0);
}

/* ---- the list ---- */

static bool is_meant(const char *name, const char *bridge) { return !strcmp(name, "all") || !strcmp(name, bridge); }

static int list_read(const char *path, const char *bridge, struct verdict *v, unsigned depth);

/* 0, or -1: the line makes no sense. */
static int line_read(char *line, const char *bridge, struct verdict *v, unsigned depth)
{
    char *word, *name, *more, *save = NULL;

    line[strcspn(line, "#")] = 0;
    word = strtok_r(line, " \t\r\n", &save);
    if (!word) return 0;
    name = strtok_r(NULL, " \t\r\n", &save);
    more = strtok_r(NULL, " \t\r\n", &save);
    if (!name || more) return -1;
    if (!strcmp(word, "allow")) v->allowed |= is_meant(name, bridge);
    else if (!strcmp(word, "deny")) v->denied |= is_meant(name, bridge);
    else if (!strcmp(word, "include") && *name == '/' && depth < INCLUDE_DEPTH) return list_read(name, bridge, v, depth + 1) < 0 && errno != EACCES ? -1 : 0;
    else return -1;
    return 0;
}

/* 0, or -1: it cannot be read (errno), or a line of it makes no sense (EINVAL). */
static int list_read(const char *path, const char *bridge, struct verdict *v, unsigned depth)
{
    char line[LINE_BYTES];
    FILE *f = fopen(path, "re");
    int result = 0;

    if (!f) return -1;
    while (result == 0 && fgets(line, sizeof(line), f)) {
        if (!strchr(line, '\n') && !feof(f)) result = -1;      /* too long to be meant well */
        else if (++v->lines > LINES_MAX) result = -1;
        else result = line_read(line, bridge, v, depth);
    }
    if (result == 0 && ferror(f)) result = -1;                 /* a folder, or a disk that fails: a deny may be behind it */
    fclose(f);
    if (result < 0) errno = EINVAL;
    return result;
}

static int bridge_check(const char *bridge)
{
    const char *path = access(OWN_LIST, F_OK) == 0 || errno != ENOENT ? OWN_LIST : OTHER_LIST;    /* one that may not be looked at is not missing */
    struct verdict v = { false, false, 0 };
    char why[256];

    if (list_read(path, bridge, &v, 0) < 0) {
        if (errno == ENOENT) snprintf(why, sizeof(why), "there is no list of allowed bridges; put 'allow %s' into " OWN_LIST, bridge);
        else snprintf(why, sizeof(why), "%s", errno == EINVAL ? "a line is neither allow, deny nor include with one name, which of a file begins with '/'" : strerror(errno));
        return fail(path, why);
    }
    if (v.allowed && !v.denied) return 0;
    snprintf(why, sizeof(why), "the bridge '%s' is %s", bridge, v.denied ? "denied" : "not allowed; its administrator can add a line 'allow BRIDGE'");
    return fail(path, why);
}

/* ---- the interface ---- */

static int tap_make(bool use_vnet, char name[IFNAMSIZ])
{
    struct ifreq r = { .ifr_name = "tap%d", .ifr_flags = (short)(IFF_TAP | IFF_NO_PI | (use_vnet ? IFF_VNET_HDR : 0)) };
    int fd = open("/dev/net/tun", O_RDWR | O_CLOEXEC);

    if (fd < 0 || ioctl(fd, TUNSETIFF, &r) < 0) {
        fail(fd < 0 ? "/dev/net/tun" : "cannot make a tap interface", errno == EPERM ? "not permitted; run 'setcap cap_net_admin+ep' on this program" : strerror(errno));
        return -1;
    }
    memcpy(name, r.ifr_name, IFNAMSIZ);
    return fd;
}

static void name_set(struct ifreq *r, const char *name)
{
    memset(r, 0, sizeof(*r));
    snprintf(r->ifr_name, sizeof(r->ifr_name), "%s", name);
}

/* A bridge has the lowest address of what is in it, unless told otherwise: fe: keeps this one from becoming that. */
static int address_raise(int control, const char *tap)
{
    struct ifreq r;

    name_set(&r, tap);
    if (ioctl(control, SIOCGIFHWADDR, &r) < 0) return -1;
    r.ifr_hwaddr.sa_data[0] = (char)0xfe;
    return ioctl(control, SIOCSIFHWADDR, &r);
}

static int tap_join(int control, const char *tap, const char *bridge)
{
    struct ifreq r;
    int mtu;

    name_set(&r, bridge);
    if (ioctl(control, SIOCGIFMTU, &r) < 0) return fail(bridge, errno == ENODEV ? "there is no such interface; 'ip link add BRIDGE type bridge' makes one" : strerror(errno));
    mtu = r.ifr_mtu;
    name_set(&r, tap);
    r.ifr_mtu = mtu;
    if (ioctl(control, SIOCSIFMTU, &r) < 0 || address_raise(control, tap) < 0) return fail(tap, strerror(errno));
    name_set(&r, bridge);
    r.ifr_ifindex = (int)if_nametoindex(tap);
    if (ioctl(control, SIOCBRADDIF, &r) < 0) return fail(bridge, errno == EOPNOTSUPP ? "it is no bridge" : strerror(errno));
    name_set(&r, tap);
    if (ioctl(control, SIOCGIFFLAGS, &r) < 0) return fail(tap, strerror(errno));
    r.ifr_flags |= IFF_UP;
    return ioctl(control, SIOCSIFFLAGS, &r) < 0 ? fail(tap, strerror(errno)) : 0;
}

static int descriptor_send(int to, int fd)
{
    union { struct cmsghdr header; char room[CMSG_SPACE(sizeof(int))]; } control = { .room = { 0 } };
    struct iovec one = { &(char){ 0 }, 1 };
    struct msghdr m = { .msg_iov = &one, .msg_iovlen = 1, .msg_control = &control, .msg_controllen = sizeof(control) };
    struct cmsghdr *c = CMSG_FIRSTHDR(&m);

    c->cmsg_level = SOL_SOCKET;
    c->cmsg_type = SCM_RIGHTS;
    c->cmsg_len = CMSG_LEN(sizeof(int));
    memcpy(CMSG_DATA(c), &fd, sizeof(fd));
    return sendmsg(to, &m, MSG_NOSIGNAL) == 1 ? 0 : fail("cannot hand the interface over", strerror(errno));
}

static bool is_name(const char *name)
{
    if (!*name || strlen(name) >= IFNAMSIZ) return false;
    for (const char *p = name; *p; p++)
        if (!isgraph((unsigned char)*p) || *p == '/' || *p == ':') return false;
    return true;
}

static int usage(void) { return fail("usage", "ospite-bridge-helper --br=BRIDGE --fd=SOCKET [--use-vnet]"); }

int main(int argc, char **argv)
{
    const char *bridge = NULL;
    char tap[IFNAMSIZ], *end = NULL;
    bool use_vnet = false;
    int to = -1, control, fd;

    if (privileges_drop() < 0) return fail("cannot let go of privileges", "it needs CAP_NET_ADMIN; run 'setcap cap_net_admin+ep' on this program");
    for (int i = 1; i < argc; i++) {
        if (!strncmp(argv[i], "--br=", 5)) bridge = argv[i] + 5;
        else if (!strncmp(argv[i], "--fd=", 5)) to = (int)strtol(argv[i] + 5, &end, 10);
        else if (!strcmp(argv[i], "--use-vnet")) use_vnet = true;
        else return usage();
    }
    if (!bridge || !end || *end || to < 0) return usage();
    if (!is_name(bridge)) return fail(bridge, "that is no interface's name");
    if (bridge_check(bridge) != 0) return 1;
    control = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (control < 0) return fail("socket", strerror(errno));
    fd = tap_make(use_vnet, tap);
    return fd < 0 || tap_join(control, tap, bridge) != 0 || descriptor_send(to, fd) != 0;
}
