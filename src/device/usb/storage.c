/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The bulk-only transport: a command of 31 bytes, its data, a status of 13. Data is gathered, or waits to be fetched, in a buffer as long as the
 * host said it would be, since packets are small and the SCSI unit wants it all; the host gets so many bytes in any case (zeros behind what the
 * command had), and learns how many meant something. While the unit works the endpoints have nothing (NAK).
 * Sources: USB Mass Storage Class, Bulk-Only Transport 1.0; SPC-4 (REQUEST SENSE).
 */
#include "device/usb/storage.h"

#include <stdlib.h>
#include <string.h>

#include "base/bits.h"
#include "base/error.h"
#include "base/log.h"

enum { IN_ENDPOINT = 0x81, OUT_ENDPOINT = 2, COMMAND_BYTES = 31, STATUS_BYTES = 13, CDB_BYTES = 16, DATA_MAX = 16 << 20 };
enum { COMMAND_SIGNATURE = 0x43425355, STATUS_SIGNATURE = 0x53425355, PASSED = 0, FAILED = 1, PHASE_ERROR = 2 };
enum { RESET_REQUEST = 0xff, LUN_REQUEST = 0xfe, REQUEST_SENSE = 3, SENSE_ILLEGAL = 5, ASC_FIELD = 0x24 };

struct command { le32 signature, tag, length; uint8_t flags, lun, cdb_length, cdb[CDB_BYTES]; } __attribute__((packed));
struct status { le32 signature, tag, residue; uint8_t status; } __attribute__((packed));

struct storage {
    struct usb_device usb;
    struct scsi_unit *unit;
    enum { WANT_COMMAND, GATHER, WORK, FETCH, WANT_STATUS, CONFUSED } phase;
    uint32_t tag, length, at, residue;   /* of the command; at: bytes of its data that went over the wire */
    uint8_t status;
    bool is_in;
    uint8_t *data;                       /* length bytes; NULL: the command is refused, its data goes nowhere */
    struct iovec iov;
    struct scsi_request request;
    uint8_t sense[SCSI_SENSE_BYTES];     /* of the last command, until it is asked for */
};

static struct storage *of(struct usb_device *d) { return container_of(d, struct storage, usb); }

/* ---- commands ---- */

static void sense_clear(struct storage *s)
{
    memset(s->sense, 0, sizeof(s->sense));
    s->sense[0] = 0x70;
    s->sense[7] = SCSI_SENSE_BYTES - 8;
}

static void finish(struct storage *s, uint8_t status, uint64_t moved)
{
    s->status = status;
    s->residue = s->length - (uint32_t)MIN(moved, (uint64_t)s->length);
    s->phase = s->is_in && s->length ? FETCH : WANT_STATUS;
    usb_ready(&s->usb, IN_ENDPOINT);
}

static void refuse(struct storage *s)
{
    sense_clear(s);
    s->sense[2] = SENSE_ILLEGAL;
    s->sense[12] = ASC_FIELD;
    finish(s, FAILED, 0);
}

static void done(struct scsi_request *r)
{
    struct storage *s = r->owner;

    sense_clear(s);
    if (r->status != SCSI_GOOD) memcpy(s->sense, r->sense, sizeof(s->sense));
    finish(s, r->is_short ? PHASE_ERROR : r->status == SCSI_GOOD ? PASSED : FAILED, r->moved);
}

static void sense_reply(struct storage *s)
{
    size_t n = MIN(MIN((size_t)s->request.cdb[4], sizeof(s->sense)), (size_t)(s->is_in ? s->length : 0));

    if (s->data) memcpy(s->data, s->sense, n);
    sense_clear(s);
    finish(s, PASSED, n);
}

static void start(struct storage *s)
{
    struct scsi_request *r = &s->request;

    s->phase = WORK;
    if (s->length && !s->data) refuse(s);
    else if (r->cdb[0] == REQUEST_SENSE) sense_reply(s);
    else {
        s->iov = (struct iovec){ s->data, s->length };
        r->out = r->in = &s->iov;
        r->out_count = s->length && !s->is_in;
        r->in_count = s->length && s->is_in;
        r->out_bytes = s->is_in ? 0 : s->length;
        r->in_bytes = s->is_in ? s->length : 0;
        r->done = done;
        r->owner = s;
        scsi_unit_start(s->unit, r);
    }
}

static int confused(struct storage *s)
{
    s->phase = CONFUSED;
    return USB_STALL;
}

static int command_take(struct storage *s, const uint8_t *data, size_t size)
{
    struct command c;

    if (size != sizeof(c)) return confused(s);
    memcpy(&c, data, sizeof(c));
    if (le32_get(c.signature) != COMMAND_SIGNATURE || c.lun & 15 || !(c.cdb_length & 31) || (c.cdb_length & 31) > CDB_BYTES) {
        trace(TRACE_GUEST_ERRORS, "usb-storage: what came is no command\n");
        return confused(s);
    }
    s->tag = le32_get(c.tag);
    s->length = le32_get(c.length);
    s->is_in = c.flags & 0x80;
    s->at = 0;
    memset(s->request.cdb, 0, sizeof(s->request.cdb));
    memcpy(s->request.cdb, c.cdb, c.cdb_length & 31);
    free(s->data);
    s->data = s->length && s->length <= DATA_MAX ? calloc(1, s->length) : NULL;
    s->phase = GATHER;
    if (s->is_in || !s->length) start(s);
    return (int)size;
}

/* ---- endpoints ---- */

static int data_gather(struct storage *s, const uint8_t *data, size_t size)
{
    if (size > s->length - s->at) return confused(s);
    if (s->data) memcpy(s->data + s->at, data, size);
    s->at += (uint32_t)size;
    if (s->at == s->length) start(s);
    return (int)size;
}

static int data_fetch(struct storage *s, uint8_t *data, size_t size)
{
    size_t n = MIN(size, (size_t)(s->length - s->at));

    if (s->data) memcpy(data, s->data + s->at, n);
    else memset(data, 0, n);
    s->at += (uint32_t)n;
    if (s->at == s->length) s->phase = WANT_STATUS;
    return (int)n;
}

static int status_put(struct storage *s, uint8_t *data, size_t size)
{
    struct status t = { le32_make(STATUS_SIGNATURE), le32_make(s->tag), le32_make(s->residue), s->status };

    if (size < sizeof(t)) return USB_BABBLE;
    memcpy(data, &t, sizeof(t));
    s->phase = WANT_COMMAND;
    free(s->data);
    s->data = NULL;
    return sizeof(t);
}

static int transfer(struct usb_device *d, unsigned endpoint, uint8_t *data, size_t size)
{
    struct storage *s = of(d);
    bool is_in = endpoint & USB_REQUEST_IN;

    switch (s->phase) {
    case WANT_COMMAND: return is_in ? USB_NAK : command_take(s, data, size);
    case GATHER: return is_in ? USB_NAK : data_gather(s, data, size);
    case FETCH: return is_in ? data_fetch(s, data, size) : confused(s);
    case WANT_STATUS: return is_in ? status_put(s, data, size) : USB_NAK;
    case WORK: return USB_NAK;
    default: return USB_STALL;
    }
}

/* What is under way ends first, unheard. */
static void dropped(struct scsi_request *r) { r->owner = NULL; }

static void storage_reset(struct storage *s)
{
    if (s->phase == WORK) scsi_unit_drain(s->unit, dropped);
    s->phase = WANT_COMMAND;
    free(s->data);
    s->data = NULL;
}

static int control(struct usb_device *d, const struct usb_request *r, uint8_t *data)
{
    if (r->type == 0xa1 && r->request == LUN_REQUEST && !r->value) {
        data[0] = 0;
        return 1;
    }
    if (r->type != 0x21 || r->request != RESET_REQUEST || r->value) return USB_STALL;
    storage_reset(of(d));
    return 0;
}

static void configured(struct usb_device *d)
{
    struct storage *s = of(d);

    storage_reset(s);
    if (d->configuration) return;
    sense_clear(s);
    scsi_unit_reset(s->unit);
}

/* ---- life ---- */

static void destroy(struct device *d)
{
    struct storage *s = container_of(d, struct storage, usb.device);

    usb_detach(&s->usb);
    storage_reset(s);
    scsi_unit_free(s->unit);
    free(s);
}

enum { S_MANUFACTURER = 1, S_PRODUCT, S_SERIAL, S_FULL, S_HIGH, S_SUPER };
static const char *const strings[] = { "", "QEMU", "QEMU USB HARDDRIVE", "", "Full speed config (usb 1.1)", "High speed config (usb 2.0)", "Super speed config (usb 3.0)", NULL };
#define FORM(version_, packet0_, string_, packet_, burst_) { .version = version_, .packet0 = packet0_, .name = string_, .attributes = 0xc0, .interface_class = 8, \
    .interface_subclass = 6, .interface_protocol = 0x50, .endpoint = { { IN_ENDPOINT, 2, 0, packet_ }, { OUT_ENDPOINT, 2, 0, packet_ } }, .endpoints = 2, .burst = burst_ }
static const struct usb_form full = FORM(0x200, 8, S_FULL, 64, 0), high = FORM(0x200, 64, S_HIGH, 512, 0), super = FORM(0x300, 9, S_SUPER, 1024, 15);
static const struct usb_description description = { 0x46f4, 1, 0, 0, S_MANUFACTURER, S_PRODUCT, S_SERIAL, strings, { [USB_FULL] = &full, [USB_HIGH] = &high, [USB_SUPER] = &super } };
static const struct state_field state[] = { STATE_FIELD(struct storage, usb.address), STATE_FIELD(struct storage, usb.configuration), STATE_ARRAY(struct storage, sense), STATE_END };
static const struct usb_device_ops ops = { { "usb-storage", "USB stick or CD-ROM drive", NULL, destroy, state, NULL, NULL }, &description, control, transfer, configured, NULL, NULL };

struct usb_device *usb_storage_new(const struct usb_storage_config *config, struct error *err)
{
    struct storage *s = calloc(1, sizeof(*s));

    if (!s || !(s->unit = scsi_unit_new(&config->unit))) {
        free(s);
        error_set(err, "usb-storage: no memory");
        return NULL;
    }
    usb_device_init(&s->usb, &ops, config->id, config->serial, "1");
    sense_clear(s);
    return &s->usb;
}

struct scsi_unit *usb_storage_unit(struct usb_device *d) { return of(d)->unit; }

void usb_storage_retry(struct usb_device *d)
{
    if (usb_ops(d) == &ops) scsi_unit_retry(of(d)->unit);
}
