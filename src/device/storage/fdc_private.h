/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Inside of the floppy controller: drives and their disks, and the controller proper. */
#ifndef DEVICE_STORAGE_FDC_PRIVATE_H
#define DEVICE_STORAGE_FDC_PRIVATE_H

#include "device/storage/fdc.h"

struct timer;

enum { FDC_SECTOR = 512, FDC_SPAN_SECTORS = 2 * 48 };

struct fdc_geometry { uint16_t kib; uint8_t cylinders, heads, sectors, rate; enum fdc_drive_type type; };

struct fdc_drive {
    struct fdc_drive_config config;
    const struct fdc_geometry *geometry;   /* of the disk that is in; NULL: none */
    enum fdc_drive_type type;
    uint8_t track, next_id;
    bool changed;                          /* the disk change line */
};

/* The geometry of an image of this size: of the format, or of one that holds it. NULL: it is too large. */
const struct fdc_geometry *fdc_geometry_find(uint64_t bytes);
int fdc_drive_load(struct fdc_drive *d, struct block_node *node, struct error *err);
bool fdc_drive_is_protected(const struct fdc_drive *d);

enum { FDC_PARAMETERS = 9, FDC_RESULTS = 16 };
enum fdc_phase { FDC_COMMAND, FDC_EXECUTION, FDC_DATA_IN, FDC_DATA_OUT, FDC_RESULT };
enum fdc_work { FDC_NO_WORK, FDC_READ, FDC_WRITE, FDC_FORMAT, FDC_VERIFY };

struct fdc {
    struct device device;
    struct fdc_config config;
    struct memory_range *range[2];
    struct timer *timer;                   /* looks again whether the DMA controller takes the data */
    struct fdc_drive drive[FDC_DRIVES];
    uint8_t dor, tdr, dsr, ccr;
    uint8_t specify[2], configure[2], perpendicular;
    bool locked, irq_pending;
    uint8_t reset_senses;                  /* SENSE INTERRUPT results after a reset still to come, first drive 0 */
    bool seek_done;
    uint8_t seek_st0;
    uint8_t phase;                         /* enum fdc_phase */
    uint8_t command[FDC_PARAMETERS], command_bytes, command_length;
    uint8_t result[FDC_RESULTS], result_bytes, result_at;
    /* A transfer: sectors from C, H, R on, at most to EOT of the last side. */
    uint8_t work;                          /* enum fdc_work */
    uint8_t unit, c, h, r, eot;
    bool multi_track, in_flight, stopped, dropped, tc;
    unsigned waits;
    uint32_t bytes, at;                    /* of the span in buffer; moved so far */
    uint32_t padded;                       /* of what is written, whole sectors */
    uint8_t buffer[FDC_SPAN_SECTORS * FDC_SECTOR];
};

/* fdc.c */
void fdc_results(struct fdc *s, const uint8_t *bytes, unsigned count);
void fdc_irq(struct fdc *s, bool level);
/* fdc_transfer.c: READ, WRITE, FORMAT TRACK, VERIFY, whose parameters are in command. */
void fdc_transfer_begin(struct fdc *s, enum fdc_work work);
void fdc_transfer_drop(struct fdc *s);
void fdc_transfer_retry(struct fdc *s);
void fdc_transfer_wait(void *opaque);
/* A byte through the data port. */
uint8_t fdc_data_read(struct fdc *s);
void fdc_data_write(struct fdc *s, uint8_t value);

#endif
