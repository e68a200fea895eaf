/* SPDX-License-Identifier: GPL-2.0-or-later */
/* What the tests of the block room share: a fixed-seed generator, a directory of their own, calls of qemu's tools. */
#ifndef TESTS_BLOCK_COMMON_H
#define TESTS_BLOCK_COMMON_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct block_node;
struct block_open_options;

extern unsigned checks, failures;
/* Counts a check; says what failed. Returns ok. */
bool check(bool ok, const char *fmt, ...) __attribute__((format(printf, 2, 3)));
/* Prints the counts; the exit status of the test. */
int report(const char *what, uint64_t seed);

uint64_t rng_next(uint64_t *state);
uint64_t rng_below(uint64_t *state, uint64_t limit);
void rng_fill(uint64_t *state, void *data, size_t length);

/* A temporary directory, made the current one; removed at exit. 77 (skip) from main when qemu-img is not there. */
void test_directory_enter(void);
bool has_tool(const char *name);
/* Exit status of a shell command, output thrown away; -1 when it died. */
int run(const char *fmt, ...) __attribute__((format(printf, 1, 2)));
/* Its output, a static buffer. */
const char *run_output(const char *fmt, ...) __attribute__((format(printf, 1, 2)));
void file_write(const char *name, const void *data, size_t length);
void *file_read(const char *name, size_t *length);

/* Opens or ends the test with the message. */
struct block_node *open_image(const struct block_open_options *o);

#endif
