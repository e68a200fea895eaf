/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The 82540EM's serial EEPROM (64 words, Microwire) and its PHY (Marvell 88E1000 family). Drivers shift commands into the EEPROM bit
 * by bit through EECD, or ask for a word through EERD. Writing it is not possible.
 * Source: the Software Developer's Manual, 5.4 to 5.6 (EEPROM), 13.4.3, 13.4.4, 13.4.8 (registers); IEEE 802.3 clause 22 (PHY).
 */
#include <string.h>

#include "device/net/e1000_private.h"

enum { SK = 1, CS = 2, DI = 4, DO = 8, FWE = 0x10, REQ = 0x40, GNT = 0x80, PRES = 0x100, COMMAND_BITS = 9, COMMAND_READ = 6 };
enum { EERD_START = 1, EERD_DONE = 0x10, CHECKSUM_AT = 63, CHECKSUM = 0xbaba };
enum { MDIC_READ = 1 << 27, MDIC_WRITE = 1 << 26, MDIC_READY = 1 << 28, MDIC_ENABLE = 1 << 29, MDIC_ERROR = 1 << 30, PHY_ADDRESS = 1 };
enum { BMCR = 0, BMSR = 1, PHYID1 = 2, PHYID2 = 3, ANAR = 4, ANLPAR = 5, CTRL1000 = 9, STAT1000 = 10, ESTATUS = 15, PHY_SPEC_CTRL = 16, PHY_SPEC_STATUS = 17,
       BMCR_RESET = 0x8000, BMCR_RESTART = 0x200, BMSR_LINK = 4, BMSR_AN_DONE = 0x20, SPEC_LINK = 0x400, SPEC_RESOLVED = 0xa800 };

void e1000_eeprom_fill(struct e1000 *s)
{
    uint16_t sum = 0;

    memset(s->eeprom, 0, sizeof(s->eeprom));
    for (unsigned i = 0; i < 3; i++) s->eeprom[i] = (uint16_t)(s->config.mac[2 * i] | s->config.mac[2 * i + 1] << 8);
    s->eeprom[0x0a] = 0x4408;                            /* initialization control 1: signature, internal PHY */
    s->eeprom[0x0b] = PCI_SUBSYSTEM >> 16;
    s->eeprom[0x0c] = PCI_SUBSYSTEM & 0xffff;
    s->eeprom[0x0d] = 0x100e;
    s->eeprom[0x0e] = 0x8086;
    s->eeprom[0x0f] = 0x3040;                            /* control 2: flow control both ways */
    for (unsigned i = 0; i < CHECKSUM_AT; i++) sum += s->eeprom[i];
    s->eeprom[CHECKSUM_AT] = (uint16_t)(CHECKSUM - sum);
}

uint32_t e1000_eecd_read(struct e1000 *s)
{
    uint32_t value = (*e1000_reg(s, EECD) & (SK | CS | DI | REQ)) | FWE | PRES;
    unsigned bit = s->eeprom_line.out;

    if (value & REQ) value |= GNT;
    if (!s->eeprom_line.reading) return value | DO;
    /* A zero bit comes first, then word for word from the highest bit. */
    if (bit && s->eeprom[(bit - 1) / 16 % 64] >> (15 - (bit - 1) % 16) & 1) value |= DO;
    return value;
}

void e1000_eecd_write(struct e1000 *s, uint32_t value)
{
    uint32_t before = *e1000_reg(s, EECD);

    *e1000_reg(s, EECD) = value & (SK | CS | DI | REQ);
    if (!(value & CS) || !(before & CS)) memset(&s->eeprom_line, 0, sizeof(s->eeprom_line));
    if (!(value & CS) || !(value & SK) || before & SK) return;
    if (s->eeprom_line.reading) {
        s->eeprom_line.out++;
        return;
    }
    if (!s->eeprom_line.bits && !(value & DI)) return;   /* waits for the start bit */
    s->eeprom_line.in = s->eeprom_line.in << 1 | !!(value & DI);
    if (++s->eeprom_line.bits < COMMAND_BITS) return;
    s->eeprom_line.reading = s->eeprom_line.in >> 6 == COMMAND_READ;
    s->eeprom_line.out = (s->eeprom_line.in & 63) * 16;
    s->eeprom_line.bits = 0;
    s->eeprom_line.in = 0;
}

void e1000_eerd_write(struct e1000 *s, uint32_t value)
{
    if (!(value & EERD_START)) *e1000_reg(s, EERD) = 0;
    else *e1000_reg(s, EERD) = EERD_DONE | (value & 0xff00) | (value >> 8 & 0xff) << 8 | (uint32_t)s->eeprom[value >> 8 & 63] << 16;
}

/* ---- PHY ---- */

void e1000_phy_reset(struct e1000 *s)
{
    memset(s->phy, 0, sizeof(s->phy));
    s->phy[BMCR] = 0x1140;                               /* autonegotiation, full duplex, 1000 */
    s->phy[BMSR] = 0x7949;
    s->phy[PHYID1] = 0x0141;
    s->phy[PHYID2] = 0x0c20;
    s->phy[ANAR] = 0x0de1;
    s->phy[ANLPAR] = 0x01e0;
    s->phy[CTRL1000] = 0x0e00;
    s->phy[STAT1000] = 0x3c00;
    s->phy[ESTATUS] = 0x3000;
    s->phy[PHY_SPEC_CTRL] = 0x0360;
    e1000_phy_link(s, net_link_is_up(s->config.backend));
}

void e1000_phy_link(struct e1000 *s, bool up)
{
    s->phy[BMSR] &= (uint16_t)~(BMSR_LINK | BMSR_AN_DONE);
    s->phy[PHY_SPEC_STATUS] = up ? SPEC_RESOLVED | SPEC_LINK : 0;
    if (up) s->phy[BMSR] |= BMSR_LINK | BMSR_AN_DONE;
    *e1000_reg(s, STATUS) = (*e1000_reg(s, STATUS) & ~(uint32_t)STATUS_LU) | (up ? STATUS_LU : 0);
}

/* Negotiation takes no time here. */
static void phy_write(struct e1000 *s, unsigned reg, uint16_t value)
{
    switch (reg) {
    case BMCR:
        if (value & BMCR_RESET) e1000_phy_reset(s);
        else s->phy[BMCR] = value & ~BMCR_RESTART;
        if (value & BMCR_RESTART && net_link_is_up(s->config.backend)) e1000_cause(s, ICR_LSC);
        break;
    case BMSR: case PHYID1: case PHYID2: case ANLPAR: case STAT1000: case ESTATUS: case PHY_SPEC_STATUS:
        break;
    default:
        s->phy[reg] = value;
    }
}

void e1000_mdic_write(struct e1000 *s, uint32_t value)
{
    unsigned reg = value >> 16 & 31;
    uint32_t result = (value & 0x23ffffff) | MDIC_READY;

    if ((value >> 21 & 31) != PHY_ADDRESS) result |= MDIC_ERROR;
    else if (value & MDIC_READ) result = (result & 0xffff0000) | s->phy[reg];
    else if (value & MDIC_WRITE) phy_write(s, reg, (uint16_t)value);
    *e1000_reg(s, MDIC) = result | (value & (MDIC_READ | MDIC_WRITE));
    if (value & MDIC_ENABLE) e1000_cause(s, ICR_MDAC);
}
