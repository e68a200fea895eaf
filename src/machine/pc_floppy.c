/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The floppy controller of the board: there is one if the command line has a drive. The types of its drives go to CMOS. */
#include "device/storage/fdc.h"

#include "base/error.h"
#include "machine/pc_private.h"

int pc_floppy_create(struct machine *m, struct error *err)
{
    struct fdc_config c = { .ports = m->ports, .dma = m->dma, .irq = pc_isa_irq(m, 6) };
    bool any = false;

    for (unsigned i = 0; i < m->config.drive_count; i++) {
        const struct drive_config *d = &m->config.drive[i];

        if (d->interface != DRIVE_IF_FLOPPY || d->index < 0 || d->index >= FDC_DRIVES) continue;
        c.drive[d->index] = (struct fdc_drive_config){ .is_there = true, .type = d->floppy_type, .node = m->drive[i], .on_error = pc_error_policy(m, i) };
        any = true;
    }
    if (!any) return 0;
    m->fdc = fdc_new(&c, err);
    if (!m->fdc) return -1;
    pc_device_add(m, m->fdc);
    return 0;
}

uint8_t pc_floppy_types(const struct machine *m)
{
    return m->fdc ? (uint8_t)(fdc_drive_type(m->fdc, 0) << 4 | fdc_drive_type(m->fdc, 1)) : 0;
}
