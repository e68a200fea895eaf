/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * An IDE controller with real block nodes on the real event loop, for tests: ports are poked, requests run through the
 * block layer, interrupts are counted. Guest RAM is RAM_BYTES at 0; there is nothing above it.
 */
#ifndef TESTS_DEVICE_PCI_IDE_BENCH_H
#define TESTS_DEVICE_PCI_IDE_BENCH_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "device/storage/ide.h"

enum { BSY = 0x80, DRDY = 0x40, DF = 0x20, DSC = 0x10, DRQ = 8, ERR = 1 };
enum { ABRT = 4, IDNF = 0x10, UNC = 0x40 };
enum { NIEN = 2, SRST = 4, HOB = 0x80 };
enum { ACTIVE = 1, BM_ERROR = 2, BM_IRQ = 4 };
enum { RAM_BYTES = 4 << 20, TABLE = 0x10000, BUFFER = 0x100000 };
/* Offsets from a channel's command block. */
enum { DATA, ERROR, COUNT, LOW, MID, HIGH, DEVICE, STATUS, FEATURE = ERROR, COMMAND = STATUS };

extern unsigned checks, failures;
/* Counts a check; says what failed. Returns ok. */
bool check(bool ok, const char *fmt, ...) __attribute__((format(printf, 2, 3)));
/* Prints the counts; the exit status of the test. */
int report(const char *what);
uint64_t random_next(void);
void random_seed(uint64_t seed);
void random_fill(void *data, size_t bytes);

extern uint8_t *ram;
extern struct device *ide;
extern unsigned interrupts[2]; /* rising edges of IRQ 14 and 15 */
extern int irq_level[2];

/* The machine: PCI bus, RAM, controller at 00:01.1 with its bus master at C000h and mastering on. */
void bench_new(const struct ide_drive_config drive[4]);
void bench_free(void);
void bench_master(bool on); /* the PCI command register's bus master bit */

/* Those below are for the channel chosen here. */
void channel_select(unsigned n);
uint32_t in(unsigned reg);
uint32_t in_data(unsigned bytes);
void out(unsigned reg, uint32_t value);
void out_data(uint32_t value, unsigned bytes);
uint8_t alternate(void); /* status without acknowledging */
void control(uint8_t value);
uint32_t bm_in(unsigned reg, unsigned bytes);
void bm_out(unsigned reg, uint32_t value, unsigned bytes);
/* Runs the loop until the selected drive is not busy (10 s at most); its status, by the alternate register. */
uint8_t settle(void);
/* Runs the loop until nothing has come for a while: what is in flight ends. */
void loop_settle(void);
void soft_reset(void);

struct command {
    uint8_t op, feature;
    uint64_t sector;
    uint32_t count;
    bool slave, ext, chs; /* chs: sector is high << 16 | mid << 8 | low, head in bits 24.. */
};
/* Writes the task file and the command; does not wait. */
void command_start(const struct command *c);
/* And waits; the status. */
uint8_t command(const struct command *c);
void data_read(void *to, size_t bytes);
void data_write(const void *from, size_t bytes);

struct prd {
    uint32_t address;
    uint16_t bytes, flags;
};
/* Writes a table to RAM at TABLE, and TABLE to the channel's register. The last one gets its end bit if end. */
void prd_table(const struct prd *prd, unsigned count, bool end);
/* Command and bus master; waits; stops the bus master. The bus master's status from before it stopped. */
uint8_t dma(const struct command *c, bool to_memory);

/* A new directory, the current one; removed at exit. */
void directory_enter(void);
/* Exit status of a shell command, output thrown away. */
int shell(const char *fmt, ...) __attribute__((format(printf, 1, 2)));
void file_make(const char *name, const void *data, size_t bytes, uint64_t size_bytes);
/* Opens or ends the test. */
struct block_node *image_open(const char *name, const char *format, bool readonly);

#endif
