/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The board as ACPI sees it: PCI root with its windows and interrupt links through the PIIX3's PIRQ registers, ISA
 * devices, HPET, soft-off. What depends on the configuration are names in an SSDT that acpi.c writes:
 * \PHS, \PHE first and last address of the PCI memory hole; \HPEN HPET there; \CMEN mask of serial ports; \FDEN a floppy controller; the PCI slots; \PMB ports of the power management;
 * \QHS, \QHE, \QHL first and last address and length of the hole above 4 GiB, low and high half (integers have 32 bits).
 */
DefinitionBlock ("dsdt.aml", "DSDT", 1, "OSPITE", "OSPITEPC", 1)
{
    External (\PHS, IntObj)
    External (\PHE, IntObj)
    External (\HPEN, IntObj)
    External (\CMEN, IntObj)
    External (\FDEN, IntObj)
    External (\_SB.PCI0.DVNT, MethodObj)
    External (\PMB_, IntObj)
    External (\QHS0, IntObj)
    External (\QHS1, IntObj)
    External (\QHE0, IntObj)
    External (\QHE1, IntObj)
    External (\QHL0, IntObj)
    External (\QHL1, IntObj)

    Name (\_S5, Package () { 0, 0, 0, 0 })

    Scope (\_GPE)
    {
        Name (_HID, "ACPI0006")
        Method (_E01, 0) { \_SB.PCI0.PCNT () }
    }

    Scope (\_SB)
    {
        Device (PCI0)
        {
            Name (_HID, EisaId ("PNP0A03"))
            Name (_UID, 0)
            Name (_BBN, 0)

            Name (RES, ResourceTemplate ()
            {
                WordBusNumber (ResourceProducer, MinFixed, MaxFixed, PosDecode, 0, 0, 0xff, 0, 0x100)
                IO (Decode16, 0xcf8, 0xcf8, 1, 8)
                WordIO (ResourceProducer, MinFixed, MaxFixed, PosDecode, EntireRange, 0, 0, 0xcf7, 0, 0xcf8)
                WordIO (ResourceProducer, MinFixed, MaxFixed, PosDecode, EntireRange, 0, 0xd00, 0xadff, 0, 0xa100)
                WordIO (ResourceProducer, MinFixed, MaxFixed, PosDecode, EntireRange, 0, 0xb000, 0xffff, 0, 0x5000)
                DWordMemory (ResourceProducer, PosDecode, MinFixed, MaxFixed, Cacheable, ReadWrite,
                    0, 0xa0000, 0xbffff, 0, 0x20000)
                DWordMemory (ResourceProducer, PosDecode, MinFixed, MaxFixed, NonCacheable, ReadWrite,
                    0, 0xe0000000, 0xfebfffff, 0, 0x1ec00000, , , HOLE)
            })
            Name (QRES, ResourceTemplate ()
            {
                QWordMemory (ResourceProducer, PosDecode, MinFixed, MaxFixed, Cacheable, ReadWrite,
                    0, 0, 0, 0, 0, , , QHOL)
            })
            Method (_CRS, 0, Serialized)
            {
                CreateDWordField (RES, ^HOLE._MIN, HMIN)
                CreateDWordField (RES, ^HOLE._MAX, HMAX)
                CreateDWordField (RES, ^HOLE._LEN, HLEN)
                HMIN = \PHS
                HMAX = \PHE
                HLEN = \PHE - \PHS + 1
                If (\QHL0 | \QHL1)
                {
                    /* Byte offsets of minimum, maximum and length in the descriptor, in halves. */
                    CreateDWordField (QRES, 14, QMI0)
                    CreateDWordField (QRES, 18, QMI1)
                    CreateDWordField (QRES, 22, QMA0)
                    CreateDWordField (QRES, 26, QMA1)
                    CreateDWordField (QRES, 38, QLE0)
                    CreateDWordField (QRES, 42, QLE1)
                    QMI0 = \QHS0
                    QMI1 = \QHS1
                    QMA0 = \QHE0
                    QMA1 = \QHE1
                    QLE0 = \QHL0
                    QLE1 = \QHL1
                    Return (ConcatenateResTemplate (RES, QRES))
                }
                Return (RES)
            }

            /* Pin p of slot s ends at link (s + p - 1) & 3; the power management function has the fixed link. */
            Method (_PRT, 0, Serialized)
            {
                Local0 = Package (128) { }
                Local1 = 0
                While (Local1 < 128)
                {
                    Local2 = Local1 >> 2
                    Local3 = (Local1 + Local2) & 3
                    If (Local3 == 0) { Local4 = Package () { 0, 0, LNKD, 0 } }
                    If (Local3 == 1)
                    {
                        If (Local1 == 4) { Local4 = Package () { 0, 0, LNKS, 0 } }
                        Else { Local4 = Package () { 0, 0, LNKA, 0 } }
                    }
                    If (Local3 == 2) { Local4 = Package () { 0, 0, LNKB, 0 } }
                    If (Local3 == 3) { Local4 = Package () { 0, 0, LNKC, 0 } }
                    Local4 [0] = (Local2 << 16) | 0xffff
                    Local4 [1] = Local1 & 3
                    Local0 [Local1] = Local4
                    Local1++
                }
                Return (Local0)
            }

            /* Hot-plug (acpi_pcihp.c): PCIU slots that got a function, PCID whose function shall go, B0EJ ejects, BNUM chooses the
             * bus. The slots' devices and DVNT (slots, notification) are in the SSDT. */
            OperationRegion (PCST, SystemIO, 0xae00, 0x14)
            Field (PCST, DWordAcc, NoLock, WriteAsZeros) { PCIU, 32, PCID, 32, B0EJ, 32, B0RM, 32, BNUM, 32 }
            Mutex (BLCK, 0)
            Method (PCEJ, 2)
            {
                Acquire (BLCK, 0xffff)
                BNUM = Arg0
                B0EJ = 1 << Arg1
                Release (BLCK)
                Return (0)
            }
            Method (PCNT, 0)
            {
                Acquire (BLCK, 0xffff)
                BNUM = 0
                DVNT (PCIU, 1)
                DVNT (PCID, 3)
                Release (BLCK)
            }

            Device (ISA)
            {
                Name (_ADR, 0x00010000)
                OperationRegion (PIRQ, PCI_Config, 0x60, 4)
                Field (PIRQ, ByteAcc, NoLock, Preserve) { PRQ0, 8, PRQ1, 8, PRQ2, 8, PRQ3, 8 }

                Device (KBD)
                {
                    Name (_HID, EisaId ("PNP0303"))
                    Name (_STA, 0x0f)
                    Name (_CRS, ResourceTemplate ()
                    {
                        IO (Decode16, 0x60, 0x60, 1, 1)
                        IO (Decode16, 0x64, 0x64, 1, 1)
                        IRQNoFlags () { 1 }
                    })
                }
                Device (MOU)
                {
                    Name (_HID, EisaId ("PNP0F13"))
                    Name (_STA, 0x0f)
                    Name (_CRS, ResourceTemplate () { IRQNoFlags () { 12 } })
                }
                Device (RTC)
                {
                    Name (_HID, EisaId ("PNP0B00"))
                    Name (_CRS, ResourceTemplate ()
                    {
                        IO (Decode16, 0x70, 0x70, 1, 8)
                        IRQNoFlags () { 8 }
                    })
                }
                Device (FDC0)
                {
                    Name (_HID, EisaId ("PNP0700"))
                    Method (_STA, 0) { If (\FDEN) { Return (0x0f) } Return (0) }
                    Name (_CRS, ResourceTemplate ()
                    {
                        IO (Decode16, 0x3f2, 0x3f2, 0, 4)
                        IO (Decode16, 0x3f7, 0x3f7, 0, 1)
                        IRQNoFlags () { 6 }
                        DMA (Compatibility, NotBusMaster, Transfer8) { 2 }
                    })
                }
                Device (COM1)
                {
                    Name (_HID, EisaId ("PNP0501"))
                    Name (_UID, 1)
                    Method (_STA, 0) { If (\CMEN & 1) { Return (0x0f) } Return (0) }
                    Name (_CRS, ResourceTemplate () { IO (Decode16, 0x3f8, 0x3f8, 0, 8) IRQNoFlags () { 4 } })
                }
                Device (COM2)
                {
                    Name (_HID, EisaId ("PNP0501"))
                    Name (_UID, 2)
                    Method (_STA, 0) { If (\CMEN & 2) { Return (0x0f) } Return (0) }
                    Name (_CRS, ResourceTemplate () { IO (Decode16, 0x2f8, 0x2f8, 0, 8) IRQNoFlags () { 3 } })
                }
                Device (COM3)
                {
                    Name (_HID, EisaId ("PNP0501"))
                    Name (_UID, 3)
                    Method (_STA, 0) { If (\CMEN & 4) { Return (0x0f) } Return (0) }
                    Name (_CRS, ResourceTemplate () { IO (Decode16, 0x3e8, 0x3e8, 0, 8) IRQNoFlags () { 4 } })
                }
                Device (COM4)
                {
                    Name (_HID, EisaId ("PNP0501"))
                    Name (_UID, 4)
                    Method (_STA, 0) { If (\CMEN & 8) { Return (0x0f) } Return (0) }
                    Name (_CRS, ResourceTemplate () { IO (Decode16, 0x2e8, 0x2e8, 0, 8) IRQNoFlags () { 3 } })
                }
                Device (FWCF)
                {
                    Name (_HID, "QEMU0002")
                    Name (_STA, 0x0b)
                    Name (_CRS, ResourceTemplate () { IO (Decode16, 0x510, 0x510, 1, 12) })
                }
                Device (PMIO)
                {
                    Name (_HID, EisaId ("PNP0C02"))
                    Name (_UID, 1)
                    Name (RES, ResourceTemplate ()
                    {
                        IO (Decode16, 0x600, 0x600, 1, 0x40, PMRG)
                        IO (Decode16, 0x700, 0x700, 1, 0x10)
                        IO (Decode16, 0xae00, 0xae00, 1, 0x18)
                        IO (Decode16, 0xafe0, 0xafe0, 1, 4)
                    })
                    Method (_CRS, 0, Serialized)
                    {
                        CreateWordField (RES, ^PMRG._MIN, PMIN)
                        CreateWordField (RES, ^PMRG._MAX, PMAX)
                        PMIN = \PMB_
                        PMAX = \PMB_
                        Return (RES)
                    }
                }
            }
        }

        Method (LSTA, 1, NotSerialized) { If (Arg0 & 0x80) { Return (0x09) } Return (0x0b) }
        Name (LRES, ResourceTemplate ()
        {
            Interrupt (ResourceConsumer, Level, ActiveHigh, Shared, , , LINK) { 0 }
        })
        Method (LCRS, 1, Serialized)
        {
            CreateDWordField (LRES, ^LINK._INT, LINT)
            LINT = 0
            If (Arg0 < 0x80) { LINT = Arg0 }
            Return (LRES)
        }
        Name (LPRS, ResourceTemplate ()
        {
            Interrupt (ResourceConsumer, Level, ActiveHigh, Shared) { 5, 10, 11 }
        })
        Device (LNKA)
        {
            Name (_HID, EisaId ("PNP0C0F"))
            Name (_UID, 0)
            Method (_STA, 0) { Return (LSTA (^^PCI0.ISA.PRQ0)) }
            Method (_PRS, 0) { Return (LPRS) }
            Method (_CRS, 0) { Return (LCRS (^^PCI0.ISA.PRQ0)) }
            Method (_DIS, 0) { ^^PCI0.ISA.PRQ0 |= 0x80 }
            Method (_SRS, 1) { CreateDWordField (Arg0, 5, LINT) ^^PCI0.ISA.PRQ0 = LINT }
        }
        Device (LNKB)
        {
            Name (_HID, EisaId ("PNP0C0F"))
            Name (_UID, 1)
            Method (_STA, 0) { Return (LSTA (^^PCI0.ISA.PRQ1)) }
            Method (_PRS, 0) { Return (LPRS) }
            Method (_CRS, 0) { Return (LCRS (^^PCI0.ISA.PRQ1)) }
            Method (_DIS, 0) { ^^PCI0.ISA.PRQ1 |= 0x80 }
            Method (_SRS, 1) { CreateDWordField (Arg0, 5, LINT) ^^PCI0.ISA.PRQ1 = LINT }
        }
        Device (LNKC)
        {
            Name (_HID, EisaId ("PNP0C0F"))
            Name (_UID, 2)
            Method (_STA, 0) { Return (LSTA (^^PCI0.ISA.PRQ2)) }
            Method (_PRS, 0) { Return (LPRS) }
            Method (_CRS, 0) { Return (LCRS (^^PCI0.ISA.PRQ2)) }
            Method (_DIS, 0) { ^^PCI0.ISA.PRQ2 |= 0x80 }
            Method (_SRS, 1) { CreateDWordField (Arg0, 5, LINT) ^^PCI0.ISA.PRQ2 = LINT }
        }
        Device (LNKD)
        {
            Name (_HID, EisaId ("PNP0C0F"))
            Name (_UID, 3)
            Method (_STA, 0) { Return (LSTA (^^PCI0.ISA.PRQ3)) }
            Method (_PRS, 0) { Return (LPRS) }
            Method (_CRS, 0) { Return (LCRS (^^PCI0.ISA.PRQ3)) }
            Method (_DIS, 0) { ^^PCI0.ISA.PRQ3 |= 0x80 }
            Method (_SRS, 1) { CreateDWordField (Arg0, 5, LINT) ^^PCI0.ISA.PRQ3 = LINT }
        }
        Device (LNKS)
        {
            Name (_HID, EisaId ("PNP0C0F"))
            Name (_UID, 4)
            Name (_STA, 0x0b)
            Name (_PRS, ResourceTemplate () { Interrupt (ResourceConsumer, Level, ActiveHigh, Shared) { 9 } })
            Name (_CRS, ResourceTemplate () { Interrupt (ResourceConsumer, Level, ActiveHigh, Shared) { 9 } })
            Method (_DIS, 0) { }
            Method (_SRS, 1) { }
        }

        Device (HPET)
        {
            Name (_HID, EisaId ("PNP0103"))
            Name (_UID, 0)
            Method (_STA, 0) { If (\HPEN) { Return (0x0f) } Return (0) }
            Name (_CRS, ResourceTemplate () { Memory32Fixed (ReadOnly, 0xfed00000, 0x400) })
        }
    }
}
