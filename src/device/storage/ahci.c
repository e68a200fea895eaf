/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * AHCI: registers, ports, command slots, FISes. What the commands do is ahci_command.c.
 *
 * A write to PxCI takes the commands of its slots, in the order of their numbers: queued ones at once, of the others one at a time. An error
 * halts the port until the driver clears PxCMD.ST, which forgets everything that is under way; requests on the host end unheard. All addresses,
 * lengths and counts are the guest's: headers and FISes are copied once, and what does not lie in its memory is an error.
 * Limits: no port multipliers, no hot plug of drives, no power management beyond what drivers expect, one MSI.
 * Sources: Serial ATA AHCI 1.3.1; Intel I/O Controller Hub 9 data sheet, 14 (identity).
 */
#include "device/storage/ahci.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/bits.h"
#include "base/error.h"
#include "base/log.h"
#include "device/storage/ahci_private.h"

enum { CAP = 0, GHC = 4, IS = 8, PI = 0xc, VS = 0x10, PORTS_AT = 0x100, PORT_BYTES = 0x80, MMIO_BYTES = 0x1000, IO_BYTES = 32, IO_INDEX = 16, IO_DATA = 20 };
enum { GHC_HR = 1, GHC_IE = 2, GHC_AE = (int)0x80000000, CAPABILITIES = (int)0xc0141f00 | (AHCI_PORTS - 1) };
enum { PxCLB = 0, PxCLBU = 4, PxFB = 8, PxFBU = 0xc, PxIS = 0x10, PxIE = 0x14, PxCMD = 0x18, PxTFD = 0x20, PxSIG = 0x24, PxSSTS = 0x28, PxSCTL = 0x2c, PxSERR = 0x30,
       PxSACT = 0x34, PxCI = 0x38 };
enum { CMD_ST = 1, CMD_SUD = 2, CMD_POD = 4, CMD_CLO = 8, CMD_FRE = 0x10, CMD_FR = 1 << 14, CMD_CR = 1 << 15, CMD_ATAPI = 1 << 24, CMD_ICC = (int)0xf0000000,
       CMD_WRITABLE = CMD_ST | CMD_SUD | CMD_POD | CMD_FRE | CMD_ATAPI };
enum { SSTS_PRESENT = 0x113, SIG_DISK = 0x101, SIG_CDROM = (int)0xeb140101, FIS_PIO_AT = 0x20, FIS_D2H_AT = 0x40, FIS_SDB_AT = 0x58, CONTROL_SRST = 4, IE_WRITABLE = (int)0xfdc000ff };

struct header { le32 options, done; le64 table; le32 reserved[4]; } __attribute__((packed));

static struct ahci *of(struct device *d) { return container_of(d, struct ahci, pci.device); }
static bool is_present(const struct ahci_port *p) { return p->config.kind != IDE_NONE; }
static gpa_t list_at(const struct ahci_port *p) { return p->clb | (gpa_t)p->clbu << 32; }

/* ---- interrupts ---- */

static void interrupt_update(struct ahci *s)
{
    bool up;

    for (unsigned i = 0; i < AHCI_PORTS; i++)
        if (s->port[i].is & s->port[i].ie) s->is |= 1u << i;
    up = s->is && s->ghc & GHC_IE;
    if (!pci_msi_is_enabled(&s->pci)) pci_intx_set(&s->pci, up);
    else if (up) pci_msi_send(&s->pci, 0);
}

static void cause(struct ahci_port *p, uint32_t bits)
{
    p->is |= bits;
    interrupt_update(p->ahci);
}

static void fis_store(struct ahci_port *p, unsigned at, const uint8_t *fis, size_t size)
{
    if (p->cmd & CMD_FRE) pci_dma_write(&p->ahci->pci, (p->fb | (gpa_t)p->fbu << 32) + at, fis, size);
}

/* ---- ends of commands ---- */

void ahci_request_free(struct ahci_request *r)
{
    free(r->iov);
    free(r->gpa);
    free(r->ranges);
    free(r);
}

static void slots_serve(struct ahci_port *p);

static void request_remove(struct ahci_request *r)
{
    struct ahci_port *p = r->port;

    for (struct ahci_request **link = &p->first; *link; link = &(*link)->next) {
        if (*link != r) continue;
        *link = r->next;
        break;
    }
    p->taken &= ~(1u << r->slot);
    if (!r->is_queued) p->is_busy = false;
    ahci_request_free(r);
}

static void tail_d2h(struct ahci_port *p, const uint8_t *command, uint8_t status, uint8_t error, uint32_t causes)
{
    uint8_t fis[AHCI_FIS_BYTES] = { 0x34, 0x40, status, error };

    memcpy(fis + 4, command + 4, 10);                    /* addresses and counts are given back */
    fis[11] = 0;
    fis_store(p, FIS_D2H_AT, fis, sizeof(fis));
    p->tfd = status | (uint32_t)error << 8;
    cause(p, causes);
}

static void tail_queued(struct ahci_request *r, uint8_t status, uint8_t error)
{
    struct ahci_port *p = r->port;
    uint8_t fis[8] = { 0xa1, 0x40, status & 0x77, error };
    le32 done = le32_make(status & ATA_ERR ? 0 : 1u << r->slot);

    memcpy(fis + 4, &done, 4);
    fis_store(p, FIS_SDB_AT, fis, sizeof(fis));
    p->tfd = status | (uint32_t)error << 8;
    if (!(status & ATA_ERR)) p->sact &= ~(1u << r->slot);
    else {
        memset(p->log, 0, sizeof(p->log));
        p->log[0] = (uint8_t)r->slot;
        p->log[2] = status;
        p->log[3] = error;
        memcpy(p->log + 4, r->fis + 4, 10);
        for (unsigned i = 0; i < AHCI_SECTOR - 1; i++) p->log[AHCI_SECTOR - 1] -= p->log[i];
    }
    cause(p, IS_SDBS | (status & ATA_ERR ? (uint32_t)IS_TFES : 0));
}

void ahci_end(struct ahci_request *r, uint8_t status, uint8_t error)
{
    struct ahci_port *p = r->port;
    bool failed = status & ATA_ERR;

    if (failed) {
        trace(TRACE_IDE, "ahci port %u: command %02x in slot %u ends with error %02x\n", p->number, r->fis[2], r->slot, error);
        p->is_halted = true;
    } else if (!r->is_queued) p->ci &= ~(1u << r->slot);
    if (r->is_queued) tail_queued(r, status, error);
    else tail_d2h(p, r->fis, status, error, IS_DHRS | (failed ? (uint32_t)IS_TFES : 0));
    request_remove(r);
    slots_serve(p);
}

static void done_write(struct ahci_request *r, uint32_t bytes)
{
    le32 done = le32_make(bytes);

    pci_dma_write(&r->port->ahci->pci, list_at(r->port) + r->slot * sizeof(struct header) + offsetof(struct header, done), &done, sizeof(done));
}

void ahci_end_data(struct ahci_request *r, uint32_t bytes)
{
    struct ahci_port *p = r->port;
    uint8_t fis[AHCI_FIS_BYTES] = { 0x5f, 0x60, ATA_GOOD | ATA_DRQ, 0 };

    memcpy(fis + 4, r->fis + 4, 10);
    fis[11] = 0;
    fis[15] = ATA_GOOD;
    fis[16] = (uint8_t)bytes;
    fis[17] = (uint8_t)(bytes >> 8);
    done_write(r, bytes);
    fis_store(p, FIS_PIO_AT, fis, sizeof(fis));
    p->tfd = ATA_GOOD;
    p->ci &= ~(1u << r->slot);
    cause(p, IS_PSS);
    request_remove(r);
    slots_serve(p);
}

void ahci_end_packet(struct ahci_request *r, uint32_t bytes)
{
    done_write(r, bytes);
    ahci_end(r, ATA_GOOD, 0);
}

/* ---- starts of commands ---- */

/* SRST is set by one FIS and cleared by another; then the drive tells who it is. */
static void control_fis(struct ahci_port *p, const uint8_t *fis)
{
    static const uint8_t disk[AHCI_FIS_BYTES] = { [4] = 1, [12] = 1 }, cdrom[AHCI_FIS_BYTES] = { [4] = 1, [5] = 0x14, [6] = 0xeb, [12] = 1 };
    bool set = fis[15] & CONTROL_SRST;

    if (p->in_reset && !set) {
        p->sig = p->config.kind == IDE_CDROM ? (uint32_t)SIG_CDROM : SIG_DISK;
        tail_d2h(p, p->config.kind == IDE_CDROM ? cdrom : disk, p->config.kind == IDE_CDROM ? 0 : ATA_GOOD, 1, IS_DHRS);
    }
    p->in_reset = set;
}

static bool slot_take(struct ahci_port *p, unsigned slot)
{
    struct ahci_request *r;
    struct header h;
    uint8_t table[0x50];

    if (!pci_dma_read(&p->ahci->pci, list_at(p) + slot * sizeof(h), &h, sizeof(h)) ||
        !pci_dma_read(&p->ahci->pci, le64_get(h.table) & ~127ull, table, sizeof(table)) || table[0] != 0x27) {
        trace(TRACE_GUEST_ERRORS, "ahci port %u: slot %u has no command\n", p->number, slot);
        p->ci &= ~(1u << slot);
        return true;
    }
    if (!(table[1] & 0x80)) {
        p->ci &= ~(1u << slot);
        control_fis(p, table);
        return true;
    }
    r = calloc(1, sizeof(*r));
    if (!r) return false;
    r->port = p;
    r->slot = slot;
    r->node = p->config.node;
    memcpy(r->fis, table, sizeof(r->fis));
    memcpy(r->cdb, table + 0x40, sizeof(r->cdb));
    r->table = le64_get(h.table) & ~127ull;
    r->prd_count = le32_get(h.options) >> 16;
    r->is_queued = (table[2] == 0x60 || table[2] == 0x61) && p->config.kind == IDE_DISK;
    if (r->is_queued) p->ci &= ~(1u << slot);
    else p->is_busy = true;
    p->tfd = ATA_GOOD | (r->is_queued ? 0 : ATA_BSY);
    p->taken |= 1u << slot;
    r->next = p->first;
    p->first = r;
    trace(TRACE_IDE, "ahci port %u: slot %u command %02x, %u pieces\n", p->number, slot, r->fis[2], r->prd_count);
    ahci_command_start(r);
    return true;
}

static void slots_serve(struct ahci_port *p)
{
    uint32_t rest = p->ci & ~p->taken;

    while (rest && p->cmd & CMD_ST && is_present(p) && !p->is_busy && !p->is_halted) {
        unsigned slot = (unsigned)__builtin_ctz(rest);

        rest &= ~(1u << slot);
        if (!slot_take(p, slot)) return;
        rest &= p->ci & ~p->taken;
    }
}

/* What is under way ends unheard. */
static void port_forget(struct ahci_port *p)
{
    p->is_halted = true;                                 /* what ends now starts nothing */
    if (p->unit) scsi_unit_drain(p->unit, ahci_unit_drop);
    for (struct ahci_request *r; (r = p->first);) {
        p->first = r->next;
        r->port = NULL;
        if (!r->in_flight) ahci_request_free(r);
    }
    p->ci = p->sact = p->taken = 0;
    p->is_busy = p->is_halted = false;
}

static void port_reset(struct ahci_port *p)
{
    port_forget(p);
    p->in_reset = false;
    p->tfd = 0x7f;
    p->sig = UINT32_MAX;
    p->write_cache = p->config.write_cache;
    if (p->unit) scsi_unit_reset(p->unit);
}

/* After a COMRESET, or when the port begins to take FISes: the drive's first one. */
static void drive_greet(struct ahci_port *p)
{
    static const uint8_t off[AHCI_FIS_BYTES] = { [15] = 0 };

    if (!is_present(p) || p->tfd != 0x7f) return;
    p->in_reset = true;
    control_fis(p, off);
}

/* ---- registers ---- */

static void command_write(struct ahci_port *p, uint32_t value)
{
    uint32_t before = p->cmd;

    p->cmd = value & CMD_WRITABLE;
    if (p->cmd & CMD_FRE) p->cmd |= CMD_FR;
    if (p->cmd & CMD_ST) p->cmd |= CMD_CR;
    if (before & CMD_ST && !(value & CMD_ST)) port_forget(p);
    if (value & CMD_CLO) p->tfd &= ~(uint32_t)(ATA_BSY | ATA_DRQ);
    if (value & CMD_FRE && !(before & CMD_FRE)) drive_greet(p);
    slots_serve(p);
}

static void control_write(struct ahci_port *p, uint32_t value)
{
    bool was = (p->sctl & 15) == 1, is = (value & 15) == 1;

    p->sctl = value;
    if (is && !was) port_reset(p);
    if (!is && was && is_present(p)) {
        p->serr |= 1 << 26;                              /* exchanged */
        drive_greet(p);
        cause(p, IS_PCS);
    }
}

static void port_write(struct ahci_port *p, unsigned at, uint32_t value)
{
    switch (at) {
    case PxCLB: p->clb = value & ~1023u; break;
    case PxCLBU: p->clbu = value; break;
    case PxFB: p->fb = value & ~255u; break;
    case PxFBU: p->fbu = value; break;
    case PxIS: p->is &= ~value; interrupt_update(p->ahci); break;
    case PxIE: p->ie = value & (uint32_t)IE_WRITABLE; interrupt_update(p->ahci); break;
    case PxCMD: command_write(p, value); break;
    case PxSCTL: control_write(p, value); break;
    case PxSERR: p->serr &= ~value; break;
    case PxSACT: if (p->cmd & CMD_ST) p->sact |= value; break;
    case PxCI:
        if (!(p->cmd & CMD_ST)) break;
        p->ci |= value;
        slots_serve(p);
        break;
    default: trace(TRACE_UNIMP, "ahci port %u: write of %#x to %#x\n", p->number, value, at);
    }
}

static uint32_t port_read(const struct ahci_port *p, unsigned at)
{
    switch (at) {
    case PxCLB: return p->clb;
    case PxCLBU: return p->clbu;
    case PxFB: return p->fb;
    case PxFBU: return p->fbu;
    case PxIS: return p->is;
    case PxIE: return p->ie;
    case PxCMD: return p->cmd | (p->taken ? (uint32_t)__builtin_ctz(p->taken) << 8 : 0);
    case PxTFD: return p->tfd;
    case PxSIG: return p->sig;
    case PxSSTS: return is_present(p) && (p->sctl & 15) != 4 ? SSTS_PRESENT : 0;
    case PxSCTL: return p->sctl;
    case PxSERR: return p->serr;
    case PxSACT: return p->sact;
    case PxCI: return p->ci;
    default: return 0;
    }
}

static void controller_reset(struct ahci *s)
{
    s->ghc = (uint32_t)GHC_AE;
    s->is = 0;
    for (unsigned i = 0; i < AHCI_PORTS; i++) {
        struct ahci_port *p = &s->port[i];

        p->is = p->ie = p->sctl = p->serr = 0;
        p->cmd = CMD_SUD | CMD_POD;
        port_reset(p);
    }
    pci_intx_set(&s->pci, 0);
}

static uint64_t mmio_read(void *opaque, uint64_t offset, unsigned size)
{
    struct ahci *s = opaque;

    if (offset >= PORTS_AT && (offset - PORTS_AT) / PORT_BYTES < AHCI_PORTS) return port_read(&s->port[(offset - PORTS_AT) / PORT_BYTES], offset % PORT_BYTES & ~3u);
    switch (offset) {
    case CAP: return (uint32_t)CAPABILITIES;
    case GHC: return s->ghc;
    case IS: return s->is;
    case PI: return (1u << AHCI_PORTS) - 1;
    case VS: return 0x10000;
    default: return 0;
    }
}

static void mmio_write(void *opaque, uint64_t offset, uint64_t wide, unsigned size)
{
    struct ahci *s = opaque;
    uint32_t value = (uint32_t)wide;

    if (offset >= PORTS_AT && (offset - PORTS_AT) / PORT_BYTES < AHCI_PORTS) {
        port_write(&s->port[(offset - PORTS_AT) / PORT_BYTES], offset % PORT_BYTES & ~3u, value);
        return;
    }
    if (offset == GHC && value & GHC_HR) controller_reset(s);
    else if (offset == GHC) s->ghc = (value & GHC_IE) | (uint32_t)GHC_AE;
    else if (offset == IS) s->is &= ~value;
    interrupt_update(s);
}

static const struct io_ops mmio_io = { mmio_read, mmio_write, 4, 4 };

/* Index and data, for who cannot reach memory. */
static uint64_t io_read(void *opaque, uint64_t offset, unsigned size)
{
    struct ahci *s = opaque;

    if (offset == IO_INDEX) return s->index;
    return offset == IO_DATA ? mmio_read(s, s->index, 4) : 0;
}

static void io_write(void *opaque, uint64_t offset, uint64_t value, unsigned size)
{
    struct ahci *s = opaque;

    if (offset == IO_INDEX) s->index = (uint32_t)value & (MMIO_BYTES - 1) & ~3u;
    else if (offset == IO_DATA) mmio_write(s, s->index, value, 4);
}

static const struct io_ops io_io = { io_read, io_write, 4, 4 };

/* ---- life ---- */

void ahci_retry(struct device *d)
{
    struct ahci *s = of(d);

    for (unsigned i = 0; i < AHCI_PORTS; i++) {
        if (s->port[i].unit) scsi_unit_retry(s->port[i].unit);
        for (struct ahci_request *r = s->port[i].first, *next; r; r = next) {
            next = r->next;
            if (r->held) ahci_command_retry(r);
        }
    }
}

static void reset(struct device *d)
{
    struct ahci *s = of(d);

    s->index = 0;
    for (unsigned i = 0; i < AHCI_PORTS; i++) s->port[i].clb = s->port[i].clbu = s->port[i].fb = s->port[i].fbu = 0;
    controller_reset(s);
}

static void destroy(struct device *d)
{
    struct ahci *s = of(d);

    for (unsigned i = 0; i < AHCI_PORTS; i++) {
        port_forget(&s->port[i]);
        if (s->port[i].config.node) block_drain(s->port[i].config.node);
        if (s->port[i].unit) scsi_unit_free(s->port[i].unit);
    }
    if (s->pci.bus) pci_device_remove(&s->pci);
    free(s);
}

static void info(struct device *d, void (*print)(void *opaque, const char *line), void *opaque)
{
    const struct ahci *s = of(d);
    char line[160];

    for (unsigned i = 0; i < AHCI_PORTS; i++) {
        const struct ahci_port *p = &s->port[i];

        if (!is_present(p)) continue;
        snprintf(line, sizeof(line), "port %u: %s, CMD %08x, TFD %04x, CI %08x, SACT %08x, under way %08x%s", i, p->config.kind == IDE_CDROM ? "CD-ROM" : "disk", p->cmd,
                 p->tfd, p->ci, p->sact, p->taken, p->is_halted ? ", halted by an error" : "");
        print(opaque, line);
    }
}

static const struct state_field state[] = { STATE_ARRAY(struct ahci, pci.config), STATE_FIELD(struct ahci, ghc), STATE_FIELD(struct ahci, is), STATE_END };
static const struct pci_device_ops ops = {
    .device = { .name = "ich9-ahci", .description = "AHCI Serial ATA controller (ICH9)", .reset = reset, .destroy = destroy, .state = state, .info = info },
};

int ahci_disc_change(struct device *d, unsigned port, struct block_node *node, bool force, struct block_node **old, struct error *err)
{
    struct ahci_port *p = &((struct ahci *)d)->port[port];

    if (scsi_unit_disc_change(p->unit, node, force, old, err) < 0) return -1;
    p->config.node = node;
    return 0;
}

struct scsi_unit *ahci_unit(const struct device *d, unsigned port) { return ((const struct ahci *)d)->port[port].unit; }

void ahci_disc_put(struct device *d, unsigned port, struct block_node *node)
{
    struct ahci_port *p = &((struct ahci *)d)->port[port];

    scsi_unit_disc_put(p->unit, node);
    p->config.node = node;
}

struct tray_state ahci_tray(const struct device *d, unsigned port) { return scsi_unit_tray(((const struct ahci *)d)->port[port].unit); }

static int ports_create(struct ahci *s, struct error *err)
{
    for (unsigned i = 0; i < AHCI_PORTS; i++) {
        struct ahci_port *p = &s->port[i];
        struct scsi_unit_config unit = { .node = s->config.drive[i].node, .is_cdrom = true, .serial = s->config.drive[i].serial, .on_error = s->config.drive[i].on_error,
                                         .tray = s->config.drive[i].tray, .identity = { .version = s->config.drive[i].identity.version } };

        p->ahci = s;
        p->number = i;
        p->config = s->config.drive[i];
        block_done_anywhere(p->config.node);
        if (p->config.kind == IDE_CDROM && !(p->unit = scsi_unit_new(&unit))) return error_set(err, "no memory for a CD-ROM drive");
    }
    return 0;
}

struct device *ahci_new(const struct ahci_config *config, struct error *err)
{
    struct ahci *s = calloc(1, sizeof(*s));

    if (!s) {
        error_set(err, "no memory for an AHCI controller");
        return NULL;
    }
    s->config = *config;
    if (ports_create(s, err) < 0 || pci_device_init(&s->pci, &ops, config->bus, config->devfn, 0x8086, 0x2922, 0x01060102, err) < 0) {
        destroy(&s->pci.device);
        return NULL;
    }
    s->pci.device.id = config->id;
    s->pci.config[0x3d] = 1;
    memcpy(s->pci.config + 0xaa, (const uint8_t[]){ 0x10, 0, 0x48 }, 3);        /* index and data in BAR 4 */
    pci_capability_add(&s->pci, 0x12, 0xa8);
    pci_msi_add(&s->pci, 1);
    pci_bar_add_io(&s->pci, 4, IO_BYTES, PCI_BAR_IO, &io_io, s, "ahci-index");
    pci_bar_add_io(&s->pci, 5, MMIO_BYTES, 0, &mmio_io, s, "ahci");
    reset(&s->pci.device);
    return &s->pci.device;
}
