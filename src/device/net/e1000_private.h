/* SPDX-License-Identifier: GPL-2.0-or-later */
/* State of an 82540EM; register names are the manual's (PCI/PCI-X Family of Gigabit Ethernet Controllers Software Developer's Manual, 13). */
#ifndef DEVICE_NET_E1000_PRIVATE_H
#define DEVICE_NET_E1000_PRIVATE_H

#include "base/bits.h"
#include "device/net/e1000.h"

enum { CTRL = 0x0, CTRL_DUP = 0x4, STATUS = 0x8, EECD = 0x10, EERD = 0x14, CTRL_EXT = 0x18, MDIC = 0x20, FCAL = 0x28, FCAH = 0x2c, FCT = 0x30, VET = 0x38,
       ICR = 0xc0, ITR = 0xc4, ICS = 0xc8, IMS = 0xd0, IMC = 0xd8, RCTL = 0x100, FCTTV = 0x170, TCTL = 0x400, TIPG = 0x410, AIFS = 0x458, LEDCTL = 0xe00,
       PBA = 0x1000, FCRTL = 0x2160, FCRTH = 0x2168, RDBAL = 0x2800, RDBAH = 0x2804, RDLEN = 0x2808, RDH = 0x2810, RDT = 0x2818, RDTR = 0x2820,
       RXDCTL = 0x2828, RADV = 0x282c, RSRPD = 0x2c00, TDBAL = 0x3800, TDBAH = 0x3804, TDLEN = 0x3808, TDH = 0x3810, TDT = 0x3818, TIDV = 0x3820,
       TXDCTL = 0x3828, TADV = 0x382c, TSPMT = 0x3830, CRCERRS = 0x4000, MPC = 0x4010, GPRC = 0x4074, BPRC = 0x4078, MPRC = 0x407c, GPTC = 0x4080,
       GORCL = 0x4088, GOTCL = 0x4090, TORL = 0x40c0, TOTL = 0x40c8, TPR = 0x40d0, TPT = 0x40d4, STATS_END = 0x4100, RXCSUM = 0x5000, MTA = 0x5200,
       RAL = 0x5400, VFTA = 0x5600, WUC = 0x5800, WUFC = 0x5808, MANC = 0x5820, SWSM = 0x5b50, REGISTERS = 0x6000 };
enum { CTRL_SLU = 0x40, CTRL_RST = 1 << 26, CTRL_VME = 1 << 30, STATUS_FD = 1, STATUS_LU = 2, STATUS_1000 = 0x80 };
enum { ICR_TXDW = 1, ICR_TXQE = 2, ICR_LSC = 4, ICR_RXDMT0 = 0x10, ICR_RXO = 0x40, ICR_RXT0 = 0x80, ICR_MDAC = 0x200 };
enum { RCTL_EN = 2, RCTL_UPE = 8, RCTL_MPE = 0x10, RCTL_LPE = 0x20, RCTL_BAM = 0x8000, RCTL_VFE = 1 << 18, RCTL_BSEX = 1 << 25, RCTL_SECRC = 1 << 26,
       TCTL_EN = 2 };

struct e1000_context {                   /* of the transmit context descriptors (3.3.6) */
    uint8_t ipcss, ipcso, tucss, tucso, header_bytes;
    uint16_t ipcse, tucse, mss;
    bool is_ipv4;
};

struct e1000 {
    struct pci_device pci;
    struct nic_device_config config;
    uint32_t reg[REGISTERS / 4];
    uint32_t io_address;
    uint16_t eeprom[64], phy[32];
    struct { uint32_t in; unsigned bits, out; bool reading; } eeprom_line;
    struct timer *itr_timer;             /* armed: no interrupt before it ends */
    /* transmit: the packet that is being put together */
    uint8_t frame[NET_FRAME_MAX];
    size_t frame_bytes;
    bool too_long, frame_waits;
    bool is_posted;                      /* the rest of the ring is transmitted from the main loop */
    uint32_t left;                       /* descriptors that may be, since the driver moved the tail */
    unsigned pieces;                     /* that frames were cut into in this round */
    bool insert_ip, insert_tcp, segment, insert_vlan;
    uint16_t vlan;
    struct e1000_context context;
    struct net_header frame_header;      /* of a frame that waits for the backend */
    bool starved, filled;
};

static inline uint32_t *e1000_reg(struct e1000 *s, unsigned offset) { return &s->reg[offset / 4]; }

/* e1000.c */
void e1000_cause(struct e1000 *s, uint32_t causes);
/* e1000_eeprom.c: words behind EECD and EERD, PHY registers behind MDIC */
void e1000_eeprom_fill(struct e1000 *s);
uint32_t e1000_eecd_read(struct e1000 *s);
void e1000_eecd_write(struct e1000 *s, uint32_t value);
void e1000_eerd_write(struct e1000 *s, uint32_t value);
void e1000_phy_reset(struct e1000 *s);
void e1000_phy_link(struct e1000 *s, bool up);
void e1000_mdic_write(struct e1000 *s, uint32_t value);
/* e1000_ring.c */
void e1000_transmit(struct e1000 *s);
void e1000_transmit_reset(struct e1000 *s);
bool e1000_receive(void *opaque, unsigned queue, const struct net_frame *f);
void e1000_received(void *opaque, unsigned queue);

#endif
