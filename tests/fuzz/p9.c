/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * A hostile client of the 9P server: first what it might try on purpose to get out of the folder, by name, through links and with what it
 * has open; then messages that look like real ones with anything in their fields, and plain rubbish. Beside the folder lies a file
 * that must never change. Every answer must be well formed.
 *
 *   fuzz-p9 [MESSAGES [SEED]]
 */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/bits.h"
#include "base/error.h"
#include "p9/server.h"
#include "p9/wire.h"
#include "fuzz.h"
#include "replay.h"

enum { ROOM = 16384, TLOPEN = 12, TLCREATE = 14, TSYMLINK = 16, TGETATTR = 24, TSETATTR = 26, TXATTRCREATE = 32, TLINK = 70, TMKDIR = 72, TRENAMEAT = 74, TUNLINKAT = 76,
       TVERSION = 100, TATTACH = 104, TWALK = 110, TCLUNK = 120, RLERROR = 7 };

static struct fuzz_source source;
static uint64_t answers, errors, checks, failed;
static uint8_t message[ROOM], reply[ROOM];
static struct p9_out out;
static char folder[64], outside[96], secret[128];
static struct stat before;

static void check(bool ok, const char *what)
{
    checks++;
    if (ok) return;
    failed++;
    printf("FAIL %s\n", what);
}

static uint32_t below(uint32_t n) { return fuzz_below(&source, n); }
static uint32_t next(void) { return below(0); }

static void begin(uint8_t type)
{
    out = (struct p9_out){ message, sizeof(message), 0, false };
    p9_put(&out, 0, 4);
    p9_put(&out, type, 1);
    p9_put(&out, 7, 2);
}

/* Sends what was begun; the error in the answer, or 0. */
static int send_message(struct p9_server *s)
{
    size_t length = out.at, got;

    out.at = 0;
    p9_put(&out, length, 4);
    got = p9_server_handle(s, message, length, reply, sizeof(reply));
    check(got >= 7 && got <= sizeof(reply) && (reply[0] | reply[1] << 8 | reply[2] << 16) == (int)got, "the answer's length");
    check(reply[4] == message[4] + 1 || reply[4] == RLERROR, "the answer's type");
    answers++;
    errors += reply[4] == RLERROR;
    return reply[4] == RLERROR ? reply[7] | reply[8] << 8 : 0;
}

static int walk(struct p9_server *s, uint32_t from, uint32_t to, unsigned names, const char *a, const char *b)
{
    begin(TWALK);
    p9_put(&out, from, 4);
    p9_put(&out, to, 4);
    p9_put(&out, names, 2);
    if (names > 0) p9_put_string(&out, a);
    if (names > 1) p9_put_string(&out, b);
    int why = send_message(s);
    return why ? why : reply[7] < names ? ENOENT : 0;    /* fewer walked than asked: no fid */
}

static void session(struct p9_server *s)
{
    begin(TVERSION);
    p9_put(&out, ROOM, 4);
    p9_put_string(&out, "9P2000.L");
    check(send_message(s) == 0, "Tversion");
    begin(TATTACH);
    p9_put(&out, 0, 4);
    p9_put(&out, UINT32_MAX, 4);
    p9_put_string(&out, "user");
    p9_put_string(&out, "/etc");                        /* there is one tree only */
    p9_put(&out, 0, 4);
    check(send_message(s) == 0, "Tattach");
}

static void outside_check(const char *when)
{
    char text[16] = "";
    struct stat now;
    int fd = open(secret, O_RDONLY);

    check(fd >= 0 && read(fd, text, sizeof(text)) == 6 && !memcmp(text, "secret", 6) && fstat(fd, &now) == 0 && now.st_mode == before.st_mode &&
          now.st_nlink == 1 && now.st_uid == before.st_uid && now.st_mtim.tv_sec == before.st_mtim.tv_sec && now.st_mtim.tv_nsec == before.st_mtim.tv_nsec &&
          now.st_ctim.tv_nsec == before.st_ctim.tv_nsec, when);
    if (fd >= 0) close(fd);
    check(stat(outside, &now) == 0 && now.st_nlink == 2 && (now.st_mode & 0777) == 0755, "the folder outside");
}

/* One message with a directory fid, a name and trailing numbers. */
static int named(struct p9_server *s, uint8_t type, uint32_t fid, const char *name, const char *second, unsigned numbers)
{
    begin(type);
    p9_put(&out, fid, 4);
    p9_put_string(&out, name);
    if (type == TRENAMEAT) p9_put(&out, 0, 4);
    if (second) p9_put_string(&out, second);
    for (unsigned i = 0; i < numbers; i++) p9_put(&out, type == TLCREATE && i == 0 ? O_RDWR | O_TRUNC : 0777, 4);
    return send_message(s);
}

static int attribute_set(struct p9_server *s, uint32_t fid, uint32_t valid)
{
    begin(TSETATTR);
    p9_put(&out, fid, 4);
    p9_put(&out, valid, 4);
    p9_put(&out, 0777, 4);
    p9_put(&out, 99, 4);
    p9_put(&out, 99, 4);
    p9_put(&out, 3, 8);
    for (unsigned i = 0; i < 4; i++) p9_put(&out, 1, 8);
    return send_message(s);
}

static void escapes(struct p9_server *s)
{
    static const char *const names[] = { "..", ".", "", "/", "a/b", "../outside", "/etc/passwd", "d/..", "out/secret" };

    session(s);
    for (unsigned i = 0; i < ARRAY_SIZE(names); i++) {
        check(walk(s, 0, 50, 1, names[i], NULL) != 0, "walk by a hostile name");
        check(walk(s, 0, 50, 2, "d", names[i]) != 0, "walk to a hostile name");
        check(named(s, TMKDIR, 0, names[i], NULL, 2) != 0, "mkdir of a hostile name");
        check(named(s, TSYMLINK, 0, names[i], "x", 1) != 0, "symlink of a hostile name");
        check(named(s, TUNLINKAT, 0, names[i], NULL, 1) != 0, "unlink of a hostile name");
        check(named(s, TRENAMEAT, 0, "file", names[i], 0) != 0 && named(s, TRENAMEAT, 0, names[i], "file2", 0) != 0, "rename of a hostile name");
        check(walk(s, 0, 51, 0, NULL, NULL) == 0 && named(s, TLCREATE, 51, names[i], NULL, 3) != 0, "create of a hostile name");
        begin(TCLUNK);
        p9_put(&out, 51, 4);
        send_message(s);
    }
    check(walk(s, 0, 50, 2, "out", "secret") != 0 && walk(s, 0, 50, 2, "folder", "secret") != 0, "walk through a link");
    check(walk(s, 0, 1, 1, "out", NULL) == 0, "walk to a link");
    begin(TLOPEN);
    p9_put(&out, 1, 4);
    p9_put(&out, O_RDWR | O_TRUNC, 4);
    check(send_message(s) != 0, "open of a link");
    check(attribute_set(s, 1, 1) != 0 && attribute_set(s, 1, 8) != 0, "mode and size through a link");
    attribute_set(s, 1, 2 | 4 | 0x10 | 0x20 | 0x80 | 0x100);              /* the link's own */
    begin(TLINK);
    p9_put(&out, 0, 4);
    p9_put(&out, 1, 4);
    p9_put_string(&out, "second");
    send_message(s);
    begin(TXATTRCREATE);
    p9_put(&out, 1, 4);
    p9_put_string(&out, "user.x");
    p9_put(&out, 0, 8);
    p9_put(&out, 1, 4);
    send_message(s);
    begin(TCLUNK);
    p9_put(&out, 1, 4);
    send_message(s);
    check(walk(s, 0, 2, 0, NULL, NULL) == 0 && named(s, TLCREATE, 2, "out", NULL, 3) != 0 && named(s, TLCREATE, 2, "folder", NULL, 3) != 0, "create over a link");
    outside_check("what lies outside, after attempts");
}

/* ---- anything ---- */

static void field(unsigned kind)
{
    static const char *const names[] = { "file", "d", "out", "folder", "new", "..", "a/b", "", "x", "user.test", "user.virtfs.mode", "system.posix_acl_access", "9P2000.L" };
    static const uint64_t numbers[] = { 0, 1, 2, 3, 7, 0x200, 0xffffffff, 0x7fffffffffffffff, 0xffffffffffffffff, 4096, 0100644, 0040755, 0120777, 0020666 };

    if (kind == 0) p9_put_string(&out, names[below(ARRAY_SIZE(names))]);
    else if (kind == 1) p9_put(&out, below(12), 4);
    else p9_put(&out, below(3) ? numbers[below(ARRAY_SIZE(numbers))] : next(), kind);
}

/* s: a string, f: a fid; digits: a number of so many bytes. */
static const struct { uint8_t type; const char *fields; } shapes[] = {
    { 8, "f" }, { 12, "f4" }, { 14, "fs444" }, { 16, "fss4" }, { 18, "fs4444" }, { 20, "ffs" }, { 22, "f" }, { 24, "f8" }, { 26, "f44448 8888" }, { 30, "ffs" }, { 32, "fs84" },
    { 40, "f84" }, { 50, "f4" }, { 52, "f14884s" }, { 54, "f1884s" }, { 70, "ffs" }, { 72, "fs44" }, { 74, "fsfs" }, { 76, "fs4" }, { 100, "4s" }, { 104, "ffss4" }, { 108, "2" },
    { 110, "ff2" }, { 110, "ff2ss" }, { 116, "f84" }, { 118, "f84" }, { 120, "f" }, { 122, "f" }, { 110, "ff2s" }, { 110, "ff2s" }, { 12, "f4" }, { 118, "f84ss" },
};

static void random_message(struct p9_server *s)
{
    unsigned shape = below(ARRAY_SIZE(shapes) + 1);
    size_t length, room = below(8) ? sizeof(reply) : below(200), got;

    if (shape == ARRAY_SIZE(shapes) || (shapes[shape].type == TVERSION && below(50))) begin((uint8_t)next());
    else {
        begin(shapes[shape].type);
        for (const char *p = shapes[shape].fields; *p; p++) {
            if (*p == 's') field(0);
            else if (*p == 'f') field(1);
            else if (*p == '2' && shapes[shape].type == TWALK) p9_put(&out, below(4) ? strlen(shapes[shape].fields) - 3 : next(), 2);
            else if (*p != ' ') field((unsigned)(*p - '0'));
        }
    }
    for (unsigned n = below(3) ? 0 : below(40); n; n--) p9_put(&out, next(), 1);
    length = out.at;
    out.at = 0;
    p9_put(&out, below(30) ? length : next(), 4);
    for (unsigned n = below(10) ? 0 : below(5); n; n--) message[7 + below((uint32_t)length)] = (uint8_t)next();
    if (!below(20)) length = below((uint32_t)length + 1);
    got = p9_server_handle(s, message, length, reply, room);
    check(got <= room && (!got || (got >= 7 && reply[5] == message[5])), "an answer to anything");
    answers++;
    errors += got && reply[4] == RLERROR;
    if (!below(500)) {
        p9_server_reset(s);
        check(p9_server_fids(s) == 0, "fids after a reset");
        session(s);
    }
}

static void folder_make(void)
{
    char path[128];
    int fd;

    snprintf(folder, sizeof(folder), "/tmp/fuzz-p9-%d", (int)getpid());
    mkdir(folder, 0755);
    snprintf(outside, sizeof(outside), "%s/outside", folder);
    mkdir(outside, 0755);
    chmod(outside, 0755);
    snprintf(secret, sizeof(secret), "%s/secret", outside);
    fd = open(secret, O_WRONLY | O_CREAT, 0644);
    check(write(fd, "secret", 6) == 6 && fstat(fd, &before) == 0, "the file outside");
    close(fd);
    strcat(folder, "/in");
    mkdir(folder, 0755);
    snprintf(path, sizeof(path), "%s/d", folder);
    mkdir(path, 0755);
    snprintf(path, sizeof(path), "%s/file", folder);
    close(open(path, O_WRONLY | O_CREAT, 0644));
    snprintf(path, sizeof(path), "%s/out", folder);
    check(symlink("../outside/secret", path) == 0, "a link out");
    snprintf(path, sizeof(path), "%s/folder", folder);
    check(symlink(outside, path) == 0, "a link to the folder outside");
}

static void folder_remove(void)
{
    char command[128];

    *strrchr(folder, '/') = 0;
    snprintf(command, sizeof(command), "rm -rf %s", folder);
    if (system(command)) abort();
}

/* One session; the first byte chooses the security model. The file outside is looked at behind each. */
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct error err = { "" };
    struct p9_config c = { .path = folder };
    struct p9_server *s;

    bool first = !*folder;

    source = (struct fuzz_source){ 0, data, size };
    if (first) {
        folder_make();
        atexit(folder_remove);
    }
    c.security = (enum p9_security)below(P9_MAPPED_XATTR + 1);
    s = p9_server_new(&c, &err);
    if (!s) abort();
    if (first) escapes(s);
    session(s);
    while (source.left) random_message(s);
    outside_check("what lies outside, after anything");
    p9_server_free(s);
    if (failed) abort();
    return 0;
}

#ifndef FUZZER
int main(int argc, char **argv)
{
    unsigned long long count = argc > 1 ? strtoull(argv[1], NULL, 0) : 150000, seed = argc > 2 ? strtoull(argv[2], NULL, 0) : 1;
    struct error err = { "" };

    if (argc > 2 && !strcmp(argv[1], "--replay")) return fuzz_replay("fuzz-p9", argv[2]);
    for (enum p9_security model = P9_PASSTHROUGH; model <= P9_MAPPED_XATTR; model++) {
        char command[128];
        struct p9_config c = { .path = folder, .security = model };
        struct p9_server *s;

        source.state = seed * 2 + 1;
        folder_make();
        s = p9_server_new(&c, &err);
        check(s, err.text);
        if (!s) return 1;
        escapes(s);
        session(s);
        for (unsigned long long i = 0; i < count; i++) random_message(s);
        outside_check("what lies outside, after anything");
        p9_server_free(s);
        *strrchr(folder, '/') = 0;
        snprintf(command, sizeof(command), "rm -rf %s", folder);
        if (system(command)) return 1;
    }
    printf("fuzz-p9: seed %llu, %llu answers, %llu of them errors, %llu checks, %llu failed\n", seed, (unsigned long long)answers, (unsigned long long)errors,
           (unsigned long long)checks, (unsigned long long)failed);
    return failed || errors == answers || errors < 100;
}
#endif
