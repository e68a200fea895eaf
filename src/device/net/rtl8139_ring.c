/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Frames of the RTL8139C+. As an 8139 it has four transmit descriptors in registers and one receive buffer, a ring of bytes in which
 * each frame lies behind a header of status and length. As a C+ it has rings of descriptors in memory; checksums and segments that
 * the card was to make become the frame's header, so that the backend may do them or leave them.
 *
 * Frames that find no room wait on the host, and the guest is told (RXOVW); a driver of the C+ tells of new buffers in memory only, so
 * a timer looks again. In loopback mode nobody waits, what finds no room is missed. So is a frame longer than the buffer of the C+'s next descriptor,
 * for which no room will come: it is not spread over several, which drivers do not expect.
 * Sources: RTL8139C+ data sheet, 6 (registers) and 9 (C+ mode).
 */
#include <string.h>

#include "base/clock.h"
#include "base/loop.h"
#include "device/net/rtl8139_private.h"
#include "net/offload.h"

enum { RING_MAX = 64, DESCRIPTOR = 16, ETHER = 14, MIN_FRAME = 60, MAX_FRAME = 1522, CRC = 4, TAG = 4, AGAIN_NS = 1000000 };
enum { OWN = (int)0x80000000, EOR = 1 << 30, FS = 1 << 29, LS = 1 << 28, LGSEN = 1 << 27, IPCS = 1 << 18, UDPCS = 1 << 17, TCPCS = 1 << 16, TAGC = 1 << 17,
       TX_ERRORS = 0x2f << 20, MSS_SHIFT = 16, MSS_MASK = 0x7ff };
enum { RX_MAR = 1 << 26, RX_PAM = 1 << 25, RX_BAR = 1 << 24, RX_SIZE = 0x1fff, TAVA = 1 << 16 };
enum { HEAD_ROK = 1, HEAD_BAR = 0x2000, HEAD_PAM = 0x4000, HEAD_MAR = 0x8000 };

struct descriptor { le32 command, vlan, address, address_high; } __attribute__((packed));
struct tally {
    le64 tx_ok, rx_ok, tx_errors;
    le32 rx_errors;
    le16 missed, alignment;
    le32 one_collision, more_collisions;
    le64 rx_own, rx_broadcast;
    le32 rx_multicast;
    le16 tx_aborted, tx_underrun;
} __attribute__((packed));

static bool is_loop(const struct rtl8139 *s) { return (rtl8139_get32(s, TCR) & TCR_LOOPBACK) == TCR_LOOPBACK; }
static uint64_t address_get(const struct descriptor *d) { return le32_get(d->address) | (uint64_t)le32_get(d->address_high) << 32; }
static unsigned descriptor_next(unsigned n, uint32_t command) { return command & EOR || n + 1 >= RING_MAX ? 0 : n + 1; }

void rtl8139_tally_dump(struct rtl8139 *s)
{
    struct tally t = { .tx_ok = le64_make(s->tx_ok), .rx_ok = le64_make(s->rx_ok), .missed = le16_make((uint16_t)s->missed), .rx_own = le64_make(s->rx_own),
                       .rx_broadcast = le64_make(s->rx_broadcast), .rx_multicast = le32_make(s->rx_multicast) };

    pci_dma_write(&s->pci, (s->tsd[0] & ~63u) | (uint64_t)s->tsd[1] << 32, &t, sizeof(t));
    s->tsd[0] &= ~8u;
}

/* ---- receive ---- */

enum outcome { TAKEN, MISSED, NO_ROOM };

/* The header's flags of an address that passes; 0: it does not. */
static unsigned address_check(struct rtl8139 *s, const uint8_t *to)
{
    static const uint8_t everyone[6] = { 0xff, 0xff, 0xff, 0xff, 0xff, 0xff };
    uint32_t rcr = rtl8139_get32(s, RCR);
    unsigned hash;

    if (rcr & RCR_AAP) return HEAD_ROK;
    if (!memcmp(to, everyone, 6)) {
        s->rx_broadcast += !!(rcr & RCR_AB);
        return rcr & RCR_AB ? HEAD_ROK | HEAD_BAR : 0;
    }
    if (to[0] & 1) {
        hash = nic_hash64(to);
        if (!(rcr & RCR_AM) || !(s->reg[MAR0 + (hash >> 3)] >> (hash & 7) & 1)) return 0;
        s->rx_multicast++;
        return HEAD_ROK | HEAD_MAR;
    }
    if (!(rcr & RCR_APM) || memcmp(to, s->reg + IDR0, 6)) return 0;
    s->rx_own++;
    return HEAD_ROK | HEAD_PAM;
}

static enum outcome descriptor_fill(struct rtl8139 *s, uint8_t *frame, size_t bytes, unsigned flags)
{
    uint64_t at = (rtl8139_get32(s, RDSAR) | (uint64_t)rtl8139_get32(s, RDSAR + 4) << 32) + (uint64_t)s->rx_next * DESCRIPTOR;
    uint32_t command, vlan;
    struct descriptor d;
    le32 crc;

    if (!pci_dma_read(&s->pci, at, &d, sizeof(d)) || !(le32_get(d.command) & OWN)) return NO_ROOM;
    command = le32_get(d.command);
    vlan = le32_get(d.vlan) & ~(uint32_t)TAVA;
    if (rtl8139_get16(s, CPCR) & CPCR_RXVLAN && bytes >= ETHER + TAG && frame[12] == 0x81 && !frame[13]) {
        vlan = TAVA | frame[14] | (uint32_t)frame[15] << 8;
        memmove(frame + 12, frame + 12 + TAG, bytes - 12 - TAG);
        bytes -= TAG;
        if (bytes < MIN_FRAME) {
            memset(frame + bytes, 0, MIN_FRAME - bytes);
            bytes = MIN_FRAME;
        }
    }
    if (bytes + CRC > (command & RX_SIZE)) return MISSED;
    crc = le32_make(nic_crc32(0, frame, bytes));
    memcpy(frame + bytes, &crc, CRC);
    pci_dma_write(&s->pci, address_get(&d), frame, bytes + CRC);
    command = (command & EOR) | FS | LS | (flags & HEAD_BAR ? RX_BAR : 0) | (flags & HEAD_MAR ? RX_MAR : 0) | (flags & HEAD_PAM ? RX_PAM : 0) | (uint32_t)(bytes + CRC);
    d.command = le32_make(command);
    d.vlan = le32_make(vlan);
    pci_dma_write(&s->pci, at + 4, &d.vlan, 4);
    pci_dma_write(&s->pci, at, &d.command, 4);
    s->rx_next = descriptor_next(s->rx_next, command);
    return TAKEN;
}

/* With WRAP a frame may run over the buffer's end, where drivers leave room; the largest buffer cannot. */
static void buffer_put(struct rtl8139 *s, const void *data, uint32_t bytes)
{
    uint32_t ring = rtl8139_ring_bytes(s), base = rtl8139_get32(s, RBSTART), first = bytes;

    if (s->rx_write + bytes > ring && !(ring < 65536 && rtl8139_get32(s, RCR) & RCR_WRAP)) first = ring - MIN(s->rx_write, ring);
    pci_dma_write(&s->pci, base + (uint64_t)s->rx_write, data, first);
    s->rx_write += first;
    if (first == bytes) return;
    pci_dma_write(&s->pci, base, (const uint8_t *)data + first, bytes - first);
    s->rx_write = bytes - first;
}

static enum outcome buffer_fill(struct rtl8139 *s, const uint8_t *frame, size_t bytes, unsigned flags)
{
    uint32_t ring = rtl8139_ring_bytes(s), room = (s->rx_read - s->rx_write) & (ring - 1);
    le32 head = le32_make(flags | (uint32_t)(bytes + CRC) << 16), crc = le32_make(nic_crc32(0, frame, bytes));

    if (room && ALIGN_UP(bytes + CRC + 4, 4) >= room) return NO_ROOM;
    buffer_put(s, &head, 4);
    buffer_put(s, frame, (uint32_t)bytes);
    buffer_put(s, &crc, CRC);
    s->rx_write = ALIGN_UP(s->rx_write, 4u) & (ring - 1);
    return TAKEN;
}

/* frame has room for the CRC. */
static enum outcome frame_take(struct rtl8139 *s, uint8_t *frame, size_t bytes)
{
    unsigned flags = address_check(s, frame);
    enum outcome o;

    if (!flags) return TAKEN;
    if (bytes < MIN_FRAME) {
        memset(frame + bytes, 0, MIN_FRAME - bytes);
        bytes = MIN_FRAME;
    }
    o = rtl8139_get16(s, CPCR) & CPCR_RE ? descriptor_fill(s, frame, bytes, flags) : buffer_fill(s, frame, bytes, flags);
    if (o == TAKEN) s->rx_ok++;
    if (o == MISSED) s->missed++;
    rtl8139_cause(s, o == TAKEN ? ISR_ROK : ISR_RXOVW);
    return o;
}

bool rtl8139_receive(void *opaque, unsigned queue, const struct net_frame *f)
{
    struct rtl8139 *s = opaque;
    uint8_t frame[MAX_FRAME + MIN_FRAME + CRC];

    if (!(s->cr & CR_RE) || is_loop(s) || f->bytes > MAX_FRAME || f->bytes < ETHER) return true;
    if (s->starved) return false;
    if (frame_take(s, frame, net_frame_copy(f, frame)) != NO_ROOM) return true;
    s->starved = true;
    timer_arm_ns(s->again, clock_virtual_ns() + AGAIN_NS);
    return false;
}

void rtl8139_receive_again(struct rtl8139 *s)
{
    if (!s->starved) return;
    s->starved = false;
    timer_disarm(s->again);
    net_receive_ready(s->config.backend, 0);
}

/* ---- transmit ---- */

static void frame_loop(struct rtl8139 *s)
{
    if (!(s->cr & CR_RE) || s->frame_bytes < ETHER || s->frame_bytes > MAX_FRAME) return;
    if (s->frame_header.flags & NET_NEEDS_CSUM) net_csum_finish(s->frame, s->frame_bytes, &s->frame_header);
    if (frame_take(s, s->frame, s->frame_bytes) == NO_ROOM) s->missed++;
}

/* false: it waits. */
static bool frame_send(struct rtl8139 *s)
{
    struct iovec iov = { s->frame, s->frame_bytes };

    s->frame_waits = !is_loop(s) && !net_send(s->config.backend, 0, &(struct net_frame){ s->frame_header, &iov, 1, s->frame_bytes });
    if (s->frame_waits) return false;
    if (is_loop(s)) frame_loop(s);
    s->frame_bytes = 0;
    s->tx_ok++;
    return true;
}

/* Descriptors of the registers, in turn. */
static void registers_transmit(struct rtl8139 *s)
{
    for (unsigned n = 0; n < 4 && !s->frame_waits && !(s->tsd[s->tx_next] & TSD_OWN); n++) {
        uint32_t *tsd = &s->tsd[s->tx_next];
        size_t bytes = *tsd & TSD_SIZE;

        pci_dma_read(&s->pci, rtl8139_get32(s, TSAD0 + 4 * s->tx_next), s->frame, bytes);
        s->frame_bytes = bytes;
        s->frame_header = (struct net_header){ 0 };
        *tsd |= TSD_OWN | TSD_TOK;
        s->tx_next = (s->tx_next + 1) % 4;
        if (bytes >= ETHER) frame_send(s);
        rtl8139_cause(s, ISR_TOK);
    }
}

/* Checksums of IP here, those of TCP and UDP and the segments are left to the backend. false: this is no such packet. */
static bool offloads_prepare(struct rtl8139 *s, uint32_t command)
{
    struct net_packet p;
    uint16_t sum;

    if (!net_packet_find(s->frame, s->frame_bytes, &p)) return !(command & LGSEN);
    if (!p.is_ipv6 && command & (LGSEN | IPCS) && p.l4 <= s->frame_bytes) {
        memset(s->frame + p.l3 + 10, 0, 2);
        sum = (uint16_t)~net_sum_fold(net_sum(0, s->frame + p.l3, p.l4 - p.l3));
        memcpy(s->frame + p.l3 + 10, &sum, 2);
    }
    if (command & LGSEN) {
        unsigned mss = command >> MSS_SHIFT & MSS_MASK;

        if (!mss || !p.is_tcp) return false;
        if (p.end > p.payload + mss) net_gso_prepare(s->frame, s->frame_bytes, &p, mss, &s->frame_header);
        command = TCPCS;
    }
    if (s->frame_header.gso_type || p.is_fragment || p.end > s->frame_bytes || !(command & (p.is_tcp ? TCPCS : UDPCS))) return true;
    if (!p.is_tcp && s->frame[p.l3 + (p.is_ipv6 ? 6 : 9)] != 17) return true;
    if (p.end < p.l4 + (p.is_tcp ? 20 : 8)) return true;
    sum = net_sum_fold(net_pseudo_sum(s->frame, &p, p.end - p.l4));
    memcpy(s->frame + p.l4 + (p.is_tcp ? 16 : 6), &sum, 2);
    s->frame_header = (struct net_header){ .flags = NET_NEEDS_CSUM, .csum_start = (uint16_t)p.l4, .csum_offset = p.is_tcp ? 16 : 6 };
    return true;
}

static void tag_insert(struct rtl8139 *s, uint32_t vlan)
{
    uint8_t tag[TAG] = { 0x81, 0, (uint8_t)vlan, (uint8_t)(vlan >> 8) };

    if (s->frame_bytes + TAG > sizeof(s->frame)) return;
    memmove(s->frame + 12 + TAG, s->frame + 12, s->frame_bytes - 12);
    memcpy(s->frame + 12, tag, TAG);
    s->frame_bytes += TAG;
    if (s->frame_header.flags & NET_NEEDS_CSUM) s->frame_header.csum_start += TAG;
    if (s->frame_header.gso_type) s->frame_header.header_bytes += TAG;
}

static void frame_finish(struct rtl8139 *s, uint32_t command, uint32_t vlan)
{
    s->frame_header = (struct net_header){ 0 };
    if (s->frame_bytes < ETHER || s->too_long || (command & (LGSEN | IPCS | UDPCS | TCPCS) && !offloads_prepare(s, command))) {
        s->frame_bytes = 0;
        return;
    }
    if (vlan & TAGC) tag_insert(s, vlan);
    frame_send(s);
}

/* false: the ring's next descriptor is not the card's. */
static bool ring_step(struct rtl8139 *s)
{
    uint64_t at = (rtl8139_get32(s, TSAD0) | (uint64_t)rtl8139_get32(s, TSAD0 + 4) << 32) + (uint64_t)s->tx_ring_next * DESCRIPTOR;
    struct descriptor d;
    uint32_t command;
    size_t bytes;

    if (!pci_dma_read(&s->pci, at, &d, sizeof(d)) || !(le32_get(d.command) & OWN)) return false;
    command = le32_get(d.command);
    bytes = command & 0xffff;
    if (command & FS) {
        s->frame_bytes = 0;
        s->too_long = false;
    }
    if (bytes > sizeof(s->frame) - s->frame_bytes) s->too_long = true;
    if (!s->too_long) {
        pci_dma_read(&s->pci, address_get(&d), s->frame + s->frame_bytes, bytes);
        s->frame_bytes += bytes;
    }
    s->tx_ring_next = descriptor_next(s->tx_ring_next, command);
    d.command = le32_make(command & ~((uint32_t)OWN | TX_ERRORS));
    pci_dma_write(&s->pci, at, &d.command, 4);
    if (command & LS) frame_finish(s, command, le32_get(d.vlan));
    return true;
}

static void ring_transmit(struct rtl8139 *s)
{
    unsigned done = 0;

    while (done < RING_MAX && !s->frame_waits && ring_step(s)) done++;
    if (done) rtl8139_cause(s, ISR_TOK);
}

void rtl8139_transmit(struct rtl8139 *s)
{
    if (!(s->cr & CR_TE) || (s->frame_waits && !frame_send(s))) return;
    if (rtl8139_get16(s, CPCR) & CPCR_TE) ring_transmit(s);
    else if (!s->is_cplus) registers_transmit(s);
    net_send_end(s->config.backend, 0);
}
