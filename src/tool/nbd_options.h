/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The command line of 'ospite nbd', which is qemu-nbd's with a few additions. */
#ifndef TOOL_NBD_OPTIONS_H
#define TOOL_NBD_OPTIONS_H

#include <stdbool.h>
#include <stdint.h>

#include "block/block.h"
#include "nbd/server.h"
#include "tool/option_list.h"
#include "tool/secrets.h"

struct nbd_tls;

enum { NBD_TOOL_IMAGES = 64, NBD_TOOL_OBJECTS = 32 };

struct nbd_image {
    const char *filename, *format, *name, *description, *bitmap;
    bool readonly, depth;
    const char *snapshot;           /* the disk as it was in this internal snapshot */
    uint64_t offset;
    unsigned partition;             /* 0: all */
    struct block_option_set *options;   /* --image-opts, instead of filename and format */
    struct block_node *node;
};

struct nbd_object {
    const char *type, *id;
    struct option_list list;
};

struct nbd_tool {
    struct arena *arena;
    bool help, version, trace_help, persistent, verbose, fork, snapshot, port_given, shared_given, list;
    const char *bind, *socket, *connect, *disconnect, *pid_file, *tls_creds, *tls_authz, *tls_hostname, *aio, *label;
    uint64_t port;
    unsigned shared;
    enum block_cache cache;
    bool cache_given, discard;
    enum nbd_detect_zeroes detect_zeroes;
    bool image_options;
    /* What -x -D -f -r -o -P say about FILE. */
    struct nbd_image plain;
    struct nbd_image image[NBD_TOOL_IMAGES];
    unsigned images;
    struct nbd_object object[NBD_TOOL_OBJECTS];
    unsigned objects;
    struct secrets secrets;         /* those of them that are secrets */
};

/* 0, or -1 with *err. t->arena lives as long as the strings are needed; the caller frees it. */
int nbd_options_parse(struct nbd_tool *t, int argc, char **argv, struct error *err);
void nbd_options_help(void);

/* nbd_objects.c: the credentials that --tls-creds and --tls-authz name; *tls NULL without them. */
int nbd_objects_check(struct nbd_tool *t, struct error *err);
int nbd_objects_tls(struct nbd_tool *t, bool server, struct nbd_tls **tls, struct error *err);

/* nbd_list.c: prints the exports of the server that -k or -b and -p name. 0, or -1 with *err. */
int nbd_tool_list(struct nbd_tool *t, struct error *err);

/* nbd_kernel.c: the kernel's nbd driver, by netlink. fd: a socket whose other end serves. 0, or -1 with *err. */
int nbd_kernel_connect(const char *device, int fd, uint64_t size_bytes, uint16_t flags, struct error *err);
int nbd_kernel_disconnect(const char *device, struct error *err);
/* Whether this kernel has nbd, and such a device. */
int nbd_kernel_check(const char *device, struct error *err);

#endif
