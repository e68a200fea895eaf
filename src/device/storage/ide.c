/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Channels, registers and the bus master of the PIIX3's IDE function.
 *
 * A register write goes to both drives of a channel, a read comes from the selected one. Data moves through the data port
 * between a drive's buffer and the CPU, or along the PRD table between a request's buffer and guest memory; the host's
 * file is never touched on a vCPU thread. A reset orphans requests in flight: they end by themselves, unheard.
 * The legacy ports answer always (IDETIM's decode bits are kept).
 * Sources: Intel 82371SB data sheet 290550; ATA/ATAPI-6 (T13 1410D); Programming Interface for Bus Master IDE 1.0.
 */
#include "device/storage/ide.h"

#include <stdlib.h>
#include <string.h>

#include "base/bits.h"
#include "base/error.h"
#include "base/log.h"
#include "device/storage/ide_private.h"

enum { CONTROL_NIEN = 2, CONTROL_SRST = 4 };
enum { BM_START = 1, BM_TO_MEMORY = 8, BM_ACTIVE = 1, BM_ERROR = 2, BM_IRQ = 4, BM_CAPABLE = 0x60 };

static struct ide_drive *selected(struct ide_channel *c) { return &c->drive[c->select]; }

/* ---- interrupts ---- */

static void irq_update(struct ide_channel *c)
{
    struct ide_drive *d = selected(c);

    irq_set(&c->ide->config.irq[c->number], d->irq && !(c->control & CONTROL_NIEN));
}

void ide_irq(struct ide_drive *d)
{
    d->irq = 1;
    if (d == selected(d->channel)) {
        if (!(d->channel->control & CONTROL_NIEN)) d->channel->bm_status |= BM_IRQ;
        irq_update(d->channel);
    }
}

void ide_finish(struct ide_drive *d)
{
    d->status = ST_DRDY | ST_DSC;
    d->at = d->end = 0;
    d->step = NULL;
    ide_irq(d);
}

void ide_abort(struct ide_drive *d, uint8_t error)
{
    d->error = error;
    d->status = ST_DRDY | ST_DSC | ST_ERR;
    d->at = d->end = 0;
    d->step = NULL;
    d->dma_waiting = false;
    trace(TRACE_IDE, "ide%u: command %02x ends with error %02x\n", d->number, d->command, error);
    ide_irq(d);
}

/* ---- PIO ---- */

void ide_pio(struct ide_drive *d, uint32_t bytes, bool to_device, ide_step_fn *then, bool interrupt)
{
    d->at = 0;
    d->end = bytes;
    d->to_device = to_device;
    d->step = then;
    d->status = ST_DRDY | ST_DSC | ST_DRQ;
    if (interrupt) ide_irq(d);
}

static void pio_advance(struct ide_drive *d)
{
    ide_step_fn *step = d->step;

    if (d->at < d->end) return;
    d->at = d->end = 0;
    d->step = NULL;
    d->status &= ~ST_DRQ;
    if (step) step(d);
}

static uint64_t data_read(struct ide_drive *d, unsigned size)
{
    uint64_t value = 0;
    uint32_t n = MIN((uint32_t)size, d->end - d->at);

    if (!(d->status & ST_DRQ) || d->to_device || !n) return 0;
    memcpy(&value, d->data + d->at, n);
    d->at += n;
    pio_advance(d);
    return value;
}

static void data_write(struct ide_drive *d, uint64_t value, unsigned size)
{
    uint32_t n = MIN((uint32_t)size, d->end - d->at);

    if (!(d->status & ST_DRQ) || !d->to_device || !n) return;
    memcpy(d->data + d->at, &value, n);
    d->at += n;
    pio_advance(d);
}

/* ---- requests ---- */

/* The result that the drive sees; false: the request is held, nobody hears of it yet. */
static bool result_settle(struct ide_request *r, int *result)
{
    if (!*result || !r->drive) return true;
    switch (block_error_action(&r->drive->config.on_error, r->kind == IDE_READ, *result)) {
    case BLOCK_ERROR_STOP:
        r->held = true;
        return false;
    case BLOCK_ERROR_IGNORE:
        if (r->kind == IDE_READ) memset(r->buffer, 0, r->bytes);
        *result = 0;
        return true;
    default: return true;
    }
}

static void request_done(void *opaque, int result)
{
    struct ide_request *r = opaque;
    struct ide_drive *d = r->drive;

    if (!result_settle(r, &result)) return;
    if (d) r->done(d, result);
    if (d && d->request == r) d->request = NULL;
    free(r->buffer);
    free(r);
}

/* NULL: out of memory, the command was aborted. */
static struct ide_request *request_new(struct ide_drive *d, enum ide_request_kind kind, uint64_t offset, uint32_t bytes, ide_result_fn *done)
{
    struct ide_request *r = calloc(1, sizeof *r);

    if (r && bytes) r->buffer = malloc(bytes);
    if (!r || (bytes && !r->buffer)) {
        free(r);
        ide_abort(d, ER_ABRT);
        return NULL;
    }
    r->kind = kind;
    r->offset = offset;
    r->bytes = bytes;
    r->drive = d;
    r->done = done;
    d->request = r;
    d->status = (d->status & ~ST_DRQ) | ST_BSY;
    return r;
}

static void request_submit(struct ide_request *r)
{
    struct block_node *node = r->drive->config.node;
    struct iovec iov = { r->buffer, r->bytes };

    r->held = false;
    switch (r->kind) {
    case IDE_READ: block_read(node, r->offset, &iov, 1, request_done, r); break;
    case IDE_WRITE: block_write(node, r->offset, &iov, 1, request_done, r); break;
    case IDE_FLUSH: block_flush(node, request_done, r); break;
    }
}

void ide_read(struct ide_drive *d, uint64_t offset, uint32_t bytes, ide_result_fn *done)
{
    struct ide_request *r = request_new(d, IDE_READ, offset, bytes, done);

    if (r) request_submit(r);
}

void ide_write(struct ide_drive *d, uint64_t offset, const uint8_t *from, uint32_t bytes, ide_result_fn *done)
{
    struct ide_request *r = request_new(d, IDE_WRITE, offset, bytes, done);

    if (!r) return;
    memcpy(r->buffer, from, bytes);
    request_submit(r);
}

void ide_flush(struct ide_drive *d, ide_result_fn *done)
{
    struct ide_request *r = request_new(d, IDE_FLUSH, 0, 0, done);

    if (r) request_submit(r);
}

void ide_orphan(struct ide_drive *d)
{
    struct ide_request *r = d->request;

    d->request = NULL;
    if (!r) return;
    r->drive = NULL;
    if (!r->held) return;                              /* it ends by itself */
    free(r->buffer);
    free(r);
}

/* ---- bus master ---- */

static bool dma_is_on(const struct ide_channel *c) { return c->bm_command & BM_START && c->bm_status & BM_ACTIVE; }

void ide_dma(struct ide_drive *d, ide_step_fn *then)
{
    d->status = ST_DRDY | ST_DSC | ST_DRQ;
    d->dma_start = then;
    d->dma_waiting = true;
    if (!dma_is_on(d->channel)) return;
    d->dma_waiting = false;
    then(d);
}

void ide_dma_end(struct ide_drive *d)
{
    struct ide_channel *c = d->channel;

    if (c->prd_end && !c->prd_left) c->bm_status &= ~BM_ACTIVE;
}

void ide_dma_fail(struct ide_drive *d) { d->channel->bm_status = (d->channel->bm_status & ~BM_ACTIVE) | BM_ERROR; }

static bool prd_next(struct ide_channel *c)
{
    uint32_t entry[2];

    if (c->prd_end) return false;
    if (!pci_dma_read(&c->ide->pci, c->prd_next, entry, sizeof entry)) return false;
    c->prd_next += 8;
    /* The table may not cross 64 KiB: a guest's endless one ends there. */
    c->prd_end = entry[1] >> 31 || ((c->prd_next ^ c->prd_table) & ~0xffffu);
    c->prd_address = entry[0] & ~1u;
    c->prd_left = entry[1] & 0xfffe ? entry[1] & 0xfffe : 0x10000;
    return true;
}

uint32_t ide_prd_copy(struct ide_drive *d, uint8_t *buffer, uint32_t bytes, bool to_memory)
{
    struct ide_channel *c = d->channel;
    uint32_t done = 0;

    while (done < bytes) {
        uint32_t n;
        if (!c->prd_left && !prd_next(c)) break;
        n = MIN(bytes - done, c->prd_left);
        if (to_memory) pci_dma_write(&c->ide->pci, c->prd_address, buffer + done, n);
        else if (!pci_dma_read(&c->ide->pci, c->prd_address, buffer + done, n)) memset(buffer + done, 0xff, n);
        c->prd_address += n;
        c->prd_left -= n;
        done += n;
    }
    return done;
}

static void bm_command_write(struct ide_channel *c, uint8_t value)
{
    bool starts = value & BM_START && !(c->bm_command & BM_START);

    c->bm_command = value & (BM_START | BM_TO_MEMORY);
    if (!(value & BM_START)) {
        c->bm_status &= ~BM_ACTIVE;
        return;
    }
    if (!starts) return;
    c->bm_status |= BM_ACTIVE;
    c->prd_next = c->prd_table;
    c->prd_left = 0;
    c->prd_end = false;
    if (selected(c)->dma_waiting) {
        selected(c)->dma_waiting = false;
        selected(c)->dma_start(selected(c));
    }
}

static uint64_t bm_read(void *opaque, uint64_t offset, unsigned size)
{
    struct ide *s = opaque;
    struct ide_channel *c = &s->channel[offset >> 3 & 1];
    uint64_t all = c->bm_command | (uint64_t)c->bm_status << 16 | (uint64_t)c->prd_table << 32;

    return all >> 8 * (offset & 7);
}

static void bm_write(void *opaque, uint64_t offset, uint64_t value, unsigned size)
{
    struct ide *s = opaque;
    struct ide_channel *c = &s->channel[offset >> 3 & 1];

    for (unsigned n = 0; n < size; n++, value >>= 8) {
        unsigned at = (offset + n) & 7;
        uint8_t byte = value;
        if (at == 2) c->bm_status = (c->bm_status & ~BM_CAPABLE & ~(byte & (BM_ERROR | BM_IRQ))) | (byte & BM_CAPABLE);
        else if (at >= 4) c->prd_table = (c->prd_table & ~(0xffu << 8 * (at - 4))) | (uint32_t)byte << 8 * (at - 4);
        if (at == 7 || (at == 4 && size == 1)) c->prd_table &= ~3u;
        if (at == 0) bm_command_write(c, byte);
    }
}

static const struct io_ops bm_io = { bm_read, bm_write, 1, 4 };

/* ---- resets ---- */

void ide_signature(struct ide_drive *d)
{
    bool cd = d->config.kind == IDE_CDROM;

    d->count = d->low = 1;
    d->mid = cd ? 0x14 : 0;
    d->high = cd ? 0xeb : 0;
    d->device &= DEV_UNIT;
}

static void drive_reset(struct ide_drive *d)
{
    ide_orphan(d);
    d->at = d->end = 0;
    d->step = NULL;
    d->dma_waiting = false;
    d->irq = 0;
    d->hob_feature = d->hob_count = d->hob_low = d->hob_mid = d->hob_high = 0;
    d->error = 1;                                      /* diagnostics: passed */
    d->status = d->config.kind == IDE_DISK ? ST_DRDY | ST_DSC : 0;
    ide_signature(d);
    if (d->config.kind == IDE_DISK) ata_reset(d);
    if (d->config.kind == IDE_CDROM) atapi_reset(d);
}

static void channel_reset(struct ide_channel *c)
{
    for (unsigned n = 0; n < 2; n++) {
        drive_reset(&c->drive[n]);
        c->drive[n].device = 0;
    }
    c->select = 0;
    irq_update(c);
}

/* ---- commands ---- */

static void diagnostic(struct ide_channel *c)
{
    channel_reset(c);
    if (c->drive[0].config.kind != IDE_NONE) ide_irq(&c->drive[0]);
    else if (c->drive[1].config.kind != IDE_NONE) ide_irq(&c->drive[1]);
}

static void command_write(struct ide_channel *c, uint8_t value)
{
    struct ide_drive *d = selected(c);

    if (c->control & CONTROL_SRST) return;
    if (value == 0x90) {                               /* EXECUTE DEVICE DIAGNOSTIC is for both */
        diagnostic(c);
        return;
    }
    if (d->config.kind == IDE_NONE) return;
    trace(TRACE_IDE, "ide%u: command %02x feature %02x count %02x lba %02x%02x%02x device %02x\n", d->number, value, d->feature, d->count,
          d->high, d->mid, d->low, d->device);
    d->irq = 0;
    irq_update(c);
    /* A drive that is busy takes nothing but DEVICE RESET. */
    if (d->status & ST_BSY && !(value == 8 && d->config.kind == IDE_CDROM)) return;
    ide_orphan(d);
    d->command = value;
    d->error = 0;
    d->dma_waiting = false;
    d->step = NULL;
    d->at = d->end = 0;
    d->status = ST_DRDY | ST_DSC;
    if (d->config.kind == IDE_CDROM) atapi_command(d);
    else ata_command(d);
}

static void file_write(struct ide_channel *c, unsigned at, uint8_t value)
{
    for (unsigned n = 0; n < 2; n++) {
        struct ide_drive *d = &c->drive[n];
        switch (at) {
        case 1: d->hob_feature = d->feature; d->feature = value; break;
        case 2: d->hob_count = d->count; d->count = value; break;
        case 3: d->hob_low = d->low; d->low = value; break;
        case 4: d->hob_mid = d->mid; d->mid = value; break;
        case 5: d->hob_high = d->high; d->high = value; break;
        default: d->device = value; break;
        }
    }
    c->control &= ~0x80;                               /* HOB falls with any write to the command block */
    if (at == 6) {
        c->select = value >> 4 & 1;
        irq_update(c);
    }
}

static uint8_t status_read(struct ide_channel *c, bool clears)
{
    struct ide_drive *d = selected(c);

    if (d->config.kind == IDE_NONE) return 0;
    if (clears && d->irq) {
        d->irq = 0;
        irq_update(c);
    }
    return d->status;
}

static uint8_t file_read(struct ide_channel *c, unsigned at)
{
    struct ide_drive *d = selected(c);
    bool hob = c->control & 0x80;

    if (c->drive[0].config.kind == IDE_NONE && c->drive[1].config.kind == IDE_NONE) return at == 7 ? 0 : 0xff;
    if (at == 7) return status_read(c, true);
    if (d->config.kind == IDE_NONE && at != 6) return 0;
    switch (at) {
    case 1: return hob ? d->hob_feature : d->error;
    case 2: return hob ? d->hob_count : d->count;
    case 3: return hob ? d->hob_low : d->low;
    case 4: return hob ? d->hob_mid : d->mid;
    case 5: return hob ? d->hob_high : d->high;
    default: return d->device | 0xa0;
    }
}

static uint64_t block_registers_read(void *opaque, uint64_t offset, unsigned size)
{
    struct ide_channel *c = opaque;
    uint64_t value = 0;

    if (offset == 0) return data_read(selected(c), size);
    for (unsigned n = 0; n < size && offset + n < 8; n++) value |= (uint64_t)file_read(c, offset + n) << 8 * n;
    return value;
}

static void block_registers_write(void *opaque, uint64_t offset, uint64_t value, unsigned size)
{
    struct ide_channel *c = opaque;

    if (offset == 0) {
        data_write(selected(c), value, size);
        return;
    }
    for (unsigned n = 0; n < size && offset + n < 8; n++, value >>= 8) {
        if (offset + n == 7) command_write(c, value);
        else file_write(c, offset + n, value);
    }
}

static uint64_t control_read(void *opaque, uint64_t offset, unsigned size) { return status_read(opaque, false); }

static void control_write(void *opaque, uint64_t offset, uint64_t value, unsigned size)
{
    struct ide_channel *c = opaque;
    uint8_t old = c->control;

    c->control = value;
    if (value & CONTROL_SRST && !(old & CONTROL_SRST)) {
        for (unsigned n = 0; n < 2; n++) {
            struct ide_drive *d = &c->drive[n];
            ide_orphan(d);
            d->dma_waiting = false;
            d->status = ST_BSY;
        }
    }
    if (!(value & CONTROL_SRST) && old & CONTROL_SRST) channel_reset(c);
    irq_update(c);
}

static const struct io_ops block_io = { block_registers_read, block_registers_write, 1, 4 };
static const struct io_ops control_io = { control_read, control_write, 1, 1 };

/* ---- device ---- */

void ide_put_text(uint16_t *words, const char *text, unsigned bytes)
{
    for (unsigned n = 0; n < bytes; n += 2) {
        uint8_t first = *text ? (uint8_t)*text++ : ' ', second = *text ? (uint8_t)*text++ : ' ';
        words[n / 2] = first << 8 | second;
    }
}

void ide_put_medium(uint16_t *w, const struct drive_identity *i)
{
    unsigned exponent = drive_physical_exponent(i);

    w[106] = (uint16_t)(0x4000 | (exponent ? 0x2000 : 0) | exponent);
    w[217] = (uint16_t)drive_rotation_rate(i);
}

void ide_put_identity(uint16_t *w, const struct drive_identity *i, const char *model)
{
    ide_put_text(w + 23, i->version ? i->version : "1.0", 8);
    ide_put_text(w + 27, i->product ? i->product : model, 40);
    if (!i->wwn) return;
    w[84] |= 0x4100;
    w[87] |= 0x4100;
    for (unsigned n = 0; n < 4; n++) w[108 + n] = (uint16_t)(i->wwn >> (48 - 16 * n));
}

void ide_retry(struct device *device)
{
    struct ide *s = (struct ide *)device;

    for (unsigned n = 0; n < 4; n++) {
        struct ide_drive *d = &s->channel[n >> 1].drive[n & 1];
        if (d->request && d->request->held) request_submit(d->request);
    }
}

static void ide_reset(struct device *device)
{
    struct ide *s = (struct ide *)device;

    memset(s->pci.config + 0x40, 0, 8);
    for (unsigned n = 0; n < 2; n++) {
        struct ide_channel *c = &s->channel[n];
        c->control = c->bm_command = c->bm_status = 0;
        c->prd_table = 0;
        channel_reset(c);
    }
}

static void ide_destroy(struct device *device)
{
    struct ide *s = (struct ide *)device;

    for (unsigned n = 0; n < 4; n++) {
        struct ide_drive *d = &s->channel[n >> 1].drive[n & 1];
        ide_orphan(d);
        free(d->data);
    }
    for (unsigned n = 0; n < 2; n++)
        for (unsigned k = 0; k < 2; k++) if (s->channel[n].range[k]) memory_range_remove(s->channel[n].range[k]);
    free(s);
}

static const struct state_field ide_state[] = { STATE_ARRAY(struct ide, pci.config), STATE_END };
static const struct pci_device_ops ide_ops = {
    .device = { "piix3-ide", "82371SB IDE controller", ide_reset, ide_destroy, ide_state, NULL, NULL },
};

static int drives_create(struct ide *s, struct error *err)
{
    for (unsigned n = 0; n < 4; n++) {
        struct ide_channel *c = &s->channel[n >> 1];
        struct ide_drive *d = &c->drive[n & 1];
        c->ide = d->ide = s;
        c->number = n >> 1;
        d->channel = c;
        d->number = n;
        d->config = s->config.drive[n];
        block_done_anywhere(d->config.node);
        if (d->config.kind != IDE_NONE && !(d->data = calloc(1, IDE_BUFFER))) return error_set(err, "IDE: out of memory");
    }
    return 0;
}

struct device *ide_new(const struct ide_config *config, struct error *err)
{
    static const uint16_t base[2] = { 0x1f0, 0x170 }, control[2] = { 0x3f6, 0x376 };
    struct ide *s = calloc(1, sizeof *s);

    if (!s) {
        error_set(err, "IDE: out of memory");
        return NULL;
    }
    s->config = *config;
    if (drives_create(s, err) < 0 ||
        pci_device_init(&s->pci, &ide_ops, config->bus, config->devfn, 0x8086, 0x7010, 0x01018000, err) < 0) {
        ide_destroy(&s->pci.device);
        return NULL;
    }
    s->pci.config[6] = 0x80;                           /* PCISTS: fast back-to-back, medium DEVSEL# timing */
    s->pci.config[7] = 2;
    memset(s->pci.writable + 0x40, 0xff, 5);
    pci_bar_add_io(&s->pci, 4, 16, PCI_BAR_IO, &bm_io, s, "ide-bus-master");
    for (unsigned n = 0; n < 2; n++) {
        s->channel[n].range[0] = memory_map_add_io(config->ports, "ide", base[n], 8, &block_io, &s->channel[n], 2);
        s->channel[n].range[1] = memory_map_add_io(config->ports, "ide-control", control[n], 1, &control_io, &s->channel[n], 2);
    }
    ide_reset(&s->pci.device);
    return &s->pci.device;
}
