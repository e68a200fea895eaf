/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Room p9: what a guest that means no good holds of the host by the messages of a shared folder. */
#include <errno.h>
#include <fcntl.h>
#include <malloc.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <sys/xattr.h>
#include <unistd.h>

#include "base/bits.h"
#include "base/error.h"
#include "p9/server.h"
#include "p9/wire.h"
#include "unit.h"

enum { TLOPEN = 12, TXATTRWALK = 30, TXATTRCREATE = 32, TREADDIR = 40, TVERSION = 100, TATTACH = 104, TWALK = 110, TREAD = 116, TWRITE = 118, TCLUNK = 120, RLERROR = 7 };
enum { VALUE = 65536, VALUES = 8 << 20, HEADER = 7 };

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

static int open_fid(struct p9_server *s, uint32_t fid)
{
    begin(TLOPEN, fid);
    p9_put(&out, O_RDONLY, 4);
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

/* Values that are held take memory of the host: 8 MiB of them, however many fids there are. */
static void test_values(void)
{
    struct p9_server *s = session();
    uint32_t n = 1;
    int why = 0;

    while (n < 10000 && !(why = clone(s, n)) && !(why = attribute_create(s, n, "user.new", VALUE))) n++;
    check(why == ENOMEM && n - 1 == VALUES / VALUE, "%u values of 64 KiB, then error %d", n - 1, why);
    check(attribute_create(s, n, "user.new", 1) == ENOMEM && attribute_create(s, n, "user.new", 0) == 0, "not a byte more");
    check(clunk(s, 1) == EINVAL && clone(s, 1) == 0 && attribute_create(s, 1, "user.new", VALUE) == 0, "one less, and there is room for one");
    p9_server_reset(s);
    check(p9_server_fids(s) == 0, "a reset");
    p9_server_free(s);
}

static void test_values_read(void)
{
    struct p9_server *s = session();
    size_t before = mallinfo2().uordblks, grown;
    uint32_t n = 1;

    while (n < 1000 && attribute_find(s, 0, n, "user.there") == 0) n++;
    grown = mallinfo2().uordblks - before;
    check(n == 1000 && grown < 1000 * 1024, "a thousand values of five bytes take %zu bytes", grown);
    p9_server_free(s);
}

/* ---- directories ---- */

/* What fits into count bytes from offset on: how many entries there are, and where the next begins. */
static unsigned entries(struct p9_server *s, size_t count, uint64_t *offset, unsigned *seen)
{
    struct p9_in in = { reply, sizeof(reply), HEADER, false };
    unsigned number, n = 0;
    size_t end;
    char name[256];

    begin(TREADDIR, 1);
    p9_put(&out, *offset, 8);
    p9_put(&out, count, 4);
    if (!check(ask(s) == 0, "entries from %llu on", (unsigned long long)*offset)) return 0;
    end = p9_get(&in, 4) + HEADER + 4;
    for (; in.at < end; n++) {
        p9_get_bytes(&in, P9_QID_BYTES);
        *offset = p9_get(&in, 8);
        p9_get(&in, 1);
        p9_get_string(&in, name, sizeof(name));
        if (sscanf(name, "entry-%u", &number) == 1 && number < 500) seen[number]++;
    }
    return n;
}

static void test_entries(size_t count)
{
    struct p9_server *s = session();
    unsigned seen[500] = { 0 }, right = 0;
    uint64_t offset = 0, middle = 0;

    check(clone(s, 1) == 0 && open_fid(s, 1) == 0, "the folder is opened");
    while (entries(s, count, &offset, seen))
        if (!middle) middle = offset;
    for (unsigned i = 0; i < 500; i++) right += seen[i] == 1;
    check(right == 500, "in pieces of %zu bytes %u of 500 names come once", count, right);
    check(entries(s, count, &middle, seen) > 0 || count > 100000, "from the middle on, behind its end");
    p9_server_free(s);
}

/* What is too small for one entry, what was removed, what is no directory. */
static void test_odd_directories(void)
{
    struct p9_server *s = session();
    char gone[128];

    check(clone(s, 1) == 0, "a walk");
    begin(TREADDIR, 1);
    p9_put(&out, 0, 8);
    p9_put(&out, 100, 4);
    check(ask(s) == ENOTDIR, "a directory that is not open");
    check(open_fid(s, 1) == 0 && read_some(s, 1, 10) == EISDIR, "its bytes");
    begin(TREADDIR, 1);
    p9_put(&out, 0, 8);
    p9_put(&out, 10, 4);
    check(ask(s) == EINVAL, "no room for an entry");
    snprintf(gone, sizeof(gone), "%s/gone", folder);
    mkdir(gone, 0700);
    begin(TWALK, 0);
    p9_put(&out, 2, 4);
    p9_put(&out, 1, 2);
    p9_put_string(&out, "gone");
    check(ask(s) == 0 && open_fid(s, 2) == 0, "another directory");
    rmdir(gone);
    begin(TREADDIR, 2);
    p9_put(&out, 0, 8);
    p9_put(&out, 1000, 4);
    check(ask(s) == 0 && answer32(HEADER) == 0, "has no entries when it was removed");
    p9_server_free(s);
}

static void test_directories(void)
{
    struct p9_server *s = session();
    size_t before = mallinfo2().uordblks, grown;
    uint32_t n = 1;

    while (n < 2000 && clone(s, n) == 0 && open_fid(s, n) == 0) n++;
    grown = mallinfo2().uordblks - before;
    check(n == 2000 && grown < 2000 * 1024, "2000 open directories take %zu bytes", grown);
    p9_server_free(s);
}

/* ---- descriptors ---- */

struct outcome { int why; unsigned fids, left; };

/* Opens until there is an error; how many fids there are then. */
static unsigned fill(struct p9_server *s, int *why)
{
    uint32_t n = 1;

    while (!(*why = clone(s, n)) && !(*why = open_fid(s, n))) n++;
    return p9_server_fids(s);
}

static unsigned left_count(void)
{
    static int fd[40000];
    unsigned n = 0;

    while (n < 40000 && (fd[n] = dup(0)) >= 0) n++;
    for (unsigned i = 0; i < n; i++) close(fd[i]);
    return n;
}

/* The guest takes all that these shares give, in a process with such limits; hard 0: as it is. */
static void takes_all(rlim_t soft, rlim_t hard, unsigned shares, struct outcome *o)
{
    struct rlimit r;
    int unused;

    getrlimit(RLIMIT_NOFILE, &r);
    r = (struct rlimit){ soft, hard ? hard : r.rlim_max };
    if (setrlimit(RLIMIT_NOFILE, &r) < 0) return;
    for (; shares; shares--) {
        struct p9_server *s = session();

        o->fids = fill(s, shares == 1 ? &o->why : &unused);
    }
    o->left = left_count();
}

/* In a process of its own: limits do not grow again. */
static struct outcome apart(rlim_t soft, rlim_t hard, unsigned shares)
{
    struct outcome o = { 0 };
    int p[2];

    if (pipe(p) < 0) exit(1);
    fflush(stdout);
    if (fork() == 0) {
        takes_all(soft, hard, shares, &o);
        _exit(write(p[1], &o, sizeof(o)) != sizeof(o));
    }
    close(p[1]);
    check(read(p[0], &o, sizeof(o)) == sizeof(o), "a process tells");
    close(p[0]);
    wait(NULL);
    return o;
}

/* Whatever a guest takes, the rest of the process has what it had; where the limit cannot be raised, half of it. */
static void test_others(void)
{
    enum { FIDS = 16384, SOFT = 512, USED = 32 };
    struct rlimit r;
    struct outcome o;

    getrlimit(RLIMIT_NOFILE, &r);
    for (unsigned shares = 1; shares <= 2; shares++) {
        if (r.rlim_max < SOFT + shares * 2 * (FIDS + 100)) {
            printf("skipped: %u shares whose files are all open, since only %llu may be\n", shares, (unsigned long long)r.rlim_max);
            continue;
        }
        o = apart(SOFT, 0, shares);
        check(o.why == ENFILE && o.fids >= FIDS - 1 && o.left >= SOFT - USED, "%u shares: error %d after %u fids, %u descriptors left", shares, o.why, o.fids, o.left);
    }
    o = apart(1024, 1024, 1);
    check(o.why == ENFILE && o.fids >= 200 && o.left >= 512 - USED, "a low limit: error %d after %u fids, %u descriptors left", o.why, o.fids, o.left);
    o = apart(1024, 1024, 2);
    check(o.why == ENFILE && o.fids >= 100 && o.left >= 256 - USED, "two shares: error %d after %u fids, %u descriptors left", o.why, o.fids, o.left);
    o = apart(SOFT, SOFT + 4000, 1);
    check(o.why == ENFILE && o.fids >= 1900 && o.left >= SOFT - USED, "a limit that grows a little: error %d after %u fids, %u descriptors left", o.why, o.fids, o.left);
}

/* Shares that come and go leave no trace; where little is left there is no further one. */
static bool come_and_go(void)
{
    struct p9_config c = { .path = folder, .security = P9_NONE };
    struct rlimit few = { 1024, 1024 };
    struct error err = { "" };
    unsigned n = 0;

    if (setrlimit(RLIMIT_NOFILE, &few) < 0) return false;
    for (unsigned i = 0; i < 1000; i++) p9_server_free(p9_server_new(&c, &err));
    while (n < 10 && p9_server_new(&c, &err)) n++;
    return n == 5 && strstr(err.text, "ulimit -n");
}

static void test_many_shares(void)
{
    int status = 0;

    if (fork() == 0) _exit(!come_and_go());
    wait(&status);
    check(status == 0, "five shares of 1024 descriptors, after a thousand");
}

static void entries_make(bool make)
{
    char name[128];

    for (unsigned i = 0; i < 500; i++) {
        snprintf(name, sizeof(name), "%s/entry-%u%.*s", folder, i, (int)(i % 60), "------------------------------------------------------------");
        if (make) close(open(name, O_WRONLY | O_CREAT, 0600));
        else unlink(name);
    }
}

int main(void)
{
    enum { FILES = 5200 };
    struct rlimit r;

    if (getrlimit(RLIMIT_NOFILE, &r) < 0 || r.rlim_max < FILES) {
        printf("skipped: fewer than %d files may be open (ulimit -Hn)\n", FILES);
        return 77;
    }
    if (!mkdtemp(folder)) return 1;
    test_others();                     /* the first share in a process decides how much the others have */
    test_many_shares();
    test_unwritten();
    test_values();
    if (has_attributes()) {
        test_written();
        test_values_read();
    }
    entries_make(true);
    test_entries(300);
    test_entries(4000);
    test_entries(1 << 20);
    test_odd_directories();
    test_directories();
    entries_make(false);
    rmdir(folder);
    return report("p9");
}
