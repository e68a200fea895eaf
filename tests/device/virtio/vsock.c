/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The socket device driven through registers and rings, with its Unix sockets at the other end: connections from both sides, credit both ways, half-closed
 * streams, what is kept for a slow program, packets that no driver may send, floods, limits. VIRTIO 1.2: 5.10.
 *
 *   test-virtio-vsock
 */
#include <errno.h>
#include <fcntl.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include "base/bits.h"
#include "base/clock.h"
#include "base/error.h"
#include "base/loop.h"
#include "device/virtio/virtio_pci.h"
#include "device/virtio/virtio_vsock.h"
#include "driver.h"

enum { RAM_BYTES = 4 << 20, RINGS = 0x10000, QUEUE_STRIDE = 0x80000, RX_DATA = 0x200000, TX_DATA = 0x300000, MODERN = 0x20000000, CONFIG = MODERN + 0x2000,
       NOTIFY = MODERN + 0x3000, QUEUES = 3, SIZE = 128, HEADER = 44, RX_BYTES = HEADER + 4096, CID = 7, PORT = 70, NEEDS_RESET = 0x40 };
enum { REQUEST = 1, RESPONSE, RST, SHUTDOWN, RW, CREDIT_UPDATE, CREDIT_REQUEST };
enum { LIMIT = 512, ROOM = 256 << 10 };

struct packet { uint64_t src, dst; uint32_t from, to, len; uint16_t type, op; uint32_t flags, room, forwarded; } __attribute__((packed));

static uint8_t *ram;
static struct memory_map *memory;
static struct pci_bus *bus;
static struct device *device;
static struct virtio *v;
static struct driver driver[QUEUES];
static struct packet got[4096];          /* what came since it was asked last */
static unsigned count, given, taken;
static uint8_t bytes[1 << 20];           /* payloads of it */
static size_t byte_count;
static char folder[] = "/tmp/ospite-vsock-XXXXXX", path[64];
static uint64_t checks, failures;

static void check(bool ok, const char *fmt, ...)
{
    va_list ap;

    checks++;
    if (ok || failures++ > 20) return;
    va_start(ap, fmt);
    printf("failed: ");
    vprintf(fmt, ap);
    printf("\n");
    va_end(ap);
}

static void intx(void *opaque, int n, int level) { }
static void out(uint64_t at, uint64_t value, unsigned size) { memory_io_write(memory, at, value, size); }
static uint64_t in(uint64_t at, unsigned size) { return memory_io_read(memory, at, size); }

/* ---- the driver ---- */

static void start(uint64_t features)
{
    features = (features | VIRTIO_F_VERSION_1) & virtio_features_modern(v);
    out(MODERN + 20, 0, 1);
    out(MODERN + 20, 3, 1);
    for (unsigned half = 0; half < 2; half++) {
        out(MODERN + 8, half, 4);
        out(MODERN + 12, (uint32_t)(features >> 32 * half), 4);
    }
    out(MODERN + 20, 11, 1);
    for (unsigned n = 0; n < QUEUES; n++) {
        struct driver *d = &driver[n];

        driver_init(d, ram, features & VIRTIO_F_RING_PACKED, features & VIRTIO_F_EVENT_IDX, SIZE, RINGS + n * QUEUE_STRIDE);
        out(MODERN + 22, n, 2);
        out(MODERN + 32, d->descriptors, 4);
        out(MODERN + 40, d->avail, 4);
        out(MODERN + 48, d->used, 4);
        out(MODERN + 28, 1, 2);
    }
    out(MODERN + 20, 15, 1);
    count = given = taken = 0;
    byte_count = 0;
}

static void packets_take(void)
{
    uint32_t written;

    for (; driver_take(&driver[0], &written) >= 0; taken++) {
        const uint8_t *at = ram + RX_DATA + (taken % SIZE) * RX_BYTES;
        struct packet *p = &got[count];

        memcpy(p, at, HEADER);
        check(written == HEADER + p->len && p->len <= 4096 && p->dst == CID, "a packet of %u bytes has a header and %u", written, p->len);
        memcpy(bytes + byte_count, at + HEADER, p->len);
        byte_count += p->len;
        if (count < ARRAY_SIZE(got) - 1) count++;
    }
}

static void buffers_give(void)
{
    for (; given - taken < SIZE / 2; given++) {
        uint64_t at = RX_DATA + (given % SIZE) * RX_BYTES;
        struct driver_piece p[2] = { { at, HEADER, true }, { at + HEADER, 4096, true } };

        if (driver_add(&driver[0], p, 2, false) < 0) break;
    }
    out(NOTIFY, 0, 2);
}

/* Until nothing happens any more. */
static void settle(void)
{
    for (unsigned quiet = 0; quiet < 3; quiet++) {
        unsigned before = count;

        buffers_give();
        machine_unlock();
        loop_step(0);
        machine_lock();
        packets_take();
        if (count != before) quiet = 0;
    }
}

static void forget(void) { count = 0, byte_count = 0; }

/* Sends it; payload bytes are a pattern that begins at first. */
static void send_raw(const struct packet *p, uint32_t payload, uint32_t first)
{
    struct driver_piece piece = { TX_DATA, HEADER + payload, false };
    uint32_t written;

    memcpy(ram + TX_DATA, p, HEADER);
    for (uint32_t i = 0; i < payload; i++) ram[TX_DATA + HEADER + i] = (uint8_t)((first + i) * 31 >> 3);
    driver_add(&driver[1], &piece, 1, false);
    out(NOTIFY + 4, 1, 2);
    while (driver_take(&driver[1], &written) >= 0);
}

static struct packet packet(unsigned op, uint32_t from, uint32_t to)
{
    return (struct packet){ .src = CID, .dst = 2, .from = from, .to = to, .type = 1, .op = (uint16_t)op, .room = 1 << 20 };
}

static void say(unsigned op, uint32_t from, uint32_t to, uint32_t flags)
{
    struct packet p = packet(op, from, to);

    p.flags = flags;
    send_raw(&p, 0, 0);
}

static void send_bytes(uint32_t from, uint32_t to, uint32_t size, uint32_t first)
{
    struct packet p = packet(RW, from, to);

    p.len = size;
    send_raw(&p, size, first);
}

static bool last_is(unsigned op, uint32_t from, uint32_t to)
{
    const struct packet *p = count ? &got[count - 1] : NULL;

    return p && p->op == op && p->from == from && p->to == to && p->src == 2 && p->type == 1;
}

/* ---- programs of the host ---- */

static int listener_make(void)
{
    struct sockaddr_un a = { .sun_family = AF_UNIX };
    int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK, 0);

    snprintf(a.sun_path, sizeof(a.sun_path), "%s_%d", path, PORT);
    unlink(a.sun_path);
    check(bind(fd, (struct sockaddr *)&a, sizeof(a)) == 0 && listen(fd, 2 * LIMIT) == 0, "a listener");
    return fd;
}

static int program_connect(const char *line)
{
    struct sockaddr_un a = { .sun_family = AF_UNIX };
    int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK, 0);

    snprintf(a.sun_path, sizeof(a.sun_path), "%s", path);
    check(connect(fd, (struct sockaddr *)&a, sizeof(a)) == 0, "the device listens");
    if (line) check(send(fd, line, strlen(line), 0) == (ssize_t)strlen(line), "a line is sent");
    settle();
    return fd;
}

/* Bytes of the pattern; stops where the socket has none. */
static size_t program_read(int fd, uint32_t first)
{
    uint8_t piece[4096];
    size_t total = 0;
    ssize_t n;

    while ((n = recv(fd, piece, sizeof(piece), 0)) > 0) {
        for (ssize_t i = 0; i < n; i++)
            if (piece[i] != (uint8_t)((first + total + (size_t)i) * 31 >> 3)) {
                check(false, "byte %zu of what the guest sent", total + (size_t)i);
                return total;
            }
        total += (size_t)n;
        settle();
    }
    return total;
}

static bool at_end(int fd)
{
    uint8_t byte;
    ssize_t n;

    settle();
    n = recv(fd, &byte, 1, 0);
    return n == 0 || (n < 0 && errno == ECONNRESET);   /* something was left unread */
}

/* A connection that the guest begins. */
static int open_one(int listener, uint32_t from)
{
    int fd;

    forget();
    say(REQUEST, from, PORT, 0);
    settle();
    check(count == 1 && last_is(RESPONSE, PORT, from) && got[0].room == ROOM && got[0].forwarded == 0, "a connection of the guest is accepted");
    fd = accept4(listener, NULL, NULL, SOCK_NONBLOCK);
    check(fd >= 0, "the program has it");
    forget();
    return fd;
}

/* ---- tests ---- */

static void strangers(void)
{
    struct packet p = packet(REQUEST, 1000, 4);

    forget();
    say(REQUEST, 1000, 4, 0);
    settle();
    check(count == 1 && last_is(RST, 4, 1000), "a port where nobody listens");
    p.dst = 9;
    send_raw(&p, 0, 0);
    settle();
    check(count == 2 && got[1].op == RST && got[1].src == 9 && got[1].from == 4 && got[1].to == 1000, "a CID that is not there");
    p = packet(REQUEST, 1000, 4);
    p.type = 2;
    send_raw(&p, 0, 0);
    settle();
    check(count == 3 && got[2].op == RST && got[2].type == 2, "a type that is not there");
    for (unsigned op = RESPONSE; op < 12; op++) {
        forget();
        say(op, 1000, 4, 0);
        settle();
        check(op == RST ? count == 0 : count == 1 && last_is(RST, 4, 1000), "operation %u without a connection", op);
    }
    forget();
    p = packet(REQUEST, 1000, PORT);
    p.src = CID + 1;
    send_raw(&p, 0, 0);
    settle();
    check(count == 0, "a packet in another guest's name is dropped");
    p = packet(RW, 1000, 4);
    p.len = 5000;
    send_raw(&p, 10, 0);
    settle();
    check(count == 1 && last_is(RST, 4, 1000), "a length beyond the packet's end");
}

static void data(int listener)
{
    struct packet p;
    int fd = open_one(listener, 2000);
    size_t sent = 0;

    send_bytes(2000, PORT, 3000, 0);
    check(program_read(fd, 0) == 3000, "bytes of the guest");
    check(send(fd, "0123456789", 10, 0) == 10, "bytes of the program");
    settle();
    check(count == 1 && last_is(RW, PORT, 2000) && byte_count == 10 && !memcmp(bytes, "0123456789", 10) && got[0].forwarded == 3000,
          "bytes of the program, and that the guest's were taken");
    forget();
    p = packet(CREDIT_UPDATE, 2000, PORT);
    p.forwarded = 10;
    p.room = 20;
    send_raw(&p, 0, 0);
    check(send(fd, bytes, 500, 0) == 500, "more bytes");
    settle();
    check(byte_count == 20 && last_is(CREDIT_REQUEST, PORT, 2000), "only as many as the guest has room for");
    for (sent = 30; sent < 510; sent += 20) {
        p.forwarded = (uint32_t)sent;
        send_raw(&p, 0, 0);
        settle();
    }
    check(byte_count == 500, "all of it when it has, %zu", byte_count);
    p.room = 0;
    p.forwarded = 12345678;
    send_raw(&p, 0, 0);
    check(send(fd, "x", 1, 0) == 1, "a byte");
    settle();
    check(byte_count == 500, "none to a guest that has taken more than there was");
    forget();
    say(CREDIT_REQUEST, 2000, PORT, 0);
    settle();
    check(count && got[count - 1].forwarded == 3000 && got[count - 1].room == ROOM, "what room there is");
    say(RST, 2000, PORT, 0);
    check(at_end(fd), "a reset ends the program's stream");
    close(fd);
}

static void slow_program(int listener)
{
    int fd = open_one(listener, 2100);
    uint32_t sent = 0, forwarded = 0;
    unsigned rounds = 0;

    /* As a driver does: never more than there is room. */
    while (rounds++ < 2000 && sent - forwarded + 4096 <= ROOM) {
        send_bytes(2100, PORT, 4096, sent);
        sent += 4096;
        settle();
        if (count) forwarded = got[count - 1].forwarded;
    }
    check(sent >= ROOM && rounds < 2000, "a program that does not read is sent %u bytes", sent);
    forget();
    say(SHUTDOWN, 2100, PORT, 3);
    settle();
    check(count == 0, "no reset before the program has read all");
    say(RST, 2100, PORT, 0);
    settle();
    check(program_read(fd, 0) == sent && at_end(fd), "all of it arrives, also when the guest's end is gone");
    close(fd);
    fd = open_one(listener, 2101);
    for (sent = 0; sent < 8 * ROOM && !last_is(RST, PORT, 2101); sent += 60000) {
        send_bytes(2101, PORT, 60000, sent);
        settle();
    }
    check(last_is(RST, PORT, 2101) && sent < 4 * ROOM, "a guest that sends more than there is room loses the connection");
    close(fd);
}

static void closing(int listener)
{
    int fd = open_one(listener, 2200);

    say(SHUTDOWN, 2200, PORT, 2);
    check(at_end(fd) && count == 0, "the guest has said all");
    check(send(fd, "ab", 2, 0) == 2, "the program has not");
    settle();
    check(last_is(RW, PORT, 2200) && byte_count == 2, "and it is heard");
    shutdown(fd, SHUT_WR);
    settle();
    check(last_is(SHUTDOWN, PORT, 2200) && got[count - 1].flags & 2, "the program has said all");
    say(SHUTDOWN, 2200, PORT, 3);
    settle();
    check(last_is(RST, PORT, 2200), "the end is confirmed");
    close(fd);
    fd = open_one(listener, 2201);
    check(send(fd, "last", 4, 0) == 4, "last words");
    close(fd);
    settle();
    check(count == 2 && got[0].op == RW && last_is(SHUTDOWN, PORT, 2201) && got[1].flags == 3 && byte_count == 4, "a program that is gone is heard to the end");
    say(RW, 2201, PORT, 0);
    settle();
    check(count == 2, "what the guest had on its way is dropped");
    say(RST, 2201, PORT, 0);
    fd = open_one(listener, 2201);
    shutdown(fd, SHUT_WR);
    settle();
    check(count == 1 && got[0].flags == 2, "half closed");
    send_bytes(2201, PORT, 100, 0);
    check(program_read(fd, 0) == 100, "the program still listens");
    close(fd);
    send_bytes(2201, PORT, 100, 0);
    settle();
    check(last_is(SHUTDOWN, PORT, 2201) && got[count - 1].flags == 3, "it is gone when somebody says something to it");
    say(RST, 2201, PORT, 0);
    fd = open_one(listener, 2202);
    say(SHUTDOWN, 2202, PORT, 1);
    settle();
    check(send(fd, "x", 1, MSG_NOSIGNAL) < 0, "a guest that does not listen");
    send_bytes(2202, PORT, 100, 0);
    check(program_read(fd, 0) == 100, "but speaks");
    say(SHUTDOWN, 2202, PORT, 2);
    settle();
    check(last_is(RST, PORT, 2202) && at_end(fd), "both halves, one after the other");
    close(fd);
}

static void breaches(int listener)
{
    static const struct { unsigned op, len; } wrong[] = { { REQUEST, 0 }, { RESPONSE, 0 }, { 0, 0 }, { 8, 0 }, { 0xffff, 0 }, { RW, 70000 } };

    for (unsigned i = 0; i < ARRAY_SIZE(wrong); i++) {
        int fd = open_one(listener, 2300 + i);
        struct packet p = packet(wrong[i].op, 2300 + i, PORT);

        p.len = wrong[i].len;
        send_raw(&p, 0, 0);
        settle();
        check(count == 1 && last_is(RST, PORT, 2300 + i) && at_end(fd), "operation %u on an open connection ends it", wrong[i].op);
        close(fd);
    }
    for (unsigned i = 0; i < 2; i++) {
        int fd = open_one(listener, 2320);

        say(SHUTDOWN, 2320, PORT, 2);
        settle();
        send_bytes(2320, PORT, 10, 0);
        settle();
        check(last_is(RST, PORT, 2320), "bytes behind the last one");
        close(fd);
    }
}

static void greetings(void)
{
    static const char *const bad[] = { "CONNECT x\n", "HELLO 5\n", "CONNECT\n", "CONNECT \n", "CONNECT 4294967295\n", "CONNECT 99999999999\n", "CONNECT -1\n",
                                       "CONNECT 5 5\n", "no line that ends in this world", "\n" };
    uint32_t port;
    char text[32] = "";
    int fd, n;

    forget();
    for (unsigned i = 0; i < ARRAY_SIZE(bad); i++) {
        fd = program_connect(bad[i]);
        check(at_end(fd) && count == 0, "no greeting: %s", bad[i]);
        close(fd);
    }
    fd = program_connect("CONN");
    check(count == 0 && send(fd, "ECT 1234\nfirst", 14, 0) == 14, "in two pieces");
    settle();
    check(count == 1 && got[0].op == REQUEST && got[0].to == 1234 && got[0].src == 2 && got[0].room == ROOM, "the guest is asked");
    port = got[0].from;
    say(RESPONSE, 1234, port, 0);
    settle();
    n = (int)recv(fd, text, sizeof(text) - 1, 0);
    check(n > 4 && !strncmp(text, "OK ", 3) && strtoul(text + 3, NULL, 10) == port && text[n - 1] == '\n', "the program is told: %s", text);
    check(last_is(RW, port, 1234) && byte_count == 5 && !memcmp(bytes, "first", 5), "what stood behind the greeting is the guest's");
    close(fd);
    settle();
    say(SHUTDOWN, 1234, port, 3);
    settle();
    check(last_is(RST, port, 1234), "the end");
    forget();
    fd = program_connect("CONNECT 80\n");
    check(count == 1 && got[0].op == REQUEST && got[0].from != port, "another one has another port");
    say(RST, 80, got[0].from, 0);
    check(at_end(fd), "the guest refuses");
    close(fd);
    fd = program_connect("CONNECT 81\n");
    send_bytes(81, got[count - 1].from, 5, 0);
    check(at_end(fd) && last_is(RST, got[count - 2].from, 81), "bytes before the answer");
    close(fd);
}

/* No buffers: resets wait, then the guest's packets; nothing is lost. */
static void flood(void)
{
    enum { FLOOD = 1000 };
    struct packet p = packet(RW, 0, 4);
    unsigned sent = 0, done = 0, most = 0;
    uint32_t written;

    start(~VIRTIO_F_RING_PACKED);
    for (unsigned rounds = 0; (sent < FLOOD || done < FLOOD) && rounds < 100000; rounds++) {
        struct driver_piece piece = { TX_DATA + 64 * (sent % SIZE), HEADER, false };

        p.from = sent;
        if (sent < FLOOD && sent - done < SIZE) {
            memcpy(ram + piece.gpa, &p, HEADER);
            if (driver_add(&driver[1], &piece, 1, false) >= 0) sent++;
        }
        out(NOTIFY + 4, 1, 2);
        while (driver_take(&driver[1], &written) >= 0) done++;
        if (rounds == 2000) most = done;
        if (rounds > 2000) settle();
    }
    settle();
    check(most > 100 && most < 600, "%u packets are taken while no reset can be sent", most);
    check(done == FLOOD && count == FLOOD, "%u of %u, %u resets at the end", done, FLOOD, count);
    for (unsigned i = 0; i < count; i++) check(got[i].op == RST && got[i].to == i, "reset %u", i);
}

static void needs_reset(int listener)
{
    struct driver_piece tail = { RX_DATA, 43, true };
    int fd;

    start(~0ull);
    driver_add(&driver[1], &(struct driver_piece){ TX_DATA, 43, false }, 1, false);
    out(NOTIFY + 4, 1, 2);
    check(in(MODERN + 20, 1) & NEEDS_RESET, "a packet without its last byte");
    start(~0ull);
    fd = open_one(listener, 2400);
    start(~0ull);
    check(at_end(fd), "a reset of the device ends what was open");
    close(fd);
    start(~0ull);
    driver_add(&driver[0], &tail, 1, false);
    out(NOTIFY, 0, 2);
    say(CREDIT_UPDATE, 1, 1, 0);
    check(in(MODERN + 20, 1) & NEEDS_RESET, "a buffer too small for a header");
    start(~0ull);
    close(open_one(listener, 2401));
    check(in(CONFIG, 4) == CID && in(CONFIG + 4, 4) == 0, "the CID");
}

static void limits(int listener)
{
    struct rlimit r;
    unsigned accepted = 0, refused = 0;
    int fd[LIMIT];

    getrlimit(RLIMIT_NOFILE, &r);
    r.rlim_cur = r.rlim_max;
    setrlimit(RLIMIT_NOFILE, &r);
    if (r.rlim_cur < 3 * LIMIT) {
        printf("skipped: the limit of connections, since only %llu files can be open\n", (unsigned long long)r.rlim_cur);
        return;
    }
    start(~0ull);
    for (unsigned i = 0; i < LIMIT + 88; i++) {
        forget();
        say(REQUEST, 10000 + i, PORT, 0);
        settle();
        if (last_is(RESPONSE, PORT, 10000 + i)) fd[accepted++] = accept4(listener, NULL, NULL, SOCK_NONBLOCK);
        else refused += last_is(RST, PORT, 10000 + i);
    }
    check(accepted == LIMIT && refused == 88, "%u connections, %u refused", accepted, refused);
    close(program_connect("CONNECT 5\n"));
    for (unsigned i = 0; i < accepted; i++) close(fd[i]);
    while (accept4(listener, NULL, NULL, SOCK_NONBLOCK) >= 0);
    settle();
    forget();
    say(REQUEST, 9000, PORT, 0);
    settle();
    check(last_is(RESPONSE, PORT, 9000), "those that wait for the guest's last word give way");
    start(~0ull);
    while (accept4(listener, NULL, NULL, SOCK_NONBLOCK) >= 0);
}

/* ---- one machine ---- */

static void create(bool packed)
{
    struct virtio_vsock_config c = { .memory = memory, .path = path, .guest_cid = CID, .options.packed = packed };
    struct virtio_pci_config pci = { .bus = bus, .devfn = 8 };
    struct error err = { "" };

    v = virtio_vsock_new(&c, &err);
    device = v ? virtio_pci_new(&pci, v, &err) : NULL;
    if (!device) {
        printf("test-virtio-vsock: %s\n", err.text);
        exit(1);
    }
    pci_config_write(bus, 8 << 8 | 0x20, MODERN, 4);
    pci_config_write(bus, 8 << 8 | 4, 6, 2);
}

/* What a killed machine left is taken over; a socket in use and a file are not. */
static void path_test(void)
{
    struct virtio_vsock_config c = { .memory = memory, .path = path, .guest_cid = CID };
    struct sockaddr_un a = { .sun_family = AF_UNIX };
    int fd = socket(AF_UNIX, SOCK_STREAM, 0);
    struct error err = { "" };

    snprintf(a.sun_path, sizeof(a.sun_path), "%s", path);
    check(bind(fd, (struct sockaddr *)&a, sizeof(a)) == 0, "a socket of before");
    close(fd);
    create(false);
    start(~0ull);
    check(!virtio_vsock_new(&c, &err) && strstr(err.text, "Address already in use"), "a second one there: %s", err.text);
    close(program_connect(NULL));
    device_destroy(device);
    fd = open(path, O_CREAT | O_WRONLY, 0600);
    close(fd);
    check(!virtio_vsock_new(&c, &err) && access(path, F_OK) == 0, "a file is no socket");
    unlink(path);
}

static void run(bool packed)
{
    int listener;

    create(packed);
    listener = listener_make();
    start(~0ull);
    strangers();
    data(listener);
    slow_program(listener);
    closing(listener);
    breaches(listener);
    greetings();
    if (!packed) flood();
    needs_reset(listener);
    if (!packed) limits(listener);
    device_destroy(device);
    close(listener);
    check(access(path, F_OK) < 0, "the socket is gone");
}

int main(void)
{
    struct pci_bus_config c = { .msi = { NULL, NULL } };
    struct memory_map *ports;
    char name[80];

    if (!mkdtemp(folder)) return 1;
    snprintf(path, sizeof(path), "%s/v", folder);
    loop_init();
    clock_virtual_start();
    ram = mmap(NULL, RAM_BYTES, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    memory = memory_map_new("memory", 1ull << 52);
    ports = memory_map_new("ports", 65536);
    memory_map_add_ram(memory, "ram", 0, RAM_BYTES, ram, false, 0);
    c.memory = memory;
    c.ports = ports;
    for (int n = 0; n < 4; n++) c.intx[n] = (struct irq_line){ intx, NULL, n };
    bus = pci_bus_new(&c);
    machine_lock();
    path_test();
    run(false);
    run(true);
    pci_bus_free(bus);
    machine_unlock();
    memory_map_free(memory);
    memory_map_free(ports);
    snprintf(name, sizeof(name), "%s_%d", path, PORT);
    unlink(name);
    rmdir(folder);
    printf("virtio-vsock: %llu checks, %llu failed\n", (unsigned long long)checks, (unsigned long long)failures);
    return failures != 0;
}
