/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Notifications and interrupts by eventfd, with this program in the place of an engine that knows them (KVM): which doorbells there are while BARs
 * move and queues come and go, that a count serves the queue and nothing is lost when somebody else gave a queue back, and which messages are sent by
 * the target, held while masked, or sent by us since the target has no room.
 * Source: PCI Local Bus Specification 3.0, 6.8.2 and 6.8.3; QEMU has no way to look at these.
 */
#include <poll.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "clauses.h"

enum { BELLS = 64, PENDING_AT = MSIX_AT + 2048, TABLE_CONTROL = 12 };

static struct { struct memory_bell bell[BELLS]; size_t count; } space[2];        /* memory, ports */
static struct { int fd; unsigned data; } message[VECTORS * 2];
static unsigned messages, checks, failures;
static bool has_no_room;

void clause_check(bool ok, const char *file, int line, const char *what)
{
    checks++;
    if (ok) return;
    failures++;
    printf("FAILED (%s:%d): %s\n", file, line, what);
}

static void bells(void *opaque, const struct memory_bell *bell, size_t count)
{
    unsigned n = *(const unsigned *)opaque;

    check(count <= BELLS);
    space[n].count = MIN(count, (size_t)BELLS);
    memcpy(space[n].bell, bell, space[n].count * sizeof(*bell));
}

/* What KVM does: the descriptor's message is this one, or none. */
static bool on_event(void *opaque, int fd, bool on, unsigned long address, unsigned data)
{
    unsigned kept = 0;

    for (unsigned i = 0; i < messages; i++)
        if (message[i].fd != fd) message[kept++] = message[i];
    messages = kept;
    if (on && has_no_room) return false;
    check(!on || (address == 0xfee00000 && messages < ARRAY_SIZE(message)));
    if (on) message[messages].fd = fd, message[messages++].data = data;
    return true;
}

static int message_of(int fd)
{
    for (unsigned i = 0; i < messages; i++)
        if (message[i].fd == fd) return (int)message[i].data;
    return -1;
}

static bool is_counting(int fd) { return poll(&(struct pollfd){ .fd = fd, .events = POLLIN }, 1, 0) == 1; }
static void count(int fd) { check(write(fd, &(uint64_t){ 1 }, 8) == 8); }

static const struct memory_bell *bell_of(unsigned q)
{
    for (size_t i = 0; i < space[0].count; i++)
        if (space[0].bell[i].address == MODERN_AT + NOTIFY_AT + 4 * q) return &space[0].bell[i];
    return NULL;
}

/* ---- doorbells ---- */

static void places(void)
{
    guest_plug(BLK, MSIX);
    check(!space[0].count && !space[1].count);
    guest_start(ALL);
    check(space[0].count == 2 && space[1].count == 2);
    check(bell_of(0) && bell_of(0)->value < 0 && bell_of(1) && bell_of(1)->fd != bell_of(0)->fd);
    for (unsigned q = 0; q < 2; q++)
        check(space[1].bell[q].address == PORTS_AT + 16 && space[1].bell[q].value == q && space[1].bell[q].size == 2 && space[1].bell[q].fd == bell_of(q)->fd);
    pci_set(0x20, MODERN_AT + 0x100000, 4);              /* another place, none, and back */
    check(space[0].count == 2 && !bell_of(0) && space[0].bell[0].address == MODERN_AT + 0x100000 + NOTIFY_AT);
    pci_set(4, 5, 2);
    check(!space[0].count && space[1].count == 2);
    pci_set(4, 7, 2);
    pci_set(0x20, MODERN_AT, 4);
    check(bell_of(0) && bell_of(1));
    reg_set(QUEUE_SELECT, 1, 2);
    reg_set(QUEUE_RESET, 1, 2);
    check(bell_of(0) && !bell_of(1) && space[1].count == 1);
    reg_set(STATUS, 0, 1);
    check(!space[0].count && !space[1].count);
    guest_start(ALL);
    check(space[0].count == 2);
    guest_unplug();
    check(!space[0].count && !space[1].count);
}

static void rings(unsigned flags)
{
    int64_t written;
    unsigned q;

    guest_plug(BLK, MSIX | flags);
    guest_start(ALL);
    for (unsigned n = 0; n < 100; n++) {
        q = guest_typical(0);
        if (n % 2) guest_kick(q);                        /* a write to the register counts as well */
        else count(bell_of(q)->fd);
        written = guest_wait(q);
        check(written == 513);
    }
    guest_unplug();
}

static void taken(void)
{
    struct virtio_transport *t;
    int fd;
    unsigned q;

    guest_plug(BLK, MSIX);
    t = &guest.v->transport;
    check(t->bell_take(t->opaque, 0) < 0 && t->call(t->opaque, 0) < 0);
    guest_start(ALL);
    fd = t->bell_take(t->opaque, 0);
    check(fd >= 0 && bell_of(0)->fd == fd);
    q = guest_typical(0);
    count(fd);
    check(guest_is_quiet(q) && is_counting(fd));         /* it is somebody else's to hear */
    t->bell_give(t->opaque, 0);
    check(guest_wait(q) == 513);
    guest_unplug();
}

/* The processors stand: what was rung, and not heard of, is served before the disk is waited for. */
static void settled(void)
{
    struct virtio_transport *t;
    int fd;
    unsigned q;

    guest_plug(BLK, MSIX);
    t = &guest.v->transport;
    guest_start(ALL);
    q = guest_typical(0);
    count(bell_of(q)->fd);
    virtio_pci_settle(guest.device);
    check(!is_counting(bell_of(q)->fd) && guest_wait(q) == 513);
    fd = t->bell_take(t->opaque, 0);
    count(fd);
    virtio_pci_settle(guest.device);
    check(is_counting(fd));
    t->bell_give(t->opaque, 0);
    guest_turn();
    guest_unplug();
}

/* ---- messages ---- */

static uint64_t pending(void) { return memory_io_read(guest.memory, PENDING_AT, 8); }
static void mask(unsigned vector, bool on) { memory_io_write(guest.memory, MSIX_AT + 16 * vector + TABLE_CONTROL, on, 4); }

/* fd counts while nobody may send, then that is over: the target finds the count. */
static void held(int fd, unsigned vector, void (*hold)(unsigned vector, bool on))
{
    check(message_of(fd) == (int)vector && !pending());
    hold(vector, true);
    check(message_of(fd) < 0);
    count(fd);
    check(pending() == BIT(vector));
    guest_turn();
    check(is_counting(fd));
    hold(vector, false);
    check(message_of(fd) == (int)vector && is_counting(fd) && !pending());
    check(read(fd, &(uint64_t){ 0 }, 8) == 8);           /* as the target does */
}

static void mask_all(unsigned vector, bool on) { pci_set(0x98 + 2, on ? 0xc000 : 0x8000, 2); }
static void master(unsigned vector, bool on) { pci_set(4, on ? 3 : 7, 2); }

static void vectors(void)
{
    struct virtio_transport *t;
    int fd;

    guest_plug(BLK, MSIX);
    t = &guest.v->transport;
    guest_start(ALL);
    fd = t->call(t->opaque, 0);
    check(fd >= 0 && t->call(t->opaque, 0) == fd && t->call(t->opaque, 1) != fd);
    held(fd, 1, mask);
    held(fd, 1, mask_all);
    held(fd, 1, master);
    mask(1, true);
    memory_io_write(guest.memory, MSIX_AT + 16 + 8, 3, 4);        /* another message */
    mask(1, false);
    check(message_of(fd) == 3);
    pci_set(0x98 + 2, 0, 2);                             /* MSI-X off and on */
    check(message_of(fd) < 0 && t->call(t->opaque, 0) < 0);
    pci_set(0x98 + 2, 0x8000, 2);
    check(message_of(fd) == 3 && t->call(t->opaque, 0) == fd);
    reg_set(QUEUE_SELECT, 0, 2);
    reg_set(QUEUE_VECTOR, VIRTIO_NO_VECTOR, 2);
    check(t->call(t->opaque, 0) < 0);
    guest_unplug();
    check(!messages);
}

static void no_room(void)
{
    struct virtio_transport *t;
    int fd;

    guest_plug(BLK, MSIX);
    t = &guest.v->transport;
    guest_start(ALL);
    has_no_room = true;
    fd = t->call(t->opaque, 1);
    check(fd >= 0 && message_of(fd) < 0);
    count(fd);
    guest_turn();
    check(guest.messages[2] == 1 && !is_counting(fd));
    mask(2, true);
    count(fd);
    guest_turn();
    check(guest.messages[2] == 1 && pending() == BIT(2));
    has_no_room = false;
    mask(2, false);
    check(message_of(fd) == 2 && is_counting(fd));
    guest_unplug();
}

int main(void)
{
    static const unsigned maps[2] = { 0, 1 };
    int before = dup(0), after;

    guest.msi_event = on_event;
    guest_begin();
    guest_plug(BLK, MSIX);                               /* nobody listens: the register alone */
    guest_start(ALL);
    check(guest.v->transport.bell_take(guest.v->transport.opaque, 0) < 0 && guest_typical(0) == 0);
    guest_kick(0);
    check(guest_wait(0) == 513);
    guest_unplug();
    memory_map_listen_doorbells(guest.memory, bells, (void *)&maps[0]);
    memory_map_listen_doorbells(guest.ports, bells, (void *)&maps[1]);
    after = dup(0);
    close(after);
    places();
    rings(0);
    rings(PACKED);
    taken();
    settled();
    vectors();
    no_room();
    check(dup(0) == after);                              /* no descriptor is left open */
    close(before);
    guest_end();
    printf("virtio-events: %u checks, %u failures\n", checks, failures);
    return failures != 0;
}
