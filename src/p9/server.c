/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The session: version, fids, and the table of messages.
 *
 * A fid holds the file itself as an O_PATH descriptor. It is come by only from the folder, one name after the other, none of them ".."
 * and no symbolic link ever followed (openat2 with RESOLVE_BENEATH and RESOLVE_NO_SYMLINKS), so that nothing outside can be named,
 * whatever the guest and other processes rename meanwhile. What has to go by path goes through /proc/self/fd.
 *
 * Limits: 16384 fids, descriptors (descriptors.c), 8 MiB of values of attributes, messages of at most 1 MiB, no walk to "..", which Linux' driver never sends; Tremove and Trename answer EOPNOTSUPP, since
 * 9P2000.L has Tunlinkat and Trenameat; locks are granted always, as QEMU's server does.
 * Sources: diod's protocol.md for 9P2000.L, intro(5) of Plan 9, openat2(2).
 */
#include <errno.h>
#include <fcntl.h>
#include <linux/openat2.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "base/error.h"
#include "p9/server_private.h"

enum { RLERROR = 7, TVERSION = 100, TFLUSH = 108, NO_TAG = 0xffff };

/* ---- descriptors ---- */

struct p9_path p9_path_of(int path_fd)
{
    struct p9_path p;

    snprintf(p.text, sizeof(p.text), "/proc/self/fd/%d", path_fd);
    return p;
}

int p9_child_open(int dir_fd, const char *name)
{
    struct open_how how = { .flags = O_PATH | O_NOFOLLOW | O_CLOEXEC, .resolve = RESOLVE_BENEATH | RESOLVE_NO_MAGICLINKS };
    int fd;

    do fd = (int)syscall(SYS_openat2, dir_fd, name, &how, sizeof(how));
    while (fd < 0 && errno == EAGAIN);
    return fd;
}

int p9_reopen(int path_fd, int flags)
{
    struct stat st;

    if (fstat(path_fd, &st) < 0) return -1;
    if (!S_ISREG(st.st_mode) && !S_ISDIR(st.st_mode)) {
        errno = S_ISLNK(st.st_mode) ? ELOOP : ENXIO;
        return -1;
    }
    return open(p9_path_of(path_fd).text, flags | O_CLOEXEC | O_NOCTTY | O_NONBLOCK);
}

/* ---- qids and names ---- */

static uint64_t device_number(struct p9_server *s, dev_t device)
{
    for (unsigned i = 0; i < s->devices; i++)
        if (s->device[i] == device) return i;
    if (s->devices < P9_DEVICES) s->device[s->devices++] = device;
    return s->devices - 1;
}

struct p9_qid p9_qid_from(struct p9_server *s, const struct stat *st)
{
    return (struct p9_qid){
        .type = S_ISDIR(st->st_mode) ? 0x80 : S_ISLNK(st->st_mode) ? 0x02 : 0,
        .version = (uint32_t)(st->st_mtim.tv_sec ^ st->st_mtim.tv_nsec ^ st->st_size << 8),
        .path = st->st_ino ^ device_number(s, st->st_dev) << 56,
    };
}

int p9_qid_of(struct p9_server *s, int path_fd, struct p9_qid *qid)
{
    struct stat st;
    int why = p9_stat(s, path_fd, &st);

    if (!why) *qid = p9_qid_from(s, &st);
    return why;
}

bool p9_get_name(struct p9_in *in, char name[P9_NAME_ROOM])
{
    return p9_get_string(in, name, P9_NAME_ROOM) && *name && !strchr(name, '/') && strcmp(name, ".") && strcmp(name, "..");
}

/* ---- fids ---- */

struct p9_fid *p9_fid_find(struct p9_server *s, uint32_t number)
{
    struct p9_fid *f = s->bucket[number % P9_BUCKETS];

    while (f && f->number != number) f = f->next;
    return f;
}

int p9_fid_new(struct p9_server *s, uint32_t number, int path_fd, struct p9_fid **made)
{
    struct p9_fid *f = NULL;
    int why = path_fd < 0 ? errno : p9_fid_find(s, number) ? EINVAL : s->fids >= P9_FIDS_MAX || !p9_has_descriptor(s) ? ENFILE : 0;

    if (!why && !(f = calloc(1, sizeof(*f)))) why = ENOMEM;
    if (why) {
        if (path_fd >= 0) close(path_fd);
        return why;
    }
    *f = (struct p9_fid){ .next = s->bucket[number % P9_BUCKETS], .number = number, .path_fd = path_fd, .fd = -1 };
    s->bucket[number % P9_BUCKETS] = f;
    s->fids++;
    s->descriptors++;
    if (made) *made = f;
    return 0;
}

void p9_fid_free(struct p9_server *s, struct p9_fid *f)
{
    struct p9_fid **link = &s->bucket[f->number % P9_BUCKETS];

    while (*link != f) link = &(*link)->next;
    *link = f->next;
    s->fids--;
    s->xattr_bytes -= f->xattr_size;
    s->descriptors -= f->fd >= 0 ? 2 : 1;
    if (f->fd >= 0) close(f->fd);
    close(f->path_fd);
    free(f->xattr);
    free(f);
}

void p9_server_reset(struct p9_server *s)
{
    for (unsigned i = 0; i < P9_BUCKETS; i++)
        while (s->bucket[i]) p9_fid_free(s, s->bucket[i]);
    s->msize = 0;
}

unsigned p9_server_fids(const struct p9_server *s) { return s->fids; }

/* ---- messages ---- */

static int version(struct p9_server *s, struct p9_in *in, struct p9_out *out)
{
    uint32_t msize = (uint32_t)p9_get(in, 4);
    char text[32];

    if (!p9_get_string(in, text, sizeof(text))) return EINVAL;
    p9_server_reset(s);
    if (msize < P9_MSIZE_LEAST) return EMSGSIZE;
    s->msize = MIN(msize, (uint32_t)P9_MSIZE_MAX);
    p9_put(out, s->msize, 4);
    p9_put_string(out, strcmp(text, "9P2000.L") ? "unknown" : "9P2000.L");
    return 0;
}

/* Requests are handled one after the other: what is flushed was answered before. */
static int flush(struct p9_server *s, struct p9_in *in, struct p9_out *out)
{
    p9_get(in, 2);
    return 0;
}

static const struct { uint8_t type; p9_op *fn; bool writes; } ops[] = {
    { 8, p9_statfs }, { 12, p9_lopen }, { 14, p9_lcreate, true }, { 16, p9_symlink, true }, { 18, p9_mknod, true }, { 20, p9_rename, true },
    { 22, p9_readlink }, { 24, p9_getattr }, { 26, p9_setattr, true }, { 30, p9_xattrwalk }, { 32, p9_xattrcreate, true }, { 40, p9_readdir },
    { 50, p9_fsync }, { 52, p9_lock }, { 54, p9_getlock }, { 70, p9_link, true }, { 72, p9_mkdir, true }, { 74, p9_renameat, true },
    { 76, p9_unlinkat, true }, { TVERSION, version }, { 104, p9_attach }, { TFLUSH, flush }, { 110, p9_walk }, { 116, p9_read },
    { 118, p9_write, true }, { 120, p9_clunk }, { 122, p9_remove, true },
};

static int dispatch(struct p9_server *s, uint8_t type, struct p9_in *in, struct p9_out *out)
{
    int why;

    if (!s->msize && type != TVERSION) return EPROTO;
    for (unsigned i = 0; i < ARRAY_SIZE(ops); i++) {
        if (ops[i].type != type) continue;
        if (ops[i].writes && s->config.readonly) return EROFS;
        why = ops[i].fn(s, in, out);
        return why ? why : in->bad ? EINVAL : out->bad ? EMSGSIZE : 0;
    }
    return EOPNOTSUPP;
}

size_t p9_server_handle(struct p9_server *s, const uint8_t *message, size_t size, uint8_t *reply, size_t room)
{
    struct p9_in in = { message, size, 0, false };
    struct p9_out out = { reply, MIN(room, (size_t)(s->msize ? s->msize : P9_MSIZE_LEAST)), 0, false };
    uint32_t length = (uint32_t)p9_get(&in, 4);
    uint8_t type = (uint8_t)p9_get(&in, 1);
    uint16_t tag = (uint16_t)p9_get(&in, 2);
    int why;

    if (in.bad || room < P9_HEADER_BYTES + 4) return 0;
    out.at = P9_HEADER_BYTES;
    in.size = MIN(size, (size_t)length);
    why = length < P9_HEADER_BYTES || length > size ? EINVAL : dispatch(s, type, &in, &out);
    if (why) {
        out = (struct p9_out){ reply, room, P9_HEADER_BYTES, false };
        p9_put(&out, (uint32_t)why, 4);
    }
    length = (uint32_t)out.at;
    out.at = 0;
    p9_put(&out, length, 4);
    p9_put(&out, why ? RLERROR : type + 1u, 1);
    p9_put(&out, tag, 2);
    return length;
}

/* ---- life ---- */

static int folder_open(struct p9_server *s, struct error *err)
{
    const char *path = s->config.path;
    int probe;

    s->root_fd = open(path, O_PATH | O_DIRECTORY | O_CLOEXEC);
    if (s->root_fd < 0) return error_set(err, "shared folder '%s': %s", path, strerror(errno));
    probe = p9_child_open(s->root_fd, ".");
    if (probe < 0 && errno != ENOSYS && errno != EPERM) return error_set(err, "shared folder '%s': %s", path, strerror(errno));
    if (probe >= 0) close(probe);
    if (probe < 0 || access("/proc/self/fd", X_OK) < 0)
        return error_set(err, "shared folder '%s': this host lacks %s", path, probe < 0 ? "openat2 (Linux 5.6)" : "/proc");
    s->descriptors = P9_DESCRIPTORS_OWN;
    s->descriptors_most = p9_descriptors_take();
    return s->descriptors_most ? 0 : error_set(err, "shared folder '%s': the process may have too few open files; raise the limit (ulimit -n)", path);
}

struct p9_server *p9_server_new(const struct p9_config *config, struct error *err)
{
    struct p9_server *s = calloc(1, sizeof(*s));

    if (!s) {
        error_set(err, "no memory for a shared folder");
        return NULL;
    }
    s->config = *config;
    if (!s->config.file_mode) s->config.file_mode = 0600;
    if (!s->config.directory_mode) s->config.directory_mode = 0700;
    if (folder_open(s, err) == 0) return s;
    p9_server_free(s);
    return NULL;
}

void p9_server_free(struct p9_server *s)
{
    if (!s) return;
    p9_server_reset(s);
    p9_descriptors_give_back(s->descriptors_most);
    if (s->root_fd >= 0) close(s->root_fd);
    free(s);
}
