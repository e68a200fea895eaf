/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * What the verbs of 'ospite img' share. A verb is a row: its options as a const table whose entries say where in the
 * verb's argument struct a value goes (that struct begins with struct img_common), and a function that runs it.
 */
#ifndef TOOL_IMG_IMG_PRIVATE_H
#define TOOL_IMG_IMG_PRIVATE_H

#include "base/bits.h"
#include "base/error.h"
#include "base/log.h"
#include "block/image.h"
#include "tool/option_list.h"

#include <jansson.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>

enum { IMG_FILES = 128, IMG_OPTION_TEXTS = 16, IMG_OBJECTS = 16, IMG_OPTION_ITEMS = 128 };

enum img_kind { IMG_FLAG, IMG_TEXT, IMG_OPTIONS, IMG_OBJECT, IMG_CACHE, IMG_REFUSED };

struct img_option {
    char letter;                    /* 0: only the long name */
    const char *name;               /* NULL: only the letter */
    const char *arg;                /* NULL: takes none */
    enum img_kind kind;
    size_t offset;                  /* bool, const char *, struct img_texts, enum block_cache in the verb's struct */
    const char *help;               /* IMG_REFUSED: what to use instead */
};

struct img_texts {
    const char *text[IMG_OPTION_TEXTS];
    unsigned count;
};

struct img_objects;

struct img_common {
    struct arena *arena;
    bool old_name;                  /* called as qemu-img: what the peer would do is done */
    bool help, quiet, progress, image_opts, force_share;
    const char *format, *output;
    struct img_texts object;
    struct img_objects *objects;
    const char *file[IMG_FILES];
    unsigned files;
};

struct img_verb {
    const char *name, *operands, *summary, *example;
    const struct img_option *options;       /* ends with neither letter nor name */
    size_t args_bytes;
    void (*defaults)(void *args);   /* NULL: all zero */
    bool size_operand;              /* the last operand may begin with '-' (after --, or under the old name) */
    /* Exit status; failures are in *err and 1 unless it says otherwise. -1 means failed with *err. */
    int (*run)(void *args, struct error *err);
};

extern const struct img_verb img_verb_create, img_verb_info, img_verb_check, img_verb_convert, img_verb_resize,
    img_verb_map, img_verb_compare, img_verb_snapshot, img_verb_commit, img_verb_rebase, img_verb_measure, img_verb_dd,
    img_verb_bench, img_verb_amend, img_verb_bitmap;

/* Rows that several verbs have; `type` is the verb's struct. */
#define IMG_HELP(type) { 'h', "help", NULL, IMG_FLAG, offsetof(type, c.help), "show this help" }
#define IMG_OBJECT_ROW(type) \
    { 0, "object", "TYPE,id=ID,...", IMG_OBJECT, offsetof(type, c.object), "a secret, or credentials for TLS" }
#define IMG_IMAGE_OPTS(type) \
    { 0, "image-opts", NULL, IMG_FLAG, offsetof(type, c.image_opts), "FILE is driver=qcow2,file.filename=NAME,..." }
#define IMG_QUIET(type) { 'q', "quiet", NULL, IMG_FLAG, offsetof(type, c.quiet), "print errors only" }
#define IMG_FORMAT(type) \
    { 'f', "format", "FORMAT", IMG_TEXT, offsetof(type, c.format), "format of FILE (default: what it looks like)" }
#define IMG_OUTPUT(type) \
    { 0, "output", "human|json", IMG_TEXT, offsetof(type, c.output), "for people (default) or for programs" }
#define IMG_SHARE(type) \
    { 'U', "force-share", NULL, IMG_FLAG, offsetof(type, c.force_share), "even while somebody writes to the image" }
#define IMG_PROGRESS(type) { 'p', "progress", NULL, IMG_FLAG, offsetof(type, c.progress), "show how far it is" }

/* options.c. 0, or -1 with *err. */
int img_options_parse(const struct img_verb *v, void *args, int argc, char **argv, struct error *err);
void img_verb_help(const struct img_verb *v);
/* The -o texts as one set, in c->arena. *help: one of them asks for the list. */
int img_options_set(struct img_common *c, const struct img_texts *texts, struct block_option_set *set, bool *help,
                    struct error *err);
/* Takes keys that have a place elsewhere out of the set; NULL: not there. */
const char *img_options_take(struct block_option_set *set, const char *key);
void img_options_list(const struct block_option *table, bool amend);
int img_size_parse(const char *what, const char *text, uint64_t *bytes, struct error *err);
int img_json_wanted(const struct img_common *c, bool *json, struct error *err);

/* objects.c */
int img_objects_make(struct img_common *c, struct error *err);
const struct block_objects *img_objects_of(struct img_common *c);
void img_objects_free(struct img_common *c);

/* open.c */
struct img_open {
    const char *filename, *format;
    bool image_opts, writable, no_backing, for_check, no_lock, no_key;
    const struct block_option_set *options;     /* besides a filename; NULL: none */
    const struct block_node *keys_of;
    const char *internal_snapshot;
    enum block_cache cache;
};
struct block_node *img_open(struct img_common *c, const struct img_open *o, struct error *err);
/* FILE number i with the verb's own -f and --image-opts. */
struct block_node *img_open_file(struct img_common *c, unsigned i, bool writable, struct error *err);
int img_cache_parse(const char *option, const char *text, enum block_cache *cache, struct error *err);
/* What has been written is stored, or *err says that it is not. */
int img_flush(struct block_node *n, struct error *err);
/* Exactly `count` operands (max: at most), else a message with the verb's usage. */
int img_files_check(const struct img_common *c, const struct img_verb *v, unsigned min, unsigned max, struct error *err);

/* target.c: refuses or announces what would be replaced, then creates. */
int img_target_create(struct img_common *c, struct block_create_options *o, struct error *err);
/* -o with its keys size, backing_file, backing_fmt and the rest; *listed: the list of options was printed instead. */
int img_target_options(struct img_common *c, const struct img_texts *texts, struct block_create_options *o,
                       struct block_option_set *set, const char **size, bool *listed, struct error *err);
/* "Formatting 'x', fmt=qcow2 size=..." */
void img_target_say(const struct img_common *c, const struct block_create_options *o);

/* progress.c */
struct img_progress {
    struct block_progress p;
    bool on, terminal, shown;
    int64_t started_ns, said_ns;
    unsigned permille;
};
void img_progress_begin(struct img_progress *p, const struct img_common *c);
void img_progress_report(struct img_progress *p, uint64_t done, uint64_t total);
void img_progress_end(struct img_progress *p, bool complete);

/* json.c: pretty, as qemu-img prints it. */
void img_json_print(json_t *value);
/* "    key: value" lines, nested ones deeper. */
void img_json_print_human(const json_t *object, unsigned indent);

/* info.c: the table of snapshots. */
void img_snapshots_head(void);
void img_snapshot_line(const struct block_snapshot *s);

/* size.c: "1.5 GiB", "196 KiB" */
const char *img_size_text(uint64_t bytes, char out[32]);

/* walk.c: a disk in pieces, by several threads. */
struct img_piece {
    uint64_t offset, length;
    unsigned kind;                  /* the verb's own */
};
struct img_walk {
    uint64_t from, to;
    unsigned threads;
    uint64_t buffer_bytes;          /* each thread has one of `buffers` of this size */
    unsigned buffers;
    /* The next piece at piece->offset: sets length (at most what it holds) and kind. Under a lock. 0 or -errno. */
    int (*next)(struct img_walk *w, struct img_piece *piece);
    /* 0 goes on, 1 ends the walk, -errno fails it. buffer: of this thread. */
    int (*work)(struct img_walk *w, const struct img_piece *piece, uint8_t *buffer);
    struct img_progress *progress;
    /* A piece that failed, and its error. */
    uint64_t failed_at;
    int failed;
};
/* 0: all pieces; 1: ended by a piece; -errno. */
int img_walk_run(struct img_walk *w);
unsigned img_threads(void);

/*
 * A map that remembers its last answer, for walks that go through long runs in small pieces: asking again for each would have the
 * host look through the whole run each time (tmpfs does, page by page). For images that nothing changes meanwhile.
 */
struct img_map {
    const struct block_node *n;
    uint64_t from, to;
    struct block_map m;
};
/* As block_map_get, with the length and what does not depend on the place: not the offset in the file. */
int img_map_get(struct img_map *known, struct block_node *n, uint64_t at, uint64_t length, unsigned layers, struct block_map *m);

/* zero.c */
bool img_is_zero(const void *data, size_t length);
/* Bytes from the start of data, a multiple of unit (but for the end), that are all zero blocks or all not. */
size_t img_zero_run(const uint8_t *data, size_t length, size_t unit, bool *zero);

#endif
