/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * SCSI adapter: a control queue (task management), an event queue (drives that come and go), and request queues. A
 * request is a header with LUN and command, data to write, a response, data to read; scsi_unit.c carries it out, short ones and small
 * reads before the notification returns.
 *
 * An abort or reset waits until what is in flight has ended, and answers then: nothing is left to abort.
 * Limits: channel 0; LUNs in flat addressing and REPORT LUNS' well-known unit; no protection information; CDBs of 32 bytes and sense
 * data of 96, as at the start, whatever the driver writes into the configuration.
 * Source: VIRTIO 1.2, section 5.6; SAM-5 (task management).
 */
#include "device/virtio/virtio_scsi.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/bits.h"
#include "base/error.h"

enum { QUEUE_CONTROL, QUEUE_EVENT, QUEUE_REQUEST, QUEUES_OTHER = 2 };
enum { S_OK = 0, S_OVERRUN = 1, S_ABORTED = 2, S_BAD_TARGET = 3, S_RESET = 4, S_FAILURE = 9, S_FUNCTION_SUCCEEDED = 10, S_FUNCTION_REJECTED = 11, S_INCORRECT_LUN = 12 };
enum { T_TMF = 0, T_AN_QUERY = 1, T_AN_SUBSCRIBE = 2 };
enum { F_HOTPLUG = 1, F_CHANGE = 2, EVENT_TRANSPORT_RESET = 1, EVENT_PARAM_CHANGE = 3, EVENTS_MISSED = 1u << 31, REASON_RESCAN = 1, REASON_REMOVED = 2 };
enum { TMF_ABORT_TASK, TMF_ABORT_TASK_SET, TMF_CLEAR_ACA, TMF_CLEAR_TASK_SET, TMF_NEXUS_RESET, TMF_UNIT_RESET, TMF_QUERY_TASK, TMF_QUERY_TASK_SET };
enum { CDB_BYTES = 32, SENSE_BYTES = 96, REPORT_LUNS = 0xa0, INQUIRY = 0x12, REPORT_BYTES = 8 + 8 * VIRTIO_SCSI_UNITS, NOW_BYTES = 32 << 10 };

struct layout {
    le32 num_queues, seg_max, max_sectors, cmd_per_lun, event_info_size, sense_size, cdb_size;
    le16 max_channel, max_target;
    le32 max_lun;
} __attribute__((packed));
struct command { uint8_t lun[8]; le64 tag; uint8_t attribute, priority, crn, cdb[CDB_BYTES]; } __attribute__((packed));
struct response { le32 sense_length, residual; le16 status_qualifier; uint8_t status, response, sense[SENSE_BYTES]; } __attribute__((packed));
struct management { le32 type, subtype; uint8_t lun[8]; le64 tag; } __attribute__((packed));
struct notification { le32 type; uint8_t lun[8]; le32 events; } __attribute__((packed));

struct event { le32 event; uint8_t lun[8]; le32 reason; } __attribute__((packed));

struct request {
    struct scsi_request scsi;
    struct scsi *s;
    struct virtqueue *q;
    struct virtqueue_chain *chain;
    struct iovec *copy;                  /* the chain's vectors; those of scsi are cut from it */
};

struct scsi {
    struct virtio v;
    struct virtio_scsi_config config;
    struct scsi_unit *unit[VIRTIO_SCSI_UNITS];
    struct virtqueue *stopping;          /* its requests need no answer */
    bool resetting;                      /* by task management: that is the answer */
    uint64_t now_bytes;                  /* how much this notification may still read in place */
    bool event_missed;                   /* one had no buffer: the next that is there says so */
};

static struct scsi *of(struct virtio *v) { return container_of(v, struct scsi, v); }

/* ---- addresses ---- */

static bool is_lun(const uint8_t lun[8]) { return lun[0] == 1 && (lun[2] & 0xc0) != 0x80 && (lun[2] & 0xc0) != 0xc0; }
static unsigned lun_of(const uint8_t lun[8]) { return (lun[2] & 0x3f) << 8 | lun[3]; }

/* The unit there; *target_exists if any unit of that target is. */
static struct scsi_unit *unit_find(const struct scsi *s, const uint8_t lun[8], bool *target_exists)
{
    struct scsi_unit *found = NULL;

    *target_exists = false;
    for (unsigned i = 0; i < s->config.unit_count && is_lun(lun); i++) {
        if (s->config.unit[i].target != lun[1]) continue;
        *target_exists = true;
        if (s->config.unit[i].lun == lun_of(lun)) found = s->unit[i];
    }
    return found;
}

/* ---- the end of a request ---- */

static void request_free(struct request *r)
{
    free(r->copy);
    free(r);
}

static void respond(struct request *r, uint8_t response)
{
    const struct scsi_request *q = &r->scsi;
    bool check = response == S_OK && q->status == SCSI_CHECK_CONDITION;
    uint64_t moved = response == S_OK && !check ? q->moved : 0;
    uint64_t wanted = r->chain->out_bytes - sizeof(struct command) + (r->chain->in_bytes - sizeof(struct response));
    struct response p = { .response = response, .status = response == S_OK ? q->status : 0 };
    bool reads = r->chain->in_bytes > sizeof(p);

    p.residual = le32_make((uint32_t)MIN(wanted - MIN(moved, wanted), (uint64_t)UINT32_MAX));
    if (check) {
        p.sense_length = le32_make(SCSI_SENSE_BYTES);
        memcpy(p.sense, q->sense, SCSI_SENSE_BYTES);
    }
    virtqueue_write(r->q, r->chain, 0, &p, sizeof(p));
    virtqueue_push(r->q, r->chain, sizeof(p) + (reads ? moved : 0));
    virtio_interrupt_soon(&r->s->v, r->q);
    request_free(r);
}

static void scsi_done(struct scsi_request *q)
{
    struct request *r = container_of(q, struct request, scsi);

    respond(r, q->is_short ? S_OVERRUN : S_OK);
}

/* ---- requests ---- */

/* Which LUNs a target has; every LUN of it may be asked, also one that is not there. */
static void report_luns(struct request *r, const uint8_t lun[8])
{
    uint8_t p[REPORT_BYTES] = { 0 };
    be32 allocation;
    size_t n = 8;

    for (unsigned i = 0; i < r->s->config.unit_count; i++) {
        const struct virtio_scsi_unit_config *u = &r->s->config.unit[i];

        if (u->target != lun[1]) continue;
        p[n] = u->lun < 256 ? 0 : (uint8_t)(0x40 | u->lun >> 8);
        p[n + 1] = (uint8_t)u->lun;
        n += 8;
    }
    p[3] = (uint8_t)(n - 8);
    r->scsi.status = SCSI_GOOD;
    memcpy(&allocation, r->scsi.cdb + 6, sizeof(allocation));
    r->scsi.moved = virtqueue_write(r->q, r->chain, sizeof(struct response), p, MIN(n, (size_t)be32_get(allocation)));
    respond(r, S_OK);
}

/* A unit that is not there, of a target that is: INQUIRY says so, all else fails. */
static void absent_unit(struct request *r)
{
    static const uint8_t none[36] = { 0x7f, 0, 5, 2, 31 };

    if (r->scsi.cdb[0] == INQUIRY && !(r->scsi.cdb[1] & 1)) {
        r->scsi.status = SCSI_GOOD;
        r->scsi.moved = virtqueue_write(r->q, r->chain, sizeof(struct response), none, MIN(sizeof(none), (size_t)(r->scsi.cdb[3] << 8 | r->scsi.cdb[4])));
    } else {
        r->scsi.status = SCSI_CHECK_CONDITION;         /* logical unit not supported */
        memcpy(r->scsi.sense, (const uint8_t[SCSI_SENSE_BYTES]){ 0x70, 0, 5, 0, 0, 0, 0, SCSI_SENSE_BYTES - 8, 0, 0, 0, 0, 0x25 }, SCSI_SENSE_BYTES);
    }
    respond(r, S_OK);
}

/* The unit may cut the vectors, but the response goes into the chain's: it gets copies. */
static bool vectors_copy(struct request *r)
{
    const struct virtqueue_chain *c = r->chain;
    struct scsi_request *q = &r->scsi;

    r->copy = malloc((c->out_count + c->in_count) * sizeof(*r->copy));
    if (!r->copy) return false;
    memcpy(r->copy, c->out, (c->out_count + c->in_count) * sizeof(*r->copy));
    q->out = r->copy;
    q->out_count = virtqueue_iov_skip(&q->out, c->out_count, sizeof(struct command));
    q->out_bytes = c->out_bytes - sizeof(struct command);
    q->in = r->copy + c->out_count;
    q->in_count = virtqueue_iov_skip(&q->in, c->in_count, sizeof(struct response));
    q->in_bytes = c->in_bytes - sizeof(struct response);
    return true;
}

static bool request_serve(struct virtio *v, struct virtqueue *q, struct virtqueue_chain *chain)
{
    struct request *r = calloc(1, sizeof(*r));
    struct command c;
    struct scsi_unit *unit;
    bool target_exists;

    if (r) *r = (struct request){ .scsi = { .done = scsi_done, .now_bytes = &of(v)->now_bytes }, .s = of(v), .q = q, .chain = chain };
    if (!r || chain->out_bytes < sizeof(c) || chain->in_bytes < sizeof(struct response) || !vectors_copy(r)) {
        virtio_broken(v, r ? "a SCSI request lacks its header or response" : "no memory for a request");
        virtqueue_drop(q, chain);
        free(r);
        return false;
    }
    virtqueue_read(chain, 0, &c, sizeof(c));
    memcpy(r->scsi.cdb, c.cdb, sizeof(c.cdb));
    unit = unit_find(r->s, c.lun, &target_exists);
    if (!target_exists) respond(r, S_BAD_TARGET);
    else if (r->scsi.out_bytes && r->scsi.in_bytes) respond(r, S_FAILURE);   /* INOUT is not on offer */
    else if (c.cdb[0] == REPORT_LUNS) report_luns(r, c.lun);
    else if (!unit) absent_unit(r);
    else scsi_unit_start(unit, &r->scsi);
    return true;
}

/* ---- control ---- */

/* A write that waits for room is over when its unit is reset, or its queue. */
static void request_abort(struct scsi_request *q)
{
    struct request *r = container_of(q, struct request, scsi);

    if (r->q != r->s->stopping) {
        respond(r, r->s->resetting ? S_RESET : S_ABORTED);
        return;
    }
    virtqueue_drop(r->q, r->chain);
    request_free(r);
}

static uint8_t manage(struct scsi *s, const struct management *m)
{
    uint32_t what = le32_get(m->subtype);
    bool target_exists;
    struct scsi_unit *unit = unit_find(s, m->lun, &target_exists);

    if (!target_exists) return S_BAD_TARGET;
    if (!unit && what != TMF_NEXUS_RESET) return S_INCORRECT_LUN;
    if (what > TMF_QUERY_TASK_SET || what == TMF_CLEAR_ACA) return S_FUNCTION_REJECTED;
    for (unsigned i = 0; i < s->config.unit_count; i++) {
        if (what == TMF_NEXUS_RESET ? s->config.unit[i].target != m->lun[1] : s->unit[i] != unit) continue;
        if (what == TMF_QUERY_TASK || what == TMF_QUERY_TASK_SET) return scsi_unit_in_flight(unit) ? S_FUNCTION_SUCCEEDED : S_OK;
        s->resetting = what == TMF_NEXUS_RESET || what == TMF_UNIT_RESET;
        scsi_unit_drain(s->unit[i], request_abort);
        if (s->resetting) scsi_unit_reset(s->unit[i]);
        s->resetting = false;
    }
    return S_OK;                                       /* FUNCTION COMPLETE */
}

static bool control_serve(struct virtio *v, struct virtqueue *q, struct virtqueue_chain *chain)
{
    struct notification n;
    struct management m;
    le32 type = le32_make(UINT32_MAX);
    uint8_t answer[5] = { 0 };

    virtqueue_read(chain, 0, &type, sizeof(type));
    if (le32_get(type) == T_TMF && virtqueue_read(chain, 0, &m, sizeof(m)) == sizeof(m) && chain->in_bytes >= 1) {
        answer[0] = manage(of(v), &m);
        virtqueue_push(q, chain, virtqueue_write(q, chain, 0, answer, 1));
    } else if ((le32_get(type) == T_AN_QUERY || le32_get(type) == T_AN_SUBSCRIBE) && virtqueue_read(chain, 0, &n, sizeof(n)) == sizeof(n) &&
               chain->in_bytes >= sizeof(answer)) {
        virtqueue_push(q, chain, virtqueue_write(q, chain, 0, answer, sizeof(answer)));   /* there are no such events */
    } else {
        virtio_broken(v, "a control request is too short or of no known type");
        virtqueue_drop(q, chain);
        return false;
    }
    return true;
}

/* ---- events ---- */

/* Events are sent when they happen, so notifications of buffers are wanted only where one was missed. */
static struct virtqueue_chain *event_buffer(struct scsi *s)
{
    struct virtqueue_chain *c = virtio_pop(&s->v, QUEUE_EVENT);

    if (c) return c;
    virtqueue_notifications_set(&s->v.queue[QUEUE_EVENT], true);
    return virtio_pop(&s->v, QUEUE_EVENT);             /* it may have come just before */
}

/* The driver learns that it should look at this unit again; with no buffer to tell it, it learns that it missed something. */
static void event_send(struct scsi *s, unsigned feature, uint32_t event, uint32_t reason, const struct virtio_scsi_unit_config *u)
{
    struct event e = { .reason = le32_make(reason) };
    struct virtqueue *q = &s->v.queue[QUEUE_EVENT];
    struct virtqueue_chain *c;

    if (!virtio_has(&s->v, feature) || !(s->v.status & VIRTIO_STATUS_DRIVER_OK)) return;
    c = event_buffer(s);
    if (!c) {
        s->event_missed = true;
        return;
    }
    if (s->event_missed) event |= EVENTS_MISSED;
    s->event_missed = false;
    e.event = le32_make(event);
    if (u) memcpy(e.lun, (const uint8_t[4]){ 1, u->target, u->lun < 256 ? 0 : (uint8_t)(0x40 | u->lun >> 8), (uint8_t)u->lun }, 4);
    if (c->in_bytes < sizeof(e)) {
        virtio_broken(&s->v, "a buffer for events is too small");
        virtqueue_drop(q, c);
        return;
    }
    virtqueue_push(q, c, virtqueue_write(q, c, 0, &e, sizeof(e)));
    virtio_interrupt(&s->v, q);
}

int virtio_scsi_unit_add(struct virtio *v, const struct virtio_scsi_unit_config *u, struct error *err)
{
    struct scsi *s = of(v);
    unsigned n = s->config.unit_count;

    if (n == VIRTIO_SCSI_UNITS) return error_set(err, "more than %d drives at one adapter", VIRTIO_SCSI_UNITS);
    s->unit[n] = scsi_unit_new(&u->unit);
    if (!s->unit[n]) return error_set(err, "no memory for a SCSI drive");
    s->config.unit[n] = *u;
    s->config.unit_count++;
    event_send(s, F_HOTPLUG, EVENT_TRANSPORT_RESET, REASON_RESCAN, u);
    return 0;
}

int virtio_scsi_disc_change(struct virtio *v, unsigned n, struct block_node *node, bool force, struct block_node **old, struct error *err)
{
    if (scsi_unit_disc_change(of(v)->unit[n], node, force, old, err) < 0) return -1;
    of(v)->config.unit[n].unit.node = node;
    return 0;
}

struct scsi_unit *virtio_scsi_unit(struct virtio *v, unsigned n) { return of(v)->unit[n]; }

void virtio_scsi_disc_put(struct virtio *v, unsigned n, struct block_node *node)
{
    scsi_unit_disc_put(of(v)->unit[n], node);
    of(v)->config.unit[n].unit.node = node;
}

struct tray_state virtio_scsi_tray(struct virtio *v, unsigned n) { return scsi_unit_tray(of(v)->unit[n]); }

void virtio_scsi_unit_remove(struct virtio *v, unsigned n)
{
    struct scsi *s = of(v);
    struct virtio_scsi_unit_config gone = s->config.unit[n];

    scsi_unit_drain(s->unit[n], request_abort);
    scsi_unit_free(s->unit[n]);
    s->config.unit_count--;
    for (unsigned i = n; i < s->config.unit_count; i++) {
        s->unit[i] = s->unit[i + 1];
        s->config.unit[i] = s->config.unit[i + 1];
    }
    s->unit[s->config.unit_count] = NULL;
    event_send(s, F_HOTPLUG, EVENT_TRANSPORT_RESET, REASON_REMOVED, &gone);
}

static void notify(struct virtio *v, unsigned n)
{
    if (n == QUEUE_EVENT && of(v)->event_missed) event_send(of(v), virtio_has(v, F_HOTPLUG) ? F_HOTPLUG : F_CHANGE, 0, 0, NULL);
    if (n >= QUEUE_REQUEST) {
        of(v)->now_bytes = NOW_BYTES;
        virtio_serve(v, n, request_serve);
    }
    if (n != QUEUE_CONTROL) return;
    virtio_serve(v, n, control_serve);
    virtio_interrupt(v, &v->queue[n]);
}

/* ---- life ---- */

static void config_fill(struct scsi *s)
{
    *(struct layout *)s->v.config = (struct layout){
        .num_queues = le32_make(s->config.queues), .seg_max = le32_make(s->config.queue_size - 2u), .max_sectors = le32_make(0xffff),
        .cmd_per_lun = le32_make(128), .event_info_size = le32_make(16), .sense_size = le32_make(SENSE_BYTES), .cdb_size = le32_make(CDB_BYTES),
        .max_target = le16_make(VIRTIO_SCSI_TARGETS - 1), .max_lun = le32_make(VIRTIO_SCSI_LUNS - 1),
    };
}

static void config_written(struct virtio *v, unsigned offset, unsigned size) { config_fill(of(v)); }

static void queue_stop(struct virtio *v, unsigned n)
{
    struct scsi *s = of(v);

    if (n < QUEUE_REQUEST) return;
    s->stopping = &v->queue[n];
    for (unsigned i = 0; i < s->config.unit_count; i++) scsi_unit_drain(s->unit[i], request_abort);
    s->stopping = NULL;
}

static void reset(struct virtio *v)
{
    struct scsi *s = of(v);

    config_fill(s);
    s->event_missed = false;
    for (unsigned i = 0; i < s->config.unit_count; i++) scsi_unit_reset(s->unit[i]);
}

static void destroy(struct virtio *v)
{
    struct scsi *s = of(v);

    for (unsigned i = 0; i < VIRTIO_SCSI_UNITS; i++) scsi_unit_free(s->unit[i]);
    virtio_fini(v);
    free(s);
}

static void info(struct virtio *v, void (*print)(void *opaque, const char *line), void *opaque)
{
    const struct scsi *s = of(v);
    char line[128];

    for (unsigned i = 0; i < s->config.unit_count; i++) {
        const struct virtio_scsi_unit_config *u = &s->config.unit[i];

        snprintf(line, sizeof(line), "target %u lun %u: %s%s, %u requests in flight", u->target, u->lun, u->unit.is_cdrom ? "CD-ROM" : "disk",
                 u->unit.node ? "" : ", empty", scsi_unit_in_flight(s->unit[i]));
        print(opaque, line);
    }
}

static const struct virtio_ops ops = {
    .name = "virtio-scsi-pci", .description = "virtio SCSI adapter", .type = VIRTIO_SCSI, .pci_class = 0x010000, .notify = notify,
    .config_written = config_written, .queue_stop = queue_stop, .reset = reset, .destroy = destroy, .info = info,
};

void virtio_scsi_retry(struct virtio *v)
{
    for (unsigned i = 0; i < of(v)->config.unit_count; i++) scsi_unit_retry(of(v)->unit[i]);
}

/* The reason is ASC and ASCQ, in the order of the bytes. */
void virtio_scsi_resized(struct virtio *v, unsigned n)
{
    struct scsi *s = of(v);

    scsi_unit_resized(s->unit[n]);
    if (s->config.unit[n].unit.is_cdrom) return;         /* 5.6.6.3.2: those tell it themselves */
    event_send(s, F_CHANGE, EVENT_PARAM_CHANGE, SCSI_ASC_CAPACITY >> 8 | (SCSI_ASC_CAPACITY & 0xff) << 8, &s->config.unit[n]);
}

struct virtio *virtio_scsi_new(const struct virtio_scsi_config *config, struct error *err)
{
    struct scsi *s = calloc(1, sizeof(*s));
    uint16_t sizes[VIRTIO_QUEUES_MAX];
    uint64_t features = (config->no_hotplug ? 0 : BIT(F_HOTPLUG)) | (config->no_param_change ? 0 : BIT(F_CHANGE));
    bool enough = s != NULL;

    for (unsigned i = 0; i < config->unit_count && enough; i++) enough = (s->unit[i] = scsi_unit_new(&config->unit[i].unit)) != NULL;
    if (s) {
        s->config = *config;
        s->v.id = config->id;
        s->v.config_bytes = sizeof(struct layout);
        for (unsigned n = 0; n < ARRAY_SIZE(sizes); n++) sizes[n] = config->queue_size;
    }
    if (!enough) error_set(err, "no memory for a SCSI adapter");
    if (!enough || virtio_init(&s->v, &ops, config->memory, features, &config->options, config->queues + QUEUES_OTHER, sizes, err) < 0) {
        if (s) destroy(&s->v);
        return NULL;
    }
    reset(&s->v);
    return &s->v;
}
