/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Descriptor rings of the 82540EM. Transmit descriptors are worked off when TDT is written, on the thread that does; a packet is
 * put together in one buffer, and what the card was to compute in it (checksums, segments) becomes the frame's header, so that
 * the backend may do it or leave it. Descriptors are copied once; lengths and indices are the guest's and are checked.
 *
 * Source: the Software Developer's Manual, 3.2 (receive), 3.3 (transmit), 3.5 (segmentation).
 */
#include <string.h>

#include "base/loop.h"
#include "device/net/e1000_private.h"
#include "net/offload.h"

enum { DESCRIPTOR = 16, ETHER = 14, CRC = 4, MIN_FRAME = 60, MAX_FRAME = 1522, MAX_JUMBO = 16384, VLAN_TAG = 4, DESCRIPTORS_A_ROUND = 256, PIECES_A_ROUND = 8192 };
enum { CMD_EOP = 1 << 24, CMD_IC = 1 << 26, CMD_TSE = 1 << 26, CMD_RS = 1 << 27, CMD_RPS = 1 << 28, CMD_DEXT = 1 << 29, CMD_VLE = 1 << 30,
       DTYP_DATA = 1 << 20, TUCMD_IP = 1 << 25, POPTS_IXSM = 1, POPTS_TXSM = 2, DESC_DD = 1 };
enum { RX_DD = 1, RX_EOP = 2, RX_VP = 8, RX_TCPCS = 0x20, RX_IPCS = 0x40, RXCSUM_IPOFL = 0x100, RXCSUM_TUOFL = 0x200 };

struct descriptor { le64 address; le32 lower, upper; } __attribute__((packed));
struct rx_descriptor { le64 address; le16 length, checksum; uint8_t status, errors; le16 special; } __attribute__((packed));

static uint64_t ring_at(struct e1000 *s, unsigned base, unsigned index)
{
    return (*e1000_reg(s, base) & ~15u) + ((uint64_t)*e1000_reg(s, base + 4) << 32) + (uint64_t)index * DESCRIPTOR;
}

static uint16_t get16(const uint8_t *p) { return (uint16_t)(p[0] << 8 | p[1]); }

/* ---- transmit ---- */

void e1000_transmit_reset(struct e1000 *s)
{
    s->frame_bytes = 0;
    s->too_long = s->frame_waits = s->insert_ip = s->insert_tcp = s->segment = s->insert_vlan = false;
}

static void checksum_insert(struct e1000 *s, size_t from, size_t at, size_t end)
{
    uint16_t sum;

    if (!end || end >= s->frame_bytes) end = s->frame_bytes - 1;
    if (from > end || at + 2 > s->frame_bytes) return;
    sum = (uint16_t)~net_sum_fold(net_sum(0, s->frame + from, end + 1 - from));
    memcpy(s->frame + at, &sum, 2);
}

/* Drivers leave the IP length 0: the card knows it from the segments. */
static bool segment_prepare(struct e1000 *s, struct net_header *h)
{
    struct net_packet p;
    size_t bytes;

    if (!s->context.mss || !net_packet_find(s->frame, s->frame_bytes, &p) || !p.is_tcp) return false;
    bytes = s->frame_bytes - p.l3 - (p.is_ipv6 ? 40 : 0);
    if (bytes > 65535) return false;
    s->frame[p.l3 + (p.is_ipv6 ? 4 : 2)] = (uint8_t)(bytes >> 8);
    s->frame[p.l3 + (p.is_ipv6 ? 5 : 3)] = (uint8_t)bytes;
    if (!p.is_ipv6) {
        memset(s->frame + p.l3 + 10, 0, 2);
        checksum_insert(s, p.l3, p.l3 + 10, p.l4 - 1);
    }
    net_gso_prepare(s->frame, s->frame_bytes, &p, s->context.mss, h);
    return true;
}

static void vlan_insert(struct e1000 *s, struct net_header *h)
{
    uint8_t tag[VLAN_TAG] = { (uint8_t)(*e1000_reg(s, VET) >> 8), (uint8_t)*e1000_reg(s, VET), (uint8_t)(s->vlan >> 8), (uint8_t)s->vlan };

    if (s->frame_bytes + VLAN_TAG > sizeof(s->frame)) return;
    memmove(s->frame + 12 + VLAN_TAG, s->frame + 12, s->frame_bytes - 12);
    memcpy(s->frame + 12, tag, VLAN_TAG);
    s->frame_bytes += VLAN_TAG;
    if (h->flags & NET_NEEDS_CSUM) h->csum_start += VLAN_TAG;
    if (h->gso_type) h->header_bytes += VLAN_TAG;
}

static bool frame_send(struct e1000 *s)
{
    struct iovec iov = { s->frame, s->frame_bytes };
    struct net_frame f = { s->frame_header, &iov, 1, s->frame_bytes };

    s->frame_waits = !net_send(s->config.backend, 0, &f);
    if (s->frame_waits) return false;
    s->pieces += net_send_pieces(s->config.backend, &f);
    ++*e1000_reg(s, GPTC);
    ++*e1000_reg(s, TPT);
    e1000_transmit_reset(s);
    return true;
}

/* The packet is whole. false: it waits for the backend. */
static bool frame_finish(struct e1000 *s)
{
    struct net_header h = { .flags = 0 };
    const struct e1000_context *c = &s->context;
    bool good = s->frame_bytes >= ETHER && !s->too_long && *e1000_reg(s, STATUS) & STATUS_LU;

    if (good && s->segment) good = segment_prepare(s, &h);
    else if (good) {
        if (s->insert_ip) checksum_insert(s, c->ipcss, c->ipcso, c->ipcse);
        if (s->insert_tcp && c->tucso >= c->tucss && !c->tucse)
            h = (struct net_header){ .flags = NET_NEEDS_CSUM, .csum_start = c->tucss, .csum_offset = (uint16_t)(c->tucso - c->tucss) };
        else if (s->insert_tcp) checksum_insert(s, c->tucss, c->tucso, c->tucse);
    }
    if (!good) {
        e1000_transmit_reset(s);
        return true;
    }
    if (s->insert_vlan) vlan_insert(s, &h);
    s->frame_header = h;
    return frame_send(s);
}

static void context_set(struct e1000 *s, const uint8_t *d)
{
    uint32_t command;

    memcpy(&command, d + 8, 4);
    s->context = (struct e1000_context){ .ipcss = d[0], .ipcso = d[1], .ipcse = (uint16_t)(d[2] | d[3] << 8), .tucss = d[4], .tucso = d[5],
                                         .tucse = (uint16_t)(d[6] | d[7] << 8), .header_bytes = d[13], .mss = (uint16_t)(d[14] | d[15] << 8),
                                         .is_ipv4 = command & TUCMD_IP };
}

static void data_add(struct e1000 *s, uint64_t address, size_t bytes)
{
    if (bytes > sizeof(s->frame) - s->frame_bytes) s->too_long = true;
    if (s->too_long) return;
    pci_dma_read(&s->pci, address, s->frame + s->frame_bytes, bytes);
    s->frame_bytes += bytes;
}

/* A checksum over what follows, of descriptors without context. */
static void legacy_options(struct e1000 *s, uint32_t lower, uint32_t upper)
{
    unsigned at = lower >> 16 & 0xff, from = upper >> 8 & 0xff;

    if (lower & CMD_IC && lower & CMD_EOP) checksum_insert(s, from, at, 0);
}

/* false: the packet is whole and waits. */
static bool descriptor_take(struct e1000 *s, const struct descriptor *d)
{
    uint32_t lower = le32_get(d->lower), upper = le32_get(d->upper);
    bool first = !s->frame_bytes && !s->too_long;

    if (lower & CMD_DEXT && !(lower & DTYP_DATA)) {
        context_set(s, (const uint8_t *)d);
        return true;
    }
    if (lower & CMD_DEXT) {
        if (first) {
            s->insert_ip = upper >> 8 & POPTS_IXSM;
            s->insert_tcp = upper >> 8 & POPTS_TXSM;
            s->segment = lower & CMD_TSE;
        }
        data_add(s, le64_get(d->address), lower & 0xfffff);
    } else {
        data_add(s, le64_get(d->address), lower & 0xffff);
        if (!s->too_long) legacy_options(s, lower, upper);
    }
    if (lower & CMD_VLE && *e1000_reg(s, CTRL) & CTRL_VME) {
        s->insert_vlan = true;
        s->vlan = (uint16_t)(upper >> 16);
    }
    return !(lower & CMD_EOP) || frame_finish(s);
}

static uint32_t write_back(struct e1000 *s, uint64_t at, struct descriptor *d)
{
    if (!(le32_get(d->lower) & (CMD_RS | CMD_RPS))) return 0;
    d->upper = le32_make(le32_get(d->upper) | DESC_DD);
    pci_dma_write(&s->pci, at + 12, &d->upper, 4);
    return ICR_TXDW;
}

/* The ring once around at most, since the driver's tail may be outside of it. false: not done with it, but for this round. */
static bool round_transmit(struct e1000 *s)
{
    uint32_t entries = *e1000_reg(s, TDLEN) / DESCRIPTOR, *head = e1000_reg(s, TDH), causes = ICR_TXQE, n = 0;
    bool goes_on = true;

    s->pieces = 0;
    for (; goes_on && n < DESCRIPTORS_A_ROUND && s->pieces < PIECES_A_ROUND && s->left && *head < entries && *head != *e1000_reg(s, TDT); n++, s->left--) {
        uint64_t at = ring_at(s, TDBAL, *head);
        struct descriptor d;

        if (!pci_dma_read(&s->pci, at, &d, sizeof(d))) break;
        goes_on = descriptor_take(s, &d);
        causes |= write_back(s, at, &d);
        *head = *head + 1 == entries ? 0 : *head + 1;
    }
    net_send_end(s->config.backend, 0);
    e1000_cause(s, causes);
    return n < DESCRIPTORS_A_ROUND && s->pieces < PIECES_A_ROUND;
}

static void round_next(void *opaque)
{
    struct e1000 *s = opaque;

    s->is_posted = false;
    if (!(*e1000_reg(s, TCTL) & TCTL_EN) || (s->frame_waits && !frame_send(s)) || round_transmit(s)) return;
    s->is_posted = true;
    loop_post(round_next, s);
}

/* A ring may have 65528 descriptors, each with a frame that is cut into thousands: others get their turn in between. */
void e1000_transmit(struct e1000 *s)
{
    s->left = *e1000_reg(s, TDLEN) / DESCRIPTOR;
    if (!s->is_posted) round_next(s);
}

/* ---- receive ---- */

static size_t buffer_bytes(struct e1000 *s)
{
    uint32_t rctl = *e1000_reg(s, RCTL);
    size_t bytes = 2048u >> (rctl >> 16 & 3);

    return rctl & RCTL_BSEX && rctl >> 16 & 3 ? bytes * 16 : bytes;
}

static uint32_t free_descriptors(struct e1000 *s)
{
    uint32_t entries = *e1000_reg(s, RDLEN) / DESCRIPTOR, head = *e1000_reg(s, RDH), tail = *e1000_reg(s, RDT);

    if (head >= entries || tail >= entries) return 0;
    return tail >= head ? tail - head : entries - head + tail;
}

static bool address_passes(struct e1000 *s, const uint8_t *to)
{
    static const unsigned shift[] = { 4, 3, 2, 0 };
    uint32_t rctl = *e1000_reg(s, RCTL), hash;
    bool is_broadcast = (to[0] & to[1] & to[2] & to[3] & to[4] & to[5]) == 0xff;

    if (to[0] & 1 ? rctl & RCTL_MPE || (is_broadcast && rctl & RCTL_BAM) : rctl & RCTL_UPE) return true;
    for (unsigned i = 0; i < 16; i++) {
        uint8_t mac[8];

        memcpy(mac, e1000_reg(s, RAL + 8 * i), 8);
        if (mac[7] & 0x80 && !memcmp(mac, to, 6)) return true;
    }
    if (!(to[0] & 1)) return false;
    hash = (uint32_t)(to[5] << 8 | to[4]) >> shift[rctl >> 12 & 3] & 0xfff;
    return *e1000_reg(s, MTA + 4 * (hash >> 5)) >> (hash & 31) & 1;
}

static bool vlan_passes(struct e1000 *s, const uint8_t *frame)
{
    unsigned id = get16(frame + 14) & 0xfff;

    if (!(*e1000_reg(s, RCTL) & RCTL_VFE) || get16(frame + 12) != (*e1000_reg(s, VET) & 0xffff)) return true;
    return *e1000_reg(s, VFTA + 4 * (id >> 5)) >> (id & 31) & 1;
}

/* Only of what has been checked already: this card has no engine of its own for it. */
static uint8_t checksum_status(struct e1000 *s, const struct net_frame *f, const uint8_t *head)
{
    if (!(f->header.flags & NET_DATA_VALID) || get16(head + 12) != 0x0800 || (head[23] != 6 && head[23] != 17)) return 0;
    return (*e1000_reg(s, RXCSUM) & RXCSUM_TUOFL ? RX_TCPCS : 0) | (*e1000_reg(s, RXCSUM) & RXCSUM_IPOFL ? RX_IPCS : 0);
}

struct source { const struct iovec *iov; unsigned left; size_t at; };

static size_t piece_next(struct source *from, size_t most, const uint8_t **data)
{
    size_t here;

    while (from->left && from->at == from->iov->iov_len) {
        from->iov++;
        from->left--;
        from->at = 0;
    }
    if (!from->left) return 0;
    here = MIN(from->iov->iov_len - from->at, most);
    *data = (const uint8_t *)from->iov->iov_base + from->at;
    from->at += here;
    return here;
}

static void source_skip(struct source *from, size_t bytes)
{
    const uint8_t *data;
    size_t here;

    while (bytes && (here = piece_next(from, bytes, &data))) bytes -= here;
}

/* One buffer's worth. What is behind the frame's end (padding, CRC) is left as it is but for zeros up to the shortest frame. */
static void buffer_fill(struct e1000 *s, struct source *from, uint64_t address, size_t bytes)
{
    static const uint8_t zeros[MIN_FRAME];
    const uint8_t *data;
    size_t here;

    while (bytes && (here = piece_next(from, bytes, &data))) {
        pci_dma_write(&s->pci, address, data, here);
        address += here;
        bytes -= here;
    }
    if (bytes) pci_dma_write(&s->pci, address, zeros, MIN(bytes, sizeof(zeros)));
}

static void frame_store(struct e1000 *s, struct source *from, size_t total, uint8_t status, uint16_t vlan)
{
    uint32_t entries = *e1000_reg(s, RDLEN) / DESCRIPTOR, *head = e1000_reg(s, RDH);
    size_t room = buffer_bytes(s);

    while (total) {
        uint64_t at = ring_at(s, RDBAL, *head);
        size_t here = MIN(room, total);
        struct rx_descriptor d;

        if (!pci_dma_read(&s->pci, at, &d, sizeof(d))) return;
        total -= here;
        if (le64_get(d.address)) buffer_fill(s, from, le64_get(d.address), here);
        d.length = le16_make((uint16_t)here);
        d.checksum = le16_make(0);
        d.status = RX_DD | (total ? 0 : RX_EOP | status);
        d.errors = 0;
        d.special = le16_make(vlan);
        pci_dma_write(&s->pci, at + 8, (uint8_t *)&d + 8, 8);
        *head = *head + 1 == entries ? 0 : *head + 1;
    }
}

bool e1000_receive(void *opaque, unsigned queue, const struct net_frame *f)
{
    struct e1000 *s = opaque;
    struct source from = { f->iov, f->count, 0 };
    uint32_t rctl = *e1000_reg(s, RCTL);
    uint8_t head[MIN_FRAME] = { 0 }, status;
    size_t have = 0, total = MAX(f->bytes, (size_t)MIN_FRAME), here;
    uint16_t vlan = 0;
    const uint8_t *data;

    if (!(rctl & RCTL_EN) || !(*e1000_reg(s, STATUS) & STATUS_LU) || !(s->pci.config[4] & 4)) return true;
    if (total > (rctl & RCTL_LPE ? MAX_JUMBO : MAX_FRAME) || f->bytes < ETHER) return true;
    while (have < sizeof(head) && (here = piece_next(&from, sizeof(head) - have, &data))) {
        memcpy(head + have, data, here);
        have += here;
    }
    if (!address_passes(s, head) || !vlan_passes(s, head)) return true;
    status = checksum_status(s, f, head);
    from = (struct source){ f->iov, f->count, 0 };
    total += rctl & RCTL_SECRC ? 0 : CRC;
    if ((uint64_t)free_descriptors(s) * buffer_bytes(s) < total) {
        s->starved = true;
        return false;
    }
    ++*e1000_reg(s, GPRC);
    ++*e1000_reg(s, TPR);
    s->filled = true;
    if (*e1000_reg(s, CTRL) & CTRL_VME && get16(head + 12) == (*e1000_reg(s, VET) & 0xffff)) {
        struct iovec rest[NET_PIECES_MAX] = { { head, 12 } };

        vlan = get16(head + 14);
        source_skip(&from, 12 + VLAN_TAG);
        if (from.left + 1 > ARRAY_SIZE(rest)) return true;
        memcpy(rest + 1, from.iov, from.left * sizeof(*rest));
        if (from.left) {
            rest[1].iov_base = (uint8_t *)rest[1].iov_base + from.at;
            rest[1].iov_len -= from.at;
        }
        frame_store(s, &(struct source){ rest, from.left + 1, 0 }, total - VLAN_TAG, status | RX_VP, vlan);
        return true;
    }
    frame_store(s, &from, total, status, 0);
    return true;
}

void e1000_received(void *opaque, unsigned queue)
{
    struct e1000 *s = opaque;
    uint32_t entries = *e1000_reg(s, RDLEN) / DESCRIPTOR, causes = ICR_RXT0;

    if (!s->filled) return;
    s->filled = false;
    if (free_descriptors(s) <= entries >> ((*e1000_reg(s, RCTL) >> 8 & 3) + 1)) causes |= ICR_RXDMT0;
    e1000_cause(s, causes);
}
