/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Sockets. VIRTIO 1.2: 5.10. */
#include "clauses.h"

#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

enum { RX, TX, REQUEST = 1, RESPONSE, RST, SHUTDOWN, RW, CREDIT_UPDATE, CREDIT_REQUEST };
enum { HEADER = 44, PAYLOAD = 256, OURS = 1000, PORT = 70, NOBODY = 71, IN_AT = DATA + 0x1000 };

struct packet { uint64_t src, dst; uint32_t from, to, len; uint16_t type, op; uint32_t flags, room, forwarded; uint8_t data[PAYLOAD]; } __attribute__((packed));

/* ---- the program of the host ---- */

static int listener, program;

static void listen_begin(void)
{
    struct sockaddr_un a = { .sun_family = AF_UNIX };

    snprintf(a.sun_path, sizeof(a.sun_path), "%s/s_%d", guest.folder, PORT);
    listener = socket(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK, 0);
    check(bind(listener, (struct sockaddr *)&a, sizeof(a)) == 0 && listen(listener, 4) == 0);
}

static void end(void)
{
    char path[64];

    snprintf(path, sizeof(path), "%s/s_%d", guest.folder, PORT);
    unlink(path);
    if (program >= 0) close(program);
    close(listener);
    guest_unplug();
}

/* ---- packets ---- */

static struct packet packet(unsigned op, unsigned to)
{
    return (struct packet){ .src = VSOCK_CID, .dst = 2, .from = OURS, .to = to, .type = 1, .op = (uint16_t)op, .room = 4096 };
}

static bool send_one(const struct packet *p)
{
    struct driver_piece piece = { DATA, HEADER + p->len, false };

    memcpy(guest.ram + DATA, p, HEADER + p->len);
    return guest_ask(TX, &piece, 1) == 0;
}

static bool say(unsigned op, unsigned to, uint32_t flags)
{
    struct packet p = packet(op, to);

    p.flags = flags;
    return send_one(&p);
}

/* The next packet of the device; false: there is none, or it is no packet. */
static bool hear(struct packet *p)
{
    struct driver_piece piece = { IN_AT, sizeof(*p), true };
    int64_t written = guest_ask(RX, &piece, 1);

    memset(p, 0, sizeof(*p));
    if (written < HEADER) return false;
    memcpy(p, guest.ram + IN_AT, (size_t)written);
    return written == HEADER + (int64_t)p->len;
}

static bool hear_op(unsigned op, unsigned from)
{
    struct packet p;

    return hear(&p) && p.op == op && p.src == 2 && p.dst == VSOCK_CID && p.from == from && p.to == OURS && p.type == 1;
}

static void begin(void)
{
    guest_plug(VSOCK, 0);
    guest_start(ALL);
    listen_begin();
    program = -1;
}

static void connected(void)
{
    begin();
    check(say(REQUEST, PORT, 0) && hear_op(RESPONSE, PORT));
    program = accept4(listener, NULL, NULL, SOCK_NONBLOCK);
    check(program >= 0);
}

/* ---- clauses ---- */

static void cid(void)
{
    guest_plug(VSOCK, 0);
    check(config(0, 4) == VSOCK_CID && config(4, 4) == 0);
    reg_set(CONFIG_AT, 9, 4);
    check(config(0, 4) == VSOCK_CID && config(0, 4) > 2 && config(0, 4) != 0xffffffff);
    guest_unplug();
}

static void without_buffers(void)
{
    begin();
    for (unsigned i = 0; i < 20; i++) check(say(REQUEST, NOBODY + i, 0));         /* taken, though no answer can be given */
    for (unsigned i = 0; i < 20; i++) check(hear_op(RST, NOBODY + i));
    end();
}

static void addresses(void)
{
    struct packet p = packet(REQUEST, PORT), got;

    begin();
    p.dst = 9;
    check(send_one(&p) && hear(&got) && got.op == RST && got.src == 9 && got.from == PORT && got.to == OURS);
    p = packet(REQUEST, PORT);
    p.src = VSOCK_CID + 1;
    check(send_one(&p));
    check(say(REQUEST, NOBODY, 0) && hear_op(RST, NOBODY));                        /* the next answer is not for the one before */
    end();
}

static void too_much(void)
{
    struct packet p = packet(RW, PORT), got = { 0 };
    unsigned sent = 0;

    connected();
    p.len = PAYLOAD;
    for (; sent < 8192 && send_one(&p); sent++)
        if (sent % 512 == 511 && (say(CREDIT_REQUEST, PORT, 0), hear(&got)) && got.op == RST) break;
    check(got.op == RST && sent < 8192 && !guest_needs_reset());
    end();
}

static void room_of_guest(void)
{
    struct packet p = packet(CREDIT_UPDATE, PORT), got;
    char text[100];
    unsigned bytes = 0;

    connected();
    p.room = 10;
    check(send_one(&p));
    memset(text, 'x', sizeof(text));
    check(send(program, text, sizeof(text), 0) == sizeof(text));
    for (unsigned more = 10; more < 100; more += 10) {
        while (hear(&got) && got.op == RW) bytes += got.len;
        check(bytes == more && got.op == CREDIT_REQUEST);
        p.forwarded = bytes;
        send_one(&p);
    }
    check(hear(&got) && got.op == RW && bytes + got.len == sizeof(text));
    end();
}

static void credit_told(void)
{
    struct packet p = packet(RW, PORT), got = { .op = 0 };
    char text[8];

    connected();
    p.len = 5;
    check(send_one(&p));
    guest_turn();
    check(recv(program, text, sizeof(text), 0) == 5);
    check(send(program, "abc", 3, 0) == 3 && hear(&got));
    check(got.op == RW && got.len == 3 && !memcmp(got.data, "abc", 3) && got.room >= 5 && got.forwarded == 5);
    check(say(CREDIT_REQUEST, PORT, 0) && hear(&got) && got.op == CREDIT_UPDATE && got.room >= 5 && got.forwarded == 5);
    end();
}

static void unknown_type(void)
{
    struct packet p = packet(REQUEST, PORT), got;

    begin();
    for (p.type = 0; p.type < 4; p.type++) {
        if (p.type == 1) continue;
        check(send_one(&p) && hear(&got) && got.op == RST && got.type == p.type);
    }
    end();
}

static void requests(void)
{
    connected();
    check(say(REQUEST, NOBODY, 0) && hear_op(RST, NOBODY));
    end();
}

static void half_closed(void)
{
    char byte;

    connected();
    check(say(SHUTDOWN, PORT, 2));
    guest_turn();
    check(recv(program, &byte, 1, 0) == 0);
    check(send(program, "x", 1, 0) == 1 && hear_op(RW, PORT));                     /* the other way is open */
    check(say(SHUTDOWN, PORT, 1) && hear_op(RST, PORT));                           /* bit 1 holds, though it is clear now */
    end();
}

static void reset_by_guest(void)
{
    char byte;

    connected();
    check(say(RST, PORT, 0));
    guest_turn();
    check(recv(program, &byte, 1, 0) == 0);
    check(say(RW, PORT, 0) && hear_op(RST, PORT));                                 /* there is no such connection any more */
    end();
}

static void clean_end(void)
{
    struct packet got;

    connected();
    close(program);
    program = -1;
    check(hear(&got) && got.op == SHUTDOWN && got.flags == 3);
    check(say(RST, PORT, 0) && say(REQUEST, PORT, 0) && hear_op(RESPONSE, PORT)); /* the ports can be used again */
    end();
}

static void stream_only(void)
{
    guest_plug(VSOCK, 0);
    check(!(guest_offered() & BIT(1)));
    check(guest_negotiate(0));
    guest_unplug();
}

const struct clause clauses_vsock[] = {
    { "5.10.3-1", "stream sockets, whether or not their feature is agreed on; SEQPACKET is not offered", stream_only, NULL },
    { "5.10.4-1", "guest_cid is the guest's, its upper half is zero; a driver cannot change it", cid, NULL },
    { "5.10.6.1.2-1", "packets of the guest are taken while it gives no buffers; the answers wait", without_buffers, NULL },
    { "5.10.6.2-1", "packets to another CID than the host's are answered by RST, those in another's name by nothing", addresses, NULL },
    { "5.10.6.3.1-1", "a driver that sends more than there is room for loses the connection", too_much, NULL },
    { "5.10.6.3.2-1", "the device sends no more than the guest has room for", room_of_guest, NULL },
    { "5.10.6.3.2-2", "buf_alloc and fwd_cnt are valid in all packets of a stream", credit_told, NULL },
    { "5.10.6.4.2-1", "guest_cid is none of the reserved ones", cid, NULL },
    { "5.10.6.4.2-2", "unknown types are answered by RST", unknown_type, NULL },
    { "5.10.6.5-1", "a request is answered by RESPONSE if somebody listens, else by RST", requests, NULL },
    { "5.10.6.5-2", "what SHUTDOWN says stays said; when both directions are shut RST follows", half_closed, NULL },
    { "5.10.6.5-3", "RST ends a connection at once", reset_by_guest, NULL },
    { "5.10.6.5-4", "a program that goes is told by SHUTDOWN; after the guest's RST the ports are free", clean_end, NULL },
    { "5.10.6.6-1", "messages (SEQPACKET)", NULL, "not offered: Unix sockets of the programs are streams" },
    { "5.10.6.7-1", "the event that communication was interrupted", NULL, "nothing interrupts it: it serves migration" },
    { NULL, NULL, NULL, NULL },
};
