/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Character devices on a network: telnet and its hostile peers, clients that connect again, datagrams, logs; socat is the peer where it is there.
 * 'chardev-net [SEED]'.
 */
#include <arpa/inet.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/error.h"
#include "base/loop.h"
#include "chardev/chardev.h"
#include "chardev/socket_retry.h"
#include "sink.h"
#include "unit.h"

enum { STORM = 2 << 20 };

static uint64_t seed = 5;
static struct chardevs *all;

static unsigned random_below(unsigned limit)
{
    seed = seed * 6364136223846793005ull + 1442695040888963407ull;
    return (unsigned)(seed >> 33) % limit;
}

static unsigned port_of(const struct sink *s)
{
    const char *address = strstr(chardev_description(s->c), "127.0.0.1:");

    return address ? (unsigned)atoi(address + 10) : 0;
}

static struct sockaddr_in loopback(unsigned port)
{
    return (struct sockaddr_in){ .sin_family = AF_INET, .sin_port = htons((uint16_t)port), .sin_addr.s_addr = htonl(INADDR_LOOPBACK) };
}

static int tcp_peer(unsigned port)
{
    struct sockaddr_in a = loopback(port);
    int fd = socket(AF_INET, SOCK_STREAM, 0);

    if (connect(fd, (struct sockaddr *)&a, sizeof(a)) < 0) return -1;
    some_steps();
    return fd;
}

/* What comes until there are so many bytes. */
static size_t peer_read(int fd, uint8_t *data, size_t size)
{
    size_t got = 0;

    for (int64_t end = clock_host_ns() + 60 * NS_PER_SECOND; got < size && clock_host_ns() < end;) {
        ssize_t n = recv(fd, data + got, size - got, MSG_DONTWAIT);

        if (n > 0) got += (size_t)n;
        else loop_step(2);
        if (n == 0) break;
    }
    return got;
}

/* ---- telnet ---- */

static bool arrives(struct sink *s, int fd, const char *sent, size_t sent_size, const char *want, size_t want_size)
{
    s->size = 0;
    if (write(fd, sent, sent_size) != (ssize_t)sent_size) return false;
    wait_size(&s->size, want_size);
    some_steps();
    return s->size == want_size && !memcmp(s->text, want, want_size);
}

#define BYTES(text) text, sizeof(text) - 1

static void test_telnet_words(struct sink *s, int fd)
{
    uint8_t seen[64];

    check(peer_read(fd, seen, 12) == 12 && !memcmp(seen, "\xff\xfb\x01\xff\xfb\x03\xff\xfb\x00\xff\xfd\x00", 12), "telnet: what it offers and asks");
    check(arrives(s, fd, BYTES("a\xff\xff" "b"), BYTES("a\xff" "b")), "telnet: FF doubled is FF");
    check(arrives(s, fd, BYTES("x\r\0y\r\nz"), BYTES("x\ry\r\nz")), "telnet: CR NUL is CR");
    check(arrives(s, fd, BYTES("\xff\xfa\x18\x00" "xterm\xff\xffmore\xff\xf0n"), BYTES("n")), "telnet: a subnegotiation is skipped");
    check(arrives(s, fd, BYTES("1\xff\xf1" "2\xff\xf3" "3"), BYTES("123")) && s->breaks == 1, "telnet: NOP and BREAK");
    check(arrives(s, fd, BYTES("\xff\xfb\x00\xff\xfd\x00\xff\xfd\x01\xff\xfd\x03\r\0."), BYTES("\r\0.")), "telnet: a binary peer's NUL stays");
    check(arrives(s, fd, BYTES("\xff\xfd\x18\xff\xfb\x1f\xff\xfd\x18\xff\xfb\x1f\xff\xfe\x01\xff\xfc\x1f!"), BYTES("!")), "telnet: other options");
    check(peer_read(fd, seen, 6) == 6 && !memcmp(seen, "\xff\xfc\x18\xff\xfe\x1f", 6), "telnet: are refused");
    check(chardev_write(s->c, BYTES("q\xff\xffr\n")) == 5 && peer_read(fd, seen, 7) == 7 && !memcmp(seen, "q\xff\xff\xff\xffr\n", 7), "telnet: FF goes out doubled");
    some_steps();
    check(recv(fd, seen, 1, MSG_DONTWAIT) < 0, "telnet: and nothing more was said");
}

static size_t part_of(size_t left)
{
    size_t n = random_below(5000) + 1;

    return n < left ? n : left;
}

/* All bytes, split at random, come through both ways; a storm of protocol gives bounded answers and no data. */
static void test_telnet_storm(struct sink *s, int fd)
{
    static uint8_t out[STORM], in[SINK], want[SINK];
    size_t answers = 0, wanted = 0;

    for (size_t i = 0; i < STORM; i++) out[i] = (i % 3 == 0) ? 0xff : i % 3 == 1 ? (uint8_t)(0xfb + random_below(4)) : (uint8_t)random_below(256);
    s->size = 0;
    for (size_t done = 0; done < STORM / 3 * 3;) {
        ssize_t n = send(fd, out + done, part_of(STORM / 3 * 3 - done), MSG_DONTWAIT);
        ssize_t r = recv(fd, in, sizeof(in), MSG_DONTWAIT);

        if (n > 0) done += (size_t)n;
        if (r > 0) answers += (size_t)r;
        loop_step(0);
    }
    check(arrives(s, fd, BYTES("\xff\xfb\x00" "end"), BYTES("end")), "telnet: alive after a storm of options");
    for (ssize_t r; (r = recv(fd, in, sizeof(in), MSG_DONTWAIT)) > 0;) answers += (size_t)r;
    check(answers <= 2 * 256 * 3, "telnet: each option is answered once");
    check(arrives(s, fd, BYTES("\xff\xfa"), BYTES("")), "telnet: a subnegotiation begins");
    memset(out, 'x', STORM);
    for (size_t done = 0; done < STORM; loop_step(0)) {
        ssize_t n = send(fd, out + done, STORM - done, MSG_DONTWAIT);

        if (n > 0) done += (size_t)n;
    }
    check(arrives(s, fd, BYTES("\xff\xf0."), BYTES(".")), "telnet: and ends, two megabytes later");
    for (size_t i = 0; i < 100000; i++) out[i] = random_below(3) ? (uint8_t)random_below(256) : 0xff;
    for (size_t done = 0; done < 100000; loop_step(0)) done += chardev_write(s->c, out + done, part_of(100000 - done));
    for (size_t i = 0; i < 100000; i++) {
        want[wanted++] = out[i];
        if (out[i] == 0xff) want[wanted++] = 0xff;
    }
    check(peer_read(fd, in, wanted) == wanted && !memcmp(in, want, wanted), "telnet: bytes that went out");
}

static void test_telnet(void)
{
    struct sink s;
    char text[64];
    int fd;

    check(sink_open(&s, all, "telnet:127.0.0.1:0,server=on,wait=off"), "telnet opens");
    check(strstr(chardev_description(s.c), "telnet:127.0.0.1:"), "telnet is called so");
    fd = tcp_peer(port_of(&s));
    test_telnet_words(&s, fd);
    test_telnet_storm(&s, fd);
    close(fd);
    wait_count(&s.closed, 1);
    fd = tcp_peer(port_of(&s));
    check(peer_read(fd, (uint8_t *)text, 12) == 12 && arrives(&s, fd, BYTES("\r\0"), BYTES("\r")), "telnet: the next peer begins anew");
    close(fd);
    chardev_close(s.c);
}

/* ---- clients that try again ---- */

/* A port that is free for a while: the kernel gives none of these to clients of tests beside this one. */
static unsigned some_port(void)
{
    static unsigned at;

    at = at ? at + 1 : (unsigned)getpid() * 7;
    return 10000 + at % 20000;
}

static int bind_at(int fd, unsigned *port)
{
    struct sockaddr_in a;
    unsigned tries = *port ? 1 : 1000;

    for (bool chosen = *port; tries--;) {
        if (!chosen) *port = some_port();
        a = loopback(*port);
        if (bind(fd, (struct sockaddr *)&a, sizeof(a)) == 0) return 0;
    }
    return -1;
}

/* At a port of its own choice for 0. */
static int listen_at(unsigned *port)
{
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK, 0), on = 1;

    setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof(on));
    if (bind_at(fd, port) < 0 || listen(fd, 4) < 0) return -1;
    return fd;
}

static int peer_accept(int listener)
{
    int fd = -1;

    for (int64_t end = clock_host_ns() + 60 * NS_PER_SECOND; fd < 0 && clock_host_ns() < end; loop_step(20)) fd = accept(listener, NULL, NULL);
    return fd;
}

static void found(void *opaque, int fd)
{
    close(fd);
    ++*(unsigned *)opaque;
}

static void test_reconnect(void)
{
    unsigned port = 0;
    int listener = listen_at(&port), fd;
    struct sink s;
    char spec[80], byte;

    close(listener);
    snprintf(spec, sizeof(spec), "tcp:127.0.0.1:%u,reconnect=1", port);
    check(sink_open(&s, all, spec), "reconnect: nobody needs to be there");
    some_steps();
    check(!chardev_is_connected(s.c) && chardev_write(s.c, "lost", 4) == 4, "reconnect: not connected yet");
    for (unsigned round = 1; round <= 2; round++) {
        listener = listen_at(&port);
        fd = peer_accept(listener);
        wait_count(&s.opened, round);
        check(fd >= 0 && s.opened == round && chardev_is_connected(s.c), "reconnect: connected");
        chardev_write(s.c, "y", 1);
        check(peer_read(fd, (uint8_t *)&byte, 1) == 1 && byte == 'y', "reconnect: bytes");
        close(listener);
        close(fd);
        wait_count(&s.closed, round);
        check(s.closed == round && !chardev_is_connected(s.c), "reconnect: gone again");
    }
    listener = listen_at(&port);
    for (unsigned i = 0; i < 2; i++) close(peer_accept(listener));           /* hangs up at once */
    fd = peer_accept(listener);
    check(fd >= 0, "reconnect: hung up on twice, and back");
    chardev_close(s.c);
    check(peer_read(fd, (uint8_t *)&byte, 1) == 0, "reconnect: closed at the end");
    close(fd);
    close(listener);
    check(sink_open(&s, all, "unix:/nonexistent/socket,reconnect=1"), "reconnect: unix, too");
    some_steps();
    chardev_close(s.c);
}

/* The listener has an address of IPv4 only. */
static void test_families(void)
{
    static const struct { const char *with; bool connects; } cases[] = { { "", true }, { ",ipv4=on", true }, { ",ipv6=off", true }, { ",ipv4=off", false }, { ",noipv4", false } };

    for (unsigned i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        unsigned port = 0;
        int listener = listen_at(&port);
        struct sink s;
        char spec[80];

        snprintf(spec, sizeof(spec), "tcp:127.0.0.1:%u%s", port, cases[i].with);
        check(listener >= 0 && sink_open(&s, all, spec) == cases[i].connects, "families");
        if (s.c) chardev_close(s.c);
        close(listener);
    }
}

/* Nobody at the first addresses: the next is tried at once, not an hour later. */
static void test_reconnect_addresses(void)
{
    struct sockaddr_storage to[3] = { { .ss_family = 0 } };
    socklen_t length[3] = { sizeof(struct sockaddr_in), sizeof(struct sockaddr_in), sizeof(struct sockaddr_in) };
    unsigned port = 0, shut = 0;
    int listener = listen_at(&port), fd;
    struct socket_retry *r;
    unsigned count = 0;

    fd = listen_at(&shut);
    close(fd);
    for (unsigned i = 0; i < 3; i++) *(struct sockaddr_in *)&to[i] = loopback(i < 2 ? shut : port);
    r = socket_retry_new(to, length, 3, 3600, found, &count);
    wait_count(&count, 1);
    check(count == 1, "reconnect: the third address of a name, in the same round");
    socket_retry_free(r);
    close(listener);
}

/* ---- datagrams ---- */

static void test_udp(void)
{
    struct sockaddr_in from;
    socklen_t n = sizeof(from);
    unsigned port = 0;
    int fd = socket(AF_INET, SOCK_DGRAM, 0), other = socket(AF_INET, SOCK_DGRAM, 0);
    static uint8_t data[60000];
    struct sink s;
    char spec[80];

    check(bind_at(fd, &port) == 0, "udp: a peer");
    snprintf(spec, sizeof(spec), "udp:127.0.0.1:%u@127.0.0.1:0", port);
    check(sink_open(&s, all, spec), "udp opens");
    chardev_write(s.c, "hello", 5);
    check(recvfrom(fd, data, sizeof(data), 0, (struct sockaddr *)&from, &n) == 5 && !memcmp(data, "hello", 5), "udp: a datagram");
    sendto(other, "stranger", 8, 0, (struct sockaddr *)&from, sizeof(from));
    sendto(fd, "", 0, 0, (struct sockaddr *)&from, sizeof(from));
    sendto(fd, "answer", 6, 0, (struct sockaddr *)&from, sizeof(from));
    wait_size(&s.size, 6);
    some_steps();
    check(s.size == 6 && !memcmp(s.text, "answer", 6), "udp: its peer's only");
    for (unsigned i = 0; i < sizeof(data); i++) data[i] = (uint8_t)(i * 7);
    s.size = SINK - 1000;                                                     /* so much room */
    sendto(fd, data, sizeof(data), 0, (struct sockaddr *)&from, sizeof(from));
    wait_size(&s.size, SINK);
    check(s.size == SINK && !memcmp(s.text + SINK - 1000, data, 1000), "udp: a long one as far as there is room");
    s.size = 0;
    chardev_accept_input(s.c);
    check(s.size == sizeof(data) - 1000 && !memcmp(s.text, data + 1000, s.size), "udp: and the rest of it later");
    close(fd);
    for (unsigned i = 0; i < 10; i++) check(chardev_write(s.c, "nobody", 6) == 6, "udp: nobody listens");
    some_steps();
    fd = socket(AF_INET, SOCK_DGRAM, 0);
    check(bind_at(fd, &port) == 0 && chardev_write(s.c, "again", 5) == 5 && recv(fd, data, sizeof(data), 0) == 5, "udp: there again");
    chardev_close(s.c);
    close(fd);
    close(other);
}

/* ---- logs ---- */

static bool file_is(const char *name, const char *want)
{
    char text[256] = "";
    FILE *f = fopen(name, "r");
    size_t n = f ? fread(text, 1, sizeof(text) - 1, f) : 0;

    if (f) fclose(f);
    return f && n == strlen(want) && !strcmp(text, want);
}

static void test_log(void)
{
    struct sink s;

    for (unsigned round = 0; round < 3; round++) {
        check(sink_open(&s, all, round ? "null,logfile=log,logappend=on,id=x" : "unix:sock,server=on,wait=off,id=x,logfile=log"), "log opens");
        check(!strcmp(chardev_label(s.c), "x"), "log: beside an id");
        chardev_write(s.c, "line\n", 5);
        chardev_close(s.c);
    }
    check(file_is("log", "line\nline\nline\n"), "log: appended, without a peer");
    check(sink_open(&s, all, "null,logfile=log") && (chardev_close(s.c), file_is("log", "")), "log: empty when it begins");
    check(sink_open(&s, all, "null,logfile=/dev/full") && chardev_write(s.c, "x", 1) == 1, "log: a full disk is the log's loss");
    chardev_close(s.c);
}

/* A name as long as paths may be, of a log that two share. */
static void test_log_of_mux(void)
{
    struct sink a, b;
    char spec[700] = "mon:null,logfile=";

    for (unsigned i = 0; i < 150; i++) strcat(spec, "./");
    strcat(spec, "mux.log");
    check(sink_open(&a, all, spec) && sink_open(&b, all, spec), "log: of a mux");
    if (!a.c || !b.c) return;
    chardev_write(a.c, "one\n", 4);
    chardev_write(b.c, "two\n", 4);
    chardev_close(a.c);
    chardev_close(b.c);
    check(file_is("mux.log", "one\ntwo\n"), "log: has what both wrote");
}

static void refuse(const char *text, const char *part) { sink_refused(all, text, part); }

static void test_refused(void)
{
    char text[1700] = "";

    refuse("tcp:127.0.0.1:1,server=on,reconnect=1", "incompatible with 'server=on'");
    refuse("tcp:127.0.0.1:1,reconnect=x", "a number");
    refuse("tcp:127.0.0.1:1,reconnect=99999", "up to 86400");
    refuse("tcp:127.0.0.1:1,websocket=on", "websocket=on is not supported");
    refuse("telnet:127.0.0.1", "no port");
    refuse("udp:127.0.0.1", "no port");
    refuse("udp:127.0.0.1:5@7", "no port");
    refuse("udp:127.0.0.1:5,server=on", "no option 'server'");
    refuse("null,logappend=on", "about logfile=");
    memset((char *)memcpy(text, "mon:null,logfile=", 17) + 17, 'x', sizeof(text) - 18);
    refuse(text, "is too long");
    refuse("null,logfile=/nonexistent/x", "cannot write the log");
    refuse("null,logfile=log,logappend=maybe", "on or off");
    refuse("fd:0,reconnect=1", "from 3 on");
}

/* ---- socat ---- */

static void test_socat(void)
{
    struct sink s;
    char command[200];
    pid_t pid;

    if (system("command -v socat > /dev/null 2>&1") != 0) {
        printf("SKIP: socat is missing\n");
        return;
    }
    check(sink_open(&s, all, "tcp:127.0.0.1:0,server=on,wait=off"), "socat: a server");
    snprintf(command, sizeof(command), "exec socat -u SYSTEM:'seq 1 20000' TCP:127.0.0.1:%u", port_of(&s));
    pid = fork();
    if (!pid) execl("/bin/sh", "sh", "-c", command, NULL);
    wait_count(&s.closed, 1);
    waitpid(pid, NULL, 0);
    check(s.size == 108894 && !memcmp(s.text + s.size - 6, "20000\n", 6), "socat: its bytes");
    chardev_close(s.c);
}

int main(int argc, char **argv)
{
    char dir[] = "/tmp/ospite-chardev-XXXXXX", command[100];

    if (argc > 1) seed = strtoull(argv[1], NULL, 0);
    printf("seed %llu\n", (unsigned long long)seed);
    signal(SIGPIPE, SIG_IGN);
    if (!mkdtemp(dir) || chdir(dir) < 0) return 1;
    loop_init();
    all = chardevs_new();
    machine_lock();
    test_telnet();
    test_reconnect();
    test_reconnect_addresses();
    test_families();
    test_udp();
    test_log();
    test_log_of_mux();
    test_refused();
    test_socat();
    machine_unlock();
    chardevs_free(all);
    snprintf(command, sizeof(command), "rm -rf %s", dir);
    check(system(command) == 0, "%s", command);
    return report("chardev-net");
}
