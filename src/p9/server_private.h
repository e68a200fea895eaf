/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Inside of the 9P server. Operations return 0 or a positive errno. */
#ifndef P9_SERVER_PRIVATE_H
#define P9_SERVER_PRIVATE_H

#include <limits.h>
#include <sys/stat.h>

#include "base/bits.h"
#include "p9/server.h"
#include "p9/wire.h"

enum { P9_FIDS_MAX = 16384, P9_BUCKETS = 1024, P9_XATTR_MAX = 65536, P9_XATTRS_MAX = 8 << 20, P9_NAME_ROOM = NAME_MAX + 1, P9_DEVICES = 256 };
/* Of a fid: the file, and where it is open; of the server: the folder, and what is open during one message. */
enum { P9_DESCRIPTORS_OWN = 8, P9_DESCRIPTORS_MAX = 2 * P9_FIDS_MAX + P9_DESCRIPTORS_OWN };

struct p9_fid {
    struct p9_fid *next;
    uint32_t number;
    int path_fd;                       /* O_PATH: the file itself, wherever it was moved */
    int fd;                            /* opened, or -1 */
    bool is_root, is_dir, writable;    /* is_dir: and opened */
    uint8_t *xattr;                    /* a fid of an extended attribute's value */
    size_t xattr_size, xattr_got;
    bool xattr_writes;
    int xattr_flags;
    char xattr_name[P9_NAME_ROOM];
};

struct p9_server {
    struct p9_config config;
    int root_fd;
    uint32_t msize;                    /* 0: no Tversion yet */
    struct p9_fid *bucket[P9_BUCKETS];
    unsigned fids;
    unsigned descriptors, descriptors_most;
    size_t xattr_bytes;                /* of values that fids hold, P9_XATTRS_MAX at most */
    dev_t device[P9_DEVICES];          /* of files met: their numbers make inode numbers of several mounts differ */
    unsigned devices;
};

typedef int p9_op(struct p9_server *s, struct p9_in *in, struct p9_out *out);
p9_op p9_attach, p9_walk, p9_clunk, p9_remove, p9_getattr, p9_statfs, p9_readlink;                        /* walk.c */
p9_op p9_lopen, p9_lcreate, p9_read, p9_write, p9_readdir, p9_fsync, p9_lock, p9_getlock;                 /* file.c */
p9_op p9_setattr, p9_mkdir, p9_mknod, p9_symlink, p9_link, p9_rename, p9_renameat, p9_unlinkat;           /* change.c */
p9_op p9_xattrwalk, p9_xattrcreate;                                                                       /* xattr.c */

/* server.c */
struct p9_fid *p9_fid_find(struct p9_server *s, uint32_t number);
/* Takes path_fd over, also when it fails. */
int p9_fid_new(struct p9_server *s, uint32_t number, int path_fd, struct p9_fid **made);
void p9_fid_free(struct p9_server *s, struct p9_fid *f);
int p9_qid_of(struct p9_server *s, int path_fd, struct p9_qid *qid);
struct p9_qid p9_qid_from(struct p9_server *s, const struct stat *st);
/* A name of one file in a directory: not empty, no '/', neither "." nor "..". */
bool p9_get_name(struct p9_in *in, char name[P9_NAME_ROOM]);
/* The file itself, never followed. A descriptor, or -1 with errno. */
int p9_child_open(int dir_fd, const char *name);
/* Opens what path_fd is, if it is a file or a directory: devices and pipes of the host are not for guests. */
int p9_reopen(int path_fd, int flags);
struct p9_path { char text[40]; };
struct p9_path p9_path_of(int path_fd);

/* May one more be kept? If not it is ENFILE, and the rest of the process does not notice. */
static inline bool p9_has_descriptor(const struct p9_server *s) { return s->descriptors < s->descriptors_most; }

/* descriptors.c: how many a new share may have, 0: none can be spared. */
unsigned p9_descriptors_take(void);
void p9_descriptors_give_back(unsigned n);

/* xattr.c: what was written to the fid of an attribute takes effect. */
int p9_xattr_finish(struct p9_server *s, struct p9_fid *f);

/* mapped.c: owner and mode as the guest sees them, for the security model. */
int p9_stat(struct p9_server *s, int path_fd, struct stat *st);
struct p9_owner { uint32_t uid, gid; };
/* A new file gets its owner and mode (with type); rdev for device nodes. */
int p9_owner_set(struct p9_server *s, int path_fd, uint32_t mode, const struct p9_owner *o, uint64_t rdev);
int p9_mode_change(struct p9_server *s, int path_fd, uint32_t mode);
int p9_owner_change(struct p9_server *s, int path_fd, uint32_t uid, uint32_t gid);
static inline bool p9_is_mapped(const struct p9_server *s) { return s->config.security == P9_MAPPED_XATTR; }

#endif
