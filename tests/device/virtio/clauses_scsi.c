/* SPDX-License-Identifier: GPL-2.0-or-later */
/* SCSI adapter: one disk at target 3, LUN 0. VIRTIO 1.2: 5.6. Queues: control 0, events 1, requests 2. */
#include "clauses.h"

#include <errno.h>
#include <string.h>

#include "base/error.h"
#include "block/fault.h"
#include "device/virtio/virtio_scsi.h"

enum { COMMAND = 51, RESPONSE = 108, ANSWER = DATA + 0x1000, DATA_OUT = DATA + 0x2000, DATA_IN = DATA + 0x3000, TMF = DATA + 0x4000, F_INOUT = 0, F_HOTPLUG = 1 };
enum { OK = 0, OVERRUN = 1, ABORTED = 2, BAD_TARGET = 3, RESET = 4, FAILURE = 9, SUCCEEDED = 10, REJECTED = 11, INCORRECT_LUN = 12, PENDING = 0xee };
enum { ABORT_TASK = 0, ABORT_TASK_SET = 1, CLEAR_TASK_SET = 3, NEXUS_RESET = 4, UNIT_RESET = 5, QUERY_TASK_SET = 7 };

static const uint8_t lun[8] = { 1, 3 }, no_target[8] = { 1, 4 }, no_lun[8] = { 1, 3, 0, 5 };
static const uint8_t test_unit[10] = { 0 }, read10[10] = { 0x28, 0, 0, 0, 0, 2, 0, 0, 1 }, write10[10] = { 0x2a, 0, 0, 0, 0, 2, 0, 0, 1 }, bad[10] = { 0xff };

static void start(uint64_t features)
{
    guest_plug(SCSI, 0);
    guest_start(features);
}

static void submit(const uint8_t *to, const uint8_t *cdb, uint32_t out, uint32_t in)
{
    struct driver_piece p[4] = { { DATA, COMMAND, false } };
    unsigned n = 1;

    memset(guest.ram + DATA, 0, COMMAND);
    memcpy(guest.ram + DATA, to, 8);
    memcpy(guest.ram + DATA + 19, cdb, 10);
    memset(guest.ram + ANSWER, PENDING, RESPONSE);
    if (out) p[n++] = (struct driver_piece){ DATA_OUT, out, false };
    p[n++] = (struct driver_piece){ ANSWER, RESPONSE, true };
    if (in) p[n++] = (struct driver_piece){ DATA_IN, in, true };
    check(driver_add(&guest.queue[2], p, n, false) >= 0);
    guest_kick(2);
}

static unsigned response(void) { return guest.ram[ANSWER + 11]; }
static unsigned status(void) { return guest.ram[ANSWER + 10]; }

static unsigned ask(const uint8_t *to, const uint8_t *cdb, uint32_t out, uint32_t in)
{
    submit(to, cdb, out, in);
    check(guest_wait(2) >= RESPONSE);
    return response();
}

/* The first command after a reset learns of that. */
static void ready(void)
{
    ask(lun, test_unit, 0, 0);
    check(ask(lun, test_unit, 0, 0) == OK && status() == 0);
}

static unsigned manage(const uint8_t *to, uint32_t what)
{
    struct driver_piece p[2] = { { TMF, 24, false }, { TMF + 64, 1, true } };

    put(TMF, (uint64_t)what << 32, 8);
    memcpy(guest.ram + TMF + 8, to, 8);
    check(guest_ask(0, p, 2) == 1);
    return guest.ram[TMF + 64];
}

/* ---- configuration ---- */

static void sizes(void)
{
    start(ALL);
    check(config(20, 4) == 96 && config(24, 4) == 32);
    reg_set(CONFIG_AT + 20, 64, 4);
    reg_set(CONFIG_AT + 24, 16, 4);
    reg_set(STATUS, 0, 1);
    check(config(20, 4) == 96 && config(24, 4) == 32);
    guest_unplug();
}

static void read_only(void)
{
    start(ALL);
    for (unsigned at = 0; at < 36; at += at == 16 ? 12 : 4) {
        uint64_t before = config(at, 4);

        reg_set(CONFIG_AT + at, ~before, 4);
        check(config(at, 4) == before);
    }
    ready();
    guest_unplug();
}

static void at_once(void)
{
    static const uint8_t report[10] = { 0xa0, [9] = 16 };

    start(ALL);
    check(ask(lun, report, 0, 16) == OK && status() == 0);
    check(manage(lun, UNIT_RESET) == OK);
    guest_unplug();
}

/* ---- requests ---- */

static void statuses(void)
{
    start(ALL);
    ready();
    check(ask(lun, bad, 0, 0) == OK && status() == 2 && get(ANSWER, 4) >= 14 && (guest.ram[ANSWER + 12 + 2] & 15) == 5);
    check(ask(lun, read10, 0, 512) == OK && status() == 0 && guest.ram[DATA_IN] == 2 && guest.ram[DATA_IN + 1] == 3);
    guest_unplug();
}

static void overrun(void)
{
    start(ALL);
    ready();
    check(ask(lun, read10, 0, 100) == OVERRUN && ask(lun, write10, 100, 0) == OVERRUN && block_fault_writes(guest.disk) == 0);
    guest_unplug();
}

static void bad_target(void)
{
    start(ALL);
    check(ask(no_target, test_unit, 0, 0) == BAD_TARGET && ask((const uint8_t[8]){ 2, 3 }, test_unit, 0, 0) == BAD_TARGET);
    check(ask(no_lun, test_unit, 0, 0) == OK && status() == 2);
    guest_unplug();
}

/* A write that waits until the machine goes on is there to be cancelled. */
static void cancelled(uint32_t what, unsigned expected)
{
    start(ALL);
    ready();
    block_fault_fail_at(guest.disk, block_fault_writes(guest.disk), ENOSPC);
    submit(lun, write10, 512, 0);
    check(guest_is_quiet(2) && response() == PENDING);
    check(manage(lun, what) == OK);
    check(guest_wait(2) >= RESPONSE && response() == expected);
    guest_unplug();
}

static void aborted(void) { cancelled(ABORT_TASK, ABORTED), cancelled(ABORT_TASK_SET, ABORTED), cancelled(CLEAR_TASK_SET, ABORTED); }
static void reset(void) { cancelled(UNIT_RESET, RESET), cancelled(NEXUS_RESET, RESET); }

static void both_directions(void)
{
    start(ALL);
    ready();
    check(!(guest_offered() & BIT(F_INOUT)));
    check(ask(lun, read10, 512, 512) == FAILURE && ask(lun, write10, 512, 512) == FAILURE && block_fault_writes(guest.disk) == 0);
    guest_unplug();
}

static void completed_by_reset(void)
{
    start(ALL);
    ready();
    submit(lun, write10, 512, 0);
    reg_set(STATUS, 0, 1);
    check(block_fault_writes(guest.disk) == 1);
    memset(guest.ram + ANSWER, PENDING, RESPONSE);
    guest_turn();
    check(response() == PENDING);
    guest_unplug();
}

static void management(void)
{
    start(ALL);
    check(manage(no_target, UNIT_RESET) == BAD_TARGET && manage(no_lun, UNIT_RESET) == INCORRECT_LUN && manage(lun, 99) == REJECTED);
    check(manage(lun, QUERY_TASK_SET) == OK);
    guest_unplug();
}

/* ---- events ---- */

static const struct virtio_scsi_unit_config *second(bool is_cdrom)
{
    static struct virtio_scsi_unit_config u = { .target = 7 };

    u.unit.is_cdrom = is_cdrom;
    u.unit.node = guest.node;
    return &u;
}

/* Notifies if the device wants that. */
static void event_buffer(uint32_t bytes)
{
    struct driver_piece p = { DATA, bytes, true };
    uint64_t before = guest.queue[1].made_available;

    memset(guest.ram + DATA, 0xee, 32);
    driver_add(&guest.queue[1], &p, 1, false);
    if (driver_must_notify(&guest.queue[1], before)) guest_kick(1);
}

static void missed_with(unsigned flags)
{
    struct error err = { "" };

    guest_plug(SCSI, flags);
    guest_start(ALL);
    for (unsigned n = 0; n < 2 * SIZE; n++) {
        check(virtio_scsi_unit_add(guest.v, second(false), &err) == 0);   /* no buffer */
        event_buffer(16);
        check(guest_wait(1) == 16 && get(DATA, 4) == 1u << 31);
        event_buffer(16);
        virtio_scsi_unit_remove(guest.v, 1);
        check(guest_wait(1) == 16 && get(DATA, 4) == 1 && guest.ram[DATA + 5] == 7 && get(DATA + 12, 4) == 2);
    }
    guest_unplug();
}
static void missed(void) { missed_with(0), missed_with(PACKED), missed_with(NO_EVENT_INDEX), missed_with(PACKED | NO_EVENT_INDEX); }

static void no_hotplug(void)
{
    struct error err = { "" };

    start(~BIT(F_HOTPLUG));
    event_buffer(16);
    check(virtio_scsi_unit_add(guest.v, second(false), &err) == 0);
    virtio_scsi_unit_remove(guest.v, 1);
    check(guest_is_quiet(1));
    guest_unplug();
}

static void small_event(void)
{
    struct error err = { "" };

    start(ALL);
    event_buffer(8);
    check(virtio_scsi_unit_add(guest.v, second(false), &err) == 0 && guest_needs_reset());
    guest_unplug();
}

static void no_change_events(void)
{
    struct error err = { "" };

    start(ALL);
    event_buffer(16);
    check(virtio_scsi_unit_add(guest.v, second(true), &err) == 0 && guest_wait(1) == 16);
    event_buffer(16);
    virtio_scsi_resized(guest.v, 1);
    check(guest_is_quiet(1));
    virtio_scsi_resized(guest.v, 0);
    check(guest_wait(1) == 16 && get(DATA, 4) == 3 && guest.ram[DATA + 5] == 3);
    guest_unplug();
}

const struct clause clauses_scsi[] = {
    { "5.6.4.1-1", "writes to other fields than sense_size and cdb_size change nothing", read_only, NULL },
    { "5.6.4.2-1", "a reset sets sense_size to 96 and cdb_size to 32", sizes, NULL },
    { "5.6.5-1", "requests and task management may come at once", at_once, NULL },
    { "5.6.6.1.1-1", "the status byte is the SCSI status, with response OK", statuses, NULL },
    { "5.6.6.1.1-2", "OVERRUN: the command needs more than the buffers have; nothing is done", overrun, NULL },
    { "5.6.6.1.1-3", "ABORTED: cancelled by ABORT TASK or ABORT TASK SET", aborted, NULL },
    { "5.6.6.1.1-4", "BAD_TARGET: there is no such target; a LUN that is not there is the target's to refuse", bad_target, NULL },
    { "5.6.6.1.1-5", "RESET: cancelled by a reset of unit or nexus", reset, NULL },
    { "5.6.6.1.1-6", "TRANSPORT_FAILURE, TARGET_FAILURE, NEXUS_FAILURE, BUSY", NULL, "these disks have no transport or paths; errors of the host are SCSI sense data" },
    { "5.6.6.1.1-7", "FAILURE: data both ways, which INOUT would allow but is not offered", both_directions, NULL },
    { "5.6.6.1.1-8", "all commands are over before a reset is", completed_by_reset, NULL },
    { "5.6.6.2-1", "task management: targets and units that are not there, functions that are not known", management, NULL },
    { "5.6.6.3.1-1", "a buffer for events that is too small: needs reset", small_event, NULL },
    { "5.6.6.3.2-1", "bit 31 tells of events that found no buffer, once there is one; the driver is asked to notify of that one", missed, NULL },
    { "5.6.6.3.2-2", "without HOTPLUG no unit's coming and going is told", no_hotplug, NULL },
    { "5.6.6.3.2-3", "PARAM_CHANGE is told for disks, not for CD-ROM drives", no_change_events, NULL },
    { NULL, NULL, NULL, NULL },
};
