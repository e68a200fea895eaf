/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Disks from the host's side. A node is a format (raw, qcow2) over a protocol (file); requests are asynchronous and
 * never run on the thread that submits them. Completion callbacks run in the main thread (loop_post), machine lock held.
 */
#ifndef BLOCK_BLOCK_H
#define BLOCK_BLOCK_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/uio.h>

struct error;
struct nbd_tls;
struct block_node;
struct block_option_set;

enum block_cache { BLOCK_CACHE_WRITEBACK, BLOCK_CACHE_WRITETHROUGH, BLOCK_CACHE_NONE, BLOCK_CACHE_DIRECTSYNC, BLOCK_CACHE_UNSAFE };

/* What --object made, for those who open images: looked up by id. The results live as long as this does. */
struct block_objects {
    /* NULL with *err. */
    const uint8_t *(*secret)(const struct block_objects *o, const char *id, size_t *length, struct error *err);
    struct nbd_tls *(*tls)(const struct block_objects *o, const char *id, struct error *err);
};

/* Writes of zeroes become requests to write zeroes, and to unmap. */
enum block_detect_zeroes { BLOCK_DETECT_OFF, BLOCK_DETECT_ON, BLOCK_DETECT_UNMAP };

struct block_open_options {
    /* A path, PROTOCOL:..., or json:{...}; NULL when options hold it. */
    const char *filename;
    const char *format;              /* NULL: probe (a raw image then may not become another format: sector 0 guard) */
    bool readonly;
    bool snapshot;                   /* writes go to a temporary overlay that is dropped */
    bool no_lock;
    bool force_share;
    bool share_writes;               /* others may write too, if it is raw */
    enum block_cache cache;
    bool discard;                    /* pass discards down */
    enum block_detect_zeroes detect_zeroes;
    /* --image-opts: dotted keys as in json:{} names, "file.filename", "encrypt.key-secret"; NULL: none. */
    const struct block_option_set *options;
    const struct block_objects *objects;    /* NULL: none */
    /* Of --image-opts what began with "backing.", for the image's backing file; block_open fills it in. */
    const struct block_option_set *backing_options;
    /* What to open as the backing file, whatever the image records; NULL: what it records. */
    const struct block_open_options *backing;
    const struct block_node *keys_of;   /* with the secrets that this node and its chain were opened with; NULL: none */
    bool no_key;                     /* an encrypted image needs no passphrase; its data cannot be read then */
    bool no_backing;                 /* do not open the backing file: for work on the image's own metadata */
    bool for_check;                  /* also images that are damaged or marked so, as far as block_check can use them */
    const char *internal_snapshot;   /* id or name: the disk as it was then, read-only; NULL: as it is */
};
/* Opens an image; takes its locks. NULL with *err ("disk0: ..." prefix is the caller's). */
struct block_node *block_open(const struct block_open_options *o, struct error *err);
/* A node whose requests all go to another one, which must outlive it: limits of its own may stand there (throttle.h). group: for its name, which is
 * "json:{...}". Of o only readonly, discard and detect_zeroes count. NULL with *err. */
struct block_node *block_filter_new(struct block_node *below, const char *group, const struct block_open_options *o, struct error *err);
/* A filter's options out of keys and values as -blockdev has them; driver and node-name are ignored. 0, or -1 with *err. */
int block_filter_options(const struct block_option_set *set, struct block_open_options *o, struct error *err);
/* What a filter stands on; NULL: n is none. */
struct block_node *block_filter_below(const struct block_node *n);
/* The node below has another size or name, or the filter another group or other options (NULL: it has not). */
void block_filter_update(struct block_node *n, const char *group, const struct block_open_options *o);
/* Waits for requests, flushes, closes, releases locks. */
void block_close(struct block_node *n);
/* Opens the image of n with other options, maybe other backing files; devices keep the node. The size must be the same. before: the options
 * that it has. The main thread. 0, or -1 with *err: then it is as it was, or, if it cannot be had any more (a message says so), abandoned. */
int block_reopen(struct block_node *n, const struct block_open_options *o, const struct block_open_options *before, struct error *err);
/* Waits, flushes and lets go of the image, but the node stays: from now on all requests fail with ENOMEDIUM. The size stays. */
void block_abandon(struct block_node *n);
bool block_is_abandoned(const struct block_node *n);
/* From now on others may write to the image, too, or may not; only raw images can be shared, and all others stay as they are. 0, or -1 with *err:
 * somebody else uses it, and it is still shared. */
int block_share_set(struct block_node *n, bool share, struct error *err);
/* Writes what the image holds into its backing file and empties it; the main thread, while nobody sends requests. 0, or -1 with *err: then
 * the image still has all of it. */
int block_commit(struct block_node *n, struct error *err);

uint64_t block_size_bytes(const struct block_node *n);
bool block_is_readonly(const struct block_node *n);
enum block_detect_zeroes block_detects_zeroes(const struct block_node *n);
const char *block_filename(const struct block_node *n);
const char *block_format_name(const struct block_node *n);

/* result: 0 or -errno. */
typedef void block_done_fn(void *opaque, int result);
/* The iovec's memory must stay valid until done; the array itself is copied. Offsets and lengths in bytes, multiples
 * of 512. Requests that overlap and are in flight together have no order. */
/* From now on successful requests of n (NULL: nothing) may be called back in any thread, with the machine locked: that spares
 * the way through the main thread. For devices whose callbacks do not wait for n's threads: they never drain or close it. */
void block_done_anywhere(struct block_node *n);
void block_read(struct block_node *n, uint64_t offset_bytes, const struct iovec *iov, int iovcnt, block_done_fn *done, void *opaque);
/* Reads at once, if the host has the data in its page cache; throttled nodes never do. False: block_read is needed; iov's memory may have
 * changed. With the machine locked. For small reads: waking another thread for them would take longer. */
bool block_read_now(struct block_node *n, uint64_t offset_bytes, const struct iovec *iov, int iovcnt);
void block_write(struct block_node *n, uint64_t offset_bytes, const struct iovec *iov, int iovcnt, block_done_fn *done, void *opaque);
/* All writes completed before are on stable storage when done. */
void block_flush(struct block_node *n, block_done_fn *done, void *opaque);
void block_discard(struct block_node *n, uint64_t offset_bytes, uint64_t length_bytes, block_done_fn *done, void *opaque);
void block_write_zeroes(struct block_node *n, uint64_t offset_bytes, uint64_t length_bytes, bool may_unmap, block_done_fn *done, void *opaque);
/* Waits (running nothing but this node's work) until no request of the node is in flight. */
void block_drain(struct block_node *n);
/* Drains, and flushes if there were writes since it was last called. 0 or -errno. */
int block_settle(struct block_node *n);
/* Synchronous, for tools, tests and set-up; any thread but never a vCPU's. 0 or -errno. */
int block_pread(struct block_node *n, uint64_t offset_bytes, void *data, uint64_t length_bytes);
int block_pwrite(struct block_node *n, uint64_t offset_bytes, const void *data, uint64_t length_bytes);
int block_flush_sync(struct block_node *n);
int block_discard_sync(struct block_node *n, uint64_t offset_bytes, uint64_t length_bytes);
int block_write_zeroes_sync(struct block_node *n, uint64_t offset_bytes, uint64_t length_bytes, bool may_unmap);

/* What lies on the disk from an offset on. */
struct block_extent {
    uint64_t length_bytes;           /* at least 512 */
    bool zero;                       /* reads as zeroes */
    bool hole;                       /* takes no space */
};
/* Any thread but a vCPU's. 0, or -errno. What is not known to be otherwise is data. */
int block_extent_get(struct block_node *n, uint64_t offset_bytes, uint64_t length_bytes, struct block_extent *extent);

/* All but the first line are those of requests (block_read and so on): how long they took from being submitted until they had finished, and failures. */
struct block_stats {
    uint64_t reads, writes, flushes, read_bytes, written_bytes;
    uint64_t discards, discarded_bytes, read_ns, write_ns, flush_ns, discard_ns;
    uint64_t failed_reads, failed_writes, failed_flushes, failed_discards, highest_write_end;
};
struct block_stats block_stats_get(const struct block_node *n);

#endif
