/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * 'ospite nbd': opens the images, then the sockets, then serves until SIGTERM, SIGINT, SIGHUP or the last client.
 *
 * With -c the other end of a socket pair goes to the kernel, whose requests are then served like any client's; the
 * process stays in the background for as long as the device is connected.
 */
#include "tool/nbd.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <netdb.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/signalfd.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include "base/error.h"
#include "base/log.h"
#include "block/nbd_tls.h"
#include "tool/daemon.h"
#include "tool/nbd_options.h"
#include "tool/partition.h"
#include "tool/version.h"

enum { BACKLOG = 128, ACTIVATION_FIRST_FD = 3 };

struct running {
    struct nbd_tool t;
    struct nbd_server *server;
    struct nbd_tls *tls;
    char unlink_path[PATH_MAX];     /* the socket, to be taken away at the end */
    char pid_path[PATH_MAX];
    int kernel_fd;                  /* our end's partner until the kernel has it */
    bool connected;
};

/* systemd hands over listening sockets: how many. Source: sd_listen_fds(3). */
static unsigned activation_count(void)
{
    const char *pid = getenv("LISTEN_PID"), *count = getenv("LISTEN_FDS");
    if (!pid || !count || strtol(pid, NULL, 10) != getpid())
        return 0;
    long n = strtol(count, NULL, 10);
    return n > 0 && n <= 64 ? (unsigned)n : 0;
}

static void path_absolute(char *out, size_t room, const char *path)
{
    char here[PATH_MAX];
    bool relative = *path != '/' && getcwd(here, sizeof(here));
    if (snprintf(out, room, "%s%s%s", relative ? here : "", relative ? "/" : "", path) >= (int)room)
        *out = 0;
}

/* A socket file that nobody listens on is left over from a server that was killed. */
static int stale_remove(const struct sockaddr_un *address, struct error *err)
{
    struct stat st;
    if (lstat(address->sun_path, &st))
        return 0;
    if (!S_ISSOCK(st.st_mode))
        return error_set(err, "-k: '%s' is there and no socket; remove it or choose another name", address->sun_path);
    int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    bool alive = fd >= 0 && (connect(fd, (const struct sockaddr *)address, sizeof(*address)) == 0 || errno == EAGAIN);
    if (fd >= 0)
        close(fd);
    if (alive)
        return error_set(err, "-k: somebody listens on '%s' already; choose another name", address->sun_path);
    unlink(address->sun_path);
    return 0;
}

/* What setsockcreatecon(3) does: the label of the sockets that this thread makes from now on; "": their usual one. */
static int label_set(const char *label)
{
    int fd = open("/proc/thread-self/attr/sockcreate", O_WRONLY | O_CLOEXEC);
    size_t length = *label ? strlen(label) + 1 : 0;
    int r = fd < 0 || write(fd, label, length) != (ssize_t)length ? -errno : 0;
    if (fd >= 0)
        close(fd);
    return r;
}

static int labelled_socket(const struct running *u, int *fd, struct error *err)
{
    int r = u->t.label ? label_set(u->t.label) : 0;
    if (r)
        return error_set(err, "--selinux-label: the socket cannot have the label '%s': %s%s", u->t.label, strerror(-r),
                         access("/sys/fs/selinux", F_OK) ? "; this host runs without SELinux, so leave it out" : "");
    *fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    int why = errno;
    if (u->t.label && label_set("")) {
        if (*fd >= 0)
            close(*fd);
        return error_set(err, "--selinux-label: cannot go back to the usual label");
    }
    errno = why;
    return 0;
}

static int unix_listen(struct running *u, const char *path, struct error *err)
{
    struct sockaddr_un address = { .sun_family = AF_UNIX };
    if (strlen(path) >= sizeof(address.sun_path))
        return error_set(err, "-k: the path has more than %zu bytes, which is what the kernel can take: '%s'",
                         sizeof(address.sun_path) - 1, path);
    strcpy(address.sun_path, path);
    if (stale_remove(&address, err))
        return -1;
    int fd = -1;
    if (labelled_socket(u, &fd, err))
        return -1;
    if (fd < 0 || bind(fd, (struct sockaddr *)&address, sizeof(address)) || listen(fd, BACKLOG)) {
        int why = errno;
        if (fd >= 0)
            close(fd);
        return error_set(err, "-k: cannot listen on '%s': %s", path, strerror(why));
    }
    path_absolute(u->unlink_path, sizeof(u->unlink_path), path);
    return nbd_server_listen(u->server, fd, err);
}

static int tcp_listen(struct running *u, struct error *err)
{
    const struct addrinfo hints = { .ai_socktype = SOCK_STREAM, .ai_flags = AI_PASSIVE };
    const char *host = u->t.bind ? u->t.bind : "0.0.0.0";
    struct addrinfo *all;
    char port[8];
    const int on = 1;
    int fd = -1, why = 0;
    snprintf(port, sizeof(port), "%u", (unsigned)u->t.port);
    int r = getaddrinfo(host, port, &hints, &all);
    if (r)
        return error_set(err, "-b: cannot find the address '%s': %s", host, gai_strerror(r));
    for (struct addrinfo *a = all; a && fd < 0; a = a->ai_next) {
        fd = socket(a->ai_family, SOCK_STREAM | SOCK_CLOEXEC, 0);
        if (fd >= 0)
            setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof(on));
        if (fd >= 0 && (bind(fd, a->ai_addr, a->ai_addrlen) || listen(fd, BACKLOG))) {
            why = errno;
            close(fd);
            fd = -1;
        } else if (fd < 0) {
            why = errno;
        }
    }
    freeaddrinfo(all);
    if (fd < 0)
        return error_set(err, "cannot listen on %s port %s: %s; choose another with -b and -p", host, port, strerror(why));
    return nbd_server_listen(u->server, fd, err);
}

static int kernel_attach(struct running *u, struct error *err)
{
    int pair[2];
    if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair))
        return error_set(err, "-c: %s", strerror(errno));
    u->kernel_fd = pair[1];
    return nbd_server_attach(u->server, pair[0], u->t.image[0].name, err);
}

static int sockets_open(struct running *u, unsigned activated, struct error *err)
{
    if (u->t.connect)
        return kernel_attach(u, err);
    for (unsigned i = 0; i < activated; i++)
        if (nbd_server_listen(u->server, ACTIVATION_FIRST_FD + (int)i, err))
            return -1;
    if (activated)
        return 0;
    return u->t.socket ? unix_listen(u, u->t.socket, err) : tcp_listen(u, err);
}

static int export_open(struct running *u, struct nbd_image *i, struct error *err)
{
    const struct block_open_options o = {
        .filename = i->options ? NULL : i->filename, .options = i->options, .objects = secrets_objects(&u->t.secrets),
        .format = i->format, .readonly = i->readonly && !u->t.snapshot,
        .internal_snapshot = i->snapshot, .snapshot = u->t.snapshot, .cache = u->t.cache, .discard = u->t.discard,
    };
    struct nbd_export_options x = { .name = i->name, .description = i->description, .offset_bytes = i->offset,
                                    .length_bytes = UINT64_MAX, .readonly = i->readonly,
                                    .detect_zeroes = u->t.detect_zeroes, .bitmap = i->bitmap, .depth = i->depth };
    i->node = x.node = block_open(&o, err);
    if (!i->node)
        return -1;
    x.readonly |= block_is_readonly(i->node);
    if (i->partition) {
        struct partition_table table;
        if (partition_table_read(i->node, &table, err))
            return -1;
        const struct partition *p = partition_find(&table, i->partition);
        if (!p)
            return error_set(err, "'%s' has no partition %u (table: %s, %u partitions)", i->filename, i->partition,
                             table.kind, table.count);
        x.offset_bytes = p->offset_bytes;
        x.length_bytes = p->length_bytes;
    }
    if (nbd_server_export_add(u->server, &x, err))
        return -1;
    if (!i->format && !i->options && !strcmp(block_format_name(i->node), "raw") && !i->readonly)
        log_message("'%s' looks like a raw image; writes that would make it look like another format are refused. Give "
                    "-f raw to allow them", i->filename);
    return 0;
}

static int server_make(struct running *u, struct error *err)
{
    struct nbd_tool *t = &u->t;
    if (nbd_objects_tls(t, true, &u->tls, err))
        return -1;
    const struct nbd_server_options o = { .clients_max = t->shared, .persistent = t->persistent && !t->connect,
                                          .verbose = t->verbose, .tls = u->tls };
    u->server = nbd_server_new(&o, err);
    if (!u->server)
        return -1;
    for (unsigned i = 0; i < t->images; i++)
        if (export_open(u, &u->t.image[i], err))
            return -1;
    return 0;
}

static int signals_open(void)
{
    sigset_t set;
    sigemptyset(&set);
    sigaddset(&set, SIGTERM);
    sigaddset(&set, SIGINT);
    sigaddset(&set, SIGHUP);
    sigprocmask(SIG_BLOCK, &set, NULL);
    return signalfd(-1, &set, SFD_CLOEXEC);
}

static int kernel_connect(struct running *u, struct error *err)
{
    uint64_t size;
    uint16_t flags;
    if (!u->t.connect)
        return 0;
    if (nbd_server_export_look(u->server, u->t.image[0].name, &size, &flags, err) ||
        nbd_kernel_connect(u->t.connect, u->kernel_fd, size, flags, err))
        return -1;
    close(u->kernel_fd);
    u->kernel_fd = -1;
    u->connected = true;
    if (u->t.verbose)
        log_message("'%s' is now '%s'", u->t.connect, u->t.image[0].filename);
    return 0;
}

static int serve(struct running *u, struct error *err)
{
    unsigned activated = activation_count();
    int background = -1, stop = -1;
    if (activated && (u->t.socket || u->t.bind || u->t.port_given || u->t.connect))
        return error_set(err, "the sockets come from systemd: -k, -b, -p and -c have no place here");
    if (u->t.connect && nbd_kernel_check(u->t.connect, err))
        return -1;
    if ((u->t.fork || (u->t.connect && !u->t.verbose)) && (background = daemon_begin(err)) < 0)
        return -1;
    if ((stop = signals_open()) < 0)
        return error_set(err, "signalfd: %s", strerror(errno));
    if (server_make(u, err) || sockets_open(u, activated, err) || kernel_connect(u, err))
        return -1;
    if (u->t.pid_file) {
        if (pidfile_write(u->t.pid_file, err))
            return -1;
        path_absolute(u->pid_path, sizeof(u->pid_path), u->t.pid_file);
    }
    if (background >= 0 && daemon_ready(background, err))
        return -1;
    nbd_server_run(u->server, stop);
    close(stop);
    return 0;
}

/* Says so when what clients wrote could not be stored at the end. */
static int finish(struct running *u, struct error *err)
{
    struct error ignored;
    int result = 0;
    if (u->connected)
        nbd_kernel_disconnect(u->t.connect, &ignored);
    if (u->kernel_fd >= 0)
        close(u->kernel_fd);
    nbd_server_free(u->server);
    for (unsigned i = 0; i < u->t.images; i++) {
        struct block_node *n = u->t.image[i].node;
        int r = n && !block_is_readonly(n) ? block_flush_sync(n) : 0;
        if (r && !result)
            result = error_set(err, "'%s': the last writes could not be stored: %s", u->t.image[i].filename, strerror(-r));
        block_close(n);
    }
    nbd_tls_free(u->tls);
    secrets_free(&u->t.secrets);
    if (*u->unlink_path)
        unlink(u->unlink_path);
    if (*u->pid_path)
        unlink(u->pid_path);
    return result;
}

int nbd_tool_run(int argc, char **argv)
{
    struct error err = { "unknown error" }, last;
    struct running *u = calloc(1, sizeof(*u));
    if (!u)
        return 1;
    u->kernel_fd = -1;
    process_prepare(NULL);
    int r = nbd_options_parse(&u->t, argc, argv, &err);
    if (!r && u->t.help)
        nbd_options_help();
    else if (!r && u->t.trace_help)
        log_trace_help(stdout);
    else if (!r && u->t.version)
        version_print("ospite-nbd");
    else if (!r && u->t.disconnect)
        r = nbd_kernel_disconnect(u->t.disconnect, &err);
    else if (!r && u->t.list)
        r = nbd_tool_list(&u->t, &err);
    else if (!r)
        r = serve(u, &err);
    if (r)
        log_message("nbd: %s", err.text);
    if (finish(u, &last)) {
        log_message("nbd: %s", last.text);
        r = -1;
    }
    arena_free(u->t.arena);
    free(u);
    return r ? 1 : 0;
}
