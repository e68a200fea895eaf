/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Room chardev: every kind of backend against a real peer, the queue's limit, holding back, the mux and its keys. */
#include <fcntl.h>
#include <netinet/in.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <termios.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/error.h"
#include "base/loop.h"
#include "chardev/chardev.h"
#include "sink.h"
#include "unit.h"

static char dir[] = "/tmp/ospite-chardev-XXXXXX";

static struct chardevs *all;

static const char *path(const char *name)
{
    static char text[4][128];
    static unsigned at;

    at = (at + 1) % 4;
    snprintf(text[at], sizeof(text[at]), "%s/%s", dir, name);
    return text[at];
}

static const char *spec(const char *kind, const char *name, const char *options)
{
    static char text[200];

    snprintf(text, sizeof(text), "%s:%s%s", kind, path(name), options);
    return text;
}

static void refuse(const char *text, const char *part) { sink_refused(all, text, part); }

static void test_refused(void)
{
    refuse("stdoi", "'stdio'");
    refuse("tcp", "tcp:");
    refuse("tcp:nowhere", "no port");
    refuse("tcp:127.0.0.1:1,srever", "'server'");
    refuse("tcp:127.0.0.1:1", "connect");
    refuse("file:", "path");
    refuse("file:/nonexistent/dir/x", "cannot write");
    refuse("file:/tmp/x,append=perhaps", "on or off");
    refuse("unix:/nonexistent/s", "cannot connect");
    refuse("null:x", "no address");
    refuse("spicevmc", "unknown");
    check(chardev_open(all, "none", NULL) == NULL, "none is no backend");
}

static void test_file(void)
{
    struct sink s;
    char text[64] = "";
    FILE *f;

    check(sink_open(&s, all, spec("file", "out", "")) && chardev_write(s.c, "one\n", 4) == 4, "file: takes bytes");
    chardev_close(s.c);
    check(sink_open(&s, all, spec("file", "out", ",append=on")) && chardev_write(s.c, "two\n", 4) == 4, "file: appends");
    chardev_close(s.c);
    f = fopen(path("out"), "r");
    check(f && fread(text, 1, 63, f) == 8 && !strcmp(text, "one\ntwo\n"), "file: holds both");
    if (f) fclose(f);
    check(sink_open(&s, all, "null") && chardev_write(s.c, "x", 1) == 1, "null takes all");
    chardev_close(s.c);
}

static void test_pty(void)
{
    struct termios mode;
    struct sink s;
    char text[32] = "";
    int fd;

    check(sink_open(&s, all, "pty"), "pty opens");
    fd = open(chardev_description(s.c) + 4, O_RDWR | O_NOCTTY);
    check(fd >= 0 && tcgetattr(fd, &mode) == 0 && !(mode.c_lflag & ECHO), "pty: the other end is raw");
    check(write(fd, "abc\r", 4) == 4, "pty: write");
    wait_size(&s.size, 4);
    check(!strcmp(s.text, "abc\r"), "pty: input arrives as typed");
    chardev_write(s.c, "hello\n", 6);
    check(read(fd, text, 31) == 6 && !strcmp(text, "hello\n"), "pty: output arrives");
    close(fd);
    some_steps();
    check(s.closed == 0, "pty: a terminal that leaves ends nothing");
    chardev_close(s.c);
}

static int unix_peer(const char *name)
{
    struct sockaddr_un a = { .sun_family = AF_UNIX };
    int fd = socket(AF_UNIX, SOCK_STREAM, 0);

    snprintf(a.sun_path, sizeof(a.sun_path), "%s", path(name));
    return connect(fd, (struct sockaddr *)&a, sizeof(a)) == 0 ? fd : -1;
}

static void test_unix_server(void)
{
    struct sink s;
    char text[32] = "";
    int fd;

    check(sink_open(&s, all, spec("unix", "sock", ",server=on,wait=off")), "unix server opens");
    check(!strncmp(chardev_description(s.c), "disconnected:", 13), "nobody is there yet");
    check(chardev_write(s.c, "lost", 4) == 4, "output to nobody is dropped");
    for (unsigned round = 1; round <= 3; round++) {
        fd = unix_peer("sock");
        check(fd >= 0 && write(fd, "hi", 2) == 2, "a peer connects");
        wait_size(&s.size, 2 * round);
        check(s.opened == round && s.size == 2 * round, "its bytes arrive");
        chardev_write(s.c, "yo", 2);
        check(read(fd, text, 31) == 2 && !strcmp(text, "yo"), "and the answer");
        close(fd);
        wait_count(&s.closed, round);
        check(s.closed == round, "its leaving is seen, and the next may come");
    }
    chardev_close(s.c);
    check(access(path("sock"), F_OK) != 0, "the socket's name is gone afterwards");
}

/* No descriptor is left: whoever connects then is taken when there is one again, and not asked for in a circle. */
static void test_no_descriptors(void)
{
    struct rlimit before, few;
    unsigned turns = 0;
    struct sink s;
    int peer, last;

    check(sink_open(&s, all, spec("unix", "full", ",server=on,wait=off")), "a server opens");
    peer = unix_peer("full");
    last = dup(peer);
    close(last);
    getrlimit(RLIMIT_NOFILE, &before);
    few = (struct rlimit){ (rlim_t)last, before.rlim_max };
    setrlimit(RLIMIT_NOFILE, &few);
    for (int64_t end = clock_host_ns() + NS_PER_SECOND / 2; clock_host_ns() < end; turns++) {
        machine_unlock();
        loop_step(1);
        machine_lock();
    }
    check(turns < 2000 && !s.opened, "a listener without descriptors sleeps: %u turns", turns);
    setrlimit(RLIMIT_NOFILE, &before);
    check(write(peer, "hi", 2) == 2, "a peer that waits");
    wait_size(&s.size, 2);
    check(s.opened == 1 && !strcmp(s.text, "hi"), "then it is taken");
    chardev_close(s.c);
    close(peer);
}

static void test_tcp(void)
{
    struct sink server, client;
    char text[128];
    const char *address;

    check(sink_open(&server, all, "tcp:127.0.0.1:0,server,nowait"), "tcp server opens, old words");
    address = strstr(chardev_description(server.c), "tcp:");
    snprintf(text, sizeof(text), "%.*s", (int)strcspn(address, ","), address);
    check(sink_open(&client, all, text), "tcp client connects");
    chardev_write(client.c, "from client", 11);
    wait_size(&server.size, 11);
    chardev_write(server.c, "from server", 11);
    wait_size(&client.size, 11);
    check(!strcmp(server.text, "from client") && !strcmp(client.text, "from server"), "both directions");
    chardev_close(server.c);
    wait_count(&client.closed, 1);
    check(client.closed == 1 && chardev_write(client.c, "x", 1) == 1, "a client whose server goes stays quiet");
    chardev_close(client.c);
}

/* A peer that does not read: the queue takes its mebibyte and no more; later all of it arrives in order. */
static void test_queue(void)
{
    enum { BLOCK = 1000 };
    static uint8_t block[BLOCK], in[1 << 16];
    size_t taken = 0, got = 0, kernel;
    bool ordered = true, full = false;
    struct sink s;
    int fd;

    check(sink_open(&s, all, spec("unix", "slow", ",server=on,wait=off")), "a server for a slow peer");
    fd = unix_peer("slow");
    fcntl(fd, F_SETFL, O_NONBLOCK);
    wait_count(&s.opened, 1);
    for (unsigned i = 0; i < 4000 && !full; i++) {
        size_t n;

        for (unsigned b = 0; b < BLOCK; b++) block[b] = (taken + b) % 251;
        n = chardev_write(s.c, block, BLOCK);
        full = n < BLOCK;
        taken += n;
    }
    check(full && chardev_write(s.c, block, BLOCK) == 0, "a full queue drops instead of blocking");
    kernel = taken - (1 << 20);
    check(taken >= 1 << 20 && kernel < 1 << 20, "the queue holds a mebibyte beyond what the kernel takes");
    for (unsigned i = 0; i < 10000 && got < taken; i++) {
        ssize_t n = read(fd, in, sizeof(in));

        for (ssize_t b = 0; b < n; b++) ordered &= in[b] == (got + b) % 251;
        if (n > 0) got += n;
        loop_step(n > 0 ? 0 : 10);
    }
    check(got == taken && ordered, "all that was taken arrives in order");
    close(fd);
    chardev_close(s.c);
}

static void test_hold_back(void)
{
    struct sink s;
    int fd;

    check(sink_open(&s, all, spec("unix", "hold", ",server=on,wait=off")), "a server for holding back");
    s.room = 3;
    fd = unix_peer("hold");
    check(write(fd, "abcdefgh", 8) == 8, "eight bytes");
    wait_size(&s.size, 3);
    s.room = 0;
    chardev_accept_input(s.c);
    some_steps();
    check(s.size == 3 || s.size == 6, "a frontend gets no more than it takes");
    s.room = 100;
    chardev_accept_input(s.c);
    wait_size(&s.size, 8);
    check(!strcmp(s.text, "abcdefgh"), "nothing is lost by it");
    close(fd);
    chardev_close(s.c);
}

/* Nobody reads: a peer that closes makes room for the next, but what it has left is for who comes. */
static void test_unread(void)
{
    struct sink s;
    int fd, next;

    check(sink_open(&s, all, spec("unix", "unread", ",server=on,wait=off")), "a server that nobody reads");
    chardev_attach(s.c, NULL);
    fd = unix_peer("unread");
    some_steps();
    check(chardev_is_connected(s.c), "a peer is taken all the same");
    close(fd);
    for (int i = 0; i < 3000 && chardev_is_connected(s.c); i++) loop_step(20);
    check(!chardev_is_connected(s.c), "its leaving is seen without a reader");
    fd = unix_peer("unread");
    check(write(fd, "for later", 9) == 9, "the next leaves a message");
    close(fd);
    some_steps();
    next = unix_peer("unread");
    some_steps();
    sink_attach(&s);
    wait_size(&s.size, 9);
    check(!strcmp(s.text, "for later"), "which is read later");
    chardev_write(s.c, "lost", 4);
    wait_count(&s.opened, 1);
    check(s.closed == 1 && s.opened == 1, "then the one behind it comes");
    close(next);
    chardev_close(s.c);
}

static unsigned quits;
static void quit(void *opaque) { quits++; }

static void test_mux(void)
{
    static struct sink a, b;
    char out[8192] = "", spec_text[200];
    ssize_t n;
    int fd;

    chardev_on_quit(all, quit, NULL);
    snprintf(spec_text, sizeof(spec_text), "mon:%s", spec("unix", "mux", ",server=on,wait=off"));
    check(sink_open(&a, all, spec_text) && sink_open(&b, all, spec_text) && a.c != b.c, "the same text gives a second frontend");
    fd = unix_peer("mux");
    check(write(fd, "one\001cmid\001\001\001cthree\001b\001x\001h", 23) == 23, "keys");
    wait_count(&quits, 1);
    some_steps();
    check(!strcmp(a.text, "onethree"), "the first has what was typed to it");
    check(!strcmp(b.text, "mid\001"), "the second its part, with Ctrl-A Ctrl-A as Ctrl-A");
    check(b.focused == 1 && b.unfocused == 1 && a.focused == 1, "both are told of the focus");
    check(a.breaks == 1 && b.breaks == 0, "a break goes to the one in focus");
    check(quits == 1, "Ctrl-A x quits");
    chardev_write(a.c, "from a;", 7);
    chardev_write(b.c, "from b;", 7);
    some_steps();
    n = read(fd, out, sizeof(out) - 1);
    out[n > 0 ? n : 0] = 0;
    check(strstr(out, "from a;from b;") && strstr(out, "C-a h"), "output of both, and the help");
    check(write(fd, "\001t", 2) == 2, "timestamps");
    some_steps();
    chardev_write(a.c, "x\ny\n", 4);
    some_steps();
    memset(out, 0, sizeof(out));
    check(read(fd, out, sizeof(out) - 1) > 0 && !strncmp(out, "x\n[00:0", 7), "a stamp begins the next line");
    /* A frontend that takes nothing: Ctrl-A works all the same. */
    a.room = 0;
    memset(out, 'z', 2000);
    check(write(fd, out, 2000) == 2000 && write(fd, "\001x", 2) == 2, "much input, then Ctrl-A x");
    wait_count(&quits, 2);
    check(quits == 2, "is obeyed though the guest reads nothing");
    chardev_close(a.c);
    chardev_close(b.c);
    close(fd);
}

/* stdin and stdout are pipes here; end of input is an event. */
static void test_stdio(void)
{
    int in[2], out[2], saved_in = dup(0), saved_out = dup(1);
    struct error err;
    struct sink s;
    char text[32] = "";

    if (pipe(in) < 0 || pipe(out) < 0) abort();
    fflush(stdout);
    dup2(in[0], 0);
    dup2(out[1], 1);
    check(sink_open(&s, all, "stdio"), "stdio opens on pipes");
    check(!chardev_open(all, "stdio", &err) && strstr(err.text, "mon:stdio"), "stdio is given once");
    check(write(in[1], "typed", 5) == 5, "typing");
    wait_size(&s.size, 5);
    chardev_write(s.c, "shown", 5);
    check(read(out[0], text, 31) == 5 && !strcmp(text, "shown") && !strcmp(s.text, "typed"), "both ways");
    check(!(fcntl(1, F_GETFL) & O_NONBLOCK), "the shared descriptor stays blocking");
    close(in[1]);
    wait_count(&s.closed, 1);
    check(s.closed == 1, "the end of input is told once");
    chardev_close(s.c);
    dup2(saved_in, 0);
    dup2(saved_out, 1);
}

int main(void)
{
    char command[100];

    signal(SIGPIPE, SIG_IGN);
    if (!mkdtemp(dir)) return 1;
    loop_init();
    all = chardevs_new();
    machine_lock();
    test_refused();
    test_file();
    test_pty();
    test_unix_server();
    test_no_descriptors();
    test_tcp();
    test_queue();
    test_hold_back();
    test_unread();
    test_mux();
    test_stdio();
    machine_unlock();
    chardevs_free(all);
    snprintf(command, sizeof(command), "rm -rf %s", dir);
    check(system(command) == 0, "%s", command);
    return report("chardev");
}
