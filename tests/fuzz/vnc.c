/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Fuzzing of the VNC server: an input is what a client sends, plainly, through a websocket, to a server that wants TLS or, when
 * VeNCrypt's handshake is over, inside of TLS (its first byte says which, and what the screen does meanwhile). Whatever comes
 * back is read, or not. The credentials are anonymous; GnuTLS is trusted to do its part.
 *
 * Under clang 'ninja fuzzer-vnc' makes a libFuzzer program. The plain program changes sessions that make sense at random:
 * 'fuzz-vnc COUNT SEED'; 'fuzz-vnc --replay DIRECTORY' runs those in a directory.
 */
#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include "base/bits.h"
#include "base/error.h"
#include "base/loop.h"
#include "display/clipboard.h"
#include "display/display.h"
#include "display/vnc.h"
#include "replay.h"

enum { INPUT_MAX = 1 << 14, OVER_WEB = 1, RESIZES = 2, READS = 4, PASSWORD = 8, TLS = 128 };
/* With TLS there is no websocket: the bit says that what is sent goes into records, but for the last piece of some. */
enum { INSIDE = OVER_WEB, ENDS_IN_THE_CLEAR = 64 };
enum { SERVERS = 4, BATCH = 61, HANDSHAKE_STEPS = 400 };
#define PRIORITY "NORMAL:-KX-ALL:+ANON-ECDH:-VERS-TLS1.3"

struct bench {
    struct display *display;
    struct clipboard *clipboard;
    struct vnc_server *server[SERVERS];        /* without and with a password, the same with TLS */
    char path[SERVERS][64];
    unsigned port[SERVERS];
    uint64_t keys, received, inside;
    struct vnc_tls_source tls;
    gnutls_anon_server_credentials_t server_credentials;
    gnutls_anon_client_credentials_t client_credentials;
};

static void key(void *opaque, unsigned qkeycode, bool down) { ((struct bench *)opaque)->keys++; }
static void pointer(void *opaque, int dx, int dy, int wheel, unsigned buttons) { ((struct bench *)opaque)->keys++; }

static int session_new(void *opaque, gnutls_session_t *session)
{
    if (gnutls_init(session, GNUTLS_SERVER | GNUTLS_NONBLOCK) < 0) return -1;
    gnutls_priority_set_direct(*session, PRIORITY, NULL);
    gnutls_credentials_set(*session, GNUTLS_CRD_ANON, ((struct bench *)opaque)->server_credentials);
    return 0;
}

static void session_free(void *opaque, gnutls_session_t session) { gnutls_deinit(session); }

static void server_make(struct bench *b, unsigned i)
{
    struct vnc_config c = { .password = i & 1, .clipboard = b->clipboard };
    struct error err;

    snprintf(b->path[i], sizeof(b->path[i]), "/tmp/ospite-fuzz-vnc-%d-%u", (int)getpid(), i);
    c.unix_path = b->path[i];
    for (unsigned n = 0; n < 200 && !b->server[i]; n++) {
        if (i < 2) c.web_host = "127.0.0.1", b->port[i] = c.web_port = 20000 + ((unsigned)getpid() * 7 + n * 13 + i) % 30000;
        else c.tls = &b->tls;
        b->server[i] = vnc_server_new(b->display, &c, &err);
    }
    if (!b->server[i]) {
        printf("no server: %s\n", err.text);
        exit(1);
    }
    if (i & 1) vnc_password_set(b->server[i], "secret", &err);
}

static struct bench *bench(void)
{
    static struct bench *b;
    struct display_input input = { .key = key, .pointer_relative = pointer };

    if (b) return b;
    b = calloc(1, sizeof(*b));
    loop_init();
    b->display = display_new();
    b->clipboard = clipboard_new();
    input.opaque = b;
    display_input_set(b->display, &input);
    gnutls_anon_allocate_server_credentials(&b->server_credentials);
    gnutls_anon_allocate_client_credentials(&b->client_credentials);
    b->tls = (struct vnc_tls_source){ .session_new = session_new, .session_free = session_free, .opaque = b };
    for (unsigned i = 0; i < SERVERS; i++) server_make(b, i);
    return b;
}

static int client(const struct bench *b, unsigned how)
{
    unsigned i = (how & PASSWORD ? 1 : 0) | (how & TLS ? 2 : 0);
    bool over_web = how & OVER_WEB && !(how & TLS);
    struct sockaddr_in in = { .sin_family = AF_INET, .sin_port = htobe16((uint16_t)b->port[i]), .sin_addr.s_addr = htobe32(INADDR_LOOPBACK) };
    struct sockaddr_un un = { .sun_family = AF_UNIX };
    struct linger now = { 1, 0 };
    int fd, result;

    strcpy(un.sun_path, b->path[i]);
    for (unsigned n = 0;; n++) {
        fd = socket(over_web ? AF_INET : AF_UNIX, SOCK_STREAM, 0);
        setsockopt(fd, SOL_SOCKET, SO_LINGER, &now, sizeof(now));  /* no ports left in TIME_WAIT */
        result = over_web ? connect(fd, (struct sockaddr *)&in, sizeof(in)) : connect(fd, (struct sockaddr *)&un, sizeof(un));
        if (result == 0) return fd;
        if (errno != EINTR || n == 100) abort();                   /* libFuzzer's clock ticks by a signal */
        close(fd);
    }
}

static void screen_change(struct bench *b, unsigned how, unsigned seed)
{
    static const uint16_t sizes[][2] = { { 640, 480 }, { 80, 25 }, { 1, 1 }, { 1000, 65 }, { 720, 400 }, { 3000, 20 } };
    uint32_t row[3000];
    unsigned n = seed % ARRAY_SIZE(sizes);

    if (how & RESIZES) display_resize(b->display, sizes[n][0], sizes[n][1]);
    for (unsigned x = 0; x < ARRAY_SIZE(row); x++) row[x] = seed & 64 ? x * seed * 2654435761u >> 8 : x / 7 % (seed % 9 + 1);
    for (unsigned y = seed % 16; y < 64; y += 3) display_row_put(b->display, y, row);
    display_refresh(b->display);
}

/* ---- TLS ---- */

/* Takes all that came, and lets the server go on. */
static void answers_read(struct bench *b, int fd)
{
    uint8_t scrap[65536];

    loop_step(0);
    for (ssize_t got; (got = recv(fd, scrap, sizeof(scrap), MSG_DONTWAIT)) > 0; b->received += (uint64_t)got) loop_step(0);
}

/* VeNCrypt as it should be, and its session; NULL: the server did not take part. */
static gnutls_session_t session_open(struct bench *b, int fd, unsigned how)
{
    static const struct { uint8_t bytes; const char *data; } says[] = { { 12, "RFB 003.008\n" }, { 1, "\x13" }, { 2, "\0\2" } };
    uint8_t kind[4] = { 0, 0, 1, how & PASSWORD ? 2 : 1 }, agreed = 0;
    gnutls_session_t session;
    int r = GNUTLS_E_AGAIN;

    for (unsigned i = 0; i < ARRAY_SIZE(says); i++) {
        if (send(fd, says[i].data, says[i].bytes, MSG_NOSIGNAL) < 0) return NULL;
        answers_read(b, fd);
    }
    if (send(fd, kind, sizeof(kind), MSG_NOSIGNAL) < 0) return NULL;
    loop_step(0);
    if (recv(fd, &agreed, 1, MSG_DONTWAIT) != 1 || agreed != 1) return NULL;
    if (gnutls_init(&session, GNUTLS_CLIENT | GNUTLS_NONBLOCK | GNUTLS_NO_SIGNAL) < 0) return NULL;
    gnutls_priority_set_direct(session, PRIORITY, NULL);
    gnutls_credentials_set(session, GNUTLS_CRD_ANON, b->client_credentials);
    fcntl(fd, F_SETFL, O_NONBLOCK);
    gnutls_transport_set_int(session, fd);
    for (unsigned n = 0; n < HANDSHAKE_STEPS && (r == GNUTLS_E_AGAIN || r == GNUTLS_E_INTERRUPTED); n++) {
        r = gnutls_handshake(session);
        loop_step(0);
    }
    if (r == 0) return session;
    gnutls_deinit(session);
    return NULL;
}

/* ---- One session ---- */

static ssize_t pass(int fd, gnutls_session_t session, const uint8_t *data, size_t size)
{
    return session ? gnutls_record_send(session, data, size) : send(fd, data, size, MSG_NOSIGNAL | MSG_DONTWAIT);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct bench *b = bench();
    gnutls_session_t session = NULL;
    unsigned how;
    int fd;

    if (size < 2 || size > INPUT_MAX) return 0;
    how = data[0];
    fd = client(b, how);
    loop_step(0);
    if (how & TLS && how & INSIDE) {
        session = session_open(b, fd, how);
        b->inside += session != NULL;
    }
    for (size_t at = 1; at < size;) {
        size_t n = MIN(size - at, (size_t)(how >> 4) * 97 + BATCH);
        bool clear = how & ENDS_IN_THE_CLEAR && at + n == size;

        if (pass(fd, clear ? NULL : session, data + at, n) < 0) break;
        at += n;
        loop_step(0);
        screen_change(b, how, data[at - 1]);
        loop_step(0);
        if (how & READS) answers_read(b, fd);
    }
    if (session) gnutls_deinit(session);
    close(fd);
    loop_step(0);
    loop_step(0);
    return 0;
}

#ifndef FUZZER
static uint64_t dice(uint64_t *state)
{
    uint64_t z = *state += 0x9e3779b97f4a7c15ull;

    z = (z ^ z >> 30) * 0xbf58476d1ce4e5b9ull;
    z = (z ^ z >> 27) * 0x94d049bb133111ebull;
    return z ^ z >> 31;
}

static size_t put(uint8_t *to, const void *data, size_t length)
{
    memcpy(to, data, length);
    return length;
}

static const struct { uint8_t bytes; uint8_t data[24]; } messages[] = {
    { 20, { 0, 0, 0, 0, 32, 24, 0, 1, 0, 255, 0, 255, 0, 255, 16, 8, 0 } }, { 20, { 0, 0, 0, 0, 16, 16, 1, 1, 0, 31, 0, 63, 0, 31, 11, 5, 0 } },
    { 20, { 0, 0, 0, 0, 8, 8, 0, 0 } }, { 20, { 0, 0, 0, 0, 32, 24, 1, 1, 0, 255, 0, 255, 0, 255, 8, 16, 24 } },
    { 8, { 2, 0, 0, 1, 0, 0, 0, 0 } }, { 8, { 2, 0, 0, 1, 0, 0, 0, 7 } }, { 8, { 2, 0, 0, 1, 0, 0, 0, 16 } },
    { 20, { 2, 0, 0, 4, 0, 0, 0, 7, 255, 255, 255, 33, 255, 255, 254, 204, 255, 255, 254, 254 } }, { 12, { 2, 0, 0, 2, 0, 0, 0, 16, 255, 255, 254, 204 } },
    { 10, { 3, 0, 0, 0, 0, 0, 4, 0, 4, 0 } }, { 10, { 3, 1, 0, 0, 0, 0, 4, 0, 4, 0 } }, { 8, { 4, 1, 0, 0, 0, 0, 0, 65 } },
    { 6, { 5, 1, 0, 9, 0, 9 } }, { 12, { 6, 0, 0, 0, 0, 0, 0, 4, 't', 'e', 'x', 't' } }, { 24, { 251, 0, 4, 0, 3, 0, 1 } },
    { 12, { 255, 0, 0, 1, 0, 0, 0, 65, 0, 0, 0, 30 } },
    { 8, { 2, 0, 0, 1, 0xc0, 0xa1, 0xe5, 0xce } }, { 12, { 6, 0, 0, 0, 255, 255, 255, 252, 2, 0, 0, 1 } }, { 12, { 6, 0, 0, 0, 255, 255, 255, 252, 8, 0, 0, 1 } },
    { 24, { 6, 0, 0, 0, 255, 255, 255, 240, 16, 0, 0, 1, 0x78, 0x01, 0x63, 0x60, 0x60, 0x60, 0x4e, 0x64, 0, 0, 0, 0 } },
};

static size_t rfb_make(uint8_t *to, uint64_t *state, unsigned how)
{
    bool password = how & PASSWORD, inside = how & TLS && how & INSIDE;
    size_t n = inside ? 0 : put(to, dice(state) % 8 ? "RFB 003.008\n" : "RFB 003.003\n", 12);

    if (how & TLS && !inside) {                    /* and no TLS behind it */
        n += put(to + n, "\x13\0\2\0\0\1", 6);
        n += put(to + n, password ? "\2" : "\1", 1);
    } else if (!inside) n += put(to + n, password ? "\2" : "\1", 1);
    for (unsigned i = 0; password && i < 16; i++) to[n++] = (uint8_t)dice(state);
    to[n++] = dice(state) % 2;
    for (unsigned count = dice(state) % 20; count--;) {
        unsigned m = dice(state) % ARRAY_SIZE(messages);

        n += put(to + n, messages[m].data, messages[m].bytes);
    }
    return n;
}

/* The session in masked frames of random lengths. */
static size_t web_make(uint8_t *to, const uint8_t *rfb, size_t size, uint64_t *state)
{
    static const char request[] = "GET / HTTP/1.1\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: MDEyMzQ1Njc4OTAxMjM0NQ==\r\n\r\n";
    size_t n = put(to, request, sizeof(request) - 1);

    for (size_t at = 0; at < size;) {
        size_t piece = MIN(size - at, (size_t)(1 + dice(state) % 125));
        bool ping = dice(state) % 8 == 0;

        if (ping) piece = MIN(piece, (size_t)20);
        to[n++] = ping ? 0x89 : 0x82;
        to[n++] = (uint8_t)(0x80 | piece);
        for (unsigned i = 0; i < 4; i++) to[n++] = 0x11;
        for (size_t i = 0; i < piece; i++) to[n++] = rfb[at + i] ^ 0x11;
        if (!ping) at += piece;
    }
    return n;
}

static size_t input_make(uint8_t *to, uint64_t *state)
{
    uint8_t rfb[1024];
    size_t n;

    to[0] = (uint8_t)dice(state);
    if (dice(state) % 4) to[0] &= (uint8_t)~PASSWORD;
    if (dice(state) % 4) to[0] &= (uint8_t)~TLS;
    n = rfb_make(rfb, state, to[0]);
    n = to[0] & OVER_WEB && !(to[0] & TLS) ? 1 + web_make(to + 1, rfb, n, state) : 1 + put(to + 1, rfb, n);
    for (unsigned changes = dice(state) % 4; changes--;) {
        size_t at = 1 + dice(state) % (n - 1);

        switch (dice(state) % 3) {
        case 0: to[at] = (uint8_t)dice(state); break;
        case 1: to[at] ^= (uint8_t)(1 << dice(state) % 8); break;
        default: n = MAX(at, (size_t)2); break;
        }
    }
    return n;
}

int main(int argc, char **argv)
{
    unsigned count = argc > 1 ? (unsigned)strtoul(argv[1], NULL, 0) : 4000;
    uint64_t seed = argc > 2 && count ? strtoull(argv[2], NULL, 0) : 20261128, state = seed;
    static uint8_t data[INPUT_MAX];
    int failures = 0;

    if (argc > 2 && !strcmp(argv[1], "--replay")) {
        count = 0;
        failures = fuzz_replay("fuzz-vnc", argv[2]);
    }
    for (unsigned i = 0; i < count; i++) LLVMFuzzerTestOneInput(data, input_make(data, &state));
    printf("fuzz-vnc: %u sessions (%llu inside of TLS), seed %llu, %llu keys and pointers came through, %llu MB came back\n", count,
           (unsigned long long)bench()->inside, (unsigned long long)seed, (unsigned long long)bench()->keys,
           (unsigned long long)bench()->received / 1000000);
    failures += count > 100 && !bench()->inside;
    for (unsigned i = 0; i < SERVERS; i++) vnc_server_free(bench()->server[i]);
    gnutls_anon_free_server_credentials(bench()->server_credentials);
    gnutls_anon_free_client_credentials(bench()->client_credentials);
    clipboard_free(bench()->clipboard);
    display_free(bench()->display);
    free(bench());
    return failures != 0;
}
#endif
