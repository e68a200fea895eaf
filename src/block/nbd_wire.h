/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The NBD protocol as it stands on the wire, for client and server. Source: proto.md of the NetworkBlockDevice project. */
#ifndef BLOCK_NBD_WIRE_H
#define BLOCK_NBD_WIRE_H

#include "base/bits.h"

#define NBD_MAGIC_INIT 0x4e42444d41474943ull        /* "NBDMAGIC" */
#define NBD_MAGIC_OPTION 0x49484156454f5054ull      /* "IHAVEOPT" */
#define NBD_MAGIC_OLDSTYLE 0x00420281861253ull
#define NBD_MAGIC_OPTION_REPLY 0x3e889045565a9ull
#define NBD_MAGIC_REQUEST 0x25609513u
#define NBD_MAGIC_SIMPLE_REPLY 0x67446698u
#define NBD_MAGIC_CHUNK 0x668e33efu

enum { NBD_STRING_MAX = 4096, NBD_PAYLOAD_MAX = 32 << 20, NBD_PORT = 10809 };

enum { NBD_FLAG_FIXED_NEWSTYLE = 1, NBD_FLAG_NO_ZEROES = 2 };               /* handshake, both sides */

enum nbd_option {
    NBD_OPT_EXPORT_NAME = 1, NBD_OPT_ABORT = 2, NBD_OPT_LIST = 3, NBD_OPT_STARTTLS = 5, NBD_OPT_INFO = 6,
    NBD_OPT_GO = 7, NBD_OPT_STRUCTURED_REPLY = 8, NBD_OPT_LIST_META_CONTEXT = 9, NBD_OPT_SET_META_CONTEXT = 10,
};

#define NBD_REP_ERROR(n) ((n) + 0x80000000u)
#define NBD_REP_ACK 1u
#define NBD_REP_SERVER 2u
#define NBD_REP_INFO 3u
#define NBD_REP_META_CONTEXT 4u
#define NBD_REP_ERR_UNSUP NBD_REP_ERROR(1u)
#define NBD_REP_ERR_POLICY NBD_REP_ERROR(2u)
#define NBD_REP_ERR_INVALID NBD_REP_ERROR(3u)
#define NBD_REP_ERR_TLS_REQD NBD_REP_ERROR(5u)
#define NBD_REP_ERR_UNKNOWN NBD_REP_ERROR(6u)
#define NBD_REP_ERR_SHUTDOWN NBD_REP_ERROR(7u)
#define NBD_REP_ERR_BLOCK_SIZE_REQD NBD_REP_ERROR(8u)
#define NBD_REP_ERR_TOO_BIG NBD_REP_ERROR(9u)

enum nbd_info { NBD_INFO_EXPORT, NBD_INFO_NAME, NBD_INFO_DESCRIPTION, NBD_INFO_BLOCK_SIZE };

enum {                                              /* of an export */
    NBD_FLAG_HAS_FLAGS = 1, NBD_FLAG_READ_ONLY = 2, NBD_FLAG_SEND_FLUSH = 4, NBD_FLAG_SEND_FUA = 8,
    NBD_FLAG_ROTATIONAL = 16, NBD_FLAG_SEND_TRIM = 32, NBD_FLAG_SEND_WRITE_ZEROES = 64, NBD_FLAG_SEND_DF = 128,
    NBD_FLAG_CAN_MULTI_CONN = 256, NBD_FLAG_SEND_RESIZE = 512, NBD_FLAG_SEND_CACHE = 1024,
    NBD_FLAG_SEND_FAST_ZERO = 2048,
};

enum nbd_command {
    NBD_CMD_READ, NBD_CMD_WRITE, NBD_CMD_DISC, NBD_CMD_FLUSH, NBD_CMD_TRIM, NBD_CMD_CACHE, NBD_CMD_WRITE_ZEROES,
    NBD_CMD_BLOCK_STATUS,
};
enum {
    NBD_CMD_FLAG_FUA = 1, NBD_CMD_FLAG_NO_HOLE = 2, NBD_CMD_FLAG_DF = 4, NBD_CMD_FLAG_REQ_ONE = 8,
    NBD_CMD_FLAG_FAST_ZERO = 16,
};

enum { NBD_CHUNK_FLAG_DONE = 1 };
enum nbd_chunk {
    NBD_CHUNK_NONE, NBD_CHUNK_OFFSET_DATA, NBD_CHUNK_OFFSET_HOLE, NBD_CHUNK_BLOCK_STATUS = 5,
    NBD_CHUNK_ERROR = 0x8001, NBD_CHUNK_ERROR_OFFSET = 0x8002,
};

enum { NBD_STATE_HOLE = 1, NBD_STATE_ZERO = 2, NBD_STATE_DIRTY = 1 };

/* Error numbers on the wire are Linux's, a few of them only. */
enum {
    NBD_EPERM = 1, NBD_EIO = 5, NBD_ENOMEM = 12, NBD_EINVAL = 22, NBD_ENOSPC = 28, NBD_EOVERFLOW = 75,
    NBD_ENOTSUP = 95, NBD_ESHUTDOWN = 108,
};

struct nbd_wire_greeting { be64 magic, option_magic; be16 flags; } __attribute__((packed));
struct nbd_wire_option { be64 magic; be32 option, length; } __attribute__((packed));
struct nbd_wire_option_reply { be64 magic; be32 option, reply, length; } __attribute__((packed));
struct nbd_wire_request { be32 magic; be16 flags, command; be64 handle, offset; be32 length; } __attribute__((packed));
struct nbd_wire_simple { be32 magic, error; be64 handle; } __attribute__((packed));
struct nbd_wire_chunk { be32 magic; be16 flags, type; be64 handle; be32 length; } __attribute__((packed));
struct nbd_wire_extent { be32 length, flags; } __attribute__((packed));

#endif
