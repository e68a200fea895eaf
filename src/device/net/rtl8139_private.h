/* SPDX-License-Identifier: GPL-2.0-or-later */
/* State of an RTL8139C+; register names are the data sheet's. */
#ifndef DEVICE_NET_RTL8139_PRIVATE_H
#define DEVICE_NET_RTL8139_PRIVATE_H

#include "base/bits.h"
#include "device/net/rtl8139.h"

enum { IDR0 = 0x00, MAR0 = 0x08, TSD0 = 0x10, TSAD0 = 0x20, RBSTART = 0x30, CR = 0x37, CAPR = 0x38, CBR = 0x3a, IMR = 0x3c, ISR = 0x3e, TCR = 0x40, RCR = 0x44,
       TCTR = 0x48, MPC = 0x4c, CR9346 = 0x50, CONFIG0 = 0x51, CONFIG1 = 0x52, TIMERINT = 0x54, MSR = 0x58, CONFIG3 = 0x59, CONFIG4 = 0x5a, HLTCLK = 0x5b,
       MULINT = 0x5c, RERID = 0x5e, TSADS = 0x60, BMCR = 0x62, BMSR = 0x64, ANAR = 0x66, ANLPAR = 0x68, ANER = 0x6a, CSCR = 0x74, CONFIG5 = 0xd8, TPPOLL = 0xd9,
       CPCR = 0xe0, RDSAR = 0xe4, ETTHR = 0xec };
enum { CR_RST = 0x10, CR_RE = 8, CR_TE = 4, CR_BUFE = 1, CPCR_TE = 1, CPCR_RE = 2, CPCR_RXVLAN = 0x40, TPPOLL_NPQ = 0x40 };
enum { ISR_ROK = 1, ISR_TOK = 4, ISR_RXOVW = 0x10, ISR_LINK = 0x20, ISR_TIMEOUT = 0x4000 };
enum { RCR_AAP = 1, RCR_APM = 2, RCR_AM = 4, RCR_AB = 8, RCR_WRAP = 0x80, TCR_LOOPBACK = 0x60000, TSD_OWN = 0x2000, TSD_TOK = 0x8000, TSD_SIZE = 0x1fff };

struct rtl8139 {
    struct pci_device pci;
    struct nic_device_config config;
    uint8_t reg[256];                    /* what is simply kept; rows in rtl8139.c */
    uint8_t cr, eeprom_out;
    bool is_cplus;                       /* CPCR was written: TSD0 and TSAD0 have other meanings */
    uint16_t isr;
    uint32_t tsd[4];
    unsigned tx_next, rx_next, tx_ring_next;       /* descriptor of TSD; of the rings of C+ */
    uint32_t rx_read, rx_write;          /* in the ring buffer of RBSTART */
    uint32_t missed;
    uint64_t tx_ok, rx_ok, rx_own, rx_broadcast;
    uint32_t rx_multicast;
    struct { uint32_t in; unsigned bits, out; bool reading; } eeprom_line;
    struct timer *timeout, *again;       /* TIMERINT; frames that wait, where no register tells of room */
    int64_t count_base_ns;
    /* The frame that is put together, or waits for the backend. */
    uint8_t frame[NET_FRAME_MAX];
    size_t frame_bytes;
    struct net_header frame_header;
    bool too_long, frame_waits, starved;
};

static inline uint32_t rtl8139_get32(const struct rtl8139 *s, unsigned at)
{
    return s->reg[at] | (uint32_t)s->reg[at + 1] << 8 | (uint32_t)s->reg[at + 2] << 16 | (uint32_t)s->reg[at + 3] << 24;
}
static inline uint16_t rtl8139_get16(const struct rtl8139 *s, unsigned at) { return (uint16_t)(s->reg[at] | s->reg[at + 1] << 8); }
static inline uint32_t rtl8139_ring_bytes(const struct rtl8139 *s) { return 8192u << (rtl8139_get32(s, RCR) >> 11 & 3); }

/* rtl8139.c */
void rtl8139_cause(struct rtl8139 *s, uint16_t bits);
/* rtl8139_ring.c */
void rtl8139_transmit(struct rtl8139 *s);              /* whatever is ready, of either kind */
void rtl8139_tally_dump(struct rtl8139 *s);
bool rtl8139_receive(void *opaque, unsigned queue, const struct net_frame *f);
void rtl8139_receive_again(struct rtl8139 *s);

#endif
