/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Room p9: what a guest that means no good holds of the host by the messages of a shared folder. */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/xattr.h>
#include <unistd.h>

#include "base/error.h"
#include "p9/server.h"
#include "p9/wire.h"
#include "unit.h"

enum { TXATTRWALK = 30, TXATTRCREATE = 32, TVERSION = 100, TATTACH = 104, TWALK = 110, TREAD = 116, TWRITE = 118, TCLUNK = 120, RLERROR = 7 };
enum { VALUE = 65536, HEADER = 7 };

static char folder[] = "/tmp/test-p9-XXXXXX";
static uint8_t message[VALUE + 64], reply[P9_MSIZE_MAX];
static struct p9_out out;

/* ---- messages ---- */

static void begin(uint8_t type, uint32_t fid)
{
    out = (struct p9_out){ message, sizeof(message), HEADER, false };
    message[4] = type;
    p9_put(&out, fid, 4);
}

static uint32_t answer32(size_t at)
{
    struct p9_in in = { reply, sizeof(reply), at, false };

    return (uint32_t)p9_get(&in, 4);
}

/* Sends what was begun; the error in the answer, or 0. */
static int ask(struct p9_server *s)
{
    size_t length = out.at;

    out.at = 0;
    p9_put(&out, length, 4);
    p9_server_handle(s, message, length, reply, sizeof(reply));
    return reply[4] == RLERROR ? (int)answer32(HEADER) : 0;
}

/* A server and its client, which has fid 0 at the folder. */
static struct p9_server *session(void)
{
    struct p9_config c = { .path = folder, .security = P9_NONE };
    struct error err = { "" };
    struct p9_server *s = p9_server_new(&c, &err);

    if (!check(s, "a server: %s", err.text)) exit(1);
    begin(TVERSION, P9_MSIZE_MAX);
    p9_put_string(&out, "9P2000.L");
    ask(s);
    begin(TATTACH, 0);
    p9_put(&out, UINT32_MAX, 4);
    p9_put_string(&out, "");
    p9_put_string(&out, "");
    check(ask(s) == 0, "attach");
    return s;
}

static int clone(struct p9_server *s, uint32_t to)
{
    begin(TWALK, 0);
    p9_put(&out, to, 4);
    p9_put(&out, 0, 2);
    return ask(s);
}

static int clunk(struct p9_server *s, uint32_t fid)
{
    begin(TCLUNK, fid);
    return ask(s);
}

static int attribute_create(struct p9_server *s, uint32_t fid, const char *name, size_t size)
{
    begin(TXATTRCREATE, fid);
    p9_put_string(&out, name);
    p9_put(&out, size, 8);
    p9_put(&out, 0, 4);
    return ask(s);
}

static int attribute_find(struct p9_server *s, uint32_t fid, uint32_t to, const char *name)
{
    begin(TXATTRWALK, fid);
    p9_put(&out, to, 4);
    p9_put_string(&out, name);
    return ask(s);
}

static int read_some(struct p9_server *s, uint32_t fid, size_t size)
{
    begin(TREAD, fid);
    p9_put(&out, 0, 8);
    p9_put(&out, size, 4);
    return ask(s);
}

static int write_some(struct p9_server *s, uint32_t fid, uint64_t offset, const char *text)
{
    begin(TWRITE, fid);
    p9_put(&out, offset, 8);
    p9_put(&out, strlen(text), 4);
    memcpy(message + out.at, text, strlen(text));
    out.at += strlen(text);
    return ask(s);
}

/* ---- extended attributes ---- */

static bool has_attributes(void)
{
    if (setxattr(folder, "user.there", "value", 5, 0) == 0) return true;
    printf("skipped: values of attributes, since /tmp has none\n");
    return false;
}

/* The value of one that is created cannot be read: nobody has written it yet. */
static void test_unwritten(void)
{
    struct p9_server *s = session();

    check(clone(s, 1) == 0 && attribute_create(s, 1, "user.new", VALUE) == 0, "an attribute is begun");
    check(read_some(s, 1, VALUE) == EBADF && read_some(s, 1, 0) == EBADF, "what was not written is not read");
    check(write_some(s, 1, 0, "part") == 0 && read_some(s, 1, 4) == EBADF, "nor what was");
    check(write_some(s, 1, 5, "gap") == ENOSPC && clunk(s, 1) == EINVAL, "a part is no value");
    check(getxattr(folder, "user.new", NULL, 0) < 0, "and is not stored");
    p9_server_free(s);
}

static void test_written(void)
{
    struct p9_server *s = session();

    check(attribute_find(s, 0, 1, "user.there") == 0 && read_some(s, 1, VALUE) == 0 && answer32(HEADER) == 5 && !memcmp(reply + HEADER + 4, "value", 5), "a value is read");
    check(write_some(s, 1, 0, "x") == EBADF && clunk(s, 1) == 0, "and not written");
    check(clone(s, 1) == 0 && attribute_create(s, 1, "user.new", 7) == 0 && write_some(s, 1, 0, "in ") == 0 && write_some(s, 1, 3, "two.") == 0, "one is written in pieces");
    check(clunk(s, 1) == 0 && attribute_find(s, 0, 1, "user.new") == 0 && read_some(s, 1, VALUE) == 0 && answer32(HEADER) == 7 && !memcmp(reply + HEADER + 4, "in two.", 7),
          "and is there whole");
    p9_server_free(s);
}

int main(void)
{
    if (!mkdtemp(folder)) return 1;
    test_unwritten();
    if (has_attributes()) test_written();
    rmdir(folder);
    return report("p9");
}
