/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * vsock: in the guest, one end of a test of its sockets. Who connects says in 16 bytes how much it is going to send and wants to get; it sends, says that this was
 * all, and gets the rest; both check every byte.
 *
 *   vsock serve PORT [SECONDS]            for ever; waits before it reads
 *   vsock connect PORT COUNT UP DOWN      so many connections to the host at once
 *   vsock refused CID PORT                a connection that must fail
 */
#include <errno.h>
#include <linux/vm_sockets.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

enum { PIECE = 100000 };

static int failed(const char *what)
{
    printf("WRONG %s: %s\n", what, strerror(errno));
    return 1;
}

static uint8_t pattern(uint64_t i) { return (uint8_t)(i * 167 + (i >> 12) * 13 + 7); }

static int send_all(int fd, uint64_t bytes)
{
    static uint8_t piece[PIECE];

    for (uint64_t at = 0; at < bytes;) {
        size_t n = bytes - at < PIECE ? bytes - at : PIECE;
        ssize_t sent;

        for (size_t i = 0; i < n; i++) piece[i] = pattern(at + i);
        sent = send(fd, piece, n, MSG_NOSIGNAL);
        if (sent <= 0) return failed("send");
        at += (uint64_t)sent;
    }
    return 0;
}

/* Exactly so many, then the end. */
static int take_all(int fd, uint64_t bytes)
{
    static uint8_t piece[PIECE];
    uint64_t at = 0;
    ssize_t n;

    while ((n = recv(fd, piece, PIECE, 0)) > 0)
        for (ssize_t i = 0; i < n; i++, at++)
            if (piece[i] != pattern(at)) return failed("byte");
    if (n < 0) return failed("recv");
    return at == bytes ? 0 : failed("length");
}

static int answer(int fd, unsigned wait)
{
    uint64_t sizes[2];
    ssize_t n;

    sleep(wait);
    n = recv(fd, sizes, sizeof(sizes), MSG_WAITALL);
    if (n < 0 && errno == ECONNRESET) return puts("VSOCK-LOST") < 0;               /* the device is gone */
    if (n != sizeof(sizes)) return failed("sizes");
    return take_all(fd, sizes[0]) || send_all(fd, sizes[1]);
}

static int serve(unsigned port, unsigned wait)
{
    struct sockaddr_vm a = { .svm_family = AF_VSOCK, .svm_cid = VMADDR_CID_ANY, .svm_port = port };
    int listener = socket(AF_VSOCK, SOCK_STREAM, 0);

    if (listener < 0 || bind(listener, (struct sockaddr *)&a, sizeof(a)) < 0 || listen(listener, 128) < 0) return failed("listen");
    printf("VSOCK-READY %u\n", port);
    fflush(stdout);
    for (;;) {
        int fd = accept(listener, NULL, NULL);

        if (fd < 0) return failed("accept");
        if (!fork()) return answer(fd, wait);
        close(fd);
        while (waitpid(-1, NULL, WNOHANG) > 0);
    }
}

static int connect_to(unsigned cid, unsigned port)
{
    struct sockaddr_vm a = { .svm_family = AF_VSOCK, .svm_cid = cid, .svm_port = port };
    int fd = socket(AF_VSOCK, SOCK_STREAM, 0);

    return fd >= 0 && connect(fd, (struct sockaddr *)&a, sizeof(a)) == 0 ? fd : -1;
}

static int ask(unsigned port, uint64_t up, uint64_t down)
{
    uint64_t sizes[2] = { up, down };
    int fd = connect_to(VMADDR_CID_HOST, port);

    if (fd < 0) return failed("connect");
    if (send(fd, sizes, sizeof(sizes), 0) != sizeof(sizes)) return failed("sizes");
    if (send_all(fd, up)) return 1;
    shutdown(fd, SHUT_WR);
    return take_all(fd, down);
}

int main(int argc, char **argv)
{
    int bad = 0, status;

    if (argc >= 3 && !strcmp(argv[1], "serve")) return serve((unsigned)atoi(argv[2]), argc > 3 ? (unsigned)atoi(argv[3]) : 0);
    if (argc == 4 && !strcmp(argv[1], "refused")) {
        printf("VSOCK-REFUSED %s\n", connect_to((unsigned)atoi(argv[2]), (unsigned)atoi(argv[3])) < 0 ? strerror(errno) : "WRONG");
        return 0;
    }
    if (argc != 6) return 1;
    for (int i = 0; i < atoi(argv[3]); i++)
        if (!fork()) return ask((unsigned)atoi(argv[2]), strtoull(argv[4], NULL, 0), strtoull(argv[5], NULL, 0));
    while (wait(&status) > 0) bad += status != 0;
    printf("VSOCK-DONE %s of %s, %d bad\n", argv[3], argv[2], bad);
    return bad;
}
