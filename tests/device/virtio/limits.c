/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * What a driver cannot have of devices that keep all clauses: more random bytes than the user allows, by resets; others' turns, by requests for a balloon
 * that name as many pages as there is room for; a disc that was taken out, for a request that waited behind its back.
 */
#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "base/clock.h"
#include "base/error.h"
#include "block/fault.h"
#include "clauses.h"
#include "device/virtio/virtio_scsi.h"

static unsigned checks, failures;

void clause_check(bool ok, const char *file, int line, const char *what)
{
    checks++;
    if (ok) return;
    failures++;
    printf("FAILED (%s:%d): %s\n", file, line, what);
}

static unsigned taken(unsigned q)
{
    unsigned count = 0;

    for (uint32_t written; driver_take(&guest.queue[q], &written) >= 0;) count++;
    return count;
}

/* ---- entropy source ---- */

enum { RANDOM = 64, PERIOD_MS = 50, PERIODS = 4, NS_PER_MS = 1000000 };

static void queue_renew(void)
{
    reg_set(QUEUE_SELECT, 0, 2);
    reg_set(QUEUE_RESET, 1, 2);
    guest_queue_setup(0, SIZE);
}

static void device_renew(void) { guest_start(ALL); }

static void entropy(void (*renew)(void))
{
    struct driver_piece p = { DATA, RANDOM, true };
    int64_t begin;
    unsigned got = 0;

    guest.random_bytes = RANDOM;
    guest.random_ms = PERIOD_MS;
    guest_plug(RNG, 0);
    begin = clock_virtual_ns();
    guest_start(ALL);
    while (got < PERIODS) {                              /* each gets all that there is */
        check(driver_add(&guest.queue[0], &p, 1, false) >= 0);
        guest_kick(0);
        guest_turn();
        got += taken(0);
        if (clock_virtual_ns() - begin > 100ll * PERIODS * PERIOD_MS * NS_PER_MS) break;
        renew();
    }
    check(got == PERIODS && clock_virtual_ns() - begin >= (PERIODS - 1ll) * PERIOD_MS * NS_PER_MS);
    guest_unplug();
    guest.random_bytes = 0;
}

/* ---- balloon ---- */

enum { NUMBERS = 16384, REQUESTS = 128, A_TURN = 4, PAGE = 4096 };

/* No page is the neighbour of the one before, so that each costs a system call. */
static void balloon(void)
{
    struct driver_piece p = { DATA, 4 * NUMBERS, false };
    unsigned most, done, turns = 0;

    guest_plug(BALLOON, 0);
    check(guest_negotiate(ALL));
    for (unsigned q = 0; q < guest.queues; q++) guest_queue_setup(q, REQUESTS);
    reg_set(STATUS, S_ACK | S_DRIVER | S_FEATURES_OK | S_DRIVER_OK, 1);
    for (unsigned i = 0; i < NUMBERS; i++) put(DATA + 4 * i, DATA / PAGE + 0x40 + 2 * i % 0x80, 4);
    for (unsigned i = 0; i < REQUESTS; i++) check(driver_add(&guest.queue[0], &p, 1, false) >= 0);
    guest_kick(0);
    most = done = taken(0);
    while (done < REQUESTS && turns++ < 10 * REQUESTS) {
        unsigned now;

        guest_turn();
        done += now = taken(0);
        most = MAX(most, now);
    }
    check(done == REQUESTS && most && most <= A_TURN);
    guest_unplug();
}

/* ---- CD-ROM drive ---- */

enum { COMMAND = 51, RESPONSE = 108, SECTOR = 2048, REQUEST_STRIDE = 0x2000, CHECK_CONDITION = 2 };

static bool is_stopped;
static void on_stop(void *opaque, bool is_read, int error) { is_stopped = true; }

/* Request number n: target 7, with this command. */
static void scsi_submit(unsigned n, const uint8_t *cdb)
{
    uint64_t at = DATA + n * REQUEST_STRIDE;
    struct driver_piece p[3] = { { at, COMMAND, false }, { at + 256, RESPONSE, true }, { at + 512, SECTOR, true } };

    memset(guest.ram + at, 0, 512);
    put(at, 0x0701, 2);
    memcpy(guest.ram + at + 19, cdb, 10);
    check(driver_add(&guest.queue[2], p, 3, false) >= 0);
    guest_kick(2);
}

static unsigned scsi_status(unsigned n) { return guest.ram[DATA + n * REQUEST_STRIDE + 256 + 10]; }

static void disc_put(void) { virtio_scsi_disc_put(guest.v, 1, NULL); }

static void tray_open(void)
{
    struct error err = { "" };

    check(scsi_unit_tray_move(virtio_scsi_unit(guest.v, 1), true, false, &err) == 0);
}

/* A read fails, and waits until the machine goes on; the tray was opened behind it. */
static void disc_gone(void (*take)(void))
{
    static const uint8_t ready[10] = { 0 }, read10[10] = { 0x28, [8] = 1 }, eject[10] = { 0x1b, [4] = 2 };
    struct virtio_scsi_unit_config u = { .target = 7, .unit = { .is_cdrom = true, .on_error = { .read = BLOCK_ERROR_STOP, .stop = on_stop } } };
    struct error err = { "" };

    guest_plug(SCSI, 0);
    guest_start(ALL);
    u.unit.node = guest.node;
    check(virtio_scsi_unit_add(guest.v, &u, &err) == 0);
    scsi_submit(0, ready);                               /* learns of the reset */
    check(guest_wait(2) >= RESPONSE);
    is_stopped = false;
    block_fault_fail_read(guest.disk, EIO);
    scsi_submit(0, read10);
    scsi_submit(1, eject);
    check(guest_wait(2) >= RESPONSE && scsi_status(1) == 0 && virtio_scsi_tray(guest.v, 1).open);
    for (int64_t end = clock_host_ns() + 60 * NS_PER_SECOND; !is_stopped && clock_host_ns() < end;) guest_turn();
    check(is_stopped && guest_is_quiet(2));
    take();
    check(guest_wait(2) >= RESPONSE && scsi_status(0) == CHECK_CONDITION);
    disc_put();
    virtio_scsi_retry(guest.v);
    check(guest_is_quiet(2));
    guest_unplug();
}

int main(void)
{
    guest_begin();
    entropy(queue_renew);
    entropy(device_renew);
    balloon();
    disc_gone(disc_put);
    disc_gone(tray_open);
    guest_end();
    printf("virtio-limits: %u checks, %u failures\n", checks, failures);
    return failures != 0;
}
