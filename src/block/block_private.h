/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Inside the block room: a node is a format over a protocol. Both are tables of synchronous functions that
 * worker threads call; they return 0 or -errno and may be called by several threads at once. Offsets and
 * lengths in bytes.
 */
#ifndef BLOCK_BLOCK_PRIVATE_H
#define BLOCK_BLOCK_PRIVATE_H

#include "base/error.h"
#include "block/block.h"
#include "block/image.h"
#include "block/throttle.h"

#include <pthread.h>
#include <stddef.h>
#include <sys/types.h>

struct block_protocol;
struct block_uring;
struct block_queue;

/* Where the bytes of an image lie. Reads past the end give zeroes, writes past the end grow it. */
struct block_protocol_ops {
    const char *name;
    int (*preadv)(struct block_protocol *p, uint64_t offset, const struct iovec *iov, int iovcnt);
    int (*pwritev)(struct block_protocol *p, uint64_t offset, const struct iovec *iov, int iovcnt);
    int (*flush)(struct block_protocol *p);
    int (*discard)(struct block_protocol *p, uint64_t offset, uint64_t length);
    /* -ENOTSUP when there is no way quicker than writing zeroes. */
    int (*write_zeroes)(struct block_protocol *p, uint64_t offset, uint64_t length, bool may_unmap);
    int64_t (*size)(struct block_protocol *p);
    /* Optional. Sets the size; with METADATA like OFF, FALLOC and FULL allocate what is new, FULL writes it. -errno. */
    int (*truncate)(struct block_protocol *p, uint64_t size, enum block_preallocation preallocation);
    /* Optional. Bytes that it takes. */
    int64_t (*allocated)(struct block_protocol *p);
    /* Optional. Copies bytes from another protocol with the same ops without moving them through here (reflink,
     * server-side copy). How many were copied (short is fine), or -errno; -ENOTSUP: read and write them. */
    int64_t (*copy_range)(struct block_protocol *p, uint64_t offset, struct block_protocol *from, uint64_t from_offset,
                          uint64_t length);
    /* Optional. At most length bytes, inside the size. */
    int (*extent)(struct block_protocol *p, uint64_t offset, uint64_t length, struct block_extent *extent);
    void (*close)(struct block_protocol *p);
};

struct block_protocol {
    const struct block_protocol_ops *ops;
    char *filename;
    bool readonly;
    bool flush_ignored;             /* cache=unsafe */
    dev_t dev;                      /* identity, to find a file twice in one chain */
    ino_t ino;
    int fd;                         /* -1 when io_uring cannot be used on it */
    int flush_error;                /* of the first flush that failed; atomic */
};

/* Where the bytes of a request lie in the file of its node, in one piece; see block_format.place. */
struct block_place {
    uint64_t offset;
    uint64_t state[4];              /* the format's */
};

struct block_format {
    const char *name;
    /* Whether these first bytes of a file (at least 512, zero padded) are this format. */
    bool (*probe)(const uint8_t *head, size_t length);
    bool probe_is_hint;             /* there are images whose first bytes do not tell: with format=, open decides */
    /* For formats that only the end of a file tells: whether these last 512 bytes are this one's, asked when the name ends so. */
    const char *suffix;
    bool (*probe_end)(const uint8_t end[512]);
    /* Sets n->size and n->state. n->file is open. */
    int (*open)(struct block_node *n, struct error *err);
    void (*close)(struct block_node *n);
    bool close_flushes;             /* flush does not have to be called before */
    int (*preadv)(struct block_node *n, uint64_t offset, const struct iovec *iov, int iovcnt);
    int (*pwritev)(struct block_node *n, uint64_t offset, const struct iovec *iov, int iovcnt);
    int (*flush)(struct block_node *n);
    /* Optional. After flush, with nothing in flight: takes back the marks that tell others of an image that was not closed. 0 or -errno. */
    int (*rest)(struct block_node *n);
    int (*discard)(struct block_node *n, uint64_t offset, uint64_t length);
    int (*write_zeroes)(struct block_node *n, uint64_t offset, uint64_t length, bool may_unmap);
    /*
     * Optional, with place_end: for io_uring. Finds out, without waiting for anything, whether a request is one transfer of n->file, and
     * keeps it so until place_end, which may be called on any thread. false: the request goes by preadv or pwritev.
     */
    bool (*place)(struct block_node *n, uint64_t offset, uint64_t length, bool write, struct block_place *p);
    void (*place_end)(struct block_node *n, struct block_place *p);
    /* Optional. At most length bytes. */
    int (*extent)(struct block_node *n, uint64_t offset, uint64_t length, struct block_extent *extent);

    /*
     * From here on all is optional, and for the tools: see the functions of the same names in image.h, which check what
     * is the same for all formats (read-only, known keys, sizes) before they call. 0, or -1 with *err, unless said.
     */
    bool has_backing;
    /* Options of create (and amend), with size, backing_file and backing_fmt where it has them. */
    const struct block_option *create_options;
    /* More keys, of amend alone. */
    const struct block_option *amend_options;
    /* What was never written to a new image does not read as zeroes. */
    bool new_is_garbage;
    /* Keys that open takes from n->opening->options besides driver, file.* and the like. */
    const struct block_option *open_options;
    /* Refuses combinations and values that create would refuse; touches nothing. */
    int (*create_check)(const struct block_create_options *o, struct error *err);
    /* file is open for writing, locked and empty (a device: as it is). A format of several files makes the others beside
     * file->filename with block_file_create. */
    int (*create)(struct block_protocol *file, const struct block_create_options *o, struct error *err);
    int (*measure)(const struct block_create_options *o, struct block_node *source, struct block_measure *m,
                   struct error *err);
    /* Sets n->size. */
    int (*resize)(struct block_node *n, uint64_t size, enum block_preallocation preallocation, struct error *err);
    /* *info is zeroed. */
    int (*info)(struct block_node *n, struct block_info *info, struct error *err);
    /* Bytes of all its files, for formats of several. */
    int64_t (*allocated)(struct block_node *n);
    /* This image alone, at most length bytes; present false: the backing file decides. map is zeroed but for length and
     * node. 0 or -errno. Without it, extent serves. */
    int (*map)(struct block_node *n, uint64_t offset, uint64_t length, struct block_map *map);
    int (*write_compressed)(struct block_node *n, uint64_t offset, const void *data, size_t length);
    int (*check)(struct block_node *n, struct block_check *c, struct error *err);
    bool repairs;                   /* check knows c->fix */
    int (*snapshot_list)(struct block_node *n, struct block_snapshot **list, unsigned *count, struct error *err);
    int (*snapshot_create)(struct block_node *n, const struct block_snapshot *s, struct error *err);
    int (*snapshot_apply)(struct block_node *n, const char *id_or_name, struct error *err);
    int (*snapshot_delete)(struct block_node *n, const char *id_or_name, struct error *err);
    int (*bitmap_change)(struct block_node *n, const struct block_bitmap_change *c, struct error *err);
    int (*bitmap_list)(struct block_node *n, struct block_bitmap **list, unsigned *count, struct error *err);
    int (*bitmap_status)(struct block_node *n, const char *name, uint64_t offset, uint64_t length,
                         struct block_bitmap_status *status, struct error *err);
    int (*amend)(struct block_node *n, const struct block_option_set *changes, bool force, struct block_progress *p,
                 struct error *err);
    int (*make_empty)(struct block_node *n, struct error *err);
    int (*backing_change)(struct block_node *n, const char *backing, const char *backing_format, struct error *err);
};

struct block_file_options {
    bool readonly, direct, no_lock, force_share, share_writes, unsafe;
};
/* A way to reach bytes by name. */
struct block_protocol_driver {
    const char *name;               /* driver=, file.driver= */
    /* File names that begin so are its ("nbd:", "nbd+unix:"), the whole name is handed over; NULL ends. */
    const char *const *prefixes;
    const struct block_option *open_options;    /* keys of options, without "file." */
    /* filename NULL: options say where ("host", "path", "filename", ...). The result's filename is what messages show. */
    struct block_protocol *(*open)(const char *filename, const struct block_option_set *options,
                                   const struct block_objects *objects, const struct block_file_options *o,
                                   struct error *err);
};

struct block_node {
    const struct block_format *format;
    const struct block_objects *objects;        /* of the options it was opened with */
    const struct block_open_options *opening;   /* while format->open runs, with options cut down to the format's */
    struct block_protocol *file;
    struct block_node *backing;     /* NULL: none; owned */
    struct block_node *overlay_of;  /* who opened this node as its backing file */
    void *state;                    /* the format's */
    uint64_t size;
    char *filename;
    char *key_secret;               /* id of the secret that opened it; NULL: not encrypted, or locked */
    bool readonly;
    bool backing_changes;           /* soon other data lie below: zeroes are written even where nothing lies there now */
    bool probed_raw;                /* sector 0 guard */
    uint32_t cluster_bytes;         /* the format's unit of allocation, set by open; 0: none */
    bool discard;
    bool done_anywhere;             /* see block_done_anywhere */
    enum block_detect_zeroes detect_zeroes;
    bool unsafe, write_through, direct;
    bool no_lock, force_share;
    struct block_queue *queue;
    struct block_throttled *throttled[BLOCK_THROTTLES];     /* throttle.c; NULL: no limits */
    struct block_node *below;       /* filter.c: to which all requests go; NULL: n is no filter. Not owned. */
    struct block_stats stats;       /* atomics */
    uint64_t settled;               /* writes that block_settle has flushed */
};

extern const struct block_format block_format_raw, block_format_qcow2, block_format_vdi, block_format_vhdx,
                                 block_format_vmdk, block_format_vpc, block_format_qed,
                                 block_format_parallels, block_format_qcow1, block_format_cloop, block_format_luks,
                                 block_format_dmg;
#define BLOCK_CHAIN_MAX 128         /* nodes in a backing chain */

/* format.c. NULL when nothing but raw fits / the name is unknown. */
const struct block_format *block_format_probe(const uint8_t *head, size_t length);
/* By the end of the file, and its name. NULL: neither. */
const struct block_format *block_format_probe_end(struct block_protocol *file);
const struct block_format *block_format_find(const char *name);
/* "raw, qcow2, ..." */
const char *block_format_names(void);
/* What a file looks like to a person ("qcow2", "VMDK", "raw", ...). */
const char *block_format_looks_like(const uint8_t *head, size_t length);

/* open.c: flushes and lets go of the format's state, its file and its backing file; nothing may be in flight. */
void block_node_image_close(struct block_node *n);
/* gone.c: n holds no image; all its requests fail from now on. */
void block_node_forsake(struct block_node *n);
/* open.c: notes the secret that an image was opened with. */
void block_node_key_note(struct block_node *n, const char *id);

/* file.c: a file or block device, locked. */
struct block_protocol *block_file_open(const char *filename, const struct block_file_options *o, struct error *err);
/* The same, made if it is not there (*created then): for writing. What it holds stays; see block_file_look. */
struct block_protocol *block_file_create(const char *filename, bool *created, struct error *err);
/* Whether it holds more than zeroes and holes, and what, in words: "a VMDK image", "data". */
bool block_file_look(struct block_protocol *p, char what[BLOCK_LOOK_BYTES]);
/* An unlinked temporary file in $TMPDIR or /var/tmp. */
struct block_protocol *block_file_temporary(struct error *err);

/* nbd_client.c */
extern const struct block_protocol_driver block_protocol_nbd;
/* http.c */
extern const struct block_protocol_driver block_protocol_http, block_protocol_https;
/* protocol.c: the driver whose prefix a file name has; the file driver when it has none, or when there is a file of that
 * name. NULL: unknown. */
const struct block_protocol_driver *block_protocol_find(const char *filename);
const struct block_protocol_driver *block_protocol_driver_find(const char *name);
/* Opens by name or by the items of options that begin with "file.". */
struct block_protocol *block_protocol_open(const char *filename, const struct block_option_set *options,
                                           const struct block_objects *objects, const struct block_file_options *o,
                                           struct error *err);

/* filename.c: json:{...} as dotted keys. Everything is freed with *arena. */
struct block_options_arena {
    struct block_option_set set;
    struct block_option_value *item;
    unsigned room;
};
int block_options_from_json(const char *text, struct block_options_arena *a, struct error *err);
/* The items whose keys begin with prefix (without it), or, with prefix NULL, the others. Copies. */
int block_options_split(const struct block_option_set *from, const char *prefix, struct block_options_arena *a);
int block_options_add(struct block_options_arena *a, const char *key, const char *value);
void block_options_free(struct block_options_arena *a);

/* lock.c: QEMU's byte locks on fd. */
int block_lock_take(int fd, const char *filename, const struct block_file_options *o, struct error *err);
/* Who has the locks of one that is not shared lets others write. */
void block_lock_share(int fd);
/* A reader that does not allow others to write says that it writes, too; refused if another one does not allow that. And back. */
int block_lock_upgrade(int fd, const char *filename, struct error *err);
void block_lock_downgrade(int fd);

/* node.c: a node over a protocol that is open already; the protocol is the node's even when this fails. */
struct block_node *block_node_open_over(struct block_protocol *file, const struct block_open_options *o,
                                        struct block_node *overlay_of, struct error *err);
struct block_node *block_node_open(const struct block_open_options *o, struct block_node *overlay_of,
                                   struct error *err);
/* The same, into a node that holds no image. 0, or -1 with *err. */
int block_node_open_into(struct block_node *n, const struct block_open_options *o, struct error *err);
/* Checked, counted, with the cache mode's flushes: what workers and the synchronous calls run. */
int block_node_preadv(struct block_node *n, uint64_t offset, const struct iovec *iov, int iovcnt);
int block_node_pwritev(struct block_node *n, uint64_t offset, const struct iovec *iov, int iovcnt);
int block_node_flush(struct block_node *n);
int block_node_discard(struct block_node *n, uint64_t offset, uint64_t length);
int block_node_write_zeroes(struct block_node *n, uint64_t offset, uint64_t length, bool may_unmap);
int block_node_check_range(const struct block_node *n, uint64_t offset, uint64_t length);

enum block_count { BLOCK_COUNT_READ, BLOCK_COUNT_WRITE, BLOCK_COUNT_FLUSH };
void block_node_count(struct block_node *n, enum block_count what, uint64_t bytes);

/* protocol helpers (node.c) */
int block_protocol_pread(struct block_protocol *p, uint64_t offset, void *data, size_t length);
int block_protocol_pwrite(struct block_protocol *p, uint64_t offset, const void *data, size_t length);
/* The kernel tells only once that it lost data, so a flush that failed makes all later ones fail. */
int block_protocol_flush(struct block_protocol *p);
void block_protocol_flush_failed(struct block_protocol *p, int error);
int block_protocol_write_zeroes(struct block_protocol *p, uint64_t offset, uint64_t length, bool may_unmap);

/*
 * backing.c. Opens the backing file that an image names (NULL, "": none) as n->backing. format NULL: it is probed. 0; -ENOENT: *err is
 * the message of the file further down, complete; -1: this image is to blame.
 */
int block_node_backing_open(struct block_node *n, const char *name, const char *format, struct error *err);
/* The end of an open that failed so: closes the backing file, completes the message. -1. */
int block_node_open_fail(struct block_node *n, int r, struct error *err);

/* image.c. Data that lie in a hole of the file are zeroes: the map's first part, made shorter, says so. 0 or -errno. */
int block_protocol_holes_find(struct block_protocol *p, struct block_map *map);

/* request.c */
struct block_queue *block_queue_new(struct block_node *n);
void block_queue_close(struct block_queue *q);

/* iov.c */
size_t block_iov_length(const struct iovec *iov, int iovcnt);
/* The bytes [skip, skip + length) of src as an iovec array in dst, which has room for iovcnt entries. Entries used. */
int block_iov_slice(struct iovec *dst, const struct iovec *src, int iovcnt, size_t skip, size_t length);
void block_iov_from(const struct iovec *iov, int iovcnt, size_t skip, const void *data, size_t length);
void block_iov_to(const struct iovec *iov, int iovcnt, size_t skip, void *data, size_t length);
bool block_iov_is_zero(const struct iovec *iov, int iovcnt);
void block_iov_zero(const struct iovec *iov, int iovcnt, size_t skip, size_t length);

#endif
